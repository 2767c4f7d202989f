//! Loaders that the root lacks: out of an image's own EFI folder, out of what firmware starts it from (El Torito), or out of
//! Debian's packages.
//!
//! They are served at the top of the root under their usual names, so that shim finds its GRUB beside itself; a file that
//! the root has under that name goes before. Which of them is given to whom is the plan's
//! ([`crate::boot::plan::well_known`]).
//!
//! An image's loaders are of use only where its GRUB fetches by TFTP: what Debian and Ubuntu put on their ISO images does
//! not, and would stop at a prompt. For an image of Debian, the shim and the GRUB of Debian's packages stand in: they are
//! signed by the same keys as its kernel.

use std::ffi::{CStr, CString};
use std::path::Path;

use super::iso::BOOT;
use super::root::Root;

/// Where Debian's packages ipxe, pxelinux and syslinux-common have their loaders
const PACKAGES: &[&str] = &["/usr/lib/ipxe", "/usr/lib/PXELINUX", "/usr/lib/syslinux/modules/bios"];

/// Debian's signed loaders, of the packages shim-signed and grub-efi-ARCH-signed: folder, name there, usual name
const SIGNED: &[(&str, &CStr, &CStr)] = &[
    ("/usr/lib/shim", c"shimx64.efi.signed", c"bootx64.efi"),
    ("/usr/lib/grub/x86_64-efi-signed", c"grubnetx64.efi.signed", c"grubx64.efi"),
    ("/usr/lib/shim", c"mmx64.efi.signed", c"mmx64.efi"),
    ("/usr/lib/shim", c"shimaa64.efi.signed", c"bootaa64.efi"),
    ("/usr/lib/grub/arm64-efi-signed", c"grubnetaa64.efi.signed", c"grubaa64.efi"),
    ("/usr/lib/shim", c"mmaa64.efi.signed", c"mmaa64.efi"),
];

/// The folder that firmware starts an image from (UEFI §3.5.1.1), as it is written; only where the image was copied to a
/// directory does it matter how
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

/// The loaders of an image that boot a machine over the network, as usual name and path in the image: those of its own folder,
/// else those of its El Torito image
pub(super) fn find(image: &mut impl Folder) -> Vec<(String, String)> {
    let boot = format!("{BOOT}/");
    let of = |suffix: &&str| {
        let found = ["", &*boot].into_iter().find_map(|place| pair(image, place, suffix));
        found.unwrap_or_default()
    };
    SUFFIXES.iter().flat_map(of).collect()
}

/// The shim, the GRUB that it starts, and what else belongs to them, all from one place
fn pair(image: &mut impl Folder, place: &str, suffix: &str) -> Option<Vec<(String, String)>> {
    let shim = located(image, place, format!("boot{suffix}.efi"))?;
    // openSUSE's shim asks for a GRUB of the second name.
    let grubs = [format!("grub{suffix}.efi"), "grub.efi".to_owned()];
    let grub = grubs.into_iter().find_map(|name| located(image, place, name))?;
    let bytes = image.bytes(&grub.1, GRUB_MAX)?;
    if !bytes.windows(TFTP_MARK.len()).any(|window| window == TFTP_MARK) {
        return None;
    }
    let mut found = vec![shim, grub];
    // What shim enrols keys with, under its two names.
    let enrols = [format!("mm{suffix}.efi"), "MokManager.efi".to_owned()];
    found.extend(enrols.into_iter().filter_map(|name| located(image, place, name)));
    Some(found)
}

/// A loader by its usual name, and its path in the image
fn located(image: &mut impl Folder, place: &str, name: String) -> Option<(String, String)> {
    let paths = FOLDERS
        .iter()
        .flat_map(|folder| [&name, &name.to_uppercase()].map(|name| format!("{place}{folder}/{name}")));
    let path = paths.into_iter().find(|path| image.exists(path))?;
    Some((name, path))
}

/// Loaders by their usual names
#[derive(Debug, Default)]
pub struct Loaders {
    named: Vec<Named>,
    /// Those of packages that have the usual names
    packages: Vec<(&'static str, Root)>,
}

#[derive(Debug)]
struct Named {
    name: CString,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Package { folder: &'static str, root: Root, file: &'static CStr },
    Image { number: usize, image: String, path: CString },
}

/// Where a loader is
#[derive(Debug)]
pub(super) enum Place<'l> {
    /// A file of a package
    Package { folder: &'static str, root: &'l Root, file: &'l CStr },
    /// A file of the image of that number and name
    Image { number: usize, image: &'l str, path: &'l CStr },
}

impl Loaders {
    /// Adds those of the image of that number and name. An image before it goes before it, whole: a shim starts only what
    /// its own distribution signed.
    pub(super) fn add_image(&mut self, number: usize, image: &str, found: &[(String, String)]) {
        let found: Vec<_> = found
            .iter()
            .filter_map(|(name, path)| Some((CString::new(&**name).ok()?, CString::new(&**path).ok()?)))
            .collect();
        if found.iter().any(|(name, _)| self.named(name).is_some()) {
            return;
        }
        let named =
            |(name, path)| Named { name, kept: Kept::Image { number, image: image.to_owned(), path } };
        self.named.extend(found.into_iter().map(named));
    }

