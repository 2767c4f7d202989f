//! A link between one client and the server, in virtual time, that loses, repeats and delays packets by a seed.

use std::collections::BTreeMap;

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
    faults: Faults,
    dice: Dice,
    flying: BTreeMap<(Instant, u64), (End, Vec<u8>)>,
    count: u64,
}

const PORT: u16 = 2070;
/// One way
const LATENCY: Duration = Duration::from_micros(400);

impl Link {
    pub(super) fn new(lab: Lab, client: Client, faults: Faults, seed: u64) -> Self {
        Self {
            lab,
            client,
            leaves: false,
            faulty: 0,
            done_at: None,
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
        let mut at = self.lab.now + LATENCY;
        if late {
            at += Duration::from_micros(self.dice.below(3_000));
        }
        for _ in 0..u32::from(!lost) + u32::from(doubled) {
            self.count += 1;
            self.flying.insert((at, self.count), (end, packet.clone()));
        }
    }
}
