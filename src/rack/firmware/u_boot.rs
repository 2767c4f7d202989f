//! U-Boot on an arm64 board: DHCP, `pxe get`, kernel and initrd by TFTP.
//!
//! After U-Boot's net/bootp.c, net/tftp.c and cmd/pxe.c: there is no capture of one yet.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use super::{Firmware, by_address, fail, value};
use crate::rack::dhcp::{Ask, Choice, Profile, Secs};
use crate::rack::machine::{Failure, Known, Outcome, Step};
use crate::rack::message::Options;
use crate::rack::tftp::{self, Asked, OnStray};

/// 250 ms, doubled, 28 s in all; then it starts over
const WAITS_MS: &[u64] = &[250, 500, 1_000, 2_000, 4_000, 8_000, 12_250];

static DHCP: Profile = Profile {
    discover_ms: WAITS_MS,
    request_ms: WAITS_MS,
    broadcast: false,
    choice: Choice::First,
    secs: Secs::Elapsed,
    padded_to: 0,
    nak_is_final: false,
    options: dhcp_options,
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
    Kernel,
    Initrd,
}

/// From power-on to the kernel
#[derive(Default)]
pub(super) struct UBoot {
    phase: Phase,
    server: Option<Ipv4Addr>,
    /// The directory of the boot file, with its slash
    folder: String,
    names: VecDeque<String>,
    config: String,
}

impl Firmware for UBoot {
    fn next(&mut self, known: &mut Known, outcome: Outcome) -> Step {
        match (self.phase, outcome) {
            (Phase::Address, Outcome::Power) => Step::Dhcp(&DHCP),
            (Phase::Address, Outcome::Leased(lease)) => {
                let Some(boot) = lease.boot else { return Step::Fail(Failure::NoBootFile) };
                self.server = Some(boot.siaddr);
                self.folder = boot.file.rfind('/').map_or(String::new(), |at| boot.file[..=at].to_owned());
                let mac = known.identity.mac.to_string().replace(':', "-");
                self.names = [format!("01-{mac}")].into_iter().chain(by_address(known.address)).collect();
                let defaults = ["default-arm-bcm283x-rpi", "default-arm-bcm283x", "default-arm", "default"];
                self.names.extend(defaults.map(str::to_owned));
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

    fn get(&mut self, phase: Phase, key: &str) -> Step {
        match value(&self.config, key).map(str::to_owned) {
            Some(name) => self.fetch(phase, &name),
            None => Step::Fail(Failure::NothingToLoad),
        }
    }
}
