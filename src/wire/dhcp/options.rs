//! Walking option areas: code, length, value (RFC 2132 §2).

use super::code;

/// The options of a message, area after area: see [`super::Message::options`].
#[derive(Clone, Debug)]
pub struct Options<'a> {
    areas: [&'a [u8]; 3],
}

impl<'a> Options<'a> {
    pub(super) fn new(areas: [&'a [u8]; 3]) -> Self {
        Self { areas }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        for area in &mut self.areas {
            while let Some((&code, rest)) = area.split_first() {
                *area = rest;
                if code == code::PAD {
                    continue;
                }
                let Some((value, rest)) = (code != code::END).then(|| split_value(rest)).flatten() else {
                    // END, or an option that runs past the area: nothing behind it can be trusted.
                    *area = &[];
                    break;
                };
                *area = rest;
                return Some((code, value));
            }
        }
        None
    }
}

/// Where in a message the first instance of each option is: at its length.
///
/// A request is asked for some thirty options, few of which it has; its option area is walked once for them all.
#[derive(Clone, Copy)]
pub(super) struct Index([u16; 256]);

impl Index {
    /// No option. Nothing begins at 0, where the fixed part is.
    pub(super) const EMPTY: Self = Self([0; 256]);

    /// Takes up an area that begins at `start` in its message. What lies behind 64 KiB is left out: no datagram is as long.
    pub(super) fn add(&mut self, start: usize, area: &[u8]) {
        let mut at = 0;
        while let Some(&code) = area.get(at) {
            at += 1;
            if code == code::PAD {
                continue;
            }
            let (Some(&len), Ok(place)) = (area.get(at), u16::try_from(start + at)) else { return };
            let end = at + 1 + usize::from(len);
            if code == code::END || end > area.len() {
                return;
            }
            let first = &mut self.0[usize::from(code)];
            if *first == 0 {
                *first = place;
            }
            at = end;
        }
    }

    pub(super) fn at(&self, code: u8) -> Option<usize> {
        Some(usize::from(self.0[usize::from(code)])).filter(|&at| at > 0)
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries((0..=u8::MAX).filter(|&code| self.at(code).is_some())).finish()
    }
}

/// Splits a length-prefixed value off the front.
fn split_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(len))
}

/// The sub-options inside an option's value, without PAD and END: those of option 82 (RFC 3046 §2) and, with
/// [`SubOptions::vendor`], of options 43 and 175.
#[derive(Clone, Debug)]
pub struct SubOptions<'a> {
    rest: &'a [u8],
    /// Whether 0 and 255 are PAD and END, as in options 43 and 175 (RFC 2132 §8.4), or ordinary codes.
    padded: bool,
}

impl<'a> SubOptions<'a> {
    /// Walks a value in which every code has a length.
    #[must_use]
    pub fn new(value: &'a [u8]) -> Self {
        Self { rest: value, padded: false }
    }

    /// Walks a value in which 0 is PAD and 255 is END.
    #[must_use]
    pub fn vendor(value: &'a [u8]) -> Self {
        Self { rest: value, padded: true }
    }

    /// The first instance of a sub-option.
    #[must_use]
    pub fn first(self, code: u8) -> Option<&'a [u8]> {
        let mut all = self;
        all.find(|&(found, _)| found == code).map(|(_, value)| value)
    }
}

impl<'a> Iterator for SubOptions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&code, rest) = self.rest.split_first()?;
            self.rest = rest;
            if self.padded && code == code::PAD {
                continue;
            }
            let ended = self.padded && code == code::END;
            let Some((value, rest)) = (!ended).then(|| split_value(rest)).flatten() else {
                self.rest = &[];
                return None;
            };
            self.rest = rest;
            return Some((code, value));
        }
    }
}
