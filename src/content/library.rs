//! The operator's images by name: each below `/images/NAME/`, out of an ISO image or a directory

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::disc::{Disc, Drive, Unserved};
use super::root::{Root, Version};
use crate::boot::image::Origin;

/// The folder that images appear in
pub(super) const FOLDER: &[u8] = b"images";

/// Images by name, opened once and shared by the shards
#[derive(Debug, Default)]
pub struct Library {
    shelves: Vec<(String, Shelf)>,
}

#[derive(Debug)]
enum Shelf {
    Iso(Arc<Drive>),
    Directory(PathBuf),
}

/// Why an image cannot be served
#[derive(Debug)]
pub enum LibraryError {
    /// The ISO image is none, or is damaged
    Iso(Unserved),
    /// The directory cannot be opened; the error names it
    Directory(io::Error),
}

impl fmt::Display for LibraryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iso(error) => error.fmt(f),
            Self::Directory(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LibraryError {}

impl Library {
    /// Opens an image, in place of another one of that name
    ///
    /// # Errors
    /// Why it cannot be served
    pub fn add(&mut self, name: &str, origin: &Origin) -> Result<(), LibraryError> {
        let shelf = match origin {
            Origin::Iso(path) => Shelf::Iso(Arc::new(Drive::open(path).map_err(LibraryError::Iso)?)),
            Origin::Directory(path) => {
                Root::open(path).map_err(LibraryError::Directory)?;
                Shelf::Directory(path.clone())
            }
        };
        self.shelves.retain(|(known, _)| known != name);
        self.shelves.push((name.to_owned(), shelf));
        Ok(())
    }

    /// Opens all of them
    ///
    /// # Errors
    /// Why the first that cannot be served cannot
    pub fn open(images: &[(String, Origin)]) -> Result<Self, LibraryError> {
        let mut library = Self::default();
        images.iter().try_for_each(|(name, origin)| library.add(name, origin))?;
        Ok(library)
    }

    /// What is worth saying of an image: how many files it has, and how many of them cannot be served
    pub fn describe(&self, name: &str) -> Option<String> {
        let (_, shelf) = self.shelves.iter().find(|(known, _)| known == name)?;
        let Shelf::Iso(drive) = shelf else { return Some("a directory".to_owned()) };
        let disc = drive.disc(&mut None).ok()?;
        let (entries, compressed) = (disc.index.len(), disc.index.compressed());
        Some(match compressed {
            0 => format!("{entries} files and folders"),
            _ => format!(
                "{entries} files and folders; {compressed} of them are compressed (zisofs) and cannot be served"
            ),
        })
    }

    /// A shard's own way to the images
    pub(super) fn mounts(&self) -> io::Result<Vec<Mount>> {
        let mount = |(name, shelf): &(String, Shelf)| {
            let place = match shelf {
                Shelf::Iso(drive) => Place::Iso { drive: Arc::clone(drive), known: None },
                Shelf::Directory(path) => Place::Directory(Root::open(path)?),
            };
            Ok(Mount { name: name.clone(), place })
        };
        self.shelves.iter().map(mount).collect()
    }
}

/// An image as one shard sees it
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) name: String,
    pub(super) place: Place,
}

impl Mount {
    /// The version of the ISO image or of the directory itself
    pub(super) fn version(&self) -> Option<Version> {
        match &self.place {
            Place::Iso { drive, .. } => drive.peek(),
            Place::Directory(root) => root.peek(c"."),
        }
    }
}

/// Where its files are
#[derive(Debug)]
pub(super) enum Place {
    Iso { drive: Arc<Drive>, known: Option<Arc<Disc>> },
    Directory(Root),
}

/// What a plain path leads into
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// The root
    Root,
    /// The folder of the images, and what the root may have there too
    Folder,
    /// An image, by its place in the list, and where the path goes on below it
    Mount { number: usize, rest: usize },
}

/// Where `plain` leads. An image stands before a folder of the root that has its name.
pub(super) fn within(mounts: &[Mount], plain: &[u8]) -> Within {
    let Some(below) = plain.strip_prefix(FOLDER).filter(|_| !mounts.is_empty()) else { return Within::Root };
    if below.is_empty() || below == b"/" {
        return Within::Folder;
    }
    let Some(below) = below.strip_prefix(b"/") else { return Within::Root };
    let end = below.iter().position(|&byte| byte == b'/').unwrap_or(below.len());
    match mounts.iter().position(|mount| mount.name.as_bytes() == &below[..end]) {
        Some(number) => {
            let rest = plain.len() - below.len() + (end + 1).min(below.len());
            Within::Mount { number, rest }
        }
        None => Within::Root,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_into_images_by_their_first_part() {
        let root = || Place::Directory(Root::open(std::path::Path::new("/")).unwrap());
        let mounts = ["a", "ab"].map(|name| Mount { name: name.to_owned(), place: root() });
        let rest = |plain: &str| match within(&mounts, plain.as_bytes()) {
            Within::Mount { number, rest } => format!("{number}:{}", &plain[rest..]),
            other => format!("{other:?}"),
        };
        for (plain, expected) in [
            ("", "Root"),
            ("image", "Root"),
            ("imagesx/a", "Root"),
            ("images", "Folder"),
            ("images/", "Folder"),
            ("images/x/a", "Root"),
            ("images/a", "0:"),
            ("images/a/", "0:"),
            ("images/a/b/c", "0:b/c"),
            ("images/ab/b/", "1:b/"),
        ] {
            assert_eq!(rest(plain), expected, "{plain}");
        }
        assert_eq!(within(&[], b"images"), Within::Root, "without images the folder is the root's");
    }
}
