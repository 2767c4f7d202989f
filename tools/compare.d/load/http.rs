//! Machines that read a file by HTTP: on connections kept open, or (as lpxelinux does) on a new one each time.

use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use crate::measure::{Meter, Result as Measured, Spread, print, raise_open_files};

/// A server that says nothing at all for so long has failed
const GIVE_UP: Duration = Duration::from_secs(10);
/// The longest head taken
const HEAD_MAX: usize = 4096;
/// Bytes dropped in one call
const DROPPED: usize = 1 << 20;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The server
    server: SocketAddrV4,
    /// The file
    #[arg(long)]
    file: String,
    /// Connections at a time
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Read again and again for so long
    #[arg(long)]
    seconds: Option<u64>,
    /// Else read it so often on each connection
    #[arg(long, default_value_t = 1)]
    times: usize,
    /// A new connection for each request, with HTTP/1.0 as lpxelinux asks
    #[arg(long)]
    new: bool,
    /// Compare every byte with this file; without it, bodies are dropped in the kernel
    #[arg(long)]
    verify: Option<PathBuf>,
    /// The server's cgroup
    #[arg(long)]
    cgroup: Option<PathBuf>,
}

enum State {
    /// Not connected yet
    Connecting,
    /// The head comes
    Head(Vec<u8>),
    /// So much of the body is to come
    Body(u64),
    /// The response is whole; the server closes the connection
    Closing,
    /// Reads nothing any more
    Ended,
}

struct Connection {
    stream: TcpStream,
    state: State,
    began: Instant,
    left: usize,
}

struct Load<'a> {
    arguments: &'a Arguments,
    request: String,
    content: Option<Vec<u8>>,
    poll: Poll,
    connections: Vec<Connection>,
    running: usize,
    requests: Spread,
    bytes: u64,
    read: Vec<u8>,
    dropped: Vec<MaybeUninit<u8>>,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    raise_open_files()?;
    let version = if arguments.new { "1.0" } else { "1.1" };
    let mut load = Load {
        arguments,
        request: format!("GET /{} HTTP/{version}\r\nHost: {}\r\n\r\n", arguments.file, arguments.server.ip()),
        content: arguments.verify.as_ref().map(std::fs::read).transpose()?,
        poll: Poll::new()?,
        connections: Vec::new(),
        running: arguments.connections,
        requests: Spread::default(),
        bytes: 0,
        read: vec![0; 256 << 10],
        dropped: vec![MaybeUninit::uninit(); DROPPED],
    };
    let meter = Meter::start(arguments.cgroup.as_deref())?;
    for index in 0..arguments.connections {
        let connection = load.connect(index, arguments.times)?;
        load.connections.push(connection);
    }
    load.run(meter.started())?;
    let mut result: Measured = meter.finish()?;
    result.insert("bytes".into(), load.bytes.into());
    result.insert("requests".into(), load.requests.len().into());
    load.requests.report("request", &mut result);
    print(result);
    Ok(())
}

