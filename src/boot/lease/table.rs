//! The table: every address that anybody has or had, found by address, by client, and by the moment it becomes free.
//!
//! Nothing is timed: an entry carries the moment from which another client may have its address, and whoever looks compares.
//! So there is no deadline to serve, and a client that comes back late still finds its address.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use super::pools::{Entries, Pools};
use super::{Ask, Claim, ClientKey, Counts, FOREVER, Lease, LeaseChange, NoAddress, Offer, Refusal, State};
use crate::boot::plan::Subnet;
use crate::limits::{DECLINE_HOLD, DECLINES_MAX, LAPSED_KEEP, OFFER_HOLD};
use crate::note::Text;
use crate::time::{Duration, Instant};

/// One address
#[derive(Debug)]
pub(super) struct Entry {
    /// Its lease, or the last one; an address that was only ever offered has one that ended at the epoch
    lease: Lease,
    /// From now to this moment it is nobody else's: the end of the lease, or of the hold where that is later
    pub(super) until: Instant,
    /// Its place in the order of ending. A renewal moves the end away and leaves the place as it is, which is moved once
    /// somebody looks there: so machines that renew touch no tree.
    pub(super) ranked: Instant,
    /// The next address of the same client
    next_of_client: Option<Ipv4Addr>,
}

/// What an entry is at a moment, the weakest first
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Lapsed,
    Held,
    Bound,
    Declined,
}

impl Entry {
    fn standing(&self, now: Instant) -> Standing {
        match self.lease.state {
            _ if self.until <= now => Standing::Lapsed,
            State::Declined => Standing::Declined,
            State::Bound if self.lease.ends() > now => Standing::Bound,
            State::Bound => Standing::Held,
        }
    }

    /// Whether `key` has it or had it last. Who declined an address has nothing in it.
    fn is_of(&self, key: ClientKey) -> bool {
        self.lease.key == key && self.lease.state == State::Bound
    }
}

/// All leases and holds
#[derive(Debug)]
pub struct Leases {
    max: usize,
    entries: Entries,
    /// The first address of each client; the others follow by [`Entry::next_of_client`]
    of_client: HashMap<ClientKey, Ipv4Addr>,
    /// Every entry by [`Entry::ranked`]: not later than the moment that it becomes free
    ending: BTreeSet<(Instant, Ipv4Addr)>,
    pools: Pools,
}

impl Leases {
    /// No leases; at most `max` addresses are ever remembered, beside the leases of the store that stand
    pub fn new(max: usize) -> Self {
        Self {
            max,
            entries: Entries::new(),
            of_client: HashMap::new(),
            ending: BTreeSet::new(),
            pools: Pools::default(),
        }
    }

    /// Takes up a lease of the store, at start. `Some`: it ended long ago, or there is no room to remember it; that is to be
    /// written back, so that the store does not grow either.
    pub fn restore(&mut self, now: Instant, lease: Lease) -> Option<LeaseChange> {
        let ends = lease.ends();
        let stands = ends > now;
        let useful = stands || (lease.state == State::Bound && ends + LAPSED_KEEP > now);
        if !useful || !(self.make_room(now) || stands) {
            return Some(LeaseChange::Remove(lease.address));
        }
        self.put(lease, ends);
        if lease.state == State::Declined {
            self.unlink(lease.key, lease.address);
        }
        None
    }

    /// A new plan: pools, and what they withhold, may be others
    pub fn on_plan(&mut self) {
        self.pools = Pools::default();
    }

    /// DISCOVER: an address for this client, held for it. The same client gets the same address, whatever its `xid`.
    ///
    /// # Errors
    /// There is none for it.
    pub fn offer(&mut self, ask: &Ask) -> Result<Offer, NoAddress> {
        let address = self.choose(ask)?;
        let own = self.entries.get(&address).filter(|entry| entry.is_of(ask.key));
        let (fresh, ended) = (own.is_none(), own.map_or(Instant::ZERO, |entry| entry.until));
        let lease = own.map_or_else(
            || Lease { address, key: ask.key, state: State::Bound, expires_s: 0, hostname: Text::EMPTY },
            |entry| entry.lease,
        );
        self.put(lease, ended.max(ask.now + OFFER_HOLD));
        Ok(Offer { address, fresh })
    }

