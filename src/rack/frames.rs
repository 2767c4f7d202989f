//! Ethernet, ARP, IPv4 and UDP of the simulated machines, on smoltcp's codecs: what the server sends is read by a codec that is
//! not its own, checksums and all.

use std::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, TcpPacket, UdpPacket, UdpRepr,
};

use crate::wire::ethernet::MacAddr;

/// Bytes before a UDP payload: Ethernet 14, IPv4 20, UDP 8
pub(crate) const HEADERS: usize = 42;
pub(crate) const BROADCAST: MacAddr = MacAddr([0xff; 6]);

/// A UDP datagram in its frame
#[derive(Clone, Copy, Debug)]
pub(crate) struct Udp<'a> {
    pub from_mac: MacAddr,
    pub to_mac: MacAddr,
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    pub payload: &'a [u8],
}

/// An ARP packet
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arp {
    pub is_request: bool,
    pub sender_mac: MacAddr,
    pub sender: Ipv4Addr,
    pub target: Ipv4Addr,
}

/// What a frame holds
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard<'a> {
    Udp(Udp<'a>),
    Arp(Arp),
}

impl Udp<'_> {
    /// The whole frame
    pub(crate) fn emit(&self) -> Vec<u8> {
        let caps = ChecksumCapabilities::default();
        let mut bytes = vec![0; HEADERS + self.payload.len()];
        header(self.from_mac, self.to_mac, EthernetProtocol::Ipv4, &mut bytes);
        let mut packet = Ipv4Packet::new_unchecked(&mut bytes[14..]);
        let ip = Ipv4Repr {
            src_addr: *self.from.ip(),
            dst_addr: *self.to.ip(),
            next_header: IpProtocol::Udp,
            payload_len: 8 + self.payload.len(),
            hop_limit: 64,
        };
        ip.emit(&mut packet, &caps);
        let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
        let udp = UdpRepr { src_port: self.from.port(), dst_port: self.to.port() };
        let (from, to) = (IpAddress::Ipv4(*self.from.ip()), IpAddress::Ipv4(*self.to.ip()));
        let fill = |buffer: &mut [u8]| buffer.copy_from_slice(self.payload);
        udp.emit(&mut datagram, &from, &to, self.payload.len(), fill, &caps);
        bytes
    }
}

impl Arp {
    /// The whole frame, to `to_mac`
    pub(crate) fn emit(&self, to_mac: MacAddr) -> Vec<u8> {
        let mut bytes = vec![0; 42];
        header(self.sender_mac, to_mac, EthernetProtocol::Arp, &mut bytes);
        let arp = ArpRepr::EthernetIpv4 {
            operation: if self.is_request { ArpOperation::Request } else { ArpOperation::Reply },
            source_hardware_addr: EthernetAddress(self.sender_mac.0),
            source_protocol_addr: self.sender,
            target_hardware_addr: EthernetAddress(if self.is_request { [0; 6] } else { to_mac.0 }),
            target_protocol_addr: self.target,
        };
        arp.emit(&mut ArpPacket::new_unchecked(&mut bytes[14..]));
        bytes
    }
}

fn header(from: MacAddr, to: MacAddr, ethertype: EthernetProtocol, bytes: &mut [u8]) {
    let ethernet =
        EthernetRepr { src_addr: EthernetAddress(from.0), dst_addr: EthernetAddress(to.0), ethertype };
    ethernet.emit(&mut EthernetFrame::new_unchecked(bytes));
}

/// Says where a frame is to go
pub(crate) fn address(frame: &mut [u8], to: MacAddr) {
    EthernetFrame::new_unchecked(frame).set_dst_addr(EthernetAddress(to.0));
}

/// An IPv4 packet in a frame that has no destination yet, the packet's own destination, and the port that it leaves from
pub(crate) fn wrap(from: MacAddr, packet: &[u8]) -> Option<(Ipv4Addr, u16, Vec<u8>)> {
    let view = Ipv4Packet::new_checked(packet).ok()?;
    let ports = view.payload().first_chunk::<2>()?;
    let mut frame = vec![0; 14 + packet.len()];
    header(from, MacAddr::ZERO, EthernetProtocol::Ipv4, &mut frame);
    frame[14..].copy_from_slice(packet);
    Some((view.dst_addr(), u16::from_be_bytes(*ports), frame))
}

