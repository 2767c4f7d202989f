//! A capture as a script.
//!
//! The first machine that sends a DISCOVER is the one. What it sent again is left out: a clone has the timers of its firmware,
//! which its options tell. What the capture kept only the front of is no message that could be sent.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{Act, Scene, Script, Server};
use crate::rack::dhcp::{BootServerProfile, Captured, Choice, Profile, Secs, Writes, WritesToBootServer};
use crate::rack::firmware::timers;
use crate::rack::message::{ACK, DISCOVER, Options, REQUEST, Reply, addressee, read, request};
use crate::rack::{http, tftp};
use crate::time::Instant;
use crate::wire::ethernet::MacAddr;
use crate::wire::{ipv4, pcap, tcp};

/// Options of a relay: the machine did not send it
const RELAY_AGENT: u8 = 82;

/// What a frame holds
struct Seen<'c> {
    at: Instant,
    from: SocketAddrV4,
    to: SocketAddrV4,
    payload: &'c [u8],
    is_tcp: bool,
    is_cut: bool,
}

/// A step whose end is not known yet
struct Open {
    began_at: Instant,
    ended_at: Instant,
    kind: OpenAct,
    is_found: bool,
}

enum OpenAct {
    Dhcp { xid: u32, discover: (Options, usize), request: Option<Options>, broadcast: bool },
    BootServer { port: u16, options: Options, broadcast: bool },
    Tftp { port: u16, server: Ipv4Addr, name: String, asked: Vec<tftp::Asked>, is_probe: bool },
    Http { port: u16, server: SocketAddrV4, head: String },
}

#[derive(Default)]
struct Story {
    mac: Option<MacAddr>,
    addresses: Vec<Ipv4Addr>,
    /// Servers that DHCP named
    named: Vec<Ipv4Addr>,
    acts: Vec<Open>,
    cut: usize,
}

pub(super) fn script(capture: &[u8]) -> Result<Script, String> {
    let reader = pcap::Reader::new(capture).map_err(|error| error.to_string())?;
    let mut story = Story::default();
    // A capture that ends in the middle of a frame is read as far as it goes.
    for packet in reader.map_while(Result::ok) {
        if let Some(seen) = seen(&packet) {
            story.on_frame(&seen);
        }
    }
    let Some(mac) = story.mac else { return Err(story.why_not()) };
    let is_whole = |open: &Open| !matches!(open.kind, OpenAct::Dhcp { request: None, .. });
    story.acts.retain(is_whole);
    if !matches!(story.acts.first().map(|open| &open.kind), Some(OpenAct::Dhcp { .. })) {
        return Err(story.why_not());
    }
    let scenes = scenes(&story, mac);
    Ok(Script { mac, addresses: story.addresses, scenes })
}

fn seen<'c>(packet: &pcap::Packet<'c>) -> Option<Seen<'c>> {
    let at = Instant::from_micros(packet.time_us);
    let is_cut = usize::try_from(packet.original_len).is_ok_and(|len| len > packet.data.len());
    if let Ok(udp) = packet.udp4_cut() {
        let (from, to) = (udp.source, udp.destination);
        return Some(Seen { at, from, to, payload: udp.payload, is_tcp: false, is_cut });
    }
    let ip = packet.ipv4_cut().ok().filter(|ip| ip.protocol() == ipv4::TCP && !ip.is_fragment())?;
    let segment = tcp::Segment::parse_cut(ip.payload)?;
    let from = SocketAddrV4::new(ip.source(), segment.header.source_port.get());
    let to = SocketAddrV4::new(ip.destination(), segment.header.destination_port.get());
    Some(Seen { at, from, to, payload: segment.payload, is_tcp: true, is_cut })
}

impl Story {
    fn why_not(&self) -> String {
        match self.cut {
            0 => "it holds no machine's DISCOVER and REQUEST".into(),
            cut => format!(
                "the capture kept only the front of {cut} DHCP messages: capture whole frames (tcpdump -s 0)"
            ),
        }
    }

