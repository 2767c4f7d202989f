//! The journal: groups of lease changes in the order of their commits, one write and one sync each.
//!
//! A B-tree pays for every commit with a path of pages that are written anew: redb takes 280 µs of processor time and
//! 0.6 ms to make one row durable, an append 90 µs and 0.38 ms (ext4 on virtio). So a commit goes here, and
//! [`super::Disk`] folds the journal into the table when it is full, when nobody asks, and at start.
//!
//! # The file
//! Groups, each at a multiple of [`PAGE`] bytes, numbered without a gap; behind the last one, whatever was there before:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | number, big-endian: never used twice, so that a group of an earlier round is told from one of this round |
//! | 4 | length *n* of the changes, big-endian |
//! | 4 | CRC-32 of number, length and changes, big-endian |
//! | *n* | changes: see [`super::record`] |
//!
//! A page that holds an acknowledged group is never written again before it is folded, so that a write that is torn by a power
//! cut harms only its own group, which nobody was told of. Nothing marks the end: it is where the next number does not follow.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::failure::{damaged, unusable};
use super::record::{Written, emit_change, split_change};
use crate::boot::lease::LeaseChange;

/// What a file system and a disk write at a time
const PAGE: usize = 4096;
const HEADER_LEN: usize = size_of::<Header>();

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    number: U64,
    len: U32,
    checksum: U32,
}

impl Header {
    fn of(number: u64, changes: &[u8]) -> Self {
        let len = u32::try_from(changes.len()).expect("a group is no longer than the journal");
        let mut header = Self { number: number.into(), len: len.into(), checksum: 0.into() };
        header.checksum = header.sum(changes).into();
        header
    }

    fn sum(&self, changes: &[u8]) -> u32 {
        let mut digest = crc32fast::Hasher::new();
        digest.update(self.number.as_bytes());
        digest.update(self.len.as_bytes());
        digest.update(changes);
        digest.finalize()
    }
}

/// The file of a state directory that groups are appended to
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    bytes_max: usize,
    /// Number of the group at the file's start
    first: u64,
    /// Number of the next group, and where it goes
    next: u64,
    end: usize,
    /// The group that is written, then what is read back
    buffer: Vec<u8>,
}

impl Journal {
    /// Opens the journal whose first group has that number, and makes the file where there is none. It never takes more
    /// than `bytes_max`.
    pub(super) fn open(path: PathBuf, first: u64, bytes_max: usize) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.map_err(|error| unusable(&path, &error))?;
        let mut journal = Self { path, file, bytes_max, first, next: first, end: 0, buffer: Vec::new() };
        let (mut groups, mut end) = (0, 0);
        for group in Groups::of(journal.read(bytes_max)?, first) {
            groups += 1;
            end = group.end;
        }
        let (next, rest) = (first + groups, journal.buffer.get(end..).unwrap_or_default());
        if follows(rest, next + 1) {
            // The last group may be torn. One that another follows was whole once, and acknowledged.
            let why = format!("group {next} of the journal cannot be read");
            return Err(damaged(&journal.path, &why));
        }
        (journal.next, journal.end) = (next, end);
        Ok(journal)
    }

    /// How many bytes are in use
    pub(super) fn len(&self) -> usize {
        self.end
    }

    /// How many it may take
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// The number of the next group
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Adds a group, on disk when this returns. `false`: there is no room, and nothing was written.
    pub(super) fn append(&mut self, changes: &[LeaseChange]) -> io::Result<bool> {
        self.buffer.clear();
        self.buffer.resize(HEADER_LEN, 0);
        changes.iter().for_each(|change| emit_change(change, &mut self.buffer));
        let end = (self.end + self.buffer.len()).next_multiple_of(PAGE);
        if end > self.bytes_max {
            return Ok(false);
        }
        let (place, group) = self.buffer.split_at_mut(HEADER_LEN);
        place.copy_from_slice(Header::of(self.next, group).as_bytes());
        let written =
            self.file.write_all_at(&self.buffer, self.end as u64).and_then(|()| self.file.sync_data());
        // What failed may be there all the same. The next group takes its place and its number.
        written.map_err(|error| unusable(&self.path, &error))?;
        (self.next, self.end) = (self.next + 1, end);
        Ok(true)
    }

    /// Every change, in order
    pub(super) fn changes(&mut self) -> io::Result<Vec<Written<'_>>> {
        let (first, path) = (self.first, self.path.clone());
        let groups = usize::try_from(self.next - first).unwrap_or(usize::MAX);
        let bytes = self.read(self.end)?;
        let (mut found, mut changes) = (0, Vec::new());
        for group in Groups::of(bytes, first) {
            found += 1;
            let mut rest = group.changes;
            while !rest.is_empty() {
                let Some((change, behind)) = split_change(rest) else {
                    return Err(damaged(&path, "a change of the journal is none"));
                };
                changes.push(change);
                rest = behind;
            }
        }
        if found != groups {
            return Err(damaged(&path, "something else wrote to it"));
        }
        Ok(changes)
    }

    /// Begins anew: all of it is in the table
    pub(super) fn restart(&mut self) {
        (self.first, self.end) = (self.next, 0);
    }

    fn read(&mut self, bytes_max: usize) -> io::Result<&[u8]> {
        self.buffer.clear();
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| (&self.file).take(bytes_max as u64).read_to_end(&mut self.buffer))
            .map_err(|error| unusable(&self.path, &error))?;
        Ok(&self.buffer)
    }
}

/// Removes the journal that a table left behind which is no more
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unusable(path, &error)),
        _ => Ok(()),
    }
}

