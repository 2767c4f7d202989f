//! The DHCP server, rule by rule.

mod boot;
mod hostile;
mod probes;

use std::net::{Ipv4Addr, SocketAddrV4};

use super::*;
use crate::boot::client::Arch;
use crate::proto::reply::testing::*;
use crate::time::Instant;
use crate::wire::dhcp::Header;

const OFFER: Option<u8> = Some(2);
const ACK: Option<u8> = Some(5);
const NAK: Option<u8> = Some(6);
/// In the pool, given to nobody
const FREE: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 77);
const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 2);

/// A server, its plan, and what it did last
struct World {
    plan: Plan,
    dhcp: Dhcp,
    stats: Stats,
    outbox: Outbox,
    now: Instant,
}

impl World {
    fn new(mode: Mode) -> Self {
        Self::of(plan(mode))
    }

    fn of(plan: Plan) -> Self {
        Self {
            plan,
            dhcp: Dhcp::new(Leases::new(1000)),
            stats: Stats::new(),
            outbox: Outbox::new(),
            now: NOW,
        }
    }

    fn with_network(change: impl FnOnce(&mut crate::boot::plan::Network)) -> Self {
        let mut network = network(Mode::Full);
        change(&mut network);
        Self::of(plan_of(network))
    }

    /// What it replies to one request
    fn ask(&mut self, request: &Request) -> Option<Reply> {
        self.outbox.clear();
        with_request(&self.plan, self.now, request, |exchange| {
            assert_eq!(exchange.service(), Service::Dhcp);
            self.dhcp.on_request(exchange, &mut self.stats, &mut self.outbox);
        });
        assert!(got(&self.outbox).len() <= 1, "one decision");
        replies(&self.outbox).pop()
    }

    /// DISCOVER and REQUEST: the address that it then has
    fn bind(&mut self, discover: &Request) -> Ipv4Addr {
        let offer = self.ask(discover).expect("an offer");
        let request = take(discover, offer.yiaddr);
        let ack = self.ask(&request).expect("an acknowledgement");
        assert_eq!((ack.message_type(), ack.yiaddr), (ACK, offer.yiaddr));
        ack.yiaddr
    }

    fn got(&self) -> Got {
        got(&self.outbox)[0]
    }

    fn advice(&self) -> Vec<Advice> {
        let advice = |note: &Note| if let Note::Advice(advice) = note { Some(*advice) } else { None };
        self.outbox.notes().iter().filter_map(advice).collect()
    }
}

/// The REQUEST that takes the offer of `address` to this DISCOVER
fn take(discover: &Request, address: Ipv4Addr) -> Request {
    let request = discover.clone().option(code::MESSAGE_TYPE, &[MessageType::Request as u8]);
    request.server(SERVER).requested(address)
}

fn discover() -> Request {
    Request::rom(MessageType::Discover, Arch::X64_UEFI)
}

fn linux(message_type: MessageType) -> Request {
    Request::of(message_type).option(code::PARAMETER_LIST, &[1, 3, 6, 12, 15, 17, 26, 28])
}

#[test]
fn an_offer_names_address_server_and_terms() {
    let offer = World::new(Mode::Full).ask(&discover()).unwrap();
    assert_eq!((offer.message_type(), offer.siaddr), (OFFER, SERVER));
    assert!(network(Mode::Full).subnets[0].pools[0].contains(offer.yiaddr));
    let seconds = |seconds: u32| Some(seconds.to_be_bytes());
    let value = |code| offer.get(code).and_then(|value| <[u8; 4]>::try_from(value).ok());
    assert_eq!(value(code::SERVER_ID), Some(SERVER.octets()));
    assert_eq!(value(code::LEASE_TIME), seconds(43_200));
    assert_eq!((value(code::RENEWAL_TIME), value(code::REBINDING_TIME)), (seconds(21_600), seconds(37_800)));
    assert_eq!(value(code::SUBNET_MASK), Some([255, 255, 255, 0]));
    assert_eq!(
        (value(code::ROUTER), value(code::BROADCAST_ADDRESS)),
        (Some(ROUTER.octets()), Some([192, 168, 99, 255]))
    );
}

