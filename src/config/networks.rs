//! `[[network]]` → [`plan::Network`]: interfaces that exist, pools that lie in their subnets and apart from each other.

use std::net::Ipv4Addr;

use super::errors::{At, Errors, Place};
use super::model::{Network, Scope};
use super::values::LEASE_DEFAULT;
use crate::boot::plan::{self, Cidr, Mode, Range, Rate};
use crate::io::interfaces::Interface;
use crate::wire::dhcp::code;

/// What all the options of a subnet may take of a reply; the rest is the header, the addresses and the boot file
const OPTIONS_MAX: usize = 768;

/// What the networks are checked against
pub(super) struct Networks<'c> {
    interfaces: &'c [Interface],
    /// The address that the operator wants to be reached at
    listen: Option<Ipv4Addr>,
    /// Some machine has an address of its own, so that a network without a pool can still give one
    reservations: bool,
    /// Some rule or machine gives addresses, so that a proxy has use for a pool
    takes_over: bool,
    errors: &'c mut Errors,
    /// The pools so far, over all networks
    pools: Vec<Range>,
}

impl<'c> Networks<'c> {
    pub(super) fn new(
        interfaces: &'c [Interface],
        listen: Option<Ipv4Addr>,
        reservations: bool,
        takes_over: bool,
        errors: &'c mut Errors,
    ) -> Self {
        Self { interfaces, listen, reservations, takes_over, errors, pools: Vec::new() }
    }

    pub(super) fn compile(mut self, networks: &[Network]) -> Vec<plan::Network> {
        let mut compiled: Vec<plan::Network> = Vec::new();
        for network in networks {
            let name = &network.interface;
            if compiled.iter().any(|other| other.interface == name.value) {
                let message = format!("{} is served already: put all of it in one [[network]]", name.value);
                self.errors.push(name.place, message);
                continue;
            }
            compiled.extend(self.network(network));
        }
        compiled
    }

    fn network(&mut self, network: &Network) -> Option<plan::Network> {
        let interface = self.interface(&network.interface)?;
        let (address, prefix) = self.address(network, interface)?;
        let mode = self.mode(network)?;
        let mut subnets = vec![self.subnet(Cidr::new(address, prefix), address, &network.own, None)];
        for subnet in &network.subnets {
            let cidr = subnet.cidr.value;
            if let Some(other) = subnets.iter().find(|other| overlap(other.cidr, cidr)) {
                let message = if other.attached {
                    format!(
                        "{cidr} is {}'s own link: write its pool and router in the [[network]] itself",
                        interface.name
                    )
                } else {
                    format!("{cidr} overlaps {}: a relay's subnets must be apart", other.cidr)
                };
                self.errors.push(subnet.cidr.place, message);
                continue;
            }
            subnets.push(self.subnet(cidr, address, &subnet.scope, Some(&network.own)));
        }
        Some(plan::Network {
            interface: interface.name.clone(),
            mac: interface.mac,
            address,
            mode,
            authoritative: network.authoritative.is_some_and(|at| at.value),
            probe: network.probe.is_none_or(|at| at.value),
            subnets,
        })
    }

