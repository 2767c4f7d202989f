//! A file written from what shards show, read by our reader.

use std::net::SocketAddrV4;

use super::*;
use crate::boot::image::ImageId;
use crate::io::tap::Segment;
use crate::note::{Outcome, Text, TransferNote};
use crate::proto::outbox::Window;
use crate::settings::LogFormat;
use crate::time::{Duration, Instant};
use crate::wire::pcap::{Packet, Reader};
use crate::wire::tcp;

const CLIENT: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, 9), 2_000);
const SERVER: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, 1), 4_000);

fn plan() -> Plan {
    Plan::new(Vec::new(), Vec::new(), Vec::new(), Vec::new())
}

fn tapped(what: What, notes: Vec<Note>) -> Tapped {
    Tapped { at: Instant::from_secs(1_700_000_000), network: None, what, notes }
}

fn ended(outcome: Outcome) -> Note {
    Note::Tftp(TransferNote {
        at: Instant::from_secs(1_700_000_000),
        peer: CLIENT,
        path: Text::new(b"kernel"),
        sent: 0,
        took: Duration::ZERO,
        resent: 0,
        outcome,
    })
}

/// Writes all of it, with this limit
fn written(all: &[Tapped], bytes_max: u64) -> (Vec<u8>, Result<(), Stop>) {
    let log = Log::new(LogFormat::Text, &plan(), None);
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, &plan(), bytes_max).unwrap();
    let result = all.iter().try_for_each(|tapped| writer.on_tapped(tapped, &log));
    writer.finish(3).unwrap();
    drop(writer);
    (file, result)
}

fn packets(file: &[u8]) -> Vec<Packet<'_>> {
    Reader::new(file).unwrap().map(Result::unwrap).collect()
}

fn holds(file: &[u8], text: &str) -> bool {
    file.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_window_is_its_blocks_by_their_heads() {
    let window = Window {
        image: ImageId(0),
        offset: 0,
        len: 1468 * 2 + 7,
        blksize: 1468,
        first_block: u16::MAX,
        blocks: 3,
    };
    let (file, result) =
        written(&[tapped(What::Blocks { from: SERVER, to: CLIENT, window }, Vec::new())], u64::MAX);
    result.unwrap();
    let packets = packets(&file);
    let heads: Vec<_> = packets
        .iter()
        .map(|packet| {
            let datagram = packet.udp4_cut().unwrap();
            assert_eq!((datagram.source, datagram.destination, datagram.checksum_ok), (SERVER, CLIENT, true));
            (datagram.payload.to_vec(), packet.original_len - 42)
        })
        .collect();
    assert_eq!(heads, [(vec![0, 3, 0xff, 0xff], 1472), (vec![0, 3, 0, 0], 1472), (vec![0, 3, 0, 1], 11)]);
}

#[test]
fn a_body_longer_than_a_packet_is_segments_with_consecutive_numbers() {
    let head = b"HTTP/1.1 200 OK\r\n\r\n";
    let segment = Segment {
        client: CLIENT,
        server: SERVER,
        is_asked: false,
        flags: tcp::PSH | tcp::ACK,
        numbers: (u32::MAX, 7),
        payload: head[..].into(),
        len: head.len() + 200_000,
    };
    let (file, result) = written(&[tapped(What::Segment(segment), Vec::new())], u64::MAX);
    result.unwrap();
    let packets = packets(&file);
    let mut expected = u32::MAX;
    for packet in &packets {
        let ip = packet.ipv4_cut().unwrap();
        let segment = tcp::Segment::parse_cut(ip.payload).unwrap();
        assert_eq!(segment.header.sequence.get(), expected);
        assert!(segment.payload == head || segment.payload.is_empty());
        expected = expected.wrapping_add(u32::from(ip.header.total_length.get()) - 40);
        assert_eq!(packet.original_len, u32::from(ip.header.total_length.get()) + 14);
    }
    assert_eq!((packets.len(), expected), (4, u32::try_from(head.len() + 200_000 - 1).unwrap()));
}

#[test]
fn decisions_stand_beside_what_caused_them_or_beside_what_comes_next() {
    let asked =
        || What::Asked { from: CLIENT, mac: None, to: SERVER, payload: b"\0\x04\0\x07"[..].into(), len: 4 };
    let all = [
        tapped(asked(), vec![ended(Outcome::TftpError(2))]),
        tapped(What::Decided, vec![ended(Outcome::TimedOut)]),
        tapped(asked(), Vec::new()),
        tapped(What::Decided, vec![ended(Outcome::TftpError(3))]),
    ];
    let (file, result) = written(&all, u64::MAX);
    result.unwrap();
    assert_eq!(packets(&file).len(), 2);
    for text in ["TFTP error 2", "fell silent", "3 packets found no room", "TFTP error 3"] {
        assert!(holds(&file, text), "{text}");
    }
}

#[test]
fn a_full_file_ends_with_a_whole_block() {
    let asked = || {
        tapped(
            What::Asked { from: CLIENT, mac: None, to: SERVER, payload: [7; 500].into(), len: 500 },
            Vec::new(),
        )
    };
    let all: Vec<_> = (0..20).map(|_| asked()).collect();
    let (file, result) = written(&all, 5_000);
    assert!(matches!(result, Err(Stop::Full)));
    assert!((4..20).contains(&packets(&file).len()) && file.len() < 6_000, "{}", file.len());
}
