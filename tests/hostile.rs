//! A million damaged packets: no panic, no growth, and the next good client is served.
//!
//! The first test drives a shard in this process; the second sends to every port of a running server.

mod support;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration as StdDuration;

use reveille::boot::lease::Leases;
use reveille::boot::plan::{BootFile, Boots, Cidr, Mode, Network, Plan, Range, Reason, Rule, Subnet};
use reveille::content::Memory;
use reveille::proto::http::Output;
use reveille::proto::outbox::{Body, Datagram, Outbox, Port};
use reveille::proto::tftp;
use reveille::shard::Shard;
use reveille::time::{Duration, Instant};
use reveille::wire::ethernet::MacAddr;
use reveille::wire::pcap;
use support::{CLIENT, Folder, Net, Random, SERVER, Server, ways};

const MUTATIONS: usize = 1_000_000;
/// One seed repeats the whole run
const SEED: u64 = 0x5eed_0bad;

const REQUESTS: [&str; 5] = [
    "GET /file HTTP/1.1\r\nHost: 10.77.0.1\r\nRange: bytes=0-5,10-,-3\r\nIf-Range: \"x\"\r\n\r\n",
    "HEAD //dir/../file HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://10.77.0.1/%66ile?x=%00 HTTP/1.0\r\nUser-Agent: Syslinux/6.04\r\n\r\n",
    "POST /file HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET /dir HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: Tue, 24 Nov 2026 10:00:00 GMT\r\nIf-None-Match: *\r\n\r\n",
];

/// The payloads that clients sent in the project's captures, with the ports that they went to
fn captured() -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps")).expect("pcaps/") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "pcap") {
            continue;
        }
        let file = fs::read(&path).expect("a capture");
        for packet in pcap::Reader::new(&file).expect("a capture file").map_while(Result::ok) {
            if let Ok(udp) = packet.udp4_cut() {
                found.push((udp.destination.port(), udp.payload.to_vec()));
            }
        }
    }
    found.retain(|(_, payload)| !payload.is_empty());
    assert!(found.len() > 1000, "the captures hold packets");
    found
}

/// Damages a payload in one to four places: a byte, a length, a cut, a doubling, noise behind it
fn mutate(random: &mut Random, payload: &[u8]) -> Vec<u8> {
    let mut bytes = payload.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(7) {
            0 | 1 if !bytes.is_empty() => bytes[at] = random.byte(),
            2 if !bytes.is_empty() => bytes[at] = [0, 0xff, 0x7f, 0x80, b'/', b'\\'][random.below(6)],
            3 => bytes.truncate(at),
            4 => bytes.extend_from_within(at..),
            5 => bytes.extend((0..random.below(64)).map(|_| random.byte())),
            _ => bytes.rotate_left(at),
        }
        bytes.truncate(9000);
    }
    bytes
}

