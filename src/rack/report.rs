//! How it goes, while it goes, and how it went: for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::board::Row;
use super::check::{Checker, Violation};
use super::machine::Machine;
use super::step::Stage;
use crate::time::Duration;

/// The machines of one kind
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfKind {
    /// All of them
    pub machines: usize,
    /// Those that have booted
    pub booted: usize,
}

/// Where everybody stands
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// Virtual time since the power came
    pub elapsed: Duration,
    /// Machines at each stage
    pub stages: BTreeMap<Stage, usize>,
    /// Machines of each kind, by its name
    pub kinds: BTreeMap<&'static str, OfKind>,
    /// Bytes of files that have arrived
    pub bytes: u64,
    /// What clients had to send again
    pub retries: u64,
    /// Each machine, in their order
    pub(crate) machines: Vec<Row>,
}

impl Board {
    pub(crate) fn add(&mut self, machine: &Machine) {
        *self.stages.entry(machine.stage()).or_default() += 1;
        let of_kind = self.kinds.entry(machine.kind.name()).or_default();
        of_kind.machines += 1;
        of_kind.booted += usize::from(machine.stage() == Stage::Booted);
        self.bytes += machine.count.bytes;
        self.retries += machine.count.retries.total();
        self.machines.push(Row::of(machine));
    }
}

/// How it went. Times are virtual, from a machine's power-on.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What decided it all
    pub seed: u64,
    /// Machines
    pub machines: usize,
    /// Those that booted
    pub booted: usize,
    /// Half of them were up by then
    pub p50_us: u64,
    /// 99 of a hundred were
    pub p99_us: u64,
    /// The last was
    pub max_us: u64,
    /// A machine's on average
    pub mean_us: u64,
    /// From the power to the last
    pub elapsed_us: u64,
    /// What clients had to send again
    pub retries: u64,
    /// Bytes of files that arrived
    pub bytes: u64,
    /// Times that the server held a client back since a wire was full
    pub held: u64,
    /// The longest of them
    pub held_longest_us: u64,
    /// Why attempts failed; a machine goes through its boot order several times
    pub failures: BTreeMap<String, u64>,
    /// What must not happen, and did
    pub violations: Vec<String>,
    /// How many more of them there were
    pub more_violations: usize,
    /// A digest of every event in order: the same seed, the same number
    pub trace: String,
    #[serde(skip)]
    found: Vec<Violation>,
}

impl Report {
    pub(crate) fn new(
        seed: u64,
        machines: usize,
        mut times: Vec<Duration>,
        elapsed: Duration,
        retries: u64,
        bytes: u64,
        checker: Checker,
    ) -> Self {
        times.sort_unstable();
        Self {
            seed,
            machines,
            booted: times.len(),
            p50_us: quantile(&times, 50),
            p99_us: quantile(&times, 99),
            max_us: quantile(&times, 100),
            mean_us: times.iter().map(|time| time.as_micros()).sum::<u64>() / times.len().max(1) as u64,
            elapsed_us: elapsed.as_micros(),
            retries,
            bytes,
            held: 0,
            held_longest_us: 0,
            failures: checker.failures.iter().map(|(failure, count)| (failure.to_string(), *count)).collect(),
            violations: checker.violations.iter().map(Violation::to_string).collect(),
            more_violations: checker.more,
            trace: format!("{:016x}", checker.trace),
            found: checker.violations,
        }
    }

    /// What must not happen, and did
    pub fn found(&self) -> &[Violation] {
        &self.found
    }

    /// Whether all have booted, and nothing was wrong
    pub fn is_clean(&self) -> bool {
        self.booted == self.machines && self.found.is_empty()
    }
}

/// The time by which so many of a hundred were up; `times` are sorted
pub(crate) fn quantile(times: &[Duration], percent: usize) -> u64 {
    let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(at).map_or(0, |time| time.as_micros())
}

/// For people
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |us| Duration::from_micros(us);
        writeln!(f, "{} of {} machines booted in {}", self.booted, self.machines, span(self.elapsed_us))?;
        writeln!(
            f,
            "a machine's time to boot: mean {}, p50 {}, p99 {}, last {}",
            span(self.mean_us),
            span(self.p50_us),
            span(self.p99_us),
            span(self.max_us)
        )?;
        writeln!(f, "{} MB of files, {} retries by clients", self.bytes / 1_000_000, self.retries)?;
        if self.held > 0 {
            let longest = span(self.held_longest_us);
            writeln!(
                f,
                "the wires were full: clients waited their turn {} times, {longest} at most",
                self.held
            )?;
        }
        for (failure, count) in &self.failures {
            writeln!(f, "{count} attempts failed: {failure}")?;
        }
        for violation in &self.violations {
            writeln!(f, "WRONG: {violation}")?;
        }
        if self.more_violations > 0 {
            writeln!(f, "WRONG: {} times more", self.more_violations)?;
        }
        writeln!(f, "seed {}, trace {}", self.seed, self.trace)
    }
}
