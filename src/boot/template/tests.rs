//! Texts for machines, from templates in the shapes that installers read.

use std::net::Ipv4Addr;

use minijinja::Value;

use super::*;
use crate::boot::client::{Arch, Client, Loader, Uuid, Wants};
use crate::boot::plan::{
    Assigned, Boots, Cidr, KnownBy, Machine, Match, Mode, Name, Network, Reason, Rule, Subnet, Vars,
};
use crate::limits::DONE_MAX;
use crate::time::Duration;
use crate::wire::ethernet::MacAddr;

const NODE: MacAddr = MacAddr([0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd]);
const PEER: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 77);

const KICKSTART: &str = r#"#version=RHEL7
url --url={{ url }}
network --bootproto=static --ip={{ ip }} --netmask={{ netmask }} --gateway={{ router }} --nameserver={{ dns|join(",") }} --hostname={{ host }}
{% if role == "db" %}
part /var/lib/pgsql --size=20480 --ondisk={{ disk }}
{% endif %}
{% for package in packages %}
{{ package }}
{% endfor %}
%post
curl -s {{ done }}
%end
"#;

fn network() -> Network {
    let subnet = |address: [u8; 4], attached, router: [u8; 4]| Subnet {
        cidr: Cidr::new(address.into(), 24),
        attached,
        pools: Vec::new(),
        lease: Duration::from_secs(60),
        options: vec![
            (3, router.to_vec()),
            (6, vec![10, 0, 0, 1, 10, 0, 0, 2]),
            (15, b"lab.example".to_vec()),
        ],
    };
    Network {
        interface: "eth0".to_owned(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        address: Ipv4Addr::new(192, 168, 99, 1),
        mode: Mode::Full,
        authoritative: true,
        probe: true,
        subnets: vec![
            subnet([192, 168, 99, 0], true, [192, 168, 99, 254]),
            subnet([10, 44, 0, 0], false, [10, 44, 0, 1]),
        ],
    }
}

fn vars(values: &[(&str, &str)]) -> Vars {
    values.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect()
}

fn node(values: &[(&str, &str)]) -> Machine {
    let args = Some("inst.ks=http://{server}/ks/{mac}.cfg".to_owned());
    Machine {
        mac: Some(NODE),
        uuid: None,
        address: Some(Ipv4Addr::new(192, 168, 99, 60)),
        hostname: Some("node-01".to_owned()),
        mode: None,
        boot: None,
        serial: Some("CZ7.1".to_owned()),
        image: Some(Assigned::for_machine("centos7".to_owned(), args, KnownBy::Mac)),
        local: Default::default(),
        vars: vars(values),
        line: 26,
    }
}

/// `/ks`, made from one text
fn one(text: &str) -> Templates {
    let mut templates = Templates::default();
    let serves = Serves::File("node.ks".to_owned());
    let set = Set { name: "ks".to_owned(), folder: "/data".into(), serves };
    templates.add(set, vec![("node.ks".to_owned(), text.to_owned())]).unwrap();
    templates
}

fn plan(templates: Templates, machines: Vec<Machine>) -> Plan {
    let plan = Plan::new(vec![network()], Vec::new(), Vec::new(), machines);
    plan.with_templates(templates, vars(&[("disk", "sda"), ("role", "web")]))
}

/// What `peer` gets at a path; `None`: nothing is there
fn get(plan: &Plan, path: &str, peer: Ipv4Addr) -> Option<Result<String, String>> {
    let asked = plan.templates().find(path)?;
    let who = plan.who(asked.name(plan, Some(peer))?, Some(peer))?;
    let image_args = |image: &str| (image == "centos7").then(|| "inst.repo={url} ip=dhcp".to_owned());
    Some(plan.templates().render(&asked, plan, &who, &image_args).map_err(|error| error.to_string()))
}

fn made(text: &str, machines: Vec<Machine>) -> Result<String, String> {
    get(&plan(one(text), machines), "ks/88-99-aa-bb-cc-dd.cfg", PEER).unwrap()
}

/// DHCP hears a machine take the peer's address
fn see(plan: &Plan, mac: MacAddr) {
    let client = Client {
        network: 0,
        mac,
        uuid: Some(Uuid([7; 16])),
        arch: Some(Arch::X64_UEFI),
        stated_arch: None,
        loader: Loader::Rom,
        wants: Wants::Pxe,
        vendor_class: b"",
        user_class: b"",
        link: None,
        relay: None,
        circuit_id: b"",
        remote_id: b"",
        ip: None,
    };
    plan.register().callers.remember(PEER, &client);
}

#[test]
fn a_kickstart_file_is_made_for_its_machine() {
    let mut machine = node(&[("role", "db")]);
    machine.vars.insert("packages".to_owned(), Value::from(vec!["vim", "postgresql"]));
    assert_eq!(
        made(KICKSTART, vec![machine]).unwrap(),
        "#version=RHEL7\n\
         url --url=http://192.168.99.1/images/centos7\n\
         network --bootproto=static --ip=192.168.99.60 --netmask=255.255.255.0 --gateway=192.168.99.254 \
         --nameserver=10.0.0.1,10.0.0.2 --hostname=node-01\n\
         part /var/lib/pgsql --size=20480 --ondisk=sda\n\
         vim\n\
         postgresql\n\
         %post\n\
         curl -s http://192.168.99.1/done/88-99-aa-bb-cc-dd\n\
         %end\n"
    );
}

#[test]
fn everything_that_is_known_has_a_name() {
    let text = "{{ mac }} {{ mac_hyphens }} {{ serial }} {{ ip }} {{ host }} {{ arch }} {{ server }} {{ http }} {{ image }} {{ args }} \
                {{ prefix }} {{ subnet }} {{ broadcast }} {{ domain }} {{ ntp }}";
    let plan = plan(one(text), vec![node(&[])]).with_ports(8080, 69);
    see(&plan, NODE);
    assert_eq!(
        get(&plan, "ks", PEER).unwrap().unwrap(),
        "88:99:aa:bb:cc:dd 88-99-aa-bb-cc-dd CZ7.1 192.168.99.60 node-01 x64-uefi 192.168.99.1 http://192.168.99.1:8080 centos7 \
         inst.repo=http://192.168.99.1:8080/images/centos7 ip=dhcp inst.ks=http://192.168.99.1/ks/88:99:aa:bb:cc:dd.cfg \
         24 192.168.99.0/24 192.168.99.255 lab.example []"
    );
}

#[test]
fn a_value_that_is_not_there_is_no_hole_in_a_text() {
    for (text, what) in [
        ("a {{ flavour }} b", "/data/node.ks:1: `flavour` is undefined"),
        ("\n\n{% if flavour %}{% endif %}", "/data/node.ks:3: `flavour` is undefined"),
        ("{{ dns.first }}", "/data/node.ks:1: `dns.first` is undefined"),
        ("{{ mac|nonesuch }}", "/data/node.ks:1: unknown filter: filter nonesuch is unknown"),
        ("{% include kind %}", "/data/node.ks:1: invalid operation: template name was not a string"),
        ("{% include 'a' ~ 'b' %}", "tried to include non-existing template"),
    ] {
        let said = made(text, vec![node(&[])]).unwrap_err();
        assert!(said.contains(what), "{said}");
    }
    assert_eq!(made("{{ flavour|default('plain') }}{{ flavour is defined }}", vec![]).unwrap(), "plainFalse");
    // Nothing is escaped but where that is asked for.
    assert_eq!(made("{{ \"<'&\" }} {{ 'a\"b'|tojson }}\n", vec![]).unwrap(), "<'& \"a\\\"b\"\n");
}

#[test]
fn a_template_that_does_not_compile_says_where() {
    let set = Set { name: "ks".to_owned(), folder: "/data".into(), serves: Serves::File("a".to_owned()) };
    let error = Templates::default().add(set, vec![("a".to_owned(), "\n{% if %}".to_owned())]).unwrap_err();
    assert!(error.to_string().starts_with("/data/a:2: syntax error: "), "{error}");
}

#[test]
fn what_costs_too_much_is_given_up() {
    let doubles = "{% set ns = namespace(x='xxxxxxxxxx') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}";
    let loops = "{% for i in range(99999) %}{% for i in range(99999) %}{% endfor %}{% endfor %}";
    let calls = "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}";
    let long = "{{ 'x' * 2000000 }}";
    let too_much = "it takes too much time or memory";
    for (text, what) in [
        (doubles, too_much),
        (loops, too_much),
        ("{{ 'x' * 99999999 }}", too_much),
        ("{{ 'x' * 99999999999 }}", too_much),
        (calls, "/data/node.ks:1: "),
        ("{% include 'node.ks' %}{% include 'node.ks' %}", "/data/node.ks:1: "),
        (long, "the text takes 2000000 bytes; 1048576 are the most"),
    ] {
        let said = made(text, vec![]).unwrap_err();
        assert!(said.contains(what), "{text}: {said}");
    }
}

#[test]
fn a_machine_is_known_by_any_of_its_names_or_by_its_address() {
    let plan = plan(one("{{ host }} {{ ip }}"), vec![node(&[])]);
    let text = |path, peer| get(&plan, path, peer).map(Result::unwrap);
    let node = Some("node-01 192.168.99.60".to_owned());
    for path in [
        "ks/88-99-aa-bb-cc-dd.cfg",
        "ks/88:99:AA:BB:CC:DD",
        "ks/01-88-99-aa-bb-cc-dd.ks",
        "ks/node-01",
        "ks/node-01.preseed",
        "ks/CZ7.1",
        "ks/CZ7.1.cfg",
        "ks/192.168.99.60",
        "ks/192.168.99.60.cfg",
    ] {
        assert_eq!(text(path, PEER), node, "{path}");
    }
    // Its reserved address, before anything was seen there.
    assert_eq!(text("ks.cfg", Ipv4Addr::new(192, 168, 99, 60)), node);
    for path in ["ks/node-02", "ks/88-99-aa", "ks/", "ks/a/b", "ks/../ks", "xks", "ks2", "kss.cfg", "", "k"] {
        assert_eq!(text(path, PEER), None, "{path}");
    }
    // A stranger is what it says it is.
    let stranger = Some(format!("02-00-00-00-00-09 {PEER}"));
    assert_eq!(text("ks/02-00-00-00-00-09", PEER), stranger);
    see(&plan, NODE);
    assert_eq!(text("ks", PEER), node, "as it was seen");
    see(&plan, MacAddr([2, 0, 0, 0, 0, 9]));
    assert_eq!(text("ks", PEER), stranger, "another one has the address now");
    let nobody = get(&plan, "ks", Ipv4Addr::new(192, 168, 99, 78)).unwrap().unwrap_err();
    assert!(nobody.contains("`host` is undefined"), "{nobody}");
}

#[test]
fn a_folder_is_served_by_the_names_of_its_files_and_includes_others() {
    let mut templates = Templates::default();
    let serves = Serves::Files(vec!["meta-data".to_owned(), "user-data".to_owned()]);
    let set = Set { name: "seed".to_owned(), folder: "/data/seed".into(), serves };
    let files = [
        ("meta-data", "instance-id: {{ host }}\n"),
        ("user-data", "{% extends 'parts/base' %}{% block body %}  {% include './_keys' %}{% endblock %}"),
        ("parts/base", "#cloud-config\nautoinstall:\n{% block body %}{% endblock %}\n"),
        ("_keys", "hostname: {{ host }}"),
    ];
    templates.add(set, files.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec()).unwrap();
    let plan = plan(templates, vec![node(&[])]);
    let text = |path| get(&plan, path, Ipv4Addr::new(192, 168, 99, 60)).map(Result::unwrap);
    let user_data = Some("#cloud-config\nautoinstall:\n  hostname: node-01".to_owned());
    assert_eq!(text("seed/88-99-aa-bb-cc-dd/user-data"), user_data);
    assert_eq!(text("seed/user-data"), user_data);
    assert_eq!(text("seed/node-01/meta-data").as_deref(), Some("instance-id: node-01\n"));
    for path in [
        "seed/node-01/_keys",
        "seed/parts/base",
        "seed/vendor-data",
        "seed/node-02/user-data",
        "seed",
        "seed/",
    ] {
        assert_eq!(text(path), None, "{path}");
    }
}

#[test]
fn values_of_groups_stand_behind_the_machines_own() {
    let rule = |number, matches, values: &[(&str, &str)]| Rule {
        matches,
        boots: Boots::Unsaid,
        image: None,
        local: Default::default(),
        vars: vars(values),
        mode: None,
        reason: Reason::Rule { number, line: number },
    };
    let rules = vec![
        rule(1, vec![Match::Mac(vec!["88:99".to_owned()])], &[("rack", "7"), ("disk", "nvme0n1")]),
        rule(2, vec![Match::Subnet(vec![Cidr::new(Ipv4Addr::new(10, 44, 0, 0), 24)])], &[("rack", "8")]),
        rule(3, vec![], &[("rack", "none")]),
    ];
    let templates = one("{{ rack }} {{ disk }} {{ role }}");
    let plan = Plan::new(vec![network()], rules, Vec::new(), vec![node(&[("role", "db")])]);
    let plan = plan.with_templates(templates, vars(&[("disk", "sda"), ("role", "web")]));
    for (path, peer, expected) in [
        ("ks/node-01", PEER, "7 nvme0n1 db"),
        ("ks/88-99-00-00-00-01", PEER, "7 nvme0n1 web"),
        ("ks/02-00-00-00-00-01", Ipv4Addr::new(10, 44, 0, 9), "8 sda web"),
        ("ks/02-00-00-00-00-01", PEER, "none sda web"),
    ] {
        assert_eq!(get(&plan, path, peer).unwrap().unwrap(), expected, "{path} {peer}");
    }
}

#[test]
fn what_a_machine_will_not_get_is_known_before_it_asks() {
    let other = Machine { mac: Some(MacAddr([2; 6])), image: None, ..node(&[]) };
    let image_args = |_: &str| None;
    let found = |text, machines, asked| -> Vec<String> {
        let plan = plan(one(text), machines);
        problems(&plan, &image_args, asked).iter().map(|problem| problem.error.to_string()).collect()
    };
    let text = "{{ flavour }} {{ ip }}";
    assert_eq!(found(text, vec![node(&[])], true), ["/data/node.ks:1: `flavour` is undefined"]);
    assert!(found(text, vec![node(&[("flavour", "x")])], true).is_empty());
    assert!(found(text, vec![node(&[])], false).is_empty(), "its arguments name it");
    assert!(found(text, vec![other.clone()], true).is_empty());
    assert_eq!(found(text, vec![other.clone()], false).len(), 1);
    // One that has no address of its own will have one.
    let without = Machine { address: None, ..other };
    assert!(found("{{ ip }} {{ router }}", vec![without], false).is_empty());
}

#[test]
fn ten_thousand_machines_are_looked_at_in_a_moment() {
    let machine = |number: u32| {
        let [_, b, c, d] = number.to_be_bytes();
        let name = format!("node-{number}");
        Machine {
            mac: Some(MacAddr([2, 0, 0, b, c, d])),
            hostname: Some(name),
            address: None,
            serial: None,
            ..node(&[])
        }
    };
    let machines: Vec<_> = (0..10_000).map(machine).collect();
    let plan = plan(one("{{ host }} {{ mac }} {{ ip }} {{ done }}"), machines);
    assert!(problems(&plan, &|_| None, true).is_empty());
    assert_eq!(get(&plan, "ks/node-9999", PEER).unwrap().unwrap().split(' ').next(), Some("node-9999"));
    const { assert!(DONE_MAX > 10_000) };
    assert!(plan.who(Name::Host("node-10000"), None).unwrap().mac.is_none());
}
