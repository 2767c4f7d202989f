//! One response: its head, and what of an image follows it.
//!
//! Heads are what the pickiest firmware reads (a string compare, in GRUB, U-Boot and EDK2): `HTTP/1.1` always, canonical
//! names, one space, `Content-Length` always and never last (lpxelinux does not see the last header), no empty value, no
//! chunks, no compression, no redirect.

use std::io::Write;

use super::condition::{DateText, ETag};
use crate::boot::image::{Image, ImageId};
use crate::boot::register::Ticket;
use crate::time::Instant;
use crate::wire::Full;
use crate::wire::http::{ByteRange, HeadWriter, Ranges, reason};

/// Room for the longest head (under 400 bytes: each value is bounded) and for the head of a part
pub(super) const HEAD_BYTES: usize = 512;

/// What follows a head
#[derive(Debug)]
enum Content {
    /// The status in words, for a person; of a 416, the image's size goes into the head
    Words { size: Option<u64> },
    /// Nothing (304)
    Nothing,
    /// All of the image
    Whole,
    /// A part of it (206)
    Range(ByteRange),
    /// Several parts of it, as multipart/byteranges (206)
    Parts(Box<Parts>),
}

/// A multipart body under way
#[derive(Debug)]
struct Parts {
    ranges: Ranges,
    /// The part that comes next; past the last one, the end mark
    next: usize,
}

/// A response, from the decision to its last byte
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    /// The connection ends with it
    pub(super) closes: bool,
    /// The client said, or its version of HTTP says, that it asks for nothing after this
    pub(super) is_last: bool,
    /// It answers HEAD: the head that GET gets, and no more
    pub(super) head_only: bool,
    /// What is to be on disk before any of it is sent
    pub(super) awaits: Option<Ticket>,
    image: Option<Image>,
    content: Content,
    /// Where the piece of the image that is being sent goes on, and how much of it is left
    offset: u64,
    left: u64,
}

impl Response {
    /// A status in place of content; the connection stays open
    pub(super) fn status(status: u16) -> Self {
        Self {
            status,
            closes: false,
            is_last: false,
            head_only: false,
            awaits: None,
            image: None,
            content: Content::Words { size: None },
            offset: 0,
            left: 0,
        }
    }

    /// A status after which the connection ends: what the client sends next is not to be trusted
    pub(super) fn refusal(status: u16) -> Self {
        Self { closes: true, ..Self::status(status) }
    }

    /// 416: no range touches an image of that size
    pub(super) fn unsatisfied(size: u64) -> Self {
        Self { content: Content::Words { size: Some(size) }, ..Self::status(416) }
    }

    /// 304
    pub(super) fn not_modified(image: Image) -> Self {
        Self { content: Content::Nothing, image: Some(image), ..Self::status(304) }
    }

    /// 200: all of the image
    pub(super) fn whole(image: Image, head_only: bool) -> Self {
        let left = if head_only { 0 } else { image.size };
        Self { image: Some(image), content: Content::Whole, left, head_only, ..Self::status(200) }
    }

    /// 200: what answers a report, once that is on disk
    pub(super) fn receipt(image: Image, awaits: Option<Ticket>) -> Self {
        Self { awaits, ..Self::whole(image, false) }
    }

    /// 206: one range, or several
    pub(super) fn ranges(image: Image, ranges: Ranges) -> Self {
        let partial = Self { image: Some(image), ..Self::status(206) };
        match ranges.as_slice() {
            &[range] => {
                Self { content: Content::Range(range), offset: range.first, left: range.len(), ..partial }
            }
            _ => Self { content: Content::Parts(Box::new(Parts { ranges, next: 0 })), ..partial },
        }
    }

    /// The image that it holds open
    pub(super) fn image(&self) -> Option<ImageId> {
        self.image.map(|image| image.id)
    }

    /// The piece of the image that is due: offset and length
    pub(super) fn piece(&self) -> Option<(ImageId, u64, u64)> {
        let id = self.image().filter(|_| self.left > 0)?;
        Some((id, self.offset, self.left))
    }

    /// Whether anything follows the piece that is due
    pub(super) fn more_follows(&self) -> bool {
        matches!(&self.content, Content::Parts(parts) if parts.next <= parts.ranges.as_slice().len())
    }

    /// `n` bytes of the piece are sent
    pub(super) fn on_sent(&mut self, n: u64) {
        assert!(n <= self.left, "no more is sent than was asked for");
        self.offset += n;
        self.left -= n;
    }

    /// Writes the head, and the words where words follow; returns their length
    pub(super) fn emit(&self, now: Instant, buffer: &mut [u8; HEAD_BYTES]) -> usize {
        self.try_emit(now, buffer).expect("every value of a head is bounded, and all together fit")
    }

