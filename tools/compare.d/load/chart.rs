//! A chart of racks that are switched on at once, as plain SVG: how long machines take to their kernel, by how many they are.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use serde_json::Value;

/// Machines of the racks in process
const IN_PROCESS: [u64; 5] = [500, 1000, 2000, 3000, 4500];
/// How wide the server's port is there, and the curve's colour
const UPLINKS: [(&str, &str); 2] = [("10G", "#2a7"), ("1G", "#d80")];
const COLOURS: [(&str, &str); 2] = [("reveille", "#27c"), ("dnsmasq+nginx", "#c33")];
/// A panel's plot, in pixels
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 280.0;
/// What lies before and above it
const LEFT: f64 = 60.0;
const TOP: f64 = 66.0;
const PANEL: f64 = LEFT + WIDTH + 30.0;
/// Seconds at the plot's foot and head
const SPAN: (f64, f64) = (0.01, 100.0);

#[derive(Args)]
pub(crate) struct Arguments {
    /// What `tools/compare --json` has written of the rows named storm
    #[arg(long)]
    wire: PathBuf,
    /// The program whose `rack` boots machines in process
    #[arg(long)]
    program: PathBuf,
    /// Where the chart goes
    #[arg(long)]
    out: PathBuf,
}

/// A rack: times in seconds
struct Point {
    machines: f64,
    times: [f64; 3],
    /// Of a hundred machines
    up: f64,
    cpu_s: Option<f64>,
}

struct Curve {
    name: String,
    colour: &'static str,
    points: Vec<Point>,
}

struct Panel {
    title: &'static str,
    machines_max: f64,
    curves: Vec<Curve>,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    let wire: Value = serde_json::from_str(&fs::read_to_string(&arguments.wire)?)?;
    let panels = [
        Panel {
            title: "on a wire (veth, one processor), switched on within 1 s",
            machines_max: 1000.0,
            curves: on_the_wire(&wire),
        },
        Panel {
            title: "in process, the server's port modelled, all at once",
            machines_max: 4500.0,
            curves: in_process(arguments)?,
        },
    ];
    fs::write(&arguments.out, svg(&panels))
}

fn point(result: &Value, names: [&str; 3]) -> Option<Point> {
    let number = |name: &str| result.get(name)?.as_f64();
    let machines = number("machines")?;
    let mut times = [0.0; 3];
    for (time, name) in times.iter_mut().zip(names) {
        *time = number(name)? / 1e6;
    }
    let cpu_s = number("server_cpu_us").map(|us| us / 1e6);
    Some(Point { machines, times, up: number("booted")? / machines * 100.0, cpu_s })
}

fn on_the_wire(wire: &Value) -> Vec<Curve> {
    let rows = wire["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
    let points = |name: &str| {
        let servers = rows.iter().flat_map(|row| row["servers"].as_array().into_iter().flatten());
        let results =
            servers.filter(|server| server["name"] == name).filter_map(|server| server["results"].get(0));
        let mut points: Vec<_> = results
            .filter_map(|result| point(result, ["boot_p50_us", "boot_p99_us", "boot_max_us"]))
            .collect();
        points.sort_by(|a, b| a.machines.total_cmp(&b.machines));
        points
    };
    let curves = COLOURS.map(|(name, colour)| Curve { name: name.into(), colour, points: points(name) });
    curves.into_iter().filter(|curve| !curve.points.is_empty()).collect()
}

fn in_process(arguments: &Arguments) -> io::Result<Vec<Curve>> {
    let mut curves = Vec::new();
    for (uplink, colour) in UPLINKS {
        let mut points = Vec::new();
        for machines in IN_PROCESS {
            let mut command = Command::new(&arguments.program);
            command.args(["rack", "--json", "--uplink", uplink, "--machines", &machines.to_string()]);
            let output = command.output()?;
            let report: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
                io::Error::other(format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
            })?;
            points.extend(point(&report, ["p50_us", "p99_us", "max_us"]));
        }
        curves.push(Curve { name: format!("reveille, {uplink}bit/s"), colour, points });
    }
    Ok(curves)
}

fn svg(panels: &[Panel]) -> String {
    let curves = panels.iter().map(|panel| panel.curves.len()).max().unwrap_or(0);
    let height = TOP + HEIGHT + 64.0 + 34.0 * curves as f64;
    let width = PANEL * panels.len() as f64 + 10.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    label(
        &mut out,
        (LEFT, 22.0),
        "start",
        "#111",
        "A mixed rack is switched on: from power-on to the kernel",
    );
    for (text, x, dash) in [("half", 480.0, "2 3"), ("99 of 100", 560.0, "7 3"), ("the last", 670.0, "")] {
        line(&mut out, (x, 18.0), (x + 24.0, 18.0), "#555", dash);
        label(&mut out, (x + 29.0, 22.0), "start", "#111", text);
    }
    for (number, panel) in panels.iter().enumerate() {
        let _ = writeln!(out, "<g transform=\"translate({} 0)\">", PANEL * number as f64);
        draw(&mut out, panel);
        out += "</g>\n";
    }
    out + "</svg>\n"
}

fn draw(out: &mut String, panel: &Panel) {
    let x = |machines: f64| LEFT + machines / panel.machines_max * WIDTH;
    let decades = (SPAN.1 / SPAN.0).log10();
    let y = |seconds: f64| TOP + HEIGHT - (seconds.clamp(SPAN.0, SPAN.1) / SPAN.0).log10() / decades * HEIGHT;
    label(out, (LEFT, TOP - 16.0), "start", "#111", panel.title);
    for seconds in [0.01, 0.1, 1.0, 10.0, 100.0] {
        line(out, (LEFT, y(seconds)), (LEFT + WIDTH, y(seconds)), "#ddd", "");
        label(out, (LEFT - 6.0, y(seconds) + 4.0), "end", "#111", &format!("{seconds} s"));
    }
    let foot = TOP + HEIGHT;
    let mut marks: Vec<f64> =
        panel.curves.iter().flat_map(|curve| &curve.points).map(|p| p.machines).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    for machines in marks {
        line(out, (x(machines), foot), (x(machines), foot + 5.0), "#555", "");
        label(out, (x(machines), foot + 19.0), "middle", "#111", &format!("{machines}"));
    }
    label(out, (LEFT + WIDTH / 2.0, foot + 36.0), "middle", "#111", "machines");
    for (row, curve) in panel.curves.iter().enumerate() {
        for (quantile, dash) in ["2 3", "7 3", ""].into_iter().enumerate() {
            let at = curve
                .points
                .iter()
                .map(|point| format!("{:.1},{:.1}", x(point.machines), y(point.times[quantile])));
            let path: Vec<_> = at.collect();
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>",
                path.join(" "),
                curve.colour
            );
        }
        let below = foot + 60.0 + 34.0 * row as f64;
        label(out, (LEFT, below), "start", curve.colour, &curve.name);
        for point in &curve.points {
            let cpu = point.cpu_s.map_or(String::new(), |cpu| format!("{cpu:.1} s CPU"));
            let up = format!("{:.0} % up", point.up);
            // The first marks are too near to one another for words below each.
            let words = if cpu.is_empty() { up } else { format!("{:.0} %, {cpu}", point.up) };
            if point.machines >= panel.machines_max * 0.22 {
                label(out, (x(point.machines), below + 15.0), "middle", curve.colour, &words);
            }
        }
    }
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, dash: &str) {
    let _ = writeln!(
        out,
        "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"{colour}\" stroke-dasharray=\"{dash}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn label(out: &mut String, at: (f64, f64), anchor: &str, colour: &str, text: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>",
        at.0, at.1
    );
}
