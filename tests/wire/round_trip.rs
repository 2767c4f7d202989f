//! What is emitted parses back to the same value.

use std::net::{Ipv4Addr, SocketAddrV4};

use proptest::{collection::vec, prelude::*};
use reveille::wire::{
    Full, arp,
    ethernet::MacAddr,
    frame::{self, Udp4},
    http, ipv4, pcap, pxe, tftp, udp,
};

fn macs() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr)
}

fn sockets() -> impl Strategy<Value = SocketAddrV4> {
    (any::<Ipv4Addr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddrV4::new(ip, port))
}

/// Text a TFTP or HTTP field may hold.
fn text() -> impl Strategy<Value = String> {
    "[!-~]{1,40}"
}

proptest! {
    #[test]
    fn hardware_addresses(mac in macs()) {
        let bare: String = mac.0.iter().map(|byte| format!("{byte:02X}")).collect();
        let cisco = format!("{}.{}.{}", &bare[..4], &bare[4..8], &bare[8..]);
        for text in [mac.to_string(), mac.hyphenated().to_string(), bare, cisco] {
            prop_assert_eq!(text.parse(), Ok(mac));
        }
    }

    #[test]
    fn udp_frames(
        source_mac in macs(),
        destination_mac in macs(),
        source in sockets(),
        destination in sockets(),
        payload in vec(any::<u8>(), 0..1500),
        damaged in any::<prop::sample::Index>(),
    ) {
        let addresses = Udp4 { source_mac, destination_mac, source, destination };
        let mut buffer = [0; 2048];
        let len = addresses.emit(&payload, &mut buffer).unwrap();
        prop_assert_eq!(len, frame::UDP4_HEADERS + payload.len());
        let headers = addresses.headers(&payload).unwrap();
        prop_assert_eq!(&headers[..], &buffer[..frame::UDP4_HEADERS]);
        let datagram = frame::parse_udp4(&buffer[..len]).unwrap();
        prop_assert_eq!((datagram.source_mac, datagram.destination_mac), (source_mac, destination_mac));
        prop_assert_eq!((datagram.source, datagram.destination), (source, destination));
        prop_assert_eq!((datagram.payload, datagram.vlan, datagram.checksum_ok), (&payload[..], None, true));
        prop_assert_eq!(Ok(datagram), frame::parse_udp4_cut(&buffer[..len]));

        // One byte short is told apart, and so is any changed byte above the hardware addresses.
        prop_assert!(frame::parse_udp4(&buffer[..len - 1]).is_err());
        prop_assert_eq!(addresses.emit(&payload, &mut [0; 2048][..len - 1]), Err(Full));
        let damaged = 14 + damaged.index(len - 14);
        buffer[damaged] ^= 0x10;
        if let Ok(datagram) = frame::parse_udp4(&buffer[..len]) {
            prop_assert!(!datagram.checksum_ok, "byte {} changed unseen", damaged);
        }
    }

    #[test]
    fn arp_frames(
        reply in any::<bool>(),
        sender_mac in macs(),
        sender_ip in any::<Ipv4Addr>(),
        target_mac in macs(),
        target_ip in any::<Ipv4Addr>(),
    ) {
        let operation = if reply { arp::Operation::Reply } else { arp::Operation::Request };
        let packet = arp::Packet { operation, sender_mac, sender_ip, target_mac, target_ip };
        let mut buffer = [0; 64];
        let len = packet.emit(&mut buffer).unwrap();
        prop_assert_eq!(len, 42);
        prop_assert_eq!(arp::Packet::parse_frame(&buffer[..len]), Ok(packet));
        // A link pads frames to 60 bytes.
        prop_assert_eq!(arp::Packet::parse_frame(&buffer[..60]), Ok(packet));
        prop_assert_eq!(arp::Packet::parse_frame(&buffer[..len - 1]), Err(arp::Error::Truncated));
        prop_assert_eq!(packet.emit(&mut [0; 41]), Err(Full));
    }

    #[test]
    fn tftp_requests(
        write in any::<bool>(),
        filename in text(),
        mode in prop::sample::select(vec![tftp::Mode::Octet, tftp::Mode::Netascii, tftp::Mode::Mail]),
        options in vec((text(), text()), 0..6),
    ) {
        let pairs: Vec<(&str, &str)> = options.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let mut buffer = [0; 1024];
        let emit = if write { tftp::emit_wrq } else { tftp::emit_rrq };
        let len = emit(filename.as_bytes(), mode, &pairs, &mut buffer).unwrap();
        let request = match tftp::parse(&buffer[..len]).unwrap() {
            tftp::Packet::Rrq(request) if !write => request,
            tftp::Packet::Wrq(request) if write => request,
            other => panic!("{other:?}"),
        };
        prop_assert_eq!((request.filename, request.mode), (filename.as_bytes(), mode));
        let expected = options.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        prop_assert!(request.options.iter().eq(expected));
    }

    #[test]
    fn tftp_transfers(number in any::<u16>(), payload in vec(any::<u8>(), 0..600), tsize in any::<u64>()) {
        let mut buffer = [0; 1024];
        let len = tftp::emit_data(number, &payload, &mut buffer).unwrap();
        let parsed = tftp::parse(&buffer[..len]).unwrap();
        prop_assert_eq!(parsed, tftp::Packet::Data { block: number, payload: &payload });
        let ack = tftp::emit_ack(number);
        prop_assert_eq!(tftp::parse(&ack), Ok(tftp::Packet::Ack { block: number }));

        let mut oack = tftp::OackWriter::new(&mut buffer).unwrap();
        oack.option("tsize", tsize).unwrap();
        oack.option("windowsize", u64::from(number)).unwrap();
        let len = oack.finish();
        let tftp::Packet::Oack(options) = tftp::parse(&buffer[..len]).unwrap() else { panic!() };
        prop_assert_eq!(options.tsize(), Some(tsize));
        prop_assert_eq!(options.windowsize(), (number > 0).then_some(number));
        prop_assert_eq!(options.iter().count(), 2);
    }

    #[test]
    fn tftp_errors(message in "[ -~]{0,80}") {
        let mut buffer = [0; 128];
        let len = tftp::emit_error(tftp::ErrorCode::AccessViolation, &message, &mut buffer).unwrap();
        let parsed = tftp::parse(&buffer[..len]).unwrap();
        prop_assert_eq!(parsed, tftp::Packet::Error { code: 2, message: message.as_bytes() });
    }

    #[test]
    fn boot_menus(
        control in any::<u8>(),
        servers in vec((any::<u16>(), vec(any::<Ipv4Addr>(), 0..3)), 0..4),
        menu in vec((any::<u16>(), vec(any::<u8>(), 0..20)), 0..4),
        timeout_s in any::<u8>(),
        kind in any::<u16>(),
        layer in any::<u16>(),
    ) {
        let items = || menu.iter().map(|(kind, text)| pxe::MenuItem { kind: *kind, text });
        let prompt = pxe::Prompt { timeout_s, text: b"Press F8" };
        let mut buffer = [0; 255];
        let mut writer = pxe::VendorWriter::new(&mut buffer).unwrap();
        writer.discovery_control(control).unwrap();
        writer.boot_servers(servers.iter().map(|(kind, ips)| (*kind, &ips[..]))).unwrap();
        writer.menu(items()).unwrap();
        writer.prompt(prompt).unwrap();
        writer.boot_item(pxe::BootItem { kind, layer }).unwrap();
        let len = writer.finish();
        let vendor = pxe::Vendor::parse(&buffer[..len]);
        prop_assert_eq!(vendor.discovery_control(), Some(control));
        let found: Vec<_> = vendor.boot_servers().map(|server| (server.kind, server.ips().collect())).collect();
        prop_assert_eq!(found, servers.clone());
        prop_assert!(vendor.menu().eq(items()));
        prop_assert_eq!(vendor.prompt(), Some(prompt));
        prop_assert_eq!(vendor.boot_item(), Some(pxe::BootItem { kind, layer }));
        prop_assert_eq!(buffer[len - 1], 255);
    }

    #[test]
    fn http_heads(code in 200..600_u16, size in any::<u64>(), value in text()) {
        let mut buffer = [0; 512];
        let mut writer = http::HeadWriter::new(&mut buffer);
        writer.status(code).unwrap();
        writer.header("ETag", &value).unwrap();
        writer.header_u64("Content-Length", size).unwrap();
        writer.content_range_unsatisfied(size).unwrap();
        let len = writer.finish().unwrap();
        let mut lines = [httparse::EMPTY_HEADER; 4];
        let mut response = httparse::Response::new(&mut lines);
        prop_assert_eq!(response.parse(&buffer[..len]), Ok(httparse::Status::Complete(len)));
        prop_assert_eq!((response.version, response.code), (Some(1), Some(code)));
        prop_assert_eq!(response.reason, Some(http::reason(code)));
        let values: Vec<_> = response.headers.iter().map(|line| line.value.to_vec()).collect();
        let expected = [value, size.to_string(), format!("bytes */{size}")];
        prop_assert_eq!(values, expected.map(String::into_bytes));
    }

    /// Whatever is asked, what comes out lies in the file, in the order asked, and never overlaps.
    #[test]
    fn byte_ranges(
        specs in vec((0..200_u64, prop::option::of(0..200_u64), any::<bool>()), 1..6),
        size in 0..150_u64,
    ) {
        let specs: Vec<String> = specs
            .into_iter()
            .map(|(first, len, suffix)| match len {
                _ if suffix => format!("-{first}"),
                None => format!("{first}-"),
                Some(len) => format!("{first}-{}", first + len),
            })
            .collect();
        if let Ok(ranges) = http::parse_ranges(&format!("bytes={}", specs.join(", ")), size) {
            let mut seen = vec![false; usize::try_from(size).unwrap()];
            for range in ranges.as_slice() {
                prop_assert!(range.first <= range.last && range.last < size);
                for byte in range.first..=range.last {
                    prop_assert!(!std::mem::replace(&mut seen[usize::try_from(byte).unwrap()], true));
                }
            }
            prop_assert!(seen.contains(&true));
        }
    }

    #[test]
    fn capture_files(frames in vec((0..u64::from(u32::MAX) * 1_000_000, vec(any::<u8>(), 0..100)), 0..10)) {
        let mut writer = pcap::Writer::new(Vec::new()).unwrap();
        for (time_us, frame) in &frames {
            writer.packet(*time_us, frame).unwrap();
        }
        let file = writer.finish().unwrap();
        let read: Vec<_> = pcap::Reader::new(&file)
            .unwrap()
            .map(|packet| packet.map(|packet| (packet.time_us, packet.data.to_vec())).unwrap())
            .collect();
        prop_assert_eq!(read, frames);
    }
}

#[test]
fn the_largest_datagram() {
    let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
    let addresses = Udp4 {
        source_mac: MacAddr::ZERO,
        destination_mac: MacAddr::BROADCAST,
        source: any,
        destination: any,
    };
    let mut buffer = vec![0; 70_000];
    let largest = 65_535 - ipv4::HEADER_LEN - udp::HEADER_LEN;
    let payload = vec![0xff; largest + 1];
    let len = addresses.emit(&payload[..largest], &mut buffer).unwrap();
    assert!(frame::parse_udp4(&buffer[..len]).unwrap().checksum_ok);
    assert_eq!(addresses.emit(&payload, &mut buffer), Err(Full));
}
