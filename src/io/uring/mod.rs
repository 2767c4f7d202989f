//! A shard on io_uring: datagrams and requests come as completions, in memory that was provided before.
//!
//! - datagrams: one multishot recvmsg a socket into provided buffers; no call for them but the wait itself
//! - connections: one multishot accept, and one operation each at a time: a read into a provided buffer while the shard waits
//!   for a request, else a poll for room or for the client's end
//! - answers that lie in memory with their heads: one io_uring_enter for up to a batch of them. The rest (files by sendfile,
//!   which the ring has no operation for, a new connection's first request, what a full socket did not take) is done by
//!   [`super::stream`], as under epoll
//! - waiting and all that is begun: one io_uring_enter a turn, with the timeout in it
//!
//! TFTP and DHCP replies leave by the calls of [`super::send`], which take a batch each already.
//!
//! Measured beside epoll (`tools/compare --server reveille --server reveille-uring`; Linux 6.18, a virtual machine with two
//! processors, server and load pinned to one each, in turn, three pairs; above 1 is better for the ring):
//!
//! | work | ring |
//! |---|---|
//! | HTTP, 4 KiB, 64 connections kept open: requests a CPU second | 1.16 |
//! | HTTP, 4 KiB, a new connection each: requests a CPU second | 0.93 |
//! | HTTP, 64 MiB: bytes a CPU second | 1.03 |
//! | TFTP, window 1: bytes a CPU second | 0.93 to 1.03 |
//! | TFTP, window 16: bytes a CPU second | 1.01, but 0.55 in a run with much else on the machine |
//!
//! So `auto` is epoll: it is ahead where every machine's loader is read over a new connection, and it runs everywhere.
//!
//! What was tried and is left out, by bare loops (`tools/compare --server floor-ring-…`; Linux 6.18, two processors, veth):
//!
//! | tried | beside | came out |
//! |---|---|---|
//! | registered files (accept into the ring's table) | the process's descriptors | 1.02 and 1.01 of the requests a CPU second: within the spread |
//! | send without a copy, registered memory, 64 MiB files | sendfile | 0.32 beside 0.19 CPU s a GB: a veth copies after all |
//! | send from memory, 64 MiB files | sendfile | 0.32 beside 0.19 |
//! | TFTP windows as operations of the ring | sendmmsg | 1.01 and 1.02 of the CPU (window 1 and 16) |
//! | multishot read of connections | a read a request | 1.06 of the requests a CPU second, but bytes that nobody has asked for take buffers from others |
//!
//! Multishot operations end when the kernel has no buffer, no room for completions, or no descriptor left; each is begun
//! again as soon as there is. An operation holds its socket open, so that it is cancelled when the shard closes that.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;

use super::kernel::{Kernel, Wake, descriptor, sources};
use super::sockets::Sockets;
use super::stream::{Awaited, Readiness, Round, Streams, load_body};
use super::sys::message::Received;
use super::sys::uring::{Bell, Completion, NUMBERS, Operation, Ring};
use crate::boot::image::ImageId;
use crate::content::Tree;
use crate::limits::{ACCEPTED_MAX, BATCH, DATAGRAM_MAX, RING_BUFFERS};
use crate::proto::http::{ConnectionId, Output};
use crate::shard::Shard;

/// Events of the bell, and of connections that wait for their clients' end or for room
const BELL_EVENTS: i16 = libc::POLLIN;
const END_EVENTS: i16 = libc::POLLIN;
const ROOM_EVENTS: i16 = libc::POLLOUT;
/// The bell's number; connections have their own, which begin with a generation and cannot be it
const BELL: u64 = NUMBERS - 1;

/// A datagram in a buffer
#[derive(Clone, Copy)]
struct Filled {
    group: u16,
    buffer: u16,
    len: u32,
}

/// A datagram socket, and what it received. Its group of buffers has its number.
struct Input {
    socket: RawFd,
    filled: VecDeque<Filled>,
    is_begun: bool,
}

