//! Request heads: what a client asks for, or the status it gets instead.

use std::mem::MaybeUninit;

/// The longest head taken, blank line included.
pub const HEAD_LEN_MAX: usize = 8192;
/// The most header lines taken. ONIE sends about fifteen, browsers twenty.
pub const HEADERS_MAX: usize = 64;

/// What to do with the target. Any method but these is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// The file.
    Get,
    /// Its head.
    Head,
    /// A report: what stands in the target is all of it.
    Post,
    /// None of ours; methods are case-sensitive (RFC 9110 §9.1).
    Other,
}

/// A request without its body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RequestHead<'a> {
    /// What to do.
    pub method: Method,
    /// The target as sent: percent-encoded, in origin or absolute form. See [`RequestHead::path_and_query`].
    pub target: &'a str,
    /// 0 or 1.
    pub version_minor: u8,
    /// The host asked for; that of an absolute target outranks the header (RFC 9112 §3.2.2).
    pub host: Option<&'a str>,
    /// `Connection: close` was said.
    pub connection_close: bool,
    /// `Connection: keep-alive` was said.
    pub connection_keep_alive: bool,
    /// `Range`, see [`super::parse_ranges`].
    pub range: Option<&'a str>,
    /// `If-Range`.
    pub if_range: Option<&'a str>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<&'a str>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<&'a str>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a str>,
    /// `If-Match`.
    pub if_match: Option<&'a str>,
    /// Bytes of the body that follows.
    pub content_length: Option<u64>,
    /// A body in a transfer coding follows: its end is unknown to who does not decode it.
    pub has_transfer_encoding: bool,
    /// `User-Agent`.
    pub user_agent: Option<&'a str>,
}

/// How far the bytes go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Parsed<'a> {
    /// A whole head.
    Complete {
        /// What it says.
        head: RequestHead<'a>,
        /// Its length, blank line included: where the body or the next request begins.
        len: usize,
    },
    /// More bytes are needed.
    Partial,
}

/// Why a request is refused; after each of them the connection closes, since where the next request begins is in
/// doubt.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Error {
    /// Not the grammar of RFC 9112: a folded line, a space before a colon, a forbidden byte.
    Syntax,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// Neither a path, nor an absolute `http` target, nor what its method allows.
    Target,
    /// HTTP/1.1 without `Host` (RFC 9112 §3.2).
    HostMissing,
    /// A header that may stand only once stands twice.
    Repeated,
    /// `Content-Length` is no number, or several.
    ContentLength,
    /// `Content-Length` beside `Transfer-Encoding`, or the latter in HTTP/1.0: the mark of request smuggling
    /// (RFC 9112 §6.1).
    Framing,
    /// More than [`HEADERS_MAX`] header lines.
    TooManyHeaders,
    /// Longer than [`HEAD_LEN_MAX`].
    HeadTooLong,
}

super::super::error_text!(Error {
    Self::Syntax => "the request does not follow the grammar of HTTP",
    Self::Version => "the version of HTTP is not supported",
    Self::Target => "the request target is not supported",
    Self::HostMissing => "the request names no host",
    Self::Repeated => "a header that may appear once is repeated",
    Self::ContentLength => "the content length is not one number",
    Self::Framing => "the length of the body is ambiguous",
    Self::TooManyHeaders => "the request has too many headers",
    Self::HeadTooLong => "the head of the request is too long",
});

impl Error {
    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Syntax
            | Self::Target
            | Self::HostMissing
            | Self::Repeated
            | Self::ContentLength
            | Self::Framing => 400,
            Self::TooManyHeaders | Self::HeadTooLong => 431,
            Self::Version => 505,
        }
    }
}

/// Reads a request head off the front of what a connection has received.
pub fn parse_request(bytes: &[u8]) -> Result<Parsed<'_>, Error> {
    let window = &bytes[..bytes.len().min(HEAD_LEN_MAX)];
    // To fill a table of lines that are not there would take longer than to parse.
    let mut lines = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let len = match request.parse_with_uninit_headers(window, &mut lines) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if window.len() == HEAD_LEN_MAX => return Err(Error::HeadTooLong),
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        Err(httparse::Error::TooManyHeaders) => return Err(Error::TooManyHeaders),
        Err(httparse::Error::Version) => return Err(Error::Version),
        Err(_) => return Err(Error::Syntax),
    };
    let (Some(method), Some(target), Some(version_minor)) = (request.method, request.path, request.version)
    else {
        return Err(Error::Syntax);
    };
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        _ => Method::Other,
    };
    let mut head = RequestHead::new(method, target, version_minor);
    for line in request.headers.iter() {
        head.on_header(line.name, line.value)?;
    }
    head.check()?;
    Ok(Parsed::Complete { head, len })
}

