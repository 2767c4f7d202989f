//! All directories of an image, level by level, into an [`Index`]

use std::collections::{HashSet, VecDeque};

use super::super::extent::Extent;
use super::index::{self, Index, Named, Node};
use super::record::Record;
use super::rock::{Area, Fields};
use super::volume::{Naming, Volume};
use super::{Fault, ReadAt, SECTOR};
use crate::limits::{
    ISO_DIRECTORY_BYTES_MAX, ISO_DIRECTORY_MAX, ISO_ENTRIES_MAX, ISO_NAME_MAX, ISO_NAMES_BYTES_MAX,
};

/// PX: what a file is, as POSIX has it
const MODE_KIND: u32 = 0o170_000;
const MODE_FILE: u32 = 0o100_000;
const MODE_DIRECTORY: u32 = 0o040_000;
const MODE_LINK: u32 = 0o120_000;

/// A directory that is still to be read
struct Unread {
    node: u32,
    block: u32,
    len: u32,
}

/// An entry of the directory in hand
struct Child {
    name: Vec<u8>,
    modified_s: u32,
    what: Found,
}

enum Found {
    Directory { block: u32, len: u32 },
    File(Vec<Extent>),
    Link(Vec<u8>),
    Compressed,
}

pub(super) struct Builder<'i, R> {
    image: &'i R,
    len: u64,
    volume: &'i Volume,
    area: Area<'i, R>,
    index: Index,
    unread: VecDeque<Unread>,
    /// Blocks of directories that were read, or wait to be
    seen: HashSet<u32>,
    directory_bytes: u64,
    records: usize,
}

impl<'i, R: ReadAt> Builder<'i, R> {
    pub(super) fn new(image: &'i R, len: u64, volume: &'i Volume) -> Self {
        let area = Area::new(image, len, volume.block_size);
        Self {
            image,
            len,
            volume,
            area,
            index: Index::default(),
            unread: VecDeque::new(),
            seen: HashSet::new(),
            directory_bytes: 0,
            records: 0,
        }
    }

    pub(super) fn build(mut self) -> Result<Index, Fault> {
        let root = self.volume.root;
        let node = Node::Directory { first: 0, count: 0 };
        self.index.nodes.push(Named {
            name_start: 0,
            name_len: 0,
            parent: 0,
            modified_s: root.modified_s,
            node,
        });
        self.seen.insert(root.block);
        self.unread.push_back(Unread { node: 0, block: root.block, len: root.len });
        let mut bytes = Vec::new();
        while let Some(directory) = self.unread.pop_front() {
            self.read_directory(&directory, &mut bytes)?;
            let children = self.children(&directory, &bytes)?;
            self.add(directory.node, children)?;
        }
        Ok(self.index)
    }

    fn read_directory(&mut self, directory: &Unread, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let len = directory.len;
        self.directory_bytes += u64::from(len);
        if len > ISO_DIRECTORY_MAX || self.directory_bytes > ISO_DIRECTORY_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        let offset = u64::from(directory.block) * self.volume.block_size;
        if offset + u64::from(len) > self.len {
            return Err(Fault::CutShort(self.path(directory.node)));
        }
        bytes.resize(len as usize, 0);
        self.image.read_exact_at(bytes, offset)?;
        Ok(())
    }

