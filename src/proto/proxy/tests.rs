//! ProxyDHCP and boot servers, rule by rule.

use std::net::{Ipv4Addr, SocketAddrV4};

use proptest::prelude::*;

use super::*;
use crate::boot::client::Arch;
use crate::boot::plan::{Mode, Plan};
use crate::proto::outbox::Datagram;
use crate::proto::reply::Service;
use crate::proto::reply::testing::*;
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::dhcp::code;
use crate::wire::ethernet::MacAddr;
use crate::wire::pxe::Vendor;

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 51);
const USE_BOOT_FILE: &[u8] = &[6, 1, 8, 255];

/// What a fresh proxy replies to one request
fn ask(plan: &Plan, request: &Request) -> Option<Reply> {
    let mut outbox = Outbox::new();
    with_request(plan, NOW, request, |exchange| {
        assert_eq!(exchange.service(), Service::Proxy);
        Proxy::new().on_request(exchange, &mut Stats::new(), &mut outbox);
    });
    assert_eq!(got(&outbox).len(), 1, "one decision");
    assert!(outbox.changes().is_empty(), "a proxy leases nothing");
    replies(&outbox).pop()
}

fn offer_to(request: &Request) -> Reply {
    ask(&plan(Mode::Proxy), request).expect("an offer")
}

#[test]
fn a_bios_rom_is_told_to_use_the_boot_file() {
    let reply = offer_to(&Request::rom(MessageType::Discover, Arch::X86_BIOS));
    assert_eq!(reply.message_type(), Some(2));
    assert_eq!((reply.yiaddr, reply.siaddr), (Ipv4Addr::UNSPECIFIED, SERVER));
    assert_eq!((&reply.file[..], &reply.sname[..]), ("lpxelinux.0", "192.168.99.181"));
    assert_eq!(reply.get(code::VENDOR_CLASS), Some(&b"PXEClient"[..]));
    assert_eq!(reply.get(code::VENDOR_SPECIFIC), Some(USE_BOOT_FILE));
    assert_eq!(reply.get(code::SERVER_ID), Some(&SERVER.octets()[..]));
    assert_eq!(reply.get(code::TFTP_SERVER_NAME), Some(&b"192.168.99.181"[..]));
    assert_eq!(reply.get(code::PXE_UUID), Some(&UUID[..]));
    assert_eq!(reply.options.last(), Some(&(code::BOOT_FILE_NAME, b"lpxelinux.0\0".to_vec())));
}

#[test]
fn a_proxy_offer_says_nothing_of_addresses() {
    let reply = offer_to(&Request::rom(MessageType::Discover, Arch::X86_BIOS));
    for code in [code::SUBNET_MASK, code::ROUTER, code::DNS, code::LEASE_TIME, code::DOMAIN_NAME] {
        assert_eq!(reply.get(code), None, "{code}");
    }
    // pxelinux cannot ask for its own options, and reads them in the proxy's reply.
    assert_eq!(reply.get(code::PXELINUX_PATH_PREFIX), Some(&b"/pxe/"[..]));
}

#[test]
fn it_reaches_everybody_since_the_client_has_no_address() {
    let reply = offer_to(&Request::rom(MessageType::Discover, Arch::X86_BIOS));
    assert!(reply.is_broadcast);
    assert_eq!(reply.route.to, SocketAddrV4::new(Ipv4Addr::BROADCAST, 68));
    assert_eq!((reply.route.mac, reply.route.source), (Some(MacAddr::BROADCAST), SERVER));
}

