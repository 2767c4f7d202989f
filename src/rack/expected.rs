//! What the bytes that machines load are held against: the site's own files where those are known, else the server's root
//! where it is at hand, else what the machine that was first to read them got.
//!
//! A small text may be written for the machine that asks (a script with its name in it), so of those that differ only the
//! length is held against what was announced. What has no room is counted as unchecked; nothing grows without bound.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use serde::Serialize;

use super::site::{Files, plain};

/// Bytes kept of files that are known only from the wire
const LEARNT_BYTES_MAX: usize = 512 << 20;
/// Names of which anything is kept
const NAMES_MAX: usize = 1 << 16;
/// A longer file is no configuration
pub(crate) const TEXT_MAX: usize = 64 << 10;
/// A block of any protocol fits
const PART_MAX: usize = 64 << 10;

/// How many bytes were compared with what
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// With the files of the root
    pub with_root: u64,
    /// With what another machine got
    pub with_others: u64,
    /// With nothing: the first machine to get them, or no room to keep them
    pub first: u64,
}

/// What machines hold files against
pub(crate) enum Expected {
    /// All files are known
    Site(Files),
    /// Files of a server somewhere
    Learnt(RefCell<Learnt>),
}

/// What is known of a server's files
#[derive(Default)]
pub(crate) struct Learnt {
    root: Option<PathBuf>,
    files: HashMap<String, Seen>,
    bytes: usize,
    checked: Checked,
    part: Vec<u8>,
}

#[derive(Default)]
struct Seen {
    on_disk: Option<(File, u64)>,
    /// From its beginning, as far as any machine has got
    bytes: Vec<u8>,
    /// How long it is, once a machine has all of it
    size: Option<u64>,
    /// A text that is another one for each machine
    varies: bool,
}

impl Expected {
    /// A server's files, which may lie below `root` as well
    pub(crate) fn learnt(root: Option<PathBuf>) -> Self {
        Self::Learnt(RefCell::new(Learnt { root, ..Learnt::default() }))
    }

    /// Whether the file holds these bytes there
    pub(crate) fn holds(&self, url: &str, offset: u64, bytes: &[u8]) -> bool {
        match self {
            Self::Site(files) => files.holds(path(url), offset, bytes),
            Self::Learnt(learnt) => learnt.borrow_mut().holds(url, offset, bytes),
        }
    }

    /// Whether the file is announced with its size
    pub(crate) fn may_be_size(&self, url: &str, size: u64) -> bool {
        match self {
            Self::Site(files) => files.size(path(url)) == Some(size),
            Self::Learnt(learnt) => learnt.borrow_mut().seen(url).is_none_or(|seen| match &seen.on_disk {
                Some((_, len)) => *len == size,
                None => true,
            }),
        }
    }

    /// Whether the file ends there
    pub(crate) fn ends_at(&self, url: &str, size: u64) -> bool {
        match self {
            Self::Site(files) => files.size(path(url)) == Some(size),
            Self::Learnt(learnt) => learnt.borrow_mut().ends_at(url, size),
        }
    }

    /// What has been compared with what
    pub(crate) fn checked(&self) -> Checked {
        match self {
            Self::Site(_) => Checked::default(),
            Self::Learnt(learnt) => learnt.borrow().checked,
        }
    }
}

impl Seen {
    /// Forgets what one machine got, and returns how much that was
    fn vary(&mut self) -> usize {
        self.varies = true;
        std::mem::take(&mut self.bytes).len()
    }
}

impl Learnt {
    /// `None`: there are too many names
    fn seen(&mut self, url: &str) -> Option<&mut Seen> {
        if !self.files.contains_key(url) {
            if self.files.len() == NAMES_MAX {
                return None;
            }
            let on_disk = self.root.as_ref().and_then(|root| {
                let name = plain(path(url));
                let is_below = !name.split('/').any(|part| part == "..");
                let file = is_below.then(|| File::open(root.join(name)).ok()).flatten()?;
                let about = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
                Some((file, about.len()))
            });
            self.files.insert(url.to_owned(), Seen { on_disk, ..Seen::default() });
        }
        self.files.get_mut(url)
    }

    fn ends_at(&mut self, url: &str, size: u64) -> bool {
        let Some(seen) = self.seen(url) else { return true };
        if let Some((_, len)) = &seen.on_disk {
            return *len == size;
        }
        if seen.varies || *seen.size.get_or_insert(size) == size {
            return true;
        }
        let is_script = is_text(&seen.bytes);
        if is_script {
            let freed = seen.vary();
            self.bytes -= freed;
        }
        is_script
    }

