//! `dhcp-option` → `router`, `dns`, `domain`, `ntp` and `options` of a network or subnet.
//!
//! Of lines for one option dnsmasq takes one whose tags hold before one without, and the last of the file first.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::line::{Line, Word};
use super::networks::Networks;
use super::report::Report;
use super::tags::{Tag, Tags};
use super::values;
use crate::boot::plan::Mode;

/// An option as the configuration writes it
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `ip`
    Addresses(Vec<Ipv4Addr>),
    /// `text`
    Text(String),
    /// `hex`
    Bytes(Vec<u8>),
    /// `u8`, `u16` or `u32` by its size in bytes
    Number(u32, u8),
    /// Nothing: what dnsmasq sends by itself is not sent
    Nothing,
}

/// A `dhcp-option` that says something of the boot file, which `[[boot]]` says here
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BootOption {
    pub(super) line: usize,
    pub(super) tags: Vec<Tag>,
    /// Option 67
    pub(super) file: Option<String>,
    /// Option 66 or 150
    pub(super) server: Option<Ipv4Addr>,
}

/// The options of one network or subnet: by their code, with their line
pub(super) type Options = BTreeMap<u8, (usize, Value)>;

/// What the lines say
#[derive(Debug, Default)]
pub(super) struct Read {
    /// For every network
    pub(super) everywhere: Options,
    /// By the tag of a range
    pub(super) tagged: BTreeMap<String, Options>,
    /// Of the boot file
    pub(super) boot: Vec<BootOption>,
}

/// What one option holds (RFC 2132 §2)
const VALUE_MAX: usize = 255;

/// One line, taken apart
struct One<'l> {
    tags: Vec<Tag>,
    code: u8,
    words: &'l [Word],
}

/// Reads the lines; `scopes` are the tags of ranges and the names of interfaces
pub(super) fn read(lines: &[Line], networks: &Networks, tags: &Tags, report: &mut Report) -> Read {
    let mut read = Read::default();
    let is_proxy = networks.mode() == Some(Mode::Proxy);
    let keys = ["dhcp-option", "dhcp-option-force"];
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| keys.contains(&line.key.as_str())) {
        let one = match parse(line) {
            Ok(one) => one,
            Err(Unread::Needless(why)) => {
                report.needless(line, why);
                continue;
            }
            Err(Unread::Lost(why)) => {
                report.lost(line, why);
                continue;
            }
        };
        if matches!(one.code, 66 | 67 | 150 | 255) {
            match boot_option(index, &one) {
                Ok(option) => read.boot.push(option),
                Err(why) => report.lost(line, why),
            }
            continue;
        }
        if is_proxy {
            report.needless(line, "beside another DHCP server, that server sends the options");
            continue;
        }
        let value = match value(one.code, one.words) {
            Ok(Value::Text(text)) if one.code == 15 && !values::is_hostname(&text) => {
                report.lost(line, format!("`{text}` is no domain name"));
                continue;
            }
            Ok(Value::Text(text)) if text.len() > VALUE_MAX => {
                report.lost(line, format!("an option holds {VALUE_MAX} bytes"));
                continue;
            }
            Ok(value) => value,
            Err(why) => {
                report.lost(line, why);
                continue;
            }
        };
        let into = match one.tags.as_slice() {
            [] => &mut read.everywhere,
            [tag] if !tag.negated && is_of_range(&tag.name, networks) => {
                read.tagged.entry(tag.name.clone()).or_default()
            }
            tags_of_line => {
                report.lost(line, why_not(tags_of_line, tags));
                continue;
            }
        };
        into.insert(one.code, (index, value));
    }
    read
}

fn is_of_range(tag: &str, networks: &Networks) -> bool {
    networks.scopes().any(|(network, scope)| {
        scope.sets.iter().any(|set| set == tag) || (network.interface == tag && scope.mode.is_some())
    })
}

fn why_not(wanted: &[Tag], tags: &Tags) -> String {
    match wanted.iter().find(|tag| !tag.negated && !tags.is_set(&tag.name)) {
        Some(tag) => format!("no line sets the tag {}", tag.name),
        None => "options are a network's or subnet's: they go to all of its clients, not to those with a tag"
            .to_owned(),
    }
}

