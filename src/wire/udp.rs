//! UDP datagrams (RFC 768).

use std::net::Ipv4Addr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

use super::checksum::Sum;

/// Bytes of the header.
pub const HEADER_LEN: usize = size_of::<Header>();

/// The header: 8 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Port of the sender.
    pub source_port: U16,
    /// Port of the receiver.
    pub destination_port: U16,
    /// Header and payload in bytes.
    pub length: U16,
    /// Over pseudo-header, header and payload; 0 is none.
    pub checksum: U16,
}

impl Header {
    /// A header for `payload`, its checksum in place. `None` where header and payload exceed 65,535 bytes.
    #[must_use]
    pub fn new(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16), payload: &[u8]) -> Option<Self> {
        let length = u16::try_from(payload.len().checked_add(HEADER_LEN)?).ok()?;
        let mut header = Self {
            source_port: source.1.into(),
            destination_port: destination.1.into(),
            length: length.into(),
            checksum: 0.into(),
        };
        let sum = Sum::default()
            .udp_pseudo_header(source.0, destination.0, length)
            .bytes(header.as_bytes())
            .bytes(payload)
            .finish();
        // RFC 768: a sum of zero is sent as all ones, since zero says "no checksum".
        header.checksum = if sum == 0 { 0xffff } else { sum }.into();
        Some(header)
    }

    /// A header without a checksum for a payload of so many bytes, of which not all may be at hand. `None` where header and
    /// payload exceed 65,535 bytes.
    #[must_use]
    pub fn unsummed(source_port: u16, destination_port: u16, payload_len: usize) -> Option<Self> {
        let length = u16::try_from(payload_len.checked_add(HEADER_LEN)?).ok()?;
        Some(Self {
            source_port: source_port.into(),
            destination_port: destination_port.into(),
            length: length.into(),
            checksum: 0.into(),
        })
    }
}

/// One datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Datagram<'a> {
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// The length field: header and payload in bytes.
    pub length: u16,
    /// The checksum field; 0 is none.
    pub checksum: u16,
    /// What the length field says, without what follows.
    pub payload: &'a [u8],
}

/// Why bytes are no datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// Shorter than its header or its length.
    Truncated,
    /// A length below the header's 8 bytes.
    Length,
}

super::error_text!(Error {
    Self::Truncated => "the UDP datagram is cut short",
    Self::Length => "the UDP length is below that of the header",
});

/// Views a datagram: [`Datagram::parse`].
pub fn parse(bytes: &[u8]) -> Result<Datagram<'_>, Error> {
    Datagram::parse(bytes)
}

impl<'a> Datagram<'a> {
    /// Views a datagram. The checksum is not looked at: see [`Datagram::checksum_ok`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let datagram = Self::parse_cut(bytes)?;
        let whole = HEADER_LEN + datagram.payload.len() == usize::from(datagram.length);
        if whole { Ok(datagram) } else { Err(Error::Truncated) }
    }

    /// Views what a capture kept of a datagram: its payload may be shorter than the length field says.
    pub fn parse_cut(bytes: &'a [u8]) -> Result<Self, Error> {
        let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| Error::Truncated)?;
        let length = usize::from(header.length.get());
        if length < HEADER_LEN {
            return Err(Error::Length);
        }
        let payload = &bytes[HEADER_LEN..length.min(bytes.len())];
        Ok(Self {
            source_port: header.source_port.get(),
            destination_port: header.destination_port.get(),
            length: header.length.get(),
            checksum: header.checksum.get(),
            payload,
        })
    }

    /// Whether the checksum holds between these two addresses; a sender may leave it out (RFC 768).
    #[must_use]
    pub fn checksum_ok(&self, source: Ipv4Addr, destination: Ipv4Addr) -> bool {
        if self.checksum == 0 {
            return true;
        }
        Sum::default()
            .udp_pseudo_header(source, destination, self.length)
            .word(self.source_port)
            .word(self.destination_port)
            .word(self.length)
            .word(self.checksum)
            .bytes(self.payload)
            .finish()
            == 0
    }
}
