//! Sockets, with every option set before they are bound, and why one could not be opened in words for an operator.
//!
//! Never reads or writes one: that is the driver's. Transfers use one socket a shard, not one a transfer; TFTP's port and
//! HTTP's are shared by the shards through SO_REUSEPORT, which the kernel spreads by address and port of both sides, so
//! that a repeated RRQ comes to the shard that got the first.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::occupant;
use super::sys::option;
use crate::limits::{ACCEPT_BACKLOG, SOCKET_BUFFER_BYTES};

/// DHCP's server port (RFC 2131 §4.1)
pub const DHCP_PORT: u16 = 67;
/// The PXE boot server's port (PXE 2.1 §2.2)
pub const BOOT_SERVER_PORT: u16 = 4011;

/// What a socket is for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Frames of DHCP and ARP on one interface
    Frames,
    /// DHCP replies that the kernel routes
    RoutedReplies,
    /// UDP 67, so that no other DHCP server of this host takes it
    DhcpClaim,
    /// UDP 4011
    BootServer,
    /// UDP 69
    Tftp,
    /// TFTP transfers
    Transfers,
    /// TCP 80
    Http,
}

/// A socket that could not be opened. Its text says what to do.
#[derive(Debug)]
pub struct OpenError {
    service: Service,
    place: Place,
    call: &'static str,
    occupant: Option<String>,
    error: io::Error,
}

/// Where a socket was to be
#[derive(Debug)]
enum Place {
    Address(SocketAddrV4),
    Interface(String),
}

impl OpenError {
    fn at(service: Service, address: SocketAddrV4) -> impl Fn(&'static str, io::Error) -> Self {
        move |call, error| {
            let kind = if service == Service::Http { occupant::Kind::Tcp } else { occupant::Kind::Udp };
            let is_taken = error.kind() == io::ErrorKind::AddrInUse;
            let occupant = is_taken.then(|| occupant::of(kind, address.port())).flatten();
            Self { service, place: Place::Address(address), call, occupant, error }
        }
    }

    pub(super) fn on(service: Service, interface: &str) -> impl Fn(&'static str, io::Error) -> Self {
        move |call, error| {
            let is_taken = error.kind() == io::ErrorKind::AddrInUse;
            let occupant = is_taken.then(|| occupant::of(occupant::Kind::Udp, DHCP_PORT)).flatten();
            Self { service, place: Place::Interface(interface.to_owned()), call, occupant, error }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        let who = self.occupant.as_deref();
        match (self.error.raw_os_error(), self.service) {
            (Some(libc::EADDRINUSE), Service::DhcpClaim) => {
                let who = who.unwrap_or("a program of another network namespace or user");
                write!(
                    f,
                    "another DHCP server holds UDP port 67 on {place}: {who}. \
                     Stop it, or let it give the addresses and run reveille beside it with --proxy (dhcp = \"proxy\")"
                )
            }
            (Some(libc::EADDRINUSE), service) => {
                let who = who.unwrap_or("another program");
                let way_out = match service {
                    Service::Tftp => ", or choose another port with --tftp-port (clients ask on 69)",
                    Service::Http => ", or choose another port with --http-port",
                    _ => "",
                };
                write!(f, "{} {place} is taken by {who}: stop it{way_out}", service.protocol())
            }
            (Some(libc::EACCES | libc::EPERM), service) => {
                let what = service.protocol();
                let place =
                    if service == Service::RoutedReplies { String::new() } else { format!(" {place}") };
                write!(
                    f,
                    "no permission for {what}{place}: run as root, or give the program its capabilities once with \
                     `setcap cap_net_raw,cap_net_bind_service,cap_net_admin+ep /path/to/reveille`"
                )
            }
            (Some(libc::ENODEV | libc::ENXIO), _) => {
                write!(f, "there is no network interface {place}: `ip -brief link` lists those of this host")
            }
            (Some(libc::EADDRNOTAVAIL), _) => write!(
                f,
                "{place} is not an address of this host: --listen takes one of those that `ip -brief -4 address` lists"
            ),
            (_, service) => {
                write!(f, "cannot open {} {place} ({}): {}", service.protocol(), self.call, self.error)
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) if address.ip().is_unspecified() => write!(f, "port {}", address.port()),
            Self::Address(address) => write!(f, "port {} of {}", address.port(), address.ip()),
            Self::Interface(name) => f.write_str(name),
        }
    }
}

impl Service {
    fn protocol(self) -> &'static str {
        match self {
            Self::Frames => "a packet socket on",
            Self::RoutedReplies => "a raw IPv4 socket",
            Self::DhcpClaim => "DHCP's UDP port 67 on",
            Self::BootServer => "the boot server's UDP",
            Self::Tftp => "TFTP's UDP",
            Self::Transfers => "TFTP transfers' UDP",
            Self::Http => "HTTP's TCP",
        }
    }
}

