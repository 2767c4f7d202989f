//! `serve`: opens everything first, then starts the shards, and ends them in order.
//!
//! ```text
//!   main thread: waits for signals and for the end of shards
//!      ├─ shard 0: DHCP, 4011, TFTP, HTTP ──▶ leases (the store's thread)
//!      ├─ shard 1 …: TFTP, HTTP
//!      ├─ log: prints decisions, so that no packet waits for a terminal
//!      ├─ capture: writes conversations, where that is asked for
//!      └─ signals
//! ```
//!
//! What cannot be opened is told before anything is served. SIGHUP compiles the configuration anew; a plan that is wrong, or
//! that needs other sockets, leaves the old one in force. SIGTERM and SIGINT let transfers end within bounds; a second one
//! does not wait. A shard that fails takes the process with it: half a server would be taken for a whole one.

mod log_thread;
mod restart;
mod summary;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::log_thread::LogThread;
use self::restart::{gives_addresses, needs_restart};
use self::summary::summary;
use crate::boot::lease::{Leases, State};
use crate::boot::plan::Plan;
use crate::capture::Capture;
use crate::config::{Errors, Source};
use crate::content::{Library, LibraryError, Snapshots, Tree};
use crate::io::clock::Clock;
use crate::io::driver::{self, Control, Driver, Remote};
use crate::io::notes::Notes;
use crate::io::process;
use crate::io::socket::OpenError;
use crate::io::sockets::{Listen, Sockets};
use crate::io::tap::TapQueue;
use crate::io::uring;
use crate::limits::{LEASES_MAX, STOP_TIME};
use crate::log::Log;
use crate::proto::tftp;
use crate::proto::wires::Wires;
use crate::settings::{Io, LogFormat, Settings};
use crate::shard::Shard;
use crate::stats::Stats;
use crate::store::{Committer, Disk, DoneFile, LeaseStore, Recorder};

