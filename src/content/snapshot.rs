//! Hot files in memory, shared by all shards: immutable, within a budget, read piece by piece as clients come to them.
//!
//! A snapshot belongs to one version of a file (device, inode, size, mtime, ctime), or to pieces of one: a file within an ISO
//! image, whose version is the image's. Each piece of it is read once, by whichever shard needs it first, and the file is looked
//! at after the read: what was read is of the version that the snapshot is named for, or it is not kept. So who reads a
//! version to its end gets that version, without a system call a block, whatever happens to the file meanwhile; what comes
//! too late is refused, and its transfer ends.
//!
//! The bytes are read, not mapped: a map would show each write in place to a transfer that is half done, and a file that is cut
//! short under it would end the process (SIGBUS).
//!
//! No file that changed within the last [`SETTLED`] is kept: a second write within one tick of the file system's clock would
//! leave no trace in its times.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use super::stored::{Content, Stored};
use crate::limits::{READ_AHEAD_BYTES, SNAPSHOT_BYTES_MAX, SNAPSHOT_PIECE_BYTES};
use crate::time::{Duration, Instant};

/// How long a file must have stood unchanged; the coarsest file system's clock (FAT) ticks every two seconds
const SETTLED: Duration = Duration::from_secs(3);

/// The snapshots of one server
#[derive(Debug)]
pub struct Snapshots {
    bytes_left: AtomicUsize,
    /// Taken when a file becomes hot, never for a packet
    known: Mutex<HashMap<Content, Weak<Snapshot>>>,
}

/// The bytes of one version of a file, or of a file within it
#[derive(Debug)]
pub(super) struct Snapshot {
    len: u64,
    pieces: Box<[OnceLock<Box<[u8]>>]>,
    home: Arc<Snapshots>,
}

impl Snapshots {
    /// None yet, and [`SNAPSHOT_BYTES_MAX`] to come
    pub fn new() -> Self {
        Self { bytes_left: AtomicUsize::new(SNAPSHOT_BYTES_MAX), known: Mutex::default() }
    }

    /// The snapshot of a version, with the pieces that any shard has read; `None`: it is too new, or too large
    pub(super) fn of(self: &Arc<Self>, now: Instant, stored: &Stored) -> Option<Arc<Snapshot>> {
        let len = stored.len();
        let size = usize::try_from(len).ok().filter(|&size| size <= SNAPSHOT_BYTES_MAX / 2)?;
        if Instant::from_secs(stored.version().touched_s()) + SETTLED > now {
            return None;
        }
        let content = stored.content();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = known.get(&content).and_then(Weak::upgrade) {
            return Some(snapshot);
        }
        known.retain(|_, snapshot| snapshot.strong_count() > 0);
        let pieces = (0..size.div_ceil(SNAPSHOT_PIECE_BYTES)).map(|_| OnceLock::new()).collect();
        let snapshot = Arc::new(Snapshot { len, pieces, home: Arc::clone(self) });
        known.insert(content, Arc::downgrade(&snapshot));
        Some(snapshot)
    }

    fn take(&self, bytes: usize) -> bool {
        let take = |left: usize| left.checked_sub(bytes);
        self.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.bytes_left.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Default for Snapshots {
    fn default() -> Self {
        Self::new()
    }
}

/// Why bytes are not in memory
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// The budget is spent
    NoRoom,
    /// The file is another by now, or cannot be read: whoever reads the file itself finds out
    Unreadable,
}

impl Snapshot {
    /// Reads what of these bytes is not in memory yet
    pub(super) fn load(&self, stored: &mut Stored, offset: usize, len: usize) -> Result<(), Absent> {
        if len == 0 {
            return Ok(());
        }
        for index in offset / SNAPSHOT_PIECE_BYTES..=(offset + len - 1) / SNAPSHOT_PIECE_BYTES {
            let piece = self.pieces.get(index).ok_or(Absent::Unreadable)?;
            if piece.get().is_none() {
                self.read(stored, index, piece)?;
            }
        }
        Ok(())
    }

    fn read(&self, stored: &mut Stored, index: usize, piece: &OnceLock<Box<[u8]>>) -> Result<(), Absent> {
        let offset = index as u64 * SNAPSHOT_PIECE_BYTES as u64;
        let left = usize::try_from(self.len - offset).unwrap_or(usize::MAX);
        let len = left.min(SNAPSHOT_PIECE_BYTES);
        if !self.home.take(len) {
            return Err(Absent::NoRoom);
        }
        stored.read_ahead(offset, len as u64 + READ_AHEAD_BYTES);
        let mut bytes = vec![0; len].into_boxed_slice();
        let is_whole = stored.read_exact_at(&mut bytes, offset).is_ok();
        // Another shard may have been faster: its piece is the same.
        if !is_whole || piece.set(bytes).is_err() {
            self.home.give_back(len);
        }
        if is_whole { Ok(()) } else { Err(Absent::Unreadable) }
    }

