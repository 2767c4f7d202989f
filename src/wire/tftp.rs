//! TFTP packets (RFC 1350) and their options (RFC 2347, 2348, 2349, 7440).
//!
//! Requests come from firmware, so they are read leniently: anything behind the last whole option is dropped, a last
//! NUL may be missing. What leaves here is strict: an OACK holds only what was put in and ends with a NUL.

use super::{
    Full,
    buffer::{Buffer, decimal, parse_decimal},
};

/// Port of servers.
pub const PORT: u16 = 69;
/// Bytes of a DATA packet before its payload.
pub const DATA_HEADER_LEN: usize = 4;
/// Block size without negotiation (RFC 1350 §2).
pub const BLKSIZE_DEFAULT: u16 = 512;
/// Smallest block size (RFC 2348).
pub const BLKSIZE_MIN: u16 = 8;
/// Largest block size (RFC 2348).
pub const BLKSIZE_MAX: u16 = 65464;

const RRQ: u16 = 1;
const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// One packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Packet<'a> {
    /// Read a file.
    Rrq(Request<'a>),
    /// Write a file.
    Wrq(Request<'a>),
    /// A block of the file.
    Data {
        /// Its number, from 1, wrapping.
        block: u16,
        /// Its bytes; fewer than the block size end the transfer.
        payload: &'a [u8],
    },
    /// All blocks up to this one arrived.
    Ack {
        /// The last block in order; 0 answers an OACK.
        block: u16,
    },
    /// The transfer ends here.
    Error {
        /// One of [`ErrorCode`], or not.
        code: u16,
        /// Text for people.
        message: &'a [u8],
    },
    /// The options the server agreed to.
    Oack(Options<'a>),
}

/// How the file's bytes are sent (RFC 1350 §1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// As they are.
    Octet,
    /// Lines end in CR LF.
    Netascii,
    /// To a person; obsolete.
    Mail,
}

impl Mode {
    const ALL: [Self; 3] = [Self::Octet, Self::Netascii, Self::Mail];

    /// The mode's name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Octet => "octet",
            Self::Netascii => "netascii",
            Self::Mail => "mail",
        }
    }

    fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| name.eq_ignore_ascii_case(mode.name().as_bytes()))
    }
}

/// Why a transfer ends (RFC 1350 appendix, RFC 2347).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u16)]
pub enum ErrorCode {
    /// See the message.
    Undefined = 0,
    /// No such file.
    FileNotFound = 1,
    /// Not allowed.
    AccessViolation = 2,
    /// No space.
    DiskFull = 3,
    /// Not a TFTP operation, or not now.
    IllegalOperation = 4,
    /// No transfer between these two ports.
    UnknownTransfer = 5,
    /// The file exists.
    FileExists = 6,
    /// No such user.
    NoSuchUser = 7,
    /// The options are not acceptable. EDK2 ends its size probe with it.
    OptionNegotiation = 8,
}

/// Why bytes are no packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// Shorter than its fixed part.
    Truncated,
    /// An operation that does not exist.
    Operation,
    /// A request whose file name is empty or has no end.
    Filename,
    /// A request in a mode that does not exist.
    Mode,
}

super::error_text!(Error {
    Self::Truncated => "the TFTP packet is cut short",
    Self::Operation => "the TFTP operation does not exist",
    Self::Filename => "the TFTP request names no file",
    Self::Mode => "the TFTP transfer mode does not exist",
});

/// Views a packet.
pub fn parse(bytes: &[u8]) -> Result<Packet<'_>, Error> {
    let (operation, rest) = split_u16(bytes).ok_or(Error::Truncated)?;
    match operation {
        RRQ => Request::parse(rest).map(Packet::Rrq),
        WRQ => Request::parse(rest).map(Packet::Wrq),
        OACK => Ok(Packet::Oack(Options(rest))),
        DATA | ACK | ERROR => {
            let (number, rest) = split_u16(rest).ok_or(Error::Truncated)?;
            Ok(match operation {
                DATA => Packet::Data { block: number, payload: rest },
                ACK => Packet::Ack { block: number },
                _ => Packet::Error { code: number, message: super::buffer::until_nul(rest) },
            })
        }
        _ => Err(Error::Operation),
    }
}

