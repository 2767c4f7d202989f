//! A timer that is a descriptor: epoll_wait counts its own time-out in milliseconds.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use super::done;

/// A timer, readable once it has run out
#[derive(Debug)]
pub(in crate::io) struct Timer(OwnedFd);

impl Timer {
    /// A timer that does not run
    pub(in crate::io) fn new() -> io::Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: the call takes no memory.
        let timer = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        done(timer)?;
        // SAFETY: the kernel returned it just now, so nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(timer) }))
    }

    /// Lets it run out once after this time, in place of what it was set to; zero stops it
    pub(in crate::io) fn set(&self, after: Duration) -> io::Result<()> {
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let after = libc::timespec {
            tv_sec: libc::time_t::try_from(after.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: after.subsec_nanos().into(),
        };
        let times = libc::itimerspec { it_interval: never, it_value: after };
        // SAFETY: `times` lives across the call, which reads it; a null pointer says that the old setting is not wanted.
        done(unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &raw const times, ptr::null_mut()) })
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(timer: &Timer, timeout_ms: i32) -> i32 {
        let mut wanted = libc::pollfd { fd: timer.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `wanted` is one `pollfd`, and lives across the call.
        unsafe { libc::poll(&raw mut wanted, 1, timeout_ms) }
    }

    #[test]
    fn it_runs_out_when_it_was_set_and_not_when_it_was_stopped() {
        let timer = Timer::new().expect("a timer");
        assert_eq!(poll(&timer, 0), 0, "it was not set");
        timer.set(Duration::from_micros(50)).expect("it is set");
        assert_eq!(poll(&timer, 5_000), 1);
        timer.set(Duration::from_secs(3_600)).expect("it is set anew");
        assert_eq!(poll(&timer, 0), 0);
        timer.set(Duration::ZERO).expect("it is stopped");
        assert_eq!(poll(&timer, 0), 0);
    }
}
