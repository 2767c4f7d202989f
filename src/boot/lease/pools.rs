//! Free addresses of the pools: what to give next, without a scan.
//!
//! The ranges of the plan may overlap (two networks with one subnet, a pool that a reload widened). They are cut where any of
//! them begins or ends, so that every address of a pool belongs to exactly one segment, and a range is a run of segments.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv4Addr;

use super::table::Entry;
use crate::boot::plan::Range;
use crate::time::Instant;

/// The table's entries by address
pub(super) type Entries = BTreeMap<Ipv4Addr, Entry>;

/// A run of addresses that belongs to the same ranges
#[derive(Debug)]
struct Segment {
    /// Its last address
    last: u32,
    /// From here to `last`, what is not in the table was never given; beyond `last` where all were
    next: u64,
    /// Below `next`, and forgotten by the table since
    returned: BTreeSet<u32>,
    /// Every address of the table by its entry's rank: not later than the moment from which another client may have it
    ending: BTreeSet<(Instant, u32)>,
}

/// The segments of all ranges that were asked for since the plan was read
#[derive(Debug, Default)]
pub(super) struct Pools {
    segments: BTreeMap<u32, Segment>,
    learnt: HashSet<(u32, u32)>,
}

impl Pools {
    /// Makes segments of a range on first sight
    pub(super) fn learn(&mut self, range: Range, entries: &Entries) {
        let (first, last) = (range.first.to_bits(), range.last.to_bits());
        if first > last || !self.learnt.insert((first, last)) {
            return;
        }
        self.cut(first, entries);
        if let Some(after) = last.checked_add(1) {
            self.cut(after, entries);
        }
        let mut begin = Some(first);
        while let Some(from) = begin.filter(|&from| from <= last) {
            let to = match self.segments.range(from..=last).next() {
                Some((&at, segment)) if at == from => segment.last,
                Some((&at, _)) => self.add(from, at - 1, entries),
                None => self.add(from, last, entries),
            };
            begin = to.checked_add(1);
        }
    }

    /// Cuts the segment that runs over `at`, so that one begins there
    fn cut(&mut self, at: u32, entries: &Entries) {
        let Some((&first, segment)) = self.segments.range(..at).next_back() else { return };
        let last = segment.last;
        if at <= last {
            self.add(first, at - 1, entries);
            self.add(at, last, entries);
        }
    }

    fn add(&mut self, first: u32, last: u32, entries: &Entries) -> u32 {
        let run = Ipv4Addr::from_bits(first)..=Ipv4Addr::from_bits(last);
        let ending = entries.range(run).map(|(address, entry)| (entry.ranked, address.to_bits())).collect();
        self.segments.insert(first, Segment { last, next: first.into(), returned: BTreeSet::new(), ending });
        last
    }

    fn segment_of(&mut self, address: u32) -> Option<&mut Segment> {
        let (_, segment) = self.segments.range_mut(..=address).next_back()?;
        (address <= segment.last).then_some(segment)
    }

    /// The table has a new entry
    pub(super) fn on_insert(&mut self, address: Ipv4Addr, ranked: Instant) {
        let address = address.to_bits();
        if let Some(segment) = self.segment_of(address) {
            segment.returned.remove(&address);
            segment.ending.insert((ranked, address));
        }
    }

    /// The table forgets an entry
    pub(super) fn on_remove(&mut self, address: Ipv4Addr, ranked: Instant) {
        let address = address.to_bits();
        if let Some(segment) = self.segment_of(address) {
            segment.ending.remove(&(ranked, address));
            if u64::from(address) < segment.next {
                segment.returned.insert(address);
            }
        }
    }

    /// An entry of the table has another rank
    pub(super) fn on_ranked(&mut self, address: Ipv4Addr, before: Instant, ranked: Instant) {
        let address = address.to_bits();
        if let Some(segment) = self.segment_of(address) {
            segment.ending.remove(&(before, address));
            segment.ending.insert((ranked, address));
        }
    }

    /// An address that nobody has, nor had as far as the table remembers. The caller puts it into the table.
    pub(super) fn take_unknown(
        &mut self,
        range: Range,
        entries: &Entries,
        withheld: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<Ipv4Addr> {
        let (first, last) = (range.first.to_bits(), range.last.to_bits());
        self.segments.range_mut(first..=last).find_map(|(_, segment)| {
            segment.take_never_given(entries, &withheld).or_else(|| segment.take_returned(&withheld))
        })
    }

    /// The entry of this range with the earliest rank that has come, and its rank: that of the holder who has been gone for
    /// longest, unless the entry ends later than its rank
    pub(super) fn oldest_lapsed(
        &mut self,
        range: Range,
        now: Instant,
        withheld: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<(Instant, Ipv4Addr)> {
        let (first, last) = (range.first.to_bits(), range.last.to_bits());
        self.segments
            .range_mut(first..=last)
            .filter_map(|(_, segment)| segment.oldest_lapsed(now, &withheld))
            .min()
    }
}

impl Segment {
    fn take_never_given(
        &mut self,
        entries: &Entries,
        withheld: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<Ipv4Addr> {
        let from = u32::try_from(self.next).ok().filter(|&from| from <= self.last)?;
        let run = Ipv4Addr::from_bits(from)..=Ipv4Addr::from_bits(self.last);
        let mut known = entries.range(run).map(|(address, _)| address.to_bits()).peekable();
        let mut unknown = (from..=self.last).filter(|address| known.next_if_eq(address).is_none());
        let found = unknown.find(|&address| !withheld(Ipv4Addr::from_bits(address)));
        self.next = u64::from(found.unwrap_or(self.last)) + 1;
        found.map(Ipv4Addr::from_bits)
    }

    fn take_returned(&mut self, withheld: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        // What is withheld stays so until the next plan, which learns its ranges anew: it need not be looked at again.
        std::iter::from_fn(|| self.returned.pop_first()).map(Ipv4Addr::from_bits).find(|&a| !withheld(a))
    }

    fn oldest_lapsed(
        &mut self,
        now: Instant,
        withheld: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<(Instant, Ipv4Addr)> {
        loop {
            let &(until, address) = self.ending.first().filter(|(until, _)| *until <= now)?;
            let address = Ipv4Addr::from_bits(address);
            if !withheld(address) {
                return Some((until, address));
            }
            self.ending.pop_first();
        }
    }
}
