//! The same machines on a wire, in real time: each with a MAC address of its own on one packet socket, against whatever server
//! answers there.
//!
//! Nothing of a server is assumed. A frame is given to the machine that it is for by its destination, a broadcast by whom it
//! speaks of; no machine pays for another's. All that has arrived is read before any machine's timer rings, so that a client that
//! asks again has not been answered: frames that found no room here are counted, and without such a retry is never the rack's own.

mod report;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::rc::Rc;

pub use report::Report;

use super::check::Checker;
use super::clone::Script;
use super::connections::Connections;
use super::expected::Expected;
use super::firmware::Model;
use super::frames::{Heard, Udp, destination, read, segment};
use super::machine::{Kind, Machine};
use super::message::addressee;
use super::outcome::Out;
use super::random::Random;
use super::reach::{Identity, Retries};
use super::report::Board;
use super::step::Stage;
use crate::io::clock::Clock;
use crate::io::frames::{self, Port, Prefix};
use crate::io::socket::OpenError;
use crate::time::{Duration, Instant};
use crate::wire::ethernet::MacAddr;

/// What the MAC addresses of a rack's machines begin with: a locally administered prefix that no hypervisor uses. The fourth
/// byte is the model's number, so that a server's rules can tell models apart; the last two count the machines.
pub const PREFIX: Prefix = [0x0a, 0x52, 0x56];

/// The fourth byte of clones
const CLONE: u8 = 0xc0;
/// Somebody looks at the board, or a signal has come, at least this often
const TURN_MAX: Duration = Duration::from_millis(100);
/// Batches that are read between two looks at the clock
const BATCHES: usize = 16;
/// Frames that wait until the kernel has room; a machine's own timers mend what is left out
const UNSENT_MAX: usize = 65_536;
/// A machine that is up lets its last connection end for so long
const LINGER: Duration = Duration::from_secs(2);

/// What stands on the wire
pub struct Setup {
    /// Decides what is left to chance: transaction identifiers
    pub seed: u64,
    /// The machines
    pub machines: Machines,
    /// They are powered on evenly within this time
    pub power_on: Duration,
    /// How often a machine goes through its boot order before it gives up
    pub rounds: u32,
    /// The server's files, where they are at hand
    pub root: Option<PathBuf>,
}

/// Which machines
pub enum Machines {
    /// Models
    Of(Vec<Model>),
    /// So many that do again what one was captured doing
    Clones(Rc<Script>, usize),
}

impl Machines {
    fn kinds(self) -> Vec<Kind> {
        match self {
            Self::Of(models) => models.into_iter().map(Kind::Model).collect(),
            Self::Clones(script, count) => vec![Kind::Clone(script); count],
        }
    }
}

struct Place {
    machine: Machine,
    connections: Option<Connections>,
    powered_at: Instant,
    done_at: Option<Instant>,
    /// When its next deadline is on the queue
    armed: Instant,
}

/// Which of the port's buffers were found empty: only then does a new frame wake a sleeper
struct Drained {
    datagrams: bool,
    streams: bool,
}

/// Machines on a wire
pub struct Rack {
    port: Port,
    clock: Clock,
    began_at: Instant,
    places: Vec<Place>,
    by_mac: HashMap<MacAddr, usize>,
    by_address: HashMap<Ipv4Addr, usize>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    expected: Rc<Expected>,
    checker: Checker,
    failures: BTreeMap<String, u64>,
    refusals: BTreeMap<&'static str, u64>,
    outs: Vec<Out>,
    unsent: Vec<Vec<u8>>,
    /// Frames that came for a machine
    heard: u64,
    /// Frames that were left out for want of room on their way out
    left_out: u64,
    left: usize,
    seed: u64,
}

impl Rack {
    /// Opens the interface; nothing is powered on before [`Rack::turn`]
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn new(interface: &str, setup: Setup) -> Result<Self, OpenError> {
        let port = Port::open(interface, PREFIX)?;
        let (clock, expected) = (Clock::new(), Rc::new(Expected::learnt(setup.root)));
        let began_at = clock.now();
        let kinds = setup.machines.kinds();
        let count = kinds.len() as u64;
        let place = |(i, kind): (usize, Kind)| {
            let random = Random::part(setup.seed, 1_000 + i as u64);
            let identity = identity(i, &kind);
            let machine = Machine::new(kind, identity, expected.clone(), random, setup.rounds);
            let after = setup.power_on.times(i as u64).as_micros() / count.max(1);
            let powered_at = began_at + Duration::from_micros(after);
            Place { machine, connections: None, powered_at, done_at: None, armed: powered_at }
        };
        let places: Vec<_> = kinds.into_iter().enumerate().map(place).collect();
        let macs = places.iter().enumerate().map(|(i, place)| (place.machine.known.identity.mac, i));
        Ok(Self {
            port,
            clock,
            began_at,
            by_mac: macs.collect(),
            by_address: HashMap::new(),
            timers: places.iter().enumerate().map(|(i, place)| Reverse((place.armed, i))).collect(),
            left: places.len(),
            places,
            expected: expected.clone(),
            checker: Checker::default(),
            failures: BTreeMap::new(),
            refusals: BTreeMap::new(),
            outs: Vec::new(),
            unsent: Vec::new(),
            heard: 0,
            left_out: 0,
            seed: setup.seed,
        })
    }

