//! Who was seen at which address: by it a machine is known that asks by HTTP or TFTP and says nothing of itself.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use super::super::client::{Arch, Uuid};
use crate::limits::SEEN_MAX;
use crate::wire::ethernet::MacAddr;

/// A machine, as far as its DHCP told of it
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its MAC address
    pub mac: MacAddr,
    /// Its UUID, from whichever stage of its boot stated it
    pub uuid: Option<Uuid>,
    /// Its architecture, likewise
    pub arch: Option<Arch>,
}

#[derive(Debug, Default)]
struct Table {
    by_address: HashMap<Ipv4Addr, Seen>,
    /// The addresses in the order in which they came
    order: Vec<Ipv4Addr>,
    /// The next to make room for another
    oldest: usize,
}

/// The last machine at each address; when there are [`SEEN_MAX`], a new address takes the place of the one that came first
#[derive(Debug, Default)]
pub(super) struct Whereabouts(Mutex<Table>);

impl Whereabouts {
    pub(super) fn see(&self, address: Ipv4Addr, seen: Seen) {
        let table = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = table.by_address.get_mut(&address) {
            // An operating system states neither: what its ROM said still holds.
            let same = Some(*known).filter(|known| known.mac == seen.mac);
            *known = Seen {
                uuid: seen.uuid.or(same.and_then(|known| known.uuid)),
                arch: seen.arch.or(same.and_then(|known| known.arch)),
                ..seen
            };
            return;
        }
        if table.order.len() < SEEN_MAX {
            table.order.push(address);
        } else {
            let gone = std::mem::replace(&mut table.order[table.oldest], address);
            table.by_address.remove(&gone);
            table.oldest = (table.oldest + 1) % SEEN_MAX;
        }
        table.by_address.insert(address, seen);
    }

    pub(super) fn seen(&self, address: Ipv4Addr) -> Option<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_address.get(&address).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(last: u8, uuid: Option<u8>, arch: Option<Arch>) -> Seen {
        Seen { mac: MacAddr([2, 0, 0, 0, 0, last]), uuid: uuid.map(|byte| Uuid([byte; 16])), arch }
    }

    #[test]
    fn what_a_rom_said_outlives_the_system_and_not_the_machine() {
        let (table, address) = (Whereabouts::default(), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(table.seen(address), None);
        table.see(address, seen(1, Some(7), Some(Arch::X64_UEFI)));
        table.see(address, seen(1, None, None));
        assert_eq!(table.seen(address), Some(seen(1, Some(7), Some(Arch::X64_UEFI))));
        table.see(address, seen(2, None, None));
        assert_eq!(table.seen(address), Some(seen(2, None, None)), "another machine has the address now");
    }

    #[test]
    fn what_is_full_forgets_who_came_first() {
        let table = Whereabouts::default();
        let address = |number: usize| Ipv4Addr::from_bits(u32::try_from(number).unwrap());
        for number in 0..SEEN_MAX + 2 {
            table.see(address(number), seen(1, None, None));
        }
        assert_eq!((table.seen(address(1)), table.seen(address(2))), (None, Some(seen(1, None, None))));
        assert_eq!(table.0.lock().unwrap().by_address.len(), SEEN_MAX);
    }
}