impl<'a> RequestHead<'a> {
    fn new(method: Method, target: &'a str, version_minor: u8) -> Self {
        Self {
            method,
            target,
            version_minor,
            host: None,
            connection_close: false,
            connection_keep_alive: false,
            range: None,
            if_range: None,
            if_modified_since: None,
            if_unmodified_since: None,
            if_none_match: None,
            if_match: None,
            content_length: None,
            has_transfer_encoding: false,
            user_agent: None,
        }
    }

    /// The target without scheme and host: what an absolute target asks of this server. `/` where it has no path.
    #[must_use]
    pub fn path_and_query(&self) -> &'a str {
        let Some((_, path)) = split_absolute(self.target) else { return self.target };
        // `http://host?query` has an empty path; the query of nothing asks for nothing.
        if path.starts_with('/') { path } else { "/" }
    }

    /// Whether the client lets the connection stay open (RFC 9112 §9.3).
    #[must_use]
    pub fn persists(&self) -> bool {
        !self.connection_close && (self.version_minor >= 1 || self.connection_keep_alive)
    }

    fn on_header(&mut self, name: &str, value: &'a [u8]) -> Result<(), Error> {
        let place = if name.eq_ignore_ascii_case("host") {
            &mut self.host
        } else if name.eq_ignore_ascii_case("range") {
            &mut self.range
        } else if name.eq_ignore_ascii_case("if-range") {
            &mut self.if_range
        } else if name.eq_ignore_ascii_case("if-modified-since") {
            &mut self.if_modified_since
        } else if name.eq_ignore_ascii_case("if-unmodified-since") {
            &mut self.if_unmodified_since
        } else if name.eq_ignore_ascii_case("if-none-match") {
            &mut self.if_none_match
        } else if name.eq_ignore_ascii_case("if-match") {
            &mut self.if_match
        } else if name.eq_ignore_ascii_case("user-agent") {
            // For the log only: what cannot be read is no reason to refuse.
            self.user_agent = std::str::from_utf8(value).ok();
            return Ok(());
        } else if name.eq_ignore_ascii_case("connection") {
            return self.on_connection(value);
        } else if name.eq_ignore_ascii_case("content-length") {
            return self.on_content_length(value);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            self.has_transfer_encoding = true;
            return Ok(());
        } else {
            return Ok(());
        };
        let text = std::str::from_utf8(value).map_err(|_| Error::Syntax)?;
        match place.replace(text) {
            None => Ok(()),
            Some(_) => Err(Error::Repeated),
        }
    }

    fn on_connection(&mut self, value: &[u8]) -> Result<(), Error> {
        let list = std::str::from_utf8(value).map_err(|_| Error::Syntax)?;
        for option in list.split(',').map(str::trim) {
            self.connection_close |= option.eq_ignore_ascii_case("close");
            self.connection_keep_alive |= option.eq_ignore_ascii_case("keep-alive");
        }
        Ok(())
    }

    /// RFC 9112 §6.3: a list of equal lengths may be taken as one; no client of ours sends one, so none is.
    fn on_content_length(&mut self, value: &[u8]) -> Result<(), Error> {
        let len = crate::wire::buffer::parse_decimal(value).ok_or(Error::ContentLength)?;
        match self.content_length.replace(len) {
            None => Ok(()),
            Some(_) => Err(Error::ContentLength),
        }
    }

    fn check(&mut self) -> Result<(), Error> {
        if self.has_transfer_encoding && (self.content_length.is_some() || self.version_minor == 0) {
            return Err(Error::Framing);
        }
        if self.version_minor >= 1 && self.host.is_none() {
            return Err(Error::HostMissing);
        }
        if !self.host.is_none_or(is_host) {
            return Err(Error::Syntax);
        }
        if let Some((authority, _)) = split_absolute(self.target) {
            if authority.is_empty() || !is_host(authority) {
                return Err(Error::Target);
            }
            self.host = Some(authority);
        } else if !self.target.starts_with('/') && self.method != Method::Other {
            // `*` and `host:port` belong to OPTIONS and CONNECT, which their own status refuses.
            return Err(Error::Target);
        }
        Ok(())
    }
}

/// Whether text is made of what a host and port may hold (RFC 3986 §3.2.2): no user, no path, no markup. It may end up
/// in a generated script.
fn is_host(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(&byte))
}

