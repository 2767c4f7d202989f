//! The lines that set tags: what a client is, in the words of `match`.

use std::collections::BTreeMap;

use super::conditions::{Conditions, Key};
use super::line::Line;
use super::networks::Networks;
use super::options;
use super::report::Report;
use super::tags::{Tag, Tags};
use super::values::{self, Hardware};

/// Reads them all but `dhcp-host`
pub(super) fn read(lines: &[Line], networks: &Networks, tags: &mut Tags, report: &mut Report) {
    places(lines, networks, tags);
    for line in lines {
        let Some(first) = line.texts().next() else { continue };
        // `set:` was optional once.
        let tag = first.strip_prefix("set:").or_else(|| first.strip_prefix("net:")).unwrap_or(first);
        let value = line.texts().skip(1).collect::<Vec<_>>().join(",");
        let found = match line.key.as_str() {
            "dhcp-match" => matched(line, &value, report),
            "dhcp-vendorclass" => pattern(Key::Vendor, &value),
            "dhcp-userclass" => user_class(&value),
            "dhcp-mac" => mac(&value),
            "dhcp-circuitid" => agent_id(Key::Circuit, &value),
            "dhcp-remoteid" => agent_id(Key::Remote, &value),
            "dhcp-subscrid" => {
                Err("of what relays add, `match` looks at the circuit id and the remote id only".to_owned())
            }
            "dhcp-name-match" => {
                Err("`match` does not look at the name that a client gives itself".to_owned())
            }
            "tag-if" => {
                tag_if(line, tags);
                continue;
            }
            _ => continue,
        };
        match found {
            Ok(holds) => tags.set(tag, holds),
            Err(why) => {
                tags.cannot_know(tag, format!("is set by what `match` cannot say (line {})", line.number));
                report.lost(line, why);
            }
        }
    }
    tags.cannot_know("bootp", "is BOOTP's, which `match` cannot say");
    tags.cannot_know("known-othernet", "is not known here");
}

/// Tags of ranges, and the names of interfaces
fn places(lines: &[Line], networks: &Networks, tags: &mut Tags) {
    let mut named: BTreeMap<&str, Vec<Option<Conditions>>> = BTreeMap::new();
    for (network, scope) in networks.scopes().filter(|(_, scope)| scope.mode.is_some()) {
        // Where there is one subnet, every client is in it.
        let there = match scope.cidr {
            _ if networks.is_single() => Some(Conditions::default()),
            cidr => cidr.map(|cidr| Conditions::one(Key::Subnet, cidr.to_string())),
        };
        let own = scope.sets.iter().map(String::as_str).chain([network.interface.as_str()]);
        for tag in own {
            named.entry(tag).or_default().push(there.clone());
        }
    }
    for (tag, all) in named {
        for one in all {
            match one {
                Some(holds) => tags.set(tag, holds),
                None => tags.cannot_know(tag, "is a range's whose netmask is not known here"),
            }
        }
    }
    // A tag that only a range could set which was not carried over
    for line in lines.iter().filter(|line| line.key == "dhcp-range") {
        for tag in line.texts().filter_map(|word| word.strip_prefix("set:")) {
            if !tags.is_set(tag) {
                tags.cannot_know(tag, "is a range's that was not carried over");
            }
        }
    }
}

/// `option:client-arch,7`, `175`, `60,"PXEClient"`: an option of the request and its value
fn matched(line: &Line, value: &str, report: &mut Report) -> Result<Conditions, String> {
    let (option, value) =
        value.split_once(',').map_or((value, None), |(option, value)| (option, Some(value)));
    let code =
        options::code(option).ok_or_else(|| format!("`{option}` is no option that `match` looks at"))?;
    match (code, value) {
        (93, Some(number)) => arch(number).map(Conditions::arch),
        (175, value) => {
            if value.is_some() {
                report.lost(line, "in part: `match` knows iPXE by option 175, and not what it can do");
            }
            Ok(Conditions::one(Key::Loader, "ipxe"))
        }
        (60, Some(text)) => pattern(Key::Vendor, text),
        (77, Some(text)) => user_class(text),
        (97, Some(bytes)) => uuid(bytes),
        (60 | 77 | 93 | 97, None) => {
            Err("that a client sends an option at all is nothing that `match` looks at".to_owned())
        }
        _ => Err(format!("option {code} is none that `match` looks at")),
    }
}

/// A number, in decimal or as two bytes in hex
fn arch(text: &str) -> Result<u16, String> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    match bytes.as_deref() {
        Some([high, low]) if text.contains(':') => Ok(u16::from_be_bytes([*high, *low])),
        _ => text.parse().map_err(|_| format!("`{text}` is no architecture's number")),
    }
}

fn user_class(text: &str) -> Result<Conditions, String> {
    // FlexBoot is an iPXE that does not say so here; the loader is known all the same.
    if text == "iPXE" { Ok(Conditions::one(Key::Loader, "ipxe")) } else { pattern(Key::UserClass, text) }
}

/// dnsmasq looks for the text anywhere in the value
fn pattern(key: Key, text: &str) -> Result<Conditions, String> {
    if values::is_literal(text) {
        Ok(Conditions::one(key, format!("*{text}*")))
    } else {
        Err(format!("`{text}` is no text that a pattern can hold"))
    }
}

fn mac(text: &str) -> Result<Conditions, String> {
    match values::hardware(text) {
        Some(Hardware::Mac(glob) | Hardware::Pattern(glob)) => Ok(Conditions::one(Key::Mac, glob)),
        Some(Hardware::Foreign) => Err("reveille knows Ethernet addresses only".to_owned()),
        None => Err(format!("`{text}` is no MAC address")),
    }
}

/// What a relay says of a client's place
fn agent_id(key: Key, text: &str) -> Result<Conditions, String> {
    let is_hex = text.contains(':')
        && text.split(':').all(|byte| u8::from_str_radix(byte, 16).is_ok() && byte.len() == 2);
    if is_hex {
        Ok(Conditions::one(key, format!("0x{}", text.replace(':', "").to_ascii_lowercase())))
    } else if values::is_literal(text) && !text.starts_with("0x") {
        Ok(Conditions::one(key, text))
    } else {
        Err(format!("`{text}` is no text that a pattern can hold"))
    }
}

/// Option 97: a type byte of zero, then the UUID
fn uuid(text: &str) -> Result<Conditions, String> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    match bytes.as_deref() {
        Some([0, uuid @ ..]) if uuid.len() == 16 => {
            let digits: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(Conditions::one(Key::Uuid, digits))
        }
        _ => Err(format!("`{text}` is no whole UUID (17 bytes, the first of them 00)")),
    }
}

fn tag_if(line: &Line, tags: &mut Tags) {
    let wanted: Vec<Tag> = line.texts().filter_map(Tag::parse).collect();
    for name in line.texts().filter_map(|word| word.strip_prefix("set:")) {
        if let Some(tag) = wanted.iter().find(|tag| tag.name.ends_with('*')) {
            tags.cannot_know(name, format!("depends on the pattern of tags {}", tag.name));
        } else {
            tags.set_if(name, Conditions::default(), wanted.clone());
        }
    }
}
