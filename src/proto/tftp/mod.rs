//! TFTP, the server's side, read only: RFC 1350 with the options of RFC 2347, 2348, 2349 and 7440.
//!
//! [`Tftp`] owns the transfers of one shard and routes events to them. What it never does: touch a file's bytes (a
//! window is `(image, offset, length)`), read a clock, or take memory after [`Tftp::new`]. A client that asks is
//! answered at once: with an OACK, its first block, or the ERROR that tells it why not; firmware that gets silence
//! waits for seconds. Only a full table stays silent, since every ROM asks again and takes an ERROR for final.
//!
//! Every transfer of a shard is served from one port of the shard's own, the transfer identifier of RFC 1350 §4, or
//! from port 69 where `single_port` is set for the sake of a firewall; a transfer is known by its client's address and port.

mod name;
mod negotiation;
mod pace;
mod round_trip;
mod table;
mod transfer;

#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hasher};
use std::net::SocketAddrV4;

use self::negotiation::Agreed;
use self::table::Table;
use self::transfer::{Asker, Step, Transfer};
use crate::boot::image::{Form, Images, Miss};
use crate::limits::{BLKSIZE_MAX, BLKSIZE_MIN, WINDOWSIZE_MAX};
use crate::note::{Note, Outcome, Text, TransferNote};
use crate::proto::outbox::{Datagram, Outbox, Port, Route, Window};
use crate::proto::timer::Timers;
use crate::stats::{DropReason, Stats};
use crate::time::{Duration, Instant};
use crate::wire::tftp::{self as wire, ErrorCode, Mode, Packet, Request};

/// How a shard serves TFTP
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most bytes a block: what one Ethernet frame carries, less where a tunnel or an odd client wants it
    pub blksize_max: u16,
    /// The most blocks that leave before an ACK is waited for
    pub windowsize_max: u16,
    /// Transfers are served from port 69 itself
    pub single_port: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { blksize_max: BLKSIZE_MAX, windowsize_max: WINDOWSIZE_MAX, single_port: false }
    }
}

/// The TFTP server of one shard
#[derive(Debug)]
pub struct Tftp {
    settings: Settings,
    table: Table,
    /// By the transfer's number in the table
    timers: Timers,
    stopping: bool,
}

/// What an event may use and change
struct Event<'e, I: Images> {
    now: Instant,
    images: &'e mut I,
    stats: &'e mut Stats,
    outbox: &'e mut Outbox,
}

impl Tftp {
    /// A server with room for `capacity` transfers
    pub fn new(settings: Settings, capacity: usize, now: Instant) -> Self {
        Self {
            settings: Settings {
                blksize_max: settings.blksize_max.clamp(BLKSIZE_MIN, BLKSIZE_MAX),
                windowsize_max: settings.windowsize_max.clamp(1, WINDOWSIZE_MAX),
                ..settings
            },
            table: Table::new(capacity),
            timers: Timers::new(capacity, now),
            stopping: false,
        }
    }

    /// Transfers under way
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no transfer is under way
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When [`Tftp::on_deadline`] is due
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    /// No new transfers from here on; those under way go on to their end
    pub fn on_stop(&mut self, _now: Instant) {
        self.stopping = true;
    }

    /// A datagram came to port 69 or to the transfer port
    pub fn on_datagram<I: Images>(
        &mut self,
        now: Instant,
        datagram: &Datagram<'_>,
        images: &mut I,
        stats: &mut Stats,
        outbox: &mut Outbox,
    ) {
        let from = datagram.source;
        if from.port() == 0
            || from.ip().is_unspecified()
            || from.ip().is_multicast()
            || from.ip().is_broadcast()
        {
            return stats.drop(DropReason::MalformedTftp);
        }
        // RFC 1123 §4.2.3.5: a request to a broadcast address is silently ignored.
        if datagram.destination.is_broadcast() || datagram.destination.is_multicast() {
            return stats.drop(DropReason::NotServed);
        }
        let event = &mut Event { now, images, stats, outbox };
        let (asks, answers) = match (self.settings.single_port, datagram.port) {
            (true, _) => (true, true),
            (false, port) => (port == Port::Tftp, port == Port::Transfer),
        };
        match wire::parse(datagram.payload) {
            Ok(Packet::Rrq(request)) if asks => self.on_read_request(event, datagram, &request),
            Ok(Packet::Wrq(request)) if asks => {
                event.refuse(
                    datagram,
                    request.filename,
                    ErrorCode::AccessViolation,
                    "this server is read-only",
                );
            }
            Ok(Packet::Ack { block }) if answers => self.on_ack(event, datagram, block),
            Ok(Packet::Error { code, .. }) if answers => self.on_error(event, datagram, code),
            Ok(Packet::Data { .. } | Packet::Oack(_)) if answers => match self.table.find(from) {
                // A client has no blocks for a server to read from.
                Some(_) => event.stats.drop(DropReason::MalformedTftp),
                None => self.on_foreign(event, datagram),
            },
            Ok(_) => event.stats.drop(DropReason::UnknownTransfer),
            Err(fault) => {
                event.stats.drop(DropReason::MalformedTftp);
                let message = match fault {
                    wire::Error::Mode => "unknown transfer mode",
                    wire::Error::Filename => "the request names no file",
                    wire::Error::Truncated | wire::Error::Operation => return,
                };
                if asks {
                    event.error(route(datagram), ErrorCode::IllegalOperation, message);
                }
            }
        }
    }

