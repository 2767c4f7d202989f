//! TCP headers (RFC 9293 §3.1), for captures: this program leaves TCP itself to the kernel.

use std::net::{Ipv4Addr, SocketAddrV4};

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    network_endian::{U16, U32},
};

use super::checksum::Sum;
use super::ipv4;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = size_of::<Header>();

/// The sender has sent its last byte.
pub const FIN: u8 = 0x01;
/// The first segment of a direction.
pub const SYN: u8 = 0x02;
/// The connection is gone.
pub const RST: u8 = 0x04;
/// The receiver shall not wait for more.
pub const PSH: u8 = 0x08;
/// The acknowledgement number counts.
pub const ACK: u8 = 0x10;

/// The header without options: 20 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Port of the sender.
    pub source_port: U16,
    /// Port of the receiver.
    pub destination_port: U16,
    /// Number of the payload's first byte.
    pub sequence: U32,
    /// Number of the byte that is expected next.
    pub acknowledgement: U32,
    /// The header's length in words of 4 bytes, in the upper half.
    pub data_offset: u8,
    /// [`FIN`], [`SYN`] and the others.
    pub flags: u8,
    /// Bytes that the sender has room for.
    pub window: U16,
    /// Over pseudo-header, header and payload.
    pub checksum: U16,
    /// Where urgent data ends.
    pub urgent: U16,
}

impl Header {
    /// A header without options for `payload`, its checksum in place.
    #[must_use]
    pub fn new(
        source: SocketAddrV4,
        destination: SocketAddrV4,
        (sequence, acknowledgement): (u32, u32),
        flags: u8,
        payload: &[u8],
    ) -> Self {
        let mut header = Self {
            source_port: source.port().into(),
            destination_port: destination.port().into(),
            sequence: sequence.into(),
            acknowledgement: acknowledgement.into(),
            data_offset: 5 << 4,
            flags,
            window: u16::MAX.into(),
            checksum: 0.into(),
            urgent: 0.into(),
        };
        let sum = checksum(*source.ip(), *destination.ip(), header.as_bytes(), payload);
        header.checksum = sum.into();
        header
    }
}

/// The checksum of a segment whose own field is zero; `header` is of even length, options and all.
#[must_use]
pub fn checksum(source: Ipv4Addr, destination: Ipv4Addr, header: &[u8], payload: &[u8]) -> u16 {
    let len = u16::try_from(header.len() + payload.len()).unwrap_or(u16::MAX);
    Sum::default()
        .bytes(&source.octets())
        .bytes(&destination.octets())
        .word(ipv4::TCP.into())
        .word(len)
        .bytes(header)
        .bytes(payload)
        .finish()
}

/// A segment, perhaps cut by who captured it.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The header without its options.
    pub header: &'a Header,
    /// Bytes of the header with its options.
    pub header_len: usize,
    /// What there is of the payload.
    pub payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Views what an IPv4 packet carries; `None` where it is shorter than its header, or a header's length below 20 bytes.
    #[must_use]
    pub fn parse_cut(bytes: &'a [u8]) -> Option<Self> {
        let (header, _) = Header::ref_from_prefix(bytes).ok()?;
        let header_len = usize::from(header.data_offset >> 4) * 4;
        (header_len >= HEADER_LEN).then_some(())?;
        Some(Self { header, header_len, payload: bytes.get(header_len..).unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_its_sum_holds() {
        let client = SocketAddrV4::new([10, 0, 0, 9].into(), 2000);
        let server = SocketAddrV4::new([10, 0, 0, 1].into(), 80);
        let header = Header::new(client, server, (7, 9), PSH | ACK, b"GET");
        assert_eq!(checksum(*client.ip(), *server.ip(), header.as_bytes(), b"GET"), 0);
        let bytes = [header.as_bytes(), b"GET"].concat();
        let segment = Segment::parse_cut(&bytes).unwrap();
        assert_eq!((segment.header, segment.payload), (&header, &b"GET"[..]));
        assert!((0..HEADER_LEN).all(|len| Segment::parse_cut(&bytes[..len]).is_none()));
        let mut short = bytes.clone();
        short[12] = 4 << 4;
        assert!(Segment::parse_cut(&short).is_none(), "a header that says 16 bytes");
        short[12] = 15 << 4;
        assert_eq!(Segment::parse_cut(&short).unwrap().payload, b"", "options that were cut off");
    }
}