/// Why a line is no option of a network
enum Unread {
    Needless(String),
    Lost(String),
}

fn parse(line: &Line) -> Result<One<'_>, Unread> {
    let lost = |why: &str| Unread::Lost(why.to_owned());
    let mut tags = Vec::new();
    let mut words = line.words.as_slice();
    while let [word, rest @ ..] = words {
        let text = word.text.as_str();
        if let Some(tag) = Tag::parse(text) {
            tags.push(tag);
        } else if text.starts_with("vendor:") || text == "encap:43" {
            let pxe = text
                .strip_prefix("vendor:")
                .is_none_or(|class| class.is_empty() || class.starts_with("PXEClient"));
            return Err(match pxe {
                true => Unread::Needless("reveille composes option 43 for PXE clients itself".to_owned()),
                false => lost("reveille sends no vendor options (43) but PXE's"),
            });
        } else if text == "encap:175" {
            return Err(Unread::Needless("reveille composes option 175 for iPXE itself".to_owned()));
        } else if text.starts_with("encap:") || text.starts_with("vi-encap:") {
            return Err(lost("reveille sends no encapsulated options"));
        } else if text.starts_with("option6:") {
            return Err(lost("reveille serves IPv4 only"));
        } else if text.chars().next().is_some_and(|c| c.is_ascii_alphabetic())
            && !text.starts_with("option:")
            && tags.is_empty()
        {
            // Before `tag:` existed, a first word that is no option was the tag.
            tags.push(Tag::named(text));
        } else {
            let code = code(text)
                .ok_or_else(|| Unread::Lost(format!("`{text}` is no option that is known by name")))?;
            return match own(code) {
                Some(why) => Err(Unread::Needless(why.to_owned())),
                None => Ok(One { tags, code, words: rest }),
            };
        }
        words = rest;
    }
    Err(lost("it names no option"))
}

/// What reveille writes by itself
fn own(code: u8) -> Option<&'static str> {
    Some(match code {
        0 => "it is no option",
        1 | 28 => "netmask and broadcast address follow from the subnet",
        43 => "reveille composes option 43 for PXE clients itself",
        60 => "reveille answers PXEClient or HTTPClient as it was asked",
        175 => "reveille composes option 175 for iPXE itself",
        58 | 59 => "renewal times follow from the lease",
        12 | 50..=57 | 61 | 77 | 82 | 93 | 94 | 97 | 118 => "it belongs to the protocol itself",
        _ => return None,
    })
}

/// An option by number or name
pub(super) fn code(text: &str) -> Option<u8> {
    match text.strip_prefix("option:") {
        None => text.parse().ok(),
        Some(name) => {
            NAMES.iter().find(|(_, known, _)| known.eq_ignore_ascii_case(name)).map(|(code, ..)| *code)
        }
    }
}

/// What an option holds
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Addresses,
    Text,
    Number(u8),
    /// Names as RFC 1035 writes them (RFC 3397)
    Names,
    /// Routes (RFC 3442)
    Routes,
    /// As it looks
    Any,
}

