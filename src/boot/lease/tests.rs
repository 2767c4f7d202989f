//! The lease table: its rules one by one, a list-based model under random events, and a pool of 100,000.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::boot::plan::{Cidr, Range};
use crate::limits::{DECLINE_HOLD, DECLINES_MAX, LAPSED_KEEP, OFFER_HOLD};

const HOUR: Duration = Duration::from_secs(3600);
const T0: Instant = Instant::from_secs(1_700_000_000);

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn client(n: u32) -> ClientKey {
    ClientKey::of(1, &[&[2, 0], &n.to_be_bytes()[..]].concat(), None)
}

fn subnet(pools: &[(u8, u8)]) -> Subnet {
    let pools = pools.iter().map(|&(first, last)| Range { first: ip(first), last: ip(last) }).collect();
    Subnet { cidr: Cidr::new(ip(0), 24), attached: true, pools, lease: HOUR, options: Vec::new() }
}

fn nothing(_: Ipv4Addr) -> bool {
    false
}

fn ask(now: Instant, n: u32, subnet: &Subnet) -> Ask<'_> {
    let key = client(n);
    Ask { now, key, subnet, requested: None, reserved: None, reserved_only: false, withheld: &nothing }
}

fn offered(leases: &mut Leases, ask: &Ask) -> Ipv4Addr {
    leases.offer(ask).expect("an address").address
}

fn bound(leases: &mut Leases, ask: &Ask) -> Lease {
    let address = offered(leases, ask);
    leases.bind(ask, address, HOUR, Text::EMPTY).expect("a lease")
}

#[test]
fn one_machine_is_one_key_whatever_identifiers_its_stages_send() {
    let mac = [0x52, 0x54, 0, 1, 2, 3];
    assert_eq!(ClientKey::of(1, &mac, None), ClientKey::of(1, &mac, Some(b"\x01RT\0\x01\x02\x03")));
    assert_ne!(ClientKey::of(1, &mac, None), ClientKey::of(6, &mac, None));
    let by_identifier = ClientKey::of(32, &[], Some(b"\xff\0\0\0\x01duid"));
    assert_eq!((by_identifier.htype, by_identifier.len), (0, 9));
    assert_eq!(by_identifier, ClientKey::of(32, &[0; 16], Some(b"\xff\0\0\0\x01duid")));
    let (mut one, mut other) = ([7; 200], [7; 200]);
    (one[199], other[199]) = (1, 2);
    assert_ne!(ClientKey::of(0, &[], Some(&one)), ClientKey::of(0, &[], Some(&other)));
}

#[test]
fn the_same_client_gets_the_same_address_until_others_need_it() {
    let (subnet, mut leases) = (subnet(&[(50, 51)]), Leases::new(100));
    assert_eq!(leases.offer(&ask(T0, 1, &subnet)), Ok(Offer { address: ip(50), fresh: true }));
    assert_eq!(leases.offer(&ask(T0, 1, &subnet)), Ok(Offer { address: ip(50), fresh: false }));
    assert_eq!(offered(&mut leases, &ask(T0, 2, &subnet)), ip(51));
    assert_eq!(leases.offer(&ask(T0, 3, &subnet)), Err(NoAddress::Exhausted));
    // Both holds have run out, so both clients are remembered; the newcomer gets the address of the one gone for longest.
    let later = T0 + OFFER_HOLD;
    assert_eq!(offered(&mut leases, &ask(later, 1, &subnet)), ip(50));
    assert_eq!(leases.offer(&ask(later, 3, &subnet)), Ok(Offer { address: ip(51), fresh: true }));
    assert_eq!(leases.offer(&ask(later, 2, &subnet)), Err(NoAddress::Exhausted));
}

#[test]
fn a_lease_lasts_to_its_end_and_is_remembered_after() {
    let (subnet, mut leases) = (subnet(&[(50, 60)]), Leases::new(100));
    let lease = bound(&mut leases, &ask(T0, 1, &subnet));
    assert_eq!((lease.address, lease.expires_s), (ip(50), T0.as_secs() + 3600));
    assert_eq!(leases.of(T0, client(1), &subnet), Some(&lease));
    assert_eq!(leases.at(T0, ip(50)), Some(&lease));
    let thief = ask(T0, 2, &subnet);
    assert_eq!(leases.claim(&thief, ip(50)), Err(Refusal::TakenByOther));
    let end = T0 + HOUR;
    assert_eq!(leases.of(end, client(1), &subnet), None);
    assert_eq!(leases.claim(&ask(end, 1, &subnet), ip(50)), Ok(Claim::Lapsed));
    assert_eq!(offered(&mut leases, &ask(end, 2, &subnet)), ip(51), "what nobody had comes first");
    assert_eq!(offered(&mut leases, &ask(end, 1, &subnet)), ip(50));
}

