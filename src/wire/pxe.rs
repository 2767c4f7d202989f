//! PXE's own options inside option 43, and what option 60 says (PXE 2.1 §2.2, RFC 4578 §2.1).
//!
//! [`Vendor`] views an option 43, [`VendorWriter`] composes one, [`ClassId`] reads `PXEClient:Arch:00007:UNDI:003016`.
//! Never parses the option 43 of another vendor class: who calls it has seen `PXEClient` in option 60.

use std::net::Ipv4Addr;

use super::{
    Full,
    buffer::Buffer,
    dhcp::{SubOptions, code::END},
};

/// Sub-option: how boot servers are found, [`discovery`].
const DISCOVERY_CONTROL: u8 = 6;
/// Sub-option: boot servers.
const BOOT_SERVERS: u8 = 8;
/// Sub-option: the boot menu.
const BOOT_MENU: u8 = 9;
/// Sub-option: the prompt before the menu.
const MENU_PROMPT: u8 = 10;
/// Sub-option: the item chosen.
const BOOT_ITEM: u8 = 71;

/// Bits of the discovery control.
pub mod discovery {
    /// Do not look for boot servers by broadcast.
    pub const NO_BROADCAST: u8 = 1;
    /// Do not look for boot servers by multicast.
    pub const NO_MULTICAST: u8 = 2;
    /// Take replies only from the servers listed.
    pub const LISTED_ONLY: u8 = 4;
    /// Load the boot file named in the offer: no menu, no prompt, no discovery. Without it and without a menu EDK2
    /// gives up.
    pub const USE_BOOT_FILE: u8 = 8;
}

/// Prompt time-out that takes the first item at once.
pub const PROMPT_AT_ONCE: u8 = 0;
/// Prompt time-out that shows the menu and waits.
pub const PROMPT_FOR_EVER: u8 = 255;

/// The value of an option 43, viewed. A sub-option that runs past the end is the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vendor<'a>(&'a [u8]);

/// The boot servers of one type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BootServer<'a> {
    /// Boot server type: 0 is the local disk.
    pub kind: u16,
    octets: &'a [[u8; 4]],
}

impl<'a> BootServer<'a> {
    /// Their addresses; none where the client is to find them.
    pub fn ips(&self) -> impl ExactSizeIterator<Item = Ipv4Addr> + use<'a> {
        self.octets.iter().map(|octets| Ipv4Addr::from(*octets))
    }
}

/// One line of the menu.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MenuItem<'a> {
    /// Boot server type: 0 is the local disk.
    pub kind: u16,
    /// What the client shows.
    pub text: &'a [u8],
}

/// What the client shows before the menu.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Prompt<'a> {
    /// Seconds until the first item is taken: [`PROMPT_AT_ONCE`], [`PROMPT_FOR_EVER`].
    pub timeout_s: u8,
    /// What the client shows.
    pub text: &'a [u8],
}

/// The item a client chose. The reply carries the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BootItem {
    /// Boot server type.
    pub kind: u16,
    /// Which of its files; the highest bit asks for credentials.
    pub layer: u16,
}

impl<'a> Vendor<'a> {
    /// Views the value of an option 43.
    #[must_use]
    pub fn parse(option_43: &'a [u8]) -> Self {
        Self(option_43)
    }

