//! The other people's boxes on a rack's links: a DHCP server that knows nothing of booting, and a relay that is also a router.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::wire::DhcpPacket;

use super::frames::{BROADCAST, Heard, Udp, forward, parse};
use super::message::{ACK, DISCOVER, Message, OFFER, Options, REQUEST, addressee, request};
use super::site::{OTHER_MAC, RELAY_MAC, SERVER_MAC};
use crate::wire::ethernet::MacAddr;

/// A DHCP server that gives addresses and nothing else
pub(crate) struct OtherServer {
    address: Ipv4Addr,
    netmask: Ipv4Addr,
    next: u32,
    given: HashMap<MacAddr, Ipv4Addr>,
}

impl OtherServer {
    pub(crate) fn new(address: Ipv4Addr, netmask: Ipv4Addr, first: Ipv4Addr) -> Self {
        Self { address, netmask, next: first.to_bits(), given: HashMap::new() }
    }

    /// Its answer to a broadcast, if it has one
    pub(crate) fn on_udp(&mut self, udp: &Udp<'_>) -> Option<Vec<u8>> {
        if udp.to.port() != 67 {
            return None;
        }
        let (kind, mac, xid, asked) = request(udp.payload)?;
        let named =
            |code| asked.0.iter().find(|(known, _)| *known == code).map(|(_, value)| value.as_slice());
        let answer = match kind {
            DISCOVER => OFFER,
            REQUEST if named(54) == Some(&self.address.octets()) => ACK,
            _ => return None,
        };
        let address = *self.given.entry(mac).or_insert_with(|| {
            self.next += 1;
            Ipv4Addr::from_bits(self.next - 1)
        });
        let own = self.address.octets();
        let mut options = Options::default();
        options.add(53, [answer]).add(54, own).add(51, 43_200_u32.to_be_bytes());
        options.add(1, self.netmask.octets()).add(3, own);
        let broadcast = DhcpPacket::new_checked(udp.payload).ok()?.flags().bits() != 0;
        let message = Message {
            is_reply: true,
            xid,
            broadcast,
            mac,
            yiaddr: Some(address),
            siaddr: Some(self.address),
            options,
            padded_to: 300,
            ..Message::default()
        };
        let to = if broadcast { Ipv4Addr::BROADCAST } else { address };
        let frame = Udp {
            from_mac: OTHER_MAC,
            to_mac: if broadcast { BROADCAST } else { mac },
            from: SocketAddrV4::new(self.address, 67),
            to: SocketAddrV4::new(to, 68),
            payload: &message.emit(),
        };
        Some(frame.emit())
    }
}

/// A relay agent (RFC 1542 §4), which routes its subnet's other traffic too
pub(crate) struct Relay {
    pub address: Ipv4Addr,
    pub server: Ipv4Addr,
}

impl Relay {
    /// A client's frame, as the server gets it
    pub(crate) fn to_server(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let Some(Heard::Udp(udp)) = parse(frame) else { return None };
        if !udp.to.ip().is_broadcast() {
            return forward(frame, RELAY_MAC, SERVER_MAC[0]);
        }
        let mut payload = udp.payload.to_vec();
        let mut packet = DhcpPacket::new_checked(&mut payload[..]).ok()?;
        let hops = packet.hops() + 1;
        packet.set_hops(hops);
        packet.set_relay_agent_ip(self.address);
        let from = SocketAddrV4::new(self.address, 67);
        let to = SocketAddrV4::new(self.server, 67);
        Some(Udp { from_mac: RELAY_MAC, to_mac: SERVER_MAC[0], from, to, payload: &payload }.emit())
    }

    /// A server's frame, and which of `machines` gets it how
    pub(crate) fn to_client(
        &self,
        frame: &[u8],
        neighbour: impl Fn(Ipv4Addr) -> Option<MacAddr>,
    ) -> Option<(MacAddr, Vec<u8>)> {
        let Some(Heard::Udp(udp)) = parse(frame) else { return None };
        if *udp.to.ip() != self.address {
            let mac = neighbour(*udp.to.ip())?;
            return Some((mac, forward(frame, RELAY_MAC, mac)?));
        }
        let (_, mac) = addressee(udp.payload)?;
        let packet = DhcpPacket::new_checked(udp.payload).ok()?;
        let broadcast = packet.flags().bits() != 0;
        let to = if broadcast { Ipv4Addr::BROADCAST } else { packet.your_ip() };
        let frame = Udp {
            from_mac: RELAY_MAC,
            to_mac: if broadcast { BROADCAST } else { mac },
            from: SocketAddrV4::new(self.address, 67),
            to: SocketAddrV4::new(to, 68),
            payload: udp.payload,
        };
        Some((mac, frame.emit()))
    }
}
