//! Every frame of every capture goes through the parsers; what the conversations are known to hold is counted.

use std::{
    fs,
    path::{Path, PathBuf},
};

use reveille::wire::{
    dhcp::{self, Message, MessageType},
    ethernet, frame, http, ipv4, pcap, pxe, tftp,
};

/// The project's own captures.
pub(crate) fn own() -> Vec<(PathBuf, Vec<u8>)> {
    let files = read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps"));
    assert_eq!(files.len(), 8, "the captures of pcaps/");
    files
}

/// Captures published with other projects: they lie beside the checkout, or not.
pub(crate) fn others() -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/pcaps/others");
    if !folder.is_dir() {
        eprintln!("skipped: no captures of other projects in {}", folder.display());
        return Vec::new();
    }
    read_folder(&folder)
}

fn read_folder(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "pcap" || ext == "pcapng"))
        .collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// The UDP datagrams of a capture, as far as they were kept.
pub(crate) fn datagrams(file: &[u8]) -> Vec<frame::Datagram<'_>> {
    packets(file).iter().filter_map(|packet| packet.udp4_cut().ok()).collect()
}

/// Packets up to the first error: some captures of other projects are broken on purpose.
fn packets(file: &[u8]) -> Vec<pcap::Packet<'_>> {
    pcap::Reader::new(file).map(|reader| reader.map_while(Result::ok).collect()).unwrap_or_default()
}

pub(crate) fn is_dhcp(datagram: &frame::Datagram<'_>) -> bool {
    let ports = [datagram.source.port(), datagram.destination.port()];
    ports.iter().any(|port| matches!(*port, dhcp::SERVER_PORT | dhcp::CLIENT_PORT | dhcp::PXE_PORT))
}

fn own_capture(name: &str) -> Vec<u8> {
    own().into_iter().find(|(path, _)| path.file_stem().is_some_and(|stem| stem == name)).unwrap().1
}

#[test]
fn own_captures_are_read_to_the_end() {
    for (name, count) in [
        ("dnsmasq-bios-full", 5915),
        ("dnsmasq-bios-proxy", 355),
        ("dnsmasq-uefi-full", 16515),
        ("dnsmasq-uefi-proxy", 1222),
    ] {
        let file = own_capture(name);
        let packets: Vec<_> = pcap::Reader::new(&file).unwrap().map(Result::unwrap).collect();
        assert_eq!(packets.len(), count, "{name}");
        assert!(packets.is_sorted_by_key(|packet| packet.time_us), "{name}");
        for packet in packets {
            assert_eq!(packet.link, pcap::LinkType::Ethernet);
            let frame = ethernet::parse(packet.data).unwrap();
            if frame.ethertype == ethernet::IPV4 {
                ipv4::Packet::parse_cut(frame.payload).unwrap();
            }
            if let Ok(datagram) = packet.udp4() {
                // The servers' host made the captures, and left their checksums to the hardware.
                let from_server = matches!(datagram.source.ip().octets(), [192, 168, 99, 181 | 2]);
                assert!(datagram.checksum_ok || from_server);
                assert_eq!(Ok(datagram), packet.udp4_cut());
            }
        }
    }
}

#[test]
fn a_cut_frame_is_viewed_only_on_request() {
    let file = own_capture("dnsmasq-bios-full");
    let cut = packets(&file).into_iter().find(|packet| packet.original_len == 442).unwrap();
    assert_eq!(cut.udp4().unwrap_err(), frame::Error::Ipv4(ipv4::Error::Truncated));
    let datagram = cut.udp4_cut().unwrap();
    let message = Message::parse(datagram.payload).unwrap();
    assert_eq!(message.message_type(), Some(MessageType::Discover));
    assert!(message.ipxe_features().is_none(), "the cut goes through option 175");
}

