//! Real clients from Debian, each against a running server in a namespace of its own.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Folder, Net, SERVER, Server, has, skip};

const POOL: [&str; 2] = ["--pool", "10.77.0.100-10.77.0.199"];

/// A running server with a root to serve, or nothing where the machine cannot (said by a printed line)
fn serving(name: &str, programs: &[&str], arguments: &[&str]) -> Option<(Net, Folder, Server)> {
    if let Some(missing) = programs.iter().find(|program| !has(program)) {
        skip(&format!("{missing} is not installed"));
        return None;
    }
    let net = Net::new()?;
    let root = Folder::new(name);
    let server = Server::start(&net, &root, arguments);
    Some((net, root, server))
}

/// Runs a shell line in the client's namespace; its output, having succeeded
fn succeeds(net: &Net, line: &str) -> String {
    let output = net.client_shell(line);
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}\n{text}");
    text
}

fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn same(path: &Path, bytes: &[u8]) {
    let got = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(got == bytes, "{}: {} bytes, expected {}", path.display(), got.len(), bytes.len());
}

// --- TFTP ---

#[test]
fn tftp_hpa_reads_octet_and_netascii_and_is_told_of_a_missing_file() {
    let Some((net, root, _server)) = serving("hpa", &["tftp"], &POOL) else { return };
    let out = Folder::new("hpa-out");
    let bytes = root.file("big.bin", 3 * 1024 * 1024 + 17);
    root.put("text", b"one\ntwo\r\n");
    let path = out.0.display();
    succeeds(&net, &format!("tftp -m binary {SERVER} -c get big.bin {path}/big"));
    same(&out.0.join("big"), &bytes);
    // tftp-hpa undoes netascii on arrival: what comes out is what went in
    succeeds(&net, &format!("tftp -m ascii {SERVER} -c get text {path}/text"));
    same(&out.0.join("text"), b"one\ntwo\r\n");
    let told = net.client_shell(&format!("cd {path}; tftp -m binary {SERVER} -c get nothing; true"));
    let told = String::from_utf8_lossy(&told.stdout).to_lowercase();
    assert!(told.contains("not found"), "{told}");
}

#[test]
fn atftp_reads_with_a_window() {
    let Some((net, root, _server)) = serving("atftp", &["atftp"], &POOL) else { return };
    let out = Folder::new("atftp-out");
    let bytes = root.file("big.bin", 5 * 1024 * 1024);
    for windowsize in [1, 16, 64] {
        let to = out.0.join(format!("w{windowsize}"));
        let options =
            format!("--option 'windowsize {windowsize}' --option 'blksize 1428' --option 'tsize 0'");
        succeeds(&net, &format!("atftp {options} -g -r big.bin -l {} {SERVER}", to.display()));
        same(&to, &bytes);
    }
}

#[test]
fn curl_reads_tftp_and_busybox_too() {
    let Some((net, root, _server)) = serving("curltftp", &["curl", "busybox"], &POOL) else { return };
    let out = Folder::new("curltftp-out");
    let bytes = root.file("folder/file.bin", 1024 * 1024);
    let path = out.0.display();
    succeeds(&net, &format!("curl -sS -m 30 -o {path}/curl tftp://{SERVER}/folder/file.bin"));
    same(&out.0.join("curl"), &bytes);
    succeeds(
        &net,
        &format!("curl -sS -m 30 --tftp-blksize 1400 -o {path}/curl2 tftp://{SERVER}//folder/./file.bin"),
    );
    same(&out.0.join("curl2"), &bytes);
    succeeds(&net, &format!("busybox tftp -g -b 1400 -r folder/file.bin -l {path}/busybox {SERVER}"));
    same(&out.0.join("busybox"), &bytes);
    let outside = net.client_shell(&format!("curl -sS -m 10 tftp://{SERVER}/../../etc/passwd"));
    assert!(!outside.status.success() && outside.stdout.is_empty(), "nothing above the root is served");
}

// --- HTTP ---

