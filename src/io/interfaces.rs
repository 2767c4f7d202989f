//! The machine's network interfaces with their addresses.

use std::net::{IpAddr, Ipv4Addr};

use crate::wire::ethernet::MacAddr;

/// One interface
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name
    pub name: String,
    /// Its MAC address; zero where it has none (loopback, tunnels)
    pub mac: MacAddr,
    /// Its IPv4 addresses with their prefix lengths, in the kernel's order
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

/// Those that are there now. An address with a label of its own (`eth0:1`) is its interface's.
pub fn interfaces() -> Vec<Interface> {
    let mut interfaces: Vec<Interface> = Vec::new();
    for found in pnet_datalink::interfaces() {
        let name = found.name.split(':').next().unwrap_or(&found.name);
        let mac = found.mac.map_or(MacAddr::ZERO, |mac| MacAddr(mac.octets()));
        let addresses = found.ips.iter().filter_map(|ip| match ip.ip() {
            IpAddr::V4(address) => Some((address, ip.prefix())),
            IpAddr::V6(_) => None,
        });
        match interfaces.iter_mut().find(|interface| interface.name == name) {
            Some(interface) => interface.addresses.extend(addresses),
            None => {
                interfaces.push(Interface { name: name.to_owned(), mac, addresses: addresses.collect() });
            }
        }
    }
    interfaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found() {
        let interfaces = interfaces();
        let lo = interfaces.iter().find(|interface| interface.name == "lo").expect("every Linux has it");
        assert!(lo.addresses.contains(&(Ipv4Addr::LOCALHOST, 8)) || lo.addresses.is_empty());
        assert_eq!(lo.mac, MacAddr::ZERO);
    }
}
