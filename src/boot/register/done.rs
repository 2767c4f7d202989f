//! Who has done what it was booted for once (`boot-once`): reported by any shard, on disk before it counts.
//!
//! ```text
//!   shard: report ──▶ waiting ──▶ the store's thread: take, write, settle ──▶ known: `is_done` from here on
//!      └── a ticket, by which it learns that the record is on disk ◀──┘
//! ```
//!
//! A term is the text beside `boot-once`: a machine is done with each term apart, so that one that it has not had yet arms it
//! again, and one that it had before does not.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use super::super::client::Uuid;
use crate::limits::{DONE_MAX, DONE_WAITING_MAX};
use crate::wire::ethernet::MacAddr;

/// What a machine is remembered by
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MachineId {
    /// Its MAC address
    Mac(MacAddr),
    /// Its UUID, as the configuration has it
    Uuid(Uuid),
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Uuid(uuid) => uuid.fmt(f),
        }
    }
}

/// A machine has done what it was booted for
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which
    pub id: MachineId,
    /// The term
    pub term: String,
    /// When, in seconds since the Unix epoch
    pub at_s: u64,
}

/// A report under way: they count up from 1
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// How a report stands
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is being written
    Waiting,
    /// It is on disk
    Recorded,
    /// It could not be written; it is tried again with the next one
    Failed,
}

/// More machines are done, or reports wait, than there is room for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

#[derive(Debug, Default)]
struct Reports {
    /// Not on disk yet, in order
    records: Vec<Record>,
    /// The last ticket given, the last that the writer took, the last that it came back with, and the last that is on disk
    /// with all before it
    given: u64,
    taken: u64,
    settled: u64,
    written: u64,
    /// What could not be written is to be tried again
    is_urgent: bool,
    /// There is a thread that writes
    has_writer: bool,
    is_closed: bool,
}

/// See the module
#[derive(Debug, Default)]
pub struct Done {
    known: RwLock<HashMap<MachineId, Vec<(String, u64)>>>,
    reports: Mutex<Reports>,
    wake: Condvar,
}

