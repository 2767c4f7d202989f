//! Bytes of files: gathered into the blocks of a TFTP window, or handed to a TCP socket without a copy.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::count;
use crate::limits::WINDOWSIZE_MAX;

/// Reads file content into consecutive blocks of `region`, each with `head` bytes left free in front of up to `blksize`
/// bytes of content: one call, and the packets of a window lie ready. The last block may be short; `region` ends with it.
///
/// Returns how many bytes of content were read, which is less than asked only where the file ends.
pub(in crate::io) fn read_blocks(
    file: BorrowedFd<'_>,
    offset: u64,
    region: &mut [u8],
    head: usize,
    blksize: usize,
) -> io::Result<usize> {
    const EMPTY: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
    let mut parts = [EMPTY; WINDOWSIZE_MAX as usize];
    let mut used = 0;
    for block in region.chunks_mut(head + blksize) {
        let Some(content) = block.get_mut(head..).filter(|content| !content.is_empty()) else { break };
        parts[used] = libc::iovec { iov_base: content.as_mut_ptr().cast(), iov_len: content.len() };
        used += 1;
    }
    let asked: usize = parts[..used].iter().map(|part| part.iov_len).sum();
    let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let parts_len = libc::c_int::try_from(used).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the first `parts_len` of `parts` are disjoint pieces of `region`, which is borrowed mutably across the call.
    let read = count(unsafe { libc::preadv(file.as_raw_fd(), parts.as_ptr(), parts_len, offset) })?;
    debug_assert!(read <= asked, "the kernel fills what it was given");
    Ok(read)
}

/// Sends up to `len` bytes of `file` from `offset` on a stream socket; returns how many the kernel took, 0 where the file
/// ends before `offset`
pub(in crate::io) fn send(
    socket: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: u64,
    len: usize,
) -> io::Result<usize> {
    let mut offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `offset` lives across the call; it is the only memory that the kernel touches.
    count(unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &raw mut offset, len) })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    fn file_of(bytes: &[u8]) -> std::fs::File {
        let path = std::env::temp_dir().join(format!("reveille-io-{}-{}", std::process::id(), bytes.len()));
        std::fs::write(&path, bytes).expect("a temporary file");
        let file = std::fs::File::open(&path).expect("the same file");
        std::fs::remove_file(&path).expect("its removal");
        file
    }

    #[test]
    fn blocks_lie_behind_their_heads() {
        let content: Vec<u8> = (0..25).collect();
        let file = file_of(&content);
        let mut region = [0xee; 3 * 14 - 5];
        assert_eq!(read_blocks(file.as_fd(), 0, &mut region, 4, 10).expect("a read"), 25);
        assert_eq!(region[..4], [0xee; 4], "the head is left alone");
        assert_eq!(region[4..14], content[..10]);
        assert_eq!(region[14..18], [0xee; 4]);
        assert_eq!(region[32..], content[20..]);
        assert_eq!(read_blocks(file.as_fd(), 20, &mut region, 4, 10).expect("a read"), 5, "the file ends");
        let mut only_head = [0; 4];
        assert_eq!(
            read_blocks(file.as_fd(), 0, &mut only_head, 4, 10).expect("no read"),
            0,
            "an empty last block"
        );
    }

    #[test]
    fn a_file_reaches_a_stream() {
        let content: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        let mut file = file_of(&content);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut reader =
            TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        let (mut writer, _) = listener.accept().expect("its other end");
        writer.write_all(b"head").expect("a write");
        let mut at = 3;
        while at < content.len() {
            let sent = send(writer.as_fd(), file.as_fd(), at as u64, 30_000).expect("a send");
            assert!(sent > 0 && sent <= 30_000);
            at += sent;
        }
        assert_eq!(send(writer.as_fd(), file.as_fd(), at as u64, 10).expect("a send"), 0, "the file ends");
        drop(writer);
        let mut got = Vec::new();
        reader.read_to_end(&mut got).expect("the rest");
        assert_eq!(got[4..], content[3..]);
        assert_eq!(file.read(&mut [0; 1]).expect("a read"), 1, "the file's own position does not move");
    }
}
