//! The server's host: the production shard, and around it what its kernel, its cards and its disk do.
//!
//! Lease changes are on disk a moment after they are made, and replies wait for them, as with the real store; a crash forgets
//! what was not. Who has which address is learnt by ARP, as a kernel learns it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use smoltcp::wire::DhcpPacket;

use super::bug::{Bug, as_leased};
use super::frames::{Arp, BROADCAST, Heard, Udp, parse};
use super::message::addressee;
use super::site::{RELAY_MAC, SERVER_MAC, Site};
use crate::boot::image::ImageId;
use crate::boot::lease::{Lease, LeaseChange, Leases};
use crate::boot::plan::{Cidr, Plan};
use crate::content::Memory;
use crate::proto::http::{ConnectionId, Output};
use crate::proto::outbox::{Body, Datagram, Outbox, Port, Slot, Window};
use crate::proto::tftp;
use crate::proto::wires::Wires;
use crate::shard::Shard;
use crate::time::{Duration, Instant};
use crate::wire::arp;
use crate::wire::ethernet::MacAddr;
use crate::wire::tftp::emit_data_header;

/// A group commit of the lease store
const COMMIT_TIME: Duration = Duration::from_millis(2);
/// What one write to a connection takes: the kernel's send buffer
const CHUNK: u64 = 64 << 10;
/// Leases of a rack
const LEASES: usize = 1 << 16;
/// The shard's transfer identifier
const TRANSFER_PORT: u16 = 40_069;
/// Frames that wait for one neighbour's ARP answer (Linux: `unres_qlen`)
const UNRESOLVED_MAX: usize = 64;

/// A machine's connection
pub(crate) type StreamId = (usize, u32);

/// What goes down a connection in one write
#[derive(Clone, Debug)]
pub(crate) enum Chunk {
    Bytes(Vec<u8>),
    Image { id: ImageId, offset: u64, len: u64 },
}

impl Chunk {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Image { len, .. } => *len,
        }
    }
}

/// What the host does to the world
pub(crate) enum HostOut {
    Frame { network: usize, frame: Vec<u8> },
    Chunk { stream: StreamId, id: ConnectionId, chunk: Chunk },
    Opened { stream: StreamId },
    Closed { stream: StreamId },
}

/// The server and its host
pub(crate) struct Host {
    shard: Shard<Memory>,
    outbox: Outbox,
    /// An empty one, in its place while it is drained
    spare: Option<Outbox>,
    plan: Arc<Plan>,
    wires: Option<Arc<Wires>>,
    tftp: tftp::Settings,
    addresses: [Ipv4Addr; 2],
    links: [Cidr; 2],
    bug: Option<Bug>,
    /// [`Bug::DoubleLease`]'s: who was really given which
    leased: HashMap<MacAddr, Ipv4Addr>,
    neighbours: HashMap<Ipv4Addr, MacAddr>,
    unresolved: HashMap<Ipv4Addr, Vec<Slot>>,
    /// Replies that wait for the disk, and what is not on it yet
    held: VecDeque<(Instant, Slot)>,
    unwritten: VecDeque<(Instant, LeaseChange)>,
    disk: HashMap<Ipv4Addr, Lease>,
    streams: HashMap<StreamId, ConnectionId>,
    clients: HashMap<u64, StreamId>,
    /// Connections with a write on its way
    busy: HashSet<u64>,
    early: HashMap<u64, Vec<u8>>,
    pub out: Vec<HostOut>,
}

impl Host {
    pub(crate) fn new(site: &Site, bug: Option<Bug>, now: Instant) -> Self {
        let (plan, tftp) = (site.plan(), site.tftp);
        let shard = Shard::new(plan.clone(), tftp, site.files.to_memory(), Some(Leases::new(LEASES)), now);
        let mut host = Self {
            shard,
            wires: None,
            outbox: Outbox::new(),
            spare: Some(Outbox::new()),
            plan,
            tftp,
            addresses: [site.server, site.proxy],
            links: [site.full(), site.other_link()],
            bug,
            leased: HashMap::new(),
            neighbours: HashMap::new(),
            unresolved: HashMap::new(),
            held: VecDeque::new(),
            unwritten: VecDeque::new(),
            disk: HashMap::new(),
            streams: HashMap::new(),
            clients: HashMap::new(),
            busy: HashSet::new(),
            early: HashMap::new(),
            out: Vec::new(),
        };
        host.share_wires(now);
        host
    }

    /// As the server's start does, and its reload where the plan's rates have changed
    fn share_wires(&mut self, now: Instant) {
        let wires = match &self.wires {
            Some(wires) => Some(wires.with_rates(self.plan.rates())),
            None => Wires::new(self.plan.rates()),
        };
        self.wires = wires.map(Arc::new);
        if let Some(wires) = &self.wires {
            self.shard.share_wires(now, Arc::clone(wires));
        }
    }

