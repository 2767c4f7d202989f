//! One interface shared by many simulated machines: their frames come in by packet sockets, and leave by them.
//!
//! Which machine a frame is for is the caller's business; a filter in the kernel keeps out what is for none of them, and
//! nothing that this host sends comes back in. DHCP, ARP and TFTP wait in another buffer than TCP, so that a burst of
//! bodies cannot push out the one answer that a ROM waits for. A sender on the same host leaves checksums and the cutting
//! of large sends to a card that may not exist: the kernel says so in a `virtio_net_hdr` before each frame, and so does
//! [`Frame`].

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockFilter, Socket, Type};

use super::packet::{IF_EQUAL, LOAD_U8, LOAD_U16, index, op};
use super::socket::{OpenError, RETURN, Service};
use super::sys::message::{From, Message, ReceiveBatch, SendBatch, To};
use super::sys::option;
use crate::limits::{BATCH, RACK_BUFFER_BYTES};
use crate::wire::ethernet;

/// `virtio_net_hdr`: flags, kind of segmentation, length of the headers, of a segment, where the checksum is
const OFFLOAD_LEN: usize = 10;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`
const SEGMENTED_UDP: u8 = 5;
/// The longest frame that the kernel hands over: what a card would have cut
const FRAME_MAX: usize = 65_536 + 14;

/// The first three bytes that the MAC addresses of all machines on the interface begin with
pub type Prefix = [u8; 3];

/// Which frames wait in which buffer
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ARP and UDP
    Datagrams,
    /// TCP
    Streams,
}

/// A frame that came in
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// From its Ethernet header on
    pub bytes: &'a [u8],
    /// Its checksums need no look: they are left to a card, or one has looked
    pub is_trusted: bool,
    /// It holds several UDP datagrams with one header, each with so many bytes of payload but for the last
    pub segment: Option<u16>,
}

/// The packet sockets of an interface
pub struct Port {
    interface: u32,
    datagrams: Socket,
    streams: Socket,
    poll: Poll,
    events: Events,
    receive: ReceiveBatch,
    send: SendBatch,
    drops: u64,
}

impl Port {
    /// Opens an interface for machines whose MAC addresses begin with `prefix`, and makes it promiscuous while it is open
    ///
    /// # Errors
    /// No such interface, or no permission.
    pub fn open(name: &str, prefix: Prefix) -> Result<Self, OpenError> {
        let interface = index(name)?;
        let failed = OpenError::on(Service::Frames, name);
        let datagrams = socket(name, interface, &filter(prefix, Kind::Datagrams))?;
        let streams = socket(name, interface, &filter(prefix, Kind::Streams))?;
        option::join_promiscuous(datagrams.as_fd(), interface)
            .map_err(|e| failed("PACKET_ADD_MEMBERSHIP", e))?;
        let poll = Poll::new().map_err(|e| failed("epoll_create", e))?;
        for socket in [&datagrams, &streams] {
            let mut source = SourceFd(&socket.as_raw_fd());
            poll.registry()
                .register(&mut source, Token(0), Interest::READABLE)
                .map_err(|e| failed("epoll_ctl", e))?;
        }
        Ok(Self {
            interface,
            datagrams,
            streams,
            poll,
            events: Events::with_capacity(2),
            receive: ReceiveBatch::new(OFFLOAD_LEN + FRAME_MAX),
            send: SendBatch::new(),
            drops: 0,
        })
    }

    /// Waits until frames may have come, a signal comes, or the time is over. Frames that were there before may not be
    /// told of again: [`Port::receive`] is asked until it has none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes the next frames, up to a batch, in place of those taken before; never waits. 0: there are none.
    ///
    /// # Errors
    /// The interface is gone, or down.
    pub fn receive(&mut self, kind: Kind) -> io::Result<usize> {
        let socket = match kind {
            Kind::Datagrams => &self.datagrams,
            Kind::Streams => &self.streams,
        };
        match self.receive.receive(socket.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }

    /// One of those taken; `None`: it carried a VLAN tag, or was cut, and is for nobody
    pub fn frame(&self, index: usize) -> Option<Frame<'_>> {
        let received = self.receive.get(index);
        let From::Link { raw_checksum, is_tagged: false, .. } = received.from else { return None };
        let (offload, bytes) = received.bytes.split_at_checked(OFFLOAD_LEN).filter(|_| !received.is_cut)?;
        let segment = u16::from_ne_bytes([offload[4], offload[5]]);
        let is_segmented = offload[1] == SEGMENTED_UDP && segment > 0;
        Some(Frame { bytes, is_trusted: !raw_checksum, segment: is_segmented.then_some(segment) })
    }

    /// Sends frames, in order; returns how many the kernel took. Fewer than given: it has no room for now.
    ///
    /// # Errors
    /// The interface is gone, or down.
    pub fn send(&mut self, frames: &[Vec<u8>]) -> io::Result<usize> {
        let mut sent = 0;
        for batch in frames.chunks(BATCH) {
            let message = |frame: &'_ Vec<u8>| {
                let mut mac = [0; 6];
                mac.copy_from_slice(&frame[..6]);
                let ethertype = u16::from_be_bytes([frame[12], frame[13]]);
                To::Link { interface: self.interface, ethertype, mac }
            };
            let messages = batch.iter().map(|frame| Message {
                parts: [&[0; OFFLOAD_LEN][..], frame.as_slice()],
                to: message(frame),
                leave: None,
                segment: None,
            });
            match self.send.send(self.datagrams.as_fd(), messages) {
                Ok(taken) => {
                    sent += taken;
                    if taken < batch.len() {
                        break;
                    }
                }
                Err(error) if is_full(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Frames that came and found no room, since the port was opened
    pub fn drops(&mut self) -> u64 {
        for socket in [&self.datagrams, &self.streams] {
            self.drops += u64::from(option::packet_drops(socket.as_fd()).unwrap_or(0));
        }
        self.drops
    }
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

fn socket(name: &str, interface: u32, filter: &[SockFilter]) -> Result<Socket, OpenError> {
    let failed = OpenError::on(Service::Frames, name);
    // Protocol 0 receives nothing: no frame comes before the filter stands and the interface is chosen.
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)
        .map_err(|e| failed("socket", e))?;
    socket.attach_filter(filter).map_err(|e| failed("SO_ATTACH_FILTER", e))?;
    let set = |name| option::set(socket.as_fd(), libc::SOL_PACKET, name, 1);
    set(libc::PACKET_AUXDATA).map_err(|e| failed("PACKET_AUXDATA", e))?;
    set(PACKET_VNET_HDR).map_err(|e| failed("PACKET_VNET_HDR", e))?;
    set(libc::PACKET_IGNORE_OUTGOING).map_err(|e| failed("PACKET_IGNORE_OUTGOING", e))?;
    let bytes = libc::c_int::try_from(RACK_BUFFER_BYTES).expect("some MiB");
    for name in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        // A smaller buffer loses frames, which are counted; it is no reason not to begin.
        let _ = option::set(socket.as_fd(), libc::SOL_SOCKET, name, bytes);
    }
    let all = u16::try_from(libc::ETH_P_ALL).expect("0x0003");
    option::bind_packet(socket.as_fd(), interface, all).map_err(|e| failed("bind", e))?;
    Ok(socket)
}

/// linux/if_packet.h; the `libc` crate does not have it
const PACKET_VNET_HDR: libc::c_int = 15;

// Classic BPF, as in `packet`
const LOAD_U32: u16 = 0x20;
const AND: u16 = 0x54;
/// All of a frame, however long
const KEEP_ALL: u32 = 0x4_0000;

/// Frames to the machines or to everybody, of one kind
fn filter(prefix: Prefix, kind: Kind) -> [SockFilter; 11] {
    let prefix = u32::from_be_bytes([prefix[0], prefix[1], prefix[2], 0]);
    let (arp, protocol) = match kind {
        Kind::Datagrams => (3, libc::IPPROTO_UDP),
        Kind::Streams => (4, libc::IPPROTO_TCP),
    };
    [
        op(LOAD_U32, 0, 0, 0),
        op(IF_EQUAL, 2, 0, 0xffff_ffff),
        op(AND, 0, 0, 0xffff_ff00),
        op(IF_EQUAL, 0, 6, prefix),
        op(LOAD_U16, 0, 0, 12),
        op(IF_EQUAL, arp, 0, ethernet::ARP.into()),
        op(IF_EQUAL, 0, 3, ethernet::IPV4.into()),
        op(LOAD_U8, 0, 0, 14 + 9),
        op(IF_EQUAL, 0, 1, protocol.cast_unsigned()),
        op(RETURN, 0, 0, KEEP_ALL),
        op(RETURN, 0, 0, 0),
    ]
}
