//! Open images: by number, by name, and those that nobody reads in order of disuse.
//!
//! An image that is open more than once is one entry with a count. A file that nobody reads any more is kept open for
//! the next client, up to a bound; what was generated is dropped with its last reader. The table knows nothing of
//! directories: whoever looks a name up decides whether the entry is still what the name means.

use std::collections::HashMap;
use std::sync::Arc;

use super::root::Version;
use super::snapshot::Snapshot;
use super::stored::Stored;
use crate::boot::image::{Image, ImageId, Miss};
use crate::limits::{GENERATED_BYTES_MAX, IDLE_FILES_MAX, OPEN_FILES_MAX};
use crate::time::Instant;

/// Where the bytes of an image are
#[derive(Debug)]
pub(super) enum Source {
    /// In a file
    Stored(Stored),
    /// In memory, as converted from a file of this version
    Converted(Box<[u8]>, Version),
    /// In memory
    Generated(Box<[u8]>),
}

impl Source {
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Stored(_) => None,
            Self::Converted(bytes, _) | Self::Generated(bytes) => Some(bytes),
        }
    }

    /// The version of the file that it is of
    pub(super) fn version(&self) -> Option<Version> {
        match self {
            Self::Stored(stored) => Some(stored.version()),
            Self::Converted(_, version) => Some(*version),
            Self::Generated(_) => None,
        }
    }
}

/// One open image
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) image: Image,
    pub(super) source: Source,
    /// Its bytes in memory, as far as somebody came to them
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// Its name, as long as the name means this entry
    key: Option<Arc<[u8]>>,
    /// When its name was last seen to mean it
    pub(super) looked_at: Option<Instant>,
    opens: u32,
    /// Neighbours in the list of idle entries
    before: Option<u32>,
    after: Option<u32>,
}

/// All open images of a shard
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<Option<Entry>>,
    vacant: Vec<u32>,
    by_key: HashMap<Arc<[u8]>, u32>,
    idle_longest: Option<u32>,
    idle_latest: Option<u32>,
    idle: usize,
    held_bytes: usize,
}

impl Table {
    /// The entry that `key` means
    pub(super) fn find(&self, key: &[u8]) -> Option<(ImageId, &Entry)> {
        let &number = self.by_key.get(key)?;
        Some((ImageId(number), self.entry(ImageId(number))?))
    }

    /// An open image
    pub(super) fn entry(&self, id: ImageId) -> Option<&Entry> {
        self.entries.get(id.0 as usize)?.as_ref()
    }

    /// An open image
    pub(super) fn entry_mut(&mut self, id: ImageId) -> Option<&mut Entry> {
        self.entries.get_mut(id.0 as usize)?.as_mut()
    }

    /// Opens what is open, or idle, once more
    pub(super) fn reopen(&mut self, id: ImageId) -> Option<Image> {
        if self.entry(id)?.opens == 0 {
            self.unlink(id.0);
        }
        let entry = self.entry_mut(id)?;
        entry.opens += 1;
        Some(entry.image)
    }

