//! The thread that writes leases, many in one sync.
//!
//! The driver hands over the changes of a batch and gets a [`CommitId`]. The thread takes everything that waits, writes it in
//! one commit, and tells the driver how far it came; meanwhile the next group gathers. So the slower the disk, the larger
//! the groups, and a storm costs a few syncs.
//!
//! # When a commit fails
//! The driver drops the replies that wait for it, and the clients ask again. The table holds leases then that the disk does
//! not, which harms nobody: they are not acknowledged. Their changes stay here, one an address, and go into every further
//! commit before newer ones, until one succeeds: a reply to the next REQUEST therefore means what it says. A RELEASE or DECLINE
//! that was never written costs at most an address that is free later.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::LeaseStore;
use crate::boot::lease::LeaseChange;
use crate::limits::HELD_MAX;

/// Changes that may wait for the disk, beside the group that is being written
const WAITING_MAX: usize = HELD_MAX * 2;
/// Outcomes that may wait for the driver; the thread pauses then
const OUTCOMES_MAX: usize = 64;

/// Which batch of changes: they count up from 1
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub u64);

/// How a group of batches fared: all that were not told of before, up to one of them
#[derive(Debug)]
pub enum Outcome {
    /// On disk
    Committed {
        /// The last batch of the group
        up_to: CommitId,
    },
    /// Not on disk
    Failed {
        /// The last batch of the group
        up_to: CommitId,
        /// Why: a sentence for the operator
        error: io::Error,
    },
}

/// Why changes were not taken
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many wait already: the disk is slower than the clients
    Full,
    /// The thread has ended
    Stopped,
}

enum Message {
    Change(LeaseChange),
    /// All changes of this batch came before
    End(CommitId),
}

/// The driver's end of the thread. Dropped, it waits until everything is written.
#[derive(Debug)]
pub struct Committer {
    last_id: u64,
    messages: Option<Sender<Message>>,
    outcomes: Option<Receiver<Outcome>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Committer {
    /// Starts the thread. It calls `wake` after each outcome, for a driver that sleeps in its poll.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(store: impl LeaseStore + 'static, wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (messages, inbox) = bounded(WAITING_MAX);
        let (tell, outcomes) = bounded(OUTCOMES_MAX);
        let writer = Writer { store: Box::new(store), inbox, tell, unwritten: BTreeMap::new() };
        let thread = thread::Builder::new().name("leases".into()).spawn(move || writer.run(&wake))?;
        Ok(Self { last_id: 0, messages: Some(messages), outcomes: Some(outcomes), thread: Some(thread) })
    }

    /// Hands over the changes of a batch. It never waits.
    ///
    /// # Errors
    /// None of them was taken; the replies that depend on them must not leave.
    pub fn commit(&mut self, changes: &[LeaseChange]) -> Result<CommitId, Refused> {
        let messages = self.messages.as_ref().ok_or(Refused::Stopped)?;
        // Only this end adds, so the room that is seen is there.
        if messages.len() + changes.len() >= WAITING_MAX {
            return Err(Refused::Full);
        }
        let id = CommitId(self.last_id + 1);
        for message in changes.iter().copied().map(Message::Change).chain([Message::End(id)]) {
            messages.try_send(message).map_err(|_| Refused::Stopped)?;
        }
        self.last_id = id.0;
        Ok(id)
    }

    /// The next outcome, if there is one, in the order of the batches
    pub fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.as_ref()?.try_recv().ok()
    }

    /// Waits until everything is written, and ends the thread
    ///
    /// # Errors
    /// Some changes could not be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.join()
    }

    fn join(&mut self) -> io::Result<()> {
        // In this order: the thread may be waiting for room among the outcomes.
        self.outcomes = None;
        self.messages = None;
        self.thread.take().map_or(Ok(()), |thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread of the lease store died")))
        })
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        // Whoever wants to know calls `finish`: what is not written now was never acknowledged.
        _ = self.join();
    }
}

struct Writer {
    store: Box<dyn LeaseStore>,
    inbox: Receiver<Message>,
    tell: Sender<Outcome>,
    /// Changes to be written, the latest of each address
    unwritten: BTreeMap<Ipv4Addr, LeaseChange>,
}

impl Writer {
    fn run(mut self, wake: &impl Fn()) -> io::Result<()> {
        let mut group = Vec::new();
        let mut last = Ok(());
        while let Ok(first) = self.inbox.recv() {
            let mut up_to = self.take(first);
            // Bounded, so that a stream of changes does not put off the commit for ever.
            for _ in 0..WAITING_MAX {
                let Ok(message) = self.inbox.try_recv() else { break };
                up_to = self.take(message).or(up_to);
            }
            group.clear();
            group.extend(self.unwritten.values().copied());
            last = commit(self.store.as_mut(), &group);
            if last.is_ok() {
                self.unwritten.clear();
            }
            // A batch whose end is still to come is told of with the group that holds its end. If this part of it failed,
            // it is written again there.
            let Some(up_to) = up_to else { continue };
            let outcome = match &last {
                Ok(()) => Outcome::Committed { up_to },
                Err(error) => {
                    Outcome::Failed { up_to, error: io::Error::new(error.kind(), error.to_string()) }
                }
            };
            // A driver that has gone does not ask any more; what it handed over is written all the same.
            if self.tell.send(outcome).is_ok() {
                wake();
            }
        }
        last
    }

    fn take(&mut self, message: Message) -> Option<CommitId> {
        match message {
            Message::Change(change) => {
                self.unwritten.insert(change.address(), change);
                None
            }
            Message::End(id) => Some(id),
        }
    }
}

