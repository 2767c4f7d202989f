//! Who gets what: every line of a table is a client, and what the plan says of it.

mod local;

use super::super::client::{Arch, IpxeFeatures};
use super::super::register::Caller;
use super::*;

const MAC: MacAddr = MacAddr([0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd]);
const NAMED: MacAddr = MacAddr([0x88, 0x99, 0xaa, 0, 0, 1]);
const IPXE: Loader = Loader::Ipxe(IpxeFeatures { http: true, bzimage: true, script: true });

fn client() -> Client<'static> {
    Client {
        network: 0,
        mac: MAC,
        uuid: None,
        arch: Some(Arch::X86_BIOS),
        stated_arch: None,
        loader: Loader::Rom,
        wants: Wants::Pxe,
        vendor_class: b"PXEClient:Arch:00000:UNDI:002001",
        user_class: b"",
        link: None,
        relay: None,
        circuit_id: b"",
        remote_id: b"",
        ip: None,
    }
}

fn system() -> Client<'static> {
    Client {
        arch: None,
        loader: Loader::System,
        wants: Wants::Nothing,
        vendor_class: b"MSFT 5.0",
        ..client()
    }
}

fn ipxe() -> Client<'static> {
    Client { loader: IPXE, user_class: b"iPXE", ..client() }
}

fn subnet(text: &str, attached: bool) -> Subnet {
    let (address, prefix) = text.split_once('/').unwrap();
    let cidr = Cidr::new(address.parse().unwrap(), prefix.parse().unwrap());
    Subnet { cidr, attached, pools: Vec::new(), lease: Duration::from_secs(3600), options: Vec::new() }
}

