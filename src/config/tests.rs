//! Configurations, and exactly what is said of those that are wrong.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Parser as _;

use super::errors::Errors;
use super::testing::{EXAMPLE, interfaces, load};
use super::{compile, flags};
use crate::args::{Command, CommandLine};
use crate::boot::image::{ImageSource, Origin};
use crate::boot::plan::{self, Boots, Cidr, MenuDefault, Mode, Plan, Reason};
use crate::settings::{Io, LogFormat, Settings};

fn load_flags(line: &str) -> Result<(Plan, Settings), Errors> {
    let Command::Serve(serve) = CommandLine::try_parse_from(line.split(' ')).unwrap().command else {
        panic!("{line}");
    };
    let mut errors = Errors::default();
    let mut model = flags::read(&serve.setup, &interfaces(), &mut errors);
    flags::override_setup(&mut model, &serve.setup, &mut errors);
    flags::override_process(&mut model, &serve.process, &mut errors);
    compile::compile(&model, &interfaces(), |_, name| name == "lpxelinux.0", |_| None, Vec::new(), errors)
}

/// A configuration that serves eth0 as `network` says, and then `rest`
fn of_network(network: &str, rest: &str) -> String {
    format!("root = \"/data\"\n[[network]]\ninterface = \"eth0\"\n{network}\n{rest}\n")
}

fn pool(rest: &str) -> String {
    of_network("pool = \"192.168.99.50-192.168.99.99\"", rest)
}

/// What is said of a configuration
fn wrong(config: &str) -> String {
    load(config).expect_err("it is wrong").to_string()
}

#[test]
fn the_example_of_the_manual() {
    let (plan, settings) = load(EXAMPLE).unwrap();
    let iso = PathBuf::from("/isos/CentOS-7-x86_64-Minimal-1511.iso");
    let images = vec![ImageSource::new("centos7", Origin::Iso(iso))];
    assert_eq!(settings, Settings { images, ..Settings::new(PathBuf::from("/data/pxe")) });
    let [network] = plan.networks() else { panic!("{plan:?}") };
    assert_eq!((network.mode, network.address), (Mode::Full, Ipv4Addr::new(192, 168, 99, 1)));
    let [own, relayed] = network.subnets.as_slice() else { panic!("{network:?}") };
    assert!(own.attached && !relayed.attached);
    assert_eq!(own.options, [(3, vec![192, 168, 99, 1])]);
    assert_eq!(relayed.options, [(3, vec![10, 44, 0, 1])]);
    assert_eq!(relayed.cidr, Cidr::new(Ipv4Addr::new(10, 44, 0, 0), 24));
    assert_eq!(relayed.lease.as_secs(), 12 * 3600, "inherited");
    let reasons: Vec<_> = plan.rules().iter().map(|rule| rule.reason).collect();
    assert_eq!(reasons, [Reason::Rule { number: 1, line: 15 }, Reason::Rule { number: 2, line: 19 }]);
    assert_eq!(plan.machines()[0].line, 26);
    assert!(plan.machine_reserved(Ipv4Addr::new(192, 168, 99, 60)));
}