    fn on_frame(&mut self, seen: &Seen<'_>) {
        if seen.is_tcp {
            return self.on_tcp(seen);
        }
        match (seen.from.port(), seen.to.port()) {
            (_, 67) => self.on_request(seen),
            (67, _) => self.on_reply(seen),
            (_, 4011) => self.on_boot_server_request(seen),
            (4011, _) => self.end(seen, |kind| matches!(kind, OpenAct::BootServer { .. })),
            (_, 69) if self.is_own(seen.from) => self.on_read_request(seen),
            _ => self.on_transfer(seen),
        }
    }

    fn is_own(&self, from: SocketAddrV4) -> bool {
        self.addresses.contains(from.ip())
    }

    fn on_request(&mut self, seen: &Seen<'_>) {
        let Some((kind, mac, xid, mut options)) = request(seen.payload) else { return };
        if self.mac.is_some_and(|own| own != mac) {
            return;
        }
        if seen.is_cut {
            self.cut += 1;
            return;
        }
        options.0.retain(|(code, _)| *code != RELAY_AGENT);
        let broadcast = seen.payload.get(10).is_some_and(|flags| flags & 0x80 != 0);
        let known = self.acts.iter_mut().rev().find_map(|open| match &mut open.kind {
            OpenAct::Dhcp { xid: known, request, .. } if *known == xid => Some(request),
            _ => None,
        });
        match (kind, known) {
            (DISCOVER, None) => {
                self.mac = Some(mac);
                let discover = (options, seen.payload.len());
                self.begin(seen, OpenAct::Dhcp { xid, discover, request: None, broadcast });
            }
            (REQUEST, Some(first)) => {
                first.get_or_insert(options);
            }
            // Sent again, a renewal, or somebody who goes on where another has begun
            _ => {}
        }
    }

    fn on_reply(&mut self, seen: &Seen<'_>) {
        let Some((xid, _)) = addressee(seen.payload).filter(|(_, mac)| Some(*mac) == self.mac) else {
            return;
        };
        // What a strict firmware would refuse was good enough for this one.
        let Ok(reply) = read(seen.payload, true, None).or_else(|_| lenient(seen.payload)) else { return };
        self.named.extend([reply.siaddr, reply.server]);
        if reply.kind == ACK && reply.has_address() && !self.addresses.contains(&reply.yiaddr) {
            self.addresses.push(reply.yiaddr);
        }
        self.end(seen, |kind| matches!(kind, OpenAct::Dhcp { xid: known, .. } if *known == xid));
    }

    fn on_boot_server_request(&mut self, seen: &Seen<'_>) {
        let Some((REQUEST, mac, _, options)) = request(seen.payload) else { return };
        if Some(mac) != self.mac || seen.is_cut {
            return;
        }
        self.named.push(*seen.to.ip());
        let is_again = matches!(self.acts.last(), Some(Open { kind: OpenAct::BootServer { .. }, .. }));
        if !is_again {
            let broadcast = seen.payload.get(10).is_some_and(|flags| flags & 0x80 != 0);
            self.begin(seen, OpenAct::BootServer { port: seen.from.port(), options, broadcast });
        }
    }

    fn on_read_request(&mut self, seen: &Seen<'_>) {
        let [0, 1, words @ ..] = seen.payload else { return };
        let text = String::from_utf8_lossy(words);
        let mut words = text.split('\0');
        let (Some(name), Some(_mode)) = (words.next(), words.next()) else { return };
        let mut asked = Vec::new();
        while let (Some(option), Some(value)) = (words.next(), words.next()) {
            asked.extend(tftp::Asked::parse(option, value));
        }
        let port = seen.from.port();
        let is_again = matches!(self.acts.last(), Some(Open { kind: OpenAct::Tftp { port: known, name: same, .. }, is_found: false, .. })
            if *known == port && same == name);
        if !is_again {
            let (server, name) = (*seen.to.ip(), name.to_owned());
            self.begin(seen, OpenAct::Tftp { port, server, name, asked, is_probe: false });
        }
    }

