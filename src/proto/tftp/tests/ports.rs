//! Windows that come faster than the port of a switch lets them go, and machines that share the server's cable.

use std::collections::BTreeMap;

use super::clients::{Client, Habit};
use super::link::{Cable, Faults, Link, SwitchPort};
use super::*;

/// 20 MiB in blocks of 1468 bytes
const LEN: usize = 20 << 20;
const BLOCKS: u64 = LEN as u64 / 1468 + 1;

const START: Instant = Instant::from_secs(1_700_000_000);
/// One way
const LATENCY: Duration = Duration::from_micros(100);

/// A cable of so many Mbit/s
pub(super) fn cable(mbit: u64) -> Cable {
    Cable::new(frame(mbit))
}

fn frame(mbit: u64) -> Duration {
    Duration::from_micros(12_000 / mbit)
}

fn request(windowsize: &str) -> Vec<u8> {
    rrq("initrd", &[("tsize", "0"), ("blksize", "1468"), ("windowsize", windowsize)])
}

/// A whole download over a server's cable of 10 Gbit/s, by a port that keeps 16 frames
fn fetch(habit: Habit, windowsize: &str, client_mbit: u64) -> Link {
    let lab = Lab::new().file("initrd", LEN);
    let client = Client::new(lab.now, habit, request(windowsize));
    let mut link = Link::new(lab, client, Faults::default(), 1);
    link.way = Some((cable(10_000), SwitchPort::new(16, cable(client_mbit))));
    link.latency = LATENCY;
    link.run();
    assert!(link.client.done && link.client.bytes == content(LEN), "the client has the file");
    assert_eq!(link.lab.outcome(), Outcome::Done);
    link
}

/// What it takes at the pace of the client's cable, where each window waits for its ACK
fn ideal(windowsize: u64, client_mbit: u64) -> Duration {
    frame(client_mbit).times(BLOCKS) + LATENCY.times(2 * BLOCKS.div_ceil(windowsize))
}

/// Sent at once, each window brings 17 blocks through: at 1 Gbit/s 36,428 blocks are sent again (here 253), and it takes
/// 341 ms (here 228, of which 216 are the cable's)
#[test]
fn a_window_of_64_goes_through_a_port_of_16_frames() {
    for habit in [Habit::Edk2, Habit::UBoot] {
        // Where one frame of a hundred gets through, no client complains: the first windows wait for timers.
        for (client_mbit, spare) in [(1_000, Duration::from_millis(20)), (100, Duration::from_secs(4))] {
            let link = fetch(habit, "64", client_mbit);
            let resent = link.lab.stats.resent;
            let took = link.done_at.expect("it is done").since(START);
            let ideal = ideal(64, client_mbit);
            assert!(resent * 100 <= BLOCKS * 4, "{habit:?}: {resent} of {BLOCKS} again");
            assert!(took <= ideal + spare, "{habit:?}, {client_mbit} Mbit/s: {took} beside {ideal}");
        }
    }
}

/// The blocks of a window are sent one burst after the other, whatever the client does not say, and none of them twice
#[test]
fn a_window_in_bursts_is_the_window_that_was_agreed() {
    let mut lab = Lab::new().file("initrd", LEN);
    lab.ask(1, &request("32"));
    lab.wait(Duration::from_millis(1));
    assert_eq!(lab.ack(1, 0).len(), 32);
    lab.wait(Duration::from_millis(1));
    assert!(lab.ack(1, 20).is_empty(), "a loss: the port has to let go of what it keeps");
    let sent = |lab: &mut Lab| {
        let packets = lab.wait(Duration::from_millis(20));
        let packets: Vec<_> = packets.into_iter().map(|(at, packet)| (at.as_micros(), packet)).collect();
        let bursts = packets.chunk_by(|a, b| a.0 == b.0).map(<[_]>::len).collect::<Vec<_>>();
        (bursts, blocks(&packets.into_iter().map(|(_, packet)| packet).collect::<Vec<_>>()))
    };
    assert_eq!(sent(&mut lab), (vec![16, 8, 8], (21..=52).collect()));
    assert_eq!(lab.stats.resent, 12);
    let first = blocks(&lab.ack(1, 52));
    assert_eq!(first, (53..=68).collect::<Vec<_>>());
    assert_eq!(sent(&mut lab), (vec![8, 8], (69..=84).collect()));
    assert!(lab.ack(1, 84).len() < 32);
    assert_eq!(lab.stats.resent, 12);
    assert!(lab.ack(1, 90).is_empty(), "another loss, in what is out of the window");
    assert_eq!(sent(&mut lab).1, (91..=122).collect::<Vec<_>>());
    assert!(lab.stats.resent < 12 + 16);
}

