//! A driver and a client in one: feeds bytes to a connection, moves what it puts out, and reads responses with a parser of
//! its own.

use std::net::{Ipv4Addr, SocketAddrV4};

use reveille::boot::image::{ImageId, Images};
use reveille::content::{Memory, Tree};
use reveille::note::{Note, Outcome, TransferNote};
use reveille::proto::http::{Connection, Output};
use reveille::proto::outbox::Outbox;
use reveille::stats::Stats;
use reveille::time::{Duration, Instant};

pub(crate) const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 99, 60), 40_000);
/// Thu, 01 Jan 2026 00:00:00 GMT
pub(crate) const START: Instant = Instant::from_secs(1_767_225_600);

/// Images whose bytes a driver can move
pub(crate) trait Source: Images {
    /// The bytes from `offset` on; `None`: they are not to be had any more
    fn fetch(&mut self, id: ImageId, offset: u64, len: usize) -> Option<Vec<u8>>;
}

impl Source for Memory {
    fn fetch(&mut self, id: ImageId, offset: u64, len: usize) -> Option<Vec<u8>> {
        let start = usize::try_from(offset).unwrap();
        Some(self.bytes(id)?[start..start + len].to_vec())
    }
}

impl Source for Tree {
    fn fetch(&mut self, id: ImageId, offset: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        (self.read_at(id, offset, &mut bytes).ok()? == len).then_some(bytes)
    }
}

/// A response as a client reads it
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header, by its exact name
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.split("\r\n").skip(1);
        let mut values = lines.filter_map(|line| line.split_once(": ")).filter(|(key, _)| *key == name);
        let value = values.next().map(|(_, value)| value);
        assert!(values.next().is_none(), "{name} once only");
        value
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("Connection") == Some("close")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// What is needed to run one connection
pub(crate) struct Server<I> {
    pub(crate) connection: Connection,
    pub(crate) images: I,
    pub(crate) stats: Stats,
    pub(crate) outbox: Outbox,
    pub(crate) now: Instant,
    pub(crate) closed: bool,
    /// The kernel takes this many bytes a call at most
    pub(crate) write_max: u64,
    /// What was written and not yet read as a response
    pub(crate) written: Vec<u8>,
}

impl Server<Memory> {
    /// Serves a few files from memory
    pub(crate) fn new() -> Self {
        let mut images = Memory::new();
        images.insert("boot.ipxe", "#!ipxe\nboot\n", 1_700_000_000);
        images.insert("efi/bootx64.efi", pattern(100_000), 1_700_000_000);
        images.insert("empty", "", 1_700_000_000);
        images.insert("site/index.html", "<p>page</p>", 1_700_000_000);
        Self::with(images)
    }
}

impl<I: Source> Server<I> {
    pub(crate) fn with(images: I) -> Self {
        Self {
            connection: Connection::new(START, PEER),
            images,
            stats: Stats::new(),
            outbox: Outbox::new(),
            now: START,
            closed: false,
            write_max: u64::MAX,
            written: Vec::new(),
        }
    }

    /// Takes a new connection in place of the old
    pub(crate) fn reconnect(&mut self) {
        self.hang_up();
        self.connection = Connection::new(self.now, PEER);
        self.closed = false;
        self.written.clear();
        self.outbox.clear();
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.connection.on_bytes(self.now, bytes, &mut self.images, &mut self.stats);
    }

    /// One output and its report; false when there is none
    pub(crate) fn write_once(&mut self) -> bool {
        let bytes = match self.connection.poll_output() {
            Output::Wait | Output::Hold => return false,
            Output::Close => {
                self.closed = true;
                return false;
            }
            Output::Bytes { bytes, .. } => {
                let n = bytes.len().min(usize::try_from(self.write_max).unwrap_or(usize::MAX));
                Some(bytes[..n].to_vec())
            }
            Output::Image { id, offset, len, .. } => {
                assert!(len > 0);
                self.images.fetch(id, offset, usize::try_from(len.min(self.write_max).min(65_536)).unwrap())
            }
        };
        let Some(bytes) = bytes else {
            self.connection.on_image_failed(self.now, &mut self.images, &mut self.outbox);
            return true;
        };
        self.written.extend_from_slice(&bytes);
        self.connection.on_written(
            self.now,
            bytes.len() as u64,
            &mut self.images,
            &mut self.stats,
            &mut self.outbox,
        );
        true
    }