    /// The entries of a directory, as they come
    fn children(&mut self, directory: &Unread, bytes: &[u8]) -> Result<Vec<Child>, Fault> {
        let mut children: Vec<Child> = Vec::new();
        // The next record holds the next piece of the last file, or of one that is left out.
        let (mut unfinished, mut left_out) = (false, false);
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] == 0 {
                // §6.8.1.1: no record crosses a sector; zeros fill the rest of it.
                at = (at / SECTOR + 1) * SECTOR;
                continue;
            }
            let Some((record, len)) = Record::parse(&bytes[at..]) else {
                return Err(Fault::Directory(self.path(directory.node)));
            };
            at += len;
            self.records += 1;
            if self.records > ISO_ENTRIES_MAX {
                return Err(Fault::TooLarge);
            }
            if record.is_dot() || record.is_associated() {
                continue;
            }
            let goes_on = record.goes_on() && !record.is_directory();
            match children.last_mut() {
                Some(Child { what: Found::File(extents), .. }) if unfinished => {
                    extend(extents, self.extent(&record));
                }
                _ if left_out => {}
                _ => match self.child(&record, directory)? {
                    Some(child) => children.push(child),
                    None => left_out = true,
                },
            }
            left_out &= goes_on;
            unfinished = goes_on && !left_out;
        }
        Ok(children)
    }

    fn extent(&self, record: &Record<'_>) -> Extent {
        Extent { offset: u64::from(record.block()) * self.volume.block_size, len: record.len().into() }
    }

    /// The entry that a record makes; `None`: it is left out
    fn child(&mut self, record: &Record<'_>, directory: &Unread) -> Result<Option<Child>, Fault> {
        let fields = match self.volume.naming {
            Naming::Rock { skip } => {
                let system_use = record.system_use.get(skip..).unwrap_or_default();
                Fields::read(system_use, &mut self.area)?
            }
            Naming::Joliet | Naming::Plain => Fields::default(),
        };
        let name = match self.volume.naming {
            Naming::Rock { .. } if !fields.name.is_empty() => fields.name,
            Naming::Joliet => joliet_name(record.name),
            Naming::Rock { .. } | Naming::Plain => plain_name(record.name),
        };
        if fields.is_moved || !is_name(&name) || record.is_interleaved() {
            return Ok(None);
        }
        let kind = fields.mode.map(|mode| mode & MODE_KIND);
        let what = if let Some(block) = fields.child_block {
            Found::Directory { block, len: self.moved_len(block, directory)? }
        } else if record.is_directory() {
            Found::Directory { block: record.block(), len: record.len() }
        } else if let Some(target) = fields.link.filter(|_| kind.is_none_or(|kind| kind == MODE_LINK)) {
            Found::Link(target)
        } else if kind.is_some_and(|kind| kind != MODE_FILE && kind != MODE_DIRECTORY && kind != 0) {
            // A device, FIFO or socket has no bytes.
            return Ok(None);
        } else if fields.is_compressed {
            Found::Compressed
        } else {
            let mut extents = Vec::with_capacity(1);
            extend(&mut extents, self.extent(record));
            Found::File(extents)
        };
        let modified_s = fields.modified_s.unwrap_or_else(|| record.modified_s());
        Ok(Some(Child { name, modified_s, what }))
    }

    /// How long a directory is that was moved: its own record says it
    fn moved_len(&self, block: u32, directory: &Unread) -> Result<u32, Fault> {
        let offset = u64::from(block) * self.volume.block_size;
        let damaged = || Fault::Directory(self.path(directory.node));
        if offset + SECTOR as u64 > self.len {
            return Err(Fault::CutShort(self.path(directory.node)));
        }
        let mut sector = [0; SECTOR];
        self.image.read_exact_at(&mut sector, offset)?;
        let (record, _) = Record::parse(&sector).filter(|(record, _)| record.is_dot()).ok_or_else(damaged)?;
        Ok(record.len())
    }

    /// Puts the children of a directory side by side
    fn add(&mut self, directory: u32, mut children: Vec<Child>) -> Result<(), Fault> {
        children.sort_by(|a, b| index::order(&a.name, &b.name));
        // Of versions of one file the first is the latest (§9.3).
        children.dedup_by(|later, first| later.name == first.name);
        let first = number(self.index.nodes.len())?;
        let count = number(children.len())?;
        self.index.nodes[directory as usize].node = Node::Directory { first, count };
        for child in children {
            let node = number(self.index.nodes.len())?;
            let (name_start, name_len) = self.keep(&child.name)?;
            let what = match child.what {
                Found::Directory { block, len } => {
                    if !self.seen.insert(block) {
                        let name = String::from_utf8_lossy(&child.name);
                        return Err(Fault::Loop(format!("{}/{name}", self.path(directory))));
                    }
                    self.unread.push_back(Unread { node, block, len });
                    Node::Directory { first: 0, count: 0 }
                }
                Found::File(extents) => self.file(&extents).ok_or_else(|| {
                    let name = String::from_utf8_lossy(&child.name);
                    Fault::CutShort(format!("{}/{name}", self.path(directory)))
                })?,
                Found::Link(target) => {
                    let (start, len) = self.keep(&target)?;
                    Node::Link { start, len }
                }
                Found::Compressed => {
                    self.index.compressed += 1;
                    Node::Compressed
                }
            };
            let modified_s = child.modified_s;
            self.index.nodes.push(Named { name_start, name_len, parent: directory, modified_s, node: what });
        }
        Ok(())
    }

    /// `None`: a part of it lies outside the image
    fn file(&mut self, extents: &[Extent]) -> Option<Node> {
        if extents.iter().any(|extent| extent.offset + extent.len > self.len) {
            return None;
        }
        match extents {
            [] => Some(Node::File { extent: Extent { offset: 0, len: 0 } }),
            &[extent] => Some(Node::File { extent }),
            pieces => {
                let first = u32::try_from(self.index.pieces.len()).ok()?;
                self.index.pieces.extend_from_slice(pieces);
                Some(Node::Pieces { first, count: u32::try_from(pieces.len()).ok()? })
            }
        }
    }

    fn keep(&mut self, text: &[u8]) -> Result<(u32, u16), Fault> {
        let start = self.index.names.len();
        if start + text.len() > ISO_NAMES_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        self.index.names.extend_from_slice(text);
        Ok((number(start)?, u16::try_from(text.len()).map_err(|_| Fault::TooLarge)?))
    }

    /// For a sentence; parents come before their children, so it ends
    fn path(&self, directory: u32) -> String {
        let mut parts = Vec::new();
        let mut at = directory;
        while at != 0 && parts.len() < 64 {
            let named = &self.index.nodes[at as usize];
            let name = &self.index.names[named.name_start as usize..][..named.name_len.into()];
            parts.push(String::from_utf8_lossy(name).into_owned());
            at = named.parent;
        }
        parts.iter().rev().map(|part| format!("/{part}")).collect()
    }
}

fn number(len: usize) -> Result<u32, Fault> {
    u32::try_from(len).map_err(|_| Fault::TooLarge)
}

/// Adds an extent to a file; what lies side by side is one, as the pieces of a file above 4 GiB mostly do
fn extend(extents: &mut Vec<Extent>, extent: Extent) {
    if extent.len == 0 {
        return;
    }
    match extents.last_mut() {
        Some(last) if last.offset + last.len == extent.offset => last.len += extent.len,
        _ => extents.push(extent),
    }
}

/// Whether a path can lead to it
fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= ISO_NAME_MAX
        && name != b"."
        && name != b".."
        && !name.iter().any(|&byte| byte == b'/' || byte == 0)
}

/// `KERNEL.;1` is `kernel`, as Linux shows it
fn plain_name(name: &[u8]) -> Vec<u8> {
    let name = index::without_version(name);
    name.strip_suffix(b".").filter(|name| !name.is_empty()).unwrap_or(name).to_ascii_lowercase()
}

fn joliet_name(name: &[u8]) -> Vec<u8> {
    let units = name.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let text: String = char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')).collect();
    index::without_version(text.as_bytes()).to_vec()
}
