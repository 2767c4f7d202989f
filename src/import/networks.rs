//! `interface`, `listen-address` and `dhcp-range` → the networks that are served.
//!
//! dnsmasq serves every range whose network one of its interfaces lies in, or whose netmask is written, by relays. A
//! `[[network]]` is an interface by name: where the file names none, it is the one of this machine that holds the range.

use std::net::Ipv4Addr;

use super::line::Line;
use super::report::Report;
use super::tags::Tag;
use super::values::{self, LEASE_DEFAULT};
use crate::boot::plan::{Cidr, Mode, Range};
use crate::io::interfaces::Interface;

/// Stands for an interface that only the operator knows; no interface has a name in capitals
pub(super) const PLACEHOLDER: &str = "INTERFACE";

/// What is served where
#[derive(Debug, Default)]
pub(super) struct Networks {
    pub(super) networks: Vec<Network>,
}

/// An interface
#[derive(Debug)]
pub(super) struct Network {
    pub(super) interface: String,
    /// The server's address on it, where this machine has the interface
    pub(super) address: Option<Ipv4Addr>,
    /// It must be written, since the interface has several
    pub(super) write_address: bool,
    pub(super) own: Scope,
    pub(super) subnets: Vec<Scope>,
}

/// A subnet
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// The lines of its ranges
    pub(super) lines: Vec<usize>,
    pub(super) cidr: Option<Cidr>,
    pub(super) mode: Option<Mode>,
    pub(super) pools: Vec<Range>,
    pub(super) lease: Option<String>,
    /// Tags that its ranges set
    pub(super) sets: Vec<String>,
}

impl Networks {
    /// Every subnet with its network
    pub(super) fn scopes(&self) -> impl Iterator<Item = (&Network, &Scope)> {
        self.networks.iter().flat_map(|network| {
            std::iter::once(&network.own).chain(&network.subnets).map(move |scope| (network, scope))
        })
    }

    /// Whether the only thing that tells two clients apart is who they are: there is one subnet
    pub(super) fn is_single(&self) -> bool {
        self.scopes().filter(|(_, scope)| scope.mode.is_some()).count() == 1
    }

    /// Whether an address is this server's own
    pub(super) fn is_own(&self, address: Ipv4Addr) -> bool {
        address.is_unspecified() || self.networks.iter().any(|network| network.address == Some(address))
    }

    /// Without machines that have an address, a range that is `static` gives nobody any: no DHCP is served there
    pub(super) fn close_empty(&mut self, lines: &[Line], report: &mut Report) {
        for network in &mut self.networks {
            let mut scopes: Vec<&mut Scope> =
                std::iter::once(&mut network.own).chain(&mut network.subnets).collect();
            let is_full = scopes.iter().any(|scope| scope.mode == Some(Mode::Full));
            if !is_full || scopes.iter().any(|scope| !scope.pools.is_empty()) {
                continue;
            }
            for scope in &mut scopes {
                for line in &scope.lines {
                    report.lost(
                        &lines[*line],
                        "it gives addresses to dhcp-hosts only, and none has one that was carried over",
                    );
                }
                scope.mode = None;
            }
        }
    }

    /// The one mode of all networks; `None`: they differ
    pub(super) fn mode(&self) -> Option<Mode> {
        let mut modes = self.scopes().filter_map(|(_, scope)| scope.mode);
        let first = modes.next()?;
        modes.all(|mode| mode == first).then_some(first)
    }
}

/// One `dhcp-range`
#[derive(Debug)]
struct Ranged {
    line: usize,
    tags: Vec<Tag>,
    sets: Vec<String>,
    first: Ipv4Addr,
    last: Option<Ipv4Addr>,
    proxy: bool,
    prefix: Option<u8>,
    lease: Option<String>,
    interface: Option<String>,
}

/// Reads the lines that say what is served
pub(super) fn read(lines: &[Line], interfaces: &[Interface], report: &mut Report) -> Networks {
    let mut builder =
        Builder { lines, interfaces, report, named: Vec::new(), networks: Vec::new(), elsewhere: false };
    builder.named = builder.named();
    let mut ranges = Vec::new();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.key == "dhcp-range") {
        match range(index, line) {
            Ok(range) => ranges.push(range),
            Err(why) => builder.report.lost(line, why),
        }
    }
    builder.elsewhere =
        !ranges.is_empty() && ranges.iter().all(|range| builder.holding(range.first).is_none());
    for range in ranges {
        builder.place(range);
    }
    builder.finish()
}

