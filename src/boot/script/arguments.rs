//! The kernel's arguments: an operator's templates, and what is known of who boots.
//!
//! An argument whose word nobody can fill in is left out whole: `hostname=` with nothing behind it is worse than none.

use std::net::Ipv4Addr;

use super::super::client::Uuid;
use super::super::plan::{Choice, Machine, Who};
use super::Server;
use crate::wire::ethernet::MacAddr;

/// Words that the server always knows
const SERVER_WORDS: [&str; 4] = ["url", "iso", "server", "done"];
/// Words of the machine, which not every text knows
pub(super) const MACHINE_WORDS: [&str; 4] = ["mac", "uuid", "ip", "host"];

/// What is known when a text is written
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) server: Server,
    done: String,
    mac: Option<String>,
    uuid: Option<String>,
    ip: Option<Ipv4Addr>,
    host: Option<String>,
}

impl Facts {
    /// Of the machine that asks, as far as it is known
    pub(super) fn of(choice: &Choice<'_>, server: Server) -> Self {
        let &Choice { machine, mac, uuid, ip, .. } = choice;
        Self::of_machine(machine, mac, uuid, ip, server)
    }

    /// Of one who asks for a text of its own
    pub(super) fn of_who(who: &Who<'_>, server: Server) -> Self {
        Self::of_machine(who.machine, who.mac, who.uuid, who.ip, server)
    }

    fn of_machine(
        machine: Option<&Machine>,
        mac: Option<MacAddr>,
        uuid: Option<Uuid>,
        ip: Option<Ipv4Addr>,
        server: Server,
    ) -> Self {
        let hostname = machine.and_then(|machine| machine.hostname.clone());
        Self {
            server,
            done: server.done(mac),
            mac: mac.map(|mac| mac.to_string()),
            uuid: uuid.map(|uuid| uuid.to_string()),
            ip,
            host: hostname.or_else(|| mac.map(|mac| mac.hyphenated().to_string())),
        }
    }

    fn known(&self, word: &str, image: &str) -> Option<String> {
        match word {
            "url" => Some(format!("{}/images/{image}", self.server)),
            "iso" => Some(format!("{}/images/{image}.iso", self.server)),
            "server" => Some(self.server.address.to_string()),
            "done" => Some(self.done.clone()),
            "mac" => self.mac.clone(),
            "uuid" => self.uuid.clone(),
            "ip" => self.ip.map(|ip| ip.to_string()),
            "host" => self.host.clone(),
            _ => None,
        }
    }
}

/// One argument: text, and words that only the loader may know
pub(super) type Pieces = Vec<Piece>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Word(&'static str),
}

/// What is wrong with arguments as an operator wrote them
pub fn check_args(args: &str) -> Result<(), String> {
    if !args.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err("arguments are printable ASCII, in one line".to_owned());
    }
    // iPXE would take them for its own.
    if let Some(word) = args.split_ascii_whitespace().find(|word| ["||", "&&"].contains(word)) {
        return Err(format!(
            "`{word}` by itself is no argument: a loader would take it for an end of its command"
        ));
    }
    let mut words = args.split('{').skip(1).map(|rest| rest.split_once('}').map(|(word, _)| word));
    let known = |word: &str| SERVER_WORDS.contains(&word) || MACHINE_WORDS.contains(&word);
    match words.find(|word| !word.is_some_and(known)) {
        None => Ok(()),
        Some(None) => Err("a `{` without its `}`".to_owned()),
        Some(Some(word)) => Err(format!(
            "unknown word {{{word}}}: arguments take {{url}}, {{iso}}, {{server}}, {{done}}, {{mac}}, {{uuid}}, {{ip}}, {{host}}"
        )),
    }
}

/// The arguments of an image and, in place of those with the same name, of who boots it
pub(super) fn filled(image_args: &str, own: Option<&str>, image: &str, facts: &Facts) -> Vec<Pieces> {
    let own: Vec<_> = own.unwrap_or_default().split_ascii_whitespace().collect();
    let replaced = |arg: &str| own.iter().any(|one| name_of(one) == name_of(arg));
    let kept = image_args.split_ascii_whitespace().filter(|arg| !replaced(arg));
    kept.chain(own.iter().copied()).map(|arg| pieces(arg, image, facts)).collect()
}

/// `ip` of `ip=dhcp`
fn name_of(arg: &str) -> &str {
    arg.split('=').next().unwrap_or(arg)
}

fn pieces(arg: &str, image: &str, facts: &Facts) -> Pieces {
    let mut pieces = vec![Piece::Text(String::new())];
    let mut rest = arg;
    while let Some((before, word, after)) = next_word(rest) {
        push(&mut pieces, before);
        match facts.known(word, image) {
            Some(known) => push(&mut pieces, &known),
            None => pieces.push(Piece::Word(word)),
        }
        rest = after;
    }
    push(&mut pieces, rest);
    pieces
}

fn push(pieces: &mut Pieces, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// The next word in braces that is one of ours, with what stands around it
fn next_word(text: &str) -> Option<(&str, &'static str, &str)> {
    let words = SERVER_WORDS.into_iter().chain(MACHINE_WORDS);
    let found = words.filter_map(|word| {
        let at = text.find(&format!("{{{word}}}"))?;
        Some((at, word))
    });
    let (at, word) = found.min()?;
    Some((&text[..at], word, &text[at + word.len() + 2..]))
}

/// Arguments in a loader's syntax, each with a space before it: `quoted` writes text, `variable` knows the loader's name for a
/// word
pub(super) fn rendered(
    arguments: &[Pieces],
    quoted: impl Fn(&str) -> String,
    variable: impl Fn(&str) -> Option<&'static str>,
) -> String {
    let render = |pieces: &Pieces| -> Option<String> {
        let parts = pieces.iter().map(|piece| match piece {
            Piece::Text(text) => Some(quoted(text)),
            Piece::Word(word) => variable(word).map(str::to_owned),
        });
        parts.collect::<Option<String>>().map(|arg| format!(" {arg}"))
    };
    arguments.iter().filter_map(render).collect()
}

/// The words in an image's arguments that a loader without such a variable leaves out in a text for everybody
pub fn machine_words(args: &str) -> impl Iterator<Item = &'static str> {
    let holds = |word: &&str| args.contains(&format!("{{{word}}}"));
    MACHINE_WORDS.into_iter().filter(holds).collect::<Vec<_>>().into_iter()
}
