//! Names within text: of files that loaders ask for, URLs, heads of requests. Replaced where they stand.

use std::net::Ipv4Addr;

use super::names::Names;

/// Headers that say who somebody is, in small letters
const TELLING: [&str; 5] =
    ["cookie", "set-cookie", "authorization", "proxy-authorization", "onie-serial-number"];
/// What is asked of a script by these names says so too
const ASKED: [&str; 9] =
    ["serial", "asset", "hostname", "host", "name", "domain", "token", "key", "password"];

/// What the root path of a disk on the network begins with
const ISCSI: &[u8] = b"iscsi:";

/// Replaces all that is known to be a name in `bytes`
pub(super) fn rename(bytes: &mut [u8], names: &mut Names) {
    hosts(bytes, names);
    asked(bytes, names);
    if bytes.starts_with(ISCSI) {
        // A server, and a target that is named after it (RFC 4173)
        return names.scramble_text(&mut bytes[ISCSI.len()..]);
    }
    let mut at = 0;
    while at < bytes.len() {
        let is_inside = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'.');
        let taken = if is_inside { 0 } else { word(bytes, at, names) };
        at += taken.max(1);
    }
}

/// Replaces a word that begins `at` and is a name; returns how long it is
fn word(bytes: &mut [u8], at: usize, names: &mut Names) -> usize {
    let rest = &bytes[at..];
    if let Some(uuid) = uuid(rest) {
        write_hex(&mut bytes[at..at + 36], &names.new_uuid(uuid));
        return 36;
    }
    if let Some((offset, mac)) = mac(rest) {
        if mac[0] & 1 == 0 && mac != [0; 6] {
            let new = names.new_mac(mac);
            write_hex(&mut bytes[at + offset..at + offset + 17], &new);
        }
        return offset + 17;
    }
    let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let behind = rest.get(digits).copied();
    if digits == 12
        && let Some(mac) = hex(&rest[..12]).and_then(|bytes| <[u8; 6]>::try_from(bytes).ok())
        && names.knows_mac(mac)
    {
        let new = names.new_mac(mac);
        write_hex(&mut bytes[at..at + 12], &new);
        return 12;
    }
    if let Some((address, len)) = address(rest) {
        let new = names.new_address(address).to_string();
        if new.len() == len {
            bytes[at..at + len].copy_from_slice(new.as_bytes());
        }
        return len;
    }
    let before = &bytes[..at];
    let is_config = before.ends_with(b"pxelinux.cfg/") || before.ends_with(b"grub.cfg-");
    if (1..=8).contains(&digits)
        && (is_config || digits == 8)
        && !behind.is_some_and(|byte| byte.is_ascii_alphanumeric())
    {
        let text = String::from_utf8_lossy(&rest[..digits]).into_owned();
        if let Some(client) = names.client_of(&text) {
            let new = format!("{:08X}", names.new_address(client).to_bits());
            write_digits(&mut bytes[at..at + digits], &new);
            return digits;
        }
    }
    // A Raspberry Pi's serial number is the directory that it looks into.
    if digits == 8 && behind == Some(b'/') {
        let mut serial = rest[..8].to_vec();
        names.scramble_text(&mut serial);
        let new: String = serial.iter().map(|byte| format!("{:x}", byte % 16)).collect();
        write_digits(&mut bytes[at..at + 8], &new);
        return 8;
    }
    0
}

/// The names of hosts in URLs, and of users before them
fn hosts(bytes: &mut [u8], names: &Names) {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(3).position(|three| three == b"://") {
        at += found + 3;
        let ends = |byte: &u8| b"/?# \0\r\n".contains(byte);
        let authority = bytes[at..].iter().position(ends).unwrap_or(bytes.len() - at);
        if let Some(user) = bytes[at..at + authority].iter().rposition(|byte| *byte == b'@') {
            names.scramble_text(&mut bytes[at..at + user]);
            at += user + 1;
        }
        let len = bytes[at..]
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || b".-".contains(byte))
            .count();
        if address(&bytes[at..]).is_none() {
            names.scramble_text(&mut bytes[at..at + len]);
        }
        at += len;
    }
}

/// Values in the query of a URL
fn asked(bytes: &mut [u8], names: &Names) {
    let Some(query) = bytes.iter().position(|byte| *byte == b'?') else { return };
    let ends = |byte: &u8| b"&; \0\r\n".contains(byte);
    for pair in bytes[query + 1..].split_mut(ends) {
        let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = pair.split_at_mut(equals);
        let name = String::from_utf8_lossy(name).to_lowercase();
        if ASKED.contains(&name.as_str()) {
            names.scramble_text(&mut value[1..]);
        }
    }
}

