//! `reveille rack`: a rack boots in process or on a wire, with a board to watch and a report at the end.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::board::Screen;
use super::clone::Script;
use super::firmware::Model;
use super::link::Faults;
use super::site::files;
use super::wire;
use super::world::{Rack, Setup};
use crate::args;
use crate::time::Duration;

/// The board is drawn again after so much virtual time
const FRAME: Duration = Duration::from_millis(500);
/// Where nobody can see it redrawn, a line is printed this often
const LINE: Duration = Duration::from_secs(10);
/// What a frame costs in real time, so that the eye can follow
const PACE: std::time::Duration = std::time::Duration::from_millis(25);
/// On a wire it is drawn again this often
const WIRE_FRAME: Duration = Duration::from_millis(250);
/// How often a machine on a wire goes through its boot order before somebody would go and look
const WIRE_ROUNDS: u32 = 3;
/// A report
#[derive(Debug)]
pub struct Said {
    /// As it is printed
    pub text: String,
    /// Whether all machines have booted, and nothing was wrong
    pub is_clean: bool,
}

/// Boots the rack that the arguments describe, draws the board on the standard error, and returns the report
///
/// # Errors
/// What an argument should be instead, or why an interface cannot be opened.
pub fn run(arguments: &args::Rack, is_terminal: bool) -> Result<Said, String> {
    if let Some(interface) = &arguments.interface {
        return run_on_wire(arguments, interface, is_terminal);
    }
    let mut rack = Rack::new(setup(arguments)?);
    let mut screen = Screen::new(is_terminal);
    let every = if is_terminal { FRAME } else { LINE };
    let mut next = Duration::ZERO;
    while rack.step() {
        if rack.elapsed() >= next {
            screen.draw(&rack.board());
            next = rack.elapsed() + every;
            if is_terminal {
                thread::sleep(PACE);
            }
        }
    }
    screen.draw(&rack.board());
    let report = rack.finish();
    said(&report, &report, report.is_clean(), arguments.json)
}

/// The same on a wire
fn run_on_wire(arguments: &args::Rack, interface: &str, is_terminal: bool) -> Result<Said, String> {
    let count = usize::try_from(arguments.machines).map_err(|error| error.to_string())?;
    let models = models(&arguments.firmware)?;
    let setup = wire::Setup {
        seed: arguments.seed,
        machines: wire::Machines::Of(models.iter().copied().cycle().take(count).collect()),
        power_on: power_on_of(&arguments.power_on)?,
        rounds: WIRE_ROUNDS,
        root: arguments.root.clone(),
    };
    watch(interface, setup, is_terminal, arguments.json)
}

/// `reveille replay --clone`: the first boot of a capture, done again by many machines
///
/// # Errors
/// What an argument should be instead, what is wrong with the capture, or why the interface cannot be opened.
pub fn clone(arguments: &args::Replay, is_terminal: bool) -> Result<Said, String> {
    let file = arguments.file.display();
    let capture = std::fs::read(&arguments.file).map_err(|error| format!("cannot read {file}: {error}"))?;
    let script = Script::read(&capture).map_err(|why| format!("{file}: {why}"))?;
    let [interface] = &arguments.setup.interface[..] else {
        return Err("--clone needs one --interface, on which the clones stand".into());
    };
    let as_json = match arguments.log.as_deref() {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => return Err(format!("unknown log format `{other}`: write text or json")),
    };
    eprintln!("{}", script.about());
    let count = usize::try_from(arguments.clone.unwrap_or_default()).map_err(|error| error.to_string())?;
    let setup = wire::Setup {
        seed: 1,
        machines: wire::Machines::Clones(Rc::new(script), count),
        power_on: power_on_of(&arguments.power_on)?,
        rounds: 1,
        root: arguments.setup.root.clone(),
    };
    watch(interface, setup, is_terminal, as_json)
}

/// Boots machines on a wire. A signal ends it early, with a report of how far it came.
fn watch(interface: &str, setup: wire::Setup, is_terminal: bool, as_json: bool) -> Result<Said, String> {
    let mut rack = wire::Rack::new(interface, setup).map_err(|error| error.to_string())?;
    let is_interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, is_interrupted.clone()).map_err(|error| error.to_string())?;
    }
    let mut screen = Screen::new(is_terminal);
    let every = if is_terminal { WIRE_FRAME } else { LINE };
    let mut next = Duration::ZERO;
    let ended_by = loop {
        if is_interrupted.load(Ordering::Relaxed) {
            break Some("it was interrupted".to_owned());
        }
        match rack.turn() {
            Ok(true) => {}
            Ok(false) => break None,
            // What has been seen until then is told all the same.
            Err(error) => break Some(format!("{interface} was gone: {error}")),
        }
        if rack.elapsed() >= next {
            screen.draw(&rack.board());
            next = rack.elapsed() + every;
        }
    };
    screen.draw(&rack.board());
    let report = rack.report(ended_by);
    said(&report, &report, report.is_clean(), as_json)
}

