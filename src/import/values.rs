//! Values that several of dnsmasq's lines share: lease times, hardware addresses, names.

use std::net::Ipv4Addr;

/// dnsmasq's lease time when none is given (dnsmasq(8), `dhcp-range`)
pub(super) const LEASE_DEFAULT: &str = "1h";
/// No lease is shorter (dnsmasq(8), `dhcp-range`)
const LEASE_MIN_S: u64 = 120;

/// A lease time as the configuration writes it: of `12h`, `45m`, `2d`, `1w`, `3600` or `infinite`
pub(super) fn lease(text: &str) -> Option<String> {
    if text == "infinite" {
        return Some(text.to_owned());
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: u64 = digits.parse().ok()?;
    let unit_s = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    let seconds = count.saturating_mul(unit_s).max(LEASE_MIN_S);
    if seconds >= u64::from(u32::MAX) {
        return Some("infinite".to_owned());
    }
    let units = [("d", 86_400), ("h", 3_600), ("m", 60)];
    let (unit, unit_s) = units.into_iter().find(|(_, unit_s)| seconds % unit_s == 0).unwrap_or(("s", 1));
    Some(format!("{}{unit}", seconds / unit_s))
}

/// A hardware address, perhaps with `*` for bytes
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hardware {
    /// One Ethernet address
    Mac(String),
    /// A pattern, as `match = { mac = … }` takes it
    Pattern(String),
    /// Of another hardware type
    Foreign,
}

/// `11:22:33:44:55:66`, `11:22:33:*:*:*`, `01-11:22:33:44:55:66`; `None`: it is none
pub(super) fn hardware(text: &str) -> Option<Hardware> {
    let (htype, address) = match text.split_once('-') {
        Some((htype, address)) if address.contains(':') => (u8::from_str_radix(htype, 16).ok()?, address),
        _ => (1, text),
    };
    let address = address.replace('-', ":").to_ascii_lowercase();
    let bytes: Vec<&str> = address.split(':').collect();
    let is_byte = |byte: &&str| {
        *byte == "*" || (matches!(byte.len(), 1 | 2) && byte.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    if bytes.len() < 2 || !bytes.iter().all(is_byte) {
        return None;
    }
    if htype != 1 || bytes.len() != 6 {
        return Some(Hardware::Foreign);
    }
    let bytes: Vec<String> =
        bytes.iter().map(|byte| if *byte == "*" { "*".to_owned() } else { format!("{byte:0>2}") }).collect();
    let fixed = bytes.iter().take_while(|byte| *byte != "*").count();
    Some(if fixed == 6 {
        Hardware::Mac(bytes.join(":"))
    } else if fixed > 0 && bytes[fixed..].iter().all(|byte| byte == "*") {
        Hardware::Pattern(bytes[..fixed].join(":"))
    } else {
        // `*` is one byte here, and any number of characters in a pattern: `??` is the same.
        Hardware::Pattern(bytes.join(":").replace('*', "??"))
    })
}

/// A host name as option 12 takes it (RFC 1123 §2.1)
pub(super) fn is_hostname(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Whether a text can stand in a pattern for itself
pub(super) fn is_literal(text: &str) -> bool {
    !text.is_empty() && !text.contains(['*', '?']) && text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

/// An IPv6 word, with or without its brackets
pub(super) fn is_ipv6(text: &str) -> bool {
    let inner = text.trim_start_matches('[').split([']', '/']).next().unwrap_or_default();
    text.contains("::") || inner.parse::<std::net::Ipv6Addr>().is_ok()
}

/// A netmask's prefix length
pub(super) fn prefix(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    (bits.leading_ones() + bits.trailing_zeros() == 32 || bits == u32::MAX || bits == 0)
        .then(|| u8::try_from(bits.leading_ones()).unwrap_or(32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_times() {
        for (text, expected) in [
            ("12h", "12h"),
            ("45m", "45m"),
            ("3600", "1h"),
            ("90", "2m"),
            ("1w", "7d"),
            ("24h", "1d"),
            ("125s", "125s"),
            ("infinite", "infinite"),
            ("9999999999", "infinite"),
        ] {
            assert_eq!(lease(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(lease("node1"), None);
        assert_eq!(lease("h"), None);
    }

    #[test]
    fn hardware_addresses() {
        let mac = |text: &str| Some(Hardware::Mac(text.to_owned()));
        let pattern = |text: &str| Some(Hardware::Pattern(text.to_owned()));
        assert_eq!(hardware("11:22:33:44:55:6A"), mac("11:22:33:44:55:6a"));
        assert_eq!(hardware("1:2:3:4:5:6"), mac("01:02:03:04:05:06"));
        assert_eq!(hardware("01-11:22:33:44:55:66"), mac("11:22:33:44:55:66"));
        assert_eq!(hardware("00:60:8C:*:*:*"), pattern("00:60:8c"));
        assert_eq!(hardware("00:60:8c:*:*:1"), pattern("00:60:8c:??:??:01"));
        assert_eq!(hardware("06-00:20:e0:3b:13:af"), Some(Hardware::Foreign));
        assert_eq!(hardware("node-1"), None);
        assert_eq!(hardware("10.0.0.1"), None);
    }

    #[test]
    fn masks() {
        assert_eq!(prefix(Ipv4Addr::new(255, 255, 255, 0)), Some(24));
        assert_eq!(prefix(Ipv4Addr::BROADCAST), Some(32));
        assert_eq!(prefix(Ipv4Addr::UNSPECIFIED), Some(0));
        assert_eq!(prefix(Ipv4Addr::new(255, 0, 255, 0)), None);
    }
}
