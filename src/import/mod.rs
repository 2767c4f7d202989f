//! `import`: a dnsmasq configuration → the same set-up as a configuration of reveille's, as text for a person to read.
//!
//! ```text
//! files ─ source, line ─▶ lines ─┬─ networks ── where, which addresses ─────────┐
//!                                ├─ setters, hosts ─▶ tags: who has which       ├─ write ─▶ text
//!                                ├─ boots (arranged by tags) ── rules, menus ───┤
//!                                └─ options, globals ───────────────────────────┘
//! lease file ─ leases ─▶ leases for the store
//! ```
//!
//! No line is dropped silently: what is not carried over is [`Imported::lost`], with its place and the reason, and a comment
//! of the text. Nothing here changes dnsmasq's files, and only `source` and this file read any. How tags become rules
//! is told in `tags`.

mod boots;
mod conditions;
mod globals;
mod hosts;
mod leases;
mod line;
mod networks;
mod options;
mod report;
mod setters;
mod source;
mod tags;
#[cfg(test)]
mod tests;
mod values;
mod write;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use self::boots::Reader;
use self::globals::Globals;
use self::line::Line;
use self::networks::{Network, Networks, Scope};
use self::options::{Options, Value};
use self::report::Report;
use self::tags::Tags;
use self::write::Text;
use crate::boot::lease::{Lease, LeaseChange};
use crate::boot::plan::Mode;
use crate::io::interfaces::Interface;
use crate::store::{Disk, LeaseStore};

pub use report::Said;

/// Where dnsmasq keeps its leases on Linux unless it is told (dnsmasq(8), FILES)
const USUAL_LEASES: &str = "/var/lib/misc/dnsmasq.leases";

/// What became of a configuration
#[derive(Debug)]
pub struct Imported {
    /// The configuration, with comments
    pub text: String,
    /// Lines that are not carried over, wholly or in part
    pub lost: Vec<Said>,
    /// What the operator should look at
    pub notes: Vec<String>,
    /// The lease file and its live leases; `None`: there is none to read
    pub leases: Option<(PathBuf, Vec<Lease>)>,
}

/// Reads the file and those that it names. `interfaces` are this machine's; `leases`: the lease file, in place of the one
/// that the configuration names; `now_s`: seconds since 1970.
///
/// # Errors
/// The file, or the lease file that was named, cannot be read: a sentence for the operator.
pub fn import(
    file: &Path,
    leases: Option<&Path>,
    interfaces: &[Interface],
    now_s: u64,
) -> Result<Imported, String> {
    let mut report = Report::default();
    let lines = source::read(file, &mut report)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let leases = read_leases(leases, &lines, now_s)?;
    let text = convert(file, &lines, interfaces, &mut report);
    Ok(Imported {
        text,
        lost: report.lost_lines().cloned().collect(),
        notes: report.notes().map(str::to_owned).collect(),
        leases,
    })
}

fn convert(file: &Path, lines: &[Line], interfaces: &[Interface], report: &mut Report) -> String {
    let mut networks = networks::read(lines, interfaces, report);
    let globals = globals::read(lines, &networks, report);
    let mut tags = Tags::default();
    setters::read(lines, &networks, &mut tags, report);
    let hosts = hosts::read(lines, &networks, &mut tags, report);
    if !hosts.machines.iter().any(|machine| machine.address.is_some()) {
        networks.close_empty(lines, report);
    }
    let read = options::read(lines, &networks, &tags, report);
    strangers(lines, &networks, &read, report);
    let reader =
        Reader { lines, tags: &tags, networks: &networks, hosts: &hosts, root: globals.root.as_deref() };
    let boots = reader.read(read.boot.clone(), report);
    unknown_address(&networks, &globals, &read, report);

    let mut text = Text::new(lines);
    text.comment(&format!("The set-up of {}, as `reveille import` reads it", file.display()));
    for note in report.notes() {
        text.comment(&format!("Look at this: {note}"));
    }
    text.blank();
    globals.write(&mut text);
    text.networks(&networks, &globals.common, |network, scope| of_scope(&read, network, scope));
    text.boots(&boots);
    text.machines(&hosts.machines);
    said(&mut text, "Not carried over:", report.lost_lines());
    said(&mut text, "Not needed:", report.needless_lines());
    text.finish()
}

/// The options of a subnet, without routers that its clients cannot reach
fn of_scope(read: &options::Read, network: &Network, scope: &Scope) -> Options {
    let mut options = all_of_scope(read, network, scope);
    if let Some((_, Value::Addresses(routers))) = options.get_mut(&3) {
        routers.retain(|router| reaches(scope, *router));
    }
    options
}

