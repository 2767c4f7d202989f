//! What to boot of an installation image: kernel, initrd and arguments, known by the files that distributions put there.
//!
//! Pure: it asks whether files are there, reads one small text and the head of the kernel. Arguments are templates, filled in by
//! [`super::script`]; those here are the least that the distribution's own documentation asks for.

use super::arch::Cpu;

/// What is booted of an image
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootable {
    /// What it was taken for; `None`: the operator says what it boots
    pub system: Option<&'static str>,
    /// Below the image
    pub kernel: String,
    /// Below the image, in the order in which they are loaded
    pub initrds: Vec<String>,
    /// With words in braces
    pub args: String,
    /// What the kernel was built for; `None`: its head does not tell
    pub cpu: Option<Cpu>,
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
    /// The first [`HEAD_LEN`] bytes of a file, or all of a shorter one; empty where it cannot be read
    fn head(&mut self, path: &str) -> Vec<u8>;
}

/// Bytes of a kernel that tell what it was built for: its EFI header lies in the first page
pub const HEAD_LEN: usize = 4_096;

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
    let (args, caveat, cpu) = (kind.args.to_owned(), kind.caveat, cpu_of(kernel, files));
    let system = Some(kind.system);
    Some(Bootable { system, kernel: (*kernel).to_owned(), initrds, args, cpu, caveat })
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
    let (args, cpu) = (RED_HAT_ARGS.to_owned(), cpu_of(&kernel, files));
    let system = Some("Fedora or RHEL family");
    Some(Bootable { system, kernel, initrds: vec![initrd], args, cpu, caveat: None })
}

/// What the kernel at a path was built for: by its head, or by a part of its path where it is packed (gzip)
pub fn cpu_of(path: &str, files: &mut impl Files) -> Option<Cpu> {
    let by_path = || {
        path.split(['/', '.', '-']).find_map(|part| match part {
            "aarch64" | "arm64" | "a64" => Some(Cpu::Arm64),
            "riscv64" => Some(Cpu::RiscV64),
            "loongarch64" => Some(Cpu::LoongArch64),
            "x86_64" | "amd64" | "amd" | "i386" | "386" => Some(Cpu::X86),
            _ => None,
        })
    };
    cpu_of_head(&files.head(path)).or_else(by_path)
}

/// Linux's boot protocols (its Documentation/arch: x86/boot, arm/booting, arm64/booting, riscv/boot-image-header), then the
/// machine of an EFI program (PE/COFF), as packed kernels are
fn cpu_of_head(head: &[u8]) -> Option<Cpu> {
    let has = |at: usize, magic: &[u8]| head.get(at..at + magic.len()) == Some(magic);
    if has(0x202, b"HdrS") {
        return Some(Cpu::X86);
    }
    if has(0x38, b"ARM\x64") {
        return Some(Cpu::Arm64);
    }
    if has(0x38, b"RSC\x05") {
        return Some(Cpu::RiscV64);
    }
    if has(0x24, &0x016f_2818_u32.to_le_bytes()) {
        return Some(Cpu::Arm32);
    }
    let at = u32::from_le_bytes(*head.get(0x3c..)?.first_chunk()?);
    let at = usize::try_from(at).ok().filter(|at| has(0, b"MZ") && has(*at, b"PE\0\0"))?;
    match u16::from_le_bytes(*head.get(at + 4..)?.first_chunk()?) {
        0x014c | 0x8664 => Some(Cpu::X86),
        0x01c2 | 0x01c4 => Some(Cpu::Arm32),
        0xaa64 => Some(Cpu::Arm64),
        0x5064 => Some(Cpu::RiscV64),
        0x6264 => Some(Cpu::LoongArch64),
        _ => None,
    }
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

        fn head(&mut self, _: &str) -> Vec<u8> {
            Vec::new()
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
            assert_eq!((found.system, found.initrds.len()), (Some(system), initrds));
        }
        assert_eq!(find(&mut Named(&["linux", "casper/vmlinuz"], "")), None, "a kernel without its initrd");
    }

    #[test]
    fn kernels_tell_what_they_were_built_for() {
        let with = |at: usize, magic: &[u8]| {
            let mut head = vec![0; HEAD_LEN];
            head[at..at + magic.len()].copy_from_slice(magic);
            head
        };
        let efi = |machine: u16| {
            let mut head = with(0x80, b"PE\0\0");
            head[..2].copy_from_slice(b"MZ");
            head[0x3c] = 0x80;
            head[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
            head
        };
        for (head, cpu) in [
            (with(0x202, b"HdrS"), Some(Cpu::X86)),
            (with(56, b"ARMd"), Some(Cpu::Arm64)),
            (with(56, b"RSC\x05"), Some(Cpu::RiscV64)),
            (with(0x24, &[0x18, 0x28, 0x6f, 1]), Some(Cpu::Arm32)),
            (efi(0xaa64), Some(Cpu::Arm64)),
            (efi(0x8664), Some(Cpu::X86)),
            (efi(0x6264), Some(Cpu::LoongArch64)),
            (efi(7), None),
            (with(0, &[0x1f, 0x8b]), None),
            (vec![b'M', b'Z'], None),
            // An offset that points behind the end.
            ([&b"MZ"[..], &[0xff; 0x40]].concat(), None),
        ] {
            assert_eq!(cpu_of_head(&head), cpu, "{:?}", &head[..2]);
        }
        let mut nothing = Named(&[], "");
        for (path, cpu) in [
            ("boot/aarch64/linux", Some(Cpu::Arm64)),
            ("install.a64/vmlinuz", Some(Cpu::Arm64)),
            ("install.amd/vmlinuz", Some(Cpu::X86)),
            ("casper/vmlinuz", None),
        ] {
            assert_eq!(cpu_of(path, &mut nothing), cpu, "{path}");
        }
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
