//! Offers held back while their address is probed for a conflict (RFC 2131 §2.2, RFC 5227).
//!
//! The request waits here, as bytes, and is answered anew when its time is up or somebody says that the address is
//! taken; nobody else waits for it. Only an address new to its client is probed, once: after that it is held for it, and
//! the hold is the memory of the probe. An address behind a relay cannot be: ARP does not pass, and an echo would be
//! a round trip of unknown length. Reserved addresses are the operator's word, and are not.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::limits::{PROBE_WAIT, PROBES_MAX, UDP_PAYLOAD_MAX};
use crate::proto::outbox::{Datagram, Port};
use crate::time::Instant;
use crate::wire::ethernet::MacAddr;

/// One offer held back
#[derive(Clone, Debug)]
pub(super) struct Probe {
    /// The address on offer
    pub(super) address: Ipv4Addr,
    /// Who is to get it
    pub(super) client: MacAddr,
    due: Instant,
    network: usize,
    source: SocketAddrV4,
    destination: Ipv4Addr,
    source_mac: Option<MacAddr>,
    len: usize,
    payload: [u8; UDP_PAYLOAD_MAX],
}

impl Probe {
    /// The request that is to be answered
    pub(super) fn datagram(&self) -> Datagram<'_> {
        Datagram {
            port: Port::Dhcp,
            network: self.network,
            source: self.source,
            destination: self.destination,
            source_mac: self.source_mac,
            payload: &self.payload[..self.len],
        }
    }

    fn keep(&mut self, datagram: &Datagram<'_>) {
        // What lies behind an Ethernet frame's worth is padding: no option area of a request is that long.
        self.len = datagram.payload.len().min(UDP_PAYLOAD_MAX);
        self.payload[..self.len].copy_from_slice(&datagram.payload[..self.len]);
        (self.network, self.source) = (datagram.network, datagram.source);
        (self.destination, self.source_mac) = (datagram.destination, datagram.source_mac);
    }
}

/// All offers held back, the oldest first: every probe waits as long
#[derive(Debug)]
pub(super) struct Probes {
    waiting: VecDeque<Probe>,
}

impl Probes {
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::with_capacity(PROBES_MAX) }
    }

    /// Holds an offer back; `false` where there is no room, so that it is made at once, unprobed
    pub(super) fn begin(
        &mut self,
        now: Instant,
        address: Ipv4Addr,
        client: MacAddr,
        datagram: &Datagram<'_>,
    ) -> bool {
        if self.waiting.len() == PROBES_MAX {
            return false;
        }
        let mut probe = Probe {
            address,
            client,
            due: now + PROBE_WAIT,
            network: 0,
            source: datagram.source,
            destination: datagram.destination,
            source_mac: None,
            len: 0,
            payload: [0; UDP_PAYLOAD_MAX],
        };
        probe.keep(datagram);
        self.waiting.push_back(probe);
        true
    }

    /// The client asked again while its offer waits: the newer request is the one to answer, since its `xid` may differ
    pub(super) fn renew(&mut self, address: Ipv4Addr, client: MacAddr, datagram: &Datagram<'_>) -> bool {
        let found = self.waiting.iter_mut().find(|probe| (probe.address, probe.client) == (address, client));
        let is_waiting = found.is_some();
        if let Some(probe) = found {
            probe.keep(datagram);
        }
        is_waiting
    }

    /// `holder` says that `address` is its own: the offer that waits for it, where there is one. The client itself may
    /// say so (RFC 5227 §2.1.1 excepts the own hardware address; Windows PE answers before it has asked).
    pub(super) fn on_arp(&mut self, network: usize, address: Ipv4Addr, holder: MacAddr) -> Option<Probe> {
        let at = self.waiting.iter().position(|probe| {
            (probe.network, probe.address) == (network, address) && probe.client != holder
        })?;
        self.waiting.remove(at)
    }

    /// Puts an offer back, due at once: to be answered with another address
    pub(super) fn answer_anew(&mut self, now: Instant, probe: Probe) {
        self.waiting.push_front(Probe { due: now, address: Ipv4Addr::UNSPECIFIED, ..probe });
    }

    /// When the next offer is due
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|probe| probe.due)
    }

    /// The next offer that is due
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Probe> {
        let is_due = self.next_deadline().is_some_and(|due| due <= now);
        is_due.then(|| self.waiting.pop_front()).flatten()
    }
}