/// The names that dnsmasq knows (`dnsmasq --help dhcp`) and what IANA says that they hold
const NAMES: &[(u8, &str, Kind)] = &[
    (1, "netmask", Kind::Addresses),
    (2, "time-offset", Kind::Number(4)),
    (3, "router", Kind::Addresses),
    (4, "time-server", Kind::Addresses),
    (6, "dns-server", Kind::Addresses),
    (7, "log-server", Kind::Addresses),
    (9, "lpr-server", Kind::Addresses),
    (13, "boot-file-size", Kind::Number(2)),
    (15, "domain-name", Kind::Text),
    (16, "swap-server", Kind::Addresses),
    (17, "root-path", Kind::Text),
    (18, "extension-path", Kind::Text),
    (19, "ip-forward-enable", Kind::Number(1)),
    (20, "non-local-source-routing", Kind::Number(1)),
    (21, "policy-filter", Kind::Addresses),
    (22, "max-datagram-reassembly", Kind::Number(2)),
    (23, "default-ttl", Kind::Number(1)),
    (26, "mtu", Kind::Number(2)),
    (27, "all-subnets-local", Kind::Number(1)),
    (28, "broadcast", Kind::Addresses),
    (31, "router-discovery", Kind::Number(1)),
    (32, "router-solicitation", Kind::Addresses),
    (33, "static-route", Kind::Addresses),
    (34, "trailer-encapsulation", Kind::Number(1)),
    (35, "arp-timeout", Kind::Number(4)),
    (36, "ethernet-encap", Kind::Number(1)),
    (37, "tcp-ttl", Kind::Number(1)),
    (38, "tcp-keepalive", Kind::Number(4)),
    (40, "nis-domain", Kind::Text),
    (41, "nis-server", Kind::Addresses),
    (42, "ntp-server", Kind::Addresses),
    (44, "netbios-ns", Kind::Addresses),
    (45, "netbios-dd", Kind::Addresses),
    (46, "netbios-nodetype", Kind::Number(1)),
    (47, "netbios-scope", Kind::Text),
    (48, "x-windows-fs", Kind::Addresses),
    (49, "x-windows-dm", Kind::Addresses),
    (58, "T1", Kind::Number(4)),
    (59, "T2", Kind::Number(4)),
    (60, "vendor-class", Kind::Text),
    (64, "nis+-domain", Kind::Text),
    (65, "nis+-server", Kind::Addresses),
    (66, "tftp-server", Kind::Text),
    (67, "bootfile-name", Kind::Text),
    (68, "mobile-ip-home", Kind::Addresses),
    (69, "smtp-server", Kind::Addresses),
    (70, "pop3-server", Kind::Addresses),
    (71, "nntp-server", Kind::Addresses),
    (74, "irc-server", Kind::Addresses),
    (77, "user-class", Kind::Text),
    (93, "client-arch", Kind::Number(2)),
    (94, "client-interface-id", Kind::Any),
    (97, "client-machine-id", Kind::Any),
    (100, "posix-timezone", Kind::Text),
    (101, "tzdb-timezone", Kind::Text),
    (114, "captive-portal", Kind::Text),
    (119, "domain-search", Kind::Names),
    (121, "classless-static-route", Kind::Routes),
    (150, "tftp-server-address", Kind::Addresses),
    (208, "", Kind::Any),
    (209, "", Kind::Text),
    (210, "", Kind::Text),
    (211, "", Kind::Number(4)),
    (249, "", Kind::Routes),
    (255, "server-ip-address", Kind::Addresses),
];

fn kind(code: u8) -> Kind {
    NAMES.iter().find(|(known, ..)| *known == code).map_or(Kind::Any, |(.., kind)| *kind)
}

/// The value of an option, by what the option holds and else by how the words look
fn value(code: u8, words: &[Word]) -> Result<Value, String> {
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    if texts.iter().all(|text| text.is_empty()) {
        return Ok(Value::Nothing);
    }
    let joined = texts.join(",");
    let is_text = words.iter().any(|word| word.quoted);
    let addresses = || texts.iter().map(|text| text.parse().ok()).collect::<Option<Vec<Ipv4Addr>>>();
    let wrong = |what: &str| format!("`{joined}` is no {what}");
    match kind(code) {
        Kind::Addresses => addresses().map(Value::Addresses).ok_or_else(|| wrong("list of IPv4 addresses")),
        Kind::Text => Ok(Value::Text(joined)),
        Kind::Number(bytes) => {
            number(&joined).map(|n| Value::Number(n, bytes)).ok_or_else(|| wrong("number"))
        }
        Kind::Names => names(&texts).map(Value::Bytes).ok_or_else(|| wrong("list of domains")),
        Kind::Routes => routes(&texts).map(Value::Bytes).ok_or_else(|| wrong("list of networks and routers")),
        Kind::Any if is_text => Ok(Value::Text(joined)),
        Kind::Any => Ok(match (addresses(), hex(&joined), number(&joined)) {
            (Some(addresses), ..) => Value::Addresses(addresses),
            (None, Some(bytes), _) => Value::Bytes(bytes),
            (None, None, Some(number)) => Value::Number(number, size(number)),
            (None, None, None) => Value::Text(joined),
        }),
    }
}

