//! What a running server knows of machines beside its plan: who was seen at which address, and who has done what it was
//! booted for once.
//!
//! Shared by all shards and by each plan that is put in force after another. Everything in it is bounded, and behind locks that
//! are held for a look-up, never for a wait: what is on disk is the store's thread's to write.

mod callers;
mod done;

pub use callers::{Caller, Callers};
pub use done::{Done, MachineId, Record, Standing, Ticket, TooMany};

/// See the module
#[derive(Debug, Default)]
pub struct Register {
    /// Who has which address
    pub callers: Callers,
    /// Who has done what it was booted for
    pub done: Done,
}
