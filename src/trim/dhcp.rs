//! Names within DHCP messages: fields, options, options within options.

use super::flows::{Place, place_of};
use super::names::Names;
use super::text;
use crate::wire::dhcp::{HEADER_LEN, MAGIC_COOKIE, Message, code};
use crate::wire::pcap::Packet;

/// `ciaddr`, `yiaddr`, `siaddr`, `giaddr` (RFC 2131 §2)
const ADDRESSES: [std::ops::Range<usize>; 4] = [12..16, 16..20, 20..24, 24..28];
const CHADDR: usize = 28;
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;

/// Notes what a message tells of its names
pub(super) fn learn(packet: &Packet<'_>, names: &mut Names) {
    let Ok(datagram) = packet.udp4_cut() else { return };
    if place_of(datagram.source.port(), datagram.destination.port()) != Some(Place::Dhcp) {
        return names.learn_client(*datagram.source.ip());
    }
    let Ok(message) = Message::parse(datagram.payload) else { return };
    if let Some(mac) = message.mac() {
        names.new_mac(mac.0);
    }
    if let Some(mask) = message.option(code::SUBNET_MASK).and_then(|mask| mask.try_into().ok()) {
        names.learn_netmask(mask);
    }
    if let Some([0, uuid @ ..]) = message.option(code::PXE_UUID)
        && let Ok(uuid) = uuid.try_into()
    {
        names.learn_uuid(uuid);
    }
    let header = message.header();
    for address in [header.ciaddr(), header.yiaddr()].into_iter().chain(message.requested_ip()) {
        names.learn_client(address);
    }
}

/// Replaces the names in a message, of which the capture may hold only the front
pub(super) fn rename(payload: &mut [u8], names: &mut Names) {
    for address in ADDRESSES {
        if let Some(address) = payload.get_mut(address) {
            names.address(address);
        }
    }
    let is_ethernet = payload.get(1..3) == Some(&[1, 6]);
    if let Some(chaddr) = payload.get_mut(CHADDR..CHADDR + 6) {
        if is_ethernet { names.mac(chaddr) } else { names.scramble(chaddr) }
    }
    let overload =
        Message::parse(payload).ok().and_then(|message| message.option(code::OVERLOAD)?.first().copied());
    for (field, bit, is_host) in [(FILE, 1, false), (SNAME, 2, true)] {
        let Some(field) = payload.get_mut(field) else { continue };
        match overload {
            Some(overload) if overload & bit != 0 => options(field, names),
            _ if is_host => text::rename_host(field, names),
            _ => text::rename(field, names),
        }
    }
    let area = HEADER_LEN..HEADER_LEN + MAGIC_COOKIE.len();
    if payload.get(area.clone()) == Some(&MAGIC_COOKIE[..]) {
        options(&mut payload[area.end..], names);
    }
}

/// Walks options, each value of which is changed in place
fn each(mut rest: &mut [u8], is_padded: bool, mut change: impl FnMut(u8, &mut [u8])) {
    while let Some((&mut number, tail)) = std::mem::take(&mut rest).split_first_mut() {
        if is_padded && number == code::PAD {
            rest = tail;
            continue;
        }
        if is_padded && number == code::END {
            return;
        }
        let Some((len, tail)) = tail.split_first_mut() else { return };
        // What was cut off is changed as far as it goes.
        let (value, tail) = tail.split_at_mut(usize::from(*len).min(tail.len()));
        change(number, value);
        rest = tail;
    }
}

fn options(area: &mut [u8], names: &mut Names) {
    each(area, true, |number, value| option(number, value, names));
}

