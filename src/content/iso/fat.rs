//! The FAT file system that firmware starts an image from: where each file is in the image, as elsewhere
//!
//! FAT12, FAT16 and FAT32 with long names (Microsoft, FAT32 File System Specification 1.03; UEFI §13.3 has it by reference).
//! The whole table of clusters is read, which is small, and the directories; never a file's bytes. A cluster belongs to one
//! file or directory: what leads twice to it, a loop among others, is an error, and so is a file whose clusters end before
//! it does. The crates that read FAT want to write it too, or give no extents.

use std::collections::VecDeque;

use super::super::extent::Extent;
use super::builder::is_name;
use super::growth::{Child, Found, Growth, Unread, extend};
use super::{Fault, ReadAt, date, le32};
use crate::limits::{FAT_DIRECTORIES_BYTES_MAX, FAT_TABLE_MAX};

const BOOT_SECTOR: usize = 512;
const ENTRY: usize = 32;
/// UTF-16 units in an entry of a long name, and entries of one
const UNITS: usize = 13;
const LONG_ENTRIES_MAX: u8 = 20;

const VOLUME_LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
/// Attributes that no file has together: it is a piece of a long name
const LONG_NAME: u8 = 0x0f;

/// Reads the file system at `offset` of an image of `len` bytes, and hangs its files below `directory`
pub(super) fn read(
    image: &impl ReadAt,
    len: u64,
    offset: u64,
    growth: &mut Growth,
    directory: u32,
) -> Result<(), Fault> {
    let volume = Volume::read(image, len, offset)?;
    let taken = vec![false; volume.table.len()];
    Reader { image, len, volume, taken, directory_bytes: 0 }.read(growth, directory)
}

#[derive(Clone, Copy)]
enum Width {
    Fat12,
    Fat16,
    Fat32,
}

/// Where things lie
struct Volume {
    /// What follows each cluster; 0 and 1 are none
    table: Vec<u32>,
    /// Numbers from this one on end a chain
    end: u32,
    cluster_bytes: u64,
    /// The first byte of cluster 2, from the beginning of the image
    data: u64,
    root: Root,
}

#[derive(Clone, Copy)]
enum Root {
    /// FAT12 and FAT16: in a place of its own
    Fixed(Extent),
    /// FAT32: as any directory
    Cluster(u32),
}

impl Volume {
    fn read(image: &impl ReadAt, len: u64, offset: u64) -> Result<Self, Fault> {
        let mut boot = [0; BOOT_SECTOR];
        if offset.checked_add(BOOT_SECTOR as u64).is_none_or(|end| end > len) {
            return Err(Fault::NotFat);
        }
        image.read_exact_at(&mut boot, offset)?;
        let le16 = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
        let le32 = |at: usize| le32(&boot, at).unwrap_or(0);
        let either = |short: u64, long: u32| if short == 0 { long.into() } else { short };
        let (sector, per_cluster) = (le16(11), u64::from(boot[13]));
        let (reserved, tables, root_entries) = (le16(14), u64::from(boot[16]), le16(17));
        let (sectors, table_sectors) = (either(le16(19), le32(32)), either(le16(22), le32(36)));
        let is_fat = boot.ends_with(&[0x55, 0xaa])
            && matches!(sector, 512 | 1024 | 2048 | 4096)
            && per_cluster.is_power_of_two()
            && reserved > 0
            && tables > 0
            && table_sectors > 0;
        let root_sectors = (root_entries * ENTRY as u64).div_ceil(sector.max(1));
        let before = reserved + tables * table_sectors + root_sectors;
        let Some(clusters) = sectors.checked_sub(before).filter(|_| is_fat).map(|left| left / per_cluster)
        else {
            return Err(Fault::NotFat);
        };
        let width = match clusters {
            // As Linux and EDK2 have it, whatever the number of clusters.
            _ if le16(22) == 0 => Width::Fat32,
            ..4_085 => Width::Fat12,
            _ => Width::Fat16,
        };
        let root = match width {
            Width::Fat32 => Root::Cluster(le32(44)),
            Width::Fat12 | Width::Fat16 => {
                let at = offset + (before - root_sectors) * sector;
                Root::Fixed(Extent { offset: at, len: root_entries * ENTRY as u64 })
            }
        };
        let bytes = table_sectors * sector;
        let table_at = offset + reserved * sector;
        if bytes > FAT_TABLE_MAX {
            return Err(Fault::TooLarge);
        }
        if table_at + bytes > len {
            return Err(Fault::CutShort("its table of clusters".to_owned()));
        }
        let mut raw = vec![0; usize::try_from(bytes).map_err(|_| Fault::TooLarge)?];
        image.read_exact_at(&mut raw, table_at)?;
        let (table, end) = numbers(&raw, width, clusters + 2);
        Ok(Self { table, end, cluster_bytes: per_cluster * sector, data: offset + before * sector, root })
    }
}

