//! The only clock: monotonic, anchored to the wall once.
//!
//! A lease's expiry on disk is a date, and a date that jumps (NTP, a set clock) must neither end a lease nor stall a
//! retransmission. So the wall is read once, at start, and from there on the monotonic clock counts.

use std::time;

use crate::time::{Duration, Instant};

/// Tells the time; a copy tells the same
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: time::Instant,
    wall: Instant,
}

impl Clock {
    /// Reads the wall clock, once. A wall that stands before 1970 counts as 1970.
    pub fn new() -> Self {
        let wall = time::SystemTime::now().duration_since(time::UNIX_EPOCH).unwrap_or_default();
        Self { start: time::Instant::now(), wall: Instant::from_micros(micros(wall)) }
    }

    /// Now
    pub fn now(&self) -> Instant {
        self.wall + Duration::from_micros(micros(self.start.elapsed()))
    }
}

fn micros(span: time::Duration) -> u64 {
    span.as_micros().try_into().unwrap_or(u64::MAX)
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_from_the_wall() {
        let clock = Clock::new();
        let first = clock.now();
        assert!(first > Instant::from_secs(1_700_000_000), "the host's clock is set");
        assert!(clock.now() >= first);
        assert!(clock.now().since(first) < Duration::from_secs(60));
    }
}
