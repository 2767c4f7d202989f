//! iPXE in a UEFI card: DHCP, its boot script, kernel and initrd, by HTTP over one kept connection or by TFTP.
//!
//! Options, order and `secs` as in dnsmasq-uefi-proxy.pcap, where OVMF has loaded it.

use std::collections::VecDeque;

use super::config::{self, Script, Source};
use super::{Firmware, fail};
use crate::rack::dhcp::{Ask, BootServerProfile, Choice, Profile, Secs, Writes, WritesToBootServer};
use crate::rack::http;
use crate::rack::message::{Options, REQUEST};
use crate::rack::outcome::{Failure, Outcome};
use crate::rack::reach::{Identity, Known};
use crate::rack::step::Step;
use crate::rack::tftp::{self, Asked, OnStray};

pub(crate) const DISCOVER_MS: &[u64] = &[1_000, 2_000, 4_000, 8_000];
pub(crate) const REQUEST_MS: &[u64] = &[250, 500, 1_000, 2_000, 4_000, 8_000];

pub(super) static DHCP: Profile = Profile {
    discover_ms: DISCOVER_MS,
    request_ms: REQUEST_MS,
    broadcast: false,
    choice: Choice::Ipxe,
    secs: Secs::Ipxe,
    padded_to: 0,
    nak_is_final: false,
    options: Writes::Model(efi_options),
};

/// The same of the ROM in a BIOS machine
pub(super) static ROM_DHCP: Profile = Profile {
    discover_ms: DISCOVER_MS,
    request_ms: REQUEST_MS,
    broadcast: false,
    choice: Choice::Ipxe,
    secs: Secs::Ipxe,
    padded_to: 0,
    nak_is_final: false,
    options: Writes::Model(rom_options),
};

/// A boot server of the menu
pub(super) static ROM_BOOT_SERVER: BootServerProfile = BootServerProfile {
    waits_ms: &[1_000, 2_000, 4_000],
    port: 68,
    broadcast: true,
    settles: false,
    secs: Secs::Ipxe,
    options: WritesToBootServer::Model(rom_boot_server_options),
};

pub(super) static TFTP: tftp::Profile = tftp::Profile {
    options: &[Asked::Blksize(1432), Asked::Tsize],
    probe: None,
    waits_ms: &[250, 500, 1_000, 2_000, 4_000, 8_000],
    on_stray: OnStray::AckLast,
    abort: "TFTP Aborted",
    blksize_min: 8,
};

pub(super) static HTTP: http::Profile = http::Profile {
    version: "HTTP/1.1",
    head_first: false,
    keeps: true,
    headers: "Connection: keep-alive\r\nUser-Agent: iPXE/1.21.1\r\nHost: {host}\r\n",
    wants_efi_type: false,
    skips_last_header: false,
    wait_ms: 120_000,
    tries: 3,
};

/// Option 55
const PARAMETERS: &[u8] =
    &[1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 130, 131, 132, 133, 134, 135, 175, 203];
/// Option 175: the card on its bus (0xb1), the version (0xeb), then a feature each
const EFI_FEATURES: &[u8] = &[
    0xb1, 5, 1, 0x1a, 0xf4, 0x10, 0, 0xeb, 3, 1, 0, 0, 0x17, 1, 1, 0x24, 1, 1, 0x13, 1, 1, 0x11, 1, 1, 0x27,
    1, 1, 0x29, 1, 1, 0x15, 1, 1, 0x1b, 1, 1, 0x12, 1, 1,
];
const ROM_FEATURES: &[u8] = &[
    0xb1, 5, 1, 0x80, 0x86, 0x10, 0x0e, 0xeb, 3, 1, 0, 0, 0x17, 1, 1, 0x22, 1, 1, 0x13, 1, 1, 0x11, 1, 1,
    0x27, 1, 1, 0x19, 1, 1, 0x29, 1, 1, 0x10, 1, 2, 0x21, 1, 1, 0x15, 1, 1, 0x18, 1, 1, 0x12, 1, 1,
];

fn efi_options(options: &mut Options, ask: &Ask<'_>) {
    let class: &[u8] = b"PXEClient:Arch:00007:UNDI:003010";
    write(options, ask.kind, ask.identity, (7, [1, 3, 10], class, EFI_FEATURES));
    accept(options, ask);
}

