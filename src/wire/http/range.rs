//! Byte ranges (RFC 9110 §14).

use crate::wire::buffer::parse_decimal;

/// The most ranges answered in one response.
pub const RANGES_MAX: usize = 16;

/// A part of a file: both ends belong to it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte, inside the file.
    pub last: u64,
}

impl ByteRange {
    /// Bytes in the range: at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(&self) -> u64 {
        self.last - self.first + 1
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The satisfiable ranges of a request, in its order: at least one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ranges {
    list: [ByteRange; RANGES_MAX],
    len: usize,
}

impl Ranges {
    /// The ranges; a single one is answered without multipart (RFC 9110 §15.3.7.1).
    #[must_use]
    pub fn as_slice(&self) -> &[ByteRange] {
        &self.list[..self.len]
    }
}

/// Why there is no range to serve.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RangeError {
    /// Another unit, or not the grammar: the header is ignored and the whole file served (RFC 9110 §14.2).
    Malformed,
    /// No range touches the file: 416, with the file's size.
    Unsatisfiable,
    /// Overlapping ranges, or more than [`RANGES_MAX`]: the header is an attack or a mistake (RFC 9110 §17.15),
    /// and is refused with 416.
    Excessive,
}

crate::wire::error_text!(RangeError {
    Self::Malformed => "the range is not in bytes, or not a range",
    Self::Unsatisfiable => "the range lies behind the end of the file",
    Self::Excessive => "the request asks for too many ranges",
});

/// Reads `bytes=0-499`, `bytes=500-`, `bytes=-500` and lists of them against a file of `size` bytes.
///
/// A range is cut at the file's end; one that lies behind it is left out.
pub fn parse_ranges(value: &str, size: u64) -> Result<Ranges, RangeError> {
    let (unit, list) = value.split_once('=').ok_or(RangeError::Malformed)?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Err(RangeError::Malformed);
    }
    let mut ranges = Ranges { list: [ByteRange::default(); RANGES_MAX], len: 0 };
    let mut asked = 0_usize;
    let mut excessive = false;
    // The grammar is checked to the end first: a malformed header is ignored, however many ranges it holds.
    for spec in list.split(',').map(|spec| spec.trim_matches([' ', '\t'])) {
        if spec.is_empty() {
            // RFC 9110 §5.6.1.2: empty elements of a list are passed over.
            continue;
        }
        asked += 1;
        let Some(range) = parse_range(spec, size)? else { continue };
        if ranges.len == RANGES_MAX || ranges.as_slice().iter().any(|other| other.overlaps(&range)) {
            excessive = true;
            continue;
        }
        ranges.list[ranges.len] = range;
        ranges.len += 1;
    }
    match (asked, ranges.len) {
        (0, _) => Err(RangeError::Malformed),
        (_, 0) => Err(RangeError::Unsatisfiable),
        _ if excessive || asked > RANGES_MAX => Err(RangeError::Excessive),
        _ => Ok(ranges),
    }
}

/// One range; `None` where it does not touch the file.
fn parse_range(spec: &str, size: u64) -> Result<Option<ByteRange>, RangeError> {
    let (first, last) = spec.split_once('-').ok_or(RangeError::Malformed)?;
    let number = |digits: &str| match parse_decimal(digits.as_bytes()) {
        Some(number) => Ok(number),
        // More digits than 64 bits hold: behind the end of every file.
        None if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) => Ok(u64::MAX),
        None => Err(RangeError::Malformed),
    };
    let end = size.checked_sub(1);
    if first.is_empty() {
        let suffix = number(last)?;
        return Ok(end
            .filter(|_| suffix > 0)
            .map(|end| ByteRange { first: size.saturating_sub(suffix), last: end }));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return Err(RangeError::Malformed);
    }
    Ok(end.filter(|&end| first <= end).map(|end| ByteRange { first, last: last.min(end) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(value: &str, size: u64) -> Result<Vec<(u64, u64)>, RangeError> {
        parse_ranges(value, size)
            .map(|ranges| ranges.as_slice().iter().map(|range| (range.first, range.last)).collect())
    }

    #[test]
    fn the_examples_of_rfc_9110() {
        for (value, expected) in [
            ("bytes=0-499", vec![(0, 499)]),
            ("bytes=500-999", vec![(500, 999)]),
            ("bytes=-500", vec![(9500, 9999)]),
            ("bytes=9500-", vec![(9500, 9999)]),
            ("bytes=0-0,-1", vec![(0, 0), (9999, 9999)]),
            ("bytes= 0-999, 4500-5499, -1000", vec![(0, 999), (4500, 5499), (9000, 9999)]),
            ("bytes=500-600,601-999", vec![(500, 600), (601, 999)]),
        ] {
            assert_eq!(ranges(value, 10_000), Ok(expected), "{value}");
        }
    }

    #[test]
    fn the_edges_of_the_file() {
        for (value, size, expected) in [
            ("bytes=9999-", 10_000, Ok(vec![(9999, 9999)])),
            ("bytes=10000-", 10_000, Err(RangeError::Unsatisfiable)),
            ("bytes=0-99999999999999999999999", 10_000, Ok(vec![(0, 9999)])),
            ("bytes=99999999999999999999999-", 10_000, Err(RangeError::Unsatisfiable)),
            ("bytes=-20000", 10_000, Ok(vec![(0, 9999)])),
            ("bytes=-0", 10_000, Err(RangeError::Unsatisfiable)),
            ("bytes=0-", 0, Err(RangeError::Unsatisfiable)),
            ("bytes=-1", 0, Err(RangeError::Unsatisfiable)),
            ("bytes=20000-,5-6", 10_000, Ok(vec![(5, 6)])),
            ("bytes=0-18446744073709551615", u64::MAX, Ok(vec![(0, u64::MAX - 1)])),
            ("BYTES=1-2,,", 10, Ok(vec![(1, 2)])),
        ] {
            assert_eq!(ranges(value, size), expected, "{value} of {size}");
        }
        assert_eq!(ByteRange { first: 0, last: 0 }.len(), 1);
    }

    #[test]
    fn what_is_no_range_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=1-2-3",
            "bytes=+1-2",
            "bytes=1 - 2",
            "items=0-5",
            "bytes=0-1,x",
        ] {
            assert_eq!(ranges(value, 100), Err(RangeError::Malformed), "{value}");
        }
    }

    #[test]
    fn abuse_is_refused() {
        assert_eq!(ranges("bytes=0-,0-", 100), Err(RangeError::Excessive));
        assert_eq!(ranges("bytes=0-10,10-20", 100), Err(RangeError::Excessive));
        let list = |count: u32| {
            let specs: Vec<_> = (0..count).map(|index| format!("{0}-{0}", index * 2)).collect();
            format!("bytes={}", specs.join(","))
        };
        assert_eq!(ranges(&list(16), 100).map(|list| list.len()), Ok(RANGES_MAX));
        assert_eq!(ranges(&list(17), 100), Err(RangeError::Excessive));
    }
}
