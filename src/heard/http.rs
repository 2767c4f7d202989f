//! HTTP of a capture: requests and response heads of each connection, and what was kept of the bodies.
//!
//! TCP is put together simply: bytes in order, what comes again is passed over, a gap is jumped. That is enough for what
//! firmware and loaders send, and for captures that kept the heads only.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddrV4;

use super::What;
use super::frames::Seen;
use crate::time::Instant;
use crate::wire::http::{self, Method, Parsed};
use crate::wire::tcp;

/// What every response head begins with
const STATUS_LINE: &[u8] = b"HTTP/1.";
/// The blank line behind a head's last line
const HEAD_END: &[u8] = b"\r\n";
/// Longer heads are cut
const HEAD_MAX: usize = 16_384;

/// A request
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The number of the frame that completed it
    pub number: u32,
    pub at: Instant,
    pub method: String,
    /// Path and query, as sent
    pub target: String,
    /// All of its head, as sent
    pub head: Vec<u8>,
}

/// A response
#[derive(Clone, Debug)]
pub(crate) struct Response<'c> {
    pub head: Vec<u8>,
    /// The sequence number that it began at, and whether its end was seen
    sequence: u32,
    is_whole: bool,
    /// When its last segment was seen
    pub ended_at: Instant,
    /// What was kept of the body, by offset
    pub parts: BTreeMap<u64, &'c [u8]>,
}

/// One connection
#[derive(Debug)]
pub(crate) struct Connection<'c> {
    pub client: SocketAddrV4,
    pub server: SocketAddrV4,
    pub requests: Vec<Request>,
    pub responses: Vec<Response<'c>>,
    /// Bytes of requests that are not understood yet
    pending: Vec<u8>,
    /// The next byte that is expected of the client
    next: Option<u32>,
    /// Something came that is no HTTP
    is_other: bool,
    is_closed: bool,
}

impl<'c> Connection<'c> {
    fn new(client: SocketAddrV4, server: SocketAddrV4, next: Option<u32>) -> Self {
        Self {
            client,
            server,
            requests: Vec::new(),
            responses: Vec::new(),
            pending: Vec::new(),
            next,
            is_other: false,
            is_closed: false,
        }
    }

    /// It carried a request at least
    pub(crate) fn is_http(&self) -> bool {
        !self.requests.is_empty()
    }

    /// The bytes of a segment that are new
    fn fresh(&mut self, seen: &Seen<'c>, sequence: u32) -> &'c [u8] {
        let expected = *self.next.get_or_insert(sequence);
        // Sequence numbers wrap: what lies less than half of them behind was here before (RFC 9293 §3.4).
        let behind = expected.wrapping_sub(sequence);
        let skip = if behind < 1 << 31 { behind as usize } else { 0 };
        let fresh = seen.carried.payload.get(skip..).unwrap_or_default();
        if !fresh.is_empty() {
            let len = u32::try_from(seen.carried.len).unwrap_or(u32::MAX);
            self.next = Some(sequence.wrapping_add(len));
        }
        fresh
    }

    fn is_inside_head(&self) -> bool {
        !self.is_other && !self.pending.is_empty()
    }

    fn on_client_bytes(&mut self, seen: &Seen<'_>, bytes: &[u8]) {
        if self.is_other {
            return;
        }
        self.pending.extend_from_slice(bytes);
        loop {
            let (request, len) = match http::parse_request(&self.pending) {
                Ok(Parsed::Complete { head, len }) => {
                    let method = match head.method {
                        Method::Get => "GET".to_owned(),
                        Method::Head => "HEAD".to_owned(),
                        Method::Post => "POST".to_owned(),
                        Method::Other => first_word(&self.pending),
                    };
                    let target = head.path_and_query().to_owned();
                    let body = head.content_length.and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
                    let head = self.pending[..len].to_vec();
                    let request = Request { number: seen.number, at: seen.at, method, target, head };
                    (request, len.saturating_add(body).min(self.pending.len()))
                }
                Ok(Parsed::Partial) => return,
                Err(_) => return self.is_other = true,
            };
            self.requests.push(request);
            self.pending.drain(..len);
        }
    }

    fn on_server_segment(&mut self, seen: &Seen<'c>, sequence: u32) {
        let is_new = || self.responses.iter().all(|response| response.sequence != sequence);
        if seen.carried.payload.starts_with(STATUS_LINE) && is_new() {
            self.responses.push(Response {
                head: Vec::new(),
                sequence,
                is_whole: false,
                ended_at: seen.at,
                parts: BTreeMap::new(),
            });
        }
        if let Some(response) = self.responses.last_mut() {
            response.on_segment(seen, sequence);
        }
    }
}

fn first_word(bytes: &[u8]) -> String {
    let word = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    String::from_utf8_lossy(word).into_owned()
}

impl<'c> Response<'c> {
    fn on_segment(&mut self, seen: &Seen<'c>, sequence: u32) {
        let payload = seen.carried.payload;
        let offset = sequence.wrapping_sub(self.sequence) as usize;
        if offset >= 1 << 31 {
            // Of an earlier response, sent again.
            return;
        }
        if !payload.is_empty() {
            self.ended_at = seen.at;
        }
        if self.is_whole {
            if let Some(at) = offset.checked_sub(self.head.len()) {
                self.keep(at as u64, payload);
            }
        } else if offset == self.head.len() && offset < HEAD_MAX {
            let before = self.head.len();
            self.head.extend_from_slice(payload);
            let blank = self.head.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = blank.map(|at| at + 4) {
                self.is_whole = true;
                self.head.truncate(end);
                self.keep(0, &payload[end - before..]);
            }
        }
    }

