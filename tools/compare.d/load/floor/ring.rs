//! The HTTP floor by io_uring: a bare loop where connections, requests and responses are completions, and what a ring has to
//! offer can be tried one by one.
//!
//! Memory that the kernel reads or writes is leaked, so that no operation outlives it; this program ends by a signal.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use clap::Args;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode};

use super::http::listen;

const ENTRIES: u32 = 4096;
const BUFFERS: u16 = 1024;
const BUFFER_BYTES: usize = 2048;
/// Connections of a ring's own table
const CONNECTIONS: u32 = 8192;
/// Bytes of one send
const PIECE: usize = 1 << 20;

/// What a completion is of, above the number of its connection
const KIND: u64 = 1 << 56;
const ACCEPT: u64 = 1;
const RECEIVE: u64 = 2;
const SEND: u64 = 3;
const CLOSE: u64 = 4;

#[derive(Args)]
pub(crate) struct Arguments {
    address: SocketAddrV4,
    file: PathBuf,
    /// Close each connection after one response
    #[arg(long)]
    close: bool,
    /// Connections are descriptors of the ring's own table, not of the process
    #[arg(long)]
    direct: bool,
    /// Receive once a request, instead of once and for all
    #[arg(long)]
    single: bool,
    /// Send from registered memory, without a copy where the kernel can
    #[arg(long = "zerocopy")]
    zero_copy: bool,
}

/// A provided buffer as the kernel reads it (`io_uring_buf`); the first one's `tail` is the ring's
#[derive(Default)]
#[repr(C)]
struct Buffer {
    address: AtomicU64,
    len: AtomicU32,
    id: AtomicU16,
    tail: AtomicU16,
}

/// The kernel wants them at the beginning of a page
#[repr(C, align(4096))]
struct Buffers([Buffer; BUFFERS as usize]);

struct Server<'a> {
    arguments: &'a Arguments,
    ring: IoUring,
    buffers: &'static Buffers,
    /// Where the requests lie, which nobody reads
    first: *mut u8,
    tail: u16,
    reply: &'static [u8],
    /// By connection: bytes of the reply that are sent; `None`: it closes
    sent: Vec<Option<usize>>,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    let content = std::fs::read(&arguments.file)?;
    let mut reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len()).into_bytes();
    reply.extend_from_slice(&content);
    let reply: &'static mut [u8] = reply.leak();
    let ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_cqsize(4 * ENTRIES)
        .build(ENTRIES)?;
    if arguments.direct {
        ring.submitter().register_files_sparse(CONNECTIONS)?;
    }
    if arguments.zero_copy {
        let part = libc::iovec { iov_base: reply.as_mut_ptr().cast(), iov_len: reply.len() };
        // SAFETY: the reply is leaked, and nobody writes to it.
        unsafe { ring.submitter().register_buffers(&[part]) }?;
    }
    let buffers: &'static Buffers = Box::leak(Box::new(Buffers(std::array::from_fn(|_| Buffer::default()))));
    let address = ptr::from_ref(buffers).expose_provenance() as u64;
    // SAFETY: as many entries as it says, at the beginning of a page, leaked.
    unsafe { ring.submitter().register_buf_ring_with_flags(address, BUFFERS, 0, 0) }?;
    let first = vec![0; BUFFER_BYTES * usize::from(BUFFERS)].leak().as_mut_ptr();
    let mut server = Server { arguments, ring, buffers, first, tail: 0, reply, sent: Vec::new() };
    (0..BUFFERS).for_each(|buffer| server.give(buffer));
    let listener = listen(arguments.address)?;
    let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).allocate_file_index(arguments.direct);
    server.push(accept.build(), ACCEPT, 0)?;
    server.run()
}

