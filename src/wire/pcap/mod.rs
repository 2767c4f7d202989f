//! Capture files: pcap (libpcap's format) and pcapng (the IETF draft), read from memory and written.
//!
//! A capture is what `replay` and the tests drive the protocol cores with. Never reads a file itself, and never takes a
//! capture's word for a length.

mod blocks;
mod carried;
mod pcapng;
mod writer;

pub use blocks::{Blocks, Statistics};
pub use carried::{Carried, Transport};
pub use writer::Writer;

use super::{ethernet, frame, ipv4};

/// What the frames of an interface begin with (<https://www.tcpdump.org/linktypes.html>).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LinkType {
    /// An Ethernet header.
    Ethernet,
    /// An IP header.
    RawIp,
    /// Linux "cooked" capture, of the interface `any`.
    LinuxSll,
    /// Its second version.
    LinuxSll2,
    /// Something else, by its number.
    Other(u32),
}

impl From<u32> for LinkType {
    fn from(number: u32) -> Self {
        match number {
            1 => Self::Ethernet,
            // 101 is LINKTYPE_RAW; 12 and 14 are what DLT_RAW is on some systems, written as they were; 228 is
            // raw IPv4.
            12 | 14 | 101 | 228 => Self::RawIp,
            113 => Self::LinuxSll,
            276 => Self::LinuxSll2,
            other => Self::Other(other),
        }
    }
}

/// One frame of a capture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Packet<'a> {
    /// When it was seen, in µs since 1970; 0 where the capture does not say.
    pub time_us: u64,
    /// What it begins with.
    pub link: LinkType,
    /// The bytes captured.
    pub data: &'a [u8],
    /// How many bytes the frame had.
    pub original_len: u32,
}

impl<'a> Packet<'a> {
    /// Views the frame as a UDP datagram over IPv4. The hardware addresses are zero where the link has none.
    pub fn udp4(&self) -> Result<frame::Datagram<'a>, frame::Error> {
        match self.ipv4()? {
            None => frame::parse_udp4(self.data),
            Some(packet) => frame::parse_udp4_packet(packet),
        }
    }

    /// [`Packet::udp4`], but a datagram of which the capture kept only the front is given as far as it goes.
    pub fn udp4_cut(&self) -> Result<frame::Datagram<'a>, frame::Error> {
        match self.ipv4()? {
            None => frame::parse_udp4_cut(self.data),
            Some(packet) => frame::parse_udp4_packet_cut(packet),
        }
    }

    /// Views the frame as an IPv4 packet, as far as the capture kept it.
    pub fn ipv4_cut(&self) -> Result<ipv4::Packet<'a>, frame::Error> {
        let packet = match self.ipv4()? {
            Some(packet) => packet,
            None => {
                let frame = ethernet::parse(self.data).map_err(frame::Error::Ethernet)?;
                if frame.ethertype != ethernet::IPV4 {
                    return Err(frame::Error::NotIpv4);
                }
                frame.payload
            }
        };
        ipv4::Packet::parse_cut(packet).map_err(frame::Error::Ipv4)
    }

    /// The IPv4 packet of a link without Ethernet headers; `None` for Ethernet itself.
    fn ipv4(&self) -> Result<Option<&'a [u8]>, frame::Error> {
        // Cooked headers keep the ethertype at their own place (linktypes.html).
        let (ethertype, packet) = match self.link {
            LinkType::Ethernet => return Ok(None),
            LinkType::RawIp => (Some(ethernet::IPV4), Some(self.data)),
            LinkType::LinuxSll => (u16_at(self.data, 14), self.data.get(16..)),
            LinkType::LinuxSll2 => (u16_at(self.data, 0), self.data.get(20..)),
            LinkType::Other(_) => return Err(frame::Error::NotIpv4),
        };
        match (ethertype, packet) {
            (Some(ethernet::IPV4), Some(packet)) => Ok(Some(packet)),
            (Some(_), Some(_)) => Err(frame::Error::NotIpv4),
            _ => Err(frame::Error::Ethernet(ethernet::Error::Truncated)),
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|number| u16::from_be_bytes(*number))
}

