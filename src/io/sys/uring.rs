//! One io_uring: operations in, completions out, and the memory that the kernel receives into.
//!
//! The ring is created with SINGLE_ISSUER and DEFER_TASKRUN (Linux 6.1): the kernel works on it only inside
//! io_uring_enter(2), called by the one thread that enabled it. So received bytes are written inside [`Ring::wait`] and
//! [`Ring::send`], which borrow the ring mutably, and never while anybody reads them.
//!
//! Operations outlive calls, so that the memory they are given is the ring's own; but sends never wait (MSG_DONTWAIT) and are
//! over when the call that makes them returns, so that they take borrowed bytes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, RecvMsgOut, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::message::{self, From, RECEIVED_CONTROLS, RECEIVED_NAME, Received};
use crate::limits::{BATCH, RING_BUFFERS, RING_COMPLETIONS, RING_ENTRIES, RING_READ_BYTES};

/// How long the end of a ring waits for operations to be cancelled, and how often
const CANCEL_WAIT: Duration = Duration::from_millis(50);
const CANCEL_ROUNDS: usize = 20;
/// How often the kernel is asked to take sends that it has no memory for
const SEND_ROUNDS: usize = 1_000;

/// `IORING_RECVSEND_POLL_FIRST`: there is nothing to read yet, so do not try
const POLL_FIRST: u16 = 1;

/// `io_uring_recvmsg_out`, which a multishot receive writes before the name
const RECEIVED_HEADER: usize = 16;
/// What lies before a datagram in its buffer
const RECEIVED_BEFORE: usize = RECEIVED_HEADER + RECEIVED_NAME + RECEIVED_CONTROLS;

/// What a completion is of; in an operation's `user_data`, the upper byte tells which and the rest is the number
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) enum Operation {
    /// Receiving into that group's buffers
    Receive(u16),
    /// Accepting
    Accept,
    /// Readiness of what the caller numbered so
    Poll(u64),
    /// Reading from the connection that the caller numbered so
    Read(u64),
    /// A message of the batch that is being sent
    Send(usize),
    /// The end of another operation: nothing to be done
    Cancel,
}

/// Numbers of [`Operation::Poll`] and [`Operation::Read`] are below this
pub(in crate::io) const NUMBERS: u64 = 1 << 56;

impl Operation {
    fn to_user_data(self) -> u64 {
        match self {
            Self::Receive(group) => NUMBERS | u64::from(group),
            Self::Accept => 2 * NUMBERS,
            Self::Poll(number) => (3 * NUMBERS) | (number % NUMBERS),
            Self::Read(number) => (4 * NUMBERS) | (number % NUMBERS),
            Self::Send(index) => (5 * NUMBERS) | index as u64,
            Self::Cancel => 0,
        }
    }

    fn from_user_data(user_data: u64) -> Self {
        let number = user_data % NUMBERS;
        match user_data / NUMBERS {
            1 => Self::Receive(number as u16),
            2 => Self::Accept,
            3 => Self::Poll(number),
            4 => Self::Read(number),
            5 => Self::Send(number as usize),
            _ => Self::Cancel,
        }
    }
}

/// What the kernel says of an operation
#[derive(Debug)]
pub(in crate::io) struct Completion {
    /// Which
    pub(in crate::io) operation: Operation,
    /// Its result: a length, or a mask of events
    pub(in crate::io) result: io::Result<u32>,
    /// The buffer that was filled
    pub(in crate::io) buffer: Option<u16>,
    /// The connection that was accepted
    pub(in crate::io) accepted: Option<OwnedFd>,
    /// The operation goes on
    pub(in crate::io) more: bool,
}

/// One provided buffer as the kernel reads it (`io_uring_buf`). In the first one of a ring, `tail` is the ring's.
#[derive(Default)]
#[repr(C)]
struct Entry {
    address: AtomicU64,
    len: AtomicU32,
    id: AtomicU16,
    tail: AtomicU16,
}

