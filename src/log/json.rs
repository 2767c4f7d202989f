//! Notes as JSON objects: one a line, with names that do not change. What a note lacks is left out.

use std::fmt;

use serde_json::{Map, Value, json};

use super::{Log, asked};
use crate::boot::plan::{LoaderName, Reason};
use crate::note::{Advice, Asked, DhcpNote, Got, Note, Outcome, TransferNote};
use crate::time::Instant;

impl Log {
    pub(super) fn json(&self, note: &Note) -> Value {
        let mut object = match note {
            Note::Dhcp(note) => self.dhcp_json(note),
            Note::Tftp(note) => transfer_json("tftp", note),
            Note::Http(note) => transfer_json("http", note),
            Note::Advice(advice) => self.advice_json(advice),
        };
        if let Value::Object(map) = &mut object {
            map.retain(|_, value| !value.is_null());
        }
        object
    }

    fn dhcp_json(&self, note: &DhcpNote) -> Value {
        let (got, address, dropped) = match note.got {
            Got::Offer(address) => ("offer", Some(address), None),
            Got::Ack(address) => ("ack", Some(address), None),
            Got::Nak(address) => ("nak", Some(address), None),
            Got::ProxyOffer => ("proxy-offer", None, None),
            Got::BootServerAck => ("boot-server-ack", None, None),
            Got::BootpReply(address) => ("bootreply", Some(address), None),
            Got::Parameters => ("parameters", None, None),
            Got::Noted => ("noted", None, None),
            Got::Nothing(reason) => ("nothing", None, Some(reason)),
        };
        let item = match note.asked {
            Asked::BootServer(item) => item,
            _ => None,
        };
        let mut object = json!({
            "time": Stamp(note.at).to_string(),
            "event": "dhcp",
            "interface": self.interface(note.network),
            "mac": note.mac.to_string(),
            "uuid": note.uuid.map(|uuid| uuid.to_string()),
            "relay": note.relay,
            "arch": note.arch.map(|arch| arch.to_string()),
            "loader": LoaderName::of(note.loader).as_str(),
            "asked": asked(note.asked).to_lowercase().replace(' ', "-"),
            "item": item,
            "got": got,
            "address": address,
            "dropped": dropped.map(|reason| reason.to_string()),
            "file": (!note.file.is_empty()).then(|| note.file.as_str()),
        });
        if let Value::Object(map) = &mut object {
            self.reason_json(note.reason, map);
        }
        object
    }

    fn reason_json(&self, reason: Reason, map: &mut Map<String, Value>) {
        let (name, number, line) = match reason {
            Reason::Rule { number, line } => ("rule", Some(number), line),
            Reason::Machine { line } => ("machine", None, line),
            Reason::Menu { line } => ("menu", None, line),
            Reason::Local { line } => ("local", None, line),
            Reason::Done { line } => ("done", None, line),
            Reason::WellKnown => ("well-known", None, 0),
            Reason::NoRule => ("no-rule", None, 0),
            Reason::NotABoot => ("not-a-boot", None, 0),
        };
        map.insert("why".into(), name.into());
        map.insert("rule".into(), json!(number));
        if line > 0 {
            map.insert("line".into(), line.into());
            map.insert("config".into(), json!(self.config));
        }
    }

    fn advice_json(&self, advice: &Advice) -> Value {
        match *advice {
            Advice::IgnoresProxyOffers { mac, offers } => {
                json!({ "event": "advice", "advice": "ignores-proxy-offers", "mac": mac.to_string(), "offers": offers })
            }
            Advice::OtherServer { network, server } => {
                let interface = self.interface(network);
                json!({ "event": "advice", "advice": "other-server", "interface": interface, "server": server })
            }
            Advice::PoolExhausted { network, subnet } => {
                let interface = self.interface(network);
                json!({ "event": "advice", "advice": "pool-exhausted", "interface": interface, "subnet": subnet })
            }
            Advice::LoaderLoop { mac, times } => {
                json!({ "event": "advice", "advice": "loader-loop", "mac": mac.to_string(), "times": times })
            }
            Advice::AddressInUse { address } => {
                json!({ "event": "advice", "advice": "address-in-use", "address": address })
            }
            Advice::StoreFailed => json!({ "event": "advice", "advice": "store-failed" }),
        }
    }
}

fn transfer_json(event: &str, note: &TransferNote) -> Value {
    let (outcome, code) = match note.outcome {
        Outcome::Done => ("done", None),
        Outcome::SizeOnly => ("size-only", None),
        Outcome::TftpError(code) => ("error", Some(code)),
        Outcome::Status(status) => ("error", Some(status)),
        Outcome::ClientStopped(code) => ("client-stopped", code),
        Outcome::TimedOut => ("timed-out", None),
        Outcome::FileFailed => ("file-failed", None),
        Outcome::Stopped => ("stopped", None),
    };
    json!({
        "time": Stamp(note.at).to_string(),
        "event": event,
        "peer": note.peer,
        "path": note.path.as_str(),
        "sent": note.sent,
        "took_us": note.took.as_micros(),
        "resent": note.resent,
        "outcome": outcome,
        "code": code,
    })
}

/// RFC 3339, UTC, to the microsecond
struct Stamp(Instant);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, us) = (self.0.as_secs(), self.0.as_micros() % 1_000_000);
        let (year, month, day) = date(s / 86_400);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{us:06}Z",
            s / 3_600 % 24,
            s / 60 % 60,
            s % 60
        )
    }
}

/// Year, month and day of a day since 1970-01-01. Years begin in March, so that the leap day is the last of one; 400
/// of them are 146,097 days, and the months from March have 153 days in each five.
fn date(days: u64) -> (u64, u64, u64) {
    // 1970-01-01 is day 719,468 from 0000-03-01.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (era * 400 + year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps() {
        for (s, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_795_519_667, "2026-11-24T11:27:47.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(Stamp(Instant::from_secs(s)).to_string(), expected);
        }
    }
}
