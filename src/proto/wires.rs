//! Wires that are too narrow for all at once: how full each one is, and who has been at it for longer.
//!
//! One value for all shards, which send over the same wires: numbers that any of them reads and moves on, no lock. A wire is
//! known by the moment at which it will have sent what it was given. A client keeps its ticket from its first file to its
//! last, whichever shard serves them: the lower the number, the sooner its turn.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::boot::plan::Rate;
use crate::limits::{ADMISSION_IDLE, ADMITTED_AHEAD, TICKETS_MAX};
use crate::time::{Duration, Instant};

/// What an Ethernet frame takes on the wire beside its IP packet: header, checksum, preamble and gap
const FRAMING: u64 = 14 + 24;
/// IPv4, UDP and TFTP headers of a block
const BLOCK_HEADERS: u64 = FRAMING + 20 + 8 + 4;
/// Bytes of a TCP segment, with the time stamps that Linux sends
const SEGMENT: u64 = 1_448;
/// IPv4 and TCP headers of one
const SEGMENT_HEADERS: u64 = FRAMING + 20 + 32;
/// Places looked at for a client's ticket
const PROBES: usize = 8;

/// What a number of blocks with so many bytes take on the wire
pub(super) fn blocks_on_wire(blocks: u16, bytes: u64) -> u64 {
    bytes + u64::from(blocks) * BLOCK_HEADERS
}

/// What so many bytes of a connection take
pub(super) fn stream_on_wire(bytes: u64) -> u64 {
    bytes + bytes.div_ceil(SEGMENT) * SEGMENT_HEADERS
}

#[derive(Debug)]
struct Wire {
    rate: Rate,
    free_at_ns: AtomicU64,
}