    /// All sub-options.
    #[must_use]
    pub fn sub_options(self) -> SubOptions<'a> {
        SubOptions::vendor(self.0)
    }

    /// Sub-option 6: the bits of [`discovery`].
    #[must_use]
    pub fn discovery_control(self) -> Option<u8> {
        match self.sub_options().first(DISCOVERY_CONTROL)? {
            [bits] => Some(*bits),
            _ => None,
        }
    }

    /// Sub-option 8.
    pub fn boot_servers(self) -> impl Iterator<Item = BootServer<'a>> {
        let mut rest = self.sub_options().first(BOOT_SERVERS).unwrap_or_default();
        std::iter::from_fn(move || {
            let (kind, behind) = split_u16(rest)?;
            let (&count, behind) = behind.split_first()?;
            let (octets, behind) = behind.split_at_checked(usize::from(count) * 4)?;
            rest = behind;
            Some(BootServer { kind, octets: octets.as_chunks().0 })
        })
    }

    /// Sub-option 9.
    pub fn menu(self) -> impl Iterator<Item = MenuItem<'a>> {
        let mut rest = self.sub_options().first(BOOT_MENU).unwrap_or_default();
        std::iter::from_fn(move || {
            let (kind, behind) = split_u16(rest)?;
            let (&len, behind) = behind.split_first()?;
            let (text, behind) = behind.split_at_checked(usize::from(len))?;
            rest = behind;
            Some(MenuItem { kind, text })
        })
    }

    /// Sub-option 10.
    #[must_use]
    pub fn prompt(self) -> Option<Prompt<'a>> {
        let (&timeout_s, text) = self.sub_options().first(MENU_PROMPT)?.split_first()?;
        Some(Prompt { timeout_s, text })
    }

    /// Sub-option 71.
    #[must_use]
    pub fn boot_item(self) -> Option<BootItem> {
        let (kind, rest) = split_u16(self.sub_options().first(BOOT_ITEM)?)?;
        let (layer, _) = split_u16(rest)?;
        Some(BootItem { kind, layer })
    }
}

fn split_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

/// Composes the value of an option 43: at most 255 bytes, since EDK2 reads only its first instance.
///
/// There is always room for the END inside it.
#[derive(Debug)]
pub struct VendorWriter<'b> {
    buffer: Buffer<'b>,
}

impl<'b> VendorWriter<'b> {
    /// Starts a value; [`Full`] where the buffer is empty.
    pub fn new(buffer: &'b mut [u8]) -> Result<Self, Full> {
        let limit = buffer.len().min(255).checked_sub(1).ok_or(Full)?;
        let mut buffer = Buffer::new(buffer);
        buffer.set_limit(limit);
        Ok(Self { buffer })
    }

    /// Sub-option 6: the bits of [`discovery`].
    pub fn discovery_control(&mut self, bits: u8) -> Result<(), Full> {
        self.buffer.put(&[&[DISCOVERY_CONTROL, 1, bits]])
    }

    /// Sub-option 8: all boot server types, each with its addresses.
    pub fn boot_servers<'s>(
        &mut self,
        servers: impl IntoIterator<Item = (u16, &'s [Ipv4Addr])>,
    ) -> Result<(), Full> {
        self.list(BOOT_SERVERS, |buffer| {
            for (kind, addresses) in servers {
                let count = u8::try_from(addresses.len()).map_err(|_| Full)?;
                buffer.put(&[&kind.to_be_bytes(), &[count]])?;
                for address in addresses {
                    buffer.put(&[&address.octets()])?;
                }
            }
            Ok(())
        })
    }

    /// Sub-option 9: all items of the menu.
    pub fn menu<'s>(&mut self, items: impl IntoIterator<Item = MenuItem<'s>>) -> Result<(), Full> {
        self.list(BOOT_MENU, |buffer| {
            for MenuItem { kind, text } in items {
                let len = u8::try_from(text.len()).map_err(|_| Full)?;
                buffer.put(&[&kind.to_be_bytes(), &[len], text])?;
            }
            Ok(())
        })
    }

    /// Sub-option 10.
    pub fn prompt(&mut self, prompt: Prompt<'_>) -> Result<(), Full> {
        let len = u8::try_from(1 + prompt.text.len()).map_err(|_| Full)?;
        self.buffer.put(&[&[MENU_PROMPT, len, prompt.timeout_s], prompt.text])
    }

    /// Sub-option 71.
    pub fn boot_item(&mut self, item: BootItem) -> Result<(), Full> {
        self.buffer.put(&[&[BOOT_ITEM, 4], &item.kind.to_be_bytes(), &item.layer.to_be_bytes()])
    }

    /// Writes END; returns the value's length.
    #[must_use]
    pub fn finish(mut self) -> usize {
        let len = self.buffer.len() + 1;
        self.buffer.set_limit(len);
        // Every write left a byte for END.
        let end = self.buffer.put(&[&[END]]);
        debug_assert_eq!(end, Ok(()));
        len
    }

    /// Writes a sub-option whose length is known only afterwards, or nothing at all.
    fn list(&mut self, code: u8, fill: impl FnOnce(&mut Buffer<'b>) -> Result<(), Full>) -> Result<(), Full> {
        let start = self.buffer.len();
        self.buffer.put(&[&[code, 0]])?;
        let filled = fill(&mut self.buffer);
        let len = u8::try_from(self.buffer.len() - start - 2);
        match (filled, len) {
            (Ok(()), Ok(len)) => {
                self.buffer.written_mut()[start + 1] = len;
                Ok(())
            }
            _ => {
                self.buffer.truncate(start);
                Err(Full)
            }
        }
    }
}