#[test]
fn flags_say_what_the_file_says() {
    let by_flags = "reveille serve --interface eth0 --root /data/pxe --pool 192.168.99.50-192.168.99.99 --lease 30m \
                    --router 192.168.99.1 --dns 192.168.99.2 --dns 192.168.99.3 --boot ipxe=http://{server}/boot.ipxe \
                    --boot x86-bios=lpxelinux.0 --http-port 8080 --tftp-port 6969 --listen 192.168.99.1 --shards 2 \
                    --io uring --state-dir /tmp/r --log json";
    let by_file = r#"
        root = "/data/pxe"
        http-port = 8080
        tftp-port = 6969
        listen = "192.168.99.1"
        shards = 2
        io = "uring"
        state-dir = "/tmp/r"
        log = "json"
        [[network]]
        interface = "eth0"
        pool = "192.168.99.50-192.168.99.99"
        lease = "30m"
        router = "192.168.99.1"
        dns = ["192.168.99.2", "192.168.99.3"]
        [[boot]]
        match = { loader = "ipxe" }
        file = "http://{server}/boot.ipxe"
        [[boot]]
        match = { arch = "x86-bios" }
        file = "lpxelinux.0"
    "#;
    let (flags, flag_settings) = load_flags(by_flags).unwrap();
    let (file, file_settings) = load(by_file).unwrap();
    assert_eq!(flag_settings, file_settings);
    assert_eq!((flag_settings.io, flag_settings.log), (Io::Uring, LogFormat::Json));
    assert_eq!(format!("{:?}", flags.networks()), format!("{:?}", file.networks()));
    assert_eq!((flags.http_port(), flags.tftp_port()), (file.http_port(), file.tftp_port()));
    // Rules differ in their lines alone: a flag has none.
    assert_eq!(flags.rules().len(), file.rules().len());
    for (flag, file) in flags.rules().iter().zip(file.rules()) {
        assert_eq!(
            (format!("{:?}", flag.matches), &flag.boots),
            (format!("{:?}", file.matches), &file.boots)
        );
    }
}

#[test]
fn with_no_rule_well_known_loaders_are_used() {
    let (plan, _) = load_flags("reveille serve --interface eth0 --root /data --proxy").unwrap();
    assert_eq!(plan.networks()[0].mode, Mode::Proxy);
    assert!(matches!(plan.rules(), [rule] if rule.reason == Reason::WellKnown));
    let (plan, _) = load(&pool("[[boot]]\nmatch = { mac = \"88:99\" }\ndhcp = \"off\"")).unwrap();
    assert_eq!(plan.rules().len(), 2, "a rule that names no boot file does not count");
    let (plan, _) = load(&pool("[[boot]]\nfile = \"\"")).unwrap();
    assert!(matches!(plan.rules(), [rule] if rule.boots == Boots::Nothing));
}

#[test]
fn every_key_is_read() {
    let config = r#"
        root = "/data"
        [tftp]
        single-port = true
        blksize = 1024
        windowsize = 4
        [[network]]
        interface = "eth1"
        address = "10.9.0.1"
        dhcp = "take-over"
        pool = ["10.9.0.10-10.9.0.19", "10.9.0.30"]
        authoritative = true
        probe = false
        domain = "lab.example"
        ntp = "10.9.0.2"
        options = [{ code = 26, u16 = 1400 }, { code = 150, ip = ["10.9.0.1"] }, { code = 209, text = "a.cfg" }, { code = 224, hex = "01:ff" }]
        [[network.subnet]]
        subnet = "10.44.0.0/24"
        options = [{ code = 26, u16 = 9000 }]
        [[boot]]
        match = { arch = ["x64-uefi", 9], loader = "rom", mac = "88-99-AA", uuid = "4c4c4544-0051-3510-8052-b4c04f564231", subnet = "10.0.0.0/8", vendor = "PXE*", user-class = "x", circuit = "0x00*", remote = "sw-7" }
        file = "a.efi"
        server = "10.9.0.7"
        dhcp = "full"
        [[menu]]
        match = { arch = "x86-bios" }
        prompt = "Boot what?"
        timeout = 5
        items = [{ name = "Disk", local = true }, { name = "Install", file = "a.0" }, { name = "WDS", server = "10.9.0.8", type = 2 }]
        [[machine]]
        uuid = "4c4c4544-0051-3510-8052-b4c04f564231"
        file = "b.efi"
        server = "10.9.0.9"
        dhcp = "off"
    "#;
    let (plan, settings) = load(config).unwrap();
    assert!(settings.single_port && settings.blksize_max == 1024 && settings.windowsize_max == 4);
    let network = &plan.networks()[0];
    assert!(network.authoritative && !network.probe && network.mode == Mode::TakeOver);
    assert_eq!(network.address, Ipv4Addr::new(10, 9, 0, 1));
    assert_eq!(network.subnets[0].pools.len(), 2);
    let codes =
        |index: usize| network.subnets[index].options.iter().map(|(code, _)| *code).collect::<Vec<_>>();
    assert_eq!(codes(0), [15, 26, 42, 150, 209, 224]);
    assert_eq!(codes(1), [15, 26, 42, 150, 209, 224]);
    assert_eq!(network.subnets[1].options[1].1, 9000u16.to_be_bytes());
    assert_eq!(plan.rules()[0].matches.len(), 9);
    let (menu, _) = plan.menus().next().unwrap();
    let kinds: Vec<_> = menu.items.iter().map(|item| item.kind).collect();
    assert_eq!((menu.timeout_s, kinds.as_slice()), (5, &[0, 0x8001, 2][..]));
    let machine = &plan.machines()[0];
    assert_eq!(machine.boot.as_ref().unwrap().server, Some(Ipv4Addr::new(10, 9, 0, 9)));
}