/// A decimal number, perhaps with the size that it shall have (`4b`, `4s`, `4i`)
fn number(text: &str) -> Option<u32> {
    text.trim_end_matches(['b', 's', 'i'])
        .parse::<i64>()
        .ok()
        .and_then(|n| u32::try_from(n).ok().or_else(|| i32::try_from(n).ok().map(i32::cast_unsigned)))
}

/// dnsmasq sends a number of unknown size in as few bytes as hold it
fn size(number: u32) -> u8 {
    match number {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 4,
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.contains(':') {
        return None;
    }
    text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() <= 2)).collect()
}

/// RFC 1035 §3.1, without compression
fn names(texts: &[&str]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for text in texts {
        for label in text.trim_end_matches('.').split('.') {
            bytes.push(u8::try_from(label.len()).ok().filter(|len| (1..=63).contains(len))?);
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
    }
    Some(bytes)
}

/// RFC 3442: prefix length, its significant bytes, router
fn routes(texts: &[&str]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for pair in texts.chunks(2) {
        let [network, router] = pair else { return None };
        let (address, prefix) = network.split_once('/').unwrap_or((network, "32"));
        let address: Ipv4Addr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        bytes.push(prefix);
        bytes.extend(&address.octets()[..usize::from(prefix.div_ceil(8))]);
        bytes.extend(router.parse::<Ipv4Addr>().ok()?.octets());
    }
    Some(bytes)
}

fn boot_option(line: usize, one: &One<'_>) -> Result<BootOption, String> {
    let text = one.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(",");
    let mut option = BootOption { line, tags: one.tags.clone(), file: None, server: None };
    match one.code {
        67 => option.file = Some(text),
        _ => {
            let address = text.parse().map_err(|_| {
                format!("`{text}` is no IPv4 address, which is what firmware takes: write it as the `server` of a [[boot]] rule")
            })?;
            option.server = Some(address);
        }
    }
    Ok(option)
}

#[cfg(test)]
mod tests {
    use super::super::line::words;
    use super::*;

    fn of(code: u8, text: &str) -> Result<Value, String> {
        value(code, &words(text).unwrap())
    }

    #[test]
    fn values_by_code_and_by_look() {
        let ip = |a, b, c, d| Ipv4Addr::new(a, b, c, d);
        assert_eq!(of(3, "10.0.0.1,10.0.0.2"), Ok(Value::Addresses(vec![ip(10, 0, 0, 1), ip(10, 0, 0, 2)])));
        assert_eq!(of(3, ""), Ok(Value::Nothing));
        assert_eq!(of(26, "1400"), Ok(Value::Number(1400, 2)));
        assert_eq!(of(2, "-3600"), Ok(Value::Number(0xffff_f1f0, 4)));
        assert_eq!(of(17, "10.0.0.1:/srv,ro"), Ok(Value::Text("10.0.0.1:/srv,ro".into())));
        assert_eq!(of(224, "01:ff"), Ok(Value::Bytes(vec![1, 0xff])));
        assert_eq!(of(224, "\"01:ff\""), Ok(Value::Text("01:ff".into())));
        assert_eq!(of(224, "300"), Ok(Value::Number(300, 2)));
        assert_eq!(of(119, "a.b"), Ok(Value::Bytes(b"\x01a\x01b\0".to_vec())));
        assert_eq!(of(121, "10.44.0.0/16,10.0.0.1"), Ok(Value::Bytes(vec![16, 10, 44, 10, 0, 0, 1])));
        assert!(of(6, "dns.example").is_err() && of(26, "big").is_err());
    }

    #[test]
    fn options_by_name() {
        assert_eq!(code("option:ntp-server"), Some(42));
        assert_eq!(code("121"), Some(121));
        assert_eq!(code("option:nonsense"), None);
    }
}
