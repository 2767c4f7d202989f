//! A UEFI machine whose boot file is shim, which fetches GRUB by the firmware's TFTP; GRUB fetches its modules by its own, and
//! kernel and initrd by HTTP.
//!
//! As in dnsmasq-uefi-full.pcap (Debian 12's signed pair).

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use super::{Firmware, fail, uefi};
use crate::rack::http;
use crate::rack::machine::{Failure, Known, Outcome, Step};
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Firmware,
    Shim,
    Grub,
    Lists,
    Config,
    Module,
    Kernel,
    Initrd,
}

/// From power-on to the kernel
#[derive(Default)]
pub(super) struct ShimGrub {
    phase: Phase,
    server: Option<Ipv4Addr>,
    names: VecDeque<String>,
    config: String,
}

impl Firmware for ShimGrub {
    fn next(&mut self, known: &mut Known, outcome: Outcome) -> Step {
        match (self.phase, outcome) {
            (Phase::Firmware, Outcome::Power) => Step::Dhcp(&uefi::DHCP),
            (Phase::Firmware, Outcome::Leased(lease)) => match uefi::after_lease(&lease) {
                Ok(boot) => self.load(&boot),
                Err(step) => step,
            },
            (Phase::Firmware, Outcome::BootServer(boot)) => self.load(&boot),
            (Phase::Firmware, Outcome::Fetched(_)) => {
                self.names = SHIM_NAMES.map(str::to_owned).into();
                self.shim()
            }
            (Phase::Shim, Outcome::Missing | Outcome::Fetched(_)) => self.shim(),
            (Phase::Grub, Outcome::Fetched(_)) => {
                self.names = GRUB_NAMES.map(|name| format!("{GRUB_PREFIX}/x86_64-efi/{name}")).into();
                self.lists()
            }
            (Phase::Lists, Outcome::Missing | Outcome::Fetched(_)) => self.lists(),
            (Phase::Config, Outcome::Fetched(name)) => {
                known.files.text(&name).clone_into(&mut self.config);
                let module = super::value(&self.config, "insmod").unwrap_or("http");
                let name = format!("{GRUB_PREFIX}/x86_64-efi/{module}.mod");
                self.fetch(Phase::Module, &GRUB_TFTP, name)
            }
            (Phase::Module, Outcome::Fetched(_)) => self.get(Phase::Kernel, "linux"),
            (Phase::Kernel, Outcome::Fetched(_)) => self.get(Phase::Initrd, "initrd"),
            (Phase::Initrd, Outcome::Fetched(_)) => Step::Booted,
            (_, outcome) => fail(&outcome),
        }
    }
}

impl ShimGrub {
    fn load(&mut self, boot: &crate::rack::message::Reply) -> Step {
        let (server, step) = uefi::load(boot);
        self.server = Some(server);
        step
    }

    fn fetch(&mut self, phase: Phase, profile: &'static tftp::Profile, name: String) -> Step {
        self.phase = phase;
        Step::Tftp(profile, self.server.unwrap_or(Ipv4Addr::UNSPECIFIED), name)
    }

    fn shim(&mut self) -> Step {
        match self.names.pop_front() {
            Some(name) => self.fetch(Phase::Shim, &SHIM_TFTP, name),
            None => self.fetch(Phase::Grub, &SHIM_TFTP, "grubx64.efi".into()),
        }
    }

    fn lists(&mut self) -> Step {
        match self.names.pop_front() {
            Some(name) => self.fetch(Phase::Lists, &GRUB_TFTP, name),
            None => self.fetch(Phase::Config, &GRUB_TFTP, format!("{GRUB_PREFIX}/grub.cfg")),
        }
    }

    /// `linux (http,10.77.0.1)/img/linux`
    fn get(&mut self, phase: Phase, key: &str) -> Step {
        self.phase = phase;
        let device = super::value(&self.config, key).and_then(|value| value.strip_prefix("(http,"));
        match device.and_then(|device| super::url(&format!("http://{}", device.replacen(')', "", 1)))) {
            Some((server, path)) => Step::Http(&GRUB_HTTP, server, path),
            None => Step::Fail(Failure::NothingToLoad),
        }
    }
}
