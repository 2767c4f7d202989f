//! Rock Ridge (IEEE P1282) in the frame of SUSP (P1281): what a directory record's system use field adds
//!
//! Read are NM (name), PX (mode), TF (dates), SL (symbolic link), CL and RE (directories moved up, since ISO 9660 allows
//! eight levels), ZF (zisofs), and CE, which continues a field elsewhere. PL is not needed: the tree is read from above.

use super::{Fault, ReadAt, date, le32};
use crate::limits::{ISO_ENTRIES_MAX, ISO_NAME_MAX};

/// Areas that one record's field may continue in
const CONTINUATIONS_MAX: usize = 32;
/// No writer makes a continuation longer than a block
const CONTINUATION_MAX: u32 = 2048;

/// What was found
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// PX or ER were seen
    pub(super) is_rock: bool,
    /// Empty: none
    pub(super) name: Vec<u8>,
    pub(super) mode: Option<u32>,
    pub(super) modified_s: Option<u32>,
    /// The target of a symbolic link
    pub(super) link: Option<Vec<u8>>,
    /// The block of a directory that was moved elsewhere
    pub(super) child_block: Option<u32>,
    /// This is such a directory, where it was moved to
    pub(super) is_moved: bool,
    pub(super) is_compressed: bool,
}

/// Where fields are continued: blocks of the image, the last of which is kept
pub(super) struct Area<'i, R> {
    image: &'i R,
    len: u64,
    block_size: u64,
    kept: Vec<u8>,
    kept_at: Option<u64>,
    asked: usize,
}

impl<'i, R: ReadAt> Area<'i, R> {
    pub(super) fn new(image: &'i R, len: u64, block_size: u64) -> Self {
        Self { image, len, block_size, kept: Vec::new(), kept_at: None, asked: 0 }
    }

    /// The bytes that CE names
    fn at(&mut self, block: u32, offset: u32, len: u32) -> Result<Option<Vec<u8>>, Fault> {
        if len > CONTINUATION_MAX || offset > CONTINUATION_MAX {
            return Ok(None);
        }
        self.asked += 1;
        if self.asked > ISO_ENTRIES_MAX {
            return Err(Fault::TooLarge);
        }
        let at = u64::from(block) * self.block_size;
        if self.kept_at != Some(at) {
            let room = self.len.saturating_sub(at).min(2 * u64::from(CONTINUATION_MAX));
            self.kept.resize(usize::try_from(room).unwrap_or(0), 0);
            self.kept_at = None;
            self.image.read_exact_at(&mut self.kept, at)?;
            self.kept_at = Some(at);
        }
        let start = offset as usize;
        Ok(self.kept.get(start..start + len as usize).map(<[u8]>::to_vec))
    }
}

/// What is open from one field to the next
#[derive(Default)]
struct Unfinished {
    name_goes_on: bool,
    name_ended: bool,
    link_goes_on: bool,
    /// The last component of the link goes on in the next
    part_goes_on: bool,
}

impl Fields {
    /// Reads a system use field, and where it is continued
    pub(super) fn read(system_use: &[u8], area: &mut Area<'_, impl ReadAt>) -> Result<Self, Fault> {
        let mut fields = Self::default();
        let mut unfinished = Unfinished { name_goes_on: true, link_goes_on: true, ..Unfinished::default() };
        let mut next = fields.take(system_use, &mut unfinished);
        for _ in 0..CONTINUATIONS_MAX {
            let Some((block, offset, len)) = next else { break };
            let Some(bytes) = area.at(block, offset, len)? else { break };
            next = fields.take(&bytes, &mut unfinished);
        }
        Ok(fields)
    }

    /// Takes the fields of one area; returns where they go on
    fn take(&mut self, mut bytes: &[u8], unfinished: &mut Unfinished) -> Option<(u32, u32, u32)> {
        let mut next = None;
        while let &[first, second, len, _, ..] = bytes {
            let Some((field, rest)) = bytes.split_at_checked(len.into()) else { break };
            let Some(body) = field.get(4..) else { break };
            match &[first, second] {
                b"CE" => next = le32(body, 0).zip(le32(body, 8)).zip(le32(body, 16)),
                b"ST" => break,
                b"ER" => self.is_rock |= is_rock_extension(body),
                b"PX" => {
                    self.is_rock = true;
                    self.mode = le32(body, 0);
                }
                b"NM" => self.take_name(body, unfinished),
                b"TF" => self.modified_s = modified(body).or(self.modified_s),
                b"SL" => self.take_link(body, unfinished),
                b"CL" => self.child_block = le32(body, 0),
                b"RE" => self.is_moved = true,
                // The algorithm `pz` is the only one that anybody writes; another one is no less unreadable.
                b"ZF" => self.is_compressed = true,
                _ => {}
            }
            bytes = rest;
        }
        next.map(|((block, offset), len)| (block, offset, len))
    }

    fn take_name(&mut self, body: &[u8], unfinished: &mut Unfinished) {
        let Some((&flags, part)) = body.split_first() else { return };
        // Bits 1 and 2: the directory itself and its parent, whose names are known.
        if flags & 0x06 != 0 || unfinished.name_ended || self.name.len() + part.len() > ISO_NAME_MAX {
            return;
        }
        if unfinished.name_goes_on {
            self.name.extend_from_slice(part);
        }
        unfinished.name_goes_on = flags & 0x01 != 0;
        unfinished.name_ended = !unfinished.name_goes_on;
    }

    fn take_link(&mut self, body: &[u8], unfinished: &mut Unfinished) {
        let Some((&flags, mut parts)) = body.split_first() else { return };
        if !unfinished.link_goes_on {
            return;
        }
        let target = self.link.get_or_insert_default();
        while let &[part_flags, len, ref rest @ ..] = parts {
            let Some((text, rest)) = rest.split_at_checked(len.into()) else { break };
            if target.len() + text.len() + 3 > ISO_NAME_MAX {
                break;
            }
            if !target.is_empty() && !unfinished.part_goes_on && !target.ends_with(b"/") {
                target.push(b'/');
            }
            match part_flags & 0x0e {
                0x02 => target.push(b'.'),
                0x04 => target.extend_from_slice(b".."),
                0x08 => target.push(b'/'),
                _ => target.extend_from_slice(text),
            }
            unfinished.part_goes_on = part_flags & 0x01 != 0;
            parts = rest;
        }
        unfinished.link_goes_on = flags & 0x01 != 0;
    }
}

/// ER: three lengths and a version, then the identifier
fn is_rock_extension(body: &[u8]) -> bool {
    let Some(&len) = body.first() else { return false };
    let id = body.get(4..4 + usize::from(len)).unwrap_or_default();
    matches!(id, b"RRIP_1991A" | b"IEEE_P1282" | b"IEEE_1282")
}

/// TF: a bit a date, in their order; the second is the modification
fn modified(body: &[u8]) -> Option<u32> {
    let (&flags, dates) = body.split_first()?;
    if flags & 0x02 == 0 {
        return None;
    }
    let len = if flags & 0x80 != 0 { 17 } else { 7 };
    let at = if flags & 0x01 != 0 { len } else { 0 };
    let date = dates.get(at..at + len)?;
    Some(if len == 17 { date::long(date) } else { date::short(date) })
}
