//! TCP connections: bytes to the shard, and what it says in return to the kernel.
//!
//! A connection is read only while the shard waits for a request, so that a client that sends more than it reads is slowed
//! by TCP itself. Files leave by sendfile, a part a turn, and the next connection has its turn; the socket is corked meanwhile,
//! so that the kernel makes whole segments of its parts. An idle connection costs its descriptor and a few bytes; the buffer
//! is the shard's.
//!
//! A connection has its first turn before the kernel is asked to watch it: the request is there with it (the listener's
//! `TCP_DEFER_ACCEPT`), and what is answered and closed at once, as for lpxelinux, is never watched at all.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::os::fd::AsFd;

use mio::net::TcpStream;
use socket2::SockRef;

use super::clock::Clock;
use super::sys::file;
use super::tap::{Flow, Tap};
use crate::boot::image::ImageId;
use crate::content::Tree;
use crate::limits::{
    BODY_IN_MEMORY_MAX, LAST_SEGMENT_MAX, LINGER_BYTES, LINGER_TIME, STREAM_FIRST_TURN_BYTES,
    STREAM_READ_BYTES, STREAM_ROUND_BYTES, STREAM_TURN_BYTES, STREAM_TURNS, TOGETHER_BYTES_MAX,
};
use crate::proto::http::{ConnectionId, Output};
use crate::proto::outbox::Outbox;
use crate::shard::Shard;
use crate::time::Instant;

/// What the kernel says of a connection. Readiness comes once (edge-triggered) and is remembered until it is used up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Readiness {
    /// Bytes, or the end of them, can be read
    pub(super) readable: bool,
    /// Bytes can be written
    pub(super) writable: bool,
    /// The client has sent its last byte
    pub(super) half_closed: bool,
    /// The connection is gone in both directions
    pub(super) reset: bool,
}

struct Stream {
    socket: TcpStream,
    id: ConnectionId,
    ready: Readiness,
    is_watched: bool,
    is_queued: bool,
    /// What is written waits for a whole segment (`TCP_CORK`)
    is_corked: bool,
    /// Closed for sending: what the client still sends is read and dropped, up to so many bytes, since a reset would take
    /// the last response with it (RFC 9112 §9.6)
    lingering: Option<usize>,
    /// Where a capture is kept
    flow: Option<Flow>,
}

/// What a connection waits for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// A request
    Request,
    /// Room for what is to be sent
    Room,
    /// The client's end, or bytes that nobody wants any more
    End,
}

/// What connections have their turns with
pub(super) struct Round<'r> {
    pub(super) clock: Clock,
    /// When the round began, or something was written last
    pub(super) now: Instant,
    pub(super) shard: &'r mut Shard<Tree>,
    pub(super) outbox: &'r mut Outbox,
    /// Where a capture is kept
    pub(super) tap: Option<&'r Tap>,
}

/// What a turn of a connection ends with
#[derive(PartialEq, Eq)]
enum Turn {
    /// Until the kernel says more
    Waits,
    /// It can go on; others first
    Again,
    /// All is sent: it is to be closed
    Ends,
    /// It is closed, or broken
    Gone,
}

/// Why nothing was written
enum Unsent {
    /// The socket has no room
    Later,
    /// By a signal
    Interrupted,
    /// The image cannot be read, or is another by now
    Image,
    /// The connection is broken
    Broken,
}