    fn holds(&mut self, url: &str, offset: u64, bytes: &[u8]) -> bool {
        bytes.chunks(PART_MAX).enumerate().all(|(i, part)| {
            let offset = offset + (i * PART_MAX) as u64;
            self.holds_part(url, offset, part)
        })
    }

    fn holds_part(&mut self, url: &str, offset: u64, bytes: &[u8]) -> bool {
        let mut part = std::mem::take(&mut self.part);
        let on_disk = self.seen(url).and_then(|seen| seen.on_disk.as_ref()).map(|(file, _)| {
            part.resize(bytes.len(), 0);
            file.read_exact_at(&mut part, offset).is_ok() && part == bytes
        });
        self.part = part;
        if let Some(is_same) = on_disk {
            self.checked.with_root += bytes.len() as u64;
            return is_same;
        }
        let budget = LEARNT_BYTES_MAX - self.bytes;
        let Some(seen) = self.seen(url) else {
            self.checked.first += bytes.len() as u64;
            return true;
        };
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let known = seen.bytes.get(at..).unwrap_or_default();
        let both = known.len().min(bytes.len());
        if known[..both] != bytes[..both] {
            if !is_text(&seen.bytes) || !is_text(bytes) {
                return false;
            }
            let freed = seen.vary();
            self.bytes -= freed;
            self.checked.first += bytes.len() as u64;
            return true;
        }
        let new = &bytes[both..];
        let keeps = !seen.varies && at + both == seen.bytes.len() && new.len() <= budget;
        if keeps {
            seen.bytes.extend_from_slice(new);
            self.bytes += new.len();
        }
        self.checked.with_others += both as u64;
        self.checked.first += new.len() as u64;
        true
    }
}

/// Whether bytes may be a configuration: short, and no byte that a text has not
fn is_text(bytes: &[u8]) -> bool {
    bytes.len() <= TEXT_MAX && bytes.iter().all(|byte| *byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r'))
}

/// The path of a URL, without what follows a `?`
fn path(url: &str) -> &str {
    let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or(url, |(_, path)| path);
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// A file as far as it may be a configuration, for those who act on what it says
#[derive(Debug, Default)]
pub(crate) struct Text(Option<Vec<u8>>);

impl Text {
    /// A file begins
    pub(crate) fn begin(&mut self) {
        self.0 = Some(Vec::new());
    }

    /// It goes on
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Some(text) if text.len() + bytes.len() <= TEXT_MAX => text.extend_from_slice(bytes),
            _ => self.0 = None,
        }
    }

    /// All of it; empty where it is no configuration
    pub(crate) fn end(&mut self) -> String {
        self.0.take().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://192.0.2.1/img/linux";

    #[test]
    fn what_the_first_machine_got_is_what_all_must_get() {
        let expected = Expected::learnt(None);
        let (a, b) = ([7_u8; 3000], [0_u8; 1000]);
        assert!(expected.holds(URL, 0, &a) && expected.holds(URL, 0, &a[..1000]), "any cut of it");
        assert!(expected.holds(URL, 1000, &[&a[..2000], &b[..]].concat()), "another one is ahead now");
        assert!(!expected.holds(URL, 2000, &b), "other bytes");
        assert!(expected.ends_at(URL, 4000) && !expected.ends_at(URL, 3999), "another length");
        let checked = expected.checked();
        assert_eq!((checked.with_others, checked.first), (3000, 4000));
    }

    #[test]
    fn a_script_may_be_written_for_its_machine() {
        let expected = Expected::learnt(None);
        let url = "http://192.0.2.1/boot.ipxe";
        assert!(expected.holds(url, 0, b"#!ipxe\nset host a\n") && expected.ends_at(url, 18));
        assert!(expected.holds(url, 0, b"#!ipxe\nset host bc\n") && expected.ends_at(url, 19));
    }

    #[test]
    fn a_root_is_compared_with_and_not_left() {
        let root = std::env::temp_dir().join(format!("reveille-expected-{}", std::process::id()));
        std::fs::create_dir_all(root.join("in")).expect("a folder");
        std::fs::write(root.join("in/linux"), [7; 100]).expect("a file");
        std::fs::write(root.join("linux"), [9; 100]).expect("a file");
        let expected = Expected::learnt(Some(root.join("in")));
        let url = |path: &str| format!("tftp://192.0.2.1/{path}");
        assert!(expected.holds(&url("linux"), 0, &[7; 100]) && !expected.holds(&url("linux"), 50, &[8; 50]));
        assert!(expected.may_be_size(&url("/linux"), 100) && !expected.may_be_size(&url("linux"), 101));
        assert!(expected.holds(&url("../linux"), 0, &[7; 100]), "it is not looked for outside");
        assert_eq!(expected.checked().with_root, 150);
        std::fs::remove_dir_all(root).expect("its removal");
    }
}