/// A ring of provided buffers, which the kernel wants at the beginning of a page
#[repr(C, align(4096))]
struct Entries([Entry; RING_BUFFERS as usize]);

const _: () = assert!(size_of::<Entry>() == 16 && RING_BUFFERS.is_power_of_two());

/// Buffers that one socket's datagrams are received into, or what all connections send
struct Group {
    entries: Box<Entries>,
    bytes: Box<[u8]>,
    room: usize,
    tail: u16,
}

impl Group {
    fn new(room: usize) -> Self {
        let room = room.next_multiple_of(64);
        let bytes = vec![0; room * usize::from(RING_BUFFERS)].into_boxed_slice();
        let entries = Box::new(Entries(std::array::from_fn(|_| Entry::default())));
        Self { entries, bytes, room, tail: 0 }
    }

    fn give(&mut self, buffer: u16) {
        let start = usize::from(buffer) * self.room;
        let address = self.bytes[start..][..self.room].as_mut_ptr();
        let entry = &self.entries.0[usize::from(self.tail % RING_BUFFERS)];
        entry.address.store(address.expose_provenance() as u64, Ordering::Relaxed);
        entry.len.store(self.room as u32, Ordering::Relaxed);
        entry.id.store(buffer, Ordering::Relaxed);
        self.tail = self.tail.wrapping_add(1);
        // The kernel reads the tail first, and what is before it then.
        self.entries.0[0].tail.store(self.tail, Ordering::Release);
    }
}

/// Headers and parts of the messages of one batch
struct Outgoing {
    parts: Vec<[libc::iovec; 2]>,
    headers: Vec<libc::msghdr>,
    sockets: Vec<RawFd>,
    /// What came of each: `None` until its completion
    results: Vec<Option<i32>>,
}

impl Outgoing {
    fn new() -> Self {
        const EMPTY: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let mut parts = vec![[EMPTY; 2]; BATCH];
        let header = |parts: &mut [libc::iovec; 2]| {
            let mut header = empty_header();
            header.msg_iov = parts.as_mut_ptr();
            header.msg_iovlen = 2;
            header
        };
        let headers = parts.iter_mut().map(header).collect();
        Self { parts, headers, sockets: Vec::with_capacity(BATCH), results: Vec::with_capacity(BATCH) }
    }

    fn fill<'a>(&mut self, messages: impl Iterator<Item = (RawFd, [&'a [u8]; 2])>) {
        self.sockets.clear();
        for ((socket, bytes), parts) in messages.zip(&mut self.parts) {
            let part =
                |part: &[u8]| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
            *parts = bytes.map(part);
            self.sockets.push(socket);
        }
        self.results.clear();
        self.results.resize(self.sockets.len(), None);
    }
}

/// An io_uring and the buffers that it fills
pub(in crate::io) struct Ring {
    // Dropped before the memory below.
    ring: IoUring,
    /// Those of datagram sockets, and the last one of connections
    groups: Vec<Group>,
    outgoing: Outgoing,
    /// Sends that the kernel has not taken hold borrowed bytes: it must not be given them any more
    is_broken: bool,
    /// How much of a name and of control messages a receive asks for; nothing else of it is used
    header: Box<libc::msghdr>,
    /// Operations whose last completion has not come
    in_flight: usize,
    completions: VecDeque<cqueue::Entry>,
}

// SAFETY: the pointers in `header` are null, those in `ring` lead to memory that it maps and owns, those in `outgoing` lead
// into vectors beside them, and those in its parts are used only within `Ring::send`, which fills them from live borrows
// first. Until `Ring::enable`, the kernel ties the ring to no thread; from then on it refuses the calls of others with an
// error.
unsafe impl Send for Ring {}

impl Ring {
    /// A ring that does nothing until it is enabled, with so many groups of buffers for datagrams of up to `room` bytes, and one
    /// for connections
    ///
    /// # Errors
    /// Where the kernel has no io_uring, an older one, or forbids it.
    pub(in crate::io) fn new(groups: usize, room: usize) -> io::Result<Self> {
        Self::with_room(RING_ENTRIES, RING_COMPLETIONS, groups, room)
    }

