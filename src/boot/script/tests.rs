//! The texts, whole: what a loader reads is what is written here.

use super::super::arch::Cpu;
use super::super::client::{Client, Loader as LoaderOfDhcp, Uuid, Wants};
use super::super::plan::{
    Assigned, BootFile, Boots, Cidr, KnownBy, Local, Machine, Match, Mode, Network, Once, Reason, Rule,
    Subnet,
};
use super::*;
use crate::time::{Duration, Instant};
use crate::wire::ethernet::MacAddr;

const NODE: &str = "88-99-aa-bb-cc-dd";

fn image(name: &str, kernel: &str, initrds: &[&str], args: &str) -> Entry {
    let bootable = Bootable {
        system: Some("Ubuntu"),
        kernel: kernel.to_owned(),
        initrds: initrds.iter().map(|path| (*path).to_owned()).collect(),
        args: args.to_owned(),
        cpu: Some(Cpu::X86),
        caveat: None,
    };
    Entry { name: name.to_owned(), title: None, bootable }
}

fn centos() -> Entry {
    let args = "inst.repo={url} ip=dhcp ks.device={mac}";
    let bootable = Bootable {
        system: Some("Fedora or RHEL family"),
        ..image("", "images/pxeboot/vmlinuz", &["images/pxeboot/initrd.img"], args).bootable
    };
    Entry { name: "centos7".to_owned(), title: Some("CentOS 7".to_owned()), bootable }
}

fn jammy() -> Entry {
    image("jammy", "casper/vmlinuz", &["a.img", "casper/initrd"], "url={iso} id={uuid} -- \"q $x\"")
}

fn subnet(address: [u8; 4], attached: bool) -> Subnet {
    Subnet {
        cidr: Cidr::new(address.into(), 24),
        attached,
        pools: Vec::new(),
        lease: Duration::from_secs(60),
        options: Vec::new(),
    }
}

fn machine(mac: Option<MacAddr>, args: Option<&str>) -> Machine {
    let image = Assigned::for_machine("centos7".to_owned(), args.map(str::to_owned), KnownBy::Mac);
    Machine {
        mac,
        uuid: None,
        address: None,
        hostname: Some("node-01".to_owned()),
        mode: None,
        boot: None,
        serial: None,
        image: Some(image),
        local: Default::default(),
        vars: Default::default(),
        line: 26,
    }
}

/// A plan for machines, where BIOS gets `loader`, and machines behind a relay get jammy
fn plan(loader: &str, machines: Vec<Machine>) -> Plan {
    let network = Network {
        interface: "eth0".to_owned(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        address: Ipv4Addr::new(192, 168, 99, 1),
        mode: Mode::Full,
        authoritative: true,
        probe: true,
        subnets: vec![subnet([192, 168, 99, 0], true), subnet([10, 44, 0, 0], false)],
    };
    let rule = |number, matches, boots, image| Rule {
        matches,
        boots,
        image,
        mode: None,
        local: Default::default(),
        vars: Default::default(),
        reason: Reason::Rule { number, line: number },
    };
    let relayed = Match::Subnet(vec![Cidr::new(Ipv4Addr::new(10, 44, 0, 0), 24)]);
    let jammy = Assigned::for_rule("jammy".to_owned(), Some("quiet".to_owned()));
    let rules = vec![
        rule(1, vec![relayed], Boots::Unsaid, Some(jammy)),
        rule(2, Vec::new(), Boots::File(BootFile::parse(loader).unwrap()), None),
    ];
    Plan::new(vec![network], rules, Vec::new(), machines)
}

fn catalogue(plan: Plan, entries: &[Entry]) -> Catalogue {
    Catalogue::new(Arc::new(plan), entries.to_vec())
}

fn both(machines: Vec<Machine>) -> Catalogue {
    catalogue(plan("lpxelinux.0", machines), &[centos(), jammy()])
}

/// Somebody of whom no more is known
fn at(address: [u8; 4]) -> Asker<'static> {
    Asker { address: Some(address.into()), caller: None }
}

/// The text for somebody on the link, without any menu module
fn text(catalogue: &Catalogue, path: &str) -> Option<String> {
    catalogue.text(path.as_bytes(), at([192, 168, 99, 60]), &|_: &str| false)
}

