//! What to boot of an installation image: kernel, initrd and arguments, known by the files that distributions put there.
//!
//! Pure: it asks whether files are there and reads one small text. Arguments are templates, filled in by
//! [`super::script`]; those here are the least that the distribution's own documentation asks for.

/// What is booted of an image
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootable {
    /// What it was taken for
    pub system: &'static str,
    /// Below the image
    pub kernel: String,
    /// Below the image, in the order in which they are loaded
    pub initrds: Vec<String>,
    /// With words in braces
    pub args: String,
    /// What it will not do over the network
    pub caveat: Option<&'static str>,
}

impl Bootable {
    /// The file that a loader fetches last
    pub fn last_file(&self) -> &str {
        self.initrds.last().unwrap_or(&self.kernel)
    }
}

/// The files of an image
pub trait Files {
    /// Whether a file of that name is there
    fn exists(&mut self, path: &str) -> bool;
    /// A small text file, where it is there and is text
    fn text(&mut self, path: &str) -> Option<String>;
}

/// One kind of image: told by its kernel, the first that is there
struct Kind {
    system: &'static str,
    kernels: &'static [&'static str],
    /// A file that must be there as well
    marker: Option<&'static str>,
    /// Those of the first set whose files are all there; `?` at its end: where it is there
    initrds: &'static [&'static [&'static str]],
    args: &'static str,
    caveat: Option<&'static str>,
}

