//! The thread that prints: decisions to the standard output, sentences for the operator to the standard error.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::io::notes::Notes;
use crate::log::Log;

/// How long the thread sleeps when nobody wakes it: a wake that is lost costs so much, not for ever
const NAP: Duration = Duration::from_millis(500);
/// How long decisions may gather before they are printed. A thread that is woken for each line of a busy server costs its shards
/// a system call a request; the queue holds what a shard decides in many times as long.
const GATHER: Duration = Duration::from_millis(5);

/// The thread
pub(super) struct LogThread {
    notes: Arc<Notes>,
    log: Arc<Mutex<Log>>,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl LogThread {
    /// Starts it
    pub(super) fn start(log: Log, notes: Arc<Notes>) -> io::Result<Self> {
        let (log, ends) = (Arc::new(Mutex::new(log)), Arc::new(AtomicBool::new(false)));
        let (its_notes, its_log, its_end) = (Arc::clone(&notes), Arc::clone(&log), Arc::clone(&ends));
        let thread = thread::Builder::new().name("log".into()).spawn(move || {
            its_notes.read_here();
            loop {
                // Read before the queues: what came before the end is printed.
                let is_last = its_end.load(Ordering::Acquire);
                print(&its_notes, &its_log);
                if is_last {
                    return;
                }
                thread::park_timeout(NAP);
                thread::sleep(GATHER);
            }
        })?;
        Ok(Self { notes, log, ends, thread })
    }

    /// Prints decisions in another way from now on
    pub(super) fn set(&self, log: Log) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = log;
    }

    /// Prints a sentence
    pub(super) fn say(&self, sentence: String) {
        self.notes.say(sentence);
    }

    /// Prints what is left, and ends
    pub(super) fn finish(self) {
        self.ends.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // It only prints: whatever became of it, the server has ended well or not by itself.
        let _ = self.thread.join();
    }
}

/// Prints what there is. A terminal or pipe that is gone is no reason to end: the queues are emptied all the same.
fn print(notes: &Notes, log: &Mutex<Log>) {
    /// Bytes that are formatted before they are written
    const CHUNK: usize = 64 << 10;
    let mut text = String::new();
    loop {
        text.clear();
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        while text.len() < CHUNK
            && let Some(note) = notes.pop()
        {
            log.write(&note, &mut text);
        }
        drop(log);
        if text.is_empty() {
            break;
        }
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
    let mut err = io::stderr().lock();
    while let Some(sentence) = notes.pop_sentence() {
        let _ = writeln!(err, "{}", sentence.trim_end());
    }
    let lost = notes.take_lost();
    if lost > 0 {
        let _ = writeln!(err, "{lost} decisions were not printed: whoever reads this log is too slow");
    }
}