#[test]
fn mask_router_and_terms_come_unasked_and_the_rest_when_asked() {
    let mut world = World::new(Mode::Full);
    let offer = world.ask(&discover().option(code::PARAMETER_LIST, &[43, 60, 66, 67])).unwrap();
    assert!([1, 3, 28, 51, 54].iter().all(|code| offer.get(*code).is_some()));
    assert_eq!((offer.get(code::DNS), offer.get(code::DOMAIN_NAME)), (None, None));
    let all = world.ask(&discover().without(code::PARAMETER_LIST)).unwrap();
    assert_eq!(all.get(code::DNS), Some(&[9, 9, 9, 9][..]));
    assert_eq!(all.get(code::DOMAIN_NAME), Some(&b"rack.example"[..]));
}

#[test]
fn no_option_comes_twice() {
    for request in [discover(), Request::ipxe(MessageType::Discover), linux(MessageType::Discover).mac(NODE)]
    {
        let mut codes = World::new(Mode::Full).ask(&request).unwrap().codes();
        let all = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }
}

#[test]
fn an_acknowledgement_waits_for_its_lease_to_be_written() {
    let mut world = World::new(Mode::Full);
    let offer = world.ask(&discover()).unwrap();
    assert!(!offer.after_commit && world.outbox.changes().is_empty());
    let ack = world.ask(&take(&discover(), offer.yiaddr)).unwrap();
    assert!(ack.after_commit);
    let [LeaseChange::Put(lease)] = world.outbox.changes() else { panic!("{:?}", world.outbox.changes()) };
    assert_eq!((lease.address, lease.expires_s), (offer.yiaddr, NOW.as_secs() + 43_200));
    assert_eq!(world.got(), Got::Ack(offer.yiaddr));
}

#[test]
fn rapid_retries_get_the_same_address_whatever_their_xid() {
    let mut world = World::new(Mode::Full);
    let first = world.ask(&discover()).unwrap().yiaddr;
    for xid in 1..5 {
        let mut again = discover();
        again.header.xid = xid.into();
        assert_eq!(world.ask(&again).unwrap().yiaddr, first);
    }
    let other = world.ask(&discover().mac(MacAddr([2, 0, 0, 0, 0, 9]))).unwrap().yiaddr;
    assert_ne!(other, first);
}

#[test]
fn one_machine_keeps_one_address_though_its_client_identifiers_change() {
    let mut world = World::new(Mode::Full);
    let rom = world.bind(&discover());
    let ipxe = world.bind(&Request::ipxe(MessageType::Discover));
    let duid =
        linux(MessageType::Discover).option(code::CLIENT_ID, &[255, 1, 2, 3, 4, 0, 1, 0, 1, 9, 9, 9, 9]);
    assert_eq!((ipxe, world.bind(&duid)), (rom, rom));
}

#[test]
fn a_reservation_is_offered_with_its_host_name() {
    let mut world = World::new(Mode::Full);
    let offer = world.ask(&linux(MessageType::Discover).mac(NODE)).unwrap();
    assert_eq!((offer.yiaddr, offer.get(code::HOST_NAME)), (RESERVED, Some(&b"node-60"[..])));
    assert_ne!(world.ask(&linux(MessageType::Discover).requested(RESERVED)).unwrap().yiaddr, RESERVED);
}

#[test]
fn replies_find_a_client_without_an_address() {
    let mut world = World::new(Mode::Full);
    // Broadcast bit 0: a frame to chaddr, since the client cannot answer ARP.
    let unicast = world.ask(&discover()).unwrap();
    assert_eq!((unicast.route.to, unicast.route.mac), (SocketAddrV4::new(unicast.yiaddr, 68), Some(MAC)));
    let everybody = world.ask(&discover().broadcast()).unwrap();
    assert_eq!(everybody.route.to, SocketAddrV4::new(Ipv4Addr::BROADCAST, 68));
    assert_eq!((everybody.route.mac, everybody.is_broadcast), (Some(MacAddr::BROADCAST), true));
    assert_eq!((everybody.route.source, everybody.route.port), (SERVER, crate::proto::outbox::Port::Dhcp));
}