    /// The head without what it lacks of its end
    pub(crate) fn head(&self) -> Head<'_> {
        Head(&self.head)
    }

    /// The whole file's length, if this is a file or a part of one
    pub(crate) fn file_size(&self) -> Option<u64> {
        let head = self.head();
        match head.status()? {
            200 => head.content_length(),
            206 => head.range()?.1,
            _ => None,
        }
    }

    /// When the file was last modified, as the server says; 0 where it does not
    pub(crate) fn modified_s(&self) -> u64 {
        let date = self.head().header("Last-Modified").and_then(|text| httpdate::parse_http_date(text).ok());
        let since = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        since.map_or(0, |since| since.as_secs())
    }

    /// What was kept of the file, by its own offsets
    pub(crate) fn file_parts(&self) -> impl Iterator<Item = (u64, &'c [u8])> {
        let first = self.head().range().map_or(0, |(first, _)| first);
        self.parts.iter().map(move |(offset, bytes)| (first + offset, *bytes))
    }

    fn keep(&mut self, offset: u64, bytes: &'c [u8]) {
        if !bytes.is_empty() {
            self.parts.entry(offset).or_insert(bytes);
        }
    }
}

/// A response head, whoever wrote it
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'h>(pub &'h [u8]);

impl<'h> Head<'h> {
    /// `200` of `HTTP/1.1 200 OK`
    pub(crate) fn status(self) -> Option<u16> {
        self.status_line()?.split(' ').nth(1)?.parse().ok()
    }

    /// The first line
    pub(crate) fn status_line(self) -> Option<&'h str> {
        self.lines().next()
    }

    /// Names and values, in order; a line that was cut is left out
    pub(crate) fn headers(self) -> impl Iterator<Item = (&'h str, &'h str)> {
        self.lines().skip(1).filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim()))
    }

    /// The value of a header
    pub(crate) fn header(self, name: &str) -> Option<&'h str> {
        self.headers().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// `Content-Length`
    pub(crate) fn content_length(self) -> Option<u64> {
        self.header("Content-Length")?.parse().ok()
    }

    /// The first byte and the whole length of `Content-Range: bytes 0-499/1234`
    fn range(self) -> Option<(u64, Option<u64>)> {
        let (range, size) = self.header("Content-Range")?.strip_prefix("bytes ")?.split_once('/')?;
        Some((range.split('-').next()?.parse().ok()?, size.parse().ok()))
    }

    fn lines(self) -> impl Iterator<Item = &'h str> {
        let whole = self.0.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        self.0[..whole]
            .split(|&byte| byte == b'\n')
            .filter_map(|line| std::str::from_utf8(line).ok())
            .map(|line| line.trim_end_matches('\r'))
            .take_while(|line| !line.is_empty())
    }
}

/// All connections so far
#[derive(Debug, Default)]
pub(super) struct Connections<'c> {
    connections: Vec<Connection<'c>>,
    latest: HashMap<(SocketAddrV4, SocketAddrV4), usize>,
}

impl<'c> Connections<'c> {
    pub(super) fn on_segment(
        &mut self,
        seen: &Seen<'c>,
        header: &tcp::Header,
        mut emit: impl FnMut(What<'c>),
    ) {
        let (segment, sequence) = (&seen.carried, header.sequence.get());
        let has = |flag: u8| header.flags & flag != 0;
        if let Some(index) = self.latest.get(&(segment.destination, segment.source)).copied() {
            return self.connections[index].on_server_segment(seen, sequence);
        }
        let key = (segment.source, segment.destination);
        let known = self.latest.get(&key).copied().filter(|index| !self.connections[*index].is_closed);
        let index = match known {
            Some(index) => index,
            None if (has(tcp::SYN) && !has(tcp::ACK)) || begins_request(segment.payload) => {
                let next = has(tcp::SYN).then(|| sequence.wrapping_add(1));
                self.latest.insert(key, self.connections.len());
                self.connections.push(Connection::new(segment.source, segment.destination, next));
                emit(What::Opened(self.connections.len() - 1));
                self.connections.len() - 1
            }
            None => return,
        };
        let connection = &mut self.connections[index];
        if has(tcp::SYN) {
            return;
        }
        let mut fresh = connection.fresh(seen, sequence);
        if segment.is_cut() {
            let whole_lines = fresh.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            fresh = &fresh[..whole_lines];
        }
        if !fresh.is_empty() {
            connection.on_client_bytes(seen, fresh);
            emit(What::Bytes(index, fresh));
        }
        if segment.is_cut() && connection.is_inside_head() {
            // What the capture lacks of a head is its last lines: without them it still asks for the same.
            connection.on_client_bytes(seen, HEAD_END);
            emit(What::Bytes(index, HEAD_END));
        }
        if has(tcp::FIN) || has(tcp::RST) {
            connection.is_closed = true;
            emit(What::Closed(index));
        }
    }

    pub(super) fn finish(self) -> Vec<Connection<'c>> {
        self.connections
    }
}

/// The front of a request, of a connection whose opening was not captured
fn begins_request(payload: &[u8]) -> bool {
    payload.starts_with(b"GET ") || payload.starts_with(b"HEAD ")
}