    fn on_transfer(&mut self, seen: &Seen<'_>) {
        let is_own = self.is_own(seen.from);
        let port = if is_own { seen.from.port() } else { seen.to.port() };
        let Some(open) = self
            .acts
            .iter_mut()
            .rev()
            .find(|open| matches!(&open.kind, OpenAct::Tftp { port: known, .. } if *known == port))
        else {
            return;
        };
        let OpenAct::Tftp { is_probe, .. } = &mut open.kind else { return };
        match (is_own, seen.payload) {
            // It wanted to know the size, or that there is such a file.
            (true, [0, 5, ..]) => *is_probe = true,
            (false, [0, 3 | 6, ..]) => open.is_found = true,
            _ => {}
        }
        open.ended_at = seen.at;
    }

    fn on_tcp(&mut self, seen: &Seen<'_>) {
        if self.is_own(seen.from) {
            let is_request = [&b"GET "[..], b"HEAD "].iter().any(|word| seen.payload.starts_with(word));
            let text = String::from_utf8_lossy(seen.payload);
            if let Some((head, _)) = text.split_once("\r\n\r\n").filter(|_| is_request) {
                let kind = OpenAct::Http { port: seen.from.port(), server: seen.to, head: head.to_owned() };
                self.begin(seen, kind);
            }
            return;
        }
        let port = seen.to.port();
        let is_ok = seen.payload.starts_with(b"HTTP/1") && seen.payload.get(9) == Some(&b'2');
        let mut acts = self.acts.iter_mut().rev();
        if let Some(open) =
            acts.find(|open| matches!(&open.kind, OpenAct::Http { port: known, .. } if *known == port))
            && !seen.payload.is_empty()
        {
            open.is_found |= is_ok;
            open.ended_at = seen.at;
        }
    }

    fn begin(&mut self, seen: &Seen<'_>, kind: OpenAct) {
        self.acts.push(Open { began_at: seen.at, ended_at: seen.at, kind, is_found: false });
    }

    fn end(&mut self, seen: &Seen<'_>, is: impl Fn(&OpenAct) -> bool) {
        if let Some(open) = self.acts.iter_mut().rev().find(|open| is(&open.kind)) {
            (open.ended_at, open.is_found) = (seen.at, true);
        }
    }

    fn server(&self, address: Ipv4Addr) -> Server {
        if self.named.contains(&address) { Server::Named } else { Server::Other(address) }
    }
}

/// The few fields that matter here of a reply that no strict firmware would take
fn lenient(payload: &[u8]) -> Result<Reply, &'static str> {
    let mut padded = payload.to_vec();
    padded.resize(payload.len().max(300), 0);
    read(&padded, false, None)
}

