//! One simulated machine: a network card with its ARP, and a firmware whose steps it carries out.
//!
//! It speaks frames, so that it could stand on a wire; only its HTTP connections are streams, which whoever drives it carries.

use std::collections::VecDeque;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use super::dhcp::{self, BootServerClient, BootServerProfile, Lease};
use super::firmware::{Firmware, Model};
use super::frames::{Arp, BROADCAST, Heard, Udp};
use super::http;
use super::message::Reply;
use super::random::Random;
use super::site::Files;
use super::tftp;
use crate::time::{Duration, Instant};
use crate::wire::ethernet::MacAddr;

/// After a failed attempt a machine's boot order comes round again
const ROUND_AGAIN: Duration = Duration::from_secs(10);
/// An ARP request is repeated this often, this far apart
const ARP_TRIES: u32 = 5;
const ARP_WAIT: Duration = Duration::from_secs(1);

/// What makes a machine itself
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub mac: MacAddr,
    /// As option 97 carries it
    pub uuid: [u8; 16],
}

/// Why an attempt to boot failed
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Failure {
    /// No DHCP offer
    NoOffer,
    /// Offers, none of which names a boot file
    NoBootFile,
    /// No DHCP ACK
    NoAck,
    /// A DHCP NAK, which ends a UEFI attempt
    Refused,
    /// No boot server on 4011
    NoBootServer,
    /// The gateway or the server does not answer ARP
    NoRoute,
    /// A transfer fell silent
    TftpSilence,
    /// A TFTP ERROR other than "not found"
    TftpError,
    /// TFTP options that the client cannot take
    TftpOptions,
    /// A file that must be there is not
    NotFound,
    /// No answer by HTTP
    HttpSilence,
    /// An HTTP head that the client cannot read
    HttpHead,
    /// A byte that is not the file's
    WrongBytes,
    /// A configuration that names nothing to load
    NothingToLoad,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoOffer => "no DHCP offer",
            Self::NoBootFile => "no offer with a boot file",
            Self::NoAck => "no DHCP ACK",
            Self::Refused => "a DHCP NAK",
            Self::NoBootServer => "no answer on port 4011",
            Self::NoRoute => "no answer to ARP",
            Self::TftpSilence => "TFTP fell silent",
            Self::TftpError => "a TFTP error",
            Self::TftpOptions => "TFTP options that it cannot take",
            Self::NotFound => "a file is missing",
            Self::HttpSilence => "HTTP fell silent",
            Self::HttpHead => "an HTTP head that it cannot read",
            Self::WrongBytes => "wrong bytes",
            Self::NothingToLoad => "a configuration that names nothing to load",
        })
    }
}

/// What a step came to
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The power is on
    Power,
    Leased(Lease),
    BootServer(Reply),
    /// The file of that name is whole, and every byte was right
    Fetched(String),
    Missing,
    Failed(Failure),
}

