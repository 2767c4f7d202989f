//! Bytes ↔ meaning, for every protocol a booting machine speaks.
//!
//! The contract of every module below:
//!
//! - `parse` takes any bytes at all and returns a view or a `Copy` error. It never panics, never loops longer than
//!   its input, and never allocates.
//! - `emit` and the `*Writer` types write into the caller's buffer and return the length, or [`Full`]. What was
//!   written before a [`Full`] is whole: an option or a header is never cut in the middle.
//! - What one side emits the other parses to the same value.
//!
//! No state between packets, no clock, no system call, no heap. Multi-byte fields are big-endian on the wire and
//! native in arguments and return values, unless a name says otherwise.

#![forbid(unsafe_code)]

pub mod arp;
pub mod checksum;
pub mod dhcp;
pub mod ethernet;
pub mod frame;
pub mod http;
pub mod ipv4;
pub mod pcap;
pub mod pxe;
pub mod tcp;
pub mod tftp;
pub mod udp;

mod buffer;

use std::{error, fmt};

/// The caller's buffer cannot hold what was to be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer is full")
    }
}

impl error::Error for Full {}

/// Gives an error enum its text: one line a variant, in the order of the enum.
macro_rules! error_text {
    ($name:ident { $($variant:pat => $text:expr),+ $(,)? }) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $($variant => $text),+ })
            }
        }

        impl std::error::Error for $name {}
    };
}
use error_text;
