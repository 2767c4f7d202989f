//! What is wrong with a configuration: where, the line itself, and what to write instead. All of it at once.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value was written
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// From this byte of the file to that
    Text(usize, usize),
    /// By this flag
    Flag(&'static str),
    /// Nowhere: it is missing
    #[default]
    Missing,
}

/// A value and where it was written
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    /// The value
    pub(super) value: T,
    /// Where it was written
    pub(super) place: Place,
}

impl<T> At<T> {
    /// The value, as written there
    pub(super) const fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }
}

/// One thing that is wrong, as a sentence that says what to write
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Error {
    /// Where
    pub(super) place: Place,
    /// What is wrong, and what to write
    pub(super) message: String,
}

/// Everything that is wrong with a configuration
#[derive(Clone, Debug, Default)]
pub struct Errors {
    file: PathBuf,
    text: String,
    errors: Vec<Error>,
}

impl Errors {
    /// None yet, of that file with that text
    pub(super) fn new(file: &Path, text: &str) -> Self {
        Self { file: file.to_owned(), text: text.to_owned(), errors: Vec::new() }
    }

    /// None yet, of the same file
    pub(super) fn none_yet(&self) -> Self {
        Self::new(&self.file, &self.text)
    }

    /// One that concerns no line
    pub fn one(message: impl Into<String>) -> Self {
        let mut errors = Self::default();
        errors.push(Place::Missing, message);
        errors
    }

    /// One more
    pub(super) fn push(&mut self, place: Place, message: impl Into<String>) {
        self.errors.push(Error { place, message: message.into() });
    }

    /// The value, unless it is an error, which is kept
    pub(super) fn keep<T>(&mut self, place: Place, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.push(place, message)).ok()
    }

    /// Whether nothing is wrong
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// How many things are wrong
    pub fn len(&self) -> usize {
        self.errors.len()
    }

    /// The line of a place, from 1; 0 where it is none of the file's
    pub(super) fn line(&self, place: Place) -> u32 {
        match place {
            Place::Text(start, _) => u32::try_from(position(&self.text, start).0).unwrap_or(0),
            _ => 0,
        }
    }
}

impl std::error::Error for Errors {}

/// `file:line:column: sentence`, then the line with what is meant underlined
impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut errors: Vec<_> = self.errors.iter().collect();
        // In the order of the file; what concerns no line comes last.
        errors.sort_by_key(|error| match error.place {
            Place::Text(start, _) => start,
            _ => usize::MAX,
        });
        for (i, error) in errors.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            self.write_one(error, f)?;
        }
        Ok(())
    }
}

impl Errors {
    fn write_one(&self, error: &Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = &error.message;
        let (start, end) = match error.place {
            Place::Text(start, end) => (start, end),
            Place::Flag(flag) => return write!(f, "{flag}: {message}"),
            Place::Missing if self.file.as_os_str().is_empty() => return f.write_str(message),
            Place::Missing => return write!(f, "{}: {message}", self.file.display()),
        };
        let (line, column) = position(&self.text, start);
        let shown = self.text.lines().nth(line - 1).unwrap_or("").trim_end();
        writeln!(f, "{}:{line}:{column}: {message}", self.file.display())?;
        // A tab before the mark stays a tab, so that the mark stands below what it marks.
        let indent: String =
            shown.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let meant = self.text.get(start..end).unwrap_or("").lines().next().unwrap_or("");
        let marks = "^".repeat(meant.trim_end().chars().count().max(1));
        let gutter = " ".repeat(line.to_string().len());
        write!(f, " {line} | {shown}\n {gutter} | {indent}{marks}")
    }
}

/// Line and column, both from 1, the column in characters
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The name that is probably meant: at most a third of its characters differ
pub(super) fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    names
        .map(|name| (distance(text, name), name))
        .filter(|(distance, name)| *distance <= name.len().max(text.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words (the restricted Damerau–Levenshtein distance)
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut older = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(older[j - 2] + 1);
            }
        }
        older = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_the_line() {
        let text = "root = \"/data\"\n\tpoool = [\"a\"] # ü\n";
        let mut errors = Errors::new(Path::new("r.toml"), text);
        let start = text.find("poool").unwrap();
        errors.push(Place::Missing, "no [[network]]");
        errors.push(Place::Text(start, start + 5), "unknown key `poool`: write `pool`");
        errors.push(Place::Flag("--pool"), "no range");
        assert_eq!(
            errors.to_string(),
            "r.toml:2:2: unknown key `poool`: write `pool`\n 2 | \tpoool = [\"a\"] # ü\n   | \t^^^^^\n\
             r.toml: no [[network]]\n--pool: no range"
        );
        assert_eq!(errors.line(Place::Text(start, start)), 2);
    }

    #[test]
    fn near_names() {
        let names = ["interface", "pool", "router", "dns"];
        for (text, expected) in [
            ("poool", Some("pool")),
            ("interfcae", Some("interface")),
            ("gateway", None),
            ("routers", Some("router")),
            ("dsn", Some("dns")),
        ] {
            assert_eq!(nearest(text, names.into_iter()), expected, "{text}");
        }
    }
}
