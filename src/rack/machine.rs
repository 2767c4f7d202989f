//! One simulated machine: a network card with its ARP, and a firmware whose steps it carries out.
//!
//! It speaks frames, and does not know whether they cross a simulated switch (`world`) or a real wire (`wire`). Its HTTP
//! connections are streams, which whoever drives it carries.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use super::card::{Card, Unanswered};
use super::clone::Script;
use super::dhcp::{self, BootServerClient};
use super::expected::Expected;
use super::firmware::{Firmware, Model};
use super::frames::{Heard, wrap};
use super::outcome::{Failure, Out, Outcome};
use super::random::Random;
use super::reach::{Count, Identity, Io, Known};
use super::step::{Stage, Step};
use super::{http, tftp};
use crate::time::{Duration, Instant};
use crate::wire::ethernet::MacAddr;

/// After a failed attempt a machine's boot order comes round again
const ROUND_AGAIN: Duration = Duration::from_secs(10);

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

    /// QEMU's machines have no UUID of their own, as the captures show; a board's has its MAC address in it
    pub(crate) fn identity(&self, mac: MacAddr) -> Identity {
        let [a, b, c, d, e, f] = mac.0;
        let board = [0x4c, 0x4c, 0x45, 0x44, 0, 0x52, 0x35, 0x10, 0x80, 0x52, a, b, c, d, e, f];
        let has_uuid = match self {
            Self::Model(model) => model.has_uuid(),
            Self::Clone(_) => true,
        };
        Identity { mac, uuid: if has_uuid { board } else { [0; 16] } }
    }

    fn start(&self) -> Box<dyn Firmware> {
        match self {
            Self::Model(model) => model.start(),
            Self::Clone(script) => Box::new(Script::start(script.clone())),
        }
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