impl Server<'_> {
    fn run(&mut self) -> io::Result<()> {
        let mut completions = Vec::new();
        loop {
            self.ring.submit_and_wait(1)?;
            completions.extend(self.ring.completion());
            for completion in completions.drain(..) {
                self.on_completion(&completion)?;
            }
        }
    }

    fn give(&mut self, buffer: u16) {
        let address = self.first.wrapping_add(usize::from(buffer) * BUFFER_BYTES);
        let entry = &self.buffers.0[usize::from(self.tail % BUFFERS)];
        entry.address.store(address.expose_provenance() as u64, Ordering::Relaxed);
        entry.len.store(BUFFER_BYTES as u32, Ordering::Relaxed);
        entry.id.store(buffer, Ordering::Relaxed);
        self.tail = self.tail.wrapping_add(1);
        self.buffers.0[0].tail.store(self.tail, Ordering::Release);
    }

    fn push(&mut self, entry: Entry, kind: u64, connection: u64) -> io::Result<()> {
        let entry = entry.user_data((kind * KIND) | connection);
        if self.ring.submission().is_full() {
            self.ring.submit()?;
        }
        // SAFETY: pointers in entries lead to memory that is leaked; descriptors are numbers that the kernel checks.
        unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)
    }

    fn receive(&mut self, connection: u64) -> io::Result<()> {
        let (fixed, fd) = (Fixed(connection as u32), Fd(connection as RawFd));
        let once = |entry: opcode::Recv| entry.buf_group(0).build().flags(Flags::BUFFER_SELECT);
        let entry = match (self.arguments.direct, self.arguments.single) {
            (true, false) => opcode::RecvMulti::new(fixed, 0).build(),
            (false, false) => opcode::RecvMulti::new(fd, 0).build(),
            (true, true) => once(opcode::Recv::new(fixed, ptr::null_mut(), 0)),
            (false, true) => once(opcode::Recv::new(fd, ptr::null_mut(), 0)),
        };
        self.push(entry, RECEIVE, connection)
    }

    fn send(&mut self, connection: u64, offset: usize) -> io::Result<()> {
        let piece = &self.reply[offset..][..(self.reply.len() - offset).min(PIECE)];
        let (at, len) = (piece.as_ptr(), piece.len() as u32);
        let (fixed, fd) = (Fixed(connection as u32), Fd(connection as RawFd));
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let entry = match (self.arguments.direct, self.arguments.zero_copy) {
            (true, true) => opcode::SendZc::new(fixed, at, len).buf_index(Some(0)).flags(flags).build(),
            (false, true) => opcode::SendZc::new(fd, at, len).buf_index(Some(0)).flags(flags).build(),
            (true, false) => opcode::Send::new(fixed, at, len).flags(flags).build(),
            (false, false) => opcode::Send::new(fd, at, len).flags(flags).build(),
        };
        if self.arguments.close && offset + piece.len() == self.reply.len() {
            self.push(entry.flags(Flags::IO_LINK), SEND, connection)?;
            return self.close(connection);
        }
        self.push(entry, SEND, connection)
    }

    fn close(&mut self, connection: u64) -> io::Result<()> {
        self.sent[connection as usize] = None;
        let entry = if self.arguments.direct {
            opcode::Close::new(Fixed(connection as u32)).build()
        } else {
            opcode::Close::new(Fd(connection as RawFd)).build()
        };
        self.push(entry, CLOSE, connection)
    }

    fn on_completion(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let connection = completion.user_data() % KIND;
        let (index, flags) = (connection as usize, completion.flags());
        let len = usize::try_from(completion.result());
        match (completion.user_data() / KIND, len) {
            (ACCEPT, Ok(accepted)) if cqueue::more(flags) => {
                self.sent.resize(self.sent.len().max(accepted + 1), None);
                self.receive(accepted as u64)
            }
            (ACCEPT, _) => Err(io::Error::from_raw_os_error(-completion.result())),
            (RECEIVE, len) => {
                if let Some(buffer) = cqueue::buffer_select(flags) {
                    self.give(buffer);
                }
                match len {
                    Ok(1..) => {
                        self.sent[index] = Some(0);
                        self.send(connection, 0)?;
                        if cqueue::more(flags) || self.arguments.close {
                            Ok(())
                        } else {
                            self.receive(connection)
                        }
                    }
                    Err(_) if completion.result() == -libc::ENOBUFS => self.receive(connection),
                    _ => self.close(connection),
                }
            }
            (SEND, Ok(len)) if !cqueue::notif(flags) => {
                let Some(sent) = &mut self.sent[index] else { return Ok(()) };
                *sent += len;
                let sent = *sent;
                if sent < self.reply.len() { self.send(connection, sent) } else { Ok(()) }
            }
            // A notification that memory is free again, or a connection whose receive finds out.
            _ => Ok(()),
        }
    }
}