    /// Does what is due, while the outbox has room
    pub fn on_deadline<I: Images>(
        &mut self,
        now: Instant,
        images: &mut I,
        stats: &mut Stats,
        outbox: &mut Outbox,
    ) {
        let event = &mut Event { now, images, stats, outbox };
        while event.outbox.has_room() {
            let Some(key) = self.timers.pop_due(now) else { return };
            self.step(event, key, |transfer| transfer.on_deadline(now));
        }
    }

    /// The driver could not read the window that it was to send to a client: the file changed, or cannot be read any more
    pub fn on_window_failed<I: Images>(
        &mut self,
        now: Instant,
        to: SocketAddrV4,
        images: &mut I,
        stats: &mut Stats,
        outbox: &mut Outbox,
    ) {
        let event = &mut Event { now, images, stats, outbox };
        let Some(key) = self.table.find(to) else { return };
        if let Some(transfer) = self.table.transfer(key) {
            // U-Boot starts again for ever on any ERROR but 1 and 2.
            event.error(transfer.route(), ErrorCode::AccessViolation, "the file changed or cannot be read");
        }
        self.end(event, key, Outcome::FileFailed);
    }

    /// A window of so many blocks that was to go to this client is held back, in place of any other: no time runs for its
    /// transfer until [`Tftp::on_released`]
    pub fn on_held(&mut self, to: SocketAddrV4, blocks: u16) {
        if let Some(key) = self.table.find(to)
            && let Some(transfer) = self.table.transfer(key)
        {
            transfer.on_held(blocks);
            self.timers.cancel(key);
        }
    }

    /// It leaves, or a part of it (`is_all`: nothing of it is held any more); false where nobody waits for it by now
    pub fn on_released(&mut self, now: Instant, to: SocketAddrV4, window: &Window, is_all: bool) -> bool {
        let Some(key) = self.table.find(to) else { return false };
        let Some(transfer) = self.table.transfer(key) else { return false };
        if !transfer.on_released(now, window, is_all) {
            return false;
        }
        if is_all {
            self.timers.set(key, transfer.deadline());
        }
        true
    }

    fn on_read_request<I: Images>(
        &mut self,
        event: &mut Event<'_, I>,
        datagram: &Datagram<'_>,
        request: &Request<'_>,
    ) {
        let now = event.now;
        let asker = Asker {
            client: datagram.source,
            source: datagram.destination,
            network: u32::try_from(datagram.network).expect("an index into a plan's networks"),
            request: hash(datagram.payload),
        };
        if self.table.refused_lately(now, asker.client, asker.request) {
            return event.stats.drop(DropReason::RefusedAlready);
        }
        if let Some(key) = self.table.find(asker.client) {
            let over = self.step(event, key, |transfer| transfer.on_request(now, asker.request));
            if !over {
                return;
            }
        }
        self.begin(event, datagram, request, asker);
    }

    /// Starts a transfer, or tells the client why not
    fn begin<I: Images>(
        &mut self,
        event: &mut Event<'_, I>,
        datagram: &Datagram<'_>,
        request: &Request<'_>,
        asker: Asker,
    ) {
        let form = match request.mode {
            Mode::Octet => Form::Octet,
            Mode::Netascii => Form::Netascii,
            Mode::Mail => {
                return event.refuse(
                    datagram,
                    request.filename,
                    ErrorCode::IllegalOperation,
                    "mail is not supported",
                );
            }
        };
        if self.stopping {
            event.error(route(datagram), ErrorCode::Undefined, "the server is stopping");
            return event.note_refusal(datagram, request.filename, Outcome::Stopped);
        }
        if self.table.is_full() {
            return event.stats.drop(DropReason::TransfersFull);
        }
        let image = match name::open(event.images, *datagram.source.ip(), request.filename, form) {
            Ok(image) => image,
            Err(miss) => {
                let (code, message) = refusal(miss);
                self.table.on_refused(event.now, asker.client, asker.request);
                return event.refuse(datagram, request.filename, code, message);
            }
        };
        let agreed = Agreed::on(&request.options, &self.settings);
        let transfer = Transfer::new(event.now, asker, request.filename, &image, agreed);
        let key = self.table.insert(transfer);
        event.stats.transfers += 1;
        let now = event.now;
        self.step(event, key, |transfer| transfer.begin(now));
    }

