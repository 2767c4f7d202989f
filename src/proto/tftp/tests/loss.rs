//! Whole transfers over links that lose, repeat and reorder: the bytes arrive, and what is sent again stays bounded.

use proptest::prelude::*;

use super::clients::{Client, Habit};
use super::link::{Faults, Link, SwitchPort};
use super::ports::cable;
use super::*;

/// One transfer
#[derive(Clone, Copy, Debug)]
struct Fetch {
    habit: Habit,
    len: usize,
    blksize: u16,
    windowsize: u16,
    faults: Faults,
    leaves: bool,
    seed: u64,
}

impl Fetch {
    fn link(&self) -> Link {
        let lab = Lab::new().file("vmlinuz", self.len);
        let (blksize, windowsize) = (self.blksize.to_string(), self.windowsize.to_string());
        let mut options = vec![("tsize", "0"), ("blksize", &blksize)];
        if self.windowsize > 1 {
            options.push(("windowsize", &windowsize));
        }
        let client = Client::new(lab.now, self.habit, rrq("vmlinuz", &options));
        let mut link = Link::new(lab, client, self.faults, self.seed);
        link.leaves = self.leaves;
        link
    }

    fn run(self) -> Link {
        self.run_on(self.link())
    }

    /// By a cable of so many Mbit/s that loses nothing
    fn run_over(self, mbit: u64, latency: Duration) -> Link {
        let mut link = self.link();
        link.latency = latency;
        link.way = Some((cable(10_000), SwitchPort::new(1_000, cable(mbit))));
        self.run_on(link)
    }

    /// Runs it to the end and checks what must hold for all of them
    fn run_on(self, mut link: Link) -> Link {
        link.run();
        assert!(link.client.done && link.client.bytes == content(self.len), "the client has the file");
        assert!(link.lab.tftp.is_empty() && link.lab.tftp.next_deadline().is_none());
        let resent = link.lab.stats.resent;
        // A client that leaves misses the copies of the last window; else each fault costs a few windows at most.
        let spared = if self.leaves { 12 } else { 0 };
        let bound = u64::from(self.windowsize) * (4 * link.faulty + spared);
        assert!(resent <= bound, "{resent} resent for {} faults: {self:?}", link.faulty);
        link
    }

    fn outcomes(link: &Link) -> Vec<Outcome> {
        link.lab.notes.iter().map(|note| note.outcome).collect()
    }
}

const PLAIN: Fetch = Fetch {
    habit: Habit::UBoot,
    len: 1_000_000,
    blksize: 1468,
    windowsize: 1,
    faults: Faults { lost: 0, doubled: 0, late: 0 },
    leaves: false,
    seed: 1,
};

const HABITS: [Habit; 3] = [Habit::Edk2, Habit::UBoot, Habit::Grub];

/// GRUB knows no windows
fn windows(habit: Habit, sizes: [u16; 3]) -> impl Iterator<Item = u16> {
    sizes.into_iter().filter(move |&size| size == 1 || habit != Habit::Grub)
}

#[test]
fn nothing_is_sent_twice_over_a_good_link() {
    for habit in HABITS {
        for windowsize in windows(habit, [1, 4, 64]) {
            let link = Fetch { habit, windowsize, ..PLAIN }.run();
            assert_eq!(link.lab.stats.resent, 0);
            assert_eq!(Fetch::outcomes(&link), [Outcome::Done]);
        }
    }
}

#[test]
fn one_copied_packet_does_not_double_the_traffic_for_good() {
    for habit in HABITS {
        for windowsize in windows(habit, [1, 4, 16]) {
            for seed in 0..40 {
                let faults = Faults { doubled: 2, ..Faults::default() };
                let link = Fetch { habit, windowsize, faults, seed, ..PLAIN }.run();
                assert!(link.lab.stats.resent <= 4 * u64::from(windowsize) * link.faulty);
            }
        }
    }
}

/// A window that is sent again follows the first one down the cable. What the client says of the first meanwhile must not have
/// it sent a third time: with the windows of EDK2, two of a kind on their way can keep each other going to the file's end.
#[test]
fn copies_that_come_late_do_not_keep_each_other_going() {
    let faults = Faults { doubled: 15, late: 15, ..Faults::default() };
    for windowsize in [4, 8, 16, 64] {
        for latency_us in [50, 500] {
            for seed in 0..50 {
                let fetch = Fetch { habit: Habit::Edk2, windowsize, faults, seed, ..PLAIN };
                let link = fetch.run_over(100, Duration::from_micros(latency_us));
                let (resent, faulty) = (link.lab.stats.resent, link.faulty);
                let most = u64::from(windowsize) * faulty;
                assert!(resent <= most, "{windowsize}, {latency_us} µs, {seed}: {resent} for {faulty}");
            }
        }
    }
}

#[test]
fn one_per_cent_of_loss_costs_little_time() {
    let faults = Faults { lost: 10, ..Faults::default() };
    // A lost ACK costs U-Boot its own timer, whatever the server does.
    for (habit, windowsize, seconds) in [(Habit::Grub, 1, 5), (Habit::Edk2, 4, 4), (Habit::Edk2, 16, 3)] {
        for seed in 0..10 {
            let link = Fetch { habit, windowsize, faults, seed, ..PLAIN }.run();
            let took = link.done_at.unwrap().since(Instant::from_secs(1_700_000_000));
            assert!(
                took < Duration::from_secs(seconds),
                "{habit:?}, window {windowsize}, seed {seed}: {took}"
            );
        }
    }
}

#[test]
fn a_client_that_leaves_without_a_word_ends_quietly() {
    for seed in 0..50 {
        let faults = Faults { lost: 100, ..Faults::default() };
        let fetch = Fetch { leaves: true, windowsize: 4, len: 20_000, faults, seed, ..PLAIN };
        assert_eq!(Fetch::outcomes(&fetch.run()), [Outcome::Done]);
    }
}

#[test]
fn more_than_65535_blocks_arrive_whole() {
    for (habit, windowsize) in [(Habit::Edk2, 64), (Habit::UBoot, 64), (Habit::Grub, 1)] {
        let faults = Faults { lost: 5, doubled: 2, late: 2 };
        Fetch { habit, windowsize, blksize: 8, len: 8 * 131_100, faults, ..PLAIN }.run();
    }
}

fn fetches() -> impl Strategy<Value = Fetch> {
    let often = prop_oneof![Just(0_u64), Just(10), Just(60)];
    let faults = (often.clone(), often.clone(), often).prop_map(|(lost, doubled, late)| Faults {
        lost,
        doubled,
        late,
    });
    let size = (8..=1468_u16, 0..200_usize, 0..3_usize).prop_map(|(blksize, blocks, more)| {
        (blksize, (usize::from(blksize) * blocks + more).saturating_sub(1))
    });
    let habit = prop::sample::select(HABITS.to_vec());
    (habit, size, 1..=64_u16, faults, any::<bool>(), any::<u64>()).prop_map(
        |(habit, (blksize, len), windowsize, faults, leaves, seed)| Fetch {
            habit,
            len,
            blksize,
            windowsize: if habit == Habit::Grub { 1 } else { windowsize },
            faults,
            leaves,
            seed,
        },
    )
}

proptest! {
    #[test]
    fn every_transfer_arrives_whole(fetch in fetches()) {
        fetch.run();
    }
}
