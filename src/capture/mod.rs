//! `serve --capture FILE`: the boot conversations that a server saw and answered, as pcapng, to send with a bug report.
//!
//! DHCP, port 4011 and TFTP as they were, and of HTTP what was read and written; of files only the heads, with the length
//! that each packet had. Each request has what was decided, and by which rule, as a comment, and so has its answer.
//! `replay` reads it, as Wireshark does.
//!
//! It sees what the server sees: a connection's segments are made up (the kernel keeps the real ones to itself), with numbers
//! that fit and the times at which bytes were read and written; hardware addresses that no socket told are those of the
//! leases, or zero. It is written by a thread of its own that shards never wait for; what they have no room to show is
//! counted, and told in the file and at the end. The file ends at [`CAPTURE_BYTES_MAX`], at a full disk, or when it is removed.
//!
//! What it costs (`tools/compare --server reveille --server reveille-capture dhcp tftp-w16 http-4k`, the writer on the shard's
//! own processor): 1.5 times the processor time of a DHCP exchange, 1.2 times that of TFTP in windows and of small files by
//! HTTP. Where nobody asks for it, shards look at an empty `Option`.
//!
//! - `frames`: what was tapped, as frames; this: the thread, the comments, the bounds

mod frames;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use self::frames::{Frame, Frames};
use crate::boot::plan::Plan;
use crate::io::notes::Notes;
use crate::io::tap::{TapQueue, Tapped, What};
use crate::limits::{CAPTURE_BYTES_MAX, CAPTURED_CLIENTS_MAX};
use crate::log::Log;
use crate::note::Note;
use crate::wire::dhcp::Message;
use crate::wire::pcap::{Blocks, Statistics};

/// How long what was tapped may gather: a writer that is woken for each packet would cost the shards a system call each
const GATHER: Duration = Duration::from_millis(10);
/// After so many turns it is looked whether the file is still there
const LOOK_TURNS: u32 = 100;
/// A disk that hangs, or a pipe that nobody reads, keeps the server from ending for so many turns
const END_TURNS: u32 = 300;

/// A capture that is being written
#[derive(Debug)]
pub struct Capture {
    place: Arc<Place>,
    queue: Arc<TapQueue>,
    log: Arc<Mutex<Log>>,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Capture {
    /// Opens the file, and begins to write to it what comes by `queue`. `notes` is told when the file is full.
    ///
    /// # Errors
    /// Where there can be no such file; the error names it.
    pub fn start(
        path: &Path,
        plan: &Plan,
        log: Log,
        queue: Arc<TapQueue>,
        notes: Arc<Notes>,
    ) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let file = File::create(path).map_err(named)?;
        let place = Arc::new(Place::of(path, &file).map_err(named)?);
        let writer = Writer::new(BufWriter::new(file), plan, CAPTURE_BYTES_MAX).map_err(named)?;
        let (log, ends) = (Arc::new(Mutex::new(log)), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (queue, log, ends) = (Arc::clone(&queue), Arc::clone(&log), Arc::clone(&ends));
            let place = Arc::clone(&place);
            let run = move || write(writer, &place, &queue, &log, &ends, &notes);
            thread::Builder::new().name("capture".into()).spawn(run)?
        };
        Ok(Self { place, queue, log, ends, thread })
    }

    /// Decisions are put into words by this log from now on: its lines name another configuration's
    pub fn set(&self, log: Log) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = log;
    }

    /// Writes what is left, and says what was kept
    pub fn finish(self) -> String {
        self.ends.store(true, Ordering::Release);
        let name = self.place.path.display();
        for _ in 0..END_TURNS {
            if self.thread.is_finished() {
                break;
            }
            thread::sleep(GATHER);
        }
        if !self.thread.is_finished() {
            return format!("{name} takes nothing more: the end of the capture is lost");
        }
        let kept = self.thread.join().unwrap_or(0);
        if !self.place.is_there() {
            return format!("{name} is not there any more: what was captured is lost");
        }
        let lost = self.queue.lost();
        let more = if lost > 0 { format!("; no room for {lost} more") } else { String::new() };
        format!("captured {kept} packets to {name}{more}")
    }
}

/// Where the file is
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// Its device and inode
    id: (u64, u64),
}

impl Place {
    fn of(path: &Path, file: &File) -> io::Result<Self> {
        let about = file.metadata()?;
        Ok(Self { path: path.to_owned(), id: (about.dev(), about.ino()) })
    }

    /// Not removed, nor replaced
    fn is_there(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|about| (about.dev(), about.ino()) == self.id)
    }
}

