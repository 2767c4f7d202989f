//! Where a simulated rack stands: its networks, what the server is told to do there, and the files that it serves.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::random::Random;
use crate::boot::client::Arch;
use crate::boot::plan::{
    BootFile, Boots, Cidr, LoaderName, Match, Menu, MenuItem, Mode, Network, Plan, Range, Rate, Reason, Rule,
    Subnet,
};
use crate::content::Memory;
use crate::proto::tftp;
use crate::time::Duration;
use crate::wire::ethernet::MacAddr;

/// The files, as the machines know them to be
#[derive(Clone, Debug, Default)]
pub struct Files(HashMap<String, Vec<u8>>);

impl Files {
    fn find(&self, name: &str) -> Option<&Vec<u8>> {
        self.0.get(&plain(name))
    }

    /// The size of a file, if there is one of that name
    pub(crate) fn size(&self, name: &str) -> Option<u64> {
        self.find(name).map(|bytes| bytes.len() as u64)
    }

    /// Whether the file holds these bytes there
    pub(crate) fn holds(&self, name: &str, offset: u64, bytes: &[u8]) -> bool {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = |file: &Vec<u8>| file.get(at..at.checked_add(bytes.len())?).map(|part| part == bytes);
        self.find(name).and_then(part) == Some(true)
    }

    /// Puts a file there
    pub fn insert(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.0.insert(plain(name), bytes.into());
    }

    /// Puts a file of `len` bytes there that repeat nowhere
    pub fn fill(&mut self, name: &str, len: usize) {
        let seed =
            name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
        let mut random = Random::new(seed);
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&random.next().to_le_bytes());
        }
        bytes.truncate(len);
        self.insert(name, bytes);
    }

    /// The same files, for the server
    pub(crate) fn to_memory(&self) -> Memory {
        let mut memory = Memory::new();
        let mut files: Vec<_> = self.0.iter().collect();
        // In the order of their names: the same seed, the same run.
        files.sort();
        for (name, bytes) in files {
            memory.insert(name, bytes.clone(), 1_700_000_000);
        }
        memory
    }
}

/// A name as the files have it: no doubled or leading slashes
pub(crate) fn plain(name: &str) -> String {
    let parts: Vec<_> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts.join("/")
}

/// Which link a machine hangs on
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The server is the DHCP server
    Full,
    /// Behind a relay, to the same server
    Relayed,
    /// Another server gives addresses; ours adds what is needed to boot
    Proxy,
}

impl Segment {
    /// The network of the plan whose interface it reaches the server by
    pub(crate) fn network(self) -> usize {
        usize::from(self == Self::Proxy)
    }
}

/// A rack's networks, plan and files
#[derive(Debug)]
pub struct Site {
    /// The server on the network whose DHCP server it is
    pub server: Ipv4Addr,
    /// What it gives there
    pub pool: Range,
    /// The relay, and the router of its subnet
    pub relay: Ipv4Addr,
    /// The server where another one gives addresses
    pub proxy: Ipv4Addr,
    /// That other server
    pub other: Ipv4Addr,
    /// The first address that the other server gives
    pub other_first: Ipv4Addr,
    /// BIOS machines beside the other server get a menu of one item, and so ask on port 4011
    pub menu: bool,
    /// The boot file of UEFI machines where the server gives addresses
    pub uefi: String,
    /// What the server may take of each of its wires, in bits a second; `None`: all that there is
    pub rate: Option<u64>,
    /// How TFTP is served
    pub tftp: tftp::Settings,
    /// The files
    pub files: Files,
}

pub(crate) const SERVER_MAC: [MacAddr; 2] = [MacAddr([2, 0xfe, 0, 0, 0, 1]), MacAddr([2, 0xfe, 0, 0, 0, 2])];
pub(crate) const RELAY_MAC: MacAddr = MacAddr([2, 0xfe, 0, 0, 0, 3]);
pub(crate) const OTHER_MAC: MacAddr = MacAddr([2, 0xfe, 0, 0, 0, 4]);

impl Default for Site {
    fn default() -> Self {
        let server = Ipv4Addr::new(10, 77, 0, 1);
        let proxy = Ipv4Addr::new(10, 88, 0, 1);
        Self {
            server,
            pool: Range { first: [10, 77, 1, 0].into(), last: [10, 77, 199, 255].into() },
            relay: [10, 44, 0, 1].into(),
            proxy,
            other: [10, 88, 0, 2].into(),
            other_first: [10, 88, 1, 0].into(),
            menu: false,
            uefi: "bootnetx64.efi".into(),
            rate: None,
            tftp: tftp::Settings::default(),
            files: files(server, proxy, 256 << 10),
        }
    }
}

