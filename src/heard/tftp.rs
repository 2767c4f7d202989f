//! TFTP transfers of a capture: what was asked, granted and sent, and how far the client acknowledged it.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};

use super::What;
use super::frames::Seen;
use crate::time::Instant;
use crate::wire::pcap::Carried;
use crate::wire::tftp::{self, BLKSIZE_DEFAULT, DATA_HEADER_LEN, Options, PORT, Packet, Request};

/// One transfer
#[derive(Debug)]
pub(crate) struct Transfer<'c> {
    /// The frame's number of its request
    pub number: u32,
    pub at: Instant,
    /// When its last packet was seen
    pub ended_at: Instant,
    pub client: SocketAddrV4,
    pub server: Ipv4Addr,
    /// The request, as sent
    pub raw: &'c [u8],
    pub request: Request<'c>,
    /// It is a WRQ
    pub is_write: bool,
    /// The server's transfer identifier, once it answered
    pub port: Option<u16>,
    pub oack: Option<Options<'c>>,
    /// The server's ERROR
    pub error: Option<(u16, &'c [u8])>,
    /// The server takes what the client writes
    pub accepts: bool,
    /// The client's ERROR: its number
    pub stopped: Option<u16>,
    /// Blocks by their offset
    blocks: BTreeMap<u64, Block<'c>>,
    /// The highest block so far, counted without wrapping
    block: u64,
    has_acknowledged: bool,
}

#[derive(Clone, Copy, Debug)]
struct Block<'c> {
    kept: &'c [u8],
    len: u64,
}

impl<'c> Transfer<'c> {
    /// Bytes a block
    pub(crate) fn blksize(&self) -> u64 {
        self.oack.and_then(|oack| oack.blksize()).unwrap_or(BLKSIZE_DEFAULT).into()
    }

    /// How long the file is: by its last block, by what the server said, or at least
    pub(crate) fn size(&self) -> u64 {
        let seen = self.blocks.iter().next_back().map(|(offset, block)| (offset + block.len, block.len));
        let said = self.oack.and_then(|oack| oack.tsize());
        match (seen, said) {
            (Some((end, last)), _) if last < self.blksize() => end,
            (seen, said) => said.unwrap_or(0).max(seen.map_or(0, |(end, _)| end)),
        }
    }

    /// The server sent, or began to send, a file
    pub(crate) fn has_file(&self) -> bool {
        !self.is_write && (self.oack.is_some() || !self.blocks.is_empty())
    }

    /// What the capture kept of the file, by offset
    pub(crate) fn parts(&self) -> impl Iterator<Item = (u64, &'c [u8])> {
        self.blocks.iter().map(|(offset, block)| (*offset, block.kept))
    }

    /// What the capture kept of the bytes between two offsets
    pub(crate) fn parts_between(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, &'c [u8])> {
        self.blocks.range(from..to.max(from)).map(|(offset, block)| (*offset, block.kept))
    }

    /// The last block was seen
    pub(crate) fn is_whole(&self) -> bool {
        self.blocks.values().next_back().is_some_and(|block| block.len < self.blksize())
    }

    /// How many blocks were sent, up to the highest that was seen
    pub(crate) fn blocks(&self) -> u64 {
        self.block
    }

    /// How many bytes those held
    pub(crate) fn bytes(&self) -> u64 {
        self.blocks.iter().next_back().map_or(0, |(offset, block)| offset + block.len)
    }

    fn is_repeated_by(&self, raw: &[u8]) -> bool {
        self.raw == raw && !self.has_acknowledged && self.error.is_none() && self.stopped.is_none()
    }

    /// The block of that number nearest to the highest one: they wrap from 65535 to 0
    fn unwrapped(&self, number: u16) -> u64 {
        let low = self.block & 0xffff;
        let base = self.block - low;
        let number = u64::from(number);
        match (number + 0x8000 < low, low + 0x8000 < number) {
            (true, _) => base + 0x1_0000 + number,
            (_, true) => (base + number).saturating_sub(0x1_0000),
            _ => base + number,
        }
    }

    fn on_server(&mut self, datagram: &Carried<'c>) {
        self.port.get_or_insert(datagram.source.port());
        match tftp::parse(datagram.payload) {
            Ok(Packet::Oack(options)) => self.oack = self.oack.or(Some(options)),
            Ok(Packet::Error { code, message }) => self.error = self.error.or(Some((code, message))),
            Ok(Packet::Ack { .. }) => self.accepts |= self.is_write,
            Ok(Packet::Data { block, payload }) => {
                let block = self.unwrapped(block).max(1);
                self.block = self.block.max(block);
                let len = datagram.len.saturating_sub(DATA_HEADER_LEN) as u64;
                self.blocks.entry((block - 1) * self.blksize()).or_insert(Block { kept: payload, len });
            }
            _ => {}
        }
    }

