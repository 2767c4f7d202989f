//! Ethernet, IPv4 and UDP in one go: what a packet socket sends and receives.
//!
//! A client without an address cannot answer ARP, so its reply goes to `chaddr` and `yiaddr` directly
//! (RFC 2131 §4.1), which only a whole frame can do.

use std::net::SocketAddrV4;

use zerocopy::IntoBytes;

use super::{
    Full,
    buffer::Buffer,
    ethernet::{self, MacAddr},
    ipv4, udp,
};

/// Bytes before the payload of an untagged UDP datagram.
pub const UDP4_HEADERS: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + udp::HEADER_LEN;

/// Where a datagram comes from and goes to, on both layers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Udp4 {
    /// Hardware address of the sending interface.
    pub source_mac: MacAddr,
    /// Hardware address of the receiver, or broadcast.
    pub destination_mac: MacAddr,
    /// Sender.
    pub source: SocketAddrV4,
    /// Receiver.
    pub destination: SocketAddrV4,
}

impl Udp4 {
    /// Writes the three headers, with both checksums, in front of a copy of `payload`.
    ///
    /// [`Full`] also where the payload exceeds what a UDP datagram can hold.
    pub fn emit(&self, payload: &[u8], buffer: &mut [u8]) -> Result<usize, Full> {
        let headers = self.headers(payload)?;
        let mut buffer = Buffer::new(buffer);
        buffer.put(&[&headers, payload])?;
        Ok(buffer.len())
    }

    /// The three headers of a datagram whose payload lies elsewhere (a second I/O vector).
    pub fn headers(&self, payload: &[u8]) -> Result<[u8; UDP4_HEADERS], Full> {
        let (source, destination) = (self.source, self.destination);
        let udp =
            udp::Header::new((*source.ip(), source.port()), (*destination.ip(), destination.port()), payload)
                .ok_or(Full)?;
        let udp_len = udp::HEADER_LEN + payload.len();
        let ip = ipv4::Header::new(ipv4::UDP, *source.ip(), *destination.ip(), udp_len).ok_or(Full)?;
        let link = ethernet::Header {
            destination: self.destination_mac,
            source: self.source_mac,
            ethertype: ethernet::IPV4.into(),
        };
        let mut headers = [0; UDP4_HEADERS];
        Buffer::new(&mut headers).put(&[link.as_bytes(), ip.as_bytes(), udp.as_bytes()])?;
        Ok(headers)
    }
}

/// A datagram as a packet socket or a capture holds it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Datagram<'a> {
    /// Hardware address of the sender: the client itself, or the last router.
    pub source_mac: MacAddr,
    /// Hardware address the frame was sent to.
    pub destination_mac: MacAddr,
    /// The VLAN of a tagged frame.
    pub vlan: Option<u16>,
    /// Sender.
    pub source: SocketAddrV4,
    /// Receiver.
    pub destination: SocketAddrV4,
    /// What UDP carries.
    pub payload: &'a [u8],
    /// Whether the UDP checksum holds or was left out. It is no reason to drop by itself: a frame that never left
    /// this host (a container or a virtual machine behind a veth) reaches a packet socket before the checksum that
    /// its sender left to the hardware.
    pub checksum_ok: bool,
}

/// Why a frame is no whole UDP datagram over IPv4.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// Not a frame.
    Ethernet(ethernet::Error),
    /// Another ethertype.
    NotIpv4,
    /// Not an IPv4 packet.
    Ipv4(ipv4::Error),
    /// Part of a datagram.
    Fragment,
    /// Another protocol than UDP.
    NotUdp,
    /// Not a datagram.
    Udp(udp::Error),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ethernet(error) => error.fmt(f),
            Self::NotIpv4 => f.write_str("the frame is not IPv4"),
            Self::Ipv4(error) => error.fmt(f),
            Self::Fragment => f.write_str("the packet is a fragment"),
            Self::NotUdp => f.write_str("the packet is not UDP"),
            Self::Udp(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

/// Views an Ethernet frame, tagged or not, as a UDP datagram.
pub fn parse_udp4(frame: &[u8]) -> Result<Datagram<'_>, Error> {
    parse_frame(frame, parse_udp4_packet)
}

/// Views an IPv4 packet without a link header as a UDP datagram; the hardware addresses are zero.
pub fn parse_udp4_packet(packet: &[u8]) -> Result<Datagram<'_>, Error> {
    let packet = ipv4::Packet::parse(packet).map_err(Error::Ipv4)?;
    parse_packet(&packet, udp::Datagram::parse)
}

/// [`parse_udp4`] of what a capture kept of a frame: the payload may be cut short, and then no checksum can fail.
pub fn parse_udp4_cut(frame: &[u8]) -> Result<Datagram<'_>, Error> {
    parse_frame(frame, parse_udp4_packet_cut)
}

/// [`parse_udp4_packet`] of what a capture kept of a packet.
pub fn parse_udp4_packet_cut(packet: &[u8]) -> Result<Datagram<'_>, Error> {
    let packet = ipv4::Packet::parse_cut(packet).map_err(Error::Ipv4)?;
    parse_packet(&packet, udp::Datagram::parse_cut)
}

fn parse_frame<'a>(
    frame: &'a [u8],
    parse_packet: impl FnOnce(&'a [u8]) -> Result<Datagram<'a>, Error>,
) -> Result<Datagram<'a>, Error> {
    let frame = ethernet::parse(frame).map_err(Error::Ethernet)?;
    if frame.ethertype != ethernet::IPV4 {
        return Err(Error::NotIpv4);
    }
    let datagram = parse_packet(frame.payload)?;
    Ok(Datagram {
        source_mac: frame.header.source,
        destination_mac: frame.header.destination,
        vlan: frame.vlan,
        ..datagram
    })
}

fn parse_packet<'a>(
    packet: &ipv4::Packet<'a>,
    parse_udp: impl FnOnce(&'a [u8]) -> Result<udp::Datagram<'a>, udp::Error>,
) -> Result<Datagram<'a>, Error> {
    if packet.is_fragment() {
        return Err(Error::Fragment);
    }
    if packet.protocol() != ipv4::UDP {
        return Err(Error::NotUdp);
    }
    let datagram = parse_udp(packet.payload).map_err(Error::Udp)?;
    let is_cut = udp::HEADER_LEN + datagram.payload.len() < usize::from(datagram.length);
    Ok(Datagram {
        source_mac: MacAddr::ZERO,
        destination_mac: MacAddr::ZERO,
        vlan: None,
        source: SocketAddrV4::new(packet.source(), datagram.source_port),
        destination: SocketAddrV4::new(packet.destination(), datagram.destination_port),
        payload: datagram.payload,
        checksum_ok: is_cut || datagram.checksum_ok(packet.source(), packet.destination()),
    })
}
