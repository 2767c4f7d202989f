//! What must hold while a rack boots, and when it has: found violations, kept to be told.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::Ipv4Addr;

use super::outcome::Failure;
use crate::time::{Duration, Instant};

/// Violations that are kept; more are counted
const KEPT: usize = 32;

/// Something that must not happen
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two machines use one address
    AddressTwice {
        /// The address
        address: Ipv4Addr,
        /// The machine that had it
        first: usize,
        /// The machine that was given it too
        second: usize,
    },
    /// A machine was sent what its firmware cannot accept
    Refused {
        /// The machine
        machine: usize,
        /// When, since the rack was built
        after: Duration,
        /// What
        why: &'static str,
    },
    /// A machine that gave up
    Unbooted {
        /// The machine
        machine: usize,
        /// Why, the last time; `None`: it was still at it when time was up
        failure: Option<Failure>,
    },
    /// Blocks were sent again more often than loss explains
    Repeats {
        /// The machine
        machine: usize,
        /// Blocks of the file
        blocks: u64,
        /// Blocks that came once more
        repeats: u64,
    },
    /// Something of a client is left in the server
    Leak(&'static str),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressTwice { address, first, second } => {
                write!(f, "{address} is given to machine {first} and to machine {second}")
            }
            Self::Refused { machine, after, why } => write!(f, "machine {machine} after {after}: {why}"),
            Self::Unbooted { machine, failure: Some(failure) } => {
                write!(f, "machine {machine} is not booted: {failure}")
            }
            Self::Unbooted { machine, failure: None } => {
                write!(f, "machine {machine} is not booted: time is up")
            }
            Self::Repeats { machine, blocks, repeats } => {
                write!(f, "machine {machine} got {repeats} blocks again of a file of {blocks}")
            }
            Self::Leak(what) => write!(f, "{what}"),
        }
    }
}

/// Watches a run
#[derive(Debug, Default)]
pub(crate) struct Checker {
    holders: HashMap<Ipv4Addr, usize>,
    pub violations: Vec<Violation>,
    pub more: usize,
    /// How often attempts failed for which reason
    pub failures: BTreeMap<Failure, u64>,
    /// A digest of everything that happened, in order
    pub trace: u64,
}

impl Checker {
    pub(crate) fn report(&mut self, violation: Violation) {
        if self.violations.len() < KEPT {
            self.violations.push(violation);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn on_bound(&mut self, machine: usize, address: Ipv4Addr) {
        let first = *self.holders.entry(address).or_insert(machine);
        if first != machine {
            self.report(Violation::AddressTwice { address, first, second: machine });
        }
    }

    pub(crate) fn holder(&self, address: Ipv4Addr) -> Option<usize> {
        self.holders.get(&address).copied()
    }

    pub(crate) fn on_transferred(&mut self, machine: usize, blocks: u64, repeats: u64, is_clean: bool) {
        // A lost ACK costs a window again, a lost or late block what was sent behind it; EDK2 says so up to three times.
        let most = if is_clean { 2 + blocks / 8 } else { 64 + blocks };
        if repeats > most {
            self.report(Violation::Repeats { machine, blocks, repeats });
        }
    }

    /// Takes an event into the trace
    pub(crate) fn trace(&mut self, now: Instant, kind: u64, who: usize, bytes: &[u8]) {
        let mix =
            |trace: u64, value: u64| (trace ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        let mut trace =
            mix(mix(mix(self.trace, now.as_micros()), kind << 32 | who as u64), bytes.len() as u64);
        // The head holds the protocol; bodies are compared with their files.
        for part in bytes.get(..bytes.len().min(64)).unwrap_or_default().chunks(8) {
            trace = mix(trace, part.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
        self.trace = trace;
    }
}
