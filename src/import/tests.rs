//! Whole configurations as people publish them, from `tests/import/`: each compiles, and what is lost is exactly this.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::boot::plan::{Boots, Plan};
use crate::config::testing;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

/// The text of one, on a machine with the interfaces of [`testing`], with its lease file left out
fn imported(file: &Path) -> Imported {
    import(file, None, &testing::interfaces(), 1_700_000_000).unwrap_or_else(|error| panic!("{error}"))
}

fn plan(text: &str) -> Plan {
    testing::load(text).unwrap_or_else(|errors| panic!("{errors}\n{text}")).0
}

/// Of a text that stands in no file
fn of_text(name: &str, text: &str) -> Imported {
    let file = std::env::temp_dir().join(format!("reveille-import-{name}-{}.conf", std::process::id()));
    fs::write(&file, text).unwrap();
    let imported = imported(&file);
    fs::remove_file(file).unwrap();
    imported
}

/// The lost lines as `line: why begins so`
fn is_lost(imported: &Imported, expected: &[(&str, &str)]) {
    let lost: Vec<_> = imported.lost.iter().map(|said| (said.text.as_str(), said.why.as_str())).collect();
    assert_eq!(lost.len(), expected.len(), "{lost:#?}");
    for ((text, why), (line, begins)) in lost.iter().zip(expected) {
        assert!(text.starts_with(line) && why.contains(begins), "{text}: {why}, not {line}: {begins}");
    }
}

#[test]
fn published_configurations_compile() {
    let mut count = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let file = entry.unwrap().path();
        let imported = imported(&file);
        let plan = plan(&imported.text);
        assert!(plan.networks().iter().any(|network| network.interface == "eth0"), "{}", imported.text);
        count += 1;
    }
    assert!(count >= 20, "{count} configurations");
}

#[test]
fn the_first_set_up_of_all() {
    let imported = imported(&folder().join("01-original.conf"));
    is_lost(&imported, &[]);
    assert_eq!(imported.notes, [""; 0]);
    let expected = "root = \"/srv/tftp\"\n\n# line 5: dhcp-range=192.168.99.1,proxy\n[[network]]\n\
                    interface = \"eth0\"\ndhcp = \"proxy\"\n\n\
                    # line 6: pxe-service=x86PC,\"PXE-Linux\",\"lpxelinux\"\n[[boot]]\n\
                    match = { arch = \"x86-bios\" }\nfile = \"lpxelinux.0\"\n";
    assert!(imported.text.contains(expected), "{}", imported.text);
}

#[test]
fn what_is_lost_is_named_with_its_reason() {
    let expected: &[(&str, &[(&str, &str)])] = &[
        (
            "09-static-hosts",
            &[
                ("dhcp-host=52:54:00:AA:00:01", "infinite: the lease time"),
                ("dhcp-host=laptop", "it names no MAC address"),
                ("dhcp-host=52:54:00:aa:00:05", "192.168.99.15 is another machine's"),
                ("dhcp-host=52:54:00:aa:00:05", "twoports is another machine's name"),
            ],
        ),
        ("14-raspberry-pi", &[("tftp-unique-root", "the same for every client")]),
        ("16-onie", &[("dhcp-option=tag:onie,114", "go to all of its clients")]),
        (
            "19-home-router",
            &[
                ("domain-needed", "no DNS"),
                ("bogus-priv", "no DNS"),
                ("no-resolv", "no DNS"),
                ("server=9.9.9.9", "no DNS"),
                ("local=/lan/", "no DNS"),
                ("expand-hosts", "no DNS"),
                ("cache-size", "no DNS"),
                ("dhcp-script", "no scripts"),
                ("tftp-secure", "its own user"),
                ("dhcp-host=52:54:00:aa:00:09", "7d: the lease time"),
            ],
        ),
    ];
    for entry in fs::read_dir(folder()).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap().to_str().unwrap();
        let expected = expected.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, lost)| lost);
        let mut imported = imported(&file);
        // Whether the machine has an /etc/ethers is not the test's matter.
        imported.lost.retain(|said| said.text != "read-ethers");
        is_lost(&imported, expected);
    }
}