/// A store that panics must not end the thread: a driver would wait for its outcomes for ever
fn commit(store: &mut dyn LeaseStore, group: &[LeaseChange]) -> io::Result<()> {
    if group.is_empty() {
        return Ok(());
    }
    catch_unwind(AssertUnwindSafe(|| store.commit(group)))
        .unwrap_or_else(|_| Err(io::Error::other("the lease store panicked; its message is above")))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::boot::lease::{ClientKey, Lease, State};
    use crate::note::Text;
    use crate::store::Memory;

    fn put(n: u32, expires_s: u64) -> LeaseChange {
        let key = ClientKey::of(1, &n.to_be_bytes(), None);
        let address = Ipv4Addr::from_bits(n);
        LeaseChange::Put(Lease { address, key, state: State::Bound, expires_s, hostname: Text::EMPTY })
    }

    /// A disk whose commits take as long as the test wants, and fail as it wants
    struct Disk {
        memory: Arc<Mutex<Memory>>,
        /// One message lets one commit pass
        turns: Receiver<Turn>,
        /// How many changes each commit held
        sizes: Sender<usize>,
    }

    enum Turn {
        Pass,
        Fail,
        Panic,
    }

    impl LeaseStore for Disk {
        fn load(&mut self) -> io::Result<Vec<Lease>> {
            self.memory.lock().expect("no panic holds it").load()
        }

        fn commit(&mut self, changes: &[LeaseChange]) -> io::Result<()> {
            self.sizes.send(changes.len()).expect("the test waits");
            match self.turns.recv().unwrap_or(Turn::Pass) {
                Turn::Pass => self.memory.lock().expect("no panic holds it").commit(changes),
                Turn::Fail => Err(io::ErrorKind::StorageFull.into()),
                Turn::Panic => panic!("a broken store"),
            }
        }
    }

    struct Bench {
        committer: Committer,
        turn: Sender<Turn>,
        sizes: Receiver<usize>,
        woken: Receiver<()>,
        memory: Arc<Mutex<Memory>>,
    }

    impl Bench {
        fn new() -> Self {
            let memory = Arc::new(Mutex::new(Memory::default()));
            let ((turn, turns), (size, sizes)) = (bounded(1024), bounded(1024));
            let (wake, woken) = bounded(1024);
            let disk = Disk { memory: Arc::clone(&memory), turns, sizes: size };
            let wake = move || wake.send(()).expect("the test waits");
            Self { committer: Committer::start(disk, wake).expect("a thread"), turn, sizes, woken, memory }
        }

        fn pass(&self, turn: Turn) {
            self.turn.send(turn).expect("the disk waits");
        }

        fn outcome(&mut self) -> Outcome {
            self.woken.recv().expect("woken");
            self.committer.poll_outcome().expect("an outcome for each wake")
        }

        fn on_disk(&self) -> Vec<Lease> {
            self.memory.lock().expect("no panic holds it").load().expect("memory")
        }
    }

    #[test]
    fn what_waits_while_the_disk_is_busy_is_written_at_once() {
        let mut bench = Bench::new();
        assert_eq!(bench.committer.commit(&[put(1, 1)]), Ok(CommitId(1)));
        assert_eq!(bench.sizes.recv(), Ok(1));
        for n in 2..=500 {
            bench.committer.commit(&[put(n, 1), put(n + 1, 1)]).expect("room");
        }
        assert!(bench.committer.poll_outcome().is_none());
        bench.pass(Turn::Pass);
        assert!(matches!(bench.outcome(), Outcome::Committed { up_to: CommitId(1) }));
        bench.pass(Turn::Pass);
        assert!(matches!(bench.outcome(), Outcome::Committed { up_to: CommitId(500) }));
        assert_eq!(bench.sizes.recv(), Ok(500), "one of each address");
        assert_eq!(bench.on_disk().len(), 501);
    }

    #[test]
    fn what_failed_is_written_with_the_next_commit_and_never_over_newer_changes() {
        let mut bench = Bench::new();
        bench.committer.commit(&[put(1, 1), put(2, 1)]).expect("room");
        bench.pass(Turn::Fail);
        let Outcome::Failed { up_to: CommitId(1), error } = bench.outcome() else { panic!("it failed") };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        bench.committer.commit(&[put(2, 2)]).expect("room");
        bench.pass(Turn::Panic);
        assert!(matches!(bench.outcome(), Outcome::Failed { up_to: CommitId(2), .. }));
        assert!(bench.on_disk().is_empty());
        bench.committer.commit(&[put(3, 3)]).expect("room");
        bench.pass(Turn::Pass);
        assert!(matches!(bench.outcome(), Outcome::Committed { up_to: CommitId(3) }));
        assert_eq!(bench.on_disk().iter().map(|lease| lease.expires_s).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn a_disk_that_hangs_makes_nobody_wait_and_everything_is_written_at_the_end() {
        let mut bench = Bench::new();
        let mut taken = 0;
        while bench.committer.commit(&[put(taken, 1)]).is_ok() {
            taken += 1;
        }
        assert_eq!(bench.committer.commit(&[put(taken, 1)]), Err(Refused::Full));
        assert!(taken as usize >= WAITING_MAX / 2);
        drop(bench.turn);
        bench.committer.finish().expect("all written");
        assert_eq!(
            bench.memory.lock().expect("no panic holds it").load().expect("memory").len(),
            taken as usize
        );
    }

    #[test]
    fn what_could_not_be_written_at_the_end_is_told() {
        let mut bench = Bench::new();
        bench.committer.commit(&[put(1, 1)]).expect("room");
        bench.pass(Turn::Fail);
        let error = bench.committer.finish().expect_err("not written");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