#[test]
fn a_requested_address_is_given_if_it_is_free_and_in_a_pool() {
    let (subnet, mut leases) = (subnet(&[(50, 60)]), Leases::new(100));
    let asks = |n, last| Ask { requested: Some(ip(last)), ..ask(T0, n, &subnet) };
    assert_eq!(offered(&mut leases, &asks(1, 55)), ip(55));
    assert_eq!(offered(&mut leases, &asks(2, 55)), ip(50), "held by another");
    assert_eq!(offered(&mut leases, &asks(3, 99)), ip(51), "in no pool");
    assert_eq!(offered(&mut leases, &asks(1, 60)), ip(55), "it has one");
}

#[test]
fn a_reservation_is_its_machines_alone_and_moves_it_at_once() {
    let (subnet, mut leases) = (subnet(&[(50, 51)]), Leases::new(100));
    bound(&mut leases, &ask(T0, 1, &subnet));
    bound(&mut leases, &ask(T0, 2, &subnet));
    let reserved = |a: Ipv4Addr| a == ip(51) || a == ip(7);
    let plain = |n| Ask { withheld: &reserved, ..ask(T0, n, &subnet) };
    let first = Ask { reserved: Some(ip(51)), ..plain(1) };
    let second = Ask { reserved: Some(ip(7)), ..plain(2) };
    assert_eq!(offered(&mut leases, &first), ip(50), "its reservation is still leased to another");
    assert_eq!(leases.claim(&first, ip(50)), Ok(Claim::Bound));
    assert_eq!(leases.claim(&second, ip(51)), Err(Refusal::HasAnother(ip(7))));
    assert_eq!(leases.claim(&plain(2), ip(51)), Err(Refusal::Withheld));
    assert_eq!(bound(&mut leases, &second).address, ip(7), "outside the pool");
    assert_eq!(offered(&mut leases, &first), ip(51));
    assert_eq!(leases.claim(&plain(3), ip(7)), Err(Refusal::TakenByOther));
    let bootp = Ask { reserved_only: true, ..plain(4) };
    assert_eq!(leases.offer(&bootp), Err(NoAddress::ReservedOnly));
    let bootp = Ask { reserved: Some(ip(8)), ..bootp };
    let forever = leases.bind(&bootp, ip(8), FOREVER, Text::EMPTY).expect("reserved");
    assert_eq!(forever.expires_s, u64::MAX);
    assert_eq!(leases.at(Instant::from_secs(u64::MAX >> 24), ip(8)), Some(&forever));
}

#[test]
fn a_claim_is_refused_for_the_right_reason() {
    let (subnet, mut leases) = (subnet(&[(0, 60)]), Leases::new(2));
    let ask1 = ask(T0, 1, &subnet);
    assert_eq!(leases.claim(&ask1, Ipv4Addr::new(10, 0, 1, 50)), Err(Refusal::WrongSubnet));
    assert_eq!(leases.claim(&ask1, ip(61)), Err(Refusal::NotInPool));
    assert_eq!(leases.claim(&ask1, ip(0)), Err(Refusal::Withheld), "the network's own address");
    assert_eq!(leases.claim(&ask1, ip(60)), Ok(Claim::Free));
    assert_eq!(offered(&mut leases, &ask1), ip(1));
    assert_eq!(leases.claim(&ask1, ip(1)), Ok(Claim::Held));
    assert_eq!(leases.claim(&ask1, ip(60)), Err(Refusal::HasAnother(ip(1))));
    bound(&mut leases, &ask(T0, 2, &subnet));
    assert_eq!(leases.claim(&ask(T0, 3, &subnet), ip(60)), Err(Refusal::Full));
    assert_eq!(leases.offer(&ask(T0, 3, &subnet)), Err(NoAddress::Full));
    let later = T0 + OFFER_HOLD;
    assert_eq!(offered(&mut leases, &ask(later, 3, &subnet)), ip(3), "in the room of the hold that ran out");
    assert_eq!(leases.counts(later), Counts { bound: 1, held: 1, declined: 0, lapsed: 0 });
}

