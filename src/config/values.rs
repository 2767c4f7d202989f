//! Values of the configuration as text: ranges, networks, durations, names. Each error says what to write.

use std::net::Ipv4Addr;

use super::errors::nearest;
use crate::boot::client::{Arch, Uuid};
use crate::boot::plan::{Cidr, LoaderName, Mode, Range};
use crate::time::Duration;

/// Bytes of an image's name: it is a part of many paths
const IMAGE_NAME_MAX: usize = 64;
/// Bytes of a term of `boot-once`
const TERM_MAX: usize = 64;

/// What option 51 writes for a lease without an end (RFC 2131 §3.3)
pub const LEASE_INFINITE: Duration = Duration::from_secs(u32::MAX as u64);
/// The lease time when nothing is said
pub(super) const LEASE_DEFAULT: Duration = Duration::from_secs(12 * 3_600);
/// Renewals at half of it must not become a load of their own
const LEASE_MIN_S: u64 = 10;

/// At less than that a loader alone takes a minute
const RATE_MIN: u64 = 1_000_000;

/// A value, or what is wrong with it and what to write
pub(super) type Parsed<T> = Result<T, String>;

pub(super) fn address(text: &str) -> Parsed<Ipv4Addr> {
    text.parse().map_err(|_| format!("`{text}` is no IPv4 address: write one like \"192.168.99.1\""))
}

pub(super) fn cidr(text: &str) -> Parsed<Cidr> {
    let wrong = || format!("`{text}` is no IPv4 network: write one like \"10.44.0.0/24\"");
    let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
    let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
    let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= 32).ok_or_else(wrong)?;
    let cidr = Cidr::new(address, prefix);
    if cidr.address == address {
        Ok(cidr)
    } else {
        Err(format!("`{text}` is an address in a network: the network itself is \"{cidr}\""))
    }
}

pub(super) fn range(text: &str) -> Parsed<Range> {
    let wrong =
        || format!("`{text}` is no range of addresses: write one like \"192.168.99.50-192.168.99.99\"");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first = first.trim().parse().map_err(|_| wrong())?;
    let last = last.trim().parse().map_err(|_| wrong())?;
    if first <= last {
        Ok(Range { first, last })
    } else {
        Err(format!("`{text}` runs backwards: write \"{last}-{first}\""))
    }
}

pub(super) fn lease(text: &str) -> Parsed<Duration> {
    let wrong = || {
        format!("`{text}` is no lease time: write one like \"12h\", \"30m\", \"90s\", \"7d\" or \"infinite\"")
    };
    if text == "infinite" {
        return Ok(LEASE_INFINITE);
    }
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let unit_s = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let lease = Duration::from_secs(count.saturating_mul(unit_s));
    if lease.as_secs() < LEASE_MIN_S {
        return Err(format!("`{text}` is too short: the shortest lease is \"{LEASE_MIN_S}s\""));
    }
    if lease >= LEASE_INFINITE {
        return Err(format!("`{text}` is longer than DHCP can say: write \"infinite\""));
    }
    Ok(lease)
}

/// Bits a second
pub(super) fn rate(text: &str) -> Parsed<u64> {
    let wrong = || format!("`{text}` is no rate: write bits a second like \"1G\", \"250M\" or \"2.5G\"");
    let (digits, unit) = match text.chars().next_back() {
        Some('G') => (&text[..text.len() - 1], 1_000_000_000),
        Some('M') => (&text[..text.len() - 1], 1_000_000),
        _ => return Err(wrong()),
    };
    let (whole, tenths) = digits.split_once('.').unwrap_or((digits, "0"));
    let number = |digits: &str, len_max: usize| {
        let is_number =
            (1..=len_max).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse::<u64>().ok()).flatten().ok_or_else(wrong)
    };
    let rate = number(whole, 6)? * unit + number(tenths, 1)? * (unit / 10);
    if rate < RATE_MIN {
        return Err(format!(
            "`{text}` is too little to boot by: the least rate is \"{}M\"",
            RATE_MIN / 1_000_000
        ));
    }
    Ok(rate)
}

pub(super) fn mode(text: &str) -> Parsed<Mode> {
    choose(text, "way of DHCP", &MODES)
}

/// The values of `dhcp`
pub(super) const MODES: [(&str, Mode); 4] =
    [("full", Mode::Full), ("proxy", Mode::Proxy), ("take-over", Mode::TakeOver), ("off", Mode::Off)];