fn network(mode: Mode) -> Network {
    Network {
        interface: "eth0".into(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        address: Ipv4Addr::new(192, 168, 99, 1),
        mode,
        authoritative: true,
        probe: true,
        subnets: vec![subnet("192.168.99.0/24", true), subnet("10.44.0.0/24", false)],
    }
}

fn file(text: &str) -> BootFile {
    BootFile::parse(text).unwrap()
}

/// A rule whose line is ten times its number
fn rule(number: u32, matches: Vec<Match>, boots: &str) -> Rule {
    let boots = match boots {
        "" => Boots::Nothing,
        "-" => Boots::Unsaid,
        text => Boots::File(file(text)),
    };
    let reason = Reason::Rule { number, line: number * 10 };
    Rule {
        matches,
        boots,
        image: None,
        local: Default::default(),
        vars: Default::default(),
        mode: None,
        reason,
    }
}

fn machine(mac: Option<MacAddr>, uuid: Option<Uuid>, boot: Option<&str>) -> Machine {
    let boot = boot.map(file);
    Machine {
        mac,
        uuid,
        address: None,
        hostname: None,
        mode: None,
        boot,
        serial: None,
        image: None,
        local: Default::default(),
        vars: Default::default(),
        line: 99,
    }
}

/// The boot file as the client gets it, and the rule's number (0: none of them)
fn given(plan: &Plan, client: &Client<'_>) -> (String, u32) {
    let answer = plan.answer(client);
    let mut out = [0; BOOT_FILE_MAX];
    let len =
        answer.boot.map_or(0, |boot| boot.expand(&plan.expansion(&answer, client, None), &mut out).unwrap());
    let number = match answer.reason {
        Reason::Rule { number, line } => {
            assert_eq!(line, number * 10);
            number
        }
        _ => 0,
    };
    (String::from_utf8(out[..len].to_vec()).unwrap(), number)
}

fn check(rules: Vec<Rule>, cases: &[(Client<'_>, &str, u32)]) {
    let plan = Plan::new(vec![network(Mode::Full)], rules, Vec::new(), Vec::new()).with_ports(8080, 69);
    for (client, expected, number) in cases {
        assert_eq!(given(&plan, client), ((*expected).to_owned(), *number), "{client:?}");
    }
}

fn texts(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

#[test]
fn the_first_rule_that_matches_answers() {
    let rules = vec![
        rule(1, vec![Match::Loader(vec![LoaderName::Ipxe])], "http://{server}/boot.ipxe"),
        rule(2, vec![Match::Arch(vec![Arch::X86_BIOS]), Match::Mac(texts("88:99:aa:bb"))], "named.0"),
        rule(3, vec![Match::Arch(vec![Arch::X86_BIOS])], "lpxelinux.0"),
        rule(4, vec![Match::Arch(vec![Arch::X64_UEFI])], "bootx64.efi"),
        rule(5, vec![Match::Arch(vec![Arch::X64_UEFI_HTTP])], "bootx64.efi"),
    ];
    let arch = |arch| Client { arch: Some(arch), ..client() };
    let http = Client { wants: Wants::Http, ..arch(Arch::X64_UEFI_HTTP) };
    let cases = [
        (ipxe(), "http://192.168.99.1/boot.ipxe", 1),
        (client(), "named.0", 2),
        (Client { mac: NAMED, ..client() }, "lpxelinux.0", 3),
        (arch(Arch::X64_UEFI), "bootx64.efi", 4),
        (arch(Arch::EBC), "bootx64.efi", 4),
        (http, "http://192.168.99.1:8080/bootx64.efi", 5),
        (arch(Arch::ARM64_UEFI), "", 0),
    ];
    check(rules, &cases);
}

#[test]
fn conditions_look_at_what_the_client_said() {
    let uuid = Uuid([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    let as_bmc_prints = Uuid([4, 3, 2, 1, 6, 5, 8, 7, 9, 10, 11, 12, 13, 14, 15, 16]);
    let rules = vec![
        rule(1, vec![Match::Uuid(vec![uuid])], "uuid"),
        rule(2, vec![Match::Subnet(vec![Cidr::new(Ipv4Addr::new(10, 44, 0, 0), 16)])], "subnet"),
        rule(3, vec![Match::UserClass(texts("gold*"))], "user-class"),
        rule(4, vec![Match::Circuit(texts("rack-7/*"))], "circuit"),
        rule(5, vec![Match::Vendor(texts("Arista*"))], "http://{server}/ztp"),
        rule(6, vec![], ""),
    ];
    let link = |a, b| Client { link: Some(Ipv4Addr::new(a, b, 0, 9)), ..client() };
    let cases = [
        (Client { uuid: Some(uuid), ..client() }, "uuid", 1),
        (Client { uuid: Some(as_bmc_prints), ..client() }, "uuid", 1),
        (link(10, 44), "subnet", 2),
        (Client { user_class: b"gold-7", ..client() }, "user-class", 3),
        (Client { circuit_id: b"rack-7/3", ..client() }, "circuit", 4),
        (Client { vendor_class: b"Arista;DCS-7050", ..system() }, "http://192.168.99.1/ztp", 5),
        (link(10, 45), "", 6),
        (system(), "", 0),
    ];
    check(rules, &cases);
}

#[test]
fn an_operating_system_gets_a_boot_file_only_by_name() {
    let general = rule(1, vec![], "lpxelinux.0");
    let by_mac = rule(1, vec![Match::Mac(texts("88:99"))], "switch.cfg");
    check(vec![general.clone()], &[(client(), "lpxelinux.0", 1), (system(), "", 0)]);
    check(vec![by_mac], &[(system(), "switch.cfg", 1)]);
    let plan = Plan::new(vec![network(Mode::Full)], vec![general], Vec::new(), Vec::new());
    assert_eq!(plan.answer(&system()).reason, Reason::NotABoot);
    // Those who state no class and boot all the same: U-Boot, GRUB, a BOOTP ROM.
    for loader in [Loader::UBoot, Loader::Grub, Loader::Rom] {
        let client = Client { loader, ..system() };
        assert_eq!(given(&plan, &client), ("lpxelinux.0".to_owned(), 1), "{loader:?}");
    }
}

#[test]
fn ipxe_is_never_handed_ipxe() {
    let plan = |names: &'static [&str]| {
        let rules = well_known::rules(|_, name| names.contains(&name), false);
        Plan::new(vec![network(Mode::Full)], rules, Vec::new(), Vec::new())
    };
    let chain = plan(&["undionly.kpxe", "boot.ipxe"]);
    assert_eq!(given(&chain, &client()).0, "undionly.kpxe");
    assert_eq!(given(&chain, &ipxe()).0, "http://192.168.99.1/boot.ipxe");
    let no_script = plan(&["undionly.kpxe"]);
    assert_eq!(no_script.answer(&ipxe()).reason, Reason::NoRule);
    // An operator's rule for an architecture means the ROM; a later rule may say what iPXE gets.
    let rules =
        vec![rule(1, vec![Match::Arch(vec![Arch::X86_BIOS])], "undionly.kpxe"), rule(2, vec![], "menu.ipxe")];
    check(rules, &[(client(), "undionly.kpxe", 1), (ipxe(), "http://192.168.99.1:8080/menu.ipxe", 2)]);
}

#[test]
fn relative_names_for_ipxe_are_urls_of_the_server_that_holds_them() {
    let elsewhere = BootFile { server: Some(Ipv4Addr::new(10, 0, 0, 9)), ..file("a.ipxe") };
    let rules = vec![Rule { boots: Boots::File(elsewhere), ..rule(1, vec![], "-") }];
    let no_http = Client { loader: Loader::Ipxe(IpxeFeatures::default()), ..ipxe() };
    check(rules, &[(ipxe(), "tftp://10.0.0.9/a.ipxe", 1), (client(), "a.ipxe", 1)]);
    check(vec![rule(1, vec![], "a.ipxe")], &[(no_http, "tftp://192.168.99.1/a.ipxe", 1)]);
}

#[test]
fn a_machine_comes_before_the_rules() {
    let uuid = Uuid([7; 16]);
    let machines = vec![
        Machine { mode: Some(Mode::TakeOver), ..machine(Some(NAMED), None, Some("mine.0")) },
        Machine { hostname: Some("node-02".into()), ..machine(None, Some(uuid), Some("{host}.0")) },
        Machine { address: Some(Ipv4Addr::new(192, 168, 99, 60)), ..machine(Some(MAC), None, None) },
    ];
    let rules = vec![Rule { mode: Some(Mode::Off), ..rule(1, vec![], "-") }, rule(2, vec![], "lpxelinux.0")];
    let plan = Plan::new(vec![network(Mode::Proxy)], rules, Vec::new(), machines);

    let named = Client { mac: NAMED, ..client() };
    assert_eq!(given(&plan, &named).0, "mine.0");
    assert_eq!(
        (plan.answer(&named).mode, plan.answer(&named).reason),
        (Mode::TakeOver, Reason::Machine { line: 99 })
    );
    let other = MacAddr([2; 6]);
    assert_eq!(given(&plan, &Client { mac: other, uuid: Some(uuid), ..client() }).0, "node-02.0");
    // A machine without a file of its own gets the rules'; a rule that only says a mode leaves the file to the next.
    assert_eq!(given(&plan, &client()), ("lpxelinux.0".to_owned(), 2));
    assert_eq!(plan.answer(&client()).mode, Mode::Off);
    assert_eq!(plan.answer(&system()).mode, Mode::Proxy);
    assert!(plan.machine_reserved(Ipv4Addr::new(192, 168, 99, 60)));
    assert!(!plan.machine_reserved(Ipv4Addr::new(192, 168, 99, 61)));
}

#[test]
fn the_subnet_is_the_links_or_the_interfaces_own() {
    let plan = Plan::new(vec![network(Mode::Full)], Vec::new(), Vec::new(), Vec::new());
    for (link, expected) in [
        (None, Some("192.168.99.0/24")),
        (Some([10, 44, 0, 1]), Some("10.44.0.0/24")),
        (Some([192, 168, 99, 60]), Some("192.168.99.0/24")),
        (Some([10, 45, 0, 1]), None),
    ] {
        let client = Client { link: link.map(Ipv4Addr::from), ..client() };
        let subnet = plan.answer(&client).subnet.map(|subnet| subnet.cidr.to_string());
        assert_eq!(subnet.as_deref(), expected);
    }
}

#[test]
fn a_menu_is_for_roms() {
    let item = |kind, boot: Option<&str>| MenuItem {
        kind,
        text: "Item".into(),
        boot: boot.map(file),
        image: None,
        servers: Vec::new(),
    };
    let menu =
        Menu { prompt: "Boot".into(), timeout_s: 5, items: vec![item(0, None), item(0x8000, Some("a.0"))] };
    let reason = Reason::Menu { line: 30 };
    let menus = |matches: Vec<Match>| vec![(matches, menu.clone(), reason)];
    let rules = || vec![rule(1, vec![Match::Loader(vec![LoaderName::Ipxe])], "boot.ipxe")];
    let machines = || vec![machine(Some(NAMED), None, Some("mine.0"))];

    let plan = Plan::new(vec![network(Mode::Proxy)], rules(), menus(vec![]), machines());
    let shown = |plan: &Plan, client: &Client<'_>| plan.answer(client).menu.is_some();
    assert!(shown(&plan, &client()));
    assert_eq!((given(&plan, &client()).0.as_str(), plan.answer(&client()).reason), ("a.0", reason));
    assert!(!shown(&plan, &ipxe()));
    assert!(!shown(&plan, &Client { mac: NAMED, ..client() }));
    assert!(!shown(&plan, &Client { wants: Wants::Http, ..client() }));
    assert!(!shown(&plan, &system()));
    let asked = Plan::new(
        vec![network(Mode::Proxy)],
        rules(),
        menus(vec![Match::Loader(vec![LoaderName::Ipxe])]),
        Vec::new(),
    );
    assert!(shown(&asked, &ipxe()) && !shown(&asked, &client()));
}

fn assigned(image: &str) -> Option<Assigned> {
    Some(Assigned::for_rule(image.to_owned(), None))
}

/// The image that a client boots
fn booted<'p>(plan: &'p Plan, client: &Client<'_>) -> Option<(&'p str, Reason)> {
    plan.answer(client).image.map(|chosen| (chosen.assigned.image.as_str(), chosen.reason))
}

#[test]
fn an_image_is_apart_from_the_boot_file_but_for_ipxe() {
    let for_subnet = Match::Subnet(vec![Cidr::new(Ipv4Addr::new(10, 44, 0, 0), 24)]);
    let rules = vec![
        Rule { image: assigned("a"), ..rule(1, vec![for_subnet], "-") },
        Rule { image: assigned("b"), ..rule(2, vec![Match::Mac(texts("88:99"))], "pxelinux.0") },
        rule(3, vec![], "lpxelinux.0"),
    ];
    let by_mac = Assigned::for_machine("c".to_owned(), None, KnownBy::Mac);
    let machines = vec![Machine { image: Some(by_mac), ..machine(Some(NAMED), None, None) }];
    let plan = Plan::new(vec![network(Mode::Full)], rules, Vec::new(), machines).with_ports(80, 69);
    let number = |number| Reason::Rule { number, line: number * 10 };
    let relayed = Some(Ipv4Addr::new(10, 44, 0, 1));
    let other = MacAddr([2; 6]);
    for (mac, link, image, rom, ipxe_gets) in [
        (
            other,
            relayed,
            Some(("a", number(1))),
            "lpxelinux.0",
            "http://192.168.99.1/images/192.168.99.1/a.ipxe",
        ),
        (MAC, None, Some(("b", number(2))), "pxelinux.0", "pxelinux.0"),
        (
            MAC,
            relayed,
            Some(("a", number(1))),
            "pxelinux.0",
            "http://192.168.99.1/images/192.168.99.1/a.ipxe",
        ),
        (other, None, None, "lpxelinux.0", "lpxelinux.0"),
        (
            NAMED,
            None,
            Some(("c", Reason::Machine { line: 99 })),
            "pxelinux.0",
            "http://192.168.99.1/images/192.168.99.1/by-mac/88-99-aa-00-00-01.ipxe",
        ),
    ] {
        let at = |client| Client { mac, link, ..client };
        assert_eq!(booted(&plan, &at(client())), image, "{mac} {link:?}");
        assert_eq!(given(&plan, &at(client())).0, rom, "{mac} {link:?}");
        assert_eq!(given(&plan, &at(ipxe())).0, ipxe_gets, "{mac} {link:?}");
    }
}

#[test]
fn a_machine_with_an_image_is_asked_nothing() {
    let items = vec![MenuItem { kind: 0, text: "Disk".into(), boot: None, image: None, servers: Vec::new() }];
    let menu = Menu { prompt: "Boot".into(), timeout_s: 5, items };
    let menus = vec![(Vec::new(), menu, Reason::Menu { line: 30 })];
    let machines = vec![Machine { image: assigned("c"), ..machine(Some(NAMED), None, None) }];
    let plan = Plan::new(vec![network(Mode::Full)], vec![rule(1, vec![], "a.0")], menus, machines);
    assert!(plan.answer(&client()).menu.is_some());
    let named = Client { mac: NAMED, ..client() };
    assert!(plan.answer(&named).menu.is_none());
    assert_eq!(given(&plan, &named), ("a.0".to_owned(), 1));
}

#[test]
fn an_image_of_a_menu_is_loaded_by_what_the_firmware_takes() {
    let item = |kind, image: &str| MenuItem {
        kind,
        text: image.into(),
        boot: Some(BootFile::pxelinux_of(image)),
        image: assigned(image),
        servers: Vec::new(),
    };
    let menu =
        Menu { prompt: "Boot".into(), timeout_s: 5, items: vec![item(0x8000, "one"), item(0x8001, "two")] };
    let reason = Reason::Menu { line: 30 };
    let rules = vec![
        Rule { image: assigned("rule"), ..rule(1, vec![Match::Arch(vec![Arch::X64_UEFI])], "shim.efi") },
        rule(2, vec![Match::Loader(vec![LoaderName::Ipxe])], "boot.ipxe"),
    ];
    let plan = Plan::new(
        vec![network(Mode::Full)],
        rules,
        vec![(Vec::new(), menu.clone(), reason)],
        vec![Machine { image: assigned("own"), ..machine(Some(NAMED), None, None) }],
    );
    let boot = |client: &Client<'_>| {
        let answer = plan.answer(client);
        let of_item = menu.items[1].boot_of(client.arch, answer.loader).map(ToString::to_string);
        (answer.boot.map(ToString::to_string), of_item)
    };
    let text = |text: &str| Some(text.to_owned());
    let bios = Client { arch: Some(Arch::X86_BIOS), ..client() };
    assert_eq!(
        boot(&bios),
        (text("images/{server}/one/lpxelinux.0"), text("images/{server}/two/lpxelinux.0"))
    );
    let uefi = Client { arch: Some(Arch::X64_UEFI), ..client() };
    assert_eq!(boot(&uefi), (text("shim.efi"), text("shim.efi")));
    let none = Client { arch: Some(Arch::ARM64_UEFI), ..client() };
    assert_eq!(boot(&none), (None, None), "a menu alone loads nothing");

    let peer = Some(Ipv4Addr::new(192, 168, 99, 77));
    let image = |client: &Client<'_>, item| {
        let mut caller = Caller::of(client);
        caller.item = item;
        let choice = plan.choice(Name::Anybody, Arch::X64_UEFI, peer, Some(&caller)).unwrap();
        choice.image.map(|chosen| chosen.assigned.image.clone())
    };
    assert_eq!(image(&uefi, Some(0x8001)), text("two"), "chosen by hand, against the rule");
    assert_eq!((image(&uefi, Some(0x8009)), image(&uefi, None)), (text("rule"), text("rule")));
    let ipxe = Client { loader: Loader::Ipxe(IpxeFeatures::default()), ..uefi };
    assert_eq!(image(&ipxe, Some(0x8000)), text("one"), "the loader that follows");
    assert_eq!(image(&Client { mac: NAMED, ..uefi }, Some(0x8000)), text("own"), "asked nothing");
}

#[test]
fn a_name_tells_no_more_than_it_says() {
    let rules = vec![
        Rule { image: assigned("mac"), ..rule(1, vec![Match::Mac(texts("*"))], "-") },
        Rule { image: assigned("arch"), ..rule(2, vec![Match::Arch(vec![Arch::X64_UEFI])], "-") },
    ];
    let by_serial = Machine { serial: Some("S1".into()), image: assigned("s"), ..machine(None, None, None) };
    let plan = Plan::new(vec![network(Mode::Full)], rules, Vec::new(), vec![by_serial]);
    let image = |name, arch| {
        let choice = plan.choice(name, arch, None, None).unwrap();
        choice.image.map(|chosen| chosen.assigned.image.as_str())
    };
    assert_eq!(image(Name::Mac(MAC), Arch::X86_BIOS), Some("mac"));
    assert_eq!(image(Name::Anybody, Arch::X86_BIOS), None, "nobody's MAC address is none that matches");
    assert_eq!(image(Name::Anybody, Arch::X64_UEFI), Some("arch"));
    assert_eq!(image(Name::Serial("S1"), Arch::X64_UEFI), Some("s"));
    assert_eq!(image(Name::Serial("S2"), Arch::X64_UEFI), None);
}
