//! DHCP and BOOTP messages (RFC 951, 2131, 2132, 3046, 3396, 4578).
//!
//! [`Message`] is a view that looks options up where they lie, in the option area and, where option 52 says so, in
//! `file` and `sname`; [`Writer`] composes a reply. Lenient with what firmware sends, strict with what it is sent.
//! Never decides anything: which option means what to whom is `boot`'s and `proto`'s business.

pub mod code;
mod options;
#[cfg(test)]
mod tests;
mod typed;
mod writer;

use std::net::Ipv4Addr;

use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned,
    network_endian::{U16, U32},
};

use options::Index;
pub use options::{Options, SubOptions};
pub use typed::{IpxeFeatures, RelayAgent, UserClass};
pub use writer::{PAYLOAD_LEN_MAX, PAYLOAD_LEN_MIN, Writer, payload_limit};

use super::ethernet::MacAddr;

/// Port of servers and relays.
pub const SERVER_PORT: u16 = 67;
/// Port of clients.
pub const CLIENT_PORT: u16 = 68;
/// Port of PXE boot servers.
pub const PXE_PORT: u16 = 4011;

/// `op` of a client's message.
pub const BOOTREQUEST: u8 = 1;
/// `op` of a server's message.
pub const BOOTREPLY: u8 = 2;
/// The bit of `flags` by which a client asks for broadcast replies.
pub const BROADCAST: u16 = 0x8000;
/// What tells DHCP options from a BOOTP vendor area (RFC 2132 §2).
pub const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Bytes of the fixed part, before the cookie.
pub const HEADER_LEN: usize = size_of::<Header>();
/// Offsets of the two text fields.
const SNAME: usize = HEADER_LEN - 128 - 64;
const FILE: usize = HEADER_LEN - 128;

/// The fixed part of a message (RFC 2131 §2): 236 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`BOOTREQUEST`] or [`BOOTREPLY`].
    pub op: u8,
    /// Hardware type: 1 for Ethernet.
    pub htype: u8,
    /// How many bytes of `chaddr` count.
    pub hlen: u8,
    /// Relays passed.
    pub hops: u8,
    /// Chosen by the client; a reply carries it back.
    pub xid: U32,
    /// Seconds since the client began. iPXE keeps other things in it: no clock.
    pub secs: U16,
    /// [`BROADCAST`], the rest zero.
    pub flags: U16,
    /// The client's address, where it has one.
    pub ciaddr: [u8; 4],
    /// The address given to the client.
    pub yiaddr: [u8; 4],
    /// The server of the next step: where the boot file is.
    pub siaddr: [u8; 4],
    /// The first relay.
    pub giaddr: [u8; 4],
    /// The client's hardware address, padded with zeros.
    pub chaddr: [u8; 16],
    /// Name of the server, or options.
    pub sname: [u8; 64],
    /// Name of the boot file, or options.
    pub file: [u8; 128],
}

impl Default for Header {
    /// All zero: not a message yet.
    fn default() -> Self {
        Self::new_zeroed()
    }
}

impl Header {
    /// A reply with everything that RFC 2131 table 3 copies from the request; all else zero.
    #[must_use]
    pub fn reply_to(request: &Self) -> Self {
        Self {
            op: BOOTREPLY,
            htype: request.htype,
            hlen: request.hlen,
            xid: request.xid,
            flags: request.flags,
            giaddr: request.giaddr,
            chaddr: request.chaddr,
            ..Self::default()
        }
    }

    /// The client's address.
    #[must_use]
    pub fn ciaddr(&self) -> Ipv4Addr {
        self.ciaddr.into()
    }

    /// The address given to the client.
    #[must_use]
    pub fn yiaddr(&self) -> Ipv4Addr {
        self.yiaddr.into()
    }

    /// The server of the next step.
    #[must_use]
    pub fn siaddr(&self) -> Ipv4Addr {
        self.siaddr.into()
    }

    /// The first relay.
    #[must_use]
    pub fn giaddr(&self) -> Ipv4Addr {
        self.giaddr.into()
    }

    /// The bytes of `chaddr` that count.
    #[must_use]
    pub fn chaddr(&self) -> &[u8] {
        &self.chaddr[..usize::from(self.hlen).min(self.chaddr.len())]
    }

    /// The hardware address of an Ethernet client.
    #[must_use]
    pub fn mac(&self) -> Option<MacAddr> {
        match (self.htype, self.chaddr().first_chunk()) {
            (1, Some(mac)) if self.hlen == 6 => Some(MacAddr(*mac)),
            _ => None,
        }
    }

    /// The client asks for broadcast replies.
    #[must_use]
    pub fn is_broadcast(&self) -> bool {
        self.flags.get() & BROADCAST != 0
    }
}

