//! What a server has done, in a sentence at its end.

use std::fmt::Write as _;

use crate::stats::{DropReason, Stats};
use crate::time::Duration;

/// The counters of all shards, and why anything got no answer
pub(super) fn summary(shards: &[Stats]) -> String {
    let sum = |count: fn(&Stats) -> u64| shards.iter().map(count).sum::<u64>();
    let mut text = format!(
        "served {} TFTP transfers and {} HTTP requests; {} datagrams in, {} out, {} of them sent again",
        sum(|stats| stats.transfers),
        sum(|stats| stats.requests),
        sum(|stats| stats.datagrams_in),
        sum(|stats| stats.datagrams_out),
        sum(|stats| stats.resent),
    );
    let held = sum(|stats| stats.held);
    if held > 0 {
        let longest = shards.iter().map(|stats| stats.held_longest_us).max().unwrap_or(0);
        let longest = Duration::from_micros(longest);
        // Writing to a string cannot fail.
        let _ = write!(text, "; clients waited their turn on a full wire {held} times, {longest} at most");
    }
    let mut separator = "; without an answer: ";
    for &reason in DropReason::ALL {
        let count: u64 = shards.iter().map(|stats| stats.dropped(reason)).sum();
        if count > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "{separator}{count} {reason}");
            separator = ", ";
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_added_up_and_reasons_named() {
        let (mut first, mut second) = (Stats::new(), Stats::new());
        (first.transfers, second.transfers) = (2, 3);
        first.drop(DropReason::MalformedTftp);
        second.drop(DropReason::MalformedTftp);
        second.drop(DropReason::SendFailed);
        (first.held, first.held_longest_us, second.held, second.held_longest_us) =
            (2, 1_500_000, 3, 2_500_000);
        assert_eq!(
            summary(&[first, second]),
            "served 5 TFTP transfers and 0 HTTP requests; 0 datagrams in, 0 out, 0 of them sent again; \
             clients waited their turn on a full wire 5 times, 2.500 s at most; without an answer: 2 malformed TFTP, 1 the kernel refused to send"
        );
    }
}
