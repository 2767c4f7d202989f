//! Leases that outlive the process, and who is done (`boot-once`).
//!
//! RFC 2131 §3.1: a server remembers what it has acknowledged. So an ACK leaves only when its lease is on disk, and a storm of
//! them must cost a few syncs, not one each. A [`LeaseStore`] writes a group of changes at once or not at all; the
//! [`Committer`] runs one on its own thread, so that no packet waits for the disk but the one whose lease is written.
//!
//! Nothing here decides about leases: [`crate::boot::lease::Leases`] does, and tells its changes.

mod committer;
mod disk;
mod done;
mod failure;
mod journal;
mod record;
mod table;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;

use crate::boot::lease::{Lease, LeaseChange};

pub use committer::{CommitId, Committer, Outcome};
pub use disk::Disk;
pub use done::{DoneFile, Recorder, read_done};

/// Where leases are kept
pub trait LeaseStore: Send {
    /// Every lease that was written and not removed, those that ended too
    ///
    /// # Errors
    /// It cannot be read: a sentence for the operator, with the way out.
    fn load(&mut self) -> io::Result<Vec<Lease>>;

    /// Writes all of these changes, in order, or none. When it returns, they survive a crash of the machine.
    ///
    /// # Errors
    /// None of them is written. The next call may well succeed.
    fn commit(&mut self, changes: &[LeaseChange]) -> io::Result<()>;

    /// Does now, while nobody waits, what would else delay a commit
    ///
    /// # Errors
    /// It is left for later; nothing is lost.
    fn tidy(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Leases that end with the process: for a capture that is replayed, and for simulations
#[derive(Debug, Default)]
pub struct Memory {
    leases: BTreeMap<Ipv4Addr, Lease>,
}

impl LeaseStore for Memory {
    fn load(&mut self) -> io::Result<Vec<Lease>> {
        Ok(self.leases.values().copied().collect())
    }

    fn commit(&mut self, changes: &[LeaseChange]) -> io::Result<()> {
        for change in changes {
            match change {
                LeaseChange::Put(lease) => self.leases.insert(lease.address, *lease),
                LeaseChange::Remove(address) => self.leases.remove(address),
            };
        }
        Ok(())
    }
}