impl Wire {
    fn take(&self, now_ns: u64, bytes: u64) {
        let ns = u128::from(bytes) * 8_000_000_000 / u128::from(self.rate.bits_per_s.max(1));
        let ns = u64::try_from(ns).unwrap_or(u64::MAX);
        // The shards' clocks are one; what each adds is added whatever the order.
        let add = |free_at: u64| Some(free_at.max(now_ns).saturating_add(ns));
        let _ = self.free_at_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

/// A client's place in the order; [`Clients`] has them by address
#[derive(Debug, Default)]
struct Holder {
    /// Its address and its ticket, 32 bits each; 0: nobody's
    who: AtomicU64,
    /// The second in which it was last served or waited
    seen_s: AtomicU32,
    /// The millisecond since which it is held back, which is never 0; 0: it is not
    held_ms: AtomicU32,
}

/// Who is served, in which order
#[derive(Debug)]
struct Clients {
    holders: Box<[Holder]>,
    next: AtomicU32,
}

/// The wires of a plan
#[derive(Debug)]
pub struct Wires {
    wires: Vec<Wire>,
    clients: Arc<Clients>,
}

fn ns(at: Instant) -> u64 {
    at.as_micros().saturating_mul(1_000)
}

impl Wires {
    /// The wires with these rates; `None`: there is no bound, and nothing to do
    pub fn new(rates: &[Rate]) -> Option<Self> {
        let holders = || (0..TICKETS_MAX).map(|_| Holder::default()).collect();
        let clients = || Arc::new(Clients { holders: holders(), next: AtomicU32::new(1) });
        (!rates.is_empty()).then(|| Self::of(rates, clients()))
    }

    /// Wires with other rates, or with none, for the same clients in the same order
    #[must_use]
    pub fn with_rates(&self, rates: &[Rate]) -> Self {
        Self::of(rates, Arc::clone(&self.clients))
    }

    fn of(rates: &[Rate], clients: Arc<Clients>) -> Self {
        let wire = |rate: &Rate| Wire { rate: rate.clone(), free_at_ns: AtomicU64::new(0) };
        Self { wires: rates.iter().map(wire).collect(), clients }
    }

    /// How many there are
    pub(super) fn len(&self) -> usize {
        self.wires.len()
    }

    /// The wire to a client
    pub(super) fn to(&self, client: Ipv4Addr) -> Option<usize> {
        self.wires.iter().position(|wire| wire.rate.covers(client))
    }

    /// The wire, and those that it is a part of
    fn path(&self, wire: usize) -> impl Iterator<Item = &Wire> {
        let mut next = Some(wire);
        let step = move || {
            let wire = self.wires.get(next?)?;
            // A part comes behind the whole in a plan: no circle.
            next = wire.rate.within.filter(|&within| Some(within) < next);
            Some(wire)
        };
        std::iter::from_fn(step)
    }

    /// When there is room on a wire: what is ahead of it is sent within [`ADMITTED_AHEAD`]
    pub(super) fn free_at(&self, wire: usize) -> Instant {
        let free_at = self.path(wire).map(|wire| wire.free_at_ns.load(Ordering::Relaxed)).max();
        let ahead_ns = ADMITTED_AHEAD.as_micros() * 1_000;
        Instant::from_micros(free_at.unwrap_or(0).saturating_sub(ahead_ns).div_ceil(1_000))
    }

    /// So many bytes, headers and all, go over a wire
    pub(super) fn take(&self, now: Instant, wire: usize, bytes: u64) {
        self.path(wire).for_each(|wire| wire.take(ns(now), bytes));
    }

    /// A client's ticket: a new one where it has none, or has not been seen for [`ADMISSION_IDLE`]
    pub(super) fn ticket(&self, now: Instant, client: Ipv4Addr) -> u32 {
        let now_s = u32::try_from(now.as_secs() & u64::from(u32::MAX)).unwrap_or_default();
        let idle_s = |holder: &Holder| u64::from(now_s.saturating_sub(holder.seen_s.load(Ordering::Relaxed)));
        let places = || self.places(client);
        let own = places().find(|holder| address(holder) == Some(client));
        if let Some(holder) = own
            && idle_s(holder) < ADMISSION_IDLE.as_secs()
        {
            holder.seen_s.store(now_s, Ordering::Relaxed);
            let [_, _, _, _, ticket @ ..] = holder.who.load(Ordering::Relaxed).to_be_bytes();
            return u32::from_be_bytes(ticket);
        }
        // Its own place, one that nobody has, or that of who was not seen for longest.
        let place = own
            .or_else(|| places().find(|holder| address(holder).is_none()))
            .or_else(|| places().max_by_key(|holder| idle_s(holder)));
        let ticket = self.clients.next.fetch_add(1, Ordering::Relaxed);
        if let Some(holder) = place {
            let who = u64::from(client.to_bits()) << 32 | u64::from(ticket);
            holder.seen_s.store(now_s, Ordering::Relaxed);
            holder.held_ms.store(0, Ordering::Relaxed);
            holder.who.store(who, Ordering::Relaxed);
        }
        ticket
    }

    /// A client is held back
    pub(super) fn on_held(&self, now: Instant, client: Ipv4Addr) {
        if let Some(holder) = self.places(client).find(|holder| address(holder) == Some(client)) {
            let since = millis(now) | 1;
            let _ = holder.held_ms.compare_exchange(0, since, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// It has its turn; returns how long it was held back, where it was
    pub(super) fn on_admitted(&self, now: Instant, client: Ipv4Addr) -> Option<Duration> {
        let holder = self.places(client).find(|holder| address(holder) == Some(client))?;
        let since = Some(holder.held_ms.swap(0, Ordering::Relaxed)).filter(|&since| since != 0)?;
        // Both wrap after 49 days.
        Some(Duration::from_millis((millis(now) | 1).wrapping_sub(since).into()))
    }

    fn places(&self, client: Ipv4Addr) -> impl Iterator<Item = &Holder> {
        // Fibonacci hashing: addresses that count up are spread.
        let first = (client.to_bits().wrapping_mul(0x9e37_79b9) >> 8) as usize;
        let holders = &self.clients.holders;
        (0..PROBES).map(move |i| &holders[(first + i) % holders.len()])
    }
}

fn millis(at: Instant) -> u32 {
    u32::try_from((at.as_micros() / 1_000) & u64::from(u32::MAX)).unwrap_or_default()
}

fn address(holder: &Holder) -> Option<Ipv4Addr> {
    let [a, b, c, d, ..] = holder.who.load(Ordering::Relaxed).to_be_bytes();
    Some(Ipv4Addr::new(a, b, c, d)).filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::plan::Cidr;

    fn rate(of: &str, cidr: Cidr, bits_per_s: u64, within: Option<usize>) -> Rate {
        Rate { of: of.into(), whom: vec![cidr], bits_per_s, within }
    }

    fn wires() -> Wires {
        let wide = Cidr::new([10, 0, 0, 0].into(), 16);
        let narrow = Cidr::new([10, 1, 0, 0].into(), 16);
        Wires::new(&[rate("eth0", wide, 1_000_000_000, None), rate("10.1", narrow, 100_000_000, Some(0))])
            .unwrap()
    }

    #[test]
    fn a_wire_is_free_when_what_it_was_given_is_nearly_sent() {
        let (wires, now) = (wires(), Instant::from_secs(1_000));
        let wide = wires.to([10, 0, 0, 9].into()).unwrap();
        let narrow = wires.to([10, 1, 0, 9].into()).unwrap();
        assert_eq!(wires.to([10, 2, 0, 9].into()), None);
        wires.take(now, narrow, 1_250_000);
        assert_eq!(wires.free_at(narrow) + ADMITTED_AHEAD, now + Duration::from_millis(100));
        assert_eq!(wires.free_at(wide) + ADMITTED_AHEAD, now + Duration::from_millis(10), "a part of it");
        wires.take(now, wide, 125_000_000);
        assert_eq!(wires.free_at(narrow) + ADMITTED_AHEAD, now + Duration::from_millis(1_010));
        let later = now + Duration::from_secs(9);
        wires.take(later, narrow, 12_500);
        assert_eq!(wires.free_at(narrow) + ADMITTED_AHEAD, later + Duration::from_millis(1));
    }

    #[test]
    fn a_client_keeps_its_ticket_while_it_comes_back() {
        let (wires, mut now) = (wires(), Instant::from_secs(1_000));
        let ticket = |n: u16, now| wires.ticket(now, Ipv4Addr::from_bits(0x0a00_0000 + u32::from(n)));
        let (first, second) = (ticket(1, now), ticket(2, now));
        assert!(first < second);
        for _ in 0..10 {
            now += Duration::from_secs(ADMISSION_IDLE.as_secs() - 1);
            assert_eq!(ticket(1, now), first);
        }
        assert!(ticket(2, now) > second, "it has been away, and boots again");
        let all: Vec<_> = (0..10_000).map(|n| ticket(n, now)).collect();
        let kept = (0..10_000).filter(|&n| ticket(n, now) == all[usize::from(n)]).count();
        assert!(kept > 9_900, "{kept} of 10,000 have a place of their own");
    }
}