/// A report in the form that was asked for
fn said(
    text: &impl std::fmt::Display,
    json: &impl serde::Serialize,
    is_clean: bool,
    as_json: bool,
) -> Result<Said, String> {
    let text = if as_json {
        serde_json::to_string_pretty(json).map_err(|error| error.to_string())? + "\n"
    } else {
        text.to_string()
    };
    Ok(Said { text, is_clean })
}

/// The kinds that `mix` or a list of names stands for
fn models(text: &str) -> Result<Vec<Model>, String> {
    if text == "mix" {
        return Ok(Model::ALL.to_vec());
    }
    let model = |name: &str| {
        Model::from_name(name).ok_or_else(|| {
            let names: Vec<_> = Model::ALL.iter().map(|model| model.name()).collect();
            format!("--firmware {text}: write mix, or some of {}", names.join(","))
        })
    };
    text.split(',').map(model).collect()
}

fn power_on_of(text: &str) -> Result<Duration, String> {
    power_on(text).ok_or_else(|| format!("--power-on {text}: write burst, or ramp:60s"))
}

fn setup(arguments: &args::Rack) -> Result<Setup, String> {
    let count = usize::try_from(arguments.machines).map_err(|error| error.to_string())?;
    let setup = Setup::new(arguments.seed);
    let mut setup = match arguments.firmware.as_str() {
        "mix" => setup.mix(count),
        names => setup.of(&models(names)?, count),
    };
    setup.power_on = power_on_of(&arguments.power_on)?;
    let loss_ppm = per_million(&arguments.loss)
        .filter(|ppm| *ppm <= 500_000)
        .ok_or_else(|| format!("--loss {}: write a percentage up to 50%, like 2% or 0.5%", arguments.loss))?;
    let uplink = rate(&arguments.uplink)
        .ok_or_else(|| format!("--uplink {}: write bits a second, like 1G or 100M", arguments.uplink))?;
    setup.site.rate = match &arguments.rate {
        Some(text) => {
            Some(rate(text).ok_or_else(|| format!("--rate {text}: write bits a second, like 1G or 100M"))?)
        }
        None => None,
    };
    if let Some(text) = &arguments.kernel {
        let bytes =
            size(text).ok_or_else(|| format!("--kernel {text}: write a size up to 1G, like 8M or 512K"))?;
        setup.site.files = files(setup.site.server, setup.site.proxy, bytes);
    }
    setup.faults = Faults {
        loss_ppm,
        uplink,
        blocked: Duration::from_secs(if arguments.spanning_tree { 30 } else { 0 }),
        rogue: arguments.rogue,
        ..Faults::default()
    };
    Ok(setup)
}

fn power_on(text: &str) -> Option<Duration> {
    if text == "burst" {
        return Some(Duration::ZERO);
    }
    let seconds = text.strip_prefix("ramp:")?.strip_suffix('s')?;
    seconds.parse().ok().filter(|seconds| *seconds <= 3_000).map(Duration::from_secs)
}

/// `0.5%` in millionths
fn per_million(text: &str) -> Option<u32> {
    let (whole, part) = text.strip_suffix('%')?.split_once('.').unwrap_or((text.strip_suffix('%')?, "0"));
    if part.is_empty() || part.len() > 4 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part: u32 = format!("{part:0<4}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(10_000)?.checked_add(part)
}

fn rate(text: &str) -> Option<u64> {
    let (digits, factor) = match text.strip_suffix('G') {
        Some(digits) => (digits, 1_000_000_000),
        None => (text.strip_suffix('M')?, 1_000_000),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor).filter(|rate| *rate > 0)
}

/// Bytes: `8M`, `512K`
fn size(text: &str) -> Option<usize> {
    let unit = text.chars().next_back()?;
    let shift = [('K', 10), ('M', 20), ('G', 30)].into_iter().find(|(letter, _)| *letter == unit)?.1;
    let count: usize = text[..text.len() - 1].parse().ok()?;
    count.checked_mul(1 << shift).filter(|bytes| (1..=1 << 30).contains(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_write_them() {
        assert_eq!(per_million("2%"), Some(20_000));
        assert_eq!(per_million("0.5%"), Some(5_000));
        assert_eq!((per_million("2"), per_million("x%"), per_million("1.%")), (None, None, None));
        assert_eq!(
            (rate("1G"), rate("100M"), rate("0G"), rate("10")),
            (Some(1_000_000_000), Some(100_000_000), None, None)
        );
        assert_eq!(
            (power_on("burst"), power_on("ramp:60s")),
            (Some(Duration::ZERO), Some(Duration::from_secs(60)))
        );
        assert_eq!(power_on("ramp:60"), None);
        assert_eq!((size("8M"), size("512K"), size("1G")), (Some(8 << 20), Some(512 << 10), Some(1 << 30)));
        assert_eq!((size("8"), size("2G"), size("0K"), size("é")), (None, None, None, None));
    }
}
