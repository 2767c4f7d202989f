//! Lines as they are printed.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::*;
use crate::boot::client::{IpxeFeatures, Uuid};
use crate::boot::plan::{Mode, Network};
use crate::note::Text;
use crate::stats::DropReason;
use crate::time::Duration;
use crate::wire::ethernet::MacAddr;

const MAC: MacAddr = MacAddr([0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd]);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 60);

fn log(format: LogFormat, interfaces: &[&str]) -> Log {
    let network = |name: &&str| Network {
        interface: (*name).to_owned(),
        mac: MAC,
        address: Ipv4Addr::new(192, 168, 99, 1),
        mode: Mode::Full,
        authoritative: false,
        probe: false,
        subnets: Vec::new(),
    };
    let plan = Plan::new(interfaces.iter().map(network).collect(), Vec::new(), Vec::new(), Vec::new());
    Log::new(format, &plan, Some(Path::new("r.toml")))
}

fn line(log: &Log, note: Note) -> String {
    let mut out = String::new();
    log.write(&note, &mut out);
    assert!(out.ends_with('\n') && out.matches('\n').count() == 1, "{out}");
    out.trim_end().to_owned()
}

fn dhcp() -> DhcpNote {
    DhcpNote {
        at: Instant::from_micros(1_795_519_667_345_678),
        network: 0,
        mac: MAC,
        uuid: None,
        relay: None,
        arch: Some(Arch::X64_UEFI),
        loader: Loader::Rom,
        asked: Asked::Message(MessageType::Discover),
        got: Got::Offer(ADDRESS),
        file: Text::new(b"bootx64.efi"),
        reason: Reason::Rule { number: 2, line: 18 },
    }
}

fn download() -> TransferNote {
    TransferNote {
        at: dhcp().at,
        peer: SocketAddrV4::new(ADDRESS, 1024),
        path: Text::new(b"bootx64.efi"),
        sent: 977_000,
        took: Duration::from_millis(211),
        resent: 0,
        outcome: Outcome::Done,
    }
}

#[test]
fn a_line_a_decision() {
    let log = log(LogFormat::Text, &["eth0"]);
    let system = DhcpNote {
        arch: None,
        loader: Loader::System,
        file: Text::EMPTY,
        reason: Reason::NotABoot,
        ..dhcp()
    };
    let ipxe = DhcpNote {
        loader: Loader::Ipxe(IpxeFeatures::default()),
        relay: Some(Ipv4Addr::new(10, 44, 0, 1)),
        asked: Asked::Message(MessageType::Request),
        got: Got::Ack(ADDRESS),
        file: Text::new(b"http://192.168.99.1/boot.ipxe"),
        reason: Reason::WellKnown,
        ..dhcp()
    };
    let release = DhcpNote {
        asked: Asked::Message(MessageType::Release),
        got: Got::Noted,
        file: Text::EMPTY,
        ..dhcp()
    };
    for (note, expected) in [
        (dhcp(), "x64-uefi: DISCOVER → OFFER 192.168.99.60, bootx64.efi (rule 2, r.toml:18)"),
        (
            ipxe,
            "x64-uefi ipxe via 10.44.0.1: REQUEST → ACK 192.168.99.60, http://192.168.99.1/boot.ipxe (well-known name)",
        ),
        (system, "system: DISCOVER → OFFER 192.168.99.60"),
        (release, "x64-uefi: RELEASE → noted"),
        (
            DhcpNote { asked: Asked::BootServer(Some(0x8001)), got: Got::BootServerAck, ..dhcp() },
            "x64-uefi: BOOT SERVER for item 2 → boot server ACK, bootx64.efi (rule 2, r.toml:18)",
        ),
        (
            DhcpNote { asked: Asked::BootServer(Some(2)), got: Got::Noted, file: Text::EMPTY, ..dhcp() },
            "x64-uefi: BOOT SERVER of type 2 → noted",
        ),
        (
            DhcpNote { got: Got::Nothing(DropReason::NoAddress), file: Text::EMPTY, ..dhcp() },
            "x64-uefi: DISCOVER → no answer: no free address",
        ),
        (
            DhcpNote { file: Text::EMPTY, reason: Reason::NoRule, ..dhcp() },
            "x64-uefi: DISCOVER → OFFER 192.168.99.60, nothing to boot (no rule)",
        ),
    ] {
        assert_eq!(line(&log, Note::Dhcp(note)), format!("11:27:47.345 88:99:aa:bb:cc:dd {expected}"));
    }
}

