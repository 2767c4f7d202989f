//! `reveille replay FILE.pcap`: what we would have answered, beside what was answered.
//!
//! A capture's client side is fed to the shard that `serve` runs, by the capture's own clock, and the two servers'
//! answers are held against each other, option by option. Nothing is sent, and no clock is read.
//!
//! - [`crate::heard`]: who asked what, and what was answered
//! - `derive`: a plan from the capture, where none is given; `files`: what there is to serve
//! - `drive`: the shard fed; `rewrite`: what a client would have asked of us
//! - `report`, `differences`, `words`: what came of it; `print`: for people; `json`: for machines

mod derive;
mod differences;
mod drive;
mod files;
mod json;
mod print;
mod report;
mod rewrite;
mod words;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use self::drive::{Answered, Done, Driver, Served, Transferred};
use self::files::{Files, Rebuilt};
use crate::boot::lease::Leases;
use crate::boot::plan::{Network, Plan};
use crate::content::Tree;
use crate::heard::dhcp::{Answer, Request};
use crate::heard::http::Connection;
use crate::heard::tftp::Transfer;
use crate::heard::{self, Heard};
use crate::limits::LEASES_MAX;
use crate::proto::tftp;
use crate::shard::Shard;
use crate::time::Instant;
use crate::wire::pcap;

pub use differences::{Difference, NONE};
pub use report::{Dhcp, Exchange, Http, Reply, Report, Response, Sent, Talk, Tftp, Withheld};

/// What a capture is replayed against
#[derive(Debug, Default)]
pub struct Setup {
    /// The configuration; `None`: one is made from the capture
    pub plan: Option<Arc<Plan>>,
    /// The files; `None`: what the capture holds of them
    pub root: Option<Tree>,
    /// How TFTP is served
    pub tftp: tftp::Settings,
}

/// Why there is nothing to replay
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The file is no capture
    Capture(pcap::Error),
    /// The configuration serves no network
    NoNetwork,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capture(error) => error.fmt(f),
            Self::NoNetwork => f.write_str("the configuration serves no network: add a [[network]]"),
        }
    }
}

impl std::error::Error for Error {}

/// Replays a capture (pcap or pcapng)
///
/// # Errors
/// Where it is no capture, or there is no network to replay it on.
pub fn run(capture: &[u8], setup: Setup) -> Result<Report, Error> {
    let (frames, damage) = heard::frames::read(capture).map_err(Error::Capture)?;
    let begins_at = frames.first().map_or(Instant::ZERO, |frame| frame.at);
    let heard = heard::listen(&frames);
    let server = heard.server();
    let (plan, leases, words) = match setup.plan {
        Some(plan) => (plan, Vec::new(), Vec::new()),
        None => {
            let derived = derive::derive(&heard, server, begins_at);
            (Arc::new(derived.plan), derived.leases, derived.words)
        }
    };
    let network = network_of(&plan, server).ok_or(Error::NoNetwork)?;
    let files = match setup.root {
        Some(tree) => Files::Tree(Box::new(tree)),
        None => Files::Rebuilt(Rebuilt::from(&heard)),
    };
    let mut known = Leases::new(LEASES_MAX);
    for lease in leases {
        // There is room: the table holds more than a capture.
        let _ = known.restore(begins_at, lease);
    }
    let shard = Shard::new(plan, setup.tftp, files, Some(known), begins_at);
    let done = Driver::new(&heard, shard, network, server).run();
    Ok(report(&heard, server, done, Report { server, plan: words, begins_at, damage, ..Report::default() }))
}

/// Which of a plan's networks a capture was taken on: the one with its server's address, or around it, or the first
fn network_of(plan: &Plan, server: Option<Ipv4Addr>) -> Option<usize> {
    let networks = plan.networks();
    let find = |fits: &dyn Fn(&Network, Ipv4Addr) -> bool| {
        server.and_then(|server| networks.iter().position(|network| fits(network, server)))
    };
    let around =
        |network: &Network, server| network.subnets.iter().any(|subnet| subnet.cidr.contains(server));
    find(&|network, server| network.address == server)
        .or_else(|| find(&around))
        .or((!networks.is_empty()).then_some(0))
}

