//! ISO 9660 images as they lie: where each file is in the image, nothing mounted and nothing unpacked.
//!
//! [`read`] turns an image into an [`Index`]: names, and for each file the extents that hold it, mostly one. Names are
//! those of Rock Ridge where it is there, else Joliet's, else the plain ones. It reads directories only, never a file's
//! bytes, and nothing outside the image; every count that the image states is checked against the image and against
//! [`crate::limits`], so that an image that lies costs an error and bounded time.
//!
//! ECMA-119 §8 (volume descriptors), §9 (directory records); IEEE P1281 (SUSP), P1282 (Rock Ridge); Joliet 1995.
//! Not read: path tables (the directories say the same), UDF, sessions after the first. Files compressed by zisofs
//! are listed, and refused when opened. The crates that read ISO 9660 give no extents of files in several of them, and
//! panic where an image is not as it should be.
//!
//! What UEFI firmware starts an image from is a file system of its own within it (`torito`, `fat`). Its files are there below
//! [`BOOT`], as archivers show them; where it is damaged, the image is served without it.

mod builder;
mod date;
mod fat;
mod growth;
mod index;
mod record;
mod rock;
mod torito;
mod volume;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub(super) use index::{Index, What};

/// ECMA-119 §6.1.2: descriptors and directory records are laid out by sectors of this many bytes
const SECTOR: usize = 2048;

/// The folder that shows what firmware starts an image from
pub(super) const BOOT: &str = "[BOOT]";

/// What an image is read from
pub(super) trait ReadAt {
    /// How many bytes there are
    fn len(&self) -> io::Result<u64>;
    /// Fills `bytes` from `offset` on, or fails
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, offset)
    }
}

/// Why an image cannot be served
#[derive(Debug)]
pub(super) enum Fault {
    /// It is no file, but what is named
    NotFile(&'static str),
    /// No volume descriptor where one must be
    NotIso,
    /// Another file system is all that there is
    OnlyUdf,
    /// The logical block size is none of 512, 1024 and 2048 bytes
    BlockSize(u16),
    /// The named file or directory lies beyond the end of the image
    CutShort(String),
    /// A directory's records make no sense
    Directory(String),
    /// A directory holds one of those that hold it
    Loop(String),
    /// The boot sector is not that of a FAT file system
    NotFat,
    /// The clusters of the named file or directory make no sense
    Chain(String),
    /// More entries, names or directories than [`crate::limits`] allows
    TooLarge,
    /// The system could not read it
    Io(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFile(kind) => write!(f, "it is a {kind}, not a file"),
            Self::NotIso => f.write_str("it is not an ISO 9660 image"),
            Self::OnlyUdf => f.write_str("it holds a UDF file system only, which is not read"),
            Self::BlockSize(size) => write!(f, "its blocks have {size} bytes, which no ISO 9660 image has"),
            Self::CutShort(name) => {
                write!(f, "{name} lies beyond its end: is the image downloaded to the end?")
            }
            Self::Directory(name) => write!(f, "the directory {name} is damaged"),
            Self::Loop(name) => write!(f, "the directory {name} is one that was read before: a loop"),
            Self::NotFat => f.write_str("it is not a FAT file system"),
            Self::Chain(name) => {
                write!(f, "the clusters of {name} end early, lead nowhere, or belong to another file")
            }
            Self::TooLarge => f.write_str("it holds more files than reveille serves from one image"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads all directories of an image
///
/// # Errors
/// What is wrong with it: no part of such an image is served.
pub(super) fn read(image: &impl ReadAt) -> Result<Index, Fault> {
    let len = image.len()?;
    let volume = volume::Volume::read(image, len)?;
    let mut growth = builder::Builder::new(image, len, &volume).build()?;
    let boot_image = match volume.catalogue {
        Some(catalogue) => torito::efi_image(image, len, catalogue)?,
        None => None,
    };
    growth.index.has_udf = volume.has_udf;
    if let Some(offset) = boot_image {
        growth.add_boot(BOOT, |growth, directory| fat::read(image, len, offset, growth, directory));
    }
    Ok(growth.index)
}

/// A little-endian number of 32 bits: ECMA-119 §7.3.3 writes it both ways, and all readers take this one
fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