    /// REQUEST: whether `address` is this client's to have, and on what ground. Nothing changes.
    ///
    /// # Errors
    /// Why it is not.
    pub fn claim(&self, ask: &Ask, address: Ipv4Addr) -> Result<Claim, Refusal> {
        let &Ask { now, key, subnet, .. } = ask;
        if !subnet.cidr.contains(address) {
            return Err(Refusal::WrongSubnet);
        }
        let entry = self.entries.get(&address);
        let own = entry.filter(|entry| entry.is_of(key)).map(|entry| entry.standing(now));
        let foreign = entry.filter(|entry| !entry.is_of(key)).map(|entry| entry.standing(now));
        match foreign {
            Some(Standing::Declined) => return Err(Refusal::Declined),
            Some(Standing::Held | Standing::Bound) => return Err(Refusal::TakenByOther),
            Some(Standing::Lapsed) | None => {}
        }
        if ask.reserved == Some(address) {
            return Ok(Claim::Reserved);
        }
        if let Some(reserved) = self.usable_reservation(ask) {
            return Err(Refusal::HasAnother(reserved));
        }
        if withheld(ask, address) {
            return Err(Refusal::Withheld);
        }
        match own {
            Some(Standing::Bound) => return Ok(Claim::Bound),
            Some(Standing::Held) => return Ok(Claim::Held),
            _ if ask.reserved_only || !is_in_pool(subnet, address) => return Err(Refusal::NotInPool),
            _ => {}
        }
        let has = self.own(ask, |entry| entry.standing(now) >= Standing::Held);
        match has {
            Some(entry) => Err(Refusal::HasAnother(entry.lease.address)),
            None if own.is_some() => Ok(Claim::Lapsed),
            None if entry.is_none() && !self.could_have_room(now) => Err(Refusal::Full),
            None => Ok(Claim::Free),
        }
    }

    /// REQUEST: leases `address` to this client for `lease` ([`FOREVER`]: without an end), on whatever ground
    /// [`Leases::claim`] finds. The lease is to be made durable ([`LeaseChange::Put`]) before it is acknowledged.
    ///
    /// The client's other addresses in the subnet are forgotten. That is not made durable: after a restart such a lease
    /// merely lasts until its end.
    ///
    /// # Errors
    /// Why it is not this client's to have.
    pub fn bind(
        &mut self,
        ask: &Ask,
        address: Ipv4Addr,
        lease: Duration,
        hostname: Text<64>,
    ) -> Result<Lease, Refusal> {
        self.claim(ask, address)?;
        if !self.entries.contains_key(&address) && !self.make_room(ask.now) {
            return Err(Refusal::Full);
        }
        let expires_s = if lease == FOREVER { u64::MAX } else { round_up_s(ask.now + lease) };
        let bound = Lease { address, key: ask.key, state: State::Bound, expires_s, hostname };
        self.put(bound, bound.ends());
        let is_other = |entry: &Entry| entry.lease.address != address;
        while let Some(other) = self.own(ask, is_other).map(|entry| entry.lease.address) {
            self.forget(other);
        }
        Ok(bound)
    }

    /// RELEASE: the address is free, and stays remembered as this client's last
    pub fn release(&mut self, now: Instant, key: ClientKey, address: Ipv4Addr) -> Option<LeaseChange> {
        let entry = self.entries.get(&address).filter(|entry| entry.is_of(key))?;
        let (lease, standing) = (entry.lease, entry.standing(now));
        if standing == Standing::Lapsed {
            return None;
        }
        let ended = self.lapse(lease, now);
        (standing == Standing::Bound).then_some(LeaseChange::Put(ended))
    }

    /// DECLINE: this client found somebody using the address that it was given, so that nobody gets it for a while
    pub fn decline(&mut self, now: Instant, key: ClientKey, address: Ipv4Addr) -> Option<LeaseChange> {
        let lease = self.entries.get(&address).filter(|entry| entry.is_of(key))?.lease;
        if let Some(oldest) = self.declined_too_many(key) {
            self.lapse(oldest, now);
            self.unlink(key, oldest.address);
        }
        Some(self.withdraw(lease, now))
    }

    /// Somebody answered a probe for an address on offer, so that nobody gets it for a while. An address that is leased is
    /// not touched: its own client may answer.
    pub fn conflict(&mut self, now: Instant, address: Ipv4Addr) -> Option<LeaseChange> {
        let entry = self.entries.get(&address).filter(|entry| entry.standing(now) == Standing::Held)?;
        let lease = entry.lease;
        let change = self.withdraw(lease, now);
        // What the server saw itself is not counted against the client.
        self.unlink(lease.key, address);
        Some(change)
    }

    /// The lease that this client has in `subnet` at this moment
    pub fn of(&self, now: Instant, key: ClientKey, subnet: &Subnet) -> Option<&Lease> {
        self.chain(key)
            .filter(|entry| {
                entry.standing(now) == Standing::Bound && subnet.cidr.contains(entry.lease.address)
            })
            .map(|entry| &entry.lease)
            .max_by_key(|lease| lease.expires_s)
    }

