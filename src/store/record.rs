//! A lease as bytes of the store, of table and journal alike. The address is the record's key, so that it is not repeated.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | state: 0 bound, 1 declined |
//! | 8 | end, seconds since the Unix epoch, big-endian |
//! | 1 | hardware type of the client's key |
//! | 1 | length *n* of the client's key, at most 32 |
//! | *n* | the client's key |
//! | the rest | host name, at most 64 bytes |
//!
//! A change is the address (4 bytes), the length of its record (1) and the record; a length of 0 removes the lease.
//!
//! An ordinary lease takes 17 bytes and its host name. Whoever changes this or the journal raises [`FORMAT`].

use std::net::Ipv4Addr;

use crate::boot::lease::{ClientKey, Lease, LeaseChange, State};
use crate::note::Text;

/// The version of this layout and the journal's, written once a file
pub(super) const FORMAT: u32 = 2;

const FIXED: usize = 11;
const NAME_MAX: usize = 64;

/// A record on its way to the store
pub(super) struct Record {
    bytes: [u8; FIXED + 32 + NAME_MAX],
    len: usize,
}

impl Record {
    /// The record of a lease
    pub(super) fn emit(lease: &Lease) -> Self {
        let mut record = Self { bytes: [0; FIXED + 32 + NAME_MAX], len: 0 };
        record.push(&[match lease.state {
            State::Bound => 0,
            State::Declined => 1,
        }]);
        record.push(&lease.expires_s.to_be_bytes());
        let len = lease.key.len.min(32);
        record.push(&[lease.key.htype, len]);
        record.push(&lease.key.id[..usize::from(len)]);
        record.push(lease.hostname.as_str().as_bytes());
        record
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The lease of a record; `None`: these bytes are none
pub(super) fn parse(address: Ipv4Addr, bytes: &[u8]) -> Option<Lease> {
    let (&[state], rest) = bytes.split_first_chunk()?;
    let (expires_s, rest) = rest.split_first_chunk()?;
    let (&[htype, len], rest) = rest.split_first_chunk()?;
    let (key, name) = rest.split_at_checked(len.into())?;
    let mut id = [0; 32];
    id.get_mut(..key.len())?.copy_from_slice(key);
    let state = match state {
        0 => State::Bound,
        1 => State::Declined,
        _ => return None,
    };
    let expires_s = u64::from_be_bytes(*expires_s);
    let key = ClientKey { htype, len, id };
    (name.len() <= NAME_MAX).then(|| Lease { address, key, state, expires_s, hostname: Text::new(name) })
}

/// What a change makes of an address: its record from now on; `None`: nothing is known of it
pub(super) type Written<'a> = (Ipv4Addr, Option<&'a [u8]>);

/// Appends a change
pub(super) fn emit_change(change: &LeaseChange, buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(&change.address().octets());
    match change {
        LeaseChange::Put(lease) => {
            let record = Record::emit(lease);
            buffer.push(u8::try_from(record.len).expect("a record is shorter than that"));
            buffer.extend_from_slice(record.as_bytes());
        }
        LeaseChange::Remove(_) => buffer.push(0),
    }
}

/// The first change, and what follows it; `None`: these bytes do not begin with one
pub(super) fn split_change(bytes: &[u8]) -> Option<(Written<'_>, &[u8])> {
    let (address, rest) = bytes.split_first_chunk::<4>()?;
    let (&len, rest) = rest.split_first()?;
    let (record, rest) = rest.split_at_checked(len.into())?;
    Some((((*address).into(), (len > 0).then_some(record)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(key: ClientKey, hostname: &[u8]) -> Lease {
        let address = Ipv4Addr::new(10, 0, 0, 7);
        Lease { address, key, state: State::Bound, expires_s: 1_700_000_000, hostname: Text::new(hostname) }
    }

    #[test]
    fn a_lease_is_what_it_was_after_it_was_a_record() {
        let mac = ClientKey::of(1, &[2, 0, 0, 0, 0, 1], None);
        let identifier = ClientKey::of(0, &[], Some(&[9; 100]));
        for hostname in
            [&b""[..], b"node-01", "ö".repeat(31).as_bytes(), "ö".repeat(99).as_bytes(), &[b'a'; 64]]
        {
            for key in [mac, identifier] {
                let before = lease(key, hostname);
                let declined = Lease { state: State::Declined, expires_s: u64::MAX, ..before };
                for lease in [before, declined] {
                    let record = Record::emit(&lease);
                    assert_eq!(parse(lease.address, record.as_bytes()), Some(lease));
                }
            }
        }
        assert_eq!(Record::emit(&lease(mac, b"")).as_bytes().len(), 17);
    }

    #[test]
    fn bytes_that_are_no_record_are_told() {
        let address = Ipv4Addr::new(10, 0, 0, 7);
        let record = Record::emit(&lease(ClientKey::of(1, &[2, 0, 0, 0, 0, 1], None), b""));
        for len in 0..record.as_bytes().len() {
            assert_eq!(parse(address, &record.as_bytes()[..len]), None);
        }
        assert_eq!(parse(address, &[2; 40]), None, "an unknown state");
        assert_eq!(parse(address, &[&[0; 10][..], &[33], &[0; 40]].concat()), None, "a key too long");
        assert_eq!(parse(address, &[0; 76]), None, "a name too long");
    }
}