#[test]
fn an_address_in_a_discover_is_ignored() {
    let offer = World::new(Mode::Full).ask(&discover().ciaddr(Ipv4Addr::new(10, 1, 2, 3))).unwrap();
    assert_eq!((offer.ciaddr, offer.route.mac), (Ipv4Addr::UNSPECIFIED, Some(MAC)));
    assert_ne!(offer.yiaddr, Ipv4Addr::UNSPECIFIED);
}

#[test]
fn a_renewal_is_written_and_answered_to_its_address() {
    let mut world = World::new(Mode::Full);
    let address = world.bind(&linux(MessageType::Discover));
    world.now = NOW + Duration::from_secs(21_600);
    let renewal = linux(MessageType::Request).ciaddr(address).unicast(address);
    let ack = world.ask(&renewal).unwrap();
    assert_eq!((ack.message_type(), ack.yiaddr, ack.ciaddr), (ACK, address, address));
    assert_eq!((ack.route.to, ack.route.mac), (SocketAddrV4::new(address, 68), None));
    let [LeaseChange::Put(lease)] = world.outbox.changes() else { panic!() };
    assert_eq!(lease.expires_s, NOW.as_secs() + 21_600 + 43_200);
    let rebinding = linux(MessageType::Request).ciaddr(address);
    assert_eq!(world.ask(&rebinding).unwrap().message_type(), ACK);
}

#[test]
fn init_reboot_is_refused_on_the_wrong_network() {
    let mut world = World::new(Mode::Full);
    let nak = world.ask(&linux(MessageType::Request).requested(Ipv4Addr::new(172, 16, 0, 9))).unwrap();
    assert_eq!(
        (nak.message_type(), nak.yiaddr, nak.siaddr),
        (NAK, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED)
    );
    assert_eq!(nak.get(code::SERVER_ID), Some(&SERVER.octets()[..]));
    assert_eq!(nak.route.to, SocketAddrV4::new(Ipv4Addr::BROADCAST, 68));
    assert!(nak.get(code::LEASE_TIME).is_none() && nak.get(code::SUBNET_MASK).is_none());
}

#[test]
fn init_reboot_of_an_unknown_lease_depends_on_authority() {
    let request = linux(MessageType::Request).requested(FREE);
    assert_eq!(World::new(Mode::Full).ask(&request).unwrap().yiaddr, FREE);
    let mut modest = World::with_network(|network| network.authoritative = false);
    assert!(modest.ask(&request).is_none());
    assert_eq!(modest.got(), Got::Nothing(DropReason::UnknownLease));
}

#[test]
fn another_clients_address_is_refused() {
    let mut world = World::new(Mode::Full);
    let address = world.bind(&discover());
    let thief = discover().mac(MacAddr([2, 0, 0, 0, 0, 9]));
    assert_eq!(world.ask(&take(&thief, address)).unwrap().message_type(), NAK);
    assert_eq!(world.got(), Got::Nak(address));
}

#[test]
fn a_choice_of_another_server_is_noted_and_told_of_once() {
    let mut world = World::new(Mode::Full);
    let request = take(&discover(), FREE).server(OTHER_SERVER);
    assert!(world.ask(&request).is_none());
    assert_eq!(world.got(), Got::Noted);
    assert_eq!(world.advice(), [Advice::OtherServer { network: 0, server: OTHER_SERVER }]);
    world.ask(&request);
    assert_eq!(world.advice(), []);
}

#[test]
fn who_got_which_address_is_remembered_and_who_was_refused_is_not() {
    let mut world = World::new(Mode::Full);
    let register = std::sync::Arc::clone(world.plan.register());
    let mac = |address| register.callers.at(address).map(|caller| caller.mac);
    let mine = Request::rom(MessageType::Discover, Arch::X86_BIOS);
    let address = world.bind(&mine);
    let owner = mac(address);
    assert!(owner.is_some());
    let thief = MacAddr([2, 0, 0, 0, 0, 9]);
    assert_eq!(world.ask(&take(&mine.clone().mac(thief), address)).unwrap().message_type(), NAK);
    assert_eq!(mac(address), owner);
    world.ask(&take(&mine.mac(thief), FREE).server(OTHER_SERVER));
    assert_eq!(mac(FREE), Some(thief), "it took another server's offer");
}

