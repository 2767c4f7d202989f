//! The clients of a capture, each as `explain` tells of a machine: what its own requests would get.

use std::net::Ipv4Addr;
use std::path::Path;

use super::request::Machine;
use super::{Row, Served, networks_of, row_of, write_machine};
use crate::boot::client::{Client, Uuid};
use crate::boot::plan::Plan;
use crate::wire::dhcp::{BOOTREQUEST, Message, PXE_PORT, SERVER_PORT};
use crate::wire::ethernet::MacAddr;
use crate::wire::pcap::Reader;

/// Clients of one capture that are told of
const CLIENTS_MAX: usize = 4_096;

/// One machine, in the stages in which it asked
struct Heard<'p> {
    mac: MacAddr,
    uuid: Option<Uuid>,
    ip: Option<Ipv4Addr>,
    rows: Vec<Row<'p>>,
}

/// The report of `explain CAPTURE`; `config` is the file that lines are of
///
/// # Errors
/// A sentence, where it is no capture, or holds no client of DHCP.
pub fn explain_capture(
    capture: &[u8],
    plan: &Plan,
    config: Option<&Path>,
    files: &impl Served,
) -> Result<String, String> {
    let mut heard: Vec<Heard<'_>> = Vec::new();
    let mut damage = None;
    for packet in Reader::new(capture).map_err(|error| error.to_string())? {
        let packet = match packet {
            Ok(packet) => packet,
            Err(error) => {
                damage = Some(error);
                break;
            }
        };
        let Ok(datagram) = packet.udp4_cut() else { continue };
        if ![SERVER_PORT, PXE_PORT].contains(&datagram.destination.port()) {
            continue;
        }
        match Message::parse(datagram.payload) {
            Ok(message) if message.header().op == BOOTREQUEST => hear(&message, plan, files, &mut heard)?,
            _ => {}
        }
    }
    if heard.is_empty() {
        return Err("nobody in it asks by DHCP".to_owned());
    }
    let mut out = String::new();
    for (number, Heard { mac, uuid, ip, rows }) in heard.iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        let machine = Machine { mac: *mac, uuid: *uuid, ..Machine::default() };
        write_machine(&mut out, plan, &machine, *ip, rows, config, files);
    }
    if let Some(error) = damage {
        out.push_str(&format!("\nthe capture is damaged from there on: {error}\n"));
    }
    Ok(out)
}

/// Adds what a request tells: a stage is told once
fn hear<'p>(
    message: &Message<'_>,
    plan: &'p Plan,
    files: &impl Served,
    heard: &mut Vec<Heard<'p>>,
) -> Result<(), String> {
    let seen = Client::from_request(message, 0);
    let at = match heard.iter().position(|one| one.mac == seen.mac) {
        Some(at) => at,
        None if heard.len() == CLIENTS_MAX => return Ok(()),
        None => {
            heard.push(Heard { mac: seen.mac, uuid: None, ip: None, rows: Vec::new() });
            heard.len() - 1
        }
    };
    let one = &mut heard[at];
    one.uuid = one.uuid.or(seen.uuid);
    one.ip = seen.ip.or(one.ip);
    let networks = networks_of(plan, seen.link.or(one.ip));
    let Some(&network) = networks.first() else { return Err("no network is served".to_owned()) };
    let row = row_of(message, plan, network, one.ip, &|name: &str| files.exists(name))?;
    match one.rows.iter_mut().find(|known| known.stage == row.stage) {
        // A later request knows more, its address for one.
        Some(known) => *known = row,
        None => one.rows.push(row),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::script::Asker;
    use crate::config::testing::load;
    use crate::content::Placed;

    struct Nothing;

    impl Served for Nothing {
        fn exists(&self, _: &str) -> bool {
            false
        }

        fn place(&self, _: &str, _: Asker<'_>) -> Option<Placed> {
            None
        }
    }

    #[test]
    fn each_client_of_a_capture_is_told_of_by_its_stages() {
        let config = "root = \"/data/pxe\"\n[[network]]\ninterface = \"eth0\"\npool = [\"192.168.99.50-192.168.99.99\"]\n\
                      [[boot]]\nmatch = { loader = \"ipxe\" }\nfile = \"boot.ipxe\"\n\
                      [[boot]]\nmatch = { arch = \"x64-uefi\" }\nfile = \"ipxe.efi\"\n";
        let (plan, _) = load(config).unwrap();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/pcaps/");
        let capture = std::fs::read(format!("{folder}dnsmasq-uefi-proxy.pcap")).unwrap();
        let said = explain_capture(&capture, &plan, Some(Path::new("r.toml")), &Nothing).unwrap();
        let mac = said.split(' ').next().unwrap();
        assert!(mac.parse::<MacAddr>().is_ok(), "{said}");
        assert!(said.contains("  x64-uefi       ipxe.efi (missing)"), "{said}");
        assert!(said.contains("  x64-uefi ipxe  http://192.168.99.1/boot.ipxe (missing)"), "{said}");
        let none = explain_capture(b"not a capture", &plan, None, &Nothing);
        assert!(none.is_err());
    }
}
