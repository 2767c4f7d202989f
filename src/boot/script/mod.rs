//! Loaders' configurations, written from one description: the images, who boots which, and a menu for everybody else.
//!
//! Pure: from a path that a loader asked for to the text that is there ([`Catalogue::text`]). Nothing is kept for a machine:
//! a text is written when it is asked for, and gone when it was read. pxelinux, U-Boot, GRUB and iPXE each have a syntax of their
//! own and get the same, less what was built for another processor.

mod arguments;
mod grub;
mod ipxe;
mod name;
mod pxelinux;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::client::Arch;
use super::distribution::Bootable;
use super::plan::{Assigned, BootFile, Choice, Chosen, ImageMenu, MenuDefault, Name, Piece, Plan, Who};
use super::register::Caller;
use crate::wire::ethernet::MacAddr;

use arguments::{Facts, Pieces};
pub use arguments::{check_args, machine_words};
pub use name::uuid_of;
use name::{For, Loader, Wanted};
use pxelinux::{MenuModule, Reader};

/// An image that boots
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name, which needs no escape anywhere
    pub name: String,
    /// What menus call it
    pub title: Option<String>,
    /// What it boots
    pub bootable: Bootable,
}

impl Entry {
    fn title(&self) -> String {
        match (&self.title, self.bootable.system) {
            (Some(title), _) => title.clone(),
            (None, Some(system)) => format!("{} ({system})", self.name),
            (None, None) => self.name.clone(),
        }
    }
}

/// Where clients find this server
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Its address on their network
    pub address: Ipv4Addr,
    /// Its HTTP port
    pub http_port: u16,
    /// Its TFTP port
    pub tftp_port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.address)?;
        if self.http_port == 80 { Ok(()) } else { write!(f, ":{}", self.http_port) }
    }
}

impl Server {
    /// The server of a plan, at one of its addresses
    pub fn of(plan: &Plan, address: Ipv4Addr) -> Self {
        Self { address, http_port: plan.http_port(), tftp_port: plan.tftp_port() }
    }

    /// Where a machine reports that it has done what it was booted for; one that is not named is known by its address
    pub fn done(&self, mac: Option<MacAddr>) -> String {
        match mac {
            Some(mac) => format!("{self}/done/{}", mac.hyphenated()),
            None => format!("{self}/done"),
        }
    }
}

/// The kernel's arguments of an image as somebody boots it; `args` are the image's own
pub fn kernel_args(args: &str, assigned: &Assigned, who: &Who<'_>, server: Server) -> String {
    let facts = Facts::of_who(who, server);
    let filled = arguments::filled(args, assigned.args.as_deref(), &assigned.image, &facts);
    arguments::rendered(&filled, str::to_owned, |_| None).trim_start().to_owned()
}

/// One image as somebody boots it
#[derive(Clone, Copy, Debug)]
struct Boot<'c> {
    entry: &'c Entry,
    /// Arguments beside the image's own
    args: Option<&'c str>,
}

impl Boot<'_> {
    /// The kernel's arguments, as far as they are known or the loader fills them in
    fn arguments(&self, facts: &Facts) -> Vec<Pieces> {
        arguments::filled(&self.entry.bootable.args, self.args, &self.entry.name, facts)
    }
}

/// What a text boots
#[derive(Clone, Debug)]
enum What<'c> {
    /// This, without a question
    One(Boot<'c>),
    /// What is chosen of these images
    Menu(Vec<&'c Entry>, &'c ImageMenu),
    /// The local disk
    Local,
}

impl What<'_> {
    /// The name of what a menu takes by itself; `None`: the local disk
    fn default_of<'c>(entries: &[&'c Entry], menu: &'c ImageMenu) -> Option<&'c str> {
        match &menu.default {
            MenuDefault::Local => None,
            MenuDefault::Image(name) if entries.iter().any(|entry| entry.name == *name) => Some(name),
            MenuDefault::First | MenuDefault::Image(_) => entries.first().map(|entry| entry.name.as_str()),
        }
    }
}

/// Which files lie beside a loader
pub trait Beside {
    /// Whether a file of that name is served
    fn has(&self, path: &str) -> bool;
}

impl<F: Fn(&str) -> bool> Beside for F {
    fn has(&self, path: &str) -> bool {
        self(path)
    }
}

/// Who asks for a text
#[derive(Clone, Copy, Debug, Default)]
pub struct Asker<'a> {
    /// The address that the request came from
    pub address: Option<Ipv4Addr>,
    /// What DHCP heard of the machine that has it
    pub caller: Option<&'a Caller>,
}

/// The texts that loaders find, from the plan and the images that boot
#[derive(Clone, Debug)]
pub struct Catalogue {
    plan: Arc<Plan>,
    entries: Arc<[Entry]>,
}

impl Catalogue {
    /// The texts of these images, as the plan gives them to machines
    pub fn new(plan: Arc<Plan>, entries: Vec<Entry>) -> Self {
        Self { plan, entries: entries.into() }
    }

    /// The same images by another plan
    #[must_use]
    pub fn with_plan(&self, plan: Arc<Plan>) -> Self {
        Self { plan, entries: Arc::clone(&self.entries) }
    }

