//! Images in memory: for captures that are replayed, simulated racks and tests.

use super::listing::{self, Line};
use super::path::plain;
use super::{media, netascii};
use crate::boot::image::{Form, Image, ImageId, Images, Miss};

/// Named bytes. An image that is replaced stays as long as this does; a listing goes when it is closed.
#[derive(Debug, Default)]
pub struct Memory {
    images: Vec<Held>,
    /// Places in `images` that listings left
    vacant: Vec<usize>,
    /// How many images there ever were
    made: u64,
}

#[derive(Debug)]
struct Held {
    /// Its plain path; `None`: replaced, or generated
    path: Option<Vec<u8>>,
    form: Form,
    bytes: Vec<u8>,
    modified_s: u64,
    media_type: &'static str,
    version: u64,
    opens: usize,
}

impl Memory {
    /// Nothing
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `bytes` at `path`, in place of what was there, as modified at `modified_s` (seconds since the Unix epoch)
    ///
    /// # Panics
    /// Where `path` can name nothing: it leaves the root, or is empty.
    pub fn insert(&mut self, path: &str, bytes: impl Into<Vec<u8>>, modified_s: u64) {
        let plain = plain(path.as_bytes()).expect("a path below the root");
        assert!(!plain.is_empty() && !plain.ends_with(b"/"), "a path names a file");
        self.remove(path);
        self.hold(Some(plain), Form::Octet, bytes.into(), modified_s, media::type_of(path.as_bytes()));
    }

    /// Takes the name `path` away; who reads what it named goes on
    pub fn remove(&mut self, path: &str) {
        let plain = plain(path.as_bytes());
        for held in self.images.iter_mut().filter(|held| held.path == plain) {
            held.path = None;
        }
    }

    /// The bytes of an image
    pub fn bytes(&self, id: ImageId) -> Option<&[u8]> {
        self.images.get(id.0 as usize).map(|held| &*held.bytes)
    }

    /// Openings that were not closed
    pub fn open_images(&self) -> usize {
        self.images.iter().map(|held| held.opens).sum()
    }

    fn hold(
        &mut self,
        path: Option<Vec<u8>>,
        form: Form,
        bytes: Vec<u8>,
        modified_s: u64,
        media_type: &'static str,
    ) -> usize {
        self.made += 1;
        let held = Held { path, form, bytes, modified_s, media_type, version: self.made, opens: 0 };
        if let Some(at) = self.vacant.pop() {
            self.images[at] = held;
            return at;
        }
        self.images.push(held);
        self.images.len() - 1
    }

    fn find(&self, plain: &[u8], form: Form) -> Option<usize> {
        self.images.iter().position(|held| held.form == form && held.path.as_deref() == Some(plain))
    }

    fn opened(&mut self, at: usize) -> Image {
        let held = &mut self.images[at];
        held.opens += 1;
        let number = u32::try_from(at).expect("fewer images than 2^32");
        Image {
            id: ImageId(number),
            size: held.bytes.len() as u64,
            modified_s: held.modified_s,
            version: held.version,
            media_type: held.media_type,
        }
    }
}

impl Images for Memory {
    fn open(&mut self, path: &[u8], form: Form) -> Result<Image, Miss> {
        let plain = plain(path).ok_or(Miss::NotFound)?;
        if let Some(at) = self.find(&plain, form) {
            return Ok(self.opened(at));
        }
        let Some(at) = self.find(&plain, Form::Octet) else {
            let below = |held: &Held| held.path.as_deref().is_some_and(|path| below(path, &plain).is_some());
            let directory = plain.is_empty() || self.images.iter().any(below);
            return Err(if directory { Miss::Directory } else { Miss::NotFound });
        };
        let Held { bytes, modified_s, media_type, .. } = &self.images[at];
        let bytes = netascii::converted(bytes, usize::MAX).ok_or(Miss::Busy)?;
        let at = self.hold(Some(plain), form, bytes, *modified_s, media_type);
        Ok(self.opened(at))
    }

    fn listing(&mut self, path: &[u8]) -> Result<Image, Miss> {
        let directory = plain(path).ok_or(Miss::NotFound)?;
        let mut lines: Vec<Line> = Vec::new();
        for held in self.images.iter().filter(|held| held.form == Form::Octet) {
            let Some(rest) = held.path.as_deref().and_then(|path| below(path, &directory)) else { continue };
            let name = rest.split(|&byte| byte == b'/').next().unwrap_or(rest);
            let (is_directory, size) = (name.len() < rest.len(), held.bytes.len() as u64);
            if lines.iter().all(|line| line.name != name) {
                let size = if is_directory { 0 } else { size };
                let (name, modified_s) = (name.to_vec(), held.modified_s);
                lines.push(Line { name, directory: is_directory, size, modified_s });
            }
        }
        if lines.is_empty() && !directory.is_empty() {
            return Err(Miss::NotFound);
        }
        let modified_s = lines.iter().map(|line| line.modified_s).max().unwrap_or(0);
        let page = listing::page(path, &directory, &mut lines, true);
        let at = self.hold(None, Form::Octet, page.into_bytes(), modified_s, media::LISTING);
        Ok(self.opened(at))
    }

    fn close(&mut self, id: ImageId) {
        let held = &mut self.images[id.0 as usize];
        held.opens = held.opens.checked_sub(1).expect("an image is closed once an opening");
        if held.opens == 0 && held.media_type == media::LISTING {
            held.bytes = Vec::new();
            self.vacant.push(id.0 as usize);
        }
    }
}

/// What is left of `path` below the directory `plain`
fn below<'p>(path: &'p [u8], plain: &[u8]) -> Option<&'p [u8]> {
    let plain = plain.strip_suffix(b"/").unwrap_or(plain);
    if plain.is_empty() {
        return Some(path);
    }
    path.strip_prefix(plain)?.strip_prefix(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_bytes_and_a_replaced_image_stays_with_its_readers() {
        let mut memory = Memory::new();
        memory.insert("a/b.txt", "one\n", 7);
        let old = memory.open(b"//a/b.txt", Form::Octet).unwrap();
        assert_eq!((old.size, old.modified_s, old.media_type), (4, 7, "text/plain"));
        memory.insert("a/b.txt", "second", 8);
        let new = memory.open(b"a/b.txt", Form::Octet).unwrap();
        assert_eq!(memory.bytes(old.id).unwrap(), b"one\n");
        assert_eq!(memory.bytes(new.id).unwrap(), b"second");
        assert_ne!(old.version, new.version);
        memory.close(old.id);
        memory.close(new.id);
        assert_eq!(memory.open_images(), 0);
    }

    #[test]
    fn directories_and_netascii_are_as_in_a_tree() {
        let mut memory = Memory::new();
        memory.insert("a/b.txt", "one\n", 7);
        assert_eq!(memory.open(b"a", Form::Octet), Err(Miss::Directory));
        assert_eq!(memory.open(b"a/", Form::Octet), Err(Miss::Directory));
        assert_eq!(memory.open(b"a/b", Form::Octet), Err(Miss::NotFound));
        let text = memory.open(b"a/b.txt", Form::Netascii).unwrap();
        assert_eq!(memory.bytes(text.id).unwrap(), b"one\r\n");
        let listing = memory.listing(b"/a/").unwrap();
        assert!(memory.bytes(listing.id).unwrap().windows(7).any(|part| part == b"b.txt</"));
        assert_eq!(memory.listing(b"/b/"), Err(Miss::NotFound));
    }
}
