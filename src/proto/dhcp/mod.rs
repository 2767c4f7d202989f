//! The DHCP server: addresses for the clients of a network, with what they boot (RFC 2131, RFC 951, RFC 1534).
//!
//! ```text
//!  DISCOVER ─► OFFER, its address held for this chaddr (new to it: after a probe)
//!  REQUEST ──► ACK once its lease is on disk │ NAK, if it is provably wrong │ silence
//!  DECLINE, RELEASE ─► noted        INFORM ─► parameters        BOOTP ─► its reservation
//! ```
//!
//! [`crate::boot::lease::Leases`] says which address; this module says what is done about it. It never decides what a
//! machine boots, and never waits: a probe holds back one offer, not the service.

mod probe;
mod request;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use self::probe::{Probe, Probes};
use self::request::{State, Verdict, judge, state_of};
use super::outbox::Outbox;
use super::reply::compose::{Class, Parts, compose_nak};
use super::reply::template::Templates;
use super::reply::{Boot, Exchange, Service};
use super::tally::Tally;
use crate::boot::client::{Client, Loader};
use crate::boot::lease::{Ask, ClientKey, FOREVER, LeaseChange, Leases, NoAddress};
use crate::boot::plan::{Mode, Plan, Subnet};
use crate::note::{Advice, Got, Note, Text};
use crate::stats::{DropReason, Stats};
use crate::time::{Duration, Instant};
use crate::wire::arp;
use crate::wire::dhcp::{Message, MessageType, code};
use crate::wire::ethernet::MacAddr;

/// The shortest lease that a client may ask for: shorter ones only make work
const LEASE_MIN: Duration = Duration::from_secs(120);
/// The same advice is not given again for this long
const ADVICE_REST: Duration = Duration::from_secs(60);

/// The DHCP service of all networks
#[derive(Debug)]
pub struct Dhcp {
    leases: Leases,
    probes: Probes,
    loads: Tally,
    templates: Templates,
    advised: Advised,
}

/// When an operator was last told
#[derive(Debug, Default)]
struct Advised {
    exhausted: Option<(Instant, Ipv4Addr)>,
    other_server: Option<(Instant, Ipv4Addr)>,
}

impl Dhcp {
    /// A service that starts with these leases
    pub fn new(leases: Leases) -> Self {
        Self {
            leases,
            probes: Probes::new(),
            loads: Tally::new(),
            templates: Templates::default(),
            advised: Advised::default(),
        }
    }

    /// The leases, for people
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// A new plan takes over: its pools may be others, and what its replies say
    pub fn on_plan(&mut self) {
        self.leases.on_plan();
        self.templates.clear();
    }

    /// Answers a request that [`Exchange::service`] leads here
    pub fn on_request(&mut self, exchange: &Exchange<'_>, stats: &mut Stats, outbox: &mut Outbox) {
        let Some(subnet) = exchange.answer.subnet else {
            return exchange.drop(DropReason::NoSubnet, stats, outbox);
        };
        match exchange.message.message_type() {
            Some(MessageType::Discover) => self.on_discover(exchange, subnet, stats, outbox),
            Some(MessageType::Request) => self.on_take(exchange, subnet, stats, outbox),
            Some(MessageType::Decline) => self.on_decline(exchange, outbox),
            Some(MessageType::Release) => self.on_release(exchange, outbox),
            Some(MessageType::Inform) => self.on_inform(exchange, subnet, stats, outbox),
            None if exchange.message.is_bootp() => self.on_bootp(exchange, subnet, stats, outbox),
            Some(MessageType::Offer | MessageType::Ack | MessageType::Nak) => {
                exchange.drop(DropReason::NotARequest, stats, outbox);
            }
            None => exchange.drop(DropReason::NotServed, stats, outbox),
        }
    }

    /// Somebody sent ARP with this sender address: where that is on offer and being probed, another one is offered
    pub fn on_arp(
        &mut self,
        now: Instant,
        network: usize,
        sender_ip: Ipv4Addr,
        sender_mac: MacAddr,
        outbox: &mut Outbox,
    ) {
        let Some(probe) = self.probes.on_arp(network, sender_ip, sender_mac) else { return };
        if let Some(change) = self.leases.conflict(now, sender_ip) {
            outbox.lease(change);
        }
        outbox.note(Note::Advice(Advice::AddressInUse { address: sender_ip }));
        self.probes.answer_anew(now, probe);
    }

