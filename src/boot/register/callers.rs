//! Who has which address, as DHCP told a moment ago: what a loader's name for its configuration leaves out.
//!
//! pxelinux and GRUB send no DHCP of their own and ask by MAC address, by UUID, or for everybody's configuration. The machine
//! behind the address that they ask from sent DHCP seconds before: its circuit, classes and architecture are known from there,
//! and the item that it chose from a menu. Only the last [`CALLERS_MAX`] are kept, in memory that is taken at the start; after a
//! restart nobody is known until it asks for an address again.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use super::super::client::{Arch, Client, Loader, Uuid, Wants};
use crate::limits::CALLERS_MAX;
use crate::wire::ethernet::MacAddr;

/// Bytes of a caller's circuit, remote id and classes together; real ones take half of it
const WORDS_MAX: usize = 192;

/// A [`Client`] that outlives its request
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    network: usize,
    /// Its MAC address
    pub mac: MacAddr,
    /// Its UUID
    pub uuid: Option<Uuid>,
    /// Its architecture
    pub arch: Option<Arch>,
    loader: Loader,
    wants: Wants,
    link: Option<Ipv4Addr>,
    relay: Option<Ipv4Addr>,
    /// Circuit, remote id, user class and vendor class, one behind the other
    words: [u8; WORDS_MAX],
    lengths: [u8; 4],
    /// The item that it chose from a menu
    pub item: Option<u16>,
}

impl Caller {
    /// What is kept of a client. A word that finds no room is left out, so that no rule matches by it.
    pub fn of(client: &Client<'_>) -> Self {
        let mut caller = Self {
            network: client.network,
            mac: client.mac,
            uuid: client.uuid,
            arch: client.arch,
            loader: client.loader,
            wants: client.wants,
            link: client.link,
            relay: client.relay,
            words: [0; WORDS_MAX],
            lengths: [0; 4],
            item: None,
        };
        let words = [client.circuit_id, client.remote_id, client.user_class, client.vendor_class];
        let mut at = 0;
        for (word, length) in words.into_iter().zip(&mut caller.lengths) {
            if let Some(place) = caller.words.get_mut(at..at + word.len()) {
                place.copy_from_slice(word);
                // No longer than an option.
                *length = u8::try_from(word.len()).unwrap_or(0);
                at += usize::from(*length);
            }
        }
        caller
    }

    /// Who had that address when the server was stopped, of whom a lease alone tells
    fn of_lease(network: usize, mac: MacAddr) -> Self {
        Self {
            network,
            mac,
            uuid: None,
            arch: None,
            loader: Loader::System,
            wants: Wants::Nothing,
            link: None,
            relay: None,
            words: [0; WORDS_MAX],
            lengths: [0; 4],
            item: None,
        }
    }

    /// Whether it is known by what its firmware or a loader asked
    pub fn is_booting(&self) -> bool {
        self.loader != Loader::System
    }

    /// The client, which has that address by now, where it is known
    pub fn client(&self, address: Option<Ipv4Addr>) -> Client<'_> {
        let mut rest = &self.words[..];
        let [circuit_id, remote_id, user_class, vendor_class] = self.lengths.map(|length| {
            let (word, behind) = rest.split_at(usize::from(length));
            rest = behind;
            word
        });
        Client {
            network: self.network,
            mac: self.mac,
            uuid: self.uuid,
            arch: self.arch,
            stated_arch: None,
            loader: self.loader,
            wants: self.wants,
            vendor_class,
            user_class,
            link: self.link,
            relay: self.relay,
            circuit_id,
            remote_id,
            ip: address,
        }
    }
}

/// The memory, one for all shards: the one that owns DHCP writes, whichever serves the loader reads
pub struct Callers(Mutex<Table>);

struct Table {
    callers: Vec<(Ipv4Addr, Caller)>,
    by_address: HashMap<Ipv4Addr, usize>,
    /// Who makes room next
    oldest: usize,
}

impl Callers {
    /// Nobody is known
    pub fn new() -> Self {
        Self(Mutex::new(Table {
            callers: Vec::with_capacity(CALLERS_MAX),
            // Twice the room: the table then tidies up after removals in place.
            by_address: HashMap::with_capacity(2 * CALLERS_MAX),
            oldest: 0,
        }))
    }

    /// The client has that address. What a machine's firmware said outlives what GRUB and its operating system say, which state no
    /// architecture; its choice from a menu outlives the loaders that follow.
    pub fn remember(&self, address: Ipv4Addr, client: &Client<'_>) {
        let mut table = self.table();
        let mut caller = Caller::of(client);
        let Some(&at) = table.by_address.get(&address) else { return table.add(address, caller) };
        let known = &mut table.callers[at].1;
        if known.mac == caller.mac {
            if client.arch.is_none() && known.arch.is_some() {
                return;
            }
            caller.uuid = caller.uuid.or(known.uuid);
            caller.item = known.item.filter(|_| client.loader != Loader::Rom);
        }
        *known = caller;
    }

    /// A lease of the store says who has that address
    pub fn restore(&self, address: Ipv4Addr, network: usize, mac: MacAddr) {
        let mut table = self.table();
        if !table.by_address.contains_key(&address) {
            table.add(address, Caller::of_lease(network, mac));
        }
    }

