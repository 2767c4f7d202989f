//! One shard's event loop on epoll (mio): wait, read a batch, let the shard answer, flush, repeat.
//!
//! Edge-triggered: what the kernel says once is remembered until a call finds nothing left. Each turn takes one batch of
//! each socket and one turn of each connection, so that no client waits for another's megabytes. The clock is read once a
//! batch.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time;

use crossbeam_channel::{Receiver, Sender as ChannelSender};
use mio::event::Event as Readable;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::clock::Clock;
use super::flush::Way;
use super::held::Held;
use super::notes::Notes;
use super::receive::{self, Event, OwnAddresses, Source};
use super::send::Sender;
use super::sockets::Sockets;
use super::stream::{Readiness, Streams};
use super::sys::message::ReceiveBatch;
use crate::boot::plan::Plan;
use crate::content::Tree;
use crate::limits::{ACCEPT_PAUSE, ACCEPT_TURN, BATCH, DATAGRAM_MAX, STOP_TIME};
use crate::proto::outbox::{Outbox, Port};
use crate::shard::Shard;
use crate::stats::Stats;
use crate::store::Committer;
use crate::time::Instant;

const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
/// Tokens of datagram sockets begin here, those of connections at [`STREAMS`]
const SOURCES: usize = 2;
const STREAMS: usize = 1 << 20;
/// Rounds of deadlines that are due before events have their turn
const DEADLINE_ROUNDS: usize = 16;

/// What the rest of the program tells a shard
#[derive(Debug)]
pub enum Control {
    /// A new plan is in force
    Plan(Arc<Plan>),
    /// Nothing new begins; what has begun ends within [`STOP_TIME`]
    Stop,
    /// The end, at once
    Abort,
}

/// Reaches a shard's loop from other threads
#[derive(Clone, Debug)]
pub struct Remote {
    control: ChannelSender<Control>,
    waker: Arc<Waker>,
}

impl Remote {
    /// Tells the shard, and wakes it. A shard that has ended hears nothing.
    pub fn tell(&self, control: Control) {
        let _ = self.control.send(control);
        self.wake();
    }

    /// Wakes the shard: its store has something to tell
    pub fn wake(&self) {
        let _ = self.waker.wake();
    }
}

/// A datagram socket, and whether it may have something to read
struct Input {
    source: Source,
    is_ready: bool,
    is_open: bool,
}

/// One shard and its sockets
pub struct Driver {
    poll: Poll,
    events: Events,
    clock: Clock,
    shard: Shard<Tree>,
    outbox: Outbox,
    sockets: Sockets,
    own: OwnAddresses,
    inputs: Vec<Input>,
    batch: ReceiveBatch,
    sender: Sender,
    held: Held,
    streams: Streams,
    /// Connections may wait to be accepted, from that moment on
    accepts: bool,
    accept_at: Instant,
    control: Receiver<Control>,
    notes: Arc<Notes>,
    /// When the shard ends, whatever is under way
    stop_at: Option<Instant>,
}

