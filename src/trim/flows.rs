//! Which packets belong to a boot, and how much of each is no file's content.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use super::ip_of;
use crate::wire::dhcp::{CLIENT_PORT, PXE_PORT, SERVER_PORT};
use crate::wire::pcap::Packet;
use crate::wire::tftp::{self, DATA_HEADER_LEN, PORT};
use crate::wire::{ipv4, tcp, udp};

/// A head that is longer is cut
const HEAD_MAX: usize = 16_384;
/// What the head of a response begins with
const STATUS: &[u8] = b"HTTP/1.";
/// What those of requests begin with
const METHODS: [&[u8]; 3] = [b"GET ", b"HEAD ", b"POST "];

/// What a payload is, and so where names stand in it
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Dhcp,
    Tftp,
    Http,
}

/// What ports alone tell
pub(super) fn place_of(source: u16, destination: u16) -> Option<Place> {
    let is_dhcp = |port: u16| matches!(port, SERVER_PORT | CLIENT_PORT);
    let is_pxe = source == PXE_PORT || destination == PXE_PORT;
    (is_pxe || is_dhcp(source) && is_dhcp(destination)).then_some(Place::Dhcp)
}

/// What is kept of a packet; lengths count from its IPv4 header
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) place: Place,
    pub(super) is_tcp: bool,
    /// What was captured of the IPv4 packet and behind it
    pub(super) packet_len: usize,
    pub(super) ip_header_len: usize,
    /// IPv4's and UDP's or TCP's
    pub(super) headers_len: usize,
    pub(super) payload_len: usize,
    pub(super) original_payload_len: usize,
}

/// The conversations of a capture
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// Who asked for files by TFTP, and where
    tftp: HashSet<(SocketAddrV4, Ipv4Addr)>,
    http: HashSet<(SocketAddrV4, SocketAddrV4)>,
    /// How much of a head each direction still lacks
    heads: HashMap<(SocketAddrV4, SocketAddrV4), usize>,
}

enum Transport<'p> {
    Udp(udp::Datagram<'p>),
    Tcp(tcp::Segment<'p>),
}

/// A packet taken apart
struct Parts<'p> {
    transport: Transport<'p>,
    source: SocketAddrV4,
    destination: SocketAddrV4,
    ip_header_len: usize,
    /// Behind the IPv4 header, by its total length
    len: usize,
    packet_len: usize,
}

fn parts<'p>(packet: &Packet<'p>) -> Option<Parts<'p>> {
    let (ip, ip_header_len) = ip_of(packet)?;
    let (transport, ports) = match ip.protocol() {
        ipv4::UDP => {
            let datagram = udp::Datagram::parse_cut(ip.payload).ok()?;
            let ports = (datagram.source_port, datagram.destination_port);
            (Transport::Udp(datagram), ports)
        }
        ipv4::TCP => {
            let segment =
                tcp::Segment::parse_cut(ip.payload).filter(|one| one.header_len <= ip.payload.len())?;
            let ports = (segment.header.source_port.get(), segment.header.destination_port.get());
            (Transport::Tcp(segment), ports)
        }
        _ => return None,
    };
    // The packet and the link's padding behind it are the end of what was captured.
    let start = ip.payload.as_ptr().addr() - packet.data.as_ptr().addr() - ip_header_len;
    Some(Parts {
        transport,
        source: SocketAddrV4::new(ip.source(), ports.0),
        destination: SocketAddrV4::new(ip.destination(), ports.1),
        ip_header_len,
        len: usize::from(ip.header.total_length.get()).saturating_sub(ip_header_len),
        packet_len: packet.data.len() - start,
    })
}

impl Flows {
    /// Notes whose packets are to be kept
    pub(super) fn learn(&mut self, packet: &Packet<'_>) {
        let Some(Parts { transport, source, destination, .. }) = parts(packet) else { return };
        match transport {
            Transport::Udp(datagram) if destination.port() == PORT => {
                if let Ok(tftp::Packet::Rrq(_) | tftp::Packet::Wrq(_)) = tftp::parse(datagram.payload) {
                    self.tftp.insert((source, *destination.ip()));
                }
            }
            Transport::Tcp(segment) if METHODS.iter().any(|method| segment.payload.starts_with(method)) => {
                self.http.insert((source, destination));
            }
            _ => {}
        }
    }

    /// What is kept of a packet; in their order
    pub(super) fn keep(&mut self, packet: &Packet<'_>) -> Option<Kept> {
        let parts = parts(packet)?;
        let (place, header_len, payload_len) = match &parts.transport {
            Transport::Udp(datagram) => {
                let place = self.place(parts.source, parts.destination)?;
                let is_data = place == Place::Tftp
                    && matches!(tftp::parse(datagram.payload), Ok(tftp::Packet::Data { .. }));
                let most = if is_data { DATA_HEADER_LEN } else { datagram.payload.len() };
                (place, udp::HEADER_LEN, most)
            }
            Transport::Tcp(segment) => {
                let way = (parts.source, parts.destination);
                let is_known = self.http.contains(&way) || self.http.contains(&(way.1, way.0));
                is_known.then_some(())?;
                (Place::Http, segment.header_len, self.head_len(way, segment.payload))
            }
        };
        let original_payload_len = match &parts.transport {
            Transport::Udp(datagram) => usize::from(datagram.length).saturating_sub(udp::HEADER_LEN),
            Transport::Tcp(_) => parts.len.saturating_sub(header_len),
        };
        Some(Kept {
            place,
            is_tcp: matches!(parts.transport, Transport::Tcp(_)),
            packet_len: parts.packet_len,
            ip_header_len: parts.ip_header_len,
            headers_len: parts.ip_header_len + header_len,
            payload_len,
            original_payload_len,
        })
    }

    fn place(&self, source: SocketAddrV4, destination: SocketAddrV4) -> Option<Place> {
        if let Some(place) = place_of(source.port(), destination.port()) {
            return Some(place);
        }
        let asks = self.tftp.contains(&(source, *destination.ip()));
        (asks || self.tftp.contains(&(destination, *source.ip()))).then_some(Place::Tftp)
    }

    /// How much of a segment's payload is a head
    fn head_len(&mut self, way: (SocketAddrV4, SocketAddrV4), payload: &[u8]) -> usize {
        let begins = payload.starts_with(STATUS) || METHODS.iter().any(|method| payload.starts_with(method));
        let left = if begins { HEAD_MAX } else { self.heads.get(&way).copied().unwrap_or(0) };
        let end = payload.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        let kept = end.unwrap_or(payload.len()).min(left);
        self.heads.insert(way, if end.is_some() { 0 } else { left - kept });
        kept
    }
}
