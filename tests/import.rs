//! dnsmasq configurations as people publish them: dnsmasq serves one, reveille serves its import, and the same clients get
//! the same of both — address, boot file, boot server, or nothing.

mod support;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use dhcproto::v4::{Architecture, DhcpOption, Message, MessageType, OptionCode, UnknownOption};

use support::{Folder, Net, Server, dhcp, has, run, skip};

/// The server's address in all the configurations
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 1);
/// Where the client asks boot servers from
const ASKING: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 2);
/// How long a server may take (reveille probes an address before it offers it)
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Who asks
#[derive(Clone, Copy)]
struct Machine {
    name: &'static str,
    mac: [u8; 6],
    /// Option 93; `None`: an operating system
    arch: Option<u16>,
    /// Option 60, but for `PXEClient:Arch:…`
    class: Option<&'static str>,
    ipxe: bool,
    relay: Option<Ipv4Addr>,
}

const fn machine(name: &'static str, number: u8, arch: Option<u16>) -> Machine {
    Machine { name, mac: [2, 0x99, 0, 0, 0, number], arch, class: None, ipxe: false, relay: None }
}

const BIOS: Machine = machine("a BIOS ROM", 1, Some(0));
const X64: Machine = machine("an x64 UEFI ROM", 2, Some(7));
const IA32: Machine = machine("an IA32 UEFI ROM", 3, Some(6));
const ARM64: Machine = machine("an ARM64 UEFI ROM", 4, Some(11));
const IPXE: Machine = Machine { ipxe: true, ..machine("iPXE on BIOS", 5, Some(0)) };
const IPXE_X64: Machine = Machine { ipxe: true, ..machine("iPXE on UEFI", 6, Some(7)) };
const SYSTEM: Machine = machine("an operating system", 7, None);
const HTTP: Machine = Machine {
    class: Some("HTTPClient:Arch:00016:UNDI:003000"),
    ..machine("a UEFI HTTP client", 8, Some(16))
};
const ONIE: Machine = Machine { class: Some("onie_vendor:x86_64-accton"), ..machine("ONIE", 9, None) };
const PI: Machine = Machine { mac: [0xb8, 0x27, 0xeb, 0, 0, 1], ..machine("a Raspberry Pi", 10, Some(0)) };

const fn known(number: u8) -> Machine {
    Machine { mac: [0x52, 0x54, 0, 0xaa, 0, number], ..machine("a machine of the file", 0, Some(0)) }
}

const fn behind(relay: [u8; 4], number: u8) -> Machine {
    let relay = Ipv4Addr::new(relay[0], relay[1], relay[2], relay[3]);
    Machine { relay: Some(relay), ..machine("a BIOS ROM behind a relay", number, Some(0)) }
}

/// Who is asked for beside [`BIOS`], [`X64`] and [`SYSTEM`]
fn guests(name: &str) -> Vec<Machine> {
    match name.get(..2).unwrap_or_default() {
        "03" => vec![IA32, ARM64],
        "04" | "05" | "07" | "13" => vec![IPXE, IPXE_X64],
        "06" | "21" => vec![IPXE, IA32, ARM64],
        "09" => vec![known(1), known(2), known(3), known(4), known(5)],
        "10" => vec![known(1), known(2), known(0x99)],
        "11" => vec![behind([10, 44, 0, 1], 11), behind([10, 45, 0, 1], 12), behind([10, 46, 0, 1], 13)],
        "12" => vec![IA32],
        "14" => vec![PI],
        "15" => vec![HTTP],
        "16" => vec![ONIE],
        "19" => vec![known(9)],
        "20" => vec![ARM64],
        _ => vec![],
    }
}

/// What it got
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Nothing,
    /// The boot options alone
    Proxy {
        file: String,
        server: Ipv4Addr,
    },
    /// An address too
    Full {
        address: Ipv4Addr,
        file: String,
        server: Ipv4Addr,
    },
}

