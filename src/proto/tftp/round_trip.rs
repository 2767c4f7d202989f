//! How long an answer takes, measured: when to resend (RFC 6298, which is Jacobson's estimate).

use crate::time::Duration;

/// The shortest time before a resend: above the pauses of a ROM that writes to the screen or runs emulated, below the
/// shortest timer of a client (iPXE, 250 ms), so that the server is the first to act on a loss
const RESEND_MIN: Duration = Duration::from_millis(150);
/// The time before a resend while nothing was measured (RFC 6298 §2.1)
const RESEND_FIRST: Duration = Duration::from_secs(1);
/// The longest time before a resend, after backing off. Clients listen for longer (iPXE 10 s, U-Boot 50 s)
const RESEND_MAX: Duration = Duration::from_secs(8);

/// The estimate of one client's round trip, its own time for a block included
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundTrip {
    /// 0: not measured
    smoothed_us: u32,
    variation_us: u32,
    /// The shortest measured
    shortest_us: u32,
    /// Doublings, kept until a round trip is measured again (Karn): else a client that grew slow is never measured,
    /// since each of its blocks was sent twice
    backoff: u8,
}

impl RoundTrip {
    /// A round trip of something that was sent only once
    pub(super) fn measured(&mut self, span: Duration) {
        let span_us = u32::try_from(span.as_micros()).unwrap_or(u32::MAX).max(1);
        self.backoff = 0;
        if self.smoothed_us == 0 {
            (self.smoothed_us, self.variation_us, self.shortest_us) = (span_us, span_us / 2, span_us);
            return;
        }
        self.shortest_us = self.shortest_us.min(span_us);
        // RFC 6298 §2.3, in shares that cannot overflow.
        let error_us = span_us.abs_diff(self.smoothed_us);
        self.variation_us = self.variation_us - self.variation_us / 4 + error_us / 4;
        self.smoothed_us = (self.smoothed_us - self.smoothed_us / 8 + span_us / 8).max(1);
    }

    /// Nothing came within [`RoundTrip::resend_after`]
    pub(super) fn timed_out(&mut self) {
        self.backoff = self.backoff.saturating_add(1).min(16);
    }

    /// The shortest that was measured: the way there and back, with nothing queued on it; zero before any was
    pub(super) fn shortest(&self) -> Duration {
        Duration::from_micros(self.shortest_us.into())
    }

    /// By when an answer has come, if it comes; zero before any was measured
    pub(super) fn answered_after(&self) -> Duration {
        Duration::from_micros(u64::from(self.smoothed_us) + 4 * u64::from(self.variation_us))
    }

    /// How long to wait before a resend
    pub(super) fn resend_after(&self) -> Duration {
        let base = if self.smoothed_us == 0 { RESEND_FIRST } else { self.answered_after() };
        base.clamp(RESEND_MIN, RESEND_MAX).times(1 << self.backoff).min(RESEND_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_what_is_measured_within_its_bounds() {
        let mut round_trip = RoundTrip::default();
        assert_eq!(round_trip.resend_after(), RESEND_FIRST);
        round_trip.measured(Duration::from_micros(300));
        assert_eq!(round_trip.resend_after(), RESEND_MIN);
        for _ in 0..50 {
            round_trip.measured(Duration::from_millis(400));
        }
        let after = round_trip.resend_after();
        assert!(after > Duration::from_millis(390) && after < Duration::from_millis(500), "{after}");
        round_trip.measured(Duration::from_secs(1_000_000));
        assert_eq!(round_trip.resend_after(), RESEND_MAX);
        assert_eq!(round_trip.shortest(), Duration::from_micros(300));
    }

    #[test]
    fn backs_off_until_measured_again() {
        let mut round_trip = RoundTrip::default();
        round_trip.measured(Duration::from_millis(1));
        let waits = std::array::from_fn(|_| {
            round_trip.timed_out();
            round_trip.resend_after().as_millis()
        });
        assert_eq!(waits, [300, 600, 1_200, 2_400, 4_800, 8_000, 8_000]);
        round_trip.measured(Duration::from_millis(1));
        assert_eq!(round_trip.resend_after(), RESEND_MIN);
    }
}
