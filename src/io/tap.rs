//! What shards show of their conversations to whoever writes a capture (`serve --capture`): bounded, and never waited for.
//!
//! A driver without a tap does nothing of this. One with a tap copies heads: a datagram's payload to [`DATAGRAM_MAX`] bytes,
//! a window as the numbers that describe it, a connection's requests and response heads. What finds no room is counted.
//! TCP is the kernel's: its segments are not seen but told, from what was read and written and in that order.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;
use mio::net::TcpStream;

use super::socket::{BOOT_SERVER_PORT, DHCP_PORT};
use super::sockets::Sockets;
use crate::limits::{DATAGRAM_MAX, HTTP_HEAD_MAX, TAPPED_MAX};
use crate::note::Note;
use crate::proto::outbox::{Body, Datagram, Port, Slot, Window};
use crate::time::Instant;
use crate::wire::ethernet::MacAddr;
use crate::wire::tcp;

/// Something that a shard received, sent or decided
#[derive(Debug)]
pub struct Tapped {
    /// When
    pub at: Instant,
    /// The network (an index into the plan's networks); `None`: the addresses have to tell
    pub network: Option<usize>,
    /// What
    pub what: What,
    /// What was decided because of it
    pub notes: Vec<Note>,
}

/// See [`Tapped::what`]
#[derive(Debug)]
pub enum What {
    /// A client's datagram
    Asked {
        /// Its sender
        from: SocketAddrV4,
        /// The sender's MAC address, where it was seen
        mac: Option<MacAddr>,
        /// Where it went
        to: SocketAddrV4,
        /// The front of its payload
        payload: Box<[u8]>,
        /// Bytes of its payload
        len: usize,
    },
    /// A reply
    Answered {
        /// Where it leaves from
        from: SocketAddrV4,
        /// Where it goes
        to: SocketAddrV4,
        /// The frame's destination, where the kernel does not choose it
        mac: Option<MacAddr>,
        /// Its payload
        payload: Box<[u8]>,
    },
    /// Blocks of a file
    Blocks {
        /// Where they leave from
        from: SocketAddrV4,
        /// Where they go
        to: SocketAddrV4,
        /// Which
        window: Window,
    },
    /// Part of a connection
    Segment(Segment),
    /// A decision that no packet caused: somebody fell silent
    Decided,
}

/// See [`What::Segment`]
#[derive(Debug)]
pub struct Segment {
    /// The client
    pub client: SocketAddrV4,
    /// The address and port that it connected to
    pub server: SocketAddrV4,
    /// It is the client's, not the server's
    pub is_asked: bool,
    /// [`tcp::SYN`] and the like
    pub flags: u8,
    /// Numbers of the sender's first byte here, and of the other's next
    pub numbers: (u32, u32),
    /// The front of its payload
    pub payload: Box<[u8]>,
    /// Bytes of its payload
    pub len: usize,
}

/// What was tapped and is not written yet
#[derive(Debug)]
pub struct TapQueue {
    queue: ArrayQueue<Tapped>,
    lost: AtomicU64,
    is_closed: AtomicBool,
}

impl TapQueue {
    /// Nothing yet
    pub fn new() -> Self {
        let queue = ArrayQueue::new(TAPPED_MAX);
        Self { queue, lost: AtomicU64::new(0), is_closed: AtomicBool::new(false) }
    }

    /// The oldest
    pub fn pop(&self) -> Option<Tapped> {
        self.queue.pop()
    }

