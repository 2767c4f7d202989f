//! Who is called what from here on: the same one always the same, nobody as before, and as long as before.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher};
use std::net::Ipv4Addr;

/// The host parts of addresses where no netmask is seen
const PREFIX: u8 = 24;

/// The new names
#[derive(Debug)]
pub(super) struct Names {
    key: u64,
    macs: HashMap<[u8; 6], [u8; 6]>,
    uuids: HashSet<[u8; 16]>,
    clients: HashSet<Ipv4Addr>,
    /// The shortest netmask: what lies behind it stays, so that who was in a subnet still is
    prefix: u8,
}

impl Names {
    pub(super) fn new(key: u64) -> Self {
        let (macs, uuids, clients) = (HashMap::new(), HashSet::new(), HashSet::new());
        Self { key, macs, uuids, clients, prefix: PREFIX }
    }

    pub(super) fn learn_netmask(&mut self, mask: [u8; 4]) {
        let ones = u32::from_be_bytes(mask).leading_ones();
        if (8..=32).contains(&ones) {
            self.prefix = self.prefix.min(u8::try_from(ones).unwrap_or(PREFIX));
        }
    }

    pub(super) fn learn_uuid(&mut self, uuid: [u8; 16]) {
        self.uuids.insert(uuid);
    }

    /// Loaders ask for files by their address in hexadecimal digits
    pub(super) fn learn_client(&mut self, address: Ipv4Addr) {
        if !address.is_unspecified() {
            self.clients.insert(address);
        }
    }

    fn hash(&self, what: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.key);
        hasher.write(what);
        hasher.finish()
    }

    /// A MAC address keeps its vendor's half: firmware is told by it
    pub(super) fn mac(&mut self, place: &mut [u8]) {
        let Ok(mac) = <[u8; 6]>::try_from(&*place) else { return };
        if mac[0] & 1 == 0 && mac != [0; 6] {
            place.copy_from_slice(&self.new_mac(mac));
        }
    }

    pub(super) fn new_mac(&mut self, mac: [u8; 6]) -> [u8; 6] {
        let number = u32::try_from(self.macs.len() + 1).unwrap_or(u32::MAX);
        let [a, b, c, ..] = mac;
        let [_, d, e, f] = number.to_be_bytes();
        let fresh = [a, b, c, d, e, f];
        // One that is called so already must not stay.
        *self.macs.entry(mac).or_insert(if fresh == mac { [a, b, c, d | 0x80, e, f] } else { fresh })
    }

    pub(super) fn knows_mac(&self, mac: [u8; 6]) -> bool {
        self.macs.contains_key(&mac)
    }

    pub(super) fn address(&self, place: &mut [u8]) {
        if let Ok(octets) = <[u8; 4]>::try_from(&*place) {
            place.copy_from_slice(&self.new_address(octets.into()).octets());
        }
    }

    /// Each octet of the network becomes another with as many digits, by what stands before it
    pub(super) fn new_address(&self, address: Ipv4Addr) -> Ipv4Addr {
        let octets = address.octets();
        if matches!(octets[0], 0 | 127 | 224..) || address.is_link_local() {
            return address;
        }
        let mut new = octets;
        for at in 0..usize::from(self.prefix / 8) {
            let first: u8 = if at == 0 { 1 } else { 0 };
            let (low, high) = match octets[at] {
                0..=9 => (first, 9),
                10..=99 => (10, 99),
                // Not to 127 and what lies behind 223, which mean something.
                _ if at == 0 && octets[0] < 127 => (100, 126),
                _ if at == 0 => (128, 223),
                _ => (100, 255),
            };
            let count = u64::from(high - low) + 1;
            let turn = 1 + self.hash(&octets[..at]) % (count - 1);
            let turned = (u64::from(octets[at] - low) + turn) % count;
            new[at] = low + u8::try_from(turned).unwrap_or_default();
        }
        new.into()
    }

    /// The client whose address, written with hexadecimal digits, begins so
    pub(super) fn client_of(&self, digits: &str) -> Option<Ipv4Addr> {
        let begins =
            |address: &&Ipv4Addr| format!("{:08X}", address.to_bits()).starts_with(&digits.to_uppercase());
        self.clients.iter().filter(begins).min().copied()
    }

    pub(super) fn new_uuid(&self, uuid: [u8; 16]) -> [u8; 16] {
        // Firmware sends the first three fields in one byte order and some loaders write them in the other.
        if !self.uuids.contains(&uuid) && self.uuids.contains(&turned(uuid)) {
            return turned(self.new_uuid(turned(uuid)));
        }
        if uuid == [0; 16] {
            return uuid;
        }
        let half = |which: u8| self.hash(&[&uuid[..], &[which]].concat()).to_be_bytes();
        let mut new = [0; 16];
        new[..8].copy_from_slice(&half(0));
        new[8..].copy_from_slice(&half(1));
        new
    }

    /// Letters and digits become others; what stands between them stays. `what` is a host name's part or a serial number.
    pub(super) fn scramble_text(&self, what: &mut [u8]) {
        for part in what.split_mut(|byte| !byte.is_ascii_alphanumeric()) {
            let name = part.to_ascii_lowercase();
            let mut state = 0;
            for (byte, number) in part.iter_mut().zip(0u64..) {
                if number.is_multiple_of(8) {
                    state = self.hash(&[&name[..], &number.to_be_bytes()].concat());
                }
                let letter = u8::try_from(state % 26).unwrap_or_default();
                state /= 26;
                let first = if byte.is_ascii_uppercase() { b'A' } else { b'a' };
                *byte = first + letter;
            }
        }
    }

    /// Bytes that nobody knows the meaning of
    pub(super) fn scramble(&self, what: &mut [u8]) {
        if what.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
            return self.scramble_text(what);
        }
        let whole = what.to_vec();
        for (chunk, number) in what.chunks_mut(8).zip(0u64..) {
            let new = self.hash(&[&whole[..], &number.to_be_bytes()].concat()).to_be_bytes();
            chunk.copy_from_slice(&new[..chunk.len()]);
        }
    }
}

