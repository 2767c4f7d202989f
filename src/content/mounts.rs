//! The images where one shard finds them: which path leads into which

use std::sync::Arc;

use super::disc::{Disc, Drive};
use super::root::{Root, Version};
use crate::boot::image::Miss;

/// The folder that images appear in
pub(super) const IMAGES: &str = "images";

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

    /// The ISO image as it is now; `None`: it is a directory
    pub(super) fn disc(&mut self) -> Result<Option<Arc<Disc>>, Miss> {
        match &mut self.place {
            Place::Iso { drive, known } => drive.disc(known).map(Some),
            Place::Directory(_) => Ok(None),
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
    /// An ISO image as a whole, as `NAME.iso`
    Whole { number: usize },
}

/// Where `plain` leads. An image stands before a folder of the root that has its name.
pub(super) fn within(mounts: &[Mount], plain: &[u8]) -> Within {
    let Some(below) = plain.strip_prefix(IMAGES.as_bytes()).filter(|_| !mounts.is_empty()) else {
        return Within::Root;
    };
    if below.is_empty() || below == b"/" {
        return Within::Folder;
    }
    let Some(below) = below.strip_prefix(b"/") else { return Within::Root };
    let end = below.iter().position(|&byte| byte == b'/').unwrap_or(below.len());
    if let Some(number) = mounts.iter().position(|mount| mount.name.as_bytes() == &below[..end]) {
        let rest = plain.len() - below.len() + (end + 1).min(below.len());
        return Within::Mount { number, rest };
    }
    let is_whole = |mount: &Mount| {
        matches!(mount.place, Place::Iso { .. }) && below.strip_suffix(b".iso") == Some(mount.name.as_bytes())
    };
    mounts.iter().position(is_whole).map_or(Within::Root, |number| Within::Whole { number })
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
