//! Images that machines and rules name: which one a client boots, asked by DHCP or by the name of a loader's configuration.
//!
//! A loader that has no DHCP of its own (pxelinux, GRUB) asks for its configuration by who it is: by UUID, then by MAC
//! address, then by IP address, then for everybody's. Its machine asked by DHCP a moment ago, and is answered as it was then
//! ([`super::super::register::Callers`]). Where that is not known, each name is answered only with what is certain from it, and the rest is
//! left to the names that follow.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;

use super::super::client::{Arch, Client, Loader, Uuid, Wants};
use super::super::register::Caller;
use super::{BootFile, Machine, Match, Network, Piece, Plan, Reason, is_ipxe, local, rules, swapped};
use crate::wire::ethernet::MacAddr;

/// An image that a machine or a rule names
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Its name
    pub image: String,
    /// Arguments of the kernel beside the image's own
    pub args: Option<String>,
    /// The iPXE script that boots it
    pub script: BootFile,
}

/// What DHCP tells of a machine that iPXE runs on
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// Its MAC address
    Mac,
    /// Its UUID
    Uuid,
}

impl Assigned {
    /// What a rule names: the same script for all that it matches
    pub fn for_rule(image: String, args: Option<String>) -> Self {
        let script = script_of(vec![Piece::Literal(format!("/{}.ipxe", stem(&image, args.as_deref())))]);
        Self { image, args, script }
    }

    /// What a machine names: the script is found by the machine
    pub fn for_machine(image: String, args: Option<String>, known_by: KnownBy) -> Self {
        let (folder, word) = match known_by {
            KnownBy::Mac => ("/by-mac/", Piece::MacHyphens),
            KnownBy::Uuid => ("/by-uuid/", Piece::Uuid),
        };
        let script =
            script_of(vec![Piece::Literal(folder.to_owned()), word, Piece::Literal(".ipxe".to_owned())]);
        Self { image, args, script }
    }

    /// The part of a path that means this image with these arguments, today and after a reload
    pub fn stem(&self) -> String {
        stem(&self.image, self.args.as_deref())
    }
}

/// Arguments are in it by their hash: a script that was named before a reload must not become another's
fn stem(image: &str, args: Option<&str>) -> String {
    let Some(args) = args else { return image.to_owned() };
    let mut hasher = DefaultHasher::new();
    args.hash(&mut hasher);
    format!("{image}+{:08x}", hasher.finish() >> 32)
}

fn script_of(end: Vec<Piece>) -> BootFile {
    let begin = [Piece::Literal("images/".to_owned()), Piece::Server];
    BootFile { pieces: begin.into_iter().chain(end).collect(), server: None }
}

/// The image that a client boots, and who says so
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'p> {
    /// The image
    pub assigned: &'p Assigned,
    /// Why
    pub reason: Reason,
}

/// Who asks for a loader's configuration, by the name that it asks for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'n> {
    /// Everybody's
    Anybody,
    /// By MAC address
    Mac(MacAddr),
    /// By UUID
    Uuid(Uuid),
    /// By the serial number of its SMBIOS
    Serial(&'n str),
    /// By IP address
    Address(Ipv4Addr),
    /// By the host name that the configuration gives it
    Host(&'n str),
}

/// What is known of who asks, and what it boots
#[derive(Clone, Copy, Debug)]
pub struct Choice<'p> {
    /// Its network
    pub network: &'p Network,
    /// The machine that the configuration names
    pub machine: Option<&'p Machine>,
    /// Its image; `None`: nothing is assigned, or nothing is certain from this name
    pub image: Option<Chosen<'p>>,
    /// It boots from its own disk, as far as that is certain from this name
    pub is_local: bool,
    /// The boot file of its architecture's ROM
    pub boot: Option<&'p BootFile>,
    /// Its architecture
    pub arch: Option<Arch>,
    /// It runs U-Boot, which asks by pxelinux's names
    pub is_u_boot: bool,
    /// Its MAC address, where it is known
    pub mac: Option<MacAddr>,
    /// Its UUID, where it is known
    pub uuid: Option<Uuid>,
    /// Its IP address, where it is known
    pub ip: Option<Ipv4Addr>,
}