    /// Writes what comes before the next part, and makes that part the piece that is due; `None`: the body is complete
    pub(super) fn emit_next_part(&mut self, buffer: &mut [u8; HEAD_BYTES]) -> Option<usize> {
        let (Content::Parts(parts), Some(image)) = (&mut self.content, &self.image) else { return None };
        let range = parts.ranges.as_slice().get(parts.next).copied();
        if range.is_none() && parts.next > parts.ranges.as_slice().len() {
            return None;
        }
        parts.next += 1;
        (self.offset, self.left) = range.map_or((0, 0), |range| (range.first, range.len()));
        Some(emit_part_head(image, range, buffer))
    }

    fn try_emit(&self, now: Instant, buffer: &mut [u8; HEAD_BYTES]) -> Result<usize, Full> {
        let mut head = HeadWriter::new(buffer);
        head.status(self.status)?;
        head.header("Date", DateText::of(now.as_secs()).as_str())?;
        match (&self.image, &self.content) {
            (Some(image), content) => content.emit_fields(image, now, &mut head)?,
            (None, Content::Words { size }) => self.emit_words_fields(*size, &mut head)?,
            (None, _) => unreachable!("every other content is an image's"),
        }
        if self.closes {
            head.header("Connection", "close")?;
        }
        let len = head.finish()?;
        match &self.content {
            Content::Words { .. } if !self.head_only => {
                let words = reason(self.status);
                let mut rest = buffer.get_mut(len..).ok_or(Full)?;
                writeln!(rest, "{words}").map_err(|_| Full)?;
                Ok(HEAD_BYTES - rest.len())
            }
            _ => Ok(len),
        }
    }

    fn emit_words_fields(&self, size: Option<u64>, head: &mut HeadWriter<'_>) -> Result<(), Full> {
        // And the line's end.
        head.header_u64("Content-Length", reason(self.status).len() as u64 + 1)?;
        head.header("Content-Type", "text/plain")?;
        match (self.status, size) {
            (405, _) => head.header("Allow", "GET, HEAD"),
            // RFC 9110 §15.3.7: so that a client that resumes a finished download sees that it has all of it.
            (_, Some(size)) => head.content_range_unsatisfied(size),
            // iPXE waits and asks again; others ignore it.
            (503, _) => head.header_u64("Retry-After", 2),
            _ => Ok(()),
        }
    }
}

impl Content {
    fn emit_fields(&self, image: &Image, now: Instant, head: &mut HeadWriter<'_>) -> Result<(), Full> {
        match self {
            Self::Parts(_) => {
                let mut text = [0; 64];
                let mut rest = &mut text[..];
                write!(rest, "multipart/byteranges; boundary={}", Boundary(image)).map_err(|_| Full)?;
                let len = 64 - rest.len();
                head.header("Content-Type", std::str::from_utf8(&text[..len]).map_err(|_| Full)?)?;
            }
            Self::Nothing => {}
            _ => head.header("Content-Type", image.media_type)?,
        }
        head.header_u64("Content-Length", self.len(image))?;
        if let Self::Range(range) = self {
            head.content_range(*range, image.size)?;
        }
        // RFC 9110 §8.8.2.1: never later than `Date`, whatever the file system says.
        head.header("Last-Modified", DateText::of(image.modified_s.min(now.as_secs())).as_str())?;
        head.header("ETag", ETag::of(image).as_str())?;
        head.header("Accept-Ranges", "bytes")
    }

    /// Length of the body that GET gets; a 304 names that of the 200 which it stands for (RFC 9110 §8.6)
    fn len(&self, image: &Image) -> u64 {
        match self {
            Self::Whole | Self::Nothing => image.size,
            Self::Range(range) => range.len(),
            Self::Parts(parts) => parts.len(image),
            Self::Words { .. } => 0,
        }
    }
}

impl Parts {
    fn len(&self, image: &Image) -> u64 {
        let mut scratch = [0; HEAD_BYTES];
        let ranges = self.ranges.as_slice();
        let bodies: u64 = ranges.iter().map(ByteRange::len).sum();
        let heads: usize = ranges
            .iter()
            .map(|&range| Some(range))
            .chain([None])
            .map(|range| emit_part_head(image, range, &mut scratch))
            .sum();
        bodies + heads as u64
    }
}

/// What stands before a part, or after the last one (RFC 9110 §14.6, RFC 2046 §5.1.1)
fn emit_part_head(image: &Image, range: Option<ByteRange>, buffer: &mut [u8; HEAD_BYTES]) -> usize {
    let mut rest = &mut buffer[..];
    let boundary = Boundary(image);
    let written = match range {
        Some(ByteRange { first, last }) => write!(
            rest,
            "\r\n--{boundary}\r\nContent-Type: {}\r\nContent-Range: bytes {first}-{last}/{}\r\n\r\n",
            image.media_type, image.size
        ),
        None => write!(rest, "\r\n--{boundary}--\r\n"),
    };
    written.expect("every value of a part's head is bounded, and all together fit");
    HEAD_BYTES - rest.len()
}

/// A boundary that whoever wrote the file could not know: the version depends on when and where it was stored
struct Boundary<'i>(&'i Image);

impl std::fmt::Display for Boundary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "reveille-{:016x}", self.0.version)
    }
}