/// A connection, and what of it is under way: one operation at most
#[derive(Clone, Copy)]
struct Watched {
    id: ConnectionId,
    number: u64,
    socket: RawFd,
    under_way: Option<Operation>,
}

/// Bytes of a connection in a buffer
#[derive(Clone, Copy)]
struct Request {
    number: u64,
    buffer: u16,
    len: u32,
}

/// A response that leaves with the batch, from memory
#[derive(Clone, Copy)]
struct Answer {
    id: ConnectionId,
    socket: RawFd,
    body: Option<(ImageId, u64, usize)>,
}

/// The ring of one shard
pub(super) struct Uring {
    ring: Ring,
    bell: Arc<Bell>,
    inputs: Vec<Input>,
    /// The batch that is being looked at; the kernel has its buffers again with the next
    taken: Vec<Filled>,
    /// Whether the kernel is accepting; `None`: there is nothing to accept any more
    accepts: Option<bool>,
    accepted: VecDeque<io::Result<OwnedFd>>,
    /// By connection's slot
    watched: Vec<Option<Watched>>,
    /// What connections sent and the shard has not seen
    requests: VecDeque<Request>,
    /// Connections that found no buffer, and are read when there is one
    starved: VecDeque<u64>,
    answers: Vec<Answer>,
    /// What is to be ended with the next turn
    cancelled: Vec<Operation>,
}

impl Wake for Bell {
    fn wake(&self) {
        self.ring();
    }
}

/// Whether this kernel lets this process have a ring
///
/// # Errors
/// Why not, and the way out, in words for the operator.
pub fn probe() -> Result<(), String> {
    Ring::new(1, DATAGRAM_MAX).map(drop).map_err(|error| refusal(&error))
}

fn refusal(error: &io::Error) -> String {
    let why = match error.raw_os_error() {
        Some(libc::ENOSYS) => "this kernel has no io_uring".to_owned(),
        Some(libc::EPERM | libc::EACCES) => "this system forbids io_uring to this process (the sysctl \
             kernel.io_uring_disabled, or the seccomp filter of a container)"
            .to_owned(),
        Some(libc::EINVAL) => "this kernel's io_uring is older than Linux 6.1".to_owned(),
        _ if error.kind() == io::ErrorKind::Unsupported => {
            "this kernel's io_uring is older than Linux 6.1".to_owned()
        }
        Some(libc::ENOMEM) => format!("io_uring: {error} (raise the limit of locked memory, ulimit -l)"),
        _ => format!("io_uring: {error}"),
    };
    format!("{why}: use --io epoll, which serves the same")
}

impl Uring {
    /// A ring for a shard's sockets
    ///
    /// # Errors
    /// Where the kernel has or allows none.
    pub(super) fn new(sockets: &Sockets) -> io::Result<(Self, Arc<dyn Wake>)> {
        let inputs: Vec<_> = (sources(sockets))
            .map(|source| {
                let socket = descriptor(sockets, source).expect("a source has a socket").as_raw_fd();
                Input { socket, filled: VecDeque::with_capacity(RING_BUFFERS.into()), is_begun: false }
            })
            .collect();
        let ring = Ring::new(inputs.len(), DATAGRAM_MAX)
            .map_err(|error| io::Error::new(error.kind(), refusal(&error)))?;
        let bell = Arc::new(Bell::new()?);
        let uring = Self {
            ring,
            bell: Arc::clone(&bell),
            inputs,
            taken: Vec::with_capacity(BATCH),
            accepts: sockets.http.as_ref().map(|_| false),
            accepted: VecDeque::new(),
            watched: Vec::new(),
            requests: VecDeque::with_capacity(RING_BUFFERS.into()),
            starved: VecDeque::new(),
            answers: Vec::with_capacity(BATCH),
            cancelled: Vec::new(),
        };
        Ok((uring, bell))
    }

