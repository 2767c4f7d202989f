//! The compiled configuration: [`Plan::answer`] maps a [`Client`] to an [`Answer`], in one look-up.
//!
//! A plan is immutable and shared by all shards; a reload makes a new one. It holds no lease and opens no file. What changes while
//! it is in force is in the [`Register`] that it is given.
//!
//! How an answer is found: the network is the one that the request came in by; the subnet is the one that holds the
//! client's link address, or the interface's own. The machine is found by its MAC address, then by its UUID. What the
//! machine says comes first, then the first rule that matches and says anything of the matter (boot file, image and mode
//! apart), then the network's mode. An image is what the loader's configuration boots; to iPXE, which runs scripts, it is a
//! boot file as well. A menu takes the place of the rules' boot file for PXE ROMs, unless the machine names its own. Before all
//! that goes the local disk, where the machine, or the rule that would decide, says `local`, or is done by `boot-once`.

mod assigned;
mod boot_file;
mod local;
mod rate;
mod rules;
mod subnet;
pub mod well_known;
mod who;

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::client::{Arch, Client, Loader, Uuid, Wants};
use super::register::Register;
use super::template::Templates;
use crate::time::Duration;
use crate::wire::ethernet::MacAddr;

pub use assigned::{Assigned, Choice, Chosen, KnownBy, Name};
pub use boot_file::{BOOT_FILE_MAX, Base, BootFile, BootFileError, Expansion, Piece};
pub use local::{Local, NotReported, Once, Reported};
pub use rate::Rate;
pub use rules::{Boots, LoaderName, Match, Rule, network_boots};
pub use subnet::{Cidr, Range};
pub use who::{Vars, Who};

/// What reveille does about DHCP for a network, a rule or a machine (`dhcp = …`)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It is the DHCP server
    Full,
    /// Another DHCP server gives addresses; reveille adds the boot options (ProxyDHCP)
    Proxy,
    /// As proxy, but network-boot clients get a whole offer with an address from the pool: for ROMs that ignore split offers
    TakeOver,
    /// No DHCP at all; TFTP and HTTP only
    Off,
}

/// One interface that is served
#[derive(Clone, Debug)]
pub struct Network {
    /// The interface's name
    pub interface: String,
    /// Its MAC address
    pub mac: MacAddr,
    /// The server's own address on it: option 54, `siaddr`, `{server}`
    pub address: Ipv4Addr,
    /// What it does there
    pub mode: Mode,
    /// RFC 2131 §4.3.2: this server knows every lease of these subnets, so it may NAK what it does not know
    pub authoritative: bool,
    /// Whether a new address is probed for a conflict before it is offered
    pub probe: bool,
    /// The subnets, the interface's own first (where it has one), then those behind relays
    pub subnets: Vec<Subnet>,
}

/// One subnet, on the link or behind a relay
#[derive(Clone, Debug)]
pub struct Subnet {
    /// Its addresses
    pub cidr: Cidr,
    /// On the interface's own link, not behind a relay
    pub attached: bool,
    /// Addresses given to clients without a reservation; empty: reservations only
    pub pools: Vec<Range>,
    /// Lease time
    pub lease: Duration,
    /// Options for every client of the subnet in the order of their codes: routers (3), DNS (6), domain (15), … as bytes
    pub options: Vec<(u8, Vec<u8>)>,
}

/// A machine that the configuration names
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its MAC address
    pub mac: Option<MacAddr>,
    /// Its SMBIOS UUID
    pub uuid: Option<Uuid>,
    /// Its reserved address
    pub address: Option<Ipv4Addr>,
    /// Its host name (option 12, `{host}`)
    pub hostname: Option<String>,
    /// Its own mode
    pub mode: Option<Mode>,
    /// Its own boot file, before any rule
    pub boot: Option<BootFile>,
    /// Its SMBIOS serial number, which only iPXE tells
    pub serial: Option<String>,
    /// The image that it boots
    pub image: Option<Assigned>,
    /// Whether it boots from its own disk instead
    pub local: Local,
    /// Values for its templates
    pub vars: Vars,
    /// Where the configuration says so
    pub line: u32,
}

