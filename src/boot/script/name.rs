//! The names that loaders ask their configuration by, and whom each of them is for.
//!
//! pxelinux and U-Boot: `pxelinux.cfg/` and a UUID, `01-` and the MAC address, eight hexadecimal digits of the IP address or
//! fewer, `default` (syslinux's doc/pxelinux.txt); before that one U-Boot asks by its processor and board (its boot/pxe_utils.c).
//! GRUB: `grub.cfg-` and the same, then `grub.cfg` (grub-core/net/net.c), below
//! a folder that each distribution builds in (`/grub`, `/EFI/centos`, `/debian-installer/amd64/grub`, …), so below any.
//! iPXE's are this server's own, below `images/ADDRESS`.

use std::net::Ipv4Addr;

use super::super::client::{Arch, Uuid};
use super::super::plan::Name;
use crate::wire::ethernet::MacAddr;

/// In whose syntax a text is
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loader {
    Ipxe,
    Pxelinux,
    Grub,
    /// GRUB, before it is known which machine it runs on
    GrubAsk,
}

/// Whom a text is for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For<'p> {
    /// Who has this name, if an image is assigned to it
    Assigned(Name<'p>),
    /// Who has this name; without an image of its own it gets the menu
    Anybody(Name<'p>),
    /// Whoever is to boot the image that this part of a path stands for
    Stem(&'p str),
}

/// What a path asks for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted<'p> {
    pub(super) loader: Loader,
    pub(super) whom: For<'p>,
    /// The firmware that such a loader runs on
    pub(super) arch: Arch,
    /// The server's address, where the path has it
    pub(super) server: Option<Ipv4Addr>,
    /// Where the loader came from
    pub(super) folder: &'p str,
    /// Everybody's, under a name that comes before `default`
    pub(super) is_early: bool,
}

/// What a plain path asks for; `None`: it is no loader's configuration
pub(super) fn parse(path: &[u8]) -> Option<Wanted<'_>> {
    let path = std::str::from_utf8(path).ok()?;
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    ipxe_or_generated(path).or_else(|| pxelinux(folder, file)).or_else(|| grub(folder, file))
}

/// `images/ADDRESS` and what is below it
fn ipxe_or_generated(path: &str) -> Option<Wanted<'_>> {
    let below = path.strip_prefix("images/")?;
    let wanted = |loader, whom, arch, address| Wanted {
        loader,
        whom,
        arch,
        server: Some(address),
        folder: "",
        is_early: false,
    };
    let ipxe = |whom, address| wanted(Loader::Ipxe, whom, Arch::X64_UEFI, address);
    let Some((address, rest)) = below.split_once('/') else {
        let address = below.strip_suffix(".ipxe")?.parse().ok()?;
        return Some(ipxe(For::Anybody(Name::Anybody), address));
    };
    let address: Ipv4Addr = address.parse().ok()?;
    let parts: Vec<_> = rest.split('/').collect();
    match *parts {
        ["by-mac", mac, file] => {
            let arch = grub_arch(file.strip_prefix("grub-")?.strip_suffix(".cfg")?);
            Some(wanted(Loader::Grub, For::Anybody(Name::Mac(mac_of(mac)?)), arch, address))
        }
        // GRUB found no network of its own: its MAC address is empty.
        ["by-mac", file] if file.starts_with("grub-") => {
            let arch = grub_arch(file.strip_prefix("grub-")?.strip_suffix(".cfg")?);
            Some(wanted(Loader::Grub, For::Anybody(Name::Anybody), arch, address))
        }
        ["by-mac", file] => {
            let mac = mac_of(file.strip_suffix(".ipxe")?)?;
            Some(ipxe(For::Assigned(Name::Mac(mac)), address))
        }
        ["by-uuid", file] => {
            let uuid = uuid_of(file.strip_suffix(".ipxe")?)?;
            Some(ipxe(For::Assigned(Name::Uuid(uuid)), address))
        }
        ["by-serial", file] => {
            let serial = file.strip_suffix(".ipxe")?.trim();
            Some(ipxe(For::Assigned(Name::Serial(serial)), address))
        }
        [file] => Some(ipxe(For::Stem(file.strip_suffix(".ipxe")?), address)),
        [stem, "pxelinux.cfg", _] => {
            let folder = &path[..path.find("/pxelinux.cfg")?];
            let whom = For::Stem(stem);
            Some(Wanted { folder, ..wanted(Loader::Pxelinux, whom, Arch::X86_BIOS, address) })
        }
        _ => None,
    }
}

