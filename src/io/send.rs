//! The flush of an outbox: a few calls a batch, and nothing lost without being counted.
//!
//! A socket whose buffer is full keeps its replies here ("parked") and is tried again every millisecond; meanwhile the
//! driver leaves that service's requests to the kernel. A network card that is busy is so for milliseconds; after a second
//! the replies are stale, and dropped.

use std::io;
use std::iter;
use std::mem;
use std::net::SocketAddrV4;
use std::os::fd::BorrowedFd;

use super::flush::{self, Burst, Way, bursts};
use super::socket::{BOOT_SERVER_PORT, DHCP_PORT};
use super::sockets::Sockets;
use super::stage::{Stage, Staged};
use super::sys::message::{Leave, Message, SendBatch, To};
use crate::content::Tree;
use crate::limits::{PARKED_MAX, PARKED_RETRY, PARKED_TIME_MAX};
use crate::proto::outbox::{Body, Port, Slot};
use crate::stats::{DropReason, Stats};
use crate::time::Instant;
use crate::wire::ethernet;
use crate::wire::frame::{UDP4_HEADERS, Udp4};

/// Sends replies
pub(super) struct Sender {
    batch: SendBatch,
    stage: Stage,
    ordered: Vec<(Way, usize)>,
    parked: Vec<Slot>,
    /// The memory of `parked`, while its replies are tried again
    spare: Vec<Slot>,
    /// By [`Way::index`]: its socket's buffer is full
    full: Vec<bool>,
    /// When the parked replies are tried again, and when a parked reply last found its way
    retry_at: Instant,
    moved_at: Instant,
    failed: Vec<SocketAddrV4>,
    sent: u64,
    refused: u64,
}

/// What a refusal means for the replies behind it
enum Refusal {
    /// The socket's buffer is full, or the card's queue: later
    Later,
    /// The kernel or the card cannot cut this message into datagrams
    CannotSegment,
    /// This one cannot be sent: no route, no such source address, a firewall's rule, an interface that is down
    Never,
}

impl Refusal {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => Self::Later,
            // EIO: no checksum offload on the route's interface; EINVAL and EMSGSIZE: its MTU is smaller than a segment.
            Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP) => Self::CannotSegment,
            _ => Self::Never,
        }
    }
}

impl Sender {
    /// For sockets of so many networks
    pub(super) fn new(networks: usize) -> Self {
        Self {
            batch: SendBatch::new(),
            stage: Stage::new(),
            ordered: Vec::new(),
            parked: Vec::new(),
            spare: Vec::new(),
            full: vec![false; Way::Link(networks).index()],
            retry_at: Instant::FAR,
            moved_at: Instant::ZERO,
            failed: Vec::new(),
            sent: 0,
            refused: 0,
        }
    }

    /// Whether replies wait for that socket
    pub(super) fn is_full(&self, way: Way) -> bool {
        self.full.get(way.index()).copied().unwrap_or(false)
    }

