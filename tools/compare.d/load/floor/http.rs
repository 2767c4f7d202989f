//! Whatever a connection sends is taken for a request for the one file. A connection is accepted with its request
//! (TCP_DEFER_ACCEPT) and answered at once; one that is closed after that is never registered.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddrV4;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use clap::Args;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::sys::{accept_queue_len, defer_accept, send_file};

/// A larger file goes by sendfile
const SMALL: u64 = 64 << 10;
const LISTEN: Token = Token(usize::MAX);

#[derive(Args)]
pub(crate) struct Arguments {
    address: SocketAddrV4,
    file: PathBuf,
    /// Close each connection after one response
    #[arg(long)]
    close: bool,
}

struct Connection {
    stream: TcpStream,
    offset: u64,
    is_answering: bool,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    let file = File::open(&arguments.file)?;
    let len = file.metadata()?.len();
    let mut reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n").into_bytes();
    let sent_by_file = if len > SMALL { len } else { 0 };
    if sent_by_file == 0 {
        (&file).read_to_end(&mut reply)?;
    }
    let mut poll = Poll::new()?;
    let mut listener = listen(arguments.address)?;
    poll.registry().register(&mut listener, LISTEN, Interest::READABLE)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free = Vec::new();
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTEN {
                // An accept that finds nothing costs as much as one that does.
                while accept_queue_len(listener.as_fd())? > 0 {
                    let Ok((stream, _)) = listener.accept() else { continue };
                    let mut connection = Connection { stream, offset: 0, is_answering: false };
                    if !serve(&mut connection, &reply, &file, sent_by_file, arguments.close).unwrap_or(false)
                    {
                        continue;
                    }
                    let at = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut connection.stream, Token(at), interest)?;
                    connections[at] = Some(connection);
                }
                continue;
            }
            let Some(connection) = &mut connections[event.token().0] else { continue };
            let goes_on = serve(connection, &reply, &file, sent_by_file, arguments.close);
            if !goes_on.unwrap_or(false) {
                connections[event.token().0] = None;
                free.push(event.token().0);
            }
        }
    }
}

pub(super) fn listen(address: SocketAddrV4) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    defer_accept(socket.as_fd())?;
    socket.listen(4096)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Whether the connection goes on
fn serve(
    connection: &mut Connection,
    reply: &[u8],
    file: &File,
    file_len: u64,
    close: bool,
) -> io::Result<bool> {
    if !connection.is_answering {
        let mut request = [0; 4096];
        match connection.stream.read(&mut request) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
        if file_len == 0 {
            connection.stream.write_all(reply)?;
        } else {
            // Whole segments cost a sixth less.
            SockRef::from(&connection.stream).set_tcp_cork(true)?;
            connection.stream.write_all(reply)?;
        }
        (connection.is_answering, connection.offset) = (true, 0);
    }
    while connection.offset < file_len {
        let rest = (file_len - connection.offset) as usize;
        match send_file(connection.stream.as_fd(), file.as_fd(), connection.offset, rest) {
            Ok(sent) => connection.offset += sent as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    if file_len > 0 {
        SockRef::from(&connection.stream).set_tcp_cork(false)?;
    }
    connection.is_answering = false;
    Ok(!close)
}
