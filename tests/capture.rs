//! `serve --capture`: a machine boots, and the file that was kept of it is replayed and dissected.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, MessageType};
use support::dhcp::{bytes, collect, everyone, kind, pxe_rom, request, server_id, socket};
use support::{Folder, Net, SERVER, Server, has, skip};

const SOON: Duration = Duration::from_secs(5);

/// A ROM's DHCP conversation
fn leases(net: &Net) {
    let work = net.on_client(|| {
        let socket = socket("c0", 68);
        let ask = |kind, more: &[DhcpOption]| {
            let options = [&pxe_rom()[..], more].concat();
            socket.send_to(&bytes(&request(1, kind, &options)), everyone(67)).expect("sent");
            collect(&socket, SOON, |seen| !seen.is_empty()).remove(0).0
        };
        let offer = ask(MessageType::Discover, &[]);
        let choice =
            [DhcpOption::ServerIdentifier(server_id(&offer)), DhcpOption::RequestedIpAddress(offer.yiaddr())];
        assert_eq!(kind(&ask(MessageType::Request, &choice)), MessageType::Ack);
    });
    work.join().expect("an address");
}

fn succeeds(net: &Net, line: &str) {
    let output = net.client_shell(line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn said(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a display filter finds, as these fields
fn dissected(file: &Path, filter: &str, fields: &[&str]) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-Y", filter, "-T", "fields", "-E", "separator= "]);
    for field in fields {
        command.args(["-e", field]);
    }
    said(&mut command).lines().map(str::to_owned).collect()
}

#[test]
fn a_boot_is_kept_by_its_heads_and_replays_alike() {
    if let Some(missing) = ["tshark", "curl", "atftp"].iter().find(|program| !has(program)) {
        return skip(&format!("{missing} is not installed"));
    }
    let Some(net) = Net::new() else { return };
    let root = Folder::new("capture");
    root.file("bootx64.efi", 1468 * 200);
    root.file("img/initrd.gz", 3 << 20);
    root.put("boot.ipxe", b"#!ipxe\n");
    let file = root.0.join("boot.pcapng");
    let path = file.to_str().expect("a plain name");
    let pool = "10.77.0.100-10.77.0.199";
    let mut server = Server::start(&net, &root, &["--pool", pool, "--capture", path]);
    leases(&net);
    let options = "--option 'windowsize 16' --option 'blksize 1468' --option 'tsize 0'";
    succeeds(&net, &format!("atftp {options} -g -r bootx64.efi -l /dev/null {SERVER}"));
    succeeds(&net, &format!("! atftp -g -r nothing -l /dev/null {SERVER}"));
    let urls = format!("http://{SERVER}/boot.ipxe http://{SERVER}/img/initrd.gz http://{SERVER}/none");
    succeeds(&net, &format!("curl -sS -m 20 --next {urls} > /dev/null"));
    server.signal("TERM");
    let end = server.wait_for("captured", SOON);
    assert!(end.contains("packets to") && !end.contains("no room"), "{end}");
    assert_eq!(server.wait(SOON), Some(0));

    let replayed = said(Command::new(env!("CARGO_BIN_EXE_reveille")).arg("replay").arg(&file));
    // DISCOVER and REQUEST, two names by TFTP, three by HTTP
    assert!(replayed.ends_with("\n7 exchanges, 7 of them answered alike\n"), "{replayed}");

    let len = std::fs::metadata(&file).expect("the file").len();
    assert!(len < 200_000, "{len} bytes of 3 MiB that were sent");
    let wrong = dissected(&file, "_ws.malformed || _ws.expert.severity >= 8388608", &["frame.number"]);
    assert!(wrong.is_empty(), "tshark calls these packets wrong: {wrong:?}");
    let why = dissected(&file, "dhcp.option.dhcp == 2", &["frame.interface_name", "frame.comment"]);
    assert!(
        why[0].starts_with("s0 ") && why[0].contains("OFFER 10.77.0.100, bootx64.efi (well-known name)"),
        "{why:?}"
    );
    let ends = dissected(&file, "tftp.opcode == 4 && frame.comment", &["frame.comment"]);
    assert!(ends.len() == 1 && ends[0].contains("TFTP bootx64.efi"), "{ends:?}");
    let blocks = dissected(&file, "tftp.opcode == 3", &["frame.len", "frame.cap_len"]);
    assert_eq!((blocks.len(), &*blocks[0]), (201, "1514 46"), "heads, with the length that each had");
    let bodies = dissected(&file, "tcp.srcport == 80", &["tcp.len"]);
    let sent: usize = bodies.iter().map(|len| len.parse::<usize>().expect("a number")).sum();
    assert!(sent > 3 << 20, "the segments are as long as what was sent: {sent}");
}

#[test]
fn a_file_that_cannot_be_is_told_before_anything_is_served() {
    let Some(net) = Net::new() else { return };
    let root = Folder::new("capture-nowhere");
    let output = Command::new("ip")
        .args([
            "netns",
            "exec",
            &net.server,
            env!("CARGO_BIN_EXE_reveille"),
            "serve",
            "--proxy",
            "--interface",
            "s0",
        ])
        .args(["--capture", "/nonexistent/boot.pcapng", "--root"])
        .arg(&root.0)
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && told.contains("cannot capture to /nonexistent/boot.pcapng"),
        "{told}"
    );
    assert!(output.stdout.is_empty(), "nothing is said to be served");
}

#[test]
fn a_disk_that_is_full_and_a_file_that_is_removed_are_told_and_the_server_goes_on() {
    let Some(net) = Net::new() else { return };
    let root = Folder::new("capture-lost");
    root.put("boot.ipxe", b"#!ipxe\n");
    let fetch = || {
        let line = format!(
            "for i in 1 2 3; do curl -sSf -m 20 http://{SERVER}/boot.ipxe -o /dev/null || exit 1; done"
        );
        succeeds(&net, &line);
    };
    let file = root.0.join("boot.pcapng");
    let path = file.to_str().expect("a plain name");
    for (capture, told) in [
        ("/dev/full", "cannot write /dev/full: No space left on device"),
        (path, "is not there any more: nothing more is captured"),
    ] {
        let mut server = Server::start(&net, &root, &["--proxy", "--capture", capture]);
        if capture == path {
            std::fs::remove_file(path).expect("it is there");
        }
        fetch();
        let deadline = std::time::Instant::now() + SOON;
        while !server.output().contains(told) {
            assert!(std::time::Instant::now() < deadline, "{capture}: no line with {told:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        fetch();
        server.signal("TERM");
        assert_eq!(server.wait(SOON), Some(0), "{capture}");
    }
    // Nobody reads it any more: the end is not waited for.
    let pipe = root.0.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).expect("both its ends");
    let mut server =
        Server::start(&net, &root, &["--proxy", "--capture", pipe.to_str().expect("a plain name")]);
    succeeds(
        &net,
        &format!(
            "for i in $(seq 200); do echo http://{SERVER}/boot.ipxe; done | xargs curl -sSf -m 20 > /dev/null"
        ),
    );
    server.signal("TERM");
    assert!(server.wait_for("the end of the capture is lost", SOON * 2).contains("pipe"));
    assert_eq!(server.wait(SOON), Some(0));
    drop(reader);
}