    /// Bytes that were loaded, from `offset` to the end of their piece
    pub(super) fn bytes_from(&self, offset: usize) -> Option<&[u8]> {
        self.pieces.get(offset / SNAPSHOT_PIECE_BYTES)?.get()?.get(offset % SNAPSHOT_PIECE_BYTES..)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let held = self.pieces.iter().filter_map(OnceLock::get).map(|piece| piece.len()).sum();
        self.home.give_back(held);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;
    use std::{env, fs, process};

    use super::super::extent::{Extent, Extents};
    use super::super::root::Seen;
    use super::super::stored::Role;
    use super::super::sys;
    use super::*;

    fn file(name: &str, len: usize) -> (Arc<File>, Stored, Vec<u8>) {
        let path = env::temp_dir().join(format!("reveille-snapshot-{name}-{}", process::id()));
        let bytes: Vec<u8> = (0..len).map(|i: usize| (i / 7 % 251).to_le_bytes()[0]).collect();
        fs::write(&path, &bytes).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let file = Arc::new(file);
        let stored = Stored::whole(Arc::clone(&file), seen(&file));
        (file, stored, bytes)
    }

    fn seen(file: &File) -> Seen {
        Seen::of(&sys::stat(file.as_fd()).unwrap())
    }

    /// Long after any file's times
    const LATER: Instant = Instant::from_secs(100_000_000_000);

    #[test]
    fn pieces_are_shared_counted_and_given_back() {
        let (_, mut stored, bytes) = file("shared", 2 * SNAPSHOT_PIECE_BYTES + 10);
        let home = Arc::new(Snapshots::new());
        let one = home.of(LATER, &stored).expect("an old file");
        let two = home.of(LATER, &stored).expect("an old file");
        let at = SNAPSHOT_PIECE_BYTES - 5;
        assert_eq!(one.load(&mut stored, at, 10), Ok(()));
        assert_eq!(two.bytes_from(at), Some(&bytes[at..at + 5]), "what one shard read, another has");
        let second = two.bytes_from(SNAPSHOT_PIECE_BYTES).expect("both pieces were asked for");
        assert_eq!(*second, bytes[SNAPSHOT_PIECE_BYTES..2 * SNAPSHOT_PIECE_BYTES]);
        assert_eq!(two.bytes_from(2 * SNAPSHOT_PIECE_BYTES), None, "nobody asked for the last piece");
        assert_eq!(one.load(&mut stored, bytes.len() - 3, 4), Ok(()));
        assert_eq!(one.bytes_from(bytes.len() - 3).map(<[u8]>::len), Some(3), "it ends with the file");
        let left = || home.bytes_left.load(Ordering::Relaxed);
        assert_eq!(left(), SNAPSHOT_BYTES_MAX - bytes.len());
        drop((one, two));
        assert_eq!(left(), SNAPSHOT_BYTES_MAX);
    }

    #[test]
    fn pieces_of_one_file_have_snapshots_of_their_own() {
        let (file, _, bytes) = file("pieces", 3 * SNAPSHOT_PIECE_BYTES);
        let home = Arc::new(Snapshots::new());
        let extents = [(2 * SNAPSHOT_PIECE_BYTES, 100), (10, SNAPSHOT_PIECE_BYTES)];
        let extents = extents.map(|(offset, len)| Extent { offset: offset as u64, len: len as u64 });
        let of = |extents: &[Extent]| {
            Stored::pieces(Arc::clone(&file), seen(&file), Extents::of(extents), Role::InIso, 0)
        };
        let (mut both, mut second) = (of(&extents), of(&extents[1..]));
        let snapshot = home.of(LATER, &both).expect("an old file");
        assert_eq!(snapshot.load(&mut both, 0, SNAPSHOT_PIECE_BYTES + 100), Ok(()));
        let expected =
            [&bytes[2 * SNAPSHOT_PIECE_BYTES..][..100], &bytes[10..][..SNAPSHOT_PIECE_BYTES]].concat();
        let held =
            [snapshot.bytes_from(0).unwrap(), snapshot.bytes_from(SNAPSHOT_PIECE_BYTES).unwrap()].concat();
        assert!(held == expected);
        let other = home.of(LATER, &second).expect("an old file");
        assert_eq!(other.bytes_from(0), None, "it is another file");
        assert_eq!(other.load(&mut second, 0, 1), Ok(()));
        assert_eq!(other.bytes_from(0).unwrap()[..50], bytes[10..60]);
    }

    #[test]
    fn a_changed_file_adds_nothing_and_what_was_read_stays() {
        let (file, mut stored, bytes) = file("changed", 2 * SNAPSHOT_PIECE_BYTES);
        let home = Arc::new(Snapshots::new());
        let snapshot = home.of(LATER, &stored).expect("an old file");
        assert_eq!(snapshot.load(&mut stored, 0, 1), Ok(()));
        file.write_all_at(b"other", 0).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(snapshot.load(&mut stored, SNAPSHOT_PIECE_BYTES, 1), Err(Absent::Unreadable));
        assert_eq!(snapshot.bytes_from(0), Some(&bytes[..SNAPSHOT_PIECE_BYTES]));
        assert_eq!(home.bytes_left.load(Ordering::Relaxed), SNAPSHOT_BYTES_MAX - SNAPSHOT_PIECE_BYTES);
    }

    #[test]
    fn new_files_and_a_spent_budget_are_refused() {
        let (_, mut stored, _) = file("refused", 10);
        let home = Arc::new(Snapshots::new());
        let touched = Instant::from_secs(stored.version().touched_s());
        assert!(home.of(touched, &stored).is_none());
        let snapshot = home.of(touched + SETTLED, &stored).expect("it has settled");
        assert!(home.take(SNAPSHOT_BYTES_MAX - 9));
        assert_eq!(snapshot.load(&mut stored, 0, 1), Err(Absent::NoRoom));
        home.give_back(1);
        assert_eq!(snapshot.load(&mut stored, 0, 1), Ok(()));
    }
}
