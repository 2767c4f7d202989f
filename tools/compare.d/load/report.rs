//! Results as a table: each server's median and spread, and reveille's ratio to it, paired by round.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

/// The server that the others are compared with
const SUBJECT: &str = "reveille";

#[derive(Args)]
pub(crate) struct Arguments {
    /// A table for a README instead of one for a terminal
    #[arg(long)]
    markdown: bool,
    /// Write all of it here too
    #[arg(long)]
    json: Option<PathBuf>,
    /// Lines of `name=value` that say what machine and versions these are
    #[arg(long)]
    about: PathBuf,
}

/// What is compared in a row
struct Metric {
    unit: &'static str,
    more_is_better: bool,
    of: fn(&Value) -> Option<f64>,
}

/// One server in one row: a value and the whole result of each round
struct Server {
    name: String,
    rounds: Vec<(f64, Value)>,
}

struct Row {
    name: String,
    metric: Metric,
    servers: Vec<Server>,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    let rows = rows(&io::read_to_string(io::stdin())?)?;
    let about: Map<String, Value> = fs::read_to_string(&arguments.about)?
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    if let Some(path) = &arguments.json {
        let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
        fs::write(path, format!("{:#}\n", json!({ "about": about, "rows": rows })))?;
    }
    let head = ["work", "server", "median", "spread", "reveille is", "beside"].map(str::to_owned);
    let lines: Vec<_> = std::iter::once(head).chain(rows.iter().flat_map(Row::lines)).collect();
    print!("{}", if arguments.markdown { markdown(&lines) } else { columns(&lines) });
    println!();
    for (name, value) in &about {
        let line = format!("{name}: {}", value.as_str().unwrap_or_default());
        println!("{}{line}", if arguments.markdown { "- " } else { "" });
    }
    Ok(())
}

fn number(result: &Value, name: &str) -> Option<f64> {
    result.get(name)?.as_f64()
}

fn share(result: &Value, name: &str, of: &str) -> Option<f64> {
    let whole = number(result, of).filter(|&whole| whole > 0.0)?;
    Some(number(result, name)? / whole)
}

fn metric(row: &str) -> Metric {
    let less = |unit, of| Metric { unit, more_is_better: false, of };
    match row {
        "dhcp" => less("CPU µs an exchange", |r| share(r, "server_cpu_us", "exchanges")),
        "http-4k" | "http-4k-new" => Metric {
            unit: "requests a CPU second",
            more_is_better: true,
            of: |r| share(r, "requests", "server_cpu_us").map(|each| each * 1e6),
        },
        "memory-tftp" | "memory-http" => less("bytes each", |r| number(r, "bytes_each")),
        _ if row.starts_with("storm-") => less("s until the last is up", |r| {
            let all = number(r, "booted") == number(r, "machines");
            number(r, "boot_max_us").filter(|_| all).map(|us| us / 1e6)
        }),
        "walk" | "walk-loaded" => less("µs a walk", |r| number(r, "walk_p50_us")),
        _ => less("CPU s a GB", |r| share(r, "server_cpu_us", "bytes").map(|each| each * 1e3)),
    }
}

fn rows(text: &str) -> io::Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for line in text.lines() {
        let result: Value = serde_json::from_str(line)?;
        let name = |key: &str| result[key].as_str().unwrap_or_default().to_owned();
        let (row, server) = (name("row"), name("server"));
        let index = rows.iter().position(|known| known.name == row).unwrap_or_else(|| {
            rows.push(Row { metric: metric(&row), name: row, servers: Vec::new() });
            rows.len() - 1
        });
        let row = &mut rows[index];
        let value = (row.metric.of)(&result).unwrap_or(f64::NAN);
        match row.servers.iter_mut().find(|known| known.name == server) {
            Some(known) => known.rounds.push((value, result)),
            None => row.servers.push(Server { name: server, rounds: vec![(value, result)] }),
        }
    }
    Ok(rows)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