/// Splits `http://authority/path`.
fn split_absolute(target: &str) -> Option<(&str, &str)> {
    const SCHEME: &str = "http://";
    let scheme = target.get(..SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let rest = &target[SCHEME.len()..];
    Some(rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<RequestHead<'_>, Error> {
        match parse_request(text.as_bytes())? {
            Parsed::Complete { head, len } => {
                assert_eq!(len, text.len());
                Ok(head)
            }
            Parsed::Partial => panic!("partial: {text:?}"),
        }
    }

    #[test]
    fn the_requests_of_booting_machines() {
        let u_boot = head("GET /vmlinuz HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!((u_boot.method, u_boot.target, u_boot.host), (Method::Get, "/vmlinuz", None));
        assert!(!u_boot.persists());

        let edk2 = head(
            "HEAD /boot//shim.efi HTTP/1.1\r\nHost: 192.168.99.181\r\nAccept: */*\r\n\
             User-Agent: UefiHttpBoot/1.0\r\n\r\n",
        )
        .unwrap();
        assert_eq!((edk2.method, edk2.target), (Method::Head, "/boot//shim.efi"));
        assert_eq!((edk2.host, edk2.user_agent), (Some("192.168.99.181"), Some("UefiHttpBoot/1.0")));
        assert!(edk2.persists());

        let ipxe = head(
            "GET /a.iso HTTP/1.1\r\nHost: h:8080\r\nConnection: keep-alive\r\n\
             Range: bytes=0-2047\r\nIf-Match: \"x\"\r\n\r\n",
        )
        .unwrap();
        assert_eq!((ipxe.range, ipxe.if_match), (Some("bytes=0-2047"), Some("\"x\"")));
        assert!(ipxe.connection_keep_alive && ipxe.persists());
    }

    #[test]
    fn connections_persist_as_the_client_says() {
        for (text, persists) in [
            ("GET / HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: h\r\nConnection: foo, close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false),
        ] {
            assert_eq!(head(text).map(|head| head.persists()), Ok(persists), "{text}");
        }
    }

    #[test]
    fn absolute_targets_name_the_host() {
        for (target, host, path) in [
            ("http://other:81/a?b", "other:81", "/a?b"),
            ("HTTP://other", "other", "/"),
            ("http://other?b", "other", "/"),
            ("/a", "h", "/a"),
        ] {
            let text = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
            let head = head(&text).unwrap();
            assert_eq!((head.host, head.path_and_query()), (Some(host), path), "{target}");
        }
    }

    #[test]
    fn what_two_parsers_could_read_two_ways_is_refused() {
        let cases: [(&str, Error); 18] = [
            ("GET / HTTP/1.1\r\n\r\n", Error::HostMissing),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Error::Repeated),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Error::Syntax),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Error::Syntax),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Error::Syntax),
            ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", Error::Syntax),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", Error::Syntax),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", Error::ContentLength),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", Error::ContentLength),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                Error::ContentLength,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Error::Framing,
            ),
            ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Error::Framing),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Error::Version),
            ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", Error::Target),
            ("GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", Error::Target),
            ("GET http://u@h/a HTTP/1.1\r\nHost: a\r\n\r\n", Error::Target),
            ("GET https://h/a HTTP/1.1\r\nHost: a\r\n\r\n", Error::Target),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Error::Syntax),
        ];
        for (text, error) in cases {
            assert_eq!(head(text), Err(error), "{text}");
        }
    }

    #[test]
    fn heads_have_bounds() {
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(HEAD_LEN_MAX));
        assert_eq!(parse_request(long.as_bytes()), Err(Error::HeadTooLong));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(parse_request(many.as_bytes()), Err(Error::TooManyHeaders));
        assert_eq!(Error::HeadTooLong.status(), 431);
        assert_eq!(Error::Framing.status(), 400);
        assert_eq!(Error::Version.status(), 505);
    }

    #[test]
    fn every_front_of_a_head_is_partial() {
        let text = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
        for len in 0..text.len() {
            assert_eq!(parse_request(&text.as_bytes()[..len]), Ok(Parsed::Partial), "{len}");
        }
        let pipelined = [text, text].concat();
        let Ok(Parsed::Complete { len, .. }) = parse_request(pipelined.as_bytes()) else { panic!() };
        assert_eq!(len, text.len());
    }

    #[test]
    fn other_methods_are_for_others_to_refuse() {
        let options = head("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_eq!((options.method, options.target), (Method::Other, "*"));
        assert_eq!(head("get / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().method, Method::Other);
        let put = head("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n").unwrap();
        assert_eq!(put.content_length, Some(7));
    }
}