#[test]
fn curl_reads_ranges_and_resumes() {
    let Some((net, root, _server)) = serving("curl", &["curl"], &POOL) else { return };
    let out = Folder::new("curl-out");
    let bytes = root.file("disk.img", 40 * 1024 * 1024 + 5);
    let to = out.0.join("file");
    succeeds(&net, &format!("curl -sS -f -m 60 -o {} http://{SERVER}/disk.img", to.display()));
    same(&to, &bytes);
    std::fs::write(&to, &bytes[..1_234_567]).expect("a part");
    succeeds(&net, &format!("curl -sS -f -m 60 -C - -o {} http://{SERVER}/disk.img", to.display()));
    same(&to, &bytes);
    let part = out.0.join("part");
    for (range, expected) in [
        ("5-9", &bytes[5..10]),
        ("41943040-", &bytes[41_943_040..]),
        ("-7", &bytes[bytes.len() - 7..]),
        ("0-0", &bytes[..1]),
    ] {
        succeeds(
            &net,
            &format!("curl -sS -f -m 60 -r {range} -o {} http://{SERVER}/disk.img", part.display()),
        );
        same(&part, expected);
    }
    let several =
        succeeds(&net, &format!("curl -sS -f -m 60 -r 0-3,10-12 http://{SERVER}/disk.img | strings"));
    assert!(
        several.contains("Content-Range: bytes 0-3/41943045") && several.contains("bytes 10-12/"),
        "{several}"
    );
    let status = |arguments: &str| {
        succeeds(
            &net,
            &format!("curl -s -m 30 -o /dev/null -w '%{{http_code}}' {arguments} http://{SERVER}/disk.img"),
        )
    };
    assert_eq!(status("-r 99999999-"), "416");
    assert_eq!(status("-I"), "200");
    assert_eq!(
        status("-H 'If-Modified-Since: Fri, 01 Jan 2027 00:00:00 GMT'"),
        "304",
        "not modified since then"
    );
    assert_eq!(status("-X DELETE"), "405");
    let listing = succeeds(&net, &format!("curl -sS -f -m 30 http://{SERVER}/"));
    assert!(listing.contains("disk.img"), "{listing}");
}

#[test]
fn wget_mirrors_and_continues() {
    let Some((net, root, _server)) = serving("wget", &["wget"], &POOL) else { return };
    let out = Folder::new("wget-out");
    let bytes = root.file("pool/main/a file.deb", 2 * 1024 * 1024);
    let path = out.0.display();
    succeeds(&net, &format!("cd {path} && wget -q -T 30 -t 1 'http://{SERVER}/pool/main/a%20file.deb'"));
    same(&out.0.join("a file.deb"), &bytes);
    std::fs::write(out.0.join("a file.deb"), &bytes[..999]).expect("a part");
    succeeds(&net, &format!("cd {path} && wget -q -c -T 30 -t 1 'http://{SERVER}/pool/main/a%20file.deb'"));
    same(&out.0.join("a file.deb"), &bytes);
    // The listing's links lead there
    succeeds(&net, &format!("cd {path} && wget -q -r -np -nH -T 30 -t 1 http://{SERVER}/pool/"));
    same(&out.0.join("pool/main/a file.deb"), &bytes);
}

// --- DHCP ---

/// udhcpc's script: prints what it was told
fn udhcpc_script(folder: &Folder) -> String {
    let path = folder.0.join("script");
    // It takes the address, since a RELEASE is sent from it
    std::fs::write(
        &path,
        "#!/bin/sh\n[ $1 != bound ] || ip addr replace $ip/24 dev $interface\necho \"$1 ip=$ip siaddr=$siaddr boot=$boot_file lease=$lease router=$router\"\n",
    )
    .expect("a script");
    let status = Command::new("chmod").arg("+x").arg(&path).status().expect("chmod");
    assert!(status.success());
    path.display().to_string()
}

#[test]
fn udhcpc_binds_keeps_its_address_and_releases() {
    let Some((net, root, mut server)) =
        serving("udhcpc", &["busybox"], &["--pool", "10.77.0.100-10.77.0.199", "--lease", "1h"])
    else {
        return;
    };
    let script = udhcpc_script(&root);
    let line = format!("busybox udhcpc -i c0 -n -q -f -t 5 -T 2 -s {script}");
    let first = succeeds(&net, &line);
    let bound = first.lines().find(|l| l.starts_with("bound ")).expect("a bound line").to_owned();
    assert!(bound.contains("ip=10.77.0.1") && bound.contains("lease=3600"), "{bound}");
    let second = succeeds(&net, &line);
    assert!(second.contains(&bound), "the same machine gets the same address: {bound}\n{second}");
    succeeds(&net, &format!("timeout -s TERM 5 busybox udhcpc -i c0 -f -R -t 5 -T 2 -s {script} || true"));
    server.wait_for("RELEASE", Duration::from_secs(5));
}

