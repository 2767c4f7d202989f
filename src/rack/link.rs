//! A link's two directions, and what goes wrong on them, all of it decided by the seed.

use super::random::Random;
use crate::time::{Duration, Instant};

/// What goes wrong on every machine's link. The default is a good switch.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Frames lost, in a million
    pub loss_ppm: u32,
    /// Frames that arrive twice, in a million
    pub double_ppm: u32,
    /// Frames that later ones overtake, in a million
    pub reorder_ppm: u32,
    /// One way, cable and switch
    pub delay: Duration,
    /// At most this much more, differently for each frame
    pub jitter: Duration,
    /// Bits a second of a machine's port
    pub rate: u64,
    /// Bits a second of the server's port, which all share
    pub uplink: u64,
    /// The largest IP packet that passes
    pub mtu: usize,
    /// A port forwards nothing for this long after its machine is powered on (spanning tree)
    pub blocked: Duration,
    /// A rogue DHCP server answers where ours is in charge
    pub rogue: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            loss_ppm: 0,
            double_ppm: 0,
            reorder_ppm: 0,
            delay: Duration::from_micros(50),
            jitter: Duration::ZERO,
            rate: 1_000_000_000,
            uplink: 10_000_000_000,
            mtu: 1500,
            blocked: Duration::ZERO,
            rogue: false,
        }
    }
}

impl Faults {
    /// Whether the links themselves lose, double or delay nothing
    pub(crate) fn is_clean(&self) -> bool {
        self.loss_ppm + self.double_ppm + self.reorder_ppm == 0
            && self.blocked == Duration::ZERO
            && self.mtu >= 1500
    }
}

/// Preamble, checksum and gap of an Ethernet frame: they take time on the wire too
const FRAMING: u64 = 24;

/// One direction of a wire: a frame begins when the one before has ended. In nanoseconds, since a frame at 10 Gbit/s is over
/// within a microsecond or two.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lane {
    free_at_ns: u64,
    /// When the last frame arrived: jitter delays those behind it too
    arrived_at: Instant,
}

impl Lane {
    /// When `bytes` that are handed over now have left, sent in frames of 1500 at most
    pub(crate) fn send(&mut self, now: Instant, bytes: usize, rate: u64) -> Instant {
        let bytes = bytes as u64;
        let bits = (bytes + FRAMING * bytes.div_ceil(1500)) * 8;
        let began = self.free_at_ns.max(now.as_micros() * 1_000);
        self.free_at_ns = began + (bits * 1_000_000_000).div_ceil(rate.max(1));
        Instant::from_micros(self.free_at_ns.div_ceil(1_000))
    }

    /// How long what is handed over now waits before it begins
    pub(crate) fn queue(&self, now: Instant) -> Duration {
        Instant::from_micros(self.free_at_ns / 1_000).since(now)
    }
}

/// A machine's cable
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    pub up: Lane,
    pub down: Lane,
    /// Nothing passes until then
    pub blocked_until: Instant,
}

/// When a frame arrives, and when again
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    pub first: Option<Instant>,
    pub second: Option<Instant>,
}

/// What becomes of a frame that has `left` its sender by this lane
pub(crate) fn carry(
    faults: &Faults,
    random: &mut Random,
    lane: &mut Lane,
    left: Instant,
    bytes: usize,
) -> Arrival {
    if random.happens(faults.loss_ppm) || bytes > faults.mtu + 14 {
        return Arrival::default();
    }
    let jitter = Duration::from_micros(random.below(faults.jitter.as_micros() + 1));
    let in_order = (left + faults.delay + jitter).max(lane.arrived_at);
    let at = if random.happens(faults.reorder_ppm) {
        in_order + Duration::from_micros(200 + random.below(1_000))
    } else {
        lane.arrived_at = in_order;
        in_order
    };
    let second = random.happens(faults.double_ppm).then(|| at + Duration::from_micros(random.below(1_000)));
    Arrival { first: Some(at), second }
}
