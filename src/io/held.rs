//! Replies that wait for their leases to be on disk (RFC 2131 §3.1: what is acknowledged is remembered).

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::Ipv4Addr;

use super::notes::Notes;
use crate::boot::lease::LeaseChange;
use crate::limits::{BATCH, HELD_MAX};
use crate::note::{Advice, Note};
use crate::proto::outbox::{Outbox, Slot};
use crate::stats::{DropReason, Stats};
use crate::store::{CommitId, Committer, Outcome};

/// Hands lease changes to the store and keeps the replies that wait for them
#[derive(Default)]
pub(super) struct Held {
    /// `None`: this server gives no leases
    committer: Option<Committer>,
    /// The last batch handed over, and the last that is on disk
    newest: Option<CommitId>,
    committed: Option<CommitId>,
    waiting: VecDeque<(CommitId, Slot)>,
    ready: Vec<Slot>,
    /// Slots to give for those that are taken
    spare: Vec<Slot>,
    /// Changes that the store would not take, the latest of each address: they go before newer ones
    refused: BTreeMap<Ipv4Addr, LeaseChange>,
    /// The store holds less than it was given
    is_failing: bool,
}

impl Held {
    /// With a store from here on
    pub(super) fn set_committer(&mut self, committer: Committer) {
        self.committer = Some(committer);
    }

    /// Whether no reply waits
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.ready.is_empty()
    }

    /// Takes over an outbox's lease changes, and the replies that are to wait for them and those before
    pub(super) fn take(&mut self, outbox: &mut Outbox, stats: &mut Stats, notes: &Notes) {
        let is_held = |slot: &Slot| slot.after_commit;
        // A request that is repeated may change nothing; what the first one changed must be on disk all the same.
        let tries_again = self.is_failing && outbox.slots().iter().any(is_held);
        let is_taken = (outbox.changes().is_empty() && !tries_again) || self.commit(outbox.changes());
        if !is_taken {
            self.is_failing = tell_failure(self.is_failing, notes, None);
        }
        for index in 0..outbox.slots().len() {
            if !is_held(&outbox.slots()[index]) {
                continue;
            }
            if !is_taken || self.waiting.len() == HELD_MAX {
                stats.drop(DropReason::NotCommitted);
                continue;
            }
            let mut slot = outbox.take(index, self.spare.pop().unwrap_or_default());
            slot.after_commit = false;
            match self.newest.filter(|&id| Some(id) > self.committed) {
                Some(id) => self.waiting.push_back((id, slot)),
                None => self.ready.push(slot),
            }
        }
    }

    /// Hands changes to the store; false where there is none, or it is slower than the clients, who ask again
    fn commit(&mut self, changes: &[LeaseChange]) -> bool {
        let Some(committer) = &mut self.committer else { return false };
        if self.refused.is_empty()
            && let Some(id) = committer.commit(changes)
        {
            self.newest = Some(id);
            return true;
        }
        self.refused.extend(changes.iter().map(|change| (change.address(), *change)));
        while !self.refused.is_empty() {
            let part: Vec<_> = self.refused.values().take(BATCH).copied().collect();
            let Some(id) = committer.commit(&part) else { return false };
            self.newest = Some(id);
            for change in &part {
                self.refused.remove(&change.address());
            }
        }
        true
    }

    /// Hears from the store which batches are on disk
    pub(super) fn hear(&mut self, stats: &mut Stats, notes: &Notes) {
        let Some(committer) = &mut self.committer else { return };
        while let Some(outcome) = committer.poll_outcome() {
            let (up_to, failure) = match outcome {
                Outcome::Committed { up_to } => (up_to, None),
                Outcome::Failed { up_to, error } => (up_to, Some(error.to_string())),
            };
            self.committed = Some(up_to);
            let count = self.waiting.partition_point(|&(id, _)| id <= up_to);
            let told = self.waiting.drain(..count).map(|(_, slot)| slot);
            match failure {
                None => {
                    self.ready.extend(told);
                    self.is_failing = !self.refused.is_empty();
                }
                Some(error) => {
                    for slot in told {
                        stats.drop(DropReason::NotCommitted);
                        self.spare.push(slot);
                    }
                    self.is_failing = tell_failure(self.is_failing, notes, Some(error));
                }
            }
        }
    }

    /// The replies that may leave now; [`Held::clear_ready`] forgets them
    pub(super) fn ready(&self) -> &[Slot] {
        &self.ready
    }

    pub(super) fn clear_ready(&mut self) {
        self.spare.append(&mut self.ready);
    }

    /// Waits until everything is written
    pub(super) fn finish(self) -> io::Result<()> {
        self.committer.map_or(Ok(()), Committer::finish)
    }
}

