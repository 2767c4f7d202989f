//! Byte ranges (RFC 9110 §14) against a model that only knows slices.

use crate::client::{Random, Response, Server, pattern};

const SIZE: usize = 100_000;

#[test]
fn one_range_is_206_with_content_range() {
    let mut server = Server::new();
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=99999-", 99_999, 99_999),
        ("bytes=500-999", 500, 999),
        ("bytes=90000-200000", 90_000, 99_999),
        ("bytes=-10", 99_990, 99_999),
        ("bytes=-200000", 0, 99_999),
        ("Bytes=1-2", 1, 2),
        ("bytes= 1-2 ,", 1, 2),
        ("bytes=0-,200000-", 0, 99_999),
    ] {
        let response = server.get_with("/efi/bootx64.efi", &format!("Range: {range}"));
        assert_eq!(response.status, 206, "{range}");
        assert_eq!(response.header("Content-Range"), Some(&*format!("bytes {first}-{last}/{SIZE}")));
        assert_eq!(response.header("Content-Type"), Some("application/efi"));
        assert!(response.body == pattern(SIZE)[first..=last], "{range}");
    }
    assert_eq!(server.images.open_images(), 0);
}

#[test]
fn a_range_behind_the_end_is_416_with_the_size() {
    let mut server = Server::new();
    for range in ["bytes=100000-", "bytes=-0", "bytes=100000-100001,200000-"] {
        let response = server.get_with("/efi/bootx64.efi", &format!("Range: {range}"));
        assert_eq!(
            (response.status, response.header("Content-Range")),
            (416, Some("bytes */100000")),
            "{range}"
        );
        assert!(!server.closed);
    }
    assert_eq!(server.images.open_images(), 0);
}

#[test]
fn what_is_no_range_or_too_much_gets_the_whole() {
    let mut server = Server::new();
    let many = (0..17).map(|at| format!("{}-{}", at * 10, at * 10 + 1)).collect::<Vec<_>>().join(",");
    for range in ["lines=1-2", "bytes=2-1", "bytes=a-b", "bytes=", "bytes=0-,0-", &format!("bytes={many}")] {
        let response = server.get_with("/efi/bootx64.efi", &format!("Range: {range}"));
        assert_eq!((response.status, response.body.len()), (200, SIZE), "{range}");
    }
}

#[test]
fn head_knows_no_ranges() {
    let mut server = Server::new();
    let head = server.ask("HEAD /efi/bootx64.efi HTTP/1.1\r\nHost: h\r\nRange: bytes=0-1\r\n\r\n");
    assert_eq!((head.status, head.header("Content-Length")), (200, Some("100000")));
}

/// Reads a multipart/byteranges body
fn parts(response: &Response) -> Vec<(String, Vec<u8>)> {
    let kind = response.header("Content-Type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut rest = &response.body[..];
    let mut parts = Vec::new();
    loop {
        let delimiter = format!("\r\n--{boundary}");
        rest = rest.strip_prefix(delimiter.as_bytes()).expect("a delimiter");
        if rest == b"--\r\n" {
            return parts;
        }
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&rest[2..end]).unwrap();
        let range = head.strip_prefix("Content-Type: application/efi\r\nContent-Range: bytes ").unwrap();
        let (first, rest_of_range) = range.split_once('-').unwrap();
        let (last, size) = rest_of_range.split_once('/').unwrap();
        assert_eq!(size, "100000");
        let len = last.parse::<usize>().unwrap() - first.parse::<usize>().unwrap() + 1;
        parts.push((format!("{first}-{last}"), rest[end + 4..end + 4 + len].to_vec()));
        rest = &rest[end + 4 + len..];
    }
}

#[test]
fn several_ranges_come_in_parts_as_asked() {
    let mut random = Random::new(1);
    let whole = pattern(SIZE);
    for round in 0..300 {
        let mut server = Server::new();
        server.write_max = 1 + random.next() % 5_000;
        // Disjoint, in any order: two to sixteen slots of the file.
        let count = 2 + random.below(15);
        let mut slots: Vec<usize> = (0..20).collect();
        let mut asked = Vec::new();
        for _ in 0..count {
            let slot = slots.swap_remove(random.below(slots.len()));
            let first = slot * 5_000 + random.below(2_500);
            asked.push((first, first + random.below(2_500)));
        }
        let list: Vec<String> = asked.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        let response = server.get_with("/efi/bootx64.efi", &format!("Range: bytes={}", list.join(", ")));
        assert_eq!(response.status, 206, "round {round}");
        let parts = parts(&response);
        assert_eq!(parts.len(), count);
        for ((name, body), (first, last)) in parts.iter().zip(asked) {
            assert_eq!(*name, format!("{first}-{last}"), "round {round}");
            assert!(*body == whole[first..=last], "round {round}");
        }
        assert_eq!(server.images.open_images(), 0);
        assert!(server.connection.wants_bytes());
    }
}

#[test]
fn single_ranges_agree_with_slices() {
    let mut random = Random::new(2);
    let whole = pattern(SIZE);
    let mut server = Server::new();
    for round in 0..2_000 {
        let (first, last) = (random.below(SIZE + 2_000), random.below(SIZE + 2_000));
        let response = server.get_with("/efi/bootx64.efi", &format!("Range: bytes={first}-{last}"));
        let (status, body) = match whole.get(first..=last.min(SIZE - 1)) {
            _ if last < first => (200, &whole[..]),
            Some(body) if first < SIZE => (206, body),
            _ => (416, &b"Range Not Satisfiable\n"[..]),
        };
        assert_eq!(response.status, status, "round {round}: {first}-{last}");
        assert!(response.body == body, "round {round}: {first}-{last}");
        server.outbox.clear();
    }
}
