//! What a loader's configuration names to be loaded: pxelinux's and U-Boot's menus, GRUB's, iPXE's scripts.
//!
//! As much of each language as says which kernel and which initrds an unattended boot loads: no conditions, no keys pressed.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::rack::reach::Known;

/// Where a file is to be had
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Http(SocketAddrV4, String),
    Tftp(Ipv4Addr, String),
}

impl Source {
    /// An absolute URL with a numeric host
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some((server, path)) = url(text) {
            return Some(Self::Http(server, path));
        }
        let (host, name) = text.strip_prefix("tftp://")?.split_once('/')?;
        Some(Self::Tftp(host.parse().ok()?, name.to_owned()))
    }

    /// What `text` means in a file that came from here (RFC 3986 §5, without dots)
    pub(super) fn join(&self, text: &str) -> Option<Self> {
        if text.contains("://") {
            return Self::parse(text);
        }
        let beside = |path: &str| match text.strip_prefix('/') {
            Some(absolute) => absolute.to_owned(),
            None => format!("{}{text}", &path[..path.rfind('/').map_or(0, |at| at + 1)]),
        };
        Some(match self {
            Self::Http(server, path) => {
                let path = path.trim_start_matches('/');
                Self::Http(*server, format!("/{}", beside(path)))
            }
            Self::Tftp(server, name) => Self::Tftp(*server, beside(name)),
        })
    }
}

/// Host, port and path of an `http://` URL with a numeric host
pub(super) fn url(text: &str) -> Option<(SocketAddrV4, String)> {
    let (host, path) = text.strip_prefix("http://")?.split_once('/')?;
    let (host, port) = host.split_once(':').unwrap_or((host, "80"));
    Some((SocketAddrV4::new(host.parse().ok()?, port.parse().ok()?), format!("/{path}")))
}

/// The kernel and the initrds of the entry that a pxelinux menu boots by itself: the one that DEFAULT names or that holds MENU
/// DEFAULT, else the first
pub(super) fn pxelinux(text: &str) -> Vec<String> {
    let lines = || text.lines().filter_map(|line| keyword(line.trim()));
    let is = |word: &str, wanted: &str| word.eq_ignore_ascii_case(wanted);
    let mut label = "";
    let marked = lines().find_map(|(word, value)| {
        if is(word, "label") {
            label = value;
        }
        (is(word, "menu") && is(value, "default")).then_some(label)
    });
    let named = lines().find(|(word, _)| is(word, "default")).map(|(_, value)| value);
    let has = |name: &&str| lines().any(|(word, value)| is(word, "label") && value == *name);
    let first = lines().find(|(word, _)| is(word, "label")).map(|(_, value)| value);
    let chosen = marked.or_else(|| named.filter(has)).or(first);
    let begins = |&(word, value): &(&str, &str)| is(word, "label") && Some(value) == chosen;
    let entry = lines().skip_while(|line| !begins(line)).skip(1).take_while(|(word, _)| !is(word, "label"));
    let (mut kernel, mut initrds) = (None, Vec::new());
    for (word, value) in entry {
        if is(word, "kernel") || is(word, "linux") {
            kernel = Some(value);
        } else if is(word, "initrd") {
            initrds = value.split(',').collect();
        } else if is(word, "append") {
            let named = value.split_whitespace().find_map(|word| word.strip_prefix("initrd="));
            initrds.extend(named.into_iter().flat_map(|names| names.split(',')));
        }
    }
    let all = kernel.into_iter().chain(initrds.into_iter().filter(|_| kernel.is_some()));
    all.map(str::to_owned).collect()
}

/// What GRUB's first `linux` and `initrd` name, as URLs; `server` is where `(tftp)` and a bare path lead
pub(super) fn grub(text: &str, server: Ipv4Addr) -> Vec<Source> {
    let of = |words: &[&str]| {
        text.lines().filter_map(|line| keyword(line.trim())).find(|(word, _)| words.contains(word))
    };
    let kernel = of(&["linux", "linuxefi", "linux16"]).and_then(|(_, value)| value.split_whitespace().next());
    let initrds = of(&["initrd", "initrdefi", "initrd16"]).map(|(_, value)| value.split_whitespace());
    let all = kernel.into_iter().chain(initrds.into_iter().flatten().filter(|_| kernel.is_some()));
    let source = |name: &str| {
        let Some((device, path)) = name.strip_prefix('(').and_then(|name| name.split_once(')')) else {
            return Some(Source::Tftp(server, name.to_owned()));
        };
        match device.split_once(',') {
            Some(("tftp", host)) => Some(Source::Tftp(host.parse().ok()?, path.to_owned())),
            Some(("http", host)) => Source::parse(&format!("http://{host}{path}")),
            _ => Some(Source::Tftp(server, path.to_owned())),
        }
    };
    // One that cannot be had is not left out: the boot would go on without it.
    all.map(source).collect::<Option<_>>().unwrap_or_default()
}

/// The module that a GRUB configuration asks for
pub(super) fn grub_module(text: &str) -> Option<&str> {
    let mut lines = text.lines().filter_map(|line| keyword(line.trim()));
    lines.find(|(word, _)| *word == "insmod").map(|(_, value)| value)
}

/// What an iPXE script does next
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// Loads these and boots
    Boots(Vec<Source>),
    /// Goes on with this script or loader
    Chains(Source),
    /// It is no script, or names nothing that can be had
    Nothing,
}

