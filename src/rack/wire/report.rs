//! How a rack on a wire has booted: for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::rack::check::{Checker, Violation};
use crate::rack::expected::Checked;
use crate::rack::outcome::Failure;
use crate::rack::reach::Retries;
use crate::rack::report::quantile;
use crate::time::Duration;

/// Reasons of failure that are told apart
const REASONS_MAX: usize = 32;

/// Hosts of its networks that Linux knows at a time unless it is told otherwise (`gc_thresh3`): ARP of more is left unanswered
const NEIGHBOURS: usize = 1_024;

/// What a run came to
pub(super) struct Run {
    pub machines: usize,
    pub times: Vec<Duration>,
    pub elapsed: Duration,
    pub retries: Retries,
    pub bytes: u64,
    pub checked: Checked,
    pub failures: BTreeMap<String, u64>,
    pub refusals: BTreeMap<&'static str, u64>,
    pub checker: Checker,
    pub gave_up: BTreeMap<Failure, usize>,
    pub heard: u64,
    pub lost_frames: u64,
    pub ended_by: Option<String>,
}

/// How it went. Times are from a machine's power-on.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
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
    /// From the first power-on to the last machine's end
    pub elapsed_us: u64,
    /// What clients sent again
    pub retries: Retries,
    /// Bytes of files that arrived
    pub bytes: u64,
    /// What they were compared with
    pub checked: Checked,
    /// Why attempts failed; a machine goes through its boot order several times
    pub failures: BTreeMap<String, u64>,
    /// What a strict firmware takes amiss, and how often it came
    pub refusals: BTreeMap<&'static str, u64>,
    /// Machines that gave up, and why in the end
    pub gave_up: BTreeMap<String, usize>,
    /// What must not happen, and did
    pub violations: Vec<String>,
    /// How many more of them there were
    pub more_violations: usize,
    /// Frames that came or were to leave, and for which this host had no room: retries may be its own fault
    pub lost_frames: u64,
    /// Frames that came for a machine
    pub heard: u64,
    /// It was ended before its end
    pub is_interrupted: bool,
    /// By what
    pub ended_by: Option<String>,
}

impl Report {
    pub(super) fn new(mut run: Run) -> Self {
        run.times.sort_unstable();
        let mut failures: Vec<_> = run.failures.into_iter().collect();
        failures.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let rest: u64 = failures.iter().skip(REASONS_MAX).map(|(_, count)| count).sum();
        failures.truncate(REASONS_MAX);
        failures.extend((rest > 0).then(|| ("other reasons".to_owned(), rest)));
        Self {
            machines: run.machines,
            booted: run.times.len(),
            p50_us: quantile(&run.times, 50),
            p99_us: quantile(&run.times, 99),
            max_us: quantile(&run.times, 100),
            elapsed_us: run.elapsed.as_micros(),
            retries: run.retries,
            bytes: run.bytes,
            checked: run.checked,
            failures: failures.into_iter().collect(),
            refusals: run.refusals,
            violations: run.checker.violations.iter().map(Violation::to_string).collect(),
            more_violations: run.checker.more,
            lost_frames: run.lost_frames,
            gave_up: run.gave_up.into_iter().map(|(why, count)| (why.to_string(), count)).collect(),
            heard: run.heard,
            is_interrupted: run.ended_by.is_some(),
            ended_by: run.ended_by,
        }
    }

    /// Whether all have booted, and nothing was wrong
    pub fn is_clean(&self) -> bool {
        self.booted == self.machines && self.violations.is_empty()
    }
}

/// For people
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |us| Duration::from_micros(us);
        let (booted, machines, elapsed) = (self.booted, self.machines, span(self.elapsed_us));
        match &self.ended_by {
            Some(why) => writeln!(f, "{booted} of {machines} machines booted in {elapsed}, until {why}")?,
            None => writeln!(f, "{booted} of {machines} machines booted in {elapsed}")?,
        }
        if self.heard == 0 {
            writeln!(f, "nothing on that interface has answered any of them")?;
        }
        if booted > 0 {
            let [p50, p99, last] = [self.p50_us, self.p99_us, self.max_us].map(span);
            writeln!(f, "a machine's time to boot: p50 {p50}, p99 {p99}, last {last}")?;
        }
        let mb = |bytes: u64| format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10);
        let Checked { with_root, with_others, first } = self.checked;
        writeln!(
            f,
            "{} MB of files: {} compared with the root, {} with what another machine got, {} as they came",
            mb(self.bytes),
            mb(with_root),
            mb(with_others),
            mb(first)
        )?;
        let r = &self.retries;
        writeln!(
            f,
            "retries by clients: {} DHCP ({} unanswered), {} port 4011, {} TFTP, {} HTTP, {} ARP",
            r.dhcp, r.dhcp_unanswered, r.boot_server, r.tftp, r.http, r.arp
        )?;
        if r.arp > 0 && machines >= NEIGHBOURS {
            writeln!(
                f,
                "more machines than the {NEIGHBOURS} neighbours that Linux keeps: raise net.ipv4.neigh.default.gc_thresh3 \
                 where the server runs"
            )?;
        }
        for (why, count) in &self.refusals {
            writeln!(f, "{count} times: {why}")?;
        }
        for (failure, count) in &self.failures {
            writeln!(f, "{count} attempts failed: {failure}")?;
        }
        for (why, count) in &self.gave_up {
            let are = if *count == 1 { "machine is" } else { "machines are" };
            writeln!(f, "WRONG: {count} {are} not booted: {why}")?;
        }
        for violation in &self.violations {
            writeln!(f, "WRONG: {violation}")?;
        }
        if self.more_violations > 0 {
            writeln!(f, "WRONG: {} times more", self.more_violations)?;
        }
        if self.lost_frames > 0 {
            writeln!(f, "this host had no room for {} frames: retries may be its own", self.lost_frames)?;
        }
        Ok(())
    }
}
