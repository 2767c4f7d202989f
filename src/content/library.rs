//! The operator's images by name: each below `/images/NAME/`, out of an ISO image or a directory

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::disc::{Drive, Unserved};
use super::loaders::{self, Folder, Loaders};
use super::mounts::{IMAGES, Mount, Place};
use super::root::Root;
use super::tree::Tree;
use crate::boot::distribution::{self, Bootable, Files};
use crate::boot::image::{Form, Image, ImageSource, Images, Origin};
use crate::boot::plan::Plan;
use crate::boot::script::{Catalogue, Entry};

/// The longest text that is read to find out what an image boots
const TEXT_MAX: u64 = 64 << 10;

/// Images by name, opened once and shared by the shards, and the loaders' configurations that boot them
#[derive(Debug, Default)]
pub struct Library {
    shelves: Vec<Shelf>,
    /// `None`: nothing is generated, since no plan says for whom
    catalogue: Option<Catalogue>,
}

#[derive(Debug)]
struct Shelf {
    name: String,
    title: Option<String>,
    place: ShelfPlace,
    bootable: Option<Bootable>,
    /// Its own loaders, by their usual names
    loaders: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
enum ShelfPlace {
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
    /// Opens all images, which boot the clients of a plan
    ///
    /// # Errors
    /// Why the first that cannot be served cannot
    pub fn open(images: &[ImageSource], plan: &Arc<Plan>) -> Result<Self, LibraryError> {
        let mut library = Self::default();
        images.iter().try_for_each(|image| library.add(image))?;
        library.catalogue = Some(Catalogue::new(Arc::clone(plan), library.entries()));
        Ok(library)
    }

    /// The images that boot
    fn entries(&self) -> Vec<Entry> {
        let entry = |shelf: &Shelf| {
            let bootable = shelf.bootable.clone()?;
            Some(Entry { name: shelf.name.clone(), title: shelf.title.clone(), bootable })
        };
        self.shelves.iter().filter_map(entry).collect()
    }

    /// Opens an image, in place of another one of that name
    ///
    /// # Errors
    /// Why it cannot be served
    pub fn add(&mut self, image: &ImageSource) -> Result<(), LibraryError> {
        let place = match &image.origin {
            Origin::Iso(path) => ShelfPlace::Iso(Arc::new(Drive::open(path).map_err(LibraryError::Iso)?)),
            Origin::Directory(path) => {
                Root::open(path).map_err(LibraryError::Directory)?;
                ShelfPlace::Directory(path.clone())
            }
        };
        let (name, title) = (image.name.clone(), image.title.clone());
        let shelf = Shelf { name, title, place, bootable: None, loaders: Vec::new() };
        let mut alone = Self { shelves: vec![shelf], ..Self::default() };
        let mut inside = alone.inside(&image.name).map_err(LibraryError::Directory)?;
        for shelf in &mut alone.shelves {
            shelf.bootable = bootable(image, &mut inside);
            shelf.loaders = loaders::find(&mut inside);
        }
        self.shelves.retain(|known| known.name != image.name);
        self.shelves.append(&mut alone.shelves);
        Ok(())
    }

    /// The files of an image
    fn inside(&self, name: &str) -> io::Result<Inside> {
        Ok(Inside { tree: Tree::with_images(None, self)?, prefix: format!("{IMAGES}/{name}/") })
    }

    /// Whether any image boots, so that loaders have something to load
    fn boots(&self) -> bool {
        self.shelves.iter().any(|shelf| shelf.bootable.is_some())
    }

    /// What is worth saying of an image: what it holds, and what it boots
    pub fn describe(&self, name: &str) -> Option<String> {
        let shelf = self.shelves.iter().find(|known| known.name == name)?;
        let holds = match &shelf.place {
            ShelfPlace::Directory(_) => "a directory".to_owned(),
            ShelfPlace::Iso(drive) => {
                let disc = drive.disc(&mut None).ok()?;
                let compressed = match disc.index.compressed() {
                    0 => String::new(),
                    count => format!(" ({count} of them compressed by zisofs, and not served)"),
                };
                format!("{} files and folders{compressed}", disc.index.len())
            }
        };
        let boots = shelf.bootable.as_ref().map_or_else(
            || "nothing known to boot".to_owned(),
            |Bootable { system, kernel, initrds, args, caveat }| {
                let caveat = caveat.map(|caveat| format!("; {caveat}")).unwrap_or_default();
                format!("boots {system}: {kernel} {} `{args}`{caveat}", initrds.join(" "))
            },
        );
        Some(format!("{holds}, {boots}"))
    }