/// Which protocol a client boots by, from option 60.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ClassKind {
    /// `PXEClient`: TFTP, and port 4011.
    Pxe,
    /// `HTTPClient`: a URL in place of a file name.
    Http,
}

impl ClassKind {
    /// What the reply's option 60 says: the name alone.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pxe => "PXEClient",
            Self::Http => "HTTPClient",
        }
    }
}

/// Option 60 of a network-boot client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClassId {
    /// PXE or HTTP.
    pub kind: ClassKind,
    /// The architecture, by IANA number.
    pub arch: Option<u16>,
    /// Version of the network interface driver: major, minor.
    pub undi: Option<(u8, u8)>,
}

impl ClassId {
    /// Reads `PXEClient:Arch:xxxxx:UNDI:yyyzzz` (RFC 4578 §2.1 quotes the form) or `HTTPClient:…`.
    ///
    /// `None` for every other vendor class. Firmware that stops after the name is a PXE client all the same.
    #[must_use]
    pub fn parse(option_60: &[u8]) -> Option<Self> {
        let text = super::buffer::until_nul(option_60);
        // Clients and servers compare the name's bytes and nothing behind them (EDK2 9 of them), so do we.
        let (kind, rest) = if let Some(rest) = text.strip_prefix(b"PXEClient") {
            (ClassKind::Pxe, rest)
        } else {
            (ClassKind::Http, text.strip_prefix(b"HTTPClient")?)
        };
        let mut id = Self { kind, arch: None, undi: None };
        let mut fields = rest.split(|&byte| byte == b':').skip(1);
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            match name {
                b"Arch" => id.arch = number(value).and_then(|arch| u16::try_from(arch).ok()),
                b"UNDI" => id.undi = undi(value),
                _ => {}
            }
        }
        Some(id)
    }
}

fn undi(value: &[u8]) -> Option<(u8, u8)> {
    let (major, minor) = value.split_at_checked(3)?;
    Some((u8::try_from(number(major)?).ok()?, u8::try_from(number(minor)?).ok()?))
}