/// The numbers in a table, as many as there are clusters, and the first that ends a chain
fn numbers(raw: &[u8], width: Width, count: u64) -> (Vec<u32>, u32) {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    match width {
        Width::Fat12 => {
            let pair = |three: &[u8]| {
                let [a, b, c] = [three[0], three[1], three[2]].map(u32::from);
                [a | (b & 0x0f) << 8, b >> 4 | c << 4]
            };
            (raw.chunks_exact(3).flat_map(pair).take(count).collect(), 0xff8)
        }
        Width::Fat16 => {
            let number = |two: &[u8]| u16::from_le_bytes([two[0], two[1]]).into();
            (raw.chunks_exact(2).map(number).take(count).collect(), 0xfff8)
        }
        Width::Fat32 => {
            let number = |four: &[u8]| le32(four, 0).unwrap_or(0) & 0x0fff_ffff;
            (raw.chunks_exact(4).map(number).take(count).collect(), 0x0fff_fff8)
        }
    }
}

struct Reader<'i, R> {
    image: &'i R,
    len: u64,
    volume: Volume,
    /// Clusters that belong to something already
    taken: Vec<bool>,
    directory_bytes: u64,
}

impl<R: ReadAt> Reader<'_, R> {
    fn read(mut self, growth: &mut Growth, directory: u32) -> Result<(), Fault> {
        let root = match self.volume.root {
            Root::Fixed(extent) => vec![extent],
            Root::Cluster(first) => self.clusters(first, None).ok_or(Fault::Chain("/".to_owned()))?,
        };
        let mut unread = VecDeque::from([Unread { node: directory, at: root }]);
        while let Some(Unread { node, at }) = unread.pop_front() {
            let path = || growth.path(node);
            let bytes = self.directory(&at, path)?;
            let children = self.children(&bytes, path)?;
            unread.extend(growth.add(node, children)?);
        }
        Ok(())
    }

    /// The bytes of a directory
    fn directory(&mut self, extents: &[Extent], path: impl Fn() -> String) -> Result<Vec<u8>, Fault> {
        self.directory_bytes += extents.iter().map(|extent| extent.len).sum::<u64>();
        if self.directory_bytes > FAT_DIRECTORIES_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        let mut bytes = Vec::new();
        for extent in extents {
            if extent.offset + extent.len > self.len {
                return Err(Fault::CutShort(path()));
            }
            let start = bytes.len();
            bytes.resize(start + usize::try_from(extent.len).map_err(|_| Fault::TooLarge)?, 0);
            self.image.read_exact_at(&mut bytes[start..], extent.offset)?;
        }
        Ok(bytes)
    }

    fn children(
        &mut self,
        bytes: &[u8],
        path: impl Fn() -> String,
    ) -> Result<Vec<Child<Vec<Extent>>>, Fault> {
        let mut children = Vec::new();
        let mut long = LongName::default();
        for entry in bytes.chunks_exact(ENTRY).take_while(|entry| entry[0] != 0) {
            // 0xe5: it was deleted.
            if entry[0] == 0xe5 || entry[11] & LONG_NAME != LONG_NAME && entry[11] & VOLUME_LABEL != 0 {
                long = LongName::default();
                continue;
            }
            if entry[11] & LONG_NAME == LONG_NAME {
                long.take(entry);
                continue;
            }
            let name = std::mem::take(&mut long).name_of(entry).unwrap_or_else(|| short_name(entry));
            if entry[0] == b'.' || !is_name(&name) {
                continue;
            }
            let le16 = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
            let high = if self.volume.end > 0xffff { le16(20) } else { 0 };
            let first = u32::from(high) << 16 | u32::from(le16(26));
            let size = le32(entry, 28).unwrap_or(0);
            let is_directory = entry[11] & DIRECTORY != 0;
            let extents = match (is_directory, size) {
                (false, 0) => Some(Vec::new()),
                _ => self.clusters(first, (!is_directory).then_some(size.into())),
            };
            let extents = extents
                .ok_or_else(|| Fault::Chain(format!("{}/{}", path(), String::from_utf8_lossy(&name))))?;
            let what = if is_directory { Found::Directory(extents) } else { Found::File(extents) };
            children.push(Child { name, modified_s: date::fat(le16(22), le16(24)), what });
        }
        Ok(children)
    }

    /// The clusters from `first` on, as many as hold `size` bytes, or all. `None`: they end before, lead outside, or are taken.
    fn clusters(&mut self, first: u32, size: Option<u64>) -> Option<Vec<Extent>> {
        let (mut extents, mut at) = (Vec::new(), first);
        let mut left = size;
        loop {
            let next = *self.volume.table.get(at as usize).filter(|_| at >= 2)?;
            let taken = &mut self.taken[at as usize];
            if std::mem::replace(taken, true) {
                return None;
            }
            let len = left.map_or(self.volume.cluster_bytes, |left| left.min(self.volume.cluster_bytes));
            let offset = self.volume.data + u64::from(at - 2) * self.volume.cluster_bytes;
            extend(&mut extents, Extent { offset, len });
            left = left.map(|left| left - len);
            if left == Some(0) || left.is_none() && next >= self.volume.end {
                return Some(extents);
            }
            at = next;
        }
    }
}

