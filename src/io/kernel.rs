//! What a driver hears from the kernel: the part in which epoll and io_uring differ. Everything else is shared.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mio::net::TcpStream;

use super::flush::Way;
use super::receive::Source;
use super::sockets::Sockets;
use super::stream::Streams;
use super::sys::message::Received;
use crate::proto::http::ConnectionId;
use crate::proto::outbox::Port;

/// Wakes a shard's loop from another thread
pub(super) trait Wake: Debug + Send + Sync {
    fn wake(&self);
}

/// How a shard waits and receives. Inputs are the shard's datagram sockets, in the order of [`sources`].
pub(super) trait Kernel: Send {
    /// Begins, on the thread that serves
    fn start(&mut self, sockets: &Sockets) -> io::Result<()>;

    /// Waits until something happens or the time is over, and takes in what the kernel says: of connections to `streams`,
    /// of the others here
    fn wait(&mut self, timeout: Option<Duration>, streams: &mut Streams) -> io::Result<()>;

    /// Whether an input may have something
    fn is_ready(&self, input: usize) -> bool;

    /// Whether from here on an input ends the wait when it has something. One that does not is received from when the driver
    /// chooses, and is [`Kernel::is_ready`] only while a batch left something behind. False: this way of waiting cannot.
    fn listen(&mut self, input: usize, listens: bool, sockets: &Sockets) -> bool;

    /// Takes the next datagrams of an input, up to a batch, in place of those taken before; never waits
    fn receive(&mut self, input: usize, sockets: &Sockets) -> usize;

    /// One of those taken
    fn received(&self, index: usize) -> Received<'_>;

    /// Whether connections may wait to be accepted
    fn accepts(&self) -> bool;

    /// Takes the next connection. [`io::ErrorKind::WouldBlock`]: there is none, and [`Kernel::wait`] tells when there is.
    fn accept(&mut self, sockets: &Sockets) -> io::Result<(TcpStream, SocketAddr)>;

    /// Tells from here on what happens to a connection
    fn watch(&mut self, id: ConnectionId, socket: &mut TcpStream) -> io::Result<()>;

    /// A connection that was watched is closed
    fn forget(&mut self, id: ConnectionId);

    /// The listener is about to be closed
    fn stop_accepting(&mut self);
}

/// The datagram sockets of a shard
pub(super) fn sources(sockets: &Sockets) -> impl Iterator<Item = Source> {
    let udp = [
        Some(Port::Tftp),
        sockets.transfers.as_ref().map(|_| Port::Transfer),
        sockets.boot_server.as_ref().map(|_| Port::BootServer),
    ];
    let links = sockets.links.iter().enumerate().filter(|(_, link)| link.is_some());
    let links = links.flat_map(|(network, _)| [Source::Dhcp(network), Source::Arp(network)]);
    udp.into_iter().flatten().map(Source::Udp).chain(links)
}

/// The socket of a source
pub(super) fn descriptor(sockets: &Sockets, source: Source) -> Option<BorrowedFd<'_>> {
    match source {
        Source::Udp(Port::Tftp) => sockets.by(Way::Tftp),
        Source::Udp(Port::Transfer) => sockets.by(Way::Transfer),
        Source::Udp(Port::BootServer) => sockets.by(Way::BootServer),
        Source::Udp(Port::Dhcp) => None,
        Source::Dhcp(network) => sockets.link(network).map(|link| link.dhcp.as_fd()),
        Source::Arp(network) => sockets.link(network).map(|link| link.arp.as_fd()),
    }
}
