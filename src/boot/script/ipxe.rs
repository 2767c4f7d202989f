//! iPXE's scripts
//!
//! Everything is a whole URL: an iPXE that runs a script by TFTP takes kernel and initrd by HTTP all the same.

use std::fmt::Write as _;

use super::arguments::{Facts, rendered};
use super::{Boot, What};

/// Writes a script; `asks_serial`: there are machines that are known by what only iPXE can say
pub(super) fn write(what: What<'_>, facts: &Facts, asks_serial: bool) -> String {
    let server = facts.server;
    let mut script = String::from("#!ipxe\n");
    // Writing to a `String` cannot fail.
    if asks_serial {
        let path = format!("images/{}/by-serial/${{serial:uristring}}.ipxe", server.address);
        let _ = writeln!(script, "chain {server}/{path} || echo This machine's serial number is not listed");
    }
    script.push_str(":start\n");
    let (entries, menu) = match what {
        What::One(boot) => {
            write_boot(&mut script, boot, facts);
            return script;
        }
        What::Local => {
            script.push_str("echo Booting from the local disk\nexit 1\n");
            return script;
        }
        What::Menu(entries, menu) => (entries, menu),
    };
    let _ = writeln!(script, "menu {}", menu.title);
    for entry in &entries {
        let _ = writeln!(script, "item image-{} {}", entry.name, entry.title());
    }
    script.push_str("item local Boot from the local disk\n");
    let default =
        What::default_of(&entries, menu).map_or_else(|| "local".to_owned(), |name| format!("image-{name}"));
    let timeout = match menu.timeout_s {
        0 => String::new(),
        seconds => format!(" --timeout {}", u32::from(seconds) * 1_000),
    };
    let _ = writeln!(script, "choose{timeout} --default {default} target || goto local");
    script.push_str("goto ${target}\n:local\nexit 1\n");
    for entry in &entries {
        let _ = writeln!(script, "\n:image-{}", entry.name);
        write_boot(&mut script, Boot { entry, args: None }, facts);
    }
    script
}

fn write_boot(script: &mut String, boot: Boot<'_>, facts: &Facts) {
    let server = facts.server;
    let name = &boot.entry.name;
    let bootable = &boot.entry.bootable;
    let args = rendered(&boot.arguments(facts), str::to_owned, variable);
    // A kernel that is started by EFI reads its initrds by these names.
    let names: String = bootable.initrds.iter().map(|path| format!(" initrd={}", base_name(path))).collect();
    let _ = writeln!(script, "echo Booting {name} from {server}");
    let _ = writeln!(
        script,
        "kernel {server}/images/{name}/{}{names}{args} || goto failed-{name}",
        bootable.kernel
    );
    for path in &bootable.initrds {
        let base = base_name(path);
        let _ = writeln!(script, "initrd --name {base} {server}/images/{name}/{path} || goto failed-{name}");
    }
    let _ = writeln!(script, "boot || goto failed-{name}");
    // A server that is being restarted is there again soon.
    let _ = writeln!(
        script,
        ":failed-{name}\necho {name} did not start; trying again in 10 seconds\nsleep 10\ngoto start"
    );
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What iPXE knows of the machine by itself
fn variable(word: &str) -> Option<&'static str> {
    match word {
        "mac" => Some("${net0/mac}"),
        "uuid" => Some("${uuid}"),
        "ip" => Some("${net0/ip}"),
        "host" => Some("${hostname}"),
        _ => None,
    }
}
