//! What belongs to the process or the thread: processors and the limit of open files.

use std::io;
use std::mem::MaybeUninit;

use super::done;

const SET_BYTES: usize = size_of::<libc::cpu_set_t>();

/// The set of processors as bytes: bit *n* of the kernel's array of `unsigned long`
fn bit(cpu: usize) -> (usize, u8) {
    let byte = cpu / 8;
    // The array is of words in the host's order: on a big-endian host the bytes of a word are the other way round.
    let within = if cfg!(target_endian = "big") { byte ^ (size_of::<libc::c_ulong>() - 1) } else { byte };
    (within, 1 << (cpu % 8))
}

/// The processors that this thread may run on, in order
pub fn processors() -> io::Result<Vec<usize>> {
    let mut set = [0u8; SET_BYTES];
    // SAFETY: `set` has room for `SET_BYTES` bytes, and the kernel writes no more than that.
    done(unsafe { libc::sched_getaffinity(0, SET_BYTES, set.as_mut_ptr().cast()) })?;
    let holds = |&cpu: &usize| {
        let (byte, mask) = bit(cpu);
        set[byte] & mask != 0
    };
    Ok((0..SET_BYTES * 8).filter(holds).collect())
}

/// Keeps this thread on one processor
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut set = [0u8; SET_BYTES];
    let (byte, mask) = bit(cpu);
    *set.get_mut(byte).ok_or(io::ErrorKind::InvalidInput)? |= mask;
    // SAFETY: `set` holds `SET_BYTES` bytes; the kernel only reads them.
    done(unsafe { libc::sched_setaffinity(0, SET_BYTES, set.as_ptr().cast()) })
}

/// Raises the limit of open files as far as it goes without privilege, and returns it
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: `limit` has room for one `rlimit`.
    done(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, so the kernel filled it.
    let mut limit = unsafe { limit.assume_init() };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a live `rlimit`; the kernel only reads it.
    done(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    #[allow(clippy::useless_conversion, reason = "rlim_t is 32 bits wide on some targets")]
    Ok(limit.rlim_cur.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_processor() {
        let all = processors().expect("an affinity");
        let last = *all.last().expect("at least one processor");
        let left = std::thread::spawn(move || {
            pin(last).expect("a processor that it may run on");
            processors().expect("an affinity")
        });
        assert_eq!(left.join().expect("no panic"), [last]);
        assert_eq!(processors().expect("an affinity"), all, "other threads keep theirs");
    }
}
