//! Boot file names and URLs: parsed once, expanded for each client into the caller's bytes.
//!
//! Never looks at a file, and never needs the heap once parsed.

use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;

use super::super::client::{Arch, Uuid};
use crate::wire::Full;
use crate::wire::ethernet::MacAddr;

/// The longest boot file name: what option 67 holds with its NUL (RFC 2132 §9.5, and firmware that reads past it)
pub const BOOT_FILE_MAX: usize = 254;

/// A boot file: a name below the TFTP root or a URL, with `{server}`, `{mac}`, `{uuid}`, `{ip}`, `{arch}`, `{host}` to expand
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFile {
    /// The name or URL before expansion, in pieces
    pub pieces: Vec<Piece>,
    /// Another server holds it (`next-server`); `None`: this one
    pub server: Option<Ipv4Addr>,
}

/// A part of a boot file's name
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands
    Literal(String),
    /// `{server}`: the boot server's address
    Server,
    /// `{mac}`: `88:99:aa:bb:cc:dd`
    Mac,
    /// `{mac-hyphens}`: `88-99-aa-bb-cc-dd`
    MacHyphens,
    /// `{uuid}`
    Uuid,
    /// `{ip}`
    Ip,
    /// `{arch}`: the architecture's name
    Arch,
    /// `{host}`: the machine's host name, else its MAC address with hyphens
    Host,
}

/// The words between braces, as the configuration writes them
const WORDS: &[(&str, Piece)] = &[
    ("server", Piece::Server),
    ("mac", Piece::Mac),
    ("mac-hyphens", Piece::MacHyphens),
    ("uuid", Piece::Uuid),
    ("ip", Piece::Ip),
    ("arch", Piece::Arch),
    ("host", Piece::Host),
];

/// Why a text is no boot file
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootFileError {
    /// A `{` without its `}`, at this byte
    Unclosed(usize),
    /// A `}` without its `{`, at this byte
    Unopened(usize),
    /// A word between braces that is none of ours, from this byte to that
    UnknownWord(usize, usize),
    /// A control character or a character outside ASCII, at this byte: firmware takes neither
    Unprintable(usize),
    /// Longer than [`BOOT_FILE_MAX`] before it is expanded
    TooLong,
}

impl fmt::Display for BootFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unclosed(_) => f.write_str("`{` without `}`: write `{{` for a brace itself"),
            Self::Unopened(_) => f.write_str("`}` without `{`: write `}}` for a brace itself"),
            Self::UnknownWord(..) => {
                f.write_str("unknown word in braces: ")?;
                for (i, (word, _)) in WORDS.iter().enumerate() {
                    write!(f, "{}{{{word}}}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str(" are filled in; write `{{` for a brace itself")
            }
            Self::Unprintable(_) => f.write_str("firmware takes printable ASCII names only"),
            Self::TooLong => write!(f, "longer than the {BOOT_FILE_MAX} bytes that a DHCP option holds"),
        }
    }
}

impl std::error::Error for BootFileError {}

/// What a relative name becomes for a client: a loader that takes URLs gets one, so that it cannot ask the wrong server
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The name as it is, with the server's address beside it: PXE ROMs, U-Boot, GRUB
    Name,
    /// `tftp://{server}/`, with this port: a script for an iPXE without HTTP
    Tftp(u16),
    /// `http://{server}/`, with this port: UEFI HTTP boot accepts nothing else, and an iPXE script is safest so
    Http(u16),
}

/// The values that fill a boot file's name
#[derive(Clone, Copy, Debug)]
pub struct Expansion<'a> {
    /// The boot server's address
    pub server: Ipv4Addr,
    /// The client's MAC address
    pub mac: MacAddr,
    /// Its UUID; all zero where it sent none
    pub uuid: Option<Uuid>,
    /// Its IP address; 0.0.0.0 where it has none yet (ProxyDHCP before the DHCP server's answer)
    pub ip: Option<Ipv4Addr>,
    /// Its architecture; `unknown` where it stated none
    pub arch: Option<Arch>,
    /// Its host name, where the configuration gives one
    pub host: Option<&'a str>,
    /// What a relative name becomes
    pub base: Base,
}

