//! Damaged packets: a hundred thousand of each kind, the same in every run. Nothing may panic.

use std::net::Ipv4Addr;

use reveille::wire::{
    arp,
    dhcp::{Message, code},
    ethernet, frame, http, ipv4, pcap, pxe, tftp, udp,
};

use crate::captures;

const MUTATIONS: u32 = 100_000;

/// xorshift64*: enough chance for a test, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }
}

/// Flips, overwrites, cuts, repeats and splices bytes.
fn mutate(random: &mut Random, original: &[u8], other: &[u8], bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.extend_from_slice(original);
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(7) {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_slice(&other[random.below(other.len())..]),
            2 if at < bytes.len() => drop(bytes.drain(at..(at + random.below(16)).min(bytes.len()))),
            3 => bytes.insert(at.min(bytes.len()), u8::try_from(random.below(256)).unwrap()),
            4 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][random.below(6)],
            5 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ if at < bytes.len() => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            _ => {}
        }
        bytes.truncate(4096);
    }
}

fn try_mutations(seed: u64, originals: &[Vec<u8>], mut parse: impl FnMut(&[u8])) {
    assert!(!originals.is_empty());
    let mut random = Random(seed);
    let mut bytes = Vec::new();
    for original in originals {
        parse(original);
    }
    for _ in 0..MUTATIONS {
        let original = &originals[random.below(originals.len())];
        let other = &originals[random.below(originals.len())];
        mutate(&mut random, original, other, &mut bytes);
        parse(&bytes);
    }
}

/// Up to `count` payloads of the captures that `wanted` picks, spread over all of them.
fn payloads(count: usize, wanted: impl Fn(&frame::Datagram<'_>) -> bool) -> Vec<Vec<u8>> {
    let mut payloads: Vec<Vec<u8>> = Vec::new();
    for (_, file) in captures::own().into_iter().chain(captures::others()) {
        let picked = captures::datagrams(&file).into_iter().filter(|datagram| wanted(datagram));
        payloads.extend(picked.map(|datagram| datagram.payload.to_vec()).take(count));
    }
    payloads
}

/// Calls everything a message can be asked.
fn read_dhcp(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else { return };
    let mut scratch = [0; 300];
    for (code, value) in message.options() {
        assert!(code != code::PAD && code != code::END && value.len() <= 255);
        let _ = message.joined(code, &mut scratch);
    }
    let _ = (message.message_type(), message.is_bootp(), message.mac(), message.chaddr(), message.hostname());
    let _ = (message.requested_ip(), message.server_id(), message.client_id(), message.uuid());
    let _ = (message.file(), message.sname(), message.max_size(), message.architectures().count());
    if let Some(class) = message.user_class() {
        assert!(class.classes().count() <= class.raw().len());
    }
    if let Some(relay) = message.relay_agent() {
        let _ = (relay.circuit_id(), relay.remote_id(), relay.link_selection(), relay.server_id_override());
    }
    if let Some(features) = message.ipxe_features() {
        let _ = features.sub_options().count();
    }
    read_pxe(message.option(code::VENDOR_SPECIFIC).unwrap_or_default());
    let _ = pxe::ClassId::parse(message.vendor_class().unwrap_or_default());
}

fn read_pxe(bytes: &[u8]) {
    let vendor = pxe::Vendor::parse(bytes);
    let _ = (vendor.discovery_control(), vendor.prompt(), vendor.boot_item(), vendor.menu().count());
    let _ = vendor.boot_servers().map(|server| server.ips().count()).sum::<usize>();
}

fn read_tftp(bytes: &[u8]) {
    match tftp::parse(bytes) {
        Ok(tftp::Packet::Rrq(request) | tftp::Packet::Wrq(request)) => {
            let _ = (request.blksize(), request.tsize(), request.timeout_s(), request.windowsize());
        }
        Ok(tftp::Packet::Oack(options)) => assert!(options.iter().count() <= bytes.len()),
        _ => {}
    }
}

fn read_http(bytes: &[u8]) {
    let Ok(http::Parsed::Complete { head, len }) = http::parse_request(bytes) else { return };
    assert!(len <= bytes.len() && len <= http::HEAD_LEN_MAX);
    let _ = (head.path_and_query(), head.persists());
    if let Some(range) = head.range {
        let _ = http::parse_ranges(range, 1000);
    }
}

fn read_capture(bytes: &[u8]) {
    let Ok(reader) = pcap::Reader::new(bytes) else { return };
    for packet in reader.flatten() {
        let _ = (packet.udp4(), packet.udp4_cut());
    }
}

fn read_frame(bytes: &[u8]) {
    let _ = (ethernet::parse(bytes), arp::Packet::parse_frame(bytes), arp::Packet::parse(bytes));
    let _ = (frame::parse_udp4_cut(bytes), ipv4::parse(bytes));
    if let Ok(datagram) = udp::parse(bytes) {
        let _ = datagram.checksum_ok(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
    }
    if let Ok(datagram) = frame::parse_udp4(bytes) {
        read_dhcp(datagram.payload);
        read_tftp(datagram.payload);
    }
}

#[test]
fn dhcp_messages() {
    try_mutations(1, &payloads(50, captures::is_dhcp), read_dhcp);
}

#[test]
fn boot_menus() {
    let menu = b"\x06\x01\x03\x0a\x04\x00PXE\x08\x0b\0\x01\x01\xc0\0\x02\x01\0\x02\0\0\x09\x14\0\0\x11Raspberry Pi Boot\xff";
    let item = b"\x47\x04\0\x07\0\x01\xff";
    try_mutations(2, &[menu.to_vec(), item.to_vec()], read_pxe);
}

#[test]
fn tftp_packets() {
    try_mutations(3, &payloads(300, |datagram| !captures::is_dhcp(datagram)), read_tftp);
}

#[test]
fn http_requests() {
    let requests: [&[u8]; 3] = [
        b"GET /vmlinuz HTTP/1.0\r\n\r\n",
        b"HEAD http://h/a?b HTTP/1.1\r\nHost: 192.0.2.1:80\r\nRange: bytes=0-1, 5-, -9\r\nConnection: close\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\nIf-Match: \"x\"\r\nTransfer-Encoding: x\r\n\r\n",
    ];
    try_mutations(4, &requests.map(<[u8]>::to_vec), read_http);
}

#[test]
fn frames() {
    let (_, file) = captures::own().swap_remove(1);
    let frames: Vec<_> =
        pcap::Reader::new(&file).unwrap().flatten().map(|packet| packet.data.to_vec()).collect();
    try_mutations(5, &frames, read_frame);
}

#[test]
fn capture_files() {
    let mut writer = pcap::Writer::new(Vec::new()).unwrap();
    for frame in [&[0xff; 60][..], &[], &[0x45; 20]] {
        writer.packet(1_000_001, frame).unwrap();
    }
    let mut files = vec![writer.finish().unwrap(), captures::pcapng()];
    files.extend(captures::others().into_iter().map(|(_, file)| file).filter(|file| file.len() < 3000));
    try_mutations(6, &files, read_capture);
}