/// A PXE boot menu (options 43.8, 43.9, 43.10), answered on 4011
#[derive(Clone, Debug)]
pub struct Menu {
    /// The text of the prompt (43.10)
    pub prompt: String,
    /// Seconds until the first item is taken; 0: at once, 255: show the menu and wait
    pub timeout_s: u8,
    /// Its items in order, at most 24 (EDK2's limit)
    pub items: Vec<MenuItem>,
}

/// One line of a menu and the boot server behind it
#[derive(Clone, Debug)]
pub struct MenuItem {
    /// The boot server type (PXE 2.1 §2.3); 0 is local boot
    pub kind: u16,
    /// What the user reads
    pub text: String,
    /// What it boots; `None` for local boot, or where another server's service answers for itself
    pub boot: Option<BootFile>,
    /// The image that it boots: `boot` is then what a BIOS machine loads it by
    pub image: Option<Assigned>,
    /// The servers of this type where they are not this one
    pub servers: Vec<Ipv4Addr>,
}

/// How the images are offered to who has none assigned: one menu, whichever loader shows it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageMenu {
    /// What stands above it
    pub title: String,
    /// Seconds until the default is taken; 0: never
    pub timeout_s: u16,
    /// What is taken then
    pub default: MenuDefault,
    /// It is shown even where there is nothing to choose
    pub always: bool,
}

/// What a menu takes by itself
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MenuDefault {
    /// The first image
    First,
    /// The image of this name
    Image(String),
    /// The local disk
    Local,
}

impl Default for ImageMenu {
    fn default() -> Self {
        // A machine without a keyboard must not wait for ever.
        let title = "Install or boot".to_owned();
        Self { title, timeout_s: 30, default: MenuDefault::First, always: false }
    }
}

/// Why an answer is what it is
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// `[[boot]]` rule number, from 1, at this line of the configuration
    Rule {
        /// Its number, from 1
        number: u32,
        /// Line in the configuration; 0: the command line
        line: u32,
    },
    /// A `[[machine]]` at this line
    Machine {
        /// Line in the configuration
        line: u32,
    },
    /// A `[[menu]]` at this line
    Menu {
        /// Line in the configuration
        line: u32,
    },
    /// `local`, at this line: it boots from its own disk
    Local {
        /// Line in the configuration
        line: u32,
    },
    /// `boot-once`, at this line: it has done what it was booted for, and boots from its own disk
    Done {
        /// Line in the configuration
        line: u32,
    },
    /// A well-known loader found in the root
    WellKnown,
    /// Nothing matched
    NoRule,
    /// The client does not network-boot
    NotABoot,
}

/// What a client gets
#[derive(Clone, Copy, Debug)]
pub struct Answer<'p> {
    /// Its network
    pub network: &'p Network,
    /// Its subnet; `None` where nothing is configured for its relay or link
    pub subnet: Option<&'p Subnet>,
    /// What is done about DHCP for it
    pub mode: Mode,
    /// The machine that the configuration names
    pub machine: Option<&'p Machine>,
    /// What it boots
    pub boot: Option<&'p BootFile>,
    /// The menu it sees
    pub menu: Option<&'p Menu>,
    /// The boot file that it would get without the menu
    pub loader: Option<&'p BootFile>,
    /// The image that its loader's configuration boots
    pub image: Option<Chosen<'p>>,
    /// Why
    pub reason: Reason,
}

impl MenuItem {
    /// PXE 2.1 leaves the boot server types from here on to vendors: the items that this server boots itself, in their order
    pub const OWN_KINDS: u16 = 0x8000;

    /// What a machine of that architecture, which else gets `loader`, loads for the item. An image is booted by what asks for its
    /// configuration afterwards. BIOS loads that out of a folder of the image's own; the names that shim and GRUB ask by lead to
    /// no folder, so that the choice is remembered for them.
    pub fn boot_of<'p>(&'p self, arch: Option<Arch>, loader: Option<&'p BootFile>) -> Option<&'p BootFile> {
        let is_bios = arch.is_none_or(Arch::is_bios);
        if self.image.is_some() && !is_bios { loader } else { self.boot.as_ref() }
    }
}