fn split_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

/// Splits a text off the front, and its NUL; `None` for the rest where the NUL is missing.
fn split_text(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|&byte| byte == 0) {
        Some(len) => (&bytes[..len], Some(&bytes[len + 1..])),
        None => (bytes, None),
    }
}

/// A read or write request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Request<'a> {
    /// The file's name as sent: not yet a path, see the rules of who opens it.
    pub filename: &'a [u8],
    /// How the file's bytes are sent.
    pub mode: Mode,
    /// What the client would like.
    pub options: Options<'a>,
}

impl<'a> Request<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (filename, rest) = split_text(bytes);
        let rest = rest.filter(|_| !filename.is_empty()).ok_or(Error::Filename)?;
        // A mode without its NUL ends the packet: nothing else can be meant.
        let (mode, rest) = split_text(rest);
        let mode = Mode::parse(mode).ok_or(Error::Mode)?;
        Ok(Self { filename, mode, options: Options(rest.unwrap_or_default()) })
    }

    /// `blksize`, see [`Options::blksize`].
    #[must_use]
    pub fn blksize(&self) -> Option<u16> {
        self.options.blksize()
    }

    /// `tsize`, see [`Options::tsize`].
    #[must_use]
    pub fn tsize(&self) -> Option<u64> {
        self.options.tsize()
    }

    /// `timeout`, see [`Options::timeout_s`].
    #[must_use]
    pub fn timeout_s(&self) -> Option<u8> {
        self.options.timeout_s()
    }

    /// `windowsize`, see [`Options::windowsize`].
    #[must_use]
    pub fn windowsize(&self) -> Option<u16> {
        self.options.windowsize()
    }
}

/// The options of a request or of an OACK, in wire order.
///
/// The typed accessors take the first instance of a name, in any case, and give `None` for what is absent, is not
/// plain digits, or lies below the option's range. A value above the range is cut to its top: the answer may always
/// be smaller than what was asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// Names and values, as sent. An empty name or a missing value ends the list: padding, or junk that some ROMs
    /// leave behind the last NUL.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (name, behind) = split_text(rest);
            let behind = behind.filter(|behind| !name.is_empty() && !behind.is_empty())?;
            // The last value may lack its NUL.
            let (value, behind) = split_text(behind);
            rest = behind.unwrap_or_default();
            Some((name, value))
        })
    }

    /// The first option of that name, in any case (RFC 2347).
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Bytes a block, 8 to 65464 (RFC 2348).
    #[must_use]
    pub fn blksize(&self) -> Option<u16> {
        self.number("blksize", u64::from(BLKSIZE_MIN), BLKSIZE_MAX)
    }

    /// Size of the file in bytes; 0 in a read request asks for it (RFC 2349).
    #[must_use]
    pub fn tsize(&self) -> Option<u64> {
        self.value("tsize").and_then(parse_decimal)
    }

    /// Seconds before a resend, 1 to 255 (RFC 2349). Not cut to its range: the answer has to equal what was asked.
    #[must_use]
    pub fn timeout_s(&self) -> Option<u8> {
        let seconds = parse_decimal(self.value("timeout")?)?;
        u8::try_from(seconds).ok().filter(|&seconds| seconds != 0)
    }

    /// Blocks before an ACK, 1 to 65535 (RFC 7440).
    #[must_use]
    pub fn windowsize(&self) -> Option<u16> {
        self.number("windowsize", 1, u16::MAX)
    }

    fn number(&self, name: &str, min: u64, max: u16) -> Option<u16> {
        let number = parse_decimal(self.value(name)?)?;
        (number >= min).then(|| u16::try_from(number).unwrap_or(max).min(max))
    }
}

/// The four bytes before a block.
#[must_use]
pub fn emit_data_header(block: u16) -> [u8; DATA_HEADER_LEN] {
    header(DATA, block)
}

