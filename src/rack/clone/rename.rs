//! A captured machine's names in what it sent, replaced by those of another machine.
//!
//! A card's address and a UUID stand there as bytes, or as text in one of the forms that firmware and loaders write.

use crate::rack::reach::Identity;

/// Replaces them in an option's value
pub(crate) fn bytes(value: &mut [u8], from: &Identity, to: &Identity) {
    replace(value, from, to);
}

/// Replaces them in a client identifier, which must be another for each machine: what its maker made up himself ends in the
/// card's address instead
pub(crate) fn client_id(value: &mut [u8], from: &Identity, to: &Identity) {
    if replace(value, from, to) {
        return;
    }
    // Its type stays.
    let len = value.len().saturating_sub(1).min(to.mac.0.len());
    let at = value.len() - len;
    value[at..].copy_from_slice(&to.mac.0[to.mac.0.len() - len..]);
}

/// Replaces them in a file's name
pub(super) fn text(name: &str, from: &Identity, to: &Identity) -> String {
    let mut bytes = name.as_bytes().to_vec();
    replace(&mut bytes, from, to);
    String::from_utf8(bytes).unwrap_or_else(|_| name.to_owned())
}

/// Whether there was anything to replace
fn replace(value: &mut [u8], from: &Identity, to: &Identity) -> bool {
    let mut pairs = vec![(from.mac.0.to_vec(), to.mac.0.to_vec())];
    pairs.extend(
        mac_texts(from).into_iter().zip(mac_texts(to)).map(|(a, b)| (a.into_bytes(), b.into_bytes())),
    );
    // QEMU's machines have none.
    if from.uuid != [0; 16] {
        pairs.push((from.uuid.to_vec(), to.uuid.to_vec()));
        pairs.extend(
            uuid_texts(from).into_iter().zip(uuid_texts(to)).map(|(a, b)| (a.into_bytes(), b.into_bytes())),
        );
    }
    let mut any = false;
    for (from, to) in &pairs {
        let mut at = 0;
        while at + from.len() <= value.len() {
            if value[at..].starts_with(from) {
                value[at..at + to.len()].copy_from_slice(to);
                (any, at) = (true, at + to.len());
            } else {
                at += 1;
            }
        }
    }
    any
}

/// In small letters and in large ones
fn both<const N: usize>(texts: [String; N]) -> Vec<String> {
    let large = texts.clone().map(|text| text.to_uppercase());
    texts.into_iter().chain(large).collect()
}

fn mac_texts(who: &Identity) -> Vec<String> {
    let text = who.mac.to_string();
    both([text.replace(':', "-"), text.replace(':', ""), text])
}

/// The first three fields are read in either byte order
fn uuid_texts(who: &Identity) -> Vec<String> {
    let text = |uuid: [u8; 16]| {
        let digits: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
        [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
    };
    let mut turned = who.uuid;
    turned[..4].reverse();
    turned[4..6].reverse();
    turned[6..8].reverse();
    both([text(who.uuid), text(turned)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ethernet::MacAddr;

    const FROM: Identity =
        Identity { mac: MacAddr([0x52, 0x54, 0, 0xaa, 0xbb, 1]), uuid: *b"0123456789abcdef" };
    const TO: Identity = Identity { mac: MacAddr([10, 0x52, 0x56, 0xc0, 0, 7]), uuid: *b"fedcba9876543210" };

    #[test]
    fn every_form_of_a_name_becomes_the_other_machines() {
        for (old, new) in [
            ("pxelinux.cfg/01-52-54-00-aa-bb-01", "pxelinux.cfg/01-0a-52-56-c0-00-07"),
            ("x?mac=52:54:00:AA:BB:01&a", "x?mac=0A:52:56:C0:00:07&a"),
            ("525400aabb01.ipxe", "0a5256c00007.ipxe"),
            (
                "pxelinux.cfg/30313233-3435-3637-3839-616263646566",
                "pxelinux.cfg/66656463-6261-3938-3736-353433323130",
            ),
            ("33323130-3534-3736-3839-616263646566", "63646566-6162-3839-3736-353433323130"),
            ("pxelinux.cfg/default", "pxelinux.cfg/default"),
        ] {
            assert_eq!(text(old, &FROM, &TO), new);
        }
        let mut value = [&[1][..], &FROM.mac.0].concat();
        bytes(&mut value, &FROM, &TO);
        assert_eq!(value[1..], TO.mac.0);
    }

    #[test]
    fn a_client_identifier_is_never_two_machines() {
        let id = |value: &[u8]| {
            let mut value = value.to_vec();
            client_id(&mut value, &FROM, &TO);
            value
        };
        assert_eq!(id(&[&[0][..], &FROM.uuid].concat()), [&[0][..], &TO.uuid].concat());
        assert_eq!(id(b"\xff0123456789"), b"\xff0123\x0a\x52\x56\xc0\x00\x07");
        assert_eq!((id(&[0, 9, 9]), id(&[5]), id(&[])), (vec![0, 0, 7], vec![5], vec![]));
    }
}
