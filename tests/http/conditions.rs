//! Conditional requests (RFC 9110 §13) from end to end.

use crate::client::Server;

const DATE: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

#[test]
fn what_the_client_has_is_304_with_its_validators() {
    let mut server = Server::new();
    let etag = server.get("/boot.ipxe").header("ETag").unwrap().to_owned();
    for condition in [format!("If-None-Match: {etag}"), format!("If-Modified-Since: {DATE}")] {
        let response = server.get_with("/boot.ipxe", &condition);
        assert_eq!((response.status, response.body.len()), (304, 0));
        assert_eq!(response.header("ETag"), Some(&*etag));
        assert_eq!(response.header("Content-Length"), Some("12"), "of the 200 that it stands for");
    }
    let other = server.get_with("/boot.ipxe", "If-None-Match: \"other\"");
    assert_eq!(other.status, 200);
    assert_eq!(server.images.open_images(), 0);
}

#[test]
fn a_resumption_of_another_version_is_412() {
    let mut server = Server::new();
    let etag = server.get("/boot.ipxe").header("ETag").unwrap().to_owned();
    let resumed = server.get_with("/boot.ipxe", &format!("Range: bytes=7-\r\nIf-Match: {etag}"));
    assert_eq!((resumed.status, resumed.text()), (206, "boot\n"));
    server.images.insert("boot.ipxe", "#!ipxe\nshell\n", 1_700_000_001);
    let resumed = server.get_with("/boot.ipxe", &format!("Range: bytes=7-\r\nIf-Match: {etag}"));
    assert_eq!(resumed.status, 412);
    let resumed = server.get_with("/boot.ipxe", &format!("Range: bytes=7-\r\nIf-Unmodified-Since: {DATE}"));
    assert_eq!(resumed.status, 412);
    assert!(!server.closed);
    assert_eq!(server.images.open_images(), 0);
}

#[test]
fn if_range_turns_a_range_of_another_version_into_the_whole() {
    let mut server = Server::new();
    let etag = server.get("/boot.ipxe").header("ETag").unwrap().to_owned();
    let same = server.get_with("/boot.ipxe", &format!("Range: bytes=7-\r\nIf-Range: {etag}"));
    assert_eq!(same.status, 206);
    server.images.insert("boot.ipxe", "#!ipxe\nshell\n", 1_700_000_001);
    let other = server.get_with("/boot.ipxe", &format!("Range: bytes=7-\r\nIf-Range: {etag}"));
    assert_eq!((other.status, other.text()), (200, "#!ipxe\nshell\n"));
    assert_eq!(server.get_with("/boot.ipxe", "Range: bytes=7-\r\nIf-Range: W/\"x\"").status, 200);
}
