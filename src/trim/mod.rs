//! `reveille trim`: a capture cut to its boot conversations, without contents, and its machines under other names.
//!
//! For who shows a capture to strangers. DHCP, port 4011, TFTP and HTTP stay, of files only the heads with the length that
//! each packet had; everything else goes. Addresses, host names, UUIDs and serial numbers become others of the same length,
//! the same ones throughout, wherever they stand: headers, options, the names that loaders ask for, URLs. Masks still fit,
//! vendors can still be told by their MAC addresses, and `replay` answers as before. Checksums are made anew, or left out
//! where a packet was cut.
//!
//! A DHCP or TFTP packet that is none by its contents is cut to its headers, and counted: nobody knows where names stand in it.
//! What else it does not know it scrambles, but it cannot know what a file's name gives away: look at the result before it is sent.
//!
//! - `flows`: which packets stay, and how much of them; `names`: who is called what; `text`, `dhcp`: where names stand
//!
//! It opens no file, and never makes a packet longer or shorter than it was.

mod dhcp;
mod flows;
mod names;
mod text;

use std::fmt;
use std::io::{self, Write};

use zerocopy::IntoBytes;

use self::flows::{Flows, Kept, Place};
use self::names::Names;
use crate::wire::checksum::Sum;
use crate::wire::pcap::{self, Blocks, Carried, LinkType, Packet, Reader, Transport};
use crate::wire::{ethernet, tcp, tftp, udp};

/// What was done
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Packets of the capture, up to its damage
    pub packets: usize,
    /// Those that are kept
    pub kept: usize,
    /// Those of them that nobody understands, of which only the headers are
    pub cut: usize,
    /// Where the capture ends before its end
    pub damage: Option<pcap::Error>,
}

impl fmt::Display for Trimmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} packets are kept", self.kept, self.packets)?;
        if self.cut > 0 {
            write!(f, "; of {} that are malformed only the headers", self.cut)?;
        }
        self.damage.map_or(Ok(()), |damage| write!(f, "; the capture is damaged behind them: {damage}"))
    }
}

/// Why there is no result
#[derive(Debug)]
pub enum Error {
    /// The file is no capture
    Capture(pcap::Error),
    /// It could not be written
    Write(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capture(error) => error.fmt(f),
            Self::Write(error) => write!(f, "cannot be written: {error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Trims a capture into a pcapng file. `key` decides the new names, and whoever knows it can find the old ones; `None`: names
/// stay as they are.
///
/// # Errors
/// Where it is no capture, or the result cannot be written.
pub fn run(capture: &[u8], key: Option<u64>, file: impl Write) -> Result<Trimmed, Error> {
    let reader = Reader::new(capture).map_err(Error::Capture)?;
    let mut trimmed = Trimmed::default();
    let mut packets = Vec::new();
    for packet in reader {
        match packet {
            Ok(packet) => packets.push(packet),
            Err(damage) => trimmed.damage = Some(damage),
        }
    }
    trimmed.packets = packets.len();
    let mut flows = Flows::default();
    let mut names = key.map(Names::new);
    for carried in packets.iter().filter_map(Packet::carried) {
        flows.learn(&carried);
        if let Some(names) = &mut names {
            dhcp::learn(&carried, names);
        }
    }
    let mut blocks = Blocks::new(file, concat!("reveille trim ", env!("CARGO_PKG_VERSION")))?;
    let interface = blocks.interface("capture")?;
    let mut frame = Vec::new();
    for packet in &packets {
        let Some(carried) = packet.carried() else { continue };
        let Some(mut kept) = flows.keep(&carried) else { continue };
        if names.is_some() && !is_understood(&carried, &kept) {
            trimmed.cut += 1;
            kept.payload_len = 0;
        }
        let original_len = compose(packet, &carried, &kept, names.as_mut(), &mut frame);
        blocks.packet(interface, packet.time_us, &frame, original_len, [])?;
        trimmed.kept += 1;
    }
    blocks.flush()?;
    Ok(trimmed)
}

/// Whether it is known where names stand in a packet
fn is_understood(carried: &Carried<'_>, kept: &Kept) -> bool {
    match kept.place {
        Place::Dhcp => dhcp::is_understood(carried.payload, carried.is_cut()),
        Place::Tftp => tftp::parse(carried.payload).is_ok(),
        Place::Http => true,
    }
}

/// Writes what is kept of a packet as an Ethernet frame; returns the length that it had
fn compose(
    packet: &Packet<'_>,
    carried: &Carried<'_>,
    kept: &Kept,
    names: Option<&mut Names>,
    frame: &mut Vec<u8>,
) -> usize {
    frame.clear();
    let original_len = usize::try_from(packet.original_len).unwrap_or(usize::MAX).max(packet.data.len());
    let (link, ip) = packet.data.split_at(carried.packet_at);
    if packet.link == LinkType::Ethernet {
        frame.extend_from_slice(link);
    } else {
        let link = ethernet::Header {
            destination: ethernet::MacAddr::ZERO,
            source: ethernet::MacAddr::ZERO,
            ethertype: ethernet::IPV4.into(),
        };
        frame.extend_from_slice(link.as_bytes());
    }
    let at = frame.len();
    let headers_len = (carried.ip_header_len + carried.header_len).min(ip.len());
    frame.extend_from_slice(&ip[..headers_len + kept.payload_len]);
    if let Some(names) = names {
        rename(frame, (at, headers_len), kept, names);
    }
    finish(&mut frame[at..], carried, kept.payload_len == carried.len);
    original_len - link.len() + at
}

/// Puts other names into a frame whose IPv4 header begins `at`, `headers_len` before its payload
fn rename(frame: &mut [u8], (at, headers_len): (usize, usize), kept: &Kept, names: &mut Names) {
    for mac in [0..6, 6..12] {
        names.mac(&mut frame[mac]);
    }
    let packet = &mut frame[at..];
    for address in [12..16, 16..20] {
        names.address(&mut packet[address]);
    }
    let payload = &mut packet[headers_len..];
    match kept.place {
        Place::Dhcp => dhcp::rename(payload, names),
        Place::Tftp => text::rename(payload, names),
        Place::Http => text::rename_head(payload, kept.is_inside_name, names),
    }
}

/// Makes the checksums anew
fn finish(packet: &mut [u8], carried: &Carried<'_>, is_whole: bool) {
    let (header, rest) = packet.split_at_mut(carried.ip_header_len);
    header[10..12].fill(0);
    let sum = Sum::default().bytes(header).finish();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let four = |at: usize| header.get(at..).and_then(<[u8]>::first_chunk::<4>).copied().unwrap_or_default();
    let (source, destination) = (four(12).into(), four(16).into());
    let (header, payload) = rest.split_at_mut(carried.header_len.min(rest.len()));
    let (place, sum) = if let Transport::Tcp(_) = carried.transport {
        header[16..18].fill(0);
        (16..18, tcp::checksum(source, destination, header, payload))
    } else {
        // None at all stays none.
        let is_summed = header[6..8] != [0; 2];
        let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let udp = udp::Header::new((source, port(0)), (destination, port(2)), payload);
        (6..8, udp.filter(|_| is_summed).map_or(0, |udp| udp.checksum.get()))
    };
    header[place].copy_from_slice(&if is_whole { sum } else { 0 }.to_be_bytes());
}