fn rom_options(options: &mut Options, ask: &Ask<'_>) {
    let class: &[u8] = b"PXEClient:Arch:00000:UNDI:002001";
    write(options, ask.kind, ask.identity, (0, [1, 2, 1], class, ROM_FEATURES));
    accept(options, ask);
}

fn rom_boot_server_options(options: &mut Options, identity: &Identity, item: Option<u16>) {
    write(options, REQUEST, identity, (0, [1, 2, 1], b"PXEClient", ROM_FEATURES));
    if let Some(item) = item {
        let [high, low] = item.to_be_bytes();
        options.add(43, [71, 4, high, low, 0, 0, 255]);
    }
}

fn accept(options: &mut Options, ask: &Ask<'_>) {
    if let Some((server, address)) = ask.accepted {
        options.add(54, server.octets()).add(50, address.octets());
    }
}

fn write(options: &mut Options, kind: u8, identity: &Identity, build: (u16, [u8; 3], &[u8], &[u8])) {
    let (arch, undi, class, features) = build;
    options.add(53, [kind]).add(57, 1472_u16.to_be_bytes()).add(93, arch.to_be_bytes()).add(94, undi);
    options.add(60, class).add(77, b"iPXE").add(55, PARAMETERS).add(175, features);
    let mut client_id = vec![1];
    client_id.extend_from_slice(&identity.mac.0);
    options.add(61, client_id).add(97, uuid(identity));
}

/// Option 97: type 0 and the UUID
pub(super) fn uuid(identity: &Identity) -> Vec<u8> {
    let mut value = vec![0];
    value.extend_from_slice(&identity.uuid);
    value
}

/// Scripts that lead to one another; more of them go round in a circle
const CHAINED_MAX: u32 = 16;

enum Phase {
    Address,
    Script(Source),
    Files(VecDeque<Source>),
}

/// From its own DHCP on
pub(super) struct Ipxe {
    dhcp: &'static Profile,
    phase: Phase,
    chained: u32,
}

impl Firmware for Ipxe {
    fn next(&mut self, known: &mut Known, outcome: Outcome) -> Step {
        match (&mut self.phase, outcome) {
            (Phase::Address, Outcome::Power) => Step::Dhcp(self.dhcp),
            (Phase::Address, Outcome::Leased(lease)) => {
                let Some(boot) = lease.boot.filter(|boot| !boot.file.is_empty()) else {
                    return Step::Fail(Failure::NoBootFile);
                };
                match Source::Tftp(boot.siaddr, String::new()).join(&boot.file) {
                    Some(source) => self.script(source),
                    None => Step::Fail(Failure::NothingToLoad),
                }
            }
            (Phase::Script(from), Outcome::Fetched(file)) => match config::ipxe(&file.text, from, known) {
                Script::Boots(files) => {
                    self.phase = Phase::Files(files.into());
                    self.load_next()
                }
                Script::Chains(to) if self.chained < CHAINED_MAX => {
                    self.chained += 1;
                    self.script(to)
                }
                Script::Chains(_) | Script::Nothing => Step::Fail(Failure::NothingToLoad),
            },
            (Phase::Files(_), Outcome::Fetched(_)) => self.load_next(),
            (_, outcome) => fail(&outcome),
        }
    }
}

impl Ipxe {
    /// In a UEFI machine, its card's or loaded
    pub(super) fn in_card() -> Self {
        Self { dhcp: &DHCP, phase: Phase::Address, chained: 0 }
    }

    /// Loaded by a BIOS machine
    pub(super) fn on_bios() -> Self {
        Self { dhcp: &ROM_DHCP, ..Self::in_card() }
    }

    fn script(&mut self, from: Source) -> Step {
        self.phase = Phase::Script(from.clone());
        fetch(from)
    }

    fn load_next(&mut self) -> Step {
        let Phase::Files(files) = &mut self.phase else { return Step::Fail(Failure::NothingToLoad) };
        files.pop_front().map_or(Step::Booted, fetch)
    }
}

fn fetch(source: Source) -> Step {
    match source {
        Source::Http(server, path) => Step::Http(&HTTP, server, path),
        Source::Tftp(server, name) => Step::Tftp(&TFTP, server, name),
    }
}