    fn on_client(&mut self, index: usize, payload: &'c [u8]) -> Option<What<'c>> {
        match tftp::parse(payload) {
            Ok(Packet::Ack { block }) if !self.is_write => {
                self.has_acknowledged = true;
                Some(What::Acknowledged(index, self.unwrapped(block) * self.blksize()))
            }
            Ok(Packet::Error { code, .. }) => {
                self.stopped = self.stopped.or(Some(code));
                Some(What::Stopped(index, payload))
            }
            _ => None,
        }
    }
}

/// All transfers so far
#[derive(Debug, Default)]
pub(super) struct Transfers<'c> {
    transfers: Vec<Transfer<'c>>,
    /// The last transfer of each client's address and port
    latest: HashMap<SocketAddrV4, usize>,
}

impl<'c> Transfers<'c> {
    pub(super) fn on_datagram(&mut self, seen: &Seen<'c>) -> Option<What<'c>> {
        let datagram = &seen.carried;
        if datagram.destination.port() == PORT
            && let Ok(packet @ (Packet::Rrq(request) | Packet::Wrq(request))) = tftp::parse(datagram.payload)
        {
            let is_write = matches!(packet, Packet::Wrq(_));
            return Some(What::Tftp(self.on_request(seen, request, is_write)));
        }
        if let Some(index) = self.between(datagram.destination, datagram.source) {
            self.transfers[index].ended_at = seen.at;
            self.transfers[index].on_server(datagram);
            return None;
        }
        let index = self.between(datagram.source, datagram.destination)?;
        self.transfers[index].ended_at = seen.at;
        self.transfers[index].on_client(index, datagram.payload)
    }

    fn between(&self, client: SocketAddrV4, server: SocketAddrV4) -> Option<usize> {
        let index = *self.latest.get(&client)?;
        let transfer = &self.transfers[index];
        let port = transfer.port.unwrap_or(server.port());
        (transfer.server == *server.ip() && port == server.port()).then_some(index)
    }

    fn on_request(&mut self, seen: &Seen<'c>, request: Request<'c>, is_write: bool) -> usize {
        let datagram = &seen.carried;
        let (client, server) = (datagram.source, *datagram.destination.ip());
        if let Some(index) = self.latest.get(&client)
            && self.transfers[*index].server == server
            && self.transfers[*index].is_repeated_by(datagram.payload)
        {
            return *index;
        }
        self.latest.insert(client, self.transfers.len());
        self.transfers.push(Transfer {
            number: seen.number,
            at: seen.at,
            ended_at: seen.at,
            client,
            server,
            raw: datagram.payload,
            request,
            is_write,
            port: None,
            oack: None,
            error: None,
            accepts: false,
            stopped: None,
            blocks: BTreeMap::new(),
            block: 0,
            has_acknowledged: false,
        });
        self.transfers.len() - 1
    }

    pub(super) fn finish(self) -> Vec<Transfer<'c>> {
        self.transfers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::pcap::Transport;
    const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 2000);

    /// Hears a packet of the client, or of the server's port 3000
    fn hear<'c>(transfers: &mut Transfers<'c>, from_client: bool, payload: &'c [u8]) -> Option<What<'c>> {
        let port = if payload[1] == 1 { PORT } else { 3000 };
        let server = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), port);
        let (source, destination) = if from_client { (CLIENT, server) } else { (server, CLIENT) };
        let carried = Carried {
            source_mac: None,
            source,
            destination,
            transport: Transport::Udp,
            payload,
            len: payload.len(),
            packet_at: 0,
            ip_header_len: 20,
            header_len: 8,
        };
        transfers.on_datagram(&Seen { number: 1, at: Instant::ZERO, carried })
    }

    #[test]
    fn block_numbers_wrap() {
        let mut transfers = Transfers::default();
        hear(&mut transfers, true, b"\0\x01a\0octet\0blksize\08\0");
        hear(&mut transfers, false, b"\0\x06blksize\08\0");
        let transfer = &mut transfers.transfers[0];
        for (highest, number, block) in
            [(0, 1, 1), (5, 3, 3), (65_535, 0, 65_536), (65_536, 65_535, 65_535), (65_537, 2, 65_538)]
        {
            transfer.block = highest;
            assert_eq!(transfer.unwrapped(number), block, "{number} after {highest}");
        }
    }

    #[test]
    fn a_transfer_is_put_together_from_both_sides() {
        let mut transfers = Transfers::default();
        let request = b"\0\x01a\0octet\0";
        assert!(matches!(hear(&mut transfers, true, request), Some(What::Tftp(0))));
        assert!(matches!(hear(&mut transfers, true, request), Some(What::Tftp(0))), "asked again");
        let block = [&b"\0\x03\0\x01"[..], &[7; 512]].concat();
        let last = b"\0\x03\0\x02end";
        assert!(hear(&mut transfers, false, Box::leak(block.into_boxed_slice())).is_none());
        assert!(matches!(hear(&mut transfers, true, b"\0\x04\0\x01"), Some(What::Acknowledged(0, 512))));
        hear(&mut transfers, false, last);
        assert!(matches!(hear(&mut transfers, true, request), Some(What::Tftp(1))), "a new one");
        let transfer = &transfers.transfers[0];
        assert_eq!((transfer.size(), transfer.blocks(), transfer.bytes()), (515, 2, 515));
        assert!(transfer.is_whole() && transfer.has_file());
        assert_eq!(transfer.parts_between(512, 600).collect::<Vec<_>>(), [(512, &b"end"[..])]);
    }
}
