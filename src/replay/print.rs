//! A report for people: each exchange in a few lines, what is alike left out.

use std::fmt;

use super::differences::{NONE, summary};
use super::report::{Dhcp, Exchange, Http, Report, Response, Sent, Talk, Tftp, Withheld};
use super::words;
use crate::boot::client::Client;
use crate::boot::plan::LoaderName;
use crate::heard::http::Head;
use crate::note::{Advice, Got};
use crate::time::{Duration, Instant};
use crate::wire::dhcp::{Message, PXE_PORT, code};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.server {
            Some(server) => writeln!(f, "in place of {server}")?,
            None => writeln!(f, "the capture holds no answer to compare with")?,
        }
        if !self.plan.is_empty() {
            writeln!(f, "no configuration given; the capture suggests:")?;
            self.plan.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        for exchange in &self.exchanges {
            writeln!(f)?;
            print_exchange(f, exchange, self.begins_at)?;
        }
        writeln!(f)?;
        for (at, advice) in &self.advice {
            writeln!(f, "{} {}", since(*at, self.begins_at), advice_words(*advice))?;
        }
        if let Some(damage) = self.damage {
            writeln!(f, "the capture is damaged, and was replayed up to there: {damage}")?;
        }
        let alike = self.exchanges.iter().filter(|exchange| exchange.differences.is_empty()).count();
        writeln!(f, "{} exchanges, {alike} of them answered alike", self.exchanges.len())
    }
}

/// Seconds since the capture began
fn since(at: Instant, begins_at: Instant) -> String {
    let us = at.since(begins_at).as_micros();
    format!("+{}.{:06}", us / 1_000_000, us % 1_000_000)
}

fn print_exchange(f: &mut fmt::Formatter<'_>, exchange: &Exchange, begins_at: Instant) -> fmt::Result {
    write!(f, "{} #{} ", since(exchange.at, begins_at), exchange.frame)?;
    match &exchange.talk {
        Talk::Dhcp(talk) => print_dhcp(f, exchange, talk)?,
        Talk::Tftp(talk) => print_tftp(f, exchange, talk)?,
        Talk::Http(talk) => print_http(f, exchange, talk)?,
    }
    for difference in &exchange.differences {
        let (theirs, ours) = (&difference.theirs, &difference.ours);
        match (&**theirs, &**ours) {
            (NONE, ours) => writeln!(f, "        + {}: {ours}", difference.what)?,
            (theirs, NONE) => writeln!(f, "        - {}: {theirs}", difference.what)?,
            (theirs, ours) => writeln!(f, "        ~ {}: {theirs} → {ours}", difference.what)?,
        }
    }
    Ok(())
}

fn print_dhcp(f: &mut fmt::Formatter<'_>, exchange: &Exchange, talk: &Dhcp) -> fmt::Result {
    let Ok(message) = Message::parse(&talk.request) else { return writeln!(f, "what is no DHCP") };
    let client = Client::from_request(&message, 0);
    write!(f, "{} {}", client.mac, request_name(&message))?;
    if !message.header().giaddr().is_unspecified() {
        write!(f, " by relay {}", message.header().giaddr())?;
    }
    if talk.withheld != Some(Withheld::Cut) {
        let arch = client.arch.map_or(String::new(), |arch| format!("{arch}, "));
        write!(f, " ({arch}{})", LoaderName::of(client.loader).as_str())?;
    }
    if talk.rewritten {
        write!(f, ", rewritten to take our offer")?;
    }
    writeln!(f)?;
    match &talk.theirs {
        Some(theirs) => {
            let delay = theirs.at.since(exchange.at);
            writeln!(f, "    answered: {} to {}, after {delay}", summary(theirs), theirs.to)?;
        }
        None => writeln!(f, "    answered: nothing")?,
    }
    for other in &talk.others {
        writeln!(f, "      beside: {} by {}", summary(other), other.from.ip())?;
    }
    match talk.withheld {
        Some(Withheld::Cut) => return writeln!(f, "    ours:     not asked, the capture lacks the options"),
        Some(Withheld::OtherServer) => {
            return writeln!(f, "    ours:     not asked, it was sent to another server");
        }
        None => {}
    }
    let Some(decision) = &talk.decision else { return writeln!(f, "    ours:     nothing") };
    write!(f, "    ours:     {}", words::got(decision.got))?;
    if let Some(ours) = talk.ours.first() {
        let port = if ours.from.port() == PXE_PORT { " from 4011" } else { "" };
        write!(f, " to {}{port}", ours.to)?;
        let delay = ours.at.since(exchange.at);
        if delay > Duration::ZERO {
            write!(f, ", after {delay}")?;
        }
    }
    if !matches!(decision.got, Got::Noted | Got::Nothing(_) | Got::Nak(_)) {
        let file = if decision.file.is_empty() { "no boot file" } else { decision.file.as_str() };
        write!(f, "; {file}, {}", words::reason(decision.reason))?;
    }
    writeln!(f)
}

