//! Requests, plans and replies for the tests of `reply`, `dhcp` and `proxy`.
//!
//! Replies are taken apart by a walker of their own and by `dhcproto`, never by the code that wrote them.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::{Decodable, Decoder, v4};
use proptest::prelude::*;

use super::Exchange;
use crate::boot::client::{Arch, Client};
use crate::boot::plan::{
    BootFile, Boots, Cidr, Machine, Match, Menu, MenuItem, Mode, Network, Plan, Range, Reason, Rule, Subnet,
};
use crate::note::{Got, Note};
use crate::proto::outbox::{Body, Datagram, Outbox, Port, Route};
use crate::time::{Duration, Instant};
use crate::wire::dhcp::{Header, Message, MessageType, Writer, code};
use crate::wire::ethernet::MacAddr;
use crate::wire::pcap;

pub(crate) const NOW: Instant = Instant::from_secs(1_000_000);
pub(crate) const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0xaa, 0, 1]);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 181);
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 1);
pub(crate) const RELAY: Ipv4Addr = Ipv4Addr::new(10, 44, 0, 1);
/// The address of [`NODE`], by reservation
pub(crate) const RESERVED: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 60);
pub(crate) const NODE: MacAddr = MacAddr([0x52, 0x54, 0, 0xaa, 0, 0x60]);
/// The UUID option of the clients that send one
pub(crate) const UUID: [u8; 17] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

fn subnet(cidr: (Ipv4Addr, u8), attached: bool, pool: (Ipv4Addr, Ipv4Addr), router: Ipv4Addr) -> Subnet {
    Subnet {
        cidr: Cidr::new(cidr.0, cidr.1),
        attached,
        pools: vec![Range { first: pool.0, last: pool.1 }],
        lease: Duration::from_secs(43_200),
        options: vec![
            (code::ROUTER, router.octets().to_vec()),
            (code::DNS, vec![9, 9, 9, 9]),
            (code::DOMAIN_NAME, b"rack.example".to_vec()),
            (code::PXELINUX_PATH_PREFIX, b"/pxe/".to_vec()),
        ],
    }
}

/// One interface with its own subnet and one behind a relay
pub(crate) fn network(mode: Mode) -> Network {
    let ip = Ipv4Addr::new;
    let pool = (ip(192, 168, 99, 50), ip(192, 168, 99, 99));
    let far_pool = (ip(10, 44, 0, 50), ip(10, 44, 0, 99));
    Network {
        interface: "eth0".into(),
        mac: MacAddr([2, 0, 0, 0, 0, 0xfe]),
        address: SERVER,
        mode,
        authoritative: true,
        probe: false,
        subnets: vec![
            subnet((ip(192, 168, 99, 0), 24), true, pool, ROUTER),
            subnet((ip(10, 44, 0, 0), 24), false, far_pool, RELAY),
        ],
    }
}

/// Rules by architecture: BIOS `lpxelinux.0`, x64 `bootx64.efi` by TFTP and HTTP, iPXE a script, U-Boot an image
pub(crate) fn rules() -> Vec<Rule> {
    use crate::boot::plan::LoaderName::{Grub, Ipxe, RaspberryPi, UBoot};
    let rule = |number, matches, file: &str| Rule {
        matches: vec![matches],
        boots: Boots::File(BootFile::parse(file).unwrap()),
        image: None,
        mode: None,
        local: Default::default(),
        vars: Default::default(),
        reason: Reason::Rule { number, line: number },
    };
    vec![
        rule(1, Match::Loader(vec![Ipxe]), "http://{server}/boot.ipxe"),
        rule(2, Match::Loader(vec![UBoot]), "uboot.img"),
        rule(3, Match::Loader(vec![RaspberryPi]), "start4.elf"),
        rule(4, Match::Loader(vec![Grub]), "grub.cfg"),
        rule(5, Match::Arch(vec![Arch::X86_BIOS]), "lpxelinux.0"),
        rule(6, Match::Arch(vec![Arch::X64_UEFI, Arch::X64_UEFI_HTTP]), "bootx64.efi"),
    ]
}

fn machines() -> Vec<Machine> {
    vec![Machine {
        mac: Some(NODE),
        uuid: None,
        address: Some(RESERVED),
        hostname: Some("node-60".into()),
        mode: None,
        boot: None,
        serial: None,
        image: None,
        local: Default::default(),
        vars: Default::default(),
        line: 1,
    }]
}

