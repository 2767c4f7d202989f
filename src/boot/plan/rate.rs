//! How much of a wire the server may take (`rate = "1G"`).

use std::fmt;
use std::net::Ipv4Addr;

use super::subnet::Cidr;

/// A bound on what clients are sent, frames and all
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The interface or the subnet that it is written for
    pub of: String,
    /// Whose
    pub whom: Vec<Cidr>,
    /// Bits a second
    pub bits_per_s: u64,
    /// The bound, by its place in the plan, that theirs is a part of
    pub within: Option<usize>,
}

impl Rate {
    /// Whether what that client is sent counts
    pub fn covers(&self, client: Ipv4Addr) -> bool {
        self.whom.iter().any(|cidr| cidr.contains(client))
    }
}

/// As the configuration writes it: `1G`, `250M`
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
        let unit = units.into_iter().find(|(unit, _)| self.bits_per_s.is_multiple_of(*unit));
        match unit {
            Some((unit, letter)) => write!(f, "{}{letter}", self.bits_per_s / unit),
            None => write!(f, "{}", self.bits_per_s),
        }
    }
}