    /// When [`Dhcp::on_deadline`] has work
    pub fn next_deadline(&self) -> Option<Instant> {
        self.probes.next_deadline()
    }

    /// Makes the offers whose probes are over, while the outbox has room
    pub fn on_deadline(&mut self, now: Instant, plan: &Plan, stats: &mut Stats, outbox: &mut Outbox) {
        while outbox.has_room() {
            let Some(probe) = self.probes.take_due(now) else { return };
            self.on_probed(now, &probe, plan, stats, outbox);
        }
    }

    fn on_probed(
        &mut self,
        now: Instant,
        probe: &Probe,
        plan: &Plan,
        stats: &mut Stats,
        outbox: &mut Outbox,
    ) {
        let datagram = probe.datagram();
        // A reload may have taken the network away, or given it another mode.
        let Ok(message) = Message::parse(datagram.payload) else { return };
        if datagram.network >= plan.networks().len() {
            return;
        }
        let client = Client::from_request(&message, datagram.network);
        let answer = plan.answer(&client);
        let exchange = Exchange { now, datagram: &datagram, message, client, answer, plan };
        if exchange.service() == Service::Dhcp {
            self.on_request(&exchange, stats, outbox);
        }
    }

    fn on_discover(
        &mut self,
        exchange: &Exchange<'_>,
        subnet: &Subnet,
        stats: &mut Stats,
        outbox: &mut Outbox,
    ) {
        let offer = match with_ask(exchange, subnet, |ask| self.leases.offer(ask)) {
            Ok(offer) => offer,
            Err(reason) => return self.on_no_address(exchange, subnet, reason, stats, outbox),
        };
        let mac = exchange.client.mac;
        // A held address may be one that is still being probed.
        if !offer.fresh && self.probes.renew(offer.address, mac, exchange.datagram) {
            return stats.drop(DropReason::Probing);
        }
        let is_reserved =
            exchange.answer.machine.is_some_and(|machine| machine.address == Some(offer.address));
        let is_on_link = subnet.attached && exchange.client.relay.is_none();
        let network = exchange.answer.network;
        let is_probed = offer.fresh && network.probe && is_on_link && !is_reserved;
        if is_probed && self.probes.begin(exchange.now, offer.address, mac, exchange.datagram) {
            return outbox.frame(exchange.datagram.network, |buffer| {
                arp::emit_probe(network.mac, offer.address, buffer).ok()
            });
        }
        let boot = boot_of(exchange, offer.address, stats);
        let parts = Parts {
            ciaddr: Ipv4Addr::UNSPECIFIED,
            ..whole(exchange, subnet, MessageType::Offer, offer.address, boot.as_ref())
        };
        let got = Got::Offer(offer.address);
        exchange.send(&parts, exchange.route(offer.address), got, &mut self.templates, stats, outbox);
    }

    fn on_no_address(
        &mut self,
        exchange: &Exchange<'_>,
        subnet: &Subnet,
        reason: NoAddress,
        stats: &mut Stats,
        outbox: &mut Outbox,
    ) {
        let reason = match reason {
            NoAddress::Exhausted => {
                let subnet = subnet.cidr.address;
                if is_news(&mut self.advised.exhausted, exchange.now, subnet) {
                    let network = exchange.datagram.network;
                    outbox.note(Note::Advice(Advice::PoolExhausted { network, subnet }));
                }
                DropReason::NoAddress
            }
            NoAddress::ReservedOnly => DropReason::NoAddress,
            NoAddress::Full => DropReason::LeasesFull,
        };
        exchange.drop(reason, stats, outbox);
    }

    fn on_take(&mut self, exchange: &Exchange<'_>, subnet: &Subnet, stats: &mut Stats, outbox: &mut Outbox) {
        let Some((state, address)) = state_of(exchange) else {
            return exchange.drop(DropReason::MalformedDhcp, stats, outbox);
        };
        if let State::SelectingOther(server) = state {
            return self.on_other_server(exchange, server, outbox);
        }
        let network = exchange.answer.network;
        let claim = with_ask(exchange, subnet, |ask| self.leases.claim(ask, address));
        match judge(state, claim, exchange.answer.mode, network.authoritative) {
            Verdict::Bind => self.bind(exchange, subnet, address, stats, outbox),
            Verdict::Silence(reason) => exchange.drop(reason, stats, outbox),
            Verdict::Nak(why) => {
                outbox.datagram(exchange.route_nak(), |buffer| compose_nak(exchange, why, buffer).ok());
                outbox.note(exchange.note(Got::Nak(address), None));
            }
        }
    }