fn plan() -> Plan {
    let subnet = |third: u8, attached| Subnet {
        cidr: Cidr::new(Ipv4Addr::new(10, 77, third, 0), 24),
        attached,
        pools: vec![Range {
            first: Ipv4Addr::new(10, 77, third, 50),
            last: Ipv4Addr::new(10, 77, third, 250),
        }],
        lease: Duration::from_secs(3600),
        options: Vec::new(),
    };
    let network = |mode| Network {
        interface: "s0".into(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        address: SERVER,
        mode,
        authoritative: true,
        probe: true,
        subnets: vec![subnet(0, true), subnet(1, false)],
    };
    let rule = Rule {
        matches: Vec::new(),
        boots: Boots::File(BootFile::parse("http://{server}/{mac}/{uuid}/{host}.efi").expect("a boot file")),
        image: None,
        mode: None,
        local: Default::default(),
        vars: Default::default(),
        reason: Reason::Rule { number: 1, line: 1 },
    };
    Plan::new(
        vec![network(Mode::Full), network(Mode::Proxy), network(Mode::TakeOver)],
        vec![rule],
        Vec::new(),
        Vec::new(),
    )
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// A shard with a driver that takes everything and checks what it is given
struct Bench {
    shard: Shard<Memory>,
    outbox: Outbox,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let mut images = Memory::new();
        images.insert("file", support::noise(1, 100_000), 1_700_000_000);
        images.insert("dir/lpxelinux.0", support::noise(2, 5_000), 1_700_000_000);
        let now = Instant::from_secs(1_700_000_000);
        let shard =
            Shard::new(Arc::new(plan()), tftp::Settings::default(), images, Some(Leases::new(10_000)), now);
        Self { shard, outbox: Outbox::new(), now }
    }

    fn datagram(&mut self, port: Port, network: usize, source: SocketAddrV4, payload: &[u8]) -> usize {
        let datagram = Datagram { port, network, source, destination: SERVER, source_mac: None, payload };
        self.shard.on_datagram(self.now, &datagram, &mut self.outbox);
        self.flush()
    }

    /// Takes what is in the outbox; how many replies that was
    fn flush(&mut self) -> usize {
        for slot in self.outbox.slots() {
            match slot.body {
                Body::Bytes(len) | Body::Frame(len) => assert!(len > 0 && len <= 1472),
                Body::Window(window) => assert!(window.blocks > 0 && window.blksize >= 8),
            }
        }
        let replies = self.outbox.slots().len();
        self.outbox.clear();
        replies
    }

    fn pass(&mut self, span: Duration) {
        self.now += span;
        while self.shard.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.shard.on_deadline(self.now, &mut self.outbox);
            self.flush();
            while let Some(id) = self.shard.poll_changed() {
                let taken = match self.shard.poll_output(id) {
                    Output::Bytes { bytes, .. } => bytes.len() as u64,
                    Output::Image { len, .. } => len,
                    Output::Wait | Output::Hold => continue,
                    Output::Close => {
                        self.shard.on_hangup(self.now, id, &mut self.outbox);
                        continue;
                    }
                };
                self.shard.on_written(self.now, id, taken, &mut self.outbox);
                self.shard.on_hangup(self.now, id, &mut self.outbox);
            }
        }
    }

    /// A connection that sends `bytes` in pieces, takes what it is sent, and leaves
    fn connection(&mut self, random: &mut Random, bytes: &[u8]) -> u64 {
        let Some(id) = self.shard.on_accept(self.now, SocketAddrV4::new(CLIENT, 4000)) else { return 0 };
        let (mut sent, mut taken) = (0, 0);
        for _ in 0..10_000 {
            match self.shard.poll_output(id) {
                Output::Bytes { bytes, .. } => taken = 1 + random.below(bytes.len()) as u64,
                Output::Image { len, .. } => taken = len,
                Output::Wait if sent < bytes.len() && self.shard.wants_bytes(id) => {
                    let end = sent + 1 + random.below(bytes.len() - sent);
                    self.shard.on_bytes(self.now, id, &bytes[sent..end]);
                    sent = end;
                    continue;
                }
                Output::Wait | Output::Hold | Output::Close => break,
            }
            self.shard.on_written(self.now, id, taken, &mut self.outbox);
            self.flush();
        }
        // Some leave without a word: the server's own time-out must find them
        let closed = self.shard.poll_output(id) == Output::Close;
        if closed || random.below(16) != 0 {
            self.shard.on_hangup(self.now, id, &mut self.outbox);
            self.flush();
        }
        taken
    }
}

