//! The load clients and the bare floors of `tools/compare`: one thread, batch calls, results as one line of JSON.
//!
//! The clients count what a firmware would feel (latencies, time-outs, losses), check every byte where asked, and read
//! the server's CPU time from its cgroup at the first and the last packet, so that its start and end are not counted.
//! The floors do the least that a server of that protocol can do with the same system calls: no checks, no timers, no
//! state. They answer these clients and nobody else.

// Sizes here are of frames, rates and files that this program itself makes.
#![allow(clippy::cast_possible_truncation)]

mod chart;
mod dhcp;
mod floor;
mod frame;
mod http;
mod measure;
mod memory;
mod ready;
mod report;
mod storm;
mod sys;
mod tftp;
mod tftp_client;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Machines that ask for addresses at a given rate
    Dhcp(dhcp::Arguments),
    /// Machines that read a file by TFTP, and one that looks for names that are missing
    Tftp(tftp::Arguments),
    /// Machines that read a file by HTTP
    Http(http::Arguments),
    /// What one idle transfer or connection costs a server in memory
    Memory(memory::Arguments),
    /// A rack that is switched on
    Storm(storm::Arguments),
    /// Waits until a server answers
    Ready(ready::Arguments),
    /// A server that does the least
    #[command(subcommand)]
    Floor(floor::Floor),
    /// Writes a file whose bytes do not repeat
    Make { file: PathBuf, bytes: usize },
    /// A chart of racks that are switched on
    Chart(chart::Arguments),
    /// Results, one a line on the standard input, as a table
    Report(report::Arguments),
}

fn main() -> ExitCode {
    let result = match CommandLine::parse().command {
        Command::Dhcp(arguments) => dhcp::run(&arguments),
        Command::Tftp(arguments) => tftp::run(&arguments),
        Command::Http(arguments) => http::run(&arguments),
        Command::Memory(arguments) => memory::run(&arguments),
        Command::Storm(arguments) => storm::run(&arguments),
        Command::Ready(arguments) => ready::run(&arguments),
        Command::Floor(floor) => floor::run(&floor),
        Command::Make { file, bytes } => make(&file, bytes),
        Command::Chart(arguments) => chart::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A counter put through a mixing step (splitmix64): no two blocks of a file are alike, so a wrong one shows.
fn make(file: &Path, bytes: usize) -> io::Result<()> {
    let mut content = Vec::with_capacity(bytes + 8);
    for counter in 0u64.. {
        if content.len() >= bytes {
            break;
        }
        let mut word = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        content.extend_from_slice(&(word ^ (word >> 27)).to_le_bytes());
    }
    content.truncate(bytes);
    std::fs::write(file, content)
}
