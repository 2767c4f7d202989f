//! The rack itself: machines, wires and the server, driven event by event in virtual time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddrV4;
use std::rc::Rc;

use super::bug::Bug;
use super::check::{Checker, Violation};
use super::expected::Expected;
use super::firmware::Model;
use super::frames::{Arp, Heard, destination, parse};
use super::host::{Chunk, Host, HostOut, StreamId};
use super::link::{Faults, Lane, Link, carry};
use super::machine::{Kind, Machine};
use super::message::addressee;
use super::other::{OtherServer, Relay};
use super::outcome::Out;
use super::random::Random;
use super::reach::Identity;
use super::report::{Board, Report};
use super::site::{OTHER_MAC, RELAY_MAC, Segment, Site};
use super::step::Stage;
use crate::proto::http::ConnectionId;
use crate::time::{Duration, Instant};
use crate::wire::ethernet::MacAddr;

/// When virtual time begins
const DAWN: Instant = Instant::from_secs(1_700_000_000);
/// A machine that is not up by then never will be
const TIME_MAX: Duration = Duration::from_secs(3_600);
/// How long the server has to let go of the last client: an HTTP client that vanished is waited for longest
const IDLE_TIME: Duration = Duration::from_secs(900);
/// What a lost segment costs a TCP connection: the least retransmission time-out of Linux
const TCP_RESEND: Duration = Duration::from_millis(200);
/// Bytes of a segment, and its Ethernet, IPv4 and TCP headers (with time stamps)
const SEGMENT: usize = 1_448;
const SEGMENT_HEADERS: usize = 14 + 20 + 32;
/// Datagrams wait this long for the server's port and no longer
const QUEUE_MAX: Duration = Duration::from_secs(1);
/// Machines that hear each broadcast beside the one that it is for. All would; these few show that they do not mind it.
const BYSTANDERS: usize = 2;

/// What a rack is made of
#[derive(Debug)]
pub struct Setup {
    /// Decides everything that is left to chance
    pub seed: u64,
    /// Networks, plan and files
    pub site: Site,
    /// The machines: what they are, and where
    pub machines: Vec<(Model, Segment)>,
    /// The first machine's MAC address, where it matters; the next ones count on
    pub first_mac: MacAddr,
    /// What goes wrong on the wires
    pub faults: Faults,
    /// All are powered on within this time
    pub power_on: Duration,
    /// The server is killed and started again that long after the power came
    pub restart_at: Option<Duration>,
    /// So long after the power came the server is told another rate of its wires
    pub new_rates: Vec<(Duration, Option<u64>)>,
    /// A mistake put into the server
    pub bug: Option<Bug>,
    /// How often a machine goes through its boot order before it gives up
    pub rounds: u32,
    /// Keep what the machines send, for [`Rack::sent`]
    pub record: bool,
}

impl Setup {
    /// No machines yet, on a good switch, powered on within a second
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            site: Site::default(),
            machines: Vec::new(),
            first_mac: MacAddr([0x52, 0x54, 0, 0x10, 0, 0]),
            faults: Faults::default(),
            power_on: Duration::from_secs(1),
            restart_at: None,
            new_rates: Vec::new(),
            bug: None,
            rounds: 6,
            record: false,
        }
    }

    /// `count` machines of all kinds, on all kinds of links
    #[must_use]
    pub fn mix(mut self, count: usize) -> Self {
        let kinds = Model::ALL.len();
        self.machines = (0..count)
            .map(|i| {
                let model = Model::ALL[i % kinds];
                let segment = match model.segment() {
                    // Every fourth of those that may be anywhere sits behind the relay.
                    Segment::Full if i / kinds % 4 == 3 && model.boots_behind_relay() => Segment::Relayed,
                    segment => segment,
                };
                (model, segment)
            })
            .collect();
        self
    }

    /// `count` machines of these kinds in turn, where such machines boot
    #[must_use]
    pub fn of(mut self, models: &[Model], count: usize) -> Self {
        let machines = models.iter().map(|model| (*model, model.segment()));
        self.machines = machines.cycle().take(count).collect();
        self
    }
}

