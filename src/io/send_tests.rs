//! Flushes against a socket that fills up. A pair of SOCK_SEQPACKET sockets stands for the network: it keeps messages whole,
//! takes no notice of where they are to go, and refuses with EAGAIN when nobody reads.

use std::fs;
use std::net::Ipv4Addr;

use socket2::{Domain, Socket, Type};

use super::*;
use crate::boot::image::{Form, Image, Images};
use crate::limits::{OUTBOX_SLOTS, SLOT_BYTES};
use crate::proto::outbox::{Outbox, Route, Window};
use crate::time::Duration;
use crate::wire::tftp;

/// Before the image was written: it is read from its file each time
const NOW: Instant = Instant::from_secs(1_000);
/// Long after: it is kept in memory
const LATER: Instant = Instant::from_secs(100_000_000_000);
const BLKSIZE: u16 = 1_000;

struct Bench {
    sender: Sender,
    sockets: Sockets,
    far_end: Socket,
    tree: Tree,
    image: Image,
    content: Vec<u8>,
    path: std::path::PathBuf,
}

impl Bench {
    fn new(name: &str) -> Self {
        let content: Vec<u8> = (0..299_500u32).map(|i| (i * 7 / 5 % 251) as u8).collect();
        let root = std::env::temp_dir().join(format!("reveille-send-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).expect("a directory");
        let path = root.join("image");
        fs::write(&path, &content).expect("a file");
        let mut tree = Tree::open(&root).expect("its directory");
        let image = tree.open(b"image", Form::Octet).expect("the file");
        let (near, far_end) =
            Socket::pair(Domain::UNIX, Type::SEQPACKET.nonblocking(), None).expect("a pair");
        let (links, interfaces) = (Vec::new(), Vec::new());
        let sockets = Sockets {
            tftp: near,
            transfers: None,
            http: None,
            boot_server: None,
            routed: None,
            links,
            interfaces,
        };
        Self { sender: Sender::new(0), sockets, far_end, tree, image, content, path }
    }

    fn window(&self, first_block: u16, blocks: u16) -> Window {
        let offset = u64::from(first_block - 1) * u64::from(BLKSIZE);
        let left = u32::try_from(self.image.size - offset).expect("a small file");
        let len = left.min(u32::from(blocks) * u32::from(BLKSIZE));
        Window { image: self.image.id, offset, len, blksize: BLKSIZE, first_block, blocks }
    }

    fn send(&mut self, now: Instant, outbox: &mut Outbox) {
        self.sender.send(now, outbox.slots(), &self.sockets, &mut self.tree);
        outbox.clear();
    }

    /// The messages that have arrived, each cut into blocks
    fn blocks(&self) -> Vec<(u16, Vec<u8>)> {
        let mut buffer = vec![0; 70_000];
        let mut found = Vec::new();
        while let Ok(len) = std::io::Read::read(&mut &self.far_end, &mut buffer) {
            for block in buffer[..len].chunks(usize::from(BLKSIZE) + 4) {
                let tftp::Packet::Data { block, payload } = tftp::parse(block).expect("TFTP") else {
                    panic!("not DATA")
                };
                found.push((block, payload.to_vec()));
            }
        }
        found
    }

    fn stats(&mut self) -> (u64, u64) {
        let mut stats = Stats::new();
        self.sender.count(&mut stats);
        (stats.datagrams_out, stats.dropped(DropReason::SendFailed))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.path.parent().expect("its directory"));
    }
}

fn route() -> Route {
    let to = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 2_000);
    Route { port: Port::Transfer, network: 0, source: Ipv4Addr::LOCALHOST, to, mac: None }
}

#[test]
fn what_finds_no_room_is_sent_later_in_order_and_whole() {
    sends_all_of_an_image(Bench::new("later-read"), NOW);
    sends_all_of_an_image(Bench::new("later-resident"), LATER);
}

