//! Which packets belong to a boot, and how much of each is no file's content.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use super::text;
use crate::wire::dhcp::{CLIENT_PORT, PXE_PORT, SERVER_PORT};
use crate::wire::pcap::{Carried, Transport};
use crate::wire::tftp::{self, DATA_HEADER_LEN, PORT};

/// A head that is longer is cut
const HEAD_MAX: usize = 16_384;
/// What the head of a response begins with
const STATUS: &[u8] = b"HTTP/1.";
/// What those of requests begin with
const METHODS: [&[u8]; 3] = [b"GET ", b"HEAD ", b"POST "];

/// What a payload is, and so where names stand in it
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Dhcp,
    Tftp,
    Http,
}

/// What ports alone tell
pub(super) fn place_of(source: u16, destination: u16) -> Option<Place> {
    let is_dhcp = |port: u16| matches!(port, SERVER_PORT | CLIENT_PORT);
    let is_pxe = source == PXE_PORT || destination == PXE_PORT;
    (is_pxe || is_dhcp(source) && is_dhcp(destination)).then_some(Place::Dhcp)
}

/// What is kept of a packet
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) place: Place,
    /// Of its payload
    pub(super) payload_len: usize,
    /// The payload goes on in the middle of a header that says who somebody is
    pub(super) is_inside_name: bool,
}

/// The head of a request or a response, of which more is to come
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    /// How much of it may be kept
    left: usize,
    is_inside_name: bool,
}

/// The conversations of a capture
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// Who asked for files by TFTP, and where
    tftp: HashSet<(SocketAddrV4, Ipv4Addr)>,
    http: HashSet<(SocketAddrV4, SocketAddrV4)>,
    /// What each direction still lacks of a head
    heads: HashMap<(SocketAddrV4, SocketAddrV4), Head>,
}

impl Flows {
    /// Notes whose packets are to be kept
    pub(super) fn learn(&mut self, carried: &Carried<'_>) {
        let Carried { source, destination, payload, .. } = *carried;
        match carried.transport {
            Transport::Udp if destination.port() == PORT => {
                if let Ok(tftp::Packet::Rrq(_) | tftp::Packet::Wrq(_)) = tftp::parse(payload) {
                    self.tftp.insert((source, *destination.ip()));
                }
            }
            Transport::Tcp(_) if METHODS.iter().any(|method| payload.starts_with(method)) => {
                self.http.insert((source, destination));
            }
            _ => {}
        }
    }

    /// What is kept of a packet; in their order
    pub(super) fn keep(&mut self, carried: &Carried<'_>) -> Option<Kept> {
        let Carried { source, destination, payload, .. } = *carried;
        match carried.transport {
            Transport::Udp => {
                let place = self.place(source, destination)?;
                let is_data =
                    place == Place::Tftp && matches!(tftp::parse(payload), Ok(tftp::Packet::Data { .. }));
                let payload_len = if is_data { DATA_HEADER_LEN } else { payload.len() };
                Some(Kept { place, payload_len, is_inside_name: false })
            }
            Transport::Tcp(_) => {
                let way = (source, destination);
                let is_known = self.http.contains(&way) || self.http.contains(&(way.1, way.0));
                is_known.then(|| self.head(way, payload))
            }
        }
    }

    fn place(&self, source: SocketAddrV4, destination: SocketAddrV4) -> Option<Place> {
        if let Some(place) = place_of(source.port(), destination.port()) {
            return Some(place);
        }
        let asks = self.tftp.contains(&(source, *destination.ip()));
        (asks || self.tftp.contains(&(destination, *source.ip()))).then_some(Place::Tftp)
    }

    /// How much of a segment's payload is a head
    fn head(&mut self, way: (SocketAddrV4, SocketAddrV4), payload: &[u8]) -> Kept {
        let begins = payload.starts_with(STATUS) || METHODS.iter().any(|method| payload.starts_with(method));
        let before = if begins {
            Head { left: HEAD_MAX, is_inside_name: false }
        } else {
            self.heads.get(&way).copied().unwrap_or_default()
        };
        let end = payload.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        let payload_len = end.unwrap_or(payload.len()).min(before.left);
        let last = payload[..payload_len].rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let goes_on = last.len() == payload_len;
        let head = Head {
            left: if end.is_some() { 0 } else { before.left - payload_len },
            is_inside_name: if goes_on { before.is_inside_name } else { text::may_tell(last) },
        };
        self.heads.insert(way, head);
        Kept { place: Place::Http, payload_len, is_inside_name: before.is_inside_name }
    }
}