    fn bind(
        &mut self,
        exchange: &Exchange<'_>,
        subnet: &Subnet,
        address: Ipv4Addr,
        stats: &mut Stats,
        outbox: &mut Outbox,
    ) {
        let term = term_of(exchange, subnet);
        let hostname = hostname_of(exchange);
        let bound = with_ask(exchange, subnet, |ask| self.leases.bind(ask, address, term, hostname));
        let Ok(lease) = bound else {
            // The claim was good a moment ago: only the room can be missing.
            return exchange.drop(DropReason::LeasesFull, stats, outbox);
        };
        outbox.lease(LeaseChange::Put(lease));
        exchange.remember(address);
        let boot = boot_of(exchange, address, stats);
        let parts = whole(exchange, subnet, MessageType::Ack, address, boot.as_ref());
        let (route, got) = (exchange.route(address), Got::Ack(address));
        let is_sent = exchange.send(&parts, route, got, &mut self.templates, stats, outbox);
        if let Some(boot) = boot.filter(|_| is_sent) {
            exchange.watch_loader(&mut self.loads, &boot, outbox);
        }
    }

    fn on_other_server(&mut self, exchange: &Exchange<'_>, server: Ipv4Addr, outbox: &mut Outbox) {
        outbox.note(exchange.note(Got::Noted, None));
        if let Some(address) = exchange.message.requested_ip() {
            exchange.remember(address);
        }
        // A take-over knows that there is one.
        if exchange.answer.mode == Mode::Full && is_news(&mut self.advised.other_server, exchange.now, server)
        {
            let network = exchange.datagram.network;
            outbox.note(Note::Advice(Advice::OtherServer { network, server }));
        }
    }

    fn on_decline(&mut self, exchange: &Exchange<'_>, outbox: &mut Outbox) {
        let declined = exchange.message.requested_ip().filter(|_| names_us(exchange));
        if let Some(address) = declined
            && let Some(change) = self.leases.decline(exchange.now, key_of(exchange), address)
        {
            outbox.lease(change);
            outbox.note(Note::Advice(Advice::AddressInUse { address }));
        }
        outbox.note(exchange.note(Got::Noted, None));
    }

    fn on_release(&mut self, exchange: &Exchange<'_>, outbox: &mut Outbox) {
        let released = exchange.ciaddr().filter(|_| names_us(exchange));
        if let Some(address) = released
            && let Some(change) = self.leases.release(exchange.now, key_of(exchange), address)
        {
            outbox.lease(change);
        }
        outbox.note(exchange.note(Got::Noted, None));
    }

    /// INFORM: parameters for a client that has its address from elsewhere (RFC 2131 §4.3.5): no lease, no `yiaddr`
    fn on_inform(
        &mut self,
        exchange: &Exchange<'_>,
        subnet: &Subnet,
        stats: &mut Stats,
        outbox: &mut Outbox,
    ) {
        // Relayed or not, the answer goes to `ciaddr`; without one, or with one elsewhere, it would go to anybody.
        let Some(ciaddr) = exchange.ciaddr().filter(|ciaddr| subnet.cidr.contains(*ciaddr)) else {
            return exchange.drop(DropReason::MalformedDhcp, stats, outbox);
        };
        let boot = boot_of(exchange, ciaddr, stats);
        let parts = Parts {
            yiaddr: Ipv4Addr::UNSPECIFIED,
            lease: None,
            ..whole(exchange, subnet, MessageType::Ack, ciaddr, boot.as_ref())
        };
        let (route, got) = (exchange.route(ciaddr), Got::Parameters);
        exchange.send(&parts, route, got, &mut self.templates, stats, outbox);
    }