enum Event {
    Power(usize),
    MachineDue(usize),
    HostDue,
    ToMachine(usize, Vec<u8>),
    FromMachine(usize, Vec<u8>),
    /// The other DHCP server's, on its way to the machine's port
    Answer(usize, Vec<u8>),
    Open(StreamId, SocketAddrV4),
    Opened(StreamId),
    Write(StreamId, Vec<u8>),
    Chunk(StreamId, ConnectionId, Chunk),
    Hangup(StreamId),
    Closed(StreamId),
    Restart,
    NewRate(Option<u64>),
}

struct Due {
    at: Instant,
    order: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A machine at its place
struct Place {
    machine: Machine,
    segment: Segment,
    link: Link,
    powered_at: Instant,
    booted_at: Option<Instant>,
    /// When its next deadline is on the queue
    armed: Instant,
}

/// A rack of simulated machines and the server that boots them
pub struct Rack {
    setup: Setup,
    now: Instant,
    order: u64,
    queue: BinaryHeap<Reverse<Due>>,
    places: Vec<Place>,
    by_mac: HashMap<MacAddr, usize>,
    host: Host,
    host_armed: Instant,
    others: [Option<OtherServer>; 2],
    relay: Relay,
    uplinks: [Lane; 2],
    random: Random,
    checker: Checker,
    outs: Vec<Out>,
    left: usize,
    sent: Vec<(usize, Vec<u8>)>,
}

impl Rack {
    /// Builds it; nothing is powered on before [`Rack::step`]
    pub fn new(setup: Setup) -> Self {
        let site = &setup.site;
        let expected = Rc::new(Expected::Site(site.files.clone()));
        let mut random = Random::part(setup.seed, 1);
        let place = |(i, &(model, segment)): (usize, &(Model, Segment))| {
            let kind = Kind::Model(model);
            let identity = identity(setup.first_mac, i, &kind);
            let machine = Machine::new(
                kind,
                identity,
                expected.clone(),
                Random::part(setup.seed, 1_000 + i as u64),
                setup.rounds,
            );
            let powered_at = DAWN + Duration::from_micros(random.below(setup.power_on.as_micros() + 1));
            let link = Link { blocked_until: powered_at + setup.faults.blocked, ..Link::default() };
            Place { machine, segment, link, powered_at, booted_at: None, armed: Instant::FAR }
        };
        let places: Vec<_> = setup.machines.iter().enumerate().map(place).collect();
        let other = OtherServer::new(site.other, site.other_link().netmask(), site.other_first);
        let rogue_at = |last: [u8; 2]| {
            let [a, b, ..] = site.server.octets();
            [a, b, last[0], last[1]].into()
        };
        let rogue = OtherServer::new(rogue_at([255, 2]), site.full().netmask(), rogue_at([200, 0]));
        let mut rack = Self {
            now: DAWN,
            order: 0,
            queue: BinaryHeap::new(),
            by_mac: places
                .iter()
                .enumerate()
                .map(|(i, place)| (place.machine.known.identity.mac, i))
                .collect(),
            left: places.len(),
            places,
            host: Host::new(site, setup.bug, DAWN),
            host_armed: Instant::FAR,
            others: [setup.faults.rogue.then_some(rogue), Some(other)],
            relay: Relay { address: site.relay, server: site.server },
            uplinks: [Lane::default(); 2],
            random: Random::part(setup.seed, 2),
            checker: Checker::default(),
            outs: Vec::new(),
            sent: Vec::new(),
            setup,
        };
        for i in 0..rack.places.len() {
            rack.schedule(rack.places[i].powered_at, Event::Power(i));
        }
        if let Some(after) = rack.setup.restart_at {
            rack.schedule(DAWN + after, Event::Restart);
        }
        for (after, rate) in rack.setup.new_rates.clone() {
            rack.schedule(DAWN + after, Event::NewRate(rate));
        }
        rack
    }

    /// Runs to the end
    pub fn run(mut self) -> Report {
        while self.step() {}
        self.finish()
    }

    /// One event; `false` once all machines are done, or time is up
    pub fn step(&mut self) -> bool {
        if self.left == 0 || self.now.since(DAWN) > TIME_MAX {
            return false;
        }
        self.next_event()
    }

