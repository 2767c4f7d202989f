//! dnsmasq's tags → an ordered list of rules.
//!
//! # How dnsmasq chooses
//! Lines set tags (`set:`) on a request; others hold where all their tags are set (`tag:`) or not set (`tag:!`). Of the
//! `dhcp-boot` lines with tags that hold, dnsmasq takes the last of the file; where none holds, the last without tags.
//! (dnsmasq(8) promises only that tagged lines go before untagged ones; its list is built from the end.)
//!
//! # How that becomes rules
//! The lines, in the order in which dnsmasq looks at them, are [`Candidate`]s. A tag is replaced by the conditions of
//! each line that sets it. `match` has no "not": where a line asks that a tag is *not* set, the clients that have it are
//! led past it, by the rules that they would meet after it, put before it. What is covered by an earlier rule is left out,
//! and a rule that stands behind a narrower one which says the same takes its place where that changes nothing.

use std::collections::BTreeMap;

use super::conditions::{Conditions, Unsayable};

/// Steps before a configuration counts as too tangled
const STEPS_MAX: usize = 4096;

/// `tag:NAME` or `tag:!NAME`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) name: String,
    pub(super) negated: bool,
}

impl Tag {
    /// Of `tag:x`, `tag:!x`, `net:x`, and dnsmasq's older `#x` for `!x`; `None`: the word asks for no tag
    pub(super) fn parse(word: &str) -> Option<Self> {
        let name = word.strip_prefix("tag:").or_else(|| word.strip_prefix("net:"))?;
        Some(Self::named(name))
    }

    /// Of `x` or `!x`
    pub(super) fn named(name: &str) -> Self {
        match name.strip_prefix(['!', '#']) {
            Some(name) => Self { name: name.to_owned(), negated: true },
            None => Self { name: name.to_owned(), negated: false },
        }
    }
}

/// A way in which a tag comes to be set
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Case {
    holds: Conditions,
    tags: Vec<Tag>,
}

/// What sets each tag
#[derive(Debug, Default)]
pub(super) struct Tags {
    cases: BTreeMap<String, Vec<Case>>,
    unknowable: BTreeMap<String, String>,
}

impl Tags {
    /// The tag is set for whoever satisfies these
    pub(super) fn set(&mut self, name: &str, holds: Conditions) {
        self.set_if(name, holds, Vec::new());
    }

    /// As [`Tags::set`], where those tags are as they should be
    pub(super) fn set_if(&mut self, name: &str, holds: Conditions, tags: Vec<Tag>) {
        let cases = self.cases.entry(name.to_owned()).or_default();
        let alike = cases.iter_mut().find(|case| case.tags.is_empty() && case.holds.0.len() == 1);
        let is_taken = alike.is_some_and(|case| tags.is_empty() && case.holds.or(&holds));
        if !is_taken {
            cases.push(Case { holds, tags });
        }
    }

    /// The tag is set by something that no condition can say
    pub(super) fn cannot_know(&mut self, name: &str, why: impl Into<String>) {
        self.unknowable.entry(name.to_owned()).or_insert_with(|| why.into());
    }

    fn cases(&self, name: &str) -> &[Case] {
        self.cases.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether any line sets it
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.cases.contains_key(name) || self.unknowable.contains_key(name)
    }

    /// Why a line that asks for these tags cannot be judged, were it by the tags behind them
    fn obstacle(&self, tags: &[Tag], depth: usize) -> Option<String> {
        let of = |tag: &Tag| {
            let behind = || {
                let mut tags = self.cases(&tag.name).iter().flat_map(|case| &case.tags);
                tags.find_map(|tag| self.obstacle(std::slice::from_ref(tag), depth + 1))
            };
            match self.unknowable.get(&tag.name) {
                Some(why) => Some(format!("the tag {} {why}", tag.name)),
                None if depth > 16 => Some(format!("the tag {} depends on itself", tag.name)),
                None if !self.is_set(&tag.name) && !tag.negated => {
                    Some(format!("no line sets the tag {}", tag.name))
                }
                None => behind(),
            }
        };
        tags.iter().find_map(of)
    }
}

/// A line that says something of the clients that have its tags
#[derive(Clone, Debug)]
pub(super) struct Candidate<T> {
    /// Which line
    pub(super) line: usize,
    /// What holds beside the tags
    pub(super) holds: Conditions,
    /// Its tags
    pub(super) tags: Vec<Tag>,
    /// What it says; `None`: nothing, on purpose
    pub(super) says: Option<T>,
}

/// A rule
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arranged<T> {
    pub(super) line: usize,
    pub(super) holds: Conditions,
    pub(super) says: Option<T>,
}