/// How long after [`STOP_TIME`] a shard may take to end: one that waits for a dead disk never does
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Why the server did not start, or ended
#[derive(Debug)]
pub enum Error {
    /// The configuration is wrong
    Config(Errors),
    /// A socket could not be opened
    Open(OpenError),
    /// The root could not be opened; the error names it
    Root(io::Error),
    /// An image could not be opened
    Image(LibraryError),
    /// io_uring cannot be used
    Ring(String),
    /// The leases, or who is done, could not be read
    Leases(io::Error),
    /// The capture could not be begun; the error names it
    Capture(io::Error),
    /// The system refused what every program gets
    System(&'static str, io::Error),
    /// A shard ended by itself, or could not end
    Shard(usize, String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => errors.fmt(f),
            Self::Open(error) => error.fmt(f),
            Self::Root(error) => write!(f, "cannot serve {error}"),
            Self::Image(error) => write!(f, "cannot serve {error}"),
            Self::Ring(why) => f.write_str(why),
            Self::Leases(error) => error.fmt(f),
            Self::Capture(error) => write!(f, "cannot capture to {error}"),
            Self::System(what, error) => write!(f, "cannot {what}: {error}"),
            Self::Shard(number, why) => write!(f, "shard {number} ended: {why}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

/// What the main thread waits for
enum Event {
    Signal(i32),
    Ended(usize),
}

/// Tells the main thread of a shard's end, by panic too
struct Ended(usize, Sender<Event>);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.1.send(Event::Ended(self.0));
    }
}

struct Running {
    remote: Remote,
    thread: Option<JoinHandle<io::Result<Stats>>>,
}

/// Serves until a signal ends it. `report` is what is printed at the start, and after a reload.
///
/// # Errors
/// What could not be opened, or a shard that failed: a sentence for the operator.
pub fn serve(
    source: &Source,
    report: impl Fn(&Arc<Plan>, &Settings) -> Result<String, Errors>,
) -> Result<(), Error> {
    let (plan, settings) = source.load().map_err(Error::Config)?;
    let plan = Arc::new(plan);
    let done = open_done(&plan, &settings)?;
    let banner = report(&plan, &settings).map_err(Error::Config)?;
    // Before any other thread exists: a signal that comes during the start must not kill the process half-way.
    let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|e| Error::System("handle signals", e))?;
    // Not all of it is needed, so less of it is no reason not to start.
    let _ = process::raise_open_files();
    let processors = process::processors().map_err(|e| Error::System("count processors", e))?;
    let shards = settings.shards.map_or(processors.len(), usize::from);

    let notes = Arc::new(Notes::new());
    let way = way(settings.io)?;
    let wires = Wires::new(plan.rates()).map(Arc::new);
    let mut drivers = open((&plan, &settings), wires.as_ref(), way, shards, &notes)?;
    let capture = capture(source, &plan, &settings, &mut drivers, &notes)?;
    print!("{banner}");

    let (tell, events) = crossbeam_channel::unbounded();
    let said = Arc::clone(&notes);
    let log = LogThread::start(Log::new(settings.log, &plan, source.file().as_deref()), notes)
        .map_err(|e| Error::System("start a thread", e))?;
    let pins = (shards == processors.len()).then_some(processors);
    let running = start(drivers, pins.as_deref(), &tell)?;
    let recorder = done.map(|file| record(file, &plan, &running, &said)).transpose()?;
    forward(signals, tell)?;
    println!("ready, by {}", if way == driver::Way::Uring { "io_uring" } else { "epoll" });
    let server = Server {
        source,
        report,
        plan,
        settings,
        wires,
        running,
        log,
        capture,
        notes: said,
        recorder,
        ended: Vec::new(),
        is_stopping: false,
    };
    server.run(&events)
}

/// Opens all that is needed, for all shards
fn open(
    (plan, settings): (&Arc<Plan>, &Settings),
    wires: Option<&Arc<Wires>>,
    way: driver::Way,
    shards: usize,
    notes: &Arc<Notes>,
) -> Result<Vec<(Driver, Remote)>, Error> {
    let clock = Clock::new();
    let listen = Listen {
        address: settings.listen.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED),
        tftp_port: settings.tftp_port,
        http_port: settings.http_port,
        single_port: settings.single_port,
    };
    let mut leases = Leases::new(LEASES_MAX);
    let store = open_store(plan, settings, clock, &mut leases)?;
    let mut leases = Some(leases);
    let transfers = tftp::Settings {
        blksize_max: settings.blksize_max,
        windowsize_max: settings.windowsize_max,
        single_port: settings.single_port,
    };
    let library = Library::open(&settings.images, plan).map_err(Error::Image)?;
    let mut drivers = Vec::with_capacity(shards);
    let snapshots = Arc::new(Snapshots::new());
    for sockets in Sockets::open(listen, plan.networks(), shards)? {
        let tree = Tree::with_images(settings.root.as_deref(), &library).map_err(Error::Root)?;
        let tree = tree.sharing(Arc::clone(&snapshots));
        // The first shard owns DHCP.
        let mut shard = Shard::new(Arc::clone(plan), transfers, tree, leases.take(), clock.now());
        if let Some(wires) = wires {
            shard.share_wires(clock.now(), Arc::clone(wires));
        }
        let driver = Driver::new(way, shard, sockets, clock, Arc::clone(notes));
        drivers.push(driver.map_err(|e| Error::System("wait for events", e))?);
    }
    if let (Some(store), Some((driver, remote))) = (store, drivers.first_mut()) {
        let remote = remote.clone();
        let committer = Committer::start(store, move || remote.wake());
        driver.set_committer(committer.map_err(|e| Error::System("start a thread", e))?);
    }
    Ok(drivers)
}

/// Begins to capture, where that is asked for
fn capture(
    source: &Source,
    plan: &Plan,
    settings: &Settings,
    drivers: &mut [(Driver, Remote)],
    notes: &Arc<Notes>,
) -> Result<Option<Capture>, Error> {
    let Some(path) = &settings.capture else { return Ok(None) };
    let queue = Arc::new(TapQueue::new());
    for (driver, _) in drivers {
        driver.set_tap(Arc::clone(&queue)).map_err(|e| Error::System("read a socket's port", e))?;
    }
    let log = Log::new(LogFormat::Text, plan, source.file().as_deref());
    Capture::start(path, plan, log, queue, Arc::clone(notes)).map(Some).map_err(Error::Capture)
}

/// What shards wait and receive by. `auto` is epoll: [`uring`] has the numbers.
fn way(io: Io) -> Result<driver::Way, Error> {
    match io {
        Io::Auto | Io::Epoll => Ok(driver::Way::Epoll),
        Io::Uring => uring::probe().map(|()| driver::Way::Uring).map_err(Error::Ring),
    }
}

