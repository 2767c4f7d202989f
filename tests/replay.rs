//! The client's side of every capture, fed to the shard by the capture's own clock: each client would boot, and what we
//! answer otherwise than the captured server is listed, with its reason, row by row.

#![allow(missing_docs, reason = "a test")]
#![allow(unreachable_pub, reason = "modules of one test binary")]

#[path = "replay/captures.rs"]
mod captures;
#[path = "replay/listed.rs"]
mod listed;
#[path = "replay/would_boot.rs"]
mod would_boot;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use reveille::boot::client::Arch;
use reveille::boot::plan::{BootFile, Boots, Cidr, Match, Mode, Network, Plan, Reason, Rule, Subnet};
use reveille::replay::{Dhcp, Exchange, NONE, Reply, Report, Setup, Talk, Withheld, run};
use reveille::time::Duration;
use reveille::wire::ethernet::MacAddr;

use self::listed::LISTED;
use self::would_boot::Verdict;

fn replayed(name: &str) -> Report {
    let report = run(&captures::read(name), Setup::default()).expect("a capture");
    assert_eq!(report.damage, None, "{name}");
    report
}

fn dhcp(exchange: &Exchange) -> Option<&Dhcp> {
    match &exchange.talk {
        Talk::Dhcp(talk) => Some(talk),
        _ => None,
    }
}

fn xid(message: &[u8]) -> &[u8] {
    &message[4..8]
}

/// What a client makes of each of our answers, by the number of the request's frame
fn faults(report: &Report) -> Vec<String> {
    let mut offers: Vec<&Reply> = Vec::new();
    let mut faults = Vec::new();
    for exchange in &report.exchanges {
        let verdict = match &exchange.talk {
            Talk::Dhcp(talk) => {
                let mut verdict = Verdict::default();
                assert!(talk.ours.len() <= 1, "frame {}: two answers", exchange.frame);
                for reply in &talk.ours {
                    let offer = offers.iter().rev().find(|offer| xid(&offer.payload) == xid(&talk.request));
                    let is_request = talk.request[240..].starts_with(&[53, 1, 3]);
                    let gives_address = reply.payload[16..20] != [0; 4] && reply.from.port() == 67;
                    let offer = offer.copied().filter(|_| is_request && gives_address);
                    verdict.0.extend(would_boot::dhcp(&talk.request, reply, offer).0);
                    offers.push(reply);
                }
                verdict
            }
            Talk::Tftp(talk) => would_boot::tftp(talk),
            Talk::Http(talk) => would_boot::http(talk),
        };
        faults.extend(verdict.0.iter().map(|fault| format!("frame {}: {fault}", exchange.frame)));
    }
    faults
}

#[test]
fn every_captured_client_would_boot() {
    for name in captures::names() {
        let report = replayed(&name);
        let faults = faults(&report);
        assert!(faults.is_empty(), "{name}:\n{}\n\n{report}", faults.join("\n"));
        for exchange in &report.exchanges {
            let Some(talk) = dhcp(exchange) else { continue };
            let is_for_us = talk.theirs.is_some();
            assert_eq!(talk.withheld, None, "{name}, frame {}", exchange.frame);
            assert_eq!(!talk.ours.is_empty(), is_for_us, "{name}, frame {}\n{report}", exchange.frame);
        }
        assert!(report.exchanges.iter().any(|exchange| dhcp(exchange).is_some()), "{name} holds DHCP");
    }
}