    /// Begins what ended or was asked for
    fn begin(&mut self) -> io::Result<()> {
        for (input, group) in self.inputs.iter_mut().zip(0..) {
            let held = self.taken.iter().filter(|filled| filled.group == group).count();
            if !input.is_begun && input.filled.len() + held < RING_BUFFERS.into() {
                self.ring.receive(input.socket, group)?;
                input.is_begun = true;
            }
        }
        while let Some(&operation) = self.cancelled.last() {
            self.ring.cancel(operation)?;
            self.cancelled.pop();
        }
        // Only as many as there are buffers for: the others would end at once, again and again.
        for _ in self.requests.len()..self.starved.len().min(RING_BUFFERS.into()) {
            if let Some(number) = self.starved.pop_front() {
                self.read(number, false)?;
            }
        }
        Ok(())
    }

    /// The connection that has this number, if it is not gone
    fn watched(&mut self, number: u64) -> Option<&mut Watched> {
        let watched = self.watched.get_mut(slot_of(number))?.as_mut()?;
        (watched.number == number).then_some(watched)
    }

    /// Begins to read from a connection, unless something of it is under way. `later`: it has sent nothing yet.
    fn read(&mut self, number: u64, later: bool) -> io::Result<()> {
        let Some(watched) = self.watched(number).filter(|watched| watched.under_way.is_none()) else {
            return Ok(());
        };
        watched.under_way = Some(Operation::Read(number));
        let socket = watched.socket;
        self.ring.read(socket, number, later)
    }

    fn take_back(&mut self) {
        for filled in self.taken.drain(..) {
            self.ring.give_back(filled.group, filled.buffer);
        }
    }

    fn on_completion(&mut self, completion: Completion, streams: &mut Streams) -> io::Result<()> {
        match completion.operation {
            Operation::Receive(group) => self.on_received(group, &completion),
            Operation::Accept => {
                self.on_accepted(completion);
                Ok(())
            }
            Operation::Poll(BELL) if completion.more => Ok(()),
            Operation::Poll(BELL) => self.ring.poll(self.bell.descriptor(), BELL_EVENTS, BELL),
            Operation::Poll(number) => {
                self.on_polled(number, &completion, streams);
                Ok(())
            }
            Operation::Read(number) => {
                self.on_read(number, &completion, streams);
                Ok(())
            }
            Operation::Send(_) | Operation::Cancel => Ok(()),
        }
    }

    fn on_received(&mut self, group: u16, completion: &Completion) -> io::Result<()> {
        let input = &mut self.inputs[usize::from(group)];
        input.is_begun = completion.more;
        match (&completion.result, completion.buffer) {
            (&Ok(len), Some(buffer)) => input.filled.push_back(Filled { group, buffer, len }),
            (_, Some(buffer)) => self.ring.give_back(group, buffer),
            // Beginning again would end the same way, for ever.
            (Err(error), None) if is_final(error) => {
                return Err(io::Error::new(error.kind(), error.to_string()));
            }
            // No buffer, or an error of the past, such as an interface that went down.
            _ => {}
        }
        Ok(())
    }

    fn on_accepted(&mut self, completion: Completion) {
        let Some(accepts) = &mut self.accepts else { return };
        *accepts = completion.more;
        match (completion.accepted, completion.result) {
            // As with a full backlog, the client is told nothing.
            (Some(_), _) if self.accepted.len() >= ACCEPTED_MAX => {}
            (Some(socket), _) => self.accepted.push_back(Ok(socket)),
            (None, Err(error)) => self.accepted.push_back(Err(error)),
            (None, Ok(_)) => {}
        }
    }

    fn on_polled(&mut self, number: u64, completion: &Completion, streams: &mut Streams) {
        let Some(watched) = self.watched(number) else { return };
        watched.under_way = None;
        let ready = match completion.result {
            Ok(events) => readiness(events),
            Err(_) => Readiness { reset: true, ..Readiness::default() },
        };
        streams.on_ready(slot_of(number), ready);
    }

