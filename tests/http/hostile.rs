//! Requests that two parsers could read two ways, that are too long, or that look for a way out: a status and a close.

use reveille::note::Outcome;

use crate::client::{Random, Server};

fn status_and_close(request: &str) -> u16 {
    let mut server = Server::new();
    // What follows must not be read as a request of its own.
    let both = format!("{request}GET /boot.ipxe HTTP/1.1\r\nHost: h\r\n\r\n");
    server.receive(both.as_bytes());
    server.drain();
    let response = server.response(request.starts_with("HEAD "));
    assert!(response.closes() && server.closed, "{request:?}");
    assert!(server.written.is_empty(), "nothing more is answered: {request:?}");
    assert_eq!(server.outcomes(), [Outcome::Status(response.status)]);
    assert_eq!(server.images.open_images(), 0);
    response.status
}

#[test]
fn smuggling_is_400_and_a_close() {
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x10\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 5\r\n",
        "X: a\r\n b\r\n",
        "X: a\r\n\tb\r\n",
        " X: a\r\n",
        "X\r\n",
        "X: a\nY: b\r\n",
        "X: a\rY: b\r\n",
        "X: a\0b\r\n",
        "Host: other\r\n",
        "X: a\n",
    ] {
        assert_eq!(
            status_and_close(&format!("GET /boot.ipxe HTTP/1.1\r\nHost: h\r\n{headers}\r\n")),
            400,
            "{headers:?}"
        );
    }
    assert_eq!(status_and_close("GET /boot.ipxe HTTP/1.1\r\n\r\n"), 400, "no host");
    assert_eq!(status_and_close("GET /boot.ipxe HTTP/1.1\nHost: h\n\n"), 400, "bare line feeds");
    assert_eq!(status_and_close("GET  /boot.ipxe HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
    assert_eq!(status_and_close("GET /boot.ipxe\r\n\r\n"), 400, "HTTP/0.9");
    assert_eq!(status_and_close("GET boot.ipxe HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
    assert_eq!(status_and_close("\x16\x03\x01\r\n\r\n"), 400, "TLS");
}

#[test]
fn a_body_without_a_length_or_too_long_ends_the_connection() {
    assert_eq!(
        status_and_close("GET /boot.ipxe HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"),
        411
    );
    assert_eq!(status_and_close("GET /boot.ipxe HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n"), 413);
}

#[test]
fn other_methods_are_405_with_what_is_allowed() {
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "get", "PROPFIND"] {
        let request = format!("{method} /boot.ipxe HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(status_and_close(&request), 405, "{method}");
    }
    assert_eq!(status_and_close("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"), 405);
    let mut server = Server::new();
    let response = server.ask("POST / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(response.header("Allow"), Some("GET, HEAD"));
}

#[test]
fn other_versions_are_505() {
    assert_eq!(status_and_close("GET / HTTP/2.0\r\nHost: h\r\n\r\n"), 505);
    assert_eq!(status_and_close("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
}

#[test]
fn what_is_too_long_has_its_status() {
    let host = "Host: h\r\n";
    let long = "a".repeat(10_000);
    assert_eq!(status_and_close(&format!("GET /{long} HTTP/1.1\r\n{host}\r\n")), 414);
    assert_eq!(status_and_close(&format!("GET /{} HTTP/1.1\r\n{host}\r\n", &long[..2_000])), 414);
    assert_eq!(status_and_close(&format!("GET / HTTP/1.1\r\n{host}X: {long}\r\n\r\n")), 431);
    let many = "X: a\r\n".repeat(100);
    assert_eq!(status_and_close(&format!("GET / HTTP/1.1\r\n{host}{many}\r\n")), 431);
}

#[test]
fn paths_that_look_for_a_way_out_are_400() {
    for path in ["/../etc/passwd", "/%2e%2e/etc/passwd", "/efi/..%2f..%2fetc", "/boot.ipxe%00", "/%", "/%zz"]
    {
        assert_eq!(status_and_close(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")), 400, "{path}");
    }
}

#[test]
fn nothing_that_a_client_wrote_ends_a_line_of_the_head_or_of_the_log() {
    let mut server = Server::new();
    let response = server.get("/a%0d%0aSet-Cookie:%20x");
    assert_eq!(response.status, 404);
    assert!(!response.head.contains("Set-Cookie"));
    assert!(server.notes().iter().all(|note| !note.path.as_str().contains(char::is_control)));
}

/// Mutated requests in random pieces: no panic, no image left open, an answer or silence, and the next client is served
#[test]
fn a_hundred_thousand_mutations_leave_the_server_whole() {
    let seeds: [&[u8]; 4] = [
        b"GET /efi/bootx64.efi HTTP/1.1\r\nHost: h\r\nRange: bytes=0-5,10-20\r\nIf-Match: *\r\n\r\n",
        b"HEAD /boot.ipxe HTTP/1.1\r\nHost: 192.168.99.1\r\nUser-Agent: UefiHttpBoot/1.0\r\nAccept: */*\r\n\r\n",
        b"GET /site/%2e/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.0\r\n\r\n",
        b"GET //a/../boot.ipxe HTTP/1.0\r\nIf-None-Match: \"a\", W/\"b\"\r\nConnection: close\r\n\r\n",
    ];
    let splices: [&[u8]; 10] = [
        b"\r\n",
        b"\n",
        b"\0",
        b"../",
        b"%00",
        b"Content-Length: 3\r\n",
        b": ",
        b"bytes=-",
        b"\xff",
        b"\r\n\r\n",
    ];
    let mut random = Random::new(7);
    let mut server = Server::new();
    for round in 0..100_000 {
        let mut bytes = seeds[random.below(seeds.len())].to_vec();
        for _ in 0..random.below(6) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
                1 => drop(bytes.drain(at..(at + random.below(9)).min(bytes.len()))),
                2 => drop(bytes.splice(at..at, splices[random.below(splices.len())].iter().copied())),
                _ => bytes.truncate(at + 1),
            }
            if bytes.is_empty() {
                break;
            }
        }
        server.write_max = 1 + random.next() % 100_000;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(1 + random.below(rest.len()));
            server.receive(piece);
            if random.below(2) == 0 {
                server.drain();
            }
            rest = after;
        }
        server.drain();
        server.reconnect();
        assert_eq!(server.images.open_images(), 0, "round {round}");
    }
    assert_eq!(server.get("/boot.ipxe").status, 200);
}