#[test]
fn a_request_for_nothing_is_malformed() {
    let mut world = World::new(Mode::Full);
    assert!(world.ask(&linux(MessageType::Request)).is_none());
    assert_eq!(world.got(), Got::Nothing(DropReason::MalformedDhcp));
    assert_eq!(world.stats.dropped(DropReason::MalformedDhcp), 1);
}

#[test]
fn a_released_address_is_free_and_a_declined_one_is_not() {
    let mut world = World::new(Mode::Full);
    let address = world.bind(&discover());
    assert!(world.ask(&linux(MessageType::Release).ciaddr(address).server(SERVER)).is_none());
    assert_eq!((world.got(), world.outbox.changes().len()), (Got::Noted, 1));

    assert_eq!(world.bind(&discover()), address);
    world.ask(&linux(MessageType::Decline).requested(address).server(SERVER));
    assert_eq!(world.advice(), [Advice::AddressInUse { address }]);
    assert_ne!(world.ask(&discover()).unwrap().yiaddr, address);
}

#[test]
fn a_release_or_decline_for_another_server_changes_nothing() {
    let mut world = World::new(Mode::Full);
    let address = world.bind(&discover());
    world.ask(&linux(MessageType::Release).ciaddr(address).server(OTHER_SERVER));
    assert!(world.outbox.changes().is_empty());
    world.ask(&linux(MessageType::Decline).requested(address).server(OTHER_SERVER));
    assert!(world.outbox.changes().is_empty());
}

#[test]
fn inform_gets_parameters_and_no_lease() {
    let mut world = World::new(Mode::Full);
    let inform = linux(MessageType::Inform).ciaddr(FREE).unicast(FREE);
    let ack = world.ask(&inform).unwrap();
    assert_eq!((ack.message_type(), ack.yiaddr, ack.ciaddr), (ACK, Ipv4Addr::UNSPECIFIED, FREE));
    assert!(ack.get(code::LEASE_TIME).is_none() && ack.get(code::DNS).is_some());
    assert_eq!((ack.route.to, ack.after_commit), (SocketAddrV4::new(FREE, 68), false));
    // Not to an address that the sender makes up.
    assert!(world.ask(&linux(MessageType::Inform).ciaddr(Ipv4Addr::new(8, 8, 8, 8))).is_none());
}

#[test]
fn bootp_gets_its_reservation_alone() {
    let mut world = World::new(Mode::Full);
    assert!(world.ask(&Request::bootp()).is_none());
    assert_eq!(world.got(), Got::Nothing(DropReason::NoAddress));
    let reply = world.ask(&Request::bootp().mac(NODE)).unwrap();
    assert_eq!((reply.yiaddr, reply.len, reply.message_type()), (RESERVED, 300, None));
    assert!(reply.get(code::SUBNET_MASK).is_some() && reply.get(code::LEASE_TIME).is_none());
    assert!(reply.after_commit);
    let [LeaseChange::Put(lease)] = world.outbox.changes() else { panic!() };
    assert_eq!(lease.expires_s, u64::MAX);
}

#[test]
fn relayed_bootp_gets_the_relays_option_back_however_little_room_there_is() {
    let agent = [&[1, 40][..], &[b'g'; 40]].concat();
    let mut world = World::with_network(|network| network.subnets[1].cidr = network.subnets[0].cidr);
    let request = Request::bootp().mac(NODE).relayed().option(code::RELAY_AGENT, &agent);
    let request = Request { header: Header { giaddr: ROUTER.octets(), ..request.header }, ..request };
    let reply = world.ask(&request).unwrap();
    assert_eq!((reply.len, reply.get(code::RELAY_AGENT)), (300, Some(&agent[..])));
}

#[test]
fn a_relays_client_gets_an_address_of_its_subnet() {
    let mut world = World::new(Mode::Full);
    let agent = [1, 2, b'g', b'1'];
    let relayed = discover().relayed().option(code::RELAY_AGENT, &agent);
    let offer = world.ask(&relayed).unwrap();
    assert!(Ipv4Addr::new(10, 44, 0, 50) <= offer.yiaddr && offer.yiaddr <= Ipv4Addr::new(10, 44, 0, 99));
    assert_eq!(offer.get(code::ROUTER), Some(&RELAY.octets()[..]));
    assert_eq!((offer.route.to, offer.route.mac), (SocketAddrV4::new(RELAY, 67), None));
    assert_eq!(offer.options.last(), Some(&(code::RELAY_AGENT, agent.to_vec())));
    let nak = world.ask(&take(&relayed, FREE)).unwrap();
    assert_eq!(
        (nak.message_type(), nak.is_broadcast, nak.route.to),
        (NAK, true, SocketAddrV4::new(RELAY, 67))
    );
    assert_eq!(nak.get(code::RELAY_AGENT), Some(&agent[..]));
}