pub(crate) fn plan(mode: Mode) -> Plan {
    plan_of(network(mode))
}

pub(crate) fn plan_of(network: Network) -> Plan {
    Plan::new(vec![network], rules(), Vec::new(), machines())
}

/// As [`plan`], with a menu for every ROM: an installer, a rescue system of another server, the local disk
pub(crate) fn plan_with_menu(mode: Mode) -> Plan {
    let item = |kind, text: &str, boot: Option<&str>, servers: &[Ipv4Addr]| MenuItem {
        kind,
        text: text.into(),
        boot: boot.map(|file| BootFile::parse(file).unwrap()),
        image: None,
        servers: servers.to_vec(),
    };
    let menu = Menu {
        prompt: "Press F8".into(),
        timeout_s: 10,
        items: vec![
            item(0x8000, "Install", Some("install.0"), &[]),
            item(0x8001, "Rescue", None, &[Ipv4Addr::new(192, 168, 99, 7)]),
            item(0, "Local disk", None, &[]),
        ],
    };
    Plan::new(vec![network(mode)], rules(), vec![(Vec::new(), menu, Reason::Menu { line: 9 })], machines())
}

/// A request in the making
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) header: Header,
    pub(crate) options: Vec<(u8, Vec<u8>)>,
    pub(crate) port: Port,
    pub(crate) source: SocketAddrV4,
    pub(crate) destination: Ipv4Addr,
}

impl Request {
    pub(crate) fn bootp() -> Self {
        let mut chaddr = [0; 16];
        chaddr[..6].copy_from_slice(&MAC.0);
        let header =
            Header { op: 1, htype: 1, hlen: 6, xid: 0xd085_418d.into(), chaddr, ..Header::default() };
        Self {
            header,
            options: Vec::new(),
            port: Port::Dhcp,
            source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
            destination: Ipv4Addr::BROADCAST,
        }
    }

    pub(crate) fn of(message_type: MessageType) -> Self {
        Self::bootp().option(code::MESSAGE_TYPE, &[message_type as u8])
    }

    /// As a ROM of that architecture sends it
    pub(crate) fn rom(message_type: MessageType, arch: Arch) -> Self {
        let class = format!("PXEClient:Arch:{:05}:UNDI:003000", arch.0);
        Self::of(message_type)
            .option(code::MAX_MESSAGE_SIZE, &1472u16.to_be_bytes())
            .option(code::PARAMETER_LIST, &[1, 2, 3, 6, 12, 15, 43, 54, 60, 66, 67])
            .option(code::PXE_UUID, &UUID)
            .option(code::ARCHITECTURE, &arch.0.to_be_bytes())
            .option(code::VENDOR_CLASS, class.as_bytes())
    }

    /// As EDK2's HTTP boot sends it
    pub(crate) fn http(message_type: MessageType) -> Self {
        Self::rom(message_type, Arch::X64_UEFI_HTTP)
            .option(code::VENDOR_CLASS, b"HTTPClient:Arch:00016:UNDI:003000")
    }

    /// As iPXE under BIOS sends it
    pub(crate) fn ipxe(message_type: MessageType) -> Self {
        Self::rom(message_type, Arch::X86_BIOS)
            .option(code::USER_CLASS, b"iPXE")
            .option(code::IPXE, &[0x18, 1, 1, 0x13, 1, 1])
            .option(code::CLIENT_ID, &[1, 0x52, 0x54, 0, 0xaa, 0, 1])
    }

    /// Sets an option, in place of one of the same code
    pub(crate) fn option(mut self, code: u8, value: &[u8]) -> Self {
        self.options.retain(|(known, _)| *known != code);
        self.options.push((code, value.to_vec()));
        self
    }

    pub(crate) fn without(mut self, code: u8) -> Self {
        self.options.retain(|(known, _)| *known != code);
        self
    }

    pub(crate) fn mac(mut self, mac: MacAddr) -> Self {
        self.header.chaddr[..6].copy_from_slice(&mac.0);
        self
    }

    pub(crate) fn broadcast(mut self) -> Self {
        self.header.flags = 0x8000.into();
        self
    }

