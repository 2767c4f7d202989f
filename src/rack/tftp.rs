//! The TFTP client of the simulated machines: its own reading of RFC 1350, 2347, 2348, 2349 and 7440, since smoltcp has none.
//!
//! It checks each byte against what lies behind the name, and refuses what the strictest firmware refuses.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::expected::Text;
use super::frames::Udp;
use super::outcome::{Failure, Fetched, Outcome};
use super::reach::Io;
use crate::time::{Duration, Instant};

/// An option of an RRQ
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Tsize,
    Blksize(u16),
    Windowsize(u16),
    Timeout(u8),
}

impl Asked {
    /// An option of a captured RRQ; `None`: one that no client here knows what to do with
    pub(crate) fn parse(name: &str, value: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "tsize" => Self::Tsize,
            "blksize" => Self::Blksize(value.parse().ok()?),
            "windowsize" => Self::Windowsize(value.parse().ok()?),
            "timeout" => Self::Timeout(value.parse().ok()?),
            _ => return None,
        })
    }

    fn text(self) -> (&'static str, u64) {
        match self {
            Self::Tsize => ("tsize", 0),
            Self::Blksize(bytes) => ("blksize", bytes.into()),
            Self::Windowsize(blocks) => ("windowsize", blocks.into()),
            Self::Timeout(seconds) => ("timeout", seconds.into()),
        }
    }
}

/// What a firmware does about a block that is not the next one
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnStray {
    /// Nothing: its own timer mends it (U-Boot, iPXE)
    Ignore,
    /// Acknowledges the last block in order again (EDK2, pxelinux)
    AckLast,
    /// Acknowledges an old block by its own number (GRUB)
    AckOld,
}

/// How a firmware fetches by TFTP
#[derive(Debug)]
pub(crate) struct Profile {
    pub options: &'static [Asked],
    /// A size probe before: an RRQ with these options, ended by ERROR 8 at its OACK (EDK2)
    pub probe: Option<&'static [Asked]>,
    /// How long each datagram is waited for
    pub waits_ms: &'static [u64],
    pub on_stray: OnStray,
    /// The text of its ERROR 8
    pub abort: &'static str,
    /// The least blksize that it can work with
    pub blksize_min: u16,
}

/// One file on its way
pub(crate) struct Download {
    profile: &'static Profile,
    server: Ipv4Addr,
    name: String,
    url: String,
    text: Text,
    port: u16,
    is_probe: bool,
    /// The server's transfer identifier
    peer: Option<SocketAddrV4>,
    blksize: u64,
    windowsize: u64,
    tsize: Option<u64>,
    /// Blocks received in order
    blocks: u64,
    unacked: u64,
    got: u64,
    last: Vec<u8>,
    tries: usize,
    repeats: u64,
    pub deadline: Instant,
}

impl Download {
    pub(crate) fn start(profile: &'static Profile, server: Ipv4Addr, name: String, io: &mut Io<'_>) -> Self {
        let mut download = Self {
            profile,
            server,
            url: format!("tftp://{server}/{name}"),
            text: Text::default(),
            name,
            port: 0,
            is_probe: profile.probe.is_some(),
            peer: None,
            blksize: 512,
            windowsize: 1,
            tsize: None,
            blocks: 0,
            unacked: 0,
            got: 0,
            last: Vec::new(),
            tries: 0,
            repeats: 0,
            deadline: Instant::FAR,
        };
        download.ask(io);
        download
    }

    pub(crate) fn progress(&self) -> (&str, u64, Option<u64>) {
        (&self.name, self.got, self.tsize)
    }

