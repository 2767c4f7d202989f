//! Bytes of the operator's files: a file, or pieces of one, as it looked when they were found in it

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;

use super::extent::Extents;
use super::root::{Seen, Version};
use super::sys;

/// Where the bytes at a path come from, for people
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// A file, in the root, in an image's directory or among the system's loaders
    File(PathBuf),
    /// A piece of an ISO image
    Iso {
        /// The image
        image: PathBuf,
        /// Where the first byte lies in it
        offset: u64,
        /// How many there are
        len: u64,
        /// They are a file of the file system that firmware starts the image from (El Torito)
        in_boot_image: bool,
    },
    /// Written when it is asked for
    Generated(String),
    /// Made from a template: its file, and the text or why there is none
    Template(PathBuf, Result<String, String>),
}

/// Bytes of an image that lie side by side in a file
#[derive(Clone, Copy, Debug)]
pub struct Part<'t> {
    /// The file
    pub file: BorrowedFd<'t>,
    /// Where they begin in it
    pub offset: u64,
    /// How many there are; what follows may lie elsewhere
    pub len: u64,
}

/// What the bytes are to the file that holds them
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// All of it
    Whole,
    /// A file of an ISO image
    InIso,
    /// A file of the file system that firmware starts an ISO image from
    InBootImage,
}

/// Bytes of a file, of one version
#[derive(Debug)]
pub(super) struct Stored {
    file: Arc<File>,
    seen: Seen,
    extents: Extents,
    role: Role,
    pub(super) modified_s: u64,
}

/// What tells these bytes from all others
pub(super) type Content = (Version, Extents);

impl Stored {
    /// A whole file
    pub(super) fn whole(file: Arc<File>, seen: Seen) -> Self {
        let (extents, modified_s) = (Extents::whole(seen.version.size), seen.version.modified_s());
        Self { file, seen, extents, role: Role::Whole, modified_s }
    }

    /// Pieces of an ISO image
    pub(super) fn pieces(file: Arc<File>, seen: Seen, extents: Extents, role: Role, modified_s: u64) -> Self {
        Self { file, seen, extents, role, modified_s }
    }

    pub(super) fn len(&self) -> u64 {
        self.extents.len()
    }

    /// The version of the file that holds them
    pub(super) fn version(&self) -> Version {
        self.seen.version
    }

    pub(super) fn content(&self) -> Content {
        (self.seen.version, self.extents.clone())
    }

    /// Whether they are what they were when they were found
    pub(super) fn holds(&mut self) -> bool {
        self.seen.is_held_by(&self.file)
    }

    /// Fills `buffer` from the byte `at` on. The file is looked at after the read: what this returns is of its version.
    pub(super) fn read_exact_at(&mut self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.extents.read_exact_at(&self.file, buffer, at)?;
        if self.holds() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// What lies side by side from the byte `at` on
    pub(super) fn part(&self, at: u64) -> Part<'_> {
        let extent = self.extents.from(at);
        Part { file: self.file.as_fd(), offset: extent.offset, len: extent.len }
    }

    /// Lets the kernel read so many bytes from the disk meanwhile, as far as they lie side by side
    pub(super) fn read_ahead(&self, at: u64, len: u64) {
        let part = self.part(at);
        sys::read_ahead(part.file, part.offset, part.len.min(len));
    }

    pub(super) fn placed(&self) -> Option<Placed> {
        let path = fs::read_link(format!("/proc/self/fd/{}", self.file.as_raw_fd())).ok()?;
        let (offset, len) = (self.extents.from(0).offset, self.len());
        Some(match self.role {
            Role::Whole => Placed::File(path),
            Role::InIso => Placed::Iso { image: path, offset, len, in_boot_image: false },
            Role::InBootImage => Placed::Iso { image: path, offset, len, in_boot_image: true },
        })
    }
}