fn named() -> Machine {
    machine(Some(NODE.parse().unwrap()), Some("inst.ks=http://{server}/{host}.ks ip={ip}"))
}

#[test]
fn pxelinux_boots_a_machines_image_without_a_question() {
    let expected = "\
DEFAULT centos7
PROMPT 0

LABEL centos7
  LINUX http://192.168.99.1/images/centos7/images/pxeboot/vmlinuz
  INITRD http://192.168.99.1/images/centos7/images/pxeboot/initrd.img
  APPEND inst.repo=http://192.168.99.1/images/centos7 ks.device=88:99:aa:bb:cc:dd inst.ks=http://192.168.99.1/node-01.ks \
ip=192.168.99.60

";
    let lpxelinux = both(vec![named()]);
    assert_eq!(text(&lpxelinux, &format!("pxelinux.cfg/01-{NODE}")).unwrap(), expected);
    let plain = catalogue(plan("bios/pxelinux.0", vec![named()]), &[centos(), jammy()]);
    let by_tftp =
        expected.replace(" http://192.168.99.1/images/centos7/images/", " ::images/centos7/images/");
    assert_eq!(text(&plain, &format!("bios/pxelinux.cfg/01-{NODE}")).unwrap(), by_tftp);
}

#[test]
fn only_who_has_an_image_finds_something_by_name() {
    let uuid = "4c4c4544-0051-3510-8052-b4c04f564231";
    let by_uuid = Machine { mac: None, uuid: Some(crate::config::uuid(uuid).unwrap()), ..named() };
    let reserved = Machine { address: Some(Ipv4Addr::new(192, 168, 99, 61)), ..named() };
    let catalogue = both(vec![by_uuid, reserved]);
    for (path, found) in [
        (format!("pxelinux.cfg/{uuid}"), true),
        ("pxelinux.cfg/4c4c4544-0051-3510-8052-b4c04f564232".to_owned(), false),
        (format!("pxelinux.cfg/01-{NODE}"), true),
        ("pxelinux.cfg/01-88-99-aa-bb-cc-de".to_owned(), false),
        ("pxelinux.cfg/C0A8633D".to_owned(), true),
        ("pxelinux.cfg/C0A8633E".to_owned(), false),
        ("pxelinux.cfg/C0A863".to_owned(), false),
        ("pxelinux.cfg/default".to_owned(), true),
        (format!("EFI/centos/grub.cfg-01-{NODE}"), true),
        ("EFI/centos/grub.cfg-01-88-99-aa-bb-cc-de".to_owned(), false),
        ("grub/grub.cfg".to_owned(), true),
        (format!("images/192.168.99.1/by-mac/{NODE}.ipxe"), true),
        (format!("images/192.168.99.1/by-uuid/{uuid}.ipxe"), true),
        ("images/192.168.99.1/by-serial/7.ipxe".to_owned(), false),
        ("images/192.168.99.1/nothing.ipxe".to_owned(), false),
    ] {
        assert_eq!(text(&catalogue, &path).is_some(), found, "{path}");
    }
}

#[test]
fn who_is_in_a_subnet_gets_its_image() {
    let catalogue = both(Vec::new());
    let relayed = at([10, 44, 0, 9]);
    for path in ["pxelinux.cfg/default", "pxelinux.cfg/01-02-00-00-00-00-01"] {
        let text = catalogue.text(path.as_bytes(), relayed, &|_: &str| true).unwrap();
        assert!(text.starts_with("DEFAULT jammy\n"), "{path}: {text}");
        assert!(text.contains(
            "  INITRD http://192.168.99.1/images/jammy/a.img,http://192.168.99.1/images/jammy/casper/initrd\n"
        ));
        assert!(text.ends_with(" quiet\n\n"), "{text}");
    }
    let by_uuid = b"pxelinux.cfg/4c4c4544-0051-3510-8052-b4c04f564231";
    assert_eq!(catalogue.text(by_uuid, relayed, &|_: &str| true), None, "its MAC address may say otherwise");
}