/// What a rack boots: small loaders by TFTP, a kernel of `kernel` bytes and an initrd of twice that
pub fn files(server: Ipv4Addr, proxy: Ipv4Addr, kernel: usize) -> Files {
    let mut files = Files::default();
    let pxelinux = |server| {
        format!(
            "DEFAULT linux\nLABEL linux\n  KERNEL http://{server}/img/linux\n  INITRD http://{server}/img/initrd.gz\n"
        )
    };
    files.fill("lpxelinux.0", 90_000);
    files.fill("ldlinux.c32", 118_784);
    files.insert("pxelinux.cfg/default", pxelinux(server));
    // pxelinux comes by here on its way from the address to `default`.
    let [a, b, ..] = proxy.octets();
    files.insert(&format!("pxelinux.cfg/{a:02X}{b:02X}"), pxelinux(proxy));
    files.fill("bootnetx64.efi", 160_000);
    files.fill("grubx64.efi", 240_128);
    files.insert(
        "debian-installer/amd64/grub/grub.cfg",
        format!("insmod http\nlinux (http,{server})/img/linux\ninitrd (http,{server})/img/initrd.gz\n"),
    );
    for module in ["command.lst", "http.mod"] {
        files.fill(&format!("debian-installer/amd64/grub/x86_64-efi/{module}"), 7_000);
    }
    files.fill("ipxe.efi", 260_000);
    files.insert("boot.ipxe", "#!ipxe\nkernel /img/linux\ninitrd /img/initrd.gz\nboot\n");
    files.fill("linux.efi", kernel);
    files.insert("u-boot/pxelinux.cfg/default-arm", "LABEL linux\n  KERNEL Image\n  INITRD initrd.gz\n");
    files.fill("u-boot/Image", 300_000);
    files.fill("u-boot/initrd.gz", 1468 * 100);
    files.fill("img/linux", kernel);
    files.fill("img/initrd.gz", kernel * 2);
    files
}

impl Site {
    pub(crate) fn full(&self) -> Cidr {
        // A captured site is a /24; ours has room for more machines than that.
        Cidr::new(self.server, if self.server.octets()[0] == 10 { 16 } else { 24 })
    }

    pub(crate) fn other_link(&self) -> Cidr {
        Cidr::new(self.proxy, if self.proxy.octets()[0] == 10 { 16 } else { 24 })
    }

    pub(crate) fn plan(&self) -> Arc<Plan> {
        let subnet = |cidr: Cidr, attached, pools, router: Ipv4Addr| Subnet {
            cidr,
            attached,
            pools,
            lease: Duration::from_secs(12 * 3600),
            options: vec![(3, router.octets().to_vec())],
        };
        let relayed = Cidr::new(self.relay, 16);
        let [a, b, ..] = self.relay.octets();
        let behind = Range { first: [a, b, 1, 0].into(), last: [a, b, 199, 255].into() };
        let network = |name: &str, mac, address, mode, subnets| Network {
            interface: name.into(),
            mac,
            address,
            mode,
            authoritative: true,
            probe: false,
            subnets,
        };
        let full = vec![
            subnet(self.full(), true, vec![self.pool], self.server),
            subnet(relayed, false, vec![behind], self.relay),
        ];
        let beside = vec![subnet(self.other_link(), true, Vec::new(), self.other)];
        let networks = vec![
            network("rack0", SERVER_MAC[0], self.server, Mode::Full, full),
            network("rack1", SERVER_MAC[1], self.proxy, Mode::Proxy, beside),
        ];
        Arc::new(Plan::new(networks, self.rules(), self.menus(), Vec::new()).with_rates(self.rates()))
    }

    fn rates(&self) -> Vec<Rate> {
        let Some(bits_per_s) = self.rate else { return Vec::new() };
        let rate = |of: &str, whom| Rate { of: of.into(), whom, bits_per_s, within: None };
        let relayed = Cidr::new(self.relay, 16);
        vec![rate("rack0", vec![self.full(), relayed]), rate("rack1", vec![self.other_link()])]
    }

    fn rules(&self) -> Vec<Rule> {
        let rule = |matches, file: &str| Rule {
            matches,
            boots: Boots::File(boot_file(file)),
            image: None,
            mode: None,
            local: Default::default(),
            vars: Default::default(),
            reason: Reason::Rule { number: 0, line: 0 },
        };
        let beside = Match::Subnet(vec![self.other_link()]);
        vec![
            // The ROM of a virtual BIOS machine is an iPXE, and takes lpxelinux all the same.
            rule(vec![Match::Arch(vec![Arch::X86_BIOS])], "lpxelinux.0"),
            rule(vec![Match::Loader(vec![LoaderName::Ipxe])], "http://{server}/boot.ipxe"),
            rule(vec![Match::Arch(vec![Arch::X64_UEFI_HTTP])], "http://{server}/linux.efi"),
            rule(vec![Match::Arch(vec![Arch::ARM64_UBOOT])], "u-boot/boot"),
            rule(vec![Match::Arch(vec![Arch::X64_UEFI]), beside], "ipxe.efi"),
            rule(vec![Match::Arch(vec![Arch::X64_UEFI])], &self.uefi),
        ]
    }

    fn menus(&self) -> Vec<(Vec<Match>, Menu, Reason)> {
        if !self.menu {
            return Vec::new();
        }
        let item = MenuItem {
            kind: 0x8000,
            text: "PXE-Linux".into(),
            boot: Some(boot_file("lpxelinux.0")),
            image: None,
            servers: Vec::new(),
        };
        let menu = Menu { prompt: "PXE".into(), timeout_s: 0, items: vec![item] };
        // That ROM is an iPXE, which gets a menu only where one asks for it.
        let whom = vec![Match::Arch(vec![Arch::X86_BIOS]), Match::Loader(vec![LoaderName::Ipxe])];
        vec![(whom, menu, Reason::Menu { line: 0 })]
    }
}

fn boot_file(text: &str) -> BootFile {
    BootFile::parse(text).expect("a boot file that the configuration would take")
}
