//! Rules and what they match: conditions on a client, all of which must hold.

use std::net::Ipv4Addr;

use super::super::client::{Arch, Client, Loader, Uuid, Wants};
use super::{Assigned, BootFile, Cidr, Local, Mode, Reason, Subnet, Vars};
use crate::wire::ethernet::MacAddr;

/// One `[[boot]]` rule
#[derive(Clone, Debug)]
pub struct Rule {
    /// All of these must hold; none: every client that network-boots
    pub matches: Vec<Match>,
    /// What it boots
    pub boots: Boots,
    /// The image that the loader's configuration boots
    pub image: Option<Assigned>,
    /// Whether those that it matches boot from their own disks instead
    pub local: Local,
    /// Values for their templates
    pub vars: Vars,
    /// The mode for clients that it matches
    pub mode: Option<Mode>,
    /// Why, as an answer reports it
    pub reason: Reason,
}

/// What a rule says of the boot file
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boots {
    /// This one
    File(BootFile),
    /// None, on purpose (`file = ""`)
    Nothing,
    /// Nothing is said: the next rule that matches decides
    Unsaid,
}

/// One condition of a rule
#[derive(Clone, Debug)]
pub enum Match {
    /// The architecture is one of these (7 and 9 are the same)
    Arch(Vec<Arch>),
    /// The loader is one of these
    Loader(Vec<LoaderName>),
    /// The MAC address, lower case with colons, matches one of these globs (`*` and `?`; a bare prefix matches what begins with it)
    Mac(Vec<String>),
    /// The UUID is one of these, in either byte order
    Uuid(Vec<Uuid>),
    /// The client's subnet lies in one of these
    Subnet(Vec<Cidr>),
    /// The vendor class matches one of these globs
    Vendor(Vec<String>),
    /// The user class matches one of these globs
    UserClass(Vec<String>),
    /// The relay's circuit id matches one of these globs; a glob that begins with `0x` is held against its lower-case hex
    Circuit(Vec<String>),
    /// The relay's remote id matches one of these globs, likewise
    Remote(Vec<String>),
}

/// The names that `match = { loader = … }` takes. pxelinux and shim have no DHCP of their own, so that no rule could tell them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoaderName {
    /// `rom`
    Rom,
    /// `ipxe`
    Ipxe,
    /// `grub`
    Grub,
    /// `u-boot`
    UBoot,
    /// `raspberry-pi`
    RaspberryPi,
    /// `onie`
    Onie,
    /// `system`: an operating system
    System,
}

impl LoaderName {
    /// All of them, with their names
    pub const ALL: [(&'static str, Self); 7] = [
        ("rom", Self::Rom),
        ("ipxe", Self::Ipxe),
        ("grub", Self::Grub),
        ("u-boot", Self::UBoot),
        ("raspberry-pi", Self::RaspberryPi),
        ("onie", Self::Onie),
        ("system", Self::System),
    ];

    /// The name of what asks
    pub const fn of(loader: Loader) -> Self {
        match loader {
            Loader::Rom => Self::Rom,
            Loader::Ipxe(_) => Self::Ipxe,
            Loader::Grub => Self::Grub,
            Loader::UBoot => Self::UBoot,
            Loader::RaspberryPi => Self::RaspberryPi,
            Loader::Onie => Self::Onie,
            Loader::System => Self::System,
        }
    }

    /// Its name
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, loader)| *loader == self).map_or("", |(name, _)| name)
    }
}

/// Whether the client boots from the network. An operating system that renews its lease must not find a boot file in it
/// and must not be offered an address by a take-over; BOOTP, U-Boot, GRUB and ONIE state no class and boot all the same.
pub fn network_boots(client: &Client<'_>) -> bool {
    client.wants != Wants::Nothing || client.loader != Loader::System
}

/// Whether all the conditions hold. Conditions that name a client itself (its MAC address, UUID, classes, circuit or
/// loader) match whoever it is, a switch that fetches its configuration for one; else only clients that network-boot.
pub(super) fn all_hold(matches: &[Match], client: &Client<'_>, subnet: Option<&Subnet>) -> bool {
    let named = matches.iter().any(|condition| !matches!(condition, Match::Arch(_) | Match::Subnet(_)));
    (named || network_boots(client)) && matches.iter().all(|condition| condition.holds(client, subnet))
}

