//! The Internet checksum (RFC 1071), as IPv4 and UDP use it.

use std::net::Ipv4Addr;

/// A one's-complement sum in progress. Every part but the last must have an even length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes as big-endian 16-bit words; an odd last byte is padded with zero (RFC 1071 §1).
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        // Four bytes a step: a 64-bit accumulator takes 2^32 of them before it could overflow, more than any slice
        // a datagram can be.
        let (words, rest) = bytes.as_chunks::<4>();
        for word in words {
            self.0 += u64::from(u32::from_be_bytes(*word));
        }
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        self.0 += u64::from(u32::from_be_bytes(last));
        self
    }

    /// Adds one 16-bit word.
    #[must_use]
    pub fn word(mut self, word: u16) -> Self {
        self.0 += u64::from(word);
        self
    }

    /// Adds the IPv4 pseudo-header of RFC 768 for protocol UDP.
    #[must_use]
    pub fn udp_pseudo_header(self, source: Ipv4Addr, destination: Ipv4Addr, udp_len: u16) -> Self {
        self.bytes(&source.octets()).bytes(&destination.octets()).word(17).word(udp_len)
    }

    /// The checksum field that makes the sum come out right; zero over data that carries its checksum.
    #[must_use]
    pub fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !u16::try_from(sum).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::Sum;

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().bytes(&bytes).finish(), !0xddf2);
    }

    #[test]
    fn every_length_agrees_with_the_plain_sum() {
        let bytes: Vec<u8> = (0..=255).cycle().take(67).collect();
        for len in 0..bytes.len() {
            let plain: u32 = bytes[..len]
                .chunks(2)
                .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
                .sum();
            let folded = (plain >> 16) + (plain & 0xffff);
            assert_eq!(u32::from(!Sum::default().bytes(&bytes[..len]).finish()), folded, "{len} bytes");
        }
    }
}