    /// When [`Sender::retry`] is due
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        (!self.parked.is_empty()).then_some(self.retry_at)
    }

    /// Takes those whose images failed while they were read
    pub(super) fn poll_failed(&mut self) -> Option<SocketAddrV4> {
        self.failed.pop()
    }

    /// Adds what was sent and refused since the last time
    pub(super) fn count(&mut self, stats: &mut Stats) {
        stats.datagrams_out += mem::take(&mut self.sent);
        for _ in 0..mem::take(&mut self.refused) {
            stats.drop(DropReason::SendFailed);
        }
    }

    /// Sends the replies that do not wait for a commit
    pub(super) fn send(&mut self, now: Instant, slots: &[Slot], sockets: &Sockets, images: &mut Tree) {
        let mut ordered = mem::take(&mut self.ordered);
        flush::order(slots, &mut ordered);
        let was_parked = self.parked.len();
        for run in ordered.chunk_by(|a, b| a.0 == b.0) {
            self.send_by(now, run, slots, sockets, images);
        }
        self.ordered = ordered;
        if self.parked.len() > was_parked {
            if was_parked == 0 {
                self.moved_at = now;
            }
            self.retry_at = now + PARKED_RETRY;
        }
    }

    /// Tries the parked replies again
    pub(super) fn retry(&mut self, now: Instant, sockets: &Sockets, images: &mut Tree) {
        if self.parked.is_empty() || now < self.retry_at {
            return;
        }
        self.full.fill(false);
        let (sent, moved_at) = (self.sent, self.moved_at);
        let mut waiting = mem::replace(&mut self.parked, mem::take(&mut self.spare));
        self.send(now, &waiting, sockets, images);
        waiting.clear();
        self.spare = waiting;
        if self.sent > sent {
            self.moved_at = now;
            return;
        }
        self.moved_at = moved_at;
        if now.since(moved_at) > PARKED_TIME_MAX {
            self.refused += self.parked.len() as u64;
            self.parked.clear();
            self.full.fill(false);
        }
    }

    fn send_by(
        &mut self,
        now: Instant,
        run: &[(Way, usize)],
        slots: &[Slot],
        sockets: &Sockets,
        images: &mut Tree,
    ) {
        let way = run[0].0;
        let Some(socket) = sockets.by(way) else {
            self.refused += run.len() as u64;
            return;
        };
        for &(_, index) in run {
            let slot = &slots[index];
            if let Body::Window(window) = slot.body {
                for burst in bursts(window) {
                    let part = burst.window;
                    let is_loaded = images.load(now, part.image, part.offset, part.len as usize);
                    let bytes = if is_loaded { burst.header_bytes() } else { burst.bytes() };
                    self.make_room(bytes, way, socket, slots, sockets, images);
                    if self.is_full(way) {
                        self.park_burst(slot, burst);
                    } else if is_loaded {
                        self.stage.push_gathered(index, burst);
                    } else if self.stage.push_read(index, burst, images).is_err() {
                        self.failed.push(slot.route.to);
                        break;
                    }
                }
                continue;
            }
            self.make_room(UDP4_HEADERS, way, socket, slots, sockets, images);
            if self.is_full(way) {
                self.park(slot.clone());
                continue;
            }
            match headers(way, slot, sockets) {
                Some((headers, skip)) => self.stage.push(index, &headers[skip..]),
                None => self.refused += 1,
            }
        }
        self.transmit(way, socket, slots, sockets, images);
    }

    fn make_room(
        &mut self,
        bytes: usize,
        way: Way,
        socket: BorrowedFd<'_>,
        slots: &[Slot],
        sockets: &Sockets,
        images: &Tree,
    ) {
        if !self.stage.has_room(bytes) {
            self.transmit(way, socket, slots, sockets, images);
        }
    }

    /// Sends what is staged; parks what the socket has no room for
    fn transmit(
        &mut self,
        way: Way,
        socket: BorrowedFd<'_>,
        slots: &[Slot],
        sockets: &Sockets,
        images: &Tree,
    ) {
        let mut at = 0;
        while let Some(first) = self.stage.messages().get(at).cloned() {
            if self.is_full(way) {
                self.park_staged(&first, slots);
                at += 1;
                continue;
            }
            let stage = &self.stage;
            let left = &stage.messages()[at..];
            let messages =
                left.iter().map(|staged| message(stage, staged, &slots[staged.slot], way, sockets, images));
            match self.batch.send(socket, messages) {
                Ok(taken) => {
                    self.sent += left[..taken].iter().map(|staged| u64::from(datagrams(staged))).sum::<u64>();
                    at += taken;
                }
                Err(error) => match (Refusal::of(&error), first.burst) {
                    (Refusal::Later, _) => self.full[way.index()] = true,
                    (Refusal::CannotSegment, Some(burst)) if burst.window.blocks > 1 => {
                        self.transmit_blocks(way, socket, burst, &first, &slots[first.slot], images);
                        at += 1;
                    }
                    _ => {
                        self.refused += u64::from(datagrams(&first));
                        at += 1;
                    }
                },
            }
        }
        self.stage.clear();
    }

    /// Sends the blocks of one message as datagrams of their own
    fn transmit_blocks(
        &mut self,
        way: Way,
        socket: BorrowedFd<'_>,
        burst: Burst,
        staged: &Staged,
        slot: &Slot,
        images: &Tree,
    ) {
        let mut done: u16 = 0;
        while done < burst.window.blocks {
            let blocks = (done..burst.window.blocks).filter_map(|number| staged.block(number));
            let to = To::Udp(slot.route.to);
            let leave = Some(leave(slot, 0));
            let stage = &self.stage;
            let messages =
                blocks.map(|block| Message { parts: stage.parts(&block, images), to, leave, segment: None });
            match self.batch.send(socket, messages) {
                Ok(taken) => {
                    self.sent += taken as u64;
                    done += u16::try_from(taken).expect("no more than a batch");
                }
                Err(error) if matches!(Refusal::of(&error), Refusal::Later) => {
                    self.full[way.index()] = true;
                    return self.park_burst(slot, burst.after(done));
                }
                Err(_) => {
                    self.refused += 1;
                    done += 1;
                }
            }
        }
    }

    fn park_staged(&mut self, staged: &Staged, slots: &[Slot]) {
        let slot = &slots[staged.slot];
        match staged.burst {
            Some(burst) => self.park_burst(slot, burst),
            None => self.park(slot.clone()),
        }
    }

    fn park_burst(&mut self, slot: &Slot, burst: Burst) {
        let mut slot = slot.clone();
        slot.body = Body::Window(burst.window);
        self.park(slot);
    }

    fn park(&mut self, slot: Slot) {
        if self.parked.len() < PARKED_MAX {
            self.parked.push(slot);
        } else {
            self.refused += 1;
        }
    }
}