    /// BOOTP has no lease time: an address is given for ever, so only a reservation is (RFC 1534 §2)
    fn on_bootp(&mut self, exchange: &Exchange<'_>, subnet: &Subnet, stats: &mut Stats, outbox: &mut Outbox) {
        let hostname = hostname_of(exchange);
        let bound = with_ask(exchange, subnet, |ask| {
            let offer = self.leases.offer(ask)?;
            self.leases.bind(ask, offer.address, FOREVER, hostname).map_err(|_| NoAddress::Full)
        });
        let lease = match bound {
            Ok(lease) => lease,
            Err(reason) => return self.on_no_address(exchange, subnet, reason, stats, outbox),
        };
        outbox.lease(LeaseChange::Put(lease));
        let address = lease.address;
        exchange.remember(address);
        let boot = boot_of(exchange, address, stats);
        let parts = Parts {
            message_type: None,
            lease: None,
            class: Class::Absent,
            no_proxy: false,
            ..whole(exchange, subnet, MessageType::Ack, address, boot.as_ref())
        };
        let got = Got::BootpReply(address);
        exchange.send(&parts, exchange.route(address), got, &mut self.templates, stats, outbox);
    }
}

/// An OFFER or ACK with an address
fn whole<'p>(
    exchange: &Exchange<'p>,
    subnet: &'p Subnet,
    message_type: MessageType,
    yiaddr: Ipv4Addr,
    boot: Option<&'p Boot>,
) -> Parts<'p> {
    Parts {
        message_type: Some(message_type),
        yiaddr,
        ciaddr: exchange.ciaddr().unwrap_or(Ipv4Addr::UNSPECIFIED),
        to_everybody: false,
        lease: Some(term_of(exchange, subnet)),
        subnet: Some(subnet),
        boot,
        class: Class::of_whole_offer(exchange, boot.is_some()),
        no_proxy: matches!(exchange.client.loader, Loader::Ipxe(_)),
    }
}

/// The boot file; one that is too long is counted, and the client gets its address all the same
fn boot_of(exchange: &Exchange<'_>, address: Ipv4Addr, stats: &mut Stats) -> Option<Boot> {
    exchange.boot(exchange.answer.boot, Some(address)).unwrap_or_else(|reason| {
        stats.drop(reason);
        None
    })
}

/// The lease time: the subnet's, or less, where the client asks for less
fn term_of(exchange: &Exchange<'_>, subnet: &Subnet) -> Duration {
    let asked = exchange.message.lease_time_s().map(|seconds| Duration::from_secs(seconds.into()));
    asked.map_or(subnet.lease, |asked| asked.max(LEASE_MIN).min(subnet.lease))
}

fn hostname_of(exchange: &Exchange<'_>) -> Text<64> {
    let configured = exchange.answer.machine.and_then(|machine| machine.hostname.as_deref());
    configured.map(str::as_bytes).or_else(|| exchange.message.hostname()).map_or(Text::EMPTY, Text::new)
}

fn key_of(exchange: &Exchange<'_>) -> ClientKey {
    let header = exchange.message.header();
    ClientKey::of(header.htype, header.chaddr(), exchange.message.client_id())
}

/// Whether a DECLINE or RELEASE is for this server: it names it (RFC 2131 table 5), or nobody
fn names_us(exchange: &Exchange<'_>) -> bool {
    let server = exchange.message.server_id();
    server.is_none_or(|server| server == exchange.server_id() || server == exchange.answer.network.address)
}

/// Asks the leases on behalf of this client
fn with_ask<R>(exchange: &Exchange<'_>, subnet: &Subnet, question: impl FnOnce(&Ask<'_>) -> R) -> R {
    let withheld = |address| {
        exchange.plan.machine_reserved(address)
            || exchange.plan.networks().iter().any(|network| network.address == address)
            || is_router(subnet, address)
    };
    let machine = exchange.answer.machine;
    question(&Ask {
        now: exchange.now,
        key: key_of(exchange),
        subnet,
        requested: exchange.message.requested_ip(),
        reserved: machine
            .and_then(|machine| machine.address)
            .filter(|address| subnet.cidr.contains(*address)),
        reserved_only: exchange.message.is_bootp(),
        withheld: &withheld,
    })
}

fn is_router(subnet: &Subnet, address: Ipv4Addr) -> bool {
    let routers = subnet.options.iter().filter(|(code, _)| *code == code::ROUTER);
    routers.flat_map(|(_, value)| value.as_chunks::<4>().0).any(|octets| *octets == address.octets())
}

/// Whether to tell about `address` now, which is remembered: the same advice rests for a while
fn is_news(last: &mut Option<(Instant, Ipv4Addr)>, now: Instant, address: Ipv4Addr) -> bool {
    let is_old = last.is_some_and(|(at, known)| known == address && now.since(at) < ADVICE_REST);
    if !is_old {
        *last = Some((now, address));
    }
    !is_old
}