/// The name of a mode, as the configuration writes it
pub fn mode_name(mode: Mode) -> &'static str {
    MODES.iter().find(|(_, one)| *one == mode).map_or("", |(name, _)| name)
}

/// An architecture by name or IANA number
pub fn arch(text: &str) -> Parsed<Arch> {
    Arch::from_name(text).ok_or_else(|| {
        let names: Vec<_> = Arch::names().collect();
        unknown("architecture", text, &names) + ", or an IANA number"
    })
}

/// A loader by name
pub fn loader(text: &str) -> Parsed<LoaderName> {
    if ["pxelinux", "lpxelinux", "syslinux", "shim"].contains(&text) {
        return Err(format!(
            "`{text}` sends no DHCP of its own, so that no rule could match it: what it loads lies beside its boot file"
        ));
    }
    choose(text, "loader", &LoaderName::ALL)
}

/// One of a few names
pub(super) fn choose<T: Copy>(text: &str, what: &str, known: &[(&'static str, T)]) -> Parsed<T> {
    known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        unknown(what, text, &names)
    })
}

fn unknown(what: &str, text: &str, names: &[&str]) -> String {
    let meant = nearest(text, names.iter().copied());
    let meant = meant.map_or(String::new(), |name| format!("do you mean `{name}`? "));
    format!("unknown {what} `{text}`: {meant}known are {}", names.join(", "))
}

/// A MAC glob in the form that plans compare: lower case, colons
pub(super) fn mac_glob(text: &str) -> Parsed<String> {
    let glob = text.to_ascii_lowercase().replace('-', ":");
    let is_glob = |b: u8| b.is_ascii_hexdigit() || b":*?".contains(&b);
    if glob.is_empty() || glob.len() > 17 || !glob.bytes().all(is_glob) {
        return Err(format!(
            "`{text}` matches no MAC address: write one like \"88:99:aa:bb:cc:dd\", a prefix like \"88:99:aa\" or \"*:cc:dd\""
        ));
    }
    // `8899aa` would match nothing, silently.
    let starred = glob.contains(['*', '?']);
    let well_cut = glob.split(':').all(|part| part.len() <= 2 || part.contains('*'));
    if !well_cut || (!starred && glob.split(':').any(|part| part.len() != 2)) {
        return Err(format!(
            "`{text}` matches no MAC address: write two digits between colons, as in \"88:99:aa\""
        ));
    }
    Ok(glob)
}

/// A UUID as people write it, with or without hyphens
pub fn uuid(text: &str) -> Parsed<Uuid> {
    let wrong = || format!("`{text}` is no UUID: write one like \"4c4c4544-0051-3510-8052-b4c04f564231\"");
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    let dashes: Vec<usize> = text.bytes().enumerate().filter(|(_, b)| *b == b'-').map(|(i, _)| i).collect();
    if digits.len() != 32 || !(dashes.is_empty() || dashes == [8, 13, 18, 23]) {
        return Err(wrong());
    }
    let mut uuid = [0; 16];
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
    }
    Ok(Uuid(uuid))
}

/// A host name (RFC 1123 §2.1), as option 12 takes it
pub(super) fn hostname(text: &str) -> Parsed<String> {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(is_label) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no host name: letters, digits and hyphens only, as in \"node-01\""))
    }
}

/// Bytes in hex, with or without colons or spaces between them
pub fn hex(text: &str) -> Parsed<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b": ".contains(b)).collect();
    let pairs = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    pairs
        .collect::<Option<Vec<u8>>>()
        .filter(|bytes| !bytes.is_empty())
        .ok_or_else(|| format!("`{text}` is not hex: write pairs of digits, as in \"01:a2:ff\""))
}

/// A path in an image, which stands in scripts as it is
pub(super) fn image_path(text: &str) -> Result<String, String> {
    let path = text.trim_start_matches('/');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./+".contains(&byte);
    if path.is_empty() || !path.bytes().all(fits) {
        return Err(format!(
            "`{}` is no path in an image: write one like \"casper/vmlinuz\"",
            text.escape_debug()
        ));
    }
    Ok(path.to_owned())
}

/// The name of a template: the first part of its paths
pub(super) fn template_name(text: &str) -> Result<(), String> {
    image_name(text).map_err(|message| message.replace("an image", "a template"))?;
    if ["images", "done"].contains(&text) {
        return Err(format!("paths below /{text} are this server's own: choose another name"));
    }
    Ok(())
}