impl Plan {
    /// What the client boots that asks by `name` from `peer`, having been loaded by firmware of that architecture; `caller` is what
    /// is known of who has that address
    ///
    /// `None` where no network is served.
    pub fn choice(
        &self,
        name: Name<'_>,
        arch: Arch,
        peer: Option<Ipv4Addr>,
        caller: Option<&Caller>,
    ) -> Option<Choice<'_>> {
        let client = caller.filter(|caller| caller.is_booting() && is_asked_by(caller, name, peer));
        let client = client.map(|caller| (caller.client(peer), caller.item));
        if let Some((client, item)) = client.filter(|(client, _)| client.network < self.networks.len()) {
            return Some(self.choice_of(&client, item));
        }
        let index = self.network_at(peer);
        let network = self.networks.get(index)?;
        let (mac, uuid) = match name {
            Name::Mac(mac) => (Some(mac), None),
            Name::Uuid(uuid) => (None, Some(uuid)),
            Name::Anybody | Name::Serial(_) | Name::Address(_) | Name::Host(_) => (None, None),
        };
        let address = if let Name::Address(address) = name { Some(address) } else { peer };
        let client = Client {
            network: index,
            mac: mac.unwrap_or(MacAddr::ZERO),
            uuid,
            arch: Some(arch),
            stated_arch: None,
            loader: Loader::Rom,
            wants: Wants::Pxe,
            vendor_class: b"",
            user_class: b"",
            link: address,
            relay: None,
            circuit_id: b"",
            remote_id: b"",
            ip: address,
        };
        let machine = match name {
            Name::Serial(serial) => self.machines.iter().find(|one| one.serial.as_deref() == Some(serial)),
            Name::Host(host) => self.machines.iter().find(|one| one.hostname.as_deref() == Some(host)),
            Name::Mac(_) | Name::Uuid(_) => self.machine_of(&client),
            Name::Anybody | Name::Address(_) => {
                self.machines.iter().find(|one| address.is_some() && one.address == address)
            }
        };
        let answer = self.answer_as(&client, machine);
        let of_machine = |chosen: &Chosen<'_>| matches!(chosen.reason, Reason::Machine { .. });
        let image = match name {
            Name::Mac(_) | Name::Anybody => answer.image,
            Name::Serial(_) | Name::Address(_) | Name::Host(_) => answer.image.filter(of_machine),
            Name::Uuid(_) => answer.image.filter(of_machine).or_else(|| self.by_uuid_alone(&client)),
        };
        let machine_is_local = || machine.and_then(|machine| self.machine_is_local(machine)).is_some();
        let is_local = match name {
            Name::Mac(_) | Name::Anybody => answer.is_local(),
            _ => machine_is_local(),
        };
        let image = image.filter(|_| !is_local);
        Some(Choice {
            network,
            machine,
            image,
            is_local,
            boot: answer.boot,
            arch: client.arch,
            is_u_boot: false,
            mac: mac.or(machine.and_then(|machine| machine.mac)),
            uuid: uuid.or(machine.and_then(|machine| machine.uuid)),
            ip: machine.and_then(|machine| machine.address).or(address),
        })
    }

    /// What a client boots that is known by its request, and that chose this item of a menu
    fn choice_of<'p>(&'p self, client: &Client<'_>, item: Option<u16>) -> Choice<'p> {
        let machine = self.machine_of(client);
        let answer = self.answer_as(client, machine);
        let is_own = machine.is_some_and(|machine| machine.image.is_some());
        let chosen = item.filter(|_| !is_own).and_then(|item| self.item_of(client, item));
        // Whoever chain-loads a loader by a script of iPXE's loads what its ROM would get.
        let as_rom = Client { loader: Loader::Rom, wants: Wants::Pxe, ..*client };
        let boot = if is_ipxe(client) { self.answer_as(&as_rom, machine).loader } else { answer.loader };
        Choice {
            network: answer.network,
            machine,
            image: chosen.or(answer.image).filter(|_| !answer.is_local()),
            is_local: answer.is_local(),
            boot: boot.or(answer.boot),
            arch: client.arch,
            is_u_boot: client.loader == Loader::UBoot,
            mac: Some(client.mac).filter(|mac| *mac != MacAddr::ZERO),
            uuid: client.uuid,
            ip: client.ip,
        }
    }

    /// The image of an item of the menu that the client saw, by whichever loader it asked last
    fn item_of(&self, client: &Client<'_>, item: u16) -> Option<Chosen<'_>> {
        let subnet = self.networks[client.network].subnet_of(client.link);
        let as_rom = Client { loader: Loader::Rom, wants: Wants::Pxe, ..*client };
        let seen = |client: &Client<'_>| self.menu_of(client, subnet);
        let (menu, reason) = seen(&as_rom).or_else(|| seen(client))?;
        let item = menu.items.iter().find(|known| known.kind == item)?;
        Some(Chosen { assigned: item.image.as_ref()?, reason })
    }

    /// The image of the first rule that names one and is about UUIDs. A rule before it that asks for more than a UUID may be
    /// the one that holds: then the loader's next name tells.
    fn by_uuid_alone(&self, client: &Client<'_>) -> Option<Chosen<'_>> {
        let subnet = self.networks[client.network].subnet_of(client.link);
        for rule in self.rules.iter().filter(|rule| rule.image.is_some() || rule.local != local::Local::Never)
        {
            if local::is_uncertain(rule) {
                return None;
            }
            if rules::all_hold(&rule.matches, client, subnet) {
                let is_named = rule.matches.iter().any(|one| matches!(one, Match::Uuid(_)));
                let assigned = rule.image.as_ref().filter(|_| is_named)?;
                return Some(Chosen { assigned, reason: rule.reason });
            }
        }
        None
    }

    /// The network that an address is reached by; with none that holds it, the first
    pub fn network_at(&self, peer: Option<Ipv4Addr>) -> usize {
        let holds = |network: &Network| peer.is_some_and(|peer| network.subnet_of(Some(peer)).is_some());
        self.networks.iter().position(holds).unwrap_or(0)
    }

    /// The machine that the client is: by its MAC address, then by its UUID
    pub(super) fn machine_of(&self, client: &Client<'_>) -> Option<&Machine> {
        let by_mac = self.by_mac.get(&client.mac);
        let by_uuid = || {
            let uuid = client.uuid?;
            self.by_uuid.get(&uuid.0).or_else(|| self.by_uuid.get(&swapped(uuid).0))
        };
        by_mac.or_else(by_uuid).map(|i| &self.machines[*i])
    }

    /// Images that machines, rules and menus name, each once a use
    pub fn assigned(&self) -> impl Iterator<Item = (&Assigned, Reason)> {
        let of_machines = self
            .machines
            .iter()
            .filter_map(|machine| Some((machine.image.as_ref()?, Reason::Machine { line: machine.line })));
        let of_rules = self.rules.iter().filter_map(|rule| Some((rule.image.as_ref()?, rule.reason)));
        of_machines.chain(of_rules)
    }
}

/// Whether what is known of an address is of the machine that asks: somebody else may ask by its name, and a serial number is
/// nothing that DHCP tells
fn is_asked_by(caller: &Caller, name: Name<'_>, peer: Option<Ipv4Addr>) -> bool {
    match name {
        Name::Anybody => true,
        Name::Mac(mac) => caller.mac == mac,
        Name::Uuid(uuid) => caller.uuid == Some(uuid) || caller.uuid == Some(swapped(uuid)),
        Name::Address(address) => peer == Some(address),
        Name::Serial(_) | Name::Host(_) => false,
    }
}
