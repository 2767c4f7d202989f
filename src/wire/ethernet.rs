//! Ethernet II frames and hardware addresses; 802.1Q and 802.1ad tags are unwrapped (IEEE 802.1Q-2022 §9).
//!
//! Never reads a length-typed (802.3) frame as anything: such a frame has an ethertype below 0x600 that nobody asks
//! for.

use std::{error, fmt, str::FromStr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

/// Ethertype of IPv4.
pub const IPV4: u16 = 0x0800;
/// Ethertype of ARP.
pub const ARP: u16 = 0x0806;
/// Ethertype of a customer VLAN tag.
const VLAN: u16 = 0x8100;
/// Ethertype of a service VLAN tag (802.1ad), and the value switches used for it before the standard.
const SERVICE_VLAN: [u16; 2] = [0x88a8, 0x9100];

/// Bytes of an untagged header.
pub const HEADER_LEN: usize = size_of::<Header>();

/// A 48-bit hardware address, in wire order.
#[derive(
    Clone,
    Copy,
    Default,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd,
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// All stations of the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// No address: the target of an ARP request.
    pub const ZERO: Self = Self([0; 6]);

    /// Broadcast or multicast: never one machine's own address.
    #[must_use]
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Writes the address as `88-99-aa-bb-cc-dd`, the form of pxelinux's and the Raspberry Pi's file names.
    #[must_use]
    pub fn hyphenated(self) -> Hyphenated {
        Hyphenated(self)
    }
}

/// [`MacAddr::hyphenated`].
#[derive(Clone, Copy, Debug)]
pub struct Hyphenated(MacAddr);

/// In one piece: a busy server's log has an address a line
fn write_separated(mac: MacAddr, separator: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [separator; 17];
    for (pair, byte) in text.chunks_mut(3).zip(mac.0) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_separated(*self, b':', f)
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_separated(*self, b':', f)
    }
}

impl fmt::Display for Hyphenated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_separated(self.0, b'-', f)
    }
}

/// A text that is no hardware address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MacAddrSyntax;

impl fmt::Display for MacAddrSyntax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a hardware address: write 88:99:aa:bb:cc:dd")
    }
}

impl error::Error for MacAddrSyntax {}

impl FromStr for MacAddr {
    type Err = MacAddrSyntax;

    /// Reads `88:99:aa:bb:cc:dd`, `88-99-aa-bb-cc-dd`, `8899.aabb.ccdd` and `8899aabbccdd`, in either case.
    fn from_str(text: &str) -> Result<Self, MacAddrSyntax> {
        let text = text.as_bytes();
        // Digits between separators, and the separator: the length alone tells the forms apart.
        let (group, separators): (usize, &[u8]) = match text.len() {
            17 => (2, b":-"),
            14 => (4, b"."),
            12 => (12, b""),
            _ => return Err(MacAddrSyntax),
        };
        let mut mac = [0; 6];
        let mut digits = 0;
        for (index, &byte) in text.iter().enumerate() {
            if index % (group + 1) == group {
                // One separator throughout: `88:99-aa…` is a slip, not an address.
                if byte != text[group] || !separators.contains(&byte) {
                    return Err(MacAddrSyntax);
                }
                continue;
            }
            let digit = char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let place = mac.get_mut(digits / 2).ok_or(MacAddrSyntax)?;
            *place = *place << 4 | digit.ok_or(MacAddrSyntax)?;
            digits += 1;
        }
        Ok(Self(mac))
    }
}

/// The untagged header: 14 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// The station addressed.
    pub destination: MacAddr,
    /// The station that sent the frame.
    pub source: MacAddr,
    /// The outermost ethertype: that of the tag in a tagged frame.
    pub ethertype: U16,
}

