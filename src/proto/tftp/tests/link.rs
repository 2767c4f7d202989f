//! A link between one client and the server, in virtual time, that loses, repeats and delays packets by a seed, or at
//! the port of a switch.

use std::collections::{BTreeMap, VecDeque};

use super::clients::Client;
use super::*;

/// How often, in a thousand packets
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) late: u64,
}

/// xorshift64*
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % n
    }

    fn hit(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }
}

/// A cable, which frames are on one after the other
pub(super) struct Cable {
    frame: Duration,
    free_at: Instant,
}

impl Cable {
    /// A cable that a frame is on for so long
    pub(super) fn new(frame: Duration) -> Self {
        Self { frame, free_at: Instant::ZERO }
    }

    /// When a frame has passed that comes to it at `at`
    pub(super) fn pass(&mut self, at: Instant) -> Instant {
        self.free_at = self.free_at.max(at) + self.frame;
        self.free_at
    }
}

/// A switch's port, with its client's cable, before which it keeps a few frames
pub(super) struct SwitchPort {
    cable: Cable,
    room: usize,
    leaving: VecDeque<Instant>,
    /// Frames that came while it kept all that it can
    pub(super) lost: u64,
}

impl SwitchPort {
    pub(super) fn new(room: usize, cable: Cable) -> Self {
        Self { cable, room, leaving: VecDeque::new(), lost: 0 }
    }

    /// When a frame has passed that comes to it at `at`; `None`: it is lost
    pub(super) fn pass(&mut self, at: Instant) -> Option<Instant> {
        while self.leaving.front().is_some_and(|&left| left <= at) {
            self.leaving.pop_front();
        }
        // The one that is on the cable takes no room.
        if self.leaving.len() > self.room {
            self.lost += 1;
            return None;
        }
        let left = self.cable.pass(at);
        self.leaving.push_back(left);
        Some(left)
    }
}

#[derive(Clone, Copy)]
enum End {
    Server,
    Client,
}

/// A client, a server and what is on its way between them
pub(super) struct Link {
    pub(super) lab: Lab,
    pub(super) client: Client,
    /// The client closes its port once it has the file
    pub(super) leaves: bool,
    /// Packets that did not arrive once and in order
    pub(super) faulty: u64,
    /// When the client had it all
    pub(super) done_at: Option<Instant>,
    /// The server's cable, and the port that the client's cable is in
    pub(super) way: Option<(Cable, SwitchPort)>,
    /// One way
    pub(super) latency: Duration,
    faults: Faults,
    dice: Dice,
    flying: BTreeMap<(Instant, u64), (End, Vec<u8>)>,
    count: u64,
}

const PORT: u16 = 2070;
/// One way, unless another is set
const LATENCY: Duration = Duration::from_micros(400);
/// A copy comes by another way, so much later at most
const COPY_LATER_US: u64 = 1_000;

impl Link {
    pub(super) fn new(lab: Lab, client: Client, faults: Faults, seed: u64) -> Self {
        Self {
            lab,
            client,
            leaves: false,
            faulty: 0,
            done_at: None,
            way: None,
            latency: LATENCY,
            faults,
            dice: Dice::new(seed),
            flying: BTreeMap::new(),
            count: 0,
        }
    }

    /// Runs until the server has no transfer left and nothing is on its way
    pub(super) fn run(&mut self) {
        let request = self.client.request();
        self.send(End::Server, request);
        loop {
            let packet = self.flying.keys().next().map(|&(at, _)| at);
            let client = (!self.client.done).then_some(self.client.deadline);
            let Some(next) = [packet, client, self.lab.tftp.next_deadline()].into_iter().flatten().min()
            else {
                return;
            };
            self.lab.now = self.lab.now.max(next);
            assert!(next.since(Instant::from_secs(1_700_000_000)) < Duration::from_secs(3_600), "it hangs");
            if packet == Some(next) {
                self.arrive();
            } else if client == Some(next) {
                let again = self.client.on_deadline(self.lab.now);
                self.send(End::Server, again);
            } else {
                let replies = self.lab.on_deadline();
                self.send_all(replies.into_iter().map(|reply| reply.bytes));
            }
        }
    }

    fn arrive(&mut self) {
        let Some((_, (end, packet))) = self.flying.pop_first() else { return };
        match end {
            End::Server => {
                let port = if packet[1] == 1 { Port::Tftp } else { Port::Transfer };
                let replies = self.lab.send_to(port, super::client(PORT), &packet);
                self.send_all(replies);
            }
            End::Client if self.leaves && self.client.done => {}
            End::Client => {
                let reply = self.client.on_packet(self.lab.now, &packet);
                if self.client.done {
                    self.done_at = self.done_at.or(Some(self.lab.now));
                }
                if let Some(reply) = reply {
                    self.send(End::Server, reply);
                }
            }
        }
    }

    fn send_all(&mut self, packets: impl IntoIterator<Item = Vec<u8>>) {
        for packet in packets {
            self.send(End::Client, packet);
        }
    }

    fn send(&mut self, end: End, packet: Vec<u8>) {
        let late = self.dice.hit(self.faults.late);
        let lost = self.dice.hit(self.faults.lost);
        let doubled = self.dice.hit(self.faults.doubled);
        self.faulty += u64::from(late) + u64::from(lost) + u64::from(doubled);
        let passed = match (&mut self.way, end) {
            (Some((cable, port)), End::Client) => port.pass(cable.pass(self.lab.now)),
            _ => Some(self.lab.now),
        };
        let Some(passed) = passed else { return };
        let mut at = passed + self.latency;
        if late {
            at += Duration::from_micros(self.dice.below(3_000));
        }
        if doubled {
            let later = Duration::from_micros(self.dice.below(COPY_LATER_US));
            self.fly(at + later, end, packet.clone());
        }
        if !lost {
            self.fly(at, end, packet);
        }
    }

    fn fly(&mut self, at: Instant, end: End, packet: Vec<u8>) {
        self.count += 1;
        self.flying.insert((at, self.count), (end, packet));
    }
}
