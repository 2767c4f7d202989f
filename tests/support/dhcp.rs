//! A DHCP client for tests, on dhcproto: never the server's own codec.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use dhcproto::v4::{self, DhcpOption, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

/// A socket on `interface`, port `port`, that may broadcast
pub fn socket(interface: &str, port: u16) -> UdpSocket {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).expect("a socket");
    socket.set_broadcast(true).expect("broadcast");
    socket.set_reuse_address(true).expect("reuse");
    socket.bind_device(Some(interface.as_bytes())).expect("root may bind to a device");
    socket.set_recv_buffer_size(4 << 20).expect("a buffer");
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into()).expect("a free port");
    socket.into()
}

/// The broadcast address with a server's port
pub fn everyone(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::BROADCAST, port)
}

/// A request of `kind` from the machine with number `machine`, with the broadcast flag set
pub fn request(machine: u32, kind: MessageType, options: &[DhcpOption]) -> Message {
    let [a, b, c, d] = machine.to_be_bytes();
    let mac = [2, 0x77, a, b, c, d];
    let any = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(0x7700_0000 ^ machine, any, any, any, any, &mac);
    message.set_flags(v4::Flags::default().set_broadcast());
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    let wanted =
        [OptionCode::SubnetMask, OptionCode::Router, OptionCode::BootfileName, OptionCode::TFTPServerName];
    message.opts_mut().insert(DhcpOption::ParameterRequestList(wanted.to_vec()));
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    message
}

/// The options of a PXE ROM of architecture 7
pub fn pxe_rom() -> Vec<DhcpOption> {
    vec![
        DhcpOption::ClassIdentifier(b"PXEClient:Arch:00007:UNDI:003010".to_vec()),
        DhcpOption::ClientSystemArchitecture(v4::Architecture::BC),
        DhcpOption::ClientNetworkInterface(1, 3, 16),
    ]
}

pub fn bytes(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).expect("an encodable message");
    bytes
}

/// The message type of a reply
pub fn kind(message: &Message) -> MessageType {
    message.opts().msg_type().expect("a DHCP reply")
}

/// The server that a reply names (option 54)
pub fn server_id(message: &Message) -> Ipv4Addr {
    match message.opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(address)) => *address,
        other => panic!("a reply names its server: {other:?}"),
    }
}

/// The number of the machine that a reply is for
pub fn machine(message: &Message) -> u32 {
    let chaddr = message.chaddr();
    u32::from_be_bytes([chaddr[2], chaddr[3], chaddr[4], chaddr[5]])
}

/// Every reply that arrives within `patience` of the last one, until `enough` says so
pub fn collect(
    socket: &UdpSocket,
    patience: Duration,
    mut enough: impl FnMut(&[(Message, SocketAddr)]) -> bool,
) -> Vec<(Message, SocketAddr)> {
    let (mut replies, mut buffer, mut last) = (Vec::new(), [0; 2048], Instant::now());
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
    while last.elapsed() < patience && !enough(&replies) {
        match socket.recv_from(&mut buffer) {
            Ok((len, from)) => {
                let message =
                    Message::decode(&mut Decoder::new(&buffer[..len])).expect("a reply that dhcproto reads");
                replies.push((message, from));
                last = Instant::now();
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(e) => panic!("receive: {e}"),
        }
    }
    replies
}
