//! El Torito: what firmware starts an image from ("El Torito" Bootable CD-ROM Format Specification 1.0, 1995)
//!
//! The catalogue names boot images by platform. That of UEFI (UEFI §13.3.2.1) is a FAT file system with `EFI/BOOT/…` in it;
//! how long it is the catalogue says in 16 bits, so often wrongly, and the file system itself is asked.

use super::{Fault, ReadAt, SECTOR};

const ENTRY: usize = 32;
const PLATFORM_EFI: u8 = 0xef;
const BOOTABLE: u8 = 0x88;

/// Where the boot image of UEFI begins; `None`: the catalogue has none, or is damaged as firmware sees it
pub(super) fn efi_image(image: &impl ReadAt, len: u64, catalogue: u32) -> Result<Option<u64>, Fault> {
    let at = u64::from(catalogue) * SECTOR as u64;
    if at + SECTOR as u64 > len {
        return Ok(None);
    }
    let mut bytes = [0; SECTOR];
    image.read_exact_at(&mut bytes, at)?;
    Ok(entry_of(&bytes).map(|block| u64::from(block) * SECTOR as u64).filter(|&offset| offset < len))
}

fn entry_of(catalogue: &[u8; SECTOR]) -> Option<u32> {
    let mut entries = catalogue.chunks_exact(ENTRY);
    let validation = entries.next().filter(|entry| is_validation(entry))?;
    let mut platform = validation[1];
    // The first entry is the default one, without a header; after it come sections of them.
    let mut left = 1;
    let mut is_last = false;
    for entry in entries {
        match entry[0] {
            // An extension of the entry before
            0x44 => {}
            _ if left > 0 => {
                if entry[0] == BOOTABLE && platform == PLATFORM_EFI {
                    return block_of(entry);
                }
                left -= 1;
            }
            header @ (0x90 | 0x91) if !is_last => {
                is_last = header == 0x91;
                platform = entry[1];
                left = u16::from_le_bytes([entry[2], entry[3]]);
            }
            _ => return None,
        }
    }
    None
}

/// Words that add up to 0, and two bytes that say that it is one
fn is_validation(entry: &[u8]) -> bool {
    let words = entry.chunks_exact(2).map(|word| u16::from_le_bytes([word[0], word[1]]));
    entry[0] == 1 && entry.ends_with(&[0x55, 0xaa]) && words.fold(0, u16::wrapping_add) == 0
}

fn block_of(entry: &[u8]) -> Option<u32> {
    super::le32(entry, 8).filter(|&block| block != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(platform: u8, entries: &[&[u8]]) -> [u8; SECTOR] {
        let mut bytes = [0; SECTOR];
        bytes[..2].copy_from_slice(&[1, platform]);
        bytes[30..32].copy_from_slice(&[0x55, 0xaa]);
        let sum = 0xaa55_u16.wrapping_add(u16::from_le_bytes([1, platform]));
        bytes[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
        for (number, entry) in entries.iter().enumerate() {
            bytes[(number + 1) * ENTRY..][..entry.len()].copy_from_slice(entry);
        }
        bytes
    }

    #[test]
    fn the_entry_of_uefi_is_found_where_it_is() {
        let bios: &[u8] = &[BOOTABLE, 0, 0, 0, 0, 0, 4, 0, 30];
        let efi: &[u8] = &[BOOTABLE, 0, 0, 0, 0, 0, 0, 0, 40];
        let [more, last] = [&[0x90_u8, 0, 1][..], &[0x91, PLATFORM_EFI, 2]];
        let extension: &[u8] = &[0x44];
        assert_eq!(entry_of(&catalogue(PLATFORM_EFI, &[efi])), Some(40), "the default entry");
        assert_eq!(entry_of(&catalogue(0, &[bios, last, efi])), Some(40));
        assert_eq!(entry_of(&catalogue(0, &[bios, more, bios, extension, last, &[0], efi])), Some(40));
        assert_eq!(entry_of(&catalogue(0, &[bios])), None);
        assert_eq!(entry_of(&catalogue(0, &[bios, last, &[0], &[0], efi])), None, "it is of no section");
        let one: &[u8] = &[0x91, PLATFORM_EFI, 1];
        assert_eq!(entry_of(&catalogue(0, &[bios, one, &[0], one, efi])), None, "two last sections");
        let mut damaged = catalogue(PLATFORM_EFI, &[efi]);
        damaged[5] = 1;
        assert_eq!(entry_of(&damaged), None);
        let endless: Vec<&[u8]> = vec![&[0x90, 0, 0]; 63];
        assert_eq!(entry_of(&catalogue(0, &endless)), None);
    }
}