impl Load<'_> {
    fn connect(&self, index: usize, left: usize) -> io::Result<Connection> {
        let mut stream = TcpStream::connect(self.arguments.server.into())?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(index), interest)?;
        Ok(Connection { stream, state: State::Connecting, began: Instant::now(), left })
    }

    fn run(&mut self, started: Instant) -> io::Result<()> {
        let end = self.arguments.seconds.map(|seconds| started + Duration::from_secs(seconds));
        let mut events = Events::with_capacity(1024);
        while self.running > 0 && end.is_none_or(|end| Instant::now() < end) {
            self.poll.poll(&mut events, Some(GIVE_UP))?;
            if events.is_empty() {
                return Err(io::Error::other(format!("{} connections have stopped", self.running)));
            }
            for event in &events {
                self.on_event(event.token().0)?;
            }
        }
        Ok(())
    }

    fn on_event(&mut self, index: usize) -> io::Result<()> {
        if matches!(self.connections[index].state, State::Connecting) {
            if let Some(error) = self.connections[index].stream.take_error()? {
                return Err(error);
            }
            match self.connections[index].stream.peer_addr() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(error),
            }
            self.connections[index].stream.set_nodelay(true)?;
            self.ask(index)?;
        }
        loop {
            match self.step(index) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn ask(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        if !self.arguments.new {
            connection.began = Instant::now();
        }
        connection.state = State::Head(Vec::new());
        // A request fits any socket's buffer.
        connection.stream.write_all(self.request.as_bytes())
    }

    /// Reads once; whether there may be more to read
    fn step(&mut self, index: usize) -> io::Result<bool> {
        let connection = &mut self.connections[index];
        let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
        match &mut connection.state {
            State::Connecting | State::Ended => Ok(false),
            State::Head(head) => {
                let len = connection.stream.read(&mut self.read)?;
                if len == 0 {
                    return Err(cut());
                }
                let known = head.len();
                head.extend_from_slice(&self.read[..len.min(HEAD_MAX)]);
                let Some((head_len, body_len)) = parse_head(head)? else { return Ok(true) };
                let body = &self.read[head_len - known..len];
                verify(self.content.as_deref(), 0, body)?;
                self.bytes += body.len() as u64;
                connection.state = State::Body(body_len - body.len() as u64);
                if body.len() as u64 == body_len { self.on_whole(index) } else { Ok(true) }
            }
            State::Body(left) => {
                let len = if let Some(content) = &self.content {
                    let len = connection.stream.read(&mut self.read)?;
                    verify(Some(content), content.len() as u64 - *left, &self.read[..len])?;
                    len
                } else {
                    // tcp(7): with MSG_TRUNC the bytes are dropped, not copied.
                    let room = &mut self.dropped[..DROPPED.min(*left as usize)];
                    SockRef::from(&connection.stream).recv_with_flags(room, libc::MSG_TRUNC)?
                };
                if len == 0 {
                    return Err(cut());
                }
                self.bytes += len as u64;
                *left -= len as u64;
                if *left == 0 { self.on_whole(index) } else { Ok(true) }
            }
            State::Closing => match connection.stream.read(&mut self.read)? {
                0 => self.on_end(index),
                _ => Err(io::Error::other("more than the response")),
            },
        }
    }

    /// A response is whole
    fn on_whole(&mut self, index: usize) -> io::Result<bool> {
        if self.arguments.new {
            self.connections[index].state = State::Closing;
            return Ok(true);
        }
        self.on_end(index)
    }

    fn on_end(&mut self, index: usize) -> io::Result<bool> {
        let connection = &mut self.connections[index];
        self.requests.add(connection.began, Instant::now());
        connection.left -= usize::from(self.arguments.seconds.is_none());
        if connection.left == 0 {
            connection.state = State::Ended;
            self.running -= 1;
        } else if self.arguments.new {
            let left = connection.left;
            self.connections[index] = self.connect(index, left)?;
        } else {
            self.ask(index)?;
        }
        // What comes next is a new event.
        Ok(false)
    }
}

fn verify(content: Option<&[u8]>, at: u64, body: &[u8]) -> io::Result<()> {
    let Some(content) = content else { return Ok(()) };
    let at = at as usize;
    if content.get(at..at + body.len()) == Some(body) {
        Ok(())
    } else {
        Err(io::Error::other(format!("the body is wrong after byte {at}")))
    }
}

/// The lengths of a whole head and of its body
pub(crate) fn parse_head(bytes: &[u8]) -> io::Result<Option<(usize, u64)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(io::Error::other)?;
    let httparse::Status::Complete(head_len) = parsed else { return Ok(None) };
    if response.code != Some(200) {
        return Err(io::Error::other(format!("status {:?}", response.code)));
    }
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body_len = length.and_then(|header| str::from_utf8(header.value).ok()?.parse().ok());
    body_len.map(|len| Some((head_len, len))).ok_or_else(|| io::Error::other("no Content-Length"))
}
