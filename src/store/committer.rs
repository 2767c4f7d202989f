//! The thread that writes leases, many in one sync.
//!
//! The driver hands over the changes of a batch and gets a [`CommitId`]. The thread takes everything that waits, writes it in
//! one commit, and tells the driver how far it came; meanwhile the next group gathers. So the slower the disk, the larger
//! the groups. On a fast disk a storm would pay for a sync every few leases, so a group of some size is followed by
//! [`GATHER`], in which the next one gathers too; a lone client never waits for that.
//!
//! # When a commit fails
//! The driver drops the replies that wait for it, and the clients ask again. The table holds leases then that the disk does
//! not, which harms nobody: they are not acknowledged. Their changes stay here, one an address, and go into every further
//! commit before newer ones, until one succeeds: a reply to the next REQUEST therefore means what it says. A RELEASE or DECLINE
//! that was never written costs at most an address that is free later.

use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::LeaseStore;
use crate::boot::lease::LeaseChange;
use crate::limits::HELD_MAX;

/// Changes that may wait for the disk, beside the group that is being written
const WAITING_MAX: usize = HELD_MAX * 2;
/// Outcomes that may wait for the driver; the thread pauses then
const OUTCOMES_MAX: usize = 64;
/// A group of so many changes is a storm's: one more sync a client is what it cannot afford
const GATHER_FROM: usize = 8;
/// How long the next group gathers then. The quickest ROM (iPXE) asks again after 250 ms.
const GATHER: Duration = Duration::from_millis(2);
/// When nobody has asked for this long, the store is tidied
const TIDY_AFTER: Duration = Duration::from_secs(2);

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

/// What waits for the thread
#[derive(Debug)]
struct Waiting {
    changes: Vec<LeaseChange>,
    /// The last batch among them
    up_to: CommitId,
    /// The thread sleeps until it is woken
    is_asleep: bool,
    /// No more will come
    is_closed: bool,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that may panic is done under this lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The driver's end of the thread. Dropped, it waits until everything is written.
#[derive(Debug)]
pub struct Committer {
    shared: Arc<Shared>,
    outcomes: Option<Receiver<Outcome>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Committer {
    /// Starts the thread. It calls `wake` after each outcome, for a driver that sleeps in its poll.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(store: impl LeaseStore + 'static, wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        Self::start_with(store, wake, || thread::sleep(GATHER))
    }

    /// The same with another way to let a group gather
    fn start_with(
        store: impl LeaseStore + 'static,
        wake: impl Fn() + Send + 'static,
        gather: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let changes = Vec::with_capacity(WAITING_MAX);
        let waiting = Waiting { changes, up_to: CommitId(0), is_asleep: false, is_closed: false };
        let shared = Arc::new(Shared { waiting: Mutex::new(waiting), wake: Condvar::new() });
        let (tell, outcomes) = bounded(OUTCOMES_MAX);
        let writer = Writer {
            store: Box::new(store),
            shared: Arc::clone(&shared),
            tell,
            taken: CommitId(0),
            group: Vec::with_capacity(WAITING_MAX),
            is_tidy: false,
        };
        let thread =
            thread::Builder::new().name("leases".into()).spawn(move || writer.run(&wake, &gather))?;
        Ok(Self { shared, outcomes: Some(outcomes), thread: Some(thread) })
    }

    /// Hands over the changes of a batch. It never waits: the thread holds the lock for a few instructions. `None`: too many
    /// wait already, since the disk is slower than the clients; none of these was taken, and the replies that depend on them
    /// must not leave.
    pub fn commit(&mut self, changes: &[LeaseChange]) -> Option<CommitId> {
        let mut waiting = self.shared.lock();
        if waiting.changes.len() + changes.len() > WAITING_MAX {
            return None;
        }
        waiting.changes.extend_from_slice(changes);
        waiting.up_to.0 += 1;
        let (id, is_asleep) = (waiting.up_to, mem::take(&mut waiting.is_asleep));
        drop(waiting);
        if is_asleep {
            self.shared.wake.notify_one();
        }
        Some(id)
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
        // The thread may be waiting for room among the outcomes.
        self.outcomes = None;
        self.shared.lock().is_closed = true;
        self.shared.wake.notify_one();
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
    shared: Arc<Shared>,
    tell: Sender<Outcome>,
    /// The last batch that was taken
    taken: CommitId,
    /// Changes to be written, in order
    group: Vec<LeaseChange>,
    /// Nothing was written since the store was tidied
    is_tidy: bool,
}

impl Writer {
    fn run(mut self, wake: &impl Fn(), gather: &impl Fn()) -> io::Result<()> {
        let mut last = Ok(());
        while self.take_group() {
            last = guarded(|| self.store.commit(&self.group));
            let (up_to, size) = (self.taken, self.group.len());
            let outcome = match &last {
                Ok(()) => {
                    self.group.clear();
                    Outcome::Committed { up_to }
                }
                Err(error) => {
                    keep_latest(&mut self.group);
                    Outcome::Failed { up_to, error: io::Error::new(error.kind(), error.to_string()) }
                }
            };
            // A driver that has gone does not ask any more; what it handed over is written all the same.
            if self.tell.send(outcome).is_ok() {
                wake();
            }
            if size >= GATHER_FROM {
                gather();
            }
        }
        last
    }