/// Opens the store where addresses are given, and takes up its leases
fn open_store(
    plan: &Plan,
    settings: &Settings,
    clock: Clock,
    leases: &mut Leases,
) -> Result<Option<Disk>, Error> {
    if !gives_addresses(plan) {
        return Ok(None);
    }
    let mut store = Disk::open(&settings.state_dir).map_err(Error::Leases)?;
    let now = clock.now();
    let stored = store.load().map_err(Error::Leases)?;
    for lease in stored.iter().filter(|lease| lease.state == State::Bound && lease.ends() > now) {
        if let Some(mac) = lease.key.mac() {
            let network = plan.network_at(Some(lease.address));
            plan.register().callers.restore(lease.address, network, mac);
        }
    }
    let stale: Vec<_> = stored.into_iter().filter_map(|lease| leases.restore(now, lease)).collect();
    store.commit(&stale).map_err(Error::Leases)?;
    Ok(Some(store))
}

/// Opens the file of who is done, where anybody can be, and takes it up
fn open_done(plan: &Plan, settings: &Settings) -> Result<Option<DoneFile>, Error> {
    if !plan.boots_once() {
        return Ok(None);
    }
    let (file, records) = DoneFile::open(&settings.state_dir).map_err(Error::Leases)?;
    plan.register().done.restore(records);
    Ok(Some(file))
}

/// Starts the thread that writes who is done
fn record(file: DoneFile, plan: &Plan, running: &[Running], notes: &Arc<Notes>) -> Result<Recorder, Error> {
    let remotes: Vec<_> = running.iter().map(|shard| shard.remote.clone()).collect();
    let notes = Arc::clone(notes);
    let tell = move |written: io::Result<()>| {
        if let Err(error) = written {
            notes.say(format!("who is done was not written, and is told to report again: {error}"));
        }
        remotes.iter().for_each(Remote::wake);
    };
    Recorder::start(file, Arc::clone(plan.register()), tell).map_err(|e| Error::System("start a thread", e))
}

fn start(
    drivers: Vec<(Driver, Remote)>,
    pins: Option<&[usize]>,
    tell: &Sender<Event>,
) -> Result<Vec<Running>, Error> {
    let start = |(number, (driver, remote)): (usize, (Driver, Remote))| {
        let ended = Ended(number, tell.clone());
        let processor = pins.map(|processors| processors[number]);
        let run = move || {
            let _ended = ended;
            if let Some(processor) = processor {
                // Faster where it works, right everywhere.
                let _ = process::pin(processor);
            }
            driver.run()
        };
        let thread = thread::Builder::new().name(format!("shard-{number}")).spawn(run);
        Ok(Running { remote, thread: Some(thread.map_err(|e| Error::System("start a thread", e))?) })
    };
    drivers.into_iter().enumerate().map(start).collect()
}

fn forward(mut signals: Signals, tell: Sender<Event>) -> Result<(), Error> {
    let run = move || {
        for signal in signals.forever() {
            if tell.send(Event::Signal(signal)).is_err() {
                break;
            }
        }
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(run)
        .map_err(|e| Error::System("start a thread", e))?;
    Ok(())
}

struct Server<'s, R> {
    source: &'s Source,
    report: R,
    plan: Arc<Plan>,
    settings: Settings,
    /// What the shards share of wires that have a bound, or had one
    wires: Option<Arc<Wires>>,
    running: Vec<Running>,
    log: LogThread,
    capture: Option<Capture>,
    notes: Arc<Notes>,
    /// `None`: nobody can be done
    recorder: Option<Recorder>,
    ended: Vec<Stats>,
    is_stopping: bool,
}

