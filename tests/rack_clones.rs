//! Captured boots done again by many machines on a veth, against the real binary: one of each kind that differs.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use reveille::wire::pcap::{Reader, Writer};
use serde_json::Value;
use support::{Folder, Net, Server, has, skip};

const POOL: [&str; 2] = ["--pool", "10.77.0.100-10.77.0.199"];

fn capture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pcaps").join(name)
}

/// The boot of a capture, done again by so many; the report, and whether all is well
fn clones(net: &Net, capture: &Path, count: u32) -> (Value, bool) {
    let mut command: Command = net.client_command("timeout");
    command.args(["--signal=INT", "100", env!("CARGO_BIN_EXE_reveille"), "replay", "--interface", "c0"]);
    command.args(["--log", "json", "--clone", &count.to_string()]).arg(capture);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let clones: Child = command.spawn().expect("the clones start");
    let Output { status, stdout, stderr } = clones.wait_with_output().expect("it ends");
    let report = serde_json::from_slice(&stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&stderr)));
    (report, status.success())
}

/// A folder with these files
fn site(name: &str, files: &[(&str, usize)]) -> Folder {
    let root = Folder::new(name);
    for (file, size) in files {
        root.file(file, *size);
    }
    root
}

#[test]
fn ipxe_by_http_and_a_file_that_is_missing_is_told() {
    let Some(net) = Net::new() else { return };
    let files = [("boot.ipxe", 156), ("linux", 300_000), ("initrd.gz", 100_000), ("awake.txt", 6)];
    let root = site("clones-ipxe", &files);
    let boots = ["--boot", "ipxe=http://{server}/boot.ipxe", "--boot", "x86-bios=boot.ipxe"];
    let _server = Server::start(&net, &root, &[&POOL[..], &boots].concat());
    let capture = capture("dnsmasq-ipxe-http.pcap");
    let (all, is_clean) = clones(&net, &capture, 20);
    assert!(is_clean, "{all:#}");
    assert_eq!((&all["booted"], &all["bytes"]), (&20.into(), &(20 * 400_162).into()), "{all:#}");
    assert!(
        all["p50_us"].as_u64() > Some(6_000_000),
        "the captured machine worked for seven seconds: {all:#}"
    );

    fs::remove_file(root.0.join("initrd.gz")).expect("it is there");
    let (none, is_clean) = clones(&net, &capture, 2);
    assert!(!is_clean && none["failures"]["a file is missing (/initrd.gz)"] == 2, "{none:#}");
    assert_eq!(none["gave_up"]["a file is missing"], 2, "{none:#}");
}

#[test]
fn uefi_http_boot_with_its_size_asked_first_and_files_that_are_not_there() {
    let Some(net) = Net::new() else { return };
    let root =
        site("clones-http", &[("bootnetx64.efi", 160_000), ("grubx64.efi", 240_128), ("awake.txt", 6)]);
    let boots = ["--boot", "x64-uefi-http=http://{server}/bootnetx64.efi"];
    let _server = Server::start(&net, &root, &[&POOL[..], &boots].concat());
    let (all, is_clean) = clones(&net, &capture("dnsmasq-uefi-http-full.pcap"), 10);
    assert!(is_clean && all["refusals"] == serde_json::json!({}), "{all:#}");
    assert_eq!((&all["booted"], &all["bytes"]), (&10.into(), &(10 * 400_134).into()), "{all:#}");
}

