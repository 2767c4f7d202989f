//! The transfers of one shard: a slab, an index by client, and a memory of who finished or was refused lately.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::SocketAddrV4;

use super::transfer::{COPY_WITHIN, Transfer};
use crate::time::{Duration, Instant};

/// Places at which the ends of transfers are remembered; a power of two
const ENDED: usize = 1024;
/// Places at which refused requests are remembered; a power of two
const REFUSED: usize = 256;
/// How long a peer whose transfer ended may still send its packets
const ENDED_FOR: Duration = Duration::from_secs(5);

/// Transfers by number, and by the client's address and port. Takes no memory after [`Table::new`].
#[derive(Debug)]
pub(super) struct Table {
    transfers: Box<[Option<Transfer>]>,
    vacant: Vec<u32>,
    by_client: HashMap<SocketAddrV4, u32>,
    /// When a transfer last ended at each place of [`Table::place`]
    ended: Box<[Option<Instant>; ENDED]>,
    /// The hash of a request that was refused, and when
    refused: Box<[Option<(u64, Instant)>; REFUSED]>,
}

impl Table {
    pub(super) fn new(capacity: usize) -> Self {
        let keys = u32::try_from(capacity).expect("a shard holds fewer than 2^32 transfers");
        Self {
            transfers: vec![None; capacity].into(),
            vacant: (0..keys).rev().collect(),
            // Twice the entries: a map that is at most half full clears its tombstones in place and never grows.
            by_client: HashMap::with_capacity(capacity * 2),
            ended: [None; ENDED].into(),
            refused: [None; REFUSED].into(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_client.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.vacant.is_empty()
    }

    pub(super) fn find(&self, client: SocketAddrV4) -> Option<u32> {
        self.by_client.get(&client).copied()
    }

    /// Keeps a transfer under the number that it is given
    ///
    /// # Panics
    /// Where the table is full: see [`Table::is_full`].
    pub(super) fn insert(&mut self, transfer: Transfer) -> u32 {
        let key = self.vacant.pop().expect("the table is not full");
        self.by_client.insert(transfer.client(), key);
        self.transfers[key as usize] = Some(transfer);
        key
    }

    pub(super) fn transfer(&mut self, key: u32) -> Option<&mut Transfer> {
        self.transfers[key as usize].as_mut()
    }

    pub(super) fn remove(&mut self, now: Instant, key: u32) -> Option<Transfer> {
        let transfer = self.transfers[key as usize].take()?;
        let client = transfer.client();
        self.by_client.remove(&client);
        self.vacant.push(key);
        self.ended[self.place(client)] = Some(now);
        Some(transfer)
    }

    /// Whether the peer's transfer may have ended so lately that its packets are still on their way. The memory is bounded:
    /// in a crowd a peer's place is taken by another, and then it is said of both.
    pub(super) fn ended_lately(&self, now: Instant, peer: SocketAddrV4) -> bool {
        self.ended[self.place(peer)].is_some_and(|at| now.since(at) < ENDED_FOR)
    }

    /// A client's request, by its hash, is refused. The memory is bounded: in a crowd others take its place.
    pub(super) fn on_refused(&mut self, now: Instant, client: SocketAddrV4, request: u64) {
        let hash = self.hash(client, request);
        self.refused[place_of(hash, REFUSED)] = Some((hash, now));
    }

    /// Whether that very request was refused so lately that this is a copy of it
    pub(super) fn refused_lately(&self, now: Instant, client: SocketAddrV4, request: u64) -> bool {
        let hash = self.hash(client, request);
        let is_it = |(refused, at): (u64, Instant)| refused == hash && now.since(at) < COPY_WITHIN;
        self.refused[place_of(hash, REFUSED)].is_some_and(is_it)
    }

    fn hash(&self, client: SocketAddrV4, request: u64) -> u64 {
        self.by_client.hasher().hash_one((client, request))
    }

    fn place(&self, peer: SocketAddrV4) -> usize {
        place_of(self.by_client.hasher().hash_one(peer), ENDED)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits of a hash are as good as any")]
fn place_of(hash: u64, places: usize) -> usize {
    hash as usize % places
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::Settings;
    use super::super::negotiation::Agreed;
    use super::super::transfer::Asker;
    use super::*;
    use crate::boot::image::{Image, ImageId};
    use crate::wire::tftp::Options;

    #[test]
    fn in_a_crowd_nobody_is_taken_for_a_foreigner() {
        let mut table = Table::new(1);
        let image = Image { id: ImageId(0), size: 0, modified_s: 0, version: 0, media_type: "" };
        let now = Instant::from_secs(1);
        let peers = (0..5_000_u32).map(|i| SocketAddrV4::new(Ipv4Addr::from(i), 49_153));
        for client in peers.clone() {
            let asker = Asker { client, source: Ipv4Addr::LOCALHOST, network: 0, request: 1 };
            let agreed = Agreed::on(&Options::default(), &Settings::default());
            let key = table.insert(Transfer::new(now, asker, b"f", &image, agreed));
            table.remove(now, key);
        }
        assert!(peers.clone().all(|peer| table.ended_lately(now + Duration::from_secs(1), peer)));
        assert!(!peers.clone().any(|peer| table.ended_lately(now + Duration::from_secs(60), peer)));
    }

    #[test]
    fn years_of_clients_take_no_memory() {
        let mut table = Table::new(100);
        let before = (table.by_client.capacity(), table.vacant.capacity());
        let image = Image { id: ImageId(0), size: 0, modified_s: 0, version: 0, media_type: "" };
        let agreed = Agreed::on(&Options::default(), &Settings::default());
        let now = Instant::ZERO;
        for turn in 0..200_000_u32 {
            if table.is_full() {
                assert!(table.remove(now, turn * 7 % 100).is_some());
            }
            let client = SocketAddrV4::new(Ipv4Addr::from_bits(turn), 2070);
            let asker = Asker { client, source: Ipv4Addr::LOCALHOST, network: 0, request: 0 };
            let key = table.insert(Transfer::new(now, asker, b"a", &image, agreed));
            assert_eq!(table.find(client), Some(key));
        }
        assert_eq!(table.len(), 100);
        // A map counts its tombstones as used until it is cleared.
        table.by_client.clear();
        assert_eq!((table.by_client.capacity(), table.vacant.capacity()), before);
    }
}
