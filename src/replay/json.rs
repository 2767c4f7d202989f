//! A report for machines: one JSON object a line for each exchange.

use serde_json::{Value, json};

use super::differences::{NONE, summary};
use super::report::{Dhcp, Exchange, Http, Report, Response, Sent, Talk, Tftp};
use super::words;
use crate::heard::http::Head;

impl Report {
    /// The exchanges as JSON Lines. Fields are added over time, never taken away.
    pub fn json_lines(&self) -> String {
        self.exchanges.iter().map(|exchange| format!("{}\n", object(exchange))).collect()
    }
}

fn object(exchange: &Exchange) -> Value {
    let differences: Vec<Value> = exchange
        .differences
        .iter()
        .map(|one| json!({ "what": one.what, "theirs": value(&one.theirs), "ours": value(&one.ours) }))
        .collect();
    let mut object = match &exchange.talk {
        Talk::Dhcp(talk) => dhcp(talk),
        Talk::Tftp(talk) => tftp(talk),
        Talk::Http(talk) => http(talk),
    };
    object["frame"] = exchange.frame.into();
    object["at_us"] = exchange.at.as_micros().into();
    object["client"] = exchange.client.to_string().into();
    object["differences"] = differences.into();
    object
}

/// What is not there is null
fn value(text: &str) -> Value {
    if text == NONE { Value::Null } else { text.into() }
}

fn dhcp(talk: &Dhcp) -> Value {
    json!({
        "protocol": "dhcp",
        "mac": talk.decision.map(|decision| decision.mac.to_string()),
        "replayed": talk.withheld.is_none(),
        "rewritten": talk.rewritten,
        "theirs": talk.theirs.as_ref().map(summary),
        "ours": talk.ours.first().map(summary),
        "why": talk.decision.map(|decision| words::reason(decision.reason)),
    })
}

fn tftp(talk: &Tftp) -> Value {
    json!({
        "protocol": "tftp",
        "file": String::from_utf8_lossy(&talk.filename),
        "theirs": sent(&talk.theirs),
        "ours": sent(&talk.ours),
        "compared": talk.compared,
        "unequal_at": talk.unequal_at,
    })
}

fn sent(sent: &Sent) -> Value {
    json!({ "error": sent.error.as_ref().map(|(code, _)| code), "bytes": sent.bytes, "whole": sent.is_whole })
}

fn http(talk: &Http) -> Value {
    let status =
        |response: &Option<Response>| response.as_ref().and_then(|response| Head(&response.head).status());
    json!({
        "protocol": "http",
        "method": talk.method,
        "target": talk.target,
        "theirs": status(&talk.theirs),
        "ours": status(&talk.ours),
    })
}