    /// Who leases `address` at this moment, or that it is unusable
    pub fn at(&self, now: Instant, address: Ipv4Addr) -> Option<&Lease> {
        let entry = self.entries.get(&address)?;
        (entry.standing(now) >= Standing::Bound).then_some(&entry.lease)
    }

    /// How many addresses are in which state. Walks the table: for people, not for packets.
    pub fn counts(&self, now: Instant) -> Counts {
        let mut counts = Counts::default();
        for entry in self.entries.values() {
            match entry.standing(now) {
                Standing::Lapsed => counts.lapsed += 1,
                Standing::Held => counts.held += 1,
                Standing::Bound => counts.bound += 1,
                Standing::Declined => counts.declined += 1,
            }
        }
        counts
    }
}

// --- What to offer ---

impl Leases {
    /// The address to offer. There is room for it in the table.
    fn choose(&mut self, ask: &Ask) -> Result<Ipv4Addr, NoAddress> {
        let now = ask.now;
        if let Some(reserved) = self.usable_reservation(ask) {
            return self.with_room(now, reserved);
        }
        if ask.reserved_only {
            return Err(NoAddress::ReservedOnly);
        }
        let may = |address| is_in_pool(ask.subnet, address) && !withheld(ask, address);
        if let Some(own) = self.own(ask, |entry| may(entry.lease.address)) {
            return Ok(own.lease.address);
        }
        if let Some(requested) = ask.requested.filter(|&address| may(address) && self.is_free(now, address)) {
            return self.with_room(now, requested);
        }
        for &range in &ask.subnet.pools {
            self.pools.learn(range, &self.entries);
        }
        if !self.has_room(now) {
            return Err(NoAddress::Full);
        }
        let mut ranges = ask.subnet.pools.iter();
        let withheld = |address| withheld(ask, address);
        if let Some(unknown) =
            ranges.find_map(|&range| self.pools.take_unknown(range, &self.entries, withheld))
        {
            return self.with_room(now, unknown);
        }
        let ranges = ask.subnet.pools.iter();
        loop {
            let ranges = ranges.clone();
            let lapsed = ranges.filter_map(|&range| self.pools.oldest_lapsed(range, now, withheld)).min();
            let (ranked, address) = lapsed.ok_or(NoAddress::Exhausted)?;
            if self.entries.get(&address).is_none_or(|entry| entry.until <= ranked) {
                return Ok(address);
            }
            self.rank(address);
        }
    }

    fn usable_reservation(&self, ask: &Ask) -> Option<Ipv4Addr> {
        let own = |address| self.entries.get(&address).is_some_and(|entry| entry.is_of(ask.key));
        ask.reserved.filter(|&address| {
            ask.subnet.cidr.contains(address) && (own(address) || self.is_free(ask.now, address))
        })
    }

    /// Whether nobody has it at this moment
    fn is_free(&self, now: Instant, address: Ipv4Addr) -> bool {
        self.entries.get(&address).is_none_or(|entry| entry.until <= now)
    }

    /// The best of this client's addresses in the subnet, now or last, among those that `may` serve
    fn own(&self, ask: &Ask, may: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        self.chain(ask.key)
            .filter(|entry| {
                entry.is_of(ask.key) && ask.subnet.cidr.contains(entry.lease.address) && may(entry)
            })
            .max_by_key(|entry| (entry.standing(ask.now), entry.until))
    }

    fn has_room(&mut self, now: Instant) -> bool {
        self.entries.len() < self.max || self.longest_lapsed(now).is_some()
    }

    /// As [`Leases::has_room`], for who may only look
    fn could_have_room(&self, now: Instant) -> bool {
        let mut ranked = self.ending.iter().take_while(|(ranked, _)| *ranked <= now);
        self.entries.len() < self.max || ranked.any(|&(_, address)| self.is_free(now, address))
    }

    /// Whose client has been gone for longest
    fn longest_lapsed(&mut self, now: Instant) -> Option<Ipv4Addr> {
        loop {
            let &(ranked, address) = self.ending.first().filter(|(ranked, _)| *ranked <= now)?;
            if self.entries.get(&address).is_none_or(|entry| entry.until <= ranked) {
                return Some(address);
            }
            self.rank(address);
        }
    }

    /// Room for one more entry, if need be by forgetting whose client has been gone for longest
    fn make_room(&mut self, now: Instant) -> bool {
        let is_roomy = self.has_room(now);
        if is_roomy && self.entries.len() >= self.max {
            let oldest = self.longest_lapsed(now);
            oldest.and_then(|address| self.forget(address));
        }
        is_roomy
    }

