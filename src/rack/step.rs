//! What a firmware does next, and where that is in its boot.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::dhcp::{self, BootServerProfile};
use super::outcome::Failure;
use super::{http, tftp};
use crate::time::Duration;

/// What a firmware does next
pub(crate) enum Step {
    Dhcp(&'static dhcp::Profile),
    BootServer(&'static BootServerProfile, Ipv4Addr, Option<u16>),
    Tftp(&'static tftp::Profile, Ipv4Addr, String),
    Http(&'static http::Profile, SocketAddrV4, String),
    /// The same, after so long
    After(Duration, Box<Self>),
    Booted,
    Fail(Failure),
}

impl Step {
    /// What is done in the end, however long that is put off
    pub(super) fn act(&self) -> &Self {
        match self {
            Self::After(_, step) => step.act(),
            step => step,
        }
    }

    pub(super) fn stage(&self) -> Stage {
        match self.act() {
            Self::Dhcp(_) | Self::BootServer(..) => Stage::Dhcp,
            Self::Tftp(..) => Stage::Tftp,
            Self::Http(..) => Stage::Http,
            Self::Booted => Stage::Booted,
            Self::Fail(_) | Self::After(..) => Stage::Failed,
        }
    }
}

/// Where a machine stands, for the board
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not powered on
    Off,
    /// Asking for an address and a boot file
    Dhcp,
    /// Fetching by TFTP
    Tftp,
    /// Fetching by HTTP
    Http,
    /// Waiting for its next attempt
    Resting,
    /// Its operating system has all that it needs
    Booted,
    /// It has given up
    Failed,
}