#[test]
fn an_address_in_use_by_somebody_else_is_withdrawn_for_a_while() {
    let (subnet, mut leases) = (subnet(&[(50, 52)]), Leases::new(100));
    offered(&mut leases, &ask(T0, 1, &subnet));
    let Some(LeaseChange::Put(found)) = leases.conflict(T0, ip(50)) else { panic!("withdrawn") };
    assert_eq!((found.state, found.expires_s), (State::Declined, T0.as_secs() + DECLINE_HOLD.as_secs()));
    let lease = bound(&mut leases, &ask(T0, 1, &subnet));
    assert_eq!(lease.address, ip(51));
    assert_eq!(leases.conflict(T0, ip(51)), None, "its own client answers");
    assert_eq!(leases.decline(T0, client(2), ip(51)), None, "not its own");
    assert!(leases.decline(T0, client(1), ip(51)).is_some());
    assert_eq!(leases.claim(&ask(T0, 1, &subnet), ip(51)), Err(Refusal::Declined));
    assert_eq!(offered(&mut leases, &ask(T0, 1, &subnet)), ip(52));
    assert_eq!(leases.offer(&ask(T0, 2, &subnet)), Err(NoAddress::Exhausted));
    let later = T0 + DECLINE_HOLD;
    assert_eq!(leases.offer(&ask(later, 2, &subnet)), Ok(Offer { address: ip(52), fresh: true }));
    assert_eq!(leases.offer(&ask(later, 3, &subnet)), Ok(Offer { address: ip(50), fresh: true }));
}

#[test]
fn a_client_that_declines_whatever_it_gets_leaves_the_pool_to_others() {
    let (subnet, mut leases) = (subnet(&[(50, 69)]), Leases::new(100));
    let mut seen = std::collections::HashSet::new();
    for _ in 0..100 {
        let address = offered(&mut leases, &ask(T0, 1, &subnet));
        seen.insert(address);
        assert!(leases.decline(T0, client(1), address).is_some());
        assert!(leases.counts(T0).declined <= DECLINES_MAX);
    }
    assert_eq!(seen.len(), 20, "it is shown every address all the same");
}

#[test]
fn a_lease_outside_a_new_pool_is_renewed_and_moves_at_the_next_discover() {
    let (before, after) = (subnet(&[(50, 59)]), subnet(&[(55, 64)]));
    let mut leases = Leases::new(100);
    bound(&mut leases, &ask(T0, 1, &before));
    leases.on_plan();
    assert_eq!(leases.claim(&ask(T0, 1, &after), ip(50)), Ok(Claim::Bound));
    assert_eq!(offered(&mut leases, &ask(T0, 2, &after)), ip(55));
    assert_eq!(offered(&mut leases, &ask(T0, 1, &after)), ip(56));
    bound(&mut leases, &ask(T0, 1, &after));
    assert_eq!(leases.at(T0, ip(50)), None, "its old address is free");
    // Pools that overlap are cut into segments: together they give each address once.
    let mut given = vec![ip(55), ip(56)];
    given.extend((3..=13).map(|n| offered(&mut leases, &ask(T0, n, [&before, &after][n as usize % 2]))));
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 13);
    assert_eq!(leases.offer(&ask(T0, 14, &before)), Err(NoAddress::Exhausted));
}

#[test]
fn what_a_plan_withheld_is_free_under_the_next() {
    let (subnet, mut leases) = (subnet(&[(50, 51)]), Leases::new(100));
    let reserved = |a: Ipv4Addr| a == ip(50);
    let before = |n| Ask { withheld: &reserved, ..ask(T0, n, &subnet) };
    assert_eq!(offered(&mut leases, &before(1)), ip(51));
    assert_eq!(leases.offer(&before(2)), Err(NoAddress::Exhausted));
    assert_eq!(leases.offer(&ask(T0, 2, &subnet)), Err(NoAddress::Exhausted), "the plan is the same");
    leases.on_plan();
    assert_eq!(offered(&mut leases, &ask(T0, 2, &subnet)), ip(50));
}

#[test]
fn a_client_that_moves_between_subnets_keeps_an_address_in_each() {
    let near = subnet(&[(50, 59)]);
    let far_address = Ipv4Addr::new(10, 44, 0, 50);
    let pools = vec![Range { first: far_address, last: Ipv4Addr::new(10, 44, 0, 59) }];
    let far = Subnet { cidr: Cidr::new(far_address, 24), pools, ..near.clone() };
    let mut leases = Leases::new(100);
    for _ in 0..2 {
        assert_eq!(bound(&mut leases, &ask(T0, 1, &near)).address, ip(50));
        assert_eq!(bound(&mut leases, &ask(T0, 1, &far)).address, far_address);
    }
    assert_eq!(leases.of(T0, client(1), &near).map(|lease| lease.address), Some(ip(50)));
    assert_eq!(leases.of(T0, client(1), &far).map(|lease| lease.address), Some(far_address));
    assert_eq!(leases.claim(&ask(T0, 1, &far), ip(50)), Err(Refusal::WrongSubnet));
    assert_eq!(leases.counts(T0).bound, 2);
}

