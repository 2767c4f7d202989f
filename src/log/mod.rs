//! Decisions as lines: readable ones, or a JSON object each. Runs on the log's own thread, never on a packet's path.
//!
//! Nothing here decides or counts; a line holds what its [`Note`] holds, and the way out where there is one.

mod json;

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::boot::client::{Arch, Loader};
use crate::boot::plan::{LoaderName, MenuItem, Plan, Reason};
use crate::note::{Advice, Asked, DhcpNote, Got, Note, Outcome, TransferNote};
use crate::settings::LogFormat;
use crate::time::Instant;
use crate::wire::dhcp::MessageType;

/// Writes notes as lines
#[derive(Clone, Debug)]
pub struct Log {
    format: LogFormat,
    /// Names of the plan's networks
    interfaces: Vec<String>,
    /// The file whose lines reasons name
    config: Option<PathBuf>,
}

impl Log {
    /// A log of what this plan decides; `config` is the file that it was compiled from
    pub fn new(format: LogFormat, plan: &Plan, config: Option<&Path>) -> Self {
        let interfaces = plan.networks().iter().map(|network| network.interface.clone()).collect();
        Self { format, interfaces, config: config.map(Path::to_owned) }
    }

    /// Appends the note's line, with its newline
    pub fn write(&self, note: &Note, out: &mut String) {
        match self.format {
            LogFormat::Text => {
                // Writing to a string cannot fail.
                let _ = writeln!(out, "{}", Line { log: self, note });
            }
            LogFormat::Json => {
                let _ = writeln!(out, "{}", self.json(note));
            }
        }
    }

    fn interface(&self, network: usize) -> &str {
        self.interfaces.get(network).map_or("?", String::as_str)
    }
}

/// Why an answer is what it is, in words; `config` is the file that lines are of
pub fn why(reason: Reason, config: Option<&Path>) -> String {
    let place = |line: u32| match config {
        Some(file) if line > 0 => format!("{}:{line}", file.display()),
        _ if line > 0 => format!("line {line}"),
        _ => "the command line".to_owned(),
    };
    match reason {
        Reason::Rule { number, line } => format!("rule {number}, {}", place(line)),
        Reason::Machine { line } => format!("machine, {}", place(line)),
        Reason::Menu { line } => format!("menu, {}", place(line)),
        Reason::Local { line } => format!("local disk, {}", place(line)),
        Reason::Done { line } => format!("done, boots its local disk, {}", place(line)),
        Reason::WellKnown => "well-known name".to_owned(),
        Reason::NoRule => "no rule".to_owned(),
        Reason::NotABoot => "does not boot from the network".to_owned(),
    }
}

struct Line<'a> {
    log: &'a Log,
    note: &'a Note,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.note {
            Note::Dhcp(note) => self.dhcp(note, f),
            Note::Tftp(note) => transfer("TFTP", note, f),
            Note::Http(note) => transfer("HTTP", note, f),
            Note::Advice(advice) => self.advice(advice, f),
        }
    }
}

impl Line<'_> {
    /// `11:14:27.345 88:99:aa:bb:cc:dd x64-uefi: DISCOVER → OFFER 192.168.99.60, bootx64.efi (rule 2, r.toml:18)`
    fn dhcp(&self, note: &DhcpNote, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", Clock(note.at), note.mac, Who(note.arch, note.loader))?;
        if self.log.interfaces.len() > 1 {
            write!(f, " on {}", self.log.interface(note.network))?;
        }
        if let Some(relay) = note.relay {
            write!(f, " via {relay}")?;
        }
        write!(f, ": {}", asked(note.asked))?;
        if let Asked::BootServer(Some(kind)) = note.asked {
            match kind.checked_sub(MenuItem::OWN_KINDS) {
                Some(before) => write!(f, " for item {}", before + 1)?,
                None => write!(f, " of type {kind}")?,
            }
        }
        write!(f, " → {}", Gift(note.got))?;
        let gives = !matches!(note.got, Got::Nothing(_) | Got::Noted | Got::Nak(_));
        if !gives || (note.file.is_empty() && matches!(note.reason, Reason::NotABoot)) {
            return Ok(());
        }
        let why = why(note.reason, self.log.config.as_deref());
        if note.file.is_empty() {
            write!(f, ", nothing to boot ({why})")
        } else {
            write!(f, ", {} ({why})", note.file)
        }
    }

    fn advice(&self, advice: &Advice, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("advice: ")?;
        match *advice {
            Advice::IgnoresProxyOffers { mac, offers } => write!(
                f,
                "{mac} was sent {offers} proxy offers and took none: its firmware wants address and boot file in one offer. \
                 Give it one: dhcp = \"take-over\" in a [[machine]] or [[boot]] rule, and a small pool in the network"
            ),
            Advice::OtherServer { network, server } => write!(
                f,
                "another DHCP server, {server}, answers on {}: stop it, or serve beside it with dhcp = \"proxy\" (--proxy)",
                self.log.interface(network)
            ),
            Advice::PoolExhausted { network, subnet } => write!(
                f,
                "no address is free in the subnet {subnet} on {}: enlarge its pool, or shorten its lease",
                self.log.interface(network)
            ),
            Advice::LoaderLoop { mac, times } => write!(
                f,
                "{mac} was given the same loader {times} times in a row: give iPXE a script of its own, by a rule with \
                 match = {{ loader = \"ipxe\" }} before the others"
            ),
            Advice::AddressInUse { address } => write!(
                f,
                "{address} is used by somebody else: it is kept out of use for a while. Take it out of the pool, or find who it is"
            ),
            Advice::StoreFailed => f.write_str(
                "leases cannot be written, so no address is given: make room in --state-dir, or make it writable",
            ),
        }
    }
}