/// Whether a line of a head, of which this is the front, says who somebody is
pub(super) fn may_tell(line: &[u8]) -> bool {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default().to_ascii_lowercase();
    let is_whole = name.len() < line.len();
    let fits = |telling: &[u8]| if is_whole { telling == name } else { telling.starts_with(&name) };
    !line.is_empty() && TELLING.iter().chain(&["host"]).any(|telling| fits(telling.as_bytes()))
}

/// As [`rename`], in the head of a request or a response, or in its continuation. `is_inside_name`: that begins within a
/// header that says who somebody is.
pub(super) fn rename_head(bytes: &mut [u8], is_inside_name: bool, names: &mut Names) {
    if is_inside_name && let Some(line) = bytes.split_mut(|byte| *byte == b'\n').next() {
        names.scramble_text(line);
    }
    for line in bytes.split_mut(|byte| *byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at_mut(colon + 1);
        let name = String::from_utf8_lossy(&name[..colon]).to_lowercase();
        let start = value.iter().take_while(|byte| **byte == b' ').count();
        let value = &mut value[start..];
        if TELLING.contains(&name.as_str()) {
            names.scramble_text(value);
        } else if name == "host" && address(value).is_none() {
            let host = value.iter().take_while(|byte| **byte != b':').count();
            names.scramble_text(&mut value[..host]);
        }
    }
    rename(bytes, names);
}

/// A host's name, or its address, and nothing else
pub(super) fn rename_host(bytes: &mut [u8], names: &mut Names) {
    let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, behind) = bytes.split_at_mut(len);
    behind.fill(0);
    match address(text) {
        Some((_, len)) if len == text.len() => rename(text, names),
        _ => names.scramble_text(text),
    }
}

fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    digits.chunks(2).map(|pair| Some(value(pair.first()?)? << 4 | value(pair.get(1)?)?)).collect()
}

/// `4c4c4544-0051-3510-8052-b4c04f564231`
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text = text.get(..36)?;
    let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    text.iter().enumerate().all(|(at, byte)| is_dash(at) == (*byte == b'-')).then_some(())?;
    let digits: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'-').collect();
    hex(&digits)?.try_into().ok()
}

/// `52:54:00:12:34:56` or with hyphens, perhaps behind the `01-` of pxelinux: where it begins, and what it is
fn mac(text: &[u8]) -> Option<(usize, [u8; 6])> {
    let separator = *text.get(2).filter(|byte| b":-".contains(byte))?;
    let pairs: Vec<&[u8]> = text.split(|byte| *byte == separator).take(7).collect();
    let is_pair = |pair: &&&[u8]| pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
    let whole = pairs.iter().take_while(is_pair).count();
    // The last one may be followed by anything but another digit.
    let ends = |at: usize| {
        let pair: &[u8] = pairs.get(at).copied().unwrap_or_default();
        pair.len() >= 2
            && pair[..2].iter().all(u8::is_ascii_hexdigit)
            && !pair.get(2).is_some_and(u8::is_ascii_alphanumeric)
    };
    let offset = match whole {
        6.. if ends(6) => 3,
        5.. if ends(5) => 0,
        _ => return None,
    };
    let digits: Vec<u8> =
        text.get(offset..offset + 17)?.iter().copied().filter(|byte| *byte != separator).collect();
    Some((offset, hex(&digits)?.try_into().ok()?))
}

/// The IPv4 address that the text begins with, and its length
fn address(text: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let address = std::str::from_utf8(&text[..len]).ok()?.parse().ok()?;
    (!text.get(len).is_some_and(u8::is_ascii_alphanumeric)).then_some((address, len))
}

/// Writes digits in place of digits, large where they were large; what separates them stays
fn write_hex(place: &mut [u8], bytes: &[u8]) {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_digits(place, &digits);
}