/// Whole groups with consecutive numbers, from the start of `bytes`
struct Groups<'a> {
    bytes: &'a [u8],
    at: usize,
    number: u64,
}

struct Group<'a> {
    changes: &'a [u8],
    /// Where the next one begins
    end: usize,
}

impl<'a> Groups<'a> {
    fn of(bytes: &'a [u8], first: u64) -> Self {
        Self { bytes, at: 0, number: first }
    }
}

impl<'a> Iterator for Groups<'a> {
    type Item = Group<'a>;

    fn next(&mut self) -> Option<Group<'a>> {
        let (header, rest) = Header::ref_from_prefix(self.bytes.get(self.at..)?).ok()?;
        let changes = rest.get(..usize::try_from(header.len.get()).ok()?)?;
        if header.number.get() != self.number || header.checksum.get() != header.sum(changes) {
            return None;
        }
        self.at = (self.at + HEADER_LEN + changes.len()).next_multiple_of(PAGE);
        self.number += 1;
        Some(Group { changes, end: self.at })
    }
}

/// Whether a group of that number begins on one of the pages
fn follows(bytes: &[u8], number: u64) -> bool {
    (0..bytes.len()).step_by(PAGE).any(|at| Groups::of(&bytes[at..], number).next().is_some())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::boot::lease::{ClientKey, Lease, State};
    use crate::note::Text;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("reveille-journal-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("room");
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("journal")
        }

        fn open(&self, first: u64) -> io::Result<Journal> {
            Journal::open(self.file(), first, 16 * PAGE)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn put(n: u32) -> LeaseChange {
        let key = ClientKey::of(1, &n.to_be_bytes(), None);
        let (address, hostname) = (Ipv4Addr::from_bits(n), Text::new(b"node"));
        LeaseChange::Put(Lease { address, key, state: State::Bound, expires_s: n.into(), hostname })
    }

    fn addresses(journal: &mut Journal) -> Vec<u32> {
        journal.changes().expect("whole").iter().map(|change| change.0.to_bits()).collect()
    }

    /// Three groups: the first of one page, the second of two
    fn three(folder: &Folder) -> Journal {
        let mut journal = folder.open(7).expect("room");
        let long: Vec<_> = (2..202).map(put).collect();
        for group in [&[put(1), LeaseChange::Remove(Ipv4Addr::from_bits(1))][..], &long, &[put(300)]] {
            assert!(journal.append(group).expect("room"));
        }
        journal
    }

    #[test]
    fn groups_come_back_in_order_until_they_are_folded() {
        let folder = Folder::new("order");
        let expected: Vec<_> = [1].into_iter().chain(1..202).chain([300]).collect();
        let mut journal = three(&folder);
        assert_eq!((addresses(&mut journal), journal.len()), (expected.clone(), 4 * PAGE));
        let mut journal = folder.open(7).expect("it exists");
        assert_eq!((addresses(&mut journal), journal.next()), (expected, 10));
        let changes = journal.changes().expect("whole");
        assert!(changes[0].1.is_some() && changes[1].1.is_none());
        journal.restart();
        assert!(addresses(&mut journal).is_empty());
        assert_eq!(addresses(&mut folder.open(10).expect("it exists")), [0; 0], "what was folded is no more");
        assert!(journal.append(&[put(400)]).expect("room"));
        assert_eq!(addresses(&mut folder.open(10).expect("it exists")), [400]);
    }

    #[test]
    fn a_torn_group_is_none_and_the_next_takes_its_place() {
        let folder = Folder::new("torn");
        three(&folder);
        let whole = std::fs::read(folder.file()).expect("it exists");
        for len in 3 * PAGE..whole.len() {
            std::fs::write(folder.file(), &whole[..len]).expect("room");
            assert_eq!(folder.open(7).expect("only the last is torn").next(), 9, "cut to {len} bytes");
        }
        for at in 3 * PAGE..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(folder.file(), bytes).expect("room");
            let mut journal = folder.open(7).expect("only the last is torn");
            assert_eq!((journal.next(), journal.len()), (9, 3 * PAGE), "byte {at} is another");
            assert!(journal.append(&[put(301)]).expect("room"));
            assert_eq!(addresses(&mut journal).last(), Some(&301));
        }
    }

    #[test]
    fn a_group_that_was_acknowledged_and_is_damaged_is_told() {
        let folder = Folder::new("damaged");
        three(&folder);
        let whole = std::fs::read(folder.file()).expect("it exists");
        for at in (0..HEADER_LEN + 29).chain(PAGE..PAGE + 300) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(folder.file(), bytes).expect("room");
            let Err(error) = folder.open(7) else { panic!("byte {at} is damaged") };
            let error = error.to_string();
            assert!(error.contains("move it away"), "byte {at}: {error}");
        }
    }

    #[test]
    fn a_full_journal_takes_nothing_and_loses_nothing() {
        let folder = Folder::new("full");
        let mut journal = folder.open(1).expect("room");
        let taken = (0..100).take_while(|&n| journal.append(&[put(n)]).expect("room")).count();
        assert_eq!((taken, journal.len()), (16, 16 * PAGE));
        assert_eq!(addresses(&mut journal).len(), 16);
        assert_eq!(std::fs::metadata(folder.file()).expect("it exists").len().div_ceil(PAGE as u64), 16);
        journal.restart();
        let too_much: Vec<_> = (0..10_000).map(put).collect();
        assert!(!journal.append(&too_much).expect("nothing is written"));
        assert!(journal.append(&[put(7)]).expect("room"));
    }
}