impl Match {
    pub(super) fn holds(&self, client: &Client<'_>, subnet: Option<&Subnet>) -> bool {
        match self {
            Self::Arch(archs) => {
                client.arch.is_some_and(|arch| archs.iter().any(|one| one.canonical() == arch.canonical()))
            }
            Self::Loader(loaders) => loaders.contains(&LoaderName::of(client.loader)),
            // Zero: the address is not known, or is none of Ethernet's.
            Self::Mac(_) if client.mac == MacAddr::ZERO => false,
            Self::Mac(globs) => {
                let text = mac_text(client.mac);
                globs.iter().any(|glob| mac_matches(glob, &text))
            }
            Self::Uuid(uuids) => {
                client.uuid.is_some_and(|uuid| uuids.contains(&uuid) || uuids.contains(&super::swapped(uuid)))
            }
            Self::Subnet(cidrs) => cidrs.iter().any(|cidr| lies_in(*cidr, client.link, subnet)),
            Self::Vendor(globs) => any_glob(globs, client.vendor_class),
            Self::UserClass(globs) => any_glob(globs, client.user_class),
            Self::Circuit(globs) => globs.iter().any(|glob| agent_matches(glob, client.circuit_id)),
            Self::Remote(globs) => globs.iter().any(|glob| agent_matches(glob, client.remote_id)),
        }
    }
}

/// A subnet that is configured is judged as a whole; of one that is not (a proxy behind a relay), only the relay's address is known
fn lies_in(cidr: Cidr, link: Option<Ipv4Addr>, subnet: Option<&Subnet>) -> bool {
    match subnet {
        Some(subnet) => cidr.prefix <= subnet.cidr.prefix && cidr.contains(subnet.cidr.address),
        None => link.is_some_and(|link| cidr.contains(link)),
    }
}

fn any_glob(globs: &[String], bytes: &[u8]) -> bool {
    globs.iter().any(|glob| glob_matches(glob.as_bytes(), bytes))
}

fn mac_matches(glob: &str, text: &[u8; 17]) -> bool {
    if glob.bytes().any(|b| matches!(b, b'*' | b'?')) {
        glob_matches(glob.as_bytes(), text)
    } else {
        text.starts_with(glob.as_bytes())
    }
}

fn mac_text(mac: MacAddr) -> [u8; 17] {
    let mut text = [b':'; 17];
    for (place, byte) in text.chunks_mut(3).zip(mac.0) {
        place[..2].copy_from_slice(&hex(byte));
    }
    text
}

fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// What a relay says of a client's place, as text or as hex
fn agent_matches(glob: &str, id: &[u8]) -> bool {
    let Some(digits) = glob.strip_prefix("0x") else {
        return glob_matches(glob.as_bytes(), id);
    };
    // An option 82 sub-option holds at most 255 bytes.
    let mut text = [0; 2 * 255];
    let mut len = 0;
    for (place, byte) in text.chunks_mut(2).zip(id) {
        place.copy_from_slice(&hex(*byte));
        len += 2;
    }
    glob_matches(digits.as_bytes(), &text[..len])
}

/// `*` stands for any number of bytes, `?` for one. On a mismatch the last `*` takes one byte more: no recursion, and at
/// most pattern × text steps.
fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut last_star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                last_star = Some((p + 1, t));
                p += 1;
            }
            Some(&b) if b == b'?' || b == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((after, at)) = last_star else { return false };
                (p, t) = (after, at + 1);
                last_star = Some((after, at + 1));
            }
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        let cases: [(&str, &str, bool); 12] = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("PXEClient*", "PXEClient:Arch:00007", true),
            ("PXEClient", "PXEClient:Arch:00007", false),
            ("*00007*", "PXEClient:Arch:00007:UNDI", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbxc", false),
            ("a**", "a", true),
            ("*.efi", "a.efi.efi", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(glob_matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn mac_globs_and_prefixes() {
        let text = mac_text(MacAddr([0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd]));
        assert_eq!(&text, b"88:99:aa:bb:cc:dd");
        for (glob, expected) in
            [("88:99:aa", true), ("88:99:ab", false), ("*:dd", true), ("88:??:aa:*", true), ("99:aa", false)]
        {
            assert_eq!(mac_matches(glob, &text), expected, "{glob}");
        }
    }

    #[test]
    fn circuits_by_text_and_by_hex() {
        for (glob, circuit, expected) in [
            ("rack-7/*", &b"rack-7/12"[..], true),
            ("0x0004002a*", &[0, 4, 0, 0x2a, 1, 1], true),
            ("0x0004002b*", &[0, 4, 0, 0x2a, 1, 1], false),
            ("0x", &[], true),
        ] {
            assert_eq!(agent_matches(glob, circuit), expected, "{glob}");
        }
    }
}