/// A request that came through a switch's port, as it is remembered
fn heard(arch: Arch, loader: LoaderOfDhcp) -> Caller {
    Caller::of(&Client {
        network: 0,
        mac: NODE.parse().unwrap(),
        uuid: Some(Uuid(*b"0123456789abcdef")),
        arch: Some(arch),
        stated_arch: None,
        loader,
        wants: Wants::Pxe,
        vendor_class: b"PXEClient:Arch:00007",
        user_class: b"",
        link: None,
        relay: None,
        circuit_id: b"rack-7/12",
        remote_id: b"sw-7",
        ip: None,
    })
}

/// The text for who sent that request, with every menu module
fn text_for(catalogue: &Catalogue, caller: &Caller, path: &str) -> Option<String> {
    let who = Asker { address: Some(Ipv4Addr::new(192, 168, 99, 60)), caller: Some(caller) };
    catalogue.text(path.as_bytes(), who, &|path: &str| path.ends_with(".c32"))
}

/// jammy for whom one condition holds
fn jammy_where(one: Match) -> Catalogue {
    let image = Some(Assigned::for_rule("jammy".to_owned(), None));
    let reason = Reason::Rule { number: 1, line: 1 };
    let rule = Rule {
        matches: vec![one],
        boots: Boots::Unsaid,
        image,
        local: Default::default(),
        vars: Default::default(),
        mode: None,
        reason,
    };
    let networks = plan("a", Vec::new()).networks().to_vec();
    catalogue(Plan::new(networks, vec![rule], Vec::new(), Vec::new()), &[centos(), jammy()])
}

#[test]
fn what_dhcp_told_decides_whatever_the_name_says() {
    let caller = heard(Arch::X64_UEFI_HTTP, LoaderOfDhcp::Rom);
    let texts = |text: &str| vec![text.to_owned()];
    for one in [
        Match::Circuit(texts("rack-7/*")),
        Match::Remote(texts("0x73772d37")),
        Match::Vendor(texts("*00007")),
        Match::Arch(vec![Arch::X64_UEFI_HTTP]),
        Match::Mac(texts("88:99")),
        Match::Uuid(vec![Uuid(*b"0123456789abcdef")]),
    ] {
        let catalogue = jammy_where(one.clone());
        let uuid = Uuid(*b"0123456789abcdef");
        for path in [
            "pxelinux.cfg/default".to_owned(),
            format!("pxelinux.cfg/01-{NODE}"),
            format!("pxelinux.cfg/{uuid}"),
            "pxelinux.cfg/C0A8633C".to_owned(),
            format!("images/192.168.99.1/by-mac/{NODE}/grub-x86_64-efi.cfg"),
            "images/192.168.99.1.ipxe".to_owned(),
        ] {
            let text = text_for(&catalogue, &caller, &path).unwrap_or_else(|| panic!("{one:?} {path}"));
            assert!(text.contains("jammy") && !text.contains("CentOS"), "{one:?} {path}: {text}");
        }
        // Somebody else's name, asked for from that address
        let other = "images/192.168.99.1/by-mac/88-99-aa-bb-cc-de/grub-x86_64-efi.cfg";
        let text = text_for(&catalogue, &caller, other).unwrap();
        assert_eq!(text.contains("CentOS"), !matches!(one, Match::Mac(_)), "{one:?}: {text}");
    }
    let elsewhere = jammy_where(Match::Circuit(texts("rack-8/*")));
    assert_eq!(text_for(&elsewhere, &caller, &format!("pxelinux.cfg/01-{NODE}")), None);
    assert!(text_for(&elsewhere, &caller, "pxelinux.cfg/default").unwrap().contains("CentOS"));
}

#[test]
fn a_menu_fills_in_what_dhcp_told() {
    let args = "id={uuid} host={host} mac={mac}";
    let catalogue = catalogue(plan("lpxelinux.0", vec![named()]), &[image("a", "k", &[], args), jammy()]);
    let caller = heard(Arch::X86_BIOS, LoaderOfDhcp::Rom);
    let path = "images/192.168.99.1/a/pxelinux.cfg/default";
    let filled = "  APPEND id=30313233-3435-3637-3839-616263646566 host=node-01 mac=88:99:aa:bb:cc:dd\n";
    let text = text_for(&catalogue, &caller, path).unwrap();
    assert!(text.contains(filled), "{text}");
}

