//! A whole shard on loopback: real sockets, real files.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;
use crate::io::sockets::Listen;
use crate::proto::tftp::Settings;
use crate::wire::tftp as packet;

struct Server {
    root: PathBuf,
    listen: Listen,
    remote: Remote,
    thread: JoinHandle<io::Result<Stats>>,
    notes: Arc<Notes>,
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("its address").port()
}

/// Both drivers, where this system has both
fn ways() -> Vec<Way> {
    match crate::io::uring::probe() {
        Ok(()) => vec![Way::Epoll, Way::Uring],
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "skipped in CI: {why}");
            eprintln!("skipped: {why}");
            vec![Way::Epoll]
        }
    }
}

/// A shard that serves these files on ports of loopback
fn serve(way: Way, name: &str, files: &[(&str, &[u8])]) -> Server {
    let root = std::env::temp_dir().join(format!("reveille-shard-{way:?}-{name}-{}", std::process::id()));
    fs::create_dir_all(&root).expect("a directory");
    for (path, bytes) in files {
        fs::write(root.join(path), bytes).expect("a file");
    }
    let (tftp_port, http_port) = (free_port(), free_port());
    let listen = Listen { address: Ipv4Addr::LOCALHOST, tftp_port, http_port, single_port: false };
    let sockets = Sockets::open(listen, &[], 1).expect("its sockets").remove(0);
    let clock = Clock::new();
    let plan = Arc::new(Plan::new(Vec::new(), Vec::new(), Vec::new(), Vec::new()));
    let tree = Tree::open(&root).expect("its root");
    let shard = Shard::new(plan, Settings::default(), tree, None, clock.now());
    let notes = Arc::new(Notes::new());
    let (driver, remote) = Driver::new(way, shard, sockets, clock, Arc::clone(&notes)).expect("a driver");
    Server { root, listen, remote, thread: std::thread::spawn(|| driver.run()), notes }
}

impl Server {
    fn http(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.listen.http_port)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        stream
    }

    fn stop(self) -> Stats {
        self.remote.tell(Control::Stop);
        let stats = self.thread.join().expect("no panic").expect("a clean end");
        fs::remove_dir_all(&self.root).expect("its removal");
        stats
    }
}

/// Fetches a file by TFTP with a window, as a client that loses nothing
fn fetch(server: &Server, name: &str, blksize: u16, windowsize: u16) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    let rrq = format!("\0\x01{name}\0octet\0blksize\0{blksize}\0windowsize\0{windowsize}\0");
    socket.send_to(rrq.as_bytes(), (Ipv4Addr::LOCALHOST, server.listen.tftp_port)).expect("a send");
    let mut buffer = [0; 2048];
    let (len, from) = socket.recv_from(&mut buffer).expect("an answer");
    let packet::Packet::Oack(_) = packet::parse(&buffer[..len]).expect("TFTP") else {
        panic!("no OACK: {:?}", &buffer[..len])
    };
    assert_ne!(from.port(), server.listen.tftp_port, "a transfer has its own port");
    socket.connect(from).expect("a peer");
    socket.send(&packet::emit_ack(0)).expect("a send");
    let mut got = Vec::new();
    let mut expected: u16 = 1;
    loop {
        let len = socket.recv(&mut buffer).expect("a block");
        let packet::Packet::Data { block, payload } = packet::parse(&buffer[..len]).expect("TFTP") else {
            panic!("no DATA: {:?}", &buffer[..len])
        };
        assert_eq!(block, expected);
        got.extend_from_slice(payload);
        let is_last = payload.len() < usize::from(blksize);
        if is_last || block % windowsize == 0 {
            socket.send(&packet::emit_ack(block)).expect("a send");
        }
        if is_last {
            return got;
        }
        expected = expected.wrapping_add(1);
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from(i * 31 / 7 % 251).expect("below 251")).collect()
}

#[test]
fn tftp_serves_many_at_once_by_windows_and_single_blocks() {
    ways().into_iter().for_each(tftp);
}

fn tftp(way: Way) {
    let file = pattern(1_000_003);
    let server = serve(way, "tftp", &[("kernel", &file), ("even", &file[..1468 * 16]), ("empty", b"")]);
    std::thread::scope(|scope| {
        for windowsize in [1, 1, 4, 16, 64, 64] {
            let (server, file) = (&server, &file);
            scope.spawn(move || assert!(fetch(server, "kernel", 1468, windowsize) == *file));
        }
    });
    assert_eq!(fetch(&server, "even", 1468, 16).len(), 1468 * 16, "with an empty block at its end");
    assert_eq!(fetch(&server, "empty", 512, 4), b"");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(std::iter::from_fn(|| server.notes.pop()).count(), 8, "a decision a transfer");
    let stats = server.stop();
    assert_eq!((stats.transfers, stats.resent), (8, 0));
    assert!(stats.datagrams_out > 6 * 682);
}

