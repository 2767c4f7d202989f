//! What the tests with privileges share: network namespaces that clean up after themselves, and a running server.
//!
//! A test asks for [`Net::new`]; where the machine cannot (no root, no `ip`), it prints `skipped: …`, and under CI fails.

#![allow(unreachable_pub, reason = "a module of several test binaries")]
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod dhcp;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The server's address in every [`Net`]
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The client's address in every [`Net`], outside all pools
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// Two namespaces joined by a veth: `s0` at [`SERVER`] on one side, `c0` on the other
pub struct Net {
    pub server: String,
    pub client: String,
}

/// Runs a command and returns what it printed; a failure to start it is a failure of the test
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

fn ip(arguments: &str) {
    let output = run(Command::new("ip").args(arguments.split_whitespace()));
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Says why a test did not run; in CI that is a failure
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "skipped in CI: {why}");
    eprintln!("skipped: {why}");
}

/// Whether `program` is installed
pub fn has(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':').any(|folder| Path::new(folder).join(program).is_file())
}

impl Net {
    /// A pair of namespaces with the client's address set, or `None` with the reason printed
    pub fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() || !has("ip") {
            skip("namespaces need root and iproute2");
            return None;
        }
        let tag = format!("rv{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let net = Self { server: format!("{tag}s"), client: format!("{tag}c") };
        ip(&format!("netns add {}", net.server));
        ip(&format!("netns add {}", net.client));
        ip(&format!("link add s0 netns {} type veth peer name c0 netns {}", net.server, net.client));
        for (namespace, link) in [(&net.server, "s0"), (&net.client, "c0")] {
            ip(&format!("-n {namespace} link set {link} up"));
            ip(&format!("-n {namespace} link set lo up"));
        }
        ip(&format!("-n {} addr add {SERVER}/24 dev s0", net.server));
        ip(&format!("-n {} addr add {CLIENT}/24 dev c0", net.client));
        Some(net)
    }

    /// A command in the client's namespace
    pub fn client_command(&self, program: &str) -> Command {
        in_namespace_command(&self.client, program)
    }

    /// Runs a shell line in the client's namespace
    pub fn client_shell(&self, line: &str) -> Output {
        run(self.client_command("sh").arg("-c").arg(line))
    }

    /// Runs `work` on a thread whose sockets belong to the client's namespace
    pub fn on_client<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let namespace =
            fs::File::open(format!("/var/run/netns/{}", self.client)).expect("the namespace's file");
        thread::spawn(move || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(kind))
                .expect("root may enter a namespace");
            work()
        })
    }
}

fn in_namespace_command(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

impl Drop for Net {
    fn drop(&mut self) {
        for namespace in [&self.server, &self.client] {
            if let Ok(pids) = Command::new("ip").args(["netns", "pids", namespace]).output() {
                for pid in String::from_utf8_lossy(&pids.stdout).split_whitespace() {
                    let _ = Command::new("kill").args(["-9", pid]).status();
                }
            }
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

/// A folder that is removed with the value
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("reveille-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    /// Writes a file of `size` pseudo-random bytes and returns them
    pub fn file(&self, name: &str, size: usize) -> Vec<u8> {
        let bytes = noise(size as u64 ^ 0x9e37_79b9, size);
        self.put(name, &bytes);
        bytes
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Pseudo-random bytes: the same for the same seed (xorshift64*)
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..len.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).take(len).collect()
}

/// xorshift64*: seeded, so that a failure repeats
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Any byte
    pub fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// A port from 1024 up
    pub fn port(&mut self) -> u16 {
        1024 | u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number below `bound`
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a usize")
    }
}

/// The drivers that this machine has, for tests that try each; `REVEILLE_TEST_IO` leaves one of them
pub fn ways() -> Vec<&'static str> {
    match std::env::var("REVEILLE_TEST_IO").as_deref() {
        Ok("epoll") => return vec!["epoll"],
        Ok("uring") => return vec!["uring"],
        _ => {}
    }
    match reveille::io::uring::probe() {
        Ok(()) => vec!["epoll", "uring"],
        Err(why) => {
            skip(&why);
            vec!["epoll"]
        }
    }
}

/// `reveille serve` in the server's namespace; killed with the value
pub struct Server {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Server {
    /// Starts it with `--interface s0 --root FOLDER --state-dir FOLDER/.state` and `arguments`, and waits until it is ready
    pub fn start(net: &Net, root: &Folder, arguments: &[&str]) -> Self {
        let state = root.0.join(".state");
        let mut command = in_namespace_command(&net.server, env!("CARGO_BIN_EXE_reveille"));
        command
            .args(["serve", "--interface", "s0", "--root"])
            .arg(&root.0)
            .arg("--state-dir")
            .arg(&state)
            .args(arguments);
        Self::spawn(command)
    }

    /// Starts it with a configuration file
    pub fn start_with_config(net: &Net, config: &Path) -> Self {
        let mut command = in_namespace_command(&net.server, env!("CARGO_BIN_EXE_reveille"));
        command.args(["serve", "--config"]).arg(config);
        Self::spawn(command)
    }

    /// With the driver that `REVEILLE_TEST_IO` names, where it does: so any test can be run with each
    fn spawn(mut command: Command) -> Self {
        let is_chosen = command.get_args().any(|argument| argument == "--io");
        if let Some(way) = std::env::var_os("REVEILLE_TEST_IO").filter(|_| !is_chosen) {
            command.arg("--io").arg(way);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("reveille starts");
        let (sender, lines) = mpsc::channel();
        let streams: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
        for stream in streams {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        let mut server = Self { child, lines, seen: Vec::new() };
        server.wait_for("ready", Duration::from_secs(20));
        server
    }

    /// The process id
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that holds `text`
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> String {
        let deadline = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => {
                    panic!("no line with {text:?} within {limit:?}; it printed:\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    /// All that it has printed so far
    pub fn output(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }

    /// Sends a signal by name (`TERM`, `HUP`, `KILL`)
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().expect("kill runs");
        assert!(status.success(), "kill -s {name}");
    }

    /// Waits for its end and returns the exit code
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child to wait for") {
                return status.code();
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("still running after {limit:?}; it printed:\n{}", self.output());
    }

    /// Resident memory in KiB
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the server printed ---\n{}", self.output());
        }
    }
}