    /// As [`Ring::new`], with room for so many operations that are to begin, and completions
    fn with_room(entries: u32, completions: u32, groups: usize, room: usize) -> io::Result<Self> {
        let ring: IoUring = IoUring::builder()
            .setup_r_disabled()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(completions)
            .build(entries)?;
        if !ring.params().is_feature_nodrop() || !ring.params().is_feature_ext_arg() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut header = Box::new(empty_header());
        header.msg_namelen = RECEIVED_NAME as libc::socklen_t;
        header.msg_controllen = RECEIVED_CONTROLS as _;
        let datagrams = (0..groups).map(|_| Group::new(RECEIVED_BEFORE + room));
        let groups = datagrams.chain([Group::new(RING_READ_BYTES)]).collect();
        let completions = VecDeque::new();
        let outgoing = Outgoing::new();
        let mut ring = Self { ring, groups, outgoing, is_broken: false, header, in_flight: 0, completions };
        for index in 0..ring.groups.len() {
            ring.provide(index)?;
        }
        Ok(ring)
    }

    fn provide(&mut self, index: usize) -> io::Result<()> {
        let group = &mut self.groups[index];
        let address = (&raw mut *group.entries).expose_provenance() as u64;
        let submitter = self.ring.submitter();
        // SAFETY: `entries` is as long as it says and begins a page. It and the buffers that it names are owned by
        // `self`, never resized, and freed after the ring (the order of fields) and after every operation on them has
        // ended (`Drop`, which leaks them otherwise). The kernel pins the pages of `entries` itself.
        unsafe { submitter.register_buf_ring_with_flags(address, RING_BUFFERS, index as u16, 0) }?;
        (0..RING_BUFFERS).for_each(|buffer| group.give(buffer));
        Ok(())
    }

    /// From here on the ring is this thread's
    pub(in crate::io) fn enable(&self) -> io::Result<()> {
        self.ring.submitter().register_enable_rings()
    }

    // --- Operations: begun by the next wait ---

    /// Receives datagrams of a socket into its group's buffers, again and again
    pub(in crate::io) fn receive(&mut self, socket: RawFd, group: u16) -> io::Result<()> {
        let entry = opcode::RecvMsgMulti::new(Fd(socket), &raw const *self.header, group);
        self.push(entry.build(), Operation::Receive(group))
    }

    /// Accepts connections, again and again; they do not block
    pub(in crate::io) fn accept(&mut self, listener: RawFd) -> io::Result<()> {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        self.push(opcode::AcceptMulti::new(Fd(listener)).flags(flags).build(), Operation::Accept)
    }

    /// Tells whenever one of these events (poll(2)) happens on a descriptor
    pub(in crate::io) fn poll(&mut self, descriptor: RawFd, events: i16, number: u64) -> io::Result<()> {
        let entry = opcode::PollAdd::new(Fd(descriptor), events as u16 as u32).multi(true);
        self.push(entry.build(), Operation::Poll(number))
    }

    /// Tells when one of these events happens on a descriptor, once
    pub(in crate::io) fn poll_once(&mut self, descriptor: RawFd, events: i16, number: u64) -> io::Result<()> {
        let entry = opcode::PollAdd::new(Fd(descriptor), events as u16 as u32);
        self.push(entry.build(), Operation::Poll(number))
    }

    /// Reads once from a connection, into a buffer of [`Ring::connections`]. `later`: there is nothing to read yet.
    pub(in crate::io) fn read(&mut self, socket: RawFd, number: u64, later: bool) -> io::Result<()> {
        let entry = opcode::Recv::new(Fd(socket), ptr::null_mut(), 0)
            .buf_group(self.connections())
            .ioprio(if later { POLL_FIRST } else { 0 });
        self.push(entry.build().flags(squeue::Flags::BUFFER_SELECT), Operation::Read(number))
    }