const fn kind(system: &'static str, kernels: &'static [&'static str]) -> Kind {
    Kind { system, kernels, marker: None, initrds: &[&[]], args: "", caveat: None }
}

const RED_HAT_ARGS: &str = "inst.repo={url} ip=dhcp";

#[rustfmt::skip]
const KINDS: &[Kind] = &[
    Kind {
        marker: Some("LiveOS/squashfs.img"), initrds: &[&["images/pxeboot/initrd.img"]],
        args: "root=live:{url}/LiveOS/squashfs.img rd.live.image ip=dhcp",
        ..kind("Fedora or RHEL family, live", &["images/pxeboot/vmlinuz"])
    },
    Kind {
        initrds: &[&["images/pxeboot/initrd.img"]], args: RED_HAT_ARGS,
        ..kind("Fedora or RHEL family", &["images/pxeboot/vmlinuz"])
    },
    Kind {
        // casper's `url` fetches the whole image into memory; without the second, cloud-init fetches it once more.
        initrds: &[&["casper/initrd"], &["casper/initrd.lz"], &["casper/initrd.gz"]],
        args: "ip=dhcp url={iso} cloud-config-url=/dev/null",
        ..kind("Ubuntu", &["casper/vmlinuz", "casper/hwe-vmlinuz", "casper/vmlinuz.efi"])
    },
    Kind {
        marker: Some("live/filesystem.squashfs"), initrds: &[&["live/initrd.img"], &["live/initrd"]],
        args: "boot=live components ip=dhcp fetch={url}/live/filesystem.squashfs",
        ..kind("Debian live", &["live/vmlinuz"])
    },
    Kind {
        initrds: &[&["install.amd/initrd.gz"], &["install.a64/initrd.gz"], &["install.386/initrd.gz"]],
        caveat: Some("its installer looks for a CD-ROM: Debian's netboot mini.iso installs over the network"),
        ..kind("Debian", &["install.amd/vmlinuz", "install.a64/vmlinuz", "install.386/vmlinuz"])
    },
    Kind { initrds: &[&["initrd.gz"]], marker: Some("initrd.gz"), ..kind("Debian netboot", &["linux"]) },
    Kind {
        initrds: &[&["boot/x86_64/loader/initrd"], &["boot/aarch64/initrd"]],
        args: "install={url} netsetup=dhcp",
        ..kind("openSUSE or SLE", &["boot/x86_64/loader/linux", "boot/aarch64/linux"])
    },
    Kind {
        initrds: &[&["arch/boot/intel-ucode.img?", "arch/boot/amd-ucode.img?", "arch/boot/x86_64/initramfs-linux.img"]],
        args: "archisobasedir=arch archiso_http_srv={url}/ ip=dhcp",
        ..kind("Arch Linux", &["arch/boot/x86_64/vmlinuz-linux"])
    },
    Kind {
        initrds: &[&["boot/initramfs-lts"]],
        args: "ip=dhcp modules=loop,squashfs modloop={url}/boot/modloop-lts alpine_repo={url}/apks",
        ..kind("Alpine Linux", &["boot/vmlinuz-lts"])
    },
    Kind {
        initrds: &[&["boot/initramfs-virt"]],
        args: "ip=dhcp modules=loop,squashfs modloop={url}/boot/modloop-virt alpine_repo={url}/apks",
        ..kind("Alpine Linux", &["boot/vmlinuz-virt"])
    },
    kind("memtest86+", &["boot/memtest86+x64.bin", "boot/mt86p_64", "boot/memtest", "mt86plus"]),
];

/// What an image boots; `None`: nothing that is known
pub fn find(files: &mut impl Files) -> Option<Bootable> {
    tree_info(files).or_else(|| KINDS.iter().find_map(|kind| of_kind(kind, files)))
}

fn of_kind(kind: &Kind, files: &mut impl Files) -> Option<Bootable> {
    let kernel = kind.kernels.iter().find(|path| files.exists(path))?;
    if kind.marker.is_some_and(|marker| !files.exists(marker)) {
        return None;
    }
    let initrds = kind.initrds.iter().find_map(|set| {
        let mut found = Vec::new();
        for path in *set {
            let (path, optional) = path.strip_suffix('?').map_or((*path, false), |path| (path, true));
            match files.exists(path) {
                true => found.push(path.to_owned()),
                false if optional => {}
                false => return None,
            }
        }
        Some(found)
    })?;
    let (args, caveat) = (kind.args.to_owned(), kind.caveat);
    Some(Bootable { system: kind.system, kernel: (*kernel).to_owned(), initrds, args, caveat })
}

/// `.treeinfo` of Fedora and the RHEL family: an INI file whose `[images-ARCH]` names kernel and initrd
fn tree_info(files: &mut impl Files) -> Option<Bootable> {
    let text = files.text(".treeinfo")?;
    let (mut kernel, mut initrd, mut in_images) = (None, None, false);
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            // The first architecture's: `images-xen` and others come after it.
            in_images = kernel.is_none() && section.starts_with("images-");
        } else if let Some((key, value)) = line.split_once('=').filter(|_| in_images) {
            match key.trim() {
                "kernel" => kernel = Some(value.trim().to_owned()),
                "initrd" => initrd = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }
    let (kernel, initrd) = kernel.zip(initrd)?;
    if !is_plain(&kernel) || !is_plain(&initrd) || !files.exists(&kernel) || !files.exists(&initrd) {
        return None;
    }
    let args = RED_HAT_ARGS.to_owned();
    Some(Bootable { system: "Fedora or RHEL family", kernel, initrds: vec![initrd], args, caveat: None })
}

/// Whether a path can stand in a script as it is
fn is_plain(path: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'+');
    !path.is_empty() && path.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named<'n>(&'n [&'n str], &'n str);

    impl Files for Named<'_> {
        fn exists(&mut self, path: &str) -> bool {
            self.0.contains(&path)
        }

        fn text(&mut self, _: &str) -> Option<String> {
            (!self.1.is_empty()).then(|| self.1.to_owned())
        }
    }

    #[test]
    fn distributions_are_told_by_their_files() {
        for (files, system, initrds) in [
            (&["images/pxeboot/vmlinuz", "images/pxeboot/initrd.img"][..], "Fedora or RHEL family", 1),
            (
                &["images/pxeboot/vmlinuz", "images/pxeboot/initrd.img", "LiveOS/squashfs.img"],
                "Fedora or RHEL family, live",
                1,
            ),
            (&["casper/vmlinuz", "casper/initrd"], "Ubuntu", 1),
            (&["install.amd/vmlinuz", "install.amd/initrd.gz"], "Debian", 1),
            (&["linux", "initrd.gz"], "Debian netboot", 1),
            (&["live/vmlinuz", "live/initrd.img", "live/filesystem.squashfs"], "Debian live", 1),
            (&["boot/x86_64/loader/linux", "boot/x86_64/loader/initrd"], "openSUSE or SLE", 1),
            (
                &[
                    "arch/boot/x86_64/vmlinuz-linux",
                    "arch/boot/x86_64/initramfs-linux.img",
                    "arch/boot/amd-ucode.img",
                ],
                "Arch Linux",
                2,
            ),
            (&["boot/vmlinuz-lts", "boot/initramfs-lts"], "Alpine Linux", 1),
            (&["boot/mt86p_64"], "memtest86+", 0),
        ] {
            let found = find(&mut Named(files, "")).unwrap_or_else(|| panic!("{system}"));
            assert_eq!((found.system, found.initrds.len()), (system, initrds));
        }
        assert_eq!(find(&mut Named(&["linux", "casper/vmlinuz"], "")), None, "a kernel without its initrd");
    }

    #[test]
    fn tree_info_names_its_files() {
        let text = "[general]\nfamily = CentOS\nkernel = no\n[images-x86_64]\nkernel = images/pxeboot/vmlinuz\n\
                    initrd=images/pxeboot/initrd.img\n[images-xen]\nkernel = xen\ninitrd = xen.img\n";
        let files = ["images/pxeboot/vmlinuz", "images/pxeboot/initrd.img", "xen", "xen.img"];
        let found = find(&mut Named(&files, text)).unwrap();
        assert_eq!((&*found.kernel, &*found.initrds[0]), (files[0], files[1]));
        let hostile = text.replace("images/pxeboot/vmlinuz", "a b || shell");
        assert_eq!(find(&mut Named(&["a b || shell", files[1]], &hostile)), None);
    }
}
