//! One directory record (ECMA-119 §9.1)

use super::{date, le32};

const NAME: usize = 33;

/// A record as it lies in its directory
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'d> {
    bytes: &'d [u8],
    /// The identifier: one byte 0 for the directory itself, 1 for its parent
    pub(super) name: &'d [u8],
    /// What extensions add: Rock Ridge lies here
    pub(super) system_use: &'d [u8],
}

impl<'d> Record<'d> {
    /// Reads the record at the front of `bytes` and says how long it is; `None`: it does not fit, or its name does not
    pub(super) fn parse(bytes: &'d [u8]) -> Option<(Self, usize)> {
        let len = usize::from(*bytes.first()?);
        let bytes = bytes.get(..len)?;
        let name_len = usize::from(*bytes.get(NAME - 1)?);
        let name = bytes.get(NAME..NAME + name_len)?;
        // §9.1.12: a byte follows a name of even length, so that what comes next begins at an even one.
        let system_use = bytes.get(NAME + name_len + usize::from(name_len % 2 == 0)..).unwrap_or_default();
        (name_len > 0).then_some((Self { bytes, name, system_use }, len))
    }

    /// The block of its first byte, after the extended attributes, if any
    pub(super) fn block(&self) -> u32 {
        // `parse` has seen the 33 bytes of the fixed part.
        le32(self.bytes, 2).unwrap_or(0).saturating_add(self.bytes[1].into())
    }

    /// Bytes of its extent
    pub(super) fn len(&self) -> u32 {
        le32(self.bytes, 10).unwrap_or(0)
    }

    /// The date of the record
    pub(super) fn modified_s(&self) -> u32 {
        date::short(&self.bytes[18..25])
    }

    /// Whether it is a directory
    pub(super) fn is_directory(&self) -> bool {
        self.bytes[25] & 0x02 != 0
    }

    /// Whether it is of another file (a resource fork), not a file of its own
    pub(super) fn is_associated(&self) -> bool {
        self.bytes[25] & 0x04 != 0
    }

    /// Whether the next record holds more of the same file
    pub(super) fn goes_on(&self) -> bool {
        self.bytes[25] & 0x80 != 0
    }

    /// Whether its blocks lie between those of another file: nobody writes that, and nobody reads it
    pub(super) fn is_interleaved(&self) -> bool {
        self.bytes[26] != 0 || self.bytes[27] != 0
    }

    /// Whether it stands for the directory itself or for its parent
    pub(super) fn is_dot(&self) -> bool {
        matches!(self.name, [0 | 1])
    }
}
