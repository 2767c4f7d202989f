//! All directories of an image, level by level, into an [`Index`](super::Index)

use std::collections::{HashSet, VecDeque};

use super::super::extent::Extent;
use super::growth::{Child, Found, Growth, Unread, extend};
use super::index::{self, Index};
use super::record::Record;
use super::rock::{Area, Fields};
use super::volume::{Naming, Volume};
use super::{Fault, ReadAt, SECTOR};
use crate::limits::{ISO_DIRECTORY_BYTES_MAX, ISO_DIRECTORY_MAX, ISO_ENTRIES_MAX, ISO_NAME_MAX};

/// PX: what a file is, as POSIX has it
const MODE_KIND: u32 = 0o170_000;
const MODE_FILE: u32 = 0o100_000;
const MODE_DIRECTORY: u32 = 0o040_000;
const MODE_LINK: u32 = 0o120_000;

/// Where a directory lies
#[derive(Clone, Copy)]
struct Lies {
    block: u32,
    len: u32,
}

pub(super) struct Builder<'i, R> {
    image: &'i R,
    len: u64,
    volume: &'i Volume,
    area: Area<'i, R>,
    growth: Growth,
    unread: VecDeque<Unread<Lies>>,
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
            growth: Growth::new(len, volume.root.modified_s),
            unread: VecDeque::new(),
            seen: HashSet::new(),
            directory_bytes: 0,
            records: 0,
        }
    }

    pub(super) fn build(mut self) -> Result<Growth, Fault> {
        let root = self.volume.root;
        self.seen.insert(root.block);
        self.unread.push_back(Unread { node: Index::ROOT, at: Lies { block: root.block, len: root.len } });
        let mut bytes = Vec::new();
        while let Some(directory) = self.unread.pop_front() {
            self.read_directory(&directory, &mut bytes)?;
            let children = self.children(&directory, &bytes)?;
            for unread in self.growth.add(directory.node, children)? {
                if !self.seen.insert(unread.at.block) {
                    return Err(Fault::Loop(self.growth.path(unread.node)));
                }
                self.unread.push_back(unread);
            }
        }
        Ok(self.growth)
    }

    fn read_directory(&mut self, directory: &Unread<Lies>, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let Lies { block, len } = directory.at;
        self.directory_bytes += u64::from(len);
        if len > ISO_DIRECTORY_MAX || self.directory_bytes > ISO_DIRECTORY_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        let offset = u64::from(block) * self.volume.block_size;
        if offset + u64::from(len) > self.len {
            return Err(Fault::CutShort(self.growth.path(directory.node)));
        }
        bytes.resize(len as usize, 0);
        self.image.read_exact_at(bytes, offset)?;
        Ok(())
    }

    /// The entries of a directory, as they come
    fn children(&mut self, directory: &Unread<Lies>, bytes: &[u8]) -> Result<Vec<Child<Lies>>, Fault> {
        let mut children: Vec<Child<Lies>> = Vec::new();
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
                return Err(Fault::Directory(self.growth.path(directory.node)));
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
    fn child(&mut self, record: &Record<'_>, directory: &Unread<Lies>) -> Result<Option<Child<Lies>>, Fault> {
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
            Found::Directory(Lies { block, len: self.moved_len(block, directory)? })
        } else if record.is_directory() {
            Found::Directory(Lies { block: record.block(), len: record.len() })
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
    fn moved_len(&self, block: u32, directory: &Unread<Lies>) -> Result<u32, Fault> {
        let offset = u64::from(block) * self.volume.block_size;
        let damaged = || Fault::Directory(self.growth.path(directory.node));
        if offset + SECTOR as u64 > self.len {
            return Err(Fault::CutShort(self.growth.path(directory.node)));
        }
        let mut sector = [0; SECTOR];
        self.image.read_exact_at(&mut sector, offset)?;
        let (record, _) = Record::parse(&sector).filter(|(record, _)| record.is_dot()).ok_or_else(damaged)?;
        Ok(record.len())
    }
}

/// Whether a path can lead to it
pub(super) fn is_name(name: &[u8]) -> bool {
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