    fn interface(&mut self, name: &At<String>) -> Option<&'c Interface> {
        let found = self.interfaces.iter().find(|interface| interface.name == name.value);
        if found.is_none() {
            let known: Vec<_> = self.interfaces.iter().map(|interface| interface.name.as_str()).collect();
            let message =
                format!("there is no interface {}: those that exist are {}", name.value, known.join(", "));
            self.errors.push(name.place, message);
        }
        found
    }

    /// The server's address on the interface: the one that is written, that `listen` names, that the pool lies beside,
    /// or the only one there is
    fn address(&mut self, network: &Network, interface: &Interface) -> Option<(Ipv4Addr, u8)> {
        let name = &interface.name;
        let has = |address| interface.addresses.iter().copied().find(|(one, _)| *one == address);
        let list =
            || interface.addresses.iter().map(|(one, _)| one.to_string()).collect::<Vec<_>>().join(", ");
        if interface.addresses.is_empty() {
            let message = format!(
                "{name} has no IPv4 address: give it one, as with `ip address add 192.168.99.1/24 dev {name}`, and start again"
            );
            self.errors.push(network.interface.place, message);
            return None;
        }
        if let Some(address) = network.address {
            let found = has(address.value);
            if found.is_none() {
                let message = format!("{name} has no address {}: it has {}", address.value, list());
                self.errors.push(address.place, message);
            }
            return found;
        }
        if let Some(found) = self.listen.and_then(has) {
            return Some(found);
        }
        let pool = network.own.pools.first().map(|pool| pool.value.first);
        let beside = |(address, prefix): &(Ipv4Addr, u8)| {
            pool.is_some_and(|first| Cidr::new(*address, *prefix).contains(first))
        };
        match (interface.addresses.as_slice(), interface.addresses.iter().find(|one| beside(one))) {
            ([only], _) => Some(*only),
            (_, Some(found)) => Some(*found),
            ([first, ..], None) => {
                let message = format!(
                    "{name} has several addresses ({}): say which, as in address = \"{}\"",
                    list(),
                    first.0
                );
                self.errors.push(network.interface.place, message);
                None
            }
            ([], None) => None,
        }
    }

    fn mode(&mut self, network: &Network) -> Option<Mode> {
        let name = &network.interface.value;
        let pool = network
            .own
            .pools
            .first()
            .or_else(|| network.subnets.iter().find_map(|one| one.scope.pools.first()));
        let Some(mode) = network.mode else {
            if pool.is_none() {
                let message = match network.place {
                    Place::Flag(_) => format!(
                        "nothing is said about DHCP on {name}: add --proxy beside another DHCP server, or --pool FIRST-LAST to be the DHCP server"
                    ),
                    _ => format!(
                        "nothing is said about DHCP on {name}: write dhcp = \"proxy\" beside another DHCP server, or a pool to be the DHCP server"
                    ),
                };
                self.errors.push(network.interface.place, message);
                return None;
            }
            return Some(Mode::Full);
        };
        match (mode.value, pool) {
            (Mode::Full | Mode::TakeOver, None) if !self.reservations => {
                let message = "there is no address to give: write a pool, as in pool = [\"192.168.99.50-192.168.99.99\"], \
                               or addresses of machines";
                self.errors.push(mode.place, message);
            }
            (Mode::Proxy, Some(pool)) if !self.takes_over => {
                let message = "a proxy gives no addresses: leave out the pool, or write dhcp = \"take-over\" to give them to \
                               network-boot clients";
                self.errors.push(pool.place, message);
            }
            (Mode::Off, Some(pool)) if !self.takes_over => {
                self.errors
                    .push(pool.place, "dhcp is off here, so nobody gets an address: leave out the pool");
            }
            _ => {}
        }
        Some(mode.value)
    }

    /// A subnet: behind a relay where it inherits from its network's scope, else the interface's own
    fn subnet(
        &mut self,
        cidr: Cidr,
        server: Ipv4Addr,
        scope: &Scope,
        inherited: Option<&Scope>,
    ) -> plan::Subnet {
        let pools =
            scope.pools.iter().filter(|pool| self.pool(pool, cidr, server, scope)).map(|pool| pool.value);
        let pools = pools.collect::<Vec<_>>();
        for router in &scope.routers {
            if !cidr.contains(router.value) {
                let message = format!(
                    "the router {} is not in the subnet {cidr}: its clients could not reach it",
                    router.value
                );
                self.errors.push(router.place, message);
            }
        }
        plan::Subnet {
            cidr,
            attached: inherited.is_none(),
            pools,
            lease: scope
                .lease
                .or(inherited.and_then(|scope| scope.lease))
                .map_or(LEASE_DEFAULT, |at| at.value),
            options: self.options(scope, inherited),
        }
    }

    /// Whether the pool can be given away
    fn pool(&mut self, pool: &At<Range>, cidr: Cidr, server: Ipv4Addr, scope: &Scope) -> bool {
        let At { value: range, place } = *pool;
        let shown = format!("{}-{}", range.first, range.last);
        let wrong = if !cidr.contains(range.first) || !cidr.contains(range.last) {
            Some(format!("the pool {shown} is not in the subnet {cidr}"))
        } else if cidr.prefix < 31 && (range.contains(cidr.address) || range.contains(cidr.broadcast())) {
            Some(format!(
                "the pool {shown} holds {cidr}'s network or broadcast address, which no machine can have"
            ))
        } else if let Some(address) = self.taken(range, server, scope) {
            Some(format!("the pool {shown} holds {address}: split it in two around that address"))
        } else {
            let other =
                self.pools.iter().find(|other| range.first <= other.last && other.first <= range.last);
            other.map(|other| format!("the pool {shown} overlaps the pool {}-{}", other.first, other.last))
        };
        if let Some(message) = wrong {
            self.errors.push(place, message);
            return false;
        }
        self.pools.push(range);
        true
    }

    /// An address of the pool that somebody has, as the configuration itself says
    fn taken(&self, range: Range, server: Ipv4Addr, scope: &Scope) -> Option<String> {
        let own = range.contains(server).then(|| format!("the server's own address {server}"));
        let others = [("router", &scope.routers), ("DNS server", &scope.dns), ("time server", &scope.ntp)];
        own.or_else(|| {
            others.iter().find_map(|(what, addresses)| {
                let at = addresses.iter().find(|at| range.contains(at.value))?;
                Some(format!("the {what} {}", at.value))
            })
        })
    }

    /// The options in the order of their codes. All but the routers are inherited where the subnet says nothing.
    fn options(&mut self, scope: &Scope, inherited: Option<&Scope>) -> Vec<(u8, Vec<u8>)> {
        let mut options = self.named(scope);
        for (code, value) in inherited.map(|scope| self.named(scope)).unwrap_or_default() {
            if code != code::ROUTER && options.iter().all(|(own, _)| *own != code) {
                options.push((code, value));
            }
        }
        options.sort_by_key(|(code, _)| *code);
        let len: usize = options.iter().map(|(_, value)| 2 + value.len()).sum();
        if len > OPTIONS_MAX {
            let place = scope.options.first().map_or(Place::Missing, |at| at.place);
            self.errors
                .push(place, format!("the options take {len} bytes; a reply has room for {OPTIONS_MAX}"));
        }
        options
    }

    /// A scope's own options, each once
    fn named(&mut self, scope: &Scope) -> Vec<(u8, Vec<u8>)> {
        let addresses =
            |list: &[At<Ipv4Addr>]| list.iter().flat_map(|at| at.value.octets()).collect::<Vec<u8>>();
        let domain = scope.domain.as_ref().map(|at| at.value.as_bytes().to_vec()).unwrap_or_default();
        let mut options: Vec<_> = [
            (code::ROUTER, addresses(&scope.routers)),
            (code::DNS, addresses(&scope.dns)),
            (code::DOMAIN_NAME, domain),
            (code::NTP_SERVERS, addresses(&scope.ntp)),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
        for At { value: (code, value), place } in &scope.options {
            if options.iter().any(|(other, _)| other == code) {
                self.errors.push(*place, format!("option {code} is set twice"));
            } else {
                options.push((*code, value.clone()));
            }
        }
        options
    }
}

/// What may be taken of the wires, as the networks and their subnets say
pub(super) fn rates(networks: &[Network], compiled: &[plan::Network]) -> Vec<Rate> {
    let mut rates = Vec::new();
    for plan in compiled {
        let Some(network) = networks.iter().find(|network| network.interface.value == plan.interface) else {
            continue;
        };
        let own: Vec<_> =
            network.subnets.iter().filter_map(|one| Some((one.cidr.value, one.scope.rate?.value))).collect();
        let within = network.own.rate.map(|rate| {
            let cidrs = plan.subnets.iter().map(|subnet| subnet.cidr);
            let whom = cidrs.filter(|cidr| own.iter().all(|(other, _)| other != cidr)).collect();
            rates.push(Rate { of: plan.interface.clone(), whom, bits_per_s: rate.value, within: None });
            rates.len() - 1
        });
        rates.extend(own.into_iter().map(|(cidr, bits_per_s)| Rate {
            of: cidr.to_string(),
            whom: vec![cidr],
            bits_per_s,
            within,
        }));
    }
    rates
}

fn overlap(a: Cidr, b: Cidr) -> bool {
    a.contains(b.address) || b.contains(a.address)
}
