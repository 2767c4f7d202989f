//! Messages that are ready to be sent: blocks read from their images, and headers, in memory taken once.

use std::io;
use std::ops::Range;

use super::flush::Burst;
use super::sys::file;
use crate::content::Tree;
use crate::limits::{BATCH, STAGE_BYTES};
use crate::time::Instant;
use crate::wire::tftp;

/// One message: bytes of the stage, then those of its slot
#[derive(Clone, Debug)]
pub(super) struct Staged {
    /// Index of the reply
    pub(super) slot: usize,
    /// The blocks that its bytes in the stage are; `None`: they are headers
    pub(super) burst: Option<Burst>,
    range: Range<usize>,
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

    /// The bytes of a message that lie in the stage
    pub(super) fn bytes(&self, message: &Staged) -> &[u8] {
        &self.bytes[message.range.clone()]
    }

    /// Adds a reply with the headers that go before its slot's bytes; there is room
    pub(super) fn push(&mut self, slot: usize, headers: &[u8]) {
        let range = self.take(headers.len());
        self.bytes[range.clone()].copy_from_slice(headers);
        self.messages.push(Staged { slot, burst: None, range });
    }

    /// Adds blocks of an image; there is room
    ///
    /// # Errors
    /// Where the image cannot be read, or is not what was opened any more: nothing is added.
    pub(super) fn push_burst(
        &mut self,
        now: Instant,
        slot: usize,
        burst: Burst,
        images: &mut Tree,
    ) -> io::Result<()> {
        let range = self.take(burst.bytes());
        let region = &mut self.bytes[range.clone()];
        if let Err(error) = read(now, images, burst, region) {
            self.used = range.start;
            return Err(error);
        }
        burst.emit_headers(region);
        self.messages.push(Staged { slot, burst: Some(burst), range });
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

/// Reads the content of blocks to where they lie, from memory or from the file, of the version that was opened
fn read(now: Instant, images: &mut Tree, burst: Burst, region: &mut [u8]) -> io::Result<()> {
    let window = burst.window;
    if window.len == 0 {
        return Ok(());
    }
    if images.load(now, window.image, window.offset, window.len as usize) {
        let blocks = region.chunks_mut(burst.stride().into());
        let contents = blocks.filter_map(|block| block.get_mut(tftp::DATA_HEADER_LEN..));
        if images.copy(window.image, window.offset, contents) {
            return Ok(());
        }
    }
    let changed = || io::Error::from(io::ErrorKind::UnexpectedEof);
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
