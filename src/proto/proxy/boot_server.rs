//! The boot server: what a client loads, once it has an address (PXE 2.1 §2.2.5).
//!
//! Two forms. Without an item the client was told by an option 60 without 43 to ask here (EDK2 calls it BINL): it gets
//! its file. With an item (43.71) it chose from a menu: it gets that item's file, and the item back. Requests name
//! neither a server (54) nor an address (50), and their message type is not looked at by anyone.

use std::net::Ipv4Addr;

use crate::boot::client::Wants;
use crate::boot::plan::{BootFile, MenuItem};
use crate::note::Got;
use crate::proto::outbox::Outbox;
use crate::proto::reply::compose::{Class, Parts};
use crate::proto::reply::template::Templates;
use crate::proto::reply::{Exchange, boot_item};
use crate::stats::{DropReason, Stats};
use crate::wire::dhcp::MessageType;
use crate::wire::pxe::BootItem;

/// The bit of a layer by which a client asks for credentials (PXE 2.1's BIS): there are none
const CREDENTIALS: u16 = 0x8000;

pub(super) fn on_request(
    exchange: &Exchange<'_>,
    templates: &mut Templates,
    stats: &mut Stats,
    outbox: &mut Outbox,
) {
    if exchange.client.wants == Wants::Nothing || !is_asking(exchange) {
        return exchange.drop(DropReason::NotServed, stats, outbox);
    }
    let item = boot_item(&exchange.message);
    let file = match file_of(exchange, item) {
        Ok(file) => file,
        Err(reason) => return exchange.drop(reason, stats, outbox),
    };
    let ciaddr = exchange.ciaddr().unwrap_or(Ipv4Addr::UNSPECIFIED);
    let boot = match exchange.boot(file, Some(ciaddr).filter(|ciaddr| !ciaddr.is_unspecified())) {
        Ok(boot) if boot.is_some() || exchange.answer.menu.is_some() => boot,
        Ok(_) => return exchange.drop(DropReason::NothingToBoot, stats, outbox),
        Err(reason) => return exchange.drop(reason, stats, outbox),
    };
    let class = match item {
        Some(item) => Class::Item(item),
        None => Class::of_proxy_offer(exchange),
    };
    // As dnsmasq answers (seen booting BIOS ROMs, iPXE and OVMF): the address is "your" one with an item, else `ciaddr`.
    let (ciaddr, yiaddr) =
        if item.is_some() { (Ipv4Addr::UNSPECIFIED, ciaddr) } else { (ciaddr, Ipv4Addr::UNSPECIFIED) };
    let parts = Parts {
        message_type: Some(MessageType::Ack),
        yiaddr,
        ciaddr,
        to_everybody: false,
        lease: None,
        subnet: None,
        boot: boot.as_ref(),
        class,
        no_proxy: false,
    };
    let (route, got) = (exchange.route_boot_server(), Got::BootServerAck);
    exchange.send(&parts, route, got, templates, stats, outbox);
}

fn is_asking(exchange: &Exchange<'_>) -> bool {
    use MessageType::{Discover, Inform, Request};
    matches!(exchange.message.message_type(), Some(Discover | Request | Inform))
}

/// The file that a request is for. A client may name an item of a menu that it did not get from us (another proxy's,
/// with our address in it): without a menu of ours the item does not matter.
fn file_of<'p>(exchange: &Exchange<'p>, item: Option<BootItem>) -> Result<Option<&'p BootFile>, DropReason> {
    let (Some(item), answer) = (item, &exchange.answer) else { return Ok(exchange.answer.boot) };
    if item.layer & CREDENTIALS != 0 {
        return Err(DropReason::NotServed);
    }
    let Some(menu) = answer.menu else { return Ok(answer.boot) };
    let chosen = menu.items.iter().find(|known| known.kind == item.kind);
    chosen.and_then(|item| served_here(item, exchange)).map(Some).ok_or(DropReason::NothingToBoot)
}

/// The file of an item. Where other servers answer for it, discovery by broadcast reaches us all the same: we keep still.
fn served_here<'p>(item: &'p MenuItem, exchange: &Exchange<'p>) -> Option<&'p BootFile> {
    let answer = &exchange.answer;
    let is_ours = item.servers.is_empty() || item.servers.contains(&answer.network.address);
    item.boot_of(exchange.client.arch, answer.loader).filter(|_| is_ours)
}
