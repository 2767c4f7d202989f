//! Whose turn it is where the wire is the limit.
//!
//! A wire that is shared evenly makes every machine late: all of them end when the last one could have. Here who began
//! first goes first, with all of its files, and what it leaves of the wire is the next one's: the last one ends when it
//! would have, and the others well before. Nobody starves meanwhile. Whoever is held back had its first answer at once
//! (an OACK, a response's head) and is sent a block every [`ADMISSION_TRICKLE`], less than any firmware waits (clients.md's
//! shortest is 3 s), so that no timer of its runs out and it asks nothing again.
//!
//! It knows no protocol: what is held is a window of a transfer or the leave to write on a connection. No clock, no call;
//! after [`Admission::new`] no memory but what the standard library's queues take when more wait than ever before.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::outbox::{Route, Window};
use super::wires::{Wires, blocks_on_wire, stream_on_wire};
use crate::limits::{ADMISSION_TRICKLE, ADMITTED_BYTES};
use crate::time::{Duration, Instant};

/// What a connection that is held back may write now and then: one segment
const TRICKLE_BYTES: u64 = 1_448;
/// Who waits for less has its turn, and the wire is only as full as it should be
const WAIT_MIN: Duration = Duration::from_secs(1);
/// Places of those that are gone that a queue may hold before it is cleared of them
const QUEUE_SLACK: usize = 64;

/// Who waits
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sender {
    Transfer(SocketAddrV4),
    Connection(u64),
}

/// What it waits to send
#[derive(Clone, Copy, Debug)]
enum What {
    Window(Route, Window),
    Bytes(u64),
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    sender: Sender,
    client: Ipv4Addr,
    what: What,
    /// Tells it from others that had its place
    order: u64,
}

/// Leave to send
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// These blocks of a transfer; `is_all`: nothing of the window is held any more
    Window {
        /// Where they go
        route: Route,
        /// Which
        window: Window,
        /// Whether more of the window is held
        is_all: bool,
    },
    /// So many bytes on the connection with that number
    Bytes {
        /// See [`super::http::ConnectionId::from_u64`]
        connection: u64,
        /// How many
        bytes: u64,
    },
}

/// Who waits for the wires of one shard
#[derive(Debug)]
pub struct Admission {
    wires: Arc<Wires>,
    waiters: Vec<Option<Waiter>>,
    vacant: Vec<usize>,
    by_sender: HashMap<Sender, usize>,
    /// By wire: tickets, and the waiters that have them. What is gone stays until it comes up.
    queues: Vec<BinaryHeap<Reverse<(u32, u64, usize)>>>,
    /// Those that waited for a wire that has no bound any more
    freed: Vec<(u64, usize)>,
    /// When who waits is sent something, in order
    trickles: VecDeque<(Instant, u64, usize)>,
    orders: u64,
    held: u64,
    longest: Duration,
}

impl Admission {
    /// Nobody waits
    pub fn new(wires: Arc<Wires>) -> Self {
        Self {
            queues: (0..wires.len()).map(|_| BinaryHeap::new()).collect(),
            wires,
            waiters: Vec::new(),
            vacant: Vec::new(),
            by_sender: HashMap::new(),
            freed: Vec::new(),
            trickles: VecDeque::new(),
            orders: 0,
            held: 0,
            longest: Duration::ZERO,
        }
    }

    /// The wires have other rates from here on, or none. Who waits goes on waiting in the same order, where there is still a bound.
    pub fn on_wires(&mut self, now: Instant, wires: Arc<Wires>) {
        self.wires = wires;
        self.freed.clear();
        self.queues = (0..self.wires.len()).map(|_| BinaryHeap::new()).collect();
        for (place, waiter) in self.waiters.iter().enumerate() {
            let Some(waiter) = waiter else { continue };
            let Some(wire) = self.wires.to(waiter.client) else {
                self.freed.push((waiter.order, place));
                continue;
            };
            let ticket = self.wires.ticket(now, waiter.client);
            self.queues[wire].push(Reverse((ticket, waiter.order, place)));
        }
    }

