//! Loaders that the root lacks: out of an image's own EFI folder, or out of Debian's packages.
//!
//! They are served at the top of the root under their usual names, so that shim finds its GRUB beside itself; a file that
//! the root has under that name goes before. Which of them is given to whom is the plan's
//! ([`crate::boot::plan::well_known`]).
//!
//! An image's loaders are of use only where its GRUB fetches by TFTP: what Debian and Ubuntu put on their ISO images does
//! not, and would stop at a prompt. For an image of Debian, the shim and the GRUB of Debian's packages stand in: they are
//! signed by the same keys as its kernel.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::path::Path;

use super::root::{Root, Seen, Version};
use crate::boot::image::Miss;

/// Where Debian's packages put loaders, under which name, and the usual one
const PACKAGED: &[(&str, &[(&str, &str)])] = &[
    (
        "/usr/lib/ipxe",
        &[
            ("undionly.kpxe", "undionly.kpxe"),
            ("ipxe.pxe", "ipxe.pxe"),
            ("ipxe.efi", "ipxe.efi"),
            ("snponly.efi", "snponly.efi"),
        ],
    ),
    (
        "/usr/lib/shim",
        &[
            ("shimx64.efi.signed", "bootx64.efi"),
            ("mmx64.efi.signed", "mmx64.efi"),
            ("shimaa64.efi.signed", "bootaa64.efi"),
            ("mmaa64.efi.signed", "mmaa64.efi"),
        ],
    ),
    ("/usr/lib/grub/x86_64-efi-signed", &[("grubnetx64.efi.signed", "grubx64.efi")]),
    ("/usr/lib/grub/arm64-efi-signed", &[("grubnetaa64.efi.signed", "grubaa64.efi")]),
];

/// The folder of an image that firmware starts it from (UEFI §3.5.1.1), as it is written; only where the image was
/// copied to a directory does it matter how
const FOLDERS: &[&str] = &["EFI/BOOT", "EFI/boot"];
/// What the UEFI specification calls architectures in the names of loaders
const SUFFIXES: &[&str] = &["x64", "ia32", "aa64", "arm", "riscv64"];
/// The largest GRUB that is looked into
const GRUB_MAX: u64 = 16 << 20;
/// The option by which a TFTP client asks for a size (RFC 2349): a GRUB without its name has no TFTP
const TFTP_MARK: &[u8] = b"tsize";

/// The files of an image, for [`find`]
pub(super) trait Folder {
    /// Whether a file of that name is there
    fn exists(&mut self, path: &str) -> bool;
    /// The bytes of a file of `max` bytes at most
    fn bytes(&mut self, path: &str, max: u64) -> Option<Vec<u8>>;
}

/// The loaders of an image that boot a machine over the network, as usual name and path in the image
pub(super) fn find(image: &mut impl Folder) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for suffix in SUFFIXES {
        let Some(shim) = located(image, format!("boot{suffix}.efi")) else { continue };
        // openSUSE's shim asks for a GRUB of the second name.
        let grubs = [format!("grub{suffix}.efi"), "grub.efi".to_owned()];
        let Some(grub) = grubs.into_iter().filter_map(|name| located(image, name)).next() else { continue };
        let bytes = image.bytes(&grub.1, GRUB_MAX).unwrap_or_default();
        if !bytes.windows(TFTP_MARK.len()).any(|window| window == TFTP_MARK) {
            continue;
        }
        found.extend([shim, grub]);
        // What shim enrols keys with, under its two names.
        let enrols = [format!("mm{suffix}.efi"), "MokManager.efi".to_owned()];
        found.extend(enrols.into_iter().filter_map(|name| located(image, name)));
    }
    found
}

/// A loader by its usual name, and its path in the image
fn located(image: &mut impl Folder, name: String) -> Option<(String, String)> {
    let paths = FOLDERS
        .iter()
        .flat_map(|folder| [&name, &name.to_uppercase()].map(|name| format!("{folder}/{name}")));
    let path = paths.into_iter().find(|path| image.exists(path))?;
    Some((name, path))
}

/// Loaders by their usual names
#[derive(Debug, Default)]
pub struct Loaders(Vec<Loader>);

#[derive(Debug)]
struct Loader {
    name: String,
    place: Place,
}

/// Where a loader is
#[derive(Debug)]
pub(super) enum Place {
    /// A file of a package
    Package(Packaged),
    /// A file of an image
    Image(OfImage),
}

/// A file of the image of that number
#[derive(Debug)]
pub(super) struct OfImage {
    pub(super) number: usize,
    pub(super) path: CString,
    name: String,
}

/// A file below a directory of a package
#[derive(Debug)]
pub(super) struct Packaged {
    root: std::sync::Arc<Root>,
    directory: &'static str,
    file: CString,
}

impl Packaged {
    pub(super) fn open(&self) -> Result<(File, Seen), Miss> {
        self.root.open_file(&self.file)
    }

    pub(super) fn peek(&self) -> Option<Version> {
        self.root.peek(&self.file)
    }
}