#[test]
fn what_is_answered_otherwise_is_listed() {
    let mut wrong = Vec::new();
    for name in captures::names() {
        let report = replayed(&name);
        let rows = LISTED.iter().find(|(capture, _)| *capture == name).map_or(&[][..], |(_, rows)| rows);
        let mut listed = BTreeSet::new();
        for row in rows {
            for frame in row.frames {
                let fresh =
                    listed.insert((*frame, row.what.to_owned(), row.theirs.to_owned(), row.ours.to_owned()));
                assert!(fresh, "{name}: frame {frame} lists {} twice", row.what);
            }
        }
        let mut found = BTreeSet::new();
        for exchange in &report.exchanges {
            for one in &exchange.differences {
                found.insert((exchange.frame, one.what.clone(), one.theirs.clone(), one.ours.clone()));
            }
        }
        wrong.extend(found.difference(&listed).map(|row| format!("{name}: not listed: {row:?}")));
        wrong.extend(listed.difference(&found).map(|row| format!("{name}: does not occur: {row:?}")));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_row_says_why() {
    let names = captures::names();
    for (capture, rows) in LISTED {
        assert!(names.iter().any(|name| name == capture), "{capture} is no capture");
        for row in *rows {
            assert!(row.why.len() > 20, "{capture}: {} without a reason", row.what);
            assert!(!row.frames.is_empty(), "{capture}: {} of no frame", row.what);
        }
    }
}

#[test]
fn captures_of_others_are_replayed_to_the_end() {
    for (name, file) in captures::others() {
        match run(&file, Setup::default()) {
            Ok(report) => println!(
                "{name}: {} exchanges, {} bytes in words",
                report.exchanges.len(),
                report.to_string().len()
            ),
            Err(error) => println!("{name}: {error}"),
        }
    }
}

/// A real BIOS ROM beside another DHCP server: whoever serves it names a file of their own
fn pixiecore_instead() -> Setup {
    let boots = BootFile::parse("lpxelinux.0").expect("a boot file");
    let network = Network {
        interface: "eth0".to_owned(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        address: Ipv4Addr::new(192, 168, 16, 10),
        mode: Mode::Proxy,
        authoritative: false,
        probe: false,
        subnets: vec![Subnet {
            cidr: Cidr::new(Ipv4Addr::new(192, 168, 16, 0), 24),
            attached: true,
            pools: Vec::new(),
            lease: Duration::from_secs(3600),
            options: Vec::new(),
        }],
    };
    let rule = Rule {
        matches: vec![Match::Arch(vec![Arch::X86_BIOS])],
        boots: Boots::File(boots),
        image: None,
        mode: None,
        local: Default::default(),
        vars: Default::default(),
        reason: Reason::Rule { number: 1, line: 0 },
    };
    Setup {
        plan: Some(Arc::new(Plan::new(vec![network], vec![rule], Vec::new(), Vec::new()))),
        ..Setup::default()
    }
}

#[test]
fn a_bios_rom_of_the_field_would_boot_beside_its_dhcp_server() {
    let wanted = ["google_nsec.pcap", "google_dhcp.pcap"];
    for (name, file) in captures::others().iter().filter(|(name, _)| wanted.contains(&name.as_str())) {
        let mut report = run(file, pixiecore_instead()).expect("a capture");
        // What it then fetched was the captured server's file.
        report.exchanges.retain(|exchange| dhcp(exchange).is_some());
        let faults = faults(&report);
        assert!(faults.is_empty(), "{name}:\n{}\n\n{report}", faults.join("\n"));
        for exchange in &report.exchanges {
            let talk = dhcp(exchange).expect("DHCP");
            let differs =
                |what: &str| exchange.differences.iter().any(|one| one.what == what && one.ours == NONE);
            assert!(!differs("answer"), "{name}, frame {}\n{report}", exchange.frame);
            assert!(talk.theirs.is_none() || !talk.ours.is_empty());
            assert!(talk.withheld.is_none() || talk.withheld == Some(Withheld::OtherServer));
        }
    }
}

#[test]
fn a_client_that_is_offered_another_address_asks_for_it() {
    let (server, mac) = (Ipv4Addr::new(192, 168, 99, 7), MacAddr([2, 0, 0, 0, 0, 7]));
    let pool =
        reveille::boot::plan::Range { first: [192, 168, 99, 200].into(), last: [192, 168, 99, 210].into() };
    let network = Network {
        interface: "eth0".to_owned(),
        mac,
        address: server,
        mode: Mode::Full,
        authoritative: true,
        probe: true,
        subnets: vec![Subnet {
            cidr: Cidr::new(server, 24),
            attached: true,
            pools: vec![pool],
            lease: Duration::from_secs(3600),
            options: Vec::new(),
        }],
    };
    let plan = Plan::new(vec![network], Vec::new(), Vec::new(), Vec::new());
    let file = captures::read("dnsmasq-bios-full");
    let report = run(&file, Setup { plan: Some(Arc::new(plan)), ..Setup::default() }).expect("a capture");
    let acks: Vec<_> = report.exchanges.iter().filter_map(dhcp).filter(|talk| talk.rewritten).collect();
    assert_eq!(acks.len(), 1, "{report}");
    assert_eq!(acks[0].ours.len(), 1, "{report}");
    assert_eq!(acks[0].ours[0].payload[16..20], [192, 168, 99, 200], "{report}");
}

#[test]
fn damage_is_told_and_what_is_before_it_is_replayed() {
    let file = captures::read("dnsmasq-ipxe-http");
    let whole = replayed("dnsmasq-ipxe-http").exchanges.len();
    let report = run(&file[..file.len() - 10], Setup::default()).expect("a capture");
    assert!(report.damage.is_some());
    assert!(report.exchanges.len() >= whole - 1);
    assert!(run(b"no capture", Setup::default()).is_err());
}

/// The OFFER and ACK of the first client that boots, as we answer them
fn whole_answers(report: &Report) -> Vec<(&Dhcp, &Reply)> {
    let talks = report.exchanges.iter().filter_map(dhcp);
    talks.filter_map(|talk| Some((talk, talk.ours.first()?))).take(2).collect()
}

#[test]
fn a_verdict_sees_what_stops_a_boot() {
    let report = replayed("dnsmasq-uefi-http-full");
    let [(_, offer), (request, ack)] = whole_answers(&report)[..] else { panic!("an OFFER and an ACK") };
    let faults = |spoil: &dyn Fn(&mut Reply)| {
        let mut reply = ack.clone();
        spoil(&mut reply);
        would_boot::dhcp(&request.request, &reply, Some(offer)).0.len()
    };
    let end = ack.payload.iter().rposition(|&byte| byte == 255).expect("an END");
    let option = |code: u8| {
        let mut at = 240;
        while ack.payload[at] != code {
            at += 2 + usize::from(ack.payload[at + 1]);
        }
        at
    };
    assert_eq!(faults(&|_| ()), 0);
    assert_ne!(faults(&|reply| reply.payload[4] ^= 1), 0, "xid");
    assert_ne!(faults(&|reply| reply.payload[28] ^= 1), 0, "chaddr");
    assert_ne!(faults(&|reply| reply.payload[19] ^= 1), 0, "yiaddr");
    assert_ne!(faults(&|reply| reply.payload[20..24].fill(0)), 0, "siaddr");
    assert_ne!(faults(&|reply| reply.payload[108..236].fill(0)), 0, "file");
    assert_ne!(faults(&|reply| reply.payload[end] = 0), 0, "END");
    assert_ne!(faults(&|reply| reply.payload.truncate(299)), 0, "length");
    assert_ne!(faults(&|reply| reply.from.set_port(68)), 0, "source port");
    assert_ne!(faults(&|reply| reply.to.set_ip([192, 168, 99, 88].into())), 0, "broadcast");
    for code in [1, 51, 54, 60, 66, 67, 97] {
        // A code that nobody knows in its place: the option is gone.
        assert_ne!(faults(&|reply| reply.payload[option(code)] = 224), 0, "option {code}");
    }
}

/// A small generator: the same damage in every run (Knuth's constants)
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).expect("31 bits")
}

#[test]
fn damaged_captures_do_no_harm() {
    let files = ["dnsmasq-uefi-http-full", "dnsmasq-ipxe-http", "dnsmasq-bios-relay"].map(captures::read);
    let mut state = 42;
    for round in 0..200 {
        let mut file = files[round % files.len()].clone();
        for _ in 0..=next(&mut state) % 40 {
            let at = 24 + next(&mut state) % (file.len() - 24);
            file[at] = u8::try_from(next(&mut state) % 256).expect("a byte");
        }
        if let Ok(report) = run(&file, Setup::default()) {
            assert!(
                !report.to_string().is_empty()
                    && report.json_lines().lines().count() == report.exchanges.len()
            );
        }
    }
}
