//! A capture as a script.
//!
//! The first machine that is offered an address and takes one is the one. What it sent again is left out: a clone has the
//! timers of its firmware, which its options tell. A message that the capture kept only the front of cannot be sent.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{Act, Scene, Script, Server};
use crate::heard::dhcp::Request;
use crate::heard::http::{self as heard_http, Connection};
use crate::heard::tftp::Transfer;
use crate::heard::{self, Heard};
use crate::rack::dhcp::{BootServerProfile, Captured, Profile, Secs, Writes, WritesToBootServer};
use crate::rack::firmware::timers;
use crate::rack::message::{DISCOVER, Options, REQUEST, request};
use crate::rack::reach::Identity;
use crate::rack::{http, tftp};
use crate::time::Instant;
use crate::wire::dhcp::{MessageType, PXE_PORT};
use crate::wire::ethernet::MacAddr;
use crate::wire::tftp::Mode;

/// Options of a relay: the machine did not send it
const RELAY_AGENT: u8 = 82;

/// A DHCP message that a machine sent
struct Told<'h> {
    heard: &'h Request,
    kind: u8,
    xid: u32,
    mac: MacAddr,
    options: Options,
}

impl Told<'_> {
    fn is_to_boot_server(&self) -> bool {
        self.heard.heading.destination.port() == PXE_PORT
    }
}

/// One step of the machine
struct Open<'h, 'c> {
    /// The frame that it begins with
    frame: u32,
    began_at: Instant,
    ended_at: Instant,
    is_found: bool,
    kind: Kind<'h, 'c>,
}

enum Kind<'h, 'c> {
    Dhcp { discover: &'h Told<'h>, request: &'h Told<'h> },
    BootServer(&'h Told<'h>),
    Tftp(&'h Transfer<'c>),
    Http { connection: usize, server: SocketAddrV4, asked: &'h heard_http::Request },
}

/// The machine, and what it was told
struct Story {
    who: Identity,
    addresses: Vec<Ipv4Addr>,
    /// Servers with something to boot
    boot: Vec<Ipv4Addr>,
    /// Those that gave addresses
    dhcp: Vec<Ipv4Addr>,
}

pub(super) fn script(capture: &[u8]) -> Result<Script, String> {
    let (frames, damage) = heard::frames::read(capture).map_err(|error| error.to_string())?;
    let heard = heard::listen(&frames);
    let all: Vec<_> = heard.requests.iter().filter_map(told).collect();
    let mut macs: Vec<MacAddr> = Vec::new();
    for told in all.iter().filter(|told| told.kind == DISCOVER) {
        if !macs.contains(&told.mac) {
            macs.push(told.mac);
        }
    }
    let exchanges = |mac: &MacAddr| {
        let own: Vec<_> = all.iter().filter(|told| told.mac == *mac).collect();
        let exchanges = exchanges(&own);
        (!exchanges.is_empty() && own.iter().all(|told| !told.heard.heading.is_cut()))
            .then_some((own, exchanges))
    };
    let (own, mut acts) = macs.iter().find_map(exchanges).ok_or_else(|| why_not(&heard, &all))?;
    let (story, mut left_out) = (story(&own), Vec::new());
    acts.extend(boot_servers(&own));
    acts.extend(transfers(&heard, &story.addresses, &mut left_out)?);
    acts.extend(files(&heard, &story.addresses, &mut left_out)?);
    acts.sort_by_key(|open| open.frame);
    // Asked again on 4011
    acts.dedup_by(|again, first| {
        let is_again = matches!((&first.kind, &again.kind), (Kind::BootServer(_), Kind::BootServer(_)));
        if is_again {
            (first.ended_at, first.is_found) = (again.ended_at, first.is_found || again.is_found);
        }
        is_again
    });
    let scenes = scenes(&story, &acts);
    let Story { who, addresses, .. } = story;
    Ok(Script { who, addresses, scenes, machines: macs.len(), left_out, damage })
}

fn told(heard: &Request) -> Option<Told<'_>> {
    let (kind, mac, xid, mut options) = request(heard.heading.bytes())?;
    options.0.retain(|(code, _)| *code != RELAY_AGENT);
    Some(Told { heard, kind, xid, mac, options })
}

