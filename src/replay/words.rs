//! Options, fields and decisions in words.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::boot::client::Arch;
use crate::boot::plan::Reason;
use crate::note::Got;
use crate::wire::dhcp::{MessageType, SubOptions, code};
use crate::wire::pxe::Vendor;
use crate::wire::tftp;

/// How an option's value reads
#[derive(Clone, Copy)]
enum Kind {
    Addresses,
    Number,
    Text,
    Type,
    Vendor,
    Ipxe,
    Architectures,
    Bytes,
}

/// Code, what it is called here, and how its value reads
const OPTIONS: &[(u8, &str, Kind)] = &[
    (code::SUBNET_MASK, "netmask", Kind::Addresses),
    (code::ROUTER, "router", Kind::Addresses),
    (code::DNS, "DNS", Kind::Addresses),
    (code::HOST_NAME, "host name", Kind::Text),
    (code::BOOT_FILE_SIZE, "boot file size", Kind::Number),
    (code::DOMAIN_NAME, "domain", Kind::Text),
    (code::ROOT_PATH, "root path", Kind::Text),
    (code::INTERFACE_MTU, "MTU", Kind::Number),
    (code::BROADCAST_ADDRESS, "broadcast address", Kind::Addresses),
    (code::NTP_SERVERS, "NTP", Kind::Addresses),
    (code::VENDOR_SPECIFIC, "PXE", Kind::Vendor),
    (code::REQUESTED_ADDRESS, "requested address", Kind::Addresses),
    (code::LEASE_TIME, "lease time", Kind::Number),
    (code::OVERLOAD, "overload", Kind::Number),
    (code::MESSAGE_TYPE, "message type", Kind::Type),
    (code::SERVER_ID, "server", Kind::Addresses),
    (code::PARAMETER_LIST, "parameter list", Kind::Bytes),
    (code::MESSAGE, "message", Kind::Text),
    (code::MAX_MESSAGE_SIZE, "largest message", Kind::Number),
    (code::RENEWAL_TIME, "T1", Kind::Number),
    (code::REBINDING_TIME, "T2", Kind::Number),
    (code::VENDOR_CLASS, "vendor class", Kind::Text),
    (code::CLIENT_ID, "client id", Kind::Bytes),
    (code::TFTP_SERVER_NAME, "TFTP server", Kind::Text),
    (code::BOOT_FILE_NAME, "boot file", Kind::Text),
    (code::USER_CLASS, "user class", Kind::Text),
    (code::CLIENT_FQDN, "full name", Kind::Bytes),
    (code::RELAY_AGENT, "relay agent", Kind::Bytes),
    (code::ARCHITECTURE, "architecture", Kind::Architectures),
    (code::PXE_UUID, "UUID", Kind::Bytes),
    (code::URL, "URL", Kind::Text),
    (code::TFTP_SERVER_ADDRESS, "TFTP servers", Kind::Addresses),
    (code::IPXE, "iPXE", Kind::Ipxe),
    (code::PXELINUX_CONFIG_FILE, "pxelinux configuration", Kind::Text),
    (code::PXELINUX_PATH_PREFIX, "pxelinux prefix", Kind::Text),
    (code::PXELINUX_REBOOT_TIME, "pxelinux reboot time", Kind::Number),
];

/// `option 67 (boot file)`
pub(super) fn option_name(number: u8) -> String {
    match OPTIONS.iter().find(|(known, ..)| *known == number) {
        Some((_, name, _)) => format!("option {number} ({name})"),
        None => format!("option {number}"),
    }
}

/// An option's value
pub(super) fn option_value(number: u8, value: &[u8]) -> String {
    let kind = OPTIONS.iter().find(|(known, ..)| *known == number).map_or(Kind::Bytes, |(.., kind)| *kind);
    let words = match kind {
        Kind::Addresses => addresses(value),
        Kind::Number => number_of(value),
        Kind::Text => Some(text(value)),
        Kind::Type => message_type(value),
        Kind::Vendor => Some(sub_options(Vendor::parse(value).sub_options())),
        Kind::Ipxe => Some(sub_options(SubOptions::vendor(value))),
        Kind::Architectures => architectures(value),
        Kind::Bytes => None,
    };
    words.unwrap_or_else(|| hex(value))
}