fn discover(machine: &Machine) -> Message {
    let mut message = dhcp::request(u32::from(machine.mac[5]), MessageType::Discover, &[]);
    message.set_chaddr(&machine.mac);
    let mut options = vec![DhcpOption::ParameterRequestList(vec![
        OptionCode::SubnetMask,
        OptionCode::Router,
        OptionCode::VendorExtensions,
        OptionCode::TFTPServerName,
        OptionCode::BootfileName,
    ])];
    if let Some(arch) = machine.arch {
        let class = format!("PXEClient:Arch:{arch:05}:UNDI:003000");
        options.push(DhcpOption::ClassIdentifier(class.into_bytes()));
        options.push(DhcpOption::ClientSystemArchitecture(Architecture(arch)));
        options.push(DhcpOption::ClientNetworkInterface(1, 3, 0));
    }
    if let Some(class) = machine.class {
        options.push(DhcpOption::ClassIdentifier(class.into()));
    }
    if machine.ipxe {
        options.push(DhcpOption::UserClass(b"iPXE".to_vec()));
        // Features: HTTP, and that it boots a bzImage.
        let features = vec![0x13, 1, 1, 0x18, 1, 1];
        options.push(DhcpOption::Unknown(UnknownOption::new(OptionCode::Unknown(175), features)));
    }
    for option in options {
        message.opts_mut().insert(option);
    }
    if let Some(relay) = machine.relay {
        message.set_giaddr(relay).set_hops(1);
    }
    message
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The boot file of a reply and the server that holds it
fn boot_of(reply: &Message) -> (String, Ipv4Addr) {
    let by_option = match reply.opts().get(OptionCode::BootfileName) {
        Some(DhcpOption::BootfileName(name)) => text(name),
        _ => String::new(),
    };
    let file = reply.fname().map(text).filter(|name| !name.is_empty()).unwrap_or(by_option);
    let by_option = match reply.opts().get(OptionCode::TFTPServerName) {
        Some(DhcpOption::TFTPServerName(name)) => text(name).parse().ok(),
        _ => None,
    };
    // Without any, a ROM asks who answered it.
    let by_field = Some(reply.siaddr()).filter(|address| !address.is_unspecified());
    (file, by_option.or(by_field).unwrap_or_else(|| dhcp::server_id(reply)))
}

/// A sub-option of PXE's option 43
fn vendor(reply: &Message, wanted: u8) -> Option<Vec<u8>> {
    let Some(DhcpOption::VendorExtensions(bytes)) = reply.opts().get(OptionCode::VendorExtensions) else {
        return None;
    };
    let mut rest = bytes.as_slice();
    while let [code, len, tail @ ..] = rest
        && *code != 255
    {
        let (value, tail) = tail.split_at_checked((*len).into())?;
        if *code == wanted {
            return Some(value.to_vec());
        }
        rest = tail;
    }
    None
}

struct Client {
    dhcp: UdpSocket,
    relay: UdpSocket,
    boot_server: UdpSocket,
}

impl Client {
    fn new() -> Self {
        Self {
            dhcp: dhcp::socket("c0", 68),
            relay: dhcp::socket("c0", 67),
            boot_server: dhcp::socket("c0", 4011),
        }
    }

    /// The first reply of that kind
    fn ask(&self, message: &Message, kinds: &[MessageType]) -> Option<Message> {
        let is_relayed = !message.giaddr().is_unspecified();
        let socket = if is_relayed { &self.relay } else { &self.dhcp };
        let to = if is_relayed { SocketAddrV4::new(SERVER, 67) } else { dhcp::everyone(67) };
        socket.send_to(&dhcp::bytes(message), to).expect("a link to send on");
        self.reply(socket, message, kinds)
    }

    fn reply(&self, socket: &UdpSocket, message: &Message, kinds: &[MessageType]) -> Option<Message> {
        let is_ours = |reply: &Message| {
            reply.xid() == message.xid() && reply.opts().msg_type().is_some_and(|kind| kinds.contains(&kind))
        };
        let replies = dhcp::collect(socket, PATIENCE, |all| all.iter().any(|(reply, _)| is_ours(reply)));
        replies.into_iter().map(|(reply, _): (Message, SocketAddr)| reply).find(|reply| is_ours(reply))
    }

    /// From DISCOVER to the boot file, as a ROM goes
    fn boot(&self, machine: &Machine) -> Got {
        let mut request = discover(machine);
        let Some(offer) = self.ask(&request, &[MessageType::Offer]) else { return Got::Nothing };
        let address = offer.yiaddr();
        if address.is_unspecified() {
            let (file, server) = self.boot_file(machine, &request, &offer);
            return if file.is_empty() { Got::Nothing } else { Got::Proxy { file, server } };
        }
        request.opts_mut().insert(DhcpOption::MessageType(MessageType::Request));
        request.opts_mut().insert(DhcpOption::RequestedIpAddress(address));
        request.opts_mut().insert(DhcpOption::ServerIdentifier(dhcp::server_id(&offer)));
        let ack = self.ask(&request, &[MessageType::Ack]).expect("an ACK for what was offered");
        assert_eq!(ack.yiaddr(), address);
        let (file, server) = self.boot_file(machine, &request, &ack);
        Got::Full { address, file, server }
    }

    /// The file that a reply leads to: the menu's first item, the boot server's where the reply says only that there is
    /// one, or its own
    fn boot_file(&self, machine: &Machine, request: &Message, reply: &Message) -> (String, Ipv4Addr) {
        let pi = "Raspberry Pi Boot";
        let is_for_pi = vendor(reply, 9).is_some_and(|menu| String::from_utf8_lossy(&menu).contains(pi));
        if is_for_pi && machine.mac == PI.mac {
            // Its ROM looks for this text, and fetches the files that it knows from the server.
            return (pi.to_owned(), boot_of(reply).1);
        }
        let discovery = vendor(reply, 6).and_then(|value| value.first().copied());
        let menu = vendor(reply, 9).filter(|_| discovery.is_some_and(|bits| bits & 8 == 0));
        let item = menu.and_then(|menu| Some([*menu.first()?, *menu.get(1)?, 0, 0]));
        if item.is_some_and(|item| item[..2] == [0, 0]) {
            // Boot from the local disk.
            return (String::new(), SERVER);
        }
        let is_pxe = match reply.opts().get(OptionCode::ClassIdentifier) {
            Some(DhcpOption::ClassIdentifier(class)) => class.starts_with(b"PXEClient"),
            _ => false,
        };
        let own = boot_of(reply);
        if item.is_none() && !(own.0.is_empty() && is_pxe && discovery.is_none()) {
            return own;
        }
        let mut message = request.clone();
        message.set_xid(request.xid() ^ 0x00ff_0000).set_ciaddr(ASKING);
        message.opts_mut().insert(DhcpOption::MessageType(MessageType::Request));
        message.opts_mut().remove(OptionCode::RequestedIpAddress);
        message.opts_mut().remove(OptionCode::ServerIdentifier);
        if let Some(item) = item {
            let value = [&[71, 4][..], &item, &[255]].concat();
            message.opts_mut().insert(DhcpOption::VendorExtensions(value));
        }
        let bytes = dhcp::bytes(&message);
        self.boot_server.send_to(&bytes, (SERVER, 4011)).expect("a link to send on");
        match self.reply(&self.boot_server, &message, &[MessageType::Ack]) {
            Some(ack) => boot_of(&ack),
            None => own,
        }
    }
}

/// The namespaces, with the names and addresses of the configurations
fn net() -> Option<Net> {
    let net = Net::new()?;
    let ip = |namespace: &str, line: &str| {
        let output = run(Command::new("ip").args(["-n", namespace]).args(line.split_whitespace()));
        assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    ip(&net.server, "link set s0 down");
    ip(&net.server, "link set s0 name eth0");
    ip(&net.server, "addr flush dev eth0");
    ip(&net.server, "addr add 192.168.99.1/24 dev eth0");
    ip(&net.server, "link set eth0 up");
    ip(&net.client, "addr flush dev c0");
    ip(&net.client, "addr add 192.168.99.2/24 dev c0");
    for relay in ["10.44.0.1/24", "10.45.0.1/24", "10.46.0.1/24"] {
        ip(&net.client, &format!("addr add {relay} dev c0"));
    }
    ip(&net.server, "route add 10.44.0.0/14 via 192.168.99.2");
    Some(net)
}

/// dnsmasq in the server's namespace; killed with the value
struct Dnsmasq(Child);

impl Dnsmasq {
    fn start(net: &Net, config: &Path, leases: &Path) -> Self {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &net.server, "dnsmasq", "--keep-in-foreground", "--user=root"]);
        command.args(["--no-ping", "--pid-file", "--log-facility=-"]);
        command.arg(format!("--conf-file={}", config.display()));
        command.arg(format!("--dhcp-leasefile={}", leases.display()));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut child = child.expect("dnsmasq starts");
        thread::sleep(Duration::from_millis(500));
        assert!(child.try_wait().expect("a child").is_none(), "dnsmasq refuses {}", config.display());
        Self(child)
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The import of a configuration, made in the server's namespace, where its interfaces are
fn import(net: &Net, config: &Path, folder: &Folder) -> PathBuf {
    let output = run(Command::new("ip")
        .args(["netns", "exec", &net.server, env!("CARGO_BIN_EXE_reveille"), "import"])
        .arg(config));
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let root = folder.0.display().to_string();
    let text = text.replace("\"/srv/tftp\"", &format!("\"{root}\""));
    let file = folder.0.join("reveille.toml");
    fs::write(&file, format!("state-dir = \"{root}/state\"\n{text}")).expect("a file");
    let check = run(Command::new("ip")
        .args(["netns", "exec", &net.server, env!("CARGO_BIN_EXE_reveille"), "check", "--config"])
        .arg(&file));
    assert!(check.status.success(), "{}\n{text}", String::from_utf8_lossy(&check.stderr));
    file
}

/// What all the machines get
fn all(net: &Net, machines: Vec<Machine>) -> Vec<Got> {
    net.on_client(move || {
        let client = Client::new();
        machines.iter().map(|machine| client.boot(machine)).collect()
    })
    .join()
    .expect("the clients end")
}

/// A script's name is a URL here, where iPXE takes one
fn as_name(file: &str) -> &str {
    file.strip_prefix(&format!("http://{SERVER}/")).unwrap_or(file)
}

/// The number of the pool of a configuration that an address is from
fn pool_of(config: &str, address: Ipv4Addr) -> Option<usize> {
    let ranges = config.lines().filter(|line| line.starts_with("dhcp-range="));
    ranges.enumerate().find_map(|(number, line)| {
        let mut words =
            line.trim_start_matches("dhcp-range=").split(',').filter_map(|word| word.parse().ok());
        let (first, last): (Ipv4Addr, Ipv4Addr) = (words.next()?, words.next()?);
        (first <= address && address <= last).then_some(number)
    })
}

/// Whether the two amount to the same. Files and servers count for machines that boot.
fn agree(config: &str, machine: &Machine, theirs: &Got, ours: &Got) -> bool {
    let boots = machine.arch.is_some() || machine.class.is_some();
    let same = |(a, x): (&str, Ipv4Addr), (b, y): (&str, Ipv4Addr)| {
        !boots || (as_name(a) == as_name(b) && (a.is_empty() || x == y))
    };
    match (theirs, ours) {
        (Got::Nothing, Got::Nothing) => true,
        (Got::Proxy { file: a, server: x }, Got::Proxy { file: b, server: y }) => same((a, *x), (b, *y)),
        (
            Got::Full { address: one, file: a, server: x },
            Got::Full { address: other, file: b, server: y },
        ) => {
            let pools = (pool_of(config, *one), pool_of(config, *other));
            let is_reserved = machine.mac[0] == 0x52;
            same((a, *x), (b, *y))
                && pools.0 == pools.1
                && (!is_reserved || one == other || pools.0.is_some())
        }
        _ => false,
    }
}

fn compare(file: &Path) -> Result<(), String> {
    let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
    let Some(net) = net() else { return Ok(()) };
    let folder = Folder::new(&format!("import-{name}"));
    let text = fs::read_to_string(file).expect("a configuration");
    let root = folder.0.display().to_string();
    let here = text.replace("/srv/tftp", &root).replace("/var/lib/misc", &root);
    let config = folder.0.join("dnsmasq.conf");
    // dnsmasq does not start without its script.
    let served: Vec<_> = here.lines().filter(|line| !line.starts_with("dhcp-script")).collect();
    fs::write(&config, served.join("\n")).expect("a file");

    let machines = [vec![BIOS, X64, SYSTEM], guests(&name)].concat();
    let dnsmasq = Dnsmasq::start(&net, &config, &folder.0.join("leases"));
    let theirs = all(&net, machines.clone());
    drop(dnsmasq);
    let ours = import(&net, file, &folder);
    let server = Server::start_with_config(&net, &ours);
    let got = all(&net, machines.clone());
    drop(server);
    let differences: Vec<_> = machines
        .iter()
        .zip(theirs.iter().zip(&got))
        .filter(|(machine, (theirs, ours))| !agree(&text, machine, theirs, ours))
        .map(|(machine, (theirs, ours))| {
            format!("{name}: {}: dnsmasq {theirs:?}, reveille {ours:?}", machine.name)
        })
        .collect();
    if differences.is_empty() {
        println!("{name}: {} machines agree: {theirs:?}", machines.len());
        return Ok(());
    }
    let text = fs::read_to_string(&ours).unwrap_or_default();
    Err(format!("{}\n{text}", differences.join("\n")))
}

#[test]
fn dnsmasq_and_the_import_of_its_configuration_agree() {
    if !has("dnsmasq") {
        return skip("dnsmasq is not installed");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("configurations").map(|entry| entry.expect("one").path()).collect();
    files.sort();
    assert!(files.len() >= 20, "{} configurations", files.len());
    let only = std::env::var("REVEILLE_IMPORT").ok();
    files.retain(|file| only.as_ref().is_none_or(|part| file.to_string_lossy().contains(part.as_str())));
    let (waiting, failed) = (Mutex::new(files), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let Some(file) = waiting.lock().expect("no panic").pop() else { break };
                    if let Err(difference) = compare(&file) {
                        failed.lock().expect("no panic").push(difference);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "\n{}", failed.join("\n\n"));
}
