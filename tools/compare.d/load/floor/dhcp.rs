//! One packet socket, batch in, batch out; a machine's address is its number, and nobody remembers it.

use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _};

use clap::Args;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::frame::{ACK, BOOTP, DISCOVER, OFFER, finish, option};
use crate::sys::{BATCH, Message, ReceiveBatch, packet_socket, send};

#[derive(Args)]
pub(crate) struct Arguments {
    interface: String,
    /// Its address
    address: Ipv4Addr,
    /// The first address given
    first: Ipv4Addr,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    let socket = packet_socket(&arguments.interface)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(0), Interest::READABLE)?;
    let mut events = Events::with_capacity(1);
    let mut batch = ReceiveBatch::new(2048);
    let mut replies = vec![template(arguments.address); BATCH];
    loop {
        poll.poll(&mut events, None)?;
        loop {
            let count = batch.receive(socket.as_fd())?;
            let mut answered = 0;
            for index in 0..count {
                let request = batch.bytes(index);
                if request.len() > BOOTP + 240 && request[36..38] == [0, 67] {
                    patch(&mut replies[answered], request, arguments.first);
                    answered += 1;
                }
            }
            let parts: Vec<_> = replies[..answered].iter().map(|reply| [IoSlice::new(reply)]).collect();
            let messages: Vec<_> =
                parts.iter().map(|parts| Message { parts, to: None, segment: None }).collect();
            if !messages.is_empty() {
                send(socket.as_fd(), &messages)?;
            }
            if count < BATCH {
                break;
            }
        }
    }
}

/// A reply of 300 bytes to everybody
fn template(address: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0; BOOTP + 240];
    frame[..6].fill(0xff);
    frame[6..14].copy_from_slice(&[0x02, 0, 0, 0, 0, 1, 8, 0]);
    frame[14..24].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17]);
    frame[26..30].copy_from_slice(&address.octets());
    frame[30..34].fill(0xff);
    frame[34..38].copy_from_slice(&[0, 67, 0, 68]);
    frame[BOOTP..BOOTP + 3].copy_from_slice(&[2, 1, 6]);
    frame[BOOTP + 20..BOOTP + 24].copy_from_slice(&address.octets());
    frame[BOOTP + 236..].copy_from_slice(&[99, 130, 83, 99]);
    frame.extend_from_slice(&[53, 1, OFFER, 54, 4]);
    frame.extend_from_slice(&address.octets());
    frame.extend_from_slice(&[51, 4, 0, 0, 0xa8, 0xc0, 1, 4, 255, 192, 0, 0, 255]);
    frame.resize(BOOTP + 300, 0);
    finish(&mut frame);
    frame
}

fn patch(reply: &mut [u8], request: &[u8], first: Ipv4Addr) {
    let kind = option(request, 53).and_then(|value| value.first()).copied();
    reply[BOOTP + 242] = if kind == Some(DISCOVER) { OFFER } else { ACK };
    let xid = &request[BOOTP + 4..BOOTP + 8];
    let index = u32::from_be_bytes([xid[0], xid[1], xid[2], xid[3]]);
    reply[BOOTP + 4..BOOTP + 12].copy_from_slice(&request[BOOTP + 4..BOOTP + 12]);
    reply[BOOTP + 16..BOOTP + 20].copy_from_slice(&first.to_bits().wrapping_add(index).to_be_bytes());
    reply[BOOTP + 28..BOOTP + 44].copy_from_slice(&request[BOOTP + 28..BOOTP + 44]);
}