/// A term of `boot-once`: it stands in the file that remembers who is done
pub(super) fn term(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:+".contains(&byte);
    if text.is_empty() || text.len() > TERM_MAX || !text.bytes().all(fits) {
        return Err(format!(
            "`{}` is no term: write true, or a text like \"2026-11-24\" of letters, digits, `-`, `_`, `.`, `:` and `+`, {TERM_MAX} at most",
            text.escape_debug()
        ));
    }
    Ok(text.to_owned())
}

/// The name of an image: a part of a path that needs no escape in a URL, a menu or a command line
pub(super) fn image_name(text: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > IMAGE_NAME_MAX || text.starts_with('.') || !text.bytes().all(fits) {
        return Err(format!(
            "`{}` is no name for an image: write letters, digits, `-`, `_` and `.`, {IMAGE_NAME_MAX} at most",
            text.escape_debug()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, bits) in
            [("1G", 1_000_000_000), ("2.5G", 2_500_000_000), ("250M", 250_000_000), ("1M", 1_000_000)]
        {
            assert_eq!(rate(text), Ok(bits), "{text}");
        }
        for text in ["", "G", "1", "1g", ".5G", "1.G", "1.25G", "-1G", "1000k", "0.5M", "0G", "9999999G", "é"]
        {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn leases() {
        for (text, seconds) in
            [("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("infinite", u64::from(u32::MAX))]
        {
            assert_eq!(lease(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "12", "h", "12 h", "-1h", "9s", "999999d", "1h30m", "12ü"] {
            assert!(lease(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ranges_and_networks() {
        assert_eq!(range("10.0.0.1-10.0.0.9").unwrap().last, Ipv4Addr::new(10, 0, 0, 9));
        assert_eq!(range("10.0.0.1").unwrap().first, range("10.0.0.1").unwrap().last);
        assert_eq!(
            range("10.0.0.9-10.0.0.1").unwrap_err(),
            "`10.0.0.9-10.0.0.1` runs backwards: write \"10.0.0.1-10.0.0.9\""
        );
        assert!(range("10.0.0.1-9").is_err());
        assert_eq!(cidr("10.44.0.0/24").unwrap().prefix, 24);
        assert_eq!(
            cidr("10.44.0.7/24").unwrap_err(),
            "`10.44.0.7/24` is an address in a network: the network itself is \"10.44.0.0/24\""
        );
        assert!(cidr("10.44.0.0").is_err() && cidr("10.44.0.0/33").is_err());
    }

    #[test]
    fn names_are_suggested() {
        assert_eq!(
            mode("prxy").unwrap_err(),
            "unknown way of DHCP `prxy`: do you mean `proxy`? known are full, proxy, take-over, off"
        );
        assert!(
            arch("x64-efi")
                .unwrap_err()
                .starts_with("unknown architecture `x64-efi`: do you mean `x64-uefi`?")
        );
        assert!(loader("pxelinux").unwrap_err().contains("no DHCP of its own"));
    }

    #[test]
    fn mac_globs() {
        for (text, expected) in
            [("88:99:AA", "88:99:aa"), ("88-99-aa-*", "88:99:aa:*"), ("*:d?", "*:d?"), ("88*", "88*")]
        {
            assert_eq!(mac_glob(text).as_deref(), Ok(expected));
        }
        for text in ["", "8899aa", "88:9", "xx:99", "88:99:aa:bb:cc:dd:ee"] {
            assert!(mac_glob(text).is_err(), "{text}");
        }
    }

    #[test]
    fn uuids_and_hex() {
        let text = "4c4c4544-0051-3510-8052-b4c04f564231";
        assert_eq!(uuid(text).unwrap().to_string(), text);
        assert_eq!(uuid(&text.replace('-', "")), uuid(text));
        assert!(uuid("4c4c4544").is_err() && uuid("4c4c45440051-3510-8052-b4c0-4f564231").is_err());
        assert_eq!(hex("01:a2 FF"), Ok(vec![1, 0xa2, 0xff]));
        assert!(hex("").is_err() && hex("1").is_err() && hex("zz").is_err());
        assert!(hostname("node-01.lab").is_ok() && hostname("node_01").is_err() && hostname("").is_err());
    }
}
