//! Deadlines for the entries of a slab: a hashed wheel with intrusive lists, all of it taken at start.
//!
//! Setting and cancelling touch one list and one bit. A tick is 1.024 ms and the wheel spans 65,536 of them (67 s),
//! more than any resend or idle deadline of the protocols, so that a bitmap finds the next occupied tick and no timer
//! cascades through levels. What lies further ahead is parked in the last tick and moved on when that comes round.
//!
//! A timer is never popped before its exact deadline. It never reads a clock and never allocates after
//! [`Timers::new`]; timers due within one tick come out in no particular order.

use crate::time::Instant;

/// A tick is 2^10 µs
const TICK_SHIFT: u32 = 10;
/// Ticks of the wheel
const SLOTS: u64 = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 16;
const SLOT_WORDS: usize = (1 << SLOT_BITS) / 64;
const SUMMARY_WORDS: usize = SLOT_WORDS / 64;
/// The end of a list; a timer that is not set
const NONE: u32 = u32::MAX;

const fn tick(at: Instant) -> u64 {
    at.as_micros() >> TICK_SHIFT
}

const fn start(tick: u64) -> Instant {
    Instant::from_micros(tick << TICK_SHIFT)
}

#[derive(Clone, Copy, Debug)]
struct Node {
    at: Instant,
    slot: u32,
    next: u32,
    previous: u32,
}

/// A deadline, or none, for each of a fixed number of keys
#[derive(Debug)]
pub struct Timers {
    /// No tick before this one is occupied; slots stand for the ticks from here to `cursor + SLOTS - 1`
    cursor: u64,
    nodes: Box<[Node]>,
    /// The first node of each slot's list
    heads: Box<[u32]>,
    occupied: Occupied,
}

impl Timers {
    /// No deadline for any of the keys below `capacity`
    ///
    /// # Panics
    /// Where `capacity` does not fit 32 bits.
    pub fn new(capacity: usize, now: Instant) -> Self {
        assert!(capacity < NONE as usize, "keys are 32 bits wide");
        let node = Node { at: Instant::ZERO, slot: NONE, next: NONE, previous: NONE };
        Self {
            cursor: tick(now),
            nodes: vec![node; capacity].into(),
            heads: vec![NONE; 1 << SLOT_BITS].into(),
            occupied: Occupied { slots: [0; SLOT_WORDS].into(), words: [0; SUMMARY_WORDS] },
        }
    }

    /// Sets the key's only deadline, in place of an earlier one
    ///
    /// # Panics
    /// Where `key` is not below the capacity.
    pub fn set(&mut self, key: u32, at: Instant) {
        self.cancel(key);
        self.link(key, at);
    }

    /// Takes the key's deadline away, if there is one
    ///
    /// # Panics
    /// Where `key` is not below the capacity.
    pub fn cancel(&mut self, key: u32) {
        let node = self.nodes[key as usize];
        if node.slot == NONE {
            return;
        }
        if node.next != NONE {
            self.nodes[node.next as usize].previous = node.previous;
        }
        if node.previous != NONE {
            self.nodes[node.previous as usize].next = node.next;
        } else {
            self.heads[node.slot as usize] = node.next;
            if node.next == NONE {
                self.occupied.clear(node.slot);
            }
        }
        self.nodes[key as usize].slot = NONE;
    }

    /// Takes out one key whose deadline has come, those of an earlier tick first
    pub fn pop_due(&mut self, now: Instant) -> Option<u32> {
        loop {
            let due = self.first_occupied().filter(|&first| first <= tick(now));
            // Nothing before this tick is occupied, and time does not run backwards.
            self.cursor = due.unwrap_or(tick(now)).max(self.cursor);
            let first = due?;
            let is_due = |at: Instant| at <= now && tick(at) <= first;
            let key = self.keys(first).find(|&key| is_due(self.nodes[key as usize].at));
            if let Some(key) = key {
                self.cancel(key);
                return Some(key);
            }
            if first == tick(now) {
                return None;
            }
            // What a past tick still holds was parked there: it lies further ahead than the wheel reached.
            while self.heads[slot(first) as usize] != NONE {
                let key = self.heads[slot(first) as usize];
                self.set(key, self.nodes[key as usize].at);
            }
        }
    }

