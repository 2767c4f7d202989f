//! Any bytes: no panic, and what is answered at all is a reply that every client can read.

use proptest::prelude::*;

use super::*;
use crate::proto::outbox::{Datagram, Port};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_request_is_answered_well_or_not_at_all(
        packets in prop::collection::vec(mutated(), 1..8),
        mode in prop::sample::select(vec![Mode::Full, Mode::TakeOver]),
        has_menu: bool,
        probe: bool,
    ) {
        let mut network = network(mode);
        network.probe = probe;
        let mut world = World::of(if has_menu { plan_with_menu(mode) } else { plan_of(network) });
        for bytes in &packets {
            world.outbox.clear();
            let source = SocketAddrV4::new(FREE, 68);
            let port = Port::Dhcp;
            let datagram =
                Datagram { port, network: 0, source, destination: SERVER, source_mac: None, payload: bytes };
            with_exchange(&world.plan, world.now, &datagram, |exchange| {
                if exchange.service() == Service::Dhcp {
                    world.dhcp.on_request(exchange, &mut world.stats, &mut world.outbox);
                }
            });
            replies(&world.outbox);
            world.now += Duration::from_millis(100);
            world.outbox.clear();
            world.dhcp.on_deadline(world.now, &world.plan, &mut world.stats, &mut world.outbox);
            replies(&world.outbox);
        }
    }
}