#[test]
fn what_the_store_remembers_too_long_is_removed_from_it() {
    let mut leases = Leases::new(1);
    let lease = |last, state, expires_s| {
        let hostname = Text::new(b"node-01");
        Lease { address: ip(last), key: client(last.into()), state, expires_s, hostname }
    };
    let (now_s, gone) = (T0.as_secs(), |last| Some(LeaseChange::Remove(ip(last))));
    assert_eq!(leases.restore(T0, lease(1, State::Bound, now_s - LAPSED_KEEP.as_secs())), gone(1));
    assert_eq!(leases.restore(T0, lease(2, State::Declined, now_s)), gone(2));
    assert_eq!(leases.restore(T0, lease(3, State::Bound, now_s + 1)), None);
    assert_eq!(leases.restore(T0, lease(4, State::Bound, now_s)), gone(4));
    assert_eq!(
        leases.restore(T0, lease(5, State::Bound, u64::MAX)),
        None,
        "a lease that stands is never dropped"
    );
    assert_eq!(leases.counts(T0).bound, 2);
}

/// What a lease table must hold, in the simplest form: a list, searched from end to end
#[derive(Default)]
struct Model {
    live: Vec<(Ipv4Addr, ClientKey, Kind, Instant)>,
    last: Vec<(Ipv4Addr, ClientKey)>,
    disk: BTreeMap<Ipv4Addr, Lease>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Held,
    Bound,
    Declined,
}

impl Model {
    fn pass(&mut self, now: Instant) {
        self.live.retain(|&(.., until)| until > now);
    }

    fn holder(&self, address: Ipv4Addr) -> Option<(ClientKey, Kind)> {
        self.live.iter().find(|l| l.0 == address).map(|l| (l.1, l.2))
    }

    fn set(&mut self, address: Ipv4Addr, key: ClientKey, kind: Kind, until: Instant) {
        self.live.retain(|l| l.0 != address);
        self.last.retain(|l| l.0 != address);
        self.live.push((address, key, kind, until));
        if kind != Kind::Declined {
            self.last.push((address, key));
        }
    }

    fn write(&mut self, change: LeaseChange) {
        match change {
            LeaseChange::Put(lease) => _ = self.disk.insert(lease.address, lease),
            LeaseChange::Remove(address) => _ = self.disk.remove(&address),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Discover { n: u32, requested: Option<u8> },
    Request { n: u32, last: u8 },
    RequestOffered { n: u32 },
    Release { n: u32, last: u8 },
    Decline { n: u32, last: u8 },
    Conflict { last: u8 },
    Pass { s: u64 },
    Reload,
    Restart,
}

const CLIENTS: u32 = 9;
const POOL: (u8, u8) = (50, 57);

fn step() -> impl Strategy<Value = Step> {
    let (n, last) = (|| 0..CLIENTS, || POOL.0 - 1..=POOL.1 + 1);
    prop_oneof![
        6 => (n(), proptest::option::of(last())).prop_map(|(n, requested)| Step::Discover { n, requested }),
        4 => n().prop_map(|n| Step::RequestOffered { n }),
        3 => (n(), last()).prop_map(|(n, last)| Step::Request { n, last }),
        2 => (n(), last()).prop_map(|(n, last)| Step::Release { n, last }),
        1 => (n(), last()).prop_map(|(n, last)| Step::Decline { n, last }),
        1 => last().prop_map(|last| Step::Conflict { last }),
        3 => prop_oneof![Just(1), Just(30), Just(60), Just(700), Just(3600)].prop_map(|s| Step::Pass { s }),
        1 => Just(Step::Reload),
        1 => Just(Step::Restart),
    ]
}

/// Client 0 has a reservation in the pool, client 1 one outside it; 10.0.0.57 is the router
fn reservation(n: u32) -> Option<Ipv4Addr> {
    [ip(52), ip(10)].get(n as usize).copied()
}

fn is_withheld(address: Ipv4Addr) -> bool {
    [ip(52), ip(10), ip(57)].contains(&address)
}

struct Run {
    now: Instant,
    leases: Leases,
    model: Model,
    subnet: Subnet,
}

impl Run {
    fn ask(&self, n: u32) -> Ask<'_> {
        Ask { withheld: &is_withheld, reserved: reservation(n), ..ask(self.now, n, &self.subnet) }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Discover { n, requested } => self.discover(n, requested.map(ip)),
            Step::Request { n, last } => self.request(n, ip(last)),
            Step::RequestOffered { n } => {
                let held = self.model.live.iter().find(|l| l.1 == client(n) && l.2 != Kind::Declined);
                if let Some(&(address, ..)) = held {
                    self.request(n, address);
                }
            }
            Step::Release { n, last } => {
                let had = self.model.holder(ip(last)).filter(|h| h.0 == client(n) && h.1 != Kind::Declined);
                let change = self.leases.release(self.now, client(n), ip(last));
                assert_eq!(change.is_some(), had.is_some_and(|h| h.1 == Kind::Bound));
                if had.is_some() {
                    self.model.live.retain(|l| l.0 != ip(last));
                }
                change.into_iter().for_each(|change| self.model.write(change));
            }
            Step::Decline { n, last } => {
                if let Some(change) = self.leases.decline(self.now, client(n), ip(last)) {
                    assert!(self.model.last.contains(&(ip(last), client(n))));
                    self.withdrawn(change);
                }
            }
            Step::Conflict { last } => {
                if let Some(change) = self.leases.conflict(self.now, ip(last)) {
                    assert_eq!(self.model.holder(ip(last)).map(|h| h.1), Some(Kind::Held));
                    self.withdrawn(change);
                }
            }
            Step::Pass { s } => self.now += Duration::from_secs(s),
            Step::Reload => self.leases.on_plan(),
            Step::Restart => self.restart(),
        }
        self.model.pass(self.now);
    }