/// Why no machine of a capture can be done again
fn why_not(heard: &Heard<'_>, all: &[Told<'_>]) -> String {
    let cut = heard.requests.iter().filter(|request| request.heading.is_cut()).count();
    let asks = |kind: u8| all.iter().any(|told| told.kind == kind);
    if heard.requests.is_empty() {
        "nobody in it asks by DHCP".into()
    } else if cut > 0 {
        format!("the capture kept only the front of {cut} DHCP messages: capture whole frames (tcpdump -s 0)")
    } else if asks(DISCOVER) {
        "none of its machines goes on from a DISCOVER to a REQUEST: nobody boots in it".into()
    } else if asks(REQUEST) {
        "its machines have their addresses already, and none sends a DISCOVER: begin the capture before one is \
         switched on"
            .into()
    } else {
        "none of its DHCP messages is a DISCOVER".into()
    }
}

/// DISCOVER and REQUEST, each pair once
fn exchanges<'h, 'c>(own: &[&'h Told<'h>]) -> Vec<Open<'h, 'c>> {
    let mut exchanges: Vec<(&Told<'_>, Option<&Told<'_>>, Instant, bool)> = Vec::new();
    for told in own.iter().filter(|told| !told.is_to_boot_server()) {
        let heading = &told.heard.heading;
        let (mut ended_at, mut is_over) = (heading.at, false);
        for answer in &told.heard.answers {
            ended_at = ended_at.max(answer.0.at);
            is_over |= answer.0.message().message_type() == Some(MessageType::Ack);
        }
        let same =
            exchanges.last_mut().filter(|(discover, .., is_over)| discover.xid == told.xid && !*is_over);
        match (told.kind, same) {
            (DISCOVER | REQUEST, Some(same)) => {
                if told.kind == REQUEST {
                    same.1.get_or_insert(told);
                }
                (same.2, same.3) = (same.2.max(ended_at), is_over);
            }
            (DISCOVER, None) => exchanges.push((told, None, ended_at, false)),
            // A renewal, or a message of no boot
            _ => {}
        }
    }
    let open = |(discover, request, ended_at, _): (&'h Told<'h>, Option<&'h Told<'h>>, Instant, bool)| {
        let heading = &discover.heard.heading;
        let kind = Kind::Dhcp { discover, request: request? };
        Some(Open { frame: heading.number, began_at: heading.at, ended_at, is_found: true, kind })
    };
    exchanges.into_iter().filter_map(open).collect()
}