    fn on_read(&mut self, number: u64, completion: &Completion, streams: &mut Streams) {
        let Some(watched) = self.watched(number) else {
            if let Some(buffer) = completion.buffer {
                self.ring.give_back(self.ring.connections(), buffer);
            }
            return;
        };
        watched.under_way = None;
        match (&completion.result, completion.buffer) {
            (&Ok(len), Some(buffer)) if len > 0 => self.requests.push_back(Request { number, buffer, len }),
            (Err(error), None) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.starved.push_back(number);
            }
            // The client has ended while nothing was being sent to it, or the connection is broken.
            (_, buffer) => {
                if let Some(buffer) = buffer {
                    self.ring.give_back(self.ring.connections(), buffer);
                }
                streams.on_ready(slot_of(number), Readiness { reset: true, ..Readiness::default() });
            }
        }
    }

    /// Takes requests to the shard; lists the answers that can leave at once
    fn take_requests(&mut self, streams: &mut Streams, round: &mut Round<'_>) -> io::Result<()> {
        let Round { now, shard, tap, .. } = round;
        let now = *now;
        shard.images().set_now(now);
        for _ in 0..BATCH {
            let Some(Request { number, buffer, len }) = self.requests.pop_front() else { break };
            let watched = self.watched(number).copied();
            if let Some(Watched { socket, id, .. }) = watched {
                let bytes = self.ring.bytes(buffer, len);
                let is_captured = streams.on_read(now, id, bytes, *tap);
                shard.on_bytes(now, id, bytes);
                let body = load_body(now, shard, id);
                match shard.poll_output(id) {
                    Output::Wait => self.read(number, true)?,
                    Output::Bytes { more, .. }
                        if (body.is_some() || !more) && !is_captured && !shard.ends_next(id) =>
                    {
                        self.answers.push(Answer { id, socket, body });
                    }
                    _ => streams.on_changed(id),
                }
            }
            self.ring.give_back(self.ring.connections(), buffer);
        }
        Ok(())
    }
}

impl Kernel for Uring {
    fn start(&mut self, _: &Sockets) -> io::Result<()> {
        self.ring.enable()?;
        self.ring.poll(self.bell.descriptor(), BELL_EVENTS, BELL)
    }

    fn wait(&mut self, timeout: Option<Duration>, streams: &mut Streams) -> io::Result<()> {
        self.begin()?;
        self.ring.wait(timeout)?;
        while let Some(completion) = self.ring.poll_completion() {
            self.on_completion(completion, streams)?;
        }
        Ok(())
    }

    fn is_ready(&self, input: usize) -> bool {
        !self.inputs[input].filled.is_empty()
    }

    // A multishot receive is told of each datagram; to end it and begin it anew costs more than that.
    fn listen(&mut self, _: usize, _: bool, _: &Sockets) -> bool {
        false
    }

    fn receive(&mut self, input: usize, _: &Sockets) -> usize {
        self.take_back();
        let filled = &mut self.inputs[input].filled;
        let count = filled.len().min(BATCH);
        self.taken.extend(filled.drain(..count));
        count
    }