impl Server {
    fn values(&self) -> impl Iterator<Item = f64> + '_ {
        self.rounds.iter().map(|(value, _)| *value)
    }

    fn median(&self) -> f64 {
        median(self.values())
    }

    fn median_of(&self, of: impl Fn(&Value) -> Option<f64>) -> Option<f64> {
        let value = median(self.rounds.iter().filter_map(|(_, result)| of(result)));
        (!value.is_nan()).then_some(value)
    }

    /// Whatever else was counted, in a few words
    fn beside(&self) -> String {
        let mut words = Vec::new();
        let mut say = |word: Option<String>| words.extend(word);
        let of = |name: &'static str| self.median_of(move |result| number(result, name));
        let is_storm = of("booted").is_some();
        say(self.median_of(|r| share(r, "booted", "machines")).map(|up| format!("{:.1} % up", up * 100.0)));
        say(of("opened").map(|opened| format!("{opened:.0} opened")));
        say(self.median_of(|r| share(r, "lost", "asked")).map(|lost| format!("lost {:.2} %", lost * 100.0)));
        say(of("unfinished").filter(|&left| left > 0.0).map(|left| format!("{left:.0} never ended")));
        say(of("wrong").filter(|&wrong| wrong > 0.0).map(|wrong| format!("{wrong:.0} wrong")));
        for (name, whole) in [("boot", false), ("exchange", true), ("walk", true), ("request", false)] {
            let at = |quantile: &str| {
                let key = format!("{name}_{quantile}_us");
                self.median_of(|result| number(result, &key))
            };
            let (Some(p50), Some(p99), Some(max)) = (at("p50"), at("p99"), at("max")) else { continue };
            let max = if whole { format!(", max {}", time(max)) } else { String::new() };
            say(Some(format!("p50 {}, p99 {}{max}", time(p50), time(p99))));
        }
        let ratio = self.median_of(|r| share(r, "transfer_p99_us", "transfer_p50_us"));
        say(ratio.filter(|_| of("walks").is_none()).map(|ratio| format!("p99/p50 {ratio:.2}")));
        say(of("timeouts").map(|timeouts| format!("{timeouts:.0} time-outs")));
        for (name, what) in [
            ("dhcp_unanswered", "DHCP unanswered"),
            ("tftp_retries", "TFTP again"),
            ("http_retries", "HTTP again"),
        ] {
            say(of(name).map(|count| format!("{count:.0} {what}")));
        }
        say(of("lost_frames")
            .filter(|&lost| lost > 0.0)
            .map(|lost| format!("{lost:.0} frames lost by the load")));
        say(of("server_cpu_us").filter(|_| is_storm).map(|us| format!("CPU {:.2} s", us / 1e6)));
        if is_storm {
            return words.join(", ");
        }
        let speed = self.median_of(|r| share(r, "bytes", "wall_us"));
        say(speed.filter(|&speed| speed > 0.0).map(|speed| format!("{speed:.0} MB/s")));
        say(self.median_of(|r| share(r, "server_cpu_us", "wall_us")).map(|busy| format!("busy {busy:.2}")));
        say(self.median_of(|r| share(r, "load_cpu_us", "wall_us")).map(|busy| format!("load {busy:.2}")));
        words.join(", ")
    }
}

fn time(us: f64) -> String {
    if us < 10_000.0 { format!("{us:.0} µs") } else { format!("{:.1} ms", us / 1000.0) }
}

impl Row {
    /// Reveille's value divided by a server's, the median over the rounds that both ended
    fn ratio(&self, server: &Server) -> Option<f64> {
        let subject = self.servers.iter().find(|known| known.name == SUBJECT)?;
        let value_in = |server: &Server, round: &Value| {
            server.rounds.iter().find(|(_, result)| result["round"] == *round).map(|(value, _)| *value)
        };
        let ratios = subject
            .rounds
            .iter()
            .filter_map(|(value, result)| value_in(server, &result["round"]).map(|other| value / other));
        let ratio = median(ratios);
        (server.name != SUBJECT && ratio.is_finite()).then_some(ratio)
    }

    fn lines(&self) -> Vec<[String; 6]> {
        let line = |(index, server): (usize, &Server)| {
            let least = server.values().fold(f64::INFINITY, f64::min);
            let most = server.values().fold(f64::NEG_INFINITY, f64::max);
            let better = if self.metric.more_is_better { "×" } else { "of it" };
            [
                if index == 0 { format!("{} ({})", self.name, self.metric.unit) } else { String::new() },
                server.name.clone(),
                figure(server.median()),
                format!("{}–{}", figure(least), figure(most)),
                self.ratio(server).map_or(String::new(), |ratio| format!("{ratio:.2} {better}")),
                server.beside(),
            ]
        };
        self.servers.iter().enumerate().map(line).collect()
    }

    fn to_json(&self) -> Value {
        let servers = self.servers.iter().map(|server| {
            let results: Vec<_> = server.rounds.iter().map(|(_, result)| result).collect();
            json!({
                "name": server.name,
                "median": server.median(),
                "rounds": server.values().collect::<Vec<_>>(),
                "reveille_ratio": self.ratio(server),
                "results": results,
            })
        });
        json!({
            "row": self.name,
            "unit": self.metric.unit,
            "more_is_better": self.metric.more_is_better,
            "servers": servers.collect::<Vec<_>>(),
        })
    }
}

/// Three digits that count
fn figure(value: f64) -> String {
    match value {
        value if !value.is_finite() => "none".to_owned(),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn columns(lines: &[[String; 6]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..5).map(width).collect();
    let mut out = String::new();
    for line in lines {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(out, "{cell:width$}  ");
        }
        let _ = writeln!(out, "{}", line[5]);
    }
    out
}

fn markdown(lines: &[[String; 6]]) -> String {
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        let _ = writeln!(out, "| {} |", line.join(" | "));
        if index == 0 {
            let _ = writeln!(out, "|---|---|--:|--:|--:|---|");
        }
    }
    out
}