    /// Waits for batches and takes all that there are; false: no more will come
    fn take_group(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut waiting = shared.lock();
        while waiting.up_to == self.taken {
            if waiting.is_closed {
                return false;
            }
            waiting.is_asleep = true;
            if self.is_tidy {
                waiting = shared.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let woken = shared.wake.wait_timeout(waiting, TIDY_AFTER);
            let (guard, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            waiting = guard;
            if timeout.timed_out() && waiting.up_to == self.taken {
                drop(waiting);
                // Left undone it is done by a commit, whose outcome is told.
                _ = guarded(|| self.store.tidy());
                self.is_tidy = true;
                waiting = shared.lock();
            }
        }
        (waiting.is_asleep, self.is_tidy, self.taken) = (false, false, waiting.up_to);
        if self.group.is_empty() {
            mem::swap(&mut self.group, &mut waiting.changes);
        } else {
            self.group.append(&mut waiting.changes);
        }
        true
    }
}

/// The latest change of each address: what waits for a disk that takes nothing must not grow
fn keep_latest(changes: &mut Vec<LeaseChange>) {
    changes.reverse();
    changes.sort_by_key(LeaseChange::address);
    changes.dedup_by_key(|change| change.address());
}

/// A store that panics must not end the thread: a driver would wait for its outcomes for ever
fn guarded(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(io::Error::other("the lease store panicked; its message is above")))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

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
        // Before the committer, which waits for its thread: a writer that lets a group gather goes on then.
        go_on: Sender<()>,
        committer: Committer,
        turn: Sender<Turn>,
        sizes: Receiver<usize>,
        woken: Receiver<()>,
        /// The writer lets a group gather, until it is told to go on
        gathering: Receiver<()>,
        memory: Arc<Mutex<Memory>>,
    }

    impl Bench {
        fn new() -> Self {
            let memory = Arc::new(Mutex::new(Memory::default()));
            let ((turn, turns), (size, sizes)) = (bounded(1024), bounded(1024));
            let (wake, woken) = bounded(1024);
            let disk = Disk { memory: Arc::clone(&memory), turns, sizes: size };
            let wake = move || wake.send(()).expect("the test waits");
            let ((begins, gathering), (go_on, told)) = (bounded(1024), bounded(1024));
            let gather = move || _ = begins.send(()).map(|()| told.recv());
            let committer = Committer::start_with(disk, wake, gather).expect("a thread");
            Self { go_on, committer, turn, sizes, woken, gathering, memory }
        }

        fn pass(&self, turn: Turn) {
            self.turn.send(turn).expect("the disk waits");
        }

        fn outcome(&mut self) -> Outcome {
            self.woken.recv_timeout(Duration::from_secs(60)).expect("woken");
            self.committer.poll_outcome().expect("an outcome for each wake")
        }

        fn on_disk(&self) -> Vec<Lease> {
            self.memory.lock().expect("no panic holds it").load().expect("memory")
        }
    }

    #[test]
    fn what_waits_while_the_disk_is_busy_is_written_at_once() {
        let mut bench = Bench::new();
        assert_eq!(bench.committer.commit(&[put(1, 1)]), Some(CommitId(1)));
        assert_eq!(bench.sizes.recv(), Ok(1));
        for n in 2..=500 {
            bench.committer.commit(&[put(n, 1), put(n + 1, 1)]).expect("room");
        }
        assert!(bench.committer.poll_outcome().is_none());
        bench.pass(Turn::Pass);
        assert!(matches!(bench.outcome(), Outcome::Committed { up_to: CommitId(1) }));
        bench.pass(Turn::Pass);
        assert!(matches!(bench.outcome(), Outcome::Committed { up_to: CommitId(500) }));
        assert_eq!(bench.sizes.recv(), Ok(998));
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
        while bench.committer.commit(&[put(taken, 1)]).is_some() {
            taken += 1;
        }
        assert_eq!(bench.committer.commit(&[put(taken, 1)]), None);
        assert!(taken as usize >= WAITING_MAX / 2);
        drop((bench.turn, bench.go_on));
        bench.committer.finish().expect("all written");
        assert_eq!(
            bench.memory.lock().expect("no panic holds it").load().expect("memory").len(),
            taken as usize
        );
    }

    #[test]
    fn after_a_storms_group_the_next_one_gathers_and_after_a_lone_clients_none_does() {
        let mut bench = Bench::new();
        (0..5).for_each(|_| bench.pass(Turn::Pass));
        for _ in 0..3 {
            bench.committer.commit(&[put(1, 1)]).expect("room");
            bench.outcome();
        }
        bench.committer.commit(&[put(1, 1); GATHER_FROM]).expect("room");
        bench.outcome();
        bench.gathering.recv().expect("a storm's group");
        (0..20).for_each(|n| _ = bench.committer.commit(&[put(n, 1)]).expect("room"));
        assert_eq!(bench.sizes.try_iter().collect::<Vec<_>>(), [1, 1, 1, GATHER_FROM]);
        bench.go_on.send(()).expect("it waits for that");
        bench.outcome();
        assert_eq!(bench.sizes.recv(), Ok(20), "one group of all that came meanwhile");
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
