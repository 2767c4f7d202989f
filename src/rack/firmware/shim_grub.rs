//! shim, as a UEFI machine has loaded it: it fetches GRUB by the firmware's TFTP; GRUB fetches its modules by its own, and kernel
//! and initrd by HTTP or TFTP.
//!
//! As in dnsmasq-uefi-full.pcap (Debian 12's signed pair).

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use super::config::{self, Source};
use super::{Firmware, fail};
use crate::rack::http;
use crate::rack::outcome::{Failure, Outcome};
use crate::rack::reach::Known;
use crate::rack::step::Step;
use crate::rack::tftp::{self, Asked, OnStray};

/// shim asks through the firmware, by blocks of 512 and without a probe
static SHIM_TFTP: tftp::Profile = tftp::Profile {
    options: &[Asked::Blksize(512), Asked::Windowsize(4)],
    probe: None,
    waits_ms: &[4_000; 6],
    on_stray: OnStray::AckLast,
    abort: "User aborted the transfer",
    blksize_min: 8,
};

static GRUB_TFTP: tftp::Profile = tftp::Profile {
    options: &[Asked::Blksize(1024), Asked::Tsize],
    probe: None,
    waits_ms: &GRUB_MS,
    on_stray: OnStray::AckOld,
    abort: "closed",
    blksize_min: 8,
};

/// 400 ms, and 20 ms more each time: 40 tries
const GRUB_MS: [u64; 40] = {
    let mut waits = [400; 40];
    let mut i = 1;
    while i < waits.len() {
        waits[i] = waits[i - 1] + 20;
        i += 1;
    }
    waits
};

static GRUB_HTTP: http::Profile = http::Profile {
    version: "HTTP/1.1",
    head_first: false,
    keeps: false,
    headers: "Host: {host}\r\nUser-Agent: GRUB 2.06-13+deb12u1\r\n",
    wants_efi_type: false,
    skips_last_header: false,
    wait_ms: 30_000,
    tries: 3,
};

/// What shim looks for and mostly does not find, before GRUB
const SHIM_NAMES: [&str; 3] = ["revocations_sku.efi", "revocations_sbat.efi", "shim_certificate_0.efi"];
const GRUB_PREFIX: &str = "/debian-installer/amd64/grub";
const GRUB_NAMES: [&str; 4] = ["command.lst", "fs.lst", "crypto.lst", "terminal.lst"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Shim,
    Grub,
    Lists,
    Config,
    Module,
    Files,
}

/// From shim to the kernel
pub(super) struct ShimGrub {
    phase: Phase,
    server: Ipv4Addr,
    /// The directory of shim, with its slash: GRUB lies beside it
    folder: String,
    names: VecDeque<String>,
    files: VecDeque<Source>,
}

impl Firmware for ShimGrub {
    fn next(&mut self, _known: &mut Known, outcome: Outcome) -> Step {
        match (self.phase, outcome) {
            (Phase::Shim, Outcome::Power | Outcome::Missing | Outcome::Fetched(_)) => self.shim(),
            (Phase::Grub, Outcome::Fetched(_)) => {
                self.names = GRUB_NAMES.map(|name| format!("{GRUB_PREFIX}/x86_64-efi/{name}")).into();
                self.lists()
            }
            (Phase::Lists, Outcome::Missing | Outcome::Fetched(_)) => self.lists(),
            (Phase::Config, Outcome::Fetched(file)) => {
                self.files = config::grub(&file.text, self.server).into();
                match config::grub_module(&file.text) {
                    _ if self.files.is_empty() => Step::Fail(Failure::NothingToLoad),
                    Some(module) => {
                        let name = format!("{GRUB_PREFIX}/x86_64-efi/{module}.mod");
                        self.fetch(Phase::Module, &GRUB_TFTP, name)
                    }
                    None => self.load_next(),
                }
            }
            // A module that is built in need not be there.
            (Phase::Module, Outcome::Fetched(_) | Outcome::Missing) => self.load_next(),
            (Phase::Files, Outcome::Fetched(_)) => self.load_next(),
            (_, outcome) => fail(&outcome),
        }
    }
}

impl ShimGrub {
    /// Once `shim` has come from `server`
    pub(super) fn new(server: Ipv4Addr, shim: &str) -> Self {
        let folder = config::folder(shim).to_owned();
        let names = SHIM_NAMES.map(|name| format!("{folder}{name}")).into();
        Self { phase: Phase::Shim, server, folder, names, files: VecDeque::new() }
    }

    fn fetch(&mut self, phase: Phase, profile: &'static tftp::Profile, name: String) -> Step {
        self.phase = phase;
        Step::Tftp(profile, self.server, name)
    }

    fn shim(&mut self) -> Step {
        match self.names.pop_front() {
            Some(name) => self.fetch(Phase::Shim, &SHIM_TFTP, name),
            None => self.fetch(Phase::Grub, &SHIM_TFTP, format!("{}grubx64.efi", self.folder)),
        }
    }

    fn lists(&mut self) -> Step {
        match self.names.pop_front() {
            Some(name) => self.fetch(Phase::Lists, &GRUB_TFTP, name),
            None => self.fetch(Phase::Config, &GRUB_TFTP, format!("{GRUB_PREFIX}/grub.cfg")),
        }
    }

    fn load_next(&mut self) -> Step {
        self.phase = Phase::Files;
        match self.files.pop_front() {
            Some(Source::Http(server, path)) => Step::Http(&GRUB_HTTP, server, path),
            Some(Source::Tftp(server, name)) => Step::Tftp(&GRUB_TFTP, server, name),
            None => Step::Booted,
        }
    }
}
