//! A directory tree as images: opening, sharing, reading, and never two versions in one transfer.
//!
//! A file is opened once a version and shared by all who read that version. Each later open asks the file system, by
//! one call, whether the name still means it; a replaced file becomes another image while those who began with the old
//! one go on with it. A file that is written in place is caught at the next read ([`Tree::read_at`]) or check
//! ([`Tree::verify`]), and its transfers end there.

use std::ffi::CStr;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::listing::{self, Line};
use super::root::{Root, Seen, Version};
use super::table::{Source, Table};
use super::{media, netascii, path, sys};
use crate::boot::image::{Form, Image, ImageId, Images, Miss};
use crate::limits::{LISTING_ENTRIES_MAX, NETASCII_MAX};

/// The files below one directory
#[derive(Debug)]
pub struct Tree {
    root: Root,
    table: Table,
    /// The name in hand: a byte for the form, the plain path, a NUL
    key: Vec<u8>,
}

impl Tree {
    /// Opens the directory
    ///
    /// # Errors
    /// Where it cannot be opened for reading; the error names it.
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { root: Root::open(root)?, table: Table::default(), key: Vec::new() })
    }

    /// As [`Tree::open`], for a kernel without `openat2`
    #[cfg(test)]
    pub(super) fn open_without_openat2(root: &Path) -> io::Result<Self> {
        let tree = Self::open(root)?;
        Ok(Self { root: tree.root.without_openat2(), ..tree })
    }

    /// Fills `buffer` with the bytes from `offset` on and returns how many there were: fewer only at the end of the image.
    ///
    /// The file is looked at after the read (one `fstat`): what this returns is of the version that was opened.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where the file is not what was opened any more; else the system's own.
    pub fn read_at(&mut self, id: ImageId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let entry = self.table.entry_mut(id).ok_or(io::ErrorKind::NotFound)?;
        let left = usize::try_from(entry.image.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let buffer = &mut buffer[..wanted];
        match &mut entry.source {
            Source::File(file, seen) => {
                file.read_exact_at(buffer, offset)?;
                if !still_holds(file, seen) {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
            }
            Source::Converted(bytes, _) | Source::Generated(bytes) => {
                // `wanted` bytes lie between `offset` and the end, so `offset` fits where there are any.
                let start = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
                buffer.copy_from_slice(&bytes[start..start + wanted]);
            }
        }
        Ok(wanted)
    }

    /// The file behind an image and where the image begins in it, for `sendfile` and for `pread` elsewhere: the caller checks
    /// [`Tree::verify`] after each piece. `None`: the bytes are in memory ([`Tree::bytes`]).
    pub fn file(&self, id: ImageId) -> Option<(BorrowedFd<'_>, u64)> {
        match &self.table.entry(id)?.source {
            Source::File(file, _) => Some((file.as_fd(), 0)),
            Source::Converted(..) | Source::Generated(_) => None,
        }
    }

    /// The bytes of an image that is in memory
    pub fn bytes(&self, id: ImageId) -> Option<&[u8]> {
        self.table.entry(id)?.source.bytes()
    }

    /// Whether the file still is what was opened. False ends the transfer: a client with part of one version must never get
    /// the rest of another.
    ///
    /// `sendfile` hands the kernel pages, not bytes: a write in place that comes before they leave is on the wire, and
    /// this check after the call is what ends the response short of its length.
    pub fn verify(&mut self, id: ImageId) -> bool {
        match self.table.entry_mut(id).map(|entry| &mut entry.source) {
            Some(Source::File(file, seen)) => still_holds(file, seen),
            Some(Source::Converted(..) | Source::Generated(_)) => true,
            None => false,
        }
    }

    /// Closes the files that nobody reads: a file system that is to be unmounted is not held
    pub fn close_idle(&mut self) {
        self.table.close_idle();
    }

    /// How many images are open, or kept open for the next client
    pub fn open_images(&self) -> usize {
        self.table.len()
    }

    /// Sets the name in hand
    fn set_key(&mut self, form: u8, path: &[u8]) -> Result<(), Miss> {
        self.key.clear();
        self.key.push(form);
        path::append_plain(path, &mut self.key).ok_or(Miss::NotFound)?;
        self.key.push(0);
        Ok(())
    }

    /// The path in hand, as the kernel wants it
    fn key_path(key: &[u8]) -> &CStr {
        match CStr::from_bytes_with_nul(&key[1..]) {
            Ok(path) if !path.is_empty() => path,
            _ => c".",
        }
    }

    /// The image that is open under the name in hand, where the name still means it
    fn reopen(&mut self) -> Option<Image> {
        let (id, entry) = self.table.find(&self.key)?;
        let version = entry.source.seen()?.version;
        if self.root.peek(Self::key_path(&self.key)) == Some(version) {
            return self.table.reopen(id);
        }
        self.table.disown(id);
        None
    }

    /// Opens the file in hand; where the process has no descriptor left, those of idle files make room
    fn open_file(&mut self) -> Result<(File, Seen), Miss> {
        let path = Self::key_path(&self.key);
        self.root.open_file(path).or_else(|miss| match miss {
            Miss::Busy => {
                self.table.close_idle();
                self.root.open_file(path)
            }
            miss => Err(miss),
        })
    }

    fn open_octet(&mut self) -> Result<Image, Miss> {
        let (file, seen) = self.open_file()?;
        let image = image_of(&self.key, &seen.version, seen.version.size);
        self.table.insert(Some(&self.key), image, Source::File(file, seen))
    }

    /// Converts the whole file now: the length must be known before the first block (RFC 2349), and offsets do not map
    fn open_netascii(&mut self) -> Result<Image, Miss> {
        let (file, mut seen) = self.open_file()?;
        let size = usize::try_from(seen.version.size).ok().filter(|&size| size <= NETASCII_MAX);
        let mut bytes = vec![0; size.ok_or(Miss::Busy)?];
        file.read_exact_at(&mut bytes, 0).map_err(|_| Miss::Unreadable)?;
        if !still_holds(&file, &mut seen) {
            return Err(Miss::Busy);
        }
        let bytes = netascii::converted(&bytes, NETASCII_MAX).ok_or(Miss::Busy)?;
        let image = image_of(&self.key, &seen.version, bytes.len() as u64);
        self.table.insert(Some(&self.key), image, Source::Converted(bytes.into(), seen))
    }
}

impl Images for Tree {
    fn open(&mut self, path: &[u8], form: Form) -> Result<Image, Miss> {
        let mark = match form {
            Form::Octet => b'o',
            Form::Netascii => b'n',
        };
        self.set_key(mark, path)?;
        match (self.reopen(), form) {
            (Some(image), _) => Ok(image),
            (None, Form::Octet) => self.open_octet(),
            (None, Form::Netascii) => self.open_netascii(),
        }
    }

    fn listing(&mut self, path: &[u8]) -> Result<Image, Miss> {
        self.set_key(b'l', path)?;
        let plain = &self.key[1..self.key.len() - 1];
        let names = self.root.open_directory(Self::key_path(&self.key))?;
        let mut listed = Listed::read(&self.root, plain, names);
        let page = listing::page(path, plain, &mut listed.lines, listed.whole);
        let image = Image {
            id: ImageId(0),
            size: page.len() as u64,
            modified_s: listed.modified_s,
            version: hash(&page),
            media_type: media::LISTING,
        };
        self.table.insert(None, image, Source::Generated(page.into_bytes().into()))
    }

    fn close(&mut self, id: ImageId) {
        self.table.close(id);
    }
}

fn still_holds(file: &File, seen: &mut Seen) -> bool {
    sys::stat(file.as_fd()).is_ok_and(|stat| seen.still_holds(&stat))
}

fn image_of(key: &[u8], version: &Version, size: u64) -> Image {
    let media_type = media::type_of(&key[1..key.len() - 1]);
    Image { id: ImageId(0), size, modified_s: version.modified_s(), version: hash(version), media_type }
}

/// The same for the same value in every shard
fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What a listing shows of a directory
struct Listed {
    lines: Vec<Line>,
    whole: bool,
    /// The latest change among the directory and what it shows
    modified_s: u64,
}

impl Listed {
    /// Hidden files, what is neither file nor directory, and links that lead nowhere or out of the root are left out.
    fn read(root: &Root, plain: &[u8], mut names: sys::Names) -> Self {
        let modified_s = sys::stat(names.directory()).map_or(0, |stat| Version::of(&stat).modified_s());
        let mut listed = Self { lines: Vec::new(), whole: true, modified_s };
        while let Some(name) = names.next_name() {
            if name.to_bytes().starts_with(b".") {
                continue;
            }
            if listed.lines.len() == LISTING_ENTRIES_MAX {
                listed.whole = false;
                break;
            }
            let Ok(mut stat) = sys::stat_at(names.directory(), &name, libc::AT_SYMLINK_NOFOLLOW) else {
                continue;
            };
            if kind(&stat) == libc::S_IFLNK {
                match resolved(root, plain, &name) {
                    Some(target) => stat = target,
                    None => continue,
                }
            }
            let directory = kind(&stat) == libc::S_IFDIR;
            if directory || kind(&stat) == libc::S_IFREG {
                let version = Version::of(&stat);
                let size = if directory { 0 } else { version.size };
                let modified_s = version.modified_s();
                listed.modified_s = listed.modified_s.max(modified_s);
                listed.lines.push(Line { name: name.into_bytes(), directory, size, modified_s });
            }
        }
        listed
    }
}

fn kind(stat: &libc::stat) -> libc::mode_t {
    stat.st_mode & libc::S_IFMT
}

/// What a link leads to, beneath the root
fn resolved(root: &Root, plain: &[u8], name: &CStr) -> Option<libc::stat> {
    let path = [plain, b"/", name.to_bytes_with_nul()].concat();
    let path = path.strip_prefix(b"/").unwrap_or(&path);
    root.stat(CStr::from_bytes_with_nul(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::{env, fs, process};

    use super::*;

    #[test]
    fn without_the_kernels_confinement_no_link_is_followed() {
        let scratch = env::temp_dir().join(format!("reveille-walk-{}", process::id()));
        fs::create_dir_all(scratch.join("a/b")).unwrap();
        fs::write(scratch.join("a/b/file"), "bytes").unwrap();
        symlink("a", scratch.join("link")).unwrap();
        symlink("b/file", scratch.join("a/leaf")).unwrap();
        let mut tree = Tree::open_without_openat2(&scratch).unwrap();
        let image = tree.open(b"/a//b/../b/file", Form::Octet).unwrap();
        assert_eq!(tree.read_at(image.id, 0, &mut [0; 9]).unwrap(), 5);
        assert_eq!(tree.open(b"a", Form::Octet), Err(Miss::Directory));
        for path in ["link/b/file", "a/leaf", "../file", "a/b/file/", "a/b/file/x", "none"] {
            assert_eq!(tree.open(path.as_bytes(), Form::Octet), Err(Miss::NotFound), "{path}");
        }
        let listing = tree.listing(b"a").unwrap();
        let page = String::from_utf8_lossy(tree.bytes(listing.id).unwrap());
        assert!(page.contains(">b/</a>") && !page.contains("leaf"), "{page}");
        fs::remove_dir_all(&scratch).unwrap();
    }
}
