//! What a machine fetches after its boot file: the loader's configuration, and what that loads, each with where it comes from.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::request::Machine;
use super::{Row, local_name};
use crate::boot::plan::{Chosen, LoaderName, Mode, Plan};
use crate::boot::script::{Asker, Server};
use crate::config::Files;
use crate::content::Placed;
use crate::wire::ethernet::MacAddr;

/// The files that the server has
pub trait Served {
    /// Whether one of that name is served
    fn exists(&self, name: &str) -> bool;

    /// Where what is served at that name comes from, for who asks
    fn place(&self, name: &str, asker: Asker<'_>) -> Option<Placed>;
}

impl Served for Files {
    fn exists(&self, name: &str) -> bool {
        Self::exists(self, name)
    }

    fn place(&self, name: &str, asker: Asker<'_>) -> Option<Placed> {
        Self::place(self, name, asker)
    }
}

/// What comes after the boot files of some stages; each configuration is told once. True: some configuration is there.
pub(super) fn write(
    out: &mut String,
    plan: &Plan,
    rows: &[Row<'_>],
    machine: &Machine<'_>,
    ip: Option<Ipv4Addr>,
    files: &impl Served,
) -> bool {
    let (mut told, mut has_any): (Vec<String>, bool) = (Vec::new(), false);
    for row in rows {
        let file = row.file.as_deref().and_then(|file| local_name(file, plan, &row.answer));
        // U-Boot asks for a configuration, whatever file it is given.
        let Some(file) = file.or((row.loader == LoaderName::UBoot).then_some(U_BOOT)) else { continue };
        let peer = ip.or(row.answer.machine.and_then(|machine| machine.address));
        // Where there is no DHCP of this server's, nothing is heard of who asks.
        let caller = Some(&row.caller).filter(|_| row.answer.mode != Mode::Off);
        let place = |name: &str| files.place(name, Asker { address: peer, caller });
        let names = names(file, machine, peer, row.answer.network.address);
        let Some(last) = names.last() else { continue };
        let mut tell = |out: &mut String, name: &str, place: Option<&Placed>| {
            if !told.iter().any(|known| known == name) {
                told.push(name.to_owned());
                write_place(out, name, place);
            }
        };
        if file != U_BOOT && !names.iter().any(|name| name == file) {
            tell(out, file, place(file).as_ref());
        }
        if file.ends_with("pxelinux.0") {
            let library = beside(file, "ldlinux.c32");
            tell(out, &library, place(&library).as_ref());
        }
        let Some((name, found)) = names.iter().find_map(|name| Some((name, place(name)?))) else {
            let first = names
                .first()
                .filter(|first| *first != last)
                .map_or(String::new(), |name| format!("{name} … "));
            tell(out, &format!("{first}{last}"), None);
            continue;
        };
        has_any = true;
        tell(out, name, Some(&found));
        if let Placed::Generated(text) = &found {
            for path in loaded(text, row.answer.network.address) {
                tell(out, path, place(path).as_ref());
            }
            for path in templates(text, row.answer.network.address, plan) {
                tell(out, &path, place(&path).as_ref());
            }
        }
    }
    let place = |path: &str, row: &Row<'_>| {
        let address = ip.or(row.answer.machine.and_then(|machine| machine.address));
        files.place(path, Asker { address, caller: Some(&row.caller) })
    };
    write_other_templates(out, plan, machine, rows, &told, place);
    has_any
}

/// The texts of templates that nothing above names, where nothing above names any: a configuration of the operator's own may do so
fn write_other_templates(
    out: &mut String,
    plan: &Plan,
    machine: &Machine<'_>,
    rows: &[Row<'_>],
    told: &[String],
    place: impl Fn(&str, &Row<'_>) -> Option<Placed>,
) {
    if told.iter().any(|path| plan.templates().find(path).is_some()) {
        return;
    }
    let Some(row) = rows.first() else { return };
    for set in plan.templates().sets() {
        for path in set.paths(&machine.mac.hyphenated().to_string()) {
            write_place(out, &path, place(&path, row).as_ref());
        }
    }
}

/// The texts of templates whose URLs stand in a generated text
fn templates(text: &str, server: Ipv4Addr, plan: &Plan) -> Vec<String> {
    let own = Server::of(plan, server).to_string();
    let mut paths = Vec::new();
    for rest in text.split(&own).skip(1) {
        let path = rest.split(|c: char| c.is_whitespace() || "\"';,".contains(c)).next().unwrap_or_default();
        let path = path.trim_start_matches('/');
        if plan.templates().find(path).is_some() {
            paths.push(path.to_owned());
            continue;
        }
        // A folder, of which all will be asked for.
        let (name, whom) = path.split_once('/').unwrap_or((path, ""));
        let set = plan.templates().sets().iter().find(|set| set.name == name);
        if let Some(set) = set.filter(|_| path.ends_with('/')) {
            paths.extend(set.paths(whom.trim_end_matches('/')));
        }
    }
    paths
}

/// In place of a boot file, where U-Boot has none
const U_BOOT: &str = "";

/// The items of a ROM's menu, and what each boots
pub(super) fn write_menu(out: &mut String, rows: &[Row<'_>]) {
    // That of a machine that boots its own disk is told by its row.
    let mut shown = rows.iter().filter(|row| !row.answer.is_local());
    let Some((row, menu)) = shown.find_map(|row| Some((row, row.answer.menu?))) else { return };
    for (item, number) in menu.items.iter().zip(1..) {
        let boot =
            || item.boot_of(row.arch, row.answer.loader).map_or("nothing".to_owned(), ToString::to_string);
        let what = match &item.image {
            Some(assigned) => format!("image {} by {}", assigned.image, boot()),
            None if item.boot.is_some() => boot(),
            None if item.servers.is_empty() => "the local disk".to_owned(),
            None => "another server".to_owned(),
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "  item {number} of the menu, {}: {what}", item.text);
    }
}

/// The image that the answer names, in words
pub(super) fn image(chosen: &Chosen<'_>) -> String {
    match &chosen.assigned.args {
        Some(args) => format!("image {} with `{args}`", chosen.assigned.image),
        None => format!("image {}", chosen.assigned.image),
    }
}

/// Where a loader looks for its configuration, in order; a script is its own
fn names(file: &str, machine: &Machine<'_>, ip: Option<Ipv4Addr>, server: Ipv4Addr) -> Vec<String> {
    let lower = file.to_ascii_lowercase();
    let who = || {
        let uuid = machine.uuid.map(|uuid| uuid.to_string());
        let address = ip.map(|ip| format!("{:08X}", ip.to_bits()));
        let mac = (machine.mac != MacAddr::ZERO).then(|| format!("01-{}", machine.mac.hyphenated()));
        uuid.into_iter().chain(mac).chain(address)
    };
    if lower.ends_with("pxelinux.0") || file == U_BOOT {
        let folder = beside(file, "pxelinux.cfg");
        return who().chain(["default".to_owned()]).map(|name| format!("{folder}/{name}")).collect();
    }
    let is_grub = lower.ends_with(".efi")
        && ["grub", "shim", "bootx64", "bootaa64", "bootnet"].iter().any(|part| lower.contains(part));
    if is_grub {
        let cpu = if lower.contains("aa64") { "arm64" } else { "x86_64" };
        // GRUB's folder is built into it; the generated configuration of every folder sends it here.
        return vec![format!("images/{server}/by-mac/{}/grub-{cpu}-efi.cfg", machine.mac)];
    }
    if lower.ends_with(".ipxe") { vec![file.to_owned()] } else { Vec::new() }
}

/// A name in the folder of another
fn beside(file: &str, name: &str) -> String {
    file.rsplit_once('/').map_or_else(|| name.to_owned(), |(folder, _)| format!("{folder}/{name}"))
}

fn write_place(out: &mut String, name: &str, place: Option<&Placed>) {
    // Writing to a `String` cannot fail.
    let _ = match place {
        Some(Placed::File(path)) => writeln!(out, "  {name}: {}", path.display()),
        Some(Placed::Iso { image, offset, len, in_boot_image }) => {
            let boot = if *in_boot_image { ", in its El Torito image" } else { "" };
            writeln!(out, "  {name}: {len} bytes at {offset} in {}{boot}", image.display())
        }
        Some(Placed::Generated(text)) => {
            let _ = writeln!(out, "  {name}: generated");
            text.lines().filter(|line| !line.is_empty()).try_for_each(|line| writeln!(out, "    {line}"))
        }
        Some(Placed::Template(file, Ok(text))) => {
            let _ = writeln!(out, "  {name}: made from {}", file.display());
            text.lines().filter(|line| !line.is_empty()).try_for_each(|line| writeln!(out, "    {line}"))
        }
        Some(Placed::Template(_, Err(why))) => {
            let why = why.split_once(" was not made: ").map_or(&**why, |(_, why)| why);
            writeln!(out, "  {name}: not made: {why}")
        }
        None => writeln!(out, "  {name}: missing"),
    };
}

/// The files of images that a generated text loads: an argument has a name before its URL
fn loaded(text: &str, server: Ipv4Addr) -> impl Iterator<Item = &str> {
    let is_end = |c: char| c.is_whitespace() || matches!(c, ',' | ';');
    let own = format!("images/{server}");
    text.split(is_end).filter(|token| !token.contains('=')).filter_map(move |token| {
        let path = &token[token.find("images/")?..];
        (!path.starts_with(&own)).then_some(path)
    })
}
