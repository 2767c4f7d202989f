//! What a received datagram or frame is to the shard: which service, which network, and whether it is for this host.

use std::net::Ipv4Addr;

use super::interfaces::interfaces;
use super::sockets::Sockets;
use super::sys::message::{From, Received};
use crate::boot::plan::Plan;
use crate::proto::outbox::{Datagram, Port};
use crate::stats::DropReason;
use crate::wire::arp;
use crate::wire::frame;

/// A socket that is read
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A UDP socket of that service
    Udp(Port),
    /// DHCP requests on a network
    Dhcp(usize),
    /// ARP replies on a network
    Arp(usize),
}

/// What came in
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// A datagram
    Datagram(Datagram<'a>),
    /// ARP on a network
    Arp(usize, arp::Packet),
}

/// The addresses that a request may be sent to: all of this host, and the broadcast addresses of the networks' links. A packet
/// socket sees what the host forwards, too, and that is for others.
#[derive(Debug)]
pub(super) struct OwnAddresses(Vec<Ipv4Addr>);

impl OwnAddresses {
    /// As they are now
    pub(super) fn of(plan: &Plan) -> Self {
        let interfaces = interfaces();
        let own =
            interfaces.iter().flat_map(|interface| interface.addresses.iter().map(|&(address, _)| address));
        let attached =
            plan.networks().iter().flat_map(|network| &network.subnets).filter(|subnet| subnet.attached);
        let planned = plan.networks().iter().map(|network| network.address);
        let mut all: Vec<_> = own
            .chain(planned)
            .chain(attached.map(|subnet| subnet.cidr.broadcast()))
            .chain([Ipv4Addr::BROADCAST])
            .collect();
        all.sort_unstable();
        all.dedup();
        Self(all)
    }

    fn contains(&self, address: Ipv4Addr) -> bool {
        self.0.binary_search(&address).is_ok()
    }
}