fn report(heard: &Heard<'_>, server: Option<Ipv4Addr>, done: Done, empty: Report) -> Report {
    let requests = heard.requests.iter().zip(done.answered);
    let transfers = heard.transfers.iter().zip(done.transferred);
    let connections = heard.connections.iter().zip(done.served);
    let mut exchanges: Vec<Exchange> = Vec::new();
    exchanges.extend(requests.map(|(request, ours)| of_request(request, server, ours)));
    exchanges.extend(transfers.map(|(transfer, ours)| of_transfer(transfer, ours)));
    exchanges.extend(connections.flat_map(|(connection, ours)| of_connection(connection, ours)));
    exchanges.sort_by_key(|exchange| exchange.frame);
    Report { exchanges, advice: done.advice, ..empty }
}

fn of_request(request: &Request, server: Option<Ipv4Addr>, ours: Answered) -> Exchange {
    let answer = server.and_then(|server| request.answer_of(server));
    let others = request.answers.iter().filter(|other| Some(other.server()) != server);
    let talk = Dhcp {
        request: ours.request,
        rewritten: ours.rewritten,
        withheld: ours.withheld,
        theirs: answer.map(reply_of),
        theirs_cut: answer.filter(|answer| answer.0.is_cut()).map(|answer| answer.0.kept),
        others: others.map(reply_of).collect(),
        ours: ours.replies,
        decision: ours.decision,
    };
    let differences = differences::of_dhcp(&talk);
    let heading = &request.heading;
    exchange(heading.number, heading.at, heading.source, Talk::Dhcp(Box::new(talk)), differences)
}

fn reply_of(answer: &Answer) -> Reply {
    let heading = &answer.0;
    Reply {
        at: heading.at,
        from: heading.source,
        to: heading.destination,
        mac: None,
        payload: heading.bytes().to_vec(),
    }
}

fn of_transfer(transfer: &Transfer<'_>, ours: Transferred) -> Exchange {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let theirs = Sent {
        granted: transfer.oack.map(words::options),
        error: transfer.error.map(|(code, message)| (code, text(message))),
        accepts: transfer.accepts,
        blocks: transfer.blocks(),
        bytes: transfer.bytes(),
        is_whole: transfer.is_whole(),
        ..Sent::default()
    };
    let talk = Tftp {
        filename: transfer.request.filename.to_vec(),
        is_write: transfer.is_write,
        asked: words::options(transfer.request.options),
        theirs,
        ours: ours.sent,
        compared: ours.compared,
        unequal_at: ours.unequal_at,
        stopped: transfer.stopped,
    };
    let differences = differences::of_tftp(&talk);
    exchange(transfer.number, transfer.at, transfer.client, Talk::Tftp(Box::new(talk)), differences)
}

fn of_connection(connection: &Connection<'_>, ours: Served) -> impl Iterator<Item = Exchange> {
    let mut responses = ours.responses.into_iter();
    connection.requests.iter().enumerate().map(move |(index, request)| {
        let theirs = connection.responses.get(index).map(|response| Response {
            head: response.head.clone(),
            body: response.parts.values().map(|part| part.len() as u64).sum(),
        });
        let talk = Http {
            server: connection.server,
            method: request.method.clone(),
            target: request.target.clone(),
            theirs,
            ours: responses.next(),
        };
        let differences = differences::of_http(&talk);
        exchange(request.number, request.at, connection.client, Talk::Http(Box::new(talk)), differences)
    })
}

fn exchange(
    frame: u32,
    at: Instant,
    client: SocketAddrV4,
    talk: Talk,
    differences: Vec<Difference>,
) -> Exchange {
    Exchange { frame, at, client, talk, differences }
}