impl Answer<'_> {
    /// The boot server's address (`siaddr`, `sname`, option 66): the rule's `server`, else this one's
    pub fn server(&self) -> Ipv4Addr {
        self.boot.and_then(|boot| boot.server).unwrap_or(self.network.address)
    }

    /// Whether it boots from its own disk, on purpose
    pub fn is_local(&self) -> bool {
        matches!(self.reason, Reason::Local { .. } | Reason::Done { .. })
    }
}

/// The compiled configuration
#[derive(Debug)]
pub struct Plan {
    networks: Vec<Network>,
    rules: Vec<Rule>,
    menus: Vec<(Vec<Match>, Menu, Reason)>,
    machines: Vec<Machine>,
    by_mac: HashMap<MacAddr, usize>,
    by_uuid: HashMap<[u8; 16], usize>,
    reserved: HashSet<Ipv4Addr>,
    image_menu: ImageMenu,
    http_port: u16,
    tftp_port: u16,
    rates: Vec<Rate>,
    local: local::Told,
    /// Values for everybody's templates
    vars: Vars,
    templates: Templates,
    /// Files whose download ends somebody's booting from the network
    awaited_files: HashSet<String>,
    register: Arc<Register>,
}

impl Plan {
    /// A plan of these parts, served on the usual ports. Of two machines with the same MAC address or UUID the first counts.
    pub fn new(
        networks: Vec<Network>,
        rules: Vec<Rule>,
        menus: Vec<(Vec<Match>, Menu, Reason)>,
        machines: Vec<Machine>,
    ) -> Self {
        let (mut by_mac, mut by_uuid) = (HashMap::new(), HashMap::new());
        for (i, machine) in machines.iter().enumerate() {
            if let Some(mac) = machine.mac {
                by_mac.entry(mac).or_insert(i);
            }
            if let Some(uuid) = machine.uuid {
                by_uuid.entry(uuid.0).or_insert(i);
            }
        }
        let awaited_files = local::awaited_files(&machines, &rules);
        let reserved = machines.iter().filter_map(|machine| machine.address).collect();
        Self {
            networks,
            rules,
            menus,
            machines,
            by_mac,
            by_uuid,
            reserved,
            image_menu: ImageMenu::default(),
            http_port: 80,
            tftp_port: 69,
            rates: Vec::new(),
            local: local::Told::new(),
            vars: Vars::new(),
            templates: Templates::default(),
            awaited_files,
            register: Arc::default(),
        }
    }

    /// The same plan, with this menu of images
    #[must_use]
    pub fn with_image_menu(self, image_menu: ImageMenu) -> Self {
        Self { image_menu, ..self }
    }

    /// The same plan, with the ports that its URLs name
    #[must_use]
    pub fn with_ports(self, http_port: u16, tftp_port: u16) -> Self {
        Self { http_port, tftp_port, ..self }
    }

    /// The same plan, which takes no more than this of its wires
    #[must_use]
    pub fn with_rates(self, rates: Vec<Rate>) -> Self {
        Self { rates, ..self }
    }

    /// The same plan, with these templates and these values for all of them
    #[must_use]
    pub fn with_templates(self, templates: Templates, vars: Vars) -> Self {
        Self { templates, vars, ..self }
    }

    /// The same plan, for a server that knows this of machines
    #[must_use]
    pub fn with_register(self, register: Arc<Register>) -> Self {
        Self { register, ..self }
    }

    /// What is known of machines beside the plan
    pub fn register(&self) -> &Arc<Register> {
        &self.register
    }

    /// The texts that are written for each machine
    pub fn templates(&self) -> &Templates {
        &self.templates
    }

    /// How much of which wires the server may take; none: as much as there is
    pub fn rates(&self) -> &[Rate] {
        &self.rates
    }

