//! Time as plain values: microseconds since the Unix epoch, and spans of them.
//!
//! Nothing here reads a clock. `io::clock` anchors the monotonic clock to the wall once, at start, so that an
//! [`Instant`] never runs backwards and a lease's expiry on disk can be compared with it; a capture's stamp or a
//! simulated time is the same plain value.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// A moment: microseconds since the Unix epoch
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

/// A span of time in microseconds
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

impl Instant {
    /// The Unix epoch
    pub const ZERO: Self = Self(0);
    /// Later than any deadline
    pub const FAR: Self = Self(u64::MAX);

    /// The moment `us` microseconds after the Unix epoch
    pub const fn from_micros(us: u64) -> Self {
        Self(us)
    }

    /// The moment `s` seconds after the Unix epoch; [`Instant::FAR`] where that overflows
    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The span from `earlier` to this moment; zero when `earlier` is later
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl Duration {
    /// No time
    pub const ZERO: Self = Self(0);

    /// A span of `us` microseconds
    pub const fn from_micros(us: u64) -> Self {
        Self(us)
    }

    /// A span of `ms` milliseconds
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// A span of `s` seconds
    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1_000_000))
    }

    /// Microseconds
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds, rounded down
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole seconds, rounded down
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// `self * factor`, held at the largest span
    pub const fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Add for Duration {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Duration {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// `1.250 s`, `12.5 ms` or `40 µs`: the unit that reads best
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            us @ 0..1_000 => write!(f, "{us} µs"),
            us @ 1_000..1_000_000 => write!(f, "{}.{} ms", us / 1_000, us % 1_000 / 100),
            us => write!(f, "{}.{:03} s", us / 1_000_000, us % 1_000_000 / 1_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_saturate_and_print_in_the_unit_that_reads_best() {
        assert_eq!(Instant::from_secs(1).since(Instant::from_secs(2)), Duration::ZERO);
        assert_eq!(Instant::FAR + Duration::from_secs(1), Instant::FAR);
        assert_eq!(Duration::from_micros(40).to_string(), "40 µs");
        assert_eq!(Duration::from_micros(12_500).to_string(), "12.5 ms");
        assert_eq!(Duration::from_millis(1_250).to_string(), "1.250 s");
    }
}
