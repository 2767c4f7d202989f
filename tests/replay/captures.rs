//! The captures, and the two of them that keep only the front of DHCP messages made whole.
//!
//! The same firmware's messages are whole in another capture: what one lacks of a message is put in from the other, with
//! the addresses of the first.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use reveille::wire::pcap::{Packet, Reader};

/// Ethernet, IPv4 and UDP headers before a DHCP message
const HEADERS: usize = 42;
/// Where a DHCP message's options begin: behind the fixed part and the cookie
const OPTIONS: usize = HEADERS + 240;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps")
}

/// The names of the project's captures, without `.pcap`
pub fn names() -> Vec<String> {
    let files = fs::read_dir(folder()).expect("pcaps/").map(|entry| entry.expect("an entry").path());
    let captures = files.filter(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    let mut names: Vec<String> =
        captures.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A capture of the project, its client's DHCP messages whole
pub fn read(name: &str) -> Vec<u8> {
    let file = fs::read(folder().join(name).with_extension("pcap")).expect("a capture");
    match name {
        "dnsmasq-bios-full" => {
            completed(&file, &read("dnsmasq-bios-proxy"), [192, 168, 99, 181], [192, 168, 99, 86])
        }
        "dnsmasq-uefi-full" => {
            completed(&file, &read("dnsmasq-uefi-proxy"), [192, 168, 99, 181], [192, 168, 99, 85])
        }
        _ => file,
    }
}

/// Captures published with other projects, where they lie beside the checkout
pub fn others() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/pcaps/others");
    let Ok(entries) = fs::read_dir(&folder) else {
        println!("note: {} is not present", folder.display());
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read(path).expect("a capture"))).collect()
}

fn packets(file: &[u8]) -> Vec<Packet<'_>> {
    Reader::new(file).expect("a capture").collect::<Result<_, _>>().expect("a whole capture")
}

/// A client's DHCP message
fn is_request(packet: &Packet<'_>) -> bool {
    packet
        .udp4_cut()
        .is_ok_and(|datagram| datagram.destination.port() == 67 && datagram.payload.first() == Some(&1))
}

fn completed(file: &[u8], donor: &[u8], server: [u8; 4], address: [u8; 4]) -> Vec<u8> {
    let donors: Vec<Packet<'_>> = packets(donor).into_iter().filter(is_request).collect();
    let mut made = file[..24].to_vec();
    for packet in packets(file) {
        let mut data = packet.data.to_vec();
        if is_request(&packet) {
            // A DISCOVER and a REQUEST of one firmware differ in length: 54 and 50.
            let mut whole = donors.iter().filter(|donor| donor.original_len == packet.original_len);
            let whole = whole.next().expect("the same message, whole");
            data.extend_from_slice(&whole.data[data.len()..]);
            readdress(&mut data[OPTIONS..], server.into(), address.into());
        }
        emit(&mut made, packet.time_us, &data, packet.original_len);
    }
    made
}

/// Puts a server (54) and an address (50) in the place of those in an option area
fn readdress(options: &mut [u8], server: Ipv4Addr, address: Ipv4Addr) {
    let mut at = 0;
    while options[at] != 255 {
        let len = usize::from(options[at + 1]);
        match options[at] {
            50 => options[at + 2..at + 6].copy_from_slice(&address.octets()),
            54 => options[at + 2..at + 6].copy_from_slice(&server.octets()),
            _ => {}
        }
        at += 2 + len;
    }
}

/// Appends one record (little-endian, microseconds: as all captures here)
fn emit(file: &mut Vec<u8>, time_us: u64, data: &[u8], original_len: u32) {
    let number = |number: u64| u32::try_from(number).expect("32 bits").to_le_bytes();
    file.extend_from_slice(&number(time_us / 1_000_000));
    file.extend_from_slice(&number(time_us % 1_000_000));
    file.extend_from_slice(&number(data.len() as u64));
    file.extend_from_slice(&original_len.to_le_bytes());
    file.extend_from_slice(data);
}
