//! Booting from the local disk: always, or after a machine has done once what it is booted for (`boot-once`).
//!
//! Who may say that a machine is done: whoever has the machine's address, and whoever names it from inside its network, since
//! an installer knows what it was told and not more. Nothing else of a report is believed.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::super::client::Client;
use super::super::register::{MachineId, Record, Ticket};
use super::{
    BootFile, Boots, Machine, Match, Menu, MenuItem, Name, Network, Piece, Plan, Reason, Rule, Who, rules,
};
use crate::time::Instant;
use crate::wire::ethernet::MacAddr;

/// When somebody boots from its own disk in place of the network
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Local {
    /// Never
    #[default]
    Never,
    /// Always (`local = true`)
    Always,
    /// After it has done once what it is booted for (`boot-once`)
    After(Once),
}

/// What ends a machine's booting from the network
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// Done with one term, it is not done with another
    pub term: String,
    /// The file whose download is as good as a report, without a slash before it
    pub file: Option<String>,
}

/// What a report came to
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It is being written down
    Now(Ticket),
    /// It was known
    Before,
}

/// Why a report is not taken
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReported {
    /// The machine is another network's
    Elsewhere,
    /// No `boot-once` is for it, or nobody is known by that name
    NotOnce,
    /// There is no room for more
    Busy,
}

/// What sends a ROM on to its next boot option. An offer without a boot file does so only after a minute: EDK2 waits for a better
/// one through 4 + 8 + 16 + 32 s.
#[derive(Debug)]
pub(super) struct Told {
    /// To PXE: one item, the local disk, taken at once (PXE 2.1 §2.2.3: type 0). EDK2 says PXE-E21 and goes on.
    pub(super) menu: Menu,
    /// To UEFI HTTP boot, which knows no menu: a file that is not there
    pub(super) nowhere: BootFile,
}

impl Told {
    pub(super) fn new() -> Self {
        let item =
            MenuItem { kind: 0, text: "Local disk".to_owned(), boot: None, image: None, servers: Vec::new() };
        let menu = Menu { prompt: "Booting from the local disk".to_owned(), timeout_s: 0, items: vec![item] };
        let literal = |text: &str| Piece::Literal(text.to_owned());
        let pieces = vec![literal("images/"), Piece::Server, literal("/boots-its-own-disk")];
        Self { menu, nowhere: BootFile { pieces, server: None } }
    }
}

/// The files whose download ends somebody's booting from the network
pub(super) fn awaited_files(machines: &[Machine], rules: &[Rule]) -> HashSet<String> {
    let file = |local: &Local| match local {
        Local::After(once) => once.file.clone(),
        Local::Never | Local::Always => None,
    };
    let of_machines = machines.iter().filter_map(|machine| file(&machine.local));
    of_machines.chain(rules.iter().filter_map(|rule| file(&rule.local))).collect()
}

impl Machine {
    /// What it is called, for people
    pub fn name(&self) -> String {
        let known = self.hostname.clone().or_else(|| self.mac.map(|mac| mac.to_string()));
        known
            .or_else(|| self.uuid.map(|uuid| uuid.to_string()))
            .or_else(|| self.serial.clone())
            .unwrap_or_default()
    }

    /// What it is remembered by
    pub fn id(&self) -> Option<MachineId> {
        self.mac.map(MachineId::Mac).or(self.uuid.map(MachineId::Uuid))
    }
}

impl Plan {
    /// Why the machine boots from its own disk, where it does
    pub(super) fn machine_is_local(&self, machine: &Machine) -> Option<Reason> {
        let line = machine.line;
        match &machine.local {
            Local::Never => None,
            Local::Always => Some(Reason::Local { line }),
            Local::After(once) => self.is_done(machine.id(), once).then_some(Reason::Done { line }),
        }
    }

    /// Why a rule lets the client boot from its own disk, where it does: `decides_file` and `decides_image` say of what it is
    /// the first rule to speak
    pub(super) fn rule_is_local(
        &self,
        rule: &Rule,
        client: &Client<'_>,
        decides_file: bool,
        decides_image: bool,
    ) -> Option<Reason> {
        let Reason::Rule { line, .. } = rule.reason else { return None };
        match &rule.local {
            Local::Never => None,
            Local::Always => (decides_file && decides_image).then_some(Reason::Local { line }),
            Local::After(once) => {
                let speaks =
                    (decides_file && rule.boots != Boots::Unsaid) || (decides_image && rule.image.is_some());
                (speaks && self.is_done(id_of(client), once)).then_some(Reason::Done { line })
            }
        }
    }

    fn is_done(&self, id: Option<MachineId>, once: &Once) -> bool {
        id.is_some_and(|id| self.register().done.is_done(id, &once.term))
    }

