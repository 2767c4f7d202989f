//! Frames of DHCP clients: composed once, then patched; and the few fields of a reply that a client needs.

use std::net::Ipv4Addr;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
/// Where the BOOTP message begins
pub(crate) const BOOTP: usize = ETHERNET + IPV4 + UDP;
/// Where its options begin, after the magic cookie
const OPTIONS: usize = BOOTP + 240;

pub(crate) const DISCOVER: u8 = 1;
pub(crate) const OFFER: u8 = 2;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const ACK: u8 = 5;
pub(crate) const NAK: u8 = 6;

/// The MAC address of machine number `index`: locally administered
pub(crate) fn mac(index: u32) -> [u8; 6] {
    let [a, b, c, d] = index.to_be_bytes();
    [0x02, 0x42, a, b, c, d]
}

/// What a UEFI machine sends (EDK2 asks for broadcast replies)
pub(crate) fn request(index: u32, kind: u8, offered: Option<(Ipv4Addr, Ipv4Addr)>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(512);
    frame.extend_from_slice(&[0xff; 6]);
    frame.extend_from_slice(&mac(index));
    frame.extend_from_slice(&[8, 0]);
    // Lengths and checksum are filled in below.
    frame.extend_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    frame.extend_from_slice(&[0, 68, 0, 67, 0, 0, 0, 0]);
    frame.extend_from_slice(&[1, 1, 6, 0]);
    frame.extend_from_slice(&index.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0x80, 0]);
    frame.extend_from_slice(&[0; 16]);
    frame.extend_from_slice(&mac(index));
    frame.resize(BOOTP + 236, 0);
    frame.extend_from_slice(&[99, 130, 83, 99, 53, 1, kind]);
    if let Some((address, server)) = offered {
        frame.extend_from_slice(&[50, 4]);
        frame.extend_from_slice(&address.octets());
        frame.extend_from_slice(&[54, 4]);
        frame.extend_from_slice(&server.octets());
    }
    frame.extend_from_slice(&[57, 2, 5, 0xc0]);
    const WISHES: [u8; 15] = [1, 2, 3, 4, 6, 12, 15, 43, 51, 54, 58, 59, 60, 66, 67];
    frame.extend_from_slice(&[55, 15]);
    frame.extend_from_slice(&WISHES);
    frame.extend_from_slice(&[97, 17, 0]);
    for word in [index, 0x1122_3344, 0x5566_7788, !index] {
        frame.extend_from_slice(&word.to_be_bytes());
    }
    frame.extend_from_slice(&[94, 3, 1, 3, 0, 93, 2, 0, 7, 60, 32]);
    frame.extend_from_slice(b"PXEClient:Arch:00007:UNDI:003000");
    frame.push(255);
    finish(&mut frame);
    frame
}

/// Fills in lengths and the IPv4 checksum; UDP goes without one
pub(crate) fn finish(frame: &mut [u8]) {
    let udp = (frame.len() - ETHERNET - IPV4) as u16;
    frame[16..18].copy_from_slice(&(udp + IPV4 as u16).to_be_bytes());
    frame[38..40].copy_from_slice(&udp.to_be_bytes());
    frame[24..26].fill(0);
    let words = frame[ETHERNET..ETHERNET + IPV4].chunks_exact(2);
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// What of a reply a client needs
pub(crate) struct Reply {
    pub(crate) index: u32,
    pub(crate) kind: u8,
    pub(crate) yiaddr: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
}

/// A reply for one of the machines; `None` for any other frame
pub(crate) fn parse_reply(frame: &[u8]) -> Option<Reply> {
    if frame.len() < OPTIONS || frame[23] != 17 || frame[34..38] != [0, 67, 0, 68] || frame[BOOTP] != 2 {
        return None;
    }
    let index = u32::from_be_bytes(frame[BOOTP + 4..BOOTP + 8].try_into().ok()?);
    let address = |at: &[u8]| Ipv4Addr::new(at[0], at[1], at[2], at[3]);
    let kind = *option(frame, 53)?.first()?;
    let server = address(option(frame, 54).filter(|value| value.len() == 4)?);
    let is_ours = frame[BOOTP + 28..BOOTP + 34] == mac(index);
    is_ours.then(|| Reply { index, kind, yiaddr: address(&frame[BOOTP + 16..BOOTP + 20]), server })
}

/// The value of an option
pub(crate) fn option(frame: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut options = frame.get(OPTIONS..)?;
    loop {
        match *options {
            [0, ref rest @ ..] => options = rest,
            [255, ..] | [] | [_] => return None,
            [code, len, ref rest @ ..] => {
                let value = rest.get(..len.into())?;
                if code == wanted {
                    return Some(value);
                }
                options = &rest[len.into()..];
            }
        }
    }
}
