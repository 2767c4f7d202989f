//! Validators and the conditions that requests make of them (RFC 9110 §8.8, §13).

use std::time::{SystemTime, UNIX_EPOCH};

use crate::boot::image::Image;
use crate::wire::http::{RequestHead, emit_date};

/// What the conditions of a request come to
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send it; `Range` counts where `range` says so
    Serve {
        /// There was no `If-Range`, or the client has a part of this version
        range: bool,
    },
    /// 304: the client has it
    NotModified,
    /// 412: it is not what the client has a part of
    Failed,
}

/// Weighs the conditions in the order of RFC 9110 §13.2.2
pub(super) fn evaluate(head: &RequestHead<'_>, image: &Image) -> Verdict {
    if !is_conditional(head) {
        return Verdict::Serve { range: true };
    }
    let etag = &ETag::of(image);
    let meant = match (head.if_match, head.if_unmodified_since.and_then(parse_date)) {
        (Some(tags), _) => any_tag(tags, |tag| tag == etag.as_str()),
        (None, Some(date_s)) => image.modified_s <= date_s,
        (None, None) => true,
    };
    if !meant {
        return Verdict::Failed;
    }
    let known = match (head.if_none_match, head.if_modified_since.and_then(parse_date)) {
        // Weak comparison (RFC 9110 §13.1.2): our own tags are all strong, but a cache may have weakened one.
        (Some(tags), _) => any_tag(tags, |tag| tag.strip_prefix("W/").unwrap_or(tag) == etag.as_str()),
        (None, Some(date_s)) => image.modified_s <= date_s,
        (None, None) => false,
    };
    if known {
        return Verdict::NotModified;
    }
    // RFC 9110 §13.1.5: a tag by strong comparison, or the exact date.
    let range = head.if_range.is_none_or(|validator| {
        let validator = validator.trim_matches([' ', '\t']);
        validator == etag.as_str() || parse_date(validator) == Some(image.modified_s)
    });
    Verdict::Serve { range }
}

/// Whether there is anything to weigh: booting machines ask for files as they are
fn is_conditional(head: &RequestHead<'_>) -> bool {
    let RequestHead { if_match, if_none_match, if_modified_since, if_unmodified_since, if_range, .. } = head;
    [if_match, if_none_match, if_modified_since, if_unmodified_since, if_range]
        .iter()
        .any(|field| field.is_some())
}

/// Whether one of a list of entity tags fits; `*` is any
fn any_tag(list: &str, fits: impl Fn(&str) -> bool) -> bool {
    let mut rest = list.trim_matches([' ', '\t']);
    if rest == "*" {
        return true;
    }
    // A tag may hold a comma, so the list is read from quote to quote.
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let opaque = rest.strip_prefix("W/").unwrap_or(rest);
        let Some(len) = opaque.strip_prefix('"').and_then(|inside| inside.find('"')) else {
            return false;
        };
        let (tag, after) = rest.split_at(rest.len() - opaque.len() + len + 2);
        if fits(tag) {
            return true;
        }
        rest = after;
    }
}

/// An image's entity tag: its version, which changes whenever its bytes may have
#[derive(Debug)]
pub(super) struct ETag([u8; 18]);

