//! Reading a capture: what its frames carry, in the order and at the times that they were seen.
//!
//! Never drops what a capture kept only the front of, and never lets time run backwards: a capture merged from several
//! interfaces may hold frames out of order.

use crate::time::Instant;
use crate::wire::pcap::{self, Carried};

/// One frame that holds something of ours
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'c> {
    /// Its number in the capture, from 1, as Wireshark counts
    pub number: u32,
    /// When
    pub at: Instant,
    /// What
    pub carried: Carried<'c>,
}

/// The frames of `file` up to its first error, and that error
///
/// # Errors
/// Where it is no capture at all.
pub(crate) fn read(file: &[u8]) -> Result<(Vec<Seen<'_>>, Option<pcap::Error>), pcap::Error> {
    let mut seen = Vec::new();
    let mut at = Instant::ZERO;
    for (packet, number) in pcap::Reader::new(file)?.zip(1..) {
        let packet = match packet {
            Ok(packet) => packet,
            Err(error) => return Ok((seen, Some(error))),
        };
        at = at.max(Instant::from_micros(packet.time_us));
        seen.extend(packet.carried().map(|carried| Seen { number, at, carried }));
    }
    Ok((seen, None))
}
