//! Faults put into the server on purpose, at the seam between the shard and the wire: each must be found by what the rack checks.
//!
//! A rack that finds nothing proves little until it is known what it would find.

use std::net::Ipv4Addr;

use smoltcp::wire::DhcpPacket;

use crate::wire::ethernet::MacAddr;

/// One mistake that a boot server could make
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Two clients are given the same address
    DoubleLease,
    /// An ACK leaves before its lease is on disk, and a crash forgets it
    AckBeforeDisk,
    /// Deadlines never come: nothing is sent again
    LostTimers,
    /// Replies to a relay go to the client's future address
    PastTheRelay,
    /// Blocks are numbered on from 1 after 65535
    WrapsToOne,
    /// A window repeats what the window before held
    StaleWindow,
    /// A reply keeps the xid of an older one
    StaleXid,
    /// Options without END
    NoEnd,
    /// A reply cut to what it needs: shorter than 300 bytes
    Unpadded,
    /// The ACK names another server than the OFFER
    OtherServerId,
    /// `file` and option 67 differ
    TwoNames,
    /// Every block leaves twice (the sorcerer's apprentice)
    TwiceEach,
    /// An OACK grants an option that was not asked for
    GenerousOack,
    /// A transfer goes on from another port
    OtherPort,
    /// A connection that is to be closed stays open
    NeverCloses,
    /// HTTP header names in lower case
    LowerCaseHeaders,
    /// Connections that clients ended are kept
    LeakedConnections,
}

impl Bug {
    /// All of them
    pub const ALL: [Self; 17] = [
        Self::DoubleLease,
        Self::AckBeforeDisk,
        Self::LostTimers,
        Self::PastTheRelay,
        Self::WrapsToOne,
        Self::StaleWindow,
        Self::StaleXid,
        Self::NoEnd,
        Self::Unpadded,
        Self::OtherServerId,
        Self::TwoNames,
        Self::TwiceEach,
        Self::GenerousOack,
        Self::OtherPort,
        Self::NeverCloses,
        Self::LowerCaseHeaders,
        Self::LeakedConnections,
    ];

    /// What it does to a DHCP reply
    pub(crate) fn in_dhcp(self, payload: &mut Vec<u8>) {
        let end = end_of(payload);
        let Ok(mut packet) = DhcpPacket::new_checked(&mut payload[..]) else { return };
        match self {
            Self::DoubleLease if !packet.your_ip().is_unspecified() => {
                let shared = packet.your_ip().to_bits() & !1;
                packet.set_your_ip(shared.into());
            }
            Self::StaleXid => {
                let stale = packet.transaction_id().wrapping_sub(1);
                packet.set_transaction_id(stale);
            }
            Self::NoEnd => {
                if let Some(end) = end {
                    payload[end] = 0;
                }
            }
            Self::Unpadded => payload.truncate(end.map_or(240, |end| end + 1).min(299)),
            Self::OtherServerId => {
                let is_ack = packet.options().any(|option| option.kind == 53 && option.data == [5]);
                let at = payload.windows(2).skip(240).position(|head| head == [54, 4]).map(|at| at + 240 + 5);
                if let Some(at) = at.filter(|_| is_ack) {
                    payload[at] ^= 1;
                }
            }
            Self::TwoNames if payload[108] != 0 => payload[108] ^= 1,
            _ => {}
        }
    }

    /// What it does to an OACK
    pub(crate) fn in_oack(self, payload: &mut Vec<u8>) {
        if self == Self::GenerousOack && payload.starts_with(&[0, 6]) {
            payload.extend_from_slice(b"rollover\x000\x00");
        }
    }

    /// What it does to an HTTP head
    pub(crate) fn in_head(self, head: &mut [u8]) {
        if self == Self::LowerCaseHeaders
            && let Some(end) = head.iter().position(|&byte| byte == b'\n')
        {
            head[end..].make_ascii_lowercase();
        }
    }
}

/// What a client asked for by an address that it should not have been given, as the lease table knows it
pub(crate) fn as_leased(payload: &mut [u8], leased: impl FnOnce(MacAddr) -> Option<Ipv4Addr>) {
    let Ok(packet) = DhcpPacket::new_checked(&payload[..]) else { return };
    let address = leased(MacAddr(packet.client_hardware_address().0));
    let at = payload.windows(2).skip(240).position(|head| head == [50, 4]).map(|at| at + 242);
    if let (Some(at), Some(address)) = (at, address) {
        payload[at..at + 4].copy_from_slice(&address.octets());
    }
}

/// Where the options' END lies
fn end_of(payload: &[u8]) -> Option<usize> {
    let mut at = 240;
    loop {
        match *payload.get(at)? {
            255 => return Some(at),
            0 => at += 1,
            _ => at += 2 + usize::from(*payload.get(at + 1)?),
        }
    }
}
