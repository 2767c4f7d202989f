//! UEFI HTTP boot: a URL by DHCP, HEAD and GET on one connection, a unified kernel image.
//!
//! After EDK2's HttpBootDxe: there is no capture of one yet.

use super::config::url;
use super::ipxe::uuid;
use super::uefi::DISCOVER_MS;
use super::{Firmware, fail};
use crate::rack::dhcp::{Ask, Choice, Profile, Secs, Writes};
use crate::rack::http;
use crate::rack::message::Options;
use crate::rack::outcome::{Failure, Outcome};
use crate::rack::reach::Known;
use crate::rack::step::Step;

/// Option 55: 27 codes, of which one is never set
const PARAMETERS: &[u8] =
    &[1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 0, 66, 67];

static DHCP: Profile = Profile {
    discover_ms: DISCOVER_MS,
    request_ms: DISCOVER_MS,
    broadcast: true,
    choice: Choice::UefiHttp,
    secs: Secs::Zero,
    padded_to: 0,
    nak_is_final: true,
    options: Writes::Model(dhcp_options),
};

static HTTP: http::Profile = http::Profile {
    version: "HTTP/1.1",
    head_first: true,
    keeps: false,
    headers: "Host: {host}\r\nAccept: */*\r\nUser-Agent: UefiHttpBoot/1.0\r\n",
    wants_efi_type: true,
    skips_last_header: false,
    wait_ms: 5_000,
    tries: 3,
};

fn dhcp_options(options: &mut Options, ask: &Ask<'_>) {
    options.add(53, [ask.kind]);
    if let Some((server, address)) = ask.accepted {
        options.add(54, server.octets()).add(50, address.octets());
    }
    options.add(57, 1472_u16.to_be_bytes()).add(55, PARAMETERS).add(97, uuid(ask.identity));
    options.add(94, [1, 3, 0]).add(93, [0, 16]).add(60, b"HTTPClient:Arch:00016:UNDI:003000");
}

/// From power-on to the image
pub(super) struct UefiHttp;

impl Firmware for UefiHttp {
    fn next(&mut self, _known: &mut Known, outcome: Outcome) -> Step {
        match outcome {
            Outcome::Power => Step::Dhcp(&DHCP),
            Outcome::Leased(lease) => match lease.boot.as_ref().and_then(|boot| url(&boot.file)) {
                Some((server, path)) => Step::Http(&HTTP, server, path),
                None => Step::Fail(Failure::NoBootFile),
            },
            Outcome::Fetched(_) => Step::Booted,
            outcome => fail(&outcome),
        }
    }
}
