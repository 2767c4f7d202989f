//! What lies behind a path: a directory tree, ISO images, or bytes in memory.
//!
//! This is where the program reads the operator's files; it never writes one, never leaves the root that it was given,
//! and never mixes two versions of a file in one transfer. It answers [`crate::boot::image::Images`] for the protocols and
//! hands a driver the bytes behind an [`crate::boot::image::ImageId`]: a file to `sendfile` from, or memory.
//!
//! - [`Tree`]: the files below one directory and in the images, with a cache of open files and HTML listings
//! - [`Library`]: the images, out of ISO images as they lie (`iso`, `disc`) or directories, below `/images/NAME/`
//! - [`Loaders`]: loaders that the root lacks, out of images and packages
//! - [`Memory`]: named bytes, for replays, simulated racks and tests
//! - [`Snapshots`]: hot files in memory, shared by the trees of all shards
//! - `places`: what a path leads to, of all of those; `mounts`: the paths that lead into images
//! - `stored`: the bytes of a file, or of pieces of one, of one version; `extent`: the pieces
//! - `root`: confinement and what tells two versions apart; `table`: open files; `sys`: the system calls

mod disc;
mod extent;
mod iso;
mod library;
mod listed;
mod listing;
mod loaders;
mod media;
mod memory;
mod mounts;
mod netascii;
mod path;
mod places;
mod root;
mod snapshot;
mod stored;
mod sys;
mod table;
mod tree;

pub use disc::Unserved;
pub use library::{Library, LibraryError, Mounted};
pub use loaders::Loaders;
pub use media::type_of;
pub use memory::Memory;
pub use path::plain;
pub use snapshot::Snapshots;
pub use stored::{Part, Placed};
pub use tree::Tree;

#[cfg(test)]
mod tests;