    /// How often somebody who had been held back for a second or more had its turn, and after how long at most
    pub fn held(&self) -> (u64, Duration) {
        (self.held, self.longest)
    }

    /// Whether this window may leave now. If not, it comes back by [`Admission::poll`], in place of any other of its transfer.
    pub fn admits_window(&mut self, now: Instant, route: Route, window: Window) -> bool {
        let what = What::Window(route, window);
        self.admits(now, Sender::Transfer(route.to), *route.to.ip(), what)
    }

    /// How many of `wanted` bytes may be written on a connection now; 0: [`Admission::poll`] says when
    pub fn admits_bytes(&mut self, now: Instant, client: Ipv4Addr, connection: u64, wanted: u64) -> u64 {
        let bytes = if self.wires.to(client).is_some() { wanted.min(ADMITTED_BYTES) } else { wanted };
        if self.admits(now, Sender::Connection(connection), client, What::Bytes(bytes)) { bytes } else { 0 }
    }

    /// Bytes that nobody was asked about went to a client: heads, and the first of each body
    pub fn on_sent(&mut self, now: Instant, client: Ipv4Addr, bytes: u64) {
        if let Some(wire) = self.wires.to(client) {
            self.wires.take(now, wire, stream_on_wire(bytes));
        }
    }

    /// A connection is gone
    pub fn forget(&mut self, connection: u64) {
        if let Some(place) = self.by_sender.get(&Sender::Connection(connection)).copied() {
            self.remove(place);
        }
    }

    fn admits(&mut self, now: Instant, sender: Sender, client: Ipv4Addr, what: What) -> bool {
        if let Some(&place) = self.by_sender.get(&sender) {
            if let Some(waiter) = &mut self.waiters[place] {
                waiter.what = what;
            }
            return false;
        }
        let Some(wire) = self.wires.to(client) else { return true };
        let ticket = self.wires.ticket(now, client);
        let is_next = self.first(wire).is_none_or(|first| ticket <= first);
        if is_next && self.wires.free_at(wire) <= now {
            self.wires.take(now, wire, what.on_wire());
            return true;
        }
        self.wires.on_held(now, client);
        self.orders += 1;
        let waiter = Waiter { sender, client, what, order: self.orders };
        let place = self.vacant.pop().unwrap_or(self.waiters.len());
        if place == self.waiters.len() {
            self.waiters.push(None);
        }
        self.waiters[place] = Some(waiter);
        self.by_sender.insert(sender, place);
        if self.queues[wire].len() > QUEUE_SLACK + 2 * self.by_sender.len() {
            let waiters = &self.waiters;
            self.queues[wire].retain(|&Reverse((_, order, place))| is_at(waiters, order, place));
        }
        self.queues[wire].push(Reverse((ticket, self.orders, place)));
        self.trickles.push_back((now + ADMISSION_TRICKLE, self.orders, place));
        false
    }

    /// When [`Admission::poll`] is due
    pub fn next_deadline(&self) -> Option<Instant> {
        let free =
            |(wire, queue): (usize, &BinaryHeap<_>)| (!queue.is_empty()).then(|| self.wires.free_at(wire));
        let freed = self.queues.iter().enumerate().filter_map(free).min();
        let trickle = self.trickles.front().map(|&(at, ..)| at);
        let unbound = (!self.freed.is_empty()).then_some(Instant::ZERO);
        [unbound, freed, trickle].into_iter().flatten().min()
    }

    /// The next who may send
    pub fn poll(&mut self, now: Instant) -> Option<Admitted> {
        while let Some((order, place)) = self.freed.pop() {
            if self.is_current(order, place) {
                return self.admit(now, place);
            }
        }
        while let Some(&(at, order, place)) = self.trickles.front()
            && at <= now
        {
            self.trickles.pop_front();
            if self.is_current(order, place) {
                self.trickles.push_back((now + ADMISSION_TRICKLE, order, place));
                return self.trickle(now, place);
            }
        }
        for wire in 0..self.queues.len() {
            if self.first(wire).is_some() && self.wires.free_at(wire) <= now {
                let Reverse((_, _, place)) = self.queues[wire].pop()?;
                return self.admit(now, place);
            }
        }
        None
    }