#[test]
fn the_proxy_conversation_of_ovmf() {
    let file = own_capture("dnsmasq-uefi-proxy");
    let datagrams = datagrams(&file);
    let messages: Vec<_> = datagrams
        .iter()
        .filter(|datagram| is_dhcp(datagram))
        .map(|datagram| (datagram.destination.port(), Message::parse(datagram.payload).unwrap()))
        .collect();
    assert_eq!(messages.len(), 12);

    let (_, discover) = messages[0];
    assert_eq!(discover.message_type(), Some(MessageType::Discover));
    assert!(discover.is_broadcast());
    assert_eq!(discover.max_size(), Some(1472));
    assert!(discover.architectures().eq([7]));
    let class = pxe::ClassId::parse(discover.vendor_class().unwrap()).unwrap();
    assert_eq!((class.kind, class.arch), (pxe::ClassKind::Pxe, Some(7)));
    assert!(discover.uuid().is_some() && discover.user_class().is_none());

    let to_boot_server: Vec<_> = messages.iter().filter(|(port, _)| *port == dhcp::PXE_PORT).collect();
    assert!(!to_boot_server.is_empty());
    for (_, message) in to_boot_server {
        assert!(matches!(message.message_type(), Some(MessageType::Request | MessageType::Ack)));
    }
    let second_stage = messages.iter().find(|(_, message)| message.ipxe_features().is_some()).unwrap().1;
    assert!(second_stage.user_class().unwrap().contains(b"iPXE"));
    assert!(second_stage.ipxe_features().unwrap().has(dhcp::IpxeFeatures::EFI));
}

#[test]
fn the_transfers_of_grub_and_shim() {
    let file = own_capture("dnsmasq-uefi-full");
    let (mut requests, mut probes, mut blocks) = (0, 0, 0);
    for packet in packets(&file) {
        let Ok(datagram) = packet.udp4_cut() else { continue };
        if is_dhcp(&datagram) || datagram.payload.is_empty() {
            continue;
        }
        match tftp::parse(datagram.payload) {
            Ok(tftp::Packet::Rrq(request)) => {
                requests += 1;
                probes += u32::from(request.tsize().is_some());
                assert_eq!(request.mode, tftp::Mode::Octet);
                assert!(request.blksize().is_some());
            }
            Ok(tftp::Packet::Data { .. }) => blocks += 1,
            Ok(_) => {}
            Err(error) => panic!("{error}: {}", datagram.payload.escape_ascii()),
        }
    }
    assert!(requests > 5 && probes > 0 && blocks > 1000, "{requests} {probes} {blocks}");
}

#[test]
fn the_heads_of_lpxelinux() {
    let file = own_capture("dnsmasq-bios-full");
    let mut targets = Vec::new();
    for packet in packets(&file) {
        let Some(at) = packet.data.windows(4).position(|bytes| bytes == b"GET ") else { continue };
        // Syslinux' long cookie does not fit into what the capture kept.
        let request = [&packet.data[at..], b"\r\n\r\n"].concat();
        let Ok(http::Parsed::Complete { head, .. }) = http::parse_request(&request) else { continue };
        assert_eq!((head.method, head.version_minor), (http::Method::Get, 0));
        assert!(head.connection_close && head.user_agent == Some("Syslinux/6.04"));
        targets.push(head.target.to_owned());
    }
    assert_eq!(targets, ["/img/linux", "/img/initrd.gz"]);
}

#[test]
fn captures_of_other_projects_do_no_harm() {
    for (path, file) in others() {
        let name = path.file_name().unwrap().to_string_lossy();
        let count = packets(&file).len();
        let dhcp = datagrams(&file).iter().filter(|datagram| is_dhcp(datagram)).count();
        eprintln!("{name}: {count} packets, {dhcp} DHCP");
        // Those named after a sanitizer are broken files.
        assert!(count > 0 || name.contains("asan") || name.contains("overflow"), "{name}");
    }
}

/// One block of a little-endian pcapng file.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let len = u32::try_from(padded + 12).unwrap().to_le_bytes();
    [&kind.to_le_bytes()[..], &len, body, &vec![0; padded - body.len()], &len].concat()
}