impl Driver {
    /// Registers a shard's sockets; nothing happens before [`Driver::run`]
    ///
    /// # Errors
    /// Where the system has no descriptor or memory left for it.
    pub fn new(
        shard: Shard<Tree>,
        mut sockets: Sockets,
        clock: Clock,
        notes: Arc<Notes>,
    ) -> io::Result<(Self, Remote)> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let waker = Arc::new(Waker::new(registry, WAKER)?);
        if let Some(listener) = &mut sockets.http {
            registry.register(listener, LISTENER, Interest::READABLE)?;
        }
        let inputs: Vec<_> =
            sources(&sockets).map(|source| Input { source, is_ready: false, is_open: true }).collect();
        for (index, input) in inputs.iter().enumerate() {
            let socket = descriptor(&sockets, input.source).expect("a source has a socket").as_raw_fd();
            registry.register(&mut SourceFd(&socket), Token(SOURCES + index), Interest::READABLE)?;
        }
        let (tell, control) = crossbeam_channel::unbounded();
        let driver = Self {
            poll,
            events: Events::with_capacity(1024),
            own: OwnAddresses::of(shard.plan()),
            sender: Sender::new(shard.plan().networks().len()),
            clock,
            shard,
            outbox: Outbox::new(),
            sockets,
            inputs,
            batch: ReceiveBatch::new(DATAGRAM_MAX),
            held: Held::default(),
            streams: Streams::new(),
            accepts: false,
            accept_at: Instant::ZERO,
            control,
            notes,
            stop_at: None,
        };
        Ok((driver, Remote { control: tell, waker }))
    }

    /// Makes leases durable by this store
    pub fn set_committer(&mut self, committer: Committer) {
        self.held.set_committer(committer);
    }

    /// Serves until it is told to stop; returns the counters
    ///
    /// # Errors
    /// Leases could not be written at the end, or waiting for events failed, which only a fault of this program explains.
    pub fn run(mut self) -> io::Result<Stats> {
        loop {
            self.wait()?;
            if !self.hear() {
                break;
            }
            for index in 0..self.inputs.len() {
                self.read(index);
            }
            self.accept();
            self.serve_streams();
            self.pass_time();
            if self.stop_at.is_some_and(|stop_at| self.is_idle() || self.clock.now() >= stop_at) {
                break;
            }
        }
        self.held.finish()?;
        Ok(self.shard.stats().clone())
    }

    fn is_idle(&self) -> bool {
        self.shard.is_idle() && self.held.is_empty()
    }

    // --- Events ---

    fn wait(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            match event.token() {
                WAKER => {}
                LISTENER => self.accepts = true,
                Token(token) if token >= STREAMS => self.streams.on_ready(token - STREAMS, readiness(event)),
                Token(token) => self.inputs[token - SOURCES].is_ready = true,
            }
        }
        Ok(())
    }

    /// How long nothing needs to be done unless something happens
    fn timeout(&self) -> Option<time::Duration> {
        let now = self.clock.now();
        let can_read = self.inputs.iter().any(|input| input.is_ready && self.may_read(input));
        let can_accept = self.accepts && self.accept_at <= now;
        if can_read || can_accept || self.streams.is_ready() {
            return Some(time::Duration::ZERO);
        }
        let shard = self.shard.next_deadline().filter(|_| !self.is_held_up());
        let accept = (self.accepts && self.sockets.http.is_some()).then_some(self.accept_at);
        let deadlines =
            [shard, accept, self.sender.next_deadline(), self.streams.next_deadline(), self.stop_at];
        let next = deadlines.into_iter().flatten().min()?;
        Some(time::Duration::from_micros(next.since(now).as_micros()))
    }

    /// Whether transfers wait for a full socket: neither their clients nor their timers are listened to meanwhile
    fn is_held_up(&self) -> bool {
        self.sender.is_full(Way::Transfer) || self.sender.is_full(Way::Tftp)
    }

    fn may_read(&self, input: &Input) -> bool {
        let is_full = match input.source {
            Source::Udp(Port::Tftp | Port::Transfer) => self.is_held_up(),
            Source::Udp(Port::BootServer) => self.sender.is_full(Way::BootServer),
            _ => false,
        };
        input.is_open && !is_full
    }

    /// Does what the rest of the program asks; false: the end
    fn hear(&mut self) -> bool {
        while let Ok(control) = self.control.try_recv() {
            match control {
                Control::Plan(plan) => {
                    self.own = OwnAddresses::of(&plan);
                    self.shard.on_plan(plan);
                    // Files that nobody reads are let go, so that their file system can be unmounted.
                    self.shard.images().close_idle();
                }
                Control::Stop => self.stop(),
                Control::Abort => return false,
            }
        }
        true
    }

    fn stop(&mut self) {
        let now = self.clock.now();
        self.stop_at.get_or_insert(now + STOP_TIME);
        self.shard.on_stop(now);
        (self.sockets.http, self.accepts) = (None, false);
        for input in &mut self.inputs {
            input.is_open = matches!(input.source, Source::Udp(Port::Tftp | Port::Transfer));
        }
    }

    // --- Datagrams ---

    fn read(&mut self, index: usize) {
        let input = &self.inputs[index];
        if !input.is_ready || !self.may_read(input) {
            return;
        }
        let source = input.source;
        let Some(socket) = descriptor(&self.sockets, source) else { return };
        // An error other than "nothing there" is an old one (an interface went down): what is behind it can be read.
        let received = match self.batch.receive(socket) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.batch.receive(socket),
            other => other,
        };
        let received = received.unwrap_or(0);
        // Less than a batch: the kernel found nothing more, and tells when there is.
        self.inputs[index].is_ready = received == BATCH;
        let now = self.clock.now();
        for index in 0..received {
            if !self.outbox.has_room() {
                self.flush(now);
            }
            match receive::event(source, &self.batch.get(index), &self.sockets, &self.own) {
                Ok(Event::Datagram(datagram)) => self.shard.on_datagram(now, &datagram, &mut self.outbox),
                Ok(Event::Arp(network, packet)) => self.shard.on_arp(now, network, &packet, &mut self.outbox),
                Err(reason) => self.shard.stats_mut().drop(reason),
            }
        }
        self.flush(now);
    }

    /// Sends what the outbox holds and empties it
    fn flush(&mut self, now: Instant) {
        loop {
            self.held.take(&self.outbox, self.shard.stats_mut(), &self.notes);
            self.send_ready(now);
            self.sender.send(now, self.outbox.slots(), &self.sockets, self.shard.images());
            if !self.outbox.notes().is_empty() {
                self.shard.stats_mut().notes_lost += self.notes.push(self.outbox.notes());
            }
            self.outbox.clear();
            let mut has_failed = false;
            while self.outbox.has_room()
                && let Some(to) = self.sender.poll_failed()
            {
                self.shard.on_window_failed(now, to, &mut self.outbox);
                has_failed = true;
            }
            if !has_failed {
                break;
            }
        }
        self.sender.count(self.shard.stats_mut());
    }

    /// Sends the replies whose leases are on disk
    fn send_ready(&mut self, now: Instant) {
        self.held.hear(self.shard.stats_mut(), &self.notes);
        if !self.held.ready().is_empty() {
            self.sender.send(now, self.held.ready(), &self.sockets, self.shard.images());
            self.held.clear_ready();
        }
    }

    // --- Connections ---

    fn accept(&mut self) {
        let now = self.clock.now();
        if !self.accepts || now < self.accept_at {
            return;
        }
        for _ in 0..ACCEPT_TURN {
            let Some(listener) = &self.sockets.http else { return };
            match listener.accept() {
                Ok((mut socket, SocketAddr::V4(peer))) => {
                    let Some(id) = self.shard.on_accept(now, peer) else { continue };
                    let both = Interest::READABLE | Interest::WRITABLE;
                    if self.poll.registry().register(&mut socket, Token(STREAMS + id.slot()), both).is_ok() {
                        self.streams.insert(id, socket);
                    } else {
                        self.shard.on_hangup(now, id, &mut self.outbox);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.accepts = false;
                    return;
                }
                Err(error) if is_out_of_descriptors(&error) => {
                    self.accept_at = now + ACCEPT_PAUSE;
                    return;
                }
                // The client left while it waited.
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn serve_streams(&mut self) {
        if self.streams.is_ready() {
            self.streams.serve(self.clock, &mut self.shard, &mut self.outbox);
            self.flush(self.clock.now());
        }
    }

    // --- Time ---

    fn pass_time(&mut self) {
        let now = self.clock.now();
        self.sender.retry(now, &self.sockets, self.shard.images());
        for _ in 0..DEADLINE_ROUNDS {
            let is_due = self.shard.next_deadline().is_some_and(|deadline| deadline <= now);
            if !is_due || self.is_held_up() {
                break;
            }
            self.shard.on_deadline(now, &mut self.outbox);
            self.flush(now);
        }
        self.streams.on_deadline(now, &mut self.shard, &mut self.outbox);
        while let Some(id) = self.shard.poll_changed() {
            self.streams.on_changed(id);
        }
        self.flush(now);
    }
}

fn sources(sockets: &Sockets) -> impl Iterator<Item = Source> {
    let udp = [
        Some(Port::Tftp),
        sockets.transfers.as_ref().map(|_| Port::Transfer),
        sockets.boot_server.as_ref().map(|_| Port::BootServer),
    ];
    let links = sockets.links.iter().enumerate().filter(|(_, link)| link.is_some());
    let links = links.flat_map(|(network, _)| [Source::Dhcp(network), Source::Arp(network)]);
    udp.into_iter().flatten().map(Source::Udp).chain(links)
}

fn descriptor(sockets: &Sockets, source: Source) -> Option<BorrowedFd<'_>> {
    match source {
        Source::Udp(Port::Tftp) => sockets.by(Way::Tftp),
        Source::Udp(Port::Transfer) => sockets.by(Way::Transfer),
        Source::Udp(Port::BootServer) => sockets.by(Way::BootServer),
        Source::Udp(Port::Dhcp) => None,
        Source::Dhcp(network) => sockets.link(network).map(|link| link.dhcp.as_fd()),
        Source::Arp(network) => sockets.link(network).map(|link| link.arp.as_fd()),
    }
}

fn readiness(event: &Readable) -> Readiness {
    Readiness {
        readable: event.is_readable() || event.is_read_closed(),
        writable: event.is_writable(),
        half_closed: event.is_read_closed(),
        reset: event.is_error() || event.is_read_closed() && event.is_write_closed(),
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(test)]
#[path = "epoll_tests.rs"]
mod tests;
