//! What one idle transfer or connection costs a server in resident memory.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::http::parse_head;
use crate::measure::{Result as Measured, print, raise_open_files, resident_bytes};
use crate::tftp_client::Wish;

/// How long a server may take over one of them
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, ValueEnum)]
enum Idle {
    /// Transfers whose client has acknowledged the options and then says no more
    Tftp,
    /// Connections kept open after one request
    Http,
}

#[derive(Args)]
pub(crate) struct Arguments {
    idle: Idle,
    /// The server
    server: SocketAddrV4,
    #[arg(long)]
    file: String,
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// The server's cgroup
    #[arg(long)]
    cgroup: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    raise_open_files()?;
    let before = resident_bytes(&arguments.cgroup)?;
    let (mut transfers, mut connections) = (Vec::new(), Vec::new());
    let mut opened = 0;
    for _ in 0..arguments.count {
        let result = match arguments.idle {
            Idle::Tftp => transfer(arguments).map(|socket| transfers.push(socket)),
            Idle::Http => connection(arguments).map(|stream| connections.push(stream)),
        };
        if let Err(error) = result {
            // How many a server takes is part of the result.
            eprintln!("load: after {opened}: {error}");
            break;
        }
        opened += 1;
    }
    let after = resident_bytes(&arguments.cgroup)?;
    let mut result = Measured::new();
    result.insert("opened".into(), opened.into());
    result.insert("resident_before".into(), before.into());
    result.insert("resident_after".into(), after.into());
    if let Some(each) = after.saturating_sub(before).checked_div(opened) {
        result.insert("bytes_each".into(), each.into());
    }
    print(result);
    Ok(())
}

fn transfer(arguments: &Arguments) -> io::Result<UdpSocket> {
    let wish =
        Wish { server: arguments.server, file: String::new(), blksize: 1408, windowsize: 1, content: None };
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(&wish.request(&arguments.file), arguments.server)?;
    let mut bytes = [0; 2048];
    let (_, from) = socket.recv_from(&mut bytes)?;
    if bytes[..2] != [0, 6] {
        return Err(io::Error::other("no OACK"));
    }
    socket.connect(from)?;
    socket.send(&[0, 4, 0, 0])?;
    let len = socket.recv(&mut bytes)?;
    if bytes[..len].starts_with(&[0, 3, 0, 1]) { Ok(socket) } else { Err(io::Error::other("no DATA 1")) }
}

fn connection(arguments: &Arguments) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(arguments.server)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /{} HTTP/1.1\r\nHost: {}\r\n\r\n", arguments.file, arguments.server.ip())?;
    let (mut bytes, mut room) = (Vec::new(), [0; 16 << 10]);
    loop {
        let len = stream.read(&mut room)?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&room[..len]);
        if let Some((head_len, body_len)) = parse_head(&bytes)?
            && bytes.len() as u64 == head_len as u64 + body_len
        {
            return Ok(stream);
        }
    }
}