fn range(line: usize, text: &Line) -> Result<Ranged, String> {
    let mut ranged = Ranged {
        line,
        tags: Vec::new(),
        sets: Vec::new(),
        first: Ipv4Addr::UNSPECIFIED,
        last: None,
        proxy: false,
        prefix: None,
        lease: None,
        interface: None,
    };
    let mut addresses: Vec<Ipv4Addr> = Vec::new();
    let mut has_mode = false;
    for word in text.texts() {
        if let Some(tag) = Tag::parse(word) {
            ranged.tags.push(tag);
        } else if let Some(name) = word.strip_prefix("interface:") {
            ranged.interface = Some(name.to_owned());
        } else if let Some(name) = word.strip_prefix("set:") {
            ranged.sets.push(name.to_owned());
        } else if values::is_ipv6(word) || word.starts_with("constructor:") || word.starts_with("ra-") {
            return Err("reveille serves IPv4 only".to_owned());
        } else if let Ok(address) = word.parse() {
            addresses.push(address);
        } else if word == "static" || word == "proxy" {
            has_mode = true;
            ranged.proxy = word == "proxy";
        } else if addresses.is_empty() {
            // Before `set:` existed, a first word that is no address was the tag.
            ranged.sets.push(word.to_owned());
        } else if let Some(lease) = values::lease(word) {
            ranged.lease = Some(lease);
        } else {
            return Err(format!("`{word}` is nothing that a range can say"));
        }
    }
    let mut addresses = addresses.into_iter();
    ranged.first = addresses.next().ok_or("it names no address")?;
    if !has_mode {
        ranged.last = Some(addresses.next().ok_or("it has no last address")?);
    }
    if let Some(mask) = addresses.next() {
        ranged.prefix = Some(values::prefix(mask).ok_or_else(|| format!("{mask} is no netmask"))?);
    }
    match ranged.last {
        Some(last) if last < ranged.first => Ok(Ranged { first: last, last: Some(ranged.first), ..ranged }),
        _ => Ok(ranged),
    }
}

struct Builder<'a> {
    lines: &'a [Line],
    interfaces: &'a [Interface],
    report: &'a mut Report,
    /// The interfaces that the file names, as it names them
    named: Vec<String>,
    networks: Vec<Network>,
    /// No range lies on an interface of this machine: it is not the server
    elsewhere: bool,
}

