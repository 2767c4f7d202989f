//! The packet sockets of one interface: DHCP requests and ARP replies as frames, and the frames that answer them.
//!
//! A client without an address can be reached by a frame only (RFC 2131 §4.1), and a packet socket receives beside any
//! other DHCP server of the host. What is not DHCP for this host is refused by a filter in the kernel, so that a busy file
//! server pays a few instructions a packet. Each protocol has its own socket: one for all ethertypes would see every packet
//! sent, too.

use std::os::fd::AsFd;

use socket2::{Domain, SockFilter, Socket, Type};

use super::socket::{self, DHCP_PORT, OpenError, RETURN, Service};
use super::sys::option;
use crate::wire::ethernet::{self, MacAddr};

/// One interface
#[derive(Debug)]
pub struct Link {
    pub(super) mac: MacAddr,
    pub(super) dhcp: Socket,
    pub(super) arp: Socket,
    /// Held, never read: see [`socket::claim_dhcp`]
    _claim: Option<Socket>,
}

impl Link {
    /// Opens the sockets of an interface. With `claims`, UDP 67 is held as well: where reveille is the DHCP server.
    ///
    /// # Errors
    /// No such interface, no permission, or another DHCP server on this host.
    pub fn open(name: &str, mac: MacAddr, claims: bool) -> Result<Self, OpenError> {
        let interface = index(name)?;
        let claim = claims.then(|| socket::claim_dhcp(name)).transpose()?;
        let dhcp = frames(name, interface, ethernet::IPV4, &DHCP_REQUESTS)?;
        let arp = frames(name, interface, ethernet::ARP, &ARP_REPLIES)?;
        Ok(Self { mac, dhcp, arp, _claim: claim })
    }
}

/// The index of an interface
///
/// # Errors
/// Where there is none of that name.
pub fn index(name: &str) -> Result<u32, OpenError> {
    option::interface_index(name)
        .map_err(|error| OpenError::on(Service::Frames, name)("if_nametoindex", error))
}

fn frames(name: &str, interface: u32, ethertype: u16, filter: &[SockFilter]) -> Result<Socket, OpenError> {
    let failed = OpenError::on(Service::Frames, name);
    // Protocol 0 receives nothing: no frame comes before the filter stands and the interface is chosen.
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)
        .map_err(|e| failed("socket", e))?;
    socket.attach_filter(filter).map_err(|e| failed("SO_ATTACH_FILTER", e))?;
    let set = |name| option::set(socket.as_fd(), libc::SOL_PACKET, name, 1);
    set(libc::PACKET_AUXDATA).map_err(|e| failed("PACKET_AUXDATA", e))?;
    // Frames sent by this host are no requests to it. Kernels before 4.20 lack the option; the filter refuses them as well.
    let _ = set(libc::PACKET_IGNORE_OUTGOING);
    socket::enlarge_buffers(&socket);
    option::bind_packet(socket.as_fd(), interface, ethertype).map_err(|e| failed("bind", e))?;
    Ok(socket)
}

// Classic BPF (Linux: Documentation/networking/filter.rst): absolute and indexed loads, jumps by counts of instructions.
pub(super) const LOAD_U8: u16 = 0x30;
pub(super) const LOAD_U16: u16 = 0x28;
const LOAD_U16_INDEXED: u16 = 0x48;
/// X = 4 × the lower half of a byte: the length of an IPv4 header
const LOAD_IPV4_LEN: u16 = 0xb1;
pub(super) const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_ANY_BIT: u16 = 0x45;
/// SKF_AD_OFF + SKF_AD_PKTTYPE: to whom the frame was sent
const PACKET_TYPE: u32 = 0xffff_f004;
/// PACKET_HOST, PACKET_BROADCAST and PACKET_MULTICAST are not above it; PACKET_OTHERHOST (seen on a promiscuous
/// interface) and PACKET_OUTGOING are
const PACKET_FOR_US_MAX: u32 = libc::PACKET_MULTICAST as u32;
const KEEP_ALL: u32 = 0xffff;

pub(super) const fn op(code: u16, if_true: u8, if_false: u8, value: u32) -> SockFilter {
    SockFilter::new(code, if_true, if_false, value)
}

/// Whole IPv4 datagrams to UDP port 67, sent to this host
const DHCP_REQUESTS: [SockFilter; 13] = [
    op(LOAD_U8, 0, 0, PACKET_TYPE),
    op(IF_GREATER, 10, 0, PACKET_FOR_US_MAX),
    op(LOAD_U16, 0, 0, 12),
    op(IF_EQUAL, 0, 8, ethernet::IPV4 as u32),
    op(LOAD_U8, 0, 0, 14 + 9),
    op(IF_EQUAL, 0, 6, libc::IPPROTO_UDP as u32),
    // More fragments, or an offset.
    op(LOAD_U16, 0, 0, 14 + 6),
    op(IF_ANY_BIT, 4, 0, 0x3fff),
    op(LOAD_IPV4_LEN, 0, 0, 14),
    op(LOAD_U16_INDEXED, 0, 0, 14 + 2),
    op(IF_EQUAL, 0, 1, DHCP_PORT as u32),
    op(RETURN, 0, 0, KEEP_ALL),
    op(RETURN, 0, 0, 0),
];

