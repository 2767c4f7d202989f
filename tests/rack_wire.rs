//! The rack on a wire: simulated machines on one side of a veth, the real binary on the other.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

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

/// Bytes that have come in on the client's side, and the time before and after they were read
fn received() -> (Instant, u64, Instant) {
    let before = Instant::now();
    let table = fs::read_to_string("/proc/thread-self/net/dev").expect("the namespace's interfaces");
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix("c0:")).expect("c0");
    let bytes = line.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).expect("a number");
    (before, bytes, Instant::now())
}

#[test]
fn a_rate_holds_at_every_moment_and_all_boot() {
    const BYTES_PER_S: u64 = 10_000_000;
    /// What leaves unasked: the first answers of all, the fronts of bodies
    const BURST: u64 = 2_000_000;
    let Some(net) = Net::new() else { return };
    let root = site("rack-rate");
    let config = fs::read_to_string(root.0.join("reveille.toml")).expect("its configuration");
    let capped = config.replace("dhcp = \"full\"", "dhcp = \"full\"\nrate = \"80M\"");
    assert_ne!(config, capped);
    root.put("reveille.toml", capped.as_bytes());
    let _server = serve(&net, &root);
    let is_over = Arc::new(AtomicBool::new(false));
    let watcher = {
        let is_over = is_over.clone();
        net.on_client(move || {
            let mut seen = vec![received()];
            while !is_over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(20));
                seen.push(received());
            }
            seen
        })
    };
    let (report, is_clean) = report(rack(&net, "--machines 42 --power-on burst", &root.0));
    is_over.store(true, Ordering::Relaxed);
    let seen = watcher.join().expect("it has watched");
    assert!(is_clean && report["booted"] == 42, "{report:#}");
    let total = seen[seen.len() - 1].1 - seen[0].1;
    assert!(total > 10 * BURST, "both protocols have carried enough to exceed it: {total}");
    for (i, (from, before, _)) in seen.iter().enumerate() {
        for (_, after, to) in &seen[i..] {
            let us = u64::try_from(to.duration_since(*from).as_micros()).expect("a short time");
            let most = BYTES_PER_S * us / 1_000_000 + BURST;
            assert!(after - before <= most, "{} bytes in {us} µs", after - before);
        }
    }
}

#[test]
fn an_interface_that_goes_away_ends_the_rack_with_its_report() {
    let Some(net) = Net::new() else { return };
    let rack = rack(&net, "--machines 3 --firmware ipxe", &std::env::temp_dir());
    thread::sleep(Duration::from_secs(1));
    assert!(net.client_shell("ip link set c0 down").status.success());
    let (report, is_clean) = report(rack);
    assert!(!is_clean && report["is_interrupted"] == true && report["heard"] == 0, "{report:#}");
    let why = report["ended_by"].as_str().expect("a reason");
    assert!(why.starts_with("c0 was gone: "), "{why}");
}
