//! Port 69 and one transfer port; no state at all, since an acknowledgement says what comes next.

use std::io::{self, IoSlice};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;

use clap::Args;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use crate::sys::{BATCH, Message, ReceiveBatch, send};

const LISTEN: Token = Token(0);

#[derive(Args)]
pub(crate) struct Arguments {
    address: SocketAddrV4,
    /// The one file, held in memory
    file: PathBuf,
    #[arg(long, default_value_t = 1408)]
    blksize: u16,
    #[arg(long, default_value_t = 1)]
    windowsize: u16,
}

/// One window: a header and a piece of the file for each block
struct Window<'a> {
    headers: Vec<[u8; 4]>,
    blocks: Vec<&'a [u8]>,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    let content = std::fs::read(&arguments.file)?;
    let listen = UdpSocket::bind(arguments.address)?;
    let transfer = UdpSocket::bind((*arguments.address.ip(), 0))?;
    let mut poll = Poll::new()?;
    for (token, socket) in [(LISTEN, &listen), (Token(1), &transfer)] {
        SockRef::from(socket).set_recv_buffer_size(4 << 20)?;
        SockRef::from(socket).set_send_buffer_size(4 << 20)?;
        poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
    }
    let mut oack = vec![0, 6];
    oack.extend_from_slice(format!("tsize\0{}\0blksize\0{}\0", content.len(), arguments.blksize).as_bytes());
    if arguments.windowsize > 1 {
        oack.extend_from_slice(format!("windowsize\0{}\0", arguments.windowsize).as_bytes());
    }
    let mut events = Events::with_capacity(2);
    let mut batch = ReceiveBatch::new(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let is_request = event.token() == LISTEN;
            let socket = if is_request { &listen } else { &transfer };
            loop {
                let count = batch.receive(socket.as_fd())?;
                if is_request {
                    let parts = [IoSlice::new(&oack)];
                    let replies: Vec<_> = (0..count)
                        .map(|index| Message { parts: &parts, to: Some(batch.source(index)), segment: None })
                        .collect();
                    send_all(&transfer, &replies)?;
                } else {
                    answer(&transfer, &batch, count, &content, arguments)?;
                }
                if count < BATCH {
                    break;
                }
            }
        }
    }
}

fn answer(
    socket: &UdpSocket,
    batch: &ReceiveBatch,
    count: usize,
    content: &[u8],
    arguments: &Arguments,
) -> io::Result<()> {
    let windows: Vec<_> = (0..count).map(|index| next(batch.bytes(index), content, arguments)).collect();
    let parts: Vec<Vec<_>> = windows
        .iter()
        .map(|window| {
            let pieces = window.headers.iter().zip(&window.blocks);
            pieces.flat_map(|(header, block)| [IoSlice::new(header), IoSlice::new(block)]).collect()
        })
        .collect();
    let messages: Vec<_> = (0..count)
        .filter(|&index| !parts[index].is_empty())
        .map(|index| Message {
            parts: &parts[index],
            to: Some(batch.source(index)),
            segment: (windows[index].blocks.len() > 1).then_some(arguments.blksize + 4),
        })
        .collect();
    send_all(socket, &messages)
}

/// What follows an acknowledgement; nothing follows the last one
fn next<'a>(ack: &[u8], content: &'a [u8], arguments: &Arguments) -> Window<'a> {
    let &[0, 4, high, low] = ack else { return Window { headers: Vec::new(), blocks: Vec::new() } };
    let acked = u16::from_be_bytes([high, low]);
    let blksize = usize::from(arguments.blksize);
    let block_at = |block: u16| {
        let at = usize::from(block - 1) * blksize;
        content.get(at..).map(|rest| &rest[..rest.len().min(blksize)])
    };
    let numbers = acked + 1..=acked + arguments.windowsize;
    let blocks: Vec<_> = numbers.clone().map_while(block_at).collect();
    let header = |block: u16| [0, 3, block.to_be_bytes()[0], block.to_be_bytes()[1]];
    Window { headers: numbers.take(blocks.len()).map(header).collect(), blocks }
}

fn send_all(socket: &UdpSocket, messages: &[Message<'_>]) -> io::Result<()> {
    if messages.is_empty() { Ok(()) } else { send(socket.as_fd(), messages) }
}