    pub(crate) fn ciaddr(mut self, ciaddr: Ipv4Addr) -> Self {
        self.header.ciaddr = ciaddr.octets();
        self
    }

    pub(crate) fn requested(self, ip: Ipv4Addr) -> Self {
        self.option(code::REQUESTED_ADDRESS, &ip.octets())
    }

    pub(crate) fn server(self, ip: Ipv4Addr) -> Self {
        self.option(code::SERVER_ID, &ip.octets())
    }

    /// Through [`RELAY`]
    pub(crate) fn relayed(mut self) -> Self {
        self.header.giaddr = RELAY.octets();
        self.header.hops = 1;
        self.source = SocketAddrV4::new(RELAY, 67);
        self.destination = SERVER;
        self
    }

    /// Unicast to this server
    pub(crate) fn unicast(mut self, source: Ipv4Addr) -> Self {
        self.source = SocketAddrV4::new(source, 68);
        self.destination = SERVER;
        self
    }

    /// To the boot server, from this port of a client with that address
    pub(crate) fn at_boot_server(self, source: Ipv4Addr, port: u16) -> Self {
        let source = SocketAddrV4::new(source, port);
        let this = self.ciaddr(*source.ip());
        Self { port: Port::BootServer, source, destination: SERVER, ..this }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 1472];
        let mut writer = Writer::new(&mut bytes, &self.header).unwrap();
        for (code, value) in &self.options {
            writer.option(*code, value).unwrap();
        }
        let len = writer.finish();
        bytes.truncate(len);
        bytes
    }
}

/// Hands these bytes to `test` as the shard would
pub(crate) fn with_exchange<R>(
    plan: &Plan,
    now: Instant,
    datagram: &Datagram<'_>,
    test: impl FnOnce(&Exchange<'_>) -> R,
) -> Option<R> {
    let message = Message::parse(datagram.payload).ok()?;
    let client = Client::from_request(&message, datagram.network);
    let answer = plan.answer(&client);
    Some(test(&Exchange { now, datagram, message, client, answer, plan }))
}

/// These bytes as a client on the link sends them
pub(crate) fn datagram(payload: &[u8]) -> Datagram<'_> {
    Datagram {
        port: Port::Dhcp,
        network: 0,
        source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
        destination: Ipv4Addr::BROADCAST,
        source_mac: Some(MAC),
        payload,
    }
}

/// As [`with_exchange`], of a request
pub(crate) fn with_request<R>(
    plan: &Plan,
    now: Instant,
    request: &Request,
    test: impl FnOnce(&Exchange<'_>) -> R,
) -> R {
    let bytes = request.bytes();
    let datagram = Datagram {
        port: request.port,
        network: 0,
        source: request.source,
        destination: request.destination,
        source_mac: Some(MAC),
        payload: &bytes,
    };
    with_exchange(plan, now, &datagram, test).unwrap()
}

/// A reply, taken apart
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) route: Route,
    pub(crate) after_commit: bool,
    pub(crate) len: usize,
    pub(crate) yiaddr: Ipv4Addr,
    pub(crate) ciaddr: Ipv4Addr,
    pub(crate) siaddr: Ipv4Addr,
    pub(crate) is_broadcast: bool,
    pub(crate) hops: u8,
    pub(crate) file: String,
    pub(crate) sname: String,
    pub(crate) options: Vec<(u8, Vec<u8>)>,
}

impl Reply {
    pub(crate) fn get(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(known, _)| *known == code).map(|(_, value)| &value[..])
    }

    pub(crate) fn message_type(&self) -> Option<u8> {
        self.get(code::MESSAGE_TYPE).map(|value| value[0])
    }

    pub(crate) fn codes(&self) -> Vec<u8> {
        self.options.iter().map(|(code, _)| *code).collect()
    }
}

