//! A shard on io_uring: datagrams and connections come as completions, in memory that was provided before.
//!
//! - datagrams: one multishot recvmsg a socket into provided buffers; no call for them but the wait itself
//! - connections: one multishot accept, and one multishot poll each. They are read and written by the calls that the
//!   epoll driver makes: sendfile has no operation, and a response's first bytes and its file leave in one turn
//! - waiting and all that is begun: one io_uring_enter a turn, with the timeout in it
//!
//! Replies leave by the calls of [`super::send`], which take a batch each already.
//!
//! Measured beside epoll (Linux 6.18, a virtual machine with two processors and other work on them, server and load
//! pinned to one each, in turn; median of the pairs' ratios of server CPU, below 1 is better for the ring):
//!
//! | work | pairs | CPU |
//! |---|---|---|
//! | TFTP, window 1, 64 clients | 7 | 0.97 |
//! | TFTP, window 16, 64 clients | 7 | 1.00 |
//! | HTTP, 64 MiB, 64 connections | 3 | 1.00 |
//! | HTTP, 4 KiB, 64 connections kept open | 7 | 1.04 |
//! | HTTP, 4 KiB, a new connection each | 4 | 1.00 |
//!
//! All of it is within the spread of single runs on a busy machine. So `auto` is epoll, which runs everywhere.
//!
//! Multishot operations end when the kernel has no buffer, no room for completions, or no descriptor left; each is begun
//! again as soon as there is. An operation holds its socket open, so that it is cancelled when the shard closes that.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;

use super::kernel::{Kernel, Wake, descriptor, sources};
use super::sockets::Sockets;
use super::stream::{Readiness, Streams};
use super::sys::message::Received;
use super::sys::uring::{Bell, Completion, Operation, POLL_NUMBERS, Ring};
use crate::limits::{ACCEPTED_MAX, BATCH, DATAGRAM_MAX, RING_BUFFERS};
use crate::proto::http::ConnectionId;

/// Events of the bell and of connections
const BELL_EVENTS: i16 = libc::POLLIN;
const STREAM_EVENTS: i16 = libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP;
/// The bell's number; connections have their own, which begin with a generation and cannot be it
const BELL: u64 = POLL_NUMBERS - 1;

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

/// A connection's poll
#[derive(Clone, Copy)]
struct Watched {
    number: u64,
    socket: RawFd,
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
        Ok(())
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
            Operation::Poll(number) => self.on_polled(number, &completion, streams),
            Operation::Cancel => Ok(()),
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

    fn on_polled(&mut self, number: u64, completion: &Completion, streams: &mut Streams) -> io::Result<()> {
        let slot = slot_of(number);
        let watched = self.watched.get(slot).copied().flatten();
        let Some(watched) = watched.filter(|watched| watched.number == number) else { return Ok(()) };
        let ready = match completion.result {
            Ok(events) => readiness(events),
            Err(_) => Readiness { reset: true, ..Readiness::default() },
        };
        streams.on_ready(slot, ready);
        if !completion.more && !ready.reset {
            self.ring.poll(watched.socket, STREAM_EVENTS, number)?;
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

    fn watch(&mut self, id: ConnectionId, socket: &mut TcpStream) -> io::Result<()> {
        let watched = Watched { number: number_of(id), socket: socket.as_raw_fd() };
        self.ring.poll(watched.socket, STREAM_EVENTS, watched.number)?;
        if self.watched.len() <= id.slot() {
            self.watched.resize(id.slot() + 1, None);
        }
        self.watched[id.slot()] = Some(watched);
        Ok(())
    }

    fn forget(&mut self, id: ConnectionId) {
        let number = number_of(id);
        if let Some(watched) = self.watched.get_mut(id.slot())
            && watched.is_some_and(|watched| watched.number == number)
        {
            *watched = None;
        }
        self.cancelled.push(Operation::Poll(number));
    }

    fn stop_accepting(&mut self) {
        self.accepts = None;
        self.accepted.clear();
        self.cancelled.push(Operation::Accept);
    }
}

/// A poll's number: the connection's, with as much of its generation as there is room for
fn number_of(id: ConnectionId) -> u64 {
    id.to_u64() % POLL_NUMBERS
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
