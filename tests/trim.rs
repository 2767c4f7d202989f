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
use reveille::wire::pcap::Reader;
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
            let file = trimmed(&capture, key);
            assert!(file.len() <= capture.len() + capture.len() / 2 + 500, "{name}: {} bytes", file.len());
            let report = replayed(&file);
            assert_eq!(report.damage, None, "{name}");
            let after: Vec<_> = boots(&report).collect();
            assert_eq!(after, before, "{name}, key {key:?}\n{report}");
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
    // One of them has a message whose fields all stand a byte too far on: nothing in it is where a name would be.
    for (name, capture) in all().into_iter().filter(|(name, _)| name != "tcpdump-dhcp-rfc4388.pcap") {
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
