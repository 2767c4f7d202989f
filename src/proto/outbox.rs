//! What the protocol machines produce: datagrams written in place, windows of an image, lease changes, decisions.
//!
//! All capacity is taken at start. A driver hands in a batch, then drains the outbox with one batch of calls; it never
//! calls a machine unless [`Outbox::has_room`], so a machine's `expect` on a slot is an invariant and not a hope.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::boot::image::ImageId;
use crate::boot::lease::LeaseChange;
use crate::limits::{BATCH, OUTBOX_SLOTS, REPLIES_PER_EVENT, SLOT_BYTES};
use crate::note::Note;
use crate::wire::ethernet::MacAddr;

/// The service that a datagram came to, and that a reply leaves from
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// DHCP's 67, on the packet socket of a network
    Dhcp,
    /// The PXE boot server's 4011
    BootServer,
    /// TFTP's 69
    Tftp,
    /// The shard's own transfer identifier (RFC 1350 §4); the same socket as [`Port::Tftp`] in single-port mode
    Transfer,
}

/// One received datagram
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// The service it came to
    pub port: Port,
    /// The network (an index into the plan's networks) whose interface it came in by; 0 where the socket does not tell
    pub network: usize,
    /// Its sender
    pub source: SocketAddrV4,
    /// The address it was sent to: a reply leaves from this one, unless it is a broadcast
    pub destination: Ipv4Addr,
    /// The sender's MAC address, where a packet socket saw it
    pub source_mac: Option<MacAddr>,
    /// The UDP payload
    pub payload: &'a [u8],
}

/// How a reply reaches its client
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The service it leaves from
    pub port: Port,
    /// The network (an index into the plan's networks) whose interface it leaves by
    pub network: usize,
    /// The source address
    pub source: Ipv4Addr,
    /// The destination
    pub to: SocketAddrV4,
    /// The frame's destination, where the client has no address that the kernel could resolve (RFC 2131 §4.1), or it is
    /// broadcast; `None` leaves it to the kernel's routes
    pub mac: Option<MacAddr>,
}

/// A number of blocks of an image, sent as consecutive DATA packets (RFC 1350, RFC 7440)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The image
    pub image: ImageId,
    /// Offset of the first block, in bytes
    pub offset: u64,
    /// Payload of all the blocks together, in bytes: every block but the last holds `blksize` of them
    pub len: u32,
    /// Bytes a block
    pub blksize: u16,
    /// Number of the first block; they wrap from 65535 to 0
    pub first_block: u16,
    /// How many DATA packets: an image whose size is a multiple of `blksize` ends with an empty one
    pub blocks: u16,
}

/// What one slot of the outbox holds
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// That many bytes of the slot's own buffer
    Bytes(usize),
    /// Blocks of an image; the slot's buffer is unused
    Window(Window),
    /// A whole Ethernet frame in the slot's buffer (ARP): sent as it is
    Frame(usize),
}

/// One reply
#[derive(Clone, Debug)]
pub struct Slot {
    /// How it reaches its client
    pub route: Route,
    /// What it holds
    pub body: Body,
    /// It leaves only when the lease changes of this outbox are on disk
    pub after_commit: bool,
    /// Apart, so that a reply that waits is handed over without a copy
    bytes: Box<[u8; SLOT_BYTES]>,
}

impl Slot {
    /// An empty one, to be given for one that is taken
    pub fn new() -> Self {
        let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let route = Route { port: Port::Dhcp, network: 0, source: *any.ip(), to: any, mac: None };
        Self { route, body: Body::Bytes(0), after_commit: false, bytes: Box::new([0; SLOT_BYTES]) }
    }

    /// The bytes of [`Body::Bytes`] or [`Body::Frame`]; empty for a window
    pub fn bytes(&self) -> &[u8] {
        match self.body {
            Body::Bytes(len) | Body::Frame(len) => &self.bytes[..len],
            Body::Window(_) => &[],
        }
    }
}

/// Replies, lease changes and decisions of one batch
#[derive(Debug)]
pub struct Outbox {
    slots: Vec<Slot>,
    used: usize,
    changes: Vec<LeaseChange>,
    notes: Vec<Note>,
}

impl Outbox {
    /// An empty outbox with all its capacity taken
    pub fn new() -> Self {
        Self {
            slots: vec![Slot::new(); OUTBOX_SLOTS],
            used: 0,
            changes: Vec::with_capacity(OUTBOX_SLOTS),
            notes: Vec::with_capacity(OUTBOX_SLOTS * 2),
        }
    }

    /// Whether one more event may be handed to a machine
    pub fn has_room(&self) -> bool {
        self.slots.len() - self.used >= REPLIES_PER_EVENT
            && self.changes.len() <= OUTBOX_SLOTS - BATCH
            && self.notes.len() <= OUTBOX_SLOTS
    }

    /// Writes one datagram in place. `compose` returns how many bytes it wrote, or `None` for no reply after all.
    ///
    /// # Panics
    /// When the driver called without room: [`Outbox::has_room`] is its promise.
    pub fn datagram(&mut self, route: Route, compose: impl FnOnce(&mut [u8; SLOT_BYTES]) -> Option<usize>) {
        let slot = &mut self.slots[self.used];
        if let Some(len) = compose(&mut slot.bytes) {
            assert!(len <= SLOT_BYTES, "a composed datagram fits its slot");
            (slot.route, slot.body, slot.after_commit) = (route, Body::Bytes(len), false);
            self.used += 1;
        }
    }

    /// As [`Outbox::datagram`], for a reply that leaves only when the lease changes before it are on disk
    pub fn datagram_after_commit(
        &mut self,
        route: Route,
        compose: impl FnOnce(&mut [u8; SLOT_BYTES]) -> Option<usize>,
    ) {
        let before = self.used;
        self.datagram(route, compose);
        for slot in &mut self.slots[before..self.used] {
            slot.after_commit = true;
        }
    }

    /// Queues blocks of an image
    pub fn window(&mut self, route: Route, window: Window) {
        let slot = &mut self.slots[self.used];
        (slot.route, slot.body, slot.after_commit) = (route, Body::Window(window), false);
        self.used += 1;
    }

    /// Writes a whole Ethernet frame (an ARP probe) for a network's packet socket
    pub fn frame(&mut self, network: usize, compose: impl FnOnce(&mut [u8; SLOT_BYTES]) -> Option<usize>) {
        let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let route = Route { port: Port::Dhcp, network, source: Ipv4Addr::UNSPECIFIED, to: any, mac: None };
        let before = self.used;
        self.datagram(route, compose);
        for slot in &mut self.slots[before..self.used] {
            if let Body::Bytes(len) = slot.body {
                slot.body = Body::Frame(len);
            }
        }
    }

    /// Records a change of a lease, to be on disk before any [`Outbox::datagram_after_commit`] that follows
    pub fn lease(&mut self, change: LeaseChange) {
        self.changes.push(change);
    }

    /// Records a decision for whoever prints it
    pub fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// The replies so far, in order
    pub fn slots(&self) -> &[Slot] {
        &self.slots[..self.used]
    }

    /// Takes a reply out for later and leaves `spare` in its place, which is not sent
    pub fn take(&mut self, index: usize, spare: Slot) -> Slot {
        std::mem::replace(&mut self.slots[..self.used][index], Slot { after_commit: true, ..spare })
    }

    /// The lease changes so far, in order
    pub fn changes(&self) -> &[LeaseChange] {
        &self.changes
    }

    /// The decisions so far, in order
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Empties it, keeping its capacity
    pub fn clear(&mut self) {
        self.used = 0;
        self.changes.clear();
        self.notes.clear();
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}
