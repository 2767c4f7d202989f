//! Servers that do the least: the floor under what any server can cost with these system calls.

mod dhcp;
mod http;
mod ring;
mod tftp;

use std::io;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Floor {
    /// Answers each Discover and Request from a template, and keeps nothing
    Dhcp(dhcp::Arguments),
    /// Answers each acknowledgement with the next window of one file
    Tftp(tftp::Arguments),
    /// Head and body in one send for a small file, head and sendfile for a large one
    Http(http::Arguments),
    /// Head and body in one send, by io_uring
    Ring(ring::Arguments),
}

pub(crate) fn run(floor: &Floor) -> io::Result<()> {
    match floor {
        Floor::Dhcp(arguments) => dhcp::run(arguments),
        Floor::Tftp(arguments) => tftp::run(arguments),
        Floor::Http(arguments) => http::run(arguments),
        Floor::Ring(arguments) => ring::run(arguments),
    }
}