fn sends_all_of_an_image(mut bench: Bench, begin: Instant) {
    let mut outbox = Outbox::new();
    // The image ends in a short block: 300 blocks, in windows of 3. One of them lies in two pieces of memory.
    for first in (1..=300).step_by(3) {
        outbox.window(route(), bench.window(first, 3));
    }
    bench.send(begin, &mut outbox);
    assert_eq!(bench.tree.resident(bench.image.id, 0, 1).is_some(), begin == LATER);
    assert!(bench.sender.is_full(Way::Transfer), "nobody reads");
    assert!(!bench.sender.parked.is_empty() && bench.stats().1 == 0);

    let mut now = begin;
    let mut found = bench.blocks();
    while let Some(retry_at) = bench.sender.next_deadline() {
        assert!(retry_at <= now + PARKED_RETRY);
        now = retry_at;
        bench.sender.retry(now, &bench.sockets, &mut bench.tree);
        found.extend(bench.blocks());
    }
    assert!(!bench.sender.is_full(Way::Transfer));
    assert_eq!(found.iter().map(|(block, _)| *block).collect::<Vec<_>>(), (1..=300).collect::<Vec<_>>());
    assert!(found.iter().flat_map(|(_, payload)| payload).eq(&bench.content));
}

#[test]
fn what_finds_no_room_for_a_second_is_dropped_and_counted() {
    let mut bench = Bench::new("stale");
    let mut outbox = Outbox::new();
    for _ in 0..5 {
        for _ in 0..OUTBOX_SLOTS {
            outbox.window(route(), bench.window(1, 1));
        }
        bench.send(NOW, &mut outbox);
    }
    assert_eq!(bench.sender.parked.len(), PARKED_MAX, "bounded");
    let (sent, dropped) = bench.stats();
    assert_eq!(
        sent + dropped + PARKED_MAX as u64,
        5 * OUTBOX_SLOTS as u64,
        "each is sent, parked or counted"
    );

    bench.sender.retry(NOW + PARKED_TIME_MAX, &bench.sockets, &mut bench.tree);
    assert_eq!(bench.stats(), (0, 0), "not yet");
    bench.sender.retry(NOW + PARKED_TIME_MAX + Duration::from_millis(2), &bench.sockets, &mut bench.tree);
    assert_eq!(bench.stats(), (0, PARKED_MAX as u64));
    assert_eq!(bench.sender.next_deadline(), None);
    assert!(!bench.sender.is_full(Way::Transfer));
}

#[test]
fn blocks_leave_one_by_one_where_the_kernel_does_not_cut_them() {
    for is_loaded in [false, true] {
        let mut bench = Bench::new("blocks");
        // The last block is short, and the seventh lies in two pieces of memory.
        let burst = bursts(bench.window(256, 45)).next().expect("one burst");
        let mut outbox = Outbox::new();
        outbox.window(route(), burst.window);
        let slot = outbox.slots()[0].clone();
        if is_loaded {
            let Window { image, offset, len, .. } = burst.window;
            assert!(bench.tree.load(LATER, image, offset, len as usize));
            bench.sender.stage.push_gathered(0, burst);
        } else {
            bench.sender.stage.push_read(0, burst, &mut bench.tree).expect("a read");
        }
        let staged = bench.sender.stage.messages()[0].clone();
        let socket = bench.sockets.by(Way::Transfer).expect("a socket");
        bench.sender.transmit_blocks(Way::Transfer, socket, burst, &staged, &slot, &bench.tree);
        assert_eq!(bench.stats(), (45, 0));
        let mut buffer = [0; 4_000];
        let mut content = Vec::new();
        for number in 256..=300u16 {
            let len = std::io::Read::read(&mut &bench.far_end, &mut buffer).expect("a datagram a block");
            assert_eq!(buffer[2..4], number.to_be_bytes());
            content.extend_from_slice(&buffer[4..len]);
        }
        assert!(content == bench.content[255_000..]);
    }
}

#[test]
fn an_image_that_shrank_is_told_and_nothing_of_it_leaves() {
    let mut bench = Bench::new("shrank");
    let mut outbox = Outbox::new();
    fs::write(&bench.path, b"short").expect("a shorter file");
    outbox.window(route(), bench.window(1, 4));
    outbox.datagram(route(), |buffer: &mut [u8; SLOT_BYTES]| {
        tftp::emit_error(tftp::ErrorCode::Undefined, "", buffer).ok()
    });
    bench.send(NOW, &mut outbox);
    assert_eq!(bench.sender.poll_failed(), Some(route().to));
    assert_eq!(bench.sender.poll_failed(), None);
    assert_eq!(bench.stats(), (1, 0), "others are sent");
}

#[test]
fn replies_without_their_socket_are_counted() {
    let mut bench = Bench::new("nowhere");
    let mut outbox = Outbox::new();
    outbox.datagram(Route { port: Port::Dhcp, ..route() }, |_| Some(300));
    outbox.frame(3, |_| Some(42));
    bench.send(NOW, &mut outbox);
    assert_eq!(bench.stats(), (0, 2));
}