    /// What an image boots
    pub fn bootable(&self, name: &str) -> Option<&Bootable> {
        self.shelves.iter().find(|shelf| shelf.name == name)?.bootable.as_ref()
    }

    /// Loaders for a root that has none
    pub fn loaders(&self) -> Loaders {
        let mut loaders = Loaders::default();
        let mut signed = false;
        for (number, shelf) in self.shelves.iter().enumerate() {
            let Some(bootable) = &shelf.bootable else { continue };
            loaders.add_image(number, &shelf.name, &shelf.loaders);
            signed |= bootable.system.starts_with("Debian");
        }
        if signed {
            loaders.add_signed();
        }
        if self.boots() {
            loaders.add_packages();
        }
        loaders
    }

    /// A shard's own way to the images
    ///
    /// # Errors
    /// Where a directory cannot be opened any more; the error names it.
    pub fn mounted(&self) -> io::Result<Mounted> {
        let (catalogue, loaders) = (self.catalogue.clone(), self.loaders());
        Ok(Mounted { mounts: self.mounts()?, catalogue, loaders })
    }

    fn mounts(&self) -> io::Result<Vec<Mount>> {
        let mount = |shelf: &Shelf| {
            let place = match &shelf.place {
                ShelfPlace::Iso(drive) => Place::Iso { drive: Arc::clone(drive), known: None },
                ShelfPlace::Directory(path) => Place::Directory(Root::open(path)?),
            };
            Ok(Mount { name: shelf.name.clone(), place })
        };
        self.shelves.iter().map(mount).collect()
    }
}

/// What an image boots, as the operator says or as its files tell
fn bootable(image: &ImageSource, inside: &mut Inside) -> Option<Bootable> {
    let mut bootable = match &image.kernel {
        Some(kernel) => Bootable {
            system: "as configured",
            kernel: kernel.clone(),
            initrds: image.initrds.clone(),
            args: String::new(),
            caveat: None,
        },
        None => distribution::find(inside)?,
    };
    if let Some(args) = &image.args {
        bootable.args.clone_from(args);
    }
    Some(bootable)
}

/// The files of one image
struct Inside {
    tree: Tree,
    prefix: String,
}

impl Inside {
    fn open(&mut self, path: &str) -> Option<Image> {
        self.tree.open(format!("{}{path}", self.prefix).as_bytes(), Form::Octet).ok()
    }
}

impl Files for Inside {
    fn exists(&mut self, path: &str) -> bool {
        let image = self.open(path);
        image.map(|image| self.tree.close(image.id)).is_some()
    }

    fn text(&mut self, path: &str) -> Option<String> {
        String::from_utf8(self.bytes(path, TEXT_MAX)?).ok()
    }
}

impl Folder for Inside {
    fn exists(&mut self, path: &str) -> bool {
        Files::exists(self, path)
    }

    fn bytes(&mut self, path: &str, max: u64) -> Option<Vec<u8>> {
        let image = self.open(path)?;
        let len = Some(image.size).filter(|size| *size <= max).and_then(|size| usize::try_from(size).ok());
        let bytes = len.and_then(|len| {
            let mut bytes = vec![0; len];
            self.tree.read_at(image.id, 0, &mut bytes).ok().map(|_| bytes)
        });
        self.tree.close(image.id);
        bytes
    }
}

/// The images as one shard serves them, with what is generated from them and the loaders that go with them
#[derive(Debug)]
pub struct Mounted {
    pub(super) mounts: Vec<Mount>,
    pub(super) catalogue: Option<Catalogue>,
    pub(super) loaders: Loaders,
}
