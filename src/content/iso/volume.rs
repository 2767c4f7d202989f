//! Volume descriptors: which of the image's trees is read, and how (ECMA-119 §8), and what else there is

use super::record::Record;
use super::rock::{self, Area};
use super::{Fault, ReadAt, SECTOR, le32};

/// Descriptors begin at this sector: the system area before it is the boot loader's
const FIRST_SECTOR: u64 = 16;
/// An image has three or four; a chain without an end is no image
const DESCRIPTORS_MAX: u64 = 64;
const BLOCK_SIZE: usize = 128;
/// El Torito §2.0: what its boot record is called, and where that names the catalogue
const EL_TORITO: &[u8] = b"EL TORITO SPECIFICATION\0";
const CATALOGUE: usize = 71;
const ROOT_RECORD: std::ops::Range<usize> = 156..190;

/// How names are read
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// Rock Ridge, which begins so many bytes into each system use field (SUSP 5.3)
    Rock { skip: usize },
    /// UCS-2, big-endian
    Joliet,
    /// `NAME.EXT;1`
    Plain,
}

/// The tree that is read
#[derive(Clone, Copy, Debug)]
pub(super) struct Volume {
    pub(super) naming: Naming,
    pub(super) block_size: u64,
    pub(super) root: Root,
    /// The sector of El Torito's catalogue of what firmware starts
    pub(super) catalogue: Option<u32>,
    /// There is a UDF file system too, which may have other files
    pub(super) has_udf: bool,
}

/// Where its root lies
#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    pub(super) block: u32,
    pub(super) len: u32,
    pub(super) modified_s: u32,
}

impl Volume {
    /// Reads the descriptors: the primary tree where it has Rock Ridge, else Joliet's where there is one
    pub(super) fn read(image: &impl ReadAt, len: u64) -> Result<Self, Fault> {
        let mut sector = [0; SECTOR];
        let (mut primary, mut joliet) = (None, None);
        let (mut catalogue, mut has_udf, mut ended) = (None, false, false);
        for number in FIRST_SECTOR..FIRST_SECTOR + DESCRIPTORS_MAX {
            let at = number * SECTOR as u64;
            if len < at + SECTOR as u64 {
                break;
            }
            image.read_exact_at(&mut sector, at)?;
            match &sector[1..6] {
                b"CD001" if !ended => {}
                // ECMA-167 §2/9: descriptors of other file systems follow.
                b"CD001" | b"BEA01" | b"BOOT2" | b"TEA01" => continue,
                b"NSR02" | b"NSR03" => {
                    has_udf = true;
                    continue;
                }
                _ => break,
            }
            match sector[0] {
                0 if sector[7..].starts_with(EL_TORITO) => catalogue = catalogue.or(le32(&sector, CATALOGUE)),
                1 if primary.is_none() => primary = Some(Self::of(&sector, Naming::Plain)?),
                2 if joliet.is_none() && is_joliet(&sector) => {
                    joliet = Some(Self::of(&sector, Naming::Joliet)?);
                }
                255 => ended = true,
                _ => {}
            }
        }
        let primary: Self = primary.ok_or(if has_udf { Fault::OnlyUdf } else { Fault::NotIso })?;
        let naming = rock_of(image, len, &primary)?.unwrap_or(Naming::Plain);
        let tree = match joliet {
            Some(joliet) if naming == Naming::Plain => joliet,
            _ => Self { naming, ..primary },
        };
        Ok(Self { catalogue, has_udf, ..tree })
    }

    fn of(sector: &[u8; SECTOR], naming: Naming) -> Result<Self, Fault> {
        let block_size = u16::from_le_bytes([sector[BLOCK_SIZE], sector[BLOCK_SIZE + 1]]);
        if !matches!(block_size, 512 | 1024 | 2048) {
            return Err(Fault::BlockSize(block_size));
        }
        let (record, _) =
            Record::parse(&sector[ROOT_RECORD]).ok_or_else(|| Fault::Directory("/".to_owned()))?;
        let root = Root { block: record.block(), len: record.len(), modified_s: record.modified_s() };
        Ok(Self { naming, block_size: block_size.into(), root, catalogue: None, has_udf: false })
    }
}

/// The escape sequences of UCS-2, levels 1 to 3 (Joliet 1995)
fn is_joliet(sector: &[u8; SECTOR]) -> bool {
    matches!(&sector[88..91], b"%/@" | b"%/C" | b"%/E")
}

/// Whether the root's own record says that Rock Ridge is in use: SP begins SUSP, and PX or ER tell that it is Rock Ridge
fn rock_of(image: &impl ReadAt, len: u64, volume: &Volume) -> Result<Option<Naming>, Fault> {
    let at = u64::from(volume.root.block) * volume.block_size;
    if len < at + SECTOR as u64 {
        return Err(Fault::CutShort("its root directory".to_owned()));
    }
    let mut sector = [0; SECTOR];
    image.read_exact_at(&mut sector, at)?;
    let Some((record, _)) = Record::parse(&sector) else { return Err(Fault::Directory("/".to_owned())) };
    let &[b'S', b'P', 7, 1, 0xbe, 0xef, skip, ..] = record.system_use else { return Ok(None) };
    let mut area = Area::new(image, len, volume.block_size);
    let rock = rock::Fields::read(record.system_use, &mut area)?;
    Ok(rock.is_rock.then_some(Naming::Rock { skip: skip.into() }))
}