/// How many datagrams a message becomes
fn datagrams(staged: &Staged) -> u16 {
    staged.burst.map_or(1, |burst| burst.window.blocks)
}

/// The headers that go before a reply's bytes, and where in them the socket's own begin. `None`: the reply is too long, or its
/// interface is not served.
fn headers(way: Way, slot: &Slot, sockets: &Sockets) -> Option<([u8; UDP4_HEADERS], usize)> {
    let source_port = match slot.route.port {
        Port::BootServer => BOOT_SERVER_PORT,
        _ => DHCP_PORT,
    };
    let (source_mac, skip) = match way {
        Way::Link(_) if matches!(slot.body, Body::Frame(_)) => {
            return Some(([0; UDP4_HEADERS], UDP4_HEADERS));
        }
        Way::Link(network) => (sockets.link(network)?.mac, 0),
        Way::Routed => (ethernet::MacAddr::ZERO, ethernet::HEADER_LEN),
        _ => return Some(([0; UDP4_HEADERS], UDP4_HEADERS)),
    };
    let udp = Udp4 {
        source_mac,
        destination_mac: slot.route.mac.unwrap_or(ethernet::MacAddr::ZERO),
        source: SocketAddrV4::new(slot.route.source, source_port),
        destination: slot.route.to,
    };
    Some((udp.headers(slot.bytes()).ok()?, skip))
}

/// Where a UDP reply leaves from: the address that was asked, so that firewalls and clients know it. A broadcast has to name
/// its interface; else the kernel's routes decide.
fn leave(slot: &Slot, interface: u32) -> Leave {
    let source = Some(slot.route.source).filter(|source| !source.is_unspecified() && !source.is_broadcast());
    Leave { interface: if slot.route.to.ip().is_broadcast() { interface } else { 0 }, source }
}

fn message<'m>(
    stage: &'m Stage,
    staged: &Staged,
    slot: &'m Slot,
    way: Way,
    sockets: &Sockets,
    images: &'m Tree,
) -> Message<impl Iterator<Item = &'m [u8]>> {
    let route = &slot.route;
    let interface = sockets.interface(route.network);
    let (to, leave) = match (way, slot.body) {
        (Way::Link(_), Body::Frame(_)) => (link_of(slot.bytes(), interface), None),
        (Way::Link(_), _) => {
            let mac = route.mac.unwrap_or(ethernet::MacAddr::BROADCAST).0;
            (To::Link { interface, ethertype: ethernet::IPV4, mac }, None)
        }
        // The port is in the packet; the address tells the kernel the route.
        (Way::Routed, _) => (To::Udp(SocketAddrV4::new(*route.to.ip(), 0)), None),
        _ => (To::Udp(route.to), Some(leave(slot, interface))),
    };
    Message {
        parts: stage.parts(staged, images).chain(iter::once(slot.bytes()).filter(|bytes| !bytes.is_empty())),
        to,
        leave,
        segment: staged.burst.and_then(Burst::segment),
    }
}

/// Where a whole frame goes
fn link_of(frame: &[u8], interface: u32) -> To {
    let (mac, ethertype) = match ethernet::parse(frame) {
        Ok(frame) => (frame.header.destination.0, frame.header.ethertype.get()),
        Err(_) => (ethernet::MacAddr::BROADCAST.0, ethernet::ARP),
    };
    To::Link { interface, ethertype, mac }
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
