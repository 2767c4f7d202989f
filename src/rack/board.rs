//! The board: where every machine of a rack stands, as large as the terminal has room for; a line now and then elsewhere.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use super::machine::Machine;
use super::report::Board;
use super::step::Stage;
use crate::time::Duration;

/// What a terminal is taken to have that does not say
const SIZE: (usize, usize) = (80, 24);
/// Lines that are not machines': the head, and the cursor's
const OTHER_LINES: usize = 2;
/// From this width on a group's line has room for its bytes
const GROUP_WIDE: usize = 60;
/// Cells of a machine's bar
const BAR: usize = 20;

/// One machine
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub kind: &'static str,
    pub stage: Stage,
    /// What it is loading, how much of that it has, and how much there is
    pub file: Option<(String, u64, Option<u64>)>,
    pub bytes: u64,
    pub retries: u64,
}

impl Row {
    pub(crate) fn of(machine: &Machine) -> Self {
        Self {
            kind: machine.kind.name(),
            stage: machine.stage(),
            file: machine.progress().map(|(name, got, all)| (name.to_owned(), got, all)),
            bytes: machine.count.bytes,
            retries: machine.count.retries.total(),
        }
    }
}

/// Where a board is drawn: on the standard error, so that a report can be piped
pub(crate) struct Screen {
    is_terminal: bool,
    /// Lines of the last board, to be drawn over
    lines: usize,
    /// When the last one was drawn, and how much had come by then
    before: (Duration, u64),
}

impl Screen {
    pub(crate) fn new(is_terminal: bool) -> Self {
        Self { is_terminal, lines: 0, before: (Duration::ZERO, 0) }
    }

    pub(crate) fn draw(&mut self, board: &Board) {
        let text = if self.is_terminal {
            let size = terminal_size::terminal_size_of(io::stderr())
                .map_or(SIZE, |(width, height)| (width.0.into(), height.0.into()));
            large(board, self.speed(board), size)
        } else {
            line(board)
        };
        let mut out = io::stderr().lock();
        // From the first column on: a ^C that was echoed has moved the cursor.
        let up = if self.lines > 0 { format!("\r\x1b[{}A\x1b[J", self.lines) } else { String::new() };
        // A board that cannot be shown is no reason to stop.
        let _ = write!(out, "{up}{text}").and_then(|()| out.flush());
        if self.is_terminal {
            self.lines = text.lines().count();
        }
    }

    /// Bytes a second since the last board
    fn speed(&mut self, board: &Board) -> u64 {
        let (at, bytes) = std::mem::replace(&mut self.before, (board.elapsed, board.bytes));
        let us = (board.elapsed - at).as_micros();
        (board.bytes.saturating_sub(bytes) * 1_000_000).checked_div(us).unwrap_or(0)
    }
}

const STAGES: [(Stage, &str, char); 7] = [
    (Stage::Booted, "booted", '█'),
    (Stage::Http, "http", '▓'),
    (Stage::Tftp, "tftp", '▒'),
    (Stage::Dhcp, "dhcp", '░'),
    (Stage::Resting, "resting", 'z'),
    (Stage::Failed, "failed", 'x'),
    (Stage::Off, "off", '·'),
];

fn count(board: &Board, stage: Stage) -> usize {
    board.stages.get(&stage).copied().unwrap_or_default()
}

/// One line: for logs, and for those who pipe it
fn line(board: &Board) -> String {
    let mut text = format!("{:>10}", board.elapsed.to_string());
    for (stage, name, _) in STAGES {
        let _ = write!(text, "  {name} {}", count(board, stage));
    }
    let _ = writeln!(text, "  {} MB  retries {}", board.bytes / 1_000_000, board.retries);
    text
}

/// A head, and a line for each machine, or for each group of machines of a kind where there are more of them than lines
fn large(board: &Board, speed: u64, (width, height): (usize, usize)) -> String {
    let head = head(board, speed, width);
    let room = height.saturating_sub(OTHER_LINES).max(1);
    let lines = if board.machines.len() <= room { machines(board) } else { groups(board, width, room) };
    let all = lines.into_iter().take(room).chain([head]);
    let cut = |line: String| line.trim_end().chars().take(width.saturating_sub(1)).collect::<String>();
    all.map(|line| cut(line) + "\n").collect()
}

/// How many are at each stage, and what they have; by the marks alone where the names do not fit
fn head(board: &Board, speed: u64, width: usize) -> String {
    let is_shown = |stage: Stage| stage == Stage::Booted || count(board, stage) > 0;
    let (mb, speed) = (board.bytes / 1_000_000, speed / 1_000_000);
    let mut head = format!("{:>9}", board.elapsed.to_string());
    let mut short = board.elapsed.to_string();
    for (stage, name, mark) in STAGES.into_iter().filter(|(stage, ..)| is_shown(*stage)) {
        let count = count(board, stage);
        let _ = write!(head, "  {mark} {name} {count}");
        let _ = write!(short, " {mark}{count}");
    }
    let _ = write!(head, "  {mb} MB, {speed} MB/s  retries {}", board.retries);
    let _ = write!(short, " {mb} MB, {} again", board.retries);
    if head.chars().count() < width { head } else { short }
}