/// The connections of one shard, by their slot in the shard's table
pub(super) struct Streams {
    slots: Vec<Option<Stream>>,
    /// Those with something to do, each once
    queue: VecDeque<usize>,
    lingering: VecDeque<(Instant, ConnectionId)>,
    /// Closed since the driver last asked
    closed: Vec<ConnectionId>,
    /// Those whose turn ended so since the driver last asked
    waiting: Vec<(ConnectionId, Awaited)>,
    buffer: Vec<u8>,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            queue: VecDeque::new(),
            lingering: VecDeque::new(),
            closed: Vec::new(),
            waiting: Vec::new(),
            buffer: vec![0; STREAM_READ_BYTES],
        }
    }

    /// Keeps an accepted connection and gives it its first turn. Returns the socket, to be watched, where it goes on after that.
    pub(super) fn begin(
        &mut self,
        id: ConnectionId,
        socket: TcpStream,
        round: &mut Round<'_>,
    ) -> Option<&mut TcpStream> {
        if self.slots.len() <= id.slot() {
            self.slots.resize_with(id.slot() + 1, || None);
        }
        let ready = Readiness { readable: true, writable: true, ..Readiness::default() };
        let flow = round.tap.and_then(|tap| Flow::open(tap, round.now, &socket));
        let (is_watched, is_queued, is_corked, lingering) = (false, false, false, None);
        self.slots[id.slot()] =
            Some(Stream { socket, id, ready, is_watched, is_queued, is_corked, lingering, flow });
        self.give_turn(id.slot(), STREAM_FIRST_TURN_BYTES, round);
        let stream = self.slots[id.slot()].as_mut()?;
        stream.is_watched = true;
        Some(&mut stream.socket)
    }

    /// A connection cannot be watched: it ends here
    pub(super) fn abandon(&mut self, id: ConnectionId, round: &mut Round<'_>) {
        if let Some(stream) = &mut self.slots[id.slot()] {
            stream.is_watched = false;
            self.close(id, round);
        }
    }

    /// The kernel says something of the connection in that slot
    pub(super) fn on_ready(&mut self, slot: usize, ready: Readiness) {
        let Some(Some(stream)) = self.slots.get_mut(slot) else { return };
        stream.ready.readable |= ready.readable;
        stream.ready.writable |= ready.writable;
        stream.ready.half_closed |= ready.half_closed;
        stream.ready.reset |= ready.reset;
        self.queue(slot);
    }

    /// The kernel has read these bytes of a connection, which the shard hears of. Returns whether what it answers is to be sent
    /// from here, since it is captured.
    pub(super) fn on_read(
        &mut self,
        now: Instant,
        id: ConnectionId,
        bytes: &[u8],
        tap: Option<&Tap>,
    ) -> bool {
        let stream = self.slots.get_mut(id.slot()).and_then(Option::as_mut);
        if let (Some(tap), Some(Stream { flow: Some(flow), .. })) = (tap, stream) {
            flow.on_read(tap, now, bytes);
        }
        tap.is_some()
    }

    /// The shard has something new to say on a connection
    pub(super) fn on_changed(&mut self, id: ConnectionId) {
        self.queue(id.slot());
    }

    fn queue(&mut self, slot: usize) {
        if let Some(Some(stream)) = self.slots.get_mut(slot)
            && !stream.is_queued
        {
            stream.is_queued = true;
            self.queue.push_back(slot);
        }
    }

    /// Takes those that were closed
    pub(super) fn poll_closed(&mut self) -> Option<ConnectionId> {
        self.closed.pop()
    }

    /// Takes those whose turn ended so
    pub(super) fn poll_waiting(&mut self) -> Option<(ConnectionId, Awaited)> {
        self.waiting.pop()
    }

    /// Whether a connection can go on
    pub(super) fn is_ready(&self) -> bool {
        !self.queue.is_empty()
    }

    /// When [`Streams::on_deadline`] is due
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.lingering.front().map(|&(until, _)| until)
    }

    /// Closes connections whose clients had their time to notice
    pub(super) fn on_deadline(&mut self, round: &mut Round<'_>) {
        while let Some(&(until, id)) = self.lingering.front()
            && until <= round.now
            && round.outbox.has_room()
        {
            self.lingering.pop_front();
            let is_it = |stream: &&Stream| stream.id == id && stream.lingering.is_some();
            if self.slots[id.slot()].as_ref().filter(is_it).is_some() {
                self.close(id, round);
            }
        }
    }

    /// Gives the next connections that can go on a turn each, while the outbox has room for what they tell
    pub(super) fn serve(&mut self, round: &mut Round<'_>) {
        let mut left = STREAM_ROUND_BYTES;
        for _ in 0..self.queue.len().min(STREAM_TURNS) {
            if left == 0 || !round.outbox.has_room() {
                return;
            }
            let Some(slot) = self.queue.pop_front() else { return };
            left = left.saturating_sub(self.give_turn(slot, STREAM_TURN_BYTES, round));
        }
    }

    /// Gives a connection its turn of so many bytes; returns how many it used
    fn give_turn(&mut self, slot: usize, bytes: usize, round: &mut Round<'_>) -> usize {
        let Some(stream) = &mut self.slots[slot] else { return 0 };
        stream.is_queued = false;
        let id = stream.id;
        let mut left = bytes;
        match stream.take_turn(&mut left, &mut self.buffer, round) {
            Turn::Waits => {
                let awaited = match stream.lingering {
                    Some(_) => Awaited::End,
                    None if round.shard.wants_bytes(id) => Awaited::Request,
                    None => Awaited::Room,
                };
                self.waiting.push((id, awaited));
            }
            Turn::Again => self.queue(slot),
            Turn::Ends => {
                let lingers = stream.ready.readable || round.shard.lingers(id);
                if lingers && stream.linger() {
                    self.lingering.push_back((round.now + LINGER_TIME, id));
                    self.queue(slot);
                } else {
                    self.close(id, round);
                }
            }
            Turn::Gone => self.close(id, round),
        }
        bytes - left
    }

    fn close(&mut self, id: ConnectionId, round: &mut Round<'_>) {
        let stream = self.slots[id.slot()].take();
        if stream.as_ref().is_some_and(|stream| stream.is_watched) {
            self.closed.push(id);
        }
        let noted = round.outbox.notes().len();
        round.shard.on_hangup(round.now, id, round.outbox);
        if let (Some(tap), Some(flow)) = (round.tap, stream.and_then(|stream| stream.flow)) {
            flow.close(tap, round.now, &round.outbox.notes()[noted..]);
        }
    }
}