    fn withdrawn(&mut self, change: LeaseChange) {
        let LeaseChange::Put(lease) = change else { panic!("{change:?}") };
        self.model.last.retain(|l| l.0 != lease.address);
        self.model.set(lease.address, lease.key, Kind::Declined, lease.ends());
        self.model.write(change);
        // A client that declines too much gives its earliest one back; the model only asks the table which.
        let still = |&(address, ..): &(Ipv4Addr, ClientKey, Kind, Instant)| {
            self.leases.at(self.now, address).is_some_and(|lease| lease.state == State::Declined)
        };
        let declined = self.model.live.iter().filter(|l| l.2 == Kind::Declined).count();
        self.model.live.retain(|l| l.2 != Kind::Declined || still(l));
        let kept = self.model.live.iter().filter(|l| l.2 == Kind::Declined).count();
        assert!(declined - kept <= 1 && (declined == kept || kept >= DECLINES_MAX));
    }

    fn discover(&mut self, n: u32, requested: Option<Ipv4Addr>) {
        let key = client(n);
        let offer = {
            let (now, subnet) = (self.now, &self.subnet);
            let ask = Ask { withheld: &is_withheld, reserved: reservation(n), ..ask(now, n, subnet) };
            self.leases.offer(&Ask { requested, ..ask })
        };
        let free = |a: &Ipv4Addr| self.model.holder(*a).is_none_or(|h| h.0 == key && h.1 != Kind::Declined);
        let pool = || (POOL.0..=POOL.1).map(ip).filter(|&a| !is_withheld(a));
        let own = |a: &Ipv4Addr| free(a) && self.model.last.contains(&(*a, key));
        // A restart may bring back an earlier lease beside the last one.
        let expected: Vec<_> = match reservation(n).filter(free) {
            Some(reserved) => vec![reserved],
            None => pool().filter(own).collect(),
        };
        match offer {
            Ok(Offer { address, fresh }) => {
                assert!(free(&address), "{address} is another's: {:?}", self.model.holder(address));
                assert_eq!(fresh, !self.model.last.contains(&(address, key)));
                assert!(expected.is_empty() || expected.contains(&address), "{address}, not {expected:?}");
                assert!(pool().any(|a| a == address) || Some(address) == reservation(n));
                let live = self.model.live.iter().find(|l| l.0 == address);
                let until = (self.now + OFFER_HOLD).max(live.map_or(Instant::ZERO, |l| l.3));
                let kind = live.map_or(Kind::Held, |l| l.2);
                self.model.set(address, key, kind, until);
            }
            Err(reason) => {
                assert_eq!(reason, NoAddress::Exhausted);
                assert!(expected.is_empty());
                assert_eq!(pool().find(free), None, "an address is free, and not given");
            }
        }
    }

