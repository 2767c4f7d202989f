//! The system calls that std, mio and socket2 have no safe form of, each behind a safe function. All `unsafe` of
//! [`super`] is here.
//!
//! Nothing here decides anything: descriptors are borrowed, bytes are the caller's, errors are the kernel's. Buffers
//! that the kernel reads or writes through pointers are owned or borrowed for the length of one call, never longer; [`uring`]
//! alone, whose operations outlive calls, owns its buffers itself.

#![allow(
    clippy::cast_possible_truncation,
    reason = "constants, and sizes of small structs, in the widths that the C interface gives them"
)]

pub(super) mod file;
pub(super) mod message;
pub(super) mod option;
pub mod process;
pub(super) mod timer;
pub(super) mod uring;

use std::io;

/// The result of a call that returns a count, or -1 and `errno`
fn count(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// The result of a call that returns 0, or -1 and `errno`
fn done(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
