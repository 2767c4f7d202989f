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
        let report = boots(Setup::new(1).of(model, 1));
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
    let mut setup = Setup::new(seed).of(Model::UefiGrub, 1);
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

/// Machines of one kind that load 4 MiB each, over a wire of 1 Gbit/s whose use is bounded, or is not
fn on_a_narrow_wire(seed: u64, model: Model, count: usize, rate: Option<u64>) -> Report {
    let mut setup = Setup::new(seed).of(model, count);
    setup.power_on = Duration::ZERO;
    setup.faults.uplink = 1_000_000_000;
    setup.site.rate = rate;
    setup.site.files = reveille::rack::files(setup.site.server, setup.site.proxy, 4 << 20);
    boots(setup)
}

#[test]
fn experiment() {
    for model in Model::ALL {
        for rate in [None, Some(1_000_000_000), Some(970_000_000)] {
            let mut setup = Setup::new(1).of(model, 300);
            setup.power_on = Duration::ZERO;
            setup.faults.uplink = 1_000_000_000;
            setup.site.rate = rate;
            setup.site.files = reveille::rack::files(setup.site.server, setup.site.proxy, 4 << 20);
            let began = Clock::now();
            let report = Rack::new(setup).run();
            eprintln!("{} {rate:?} {:?}\n{report}", model.name(), began.elapsed());
        }
    }
}
