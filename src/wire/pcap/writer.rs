//! Writing pcap: Ethernet, microseconds, little-endian.

use std::io::{self, Write};

use super::MAGIC_US;

/// Frames go into a file as they are given.
#[derive(Debug)]
pub struct Writer<W> {
    file: W,
}

impl<W: Write> Writer<W> {
    /// Writes the file's head.
    pub fn new(mut file: W) -> io::Result<Self> {
        const VERSION: [u16; 2] = [2, 4];
        const SNAP_LEN: u32 = 262_144;
        const ETHERNET: u32 = 1;
        file.write_all(&MAGIC_US.to_le_bytes())?;
        for number in VERSION {
            file.write_all(&number.to_le_bytes())?;
        }
        // Time zone and accuracy: zero in every file ever written.
        file.write_all(&[0; 8])?;
        file.write_all(&SNAP_LEN.to_le_bytes())?;
        file.write_all(&ETHERNET.to_le_bytes())?;
        Ok(Self { file })
    }

    /// Appends a frame seen at that time, in µs since 1970. The format's seconds end in 2106.
    pub fn packet(&mut self, time_us: u64, frame: &[u8]) -> io::Result<()> {
        let too_big = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let seconds = u32::try_from(time_us / 1_000_000).map_err(too_big)?;
        let fraction = u32::try_from(time_us % 1_000_000).map_err(too_big)?;
        let len = u32::try_from(frame.len()).map_err(too_big)?;
        for number in [seconds, fraction, len, len] {
            self.file.write_all(&number.to_le_bytes())?;
        }
        self.file.write_all(frame)
    }

    /// Gives the file back, flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.file.flush()?;
        Ok(self.file)
    }
}