impl Builder<'_> {
    /// The interfaces that the file allows, by name or by address
    fn named(&mut self) -> Vec<String> {
        let mut named: Vec<String> = Vec::new();
        for line in self.lines {
            for word in line.texts() {
                match line.key.as_str() {
                    "interface" if word == "lo" => {}
                    "interface" if word.contains('*') => {
                        let stem = word.trim_end_matches('*');
                        let found = self.interfaces.iter().filter(|one| one.name.starts_with(stem));
                        let names: Vec<_> = found.map(|one| one.name.clone()).collect();
                        if names.is_empty() {
                            self.report.lost(line, "no interface of this machine has such a name");
                        }
                        named.extend(names);
                    }
                    "interface" => named.push(word.to_owned()),
                    "listen-address" => named.extend(self.listening(line, word)),
                    _ => {}
                }
            }
        }
        let refused: Vec<&str> = self
            .lines
            .iter()
            .filter(|line| matches!(line.key.as_str(), "except-interface" | "no-dhcp-interface"))
            .flat_map(Line::texts)
            .collect();
        named.retain(|name| !refused.contains(&name.as_str()));
        named.dedup();
        named
    }

    /// The interface that has an address which is listened on
    fn listening(&mut self, line: &Line, word: &str) -> Option<String> {
        let address: Ipv4Addr = match word.parse() {
            Ok(address) => address,
            Err(_) => {
                self.report.lost(line, "reveille serves IPv4 only");
                return None;
            }
        };
        if address.is_loopback() {
            return None;
        }
        let found = self.interfaces.iter().find(|one| one.addresses.iter().any(|(own, _)| *own == address));
        if found.is_none() {
            self.report.lost(line, format!("no interface of this machine has the address {address}"));
        }
        found.map(|interface| interface.name.clone())
    }

    fn is_refused(&self, name: &str) -> bool {
        let refuses = |line: &&Line| matches!(line.key.as_str(), "except-interface" | "no-dhcp-interface");
        name == "lo" || self.lines.iter().filter(refuses).any(|line| line.texts().any(|word| word == name))
    }

    /// The interface of a link that holds an address: one that is named before one that only exists
    fn holding(&self, address: Ipv4Addr) -> Option<(String, Ipv4Addr, u8)> {
        let holds = |interface: &&Interface| {
            let own =
                interface.addresses.iter().find(|(own, prefix)| Cidr::new(*own, *prefix).contains(address));
            own.map(|(own, prefix)| (interface.name.clone(), *own, *prefix))
        };
        let is_allowed = |interface: &&Interface| {
            if self.named.is_empty() {
                !self.is_refused(&interface.name)
            } else {
                self.named.contains(&interface.name)
            }
        };
        self.interfaces.iter().filter(is_allowed).find_map(|interface| holds(&interface))
    }

    fn place(&mut self, ranged: Ranged) {
        let line = &self.lines[ranged.line];
        let by_tag = ranged.tags.iter().find(|tag| !tag.negated).map(|tag| tag.name.clone());
        let asked = ranged.interface.clone().or(by_tag.filter(|name| {
            self.named.contains(name) || self.interfaces.iter().any(|interface| interface.name == *name)
        }));
        if let Some(tag) = ranged.tags.iter().find(|tag| tag.negated || asked.as_ref() != Some(&tag.name)) {
            let not = if tag.negated { "!" } else { "" };
            let why = format!(
                "a pool is a subnet's, for all of its clients, and this one is for tag:{not}{} only",
                tag.name
            );
            return self.report.lost(line, why);
        }
        if let Some((name, address, prefix)) = self.holding(ranged.first) {
            let cidr = Cidr::new(address, prefix);
            let network = self.network(&name);
            let own = &mut self.networks[network];
            if own.own.mode.is_some() && own.own.cidr != Some(cidr) {
                let why =
                    format!("{name} has a range of another subnet already, and a [[network]] is one subnet");
                return self.report.lost(line, why);
            }
            own.address = Some(address);
            own.own.cidr = Some(cidr);
            return self.add(network, None, ranged, Some(cidr));
        }
        let cidr = ranged.prefix.map(|prefix| Cidr::new(ranged.first, prefix));
        // Elsewhere, the first range of a named interface is taken for its own link, and what follows for subnets behind
        // relays; here, what lies on no link is behind a relay, if its netmask is written.
        let free = self.named.iter().find(|name| !self.has_own(name));
        let guess = asked.or(free.cloned()).filter(|_| self.elsewhere);
        match (guess, cidr) {
            (Some(name), _) => {
                self.report.note(format!(
                    "no interface of this machine lies in {}: {name} is taken for the server's interface there",
                    self.text_of(ranged.first, cidr)
                ));
                let network = self.network(&name);
                self.add(network, None, ranged, cidr);
            }
            (None, Some(cidr)) if !self.named.is_empty() || !self.networks.is_empty() => {
                let name = match self.networks.first() {
                    Some(network) => network.interface.clone(),
                    None => self.named[0].clone(),
                };
                let network = self.network(&name);
                self.add(network, Some(cidr), ranged, Some(cidr));
            }
            (None, cidr) => {
                self.report.note(format!(
                    "no interface is named, and none of this machine lies in {}: write the right name in place of {PLACEHOLDER}",
                    self.text_of(ranged.first, cidr)
                ));
                let network = self.network(PLACEHOLDER);
                self.add(network, None, ranged, cidr);
            }
        }
    }

    fn text_of(&self, address: Ipv4Addr, cidr: Option<Cidr>) -> String {
        cidr.map_or_else(|| format!("the network of {address}"), |cidr| cidr.to_string())
    }

    fn has_own(&self, name: &str) -> bool {
        self.networks.iter().any(|network| network.interface == name && network.own.mode.is_some())
    }

    /// The index of the network of that interface
    fn network(&mut self, name: &str) -> usize {
        if let Some(index) = self.networks.iter().position(|network| network.interface == name) {
            return index;
        }
        let found = self.interfaces.iter().find(|interface| interface.name == name && !self.elsewhere);
        let addresses = found.map_or(&[][..], |interface| &interface.addresses);
        let address = addresses.first().map(|(address, _)| *address);
        let own = Scope {
            cidr: addresses
                .iter()
                .find(|(one, _)| Some(*one) == address)
                .map(|(one, prefix)| Cidr::new(*one, *prefix)),
            ..Scope::default()
        };
        let write_address = addresses.len() > 1;
        self.networks.push(Network {
            interface: name.to_owned(),
            address,
            write_address,
            own,
            subnets: Vec::new(),
        });
        self.networks.len() - 1
    }

    /// Puts a range into the network's own subnet, or into one behind a relay
    fn add(&mut self, network: usize, relayed: Option<Cidr>, ranged: Ranged, cidr: Option<Cidr>) {
        let line = &self.lines[ranged.line];
        let server = self.networks[network].address;
        let network = &mut self.networks[network];
        let scope = match relayed {
            None => &mut network.own,
            Some(cidr) => {
                let index = network.subnets.iter().position(|scope| scope.cidr == Some(cidr));
                let index = index.unwrap_or_else(|| {
                    network.subnets.push(Scope { cidr: Some(cidr), ..Scope::default() });
                    network.subnets.len() - 1
                });
                &mut network.subnets[index]
            }
        };
        let mode = if ranged.proxy { Mode::Proxy } else { Mode::Full };
        if scope.mode.is_some_and(|other| other != mode) {
            return self
                .report
                .lost(line, "the subnet has a range of the other kind, proxy or not: one of them counts");
        }
        scope.mode = Some(mode);
        scope.cidr = cidr.or(scope.cidr);
        scope.lines.push(ranged.line);
        scope.sets.extend(ranged.sets);
        let lease = ranged.lease.unwrap_or_else(|| LEASE_DEFAULT.to_owned());
        if mode == Mode::Full {
            match &scope.lease {
                Some(other) if *other != lease => {
                    let why = format!("its lease time: a subnet has one, {other} of its first range");
                    self.report.lost(line, why);
                }
                _ => scope.lease = Some(lease),
            }
        }
        if let Some(last) = ranged.last {
            let range = Range { first: ranged.first, last };
            if let Some(cidr) = scope.cidr.filter(|cidr| !cidr.contains(last)) {
                return self.report.lost(line, format!("{last} is not in {cidr}"));
            }
            let taken: Vec<Range> = scope.pools.clone();
            scope.pools.extend(without(range, &taken, scope.cidr, server));
        }
    }

    /// Interfaces that are named and have no range: files are served there
    fn finish(mut self) -> Networks {
        self.elsewhere &= !self.networks.is_empty();
        for name in self.named.clone() {
            self.network(&name);
        }
        if self.networks.is_empty() {
            self.report.note(format!(
                "no interface is named, and no range: write the right name in place of {PLACEHOLDER}"
            ));
            self.network(PLACEHOLDER);
        }
        for network in &mut self.networks {
            let own = network.own.mode;
            let behind = network.subnets.iter().find_map(|scope| scope.mode);
            let mode = own.or(behind);
            for scope in &mut network.subnets {
                if scope.mode != mode {
                    for line in &scope.lines {
                        let why = "it is proxy or not, unlike the network that its relays reach: a network has one way of DHCP";
                        self.report.lost(&self.lines[*line], why);
                    }
                    scope.mode = None;
                }
            }
            network.subnets.retain(|scope| scope.mode.is_some());
        }
        Networks { networks: self.networks }
    }
}