/// `KERNEL  BIN` is `KERNEL.BIN`, in the case that Windows notes
fn short_name(entry: &[u8]) -> Vec<u8> {
    let part = |bytes: &[u8], is_lower: bool| -> String {
        let text = bytes.iter().map(|&byte| if byte.is_ascii() { byte.into() } else { '\u{fffd}' });
        let text: String = text.collect();
        let text = text.trim_end_matches(' ');
        if is_lower { text.to_ascii_lowercase() } else { text.to_owned() }
    };
    let (base, extension) =
        (part(&entry[..8], entry[12] & 0x08 != 0), part(&entry[8..11], entry[12] & 0x10 != 0));
    if extension.is_empty() { base.into() } else { format!("{base}.{extension}").into() }
}

/// A long name, whose entries come last piece first, before that of the short name
#[derive(Default)]
struct LongName {
    units: VecDeque<u16>,
    /// The number of the piece that came last; 0: there is none
    piece: u8,
    sum: u8,
}

impl LongName {
    fn take(&mut self, entry: &[u8]) {
        let (piece, is_last) = (entry[0] & 0x3f, entry[0] & 0x40 != 0);
        let goes_on = self.piece > 1 && piece == self.piece - 1 && entry[13] == self.sum;
        if !(1..=LONG_ENTRIES_MAX).contains(&piece) || !(is_last || goes_on) {
            *self = Self::default();
            return;
        }
        if is_last {
            self.units.clear();
        }
        (self.piece, self.sum) = (piece, entry[13]);
        let units = [&entry[1..11], &entry[14..26], &entry[28..32]].concat();
        let units: [u16; UNITS] =
            std::array::from_fn(|at| u16::from_le_bytes([units[2 * at], units[2 * at + 1]]));
        units.iter().rev().for_each(|&unit| self.units.push_front(unit));
    }

    /// The name, where it is whole and of that entry
    fn name_of(self, entry: &[u8]) -> Option<Vec<u8>> {
        let sum = entry[..11].iter().fold(0_u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte));
        if self.piece != 1 || self.sum != sum {
            return None;
        }
        let units = self.units.into_iter().take_while(|&unit| unit != 0);
        Some(char::decode_utf16(units).map(|unit| unit.unwrap_or('\u{fffd}')).collect::<String>().into())
    }
}
