//! From a path to a template's text, and whom it is for.

use std::net::Ipv4Addr;

use super::super::plan::{Name, Plan};
use super::super::script;
use super::{Serves, Set, Templates};

/// A text that a path asks for
#[derive(Clone, Copy, Debug)]
pub struct Asked<'t> {
    /// The template
    pub set: &'t Set,
    /// The file in its folder
    pub file: &'t str,
    /// Who, as the path has it; `None`: whoever asks
    pub whom: Option<&'t str>,
}

impl Templates {
    /// What a plain path asks for, where it is a template's
    pub fn find<'t>(&'t self, path: &'t str) -> Option<Asked<'t>> {
        let (first, rest) = match path.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path, None),
        };
        self.sets.iter().find_map(|set| {
            let is_set = first == set.name;
            match (&set.serves, rest) {
                (Serves::File(file), None) => {
                    let is_named = is_set || without_extension(first) == Some(&*set.name);
                    is_named.then_some(Asked { set, file, whom: None })
                }
                (Serves::File(file), Some(whom)) => {
                    let is_whole = is_set && !whom.is_empty() && !whom.contains('/');
                    is_whole.then_some(Asked { set, file, whom: Some(whom) })
                }
                (Serves::Files(_), None) => None,
                (Serves::Files(files), Some(rest)) => {
                    let (whom, name) = match rest.split_once('/') {
                        Some((whom, name)) => (Some(whom), name),
                        None => (None, rest),
                    };
                    let file = files.iter().find(|file| is_set && *file == name)?;
                    Some(Asked { set, file, whom })
                }
            }
        })
    }
}

impl Asked<'_> {
    /// By which name somebody is meant; `None`: nobody has such a name
    pub fn name<'n>(&'n self, plan: &Plan, peer: Option<Ipv4Addr>) -> Option<Name<'n>> {
        let Some(whom) = self.whom else { return Some(peer.map_or(Name::Anybody, Name::Address)) };
        let name = name_of(plan, whom);
        match self.set.serves {
            // `88-99-aa-bb-cc-dd.cfg`: what the file is called is as one likes.
            Serves::File(_) => name.or_else(|| name_of(plan, without_extension(whom)?)),
            Serves::Files(_) => name,
        }
    }
}

/// A MAC address, a UUID, an IP address, or the host name or serial number of a machine that the configuration names
pub fn name_of<'n>(plan: &Plan, text: &'n str) -> Option<Name<'n>> {
    let mac = text.strip_prefix("01-").unwrap_or(text).parse().ok();
    let named = |is_it: &dyn Fn(&super::super::plan::Machine) -> bool| plan.machines().iter().any(is_it);
    mac.map(Name::Mac)
        .or_else(|| script::uuid_of(text).map(Name::Uuid))
        .or_else(|| text.parse().ok().map(Name::Address))
        .or_else(|| named(&|machine| machine.hostname.as_deref() == Some(text)).then_some(Name::Host(text)))
        .or_else(|| named(&|machine| machine.serial.as_deref() == Some(text)).then_some(Name::Serial(text)))
}

fn without_extension(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(stem, _)| stem)
}
