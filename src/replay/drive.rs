//! Feeds the client's side of a capture to a shard, by the capture's clock, and collects what the shard answers.
//!
//! The shard is the one that `serve` runs. Its deadlines fall due between the frames; what it sends is written down in
//! place of being sent, and what must be on disk first counts as written.
//!
//! A captured client follows the captured server. Where ours offers another address, what the client then asks for is
//! rewritten to what it would have asked of us; where ours sends other windows or blocks, its acknowledgements are
//! given as a client of ours would give them, none before the captured client had those bytes.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::files::Files;
use super::report::{Reply, Response, Sent, Withheld};
use super::rewrite::{Moved, rewrite};
use crate::heard::{Heard, What};
use crate::note::{Advice, DhcpNote, Note};
use crate::proto::http::{ConnectionId, Output};
use crate::proto::outbox::{Body, Datagram, Outbox, Port, Slot, Window};
use crate::shard::Shard;
use crate::time::Instant;
use crate::wire::dhcp::{Message, PXE_PORT, SERVER_PORT};
use crate::wire::ethernet::MacAddr;
use crate::wire::tftp::{self, Packet, emit_ack};

/// Deadlines that one moment may hold: a shard that has more of them makes no progress
const DEADLINES_PER_MOMENT: usize = 1 << 20;

/// What a shard did about a DHCP request
#[derive(Clone, Debug, Default)]
pub(super) struct Answered {
    pub request: Vec<u8>,
    pub rewritten: bool,
    pub withheld: Option<Withheld>,
    pub replies: Vec<Reply>,
    pub decision: Option<DhcpNote>,
}

/// What a shard did about a transfer
#[derive(Clone, Debug, Default)]
pub(super) struct Transferred {
    pub sent: Sent,
    pub compared: u64,
    pub unequal_at: Option<u64>,
    /// The last block of the last window that was sent, and the byte behind it
    top: Option<Top>,
    acknowledged: Option<Top>,
    agreed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Top {
    block: u16,
    end: u64,
    is_last: bool,
}

/// What a shard did about a connection
#[derive(Clone, Debug, Default)]
pub(super) struct Served {
    id: Option<ConnectionId>,
    pub responses: Vec<Response>,
}

/// All that a shard did
#[derive(Debug)]
pub(super) struct Done {
    pub answered: Vec<Answered>,
    pub transferred: Vec<Transferred>,
    pub served: Vec<Served>,
    pub advice: Vec<(Instant, Advice)>,
}

/// A shard and the capture that it is fed
pub(super) struct Driver<'h, 'c> {
    heard: &'h Heard<'c>,
    shard: Shard<Files>,
    outbox: Outbox,
    /// An empty one, in its place while it is drained
    spare: Option<Outbox>,
    /// The moment of the last event or deadline
    now: Instant,
    /// Which of the plan's networks the capture was taken on
    network: usize,
    /// The server of the capture
    theirs: Option<Ipv4Addr>,
    done: Done,
    /// The last request of each `xid` and of each MAC address, the last transfer of each client's address and port
    by_xid: HashMap<u32, usize>,
    by_mac: HashMap<MacAddr, usize>,
    by_client: HashMap<SocketAddrV4, usize>,
    by_connection: HashMap<u64, usize>,
    moved: HashMap<Vec<u8>, Moved>,
}

impl<'h, 'c> Driver<'h, 'c> {
    pub(super) fn new(
        heard: &'h Heard<'c>,
        shard: Shard<Files>,
        network: usize,
        theirs: Option<Ipv4Addr>,
    ) -> Self {
        Self {
            heard,
            shard,
            outbox: Outbox::new(),
            spare: Some(Outbox::new()),
            now: Instant::ZERO,
            network,
            theirs,
            done: Done {
                answered: vec![Answered::default(); heard.requests.len()],
                transferred: vec![Transferred::default(); heard.transfers.len()],
                served: vec![Served::default(); heard.connections.len()],
                advice: Vec::new(),
            },
            by_xid: HashMap::new(),
            by_mac: HashMap::new(),
            by_client: HashMap::new(),
            by_connection: HashMap::new(),
            moved: HashMap::new(),
        }
    }

    /// Feeds all of it
    pub(super) fn run(mut self) -> Done {
        for event in &self.heard.events {
            self.let_time_pass(event.at);
            self.on_event(event.at, event.what);
        }
        self.done
    }

    fn let_time_pass(&mut self, until: Instant) {
        for _ in 0..DEADLINES_PER_MOMENT {
            let Some(due) = self.shard.next_deadline().filter(|due| *due <= until) else { break };
            // A deadline that is over by now is due now: for a shard, too, time never runs backwards.
            let due = due.max(self.now);
            self.now = due;
            self.shard.on_deadline(due, &mut self.outbox);
            self.drain(due);
            while let Some(id) = self.shard.poll_changed() {
                self.pump(due, id);
            }
        }
        self.now = until;
    }

