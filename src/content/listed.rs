//! What a listing shows: the names of a directory, of an image, or of the folder of the images

use std::ffi::CStr;

use super::disc::Disc;
use super::listing::Line;
use super::mounts::Mount;
use super::root::{Root, Version};
use super::sys;
use crate::limits::LISTING_ENTRIES_MAX;

/// The lines of a listing, unordered
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) lines: Vec<Line>,
    /// The directory holds more
    pub(super) is_cut: bool,
    /// The latest change among the directory and what it shows
    pub(super) modified_s: u64,
}

impl Listed {
    /// Hidden files, what is neither file nor directory, and links that lead nowhere or out of the root are left out.
    pub(super) fn read(root: &Root, plain: &[u8], mut names: sys::Names) -> Self {
        let modified_s = sys::stat(names.directory()).map_or(0, |stat| Version::of(&stat).modified_s());
        let mut listed = Self { modified_s, ..Self::default() };
        while let Some(name) = names.next_name() {
            if name.to_bytes().starts_with(b".") {
                continue;
            }
            if listed.lines.len() == LISTING_ENTRIES_MAX {
                listed.is_cut = true;
                break;
            }
            let Ok(mut stat) = sys::stat_at(names.directory(), &name, libc::AT_SYMLINK_NOFOLLOW) else {
                continue;
            };
            if kind(&stat) == libc::S_IFLNK {
                match resolved(root, plain, &name) {
                    Some(target) => stat = target,
                    None => continue,
                }
            }
            let directory = kind(&stat) == libc::S_IFDIR;
            if directory || kind(&stat) == libc::S_IFREG {
                let version = Version::of(&stat);
                let size = if directory { 0 } else { version.size };
                let modified_s = version.modified_s();
                listed.modified_s = listed.modified_s.max(modified_s);
                listed.lines.push(Line { name: name.into_bytes(), directory, size, modified_s });
            }
        }
        listed
    }

    /// A directory in an ISO image, hidden files left out as in one on disk; `None`: there is none of that name
    pub(super) fn of_disc(disc: &Disc, path: &[u8]) -> Option<Self> {
        let modified_s = disc.index.find(path)?.modified_s.into();
        let mut listed = Self { modified_s, ..Self::default() };
        for entry in disc.index.entries(path)?.filter(|entry| !entry.name.starts_with(b".")) {
            if listed.lines.len() == LISTING_ENTRIES_MAX {
                listed.is_cut = true;
                break;
            }
            let (directory, size, modified_s) = (entry.is_directory, entry.size, entry.modified_s.into());
            listed.modified_s = listed.modified_s.max(modified_s);
            listed.lines.push(Line { name: entry.name.to_vec(), directory, size, modified_s });
        }
        Some(listed)
    }

    /// Adds the images to what the root has in their folder
    pub(super) fn add_mounts(&mut self, mounts: &[Mount]) {
        self.lines.retain(|line| mounts.iter().all(|mount| mount.name.as_bytes() != line.name));
        self.lines.extend(mounts.iter().map(|mount| {
            let modified_s = mount.version().map_or(0, |version| version.modified_s());
            self.modified_s = self.modified_s.max(modified_s);
            Line { name: mount.name.clone().into_bytes(), directory: true, size: 0, modified_s }
        }));
    }

    /// Adds the folder of the images to the root, which may have one of that name
    pub(super) fn add_folder(&mut self, name: &[u8]) {
        if self.lines.iter().all(|line| line.name != name) {
            let modified_s = self.modified_s;
            self.lines.push(Line { name: name.to_vec(), directory: true, size: 0, modified_s });
        }
    }
}

fn kind(stat: &libc::stat) -> libc::mode_t {
    stat.st_mode & libc::S_IFMT
}

/// What a link leads to, beneath the root
fn resolved(root: &Root, plain: &[u8], name: &CStr) -> Option<libc::stat> {
    let path = [plain, b"/", name.to_bytes_with_nul()].concat();
    let path = path.strip_prefix(b"/").unwrap_or(&path);
    root.stat(CStr::from_bytes_with_nul(path).ok()?).ok()
}
