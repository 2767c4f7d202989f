//! A directory tree as images: opening, sharing, reading, and never two versions in one transfer.
//!
//! A file is opened once a version and shared by all who read that version. A later open asks the file system, by one call,
//! whether the name still means it, unless that was asked a moment ago ([`FRESH_TIME`]): a rack asks for one file thousands
//! of times a second, and gets what it would have got a moment earlier. A replaced file becomes another image while those who began with the old
//! one go on with it. A file that is written in place is caught at the next read ([`Tree::read_at`]) or check
//! ([`Tree::verify`]), and its transfers end there; what of it is in memory by then ([`Tree::load`]) is still the version that
//! was opened, and is served to its end. Files of an ISO image are pieces of that one file, and the same holds.

use std::ffi::CStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use super::library::{Library, Mounted};
use super::places::{Found, Places};
use super::root::Root;
use super::snapshot::{Absent, Snapshots};
use super::stored::{Part, Placed, Stored};
use super::table::{Source, Table};
use super::{listing, media, netascii, path};
use crate::boot::image::{Form, Image, ImageId, Images, Miss};
use crate::boot::plan::Plan;
use crate::boot::register::Ticket;
use crate::boot::script::Asker;
use crate::limits::{FRESH_TIME, NETASCII_MAX, READ_AHEAD_BYTES};
use crate::time::Instant;

/// The files below one directory, and those of the images
#[derive(Debug)]
pub struct Tree {
    places: Places,
    table: Table,
    snapshots: Arc<Snapshots>,
    /// The time, where it is told
    now: Option<Instant>,
    /// The name in hand: a byte for the form, the plain path, a NUL
    key: Vec<u8>,
}

impl Tree {
    /// Opens the directory
    ///
    /// # Errors
    /// Where it cannot be opened for reading; the error names it.
    pub fn open(root: &Path) -> io::Result<Self> {
        Self::with_images(Some(root), &Library::default())
    }

    /// Opens the directory, if any, and mounts the images of a library below `/images`
    ///
    /// # Errors
    /// As [`Tree::open`]
    pub fn with_images(root: Option<&Path>, library: &Library) -> io::Result<Self> {
        Ok(Self {
            places: Places::new(root.map(Root::open).transpose()?, library.mounted()?),
            table: Table::default(),
            snapshots: Arc::new(Snapshots::new()),
            now: None,
            key: Vec::new(),
        })
    }

    /// Serves these images in place of those until now. Who reads a file of one of those goes on with it, and each later open is
    /// of these: a name never means both.
    pub fn remount(&mut self, mounted: Mounted) {
        self.places.remount(mounted);
        self.table.close_idle();
    }

    /// Where the bytes at `path` come from that this client would get
    pub fn place(&mut self, asker: Asker<'_>, path: &[u8]) -> Option<Placed> {
        self.set_key(b'o', path).ok()?;
        let found = self.find(asker);
        let template = self.places.template(plain(&self.key));
        let text = match found {
            Ok(Found::Stored(stored)) => return stored.placed(),
            Ok(Found::Generated(text)) => Ok(String::from_utf8_lossy(&text).into_owned()),
            Err(_) => Err(self.places.poll_sentence()?),
        };
        match (template, text) {
            (Some(file), text) => Some(Placed::Template(file, text)),
            (None, text) => text.ok().map(Placed::Generated),
        }
    }

    /// Takes what the operator is to be told: why a template gave no text, who is done
    pub fn poll_sentence(&mut self) -> Option<String> {
        self.places.poll_sentence()
    }

    /// Keeps hot files where other trees find them
    #[must_use]
    pub fn sharing(self, snapshots: Arc<Snapshots>) -> Self {
        Self { snapshots, ..self }
    }

    /// Tells the time: a name that was looked at within [`FRESH_TIME`] is not looked at again. Without it, each open looks.
    pub fn set_now(&mut self, now: Instant) {
        self.now = Some(now);
    }

