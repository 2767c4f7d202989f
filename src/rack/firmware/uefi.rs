//! What all UEFI machines share: EDK2's PXE driver, as in dnsmasq-uefi-proxy.pcap.

use std::net::Ipv4Addr;

use super::ipxe::uuid;
use crate::rack::dhcp::{Ask, BootServerProfile, Choice, Lease, Profile, Secs};
use crate::rack::machine::{Failure, Identity, Step};
use crate::rack::message::{DISCOVER, Options, REQUEST, Reply};
use crate::rack::tftp::{self, Asked, OnStray};

/// Option 55: 35 codes
const PARAMETERS: &[u8] = &[
    1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97,
    128, 129, 130, 131, 132, 133, 134, 135,
];
const CLASS: &[u8] = b"PXEClient:Arch:00007:UNDI:003000";

/// 4, 8, 16 and 32 s; both captures show the first as 3.63 s, since the driver's timer ticks whether it is waited for or not
pub(super) const DISCOVER_MS: &[u64] = &[3_630, 8_000, 16_000, 32_000];

pub(super) static DHCP: Profile = Profile {
    discover_ms: DISCOVER_MS,
    request_ms: DISCOVER_MS,
    broadcast: true,
    choice: Choice::Uefi,
    secs: Secs::Zero,
    padded_to: 0,
    nak_is_final: true,
    options: dhcp_options,
};

pub(super) static BOOT_SERVER: BootServerProfile = BootServerProfile {
    waits_ms: &[1_000, 2_000, 3_000, 4_000],
    port: 4011,
    broadcast: false,
    settles: true,
    secs: Secs::Zero,
    options: boot_server_options,
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

/// What a machine with a lease does about its boot file: a proxy's offer without 43.6 is a promise of a boot server
pub(super) fn after_lease(lease: &Lease) -> Result<Reply, Step> {
    let Some(boot) = &lease.boot else { return Err(Step::Fail(Failure::NoBootFile)) };
    if boot.is_pxe && !boot.uses_file() {
        let server = if boot.siaddr.is_unspecified() { boot.server } else { boot.siaddr };
        return Err(Step::BootServer(&BOOT_SERVER, server, boot.first_item()));
    }
    Ok(boot.clone())
}

/// Loads the boot file that a reply names
pub(super) fn load(boot: &Reply) -> (Ipv4Addr, Step) {
    let server = if boot.siaddr.is_unspecified() { boot.server } else { boot.siaddr };
    if boot.file.is_empty() {
        return (server, Step::Fail(Failure::NoBootFile));
    }
    (server, Step::Tftp(&TFTP, server, boot.file.clone()))
}
