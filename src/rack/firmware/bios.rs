//! A BIOS machine: the ROM fetches lpxelinux by TFTP, which walks `pxelinux.cfg/` and fetches kernel and initrd by HTTP/1.0 or
//! TFTP; or it fetches an iPXE.
//!
//! As in dnsmasq-bios-full.pcap and dnsmasq-bios-proxy.pcap (QEMU's e1000 ROM is an iPXE).

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use super::config::{self, Source};
use super::ipxe::{Ipxe, ROM_BOOT_SERVER, ROM_DHCP, TFTP};
use super::{Firmware, fail};
use crate::rack::http;
use crate::rack::message::Reply;
use crate::rack::outcome::{Failure, Outcome};
use crate::rack::reach::Known;
use crate::rack::step::Step;
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
    Files,
}

/// From power-on to the kernel
#[derive(Default)]
pub(super) struct Bios {
    phase: Phase,
    server: Option<Ipv4Addr>,
    /// The directory of the boot file, with its slash
    folder: String,
    names: VecDeque<String>,
    files: VecDeque<String>,
    /// iPXE runs
    loaded: Option<Ipxe>,
}

impl Firmware for Bios {
    fn next(&mut self, known: &mut Known, outcome: Outcome) -> Step {
        if let Some(ipxe) = &mut self.loaded {
            return ipxe.next(known, outcome);
        }
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
            (Phase::Loader, Outcome::Fetched(file)) if config::is_ipxe(&file.name) => {
                self.loaded.insert(Ipxe::on_bios()).next(known, Outcome::Power)
            }
            (Phase::Loader, Outcome::Fetched(file)) => {
                // From here on it is lpxelinux that asks.
                known.one_port = Some(PORT);
                config::folder(&file.name).clone_into(&mut self.folder);
                self.fetch(Phase::Library, "ldlinux.c32")
            }
            (Phase::Library, Outcome::Fetched(_)) => {
                self.names = config::names(known).chain(["default".into()]).collect();
                self.walk()
            }
            // To pxelinux any ERROR says that there is no such file.
            (Phase::Walk, Outcome::Missing | Outcome::Failed(Failure::TftpError)) => self.walk(),
            (Phase::Walk, Outcome::Fetched(file)) => {
                self.files = config::pxelinux(&file.text).into();
                if self.files.is_empty() { Step::Fail(Failure::NothingToLoad) } else { self.load_next() }
            }
            (Phase::Files, Outcome::Fetched(_)) => self.load_next(),
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

    fn fetch(&mut self, phase: Phase, name: &str) -> Step {
        self.phase = phase;
        let name = if name.starts_with('/') { name.to_owned() } else { format!("{}{name}", self.folder) };
        Step::Tftp(&LOADER_TFTP, self.server.unwrap_or(Ipv4Addr::UNSPECIFIED), name)
    }

    fn walk(&mut self) -> Step {
        match self.names.pop_front() {
            Some(name) => self.fetch(Phase::Walk, &format!("pxelinux.cfg/{name}")),
            None => Step::Fail(Failure::NotFound),
        }
    }

    fn load_next(&mut self) -> Step {
        let Some(name) = self.files.pop_front() else { return Step::Booted };
        self.phase = Phase::Files;
        match Source::parse(&name) {
            Some(Source::Http(server, path)) => Step::Http(&LOADER_HTTP, server, path),
            Some(Source::Tftp(server, name)) => Step::Tftp(&LOADER_TFTP, server, name),
            None if name.contains("://") => Step::Fail(Failure::NothingToLoad),
            None => self.fetch(Phase::Files, &name),
        }
    }
}
