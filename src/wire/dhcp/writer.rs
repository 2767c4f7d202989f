//! Composing a message.

use std::net::Ipv4Addr;

use zerocopy::IntoBytes;

use super::{FILE, Header, MAGIC_COOKIE, SNAME, code};
use crate::wire::{Full, buffer::Buffer};

/// The shortest payload a reply has: BOOTP's 300 bytes (RFC 951 §3). U-Boot's BOOTP and old relays drop less.
pub const PAYLOAD_LEN_MIN: usize = 300;

/// The longest payload a reply may have: EDK2 ignores offers above it.
pub const PAYLOAD_LEN_MAX: usize = 1472;

/// The longest reply payload for a client with that option 57.
///
/// Option 57 counts the IP and UDP headers; a client without it, or with less than RFC 2132 §9.10 allows, takes 576
/// bytes (RFC 1122 §3.3.2).
#[must_use]
pub fn payload_limit(max_size: Option<u16>) -> usize {
    let datagram = usize::from(max_size.unwrap_or(0)).max(576);
    (datagram - 28).min(PAYLOAD_LEN_MAX)
}

/// Writes a message into the caller's buffer: header and cookie first, then options in the order of the calls.
///
/// There is always room for END: an option that would take its place is refused with [`Full`] and leaves no trace.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: Buffer<'b>,
}

impl<'b> Writer<'b> {
    /// Starts a message; [`Full`] where the buffer is shorter than [`PAYLOAD_LEN_MIN`].
    pub fn new(buffer: &'b mut [u8], header: &Header) -> Result<Self, Full> {
        if buffer.len() < PAYLOAD_LEN_MIN {
            return Err(Full);
        }
        let mut buffer = Buffer::new(buffer);
        buffer.put(&[header.as_bytes(), &MAGIC_COOKIE])?;
        let end = buffer.capacity();
        buffer.set_limit(end - 1);
        Ok(Self { buffer })
    }

    /// Bounds the whole payload, END included: [`payload_limit`] of the client's option 57. Never below
    /// [`PAYLOAD_LEN_MIN`].
    pub fn limit(&mut self, payload_len_max: usize) {
        let end = payload_len_max.max(PAYLOAD_LEN_MIN).min(self.buffer.capacity());
        self.buffer.set_limit(end - 1);
    }

    /// Appends an option; a value above 255 bytes is split into several instances (RFC 3396 §5).
    pub fn option(&mut self, code: u8, value: &[u8]) -> Result<(), Full> {
        self.put(code, value, 0)
    }

    /// Appends text with a NUL inside the option's length.
    ///
    /// EDK2 writes a zero over the byte behind an option 67 that lacks one, and old ROMs read on into what follows.
    pub fn option_bytes_nul(&mut self, code: u8, text: &[u8]) -> Result<(), Full> {
        self.put(code, text, 1)
    }

    /// Appends an address.
    pub fn option_ip(&mut self, code: u8, address: Ipv4Addr) -> Result<(), Full> {
        self.option(code, &address.octets())
    }

    /// Appends a list of addresses; an empty list is no option.
    pub fn option_ips(&mut self, code: u8, addresses: &[Ipv4Addr]) -> Result<(), Full> {
        if addresses.is_empty() {
            return Ok(());
        }
        let len = u8::try_from(addresses.len() * 4).map_err(|_| Full)?;
        let place = self.buffer.take(2 + usize::from(len))?;
        place[..2].copy_from_slice(&[code, len]);
        for (octets, address) in place[2..].chunks_exact_mut(4).zip(addresses) {
            octets.copy_from_slice(&address.octets());
        }
        Ok(())
    }

    /// Appends one byte.
    pub fn option_u8(&mut self, code: u8, value: u8) -> Result<(), Full> {
        self.option(code, &[value])
    }

    /// Appends two bytes.
    pub fn option_u16(&mut self, code: u8, value: u16) -> Result<(), Full> {
        self.option(code, &value.to_be_bytes())
    }

    /// Appends four bytes.
    pub fn option_u32(&mut self, code: u8, value: u32) -> Result<(), Full> {
        self.option(code, &value.to_be_bytes())
    }

    /// Sets the `file` field; at most 127 bytes, since its readers look for a NUL.
    pub fn set_file(&mut self, name: &[u8]) -> Result<(), Full> {
        self.set_text(FILE, 128, name)
    }

    /// Sets the `sname` field; at most 63 bytes, since its readers look for a NUL.
    pub fn set_sname(&mut self, name: &[u8]) -> Result<(), Full> {
        self.set_text(SNAME, 64, name)
    }

    /// Bytes written so far, without END.
    #[must_use]
    pub fn written(&self) -> usize {
        self.buffer.len()
    }

    /// Writes END and zeros up to [`PAYLOAD_LEN_MIN`]; returns the payload's length.
    #[must_use]
    pub fn finish(mut self) -> usize {
        let len = self.buffer.len();
        let end = (len + 1).max(PAYLOAD_LEN_MIN);
        self.buffer.set_limit(end);
        // `new` refused buffers below the minimum, and every limit since left a byte for END.
        if let Ok(tail) = self.buffer.take(end - len) {
            tail.fill(0);
            tail[0] = code::END;
        }
        end
    }

    fn put(&mut self, code: u8, value: &[u8], nuls: usize) -> Result<(), Full> {
        let total = value.len() + nuls;
        let instances = total.div_ceil(255).max(1);
        let mut place = self.buffer.take(total + 2 * instances)?;
        let mut value = value;
        let mut left = total;
        for _ in 0..instances {
            let len = left.min(255);
            let (instance, behind) = place.split_at_mut(2 + len);
            let (text, rest) = value.split_at(len.min(value.len()));
            instance[0] = code;
            instance[1] = u8::try_from(len).unwrap_or(u8::MAX);
            instance[2..2 + text.len()].copy_from_slice(text);
            instance[2 + text.len()..].fill(0);
            (place, value) = (behind, rest);
            left -= len;
        }
        Ok(())
    }

    fn set_text(&mut self, at: usize, field_len: usize, text: &[u8]) -> Result<(), Full> {
        if text.len() >= field_len {
            return Err(Full);
        }
        let field = &mut self.buffer.written_mut()[at..at + field_len];
        field.fill(0);
        field[..text.len()].copy_from_slice(text);
        Ok(())
    }
}