    fn on_ack<I: Images>(&mut self, event: &mut Event<'_, I>, datagram: &Datagram<'_>, block: u16) {
        let now = event.now;
        match self.table.find(datagram.source) {
            Some(key) => {
                self.step(event, key, |transfer| transfer.on_ack(now, block));
            }
            None => self.on_foreign(event, datagram),
        }
    }

    fn on_error<I: Images>(&mut self, event: &mut Event<'_, I>, datagram: &Datagram<'_>, code: u16) {
        let Some(key) = self.table.find(datagram.source) else {
            // An ERROR is never answered (RFC 1350 §4).
            return event.stats.drop(DropReason::UnknownTransfer);
        };
        if let Some(outcome) = self.table.transfer(key).map(|transfer| transfer.on_error(code)) {
            self.end(event, key, outcome);
        }
    }

    /// A packet of a transfer that is not known here (RFC 1350 §4)
    fn on_foreign<I: Images>(&mut self, event: &mut Event<'_, I>, datagram: &Datagram<'_>) {
        event.stats.drop(DropReason::UnknownTransfer);
        // A second copy of a last ACK is no foreigner's. All transfers share this port, so an ERROR for the old one would
        // end the next one, which some ROMs ask for from the same port.
        if !self.table.ended_lately(event.now, datagram.source) {
            event.error(route(datagram), ErrorCode::UnknownTransfer, "unknown transfer");
        }
    }

    /// Lets a transfer decide and does what it says; true where another takes its place
    fn step<I: Images>(
        &mut self,
        event: &mut Event<'_, I>,
        key: u32,
        decide: impl FnOnce(&mut Transfer) -> Step,
    ) -> bool {
        let Some(transfer) = self.table.transfer(key) else { return false };
        let resent = transfer.resent();
        match decide(transfer) {
            Step::Wait => {}
            Step::Offer => {
                event.outbox.datagram(transfer.route(), |buffer| transfer.emit_oack(buffer).ok());
            }
            Step::Send(window) => event.outbox.window(transfer.route(), window),
            Step::End(outcome) => {
                self.end(event, key, outcome);
                return false;
            }
            Step::Replace => {
                let outcome = transfer.on_replaced();
                self.end(event, key, outcome);
                return true;
            }
        }
        event.stats.resent += u64::from(transfer.resent() - resent);
        if !transfer.is_held() {
            self.timers.set(key, transfer.deadline());
        }
        false
    }

    fn end<I: Images>(&mut self, event: &mut Event<'_, I>, key: u32, outcome: Outcome) {
        self.timers.cancel(key);
        if let Some(transfer) = self.table.remove(event.now, key) {
            event.images.close(transfer.image());
            event.outbox.note(Note::Tftp(transfer.note(event.now, outcome)));
        }
    }
}

impl<I: Images> Event<'_, I> {
    fn error(&mut self, route: Route, code: ErrorCode, message: &str) {
        self.outbox.datagram(route, |buffer| wire::emit_error(code, message, buffer).ok());
    }

    fn refuse(&mut self, datagram: &Datagram<'_>, filename: &[u8], code: ErrorCode, message: &str) {
        self.error(route(datagram), code, message);
        self.note_refusal(datagram, filename, Outcome::TftpError(code as u16));
    }

    fn note_refusal(&mut self, datagram: &Datagram<'_>, filename: &[u8], outcome: Outcome) {
        self.outbox.note(Note::Tftp(TransferNote {
            at: self.now,
            peer: datagram.source,
            path: Text::new(filename),
            sent: 0,
            took: Duration::ZERO,
            resent: 0,
            outcome,
        }));
    }
}

/// Back to the sender, from the transfer port and the address that it asked
fn route(datagram: &Datagram<'_>) -> Route {
    let Datagram { network, source, destination, .. } = *datagram;
    Route { port: Port::Transfer, network, source: destination, to: source, mac: None }
}

/// The ERROR for a name that yields no image. shim goes on to its next name on a 1 only, U-Boot starts again for ever on
/// anything but 1 and 2: so 0 is for what will pass.
fn refusal(miss: Miss) -> (ErrorCode, &'static str) {
    match miss {
        Miss::NotFound => (ErrorCode::FileNotFound, "file not found"),
        Miss::Directory => (ErrorCode::FileNotFound, "that is a directory"),
        Miss::Forbidden => (ErrorCode::AccessViolation, "the server may not read that file"),
        Miss::Unreadable => (ErrorCode::AccessViolation, "the file cannot be read"),
        Miss::Compressed => (ErrorCode::AccessViolation, "the ISO image holds that file compressed (zisofs)"),
        Miss::Busy => (ErrorCode::Undefined, "the server is busy, try again"),
    }
}

/// Tells a repeated request from another one
fn hash(request: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(request);
    hasher.finish()
}