#[test]
fn uefi_gets_no_option_43_and_comes_to_4011() {
    let reply = offer_to(&Request::rom(MessageType::Discover, Arch::X64_UEFI));
    assert_eq!(
        (reply.get(code::VENDOR_CLASS), reply.get(code::VENDOR_SPECIFIC)),
        (Some(&b"PXEClient"[..]), None)
    );
    assert_eq!(&reply.file[..], "bootx64.efi");

    // EDK2: from 4011 to 4011, with neither 54 nor 50.
    let request = Request::rom(MessageType::Request, Arch::X64_UEFI).at_boot_server(CLIENT, 4011);
    let reply = ask(&plan(Mode::Proxy), &request).unwrap();
    assert_eq!((reply.message_type(), &reply.file[..]), (Some(5), "bootx64.efi"));
    assert_eq!((reply.ciaddr, reply.yiaddr, reply.siaddr), (CLIENT, Ipv4Addr::UNSPECIFIED, SERVER));
    assert_eq!(
        (reply.get(code::VENDOR_CLASS), reply.get(code::VENDOR_SPECIFIC)),
        (Some(&b"PXEClient"[..]), None)
    );
    assert_eq!((reply.route.port, reply.route.source), (Port::BootServer, SERVER));
    assert_eq!(reply.route.to, SocketAddrV4::new(CLIENT, 4011));
}

#[test]
fn the_boot_server_answers_the_port_that_asked_in_every_mode() {
    for mode in [Mode::Proxy, Mode::Full, Mode::TakeOver] {
        let request = Request::ipxe(MessageType::Request).at_boot_server(CLIENT, 68).server(SERVER);
        let reply = ask(&plan(mode), &request).unwrap();
        assert_eq!(reply.route.to, SocketAddrV4::new(CLIENT, 68));
        assert_eq!(&reply.file[..], "http://192.168.99.181/boot.ipxe");
    }
}

#[test]
fn a_boot_server_asked_by_broadcast_answers_from_its_own_address() {
    let request = Request::rom(MessageType::Request, Arch::X64_UEFI).at_boot_server(CLIENT, 4011);
    let reply = ask(&plan(Mode::Proxy), &Request { destination: Ipv4Addr::BROADCAST, ..request }).unwrap();
    assert_eq!(reply.route.source, SERVER);
}

#[test]
fn http_boot_gets_a_url() {
    let reply = offer_to(&Request::http(MessageType::Discover));
    assert_eq!(reply.get(code::VENDOR_CLASS), Some(&b"HTTPClient"[..]));
    assert_eq!(reply.get(code::VENDOR_SPECIFIC), None);
    assert_eq!(&reply.file[..], "http://192.168.99.181/bootx64.efi");
    assert_eq!(reply.get(code::BOOT_FILE_NAME), Some(&b"http://192.168.99.181/bootx64.efi\0"[..]));
}

#[test]
fn ipxe_gets_its_script_with_the_first_offer() {
    let reply = offer_to(&Request::ipxe(MessageType::Discover));
    assert_eq!(&reply.file[..], "http://192.168.99.181/boot.ipxe");
    // With a file and a server it asks nobody at 4011; and it must not be told that no proxy exists.
    assert_eq!((reply.siaddr, reply.get(code::IPXE)), (SERVER, None));
}

#[test]
fn a_raspberry_pi_finds_its_menu_entry() {
    let pi = MacAddr([0xb8, 0x27, 0xeb, 1, 2, 3]);
    let reply = offer_to(&Request::rom(MessageType::Discover, Arch::X86_BIOS).mac(pi));
    let accepted = b"\x06\x01\x03\x0a\x04\x00PXE\x09\x14\x00\x00\x11Raspberry Pi Boot\xff";
    assert_eq!(reply.get(code::VENDOR_SPECIFIC), Some(&accepted[..]));
    // The first model 3B counts the text too short, and has a UUID of 0x44s.
    let mut uuid = [0x44; 17];
    uuid[0] = 0;
    let first = Request::rom(MessageType::Discover, Arch::X86_BIOS).mac(pi).option(code::PXE_UUID, &uuid);
    let vendor = offer_to(&first).get(code::VENDOR_SPECIFIC).unwrap().to_vec();
    assert!(vendor.ends_with(b"\x14Raspberry Pi Boot   \xff"));
}

