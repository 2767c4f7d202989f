//! IPv4 headers (RFC 791): what lies between a packet socket's frame and UDP.
//!
//! Never reassembles: a fragment is told apart by [`Packet::is_fragment`] and dropped by who reads it.

use std::net::Ipv4Addr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

use super::checksum::Sum;

/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = size_of::<Header>();

/// Do not fragment.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// More fragments follow.
const MORE_FRAGMENTS: u16 = 0x2000;
/// Where a fragment lies, in units of 8 bytes.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// The header without options: 20 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// 4 in the upper half, the header's length in words of 4 bytes in the lower.
    pub version_ihl: u8,
    /// Type of service.
    pub tos: u8,
    /// Length of header and payload in bytes.
    pub total_length: U16,
    /// Tells the fragments of one datagram from those of another.
    pub identification: U16,
    /// Three flags and the fragment offset.
    pub flags_offset: U16,
    /// Hops left.
    pub ttl: u8,
    /// What the payload is.
    pub protocol: u8,
    /// Internet checksum of the header.
    pub checksum: U16,
    /// Sender.
    pub source: [u8; 4],
    /// Receiver.
    pub destination: [u8; 4],
}

impl Header {
    /// A header without options for `payload_len` bytes of `protocol`, its checksum in place.
    ///
    /// `None` where header and payload exceed 65,535 bytes.
    #[must_use]
    pub fn new(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, payload_len: usize) -> Option<Self> {
        let total = u16::try_from(payload_len.checked_add(HEADER_LEN)?).ok()?;
        let mut header = Self {
            version_ihl: 0x45,
            tos: 0,
            total_length: total.into(),
            // RFC 6864 §4.1: an atomic datagram (DF, no fragments) needs no identification of its own.
            identification: 0.into(),
            flags_offset: DONT_FRAGMENT.into(),
            ttl: 64,
            protocol,
            checksum: 0.into(),
            source: source.octets(),
            destination: destination.octets(),
        };
        header.checksum = Sum::default().bytes(header.as_bytes()).finish().into();
        Some(header)
    }
}

/// A packet whose header checksum and lengths hold.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The header without its options.
    pub header: &'a Header,
    /// What the total length says, without the link's padding.
    pub payload: &'a [u8],
}

/// Why bytes are no IPv4 packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// Shorter than its header or its total length.
    Truncated,
    /// Another version of IP.
    Version,
    /// A header length below 20, or a total length below the header's.
    Length,
    /// The header's checksum is wrong.
    Checksum,
}

super::error_text!(Error {
    Self::Truncated => "the IPv4 packet is cut short",
    Self::Version => "the packet is not IPv4",
    Self::Length => "the IPv4 lengths contradict each other",
    Self::Checksum => "the IPv4 header checksum is wrong",
});

/// Views an IPv4 packet: [`Packet::parse`].
pub fn parse(bytes: &[u8]) -> Result<Packet<'_>, Error> {
    Packet::parse(bytes)
}

impl<'a> Packet<'a> {
    /// Views a packet; bytes behind its total length are the link's padding.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let packet = Self::parse_cut(bytes)?;
        let header_len = usize::from(packet.header.version_ihl & 0x0f) * 4;
        if Sum::default().bytes(&bytes[..header_len]).finish() != 0 {
            return Err(Error::Checksum);
        }
        let whole = header_len + packet.payload.len() == usize::from(packet.header.total_length.get());
        if whole { Ok(packet) } else { Err(Error::Truncated) }
    }

    /// Views what a capture kept of a packet: its payload may be shorter than the total length says, and a packet that was
    /// captured where it was sent holds the checksum that its sender left to the hardware.
    pub fn parse_cut(bytes: &'a [u8]) -> Result<Self, Error> {
        let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| Error::Truncated)?;
        if header.version_ihl >> 4 != 4 {
            return Err(Error::Version);
        }
        let header_len = usize::from(header.version_ihl & 0x0f) * 4;
        let total = usize::from(header.total_length.get());
        if header_len < HEADER_LEN || total < header_len {
            return Err(Error::Length);
        }
        let kept = &bytes[..total.min(bytes.len())];
        let (_, payload) = kept.split_at_checked(header_len).ok_or(Error::Truncated)?;
        Ok(Self { header, payload })
    }

    /// Sender.
    #[must_use]
    pub fn source(&self) -> Ipv4Addr {
        self.header.source.into()
    }

    /// Receiver.
    #[must_use]
    pub fn destination(&self) -> Ipv4Addr {
        self.header.destination.into()
    }

    /// What the payload is.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.header.protocol
    }

    /// Part of a datagram only: first, middle or last.
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.header.flags_offset.get() & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
    }
}
