//! pcapng (draft-ietf-opsawg-pcapng): section, interface, enhanced and simple packet blocks; all others are passed
//! over.

use super::{Cursor, Error, LinkType, Order, Packet};

/// The block type of a section header: the same in both byte orders.
pub(super) const SECTION_HEADER_BYTES: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
pub(super) const INTERFACE_DESCRIPTION: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
pub(super) const INTERFACE_STATISTICS: u32 = 5;
pub(super) const ENHANCED_PACKET: u32 = 6;
pub(super) const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Option of an interface: resolution of its stamps.
const IF_TSRESOL: u16 = 9;
/// Option of an interface: seconds to add to its stamps.
const IF_TSOFFSET: u16 = 14;

const INTERFACES_MAX: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: LinkType,
    /// Bytes kept of each packet; 0 is all.
    snap_len: u32,
    ticks_per_second: u128,
    offset_s: i64,
}

impl Interface {
    fn time_us(&self, ticks: u64) -> u64 {
        let us = u128::from(ticks) * 1_000_000 / self.ticks_per_second;
        u64::try_from(us).unwrap_or(u64::MAX).saturating_add_signed(self.offset_s.saturating_mul(1_000_000))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Pcapng<'a> {
    cursor: Cursor<'a>,
    interfaces: [Option<Interface>; INTERFACES_MAX],
    interface_count: usize,
}

impl<'a> Pcapng<'a> {
    pub(super) fn new(file: &'a [u8]) -> Self {
        let cursor = Cursor { rest: file, order: Order::Little };
        Self { cursor, interfaces: [None; INTERFACES_MAX], interface_count: 0 }
    }

    pub(super) fn next(&mut self) -> Option<Result<Packet<'a>, Error>> {
        while !self.cursor.rest.is_empty() {
            match self.block() {
                Ok(None) => {}
                Ok(Some(packet)) => return Some(Ok(packet)),
                Err(error) => {
                    self.cursor.rest = &[];
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Reads one block; it consumes at least its twelve bytes of frame.
    fn block(&mut self) -> Result<Option<Packet<'a>>, Error> {
        let kind = self.cursor.u32()?;
        if kind == SECTION_HEADER {
            // The byte order of a section is known only from inside its header.
            let magic = self.cursor.rest.get(4..).and_then(<[u8]>::first_chunk).ok_or(Error::Truncated)?;
            self.cursor.order = [Order::Big, Order::Little]
                .into_iter()
                .find(|order| order.u32(*magic) == BYTE_ORDER_MAGIC)
                .ok_or(Error::NotACapture)?;
        }
        let len = self.cursor.u32()?;
        if len % 4 != 0 {
            return Err(Error::Length);
        }
        let body = self.cursor.take(len.checked_sub(12).ok_or(Error::Length)?)?;
        if self.cursor.u32()? != len {
            return Err(Error::Length);
        }
        let body = Cursor { rest: body, order: self.cursor.order };
        match kind {
            SECTION_HEADER => {
                self.interface_count = 0;
                Ok(None)
            }
            INTERFACE_DESCRIPTION => self.interface(body).map(|()| None),
            ENHANCED_PACKET => self.enhanced_packet(body).map(Some),
            SIMPLE_PACKET => self.simple_packet(body).map(Some),
            _ => Ok(None),
        }
    }

    fn interface(&mut self, mut body: Cursor<'a>) -> Result<(), Error> {
        let link = LinkType::from(u32::from(body.u16()?));
        let _reserved = body.u16()?;
        let mut interface =
            Interface { link, snap_len: body.u32()?, ticks_per_second: 1_000_000, offset_s: 0 };
        while !body.rest.is_empty() {
            let (code, len) = (body.u16()?, body.u16()?);
            if code == 0 {
                break;
            }
            let value = body.take(u32::from(len))?;
            // Values are padded to four bytes; the last may lack its padding.
            body.rest = body.rest.get(usize::from(len).wrapping_neg() % 4..).unwrap_or_default();
            match (code, value) {
                (IF_TSRESOL, &[resolution]) => {
                    interface.ticks_per_second = ticks_per_second(resolution).ok_or(Error::Length)?;
                }
                (IF_TSOFFSET, value) => {
                    let bytes: [u8; 8] = value.try_into().map_err(|_| Error::Length)?;
                    interface.offset_s = match body.order {
                        Order::Big => i64::from_be_bytes(bytes),
                        Order::Little => i64::from_le_bytes(bytes),
                    };
                }
                _ => {}
            }
        }
        let place = self.interfaces.get_mut(self.interface_count).ok_or(Error::TooManyInterfaces)?;
        *place = Some(interface);
        self.interface_count += 1;
        Ok(())
    }

    fn enhanced_packet(&self, mut body: Cursor<'a>) -> Result<Packet<'a>, Error> {
        let interface = self.described(body.u32()?)?;
        let ticks = u64::from(body.u32()?) << 32 | u64::from(body.u32()?);
        let (captured_len, original_len) = (body.u32()?, body.u32()?);
        let data = body.take(captured_len)?;
        Ok(Packet { time_us: interface.time_us(ticks), link: interface.link, data, original_len })
    }

    /// A simple packet has no stamp, and belongs to the first interface.
    fn simple_packet(&self, mut body: Cursor<'a>) -> Result<Packet<'a>, Error> {
        let interface = self.described(0)?;
        let original_len = body.u32()?;
        let kept = if interface.snap_len == 0 { u32::MAX } else { interface.snap_len };
        let data = body.take(original_len.min(kept))?;
        Ok(Packet { time_us: 0, link: interface.link, data, original_len })
    }

    fn described(&self, index: u32) -> Result<&Interface, Error> {
        let index = usize::try_from(index).map_err(|_| Error::Interface)?;
        let described = &self.interfaces[..self.interface_count];
        described.get(index).and_then(Option::as_ref).ok_or(Error::Interface)
    }
}

/// A power of ten, or of two where the highest bit is set.
fn ticks_per_second(resolution: u8) -> Option<u128> {
    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(u32::from(resolution & 0x7f))
}
