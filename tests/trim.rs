//! Every capture that there is, trimmed and its machines renamed: it replays as before, and tells nobody who they were.

#![allow(missing_docs, reason = "a test")]

#[path = "replay/captures.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with another test binary")]
mod captures;

use std::collections::BTreeSet;
use std::mem::discriminant;

use reveille::replay::{Exchange, Report, Setup, Talk};
use reveille::trim;
use reveille::wire::dhcp::{Message, code};
use reveille::wire::pcap::{self, Reader};
use reveille::wire::{checksum, tcp};

fn trimmed(capture: &[u8], key: Option<u64>) -> Vec<u8> {
    let mut file = Vec::new();
    trim::run(capture, key, &mut file).expect("a capture");
    file
}

fn replayed(capture: &[u8]) -> Report {
    reveille::replay::run(capture, Setup::default()).expect("a capture")
}

/// What is asked and answered, without names
fn outline(exchange: &Exchange) -> String {
    let differs: Vec<_> = exchange.differences.iter().map(|one| one.what.as_str()).collect();
    let what = match &exchange.talk {
        Talk::Dhcp(talk) => {
            let options = |payload: &[u8]| {
                let message = Message::parse(payload).expect("ours is DHCP");
                let options: Vec<_> = message.options().map(|(code, value)| (code, value.len())).collect();
                format!("{:?} {options:?}", message.message_type())
            };
            let ours: Vec<_> = talk.ours.iter().map(|reply| options(&reply.payload)).collect();
            let decision =
                talk.decision.map(|one| (discriminant(&one.got), one.reason, one.arch, one.loader));
            format!(
                "{:?} {decision:?} {ours:?} {} {}",
                talk.withheld,
                talk.theirs.is_some(),
                talk.others.len()
            )
        }
        Talk::Tftp(talk) => format!(
            "{} {:?} {:?} {:?} {} {} {:?}",
            talk.filename.len(),
            talk.asked,
            talk.ours.granted,
            talk.ours.error.as_ref().map(|(code, _)| *code),
            talk.ours.blocks,
            talk.ours.bytes,
            talk.stopped
        ),
        Talk::Http(talk) => {
            let status =
                |head: &[u8]| String::from_utf8_lossy(head).lines().next().unwrap_or_default().to_owned();
            format!(
                "{} {} {:?}",
                talk.method,
                talk.target.len(),
                talk.ours.as_ref().map(|ours| status(&ours.head))
            )
        }
    };
    format!("{what}; differs in {differs:?}")
}

/// The outlines of all that firmware does: no other methods of HTTP than GET and HEAD, which a trimmed capture does not keep
fn boots(report: &Report) -> impl Iterator<Item = String> {
    let boots = |exchange: &&Exchange| match &exchange.talk {
        Talk::Http(talk) => ["GET", "HEAD"].contains(&talk.method.as_str()),
        _ => true,
    };
    report.exchanges.iter().filter(boots).map(outline)
}

/// The project's captures, and other projects' where they are at hand
fn all() -> Vec<(String, Vec<u8>)> {
    let own = captures::names().into_iter().map(|name| (name.clone(), captures::read(&name)));
    own.chain(captures::others()).collect()
}

#[test]
fn a_trimmed_capture_replays_as_before() {
    for (name, capture) in all() {
        let before: Vec<_> = boots(&replayed(&capture)).collect();
        for key in [None, Some(1), Some(2)] {
            let mut file = Vec::new();
            let told = trim::run(&capture, key, &mut file).expect("a capture");
            assert!(file.len() <= capture.len() + capture.len() / 2 + 500, "{name}: {} bytes", file.len());
            let report = replayed(&file);
            assert_eq!(report.damage, None, "{name}");
            let after: Vec<_> = boots(&report).collect();
            if told.cut == 0 {
                assert_eq!(after, before, "{name}, key {key:?}\n{report}");
            } else {
                // What is malformed is heard no more.
                assert!(after.len() + told.cut >= before.len(), "{name}, key {key:?}: {told}\n{report}");
                assert!(told.to_string().contains("that are malformed only the headers"), "{told}");
            }
        }
    }
}

/// What names machines in a capture's DHCP
fn telling(capture: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut names = BTreeSet::new();
    for packet in Reader::new(capture).expect("a capture").map_while(Result::ok) {
        let Ok(datagram) = packet.udp4_cut() else { continue };
        let Ok(message) = Message::parse(datagram.payload) else { continue };
        if ![67, 68, 4011].contains(&datagram.destination.port()) {
            continue;
        }
        let mac = message.chaddr();
        if mac.len() == 6 && mac[0] & 1 == 0 && mac != [0; 6] {
            names.insert(mac.to_vec());
        }
        let uuid = message.option(code::PXE_UUID).filter(|uuid| uuid.len() == 17 && uuid[1..] != [0; 16]);
        names.extend(uuid.map(|uuid| uuid[1..].to_vec()));
        let hosts = [code::HOST_NAME, code::DOMAIN_NAME].map(|code| message.option(code));
        names.extend(hosts.into_iter().flatten().filter(|host| host.len() > 4).map(<[u8]>::to_vec));
        let address = datagram.source.ip().octets();
        if !matches!(address[0], 0 | 127 | 224..) && !datagram.source.ip().is_link_local() {
            names.insert(address.to_vec());
            names.insert(format!("{}/", datagram.source.ip()).into_bytes());
        }
    }
    names
}