/// `11:14:27.345 192.168.99.60 TFTP bootx64.efi: 954 KiB in 0.211 s`
fn transfer(protocol: &str, note: &TransferNote, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let TransferNote { at, peer, path, sent, took, resent, outcome } = note;
    write!(f, "{} {} {protocol} {path}: ", Clock(*at), peer.ip())?;
    match outcome {
        Outcome::Done => write!(f, "{} in {took}", Size(*sent))?,
        Outcome::SizeOnly => f.write_str("asked for its size")?,
        Outcome::TftpError(1) => f.write_str("not found")?,
        Outcome::TftpError(code) => write!(f, "refused (TFTP error {code})")?,
        Outcome::Status(404) => f.write_str("not found")?,
        Outcome::Status(status) => write!(f, "{status}")?,
        Outcome::ClientStopped(code) => {
            write!(f, "ended by the client after {}", Size(*sent))?;
            if let Some(code) = code {
                write!(f, " (TFTP error {code})")?;
            }
        }
        Outcome::TimedOut => write!(f, "the client fell silent after {}, {took}", Size(*sent))?,
        Outcome::FileFailed => write!(f, "the file changed or could not be read, after {}", Size(*sent))?,
        Outcome::Stopped => write!(f, "the server stopped, after {}", Size(*sent))?,
    }
    if *resent > 0 {
        write!(f, ", {resent} sent again")?;
    }
    Ok(())
}

/// What a client asked, as RFC 2131 writes it
fn asked(asked: Asked) -> &'static str {
    match asked {
        Asked::Message(MessageType::Discover) => "DISCOVER",
        Asked::Message(MessageType::Offer) => "OFFER",
        Asked::Message(MessageType::Request) => "REQUEST",
        Asked::Message(MessageType::Decline) => "DECLINE",
        Asked::Message(MessageType::Ack) => "ACK",
        Asked::Message(MessageType::Nak) => "NAK",
        Asked::Message(MessageType::Release) => "RELEASE",
        Asked::Message(MessageType::Inform) => "INFORM",
        Asked::Bootp => "BOOTP",
        Asked::BootServer(_) => "BOOT SERVER",
    }
}

/// What it got
struct Gift(Got);

impl fmt::Display for Gift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Got::Offer(address) => write!(f, "OFFER {address}"),
            Got::Ack(address) => write!(f, "ACK {address}"),
            Got::Nak(address) => write!(f, "NAK {address}"),
            Got::ProxyOffer => f.write_str("proxy OFFER"),
            Got::BootServerAck => f.write_str("boot server ACK"),
            Got::BootpReply(address) => write!(f, "BOOTREPLY {address}"),
            Got::Parameters => f.write_str("ACK without an address"),
            Got::Noted => f.write_str("noted"),
            Got::Nothing(reason) => write!(f, "no answer: {reason}"),
        }
    }
}

/// `x64-uefi`, `x86-bios ipxe` or `system`
struct Who(Option<Arch>, Loader);

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loader = LoaderName::of(self.1);
        match self.0 {
            Some(arch) if loader == LoaderName::Rom => write!(f, "{arch}"),
            Some(arch) => write!(f, "{arch} {}", loader.as_str()),
            None => f.write_str(loader.as_str()),
        }
    }
}

/// A size in the unit that reads best
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(shift, _)| self.0 >> shift > 0) {
            // Tenths, rounded down: the remainder is below one unit, so the product does not overflow.
            Some((shift, unit)) => {
                let tenths = ((self.0 & ((1 << shift) - 1)) * 10) >> shift;
                write!(f, "{}.{tenths} {unit}", self.0 >> shift)
            }
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// The time of day, UTC
struct Clock(Instant);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In one piece: every line begins with it.
        let (s, ms) = (self.0.as_secs() % 86_400, self.0.as_micros() / 1_000 % 1_000);
        let digits = [s / 36_000, s / 3_600 % 10, s / 600 % 6, s / 60 % 10, s / 10 % 6, s % 10];
        let digits = digits.into_iter().chain([ms / 100, ms / 10 % 10, ms % 10]);
        let mut text = *b"00:00:00.000";
        for (place, digit) in text.iter_mut().filter(|byte| **byte == b'0').zip(digits) {
            *place += u8::try_from(digit).unwrap_or_default();
        }
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests;
