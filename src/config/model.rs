//! The configuration as it was written, each value with its place: by a file or by flags, the same model.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::errors::{At, Place};
use crate::boot::client::Uuid;
use crate::boot::image::{ImageSource, Origin};
use crate::boot::plan::{BootFile, Cidr, Match, MenuDefault, Mode, Range, Vars};
use crate::settings::{Io, LogFormat};
use crate::time::Duration;
use crate::wire::ethernet::MacAddr;

/// The whole of it
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) root: Option<At<PathBuf>>,
    pub(super) http_port: Option<At<u16>>,
    pub(super) tftp_port: Option<At<u16>>,
    pub(super) single_port: Option<At<bool>>,
    pub(super) blksize: Option<At<u16>>,
    pub(super) windowsize: Option<At<u16>>,
    pub(super) listen: Option<At<Ipv4Addr>>,
    pub(super) shards: Option<At<u16>>,
    pub(super) io: Option<At<Io>>,
    pub(super) state_dir: Option<At<PathBuf>>,
    pub(super) log: Option<At<LogFormat>>,
    pub(super) images: Vec<Image>,
    pub(super) image_menu: Option<ImageMenu>,
    pub(super) templates: Vec<Template>,
    pub(super) vars: Vars,
    pub(super) networks: Vec<Network>,
    pub(super) rules: Vec<Rule>,
    pub(super) menus: Vec<Menu>,
    pub(super) machines: Vec<Machine>,
}

/// `[image.NAME]`
#[derive(Debug)]
pub(super) struct Image {
    pub(super) name: At<String>,
    pub(super) origin: At<Origin>,
    pub(super) kernel: Option<At<String>>,
    pub(super) initrds: Vec<At<String>>,
    pub(super) args: Option<At<String>>,
    pub(super) title: Option<At<String>>,
}

/// `[template.NAME]`
#[derive(Debug)]
pub(super) struct Template {
    pub(super) name: At<String>,
    pub(super) files: At<TemplateFiles>,
}

/// What a template is made of
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TemplateFiles {
    /// `file`
    One(PathBuf),
    /// `dir`
    Folder(PathBuf),
}

/// `local`, `boot-once` and `done-after`
#[derive(Debug, Default)]
pub(super) struct Local {
    /// `local = true`
    pub(super) always: Option<Place>,
    /// The term of `boot-once`
    pub(super) once: Option<At<String>>,
    pub(super) after: Option<At<DoneAfter>>,
}

/// The value of `done-after`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DoneAfter {
    /// `"initrd"`: the last file that the loader fetches
    Initrd,
    /// This file
    File(String),
}

/// `[image-menu]`
#[derive(Debug)]
pub(super) struct ImageMenu {
    pub(super) title: Option<At<String>>,
    pub(super) timeout_s: Option<At<u16>>,
    pub(super) default: Option<At<MenuDefault>>,
}

/// `image`, and `args` beside it
#[derive(Clone, Debug)]
pub(super) struct Assigned {
    pub(super) image: At<String>,
    pub(super) args: Option<String>,
}

impl Image {
    pub(super) fn source(&self) -> ImageSource {
        let text = |at: &At<String>| at.value.clone();
        ImageSource {
            name: self.name.value.clone(),
            origin: self.origin.value.clone(),
            kernel: self.kernel.as_ref().map(text),
            initrds: self.initrds.iter().map(text).collect(),
            args: self.args.as_ref().map(text),
            title: self.title.as_ref().map(text),
        }
    }
}

/// `[[network]]`
#[derive(Debug)]
pub(super) struct Network {
    pub(super) place: Place,
    pub(super) interface: At<String>,
    pub(super) address: Option<At<Ipv4Addr>>,
    pub(super) mode: Option<At<Mode>>,
    pub(super) authoritative: Option<At<bool>>,
    pub(super) probe: Option<At<bool>>,
    /// Of the interface's own subnet; the rest of it is inherited by the subnets behind relays
    pub(super) own: Scope,
    pub(super) subnets: Vec<Subnet>,
}

/// `[[network.subnet]]`
#[derive(Debug)]
pub(super) struct Subnet {
    pub(super) cidr: At<Cidr>,
    pub(super) scope: Scope,
}

/// What a subnet's clients get
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// Bits a second
    pub(super) rate: Option<At<u64>>,
    pub(super) pools: Vec<At<Range>>,
    pub(super) lease: Option<At<Duration>>,
    pub(super) routers: Vec<At<Ipv4Addr>>,
    pub(super) dns: Vec<At<Ipv4Addr>>,
    pub(super) domain: Option<At<String>>,
    pub(super) ntp: Vec<At<Ipv4Addr>>,
    /// Code and value
    pub(super) options: Vec<At<(u8, Vec<u8>)>>,
}

/// `[[boot]]`
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) place: Place,
    pub(super) matches: Vec<Match>,
    pub(super) file: Option<At<File>>,
    pub(super) image: Option<Assigned>,
    pub(super) local: Local,
    pub(super) vars: Vars,
    pub(super) mode: Option<At<Mode>>,
}

/// The value of `file`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum File {
    /// A name or URL
    Named(BootFile),
    /// `""`: none, on purpose
    Nothing,
}

/// `[[menu]]`
#[derive(Debug)]
pub(super) struct Menu {
    pub(super) place: Place,
    pub(super) matches: Vec<Match>,
    pub(super) prompt: String,
    pub(super) timeout_s: u8,
    pub(super) items: Vec<Item>,
}

/// One of a menu's `items`
#[derive(Debug)]
pub(super) struct Item {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) what: ItemWhat,
}

/// What an item boots
#[derive(Debug)]
pub(super) enum ItemWhat {
    /// `local = true`
    Local,
    /// `file`
    File(At<BootFile>),
    /// `image`
    Image(At<String>),
    /// `servers` and `type`: other machines' boot service
    Servers(Vec<Ipv4Addr>, At<u16>),
}

/// `[[machine]]`
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) place: Place,
    pub(super) mac: Option<At<MacAddr>>,
    pub(super) uuid: Option<At<Uuid>>,
    pub(super) serial: Option<At<String>>,
    pub(super) address: Option<At<Ipv4Addr>>,
    pub(super) hostname: Option<At<String>>,
    pub(super) file: Option<At<BootFile>>,
    pub(super) image: Option<Assigned>,
    pub(super) local: Local,
    pub(super) vars: Vars,
    pub(super) mode: Option<At<Mode>>,
}
