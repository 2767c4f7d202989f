//! Deadlines, hang-ups and the server's own end.

use reveille::note::Outcome;
use reveille::time::Duration;

use crate::client::Server;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_connection_without_a_request_is_closed_without_a_word() {
    let mut server = Server::new();
    server.wait(Duration::from_secs(59));
    assert!(!server.closed);
    server.wait(SECOND);
    assert!(server.closed && server.written.is_empty() && server.outcomes().is_empty());
}

#[test]
fn a_kept_connection_waits_for_ten_seconds_and_more() {
    let mut server = Server::new();
    server.get("/boot.ipxe");
    server.wait(Duration::from_secs(59));
    assert_eq!(server.get("/boot.ipxe").status, 200);
    server.wait(Duration::from_secs(60));
    assert!(server.closed);
}

#[test]
fn a_slow_head_is_408_and_every_byte_does_not_buy_time() {
    let mut server = Server::new();
    for _ in 0..14 {
        server.receive(b"G");
        server.wait(SECOND);
        assert!(server.written.is_empty());
    }
    server.receive(b"G");
    server.wait(SECOND);
    let response = server.response(false);
    assert!(response.status == 408 && response.closes() && server.closed);
    assert_eq!(server.outcomes(), [Outcome::Status(408)]);
}

#[test]
fn a_slow_second_head_is_408_too() {
    let mut server = Server::new();
    server.receive(b"GET /boot.ipxe HTTP/1.1\r\nHost: h\r\n\r\nGET /");
    server.drain();
    assert_eq!(server.response(false).status, 200);
    server.wait(Duration::from_secs(15));
    assert_eq!(server.response(false).status, 408);
}

#[test]
fn a_response_that_nobody_reads_ends() {
    let mut server = Server::new();
    server.receive(b"GET /efi/bootx64.efi HTTP/1.1\r\nHost: h\r\n\r\n");
    server.write_max = 10_000;
    for _ in 0..3 {
        // Progress buys time.
        server.now += Duration::from_secs(100);
        assert!(server.write_once());
    }
    server.now += Duration::from_secs(120);
    let (now, images) = (server.now, &mut server.images);
    server.connection.on_deadline(now, images, &mut server.stats, &mut server.outbox);
    server.drain();
    assert!(server.closed);
    assert_eq!(server.outcomes(), [Outcome::TimedOut]);
    assert_eq!(server.notes()[0].sent, 20_000);
    assert_eq!(server.images.open_images(), 0);
}

#[test]
fn a_deadline_that_moved_is_no_deadline() {
    let mut server = Server::new();
    server.now += Duration::from_secs(30);
    server.get("/boot.ipxe");
    server.now += Duration::from_secs(30);
    server.connection.on_deadline(server.now, &mut server.images, &mut server.stats, &mut server.outbox);
    assert_eq!(server.get("/boot.ipxe").status, 200);
}

#[test]
fn a_reset_in_mid_body_is_noted_and_frees_the_image() {
    let mut server = Server::new();
    server.write_max = 1_000;
    server.receive(b"GET /efi/bootx64.efi HTTP/1.1\r\nHost: h\r\n\r\n");
    for _ in 0..4 {
        server.write_once();
    }
    server.hang_up();
    assert!(server.closed);
    assert_eq!(server.outcomes(), [Outcome::ClientStopped(None)]);
    assert_eq!(server.images.open_images(), 0);
    server.hang_up();
    assert_eq!(server.outcomes().len(), 1, "once");
}

#[test]
fn a_probe_that_connects_and_leaves_is_no_event() {
    let mut server = Server::new();
    server.hang_up();
    assert!(server.closed && server.outcomes().is_empty());
}

#[test]
fn only_a_client_that_said_its_last_word_is_left_at_once() {
    let lingers = |requests: &[u8]| {
        let mut server = Server::new();
        server.receive(requests);
        server.drain();
        assert!(server.closed);
        server.connection.lingers()
    };
    assert!(!lingers(b"GET /boot.ipxe HTTP/1.0\r\n\r\n"));
    assert!(!lingers(b"GET /none HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
    for more in [
        &b"GET /boot.ipxe HTTP/1.0\r\nContent-Length: 2\r\n\r\na"[..],
        b"GET /boot.ipxe HTTP/1.0\r\n\r\nGET /",
        b"POST /boot.ipxe HTTP/1.0\r\nContent-Length: 9\r\n\r\n",
        b"GET /../x HTTP/1.0\r\n\r\n",
        b"\0\r\n\r\n",
    ] {
        assert!(lingers(more), "{}", String::from_utf8_lossy(more));
    }
    let mut idle = Server::new();
    idle.get("/boot.ipxe");
    idle.wait(Duration::from_secs(60));
    assert!(idle.closed && idle.connection.lingers(), "it may ask again at this moment");
}

#[test]
fn stopping_finishes_what_was_begun_and_nothing_else() {
    let mut server = Server::new();
    server.write_max = 1_000;
    server.receive(
        b"GET /efi/bootx64.efi HTTP/1.1\r\nHost: h\r\n\r\nGET /boot.ipxe HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    server.write_once();
    server.connection.on_stop();
    server.drain();
    assert_eq!(server.response(false).body.len(), 100_000);
    assert!(server.closed && server.written.is_empty());

    let mut idle = Server::new();
    idle.receive(b"GET /");
    idle.connection.on_stop();
    idle.drain();
    assert!(idle.closed && idle.written.is_empty());
}