/// A pool without what dnsmasq passes over silently: other pools, the server's own address, the network's and its
/// broadcast address
pub(super) fn without(
    range: Range,
    pools: &[Range],
    cidr: Option<Cidr>,
    server: Option<Ipv4Addr>,
) -> Vec<Range> {
    let one = |address| Range { first: address, last: address };
    let ends = cidr.filter(|cidr| cidr.prefix < 31).map(|cidr| [one(cidr.address), one(cidr.broadcast())]);
    let holes = pools.iter().copied().chain(ends.into_iter().flatten()).chain(server.map(one));
    holes.fold(vec![range], |parts, hole| parts.into_iter().flat_map(|part| cut(part, hole)).collect())
}

fn cut(range: Range, hole: Range) -> Vec<Range> {
    if hole.last < range.first || range.last < hole.first {
        return vec![range];
    }
    let mut parts = Vec::new();
    if range.first < hole.first {
        parts.push(Range { first: range.first, last: Ipv4Addr::from_bits(hole.first.to_bits() - 1) });
    }
    if hole.last < range.last {
        parts.push(Range { first: Ipv4Addr::from_bits(hole.last.to_bits() + 1), last: range.last });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_pass_over_what_is_taken() {
        let range =
            |first: u8, last: u8| Range { first: [10, 0, 0, first].into(), last: [10, 0, 0, last].into() };
        let cidr = Some(Cidr::new([10, 0, 0, 0].into(), 24));
        let server = Some([10, 0, 0, 50].into());
        assert_eq!(
            without(range(0, 99), &[range(60, 70)], cidr, server),
            [range(1, 49), range(51, 59), range(71, 99)]
        );
        assert_eq!(without(range(10, 20), &[range(5, 30)], cidr, None), []);
        assert_eq!(without(range(250, 255), &[], cidr, None), [range(250, 254)]);
    }
}