#[test]
fn u_boot_gets_what_its_processor_boots_in_its_own_form() {
    let arm = |name: &str| {
        let entry = image(name, "linux", &["ucode", "initrd.gz"], "console=ttyAMA0 mac={mac}");
        Entry { bootable: Bootable { cpu: Some(Cpu::Arm64), ..entry.bootable }, ..entry }
    };
    let caller = heard(Arch::ARM64_UBOOT, LoaderOfDhcp::UBoot);
    let one = catalogue(plan("a", Vec::new()), &[centos(), arm("arm")]);
    let expected = "\
DEFAULT arm
PROMPT 0

LABEL arm
  LINUX images/arm/linux
  INITRD images/arm/initrd.gz
  APPEND console=ttyAMA0 mac=88:99:aa:bb:cc:dd

";
    assert_eq!(text_for(&one, &caller, "pxelinux.cfg/default").unwrap(), expected);
    let below = text_for(&one, &caller, "boards/a/pxelinux.cfg/default").unwrap();
    assert!(below.contains("  LINUX ../../images/arm/linux\n"), "{below}");

    let two = catalogue(plan("a", Vec::new()), &[centos(), arm("arm"), arm("other")]);
    let begin = "\
MENU TITLE Install or boot
PROMPT 1
TIMEOUT 300
DEFAULT arm

LABEL arm
  MENU LABEL arm (Ubuntu)
  MENU DEFAULT
";
    let menu = text_for(&two, &caller, "pxelinux.cfg/default").unwrap();
    assert!(menu.starts_with(begin) && !menu.contains("centos"), "{menu}");
    // By the name alone, where DHCP told nothing; a file of the operator's would have come after it.
    let early = "pxelinux.cfg/default-arm-armv8";
    assert!(text(&two, early).unwrap().starts_with(begin));
    let placed = |path: &str| path == "pxelinux.cfg/default";
    assert_eq!(two.text(early.as_bytes(), at([192, 168, 99, 60]), &placed), None);

    let x86 = catalogue(plan("a", Vec::new()), &[centos(), jammy()]);
    assert_eq!(text_for(&x86, &caller, "pxelinux.cfg/default"), None);
    assert_eq!(text(&x86, early), None);
    assert!(!text(&two, "pxelinux.cfg/default").unwrap().contains("arm"));
}

#[test]
fn an_image_for_another_processor_is_given_to_nobody() {
    let entry = jammy();
    let arm = Entry { bootable: Bootable { cpu: Some(Cpu::Arm64), ..entry.bootable }, ..entry };
    let catalogue = catalogue(plan("a", vec![machine(Some(NODE.parse().unwrap()), None)]), &[centos(), arm]);
    let path = |cpu: &str| format!("images/192.168.99.1/by-mac/{NODE}/grub-{cpu}-efi.cfg");
    assert!(text(&catalogue, &path("x86_64")).is_some());
    assert_eq!(text(&catalogue, &path("arm64")), None, "centos7 is its own");
    let other = "images/192.168.99.1/by-mac/02:00:00:00:00:09/grub-arm64-efi.cfg";
    assert!(text(&catalogue, other).unwrap().contains("Booting jammy from"));
}

#[test]
fn a_rule_about_a_uuid_is_certain_only_before_those_about_mac_addresses() {
    let uuid = Uuid(*b"0123456789abcdef");
    let image = || Some(Assigned::for_rule("jammy".to_owned(), None));
    let rule = |number, one| Rule {
        matches: vec![one],
        boots: Boots::Unsaid,
        image: image(),
        mode: None,
        local: Default::default(),
        vars: Default::default(),
        reason: Reason::Rule { number, line: number },
    };
    let with = |first, second| {
        let networks = plan("a", Vec::new()).networks().to_vec();
        let plan = Plan::new(networks, vec![rule(1, first), rule(2, second)], Vec::new(), Vec::new());
        catalogue(plan, &[centos(), jammy()])
    };
    let path = format!("pxelinux.cfg/{uuid}");
    let (by_uuid, by_mac) = (Match::Uuid(vec![uuid]), Match::Mac(vec!["88:99".to_owned()]));
    assert!(text(&with(by_uuid.clone(), by_mac.clone()), &path).is_some());
    assert_eq!(text(&with(by_mac, by_uuid), &path), None);
}

