//! A swarm of seeds: each is a rack of its own, and each must be clean. See `tools/rack-swarm`.

use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration as Wall, Instant as Clock};

use reveille::rack::{Faults, Model, Rack, Setup, files};
use reveille::time::Duration;

/// What is asked for
struct Wanted {
    limit: Wall,
    /// From this seed on, up to that one
    seeds: Range<u64>,
    only: Option<u64>,
}

impl Wanted {
    fn read(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut wanted = Self { limit: Wall::from_secs(60), seeds: 0..u64::MAX, only: None };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seeds" => {
                    (wanted.seeds, wanted.limit) = (range(&arguments.next()?)?, Wall::MAX);
                }
                "--seed" => wanted.only = Some(arguments.next()?.parse().ok()?),
                minutes => wanted.limit = Wall::from_secs(minutes.parse::<u64>().ok()?.checked_mul(60)?),
            }
        }
        Some(wanted)
    }
}

/// `1000`, or `1000..3000`
fn range(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..").unwrap_or(("0", text));
    Some(from.parse().ok()?..to.parse().ok()?)
}

/// Chance, from a seed (splitmix64)
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % below.max(1)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.roll(of.len() as u64)).unwrap_or_default()]
    }

    fn ppm(&mut self, most: u64) -> u32 {
        // Half of all racks have none of a fault.
        let ppm = if self.roll(2) == 0 { 0 } else { self.roll(most + 1) };
        u32::try_from(ppm).unwrap_or_default()
    }
}

/// The rack of a seed
fn setup(seed: u64) -> Setup {
    let mut dice = Dice(seed);
    let most = dice.pick(&[10, 40, 40, 100, 400]);
    let count = usize::try_from(1 + dice.roll(most)).unwrap_or(1);
    let setup = Setup::new(seed);
    let mut setup = match dice.roll(3) {
        0 => setup.of(&[dice.pick(&Model::ALL)], count),
        _ => setup.mix(count),
    };
    let mtu = dice.pick(&[1500, 1500, 1500, 9000, 1420, 1280, 600]);
    setup.faults = Faults {
        loss_ppm: dice.ppm(30_000),
        double_ppm: dice.ppm(20_000),
        reorder_ppm: dice.ppm(30_000),
        delay: Duration::from_micros(dice.pick(&[20, 50, 500, 5_000])),
        jitter: Duration::from_micros(dice.pick(&[0, 0, 100, 3_000])),
        rate: dice.pick(&[100_000_000, 1_000_000_000, 10_000_000_000]),
        uplink: dice.pick(&[200_000_000, 1_000_000_000, 10_000_000_000]),
        mtu,
        blocked: Duration::from_secs(dice.pick(&[0, 0, 0, 30])),
        rogue: dice.roll(4) == 0,
    };
    // Two rounds pass while spanning tree blocks a port. Where one packet of 50 is doubled, every sixth boot of pxelinux fails: an
    // ERROR that comes twice it takes for the answer to its next name too, and so on past the last one. What is wrong with
    // the server fails every round.
    setup.rounds = 14;
    setup.power_on = Duration::from_millis(dice.pick(&[0, 1_000, 20_000]));
    setup.restart_at = (dice.roll(4) == 0).then(|| Duration::from_millis(dice.roll(15_000)));
    let site = &mut setup.site;
    site.rate = (dice.roll(3) == 0).then_some(setup.faults.uplink);
    site.menu = dice.roll(4) == 0;
    // A path that carries less than a frame's worth is for the operator to tell of; so are single ports and small windows.
    let fits = u16::try_from(mtu.min(1500) - 32).unwrap_or(512);
    site.tftp.blksize_max = dice.pick(&[fits, fits, fits.min(1024), 512]);
    site.tftp.windowsize_max = dice.pick(&[64, 64, 4, 1]);
    let kernel = dice.pick(&[16 << 10, 256 << 10, 1 << 20]);
    site.files = files(site.server, site.proxy, kernel);
    setup
}

/// What a rack is like, without its files
fn describe(setup: &Setup) -> String {
    let site = &setup.site;
    format!(
        "{} machines, {:?}, powered on within {}, restart at {:?}, rate {:?}, menu {}, {:?}",
        setup.machines.len(),
        setup.faults,
        setup.power_on,
        setup.restart_at,
        site.rate,
        site.menu,
        site.tftp,
    )
}

/// Runs seeds one after another while there are any and there is time; tells of those that fail
fn hunt(wanted: &Wanted, began: Clock, next: &AtomicU64, clean: &AtomicU64, failed: &AtomicU64) {
    while began.elapsed() < wanted.limit {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= wanted.seeds.end {
            return;
        }
        let report = Rack::new(setup(seed)).run();
        if !report.is_clean() {
            println!("seed {seed} failed; tools/rack-swarm --seed {seed} repeats it\n{report}");
            failed.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let clean = clean.fetch_add(1, Ordering::Relaxed) + 1;
        if clean.is_multiple_of(100) {
            eprintln!("{clean} seeds clean after {:.0?}", began.elapsed());
        }
    }
}

fn main() -> ExitCode {
    let Some(wanted) = Wanted::read(std::env::args().skip(1)) else {
        eprintln!("usage: tools/rack-swarm [MINUTES | --seeds [M..]N | --seed N]");
        return ExitCode::FAILURE;
    };
    if let Some(seed) = wanted.only {
        let setup = setup(seed);
        println!("{}", describe(&setup));
        let report = Rack::new(setup).run();
        println!("{report}");
        return if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let (began, next) = (Clock::now(), AtomicU64::new(wanted.seeds.start));
    let (clean, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| hunt(&wanted, began, &next, &clean, &failed));
        }
    });
    let (clean, failed) = (clean.into_inner(), failed.into_inner());
    println!("{clean} seeds clean, {failed} not, in {:.0?}", began.elapsed());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
