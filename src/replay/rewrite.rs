//! What a client would have asked of us: a captured REQUEST names the captured server and the address that it offered.

use std::net::Ipv4Addr;

use crate::heard::dhcp::Request;
use crate::wire::dhcp::{HEADER_LEN, MAGIC_COOKIE, Message, code};

/// Where `ciaddr` lies in a message (RFC 2131 §2)
const CIADDR: std::ops::Range<usize> = 12..16;

/// Two offers to one client: theirs, and ours in its place
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    address: (Ipv4Addr, Ipv4Addr),
    server: (Ipv4Addr, Ipv4Addr),
}

impl Moved {
    /// What differs between the captured server's offer in answer to `request` and ours; `None`: nothing does, or one of the
    /// two gives no address
    pub(super) fn between(request: &Request, server: Option<Ipv4Addr>, ours: &Message<'_>) -> Option<Self> {
        let theirs = request.answer_of(server?)?;
        let address = (theirs.0.message().header().yiaddr(), ours.header().yiaddr());
        let server = (theirs.server(), ours.server_id()?);
        let is_given = !address.0.is_unspecified() && !address.1.is_unspecified();
        let differs = address.0 != address.1 || server.0 != server.1;
        (is_given && differs).then_some(Self { address, server })
    }
}

/// Puts our offer in the place of theirs; `true` where there was something to put
pub(super) fn rewrite(message: &mut [u8], moved: &Moved) -> bool {
    let mut changed = replace(message.get_mut(CIADDR), moved.address);
    let start = HEADER_LEN + MAGIC_COOKIE.len();
    let mut rest = message.get_mut(start..).unwrap_or_default();
    while let [number, tail @ ..] = rest {
        if *number == code::PAD {
            rest = tail;
            continue;
        }
        let [len, tail @ ..] = tail else { return changed };
        let Some((value, behind)) = tail.split_at_mut_checked(usize::from(*len)) else { return changed };
        match *number {
            code::END => return changed,
            code::REQUESTED_ADDRESS => changed |= replace(Some(value), moved.address),
            code::SERVER_ID => changed |= replace(Some(value), moved.server),
            _ => {}
        }
        rest = behind;
    }
    changed
}

fn replace(place: Option<&mut [u8]>, (from, to): (Ipv4Addr, Ipv4Addr)) -> bool {
    match place {
        Some(place) if from != to && *place == from.octets() => {
            place.copy_from_slice(&to.octets());
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::dhcp::{Header, Writer};

    #[test]
    fn a_request_names_our_offer_in_place_of_theirs() {
        let moved = Moved {
            address: ([10, 0, 0, 5].into(), [10, 0, 0, 9].into()),
            server: ([10, 0, 0, 1].into(), [10, 0, 0, 2].into()),
        };
        let header = Header { op: 1, htype: 1, hlen: 6, ciaddr: [10, 0, 0, 5], ..Header::default() };
        let mut bytes = [0; 400];
        let mut writer = Writer::new(&mut bytes, &header).unwrap();
        writer.option_ip(code::SERVER_ID, [10, 0, 0, 1].into()).unwrap();
        writer.option_ip(code::REQUESTED_ADDRESS, [10, 0, 0, 5].into()).unwrap();
        let len = writer.finish();
        assert!(rewrite(&mut bytes[..len], &moved));
        let message = Message::parse(&bytes[..len]).unwrap();
        assert_eq!(message.header().ciaddr(), moved.address.1);
        assert_eq!(
            (message.requested_ip(), message.server_id()),
            (Some(moved.address.1), Some(moved.server.1))
        );
        assert!(!rewrite(&mut bytes[..len], &moved), "nothing is left of theirs");
        for len in 0..len {
            rewrite(&mut bytes[..len], &moved);
        }
    }
}