impl Stream {
    /// The clock is read after each write, since the first bytes of a response and its last often leave in one turn.
    fn take_turn(&mut self, left: &mut usize, buffer: &mut [u8], round: &mut Round<'_>) -> Turn {
        let Round { clock, now, shard, outbox, tap } = round;
        if self.ready.reset {
            return Turn::Gone;
        }
        if self.lingering.is_some() {
            return self.drop_bytes(buffer);
        }
        shard.images().set_now(*now);
        loop {
            if *left == 0 || !outbox.has_room() {
                return Turn::Again;
            }
            let body = load_body(*now, shard, self.id);
            let mut head: Box<[u8]> = Box::default();
            let written = match shard.poll_output(self.id) {
                Output::Close => return Turn::Ends,
                Output::Hold => {
                    self.cork(false);
                    return Turn::Waits;
                }
                Output::Wait if self.is_corked => {
                    self.cork(false);
                    continue;
                }
                Output::Wait if !self.ready.readable => return Turn::Waits,
                Output::Wait => match self.take_bytes(*now, buffer, *tap, shard) {
                    Ok(len) => {
                        *left = left.saturating_sub(len);
                        continue;
                    }
                    Err(turn) => return turn,
                },
                Output::Bytes { .. } | Output::Image { .. } if !self.ready.writable => return Turn::Waits,
                Output::Bytes { bytes, more } => {
                    if tap.is_some() {
                        head = bytes.into();
                    }
                    let resident = |(id, offset, len)| shard.peek_images().resident(id, offset, len);
                    let ends = shard.ends_next(self.id);
                    match body.and_then(resident) {
                        Some(body) => self.write_both(bytes, body, ends, buffer),
                        None => self.write(bytes, more || ends),
                    }
                }
                Output::Image { id, offset, len, more } => {
                    self.cork(true);
                    let len = usize::try_from(len).map_or(*left, |len| len.min(*left));
                    self.write_image(shard.images(), id, offset, len, more)
                }
            };
            *now = clock.now();
            match written {
                Ok(len) => {
                    *left = left.saturating_sub(len);
                    let noted = outbox.notes().len();
                    shard.on_written(*now, self.id, len as u64, outbox);
                    if let (Some(tap), Some(flow)) = (*tap, &mut self.flow) {
                        let head = &head[..head.len().min(len)];
                        flow.on_written(tap, *now, head, len, &outbox.notes()[noted..]);
                    }
                }
                Err(Unsent::Later) => {
                    self.ready.writable = false;
                    return Turn::Waits;
                }
                Err(Unsent::Interrupted) => return Turn::Again,
                Err(Unsent::Image) => shard.on_image_failed(*now, self.id, outbox),
                Err(Unsent::Broken) => return Turn::Gone,
            }
        }
    }

