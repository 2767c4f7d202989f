//! What a flush consists of: which socket each reply leaves by, and how windows are cut into messages.
//!
//! Pure, so that any driver makes the same messages: this one's are sent by [`super::send`].

use crate::limits::{SEGMENTED_BYTES_MAX, UDP_PAYLOAD_MAX, WINDOWSIZE_MAX};
use crate::proto::outbox::{Body, Port, Slot, Window};
use crate::wire::tftp;

/// Bytes of a DATA packet before its payload
const HEADER_LEN: u16 = 4;
const _: () = assert!(HEADER_LEN as usize == tftp::DATA_HEADER_LEN);

/// The socket that a reply leaves by
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// TFTP's port
    Tftp,
    /// The shard's transfers
    Transfer,
    /// The boot server's port
    BootServer,
    /// DHCP replies that the kernel routes
    Routed,
    /// The packet socket of a network
    Link(usize),
}

impl Way {
    pub(super) fn of(slot: &Slot) -> Self {
        let route = &slot.route;
        match (route.port, slot.body, route.mac) {
            (Port::Tftp, ..) => Self::Tftp,
            (Port::Transfer, ..) => Self::Transfer,
            (_, Body::Frame(_), _) | (_, _, Some(_)) => Self::Link(route.network),
            (Port::Dhcp, _, None) => Self::Routed,
            (Port::BootServer, _, None) => Self::BootServer,
        }
    }

    /// Its place in a table of ways
    pub(super) fn index(self) -> usize {
        match self {
            Self::Tftp => 0,
            Self::Transfer => 1,
            Self::BootServer => 2,
            Self::Routed => 3,
            Self::Link(network) => 4 + network,
        }
    }
}

/// Lists the replies that may leave now by socket, each socket's in their order. Those that wait for a commit are left out.
pub(super) fn order(slots: &[Slot], ordered: &mut Vec<(Way, usize)>) {
    ordered.clear();
    let ready = slots.iter().enumerate().filter(|(_, slot)| !slot.after_commit);
    ordered.extend(ready.map(|(index, slot)| (Way::of(slot), index)));
    ordered.sort_unstable();
}

/// Consecutive blocks of a window that leave in one message, each behind its header
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Burst {
    pub(super) window: Window,
}

impl Burst {
    /// Its bytes, headers and all
    pub(super) fn bytes(self) -> usize {
        self.header_bytes() + self.window.len as usize
    }

    /// Bytes from one block's header to the next
    pub(super) fn stride(self) -> u16 {
        self.window.blksize.saturating_add(HEADER_LEN)
    }

    /// Where the kernel is to cut it
    pub(super) fn segment(self) -> Option<u16> {
        (self.window.blocks > 1).then(|| self.stride())
    }

    /// What is left after its first `blocks`, of which it has more
    pub(super) fn after(self, blocks: u16) -> Self {
        split(self.window, blocks).1
    }

    /// Bytes of its headers alone
    pub(super) fn header_bytes(self) -> usize {
        usize::from(self.window.blocks) * tftp::DATA_HEADER_LEN
    }

    /// One of its blocks alone
    pub(super) fn block(self, number: u16) -> Option<Self> {
        (number < self.window.blocks).then(|| split(split(self.window, number).1.window, 1).0)
    }

    /// Writes the headers of its blocks into memory, `stride` bytes from one to the next
    pub(super) fn emit_headers(self, region: &mut [u8], stride: usize) {
        for (block, number) in region.chunks_mut(stride).zip(0..) {
            let header = tftp::emit_data_header(self.window.first_block.wrapping_add(number));
            block[..tftp::DATA_HEADER_LEN].copy_from_slice(&header);
        }
    }
}

/// The first `blocks` blocks of a window, and the others
fn split(window: Window, blocks: u16) -> (Burst, Burst) {
    let (first, others) = window.split(blocks);
    (Burst { window: first }, Burst { window: others })
}