#[test]
fn no_line_goes_without_a_word() {
    let text = "dhcp-range=192.168.99.50,192.168.99.60\nnonsense\nfrobnicate=1\ndhcp-boot=tag:typo,a.0\n\
                dhcp-range=fd00::1,fd00::9\ndhcp-relay=192.168.99.1,10.0.0.1\ndhcp-boot=\"a\n";
    is_lost(
        &of_text("words", text),
        &[
            ("dhcp-boot=\"a", "a quote is not closed"),
            ("dhcp-range=fd00", "IPv4 only"),
            ("nonsense", "no option"),
            ("frobnicate", "no option"),
            ("dhcp-relay", "no relay"),
            ("dhcp-boot=tag:typo", "no line sets the tag typo"),
        ],
    );
}

#[test]
fn interfaces_are_found_by_their_networks() {
    let two = of_text(
        "two",
        "port=0\ndhcp-range=set:a,192.168.99.0,192.168.99.99,1h\ndhcp-range=set:b,10.9.0.1,proxy\n\
         dhcp-boot=tag:b,b.0\ndhcp-boot=a.0\ntftp-root=/t\n",
    );
    let compiled = plan(&two.text);
    let networks: Vec<_> = compiled.networks().iter().map(|one| (one.interface.as_str(), one.mode)).collect();
    assert_eq!(networks, [("eth0", Mode::Full), ("eth1", Mode::Proxy)], "{}", two.text);
    assert!(two.text.contains("pool = [\"192.168.99.2-192.168.99.99\"]"), "{}", two.text);
    assert!(two.text.contains("match = { subnet = \"10.9.0.0/24\" }"), "{}", two.text);

    let elsewhere = of_text("elsewhere", "interface=lan0\ndhcp-range=172.31.5.10,172.31.5.20\n");
    assert!(elsewhere.text.contains("interface = \"lan0\""), "{}", elsewhere.text);
    assert!(elsewhere.notes.iter().any(|note| note.contains("lan0 is taken for")), "{:?}", elsewhere.notes);
    assert!(elsewhere.notes.iter().any(|note| note.contains("router, dns")), "{:?}", elsewhere.notes);
    let nowhere = of_text("nowhere", "dhcp-range=172.31.5.10,proxy\n");
    assert!(nowhere.text.contains("interface = \"INTERFACE\""), "{}", nowhere.text);
    let errors = testing::load(&nowhere.text).unwrap_err().to_string();
    assert!(errors.contains("there is no interface INTERFACE"), "{errors}");
}

