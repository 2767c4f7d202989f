//! One HTTP connection, from accept to close (RFC 9112 §9): requests in order, one response at a time.
//!
//! ```text
//!            bytes                    a whole head, or one that is refused
//!   Waiting ───────▶ Waiting ─────────────────────────────────▶ Responding ─┐ poll_output, on_written
//!      ▲  │             ▲        the last byte is written           │  ▲     │
//!      │  └ idle ──▶ Closed ◀── and the connection ends ────────────┤  └─────┘
//!      └─────────────────────── and it goes on ─────────────────────┘
//! ```

use std::mem;
use std::net::SocketAddrV4;

use super::answer::answer;
use super::response::{HEAD_BYTES, Response};
use crate::boot::image::{ImageId, Images};
use crate::boot::register::Ticket;
use crate::limits::{
    HTTP_HEAD_MAX, HTTP_HEAD_TIMEOUT, HTTP_IDLE_TIMEOUT, HTTP_PIPELINE_MAX, HTTP_RANGES_MAX,
    HTTP_STALL_TIMEOUT, UNASKED_BYTES,
};
use crate::note::{Note, Outcome, Text, TransferNote};
use crate::proto::outbox::Outbox;
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::http::{self, Error, Parsed, RequestHead};

/// What a connection wants done next
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'c> {
    /// These bytes go to the client; then [`Connection::on_written`]
    Bytes {
        /// The bytes
        bytes: &'c [u8],
        /// More of the same response follows at once: the kernel may wait for it (`MSG_MORE`)
        more: bool,
    },
    /// This part of an image goes to the client; then [`Connection::on_written`], as often as it takes
    Image {
        /// The image
        id: ImageId,
        /// Where the part begins
        offset: u64,
        /// Its length, at least 1
        len: u64,
        /// More of the same response follows at once
        more: bool,
    },
    /// Nothing, until bytes come or the deadline does
    Wait,
    /// Nothing until the connection has its turn, and nothing is read meanwhile
    Hold,
    /// The connection ends; how is for [`Connection::lingers`]
    Close,
}

#[derive(Debug)]
enum Phase {
    /// For a request, or the rest of its head
    Waiting,
    /// A response is on its way
    Responding(Response),
    /// Nothing more is read or written
    Closed,
}

/// One connection. While it waits it holds no memory beyond its own size; a head that has come in part, and requests that
/// came early, are held up to [`HTTP_HEAD_MAX`] and [`HTTP_PIPELINE_MAX`] bytes and one read.
#[derive(Debug)]
pub struct Connection {
    peer: SocketAddrV4,
    phase: Phase,
    deadline: Instant,
    /// A part of the next head has come, and its time runs
    head_begun: bool,
    /// The server is stopping: the response under way is the last
    stopping: bool,
    /// See [`Connection::lingers`]
    lingers: bool,
    /// Bytes of a body that are still to be passed over
    skip: u64,
    /// Bytes received and not understood yet
    pending: Vec<u8>,
    /// What the response under way answers, when that began, and how much of its image is sent
    asked: Text<128>,
    begun_at: Instant,
    sent: u64,
    /// What may be sent of images; without end where the wire has no bound
    allowed: u64,
    /// The wire has a bound: see [`Connection::claim`]
    asks: bool,
    /// Bytes that were sent and that nobody was asked about
    unasked: u64,
    /// Bytes to be written before the image's: a head, or a part's
    head: [u8; HEAD_BYTES],
    head_len: usize,
    head_written: usize,
}

const _: () = {
    assert!(size_of::<Connection>() <= 1024);
    // The codec's bounds are the program's.
    assert!(HTTP_HEAD_MAX == http::HEAD_LEN_MAX && HTTP_RANGES_MAX == http::RANGES_MAX);
};

impl Connection {
    /// A connection just accepted
    pub fn new(now: Instant, peer: SocketAddrV4) -> Self {
        Self {
            peer,
            phase: Phase::Waiting,
            deadline: now + HTTP_IDLE_TIMEOUT,
            head_begun: false,
            stopping: false,
            lingers: true,
            skip: 0,
            pending: Vec::new(),
            asked: Text::EMPTY,
            begun_at: now,
            sent: 0,
            allowed: u64::MAX,
            asks: false,
            unasked: 0,
            head: [0; HEAD_BYTES],
            head_len: 0,
            head_written: 0,
        }
    }

    /// Whether bytes are to be read. While a response is sent they are better left to the kernel, which slows a client
    /// that sends more than it reads; a few that come all the same are kept.
    pub fn wants_bytes(&self) -> bool {
        matches!(self.phase, Phase::Waiting)
    }