    /// Lets the server come to rest, and says how it went
    pub fn finish(mut self) -> Report {
        let ended_at = self.now;
        while !self.host.leaks().is_empty() && self.now.since(ended_at) < IDLE_TIME && self.next_event() {}
        for leak in self.host.leaks() {
            self.checker.report(Violation::Leak(leak));
        }
        for (machine, place) in self.places.iter().enumerate() {
            if place.booted_at.is_none() {
                self.checker.report(Violation::Unbooted { machine, failure: place.machine.failure });
            }
        }
        let times =
            self.places.iter().filter_map(|place| Some(place.booted_at?.since(place.powered_at))).collect();
        let count =
            |what: &dyn Fn(&Machine) -> u64| self.places.iter().map(|place| what(&place.machine)).sum();
        let (held, longest) = self.host.held();
        let mut report = Report::new(
            self.setup.seed,
            self.places.len(),
            times,
            ended_at.since(DAWN),
            count(&|machine| machine.count.retries.total()),
            count(&|machine| machine.count.bytes),
            self.checker,
        );
        report.held = held;
        report.held_longest_us = longest.as_micros();
        report
    }

    /// Virtual time since the power came
    pub fn elapsed(&self) -> Duration {
        self.now.since(DAWN)
    }

    /// Where everybody stands
    pub fn board(&self) -> Board {
        let mut board = Board { elapsed: self.now.since(DAWN), ..Board::default() };
        self.places.iter().for_each(|place| board.add(&place.machine));
        board
    }

    /// The frames that machines sent, where [`Setup::record`] asked for them
    pub fn sent(&self) -> &[(usize, Vec<u8>)] {
        &self.sent
    }