/// The rules, and the lines that did not become any, with the reason
#[derive(Debug)]
pub(super) struct Arrangement<T> {
    pub(super) rules: Vec<Arranged<T>>,
    pub(super) failed: Vec<(usize, String)>,
    /// Lines that no client comes to
    pub(super) unreached: Vec<usize>,
}

/// Rules that say to every client what the first candidate says whose tags it has. `is_final`: a client that a rule
/// matches does not go on to the next one.
pub(super) fn arrange<T: Clone + PartialEq>(
    tags: &Tags,
    candidates: Vec<Candidate<T>>,
    is_final: impl Fn(&T) -> bool,
) -> Arrangement<T> {
    let mut arrangement = Arrangement { rules: Vec::new(), failed: Vec::new(), unreached: Vec::new() };
    let lines: Vec<usize> = candidates.iter().map(|candidate| candidate.line).collect();
    let mut waiting: Vec<Candidate<T>> = Vec::new();
    for candidate in candidates {
        match tags.obstacle(&candidate.tags, 0) {
            Some(why) => arrangement.failed.push((candidate.line, why)),
            None => waiting.push(candidate),
        }
    }
    let mut steps = 0;
    while !waiting.is_empty() {
        let first = waiting.remove(0);
        steps += 1;
        if steps > STEPS_MAX || waiting.len() > STEPS_MAX {
            arrangement.failed.push((first.line, "the tags are too tangled to unravel".to_owned()));
            break;
        }
        let answers = |rule: &Arranged<T>| final_says(rule, &is_final) && rule.holds.covers(&first.holds);
        if arrangement.rules.iter().any(answers) {
            continue;
        }
        let Some(tag) = first.tags.first().cloned() else {
            let done = first.holds.is_everybody() && first.says.as_ref().is_none_or(&is_final);
            let Candidate { line, holds, says, .. } = first;
            arrangement.rules.push(Arranged { line, holds, says });
            if done {
                break;
            }
            continue;
        };
        match resolve(tags, &first, &tag, &waiting) {
            Ok(mut before) => {
                before.append(&mut waiting);
                waiting = before;
            }
            Err(Unsayable(key)) => {
                let why =
                    format!("it asks for two patterns of `{}` at once, which `match` cannot say", key.name());
                arrangement.failed.push((first.line, why));
            }
        }
    }
    let Arrangement { rules, failed, unreached } = &mut arrangement;
    let is_told = |line: &usize| {
        rules.iter().any(|rule| rule.line == *line) || failed.iter().any(|(failed, _)| failed == line)
    };
    unreached.extend(lines.into_iter().filter(|line| !is_told(line)));
    while rules.last().is_some_and(|rule| rule.says.is_none()) {
        rules.pop();
    }
    while let Some((at, from)) = wider(rules, &is_final) {
        let rule = rules.remove(from);
        rules[at] = rule;
        let covers =
            |by: &Arranged<T>, rule: &Arranged<T>| final_says(by, &is_final) && by.holds.covers(&rule.holds);
        let kept = (0..rules.len()).filter(|&i| !rules[..i].iter().any(|by| covers(by, &rules[i])));
        *rules = kept.map(|i| rules[i].clone()).collect();
    }
    arrangement
}

fn final_says<T>(rule: &Arranged<T>, is_final: &impl Fn(&T) -> bool) -> bool {
    rule.says.as_ref().is_none_or(is_final)
}

/// A rule and a wider one behind it that says the same and may as well stand in its place: for whoever is between them and
/// would be met by it earlier, something before says the same already
fn wider<T: PartialEq>(rules: &[Arranged<T>], is_final: &impl Fn(&T) -> bool) -> Option<(usize, usize)> {
    let may = |at: usize, from: usize| {
        let wide = &rules[from];
        let is_same = |rule: &Arranged<T>| rule.says == wide.says;
        is_same(&rules[at])
            && wide.holds.covers(&rules[at].holds)
            && (at..from).all(|between| match rules[between].holds.and(&wide.holds) {
                _ if is_same(&rules[between]) => true,
                Ok(None) => true,
                Ok(Some(both)) => {
                    rules[..between].iter().any(|rule| is_same(rule) && rule.holds.covers(&both))
                }
                Err(Unsayable(_)) => false,
            })
    };
    let mut pairs = (0..rules.len()).flat_map(|at| (at + 1..rules.len()).map(move |from| (at, from)));
    pairs.find(|&(at, from)| final_says(&rules[from], is_final) && may(at, from))
}