/// A pcapng file with two interfaces, one of them in nanoseconds and one from Linux' `any`, and an unknown block.
pub(crate) fn pcapng() -> Vec<u8> {
    let section = [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let ethernet_ns = [1, 0, 0, 0, 4, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    let cooked_binary =
        [113, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 0x8a, 0, 0, 0, 14, 0, 8, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    let enhanced = |interface: u8, low: u32, data: &[u8]| {
        let words = [u32::from(interface), 1, low, u32::try_from(data.len()).unwrap(), 99];
        let head: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        block(6, &[&head[..], data].concat())
    };
    [
        block(0x0a0d_0d0a, &section),
        block(1, &ethernet_ns),
        block(1, &cooked_binary),
        block(5, b"statistics"),
        enhanced(0, 5000, b"frame"),
        enhanced(1, 0, b"cooked"),
        block(3, &[6, 0, 0, 0, b'f', b'r', b'a', b'm']),
    ]
    .concat()
}

#[test]
fn pcapng_interfaces_have_their_own_clock() {
    let file = pcapng();
    let packets: Vec<_> = pcap::Reader::new(&file).unwrap().map(Result::unwrap).collect();
    let seen: Vec<_> = packets.iter().map(|packet| (packet.time_us, packet.link, packet.data)).collect();
    let ns = ((1_u64 << 32) + 5000) / 1000;
    let binary = (1_u64 << 32) * 1_000_000 / 1024 + 2_000_000;
    assert_eq!(
        seen,
        [
            (ns, pcap::LinkType::Ethernet, &b"frame"[..]),
            (binary, pcap::LinkType::LinuxSll, b"cooked"),
            (0, pcap::LinkType::Ethernet, b"fram"),
        ]
    );
    assert_eq!((packets[0].original_len, packets[2].original_len), (99, 6));
}

#[test]
fn pcap_in_the_other_byte_order_and_in_nanoseconds() {
    let words = |magic: u32, fraction: u32| {
        [magic, 0x0002_0004, 0, 0, 65535, 101, 7, fraction, 2, 3].map(u32::to_be_bytes).concat()
    };
    for (magic, fraction) in [(0xa1b2_c3d4, 42), (0xa1b2_3c4d, 42_999)] {
        let file = [&words(magic, fraction)[..], b"ip"].concat();
        let packet = pcap::Reader::new(&file).unwrap().next().unwrap().unwrap();
        assert_eq!((packet.time_us, packet.link), (7_000_042, pcap::LinkType::RawIp));
        assert_eq!((packet.data, packet.original_len), (&b"ip"[..], 3));
        let cut = pcap::Reader::new(&file[..file.len() - 1]).unwrap();
        assert_eq!(cut.collect::<Vec<_>>(), [Err(pcap::Error::Truncated)]);
    }
    assert_eq!(pcap::Reader::new(b"PK\x03\x04").unwrap_err(), pcap::Error::NotACapture);
}

#[test]
fn cooked_and_raw_links_lead_to_the_datagram() {
    let any = "192.0.2.1:67".parse().unwrap();
    let addresses = frame::Udp4 {
        source_mac: ethernet::MacAddr::ZERO,
        destination_mac: ethernet::MacAddr::ZERO,
        source: any,
        destination: any,
    };
    let mut frame = [0; 128];
    let len = addresses.emit(b"hello", &mut frame).unwrap();
    let packet = &frame[ethernet::HEADER_LEN..len];
    let sll = [&[0; 14], &[8, 0][..], packet].concat();
    let sll2 = [&[8, 0][..], &[0; 18], packet].concat();
    for (link, data) in [
        (pcap::LinkType::LinuxSll, &sll[..]),
        (pcap::LinkType::LinuxSll2, &sll2),
        (pcap::LinkType::RawIp, packet),
    ] {
        let packet = pcap::Packet { time_us: 0, link, data, original_len: 0 };
        let datagram = packet.udp4().unwrap();
        assert_eq!((datagram.payload, datagram.source), (&b"hello"[..], any));
        assert_eq!(packet.udp4_cut(), Ok(datagram));
    }
}