#[test]
fn a_relay_gets_the_offer_at_its_address() {
    let request = Request::rom(MessageType::Discover, Arch::X64_UEFI).relayed();
    let agent = [1, 4, b'g', b'e', b'0', b'1'];
    let reply = offer_to(&request.option(code::RELAY_AGENT, &agent));
    assert_eq!(reply.route.to, SocketAddrV4::new(RELAY, 67));
    assert_eq!(reply.route.mac, None);
    // Option 82 is the last of all; the relay takes it off, and 67 is the last that the client sees.
    assert_eq!(reply.options.last(), Some(&(code::RELAY_AGENT, agent.to_vec())));
    assert_eq!(reply.options[reply.options.len() - 2].0, code::BOOT_FILE_NAME);
}

#[test]
fn who_does_not_network_boot_is_left_alone() {
    let plan = plan(Mode::Proxy);
    let linux = Request::of(MessageType::Discover).option(code::PARAMETER_LIST, &[1, 3, 6]);
    assert!(ask(&plan, &linux).is_none());
    // GRUB would take an offer without an address for its own.
    assert!(ask(&plan, &Request::of(MessageType::Discover)).is_none());
    assert!(ask(&plan, &Request::bootp()).is_none());
    // Nothing is configured for an Itanium.
    assert!(ask(&plan, &Request::rom(MessageType::Discover, Arch(2))).is_none());
}

#[test]
fn uboot_that_is_built_for_it_finds_its_file() {
    let uboot = Request::of(MessageType::Discover).option(code::VENDOR_CLASS, b"U-Boot.armv8");
    let reply = offer_to(&uboot.option(code::ARCHITECTURE, &[0, 22]));
    assert_eq!((reply.siaddr, &reply.file[..]), (SERVER, "uboot.img"));
}

#[test]
fn a_rom_without_a_uuid_is_sent_none() {
    let reply = offer_to(&Request::rom(MessageType::Discover, Arch::X86_BIOS).without(code::PXE_UUID));
    assert_eq!(reply.get(code::PXE_UUID), None);
}

#[test]
fn a_menu_lists_every_boot_server() {
    let reply =
        ask(&plan_with_menu(Mode::Proxy), &Request::rom(MessageType::Discover, Arch::X64_UEFI)).unwrap();
    let vendor = Vendor::parse(reply.get(code::VENDOR_SPECIFIC).unwrap());
    assert_eq!(vendor.discovery_control(), Some(3));
    let prompt = vendor.prompt().unwrap();
    assert_eq!((prompt.timeout_s, prompt.text), (10, &b"Press F8"[..]));
    let items: Vec<_> = vendor.menu().map(|item| (item.kind, item.text)).collect();
    assert_eq!(items, [(0x8000, &b"Install"[..]), (0x8001, b"Rescue"), (0, b"Local disk")]);
    let servers: Vec<_> =
        vendor.boot_servers().map(|server| (server.kind, server.ips().collect::<Vec<_>>())).collect();
    let other = Ipv4Addr::new(192, 168, 99, 7);
    assert_eq!(servers, [(0x8000, vec![SERVER]), (0x8001, vec![other])]);
}

fn choose(kind: u16, layer: u16) -> Vec<u8> {
    [&[71, 4][..], &kind.to_be_bytes(), &layer.to_be_bytes(), &[255]].concat()
}

#[test]
fn a_chosen_item_comes_back_with_its_file() {
    let request = Request::rom(MessageType::Request, Arch::X86_BIOS).at_boot_server(CLIENT, 68);
    let request = request.option(code::VENDOR_SPECIFIC, &choose(0x8000, 0));
    let reply = ask(&plan_with_menu(Mode::Full), &request).unwrap();
    assert_eq!((reply.message_type(), &reply.file[..]), (Some(5), "install.0"));
    assert_eq!(reply.get(code::VENDOR_SPECIFIC), Some(&choose(0x8000, 0)[..]));
    assert_eq!((reply.yiaddr, reply.ciaddr), (CLIENT, Ipv4Addr::UNSPECIFIED));
}

