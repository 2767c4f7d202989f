//! dnsmasq's line syntax: `key=value,value`, quotes that take the meaning from commas, `#` comments.
//!
//! Follows "CONFIG FILE" of dnsmasq(8): between quotes `,`, `:`, `.` and `#` mean nothing, and `\" \t \e \b \r \n` are
//! escapes. A `#` begins a comment at the start of a line or after white space.

use std::path::PathBuf;
use std::rc::Rc;

/// One option, and where it was written
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// The file that holds it
    pub(super) file: Rc<PathBuf>,
    /// Its line, from 1
    pub(super) number: u32,
    /// The line as written
    pub(super) text: String,
    /// `dhcp-range`
    pub(super) key: String,
    /// What follows `=`, cut at its commas
    pub(super) words: Vec<Word>,
}

/// One value of a line
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Without its quotes
    pub(super) text: String,
    /// It was between quotes, at least in part: a text, whatever it looks like
    pub(super) quoted: bool,
}

impl Line {
    /// The words as texts
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(|word| word.text.as_str())
    }

    /// The whole value, its commas as they were
    pub(super) fn value(&self) -> String {
        self.texts().collect::<Vec<_>>().join(",")
    }
}

/// The options of a text. A line that cannot be read comes as an error, with its number and itself.
pub(super) fn lines(text: &str, file: &Rc<PathBuf>) -> Vec<Result<Line, (Line, String)>> {
    let read = |(number, text): (u32, &str)| {
        let blank = Line {
            file: Rc::clone(file),
            number,
            text: text.trim().to_owned(),
            key: String::new(),
            words: Vec::new(),
        };
        match parse(text) {
            Ok(None) => None,
            Ok(Some((key, words))) => Some(Ok(Line { key, words, ..blank })),
            Err(why) => Some(Err((blank, why.to_owned()))),
        }
    };
    (1..).zip(text.lines()).filter_map(read).collect()
}

/// The words of a value that stands alone, as a line of `dhcp-hostsfile` does
pub(super) fn words(text: &str) -> Result<Vec<Word>, &'static str> {
    Ok(cut(&unquote(text)?))
}

fn parse(text: &str) -> Result<Option<(String, Vec<Word>)>, &'static str> {
    let symbols = trim(&unquote(text)?).to_vec();
    if symbols.is_empty() {
        return Ok(None);
    }
    let equals = symbols.iter().position(|symbol| *symbol == Symbol::Plain('='));
    let (key, value) = match equals {
        Some(at) => (&symbols[..at], Some(&symbols[at + 1..])),
        None => (&symbols[..], None),
    };
    let key: String = key.iter().map(|symbol| symbol.char()).collect();
    let key = key.trim().trim_start_matches("--").to_owned();
    Ok(Some((key, value.map(cut).unwrap_or_default())))
}

/// A character, which means something or, between quotes, does not
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    Plain(char),
    Quoted(char),
}

impl Symbol {
    fn char(self) -> char {
        match self {
            Self::Plain(c) | Self::Quoted(c) => c,
        }
    }
}

fn unquote(text: &str) -> Result<Vec<Symbol>, &'static str> {
    let mut symbols = Vec::new();
    let mut chars = text.chars();
    let mut after_space = true;
    while let Some(c) = chars.next() {
        match c {
            '#' if after_space => break,
            '"' => loop {
                match chars.next().ok_or("a quote is not closed")? {
                    '"' => break,
                    '\\' => symbols.extend(escape(&mut chars)),
                    c => symbols.push(Symbol::Quoted(c)),
                }
            },
            c => symbols.push(Symbol::Plain(if c.is_whitespace() { ' ' } else { c })),
        }
        after_space = c.is_whitespace();
    }
    Ok(symbols)
}

/// What follows a backslash between quotes; one that escapes nothing is itself
fn escape(chars: &mut std::str::Chars<'_>) -> Vec<Symbol> {
    let Some(next) = chars.clone().next() else { return vec![Symbol::Quoted('\\')] };
    let meant = match next {
        '"' | '\\' => next,
        't' => '\t',
        'n' => '\n',
        'r' => '\r',
        'b' => '\u{8}',
        'e' => '\u{1b}',
        _ => return vec![Symbol::Quoted('\\')],
    };
    chars.next();
    vec![Symbol::Quoted(meant)]
}

fn cut(symbols: &[Symbol]) -> Vec<Word> {
    let word = |part: &[Symbol]| {
        let part = trim(part);
        Word {
            text: part.iter().map(|symbol| symbol.char()).collect(),
            quoted: part.iter().any(|symbol| matches!(symbol, Symbol::Quoted(_))),
        }
    };
    symbols.split(|symbol| *symbol == Symbol::Plain(',')).map(word).collect()
}

fn trim(mut symbols: &[Symbol]) -> &[Symbol] {
    while let [Symbol::Plain(' '), rest @ ..] | [rest @ .., Symbol::Plain(' ')] = symbols {
        symbols = rest;
    }
    symbols
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> (String, Vec<String>) {
        let (key, words) = parse(text).unwrap().unwrap();
        (key, words.into_iter().map(|word| word.text).collect())
    }

    fn is(text: &str, key: &str, words: &[&str]) {
        assert_eq!(one(text), (key.to_owned(), words.iter().map(|w| (*w).to_owned()).collect()), "{text}");
    }

    #[test]
    fn lines_as_people_write_them() {
        is("port=0", "port", &["0"]);
        is("  log-dhcp  # why not", "log-dhcp", &[]);
        is("dhcp-option = 3 , 192.168.4.4", "dhcp-option", &["3", "192.168.4.4"]);
        is("--enable-tftp", "enable-tftp", &[]);
        is(
            "pxe-service=x86PC,\"PXE-Linux, really\",\"lpxelinux\"",
            "pxe-service",
            &["x86PC", "PXE-Linux, really", "lpxelinux"],
        );
        is("dhcp-boot=a#b,,10.0.0.1", "dhcp-boot", &["a#b", "", "10.0.0.1"]);
        is("dhcp-option=17,\"a\\\"b\\q\"", "dhcp-option", &["17", "a\"b\\q"]);
        is("dhcp-boot=http://h/a?b=c", "dhcp-boot", &["http://h/a?b=c"]);
        assert!(parse("  # a comment").unwrap().is_none() && parse("").unwrap().is_none());
        assert!(parse("dhcp-boot=\"x").is_err());
    }

    #[test]
    fn a_quoted_word_is_known_as_one() {
        let (_, words) = parse("dhcp-option=66,\"1.2.3.4\"").unwrap().unwrap();
        assert_eq!(words.iter().map(|word| word.quoted).collect::<Vec<_>>(), [false, true]);
    }
}
