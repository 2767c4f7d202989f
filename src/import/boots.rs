//! `dhcp-boot`, `pxe-service` and `dhcp-ignore` → boot rules and menus.
//!
//! A PXE ROM that is offered a service takes it, and not the file beside it; so what `pxe-service` says goes before what
//! `dhcp-boot` says, but for UEFI in a network whose DHCP server dnsmasq itself is. A service alone is taken at once, as a boot file is: it becomes a rule. Several are a menu.

use std::net::Ipv4Addr;

use super::conditions::{Conditions, Key};
use super::hosts::Hosts;
use super::line::Line;
use super::networks::Networks;
use super::options::BootOption;
use super::report::Report;
use super::tags::{Arranged, Candidate, Tag, Tags, arrange};
use crate::boot::plan::{BootFile, LoaderName, Mode, well_known};
use crate::config::mode_name;

/// A boot file, and the server that holds it where it is another
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Boot {
    /// As the configuration writes it, braces doubled
    pub(super) file: String,
    pub(super) server: Option<Ipv4Addr>,
}

/// An item of a menu
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Local { name: String },
    File { name: String, file: String },
    Servers { name: String, server: Ipv4Addr, kind: u16 },
}

/// A `[[menu]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Menu {
    pub(super) prompt: String,
    pub(super) timeout_s: Option<u8>,
    /// The line of the prompt
    pub(super) prompt_line: Option<usize>,
    /// With their lines
    pub(super) items: Vec<(usize, Item)>,
}

/// All that is decided by client
#[derive(Debug, Default)]
pub(super) struct Boots {
    /// Rules that say `dhcp`
    pub(super) modes: Vec<Arranged<&'static str>>,
    pub(super) rules: Vec<Arranged<Boot>>,
    pub(super) menus: Vec<Arranged<Menu>>,
}

/// What the lines are read against
pub(super) struct Reader<'a> {
    pub(super) lines: &'a [Line],
    pub(super) tags: &'a Tags,
    pub(super) networks: &'a Networks,
    pub(super) hosts: &'a Hosts,
    /// `tftp-root`
    pub(super) root: Option<&'a str>,
}

/// One `pxe-service`
struct Service {
    line: usize,
    tags: Vec<Tag>,
    arch: u16,
    name: String,
    what: Offers,
}

/// A service that stands alone, and whether it goes before `dhcp-boot`
struct Alone {
    candidate: Candidate<Boot>,
    first: bool,
}

/// `pxe-prompt`
struct Prompt {
    line: usize,
    text: String,
    timeout_s: Option<u8>,
}

enum Offers {
    Local,
    File(Boot),
    Type(u16, Option<Ipv4Addr>),
}

/// The client systems that dnsmasq names, by their numbers (dnsmasq(8), `pxe-service`)
const SYSTEMS: [&str; 12] = [
    "x86PC",
    "PC98",
    "IA64_EFI",
    "Alpha",
    "Arc_x86",
    "Intel_Lean_Client",
    "IA32_EFI",
    "x86-64_EFI",
    "Xscale_EFI",
    "BC_EFI",
    "ARM32_EFI",
    "ARM64_EFI",
];
/// Architectures from here on are UEFI's
const UEFI: u16 = 6;
/// What Raspberry Pi's ROM looks for in a menu, to fetch `bootcode.bin` then
const RASPBERRY_PI: &str = "Raspberry Pi Boot";

