//! What an image holds, found by path: nodes side by side, the names in one piece of memory, 40 bytes a file beside its name

use std::cmp::Ordering;
use std::collections::VecDeque;

use super::super::extent::Extent;
use super::Fault;
use crate::limits::{ISO_LINKS_MAX, ISO_STEPS_MAX};

/// What a node is
#[derive(Clone, Copy, Debug)]
pub(super) enum Node {
    /// Its children lie side by side, ordered by [`order`]
    Directory { first: u32, count: u32 },
    /// Extents, mostly one
    File { extent: Extent },
    /// A file in more than one piece
    Pieces { first: u32, count: u32 },
    /// Its target lies among the names
    Link { start: u32, len: u16 },
    /// By zisofs
    Compressed,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) name_start: u32,
    pub(super) name_len: u16,
    pub(super) parent: u32,
    pub(super) modified_s: u32,
    pub(super) node: Node,
}

/// The tree of an image
#[derive(Debug, Default)]
pub(in crate::content) struct Index {
    /// The root is the first, its own parent
    pub(super) nodes: Vec<Named>,
    pub(super) names: Vec<u8>,
    pub(super) pieces: Vec<Extent>,
    pub(super) compressed: usize,
    pub(super) boot: Boot,
    pub(super) has_udf: bool,
}

/// What UEFI firmware starts an image from
#[derive(Debug, Default)]
pub(super) enum Boot {
    #[default]
    None,
    /// Its root; its nodes come after all others
    Read(u32),
    /// It cannot be served, and why
    Unread(Fault),
}

/// What lies at a path
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::content) struct Lying<'i> {
    pub(in crate::content) what: What<'i>,
    pub(in crate::content) modified_s: u32,
    /// It lies in the file system that firmware starts the image from
    pub(in crate::content) in_boot_image: bool,
}

/// What a path leads to
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::content) enum What<'i> {
    /// The extents of a file, none of them empty
    File(&'i [Extent]),
    /// A directory
    Directory,
    /// A file that zisofs has compressed
    Compressed,
}

/// One name of a directory
#[derive(Clone, Copy, Debug)]
pub(in crate::content) struct Entry<'i> {
    pub(in crate::content) name: &'i [u8],
    pub(in crate::content) is_directory: bool,
    pub(in crate::content) size: u64,
    pub(in crate::content) modified_s: u32,
}

/// Children are ordered by name without regard to ASCII case, then by name
pub(super) fn order(a: &[u8], b: &[u8]) -> Ordering {
    folded(a, b).then_with(|| a.cmp(b))
}

fn folded(a: &[u8], b: &[u8]) -> Ordering {
    a.iter().map(u8::to_ascii_lowercase).cmp(b.iter().map(u8::to_ascii_lowercase))
}

/// A name without the version that ISO 9660 ends it with, `;1` mostly
pub(super) fn without_version(name: &[u8]) -> &[u8] {
    match name.iter().rposition(|&byte| byte == b';') {
        Some(at) if at > 0 && name[at + 1..].iter().all(u8::is_ascii_digit) => &name[..at],
        _ => name,
    }
}

impl Index {
    pub(super) const ROOT: u32 = 0;

