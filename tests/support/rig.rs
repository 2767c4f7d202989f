//! A shard without a kernel: clients' packets go in, and its replies come out, as often as a measurement wants.

#![allow(unreachable_pub, reason = "a module of several test binaries and benches")]
#![allow(dead_code, reason = "each test or bench uses its own part")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;

use dhcproto::v4::{self, DhcpOption, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use reveille::boot::lease::Leases;
use reveille::boot::plan::{Cidr, Mode, Network, Plan, Range, Subnet, well_known};
use reveille::content::Tree;
use reveille::proto::http::{ConnectionId, Output};
use reveille::proto::outbox::{Body, Datagram, Outbox, Port, Window};
use reveille::proto::tftp;
use reveille::shard::Shard;
use reveille::time::{Duration, Instant};
use reveille::wire::ethernet::MacAddr;

pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The file that is served, and its length: a hundred blocks of the usual size and a short one
pub const FILE: &str = "bootx64.efi";
pub const FILE_LEN: usize = 100 * 1408 + 7;
/// A file as small as a script
pub const SMALL: &str = "boot.ipxe";
pub const SMALL_LEN: usize = 4096;

/// A network with a pool of 4,000 addresses, and the well-known loader of x64 UEFI
pub fn plan() -> Plan {
    plan_with(Mode::Full, FILE, SERVER)
}

/// The same with another mode, boot file and DNS server
pub fn plan_with(mode: Mode, file: &str, dns: Ipv4Addr) -> Plan {
    let subnet = Subnet {
        cidr: Cidr::new(SERVER, 16),
        attached: true,
        pools: vec![Range { first: Ipv4Addr::new(10, 77, 1, 0), last: Ipv4Addr::new(10, 77, 16, 159) }],
        lease: Duration::from_secs(43_200),
        options: vec![(3, SERVER.octets().to_vec()), (6, dns.octets().to_vec())],
    };
    let network = Network {
        interface: "eth0".into(),
        mac: MacAddr([2, 0, 0, 0, 0, 0xfe]),
        address: SERVER,
        mode,
        authoritative: true,
        probe: false,
        subnets: vec![subnet],
    };
    Plan::new(vec![network], well_known::rules(|_, name| name == file, false), Vec::new(), Vec::new())
}

/// A PXE ROM's message: OVMF's options, on an independent codec
pub fn rom_message(machine: u32, kind: MessageType, options: &[DhcpOption]) -> Vec<u8> {
    let [a, b, c, d] = machine.to_be_bytes();
    let mac = [0x52, 0x54, a, b, c, d];
    let any = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new_with_id(0x7700_0000 ^ machine, any, any, any, any, &mac);
    let wanted = [
        1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97,
    ]
    .map(OptionCode::from);
    let own = [
        DhcpOption::MessageType(kind),
        DhcpOption::MaxMessageSize(1472),
        DhcpOption::ParameterRequestList(wanted.to_vec()),
        DhcpOption::ClientMachineIdentifier([&[0; 13][..], &machine.to_be_bytes()].concat()),
        DhcpOption::ClientNetworkInterface(1, 3, 16),
        DhcpOption::ClientSystemArchitecture(v4::Architecture::BC),
        DhcpOption::ClassIdentifier(b"PXEClient:Arch:00007:UNDI:003016".to_vec()),
    ];
    for option in own.iter().chain(options) {
        message.opts_mut().insert(option.clone());
    }
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).expect("an encodable message");
    bytes
}

/// A shard that serves two files, its outbox, and the folder that holds them
pub struct Rig {
    pub shard: Shard<Tree>,
    pub outbox: Outbox,
    pub now: Instant,
    folder: PathBuf,
}