    /// It has its turn
    fn admit(&mut self, now: Instant, place: usize) -> Option<Admitted> {
        let waiter = self.remove(place)?;
        if let Some(waited) = self.wires.on_admitted(now, waiter.client)
            && waited >= WAIT_MIN
        {
            self.held += 1;
            self.longest = self.longest.max(waited);
        }
        Some(self.release(now, &waiter))
    }

    /// The lowest ticket that waits for a wire
    fn first(&mut self, wire: usize) -> Option<u32> {
        while let Some(&Reverse((ticket, order, place))) = self.queues[wire].peek() {
            if self.is_current(order, place) {
                return Some(ticket);
            }
            self.queues[wire].pop();
        }
        None
    }

    fn is_current(&self, order: u64, place: usize) -> bool {
        is_at(&self.waiters, order, place)
    }

    fn release(&self, now: Instant, waiter: &Waiter) -> Admitted {
        self.on_way(now, waiter.client, waiter.what);
        match (waiter.sender, waiter.what) {
            (_, What::Window(route, window)) => Admitted::Window { route, window, is_all: true },
            (Sender::Connection(connection), What::Bytes(bytes)) => Admitted::Bytes { connection, bytes },
            (Sender::Transfer(_), What::Bytes(_)) => unreachable!("a transfer waits with a window"),
        }
    }

    /// A block or a segment of what waits: enough for its client to wait on
    fn trickle(&mut self, now: Instant, place: usize) -> Option<Admitted> {
        let waiter = self.waiters[place].as_mut()?;
        let (route, window) = match (waiter.sender, waiter.what) {
            (Sender::Connection(connection), What::Bytes(bytes)) => {
                let bytes = bytes.min(TRICKLE_BYTES);
                let client = waiter.client;
                self.on_way(now, client, What::Bytes(bytes));
                return Some(Admitted::Bytes { connection, bytes });
            }
            (_, What::Window(route, window)) => (route, window),
            (Sender::Transfer(_), What::Bytes(_)) => unreachable!("a transfer waits with a window"),
        };
        let (first, rest) = window.split(1);
        if rest.blocks == 0 {
            let waiter = self.remove(place)?;
            return Some(self.release(now, &waiter));
        }
        waiter.what = What::Window(route, rest);
        let client = waiter.client;
        self.on_way(now, client, What::Window(route, first));
        Some(Admitted::Window { route, window: first, is_all: false })
    }

    /// Something is sent to a client that waited: it has been here
    fn on_way(&self, now: Instant, client: Ipv4Addr, what: What) {
        if let Some(wire) = self.wires.to(client) {
            self.wires.take(now, wire, what.on_wire());
            self.wires.ticket(now, client);
        }
    }

    fn remove(&mut self, place: usize) -> Option<Waiter> {
        let waiter = self.waiters[place].take()?;
        self.by_sender.remove(&waiter.sender);
        self.vacant.push(place);
        Some(waiter)
    }
}

fn is_at(waiters: &[Option<Waiter>], order: u64, place: usize) -> bool {
    waiters[place].is_some_and(|waiter| waiter.order == order)
}

