//! A BIOS machine: the ROM fetches lpxelinux by TFTP, which walks `pxelinux.cfg/` and fetches kernel and initrd by HTTP/1.0.
//!
//! As in dnsmasq-bios-full.pcap and dnsmasq-bios-proxy.pcap (QEMU's e1000 ROM is an iPXE).

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use super::ipxe::{ROM_BOOT_SERVER, ROM_DHCP, TFTP};
use super::{Firmware, by_address, fail, url, value};
use crate::rack::http;
use crate::rack::machine::{Failure, Known, Outcome, Step};
use crate::rack::message::Reply;
use crate::rack::tftp::{self, Asked, OnStray};

/// lpxelinux asks for everything from one port
const PORT: u16 = 49_153;

/// pxelinux's table of BIOS ticks (55 ms): 31 steps, some two minutes
const TICKS_MS: &[u64] = &[
    110, 110, 165, 165, 220, 275, 330, 385, 495, 550, 660, 825, 990, 1_155, 1_430, 1_705, 2_035, 2_420,
    2_915, 3_520, 4_235, 5_060, 6_050, 7_260, 8_745, 10_505, 12_595, 14_025, 14_025, 14_025, 14_025,
];

static LOADER_TFTP: tftp::Profile = tftp::Profile {
    options: &[Asked::Tsize, Asked::Blksize(1408)],
    probe: None,
    waits_ms: TICKS_MS,
    on_stray: OnStray::AckLast,
    abort: "No error, file close",
    blksize_min: 64,
};

static LOADER_HTTP: http::Profile = http::Profile {
    version: "HTTP/1.0",
    head_first: false,
    keeps: false,
    headers: "Host: {host}\r\nUser-Agent: Syslinux/6.04\r\nConnection: close\r\nCookie: _Syslinux_BOOTIF=01-{mac}\r\n",
    wants_efi_type: false,
    skips_last_header: true,
    wait_ms: 60_000,
    tries: 3,
};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Address,
    BootServer,
    Loader,
    Library,
    Walk,
    Kernel,
    Initrd,
}

/// From power-on to the kernel
#[derive(Default)]
pub(super) struct Bios {
    phase: Phase,
    server: Option<Ipv4Addr>,
    names: VecDeque<String>,
    config: String,
}

impl Firmware for Bios {
    fn next(&mut self, known: &mut Known, outcome: Outcome) -> Step {
        match (self.phase, outcome) {
            (Phase::Address, Outcome::Power) => Step::Dhcp(&ROM_DHCP),
            (Phase::Address, Outcome::Leased(lease)) => {
                let Some(boot) = lease.boot else { return Step::Fail(Failure::NoBootFile) };
                let asks = boot.is_pxe && !boot.uses_file();
                if let Some(item) = boot.first_item().filter(|_| asks) {
                    self.phase = Phase::BootServer;
                    return Step::BootServer(&ROM_BOOT_SERVER, boot.server, Some(item));
                }
                self.load(boot)
            }
            (Phase::BootServer, Outcome::BootServer(boot)) => self.load(boot),
            (Phase::Loader, Outcome::Fetched(_)) => {
                // From here on it is lpxelinux that asks.
                known.one_port = Some(PORT);
                self.fetch(Phase::Library, "ldlinux.c32".into())
            }
            (Phase::Library, Outcome::Fetched(_)) => {
                let mac = known.identity.mac.to_string().replace(':', "-");
                self.names = [format!("01-{mac}")].into_iter().chain(by_address(known.address)).collect();
                self.names.push_back("default".into());
                self.walk()
            }
            (Phase::Walk, Outcome::Missing) => self.walk(),
            (Phase::Walk, Outcome::Fetched(name)) => {
                known.files.text(&name).clone_into(&mut self.config);
                self.get(Phase::Kernel, "KERNEL")
            }
            (Phase::Kernel, Outcome::Fetched(_)) => self.get(Phase::Initrd, "INITRD"),
            (Phase::Initrd, Outcome::Fetched(_)) => Step::Booted,
            (_, outcome) => fail(&outcome),
        }
    }
}

impl Bios {
    fn load(&mut self, boot: Reply) -> Step {
        if boot.file.is_empty() {
            return Step::Fail(Failure::NoBootFile);
        }
        self.server = Some(boot.siaddr);
        self.phase = Phase::Loader;
        Step::Tftp(&TFTP, boot.siaddr, boot.file)
    }

    fn fetch(&mut self, phase: Phase, name: String) -> Step {
        self.phase = phase;
        Step::Tftp(&LOADER_TFTP, self.server.unwrap_or(Ipv4Addr::UNSPECIFIED), name)
    }

    fn walk(&mut self) -> Step {
        match self.names.pop_front() {
            Some(name) => self.fetch(Phase::Walk, format!("pxelinux.cfg/{name}")),
            None => Step::Fail(Failure::NotFound),
        }
    }

    fn get(&mut self, phase: Phase, key: &str) -> Step {
        self.phase = phase;
        match value(&self.config, key).and_then(url) {
            Some((server, path)) => Step::Http(&LOADER_HTTP, server, path),
            None => Step::Fail(Failure::NothingToLoad),
        }
    }
}
