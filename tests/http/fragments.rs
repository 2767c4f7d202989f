//! Bytes mean the same however they are cut, and so do the calls that take them away.

use crate::client::{Random, Server};

const REQUESTS: &str = "GET /boot.ipxe HTTP/1.1\r\nHost: h\r\n\r\n\
    GET /efi/bootx64.efi HTTP/1.1\r\nHost: h\r\nRange: bytes=0-9,20-29\r\n\r\n\
    HEAD /none HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\
    GET /efi HTTP/1.1\r\nHost: h\r\n\r\n\
    GET /empty HTTP/1.0\r\n\r\n";

fn all_at_once(requests: &[u8]) -> Vec<u8> {
    let mut server = Server::new();
    server.receive(requests);
    server.drain();
    server.written
}

#[test]
fn a_cut_anywhere_changes_nothing() {
    let whole = all_at_once(REQUESTS.as_bytes());
    for at in 0..=REQUESTS.len() {
        for drained_between in [false, true] {
            let mut server = Server::new();
            let (before, after) = REQUESTS.as_bytes().split_at(at);
            server.receive(before);
            if drained_between {
                server.drain();
            }
            server.receive(after);
            server.drain();
            assert!(server.written == whole, "cut at {at}");
            assert!(server.closed);
        }
    }
}

#[test]
fn byte_by_byte_changes_nothing() {
    for requests in [
        REQUESTS.as_bytes(),
        b"GET / HTTP/1.1\r\nHost: h\r\nX : a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
        b"GET /boot.ipxe HTTP/1.1\nHost: h\r\n\r\n",
        format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(9_000)).as_bytes(),
        format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(9_000)).as_bytes(),
    ] {
        let whole = all_at_once(requests);
        let mut server = Server::new();
        for byte in requests {
            server.receive(&[*byte]);
            server.drain();
        }
        assert!(server.written == whole, "{}", String::from_utf8_lossy(&requests[..30]));
    }
}

#[test]
fn random_pieces_both_ways_change_nothing() {
    let many = REQUESTS.replace("HTTP/1.0\r\n", "HTTP/1.1\r\nHost: h\r\n").repeat(20);
    let whole = all_at_once(many.as_bytes());
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut server = Server::new();
        let mut rest = many.as_bytes();
        while !rest.is_empty() {
            server.write_max = 1 + random.next() % 700;
            if server.connection.wants_bytes() {
                let (piece, after) = rest.split_at((1 + random.below(300)).min(rest.len()));
                server.receive(piece);
                rest = after;
            }
            for _ in 0..random.below(8) {
                server.write_once();
            }
        }
        server.drain();
        assert!(server.written == whole, "seed {seed}");
        assert_eq!(server.stats.requests, 100);
        assert_eq!(server.images.open_images(), 0);
    }
}
