//! Simulated racks boot from the production shard: many seeds, every fault of a switch, and mistakes that must be found.
//!
//! `SEED=7 cargo test --test rack` repeats the seed that failed.

use std::time::{Duration as Wall, Instant as Clock};

use reveille::rack::{Bug, Faults, Model, Rack, Report, Setup};
use reveille::time::Duration;

/// Seeds that a test runs through: those of the environment's, or as many as its time allows
fn seeds(most: u64) -> impl Iterator<Item = u64> {
    let fixed = std::env::var("SEED").ok().map(|seed| seed.parse().expect("SEED is a number"));
    let began = Clock::now();
    (fixed.unwrap_or(0)..)
        .take(if fixed.is_some() { 1 } else { usize::try_from(most).expect("few") })
        .take_while(move |_| began.elapsed() < Wall::from_secs(15))
}

fn boots(setup: Setup) -> Report {
    let seed = setup.seed;
    let report = Rack::new(setup).run();
    assert!(report.is_clean(), "SEED={seed}\n{report}");
    report
}

#[test]
fn one_machine_of_each_kind_boots() {
    for model in Model::ALL {
        let report = boots(Setup::new(1).of(&[model], 1));
        assert_eq!((report.booted, report.retries), (1, 0), "{}: {report}", model.name());
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let lossy = || {
        let mut setup = Setup::new(7).mix(35);
        setup.faults = Faults { loss_ppm: 20_000, ..Faults::default() };
        Rack::new(setup).run()
    };
    let (one, two) = (lossy(), lossy());
    assert_eq!((&one.trace, one.max_us), (&two.trace, two.max_us));
    let mut other = Setup::new(8).mix(35);
    other.faults = Faults { loss_ppm: 20_000, ..Faults::default() };
    assert_ne!(Rack::new(other).run().trace, one.trace);
}

#[test]
fn a_mixed_rack_boots_through_every_fault_of_a_switch() {
    for seed in seeds(40) {
        let mut setup = Setup::new(seed).mix(35);
        setup.faults = Faults {
            loss_ppm: 20_000,
            double_ppm: 10_000,
            reorder_ppm: 20_000,
            jitter: Duration::from_millis(2),
            rogue: seed % 2 == 1,
            blocked: Duration::from_secs(if seed % 5 == 0 { 30 } else { 0 }),
            ..Faults::default()
        };
        boots(setup);
    }
}

#[test]
fn ports_that_spanning_tree_blocks_and_a_narrow_uplink_are_survived() {
    for seed in seeds(5) {
        let mut setup = Setup::new(seed).mix(70);
        setup.faults = Faults { blocked: Duration::from_secs(30), uplink: 100_000_000, ..Faults::default() };
        boots(setup);
    }
}

#[test]
fn a_server_killed_in_the_middle_of_a_storm_gives_no_address_twice() {
    for seed in seeds(20) {
        let mut setup = Setup::new(seed).mix(70);
        setup.restart_at = Some(Duration::from_millis(200 + seed * 250));
        boots(setup);
    }
}

#[test]
fn blocks_are_numbered_on_past_65535() {
    boots(many_blocks(1));
}

/// A loader of more blocks than a number counts: blocks of 16 bytes
fn many_blocks(seed: u64) -> Setup {
    let mut setup = Setup::new(seed).of(&[Model::UefiGrub], 1);
    setup.site.tftp.blksize_max = 16;
    setup.site.files.fill("bootnetx64.efi", 16 * 66_000);
    setup
}

#[test]
fn a_thousand_mixed_machines_boot_at_once_with_loss() {
    let mut setup = Setup::new(1).mix(1_000);
    setup.power_on = Duration::ZERO;
    setup.faults = Faults { loss_ppm: 20_000, ..Faults::default() };
    boots(setup);
}

// --- Mistakes that must be found ---

/// A rack in which the mistake matters
fn with_bug(bug: Bug, seed: u64) -> Setup {
    let mut setup = match bug {
        Bug::WrapsToOne => many_blocks(seed),
        _ => Setup::new(seed).mix(56),
    };
    match bug {
        Bug::LostTimers => setup.faults.loss_ppm = 20_000,
        Bug::AckBeforeDisk => setup.restart_at = Some(Duration::from_millis(900)),
        _ => {}
    }
    setup.bug = Some(bug);
    setup
}

/// What a rack says of each mistake
fn finding(bug: Bug) -> &'static str {
    match bug {
        Bug::DoubleLease | Bug::AckBeforeDisk => "is given to machine",
        Bug::LostTimers | Bug::LeakedConnections => "outlives its client",
        Bug::PastTheRelay => "is not booted: no DHCP offer",
        Bug::WrapsToOne => "is not booted: TFTP fell silent",
        Bug::StaleWindow => "bytes that are not the file's",
        Bug::StaleXid => "with an xid that it never sent",
        Bug::NoEnd => "options without END",
        Bug::Unpadded => "shorter than 300 bytes",
        Bug::OtherServerId => "whose server identifier is not the offer's",
        Bug::TwoNames => "name different boot files",
        Bug::TwiceEach => "blocks again of a file",
        Bug::GenerousOack => "an OACK option that was not asked for",
        Bug::OtherPort => "a transfer that changed its port",
        Bug::NeverCloses => "the loader waits for its end",
        Bug::LowerCaseHeaders => "no Content-Length in its usual letters",
    }
}

