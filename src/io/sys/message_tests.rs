//! Batches over loopback.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::Duration;

use super::*;
use crate::io::sys::option;

fn socket() -> (UdpSocket, SocketAddrV4) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
    option::set(socket.as_fd(), libc::IPPROTO_IP, libc::IP_PKTINFO, 1).expect("IP_PKTINFO");
    let std::net::SocketAddr::V4(address) = socket.local_addr().expect("its address") else {
        panic!("not IPv4")
    };
    (socket, address)
}

fn message<'a>(head: &'a [u8], rest: &'a [u8], to: SocketAddrV4) -> Message<[&'a [u8]; 2]> {
    Message { parts: [head, rest], to: To::Udp(to), leave: None, segment: None }
}

#[test]
fn a_batch_arrives_in_order_and_says_where_from_and_to() {
    let (server, server_address) = socket();
    let (client, client_address) = socket();
    let mut send = SendBatch::new();
    let texts: Vec<Vec<u8>> = (0..BATCH + 3).map(|i| vec![(i % 251) as u8; i]).collect();
    let messages = texts.iter().map(|text| message(b"> ", text, server_address));
    assert_eq!(send.send(client.as_fd(), messages).expect("a send"), BATCH, "no more than a batch");

    let mut batch = ReceiveBatch::new(32);
    assert_eq!(batch.receive(server.as_fd()).expect("a batch"), BATCH);
    let loopback = option::interface_index("lo").expect("its index");
    for index in 0..BATCH {
        let received = batch.get(index);
        let destination = Ipv4Addr::LOCALHOST;
        assert_eq!(received.from, From::Udp { source: client_address, destination, interface: loopback });
        assert_eq!(&received.bytes[..2], b"> ");
        assert_eq!(received.is_cut, index + 2 > 32);
        assert_eq!(received.bytes[2..], texts[index][..index.min(30)]);
    }
    assert_eq!(batch.receive(server.as_fd()).expect_err("nothing left").kind(), io::ErrorKind::WouldBlock);
    client.send_to(b"again", server_address).expect("a send");
    assert_eq!(batch.receive(server.as_fd()).expect("one more"), 1, "rooms are used again");
    assert_eq!(batch.get(0).bytes, b"again");
    assert!(!batch.get(0).is_cut);
}

#[test]
fn a_window_is_one_send_from_the_address_asked_for() {
    let (server, _) = socket();
    let any = UdpSocket::bind("0.0.0.0:0").expect("a port");
    let (client, client_address) = socket();
    drop(server);
    let mut send = SendBatch::new();
    let window: Vec<u8> = (0..4 * 1472 - 100).map(|i: usize| (i / 1472) as u8).collect();
    let leave = Leave { interface: 0, source: Some(Ipv4Addr::new(127, 0, 0, 7)) };
    let whole = Message { leave: Some(leave), segment: Some(1472), ..message(&window, b"", client_address) };
    assert_eq!(send.send(any.as_fd(), [whole].into_iter()).expect("a segmented send"), 1);
    let only_segment = Message { segment: Some(1000), ..message(&window[..1500], b"", client_address) };
    assert_eq!(send.send(any.as_fd(), [only_segment].into_iter()).expect("a segmented send"), 1);

    let mut got = [0; 2000];
    for (index, len) in [1472, 1472, 1472, 1372].into_iter().enumerate() {
        let (received, from) = client.recv_from(&mut got).expect("a datagram");
        assert_eq!((received, from.ip()), (len, Ipv4Addr::new(127, 0, 0, 7).into()));
        assert!(got[..len].iter().all(|&byte| usize::from(byte) == index));
    }
    assert_eq!(client.recv(&mut got).expect("a datagram"), 1000);
    assert_eq!(client.recv(&mut got).expect("a datagram"), 500);
}

#[test]
fn a_refused_message_stops_the_batch_and_tells_why_when_it_is_first() {
    let (any, to) = socket();
    let mut send = SendBatch::new();
    let too_long = vec![0; 65_508];
    let messages = [message(b"1", b"", to), message(&too_long, b"", to), message(b"3", b"", to)];
    assert_eq!(send.send(any.as_fd(), messages.into_iter()).expect("the first"), 1);
    let refused = send.send(any.as_fd(), messages.into_iter().skip(1)).expect_err("too long");
    assert_eq!(refused.raw_os_error(), Some(libc::EMSGSIZE));
    assert_eq!(send.send(any.as_fd(), messages.into_iter().skip(2)).expect("the last"), 1);
}

#[test]
fn controls_that_make_no_sense_are_no_controls() {
    let mut bytes = [0; 48];
    assert!(control::<PacketInfo>(&bytes, 0, 8).is_none(), "a length below the header's");
    bytes[..8].copy_from_slice(&usize::MAX.to_ne_bytes());
    assert!(control::<PacketInfo>(&bytes, 0, 8).is_none(), "a length beyond the end");
    assert!(control::<PacketInfo>(&[], 0, 8).is_none());
}