    /// A plan takes over that differs in its rates
    pub(crate) fn on_plan(&mut self, plan: Arc<Plan>, now: Instant) {
        self.plan = plan;
        self.shard.on_plan(Arc::clone(&self.plan));
        self.share_wires(now);
        while let Some(id) = self.shard.poll_changed() {
            self.pump(now, id);
        }
    }

    /// The process is killed, and another starts with what is on the disk
    pub(crate) fn restart(&mut self, site: &Site, now: Instant) {
        self.write_due(now);
        let mut leases = Leases::new(LEASES);
        let mut known: Vec<_> = self.disk.values().copied().collect();
        known.sort_by_key(|lease| lease.address);
        for lease in known {
            // The disk holds no two leases of one address.
            let _ = leases.restore(now, lease);
        }
        self.shard = Shard::new(self.plan.clone(), self.tftp, site.files.to_memory(), Some(leases), now);
        self.wires = None;
        self.share_wires(now);
        self.held.clear();
        self.unwritten.clear();
        self.unresolved.clear();
        self.busy.clear();
        self.early.clear();
        self.clients.clear();
        let mut streams: Vec<_> = self.streams.drain().map(|(stream, _)| stream).collect();
        streams.sort_unstable();
        self.out.extend(streams.into_iter().map(|stream| HostOut::Closed { stream }));
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        let shard = self.shard.next_deadline().filter(|_| self.bug != Some(Bug::LostTimers));
        let held = self.held.front().map(|(at, _)| *at);
        [shard, held].into_iter().flatten().min().unwrap_or(Instant::FAR)
    }

