//! Reading a capture: its frames as datagrams and segments, in the order and at the times that they were seen.
//!
//! Never drops what a capture kept only the front of, and never lets time run backwards: a capture merged from several
//! interfaces may hold frames out of order.

use std::net::SocketAddrV4;

use crate::time::Instant;
use crate::wire::ethernet::MacAddr;
use crate::wire::{ipv4, pcap, tcp};

/// One frame that holds something of ours
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'c> {
    /// Its number in the capture, from 1, as Wireshark counts
    pub number: u32,
    /// When
    pub at: Instant,
    /// What
    pub packet: Packet<'c>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Packet<'c> {
    Udp(Datagram<'c>),
    Tcp(Segment<'c>),
}

/// A UDP datagram, perhaps cut
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram<'c> {
    pub source_mac: Option<MacAddr>,
    pub source: SocketAddrV4,
    pub destination: SocketAddrV4,
    /// What the capture kept of its payload
    pub payload: &'c [u8],
    /// How long its payload was
    pub len: usize,
}

/// A TCP segment, perhaps cut
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'c> {
    pub source: SocketAddrV4,
    pub destination: SocketAddrV4,
    pub sequence: u32,
    pub syn: bool,
    pub ack: bool,
    /// FIN
    pub fin: bool,
    /// RST
    pub rst: bool,
    /// What the capture kept of its payload
    pub payload: &'c [u8],
    /// How long its payload was
    pub len: usize,
}

/// The frames of `file` up to its first error, and that error
///
/// # Errors
/// Where it is no capture at all.
pub(super) fn read(file: &[u8]) -> Result<(Vec<Seen<'_>>, Option<pcap::Error>), pcap::Error> {
    let mut seen = Vec::new();
    let mut at = Instant::ZERO;
    for (packet, number) in pcap::Reader::new(file)?.zip(1..) {
        let packet = match packet {
            Ok(packet) => packet,
            Err(error) => return Ok((seen, Some(error))),
        };
        at = at.max(Instant::from_micros(packet.time_us));
        if let Some(packet) = parse(&packet) {
            seen.push(Seen { number, at, packet });
        }
    }
    Ok((seen, None))
}

fn parse<'c>(packet: &pcap::Packet<'c>) -> Option<Packet<'c>> {
    if let Ok(datagram) = packet.udp4_cut() {
        let cut = usize::try_from(packet.original_len).ok()?.saturating_sub(packet.data.len());
        return Some(Packet::Udp(Datagram {
            source_mac: Some(datagram.source_mac).filter(|mac| *mac != MacAddr::ZERO),
            source: datagram.source,
            destination: datagram.destination,
            payload: datagram.payload,
            len: datagram.payload.len() + cut,
        }));
    }
    packet.ipv4_cut().ok().as_ref().and_then(segment).map(Packet::Tcp)
}

fn segment<'c>(packet: &ipv4::Packet<'c>) -> Option<Segment<'c>> {
    if packet.protocol() != ipv4::TCP || packet.is_fragment() {
        return None;
    }
    let tcp::Segment { header, header_len, payload } = tcp::Segment::parse_cut(packet.payload)?;
    let ip_header_len = usize::from(packet.header.version_ihl & 0x0f) * 4;
    let total = usize::from(packet.header.total_length.get());
    Some(Segment {
        source: SocketAddrV4::new(packet.source(), header.source_port.get()),
        destination: SocketAddrV4::new(packet.destination(), header.destination_port.get()),
        sequence: header.sequence.get(),
        fin: header.flags & tcp::FIN != 0,
        syn: header.flags & tcp::SYN != 0,
        rst: header.flags & tcp::RST != 0,
        ack: header.flags & tcp::ACK != 0,
        payload,
        len: total.saturating_sub(ip_header_len + header_len).max(payload.len()),
    })
}
