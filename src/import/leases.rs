//! dnsmasq's lease file → leases.
//!
//! One lease a line: when it ends (seconds since 1970, 0 for never), MAC address, address, host name or `*`, client
//! identifier or `*`. What follows a `duid` line is DHCPv6's.

use crate::boot::lease::{ClientKey, Lease, State};
use crate::note::Text;
use crate::wire::ethernet::MacAddr;

/// Leases of IPv4 that have not ended at `now_s`
pub(super) fn parse(text: &str, now_s: u64) -> Vec<Lease> {
    text.lines().take_while(|line| !line.starts_with("duid")).filter_map(|line| lease(line, now_s)).collect()
}

fn lease(line: &str, now_s: u64) -> Option<Lease> {
    let mut words = line.split_whitespace();
    let expires_s = match words.next()?.parse().ok()? {
        0 => u64::MAX,
        expires_s => expires_s,
    };
    // Another hardware type is written before the address, as `06-`.
    let mac: MacAddr = words.next()?.parse().ok()?;
    let address = words.next()?.parse().ok()?;
    let hostname = words.next().filter(|name| *name != "*").unwrap_or_default();
    (expires_s > now_s).then(|| Lease {
        address,
        key: ClientKey::of(1, &mac.0, None),
        state: State::Bound,
        expires_s,
        hostname: Text::new(hostname.as_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_leases_are_read() {
        let text = "1700000000 52:54:00:00:00:01 192.168.99.60 node-01 01:52:54:00:00:00:01\n\
                    0 52:54:00:00:00:02 192.168.99.61 * *\n\
                    1500000000 52:54:00:00:00:03 192.168.99.62 gone *\n\
                    1700000000 06-52:54:00:00:00:04 192.168.99.63 * *\n\
                    duid 00:01:00:01\n\
                    1700000000 1 fd00::1 six 00:01\n";
        let leases = parse(text, 1_600_000_000);
        let shown: Vec<_> = leases
            .iter()
            .map(|one| (one.address.octets()[3], one.expires_s, one.hostname.as_str()))
            .collect();
        assert_eq!(shown, [(60, 1_700_000_000, "node-01"), (61, u64::MAX, "")]);
        assert_eq!(leases[0].key, ClientKey::of(1, &[0x52, 0x54, 0, 0, 0, 1], None));
        assert!(parse("garbage\n\n1 2 3\n", 0).is_empty());
    }
}
