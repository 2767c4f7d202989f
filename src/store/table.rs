//! The table of leases, by redb: one file of copy-on-write B-trees, and a commit that is whole or not there.
//!
//! Written to when the journal is folded into it. It holds the number of the first group that is not, in the same commit.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use redb::{Builder, Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::failure::{damaged, unusable};
use super::record::{self, FORMAT, Written};
use crate::boot::lease::Lease;

/// Leases by address
const LEASES: TableDefinition<u32, &[u8]> = TableDefinition::new("leases");
/// What the file is: "format" → [`FORMAT`]
const ABOUT: TableDefinition<&str, u32> = TableDefinition::new("about");

/// "first" → the number of the first group of the journal that is not folded
const JOURNAL: TableDefinition<&str, u64> = TableDefinition::new("journal");

/// Pages kept in memory. 100,000 leases take about 5 MiB.
const CACHE_BYTES: usize = 32 << 20;
/// The layout before there was a journal; the table was the same
const FORMAT_WITHOUT_JOURNAL: u32 = 1;

/// The leases of a state directory, locked against a second server
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    /// `None` after a failure: redb takes no more writes then until the file is opened anew
    database: Option<Database>,
}

impl Table {
    /// Opens the file, and makes it where it does not exist. After a crash it is checked from end to end and brought back to
    /// the last commit.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let mut table = Self { database: Some(open(&path)?), path };
        table.write_format()?;
        Ok(table)
    }

    /// Makes the tables in a new file; refuses a file whose layout is not ours
    fn write_format(&mut self) -> io::Result<()> {
        let format = self.write(|transaction| {
            transaction.open_table(LEASES)?;
            transaction.open_table(JOURNAL)?;
            let mut about = transaction.open_table(ABOUT)?;
            let found = about.get("format")?.map(|format| format.value());
            // Once there is a journal, a version that does not know of it would give its leases to others.
            if matches!(found, None | Some(FORMAT_WITHOUT_JOURNAL)) {
                about.insert("format", FORMAT)?;
                return Ok(FORMAT);
            }
            Ok(found.unwrap_or(FORMAT))
        })?;
        if format == FORMAT {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{}: written by another version of reveille (format {format}, this one reads {FORMAT}): \
                 run that version, or move the file away to start without leases",
                self.path.display()
            ),
        ))
    }

    /// The number of the first group of the journal that is not folded
    pub(super) fn first_group(&mut self) -> io::Result<u64> {
        self.read(|transaction| {
            let journal = transaction.open_table(JOURNAL)?;
            let first = journal.get("first")?.map_or(0, |first| first.value());
            Ok(first)
        })
    }

    /// Every lease
    pub(super) fn leases(&mut self) -> io::Result<Vec<Lease>> {
        self.read(|transaction| {
            let mut leases = Vec::new();
            for record in transaction.open_table(LEASES)?.iter()? {
                let (address, bytes) = record?;
                let address = Ipv4Addr::from_bits(address.value());
                let lease = record::parse(address, bytes.value());
                leases.push(lease.ok_or_else(|| {
                    redb::Error::Corrupted(format!("the record of {address} is not a lease"))
                })?);
            }
            Ok(leases)
        })
    }

    /// Takes up these changes, the latest of each address, and with them all groups before that number
    pub(super) fn fold(&mut self, changes: &mut [Written<'_>], first_group: u64) -> io::Result<()> {
        // In the order of the tree each page is written to once.
        changes.sort_by_key(|change| change.0);
        self.write(|transaction| {
            let mut leases = transaction.open_table(LEASES)?;
            for of_address in changes.chunk_by(|a, b| a.0 == b.0) {
                match of_address[of_address.len() - 1] {
                    (address, Some(record)) => _ = leases.insert(address.to_bits(), record)?,
                    (address, None) => _ = leases.remove(address.to_bits())?,
                }
            }
            transaction.open_table(JOURNAL)?.insert("first", first_group)?;
            Ok(())
        })
    }

    fn read<T>(
        &mut self,
        work: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> io::Result<T> {
        let database = self.take()?;
        let done =
            database.begin_read().map_err(redb::Error::from).and_then(|transaction| work(&transaction));
        let done = done.map_err(|error| failed(&self.path, error));
        self.database = Some(database);
        done
    }

    /// One transaction, durable when this returns. A failure drops the database, and the next call opens it anew.
    fn write<T>(
        &mut self,
        work: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> io::Result<T> {
        let database = self.take()?;
        let done = (|| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })();
        match done {
            Ok(value) => {
                self.database = Some(database);
                Ok(value)
            }
            Err(error) => Err(failed(&self.path, error)),
        }
    }

    fn take(&mut self) -> io::Result<Database> {
        self.database.take().map_or_else(|| open(&self.path), Ok)
    }
}

fn open(path: &Path) -> io::Result<Database> {
    // Without the check, redb trusts a file that something else wrote to, and may panic on it later.
    let database = Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create(path);
    database.map_err(|error| failed(path, error.into()))
}

/// What redb says, as a sentence for the operator
fn failed(path: &Path, error: redb::Error) -> io::Error {
    let path_text = path.display();
    match error {
        redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            damaged(path, &error.to_string())
        }
        redb::Error::Io(error) => unusable(path, &error),
        redb::Error::DatabaseAlreadyOpen => io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!(
                "{path_text}: another reveille uses this state directory: stop it, or give this one its own \
                 with --state-dir"
            ),
        ),
        redb::Error::Corrupted(why) => damaged(path, &why),
        other => io::Error::other(format!("{path_text}: {other}")),
    }
}
