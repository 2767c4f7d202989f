//! recvmmsg, sendmmsg, sendfile and packet sockets: the only `unsafe` of the load.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;

/// Datagrams of one call
pub(crate) const BATCH: usize = 64;
/// packet(7): frames that this host sends are not received
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// Room for one batch of received datagrams
pub(crate) struct ReceiveBatch {
    bytes: Vec<u8>,
    names: Vec<libc::sockaddr_in>,
    // Points into the two above, which are never resized.
    _parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    room: usize,
}

impl ReceiveBatch {
    /// Room for [`BATCH`] datagrams of `room` bytes
    pub(crate) fn new(room: usize) -> Self {
        let mut bytes = vec![0; BATCH * room];
        let mut names = vec![emit_name(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)); BATCH];
        let mut parts: Vec<_> = bytes
            .chunks_exact_mut(room)
            .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() })
            .collect();
        let headers = (parts.iter_mut().zip(&mut names))
            .map(|(part, name)| {
                let mut header = empty_header();
                header.msg_hdr.msg_iov = part;
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_name = ptr::from_mut(name).cast();
                header
            })
            .collect();
        Self { bytes, names, _parts: parts, headers, room }
    }

    /// Takes what the socket has, and never waits; how many datagrams
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        for header in &mut self.headers {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
        let flags = libc::MSG_DONTWAIT;
        // SAFETY: each of the `BATCH` headers points to its own part and name with their true sizes, all of which
        // `self` owns, borrowed mutably here.
        let result = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                flags as _,
                ptr::null_mut(),
            )
        };
        match usize::try_from(result) {
            Ok(count) => Ok(count),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                error => Err(error),
            },
        }
    }

    /// The datagram at `index`
    pub(crate) fn bytes(&self, index: usize) -> &[u8] {
        let len = (self.headers[index].msg_len as usize).min(self.room);
        &self.bytes[index * self.room..][..len]
    }

    /// Its sender (UDP sockets)
    pub(crate) fn source(&self, index: usize) -> SocketAddrV4 {
        let name = &self.names[index];
        SocketAddrV4::new(u32::from_be(name.sin_addr.s_addr).into(), u16::from_be(name.sin_port))
    }
}

/// One message to send
pub(crate) struct Message<'a> {
    /// Its bytes, in pieces
    pub(crate) parts: &'a [IoSlice<'a>],
    /// Where to; none for a packet socket's whole frames
    pub(crate) to: Option<SocketAddrV4>,
    /// The kernel cuts the bytes into datagrams of so many bytes (UDP_SEGMENT)
    pub(crate) segment: Option<u16>,
}

/// A control message of one `u16`, as the kernel lays it out
#[repr(C, align(8))]
struct Segment {
    len: usize,
    level: libc::c_int,
    kind: libc::c_int,
    value: u16,
}

/// Sends all, waiting for room where there is none
pub(crate) fn send(socket: BorrowedFd<'_>, messages: &[Message<'_>]) -> io::Result<()> {
    let mut names: Vec<_> = messages.iter().map(|message| message.to.map(emit_name)).collect();
    let mut segments: Vec<_> = messages
        .iter()
        .map(|message| Segment {
            len: size_of::<libc::cmsghdr>() + size_of::<u16>(),
            level: libc::SOL_UDP,
            kind: libc::UDP_SEGMENT,
            value: message.segment.unwrap_or(0),
        })
        .collect();
    let mut headers: Vec<_> = (messages.iter().zip(&mut names).zip(&mut segments))
        .map(|((message, name), segment)| {
            let mut header = empty_header();
            // std promises that an `IoSlice` is laid out as an `iovec`.
            header.msg_hdr.msg_iov = message.parts.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_iovlen = message.parts.len() as _;
            if let Some(name) = name {
                header.msg_hdr.msg_name = ptr::from_mut(name).cast();
                header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            if message.segment.is_some() {
                header.msg_hdr.msg_control = ptr::from_mut(segment).cast();
                header.msg_hdr.msg_controllen = size_of::<Segment>() as _;
            }
            header
        })
        .collect();
    let mut sent = 0;
    while sent < headers.len() {
        let rest = &mut headers[sent..];
        // SAFETY: the headers point to names, parts and control messages that live until the end of this function;
        // sending writes to none of them.
        let result =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, 0) };
        match usize::try_from(result) {
            Ok(count) => sent += count,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => std::hint::spin_loop(),
                error if error.raw_os_error() == Some(libc::ENOBUFS) => std::hint::spin_loop(),
                error => return Err(error),
            },
        }
    }
    Ok(())
}

/// Sends file bytes from `offset` on, as many as there is room for
pub(crate) fn send_file(
    to: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: u64,
    len: usize,
) -> io::Result<usize> {
    let mut offset = offset as libc::off_t;
    // SAFETY: `offset` is the one pointer, to a local that outlives the call.
    let result = unsafe { libc::sendfile(to.as_raw_fd(), file.as_raw_fd(), &raw mut offset, len) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// A packet socket that receives the IPv4 frames of one interface, without those that this host sends
pub(crate) fn packet_socket(interface: &str) -> io::Result<OwnedFd> {
    let name = std::ffi::CString::new(interface)?;
    // SAFETY: `name` is a C string that outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    let protocol = (libc::ETH_P_IP as u16).to_be();
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    let socket = unsafe { libc::socket(libc::AF_PACKET, kind, protocol.into()) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the socket is new, and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    set(socket.as_fd(), libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
    set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 16 << 20)?;
    set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, 4 << 20)?;
    let name = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as _,
        sll_protocol: protocol,
        sll_ifindex: index as _,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `name` is a whole `sockaddr_ll` that outlives the call.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const name).cast(), len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// Datagrams that were sent as one (UDP_SEGMENT) are received as one (UDP_GRO)
pub(crate) fn receive_whole(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// Connections are accepted with their first bytes
pub(crate) fn defer_accept(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 1)
}

/// How many connections wait in a listener's queue
pub(crate) fn accept_queue_len(listener: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: a `tcp_info` of zeros is a valid one.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: `info` has room for `len` bytes, and both outlive the call.
    let result =
        unsafe { libc::getsockopt(listener.as_raw_fd(), level, name, (&raw mut info).cast(), &raw mut len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(info.tcpi_unacked) }
}

fn set(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` is a whole `c_int` that outlives the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn emit_name(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as _,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: address.ip().to_bits().to_be() },
        sin_zero: [0; 8],
    }
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: an `mmsghdr` of zeros is a valid one: no name, no parts, no control messages.
    unsafe { std::mem::zeroed() }
}
