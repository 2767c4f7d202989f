//! A plan that is swapped while clients ask: the next reply is the new plan's, though the last one's are kept composed.

#[path = "support/rig.rs"]
mod rig;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder};
use reveille::boot::plan::Mode;
use reveille::proto::outbox::Port;
use rig::{CLIENT, Rig, SERVER, rom_message};

/// What a plan can change in a reply: DNS server and boot file
type Told = (Option<Ipv4Addr>, String);

/// What the one reply in the outbox says
fn told(rig: &mut Rig) -> Told {
    let slots = rig.outbox.slots();
    assert_eq!(slots.len(), 1, "one reply");
    let reply = Message::decode(&mut Decoder::new(slots[0].bytes())).expect("dhcproto reads it");
    let dns = match reply.opts().get(OptionCode::DomainNameServer) {
        Some(DhcpOption::DomainNameServer(servers)) => servers.first().copied(),
        _ => None,
    };
    let file = reply.fname().map(|name| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned());
    rig.drain();
    (dns, file.unwrap_or_default())
}

#[test]
fn no_reply_is_of_a_plan_that_was_replaced() {
    let mut rig = Rig::new("reload");
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
    let discover = rom_message(1, MessageType::Discover, &[]);
    for round in 0..40_u8 {
        let (dns, file) =
            (Ipv4Addr::new(10, 77, 0, round), ["bootx64.efi", "snponly.efi"][usize::from(round % 2)]);
        // The new plan may well lie where the last but one did.
        rig.shard.on_plan(Arc::new(rig::plan_with(Mode::Full, file, dns)));
        for _ in 0..2 {
            rig.datagram(Port::Dhcp, any, &discover);
            assert_eq!(told(&mut rig), (Some(dns), file.to_owned()), "OFFER of round {round}");
        }
        rig.shard.on_plan(Arc::new(rig::plan_with(Mode::Proxy, file, dns)));
        for _ in 0..2 {
            rig.datagram(Port::Dhcp, any, &discover);
            // By EDK2's way a proxy's offer names no file: it is asked for on 4011.
            assert_eq!(told(&mut rig).0, None, "proxy OFFER of round {round}");
            let at_4011 = rom_message(1, MessageType::Request, &[]);
            rig.datagram(Port::BootServer, SocketAddrV4::new(CLIENT, 4011), &at_4011);
            assert_eq!(told(&mut rig), (None, file.to_owned()), "boot server's ACK of round {round}");
        }
    }
    assert_eq!(rig.shard.plan().networks()[0].address, SERVER);
}