/// The candidates that stand for `first` once its first tag is resolved; `rest`: those behind it
fn resolve<T: Clone>(
    tags: &Tags,
    first: &Candidate<T>,
    tag: &Tag,
    rest: &[Candidate<T>],
) -> Result<Vec<Candidate<T>>, Unsayable> {
    let own = first.tags[1..].to_vec();
    let cases = tags.cases(&tag.name);
    let mut before = Vec::new();
    if !tag.negated {
        for case in cases {
            if let Some(holds) = first.holds.and(&case.holds)? {
                let tags = [case.tags.clone(), own.clone()].concat();
                before.push(Candidate { holds, tags, ..first.clone() });
            }
        }
        return Ok(before);
    }
    for case in cases {
        // Whoever has the tag goes on behind this line.
        let Some(past) = first.holds.and(&case.holds)? else { continue };
        for later in rest {
            if let Some(holds) = later.holds.and(&past)? {
                let tags = [case.tags.clone(), later.tags.clone()].concat();
                before.push(Candidate { holds, tags, ..later.clone() });
            }
        }
        before.push(Candidate { line: first.line, holds: past, tags: case.tags.clone(), says: None });
    }
    before.push(Candidate { tags: own, ..first.clone() });
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::super::conditions::Key;
    use super::*;

    fn tags() -> Tags {
        let mut tags = Tags::default();
        tags.set("ipxe", Conditions::one(Key::Loader, "ipxe"));
        tags.set("efi", Conditions::arch(7));
        tags.set("efi", Conditions::arch(9));
        tags.set("efi", Conditions::arch(11));
        tags.set("bios", Conditions::arch(0));
        tags.set_if("efi-rom", Conditions::default(), vec![Tag::named("efi"), Tag::named("!ipxe")]);
        tags.cannot_know("named", "is set by name");
        tags
    }

    /// `tag,!tag→file`, in dnsmasq's order
    fn rules(lines: &[&str]) -> Vec<String> {
        let candidates = lines.iter().enumerate().map(|(line, text)| {
            let (names, file) = text.split_once('→').unwrap();
            let tags = names.split(',').filter(|name| !name.is_empty()).map(Tag::named).collect();
            Candidate { line, holds: Conditions::default(), tags, says: Some(file.to_owned()) }
        });
        let arranged = arrange(&tags(), candidates.collect(), |_| true);
        let text = |rule: &Arranged<String>| {
            let conditions: Vec<_> = rule
                .holds
                .0
                .iter()
                .map(|(key, values)| format!("{}={}", key.name(), values.join("|")))
                .collect();
            format!("{}→{}", conditions.join(" "), rule.says.as_deref().unwrap_or(""))
        };
        let failed = arranged.failed.iter().map(|(line, why)| format!("{line}: {why}"));
        arranged.rules.iter().map(text).chain(failed).collect()
    }

    #[test]
    fn tags_become_conditions() {
        assert_eq!(rules(&["ipxe→menu", "→undionly"]), ["loader=ipxe→menu", "→undionly"]);
        assert_eq!(rules(&["efi→a", "bios→b"]), ["arch=x64-uefi|arm64-uefi→a", "arch=x86-bios→b"]);
        assert_eq!(rules(&["efi,ipxe→a"]), ["arch=x64-uefi|arm64-uefi loader=ipxe→a"]);
        assert_eq!(rules(&["efi,bios→a"]), [""; 0], "nobody is both");
        assert_eq!(rules(&["→a", "→b", "efi→c"]), ["→a"]);
    }

    #[test]
    fn negation_is_order() {
        assert_eq!(rules(&["!ipxe→undionly", "ipxe→menu"]), ["loader=ipxe→menu", "→undionly"]);
        assert_eq!(rules(&["!ipxe→undionly"]), ["loader=ipxe→", "→undionly"]);
        assert_eq!(rules(&["!nothing→a"]), ["→a"]);
        assert_eq!(
            rules(&["bios,!ipxe→a", "efi-rom→b", "ipxe→c"]),
            ["loader=ipxe→c", "arch=x86-bios→a", "arch=x64-uefi|arm64-uefi→b"]
        );
        assert_eq!(rules(&["!efi,!ipxe→a", "→b"]), ["arch=x64-uefi|arm64-uefi→b", "loader=ipxe→b", "→a"]);
        assert_eq!(
            rules(&["!efi-rom→a", "→b"]),
            ["arch=x64-uefi|arm64-uefi loader=ipxe→a", "arch=x64-uefi|arm64-uefi→b", "→a"]
        );
    }

    #[test]
    fn what_cannot_be_known_is_told() {
        assert_eq!(rules(&["named→a", "→b"]), ["→b", "0: the tag named is set by name"]);
        assert_eq!(rules(&["typo→a"]), ["0: no line sets the tag typo"]);
    }
}
