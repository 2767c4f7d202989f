//! What was tapped, as Ethernet frames: headers written, payloads as far as they were kept.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use zerocopy::IntoBytes;

use crate::boot::plan::Plan;
use crate::io::tap::{Segment, Tapped, What};
use crate::limits::CAPTURED_CLIENTS_MAX;
use crate::proto::outbox::Window;
use crate::wire::dhcp::{BOOTREPLY, Message, PXE_PORT, SERVER_PORT};
use crate::wire::ethernet::{self, MacAddr};
use crate::wire::{ipv4, tcp, tftp, udp};

/// The most that one segment of a connection carries: what an IPv4 packet has room for
const SEGMENT_MAX: usize = u16::MAX as usize - ipv4::HEADER_LEN - tcp::HEADER_LEN;

/// One frame, as far as it was kept
pub(super) struct Frame<'f> {
    pub(super) network: u32,
    pub(super) bytes: &'f [u8],
    pub(super) original_len: usize,
}

/// Whether a port of the server is one of DHCP's
pub(super) fn is_dhcp(port: u16) -> bool {
    matches!(port, SERVER_PORT | PXE_PORT)
}

/// Makes frames; knows the plan's networks, and learns its clients' hardware addresses
pub(super) struct Frames {
    networks: Vec<(Ipv4Addr, MacAddr)>,
    macs: HashMap<Ipv4Addr, MacAddr>,
    bytes: Vec<u8>,
}

/// From whom a packet goes to whom
struct Way {
    network: usize,
    from: SocketAddrV4,
    to: SocketAddrV4,
    macs: (MacAddr, MacAddr),
}

impl Frames {
    pub(super) fn new(plan: &Plan) -> Self {
        let networks = plan.networks().iter().map(|network| (network.address, network.mac)).collect();
        Self { networks, macs: HashMap::new(), bytes: Vec::new() }
    }

    /// Makes the frames of what was tapped, one after another
    pub(super) fn each<E>(
        &mut self,
        tapped: &Tapped,
        keep: &mut dyn FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match &tapped.what {
            What::Asked { from, mac, to, payload, len } => {
                let way = self.way(tapped, *from, *to, *mac, true);
                self.udp(&way, payload, *len, keep)
            }
            What::Answered { from, to, mac, payload } => {
                self.learn(from.port(), payload);
                let way = self.way(tapped, *from, *to, *mac, false);
                self.udp(&way, payload, payload.len(), keep)
            }
            What::Blocks { from, to, window } => {
                let way = self.way(tapped, *from, *to, None, false);
                blocks(window).try_for_each(|(number, len)| {
                    let header = tftp::emit_data_header(number);
                    self.udp(&way, &header, header.len() + len, keep)
                })
            }
            What::Segment(segment) => self.segments(tapped, segment, keep),
            What::Decided => Ok(()),
        }
    }

    /// Who uses an address that is given
    fn learn(&mut self, port: u16, payload: &[u8]) {
        let Some(message) = is_dhcp(port).then(|| Message::parse(payload).ok()).flatten() else { return };
        let header = message.header();
        if let Some(mac) =
            message.mac().filter(|_| header.op == BOOTREPLY && !header.yiaddr().is_unspecified())
        {
            if self.macs.len() == CAPTURED_CLIENTS_MAX {
                self.macs.clear();
            }
            self.macs.insert(header.yiaddr(), mac);
        }
    }

    /// `mac`: the client's side, where it was seen or chosen
    fn way(
        &self,
        tapped: &Tapped,
        from: SocketAddrV4,
        to: SocketAddrV4,
        mac: Option<MacAddr>,
        is_asked: bool,
    ) -> Way {
        let (client, server) = if is_asked { (*from.ip(), *to.ip()) } else { (*to.ip(), *from.ip()) };
        let network = tapped
            .network
            .or_else(|| self.networks.iter().position(|(address, _)| *address == server))
            .filter(|&network| network < self.networks.len())
            .unwrap_or(0);
        let own = self.networks.get(network).map_or(MacAddr::ZERO, |(_, mac)| *mac);
        let known = || self.macs.get(&client).copied();
        let theirs = mac.or_else(known).unwrap_or(if client.is_broadcast() {
            MacAddr::BROADCAST
        } else {
            MacAddr::ZERO
        });
        let own_side = if is_asked && server.is_broadcast() { MacAddr::BROADCAST } else { own };
        Way { network, from, to, macs: if is_asked { (theirs, own_side) } else { (own, theirs) } }
    }

    fn udp<E>(
        &mut self,
        way: &Way,
        kept: &[u8],
        len: usize,
        keep: &mut dyn FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let header = if kept.len() == len {
            let pair = |address: SocketAddrV4| (*address.ip(), address.port());
            udp::Header::new(pair(way.from), pair(way.to), kept)
        } else {
            udp::Header::unsummed(way.from.port(), way.to.port(), len)
        };
        let Some(header) = header else { return Ok(()) };
        self.frame(way, ipv4::UDP, header.as_bytes(), kept, len, keep)
    }

    fn segments<E>(
        &mut self,
        tapped: &Tapped,
        segment: &Segment,
        keep: &mut dyn FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (from, to) = if segment.is_asked {
            (segment.client, segment.server)
        } else {
            (segment.server, segment.client)
        };
        let way = self.way(tapped, from, to, None, segment.is_asked);
        let (mut sequence, acknowledgement) = segment.numbers;
        let (mut kept, mut left) = (&*segment.payload, segment.len);
        loop {
            let len = left.min(SEGMENT_MAX);
            let (part, others) = kept.split_at(kept.len().min(len));
            let mut header = tcp::Header::new(from, to, (sequence, acknowledgement), segment.flags, part);
            if part.len() < len {
                // The sum would be over bytes that were not kept.
                header.checksum = 0.into();
            }
            self.frame(&way, ipv4::TCP, header.as_bytes(), part, len, keep)?;
            kept = others;
            left -= len;
            sequence = sequence.wrapping_add(u32::try_from(len).unwrap_or_default());
            if left == 0 {
                return Ok(());
            }
        }
    }

    fn frame<E>(
        &mut self,
        way: &Way,
        protocol: u8,
        header: &[u8],
        kept: &[u8],
        len: usize,
        keep: &mut dyn FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let ip = ipv4::Header::new(protocol, *way.from.ip(), *way.to.ip(), header.len() + len);
        // Longer than any packet: nobody can have sent it.
        let Some(ip) = ip else { return Ok(()) };
        let link = ethernet::Header {
            destination: way.macs.1,
            source: way.macs.0,
            ethertype: ethernet::IPV4.into(),
        };
        self.bytes.clear();
        for part in [link.as_bytes(), ip.as_bytes(), header, kept] {
            self.bytes.extend_from_slice(part);
        }
        let original_len = self.bytes.len() - kept.len() + len;
        let network = u32::try_from(way.network).unwrap_or_default();
        keep(Frame { network, bytes: &self.bytes, original_len })
    }
}

/// Numbers and lengths of a window's blocks
fn blocks(window: &Window) -> impl Iterator<Item = (u16, usize)> {
    let (blksize, len) = (usize::from(window.blksize), window.len as usize);
    let first = window.first_block;
    (0..window.blocks).map(move |block| {
        let before = usize::from(block) * blksize;
        (first.wrapping_add(block), len.saturating_sub(before).min(blksize))
    })
}