    /// Adds Debian's signed loaders where they are installed: shim and GRUB together, and beside no others
    pub(super) fn add_signed(&mut self) {
        for family in SIGNED.chunks(3) {
            let open = |&(folder, file, name): &(&'static str, &'static CStr, &CStr)| {
                let root = Root::open(Path::new(folder)).ok()?;
                root.open_file(file).ok()?;
                Some(Named { name: name.to_owned(), kept: Kept::Package { folder, root, file } })
            };
            let taken = family.iter().any(|(_, _, name)| self.named(name).is_some());
            let found: Vec<_> = family.iter().map_while(open).collect();
            if !taken && found.len() >= 2 {
                self.named.extend(found);
            }
        }
    }

    /// Adds what packages have under the usual names
    pub(super) fn add_packages(&mut self) {
        let open = |folder: &&'static str| Some((*folder, Root::open(Path::new(folder)).ok()?));
        self.packages.extend(PACKAGES.iter().filter_map(open));
    }

    fn named(&self, name: &CStr) -> Option<&Kept> {
        let is = |named: &&Named| named.name.to_bytes().eq_ignore_ascii_case(name.to_bytes());
        self.named.iter().find(is).map(|named| &named.kept)
    }

    /// The loader of that name
    pub(super) fn get<'l>(&'l self, name: &'l CStr) -> Option<Place<'l>> {
        if let Some(kept) = self.named(name) {
            return Some(match kept {
                Kept::Package { folder, root, file } => Place::Package { folder, root, file },
                Kept::Image { number, image, path } => Place::Image { number: *number, image, path },
            });
        }
        let (folder, root) = self.packages.iter().find(|(_, root)| root.stat(name).is_ok())?;
        Some(Place::Package { folder, root, file: name })
    }

    /// Where the loader of that name is, for people
    pub fn describe(&self, name: &str) -> Option<String> {
        let name = CString::new(name).ok().filter(|name| !name.to_bytes().contains(&b'/'))?;
        Some(match self.get(&name)? {
            Place::Package { folder, file, .. } => format!("{folder}/{}", file.to_string_lossy()),
            Place::Image { image, path, .. } => {
                let path = path.to_string_lossy();
                match path.strip_prefix(BOOT) {
                    Some(below) => format!("{} in the El Torito image of {image}", &below[1..]),
                    None => format!("/images/{image}/{path}"),
                }
            }
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
    fn loaders_of_one_place_go_together() {
        let inside: [(&str, &[u8]); 2] =
            [("[BOOT]/efi/boot/bootx64.efi", b"shim"), ("[BOOT]/efi/boot/grubx64.efi", b"tsize")];
        let cd: [(&str, &[u8]); 2] = [("EFI/BOOT/BOOTX64.EFI", b"shim"), ("EFI/BOOT/grubx64.efi", b"a CD's")];
        let find = |files: &[(&'static str, &'static [u8])]| find(&mut Files(files.to_vec()));
        let found = find(&[&cd[..], &inside].concat());
        assert_eq!(found.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["bootx64.efi", "grubx64.efi"]);
        assert!(found.iter().all(|(_, path)| path.starts_with("[BOOT]/EFI/")), "{found:?}");
        assert_eq!(find(&[cd[0], inside[1]]), [], "a shim here and a GRUB there are of two makers");
        let own: [(&str, &[u8]); 2] = [cd[0], ("EFI/BOOT/grubx64.efi", b"tsize")];
        assert!(find(&[&own[..], &inside].concat()).iter().all(|(_, path)| path.starts_with("EFI/")));
        let mut loaders = Loaders::default();
        loaders.add_image(0, "one", &found);
        let place = "EFI/BOOT/bootx64.efi in the El Torito image of one";
        assert_eq!(loaders.describe("bootx64.efi").unwrap(), place);
    }

    #[test]
    fn the_first_image_goes_before_others_and_packages() {
        let mut loaders = Loaders::default();
        let pair = |folder: &str| {
            ["bootx64.efi", "grubx64.efi"].map(|name| (name.to_owned(), format!("{folder}/{name}")))
        };
        loaders.add_image(1, "one", &pair("EFI"));
        loaders.add_image(2, "two", &pair("EFI"));
        loaders.add_signed();
        assert_eq!(loaders.describe("BOOTX64.EFI").unwrap(), "/images/one/EFI/bootx64.efi");
        assert_eq!(loaders.describe("grubx64.efi").unwrap(), "/images/one/EFI/grubx64.efi");
        assert_eq!(loaders.describe("mmx64.efi"), None, "Debian's belongs to Debian's shim");
    }
}