    fn request(&mut self, n: u32, address: Ipv4Addr) {
        let key = client(n);
        let claim = self.leases.claim(&self.ask(n), address);
        let result = {
            let (now, subnet) = (self.now, &self.subnet);
            let ask = Ask { withheld: &is_withheld, reserved: reservation(n), ..ask(now, n, subnet) };
            self.leases.bind(&ask, address, HOUR, Text::EMPTY)
        };
        let holder = self.model.holder(address);
        match result {
            Ok(lease) => {
                assert!(holder.is_none_or(|h| h.0 == key && h.1 != Kind::Declined), "{address}: {holder:?}");
                assert_eq!((lease.address, lease.key, lease.ends()), (address, key, self.now + HOUR));
                match claim.expect("bound what it may not claim") {
                    Claim::Reserved => assert_eq!(reservation(n), Some(address)),
                    Claim::Held | Claim::Bound => assert!(holder.is_some()),
                    Claim::Lapsed => assert!(holder.is_none() && self.model.last.contains(&(address, key))),
                    Claim::Free => assert!(holder.is_none() && !self.model.last.contains(&(address, key))),
                }
                self.model.live.retain(|l| l.1 != key || l.2 == Kind::Declined);
                self.model.last.retain(|l| l.1 != key);
                self.model.set(address, key, Kind::Bound, lease.ends());
                self.model.write(LeaseChange::Put(lease));
            }
            Err(refusal) => {
                assert_eq!(claim, Err(refusal));
                let reason_holds = match refusal {
                    Refusal::TakenByOther => holder.is_some_and(|h| h.0 != key && h.1 != Kind::Declined),
                    Refusal::Declined => holder.is_some_and(|h| h.1 == Kind::Declined),
                    Refusal::Withheld => is_withheld(address) && reservation(n) != Some(address),
                    Refusal::NotInPool => !(ip(POOL.0)..=ip(POOL.1)).contains(&address),
                    Refusal::HasAnother(other) => {
                        let has = self.model.holder(other).is_some_and(|h| h.0 == key);
                        other != address && (has || reservation(n) == Some(other))
                    }
                    Refusal::WrongSubnet | Refusal::Full => false,
                };
                assert!(reason_holds, "{refusal:?} of {address}, which is {holder:?}");
            }
        }
    }

    /// Everything that was not written is gone; everything that was written stands
    fn restart(&mut self) {
        self.leases = Leases::new(64);
        self.model.live.clear();
        self.model.last.clear();
        for lease in self.model.disk.clone().into_values() {
            let gone = self.leases.restore(self.now, lease);
            let kind = if lease.state == State::Bound { Kind::Bound } else { Kind::Declined };
            match gone {
                Some(change) => self.model.write(change),
                None => {
                    self.model.live.push((lease.address, lease.key, kind, lease.ends()));
                    if kind == Kind::Bound {
                        self.model.last.push((lease.address, lease.key));
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_gives_an_address_twice(steps in proptest::collection::vec(step(), 1..200)) {
        let (leases, model) = (Leases::new(64), Model::default());
        let mut run = Run { now: T0, leases, model, subnet: subnet(&[POOL]) };
        for step in &steps {
            run.step(step);
        }
    }
}

#[test]
fn a_hundred_thousand_clients_get_an_address_each_from_a_pool_that_just_fits() {
    let first = Ipv4Addr::new(10, 0, 0, 0);
    let last = Ipv4Addr::from_bits(first.to_bits() + 100_001);
    let cidr = Cidr::new(first, 8);
    let pools = vec![Range { first, last }];
    let subnet = Subnet { cidr, attached: false, pools, lease: HOUR, options: Vec::new() };
    let mut leases = Leases::new(1 << 20);
    let mut given: Vec<Ipv4Addr> =
        (0..100_001).map(|n| bound(&mut leases, &ask(T0, n, &subnet)).address).collect();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 100_001);
    // A full pool is told at once, and so is the one lease that ends in it.
    for n in 200_000..300_000 {
        assert_eq!(leases.offer(&ask(T0, n, &subnet)), Err(NoAddress::Exhausted));
    }
    for n in 0..100_000 {
        let address = leases.of(T0, client(n), &subnet).expect("its lease").address;
        assert!(leases.release(T0, client(n), address).is_some());
        assert_eq!(bound(&mut leases, &ask(T0, 500_000 + n, &subnet)).address, address);
    }
}
