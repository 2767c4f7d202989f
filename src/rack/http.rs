//! The HTTP client of the simulated machines, over a modelled stream: heads are read as firmware reads them, to the letter.

use std::net::SocketAddrV4;

use super::expected::Text;
use super::outcome::{Failure, Fetched, Outcome};
use super::reach::Io;
use crate::time::{Duration, Instant};

/// How a firmware fetches by HTTP
#[derive(Debug)]
pub(crate) struct Profile {
    pub version: &'static str,
    /// It asks for the size by HEAD first, on the same connection
    pub head_first: bool,
    /// It keeps the connection for its next file
    pub keeps: bool,
    /// Its header lines, with `{host}` for the server and `{mac}` for its own address
    pub headers: &'static str,
    /// What `Content-Type` an `.efi` file must have for it
    pub wants_efi_type: bool,
    /// The last header line is never read (lpxelinux)
    pub skips_last_header: bool,
    pub wait_ms: u64,
    /// How often it asks again after silence or a lost connection
    pub tries: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    Head,
    Body,
    /// The body is whole; the end of the connection is awaited
    Ending,
}

/// One file on its way
pub(crate) struct Download {
    profile: &'static Profile,
    server: SocketAddrV4,
    path: String,
    url: String,
    text: Text,
    stage: Stage,
    is_head: bool,
    head: Vec<u8>,
    length: u64,
    got: u64,
    tries: usize,
    stream: u32,
    pub deadline: Instant,
}

/// What firmware takes from a response's head
struct Head {
    status: u16,
    length: Option<u64>,
}

impl Download {
    /// `kept`: a connection to that server that is still open
    pub(crate) fn start(
        profile: &'static Profile,
        server: SocketAddrV4,
        path: String,
        kept: Option<u32>,
        io: &mut Io<'_>,
    ) -> Self {
        let mut download = Self {
            profile,
            server,
            url: format!("http://{server}{path}"),
            text: Text::default(),
            path,
            stage: Stage::Connecting,
            is_head: profile.head_first,
            head: Vec::new(),
            length: 0,
            got: 0,
            tries: 0,
            stream: 0,
            deadline: Instant::FAR,
        };
        match kept {
            Some(stream) => {
                download.stream = stream;
                download.ask(io);
            }
            None => download.connect(io),
        }
        download
    }

    pub(crate) fn progress(&self) -> (&str, u64, Option<u64>) {
        (&self.path, self.got, (self.length > 0).then_some(self.length))
    }

    /// The connection, for the next file
    pub(crate) fn kept(&self) -> Option<(SocketAddrV4, u32)> {
        self.profile.keeps.then_some((self.server, self.stream))
    }

    fn connect(&mut self, io: &mut Io<'_>) {
        self.stage = Stage::Connecting;
        self.stream = io.open(self.server);
        self.wait(io);
    }

    fn wait(&mut self, io: &Io<'_>) {
        self.deadline = io.now + Duration::from_millis(self.profile.wait_ms);
    }

    fn ask(&mut self, io: &mut Io<'_>) {
        (self.stage, self.got) = (Stage::Head, 0);
        self.head.clear();
        self.text.begin();
        let method = if self.is_head { "HEAD" } else { "GET" };
        let headers = self
            .profile
            .headers
            .replace("{host}", &self.server.ip().to_string())
            .replace("{mac}", &io.known.identity.mac.to_string().replace(':', "-"));
        let request = format!("{method} {} {}\r\n{headers}\r\n", self.path, self.profile.version);
        io.write(self.stream, request.into_bytes());
        self.wait(io);
    }

    pub(crate) fn on_opened(&mut self, io: &mut Io<'_>, stream: u32) {
        if stream == self.stream && self.stage == Stage::Connecting {
            self.ask(io);
        }
    }

    pub(crate) fn on_bytes(&mut self, io: &mut Io<'_>, stream: u32, mut bytes: &[u8]) -> Option<Outcome> {
        if stream != self.stream || !matches!(self.stage, Stage::Head | Stage::Body) {
            if stream == self.stream && !bytes.is_empty() {
                io.refuse("bytes after the end of a body");
            }
            return None;
        }
        self.wait(io);
        if self.stage == Stage::Head {
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            let end = self.head.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
            bytes = &bytes[end - before..];
            self.head.truncate(end);
            let head = match self.read_head() {
                Ok(head) => head,
                Err(why) => {
                    io.refuse(why);
                    return Some(self.fail(io, Failure::HttpHead));
                }
            };
            match (head.status, head.length) {
                (404, _) => return Some(self.end(io, Outcome::Missing)),
                (200, Some(length)) => self.length = length,
                _ => return Some(self.fail(io, Failure::HttpHead)),
            }
            if self.is_head {
                self.is_head = false;
                if !bytes.is_empty() {
                    io.refuse("a body in answer to HEAD");
                }
                self.ask(io);
                return None;
            }
            self.stage = Stage::Body;
        }
        self.on_body(io, bytes)
    }

