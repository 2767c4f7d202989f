//! When a busy socket is read: not at each datagram, but every millisecond.
//!
//! A DHCP storm comes as single datagrams, a few microseconds apart. A shard that is woken for each pays more for waking up than
//! for the answer. So, as network drivers do (NAPI), a socket that brought a number of datagrams within a millisecond is
//! polled, and listened to again once it brings hardly any. A lone client is answered at once; in a storm a request waits a
//! millisecond at most, and the quickest ROM (iPXE) asks again after 250.
//!
//! Only for DHCP: a file transfer's next block waits for the last one's ACK, so that a wait would be its speed.

use crate::time::{Duration, Instant};

/// How long datagrams gather
const TURN: Duration = Duration::from_millis(1);
/// So many in one turn make a storm: 4,000 a second
const STORM: usize = 4;

/// The pace of one socket
#[derive(Debug, Default)]
pub(super) struct Pace {
    turn_ends: Instant,
    in_turn: usize,
    is_polled: bool,
}

impl Pace {
    /// Whether the socket is polled, rather than listened to
    pub(super) fn is_polled(&self) -> bool {
        self.is_polled
    }

    /// When it is to be read next, if it is polled
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.is_polled.then_some(self.turn_ends)
    }

    /// It was read and brought so many datagrams; true: it is to be polled from now on, or listened to again
    pub(super) fn on_received(&mut self, now: Instant, datagrams: usize) -> bool {
        let is_over = now >= self.turn_ends;
        if is_over {
            self.turn_ends = now + TURN;
            // A turn of polling is judged by what its read brought, one of listening by all its reads.
            self.in_turn = 0;
        }
        self.in_turn += datagrams;
        let is_storm = self.in_turn >= STORM;
        let changes = if self.is_polled { is_over && !is_storm } else { is_storm };
        if changes {
            self.is_polled = is_storm;
        }
        changes
    }

    /// That cannot be: it stays as it was
    pub(super) fn on_refused(&mut self) {
        self.is_polled = !self.is_polled;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Instant {
        Instant::from_secs(1_700_000_000) + Duration::from_micros(us)
    }

    #[test]
    fn a_storm_is_polled_and_a_lone_client_is_listened_to() {
        let mut pace = Pace::default();
        // One every 300 µs are three or four in a millisecond.
        let lone = (0..100).any(|n| pace.on_received(at(n * 400), 1));
        assert!(!lone && pace.next_deadline().is_none());
        let began = (1..=4).find(|n| pace.on_received(at(50_000 + n * 60), 1));
        assert_eq!((began, pace.is_polled()), (Some(4), true));
        let mut now = pace.next_deadline().expect("polled");
        assert!(now <= at(50_000 + 4 * 60 + 1_000));
        for _ in 0..100 {
            assert!(!pace.on_received(now, 16));
            now = pace.next_deadline().expect("polled");
        }
        // What is left of a batch is read within the turn.
        assert!(!pace.on_received(now, 64) && !pace.on_received(now, 0));
        now = pace.next_deadline().expect("polled");
        assert!(pace.on_received(now, 3), "it is over");
        assert!(!pace.is_polled() && pace.next_deadline().is_none());
    }
}
