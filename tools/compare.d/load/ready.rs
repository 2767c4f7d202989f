//! Waits until a server answers: to ask is the only way that holds for all of them.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;

use crate::frame::{DISCOVER, OFFER, parse_reply, request};
use crate::sys::{Message, ReceiveBatch, packet_socket, send};
use crate::tftp_client::Wish;

const PAUSE: Duration = Duration::from_millis(50);
/// A machine that asks here and nowhere else
const MACHINE: u32 = u32::MAX;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Ask for a file that is missing
    #[arg(long)]
    tftp: Option<SocketAddrV4>,
    /// Connect
    #[arg(long)]
    http: Option<SocketAddrV4>,
    /// Ask for an address on this interface
    #[arg(long)]
    dhcp: Option<String>,
    /// The server's process: do not wait for one that has ended
    #[arg(long)]
    process: Option<u32>,
    /// Try for so long
    #[arg(long, default_value_t = 15)]
    seconds: u64,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let process = arguments.process;
    if let Some(server) = arguments.tftp {
        until(process, end, "TFTP", || tftp(server).unwrap_or(false))?;
    }
    if let Some(server) = arguments.http {
        until(process, end, "HTTP", || TcpStream::connect(server).is_ok())?;
    }
    if let Some(interface) = &arguments.dhcp {
        until(process, end, "DHCP", || dhcp(interface).unwrap_or(false))?;
    }
    Ok(())
}

fn until(
    process: Option<u32>,
    end: Instant,
    protocol: &str,
    mut answers: impl FnMut() -> bool,
) -> io::Result<()> {
    while !answers() {
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            return Err(io::Error::other("it has ended"));
        }
        if Instant::now() >= end {
            return Err(io::Error::other(format!("no answer by {protocol}")));
        }
        sleep(PAUSE);
    }
    Ok(())
}

fn tftp(server: SocketAddrV4) -> io::Result<bool> {
    let wish = Wish { server, file: String::new(), blksize: 512, windowsize: 1, content: None };
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PAUSE))?;
    socket.send_to(&wish.request("missing"), server)?;
    Ok(socket.recv(&mut [0; 2048])? > 0)
}

fn dhcp(interface: &str) -> io::Result<bool> {
    let socket = packet_socket(interface)?;
    let discover = request(MACHINE, DISCOVER, None);
    let parts = [IoSlice::new(&discover)];
    send(socket.as_fd(), &[Message { parts: &parts, to: None, segment: None }])?;
    let mut batch = ReceiveBatch::new(2048);
    // A server may look first whether the address is taken.
    let end = Instant::now() + 10 * PAUSE;
    while Instant::now() < end {
        let count = batch.receive(socket.as_fd())?;
        let mut replies = (0..count).filter_map(|index| parse_reply(batch.bytes(index)));
        if replies.any(|reply| (reply.index, reply.kind) == (MACHINE, OFFER)) {
            return Ok(true);
        }
        sleep(Duration::from_millis(1));
    }
    Ok(false)
}