#[test]
fn the_servers_address_is_beside_the_pool() {
    let config = |more: &str| format!("root = \"/data\"\n[[network]]\ninterface = \"eth1\"\n{more}\n");
    let (plan, _) = load(&config("pool = \"10.9.0.10-10.9.0.19\"")).unwrap();
    assert_eq!(plan.networks()[0].address, Ipv4Addr::new(10, 9, 0, 1));
    assert_eq!(
        wrong(&config("dhcp = \"proxy\"")),
        "r.toml:3:13: eth1 has several addresses (172.16.0.2, 10.9.0.1): say which, as in address = \"172.16.0.2\"\n \
         3 | interface = \"eth1\"\n   |             ^^^^^^"
    );
}

/// What is wrong, and the first line of what is said of it
const WRONG: &[(&str, &str)] = &[
    ("poool = 1", "r.toml:4:1: unknown key `poool`: write `pool`"),
    (
        "dhcp = \"prxy\"",
        "r.toml:4:8: unknown way of DHCP `prxy`: do you mean `proxy`? known are full, proxy, take-over, off",
    ),
    ("dhcp = proxy", "r.toml:4:8: string values must be quoted, expected literal string"),
    (
        "lease = \"12\"",
        "r.toml:4:9: `12` is no lease time: write one like \"12h\", \"30m\", \"90s\", \"7d\" or \"infinite\"",
    ),
    ("lease = 12", "r.toml:4:9: `lease` takes a string in quotes, not a number"),
    (
        "pool = \"192.168.98.50-192.168.98.99\"",
        "r.toml:4:8: the pool 192.168.98.50-192.168.98.99 is not in the subnet 192.168.99.0/24",
    ),
    (
        "pool = \"192.168.99.99-192.168.99.50\"",
        "r.toml:4:8: `192.168.99.99-192.168.99.50` runs backwards: write \"192.168.99.50-192.168.99.99\"",
    ),
    (
        "pool = \"192.168.99.1-192.168.99.50\"",
        "r.toml:4:8: the pool 192.168.99.1-192.168.99.50 holds the server's own address 192.168.99.1: split it in two around that address",
    ),
    (
        "pool = \"192.168.99.50-192.168.99.255\"",
        "r.toml:4:8: the pool 192.168.99.50-192.168.99.255 holds 192.168.99.0/24's network or broadcast address, which no machine can have",
    ),
    (
        "pool = [\"192.168.99.50-192.168.99.60\", \"192.168.99.60-192.168.99.70\"]",
        "r.toml:4:40: the pool 192.168.99.60-192.168.99.70 overlaps the pool 192.168.99.50-192.168.99.60",
    ),
    (
        "pool = \"192.168.99.50-192.168.99.60\"\nrouter = \"192.168.98.1\"",
        "r.toml:5:10: the router 192.168.98.1 is not in the subnet 192.168.99.0/24: its clients could not reach it",
    ),
    (
        "pool = \"192.168.99.50-192.168.99.60\"\nrouter = \"192.168.99.55\"",
        "r.toml:4:8: the pool 192.168.99.50-192.168.99.60 holds the router 192.168.99.55: split it in two around that address",
    ),
    (
        "",
        "r.toml:3:13: nothing is said about DHCP on eth0: write dhcp = \"proxy\" beside another DHCP server, or a pool to be the DHCP server",
    ),
    (
        "dhcp = \"full\"",
        "r.toml:4:8: there is no address to give: write a pool, as in pool = [\"192.168.99.50-192.168.99.99\"], or addresses of machines",
    ),
    (
        "dhcp = \"proxy\"\npool = \"192.168.99.50\"",
        "r.toml:5:8: a proxy gives no addresses: leave out the pool, or write dhcp = \"take-over\" to give them to network-boot clients",
    ),
    (
        "dhcp = \"proxy\"\naddress = \"192.168.99.2\"",
        "r.toml:5:11: eth0 has no address 192.168.99.2: it has 192.168.99.1",
    ),
    (
        "dhcp = \"proxy\"\noptions = [{ code = 53, u8 = 1 }]",
        "r.toml:5:21: option 53 is not set by number: it belongs to the protocol itself",
    ),
    (
        "dhcp = \"proxy\"\noptions = [{ code = 26 }]",
        "r.toml:5:12: an option has one value: ip, text, hex, u8, u16 or u32",
    ),
    (
        "dhcp = \"proxy\"\nntp = \"192.168.99.1\"\noptions = [{ code = 42, ip = \"192.168.99.1\" }]",
        "r.toml:6:12: option 42 is set twice",
    ),
    (
        "dhcp = \"proxy\"\n[[network.subnet]]\nsubnet = \"192.168.99.0/25\"",
        "r.toml:6:10: 192.168.99.0/25 is eth0's own link: write its pool and router in the [[network]] itself",
    ),
    (
        "dhcp = \"proxy\"\n[[network.subnet]]\nsubnet = \"10.0.0.0/8\"\n[[network.subnet]]\nsubnet = \"10.44.0.0/24\"",
        "r.toml:8:10: 10.44.0.0/24 overlaps 10.0.0.0/8: a relay's subnets must be apart",
    ),
    (
        "dhcp = \"proxy\"\n[[network.subnet]]\nsubnet = \"10.0.0.7/8\"",
        "r.toml:6:10: `10.0.0.7/8` is an address in a network: the network itself is \"10.0.0.0/8\"",
    ),
    (
        "dhcp = \"proxy\"\n[[network.subnet]]\nrouter = \"10.0.0.1\"",
        "r.toml:5:1: a subnet needs its addresses: write subnet = \"10.44.0.0/24\"",
    ),
    (
        "dhcp = \"proxy\"\n[[network]]\ninterface = \"eth0\"\ndhcp = \"off\"",
        "r.toml:6:13: eth0 is served already: put all of it in one [[network]]",
    ),
    (
        "dhcp = \"proxy\"\n[[network]]\ndhcp = \"off\"",
        "r.toml:5:1: a network needs its interface: write interface = \"eth0\"",
    ),
    (
        "dhcp = \"proxy\"\n[[network]]\ninterface = \"eth9\"\ndhcp = \"off\"",
        "r.toml:6:13: there is no interface eth9: those that exist are lo, eth0, eth1, eth2",
    ),
    (
        "dhcp = \"proxy\"\n[[network]]\ninterface = \"eth2\"\ndhcp = \"off\"",
        "r.toml:6:13: eth2 has no IPv4 address: give it one, as with `ip address add 192.168.99.1/24 dev eth2`, and start again",
    ),
];

