//! IPv4 networks and address ranges, as values.

use std::fmt;
use std::net::Ipv4Addr;

/// An IPv4 network
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// Network address: host bits are zero
    pub address: Ipv4Addr,
    /// Prefix length in bits, 0 to 32
    pub prefix: u8,
}

impl Cidr {
    /// The network of `address` with a prefix of `prefix` bits (held at 32)
    pub fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self { address: Ipv4Addr::from_bits(address.to_bits() & Self::mask_bits(prefix)), prefix }
    }

    fn mask_bits(prefix: u8) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
    }

    /// The netmask (option 1)
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(Self::mask_bits(self.prefix))
    }

    /// The directed broadcast address (option 28)
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !Self::mask_bits(self.prefix))
    }

    /// Whether `address` lies in it
    pub fn contains(self, address: Ipv4Addr) -> bool {
        Self::new(address, self.prefix) == self
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Addresses from `first` to `last`, both included
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first address
    pub first: Ipv4Addr,
    /// The last address, not below the first
    pub last: Ipv4Addr,
}

impl Range {
    /// Whether `address` lies in it
    pub fn contains(self, address: Ipv4Addr) -> bool {
        self.first <= address && address <= self.last
    }
}