    /// How the connection ends after [`Output::Close`]. Where this holds, the client may have more to say than was read, and to
    /// close would answer that with a reset, which takes the last response with it (RFC 9112 §9.6): the sending side is closed
    /// first, and what still comes is read and dropped for a moment. It does not hold after the response to a request that
    /// said it would be the last.
    pub fn lingers(&self) -> bool {
        self.lingers
    }

    /// When [`Connection::on_deadline`] is due
    pub fn next_deadline(&self) -> Instant {
        self.deadline
    }

    /// Bytes came. All of them are taken over; those that no request could be made of end the connection.
    pub fn on_bytes<I: Images>(&mut self, now: Instant, bytes: &[u8], images: &mut I, stats: &mut Stats) {
        match &mut self.phase {
            Phase::Waiting => self.on_request_bytes(now, bytes, images, stats),
            Phase::Responding(_) if self.pending.len() + bytes.len() <= HTTP_PIPELINE_MAX => {
                self.pending.extend_from_slice(bytes);
            }
            Phase::Responding(response) => {
                (response.closes, response.is_last) = (true, false);
                self.pending = Vec::new();
            }
            Phase::Closed => {}
        }
    }

    /// What to do next; the same until something is reported
    pub fn poll_output(&self) -> Output<'_> {
        let response = match &self.phase {
            Phase::Waiting => return Output::Wait,
            Phase::Closed => return Output::Close,
            Phase::Responding(response) => response,
        };
        if response.awaits.is_some() {
            return Output::Hold;
        }
        let bytes = &self.head[self.head_written..self.head_len];
        match response.piece() {
            piece if !bytes.is_empty() => {
                Output::Bytes { bytes, more: piece.is_some() || response.more_follows() }
            }
            Some(_) if self.allowed == 0 => Output::Hold,
            Some((id, offset, len)) => {
                Output::Image { id, offset, len: len.min(self.allowed), more: response.more_follows() }
            }
            None => unreachable!("a response without bytes to send has ended"),
        }
    }

    /// The whole body, where it follows the bytes of the last output at once: a driver that has it in memory sends both in one
    /// call. Image, offset and length.
    pub fn poll_body(&self) -> Option<(ImageId, u64, u64)> {
        let Phase::Responding(response) = &self.phase else { return None };
        let is_next =
            self.head_written < self.head_len && !response.more_follows() && response.awaits.is_none();
        response.piece().filter(|&(_, _, len)| is_next && len <= self.allowed)
    }

    /// What is to be on disk before the response is sent
    pub(super) fn awaited(&self) -> Option<Ticket> {
        if let Phase::Responding(response) = &self.phase { response.awaits } else { None }
    }

    /// That is on disk, or could not be written: then the client is told to ask again
    pub(super) fn on_recorded<I: Images>(
        &mut self,
        now: Instant,
        is_recorded: bool,
        images: &mut I,
        stats: &mut Stats,
    ) {
        let Phase::Responding(response) = &mut self.phase else { return };
        response.awaits = None;
        if is_recorded {
            return;
        }
        if let Some(id) = response.image() {
            images.close(id);
        }
        let mut refusal = Response::status(503);
        (refusal.closes, refusal.is_last) = (response.closes, response.is_last);
        self.begin_response(now, refusal, stats);
    }

    /// From here on no more of an image is sent than is allowed; true where one is being sent, and nothing more of it is yet
    pub(super) fn ask_first(&mut self) -> bool {
        self.asks = true;
        let Phase::Responding(response) = &self.phase else { return false };
        self.allowed = UNASKED_BYTES.saturating_sub(self.sent);
        self.allowed == 0 && response.piece().is_some()
    }

    /// Whose connection it is, what it sent unasked since the last time, and how much it wants to be allowed
    pub(super) fn claim(&mut self) -> Option<(SocketAddrV4, u64, u64)> {
        self.asks.then_some(())?;
        let unasked = mem::take(&mut self.unasked);
        let wanted = match &self.phase {
            Phase::Responding(response) if self.allowed == 0 => response.piece().map_or(0, |(_, _, len)| len),
            _ => 0,
        };
        Some((self.peer, unasked, wanted))
    }

    /// It may send so much more
    pub(super) fn allow(&mut self, bytes: u64) {
        if matches!(self.phase, Phase::Responding(_)) {
            self.allowed = self.allowed.saturating_add(bytes);
        }
    }

    /// Whether the connection ends when the response under way does, so that its last bytes may wait for the end and share a
    /// segment with it
    pub fn ends_next(&self) -> bool {
        matches!(&self.phase, Phase::Responding(response) if response.closes || self.stopping)
    }

    /// The first `n` bytes of the last output, or of that and [`Connection::poll_body`] behind it, are with the kernel
    ///
    /// # Panics
    /// Where the output had fewer.
    pub fn on_written<I: Images>(
        &mut self,
        now: Instant,
        n: u64,
        images: &mut I,
        stats: &mut Stats,
        outbox: &mut Outbox,
    ) {
        let Phase::Responding(response) = &mut self.phase else { return };
        self.deadline = now + HTTP_STALL_TIMEOUT;
        let of_head = usize::try_from(n).unwrap_or(usize::MAX).min(self.head_len - self.head_written);
        self.head_written += of_head;
        let of_body = n - of_head as u64;
        response.on_sent(of_body);
        if self.asks {
            let unasked = UNASKED_BYTES.saturating_sub(self.sent).min(of_body);
            self.unasked += of_head as u64 + unasked;
            self.allowed = self.allowed.saturating_sub(of_body);
        }
        self.sent += of_body;
        if self.head_written < self.head_len || response.piece().is_some() {
            return;
        }
        if let Some(len) = response.emit_next_part(&mut self.head) {
            (self.head_len, self.head_written) = (len, 0);
            return;
        }
        let outcome = match response.status {
            200 | 206 if response.head_only => Outcome::SizeOnly,
            200 | 206 => Outcome::Done,
            status => Outcome::Status(status),
        };
        let goes_on = !response.closes && !self.stopping;
        let is_last = response.is_last;
        let pending = mem::take(&mut self.pending);
        self.lingers = !is_last || self.skip > 0 || !pending.is_empty();
        self.end_response(now, outcome, images, outbox);
        if goes_on {
            self.pending = pending;
            self.phase = Phase::Waiting;
            self.deadline = now + HTTP_IDLE_TIMEOUT;
            self.on_request_bytes(now, &[], images, stats);
        }
    }

    /// The image of the last output changed or could not be read: the response ends short of its length, so that its client
    /// knows, and never with bytes of another version
    pub fn on_image_failed<I: Images>(&mut self, now: Instant, images: &mut I, outbox: &mut Outbox) {
        self.end_response(now, Outcome::FileFailed, images, outbox);
    }

    /// The client closed or reset the connection, or it is closed here. In mid-body that is no error: GRUB does so at each seek.
    pub fn on_hangup<I: Images>(&mut self, now: Instant, images: &mut I, outbox: &mut Outbox) {
        self.end_response(now, Outcome::ClientStopped(None), images, outbox);
    }

    /// Time passed; nothing happens before [`Connection::next_deadline`]
    pub fn on_deadline<I: Images>(
        &mut self,
        now: Instant,
        images: &mut I,
        stats: &mut Stats,
        outbox: &mut Outbox,
    ) {
        if now < self.deadline {
            return;
        }
        match self.phase {
            Phase::Waiting if self.head_begun => {
                self.asked = Text::EMPTY;
                self.refuse(now, 408, stats);
            }
            Phase::Waiting | Phase::Responding(_) => {
                self.end_response(now, Outcome::TimedOut, images, outbox);
            }
            Phase::Closed => self.deadline = Instant::FAR,
        }
    }

    /// The server is stopping: a response under way is finished, and nothing else begun
    pub fn on_stop(&mut self) {
        self.stopping = true;
        if self.wants_bytes() {
            self.close();
        }
    }

    fn on_request_bytes<I: Images>(&mut self, now: Instant, bytes: &[u8], images: &mut I, stats: &mut Stats) {
        if self.pending.is_empty() {
            let taken = self.take_request(now, bytes, 0, images, stats);
            self.pending.extend_from_slice(&bytes[taken..]);
            return;
        }
        let mut pending = mem::take(&mut self.pending);
        // Bytes left behind by a request have not been looked at, those of a head in part have.
        let seen = if self.head_begun { pending.len() } else { 0 };
        pending.extend_from_slice(bytes);
        let taken = self.take_request(now, &pending, seen, images, stats);
        if taken < pending.len() {
            pending.drain(..taken);
            self.pending = pending;
        }
    }

    /// Begins to answer the request at the front of `bytes`, if it is whole; returns how many of them are used up. The first
    /// `seen` of them held no whole head.
    fn take_request<I: Images>(
        &mut self,
        now: Instant,
        bytes: &[u8],
        seen: usize,
        images: &mut I,
        stats: &mut Stats,
    ) -> usize {
        let skipped = usize::try_from(self.skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
        self.skip -= skipped as u64;
        let bytes_left = &bytes[skipped..];
        if bytes_left.is_empty() {
            return skipped;
        }
        // A head ends with a line: without one there is nothing to parse again, however small the pieces are that it comes in.
        let line_ended = bytes_left.get(seen..).unwrap_or_default().contains(&b'\n');
        let parsed = if line_ended || bytes_left.len() >= HTTP_HEAD_MAX {
            http::parse_request(bytes_left)
        } else {
            Ok(Parsed::Partial)
        };
        match parsed {
            Ok(Parsed::Complete { head, len }) if !has_bare_line_feed(&bytes_left[..len]) => {
                self.on_request(now, &head, images, stats);
                return skipped + len;
            }
            Ok(Parsed::Partial) => {
                if !self.head_begun {
                    self.head_begun = true;
                    self.deadline = now + HTTP_HEAD_TIMEOUT;
                }
                return skipped;
            }
            Ok(Parsed::Complete { .. }) => self.on_malformed(now, bytes_left, 400, stats),
            Err(Error::HeadTooLong) if !bytes_left[..HTTP_HEAD_MAX].contains(&b'\n') => {
                self.on_malformed(now, bytes_left, 414, stats);
            }
            Err(error) => self.on_malformed(now, bytes_left, error.status(), stats),
        }
        bytes.len()
    }

    fn on_request<I: Images>(
        &mut self,
        now: Instant,
        head: &RequestHead<'_>,
        images: &mut I,
        stats: &mut Stats,
    ) {
        self.asked = Text::new(head.path_and_query().as_bytes());
        let response = answer(head, *self.peer.ip(), images);
        self.skip = head.content_length.unwrap_or(0);
        self.begin_response(now, response, stats);
    }

    fn on_malformed(&mut self, now: Instant, bytes: &[u8], status: u16, stats: &mut Stats) {
        let line = bytes.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or_default();
        self.asked = Text::new(line);
        self.refuse(now, status, stats);
    }

    fn refuse(&mut self, now: Instant, status: u16, stats: &mut Stats) {
        self.pending = Vec::new();
        self.begin_response(now, Response::refusal(status), stats);
    }

    fn begin_response(&mut self, now: Instant, response: Response, stats: &mut Stats) {
        stats.requests += 1;
        (self.head_len, self.head_written) = (response.emit(now, &mut self.head), 0);
        (self.begun_at, self.sent) = (now, 0);
        self.head_begun = false;
        if self.asks {
            self.allowed = UNASKED_BYTES;
        }
        self.deadline = now + HTTP_STALL_TIMEOUT;
        self.phase = Phase::Responding(response);
    }

    /// Ends the response under way, if there is one, and the connection unless the caller goes on with it
    fn end_response<I: Images>(
        &mut self,
        now: Instant,
        outcome: Outcome,
        images: &mut I,
        outbox: &mut Outbox,
    ) {
        if let Phase::Responding(response) = &self.phase {
            if let Some(id) = response.image() {
                images.close(id);
            }
            outbox.note(Note::Http(TransferNote {
                at: now,
                peer: self.peer,
                path: self.asked,
                sent: self.sent,
                took: now.since(self.begun_at),
                resent: 0,
                outcome,
            }));
        }
        self.close();
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.deadline = Instant::FAR;
        self.pending = Vec::new();
    }
}

