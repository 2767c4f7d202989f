//! A whole shard over real sockets on lo, by each driver that this system has: a TFTP transfer, an HTTP request.
//!
//! What a client waits for, both sides' work and the kernel's in one number: good for one driver beside another and for
//! before and after. `tools/compare` counts the server's side alone.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use reveille::boot::plan::Plan;
use reveille::content::Tree;
use reveille::io::clock::Clock;
use reveille::io::driver::{Control, Driver, Remote, Way};
use reveille::io::notes::Notes;
use reveille::io::sockets::{Listen, Sockets};
use reveille::io::uring;
use reveille::proto::tftp;
use reveille::shard::Shard;

const BLKSIZE: usize = 1408;
const LARGE: usize = 4 << 20;
const SMALL: usize = 4096;

/// A shard that serves two files and runs on a thread of its own
struct Server {
    root: PathBuf,
    listen: Listen,
    remote: Remote,
    thread: Option<JoinHandle<()>>,
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.local_addr().expect("its address").port()
}

impl Server {
    fn start(way: Way) -> Self {
        let root = std::env::temp_dir().join(format!("reveille-bench-{way:?}-{}", std::process::id()));
        fs::create_dir_all(&root).expect("a folder");
        for (name, len) in [("large", LARGE), ("small", SMALL)] {
            fs::write(root.join(name), vec![0x5a; len]).expect("a file");
        }
        let (tftp_port, http_port) = (free_port(), free_port());
        let listen = Listen { address: Ipv4Addr::LOCALHOST, tftp_port, http_port, single_port: false };
        let sockets = Sockets::open(listen, &[], 1).expect("sockets").remove(0);
        let (clock, plan) = (Clock::new(), Plan::new(Vec::new(), Vec::new(), Vec::new(), Vec::new()));
        let tree = Tree::open(&root).expect("the folder");
        let shard = Shard::new(Arc::new(plan), tftp::Settings::default(), tree, None, clock.now());
        let notes = Arc::new(Notes::new());
        let (driver, remote) = Driver::new(way, shard, sockets, clock, notes).expect("a driver");
        let thread = std::thread::spawn(move || {
            driver.run().expect("it serves");
        });
        // A file is kept in memory once it has stood unchanged for a moment, its names and attributes too.
        std::thread::sleep(Duration::from_secs(5));
        Self { root, listen, remote, thread: Some(thread) }
    }

    /// Reads `large` with windows of so many blocks
    fn tftp_get(&self, windowsize: usize) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
        let request = format!("\0\u{1}large\0octet\0blksize\0{BLKSIZE}\0windowsize\0{windowsize}\0");
        socket.send_to(request.as_bytes(), (Ipv4Addr::LOCALHOST, self.listen.tftp_port)).expect("a send");
        let mut buffer = [0; 2048];
        let (_, from) = socket.recv_from(&mut buffer).expect("an OACK");
        socket.connect(from).expect("its port");
        let (mut blocks, mut is_last) = (0_usize, false);
        socket.send(&[0, 4, 0, 0]).expect("an ACK");
        while !is_last {
            let len = socket.recv(&mut buffer).expect("DATA");
            blocks += 1;
            let [.., high, low] = blocks.to_be_bytes();
            assert_eq!(buffer[..4], [0, 3, high, low], "nothing is lost on lo");
            is_last = len < BLKSIZE + 4;
            if is_last || blocks.is_multiple_of(windowsize) {
                socket.send(&[0, 4, high, low]).expect("an ACK");
            }
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.listen.http_port)).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.remote.tell(Control::Abort);
        let _ = self.thread.take().map(JoinHandle::join);
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Reads `small`: its head, and as many bytes as that says
fn http_get(stream: &mut TcpStream, close: bool) {
    let connection = if close { "close" } else { "keep-alive" };
    let request = format!("GET /small HTTP/1.1\r\nHost: lo\r\nConnection: {connection}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut buffer = [0; 8192];
    let mut len = 0;
    loop {
        let read = stream.read(&mut buffer[len..]).expect("a response");
        assert!(read > 0, "the response is whole");
        len += read;
        let head = buffer[..len].windows(4).position(|end| end == b"\r\n\r\n");
        if head.is_some_and(|at| len == at + 4 + SMALL) {
            return;
        }
    }
}

fn loopback(criterion: &mut Criterion) {
    let mut ways = vec![Way::Epoll];
    match uring::probe() {
        Ok(()) => ways.push(Way::Uring),
        Err(why) => eprintln!("skipped: {why}"),
    }
    for way in ways {
        let server = Server::start(way);
        let mut group = criterion.benchmark_group(format!("loopback/{way:?}").to_lowercase());
        group.sample_size(20);
        group.throughput(Throughput::Bytes(LARGE as u64));
        for windowsize in [1, 16, 44] {
            let name = format!("tftp 4 MiB, window {windowsize}");
            group.bench_function(name, |bencher| bencher.iter(|| server.tftp_get(windowsize)));
        }
        group.throughput(Throughput::Elements(1));
        let mut stream = server.connect();
        group.bench_function("http 4 KiB, kept open", |bencher| {
            bencher.iter(|| http_get(&mut stream, false));
        });
        group.bench_function("http 4 KiB, new connection", |bencher| {
            bencher.iter(|| http_get(&mut server.connect(), true));
        });
        group.finish();
    }
}

criterion_group!(benches, loopback);
criterion_main!(benches);
