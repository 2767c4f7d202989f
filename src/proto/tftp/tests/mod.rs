//! The server against clients that share none of its code: packets are put together and read by hand here.

#![expect(clippy::cast_possible_truncation, reason = "block numbers wrap, and dice are small")]

mod clients;
mod held;
mod hostile;
mod link;
mod loss;
mod ports;
mod requests;
mod resends;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::{Settings, Tftp};
use crate::boot::image::{Form, Image, ImageId, Images, Miss};
use crate::limits::REPLIES_PER_EVENT;
use crate::note::{Note, Outcome, TransferNote};
use crate::proto::outbox::{Body, Datagram, Outbox, Port, Slot};
use crate::stats::{DropReason, Stats};
use crate::time::{Duration, Instant};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn client(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 100), port)
}

/// `len` bytes, no two blocks of which are alike
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(31) ^ (at >> 8).wrapping_mul(17) ^ (at >> 16)) as u8).collect()
}

/// Images in memory
#[derive(Default)]
struct Files {
    files: HashMap<Vec<u8>, Result<Vec<u8>, Miss>>,
    open: HashMap<ImageId, Vec<u8>>,
    opened: u32,
    asked: Vec<(Vec<u8>, Form)>,
}

impl Images for Files {
    fn open(&mut self, path: &[u8], form: Form) -> Result<Image, Miss> {
        self.asked.push((path.to_vec(), form));
        let bytes = self.files.get(path).cloned().unwrap_or(Err(Miss::NotFound))?;
        let id = ImageId(self.opened);
        self.opened += 1;
        let size = bytes.len() as u64;
        self.open.insert(id, bytes);
        Ok(Image { id, size, modified_s: 0, version: 0, media_type: "application/octet-stream" })
    }

    fn listing(&mut self, _path: &[u8]) -> Result<Image, Miss> {
        unreachable!("TFTP lists no directories")
    }

    fn close(&mut self, id: ImageId) {
        self.open.remove(&id).expect("closed once, and opened before");
    }
}

/// A datagram that the server sent
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reply {
    to: SocketAddrV4,
    bytes: Vec<u8>,
}

/// A server with its files, its clock and what it told of
struct Lab {
    tftp: Tftp,
    files: Files,
    stats: Stats,
    outbox: Outbox,
    now: Instant,
    notes: Vec<TransferNote>,
}

impl Lab {
    fn new() -> Self {
        Self::with(Settings::default(), 8)
    }

    fn with(settings: Settings, capacity: usize) -> Self {
        let now = Instant::from_secs(1_700_000_000);
        Self {
            tftp: Tftp::new(settings, capacity, now),
            files: Files::default(),
            stats: Stats::new(),
            outbox: Outbox::new(),
            now,
            notes: Vec::new(),
        }
    }

    fn file(mut self, path: &str, len: usize) -> Self {
        self.files.files.insert(path.into(), Ok(content(len)));
        self
    }

    fn miss(mut self, path: &str, miss: Miss) -> Self {
        self.files.files.insert(path.into(), Err(miss));
        self
    }

    /// A datagram from `from` to a port of the server
    fn send_to(&mut self, port: Port, from: SocketAddrV4, payload: &[u8]) -> Vec<Vec<u8>> {
        let datagram =
            Datagram { port, network: 3, source: from, destination: SERVER, source_mac: None, payload };
        self.deliver(&datagram).into_iter().map(|reply| reply.bytes).collect()
    }

    fn deliver(&mut self, datagram: &Datagram<'_>) -> Vec<Reply> {
        let Self { tftp, files, stats, outbox, now, .. } = self;
        tftp.on_datagram(*now, datagram, files, stats, outbox);
        assert!(self.outbox.slots().len() <= REPLIES_PER_EVENT);
        self.drain()
    }

    /// A request to port 69 from the client of that port
    fn ask(&mut self, port: u16, request: &[u8]) -> Vec<Vec<u8>> {
        self.send_to(Port::Tftp, client(port), request)
    }

    /// A packet of a transfer from the client of that port
    fn answer(&mut self, port: u16, packet: &[u8]) -> Vec<Vec<u8>> {
        self.send_to(Port::Transfer, client(port), packet)
    }

    fn ack(&mut self, port: u16, block: u16) -> Vec<Vec<u8>> {
        self.answer(port, &ack(block))
    }

