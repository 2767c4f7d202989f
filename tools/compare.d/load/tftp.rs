//! Many machines that read a file by TFTP at once; beside them, or alone, one that walks over names that are missing.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use mio::event::Source;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use crate::measure::{Meter, Spread, print, raise_open_files};
use crate::sys::{ReceiveBatch, receive_whole};
use crate::tftp_client::{Progress, TftpClient, Wish, open};

/// A machine says the last thing again after so long: firmware waits for 1 to 4 s
const TIMEOUT: Duration = Duration::from_secs(1);
/// How often time-outs are looked for
const TICK: Duration = Duration::from_millis(20);
/// A server that says nothing at all for so long says no more: a default dnsmasq whose 50 transfers wait for clients that
/// have asked twice
const GIVE_UP: Duration = Duration::from_secs(5);
/// Room for a block of any size that is asked for here
const ROOM: usize = 2048;
/// What a PXELINUX looks for before its `default`: UUID, MAC address, then its address in eight steps; and one more
const MISSING: [&str; 11] = [
    "pxelinux.cfg/4c4c4544-0051-3510-8052-b4c04f564231",
    "pxelinux.cfg/01-88-99-aa-bb-cc-dd",
    "pxelinux.cfg/0A400002",
    "pxelinux.cfg/0A40000",
    "pxelinux.cfg/0A4000",
    "pxelinux.cfg/0A400",
    "pxelinux.cfg/0A40",
    "pxelinux.cfg/0A4",
    "pxelinux.cfg/0A",
    "pxelinux.cfg/0",
    "pxelinux.cfg/default",
];

#[derive(Args)]
pub(crate) struct Arguments {
    /// The server
    server: SocketAddrV4,
    /// The file
    #[arg(long, default_value = "4m.bin")]
    file: String,
    /// Machines
    #[arg(long)]
    clients: usize,
    /// How often each reads the file
    #[arg(long, default_value_t = 1)]
    times: usize,
    /// Read again and again for so long instead
    #[arg(long)]
    seconds: Option<u64>,
    #[arg(long, default_value_t = 1408)]
    blksize: u16,
    #[arg(long, default_value_t = 1)]
    windowsize: u16,
    /// A window that is sent as one datagram is received as one. The receiving half of a veth runs on the sender's
    /// processor: without this the server is charged for cutting the window, as it is before a network card that cannot,
    /// and also for the clients' receiving of each piece, which it never is on a wire.
    #[arg(long)]
    whole: bool,
    /// One machine more looks for 11 names that are missing, again and again
    #[arg(long, requires = "seconds")]
    walk: bool,
    /// Compare every byte with this file
    #[arg(long)]
    verify: Option<PathBuf>,
    /// The server's cgroup
    #[arg(long)]
    cgroup: Option<PathBuf>,
}

/// The machine that walks
struct Walker {
    socket: UdpSocket,
    at: usize,
    began: Instant,
    asked: Instant,
    walks: Spread,
}

impl Walker {
    /// Asks for the next name, from a new port each time as PXELINUX does
    fn ask(&mut self, poll: &Poll, token: Token, wish: &Wish, now: Instant) -> io::Result<()> {
        poll.registry().deregister(&mut self.socket)?;
        self.socket = open()?;
        self.socket.register(poll.registry(), token, Interest::READABLE)?;
        self.asked = now;
        self.socket.send_to(&wish.request(MISSING[self.at]), wish.server.into()).map(drop)
    }

    fn on_readable(&mut self, poll: &Poll, token: Token, wish: &Wish, now: Instant) -> io::Result<()> {
        let mut bytes = [0; ROOM];
        let len = self.socket.recv(&mut bytes)?;
        if !bytes[..len].starts_with(&[0, 5, 0, 1]) {
            return Err(io::Error::other(format!("no ERROR 1 for {}", MISSING[self.at])));
        }
        self.at += 1;
        if self.at == MISSING.len() {
            self.walks.add(self.began, now);
            (self.at, self.began) = (0, now);
        }
        self.ask(poll, token, wish, now)
    }
}

