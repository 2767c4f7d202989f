//! Images made byte by byte, for what no program writes

#![allow(clippy::cast_possible_truncation, reason = "numbers chosen to fit")]

const PRIMARY: usize = 16 * 2048;
/// The block of the root directory
pub(in crate::content) const ROOT: usize = 20;

/// A directory record
pub(in crate::content) fn record(name: &[u8], block: u32, len: u32, flags: u8, system_use: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 33];
    bytes[2..6].copy_from_slice(&block.to_le_bytes());
    bytes[10..14].copy_from_slice(&len.to_le_bytes());
    bytes[18..25].copy_from_slice(&[126, 1, 1, 0, 0, 0, 0]);
    bytes[25] = flags;
    bytes[32] = name.len() as u8;
    bytes.extend_from_slice(name);
    if name.len().is_multiple_of(2) {
        bytes.push(0);
    }
    bytes.extend_from_slice(system_use);
    bytes[0] = bytes.len() as u8;
    bytes
}

/// An image of 64 blocks whose directories are given, each at its block
pub(in crate::content) fn image(directories: &[(usize, &[Vec<u8>])]) -> Vec<u8> {
    let mut image = vec![0; 64 * 2048];
    image[PRIMARY..][..6].copy_from_slice(b"\x01CD001");
    image[PRIMARY + 128..][..2].copy_from_slice(&2048_u16.to_le_bytes());
    let root = record(&[0], ROOT as u32, 2048, 2, b"");
    image[PRIMARY + 156..][..root.len()].copy_from_slice(&root);
    image[PRIMARY + 2048..][..6].copy_from_slice(b"\xffCD001");
    for (block, records) in directories {
        let bytes = records.concat();
        image[block * 2048..][..bytes.len()].copy_from_slice(&bytes);
    }
    image
}

/// What every directory begins with
pub(in crate::content) fn dots(block: u32) -> [Vec<u8>; 2] {
    [record(&[0], block, 2048, 2, b""), record(&[1], ROOT as u32, 2048, 2, b"")]
}