/// What every client of the field requires of every reply: sizes, END, no padding before it, no overload
fn take_apart(bytes: &[u8], route: Route, after_commit: bool) -> Reply {
    assert!((300..=1472).contains(&bytes.len()), "{} bytes", bytes.len());
    let message = v4::Message::decode(&mut Decoder::new(bytes)).expect("dhcproto reads it");
    assert_eq!(message.opcode(), v4::Opcode::BootReply);
    let mut options: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut at = 240;
    while bytes[at] != 255 {
        let (code, len) = (bytes[at], usize::from(bytes[at + 1]));
        assert!(!matches!(code, 0 | 52), "option {code} at {at}");
        options.push((code, bytes[at + 2..at + 2 + len].to_vec()));
        at += 2 + len;
    }
    assert!(bytes[at + 1..].iter().all(|byte| *byte == 0), "nothing behind END");
    let text =
        |field: &[u8]| String::from_utf8(field.split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap();
    Reply {
        route,
        after_commit,
        len: bytes.len(),
        yiaddr: message.yiaddr(),
        ciaddr: message.ciaddr(),
        siaddr: message.siaddr(),
        is_broadcast: message.flags().broadcast(),
        hops: message.hops(),
        file: text(&bytes[108..236]),
        sname: text(&bytes[44..108]),
        options,
    }
}

/// All replies in an outbox, frames left out
pub(crate) fn replies(outbox: &Outbox) -> Vec<Reply> {
    let is_reply = |slot: &&crate::proto::outbox::Slot| matches!(slot.body, Body::Bytes(_));
    let slots = outbox.slots().iter().filter(is_reply);
    slots.map(|slot| take_apart(slot.bytes(), slot.route, slot.after_commit)).collect()
}

/// What the decisions in an outbox say that the clients got
pub(crate) fn got(outbox: &Outbox) -> Vec<Got> {
    let dhcp = |note: &Note| if let Note::Dhcp(note) = note { Some(note.got) } else { None };
    outbox.notes().iter().filter_map(dhcp).collect()
}

/// Requests of every kind, to be damaged
fn samples() -> Vec<Request> {
    let free = Ipv4Addr::new(192, 168, 99, 77);
    let agent: &[u8] = &[1, 2, b'g', b'1', 5, 4, 10, 44, 0, 0, 11, 4, 10, 44, 0, 1];
    let uefi = |message_type| Request::rom(message_type, Arch::X64_UEFI);
    let item: &[u8] = &[71, 4, 0x80, 0, 0, 0, 255];
    vec![
        uefi(MessageType::Discover),
        uefi(MessageType::Discover).broadcast().requested(free),
        uefi(MessageType::Request).server(SERVER).requested(free),
        Request::of(MessageType::Request).requested(free),
        Request::of(MessageType::Request).ciaddr(free).unicast(free),
        Request::of(MessageType::Inform).ciaddr(free),
        Request::of(MessageType::Decline).requested(free),
        Request::of(MessageType::Release).ciaddr(free),
        Request::ipxe(MessageType::Discover).relayed().option(code::RELAY_AGENT, agent),
        Request::http(MessageType::Discover).mac(NODE),
        Request::bootp().mac(NODE),
        Request::of(MessageType::Discover),
        Request::rom(MessageType::Request, Arch::X86_BIOS).ciaddr(free).option(code::VENDOR_SPECIFIC, item),
    ]
}

pub(crate) fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12);
    let tail = prop::collection::vec(any::<u8>(), 0..80);
    (prop::sample::select(samples()), changes, any::<prop::sample::Index>(), any::<bool>(), tail).prop_map(
        |(request, changes, end, is_cut, tail)| {
            let mut bytes = request.bytes();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if is_cut {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes.extend(tail);
            bytes
        },
    )
}

/// Hands what clients sent to the ports of a server in a capture (`pcaps/`) to `test`, whole or cut
pub(crate) fn with_capture(file: &str, plan: &Plan, mut test: impl FnMut(&Exchange<'_>)) {
    let path = format!("{}/pcaps/{file}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).unwrap();
    for packet in pcap::Reader::new(&bytes).unwrap() {
        let packet = packet.unwrap();
        let Ok(udp) = packet.udp4_cut() else { continue };
        let port = match udp.destination.port() {
            67 => Port::Dhcp,
            4011 if udp.source.port() != 4011 || *udp.destination.ip() == SERVER => Port::BootServer,
            _ => continue,
        };
        let datagram = Datagram {
            port,
            network: 0,
            source: udp.source,
            destination: *udp.destination.ip(),
            source_mac: None,
            payload: udp.payload,
        };
        with_exchange(plan, Instant::from_micros(packet.time_us), &datagram, &mut test).unwrap();
    }
}