struct Load<'a> {
    arguments: &'a Arguments,
    wish: Wish,
    poll: Poll,
    clients: Vec<Option<TftpClient>>,
    to_start: usize,
    left: usize,
    transfers: Spread,
    bytes: u64,
    timeouts: u64,
    walker: Option<Walker>,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    raise_open_files()?;
    let content = arguments.verify.as_ref().map(std::fs::read).transpose()?;
    let wish = Wish {
        server: arguments.server,
        file: arguments.file.clone(),
        blksize: arguments.blksize,
        windowsize: arguments.windowsize,
        content,
    };
    let mut load = Load {
        arguments,
        wish,
        poll: Poll::new()?,
        clients: Vec::new(),
        to_start: arguments.clients * (arguments.times.saturating_sub(1)),
        left: arguments.clients * arguments.times,
        transfers: Spread::default(),
        bytes: 0,
        timeouts: 0,
        walker: None,
    };
    let sockets: Vec<_> = (0..arguments.clients).map(|_| open()).collect::<Result<_, _>>()?;
    let meter = Meter::start(arguments.cgroup.as_deref())?;
    for (index, socket) in sockets.into_iter().enumerate() {
        let client = load.start(socket, index, Instant::now())?;
        load.clients.push(Some(client));
    }
    load.run(meter.started())?;
    let mut result = meter.finish()?;
    let under_way: u64 = load.clients.iter().flatten().map(|client| client.bytes).sum();
    result.insert("bytes".into(), (load.bytes + under_way).into());
    let unfinished = if arguments.seconds.is_some() { 0 } else { load.left };
    result.insert("unfinished".into(), unfinished.into());
    result.insert("timeouts".into(), load.timeouts.into());
    load.transfers.report("transfer", &mut result);
    if let Some(walker) = load.walker {
        result.insert("walks".into(), walker.walks.len().into());
        walker.walks.report("walk", &mut result);
    }
    print(result);
    Ok(())
}

impl Load<'_> {
    fn start(&self, mut socket: UdpSocket, index: usize, now: Instant) -> io::Result<TftpClient> {
        if self.arguments.whole {
            receive_whole(socket.as_fd())?;
        }
        socket.register(self.poll.registry(), Token(index), Interest::READABLE)?;
        TftpClient::start(socket, &self.wish, now)
    }

    fn run(&mut self, started: Instant) -> io::Result<()> {
        let walk = Token(self.clients.len());
        if self.arguments.walk {
            let mut socket = open()?;
            socket.register(self.poll.registry(), walk, Interest::READABLE)?;
            let now = Instant::now();
            let mut walker = Walker { socket, at: 0, began: now, asked: now, walks: Spread::default() };
            walker.ask(&self.poll, walk, &self.wish, now)?;
            self.walker = Some(walker);
        }
        let end = self.arguments.seconds.map(|seconds| started + Duration::from_secs(seconds));
        let mut batch = ReceiveBatch::new(if self.arguments.whole { u16::MAX.into() } else { ROOM });
        let mut events = Events::with_capacity(1024);
        let (mut next_tick, mut heard) = (started + TICK, started);
        loop {
            self.poll.poll(&mut events, Some(TICK))?;
            let now = Instant::now();
            if end.map_or(self.left == 0, |end| now >= end) {
                return Ok(());
            }
            for event in &events {
                heard = now;
                if event.token() == walk {
                    if let Some(walker) = &mut self.walker {
                        walker.on_readable(&self.poll, walk, &self.wish, now)?;
                    }
                } else {
                    self.on_readable(event.token().0, &mut batch, now)?;
                }
            }
            if now >= next_tick {
                next_tick = now + TICK;
                self.on_tick(walk, now)?;
            }
            if now - heard > GIVE_UP {
                return Ok(());
            }
        }
    }

    fn on_readable(&mut self, index: usize, batch: &mut ReceiveBatch, now: Instant) -> io::Result<()> {
        let Some(client) = &mut self.clients[index] else { return Ok(()) };
        if client.on_readable(&self.wish, batch, now)? == Progress::Waiting {
            return Ok(());
        }
        self.transfers.add(client.began, now);
        self.bytes += client.bytes;
        self.left = self.left.saturating_sub(1);
        self.clients[index] = None;
        if self.arguments.seconds.is_some() || self.to_start > 0 {
            self.to_start = self.to_start.saturating_sub(1);
            self.clients[index] = Some(self.start(open()?, index, now)?);
        }
        Ok(())
    }

    fn on_tick(&mut self, walk: Token, now: Instant) -> io::Result<()> {
        for client in self.clients.iter_mut().flatten() {
            if now - client.heard > TIMEOUT {
                self.timeouts += 1;
                client.on_timeout(&self.wish, now)?;
            }
        }
        if let Some(walker) = &mut self.walker
            && now - walker.asked > TIMEOUT
        {
            self.timeouts += 1;
            walker.ask(&self.poll, walk, &self.wish, now)?;
        }
        Ok(())
    }
}
