//! The firmware models, one file each: what a machine does from power-on to its operating system, step by step.
//!
//! Options, timers and names are those of the captures in `pcaps/` where there is one, else of the firmware's source; a test
//! holds each model against its capture.

mod bios;
mod config;
mod ipxe;
mod linux;
mod shim_grub;
pub(crate) mod timers;
mod u_boot;
mod uefi;
mod uefi_http;

use super::outcome::{Failure, Outcome};
use super::reach::Known;
use super::site::Segment;
use super::step::Step;

/// What decides a machine's next step. It is told what the last one came to.
pub(crate) trait Firmware {
    fn next(&mut self, known: &mut Known, outcome: Outcome) -> Step;
}

/// A kind of machine
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Model {
    /// A BIOS ROM (iPXE's, as QEMU has it), then lpxelinux
    Bios,
    /// UEFI firmware that is given shim and GRUB
    UefiGrub,
    /// UEFI firmware that is given iPXE, beside another DHCP server where the rack has one
    UefiIpxe,
    /// UEFI HTTP boot
    UefiHttp,
    /// iPXE in the card, and its script
    Ipxe,
    /// U-Boot's `pxe get`
    UBoot,
    /// A Linux kernel that wants an address
    Linux,
}

impl Model {
    /// All of them
    pub const ALL: [Self; 7] =
        [Self::Bios, Self::UefiGrub, Self::UefiIpxe, Self::UefiHttp, Self::Ipxe, Self::UBoot, Self::Linux];

    /// Its name on the command line
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::UefiGrub => "uefi-grub",
            Self::UefiIpxe => "uefi-ipxe",
            Self::UefiHttp => "uefi-http",
            Self::Ipxe => "ipxe",
            Self::UBoot => "u-boot",
            Self::Linux => "linux",
        }
    }

    /// Its number, which the MAC addresses of a rack on a wire carry
    pub(crate) fn number(self) -> u8 {
        1 + self as u8
    }

    /// The model of that name
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }

    /// Where the plan of a usual site boots it
    pub(crate) fn segment(self) -> Segment {
        if self == Self::UefiIpxe { Segment::Proxy } else { Segment::Full }
    }

    /// U-Boot and Linux hold no route to speak of before they have an address; all of them follow option 3
    pub(crate) fn boots_behind_relay(self) -> bool {
        self != Self::UefiIpxe
    }

    /// QEMU gives its machines none
    pub(crate) fn has_uuid(self) -> bool {
        matches!(self, Self::UefiHttp | Self::Ipxe)
    }

    pub(crate) fn start(self) -> Box<dyn Firmware> {
        match self {
            Self::Bios => Box::new(bios::Bios::default()),
            Self::UefiGrub | Self::UefiIpxe => Box::new(uefi::Uefi::default()),
            Self::UefiHttp => Box::new(uefi_http::UefiHttp),
            Self::Ipxe => Box::new(ipxe::Ipxe::in_card()),
            Self::UBoot => Box::new(u_boot::UBoot::default()),
            Self::Linux => Box::new(linux::Linux),
        }
    }
}

/// What a step that has no other way to go on comes to
fn fail(outcome: &Outcome) -> Step {
    Step::Fail(match outcome {
        Outcome::Failed(failure) => *failure,
        _ => Failure::NotFound,
    })
}
