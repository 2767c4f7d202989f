//! The system calls that the standard library has no safe form of: `openat2`, `openat`, `fstatat`, `fstat`,
//! `readdir`, `posix_fadvise`.
//!
//! Each function is one call. It takes and gives owned or borrowed descriptors and says nothing about policy.

use std::ffi::{CStr, CString, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;

/// Opens `path` below `directory` and nowhere else: the kernel refuses every way out, symbolic links included (`EXDEV`).
pub(super) fn open_beneath(directory: BorrowedFd<'_>, path: &CStr, flags: c_int) -> io::Result<OwnedFd> {
    // SAFETY: `open_how` is a struct of three integers, for which all zeroes is a value (and the kernel's default).
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from((flags | libc::O_CLOEXEC).cast_unsigned());
    how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: `path` is NUL-terminated, `how` lives across the call and its own size is passed with it; the kernel
    // writes to neither.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            directory.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    // A descriptor is an `int` in the kernel's interface; the call only returns it as a `long`.
    owned(RawFd::try_from(fd).unwrap_or(-1))
}

/// Opens one name in `directory`
pub(super) fn open_at(directory: BorrowedFd<'_>, name: &CStr, flags: c_int) -> io::Result<OwnedFd> {
    // SAFETY: `name` is NUL-terminated; no flag that takes a mode is ever passed.
    owned(unsafe { libc::openat(directory.as_raw_fd(), name.as_ptr(), flags | libc::O_CLOEXEC) })
}

/// The state of `path` seen from `directory`
pub(super) fn stat_at(directory: BorrowedFd<'_>, path: &CStr, flags: c_int) -> io::Result<libc::stat> {
    let mut stat = std::mem::MaybeUninit::uninit();
    // SAFETY: `path` is NUL-terminated and `stat` has room for one `struct stat`.
    let result = unsafe { libc::fstatat(directory.as_raw_fd(), path.as_ptr(), stat.as_mut_ptr(), flags) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the kernel filled `stat`.
    Ok(unsafe { stat.assume_init() })
}

/// The state of an open file
pub(super) fn stat(file: BorrowedFd<'_>) -> io::Result<libc::stat> {
    stat_at(file, c"", libc::AT_EMPTY_PATH)
}

/// Lets the kernel read bytes of a file from the disk meanwhile. What it cannot is read when it is needed.
pub(super) fn read_ahead(file: BorrowedFd<'_>, offset: u64, len: u64) {
    if let (Ok(offset), Ok(len)) = (offset.try_into(), len.try_into()) {
        // SAFETY: the call takes no memory.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), offset, len, libc::POSIX_FADV_WILLNEED) };
    }
}

fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel returned `fd` from a successful open just now, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The names in a directory, in the file system's order
#[derive(Debug)]
pub(super) struct Names(NonNull<libc::DIR>);

impl Names {
    /// Reads the names of a directory that is open for reading
    pub(super) fn new(directory: OwnedFd) -> io::Result<Self> {
        // SAFETY: the descriptor is open and owned by this call.
        let stream = unsafe { libc::fdopendir(directory.as_raw_fd()) };
        let Some(stream) = NonNull::new(stream) else {
            return Err(io::Error::last_os_error());
        };
        // The stream owns the descriptor from here on: `closedir` closes it.
        let _ = directory.into_raw_fd();
        Ok(Self(stream))
    }

    /// The directory itself
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        // SAFETY: the stream is open until `drop`.
        let fd = unsafe { libc::dirfd(self.0.as_ptr()) };
        // SAFETY: the descriptor belongs to the stream, which outlives the borrow of `self`.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }

    /// The next name, `.` and `..` among them; `None` at the end, or where the directory cannot be read further
    pub(super) fn next_name(&mut self) -> Option<CString> {
        // SAFETY: the stream is open, and `&mut self` keeps any other reader away.
        let entry = NonNull::new(unsafe { libc::readdir(self.0.as_ptr()) })?;
        // SAFETY: a returned entry is valid until the next call on this stream, which needs `&mut self` again.
        let name = unsafe { &raw const (*entry.as_ptr()).d_name };
        // SAFETY: `d_name` is NUL-terminated (readdir(3)), and copied before the entry can change.
        Some(unsafe { CStr::from_ptr(name.cast()) }.to_owned())
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // SAFETY: the stream is open, and nothing uses it after this.
        unsafe { libc::closedir(self.0.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::time::Duration;
    use std::{env, fs, process, thread};

    use super::*;

    /// Whether a byte is in the page cache
    fn is_cached(file: &File, offset: i64) -> bool {
        let mut byte = [0_u8];
        let part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
        // SAFETY: `part` is one piece of memory, `byte`, and both live across the call.
        unsafe { libc::preadv2(file.as_raw_fd(), &raw const part, 1, offset, libc::RWF_NOWAIT) == 1 }
    }

    #[test]
    fn what_is_read_ahead_is_there_without_being_read() {
        // Beside this program, which lies on a disk as the temporary directory may not.
        let directory = env::current_exe().expect("a path").parent().expect("a directory").to_owned();
        let path = directory.join(format!("read-ahead-{}", process::id()));
        fs::write(&path, vec![1; 8 << 20]).expect("a file");
        let file = File::open(&path).expect("the same");
        fs::remove_file(&path).expect("its removal");
        file.sync_all().expect("it is on the disk");
        // SAFETY: the call takes no memory.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        let at = 5 << 20;
        assert!(!is_cached(&file, at), "the kernel let go of it");
        read_ahead(file.as_fd(), 4 << 20, 2 << 20);
        assert!((0..500).any(|_| {
            thread::sleep(Duration::from_millis(10));
            is_cached(&file, at)
        }));
        assert!(!is_cached(&file, 0), "and nothing else");
    }
}
