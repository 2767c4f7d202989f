//! Who asks for a text that is written for one machine: by the name in the path, or by its address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use minijinja::Value;

use super::super::client::{Arch, Client, Loader, Uuid, Wants};
use super::super::register::Caller;
use super::{Assigned, Machine, Name, Plan, local};
use crate::wire::ethernet::MacAddr;

/// Values that the operator gives machines, for their templates
pub type Vars = BTreeMap<String, Value>;

/// What is known of who asks
#[derive(Clone, Copy, Debug)]
pub struct Who<'p> {
    /// Its network, an index into the plan's
    pub network: usize,
    /// The machine that the configuration names
    pub machine: Option<&'p Machine>,
    /// Its MAC address
    pub mac: Option<MacAddr>,
    /// Its UUID
    pub uuid: Option<Uuid>,
    /// Its IP address
    pub ip: Option<Ipv4Addr>,
    /// What DHCP heard of it since this server was started
    pub caller: Option<Caller>,
}

impl Who<'_> {
    /// Its architecture
    pub fn arch(&self) -> Option<Arch> {
        self.caller.and_then(|caller| caller.arch)
    }

    /// As the client that its ROM was
    pub(super) fn client(&self) -> Client<'_> {
        let unheard = Client {
            network: self.network,
            mac: MacAddr::ZERO,
            uuid: None,
            arch: None,
            stated_arch: None,
            loader: Loader::Rom,
            wants: Wants::Pxe,
            vendor_class: b"",
            user_class: b"",
            link: self.ip,
            relay: None,
            circuit_id: b"",
            remote_id: b"",
            ip: self.ip,
        };
        let heard = self.caller.as_ref().map_or(unheard, |caller| caller.client(self.ip));
        Client {
            network: self.network,
            mac: self.mac.unwrap_or(MacAddr::ZERO),
            uuid: self.uuid,
            loader: Loader::Rom,
            wants: Wants::Pxe,
            link: heard.link.or(self.ip),
            ..heard
        }
    }
}

impl Plan {
    /// Who asks by `name` from `peer`. By an address it is who was seen there last, else the machine that it is reserved for.
    ///
    /// `None` where no network is served.
    pub fn who(&self, name: Name<'_>, peer: Option<Ipv4Addr>) -> Option<Who<'_>> {
        let network = self.network_at(peer);
        self.networks.get(network)?;
        let address = if let Name::Address(address) = name { Some(address) } else { peer };
        let seen = address.and_then(|address| self.register().callers.at(address));
        let nobody = Who { network, machine: None, mac: None, uuid: None, ip: None, caller: None };
        let by_address = || {
            let mac = |seen: Caller| Some(seen.mac).filter(|mac| *mac != MacAddr::ZERO);
            let known = seen.map(|seen| Who { mac: mac(seen), uuid: seen.uuid, ..nobody });
            known.unwrap_or_else(|| {
                let reserved = |one: &&Machine| address.is_some() && one.address == address;
                Who { machine: self.machines.iter().find(reserved), ..nobody }
            })
        };
        let named = |machine: Option<&'_ Machine>| machine.map(|machine| (machine.mac, machine.uuid));
        let mut who = match name {
            Name::Mac(mac) => Who { mac: Some(mac), ..nobody },
            Name::Uuid(uuid) => Who { uuid: Some(uuid), ..nobody },
            Name::Serial(serial) => Who {
                machine: self.machines.iter().find(|one| one.serial.as_deref() == Some(serial)),
                ..nobody
            },
            Name::Host(host) => Who {
                machine: self.machines.iter().find(|one| one.hostname.as_deref() == Some(host)),
                ..nobody
            },
            Name::Anybody | Name::Address(_) => by_address(),
        };
        who.machine = who.machine.or_else(|| self.machine_of(&who.client()));
        let (mac, uuid) = named(who.machine).unwrap_or_default();
        (who.mac, who.uuid) = (who.mac.or(mac), who.uuid.or(uuid));
        // What was seen at the address is somebody else's where another machine is named.
        let seen = seen.filter(|seen| Some(seen.mac) == who.mac);
        let is_nameless = matches!(name, Name::Anybody | Name::Address(_));
        let at = address.filter(|_| is_nameless || seen.is_some());
        Some(Who {
            ip: who.machine.and_then(|machine| machine.address).or(at).or(peer),
            uuid: who.uuid.or(seen.and_then(|seen| seen.uuid)),
            caller: seen,
            ..who
        })
    }

    /// The image that somebody is booted by, done or not
    pub fn image_of<'p>(&'p self, who: &Who<'p>) -> Option<&'p Assigned> {
        let of_rule = || {
            let mut rules = self.rules.iter().filter(|rule| local::holds_for(rule, self, who));
            rules.find_map(|rule| rule.image.as_ref())
        };
        who.machine.and_then(|machine| machine.image.as_ref()).or_else(of_rule)
    }

    /// The operator's values for somebody: the machine's own, then those of each rule that holds, then everybody's
    pub fn vars_of<'p>(&'p self, who: &Who<'p>) -> BTreeMap<&'p str, &'p Value> {
        let mut vars = BTreeMap::new();
        let rules =
            self.rules.iter().filter(|rule| !rule.vars.is_empty() && local::holds_for(rule, self, who));
        let tables = who.machine.map(|machine| &machine.vars).into_iter().chain(rules.map(|rule| &rule.vars));
        for (name, value) in tables.chain([&self.vars]).flatten() {
            vars.entry(name.as_str()).or_insert(value);
        }
        vars
    }
}
