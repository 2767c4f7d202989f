//! Leases in one file of the state directory, by redb: copy-on-write B-trees, one sync a commit, nothing to replay at start.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::LeaseStore;
use super::record::{self, FORMAT, Record};
use crate::boot::lease::{Lease, LeaseChange};

/// Leases by address
const LEASES: TableDefinition<u32, &[u8]> = TableDefinition::new("leases");
/// What the file is: "format" → [`FORMAT`]
const ABOUT: TableDefinition<&str, u32> = TableDefinition::new("about");

/// Pages kept in memory. 100,000 leases take about 5 MiB.
const CACHE_BYTES: usize = 32 << 20;

/// The lease store of a server: `leases.redb` in its state directory, locked against a second server
#[derive(Debug)]
pub struct Redb {
    path: PathBuf,
    /// `None` after a failure: redb takes no more writes then until the file is opened anew
    database: Option<Database>,
}

impl Redb {
    /// Opens the store of this state directory, and makes both where they do not exist. After a crash it is checked from
    /// end to end and brought back to the last commit.
    ///
    /// # Errors
    /// A sentence for the operator, with the way out.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join("leases.redb");
        let is_new = !path.exists();
        fs::create_dir_all(state_dir).map_err(|error| unusable(state_dir, &error))?;
        let mut store = Self { database: Some(open(&path)?), path };
        store.write_format()?;
        if is_new {
            // Else a power cut may take the file's name, and every lease with it.
            File::open(state_dir)
                .and_then(|dir| dir.sync_all())
                .map_err(|error| unusable(state_dir, &error))?;
        }
        Ok(store)
    }

    /// Makes the tables in a new file; refuses a file whose layout is not ours
    fn write_format(&mut self) -> io::Result<()> {
        let format = self.write(|transaction| {
            transaction.open_table(LEASES)?;
            let mut about = transaction.open_table(ABOUT)?;
            let found = about.get("format")?.map(|format| format.value());
            if found.is_none() {
                about.insert("format", FORMAT)?;
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

    /// One transaction, durable when this returns. A failure drops the database, and the next call opens it anew.
    fn write<T>(
        &mut self,
        work: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>,
    ) -> io::Result<T> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open(&self.path)?,
        };
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
}

impl LeaseStore for Redb {
    fn load(&mut self) -> io::Result<Vec<Lease>> {
        if self.database.is_none() {
            self.database = Some(open(&self.path)?);
        }
        let Some(database) = &self.database else { return Ok(Vec::new()) };
        let read = || -> Result<Vec<Lease>, redb::Error> {
            let table = database.begin_read()?.open_table(LEASES)?;
            let mut leases = Vec::new();
            for record in table.iter()? {
                let (address, bytes) = record?;
                let address = Ipv4Addr::from_bits(address.value());
                let lease = record::parse(address, bytes.value());
                leases.push(lease.ok_or_else(|| {
                    redb::Error::Corrupted(format!("the record of {address} is not a lease"))
                })?);
            }
            Ok(leases)
        };
        read().map_err(|error| failed(&self.path, error))
    }

    fn commit(&mut self, changes: &[LeaseChange]) -> io::Result<()> {
        self.write(|transaction| {
            let mut leases = transaction.open_table(LEASES)?;
            for change in changes {
                match change {
                    LeaseChange::Put(lease) => {
                        leases.insert(lease.address.to_bits(), Record::emit(lease).as_bytes())?;
                    }
                    LeaseChange::Remove(address) => {
                        leases.remove(address.to_bits())?;
                    }
                }
            }
            Ok(())
        })
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

fn damaged(path: &Path, why: &str) -> io::Error {
    let text = format!(
        "{}: damaged, or no lease store ({why}): restore it from a backup, or move it away to start without leases; \
         clients then ask for the addresses that they have",
        path.display()
    );
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn unusable(path: &Path, error: &io::Error) -> io::Error {
    let way_out = match error.kind() {
        io::ErrorKind::PermissionDenied => ": run as root, or choose another directory with --state-dir",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ": no address is acknowledged until there is room"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotADirectory => {
            ": choose another directory with --state-dir"
        }
        _ => "",
    };
    io::Error::new(error.kind(), format!("{}: {error}{way_out}", path.display()))
}
