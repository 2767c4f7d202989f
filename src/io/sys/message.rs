//! Datagrams in batches: recvmmsg and sendmmsg with IP_PKTINFO, UDP_SEGMENT and PACKET_AUXDATA.
//!
//! Addresses and control messages are composed and read as plain bytes in the kernel's layout (ip(7), udp(7),
//! packet(7)); only the two calls themselves need `unsafe`.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::count;
use crate::limits::{BATCH, WINDOWSIZE_MAX};

/// Room for a `sockaddr_in` or a `sockaddr_ll`
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Name([u8; 24]);

const SOCKADDR_IN_LEN: usize = size_of::<libc::sockaddr_in>();
const SOCKADDR_LL_LEN: usize = size_of::<libc::sockaddr_ll>();
const _: () = assert!(SOCKADDR_IN_LEN <= size_of::<Name>() && SOCKADDR_LL_LEN <= size_of::<Name>());

impl Name {
    const EMPTY: Self = Self([0; 24]);

    /// Where a message goes, and how many bytes say so
    fn emit(to: To) -> (Self, usize) {
        let mut name = Self::EMPTY;
        match to {
            To::Udp(address) => {
                name.0[..2].copy_from_slice(&(libc::AF_INET as libc::sa_family_t).to_ne_bytes());
                name.0[2..4].copy_from_slice(&address.port().to_be_bytes());
                name.0[4..8].copy_from_slice(&address.ip().octets());
                (name, SOCKADDR_IN_LEN)
            }
            To::Link { interface, ethertype, mac } => {
                name.0[..2].copy_from_slice(&(libc::AF_PACKET as libc::sa_family_t).to_ne_bytes());
                name.0[2..4].copy_from_slice(&ethertype.to_be_bytes());
                name.0[4..8].copy_from_slice(&interface.to_ne_bytes());
                name.0[11] = 6;
                name.0[12..18].copy_from_slice(&mac);
                (name, SOCKADDR_LL_LEN)
            }
        }
    }

    fn u32_at(&self, at: usize) -> u32 {
        u32::from_ne_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    fn family(&self) -> libc::c_int {
        u16::from_ne_bytes([self.0[0], self.0[1]]).into()
    }
}

/// One control message: the kernel's `cmsghdr` and its value. As the header begins with a word, the struct's own size is
/// a multiple of a word too, which is how the kernel aligns the next one (`CMSG_ALIGN`).
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Control<T> {
    len: usize,
    level: libc::c_int,
    kind: libc::c_int,
    value: T,
}

const CONTROL_HEADER: usize = size_of::<Control<()>>();

impl<T> Control<T> {
    fn new(level: libc::c_int, kind: libc::c_int, value: T) -> Self {
        Self { len: CONTROL_HEADER + size_of::<T>(), level, kind, value }
    }
}

/// `in_pktinfo`: which interface, which local address, and (received only) which destination
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct PacketInfo {
    interface: u32,
    source: [u8; 4],
    destination: [u8; 4],
}

/// `tpacket_auxdata`: what a packet socket says of a frame beside its bytes
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Auxdata {
    status: u32,
    len: u32,
    snaplen: u32,
    mac: u16,
    net: u16,
    vlan_tci: u16,
    vlan_tpid: u16,
}

const _: () = {
    assert!(size_of::<PacketInfo>() == size_of::<libc::in_pktinfo>());
    assert!(size_of::<Auxdata>() == size_of::<libc::tpacket_auxdata>());
    assert!(CONTROL_HEADER == size_of::<libc::cmsghdr>());
};

/// Room for the control messages of a received datagram: one of the two above
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Controls([u8; 64]);

/// What control messages of one send can say, in the order in which they lie behind each other
#[derive(Clone, Copy)]
#[repr(C)]
struct SendControls {
    info: Control<PacketInfo>,
    segment: Control<u16>,
}

/// The value of the first control message of that kind
fn control<T: FromBytes>(mut controls: &[u8], level: libc::c_int, kind: libc::c_int) -> Option<T> {
    while let Ok((header, _)) = Control::<()>::read_from_prefix(controls) {
        if header.len < CONTROL_HEADER || header.len > controls.len() {
            return None;
        }
        if (header.level, header.kind) == (level, kind) {
            return T::read_from_prefix(&controls[CONTROL_HEADER..header.len]).ok().map(|(value, _)| value);
        }
        controls = controls.get(header.len.next_multiple_of(size_of::<usize>())..)?;
    }
    None
}

/// Where a received datagram or frame came from
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) enum From {
    /// A UDP datagram (socket with IP_PKTINFO)
    Udp {
        /// Its sender
        source: SocketAddrV4,
        /// The address it was sent to
        destination: Ipv4Addr,
        /// Index of the interface it came in by
        interface: u32,
    },
    /// A frame (packet socket with PACKET_AUXDATA)
    Link {
        /// Index of the interface it came in by: that of the VLAN or bridge where one took it over
        interface: u32,
        /// Its checksums are as the wire carried them: neither left to the hardware by a sender on this host, nor
        /// already found good by the hardware
        raw_checksum: bool,
        /// It carried a VLAN tag, which the kernel took out of the bytes
        is_tagged: bool,
    },
    /// An address family that was never asked for
    Unknown,
}