    /// The client at `peer` reports that who has that name has done what it was booted for
    ///
    /// # Errors
    /// Why that is not taken.
    pub fn report(&self, name: Name<'_>, peer: Ipv4Addr, now: Instant) -> Result<Reported, NotReported> {
        let who = self.who(name, Some(peer)).ok_or(NotReported::NotOnce)?;
        if name != Name::Address(peer) && !self.is_at_home(&who, peer) {
            return Err(NotReported::Elsewhere);
        }
        self.record(self.onces(&who), now)
    }

    /// The client at `peer` has fetched a file to its end; where that is what ends its booting from the network, it is written
    /// down
    pub fn on_fetched(&self, peer: Ipv4Addr, path: &str, now: Instant) {
        let path = path.split(['?', '#']).next().unwrap_or_default().trim_start_matches('/');
        if !self.awaited_files.contains(path) {
            return;
        }
        if let Some(who) = self.who(Name::Address(peer), Some(peer)) {
            let onces = self.onces(&who).filter(|(_, once)| once.file.as_deref() == Some(path));
            // There is nobody to tell: what finds no room is found out when the machine boots again.
            let _ = self.record(onces, now);
        }
    }

    /// Whether anybody boots from the network once
    pub fn boots_once(&self) -> bool {
        let is_once = |local: &Local| matches!(local, Local::After(_));
        self.machines.iter().any(|machine| is_once(&machine.local))
            || self.rules.iter().any(|rule| is_once(&rule.local))
    }

    /// Whether any download ends somebody's booting from the network
    pub fn awaits_files(&self) -> bool {
        !self.awaited_files.is_empty()
    }

    fn record<'p>(
        &self,
        onces: impl Iterator<Item = (MachineId, &'p Once)>,
        now: Instant,
    ) -> Result<Reported, NotReported> {
        let mut reported = Err(NotReported::NotOnce);
        for (id, once) in onces {
            if self.register().done.is_done(id, &once.term) {
                reported = reported.or(Ok(Reported::Before));
                continue;
            }
            let record = Record { id, term: once.term.clone(), at_s: now.as_secs() };
            let ticket = self.register().done.report(record).map_err(|_| NotReported::Busy)?;
            reported = Ok(Reported::Now(ticket));
        }
        reported
    }

    /// The `boot-once` that is for somebody, and since when it is over, in seconds since the Unix epoch
    pub fn once_of<'p>(&'p self, who: &Who<'p>) -> Option<(&'p Once, Option<u64>)> {
        let (id, once) = self.onces(who).next()?;
        Some((once, self.register().done.since(id, &once.term)))
    }

    /// Each `boot-once` that may be meant for somebody. Of a rule only what an address tells is looked at: the architecture
    /// that DHCP stated is not said again.
    fn onces<'p>(&'p self, who: &Who<'p>) -> impl Iterator<Item = (MachineId, &'p Once)> {
        fn once(local: &Local) -> Option<&Once> {
            if let Local::After(once) = local { Some(once) } else { None }
        }
        let machine = who.machine.and_then(|machine| Some((machine.id()?, once(&machine.local)?)));
        let (client, subnet) = (who.client(), self.networks[who.network].subnet_of(who.ip));
        let is_told = |one: &&Match| matches!(one, Match::Mac(_) | Match::Uuid(_) | Match::Subnet(_));
        let of_rules = self.rules.iter().filter_map(move |rule| {
            let once = once(&rule.local)?;
            let holds = rule.matches.iter().filter(is_told).all(|one| one.holds(&client, subnet));
            holds.then(|| Some((id_of(&client)?, once))).flatten()
        });
        machine.into_iter().chain(of_rules)
    }

    /// Whether `peer` may speak for somebody: it is where that machine was seen, or in the subnet of its address, or, where
    /// neither is known, in any that is served; or it is this server itself
    fn is_at_home(&self, who: &Who<'_>, peer: Ipv4Addr) -> bool {
        let is_seen =
            || who.mac.is_some() && self.register().callers.at(peer).map(|caller| caller.mac) == who.mac;
        let subnet_of = |address| {
            let subnet = |network: &Network| network.subnet_of(Some(address)).map(|subnet| subnet.cidr);
            self.networks.iter().find_map(subnet)
        };
        let home = who.machine.and_then(|machine| machine.address);
        peer.is_loopback()
            || is_seen()
            || subnet_of(peer).is_some_and(|here| home.is_none_or(|home| here.contains(home)))
    }
}

/// What a client is remembered by that no `[[machine]]` names
fn id_of(client: &Client<'_>) -> Option<MachineId> {
    Some(client.mac).filter(|mac| *mac != MacAddr::ZERO).map(MachineId::Mac)
}

/// Whether a rule says anything that only some of the names that a loader asks by are enough for
pub(super) fn is_uncertain(rule: &Rule) -> bool {
    rule.local != Local::Never || rule.matches.iter().any(|one| matches!(one, Match::Mac(_)))
}

/// Whether the rule holds for who asks for a text of its own
pub(super) fn holds_for(rule: &Rule, plan: &Plan, who: &Who<'_>) -> bool {
    rules::all_hold(&rule.matches, &who.client(), plan.networks[who.network].subnet_of(who.ip))
}