impl Reader<'_> {
    /// Everything
    pub(super) fn read(&self, options: Vec<BootOption>, report: &mut Report) -> Boots {
        let (services, menus) = self.services(report);
        let (mut candidates, behind): (Vec<_>, Vec<_>) =
            services.into_iter().partition(|service| service.first);
        let boots = self.dhcp_boots(options, report);
        if self.networks.mode() == Some(Mode::Proxy)
            && behind.is_empty()
            && candidates.is_empty()
            && menus.is_empty()
            && !boots.is_empty()
        {
            report.note("dnsmasq answers nobody in proxy mode without a pxe-service; here its dhcp-boot lines are booted");
        }
        let mut candidates: Vec<_> = candidates.drain(..).map(|service| service.candidate).collect();
        candidates.extend(boots);
        candidates.extend(behind.into_iter().map(|service| service.candidate));
        let is_final =
            |boot: &Boot| !BootFile::parse(&boot.file).is_ok_and(|file| well_known::is_ipxe(&file));
        let rules = arrange(self.tags, candidates, is_final);
        let menus = arrange(self.tags, menus, |_| true);
        for (line, why) in rules.failed.into_iter().chain(menus.failed) {
            report.lost(&self.lines[line], why);
        }
        for line in rules.unreached.into_iter().chain(menus.unreached) {
            let why = "no client comes to it: another line answers first, or nobody has all of its tags \
                       (architectures 7 and 9 are one)";
            report.needless(&self.lines[line], why);
        }
        let (menus, none): (Vec<_>, Vec<_>) = menus.rules.into_iter().partition(|menu| menu.says.is_some());
        for menu in none {
            report.lost(
                &self.lines[menu.line],
                "in part: a client that has none of a menu's tags is shown it too",
            );
        }
        Boots { modes: self.modes(report), rules: rules.rules, menus }
    }

    /// The last line that holds goes first: those with tags, then those without
    fn dhcp_boots(&self, options: Vec<BootOption>, report: &mut Report) -> Vec<Candidate<Boot>> {
        let mut candidates: Vec<Candidate<Boot>> = Vec::new();
        for (index, line) in self.lines.iter().enumerate().filter(|(_, line)| line.key == "dhcp-boot") {
            match self.dhcp_boot(line, report) {
                Ok((tags, says)) => {
                    candidates.push(Candidate { line: index, holds: Conditions::default(), tags, says });
                }
                Err(why) => report.lost(line, why),
            }
        }
        candidates.reverse();
        let by_option = self.by_options(options, report);
        let (tagged, untagged): (Vec<_>, Vec<_>) =
            candidates.into_iter().chain(by_option).partition(|candidate| !candidate.tags.is_empty());
        tagged.into_iter().chain(untagged).collect()
    }

    fn dhcp_boot(&self, line: &Line, report: &mut Report) -> Result<(Vec<Tag>, Option<Boot>), String> {
        let mut words = line.words.as_slice();
        let mut tags = Vec::new();
        while let [word, rest @ ..] = words
            && let Some(tag) = Tag::parse(&word.text)
        {
            tags.push(tag);
            words = rest;
        }
        let [file, rest @ ..] = words else { return Err("it names no file".to_owned()) };
        let server = match rest.get(1).map(|word| word.text.as_str()).filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(text.parse::<Ipv4Addr>().map_err(|_| {
                format!("`{text}` is no IPv4 address: look its address up, and write a [[boot]] rule with it as `server`")
            })?),
        };
        if let Some(name) = rest.first().map(|word| word.text.as_str()).filter(|text| !text.is_empty())
            && server.is_none()
        {
            report.needless(
                line,
                format!("the server's name {name} tells clients nothing: `sname` holds its address"),
            );
        }
        Ok((tags, self.boot(&file.text, server)?))
    }

    /// `None`: no file, on purpose
    fn boot(&self, file: &str, server: Option<Ipv4Addr>) -> Result<Option<Boot>, String> {
        let below = |root: &str| {
            let root = root.trim_end_matches('/');
            file.strip_prefix(root).filter(|rest| !root.is_empty() && rest.starts_with('/'))
        };
        let file = self.root.and_then(below).map_or(file, |rest| rest.trim_start_matches('/'));
        if file.is_empty() {
            return Ok(None);
        }
        let file = file.replace('{', "{{").replace('}', "}}");
        BootFile::parse(&file).map_err(|error| format!("`{file}`: {error}"))?;
        Ok(Some(Boot { file, server: server.filter(|address| !self.networks.is_own(*address)) }))
    }

    /// Options 66, 67 and 150 with the same tags, together
    fn by_options(&self, options: Vec<BootOption>, report: &mut Report) -> Vec<Candidate<Boot>> {
        let mut candidates = Vec::new();
        for option in options.iter().rev() {
            let line = &self.lines[option.line];
            let server = |tags: &[Tag]| {
                options.iter().rev().find(|other| other.tags == tags && other.server.is_some())
            };
            match &option.file {
                Some(file) => {
                    let server = server(&option.tags).or_else(|| server(&[])).and_then(|other| other.server);
                    match self.boot(file, server) {
                        Ok(says) => candidates.push(Candidate {
                            line: option.line,
                            holds: Conditions::default(),
                            tags: option.tags.clone(),
                            says,
                        }),
                        Err(why) => report.lost(line, why),
                    }
                }
                None if option.server.is_some_and(|address| self.networks.is_own(address)) => {
                    report.needless(line, "reveille names itself as the server of its files");
                }
                None if !options.iter().any(|other| other.file.is_some()) => {
                    report.lost(line, "the server of a boot file is the `server` of its [[boot]] rule, and this one has no file");
                }
                None => {}
            }
        }
        candidates
    }

    /// Services that stand alone, as rules; those that stand together, as menus
    fn services(&self, report: &mut Report) -> (Vec<Alone>, Vec<Candidate<Menu>>) {
        let mut groups: Vec<Vec<Service>> = Vec::new();
        for (index, line) in self.lines.iter().enumerate().filter(|(_, line)| line.key == "pxe-service") {
            match self.service(index, line) {
                Ok(service) => {
                    let group = groups
                        .iter_mut()
                        .find(|group| group[0].arch == service.arch && group[0].tags == service.tags);
                    match group {
                        Some(group) => group.push(service),
                        None => groups.push(vec![service]),
                    }
                }
                Err(why) => report.lost(line, why),
            }
        }
        let prompt = self.prompt(report);
        let (mut rules, mut menus) = (Vec::new(), Vec::new());
        for group in groups {
            let first = &group[0];
            let waits =
                prompt.as_ref().is_some_and(|prompt| prompt.timeout_s != Some(0)) && first.arch < UEFI;
            if first.name.starts_with(RASPBERRY_PI) && group.len() == 1 {
                rules.push(Alone { candidate: raspberry_pi(first), first: true });
            } else if group.len() == 1 && !(waits && matches!(first.what, Offers::File(_))) {
                // To UEFI, dnsmasq 2.90 as the network's DHCP server names dhcp-boot's file, and a lone service's nowhere.
                let goes_first = first.arch < UEFI || self.networks.mode() == Some(Mode::Proxy);
                let candidate = self.alone(first, report);
                rules.extend(candidate.map(|candidate| Alone { candidate, first: goes_first }));
            } else {
                menus.extend(self.menu(&group, prompt.as_ref(), report));
            }
        }
        if let Some(prompt) = prompt.filter(|_| menus.is_empty()) {
            report.needless(&self.lines[prompt.line], "a service that stands alone is taken at once");
        }
        (rules, menus)
    }

    fn service(&self, index: usize, line: &Line) -> Result<Service, String> {
        let mut words = line.words.as_slice();
        let mut tags = Vec::new();
        while let [word, rest @ ..] = words
            && let Some(tag) = Tag::parse(&word.text)
        {
            tags.push(tag);
            words = rest;
        }
        let [system, name, rest @ ..] = words else {
            return Err("it names no client system and text".to_owned());
        };
        let system = system.text.as_str();
        let known = (0..).zip(SYSTEMS).find(|(_, known)| known.eq_ignore_ascii_case(system));
        let arch = match known {
            Some((arch, _)) => arch,
            None => system.parse().map_err(|_| format!("`{system}` is no client system"))?,
        };
        let server = match rest.get(1).map(|word| word.text.as_str()).filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(text.parse::<Ipv4Addr>().map_err(|_| {
                format!("`{text}` is no IPv4 address: look its address up, and write it as `server`")
            })?),
        };
        let what = match rest.first().map(|word| word.text.as_str()) {
            None | Some("" | "0") => Offers::Local,
            Some(text) => match text.parse() {
                Ok(kind) => Offers::Type(kind, server),
                Err(_) => {
                    // dnsmasq(8): the layer is added to a basename, here layer 0; a name with its suffix stays.
                    let layer = if text.contains('.') { "" } else { ".0" };
                    self.boot(&format!("{text}{layer}"), server)?.map_or(Offers::Local, Offers::File)
                }
            },
        };
        Ok(Service { line: index, tags, arch, name: name.text.clone(), what })
    }

    /// The last `pxe-prompt` without tags
    fn prompt(&self, report: &mut Report) -> Option<Prompt> {
        let mut prompt: Option<Prompt> = None;
        for (index, line) in self.lines.iter().enumerate().filter(|(_, line)| line.key == "pxe-prompt") {
            let words: Vec<&str> = line.texts().collect();
            match words.as_slice() {
                [word, ..] if Tag::parse(word).is_some() => {
                    report.lost(
                        line,
                        "a prompt is a menu's, and all menus have one: those of tags are not told apart",
                    );
                }
                [text, rest @ ..] => {
                    let timeout = rest.first().and_then(|text| text.parse::<u64>().ok());
                    let timeout_s = timeout.map(|timeout| u8::try_from(timeout.min(254)).unwrap_or(254));
                    let before = prompt.replace(Prompt { line: index, text: (*text).to_owned(), timeout_s });
                    if let Some(before) = before {
                        report.needless(&self.lines[before.line], "a later prompt counts");
                    }
                }
                [] => report.lost(line, "it has no text"),
            }
        }
        prompt
    }

    fn alone(&self, service: &Service, report: &mut Report) -> Option<Candidate<Boot>> {
        let says = match &service.what {
            Offers::File(boot) => Some(boot.clone()),
            Offers::Local => None,
            Offers::Type(..) => {
                let why = "a boot service of another server is reached by a menu, and this is no menu";
                report.lost(&self.lines[service.line], why);
                return None;
            }
        };
        let (holds, tags) = (Conditions::arch(service.arch), service.tags.clone());
        Some(Candidate { line: service.line, holds, tags, says })
    }

    fn menu(
        &self,
        group: &[Service],
        prompt: Option<&Prompt>,
        report: &mut Report,
    ) -> Option<Candidate<Menu>> {
        let mut items = Vec::new();
        for Service { line, name, what, .. } in group {
            let name = name.clone();
            let item = match what {
                Offers::Local => Ok(Item::Local { name }),
                Offers::File(Boot { file, server: None }) => Ok(Item::File { name, file: file.clone() }),
                Offers::File(_) => Err("the file of a menu's item lies on this server"),
                Offers::Type(kind, Some(server)) => Ok(Item::Servers { name, server: *server, kind: *kind }),
                Offers::Type(_, None) => Err("a boot service of another server needs that server's address"),
            };
            match item {
                Ok(item) => items.push((*line, item)),
                Err(why) => report.lost(&self.lines[*line], why),
            }
        }
        let (first, _) = items.first()?;
        // Without a prompt, dnsmasq writes this one and waits.
        let (text, timeout_s) = prompt.map_or(("PXE", None), |prompt| (&prompt.text, prompt.timeout_s));
        Some(Candidate {
            line: *first,
            holds: Conditions::arch(group[0].arch),
            tags: group[0].tags.clone(),
            says: Some(Menu {
                prompt: text.to_owned(),
                timeout_s,
                prompt_line: prompt.map(|prompt| prompt.line),
                items,
            }),
        })
    }

    /// Who is not to get any answer
    fn modes(&self, report: &mut Report) -> Vec<Arranged<&'static str>> {
        let off = mode_name(Mode::Off);
        let mut candidates: Vec<Candidate<&'static str>> = Vec::new();
        for (line, glob) in &self.hosts.ignored {
            let holds = Conditions::one(Key::Mac, glob);
            candidates.push(Candidate { line: *line, holds, tags: Vec::new(), says: Some(off) });
        }
        for (index, line) in self.lines.iter().enumerate().filter(|(_, line)| line.key == "dhcp-ignore") {
            let tags: Vec<Tag> =
                line.texts().map(|word| Tag::parse(word).unwrap_or_else(|| Tag::named(word))).collect();
            candidates.push(Candidate { line: index, holds: Conditions::default(), tags, says: Some(off) });
        }
        let arranged = arrange(self.tags, candidates, |_| true);
        for (line, why) in arranged.failed {
            report.lost(&self.lines[line], why);
        }
        for line in arranged.unreached {
            report.needless(
                &self.lines[line],
                "another line ignores whom it ignores, or nobody has all of its tags",
            );
        }
        let usual = self.networks.mode();
        let has_pool = self.networks.scopes().any(|(_, scope)| !scope.pools.is_empty());
        let mut modes = Vec::new();
        for mut rule in arranged.rules {
            match (rule.says, usual) {
                (Some(_), _) => {}
                (None, Some(Mode::Full)) if !has_pool => {
                    let why = "without a pool, only machines that have an address get one anyway: write `dhcp` rules";
                    report.lost(&self.lines[rule.line], why);
                    return Vec::new();
                }
                (None, Some(mode)) => rule.says = Some(mode_name(mode)),
                (None, None) => {
                    let why = "who is not ignored gets what the network says, and the networks differ: write `dhcp` rules";
                    report.lost(&self.lines[rule.line], why);
                    return Vec::new();
                }
            }
            // A rule for everybody, or by architecture or subnet, is for clients that network-boot; this is for all.
            if !rule.holds.0.keys().any(|key| !matches!(key, Key::Arch | Key::Subnet)) {
                let all = LoaderName::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
                rule.holds.0.insert(Key::Loader, all);
            }
            modes.push(rule);
        }
        modes
    }
}

fn raspberry_pi(service: &Service) -> Candidate<Boot> {
    Candidate {
        line: service.line,
        holds: Conditions::one(Key::Loader, LoaderName::RaspberryPi.as_str()),
        tags: service.tags.clone(),
        says: Some(Boot { file: "bootcode.bin".to_owned(), server: None }),
    }
}