fn story(own: &[&Told<'_>]) -> Story {
    let uuid = own.iter().find_map(|told| {
        let (_, value) = told.options.0.iter().find(|(code, value)| *code == 97 && value.len() == 17)?;
        value[1..].try_into().ok()
    });
    let who = Identity { mac: own[0].mac, uuid: uuid.unwrap_or_default() };
    let mut story = Story { who, addresses: Vec::new(), boot: Vec::new(), dhcp: Vec::new() };
    for told in own {
        if told.is_to_boot_server() {
            story.boot.push(*told.heard.heading.destination.ip());
        }
        // Where the capture lacks the ACK, this is what it gave.
        story.addresses.extend(told.heard.heading.message().requested_ip().filter(|_| told.kind == REQUEST));
        for answer in &told.heard.answers {
            let message = answer.0.message();
            let header = message.header();
            let servers = [answer.server(), header.siaddr()];
            let list = if answer.names_boot_file() { &mut story.boot } else { &mut story.dhcp };
            list.extend(servers.into_iter().filter(|server| !server.is_unspecified()));
            story.addresses.extend(Some(header.yiaddr()).filter(|address| !address.is_unspecified()));
        }
    }
    story
}

impl Story {
    fn server(&self, address: Ipv4Addr) -> Server {
        if self.boot.contains(&address) {
            Server::Boot
        } else if self.dhcp.contains(&address) {
            Server::Dhcp
        } else {
            Server::Other(address)
        }
    }
}

fn boot_servers<'h, 'c>(own: &[&'h Told<'h>]) -> Vec<Open<'h, 'c>> {
    let mut acts = Vec::new();
    for told in own.iter().filter(|told| told.kind == REQUEST && told.is_to_boot_server()) {
        let heading = &told.heard.heading;
        let answered_at = told.heard.answers.last().map(|answer| answer.0.at);
        acts.push(Open {
            frame: heading.number,
            began_at: heading.at,
            ended_at: answered_at.unwrap_or(heading.at),
            is_found: answered_at.is_some(),
            kind: Kind::BootServer(told),
        });
    }
    acts
}

/// Files by TFTP; what clones do not do is added to what is left out
fn transfers<'h, 'c>(
    heard: &'h Heard<'c>,
    addresses: &[Ipv4Addr],
    left_out: &mut Vec<String>,
) -> Result<Vec<Open<'h, 'c>>, String> {
    let mut acts = Vec::new();
    for transfer in heard.transfers.iter().filter(|transfer| addresses.contains(transfer.client.ip())) {
        let name = String::from_utf8_lossy(transfer.request.filename);
        if transfer.is_write {
            left_out.push(format!("{name}, which it wrote"));
            continue;
        }
        if transfer.request.mode != Mode::Octet {
            return Err(format!("it reads {name} as text (netascii), and clones read bytes"));
        }
        acts.push(Open {
            frame: transfer.number,
            began_at: transfer.at,
            ended_at: transfer.ended_at,
            is_found: transfer.has_file(),
            kind: Kind::Tftp(transfer),
        });
    }
    Ok(acts)
}

/// The same by HTTP
fn files<'h, 'c>(
    heard: &'h Heard<'c>,
    addresses: &[Ipv4Addr],
    left_out: &mut Vec<String>,
) -> Result<Vec<Open<'h, 'c>>, String> {
    let mut acts = Vec::new();
    let own = heard.connections.iter().enumerate().filter(|(_, one)| addresses.contains(one.client.ip()));
    for (connection, Connection { server, requests, responses, .. }) in own {
        for (index, asked) in requests.iter().enumerate() {
            if !["GET", "HEAD"].contains(&asked.method.as_str()) {
                left_out.push(format!("{} {}", asked.method, asked.target));
                continue;
            }
            if has_header(&text(&asked.head), "range") {
                return Err(format!("it reads parts of {} (Range), and clones read files", asked.target));
            }
            let response = responses.get(index);
            let status = response.and_then(|response| response.head().status());
            acts.push(Open {
                frame: asked.number,
                began_at: asked.at,
                ended_at: response.map_or(asked.at, |response| response.ended_at.max(asked.at)),
                is_found: status.is_some_and(|status| (200..300).contains(&status)),
                kind: Kind::Http { connection, server: *server, asked },
            });
        }
    }
    Ok(acts)
}

fn text(head: &[u8]) -> String {
    String::from_utf8_lossy(head).into_owned()
}

/// Whether a head has that header
fn has_header(head: &str, name: &str) -> bool {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .any(|(found, _)| found.eq_ignore_ascii_case(name))
}

fn scenes(story: &Story, acts: &[Open<'_, '_>]) -> Vec<Scene> {
    let mut scenes = Vec::new();
    let mut ended_at = acts.first().map_or(Instant::ZERO, |open| open.began_at);
    let mut family = timers::Family::Other;
    let mut acts = acts.iter().peekable();
    while let Some(open) = acts.next() {
        let after = open.began_at.since(ended_at);
        let mut last = open;
        let act = match &open.kind {
            Kind::Dhcp { discover, request } => {
                family = timers::Family::of(&discover.options);
                Act::Dhcp(dhcp(family, story.who, discover, request))
            }
            Kind::BootServer(told) => Act::BootServer(boot_server(family, story.who, told)),
            Kind::Tftp(first) => {
                // It wanted to know the size, or that there is such a file.
                let next = acts.next_if(|next| first.stopped.is_some() && is_again(first, &next.kind));
                last = next.unwrap_or(open);
                let Kind::Tftp(whole) = &last.kind else { continue };
                let probe = next.map(|_| asked(first));
                let profile = tftp_profile(family, asked(whole), probe);
                let name = String::from_utf8_lossy(first.request.filename).into_owned();
                Act::Tftp(profile, story.server(first.server), name)
            }
            Kind::Http { connection, server, asked } => {
                let is_head = asked.method == "HEAD";
                let next = acts.next_if(|next| {
                    is_head && matches!(&next.kind, Kind::Http { asked: other, .. } if other.target == asked.target)
                });
                last = next.unwrap_or(open);
                let keeps = acts.peek().is_some_and(
                    |next| matches!(&next.kind, Kind::Http { connection: other, .. } if other == connection),
                );
                let profile = http_profile(&text(&asked.head), story.who, *server.ip(), is_head, keeps);
                Act::Http(profile, story.server(*server.ip()), server.port(), asked.target.clone())
            }
        };
        ended_at = last.ended_at;
        scenes.push(Scene { after, act, is_found: last.is_found });
    }
    scenes
}

/// Whether a step reads the same file as a transfer
fn is_again(transfer: &Transfer<'_>, next: &Kind<'_, '_>) -> bool {
    matches!(next, Kind::Tftp(again) if again.request.filename == transfer.request.filename)
}

/// The options of a read request
fn asked(transfer: &Transfer<'_>) -> &'static [tftp::Asked] {
    let option =
        |(name, value)| tftp::Asked::parse(&String::from_utf8_lossy(name), &String::from_utf8_lossy(value));
    transfer.request.options.iter().filter_map(option).collect::<Vec<_>>().leak()
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn dhcp(family: timers::Family, who: Identity, discover: &Told<'_>, request: &Told<'_>) -> &'static Profile {
    let (discover_ms, request_ms) = family.dhcp_ms();
    let heading = &discover.heard.heading;
    let options = |told: &Told<'_>| Captured { options: told.options.clone(), who };
    leak(Profile {
        discover_ms,
        request_ms,
        broadcast: heading.message().header().is_broadcast(),
        choice: family.choice(),
        secs: family.secs(),
        padded_to: heading.len,
        nak_is_final: matches!(family, timers::Family::Uefi | timers::Family::UefiHttp),
        options: Writes::Captured { discover: options(discover), request: options(request) },
    })
}

fn boot_server(family: timers::Family, who: Identity, told: &Told<'_>) -> &'static BootServerProfile {
    let heading = &told.heard.heading;
    leak(BootServerProfile {
        waits_ms: &[1_000, 2_000, 3_000, 4_000],
        port: heading.source.port(),
        broadcast: heading.message().header().is_broadcast(),
        settles: family == timers::Family::Uefi,
        secs: if family == timers::Family::Ipxe { Secs::Ipxe } else { Secs::Zero },
        options: WritesToBootServer::Captured(Captured { options: told.options.clone(), who }),
    })
}

fn tftp_profile(
    family: timers::Family,
    options: &'static [tftp::Asked],
    probe: Option<&'static [tftp::Asked]>,
) -> &'static tftp::Profile {
    leak(tftp::Profile {
        options,
        probe,
        waits_ms: family.tftp_ms(),
        on_stray: tftp::OnStray::AckLast,
        abort: "User aborted the transfer",
        blksize_min: 8,
    })
}

fn http_profile(
    head: &str,
    who: Identity,
    server: Ipv4Addr,
    head_first: bool,
    keeps: bool,
) -> &'static http::Profile {
    let (line, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let mac = who.mac.to_string().replace(':', "-");
    let headers = headers.replace(&server.to_string(), "{host}").replace(&mac, "{mac}");
    let headers: String =
        headers.split("\r\n").filter(|line| !line.is_empty()).map(|line| format!("{line}\r\n")).collect();
    let version = if line.ends_with("HTTP/1.0") { "HTTP/1.0" } else { "HTTP/1.1" };
    leak(http::Profile {
        version,
        head_first,
        keeps,
        headers: headers.leak(),
        wants_efi_type: false,
        skips_last_header: false,
        wait_ms: 30_000,
        tries: 3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rack::dhcp::Choice;
    use crate::time::Duration;
    use crate::wire::pcap;

    fn captured(name: &str) -> Script {
        let path = format!("{}/pcaps/{name}", env!("CARGO_MANIFEST_DIR"));
        script(&std::fs::read(path).expect("a capture")).expect("a boot")
    }

    fn names(script: &Script) -> Vec<(&str, bool)> {
        let name = |scene: &'_ Scene| match &scene.act {
            Act::Tftp(_, Server::Boot | Server::Dhcp, name)
            | Act::Http(_, Server::Boot | Server::Dhcp, _, name) => {
                Some((name.clone().leak() as &str, scene.is_found))
            }
            _ => None,
        };
        script.scenes.iter().filter_map(name).collect()
    }

    #[test]
    fn a_uefi_boot_beside_another_server_is_read_step_by_step() {
        let script = captured("dnsmasq-uefi-proxy.pcap");
        let acts: Vec<_> = script.scenes.iter().map(|scene| &scene.act).collect();
        assert!(matches!(acts[0], Act::Dhcp(profile) if profile.choice == Choice::Uefi && profile.broadcast));
        assert!(matches!(acts[1], Act::BootServer(profile) if profile.port == 4011 && profile.settles));
        assert!(
            matches!(acts[2], Act::Tftp(profile, Server::Boot, name) if profile.probe.is_some() && name == "ipxe.efi")
        );
        assert!(
            matches!(acts[3], Act::Dhcp(profile) if profile.choice == Choice::Ipxe && !profile.broadcast)
        );
        assert!(
            script.scenes[2].is_found && script.scenes[3].after > Duration::ZERO,
            "iPXE takes time to start"
        );
    }

    #[test]
    fn a_walk_over_names_is_read_with_its_misses() {
        let script = captured("dnsmasq-arm64-uboot.pcap");
        let names = names(&script);
        assert_eq!(names[0], ("pxelinux.cfg/01-52-52-52-52-52-52", false));
        assert_eq!((names[1], names[8]), (("pxelinux.cfg/C0A8635A", false), ("pxelinux.cfg/C", false)));
        assert_eq!(
            names[9..],
            [
                ("pxelinux.cfg/default-arm", false),
                ("pxelinux.cfg/default", true),
                ("initrd.gz", true),
                ("linux", true)
            ]
        );
    }

    #[test]
    fn a_boot_behind_a_relay_is_read_on_the_servers_side() {
        let script = captured("dnsmasq-bios-relay.pcap");
        let names = names(&script);
        assert_eq!((names[0], names[1]), (("lpxelinux.0", true), ("ldlinux.c32", true)));
        assert_eq!(
            names[2..4],
            [("pxelinux.cfg/01-52-54-00-aa-00-02", false), ("pxelinux.cfg/0A2C0056", false)]
        );
        assert_eq!(
            names[11..],
            [("pxelinux.cfg/default", true), ("/linux", true), ("/initrd.gz", true), ("/awake.txt", true)]
        );
        let about = script.about();
        assert!(about.contains(": 2 DHCP exchanges, 12 files by TFTP, 3 files by HTTP, and "), "{about}");
    }

    fn refused(capture: &[u8]) -> String {
        script(capture).err().expect("no boot")
    }

    #[test]
    fn messages_that_were_cut_cannot_be_sent() {
        for name in ["dnsmasq-bios-full.pcap", "dnsmasq-uefi-full.pcap"] {
            let path = format!("{}/pcaps/{name}", env!("CARGO_MANIFEST_DIR"));
            let why = refused(&std::fs::read(path).expect("a capture"));
            assert!(why.contains("kept only the front of") && why.contains("DHCP messages"), "{name}: {why}");
        }
    }

    /// A capture of the frames of another that are to be kept
    fn part(name: &str, keep: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let path = format!("{}/pcaps/{name}", env!("CARGO_MANIFEST_DIR"));
        let all = std::fs::read(path).expect("a capture");
        let mut writer = pcap::Writer::new(Vec::new()).expect("a capture");
        for packet in pcap::Reader::new(&all).expect("a capture").map_while(Result::ok) {
            let kind = packet.udp4().ok().filter(|udp| udp.destination.port() == 67).map(|udp| udp.payload);
            if kind.is_none_or(&keep) {
                writer.packet(packet.time_us, packet.data).expect("a frame");
            }
        }
        writer.finish().expect("its bytes")
    }

    #[test]
    fn what_is_no_boot_is_refused_in_words() {
        assert_eq!(refused(b"no capture"), "neither a pcap nor a pcapng file");
        let mut writer = pcap::Writer::new(Vec::new()).expect("a capture");
        writer.packet(1, &[0; 60]).expect("a frame");
        assert_eq!(refused(&writer.finish().expect("its bytes")), "nobody in it asks by DHCP");
        let kind = |payload: &[u8]| request(payload).map(|(kind, ..)| kind);
        let name = "dnsmasq-ipxe-http.pcap";
        let why = refused(&part(name, |payload| kind(payload) == Some(REQUEST)));
        assert!(why.starts_with("its machines have their addresses already"), "{why}");
        let why = refused(&part(name, |payload| kind(payload) == Some(DISCOVER)));
        assert!(why.starts_with("none of its machines goes on from a DISCOVER"), "{why}");
        assert!(script(&part(name, |_| true)).is_ok());
    }
}
