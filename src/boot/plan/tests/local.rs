//! Booting from the local disk: who does so, and who may say that somebody is done.

use super::*;
use crate::boot::register::{MachineId, Standing};
use crate::time::Instant;

const NOW: Instant = Instant::from_secs(1_795_539_600);
const HOME: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 60);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 61);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 44, 0, 9);

fn once(term: &str) -> Local {
    Local::After(Once { term: term.to_owned(), file: None })
}

/// A machine that boots an image once
fn installed(local: Local) -> Machine {
    Machine { image: assigned("c"), local, ..machine(Some(NAMED), None, None) }
}

fn plan(rules: Vec<Rule>, machines: Vec<Machine>) -> Plan {
    Plan::new(vec![network(Mode::Full)], rules, Vec::new(), machines)
}

fn loader() -> Rule {
    rule(9, vec![], "lpxelinux.0")
}

fn named(client: Client<'static>) -> Client<'static> {
    Client { mac: NAMED, ..client }
}

/// Whether a ROM, an iPXE and the loader's configuration agree, and on what
fn is_local(plan: &Plan, mac: MacAddr) -> bool {
    let rom = plan.answer(&Client { mac, ..client() });
    let ipxe = plan.answer(&Client { mac, ..ipxe() });
    let choice = plan.choice(Name::Mac(mac), Arch::X86_BIOS, Some(HOME), None).unwrap();
    let local = rom.is_local();
    assert_eq!((ipxe.is_local(), choice.is_local), (local, local));
    if local {
        let menu = rom.menu.expect("a ROM is told by a menu");
        assert!(rom.boot.is_none() && rom.image.is_none() && menu.timeout_s == 0);
        assert_eq!(menu.items.iter().map(|item| item.kind).collect::<Vec<_>>(), [0]);
        let http = plan.answer(&Client { mac, wants: Wants::Http, ..client() });
        assert!(http.menu.is_none() && http.boot.is_some_and(|boot| !boot.is_url()));
        assert!(ipxe.boot.is_none() && ipxe.menu.is_none() && choice.image.is_none());
    }
    local
}

#[test]
fn a_machine_boots_its_image_until_it_is_done_and_again_with_another_term() {
    let with = |local| plan(vec![loader()], vec![installed(local)]);
    let before = with(once("true"));
    assert!(!is_local(&before, NAMED));
    assert_eq!(given(&before, &named(client())).0, "lpxelinux.0");
    let name = Name::Mac(NAMED);
    let Ok(Reported::Now(ticket)) = before.report(name, NEIGHBOUR, NOW) else { panic!("it is taken") };
    assert_eq!(before.register().done.standing(ticket), Standing::Recorded);
    assert!(is_local(&before, NAMED) && !is_local(&before, MAC));
    assert_eq!(before.answer(&named(client())).reason, Reason::Done { line: 99 });
    assert_eq!(before.report(name, NEIGHBOUR, NOW), Ok(Reported::Before), "said twice, done once");

    let reloaded = |local| with(local).with_register(Arc::clone(before.register()));
    assert!(is_local(&reloaded(once("true")), NAMED), "a reload changes nothing");
    let again = reloaded(once("2026-11-24"));
    assert!(!is_local(&again, NAMED), "another term arms it");
    again.report(name, NEIGHBOUR, NOW).unwrap();
    assert!(is_local(&again, NAMED));
    assert!(is_local(&reloaded(once("true")), NAMED), "an old one does not");
    assert!(!is_local(&reloaded(Local::Never), NAMED));
    assert_eq!(reloaded(Local::Never).report(name, NEIGHBOUR, NOW), Err(NotReported::NotOnce));
}

#[test]
fn only_who_is_there_may_say_that_a_machine_is_done() {
    let home = Machine { address: Some(HOME), ..installed(once("a")) };
    let plan = || plan(vec![loader()], vec![home.clone()]);
    let (mac, nowhere) = (Name::Mac(NAMED), Ipv4Addr::new(203, 0, 113, 7));
    for (name, peer, expected) in [
        (mac, NEIGHBOUR, Ok(())),
        (mac, Ipv4Addr::LOCALHOST, Ok(())),
        (mac, FAR, Err(NotReported::Elsewhere)),
        (mac, nowhere, Err(NotReported::Elsewhere)),
        (Name::Address(HOME), HOME, Ok(())),
        (Name::Address(HOME), NEIGHBOUR, Ok(())),
        (Name::Address(HOME), FAR, Err(NotReported::Elsewhere)),
        (Name::Address(HOME), nowhere, Err(NotReported::Elsewhere)),
        (Name::Address(NEIGHBOUR), NEIGHBOUR, Err(NotReported::NotOnce)),
        (Name::Mac(MAC), NEIGHBOUR, Err(NotReported::NotOnce)),
        (Name::Host("node-09"), NEIGHBOUR, Err(NotReported::NotOnce)),
    ] {
        let plan = plan();
        assert_eq!(plan.report(name, peer, NOW).map(|_| ()), expected, "{name:?} from {peer}");
        assert_eq!(is_local(&plan, NAMED), expected.is_ok());
    }
    // Where it was seen is where it is, and an address that another has now is not the machine's.
    let plan = plan();
    let see = |address, mac| plan.register().callers.remember(address, &Client { mac, ..client() });
    see(HOME, MAC);
    assert_eq!(plan.report(Name::Address(HOME), HOME, NOW), Err(NotReported::NotOnce));
    see(nowhere, NAMED);
    assert!(plan.report(mac, nowhere, NOW).is_ok());
}

#[test]
fn a_group_is_done_machine_by_machine() {
    let group = |number, matches, local| Rule { image: assigned("a"), local, ..rule(number, matches, "-") };
    let uefi = Match::Arch(vec![Arch::X64_UEFI]);
    let rules = vec![
        group(1, vec![uefi, Match::Mac(texts("88:99"))], once("u")),
        group(2, vec![Match::Mac(texts("88:99"))], once("b")),
        loader(),
    ];
    let plan = plan(rules, vec![]);
    assert!(!is_local(&plan, NAMED));
    // Which architecture it was is not said again: it is done with both.
    plan.report(Name::Mac(NAMED), NEIGHBOUR, NOW).unwrap();
    assert!(is_local(&plan, NAMED));
    let uefi = Client { arch: Some(Arch::X64_UEFI), ..named(client()) };
    assert_eq!(plan.answer(&uefi).reason, Reason::Done { line: 10 });
    let other = MacAddr([0x88, 0x99, 0, 0, 0, 7]);
    assert!(!is_local(&plan, other));
    assert_eq!(plan.report(Name::Mac(MacAddr([2; 6])), NEIGHBOUR, NOW), Err(NotReported::NotOnce));
    // pxelinux asks by UUID first, which does not tell.
    let by_uuid = plan.choice(Name::Uuid(Uuid([7; 16])), Arch::X86_BIOS, Some(NEIGHBOUR), None).unwrap();
    assert!(by_uuid.image.is_none() && !by_uuid.is_local);
}

#[test]
fn the_local_disk_is_a_rules_to_give_where_no_rule_before_it_says_anything() {
    let disk = |number, matches| Rule { local: Local::Always, ..rule(number, matches, "-") };
    let all = || disk(5, vec![]);
    assert!(is_local(&plan(vec![all(), loader()], vec![]), MAC));
    assert!(!is_local(&plan(vec![loader(), all()], vec![]), MAC), "the loader comes first");
    let image = Rule { image: assigned("a"), ..rule(1, vec![Match::Mac(texts("88:99:aa:00"))], "-") };
    let mixed = plan(vec![image, all(), loader()], vec![]);
    assert!(!is_local(&mixed, NAMED) && is_local(&mixed, MAC));
    assert_eq!(given(&mixed, &named(client())).0, "lpxelinux.0", "the image needs its loader");
    // A machine's own image and file go before rules.
    assert!(!is_local(&plan(vec![all(), loader()], vec![installed(Local::Never)]), NAMED));
    let with_file = machine(Some(NAMED), None, Some("own.0"));
    assert_eq!(given(&plan(vec![all()], vec![with_file]), &named(client())).0, "own.0");
    let always = Machine { local: Local::Always, ..machine(Some(NAMED), None, None) };
    let own = plan(vec![loader()], vec![always]);
    assert!(is_local(&own, NAMED) && !is_local(&own, MAC));
    // An operating system is told nothing of it.
    let system = Client { wants: Wants::Nothing, loader: Loader::System, ..named(client()) };
    assert_eq!(own.answer(&system).reason, Reason::NotABoot);
}

#[test]
fn a_file_that_was_fetched_is_as_good_as_a_report() {
    let file = Some("images/c/initrd.img".to_owned());
    let local = Local::After(Once { term: "a".to_owned(), file });
    let plan = plan(vec![loader()], vec![Machine { address: Some(HOME), ..installed(local) }]);
    assert!(plan.awaits_files());
    for (peer, path) in
        [(HOME, "/images/c/initrd.im"), (NEIGHBOUR, "/images/c/initrd.img"), (HOME, "images/c"), (HOME, "")]
    {
        plan.on_fetched(peer, path, NOW);
        assert!(!is_local(&plan, NAMED), "{path}");
    }
    plan.on_fetched(HOME, "//images/c/initrd.img?x", NOW);
    assert!(is_local(&plan, NAMED));
    assert_eq!(plan.register().done.since(MachineId::Mac(NAMED), "a"), Some(NOW.as_secs()));
}

#[test]
fn a_machine_that_is_known_by_its_uuid_is_remembered_by_it() {
    let uuid = Uuid([9; 16]);
    let by_uuid = Machine { mac: None, uuid: Some(uuid), ..installed(once("a")) };
    let plan = plan(vec![loader()], vec![by_uuid]);
    plan.register().callers.remember(NEIGHBOUR, &Client { mac: MAC, uuid: Some(uuid), ..client() });
    plan.report(Name::Address(NEIGHBOUR), NEIGHBOUR, NOW).unwrap();
    assert!(plan.register().done.is_done(MachineId::Uuid(uuid), "a"));
    let asks = Client { uuid: Some(uuid), ..client() };
    assert!(plan.answer(&asks).is_local() && !plan.answer(&client()).is_local());
}