    /// The text at a plain path, for who asks; `None`: nothing is generated there, or nothing that this machine could boot.
    /// `beside` knows the files that lie beside a loader.
    pub fn text(&self, path: &[u8], asker: Asker<'_>, beside: &dyn Beside) -> Option<String> {
        let wanted = name::parse(path)?;
        // Of U-Boot's names for everybody's, a file under the last one goes before what is generated for those before it.
        if wanted.is_early && beside.has(&format!("{}/default", parent(path)?)) {
            return None;
        }
        let name = match (wanted.whom, wanted.loader, asker.address) {
            (For::Stem(_), ..) => Name::Anybody,
            // DHCP told iPXE which script is its own; who comes to the menu all the same has none, or a reserved address.
            (For::Anybody(Name::Anybody), Loader::Ipxe, Some(address)) => Name::Address(address),
            (For::Assigned(name) | For::Anybody(name), ..) => name,
        };
        let choice = self.plan.choice(name, wanted.arch, asker.address, asker.caller)?;
        let what = self.what(&wanted, &choice)?;
        let address = wanted.server.unwrap_or(choice.network.address);
        let server = Server::of(&self.plan, address);
        let facts = Facts::of(&choice, server);
        Some(match wanted.loader {
            Loader::Ipxe => {
                let asks_serial = wanted.whom == For::Anybody(Name::Anybody) && self.knows_serials();
                ipxe::write(what, &facts, asks_serial)
            }
            Loader::Pxelinux => pxelinux::write(what, &facts, &reader(&wanted, &choice, beside)),
            Loader::Grub => grub::write(what, &facts),
            Loader::GrubAsk => grub::ask(server),
        })
    }

    /// The plan that it follows
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// What the kernel of an image is told by itself
    pub fn image_args(&self, image: &str) -> Option<String> {
        self.entry(image).map(|entry| entry.bootable.args.clone())
    }

    /// What is booted by a text; `None`: nothing, or an image that was built for another processor
    fn what<'c>(&'c self, wanted: &Wanted<'c>, choice: &Choice<'c>) -> Option<What<'c>> {
        let is_shared = matches!(wanted.whom, For::Stem(_)) || wanted.loader == Loader::GrubAsk;
        if choice.is_local && !is_shared {
            return Some(What::Local);
        }
        let cpu = choice.arch.and_then(Arch::cpu);
        let runs = |entry: &&Entry| entry.bootable.cpu.is_none_or(|of| cpu.is_none_or(|cpu| of == cpu));
        let chosen = match wanted.whom {
            For::Stem(stem) => Some(self.of_stem(stem)?),
            _ => choice.image.map(|Chosen { assigned, .. }| (&*assigned.image, assigned.args.as_deref())),
        };
        if let Some((image, args)) = chosen {
            return Some(What::One(Boot { entry: self.entry(image).filter(runs)?, args }));
        }
        if let For::Assigned(_) = wanted.whom {
            return None;
        }
        let entries: Vec<_> = self.entries.iter().filter(runs).collect();
        match *entries {
            [] => None,
            [entry] if !self.plan.image_menu().always => Some(What::One(Boot { entry, args: None })),
            _ => Some(What::Menu(entries, self.plan.image_menu())),
        }
    }

    /// The loader that boots one image lies in that image's own folder: its name there, where the path means one
    pub fn loader_at<'p>(&self, path: &'p [u8]) -> Option<&'p str> {
        let (stem, file) = name::loader_of_stem(std::str::from_utf8(path).ok()?)?;
        self.of_stem(stem).map(|_| file)
    }

    fn knows_serials(&self) -> bool {
        self.plan.machines().iter().any(|machine| machine.serial.is_some())
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// An image, and the arguments that a part of a path stands for
    fn of_stem<'c>(&'c self, stem: &'c str) -> Option<(&'c str, Option<&'c str>)> {
        if let Some(entry) = self.entry(stem) {
            return Some((&entry.name, None));
        }
        let (assigned, _) = self.plan.assigned().find(|(assigned, _)| assigned.stem() == stem)?;
        Some((&assigned.image, assigned.args.as_deref()))
    }
}

/// The folder of a path
fn parent(path: &[u8]) -> Option<&str> {
    std::str::from_utf8(path).ok()?.rsplit_once('/').map(|(folder, _)| folder)
}

/// Who reads a text in pxelinux's syntax
fn reader<'w>(wanted: &Wanted<'w>, choice: &Choice<'_>, beside: &dyn Beside) -> Reader<'w> {
    if choice.is_u_boot || wanted.is_early {
        return Reader::UBoot { folder: wanted.folder };
    }
    // What lies in an image's own folder is lpxelinux, which takes URLs.
    let is_lpxelinux = matches!(wanted.whom, For::Stem(_)) || choice.boot.is_some_and(is_lpxelinux);
    Reader::Pxelinux { http: is_lpxelinux, module: MenuModule::found(wanted.folder, beside) }
}

/// Whether a boot file is lpxelinux, which takes URLs
fn is_lpxelinux(boot: &BootFile) -> bool {
    let Some(Piece::Literal(text)) = boot.pieces.last() else { return false };
    text.to_ascii_lowercase().ends_with("lpxelinux.0")
}