/// A line that ends without a carriage return is read one way by some and another by others (RFC 9112 §2.2, §11.2)
fn has_bare_line_feed(head: &[u8]) -> bool {
    (0..head.len()).any(|at| head[at] == b'\n' && (at == 0 || head[at - 1] != b'\r'))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::boot::image::{Form, Image, Miss};

    struct Nothing;

    impl Images for Nothing {
        fn open(&mut self, _: &[u8], _: Form) -> Result<Image, Miss> {
            Err(Miss::NotFound)
        }

        fn listing(&mut self, _: &[u8]) -> Result<Image, Miss> {
            Err(Miss::NotFound)
        }

        fn close(&mut self, _: ImageId) {}
    }

    #[test]
    fn a_waiting_connection_holds_no_heap() {
        let now = Instant::from_secs(1);
        let (mut stats, mut outbox) = (Stats::new(), Outbox::new());
        let mut connection = Connection::new(now, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9));
        let request = b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n";
        for piece in [&request[..10], &request[10..], &request.repeat(20)] {
            connection.on_bytes(now, piece, &mut Nothing, &mut stats);
            while let Output::Bytes { bytes, .. } = connection.poll_output() {
                let n = bytes.len() as u64;
                connection.on_written(now, n, &mut Nothing, &mut stats, &mut outbox);
            }
        }
        assert_eq!(connection.poll_output(), Output::Wait);
        assert_eq!((stats.requests, connection.pending.capacity()), (21, 0));
        // A head in part is held, and let go when its time is over.
        connection.on_bytes(now, b"GET /", &mut Nothing, &mut stats);
        assert!(connection.pending.capacity() > 0);
        connection.on_deadline(connection.next_deadline(), &mut Nothing, &mut stats, &mut outbox);
        assert_eq!(connection.pending.capacity(), 0);
    }
}
