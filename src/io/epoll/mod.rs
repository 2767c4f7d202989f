//! A shard on epoll (mio): readiness, then the calls.
//!
//! Edge-triggered: what the kernel says once is remembered until a call finds nothing left.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::kernel::{Kernel, Wake, descriptor, sources};
use super::receive::Source;
use super::sockets::Sockets;
use super::stream::{Readiness, Streams};
use super::sys::message::{ReceiveBatch, Received};
use super::sys::option;
use super::sys::timer::Timer;
use crate::limits::{BATCH, DATAGRAM_MAX};
use crate::proto::http::ConnectionId;

const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
const TIMER: Token = Token(2);
/// Tokens of datagram sockets begin here, those of connections at [`STREAMS`]
const SOURCES: usize = 3;
const STREAMS: usize = 1 << 20;

/// Shorter waits are ended by a timer: epoll rounds them up to a millisecond, in which a gigabit port lets 80 frames go. Only
/// the paced bursts of a window and a full socket make the shard wait so briefly.
const TIMED_WAIT: Duration = Duration::from_millis(2);

/// A datagram socket, and whether it may have something to read
struct Input {
    source: Source,
    is_ready: bool,
}

/// The epoll instance of one shard
pub(super) struct Epoll {
    poll: Poll,
    events: Events,
    timer: Timer,
    inputs: Vec<Input>,
    batch: ReceiveBatch,
    accepts: bool,
    /// How many connections of the last event wait; `None`: not asked yet
    waiting: Option<u32>,
}

impl Wake for Waker {
    fn wake(&self) {
        let _ = Self::wake(self);
    }
}

impl Epoll {
    /// Registers a shard's sockets
    ///
    /// # Errors
    /// Where the system has no descriptor or memory left for it.
    pub(super) fn new(sockets: &mut Sockets) -> io::Result<(Self, Arc<dyn Wake>)> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let waker = Arc::new(Waker::new(registry, WAKER)?);
        if let Some(listener) = &mut sockets.http {
            registry.register(listener, LISTENER, Interest::READABLE)?;
        }
        let inputs: Vec<_> = sources(sockets).map(|source| Input { source, is_ready: false }).collect();
        for (index, input) in inputs.iter().enumerate() {
            let socket = descriptor(sockets, input.source).expect("a source has a socket").as_raw_fd();
            registry.register(&mut SourceFd(&socket), Token(SOURCES + index), Interest::READABLE)?;
        }
        let timer = Timer::new()?;
        registry.register(&mut SourceFd(&timer.as_fd().as_raw_fd()), TIMER, Interest::READABLE)?;
        let events = Events::with_capacity(1024);
        let batch = ReceiveBatch::new(DATAGRAM_MAX);
        Ok((Self { poll, events, timer, inputs, batch, accepts: false, waiting: None }, waker))
    }
}

impl Kernel for Epoll {
    fn start(&mut self, _: &Sockets) -> io::Result<()> {
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>, streams: &mut Streams) -> io::Result<()> {
        if let Some(brief) = timeout.filter(|&wait| !wait.is_zero() && wait < TIMED_WAIT) {
            self.timer.set(brief)?;
        }
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            match event.token() {
                WAKER | TIMER => {}
                LISTENER => (self.accepts, self.waiting) = (true, None),
                Token(token) if token >= STREAMS => streams.on_ready(token - STREAMS, readiness(event)),
                Token(token) => self.inputs[token - SOURCES].is_ready = true,
            }
        }
        Ok(())
    }

    fn is_ready(&self, input: usize) -> bool {
        self.inputs[input].is_ready
    }

    fn listen(&mut self, input: usize, listens: bool, sockets: &Sockets) -> bool {
        let Some(socket) = descriptor(sockets, self.inputs[input].source) else { return false };
        let (socket, registry) = (socket.as_raw_fd(), self.poll.registry());
        let mut socket = SourceFd(&socket);
        let done = if listens {
            // The kernel tells of what is there already, too.
            registry.register(&mut socket, Token(SOURCES + input), Interest::READABLE)
        } else {
            registry.deregister(&mut socket)
        };
        done.is_ok()
    }

    fn receive(&mut self, input: usize, sockets: &Sockets) -> usize {
        let Some(socket) = descriptor(sockets, self.inputs[input].source) else { return 0 };
        // An error other than "nothing there" is an old one (an interface went down): what is behind it can be read.
        let received = match self.batch.receive(socket) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.batch.receive(socket),
            other => other,
        };
        let received = received.unwrap_or(0);
        // Less than a batch: the kernel found nothing more, and tells when there is.
        self.inputs[input].is_ready = received == BATCH;
        received
    }

    fn received(&self, index: usize) -> Received<'_> {
        self.batch.get(index)
    }

    fn accepts(&self) -> bool {
        self.accepts
    }

    fn accept(&mut self, sockets: &Sockets) -> io::Result<(TcpStream, SocketAddr)> {
        let listener = sockets.http.as_ref().ok_or(io::ErrorKind::WouldBlock)?;
        // To ask how many wait is cheap. An accept that finds none has made a socket and a file, and costs as one that does;
        // it is for systems that do not tell. Who comes after the question is another event.
        let waiting = match self.waiting {
            Some(waiting) => waiting,
            None => option::tcp_info(listener.as_fd()).map_or(u32::MAX, |info| info.tcpi_unacked),
        };
        if waiting == 0 {
            self.accepts = false;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let accepted = listener.accept();
        match &accepted {
            Ok(_) => self.waiting = Some(waiting - 1),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.accepts = false,
            // One that could not be accepted may wait still.
            Err(_) => self.waiting = None,
        }
        accepted
    }

    fn watch(&mut self, id: ConnectionId, socket: &mut TcpStream) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(socket, Token(STREAMS + id.slot()), both)
    }

    // Its descriptor is closed, and epoll forgets with it.
    fn forget(&mut self, _: ConnectionId) {}

    fn stop_accepting(&mut self) {
        self.accepts = false;
    }
}

fn readiness(event: &Event) -> Readiness {
    Readiness {
        readable: event.is_readable() || event.is_read_closed(),
        writable: event.is_writable(),
        half_closed: event.is_read_closed(),
        reset: event.is_error() || event.is_read_closed() && event.is_write_closed(),
    }
}
