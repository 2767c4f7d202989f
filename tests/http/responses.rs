//! What a good request gets, rule by rule.

use reveille::note::Outcome;

use crate::client::{PEER, START, Server, pattern};

#[test]
fn a_file_comes_whole_with_a_head_that_firmware_reads() {
    let mut server = Server::new();
    let response = server.get("/efi/bootx64.efi");
    assert!(response.head.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(response.header("Content-Type"), Some("application/efi"));
    assert_eq!(response.header("Content-Length"), Some("100000"));
    assert_eq!(response.header("Last-Modified"), Some("Tue, 14 Nov 2023 22:13:20 GMT"));
    assert_eq!(response.header("Date"), Some("Thu, 01 Jan 2026 00:00:00 GMT"));
    assert_eq!(response.header("Accept-Ranges"), Some("bytes"));
    assert!(response.header("ETag").unwrap().starts_with('"'));
    assert!(response.body == pattern(100_000));
    let [note] = server.notes()[..] else { panic!("one note") };
    assert_eq!((note.outcome, note.sent, note.peer, note.at), (Outcome::Done, 100_000, PEER, START));
    assert_eq!(note.path.as_str(), "/efi/bootx64.efi");
    assert_eq!(server.stats.requests, 1);
    assert_eq!(server.images.open_images(), 0);
}

#[test]
fn head_is_get_without_the_body_and_the_connection_stays_open() {
    let mut server = Server::new();
    let head = server.ask("HEAD /efi/bootx64.efi HTTP/1.1\r\nHost: h\r\n\r\n");
    let get = server.get("/efi/bootx64.efi");
    assert_eq!(head.head, get.head);
    let head = server.ask("HEAD /none HTTP/1.1\r\nHost: h\r\n\r\n");
    let get = server.get("/none");
    assert_eq!(head.head, get.head);
    assert_eq!(
        server.outcomes(),
        [Outcome::SizeOnly, Outcome::Done, Outcome::Status(404), Outcome::Status(404)]
    );
    assert_eq!(server.images.open_images(), 0);
}

#[test]
fn a_miss_is_a_short_404_in_text_and_the_connection_stays_open() {
    let mut server = Server::new();
    let miss = server.get("/pxelinux.cfg/01-88-99-aa-bb-cc-dd");
    assert_eq!((miss.status, miss.text()), (404, "Not Found\n"));
    assert_eq!(miss.header("Content-Type"), Some("text/plain"));
    assert!(!server.closed);
    assert_eq!(server.get("/boot.ipxe").status, 200);
}

#[test]
fn http_1_0_is_answered_in_1_1_and_closed() {
    for request in [
        "GET /boot.ipxe HTTP/1.0\r\n\r\n",
        "GET /boot.ipxe HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET /boot.ipxe HTTP/1.0\r\nHost: h\r\nUser-Agent: Syslinux/6.03\r\nConnection: close\r\n\r\n",
        "GET /none HTTP/1.0\r\n\r\n",
    ] {
        let mut server = Server::new();
        assert!(server.ask(request).closes(), "{request}");
    }
}

#[test]
fn connection_close_is_obeyed_and_said() {
    let mut server = Server::new();
    assert!(server.get_with("/boot.ipxe", "Connection: Close").closes());
}

#[test]
fn slashes_and_dots_are_served_as_they_stand_without_a_redirect() {
    let mut server = Server::new();
    for path in [
        "//boot.ipxe",
        "/./boot.ipxe",
        "/efi/../boot.ipxe",
        "/boot%2eipxe",
        "/boot.ipxe?x=1",
        "//./boot.ipxe",
    ] {
        assert_eq!(server.get(path).text(), "#!ipxe\nboot\n", "{path}");
    }
    let absolute = server.ask("GET http://192.168.99.1:80/boot.ipxe HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(absolute.status, 200);
}

#[test]
fn an_empty_file_is_a_whole_file() {
    let mut server = Server::new();
    let response = server.get("/empty");
    assert_eq!((response.status, response.header("Content-Length")), (200, Some("0")));
    assert_eq!(server.get_with("/empty", "Range: bytes=0-").status, 416);
    assert_eq!(server.get("/boot.ipxe").status, 200);
}

#[test]
fn a_directory_is_listed_with_and_without_its_slash_and_its_own_page_goes_first() {
    let mut server = Server::new();
    let slash = server.get("/efi/");
    assert_eq!(slash.header("Content-Type"), Some("text/html; charset=utf-8"));
    assert!(slash.text().contains("href=\"bootx64.efi\""));
    assert!(server.get("/efi").text().contains("href=\"efi/bootx64.efi\""));
    assert!(server.get("/").text().contains("href=\"efi/\""));
    assert_eq!(server.get("/site/").text(), "<p>page</p>");
    // Relative links of the page would lead elsewhere without the slash.
    assert!(server.get("/site").text().contains("href=\"site/index.html\""));
    assert_eq!(server.images.open_images(), 0);
}

#[test]
fn a_small_body_on_get_is_passed_over() {
    let mut server = Server::new();
    let first = "GET /boot.ipxe HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /";
    server.receive(first.as_bytes());
    server.receive(b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n");
    server.drain();
    assert_eq!(server.response(false).status, 200);
    assert_eq!(server.response(false).status, 404);
    assert!(server.written.is_empty() && !server.closed);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut server = Server::new();
    let one = "GET /boot.ipxe HTTP/1.1\r\nHost: h\r\n\r\nHEAD /empty HTTP/1.1\r\nHost: h\r\n\r\n\
               GET /none HTTP/1.1\r\nHost: h\r\n\r\n";
    let requests =
        one.repeat(50) + "GET /boot.ipxe HTTP/1.0\r\n\r\nGET /boot.ipxe HTTP/1.1\r\nHost: h\r\n\r\n";
    server.receive(requests.as_bytes());
    server.drain();
    for _ in 0..50 {
        assert_eq!(server.response(false).text(), "#!ipxe\nboot\n");
        assert_eq!(server.response(true).status, 200);
        assert_eq!(server.response(false).status, 404);
    }
    assert!(server.response(false).closes());
    assert!(server.written.is_empty() && server.closed, "nothing after the last");
    assert_eq!(server.stats.requests, 151);
}

#[test]
fn early_requests_are_held_while_a_response_is_sent_up_to_a_bound() {
    let mut server = Server::new();
    server.write_max = 100;
    server.receive(b"GET /efi/bootx64.efi HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(server.write_once());
    assert!(!server.connection.wants_bytes());
    server.receive(b"GET /boot.ipxe HTTP/1.1\r\nHost: h\r\n\r\n");
    server.drain();
    assert_eq!(server.response(false).body.len(), 100_000);
    assert_eq!(server.response(false).text(), "#!ipxe\nboot\n");
    assert!(server.connection.wants_bytes());

    server.receive(b"GET /efi/bootx64.efi HTTP/1.1\r\nHost: h\r\n\r\n");
    for _ in 0..100 {
        server.receive(&[b'x'; 1000]);
    }
    server.drain();
    assert_eq!(server.response(false).body.len(), 100_000);
    assert!(server.closed && server.written.is_empty());
}

#[test]
fn a_date_in_the_future_is_not_sent() {
    let mut server = Server::new();
    server.images.insert("new", "n", START.as_secs() + 1_000_000);
    server.images.insert("far", "n", u64::MAX);
    for path in ["/new", "/far"] {
        let response = server.get(path);
        assert_eq!(response.header("Last-Modified"), response.header("Date"), "RFC 9110 8.8.2.1");
    }
}