    /// The networks that are served, in the order of the configuration: `network` anywhere is an index into them
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// The machines that the configuration names
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The rules, in the order in which they are tried
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The menus, in the order in which they are tried, and where the configuration has them
    pub fn menus(&self) -> impl Iterator<Item = (&Menu, Reason)> {
        self.menus.iter().map(|(_, menu, reason)| (menu, *reason))
    }

    /// How the images are offered where none is assigned
    pub fn image_menu(&self) -> &ImageMenu {
        &self.image_menu
    }

    /// Whether `address` belongs to a machine that the configuration names: no pool gives it away
    pub fn machine_reserved(&self, address: Ipv4Addr) -> bool {
        self.reserved.contains(&address)
    }

    /// The port that HTTP is served on
    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// The port that TFTP is served on
    pub fn tftp_port(&self) -> u16 {
        self.tftp_port
    }

    /// What the client gets: the only place that decides it
    ///
    /// # Panics
    /// When `client.network` is none of the plan's.
    pub fn answer(&self, client: &Client<'_>) -> Answer<'_> {
        self.answer_as(client, self.machine_of(client))
    }

    /// What the client gets, being that machine
    fn answer_as<'p>(&'p self, client: &Client<'_>, machine: Option<&'p Machine>) -> Answer<'p> {
        let network = &self.networks[client.network];
        let subnet = network.subnet_of(client.link);
        let of_machine = |machine: &'p Machine| {
            let reason = Reason::Machine { line: machine.line };
            Some(Chosen { assigned: machine.image.as_ref()?, reason })
        };
        let mut image = machine.and_then(of_machine);
        let mut rule_mode = None;
        let mut decision = None;
        let own_file = machine.is_some_and(|machine| machine.boot.is_some());
        let boots = network_boots(client);
        let mut local = machine.filter(|_| boots).and_then(|machine| self.machine_is_local(machine));
        for rule in &self.rules {
            if !rules::all_hold(&rule.matches, client, subnet) {
                continue;
            }
            rule_mode = rule_mode.or(rule.mode);
            if boots && local.is_none() {
                let decides_file = decision.is_none() && !own_file;
                local = self.rule_is_local(rule, client, decides_file, image.is_none());
            }
            if local.is_some() {
                continue;
            }
            if decision.is_none() {
                decision = match &rule.boots {
                    Boots::File(boot) if would_loop(client, boot) => None,
                    Boots::File(boot) => Some((Some(boot), rule.reason)),
                    Boots::Nothing => Some((None, rule.reason)),
                    Boots::Unsaid => match &rule.image {
                        Some(assigned) if is_ipxe(client) => Some((Some(&assigned.script), rule.reason)),
                        _ => None,
                    },
                };
            }
            let of_rule = |assigned: &'p Assigned| Chosen { assigned, reason: rule.reason };
            image = image.or(rule.image.as_ref().map(of_rule));
            if rule_mode.is_some() && decision.is_some() && image.is_some() {
                break;
            }
        }
        let mode = machine.and_then(|machine| machine.mode).or(rule_mode).unwrap_or(network.mode);
        let (loader, reason) = (decision.and_then(|(boot, _)| boot), Reason::NoRule);
        let answer = Answer { network, subnet, mode, machine, boot: None, menu: None, loader, image, reason };
        let Some(reason) = local else { return self.with_boot(answer, client, decision) };
        // Any other loader goes back to its firmware without a boot file.
        let (menu, boot) = match (client.wants, client.loader) {
            (Wants::Pxe, Loader::Rom) => (Some(&self.local.menu), None),
            (Wants::Http, Loader::Rom) => (None, Some(&self.local.nowhere)),
            _ => (None, None),
        };
        Answer { menu, boot, loader: None, image: None, reason, ..answer }
    }

    fn with_boot<'p>(
        &'p self,
        answer: Answer<'p>,
        client: &Client<'_>,
        decision: Option<(Option<&'p BootFile>, Reason)>,
    ) -> Answer<'p> {
        if let Some(machine) = answer.machine
            && let Some(boot) = &machine.boot
            && !would_loop(client, boot)
        {
            return Answer { boot: Some(boot), reason: Reason::Machine { line: machine.line }, ..answer };
        }
        let own_image = answer.machine.and_then(|machine| Some((machine, machine.image.as_ref()?)));
        if let Some((machine, assigned)) = own_image.filter(|_| is_ipxe(client)) {
            let reason = Reason::Machine { line: machine.line };
            return Answer { boot: Some(&assigned.script), reason, ..answer };
        }
        // A machine whose image is known is asked nothing.
        if own_image.is_none()
            && let Some((menu, reason)) = self.menu_of(client, answer.subnet)
        {
            let first = || menu.items.iter().find_map(|item| item.boot_of(client.arch, answer.loader));
            let boot = answer.loader.or_else(first);
            return Answer { boot, menu: Some(menu), reason, ..answer };
        }
        match decision {
            Some((boot, reason)) => Answer { boot, reason, ..answer },
            None if network_boots(client) => answer,
            None => Answer { reason: Reason::NotABoot, ..answer },
        }
    }

    /// Only a PXE ROM shows a menu; iPXE would show the one that it was chosen from again, unless a menu asks for it
    fn menu_of(&self, client: &Client<'_>, subnet: Option<&Subnet>) -> Option<(&Menu, Reason)> {
        if client.wants != Wants::Pxe {
            return None;
        }
        let for_whom = |matches: &[Match]| {
            client.loader == Loader::Rom || matches.iter().any(|one| matches!(one, Match::Loader(_)))
        };
        self.menus
            .iter()
            .find(|(matches, ..)| for_whom(matches) && rules::all_hold(matches, client, subnet))
            .map(|(_, menu, reason)| (menu, *reason))
    }

    /// The values that fill the answer's boot file for this client; `ip` is the address that it has or is given
    pub fn expansion<'p>(
        &self,
        answer: &Answer<'p>,
        client: &Client<'_>,
        ip: Option<Ipv4Addr>,
    ) -> Expansion<'p> {
        let own = answer.boot.is_none_or(|boot| boot.server.is_none());
        let (http_port, tftp_port) = if own { (self.http_port, self.tftp_port) } else { (80, 69) };
        // What iPXE runs is better named by URL: beside another DHCP server, a bare name may be looked for there. What it
        // chain-loads must stay a name: pxelinux and shim take their folder and server from `file` and `siaddr`.
        let is_script = answer.boot.is_some_and(well_known::is_ipxe_script);
        let base = match (client.wants, client.loader) {
            (Wants::Http, _) => Base::Http(http_port),
            // Nothing is known of HTTP on another server, where a `server` without a URL has always meant TFTP.
            (_, Loader::Ipxe(features)) if is_script && features.http && own => Base::Http(http_port),
            (_, Loader::Ipxe(_)) if is_script => Base::Tftp(tftp_port),
            _ => Base::Name,
        };
        Expansion {
            server: answer.server(),
            mac: client.mac,
            uuid: client.uuid,
            ip: ip.or(client.ip),
            arch: client.arch,
            host: answer.machine.and_then(|machine| machine.hostname.as_deref()),
            base,
        }
    }
}

impl Network {
    /// The subnet that holds `link`; on the link itself (`None`), the interface's own
    pub fn subnet_of(&self, link: Option<Ipv4Addr>) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| match link {
            Some(link) => subnet.cidr.contains(link),
            None => subnet.attached,
        })
    }
}

/// The UUID with its first three fields in the other byte order. Firmware sends SMBIOS's little-endian fields as they
/// are, pxelinux and GRUB print them so, and dmidecode and BMCs print them swapped: an operator may have read either.
fn swapped(uuid: Uuid) -> Uuid {
    let mut bytes = uuid.0;
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    Uuid(bytes)
}

fn is_ipxe(client: &Client<'_>) -> bool {
    matches!(client.loader, Loader::Ipxe(_))
}

/// An iPXE that is handed an iPXE loads iPXE for ever: such a file is meant for the ROM before it
fn would_loop(client: &Client<'_>, boot: &BootFile) -> bool {
    is_ipxe(client) && well_known::is_ipxe(boot)
}

#[cfg(test)]
mod tests;