    /// When [`Timers::pop_due`] has to be called next: never later than the earliest deadline. It is the deadline itself,
    /// but where that lies beyond the wheel's span: then it may be the moment to move timers on.
    pub fn next_deadline(&self) -> Option<Instant> {
        let first = self.first_occupied()?;
        let earliest = self.keys(first).map(|key| self.nodes[key as usize].at).min()?;
        // A parked timer hides what may come before it.
        Some(earliest.min(start(first + 1)))
    }

    fn link(&mut self, key: u32, at: Instant) {
        let slot = slot(tick(at).clamp(self.cursor, self.cursor + SLOTS - 1));
        let next = std::mem::replace(&mut self.heads[slot as usize], key);
        self.nodes[key as usize] = Node { at, slot, next, previous: NONE };
        if next == NONE {
            self.occupied.set(slot);
        } else {
            self.nodes[next as usize].previous = key;
        }
    }

    fn first_occupied(&self) -> Option<u64> {
        let found = self.occupied.first_from(slot(self.cursor))?;
        Some(self.cursor + (u64::from(found) + SLOTS - u64::from(slot(self.cursor))) % SLOTS)
    }

    fn keys(&self, tick: u64) -> impl Iterator<Item = u32> + '_ {
        let following = |key: u32| (key != NONE).then_some(key);
        std::iter::successors(following(self.heads[slot(tick) as usize]), move |&key| {
            following(self.nodes[key as usize].next)
        })
    }
}

fn slot(tick: u64) -> u32 {
    (tick % SLOTS) as u32
}

/// Which slots hold a timer: a bit for each, and a bit for each word of those
#[derive(Debug)]
struct Occupied {
    slots: Box<[u64; SLOT_WORDS]>,
    words: [u64; SUMMARY_WORDS],
}

impl Occupied {
    fn set(&mut self, slot: u32) {
        let word = slot as usize / 64;
        self.slots[word] |= 1 << (slot % 64);
        self.words[word / 64] |= 1 << (word % 64);
    }

    fn clear(&mut self, slot: u32) {
        let word = slot as usize / 64;
        self.slots[word] &= !(1 << (slot % 64));
        if self.slots[word] == 0 {
            self.words[word / 64] &= !(1 << (word % 64));
        }
    }

    /// The first occupied slot from `slot` on, round the wheel
    fn first_from(&self, slot: u32) -> Option<u32> {
        self.first_at_or_after(slot as usize).or_else(|| self.first_at_or_after(0))
    }

    fn first_at_or_after(&self, slot: usize) -> Option<u32> {
        let word = slot / 64;
        let rest = self.slots[word] & (!0 << (slot % 64));
        if rest != 0 {
            return Some(bit(word, rest));
        }
        let after = word + 1;
        for summary in after / 64..SUMMARY_WORDS {
            let mask = if summary == after / 64 { !0 << (after % 64) } else { !0 };
            let words = self.words[summary] & mask;
            if words != 0 {
                let word = bit(summary, words);
                return Some(bit(word as usize, self.slots[word as usize]));
            }
        }
        None
    }
}