#[test]
fn pxelinux_shows_a_menu_with_what_it_has() {
    let menu = ImageMenu {
        title: "Rack 7".to_owned(),
        timeout_s: 5,
        default: MenuDefault::Image("jammy".to_owned()),
        always: true,
    };
    let catalogue = catalogue(plan("lpxelinux.0", Vec::new()).with_image_menu(menu), &[centos(), jammy()]);
    let shown = |files: &[&str]| {
        let beside = |path: &str| files.contains(&path);
        catalogue.text(b"pxelinux.cfg/default", Asker::default(), &beside).unwrap()
    };
    let labels = "\
LABEL centos7
  MENU LABEL CentOS 7
  LINUX http://192.168.99.1/images/centos7/images/pxeboot/vmlinuz
  INITRD http://192.168.99.1/images/centos7/images/pxeboot/initrd.img
  APPEND inst.repo=http://192.168.99.1/images/centos7 ip=dhcp

LABEL jammy
  MENU LABEL jammy (Ubuntu)
  MENU DEFAULT
  LINUX http://192.168.99.1/images/jammy/casper/vmlinuz
  INITRD http://192.168.99.1/images/jammy/a.img,http://192.168.99.1/images/jammy/casper/initrd
  APPEND url=http://192.168.99.1/images/jammy.iso -- \"q $x\"

LABEL local
  MENU LABEL Boot from the local disk
  LOCALBOOT 0
";
    let rest = format!("TIMEOUT 50\nDEFAULT jammy\n\n{labels}");
    let vesa = ["vesamenu.c32", "libcom32.c32", "libutil.c32", "menu.c32"];
    assert_eq!(shown(&vesa), format!("UI vesamenu.c32\nPROMPT 0\nMENU TITLE Rack 7\n{rest}"));
    assert_eq!(shown(&vesa[2..]), format!("UI menu.c32\nPROMPT 0\nMENU TITLE Rack 7\n{rest}"));
    let said = "PROMPT 1\nSAY Rack 7\nSAY   centos7: CentOS 7\nSAY   jammy: jammy (Ubuntu)\nSAY   local: boot from the local disk\n";
    assert_eq!(shown(&vesa[..1]), format!("{said}{rest}"), "a module without its libraries does not start");
}