/// The part of a path that stands for an image, where a loader that boots it is asked for
pub(super) fn loader_of_stem(path: &str) -> Option<(&str, &str)> {
    let (address, rest) = path.strip_prefix("images/")?.split_once('/')?;
    address.parse::<Ipv4Addr>().ok()?;
    rest.split_once('/').filter(|(stem, file)| !file.contains('/') && !stem.starts_with("by-"))
}

fn pxelinux<'p>(folder: &'p str, file: &'p str) -> Option<Wanted<'p>> {
    let folder = folder.strip_suffix("pxelinux.cfg").filter(|rest| rest.is_empty() || rest.ends_with('/'))?;
    let (whom, arch) = match (file, file.strip_prefix("default-")) {
        ("default", _) => (For::Anybody(Name::Anybody), Arch::X86_BIOS),
        (_, Some(board)) => (For::Anybody(Name::Anybody), u_boot_arch(board)?),
        _ => (For::Assigned(machine(file)?), Arch::X86_BIOS),
    };
    let (folder, is_early) = (folder.trim_end_matches('/'), file.starts_with("default-"));
    Some(Wanted { loader: Loader::Pxelinux, whom, arch, server: None, folder, is_early })
}

fn grub<'p>(folder: &'p str, file: &'p str) -> Option<Wanted<'p>> {
    let rest = file.strip_prefix("grub.cfg")?;
    let arch = if ["arm64", "aa64", "aarch64"].iter().any(|one| folder.contains(one)) {
        Arch::ARM64_UEFI
    } else {
        Arch::X64_UEFI
    };
    let (loader, whom) = match rest.strip_prefix('-') {
        None if rest.is_empty() => (Loader::GrubAsk, For::Anybody(Name::Anybody)),
        None => return None,
        Some(name) => (Loader::Grub, For::Assigned(machine(name)?)),
    };
    Some(Wanted { loader, whom, arch, server: None, folder, is_early: false })
}

/// A UUID, `01-` and a MAC address, or an IP address in hexadecimal. Fewer digits of it stand for a network, and are nobody's.
fn machine(name: &str) -> Option<Name<'_>> {
    if let Some(mac) = name.strip_prefix("01-") {
        return mac_of(mac).map(Name::Mac);
    }
    if let Some(uuid) = uuid_of(name) {
        return Some(Name::Uuid(uuid));
    }
    let is_address = name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let address = u32::from_str_radix(name, 16).ok().filter(|_| is_address)?;
    Some(Name::Address(Ipv4Addr::from_bits(address)))
}

fn mac_of(text: &str) -> Option<MacAddr> {
    text.parse().ok()
}

/// A UUID as loaders write it
pub fn uuid_of(text: &str) -> Option<Uuid> {
    let dashes = text.bytes().enumerate().filter(|(_, byte)| *byte == b'-').map(|(at, _)| at);
    if text.len() != 36 || !dashes.eq([8, 13, 18, 23]) {
        return None;
    }
    let digits = text.replace('-', "");
    u128::from_str_radix(&digits, 16).ok().map(|uuid| Uuid(uuid.to_be_bytes()))
}

/// The architecture that a name of U-Boot's begins with. It calls both of ARM's so: where DHCP did not tell, 64 bits are likelier.
fn u_boot_arch(name: &str) -> Option<Arch> {
    match name.split('-').next()? {
        "arm" => Some(Arch::ARM64_UBOOT),
        "riscv" => Some(Arch::RISCV64_UEFI),
        "x86" => Some(Arch::X86_BIOS),
        _ => None,
    }
}