#[test]
fn every_mistake_put_into_the_server_is_found() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        let report = Rack::new(with_bug(bug, 3)).run();
        let mut found: Vec<String> = report.violations.clone();
        found.sort();
        if !found.iter().any(|violation| violation.contains(finding(bug))) {
            missed.push(format!("{bug:?}: {found:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn the_racks_of_those_mistakes_are_clean_without_them() {
    for bug in Bug::ALL {
        let mut setup = with_bug(bug, 3);
        setup.bug = None;
        boots(setup);
    }
}

// --- A wire that is too narrow ---

/// Machines of one kind that load 12 MiB each over a wire of 1 Gbit/s, which the server shares evenly, or by turns
fn on_a_narrow_wire(seed: u64, model: Model, by_turns: bool) -> Report {
    let mut setup = Setup::new(seed).of(&[model], 120);
    setup.power_on = Duration::ZERO;
    setup.faults.uplink = 1_000_000_000;
    setup.site.rate = by_turns.then_some(setup.faults.uplink);
    setup.site.files = reveille::rack::files(setup.site.server, setup.site.proxy, 4 << 20);
    let report = boots(setup);
    assert!(report.failures.is_empty(), "SEED={seed}: somebody gave up\n{report}");
    report
}

#[test]
fn by_turns_all_are_done_as_soon_and_most_of_them_much_sooner() {
    for (seed, model) in seeds(3).zip([Model::Ipxe, Model::Bios, Model::UefiGrub]) {
        let alone = Rack::new(Setup::new(seed).of(&[model], 1)).run().max_us;
        let (evenly, by_turns) = (on_a_narrow_wire(seed, model, false), on_a_narrow_wire(seed, model, true));
        let told = format!("SEED={seed} {}\nevenly: {evenly}\nby turns: {by_turns}", model.name());
        // Firmware's own waiting, which no server can shorten, left out.
        let waits = |us: u64| us - alone.min(us);
        assert!(waits(by_turns.mean_us) * 100 < waits(evenly.mean_us) * 62, "half the mean, nearly\n{told}");
        assert!(by_turns.max_us * 100 < evenly.max_us * 105, "the last one is as soon\n{told}");
        assert!(by_turns.held > 60 && evenly.held == 0, "{told}");
    }
}

#[test]
fn turns_are_kept_through_loss_restarts_and_wires_that_hold_less_than_they_say() {
    for seed in seeds(6) {
        let mut setup = Setup::new(seed).mix(140);
        setup.faults = Faults { uplink: 200_000_000, loss_ppm: 5_000, ..Faults::default() };
        // The configuration says more than there is, what there is, or less, to leave room for others.
        setup.site.rate =
            Some([250_000_000, 200_000_000, 50_000_000][usize::try_from(seed % 3).expect("small")]);
        setup.restart_at = (seed % 2 == 1).then_some(Duration::from_secs(3));
        boots(setup);
    }
}

#[test]
fn a_bound_leaves_the_rest_of_the_wire_to_others() {
    let mut setup = Setup::new(1).of(&[Model::Ipxe], 20);
    setup.site.rate = Some(100_000_000);
    let report = boots(setup);
    let least_us = report.bytes * 8 / 100;
    assert!(report.elapsed_us > least_us * 95 / 100, "{report}");
    assert!(report.elapsed_us < least_us * 125 / 100, "and not much less than it is told\n{report}");
}

#[test]
fn another_rate_holds_for_those_who_are_loading() {
    let loads = |rate: Option<u64>, new_rate: Option<u64>| {
        let mut setup = Setup::new(1).mix(70);
        setup.power_on = Duration::ZERO;
        setup.site.rate = rate;
        setup.new_rate = Some((Duration::from_millis(2_000), new_rate));
        setup.site.files = reveille::rack::files(setup.site.server, setup.site.proxy, 8 << 20);
        boots(setup).elapsed_us
    };
    let (slow, fast) = (Some(50_000_000), Some(2_000_000_000));
    let (as_slow, as_fast) = (loads(slow, slow), loads(fast, fast));
    let told = format!("{as_slow} and {as_fast} µs");
    assert!(as_slow > 9 * as_fast, "{told}");
    // Those who wait for the narrow wire have their turn on the wide one, or all at once where there is no bound any more.
    for wider in [fast, None] {
        let us = loads(slow, wider);
        assert!(us < 2 * as_fast, "{wider:?}: {us}, {told}");
    }
    // And what begun without a bound is under it.
    for wide in [fast, None] {
        let us = loads(wide, slow);
        assert!(us > as_slow / 3, "{wide:?}: {us}, {told}");
    }
}

// --- A hall of machines ---

/// `reveille rack --machines 4500 --uplink 1G --rate 1G` is the whole hall
#[test]
fn a_hall_of_machines_boots_at_once_over_one_port() {
    for (uplink, rate) in
        [(1_000_000_000, None), (1_000_000_000, Some(1_000_000_000)), (10_000_000_000, None)]
    {
        let mut setup = Setup::new(1).mix(1_200);
        setup.power_on = Duration::ZERO;
        setup.faults.uplink = uplink;
        setup.site.rate = rate;
        let report = boots(setup);
        assert!(report.failures.is_empty(), "somebody gave up\n{report}");
    }
}

#[test]
fn a_server_killed_among_a_thousand_machines_gives_no_address_twice() {
    for seed in seeds(3) {
        let mut setup = Setup::new(seed).mix(1_200);
        setup.faults.loss_ppm = 10_000;
        // While addresses are given, while loaders are, and while kernels are.
        setup.restart_at =
            Some(Duration::from_millis([300, 1_200, 6_000][usize::try_from(seed % 3).expect("small")]));
        boots(setup);
    }
}

#[test]
fn paths_that_carry_less_than_a_frame_are_served_with_smaller_blocks() {
    for (seed, mtu) in seeds(4).zip([1420, 1280, 600, 9000]) {
        let mut setup = Setup::new(seed).mix(35);
        setup.faults = Faults { mtu, loss_ppm: 10_000, ..Faults::default() };
        setup.site.tftp.blksize_max = u16::try_from(mtu - 32).expect("a small MTU");
        boots(setup);
    }
}