    fn on_event(&mut self, now: Instant, what: What<'c>) {
        match what {
            What::Dhcp(index) => self.on_request(now, index),
            What::Tftp(index) => {
                let transfer = &self.heard.transfers[index];
                self.by_client.insert(transfer.client, index);
                self.on_tftp(now, index, Port::Tftp, transfer.raw);
            }
            What::Acknowledged(index, bytes) => self.on_acknowledged(now, index, bytes),
            What::Stopped(index, packet) => self.on_tftp(now, index, Port::Transfer, packet),
            What::Opened(index) => {
                let peer = self.heard.connections[index].client;
                self.done.served[index].id = self.shard.on_accept(now, peer);
                if let Some(id) = self.done.served[index].id {
                    self.by_connection.insert(id.to_u64(), index);
                }
            }
            What::Bytes(index, bytes) => {
                if let Some(id) = self.done.served[index].id {
                    self.shard.on_bytes(now, id, bytes);
                    self.pump(now, id);
                }
            }
            What::Closed(index) => {
                if let Some(id) = self.done.served[index].id.take() {
                    self.shard.on_hangup(now, id, &mut self.outbox);
                    self.drain(now);
                }
            }
        }
    }

    // --- DHCP ---

    fn on_request(&mut self, now: Instant, index: usize) {
        let request = &self.heard.requests[index];
        let own = self.shard.plan().networks()[self.network].address;
        let to = *request.heading.destination.ip();
        let mut bytes = request.heading.bytes().to_vec();
        let answered = &mut self.done.answered[index];
        let withheld = if request.heading.lacks_options() {
            Some(Withheld::Cut)
        } else if to.is_broadcast() || to == own || Some(to) == self.theirs {
            None
        } else {
            Some(Withheld::OtherServer)
        };
        if let Some(moved) = self.moved.get(request.heading.message().chaddr()) {
            answered.rewritten = rewrite(&mut bytes, moved);
        }
        answered.request.clone_from(&bytes);
        answered.withheld = withheld;
        if withheld.is_some() {
            return;
        }
        let message = request.heading.message();
        self.by_xid.insert(message.header().xid.get(), index);
        self.by_mac.insert(message.mac().unwrap_or(MacAddr::ZERO), index);
        let port = if request.heading.destination.port() == PXE_PORT { Port::BootServer } else { Port::Dhcp };
        let datagram = Datagram {
            port,
            network: self.network,
            source: request.heading.source,
            destination: if to.is_broadcast() { to } else { own },
            source_mac: request.heading.source_mac,
            payload: &bytes,
        };
        self.shard.on_datagram(now, &datagram, &mut self.outbox);
        self.drain(now);
    }

    fn on_reply(&mut self, now: Instant, slot: &Slot) {
        let payload = slot.bytes();
        let Ok(message) = Message::parse(payload) else { return };
        let Some(&index) = self.by_xid.get(&message.header().xid.get()) else { return };
        let port = if slot.route.port == Port::BootServer { PXE_PORT } else { SERVER_PORT };
        self.done.answered[index].replies.push(Reply {
            at: now,
            from: SocketAddrV4::new(slot.route.source, port),
            to: slot.route.to,
            mac: slot.route.mac,
            payload: payload.to_vec(),
        });
        if let Some(moved) = Moved::between(&self.heard.requests[index], self.theirs, &message) {
            self.moved.insert(message.chaddr().to_vec(), moved);
        }
    }

    // --- TFTP ---

    fn on_tftp(&mut self, now: Instant, index: usize, port: Port, payload: &[u8]) {
        let transfer = &self.heard.transfers[index];
        let datagram = Datagram {
            port,
            network: 0,
            source: transfer.client,
            destination: transfer.server,
            source_mac: None,
            payload,
        };
        self.shard.on_datagram(now, &datagram, &mut self.outbox);
        self.drain(now);
    }

    /// The captured client has `bytes` bytes; a client of ours, which has the same, acknowledges every window that ends there
    fn on_acknowledged(&mut self, now: Instant, index: usize, bytes: u64) {
        let transferred = &mut self.done.transferred[index];
        if transferred.sent.granted.is_some() && !transferred.agreed {
            transferred.agreed = true;
            self.on_tftp(now, index, Port::Transfer, &emit_ack(0));
        }
        loop {
            let transferred = &mut self.done.transferred[index];
            let Some(top) = transferred.top.filter(|top| top.end <= bytes) else { return };
            if transferred.acknowledged == Some(top)
                || transferred.acknowledged.is_some_and(|top| top.is_last)
            {
                return;
            }
            transferred.acknowledged = Some(top);
            self.on_tftp(now, index, Port::Transfer, &emit_ack(top.block));
        }
    }

