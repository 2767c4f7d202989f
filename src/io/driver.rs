//! One shard's event loop: wait, read a batch, let the shard answer, flush, repeat.
//!
//! How it waits and receives is a [`Kernel`]'s: epoll's or io_uring's. Each turn takes one batch of each socket and one
//! turn of each connection, so that no client waits for another's megabytes. The clock is read once a batch.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time;

use crossbeam_channel::{Receiver, Sender as ChannelSender};
use mio::net::TcpStream;

use super::clock::Clock;
use super::epoll::Epoll;
use super::flush;
use super::held::Held;
use super::kernel::{Kernel, Wake, sources};
use super::notes::Notes;
use super::pace::Pace;
use super::receive::{self, Event, OwnAddresses, Source};
use super::send::Sender;
use super::sockets::Sockets;
use super::stream::{Round, Streams};
use super::tap::{Tap, TapQueue};
use super::uring::Uring;
use crate::boot::plan::Plan;
use crate::content::{Mounted, Tree};
use crate::limits::{ACCEPT_PAUSE, ACCEPT_TURN, STOP_TIME};
use crate::proto::outbox::{Outbox, Port};
use crate::proto::wires::Wires;
use crate::shard::Shard;
use crate::stats::Stats;
use crate::store::Committer;
use crate::time::Instant;

/// Rounds of deadlines that are due before events have their turn
const DEADLINE_ROUNDS: usize = 16;

/// What a shard waits and receives by
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// epoll
    Epoll,
    /// io_uring
    Uring,
}

/// What the rest of the program tells a shard
#[derive(Debug)]
pub enum Control {
    /// A new plan is in force, and these wires where their rates have changed
    Plan(Arc<Plan>, Option<Arc<Wires>>),
    /// These images are served from now on
    Images(Box<Mounted>),
    /// Nothing new begins; what has begun ends within [`STOP_TIME`]
    Stop,
    /// The end, at once
    Abort,
}

/// Reaches a shard's loop from other threads
#[derive(Clone, Debug)]
pub struct Remote {
    control: ChannelSender<Control>,
    waker: Arc<dyn Wake>,
}

impl Remote {
    /// Tells the shard, and wakes it. A shard that has ended hears nothing.
    pub fn tell(&self, control: Control) {
        let _ = self.control.send(control);
        self.wake();
    }

    /// Wakes the shard: its store has something to tell
    pub fn wake(&self) {
        self.waker.wake();
    }
}

/// A datagram socket
struct Input {
    source: Source,
    is_open: bool,
    /// DHCP's sockets only
    pace: Pace,
}

/// One shard and its sockets
pub struct Driver {
    // Before the sockets: the kernel lets go of them first.
    kernel: Box<dyn Kernel>,
    clock: Clock,
    shard: Shard<Tree>,
    outbox: Outbox,
    sockets: Sockets,
    own: OwnAddresses,
    inputs: Vec<Input>,
    sender: Sender,
    held: Held,
    streams: Streams,
    /// Connections are accepted from that moment on
    accept_at: Instant,
    control: Receiver<Control>,
    notes: Arc<Notes>,
    /// Where a capture is kept
    tap: Option<Tap>,
    /// When the shard ends, whatever is under way
    stop_at: Option<Instant>,
}

impl Driver {
    /// Registers a shard's sockets; nothing happens before [`Driver::run`]
    ///
    /// # Errors
    /// Where the system has no descriptor or memory left for it.
    pub fn new(
        way: Way,
        shard: Shard<Tree>,
        mut sockets: Sockets,
        clock: Clock,
        notes: Arc<Notes>,
    ) -> io::Result<(Self, Remote)> {
        let (kernel, waker): (Box<dyn Kernel>, _) = match way {
            Way::Epoll => Epoll::new(&mut sockets).map(|(epoll, waker)| (Box::new(epoll) as _, waker))?,
            Way::Uring => Uring::new(&sockets).map(|(uring, waker)| (Box::new(uring) as _, waker))?,
        };
        let inputs =
            sources(&sockets).map(|source| Input { source, is_open: true, pace: Pace::default() }).collect();
        let (tell, control) = crossbeam_channel::unbounded();
        let driver = Self {
            kernel,
            own: OwnAddresses::of(shard.plan()),
            sender: Sender::new(shard.plan().networks().len()),
            clock,
            shard,
            outbox: Outbox::new(),
            sockets,
            inputs,
            held: Held::default(),
            streams: Streams::new(),
            accept_at: Instant::ZERO,
            control,
            notes,
            tap: None,
            stop_at: None,
        };
        Ok((driver, Remote { control: tell, waker }))
    }

