//! Which address whom: pools, holds, leases (RFC 2131 §3.1, §4.3).
//!
//! [`Leases`] is a table and its rules. It never reads a clock, sends, or writes: the moment is an argument, and what must
//! outlive the process is told as a [`LeaseChange`]. The DHCP machine asks it three things: [`Leases::offer`] (DISCOVER),
//! [`Leases::claim`] or [`Leases::bind`] (REQUEST), and tells it of RELEASE, DECLINE and conflicts.
//!
//! # Which address a client is offered
//! 1. the one that is reserved for it, unless another client still leases it or it was found in use;
//! 2. the one that it has or had last in this subnet, if a pool still holds it;
//! 3. the one that it asks for (option 50), if that is free and in a pool;
//! 4. one of the pools that nobody ever had, in order; else the one whose last holder has been gone for longest.
//!
//! An offer holds its address for its client, and a hold that ran out is remembered as a lease that ran out is: a Raspberry
//! Pi 3 uses an offered address without a REQUEST. A client that comes back finds its address while the pool has others.
//!
//! # When the configuration changes
//! A lease outside the new pools stands, and is renewed: a running machine does not lose its address since a file was
//! edited. It moves at its next DISCOVER, when it boots. A reservation is meant for its machine, so that a REQUEST for another
//! address is refused ([`Refusal::HasAnother`]), as is one for an address that is now reserved for another machine
//! ([`Refusal::Withheld`]).
//!
//! # BOOTP
//! A BOOTP client never renews, so an address from a pool is gone for good ([`FOREVER`]): by default it gets its reservation
//! only ([`Ask::reserved_only`]).

mod pools;
mod table;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use super::plan::Subnet;
use crate::note::Text;
use crate::time::{Duration, Instant};
use crate::wire::ethernet::MacAddr;

pub use table::Leases;

/// A lease time without an end (option 51: `0xffff_ffff`; BOOTP)
pub const FOREVER: Duration = Duration::from_micros(u64::MAX);

/// Whose lease: the hardware address (RFC 2131's `chaddr`), since one machine shows several client identifiers on its
/// way from ROM to operating system and must keep one address; the client identifier (option 61) where there is no
/// hardware address
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey {
    /// Hardware type (1: Ethernet); 0 where the key is a client identifier
    pub htype: u8,
    /// How many bytes of `id` count
    pub len: u8,
    /// The hardware address or identifier, zero-filled; a longer one is its head and a digest of the whole
    pub id: [u8; 32],
}

impl ClientKey {
    /// The key of a client with this `chaddr` (its `hlen` bytes), or, where that is empty or all zero (IPoIB, RFC 4390),
    /// with this client identifier
    pub fn of(htype: u8, chaddr: &[u8], client_id: Option<&[u8]>) -> Self {
        match client_id {
            Some(identifier) if chaddr.iter().all(|&byte| byte == 0) => Self::new(0, identifier),
            _ => Self::new(htype, chaddr),
        }
    }

    /// The hardware address of an Ethernet client
    pub fn mac(&self) -> Option<MacAddr> {
        let bytes = <[u8; 6]>::try_from(self.id.get(..self.len.into())?).ok()?;
        (self.htype == 1).then_some(MacAddr(bytes))
    }

    fn new(htype: u8, bytes: &[u8]) -> Self {
        let mut id = [0; 32];
        match id.get_mut(..bytes.len()) {
            Some(head) => head.copy_from_slice(bytes),
            // Two identifiers that differ only after 32 bytes must not share a lease.
            None => {
                id[..24].copy_from_slice(&bytes[..24]);
                id[24..].copy_from_slice(&fnv1a(bytes).to_be_bytes());
            }
        }
        let len = u8::try_from(bytes.len()).map_or(32, |len| len.min(32));
        Self { htype, len, id }
    }
}

/// The FNV-1a digest: the same in every process, since keys are stored
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |digest, &byte| {
        (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Whether an address is leased or unusable
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Leased, and acknowledged to its client
    Bound,
    /// Found in use by somebody else (DECLINE, or an answer to a probe): unusable until it expires
    Declined,
}

/// One lease
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address
    pub address: Ipv4Addr,
    /// Whose
    pub key: ClientKey,
    /// Leased or unusable
    pub state: State,
    /// When it ends, seconds since the Unix epoch; `u64::MAX`: never (BOOTP)
    pub expires_s: u64,
    /// The client's host name (option 12), for people
    pub hostname: Text<64>,
}

impl Lease {
    /// When it ends; [`Instant::FAR`]: never
    pub const fn ends(&self) -> Instant {
        Instant::from_secs(self.expires_s)
    }
}

/// A change to be made durable
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// This lease stands from now on, in place of any of the same address
    Put(Lease),
    /// Nothing is known of the address any more
    Remove(Ipv4Addr),
}

impl LeaseChange {
    /// The address that it is about
    pub const fn address(&self) -> Ipv4Addr {
        match self {
            Self::Put(lease) => lease.address,
            Self::Remove(address) => *address,
        }
    }
}

/// Who asks for an address, and which it may have
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// The moment
    pub now: Instant,
    /// Who
    pub key: ClientKey,
    /// Where: its address lies in this subnet's `cidr`, and in one of its pools unless it is reserved
    pub subnet: &'a Subnet,
    /// The address that the client would like (option 50), for [`Leases::offer`]
    pub requested: Option<Ipv4Addr>,
    /// The address that the configuration reserves for it
    pub reserved: Option<Ipv4Addr>,
    /// The pools are not for this client, only its reservation is (BOOTP clients, unless the configuration allows them)
    pub reserved_only: bool,
    /// Addresses that no pool gives away: reserved for any machine, or a server's or router's own. It answers alike for
    /// every client until [`Leases::on_plan`].
    pub withheld: &'a dyn Fn(Ipv4Addr) -> bool,
}

/// An address on offer
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The address: the client's alone for [`crate::limits::OFFER_HOLD`]
    pub address: Ipv4Addr,
    /// This client was not known to have held it, so that a probe for a conflict is worth its time. Only the first
    /// offer is fresh: whoever probes remembers that by address, since a repeated DISCOVER finds it held.
    pub fresh: bool,
}

/// Why there is no address to offer
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoAddress {
    /// Every address of the subnet's pools is taken
    Exhausted,
    /// The pools are not for it, and it has no reservation that is free
    ReservedOnly,
    /// The table has no room for one more lease
    Full,
}

/// On what ground a client may have the address that it names
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// It is reserved for it
    Reserved,
    /// It was offered to it just now
    Held,
    /// It is leased to it
    Bound,
    /// It was leased to it last, and nobody took it since
    Lapsed,
    /// No record of it: free, and in a pool. RFC 2131 §4.3.2: a server that is not authoritative stays silent in INIT-REBOOT.
    Free,
}

/// Why a client may not have the address that it names
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It lies outside the subnet: always a NAK
    WrongSubnet,
    /// Another client holds or leases it
    TakenByOther,
    /// It is reserved for another machine, or is a server's or router's own
    Withheld,
    /// The client has this other one: its reservation, or its lease
    HasAnother(Ipv4Addr),
    /// It is in no pool that this client may use
    NotInPool,
    /// Somebody was found using it
    Declined,
    /// The table has no room for one more lease
    Full,
}

/// How many addresses are in which state
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Leased
    pub bound: usize,
    /// On offer
    pub held: usize,
    /// Unusable for a while
    pub declined: usize,
    /// Free, with their last holder remembered
    pub lapsed: usize,
}