/// Cuts a window into messages: as many blocks as one segmented send takes, or one, where a block alone is longer than a
/// frame and has to be fragmented
pub(super) fn bursts(window: Window) -> impl Iterator<Item = Burst> {
    let stride = usize::from(window.blksize) + tftp::DATA_HEADER_LEN;
    let most = (SEGMENTED_BYTES_MAX / stride).min(WINDOWSIZE_MAX.into());
    let most = if stride > UDP_PAYLOAD_MAX { 1 } else { u16::try_from(most).unwrap_or(1) };
    let mut left = window;
    std::iter::from_fn(move || {
        if left.blocks == 0 {
            return None;
        }
        let (burst, others) = split(left, most.min(left.blocks));
        left = others.window;
        Some(burst)
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::boot::image::ImageId;
    use crate::proto::outbox::{Outbox, Route};
    use crate::wire::ethernet::MacAddr;

    fn window(len: u32, blksize: u16, blocks: u16) -> Window {
        Window { image: ImageId(1), offset: 1_000, len, blksize, first_block: 65_534, blocks }
    }

    #[test]
    fn a_window_is_cut_without_losing_a_byte() {
        for (len, blksize, blocks) in [
            (0, 512, 1),
            (512, 512, 2),
            (3 * 1468 + 7, 1468, 4),
            (64 * 1468, 1468, 64),
            (900, 8, 113),
            (131_000, 65_464, 3),
        ] {
            let whole = window(len, blksize, blocks);
            let (mut offset, mut number, mut blocks_seen) = (whole.offset, whole.first_block, 0);
            for burst in bursts(whole) {
                let part = burst.window;
                assert_eq!((part.offset, part.first_block, part.blksize), (offset, number, blksize));
                assert!(
                    part.blocks == 1 || burst.bytes() <= SEGMENTED_BYTES_MAX && part.blocks <= WINDOWSIZE_MAX
                );
                offset += u64::from(part.len);
                number = number.wrapping_add(part.blocks);
                blocks_seen += part.blocks;
            }
            assert_eq!((offset, blocks_seen), (whole.offset + u64::from(len), blocks), "{whole:?}");
        }
        assert_eq!(bursts(window(64 * 1468, 1468, 64)).count(), 2, "92 KiB are two sends");
        assert_eq!(bursts(window(3 * 8192, 8192, 3)).count(), 3, "a block that is fragmented leaves alone");
    }

    #[test]
    fn headers_lie_before_each_block_and_numbers_wrap() {
        let burst = bursts(window(10, 8, 3)).next().expect("one burst");
        assert_eq!((burst.bytes(), burst.segment()), (12 + 10, Some(12)));
        let mut region = vec![0xee; burst.bytes() - 1];
        burst.emit_headers(&mut region, burst.stride().into());
        assert_eq!(region[..4], [0, 3, 0xff, 0xfe]);
        assert_eq!(region[12..16], [0, 3, 0xff, 0xff]);
        let empty_last = bursts(window(16, 8, 3)).next().expect("one burst");
        let mut region = vec![0xee; empty_last.bytes()];
        empty_last.emit_headers(&mut region, 12);
        assert_eq!(region[24..], [0, 3, 0, 0], "the last block is empty, and its number 0");
        assert_eq!(empty_last.block(2), Some(empty_last.after(2)));
        assert_eq!(empty_last.block(3), None);
        let rest = empty_last.after(2).window;
        assert_eq!((rest.offset, rest.len, rest.first_block, rest.blocks), (1_016, 0, 0, 1));
    }

    #[test]
    fn replies_leave_by_their_socket_in_their_order() {
        let mut outbox = Outbox::new();
        let to = "192.168.99.5:68".parse().expect("an address");
        let route = |port, mac| Route { port, network: 1, source: Ipv4Addr::LOCALHOST, to, mac };
        let byte = |buffer: &mut [u8; 1472]| {
            buffer[0] = 1;
            Some(1)
        };
        outbox.datagram(route(Port::Transfer, None), byte);
        outbox.datagram(route(Port::Dhcp, Some(MacAddr::BROADCAST)), byte);
        outbox.datagram_after_commit(route(Port::Dhcp, None), byte);
        outbox.window(route(Port::Transfer, None), window(8, 8, 1));
        outbox.frame(1, byte);
        outbox.datagram(route(Port::Dhcp, None), byte);
        outbox.datagram(route(Port::BootServer, None), byte);
        let mut ordered = Vec::new();
        order(outbox.slots(), &mut ordered);
        let expected = [
            (Way::Transfer, 0),
            (Way::Transfer, 3),
            (Way::BootServer, 6),
            (Way::Routed, 5),
            (Way::Link(1), 1),
            (Way::Link(1), 4),
        ];
        assert_eq!(ordered, expected);
    }
}
