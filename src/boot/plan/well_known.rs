//! Loaders that everybody calls by the same names: with no `[[boot]]` rule, those in the root are what is booted.

use super::super::client::Arch;
use super::{BootFile, Boots, LoaderName, Match, Piece, Reason, Rule};

/// The iPXE script that iPXE itself is given
pub const IPXE_SCRIPT: &str = "boot.ipxe";

/// One architecture, by TFTP and by HTTP boot, and the names of its loaders: the first that exists is used
#[derive(Clone, Copy, Debug)]
pub struct Loaders {
    /// What asks by PXE
    pub arch: Arch,
    /// What asks by UEFI HTTP boot for the same files
    pub http_arch: Option<Arch>,
    /// Names below the root, best first
    pub names: &'static [&'static str],
}

/// Names as distributions, iPXE's own build and the UEFI specification (§3.5.1.1) give them. shim comes before GRUB
/// under its own name: what is called `bootx64.efi` is mostly shim, and a machine with Secure Boot starts nothing else.
pub const LOADERS: &[Loaders] = &[
    Loaders {
        arch: Arch::X86_BIOS,
        http_arch: None,
        names: &["lpxelinux.0", "pxelinux.0", "undionly.kpxe", "ipxe.pxe"],
    },
    Loaders {
        arch: Arch::X64_UEFI,
        http_arch: Some(Arch::X64_UEFI_HTTP),
        names: &["bootx64.efi", "shimx64.efi", "ipxe.efi", "snponly.efi", "grubx64.efi", "syslinux.efi"],
    },
    Loaders {
        arch: Arch::IA32_UEFI,
        http_arch: Some(Arch::IA32_UEFI_HTTP),
        names: &["bootia32.efi", "shimia32.efi", "ipxe-ia32.efi", "snponly-ia32.efi", "grubia32.efi"],
    },
    Loaders {
        arch: Arch::ARM64_UEFI,
        http_arch: Some(Arch::ARM64_UEFI_HTTP),
        names: &["bootaa64.efi", "shimaa64.efi", "ipxe-arm64.efi", "snponly-arm64.efi", "grubaa64.efi"],
    },
    Loaders {
        arch: Arch::ARM32_UEFI,
        http_arch: Some(Arch::ARM32_UEFI_HTTP),
        names: &["bootarm.efi", "ipxe-arm32.efi", "snponly-arm32.efi", "grubarm.efi"],
    },
    Loaders {
        arch: Arch::RISCV64_UEFI,
        http_arch: Some(Arch::RISCV64_UEFI_HTTP),
        names: &["bootriscv64.efi", "ipxe-riscv64.efi", "snponly-riscv64.efi", "grubriscv64.efi"],
    },
];

/// Where a loader lies
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the root: the operator's own
    Root,
    /// In an image, or in a package of the system
    System,
}

/// The rules for the loaders that `exists` finds, those in the root before any of the system's. iPXE comes first, since it must
/// get its script and no loader.
///
/// Of the system's, what is signed goes before iPXE, so that Secure Boot works; but `beside` another DHCP server iPXE goes
/// before it. GRUB 2.06 takes its server and its folder from the DHCPACK that the firmware keeps (efinet.c:
/// `grub_net_configure_by_dhcp_ack` of `pxe_mode->dhcp_ack`), which is the other server's, and looks at neither the proxy's
/// offer nor the boot server's answer: nothing that a proxy may send reaches it. GRUB 2.12 reads the proxy's offer where that
/// DHCPACK names no file.
pub fn rules(exists: impl Fn(Place, &str) -> bool, beside: bool) -> Vec<Rule> {
    let mut rules = Vec::new();
    let ipxe = Match::Loader(vec![LoaderName::Ipxe]);
    if exists(Place::Root, IPXE_SCRIPT) {
        rules.push(rule(vec![ipxe], IPXE_SCRIPT));
    }
    for loaders in LOADERS {
        let ipxe_first = beside && loaders.arch != Arch::X86_BIOS;
        let of_kind = |ipxe: bool| loaders.names.iter().filter(move |name| is_ipxe_name(name) == ipxe);
        let mut systems = of_kind(ipxe_first).chain(of_kind(!ipxe_first));
        let own = loaders.names.iter().find(|name| exists(Place::Root, name));
        if let Some(name) = own.or_else(|| systems.find(|name| exists(Place::System, name))) {
            let archs = [Some(loaders.arch), loaders.http_arch].into_iter().flatten().collect();
            rules.push(rule(vec![Match::Arch(archs)], name));
        }
    }
    rules
}