impl BootFile {
    /// The boot file that the configuration writes as `text`: literal but for the words in braces
    ///
    /// # Errors
    /// Where and why it is none.
    pub fn parse(text: &str) -> Result<Self, BootFileError> {
        if text.len() > BOOT_FILE_MAX {
            return Err(BootFileError::TooLong);
        }
        if let Some((at, _)) = text.char_indices().find(|(_, c)| !matches!(c, ' '..='~')) {
            return Err(BootFileError::Unprintable(at));
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let rest = &text[at + 1..];
            match c {
                '{' | '}' if rest.starts_with(c) => {
                    literal.push(c);
                    at += 2;
                }
                '{' => {
                    let end = rest.find('}').ok_or(BootFileError::Unclosed(at))?;
                    let (_, word) = WORDS
                        .iter()
                        .find(|(name, _)| *name == &rest[..end])
                        .ok_or(BootFileError::UnknownWord(at, at + end + 2))?;
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(word.clone());
                    at += end + 2;
                }
                '}' => return Err(BootFileError::Unopened(at)),
                _ => {
                    literal.push(c);
                    at += 1;
                }
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces, server: None })
    }

    /// The pxelinux that boots one image: it looks for its configuration below the folder that it came from, and that
    /// folder means the image
    pub fn pxelinux_of(stem: &str) -> Self {
        let text = |text: String| Piece::Literal(text);
        let pieces = vec![text("images/".to_owned()), Piece::Server, text(format!("/{stem}/lpxelinux.0"))];
        Self { pieces, server: None }
    }

    /// Whether it is a URL, not a name below the root
    pub fn is_url(&self) -> bool {
        matches!(self.pieces.first(), Some(Piece::Literal(text)) if scheme(text).is_some())
    }

    /// Writes the name or URL that a client gets into `out`; returns its length
    ///
    /// # Errors
    /// [`Full`] where it does not fit.
    pub fn expand(&self, values: &Expansion<'_>, out: &mut [u8]) -> Result<usize, Full> {
        let mut writer = Writer { out, len: 0 };
        self.write(values, &mut writer).map_err(|fmt::Error| Full)?;
        Ok(writer.len)
    }

    fn write(&self, values: &Expansion<'_>, out: &mut Writer<'_>) -> fmt::Result {
        let mut relative = false;
        if !self.is_url() {
            match values.base {
                Base::Name => {}
                Base::Tftp(port) => {
                    relative = true;
                    write_base(out, "tftp", values.server, (port != 69).then_some(port))?;
                }
                Base::Http(port) => {
                    relative = true;
                    write_base(out, "http", values.server, (port != 80).then_some(port))?;
                }
            }
        }
        for (i, piece) in self.pieces.iter().enumerate() {
            match piece {
                // The base ends with the slash that the name may begin with.
                Piece::Literal(text) if i == 0 && relative => out.write_str(text.trim_start_matches('/'))?,
                Piece::Literal(text) => out.write_str(text)?,
                Piece::Server => write!(out, "{}", values.server)?,
                Piece::Mac => write!(out, "{}", values.mac)?,
                Piece::MacHyphens => write!(out, "{}", values.mac.hyphenated())?,
                Piece::Uuid => write!(out, "{}", values.uuid.unwrap_or(Uuid([0; 16])))?,
                Piece::Ip => write!(out, "{}", values.ip.unwrap_or(Ipv4Addr::UNSPECIFIED))?,
                Piece::Arch => match values.arch {
                    Some(arch) => write!(out, "{arch}")?,
                    None => out.write_str("unknown")?,
                },
                Piece::Host => match values.host {
                    Some(host) => out.write_str(host)?,
                    None => write!(out, "{}", values.mac.hyphenated())?,
                },
            }
        }
        Ok(())
    }
}