#[test]
fn an_item_of_somebody_elses_menu_gets_the_clients_file() {
    let request = Request::rom(MessageType::Request, Arch::X86_BIOS).at_boot_server(CLIENT, 68);
    let reply = ask(&plan(Mode::Proxy), &request.option(code::VENDOR_SPECIFIC, &choose(0x8000, 0))).unwrap();
    assert_eq!(&reply.file[..], "lpxelinux.0");
    assert_eq!(reply.get(code::VENDOR_SPECIFIC), Some(&choose(0x8000, 0)[..]));
}

#[test]
fn other_servers_items_unknown_items_and_credentials_are_not_served() {
    let plan = plan_with_menu(Mode::Proxy);
    for (kind, layer) in [(0x8001, 0), (0x8002, 0), (0, 0), (0x8000, 0x8000)] {
        let request = Request::rom(MessageType::Request, Arch::X86_BIOS).at_boot_server(CLIENT, 68);
        assert!(
            ask(&plan, &request.option(code::VENDOR_SPECIFIC, &choose(kind, layer))).is_none(),
            "{kind:#x}"
        );
    }
}

#[test]
fn boot_servers_are_also_found_by_broadcast() {
    for mode in [Mode::Proxy, Mode::Full, Mode::TakeOver] {
        let request = Request::rom(MessageType::Request, Arch::X64_UEFI).ciaddr(CLIENT).broadcast();
        let request = request.option(code::VENDOR_SPECIFIC, &choose(0x8000, 0));
        let reply = ask(&plan_with_menu(mode), &request).unwrap();
        assert_eq!((&reply.file[..], reply.route.to), ("install.0", SocketAddrV4::new(CLIENT, 68)));
    }
}

#[test]
fn a_request_to_another_server_is_noted() {
    let mut outbox = Outbox::new();
    let request = Request::rom(MessageType::Request, Arch::X64_UEFI).server(ROUTER).requested(CLIENT);
    with_request(&plan(Mode::Proxy), NOW, &request, |exchange| {
        Proxy::new().on_request(exchange, &mut Stats::new(), &mut outbox);
    });
    assert_eq!((replies(&outbox).len(), &got(&outbox)[..]), (0, &[Got::Noted][..]));
}

#[test]
fn who_chose_which_address_and_which_item_is_remembered() {
    let (plan, mut proxy) = (plan_with_menu(Mode::Proxy), Proxy::new());
    let mut hear = |request: &Request| {
        with_request(&plan, NOW, request, |exchange| {
            proxy.on_request(exchange, &mut Stats::new(), &mut Outbox::new());
        });
        plan.register().callers.at(CLIENT).map(|caller| (caller.client(None).arch, caller.item))
    };
    let rom = |message_type| Request::rom(message_type, Arch::X64_UEFI);
    assert_eq!(hear(&rom(MessageType::Discover).requested(CLIENT)), None, "nobody has given it yet");
    let took = rom(MessageType::Request).server(ROUTER).requested(CLIENT);
    let arch = Some(Arch::X64_UEFI);
    assert_eq!(hear(&took), Some((arch, None)));
    let chose = rom(MessageType::Request).option(code::VENDOR_SPECIFIC, &choose(0x8000, 0));
    assert_eq!(hear(&chose.clone().at_boot_server(CLIENT, 4011)), Some((arch, Some(0x8000))));
    let system = Request::of(MessageType::Request).option(code::PARAMETER_LIST, &[1, 3]).ciaddr(CLIENT);
    assert_eq!(hear(&system), Some((arch, Some(0x8000))), "the same machine's system");
    assert_eq!(hear(&took), Some((arch, None)), "the next boot");
    assert_eq!(hear(&chose.ciaddr(CLIENT).broadcast()), Some((arch, Some(0x8000))));
}