impl ETag {
    pub(super) fn of(image: &Image) -> Self {
        let mut tag = [b'"'; 18];
        for (digit, shift) in tag[1..17].iter_mut().zip((0..64).step_by(4).rev()) {
            *digit = b"0123456789abcdef"[(image.version >> shift & 0xf) as usize];
        }
        Self(tag)
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// An HTTP date
#[derive(Debug)]
pub(super) struct DateText([u8; 29]);

impl DateText {
    /// The date of a second since the Unix epoch
    pub(super) fn of(second: u64) -> Self {
        Self(emit_date(second))
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Seconds since the Unix epoch; `None`: not a date, and so as if it were not there (RFC 9110 §13.1.3)
fn parse_date(text: &str) -> Option<u64> {
    let date: SystemTime = httpdate::parse_http_date(text).ok()?;
    date.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::image::ImageId;
    use crate::wire::http::{Parsed, parse_request};

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const TAG: &str = "\"00000000000000ab\"";

    fn verdict(headers: &str) -> Verdict {
        let image = Image {
            id: ImageId(0),
            size: 9,
            modified_s: 784_111_777,
            version: 0xab,
            media_type: "text/plain",
        };
        let text = format!("GET / HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let Ok(Parsed::Complete { head, .. }) = parse_request(text.as_bytes()) else { panic!("{headers}") };
        evaluate(&head, &image)
    }

    const SERVE: Verdict = Verdict::Serve { range: true };

    #[test]
    fn validators_read_as_the_rfc_writes_them() {
        assert_eq!(DateText::of(784_111_777).as_str(), DATE);
        assert_eq!(DateText::of(u64::MAX).as_str(), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(parse_date(DATE), Some(784_111_777));
    }

    #[test]
    fn if_none_match_goes_before_if_modified_since() {
        assert_eq!(verdict(&format!("If-None-Match: {TAG}\r\n")), Verdict::NotModified);
        assert_eq!(verdict(&format!("If-None-Match: W/{TAG}\r\n")), Verdict::NotModified);
        assert_eq!(verdict(&format!("If-None-Match: \"a,b\", {TAG}\r\n")), Verdict::NotModified);
        assert_eq!(verdict("If-None-Match: *\r\n"), Verdict::NotModified);
        assert_eq!(verdict("If-None-Match: \"x\"\r\n"), SERVE);
        assert_eq!(verdict("If-None-Match: x, \"\r\n"), SERVE);
        assert_eq!(verdict(&format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {DATE}\r\n")), SERVE);
        assert_eq!(verdict(&format!("If-Modified-Since: {DATE}\r\n")), Verdict::NotModified);
        assert_eq!(verdict(&format!("If-Modified-Since: {AFTER}\r\n")), Verdict::NotModified);
        assert_eq!(verdict(&format!("If-Modified-Since: {BEFORE}\r\n")), SERVE);
        assert_eq!(verdict("If-Modified-Since: yesterday\r\n"), SERVE);
    }

    #[test]
    fn if_match_goes_before_if_unmodified_since_and_both_before_the_rest() {
        assert_eq!(verdict(&format!("If-Match: {TAG}\r\n")), SERVE);
        assert_eq!(verdict("If-Match: *\r\n"), SERVE);
        assert_eq!(verdict(&format!("If-Match: W/{TAG}\r\n")), Verdict::Failed);
        assert_eq!(verdict("If-Match: \"x\"\r\n"), Verdict::Failed);
        assert_eq!(verdict(&format!("If-Match: {TAG}\r\nIf-Unmodified-Since: {BEFORE}\r\n")), SERVE);
        assert_eq!(verdict(&format!("If-Unmodified-Since: {DATE}\r\n")), SERVE);
        assert_eq!(verdict(&format!("If-Unmodified-Since: {BEFORE}\r\n")), Verdict::Failed);
        assert_eq!(verdict("If-Unmodified-Since: 1994\r\n"), SERVE);
        assert_eq!(verdict(&format!("If-Match: \"x\"\r\nIf-None-Match: {TAG}\r\n")), Verdict::Failed);
    }

    #[test]
    fn if_range_wants_the_same_version_exactly() {
        let whole = Verdict::Serve { range: false };
        assert_eq!(verdict(&format!("If-Range: {TAG}\r\n")), SERVE);
        assert_eq!(verdict(&format!("If-Range: W/{TAG}\r\n")), whole);
        assert_eq!(verdict("If-Range: \"x\"\r\n"), whole);
        assert_eq!(verdict(&format!("If-Range: {DATE}\r\n")), SERVE);
        assert_eq!(verdict(&format!("If-Range: {AFTER}\r\n")), whole);
    }
}