/// One received datagram or frame
#[derive(Clone, Copy, Debug)]
pub(in crate::io) struct Received<'a> {
    /// Where it came from
    pub(in crate::io) from: From,
    /// Its bytes
    pub(in crate::io) bytes: &'a [u8],
    /// It was longer than its room: the rest is lost
    pub(in crate::io) is_cut: bool,
}

/// Room for one batch of received datagrams
pub(in crate::io) struct ReceiveBatch {
    bytes: Vec<u8>,
    names: Vec<Name>,
    controls: Vec<Controls>,
    // Points into the others, which are never resized: kept from call to call, since most calls bring few datagrams and
    // filling all headers each time would cost more than they do.
    _parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    room: usize,
    filled: usize,
}

// SAFETY: the pointers in `_parts` and `headers` lead only into vectors that the same value owns.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    /// Room for [`BATCH`] datagrams of `room` bytes
    pub(in crate::io) fn new(room: usize) -> Self {
        let mut bytes = vec![0; BATCH * room];
        let mut names = vec![Name::EMPTY; BATCH];
        let mut controls = vec![Controls([0; 64]); BATCH];
        let mut parts: Vec<_> = bytes
            .chunks_exact_mut(room)
            .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() })
            .collect();
        let headers = (parts.iter_mut().zip(&mut names).zip(&mut controls))
            .map(|((part, name), controls)| {
                let mut header = empty_header();
                header.msg_hdr.msg_iov = part;
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_name = name.0.as_mut_ptr().cast();
                header.msg_hdr.msg_control = controls.0.as_mut_ptr().cast();
                header
            })
            .collect();
        // Every header is refreshed before its first use.
        Self { bytes, names, controls, _parts: parts, headers, room, filled: BATCH }
    }

    /// Takes what the socket has, up to [`BATCH`] datagrams, in place of what was there before; never waits
    pub(in crate::io) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        for header in &mut self.headers[..self.filled] {
            // The kernel overwrote these with what it used.
            header.msg_hdr.msg_namelen = size_of::<Name>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = size_of::<Controls>() as _;
            header.msg_hdr.msg_flags = 0;
        }
        self.filled = 0;
        let flags = libc::MSG_DONTWAIT;
        let batch = BATCH as libc::c_uint;
        // SAFETY: each of the `BATCH` headers points to its own part, name and controls with their true sizes, all of
        // which `self` owns, borrowed mutably here.
        let result = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), batch, flags as _, ptr::null_mut())
        };
        self.filled = count(result as isize)?;
        Ok(self.filled)
    }

    /// The datagram at `index` of the batch
    pub(in crate::io) fn get(&self, index: usize) -> Received<'_> {
        let header = &self.headers[..self.filled][index];
        let len = (header.msg_len as usize).min(self.room);
        #[allow(clippy::unnecessary_cast, reason = "its type differs between C libraries")]
        let controls_len = (header.msg_hdr.msg_controllen as usize).min(size_of::<Controls>());
        Received {
            from: from(&self.names[index].0, &self.controls[index].0[..controls_len]),
            bytes: &self.bytes[index * self.room..][..len],
            is_cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        }
    }
}