/// Makes room for a storm: a rack that is switched on sends thousands of datagrams before the first is read. The limit of
/// the system (`net.core.rmem_max`) is passed where the privilege allows it.
pub(super) fn enlarge_buffers(socket: &Socket) {
    let bytes = libc::c_int::try_from(SOCKET_BUFFER_BYTES).expect("a few MiB");
    let force = |name| option::set(socket.as_fd(), libc::SOL_SOCKET, name, bytes);
    // A smaller buffer is no reason not to serve.
    if force(libc::SO_RCVBUFFORCE).is_err() {
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    }
    if force(libc::SO_SNDBUFFORCE).is_err() {
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    }
}

fn datagram_socket() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))
}

/// A UDP socket that tells where datagrams were sent to, and lets large ones be fragmented
fn bound_udp(service: Service, address: SocketAddrV4, shared: bool) -> Result<Socket, OpenError> {
    let failed = OpenError::at(service, address);
    let socket = datagram_socket().map_err(|e| failed("socket", e))?;
    let set = |level, name, value| option::set(socket.as_fd(), level, name, value);
    set(libc::IPPROTO_IP, libc::IP_PKTINFO, 1).map_err(|e| failed("IP_PKTINFO", e))?;
    // A block longer than the path's MTU is fragmented, as the client asked for by its blksize, instead of refused.
    set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)
        .map_err(|e| failed("IP_MTU_DISCOVER", e))?;
    socket.set_broadcast(true).map_err(|e| failed("SO_BROADCAST", e))?;
    if shared {
        socket.set_reuse_port(true).map_err(|e| failed("SO_REUSEPORT", e))?;
    }
    enlarge_buffers(&socket);
    socket.bind(&address.into()).map_err(|e| failed("bind", e))?;
    Ok(socket)
}

/// TFTP's port, once a shard
///
/// # Errors
/// Where the port is taken, even by another program that shares its ports: half the requests would be its.
pub fn tftp(address: SocketAddrV4, shards: usize) -> Result<Vec<Socket>, OpenError> {
    drop(bound_udp(Service::Tftp, address, false)?);
    (0..shards).map(|_| bound_udp(Service::Tftp, address, true)).collect()
}

/// A socket for the transfers of one shard, on a port of the kernel's choice (RFC 1350 §4: the transfer identifier)
///
/// # Errors
/// Where the address is not this host's.
pub fn transfers(address: Ipv4Addr) -> Result<Socket, OpenError> {
    bound_udp(Service::Transfers, SocketAddrV4::new(address, 0), false)
}

/// The boot server's port
///
/// # Errors
/// Where it is taken.
pub fn boot_server(address: Ipv4Addr) -> Result<Socket, OpenError> {
    bound_udp(Service::BootServer, SocketAddrV4::new(address, BOOT_SERVER_PORT), false)
}

/// HTTP's port, once a shard
///
/// # Errors
/// Where the port is taken, even by another program that shares its ports.
pub fn http(address: SocketAddrV4, shards: usize) -> Result<Vec<mio::net::TcpListener>, OpenError> {
    let failed = OpenError::at(Service::Http, address);
    let open = |shared: bool| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))
            .map_err(|e| failed("socket", e))?;
        // Connections of a server that just ended linger in TIME_WAIT; they do not hold the port.
        socket.set_reuse_address(true).map_err(|e| failed("SO_REUSEADDR", e))?;
        if shared {
            socket.set_reuse_port(true).map_err(|e| failed("SO_REUSEPORT", e))?;
        }
        // Accepted connections inherit it: a response's last segment does not wait for an acknowledgement.
        socket.set_tcp_nodelay(true).map_err(|e| failed("TCP_NODELAY", e))?;
        // A connection is accepted with its first bytes, or after a second without any: a wake-up less. Without it all is the same.
        let _ = option::set(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 1);
        socket.bind(&address.into()).map_err(|e| failed("bind", e))?;
        Ok(socket)
    };
    drop(open(false)?);
    let sockets = (0..shards).map(|_| open(true)).collect::<Result<Vec<_>, _>>()?;
    sockets
        .into_iter()
        .map(|socket| {
            socket.listen(ACCEPT_BACKLOG).map_err(|e| failed("listen", e))?;
            Ok(mio::net::TcpListener::from_std(socket.into()))
        })
        .collect()
}

