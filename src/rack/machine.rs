//! One simulated machine: a network card with its ARP, and a firmware whose steps it carries out.
//!
//! It speaks frames, and does not know whether they cross a simulated switch (`world`) or a real wire (`wire`). Its HTTP
//! connections are streams, which whoever drives it carries.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use serde::Serialize;

use super::card::{Card, Owner, Unanswered};
use super::clone::Script;
use super::dhcp::{self, BootServerClient, BootServerProfile, Lease};
use super::expected::Expected;
use super::firmware::{Firmware, Model};
use super::frames::{BROADCAST, Heard, Udp, wrap};
use super::http;
use super::message::Reply;
use super::random::Random;
use super::tftp;
use crate::time::{Duration, Instant};
use crate::wire::ethernet::MacAddr;

/// After a failed attempt a machine's boot order comes round again
const ROUND_AGAIN: Duration = Duration::from_secs(10);

/// What makes a machine itself
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub mac: MacAddr,
    /// As option 97 carries it
    pub uuid: [u8; 16],
}

/// What a machine is
#[derive(Clone)]
pub(crate) enum Kind {
    Model(Model),
    /// It does again what one was captured doing
    Clone(Rc<Script>),
}

impl Kind {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Model(model) => model.name(),
            Self::Clone(_) => "clone",
        }
    }

    fn start(&self) -> Box<dyn Firmware> {
        match self {
            Self::Model(model) => model.start(),
            Self::Clone(script) => Box::new(Script::start(script.clone())),
        }
    }
}

impl Identity {
    /// QEMU's machines have no UUID of their own, as the captures show; a board's has its MAC address in it
    pub(crate) fn new(mac: MacAddr, kind: &Kind) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        let board = [0x4c, 0x4c, 0x45, 0x44, 0, 0x52, 0x35, 0x10, 0x80, 0x52, a, b, c, d, e, f];
        let has_uuid = match kind {
            Kind::Model(model) => model.has_uuid(),
            Kind::Clone(_) => true,
        };
        Self { mac, uuid: if has_uuid { board } else { [0; 16] } }
    }
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
    /// A file is whole, and every byte was right
    Fetched(Fetched),
    Missing,
    Failed(Failure),
}

