//! A directory tree as images: opening, sharing, reading, and never two versions in one transfer.
//!
//! A file is opened once a version and shared by all who read that version. A later open asks the file system, by one call,
//! whether the name still means it, unless that was asked a moment ago ([`FRESH_TIME`]): a rack asks for one file thousands
//! of times a second, and gets what it would have got a moment earlier. A replaced file becomes another image while those who began with the old
//! one go on with it. A file that is written in place is caught at the next read ([`Tree::read_at`]) or check
//! ([`Tree::verify`]), and its transfers end there; what of it is in memory by then ([`Tree::load`]) is still the version that
//! was opened, and is served to its end. Files of an ISO image are pieces of that one file, and the same holds.

mod made;

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disc::Disc;
use super::iso::{Extent, What};
use super::library::{FOLDER, Library, Mount, Mounted, Place, Within, within};
use super::listed::Listed;
use super::listing;
use super::loaders::{self, Loaders};
use super::root::{Root, Seen, Version};
use super::snapshot::{Absent, Snapshots};
use super::table::{Source, Table};
use super::{media, netascii, path, sys};
use crate::boot::image::{Form, Image, ImageId, Images, Miss};
use crate::boot::plan::Plan;
use crate::boot::register::Ticket;
use crate::boot::script::Catalogue;
use crate::limits::{FRESH_TIME, NETASCII_MAX, READ_AHEAD_BYTES};
use crate::time::Instant;

/// The files below one directory, and those of the images
#[derive(Debug)]
pub struct Tree {
    /// `None`: only images are served
    root: Option<Root>,
    mounts: Vec<Mount>,
    /// What is generated for loaders; a file of the root goes before
    catalogue: Option<Catalogue>,
    /// Loaders of images and packages; those in the root go before
    loaders: Loaders,
    /// Who opens, as far as it is known: a generated text may be for it alone
    peer: Option<Ipv4Addr>,
    table: Table,
    snapshots: Arc<Snapshots>,
    /// The time, where it is told
    now: Option<Instant>,
    /// What the operator is to be told
    sentences: VecDeque<String>,
    /// The name in hand: a byte for the form, the plain path, a NUL
    key: Vec<u8>,
}