    fn on_window(&mut self, to: SocketAddrV4, port: Port, window: &Window) {
        let Some(&index) = self.by_client.get(&to) else { return };
        let sent = self.shard.images().read(window.image, window.offset, window.len as usize);
        let transferred = &mut self.done.transferred[index];
        let end = window.offset + u64::from(window.len);
        for (offset, kept) in self.heard.transfers[index].parts_between(window.offset, end) {
            let at = usize::try_from(offset - window.offset).unwrap_or(usize::MAX);
            let same = |(ours, theirs): (&u8, &u8)| ours == theirs;
            let ours = sent.get(at..).unwrap_or_default();
            let equal = ours.iter().zip(kept).take_while(|pair| same(*pair)).count();
            if equal < kept.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX)) {
                transferred.unequal_at = transferred.unequal_at.or(Some(offset + equal as u64));
            }
            if offset >= transferred.sent.bytes {
                transferred.compared += equal as u64;
            }
        }
        let whole_blocks = u64::from(window.blocks) * u64::from(window.blksize);
        let is_last = u64::from(window.len) < whole_blocks;
        if end > transferred.sent.bytes || transferred.top.is_none() || is_last {
            let block = window.first_block.wrapping_add(window.blocks - 1);
            transferred.top = Some(Top { block, end, is_last });
        }
        transferred.sent.blocks =
            transferred.sent.blocks.max(window.offset / u64::from(window.blksize) + u64::from(window.blocks));
        transferred.sent.port = Some(port);
        transferred.sent.bytes = transferred.sent.bytes.max(end);
        transferred.sent.is_whole |= is_last;
    }

    fn on_tftp_reply(&mut self, to: SocketAddrV4, port: Port, payload: &[u8]) {
        let Some(&index) = self.by_client.get(&to) else { return };
        let sent = &mut self.done.transferred[index].sent;
        sent.port = Some(port);
        match tftp::parse(payload) {
            Ok(Packet::Oack(options)) => {
                sent.granted = Some(super::words::options(options));
                sent.oack = payload.to_vec();
            }
            Ok(Packet::Error { code, message }) if sent.error.is_none() => {
                sent.error = Some((code, String::from_utf8_lossy(message).into_owned()));
            }
            _ => {}
        }
    }

    // --- HTTP ---

    /// Takes all that a connection has to send
    fn pump(&mut self, now: Instant, id: ConnectionId) {
        let Some(&index) = self.by_connection.get(&id.to_u64()) else { return };
        loop {
            let served = &mut self.done.served[index];
            let written = match self.shard.poll_output(id) {
                Output::Wait | Output::Hold => return,
                Output::Close => {
                    served.id = None;
                    self.shard.on_hangup(now, id, &mut self.outbox);
                    return self.drain(now);
                }
                Output::Bytes { bytes, .. } => {
                    served.on_bytes(bytes);
                    bytes.len() as u64
                }
                Output::Image { len, .. } => {
                    if let Some(response) = served.responses.last_mut() {
                        response.body += len;
                    }
                    len
                }
            };
            self.shard.on_written(now, id, written, &mut self.outbox);
            self.drain(now);
        }
    }

    // --- What comes out ---

    fn drain(&mut self, now: Instant) {
        let Some(spare) = self.spare.take() else { return };
        let mut outbox = std::mem::replace(&mut self.outbox, spare);
        for slot in outbox.slots() {
            let route = &slot.route;
            match (&slot.body, route.port) {
                (Body::Bytes(_), Port::Dhcp | Port::BootServer) => self.on_reply(now, slot),
                (Body::Bytes(_), port) => self.on_tftp_reply(route.to, port, slot.bytes()),
                (Body::Window(window), port) => self.on_window(route.to, port, window),
                // A probe for a conflict: in a capture nobody answers it.
                (Body::Frame(_), _) => {}
            }
        }
        for note in outbox.notes() {
            self.on_note(now, note);
        }
        outbox.clear();
        self.spare = Some(outbox);
    }

    fn on_note(&mut self, now: Instant, note: &Note) {
        match note {
            Note::Dhcp(decision) => {
                if let Some(&index) = self.by_mac.get(&decision.mac) {
                    self.done.answered[index].decision = Some(*decision);
                }
            }
            Note::Tftp(end) => {
                if let Some(&index) = self.by_client.get(&end.peer) {
                    self.done.transferred[index].sent.outcome = Some(end.outcome);
                }
            }
            Note::Http(_) => {}
            Note::Advice(advice) => self.done.advice.push((now, *advice)),
        }
    }
}

impl Served {
    /// A head, or bytes between a body's parts
    fn on_bytes(&mut self, bytes: &[u8]) {
        if bytes.starts_with(b"HTTP/1.") {
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
            let body = (bytes.len() - end) as u64;
            self.responses.push(Response { head: bytes[..end].to_vec(), body });
        } else if let Some(response) = self.responses.last_mut() {
            response.body += bytes.len() as u64;
        }
    }
}
