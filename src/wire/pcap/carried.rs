//! What a frame of a capture carries over IPv4, by UDP or TCP, as far as it was kept; and where in the frame that stands.

use std::net::SocketAddrV4;

use super::Packet;
use crate::wire::ethernet::{self, MacAddr};
use crate::wire::{ipv4, tcp, udp};

/// A datagram, or a segment of a connection
#[derive(Clone, Copy, Debug)]
pub struct Carried<'a> {
    /// Who sent the frame, on a link that tells
    pub source_mac: Option<MacAddr>,
    /// Sender
    pub source: SocketAddrV4,
    /// Receiver
    pub destination: SocketAddrV4,
    /// By what it is carried
    pub transport: Transport<'a>,
    /// What was kept of its payload
    pub payload: &'a [u8],
    /// Bytes that its payload had
    pub len: usize,
    /// Where in [`Packet::data`] the IPv4 header begins
    pub packet_at: usize,
    /// Bytes of the IPv4 header
    pub ip_header_len: usize,
    /// Bytes of the UDP or TCP header; of options that were cut off, too
    pub header_len: usize,
}

/// See [`Carried::transport`]
#[derive(Clone, Copy, Debug)]
pub enum Transport<'a> {
    /// A datagram
    Udp,
    /// A segment
    Tcp(&'a tcp::Header),
}

impl Carried<'_> {
    /// It was longer than what was kept of it
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.payload.len() < self.len
    }
}

impl<'a> Packet<'a> {
    /// What the frame carries; `None`: neither UDP nor TCP over IPv4, or a fragment
    #[must_use]
    pub fn carried(&self) -> Option<Carried<'a>> {
        let (source_mac, packet) = match self.ipv4().ok()? {
            Some(packet) => (None, packet),
            None => {
                let frame = ethernet::parse(self.data).ok()?;
                (frame.ethertype == ethernet::IPV4).then_some(())?;
                (Some(frame.header.source).filter(|mac| *mac != MacAddr::ZERO), frame.payload)
            }
        };
        let ip = ipv4::Packet::parse_cut(packet).ok().filter(|ip| !ip.is_fragment())?;
        let ip_header_len = usize::from(ip.header.version_ihl & 0x0f) * 4;
        let (transport, ports, header_len, payload, len) = match ip.protocol() {
            ipv4::UDP => {
                let datagram = udp::Datagram::parse_cut(ip.payload).ok()?;
                let ports = (datagram.source_port, datagram.destination_port);
                let len = usize::from(datagram.length) - udp::HEADER_LEN;
                (Transport::Udp, ports, udp::HEADER_LEN, datagram.payload, len)
            }
            ipv4::TCP => {
                let tcp::Segment { header, header_len, payload } = tcp::Segment::parse_cut(ip.payload)?;
                let ports = (header.source_port.get(), header.destination_port.get());
                let total = usize::from(ip.header.total_length.get());
                let len = total.saturating_sub(ip_header_len + header_len);
                (Transport::Tcp(header), ports, header_len, payload, len)
            }
            _ => return None,
        };
        // A length that the frame never had is the sender's mistake.
        let cut = usize::try_from(self.original_len).unwrap_or(usize::MAX).saturating_sub(self.data.len());
        Some(Carried {
            source_mac,
            source: SocketAddrV4::new(ip.source(), ports.0),
            destination: SocketAddrV4::new(ip.destination(), ports.1),
            transport,
            payload,
            len: len.clamp(payload.len(), payload.len().saturating_add(cut)),
            packet_at: self.data.len() - packet.len(),
            ip_header_len,
            header_len,
        })
    }
}