    /// The group of buffers that connections are read into
    pub(in crate::io) fn connections(&self) -> u16 {
        (self.groups.len() - 1) as u16
    }

    /// Ends an operation, which holds its socket open even when that is closed here
    pub(in crate::io) fn cancel(&mut self, operation: Operation) -> io::Result<()> {
        self.push(opcode::AsyncCancel::new(operation.to_user_data()).build(), Operation::Cancel)
    }

    fn push(&mut self, entry: squeue::Entry, operation: Operation) -> io::Result<()> {
        let entry = entry.user_data(operation.to_user_data());
        self.make_room(1)?;
        // SAFETY: the pointers in entries are those of `header`, which lives as long as the provided buffers do, and of
        // `outgoing` (`Ring::send`). Descriptors are numbers that the kernel checks.
        unsafe { self.ring.submission().push(&entry) }.map_err(|_| io::ErrorKind::ResourceBusy)?;
        self.in_flight += 1;
        Ok(())
    }

    /// Sees to room for so many entries
    fn make_room(&mut self, entries: usize) -> io::Result<()> {
        let left = |ring: &mut IoUring| {
            let submission = ring.submission();
            submission.capacity() - submission.len()
        };
        if left(&mut self.ring) < entries {
            self.submit()?;
        }
        if left(&mut self.ring) < entries { Err(io::ErrorKind::ResourceBusy.into()) } else { Ok(()) }
    }

    fn submit(&self) -> io::Result<usize> {
        if self.is_broken { Err(broken()) } else { self.ring.submit() }
    }