/// A whole ACK.
#[must_use]
pub fn emit_ack(block: u16) -> [u8; 4] {
    header(ACK, block)
}

fn header(operation: u16, number: u16) -> [u8; 4] {
    let [[a, b], [c, d]] = [operation.to_be_bytes(), number.to_be_bytes()];
    [a, b, c, d]
}

/// Writes an ERROR; a NUL in `message` would end it early.
pub fn emit_error(code: ErrorCode, message: &str, buffer: &mut [u8]) -> Result<usize, Full> {
    let mut buffer = Buffer::new(buffer);
    buffer.put(&[&header(ERROR, code as u16), message.as_bytes(), &[0]])?;
    Ok(buffer.len())
}

/// Writes a whole DATA packet, where the payload does not lie behind its header already.
pub fn emit_data(block: u16, payload: &[u8], buffer: &mut [u8]) -> Result<usize, Full> {
    let mut buffer = Buffer::new(buffer);
    buffer.put(&[&emit_data_header(block), payload])?;
    Ok(buffer.len())
}

/// Writes a read request. Neither the name nor an option may be empty or hold a NUL.
pub fn emit_rrq(
    filename: &[u8],
    mode: Mode,
    options: &[(&str, &str)],
    buffer: &mut [u8],
) -> Result<usize, Full> {
    emit_request(RRQ, filename, mode, options, buffer)
}

/// Writes a write request. Neither the name nor an option may be empty or hold a NUL.
pub fn emit_wrq(
    filename: &[u8],
    mode: Mode,
    options: &[(&str, &str)],
    buffer: &mut [u8],
) -> Result<usize, Full> {
    emit_request(WRQ, filename, mode, options, buffer)
}

fn emit_request(
    operation: u16,
    filename: &[u8],
    mode: Mode,
    options: &[(&str, &str)],
    buffer: &mut [u8],
) -> Result<usize, Full> {
    let mut buffer = Buffer::new(buffer);
    buffer.put(&[&operation.to_be_bytes(), filename, &[0], mode.name().as_bytes(), &[0]])?;
    for (name, value) in options {
        buffer.put(&[name.as_bytes(), &[0], value.as_bytes(), &[0]])?;
    }
    Ok(buffer.len())
}

/// Composes an OACK: only what the client asked for belongs in it, and an empty one is never sent (RFC 2347): see
/// [`OackWriter::is_empty`].
#[derive(Debug)]
pub struct OackWriter<'b> {
    buffer: Buffer<'b>,
}

impl<'b> OackWriter<'b> {
    /// Starts an OACK.
    pub fn new(buffer: &'b mut [u8]) -> Result<Self, Full> {
        let mut buffer = Buffer::new(buffer);
        buffer.put(&[&OACK.to_be_bytes()])?;
        Ok(Self { buffer })
    }

    /// Appends a number.
    pub fn option(&mut self, name: &str, value: u64) -> Result<(), Full> {
        self.option_bytes(name, decimal(value, &mut [0; 20]))
    }

    /// Appends a text.
    pub fn option_text(&mut self, name: &str, value: &str) -> Result<(), Full> {
        self.option_bytes(name, value.as_bytes())
    }