#[test]
fn networks_that_are_wrong() {
    for (network, expected) in WRONG {
        let said = wrong(&of_network(network, ""));
        assert_eq!(said.lines().next(), Some(*expected), "{network}\n{said}");
    }
}

/// As [`WRONG`], after a network of four lines
const WRONG_RULES: &[(&str, &str)] = &[
    (
        "[[boot]]",
        "r.toml:5:1: a boot rule needs its `file` or `image`, or at least `local`, `vars` or `dhcp`: write file = \"lpxelinux.0\"",
    ),
    (
        "[[boot]]\nfile = \"a{mc}\"",
        "r.toml:6:8: unknown word in braces: {server}, {mac}, {mac-hyphens}, {uuid}, {ip}, {arch}, {host} are filled in; write `{{` for a brace itself",
    ),
    (
        "[[boot]]\nmatch = { arch = \"x64-efi\" }\nfile = \"a\"",
        "r.toml:6:18: unknown architecture `x64-efi`: do you mean `x64-uefi`? known are x86-bios, ia32-uefi, x64-uefi, x64-uefi-http, ia32-uefi-http, arm32-uefi, arm32-uefi-http, arm64-uefi, arm64-uefi-http, arm32-u-boot, arm64-u-boot, riscv64-uefi, riscv64-uefi-http, loongarch64-uefi, loongarch64-uefi-http, rpiboot, or an IANA number",
    ),
    (
        "[[boot]]\nmatch = { loader = \"pxelinux\" }\nfile = \"a\"",
        "r.toml:6:20: `pxelinux` sends no DHCP of its own, so that no rule could match it: what it loads lies beside its boot file",
    ),
    (
        "[[boot]]\nmatch = { mac = \"8899aa\" }\nfile = \"a\"",
        "r.toml:6:17: `8899aa` matches no MAC address: write two digits between colons, as in \"88:99:aa\"",
    ),
    ("[[boot]]\nmatch = { macs = \"88\" }\nfile = \"a\"", "r.toml:6:11: unknown key `macs`: write `mac`"),
    (
        "[[boot]]\nmatch = {}\nfile = \"a\"",
        "r.toml:6:9: an empty match: leave it out, and the rule is for every client that network-boots",
    ),
    ("[[boot]]\nserver = \"10.0.0.1\"", "r.toml:6:10: `server` holds the boot file: give it a `file` too"),
    (
        "[[boot]]\nimage = \"centos7\"",
        "r.toml:6:9: there is no image `centos7`: describe it in [image.centos7]",
    ),
    (
        "[[menu]]",
        "r.toml:5:1: a menu without items: write items = [{ name = \"Install\", file = \"lpxelinux.0\" }]",
    ),
    (
        "[[menu]]\nitems = [{ name = \"a\" }]",
        "r.toml:6:10: a menu item is one of these: local = true; file = \"…\"; image = \"…\"; servers = [\"…\"] with their boot service's type",
    ),
    (
        "[[menu]]\nitems = [{ name = \"ä\", local = true }]",
        "r.toml:6:10: firmware shows printable ASCII only: `ä`",
    ),
    (
        "[[machine]]",
        "r.toml:5:1: a machine is known by its mac, its uuid or its serial: write mac = \"88:99:aa:bb:cc:dd\"",
    ),
    ("[[machine]]\nmac = \"88:99\"", "r.toml:6:7: `88:99`: not a hardware address: write 88:99:aa:bb:cc:dd"),
    (
        "[[machine]]\nmac = \"88:99:aa:bb:cc:dd\"\n[[machine]]\nmac = \"88-99-AA-BB-CC-DD\"",
        "r.toml:8:7: another machine has the mac 88:99:aa:bb:cc:dd, in line 6",
    ),
    (
        "[[machine]]\nmac = \"88:99:aa:bb:cc:dd\"\naddress = \"10.0.0.1\"",
        "r.toml:7:11: no subnet holds 10.0.0.1: those that are served are 192.168.99.0/24",
    ),
    (
        "[[machine]]\nmac = \"88:99:aa:bb:cc:dd\"\naddress = \"192.168.99.1\"",
        "r.toml:7:11: 192.168.99.1 is this server's own address",
    ),
    (
        "[[machine]]\nmac = \"88:99:aa:bb:cc:dd\"\naddress = \"192.168.99.60\"\ndhcp = \"off\"",
        "r.toml:7:11: dhcp is \"off\" for this machine, so its address comes from elsewhere: leave it out, or write dhcp = \"take-over\"",
    ),
    (
        "[[machine]]\nmac = \"88:99:aa:bb:cc:dd\"\nhostname = \"node_1\"",
        "r.toml:7:12: `node_1` is no host name: letters, digits and hyphens only, as in \"node-01\"",
    ),
    (
        "[[machine]]\nmac = \"88:99:aa:bb:cc:dd\"\nimage = \"centos7\"",
        "r.toml:7:9: there is no image `centos7`: describe it in [image.centos7]",
    ),
    (
        "[[machine]]\nmac = \"88:99:aa:bb:cc:dd\"\nimage = \"centos\"\n[image.centos7]\ndir = \"/a\"",
        "r.toml:7:9: there is no image `centos`: do you mean `centos7`?",
    ),
    (
        "[[boot]]\nimage = \"empty\"\n[image.empty]\ndir = \"/a\"",
        "r.toml:6:9: image `empty`: nothing in it is known to boot: write its kernel, initrd and args in [image.empty]",
    ),
    (
        "[[boot]]\nfile = \"a\"\nargs = \"b\"",
        "r.toml:7:8: `args` go beside an `image`: name it, or put them into its [image.NAME]",
    ),
    (
        "[[machine]]\nserial = \"7\"",
        "r.toml:6:10: a serial number is of use to an image only: write image = \"…\", or a mac or uuid",
    ),
    (
        "[[machine]]\nserial = \"7\"\naddress = \"192.168.99.60\"\nimage = \"a\"\n[image.a]\ndir = \"/a\"",
        "r.toml:7:11: `address` is DHCP's, which tells no serial number: write the machine's mac or uuid too",
    ),
    ("[image-menu]\ndefault = \"b\"", "r.toml:6:11: there is no image `b`: describe it in [image.b]"),
    ("[image-menu]\ntimeout = 9999", "r.toml:6:11: `timeout` takes a number from 0 to 3600"),
    (
        "[image.a]\ndir = \"/a\"\ntitle = \"CentOS \\\"7\\\"\"",
        "r.toml:7:9: `CentOS \\\"7\\\"` cannot stand in a loader's menu: write printable ASCII without quotes, braces, `$`, `^` and `\\`",
    ),
    (
        "[image.centos7]\niso = \"/isos/a.iso\"\ndir = \"/isos/a\"",
        "r.toml:7:7: an image comes from an iso or from a dir: leave one of them out",
    ),
];