    /// Takes in what has come and what is due, and waits for more, a tenth of a second at most; `false` once all machines are done
    ///
    /// # Errors
    /// The interface is gone.
    pub fn turn(&mut self) -> io::Result<bool> {
        // A timer that has rung by now is heard only after all that had come by then.
        let now = self.clock.now();
        let drained = self.receive()?;
        if drained.datagrams {
            self.ring(now);
        }
        self.flush()?;
        if self.left == 0 {
            return Ok(false);
        }
        if drained.datagrams && drained.streams {
            let next = self.timers.peek().map_or(Instant::FAR, |Reverse((at, _))| *at);
            let wait = next.since(self.clock.now()).min(TURN_MAX);
            // Retried soon where the kernel had no room.
            let wait = if self.unsent.is_empty() { wait } else { wait.min(Duration::from_millis(1)) };
            self.port.wait(std::time::Duration::from_micros(wait.as_micros()))?;
        }
        Ok(true)
    }

    /// Reads frames: all datagrams, since short timers wait for them, and a batch of segments
    fn receive(&mut self) -> io::Result<Drained> {
        let mut drained = Drained { datagrams: false, streams: false };
        for _ in 0..BATCHES {
            let received = self.port.receive(frames::Kind::Datagrams)?;
            let now = self.clock.now();
            for index in 0..received {
                self.on_datagram(now, index);
            }
            self.flush()?;
            drained.datagrams = received == 0;
            if drained.datagrams {
                break;
            }
        }
        let received = self.port.receive(frames::Kind::Streams)?;
        let now = self.clock.now();
        for index in 0..received {
            self.on_segment(now, index);
        }
        drained.streams = received == 0;
        self.flush()?;
        Ok(drained)
    }

    fn on_datagram(&mut self, now: Instant, index: usize) {
        let Some(frame) = self.port.frame(index) else { return };
        let Some(heard) = read(frame.bytes, frame.is_trusted) else { return };
        let to = destination(frame.bytes).unwrap_or_default();
        let whom = match &heard {
            _ if !to.is_multicast() => self.by_mac.get(&to),
            Heard::Arp(arp) => self.by_address.get(&arp.target),
            Heard::Udp(udp) => addressee(udp.payload).and_then(|(_, mac)| self.by_mac.get(&mac)),
        };
        let Some(&i) = whom else { return };
        self.heard += 1;
        let machine = &mut self.places[i].machine;
        match (heard, frame.segment) {
            // Several datagrams that a card would have cut
            (Heard::Udp(udp), Some(len)) => {
                for payload in udp.payload.chunks(len.into()) {
                    machine.on_heard(now, &Heard::Udp(Udp { payload, ..udp }), &mut self.outs);
                }
            }
            (heard, _) => machine.on_heard(now, &heard, &mut self.outs),
        }
        self.after(now, i);
    }

    fn on_segment(&mut self, now: Instant, index: usize) {
        let Some(frame) = self.port.frame(index) else { return };
        let Some(&i) = destination(frame.bytes).and_then(|mac| self.by_mac.get(&mac)) else { return };
        let place = &mut self.places[i];
        let Some(connections) = &mut place.connections else { return };
        let Some(packet) = segment(frame.bytes, frame.is_trusted) else { return };
        connections.on_packet(now, Some(packet), &mut place.machine, &mut self.outs);
        self.after(now, i);
    }

    /// Timers that are due
    fn ring(&mut self, now: Instant) {
        while let Some(&Reverse((at, i))) = self.timers.peek().filter(|Reverse((at, _))| *at <= now) {
            self.timers.pop();
            let place = &mut self.places[i];
            if place.armed != at {
                continue;
            }
            place.armed = Instant::FAR;
            match place.machine.stage() {
                Stage::Off => place.machine.on_power(now, &mut self.outs),
                _ => place.machine.on_deadline(now, &mut self.outs),
            }
            if let Some(connections) = &mut place.connections {
                connections.on_packet(now, None, &mut place.machine, &mut self.outs);
            }
            self.after(now, i);
        }
    }