impl Loaders {
    /// Adds those of the image of that number and name. An image before it goes before it, whole: a shim starts only
    /// what its own distribution signed.
    pub(super) fn add_image(&mut self, number: usize, image: &str, found: &[(String, String)]) {
        if found.is_empty() || found.iter().any(|(name, _)| self.get(name.as_bytes()).is_some()) {
            return;
        }
        for (name, path) in found {
            if let Ok(path) = CString::new(path.as_str()) {
                let place = Place::Image(OfImage { number, path, name: image.to_owned() });
                self.0.push(Loader { name: name.clone(), place });
            }
        }
    }

    /// Adds those of Debian's packages that are installed; `signed`: shim and GRUB too, together, and beside no others
    pub(super) fn add_packages(&mut self, signed: bool) {
        let mut packaged = Vec::new();
        for (directory, files) in PACKAGED {
            let Ok(root) = Root::open(Path::new(directory)).map(std::sync::Arc::new) else { continue };
            for (file, name) in *files {
                let Ok(file) = CString::new(*file) else { continue };
                if root.open_file(&file).is_ok() {
                    let place = Place::Package(Packaged { root: root.clone(), directory, file });
                    packaged.push(Loader { name: (*name).to_owned(), place });
                }
            }
        }
        let has = |start: &str, suffix: &str| {
            packaged.iter().any(|loader| loader.name == format!("{start}{suffix}.efi"))
        };
        let useless = |name: &str| {
            let is = |start: &&str, suffix: &str| name == format!("{start}{suffix}.efi");
            let suffix =
                SUFFIXES.iter().find(|suffix| ["boot", "grub", "mm"].iter().any(|start| is(start, suffix)));
            suffix.is_some_and(|suffix| {
                let taken = self.get(format!("boot{suffix}.efi").as_bytes()).is_some();
                !signed || taken || !has("boot", suffix) || !has("grub", suffix)
            })
        };
        let useless: Vec<_> = packaged.iter().map(|loader| useless(&loader.name)).collect();
        let useful = packaged.into_iter().zip(useless).filter(|(_, useless)| !useless);
        self.0.extend(useful.map(|(loader, _)| loader));
    }

    /// The loader of that name
    pub(super) fn get(&self, name: &[u8]) -> Option<&Place> {
        let found = self.0.iter().find(|loader| loader.name.as_bytes().eq_ignore_ascii_case(name));
        found.map(|loader| &loader.place)
    }

    /// Where the loader of that name is, for people
    pub fn describe(&self, name: &str) -> Option<String> {
        let lossy = |path: &CStr| path.to_string_lossy().into_owned();
        Some(match self.get(name.as_bytes())? {
            Place::Package(packaged) => format!("{}/{}", packaged.directory, lossy(&packaged.file)),
            Place::Image(image) => format!("/images/{}/{}", image.name, lossy(&image.path)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files(Vec<(&'static str, &'static [u8])>);

    impl Folder for Files {
        fn exists(&mut self, path: &str) -> bool {
            self.bytes(path, u64::MAX).is_some()
        }

        fn bytes(&mut self, path: &str, max: u64) -> Option<Vec<u8>> {
            let (_, bytes) = self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(path))?;
            Some(bytes.to_vec()).filter(|bytes| bytes.len() as u64 <= max)
        }
    }

    #[test]
    fn an_image_has_loaders_where_its_grub_fetches() {
        let names = |files: &[(&'static str, &'static [u8])]| -> Vec<String> {
            find(&mut Files(files.to_vec())).into_iter().map(|(name, _)| name).collect()
        };
        let shim: (&str, &[u8]) = ("EFI/BOOT/BOOTX64.EFI", b"shim");
        assert_eq!(names(&[shim]), Vec::<String>::new(), "memtest's loader is no shim");
        assert_eq!(names(&[shim, ("EFI/BOOT/grubx64.efi", b"a CD's")]), Vec::<String>::new());
        assert_eq!(
            names(&[
                shim,
                ("EFI/BOOT/grubx64.efi", b".. blksize\0tsize\0"),
                ("EFI/BOOT/MokManager.efi", b"mm")
            ]),
            ["bootx64.efi", "grubx64.efi", "MokManager.efi"]
        );
        assert_eq!(names(&[shim, ("EFI/BOOT/grub.efi", b"tsize")]), ["bootx64.efi", "grub.efi"]);
    }

    #[test]
    fn the_first_image_goes_before_others_and_packages() {
        let mut loaders = Loaders::default();
        let pair = |folder: &str| {
            ["bootx64.efi", "grubx64.efi"].map(|name| (name.to_owned(), format!("{folder}/{name}")))
        };
        loaders.add_image(1, "one", &pair("EFI"));
        loaders.add_image(2, "two", &pair("EFI"));
        loaders.add_packages(true);
        assert_eq!(loaders.describe("BOOTX64.EFI").unwrap(), "/images/one/EFI/bootx64.efi");
        assert_eq!(loaders.describe("grubx64.efi").unwrap(), "/images/one/EFI/grubx64.efi");
        assert_eq!(loaders.describe("mmx64.efi"), None, "Debian's belongs to Debian's shim");
    }
}
