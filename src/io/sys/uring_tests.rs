//! A ring by itself: buffers that run out, connections that are let go.

use std::net::{TcpListener, TcpStream, UdpSocket};

use super::*;

/// A ring that is this thread's, or nothing where the system has none
fn ring() -> Option<Ring> {
    let ring = match Ring::new(1, 512) {
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
        [Operation::Receive(0), Operation::Receive(9), Operation::Accept, Operation::Poll(POLL_NUMBERS - 1)]
    {
        assert_eq!(Operation::from_user_data(operation.to_user_data()), operation);
    }
}

#[test]
fn more_datagrams_than_buffers_wait_in_the_socket_and_come_in_order() {
    let Some(mut ring) = ring() else { return };
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
                let (Ok(len), Some(buffer)) = (&completion.result, completion.buffer) else {
                    has_run_out |= !completion.more;
                    continue;
                };
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
        assert!(has_run_out, "the kernel said that it had no buffer");
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
