//! iPXE scripts for the images: a menu of all of them, and one for each alone
//!
//! Pure: from what is booted to text. Paths are absolute on the server that the script came from; only what goes to the
//! kernel needs the whole URL, and has it from [`Server`].

use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;

use super::distribution::Bootable;

/// Seconds until the menu boots its first image: a machine without a keyboard must not wait for ever
const MENU_TIMEOUT_S: u32 = 30;

/// Words in arguments that iPXE fills in for each machine
const MACHINE_WORDS: &[(&str, &str)] =
    &[("mac", "${net0/mac}"), ("uuid", "${uuid}"), ("ip", "${net0/ip}"), ("host", "${hostname}")];
/// Words in arguments that the server fills in
const SERVER_WORDS: &[&str] = &["url", "iso", "server"];

/// An image that boots
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name, which needs no escape anywhere
    pub name: String,
    /// What it boots
    pub bootable: Bootable,
}

/// Where clients find this server
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Its address on their network
    pub address: Ipv4Addr,
    /// Its HTTP port
    pub http_port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.address)?;
        if self.http_port == 80 { Ok(()) } else { write!(f, ":{}", self.http_port) }
    }
}

/// What is wrong with arguments as an operator wrote them
pub fn check_args(args: &str) -> Result<(), String> {
    if !args.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err("arguments are printable ASCII, in one line".to_owned());
    }
    let mut words = args.split('{').skip(1).map(|rest| rest.split_once('}').map(|(word, _)| word));
    let known =
        |word: &str| SERVER_WORDS.contains(&word) || MACHINE_WORDS.iter().any(|(name, _)| *name == word);
    match words.find(|word| !word.is_some_and(known)) {
        None => Ok(()),
        Some(None) => Err("a `{` without its `}`".to_owned()),
        Some(Some(word)) => Err(format!(
            "unknown word {{{word}}}: arguments take {{url}}, {{iso}}, {{server}}, {{mac}}, {{uuid}}, {{ip}}, {{host}}"
        )),
    }
}

/// The path of the script with the menu, without a slash before it
pub fn menu_path(address: Ipv4Addr) -> String {
    format!("images/{address}.ipxe")
}

/// The path of the script that boots one image
pub fn entry_path(address: Ipv4Addr, name: &str) -> String {
    format!("images/{address}/{name}.ipxe")
}

/// A menu of all images, or the only one at once
pub fn menu(entries: &[Entry], server: Server) -> String {
    if let [only] = entries {
        return entry(only, server);
    }
    let mut script = String::from("#!ipxe\n:start\nmenu Install or boot\n");
    // Writing to a `String` cannot fail.
    for one in entries {
        let _ = writeln!(script, "item image-{0} {0} ({1})", one.name, one.bootable.system);
    }
    script.push_str("item local Boot from the local disk\n");
    let first = entries.first().map_or_else(|| "local".to_owned(), |one| format!("image-{}", one.name));
    let milliseconds = MENU_TIMEOUT_S * 1_000;
    let _ = writeln!(script, "choose --timeout {milliseconds} --default {first} target || goto local");
    script.push_str("goto ${target}\n:local\nexit 1\n");
    for one in entries {
        let _ = writeln!(script, "\n:image-{}", one.name);
        write_boot(&mut script, one, server);
    }
    script
}

/// One image, without a question
pub fn entry(entry: &Entry, server: Server) -> String {
    let mut script = String::from("#!ipxe\n:start\n");
    write_boot(&mut script, entry, server);
    script
}

fn write_boot(script: &mut String, Entry { name, bootable }: &Entry, server: Server) {
    let args = filled(&bootable.args, name, server);
    // A kernel that is started by EFI reads its initrds by these names.
    let names: String = bootable.initrds.iter().map(|path| format!(" initrd={}", base_name(path))).collect();
    let args = if args.is_empty() { args } else { format!(" {args}") };
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

/// Arguments with their words replaced
fn filled(args: &str, name: &str, server: Server) -> String {
    let url = format!("{server}/images/{name}");
    let mut args = args
        .replace("{url}", &url)
        .replace("{iso}", &format!("{url}.iso"))
        .replace("{server}", &server.address.to_string());
    for (word, setting) in MACHINE_WORDS {
        args = args.replace(&format!("{{{word}}}"), setting);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, args: &str) -> Entry {
        let bootable = Bootable {
            system: "Ubuntu",
            kernel: "casper/vmlinuz".to_owned(),
            initrds: vec!["casper/initrd".to_owned()],
            args: args.to_owned(),
            caveat: None,
        };
        Entry { name: name.to_owned(), bootable }
    }

    const SERVER: Server = Server { address: Ipv4Addr::new(10, 0, 0, 1), http_port: 8080 };

    #[test]
    fn one_image_boots_without_a_question() {
        let script = menu(&[image("jammy", "url={iso} repo={url} host={host} {mac}")], SERVER);
        let expected = "\
#!ipxe
:start
echo Booting jammy from http://10.0.0.1:8080
kernel http://10.0.0.1:8080/images/jammy/casper/vmlinuz initrd=initrd url=http://10.0.0.1:8080/images/jammy.iso \
repo=http://10.0.0.1:8080/images/jammy host=${hostname} ${net0/mac} || goto failed-jammy
initrd --name initrd http://10.0.0.1:8080/images/jammy/casper/initrd || goto failed-jammy
boot || goto failed-jammy
:failed-jammy
echo jammy did not start; trying again in 10 seconds
sleep 10
goto start
";
        assert_eq!(script, expected);
    }

    #[test]
    fn several_images_are_a_menu() {
        let script = menu(&[image("a", ""), image("b", "")], Server { http_port: 80, ..SERVER });
        assert!(
            script.contains("item image-b b (Ubuntu)\nitem local Boot from the local disk\n"),
            "{script}"
        );
        assert!(
            script.contains("choose --timeout 30000 --default image-a target || goto local\n"),
            "{script}"
        );
        assert!(script.contains(":image-b\necho Booting b from http://10.0.0.1\n"), "{script}");
        assert!(script.contains("/vmlinuz initrd=initrd || goto failed-a\n"), "{script}");
    }

    #[test]
    fn words_that_nobody_fills_in_are_told() {
        assert_eq!(check_args("inst.ks={url}/ks.cfg ip=dhcp host={host}"), Ok(()));
        assert!(check_args("a={hots}").unwrap_err().starts_with("unknown word {hots}: "));
        assert!(check_args("a={url").is_err());
        assert!(check_args("a\nb").is_err());
    }
}