/// A frame without its tags.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The addresses, and the outermost ethertype.
    pub header: &'a Header,
    /// The innermost VLAN identifier: the customer's own network where a provider added a second tag. A tag that
    /// carries only a priority (identifier 0) is no VLAN.
    pub vlan: Option<u16>,
    /// What the payload is, below all tags.
    pub ethertype: u16,
    /// Everything behind the last tag, padding included.
    pub payload: &'a [u8],
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// Shorter than its header or its tags.
    Truncated,
    /// More than two VLAN tags.
    TooManyTags,
}

super::error_text!(Error {
    Self::Truncated => "the frame is shorter than its header",
    Self::TooManyTags => "the frame has more than two VLAN tags",
});

/// Views a frame; tags (at most two) are unwrapped.
pub fn parse(frame: &[u8]) -> Result<Frame<'_>, Error> {
    let (header, mut payload) = Header::ref_from_prefix(frame).map_err(|_| Error::Truncated)?;
    let mut ethertype = header.ethertype.get();
    let mut vlan = None;
    let mut tags = 0;
    while ethertype == VLAN || SERVICE_VLAN.contains(&ethertype) {
        tags += 1;
        if tags > 2 {
            return Err(Error::TooManyTags);
        }
        let (tag, rest) = <[U16; 2]>::ref_from_prefix(payload).map_err(|_| Error::Truncated)?;
        vlan = Some(tag[0].get() & 0x0fff).filter(|&id| id != 0).or(vlan);
        ethertype = tag[1].get();
        payload = rest;
    }
    Ok(Frame { header, vlan, ethertype, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd]);

    #[test]
    fn addresses_are_read_in_every_common_form() {
        for text in
            ["88:99:aa:bb:cc:dd", "88-99-AA-BB-CC-DD", "8899.aabb.ccdd", "8899aabbccdd", "8899AABBCCDD"]
        {
            assert_eq!(text.parse(), Ok(MAC), "{text}");
        }
        for text in [
            "",
            "88:99:aa:bb:cc",
            "88:99:aa:bb:cc:dg",
            "88:99-aa:bb:cc:dd",
            "8899:aabb:ccdd",
            "88.99.aa.bb.cc.dd",
            "+8:99:aa:bb:cc:dd",
            "88:99:aa:bb:cc:d:",
            "8899.aabb.ccd.",
            "88:99:aa:bb:cc:dd ",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(MacAddrSyntax), "{text}");
        }
    }

    #[test]
    fn addresses_are_written_in_lower_case() {
        assert_eq!(MAC.to_string(), "88:99:aa:bb:cc:dd");
        assert_eq!(MAC.hyphenated().to_string(), "88-99-aa-bb-cc-dd");
    }

    fn tagged(tags: &[(u16, u16)]) -> Vec<u8> {
        let mut frame = [[0xff; 6], MAC.0].concat();
        for (ethertype, control) in tags {
            frame.extend(ethertype.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        frame.extend(IPV4.to_be_bytes());
        frame.extend(b"payload");
        frame
    }

    #[test]
    fn tags_are_unwrapped() {
        for (tags, vlan) in [
            (&[][..], None),
            (&[(0x8100, 0xe02a)], Some(42)),
            (&[(0x8100, 0xe000)], None),
            (&[(0x88a8, 100), (0x8100, 42)], Some(42)),
            (&[(0x9100, 100), (0x8100, 0)], Some(100)),
        ] {
            let bytes = tagged(tags);
            let frame = parse(&bytes).unwrap();
            assert_eq!((frame.vlan, frame.ethertype, frame.payload), (vlan, IPV4, &b"payload"[..]));
            assert_eq!((frame.header.destination, frame.header.source), (MacAddr::BROADCAST, MAC));
            for len in 0..bytes.len() - b"payload".len() {
                assert_eq!(parse(&bytes[..len]).unwrap_err(), Error::Truncated);
            }
        }
        assert_eq!(parse(&tagged(&[(0x8100, 1); 3])).unwrap_err(), Error::TooManyTags);
    }
}
