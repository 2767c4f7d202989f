//! What client and server agree on (RFC 2347): only what was asked, in the order asked, and never more of it.

use super::Settings;
use crate::wire::Full;
use crate::wire::tftp::{BLKSIZE_DEFAULT, OackWriter, Options};

/// An option that this server knows. RFC 2090's `multicast` is not among them: it is left out of the OACK
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Blksize,
    Timeout,
    Tsize,
    Windowsize,
}

/// The parameters of a transfer, and which of them the OACK names
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    /// Bytes a block
    pub(super) blksize: u16,
    /// Blocks a window; 1 is RFC 1350's stop-and-wait
    pub(super) windowsize: u16,
    /// Seconds before a resend, where the client asked for that
    pub(super) timeout_s: Option<u8>,
    named: [Option<Known>; 4],
}

impl Agreed {
    /// Reads what a client asks for. What is not in order is as if not asked (RFC 2347: the server ignores it).
    pub(super) fn on(options: &Options<'_>, settings: &Settings) -> Self {
        let mut agreed = Self { blksize: BLKSIZE_DEFAULT, windowsize: 1, timeout_s: None, named: [None; 4] };
        let mut named = 0;
        for (name, _) in options.iter() {
            let Some(known) = Known::from_name(name) else { continue };
            // An option asked twice counts once (RFC 2347), with its first value.
            if !agreed.named.contains(&Some(known)) && agreed.accept(known, options, settings) {
                agreed.named[named] = Some(known);
                named += 1;
            }
        }
        agreed
    }

    fn accept(&mut self, known: Known, options: &Options<'_>, settings: &Settings) -> bool {
        match known {
            Known::Blksize => {
                options.blksize().map(|asked| self.blksize = asked.min(settings.blksize_max)).is_some()
            }
            Known::Windowsize => options
                .windowsize()
                .map(|asked| self.windowsize = asked.min(settings.windowsize_max))
                .is_some(),
            Known::Timeout => {
                self.timeout_s = options.timeout_s();
                self.timeout_s.is_some()
            }
            Known::Tsize => options.tsize().is_some(),
        }
    }

    /// Nothing to put into an OACK: the answer is the first block
    pub(super) fn is_empty(&self) -> bool {
        self.named[0].is_none()
    }

    pub(super) fn has_tsize(&self) -> bool {
        self.named.contains(&Some(Known::Tsize))
    }

    /// Writes the OACK for a file of that many bytes
    pub(super) fn emit(&self, size: u64, buffer: &mut [u8]) -> Result<usize, Full> {
        let mut oack = OackWriter::new(buffer)?;
        for known in self.named.into_iter().flatten() {
            let value = match known {
                Known::Blksize => u64::from(self.blksize),
                Known::Windowsize => u64::from(self.windowsize),
                // U-Boot takes nothing but what it asked for.
                Known::Timeout => u64::from(self.timeout_s.unwrap_or_default()),
                Known::Tsize => size,
            };
            oack.option(known.name(), value)?;
        }
        Ok(oack.finish())
    }
}

impl Known {
    const ALL: [Self; 4] = [Self::Blksize, Self::Timeout, Self::Tsize, Self::Windowsize];

    fn name(self) -> &'static str {
        match self {
            Self::Blksize => "blksize",
            Self::Timeout => "timeout",
            Self::Tsize => "tsize",
            Self::Windowsize => "windowsize",
        }
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|known| name.eq_ignore_ascii_case(known.name().as_bytes()))
    }
}
