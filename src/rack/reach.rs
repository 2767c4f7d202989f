//! How a machine's clients reach the world: by its addresses, its card and its connections.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use serde::Serialize;

use super::card::{Card, Owner};
use super::expected::Expected;
use super::frames::{BROADCAST, Udp};
use super::outcome::Out;
use super::random::Random;
use crate::time::Instant;
use crate::wire::ethernet::MacAddr;

/// What makes a machine itself
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub mac: MacAddr,
    /// As option 97 carries it
    pub uuid: [u8; 16],
}

/// What a firmware knows
pub(crate) struct Known {
    pub identity: Identity,
    pub address: Ipv4Addr,
    pub netmask: Ipv4Addr,
    pub router: Option<Ipv4Addr>,
    pub expected: Rc<Expected>,
    pub random: Random,
    pub xids: Vec<u32>,
    pub next_port: u16,
    /// A firmware that asks for all its files from one port
    pub one_port: Option<u16>,
    pub next_stream: u32,
}

impl Known {
    pub(crate) fn had_xid(&self, xid: u32) -> bool {
        self.xids.contains(&xid)
    }

    pub(crate) fn next_hop(&self, to: Ipv4Addr) -> Ipv4Addr {
        let mask = self.netmask.to_bits();
        let is_near = to.to_bits() & mask == self.address.to_bits() & mask;
        if is_near { to } else { self.router.unwrap_or(to) }
    }

    pub(crate) fn owner(&self) -> Owner {
        Owner { mac: self.identity.mac, address: self.address }
    }
}

/// What a machine has counted
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub retries: Retries,
    pub bytes: u64,
    pub rounds: u32,
}

/// What a client sent again
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Retries {
    /// DISCOVER and REQUEST
    pub dhcp: u64,
    /// Those of `dhcp` that nobody had answered within the client's time: the others wait for a better answer than they have
    pub dhcp_unanswered: u64,
    /// REQUEST on port 4011
    pub boot_server: u64,
    /// Who has the server's or the router's address
    pub arp: u64,
    /// RRQ and ACK
    pub tftp: u64,
    /// Connections and requests
    pub http: u64,
}

impl Retries {
    /// All but ARP's, which is no boot protocol
    pub fn total(&self) -> u64 {
        self.dhcp + self.boot_server + self.tftp + self.http
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.dhcp += other.dhcp;
        self.dhcp_unanswered += other.dhcp_unanswered;
        self.boot_server += other.boot_server;
        self.arp += other.arp;
        self.tftp += other.tftp;
        self.http += other.http;
    }
}

/// How a step reaches the world
pub(crate) struct Io<'m> {
    pub now: Instant,
    pub known: &'m mut Known,
    pub count: &'m mut Count,
    pub card: &'m mut Card,
    pub out: &'m mut Vec<Out>,
}

impl Io<'_> {
    pub(crate) fn new_xid(&mut self) -> u32 {
        let xid = self.known.random.xid();
        self.known.xids.push(xid);
        xid
    }

    pub(crate) fn new_port(&mut self) -> u16 {
        if let Some(port) = self.known.one_port {
            return port;
        }
        self.known.next_port = self.known.next_port.checked_add(1).unwrap_or(1050);
        self.known.next_port
    }

    pub(crate) fn broadcast(&mut self, from: u16, to: u16, payload: &[u8]) {
        let frame = Udp {
            from_mac: self.known.identity.mac,
            to_mac: BROADCAST,
            from: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, from),
            to: SocketAddrV4::new(Ipv4Addr::BROADCAST, to),
            payload,
        };
        self.out.push(Out::Frame(frame.emit()));
    }

    pub(crate) fn unicast(&mut self, from: u16, to: SocketAddrV4, payload: &[u8]) {
        let (mac, own) = (self.known.identity.mac, SocketAddrV4::new(self.known.address, from));
        let frame = Udp { from_mac: mac, to_mac: MacAddr::ZERO, from: own, to, payload }.emit();
        let hop = self.known.next_hop(*to.ip());
        self.card.send(self.now, self.known.owner(), hop, from, frame, self.out);
    }

    /// A connection to a server
    pub(crate) fn open(&mut self, to: SocketAddrV4) -> u32 {
        self.known.next_stream += 1;
        let stream = self.known.next_stream;
        // Each connection has a port of its own.
        let port = 49_152 + u16::try_from(stream % 16_000).unwrap_or_default();
        self.out.push(Out::Open { stream, from: SocketAddrV4::new(self.known.address, port), to });
        stream
    }

    pub(crate) fn write(&mut self, stream: u32, bytes: Vec<u8>) {
        self.out.push(Out::Write { stream, bytes });
    }

    pub(crate) fn close(&mut self, stream: u32) {
        self.out.push(Out::Close { stream });
    }

    pub(crate) fn refuse(&mut self, why: &'static str) {
        self.out.push(Out::Refused(why));
    }

    /// What is sent again is counted where its protocol says
    pub(crate) fn retries(&mut self) -> &mut Retries {
        &mut self.count.retries
    }

    pub(crate) fn received(&mut self, bytes: u64) {
        self.count.bytes += bytes;
    }

    pub(crate) fn transferred(&mut self, blocks: u64, repeats: u64) {
        self.out.push(Out::Transferred { blocks, repeats });
    }
}