/// As the configuration writes it
impl fmt::Display for BootFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => {
                    for c in text.chars() {
                        match c {
                            '{' | '}' => write!(f, "{c}{c}")?,
                            _ => f.write_char(c)?,
                        }
                    }
                }
                word => {
                    let name = WORDS.iter().find(|(_, piece)| piece == word).map_or("", |(name, _)| name);
                    write!(f, "{{{name}}}")?;
                }
            }
        }
        Ok(())
    }
}

/// The scheme of a URL: `C:\boot.efi` has none, since one letter is a drive to the firmware that writes so
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let is_scheme =
        scheme.len() > 1 && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    is_scheme.then_some(scheme)
}

fn write_base(out: &mut Writer<'_>, scheme: &str, server: Ipv4Addr, port: Option<u16>) -> fmt::Result {
    write!(out, "{scheme}://{server}")?;
    if let Some(port) = port {
        write!(out, ":{port}")?;
    }
    out.write_char('/')
}

/// Formats into the caller's bytes, all or nothing a piece
struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.out.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Expansion<'_> = Expansion {
        server: Ipv4Addr::new(192, 168, 99, 1),
        mac: MacAddr([0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd]),
        uuid: None,
        ip: Some(Ipv4Addr::new(192, 168, 99, 60)),
        arch: Some(Arch::X64_UEFI),
        host: None,
        base: Base::Name,
    };

    fn expand(text: &str, values: &Expansion<'_>) -> String {
        let mut out = [0; BOOT_FILE_MAX];
        let len = BootFile::parse(text).unwrap().expand(values, &mut out).unwrap();
        String::from_utf8(out[..len].to_vec()).unwrap()
    }

    #[test]
    fn words_are_filled_in() {
        let cases = [
            ("lpxelinux.0", "lpxelinux.0"),
            ("http://{server}:8080/{mac}/{ip}", "http://192.168.99.1:8080/88:99:aa:bb:cc:dd/192.168.99.60"),
            ("{mac-hyphens}.ipxe", "88-99-aa-bb-cc-dd.ipxe"),
            ("by-uuid/{uuid}", "by-uuid/00000000-0000-0000-0000-000000000000"),
            ("{arch}/{host}", "x64-uefi/88-99-aa-bb-cc-dd"),
            ("a{{b}}", "a{b}"),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, &VALUES), expected);
            assert_eq!(BootFile::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(expand("{host}", &Expansion { host: Some("node-01"), ..VALUES }), "node-01");
    }

    #[test]
    fn relative_names_become_urls_for_those_who_take_them() {
        let http = |port| Expansion { base: Base::Http(port), ..VALUES };
        assert_eq!(expand("bootx64.efi", &http(80)), "http://192.168.99.1/bootx64.efi");
        assert_eq!(expand("/efi/bootx64.efi", &http(8080)), "http://192.168.99.1:8080/efi/bootx64.efi");
        assert_eq!(expand("http://{server}/a", &http(8080)), "http://192.168.99.1/a");
        let tftp = Expansion { base: Base::Tftp(69), ..VALUES };
        assert_eq!(expand("{host}.ipxe", &tftp), "tftp://192.168.99.1/88-99-aa-bb-cc-dd.ipxe");
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused_whole() {
        let file = BootFile::parse("{mac}").unwrap();
        assert_eq!(file.expand(&VALUES, &mut [0; 17]), Ok(17));
        assert_eq!(file.expand(&VALUES, &mut [0; 16]), Err(Full));
    }

    #[test]
    fn errors_say_where() {
        let cases = [
            ("a{mac", BootFileError::Unclosed(1)),
            ("a}", BootFileError::Unopened(1)),
            ("a/{serial}/b", BootFileError::UnknownWord(2, 10)),
            ("${net0/mac}", BootFileError::UnknownWord(1, 11)),
            ("a\n", BootFileError::Unprintable(1)),
            ("größe", BootFileError::Unprintable(2)),
        ];
        for (text, expected) in cases {
            assert_eq!(BootFile::parse(text), Err(expected), "{text}");
        }
        assert_eq!(BootFile::parse(&"a".repeat(255)), Err(BootFileError::TooLong));
    }
}
