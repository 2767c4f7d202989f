//! A UEFI machine beside another DHCP server: ProxyDHCP, port 4011, iPXE by TFTP, and iPXE's own boot from there.
//!
//! As in dnsmasq-uefi-proxy.pcap.

use super::ipxe::Ipxe;
use super::{Firmware, fail, uefi};
use crate::rack::machine::{Known, Outcome, Step};

/// From power-on to iPXE, and on
#[derive(Default)]
pub(super) struct UefiIpxe {
    /// iPXE runs
    loaded: Option<Ipxe>,
}

impl Firmware for UefiIpxe {
    fn next(&mut self, known: &mut Known, outcome: Outcome) -> Step {
        if let Some(ipxe) = &mut self.loaded {
            return ipxe.next(known, outcome);
        }
        match outcome {
            Outcome::Power => Step::Dhcp(&uefi::DHCP),
            Outcome::Leased(lease) => match uefi::after_lease(&lease) {
                Ok(boot) => uefi::load(&boot).1,
                Err(step) => step,
            },
            Outcome::BootServer(boot) => uefi::load(&boot).1,
            Outcome::Fetched(_) => self.loaded.insert(Ipxe::default()).next(known, Outcome::Power),
            outcome => fail(&outcome),
        }
    }
}