/// Reads an iPXE script that came from `from`
pub(super) fn ipxe(text: &str, from: &Source, known: &Known) -> Script {
    if !text.starts_with("#!ipxe") {
        return Script::Nothing;
    }
    let (mut settings, mut files, mut initrds) = (Vec::new(), Vec::new(), Vec::new());
    for line in text.lines().skip(1) {
        let line = expand(line.trim(), &settings, known);
        // `command || way out`: the command is what is meant to happen.
        let Some((word, value)) = keyword(line.split(" ||").next().unwrap_or_default()) else { continue };
        let mut values = value.split_whitespace().skip_while(|value| value.starts_with("--"));
        match word {
            "set" => {
                if let Some((name, value)) = value.split_once(' ') {
                    settings.push((name.to_owned(), value.trim().to_owned()));
                }
            }
            "kernel" => files = values.next().map(str::to_owned).into_iter().collect(),
            "initrd" => initrds.extend(values.next().map(str::to_owned)),
            "chain" if files.is_empty() => {
                let to = values.next().and_then(|to| from.join(to));
                return to.map_or(Script::Nothing, Script::Chains);
            }
            _ => {}
        }
    }
    if files.is_empty() {
        return Script::Nothing;
    }
    files.append(&mut initrds);
    let sources = files.iter().map(|file| from.join(file)).collect::<Option<_>>();
    sources.map_or(Script::Nothing, Script::Boots)
}

/// `${name}` as the script has set it, or as iPXE knows it
fn expand(line: &str, settings: &[(String, String)], known: &Known) -> String {
    let mut parts = line.split("${");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        let own = |(set, value): &(String, String)| (set == name).then(|| value.clone());
        let set = settings.iter().rev().find_map(own);
        text += &set.unwrap_or_else(|| setting(name, known));
        text += rest;
    }
    text
}

fn setting(name: &str, known: &Known) -> String {
    let mac = known.identity.mac.to_string();
    match name.trim_start_matches("net0/") {
        "mac" | "mac:hex" => mac,
        "mac:hexhyp" => mac.replace(':', "-"),
        "mac:hexraw" => mac.replace(':', ""),
        "ip" => known.address.to_string(),
        "buildarch" => "x86_64".into(),
        "platform" => "efi".into(),
        _ => String::new(),
    }
}

/// A line's first word and what follows it
fn keyword(line: &str) -> Option<(&str, &str)> {
    let (word, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    (!word.is_empty() && !word.starts_with('#')).then(|| (word, value.trim()))
}

/// The names under which pxelinux and U-Boot look for a configuration: their card's, their address, and shorter and shorter heads
/// of it
pub(super) fn names(known: &Known) -> impl Iterator<Item = String> {
    let mac = known.identity.mac.to_string().replace(':', "-");
    let hex = format!("{:08X}", known.address.to_bits());
    [format!("01-{mac}")].into_iter().chain((1..=8).rev().map(move |len| hex[..len].to_owned()))
}

/// The directory of a boot file, with its slash
pub(super) fn folder(file: &str) -> &str {
    &file[..file.rfind('/').map_or(0, |at| at + 1)]
}

/// Whether a boot file is an iPXE, by the names that such have
pub(super) fn is_ipxe(file: &str) -> bool {
    let name = &file[folder(file).len()..];
    ["ipxe", "undionly", "snponly"].iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    #[test]
    fn a_pxelinux_menu_boots_what_it_says_and_not_what_comes_first() {
        let menu = "default vesamenu.c32\nlabel local\n  localboot 0\nlabel debian\n  menu default\n  kernel linux\n  append quiet initrd=a.gz,b.gz splash\n";
        assert_eq!(pxelinux(menu), ["linux", "a.gz", "b.gz"]);
        let named = "DEFAULT two\nLABEL one\n KERNEL k1\nLABEL two\n LINUX http://192.0.2.1/k2\n INITRD i2\n";
        assert_eq!(pxelinux(named), ["http://192.0.2.1/k2", "i2"]);
        assert!(pxelinux("LABEL local\n LOCALBOOT 0\n INITRD i\n").is_empty());
    }

    #[test]
    fn grub_names_devices() {
        let text = "set timeout=5\nmenuentry 'Install' {\n  linux (http,192.0.2.1:8080)/img/linux quiet\n  initrd /img/initrd.gz\n}\n";
        let http = Source::Http("192.0.2.1:8080".parse().expect("an address"), "/img/linux".into());
        assert_eq!(grub(text, SERVER), [http, Source::Tftp(SERVER, "/img/initrd.gz".into())]);
        assert!(grub("linux (http,host.example)/linux\n", SERVER).is_empty());
    }

    #[test]
    fn relative_names_are_beside_the_script() {
        let script = Source::parse("http://192.0.2.1/a/boot.ipxe").expect("a URL");
        let http = |path: &str| Some(Source::Http("192.0.2.1:80".parse().expect("an address"), path.into()));
        assert_eq!(script.join("linux"), http("/a/linux"));
        assert_eq!(script.join("/linux"), http("/linux"));
        assert_eq!(script.join("tftp://192.0.2.1/x"), Some(Source::Tftp(SERVER, "x".into())));
        assert_eq!(script.join("https://192.0.2.1/x"), None);
        assert!(is_ipxe("efi/snponly.efi") && !is_ipxe("ipxe/bootx64.efi"));
    }
}
