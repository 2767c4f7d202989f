//! The operator's images by name: each below `/images/NAME/`, out of an ISO image or a directory

use std::fmt::{self, Write as _};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::disc::{Drive, Unserved};
use super::iso::Index;
use super::loaders::{self, Folder, Loaders};
use super::mounts::{IMAGES, Mount, Place};
use super::root::Root;
use super::tree::Tree;
use crate::boot::arch::Cpu;
use crate::boot::distribution::{self, Bootable, Files, HEAD_LEN};
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
            ShelfPlace::Iso(drive) => inventory(&drive.disc(&mut None).ok()?.index),
        };
        let boots = shelf.bootable.as_ref().map_or_else(
            || "nothing known to boot".to_owned(),
            |Bootable { system, kernel, initrds, args, cpu, caveat }| {
                let caveat = caveat.map(|caveat| format!("; {caveat}")).unwrap_or_default();
                let cpu = cpu.filter(|cpu| *cpu != Cpu::X86).map(|cpu| format!(" for {cpu}"));
                let cpu = cpu.unwrap_or_default();
                let files: Vec<_> = [kernel].into_iter().chain(initrds).map(String::as_str).collect();
                let system = system.unwrap_or("as configured");
                let args = if args.is_empty() { String::new() } else { format!(" `{args}`") };
                format!("boots {system}{cpu}: {}{args}{caveat}", files.join(" "))
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
            signed |= bootable.system.is_some_and(|system| system.starts_with("Debian"));
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

/// What an ISO image holds, in words
fn inventory(index: &Index) -> String {
    let mut words = format!("{} files and folders", index.len());
    // Writing to a `String` cannot fail.
    let _ = match index.compressed() {
        0 => Ok(()),
        count => write!(words, " ({count} of them compressed by zisofs, and not served)"),
    };
    let _ = match index.boot_image() {
        None => Ok(()),
        Some(Ok(count)) => write!(words, ", {count} in its El Torito image"),
        Some(Err(fault)) => write!(words, ", its El Torito image not served: {fault}"),
    };
    if index.has_udf() {
        words.push_str(", and a UDF file system, which is not read (Windows has its files only there)");
    }
    words
}

/// What an image boots, as the operator says or as its files tell
fn bootable(image: &ImageSource, inside: &mut Inside) -> Option<Bootable> {
    let mut bootable = match &image.kernel {
        Some(kernel) => Bootable {
            system: None,
            kernel: kernel.clone(),
            initrds: image.initrds.clone(),
            args: String::new(),
            cpu: distribution::cpu_of(kernel, inside),
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

    fn head(&mut self, path: &str) -> Vec<u8> {
        let Some(image) = self.open(path) else { return Vec::new() };
        let mut head = vec![0; HEAD_LEN];
        let len = self.tree.read_at(image.id, 0, &mut head).unwrap_or(0);
        head.truncate(len);
        self.tree.close(image.id);
        head
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