    /// What lies at a path. Names are compared as they are, and without regard to case where that finds
    /// nothing; symbolic links are followed inside the image only.
    pub(in crate::content) fn find(&self, path: &[u8]) -> Option<Lying<'_>> {
        let number = self.resolve(Self::ROOT, path)?;
        let modified_s = self.nodes.get(number as usize)?.modified_s;
        let in_boot_image = self.boot_root().is_some_and(|boot| number >= boot);
        Some(Lying { what: self.what(number)?, modified_s, in_boot_image }).filter(|lying| {
            // A slash at the end names a directory.
            !path.ends_with(b"/") || lying.what == What::Directory
        })
    }

    /// What a directory holds; links are shown as what they lead to, those that lead nowhere are left out
    pub(in crate::content) fn entries(&self, path: &[u8]) -> Option<impl Iterator<Item = Entry<'_>>> {
        let number = self.resolve(Self::ROOT, path)?;
        let Node::Directory { first, count } = self.nodes.get(number as usize)?.node else { return None };
        let boot = self.boot_root().filter(|_| number == Self::ROOT);
        Some((first..first + count).chain(boot).filter_map(move |child| {
            let named = &self.nodes[child as usize];
            let target = match named.node {
                Node::Link { .. } => self.resolve(number, self.name(named))?,
                _ => child,
            };
            let size = match self.what(target)? {
                What::File(extents) => extents.iter().map(|extent| extent.len).sum(),
                What::Directory | What::Compressed => 0,
            };
            let is_directory = matches!(self.nodes[target as usize].node, Node::Directory { .. });
            Some(Entry { name: self.name(named), is_directory, size, modified_s: named.modified_s })
        }))
    }

    /// Files and directories of the image itself
    pub(in crate::content) fn len(&self) -> usize {
        self.boot_root().map_or(self.nodes.len(), |boot| boot as usize)
    }

    /// How many files and directories UEFI firmware finds in what it starts the image from, or why they are not served
    pub(in crate::content) fn boot_image(&self) -> Option<Result<usize, &Fault>> {
        match &self.boot {
            Boot::None => None,
            Boot::Read(root) => Some(Ok(self.nodes.len() - *root as usize - 1)),
            Boot::Unread(fault) => Some(Err(fault)),
        }
    }

    /// Whether the image has a UDF file system too, whose files are not read
    pub(in crate::content) fn has_udf(&self) -> bool {
        self.has_udf
    }

    fn boot_root(&self) -> Option<u32> {
        match self.boot {
            Boot::Read(root) => Some(root),
            Boot::None | Boot::Unread(_) => None,
        }
    }

    /// Files that zisofs has compressed
    pub(in crate::content) fn compressed(&self) -> usize {
        self.compressed
    }

    fn what(&self, number: u32) -> Option<What<'_>> {
        Some(match &self.nodes.get(number as usize)?.node {
            Node::Directory { .. } => What::Directory,
            Node::File { extent } if extent.len == 0 => What::File(&[]),
            Node::File { extent } => What::File(std::slice::from_ref(extent)),
            &Node::Pieces { first, count } => {
                What::File(self.pieces.get(first as usize..(first + count) as usize)?)
            }
            Node::Compressed => What::Compressed,
            Node::Link { .. } => return None,
        })
    }

    fn name(&self, named: &Named) -> &[u8] {
        &self.names[named.name_start as usize..][..named.name_len.into()]
    }

    /// Follows a path from a directory; what it leads to is no link
    fn resolve(&self, from: u32, path: &[u8]) -> Option<u32> {
        let mut at = from;
        let mut parts: VecDeque<&[u8]> = path.split(|&byte| byte == b'/').collect();
        let (mut links, mut steps) = (0, 0);
        while let Some(part) = parts.pop_front() {
            steps += 1;
            if steps > ISO_STEPS_MAX {
                return None;
            }
            match part {
                b"" | b"." => continue,
                b".." => {
                    at = self.nodes[at as usize].parent;
                    continue;
                }
                _ => {}
            }
            let child = self.child(at, part)?;
            let Node::Link { start, len } = self.nodes[child as usize].node else {
                at = child;
                continue;
            };
            links += 1;
            if links > ISO_LINKS_MAX {
                return None;
            }
            let target = &self.names[start as usize..][..len.into()];
            if target.starts_with(b"/") {
                at = Self::ROOT;
            }
            for part in target.rsplit(|&byte| byte == b'/') {
                parts.push_front(part);
            }
        }
        Some(at)
    }

    fn child(&self, directory: u32, name: &[u8]) -> Option<u32> {
        let Node::Directory { first, count } = self.nodes[directory as usize].node else { return None };
        let children = &self.nodes[first as usize..(first + count) as usize];
        let look = |name: &[u8]| {
            let start = children.partition_point(|child| folded(self.name(child), name).is_lt());
            let same = children[start..].iter().take_while(|child| folded(self.name(child), name).is_eq());
            let exact = same.clone().position(|child| self.name(child) == name);
            let at = exact.or_else(|| same.clone().next().map(|_| 0))?;
            u32::try_from(start + at).ok().map(|at| first + at)
        };
        let is_boot = |&boot: &u32| {
            directory == Self::ROOT && self.name(&self.nodes[boot as usize]).eq_ignore_ascii_case(name)
        };
        // What the image itself has of that name goes before.
        look(name).or_else(|| look(without_version(name))).or_else(|| self.boot_root().filter(is_boot))
    }
}