fn addresses(value: &[u8]) -> Option<String> {
    let (addresses, rest) = value.as_chunks::<4>();
    let words: Vec<String> = addresses.iter().map(|octets| Ipv4Addr::from(*octets).to_string()).collect();
    (rest.is_empty() && !words.is_empty()).then(|| words.join(", "))
}

fn number_of(value: &[u8]) -> Option<String> {
    let number = match *value {
        [a] => u32::from(a),
        [a, b] => u32::from(u16::from_be_bytes([a, b])),
        [a, b, c, d] => u32::from_be_bytes([a, b, c, d]),
        _ => return None,
    };
    Some(number.to_string())
}

fn message_type(value: &[u8]) -> Option<String> {
    let [number] = value else { return None };
    Some(MessageType::from_u8(*number).map_or(number.to_string(), |known| type_name(known).to_owned()))
}

/// As RFC 2131 writes it, without `DHCP`
pub(super) fn type_name(message_type: MessageType) -> &'static str {
    match message_type {
        MessageType::Discover => "DISCOVER",
        MessageType::Offer => "OFFER",
        MessageType::Request => "REQUEST",
        MessageType::Decline => "DECLINE",
        MessageType::Ack => "ACK",
        MessageType::Nak => "NAK",
        MessageType::Release => "RELEASE",
        MessageType::Inform => "INFORM",
    }
}

fn architectures(value: &[u8]) -> Option<String> {
    let (pairs, rest) = value.as_chunks::<2>();
    let words: Vec<String> = pairs.iter().map(|pair| Arch(u16::from_be_bytes(*pair)).to_string()).collect();
    (rest.is_empty() && !words.is_empty()).then(|| words.join(", "))
}

fn sub_options(sub_options: SubOptions<'_>) -> String {
    let words: Vec<String> =
        sub_options.map(|(number, value)| format!("{number}={}", value.escape_ascii())).collect();
    format!("{{{}}}", words.join(", "))
}

/// Printable text in quotes, everything else escaped
pub(super) fn text(value: &[u8]) -> String {
    format!("\"{}\"", value.escape_ascii())
}

fn hex(value: &[u8]) -> String {
    value.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// TFTP options as texts
pub(super) fn options(options: tftp::Options<'_>) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    options.iter().map(|(name, value)| (text(name), text(value))).collect()
}

/// Why an answer is what it is
pub(super) fn reason(reason: Reason) -> String {
    let at = |line: u32| if line == 0 { String::new() } else { format!(" (line {line})") };
    match reason {
        Reason::Rule { number, line } => format!("by rule {number}{}", at(line)),
        Reason::Machine { line } => format!("by its [[machine]]{}", at(line)),
        Reason::Menu { line } => format!("by the menu{}", at(line)),
        Reason::Local { line } => format!("to boot its local disk{}", at(line)),
        Reason::Done { line } => format!("done, to boot its local disk{}", at(line)),
        Reason::WellKnown => "a well-known loader in the root".to_owned(),
        Reason::NoRule => "no rule matches".to_owned(),
        Reason::NotABoot => "not booting from the network".to_owned(),
    }
}

/// What a client got
pub(super) fn got(got: Got) -> String {
    match got {
        Got::Offer(address) => format!("OFFER of {address}"),
        Got::Ack(address) => format!("ACK of {address}"),
        Got::Nak(address) => format!("NAK of {address}"),
        Got::ProxyOffer => "ProxyDHCP OFFER".to_owned(),
        Got::BootServerAck => "boot server's ACK".to_owned(),
        Got::BootpReply(address) => format!("BOOTP reply, {address}"),
        Got::Parameters => "ACK, parameters alone".to_owned(),
        Got::Noted => "nothing, and nothing is due".to_owned(),
        Got::Nothing(reason) => format!("nothing: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_what_they_are() {
        assert_eq!(option_name(67), "option 67 (boot file)");
        assert_eq!(option_name(224), "option 224");
        for (number, value, words) in [
            (1, &[255, 255, 255, 0][..], "255.255.255.0"),
            (51, &[0, 0, 14, 16], "3600"),
            (53, &[2], "OFFER"),
            (53, &[99], "99"),
            (67, b"a.efi\0", "\"a.efi\\x00\""),
            (43, &[6, 1, 8, 255], "{6=\\x08}"),
            (93, &[0, 7, 0, 9], "x64-uefi, x64-uefi"),
            (3, &[10, 0, 0], "0a0000"),
            (224, &[0xab], "ab"),
        ] {
            assert_eq!(option_value(number, value), words);
        }
    }
}
