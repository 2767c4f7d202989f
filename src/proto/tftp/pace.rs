//! How much of a window leaves at once.
//!
//! A server's blocks come faster than the port of a slow client lets them go, and what its switch cannot keep meanwhile is
//! lost. The client acknowledges a window as a whole (RFC 7440 §4), so that the server may not send a smaller one; but
//! nothing says that it leaves at once. It does until some of it gets lost. From then on it leaves in bursts, spread
//! over the time that its blocks need on their way: bursts are halved by a loss and grow slowly while all arrives,
//! as TCP's window does (RFC 5681 §3.1), until a window is one burst again. What the client sees is one window.

use crate::time::Duration;

/// Blocks that may always leave together: what a new TCP or QUIC connection sends unasked is 10 packets (RFC 6928)
const BURST_MIN: u16 = 8;
/// Windows that arrive whole before a burst is one block longer: a burst that finds its limit costs a window at most
const WINDOWS_A_BLOCK: u16 = 4;
/// The longest time that a window is spread over, below any timer of server or client
const SPREAD_MAX: Duration = Duration::from_millis(100);
/// [`SPREAD_MAX`] is as many of these as 16 bits count: there is one for each transfer
const STEP_US: u64 = 2;

/// The pace of one transfer
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// The most blocks that leave at once, times [`WINDOWS_A_BLOCK`]; 0: a whole window
    burst: u16,
    /// The time that a whole window is spread over, in steps of [`STEP_US`]
    spread: u16,
}

impl Pace {
    /// How many of the `left` blocks of a window may leave now. The last few never leave with others: they make the client
    /// notice what is missing before them, which else only a timer does.
    pub(super) fn burst(&self, left: u64) -> u64 {
        let least = u64::from(BURST_MIN);
        if !self.is_cut() || left <= least {
            return left;
        }
        (left - least).min((self.burst / WINDOWS_A_BLOCK).into())
    }

    /// Whether a window does not leave at once
    pub(super) fn is_cut(&self) -> bool {
        self.burst != 0
    }

    /// How long the next burst waits behind the one before
    pub(super) fn gap(&self, windowsize: u16) -> Duration {
        let windows = u64::from(windowsize) * u64::from(WINDOWS_A_BLOCK);
        Duration::from_micros(STEP_US * u64::from(self.spread) * u64::from(self.burst) / windows)
    }

    /// A window arrived, all of it sent once
    pub(super) fn on_arrived(&mut self, windowsize: u16) {
        if !self.is_cut() {
            return;
        }
        self.burst += 1;
        self.spread -= self.spread / 128;
        if self.burst >= windowsize * WINDOWS_A_BLOCK {
            *self = Self::default();
        }
    }

    /// Blocks of a window were lost; the `arrived` ones before them came one after the other within `span`. It is spread over
    /// `round_trip` at least: the client cannot tell that from a longer way.
    pub(super) fn on_loss(&mut self, windowsize: u16, round_trip: Duration, arrived: u64, span: Duration) {
        let window_us = span.as_micros() * u64::from(windowsize) / arrived.max(1);
        self.slow_down(windowsize, window_us.max(round_trip.as_micros()));
    }

    /// Nothing is heard of a window: its end was lost, or all of it. How fast it may be is anybody's guess.
    pub(super) fn on_silence(&mut self, windowsize: u16, round_trip: Duration) {
        self.slow_down(windowsize, (4 * STEP_US * u64::from(self.spread)).max(round_trip.as_micros()));
    }

    fn slow_down(&mut self, windowsize: u16, spread_us: u64) {
        if windowsize <= BURST_MIN {
            return;
        }
        let burst = if self.is_cut() { self.burst } else { windowsize * WINDOWS_A_BLOCK };
        self.burst = (burst / 2).max(BURST_MIN * WINDOWS_A_BLOCK);
        let spread_us = spread_us.min(SPREAD_MAX.as_micros());
        self.spread = u16::try_from(spread_us / STEP_US).expect("no more than SPREAD_MAX");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_window_leaves_at_once_until_a_loss_and_again_once_all_arrives() {
        let mut pace = Pace::default();
        assert_eq!(pace.burst(64), 64);
        pace.on_loss(64, MS, 16, Duration::ZERO);
        assert_eq!((pace.burst(64), pace.gap(64)), (32, Duration::from_micros(500)));
        assert_eq!([32, 9, 8, 7].map(|left| pace.burst(left)), [24, 1, 8, 7], "the last 8 leave alone");
        for _ in 0..4 * 32 {
            assert!(pace.burst(64) < 64);
            pace.on_arrived(64);
        }
        assert_eq!(pace.burst(64), 64);
    }

    #[test]
    fn bursts_are_halved_to_a_least_and_spread_as_their_blocks_came() {
        let mut pace = Pace::default();
        for burst in [32, 16, 8, 8] {
            pace.on_loss(64, MS, 16, MS);
            assert_eq!(pace.burst(64), burst);
            assert_eq!(pace.gap(64), Duration::from_micros(burst * 4_000 / 64), "16 blocks a millisecond");
        }
        pace.on_loss(64, MS, 1, Duration::from_secs(4_000_000));
        assert_eq!(pace.gap(64), Duration::from_micros(12_500), "it is bounded");
    }

    #[test]
    fn silence_is_searched_for_a_pace() {
        let mut pace = Pace::default();
        let gaps = [32, 16, 8, 8, 8, 8].map(|burst| {
            pace.on_silence(64, MS);
            assert_eq!(pace.burst(64), burst);
            pace.gap(64).as_micros()
        });
        assert_eq!(gaps, [500, 1_000, 2_000, 8_000, 12_500, 12_500]);
    }

    #[test]
    fn a_small_window_is_never_cut() {
        let mut pace = Pace::default();
        pace.on_loss(8, MS, 1, MS);
        assert_eq!(pace.burst(8), 8);
    }
}