    /// Sends up to [`BATCH`] messages to connections, in one call, and never waits. [`Ring::sent`] has what came of each.
    ///
    /// # Errors
    /// The kernel did not take them. Nothing can be done with the ring any more.
    pub(in crate::io) fn send<'a>(
        &mut self,
        messages: impl Iterator<Item = (RawFd, [&'a [u8]; 2])>,
    ) -> io::Result<()> {
        // The caller's iterator is done with before the first entry is made: if it panics, no entry has its bytes.
        self.outgoing.fill(messages);
        let count = self.outgoing.sockets.len();
        self.make_room(count)?;
        let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u32;
        // Until all are over, nothing may return: they have borrowed bytes.
        self.is_broken = true;
        for index in 0..count {
            let header = &raw const self.outgoing.headers[index];
            let entry = opcode::SendMsg::new(Fd(self.outgoing.sockets[index]), header).flags(flags);
            self.push(entry.build(), Operation::Send(index))?;
        }
        for _ in 0..SEND_ROUNDS {
            // An error (no memory) leaves entries that were not taken.
            let _ = self.ring.submit();
            self.drain();
            if self.outgoing.results.iter().all(Option::is_some) {
                self.is_broken = false;
                return Ok(());
            }
            thread::yield_now();
        }
        Err(broken())
    }

    /// What came of a message of [`Ring::send`]: how many bytes the kernel took
    pub(in crate::io) fn sent(&self, index: usize) -> io::Result<usize> {
        let result = self.outgoing.results[index].unwrap_or(-libc::EIO);
        usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
    }

    /// Takes the completions that are there; those of sends to their batch
    fn drain(&mut self) {
        for entry in self.ring.completion() {
            match Operation::from_user_data(entry.user_data()) {
                Operation::Send(index) => {
                    self.outgoing.results[index] = Some(entry.result());
                    self.in_flight -= 1;
                }
                _ => self.completions.push_back(entry),
            }
        }
    }

    // --- Completions ---

    /// Begins what was asked for and waits for completions; returns when the time is over, too
    pub(in crate::io) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.is_broken {
            return Err(broken());
        }
        // A send may have taken some in.
        let timeout = if self.completions.is_empty() { timeout } else { Some(Duration::ZERO) };
        let result = match timeout {
            None => self.ring.submit_and_wait(1),
            Some(Duration::ZERO) => {
                let submission = self.ring.submission();
                let is_idle = submission.is_empty() && !submission.taskrun() && !submission.cq_overflow();
                drop(submission);
                if is_idle { Ok(0) } else { self.ring.submit() }
            }
            Some(timeout) => {
                let time = Timespec::from(timeout);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
        };
        self.drain();
        match result {
            // EBUSY: completions must be taken before the kernel takes more; they were.
            Err(error)
                if !matches!(
                    error.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Takes the next completion
    pub(in crate::io) fn poll_completion(&mut self) -> Option<Completion> {
        let entry = self.completions.pop_front()?;
        let operation = Operation::from_user_data(entry.user_data());
        let more = cqueue::more(entry.flags());
        if !more {
            self.in_flight -= 1;
        }
        let result = u32::try_from(entry.result()).map_err(|_| io::Error::from_raw_os_error(-entry.result()));
        let accepted = match (operation, &result) {
            // SAFETY: the kernel made this descriptor for this completion, which is seen once: nobody else owns it.
            (Operation::Accept, Ok(_)) => Some(unsafe { OwnedFd::from_raw_fd(entry.result()) }),
            _ => None,
        };
        Some(Completion { operation, result, buffer: cqueue::buffer_select(entry.flags()), accepted, more })
    }

    /// What was read into a buffer of [`Ring::connections`]
    pub(in crate::io) fn bytes(&self, buffer: u16, len: u32) -> &[u8] {
        let group = &self.groups[usize::from(self.connections())];
        &group.bytes[usize::from(buffer) * group.room..][..group.room.min(len as usize)]
    }

    /// What was received into a buffer, of which `len` bytes were filled
    pub(in crate::io) fn received(&self, group: u16, buffer: u16, len: u32) -> Received<'_> {
        let group = &self.groups[usize::from(group)];
        let bytes = &group.bytes[usize::from(buffer) * group.room..][..group.room.min(len as usize)];
        match RecvMsgOut::parse(bytes, &self.header) {
            Ok(out) => Received {
                from: message::from(out.name_data(), out.control_data()),
                bytes: &bytes[RECEIVED_BEFORE..][..out.payload_data().len()],
                is_cut: out.is_payload_truncated(),
            },
            Err(()) => Received { from: From::Unknown, bytes: &[], is_cut: false },
        }
    }

    /// Gives a buffer back to the kernel
    pub(in crate::io) fn give_back(&mut self, group: u16, buffer: u16) {
        self.groups[usize::from(group)].give(buffer);
    }
}

impl Drop for Ring {
    /// Waits until the kernel has let go of the buffers
    fn drop(&mut self) {
        for round in 0..CANCEL_ROUNDS {
            if self.is_broken {
                break;
            }
            while self.poll_completion().is_some() {}
            if self.in_flight == 0 {
                return;
            }
            if round == 0 {
                let _ = self.ring.submit();
                let _ = self.ring.submitter().register_sync_cancel(None, CancelBuilder::any());
            }
            let _ = self.wait(Some(CANCEL_WAIT));
        }
        // It has not, which no kernel is known to do: the memory stays its own.
        mem::forget(mem::take(&mut self.groups));
    }
}

fn broken() -> io::Error {
    io::Error::other("io_uring does not take what is to be sent: is there no memory left?")
}

fn empty_header() -> libc::msghdr {
    // SAFETY: a `msghdr` is integers and pointers, for which all zeroes is a value.
    unsafe { mem::zeroed() }
}

/// Wakes a ring's thread from another: a counter that the ring polls
#[derive(Debug)]
pub(in crate::io) struct Bell(File);

impl Bell {
    pub(in crate::io) fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked before it is used.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        super::done(descriptor)?;
        // SAFETY: the kernel made it just now: nobody else owns it.
        Ok(Self(unsafe { File::from_raw_fd(descriptor) }))
    }

    /// Rings. Nobody ever takes from the counter, as every addition is an event of its own; it has room for centuries.
    pub(in crate::io) fn ring(&self) {
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    pub(in crate::io) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
#[path = "uring_tests.rs"]
mod tests;
