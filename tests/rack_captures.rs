//! The models of the rack against the captures that they were taken from: what a model sends is what its firmware sent.

use std::net::Ipv4Addr;

use reveille::boot::plan::Range;
use reveille::rack::{Model, Rack, Segment, Setup, files};
use reveille::wire::ethernet::MacAddr;

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 181);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 2);

/// A client's datagram: ports and payload, which a capture may have cut
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    from: u16,
    to: u16,
    payload: Vec<u8>,
    is_cut: bool,
}

/// A DHCP message, but for what chance or a server's slowness decides: `xid`, `secs`, how often it was sent
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    ports: (u16, u16),
    flags: [u8; 2],
    ciaddr: [u8; 4],
    options: Vec<(u8, Vec<u8>)>,
}

/// The datagrams of a frame's kind that `mac` sent
fn datagram(frame: &[u8], whole: usize, mac: MacAddr) -> Option<Sent> {
    if frame.get(6..12)? != mac.0 || frame[12..14] != [8, 0] || frame[23] != 17 {
        return None;
    }
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    Some(Sent { from: port(34), to: port(36), payload: frame[42..].to_vec(), is_cut: frame.len() < whole })
}

/// A classic pcap file, little-endian, as all of `pcaps/` are
fn captured(name: &str, mac: MacAddr) -> Vec<Sent> {
    let path = format!("{}/pcaps/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).expect("a capture");
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four")) as usize;
    let (mut at, mut sent) = (24, Vec::new());
    while at + 16 <= bytes.len() {
        let (kept, whole) = (number(at + 8), number(at + 12));
        sent.extend(datagram(&bytes[at + 16..at + 16 + kept], whole, mac));
        at += 16 + kept;
    }
    sent
}

fn asked(sent: &[Sent]) -> Vec<Asked> {
    let mut all: Vec<Asked> = Vec::new();
    for one in sent.iter().filter(|one| [67, 4011].contains(&one.to)) {
        let (mut options, mut at) = (Vec::new(), 240);
        while let Some(&[code, len]) = one.payload.get(at..at + 2).and_then(|head| head.first_chunk()) {
            let Some(value) = one.payload.get(at + 2..at + 2 + usize::from(len)) else { break };
            options.push((code, value.to_vec()));
            at += 2 + value.len();
        }
        if !one.is_cut {
            assert_eq!(one.payload.get(at), Some(&255), "END, and nothing is left out");
        }
        let asked = Asked {
            ports: (one.from, one.to),
            flags: one.payload[10..12].try_into().expect("two"),
            ciaddr: one.payload[12..16].try_into().expect("four"),
            options,
        };
        if all.last() != Some(&asked) {
            all.push(asked);
        }
    }
    all
}

fn requested(sent: &[Sent]) -> Vec<String> {
    let requests = sent.iter().filter(|one| one.to == 69);
    requests.map(|one| String::from_utf8_lossy(&one.payload).replace('\0', " ")).collect()
}

/// What one machine sends where the capture was taken
fn modelled(model: Model, segment: Segment, mac: MacAddr, address: Ipv4Addr) -> Vec<Sent> {
    let mut setup = Setup::new(1);
    setup.machines = vec![(model, segment)];
    setup.first_mac = mac;
    setup.record = true;
    match segment {
        Segment::Proxy => {
            (setup.site.proxy, setup.site.other, setup.site.other_first) = (SERVER, OTHER, address);
            setup.site.menu = model == Model::Bios;
        }
        _ => (setup.site.server, setup.site.pool) = (SERVER, Range { first: address, last: address }),
    }
    setup.site.files = files(SERVER, [0, 0, 0, 0].into(), 4096);
    let mut rack = Rack::new(setup);
    while rack.step() {}
    let sent = rack.sent().iter().filter_map(|(_, frame)| datagram(frame, frame.len(), mac)).collect();
    let report = rack.finish();
    assert!(report.is_clean(), "{report}");
    sent
}

fn assert_alike(name: &str, model: Model, segment: Segment, last: [u8; 2]) {
    let mac = MacAddr([0x52, 0x54, 0, 0xaa, 0, last[0]]);
    let address = Ipv4Addr::new(192, 168, 99, last[1]);
    let (theirs, ours) = (captured(name, mac), modelled(model, segment, mac, address));
    assert_eq!(requested(&ours), requested(&theirs), "{name}: what is asked for by TFTP");
    let is_cut = theirs.iter().any(|one| one.is_cut && one.to == 67);
    let (theirs, mut ours) = (asked(&theirs), asked(&ours));
    if is_cut {
        // Only the options that the capture kept whole can be held against the model's.
        let kept = theirs.iter().map(|asked| asked.options.len()).min().unwrap_or_default();
        ours.iter_mut().for_each(|asked| asked.options.truncate(kept));
        ours.dedup();
    }
    assert_eq!(ours, theirs, "{name}: the DHCP messages");
}

#[test]
fn a_bios_machine_sends_what_it_was_captured_sending() {
    assert_alike("dnsmasq-bios-proxy.pcap", Model::Bios, Segment::Proxy, [2, 51]);
}

#[test]
fn a_bios_machine_of_a_plain_dhcp_server_does_too() {
    assert_alike("dnsmasq-bios-full.pcap", Model::Bios, Segment::Full, [2, 86]);
}

#[test]
fn a_uefi_machine_with_shim_and_grub_does_too() {
    assert_alike("dnsmasq-uefi-full.pcap", Model::UefiGrub, Segment::Full, [1, 85]);
}

#[test]
fn a_uefi_machine_with_ipxe_beside_another_server_does_too() {
    assert_alike("dnsmasq-uefi-proxy.pcap", Model::UefiIpxe, Segment::Proxy, [1, 50]);
}