/// With the first three fields in the other byte order
fn turned(mut uuid: [u8; 16]) -> [u8; 16] {
    uuid[..4].reverse();
    uuid[4..6].reverse();
    uuid[6..8].reverse();
    uuid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stay_apart_and_together_and_as_long_as_they_were() {
        for key in 0..200 {
            let mut names = Names::new(key);
            names.learn_netmask([255, 255, 240, 0]);
            let new = |octets: [u8; 4]| names.new_address(octets.into());
            let (server, client, other) =
                (new([192, 168, 99, 1]), new([192, 168, 99, 250]), new([192, 44, 99, 1]));
            assert_ne!(server, Ipv4Addr::new(192, 168, 99, 1));
            assert_eq!(server.octets()[..2], client.octets()[..2]);
            assert_eq!(
                (server.octets()[2..].to_vec(), client.octets()[3]),
                (vec![99, 1], 250),
                "behind the mask"
            );
            assert_eq!(server.octets()[0], other.octets()[0]);
            assert_ne!(server.octets()[1], other.octets()[1]);
            for octets in [[10, 0, 0, 1], [9, 9, 9, 9], [223, 255, 0, 1], [100, 64, 1, 1], [192, 168, 99, 1]]
            {
                let (old, new) = (Ipv4Addr::from(octets), new(octets));
                assert_eq!(old.to_string().len(), new.to_string().len(), "{old} {new}");
                assert!(!new.is_loopback() && !new.is_multicast() && new != old, "{old} {new}");
            }
        }
        let names = Names::new(1);
        for special in
            [[0, 0, 0, 0], [255, 255, 255, 255], [255, 255, 255, 0], [127, 0, 0, 1], [239, 1, 1, 1]]
        {
            assert_eq!(names.new_address(special.into()).octets(), special);
        }
    }

    #[test]
    fn the_same_name_is_the_same_and_nothing_is_as_before() {
        let mut names = Names::new(7);
        let mac = [0x52, 0x54, 0, 0, 0, 1];
        let new = names.new_mac(mac);
        assert!(new != mac && new[..3] == mac[..3] && names.new_mac(mac) == new);
        assert_ne!(names.new_mac([0x52, 0x54, 0, 0, 0, 2]), new);
        let uuid = *b"0123456789abcdef";
        names.learn_uuid(uuid);
        assert_eq!(names.new_uuid(turned(uuid)), turned(names.new_uuid(uuid)));
        let scrambled = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            names.scramble(&mut bytes);
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(scrambled("node-01.example.org").len(), 19);
        assert_eq!(
            scrambled("node-01.example.org").split('.').nth(1),
            scrambled("b.EXAMPLE.c").to_lowercase().split('.').nth(1)
        );
        assert_ne!(scrambled("node"), "node");
    }
}
