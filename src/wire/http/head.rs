//! Response heads.

use crate::wire::{
    Full,
    buffer::{Buffer, decimal},
};

/// Composes a response head: `HTTP/1.1` always, names as given, one space after the colon, CRLF.
///
/// GRUB and U-Boot compare `HTTP/1.1 ` and `Content-Length: ` byte for byte, so names are written in their canonical
/// case by who calls. lpxelinux never reads the last header, so that is no place for `Content-Length`.
#[derive(Debug)]
pub struct HeadWriter<'b> {
    buffer: Buffer<'b>,
}

impl<'b> HeadWriter<'b> {
    /// Starts a head; [`HeadWriter::status`] comes first.
    #[must_use]
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer: Buffer::new(buffer) }
    }

    /// Writes the status line. iPXE and U-Boot need the space behind the code, so every code has a reason.
    pub fn status(&mut self, code: u16) -> Result<(), Full> {
        let digits = &mut [0; 20];
        self.buffer.put(&[
            b"HTTP/1.1 ",
            decimal(u64::from(code), digits),
            b" ",
            reason(code).as_bytes(),
            b"\r\n",
        ])
    }

    /// Appends a header; an empty value is no header, since one locks old UEFI firmware.
    ///
    /// CR, LF and other control bytes in the value become spaces (RFC 9110 §5.5), so that nothing a client sent can
    /// end a line.
    pub fn header(&mut self, name: &str, value: &str) -> Result<(), Full> {
        if value.is_empty() {
            return Ok(());
        }
        let start = self.buffer.len() + name.len() + 2;
        self.buffer.put(&[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"])?;
        for byte in &mut self.buffer.written_mut()[start..start + value.len()] {
            if byte.is_ascii_control() {
                *byte = b' ';
            }
        }
        Ok(())
    }

    /// Appends a header whose value is a number.
    pub fn header_u64(&mut self, name: &str, value: u64) -> Result<(), Full> {
        self.buffer.put(&[name.as_bytes(), b": ", decimal(value, &mut [0; 20]), b"\r\n"])
    }

    /// Appends `Content-Range: bytes first-last/size` (RFC 9110 §14.4).
    pub fn content_range(&mut self, range: super::ByteRange, size: u64) -> Result<(), Full> {
        let digits = &mut [[0; 20]; 3];
        let [first, last, total] = digits;
        self.buffer.put(&[
            b"Content-Range: bytes ",
            decimal(range.first, first),
            b"-",
            decimal(range.last, last),
            b"/",
            decimal(size, total),
            b"\r\n",
        ])
    }

    /// Appends the `Content-Range` of a 416.
    pub fn content_range_unsatisfied(&mut self, size: u64) -> Result<(), Full> {
        self.buffer.put(&[b"Content-Range: bytes */", decimal(size, &mut [0; 20]), b"\r\n"])
    }

    /// Writes the blank line; returns the head's length.
    pub fn finish(mut self) -> Result<usize, Full> {
        self.buffer.put(&[b"\r\n"])?;
        Ok(self.buffer.len())
    }
}

/// The reason phrase of a status (RFC 9110 §15).
#[must_use]
pub fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::ByteRange;

    #[test]
    fn a_head_as_grub_and_u_boot_want_it() {
        let mut buffer = [0; 256];
        let mut head = HeadWriter::new(&mut buffer);
        head.status(206).unwrap();
        head.header_u64("Content-Length", 500).unwrap();
        head.content_range(ByteRange { first: 0, last: 499 }, 1234).unwrap();
        head.header("Server", "").unwrap();
        head.header("ETag", "\"1-2\"").unwrap();
        let len = head.finish().unwrap();
        assert_eq!(
            std::str::from_utf8(&buffer[..len]),
            Ok("HTTP/1.1 206 Partial Content\r\nContent-Length: 500\r\n\
                Content-Range: bytes 0-499/1234\r\nETag: \"1-2\"\r\n\r\n")
        );
    }

    #[test]
    fn no_value_ends_a_line() {
        let mut buffer = [0; 64];
        let mut head = HeadWriter::new(&mut buffer);
        head.header("Location", "/a\r\nSet-Cookie: b\0").unwrap();
        let len = head.finish().unwrap();
        assert_eq!(std::str::from_utf8(&buffer[..len]), Ok("Location: /a  Set-Cookie: b \r\n\r\n"));
    }

    #[test]
    fn a_header_that_does_not_fit_leaves_no_trace() {
        let mut buffer = [0; 19];
        let mut head = HeadWriter::new(&mut buffer);
        head.status(200).unwrap();
        assert_eq!(head.header("A", "123"), Err(Full));
        let len = head.finish().unwrap();
        assert_eq!(&buffer[..len], b"HTTP/1.1 200 OK\r\n\r\n");
    }
}