    /// Makes leases durable by this store
    pub fn set_committer(&mut self, committer: Committer) {
        self.held.set_committer(committer);
    }

    /// Shows its conversations there
    ///
    /// # Errors
    /// Where a socket does not tell its port.
    pub fn set_tap(&mut self, queue: Arc<TapQueue>) -> io::Result<()> {
        self.tap = Some(Tap::new(queue, &self.sockets)?);
        Ok(())
    }

    /// Serves until it is told to stop; returns the counters
    ///
    /// # Errors
    /// Leases could not be written at the end, or waiting for events failed, which only a fault of this program explains.
    pub fn run(mut self) -> io::Result<Stats> {
        self.kernel.start(&self.sockets)?;
        let mut now = self.clock.now();
        loop {
            let timeout = self.timeout(now);
            self.kernel.wait(timeout, &mut self.streams)?;
            if !self.hear() {
                break;
            }
            for index in 0..self.inputs.len() {
                self.read(index);
            }
            self.accept();
            self.serve_streams()?;
            self.tell_waiting()?;
            now = self.clock.now();
            self.pass_time(now);
            if self.stop_at.is_some_and(|stop_at| self.is_idle() || now >= stop_at) {
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

    /// How long nothing needs to be done unless something happens
    fn timeout(&self, now: Instant) -> Option<time::Duration> {
        let can_read = self
            .inputs
            .iter()
            .enumerate()
            .any(|(index, input)| self.kernel.is_ready(index) && self.may_read(input));
        let accepts = self.kernel.accepts() && self.sockets.http.is_some();
        let can_accept = accepts && self.accept_at <= now;
        if can_read || can_accept || self.streams.is_ready() || self.kernel.has_requests() {
            return Some(time::Duration::ZERO);
        }
        let shard = self.shard.next_deadline().filter(|_| !self.is_held_up());
        let accept = accepts.then_some(self.accept_at);
        let polls =
            self.inputs.iter().filter(|input| input.is_open).filter_map(|input| input.pace.next_deadline());
        let deadlines =
            [shard, accept, self.sender.next_deadline(), self.streams.next_deadline(), self.stop_at];
        let next = deadlines.into_iter().flatten().chain(polls).min()?;
        Some(time::Duration::from_micros(next.since(now).as_micros()))
    }

    /// Whether transfers wait for a full socket: neither their clients nor their timers are listened to meanwhile
    fn is_held_up(&self) -> bool {
        self.sender.is_full(flush::Way::Transfer) || self.sender.is_full(flush::Way::Tftp)
    }

    fn may_read(&self, input: &Input) -> bool {
        let is_full = match input.source {
            Source::Udp(Port::Tftp | Port::Transfer) => self.is_held_up(),
            Source::Udp(Port::BootServer) => self.sender.is_full(flush::Way::BootServer),
            _ => false,
        };
        input.is_open && !is_full
    }

    /// Does what the rest of the program asks; false: the end
    fn hear(&mut self) -> bool {
        while let Ok(control) = self.control.try_recv() {
            match control {
                Control::Plan(plan, wires) => {
                    self.own = OwnAddresses::of(&plan);
                    self.shard.on_plan(plan);
                    if let Some(wires) = wires {
                        self.shard.share_wires(self.clock.now(), wires);
                    }
                    // Files that nobody reads are let go, so that their file system can be unmounted.
                    self.shard.images().close_idle();
                }
                Control::Images(mounted) => self.shard.images().remount(*mounted),
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
        self.kernel.stop_accepting();
        self.sockets.http = None;
        for input in &mut self.inputs {
            input.is_open = matches!(input.source, Source::Udp(Port::Tftp | Port::Transfer));
        }
    }

    // --- Datagrams ---

    fn read(&mut self, index: usize) {
        let input = &self.inputs[index];
        let is_due = || input.pace.next_deadline().is_some_and(|due| due <= self.clock.now());
        if !(self.kernel.is_ready(index) || is_due()) || !self.may_read(input) {
            return;
        }
        let source = input.source;
        let received = self.kernel.receive(index, &self.sockets);
        let now = self.clock.now();
        if matches!(source, Source::Dhcp(_)) {
            self.set_pace(index, now, received);
        }
        self.shard.images().set_now(now);
        for index in 0..received {
            if !self.outbox.has_room() {
                self.flush(now);
            }
            match receive::event(source, &self.kernel.received(index), &self.sockets, &self.own) {
                Ok(Event::Datagram(datagram)) => {
                    let noted = self.outbox.notes().len();
                    self.shard.on_datagram(now, &datagram, &mut self.outbox);
                    if let Some(tap) = &self.tap {
                        tap.on_datagram(now, &datagram, &self.outbox.notes()[noted..]);
                    }
                }
                Ok(Event::Arp(network, packet)) => self.shard.on_arp(now, network, &packet, &mut self.outbox),
                Err(reason) => self.shard.stats_mut().drop(reason),
            }
        }
        self.flush(now);
    }

    /// Polls a socket that is busy, and listens to one that is not
    fn set_pace(&mut self, index: usize, now: Instant, received: usize) {
        let pace = &mut self.inputs[index].pace;
        let changes = pace.on_received(now, received);
        if changes && !self.kernel.listen(index, !pace.is_polled(), &self.sockets) {
            pace.on_refused();
        }
    }

    /// Sends what the outbox holds and empties it
    fn flush(&mut self, now: Instant) {
        loop {
            self.held.take(&mut self.outbox, self.shard.stats_mut(), &self.notes);
            self.send_ready(now);
            if let Some(tap) = &self.tap {
                tap.on_replies(now, self.outbox.slots());
            }
            self.sender.send(now, self.outbox.slots(), &self.sockets, self.shard.images());
            while let Some(sentence) = self.shard.images().poll_sentence() {
                self.notes.say(sentence);
            }
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
            if let Some(tap) = &self.tap {
                tap.on_replies(now, self.held.ready());
            }
            self.sender.send(now, self.held.ready(), &self.sockets, self.shard.images());
            self.held.clear_ready();
        }
    }

    // --- Connections ---

    fn accept(&mut self) {
        if !self.kernel.accepts() {
            return;
        }
        let mut now = self.clock.now();
        if now < self.accept_at {
            return;
        }
        for _ in 0..ACCEPT_TURN {
            if !self.outbox.has_room() {
                self.flush(now);
            }
            match self.kernel.accept(&self.sockets) {
                Ok((socket, SocketAddr::V4(peer))) => now = self.begin(now, socket, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if is_out_of_descriptors(&error) => {
                    self.accept_at = now + ACCEPT_PAUSE;
                    break;
                }
                // The client left while it waited.
                Ok(_) | Err(_) => {}
            }
        }
        self.flush(now);
    }

    /// Gives a new connection its first turn; returns when that ended
    fn begin(&mut self, now: Instant, socket: TcpStream, peer: SocketAddrV4) -> Instant {
        let Some(id) = self.shard.on_accept(now, peer) else { return now };
        let (streams, kernel, mut round) = self.round(now);
        if let Some(socket) = streams.begin(id, socket, &mut round)
            && kernel.watch(id, socket).is_err()
        {
            streams.abandon(id, &mut round);
        }
        round.now
    }

    fn serve_streams(&mut self) -> io::Result<()> {
        if self.kernel.has_requests() {
            let (streams, kernel, mut round) = self.round(self.clock.now());
            kernel.answer(streams, &mut round)?;
            let now = round.now;
            self.flush(now);
        }
        if self.streams.is_ready() {
            let (streams, _, mut round) = self.round(self.clock.now());
            streams.serve(&mut round);
            let now = round.now;
            self.forget_closed();
            self.flush(now);
        }
        Ok(())
    }

    /// What connections have their turns with, and what is needed beside it
    fn round(&mut self, now: Instant) -> (&mut Streams, &mut dyn Kernel, Round<'_>) {
        let (clock, tap) = (self.clock, self.tap.as_ref());
        let round = Round { clock, now, shard: &mut self.shard, outbox: &mut self.outbox, tap };
        (&mut self.streams, &mut *self.kernel, round)
    }

    fn tell_waiting(&mut self) -> io::Result<()> {
        while let Some((id, awaited)) = self.streams.poll_waiting() {
            self.kernel.on_waiting(id, awaited)?;
        }
        Ok(())
    }

    fn forget_closed(&mut self) {
        while let Some(id) = self.streams.poll_closed() {
            self.kernel.forget(id);
        }
    }

    // --- Time ---

    fn pass_time(&mut self, now: Instant) {
        self.sender.retry(now, &self.sockets, self.shard.images());
        for _ in 0..DEADLINE_ROUNDS {
            let is_due = self.shard.next_deadline().is_some_and(|deadline| deadline <= now);
            if !is_due || self.is_held_up() {
                break;
            }
            self.shard.on_deadline(now, &mut self.outbox);
            if let Some(tap) = &self.tap {
                tap.on_notes(now, self.outbox.notes());
            }
            self.flush(now);
        }
        let (streams, _, mut round) = self.round(now);
        streams.on_deadline(&mut round);
        self.forget_closed();
        self.shard.on_recorded(now);
        while let Some(id) = self.shard.poll_changed() {
            self.streams.on_changed(id);
        }
        self.flush(now);
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
