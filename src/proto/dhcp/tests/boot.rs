//! What each kind of client finds in a whole offer to boot from.

use super::*;
use crate::wire::pxe::Vendor;

fn offer_to(request: &Request) -> Reply {
    World::new(Mode::Full).ask(request).expect("an offer")
}

/// File, server and option 67 agree: who reads which is in nobody's hand
fn assert_boots(reply: &Reply, name: &str) {
    assert_eq!((&reply.file[..], &reply.sname[..], reply.siaddr), (name, "192.168.99.181", SERVER));
    assert_eq!(reply.get(code::TFTP_SERVER_NAME), Some(&b"192.168.99.181"[..]));
    assert_eq!(reply.options.last(), Some(&(code::BOOT_FILE_NAME, format!("{name}\0").into_bytes())));
}

#[test]
fn a_bios_rom_is_spared_the_wait_for_a_proxy() {
    let reply = offer_to(&Request::rom(MessageType::Discover, Arch::X86_BIOS));
    assert_boots(&reply, "lpxelinux.0");
    assert_eq!(reply.get(code::VENDOR_CLASS), Some(&b"PXEClient"[..]));
    assert_eq!(reply.get(code::VENDOR_SPECIFIC), Some(&[6, 1, 8, 255][..]));
    assert_eq!(reply.get(code::PXELINUX_PATH_PREFIX), Some(&b"/pxe/"[..]));
}

#[test]
fn uefi_gets_a_plain_offer_with_a_boot_file() {
    for mode in [Mode::Full, Mode::TakeOver] {
        let reply = World::new(mode).ask(&Request::rom(MessageType::Discover, Arch::X64_UEFI)).unwrap();
        assert_boots(&reply, "bootx64.efi");
        assert_eq!((reply.get(code::VENDOR_CLASS), reply.get(code::VENDOR_SPECIFIC)), (None, None));
        assert_eq!(reply.get(code::PXE_UUID), Some(&UUID[..]));
    }
}

#[test]
fn http_boot_gets_a_url_and_its_class() {
    let reply = offer_to(&Request::http(MessageType::Discover));
    assert_boots(&reply, "http://192.168.99.181/bootx64.efi");
    assert_eq!(
        (reply.get(code::VENDOR_CLASS), reply.get(code::VENDOR_SPECIFIC)),
        (Some(&b"HTTPClient"[..]), None)
    );
}

#[test]
fn ipxe_need_not_wait_for_a_proxy() {
    let reply = offer_to(&Request::ipxe(MessageType::Discover));
    assert_boots(&reply, "http://192.168.99.181/boot.ipxe");
    assert_eq!(reply.get(code::IPXE), Some(&[0xb0, 1, 1][..]));
    // Where another server offers as well, iPXE prefers ours.
    let reply = World::new(Mode::TakeOver).ask(&Request::ipxe(MessageType::Discover)).unwrap();
    assert_eq!(reply.get(code::IPXE), Some(&[0xb0, 1, 1, 1, 1, 1][..]));
}

#[test]
fn uboot_and_grub_find_server_and_file_in_the_header() {
    let uboot = Request::of(MessageType::Discover).option(code::VENDOR_CLASS, b"U-Boot.armv8");
    let reply = offer_to(&uboot.option(code::ARCHITECTURE, &[0, 22]));
    assert_boots(&reply, "uboot.img");
    assert_eq!(reply.get(code::VENDOR_CLASS), None);
    assert_boots(&offer_to(&Request::of(MessageType::Discover)), "grub.cfg");
}

#[test]
fn a_raspberry_pi_finds_its_menu_entry_in_offer_and_acknowledgement() {
    let pi = MacAddr([0xdc, 0xa6, 0x32, 1, 2, 3]);
    let discover = Request::rom(MessageType::Discover, Arch::X86_BIOS).mac(pi);
    let mut world = World::new(Mode::Full);
    let offer = world.ask(&discover).unwrap();
    // Its REQUEST lacks option 60.
    let ack = world.ask(&take(&discover, offer.yiaddr).without(code::VENDOR_CLASS)).unwrap();
    for reply in [offer, ack] {
        let vendor = Vendor::parse(reply.get(code::VENDOR_SPECIFIC).unwrap());
        assert_eq!(vendor.menu().next().unwrap().text, b"Raspberry Pi Boot");
        assert_eq!(reply.get(code::VENDOR_CLASS), Some(&b"PXEClient"[..]));
    }
    // Raspberry Pi 3 refuses a relayed reply whose hops are not its request's.
    assert_eq!(world.ask(&discover.relayed()).unwrap().hops, 1);
}