/// Makes an event of what a socket gave
///
/// # Errors
/// Why it is none.
pub(super) fn event<'a>(
    source: Source,
    received: &Received<'a>,
    sockets: &Sockets,
    own: &OwnAddresses,
) -> Result<Event<'a>, DropReason> {
    if received.is_cut {
        return Err(DropReason::NotUdp);
    }
    match (source, received.from) {
        (Source::Udp(port), From::Udp { source, destination, interface }) => {
            let network = match (port, sockets.network(interface)) {
                (_, Some(network)) => network,
                // Boot options are a network's; a file is the same for everyone.
                (Port::BootServer | Port::Dhcp, None) => return Err(DropReason::NotServed),
                (Port::Tftp | Port::Transfer, None) => 0,
            };
            let payload = received.bytes;
            Ok(Event::Datagram(Datagram { port, network, source, destination, source_mac: None, payload }))
        }
        (Source::Dhcp(network), From::Link { interface, raw_checksum, is_tagged }) => {
            let datagram = frame::parse_udp4(received.bytes).map_err(|_| DropReason::NotUdp)?;
            // A VLAN's or bridge's frame is that interface's, though it came in by this one.
            let is_ours = interface == sockets.interface(network) && !is_tagged && datagram.vlan.is_none();
            if !is_ours || !own.contains(*datagram.destination.ip()) {
                return Err(DropReason::NotServed);
            }
            if raw_checksum && !datagram.checksum_ok {
                return Err(DropReason::NotUdp);
            }
            Ok(Event::Datagram(Datagram {
                port: Port::Dhcp,
                network,
                source: datagram.source,
                destination: *datagram.destination.ip(),
                source_mac: Some(datagram.source_mac),
                payload: datagram.payload,
            }))
        }
        (Source::Arp(network), From::Link { interface, is_tagged, .. }) => {
            let packet = arp::Packet::parse_frame(received.bytes).map_err(|_| DropReason::NotUdp)?;
            let is_ours = interface == sockets.interface(network) && !is_tagged;
            if is_ours { Ok(Event::Arp(network, packet)) } else { Err(DropReason::NotServed) }
        }
        _ => Err(DropReason::NotUdp),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::wire::ethernet::MacAddr;
    use crate::wire::frame::Udp4;

    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 1);

    /// Two networks on interfaces 7 and 8
    fn sockets() -> Sockets {
        let tftp = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
        let (links, interfaces) = (Vec::new(), vec![7, 8]);
        Sockets { tftp, transfers: None, http: None, boot_server: None, routed: None, links, interfaces }
    }

    fn own() -> OwnAddresses {
        OwnAddresses(vec![SERVER, Ipv4Addr::BROADCAST])
    }

    fn frame_to(destination: Ipv4Addr) -> Vec<u8> {
        let udp = Udp4 {
            source_mac: MacAddr([2, 0, 0, 0, 0, 5]),
            destination_mac: MacAddr::BROADCAST,
            source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
            destination: SocketAddrV4::new(destination, 67),
        };
        let mut frame = vec![0; 400];
        let len = udp.emit(b"a request", &mut frame).expect("it fits");
        frame.truncate(len);
        frame
    }

    fn dropped(source: Source, received: &Received<'_>) -> Option<DropReason> {
        event(source, received, &sockets(), &own()).err()
    }

    #[test]
    fn frames_are_requests_of_their_own_interface_to_this_host() {
        let from = From::Link { interface: 8, raw_checksum: true, is_tagged: false };
        let broadcast = frame_to(Ipv4Addr::BROADCAST);
        let received = Received { from, bytes: &broadcast, is_cut: false };
        let Ok(Event::Datagram(datagram)) = event(Source::Dhcp(1), &received, &sockets(), &own()) else {
            panic!("a request")
        };
        assert_eq!((datagram.port, datagram.network, datagram.payload), (Port::Dhcp, 1, &b"a request"[..]));
        assert_eq!(datagram.source_mac, Some(MacAddr([2, 0, 0, 0, 0, 5])));

        assert_eq!(dropped(Source::Dhcp(0), &received), Some(DropReason::NotServed), "of a VLAN on top");
        let from = From::Link { interface: 8, raw_checksum: true, is_tagged: true };
        assert_eq!(dropped(Source::Dhcp(1), &Received { from, ..received }), Some(DropReason::NotServed));
        assert_eq!(
            dropped(Source::Dhcp(1), &Received { is_cut: true, ..received }),
            Some(DropReason::NotUdp)
        );
        let forwarded = frame_to(Ipv4Addr::new(10, 0, 0, 9));
        let forwarded = Received { bytes: &forwarded, ..received };
        assert_eq!(dropped(Source::Dhcp(1), &forwarded), Some(DropReason::NotServed), "to another server");
        assert_eq!(dropped(Source::Dhcp(1), &Received { bytes: b"", ..received }), Some(DropReason::NotUdp));
    }

    #[test]
    fn a_wrong_checksum_counts_where_the_wire_carried_it() {
        let mut damaged = frame_to(SERVER);
        *damaged.last_mut().expect("a payload") ^= 1;
        let from = |raw_checksum| From::Link { interface: 7, raw_checksum, is_tagged: false };
        let received = Received { from: from(true), bytes: &damaged, is_cut: false };
        assert_eq!(dropped(Source::Dhcp(0), &received), Some(DropReason::NotUdp));
        let unfinished = Received { from: from(false), ..received };
        assert_eq!(
            dropped(Source::Dhcp(0), &unfinished),
            None,
            "a virtual machine's, with the sum to be done"
        );
    }

    #[test]
    fn files_are_for_everyone_and_boot_options_for_the_networks_served() {
        let source = SocketAddrV4::new(Ipv4Addr::new(192, 168, 99, 5), 2_000);
        let udp = |interface| From::Udp { source, destination: SERVER, interface };
        let received = |interface| Received { from: udp(interface), bytes: b"rrq", is_cut: false };
        let network =
            |port, interface| match event(Source::Udp(port), &received(interface), &sockets(), &own()) {
                Ok(Event::Datagram(datagram)) => Some(datagram.network),
                _ => None,
            };
        assert_eq!(network(Port::Tftp, 8), Some(1));
        assert_eq!(network(Port::Transfer, 3), Some(0));
        assert_eq!(network(Port::BootServer, 8), Some(1));
        assert_eq!(network(Port::BootServer, 3), None);
        let unknown = Received { from: From::Unknown, ..received(8) };
        assert_eq!(dropped(Source::Udp(Port::Tftp), &unknown), Some(DropReason::NotUdp));
    }
}