/// The IPv4 packet of a frame with a TCP segment; its checksum is looked at unless it is `is_trusted`
pub(crate) fn segment(frame: &[u8], is_trusted: bool) -> Option<&[u8]> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
    if packet.next_header() != IpProtocol::Tcp || !packet.verify_checksum() {
        return None;
    }
    let tcp = TcpPacket::new_checked(packet.payload()).ok()?;
    let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
    (is_trusted || tcp.verify_checksum(&from, &to)).then_some(())?;
    frame.payload().get(..usize::from(packet.total_len()))
}

/// Where a frame is to go
pub(crate) fn destination(frame: &[u8]) -> Option<MacAddr> {
    Some(MacAddr(EthernetFrame::new_checked(frame).ok()?.dst_addr().0))
}

/// What a frame holds; `None`: neither ARP nor whole, correct UDP
pub(crate) fn parse(frame: &[u8]) -> Option<Heard<'_>> {
    read(frame, false)
}

/// The same of a frame whose UDP checksum is not to be looked at where it `is_trusted`
pub(crate) fn read(frame: &[u8], is_trusted: bool) -> Option<Heard<'_>> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    match frame.ethertype() {
        EthernetProtocol::Arp => {
            let ArpRepr::EthernetIpv4 {
                operation,
                source_hardware_addr,
                source_protocol_addr,
                target_protocol_addr,
                ..
            } = ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).ok()?).ok()?
            else {
                return None;
            };
            Some(Heard::Arp(Arp {
                is_request: operation == ArpOperation::Request,
                sender_mac: MacAddr(source_hardware_addr.0),
                sender: source_protocol_addr,
                target: target_protocol_addr,
            }))
        }
        EthernetProtocol::Ipv4 => {
            let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
            let ip = Ipv4Repr::parse(&packet, &ChecksumCapabilities::default()).ok()?;
            if ip.next_header != IpProtocol::Udp {
                return None;
            }
            let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
            let (from, to) = (IpAddress::Ipv4(ip.src_addr), IpAddress::Ipv4(ip.dst_addr));
            if !is_trusted && !datagram.verify_checksum(&from, &to) {
                return None;
            }
            Some(Heard::Udp(Udp {
                from_mac: MacAddr(frame.src_addr().0),
                to_mac: MacAddr(frame.dst_addr().0),
                from: SocketAddrV4::new(ip.src_addr, datagram.src_port()),
                to: SocketAddrV4::new(ip.dst_addr, datagram.dst_port()),
                payload: datagram.payload(),
            }))
        }
        _ => None,
    }
}

/// A router's work on a frame: other Ethernet addresses, one hop less
pub(crate) fn forward(frame: &[u8], from: MacAddr, to: MacAddr) -> Option<Vec<u8>> {
    let mut bytes = frame.to_vec();
    header(from, to, EthernetProtocol::Ipv4, &mut bytes);
    let mut packet = Ipv4Packet::new_checked(&mut bytes[14..]).ok()?;
    packet.set_hop_limit(packet.hop_limit().checked_sub(1)?);
    packet.fill_checksum();
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_as_it_was_and_a_broken_one_not_at_all() {
        let (a, b) = (MacAddr([2; 6]), MacAddr([4; 6]));
        let (from, to) =
            (SocketAddrV4::new([10, 0, 0, 1].into(), 69), SocketAddrV4::new([10, 0, 0, 2].into(), 9));
        let mut frame = Udp { from_mac: a, to_mac: b, from, to, payload: b"reveille" }.emit();
        let Some(Heard::Udp(udp)) = parse(&frame) else { panic!("UDP") };
        assert_eq!((udp.from, udp.to, udp.payload), (from, to, &b"reveille"[..]));
        let routed = forward(&frame, b, a).expect("a hop left");
        assert!(matches!(parse(&routed), Some(Heard::Udp(udp)) if udp.to_mac == a));
        frame[HEADERS] ^= 1;
        assert!(parse(&frame).is_none());
    }
}
