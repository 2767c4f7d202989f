//! GRUB's configuration (its manual, and rhboot's and Debian's patches)
//!
//! Kernel and initrd come by HTTP where this GRUB has it, else by TFTP: a signed GRUB has what was built in, and under Secure Boot
//! loads nothing else. What boots a kernel through shim is `linuxefi` in the GRUBs that have it; in the others `linux` does so.

use std::fmt::Write as _;

use super::arguments::{Facts, rendered};
use super::{Boot, Server, What};

/// Seconds until an image that could not be fetched is tried again
const RETRY_S: u32 = 10;

/// The configuration of all GRUBs: each asks again by its MAC address. Debian's and Ubuntu's do not do so by themselves.
pub(super) fn ask(server: Server) -> String {
    let from = tftp(server);
    format!(
        "source {from}/images/{}/by-mac/$net_default_mac/grub-$grub_cpu-$grub_platform.cfg\n",
        server.address
    )
}

pub(super) fn write(what: What<'_>, facts: &Facts) -> String {
    let server = facts.server;
    // `insmod` succeeds whether or not there is such a module: what works is known only by its use.
    let mut text = String::from("insmod http\ninsmod linuxefi\n");
    match what {
        What::One(boot) => {
            let _ = writeln!(text, "echo \"Booting {} from {}\"", boot.entry.name, server);
            text.push_str("set loaded=\nuntil [ -n \"$loaded\" ]; do\n");
            write_boot(&mut text, boot, facts);
            let _ = writeln!(
                text,
                "  if [ -z \"$loaded\" ]; then echo \"Trying again in {RETRY_S} seconds\"; sleep {RETRY_S}; fi"
            );
            text.push_str("done\nboot\n");
        }
        // The firmware goes on to its next boot option.
        What::Local => text = "echo \"Booting from the local disk\"\nexit\n".to_owned(),
        What::Menu(entries, menu) => {
            let default = What::default_of(&entries, menu).unwrap_or("local");
            let _ = writeln!(text, "set default={default}");
            if menu.timeout_s > 0 {
                let _ = writeln!(text, "set timeout={}", menu.timeout_s);
            }
            for entry in &entries {
                let _ = writeln!(text, "menuentry \"{}\" --id {} {{", entry.title(), entry.name);
                text.push_str("  set loaded=\n");
                write_boot(&mut text, Boot { entry, args: None }, facts);
                text.push_str("}\n");
            }
            text.push_str("menuentry \"Boot from the local disk\" --id local {\n  exit\n}\n");
        }
    }
    text
}

/// Loads kernel and initrd by the first way that works, and sets `loaded`
fn write_boot(text: &mut String, boot: Boot<'_>, facts: &Facts) {
    let name = &boot.entry.name;
    let bootable = &boot.entry.bootable;
    let server = facts.server;
    // GRUB names no other port in its requests, and older ones take none.
    let http = if server.http_port == 80 { format!("(http,{}) ", server.address) } else { String::new() };
    let _ = writeln!(text, "  for from in {http}{}; do", tftp(server));
    text.push_str("    for linux in linuxefi linux; do\n      if [ -z \"$loaded\" ]; then\n");
    let args = rendered(&boot.arguments(facts), quoted, variable);
    let kernel = format!("$linux $from/images/{name}/{}{args}", bootable.kernel);
    let initrds: String =
        bootable.initrds.iter().map(|path| format!(" $from/images/{name}/{path}")).collect();
    let _ = writeln!(text, "        if {kernel}; then");
    if initrds.is_empty() {
        text.push_str("          set loaded=yes\n");
    } else {
        text.push_str("          set initrd=initrd\n");
        text.push_str("          if [ $linux = linuxefi ]; then set initrd=initrdefi; fi\n");
        let _ = writeln!(text, "          if $initrd{initrds}; then set loaded=yes; fi");
    }
    text.push_str("        fi\n      fi\n    done\n  done\n");
}

fn tftp(server: Server) -> String {
    match server.tftp_port {
        69 => format!("(tftp,{})", server.address),
        port => format!("(tftp,{}:{port})", server.address),
    }
}

/// What GRUB knows of the machine by itself
fn variable(word: &str) -> Option<&'static str> {
    match word {
        "mac" => Some("$net_default_mac"),
        "ip" => Some("$net_default_ip"),
        _ => None,
    }
}

/// Text in double quotes, where a variable may stand beside it
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"=,._:/@%+-".contains(&byte);
    if text.bytes().all(is_plain) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}
