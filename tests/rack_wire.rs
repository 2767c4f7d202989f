//! The rack on a wire: simulated machines on one side of a veth, the real binary on the other.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::{Folder, Net, SERVER, Server};

const MACHINES: u64 = 60;

/// What all seven models load, and a configuration that tells them apart
fn site(name: &str) -> Folder {
    let root = Folder::new(name);
    let url = format!("http://{SERVER}");
    for (file, size) in [
        ("lpxelinux.0", 60_000),
        ("ldlinux.c32", 118_784),
        ("bootnetx64.efi", 100_000),
        ("grubx64.efi", 240_128),
        ("debian-installer/amd64/grub/x86_64-efi/http.mod", 7_000),
        ("ipxe.efi", 120_000),
        ("linux.efi", 1_000_000),
        ("u-boot/Image", 200_000),
        ("u-boot/initrd.gz", 1_468 * 50),
        ("img/linux", 500_000),
        ("img/initrd.gz", 1_000_000),
    ] {
        root.put(file, &support::noise(size as u64, size));
    }
    let menu =
        format!("DEFAULT linux\nLABEL linux\n  KERNEL {url}/img/linux\n  INITRD {url}/img/initrd.gz\n");
    root.put("pxelinux.cfg/default", menu.as_bytes());
    let grub =
        format!("insmod http\nlinux (http,{SERVER})/img/linux\ninitrd (http,{SERVER})/img/initrd.gz\n");
    root.put("debian-installer/amd64/grub/grub.cfg", grub.as_bytes());
    root.put("boot.ipxe", b"#!ipxe\nset base /img\nkernel ${base}/linux quiet\ninitrd img/initrd.gz\nboot\n");
    root.put("u-boot/pxelinux.cfg/default", b"LABEL linux\n  KERNEL Image\n  INITRD initrd.gz\n");
    let rules = [
        ("arch = \"x86-bios\"", "lpxelinux.0"),
        ("loader = \"ipxe\"", "http://{server}/boot.ipxe"),
        ("arch = \"x64-uefi-http\"", "http://{server}/linux.efi"),
        ("loader = \"u-boot\"", "u-boot/boot"),
        ("mac = \"0a:52:56:03:*\"", "ipxe.efi"),
        ("arch = \"x64-uefi\"", "bootnetx64.efi"),
    ];
    let state = root.0.join(".state");
    let mut config = format!(
        "root = {:?}\nstate-dir = {state:?}\n[[network]]\ninterface = \"s0\"\ndhcp = \"full\"\n",
        root.0
    );
    config += "pool = [\"10.77.0.100-10.77.0.199\"]\n";
    for (matches, file) in rules {
        config += &format!("[[boot]]\nmatch = {{ {matches} }}\nfile = \"{file}\"\n");
    }
    root.put("reveille.toml", config.as_bytes());
    root
}

fn serve(net: &Net, root: &Folder) -> Server {
    Server::start_with_config(net, &root.0.join("reveille.toml"))
}

fn rack(net: &Net, arguments: &str, root: &Path) -> Child {
    let mut command: Command = net.client_command("timeout");
    command.args([
        "--signal=INT",
        "150",
        env!("CARGO_BIN_EXE_reveille"),
        "rack",
        "--interface",
        "c0",
        "--json",
    ]);
    command.args(arguments.split(' ')).arg("--root").arg(root);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the rack starts")
}

/// The report of a rack that has ended, and whether it found all well
fn report(rack: Child) -> (Value, bool) {
    let Output { status, stdout, stderr } = rack.wait_with_output().expect("it ends");
    let report = serde_json::from_slice(&stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&stderr)));
    (report, status.success())
}

#[test]
fn a_mixed_rack_boots_over_a_wire_and_every_byte_is_compared() {
    let Some(net) = Net::new() else { return };
    let root = site("rack-wire");
    let _server = serve(&net, &root);
    let (report, is_clean) = report(rack(&net, "--machines 60 --power-on burst", &root.0));
    assert!(is_clean, "{report:#}");
    assert_eq!(report["booted"], MACHINES, "{report:#}");
    assert_eq!(report["refusals"], serde_json::json!({}), "nothing that a firmware refuses: {report:#}");
    assert_eq!(report["checked"]["with_root"], report["bytes"], "{report:#}");
    assert!(report["bytes"].as_u64() > Some(40_000_000), "{report:#}");
}

