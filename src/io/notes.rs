//! The way of decisions from the shards to whoever prints them: bounded, and never waited for.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};

use crossbeam_queue::ArrayQueue;

use crate::limits::{NOTES_MAX, SENTENCES_MAX};
use crate::note::Note;

/// Decisions, and sentences for the operator, that wait to be printed
#[derive(Debug)]
pub struct Notes {
    decisions: ArrayQueue<Note>,
    sentences: ArrayQueue<String>,
    lost: AtomicU64,
    reader: OnceLock<Thread>,
}

impl Notes {
    /// None yet
    pub fn new() -> Self {
        Self {
            decisions: ArrayQueue::new(NOTES_MAX),
            sentences: ArrayQueue::new(SENTENCES_MAX),
            lost: AtomicU64::new(0),
            reader: OnceLock::new(),
        }
    }

    /// Makes the calling thread the one that is woken for new decisions
    pub fn read_here(&self) {
        // The first reader stays the reader: a second one would only be woken less often.
        let _ = self.reader.set(thread::current());
    }

    /// Adds decisions and wakes the reader; returns how many found no room and are lost
    pub fn push(&self, notes: &[Note]) -> u64 {
        let lost = notes.iter().filter(|&&note| self.decisions.push(note).is_err()).count() as u64;
        if lost > 0 {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
        self.wake();
        lost
    }

    /// Adds a sentence for the operator. Where too many wait, those say enough.
    pub fn say(&self, sentence: impl Into<String>) {
        let _ = self.sentences.push(sentence.into());
        self.wake();
    }

    /// The oldest decision
    pub fn pop(&self) -> Option<Note> {
        self.decisions.pop()
    }

    /// The oldest sentence
    pub fn pop_sentence(&self) -> Option<String> {
        self.sentences.pop()
    }

    /// How many decisions were lost since the last time
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// Wakes the reader
    pub fn wake(&self) {
        if let Some(reader) = self.reader.get() {
            reader.unpark();
        }
    }
}

impl Default for Notes {
    fn default() -> Self {
        Self::new()
    }
}