/// Why a capture cannot be read, or not further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// Neither pcap nor pcapng.
    NotACapture,
    /// The file ends inside a record.
    Truncated,
    /// A length that contradicts another.
    Length,
    /// A packet of an interface that was not described.
    Interface,
    /// More interfaces than are kept.
    TooManyInterfaces,
}

super::error_text!(Error {
    Self::NotACapture => "neither a pcap nor a pcapng file",
    Self::Truncated => "the capture ends inside a record",
    Self::Length => "a length in the capture is wrong",
    Self::Interface => "a packet of an interface that the capture does not describe",
    Self::TooManyInterfaces => "the capture has too many interfaces",
});

/// Byte order of a capture file: that of the machine that wrote it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Big => u16::from_be_bytes(bytes),
            Self::Little => u16::from_le_bytes(bytes),
        }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Big => u32::from_be_bytes(bytes),
            Self::Little => u32::from_le_bytes(bytes),
        }
    }
}

/// Bytes consumed from the front.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a> {
    rest: &'a [u8],
    order: Order,
}

impl<'a> Cursor<'a> {
    fn u16(&mut self) -> Result<u16, Error> {
        let (number, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(self.order.u16(*number))
    }

    fn u32(&mut self) -> Result<u32, Error> {
        let (number, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(self.order.u32(*number))
    }

    fn take(&mut self, len: u32) -> Result<&'a [u8], Error> {
        let len = usize::try_from(len).map_err(|_| Error::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// The packets of a capture, in file order. After an error there is nothing more.
#[derive(Clone, Debug)]
pub struct Reader<'a>(Format<'a>);

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one reader a file, and no heap here to box it on")]
enum Format<'a> {
    Pcap(Pcap<'a>),
    Pcapng(pcapng::Pcapng<'a>),
}

impl<'a> Reader<'a> {
    /// Reads a file's head; the magic number tells its format and byte order.
    pub fn new(file: &'a [u8]) -> Result<Self, Error> {
        let magic: &[u8; 4] = file.first_chunk().ok_or(Error::NotACapture)?;
        if *magic == pcapng::SECTION_HEADER_BYTES {
            return Ok(Self(Format::Pcapng(pcapng::Pcapng::new(file))));
        }
        Pcap::new(file, *magic).map(Format::Pcap).map(Self)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Packet<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Format::Pcap(pcap) => pcap.next(),
            Format::Pcapng(pcapng) => pcapng.next(),
        }
    }
}

const MAGIC_US: u32 = 0xa1b2_c3d4;
const MAGIC_NS: u32 = 0xa1b2_3c4d;

#[derive(Clone, Debug)]
struct Pcap<'a> {
    cursor: Cursor<'a>,
    /// Fractions of a second in a microsecond: 1, or 1000 in the nanosecond format.
    fractions_per_us: u32,
    link: LinkType,
}

impl<'a> Pcap<'a> {
    fn new(file: &'a [u8], magic: [u8; 4]) -> Result<Self, Error> {
        let known = |order: Order| match order.u32(magic) {
            MAGIC_US => Some((order, 1)),
            MAGIC_NS => Some((order, 1000)),
            _ => None,
        };
        let (order, fractions_per_us) =
            known(Order::Big).or_else(|| known(Order::Little)).ok_or(Error::NotACapture)?;
        let mut cursor = Cursor { rest: file, order };
        // Magic, version, two fields nobody fills, the snapshot length.
        cursor.take(20)?;
        // The upper bits say how long a frame check sequence is, where there is one.
        let link = LinkType::from(cursor.u32()? & 0x0fff_ffff);
        Ok(Self { cursor, fractions_per_us, link })
    }

    fn record(&mut self) -> Result<Packet<'a>, Error> {
        let cursor = &mut self.cursor;
        let (seconds, fraction) = (cursor.u32()?, cursor.u32()?);
        let (captured_len, original_len) = (cursor.u32()?, cursor.u32()?);
        let data = cursor.take(captured_len)?;
        let time_us = u64::from(seconds) * 1_000_000 + u64::from(fraction / self.fractions_per_us);
        Ok(Packet { time_us, link: self.link, data, original_len })
    }

    fn next(&mut self) -> Option<Result<Packet<'a>, Error>> {
        if self.cursor.rest.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.cursor.rest = &[];
        }
        Some(record)
    }
}
