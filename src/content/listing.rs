//! A directory as an HTML page: one document, no script, nothing loaded from elsewhere, readable in light and dark.
//!
//! All links are relative, so the page works below any prefix and at a path with or without its last slash (firmware
//! does not follow redirects, so the server sends none).

use std::cmp::Ordering;
use std::fmt::{self, Write};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_encode};

/// RFC 3986 §2.3: everything but the unreserved characters is encoded, so that no name reads as a scheme or a query
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const STYLE: &str = include_str!("listing.css");

/// One line of a listing
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: Vec<u8>,
    pub(super) directory: bool,
    pub(super) size: u64,
    pub(super) modified_s: u64,
}

/// Writes the page of the directory that was asked for as `asked` and whose plain path is `plain`. `whole` is false where
/// the directory holds more than `lines`.
pub(super) fn page(asked: &[u8], plain: &[u8], lines: &mut [Line], whole: bool) -> String {
    lines.sort_by(order);
    let mut page = String::with_capacity(4096 + 256 * lines.len());
    // Writing to a `String` cannot fail.
    let _ = write_page(&mut page, &Base::new(asked, plain), lines, whole);
    page
}

/// Directories first, then by name without regard to case; names that differ in case only keep one order
fn order(a: &Line, b: &Line) -> Ordering {
    let folded = |line: &Line| line.name.to_ascii_lowercase();
    b.directory.cmp(&a.directory).then_with(|| folded(a).cmp(&folded(b))).then_with(|| a.name.cmp(&b.name))
}

/// Where the page is, as its relative links see it
struct Base<'p> {
    plain: &'p [u8],
    /// The part that a browser drops before it follows a relative link: the last one, where no slash ends the path
    dropped: &'p [u8],
    /// No doubled slash or dot part: `..` in a link leads one directory up
    canonical: bool,
}

impl<'p> Base<'p> {
    fn new(asked: &'p [u8], plain: &'p [u8]) -> Self {
        let dropped = asked.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let (asked, plain) =
            (asked.strip_prefix(b"/").unwrap_or(asked), plain.strip_suffix(b"/").unwrap_or(plain));
        Self { plain, dropped, canonical: asked.strip_suffix(b"/").unwrap_or(asked) == plain }
    }

    /// A link to what is `up` directories above
    fn write_up(&self, page: &mut String, up: usize) -> fmt::Result {
        match (up, self.dropped.is_empty()) {
            (0, true) | (1, false) => write!(page, "./"),
            (0, false) => write!(page, "{}/", encoded(self.dropped)),
            (up, at_directory) => write!(page, "{}", "../".repeat(if at_directory { up } else { up - 1 })),
        }
    }

    fn write_heading(&self, page: &mut String) -> fmt::Result {
        if !self.canonical || self.plain.is_empty() {
            return writeln!(page, "<h1>/{}</h1>", Escaped(self.plain));
        }
        let parts = self.plain.split(|&byte| byte == b'/');
        let depth = parts.clone().count();
        page.push_str("<h1><a href=\"");
        self.write_up(page, depth)?;
        page.push_str("\">/</a>");
        for (at, part) in parts.enumerate() {
            let up = depth - 1 - at;
            if up == 0 {
                write!(page, "{}", Escaped(part))?;
                continue;
            }
            page.push_str("<a href=\"");
            self.write_up(page, up)?;
            write!(page, "\">{}</a>/", Escaped(part))?;
        }
        page.push_str("</h1>\n");
        Ok(())
    }
}

fn write_page(page: &mut String, base: &Base<'_>, lines: &[Line], whole: bool) -> fmt::Result {
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>/{}</title>\n<style>\n{STYLE}</style>\n\
         </head>\n<body>\n<main>\n",
        Escaped(base.plain)
    )?;
    base.write_heading(page)?;
    page.push_str(
        "<table>\n<thead><tr><th>Name</th><th class=\"size\">Size</th>\
         <th class=\"date\">Modified (UTC)</th></tr></thead>\n<tbody>\n",
    );
    if !base.plain.is_empty() {
        page.push_str("<tr class=\"dir\"><td><a href=\"");
        base.write_up(page, 1)?;
        page.push_str("\">../</a></td><td class=\"size\"></td><td class=\"date\"></td></tr>\n");
    }
    for line in lines {
        write_line(page, base, line)?;
    }
    page.push_str("</tbody>\n</table>\n");
    write_footer(page, lines, whole)?;
    page.push_str("</main>\n</body>\n</html>\n");
    Ok(())
}

fn write_line(page: &mut String, base: &Base<'_>, line: &Line) -> fmt::Result {
    let (class, slash) = if line.directory { (" class=\"dir\"", "/") } else { ("", "") };
    write!(page, "<tr{class}><td><a href=\"")?;
    if !base.dropped.is_empty() {
        write!(page, "{}/", encoded(base.dropped))?;
    }
    write!(page, "{}{slash}\">{}{slash}</a></td>", encoded(&line.name), Escaped(&line.name))?;
    if line.directory {
        page.push_str("<td class=\"size\"></td>");
    } else {
        write!(page, "<td class=\"size\" title=\"{} bytes\">{}</td>", Grouped(line.size), Size(line.size))?;
    }
    writeln!(page, "<td class=\"date\">{}</td></tr>", Minute(line.modified_s))
}

