//! A machine's network card: whom it knows by ARP, and what waits until it does.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use super::frames::{Arp, BROADCAST, address};
use super::outcome::Out;
use crate::time::{Duration, Instant};
use crate::wire::ethernet::MacAddr;

/// An ARP request is repeated this often, this far apart
const ARP_TRIES: u32 = 5;
const ARP_WAIT: Duration = Duration::from_secs(1);
/// Neighbours that are remembered; a machine has a server or two, and a router
const NEIGHBOURS_MAX: usize = 8;
/// Frames that wait for their neighbour, one a port
const WAITING_MAX: usize = 8;

/// A frame without its destination
struct Waiting {
    hop: Ipv4Addr,
    port: u16,
    frame: Vec<u8>,
}

/// A card
#[derive(Default)]
pub(crate) struct Card {
    neighbours: VecDeque<(Ipv4Addr, MacAddr)>,
    waiting: VecDeque<Waiting>,
    asked: u32,
    pub deadline: Option<Instant>,
}

/// Who asks, and who answers
#[derive(Clone, Copy)]
pub(crate) struct Owner {
    pub mac: MacAddr,
    pub address: Ipv4Addr,
}

/// What became of a request that nobody answered in time
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// There was none
    Nothing,
    /// It was sent again
    Again,
    /// Nobody has the address
    NoRoute,
}

impl Card {
    /// Sends a frame to the neighbour that has `hop`, once that is known
    pub(crate) fn send(
        &mut self,
        now: Instant,
        owner: Owner,
        hop: Ipv4Addr,
        port: u16,
        mut frame: Vec<u8>,
        out: &mut Vec<Out>,
    ) {
        if let Some((_, mac)) = self.neighbours.iter().find(|(known, _)| *known == hop) {
            address(&mut frame, *mac);
            return out.push(Out::Frame(frame));
        }
        if self.waiting.is_empty() {
            self.asked = 0;
            self.ask(now, owner, hop, out);
        }
        // A ROM's card keeps the last datagram of those that wait.
        self.waiting.retain(|waiting| waiting.port != port);
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(Waiting { hop, port, frame });
        }
    }

    fn ask(&mut self, now: Instant, owner: Owner, hop: Ipv4Addr, out: &mut Vec<Out>) {
        let request = Arp { is_request: true, sender_mac: owner.mac, sender: owner.address, target: hop };
        out.push(Out::Frame(request.emit(BROADCAST)));
        self.asked += 1;
        self.deadline = Some(now + ARP_WAIT);
    }

    /// Answers for the machine's own address, and takes up who asked or answered
    pub(crate) fn on_arp(&mut self, owner: Owner, arp: &Arp, out: &mut Vec<Out>) {
        if arp.target != owner.address || owner.address.is_unspecified() {
            return;
        }
        if arp.is_request {
            let (sender_mac, sender) = (owner.mac, owner.address);
            let answer = Arp { is_request: false, sender_mac, sender, target: arp.sender };
            out.push(Out::Frame(answer.emit(arp.sender_mac)));
        }
        self.neighbours.retain(|(known, _)| *known != arp.sender);
        if self.neighbours.len() == NEIGHBOURS_MAX {
            self.neighbours.pop_front();
        }
        self.neighbours.push_back((arp.sender, arp.sender_mac));
        let all = std::mem::take(&mut self.waiting);
        for mut waiting in all {
            if waiting.hop == arp.sender {
                address(&mut waiting.frame, arp.sender_mac);
                out.push(Out::Frame(waiting.frame));
            } else {
                self.waiting.push_back(waiting);
            }
        }
        if self.waiting.is_empty() {
            self.deadline = None;
        }
    }

    pub(crate) fn on_deadline(&mut self, now: Instant, owner: Owner, out: &mut Vec<Out>) -> Unanswered {
        self.deadline = None;
        let Some(hop) = self.waiting.front().map(|waiting| waiting.hop) else { return Unanswered::Nothing };
        if self.asked == ARP_TRIES {
            self.waiting.clear();
            return Unanswered::NoRoute;
        }
        self.ask(now, owner, hop, out);
        Unanswered::Again
    }
}
