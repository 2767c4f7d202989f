//! A ring by itself: buffers that run out, connections that are let go.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream, UdpSocket};

use super::*;

/// A ring that is this thread's, or nothing where the system has none
fn ring() -> Option<Ring> {
    ring_with(RING_COMPLETIONS)
}

/// The same with room for so many completions
fn ring_with(completions: u32) -> Option<Ring> {
    let ring = match Ring::with_room(completions.min(RING_ENTRIES), completions, 1, 512) {
        Ok(ring) => ring,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "skipped in CI: {error}");
            eprintln!("skipped: {error}");
            return None;
        }
    };
    ring.enable().expect("the thread's own");
    Some(ring)
}

fn wait(ring: &mut Ring) -> Vec<Completion> {
    ring.wait(Some(Duration::from_millis(200))).expect("a wait");
    std::iter::from_fn(|| ring.poll_completion()).collect()
}

#[test]
fn operations_are_told_apart() {
    for operation in
        [Operation::Receive(0), Operation::Receive(9), Operation::Accept, Operation::Poll(NUMBERS - 1)]
    {
        assert_eq!(Operation::from_user_data(operation.to_user_data()), operation);
    }
}

#[test]
fn more_datagrams_than_buffers_wait_in_the_socket_and_come_in_order() {
    if let Some(ring) = ring() {
        receive_more_than_fits(ring);
    }
}

#[test]
fn more_datagrams_than_completions_wait_and_come_in_order() {
    if let Some(ring) = ring_with(32) {
        receive_more_than_fits(ring);
    }
}

fn receive_more_than_fits(mut ring: Ring) {
    let (receiver, sender) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
    let (receiver, sender) = (receiver.expect("a port"), sender.expect("a port"));
    // The usual one has room for about as many as there are buffers.
    socket2::SockRef::from(&receiver).set_recv_buffer_size(1 << 20).expect("more room in the socket");
    let to = receiver.local_addr().expect("its address");
    ring.receive(receiver.as_raw_fd(), 0).expect("room in the ring");
    assert!(wait(&mut ring).is_empty(), "nothing was sent");
    let mut next = 0;
    for round in 0..3u32 {
        let count = u32::from(RING_BUFFERS) + 20;
        for i in 0..count {
            sender.send_to(&(round * count + i).to_be_bytes(), to).expect("a send");
        }
        let (mut has_run_out, mut held) = (false, Vec::new());
        while next < (round + 1) * count {
            let completions = wait(&mut ring);
            assert!(!completions.is_empty(), "{next} came and no more");
            for completion in &completions {
                has_run_out |= !completion.more;
                let (Ok(len), Some(buffer)) = (&completion.result, completion.buffer) else { continue };
                let received = ring.received(0, buffer, *len);
                assert_eq!((received.bytes, received.is_cut), (&next.to_be_bytes()[..], false));
                next += 1;
                held.push(buffer);
            }
            if completions.iter().any(|completion| !completion.more) {
                held.drain(..).for_each(|buffer| ring.give_back(0, buffer));
                ring.receive(receiver.as_raw_fd(), 0).expect("room in the ring");
            }
        }
        held.drain(..).for_each(|buffer| ring.give_back(0, buffer));
        assert!(has_run_out, "the kernel had no buffer, or no room to tell, and said so");
    }
}

#[test]
fn a_cancelled_poll_lets_go_of_its_connection() {
    let Some(mut ring) = ring() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    ring.accept(listener.as_raw_fd()).expect("room in the ring");
    for number in 0..20 {
        let mut client = TcpStream::connect(address).expect("a connection");
        let accepted = wait(&mut ring).into_iter().find_map(|completion| completion.accepted);
        let accepted = accepted.expect("the other end");
        ring.poll(accepted.as_raw_fd(), libc::POLLOUT, number).expect("room in the ring");
        let polled = wait(&mut ring);
        assert!(polled.iter().any(|completion| completion.operation == Operation::Poll(number)));
        drop(accepted);
        ring.cancel(Operation::Poll(number)).expect("room in the ring");
        wait(&mut ring);
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
        let end = std::io::Read::read(&mut client, &mut [0; 1]).expect("the end");
        assert_eq!((end, ring.in_flight), (0, 1), "closed, and only the accept goes on");
    }
}