fn scenes(story: &Story, mac: MacAddr) -> Vec<Scene> {
    let mut scenes = Vec::new();
    let mut ended_at = story.acts.first().map_or(Instant::ZERO, |open| open.began_at);
    let mut acts = story.acts.iter().peekable();
    let mut family = timers::Family::Other;
    while let Some(open) = acts.next() {
        let after = open.began_at.since(ended_at);
        let mut last = open;
        let act = match &open.kind {
            OpenAct::Dhcp { discover: (options, len), request: Some(asked), broadcast, .. } => {
                family = timers::Family::of(options);
                Act::Dhcp(dhcp(family, mac, (options, *len), asked, *broadcast))
            }
            OpenAct::Dhcp { .. } => continue,
            OpenAct::BootServer { port, options, broadcast } => {
                Act::BootServer(boot_server(family, mac, *port, options, *broadcast))
            }
            OpenAct::Tftp { server, name, asked, is_probe, .. } => {
                let next = acts.next_if(|next| {
                    *is_probe && matches!(&next.kind, OpenAct::Tftp { name: same, .. } if same == name)
                });
                let probe = next.map(|_| &*asked.clone().leak());
                last = next.unwrap_or(open);
                let OpenAct::Tftp { asked, .. } = &last.kind else { continue };
                let profile = tftp_profile(family, asked.clone().leak(), probe);
                Act::Tftp(profile, story.server(*server), name.clone())
            }
            OpenAct::Http { port, server, head } => {
                let is_head = head.starts_with("HEAD ");
                let next = acts.next_if(|next| {
                    is_head && matches!(&next.kind, OpenAct::Http { head: other, .. } if path(other) == path(head))
                });
                last = next.unwrap_or(open);
                let keeps = acts.peek().is_some_and(
                    |next| matches!(&next.kind, OpenAct::Http { port: other, .. } if other == port),
                );
                let profile = http_profile(head, mac, *server.ip(), is_head, keeps);
                Act::Http(profile, story.server(*server.ip()), server.port(), path(head).to_owned())
            }
        };
        ended_at = last.ended_at;
        scenes.push(Scene { after, act, is_found: last.is_found });
    }
    scenes
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn dhcp(
    family: timers::Family,
    mac: MacAddr,
    (discover, len): (&Options, usize),
    request: &Options,
    broadcast: bool,
) -> &'static Profile {
    let (discover_ms, request_ms) = family.dhcp_ms();
    let options = |options: &Options| Captured { options: options.clone(), mac };
    leak(Profile {
        discover_ms,
        request_ms,
        broadcast,
        choice: match family {
            timers::Family::Ipxe => Choice::Ipxe,
            timers::Family::Uefi => Choice::Uefi,
            timers::Family::UefiHttp => Choice::UefiHttp,
            timers::Family::Other => Choice::First,
        },
        secs: match family {
            timers::Family::Ipxe => Secs::Ipxe,
            timers::Family::Uefi | timers::Family::UefiHttp => Secs::Zero,
            timers::Family::Other => Secs::Elapsed,
        },
        padded_to: len,
        nak_is_final: matches!(family, timers::Family::Uefi | timers::Family::UefiHttp),
        options: Writes::Captured { discover: options(discover), request: options(request) },
    })
}

fn boot_server(
    family: timers::Family,
    mac: MacAddr,
    port: u16,
    options: &Options,
    broadcast: bool,
) -> &'static BootServerProfile {
    leak(BootServerProfile {
        waits_ms: &[1_000, 2_000, 3_000, 4_000],
        port,
        broadcast,
        settles: family == timers::Family::Uefi,
        secs: if family == timers::Family::Ipxe { Secs::Ipxe } else { Secs::Zero },
        options: WritesToBootServer::Captured(Captured { options: options.clone(), mac }),
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

/// The path that a request's head names
fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or("/")
}

fn http_profile(
    head: &str,
    mac: MacAddr,
    server: Ipv4Addr,
    head_first: bool,
    keeps: bool,
) -> &'static http::Profile {
    let (line, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let mac = mac.to_string().replace(':', "-");
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
    use crate::time::Duration;

    fn captured(name: &str) -> Script {
        let path = format!("{}/pcaps/{name}", env!("CARGO_MANIFEST_DIR"));
        script(&std::fs::read(path).expect("a capture")).expect("a boot")
    }

    fn names(script: &Script) -> Vec<(&str, bool)> {
        let name = |scene: &'_ Scene| match &scene.act {
            Act::Tftp(_, Server::Named, name) | Act::Http(_, Server::Named, _, name) => {
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
            matches!(acts[2], Act::Tftp(profile, Server::Named, name) if profile.probe.is_some() && name == "ipxe.efi")
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
    fn messages_that_were_cut_cannot_be_sent() {
        let path = format!("{}/pcaps/dnsmasq-bios-full.pcap", env!("CARGO_MANIFEST_DIR"));
        let Err(why) = script(&std::fs::read(path).expect("a capture")) else { panic!("no boot") };
        assert!(why.contains("kept only the front of") && why.contains("DHCP messages"), "{why}");
    }

    #[test]
    fn what_is_no_boot_is_refused_in_words() {
        assert!(script(b"no capture").is_err());
        let mut writer = pcap::Writer::new(Vec::new()).expect("a capture");
        writer.packet(1, &[0; 60]).expect("a frame");
        let Err(why) = script(&writer.finish().expect("its bytes")) else { panic!("no boot") };
        assert_eq!(why, "it holds no machine's DISCOVER and REQUEST");
    }
}