#[test]
fn tags_of_hosts_and_architectures_become_rules() {
    let imported = imported(&folder().join("05-ipxe-chain-reversed.conf"));
    let files: Vec<String> = plan(&imported.text)
        .rules()
        .iter()
        .map(|rule| match &rule.boots {
            Boots::File(boot) => boot.to_string(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(files, ["menu.ipxe", "ipxe.efi", "undionly.kpxe"], "{}", imported.text);
}

#[test]
fn leases_go_into_the_store_once() {
    let folder = std::env::temp_dir().join(format!("reveille-import-leases-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let leases = folder.join("dnsmasq.leases");
    fs::write(
        &leases,
        "2000000000 52:54:00:00:00:01 192.168.99.60 a *\n1 52:54:00:00:00:02 192.168.99.61 b *\n",
    )
    .unwrap();
    let config = folder.join("dnsmasq.conf");
    fs::write(&config, format!("dhcp-leasefile={}\n", leases.display())).unwrap();
    let (file, live) = imported(&config).leases.unwrap();
    assert_eq!((file, live.len()), (leases, 1));
    let state = folder.join("state");
    assert_eq!((store(&live, &state).unwrap(), store(&live, &state).unwrap()), (1, 0));
    assert_eq!(Disk::open(&state).unwrap().load().unwrap(), live);
    fs::remove_dir_all(folder).unwrap();
}

/// Lines that people mix as they please
const VOCABULARY: &[&str] = &[
    "port=0",
    "interface=eth0",
    "interface=eth1",
    "except-interface=eth1",
    "listen-address=192.168.99.1",
    "dhcp-range=192.168.99.0,proxy",
    "dhcp-range=192.168.99.50,192.168.99.99,12h",
    "dhcp-range=set:lan,192.168.99.0,192.168.99.255",
    "dhcp-range=tag:known,192.168.99.100,192.168.99.110,1h",
    "dhcp-range=192.168.99.0,static",
    "dhcp-range=set:two,10.9.0.20,10.9.0.90,255.255.255.0,2h",
    "dhcp-range=set:relay,10.44.0.50,10.44.0.99,255.255.255.0,12h",
    "dhcp-range=10.45.0.0,proxy,255.255.255.0",
    "dhcp-host=52:54:00:aa:00:01,node1,192.168.99.60,set:a",
    "dhcp-host=52:54:00:aa:00:01,node2,192.168.99.61",
    "dhcp-host=52:54:00:aa:00:02,10.44.0.60,1h",
    "dhcp-host=52:54:00:aa:*:*,ignore",
    "dhcp-host=52:54:00:aa:00:03,192.168.99.1,set:b",
    "dhcp-host=52:54:00:aa:00:04,ignore",
    "dhcp-ignore=tag:!known",
    "dhcp-ignore=tag:vm,tag:!ipxe",
    "dhcp-match=set:ipxe,175",
    "dhcp-match=set:efi,option:client-arch,7",
    "dhcp-match=set:efi,option:client-arch,9",
    "dhcp-match=set:bios,option:client-arch,0",
    "dhcp-vendorclass=set:rom,PXEClient",
    "dhcp-mac=set:vm,52:54:00:*:*:*",
    "dhcp-userclass=set:ipxe,iPXE",
    "tag-if=set:first,tag:rom,tag:!ipxe",
    "tag-if=set:other,tag:!first,tag:!vm",
    "dhcp-boot=tag:ipxe,http://192.168.99.1/${net0/mac}.ipxe",
    "dhcp-boot=tag:!ipxe,tag:efi,ipxe.efi",
    "dhcp-boot=tag:first,tag:bios,undionly.kpxe,,192.168.99.1",
    "dhcp-boot=tag:other,other.0,other,192.168.99.5",
    "dhcp-boot=tag:lan,tag:!known,/t/lan.0",
    "dhcp-boot=tag:vm,tag:!a,vm.0",
    "dhcp-boot=pxelinux.0",
    "dhcp-option=67,by-option.0",
    "dhcp-option=tag:efi,67,by-option.efi",
    "dhcp-option=66,192.168.99.7",
    "dhcp-option=3,192.168.99.55",
    "dhcp-option=tag:relay,3,10.44.0.1",
    "dhcp-option=6,192.168.99.53,0.0.0.0",
    "dhcp-option=15,\"not a domain\"",
    "dhcp-option=tag:lan,42,192.168.99.70",
    "dhcp-option=0,1",
    "dhcp-option=26,1400",
    "pxe-service=x86PC,\"Install\",lpxelinux",
    "pxe-service=x86PC,\"Disk\"",
    "pxe-service=tag:!ipxe,X86-64_EFI,\"x64\",bootx64.efi",
    "pxe-service=0,\"Raspberry Pi Boot\"",
    "pxe-prompt=\"Choose\",5",
    "domain=lab.example",
    "dhcp-authoritative",
    "no-ping",
    "tftp-root=/t",
    "tftp-mtu=1500",
];

/// Whatever stands in the file, there is an end to it, and the text is TOML
#[test]
fn garbage_is_told_of() {
    let word = "[ -~é\t]{0,12}";
    let key =
        proptest::sample::select(VOCABULARY).prop_map(|line| line.split('=').next().unwrap_or_default());
    let line = (key, proptest::collection::vec(word, 0..5))
        .prop_map(|(key, words)| format!("{key}={}", words.join(",")));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let file = Rc::new(PathBuf::from("dnsmasq.conf"));
    runner
        .run(&proptest::collection::vec(line, 0..12), |lines| {
            let lines = line::lines(&lines.join("\n"), &file);
            let lines: Vec<Line> = lines.into_iter().filter_map(Result::ok).collect();
            let written = convert(&file, &lines, &testing::interfaces(), &mut Report::default());
            prop_assert!(toml::from_str::<toml::Table>(&written).is_ok(), "{written}");
            Ok(())
        })
        .unwrap();
}