/// Where the bytes at a path come from, for people
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// A file, in the root, in an image's directory or among the system's loaders
    File(PathBuf),
    /// A piece of an ISO image: the file, the offset of its first byte there, and how many there are
    Iso(PathBuf, u64, u64),
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
        let root = root.map(Root::open).transpose()?;
        let Mounted { mounts, catalogue, loaders } = library.mounted()?;
        Ok(Self {
            root,
            mounts,
            catalogue,
            loaders,
            peer: None,
            table: Table::default(),
            snapshots: Arc::new(Snapshots::new()),
            now: None,
            sentences: VecDeque::new(),
            key: Vec::new(),
        })
    }

    /// Serves these images in place of those until now. Who reads a file of one of those goes on with it, and each later open is
    /// of these: a name never means both.
    pub fn remount(&mut self, mounted: Mounted) {
        Mounted { mounts: self.mounts, catalogue: self.catalogue, loaders: self.loaders } = mounted;
        self.table.close_idle();
    }

    /// Where the bytes at `path` come from that a client at `peer` would get
    pub fn place(&mut self, peer: Option<Ipv4Addr>, path: &[u8]) -> Option<Placed> {
        self.set_key(b'o', path).ok()?;
        self.peer = peer;
        let opened = self.open_source();
        self.peer = None;
        let template = self.catalogue.as_ref().and_then(|catalogue| {
            let templates = catalogue.plan().templates();
            Some(templates.file(&templates.find(std::str::from_utf8(self.plain()).ok()?)?))
        });
        if opened.is_err()
            && let (Some(file), Some(sentence)) = (&template, self.sentences.pop_back())
        {
            return Some(Placed::Template(file.clone(), Err(sentence)));
        }
        let named = |file: &File| fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok();
        Some(match opened.ok()? {
            (Source::File(file, _), ..) => Placed::File(named(&file)?),
            (Source::Disc(disc, _, extents), len, _) => {
                Placed::Iso(named(&disc.file)?, extents.first().map_or(0, |extent| extent.offset), len)
            }
            (Source::Generated(text) | Source::Converted(text, _), ..) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                match template {
                    Some(file) => Placed::Template(file, Ok(text)),
                    None => Placed::Generated(text),
                }
            }
        })
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
        Ok(Self { root: tree.root.map(Root::without_openat2), ..tree })
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
        let holds = match &mut entry.source {
            Source::File(file, seen) => {
                file.read_exact_at(buffer, offset)?;
                seen.is_held_by(file)
            }
            Source::Disc(disc, seen, extents) => {
                read_pieces(&disc.file, extents, offset, buffer)?;
                seen.is_held_by(&disc.file)
            }
            Source::Converted(bytes, _) | Source::Generated(bytes) => {
                // `wanted` bytes lie between `offset` and the end, so `offset` fits where there are any.
                let start = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
                buffer.copy_from_slice(&bytes[start..start + wanted]);
                true
            }
        };
        if holds { Ok(wanted) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The file that holds an image from `offset` on, for `sendfile` and for `pread` elsewhere: the caller checks
    /// [`Tree::verify`] after each piece. `None`: the bytes are in memory ([`Tree::bytes`]).
    pub fn file(&self, id: ImageId, offset: u64) -> Option<Part<'_>> {
        let entry = self.table.entry(id)?;
        match &entry.source {
            Source::File(file, _) => {
                Some(Part { file: file.as_fd(), offset, len: entry.image.size.saturating_sub(offset) })
            }
            Source::Disc(disc, _, extents) => {
                let (first, within) = piece_at(extents, offset);
                let piece = extents.get(first).copied().unwrap_or(Extent { offset: 0, len: 0 });
                let (offset, len) = (piece.offset + within, piece.len.saturating_sub(within));
                Some(Part { file: disc.file.as_fd(), offset, len })
            }
            Source::Converted(..) | Source::Generated(_) => None,
        }
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
            let (file, seen) = match &entry.source {
                Source::File(file, seen) => (file, seen),
                // Its pieces lie in one file with others, whose pages the kernel keeps.
                Source::Disc(..) => return false,
                Source::Converted(..) | Source::Generated(_) => return true,
            };
            if entry.snapshot.is_none() {
                entry.snapshot = self.snapshots.of(now, &seen.version);
            }
            let Some(snapshot) = &entry.snapshot else { return false };
            match snapshot.load(file, seen, offset, len) {
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
        if let Some(part) = self.file(id, offset).filter(|_| is_due) {
            sys::read_ahead(part.file, part.offset, part.len.min(2 * READ_AHEAD_BYTES));
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
            Some(Source::File(file, seen)) => seen.is_held_by(file),
            Some(Source::Disc(disc, seen, _)) => seen.is_held_by(&disc.file),
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

    /// The path in hand
    fn plain(&self) -> &[u8] {
        &self.key[1..self.key.len() - 1]
    }

    /// What the path in hand leads into
    fn within(&self) -> Within {
        within(&self.mounts, self.plain())
    }

    /// The directory that the path in hand lies below, and the path there as the kernel wants it; `None`: it is in an ISO
    /// image, or there is no root
    fn on_disk(&self) -> Option<(&Root, &CStr)> {
        let (root, from) = match self.within() {
            Within::Root | Within::Folder => (self.root.as_ref()?, 0),
            Within::Mount { number, rest } => match &self.mounts[number].place {
                Place::Directory(root) => (root, rest),
                Place::Iso { .. } => return None,
            },
            Within::Whole { .. } => return None,
        };
        match CStr::from_bytes_with_nul(&self.key[1 + from..]) {
            Ok(path) if !path.is_empty() => Some((root, path)),
            _ => Some((root, c".")),
        }
    }

    /// The ISO image that the path in hand lies in, as it is now, and where the path goes on there
    fn on_disc(&mut self) -> Result<Option<(Arc<Disc>, usize)>, Miss> {
        let (number, rest) = match self.within() {
            Within::Mount { number, rest } => (number, rest),
            Within::Whole { number } => (number, 0),
            Within::Root | Within::Folder => return Ok(None),
        };
        match &mut self.mounts[number].place {
            Place::Iso { drive, known } => drive.disc(known).map(|disc| Some((disc, 1 + rest))),
            Place::Directory(_) => Ok(None),
        }
    }

    /// The image that is open under the name in hand, where the name still means it
    fn reopen(&mut self) -> Option<Image> {
        let (id, entry) = self.table.find(&self.key)?;
        let version = entry.source.seen()?.version;
        if self.now.zip(entry.looked_at).is_some_and(|(now, looked_at)| now < looked_at + FRESH_TIME) {
            return self.table.reopen(id);
        }
        let now = match (self.on_disk(), self.within()) {
            (Some((root, path)), _) => root.peek(path).or_else(|| self.peek_loader()),
            (None, Within::Mount { number, .. } | Within::Whole { number }) => self.mounts[number].version(),
            (None, _) => self.peek_loader(),
        };
        if now == Some(version) {
            self.table.entry_mut(id)?.looked_at = self.now;
            return self.table.reopen(id);
        }
        self.table.disown(id);
        None
    }

    /// Opens what is in hand: the bytes as they lie, how many there are, and the date
    fn open_source(&mut self) -> Result<(Source, u64, u64), Miss> {
        if let Some((disc, from)) = self.on_disc()? {
            if let Within::Whole { .. } = self.within() {
                let version = disc.seen.version;
                let whole = Extent { offset: 0, len: version.size };
                let source = Source::Disc(Arc::clone(&disc), disc.seen, Box::new([whole]));
                return Ok((source, version.size, version.modified_s()));
            }
            return open_on(&disc, &self.key[from..self.key.len() - 1]);
        }
        let (file, seen) = match self.open_file() {
            Err(Miss::NotFound) => return self.open_loader().unwrap_or_else(|| self.open_script()),
            opened => opened?,
        };
        Ok(on_file((file, seen)))
    }

    /// The generated text in hand. It is written for this opening, and gone after it: as many bytes as
    /// [`crate::limits::GENERATED_BYTES_MAX`] allows at a time.
    fn open_script(&mut self) -> Result<(Source, u64, u64), Miss> {
        let catalogue = self.catalogue.as_ref().ok_or(Miss::NotFound)?;
        let text = catalogue.text(self.plain(), self.peer, &|path: &str| self.lies_beside(path));
        let text = match text {
            Some(text) => text,
            None => self.made_from_template().ok_or(Miss::NotFound)??,
        };
        let len = text.len() as u64;
        Ok((Source::Generated(text.into_bytes().into()), len, 0))
    }

    /// Whether a loader at the path would be served
    fn lies_beside(&self, path: &str) -> bool {
        let Ok(name) = CString::new(path) else { return false };
        let is_top = !path.contains('/');
        self.root.as_ref().is_some_and(|root| root.peek(&name).is_some())
            || (is_top && self.system_loader(&name).is_some())
    }

    /// What the path in hand is called where loaders lie: a name at the top of the root, or below an image's own folder
    fn loader_name(&self) -> Option<CString> {
        let plain = self.plain();
        let name = match &self.catalogue {
            _ if plain.is_empty() => None,
            _ if !plain.contains(&b'/') => Some(plain),
            Some(catalogue) => catalogue.loader_at(plain).map(str::as_bytes),
            None => None,
        };
        CString::new(name?).ok()
    }

    /// The loader of that name that stands in for one of the root. pxelinux and its modules are of one version, or do not start:
    /// the system's do not stand in for those that the operator's pxelinux lacks.
    fn system_loader<'t>(&'t self, name: &'t CStr) -> Option<loaders::Place<'t>> {
        let own = |name: &CStr| self.root.as_ref().is_some_and(|root| root.peek(name).is_some());
        let is_module = name.to_bytes().ends_with(b".c32");
        let is_usable = !is_module || !(own(c"lpxelinux.0") || own(c"pxelinux.0"));
        self.loaders.get(name).filter(|_| is_usable)
    }

    /// Opens the loader that the path in hand names, where nothing lies there
    fn open_loader(&mut self) -> Option<Result<(Source, u64, u64), Miss>> {
        let name = self.loader_name()?;
        // An image's own folder has the loaders of the root too.
        if let Some(root) = self.root.as_ref().filter(|_| self.plain().contains(&b'/')) {
            match root.open_file(&name) {
                Err(Miss::NotFound) => {}
                opened => return Some(opened.map(on_file)),
            }
        }
        let (number, path) = match self.system_loader(&name)? {
            loaders::Place::Package { root, file, .. } => return Some(root.open_file(file).map(on_file)),
            loaders::Place::Image { number, path, .. } => (number, path.to_owned()),
        };
        Some(match &mut self.mounts.get_mut(number)?.place {
            Place::Iso { drive, known } => drive.disc(known).and_then(|disc| open_on(&disc, path.to_bytes())),
            Place::Directory(root) => root.open_file(&path).map(on_file),
        })
    }

    fn peek_loader(&self) -> Option<Version> {
        let name = self.loader_name()?;
        let own = self.root.as_ref().filter(|_| self.plain().contains(&b'/'));
        own.and_then(|root| root.peek(&name)).or_else(|| match self.system_loader(&name)? {
            loaders::Place::Package { root, file, .. } => root.peek(file),
            loaders::Place::Image { number, path, .. } => match &self.mounts.get(number)?.place {
                Place::Iso { drive, .. } => drive.peek(),
                Place::Directory(root) => root.peek(path),
            },
        })
    }

    /// Opens the file in hand; where the process has no descriptor left, those of idle files make room
    fn open_file(&mut self) -> Result<(File, Seen), Miss> {
        let open = |tree: &Self| match tree.on_disk() {
            Some((root, path)) => root.open_file(path),
            None => Err(Miss::NotFound),
        };
        match open(self) {
            Err(Miss::Busy) => {
                self.table.close_idle();
                open(self)
            }
            // The folder of the images is one, whether the root has it or not.
            Err(Miss::NotFound) if self.is_folder() => Err(Miss::Directory),
            result => result,
        }
    }

    /// Whether the path in hand is a directory that the images make
    fn is_folder(&self) -> bool {
        match self.within() {
            Within::Folder => true,
            Within::Root => self.plain().is_empty(),
            Within::Mount { .. } | Within::Whole { .. } => false,
        }
    }

    fn open_octet(&mut self) -> Result<Image, Miss> {
        let (source, size, modified_s) = self.open_source()?;
        let image = self.image_of(&source, size, modified_s);
        let image = self.table.insert(Some(&self.key), image, source)?;
        // While the client hears of its size, or asks on.
        self.read_ahead(image.id, 0, 0);
        Ok(image)
    }

    /// Converts the whole file now: the length must be known before the first block (RFC 2349), and offsets do not map
    fn open_netascii(&mut self) -> Result<Image, Miss> {
        let (source, size, modified_s) = self.open_source()?;
        let size = usize::try_from(size).ok().filter(|&size| size <= NETASCII_MAX);
        let mut bytes = vec![0; size.ok_or(Miss::Busy)?];
        let (seen, holds) = match &source {
            Source::Generated(text) => {
                let bytes = netascii::converted(text, NETASCII_MAX).ok_or(Miss::Busy)?;
                let image = self.image_of(&source, bytes.len() as u64, modified_s);
                return self.table.insert(Some(&self.key), image, Source::Generated(bytes.into()));
            }
            Source::File(file, seen) => {
                let mut seen = *seen;
                file.read_exact_at(&mut bytes, 0).map_err(|_| Miss::Unreadable)?;
                (seen, seen.is_held_by(file))
            }
            Source::Disc(disc, seen, extents) => {
                let mut seen = *seen;
                read_pieces(&disc.file, extents, 0, &mut bytes).map_err(|_| Miss::Unreadable)?;
                (seen, seen.is_held_by(&disc.file))
            }
            Source::Converted(..) => return Err(Miss::Unreadable),
        };
        if !holds {
            return Err(Miss::Busy);
        }
        let bytes = netascii::converted(&bytes, NETASCII_MAX).ok_or(Miss::Busy)?;
        let image = self.image_of(&source, bytes.len() as u64, modified_s);
        self.table.insert(Some(&self.key), image, Source::Converted(bytes.into(), seen))
    }

    /// What is known of the image in hand
    fn image_of(&self, source: &Source, size: u64, modified_s: u64) -> Image {
        let version = match source {
            Source::Disc(_, seen, extents) => hash(&(seen.version, extents)),
            Source::Generated(text) => hash(text),
            _ => source.seen().map_or(0, |seen| hash(&seen.version)),
        };
        let media_type = match source {
            Source::Generated(_) => media::type_of_text(self.plain()),
            _ => media::type_of(self.plain()),
        };
        Image { id: ImageId(0), size, modified_s, version, media_type }
    }

    /// What the directory in hand shows
    fn listed(&mut self) -> Result<Listed, Miss> {
        if let Within::Whole { .. } = self.within() {
            return Err(Miss::NotFound);
        }
        if let Some((disc, from)) = self.on_disc()? {
            let path = &self.key[from..self.key.len() - 1];
            return Listed::of_disc(&disc, path).ok_or(Miss::NotFound);
        }
        let read = match self.on_disk() {
            Some((root, path)) => {
                root.open_directory(path).map(|names| Listed::read(root, path.to_bytes(), names))
            }
            None => Err(Miss::NotFound),
        };
        let mut listed = match read {
            Err(Miss::NotFound) if self.is_folder() => Listed::default(),
            read => read?,
        };
        match self.within() {
            Within::Folder => listed.add_mounts(&self.mounts),
            Within::Root if self.plain().is_empty() && !self.mounts.is_empty() => listed.add_folder(FOLDER),
            Within::Root | Within::Mount { .. } | Within::Whole { .. } => {}
        }
        Ok(listed)
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

    fn open_for(&mut self, peer: Ipv4Addr, path: &[u8], form: Form) -> Result<Image, Miss> {
        self.peer = Some(peer);
        let opened = self.open(path, form);
        self.peer = None;
        opened
    }

    fn report(&mut self, peer: Ipv4Addr, path: &[u8]) -> Option<Result<(Image, Option<Ticket>), Miss>> {
        self.reported(peer, path)
    }

    fn on_plan(&mut self, plan: &Arc<Plan>) {
        self.catalogue = self.catalogue.as_ref().map(|catalogue| catalogue.with_plan(Arc::clone(plan)));
    }

    fn listing(&mut self, path: &[u8]) -> Result<Image, Miss> {
        self.set_key(b'l', path)?;
        let mut listed = self.listed()?;
        let page = listing::page(path, self.plain(), &mut listed.lines, !listed.is_cut);
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

/// An open file, whole
fn on_file((file, seen): (File, Seen)) -> (Source, u64, u64) {
    let (size, modified_s) = (seen.version.size, seen.version.modified_s());
    (Source::File(file, seen), size, modified_s)
}

/// Opens a file of an ISO image
fn open_on(disc: &Arc<Disc>, path: &[u8]) -> Result<(Source, u64, u64), Miss> {
    let (what, modified_s) = disc.index.find(path).ok_or(Miss::NotFound)?;
    match what {
        What::Directory => Err(Miss::Directory),
        What::Compressed => Err(Miss::Compressed),
        What::File(extents) => {
            let size = extents.iter().map(|extent| extent.len).sum();
            Ok((Source::Disc(Arc::clone(disc), disc.seen, extents.into()), size, modified_s.into()))
        }
    }
}

/// The piece that holds what is at `offset`, and where it is in that piece
fn piece_at(extents: &[Extent], offset: u64) -> (usize, u64) {
    let mut left = offset;
    for (number, extent) in extents.iter().enumerate() {
        if left < extent.len {
            return (number, left);
        }
        left -= extent.len;
    }
    (extents.len(), 0)
}

/// Fills `buffer` from `offset` on, over pieces
fn read_pieces(file: &File, extents: &[Extent], offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    let (first, mut within) = piece_at(extents, offset);
    for extent in &extents[first..] {
        let len = usize::try_from(extent.len - within).map_or(buffer.len(), |len| len.min(buffer.len()));
        let (now, later) = buffer.split_at_mut(len);
        file.read_exact_at(now, extent.offset + within)?;
        (buffer, within) = (later, 0);
    }
    if buffer.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
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
    use std::{env, process};

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