/// A socket for DHCP replies that the kernel routes: to a relay, or to a client that has its address. They leave from
/// port 67 without holding it.
///
/// # Errors
/// Without CAP_NET_RAW.
pub fn routed_replies() -> Result<Socket, OpenError> {
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, DHCP_PORT);
    let failed = OpenError::at(Service::RoutedReplies, any);
    let raw = Some(Protocol::from(libc::IPPROTO_RAW));
    let socket =
        Socket::new(Domain::IPV4, Type::RAW.nonblocking().cloexec(), raw).map_err(|e| failed("socket", e))?;
    // An IPPROTO_RAW socket sends whole packets (raw(7)) and receives none.
    enlarge_buffers(&socket);
    Ok(socket)
}

/// Holds UDP 67 of an interface without reading it: tells of another DHCP server on this host before both answer, and keeps
/// the kernel from telling relays that nobody listens. Requests themselves come by the packet socket.
///
/// # Errors
/// Where another program has the port, or the interface does not exist.
pub fn claim_dhcp(interface: &str) -> Result<Socket, OpenError> {
    let failed = OpenError::on(Service::DhcpClaim, interface);
    let socket = datagram_socket().map_err(|e| failed("socket", e))?;
    let nothing = [SockFilter::new(RETURN, 0, 0, 0)];
    socket.attach_filter(&nothing).map_err(|e| failed("SO_ATTACH_FILTER", e))?;
    socket.bind_device(Some(interface.as_bytes())).map_err(|e| failed("SO_BINDTODEVICE", e))?;
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, DHCP_PORT);
    socket.bind(&any.into()).map_err(|e| failed("bind", e))?;
    Ok(socket)
}

/// The instruction of a packet filter that ends it: how many bytes are kept
pub(super) const RETURN: u16 = 0x06;

#[cfg(test)]
mod tests {
    use super::*;

    fn free_port() -> u16 {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.local_addr().expect("its address").port()
    }

    #[test]
    fn shards_share_a_port_and_others_are_told_who_has_it() {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, free_port());
        let shards = tftp(address, 2).expect("two sockets of one port");
        assert_eq!(shards.len(), 2);
        let text = tftp(address, 1).expect_err("the port is taken").to_string();
        assert!(
            text.starts_with(&format!("TFTP's UDP port {} of 127.0.0.1 is taken by ", address.port())),
            "{text}"
        );
        assert!(text.contains(&format!("(pid {})", std::process::id())), "{text}");
        assert!(text.contains("--tftp-port"), "{text}");

        let listeners = http(address, 2).expect("two listeners of one port");
        let text = http(address, 1).expect_err("the port is taken").to_string();
        assert!(text.contains("--http-port") && text.contains("HTTP's TCP port"), "{text}");
        drop(listeners);
        http(address, 1).expect("a port that is free again");
    }

    #[test]
    fn a_foreign_address_is_named() {
        let text = transfers(Ipv4Addr::new(192, 0, 2, 77)).expect_err("a documentation address").to_string();
        assert!(text.contains("192.0.2.77 is not an address of this host"), "{text}");
    }

    #[test]
    fn no_permission_names_the_capabilities() {
        let text =
            OpenError::on(Service::Frames, "eth0")("socket", io::Error::from_raw_os_error(libc::EPERM));
        assert!(text.to_string().contains("setcap cap_net_raw"), "{text}");
        let text =
            OpenError::on(Service::DhcpClaim, "eth0")("bind", io::Error::from_raw_os_error(libc::EADDRINUSE));
        assert!(text.to_string().contains("--proxy"), "{text}");
        let text = OpenError::on(Service::Frames, "eth9")("bind", io::Error::from_raw_os_error(libc::ENODEV));
        assert_eq!(
            text.to_string(),
            "there is no network interface eth9: `ip -brief link` lists those of this host"
        );
    }
}