fn number(digits: &[u8]) -> Option<u64> {
    super::buffer::parse_decimal(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a Raspberry Pi 3 accepts, as its documentation shows it.
    const RASPBERRY_PI: &[u8] = b"\x06\x01\x03\x0a\x04\x00PXE\x09\x14\x00\x00\x11Raspberry Pi Boot\xff";

    #[test]
    fn a_raspberry_pi_finds_its_menu() {
        let vendor = Vendor::parse(RASPBERRY_PI);
        assert_eq!(vendor.discovery_control(), Some(discovery::NO_BROADCAST | discovery::NO_MULTICAST));
        assert_eq!(vendor.prompt(), Some(Prompt { timeout_s: PROMPT_AT_ONCE, text: b"PXE" }));
        assert!(vendor.menu().eq([MenuItem { kind: 0, text: b"Raspberry Pi Boot" }]));

        let mut buffer = [0; 64];
        let mut writer = VendorWriter::new(&mut buffer).unwrap();
        writer.discovery_control(3).unwrap();
        writer.prompt(Prompt { timeout_s: 0, text: b"PXE" }).unwrap();
        writer.menu([MenuItem { kind: 0, text: b"Raspberry Pi Boot" }]).unwrap();
        let len = writer.finish();
        assert_eq!(&buffer[..len], RASPBERRY_PI);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let one = [Ipv4Addr::new(192, 0, 2, 1)];
        let two = [Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(192, 0, 2, 3)];
        let item = BootItem { kind: 7, layer: 0x8001 };
        let mut buffer = [0; 255];
        let mut writer = VendorWriter::new(&mut buffer).unwrap();
        writer.boot_servers([(7, &one[..]), (0x8000, &two), (9, &[])]).unwrap();
        writer.boot_item(item).unwrap();
        let len = writer.finish();

        let vendor = Vendor::parse(&buffer[..len]);
        let servers: Vec<_> =
            vendor.boot_servers().map(|server| (server.kind, server.ips().collect::<Vec<_>>())).collect();
        assert_eq!(servers, [(7, one.to_vec()), (0x8000, two.to_vec()), (9, vec![])]);
        assert_eq!(vendor.boot_item(), Some(item));
        assert_eq!(vendor.discovery_control(), None);
    }

    #[test]
    fn a_menu_that_does_not_fit_leaves_no_trace() {
        let text = [b'x'; 100];
        let mut buffer = [0; 1024];
        let mut writer = VendorWriter::new(&mut buffer).unwrap();
        writer.discovery_control(8).unwrap();
        assert_eq!(writer.menu([MenuItem { kind: 1, text: &text }; 3]), Err(Full));
        writer.menu([MenuItem { kind: 1, text: &text }; 2]).unwrap();
        assert!(writer.prompt(Prompt { timeout_s: 0, text: &text }).is_err());
        let len = writer.finish();
        assert!(len <= 255);
        let vendor = Vendor::parse(&buffer[..len]);
        assert_eq!(vendor.menu().count(), 2);
        assert_eq!(vendor.discovery_control(), Some(8));
        assert!(VendorWriter::new(&mut []).is_err());
    }

    #[test]
    fn lists_that_end_early_keep_what_is_whole() {
        let servers = Vendor::parse(&[8, 9, 0, 1, 1, 192, 0, 2, 1, 0, 2]);
        assert_eq!(servers.boot_servers().count(), 1);
        assert_eq!(Vendor::parse(&[8, 200, 0, 1]).boot_servers().count(), 0);
        assert_eq!(Vendor::parse(&[9, 4, 0, 1, 9, b'x']).menu().count(), 0);
        assert_eq!(Vendor::parse(&[71, 3, 0, 1, 0]).boot_item(), None);
        assert_eq!(Vendor::parse(&[255, 6, 1, 8]).discovery_control(), None);
        assert_eq!(Vendor::parse(&[0, 0, 6, 1, 8]).discovery_control(), Some(8));
    }

    #[test]
    fn vendor_classes() {
        let id = |kind, arch, undi| Some(ClassId { kind, arch, undi });
        let cases: [(&[u8], Option<ClassId>); 10] = [
            (b"PXEClient:Arch:00007:UNDI:003016", id(ClassKind::Pxe, Some(7), Some((3, 16)))),
            (b"HTTPClient:Arch:00016:UNDI:003000", id(ClassKind::Http, Some(16), Some((3, 0)))),
            (b"PXEClient:Arch:00000:UNDI:002001\0", id(ClassKind::Pxe, Some(0), Some((2, 1)))),
            (b"PXEClient", id(ClassKind::Pxe, None, None)),
            (b"PXEClient:Arch:65536:UNDI:x", id(ClassKind::Pxe, None, None)),
            (b"PXEClient:Arch:-0001", id(ClassKind::Pxe, None, None)),
            (b"PXEClient:Arch:00007:UNDI:999999", id(ClassKind::Pxe, Some(7), None)),
            (b"U-Boot.armv8", None),
            (b"pxeclient", None),
            (b"", None),
        ];
        for (text, expected) in cases {
            assert_eq!(ClassId::parse(text), expected, "{}", text.escape_ascii());
        }
        assert_eq!(ClassKind::Http.name(), "HTTPClient");
    }
}