    pub(crate) fn drain(&mut self) {
        while self.write_once() {}
    }

    pub(crate) fn hang_up(&mut self) {
        self.connection.on_hangup(self.now, &mut self.images, &mut self.outbox);
        self.drain();
    }

    pub(crate) fn wait(&mut self, span: Duration) {
        self.now += span;
        if self.now >= self.connection.next_deadline() {
            self.connection.on_deadline(self.now, &mut self.images, &mut self.stats, &mut self.outbox);
        }
        self.drain();
    }

    /// Sends a request and reads the one response to it
    pub(crate) fn ask(&mut self, request: &str) -> Response {
        self.receive(request.as_bytes());
        self.drain();
        let response = self.response(request.starts_with("HEAD "));
        assert!(self.written.is_empty(), "one response: {:?}", String::from_utf8_lossy(&self.written));
        assert_eq!(
            response.closes(),
            self.closed,
            "`Connection: close` exactly when closing: {}",
            response.head
        );
        response
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
    }

    pub(crate) fn get_with(&mut self, path: &str, headers: &str) -> Response {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\n\r\n"))
    }

    /// Reads one response off the front of what was written
    pub(crate) fn response(&mut self, to_head: bool) -> Response {
        let (response, len) = read_response(&self.written, to_head);
        self.written.drain(..len);
        response
    }

    pub(crate) fn notes(&self) -> Vec<TransferNote> {
        let http = |note: &Note| match note {
            Note::Http(note) => *note,
            other => panic!("{other:?}"),
        };
        self.outbox.notes().iter().map(http).collect()
    }

    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.notes().iter().map(|note| note.outcome).collect()
    }
}

/// Reads a response and checks what holds for every one
pub(crate) fn read_response(bytes: &[u8], to_head: bool) -> (Response, usize) {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
    let head = std::str::from_utf8(&bytes[..end]).unwrap().to_owned();
    check_head(&head);
    let status: u16 = head[9..12].parse().unwrap();
    let mut response = Response { status, head, body: Vec::new() };
    let len: usize = response.header("Content-Length").expect("always a length").parse().unwrap();
    let len = if to_head || status == 304 { 0 } else { len };
    response.body = bytes[end + 4..end + 4 + len].to_vec();
    (response, end + 4 + len)
}

/// What GRUB, U-Boot, EDK2 and lpxelinux want of a head
fn check_head(head: &str) {
    assert!(head.starts_with("HTTP/1.1 ") && head.as_bytes()[12] == b' ' && head.len() > 13, "{head}");
    assert!(head.len() < 500, "small: {head}");
    let lines: Vec<&str> = head.split("\r\n").skip(1).collect();
    for line in &lines {
        assert!(!line.contains(['\r', '\n']));
        let (name, value) = line.split_once(": ").expect("a name, a colon and one space");
        assert!(!value.is_empty() && value.trim() == value, "{line}");
        let canonical = |word: &str| word == "ETag" || word.starts_with(|c: char| c.is_ascii_uppercase());
        assert!(name.split('-').all(canonical), "{line}");
    }
    assert!(!lines.last().unwrap().starts_with("Content-Length"), "not last: {head}");
    for never in ["Transfer-Encoding", "Content-Encoding", "Location", "Server"] {
        assert!(!head.contains(never), "{head}");
    }
}

/// Bytes that tell where they are
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap()).collect()
}

/// A small seeded generator (xorshift64*): a failure names its seed and is found again
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}