/// Room for the name and the control messages of a received datagram
pub(super) const RECEIVED_NAME: usize = size_of::<Name>();
pub(super) const RECEIVED_CONTROLS: usize = size_of::<Controls>();

/// Where a datagram came from, by its name and control messages as the kernel writes them
pub(super) fn from(name: &[u8], controls: &[u8]) -> From {
    let mut padded = Name::EMPTY;
    let len = name.len().min(RECEIVED_NAME);
    padded.0[..len].copy_from_slice(&name[..len]);
    let name = padded;
    match name.family() {
        libc::AF_INET => {
            let Some(info) = control::<PacketInfo>(controls, libc::IPPROTO_IP, libc::IP_PKTINFO) else {
                return From::Unknown;
            };
            let source = Ipv4Addr::new(name.0[4], name.0[5], name.0[6], name.0[7]);
            let port = u16::from_be_bytes([name.0[2], name.0[3]]);
            From::Udp {
                source: SocketAddrV4::new(source, port),
                destination: info.destination.into(),
                interface: info.interface,
            }
        }
        libc::AF_PACKET => {
            let auxdata = control::<Auxdata>(controls, libc::SOL_PACKET, libc::PACKET_AUXDATA);
            let status = auxdata.map_or(0, |auxdata| auxdata.status);
            let has = |flag: libc::c_uint| status & flag != 0;
            From::Link {
                interface: name.u32_at(4),
                raw_checksum: !has(libc::TP_STATUS_CSUMNOTREADY) && !has(libc::TP_STATUS_CSUM_VALID),
                is_tagged: has(libc::TP_STATUS_VLAN_VALID),
            }
        }
        _ => From::Unknown,
    }
}

/// Where a message goes
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) enum To {
    /// To a UDP or raw IPv4 socket's peer
    Udp(SocketAddrV4),
    /// Out of an interface, as a frame
    Link {
        /// Index of the interface
        interface: u32,
        /// Its ethertype
        ethertype: u16,
        /// Its destination
        mac: [u8; 6],
    },
}

/// Where a UDP message leaves from: 0 and 0.0.0.0 leave it to the kernel
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::io) struct Leave {
    /// Index of the interface; 0: by the kernel's routes
    pub(in crate::io) interface: u32,
    /// Source address, one of this host's own
    pub(in crate::io) source: Option<Ipv4Addr>,
}

/// One message to send
#[derive(Clone, Copy, Debug)]
pub(in crate::io) struct Message<P> {
    /// Its bytes, in pieces: [`PARTS_MAX`] at most
    pub(in crate::io) parts: P,
    /// Where to
    pub(in crate::io) to: To,
    /// Where from (UDP sockets)
    pub(in crate::io) leave: Option<Leave>,
    /// The kernel cuts the bytes into datagrams of so many bytes (UDP_SEGMENT)
    pub(in crate::io) segment: Option<u16>,
}

/// Pieces of the messages of one call
const PARTS: usize = 2048;
/// Pieces of one message: a header and the content of each block of a window, one of which may lie apart
pub(in crate::io) const PARTS_MAX: usize = 2 * WINDOWSIZE_MAX as usize + 1;
// The kernel takes 1024 (UIO_MAXIOV).
const _: () = assert!(PARTS_MAX <= PARTS && PARTS_MAX <= 1024);