/// Options that are masks, numbers, times, or say what somebody is or asks for, and not who
#[rustfmt::skip]
const KEPT: [u8; 39] = [
    code::SUBNET_MASK, code::TIME_OFFSET, code::BOOT_FILE_SIZE, 19, 20, 22, 23, 24, 25, code::INTERFACE_MTU, 27, 29, 30, 31,
    34, 35, 36, 37, 38, 39, 46, 47, code::LEASE_TIME, code::OVERLOAD, code::MESSAGE_TYPE, code::PARAMETER_LIST,
    code::MAX_MESSAGE_SIZE, code::RENEWAL_TIME, code::REBINDING_TIME, code::CLIENT_LAST_TRANSACTION,
    code::ARCHITECTURE, code::NETWORK_INTERFACE, 108, 116, 145, code::PXELINUX_MAGIC, code::PXELINUX_REBOOT_TIME, 80, 220,
];
/// Options that are lists of addresses
#[rustfmt::skip]
const LISTS: [u8; 35] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 21, 28, 32, 33, 41, 42, 44, 45, 48, 49, 50, 54, 65, 68, 69, 70, 71, 72, 73, 74, 75, 76,
    92, code::SUBNET_SELECTION, code::TFTP_SERVER_ADDRESS,
];
/// Options that are text in which some words may be names
#[rustfmt::skip]
const TEXTS: [u8; 10] = [
    code::ROOT_PATH, 18, code::MESSAGE, code::VENDOR_CLASS, code::BOOT_FILE_NAME, code::USER_CLASS, code::URL, code::IPXE,
    code::PXELINUX_CONFIG_FILE, code::PXELINUX_PATH_PREFIX,
];

fn option(number: u8, value: &mut [u8], names: &mut Names) {
    match number {
        _ if KEPT.contains(&number) => {}
        _ if LISTS.contains(&number) => value.chunks_mut(4).for_each(|four| names.address(four)),
        _ if TEXTS.contains(&number) => text::rename(value, names),
        code::HOST_NAME | code::DOMAIN_NAME | code::NIS_DOMAIN | 64 | code::TFTP_SERVER_NAME => {
            text::rename_host(value, names);
        }
        code::CLIENT_FQDN => value.get_mut(3..).into_iter().for_each(|name| names.scramble_text(name)),
        code::DOMAIN_SEARCH => names.scramble_text(value),
        code::VENDOR_SPECIFIC => vendor(value, names),
        code::CLIENT_ID => client_id(value, names),
        code::PXE_UUID => {
            if let Some(uuid) = value.get_mut(1..).and_then(|uuid| uuid.first_chunk_mut::<16>()) {
                *uuid = names.new_uuid(*uuid);
            }
        }
        code::RELAY_AGENT => each(value, false, |number, value| match number {
            // Link selection and server override (RFC 3527, RFC 5107)
            5 | 11 => names.address(value),
            _ => names.scramble(value),
        }),
        code::CLASSLESS_ROUTES | 249 => routes(value, names),
        _ => names.scramble(value),
    }
}

/// Option 43: PXE's list of boot servers holds addresses, its menu and prompt text
fn vendor(value: &mut [u8], names: &mut Names) {
    each(value, true, |number, value| match number {
        8 => {
            let mut rest = value;
            while let [_, _, count, tail @ ..] = rest {
                let len = (usize::from(*count) * 4).min(tail.len());
                let (servers, others) = tail.split_at_mut(len);
                servers.chunks_mut(4).for_each(|four| names.address(four));
                rest = others;
            }
        }
        _ => text::rename(value, names),
    });
}

/// A client identifier is a MAC address with its type, or has one in it, or is somebody's own idea
fn client_id(value: &mut [u8], names: &mut Names) {
    match value {
        [1, mac @ ..] if mac.len() == 6 => names.mac(mac),
        [_, rest @ ..] => names.scramble(rest),
        [] => {}
    }
}

/// RFC 3442: a prefix's length, as many octets as it needs, a router
fn routes(value: &mut [u8], names: &mut Names) {
    let mut rest = value;
    while let [prefix, tail @ ..] = rest {
        let len = usize::from(prefix.div_ceil(8)).min(4);
        let Some((network, tail)) = tail.split_at_mut_checked(len) else { return };
        let mut whole = [0; 4];
        whole[..len].copy_from_slice(network);
        names.address(&mut whole);
        network.copy_from_slice(&whole[..len]);
        let Some((router, tail)) = tail.split_at_mut_checked(4) else { return };
        names.address(router);
        rest = tail;
    }
}