    fn on_body(&mut self, io: &mut Io<'_>, bytes: &[u8]) -> Option<Outcome> {
        if !io.known.expected.holds(&self.url, self.got, bytes) {
            io.refuse("bytes that are not the file's");
            return Some(self.fail(io, Failure::WrongBytes));
        }
        self.got += bytes.len() as u64;
        self.text.push(bytes);
        io.received(bytes.len() as u64);
        if self.got < self.length {
            return None;
        }
        if self.got > self.length || !io.known.expected.ends_at(&self.url, self.got) {
            io.refuse("a Content-Length that is not the file's");
            return Some(self.fail(io, Failure::WrongBytes));
        }
        if self.profile.version == "HTTP/1.0" {
            // lpxelinux and U-Boot never use Content-Length: the end of the connection is the end of the file.
            self.stage = Stage::Ending;
            return None;
        }
        let fetched = self.fetched();
        Some(self.end(io, fetched))
    }

    fn fetched(&mut self) -> Outcome {
        Outcome::Fetched(Fetched { name: self.path.clone(), text: self.text.end() })
    }

    fn end(&mut self, io: &mut Io<'_>, outcome: Outcome) -> Outcome {
        self.stage = Stage::Ending;
        if !self.profile.keeps {
            io.close(self.stream);
        }
        outcome
    }

    fn fail(&mut self, io: &mut Io<'_>, failure: Failure) -> Outcome {
        io.close(self.stream);
        Outcome::Failed(failure)
    }

    pub(crate) fn on_closed(&mut self, io: &mut Io<'_>, stream: u32) -> Option<Outcome> {
        if stream != self.stream {
            return None;
        }
        if self.stage == Stage::Ending {
            return Some(self.fetched());
        }
        self.again(io)
    }

    pub(crate) fn on_deadline(&mut self, io: &mut Io<'_>) -> Option<Outcome> {
        if self.stage == Stage::Ending {
            io.refuse("a connection that HTTP/1.0 leaves open: the loader waits for its end");
        }
        io.close(self.stream);
        self.again(io)
    }

    fn again(&mut self, io: &mut Io<'_>) -> Option<Outcome> {
        self.tries += 1;
        if self.tries == self.profile.tries {
            return Some(Outcome::Failed(Failure::HttpSilence));
        }
        io.retries().http += 1;
        self.is_head = self.profile.head_first;
        self.connect(io);
        None
    }

    fn read_head(&self) -> Result<Head, &'static str> {
        let text = std::str::from_utf8(&self.head).map_err(|_| "a response head that is not text")?;
        let status = text.strip_prefix("HTTP/1.1 ").ok_or("a status line that is not HTTP/1.1 (GRUB)")?;
        let (code, _) = status.split_once(' ').ok_or("no space after the status code (iPXE)")?;
        let status = code.parse().map_err(|_| "a status that is no number")?;
        let lines: Vec<_> = text.trim_end().split("\r\n").skip(1).collect();
        let mut length = None;
        for (i, line) in lines.iter().enumerate() {
            let (name, value) = line.split_once(": ").ok_or("a header without a value: old EDK2 hangs")?;
            match name {
                "Content-Length" => {
                    if self.profile.skips_last_header && i + 1 == lines.len() {
                        return Err("Content-Length as the last header, which lpxelinux does not read");
                    }
                    length = Some(value.parse().map_err(|_| "a Content-Length that is no number")?);
                }
                "Transfer-Encoding" | "Content-Encoding" => {
                    return Err("an encoded body: firmware takes none");
                }
                // EDK2 goes by the name's end where the type says nothing to it.
                "Content-Type"
                    if self.profile.wants_efi_type
                        && status == 200
                        && !self.path.ends_with(".efi")
                        && value != "application/efi" =>
                {
                    return Err("neither EDK2's Content-Type nor a name that ends in .efi");
                }
                _ => {}
            }
        }
        if status == 200 && length.is_none() {
            return Err("no Content-Length in its usual letters (GRUB, U-Boot)");
        }
        Ok(Head { status, length })
    }
}