impl Done {
    /// When the machine was done with that term, in seconds since the Unix epoch
    pub fn since(&self, id: MachineId, term: &str) -> Option<u64> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&id)?.iter().find(|(one, _)| one == term).map(|(_, at_s)| *at_s)
    }

    /// Whether the machine is done with that term
    pub fn is_done(&self, id: MachineId, term: &str) -> bool {
        self.since(id, term).is_some()
    }

    /// Takes up what is on disk
    pub fn restore(&self, records: impl IntoIterator<Item = Record>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for Record { id, term, at_s } in records {
            let terms = known.entry(id).or_default();
            if terms.iter().all(|(one, _)| *one != term) {
                terms.push((term, at_s));
            }
        }
    }

    /// A machine reports; the ticket tells when that is on disk. Where nobody writes (a simulation), it counts at once.
    ///
    /// # Errors
    /// Too many are known, or wait.
    pub fn report(&self, record: Record) -> Result<Ticket, TooMany> {
        if self.known.read().unwrap_or_else(PoisonError::into_inner).len() >= DONE_MAX {
            return Err(TooMany);
        }
        let mut reports = self.lock();
        if reports.records.len() >= DONE_WAITING_MAX {
            reports.is_urgent = true;
            self.wake.notify_one();
            return Err(TooMany);
        }
        reports.given += 1;
        let ticket = Ticket(reports.given);
        if reports.has_writer {
            reports.records.push(record);
            self.wake.notify_one();
        } else {
            (reports.taken, reports.settled, reports.written) = (ticket.0, ticket.0, ticket.0);
            drop(reports);
            self.restore([record]);
        }
        Ok(ticket)
    }

    /// How a report stands
    pub fn standing(&self, ticket: Ticket) -> Standing {
        let reports = self.lock();
        match ticket.0 {
            number if number <= reports.written => Standing::Recorded,
            number if number <= reports.settled => Standing::Failed,
            _ => Standing::Waiting,
        }
    }

    // --- For the thread that writes ---

    /// From here on records count once [`Done::settle`] says that they are on disk
    pub fn has_writer(&self) {
        self.lock().has_writer = true;
    }

    /// Waits for reports and takes all that there are; `None`: no more will come
    pub fn take(&self) -> Option<Vec<Record>> {
        let mut reports = self.lock();
        // What could not be written waits for another report, so that a full disk is not asked without a pause.
        while reports.taken == reports.given && !mem::take(&mut reports.is_urgent) {
            if reports.is_closed {
                return None;
            }
            reports = self.wake.wait(reports).unwrap_or_else(PoisonError::into_inner);
        }
        reports.taken = reports.given;
        Some(mem::take(&mut reports.records))
    }

    /// What [`Done::take`] gave is on disk, or not
    pub fn settle(&self, records: Vec<Record>, is_written: bool) {
        if is_written {
            self.restore(records);
            let mut reports = self.lock();
            (reports.settled, reports.written) = (reports.taken, reports.taken);
        } else {
            let mut reports = self.lock();
            reports.settled = reports.taken;
            let later = mem::replace(&mut reports.records, records);
            reports.records.extend(later);
        }
    }

    /// No more reports will come: what waits is written, and the thread ends
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.wake.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(last: u8, term: &str) -> Record {
        Record { id: MachineId::Mac(MacAddr([2, 0, 0, 0, 0, last])), term: term.to_owned(), at_s: 7 }
    }

    fn is_done(done: &Done, last: u8, term: &str) -> bool {
        done.is_done(record(last, term).id, term)
    }

    #[test]
    fn a_report_counts_when_it_is_on_disk_and_not_before() {
        let done = Done::default();
        done.has_writer();
        let first = done.report(record(1, "a")).unwrap();
        assert_eq!((done.standing(first), is_done(&done, 1, "a")), (Standing::Waiting, false));
        let taken = done.take().unwrap();
        let second = done.report(record(2, "a")).unwrap();
        assert_eq!(done.standing(first), Standing::Waiting, "taken is not written");
        done.settle(taken, true);
        assert_eq!((done.standing(first), done.standing(second)), (Standing::Recorded, Standing::Waiting));
        assert!(is_done(&done, 1, "a") && !is_done(&done, 1, "b") && !is_done(&done, 2, "a"));
    }

    #[test]
    fn what_could_not_be_written_is_written_with_the_next() {
        let done = Done::default();
        done.has_writer();
        let first = done.report(record(1, "a")).unwrap();
        let taken = done.take().unwrap();
        done.settle(taken, false);
        assert_eq!((done.standing(first), is_done(&done, 1, "a")), (Standing::Failed, false));
        done.report(record(2, "a")).unwrap();
        let taken = done.take().unwrap();
        assert_eq!(taken, [record(1, "a"), record(2, "a")]);
        done.settle(taken, true);
        assert!(done.standing(first) == Standing::Recorded && is_done(&done, 1, "a"));
    }

    #[test]
    fn a_disk_that_takes_nothing_is_asked_again_when_there_is_no_room() {
        let done = Done::default();
        done.has_writer();
        for number in 0..DONE_WAITING_MAX {
            done.report(record(u8::try_from(number % 256).unwrap(), "a")).unwrap();
        }
        assert_eq!(done.report(record(1, "b")), Err(TooMany));
        let taken = done.take().unwrap();
        done.settle(taken, false);
        assert_eq!(done.report(record(1, "b")), Err(TooMany));
        assert_eq!(done.take().unwrap().len(), DONE_WAITING_MAX, "without another report");
        done.close();
        assert_eq!(done.take(), None);
    }

    #[test]
    fn without_a_writer_a_report_counts_at_once_and_the_number_of_machines_is_bounded() {
        let done = Done::default();
        let ticket = done.report(record(1, "a")).unwrap();
        assert!(done.standing(ticket) == Standing::Recorded && is_done(&done, 1, "a"));
        let id = |number: usize| MachineId::Uuid(Uuid((number as u128).to_be_bytes()));
        done.restore((1..DONE_MAX).map(|number| Record { id: id(number), ..record(1, "a") }));
        assert_eq!(done.report(record(2, "a")), Err(TooMany));
    }
}