    /// The client at that address chose an item of a menu
    pub fn choose(&self, address: Ipv4Addr, client: &Client<'_>, item: u16) {
        self.remember(address, client);
        let mut table = self.table();
        if let Some(&at) = table.by_address.get(&address) {
            table.callers[at].1.item = Some(item);
        }
    }

    /// Who has that address
    pub fn at(&self, address: Ipv4Addr) -> Option<Caller> {
        let table = self.table();
        let at = *table.by_address.get(&address)?;
        Some(table.callers[at].1)
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn add(&mut self, address: Ipv4Addr, caller: Caller) {
        let at = if self.callers.len() < CALLERS_MAX {
            self.callers.push((address, caller));
            self.callers.len() - 1
        } else {
            let at = self.oldest;
            self.oldest = (at + 1) % CALLERS_MAX;
            self.by_address.remove(&self.callers[at].0);
            self.callers[at] = (address, caller);
            at
        };
        self.by_address.insert(address, at);
    }
}

impl Default for Callers {
    fn default() -> Self {
        Self::new()
    }
}

/// How many, not who: there are thousands
impl fmt::Debug for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callers").field("known", &self.table().callers.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::client::IpxeFeatures;

    fn client(mac: u8, loader: Loader, circuit_id: &[u8]) -> Client<'_> {
        Client {
            network: 0,
            mac: MacAddr([2, 0, 0, 0, 0, mac]),
            uuid: None,
            arch: Some(Arch::X86_BIOS).filter(|_| !matches!(loader, Loader::System | Loader::Grub)),
            stated_arch: None,
            loader,
            wants: if loader == Loader::System { Wants::Nothing } else { Wants::Pxe },
            vendor_class: b"PXEClient",
            user_class: b"u",
            link: None,
            relay: None,
            circuit_id,
            remote_id: b"",
            ip: None,
        }
    }

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    #[test]
    fn words_are_kept_as_they_were_sent() {
        let callers = Callers::new();
        let circuit = [0xff; 180];
        callers.remember(ADDRESS, &client(1, Loader::Rom, &circuit));
        let caller = callers.at(ADDRESS).unwrap();
        let client = caller.client(Some(ADDRESS));
        assert_eq!((client.circuit_id, client.remote_id), (&circuit[..], &b""[..]));
        assert_eq!((client.user_class, client.vendor_class), (&b"u"[..], &b"PXEClient"[..]));
        assert_eq!((client.mac.0[5], client.ip), (1, Some(ADDRESS)));
        assert!(callers.at(Ipv4Addr::new(10, 0, 0, 8)).is_none());
    }

    #[test]
    fn a_word_without_room_is_left_out_and_those_behind_it_are_not() {
        let circuit = [0xff; 190];
        let caller = Caller::of(&client(1, Loader::Rom, &circuit));
        let client = caller.client(Some(ADDRESS));
        assert_eq!((client.circuit_id, client.user_class), (&circuit[..], &b"u"[..]));
        assert_eq!(client.vendor_class, b"", "nine bytes do not fit one");
    }

    #[test]
    fn what_the_firmware_said_outlives_the_system_but_not_another_machine() {
        let callers = Callers::new();
        callers.remember(ADDRESS, &client(1, Loader::Rom, b"port 7"));
        callers.remember(ADDRESS, &client(1, Loader::System, b""));
        assert_eq!(callers.at(ADDRESS).unwrap().client(Some(ADDRESS)).circuit_id, b"port 7");
        callers.remember(ADDRESS, &client(2, Loader::System, b""));
        assert_eq!(callers.at(ADDRESS).unwrap().client(Some(ADDRESS)).circuit_id, b"");
    }

    #[test]
    fn what_a_lease_alone_told_gives_way_to_what_any_request_says() {
        let callers = Callers::new();
        let uses = |loader| client(1, loader, b"port 7");
        callers.restore(ADDRESS, 0, uses(Loader::Grub).mac);
        assert!(!callers.at(ADDRESS).unwrap().is_booting());
        callers.remember(ADDRESS, &uses(Loader::Grub));
        let caller = callers.at(ADDRESS).unwrap();
        assert_eq!((caller.is_booting(), caller.client(None).circuit_id), (true, &b"port 7"[..]));
    }

    #[test]
    fn a_choice_holds_until_the_next_boot() {
        let item = |callers: &Callers| callers.at(ADDRESS).unwrap().item;
        let callers = Callers::new();
        callers.choose(ADDRESS, &client(1, Loader::Rom, b""), 0x8001);
        callers.remember(ADDRESS, &client(1, Loader::Ipxe(IpxeFeatures::default()), b""));
        callers.remember(ADDRESS, &client(1, Loader::Grub, b""));
        assert_eq!(item(&callers), Some(0x8001));
        callers.remember(ADDRESS, &client(1, Loader::Rom, b""));
        assert_eq!(item(&callers), None);
    }

    #[test]
    fn the_oldest_make_room() {
        let callers = Callers::new();
        let address = |n: usize| Ipv4Addr::from_bits(u32::try_from(n).unwrap());
        for n in 0..CALLERS_MAX + 3 {
            callers.remember(address(n), &client(1, Loader::Rom, b""));
        }
        assert!(callers.at(address(2)).is_none() && callers.at(address(3)).is_some());
        assert!(callers.at(address(CALLERS_MAX + 2)).is_some());
        let table = callers.table();
        assert_eq!((table.callers.len(), table.by_address.len()), (CALLERS_MAX, CALLERS_MAX));
    }
}