/// The options of a subnet: those of its tags before those of everybody
fn all_of_scope(read: &options::Read, network: &Network, scope: &Scope) -> Options {
    let mut options = read.everywhere.clone();
    for tag in scope.sets.iter().chain([&network.interface]) {
        if let Some(tagged) = read.tagged.get(tag) {
            options.extend(tagged.clone());
        }
    }
    options
}

/// Whether a router can be reached from a subnet; of one whose netmask is not known here, it is believed
fn reaches(scope: &Scope, router: std::net::Ipv4Addr) -> bool {
    router.is_unspecified() || scope.cidr.is_none_or(|cidr| cidr.contains(router))
}

/// Options that would reach other clients than dnsmasq's, or tell them what they cannot use
fn strangers(lines: &[Line], networks: &Networks, read: &options::Read, report: &mut Report) {
    for (network, scope) in networks.scopes().filter(|(_, scope)| scope.mode == Some(Mode::Full)) {
        let options = all_of_scope(read, network, scope);
        if let Some((line, Value::Addresses(routers))) = options.get(&3)
            && let Some(router) = routers.iter().find(|router| !reaches(scope, **router))
        {
            let cidr = scope.cidr.map_or_else(String::new, |cidr| cidr.to_string());
            let why = format!("in {cidr}: its clients cannot reach a router at {router}");
            report.lost(&lines[*line], why);
        }
        if !std::ptr::eq(scope, &network.own) && network.own.mode == Some(Mode::Full) {
            let inherited = of_scope(read, network, &network.own);
            for (_, (line, _)) in
                inherited.iter().filter(|(code, _)| **code != 3 && !options.contains_key(code))
            {
                let why = "in part: the subnets behind the network's relays inherit it";
                report.lost(&lines[*line], why);
            }
        }
    }
}

/// What dnsmasq fills in with its own address, which is known on the server only
fn unknown_address(networks: &Networks, globals: &Globals, read: &options::Read, report: &mut Report) {
    let is_full =
        |(network, scope): &(&Network, &Scope)| network.address.is_none() && scope.mode == Some(Mode::Full);
    for (network, scope) in networks.scopes().filter(is_full) {
        let options = of_scope(read, network, scope);
        let is_own = std::ptr::eq(scope, &network.own);
        let names_itself = |value: &Value| matches!(value, Value::Addresses(all) if all.iter().any(std::net::Ipv4Addr::is_unspecified));
        let mut keys: Vec<String> = Vec::new();
        keys.extend((is_own && !options.contains_key(&3)).then(|| "router".to_owned()));
        keys.extend((globals.common.is_dns && !options.contains_key(&6)).then(|| "dns".to_owned()));
        keys.extend(
            options
                .iter()
                .filter(|(_, (_, value))| names_itself(value))
                .map(|(code, _)| format!("option {code}")),
        );
        if !keys.is_empty() {
            report.note(format!(
                "dnsmasq names its own address to the clients of {} as {}, and it is not known here: write it, if it is wanted",
                network.interface,
                keys.join(", ")
            ));
        }
    }
}

fn said<'s>(text: &mut Text<'_>, title: &str, all: impl Iterator<Item = &'s Said>) {
    let mut all = all.peekable();
    if all.peek().is_some() {
        text.blank();
        text.comment(title);
        for said in all {
            text.comment(&format!("  {said}"));
        }
    }
}

/// The live leases of the file that was named, that the configuration names, or that is the usual one
fn read_leases(
    named: Option<&Path>,
    lines: &[Line],
    now_s: u64,
) -> Result<Option<(PathBuf, Vec<Lease>)>, String> {
    let of_config = lines.iter().rev().find(|line| line.key == "dhcp-leasefile").map(Line::value);
    let file =
        named.map_or_else(|| PathBuf::from(of_config.as_deref().unwrap_or(USUAL_LEASES)), Path::to_path_buf);
    match fs::read(&file) {
        Ok(bytes) => {
            let leases = leases::parse(&String::from_utf8_lossy(&bytes), now_s);
            Ok(Some((file, leases)))
        }
        Err(error) if named.is_some() => Err(format!("cannot read {}: {error}", file.display())),
        Err(_) => Ok(None),
    }
}

/// Puts leases into the store of a state directory, but for addresses that it holds already; tells how many
///
/// # Errors
/// A sentence for the operator.
pub fn store(leases: &[Lease], state_dir: &Path) -> io::Result<usize> {
    let mut store = Disk::open(state_dir)?;
    let known: std::collections::HashSet<_> = store.load()?.iter().map(|lease| lease.address).collect();
    let new = leases.iter().filter(|lease| !known.contains(&lease.address));
    let changes: Vec<_> = new.map(|lease| LeaseChange::Put(*lease)).collect();
    store.commit(&changes)?;
    Ok(changes.len())
}
