//! An [`Index`] while it is built, directory by directory

use super::super::extent::Extent;
use super::Fault;
use super::index::{self, Boot, Index, Named, Node};
use crate::limits::ISO_NAMES_BYTES_MAX;

/// An entry of a directory; `D` is what its reader finds a directory by
pub(super) struct Child<D> {
    pub(super) name: Vec<u8>,
    pub(super) modified_s: u32,
    pub(super) what: Found<D>,
}

pub(super) enum Found<D> {
    Directory(D),
    File(Vec<Extent>),
    Link(Vec<u8>),
    Compressed,
}

/// A directory that is still to be read
pub(super) struct Unread<D> {
    pub(super) node: u32,
    pub(super) at: D,
}

/// What is known of an image so far
pub(super) struct Growth {
    pub(super) index: Index,
    /// Bytes of the image
    len: u64,
}

impl Growth {
    /// An empty root in an image of so many bytes
    pub(super) fn new(len: u64, modified_s: u32) -> Self {
        let mut growth = Self { index: Index::default(), len };
        let node = Node::Directory { first: 0, count: 0 };
        growth.index.nodes.push(Named { name_start: 0, name_len: 0, parent: Index::ROOT, modified_s, node });
        growth
    }

    /// Adds what firmware starts the image from as a directory of that name, which `read` fills: all of it, or nothing
    pub(super) fn add_boot(&mut self, name: &str, read: impl FnOnce(&mut Self, u32) -> Result<(), Fault>) {
        let Index { nodes, names, pieces, .. } = &self.index;
        let (nodes, names, pieces) = (nodes.len(), names.len(), pieces.len());
        let added = self.add_apart(name).and_then(|directory| read(self, directory).map(|()| directory));
        match added {
            Ok(directory) => self.index.boot = Boot::Read(directory),
            Err(fault) => {
                self.index.nodes.truncate(nodes);
                self.index.names.truncate(names);
                self.index.pieces.truncate(pieces);
                self.index.boot = Boot::Unread(fault);
            }
        }
    }

    fn add_apart(&mut self, name: &str) -> Result<u32, Fault> {
        let (name_start, name_len) = self.keep(name.as_bytes())?;
        let node = Node::Directory { first: 0, count: 0 };
        let modified_s = self.index.nodes[Index::ROOT as usize].modified_s;
        self.index.nodes.push(Named { name_start, name_len, parent: Index::ROOT, modified_s, node });
        number(self.index.nodes.len() - 1)
    }

    /// Puts the children of a directory side by side; returns the directories among them
    pub(super) fn add<D>(
        &mut self,
        directory: u32,
        mut children: Vec<Child<D>>,
    ) -> Result<Vec<Unread<D>>, Fault> {
        children.sort_by(|a, b| index::order(&a.name, &b.name));
        // Of versions of one file the first is the latest (ECMA-119 §9.3).
        children.dedup_by(|later, first| later.name == first.name);
        let first = number(self.index.nodes.len())?;
        let count = number(children.len())?;
        self.index.nodes[directory as usize].node = Node::Directory { first, count };
        let mut unread = Vec::new();
        for child in children {
            let node = number(self.index.nodes.len())?;
            let (name_start, name_len) = self.keep(&child.name)?;
            let what = match child.what {
                Found::Directory(at) => {
                    unread.push(Unread { node, at });
                    Node::Directory { first: 0, count: 0 }
                }
                Found::File(extents) => self.file(&extents).ok_or_else(|| {
                    let name = String::from_utf8_lossy(&child.name);
                    Fault::CutShort(format!("{}/{name}", self.path(directory)))
                })?,
                Found::Link(target) => {
                    let (start, len) = self.keep(&target)?;
                    Node::Link { start, len }
                }
                Found::Compressed => {
                    self.index.compressed += 1;
                    Node::Compressed
                }
            };
            let modified_s = child.modified_s;
            self.index.nodes.push(Named { name_start, name_len, parent: directory, modified_s, node: what });
        }
        Ok(unread)
    }

    /// `None`: a part of it lies outside the image
    fn file(&mut self, extents: &[Extent]) -> Option<Node> {
        if extents.iter().any(|extent| extent.offset + extent.len > self.len) {
            return None;
        }
        match extents {
            [] => Some(Node::File { extent: Extent { offset: 0, len: 0 } }),
            &[extent] => Some(Node::File { extent }),
            pieces => {
                let first = u32::try_from(self.index.pieces.len()).ok()?;
                self.index.pieces.extend_from_slice(pieces);
                Some(Node::Pieces { first, count: u32::try_from(pieces.len()).ok()? })
            }
        }
    }

    fn keep(&mut self, text: &[u8]) -> Result<(u32, u16), Fault> {
        let start = self.index.names.len();
        if start + text.len() > ISO_NAMES_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        self.index.names.extend_from_slice(text);
        Ok((number(start)?, u16::try_from(text.len()).map_err(|_| Fault::TooLarge)?))
    }

    /// The path of a directory, for a sentence; parents come before their children, so it ends
    pub(super) fn path(&self, directory: u32) -> String {
        let mut parts = Vec::new();
        let mut at = directory;
        while at != Index::ROOT && parts.len() < 64 {
            let named = &self.index.nodes[at as usize];
            let name = &self.index.names[named.name_start as usize..][..named.name_len.into()];
            parts.push(String::from_utf8_lossy(name).into_owned());
            at = named.parent;
        }
        parts.iter().rev().map(|part| format!("/{part}")).collect()
    }
}

fn number(len: usize) -> Result<u32, Fault> {
    u32::try_from(len).map_err(|_| Fault::TooLarge)
}

/// Adds an extent to a file; what lies side by side is one, as the pieces of a file above 4 GiB mostly do
pub(super) fn extend(extents: &mut Vec<Extent>, extent: Extent) {
    if extent.len == 0 {
        return;
    }
    match extents.last_mut() {
        Some(last) if last.offset + last.len == extent.offset => last.len += extent.len,
        _ => extents.push(extent),
    }
}