    /// Adds an image, open once; `image` says what it is, but for its number. Another entry that had the name loses it.
    ///
    /// # Errors
    /// [`Miss::Busy`] where the table or the memory for generated images is full of what is being read.
    pub(super) fn insert(&mut self, key: Option<&[u8]>, image: Image, source: Source) -> Result<Image, Miss> {
        let held = source.bytes().map_or(0, <[u8]>::len);
        if self.held_bytes + held > GENERATED_BYTES_MAX {
            return Err(Miss::Busy);
        }
        if self.len() == OPEN_FILES_MAX {
            self.close_longest_idle()?;
        }
        if let Some((old, _)) = key.and_then(|key| self.find(key)) {
            self.disown(old);
        }
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.entries.push(None);
            u32::try_from(self.entries.len() - 1).expect("OPEN_FILES_MAX fits 32 bits")
        });
        let key = key.map(Arc::<[u8]>::from);
        if let Some(key) = &key {
            self.by_key.insert(Arc::clone(key), number);
        }
        let image = Image { id: ImageId(number), ..image };
        self.held_bytes += held;
        self.entries[number as usize] = Some(Entry {
            image,
            source,
            snapshot: None,
            key,
            looked_at: None,
            opens: 1,
            before: None,
            after: None,
        });
        Ok(image)
    }

    /// Takes its name from an entry: who reads it goes on, who asks for the name gets another
    pub(super) fn disown(&mut self, id: ImageId) {
        let Some(entry) = self.entry_mut(id) else { return };
        let opens = entry.opens;
        if let Some(key) = entry.key.take() {
            self.by_key.remove(&key);
        }
        if opens == 0 {
            self.unlink(id.0);
            self.remove(id.0);
        }
    }

    /// Gives back one opening
    ///
    /// # Panics
    /// Where it was not open: a reader that counts wrongly would take the file from another.
    pub(super) fn close(&mut self, id: ImageId) {
        let entry = self.entry_mut(id).expect("an image is closed by who opened it");
        assert!(entry.opens > 0, "an image is closed once an opening");
        entry.opens -= 1;
        if entry.opens > 0 {
            return;
        }
        if entry.key.is_none() || entry.source.bytes().is_some() {
            self.disown_and_remove(id);
            return;
        }
        self.link_latest(id.0);
        if self.idle > IDLE_FILES_MAX {
            let _ = self.close_longest_idle();
        }
    }

    /// Lets go of the memory behind files that nobody reads
    pub(super) fn forget_idle_snapshots(&mut self) {
        for entry in self.entries.iter_mut().flatten().filter(|entry| entry.opens == 0) {
            entry.snapshot = None;
        }
    }

    /// Closes every file that nobody reads
    pub(super) fn close_idle(&mut self) {
        while self.close_longest_idle().is_ok() {}
    }

    /// How many images are open or kept open
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.vacant.len()
    }

    fn close_longest_idle(&mut self) -> Result<(), Miss> {
        let number = self.idle_longest.ok_or(Miss::Busy)?;
        self.disown(ImageId(number));
        Ok(())
    }

    fn disown_and_remove(&mut self, id: ImageId) {
        if let Some(key) = self.entry_mut(id).and_then(|entry| entry.key.take()) {
            self.by_key.remove(&key);
        }
        self.remove(id.0);
    }

    fn remove(&mut self, number: u32) {
        if let Some(entry) = self.entries[number as usize].take() {
            self.held_bytes -= entry.source.bytes().map_or(0, <[u8]>::len);
            self.vacant.push(number);
        }
    }

    fn link_latest(&mut self, number: u32) {
        let before = self.idle_latest.replace(number);
        match before {
            Some(before) => self.neighbours(before).1.replace(number),
            None => self.idle_longest.replace(number),
        };
        *self.neighbours(number).0 = before;
        self.idle += 1;
    }

    fn unlink(&mut self, number: u32) {
        let (before, after) = self.neighbours(number);
        let (before, after) = (before.take(), after.take());
        match before {
            Some(before) => *self.neighbours(before).1 = after,
            None => self.idle_longest = after,
        }
        match after {
            Some(after) => *self.neighbours(after).0 = before,
            None => self.idle_latest = before,
        }
        self.idle -= 1;
    }

    fn neighbours(&mut self, number: u32) -> (&mut Option<u32>, &mut Option<u32>) {
        let entry = self.entries[number as usize].as_mut().expect("the list of idle entries holds entries");
        (&mut entry.before, &mut entry.after)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::super::root::Seen;
    use super::super::sys;
    use super::*;

    fn image(size: u64) -> Image {
        Image { id: ImageId(0), size, modified_s: 0, version: 0, media_type: "text/plain" }
    }

    fn null() -> Source {
        let file = File::open("/dev/null").unwrap();
        let seen = Seen::of(&sys::stat(file.as_fd()).unwrap());
        Source::Stored(Stored::whole(Arc::new(file), seen))
    }

    #[test]
    fn idle_files_are_found_again_and_the_longest_idle_goes_first() {
        let mut table = Table::default();
        for number in 0..=IDLE_FILES_MAX {
            let key = number.to_be_bytes();
            let id = table.insert(Some(&key), image(1), null()).unwrap().id;
            table.close(id);
        }
        assert_eq!(table.len(), IDLE_FILES_MAX);
        assert!(table.find(&0_usize.to_be_bytes()).is_none(), "the first went");
        // The second is used again, so the third is now the longest idle.
        let (second, _) = table.find(&1_usize.to_be_bytes()).unwrap();
        table.reopen(second).unwrap();
        table.close(second);
        let other = table.insert(Some(b"other"), image(1), null()).unwrap().id;
        table.close(other);
        assert!(table.find(&1_usize.to_be_bytes()).is_some());
        assert!(table.find(&2_usize.to_be_bytes()).is_none());
        table.close_idle();
        assert_eq!((table.len(), table.idle, table.by_key.len()), (0, 0, 0));
        assert_eq!((table.idle_longest, table.idle_latest), (None, None));
    }

    #[test]
    fn a_full_table_closes_the_idle_and_then_refuses() {
        let mut table = Table::default();
        let mut ids = Vec::new();
        for number in 0..OPEN_FILES_MAX {
            let source = Source::Generated(Box::new([]));
            ids.push(table.insert(Some(&number.to_be_bytes()), image(0), source).unwrap().id);
        }
        let refused = table.insert(None, image(0), Source::Generated(Box::new([])));
        assert_eq!(refused, Err(Miss::Busy));
        table.close(ids[7]);
        assert!(table.insert(None, image(0), Source::Generated(Box::new([]))).is_ok());
    }

    #[test]
    fn memory_for_what_is_generated_is_bounded_and_given_back() {
        let mut table = Table::default();
        let half = || Source::Generated(vec![0; GENERATED_BYTES_MAX / 2 + 1].into());
        let id = table.insert(None, image(1), half()).unwrap().id;
        assert_eq!(table.insert(None, image(1), half()), Err(Miss::Busy));
        table.close(id);
        assert!(table.insert(None, image(1), half()).is_ok());
    }

    #[test]
    fn a_disowned_entry_lives_until_its_last_reader_ends() {
        let mut table = Table::default();
        let old = table.insert(Some(b"k"), image(1), null()).unwrap().id;
        let new = table.insert(Some(b"k"), image(2), null()).unwrap().id;
        assert_ne!(old, new);
        assert_eq!(table.find(b"k").unwrap().0, new);
        assert_eq!(table.entry(old).unwrap().image.size, 1);
        table.close(old);
        assert!(table.entry(old).is_none());
        assert_eq!(table.find(b"k").unwrap().0, new);
    }

    #[test]
    #[should_panic(expected = "closed")]
    fn closing_twice_is_a_bug() {
        let mut table = Table::default();
        let id = table.insert(Some(b"k"), image(1), null()).unwrap().id;
        table.close(id);
        table.close(id);
    }
}
