//! Which firmware a captured message is from, and the timers that such have.

use super::{ipxe, u_boot, uefi};
use crate::rack::dhcp::{Choice, Secs};
use crate::rack::message::Options;

/// PXE 2.1 §2.2.2: offers are collected for so long
const ROM_MS: &[u64] = &[4_000, 8_000, 16_000, 32_000];

/// Firmware of one descent
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Ipxe,
    Uefi,
    UefiHttp,
    /// A BIOS's own PXE ROM
    Rom,
    Other,
}

impl Family {
    /// By what a DISCOVER says of its sender
    pub(crate) fn of(discover: &Options) -> Self {
        let find =
            |code: u8| discover.0.iter().find(|(known, _)| *known == code).map(|(_, value)| &value[..]);
        let class = find(60).unwrap_or_default();
        let arch = find(93).and_then(|arch| arch.first_chunk()).map(|arch| u16::from_be_bytes(*arch));
        if find(77) == Some(b"iPXE") || find(175).is_some() {
            Self::Ipxe
        } else if class.starts_with(b"HTTPClient") {
            Self::UefiHttp
        } else if class.starts_with(b"PXEClient") && arch.is_some_and(|arch| arch >= 6) {
            Self::Uefi
        } else if class.starts_with(b"PXEClient") {
            Self::Rom
        } else {
            Self::Other
        }
    }

    /// How long it waits for each OFFER, and each ACK
    pub(crate) fn dhcp_ms(self) -> (&'static [u64], &'static [u64]) {
        match self {
            Self::Ipxe => (ipxe::DISCOVER_MS, ipxe::REQUEST_MS),
            Self::Uefi | Self::UefiHttp => (uefi::DISCOVER_MS, uefi::DISCOVER_MS),
            Self::Rom => (ROM_MS, ROM_MS),
            Self::Other => (u_boot::WAITS_MS, u_boot::WAITS_MS),
        }
    }

    /// How it picks among offers
    pub(crate) fn choice(self) -> Choice {
        match self {
            Self::Ipxe => Choice::Ipxe,
            Self::Uefi | Self::Rom => Choice::Uefi,
            Self::UefiHttp => Choice::UefiHttp,
            Self::Other => Choice::First,
        }
    }

    /// What it writes into `secs` of a DISCOVER or a REQUEST
    pub(crate) fn secs(self) -> Secs {
        match self {
            Self::Ipxe => Secs::Ipxe,
            Self::Uefi | Self::UefiHttp => Secs::Zero,
            Self::Rom | Self::Other => Secs::Elapsed,
        }
    }

    /// How long it waits for each block
    pub(crate) fn tftp_ms(self) -> &'static [u64] {
        match self {
            Self::Ipxe => ipxe::TFTP.waits_ms,
            Self::Uefi | Self::UefiHttp => uefi::TFTP.waits_ms,
            Self::Rom | Self::Other => &[2_000; 6],
        }
    }
}
