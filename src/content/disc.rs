//! An ISO image on disk: opened once for all shards, and looked at again before each file that is opened from it
//!
//! A [`Drive`] is a path; a [`Disc`] is what lies there at a time. Where the operator puts another image in place of it, the
//! next open has the new one read, once for all shards and on a thread of its own: who opens in the meantime gets the old one
//! where it was replaced, and is told to come again where it was written over. Who reads a file of the old one goes on with
//! that, or gets an error, likewise.

use std::fmt;
use std::fs::{self, File, FileType};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::extent::Extents;
use super::iso::{self, Fault, Index, What};
use super::root::{Seen, Version};
use super::stored::{Role, Stored};
use super::sys;
use crate::boot::image::Miss;

/// How long an open waits for the image that it found replaced: most are read in less, and no shard may stand still for longer
const READ_WAIT: Duration = Duration::from_millis(20);

/// One version of an image
#[derive(Debug)]
pub(super) struct Disc {
    file: Arc<File>,
    pub(super) seen: Seen,
    pub(super) index: Index,
}

impl Disc {
    fn read(path: &Path) -> Result<Self, Fault> {
        // To open a FIFO would hold the server up; a device tells nobody that it holds another disc.
        if let Some(kind) = other_than_file(fs::metadata(path)?.file_type()) {
            return Err(Fault::NotFile(kind));
        }
        let file = File::open(path)?;
        let mut seen = Seen::of(&sys::stat(file.as_fd())?);
        let index = iso::read(&file)?;
        if !seen.still_holds(&sys::stat(file.as_fd())?) {
            return Err(Fault::Io(io::Error::other("it is being written")));
        }
        Ok(Self { file: Arc::new(file), seen, index })
    }

    /// A file in it
    pub(super) fn open(&self, path: &[u8]) -> Result<Stored, Miss> {
        let lying = self.index.find(path).ok_or(Miss::NotFound)?;
        match lying.what {
            What::Directory => Err(Miss::Directory),
            What::Compressed => Err(Miss::Compressed),
            What::File(extents) => {
                let (file, extents) = (Arc::clone(&self.file), Extents::of(extents));
                let role = if lying.in_boot_image { Role::InBootImage } else { Role::InIso };
                Ok(Stored::pieces(file, self.seen, extents, role, lying.modified_s.into()))
            }
        }
    }

    /// The image itself
    pub(super) fn whole(&self) -> Stored {
        Stored::whole(Arc::clone(&self.file), self.seen)
    }

    /// Whether the bytes that its index is of are still there
    fn holds(&self) -> bool {
        let mut seen = self.seen;
        seen.is_held_by(&self.file)
    }
}

/// What it is that is no file
fn other_than_file(kind: FileType) -> Option<&'static str> {
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("directory"),
        () if kind.is_fifo() => Some("FIFO"),
        () if kind.is_socket() => Some("socket"),
        () => Some("device"),
    }
}

/// Where an image lies
#[derive(Debug)]
pub(super) struct Drive {
    path: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    latest: Mutex<Latest>,
    is_read: Condvar,
}

#[derive(Debug)]
struct Latest {
    version: Version,
    /// `None`: what lies there cannot be served
    disc: Option<Arc<Disc>>,
    is_reading: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Latest> {
        // A panic while it was held left either version whole.
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, path: &Path, version: Version) {
        let disc = Disc::read(path).ok().map(Arc::new);
        let version = disc.as_ref().map_or(version, |disc| disc.seen.version);
        *self.lock() = Latest { version, disc, is_reading: false };
        self.is_read.notify_all();
    }
}

/// Why an image cannot be served
#[derive(Debug)]
pub struct Unserved(PathBuf, Fault);

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.display(), self.1)
    }
}

impl std::error::Error for Unserved {}

impl Drive {
    /// Reads the image
    pub(super) fn open(path: &Path) -> Result<Self, Unserved> {
        let disc = Disc::read(path).map_err(|fault| Unserved(path.to_owned(), fault))?;
        let latest = Latest { version: disc.seen.version, disc: Some(Arc::new(disc)), is_reading: false };
        let shared = Shared { latest: Mutex::new(latest), is_read: Condvar::new() };
        Ok(Self { path: path.to_owned(), shared: Arc::new(shared) })
    }

    /// The version of what lies there now, by one call
    pub(super) fn peek(&self) -> Option<Version> {
        fs::metadata(&self.path).ok().map(|metadata| Version::of_metadata(&metadata))
    }

    /// What lies there now. `known` is what a shard has seen last: as long as that is there, no lock is taken.
    pub(super) fn disc(&self, known: &mut Option<Arc<Disc>>) -> Result<Arc<Disc>, Miss> {
        let version = self.peek().ok_or(Miss::NotFound)?;
        if let Some(disc) = known.as_ref().filter(|disc| disc.seen.version == version) {
            return Ok(Arc::clone(disc));
        }
        let mut latest = self.shared.lock();
        if latest.version != version && !latest.is_reading {
            latest.is_reading = self.start_reading(version);
            let waited =
                self.shared.is_read.wait_timeout_while(latest, READ_WAIT, |latest| latest.is_reading);
            (latest, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if latest.is_reading || latest.version != version {
            return latest.disc.clone().filter(|disc| disc.holds()).ok_or(Miss::Busy);
        }
        known.clone_from(&latest.disc);
        known.clone().ok_or(Miss::Unreadable)
    }

    /// Has what lies there now read; false where there is no thread left for it
    fn start_reading(&self, version: Version) -> bool {
        let (shared, path) = (Arc::clone(&self.shared), self.path.clone());
        let read = move || shared.read(&path, version);
        thread::Builder::new().name("image".to_owned()).spawn(read).is_ok()
    }
}