/// The thread: how many packets it has kept
fn write(
    mut writer: Writer<BufWriter<File>>,
    place: &Place,
    queue: &TapQueue,
    log: &Mutex<Log>,
    ends: &AtomicBool,
    notes: &Notes,
) -> u64 {
    let name = place.path.display();
    for turn in 1u32.. {
        // Read before the queue: what came before the end is written.
        let is_last = ends.load(Ordering::Acquire);
        let result = {
            let log = log.lock().unwrap_or_else(PoisonError::into_inner);
            std::iter::from_fn(|| queue.pop())
                .try_for_each(|tapped| writer.on_tapped(&tapped, &log))
                .and_then(|()| writer.flush())
                // What is written to a file without a name is room on the disk that nobody finds.
                .and_then(
                    |()| if turn % LOOK_TURNS > 0 || place.is_there() { Ok(()) } else { Err(Stop::Gone) },
                )
        };
        if is_last && result.is_ok() {
            if let Err(error) = writer.finish(queue.lost()) {
                notes.say(format!("cannot write {name}: {error}"));
            }
            return writer.kept;
        }
        if let Err(error) = result {
            queue.close();
            notes.say(match error {
                Stop::Full => {
                    let mib = CAPTURE_BYTES_MAX >> 20;
                    format!("{name} has reached {mib} MiB: nothing more is captured")
                }
                Stop::Gone => format!("{name} is not there any more: nothing more is captured"),
                Stop::Failed(error) => format!("cannot write {name}: {error}; nothing more is captured"),
            });
            // Best effort: the account at its end, where there is room for it.
            let _ = writer.finish(queue.lost());
            return writer.kept;
        }
        thread::sleep(GATHER);
    }
    writer.kept
}

/// Why nothing more is written
#[derive(Debug)]
enum Stop {
    Full,
    /// The file was removed
    Gone,
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// The file, and what is remembered between a request and its answer
struct Writer<W: Write> {
    blocks: Blocks<W>,
    frames: Frames,
    /// What was decided of the DHCP request with that `xid`
    decided: HashMap<u32, String>,
    /// Decisions that no packet caused: for the next one
    waiting: String,
    kept: u64,
    bytes_max: u64,
    last_us: u64,
}

impl<W: Write> Writer<W> {
    fn new(file: W, plan: &Plan, bytes_max: u64) -> io::Result<Self> {
        let mut blocks = Blocks::new(file, concat!("reveille ", env!("CARGO_PKG_VERSION")))?;
        for network in plan.networks() {
            blocks.interface(&network.interface)?;
        }
        if plan.networks().is_empty() {
            blocks.interface("none")?;
        }
        Ok(Self {
            blocks,
            frames: Frames::new(plan),
            decided: HashMap::new(),
            waiting: String::new(),
            kept: 0,
            bytes_max,
            last_us: 0,
        })
    }

    fn on_tapped(&mut self, tapped: &Tapped, log: &Log) -> Result<(), Stop> {
        let mut comment = std::mem::take(&mut self.waiting);
        for note in &tapped.notes {
            log.write(note, &mut comment);
        }
        if matches!(tapped.what, What::Decided) {
            self.waiting = comment;
            return Ok(());
        }
        if let Some(xid) = xid(&tapped.what) {
            match tapped.what {
                What::Asked { .. } if tapped.notes.iter().any(|note| matches!(note, Note::Dhcp(_))) => {
                    if self.decided.len() == CAPTURED_CLIENTS_MAX {
                        self.decided.clear();
                    }
                    self.decided.insert(xid, comment.clone());
                }
                // A reply that is sent twice has the same reason.
                What::Answered { .. } => comment += self.decided.get(&xid).map_or("", String::as_str),
                _ => {}
            }
        }
        self.last_us = self.last_us.max(tapped.at.as_micros());
        let (blocks, kept, bytes_max) = (&mut self.blocks, &mut self.kept, self.bytes_max);
        let mut comments = comment.lines();
        self.frames.each(tapped, &mut |frame: Frame<'_>| {
            if blocks.written() + frame.bytes.len() as u64 > bytes_max {
                return Err(Stop::Full);
            }
            // All of them are of the first frame.
            let comments = comments.by_ref();
            blocks.packet(frame.network, tapped.at.as_micros(), frame.bytes, frame.original_len, comments)?;
            *kept += 1;
            Ok(())
        })
    }

    fn flush(&mut self) -> Result<(), Stop> {
        Ok(self.blocks.flush()?)
    }

    fn finish(&mut self, lost: u64) -> io::Result<()> {
        let lost_words = if lost > 0 { format!("{lost} packets found no room\n") } else { String::new() };
        let comment = format!("{lost_words}{}", self.waiting);
        let statistics = Statistics { time_us: self.last_us, dropped: lost, comment: comment.trim_end() };
        self.blocks.statistics(0, &statistics)?;
        self.blocks.flush()
    }
}

/// The transaction of a DHCP message
fn xid(what: &What) -> Option<u32> {
    let (payload, port) = match what {
        What::Asked { payload, to, .. } => (payload, to.port()),
        What::Answered { payload, from, .. } => (payload, from.port()),
        _ => return None,
    };
    frames::is_dhcp(port)
        .then(|| Message::parse(payload).ok())
        .flatten()
        .map(|message| message.header().xid.get())
}

#[cfg(test)]
mod tests;