    /// Hands the shard what the client sent; or says how the turn ends
    fn take_bytes(
        &mut self,
        now: Instant,
        buffer: &mut [u8],
        tap: Option<&Tap>,
        shard: &mut Shard<Tree>,
    ) -> Result<usize, Turn> {
        let len = match self.read(buffer) {
            Ok(0) => return Err(Turn::Gone),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Turn::Waits),
            Err(_) => return Err(Turn::Gone),
        };
        if let (Some(tap), Some(flow)) = (tap, &mut self.flow) {
            flow.on_read(tap, now, &buffer[..len]);
        }
        shard.on_bytes(now, self.id, &buffer[..len]);
        Ok(len)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.socket.read(buffer);
        // Less than asked for: the socket is empty, and more of it comes with an event of its own. Its end may already be
        // there without one.
        match &result {
            Ok(len) if *len < buffer.len() && !self.ready.half_closed => self.ready.readable = false,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ready.readable = false,
            _ => {}
        }
        result
    }

    /// What an acknowledgement makes room for leaves at once, be it a part of a segment, unless the socket is corked: `MSG_MORE`
    /// holds only while the call lasts. A system that does not know the option sends more segments.
    fn cork(&mut self, corks: bool) {
        if self.is_corked != corks {
            self.is_corked = corks;
            let _ = SockRef::from(&self.socket).set_tcp_cork(corks);
        }
    }

    fn write_both(&self, head: &[u8], body: &[u8], ends: bool, buffer: &mut [u8]) -> Result<usize, Unsent> {
        let len = head.len() + body.len();
        let more = ends && len <= LAST_SEGMENT_MAX;
        // To lay a few pages side by side costs less than a call that takes them apart.
        if len <= TOGETHER_BYTES_MAX {
            let (front, back) = buffer[..len].split_at_mut(head.len());
            front.copy_from_slice(head);
            back.copy_from_slice(body);
            return self.write(&buffer[..len], more);
        }
        let parts = [IoSlice::new(head), IoSlice::new(body)];
        let sent = SockRef::from(&self.socket).send_vectored_with_flags(&parts, flags(more));
        sent.map_err(|error| Unsent::of(&error))
    }

    fn write(&self, bytes: &[u8], more: bool) -> Result<usize, Unsent> {
        SockRef::from(&self.socket).send_with_flags(bytes, flags(more)).map_err(|error| Unsent::of(&error))
    }

    fn write_image(
        &self,
        images: &mut Tree,
        id: ImageId,
        offset: u64,
        len: usize,
        more: bool,
    ) -> Result<usize, Unsent> {
        let Some(part) = images.file(id, offset) else {
            let bytes = images.resident(id, offset, len).ok_or(Unsent::Image)?;
            return self.write(bytes, more);
        };
        let len = usize::try_from(part.len).map_or(len, |part| part.min(len));
        let sent = file::send(self.socket.as_fd(), part.file, part.offset, len)
            .map_err(|error| Unsent::of(&error))?;
        // What was handed over may be of a file that was being written: then its client must not take it for whole.
        if sent == 0 || !images.verify(id) { Err(Unsent::Image) } else { Ok(sent) }
    }

    /// Ends the sending side. False where there is nothing to wait for: the client has ended its own, or is gone.
    fn linger(&mut self) -> bool {
        self.lingering = Some(LINGER_BYTES);
        self.socket.shutdown(Shutdown::Write).is_ok()
    }

    fn drop_bytes(&mut self, buffer: &mut [u8]) -> Turn {
        while self.ready.readable {
            let left = self.lingering.unwrap_or(0);
            match self.read(buffer) {
                Ok(len) if len > 0 && len < left => self.lingering = Some(left - len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Its end, too much of it, or an error.
                _ => return Turn::Gone,
            }
        }
        Turn::Waits
    }
}