#[test]
fn uefi_beside_another_dhcp_server_asks_port_4011_and_its_ipxe_asks_again() {
    if !has("dnsmasq") {
        return skip("dnsmasq is not installed");
    }
    let Some(net) = Net::new() else { return };
    let root = site("clones-proxy", &[("ipxe.efi", 120_000)]);
    let boots = ["--boot", "x64-uefi=ipxe.efi", "--boot", "ipxe=http://{server}/boot.ipxe"];
    let mut server = Server::start(&net, &root, &[&["--proxy"][..], &boots].concat());
    let leases = root.0.join(".leases");
    // It ends with the namespace.
    let mut other = Command::new("ip");
    other.args(["netns", "exec", &net.server, "dnsmasq", "--conf-file=/dev/null", "--pid-file=", "--port=0"]);
    other.args([
        "--user=root",
        "--interface=s0",
        "--bind-interfaces",
        "--no-ping",
        "--log-facility=/dev/null",
    ]);
    other
        .args(["--dhcp-range=10.77.0.100,10.77.0.199,12h"])
        .arg(format!("--dhcp-leasefile={}", leases.display()));
    assert!(other.status().expect("dnsmasq starts").success());
    let (all, is_clean) = clones(&net, &capture("dnsmasq-uefi-proxy.pcap"), 10);
    assert!(is_clean, "{all:#}");
    assert_eq!((&all["booted"], &all["bytes"]), (&10.into(), &(10 * 120_000).into()), "{all:#}");
    assert_eq!(all["retries"]["boot_server"], 0, "{all:#}");
    let printed = server.output();
    assert_eq!(printed.matches("boot server ACK, ipxe.efi").count(), 10, "{printed}");
    assert_eq!(printed.matches("ipxe: DISCOVER → proxy OFFER, http://").count(), 10, "{printed}");
}

/// A capture whose read requests ask for windows as well
fn with_windows(capture: &Path, blocks: u16) -> Vec<u8> {
    let file = fs::read(capture).expect("a capture");
    let mut writer = Writer::new(Vec::new()).expect("a capture");
    for packet in Reader::new(&file).expect("a capture").map_while(Result::ok) {
        let mut frame = packet.data.to_vec();
        if packet.udp4().is_ok_and(|datagram| datagram.destination.port() == 69) {
            let option = format!("windowsize\0{blocks}\0");
            frame.extend_from_slice(option.as_bytes());
            for at in [16, 38] {
                let len = u16::from_be_bytes([frame[at], frame[at + 1]]);
                let longer = len + u16::try_from(option.len()).expect("a short option");
                frame[at..at + 2].copy_from_slice(&longer.to_be_bytes());
            }
        }
        writer.packet(packet.time_us, &frame).expect("a frame");
    }
    writer.finish().expect("its bytes")
}

/// What its server counted while ten of a captured U-Boot booted: datagrams in, and out
fn datagrams(net: &Net, root: &Folder, capture: &Path) -> (u64, u64) {
    let mut server = Server::start(net, root, &POOL);
    let (all, is_clean) = clones(net, capture, 10);
    assert!(is_clean, "{all:#}");
    assert_eq!((&all["booted"], &all["bytes"]), (&10.into(), &(10 * 600_300).into()), "{all:#}");
    server.signal("TERM");
    let end = server.wait_for("datagrams in", Duration::from_secs(10));
    server.wait(Duration::from_secs(10));
    let number = |text: &str| text.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok());
    let (before, behind) = end.split_once(" datagrams in, ").expect("what came and went");
    let (out, _) = behind.split_once(" out").expect("what went");
    (number(before).expect("a number"), number(out).expect("a number"))
}

#[test]
fn u_boot_walks_its_names_by_tftp_with_and_without_windows() {
    let Some(net) = Net::new() else { return };
    let files = [("linux", 400_000), ("initrd.gz", 200_000), ("pxelinux.cfg/default", 300)];
    let root = site("clones-u-boot", &files);
    let plain = capture("dnsmasq-arm64-uboot.pcap");
    let (came, went) = datagrams(&net, &root, &plain);
    assert!(came + 500 > went, "a block, an ACK: {came} in, {went} out");
    let windows = root.0.join("windows.pcap");
    fs::write(&windows, with_windows(&plain, 16)).expect("a capture");
    let (came, went) = datagrams(&net, &root, &windows);
    assert!(came * 3 < went * 2, "sixteen blocks, an ACK: {came} in, {went} out");
}
