//! `dhcp-host` → machines, and the tags that belong to their MAC addresses.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::conditions::{Conditions, Key};
use super::line::Line;
use super::networks::Networks;
use super::report::Report;
use super::tags::Tags;
use super::values::{self, Hardware};
use crate::boot::plan::Mode;

/// A `[[machine]]`
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) line: usize,
    pub(super) mac: String,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) hostname: Option<String>,
    /// `ignore`: no DHCP for it
    pub(super) ignored: bool,
}

/// What the lines say
#[derive(Debug, Default)]
pub(super) struct Hosts {
    pub(super) machines: Vec<Machine>,
    /// Patterns of MAC addresses that are ignored, with their lines
    pub(super) ignored: Vec<(usize, String)>,
}

/// One `dhcp-host`, taken apart
#[derive(Default)]
struct Host<'l> {
    hardware: Vec<Hardware>,
    sets: Vec<&'l str>,
    address: Option<Ipv4Addr>,
    hostname: Option<&'l str>,
    ignored: bool,
    /// What `match` and `[[machine]]` cannot say
    beyond: Vec<String>,
    /// It holds only for clients that something else tells, so that no machine can stand for it
    filtered: bool,
}

/// Reads the lines, and sets their tags
pub(super) fn read(lines: &[Line], networks: &Networks, tags: &mut Tags, report: &mut Report) -> Hosts {
    let mut hosts = Hosts::default();
    let mut taken = Taken::default();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.key == "dhcp-host") {
        let host = parse(line);
        for why in &host.beyond {
            report.lost(line, why);
        }
        if host.filtered || host.hardware.is_empty() {
            for tag in &host.sets {
                tags.cannot_know(tag, "is set by a host that no MAC address tells");
            }
            if host.beyond.is_empty() {
                report.lost(
                    line,
                    "it names no MAC address: reveille knows a machine by its MAC address or UUID",
                );
            }
            continue;
        }
        for hardware in &host.hardware {
            let (Hardware::Mac(text) | Hardware::Pattern(text)) = hardware else { continue };
            for tag in host.sets.iter().copied().chain((!host.ignored).then_some("known")) {
                tags.set(tag, Conditions::one(Key::Mac, text));
            }
        }
        machine(index, line, &host, networks, &mut taken, &mut hosts, report);
    }
    hosts
}

fn parse(line: &Line) -> Host<'_> {
    let mut host = Host::default();
    for word in line.texts().filter(|word| !word.is_empty()) {
        if let Some(tag) = word.strip_prefix("set:").or_else(|| word.strip_prefix("net:")) {
            host.sets.push(tag);
        } else if word.starts_with("tag:") {
            host.filtered = true;
            host.beyond
                .push(format!("{word}: a [[machine]] holds wherever it boots, not where a tag is set"));
        } else if word == "id:*" {
            // reveille goes by MAC addresses anyway.
        } else if word.starts_with("id:") {
            host.beyond.push(format!(
                "{word}: reveille knows a machine by its MAC address or UUID, not by a client identifier"
            ));
        } else if word == "ignore" {
            host.ignored = true;
        } else if values::is_ipv6(word) && values::hardware(word).is_none() {
            host.beyond.push(format!("{word}: reveille serves IPv4 only"));
        } else if let Ok(address) = word.parse() {
            host.address = Some(address);
        } else if let Some(hardware) = values::hardware(word) {
            if hardware == Hardware::Foreign {
                host.beyond.push(format!("{word}: reveille knows Ethernet addresses only"));
            } else {
                host.hardware.push(hardware);
            }
        } else if values::lease(word).is_some() {
            host.beyond.push(format!("{word}: the lease time is the network's or subnet's, not a machine's"));
        } else if values::is_hostname(word) {
            host.hostname = Some(word);
        } else {
            host.beyond.push(format!("{word}: no host name, which has letters, digits and hyphens only"));
        }
    }
    host
}

/// What one machine has to itself
#[derive(Default)]
struct Taken {
    macs: HashSet<String>,
    addresses: HashSet<Ipv4Addr>,
    hostnames: HashSet<String>,
}

fn machine(
    index: usize,
    line: &Line,
    host: &Host<'_>,
    networks: &Networks,
    taken: &mut Taken,
    hosts: &mut Hosts,
    report: &mut Report,
) {
    let mut address = host.address.filter(|address| is_servable(*address, line, networks, report));
    let mut hostname = host.hostname;
    for hardware in &host.hardware {
        let mac = match hardware {
            Hardware::Mac(mac) => mac,
            Hardware::Pattern(glob) if host.ignored => {
                hosts.ignored.push((index, glob.clone()));
                continue;
            }
            Hardware::Pattern(_) if address.is_some() || hostname.is_some() => {
                report.lost(
                    line,
                    "a pattern of MAC addresses has no address or name to itself: write one [[machine]] each",
                );
                continue;
            }
            Hardware::Pattern(_) | Hardware::Foreign => continue,
        };
        if address.is_none() && hostname.is_none() && !host.ignored {
            // Its tags are all that it says, or what it says is told as lost.
            continue;
        }
        if !taken.macs.insert(mac.clone()) {
            report.lost(line, format!("{mac}: another dhcp-host has it, and a machine is written once"));
            continue;
        }
        if let Some(one) = address.filter(|one| !taken.addresses.insert(*one)) {
            let why = format!("{mac}: {one} is another machine's, and one address is not given to two");
            report.lost(line, why);
            address = None;
        }
        if let Some(name) = hostname.filter(|name| !taken.hostnames.insert((*name).to_owned())) {
            report.lost(line, format!("{mac}: {name} is another machine's name"));
            hostname = None;
        }
        if address.is_none() && hostname.is_none() && !host.ignored {
            continue;
        }
        hosts.machines.push(Machine {
            line: index,
            mac: mac.clone(),
            address: address.filter(|_| !host.ignored),
            hostname: hostname.map(str::to_owned),
            ignored: host.ignored,
        });
    }
}

/// Whether a network that gives addresses holds it
fn is_servable(address: Ipv4Addr, line: &Line, networks: &Networks, report: &mut Report) -> bool {
    let scopes = || networks.scopes().filter(|(_, scope)| scope.mode.is_some());
    if scopes().all(|(_, scope)| scope.mode == Some(Mode::Proxy)) {
        report.lost(line, format!("{address}: beside another DHCP server, that server gives the addresses"));
        return false;
    }
    let full = || scopes().filter(|(_, scope)| scope.mode == Some(Mode::Full));
    let usable = full().any(|(network, scope)| match scope.cidr {
        None => true,
        Some(cidr) => {
            let end = cidr.prefix < 31 && (address == cidr.address || address == cidr.broadcast());
            cidr.contains(address) && !end && network.address != Some(address)
        }
    });
    if !usable {
        report.lost(line, format!("{address}: no range that gives addresses is of its subnet"));
    }
    usable
}