#[test]
fn http_serves_files_and_closes_without_losing_a_response() {
    ways().into_iter().for_each(http);
}

fn http(way: Way) {
    let file = pattern(5_000_000);
    let server = serve(way, "http", &[("initrd", &file), ("small", b"hello")]);
    let mut stream = server.http();
    stream
        .write_all(b"GET /small HTTP/1.1\r\nHost: h\r\n\r\nGET /initrd HTTP/1.0\r\n\r\n")
        .expect("a request");
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("two responses and the end");
    let text = String::from_utf8_lossy(&got[..300]).into_owned();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("\r\n\r\nhelloHTTP/1."), "{text}");
    assert!(got.ends_with(&file), "{} bytes", got.len());

    // More than one request where the first was said to be the last: its response comes whole all the same.
    let mut stream = server.http();
    stream.write_all(&b"GET /small HTTP/1.0\r\n\r\n".repeat(50)).expect("requests");
    let mut got = String::new();
    stream.read_to_string(&mut got).expect("a response and the end, no reset");
    assert!(got.ends_with("\r\n\r\nhello"), "{got}");

    // The client sends more than is read: the error must still arrive, and no reset before it.
    let mut stream = server.http();
    stream.write_all(&[b'x'; 100_000]).expect("bytes");
    let mut got = String::new();
    stream.read_to_string(&mut got).expect("an error and the end, no reset");
    assert!(got.starts_with("HTTP/1.1 4"), "{got}");

    // Half-closed by the client after its request: the response comes all the same.
    let mut stream = server.http();
    stream.write_all(b"GET /small HTTP/1.1\r\nHost: h\r\n\r\n").expect("a request");
    stream.shutdown(std::net::Shutdown::Write).expect("half a close");
    let mut got = String::new();
    stream.read_to_string(&mut got).expect("the response and the end");
    assert!(got.ends_with("\r\n\r\nhello"), "{got}");
    server.stop();
}

#[test]
fn a_client_that_says_nothing_at_first_is_served() {
    ways().into_iter().for_each(slow);
}

fn slow(way: Way) {
    let server = serve(way, "slow", &[("small", b"hello")]);
    let mut stream = server.http();
    // Longer than the kernel waits for a request before it hands over the connection without one.
    std::thread::sleep(Duration::from_millis(1_300));
    stream.write_all(b"GET /small HT").expect("half a request");
    std::thread::sleep(Duration::from_millis(50));
    stream.write_all(b"TP/1.0\r\n\r\n").expect("the rest of it");
    let mut got = String::new();
    stream.read_to_string(&mut got).expect("a response and the end");
    assert!(got.ends_with("\r\n\r\nhello"), "{got}");
    drop(server.http());
    server.stop();
}

#[test]
fn the_end_of_a_connection_shares_a_segment_with_the_last_bytes() {
    ways().into_iter().for_each(last_segment);
}

fn last_segment(way: Way) {
    let server = serve(way, "last", &[]);
    let mut stream = server.http();
    stream.write_all(b"GET /pxelinux.cfg/default HTTP/1.0\r\n\r\n").expect("a request");
    let mut got = String::new();
    stream.read_to_string(&mut got).expect("a response and the end");
    assert!(got.starts_with("HTTP/1.1 404 "), "{got}");
    let info = crate::io::sys::option::tcp_info(stream.as_fd()).expect("what the kernel knows");
    assert!(
        info.tcpi_segs_in <= 3,
        "greeting, acknowledgement, response with the end: {}",
        info.tcpi_segs_in
    );
    server.stop();
}

#[test]
fn a_stop_lets_a_transfer_end_and_idle_connections_go() {
    ways().into_iter().for_each(stop);
}

fn stop(way: Way) {
    let file = pattern(3_000_000);
    let server = serve(way, "stop", &[("initrd", &file)]);
    let mut idle = server.http();
    idle.write_all(b"HEAD /initrd HTTP/1.1\r\nHost: h\r\n\r\n").expect("a request");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        idle.read_exact(&mut byte).expect("a head");
        head.extend(byte);
    }
    let mut busy = server.http();
    busy.write_all(b"GET /initrd HTTP/1.1\r\nHost: h\r\n\r\n").expect("a request");
    let mut got = vec![0; 1000];
    busy.read_exact(&mut got).expect("the first bytes");
    server.remote.tell(Control::Stop);
    assert_eq!(idle.read(&mut [0; 10]).expect("the end"), 0);
    busy.read_to_end(&mut got).expect("the rest and the end");
    assert!(got.ends_with(&file));
    drop((idle, busy));
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, server.listen.http_port);
    let clock = Clock::new();
    let begun = clock.now();
    let stats = server.stop();
    assert!(clock.now().since(begun) < STOP_TIME, "it ends with its last connection");
    assert_eq!(stats.requests, 2);
    TcpStream::connect(address).expect_err("nobody listens");
}
