//! Writing pcapng (draft-ietf-opsawg-pcapng): one little-endian section, stamps in microseconds.

use std::io::{self, Write};

use super::pcapng::{
    BYTE_ORDER_MAGIC, ENHANCED_PACKET, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS, SECTION_HEADER,
};

const ETHERNET: u16 = 1;
/// `opt_endofopt`
const END: u16 = 0;
/// `opt_comment`
const COMMENT: u16 = 1;
/// `if_name`
const IF_NAME: u16 = 2;
/// `shb_userappl`
const APPLICATION: u16 = 4;
/// `isb_ifdrop`
const DROPPED: u16 = 5;
/// A comment's bytes: a line of it is plenty, and its length field has 16 bits
const COMMENT_MAX: usize = 1_024;

/// What is told of an interface at the end.
#[derive(Clone, Copy, Debug)]
pub struct Statistics<'t> {
    /// When, in µs since 1970.
    pub time_us: u64,
    /// Packets that were seen and not kept.
    pub dropped: u64,
    /// What else there is to say.
    pub comment: &'t str,
}

/// Blocks go into a file as they are given; Ethernet frames only.
#[derive(Debug)]
pub struct Blocks<W> {
    file: W,
    written: u64,
    interfaces: u32,
    block: Vec<u8>,
}

impl<W: Write> Blocks<W> {
    /// Writes the section's head; `application` is who writes it.
    pub fn new(file: W, application: &str) -> io::Result<Self> {
        let mut blocks = Self { file, written: 0, interfaces: 0, block: Vec::new() };
        blocks.begin(SECTION_HEADER);
        blocks.number(BYTE_ORDER_MAGIC);
        // Version 1.0, and a section whose length is not told.
        blocks.block.extend_from_slice(&[1, 0, 0, 0]);
        blocks.block.extend_from_slice(&u64::MAX.to_le_bytes());
        blocks.option(APPLICATION, application.as_bytes());
        blocks.end()?;
        Ok(blocks)
    }

    /// Describes an interface; packets name it by the number that is returned.
    pub fn interface(&mut self, name: &str) -> io::Result<u32> {
        self.begin(INTERFACE_DESCRIPTION);
        self.block.extend_from_slice(&ETHERNET.to_le_bytes());
        self.block.extend_from_slice(&[0; 2]);
        // No limit on how much is kept of a packet.
        self.number(0);
        self.option(IF_NAME, name.as_bytes());
        self.end()?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Appends what was kept of a frame that had `original_len` bytes, with comments.
    ///
    /// # Panics
    /// Where the interface was never described.
    pub fn packet<'t>(
        &mut self,
        interface: u32,
        time_us: u64,
        frame: &[u8],
        original_len: usize,
        comments: impl IntoIterator<Item = &'t str>,
    ) -> io::Result<()> {
        assert!(interface < self.interfaces, "an interface that was described");
        let len = |len: usize| u32::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
        let (kept_len, original_len) = (len(frame.len())?, len(original_len)?);
        self.begin(ENHANCED_PACKET);
        self.number(interface);
        self.stamp(time_us);
        self.number(kept_len);
        self.number(original_len);
        self.block.extend_from_slice(frame);
        self.pad();
        for comment in comments {
            self.comment(comment);
        }
        self.end()
    }

    /// Closes an interface's account.
    pub fn statistics(&mut self, interface: u32, statistics: &Statistics<'_>) -> io::Result<()> {
        self.begin(INTERFACE_STATISTICS);
        self.number(interface);
        self.stamp(statistics.time_us);
        self.comment(statistics.comment);
        self.option(DROPPED, &statistics.dropped.to_le_bytes());
        self.end()
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Hands what is buffered to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.number(kind);
        // The length, known at the end.
        self.number(0);
    }

    fn number(&mut self, number: u32) {
        self.block.extend_from_slice(&number.to_le_bytes());
    }

    fn stamp(&mut self, time_us: u64) {
        let [a, b, c, d, e, f, g, h] = time_us.to_le_bytes();
        self.block.extend_from_slice(&[e, f, g, h, a, b, c, d]);
    }

    fn comment(&mut self, text: &str) {
        let most = text.len().min(COMMENT_MAX);
        let end = (0..=most).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        if end > 0 {
            self.option(COMMENT, &text.as_bytes()[..end]);
        }
    }

    /// Cuts a value that an option cannot hold
    fn option(&mut self, code: u16, value: &[u8]) {
        let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.block.extend_from_slice(&code.to_le_bytes());
        self.block.extend_from_slice(&len.to_le_bytes());
        self.block.extend_from_slice(&value[..usize::from(len)]);
        self.pad();
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn end(&mut self) -> io::Result<()> {
        self.option(END, &[]);
        let len = u32::try_from(self.block.len() + 4)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?
            .to_le_bytes();
        self.block[4..8].copy_from_slice(&len);
        self.block.extend_from_slice(&len);
        self.file.write_all(&self.block)?;
        self.written += self.block.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LinkType, Packet, Reader};
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut file = Vec::new();
        let mut blocks = Blocks::new(&mut file, "a test").unwrap();
        let (first, second) = (blocks.interface("eth0").unwrap(), blocks.interface("eth1").unwrap());
        let time_us = 1_700_000_000_123_456;
        blocks.packet(second, time_us, b"12345", 1514, ["why", "because"]).unwrap();
        blocks.packet(first, time_us + 1, b"1234", 4, []).unwrap();
        let long = "ü".repeat(COMMENT_MAX);
        blocks.packet(first, time_us + 2, b"", 0, [long.as_str()]).unwrap();
        blocks.statistics(first, &Statistics { time_us, dropped: 7, comment: "7 were lost" }).unwrap();
        let written = blocks.written();
        assert_eq!(written, file.len() as u64);
        let packets: Vec<_> = Reader::new(&file).unwrap().map(Result::unwrap).collect();
        let link = LinkType::Ethernet;
        let packet = |time_us, data, original_len| Packet { time_us, link, data, original_len };
        assert_eq!(
            packets,
            [
                packet(time_us, &b"12345"[..], 1514),
                packet(time_us + 1, b"1234", 4),
                packet(time_us + 2, b"", 0)
            ]
        );
        assert!(file.windows(7).any(|seven| seven == b"because"));
    }
}