    /// How many found no room so far
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Takes nothing more: the file is full, or broken
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        while self.queue.pop().is_some() {}
    }

    fn push(&self, tapped: Tapped) {
        if self.queue.push(tapped).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Default for TapQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// One shard's end of the queue
pub(super) struct Tap {
    queue: Arc<TapQueue>,
    tftp_port: u16,
    transfer_port: u16,
}

impl Tap {
    /// Of the shard with these sockets
    pub(super) fn new(queue: Arc<TapQueue>, sockets: &Sockets) -> io::Result<Self> {
        let port = |socket: &socket2::Socket| {
            let address = socket.local_addr()?;
            Ok::<_, io::Error>(address.as_socket().map_or(0, |address| address.port()))
        };
        let tftp_port = port(&sockets.tftp)?;
        let transfer_port = sockets.transfers.as_ref().map_or(Ok(tftp_port), port)?;
        Ok(Self { queue, tftp_port, transfer_port })
    }

    fn port(&self, port: Port) -> u16 {
        match port {
            Port::Dhcp => DHCP_PORT,
            Port::BootServer => BOOT_SERVER_PORT,
            Port::Tftp => self.tftp_port,
            Port::Transfer => self.transfer_port,
        }
    }

    fn push(&self, at: Instant, network: Option<usize>, what: What, notes: &[Note]) {
        if !self.queue.is_closed.load(Ordering::Relaxed) {
            self.queue.push(Tapped { at, network, what, notes: notes.to_vec() });
        }
    }

    /// A datagram came, and the shard decided this
    pub(super) fn on_datagram(&self, now: Instant, datagram: &Datagram<'_>, notes: &[Note]) {
        let payload = datagram.payload;
        let what = What::Asked {
            from: datagram.source,
            mac: datagram.source_mac,
            to: SocketAddrV4::new(datagram.destination, self.port(datagram.port)),
            payload: payload[..payload.len().min(DATAGRAM_MAX)].into(),
            len: payload.len(),
        };
        self.push(now, Some(datagram.network), what, notes);
    }

    /// These replies leave, those excepted that wait for the disk
    pub(super) fn on_replies(&self, now: Instant, slots: &[Slot]) {
        for slot in slots.iter().filter(|slot| !slot.after_commit) {
            let route = &slot.route;
            let from = SocketAddrV4::new(route.source, self.port(route.port));
            let (to, mac) = (route.to, route.mac);
            let what = match slot.body {
                Body::Bytes(_) => What::Answered { from, to, mac, payload: slot.bytes().into() },
                Body::Window(window) => What::Blocks { from, to, window },
                // A probe for an address is no conversation.
                Body::Frame(_) => continue,
            };
            self.push(now, Some(route.network), what, &[]);
        }
    }

    /// Time made the shard decide this
    pub(super) fn on_notes(&self, now: Instant, notes: &[Note]) {
        if !notes.is_empty() {
            self.push(now, None, What::Decided, notes);
        }
    }
}

/// A connection as its segments are told: how many bytes went each way
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    client: SocketAddrV4,
    server: SocketAddrV4,
    received: u32,
    sent: u32,
}

impl Flow {
    /// Tells of a connection that was accepted
    pub(super) fn open(tap: &Tap, now: Instant, socket: &TcpStream) -> Option<Self> {
        let (SocketAddr::V4(client), SocketAddr::V4(server)) =
            (socket.peer_addr().ok()?, socket.local_addr().ok()?)
        else {
            return None;
        };
        let mut flow = Self { client, server, received: 0, sent: 0 };
        flow.tell(tap, now, true, tcp::SYN, &[], 0, &[]);
        flow.tell(tap, now, false, tcp::SYN | tcp::ACK, &[], 0, &[]);
        (flow.received, flow.sent) = (1, 1);
        flow.tell(tap, now, true, tcp::ACK, &[], 0, &[]);
        Some(flow)
    }

    /// The client sent these bytes
    pub(super) fn on_read(&mut self, tap: &Tap, now: Instant, bytes: &[u8]) {
        let kept = &bytes[..bytes.len().min(HTTP_HEAD_MAX)];
        self.tell(tap, now, true, tcp::PSH | tcp::ACK, kept, bytes.len(), &[]);
        self.received = self.received.wrapping_add(wrapped(bytes.len()));
    }

    /// The kernel took `len` bytes for the client: these, and a body's behind them
    pub(super) fn on_written(&mut self, tap: &Tap, now: Instant, bytes: &[u8], len: usize, notes: &[Note]) {
        self.tell(tap, now, false, tcp::PSH | tcp::ACK, bytes, len, notes);
        self.sent = self.sent.wrapping_add(wrapped(len));
    }

    /// It is closed, on both sides
    pub(super) fn close(mut self, tap: &Tap, now: Instant, notes: &[Note]) {
        self.tell(tap, now, false, tcp::FIN | tcp::ACK, &[], 0, notes);
        self.sent = self.sent.wrapping_add(1);
        self.tell(tap, now, true, tcp::FIN | tcp::ACK, &[], 0, &[]);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a segment")]
    fn tell(
        &self,
        tap: &Tap,
        now: Instant,
        is_asked: bool,
        flags: u8,
        kept: &[u8],
        len: usize,
        notes: &[Note],
    ) {
        let (own, other) = if is_asked { (self.received, self.sent) } else { (self.sent, self.received) };
        // The first segment of all acknowledges nothing; the answer to it, its one number.
        let numbers = match flags {
            tcp::SYN => (own, 0),
            flags if flags & tcp::SYN != 0 => (own, other + 1),
            _ => (own, other),
        };
        let (client, server) = (self.client, self.server);
        let segment = Segment { client, server, is_asked, flags, numbers, payload: kept.into(), len };
        tap.push(now, None, What::Segment(segment), notes);
    }
}

/// Sequence numbers wrap (RFC 9293 §3.4)
fn wrapped(len: usize) -> u32 {
    u32::try_from(len & 0xffff_ffff).unwrap_or_default()
}