    /// As [`Tree::open`], for a kernel without `openat2`
    #[cfg(test)]
    pub(super) fn open_without_openat2(root: &Path) -> io::Result<Self> {
        let tree = Self::open(root)?;
        Ok(Self { places: tree.places.without_openat2(), ..tree })
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
            Source::Stored(stored) => stored.read_exact_at(buffer, offset)?,
            Source::Converted(bytes, _) | Source::Generated(bytes) => {
                // `wanted` bytes lie between `offset` and the end, so `offset` fits where there are any.
                let start = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
                buffer.copy_from_slice(&bytes[start..start + wanted]);
            }
        }
        Ok(wanted)
    }

    /// The file that holds an image from `offset` on, for `sendfile` and for `pread` elsewhere: the caller checks
    /// [`Tree::verify`] after each piece. `None`: the bytes are in memory ([`Tree::bytes`]).
    pub fn file(&self, id: ImageId, offset: u64) -> Option<Part<'_>> {
        Some(self.stored(id)?.part(offset))
    }

    /// The bytes of an image that is in memory
    pub fn bytes(&self, id: ImageId) -> Option<&[u8]> {
        self.table.entry(id)?.source.bytes()
    }

    /// Makes sure that these bytes are in memory; false where they cannot be, and are to be read from the file. What this
    /// loads is of the version that was opened, and stays while the image is open.
    pub fn load(&mut self, now: Instant, id: ImageId, offset: u64, len: usize) -> bool {
        let Ok(offset) = usize::try_from(offset) else { return false };
        for _ in 0..2 {
            let Some(entry) = self.table.entry_mut(id) else { return false };
            let Source::Stored(stored) = &mut entry.source else { return true };
            if entry.snapshot.is_none() {
                entry.snapshot = self.snapshots.of(now, stored);
            }
            let Some(snapshot) = &entry.snapshot else { return false };
            match snapshot.load(stored, offset, len) {
                Ok(()) => return true,
                Err(Absent::Unreadable) => return false,
                // What nobody reads makes room, once.
                Err(Absent::NoRoom) => self.table.forget_idle_snapshots(),
            }
        }
        false
    }

    /// Lets the kernel read on from the disk, for who reads these bytes from the file: once every [`READ_AHEAD_BYTES`], and twice
    /// as much, so that it stays ahead
    pub fn read_ahead(&self, id: ImageId, offset: u64, len: u64) {
        let is_due = offset == 0 || offset / READ_AHEAD_BYTES != (offset + len) / READ_AHEAD_BYTES;
        if let Some(stored) = self.stored(id).filter(|_| is_due) {
            stored.read_ahead(offset, 2 * READ_AHEAD_BYTES);
        }
    }

    /// Bytes that [`Tree::load`] brought into memory, where they lie in one piece
    pub fn resident(&self, id: ImageId, offset: u64, len: usize) -> Option<&[u8]> {
        self.resident_from(id, offset)?.get(..len)
    }

    /// What [`Tree::load`] brought into memory from `offset` on, as far as it lies in one piece
    pub fn resident_from(&self, id: ImageId, offset: u64) -> Option<&[u8]> {
        let entry = self.table.entry(id)?;
        let offset = usize::try_from(offset).ok()?;
        match &entry.snapshot {
            Some(snapshot) => snapshot.bytes_from(offset),
            None => entry.source.bytes()?.get(offset..),
        }
    }

    /// Whether the file still is what was opened. False ends the transfer: a client with part of one version must never get
    /// the rest of another.
    ///
    /// `sendfile` hands the kernel pages, not bytes: a write in place that comes before they leave is on the wire, and
    /// this check after the call is what ends the response short of its length.
    pub fn verify(&mut self, id: ImageId) -> bool {
        match self.table.entry_mut(id).map(|entry| &mut entry.source) {
            Some(Source::Stored(stored)) => stored.holds(),
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

    /// The bytes of an image that lie in a file
    fn stored(&self, id: ImageId) -> Option<&Stored> {
        match &self.table.entry(id)?.source {
            Source::Stored(stored) => Some(stored),
            Source::Converted(..) | Source::Generated(_) => None,
        }
    }

    /// What lies at the path in hand; where the process has no descriptor left, those of idle files make room
    fn find(&mut self, asker: Asker<'_>) -> Result<Found, Miss> {
        self.places.open(plain(&self.key), asker, &mut || self.table.close_idle())
    }

    /// The image that is open under the name in hand, where the name still means it
    fn reopen(&mut self) -> Option<Image> {
        let (id, entry) = self.table.find(&self.key)?;
        let version = entry.source.version()?;
        if self.now.zip(entry.looked_at).is_some_and(|(now, looked_at)| now < looked_at + FRESH_TIME) {
            return self.table.reopen(id);
        }
        if self.places.version(plain(&self.key)) == Some(version) {
            self.table.entry_mut(id)?.looked_at = self.now;
            return self.table.reopen(id);
        }
        self.table.disown(id);
        None
    }

    /// Opens the image that the name in hand means
    fn open_named(&mut self, asker: Asker<'_>, path: &[u8], form: Form) -> Result<Image, Miss> {
        let mark = match form {
            Form::Octet => b'o',
            Form::Netascii => b'n',
        };
        self.set_key(mark, path)?;
        if let Some(image) = self.reopen() {
            return Ok(image);
        }
        let found = self.find(asker)?;
        let (modified_s, version) = match &found {
            Found::Stored(stored) => (stored.modified_s, hash(&stored.content())),
            Found::Generated(text) => (0, hash(text)),
        };
        let source = match (found, form) {
            (Found::Stored(stored), Form::Octet) => Source::Stored(stored),
            (Found::Generated(text), Form::Octet) => Source::Generated(text),
            (found, Form::Netascii) => converted(found)?,
        };
        let size = match &source {
            Source::Stored(stored) => stored.len(),
            Source::Converted(bytes, _) | Source::Generated(bytes) => bytes.len() as u64,
        };
        let name = plain(&self.key).to_bytes();
        let media_type = match source {
            Source::Generated(_) => media::type_of_text(name),
            _ => media::type_of(name),
        };
        let image = Image { id: ImageId(0), size, modified_s, version, media_type };
        let image = self.table.insert(Some(&self.key), image, source)?;
        // While the client hears of its size, or asks on.
        self.read_ahead(image.id, 0, 0);
        Ok(image)
    }
}

impl Images for Tree {
    fn open(&mut self, path: &[u8], form: Form) -> Result<Image, Miss> {
        self.open_named(Asker::default(), path, form)
    }

    fn open_for(&mut self, peer: Ipv4Addr, path: &[u8], form: Form) -> Result<Image, Miss> {
        self.open_named(Asker { address: Some(peer), caller: None }, path, form)
    }

    fn report(&mut self, peer: Ipv4Addr, path: &[u8]) -> Option<Result<(Image, Option<Ticket>), Miss>> {
        self.set_key(b'r', path).ok()?;
        let now = self.now.unwrap_or(Instant::ZERO);
        let told = self.places.report(peer, plain(&self.key), now)?;
        Some(told.and_then(|(text, ticket)| {
            let image = Image {
                id: ImageId(0),
                size: text.len() as u64,
                modified_s: now.as_secs(),
                version: hash(&text),
                media_type: "text/plain",
            };
            let image = self.table.insert(None, image, Source::Generated(text.into_bytes().into()))?;
            Ok((image, ticket))
        }))
    }

    fn on_plan(&mut self, plan: &Arc<Plan>) {
        self.places.on_plan(plan);
    }

    fn listing(&mut self, path: &[u8]) -> Result<Image, Miss> {
        self.set_key(b'l', path)?;
        let plain = plain(&self.key);
        let mut listed = self.places.listed(plain)?;
        let page = listing::page(path, plain.to_bytes(), &mut listed.lines, !listed.is_cut);
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

/// The plain path in a key
fn plain(key: &[u8]) -> &CStr {
    // A plain path holds no NUL, and one is behind it.
    CStr::from_bytes_with_nul(&key[1..]).unwrap_or_default()
}

/// The whole file as netascii has it, now: the length must be known before the first block (RFC 2349), and offsets do not map
fn converted(found: Found) -> Result<Source, Miss> {
    let convert = |bytes: &[u8]| netascii::converted(bytes, NETASCII_MAX).ok_or(Miss::Busy);
    let mut stored = match found {
        Found::Generated(text) => return Ok(Source::Generated(convert(&text)?.into())),
        Found::Stored(stored) => stored,
    };
    let size = usize::try_from(stored.len()).ok().filter(|&size| size <= NETASCII_MAX);
    let mut bytes = vec![0; size.ok_or(Miss::Busy)?];
    stored.read_exact_at(&mut bytes, 0).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Miss::Busy,
        _ => Miss::Unreadable,
    })?;
    Ok(Source::Converted(convert(&bytes)?.into(), stored.version()))
}

/// The same for the same value in every shard
fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
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