fn machines(board: &Board) -> Vec<String> {
    let line = |(i, row): (usize, &Row)| {
        let (_, stage, _) =
            STAGES.iter().find(|(stage, ..)| *stage == row.stage).expect("a stage has a name");
        let (name, got, all) = match &row.file {
            Some((name, got, all)) => (name.as_str(), *got, *all),
            None => ("", 0, None),
        };
        let full = match (row.stage, all) {
            (Stage::Booted, _) => BAR,
            (_, Some(all)) => cells(got, all, BAR),
            _ => 0,
        };
        let bar = format!("{}{}", "█".repeat(full), "·".repeat(BAR - full));
        let retries = if row.retries > 0 { format!("  {} retries", row.retries) } else { String::new() };
        let mb = row.bytes / 100_000;
        format!("{i:>4} {:<9} {stage:<7} {bar} {:>4}.{} MB{retries}  {name}", row.kind, mb / 10, mb % 10)
    };
    board.machines.iter().enumerate().map(line).collect()
}

/// Groups of machines of one kind; a bar shows how many of a group are at each stage
fn groups(board: &Board, width: usize, room: usize) -> Vec<String> {
    let each = (room / board.kinds.len().max(1)).max(1);
    let is_wide = width >= GROUP_WIDE;
    let bar = width.saturating_sub(if is_wide { 40 } else { 31 }).clamp(4, 60);
    let mut lines = Vec::new();
    for kind in board.kinds.keys() {
        let rows: Vec<_> = board.machines.iter().filter(|row| row.kind == *kind).collect();
        let size = rows.len().div_ceil(each).max(1);
        for (number, group) in rows.chunks(size).enumerate() {
            let of = |stage: Stage| group.iter().filter(|row| row.stage == stage).count();
            let mut cell = String::new();
            let (mut before, mut drawn) = (0, 0);
            for (stage, _, mark) in STAGES {
                before += of(stage) as u64;
                let until = cells(before, group.len() as u64, bar);
                cell.extend(std::iter::repeat_n(mark, until - drawn));
                drawn = until;
            }
            let bytes: u64 = group.iter().map(|row| row.bytes).sum();
            let retries: u64 = group.iter().map(|row| row.retries).sum();
            let retries = if retries > 0 { format!("  {retries} retries") } else { String::new() };
            let first = number * size + 1;
            let label = format!("{kind} {first}–{}", first + group.len() - 1);
            let mut line = format!("{label:<19} {cell} {:>4}/{:<4}", of(Stage::Booted), group.len());
            if is_wide {
                let _ = write!(line, " {:>5} MB{retries}", bytes / 1_000_000);
            }
            lines.push(line);
        }
    }
    lines
}

/// How many of `bar` cells `part` of `whole` fills
fn cells(part: u64, whole: u64, bar: usize) -> usize {
    let share = part.min(whole) * bar as u64;
    usize::try_from(share.checked_div(whole).unwrap_or(0)).unwrap_or(bar)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rack::report::OfKind;

    fn board(each: usize) -> Board {
        let mut board = Board { elapsed: Duration::from_secs(2), bytes: 5_000_000, ..Board::default() };
        for i in 0..each * 2 {
            let kind = ["bios", "ipxe"][i % 2];
            let stage = [Stage::Booted, Stage::Tftp][i / 2 % 2];
            let file = (stage == Stage::Tftp).then(|| ("ldlinux.c32".to_owned(), 50, Some(100)));
            board.machines.push(Row { kind, stage, file, bytes: 1_500_000, retries: 1 });
            *board.stages.entry(stage).or_default() += 1;
            board.kinds.insert(kind, OfKind { machines: each, booted: each / 2 });
        }
        board
    }

    #[test]
    fn few_machines_have_a_line_each_and_many_share_one() {
        let few = large(&board(2), 3_000_000, (100, 24));
        assert_eq!(few.lines().count(), 5);
        let third = few.lines().nth(2).expect("a machine");
        assert_eq!(third, "   2 bios      tftp    ██████████··········    1.5 MB  1 retries  ldlinux.c32");
        assert!(few.ends_with("5 MB, 3 MB/s  retries 0\n"), "{few}");
        let many = large(&board(200), 0, (100, 24));
        assert_eq!(many.lines().count(), 23, "as many groups as fit: {many}");
        assert!(many.lines().next().is_some_and(|line| line.starts_with("bios 1–19 ")), "{many}");
    }

    #[test]
    fn a_narrow_terminal_shows_what_counts() {
        let text = large(&board(200), 0, (40, 12));
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("bios 1–40 ") && lines[0].ends_with("20/40"), "{text}");
        assert_eq!(lines[10], "2.000 s █200 ▒200 5 MB, 0 again");
    }

    #[test]
    fn a_board_never_leaves_its_terminal() {
        for (each, size) in [(1, (20, 3)), (200, (60, 10)), (7, (10, 2)), (50, (300, 200))] {
            let text = large(&board(each), 0, size);
            assert!(text.lines().count() < size.1.max(3), "{size:?}: {text}");
            assert!(text.lines().all(|line| line.chars().count() < size.0), "{size:?}: {text}");
        }
    }
}
