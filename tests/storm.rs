//! Many TFTP clients at once, on a wire of their own: each file whole and byte-exact, with and without loss.

mod support;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use support::{CLIENT, Folder, Net, Random, SERVER, Server, ways};

/// A client's own timer, as short as iPXE's later ones
const CLIENT_TIMEOUT: Duration = Duration::from_secs(1);

/// One transfer as a client sees it; its wire format is written out here, not borrowed from the server
struct Download {
    socket: UdpSocket,
    to: SocketAddr,
    windowsize: u16,
    blksize: usize,
    received: Vec<u8>,
    /// Blocks received in order so far
    blocks: u64,
    acked: u64,
    last_sent: Vec<u8>,
    sent_at: Instant,
    timeouts: u32,
    done: bool,
    /// Every datagram is lost with this chance, in thousandths, on its way out and on its way in
    loss: usize,
    random: Random,
}

impl Download {
    fn start(name: &str, blksize: usize, windowsize: u16, loss: usize, seed: u64) -> Self {
        let socket = UdpSocket::bind(SocketAddr::from((CLIENT, 0))).expect("a socket");
        let mut request = format!("\0\u{1}{name}\0octet\0blksize\0{blksize}\0tsize\00\0");
        if windowsize > 1 {
            request += &format!("windowsize\0{windowsize}\0");
        }
        let mut download = Self {
            socket,
            to: SocketAddr::from((SERVER, 69)),
            windowsize,
            blksize,
            received: Vec::new(),
            blocks: 0,
            acked: 0,
            last_sent: Vec::new(),
            sent_at: Instant::now(),
            timeouts: 0,
            done: false,
            loss,
            random: Random::new(seed),
        };
        download.send(request.into_bytes());
        download
    }

    fn send(&mut self, datagram: Vec<u8>) {
        if !self.is_lost() {
            let _ = self.socket.send_to(&datagram, self.to);
        }
        (self.last_sent, self.sent_at) = (datagram, Instant::now());
    }

    fn is_lost(&mut self) -> bool {
        self.random.below(1000) < self.loss
    }

    fn acknowledge(&mut self) {
        self.acked = self.blocks;
        let [.., high, low] = self.blocks.to_be_bytes();
        self.send(vec![0, 4, high, low]);
    }

    fn on_readable(&mut self) {
        let mut buffer = [0; 2048];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok(_) if self.is_lost() => {}
                Ok((len, from)) => self.on_datagram(&buffer[..len], from),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) => panic!("receive: {e}"),
            }
        }
    }

    fn on_datagram(&mut self, datagram: &[u8], from: SocketAddr) {
        if self.to.port() == 69 {
            assert_ne!(from.port(), 69, "a transfer has an identifier of its own");
            self.to = from;
        }
        assert_eq!(from, self.to, "a transfer keeps its address and port");
        match datagram {
            [0, 6, options @ ..] => {
                let granted = String::from_utf8_lossy(options).replace('\0', " ");
                assert!(granted.contains(&format!("blksize {} ", self.blksize)), "{granted}");
                if self.blocks == 0 {
                    self.acknowledge();
                }
            }
            [0, 3, high, low, payload @ ..] => {
                let [.., next_high, next_low] = (self.blocks + 1).to_be_bytes();
                if (*high, *low) != (next_high, next_low) || self.done {
                    return; // Lost, stale or doubled: the server's timer mends it
                }
                self.received.extend_from_slice(payload);
                self.blocks += 1;
                self.done = payload.len() < self.blksize;
                if self.done || self.blocks - self.acked >= u64::from(self.windowsize) {
                    self.acknowledge();
                }
            }
            [0, 5, ..] => panic!("the server answered {}", String::from_utf8_lossy(&datagram[4..])),
            _ => panic!("not TFTP: {datagram:?}"),
        }
    }

    fn on_time(&mut self, now: Instant) {
        if !self.done && now.duration_since(self.sent_at) > CLIENT_TIMEOUT {
            self.timeouts += 1;
            // RFC 7440 §4: what arrived in order is acknowledged, so that the window starts behind it
            if self.blocks > 0 { self.acknowledge() } else { self.send(self.last_sent.clone()) }
        }
    }
}

/// Runs all downloads to their end and returns the clients' time-outs
fn download_all(mut downloads: Vec<Download>, files: &[Arc<Vec<u8>>], limit: Duration) -> u32 {
    let mut poll = Poll::new().expect("epoll");
    for (i, download) in downloads.iter_mut().enumerate() {
        poll.registry().register(&mut download.socket, Token(i), Interest::READABLE).expect("registered");
    }
    let (mut events, deadline) = (Events::with_capacity(1024), Instant::now() + limit);
    while downloads.iter().any(|d| !d.done) {
        poll.poll(&mut events, Some(Duration::from_millis(50))).expect("poll");
        for event in &events {
            downloads[event.token().0].on_readable();
        }
        let now = Instant::now();
        downloads.iter_mut().for_each(|d| d.on_time(now));
        let left = downloads.iter().filter(|d| !d.done).count();
        assert!(now < deadline, "{left} transfers are not whole after {limit:?}");
    }
    for (i, download) in downloads.iter().enumerate() {
        assert!(download.received == **files[i % files.len()], "transfer {i} is byte-exact");
    }
    downloads.iter().map(|d| d.timeouts).sum()
}

fn raise_file_limit() {
    let (resource, mut limit) =
        (rustix::process::Resource::Nofile, rustix::process::getrlimit(rustix::process::Resource::Nofile));
    limit.current = limit.maximum;
    rustix::process::setrlimit(resource, limit).expect("a soft limit may rise to the hard one");
}

/// `count` clients at once of a server with that driver, with a loss in thousandths in each direction; returns their time-outs
fn storm(way: &str, count: usize, loss: usize, limit: Duration) -> Option<u32> {
    let net = Net::new()?;
    let root = Folder::new(&format!("storm{count}-{way}"));
    // Sizes around a multiple of the block, with an empty last block among them
    let sizes = [64 * 1408, 200_000, 64 * 1408 + 1, 1, 64 * 1408 - 1];
    let files: Vec<_> = sizes.iter().map(|&size| Arc::new(root.file(&format!("f{size}"), size))).collect();
    let _server = Server::start(&net, &root, &["--pool", "10.77.0.100-10.77.0.199", "--io", way]);
    let client = net.on_client(move || {
        raise_file_limit();
        let mut random = Random::new(7);
        let downloads = (0..count)
            .map(|i| {
                let (name, windowsize) =
                    (format!("f{}", sizes[i % sizes.len()]), [1, 1, 4, 16][random.below(4)]);
                Download::start(&name, 1408, windowsize, loss, i as u64 + 1)
            })
            .collect();
        download_all(downloads, &files, limit)
    });
    Some(client.join().expect("every transfer is whole"))
}

#[test]
fn a_thousand_transfers_at_once_are_whole_and_no_client_times_out() {
    for way in ways() {
        if let Some(timeouts) = storm(way, 1000, 0, Duration::from_secs(60)) {
            assert_eq!(timeouts, 0, "{way}: no client waited in vain");
        }
    }
}

#[test]
fn one_percent_loss_in_both_directions_leaves_every_transfer_whole() {
    for way in ways() {
        storm(way, 200, 10, Duration::from_secs(60));
    }
}
