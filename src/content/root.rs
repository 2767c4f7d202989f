//! One directory, and nothing outside it.
//!
//! The root is opened once and every name is resolved from that descriptor: by the kernel's own confinement (`openat2`
//! with `RESOLVE_BENEATH`, Linux 5.6), which follows symbolic links as long as they stay beneath the root. An older
//! kernel, or a sandbox that forbids the call, gets a walk from part to part that follows no link at all.

use std::ffi::{CStr, CString, c_int};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::sys::{self, Names};
use crate::boot::image::Miss;

/// Reading, without waiting for the other end of a FIFO and without taking a terminal
const READ: c_int = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
/// `openat2` gives up where a rename or a mount races with `..` in a link; this often it is asked again
const RACES_MAX: usize = 4;

/// What tells one content of a file from another
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Version {
    device: u64,
    inode: u64,
    pub(super) size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    pub(super) fn of(stat: &libc::stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// The same by the standard library's call, for a path that is not confined
    pub(super) fn of_metadata(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Last modification, seconds since the Unix epoch
    pub(super) fn modified_s(&self) -> u64 {
        u64::try_from(self.modified.0).unwrap_or(0)
    }

    /// When its bytes, names or attributes changed last, in seconds since the Unix epoch, rounded up
    pub(super) fn touched_s(&self) -> u64 {
        u64::try_from(self.modified.0.max(self.changed.0)).unwrap_or(0) + 1
    }

    /// Whether `self` and `later`, seen through one descriptor, hold the same bytes
    fn same_bytes(&self, later: &Self) -> bool {
        (self.size, self.modified) == (later.size, later.modified)
    }
}

/// The version of an open file, with what may change without changing its bytes
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) version: Version,
    /// Names, mode and owner: a change of these explains a new change time
    attributes: (u64, u32, u32, u32),
}

impl Seen {
    pub(super) fn of(stat: &libc::stat) -> Self {
        let attributes = (stat.st_nlink, stat.st_mode, stat.st_uid, stat.st_gid);
        Self { version: Version::of(stat), attributes }
    }

    /// As [`Seen::still_holds`], of the file as it looks at this moment
    pub(super) fn is_held_by(&mut self, file: &File) -> bool {
        sys::stat(file.as_fd()).is_ok_and(|stat| self.still_holds(&stat))
    }

    /// Takes note of how an open file looks now; `false`: its bytes may have changed.
    ///
    /// To replace or unlink a file changes the change time of what is still open, as `chmod` does, and must not end a
    /// transfer. A change time that moved for no visible reason may be a write whose modification time was set back.
    pub(super) fn still_holds(&mut self, stat: &libc::stat) -> bool {
        let now = Self::of(stat);
        let explained = now.version.changed == self.version.changed || now.attributes != self.attributes;
        let holds = explained && self.version.same_bytes(&now.version);
        if holds {
            *self = now;
        }
        holds
    }
}

/// The directory that images are served from
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
    by_kernel: bool,
}

impl Root {
    /// Opens the directory, and proves that it can be read
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let directory = OwnedFd::from(File::open(path).map_err(named)?);
        let stat = sys::stat(directory.as_fd()).map_err(named)?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFDIR {
            return Err(named(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        let by_kernel = sys::open_beneath(directory.as_fd(), c".", libc::O_PATH).is_ok();
        Ok(Self { directory, by_kernel })
    }

    /// Resolves without the kernel's confinement, as on a kernel that has none
    #[cfg(test)]
    pub(super) fn without_openat2(mut self) -> Self {
        self.by_kernel = false;
        self
    }

    /// Opens a regular file for reading
    pub(super) fn open_file(&self, path: &CStr) -> Result<(File, Seen), Miss> {
        let fd = self.resolve(path, READ)?;
        let stat = sys::stat(fd.as_fd()).map_err(|_| Miss::Unreadable)?;
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => Ok((File::from(fd), Seen::of(&stat))),
            libc::S_IFDIR => Err(Miss::Directory),
            // A device, FIFO or socket has no bytes of its own to serve.
            _ => Err(Miss::Forbidden),
        }
    }

    /// Opens a directory to read its names
    pub(super) fn open_directory(&self, path: &CStr) -> Result<Names, Miss> {
        let fd = self.resolve(path, READ | libc::O_DIRECTORY)?;
        Names::new(fd).map_err(|_| Miss::Unreadable)
    }

    /// The state of what `path` leads to, beneath the root only
    pub(super) fn stat(&self, path: &CStr) -> Result<libc::stat, Miss> {
        let fd = self.resolve(path, libc::O_PATH)?;
        sys::stat(fd.as_fd()).map_err(|_| Miss::Unreadable)
    }

    /// The version behind `path`, by one call that is not confined: good for nothing but to compare with the version of
    /// a file that was opened beneath the root.
    pub(super) fn peek(&self, path: &CStr) -> Option<Version> {
        sys::stat_at(self.directory.as_fd(), path, 0).ok().map(|stat| Version::of(&stat))
    }

    fn resolve(&self, path: &CStr, flags: c_int) -> Result<OwnedFd, Miss> {
        if !self.by_kernel {
            return walk(self.directory.as_fd(), path, flags).map_err(|error| miss(&error));
        }
        for _ in 0..RACES_MAX {
            match sys::open_beneath(self.directory.as_fd(), path, flags) {
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                result => return result.map_err(|error| miss(&error)),
            }
        }
        Err(Miss::Busy)
    }
}

/// Opens `path` part by part. No part is a symbolic link, `.` or `..`, so there is no way out.
fn walk(root: BorrowedFd<'_>, path: &CStr, flags: c_int) -> io::Result<OwnedFd> {
    let mut parts =
        path.to_bytes().split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let directory_asked = path.to_bytes().ends_with(b"/");
    let Some(mut part) = parts.next() else {
        return sys::open_at(root, c".", flags);
    };
    let mut directory: Option<OwnedFd> = None;
    loop {
        let name = CString::new(part)?;
        let next = parts.next();
        let below = directory.as_ref().map_or(root, |fd| fd.as_fd());
        let flags = match next {
            Some(_) => libc::O_PATH | libc::O_DIRECTORY,
            None if directory_asked => flags | libc::O_DIRECTORY,
            None => flags,
        };
        let fd = sys::open_at(below, &name, flags | libc::O_NOFOLLOW)?;
        match next {
            Some(next) => (directory, part) = (Some(fd), next),
            None => return Ok(fd),
        }
    }
}

/// What a failed open means to a peer
fn miss(error: &io::Error) -> Miss {
    match error.raw_os_error().unwrap_or(0) {
        // EXDEV: the name leaves the root; ELOOP: a loop of links, or a link where none is followed.
        libc::ENOENT | libc::ENOTDIR | libc::ENAMETOOLONG | libc::EXDEV | libc::ELOOP | libc::EINVAL => {
            Miss::NotFound
        }
        // ENXIO, ENODEV: a socket, or a device without a driver.
        libc::EACCES | libc::EPERM | libc::ENXIO | libc::ENODEV => Miss::Forbidden,
        libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EINTR => Miss::Busy,
        _ => Miss::Unreadable,
    }
}