    /// No option yet: the answer is DATA 1, not this.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.len() == 2
    }

    /// The packet's length.
    #[must_use]
    pub fn finish(self) -> usize {
        self.buffer.len()
    }

    fn option_bytes(&mut self, name: &str, value: &[u8]) -> Result<(), Full> {
        self.buffer.put(&[name.as_bytes(), &[0], value, &[0]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(bytes: &[u8]) -> Result<Request<'_>, Error> {
        match parse(bytes)? {
            Packet::Rrq(request) => Ok(request),
            other => panic!("no read request: {other:?}"),
        }
    }

    #[test]
    fn the_size_probe_of_edk2() {
        let bytes = b"\0\x01bootx64.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0";
        let request = request(bytes).unwrap();
        assert_eq!((request.filename, request.mode), (&b"bootx64.efi"[..], Mode::Octet));
        assert_eq!(
            (request.tsize(), request.blksize(), request.windowsize()),
            (Some(0), Some(1468), Some(4))
        );
        assert_eq!(request.timeout_s(), None);
    }

    #[test]
    fn requests_of_careless_roms() {
        for (bytes, blksize) in [
            (&b"\0\x01a\0octet\0"[..], Ok(None)),
            (b"\0\x01a\0octet", Ok(None)),
            (b"\0\x01a\0OcTeT\0BLKSIZE\x001456\0", Ok(Some(1456))),
            (b"\0\x01a\0octet\0blksize\x001456", Ok(Some(1456))),
            (b"\0\x01a\0octet\0blksize\x001456\0\0\0\0", Ok(Some(1456))),
            (b"\0\x01a\0octet\0blksize\x001456\0\xff\xff", Ok(Some(1456))),
            (b"\0\x01a\0octet\0blksize\0", Ok(None)),
            (b"\0\x01a\0octet\0multicast\0\0blksize\x001432\0", Ok(Some(1432))),
            (b"\0\x01a\0octet\0blksize\x00512\0blksize\x001456\0", Ok(Some(512))),
            (b"\0\x01a", Err(Error::Filename)),
            (b"\0\x01\0octet\0", Err(Error::Filename)),
            (b"\0\x01a\0octal\0", Err(Error::Mode)),
        ] {
            let found = request(bytes).map(|request| request.blksize());
            assert_eq!(found, blksize, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn option_values() {
        for (value, blksize, windowsize, timeout_s) in [
            ("8", Some(8), Some(8), Some(8)),
            ("7", None, Some(7), Some(7)),
            ("0", None, None, None),
            ("0255", Some(255), Some(255), Some(255)),
            ("256", Some(256), Some(256), None),
            ("65464", Some(65464), Some(65464), None),
            ("65465", Some(65464), Some(65465), None),
            ("18446744073709551615", Some(65464), Some(65535), None),
            ("18446744073709551616", None, None, None),
            ("-1", None, None, None),
            ("+9", None, None, None),
            (" 9", None, None, None),
            ("9 ", None, None, None),
        ] {
            let options = [("blksize", value), ("windowsize", value), ("timeout", value)];
            let mut buffer = [0; 200];
            let len = emit_rrq(b"a", Mode::Octet, &options, &mut buffer).unwrap();
            let request = request(&buffer[..len]).unwrap();
            assert_eq!(
                (request.blksize(), request.windowsize(), request.timeout_s()),
                (blksize, windowsize, timeout_s),
                "{value}"
            );
        }
    }

    #[test]
    fn an_oack_ends_with_a_nul() {
        let mut buffer = [0; 64];
        let mut oack = OackWriter::new(&mut buffer).unwrap();
        assert!(oack.is_empty());
        oack.option("tsize", 0).unwrap();
        oack.option("blksize", 1468).unwrap();
        oack.option_text("timeout", "5").unwrap();
        assert!(!oack.is_empty());
        let len = oack.finish();
        assert_eq!(&buffer[..len], b"\0\x06tsize\x000\0blksize\x001468\0timeout\x005\0");

        let mut small = [0; 16];
        let mut oack = OackWriter::new(&mut small).unwrap();
        assert_eq!(oack.option("windowsize", 65535), Err(Full));
        assert!(oack.is_empty());
    }

    #[test]
    fn fixed_parts() {
        assert_eq!(emit_data_header(0x1234), [0, 3, 0x12, 0x34]);
        assert_eq!(emit_ack(65535), [0, 4, 0xff, 0xff]);
        let mut buffer = [0; 32];
        let len = emit_error(ErrorCode::FileNotFound, "no such file", &mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"\0\x05\0\x01no such file\0");
        for bytes in [&b""[..], b"\0", b"\0\x03", b"\0\x03\0", b"\0\x04\x01", b"\0\x05"] {
            assert_eq!(parse(bytes).unwrap_err(), Error::Truncated);
        }
        assert_eq!(parse(b"\0\x07").unwrap_err(), Error::Operation);
    }
}
