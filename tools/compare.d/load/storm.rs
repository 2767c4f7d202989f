//! A rack that is switched on: `reveille rack` on the wire, and what its server spent meanwhile.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use serde_json::Value;

use crate::measure::{Meter, print};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The program whose `rack` boots the machines
    program: PathBuf,
    /// The interface that they hang on
    interface: String,
    /// How many
    #[arg(long)]
    machines: u64,
    /// The files that they load, to be compared byte for byte
    #[arg(long)]
    root: PathBuf,
    /// The cgroup of the server
    #[arg(long)]
    cgroup: Option<PathBuf>,
    /// The rack is told to stop after so long
    #[arg(long, default_value_t = 100)]
    seconds: u32,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    let meter = Meter::start(arguments.cgroup.as_deref())?;
    let mut command = Command::new("timeout");
    command.args(["--signal=INT", &arguments.seconds.to_string()]).arg(&arguments.program);
    command.args(["rack", "--json", "--power-on", "ramp:1s", "--interface", &arguments.interface]);
    command.args(["--machines", &arguments.machines.to_string(), "--root"]).arg(&arguments.root);
    let output = command.output()?;
    let mut result = meter.finish()?;
    // The rack is another process: this one only waited.
    result.remove("load_cpu_us");
    let report: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| io::Error::other(format!("{error}: {}", String::from_utf8_lossy(&output.stderr))))?;
    let number = |path: &str| report.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let wrong = report["violations"].as_array().map_or(0, Vec::len);
    for (name, value) in [
        ("machines", number("/machines")),
        ("booted", number("/booted")),
        ("boot_p50_us", number("/p50_us")),
        ("boot_p99_us", number("/p99_us")),
        ("boot_max_us", number("/max_us")),
        ("dhcp_unanswered", number("/retries/dhcp_unanswered")),
        ("tftp_retries", number("/retries/tftp")),
        ("http_retries", number("/retries/http")),
        ("lost_frames", number("/lost_frames")),
        ("bytes", number("/bytes")),
        // A machine that is not up is no part of it.
        ("wrong", wrong as u64 + number("/more_violations")),
    ] {
        result.insert(name.into(), value.into());
    }
    print(result);
    Ok(())
}