    fn with_room(&mut self, now: Instant, address: Ipv4Addr) -> Result<Ipv4Addr, NoAddress> {
        let has_room = self.entries.contains_key(&address) || self.make_room(now);
        has_room.then_some(address).ok_or(NoAddress::Full)
    }
}

// --- Entries and their indexes ---

impl Leases {
    /// The only way in: an entry, in place of any of the same address
    fn put(&mut self, lease: Lease, until: Instant) {
        let address = lease.address;
        if self.of_client.get(&lease.key) == Some(&address)
            && let Some(entry) = self.entries.get_mut(&address).filter(|entry| entry.lease.key == lease.key)
        {
            let is_renewal = entry.lease.ends() == entry.until && until >= entry.until;
            (entry.lease, entry.until) = (lease, until);
            if !is_renewal {
                self.rank(address);
            }
            return;
        }
        self.forget(address);
        let next_of_client = self.of_client.insert(lease.key, address);
        self.entries.insert(address, Entry { lease, until, ranked: until, next_of_client });
        self.ending.insert((until, address));
        self.pools.on_insert(address, until);
    }

    /// Gives an entry the place in the order of ending that its end says
    fn rank(&mut self, address: Ipv4Addr) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        let before = std::mem::replace(&mut entry.ranked, entry.until);
        if before != entry.ranked {
            self.ending.remove(&(before, address));
            self.ending.insert((entry.ranked, address));
            self.pools.on_ranked(address, before, entry.ranked);
        }
    }

    /// The only way out
    fn forget(&mut self, address: Ipv4Addr) -> Option<Entry> {
        let key = self.entries.get(&address)?.lease.key;
        self.unlink(key, address);
        let entry = self.entries.remove(&address)?;
        self.ending.remove(&(entry.ranked, address));
        self.pools.on_remove(address, entry.ranked);
        Some(entry)
    }

    /// Ends a lease or hold
    fn lapse(&mut self, lease: Lease, now: Instant) -> Lease {
        let ended = Lease { expires_s: lease.expires_s.min(now.as_secs()), ..lease };
        self.put(ended, now);
        ended
    }

    fn withdraw(&mut self, lease: Lease, now: Instant) -> LeaseChange {
        let expires_s = round_up_s(now + DECLINE_HOLD);
        let declined = Lease { state: State::Declined, expires_s, ..lease };
        self.put(declined, declined.ends());
        LeaseChange::Put(declined)
    }

    /// Everything linked to this client: its addresses, now or last, and what it declined
    fn chain(&self, key: ClientKey) -> impl Iterator<Item = &Entry> + Clone {
        let entry = |address: Option<Ipv4Addr>| address.and_then(|address| self.entries.get(&address));
        std::iter::successors(entry(self.of_client.get(&key).copied()), move |last| {
            entry(last.next_of_client)
        })
    }

    /// What this client declined first, where it may not decline one more
    fn declined_too_many(&self, key: ClientKey) -> Option<Lease> {
        let declined = self.chain(key).filter(|entry| entry.lease.state == State::Declined);
        let is_full = declined.clone().count() >= DECLINES_MAX;
        declined.min_by_key(|entry| entry.until).filter(|_| is_full).map(|entry| entry.lease)
    }

    /// Takes an address out of its client's chain, if it is in
    fn unlink(&mut self, key: ClientKey, address: Ipv4Addr) {
        let Some(next) = self.entries.get(&address).map(|entry| entry.next_of_client) else { return };
        let before = self.chain(key).find(|entry| entry.next_of_client == Some(address));
        match before.map(|entry| entry.lease.address) {
            Some(before) => {
                if let Some(entry) = self.entries.get_mut(&before) {
                    entry.next_of_client = next;
                }
            }
            None if self.of_client.get(&key) == Some(&address) => match next {
                Some(next) => _ = self.of_client.insert(key, next),
                None => _ = self.of_client.remove(&key),
            },
            None => {}
        }
    }
}

/// Whether a pool of the subnet holds it
fn is_in_pool(subnet: &Subnet, address: Ipv4Addr) -> bool {
    subnet.pools.iter().any(|pool| pool.contains(address))
}

/// Whether no pool may give it: told so, or no host's address whatever the pool's range says (RFC 1122 §3.2.1.3)
fn withheld(ask: &Ask, address: Ipv4Addr) -> bool {
    let cidr = ask.subnet.cidr;
    let is_host = cidr.prefix >= 31 || (address != cidr.address && address != cidr.broadcast());
    !is_host || !cidr.contains(address) || (ask.withheld)(address)
}

/// Seconds since the Unix epoch, rounded up: a lease is never shorter than it was told
const fn round_up_s(moment: Instant) -> u64 {
    moment.as_micros().div_ceil(1_000_000)
}
