//! The HTTP floor by io_uring: what a bare loop costs where connections, requests and responses are completions.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use clap::Args;
use io_uring::types::{Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::http::listen;

const ENTRIES: u32 = 4096;
const BUFFERS: u16 = 1024;
const BUFFER: usize = 2048;
const PIECE: usize = 1 << 20;

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
    /// Connections live in the ring's own table, not in the process's
    #[arg(long)]
    direct: bool,
    /// Send from registered memory without a copy
    #[arg(long)]
    zero_copy: bool,
    /// One request a receive, instead of one receive for all
    #[arg(long)]
    single: bool,
}

#[repr(C, align(4096))]
struct Entries([[u64; 2]; BUFFERS as usize]);

struct Server<'a> {
    arguments: &'a Arguments,
    ring: IoUring,
    entries: Box<Entries>,
    bytes: Vec<u8>,
    tail: u16,
    reply: Vec<u8>,
    offsets: Vec<usize>,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    let mut file = File::open(&arguments.file)?;
    let len = file.metadata()?.len();
    let mut reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n").into_bytes();
    file.read_to_end(&mut reply)?;
    let ring: IoUring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_cqsize(4 * ENTRIES)
        .build(ENTRIES)?;
    ring.submitter().register_ring_fd()?;
    if arguments.direct {
        ring.submitter().register_files_sparse(8192)?;
    }
    if arguments.zero_copy {
        let part = libc::iovec { iov_base: reply.as_mut_ptr().cast(), iov_len: reply.len() };
        unsafe { ring.submitter().register_buffers(&[part]) }?;
    }
    let mut entries = Box::new(Entries([[0; 2]; BUFFERS as usize]));
    let address = (&raw mut *entries) as u64;
    unsafe { ring.submitter().register_buf_ring_with_flags(address, BUFFERS, 0, 0) }?;
    let bytes = vec![0; BUFFER * usize::from(BUFFERS)];
    let mut server =
        Server { arguments, ring, entries, bytes, tail: 0, reply, offsets: vec![usize::MAX; 70_000] };
    for buffer in 0..BUFFERS {
        server.give(buffer);
    }
    let listener = listen(arguments.address)?;
    let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).allocate_file_index(arguments.direct);
    server.push(accept.build(), ACCEPT, 0);
    let mut completions = Vec::new();
    loop {
        match server.ring.submit_and_wait(1) {
            Err(error) if error.raw_os_error() != Some(libc::EINTR) => return Err(error),
            _ => {}
        }
        completions.clear();
        completions.extend(server.ring.completion());
        for completion in &completions {
            server.on_completion(completion)?;
        }
    }
}

impl Server<'_> {
    fn give(&mut self, buffer: u16) {
        let address = (&raw mut self.bytes[usize::from(buffer) * BUFFER]) as u64;
        let entry = &mut self.entries.0[usize::from(self.tail % BUFFERS)];
        entry[0] = address;
        let word = (BUFFER as u64) | u64::from(buffer) << 32;
        let first = self.tail % BUFFERS == 0;
        let old = if first { entry[1] & 0xffff_0000_0000_0000 } else { 0 };
        entry[1] = word | old;
        self.tail = self.tail.wrapping_add(1);
        std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
        let at: *mut u16 = (&raw mut self.entries.0[0][1]).cast();
        unsafe { at.add(3).write_volatile(self.tail) };
    }

    fn push(&mut self, entry: squeue::Entry, kind: u64, number: u64) {
        let entry = entry.user_data(kind * KIND | number);
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit().expect("a submit");
        }
    }

    fn receive(&mut self, number: u64) {
        let (fixed, fd) = (Fixed(number as u32), Fd(number as i32));
        let entry = match (self.arguments.direct, self.arguments.single) {
            (true, false) => opcode::RecvMulti::new(fixed, 0).build(),
            (false, false) => opcode::RecvMulti::new(fd, 0).build(),
            (true, true) => opcode::Recv::new(fixed, std::ptr::null_mut(), 0)
                .buf_group(0)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
            (false, true) => opcode::Recv::new(fd, std::ptr::null_mut(), 0)
                .buf_group(0)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
        };
        self.push(entry, RECEIVE, number);
    }

    fn close(&mut self, number: u64) {
        self.offsets[number as usize] = usize::MAX;
        let entry = if self.arguments.direct {
            opcode::Close::new(Fixed(number as u32)).build()
        } else {
            opcode::Close::new(Fd(number as i32)).build()
        };
        self.push(entry, CLOSE, number);
    }

    fn send(&mut self, number: u64) {
        let offset = self.offsets[number as usize];
        let len = (self.reply.len() - offset).min(PIECE);
        let at = self.reply[offset..].as_ptr();
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let entry = match (self.arguments.direct, self.arguments.zero_copy) {
            (true, true) => opcode::SendZc::new(Fixed(number as u32), at, len as u32)
                .buf_index(Some(0))
                .flags(flags)
                .build(),
            (false, true) => {
                opcode::SendZc::new(Fd(number as i32), at, len as u32).buf_index(Some(0)).flags(flags).build()
            }
            (true, false) => opcode::Send::new(Fixed(number as u32), at, len as u32).flags(flags).build(),
            (false, false) => opcode::Send::new(Fd(number as i32), at, len as u32).flags(flags).build(),
        };
        let is_last = self.arguments.close && offset + len == self.reply.len();
        let entry = if is_last { entry.flags(squeue::Flags::IO_LINK) } else { entry };
        self.push(entry, SEND, number);
        if is_last {
            self.close(number);
        }
    }

    fn on_completion(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let number = completion.user_data() % KIND;
        let result = completion.result();
        match completion.user_data() / KIND {
            ACCEPT => {
                if result < 0 || !cqueue::more(completion.flags()) {
                    return Err(io::Error::from_raw_os_error(-result));
                }
                self.receive(result as u64);
            }
            RECEIVE => {
                if let Some(buffer) = cqueue::buffer_select(completion.flags()) {
                    self.give(buffer);
                }
                if result > 0 {
                    self.offsets[number as usize] = 0;
                    self.send(number);
                    if !cqueue::more(completion.flags()) && !self.arguments.close {
                        self.receive(number);
                    }
                } else if result == -libc::ENOBUFS {
                    self.receive(number);
                } else {
                    self.close(number);
                }
            }
            SEND => {
                if cqueue::notif(completion.flags())
                    || result < 0
                    || self.offsets[number as usize] == usize::MAX
                {
                    return Ok(());
                }
                self.offsets[number as usize] += result as usize;
                if self.offsets[number as usize] < self.reply.len() {
                    self.send(number);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