impl Rig {
    pub fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("reveille-rig-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        for (file, len) in [(FILE, FILE_LEN), (SMALL, SMALL_LEN)] {
            fs::write(folder.join(file), vec![0x5a; len]).expect("a file");
        }
        let now = Instant::from_secs(1_800_000_000);
        let tree = Tree::open(&folder).expect("the folder");
        let leases = Some(Leases::new(8192));
        let shard = Shard::new(Arc::new(plan()), tftp::Settings::default(), tree, leases, now);
        Self { shard, outbox: Outbox::new(), now, folder }
    }

    /// Hands a datagram to the shard, a millisecond after the last one
    pub fn datagram(&mut self, port: Port, from: SocketAddrV4, payload: &[u8]) {
        self.now += Duration::from_millis(1);
        let destination = if port == Port::Dhcp { Ipv4Addr::BROADCAST } else { SERVER };
        let source_mac = None;
        let datagram = Datagram { port, network: 0, source: from, destination, source_mac, payload };
        self.shard.on_datagram(self.now, &datagram, &mut self.outbox);
    }

    /// Empties the outbox, as a driver does after a batch
    pub fn drain(&mut self) -> usize {
        let replies = self.outbox.slots().len();
        self.outbox.clear();
        replies
    }

    // --- DHCP ---

    /// A machine's DISCOVER, and its REQUEST for what it is offered
    pub fn dhcp_messages(&mut self, machine: u32) -> [Vec<u8>; 2] {
        let discover = rom_message(machine, MessageType::Discover, &[]);
        self.datagram(Port::Dhcp, DHCP_CLIENT, &discover);
        let offer = self.outbox.slots().first().expect("an OFFER").bytes();
        let offered =
            Message::decode(&mut Decoder::new(offer)).expect("an OFFER that dhcproto reads").yiaddr();
        self.drain();
        let options = [DhcpOption::RequestedIpAddress(offered), DhcpOption::ServerIdentifier(SERVER)];
        [discover, rom_message(machine, MessageType::Request, &options)]
    }

    /// DISCOVER, OFFER, REQUEST, ACK
    pub fn four_way(&mut self, [discover, request]: &[Vec<u8>; 2]) {
        self.datagram(Port::Dhcp, DHCP_CLIENT, discover);
        assert_eq!(self.drain(), 1, "one OFFER");
        self.datagram(Port::Dhcp, DHCP_CLIENT, request);
        assert_eq!(self.outbox.changes().len(), 1, "the ACK's lease goes to disk first");
        assert_eq!(self.drain(), 1, "one ACK");
    }

    // --- TFTP ---

    /// A request for [`FILE`], and its OACK; the ACK 0 is the client's next word
    pub fn tftp_begin(&mut self, from: SocketAddrV4, request: &[u8]) {
        self.datagram(Port::Tftp, from, request);
        assert_eq!(self.drain(), 1, "one OACK");
    }

    /// An ACK; the window that it is answered with
    pub fn tftp_ack(&mut self, from: SocketAddrV4, block: u16) -> Option<Window> {
        let [high, low] = block.to_be_bytes();
        self.datagram(Port::Transfer, from, &[0, 4, high, low]);
        let window = self.outbox.slots().first().map(|slot| match slot.body {
            Body::Window(window) => window,
            other => panic!("a window, not {other:?}"),
        });
        self.drain();
        window
    }

    // --- HTTP ---

    pub fn connect(&mut self) -> ConnectionId {
        self.shard.on_accept(self.now, SocketAddrV4::new(CLIENT, 40_000)).expect("room")
    }

    /// A request on an open connection, to the last byte of its response; returns how many there were
    pub fn http_get(&mut self, id: ConnectionId, request: &[u8]) -> u64 {
        self.now += Duration::from_millis(1);
        self.shard.on_bytes(self.now, id, request);
        let mut total = 0;
        loop {
            let written = match self.shard.poll_output(id) {
                Output::Bytes { bytes, .. } => bytes.len() as u64,
                Output::Image { len, .. } => len,
                Output::Wait => break,
                Output::Close => panic!("the connection stays open"),
            };
            total += written;
            self.shard.on_written(self.now, id, written, &mut self.outbox);
        }
        self.drain();
        total
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A ROM without an address
pub const DHCP_CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);

/// What an x64 ROM asks for by TFTP, with a window of so many blocks
pub fn tftp_request(windowsize: u16) -> Vec<u8> {
    let window = if windowsize > 1 { format!("windowsize\0{windowsize}\0") } else { String::new() };
    format!("\0\u{1}{FILE}\0octet\0tsize\00\0blksize\01408\0{window}").into_bytes()
}

/// What iPXE asks for by HTTP
pub fn http_request(path: &str) -> Vec<u8> {
    format!(
        "GET /{path} HTTP/1.1\r\nConnection: keep-alive\r\nUser-Agent: iPXE/1.21.1\r\nHost: {SERVER}\r\n\r\n"
    )
    .into_bytes()
}