/// A file that has been loaded
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// The name that was asked for
    pub name: String,
    /// What it says, where it may be a configuration
    pub text: String,
}

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
    fn act(&self) -> &Self {
        match self {
            Self::After(_, step) => step.act(),
            step => step,
        }
    }

    fn stage(&self) -> Stage {
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

/// What a firmware knows
pub(crate) struct Known {
    pub identity: Identity,
    pub address: Ipv4Addr,
    netmask: Ipv4Addr,
    router: Option<Ipv4Addr>,
    pub expected: Rc<Expected>,
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
        to: SocketAddrV4,
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
    pub retries: Retries,
    pub bytes: u64,
    pub rounds: u32,
}

/// What a client sent again
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Retries {
    /// DISCOVER and REQUEST
    pub dhcp: u64,
    /// Those of `dhcp` that nobody had answered within the client's time: the others wait for a better answer than they have
    pub dhcp_unanswered: u64,
    /// REQUEST on port 4011
    pub boot_server: u64,
    /// Who has the server's or the router's address
    pub arp: u64,
    /// RRQ and ACK
    pub tftp: u64,
    /// Connections and requests
    pub http: u64,
}

impl Retries {
    /// All but ARP's, which is no boot protocol
    pub fn total(&self) -> u64 {
        self.dhcp + self.boot_server + self.tftp + self.http
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.dhcp += other.dhcp;
        self.dhcp_unanswered += other.dhcp_unanswered;
        self.boot_server += other.boot_server;
        self.arp += other.arp;
        self.tftp += other.tftp;
        self.http += other.http;
    }
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
        let (mac, own) = (self.known.identity.mac, SocketAddrV4::new(self.known.address, from));
        let frame = Udp { from_mac: mac, to_mac: MacAddr::ZERO, from: own, to, payload }.emit();
        let hop = self.known.next_hop(*to.ip());
        self.card.send(self.now, self.known.owner(), hop, from, frame, self.out);
    }

    /// A connection to a server
    pub(crate) fn open(&mut self, to: SocketAddrV4) -> u32 {
        self.known.next_stream += 1;
        let stream = self.known.next_stream;
        // Each connection has a port of its own.
        let port = 49_152 + u16::try_from(stream % 16_000).unwrap_or_default();
        self.out.push(Out::Open { stream, from: SocketAddrV4::new(self.known.address, port), to });
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

    /// What is sent again is counted where its protocol says
    pub(crate) fn retries(&mut self) -> &mut Retries {
        &mut self.count.retries
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

    fn owner(&self) -> Owner {
        Owner { mac: self.identity.mac, address: self.address }
    }
}

/// What the machine is at
enum Task {
    Off,
    Dhcp(dhcp::Client),
    BootServer(BootServerClient),
    Tftp(tftp::Download),
    Http(http::Download),
    /// It is busy with itself until then
    Thinking(Instant, Box<Step>),
    /// It failed, and its boot order comes round again then
    RoundAgain(Instant),
    Booted,
    Failed,
}

/// A machine
pub(crate) struct Machine {
    pub known: Known,
    pub kind: Kind,
    pub count: Count,
    pub failure: Option<Failure>,
    /// The last failure and the file that it was about, until somebody has taken it up
    told: Option<String>,
    firmware: Box<dyn Firmware>,
    task: Task,
    card: Card,
    kept: Option<(SocketAddrV4, u32)>,
    rounds_max: u32,
}

impl Machine {
    pub(crate) fn new(
        kind: Kind,
        identity: Identity,
        expected: Rc<Expected>,
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
                expected,
                random,
                xids: Vec::new(),
                next_port: 1050,
                one_port: None,
                next_stream: 0,
            },
            firmware: kind.start(),
            kind,
            count: Count::default(),
            failure: None,
            told: None,
            task: Task::Off,
            card: Card::default(),
            kept: None,
            rounds_max,
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        match &self.task {
            Task::Off => Stage::Off,
            Task::Dhcp(_) | Task::BootServer(_) => Stage::Dhcp,
            Task::Tftp(_) => Stage::Tftp,
            Task::Http(_) => Stage::Http,
            Task::Thinking(_, step) => step.stage(),
            Task::RoundAgain(_) => Stage::Resting,
            Task::Booted => Stage::Booted,
            Task::Failed => Stage::Failed,
        }
    }

    /// The file that it is at, how much of it has come, and how long it is
    pub(crate) fn progress(&self) -> Option<(&str, u64, Option<u64>)> {
        match &self.task {
            Task::Tftp(download) => Some(download.progress()),
            Task::Http(download) => Some(download.progress()),
            _ => None,
        }
    }

    /// Why an attempt has failed, with the file that it was about, once
    pub(crate) fn take_failure(&mut self) -> Option<String> {
        self.told.take()
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
            Task::RoundAgain(until) | Task::Thinking(until, _) => *until,
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
        if matches!(self.task, Task::Thinking(until, _) if until <= now)
            && let Task::Thinking(_, step) = std::mem::replace(&mut self.task, Task::Off)
        {
            return self.begin(now, *step, out);
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
        match self.card.on_deadline(now, self.known.owner(), out) {
            Unanswered::Nothing => {}
            Unanswered::Again => self.count.retries.arp += 1,
            Unanswered::NoRoute => self.finish(now, Some(Outcome::Failed(Failure::NoRoute)), out),
        }
    }

    pub(crate) fn on_frame(&mut self, now: Instant, frame: &[u8], out: &mut Vec<Out>) {
        match super::frames::parse(frame) {
            Some(heard) => self.on_heard(now, &heard, out),
            None => out.push(Out::Refused("a frame that is neither ARP nor whole, correct UDP")),
        }
    }

    pub(crate) fn on_heard(&mut self, now: Instant, heard: &Heard<'_>, out: &mut Vec<Out>) {
        let udp = match heard {
            Heard::Arp(arp) => return self.card.on_arp(self.known.owner(), arp, out),
            Heard::Udp(udp) => udp,
        };
        let to = *udp.to.ip();
        let takes = matches!(self.task, Task::Dhcp(_)) || to == self.known.address || to.is_broadcast();
        if !takes {
            return;
        }
        let outcome = self.with(now, out, |task, io| match task {
            Task::Dhcp(client) => client.on_udp(io, udp),
            Task::BootServer(client) => client.on_udp(io, udp),
            Task::Tftp(download) => download.on_udp(io, udp),
            _ => None,
        });
        self.finish(now, outcome, out);
    }

    /// Sends a packet of one of its connections
    pub(crate) fn send_packet(&mut self, now: Instant, packet: &[u8], out: &mut Vec<Out>) {
        if let Some((to, port, frame)) = wrap(self.known.identity.mac, packet) {
            let hop = self.known.next_hop(to);
            self.card.send(now, self.known.owner(), hop, port, frame, out);
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
            self.firmware = self.kind.start();
            self.card = Card::default();
            self.known.address = Ipv4Addr::UNSPECIFIED;
            self.known.one_port = None;
        }
        let step = self.firmware.next(&mut self.known, outcome);
        if let Step::Fail(failure) = step {
            let file = self.progress().map_or(String::new(), |(name, ..)| format!(" ({name})"));
            self.told = Some(format!("{failure}{file}"));
        }
        let keeps =
            matches!(step.act(), Step::Http(_, server, _) if self.kept.is_some_and(|(to, _)| to == *server));
        if !keeps && let Some((_, stream)) = self.kept.take() {
            out.push(Out::Close { stream });
        }
        self.begin(now, step, out);
    }

    fn begin(&mut self, now: Instant, step: Step, out: &mut Vec<Out>) {
        if matches!(step, Step::Dhcp(_)) {
            // Whoever asks for an address has none.
            self.known.address = Ipv4Addr::UNSPECIFIED;
        }
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
                let kept = self.kept.take().map(|(_, stream)| stream);
                Task::Http(http::Download::start(profile, server, path, kept, &mut io))
            }
            Step::After(wait, step) => Task::Thinking(now + wait, step),
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