fn request_name(message: &Message<'_>) -> String {
    match (message.message_type(), message.option(code::MESSAGE_TYPE)) {
        (Some(message_type), _) => words::type_name(message_type).to_owned(),
        (None, Some(value)) => format!("message of type {}", words::option_value(code::MESSAGE_TYPE, value)),
        (None, None) => "BOOTP request".to_owned(),
    }
}

fn print_tftp(f: &mut fmt::Formatter<'_>, exchange: &Exchange, talk: &Tftp) -> fmt::Result {
    let verb = if talk.is_write { "write" } else { "read" };
    let asked = words_of(&talk.asked);
    writeln!(f, "{} TFTP {verb} {} {asked}", exchange.client, words::text(&talk.filename))?;
    writeln!(f, "    answered: {}", sent_words(&talk.theirs))?;
    write!(f, "    ours:     {}", sent_words(&talk.ours))?;
    match (talk.unequal_at, talk.compared) {
        (Some(at), _) => write!(f, ", unlike the captured ones from byte {at} on")?,
        (None, 0) => {}
        (None, compared) => write!(f, ", {compared} of them compared and equal")?,
    }
    match talk.stopped {
        Some(code) => writeln!(f, "; the client ended it with ERROR {code}"),
        None => writeln!(f),
    }
}

fn words_of(options: &[(String, String)]) -> String {
    let words: Vec<String> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
    words.join(" ")
}

fn sent_words(sent: &Sent) -> String {
    if let Some((code, text)) = &sent.error {
        return format!("ERROR {code} \"{}\"", text.escape_default());
    }
    let granted = sent.granted.as_ref().map(|granted| format!("OACK {}", words_of(granted)));
    let blocks = (sent.blocks > 0).then(|| {
        let end = if sent.is_whole { "" } else { ", not to the end" };
        format!("{} blocks, {} bytes{end}", sent.blocks, sent.bytes)
    });
    let accepted = sent.accepts.then(|| "takes the file".to_owned());
    let words: Vec<String> = accepted.into_iter().chain(granted).chain(blocks).collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join("; ") }
}

fn print_http(f: &mut fmt::Formatter<'_>, exchange: &Exchange, talk: &Http) -> fmt::Result {
    writeln!(f, "{} {} http://{}{}", exchange.client, talk.method, talk.server, talk.target)?;
    let words = |response: &Option<Response>| {
        let Some(response) = response else { return "nothing".to_owned() };
        let head = Head(&response.head);
        let length = head.content_length().map_or(String::new(), |len| format!(", {len} bytes"));
        format!("{}{length}", head.status_line().unwrap_or("a head that was cut"))
    };
    writeln!(f, "    answered: {}", words(&talk.theirs))?;
    writeln!(f, "    ours:     {}", words(&talk.ours))
}

fn advice_words(advice: Advice) -> String {
    match advice {
        Advice::IgnoresProxyOffers { mac, offers } => {
            format!("{mac} ignored {offers} ProxyDHCP offers: it may need dhcp = \"take-over\"")
        }
        Advice::OtherServer { server, .. } => format!("another DHCP server answers here: {server}"),
        Advice::PoolExhausted { subnet, .. } => format!("no address is free in {subnet}"),
        Advice::LoaderLoop { mac, times } => format!("{mac} loaded the same loader {times} times in a row"),
        Advice::AddressInUse { address } => format!("{address} is in use by somebody else"),
        Advice::StoreFailed => "leases cannot be written".to_owned(),
    }
}