/// Tells the operator, once a failure and not once a reply; returns true
fn tell_failure(was_told: bool, notes: &Notes, error: Option<String>) -> bool {
    if !was_told {
        notes.push(&[Note::Advice(Advice::StoreFailed)]);
        error.into_iter().for_each(|error| notes.say(error));
    }
    true
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, mpsc};

    use super::*;
    use crate::boot::lease::Lease;
    use crate::proto::outbox::{Port, Route};
    use crate::store::LeaseStore;

    /// A disk that is full while it is told so
    struct Disk(Arc<AtomicBool>);

    impl LeaseStore for Disk {
        fn load(&mut self) -> io::Result<Vec<Lease>> {
            Ok(Vec::new())
        }

        fn commit(&mut self, _: &[LeaseChange]) -> io::Result<()> {
            if self.0.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    struct Bench {
        held: Held,
        stats: Stats,
        notes: Notes,
        woken: mpsc::Receiver<()>,
        is_full: Arc<AtomicBool>,
    }

    impl Bench {
        fn new() -> Self {
            let (wake, woken) = mpsc::channel();
            let is_full = Arc::new(AtomicBool::new(false));
            let disk = Disk(Arc::clone(&is_full));
            let committer = Committer::start(disk, move || wake.send(()).expect("the test listens"));
            let mut held = Held::default();
            held.set_committer(committer.expect("a thread"));
            Self { held, stats: Stats::new(), notes: Notes::new(), woken, is_full }
        }

        fn take(&mut self, changes: u8, replies: usize) {
            let mut outbox = Outbox::new();
            (0..changes).for_each(|n| outbox.lease(LeaseChange::Remove(Ipv4Addr::new(10, 0, 0, n))));
            let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
            let source = Ipv4Addr::LOCALHOST;
            let route = Route { port: Port::Dhcp, network: 0, source, to, mac: None };
            (0..replies).for_each(|_| outbox.datagram_after_commit(route, |_| Some(300)));
            outbox.datagram(route, |_| Some(300));
            self.held.take(&mut outbox, &mut self.stats, &self.notes);
        }

        fn hear(&mut self) -> usize {
            self.woken.recv().expect("an outcome");
            self.held.hear(&mut self.stats, &self.notes);
            let ready = self.held.ready().len();
            assert!(self.held.ready().iter().all(|slot| !slot.after_commit));
            self.held.clear_ready();
            ready
        }
    }

    #[test]
    fn replies_wait_for_the_changes_before_them_and_no_longer() {
        let mut bench = Bench::new();
        bench.take(0, 2);
        assert_eq!(bench.held.ready().len(), 2, "nothing was ever changed");
        bench.held.clear_ready();
        bench.take(3, 2);
        bench.take(0, 1);
        assert!(!bench.held.is_empty());
        assert_eq!(bench.hear(), 3, "a repeated request waits for the change of the first");
        bench.take(0, 1);
        assert_eq!(bench.held.ready().len(), 1);
        bench.held.finish().expect("all written");
    }

    #[test]
    fn a_full_disk_drops_replies_and_is_told_once() {
        let mut bench = Bench::new();
        bench.is_full.store(true, Ordering::Relaxed);
        for _ in 0..2 {
            bench.take(1, 2);
            assert_eq!(bench.hear(), 0);
        }
        assert_eq!(bench.stats.dropped(DropReason::NotCommitted), 4, "each is counted");
        assert!(matches!(bench.notes.pop(), Some(Note::Advice(Advice::StoreFailed))));
        assert!(bench.notes.pop().is_none() && bench.notes.pop_sentence().is_some());
        bench.take(0, 1);
        assert_eq!(bench.hear(), 0, "a repeated request that changes nothing waits for what failed");
        bench.is_full.store(false, Ordering::Relaxed);
        bench.take(0, 1);
        assert_eq!(bench.hear(), 1);
        bench.take(0, 1);
        assert_eq!(bench.held.ready().len(), 1, "all is on disk");
        bench.held.clear_ready();
        assert!(bench.held.is_empty());
    }

    #[test]
    fn without_a_store_no_lease_is_acknowledged() {
        let (mut held, mut stats, notes) = (Held::default(), Stats::new(), Notes::new());
        let mut outbox = Outbox::new();
        outbox.lease(LeaseChange::Remove(Ipv4Addr::LOCALHOST));
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
        let route = Route { port: Port::Dhcp, network: 0, source: Ipv4Addr::LOCALHOST, to, mac: None };
        outbox.datagram_after_commit(route, |_| Some(300));
        held.take(&mut outbox, &mut stats, &notes);
        assert_eq!((held.ready().len(), stats.dropped(DropReason::NotCommitted)), (0, 1));
    }
}