#[test]
fn a_million_damaged_packets_harm_nothing() {
    let (captured, mut random, mut bench) = (captured(), Random::new(SEED), Bench::new());
    let good =
        captured.iter().find(|(port, payload)| *port == 4011 && payload.len() > 240).expect("a 4011 request");
    let mut early_kib = 0;
    for i in 0..MUTATIONS {
        let (port, payload) = &captured[random.below(captured.len())];
        let port = match (random.below(16), port) {
            (0, _) => [Port::Dhcp, Port::BootServer, Port::Tftp, Port::Transfer][random.below(4)],
            (_, 67) => Port::Dhcp,
            (_, 4011) => Port::BootServer,
            (_, 69) => Port::Tftp,
            _ => Port::Transfer,
        };
        let source = SocketAddrV4::new(CLIENT, 1024 + random.port() % 2000);
        let bytes = mutate(&mut random, payload);
        let replies = bench.datagram(port, random.below(3), source, &bytes);
        assert!(replies <= 4, "one packet, {replies} replies");
        if i % 8 == 0 {
            let request = REQUESTS[random.below(REQUESTS.len())];
            let bytes = mutate(&mut random, request.as_bytes());
            bench.connection(&mut random, &bytes);
        }
        let span = random.below(2000) as u64;
        bench.pass(Duration::from_micros(span));
        if i == MUTATIONS / 5 {
            early_kib = resident_kib();
        }
    }
    let grown_kib = resident_kib().saturating_sub(early_kib);
    assert!(grown_kib < 8 * 1024, "{grown_kib} KiB more than after a fifth of the run");
    // Everybody falls silent: nothing may be left of them
    (0..360).for_each(|_| bench.pass(Duration::from_secs(10)));
    assert!(bench.shard.is_idle(), "no transfer or connection outlives its client");
    assert_eq!(bench.shard.images().open_images(), 0, "no image stays open");
    // The next good clients
    assert_eq!(bench.datagram(Port::BootServer, 1, SocketAddrV4::new(CLIENT, 4011), &good.1), 1);
    assert_eq!(bench.datagram(Port::Tftp, 0, SocketAddrV4::new(CLIENT, 2000), b"\0\x01file\0octet\0"), 1);
    assert!(bench.connection(&mut random, REQUESTS[0].as_bytes()) > 0);
}

#[test]
fn damaged_packets_on_every_port_leave_a_running_server_well() {
    ways().into_iter().for_each(attack_a_running_server);
}

fn attack_a_running_server(way: &str) {
    let Some(net) = Net::new() else { return };
    let root = Folder::new("hostile");
    root.file("file", 50_000);
    let server = Server::start(&net, &root, &["--pool", "10.77.0.100-10.77.0.199", "--io", way]);
    let attack = move |seed| {
        let (captured, mut random) = (captured(), Random::new(seed));
        let socket = UdpSocket::bind(SocketAddr::from((CLIENT, 0))).expect("a socket");
        socket.set_broadcast(true).expect("broadcast");
        for i in 0..60_000 {
            let (_, payload) = &captured[random.below(captured.len())];
            let bytes = mutate(&mut random, payload);
            let port = [67, 69, 4011, random.port()][random.below(4)];
            let _ = socket.send_to(&bytes, (SERVER, port));
            if i % 64 == 0 {
                use std::io::{Read, Write};
                let mut stream = TcpStream::connect((SERVER, 80)).expect("HTTP answers");
                let request = REQUESTS[random.below(REQUESTS.len())].as_bytes();
                let request = mutate(&mut random, request);
                let _ = stream.write_all(&request);
                let _ = stream.shutdown(std::net::Shutdown::Write);
                stream.set_read_timeout(Some(StdDuration::from_secs(5))).expect("a time-out");
                let _ = stream.read(&mut [0; 4096]);
            }
        }
    };
    net.on_client(move || attack(1)).join().expect("the first wave");
    let early_kib = server.resident_kib();
    net.on_client(move || attack(2)).join().expect("the second wave");
    let grown_kib = server.resident_kib().saturating_sub(early_kib);
    assert!(grown_kib < 16 * 1024, "{grown_kib} KiB more after the second wave");
    let fetched = net.client_shell(&format!(
        "curl -sS -f -m 20 http://{SERVER}/file | wc -c; curl -sS -m 20 tftp://{SERVER}/file | wc -c"
    ));
    assert_eq!(
        String::from_utf8_lossy(&fetched.stdout).split_whitespace().collect::<Vec<_>>(),
        ["50000", "50000"]
    );
}