    /// What a machine has done, and when it wants to be woken
    fn after(&mut self, now: Instant, i: usize) {
        let mut outs = std::mem::take(&mut self.outs);
        while !outs.is_empty() {
            for out in outs.drain(..) {
                self.on_out(now, i, out);
            }
            // Connections that were opened or written to have something to send.
            let place = &mut self.places[i];
            if let Some(connections) = &mut place.connections {
                connections.on_packet(now, None, &mut place.machine, &mut outs);
            }
        }
        self.outs = outs;
        self.packets(now, i);
        self.count_end(now, i);
        let place = &mut self.places[i];
        if place.connections.as_ref().is_some_and(|connections| {
            connections.is_idle() || place.done_at.is_some_and(|at| now.since(at) > LINGER)
        }) {
            place.connections = None;
        }
        let streams = place.connections.as_mut().map_or(Instant::FAR, |streams| streams.next_deadline(now));
        let due = place.machine.next_deadline().min(streams);
        if due < place.armed {
            place.armed = due;
            self.timers.push(Reverse((due, i)));
        }
    }

    fn packets(&mut self, now: Instant, i: usize) {
        let Place { machine, connections: Some(connections), .. } = &mut self.places[i] else { return };
        for packet in std::mem::take(&mut connections.packets) {
            machine.send_packet(now, &packet, &mut self.outs);
        }
        let mut outs = std::mem::take(&mut self.outs);
        for out in outs.drain(..) {
            self.on_out(now, i, out);
        }
        self.outs = outs;
    }

    fn on_out(&mut self, now: Instant, i: usize, out: Out) {
        let place = &mut self.places[i];
        match out {
            Out::Frame(_) if self.unsent.len() == UNSENT_MAX => self.left_out += 1,
            Out::Frame(frame) => self.unsent.push(frame),
            Out::Open { stream, from, to } => {
                let seed = self.seed ^ (i as u64) << 32;
                place.connections.get_or_insert_with(|| Connections::new(now, seed)).open(stream, from, to);
            }
            Out::Write { stream, bytes } => {
                if let Some(connections) = &mut place.connections {
                    connections.write(stream, &bytes);
                }
            }
            Out::Close { stream } => {
                if let Some(connections) = &mut place.connections {
                    connections.close(stream);
                }
            }
            Out::Bound(address) => {
                self.by_address.retain(|_, holder| *holder != i);
                self.by_address.insert(address, i);
                self.checker.on_bound(i, address);
            }
            Out::Refused(why) => *self.refusals.entry(why).or_default() += 1,
            Out::Transferred { .. } => {}
        }
    }

    fn count_end(&mut self, now: Instant, i: usize) {
        let place = &mut self.places[i];
        if let Some(failure) = place.machine.take_failure() {
            *self.failures.entry(failure).or_default() += 1;
        }
        if place.machine.is_done() && place.done_at.is_none() {
            place.done_at = Some(now);
            self.left -= 1;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.unsent.is_empty() {
            let sent = self.port.send(&self.unsent)?;
            self.unsent.drain(..sent);
        }
        Ok(())
    }

    /// Time since the power came
    pub fn elapsed(&self) -> Duration {
        self.clock.now().since(self.began_at)
    }

    /// Where everybody stands
    pub fn board(&self) -> Board {
        let mut board = Board { elapsed: self.elapsed(), ..Board::default() };
        self.places.iter().for_each(|place| board.add(&place.machine));
        board
    }

    /// How it went so far; `ended_by`: why the rest is not waited for
    pub fn report(&mut self, ended_by: Option<String>) -> Report {
        let now = self.clock.now();
        let mut retries = Retries::default();
        self.places.iter().for_each(|place| retries.add(&place.machine.count.retries));
        let is_booted = |place: &&Place| place.machine.stage() == Stage::Booted;
        let booted = self.places.iter().filter(is_booted);
        let times = booted.filter_map(|place| Some(place.done_at?.since(place.powered_at))).collect();
        let mut gave_up = BTreeMap::new();
        for place in self.places.iter().filter(|place| place.machine.stage() == Stage::Failed) {
            if let Some(failure) = place.machine.failure {
                *gave_up.entry(failure).or_default() += 1;
            }
        }
        let last = self.places.iter().filter_map(|place| place.done_at).max().unwrap_or(now);
        Report::new(report::Run {
            machines: self.places.len(),
            times,
            elapsed: if self.left == 0 { last } else { now }.since(self.began_at),
            retries,
            bytes: self.places.iter().map(|place| place.machine.count.bytes).sum(),
            checked: self.expected.checked(),
            failures: std::mem::take(&mut self.failures),
            refusals: std::mem::take(&mut self.refusals),
            checker: std::mem::take(&mut self.checker),
            lost_frames: self.port.drops() + self.left_out,
            gave_up,
            heard: self.heard,
            ended_by,
        })
    }
}

/// Who a machine is: MAC addresses of one prefix, and a UUID where its model has one
fn identity(i: usize, kind: &Kind) -> Identity {
    let [.., high, low] = (i as u64).to_be_bytes();
    let [a, b, c] = PREFIX;
    let number = match kind {
        Kind::Model(model) => model.number(),
        Kind::Clone(_) => CLONE,
    };
    kind.identity(MacAddr([a, b, c, number, high, low]))
}