#[test]
fn a_window_that_the_port_has_room_for_loses_nothing() {
    let link = fetch(Habit::Edk2, "16", 1_000);
    assert_eq!(link.lab.stats.resent, 0);
    assert!(link.done_at.expect("it is done").since(START) < ideal(16, 1_000) + Duration::from_millis(10));
}

/// A machine of a hall
struct Machine {
    client: Client,
    port: SwitchPort,
    done_at: Option<Instant>,
}

/// Machines, each at a port of its own, behind one cable of the server
struct Hall {
    lab: Lab,
    cable: Cable,
    machines: Vec<Machine>,
    /// By arrival: whose it is, whether it goes to the server, and the packet
    flying: BTreeMap<(Instant, u64), (usize, bool, Vec<u8>)>,
    count: u64,
}

impl Hall {
    /// Machines by the sizes of their windows and the speeds of their cables
    fn new(machines: impl IntoIterator<Item = (&'static str, u64)>) -> Self {
        let lab = Lab::with(Settings::default(), 100).file("initrd", LEN);
        let machine = |(windowsize, mbit)| Machine {
            client: Client::new(lab.now, Habit::Edk2, request(windowsize)),
            port: SwitchPort::new(16, cable(mbit)),
            done_at: None,
        };
        let machines = machines.into_iter().map(machine).collect();
        Self { lab, cable: cable(10_000), machines, flying: BTreeMap::new(), count: 0 }
    }

    fn fly(&mut self, at: Instant, machine: usize, to_server: bool, packet: Vec<u8>) {
        self.count += 1;
        self.flying.insert((at + LATENCY, self.count), (machine, to_server, packet));
    }

    fn send(&mut self, replies: Vec<Reply>) {
        for reply in replies {
            let machine = usize::from(reply.to.port() - 1);
            let at = self.cable.pass(self.lab.now);
            if let Some(at) = self.machines[machine].port.pass(at) {
                self.fly(at, machine, false, reply.bytes);
            }
        }
    }

    fn arrive(&mut self) {
        let Some((_, (machine, to_server, packet))) = self.flying.pop_first() else { return };
        if to_server {
            let port = if packet[1] == 1 { Port::Tftp } else { Port::Transfer };
            let source = client(machine as u16 + 1);
            let datagram = Datagram {
                port,
                network: 3,
                source,
                destination: SERVER,
                source_mac: None,
                payload: &packet,
            };
            let replies = self.lab.deliver(&datagram);
            return self.send(replies);
        }
        let Machine { client, done_at, .. } = &mut self.machines[machine];
        let answer = client.on_packet(self.lab.now, &packet);
        if client.done {
            done_at.get_or_insert(self.lab.now);
        }
        if let Some(answer) = answer {
            self.fly(self.lab.now, machine, true, answer);
        }
    }

    /// How long each takes, where all ask at once
    fn run(mut self) -> Vec<Duration> {
        for machine in 0..self.machines.len() {
            let request = self.machines[machine].client.request();
            self.fly(START, machine, true, request);
        }
        while !self.lab.tftp.is_empty() || !self.flying.is_empty() {
            let packet = self.flying.keys().next().map(|&(at, _)| at);
            let timer = self.lab.tftp.next_deadline();
            let next = packet.into_iter().chain(timer).min().expect("something is to come");
            self.lab.now = self.lab.now.max(next);
            if packet == Some(next) {
                self.arrive();
            } else {
                let replies = self.lab.on_deadline();
                self.send(replies);
            }
        }
        let took = |machine: Machine| machine.done_at.expect("it has the file").since(START);
        self.machines.into_iter().map(took).collect()
    }
}

#[test]
fn a_slow_machine_that_loses_does_not_slow_the_others_down() {
    let alone = Hall::new([("16", 1_000)]).run()[0];
    let all = Hall::new([("16", 1_000), ("64", 10), ("64", 100)]).run();
    assert!(all[0] <= alone + Duration::from_millis(1), "{} beside {alone} alone", all[0]);
}

#[test]
fn twenty_large_windows_leave_room_for_a_small_one() {
    let alone = Hall::new([("1", 1_000)]).run()[0];
    let all = Hall::new([("1", 1_000)].into_iter().chain([("64", 1_000); 20])).run();
    assert!(all[1..].iter().all(|&took| took < Duration::from_secs(1)), "{all:?}");
    // They have 400 MiB within that second, and it waits for a window of theirs now and then.
    assert!(all[0] <= alone + Duration::from_millis(50), "{} beside {alone} alone", all[0]);
}
