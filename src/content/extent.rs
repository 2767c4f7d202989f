//! Where the bytes of a file lie: pieces of the file that holds them, in order. Most files are one piece.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that lie side by side
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Extent {
    /// From the beginning of the file that holds them
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// All pieces of a file
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Extents(Box<[Piece]>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Piece {
    extent: Extent,
    /// Where it ends, from the beginning of the pieces
    end: u64,
}

impl Extents {
    /// These pieces, in their order; empty ones are left out
    pub(super) fn of(extents: &[Extent]) -> Self {
        let mut end = 0;
        let pieces = extents.iter().filter(|extent| extent.len > 0).map(|&extent| {
            end += extent.len;
            Piece { extent, end }
        });
        Self(pieces.collect())
    }

    /// A whole file
    pub(super) fn whole(len: u64) -> Self {
        Self::of(&[Extent { offset: 0, len }])
    }

    /// How many bytes they are
    pub(super) fn len(&self) -> u64 {
        self.0.last().map_or(0, |piece| piece.end)
    }

    /// What lies side by side from the byte `at` of the pieces on; empty at their end
    pub(super) fn from(&self, at: u64) -> Extent {
        let number = self.0.partition_point(|piece| piece.end <= at);
        let Some(&Piece { extent, end }) = self.0.get(number) else { return Extent { offset: 0, len: 0 } };
        let len = end - at;
        Extent { offset: extent.offset + extent.len - len, len }
    }

    /// Fills `buffer` with what follows the byte `at`
    pub(super) fn read_exact_at(&self, file: &File, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            let extent = self.from(at);
            if extent.len == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let len = usize::try_from(extent.len).map_or(buffer.len(), |len| len.min(buffer.len()));
            let (now, later) = buffer.split_at_mut(len);
            file.read_exact_at(now, extent.offset)?;
            (buffer, at) = (later, at + len as u64);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_found_in_its_piece() {
        let extent = |offset, len| Extent { offset, len };
        let extents = Extents::of(&[extent(100, 10), extent(500, 0), extent(20, 5), extent(30, 1)]);
        assert_eq!(extents.len(), 16);
        for (at, expected) in [
            (0, extent(100, 10)),
            (9, extent(109, 1)),
            (10, extent(20, 5)),
            (14, extent(24, 1)),
            (15, extent(30, 1)),
        ] {
            assert_eq!(extents.from(at), expected, "{at}");
        }
        assert_eq!((extents.from(16).len, extents.from(u64::MAX).len), (0, 0));
        assert_eq!(Extents::whole(7).from(3), extent(3, 4));
        assert_eq!((Extents::whole(0).len(), Extents::whole(0).from(0).len), (0, 0));
    }
}
