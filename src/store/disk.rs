//! The leases of a server, on disk: a table, and a journal of what it does not hold yet.
//!
//! A commit is one append to the journal. When the journal is full, when nobody has asked for a while, and at start, it is
//! folded into the table by one commit of the table's own, which also says which groups of the journal it holds now. So there is no
//! moment at which a lease is in neither, and a group that is in both is in the table only.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::LeaseStore;
use super::failure::unusable;
use super::journal::{self, Journal};
use super::record::{emit_change, split_change};
use super::table::Table;
use crate::boot::lease::{Lease, LeaseChange};
use crate::limits::JOURNAL_BYTES_MAX;

/// The store of a state directory: `leases.redb` and `leases.journal`, locked against a second server
#[derive(Debug)]
pub struct Disk {
    table: Table,
    journal: Journal,
}

impl Disk {
    /// Opens the store of this state directory, and makes both where they do not exist. After a crash it holds what was
    /// acknowledged.
    ///
    /// # Errors
    /// A sentence for the operator, with the way out.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        Self::open_with(state_dir, JOURNAL_BYTES_MAX)
    }

    /// The same with a journal of so many bytes: a small one is folded more often
    ///
    /// # Errors
    /// A sentence for the operator, with the way out.
    pub fn open_with(state_dir: &Path, journal_bytes: usize) -> io::Result<Self> {
        let (table_path, journal_path) = paths(state_dir);
        fs::create_dir_all(state_dir).map_err(|error| unusable(state_dir, &error))?;
        if !table_path.exists() {
            // Whoever moved the table away wants to start without leases.
            journal::remove(&journal_path)?;
        }
        let is_new = !journal_path.exists();
        let mut table = Table::open(table_path)?;
        let journal = Journal::open(journal_path, table.first_group()?, journal_bytes)?;
        if is_new {
            // Else a power cut may take the files' names, and every lease with them.
            File::open(state_dir)
                .and_then(|dir| dir.sync_all())
                .map_err(|error| unusable(state_dir, &error))?;
        }
        let mut store = Self { table, journal };
        store.fold(&[])?;
        Ok(store)
    }

    /// Moves the journal into the table, and with it changes that came after
    fn fold(&mut self, later: &[LeaseChange]) -> io::Result<()> {
        if self.journal.len() == 0 && later.is_empty() {
            return Ok(());
        }
        let next = self.journal.next();
        let mut bytes = Vec::new();
        later.iter().for_each(|change| emit_change(change, &mut bytes));
        let mut changes = self.journal.changes()?;
        let mut rest = &bytes[..];
        while let Some((change, behind)) = split_change(rest) {
            changes.push(change);
            rest = behind;
        }
        self.table.fold(&mut changes, next)?;
        self.journal.restart();
        Ok(())
    }
}

fn paths(state_dir: &Path) -> (PathBuf, PathBuf) {
    (state_dir.join("leases.redb"), state_dir.join("leases.journal"))
}

impl LeaseStore for Disk {
    fn load(&mut self) -> io::Result<Vec<Lease>> {
        self.fold(&[])?;
        self.table.leases()
    }

    fn commit(&mut self, changes: &[LeaseChange]) -> io::Result<()> {
        if changes.is_empty() || self.journal.append(changes)? {
            return Ok(());
        }
        self.fold(changes)
    }

    fn tidy(&mut self) -> io::Result<()> {
        if self.journal.len() < self.journal.bytes_max() / 4 { Ok(()) } else { self.fold(&[]) }
    }
}
