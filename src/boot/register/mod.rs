//! What a running server knows of machines beside its plan: who was seen at which address, and who has done what it was
//! booted for once.
//!
//! Shared by all shards and by each plan that is put in force after another. Everything in it is bounded, and behind locks that
//! are held for a look-up, never for a wait: what is on disk is the store's thread's to write.

mod done;
mod seen;

use std::net::Ipv4Addr;

pub use done::{Done, MachineId, Record, Standing, Ticket, TooMany};
pub use seen::Seen;

use seen::Whereabouts;

/// See the module
#[derive(Debug, Default)]
pub struct Register {
    whereabouts: Whereabouts,
    /// Who has done what it was booted for
    pub done: Done,
}

impl Register {
    /// A machine was given this address, or told another server that it takes it
    pub fn see(&self, address: Ipv4Addr, seen: Seen) {
        self.whereabouts.see(address, seen);
    }

    /// Who was seen last at an address
    pub fn seen(&self, address: Ipv4Addr) -> Option<Seen> {
        self.whereabouts.seen(address)
    }
}
