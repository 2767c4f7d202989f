//! Probes for address conflicts: one offer waits, nobody else.

use super::*;
use crate::limits::{PROBE_WAIT, PROBES_MAX};
use crate::proto::outbox::Body;

const INTRUDER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x66]);

impl World {
    fn probing() -> Self {
        Self::with_network(|network| network.probe = true)
    }

    /// The address that was just asked for by ARP
    fn probed(&self) -> Option<Ipv4Addr> {
        let frames = self.outbox.slots().iter().filter(|slot| matches!(slot.body, Body::Frame(_)));
        let probe = frames.map(|slot| arp::Packet::parse_frame(slot.bytes()).unwrap()).next()?;
        assert_eq!((probe.sender_ip, probe.sender_mac), (Ipv4Addr::UNSPECIFIED, network(Mode::Full).mac));
        Some(probe.target_ip)
    }

    fn wait(&mut self) -> Option<Reply> {
        self.outbox.clear();
        self.now += PROBE_WAIT;
        self.dhcp.on_deadline(self.now, &self.plan, &mut self.stats, &mut self.outbox);
        replies(&self.outbox).pop()
    }

    fn hear(&mut self, address: Ipv4Addr, holder: MacAddr) {
        self.outbox.clear();
        self.dhcp.on_arp(self.now, 0, address, holder, &mut self.outbox);
    }
}

#[test]
fn a_new_address_is_offered_when_nobody_answers_for_it() {
    let mut world = World::probing();
    assert!(world.ask(&discover()).is_none());
    let address = world.probed().unwrap();
    assert_eq!(world.dhcp.next_deadline(), Some(NOW + PROBE_WAIT));
    let offer = world.wait().unwrap();
    assert_eq!((offer.yiaddr, world.got()), (address, Got::Offer(address)));
    assert_eq!(world.dhcp.next_deadline(), None);
}

#[test]
fn a_retry_is_answered_once_with_its_newer_xid_and_not_probed_again() {
    let mut world = World::probing();
    world.ask(&discover());
    let mut retry = discover();
    retry.header.xid = 7.into();
    assert!(world.ask(&retry).is_none());
    assert_eq!((world.probed(), world.stats.dropped(DropReason::Probing)), (None, 1));
    assert!(world.wait().is_some());
    let slot = &world.outbox.slots()[0];
    assert_eq!((&slot.bytes()[4..8], world.outbox.slots().len()), (&[0, 0, 0, 7][..], 1));
    // From now on it is known.
    assert!(world.ask(&discover()).is_some());
}

#[test]
fn somebody_elses_address_is_set_aside_and_another_is_probed_and_offered() {
    let mut world = World::probing();
    world.ask(&discover());
    let taken = world.probed().unwrap();
    world.hear(taken, INTRUDER);
    assert_eq!(world.advice(), [Advice::AddressInUse { address: taken }]);
    assert_eq!(world.outbox.changes().len(), 1);
    assert_eq!(world.dhcp.next_deadline(), Some(world.now));

    world.outbox.clear();
    world.dhcp.on_deadline(world.now, &world.plan, &mut world.stats, &mut world.outbox);
    let second = world.probed().unwrap();
    assert_ne!(second, taken);
    assert_eq!(world.wait().unwrap().yiaddr, second);
}

#[test]
fn the_client_itself_may_answer() {
    let mut world = World::probing();
    world.ask(&discover());
    let address = world.probed().unwrap();
    world.hear(address, MAC);
    assert_eq!((world.advice().len(), world.wait().unwrap().yiaddr), (0, address));
}

#[test]
fn nobody_waits_for_anothers_probe() {
    let mut world = World::probing();
    world.ask(&discover());
    let known = Request::rom(MessageType::Discover, Arch::X64_UEFI).mac(NODE);
    assert_eq!(world.ask(&known).unwrap().yiaddr, RESERVED, "a reservation is not probed");
}

#[test]
fn relayed_clients_are_not_probed() {
    assert!(World::probing().ask(&discover().relayed()).is_some());
}

#[test]
fn a_full_table_makes_offers_at_once() {
    let mut world = World::with_network(|network| {
        network.probe = true;
        network.subnets[0].cidr = crate::boot::plan::Cidr::new(Ipv4Addr::new(192, 168, 96, 0), 20);
        network.subnets[0].pools[0].first = Ipv4Addr::new(192, 168, 97, 1);
    });
    let mut request = discover().mac(MacAddr([2, 0, 0, 0, 0, 0]));
    for i in 0..=PROBES_MAX {
        request.header.chaddr[4..6].copy_from_slice(&u16::try_from(i).unwrap().to_be_bytes());
        assert_eq!(world.ask(&request).is_some(), i == PROBES_MAX);
    }
}

#[test]
fn arp_of_no_concern_changes_nothing() {
    let mut world = World::probing();
    world.ask(&discover());
    world.hear(ROUTER, INTRUDER);
    assert!(world.outbox.notes().is_empty() && world.outbox.changes().is_empty());
    let address = world.wait().unwrap().yiaddr;
    world.hear(address, INTRUDER);
    assert!(world.outbox.changes().is_empty());
}