    /// Lets time pass, and hands out what the server sends meanwhile and when
    fn wait(&mut self, span: Duration) -> Vec<(Duration, Vec<u8>)> {
        let start = self.now;
        let mut sent = Vec::new();
        while let Some(next) = self.tftp.next_deadline().filter(|&next| next <= start + span) {
            self.now = self.now.max(next);
            let replies = self.on_deadline();
            sent.extend(replies.into_iter().map(|reply| (self.now.since(start), reply.bytes)));
        }
        self.now = start + span;
        sent
    }

    fn on_deadline(&mut self) -> Vec<Reply> {
        let Self { tftp, files, stats, outbox, now, .. } = self;
        tftp.on_deadline(*now, files, stats, outbox);
        self.drain()
    }

    fn drain(&mut self) -> Vec<Reply> {
        self.notes.extend(self.outbox.notes().iter().map(|note| match note {
            Note::Tftp(note) => *note,
            other => panic!("not of TFTP: {other:?}"),
        }));
        let replies = self.outbox.slots().iter().flat_map(|slot| self.files.render(slot)).collect();
        self.outbox.clear();
        assert_eq!(
            self.files.open.len(),
            self.tftp.len(),
            "each transfer holds one image, and no one else does"
        );
        replies
    }

    /// The one note since the last call
    fn note(&mut self) -> TransferNote {
        let note = self.notes.pop().expect("a note");
        assert!(self.notes.is_empty(), "one note a transfer: {:?}", self.notes);
        note
    }

    fn outcome(&mut self) -> Outcome {
        self.note().outcome
    }
}

impl Files {
    /// What a driver puts on the wire for a slot
    fn render(&self, slot: &Slot) -> Vec<Reply> {
        let route = slot.route;
        assert_eq!((route.port, route.network, route.source, route.mac), (Port::Transfer, 3, SERVER, None));
        assert!(!slot.after_commit);
        let window = match slot.body {
            Body::Bytes(_) => return vec![Reply { to: route.to, bytes: slot.bytes().to_vec() }],
            Body::Window(window) => window,
            Body::Frame(_) => panic!("TFTP sends no frames"),
        };
        let bytes = &self.open[&window.image];
        let mut rest = &bytes[window.offset as usize..][..window.len as usize];
        let blocks = (0..window.blocks).map(|index| {
            let len = rest.len().min(usize::from(window.blksize));
            let (payload, behind) = rest.split_at(len);
            rest = behind;
            Reply { to: route.to, bytes: data(window.first_block.wrapping_add(index), payload) }
        });
        let blocks: Vec<_> = blocks.collect();
        assert!(rest.is_empty() && !blocks.is_empty(), "the blocks hold all of the window: {window:?}");
        blocks
    }
}

fn rrq(name: &str, options: &[(&str, &str)]) -> Vec<u8> {
    request(1, name.as_bytes(), "octet", options)
}

fn request(opcode: u8, name: &[u8], mode: &str, options: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = [&[0, opcode], name, &[0], mode.as_bytes(), &[0]].concat();
    for (name, value) in options {
        bytes.extend([name.as_bytes(), &[0], value.as_bytes(), &[0]].concat());
    }
    bytes
}

fn data(block: u16, payload: &[u8]) -> Vec<u8> {
    [&[0, 3], &block.to_be_bytes()[..], payload].concat()
}

fn ack(block: u16) -> Vec<u8> {
    [&[0, 4], &block.to_be_bytes()[..]].concat()
}

fn error(code: u8) -> Vec<u8> {
    vec![0, 5, 0, code, b'n', b'o', 0]
}

fn oack(options: &str) -> Vec<u8> {
    let mut bytes = vec![0, 6];
    for text in options.split(' ') {
        bytes.extend(text.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// The code of the one ERROR among the replies
fn error_code(replies: &[Vec<u8>]) -> u16 {
    let [reply] = replies else { panic!("one ERROR, not {replies:?}") };
    assert!(reply.starts_with(&[0, 5]) && reply.ends_with(&[0]), "{reply:?}");
    u16::from_be_bytes([reply[2], reply[3]])
}

/// The numbers of the blocks in the replies, which are all DATA
fn blocks(replies: &[Vec<u8>]) -> Vec<u16> {
    let number = |reply: &Vec<u8>| {
        assert!(reply.starts_with(&[0, 3]), "DATA, not {reply:?}");
        u16::from_be_bytes([reply[2], reply[3]])
    };
    replies.iter().map(number).collect()
}
