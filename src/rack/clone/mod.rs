//! `reveille replay --clone`: a machine that does again what one was captured doing, under a name of its own.
//!
//! A capture becomes a script: which messages were sent with which options, which files were asked for by which protocol, and how
//! long the machine thought in between. A clone sends the same with its own MAC address, transaction identifiers, UUID and
//! address; it waits for each answer as the captured firmware would, and fails where one does not come.

mod read;
pub(super) mod rename;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use super::dhcp::{BootServerProfile, Profile};
use super::firmware::Firmware;
use super::message::Reply;
use super::outcome::{Failure, Lease, Outcome};
use super::reach::{Identity, Known};
use super::step::Step;
use super::{http, tftp};
use crate::time::Duration;
use crate::wire::pcap;

/// Whom a captured machine asked
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// The one that DHCP had named to boot from: a clone asks the one that is named to the clone
    Boot,
    /// The one that gave it its address
    Dhcp,
    /// Somebody else, who has to be there
    Other(Ipv4Addr),
}

/// What a captured machine did
enum Act {
    Dhcp(&'static Profile),
    BootServer(&'static BootServerProfile),
    Tftp(&'static tftp::Profile, Server, String),
    Http(&'static http::Profile, Server, u16, String),
}

/// One step of a captured boot
struct Scene {
    /// How long the machine was busy with itself before
    after: Duration,
    act: Act,
    /// The file was there
    is_found: bool,
}

/// A captured boot. Its profiles live as long as the program: one capture's worth of them.
pub struct Script {
    /// Whose boot it was, and the addresses that it had
    who: Identity,
    addresses: Vec<Ipv4Addr>,
    scenes: Vec<Scene>,
    /// Machines that the capture holds
    machines: usize,
    /// What it did and clones do not
    left_out: Vec<String>,
    damage: Option<pcap::Error>,
}

impl Script {
    /// Reads the first boot that a capture holds
    ///
    /// # Errors
    /// Where it is no capture, or holds no boot that could be done again.
    pub fn read(capture: &[u8]) -> Result<Self, String> {
        read::script(capture)
    }

    /// Its steps in a few words, and what is left out of them
    pub fn about(&self) -> String {
        let count = |is: fn(&Act) -> bool| self.scenes.iter().filter(|scene| is(&scene.act)).count();
        let steps = [
            (count(|act| matches!(act, Act::Dhcp(_))), "DHCP exchange", "DHCP exchanges"),
            (
                count(|act| matches!(act, Act::BootServer(_))),
                "question on port 4011",
                "questions on port 4011",
            ),
            (count(|act| matches!(act, Act::Tftp(..))), "file by TFTP", "files by TFTP"),
            (count(|act| matches!(act, Act::Http(..))), "file by HTTP", "files by HTTP"),
        ];
        let steps = steps.into_iter().filter(|(count, ..)| *count > 0);
        let steps: Vec<_> = steps
            .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
            .collect();
        let thinks: u64 = self.scenes.iter().map(|scene| scene.after.as_micros()).sum();
        let of = if self.machines > 1 { format!(", one of {}", self.machines) } else { String::new() };
        let mut text = format!(
            "the boot of {}{of}: {}, and {} of its own work between them",
            self.who.mac,
            steps.join(", "),
            Duration::from_micros(thinks),
        );
        for server in self.others() {
            text += &format!("\nit asks {server} too, which DHCP had not named: clones ask the same");
        }
        if !self.left_out.is_empty() {
            text += &format!("\nleft out: {}", self.left_out.join(", "));
        }
        if let Some(damage) = self.damage {
            text += &format!("\nthe capture is damaged behind that: {damage}");
        }
        text
    }

    /// Servers that DHCP had not named
    fn others(&self) -> BTreeSet<Ipv4Addr> {
        let server = |scene: &Scene| match scene.act {
            Act::Tftp(_, Server::Other(address), _) | Act::Http(_, Server::Other(address), ..) => {
                Some(address)
            }
            _ => None,
        };
        self.scenes.iter().filter_map(server).collect()
    }

    pub(super) fn start(script: Rc<Self>) -> impl Firmware {
        Clone { script, at: 0, boot: None, dhcp: None }
    }

    /// A name that the captured machine asked for, as another machine would: its MAC address, its UUID and its address in
    /// hexadecimal, or the head of that, are its own
    fn rename(&self, name: &str, known: &Known) -> String {
        let name = rename::text(name, &self.who, &known.identity);
        let (folder, last) = name.split_at(name.rfind('/').map_or(0, |at| at + 1));
        let hex = |address: &Ipv4Addr| format!("{:08X}", address.to_bits());
        // GRUB and others put it behind a hyphen.
        let (before, digits) = last.split_at(last.rfind('-').map_or(0, |at| at + 1));
        let is_head = |address: &Ipv4Addr| !digits.is_empty() && hex(address).starts_with(digits);
        if folder.ends_with("pxelinux.cfg/") && self.addresses.iter().any(is_head) {
            return format!("{folder}{before}{}", &hex(&known.address)[..digits.len()]);
        }
        name
    }
}

/// A clone
struct Clone {
    script: Rc<Script>,
    at: usize,
    /// The server that DHCP has named to boot from
    boot: Option<Ipv4Addr>,
    /// The one that gave the address
    dhcp: Option<Ipv4Addr>,
}

impl Firmware for Clone {
    fn next(&mut self, known: &mut Known, outcome: Outcome) -> Step {
        let is_found = self.script.scenes.get(self.at).is_some_and(|scene| scene.is_found);
        match outcome {
            Outcome::Power => {}
            Outcome::Failed(failure) => return Step::Fail(failure),
            Outcome::Missing if is_found => return Step::Fail(Failure::NotFound),
            Outcome::Leased(Lease { boot, server, .. }) => {
                self.dhcp = Some(server);
                self.boot = boot.as_ref().map(named).or(self.boot).or(self.dhcp);
                self.at += 1;
            }
            Outcome::BootServer(boot) => {
                self.boot = Some(named(&boot));
                self.at += 1;
            }
            Outcome::Fetched(_) | Outcome::Missing => self.at += 1,
        }
        let Some(scene) = self.script.scenes.get(self.at) else { return Step::Booted };
        let server = |server: Server| match server {
            Server::Boot => self.boot,
            Server::Dhcp => self.dhcp,
            Server::Other(address) => Some(address),
        };
        let step = match &scene.act {
            Act::Dhcp(profile) => Some(Step::Dhcp(profile)),
            Act::BootServer(profile) => self.boot.map(|to| Step::BootServer(profile, to, None)),
            Act::Tftp(profile, to, name) => {
                server(*to).map(|to| Step::Tftp(profile, to, self.script.rename(name, known)))
            }
            Act::Http(profile, to, port, path) => server(*to).map(|to| {
                let path = self.script.rename(path, known);
                Step::Http(profile, SocketAddrV4::new(to, *port), path)
            }),
        };
        match step {
            Some(step) => Step::After(scene.after, Box::new(step)),
            None => Step::Fail(Failure::NoBootFile),
        }
    }
}

/// Where a reply's boot file is
fn named(reply: &Reply) -> Ipv4Addr {
    if reply.siaddr.is_unspecified() { reply.server } else { reply.siaddr }
}
