//! A UEFI machine: EDK2's PXE driver, as in dnsmasq-uefi-full.pcap and dnsmasq-uefi-proxy.pcap, and then what it was given to load:
//! iPXE, or shim and GRUB.

use std::net::Ipv4Addr;

use super::config;
use super::ipxe::{Ipxe, uuid};
use super::shim_grub::ShimGrub;
use super::{Firmware, fail};
use crate::rack::dhcp::{Ask, BootServerProfile, Choice, Profile, Secs, Writes, WritesToBootServer};
use crate::rack::message::{DISCOVER, Options, REQUEST, Reply};
use crate::rack::outcome::{Failure, Lease, Outcome};
use crate::rack::reach::{Identity, Known};
use crate::rack::step::Step;
use crate::rack::tftp::{self, Asked, OnStray};

/// Option 55: 35 codes
const PARAMETERS: &[u8] = &[
    1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97,
    128, 129, 130, 131, 132, 133, 134, 135,
];
const CLASS: &[u8] = b"PXEClient:Arch:00007:UNDI:003000";

/// 4, 8, 16 and 32 s; both captures show the first as 3.63 s, since the driver's timer ticks whether it is waited for or not
pub(crate) const DISCOVER_MS: &[u64] = &[3_630, 8_000, 16_000, 32_000];

pub(super) static DHCP: Profile = Profile {
    discover_ms: DISCOVER_MS,
    request_ms: DISCOVER_MS,
    broadcast: true,
    choice: Choice::Uefi,
    secs: Secs::Zero,
    padded_to: 0,
    nak_is_final: true,
    options: Writes::Model(dhcp_options),
};

pub(super) static BOOT_SERVER: BootServerProfile = BootServerProfile {
    waits_ms: &[1_000, 2_000, 3_000, 4_000],
    port: 4011,
    broadcast: false,
    settles: true,
    secs: Secs::Zero,
    options: WritesToBootServer::Model(boot_server_options),
};

/// Option 57 of the driver below PXE; the PXE driver's callback rewrites it in a DISCOVER only
const ANY_SIZE: u16 = 0xff00;

fn dhcp_options(options: &mut Options, ask: &Ask<'_>) {
    options.add(53, [ask.kind]);
    if let Some((server, address)) = ask.accepted {
        options.add(54, server.octets()).add(50, address.octets());
    }
    let size = if ask.kind == DISCOVER { 1472 } else { ANY_SIZE };
    options.add(57, size.to_be_bytes()).add(55, PARAMETERS);
    options.add(97, uuid(ask.identity)).add(94, [1, 3, 0]).add(93, [0, 7]).add(60, CLASS);
}

fn boot_server_options(options: &mut Options, identity: &Identity, item: Option<u16>) {
    options.add(53, [REQUEST]).add(55, PARAMETERS).add(57, 1472_u16.to_be_bytes());
    options.add(60, CLASS).add(93, [0, 7]).add(94, [1, 3, 0]).add(97, uuid(identity));
    if let Some(item) = item {
        let [high, low] = item.to_be_bytes();
        options.add(43, [71, 4, high, low, 0, 0, 255]);
    }
}

/// The boot file: its size first, then itself
pub(super) static TFTP: tftp::Profile = tftp::Profile {
    options: &[Asked::Blksize(1468), Asked::Windowsize(4)],
    probe: Some(&[Asked::Tsize, Asked::Blksize(1468), Asked::Windowsize(4)]),
    waits_ms: &[4_000; 6],
    on_stray: OnStray::AckLast,
    abort: "User aborted the transfer",
    blksize_min: 8,
};

/// From power-on to what it was given, and on
#[derive(Default)]
pub(super) struct Uefi {
    server: Option<Ipv4Addr>,
    loaded: Option<Box<dyn Firmware>>,
}

impl Firmware for Uefi {
    fn next(&mut self, known: &mut Known, outcome: Outcome) -> Step {
        if let Some(loaded) = &mut self.loaded {
            return loaded.next(known, outcome);
        }
        match (outcome, self.server) {
            (Outcome::Power, _) => Step::Dhcp(&DHCP),
            (Outcome::Leased(lease), _) => self.after_lease(&lease),
            (Outcome::BootServer(boot), _) => self.load(&boot),
            (Outcome::Fetched(file), Some(server)) => {
                let loaded: Box<dyn Firmware> = if config::is_ipxe(&file.name) {
                    Box::new(Ipxe::in_card())
                } else {
                    Box::new(ShimGrub::new(server, &file.name))
                };
                self.loaded.insert(loaded).next(known, Outcome::Power)
            }
            (outcome, _) => fail(&outcome),
        }
    }
}

impl Uefi {
    /// A proxy's offer without 43.6 is a promise of a boot server
    fn after_lease(&mut self, lease: &Lease) -> Step {
        let Some(boot) = &lease.boot else { return Step::Fail(Failure::NoBootFile) };
        if boot.is_pxe && !boot.uses_file() {
            return Step::BootServer(&BOOT_SERVER, server_of(boot), boot.first_item());
        }
        self.load(boot)
    }

    fn load(&mut self, boot: &Reply) -> Step {
        if boot.file.is_empty() {
            return Step::Fail(Failure::NoBootFile);
        }
        let server = server_of(boot);
        self.server = Some(server);
        Step::Tftp(&TFTP, server, boot.file.clone())
    }
}

fn server_of(boot: &Reply) -> Ipv4Addr {
    if boot.siaddr.is_unspecified() { boot.server } else { boot.siaddr }
}