/// Offers at 0, 4, 12 and 28 s, with a REQUEST after the second where `requests`
fn advice(requests: bool) -> usize {
    let (plan, mut proxy, mut outbox) = (plan(Mode::Proxy), Proxy::new(), Outbox::new());
    for seconds in [0, 4, 12, 28] {
        let now = Instant::from_secs(1_000 + seconds);
        with_request(&plan, now, &Request::rom(MessageType::Discover, Arch::X64_UEFI), |exchange| {
            proxy.on_request(exchange, &mut Stats::new(), &mut outbox);
        });
        if requests && seconds == 4 {
            let request = Request::rom(MessageType::Request, Arch::X64_UEFI).server(ROUTER).requested(CLIENT);
            with_request(&plan, now, &request, |exchange| {
                proxy.on_request(exchange, &mut Stats::new(), &mut outbox);
            });
        }
    }
    outbox
        .notes()
        .iter()
        .filter(|note| matches!(note, Note::Advice(Advice::IgnoresProxyOffers { .. })))
        .count()
}

#[test]
fn a_client_that_ignores_offers_is_told_of_once() {
    assert_eq!((advice(false), advice(true)), (1, 0));
}

#[test]
fn an_ipxe_that_takes_the_same_again_and_again_is_told_of() {
    let (plan, mut proxy, mut outbox) = (plan(Mode::Proxy), Proxy::new(), Outbox::new());
    let request = Request::ipxe(MessageType::Request).server(ROUTER).requested(CLIENT);
    for seconds in [0, 8, 16, 24, 32] {
        with_request(&plan, Instant::from_secs(1_000 + seconds), &request, |exchange| {
            proxy.on_request(exchange, &mut Stats::new(), &mut outbox);
        });
    }
    let is_loop = |note: &&Note| matches!(note, Note::Advice(Advice::LoaderLoop { mac: MAC, times: 4 }));
    assert_eq!(outbox.notes().iter().filter(is_loop).count(), 1);
}

/// What a fresh proxy makes of the clients of a capture, and the file that each reply named
fn replay(file: &str) -> (Vec<Got>, Vec<String>) {
    let (plan, mut proxy, mut outbox) = (plan(Mode::Proxy), Proxy::new(), Outbox::new());
    with_capture(file, &plan, |exchange| {
        proxy.on_request(exchange, &mut Stats::new(), &mut outbox);
    });
    (got(&outbox), replies(&outbox).into_iter().map(|reply| reply.file).collect())
}

#[test]
fn captured_bios_and_uefi_firmware_is_answered_where_dnsmasq_answered() {
    let script = "http://192.168.99.181/boot.ipxe";
    let (got, files) = replay("dnsmasq-bios-proxy.pcap");
    assert_eq!(got, [Got::ProxyOffer, Got::ProxyOffer, Got::Noted, Got::BootServerAck]);
    assert_eq!(files, [script; 3], "a ROM that is iPXE");

    let (got, files) = replay("dnsmasq-uefi-proxy.pcap");
    assert_eq!(got, [Got::ProxyOffer, Got::Noted, Got::BootServerAck, Got::ProxyOffer, Got::Noted]);
    assert_eq!(files, ["bootx64.efi", "bootx64.efi", script]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_request_is_answered_well_or_not_at_all(
        packets in prop::collection::vec((mutated(), any::<bool>()), 1..8),
        mode in prop::sample::select(vec![Mode::Full, Mode::Proxy, Mode::TakeOver]),
        has_menu: bool,
    ) {
        let plan = if has_menu { plan_with_menu(mode) } else { plan(mode) };
        let (mut proxy, mut outbox) = (Proxy::new(), Outbox::new());
        for (bytes, is_for_boot_server) in &packets {
            outbox.clear();
            let port = if *is_for_boot_server { Port::BootServer } else { Port::Dhcp };
            let source = SocketAddrV4::new(CLIENT, 68);
            let datagram =
                Datagram { port, network: 0, source, destination: SERVER, source_mac: None, payload: bytes };
            with_exchange(&plan, NOW, &datagram, |exchange| {
                if exchange.service() == Service::Proxy {
                    proxy.on_request(exchange, &mut Stats::new(), &mut outbox);
                }
            });
            replies(&outbox);
        }
    }
}
