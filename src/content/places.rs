//! What a path leads to: a file of the root or of an image, a loader that stands in for one that the root lacks, or a text
//! that is generated or made from a template. In this order: the operator's own file goes before.

mod made;

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::sync::Arc;

use super::disc::Disc;
use super::library::Mounted;
use super::listed::Listed;
use super::loaders::{self, Loaders};
use super::mounts::{IMAGES, Mount, Place, Within, within};
use super::root::{Root, Version};
use super::stored::Stored;
use crate::boot::image::Miss;
use crate::boot::plan::Plan;
use crate::boot::script::{Asker, Catalogue};

/// All places that bytes are served from
#[derive(Debug)]
pub(super) struct Places {
    /// `None`: only images are served
    root: Option<Root>,
    mounts: Vec<Mount>,
    /// What is generated for loaders
    catalogue: Option<Catalogue>,
    /// Loaders of images and packages
    loaders: Loaders,
    /// What the operator is to be told
    sentences: VecDeque<String>,
}

/// What lies at a path
pub(super) enum Found {
    /// Bytes of a file
    Stored(Stored),
    /// A text that was written for who asked
    Generated(Box<[u8]>),
}

/// Where a path leads, before anybody looks whether something is there
enum Site<'s, 'p> {
    /// Below a directory, the root's or an image's
    Directory(&'s Root, &'p CStr),
    /// Into the ISO image of that number
    Iso(usize, &'p [u8]),
    /// To that ISO image itself
    Whole(usize),
    /// There is no root
    Nowhere,
}

impl Places {
    pub(super) fn new(root: Option<Root>, mounted: Mounted) -> Self {
        let Mounted { mounts, catalogue, loaders } = mounted;
        Self { root, mounts, catalogue, loaders, sentences: VecDeque::new() }
    }

    /// Has these images in place of those until now
    pub(super) fn remount(&mut self, mounted: Mounted) {
        let sentences = std::mem::take(&mut self.sentences);
        *self = Self { sentences, ..Self::new(self.root.take(), mounted) };
    }

    pub(super) fn on_plan(&mut self, plan: &Arc<Plan>) {
        self.catalogue = self.catalogue.as_ref().map(|catalogue| catalogue.with_plan(Arc::clone(plan)));
    }

    /// The same without the kernel's confinement, as on a kernel that has none
    #[cfg(test)]
    pub(super) fn without_openat2(self) -> Self {
        Self { root: self.root.map(Root::without_openat2), ..self }
    }

    /// The version of the file that a path leads to now, by few calls; `None`: there is none, or it has no version
    pub(super) fn version(&self, path: &CStr) -> Option<Version> {
        match self.site(path) {
            Site::Directory(root, below) => root.peek(below).or_else(|| self.loader_version(path)),
            Site::Iso(number, _) | Site::Whole(number) => self.mounts[number].version(),
            Site::Nowhere => self.loader_version(path),
        }
    }

    /// Opens what a path leads to for who asks, as far as that is known: a text may be for it alone. Where the
    /// process has no descriptor left, `make_room` is to close some.
    pub(super) fn open(
        &mut self,
        path: &CStr,
        asker: Asker<'_>,
        make_room: &mut dyn FnMut(),
    ) -> Result<Found, Miss> {
        let opened = match self.site(path) {
            Site::Directory(root, below) => open_file(root, below, make_room),
            Site::Iso(number, below) => return self.disc(number)?.open(below).map(Found::Stored),
            Site::Whole(number) => return self.disc(number).map(|disc| Found::Stored(disc.whole())),
            Site::Nowhere => Err(Miss::NotFound),
        };
        match opened {
            // The folder of the images is one, whether the root has it or not.
            Err(Miss::NotFound) if self.is_folder(path) => Err(Miss::Directory),
            Err(Miss::NotFound) => match self.open_loader(path, make_room) {
                Some(opened) => opened.map(Found::Stored),
                None => self.text(path, asker),
            },
            opened => opened.map(Found::Stored),
        }
    }

    /// What the directory shows that a path leads to
    pub(super) fn listed(&mut self, path: &CStr) -> Result<Listed, Miss> {
        let read = match self.site(path) {
            Site::Directory(root, below) => {
                root.open_directory(below).map(|names| Listed::read(root, below.to_bytes(), names))
            }
            Site::Iso(number, below) => {
                return Listed::of_disc(&*self.disc(number)?, below).ok_or(Miss::NotFound);
            }
            Site::Whole(_) | Site::Nowhere => Err(Miss::NotFound),
        };
        let mut listed = match read {
            Err(Miss::NotFound) if self.is_folder(path) => Listed::default(),
            read => read?,
        };
        match within(&self.mounts, path.to_bytes()) {
            Within::Folder => listed.add_mounts(&self.mounts),
            Within::Root if path.is_empty() && !self.mounts.is_empty() => {
                listed.add_folder(IMAGES.as_bytes());
            }
            Within::Root | Within::Mount { .. } | Within::Whole { .. } => {}
        }
        Ok(listed)
    }

