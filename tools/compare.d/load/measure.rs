//! The server's CPU time and memory, the load's own CPU time, and how latencies are spread.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Map, Value};

/// A result: one line of JSON
pub(crate) type Result = Map<String, Value>;

/// Measures from its start on
pub(crate) struct Meter {
    cgroup: Option<PathBuf>,
    started: Instant,
    server_us: u64,
    load_us: u64,
}

impl Meter {
    /// Starts now; `cgroup` is the server's
    pub(crate) fn start(cgroup: Option<&Path>) -> io::Result<Self> {
        let server_us = cgroup.map_or(Ok(0), cpu_us)?;
        let started = Instant::now();
        Ok(Self { cgroup: cgroup.map(Path::to_owned), started, server_us, load_us: own_cpu_us()? })
    }

    /// When it started
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// What was used until now
    pub(crate) fn finish(&self) -> io::Result<Result> {
        let mut result = Result::new();
        let server_us = self.cgroup.as_deref().map_or(Ok(0), cpu_us)? - self.server_us;
        let wall_us = self.started.elapsed().as_micros() as u64;
        result.insert("server_cpu_us".into(), server_us.into());
        result.insert("load_cpu_us".into(), (own_cpu_us()? - self.load_us).into());
        result.insert("wall_us".into(), wall_us.into());
        Ok(result)
    }
}

/// User and system time of all processes that are or were in a cgroup
fn cpu_us(cgroup: &Path) -> io::Result<u64> {
    // Version 2 of the hierarchy, else version 1.
    if let Ok(stat) = fs::read_to_string(cgroup.join("cpu.stat"))
        && let Some(us) = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))
    {
        return us.trim().parse().map_err(io::Error::other);
    }
    let usage = fs::read_to_string(cgroup.join("cpuacct.usage"))?;
    usage.trim().parse::<u64>().map(|ns| ns / 1000).map_err(io::Error::other)
}

/// The time that this process, of one thread, was on a processor
fn own_cpu_us() -> io::Result<u64> {
    let stat = fs::read_to_string("/proc/self/schedstat")?;
    let ns = stat.split(' ').next().unwrap_or_default();
    ns.parse::<u64>().map(|ns| ns / 1000).map_err(io::Error::other)
}

/// Resident bytes of all processes of a cgroup
pub(crate) fn resident_bytes(cgroup: &Path) -> io::Result<u64> {
    let mut kib = 0;
    for pid in fs::read_to_string(cgroup.join("cgroup.procs"))?.lines() {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        kib += line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
    }
    Ok(kib << 10)
}

/// Latencies, each kept
#[derive(Default)]
pub(crate) struct Spread(Vec<u32>);

impl Spread {
    /// One that began then and ended now
    pub(crate) fn add(&mut self, began: Instant, now: Instant) {
        self.0.push(now.saturating_duration_since(began).as_micros().try_into().unwrap_or(u32::MAX));
    }

    /// How many there are
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Median, 99th percentile and maximum under `name_p50_us` and so on; nothing of nothing
    pub(crate) fn report(mut self, name: &str, result: &mut Result) {
        self.0.sort_unstable();
        let Some(&max) = self.0.last() else { return };
        let at = |share: usize| self.0[(self.0.len() * share / 100).min(self.0.len() - 1)];
        for (quantile, value) in [("p50", at(50)), ("p99", at(99)), ("max", max)] {
            result.insert(format!("{name}_{quantile}_us"), value.into());
        }
    }
}

/// Prints a result
pub(crate) fn print(result: Result) {
    println!("{}", Value::Object(result));
}

/// Room for tens of thousands of sockets
pub(crate) fn raise_open_files() -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