/// The index of the lowest bit of `bits`, which is word number `word`
#[expect(clippy::cast_possible_truncation, reason = "there are 1024 words of 64 bits")]
fn bit(word: usize, bits: u64) -> u32 {
    word as u32 * 64 + bits.trailing_zeros()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::time::Duration;

    const START: Instant = Instant::from_secs(1_700_000_000);
    const SPAN: Duration = Duration::from_micros(SLOTS << TICK_SHIFT);

    #[test]
    fn a_timer_fires_at_its_deadline_once_and_not_before() {
        let mut timers = Timers::new(2, START);
        assert_eq!(timers.next_deadline(), None);
        let at = START + Duration::from_micros(1_500);
        timers.set(1, at);
        assert_eq!(timers.next_deadline(), Some(at));
        assert_eq!(timers.pop_due(at + Duration::ZERO), Some(1));
        assert_eq!(timers.pop_due(at), None);
        timers.set(1, at + Duration::from_micros(3));
        assert_eq!(timers.pop_due(at + Duration::from_micros(2)), None, "the same tick, and not yet");
        assert_eq!(timers.next_deadline(), Some(at + Duration::from_micros(3)));
        timers.cancel(1);
        assert_eq!(timers.pop_due(at + Duration::from_secs(9)), None);
    }

    #[test]
    fn a_deadline_in_the_past_is_due_at_once() {
        let mut timers = Timers::new(1, START);
        timers.set(0, Instant::ZERO);
        assert_eq!(timers.next_deadline(), Some(Instant::ZERO));
        assert_eq!(timers.pop_due(START), Some(0));
    }

    #[test]
    fn a_deadline_beyond_the_span_wakes_once_a_turn_and_hides_nothing() {
        let mut timers = Timers::new(2, START);
        let far = START + Duration::from_secs(1_000);
        timers.set(0, far);
        let mut wakes = 0;
        let mut now = START;
        while now < far {
            now = timers.next_deadline().unwrap();
            let soon = now + Duration::from_millis(1);
            timers.set(1, soon);
            assert!(timers.next_deadline().unwrap() <= soon, "the parked timer hides nothing");
            timers.cancel(1);
            assert_eq!(timers.pop_due(now), (now == far).then_some(0));
            wakes += 1;
        }
        assert!(wakes <= 1_000 / SPAN.as_secs() + 2, "{wakes} wakes");
    }

    #[test]
    fn the_last_moment_of_time_is_a_deadline_like_any_other() {
        let mut timers = Timers::new(1, START);
        timers.set(0, Instant::FAR);
        assert_eq!(timers.pop_due(START + Duration::from_secs(3_600)), None);
        assert!(timers.next_deadline().is_some());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u32, u64),
        Cancel(u32),
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let us = prop_oneof![0..3_000_u64, 0..400_000_u64, 0..200_000_000_u64];
        let key = 0..40_u32;
        let step = prop_oneof![
            4 => (key.clone(), us.clone()).prop_map(|(key, us)| Step::Set(key, us)),
            1 => key.prop_map(Step::Cancel),
            3 => us.prop_map(Step::Wait),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn agrees_with_an_ordered_set(steps in steps()) {
            let mut timers = Timers::new(40, START);
            let mut model = BTreeSet::new();
            let mut parked = BTreeSet::new();
            let mut now = START;
            for step in steps {
                match step {
                    Step::Set(key, us) => {
                        let at = now + Duration::from_micros(us);
                        timers.set(key, at);
                        parked.remove(&key);
                        if at.since(now) >= SPAN - Duration::from_millis(3) {
                            parked.insert(key);
                        }
                        model.retain(|&(_, other)| other != key);
                        model.insert((at, key));
                    }
                    Step::Cancel(key) => {
                        timers.cancel(key);
                        model.retain(|&(_, other)| other != key);
                    }
                    Step::Wait(us) => now += Duration::from_micros(us),
                }
                let mut before = 0;
                while let Some(key) = timers.pop_due(now) {
                    let &(at, _) = model.iter().find(|&&(_, other)| other == key).expect("a set timer");
                    prop_assert!(at <= now && tick(at) >= before, "due, and in the order of ticks");
                    before = tick(at);
                    model.remove(&(at, key));
                }
                let earliest = model.first().map(|&(at, _)| at);
                prop_assert!(earliest.is_none_or(|at| at > now), "nothing due stays");
                match (timers.next_deadline(), earliest) {
                    (Some(next), Some(at)) => {
                        prop_assert!(next <= at && next > now, "in time, and no reason to spin");
                        prop_assert!(next == at || model.iter().any(|(_, key)| parked.contains(key)));
                    }
                    (next, at) => prop_assert_eq!(next, at),
                }
            }
        }
    }
}