/// The body behind the head that is due, where it is short: brought into memory, so that both leave in one call
pub(super) fn load_body(
    now: Instant,
    shard: &mut Shard<Tree>,
    id: ConnectionId,
) -> Option<(ImageId, u64, usize)> {
    let (id, offset, len) = shard.poll_body(id)?;
    let len = usize::try_from(len).ok().filter(|&len| len <= BODY_IN_MEMORY_MAX)?;
    shard.images().load(now, id, offset, len).then_some((id, offset, len))
}

fn flags(more: bool) -> libc::c_int {
    libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 }
}

impl Unsent {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => Self::Later,
            Some(libc::EINTR) => Self::Interrupted,
            Some(libc::EIO | libc::EINVAL | libc::EOVERFLOW | libc::ESTALE) => Self::Image,
            _ => Self::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;

    use super::*;
    use crate::boot::plan::Plan;
    use crate::proto::tftp::Settings;

    #[test]
    fn a_long_body_leaves_in_whole_segments_and_its_end_does_not_wait() {
        /// More than both sockets take
        const LEN: usize = 48 << 20;
        let root = std::env::temp_dir().join(format!("reveille-stream-{}", std::process::id()));
        std::fs::create_dir_all(&root).expect("a directory");
        let file = std::fs::File::create(root.join("initrd")).expect("a file");
        file.set_len(LEN as u64).expect("its length");
        let clock = Clock::new();
        let tree = Tree::open(&root).expect("its root");
        let plan = Arc::new(Plan::new(Vec::new(), Vec::new(), Vec::new(), Vec::new()));
        let mut shard = Shard::new(plan, Settings::default(), tree, None, clock.now());
        let mut outbox = Outbox::new();
        let mut round = Round { clock, now: clock.now(), shard: &mut shard, outbox: &mut outbox, tap: None };

        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut client =
            std::net::TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        client.write_all(b"GET /initrd HTTP/1.1\r\nHost: h\r\n\r\n").expect("a request");
        let (socket, peer) = listener.accept().expect("its other end");
        socket.set_nonblocking(true).expect("a flag");
        let std::net::SocketAddr::V4(peer) = peer else { panic!("IPv4") };
        let id = round.shard.on_accept(round.now, peer).expect("room");
        let mut streams = Streams::new();
        streams.begin(id, TcpStream::from_std(socket), &mut round).expect("a connection that goes on");
        let is_corked = |streams: &Streams| {
            let stream = streams.slots[id.slot()].as_ref().expect("the connection");
            SockRef::from(&stream.socket).tcp_cork().expect("the option")
        };
        let go_on = |streams: &mut Streams, round: &mut Round<'_>| {
            while streams.is_ready() {
                streams.serve(round);
                round.outbox.clear();
            }
        };
        go_on(&mut streams, &mut round);
        assert!(is_corked(&streams), "the body is under way");
        let (mut got, mut buffer) = (0, vec![0; 1 << 20]);
        while got < LEN {
            got += client.read(&mut buffer).expect("more of it");
            streams.on_ready(id.slot(), Readiness { writable: true, ..Readiness::default() });
            go_on(&mut streams, &mut round);
        }
        assert!(!is_corked(&streams), "the connection waits for a request");
        std::fs::remove_dir_all(&root).expect("its removal");
    }
}
