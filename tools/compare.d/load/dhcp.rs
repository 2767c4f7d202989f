//! Machines that ask for addresses, each once, at a given rate whatever the server makes of it.
//!
//! An exchange is Discover, Offer, Request, Ack. Nothing is asked twice: an exchange that has not ended a second after the
//! last one began is lost. The load spins instead of waiting, so that each Discover leaves when it is due.

use std::collections::HashSet;
use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use crate::frame::{ACK, DISCOVER, NAK, OFFER, REQUEST, parse_reply, request};
use crate::measure::{Meter, Spread, print};
use crate::sys::{BATCH, Message, ReceiveBatch, packet_socket, send};

/// How long the last exchanges may take
const DRAIN: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(crate) struct Arguments {
    /// The interface that the machines are on
    interface: String,
    /// Exchanges begun a second
    #[arg(long)]
    rate: u32,
    #[arg(long)]
    seconds: u32,
    /// The server's cgroup
    #[arg(long)]
    cgroup: Option<PathBuf>,
}

#[derive(Clone, Copy)]
enum Machine {
    Silent,
    Discovering(Instant),
    Requesting(Instant, Ipv4Addr),
    Bound(Ipv4Addr),
}

#[derive(Default)]
struct Outcome {
    exchanges: Spread,
    naks: u64,
    /// Offered one address and given another
    changed: u64,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    let total = arguments.rate * arguments.seconds;
    let discovers: Vec<_> = (0..total).map(|index| request(index, DISCOVER, None)).collect();
    let mut machines = vec![Machine::Silent; total as usize];
    let socket = packet_socket(&arguments.interface)?;
    let mut batch = ReceiveBatch::new(2048);
    let mut outcome = Outcome::default();
    let (mut asked, mut late) = (0, Spread::default());

    let meter = Meter::start(arguments.cgroup.as_deref())?;
    let end = meter.started() + Duration::from_secs(arguments.seconds.into()) + DRAIN;
    loop {
        let now = Instant::now();
        if now >= end {
            break;
        }
        let due = (now - meter.started()).as_micros() * u128::from(arguments.rate) / 1_000_000;
        let due = u32::try_from(due).unwrap_or(total).min(total);
        let begin = asked..due.min(asked + BATCH as u32);
        asked = begin.end;
        if !begin.is_empty() {
            let first = meter.started() + Duration::from_secs(1) * begin.start / arguments.rate;
            late.add(first, now);
            machines[begin.start as usize..begin.end as usize].fill(Machine::Discovering(now));
            send_frames(&socket, &discovers[begin.start as usize..begin.end as usize])?;
        }
        let count = batch.receive(socket.as_fd())?;
        let requests: Vec<_> = (0..count)
            .filter_map(|index| on_frame(batch.bytes(index), &mut machines, &mut outcome))
            .collect();
        send_frames(&socket, &requests)?;
    }
    let mut result = meter.finish()?;
    let bound: Vec<_> = machines
        .iter()
        .filter_map(|machine| if let Machine::Bound(address) = machine { Some(*address) } else { None })
        .collect();
    let distinct: HashSet<_> = bound.iter().collect();
    result.insert("asked".into(), asked.into());
    result.insert("exchanges".into(), bound.len().into());
    result.insert("lost".into(), (asked as usize - bound.len()).into());
    result.insert("naks".into(), outcome.naks.into());
    result.insert("wrong".into(), (outcome.changed + (bound.len() - distinct.len()) as u64).into());
    outcome.exchanges.report("exchange", &mut result);
    late.report("late", &mut result);
    print(result);
    Ok(())
}

fn send_frames(socket: &std::os::fd::OwnedFd, frames: &[Vec<u8>]) -> io::Result<()> {
    if frames.is_empty() {
        return Ok(());
    }
    let parts: Vec<_> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
    let messages: Vec<_> = parts.iter().map(|parts| Message { parts, to: None, segment: None }).collect();
    send(socket.as_fd(), &messages)
}

/// What a machine sends upon a reply
fn on_frame(frame: &[u8], machines: &mut [Machine], outcome: &mut Outcome) -> Option<Vec<u8>> {
    let reply = parse_reply(frame)?;
    let machine = machines.get_mut(reply.index as usize)?;
    match (reply.kind, *machine) {
        (OFFER, Machine::Discovering(began)) => {
            *machine = Machine::Requesting(began, reply.yiaddr);
            Some(request(reply.index, REQUEST, Some((reply.yiaddr, reply.server))))
        }
        (ACK, Machine::Requesting(began, offered)) => {
            *machine = Machine::Bound(reply.yiaddr);
            outcome.changed += u64::from(offered != reply.yiaddr);
            outcome.exchanges.add(began, Instant::now());
            None
        }
        (NAK, Machine::Requesting(..)) => {
            outcome.naks += 1;
            None
        }
        _ => None,
    }
}