/// The rule that gives iPXE the menu of the images, by the address that it finds this server at
pub fn image_menu() -> Rule {
    let pieces =
        vec![Piece::Literal("images/".to_owned()), Piece::Server, Piece::Literal(".ipxe".to_owned())];
    let boots = Boots::File(BootFile { pieces, server: None });
    let matches = vec![Match::Loader(vec![LoaderName::Ipxe])];
    Rule {
        matches,
        boots,
        image: None,
        local: Default::default(),
        vars: Default::default(),
        mode: None,
        reason: Reason::WellKnown,
    }
}

fn rule(matches: Vec<Match>, name: &str) -> Rule {
    let boot = BootFile { pieces: vec![Piece::Literal(name.to_owned())], server: None };
    Rule {
        matches,
        boots: Boots::File(boot),
        image: None,
        local: Default::default(),
        vars: Default::default(),
        mode: None,
        reason: Reason::WellKnown,
    }
}

/// Whether the file is a script for iPXE, by the name that scripts have
pub fn is_ipxe_script(boot: &BootFile) -> bool {
    matches!(boot.pieces.last(), Some(Piece::Literal(text)) if text.ends_with(".ipxe"))
}

/// Whether the file is iPXE itself, by the names that its build gives
pub fn is_ipxe(boot: &BootFile) -> bool {
    matches!(boot.pieces.last(), Some(Piece::Literal(text)) if is_ipxe_name(text))
}

fn is_ipxe_name(text: &str) -> bool {
    let name = text.rsplit(['/', '\\']).next().unwrap_or(text).as_bytes();
    let ends = |end: &str| {
        name.len() >= end.len() && name[name.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
    };
    let starts =
        |start: &str| name.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()));
    let image = [".efi", ".pxe", ".kpxe", ".kkpxe", ".kkkpxe", ".0"].into_iter().any(ends);
    image && ["ipxe", "snponly", "undionly", "netboot.xyz"].into_iter().any(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_loader_that_exists_is_used() {
        let root = ["boot.ipxe", "pxelinux.0", "undionly.kpxe", "grubx64.efi"];
        assert_eq!(files(&root, &[], false), ["boot.ipxe", "pxelinux.0", "grubx64.efi"]);
    }

    #[test]
    fn the_system_stands_in_for_what_the_root_lacks() {
        let system = ["lpxelinux.0", "undionly.kpxe", "snponly.efi", "bootx64.efi", "grubx64.efi"];
        assert_eq!(files(&[], &system, false), ["lpxelinux.0", "bootx64.efi"]);
        assert_eq!(files(&[], &system, true), ["lpxelinux.0", "snponly.efi"]);
        assert_eq!(files(&["syslinux.efi"], &system, false), ["lpxelinux.0", "syslinux.efi"]);
        assert_eq!(files(&[], &system[3..], true), ["bootx64.efi"], "better than nothing");
    }

    fn files(in_root: &[&str], in_system: &[&str], beside: bool) -> Vec<String> {
        let exists = |place, name: &str| match place {
            Place::Root => in_root.contains(&name),
            Place::System => in_system.contains(&name),
        };
        let name = |rule: &Rule| match &rule.boots {
            Boots::File(boot) => boot.to_string(),
            other => panic!("{other:?}"),
        };
        rules(exists, beside).iter().map(name).collect()
    }

    #[test]
    fn ipxe_is_known_by_its_names() {
        for (text, expected) in [
            ("undionly.kpxe", true),
            ("/efi/iPXE.efi", true),
            ("http://{server}/ipxe-arm64.efi", true),
            ("ipxe/boot.ipxe", false),
            ("ipxe.cfg", false),
            ("ipxe/{mac}.efi", false),
            ("lpxelinux.0", false),
            ("bootx64.efi", false),
        ] {
            assert_eq!(is_ipxe(&BootFile::parse(text).unwrap()), expected, "{text}");
        }
    }
}
