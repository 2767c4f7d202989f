//! Socket options and addresses that socket2 does not know: packet sockets (packet(7)), IPv4 source addresses and path
//! MTU discovery (ip(7)).

use std::ffi::{CString, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::done;

/// Sets an option whose value is an `int`
pub(in crate::io) fn set(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: `value` is a live `int` and `len` its size; the kernel only reads it.
    done(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len) })
}

/// What the kernel knows of a TCP socket (tcp(7), TCP_INFO). Of a listener, `tcpi_unacked` is how many connections wait.
pub(in crate::io) fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<libc::tcp_info> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: `info` has room for `len` bytes, and both live across the call.
    done(unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, info.as_mut_ptr().cast(), &raw mut len)
    })?;
    // SAFETY: a `tcp_info` is integers alone, so that what an older kernel did not fill is a value too: zero.
    Ok(unsafe { info.assume_init() })
}

/// Binds a packet socket to an interface and an ethertype: from here on it receives
pub(in crate::io) fn bind_packet(socket: BorrowedFd<'_>, interface: u32, ethertype: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::c_ushort,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: c_int::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `address` is a live `sockaddr_ll` and `len` its size; the kernel only reads it.
    done(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })
}

/// Lets an interface hand over frames for any MAC address, for as long as the packet socket lives (packet(7))
pub(in crate::io) fn join_promiscuous(socket: BorrowedFd<'_>, interface: u32) -> io::Result<()> {
    let membership = libc::packet_mreq {
        mr_ifindex: c_int::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?,
        mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    let len = size_of::<libc::packet_mreq>() as libc::socklen_t;
    let (fd, value) = (socket.as_raw_fd(), (&raw const membership).cast());
    // SAFETY: `value` points to a live `packet_mreq` and `len` is its size; the kernel only reads it.
    done(unsafe { libc::setsockopt(fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, value, len) })
}

/// Frames that a packet socket had no room for since this was last asked (`tpacket_stats.tp_drops`)
pub(in crate::io) fn packet_drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut statistics = [0_u32; 2];
    let mut len = size_of_val(&statistics) as libc::socklen_t;
    let (fd, value) = (socket.as_raw_fd(), statistics.as_mut_ptr().cast());
    // SAFETY: `value` has room for `len` bytes, which is what `tpacket_stats` takes; both live across the call.
    done(unsafe { libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, value, &raw mut len) })?;
    Ok(statistics[1])
}

/// The index of an interface
pub(in crate::io) fn interface_index(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: `name` is NUL-terminated and lives across the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 { Err(io::Error::last_os_error()) } else { Ok(index) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_have_an_index_or_do_not_exist() {
        assert!(interface_index("lo").expect("the loopback interface") > 0);
        assert_eq!(
            interface_index("no-such-if0").expect_err("no such interface").raw_os_error(),
            Some(libc::ENODEV)
        );
        assert_eq!(interface_index("a\0b").expect_err("no C string").kind(), io::ErrorKind::InvalidInput);
    }
}