#[test]
fn a_server_killed_and_started_again_boots_all_and_gives_no_address_twice() {
    let Some(net) = Net::new() else { return };
    let root = site("rack-restart");
    let server = serve(&net, &root);
    // Without bios: lpxelinux waits two minutes for a transfer that is gone.
    let kinds = "--firmware uefi-grub,uefi-ipxe,uefi-http,ipxe,u-boot,linux";
    let rack = rack(&net, &format!("--machines 60 --power-on ramp:4s {kinds}"), &root.0);
    thread::sleep(Duration::from_millis(2_000));
    server.signal("KILL");
    thread::sleep(Duration::from_millis(1_000));
    drop(server);
    let _again = serve(&net, &root);
    let (report, is_clean) = report(rack);
    assert!(is_clean, "all boot, and no address is given twice: {report:#}");
    assert_eq!(report["booted"], MACHINES, "{report:#}");
    let retries = &report["retries"];
    let again = ["dhcp", "tftp", "http", "arp"].map(|protocol| retries[protocol].as_u64().unwrap_or(0));
    assert!(again.iter().sum::<u64>() > 0, "the server was away in the middle: {report:#}");
}

#[test]
fn a_wrong_byte_is_found_and_an_interrupted_rack_says_so() {
    let Some(net) = Net::new() else { return };
    let (root, other) = (site("rack-bytes"), Folder::new("rack-bytes-other"));
    let mut kernel = fs::read(root.0.join("img/linux")).expect("the kernel");
    kernel[300_000] ^= 1;
    other.put("img/linux", &kernel);
    let mut server = serve(&net, &root);
    let rack = rack(&net, "--machines 2 --firmware ipxe", &other.0);
    server.wait_for("HTTP /img/linux", Duration::from_secs(30));
    thread::sleep(Duration::from_secs(1));
    // Its parent, `timeout`, hands the signal on.
    let status =
        Command::new("kill").args(["-s", "INT", &rack.id().to_string()]).status().expect("kill runs");
    assert!(status.success());
    let (report, is_clean) = report(rack);
    assert!(!is_clean && report["is_interrupted"] == true && report["booted"] == 0, "{report:#}");
    assert!(report["failures"]["wrong bytes (/img/linux)"].as_u64() > Some(0), "{report:#}");
}

/// Clones of a captured iPXE, on a server that holds what it loaded
fn clones(net: &Net, count: u32) -> Child {
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/pcaps/dnsmasq-ipxe-http.pcap");
    let mut command: Command = net.client_command("timeout");
    command.args([
        "--signal=INT",
        "100",
        env!("CARGO_BIN_EXE_reveille"),
        "replay",
        capture,
        "--interface",
        "c0",
    ]);
    command.args(["--log", "json", "--clone", &count.to_string()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the clones start")
}

#[test]
fn a_captured_boot_is_done_again_by_many_and_a_file_that_is_missing_is_told() {
    let Some(net) = Net::new() else { return };
    let root = Folder::new("rack-clones");
    for (file, size) in [("boot.ipxe", 156), ("linux", 300_000), ("initrd.gz", 100_000), ("awake.txt", 6)] {
        root.put(file, &support::noise(size as u64, size));
    }
    let arguments = ["--pool", "10.77.0.100-10.77.0.199", "--boot", "ipxe=http://{server}/boot.ipxe"];
    let _server = Server::start(&net, &root, &[&arguments[..], &["--boot", "x86-bios=boot.ipxe"]].concat());
    let (all, is_clean) = report(clones(&net, 20));
    assert!(is_clean, "{all:#}");
    assert_eq!((&all["booted"], &all["bytes"]), (&20.into(), &(20 * 400_162).into()), "{all:#}");
    assert!(
        all["p50_us"].as_u64() > Some(6_000_000),
        "the captured machine worked for seven seconds: {all:#}"
    );

    fs::remove_file(root.0.join("initrd.gz")).expect("it is there");
    let (none, is_clean) = report(clones(&net, 2));
    assert!(!is_clean && none["failures"]["a file is missing (/initrd.gz)"] == 2, "{none:#}");
}
