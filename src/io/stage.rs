//! Messages that are ready to be sent, in memory taken once: headers, and the blocks that had to be read from their files.
//!
//! Blocks that are in memory already stay where they are: their headers lie here, and a message is gathered of both.

use std::io;
use std::iter;
use std::ops::Range;

use super::flush::Burst;
use super::sys::file;
use crate::boot::image::ImageId;
use crate::content::Tree;
use crate::limits::{BATCH, STAGE_BYTES};
use crate::wire::tftp;

/// One message: bytes of the stage, then those of its slot
#[derive(Clone, Debug)]
pub(super) struct Staged {
    /// Index of the reply
    pub(super) slot: usize,
    /// The blocks that it is; `None`: its bytes in the stage are headers
    pub(super) burst: Option<Burst>,
    /// The contents of its blocks are not in the stage, but in memory with their image
    is_gathered: bool,
    range: Range<usize>,
}

impl Staged {
    /// One block of a burst as a message of its own
    pub(super) fn block(&self, number: u16) -> Option<Self> {
        let burst = self.burst?.block(number)?;
        let stride = if self.is_gathered { tftp::DATA_HEADER_LEN } else { burst.stride().into() };
        let start = self.range.start + usize::from(number) * stride;
        let range = start..self.range.end.min(start + stride);
        Some(Self { burst: Some(burst), range, ..*self })
    }
}

/// Room for the messages of one call
pub(super) struct Stage {
    bytes: Vec<u8>,
    used: usize,
    messages: Vec<Staged>,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; STAGE_BYTES], used: 0, messages: Vec::with_capacity(BATCH) }
    }

    /// Whether one more message with so many bytes in the stage fits
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.messages.len() < BATCH && self.bytes.len() - self.used >= bytes
    }

    /// The messages, in order
    pub(super) fn messages(&self) -> &[Staged] {
        &self.messages
    }

    /// The bytes of a message, piece by piece, but for those of its slot
    pub(super) fn parts<'m>(&'m self, staged: &Staged, images: &'m Tree) -> Parts<'m> {
        let bytes = &self.bytes[staged.range.clone()];
        match staged.burst.filter(|_| staged.is_gathered) {
            Some(burst) => Parts::Gathered(Gathered::new(bytes, burst, images)),
            None => Parts::Whole(iter::once(bytes)),
        }
    }

    /// Adds a reply with the headers that go before its slot's bytes; there is room
    pub(super) fn push(&mut self, slot: usize, headers: &[u8]) {
        let range = self.take(headers.len());
        self.bytes[range.clone()].copy_from_slice(headers);
        self.messages.push(Staged { slot, burst: None, is_gathered: false, range });
    }

    /// Adds blocks of an image that are in memory, and stay there until the message is sent; there is room for their headers
    pub(super) fn push_gathered(&mut self, slot: usize, burst: Burst) {
        let range = self.take(burst.header_bytes());
        burst.emit_headers(&mut self.bytes[range.clone()], tftp::DATA_HEADER_LEN);
        self.messages.push(Staged { slot, burst: Some(burst), is_gathered: true, range });
    }

    /// Adds blocks of an image, read from its file; there is room
    ///
    /// # Errors
    /// Where the image cannot be read, or is not what was opened any more: nothing is added.
    pub(super) fn push_read(&mut self, slot: usize, burst: Burst, images: &mut Tree) -> io::Result<()> {
        let range = self.take(burst.bytes());
        let region = &mut self.bytes[range.clone()];
        if let Err(error) = read(images, burst, region) {
            self.used = range.start;
            return Err(error);
        }
        burst.emit_headers(region, burst.stride().into());
        self.messages.push(Staged { slot, burst: Some(burst), is_gathered: false, range });
        Ok(())
    }

    fn take(&mut self, len: usize) -> Range<usize> {
        let start = self.used;
        self.used += len;
        start..self.used
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.messages.clear();
    }
}

/// The bytes of a message, piece by piece
pub(super) enum Parts<'m> {
    /// They lie side by side
    Whole(iter::Once<&'m [u8]>),
    /// Headers here, contents there
    Gathered(Gathered<'m>),
}

impl<'m> Iterator for Parts<'m> {
    type Item = &'m [u8];

    fn next(&mut self) -> Option<&'m [u8]> {
        match self {
            Self::Whole(part) => part.next(),
            Self::Gathered(parts) => parts.next(),
        }
    }
}

/// Blocks, each its header and then its content, in one piece or two
pub(super) struct Gathered<'m> {
    headers: std::slice::ChunksExact<'m, u8>,
    images: &'m Tree,
    image: ImageId,
    /// What follows, as far as it lies side by side
    content: &'m [u8],
    /// Where it ends in the image
    content_end: u64,
    blksize: usize,
    /// Bytes of content that are still to come: of this block, and of those behind it
    block_left: usize,
    left: usize,
}

impl<'m> Gathered<'m> {
    fn new(headers: &'m [u8], burst: Burst, images: &'m Tree) -> Self {
        let window = burst.window;
        Self {
            headers: headers.chunks_exact(tftp::DATA_HEADER_LEN),
            images,
            image: window.image,
            content: &[],
            content_end: window.offset,
            blksize: window.blksize.into(),
            block_left: 0,
            left: window.len as usize,
        }
    }
}

impl<'m> Iterator for Gathered<'m> {
    type Item = &'m [u8];

    fn next(&mut self) -> Option<&'m [u8]> {
        if self.block_left == 0 {
            let header = self.headers.next()?;
            self.block_left = self.blksize.min(self.left);
            self.left -= self.block_left;
            return Some(header);
        }
        if self.content.is_empty() {
            let resident = self.images.resident_from(self.image, self.content_end);
            self.content = resident.expect("what was loaded stays while its image is open");
            self.content_end += self.content.len() as u64;
        }
        let (part, content) = self.content.split_at(self.block_left.min(self.content.len()));
        self.content = content;
        self.block_left -= part.len();
        Some(part)
    }
}

/// Reads the content of blocks to where they lie, of the version that was opened
fn read(images: &mut Tree, burst: Burst, region: &mut [u8]) -> io::Result<()> {
    let window = burst.window;
    let changed = || io::Error::from(io::ErrorKind::UnexpectedEof);
    images.read_ahead(window.image, window.offset, window.len.into());
    let part = images.file(window.image, window.offset).ok_or_else(changed)?;
    if part.len < window.len.into() {
        return read_apart(images, burst, region);
    }
    let (head, blksize) = (tftp::DATA_HEADER_LEN, window.blksize.into());
    let read = file::read_blocks(part.file, part.offset, region, head, blksize)?;
    if read != window.len as usize || !images.verify(window.image) {
        return Err(changed());
    }
    Ok(())
}

/// The same block by block, where the blocks do not lie side by side
fn read_apart(images: &mut Tree, burst: Burst, region: &mut [u8]) -> io::Result<()> {
    let mut offset = burst.window.offset;
    for block in region.chunks_mut(burst.stride().into()) {
        let content = &mut block[tftp::DATA_HEADER_LEN..];
        if images.read_at(burst.window.image, offset, content)? != content.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += content.len() as u64;
    }
    Ok(())
}