/// ARP replies sent to this host: who answers a probe has the address
const ARP_REPLIES: [SockFilter; 6] = [
    op(LOAD_U8, 0, 0, PACKET_TYPE),
    op(IF_GREATER, 3, 0, PACKET_FOR_US_MAX),
    op(LOAD_U16, 0, 0, 14 + 6),
    op(IF_EQUAL, 0, 1, 2),
    op(RETURN, 0, 0, KEEP_ALL),
    op(RETURN, 0, 0, 0),
];

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;
    use crate::io::sys::message::{From, Message, ReceiveBatch, SendBatch, To};
    use crate::wire::arp;
    use crate::wire::frame::{self, Udp4};

    /// The loopback interface's sockets, where this user may open them
    fn loopback() -> Option<Link> {
        match Link::open("lo", MacAddr::ZERO, false) {
            Ok(link) => Some(link),
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "skipped in CI: {error}");
                println!("skipped: {error}");
                None
            }
        }
    }

    /// What comes in within a second whose payload ends with `mark`
    fn frames_with(socket: &Socket, mark: &[u8]) -> Vec<Vec<u8>> {
        let mut batch = ReceiveBatch::new(2048);
        let mut found = Vec::new();
        for _ in 0..100 {
            let received = batch.receive(socket.as_fd()).unwrap_or(0);
            for received in (0..received).map(|index| batch.get(index)) {
                let From::Link { interface, raw_checksum, is_tagged } = received.from else {
                    panic!("{received:?}")
                };
                assert_eq!(interface, option::interface_index("lo").expect("its index"));
                assert!(!is_tagged && !received.is_cut);
                if received.bytes.ends_with(mark) {
                    assert!(!raw_checksum, "the sender left it to the hardware, which loopback has not");
                    found.push(received.bytes.to_vec());
                }
            }
            if !found.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        found
    }

    #[test]
    fn requests_come_once_and_other_ports_never() {
        let Some(link) = loopback() else { return };
        let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
        client.send_to(b"to another port: mark-a", "127.0.0.1:68").expect("a send");
        client.send_to(b"a request: mark-a", "127.0.0.1:67").expect("a send");
        let found = frames_with(&link.dhcp, b"mark-a");
        assert_eq!(found.len(), 1, "once, as it comes in, and not as it goes out");
        let datagram = frame::parse_udp4(&found[0]).expect("a UDP datagram");
        assert_eq!(datagram.payload, b"a request: mark-a");
        assert_eq!(datagram.destination.port(), 67);
    }

    #[test]
    fn frames_leave_as_they_are() {
        let Some(link) = loopback() else { return };
        let mut send = SendBatch::new();
        let udp = Udp4 {
            source_mac: MacAddr::ZERO,
            destination_mac: MacAddr::BROADCAST,
            source: "127.0.0.1:67".parse().expect("an address"),
            destination: "255.255.255.255:67".parse().expect("an address"),
        };
        let headers = udp.headers(b"a reply: mark-b").expect("it fits");
        let to = To::Link {
            interface: index("lo").expect("its index"),
            ethertype: ethernet::IPV4,
            mac: MacAddr::BROADCAST.0,
        };
        let message = Message { parts: [&headers[..], b"a reply: mark-b"], to, leave: None, segment: None };
        assert_eq!(send.send(link.dhcp.as_fd(), [message].into_iter()).expect("a send"), 1);
        let mut batch = ReceiveBatch::new(2048);
        let other = Link::open("lo", MacAddr::ZERO, false).expect("a second one");
        assert_eq!(send.send(link.dhcp.as_fd(), [message].into_iter()).expect("a send"), 1);
        std::thread::sleep(Duration::from_millis(50));
        let received = batch.receive(other.dhcp.as_fd()).expect("the frame");
        assert!(
            (0..received).any(|index| batch.get(index).bytes == [&headers[..], b"a reply: mark-b"].concat())
        );
    }

    #[test]
    fn arp_replies_come_and_requests_do_not() {
        let Some(link) = loopback() else { return };
        let mut send = SendBatch::new();
        let to = To::Link {
            interface: index("lo").expect("its index"),
            ethertype: ethernet::ARP,
            mac: MacAddr::BROADCAST.0,
        };
        let address = "192.0.2.9".parse().expect("an address");
        let probe = arp::Packet::probe(MacAddr([2, 0, 0, 0, 0, 9]), address);
        let reply = arp::Packet { operation: arp::Operation::Reply, sender_ip: address, ..probe };
        let mut frame = [0; arp::FRAME_LEN];
        for packet in [probe, reply] {
            let len = packet.emit(&mut frame).expect("it fits");
            let message = Message { parts: [&frame[..len], b""], to, leave: None, segment: None };
            assert_eq!(send.send(link.arp.as_fd(), [message].into_iter()).expect("a send"), 1);
        }
        std::thread::sleep(Duration::from_millis(50));
        let mut batch = ReceiveBatch::new(2048);
        let received = batch.receive(link.arp.as_fd()).expect("the reply");
        let packets: Vec<_> = (0..received)
            .filter_map(|index| arp::Packet::parse(&batch.get(index).bytes[14..]).ok())
            .filter(|packet| packet.sender_mac == probe.sender_mac)
            .collect();
        assert_eq!(packets, [reply]);
    }

    #[test]
    fn only_one_dhcp_server_holds_an_interface() {
        let Some(_) = loopback() else { return };
        match Link::open("lo", MacAddr::ZERO, true) {
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "skipped in CI: {error}");
                println!("skipped: {error}");
            }
            Ok(_held) => {
                let text = socket::claim_dhcp("lo").expect_err("it is held").to_string();
                assert!(text.contains("another DHCP server holds UDP port 67 on lo"), "{text}");
                let text =
                    Link::open("no-such-if0", MacAddr::ZERO, true).expect_err("no interface").to_string();
                assert!(text.starts_with("there is no network interface no-such-if0"), "{text}");
            }
        }
    }
}