/// Room for the headers of one batch of messages
pub(in crate::io) struct SendBatch {
    names: Vec<Name>,
    controls: Vec<SendControls>,
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the pointers in `headers` lead only into vectors that the same value owns; those in `parts` are used only
// within `send`, which fills them from live borrows first.
unsafe impl Send for SendBatch {}

impl SendBatch {
    /// Room for [`BATCH`] messages
    pub(in crate::io) fn new() -> Self {
        let info = PacketInfo { interface: 0, source: [0; 4], destination: [0; 4] };
        let controls = SendControls {
            info: Control::new(libc::IPPROTO_IP, libc::IP_PKTINFO, info),
            segment: Control::new(libc::SOL_UDP, libc::UDP_SEGMENT, 0),
        };
        let mut names = vec![Name::EMPTY; BATCH];
        let headers = (names.iter_mut())
            .map(|name| {
                let mut header = empty_header();
                header.msg_hdr.msg_name = name.0.as_mut_ptr().cast();
                header
            })
            .collect();
        Self { names, controls: vec![controls; BATCH], parts: Vec::with_capacity(PARTS), headers }
    }

    fn fill<'a>(&mut self, index: usize, message: Message<impl IntoIterator<Item = &'a [u8]>>) {
        let first = self.parts.len();
        for part in message.parts {
            self.parts.push(libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
        }
        assert!(self.parts.len() <= PARTS, "no message has more than PARTS_MAX pieces");
        let header = &mut self.headers[index].msg_hdr;
        header.msg_iov = self.parts.as_mut_ptr().wrapping_add(first);
        header.msg_iovlen = (self.parts.len() - first) as _;
        let (name, name_len) = Name::emit(message.to);
        self.names[index] = name;
        header.msg_namelen = name_len as libc::socklen_t;
        let controls = &mut self.controls[index];
        if let Some(leave) = message.leave {
            controls.info.value.interface = leave.interface;
            controls.info.value.source = leave.source.unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
        }
        if let Some(segment) = message.segment {
            controls.segment.value = segment;
        }
        let (control, len): (*mut libc::c_void, usize) = match (message.leave, message.segment) {
            (None, None) => (ptr::null_mut(), 0),
            (Some(_), None) => ((&raw mut controls.info).cast(), size_of::<Control<PacketInfo>>()),
            (None, Some(_)) => ((&raw mut controls.segment).cast(), size_of::<Control<u16>>()),
            (Some(_), Some(_)) => ((controls as *mut SendControls).cast(), size_of::<SendControls>()),
        };
        header.msg_control = control;
        header.msg_controllen = len as _;
    }

    /// Hands messages to the kernel, in order, as many as a batch has room for; never waits.
    ///
    /// Returns how many it took, one at least where any was given: fewer where one after the first was refused, and then the
    /// next call with that one tells why.
    pub(in crate::io) fn send<'a, P: IntoIterator<Item = &'a [u8]>>(
        &mut self,
        socket: BorrowedFd<'_>,
        mut messages: impl Iterator<Item = Message<P>>,
    ) -> io::Result<usize> {
        let mut filled = 0;
        self.parts.clear();
        while filled < BATCH && self.parts.len() + PARTS_MAX <= PARTS {
            let Some(message) = messages.next() else { break };
            self.fill(filled, message);
            filled += 1;
        }
        if filled == 0 {
            return Ok(0);
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the first `filled` headers were filled above: names, parts and controls are of `self`, borrowed
        // mutably here; `parts` has not moved since, as it never grows beyond what it was made for; and the parts' bytes
        // are borrowed for 'a, which outlives the call. The kernel only reads them.
        let result = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), filled as libc::c_uint, flags as _)
        };
        count(result as isize)
    }
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: a `mmsghdr` is integers and pointers, for which all zeroes is a value (no name, parts or controls).
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
