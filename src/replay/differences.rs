//! Where two answers to one request differ: field by field, option by option.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use super::report::{Dhcp, Http, Reply, Response, Sent, Tftp};
use super::words;
use crate::heard::http::Head;
use crate::wire::dhcp::{HEADER_LEN, Header, Message};

/// What is said of a field, option or header that is not there
pub const NONE: &str = "none";

/// One difference
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The field (by its RFC's name), option or header
    pub what: String,
    /// What was answered, or [`NONE`]
    pub theirs: String,
    /// What we answer, or [`NONE`]
    pub ours: String,
}

impl Difference {
    fn new(what: &str, theirs: impl Into<String>, ours: impl Into<String>) -> Self {
        Self { what: what.to_owned(), theirs: theirs.into(), ours: ours.into() }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → {}", self.what, self.theirs, self.ours)
    }
}

/// Collects what differs
#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn compare(&mut self, what: &str, theirs: impl fmt::Display, ours: impl fmt::Display) {
        let (theirs, ours) = (theirs.to_string(), ours.to_string());
        if theirs != ours {
            self.0.push(Difference::new(what, theirs, ours));
        }
    }
}

/// Differences of two answers to a DHCP request
pub(super) fn of_dhcp(talk: &Dhcp) -> Vec<Difference> {
    let mut found = Differences::default();
    if talk.withheld.is_some() {
        return found.0;
    }
    match (&talk.theirs, talk.ours.first()) {
        (None, None) => {}
        (Some(theirs), None) => found.compare("answer", summary(theirs), NONE),
        (None, Some(ours)) => found.compare("answer", NONE, summary(ours)),
        (Some(theirs), Some(ours)) => replies(&mut found, theirs, talk.theirs_cut, ours),
    }
    found.0
}

/// `OFFER of 10.0.0.9`
pub(super) fn summary(reply: &Reply) -> String {
    let Ok(message) = Message::parse(&reply.payload) else { return "what is no DHCP".to_owned() };
    let name = message.message_type().map_or("BOOTP reply", words::type_name);
    match message.header().yiaddr() {
        Ipv4Addr::UNSPECIFIED => name.to_owned(),
        address => format!("{name} of {address}"),
    }
}

fn replies(found: &mut Differences, theirs: &Reply, cut: Option<usize>, ours: &Reply) {
    found.compare("from", theirs.from, ours.from);
    found.compare("to", theirs.to, ours.to);
    let (Ok(theirs_message), Ok(ours_message)) =
        (Message::parse(&theirs.payload), Message::parse(&ours.payload))
    else {
        return;
    };
    let kept = cut.unwrap_or(theirs.payload.len());
    fields(found, theirs_message.header(), kept, ours_message.header());
    let codes = |message: &Message<'_>| message.options().map(|(code, _)| code).collect::<BTreeSet<u8>>();
    let (theirs_codes, ours_codes) = (codes(&theirs_message), codes(&ours_message));
    for code in theirs_codes.union(&ours_codes) {
        // What a cut answer does not show may have been in it.
        if cut.is_some() && !theirs_codes.contains(code) {
            continue;
        }
        let value = |message: &Message<'_>| {
            let mut scratch = [0; 2048];
            let joined = message.joined(*code, &mut scratch);
            joined.map_or(NONE.to_owned(), |value| words::option_value(*code, value))
        };
        found.compare(&words::option_name(*code), value(&theirs_message), value(&ours_message));
    }
}

/// Compares the fixed part, as far as the first `kept` bytes of it are known
fn fields(found: &mut Differences, theirs: &Header, kept: usize, ours: &Header) {
    const SNAME: usize = 44 + 64;
    found.compare("hops", theirs.hops, ours.hops);
    found.compare("secs", theirs.secs, ours.secs);
    found.compare("flags", format!("{:#06x}", theirs.flags.get()), format!("{:#06x}", ours.flags.get()));
    found.compare("ciaddr", theirs.ciaddr(), ours.ciaddr());
    found.compare("yiaddr", theirs.yiaddr(), ours.yiaddr());
    found.compare("siaddr", theirs.siaddr(), ours.siaddr());
    found.compare("giaddr", theirs.giaddr(), ours.giaddr());
    let text = |field: &[u8]| match field.split(|&byte| byte == 0).next() {
        Some([]) | None => NONE.to_owned(),
        Some(text) => words::text(text),
    };
    if kept >= SNAME {
        found.compare("sname", text(&theirs.sname), text(&ours.sname));
    }
    if kept >= HEADER_LEN {
        found.compare("file", text(&theirs.file), text(&ours.file));
    }
}

/// Differences of two sides of a transfer
pub(super) fn of_tftp(talk: &Tftp) -> Vec<Difference> {
    let mut found = Differences::default();
    let error =
        |sent: &Sent| sent.error.as_ref().map_or(NONE.to_owned(), |(code, _)| format!("ERROR {code}"));
    found.compare("error", error(&talk.theirs), error(&talk.ours));
    let oack = |sent: &Sent| if sent.granted.is_some() { "OACK" } else { NONE };
    found.compare("options", oack(&talk.theirs), oack(&talk.ours));
    let value = |sent: &Sent, name: &str| {
        let mut granted = sent.granted.iter().flatten();
        granted.find(|(granted, _)| granted.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    };
    let granted = talk.theirs.granted.iter().chain(&talk.ours.granted).flatten();
    let names: BTreeSet<String> = granted.map(|(name, _)| name.to_ascii_lowercase()).collect();
    for name in &names {
        let words = |sent: &Sent| value(sent, name).unwrap_or_else(|| NONE.to_owned());
        found.compare(name, words(&talk.theirs), words(&talk.ours));
    }
    if let Some(at) = talk.unequal_at {
        found.0.push(Difference::new("bytes", "as captured", format!("others from byte {at} on")));
    }
    // A client that stopped, or a capture that did, leaves both somewhere.
    if talk.theirs.is_whole {
        found.compare("size", talk.theirs.bytes, talk.ours.bytes);
    }
    found.0
}

/// Headers whose values no two servers share
const OF_THE_SERVER: [&str; 3] = ["Date", "Server", "ETag"];

/// Differences of two responses
pub(super) fn of_http(talk: &Http) -> Vec<Difference> {
    let mut found = Differences::default();
    let status = |response: &Option<Response>| {
        let line = response.as_ref().and_then(|response| Head(&response.head).status_line());
        line.unwrap_or(NONE).to_owned()
    };
    found.compare("status", status(&talk.theirs), status(&talk.ours));
    let (Some(theirs), Some(ours)) = (&talk.theirs, &talk.ours) else { return found.0 };
    let is_whole = theirs.head.ends_with(b"\r\n\r\n");
    let (theirs, ours) = (Head(&theirs.head), Head(&ours.head));
    for (name, value) in theirs.headers() {
        match ours.header(name) {
            Some(_) if OF_THE_SERVER.contains(&name) => {}
            ours => found.compare(name, value, ours.unwrap_or(NONE)),
        }
    }
    for (name, value) in ours.headers().filter(|(name, _)| is_whole && theirs.header(name).is_none()) {
        found.compare(name, NONE, value);
    }
    found.0
}
