//! Conditions as `match = { … }` writes them, and what follows from two of them together.

use std::collections::BTreeMap;

use crate::boot::client::Arch;

/// What a condition looks at, in the order in which `match` is written
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Arch,
    Loader,
    Mac,
    Uuid,
    Subnet,
    Vendor,
    UserClass,
    Circuit,
    Remote,
}

impl Key {
    /// As the configuration writes it
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Arch => "arch",
            Self::Loader => "loader",
            Self::Mac => "mac",
            Self::Uuid => "uuid",
            Self::Subnet => "subnet",
            Self::Vendor => "vendor",
            Self::UserClass => "user-class",
            Self::Circuit => "circuit",
            Self::Remote => "remote",
        }
    }

    /// One client has one value: two that differ exclude each other
    const fn is_exact(self) -> bool {
        matches!(self, Self::Arch | Self::Loader | Self::Uuid | Self::Subnet)
    }
}

/// Conditions that all must hold; of each, one of its values. None: everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions(pub(super) BTreeMap<Key, Vec<String>>);

/// Two patterns of one key that no single pattern can stand for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsayable(pub(super) Key);

impl Conditions {
    /// One condition
    pub(super) fn one(key: Key, value: impl Into<String>) -> Self {
        Self(BTreeMap::from([(key, vec![value.into()])]))
    }

    /// The architecture of that number
    pub(super) fn arch(number: u16) -> Self {
        Self::one(Key::Arch, Arch(number).to_string())
    }

    pub(super) fn is_everybody(&self) -> bool {
        self.0.is_empty()
    }

    /// Both; `None`: no client is both
    ///
    /// # Errors
    /// `match` cannot say so.
    pub(super) fn and(&self, other: &Self) -> Result<Option<Self>, Unsayable> {
        let mut both = self.clone();
        for (key, values) in &other.0 {
            let Some(own) = both.0.get(key) else {
                both.0.insert(*key, values.clone());
                continue;
            };
            let common = common(*key, own, values)?;
            if common.is_empty() {
                return Ok(None);
            }
            both.0.insert(*key, common);
        }
        Ok(Some(both))
    }

    /// Whether every client of `other` is one of these
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.0.iter().all(|(key, values)| {
            other.0.get(key).is_some_and(|narrow| {
                narrow.iter().all(|value| values.iter().any(|wide| implies(*key, value, wide)))
            })
        })
    }

    /// Takes up the other's values, where both look at the same one thing: either of them
    pub(super) fn or(&mut self, other: &Self) -> bool {
        match (self.0.iter_mut().next(), other.0.iter().next()) {
            (Some((key, values)), Some((same, more))) if key == same && other.0.len() == 1 => {
                for value in more {
                    if !values.contains(value) {
                        values.push(value.clone());
                    }
                }
                true
            }
            _ => false,
        }
    }
}

/// The values that satisfy one of each list
fn common(key: Key, a: &[String], b: &[String]) -> Result<Vec<String>, Unsayable> {
    let mut common: Vec<String> = Vec::new();
    for one in a {
        for other in b {
            let narrower = if implies(key, one, other) {
                one
            } else if implies(key, other, one) {
                other
            } else if exclude(key, one, other) {
                continue;
            } else {
                return Err(Unsayable(key));
            };
            if !common.contains(narrower) {
                common.push(narrower.clone());
            }
        }
    }
    Ok(common)
}

/// Whether what has the value `narrow` has the value `wide` too
fn implies(key: Key, narrow: &str, wide: &str) -> bool {
    if narrow == wide || wide == "*" {
        return true;
    }
    match key {
        Key::Mac if !wide.contains(['*', '?']) => narrow.starts_with(wide),
        _ if key.is_exact() => false,
        _ => match (inner(wide), inner(narrow)) {
            (Some(wide), Some(narrow)) => narrow.contains(wide),
            _ => false,
        },
    }
}

/// The text of `*text*`, or of a pattern without stars
fn inner(glob: &str) -> Option<&str> {
    let text = glob.trim_matches('*');
    (!text.contains(['*', '?']) && !text.is_empty()).then_some(text)
}

/// Whether nothing can have both values
fn exclude(key: Key, a: &str, b: &str) -> bool {
    match key {
        Key::Mac => {
            let fixed = |glob: &str| glob.split(['*', '?']).next().unwrap_or_default().len();
            let len = fixed(a).min(fixed(b));
            a[..len] != b[..len]
        }
        Key::Vendor => match (stated(a), stated(b)) {
            ((Some(one), _), (Some(other), _)) if one != other => true,
            ((_, Some(one)), (_, Some(other))) => one != other,
            _ => false,
        },
        _ => key.is_exact(),
    }
}

/// The protocol and the architecture that a pattern of option 60 asks for: a client states one of each
fn stated(glob: &str) -> (Option<&str>, Option<&str>) {
    let protocol = ["PXEClient", "HTTPClient"].into_iter().find(|name| glob.contains(name));
    let arch = glob.split("Client:Arch:").nth(1).and_then(|rest| rest.get(..5));
    (protocol, arch.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(key: Key, a: &str, b: &str) -> Result<Option<Conditions>, Unsayable> {
        Conditions::one(key, a).and(&Conditions::one(key, b))
    }

    #[test]
    fn two_values_of_one_thing() {
        assert_eq!(both(Key::Arch, "x64-uefi", "x86-bios"), Ok(None));
        assert_eq!(both(Key::Mac, "00:60", "00:60:8c"), Ok(Some(Conditions::one(Key::Mac, "00:60:8c"))));
        assert_eq!(both(Key::Mac, "00:60:8c:*:01", "00:61"), Ok(None));
        assert_eq!(both(Key::Mac, "00:60:8c", "*:01"), Err(Unsayable(Key::Mac)));
        assert_eq!(both(Key::Vendor, "*PXEClient:Arch:00000*", "*PXEClient:Arch:00007*"), Ok(None));
        assert_eq!(
            both(Key::Vendor, "*PXEClient*", "*PXEClient:Arch:00007*"),
            Ok(Some(Conditions::one(Key::Vendor, "*PXEClient:Arch:00007*")))
        );
        assert_eq!(both(Key::Vendor, "*PXEClient*", "*HTTPClient:Arch:00016*"), Ok(None));
        assert_eq!(Conditions::arch(9), Conditions::arch(7));
    }

    #[test]
    fn who_covers_whom() {
        let everybody = Conditions::default();
        let x64 = Conditions::arch(7);
        let ipxe = x64.and(&Conditions::one(Key::Loader, "ipxe")).unwrap().unwrap();
        assert!(everybody.covers(&x64) && x64.covers(&ipxe) && !ipxe.covers(&x64) && !x64.covers(&everybody));
    }
}