#[test]
fn several_networks_are_named() {
    let log = log(LogFormat::Text, &["eth0", "eth1"]);
    let said = line(&log, Note::Dhcp(DhcpNote { network: 1, ..dhcp() }));
    assert!(said.contains("x64-uefi on eth1: DISCOVER"), "{said}");
}

#[test]
fn a_line_a_transfer() {
    let log = log(LogFormat::Text, &["eth0"]);
    for (note, expected) in [
        (download(), "954.1 KiB in 211.0 ms"),
        (TransferNote { resent: 3, ..download() }, "954.1 KiB in 211.0 ms, 3 sent again"),
        (TransferNote { outcome: Outcome::SizeOnly, ..download() }, "asked for its size"),
        (TransferNote { outcome: Outcome::TftpError(1), ..download() }, "not found"),
        (
            TransferNote { outcome: Outcome::ClientStopped(Some(8)), sent: 512, ..download() },
            "ended by the client after 512 bytes (TFTP error 8)",
        ),
    ] {
        assert_eq!(
            line(&log, Note::Tftp(note)),
            format!("11:27:47.345 192.168.99.60 TFTP bootx64.efi: {expected}")
        );
    }
    let missing = TransferNote { outcome: Outcome::Status(404), ..download() };
    assert_eq!(line(&log, Note::Http(missing)), "11:27:47.345 192.168.99.60 HTTP bootx64.efi: not found");
}

#[test]
fn advice_says_the_way_out() {
    let log = log(LogFormat::Text, &["eth0"]);
    let server = Ipv4Addr::new(192, 168, 99, 2);
    for (advice, way_out) in [
        (Advice::IgnoresProxyOffers { mac: MAC, offers: 4 }, "take-over"),
        (Advice::OtherServer { network: 0, server }, "--proxy"),
        (Advice::PoolExhausted { network: 0, subnet: server }, "enlarge its pool"),
        (Advice::LoaderLoop { mac: MAC, times: 3 }, "loader = \"ipxe\""),
        (Advice::AddressInUse { address: ADDRESS }, "out of the pool"),
        (Advice::StoreFailed, "--state-dir"),
    ] {
        let said = line(&log, Note::Advice(advice));
        assert!(said.starts_with("advice: ") && said.contains(way_out), "{said}");
    }
}

#[test]
fn json_leaves_out_what_is_not_there() {
    let log = log(LogFormat::Json, &["eth0"]);
    let said = line(&log, Note::Dhcp(DhcpNote { uuid: Some(Uuid([7; 16])), ..dhcp() }));
    let expected = serde_json::json!({
        "time": "2026-11-24T11:27:47.345678Z", "event": "dhcp", "interface": "eth0", "mac": "88:99:aa:bb:cc:dd",
        "uuid": "07070707-0707-0707-0707-070707070707", "arch": "x64-uefi", "loader": "rom", "asked": "discover",
        "got": "offer", "address": "192.168.99.60", "file": "bootx64.efi", "why": "rule", "rule": 2, "line": 18,
        "config": "r.toml",
    });
    assert_eq!(serde_json::from_str::<serde_json::Value>(&said).unwrap(), expected);
    let said = line(&log, Note::Tftp(TransferNote { outcome: Outcome::TftpError(1), ..download() }));
    assert!(said.contains("\"outcome\":\"error\"") && said.contains("\"code\":1"), "{said}");
    let said = line(&log, Note::Advice(Advice::StoreFailed));
    assert_eq!(said, "{\"advice\":\"store-failed\",\"event\":\"advice\"}");
}