#[test]
fn an_unknown_relay_gets_nothing() {
    let mut world = World::new(Mode::Full);
    let mut request = discover().relayed();
    request.header.giaddr = [10, 99, 0, 1];
    assert!(world.ask(&request).is_none());
    assert_eq!(world.got(), Got::Nothing(DropReason::NoSubnet));
}

#[test]
fn link_selection_and_subnet_selection_choose_the_subnet() {
    let mut world = World::new(Mode::Full);
    let far = |address: Ipv4Addr| address.octets()[..3] == [10, 44, 0];
    let mut elsewhere = discover().relayed();
    elsewhere.header.giaddr = [10, 99, 0, 1];
    let selected = elsewhere.clone().option(code::RELAY_AGENT, &[5, 4, 10, 44, 0, 0]);
    assert!(far(world.ask(&selected).unwrap().yiaddr));
    assert!(far(world.ask(&elsewhere.option(code::SUBNET_SELECTION, &[10, 44, 0, 0])).unwrap().yiaddr));
}

#[test]
fn a_relay_may_name_itself_as_the_server() {
    let mut world = World::new(Mode::Full);
    let relayed = discover().relayed().option(code::RELAY_AGENT, &[11, 4, 10, 44, 0, 1]);
    let offer = world.ask(&relayed).unwrap();
    assert_eq!(offer.get(code::SERVER_ID), Some(&RELAY.octets()[..]));
    assert_eq!(offer.siaddr, SERVER);
    let ack = world.ask(&take(&relayed, offer.yiaddr).server(RELAY)).unwrap();
    assert_eq!((ack.message_type(), ack.get(code::SERVER_ID)), (ACK, Some(&RELAY.octets()[..])));
}

#[test]
fn the_client_identifier_is_returned() {
    let id = [255, 0, 1, 2, 3];
    let offer =
        World::new(Mode::Full).ask(&linux(MessageType::Discover).option(code::CLIENT_ID, &id)).unwrap();
    assert_eq!(offer.get(code::CLIENT_ID), Some(&id[..]));
}

#[test]
fn a_client_may_ask_for_a_shorter_lease_but_not_for_a_longer_one() {
    let mut world = World::new(Mode::Full);
    for (asked, given) in [(600u32, 600u32), (1, 120), (1_000_000, 43_200)] {
        let offer = world.ask(&discover().option(code::LEASE_TIME, &asked.to_be_bytes())).unwrap();
        assert_eq!(offer.get(code::LEASE_TIME), Some(&given.to_be_bytes()[..]));
    }
}

#[test]
fn an_empty_pool_is_told_of_once() {
    let mut world = World::with_network(|network| network.subnets[0].pools.clear());
    assert!(world.ask(&discover()).is_none());
    assert_eq!(world.got(), Got::Nothing(DropReason::NoAddress));
    assert_eq!(world.advice().len(), 1);
    world.ask(&discover());
    assert_eq!(world.advice(), []);
}

#[test]
fn a_take_over_serves_network_boot_clients_and_refuses_nobody_elses() {
    let mut world = World::new(Mode::TakeOver);
    assert!(world.ask(&discover()).is_some());
    assert!(world.ask(&take(&discover(), FREE).server(OTHER_SERVER)).is_none());
    assert_eq!(world.advice(), []);
    let reboot = Request::rom(MessageType::Request, Arch::X64_UEFI).requested(Ipv4Addr::new(172, 16, 0, 9));
    assert!(world.ask(&reboot).is_none());
    with_request(&world.plan, NOW, &linux(MessageType::Discover), |exchange| {
        assert_eq!(exchange.service(), Service::Nobody);
    });
}