    fn asked(&self) -> &'static [Asked] {
        if self.is_probe { self.profile.probe.unwrap_or_default() } else { self.profile.options }
    }

    fn ask(&mut self, io: &mut Io<'_>) {
        self.port = io.new_port();
        let mut request = format!("\0\u{1}{}\0octet\0", self.name);
        for option in self.asked() {
            let (name, value) = option.text();
            request += &format!("{name}\0{value}\0");
        }
        self.last = request.into_bytes();
        self.text.begin();
        self.tries = 0;
        self.send(io);
    }

    fn send(&mut self, io: &mut Io<'_>) {
        let to = self.peer.unwrap_or(SocketAddrV4::new(self.server, 69));
        io.unicast(self.port, to, &self.last);
        let waits = self.profile.waits_ms;
        self.deadline = io.now + Duration::from_millis(waits[self.tries.min(waits.len() - 1)]);
    }

    fn acknowledge(&mut self, io: &mut Io<'_>) {
        let [high, low] = wire(self.blocks).to_be_bytes();
        (self.last, self.unacked, self.tries) = (vec![0, 4, high, low], 0, 0);
        self.send(io);
    }

    fn error(&self, io: &mut Io<'_>, code: u8, text: &str) {
        let to = self.peer.unwrap_or(SocketAddrV4::new(self.server, 69));
        let mut bytes = vec![0, 5, 0, code];
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        io.unicast(self.port, to, &bytes);
    }

    pub(crate) fn on_deadline(&mut self, io: &mut Io<'_>) -> Option<Outcome> {
        self.tries += 1;
        if self.tries == self.profile.waits_ms.len() {
            return Some(Outcome::Failed(Failure::TftpSilence));
        }
        io.retries().tftp += 1;
        if self.blocks > 0 || self.peer.is_some() && self.last.first_chunk() == Some(&[0, 4]) {
            let [high, low] = wire(self.blocks).to_be_bytes();
            (self.last, self.unacked) = (vec![0, 4, high, low], 0);
        }
        self.send(io);
        None
    }

    pub(crate) fn on_udp(&mut self, io: &mut Io<'_>, udp: &Udp<'_>) -> Option<Outcome> {
        if udp.to.port() != self.port {
            return None;
        }
        if udp.from.ip() != &self.server {
            io.refuse("TFTP from another address than was asked");
            return None;
        }
        if self.peer.is_some_and(|peer| peer != udp.from) {
            io.refuse("a transfer that changed its port");
            return None;
        }
        match udp.payload {
            [0, 6, options @ ..] => self.on_oack(io, udp.from, options),
            [0, 3, high, low, payload @ ..] => {
                self.on_data(io, udp.from, u16::from_be_bytes([*high, *low]), payload)
            }
            [0, 5, 0, 1, ..] => Some(Outcome::Missing),
            [0, 5, ..] => Some(Outcome::Failed(Failure::TftpError)),
            _ => {
                io.refuse("a datagram that is no TFTP reply");
                None
            }
        }
    }

    fn on_oack(&mut self, io: &mut Io<'_>, from: SocketAddrV4, options: &[u8]) -> Option<Outcome> {
        if self.blocks > 0 || self.peer.is_some() {
            // Its acknowledgement was lost, or this one is a double.
            self.repeats += 1;
            if self.blocks == 0 {
                self.acknowledge(io);
            }
            return None;
        }
        if let Err(why) = self.agree(options) {
            io.refuse(why);
            self.error(io, 8, "Malformatted OACK packet");
            return Some(Outcome::Failed(Failure::TftpOptions));
        }
        self.peer = Some(from);
        if let Some(size) = self.tsize
            && !io.known.expected.may_be_size(&self.url, size)
        {
            io.refuse("a tsize that is not the file's");
        }
        if self.is_probe {
            self.error(io, 8, self.profile.abort);
            (self.is_probe, self.peer) = (false, None);
            (self.blksize, self.windowsize) = (512, 1);
            self.ask(io);
        } else {
            self.acknowledge(io);
        }
        None
    }

    fn agree(&mut self, options: &[u8]) -> Result<(), &'static str> {
        let text = options.strip_suffix(&[0]).ok_or("an OACK without its last NUL")?;
        let text = std::str::from_utf8(text).map_err(|_| "an OACK that is not text")?;
        let mut parts = text.split('\0');
        let mut any = false;
        while let Some(name) = parts.next() {
            let value = parts
                .next()
                .and_then(|value| value.parse::<u64>().ok())
                .ok_or("an OACK value that is no number")?;
            let is_name = |option: &&Asked| option.text().0.eq_ignore_ascii_case(name);
            let asked = self.asked().iter().find(is_name).ok_or("an OACK option that was not asked for")?;
            any = true;
            match asked {
                Asked::Tsize => self.tsize = Some(value),
                Asked::Blksize(most)
                    if value > u64::from(*most) || value < u64::from(self.profile.blksize_min) =>
                {
                    return Err("a blksize beyond what was asked for");
                }
                Asked::Blksize(_) => self.blksize = value,
                Asked::Windowsize(most) if value > u64::from(*most) || value == 0 => {
                    return Err("a windowsize beyond what was asked for");
                }
                Asked::Windowsize(_) => self.windowsize = value,
                Asked::Timeout(seconds) if value != u64::from(*seconds) => {
                    return Err("another timeout than was asked for");
                }
                Asked::Timeout(_) => {}
            }
        }
        if any { Ok(()) } else { Err("an empty OACK") }
    }

    fn on_data(
        &mut self,
        io: &mut Io<'_>,
        from: SocketAddrV4,
        number: u16,
        payload: &[u8],
    ) -> Option<Outcome> {
        if self.is_probe {
            io.refuse("DATA in place of a size: EDK2 fails");
            return Some(Outcome::Failed(Failure::TftpOptions));
        }
        if number != wire(self.blocks + 1) {
            self.on_stray(io, number);
            return None;
        }
        self.peer = Some(from);
        let len = payload.len() as u64;
        if len > self.blksize {
            io.refuse("a block longer than the blksize");
            return None;
        }
        if !io.known.expected.holds(&self.url, self.got, payload) {
            io.refuse("bytes that are not the file's");
            return Some(Outcome::Failed(Failure::WrongBytes));
        }
        self.blocks += 1;
        self.unacked += 1;
        self.got += len;
        self.text.push(payload);
        io.received(len);
        let is_last = len < self.blksize;
        if is_last || self.unacked >= self.windowsize {
            self.acknowledge(io);
        } else {
            self.tries = 0;
            self.deadline = io.now + Duration::from_millis(self.profile.waits_ms[0]);
        }
        is_last.then(|| self.finish(io))
    }

    fn finish(&mut self, io: &mut Io<'_>) -> Outcome {
        io.transferred(self.blocks, self.repeats);
        let is_announced = self.tsize.is_none_or(|size| size == self.got);
        if is_announced && io.known.expected.ends_at(&self.url, self.got) {
            Outcome::Fetched(Fetched { name: self.name.clone(), text: self.text.end() })
        } else {
            io.refuse("a file that ends too early");
            Outcome::Failed(Failure::WrongBytes)
        }
    }

    fn on_stray(&mut self, io: &mut Io<'_>, number: u16) {
        // Within half the numbers behind: an old block. Ahead: one before it was lost.
        let is_old = wire(self.blocks).wrapping_sub(number) < 0x8000;
        self.repeats += u64::from(is_old);
        match self.profile.on_stray {
            OnStray::AckOld if is_old && self.peer.is_some() => {
                let [high, low] = number.to_be_bytes();
                let to = self.peer.unwrap_or(SocketAddrV4::new(self.server, 69));
                io.unicast(self.port, to, &[0, 4, high, low]);
            }
            OnStray::AckLast if self.peer.is_some() => {
                // EDK2 counts its window anew from here.
                let tries = self.tries;
                self.acknowledge(io);
                self.tries = tries;
            }
            _ => {}
        }
    }
}

/// A block's number on the wire: it wraps from 65535 to 0
fn wire(block: u64) -> u16 {
    u16::try_from(block & 0xffff).unwrap_or_default()
}