#[test]
fn an_operating_system_gets_an_address_and_a_server_alone() {
    let reply = offer_to(&linux(MessageType::Discover));
    assert_eq!((&reply.file[..], reply.siaddr), ("", SERVER));
    for code in [code::BOOT_FILE_NAME, code::VENDOR_CLASS, code::VENDOR_SPECIFIC, code::PXE_UUID] {
        assert_eq!(reply.get(code), None, "{code}");
    }
}

#[test]
fn a_rom_with_nothing_to_boot_gets_an_address() {
    let reply = offer_to(&Request::rom(MessageType::Discover, Arch(2)));
    assert_eq!((&reply.file[..], reply.get(code::VENDOR_CLASS)), ("", None));
}

#[test]
fn a_menu_is_shown_in_a_whole_offer_too() {
    let mut world = World::of(plan_with_menu(Mode::Full));
    for arch in [Arch::X86_BIOS, Arch::X64_UEFI] {
        let reply = world.ask(&Request::rom(MessageType::Discover, arch)).unwrap();
        assert_eq!(reply.get(code::VENDOR_CLASS), Some(&b"PXEClient"[..]));
        assert_eq!(Vendor::parse(reply.get(code::VENDOR_SPECIFIC).unwrap()).menu().count(), 3);
    }
}

#[test]
fn a_small_client_gets_what_it_needs_and_loses_what_it_wishes() {
    let mut world = World::with_network(|network| {
        network.subnets[0].options.push((code::DOMAIN_SEARCH, vec![b'x'; 250]));
    });
    let request = Request::rom(MessageType::Discover, Arch::X64_UEFI).without(code::PARAMETER_LIST);
    let whole = world.ask(&request).unwrap();
    assert!(whole.get(code::DOMAIN_SEARCH).is_some());
    let small = world.ask(&request.without(code::MAX_MESSAGE_SIZE)).unwrap();
    assert!(small.len <= 548 && small.get(code::DOMAIN_SEARCH).is_none());
    assert_boots(&small, "bootx64.efi");
}

#[test]
fn a_url_too_long_for_the_field_is_in_option_67_alone() {
    let url = format!("http://192.168.99.181/{}.efi", "x".repeat(140));
    let mut rules = rules();
    rules[5].boots = crate::boot::plan::Boots::File(crate::boot::plan::BootFile::parse(&url).unwrap());
    let plan = Plan::new(vec![network(Mode::Full)], rules, Vec::new(), Vec::new());
    let reply = World::of(plan).ask(&Request::http(MessageType::Discover)).unwrap();
    assert_eq!((&reply.file[..], reply.get(code::BOOT_FILE_NAME)), ("", Some(format!("{url}\0").as_bytes())));
}

#[test]
fn an_ipxe_that_is_acknowledged_the_same_again_and_again_is_told_of() {
    let mut world = World::new(Mode::Full);
    let mut told = Vec::new();
    for _ in 0..6 {
        world.bind(&Request::ipxe(MessageType::Discover));
        told.extend(world.advice());
        world.now += Duration::from_secs(8);
    }
    assert_eq!(told, [Advice::LoaderLoop { mac: MAC, times: 4 }]);
}

#[test]
fn a_captured_rom_is_offered_the_same_address_again() {
    let mut world = World::new(Mode::Full);
    let mut gots = Vec::new();
    with_capture("dnsmasq-bios-full.pcap", &plan(Mode::Full), |exchange| {
        world.outbox.clear();
        world.dhcp.on_request(exchange, &mut world.stats, &mut world.outbox);
        gots.push(world.got());
        for reply in replies(&world.outbox) {
            assert_eq!((reply.get(code::IPXE), reply.route.mac.is_some()), (Some(&[0xb0, 1, 1][..]), true));
        }
    });
    // The capture cuts the REQUEST before options 50 and 54.
    let [Got::Offer(first), Got::Offer(second), Got::Nothing(_)] = gots[..] else { panic!("{gots:?}") };
    assert_eq!(first, second);
}
