//! U-Boot on an arm64 board: DHCP, `pxe get`, kernel and initrd by TFTP.
//!
//! After U-Boot's net/bootp.c, net/tftp.c and cmd/pxe.c: there is no capture of one yet.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use super::config::{self, Source};
use super::{Firmware, fail};
use crate::rack::dhcp::{Ask, Choice, Profile, Secs, Writes};
use crate::rack::message::Options;
use crate::rack::outcome::{Failure, Outcome};
use crate::rack::reach::Known;
use crate::rack::step::Step;
use crate::rack::tftp::{self, Asked, OnStray};

/// 250 ms, doubled, 28 s in all; then it starts over
pub(crate) const WAITS_MS: &[u64] = &[250, 500, 1_000, 2_000, 4_000, 8_000, 12_250];

static DHCP: Profile = Profile {
    discover_ms: WAITS_MS,
    request_ms: WAITS_MS,
    broadcast: false,
    choice: Choice::First,
    secs: Secs::Elapsed,
    padded_to: 0,
    nak_is_final: false,
    options: Writes::Model(dhcp_options),
};

static TFTP: tftp::Profile = tftp::Profile {
    options: &[Asked::Timeout(5), Asked::Tsize, Asked::Blksize(1468)],
    probe: None,
    waits_ms: &[5_000; 10],
    on_stray: OnStray::Ignore,
    abort: "",
    blksize_min: 8,
};

fn dhcp_options(options: &mut Options, ask: &Ask<'_>) {
    options.add(53, [ask.kind]).add(57, 576_u16.to_be_bytes());
    if let Some((server, address)) = ask.accepted {
        options.add(54, server.octets()).add(50, address.octets());
    }
    options.add(93, [0, 22]).add(94, [1, 0, 0]).add(60, b"U-Boot.armv8").add(55, [1, 3, 6, 12, 17]);
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Address,
    Walk,
    Files,
}

/// From power-on to the kernel
#[derive(Default)]
pub(super) struct UBoot {
    phase: Phase,
    server: Option<Ipv4Addr>,
    /// The directory of the boot file, with its slash
    folder: String,
    names: VecDeque<String>,
    files: VecDeque<String>,
}

impl Firmware for UBoot {
    fn next(&mut self, known: &mut Known, outcome: Outcome) -> Step {
        match (self.phase, outcome) {
            (Phase::Address, Outcome::Power) => Step::Dhcp(&DHCP),
            (Phase::Address, Outcome::Leased(lease)) => {
                let Some(boot) = lease.boot else { return Step::Fail(Failure::NoBootFile) };
                self.server = Some(boot.siaddr);
                config::folder(&boot.file).clone_into(&mut self.folder);
                self.names = config::names(known).collect();
                let defaults = ["default-arm-bcm283x-rpi", "default-arm-bcm283x", "default-arm", "default"];
                self.names.extend(defaults.map(str::to_owned));
                self.walk()
            }
            (Phase::Walk, Outcome::Missing) => self.walk(),
            (Phase::Walk, Outcome::Fetched(file)) => {
                self.files = config::pxelinux(&file.text).into();
                if self.files.is_empty() { Step::Fail(Failure::NothingToLoad) } else { self.load_next() }
            }
            (Phase::Files, Outcome::Fetched(_)) => self.load_next(),
            (_, outcome) => fail(&outcome),
        }
    }
}

impl UBoot {
    fn fetch(&mut self, phase: Phase, name: &str) -> Step {
        self.phase = phase;
        Step::Tftp(&TFTP, self.server.unwrap_or(Ipv4Addr::UNSPECIFIED), format!("{}{name}", self.folder))
    }

    fn walk(&mut self) -> Step {
        match self.names.pop_front() {
            Some(name) => self.fetch(Phase::Walk, &format!("pxelinux.cfg/{name}")),
            None => Step::Fail(Failure::NotFound),
        }
    }

    /// `pxe boot` of old has TFTP only
    fn load_next(&mut self) -> Step {
        let Some(name) = self.files.pop_front() else { return Step::Booted };
        match Source::parse(&name) {
            Some(Source::Tftp(server, name)) => Step::Tftp(&TFTP, server, name),
            Some(Source::Http(..)) => Step::Fail(Failure::NothingToLoad),
            None => self.fetch(Phase::Files, &name),
        }
    }
}