impl<R: Fn(&Arc<Plan>, &Settings) -> Result<String, Errors>> Server<'_, R> {
    fn run(mut self, events: &Receiver<Event>) -> Result<(), Error> {
        let limit = Duration::from_micros(STOP_TIME.as_micros()) + STOP_GRACE;
        let mut result = Ok(());
        while result.is_ok() && self.running.iter().any(|shard| shard.thread.is_some()) {
            let event = if self.is_stopping { events.recv_timeout(limit).ok() } else { events.recv().ok() };
            match event {
                Some(Event::Signal(SIGHUP)) => self.reload(),
                Some(Event::Signal(_)) => self.stop(),
                Some(Event::Ended(number)) => result = self.on_ended(number),
                None => result = Err(self.stuck()),
            }
        }
        if result.is_ok() {
            self.log.say(summary(&self.ended));
        }
        if let Some(capture) = self.capture {
            self.log.say(capture.finish());
        }
        self.log.finish();
        result
    }

    fn tell(&self, control: impl Fn() -> Control) {
        self.running.iter().for_each(|shard| shard.remote.tell(control()));
    }

    fn stop(&mut self) {
        if self.is_stopping {
            return self.tell(|| Control::Abort);
        }
        self.is_stopping = true;
        self.log.say(format!("stopping: transfers may end within {STOP_TIME}; once more to stop at once"));
        self.tell(|| Control::Stop);
    }

    fn reload(&mut self) {
        if self.is_stopping {
            return;
        }
        let loaded = self.source.load().and_then(|(plan, settings)| {
            let plan = Arc::new(plan.with_register(Arc::clone(self.plan.register())));
            let report = (self.report)(&plan, &settings)?;
            Ok((plan, settings, report))
        });
        let (plan, settings, report) = match loaded {
            Ok(loaded) => loaded,
            Err(errors) => {
                return self
                    .log
                    .say(format!("{errors}\nnothing is changed: the old configuration stays in force"));
            }
        };
        let reasons = needs_restart((&self.plan, &self.settings), (&plan, &settings));
        if !reasons.is_empty() {
            let what = reasons.join(", ");
            return self.log.say(format!("nothing is changed: a restart is needed for {what}"));
        }
        if self.recorder.is_none() {
            let begun = open_done(&plan, &settings).and_then(|file| {
                file.map(|file| record(file, &plan, &self.running, &self.notes)).transpose()
            });
            match begun {
                Ok(recorder) => self.recorder = recorder,
                Err(error) => {
                    return self
                        .log
                        .say(format!("{error}\nnothing is changed: the old configuration stays in force"));
                }
            }
        }
        // Read here, whether or not the configuration says anything new of them: no shard waits for a large image.
        let opened = Library::open(&settings.images, &plan).map_err(Error::Image);
        let mounted = |library: &Library| -> Result<Vec<_>, Error> {
            let each = self.running.iter().map(|_| library.mounted().map_err(Error::Root));
            each.collect()
        };
        let images = match opened.and_then(|library| mounted(&library)) {
            Ok(images) => images,
            Err(error) => {
                return self
                    .log
                    .say(format!("{error}\nnothing is changed: the old configuration stays in force"));
            }
        };
        let log = |format| Log::new(format, &plan, self.source.file().as_deref());
        self.log.set(log(settings.log));
        if let Some(capture) = &self.capture {
            capture.set(log(LogFormat::Text));
        }
        self.log.say(format!("a new configuration is in force\n{report}"));
        let wires = self.changed_wires(&plan);
        self.tell(|| Control::Plan(Arc::clone(&plan), wires.clone()));
        self.wires = wires.or_else(|| self.wires.take());
        for (shard, mounted) in self.running.iter().zip(images) {
            shard.remote.tell(Control::Images(Box::new(mounted)));
        }
        (self.plan, self.settings) = (plan, settings);
    }

    /// The wires of a new plan, where its rates are others
    fn changed_wires(&self, plan: &Plan) -> Option<Arc<Wires>> {
        if self.plan.rates() == plan.rates() {
            return None;
        }
        let wires = match &self.wires {
            Some(wires) => Some(wires.with_rates(plan.rates())),
            None => Wires::new(plan.rates()),
        };
        wires.map(Arc::new)
    }

    /// A shard's thread has ended, or is about to
    fn on_ended(&mut self, number: usize) -> Result<(), Error> {
        let Some(thread) = self.running[number].thread.take() else { return Ok(()) };
        match thread.join() {
            Ok(Ok(stats)) if self.is_stopping => {
                self.ended.push(stats);
                Ok(())
            }
            Ok(Ok(_)) => Err(Error::Shard(number, "nobody asked it to".to_owned())),
            Ok(Err(error)) => Err(Error::Shard(number, error.to_string())),
            // The message, and where it happened, are above: the panic hook prints them.
            Err(_) => Err(Error::Shard(number, "a fault of this program, reported above".to_owned())),
        }
    }

    fn stuck(&self) -> Error {
        let number = self.running.iter().position(|shard| shard.thread.is_some()).unwrap_or(0);
        Error::Shard(number, "it does not stop: does the disk under the root answer?".to_owned())
    }
}
