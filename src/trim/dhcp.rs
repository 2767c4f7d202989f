//! Names within DHCP messages: fields, options, options within options.

use super::flows::{Place, place_of};
use super::names::Names;
use super::text;
use crate::wire::dhcp::{HEADER_LEN, MAGIC_COOKIE, Message, code};
use crate::wire::pcap::Carried;

/// `ciaddr`, `yiaddr`, `siaddr`, `giaddr` (RFC 2131 §2)
const ADDRESSES: [std::ops::Range<usize>; 4] = [12..16, 16..20, 20..24, 24..28];
const CHADDR: usize = 28;
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;

/// Notes what a message tells of its names
pub(super) fn learn(datagram: &Carried<'_>, names: &mut Names) {
    if place_of(datagram.source.port(), datagram.destination.port()) != Some(Place::Dhcp) {
        return names.learn_client(*datagram.source.ip());
    }
    if !is_understood(datagram.payload, datagram.is_cut()) {
        return;
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

/// Whether names stand where they should in a message, of which the capture may hold only the front: one whose fields lie
/// elsewhere keeps them where nobody looks
pub(super) fn is_understood(payload: &[u8], is_cut: bool) -> bool {
    let [op, htype, hlen, ..] = *payload else { return is_cut && payload.is_empty() };
    let padding = payload.get(CHADDR + 6..SNAME.start).unwrap_or_default();
    let is_ethernet = (htype, hlen) == (1, 6);
    let is_header = matches!(op, 1 | 2) && hlen <= 16 && (htype != 1 || is_ethernet);
    if !is_header || !is_cut && payload.len() < HEADER_LEN {
        return false;
    }
    let area = payload.get(HEADER_LEN..).unwrap_or_default();
    if let Some(options) = area.strip_prefix(&MAGIC_COOKIE) {
        return is_cut || ends_well(options);
    }
    // BOOTP without options (RFC 951), or the front of anything; not options that stand elsewhere
    let has_cookie = payload.windows(MAGIC_COOKIE.len()).any(|four| four == MAGIC_COOKIE);
    !has_cookie && is_ethernet && padding.iter().all(|byte| *byte == 0)
}

/// Whether the last option ends where the message does, or END stands behind it
fn ends_well(mut rest: &[u8]) -> bool {
    loop {
        rest = match rest {
            [] | [code::END, ..] => return true,
            [code::PAD, tail @ ..] => tail,
            [_, len, tail @ ..] if tail.len() >= usize::from(*len) => &tail[usize::from(*len)..],
            _ => return false,
        }
    }
}

/// Replaces the names in a message that is understood, of which the capture may hold only the front
pub(super) fn rename(payload: &mut [u8], names: &mut Names) {
    for address in ADDRESSES {
        if let Some(address) = payload.get_mut(address) {
            names.address(address);
        }
    }
    let is_ethernet = payload.get(1..3) == Some(&[1, 6]);
    let end = SNAME.start.min(payload.len());
    if let Some(chaddr) = payload.get_mut(CHADDR..end) {
        match chaddr.split_at_mut_checked(6).filter(|_| is_ethernet) {
            Some((mac, padding)) => {
                card(mac, names);
                padding.fill(0);
            }
            None => names.scramble(chaddr),
        }
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
    match payload.get_mut(HEADER_LEN..) {
        Some([99, 130, 83, 99, area @ ..]) => options(area, names),
        Some(area) => names.scramble(area),
        None => {}
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
            // What a ROM's buffer held before
            return tail.fill(0);
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

/// Options that are masks, numbers and times, and their lengths
#[rustfmt::skip]
const NUMBERS: [(u8, usize); 33] = [
    (code::SUBNET_MASK, 4), (code::TIME_OFFSET, 4), (code::BOOT_FILE_SIZE, 2), (19, 1), (20, 1), (22, 2), (23, 1), (24, 4),
    (code::INTERFACE_MTU, 2), (27, 1), (29, 1), (30, 1), (31, 1), (34, 1), (35, 4), (36, 1), (37, 1), (38, 4), (39, 1), (46, 1),
    (code::LEASE_TIME, 4), (code::OVERLOAD, 1), (code::MESSAGE_TYPE, 1), (code::MAX_MESSAGE_SIZE, 2), (code::RENEWAL_TIME, 4),
    (code::REBINDING_TIME, 4), (80, 0), (code::CLIENT_LAST_TRANSACTION, 4), (code::NETWORK_INTERFACE, 3), (108, 4), (116, 1),
    (code::PXELINUX_MAGIC, 4), (code::PXELINUX_REBOOT_TIME, 4),
];
/// Options that are lists of numbers, which say what somebody is and not who; a longer one is none
const LISTS_OF_NUMBERS: [u8; 3] = [25, code::ARCHITECTURE, 145];
const NUMBERS_MAX: usize = 8;
/// Options that are lists of addresses
#[rustfmt::skip]
const LISTS: [u8; 35] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 21, 28, 32, 33, 41, 42, 44, 45, 48, 49, 50, 54, 65, 68, 69, 70, 71, 72, 73, 74, 75, 76,
    92, code::SUBNET_SELECTION, code::TFTP_SERVER_ADDRESS,
];
/// Options that are text in which some words may be names
#[rustfmt::skip]
const TEXTS: [u8; 8] = [
    code::ROOT_PATH, 18, code::MESSAGE, code::VENDOR_CLASS, code::BOOT_FILE_NAME, code::URL, code::PXELINUX_CONFIG_FILE,
    code::PXELINUX_PATH_PREFIX,
];

fn option(number: u8, value: &mut [u8], names: &mut Names) {
    match number {
        _ if NUMBERS.contains(&(number, value.len())) => {}
        _ if LISTS_OF_NUMBERS.contains(&number) && value.len() <= NUMBERS_MAX => {}
        // Nobody asks for PAD or END: with them in it, it has run over what follows.
        code::PARAMETER_LIST if !value.iter().any(|asked| [code::PAD, code::END].contains(asked)) => {}
        _ if LISTS.contains(&number) => addresses(value, names),
        _ if TEXTS.contains(&number) && is_text(value) => text::rename(value, names),
        code::HOST_NAME | code::DOMAIN_NAME | code::NIS_DOMAIN | 64 | code::TFTP_SERVER_NAME => {
            text::rename_host(value, names);
        }
        code::CLIENT_FQDN => value.get_mut(3..).into_iter().for_each(|name| names.scramble_text(name)),
        code::DOMAIN_SEARCH => names.scramble_text(value),
        code::VENDOR_SPECIFIC => vendor(value, names),
        code::USER_CLASS => user_class(value, names),
        code::IPXE => each(value, true, |number, value| {
            // iPXE's are short numbers, but for what it logs in with (190 to 193).
            if value.len() > 5 || (190..=193).contains(&number) {
                names.scramble(value);
            }
        }),
        code::CLIENT_ID => client_id(value, names),
        code::PXE_UUID => match value.split_first_mut().map(|(_, uuid)| <&mut [u8; 16]>::try_from(uuid)) {
            Some(Ok(uuid)) => *uuid = names.new_uuid(*uuid),
            _ => names.scramble(value),
        },
        code::RELAY_AGENT => each(value, false, |number, value| match number {
            // Link selection and server override (RFC 3527, RFC 5107)
            5 | 11 => names.address(value),
            _ => names.scramble(value),
        }),
        code::CLASSLESS_ROUTES | 249 => routes(value, names),
        _ => names.scramble(value),
    }
}

fn addresses(value: &mut [u8], names: &mut Names) {
    if value.len().is_multiple_of(4) {
        value.chunks_mut(4).for_each(|four| names.address(four));
    } else {
        names.scramble(value);
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
                addresses(servers, names);
                rest = others;
            }
        }
        // Where multicast goes
        1 => names.address(value),
        // Its other numbers, and the item that was chosen
        2..=7 | 71 if value.len() <= 4 => {}
        9 | 10 => text::rename(value, names),
        _ if is_text(value) => text::rename(value, names),
        _ => names.scramble(value),
    });
}

/// Classes with their lengths before them (RFC 3004), or just one, as most clients have it
fn user_class(value: &mut [u8], names: &mut Names) {
    if is_text(value) {
        return text::rename(value, names);
    }
    let mut rest = value;
    while let Some((len, tail)) = rest.split_first_mut() {
        let (class, tail) = tail.split_at_mut(usize::from(*len).min(tail.len()));
        if is_text(class) {
            text::rename(class, names);
        } else {
            names.scramble(class);
        }
        rest = tail;
    }
}

/// Whether what should be text is
fn is_text(value: &[u8]) -> bool {
    value.iter().all(|byte| *byte >= b' ' && *byte != 0x7f || *byte == 0)
}

/// A card's address; whatever else stands in its place is none of anybody's
fn card(place: &mut [u8], names: &mut Names) {
    if place[0] & 1 == 0 { names.mac(place) } else { names.scramble(place) }
}

/// A client identifier is a MAC address with its type, or has one in it, or is somebody's own idea
fn client_id(value: &mut [u8], names: &mut Names) {
    match value {
        [1, mac @ ..] if mac.len() == 6 => card(mac, names),
        [_, rest @ ..] => names.scramble(rest),
        [] => {}
    }
}

/// RFC 3442: a prefix's length, as many octets as it needs, a router
fn routes(value: &mut [u8], names: &mut Names) {
    let mut rest = &mut *value;
    while let [prefix, tail @ ..] = rest {
        let len = usize::from(prefix.div_ceil(8));
        if len > 4 || tail.len() < len + 4 {
            // It is none of these.
            return names.scramble(value);
        }
        let (network, tail) = tail.split_at_mut(len);
        let mut whole = [0; 4];
        whole[..len].copy_from_slice(network);
        names.address(&mut whole);
        network.copy_from_slice(&whole[..len]);
        let (router, tail) = tail.split_at_mut(4);
        names.address(router);
        rest = tail;
    }
}
