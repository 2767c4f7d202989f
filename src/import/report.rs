//! What became of each line that is no key of reveille's: not needed, or lost, with the reason.

use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;

use super::line::Line;

/// A line and what is said of it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    file: Rc<PathBuf>,
    number: u32,
    /// The line as written
    pub text: String,
    /// Why
    pub why: String,
}

/// `file:line: text: why`
impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file.display(), self.number, self.text, self.why)
    }
}

/// What is said of all the lines
#[derive(Debug, Default)]
pub(super) struct Report {
    lost: Vec<Said>,
    needless: Vec<Said>,
    notes: Vec<String>,
}

fn said(line: &Line, why: impl Into<String>) -> Said {
    Said { file: Rc::clone(&line.file), number: line.number, text: line.text.clone(), why: why.into() }
}

impl Report {
    /// The line, or part of it, is not carried over
    pub(super) fn lost(&mut self, line: &Line, why: impl Into<String>) {
        let said = said(line, why);
        if !self.lost.contains(&said) {
            self.lost.push(said);
        }
    }

    /// The line needs no key: reveille does so anyway, or has no such thing to set
    pub(super) fn needless(&mut self, line: &Line, why: impl Into<String>) {
        self.needless.push(said(line, why));
    }

    /// Something that concerns no one line
    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(super) fn lost_lines(&self) -> impl Iterator<Item = &Said> {
        self.lost.iter()
    }

    pub(super) fn needless_lines(&self) -> impl Iterator<Item = &Said> {
        self.needless.iter()
    }

    pub(super) fn notes(&self) -> impl Iterator<Item = &str> {
        self.notes.iter().map(String::as_str)
    }
}