#[test]
fn udhcpc_declines_an_address_that_somebody_uses_and_gets_another() {
    // The server's own probe is off, so that it is the client that finds out
    if !has("busybox") {
        return skip("busybox is not installed");
    }
    let Some(net) = Net::new() else { return };
    let root = Folder::new("decline");
    let config = root.0.join("reveille.toml");
    let text = format!(
        "root = {:?}\nstate-dir = {:?}\n[[network]]\ninterface = \"s0\"\ndhcp = \"full\"\nprobe = false\npool = [\"10.77.0.100-10.77.0.101\"]\n",
        root.0,
        root.0.join(".state")
    );
    std::fs::write(&config, text).expect("a configuration");
    let mut server = Server::start_with_config(&net, &config);
    // A squatter on the server's side of the wire answers ARP for the whole small pool, then for one address less
    let squat = |verb: &str, address: &str| {
        let status = Command::new("ip")
            .args(["-n", &net.server, "addr", verb, &format!("{address}/32"), "dev", "s0"])
            .status();
        assert!(status.expect("ip runs").success());
    };
    squat("add", "10.77.0.100");
    let script = udhcpc_script(&root);
    let line = format!("timeout 60 busybox udhcpc -i c0 -n -q -f -a -t 8 -T 2 -A 2 -s {script}");
    let mut got = succeeds(&net, &line);
    if !server.output().contains("DECLINE") {
        // It was offered the free one first: squat on that too, release, and ask again
        squat("add", "10.77.0.101");
        squat("del", "10.77.0.100");
        got = succeeds(&net, &line);
    }
    assert!(server.output().contains("DECLINE"), "{}", server.output());
    assert!(got.contains("bound ip=10.77.0.10"), "{got}");
}

/// `dhclient` in the client's namespace, with its files in `folder`
struct Dhclient<'a> {
    net: &'a Net,
    folder: Folder,
}

impl Dhclient<'_> {
    fn run(&self, arguments: &str) -> String {
        let path = self.folder.0.display();
        let files = format!("-lf {path}/leases -pf {path}/pid -sf /bin/true -cf {path}/conf");
        succeeds(self.net, &format!("timeout 60 dhclient -4 -v {files} {arguments} c0 2>&1"))
    }
}

#[test]
fn dhclient_lives_a_whole_life() {
    let Some((net, _root, mut server)) =
        serving("dhclient", &["dhclient"], &["--pool", "10.77.0.100-10.77.0.199", "--lease", "12s"])
    else {
        return;
    };
    let dhclient = Dhclient { net: &net, folder: Folder::new("dhclient-files") };
    std::fs::write(dhclient.folder.0.join("conf"), "timeout 20;\nretry 5;\n").expect("a configuration");
    let text = dhclient.run("-1");
    assert!(text.contains("DHCPACK of 10.77.0.1") && text.contains("bound to"), "{text}");
    let count = |server: &mut Server, word: &str| server.output().matches(word).count();
    let acks = count(&mut server, "ACK");
    // RENEWING (RFC 2131 §4.4.5): unicast to the server at half the lease
    until("the lease is renewed", Duration::from_secs(20), || count(&mut server, "ACK") > acks);
    // REBINDING: unicast goes astray, so at 7/8 of the lease it is broadcast
    let astray = format!("ip neigh replace {SERVER} lladdr 02:00:00:00:00:99 dev c0 nud permanent");
    succeeds(&net, &astray);
    let acks = count(&mut server, "ACK");
    until("the lease is rebound", Duration::from_secs(30), || count(&mut server, "ACK") > acks);
    succeeds(&net, "ip neigh del 10.77.0.1 dev c0");
    dhclient.run("-r");
    server.wait_for("RELEASE", Duration::from_secs(5));
    // INIT-REBOOT: it asks for the address that it remembers
    let text = dhclient.run("-1");
    assert!(text.contains("DHCPACK of"), "{text}");
    dhclient.run("-x");
}

#[test]
fn perfdhcp_loses_nothing() {
    let Some((net, _root, _server)) =
        serving("perfdhcp", &["perfdhcp"], &["--pool", "10.77.0.100-10.77.0.250"])
    else {
        return;
    };
    let text = succeeds(&net, "perfdhcp -4 -l c0 -r 200 -n 1000 -R 100 -p 20 -W 500000 2>&1");
    let drops: Vec<_> = text.lines().filter(|l| l.contains("drops:")).collect();
    assert_eq!(drops.len(), 2, "{text}");
    assert!(drops.iter().all(|l| l.trim_start().starts_with("drops: 0")), "{text}");
}