    fn site<'s, 'p>(&'s self, path: &'p CStr) -> Site<'s, 'p> {
        let (root, from) = match within(&self.mounts, path.to_bytes()) {
            Within::Root | Within::Folder => (self.root.as_ref(), 0),
            Within::Mount { number, rest } => match &self.mounts[number].place {
                Place::Directory(root) => (Some(root), rest),
                Place::Iso { .. } => return Site::Iso(number, &path.to_bytes()[rest..]),
            },
            Within::Whole { number } => return Site::Whole(number),
        };
        let Some(root) = root else { return Site::Nowhere };
        match CStr::from_bytes_with_nul(&path.to_bytes_with_nul()[from..]) {
            Ok(below) if !below.is_empty() => Site::Directory(root, below),
            _ => Site::Directory(root, c"."),
        }
    }

    fn disc(&mut self, number: usize) -> Result<Arc<Disc>, Miss> {
        self.mounts[number].disc()?.ok_or(Miss::NotFound)
    }

    /// Whether the path is a directory that the images make
    fn is_folder(&self, path: &CStr) -> bool {
        match within(&self.mounts, path.to_bytes()) {
            Within::Folder => true,
            Within::Root => path.is_empty(),
            Within::Mount { .. } | Within::Whole { .. } => false,
        }
    }

    /// The text at a path, generated or made from a template. It is written for this opening, and gone after it: as many bytes as
    /// [`crate::limits::GENERATED_BYTES_MAX`] allows at a time.
    fn text(&mut self, path: &CStr, asker: Asker<'_>) -> Result<Found, Miss> {
        let beside = |path: &str| self.lies_beside(path);
        let catalogue = self.catalogue.as_ref().ok_or(Miss::NotFound)?;
        let heard = asker.address.and_then(|address| catalogue.plan().register().callers.at(address));
        let asker = Asker { caller: asker.caller.or(heard.as_ref()), ..asker };
        let text = match catalogue.text(path.to_bytes(), asker, &beside) {
            Some(text) => text,
            None => self.made_from_template(path, asker.address).ok_or(Miss::NotFound)??,
        };
        Ok(Found::Generated(text.into_bytes().into()))
    }

    /// Whether a loader at the path would be served
    fn lies_beside(&self, path: &str) -> bool {
        let Ok(name) = CString::new(path) else { return false };
        let is_top = !path.contains('/');
        self.own(&name).is_some() || (is_top && self.stand_in(&name).is_some())
    }

    /// The version of the root's own file of that name
    fn own(&self, name: &CStr) -> Option<Version> {
        self.root.as_ref()?.peek(name)
    }

    /// What a path is called where loaders lie: a name at the top of the root, or below an image's own folder. There the
    /// loaders of the root are too.
    fn loader_name(&self, path: &CStr) -> Option<(CString, Option<&Root>)> {
        let plain = path.to_bytes();
        let is_below = plain.contains(&b'/');
        let name = match &self.catalogue {
            _ if plain.is_empty() => None,
            _ if !is_below => Some(plain),
            Some(catalogue) => catalogue.loader_at(plain).map(str::as_bytes),
            None => None,
        };
        Some((CString::new(name?).ok()?, self.root.as_ref().filter(|_| is_below)))
    }

    /// The loader of that name that stands in for one of the root. pxelinux and its modules are of one version, or do not start:
    /// the system's do not stand in for those that the operator's pxelinux lacks.
    fn stand_in<'t>(&'t self, name: &'t CStr) -> Option<loaders::Place<'t>> {
        let is_module = name.to_bytes().ends_with(b".c32");
        let is_usable =
            !is_module || [c"lpxelinux.0", c"pxelinux.0"].iter().all(|own| self.own(own).is_none());
        self.loaders.get(name).filter(|_| is_usable)
    }

    /// Opens the loader that a path names, where nothing lies there; `None`: it names none
    fn open_loader(&mut self, path: &CStr, make_room: &mut dyn FnMut()) -> Option<Result<Stored, Miss>> {
        let (name, root) = self.loader_name(path)?;
        match root.map(|root| open_file(root, &name, make_room)) {
            None | Some(Err(Miss::NotFound)) => {}
            own => return own,
        }
        let (number, path) = match self.stand_in(&name)? {
            loaders::Place::Package { root, file, .. } => return Some(open_file(root, file, make_room)),
            loaders::Place::Image { number, path, .. } => (number, path.to_owned()),
        };
        Some(match &mut self.mounts.get_mut(number)?.place {
            Place::Iso { drive, known } => drive.disc(known).and_then(|disc| disc.open(path.to_bytes())),
            Place::Directory(root) => open_file(root, &path, make_room),
        })
    }

    fn loader_version(&self, path: &CStr) -> Option<Version> {
        let (name, root) = self.loader_name(path)?;
        root.and_then(|root| root.peek(&name)).or_else(|| match self.stand_in(&name)? {
            loaders::Place::Package { root, file, .. } => root.peek(file),
            loaders::Place::Image { number, path, .. } => match &self.mounts.get(number)?.place {
                Place::Iso { drive, .. } => drive.peek(),
                Place::Directory(root) => root.peek(path),
            },
        })
    }
}

/// Opens a file below a directory
fn open_file(root: &Root, path: &CStr, make_room: &mut dyn FnMut()) -> Result<Stored, Miss> {
    let mut opened = root.open_file(path);
    if matches!(opened, Err(Miss::Busy)) {
        make_room();
        opened = root.open_file(path);
    }
    opened.map(|(file, seen)| Stored::whole(Arc::new(file), seen))
}