    fn received(&self, index: usize) -> Received<'_> {
        let Filled { group, buffer, len } = self.taken[index];
        self.ring.received(group, buffer, len)
    }

    fn accepts(&self) -> bool {
        !self.accepted.is_empty() || self.accepts == Some(false)
    }

    fn accept(&mut self, sockets: &Sockets) -> io::Result<(TcpStream, SocketAddr)> {
        if let Some(accepted) = self.accepted.pop_front() {
            let stream = TcpStream::from_std(accepted?.into());
            let peer = stream.peer_addr()?;
            return Ok((stream, peer));
        }
        if let (Some(accepts @ false), Some(listener)) = (&mut self.accepts, &sockets.http) {
            self.ring.accept(listener.as_raw_fd())?;
            *accepts = true;
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    // What it waits for is begun by `on_waiting`.
    fn watch(&mut self, id: ConnectionId, socket: &mut TcpStream) -> io::Result<()> {
        let (number, socket) = (number_of(id), socket.as_raw_fd());
        if self.watched.len() <= id.slot() {
            self.watched.resize(id.slot() + 1, None);
        }
        self.watched[id.slot()] = Some(Watched { id, number, socket, under_way: None });
        Ok(())
    }

    fn answer(&mut self, streams: &mut Streams, round: &mut Round<'_>) -> io::Result<()> {
        self.take_requests(streams, round)?;
        let Round { clock, now, shard, outbox, .. } = round;
        let mut answers = mem::take(&mut self.answers);
        if !answers.is_empty() {
            self.ring.send(answers.iter().map(|answer| (answer.socket, parts(shard, answer))))?;
        }
        *now = clock.now();
        for (index, answer) in answers.iter().enumerate() {
            if let Ok(len) = self.ring.sent(index) {
                shard.on_written(*now, answer.id, len as u64, outbox);
            }
            match shard.poll_output(answer.id) {
                Output::Wait => self.read(number_of(answer.id), true)?,
                // What the kernel did not take, and why, is found out there.
                _ => streams.on_changed(answer.id),
            }
        }
        answers.clear();
        self.answers = answers;
        Ok(())
    }

    fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    fn on_waiting(&mut self, id: ConnectionId, awaited: Awaited) -> io::Result<()> {
        let number = number_of(id);
        let events = match awaited {
            Awaited::Request => return self.read(number, true),
            Awaited::Room => ROOM_EVENTS,
            Awaited::End => END_EVENTS,
        };
        let Some(watched) = self.watched(number).filter(|watched| watched.under_way.is_none()) else {
            return Ok(());
        };
        watched.under_way = Some(Operation::Poll(number));
        let socket = watched.socket;
        self.ring.poll_once(socket, events, number)
    }

    fn forget(&mut self, id: ConnectionId) {
        if let Some(watched) = self.watched(number_of(id)) {
            let under_way = watched.under_way;
            self.watched[id.slot()] = None;
            self.cancelled.extend(under_way);
        }
    }

    fn stop_accepting(&mut self) {
        self.accepts = None;
        self.accepted.clear();
        self.cancelled.push(Operation::Accept);
    }
}

/// The bytes of an answer that are in memory: its head, or what is left of it, and its body
fn parts<'s>(shard: &'s Shard<Tree>, answer: &Answer) -> [&'s [u8]; 2] {
    let Output::Bytes { bytes, .. } = shard.poll_output(answer.id) else { return [&[], &[]] };
    let resident = |(id, offset, len)| shard.peek_images().resident(id, offset, len);
    [bytes, answer.body.and_then(resident).unwrap_or(&[])]
}

/// A connection's number, with as much of its generation as there is room for
fn number_of(id: ConnectionId) -> u64 {
    id.to_u64() % NUMBERS
}

fn slot_of(number: u64) -> usize {
    ConnectionId::from_u64(number).slot()
}

/// Whether an operation that ended so is one that this kernel cannot do
fn is_final(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EBADF | libc::ENOTSOCK))
}

fn readiness(events: u32) -> Readiness {
    let has = |event: i16| events & u32::from(event.unsigned_abs()) != 0;
    let hung_up = has(libc::POLLHUP);
    let half_closed = hung_up || has(libc::POLLRDHUP);
    Readiness {
        readable: has(libc::POLLIN) || half_closed,
        writable: has(libc::POLLOUT),
        half_closed,
        reset: has(libc::POLLERR) || hung_up,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_why_and_the_way_out() {
        for (error, why) in [
            (libc::ENOSYS, "this kernel has no io_uring"),
            (libc::EPERM, "this system forbids io_uring"),
            (libc::EINVAL, "older than Linux 6.1"),
            (libc::ENOMEM, "ulimit -l"),
        ] {
            let said = refusal(&io::Error::from_raw_os_error(error));
            assert!(said.contains(why) && said.ends_with("use --io epoll, which serves the same"), "{said}");
        }
    }
}