    pub(crate) fn on_deadline(&mut self, now: Instant) {
        self.write_due(now);
        while self.held.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, slot)) = self.held.pop_front() {
                self.send(&slot);
            }
        }
        if self.bug != Some(Bug::LostTimers) && self.shard.next_deadline().is_some_and(|due| due <= now) {
            self.shard.on_deadline(now, &mut self.outbox);
            self.drain(now);
        }
        while let Some(id) = self.shard.poll_changed() {
            self.pump(now, id);
        }
    }

    fn write_due(&mut self, now: Instant) {
        while self.unwritten.front().is_some_and(|(at, _)| *at <= now) {
            match self.unwritten.pop_front() {
                Some((_, LeaseChange::Put(lease))) => drop(self.disk.insert(lease.address, lease)),
                Some((_, LeaseChange::Remove(address))) => drop(self.disk.remove(&address)),
                None => {}
            }
        }
    }

    /// How often a client was held back since a wire was full, and for how long at most
    pub(crate) fn held(&self) -> (u64, Duration) {
        let stats = self.shard.stats();
        (stats.held, Duration::from_micros(stats.held_longest_us))
    }

    /// Nothing is left of the clients that have gone
    pub(crate) fn leaks(&mut self) -> Vec<&'static str> {
        let open = self.shard.images().open_images();
        let leaks = [
            (!self.shard.is_idle(), "a transfer or connection outlives its client"),
            (open > 0, "an image stays open"),
            (!self.held.is_empty(), "a reply waits for ever"),
            (!self.streams.is_empty(), "a connection of nobody"),
        ];
        leaks.into_iter().filter(|(is_so, _)| *is_so).map(|(_, what)| what).collect()
    }

    /// The bytes of an image
    pub(crate) fn image(&mut self, id: ImageId, offset: u64, len: u64) -> &[u8] {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let bytes = self.shard.images().bytes(id).unwrap_or_default();
        bytes.get(at..).map_or(&[], |rest| &rest[..len.min(rest.len())])
    }

    // --- Frames ---

    pub(crate) fn on_frame(&mut self, now: Instant, network: usize, frame: &[u8]) {
        match parse(frame) {
            Some(Heard::Udp(udp)) => self.on_udp(now, network, &udp),
            Some(Heard::Arp(heard)) => self.on_arp(now, network, &heard),
            None => {}
        }
    }

    fn on_udp(&mut self, now: Instant, network: usize, udp: &Udp<'_>) {
        let port = match udp.to.port() {
            67 => Port::Dhcp,
            4011 => Port::BootServer,
            69 => Port::Tftp,
            TRANSFER_PORT => Port::Transfer,
            _ => return,
        };
        let mut payload = udp.payload.to_vec();
        if self.bug == Some(Bug::DoubleLease) && port == Port::Dhcp {
            as_leased(&mut payload, |mac| self.leased.get(&mac).copied());
        }
        let datagram = Datagram {
            port,
            network,
            source: udp.from,
            destination: *udp.to.ip(),
            source_mac: Some(udp.from_mac),
            payload: &payload,
        };
        self.shard.on_datagram(now, &datagram, &mut self.outbox);
        self.drain(now);
    }

    fn on_arp(&mut self, now: Instant, network: usize, heard: &Arp) {
        let own = self.addresses[network];
        if heard.target == own {
            self.neighbours.insert(heard.sender, heard.sender_mac);
            if heard.is_request {
                let answer = Arp {
                    is_request: false,
                    sender_mac: SERVER_MAC[network],
                    sender: own,
                    target: heard.sender,
                };
                self.out.push(HostOut::Frame { network, frame: answer.emit(heard.sender_mac) });
            }
            for slot in self.unresolved.remove(&heard.sender).unwrap_or_default() {
                self.send(&slot);
            }
        }
        let packet = arp::Packet {
            operation: if heard.is_request { arp::Operation::Request } else { arp::Operation::Reply },
            sender_mac: heard.sender_mac,
            sender_ip: heard.sender,
            target_mac: MacAddr::ZERO,
            target_ip: heard.target,
        };
        self.shard.on_arp(now, network, &packet, &mut self.outbox);
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        let Some(spare) = self.spare.take() else { return };
        let mut outbox = std::mem::replace(&mut self.outbox, spare);
        let written_at = now + COMMIT_TIME;
        self.unwritten.extend(outbox.changes().iter().map(|change| (written_at, *change)));
        for slot in outbox.slots() {
            if slot.after_commit && self.bug != Some(Bug::AckBeforeDisk) {
                self.held.push_back((written_at, slot.clone()));
            } else {
                self.send(slot);
            }
        }
        if self.bug == Some(Bug::AckBeforeDisk) {
            self.unwritten.clear();
        }
        outbox.clear();
        self.spare = Some(outbox);
    }

    fn send(&mut self, slot: &Slot) {
        let route = &slot.route;
        if let Body::Frame(_) = slot.body {
            self.out.push(HostOut::Frame { network: route.network, frame: slot.bytes().to_vec() });
            return;
        }
        let mut to = route.to;
        let is_relayed = route.port == Port::Dhcp && to.port() == 67;
        if is_relayed && self.bug == Some(Bug::PastTheRelay) {
            to = SocketAddrV4::new(Ipv4Addr::new(10, 44, 255, 254), 68);
        }
        // The kernel's routes: two links, and the relay before everything else.
        let network =
            usize::from(self.links[1].contains(*to.ip()) || route.mac.is_some() && route.network == 1);
        let is_near = to.ip().is_broadcast() || self.links.iter().any(|link| link.contains(*to.ip()));
        let mac = match route.mac {
            Some(mac) => mac,
            None if to.ip().is_broadcast() => BROADCAST,
            None if !is_near => RELAY_MAC,
            None => match self.neighbours.get(to.ip()) {
                Some(mac) => *mac,
                None => return self.ask(network, slot),
            },
        };
        self.send_to(slot, to, mac, network);
    }

    fn send_to(&mut self, slot: &Slot, to: SocketAddrV4, to_mac: MacAddr, network: usize) {
        let from_port = match slot.route.port {
            Port::Dhcp => 67,
            Port::BootServer => 4011,
            Port::Tftp => 69,
            Port::Transfer => TRANSFER_PORT,
        };
        let from = SocketAddrV4::new(slot.route.source, from_port);
        let from_mac = SERVER_MAC[network];
        if let Body::Window(window) = &slot.body {
            return self.send_window(window, Udp { from_mac, to_mac, from, to, payload: &[] }, network);
        }
        let mut payload = slot.bytes().to_vec();
        if self.bug == Some(Bug::DoubleLease)
            && let (Some((_, mac)), Ok(packet)) = (addressee(&payload), DhcpPacket::new_checked(&payload[..]))
        {
            self.leased.insert(mac, packet.your_ip());
        }
        match (self.bug, slot.route.port) {
            (Some(bug), Port::Dhcp | Port::BootServer) => bug.in_dhcp(&mut payload),
            (Some(bug), _) => bug.in_oack(&mut payload),
            (None, _) => {}
        }
        let frame = Udp { from_mac, to_mac, from, to, payload: &payload }.emit();
        self.out.push(HostOut::Frame { network, frame });
    }

    fn send_window(&mut self, window: &Window, mut udp: Udp<'_>, network: usize) {
        let blksize = u64::from(window.blksize);
        let is_stale = self.bug == Some(Bug::StaleWindow) && window.offset >= 2 * blksize;
        let offset = if is_stale { window.offset - blksize } else { window.offset };
        let bytes = self.image(window.image, offset, window.len.into()).to_vec();
        if self.bug == Some(Bug::OtherPort) && window.offset > 0 {
            udp.from.set_port(TRANSFER_PORT + 1);
        }
        for block in 0..window.blocks {
            let mut number = window.first_block.wrapping_add(block);
            let nth = window.offset / blksize + u64::from(block) + 1;
            if self.bug == Some(Bug::WrapsToOne) && nth > 0xffff {
                number = number.wrapping_add(1);
            }
            let at = usize::from(block) * usize::from(window.blksize);
            let part = bytes.get(at..).unwrap_or_default();
            let mut payload = emit_data_header(number).to_vec();
            payload.extend_from_slice(&part[..part.len().min(usize::from(window.blksize))]);
            let frame = Udp { payload: &payload, ..udp }.emit();
            if self.bug == Some(Bug::TwiceEach) {
                self.out.push(HostOut::Frame { network, frame: frame.clone() });
            }
            self.out.push(HostOut::Frame { network, frame });
        }
    }

    /// Asks who has the address, and keeps the datagram until that is known
    fn ask(&mut self, network: usize, slot: &Slot) {
        let target = *slot.route.to.ip();
        let waiting = self.unresolved.entry(target).or_default();
        if waiting.len() < UNRESOLVED_MAX {
            waiting.push(slot.clone());
        }
        let (sender_mac, sender) = (SERVER_MAC[network], self.addresses[network]);
        let frame = Arp { is_request: true, sender_mac, sender, target }.emit(BROADCAST);
        self.out.push(HostOut::Frame { network, frame });
    }

    // --- Connections ---

    pub(crate) fn on_open(&mut self, now: Instant, stream: StreamId, from: SocketAddrV4) {
        let Some(id) = self.shard.on_accept(now, from) else {
            self.out.push(HostOut::Closed { stream });
            return;
        };
        self.streams.insert(stream, id);
        self.clients.insert(id.to_u64(), stream);
        self.out.push(HostOut::Opened { stream });
    }

    pub(crate) fn on_bytes(&mut self, now: Instant, stream: StreamId, bytes: &[u8]) {
        if let Some(&id) = self.streams.get(&stream) {
            self.early.entry(id.to_u64()).or_default().extend_from_slice(bytes);
            self.pump(now, id);
        }
    }

    /// Whether the connection is still that client's: a restart forgets them all
    pub(crate) fn is_current(&self, stream: StreamId, id: ConnectionId) -> bool {
        self.streams.get(&stream) == Some(&id)
    }

    /// A write has arrived at the client
    pub(crate) fn on_written(&mut self, now: Instant, id: ConnectionId, n: u64) {
        if self.busy.remove(&id.to_u64()) {
            self.shard.on_written(now, id, n, &mut self.outbox);
            self.drain(now);
            self.pump(now, id);
        }
    }

    pub(crate) fn on_hangup(&mut self, now: Instant, stream: StreamId) {
        if let Some(id) = self.streams.get(&stream).copied() {
            self.forget(now, stream, id);
        }
    }

    fn forget(&mut self, now: Instant, stream: StreamId, id: ConnectionId) {
        self.streams.remove(&stream);
        self.clients.remove(&id.to_u64());
        self.early.remove(&id.to_u64());
        self.busy.remove(&id.to_u64());
        if self.bug != Some(Bug::LeakedConnections) {
            self.shard.on_hangup(now, id, &mut self.outbox);
            self.drain(now);
        }
    }

    fn pump(&mut self, now: Instant, id: ConnectionId) {
        let raw = id.to_u64();
        let Some(&stream) = self.clients.get(&raw) else { return };
        if self.busy.contains(&raw) {
            return;
        }
        if self.shard.wants_bytes(id)
            && let Some(bytes) = self.early.remove(&raw)
        {
            self.shard.on_bytes(now, id, &bytes);
        }
        let chunk = match self.shard.poll_output(id) {
            Output::Wait | Output::Hold => return,
            Output::Close if self.bug == Some(Bug::NeverCloses) => return,
            Output::Close => {
                self.forget(now, stream, id);
                self.out.push(HostOut::Closed { stream });
                return;
            }
            Output::Bytes { bytes, .. } => {
                let mut bytes = bytes.to_vec();
                if let Some(bug) = self.bug {
                    bug.in_head(&mut bytes);
                }
                Chunk::Bytes(bytes)
            }
            Output::Image { id, offset, len, .. } => Chunk::Image { id, offset, len: len.min(CHUNK) },
        };
        self.busy.insert(raw);
        self.out.push(HostOut::Chunk { stream, id, chunk });
    }
}