    /// What has been found wrong so far
    pub fn violations(&self) -> &[Violation] {
        &self.checker.violations
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Due { at: at.max(self.now), order: self.order, event }));
    }

    fn next_event(&mut self) -> bool {
        let Some(Reverse(Due { at, event, .. })) = self.queue.pop() else { return false };
        self.now = at;
        self.on_event(event);
        let due = self.host.next_deadline();
        if due < self.host_armed {
            self.host_armed = due.max(self.now);
            self.schedule(due, Event::HostDue);
        }
        true
    }

    fn on_event(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Power(i) => {
                self.checker.trace(now, 1, i, &[]);
                self.drive(i, Machine::on_power);
            }
            Event::MachineDue(i) => {
                self.places[i].armed = Instant::FAR;
                self.checker.trace(now, 2, i, &[]);
                self.drive(i, Machine::on_deadline);
            }
            Event::HostDue => {
                self.host_armed = Instant::FAR;
                self.host.on_deadline(now);
                self.after_host();
            }
            Event::ToMachine(i, frame) => {
                self.checker.trace(now, 3, i, &frame);
                self.drive(i, |machine, now, out| machine.on_frame(now, &frame, out));
            }
            Event::FromMachine(i, frame) => {
                self.checker.trace(now, 4, i, &frame);
                self.on_frame_of(i, &frame);
            }
            Event::Answer(i, frame) => self.send_to_machine(i, now, &frame),
            Event::Open(stream, from) => {
                self.host.on_open(now, stream, from);
                self.after_host();
            }
            Event::Opened(stream) => {
                self.drive(stream.0, |machine, now, out| machine.on_opened(now, stream.1, out));
            }
            Event::Write(stream, bytes) => {
                self.checker.trace(now, 5, stream.0, &bytes);
                self.host.on_bytes(now, stream, &bytes);
                self.after_host();
            }
            Event::Chunk(stream, id, chunk) => self.on_chunk(stream, id, &chunk),
            Event::Hangup(stream) => {
                self.host.on_hangup(now, stream);
                self.after_host();
            }
            Event::Closed(stream) => {
                self.drive(stream.0, |machine, now, out| machine.on_closed(now, stream.1, out));
            }
            Event::Restart => {
                self.host.restart(&self.setup.site, now);
                self.after_host();
            }
            Event::NewRate(rate) => {
                self.setup.site.rate = rate;
                self.host.on_plan(self.setup.site.plan(), now);
                self.after_host();
            }
        }
    }

    // --- A machine's side ---

    fn drive(&mut self, i: usize, act: impl FnOnce(&mut Machine, Instant, &mut Vec<Out>)) {
        let place = &mut self.places[i];
        let was_done = place.machine.is_done();
        let rounds = place.machine.count.rounds;
        act(&mut place.machine, self.now, &mut self.outs);
        if place.machine.count.rounds > rounds
            && let Some(failure) = place.machine.failure
        {
            *self.checker.failures.entry(failure).or_default() += 1;
        }
        if place.machine.is_done() && !was_done {
            self.left -= 1;
            place.booted_at = (place.machine.stage() == Stage::Booted).then_some(self.now);
        }
        let due = place.machine.next_deadline();
        if due < place.armed {
            place.armed = due;
            self.schedule(due, Event::MachineDue(i));
        }
        let mut outs = std::mem::take(&mut self.outs);
        for out in outs.drain(..) {
            self.on_out(i, out);
        }
        self.outs = outs;
    }

    fn on_out(&mut self, i: usize, out: Out) {
        let is_clean = self.setup.faults.is_clean();
        match out {
            Out::Frame(frame) => {
                if self.setup.record {
                    self.sent.push((i, frame.clone()));
                }
                let (now, faults) = (self.now, &self.setup.faults);
                let link = &mut self.places[i].link;
                if now < link.blocked_until {
                    return;
                }
                let left = link.up.send(now, frame.len(), faults.rate);
                let arrival = carry(faults, &mut self.random, &mut link.up, left, frame.len());
                if let Some(at) = arrival.second {
                    self.schedule(at, Event::FromMachine(i, frame.clone()));
                }
                if let Some(at) = arrival.first {
                    self.schedule(at, Event::FromMachine(i, frame));
                }
            }
            Out::Open { stream, from, .. } => {
                let at = self.segment_time(200);
                self.schedule(at, Event::Open((i, stream), from));
            }
            Out::Write { stream, bytes } => {
                let at = self.segment_time(bytes.len());
                self.schedule(at, Event::Write((i, stream), bytes));
            }
            Out::Close { stream } => {
                let at = self.segment_time(60);
                self.schedule(at, Event::Hangup((i, stream)));
            }
            Out::Bound(address) => self.checker.on_bound(i, address),
            Out::Refused(why) => {
                let after = self.now.since(DAWN);
                self.checker.report(Violation::Refused { machine: i, after, why });
            }
            Out::Transferred { blocks, repeats } => self.checker.on_transferred(i, blocks, repeats, is_clean),
        }
    }

    /// When bytes of a connection that leave now have arrived: TCP mends loss, and that takes time
    fn segment_time(&mut self, bytes: usize) -> Instant {
        let faults = &self.setup.faults;
        let segments = u32::try_from(bytes.div_ceil(SEGMENT)).unwrap_or(u32::MAX);
        let lost = faults.loss_ppm.saturating_mul(segments).min(900_000);
        let mut at = self.now + faults.delay;
        let mut resend = TCP_RESEND;
        while self.random.happens(lost.min(if resend == TCP_RESEND { lost } else { faults.loss_ppm })) {
            at += resend;
            resend = resend.times(2);
        }
        at
    }

    fn on_frame_of(&mut self, i: usize, frame: &[u8]) {
        let (now, segment) = (self.now, self.places[i].segment);
        match (parse(frame), segment) {
            (Some(Heard::Arp(arp)), Segment::Relayed)
                if arp.is_request && arp.target == self.relay.address =>
            {
                let answer =
                    Arp { is_request: false, sender_mac: RELAY_MAC, sender: arp.target, target: arp.sender };
                self.send_to_machine(i, now, &answer.emit(arp.sender_mac));
            }
            (Some(Heard::Arp(_)), Segment::Relayed) => {}
            (_, Segment::Relayed) => {
                if let Some(frame) = self.relay.to_server(frame) {
                    self.host.on_frame(now, 0, &frame);
                }
            }
            (heard, _) => {
                let network = segment.network();
                if destination(frame) != Some(OTHER_MAC) {
                    self.host.on_frame(now, network, frame);
                }
                if let (Some(Heard::Udp(udp)), Some(other)) = (heard, &mut self.others[network])
                    && let Some(answer) = other.on_udp(&udp)
                {
                    // It thinks for a moment longer than ours does.
                    self.schedule(now + Duration::from_millis(1), Event::Answer(i, answer));
                }
            }
        }
        self.after_host();
    }

    fn send_to_machine(&mut self, i: usize, left: Instant, frame: &[u8]) {
        let faults = &self.setup.faults;
        let link = &mut self.places[i].link;
        if left < link.blocked_until {
            return;
        }
        let left = link.down.send(left, frame.len(), faults.rate);
        let arrival = carry(faults, &mut self.random, &mut link.down, left, frame.len());
        for at in [arrival.first, arrival.second].into_iter().flatten() {
            self.schedule(at, Event::ToMachine(i, frame.to_vec()));
        }
    }

    // --- The server's side ---

    fn after_host(&mut self) {
        let mut outs = std::mem::take(&mut self.host.out);
        for out in outs.drain(..) {
            match out {
                HostOut::Frame { network, frame } => self.on_frame_of_host(network, &frame),
                HostOut::Chunk { stream, id, chunk } => {
                    let len = usize::try_from(chunk.len()).unwrap_or(usize::MAX);
                    let faults = &self.setup.faults;
                    let network = self.places[stream.0].segment.network();
                    let on_wire = len + len.div_ceil(SEGMENT) * SEGMENT_HEADERS;
                    let left = self.uplinks[network].send(self.now, on_wire, faults.uplink);
                    let left = self.places[stream.0].link.down.send(left, on_wire, faults.rate);
                    let mended = self.segment_time(len).since(self.now);
                    self.schedule(left + mended, Event::Chunk(stream, id, chunk));
                }
                HostOut::Opened { stream } => {
                    let at = self.segment_time(60);
                    self.schedule(at, Event::Opened(stream));
                }
                HostOut::Closed { stream } => {
                    let at = self.segment_time(60);
                    self.schedule(at, Event::Closed(stream));
                }
            }
        }
        self.host.out = outs;
    }

    fn on_chunk(&mut self, stream: StreamId, id: ConnectionId, chunk: &Chunk) {
        if !self.host.is_current(stream, id) {
            return;
        }
        let bytes = match chunk {
            Chunk::Bytes(bytes) => bytes.clone(),
            Chunk::Image { id, offset, len } => self.host.image(*id, *offset, *len).to_vec(),
        };
        self.checker.trace(self.now, 6, stream.0, &bytes);
        self.drive(stream.0, |machine, now, out| machine.on_bytes(now, stream.1, &bytes, out));
        self.host.on_written(self.now, id, chunk.len());
        self.after_host();
    }

    fn on_frame_of_host(&mut self, network: usize, frame: &[u8]) {
        let now = self.now;
        let uplink = &mut self.uplinks[network];
        if uplink.queue(now) > QUEUE_MAX {
            return;
        }
        let left = uplink.send(now, frame.len(), self.setup.faults.uplink);
        let Some(mac) = destination(frame) else { return };
        if mac == RELAY_MAC {
            let holder = |address| {
                let i = self.checker.holder(address)?;
                Some(self.places[i].machine.known.identity.mac)
            };
            if let Some((mac, frame)) = self.relay.to_client(frame, holder)
                && let Some(&i) = self.by_mac.get(&mac)
            {
                self.send_to_machine(i, left, &frame);
            }
            return;
        }
        if !mac.is_multicast() {
            if let Some(&i) = self.by_mac.get(&mac) {
                self.send_to_machine(i, left, frame);
            }
            return;
        }
        match parse(frame) {
            Some(Heard::Arp(arp)) => {
                if let Some(i) = self.checker.holder(arp.target) {
                    self.send_to_machine(i, left, frame);
                }
            }
            Some(Heard::Udp(udp)) => {
                let whom = addressee(udp.payload).and_then(|(_, mac)| self.by_mac.get(&mac).copied());
                for i in whom.into_iter().chain(self.bystanders(network)) {
                    self.send_to_machine(i, left, frame);
                }
            }
            None => {}
        }
    }

    fn bystanders(&mut self, network: usize) -> Vec<usize> {
        let count = self.places.len() as u64;
        let drawn = (0..BYSTANDERS).map(|_| usize::try_from(self.random.below(count)).unwrap_or_default());
        let near = |i: &usize| {
            let segment = self.places[*i].segment;
            segment != Segment::Relayed && segment.network() == network
        };
        drawn.collect::<Vec<_>>().into_iter().filter(near).collect()
    }
}

fn identity(first: MacAddr, i: usize, kind: &Kind) -> Identity {
    let [a, b, c, d, e, f] = first.0;
    let number = u64::from_be_bytes([0, 0, a, b, c, d, e, f]) + i as u64;
    let [_, _, a, b, c, d, e, f] = number.to_be_bytes();
    let mac = MacAddr([a, b, c, d, e, f]);
    kind.identity(mac)
}