/// What a firmware does next
pub(crate) enum Step {
    Dhcp(&'static dhcp::Profile),
    BootServer(&'static BootServerProfile, Ipv4Addr, Option<u16>),
    Tftp(&'static tftp::Profile, Ipv4Addr, String),
    Http(&'static http::Profile, SocketAddrV4, String),
    Booted,
    Fail(Failure),
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

/// What a firmware knows
pub(crate) struct Known {
    pub identity: Identity,
    pub address: Ipv4Addr,
    netmask: Ipv4Addr,
    router: Option<Ipv4Addr>,
    pub files: Rc<Files>,
    pub random: Random,
    xids: Vec<u32>,
    next_port: u16,
    /// A firmware that asks for all its files from one port
    pub one_port: Option<u16>,
    next_stream: u32,
}

impl Known {
    pub(crate) fn had_xid(&self, xid: u32) -> bool {
        self.xids.contains(&xid)
    }
}

/// What a machine does to the world
#[derive(Debug)]
pub(crate) enum Out {
    Frame(Vec<u8>),
    Open {
        stream: u32,
        from: SocketAddrV4,
    },
    Write {
        stream: u32,
        bytes: Vec<u8>,
    },
    Close {
        stream: u32,
    },
    /// It uses this address from here on
    Bound(Ipv4Addr),
    /// It cannot accept what the server sent
    Refused(&'static str),
    /// A file came in so many blocks, with so many sent twice
    Transferred {
        blocks: u64,
        repeats: u64,
    },
}

/// How a step reaches the world
pub(crate) struct Io<'m> {
    pub now: Instant,
    pub known: &'m mut Known,
    count: &'m mut Count,
    card: &'m mut Card,
    out: &'m mut Vec<Out>,
}

/// What a machine has counted
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub retries: u64,
    pub bytes: u64,
    pub rounds: u32,
}

/// The card: whom it knows by ARP, and what waits for an answer
#[derive(Default)]
struct Card {
    neighbours: Vec<(Ipv4Addr, MacAddr)>,
    waiting: VecDeque<(Ipv4Addr, u16, SocketAddrV4, Vec<u8>)>,
    asked: u32,
    deadline: Option<Instant>,
}

impl Io<'_> {
    pub(crate) fn new_xid(&mut self) -> u32 {
        let xid = self.known.random.xid();
        self.known.xids.push(xid);
        xid
    }

    pub(crate) fn new_port(&mut self) -> u16 {
        if let Some(port) = self.known.one_port {
            return port;
        }
        self.known.next_port = self.known.next_port.checked_add(1).unwrap_or(1050);
        self.known.next_port
    }

    pub(crate) fn broadcast(&mut self, from: u16, to: u16, payload: &[u8]) {
        let frame = Udp {
            from_mac: self.known.identity.mac,
            to_mac: BROADCAST,
            from: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, from),
            to: SocketAddrV4::new(Ipv4Addr::BROADCAST, to),
            payload,
        };
        self.out.push(Out::Frame(frame.emit()));
    }

    pub(crate) fn unicast(&mut self, from: u16, to: SocketAddrV4, payload: &[u8]) {
        let hop = self.known.next_hop(*to.ip());
        match self.card.neighbours.iter().find(|(address, _)| *address == hop) {
            Some((_, mac)) => self.out.push(Out::Frame(self.known.frame(*mac, from, to, payload))),
            None => {
                if self.card.waiting.is_empty() {
                    self.card.asked = 0;
                    self.ask_for(hop);
                }
                // A ROM's card keeps the last datagram of those that wait.
                self.card.waiting.retain(|(_, port, ..)| *port != from);
                self.card.waiting.push_back((hop, from, to, payload.to_vec()));
            }
        }
    }

    fn ask_for(&mut self, hop: Ipv4Addr) {
        let (sender_mac, sender) = (self.known.identity.mac, self.known.address);
        self.out.push(Out::Frame(Arp { is_request: true, sender_mac, sender, target: hop }.emit(BROADCAST)));
        self.card.asked += 1;
        self.card.deadline = Some(self.now + ARP_WAIT);
    }

    /// A connection to the server: the rack has only one, so its address decides nothing
    pub(crate) fn open(&mut self) -> u32 {
        self.known.next_stream += 1;
        let stream = self.known.next_stream;
        // Each connection has a port of its own.
        let port = 49_152 + u16::try_from(stream % 16_000).unwrap_or_default();
        self.out.push(Out::Open { stream, from: SocketAddrV4::new(self.known.address, port) });
        stream
    }

    pub(crate) fn write(&mut self, stream: u32, bytes: Vec<u8>) {
        self.out.push(Out::Write { stream, bytes });
    }

    pub(crate) fn close(&mut self, stream: u32) {
        self.out.push(Out::Close { stream });
    }

    pub(crate) fn refuse(&mut self, why: &'static str) {
        self.out.push(Out::Refused(why));
    }

    pub(crate) fn retried(&mut self) {
        self.count.retries += 1;
    }

    pub(crate) fn received(&mut self, bytes: u64) {
        self.count.bytes += bytes;
    }

    pub(crate) fn transferred(&mut self, blocks: u64, repeats: u64) {
        self.out.push(Out::Transferred { blocks, repeats });
    }
}

impl Known {
    fn next_hop(&self, to: Ipv4Addr) -> Ipv4Addr {
        let mask = self.netmask.to_bits();
        let is_near = to.to_bits() & mask == self.address.to_bits() & mask;
        if is_near { to } else { self.router.unwrap_or(to) }
    }

    fn frame(&self, to_mac: MacAddr, from: u16, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
        let from = SocketAddrV4::new(self.address, from);
        Udp { from_mac: self.identity.mac, to_mac, from, to, payload }.emit()
    }
}

/// What the machine is at
enum Task {
    Off,
    Dhcp(dhcp::Client),
    BootServer(BootServerClient),
    Tftp(tftp::Download),
    Http(http::Download),
    /// It failed, and its boot order comes round again then
    RoundAgain(Instant),
    Booted,
    Failed,
}

/// A machine
pub(crate) struct Machine {
    pub known: Known,
    pub model: Model,
    pub count: Count,
    pub failure: Option<Failure>,
    firmware: Box<dyn Firmware>,
    task: Task,
    card: Card,
    kept: Option<(SocketAddrV4, u32)>,
    rounds_max: u32,
}

impl Machine {
    pub(crate) fn new(
        model: Model,
        identity: Identity,
        files: Rc<Files>,
        random: Random,
        rounds_max: u32,
    ) -> Self {
        let any = Ipv4Addr::UNSPECIFIED;
        Self {
            known: Known {
                identity,
                address: any,
                netmask: any,
                router: None,
                files,
                random,
                xids: Vec::new(),
                next_port: 1050,
                one_port: None,
                next_stream: 0,
            },
            model,
            count: Count::default(),
            failure: None,
            firmware: model.start(),
            task: Task::Off,
            card: Card::default(),
            kept: None,
            rounds_max,
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.task {
            Task::Off => Stage::Off,
            Task::Dhcp(_) | Task::BootServer(_) => Stage::Dhcp,
            Task::Tftp(_) => Stage::Tftp,
            Task::Http(_) => Stage::Http,
            Task::RoundAgain(_) => Stage::Resting,
            Task::Booted => Stage::Booted,
            Task::Failed => Stage::Failed,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.task, Task::Booted | Task::Failed)
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        let task = match &self.task {
            Task::Dhcp(client) => client.deadline,
            Task::BootServer(client) => client.deadline,
            Task::Tftp(download) => download.deadline,
            Task::Http(download) => download.deadline,
            Task::RoundAgain(until) => *until,
            Task::Off | Task::Booted | Task::Failed => Instant::FAR,
        };
        self.card.deadline.map_or(task, |card| card.min(task))
    }

    pub(crate) fn on_power(&mut self, now: Instant, out: &mut Vec<Out>) {
        self.advance(now, Outcome::Power, out);
    }

    pub(crate) fn on_deadline(&mut self, now: Instant, out: &mut Vec<Out>) {
        if self.card.deadline.is_some_and(|at| at <= now) {
            self.on_arp_deadline(now, out);
        }
        let outcome = self.with(now, out, |task, io| match task {
            Task::Dhcp(client) if client.deadline <= now => client.on_deadline(io),
            Task::BootServer(client) if client.deadline <= now => client.on_deadline(io),
            Task::Tftp(download) if download.deadline <= now => download.on_deadline(io),
            Task::Http(download) if download.deadline <= now => download.on_deadline(io),
            Task::RoundAgain(until) if *until <= now => Some(Outcome::Power),
            _ => None,
        });
        self.finish(now, outcome, out);
    }

    fn on_arp_deadline(&mut self, now: Instant, out: &mut Vec<Out>) {
        self.card.deadline = None;
        let Some(&(hop, ..)) = self.card.waiting.front() else { return };
        if self.card.asked == ARP_TRIES {
            self.card.waiting.clear();
            return self.finish(now, Some(Outcome::Failed(Failure::NoRoute)), out);
        }
        self.with(now, out, |_, io| {
            io.ask_for(hop);
            None
        });
    }

    pub(crate) fn on_frame(&mut self, now: Instant, frame: &[u8], out: &mut Vec<Out>) {
        match super::frames::parse(frame) {
            Some(Heard::Udp(udp)) => {
                let to = *udp.to.ip();
                let takes =
                    matches!(self.task, Task::Dhcp(_)) || to == self.known.address || to.is_broadcast();
                if !takes {
                    return;
                }
                let outcome = self.with(now, out, |task, io| match task {
                    Task::Dhcp(client) => client.on_udp(io, &udp),
                    Task::BootServer(client) => client.on_udp(io, &udp),
                    Task::Tftp(download) => download.on_udp(io, &udp),
                    _ => None,
                });
                self.finish(now, outcome, out);
            }
            Some(Heard::Arp(arp)) => self.on_arp(&arp, out),
            None => out.push(Out::Refused("a frame that is neither ARP nor whole, correct UDP")),
        }
    }

    fn on_arp(&mut self, arp: &Arp, out: &mut Vec<Out>) {
        if arp.target != self.known.address || self.known.address.is_unspecified() {
            return;
        }
        if arp.is_request {
            let (sender_mac, sender) = (self.known.identity.mac, self.known.address);
            let answer = Arp { is_request: false, sender_mac, sender, target: arp.sender };
            out.push(Out::Frame(answer.emit(arp.sender_mac)));
        }
        self.card.neighbours.retain(|(address, _)| *address != arp.sender);
        self.card.neighbours.push((arp.sender, arp.sender_mac));
        let (ready, waiting) =
            self.card.waiting.drain(..).partition::<VecDeque<_>, _>(|(hop, ..)| *hop == arp.sender);
        self.card.waiting = waiting;
        if self.card.waiting.is_empty() {
            self.card.deadline = None;
        }
        for (_, from, to, payload) in ready {
            out.push(Out::Frame(self.known.frame(arp.sender_mac, from, to, &payload)));
        }
    }

    pub(crate) fn on_opened(&mut self, now: Instant, stream: u32, out: &mut Vec<Out>) {
        self.with(now, out, |task, io| {
            if let Task::Http(download) = task {
                download.on_opened(io, stream);
            }
            None
        });
    }

    pub(crate) fn on_bytes(&mut self, now: Instant, stream: u32, bytes: &[u8], out: &mut Vec<Out>) {
        let outcome = self.with(now, out, |task, io| match task {
            Task::Http(download) => download.on_bytes(io, stream, bytes),
            _ => None,
        });
        self.finish(now, outcome, out);
    }

    pub(crate) fn on_closed(&mut self, now: Instant, stream: u32, out: &mut Vec<Out>) {
        if self.kept.is_some_and(|(_, kept)| kept == stream) {
            self.kept = None;
        }
        let outcome = self.with(now, out, |task, io| match task {
            Task::Http(download) => download.on_closed(io, stream),
            _ => None,
        });
        self.finish(now, outcome, out);
    }

    fn with(
        &mut self,
        now: Instant,
        out: &mut Vec<Out>,
        act: impl FnOnce(&mut Task, &mut Io<'_>) -> Option<Outcome>,
    ) -> Option<Outcome> {
        let mut io = Io { now, known: &mut self.known, count: &mut self.count, card: &mut self.card, out };
        act(&mut self.task, &mut io)
    }

    fn finish(&mut self, now: Instant, outcome: Option<Outcome>, out: &mut Vec<Out>) {
        if let Some(outcome) = outcome {
            self.advance(now, outcome, out);
        }
    }

    /// A step is over: the firmware says what comes next
    fn advance(&mut self, now: Instant, outcome: Outcome, out: &mut Vec<Out>) {
        if let Outcome::Leased(lease) = &outcome {
            (self.known.address, self.known.netmask, self.known.router) =
                (lease.address, lease.netmask, lease.router);
            out.push(Out::Bound(lease.address));
        }
        if let Task::Http(download) = &self.task {
            self.kept = download.kept().filter(|_| matches!(outcome, Outcome::Fetched(_) | Outcome::Missing));
        }
        if matches!(outcome, Outcome::Power) {
            self.firmware = self.model.start();
            self.card = Card::default();
            self.known.address = Ipv4Addr::UNSPECIFIED;
            self.known.one_port = None;
        }
        let step = self.firmware.next(&mut self.known, outcome);
        let keeps =
            matches!(&step, Step::Http(_, server, _) if self.kept.is_some_and(|(to, _)| to == *server));
        if !keeps && let Some((_, stream)) = self.kept.take() {
            out.push(Out::Close { stream });
        }
        if matches!(step, Step::Dhcp(_)) {
            // Whoever asks for an address has none.
            self.known.address = Ipv4Addr::UNSPECIFIED;
        }
        let kept = self.kept.take().map(|(_, stream)| stream);
        let mut io = Io { now, known: &mut self.known, count: &mut self.count, card: &mut self.card, out };
        self.task = match step {
            Step::Dhcp(profile) => Task::Dhcp(dhcp::Client::start(profile, &mut io)),
            Step::BootServer(profile, server, item) => {
                Task::BootServer(BootServerClient::start(profile, server, item, &mut io))
            }
            Step::Tftp(profile, server, name) => {
                Task::Tftp(tftp::Download::start(profile, server, name, &mut io))
            }
            Step::Http(profile, server, path) => {
                Task::Http(http::Download::start(profile, server, path, kept, &mut io))
            }
            Step::Booted => Task::Booted,
            Step::Fail(failure) => {
                self.failure = Some(failure);
                self.count.rounds += 1;
                if self.count.rounds < self.rounds_max {
                    Task::RoundAgain(now + ROUND_AGAIN)
                } else {
                    Task::Failed
                }
            }
        };
        if self.is_done() {
            self.card.deadline = None;
        }
    }
}
