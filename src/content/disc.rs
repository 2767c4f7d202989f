//! An ISO image on disk: opened once for all shards, and looked at again before each file that is opened from it
//!
//! A [`Drive`] is a path; a [`Disc`] is what lies there at a time. Where the operator puts another image in place of it,
//! the next open reads the new one, once for all shards; who reads a file of the old one goes on with that where it was
//! replaced, and gets an error where it was written over.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::iso::{self, Fault, Index};
use super::root::{Seen, Version};
use super::sys;
use crate::boot::image::Miss;

/// One version of an image
#[derive(Debug)]
pub(super) struct Disc {
    pub(super) file: File,
    pub(super) seen: Seen,
    pub(super) index: Index,
}

impl Disc {
    fn open(path: &Path) -> Result<Self, Fault> {
        // A FIFO in its place would hold the server up.
        if !fs::metadata(path)?.is_file() {
            return Err(Fault::NotIso);
        }
        let file = File::open(path)?;
        let mut seen = Seen::of(&sys::stat(file.as_fd())?);
        let index = iso::read(&file)?;
        if !seen.still_holds(&sys::stat(file.as_fd())?) {
            return Err(Fault::Io(io::Error::other("it is being written")));
        }
        Ok(Self { file, seen, index })
    }
}

/// Where an image lies
#[derive(Debug)]
pub(super) struct Drive {
    path: PathBuf,
    latest: Mutex<Latest>,
}

#[derive(Debug)]
struct Latest {
    version: Version,
    /// `None`: what lies there cannot be served
    disc: Option<Arc<Disc>>,
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
        let disc = Disc::open(path).map_err(|fault| Unserved(path.to_owned(), fault))?;
        let latest = Latest { version: disc.seen.version, disc: Some(Arc::new(disc)) };
        Ok(Self { path: path.to_owned(), latest: Mutex::new(latest) })
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
        // A panic while it was held left either version whole.
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.version != version {
            *known = None;
            let disc = Disc::open(&self.path).ok().map(Arc::new);
            let version = disc.as_ref().map_or(version, |disc| disc.seen.version);
            *latest = Latest { version, disc };
        }
        known.clone_from(&latest.disc);
        known.clone().ok_or(Miss::Unreadable)
    }
}