#[test]
fn nothing_tells_who_the_machines_were() {
    let mut found = 0;
    for (name, capture) in all() {
        let file = trimmed(&capture, Some(7));
        // Of the packets only: stamps and lengths may look like an address.
        let packets: Vec<u8> = Reader::new(&file)
            .expect("ours")
            .flat_map(|packet| packet.expect("whole").data.to_vec())
            .collect();
        for secret in telling(&capture) {
            found += 1;
            let at = packets.windows(secret.len()).position(|window| window == secret);
            assert_eq!(at, None, "{name}: {:?}", String::from_utf8_lossy(&secret));
        }
    }
    assert!(found > 30, "the captures hold names to look for: {found}");
}

/// A frame with another UDP payload
fn with_payload(frame: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = [&frame[..42], payload].concat();
    let len = u16::try_from(payload.len()).expect("a datagram");
    frame[16..18].copy_from_slice(&(len + 28).to_be_bytes());
    frame[38..40].copy_from_slice(&(len + 8).to_be_bytes());
    frame
}

#[test]
fn a_malformed_message_tells_nothing_either() {
    let (mac, uuid) = ([0x52, 0x54, 0, 0x77, 0x88, 0x99], *b"\x4c\x4c\x45\x44\0QRSTUVW\xc0\xb1\xa2\x93");
    let options = |kind: u8| {
        let mut options = vec![53, 1, kind, 61, 7, 1];
        options.extend(mac);
        options.extend([97, 17, 0]);
        options.extend(uuid);
        options.extend([93, 2, 0, 7, 55, 4, 1, 3, 60, 67, 12, 11]);
        options.extend(b"secret-host");
        options.extend([50, 4, 10, 77, 88, 99, 255]);
        options
    };
    let capture = captures::read("dnsmasq-uefi-proxy.pcap");
    let packet = Reader::new(&capture)
        .expect("a capture")
        .map_while(Result::ok)
        .find(|packet| packet.udp4().is_ok_and(|datagram| datagram.destination.port() == 67));
    let frame = packet.expect("a DISCOVER").data;
    let mut message = frame[42..42 + 240].to_vec();
    message[28..34].copy_from_slice(&mac);
    message[12..16].copy_from_slice(&[10, 77, 88, 99]);
    message.extend(options(1));
    message.resize(380, 0);
    let names: [&[u8]; 6] = [&mac, &mac[3..], &uuid, &uuid[8..], b"secret-host", &[10, 77, 88, 99]];
    let mut cut = 0;
    for at in 0..message.len() {
        for damage in 0..4 {
            let mut damaged = message.clone();
            match damage {
                0 => drop(damaged.remove(at)),
                1 => damaged.insert(at, 1),
                2 => damaged[at] ^= 0x40,
                _ => damaged.truncate(at),
            }
            let mut writer = pcap::Writer::new(Vec::new()).expect("a capture");
            writer.packet(1, &with_payload(frame, &damaged)).expect("a frame");
            let mut file = Vec::new();
            let told =
                trim::run(&writer.finish().expect("its bytes"), Some(3), &mut file).expect("a capture");
            cut += told.cut;
            let packet = Reader::new(&file).expect("ours").next().expect("it is kept").expect("whole");
            for name in names {
                let found = packet.data.windows(name.len()).any(|window| window == name);
                assert!(!found, "damage {damage} at {at} shows {name:x?}: {:x?}", packet.data);
            }
        }
    }
    assert!(cut > 300, "{cut} are cut to their headers");
}

#[test]
fn checksums_hold_where_packets_are_whole() {
    let mut whole = 0;
    for (name, capture) in all() {
        let file = trimmed(&capture, Some(9));
        for packet in Reader::new(&file).expect("ours").map(|packet| packet.expect("whole")) {
            let ip = packet.ipv4_cut().expect("IPv4");
            let header_len = usize::from(ip.header.version_ihl & 15) * 4;
            let start = packet.data.len() - ip.payload.len() - header_len;
            let header = packet
                .data
                .windows(header_len)
                .nth(14)
                .filter(|_| start == 14)
                .unwrap_or(&packet.data[start..start + header_len]);
            assert_eq!(checksum::Sum::default().bytes(header).finish(), 0, "{name}");
            if let Ok(datagram) = packet.udp4_cut() {
                assert!(datagram.checksum_ok, "{name}");
                whole += 1;
            } else if let Some(segment) = tcp::Segment::parse_cut(ip.payload)
                && segment.header.checksum.get() != 0
            {
                let (header, payload) = ip.payload.split_at(segment.header_len);
                assert_eq!(tcp::checksum(ip.source(), ip.destination(), header, payload), 0, "{name}");
                whole += 1;
            }
        }
    }
    assert!(whole > 100, "{whole}");
}

#[test]
fn damage_is_told_and_other_files_are_refused() {
    let capture = captures::read(&captures::names()[0]);
    let told = trim::run(&capture[..capture.len() - 3], Some(1), Vec::new()).expect("its front is one");
    assert!(told.damage.is_some() && told.kept > 0 && told.to_string().contains("damaged"), "{told}");
    for text in [&b""[..], b"no capture at all"] {
        assert!(trim::run(text, Some(1), Vec::new()).is_err());
    }
}