fn write_digits(place: &mut [u8], digits: &str) {
    let is_large = place.iter().any(u8::is_ascii_uppercase);
    let digits = digits
        .bytes()
        .map(|digit| if is_large { digit.to_ascii_uppercase() } else { digit.to_ascii_lowercase() });
    for (byte, digit) in place.iter_mut().filter(|byte| byte.is_ascii_hexdigit()).zip(digits) {
        *byte = digit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(text: &str, names: &mut Names) -> String {
        let mut bytes = text.as_bytes().to_vec();
        rename(&mut bytes, names);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_names_that_loaders_ask_for_stay_those_of_the_same_machine() {
        let mut names = Names::new(3);
        let client = Ipv4Addr::new(192, 168, 99, 50);
        names.learn_client(client);
        let new = names.new_address(client);
        let digits = format!("{:08X}", new.to_bits());
        let mac = names.new_mac([0x52, 0x54, 0, 0xaa, 0xbb, 0xcc]);
        let [.., d, e, f] = mac;
        let hyphens = format!("52-54-00-{d:02x}-{e:02x}-{f:02x}");
        for (old, new) in [
            ("pxelinux.cfg/C0A86332", format!("pxelinux.cfg/{digits}")),
            ("pxelinux.cfg/C0A86", format!("pxelinux.cfg/{}", &digits[..5])),
            ("pxelinux.cfg/01-52-54-00-aa-bb-cc", format!("pxelinux.cfg/01-{hyphens}")),
            ("a?mac=52:54:00:aa:bb:cc&x=1", format!("a?mac={}&x=1", hyphens.replace('-', ":"))),
            ("boot/525400AABBCC.ipxe", format!("boot/{}.ipxe", hyphens.replace('-', "").to_uppercase())),
            ("http://192.168.99.50:80/boot.ipxe", format!("http://{new}:80/boot.ipxe")),
            (
                "debian-installer/amd64/grub/x86_64-efi/command.lst",
                "debian-installer/amd64/grub/x86_64-efi/command.lst".into(),
            ),
            ("2.168.99.50.1/a/1.2.3/deadbeef", "2.168.99.50.1/a/1.2.3/deadbeef".into()),
        ] {
            assert_eq!(renamed(old, &mut names), new);
        }
        for old in [
            "pxelinux.cfg/4c4c4544-0051-3510-8052-b4c04f564231",
            "9ffefdef/start4.elf",
            "http://boot.example.org/x?serial=ABC123&arch=x86_64",
            "http://admin:secret@boot.example.org/x",
        ] {
            let new = renamed(old, &mut names);
            assert!(new != old && new.len() == old.len(), "{new}");
            assert_eq!(renamed(old, &mut names), new, "the same again");
        }
        assert!(renamed("http://a.b/x?serial=ABC&arch=x86_64", &mut names).ends_with("&arch=x86_64"));
        let user = renamed("http://admin:secret@192.168.99.50/x", &mut names);
        assert!(
            !user.contains("admin") && !user.contains("secret") && user.ends_with(&format!("@{new}/x")),
            "{user}"
        );
    }

    #[test]
    fn heads_tell_nothing_of_who_sends_them() {
        let mut names = Names::new(3);
        let mut head =
            b"GET /a HTTP/1.0\r\nHost: boot.lan:80\r\nCookie: a=secret\r\nUser-Agent: iPXE/1.0\r\n\r\n"
                .to_vec();
        rename_head(&mut head, false, &mut names);
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("GET /a HTTP/1.0\r\nHost: ") && head.contains(":80\r\n"), "{head}");
        assert!(
            !head.contains("boot.lan") && !head.contains("secret") && head.contains("iPXE/1.0"),
            "{head}"
        );
    }

    #[test]
    fn a_line_that_is_cut_may_tell_as_long_as_it_may_be_one_that_does() {
        for line in ["Host: a", "co", "Cookie: a=b", "H"] {
            assert!(may_tell(line.as_bytes()), "{line}");
        }
        for line in ["", "Hosts", "User-Agent: iPXE", "Content-Len"] {
            assert!(!may_tell(line.as_bytes()), "{line}");
        }
        let mut rest = b"ret; b=2\r\nUser-Agent: iPXE\r\n\r\n".to_vec();
        rename_head(&mut rest, true, &mut Names::new(3));
        let rest = String::from_utf8(rest).unwrap();
        assert!(!rest.contains("ret") && rest.ends_with("\r\nUser-Agent: iPXE\r\n\r\n"), "{rest}");
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut names = Names::new(3);
        for text in [
            "",
            ":",
            "-",
            "://",
            "?=",
            "52-",
            "01-52-54-00-aa-bb",
            "1.1.1.1",
            "52:54:00:aa:bb:cc:dd:ee",
            "ü://ü",
        ] {
            for end in 0..=text.len() {
                let mut bytes = text.as_bytes()[..end].to_vec();
                rename_head(&mut bytes, end % 2 == 0, &mut names);
                rename(&mut bytes, &mut names);
                rename_host(&mut bytes, &mut names);
            }
        }
    }
}
