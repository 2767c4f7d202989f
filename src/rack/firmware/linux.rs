//! A Linux kernel with `ip=dhcp`: an address, and no more.
//!
//! After net/ipv4/ipconfig.c: options in a fixed 312 bytes, 2 to 3 s and longer by 7/4 each time, six tries.

use super::{Firmware, fail};
use crate::rack::dhcp::{Ask, Choice, Profile, Secs, Writes};
use crate::rack::message::Options;
use crate::rack::outcome::Outcome;
use crate::rack::reach::Known;
use crate::rack::step::Step;

const WAITS_MS: &[u64] = &[2_500, 4_375, 7_656, 13_398, 23_447, 30_000];

static DHCP: Profile = Profile {
    discover_ms: WAITS_MS,
    request_ms: WAITS_MS,
    broadcast: false,
    choice: Choice::First,
    secs: Secs::Elapsed,
    padded_to: 548,
    nak_is_final: false,
    options: Writes::Model(dhcp_options),
};

fn dhcp_options(options: &mut Options, ask: &Ask<'_>) {
    options.add(53, [ask.kind]);
    if let Some((server, address)) = ask.accepted {
        options.add(54, server.octets()).add(50, address.octets());
    }
    options.add(55, [1, 3, 6, 12, 15, 17, 26, 40]);
}

/// An address is all it wants
pub(super) struct Linux;

impl Firmware for Linux {
    fn next(&mut self, _known: &mut Known, outcome: Outcome) -> Step {
        match outcome {
            Outcome::Power => Step::Dhcp(&DHCP),
            Outcome::Leased(_) => Step::Booted,
            outcome => fail(&outcome),
        }
    }
}