#[test]
fn grub_asks_who_it_is_and_boots_that_image() {
    let catalogue = both(vec![named()]);
    let ask = "source (tftp,192.168.99.1)/images/192.168.99.1/by-mac/$net_default_mac/grub-$grub_cpu-$grub_platform.cfg\n";
    assert_eq!(text(&catalogue, "debian-installer/amd64/grub/grub.cfg").unwrap(), ask);
    let expected = "\
insmod http
insmod linuxefi
echo \"Booting centos7 from http://192.168.99.1\"
set loaded=
until [ -n \"$loaded\" ]; do
  for from in (http,192.168.99.1) (tftp,192.168.99.1); do
    for linux in linuxefi linux; do
      if [ -z \"$loaded\" ]; then
        if $linux $from/images/centos7/images/pxeboot/vmlinuz inst.repo=http://192.168.99.1/images/centos7 \
ks.device=88:99:aa:bb:cc:dd inst.ks=http://192.168.99.1/node-01.ks ip=192.168.99.60; then
          set initrd=initrd
          if [ $linux = linuxefi ]; then set initrd=initrdefi; fi
          if $initrd $from/images/centos7/images/pxeboot/initrd.img; then set loaded=yes; fi
        fi
      fi
    done
  done
  if [ -z \"$loaded\" ]; then echo \"Trying again in 10 seconds\"; sleep 10; fi
done
boot
";
    let asked = "images/192.168.99.1/by-mac/88:99:aa:bb:cc:dd/grub-x86_64-efi.cfg";
    assert_eq!(text(&catalogue, asked).unwrap(), expected);
    assert_eq!(text(&catalogue, &format!("EFI/centos/grub.cfg-01-{NODE}")).unwrap(), expected);
}

#[test]
fn grub_shows_a_menu_to_everybody_else() {
    let catalogue = catalogue(plan("a", Vec::new()).with_ports(8080, 6969), &[centos(), jammy()]);
    let expected = "\
insmod http
insmod linuxefi
set default=centos7
set timeout=30
menuentry \"CentOS 7\" --id centos7 {
  set loaded=
  for from in (tftp,192.168.99.1:6969); do
    for linux in linuxefi linux; do
      if [ -z \"$loaded\" ]; then
        if $linux $from/images/centos7/images/pxeboot/vmlinuz inst.repo=http://192.168.99.1:8080/images/centos7 ip=dhcp \
ks.device=02:00:00:00:00:07; then
          set initrd=initrd
          if [ $linux = linuxefi ]; then set initrd=initrdefi; fi
          if $initrd $from/images/centos7/images/pxeboot/initrd.img; then set loaded=yes; fi
        fi
      fi
    done
  done
}
menuentry \"jammy (Ubuntu)\" --id jammy {
  set loaded=
  for from in (tftp,192.168.99.1:6969); do
    for linux in linuxefi linux; do
      if [ -z \"$loaded\" ]; then
        if $linux $from/images/jammy/casper/vmlinuz url=http://192.168.99.1:8080/images/jammy.iso -- \"\\\"q\" \"\\$x\\\"\"; then
          set initrd=initrd
          if [ $linux = linuxefi ]; then set initrd=initrdefi; fi
          if $initrd $from/images/jammy/a.img $from/images/jammy/casper/initrd; then set loaded=yes; fi
        fi
      fi
    done
  done
}
menuentry \"Boot from the local disk\" --id local {
  exit
}
";
    let path = "images/192.168.99.1/by-mac/02:00:00:00:00:07/grub-x86_64-efi.cfg";
    assert_eq!(text(&catalogue, path).unwrap(), expected);
    let nobody = text(&catalogue, "images/192.168.99.1/by-mac/grub-x86_64-efi.cfg").unwrap();
    assert!(nobody.contains("ks.device=$net_default_mac; then\n"), "{nobody}");
}

#[test]
fn ipxe_boots_one_image_without_a_question() {
    let jammy =
        image("jammy", "casper/vmlinuz", &["casper/initrd"], "url={iso} repo={url} host={host} {mac}");
    let catalogue = catalogue(plan("a", Vec::new()).with_ports(8080, 69), &[jammy]);
    let expected = "\
#!ipxe
:start
echo Booting jammy from http://10.0.0.1:8080
kernel http://10.0.0.1:8080/images/jammy/casper/vmlinuz initrd=initrd url=http://10.0.0.1:8080/images/jammy.iso \
repo=http://10.0.0.1:8080/images/jammy host=${hostname} ${net0/mac} || goto failed-jammy
initrd --name initrd http://10.0.0.1:8080/images/jammy/casper/initrd || goto failed-jammy
boot || goto failed-jammy
:failed-jammy
echo jammy did not start; trying again in 10 seconds
sleep 10
goto start
";
    for path in ["images/10.0.0.1.ipxe", "images/10.0.0.1/jammy.ipxe"] {
        assert_eq!(text(&catalogue, path).unwrap(), expected, "{path}");
    }
}

#[test]
fn ipxe_shows_a_menu_and_asks_for_serial_numbers_where_some_are_listed() {
    let script = text(&both(Vec::new()), "images/10.0.0.1.ipxe").unwrap();
    let begin = "\
#!ipxe
:start
menu Install or boot
item image-centos7 CentOS 7
item image-jammy jammy (Ubuntu)
item local Boot from the local disk
choose --timeout 30000 --default image-centos7 target || goto local
goto ${target}
:local
exit 1

:image-centos7
echo Booting centos7 from http://10.0.0.1
";
    assert!(script.starts_with(begin), "{script}");
    let by_serial = Machine { mac: None, serial: Some("CZ 7/1".to_owned()), ..named() };
    let catalogue = both(vec![by_serial]);
    let script = text(&catalogue, "images/10.0.0.1.ipxe").unwrap();
    let chain = "#!ipxe\nchain http://10.0.0.1/images/10.0.0.1/by-serial/${serial:uristring}.ipxe || ";
    assert!(script.starts_with(chain), "{script}");
    let script = text(&catalogue, "images/10.0.0.1/by-serial/CZ 7/1.ipxe");
    assert_eq!(script, None, "a slash ends a name");
}

#[test]
fn a_rules_script_is_known_by_its_image_and_arguments() {
    let catalogue = both(vec![named()]);
    let (assigned, _) = catalogue.plan.assigned().nth(1).unwrap();
    let path = format!("images/10.0.0.1/{}.ipxe", assigned.stem());
    let script = text(&catalogue, &path).unwrap();
    assert!(script.contains(" id=${uuid} -- \"q $x\" quiet || goto failed-jammy\n"), "{script}");
    let path = format!("images/10.0.0.1/{}/pxelinux.cfg/default", assigned.stem());
    assert!(text(&catalogue, &path).unwrap().contains(" quiet\n"));
    assert_eq!(catalogue.loader_at(b"images/10.0.0.1/jammy/lpxelinux.0"), Some("lpxelinux.0"));
    assert_eq!(catalogue.loader_at(b"images/10.0.0.1/other/lpxelinux.0"), None);
}

#[test]
fn words_that_nobody_fills_in_are_told() {
    assert_eq!(check_args("inst.ks={url}/ks.cfg ip=dhcp host={host}"), Ok(()));
    assert!(check_args("a={hots}").unwrap_err().starts_with("unknown word {hots}: "));
    assert!(check_args("a={url").is_err());
    assert!(check_args("a\nb").is_err());
    assert!(check_args("a || reboot").is_err());
}

#[test]
fn nothing_is_generated_where_no_image_boots() {
    let catalogue = catalogue(plan("a", vec![named()]), &[]);
    for path in ["pxelinux.cfg/default", "grub/grub.cfg", "images/10.0.0.1.ipxe"] {
        assert_eq!(text(&catalogue, path), None, "{path}");
    }
}

#[test]
fn who_boots_its_own_disk_is_told_so_by_every_loader() {
    let local = |local| Machine { local, ..machine(Some(NODE.parse().unwrap()), None) };
    let always = Machine { image: None, ..local(Local::Always) };
    // Without any image there is still that to say, and to that machine alone.
    let alone = catalogue(plan("lpxelinux.0", vec![always]), &[]);
    let pxelinux = "pxelinux.cfg/01-88-99-aa-bb-cc-dd";
    let grub = format!("images/192.168.99.1/by-mac/{NODE}/grub-x86_64-efi.cfg");
    let ipxe = "images/192.168.99.1/by-mac/88-99-aa-bb-cc-dd.ipxe";
    assert_eq!(
        text(&alone, pxelinux).as_deref(),
        Some("DEFAULT local\nPROMPT 0\n\nLABEL local\n  LOCALBOOT 0\n")
    );
    assert_eq!(text(&alone, &grub).as_deref(), Some("echo \"Booting from the local disk\"\nexit\n"));
    assert_eq!(
        text(&alone, ipxe).as_deref(),
        Some("#!ipxe\n:start\necho Booting from the local disk\nexit 1\n")
    );
    for path in
        ["pxelinux.cfg/01-02-00-00-00-00-01", "pxelinux.cfg/default", "grub.cfg", "images/192.168.99.1.ipxe"]
    {
        assert_eq!(text(&alone, path), None, "{path}");
    }
    // Once it is done, in place of its image.
    let term = Once { term: "true".to_owned(), file: None };
    let once = both(vec![local(Local::After(term))]);
    assert!(text(&once, pxelinux).unwrap().contains("LINUX"));
    let peer = Ipv4Addr::new(192, 168, 99, 60);
    once.plan().report(Name::Mac(NODE.parse().unwrap()), peer, Instant::from_secs(1)).unwrap();
    for path in [pxelinux, &grub, ipxe] {
        assert_eq!(text(&once, path), text(&alone, path), "{path}");
    }
    // GRUB does not know yet whose configuration it will ask for.
    assert!(!text(&once, "grub.cfg").unwrap().contains("exit"));
}

#[test]
fn an_installer_is_told_where_to_report() {
    let machine = machine(Some(NODE.parse().unwrap()), Some("done={done}"));
    let one = text(&both(vec![machine]), "pxelinux.cfg/01-88-99-aa-bb-cc-dd").unwrap();
    assert!(one.contains(" done=http://192.168.99.1/done/88-99-aa-bb-cc-dd\n"), "{one}");
    let entry = image("a", "linux", &[], "done={done}");
    let all =
        text(&catalogue(plan("lpxelinux.0", vec![]), &[entry, jammy()]), "pxelinux.cfg/default").unwrap();
    assert!(all.contains(" done=http://192.168.99.1/done\n"), "{all}");
}