impl What {
    fn on_wire(self) -> u64 {
        match self {
            Self::Window(_, window) => blocks_on_wire(window.blocks, window.len.into()),
            Self::Bytes(bytes) => stream_on_wire(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::image::ImageId;
    use crate::boot::plan::{Cidr, Rate};
    use crate::limits::ADMITTED_AHEAD;
    use crate::proto::outbox::Port;

    const START: Instant = Instant::from_secs(1_000);

    /// A wire of 100 Mbit/s: 12,500 bytes a millisecond
    fn admission() -> Admission {
        let whom = vec![Cidr::new([10, 0, 0, 0].into(), 8)];
        let rate = Rate { of: "eth0".into(), whom, bits_per_s: 100_000_000, within: None };
        Admission::new(Arc::new(Wires::new(&[rate]).expect("a bound")))
    }

    fn client(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, n)
    }

    fn route(n: u8) -> Route {
        let to = SocketAddrV4::new(client(n), 2_000);
        Route { port: Port::Transfer, network: 0, source: [10, 0, 0, 254].into(), to, mac: None }
    }

    fn window(blocks: u16) -> Window {
        let len = u32::from(blocks) * 1468;
        Window { image: ImageId(1), offset: 0, len, blksize: 1468, first_block: 1, blocks }
    }

    /// All that is admitted until then, and when
    fn admitted(admission: &mut Admission, until: Instant) -> Vec<(Instant, Admitted)> {
        let mut all = Vec::new();
        while let Some(now) = admission.next_deadline().filter(|now| *now <= until) {
            let mut any = false;
            while let Some(one) = admission.poll(now) {
                all.push((now, one));
                any = true;
            }
            assert!(any || admission.next_deadline() != Some(now), "a deadline for nothing, for ever");
        }
        all
    }

    /// The wire is full for so long
    fn fill(admission: &mut Admission, ms: u64) {
        admission.on_sent(START, client(200), ms * 12_500 * 94 / 100 + ADMITTED_AHEAD.as_millis() * 12_500);
    }

    #[test]
    fn who_began_first_goes_first_whatever_it_sends() {
        let mut admission = admission();
        assert!(admission.admits_window(START, route(1), window(1)), "there is room");
        assert!(admission.admits_window(START, route(2), window(1)));
        fill(&mut admission, 20);
        assert!(!admission.admits_window(START, route(2), window(4)));
        assert_eq!(admission.admits_bytes(START, client(3), 33, 1 << 20), 0);
        assert_eq!(admission.admits_bytes(START, client(1), 11, 1 << 20), 0);
        assert!(
            admission.admits_window(
                START,
                Route { to: "11.0.0.1:9".parse().unwrap(), ..route(1) },
                window(9)
            ),
            "not by this wire"
        );
        let order = admitted(&mut admission, START + Duration::from_secs(1));
        let what: Vec<_> = order.iter().map(|(_, what)| *what).collect();
        assert_eq!(
            what,
            [
                Admitted::Bytes { connection: 11, bytes: ADMITTED_BYTES },
                Admitted::Window { route: route(2), window: window(4), is_all: true },
                Admitted::Bytes { connection: 33, bytes: ADMITTED_BYTES },
            ]
        );
        assert!(
            order[0].0 > START + Duration::from_millis(15),
            "not before the wire is nearly free: {:?}",
            order[0].0
        );
        assert!(order[2].0 > order[0].0 + Duration::from_millis(5), "one after another");
        assert_eq!(admission.next_deadline().filter(|at| *at < START + Duration::from_secs(2)), None);
    }

    #[test]
    fn who_waits_is_sent_a_little_before_its_firmware_gives_up() {
        let mut admission = admission();
        fill(&mut admission, 9_000);
        assert!(!admission.admits_window(START, route(1), window(3)));
        assert_eq!(admission.admits_bytes(START, client(2), 22, 50_000), 0);
        let little = admitted(&mut admission, START + Duration::from_secs(5));
        let (first, rest) = window(3).split(1);
        let (second, _) = rest.split(1);
        let at = |n| START + ADMISSION_TRICKLE.times(n);
        let part = |window| Admitted::Window { route: route(1), window, is_all: false };
        let bytes = Admitted::Bytes { connection: 22, bytes: TRICKLE_BYTES };
        assert_eq!(little, [(at(1), part(first)), (at(1), bytes), (at(2), part(second)), (at(2), bytes)]);
        assert!(!admission.admits_window(START + Duration::from_secs(5), route(1), window(2)), "still not");
        let rest = admitted(&mut admission, START + Duration::from_secs(20));
        let is_whole = |(_, one): &(Instant, Admitted)| matches!(one, Admitted::Window { window, is_all: true, .. } if window.blocks <= 2);
        assert!(rest.iter().any(is_whole), "{rest:?}");
        // The window left bit by bit: its client is held back still.
        let (held, longest) = admission.held();
        assert!(held == 1 && longest > Duration::from_secs(8), "{held} {longest}");
    }

    /// The same wire, of so many Mbit/s
    fn with_rate(admission: &mut Admission, now: Instant, mbit: &[u64]) {
        let whom = vec![Cidr::new([10, 0, 0, 0].into(), 8)];
        let rate = |mbit: &u64| Rate {
            of: "eth0".into(),
            whom: whom.clone(),
            bits_per_s: mbit * 1_000_000,
            within: None,
        };
        let rates: Vec<_> = mbit.iter().map(rate).collect();
        let wires = admission.wires.with_rates(&rates);
        admission.on_wires(now, Arc::new(wires));
    }

    #[test]
    fn another_rate_leaves_those_who_wait_in_their_order() {
        let mut admission = admission();
        fill(&mut admission, 900_000);
        assert!(!admission.admits_window(START, route(1), window(64)));
        assert_eq!(admission.admits_bytes(START, client(2), 22, 1 << 20), 0);
        assert!(!admission.admits_window(START, route(3), window(64)));
        admission.forget(22);
        assert_eq!(admission.admits_bytes(START, client(2), 23, 1 << 20), 0);
        with_rate(&mut admission, START, &[10]);
        let all = admitted(&mut admission, START + Duration::from_secs(1));
        let whose = |(_, what): &(Instant, Admitted)| match what {
            Admitted::Window { route, is_all, .. } => (*route.to.ip(), *is_all),
            Admitted::Bytes { connection, .. } => (client(2), *connection == 23),
        };
        let whose: Vec<_> = all.iter().map(whose).collect();
        assert_eq!(whose, [1, 2, 3].map(|n| (client(n), true)));
        // 64 blocks of 1510 bytes take 77 ms at 10 Mbit/s.
        let waited = all[1].0.since(all[0].0);
        assert!(waited > Duration::from_millis(60) && waited < Duration::from_millis(80), "{waited}");
    }

    #[test]
    fn where_the_rate_is_gone_all_go_at_once_and_nobody_waits_again_until_there_is_one() {
        let mut admission = admission();
        fill(&mut admission, 900_000);
        assert!(!admission.admits_window(START, route(1), window(64)));
        assert_eq!(admission.admits_bytes(START, client(2), 22, 1 << 20), 0);
        assert_eq!(admission.admits_bytes(START, client(3), 33, 1 << 20), 0);
        with_rate(&mut admission, START, &[]);
        admission.forget(33);
        assert!(admission.next_deadline().is_some_and(|at| at <= START));
        let one = admission.poll(START).expect("it waited");
        let two = admission.poll(START).expect("it waited");
        assert!(matches!(one, Admitted::Bytes { connection: 22, .. }), "{one:?}");
        assert!(matches!(two, Admitted::Window { is_all: true, .. }), "{two:?}");
        assert_eq!(admission.poll(START), None);
        assert!(admission.admits_window(START, route(1), window(64)));
        assert_eq!(admission.admits_bytes(START, client(2), 22, 1 << 30), 1 << 30, "all of it");
        with_rate(&mut admission, START, &[100]);
        fill(&mut admission, 1_000);
        assert!(!admission.admits_window(START, route(1), window(64)));
    }

    #[test]
    fn what_is_gone_is_forgotten_and_leaves_no_room_taken() {
        let mut admission = admission();
        fill(&mut admission, 1_000_000);
        for round in 0..10_000 {
            assert_eq!(admission.admits_bytes(START, client(9), round, 9_999), 0);
            admission.forget(round);
        }
        assert!(admission.queues[0].len() <= QUEUE_SLACK + 2, "{}", admission.queues[0].len());
        assert!(admission.waiters.len() == 1 && admission.by_sender.is_empty());
        assert_eq!(admission.poll(START + ADMISSION_TRICKLE), None);
        assert!(admission.trickles.is_empty());
    }
}
