//! The files behind a replay: a directory of the operator's, or what the capture itself holds of them.
//!
//! A file that a capture kept in part has its length, and zeros for what is missing; it takes no more memory than what was
//! kept, so that the capture of an ISO image's download is no burden.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use crate::boot::image::{Form, Image, ImageId, Images, Miss};
use crate::content::{Tree, plain, type_of};
use crate::heard::Heard;

/// Files larger than this are none: a capture may say anything
const SIZE_MAX: u64 = 1 << 44;

/// What a replay serves
#[derive(Debug)]
pub(super) enum Files {
    /// Rebuilt from the capture
    Rebuilt(Rebuilt),
    /// Below a directory
    Tree(Box<Tree>),
}

/// Files put together from what was sent
#[derive(Debug, Default)]
pub(super) struct Rebuilt {
    files: Vec<File>,
    by_path: HashMap<Vec<u8>, usize>,
}

#[derive(Debug, Default)]
struct File {
    size: u64,
    modified_s: u64,
    media_type: &'static str,
    parts: BTreeMap<u64, Vec<u8>>,
}

impl Rebuilt {
    /// What the servers of a capture sent
    pub(super) fn from(heard: &Heard<'_>) -> Self {
        let mut rebuilt = Self::default();
        for transfer in heard.transfers.iter().filter(|transfer| transfer.has_file()) {
            let name: Vec<u8> = transfer
                .request
                .filename
                .iter()
                .map(|&byte| if byte == b'\\' { b'/' } else { byte })
                .collect();
            rebuilt.add(&name, transfer.size(), 0, transfer.parts());
        }
        for connection in &heard.connections {
            for (request, response) in connection.requests.iter().zip(&connection.responses) {
                if let Some(size) = response.file_size() {
                    rebuilt.add(
                        &path_of(&request.target),
                        size,
                        response.modified_s(),
                        response.file_parts(),
                    );
                }
            }
        }
        rebuilt
    }

    /// Adds what one conversation tells of a file; what an earlier one told stands
    fn add<'p>(
        &mut self,
        path: &[u8],
        size: u64,
        modified_s: u64,
        parts: impl Iterator<Item = (u64, &'p [u8])>,
    ) {
        let Some(path) = plain(path).filter(|path| !path.is_empty() && !path.ends_with(b"/")) else { return };
        let media_type = type_of(&path);
        let index = *self.by_path.entry(path).or_insert_with(|| {
            self.files.push(File { media_type, ..File::default() });
            self.files.len() - 1
        });
        let file = &mut self.files[index];
        file.size = file.size.max(size.min(SIZE_MAX));
        file.modified_s = file.modified_s.max(modified_s);
        for (offset, bytes) in parts {
            let kept = file.parts.entry(offset).or_default();
            if kept.len() < bytes.len() {
                *kept = bytes.to_vec();
            }
        }
    }

    fn is_directory(&self, path: &[u8]) -> bool {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let is_below = |known: &[u8]| known.strip_prefix(path).is_some_and(|rest| rest.starts_with(b"/"));
        path.is_empty() || self.by_path.keys().any(|known| is_below(known))
    }
}

impl File {
    fn read(&self, offset: u64, bytes: &mut [u8]) {
        bytes.fill(0);
        let end = offset + bytes.len() as u64;
        for (start, part) in self.parts.range(..end) {
            let part_end = start + part.len() as u64;
            let (from, to) = (offset.max(*start), end.min(part_end));
            if from < to {
                let place = &mut bytes[usize_of(from - offset)..usize_of(to - offset)];
                place.copy_from_slice(&part[usize_of(from - start)..usize_of(to - start)]);
            }
        }
    }
}

/// Lengths of what lies in memory
fn usize_of(len: u64) -> usize {
    usize::try_from(len).expect("a length of what lies in memory")
}

/// What a request target names: without its query, percent-coding undone
fn path_of(target: &str) -> Vec<u8> {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    percent_encoding::percent_decode_str(path).collect()
}

impl Files {
    /// The bytes of an image; fewer only where it ends, or cannot be read
    pub(super) fn read(&mut self, id: ImageId, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let read = match self {
            Self::Rebuilt(rebuilt) => {
                let file = &rebuilt.files[id.0 as usize];
                let left = usize::try_from(file.size.saturating_sub(offset)).unwrap_or(usize::MAX);
                bytes.truncate(left);
                file.read(offset, &mut bytes);
                bytes.len()
            }
            Self::Tree(tree) => tree.read_at(id, offset, &mut bytes).unwrap_or(0),
        };
        bytes.truncate(read);
        bytes
    }
}

impl Images for Files {
    fn open(&mut self, path: &[u8], form: Form) -> Result<Image, Miss> {
        let rebuilt = match self {
            Self::Tree(tree) => return tree.open(path, form),
            Self::Rebuilt(rebuilt) => rebuilt,
        };
        let path = plain(path).ok_or(Miss::NotFound)?;
        let Some(&index) = rebuilt.by_path.get(&path) else {
            return Err(if rebuilt.is_directory(&path) { Miss::Directory } else { Miss::NotFound });
        };
        // What was sent as netascii was captured as netascii: the form is the capture's.
        let file = &rebuilt.files[index];
        let number = u32::try_from(index).map_err(|_| Miss::Busy)?;
        Ok(Image {
            id: ImageId(number),
            size: file.size,
            modified_s: file.modified_s,
            version: u64::from(number),
            media_type: file.media_type,
        })
    }

    fn open_for(&mut self, peer: Ipv4Addr, path: &[u8], form: Form) -> Result<Image, Miss> {
        match self {
            Self::Tree(tree) => tree.open_for(peer, path, form),
            Self::Rebuilt(_) => self.open(path, form),
        }
    }

    fn listing(&mut self, path: &[u8]) -> Result<Image, Miss> {
        match self {
            Self::Tree(tree) => tree.listing(path),
            // What a capture holds of a directory is a guess.
            Self::Rebuilt(_) => Err(Miss::NotFound),
        }
    }

    fn close(&mut self, id: ImageId) {
        if let Self::Tree(tree) = self {
            tree.close(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_at_its_place_and_the_rest_is_zero() {
        let mut rebuilt = Rebuilt::default();
        rebuilt.add(b"//a/b", 10, 7, [(0, &b"one"[..]), (6, b"two")].into_iter());
        rebuilt.add(b"a/b", 10, 0, [(0, &b"o"[..]), (8, b"oxx")].into_iter());
        rebuilt.add(b"../c", 10, 0, std::iter::empty());
        rebuilt.add(b"d/", 10, 0, std::iter::empty());
        let mut files = Files::Rebuilt(rebuilt);
        let image = files.open(b"/a/b", Form::Octet).unwrap();
        assert_eq!((image.size, image.modified_s), (10, 7));
        assert_eq!(files.read(image.id, 0, 99), b"one\0\0\0twox");
        assert_eq!(files.read(image.id, 2, 5), b"e\0\0\0t");
        assert_eq!(files.open(b"a", Form::Octet), Err(Miss::Directory));
        assert_eq!(files.open(b"c", Form::Octet), Err(Miss::NotFound));
        assert_eq!(files.open(b"../c", Form::Octet), Err(Miss::NotFound));
    }

    #[test]
    fn targets_name_files() {
        assert_eq!(path_of("/a%20b?c#d"), b"/a b");
        assert_eq!(path_of("//grubx64.efi"), b"//grubx64.efi");
    }
}