/// What GRUB calls `$grub_cpu-$grub_platform`
fn grub_arch(name: &str) -> Arch {
    match name {
        "i386-pc" => Arch::X86_BIOS,
        "i386-efi" => Arch::IA32_UEFI,
        "arm64-efi" => Arch::ARM64_UEFI,
        "arm-efi" => Arch::ARM32_UEFI,
        "riscv64-efi" => Arch::RISCV64_UEFI,
        _ => Arch::X64_UEFI,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd]);
    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 1);

    #[test]
    fn loaders_ask_by_these_names() {
        use For::{Anybody, Assigned, Stem};
        use Loader::{Grub, GrubAsk, Ipxe, Pxelinux};
        let uuid = Uuid(*b"LLED\0Q5\x10\x80R\xb4\xc0OVB1");
        let address = Name::Address(Ipv4Addr::new(192, 168, 99, 86));
        for (path, loader, whom) in [
            // As captured: pcaps/dnsmasq-bios-full.pcap, dnsmasq-uefi-full.pcap
            ("pxelinux.cfg/01-88-99-aa-bb-cc-dd", Pxelinux, Assigned(Name::Mac(MAC))),
            ("pxelinux.cfg/C0A86356", Pxelinux, Assigned(address)),
            ("pxelinux.cfg/default", Pxelinux, Anybody(Name::Anybody)),
            ("bios/x/pxelinux.cfg/default", Pxelinux, Anybody(Name::Anybody)),
            ("pxelinux.cfg/default-arm", Pxelinux, Anybody(Name::Anybody)),
            ("pxelinux.cfg/default-arm-armv8-qemu-arm", Pxelinux, Anybody(Name::Anybody)),
            ("pxelinux.cfg/4c4c4544-0051-3510-8052-b4c04f564231", Pxelinux, Assigned(Name::Uuid(uuid))),
            ("debian-installer/amd64/grub/grub.cfg", GrubAsk, Anybody(Name::Anybody)),
            ("grub.cfg", GrubAsk, Anybody(Name::Anybody)),
            ("EFI/centos/grub.cfg-01-88-99-aa-bb-cc-dd", Grub, Assigned(Name::Mac(MAC))),
            ("EFI/BOOT/grub.cfg-C0A86356", Grub, Assigned(address)),
            ("images/192.168.99.1.ipxe", Ipxe, Anybody(Name::Anybody)),
            ("images/192.168.99.1/centos7.ipxe", Ipxe, Stem("centos7")),
            ("images/192.168.99.1/by-mac/88-99-aa-bb-cc-dd.ipxe", Ipxe, Assigned(Name::Mac(MAC))),
            ("images/192.168.99.1/by-serial/A B.1.ipxe", Ipxe, Assigned(Name::Serial("A B.1"))),
            (
                "images/192.168.99.1/by-mac/88:99:aa:bb:cc:dd/grub-x86_64-efi.cfg",
                Grub,
                Anybody(Name::Mac(MAC)),
            ),
            ("images/192.168.99.1/by-mac/grub-x86_64-efi.cfg", Grub, Anybody(Name::Anybody)),
            ("images/192.168.99.1/a+1/pxelinux.cfg/default", Pxelinux, Stem("a+1")),
        ] {
            let wanted = parse(path.as_bytes()).unwrap_or_else(|| panic!("{path}"));
            assert_eq!((wanted.loader, wanted.whom), (loader, whom), "{path}");
            assert_eq!(wanted.server, path.starts_with("images/").then_some(SERVER), "{path}");
        }
        for path in [
            "pxelinux.cfg",
            "pxelinux.cfg/C0A863",
            "pxelinux.cfg/default-mips",
            "pxelinux.cfg/default-",
            "pxelinux.cfg/01-88-99",
            "xpxelinux.cfg/default",
            "grub.cfg.bak",
            "grub/command.lst",
            "images/centos7/EFI/BOOT/BOOTX64.EFI",
            "images/192.168.99.1/centos7/lpxelinux.0",
            "boot.ipxe",
        ] {
            assert_eq!(parse(path.as_bytes()), None, "{path}");
        }
        let default = parse(b"bios/pxelinux.cfg/default").unwrap();
        assert_eq!((default.folder, default.is_early, default.arch), ("bios", false, Arch::X86_BIOS));
        let arm = parse(b"pxelinux.cfg/default-arm-armv8").unwrap();
        assert_eq!((arm.folder, arm.is_early, arm.arch), ("", true, Arch::ARM64_UBOOT));
        assert_eq!(parse(b"debian-installer/arm64/grub/grub.cfg-C0A86356").unwrap().arch, Arch::ARM64_UEFI);
    }

    #[test]
    fn loaders_below_an_image_are_known() {
        assert_eq!(loader_of_stem("images/10.0.0.1/a/lpxelinux.0"), Some(("a", "lpxelinux.0")));
        for path in
            ["images/a/lpxelinux.0", "images/10.0.0.1/lpxelinux.0", "images/10.0.0.1/a/b/c", "lpxelinux.0"]
        {
            assert_eq!(loader_of_stem(path), None, "{path}");
        }
    }
}
