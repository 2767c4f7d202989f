//! What lies behind a path, seen from the protocols: identities and sizes, never bytes.
//!
//! [`Images`] is what TFTP and HTTP ask; `content` answers it from directories, tests and the simulated rack from
//! memory. A protocol describes a body as (image, offset, length) and the driver moves the bytes.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::plan::Plan;
use super::register::Ticket;

/// Where the files below `/images/NAME` come from
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An ISO image, served as it is
    Iso(PathBuf),
    /// A directory that holds the same
    Directory(PathBuf),
}

/// An image as the configuration describes it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSource {
    /// Its part of the path
    pub name: String,
    /// Where its files are
    pub origin: Origin,
    /// What it boots, in place of what is found in it: a path in the image
    pub kernel: Option<String>,
    /// Paths in the image; they go with `kernel`
    pub initrds: Vec<String>,
    /// What the kernel is told, in place of what its distribution wants
    pub args: Option<String>,
    /// What menus call it
    pub title: Option<String>,
}

impl ImageSource {
    /// An image of which no more is said
    pub fn new(name: impl Into<String>, origin: Origin) -> Self {
        Self { name: name.into(), origin, kernel: None, initrds: Vec::new(), args: None, title: None }
    }
}

impl Origin {
    /// The file or the directory
    pub fn path(&self) -> &Path {
        match self {
            Self::Iso(path) | Self::Directory(path) => path,
        }
    }
}

/// An open image; each successful [`Images::open`] is matched by one [`Images::close`]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageId(pub u32);

/// What is known of an open image; it does not change while it is open
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its identity in this shard
    pub id: ImageId,
    /// Length in bytes, as sent (after netascii conversion, where asked)
    pub size: u64,
    /// Last modification, seconds since the Unix epoch
    pub modified_s: u64,
    /// A strong validator: changes whenever the bytes may have (device, inode, size, mtime, ctime)
    pub version: u64,
    /// Content-Type, exact as firmware compares it, without a charset where none is due
    pub media_type: &'static str,
}

/// How the bytes are wanted
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// As they are
    Octet,
    /// RFC 764 netascii: LF as CR LF, CR as CR NUL (RFC 1350 §1)
    Netascii,
}

/// Why a path yields no image
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Miss {
    /// Nothing has that name (or it leaves the root)
    NotFound,
    /// It exists, and the server may not read it
    Forbidden,
    /// It is a directory: [`Images::listing`] shows it
    Directory,
    /// It cannot be converted to netascii within bounds, or the file table is full: try again later
    Busy,
    /// The operating system failed to read it
    Unreadable,
    /// An ISO image holds it compressed (zisofs), and only Linux unpacks that
    Compressed,
}

/// The images that a shard serves
pub trait Images {
    /// Opens the image at `path`: bytes as they came from the peer after the protocol's own decoding, `/` between parts,
    /// confined to the root whatever they hold. Leading and doubled slashes and `.` are as if absent.
    ///
    /// # Errors
    /// The reason why there is none; it is found at once, never waited for.
    fn open(&mut self, path: &[u8], form: Form) -> Result<Image, Miss>;

    /// As [`Images::open`], for the client at `peer`: a loader's configuration may be generated for it alone.
    ///
    /// # Errors
    /// As [`Images::open`].
    fn open_for(&mut self, peer: Ipv4Addr, path: &[u8], form: Form) -> Result<Image, Miss> {
        let _ = peer;
        self.open(path, form)
    }

    /// Takes the report that the client at `peer` makes by asking for `path`: the text that answers it, and what is to be on disk
    /// before that is sent. `None`: the path reports nothing.
    ///
    /// # Errors
    /// Why it is not taken.
    fn report(&mut self, peer: Ipv4Addr, path: &[u8]) -> Option<Result<(Image, Option<Ticket>), Miss>> {
        let _ = (peer, path);
        None
    }

    /// A new plan is in force
    fn on_plan(&mut self, plan: &Arc<Plan>) {
        let _ = plan;
    }

    /// Opens an HTML page that lists the directory at `path`; relative links, so that it works below any prefix.
    ///
    /// # Errors
    /// As [`Images::open`].
    fn listing(&mut self, path: &[u8]) -> Result<Image, Miss>;

    /// Gives back one opening of an image
    fn close(&mut self, id: ImageId);
}