/// Both ends of so many connections
fn connections(count: usize) -> Vec<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let pair = |_| {
        let client = TcpStream::connect(address).expect("a connection");
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
        (client, listener.accept().expect("the other end").0)
    };
    (0..count).map(pair).collect()
}

#[test]
fn no_completion_is_lost_where_there_is_no_room_for_it() {
    // Twice: the completions of reads find no room, and those of a whole batch of sends behind them.
    let Some(mut ring) = ring_with(BATCH as u32) else { return };
    let mut pairs = connections(3 * BATCH);
    for round in 0..2u8 {
        for (number, (_, server)) in pairs.iter().enumerate() {
            ring.read(server.as_raw_fd(), number as u64, true).expect("room in the ring");
        }
        assert!(wait(&mut ring).is_empty(), "nothing was sent");
        for (client, _) in &mut pairs {
            client.write_all(&[round; 10]).expect("a request");
        }
        let answer =
            pairs.iter().take(BATCH).map(|(_, server)| (server.as_raw_fd(), [&b"ans"[..], &b"wer"[..]]));
        ring.send(answer).expect("sends are over when the call is");
        assert!((0..BATCH).all(|index| ring.sent(index).expect("room in the socket") == 6));
        for (client, _) in pairs.iter_mut().take(BATCH) {
            let mut got = [0; 6];
            std::io::Read::read_exact(client, &mut got).expect("an answer");
            assert_eq!(&got, b"answer");
        }
        let mut read = vec![false; pairs.len()];
        while read.contains(&false) {
            let completions = wait(&mut ring);
            assert!(!completions.is_empty(), "some reads are never told");
            for completion in completions {
                let Operation::Read(number) = completion.operation else { panic!("{completion:?}") };
                let buffer = completion.buffer.expect("a buffer");
                assert_eq!(ring.bytes(buffer, completion.result.expect("bytes")), [round; 10]);
                ring.give_back(ring.connections(), buffer);
                assert!(!std::mem::replace(&mut read[number as usize], true), "each once");
            }
        }
        assert_eq!(ring.in_flight, 0);
    }
}

#[test]
fn a_full_socket_and_a_broken_one_are_told_and_nothing_waits() {
    let Some(mut ring) = ring() else { return };
    let mut pairs = connections(2);
    let (full, gone) = (pairs[0].1.as_raw_fd(), pairs[1].1.as_raw_fd());
    pairs[1].1.shutdown(std::net::Shutdown::Both).expect("the end");
    let bytes = vec![7; 1 << 20];
    let mut sent = 0;
    loop {
        ring.send([(full, [&bytes[..], &[]]), (gone, [&bytes[..], &[]])].into_iter()).expect("both are told");
        assert_eq!(ring.sent(1).expect_err("closed").raw_os_error(), Some(libc::EPIPE));
        match ring.sent(0) {
            Ok(len) => sent += len,
            Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    let mut got = vec![0; sent];
    std::io::Read::read_exact(&mut pairs[0].0, &mut got).expect("what was sent");
    assert!(got.iter().all(|&byte| byte == 7));
}

#[test]
fn what_was_not_taken_from_connections_comes_when_there_are_buffers() {
    let Some(mut ring) = ring() else { return };
    let mut pairs = connections(usize::from(RING_BUFFERS) + 1);
    for (number, (client, server)) in pairs.iter_mut().enumerate() {
        client.write_all(&[9]).expect("a request");
        ring.read(server.as_raw_fd(), number as u64, false).expect("room in the ring");
    }
    let completions = wait(&mut ring);
    let starved: Vec<_> = completions.iter().filter(|completion| completion.buffer.is_none()).collect();
    let [starved] = starved[..] else { panic!("{} of {}", starved.len(), completions.len()) };
    assert_eq!(starved.result.as_ref().expect_err("no buffer").raw_os_error(), Some(libc::ENOBUFS));
    let Operation::Read(number) = starved.operation else { panic!("{starved:?}") };
    ring.give_back(ring.connections(), completions[0].buffer.expect("a buffer"));
    ring.read(pairs[number as usize].1.as_raw_fd(), number, false).expect("room in the ring");
    assert_eq!(*wait(&mut ring)[0].result.as_ref().expect("a byte"), 1);
}
