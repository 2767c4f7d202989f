//! HTTP/1.1 heads (RFC 9110, RFC 9112): requests read, responses written, byte ranges understood.
//!
//! `httparse` finds the lines; this module decides what they may mean, and refuses whatever two parsers could read
//! two ways (RFC 9112 §11.2). Never touches a body and never maps a path to a file.

mod date;
mod head;
mod range;
mod request;

pub use date::emit_date;
pub use head::{HeadWriter, reason};
pub use range::{ByteRange, RANGES_MAX, RangeError, Ranges, parse_ranges};
pub use request::{Error, HEAD_LEN_MAX, HEADERS_MAX, Method, Parsed, RequestHead, parse_request};
