//! ProxyDHCP: boot options beside another server's address, on port 67 and, as a boot server, on 4011 (PXE 2.1 §2.2).
//!
//! Never gives an address and never refuses one. Answers network-boot clients only, and at once: iPXE waits 2 s for a
//! proxy, EDK2 4 s, ROMs 4 to 12 s. The boot-server half works beside reveille's own DHCP as well.
//!
//! ```text
//!  DISCOVER on 67 ─────────────► OFFER without an address: the file, or a menu
//!  REQUEST on 67 (to another) ─► noted: the client chose an address
//!  REQUEST on 4011 ────────────► ACK: the file of the client, or of the menu item that it names
//!  REQUEST on 67 with 43.71 ───► the same: boot servers are also looked for by broadcast
//! ```

mod boot_server;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;

use super::outbox::{Outbox, Port};
use super::reply::compose::{Class, Parts};
use super::reply::template::Templates;
use super::reply::{Exchange, boot_item, is_boot_server_discovery};
use super::tally::Tally;
use crate::boot::client::{Loader, Wants};
use crate::note::{Advice, Got, Note};
use crate::stats::{DropReason, Stats};
use crate::time::Duration;
use crate::wire::dhcp::MessageType;

/// A client that was sent so many offers in a row, and requested nothing in between, ignores them (a ROM's DISCOVERs come
/// at 0, 4, 12 and 28 s)
const IGNORED_OFFERS: u32 = 3;
/// Offers further apart than this belong to two attempts to boot
const SAME_ATTEMPT: Duration = Duration::from_secs(60);

/// The ProxyDHCP service of all networks
#[derive(Debug, Default)]
pub struct Proxy {
    /// Offers since the client last requested anything
    offers: Tally,
    /// Boot files that iPXE clients took
    loads: Tally,
    templates: Templates,
}

impl Proxy {
    /// Nobody was sent anything yet
    pub fn new() -> Self {
        Self::default()
    }

    /// A new plan takes over: its replies may say something else
    pub fn on_plan(&mut self) {
        self.templates.clear();
    }

    /// Answers a request that [`Exchange::service`] leads here
    pub fn on_request(&mut self, exchange: &Exchange<'_>, stats: &mut Stats, outbox: &mut Outbox) {
        let client = &exchange.client;
        let message_type = exchange.message.message_type();
        remember(exchange);
        if is_for_boot_server(exchange) {
            self.offers.forget(client.mac);
            return boot_server::on_request(exchange, &mut self.templates, stats, outbox);
        }
        match message_type {
            Some(MessageType::Discover) if takes_proxy_offers(exchange) => {
                self.on_discover(exchange, stats, outbox);
            }
            Some(MessageType::Request) if takes_proxy_offers(exchange) => {
                self.offers.forget(client.mac);
                outbox.note(exchange.note(Got::Noted, None));
                if let Ok(Some(boot)) = exchange.boot(exchange.answer.boot, None) {
                    exchange.watch_loader(&mut self.loads, &boot, outbox);
                }
            }
            _ => exchange.drop(DropReason::NotServed, stats, outbox),
        }
    }

    fn on_discover(&mut self, exchange: &Exchange<'_>, stats: &mut Stats, outbox: &mut Outbox) {
        let boot = match exchange.boot(exchange.answer.boot, None) {
            Ok(boot) if boot.is_some() || exchange.answer.menu.is_some() => boot,
            Ok(_) => return exchange.drop(DropReason::NothingToBoot, stats, outbox),
            Err(reason) => return exchange.drop(reason, stats, outbox),
        };
        let parts = Parts {
            message_type: Some(MessageType::Offer),
            yiaddr: Ipv4Addr::UNSPECIFIED,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            to_everybody: true,
            lease: None,
            subnet: None,
            boot: boot.as_ref(),
            class: Class::of_proxy_offer(exchange),
            no_proxy: false,
        };
        let route = exchange.route(Ipv4Addr::UNSPECIFIED);
        if !exchange.send(&parts, route, Got::ProxyOffer, &mut self.templates, stats, outbox) {
            return;
        }
        let mac = exchange.client.mac;
        let offers = self.offers.count(exchange.now, mac, b"", SAME_ATTEMPT);
        if offers == IGNORED_OFFERS {
            outbox.note(Note::Advice(Advice::IgnoresProxyOffers { mac, offers }));
        }
    }
}

/// Beside another DHCP server the request for its address is heard, and tells who will have it
fn remember(exchange: &Exchange<'_>) {
    if exchange.message.message_type() != Some(MessageType::Request) {
        return;
    }
    let source = Some(*exchange.datagram.source.ip()).filter(|_| exchange.datagram.port == Port::BootServer);
    let address = exchange.ciaddr().or(exchange.message.requested_ip()).or(source);
    let Some(address) = address.filter(|address| !address.is_unspecified()) else { return };
    match boot_item(&exchange.message).filter(|_| is_for_boot_server(exchange)) {
        Some(item) => exchange.plan.register().callers.choose(address, &exchange.client, item.kind),
        None => exchange.remember(address),
    }
}

/// Whether a request is for a boot server: on 4011, or on 67 where it names a menu item or, from a client that already
/// has an address, no DHCP server at all
fn is_for_boot_server(exchange: &Exchange<'_>) -> bool {
    let message = &exchange.message;
    let has_address_and_no_server = message.message_type() == Some(MessageType::Request)
        && exchange.client.wants == Wants::Pxe
        && exchange.ciaddr().is_some()
        && message.server_id().is_none()
        && message.requested_ip().is_none();
    exchange.datagram.port == Port::BootServer
        || is_boot_server_discovery(message, &exchange.client)
        || has_address_and_no_server
}

/// PXE and HTTP clients, and U-Boot: it takes a proxy's offer where it is built to (CONFIG_SERVERIP_FROM_PROXYDHCP), and
/// otherwise ignores offers without an address. To anything else an offer without an address is an error.
fn takes_proxy_offers(exchange: &Exchange<'_>) -> bool {
    exchange.client.wants != Wants::Nothing || exchange.client.loader == Loader::UBoot
}