fn write_footer(page: &mut String, lines: &[Line], whole: bool) -> fmt::Result {
    let directories = lines.iter().filter(|line| line.directory).count();
    let files = lines.len() - directories;
    let size = lines.iter().fold(0_u64, |sum, line| sum.saturating_add(line.size));
    let plural = |count| if count == 1 { "" } else { "s" };
    page.push_str("<footer>");
    match (directories, files) {
        (0, 0) => page.push_str("Nothing here"),
        (_, 0) => write!(page, "{directories} folder{}", plural(directories))?,
        (0, _) => write!(page, "{files} file{}, {}", plural(files), Size(size))?,
        (_, _) => write!(
            page,
            "{directories} folder{}, {files} file{}, {}",
            plural(directories),
            plural(files),
            Size(size)
        )?,
    }
    if !whole {
        page.push_str(" shown; this folder holds more");
    }
    page.push_str("</footer>\n");
    Ok(())
}

fn encoded(name: &[u8]) -> PercentEncode<'_> {
    percent_encode(name, SEGMENT)
}

/// Text for HTML, in element content and in double quotes; what is not UTF-8 becomes U+FFFD
struct Escaped<'t>(&'t [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '&' => f.write_str("&amp;")?,
                    '<' => f.write_str("&lt;")?,
                    '>' => f.write_str("&gt;")?,
                    '"' => f.write_str("&quot;")?,
                    '\'' => f.write_str("&#39;")?,
                    // HTML has no way to write the others, and a line break would not be seen.
                    c if c.is_control() => f.write_char(char::REPLACEMENT_CHARACTER)?,
                    c => f.write_char(c)?,
                }
            }
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

/// `812 B`, `1.4 KiB`, `640 MiB`: three digits at most where there is a fraction
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut unit = 0;
        let mut scale = 1024_u64;
        while self.0 / scale >= 1024 && unit < 5 {
            (unit, scale) = (unit + 1, scale * 1024);
        }
        let (whole, tenths) = (self.0 / scale, self.0 % scale * 10 / scale);
        let name = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][unit];
        if whole < 100 { write!(f, "{whole}.{tenths} {name}") } else { write!(f, "{whole} {name}") }
    }
}

/// `1,234,567`
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// `2026-08-01 12:34`, in UTC, from seconds since the Unix epoch
struct Minute(u64);

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        // Days since 0000-03-01, so that a leap day ends its year; then eras of 400 years of 146,097 days.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02} {:02}:{:02}", second / 3_600, second / 60 % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, directory: bool, size: u64) -> Line {
        Line { name: name.into(), directory, size, modified_s: 1_785_587_696 }
    }

    fn hrefs(page: &str) -> Vec<&str> {
        page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
    }

    #[test]
    fn links_lead_to_the_same_place_with_and_without_the_last_slash() {
        let mut lines = [line("b.iso", false, 3), line("a", true, 0)];
        let with = page(b"/os/x/", b"os/x/", &mut lines, true);
        assert_eq!(hrefs(&with), ["../../", "../", "../", "a/", "b.iso"]);
        let without = page(b"/os/x", b"os/x", &mut lines, true);
        assert_eq!(hrefs(&without), ["../", "./", "./", "x/a/", "x/b.iso"]);
        let root = page(b"/", b"", &mut lines, true);
        assert_eq!(hrefs(&root), ["a/", "b.iso"]);
        let odd = page(b"//os//x/", b"os/x/", &mut lines, true);
        assert_eq!(hrefs(&odd), ["../", "a/", "b.iso"], "no crumbs where `..` would miss");
    }

    #[test]
    fn names_are_encoded_in_links_and_escaped_in_text() {
        let mut lines = [line("javascript:<b>&\"'?#%é", false, 1)];
        let page = page(b"/<i>/", b"<i>/", &mut lines, true);
        assert_eq!(hrefs(&page)[2], "javascript%3A%3Cb%3E%26%22%27%3F%23%25%C3%A9");
        assert!(page.contains(">javascript:&lt;b&gt;&amp;&quot;&#39;?#%é</a>"));
        assert!(!page.contains("<i>") && !page.contains("<b>"));
        assert_eq!(Escaped(b"a\xffb\n").to_string(), "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn directories_come_first_and_case_does_not_count() {
        let mut lines = [line("b", false, 1), line("A", false, 1), line("z", true, 0), line("Y", true, 0)];
        lines.sort_by(order);
        assert_eq!(lines.map(|line| line.name), [b"Y", b"z", b"A", b"b"]);
    }

    #[test]
    fn a_cut_listing_says_so() {
        assert!(page(b"/", b"", &mut [], true).contains("<footer>Nothing here</footer>"));
        let cut = page(b"/", b"", &mut [line("a", false, 2048)], false);
        assert!(cut.contains("<footer>1 file, 2.0 KiB shown; this folder holds more</footer>"));
    }

    #[test]
    fn sizes_and_dates_read_well() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_500_000, "1.4 MiB"),
            (671_088_640, "640 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(Size(size).to_string(), text);
        }
        assert_eq!(Grouped(1_234_567).to_string(), "1,234,567");
        assert_eq!(Grouped(123).to_string(), "123");
        for (second, text) in [
            (0, "1970-01-01 00:00"),
            (951_782_400, "2000-02-29 00:00"),
            (1_709_164_800, "2024-02-29 00:00"),
            (1_785_587_696, "2026-08-01 12:34"),
            (4_107_542_399, "2100-02-28 23:59"),
        ] {
            assert_eq!(Minute(second).to_string(), text);
        }
    }
}