#[test]
fn rules_that_are_wrong() {
    for (rules, expected) in WRONG_RULES {
        let said = wrong(&pool(rules));
        assert_eq!(said.lines().next(), Some(*expected), "{rules}\n{said}");
    }
}

#[test]
fn settings_that_are_wrong() {
    let network = "[[network]]\ninterface = \"eth0\"\ndhcp = \"proxy\"\n";
    for (global, expected) in [
        ("", "r.toml: no directory to serve: write root = \"/data/pxe\", or give --root"),
        ("root = \"/d\"\nadmin = \"127.0.0.1:9\"", "r.toml:2:9: `admin` is not supported yet: leave it out"),
        ("root = \"/d\"\nlisten = \"10.1.1.1\"", "r.toml:2:10: no interface has the address 10.1.1.1"),
        ("root = \"/d\"\ntftp-port = 67", "r.toml:2:13: port 67 is DHCP's: TFTP needs another"),
        ("root = \"/d\"\nhttp-port = 70000", "r.toml:2:13: `http-port` takes a number from 1 to 65535"),
        ("root = \"/d\"\n[tftp]\nwindowsize = 99", "r.toml:3:14: `windowsize` takes a number from 1 to 64"),
        ("root = \"/d\"\nshard = 3", "r.toml:2:1: unknown key `shard`: write `shards`"),
    ] {
        let said = wrong(&format!("{global}\n{network}"));
        assert_eq!(said.lines().next(), Some(expected), "{global}\n{said}");
    }
    assert_eq!(
        wrong("root = \"/d\""),
        "r.toml: no network is served: write a [[network]] with its interface, or give --interface"
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let places = |config: &str| {
        let said = wrong(config);
        let place =
            |line: &str| line.split(": ").next().filter(|place| place.starts_with("r.")).map(str::to_owned);
        said.lines().filter_map(place).collect::<Vec<_>>()
    };
    let values = "rot = \"/data\"\n[[network]]\ninterface = \"eth0\"\npool = \"a\"\nlease = \"b\"\n";
    assert_eq!(places(values), ["r.toml:1:1", "r.toml:4:8", "r.toml:5:9"]);
    let together =
        "[[network]]\ninterface = \"eth9\"\n[[network]]\ninterface = \"eth0\"\npool = \"10.0.0.1\"\n";
    assert_eq!(places(together), ["r.toml:2:13", "r.toml:5:8", "r.toml"]);
}

#[test]
fn flags_that_are_wrong() {
    for (flags, expected) in [
        (
            "",
            "--interface: nothing is said about DHCP on eth0: add --proxy beside another DHCP server, or --pool FIRST-LAST to be the DHCP server",
        ),
        (
            " --pool 10.0.0.1-10.0.0.2",
            "--pool: the pool 10.0.0.1-10.0.0.2 is not in the subnet 192.168.99.0/24",
        ),
        (" --proxy --boot foo", "--boot: `foo` says no boot file: write one like x86-bios=lpxelinux.0"),
        (
            " --proxy --lease x",
            "--lease: `x` is no lease time: write one like \"12h\", \"30m\", \"90s\", \"7d\" or \"infinite\"",
        ),
    ] {
        let said = load_flags(&format!("reveille serve --interface eth0 --root /data{flags}"))
            .unwrap_err()
            .to_string();
        assert_eq!(said, expected);
    }
}

proptest::proptest! {
    /// Whatever the text, it is compiled or told what is wrong; and a slip in the example is told with its place
    #[test]
    fn any_text_is_compiled_or_refused(at in 0..EXAMPLE.len(), len in 0..40usize, put in "\\PC{0,8}") {
        let end = (at + len).min(EXAMPLE.len());
        if let (Some(before), Some(after)) = (EXAMPLE.get(..at), EXAMPLE.get(end..))
            && let Err(errors) = load(&format!("{before}{put}{after}"))
        {
            proptest::prop_assert!(errors.to_string().starts_with("r.toml:"), "{}", errors);
        }
    }
}

#[test]
fn images_by_file_and_by_flag() {
    let (_, settings) =
        load_flags("reveille serve --interface eth0 --proxy --iso /isos/a_b-1.iso --iso x/Ü(2).iso").unwrap();
    let iso = |name: &str, path: &str| ImageSource::new(name, Origin::Iso(PathBuf::from(path)));
    assert_eq!(settings.images, [iso("a_b-1", "/isos/a_b-1.iso"), iso("--2-", "x/Ü(2).iso")]);
    assert_eq!(settings.root, None, "images are enough");
    let (_, settings) = load(&pool("[image.a]\ndir = \"/srv/a\"\n[image.\"b.1\"]\niso = \"b\"")).unwrap();
    assert_eq!(settings.images[0], ImageSource::new("a", Origin::Directory(PathBuf::from("/srv/a"))));
    let said = "[image.a]\niso = \"a\"\nkernel = \"/k\"\ninitrd = [\"i\", \"j\"]\nargs = \"ks={url}/ks\"";
    let image = &load(&pool(said)).unwrap().1.images[0];
    assert_eq!((image.kernel.as_deref(), image.initrds.len()), (Some("k"), 2));
    assert_eq!(image.args.as_deref(), Some("ks={url}/ks"));
    for (text, message) in [
        ("[image.a]", "an image needs iso = "),
        ("[image.\"a b\"]\niso = \"a\"", "`a b` is no name for an image"),
        ("[image]\na = 1", "write [image.NAME], not a number"),
        ("[image.a]\nisos = \"a\"", "unknown key `isos`: write `iso`"),
        ("[image.a]\niso = \"a\"\ninitrd = \"i\"", "an initrd goes with its kernel"),
        ("[image.a]\niso = \"a\"\nargs = \"{urk}\"", "unknown word {urk}"),
    ] {
        let said = wrong(&pool(text));
        assert!(said.contains(message), "{said}");
    }
    let twice = load_flags("reveille serve --interface eth0 --proxy --iso a.iso --iso b/a.iso").unwrap_err();
    assert_eq!(twice.to_string(), "--iso: another image has the name a");
}

#[test]
fn images_that_machines_and_rules_boot() {
    let config = pool(
        "[image.centos7]\niso = \"/isos/a.iso\"\ntitle = \"CentOS 7\"\n[image.jammy]\ndir = \"/isos/b\"\n\
         [image-menu]\ntitle = \"Rack 7\"\ntimeout = 0\ndefault = \"local\"\n\
         [[boot]]\nmatch = { subnet = \"192.168.99.0/24\" }\nimage = \"jammy\"\nargs = \"quiet\"\n\
         [[machine]]\nmac = \"88:99:aa:bb:cc:dd\"\nimage = \"centos7\"\n\
         [[machine]]\nserial = \" CZ1 \"\nimage = \"jammy\"\n\
         [[menu]]\nmatch = { arch = \"x86-bios\" }\nitems = [{ image = \"centos7\" }, { name = \"Disk\", local = true }]",
    );
    let (plan, settings) = load(&config).unwrap();
    assert_eq!(settings.images[0].title.as_deref(), Some("CentOS 7"));
    let menu = plan.image_menu();
    assert_eq!((menu.title.as_str(), menu.timeout_s, &menu.default), ("Rack 7", 0, &MenuDefault::Local));
    let rule = &plan.rules()[0];
    assert_eq!(rule.boots, Boots::Unsaid);
    let image = rule.image.as_ref().unwrap();
    assert_eq!((image.image.as_str(), image.args.as_deref()), ("jammy", Some("quiet")));
    assert!(image.script.to_string().starts_with("images/{server}/jammy+"), "{}", image.script);
    let [by_mac, by_serial] = plan.machines() else { panic!("{plan:?}") };
    let script = |machine: &plan::Machine| machine.image.as_ref().unwrap().script.to_string();
    assert_eq!(script(by_mac), "images/{server}/by-mac/{mac-hyphens}.ipxe");
    assert_eq!(by_serial.serial.as_deref(), Some("CZ1"));
    let (menu, _) = plan.menus().next().unwrap();
    assert_eq!(menu.items[0].text, "centos7");
    assert_eq!(menu.items[0].boot.as_ref().unwrap().to_string(), "images/{server}/centos7/lpxelinux.0");
    // A rule that only names an image leaves the loaders to their well-known names.
    let files: Vec<_> = plan.rules().iter().map(|rule| &rule.boots).collect();
    assert!(matches!(files[..], [Boots::Unsaid, Boots::File(_), Boots::File(_)]), "{files:?}");
}
