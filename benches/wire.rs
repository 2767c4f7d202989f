//! What a packet costs in this layer: the client's message read, the reply written, TFTP and HTTP requests read.

use std::{
    hint::black_box,
    net::{Ipv4Addr, SocketAddrV4},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use reveille::wire::{
    checksum::Sum,
    dhcp::{self, Header, Message, MessageType, Writer, code},
    ethernet::MacAddr,
    frame::{self, Udp4},
    http, pcap, pxe, tftp,
};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 181);

/// The frame of OVMF's DISCOVER.
fn discover() -> Vec<u8> {
    let file = include_bytes!("../pcaps/dnsmasq-uefi-proxy.pcap");
    let discover = pcap::Reader::new(file).unwrap().flatten().find(|packet| {
        packet
            .udp4()
            .ok()
            .and_then(|datagram| Message::parse(datagram.payload).ok())
            .is_some_and(|message| message.message_type() == Some(MessageType::Discover))
    });
    discover.expect("a DISCOVER in the capture").data.to_vec()
}

fn emit_offer(request: &Header, uuid: &[u8], buffer: &mut [u8]) -> usize {
    let mut header = Header::reply_to(request);
    header.yiaddr = [192, 168, 99, 50];
    header.siaddr = SERVER.octets();
    let mut offer = Writer::new(buffer, &header).expect("a whole buffer");
    let write = |offer: &mut Writer<'_>| {
        offer.limit(dhcp::payload_limit(Some(1472)));
        offer.option_u8(code::MESSAGE_TYPE, MessageType::Offer as u8)?;
        offer.option_ip(code::SERVER_ID, SERVER)?;
        offer.option_u32(code::LEASE_TIME, 43_200)?;
        offer.option_ip(code::SUBNET_MASK, Ipv4Addr::new(255, 255, 255, 0))?;
        offer.option_ips(code::ROUTER, &[SERVER])?;
        offer.option_ips(code::DNS, &[SERVER])?;
        offer.option(code::PXE_UUID, uuid)?;
        offer.set_file(b"bootx64.efi")?;
        offer.option_bytes_nul(code::BOOT_FILE_NAME, b"bootx64.efi")
    };
    write(&mut offer).expect("room for an offer");
    offer.finish()
}

fn dhcp_messages(criterion: &mut Criterion) {
    let frame = discover();
    let payload = frame::parse_udp4(&frame).expect("a datagram").payload;
    let message = Message::parse(payload).expect("a message");
    let mut group = criterion.benchmark_group("dhcp");
    group.bench_function("frame to message", |bencher| {
        bencher.iter(|| {
            let datagram = frame::parse_udp4(black_box(&frame)).ok()?;
            Message::parse(datagram.payload).ok()?.message_type()
        });
    });
    group.bench_function("who asks", |bencher| {
        bencher.iter(|| {
            let message = Message::parse(black_box(payload)).ok()?;
            let class = message.vendor_class().and_then(pxe::ClassId::parse);
            let asked = (message.requested_ip(), message.server_id(), message.max_size());
            let stage = (message.user_class(), message.ipxe_features(), message.relay_agent());
            Some((message.mac(), message.uuid(), message.architectures().next(), class, asked, stage))
        });
    });
    let mut buffer = [0; 1472];
    group.bench_function("offer", |bencher| {
        let uuid = message.uuid_option().expect("option 97");
        bencher.iter(|| emit_offer(black_box(message.header()), uuid, black_box(&mut buffer)));
    });
    group.finish();
}

fn frames(criterion: &mut Criterion) {
    let addresses = Udp4 {
        source_mac: MacAddr([2; 6]),
        destination_mac: MacAddr::BROADCAST,
        source: SocketAddrV4::new(SERVER, 67),
        destination: SocketAddrV4::new(Ipv4Addr::BROADCAST, 68),
    };
    let payload = [0x5a; 1472];
    let mut buffer = [0; 1514];
    let mut group = criterion.benchmark_group("frame");
    for len in [300, 1472] {
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("emit {len}"), |bencher| {
            bencher.iter(|| addresses.emit(black_box(&payload[..len]), black_box(&mut buffer)));
        });
        group.bench_function(format!("checksum {len}"), |bencher| {
            bencher.iter(|| Sum::default().bytes(black_box(&payload[..len])).finish());
        });
    }
    group.finish();
}

fn transfers(criterion: &mut Criterion) {
    let request = b"\0\x01EFI/BOOT/grubx64.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0";
    let mut group = criterion.benchmark_group("tftp");
    group.bench_function("request", |bencher| {
        bencher.iter(|| match tftp::parse(black_box(request)) {
            Ok(tftp::Packet::Rrq(request)) => {
                Some((request.blksize(), request.tsize(), request.windowsize()))
            }
            _ => None,
        });
    });
    group.bench_function("ack", |bencher| bencher.iter(|| tftp::parse(black_box(b"\0\x04\x12\x34"))));
    let mut buffer = [0; 128];
    group.bench_function("oack", |bencher| {
        bencher.iter(|| {
            let mut oack = tftp::OackWriter::new(black_box(&mut buffer))?;
            oack.option("tsize", black_box(1_234_567))?;
            oack.option("blksize", 1468)?;
            Ok::<_, reveille::wire::Full>(oack.finish())
        });
    });
    group.finish();
}

fn heads(criterion: &mut Criterion) {
    let request = b"GET /images/centos7/images/pxeboot/vmlinuz HTTP/1.1\r\nHost: 192.168.99.181\r\n\
        User-Agent: iPXE/1.21.1\r\nConnection: keep-alive\r\nRange: bytes=0-2047\r\n\r\n";
    let mut group = criterion.benchmark_group("http");
    group.bench_function("request", |bencher| bencher.iter(|| http::parse_request(black_box(request))));
    let mut buffer = [0; 512];
    group.bench_function("response", |bencher| {
        bencher.iter(|| {
            let mut head = http::HeadWriter::new(black_box(&mut buffer));
            head.status(200)?;
            head.header("Content-Type", "application/octet-stream")?;
            head.header_u64("Content-Length", black_box(5_391_232))?;
            head.header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")?;
            head.header("Accept-Ranges", "bytes")?;
            head.finish()
        });
    });
    group.finish();
}

criterion_group!(benches, dhcp_messages, frames, transfers, heads);
criterion_main!(benches);
