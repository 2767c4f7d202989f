//! How often a client did the same, in a table of fixed size: what tells an operator that a machine is stuck.
//!
//! Counts are hints. Two clients whose addresses meet in a slot take each other's place; nothing grows, and nothing that
//! a client is sent depends on it.

use crate::limits::TALLIED_MAX;
use crate::time::{Duration, Instant};
use crate::wire::ethernet::MacAddr;

/// Repetitions by MAC address
#[derive(Debug)]
pub struct Tally {
    slots: Box<[Slot]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    mac: MacAddr,
    /// What it did: doing something else starts anew
    what: u64,
    times: u32,
    last: Instant,
}

impl Tally {
    /// An empty table
    pub fn new() -> Self {
        let slot = Slot { mac: MacAddr::ZERO, what: 0, times: 0, last: Instant::ZERO };
        Self { slots: vec![slot; TALLIED_MAX].into_boxed_slice() }
    }

    /// Counts that `mac` did `what`; returns how often it did so in a row, each time `within` that span of the last
    pub fn count(&mut self, now: Instant, mac: MacAddr, what: &[u8], within: Duration) -> u32 {
        let what = digest(what);
        let slot = self.slot(mac);
        let goes_on = (slot.mac, slot.what) == (mac, what) && now.since(slot.last) < within;
        let times = if goes_on { slot.times.saturating_add(1) } else { 1 };
        *slot = Slot { mac, what, times, last: now };
        times
    }

    /// `mac` went on: what it did before counts no longer
    pub fn forget(&mut self, mac: MacAddr) {
        let slot = self.slot(mac);
        if slot.mac == mac {
            slot.times = 0;
        }
    }

    fn slot(&mut self, mac: MacAddr) -> &mut Slot {
        let at = usize::try_from(digest(&mac.0) % self.slots.len() as u64);
        // A remainder of the length fits what the length fits.
        &mut self.slots[at.unwrap_or(0)]
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

/// FNV-1a
fn digest(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_counted_until_something_else_happens() {
        let mut tally = Tally::new();
        let (mac, other) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        let at = Instant::from_secs;
        const SPAN: Duration = Duration::from_secs(300);
        assert_eq!(tally.count(at(1), mac, b"ipxe.efi", SPAN), 1);
        assert_eq!(tally.count(at(2), mac, b"ipxe.efi", SPAN), 2);
        assert_eq!(tally.count(at(3), other, b"ipxe.efi", SPAN), 1);
        assert_eq!(tally.count(at(4), mac, b"boot.ipxe", SPAN), 1);
        assert_eq!(tally.count(at(5), mac, b"boot.ipxe", SPAN), 2);
        tally.forget(mac);
        assert_eq!(tally.count(at(6), mac, b"boot.ipxe", SPAN), 1);
        assert_eq!(tally.count(at(900), mac, b"boot.ipxe", SPAN), 1);
    }
}
