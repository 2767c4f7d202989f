//! The life of the process: reload, stop, and the sentences it says when it cannot start.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::{Folder, Net, SERVER, Server};

const SOON: Duration = Duration::from_secs(5);

fn write_config(path: &Path, root: &Folder, more: &str) {
    let root = root.0.display();
    let text = format!(
        "root = \"{root}\"\nstate-dir = \"{root}/.state\"\n[[network]]\ninterface = \"s0\"\npool = [\"10.77.0.100-10.77.0.199\"]\n{more}"
    );
    fs::write(path, text).expect("a configuration");
}

fn explained(net: &Net, config: &Path) -> String {
    let output = Command::new("ip")
        .args(["netns", "exec", &net.server, env!("CARGO_BIN_EXE_reveille"), "explain", "--config"])
        .arg(config)
        .args(["--mac", "02:00:00:00:00:01", "--arch", "x86-bios"])
        .output()
        .expect("it runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a BIOS ROM is offered to boot
fn offered_file(net: &Net) -> String {
    use dhcproto::v4::{Architecture, DhcpOption, MessageType};
    use support::dhcp::{bytes, collect, everyone, request, socket};
    let work = net.on_client(|| {
        let socket = socket("c0", 68);
        let rom = [
            DhcpOption::ClassIdentifier(b"PXEClient:Arch:00000:UNDI:002001".to_vec()),
            DhcpOption::ClientSystemArchitecture(Architecture::X86_Bios),
        ];
        socket.send_to(&bytes(&request(5, MessageType::Discover, &rom)), everyone(67)).expect("sent");
        let offers = collect(&socket, SOON, |seen| !seen.is_empty());
        let file = offers[0].0.fname().unwrap_or_default().to_vec();
        String::from_utf8_lossy(&file).trim_end_matches('\0').to_owned()
    });
    work.join().expect("an offer")
}

#[test]
fn a_reload_swaps_the_plan_or_says_what_is_wrong() {
    let Some(net) = Net::new() else { return };
    let root = Folder::new("reload");
    let config = root.0.join("reveille.toml");
    for name in ["one.0", "two.0"] {
        root.put(name, b"a loader");
    }
    write_config(&config, &root, "[[boot]]\nfile = \"one.0\"\n");
    let mut server = Server::start_with_config(&net, &config);
    assert_eq!(offered_file(&net), "one.0");
    assert!(explained(&net, &config).contains("one.0"), "explain and the server agree");

    write_config(&config, &root, "[[boot]]\nfile = \"two.0\"\n");
    server.signal("HUP");
    server.wait_for("a new configuration is in force", SOON);
    assert_eq!(offered_file(&net), "two.0");

    write_config(&config, &root, "[[boot]]\nfil = \"one.0\"\n");
    server.signal("HUP");
    let said = server.wait_for("unknown key `fil`", SOON);
    assert!(said.contains("reveille.toml:7:1"), "it names the place: {said}");
    server.wait_for("the old configuration stays in force", SOON);
    assert_eq!(offered_file(&net), "two.0");
}

#[test]
fn a_stop_lets_a_transfer_end_and_takes_no_new_one() {
    let Some(net) = Net::new() else { return };
    let root = Folder::new("stop");
    let bytes = root.file("disk.img", 30 << 20);
    let mut server = Server::start(&net, &root, &["--proxy"]);
    let (started, has_started) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let client = net.on_client(move || {
        let mut stream = TcpStream::connect((SERVER, 80)).expect("HTTP answers");
        stream.write_all(b"GET /disk.img HTTP/1.1\r\nHost: a\r\n\r\n").expect("asked");
        let mut received = vec![0; 100_000];
        stream.read_exact(&mut received).expect("a beginning");
        started.send(()).expect("the test waits");
        may_go_on.recv().expect("the test says when");
        let refused = TcpStream::connect_timeout(&(SERVER, 80).into(), Duration::from_secs(1));
        let is_refused = refused.is_err() || {
            let mut stream = refused.expect("checked");
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a time-out");
            !matches!(stream.read(&mut [0; 16]), Ok(1..))
        };
        stream.read_to_end(&mut received).expect("the rest, and the end of the connection");
        (received, is_refused)
    });
    has_started.recv().expect("it has begun");
    server.signal("TERM");
    server.wait_for("stopping", SOON);
    go_on.send(()).expect("the client waits");
    let (received, is_refused) = client.join().expect("the client's side holds");
    assert!(is_refused, "nothing new begins");
    assert!(received.ends_with(&bytes), "the transfer is whole: {} bytes", received.len());
    assert_eq!(server.wait(Duration::from_secs(15)), Some(0));
}

#[test]
fn what_cannot_start_says_so_and_what_to_do() {
    let Some(net) = Net::new() else { return };
    let root = Folder::new("sentences");
    let path = root.0.display().to_string();
    let said = |arguments: &[&str]| {
        let output = Command::new("ip")
            .args(["netns", "exec", &net.server, env!("CARGO_BIN_EXE_reveille"), "serve"])
            .args(arguments)
            .output()
            .expect("it runs");
        assert!(!output.status.success(), "{arguments:?} must not start");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = said(&["--interface", "eth7", "--root", &path, "--proxy"]);
    assert!(text.contains("there is no interface eth7") && text.contains("s0"), "{text}");
    let text = said(&["--interface", "s0", "--root", "/nowhere", "--proxy"]);
    assert!(text.contains("there is no directory /nowhere"), "{text}");
    let text = said(&["--interface", "s0", "--root", &path, "--pool", "10.1.0.1-10.1.0.9"]);
    assert!(text.contains("10.1.0.1-10.1.0.9 is not in the subnet 10.77.0.0/24"), "{text}");
    let _server = Server::start(&net, &root, &["--proxy"]);
    let text = said(&["--interface", "s0", "--root", &path, "--proxy"]);
    assert!(text.contains("port") && text.contains("reveille"), "who has the port: {text}");
}
