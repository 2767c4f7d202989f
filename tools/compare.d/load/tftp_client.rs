//! One machine that reads a file by TFTP (RFC 1350, 2347–2349, 7440).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsFd as _;
use std::time::Instant;

use mio::net::UdpSocket;

use crate::sys::ReceiveBatch;

/// What the machines ask for
pub(crate) struct Wish {
    pub(crate) server: SocketAddrV4,
    pub(crate) file: String,
    pub(crate) blksize: u16,
    pub(crate) windowsize: u16,
    /// What the file holds, where every byte is checked
    pub(crate) content: Option<Vec<u8>>,
}

impl Wish {
    /// The read request
    pub(crate) fn request(&self, file: &str) -> Vec<u8> {
        let mut bytes = vec![0, 1];
        let mut text = |text: &str| {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
        };
        text(file);
        text("octet");
        text("tsize");
        text("0");
        text("blksize");
        text(&self.blksize.to_string());
        if self.windowsize > 1 {
            text("windowsize");
            text(&self.windowsize.to_string());
        }
        bytes
    }
}

/// What has become of a transfer
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Waiting,
    Done,
}

/// The machine
pub(crate) struct TftpClient {
    pub(crate) socket: UdpSocket,
    pub(crate) began: Instant,
    pub(crate) heard: Instant,
    is_connected: bool,
    /// The last block taken, counted without end
    block: u64,
    in_window: u16,
    windowsize: u16,
    blksize: usize,
    has_asked_again: bool,
    pub(crate) bytes: u64,
}

/// A socket of its own, as a machine has
pub(crate) fn open() -> io::Result<UdpSocket> {
    UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
}

impl TftpClient {
    /// Asks for the file
    pub(crate) fn start(socket: UdpSocket, wish: &Wish, now: Instant) -> io::Result<Self> {
        socket.send_to(&wish.request(&wish.file), wish.server.into())?;
        Ok(Self {
            socket,
            began: now,
            heard: now,
            is_connected: false,
            block: 0,
            in_window: 0,
            windowsize: 1,
            blksize: 512,
            has_asked_again: false,
            bytes: 0,
        })
    }

    /// Takes what has come
    pub(crate) fn on_readable(
        &mut self,
        wish: &Wish,
        batch: &mut ReceiveBatch,
        now: Instant,
    ) -> io::Result<Progress> {
        loop {
            let count = batch.receive(self.socket.as_fd())?;
            for index in 0..count {
                if !self.is_connected {
                    // From now on the kernel drops what comes from elsewhere.
                    self.socket.connect(batch.source(index).into())?;
                    self.is_connected = true;
                }
                self.heard = now;
                if self.on_datagrams(wish, batch.bytes(index))? == Progress::Done {
                    return Ok(Progress::Done);
                }
            }
            // Fewer than asked for: the socket is empty, and whatever comes later is a new event.
            if count < crate::sys::BATCH {
                return Ok(Progress::Waiting);
            }
        }
    }

    /// One datagram, or a window of them that the kernel left whole
    fn on_datagrams(&mut self, wish: &Wish, bytes: &[u8]) -> io::Result<Progress> {
        for datagram in bytes.chunks(self.blksize + 4) {
            if self.on_datagram(wish, datagram)? == Progress::Done {
                return Ok(Progress::Done);
            }
        }
        Ok(Progress::Waiting)
    }

    fn on_datagram(&mut self, wish: &Wish, bytes: &[u8]) -> io::Result<Progress> {
        match bytes {
            [0, 3, high, low, data @ ..] => self.on_data(wish, u16::from_be_bytes([*high, *low]), data),
            [0, 6, options @ ..] => {
                self.on_oack(options);
                self.ack()
            }
            [0, 5, _, code, ..] => Err(io::Error::other(format!("ERROR {code} for {}", wish.file))),
            _ => Err(io::Error::other("neither DATA, OACK nor ERROR")),
        }
    }

    fn on_oack(&mut self, options: &[u8]) {
        let mut words = options.split(|&byte| byte == 0).map(|word| str::from_utf8(word).unwrap_or_default());
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            match name {
                "blksize" => self.blksize = value.parse().unwrap_or(512),
                "windowsize" => self.windowsize = value.parse().unwrap_or(1),
                _ => {}
            }
        }
    }

    fn on_data(&mut self, wish: &Wish, block: u16, data: &[u8]) -> io::Result<Progress> {
        if block != (self.block + 1) as u16 {
            // RFC 7440 §4: a gap is told once, with the last block in order; old blocks are passed over.
            let ahead = block.wrapping_sub(self.block as u16);
            if ahead > 1 && ahead <= self.windowsize && !self.has_asked_again {
                self.has_asked_again = true;
                return self.ack();
            }
            return Ok(Progress::Waiting);
        }
        if let Some(content) = &wish.content {
            let at = self.bytes as usize;
            if content.get(at..at + data.len()) != Some(data) {
                return Err(io::Error::other(format!("block {} of {} is wrong", self.block + 1, wish.file)));
            }
        }
        self.block += 1;
        self.in_window += 1;
        self.has_asked_again = false;
        self.bytes += data.len() as u64;
        let is_last = data.len() < self.blksize;
        if is_last || self.in_window == self.windowsize {
            self.ack()?;
        }
        if !is_last {
            return Ok(Progress::Waiting);
        }
        let whole = wish.content.as_ref().is_none_or(|content| content.len() as u64 == self.bytes);
        if whole { Ok(Progress::Done) } else { Err(io::Error::other(format!("{} is cut", wish.file))) }
    }

    fn ack(&mut self) -> io::Result<Progress> {
        self.in_window = 0;
        let [high, low] = (self.block as u16).to_be_bytes();
        self.socket.send(&[0, 4, high, low])?;
        Ok(Progress::Waiting)
    }

    /// Says the last thing again
    pub(crate) fn on_timeout(&mut self, wish: &Wish, now: Instant) -> io::Result<()> {
        self.heard = now;
        if self.is_connected {
            self.ack().map(drop)
        } else {
            self.socket.send_to(&wish.request(&wish.file), wish.server.into()).map(drop)
        }
    }
}
