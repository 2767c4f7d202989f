//! `reveille replay --clone`: a machine that does again what one was captured doing, under a name of its own.
//!
//! A capture becomes a script: which messages were sent with which options, which files were asked for by which protocol, and how
//! long the machine thought in between. A clone sends the same with its own MAC address, transaction identifiers, UUID and
//! address; it waits for each answer as the captured firmware would, and fails where one does not come.

mod read;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use super::dhcp::{BootServerProfile, Lease, Profile};
use super::firmware::Firmware;
use super::machine::{Failure, Known, Outcome, Step};
use super::{http, tftp};
use crate::time::Duration;
use crate::wire::ethernet::MacAddr;

/// Whom a captured machine asked
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// The server that DHCP had named to it: a clone asks the one that is named to the clone
    Named,
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
    mac: MacAddr,
    addresses: Vec<Ipv4Addr>,
    scenes: Vec<Scene>,
}

impl Script {
    /// Reads the first boot that a capture holds
    ///
    /// # Errors
    /// Where it is no capture, or holds no boot that could be done again.
    pub fn read(capture: &[u8]) -> Result<Self, String> {
        read::script(capture)
    }

    /// Whose boot it was
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Its steps in a few words
    pub fn about(&self) -> String {
        let count = |is: fn(&Act) -> bool| self.scenes.iter().filter(|scene| is(&scene.act)).count();
        let thinks: u64 = self.scenes.iter().map(|scene| scene.after.as_micros()).sum();
        format!(
            "{}: {} DHCP exchanges, {} on port 4011, {} files by TFTP, {} by HTTP, {} of its own work between them",
            self.mac,
            count(|act| matches!(act, Act::Dhcp(_))),
            count(|act| matches!(act, Act::BootServer(_))),
            count(|act| matches!(act, Act::Tftp(..))),
            count(|act| matches!(act, Act::Http(..))),
            Duration::from_micros(thinks),
        )
    }

    pub(super) fn start(script: Rc<Self>) -> impl Firmware {
        Clone { script, at: 0, named: None }
    }

    /// A name that the captured machine asked for, as another machine would: its MAC address and its address in hexadecimal, or
    /// the head of that, are its own
    fn rename(&self, name: &str, known: &Known) -> String {
        let (own, theirs) = (known.identity.mac.to_string(), self.mac.to_string());
        let hyphens = |mac: &str| mac.replace(':', "-");
        let name = name.replace(&theirs, &own).replace(&hyphens(&theirs), &hyphens(&own));
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
    /// The server that DHCP has named
    named: Option<Ipv4Addr>,
}

impl Firmware for Clone {
    fn next(&mut self, known: &mut Known, outcome: Outcome) -> Step {
        let is_found = self.script.scenes.get(self.at).is_some_and(|scene| scene.is_found);
        match outcome {
            Outcome::Power => {}
            Outcome::Failed(failure) => return Step::Fail(failure),
            Outcome::Missing if is_found => return Step::Fail(Failure::NotFound),
            Outcome::Leased(Lease { boot, .. }) => {
                self.named = boot.map(|boot| named(boot.siaddr, boot.server)).or(self.named);
                self.at += 1;
            }
            Outcome::BootServer(boot) => {
                self.named = Some(named(boot.siaddr, boot.server));
                self.at += 1;
            }
            Outcome::Fetched(_) | Outcome::Missing => self.at += 1,
        }
        let Some(scene) = self.script.scenes.get(self.at) else { return Step::Booted };
        let server = |server: Server| match server {
            Server::Named => self.named,
            Server::Other(address) => Some(address),
        };
        let step = match &scene.act {
            Act::Dhcp(profile) => Some(Step::Dhcp(profile)),
            Act::BootServer(profile) => self.named.map(|to| Step::BootServer(profile, to, None)),
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

fn named(siaddr: Ipv4Addr, server: Ipv4Addr) -> Ipv4Addr {
    if siaddr.is_unspecified() { server } else { siaddr }
}