/// Option 53 (RFC 2132 §9.6).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum MessageType {
    /// A client looks for servers.
    Discover = 1,
    /// A server offers.
    Offer = 2,
    /// A client takes an offer, or extends its lease.
    Request = 3,
    /// A client found its address in use.
    Decline = 4,
    /// A server gives the lease.
    Ack = 5,
    /// A server refuses.
    Nak = 6,
    /// A client gives its address back.
    Release = 7,
    /// A client with an address asks for options only.
    Inform = 8,
}

impl MessageType {
    /// The type of that number; the lease queries and all later types are none.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            _ => return None,
        })
    }
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// Shorter than the fixed part.
    Truncated,
    /// Neither request nor reply.
    Op,
    /// A hardware address longer than its field.
    HardwareLength,
}

super::error_text!(Error {
    Self::Truncated => "the DHCP message is cut short",
    Self::Op => "the DHCP message is neither request nor reply",
    Self::HardwareLength => "the DHCP hardware address is longer than its field",
});

/// A message as it was received.
///
/// An option that runs past its area ends the area; what stands before it counts. Typed accessors give `None` for an
/// option whose length is wrong, as if it were absent.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    header: &'a Header,
    /// Behind the cookie; `None` in BOOTP without one.
    area: Option<&'a [u8]>,
    /// Option 52: bit 0 for `file`, bit 1 for `sname`.
    overload: u8,
    first: Index,
}

impl<'a> Message<'a> {
    /// Views a message. Without a cookie it is BOOTP (RFC 951), whose vendor area is not looked at.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (header, rest) = Header::ref_from_prefix(bytes).map_err(|_| Error::Truncated)?;
        if !matches!(header.op, BOOTREQUEST | BOOTREPLY) {
            return Err(Error::Op);
        }
        if usize::from(header.hlen) > header.chaddr.len() {
            return Err(Error::HardwareLength);
        }
        let area = rest.strip_prefix(&MAGIC_COOKIE);
        let mut message = Self { bytes, header, area, overload: 0, first: Index::EMPTY };
        message.first.add(HEADER_LEN + MAGIC_COOKIE.len(), area.unwrap_or_default());
        if let Some(&[overload]) = message.option(code::OVERLOAD) {
            message.overload = overload & 3;
            let [file, sname] = message.overloaded();
            message.first.add(FILE, file);
            message.first.add(SNAME, sname);
        }
        Ok(message)
    }

    /// The fixed part.
    #[must_use]
    pub fn header(&self) -> &'a Header {
        self.header
    }

    /// All options in order of precedence: option area, `file`, `sname` (RFC 2131 §4.1).
    #[must_use]
    pub fn options(&self) -> Options<'a> {
        let [file, sname] = self.overloaded();
        Options::new([self.area.unwrap_or_default(), file, sname])
    }

    /// The first instance of an option.
    #[must_use]
    pub fn option(&self, code: u8) -> Option<&'a [u8]> {
        let at = self.first.at(code)?;
        let (&len, rest) = self.bytes.get(at..)?.split_first()?;
        rest.get(..usize::from(len))
    }

    /// Where in the message the first instance of an option has its value.
    #[must_use]
    pub fn place(&self, code: u8) -> Option<usize> {
        self.first.at(code).map(|at| at + 1)
    }

    /// `file` and `sname`, where they hold options
    fn overloaded(&self) -> [&'a [u8]; 2] {
        let file = if self.overload & 1 != 0 { &self.header.file[..] } else { &[] };
        let sname = if self.overload & 2 != 0 { &self.header.sname[..] } else { &[] };
        [file, sname]
    }

    /// All instances of an option as one value (RFC 3396 §7), joined in `scratch` where there are several.
    ///
    /// `None` where there is no instance, or where `scratch` cannot hold them.
    #[must_use]
    pub fn joined<'s>(&self, code: u8, scratch: &'s mut [u8]) -> Option<&'s [u8]>
    where
        'a: 's,
    {
        let mut instances = self.options().filter(|&(found, _)| found == code).map(|(_, value)| value);
        let first = instances.next()?;
        let Some(second) = instances.next() else { return Some(first) };
        let mut joined = super::buffer::Buffer::new(scratch);
        joined.put(&[first, second]).ok()?;
        for value in instances {
            joined.put(&[value]).ok()?;
        }
        Some(joined.into_written())
    }

    /// The boot file's name, up to its NUL; `None` where the field is empty or holds options.
    #[must_use]
    pub fn file(&self) -> Option<&'a [u8]> {
        text(&self.header.file, self.overload & 1 != 0)
    }

    /// The server's name, up to its NUL; `None` where the field is empty or holds options.
    #[must_use]
    pub fn sname(&self) -> Option<&'a [u8]> {
        text(&self.header.sname, self.overload & 2 != 0)
    }
}

fn text(field: &[u8], overloaded: bool) -> Option<&[u8]> {
    let text = super::buffer::until_nul(field);
    if overloaded || text.is_empty() { None } else { Some(text) }
}
