//! ARP over Ethernet for IPv4 (RFC 826), and the address probe of RFC 5227.
//!
//! A DHCP server asks with it whether an address it is about to give is already in use (RFC 2131 §2.2).

use std::net::Ipv4Addr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

use super::{
    Full,
    ethernet::{self, MacAddr},
};

/// Bytes of a whole frame: Ethernet header and ARP packet. The kernel or the card pads it to the Ethernet minimum.
pub const FRAME_LEN: usize = ethernet::HEADER_LEN + size_of::<Header>();

/// The packet as it lies on the wire: 28 bytes, with RFC 826's letters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Hardware type: 1, Ethernet.
    pub hrd: U16,
    /// Protocol type: the ethertype of IPv4.
    pub pro: U16,
    /// Length of a hardware address: 6.
    pub hln: u8,
    /// Length of a protocol address: 4.
    pub pln: u8,
    /// 1 request, 2 reply.
    pub op: U16,
    /// Sender hardware address.
    pub sha: MacAddr,
    /// Sender protocol address.
    pub spa: [u8; 4],
    /// Target hardware address.
    pub tha: MacAddr,
    /// Target protocol address.
    pub tpa: [u8; 4],
}

/// Question or answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// Who has the target address?
    Request = 1,
    /// The sender has it.
    Reply = 2,
}

/// One ARP packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet {
    /// Question or answer.
    pub operation: Operation,
    /// Hardware address of the sender.
    pub sender_mac: MacAddr,
    /// Address of the sender; 0.0.0.0 in a probe.
    pub sender_ip: Ipv4Addr,
    /// Hardware address of the target; zero in a request.
    pub target_mac: MacAddr,
    /// The address asked for.
    pub target_ip: Ipv4Addr,
}

/// Why bytes are no ARP packet of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// Shorter than 28 bytes, or than an Ethernet header.
    Truncated,
    /// The frame carries something else.
    NotArp,
    /// Not Ethernet and IPv4.
    AddressKind,
    /// Neither request nor reply.
    Operation,
}

super::error_text!(Error {
    Self::Truncated => "the ARP packet is cut short",
    Self::NotArp => "the frame is not ARP",
    Self::AddressKind => "the ARP packet is not for IPv4 over Ethernet",
    Self::Operation => "the ARP packet is neither request nor reply",
});

impl Packet {
    /// The probe of RFC 5227 §2.1.1: asks for `target` without claiming an address of its own.
    #[must_use]
    pub fn probe(sender_mac: MacAddr, target: Ipv4Addr) -> Self {
        Self {
            operation: Operation::Request,
            sender_mac,
            sender_ip: Ipv4Addr::UNSPECIFIED,
            target_mac: MacAddr::ZERO,
            target_ip: target,
        }
    }

    /// Reads the payload of a frame whose ethertype is ARP.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let (header, _padding) = Header::ref_from_prefix(payload).map_err(|_| Error::Truncated)?;
        if (header.hrd.get(), header.pro.get(), header.hln, header.pln) != (1, ethernet::IPV4, 6, 4) {
            return Err(Error::AddressKind);
        }
        let operation = match header.op.get() {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(Error::Operation),
        };
        Ok(Self {
            operation,
            sender_mac: header.sha,
            sender_ip: header.spa.into(),
            target_mac: header.tha,
            target_ip: header.tpa.into(),
        })
    }

    /// Reads a whole Ethernet frame, tagged or not.
    pub fn parse_frame(frame: &[u8]) -> Result<Self, Error> {
        let frame = ethernet::parse(frame).map_err(|_| Error::Truncated)?;
        if frame.ethertype != ethernet::ARP {
            return Err(Error::NotArp);
        }
        Self::parse(frame.payload)
    }

    /// Writes a whole frame of [`FRAME_LEN`] bytes: a request to all stations, a reply to its target.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<usize, Full> {
        let destination = match self.operation {
            Operation::Request => MacAddr::BROADCAST,
            Operation::Reply => self.target_mac,
        };
        let link = ethernet::Header { destination, source: self.sender_mac, ethertype: ethernet::ARP.into() };
        let packet = Header {
            hrd: 1.into(),
            pro: ethernet::IPV4.into(),
            hln: 6,
            pln: 4,
            op: (self.operation as u16).into(),
            sha: self.sender_mac,
            spa: self.sender_ip.octets(),
            tha: self.target_mac,
            tpa: self.target_ip.octets(),
        };
        super::buffer::Buffer::new(buffer).put(&[link.as_bytes(), packet.as_bytes()])?;
        Ok(FRAME_LEN)
    }
}

/// Writes the frame of [`Packet::probe`].
pub fn emit_probe(sender_mac: MacAddr, target: Ipv4Addr, buffer: &mut [u8]) -> Result<usize, Full> {
    Packet::probe(sender_mac, target).emit(buffer)
}
