//! What a capture holds: who asked what, what was answered, and the client's side of it as events in their order.
//!
//! One pass over the frames. Requests and answers are paired, transfers and connections put together; the events are what
//! a server is fed. Nothing here knows what we would answer, or what the machines would ask elsewhere: `replay` and the rack's
//! clones read captures so.

pub(crate) mod dhcp;
pub(crate) mod frames;
pub(crate) mod http;
pub(crate) mod tftp;

use std::net::Ipv4Addr;

use self::dhcp::Requests;
use self::frames::Seen;
use self::http::Connections;
use self::tftp::Transfers;
use crate::time::Instant;
use crate::wire::pcap::Transport;

/// Something that a client did
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'c> {
    pub at: Instant,
    pub what: What<'c>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum What<'c> {
    /// It sent the DHCP request of that index
    Dhcp(usize),
    /// It sent the TFTP request of that index, the first time or again
    Tftp(usize),
    /// It acknowledged this many bytes of a transfer; 0: its options
    Acknowledged(usize, u64),
    /// It ended a transfer with this ERROR
    Stopped(usize, &'c [u8]),
    /// It opened the connection of that index
    Opened(usize),
    /// It sent these bytes on it
    Bytes(usize, &'c [u8]),
    /// It closed or reset it
    Closed(usize),
}

/// All of it
#[derive(Debug)]
pub(crate) struct Heard<'c> {
    pub events: Vec<Event<'c>>,
    pub requests: Vec<dhcp::Request>,
    pub transfers: Vec<tftp::Transfer<'c>>,
    pub connections: Vec<http::Connection<'c>>,
}

/// Listens to a capture
pub(crate) fn listen<'c>(frames: &[Seen<'c>]) -> Heard<'c> {
    let mut events = Vec::new();
    let (mut requests, mut transfers) = (Requests::default(), Transfers::default());
    let mut connections = Connections::default();
    for seen in frames {
        let what = match seen.carried.transport {
            Transport::Udp => match requests.on_datagram(seen) {
                dhcp::Heard::Request(index) => Some(What::Dhcp(index)),
                dhcp::Heard::Answer => None,
                dhcp::Heard::Other => transfers.on_datagram(seen),
            },
            Transport::Tcp(header) => {
                connections.on_segment(seen, header, |what| events.push(Event { at: seen.at, what }));
                None
            }
        };
        events.extend(what.map(|what| Event { at: seen.at, what }));
    }
    let connections = connections.finish();
    // A connection that carried something else is none of ours.
    events.retain(|event| match event.what {
        What::Opened(index) | What::Bytes(index, _) | What::Closed(index) => connections[index].is_http(),
        _ => true,
    });
    Heard { events, requests: requests.finish(), transfers: transfers.finish(), connections }
}

impl Heard<'_> {
    /// The server that the capture is about: the one that answered with boot files, else the one that answered most
    pub(crate) fn server(&self) -> Option<Ipv4Addr> {
        let mut servers: Vec<(Ipv4Addr, (usize, usize))> = Vec::new();
        let mut count =
            |server: Ipv4Addr, boots: bool| match servers.iter_mut().find(|(known, _)| *known == server) {
                Some((_, (booted, answered))) => {
                    *booted += usize::from(boots);
                    *answered += 1;
                }
                None => servers.push((server, (usize::from(boots), 1))),
            };
        for request in &self.requests {
            for answer in &request.answers {
                count(answer.server(), answer.names_boot_file());
            }
        }
        if self.requests.iter().all(|request| request.answers.is_empty()) {
            for transfer in &self.transfers {
                count(transfer.server, true);
            }
            for connection in self.connections.iter().filter(|connection| connection.is_http()) {
                count(*connection.server.ip(), true);
            }
        }
        // Of equals the first that answered.
        servers.iter().rev().max_by_key(|(_, score)| *score).map(|(server, _)| *server)
    }
}
