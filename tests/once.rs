//! Templates and `boot-once` by a running server: a machine is installed by its own files, reports that it is done, and boots its
//! disk from then on, whatever happens to the server.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Message, MessageType, OptionCode};
use support::{CLIENT, Folder, Net, SERVER, Server, dhcp, has, run, skip};

const PATIENCE: Duration = Duration::from_secs(10);
/// Machine number 1 of the tests' DHCP client
const NODE: &str = "02:77:00:00:00:01";

const KICKSTART: &str =
    "# {{ host }}\nurl --url={{ url }}\n{% include 'disk' %}%post\ncurl {{ done }}\n%end\n";

struct Site {
    net: Net,
    folder: Folder,
}

impl Site {
    fn new(name: &str) -> Option<Self> {
        for program in ["curl", "wget", "tftp"] {
            if !has(program) {
                skip(&format!("{program} is not installed"));
                return None;
            }
        }
        let net = Net::new()?;
        let folder = Folder::new(name);
        folder.put("root/lpxelinux.0", b"loader");
        folder.put("image/linux", b"kernel");
        folder.put("image/initrd.img", &[7; 5000]);
        folder.put("t/node.ks", KICKSTART.as_bytes());
        folder.put("t/disk", b"part / --ondisk={{ disk }}\n");
        folder.put(
            "seed/user-data",
            b"#cloud-config\nautoinstall:\n  identity: {hostname: {{ host|tojson }}}\n",
        );
        folder.put("seed/meta-data", b"instance-id: {{ mac_hyphens }}\n");
        Some(Self { net, folder })
    }

    fn config(&self, once: &str) -> PathBuf {
        let at = self.folder.0.display();
        let text = format!(
            r#"root = "{at}/root"
state-dir = "{at}/state"
[[network]]
interface = "s0"
pool = "10.77.0.100-10.77.0.199"
[image.centos7]
dir = "{at}/image"
kernel = "linux"
initrd = "initrd.img"
[template.ks]
file = "{at}/t/node.ks"
[template.seed]
dir = "{at}/seed"
[vars]
disk = "sda"
[[boot]]
match = {{ arch = "x64-uefi" }}
file = "lpxelinux.0"
[[machine]]
mac = "{NODE}"
address = "{CLIENT}"
hostname = "node-01"
image = "centos7"
args = "inst.ks=http://{{server}}/ks/{{mac}}.cfg ds=nocloud-net;s=http://{{server}}/seed/"
{once}
"#
        );
        self.folder.put("r.toml", text.as_bytes());
        self.folder.0.join("r.toml")
    }

    fn start(&self, once: &str) -> Server {
        Server::start_with_config(&self.net, &self.config(once))
    }

    /// The status and the body of a request by curl
    fn curl(&self, arguments: &str) -> (String, String) {
        let output = self.net.client_shell(&format!("curl -s -w '\\n%{{http_code}}' {arguments}"));
        let text = String::from_utf8(output.stdout).expect("text");
        let (body, status) = text.rsplit_once('\n').expect("a status");
        (status.to_owned(), body.to_owned())
    }

    fn get(&self, path: &str) -> (String, String) {
        self.curl(&format!("http://{SERVER}{path}"))
    }

    /// What the machine gets as it boots: its address, and its boot file
    fn boot(&self) -> (String, bool) {
        let offer_and_ack = self.net.on_client(|| {
            let socket = dhcp::socket("c0", 68);
            let mut options = dhcp::pxe_rom();
            let ask = |kind, options: &[DhcpOption]| -> Message {
                let message = dhcp::bytes(&dhcp::request(1, kind, options));
                socket.send_to(&message, dhcp::everyone(67)).expect("sent");
                let mut replies = dhcp::collect(&socket, PATIENCE, |replies| !replies.is_empty());
                replies.pop().expect("a reply").0
            };
            let offer = ask(MessageType::Discover, &options);
            options.push(DhcpOption::RequestedIpAddress(offer.yiaddr()));
            options.push(DhcpOption::ServerIdentifier(SERVER));
            (offer.yiaddr(), ask(MessageType::Request, &options))
        });
        let (address, ack) = offer_and_ack.join().expect("it boots");
        assert_eq!((address, dhcp::kind(&ack)), (CLIENT, MessageType::Ack));
        let file = ack.fname().map(|name| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned());
        // Option 43 has a menu whose one item is the local disk, taken at once.
        let is_local = match ack.opts().get(OptionCode::VendorExtensions) {
            Some(DhcpOption::VendorExtensions(value)) => value.windows(3).any(|bytes| bytes[..2] == [10, 28]),
            _ => false,
        };
        (file.unwrap_or_default(), is_local)
    }

    fn reveille(&self, arguments: &str) -> (bool, String) {
        let namespace = &self.net.server;
        let output = run(Command::new("ip")
            .args(["netns", "exec", namespace, env!("CARGO_BIN_EXE_reveille")])
            .args(arguments.split(' '))
            .arg("--config")
            .arg(self.folder.0.join("r.toml")));
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).expect("text"))
    }
}

fn ok(body: &str) -> (String, String) {
    ("200".to_owned(), body.to_owned())
}

#[test]
fn a_machine_is_installed_by_files_of_its_own() {
    let Some(site) = Site::new("templates") else { return };
    let mut server = site.start("");
    let kickstart = format!(
        "# node-01\nurl --url=http://{SERVER}/images/centos7\npart / --ondisk=sda\n%post\n\
         curl http://{SERVER}/done/02-77-00-00-00-01\n%end\n"
    );
    for path in ["/ks/02:77:00:00:00:01.cfg", "/ks/02-77-00-00-00-01", "/ks/node-01.ks", "/ks.cfg", "//ks"] {
        assert_eq!(site.get(path), ok(&kickstart), "{path}");
    }
    let user_data = "#cloud-config\nautoinstall:\n  identity: {hostname: \"node-01\"}\n";
    assert_eq!(site.get("/seed/user-data"), ok(user_data));
    assert_eq!(site.get("/seed/02-77-00-00-00-01/meta-data"), ok("instance-id: 02-77-00-00-00-01\n"));
    for path in ["/seed/vendor-data", "/ks/node-02", "/seed/%2e%2e/t/disk", "/t/node.ks", "/ks/../../r.toml"]
    {
        assert!(["404", "400"].contains(&&*site.get(path).0), "{path}");
    }
    // Whole, by a range, and by TFTP the same.
    let head = site.curl(&format!("-I http://{SERVER}/ks.cfg")).1;
    assert!(head.contains(&format!("Content-Length: {}", kickstart.len())), "{head}");
    assert_eq!(
        site.curl(&format!("-r 2-8 http://{SERVER}/ks.cfg")),
        ("206".to_owned(), "node-01".to_owned())
    );
    let tftp = format!("cd {} && tftp {SERVER} -m binary -c get ks/node-01.cfg got", site.folder.0.display());
    assert!(site.net.client_shell(&tftp).status.success());
    assert_eq!(fs::read_to_string(site.folder.0.join("got")).expect("fetched"), kickstart);

    // A template that does not compile changes nothing, and one that does is taken up.
    site.folder.put("t/disk", b"part {{ disk");
    assert_eq!(site.get("/ks"), ok(&kickstart), "what is being edited is not served");
    server.signal("HUP");
    server.wait_for("nothing is changed", PATIENCE);
    assert!(server.output().contains("t/disk:1: syntax error"), "{}", server.output());
    assert_eq!(site.get("/ks"), ok(&kickstart));
    site.folder.put("t/disk", b"part {{ flavour }}");
    server.signal("HUP");
    server.wait_for("nothing is changed", PATIENCE);
    assert!(server.output().contains("`flavour` is undefined, for this machine"), "{}", server.output());
    // Of a machine that nobody named it is not known before it asks.
    site.folder.put("t/disk", b"{% if host != 'node-01' %}{{ flavour }}{% endif %}disk\n");
    server.signal("HUP");
    server.wait_for("a new configuration is in force", PATIENCE);
    assert_eq!(site.get("/ks").1, kickstart.replace("part / --ondisk=sda", "disk"));
    let (status, body) = site.get("/ks/02-00-00-00-00-09.cfg");
    assert_eq!((&*status, &*body), ("500", "Internal Server Error\n"));
    server.wait_for("/ks/02-00-00-00-00-09.cfg for 10.77.0.2 was not made: ", PATIENCE);

    let (is_well, said) = site.reveille(&format!("explain --mac {NODE} --arch x64-uefi"));
    assert!(is_well && said.contains("/t/node.ks\n    # node-01\n"), "{said}");
    assert!(said.contains("/seed/user-data\n    #cloud-config\n"), "{said}");
}

#[test]
fn who_is_done_boots_its_disk_whatever_happens() {
    let Some(site) = Site::new("once") else { return };
    let mut server = site.start("boot-once = true");
    assert_eq!(site.boot(), ("lpxelinux.0".to_owned(), false));
    let menu = "/pxelinux.cfg/01-02-77-00-00-00-01";
    assert!(site.get(menu).1.contains("inst.ks=http://10.77.0.1/ks/02:77:00:00:00:01.cfg"));

    // Others cannot say so, nor for others.
    assert_eq!(site.get("/done/02-77-00-00-00-02").0, "404");
    assert_eq!(site.curl(&format!("-I http://{SERVER}/done")).0, "404");
    assert_eq!(site.boot(), ("lpxelinux.0".to_owned(), false));

    // By wget, with nothing but its address; then the server dies at once.
    let wget = site.net.client_shell(&format!("wget -q -O - http://{SERVER}/done"));
    server.signal("KILL");
    assert_eq!(
        String::from_utf8_lossy(&wget.stdout),
        format!("{CLIENT} is done: it boots from its own disk from now on\n")
    );
    server.wait(PATIENCE);
    drop(server);
    let mut server = site.start("boot-once = true");
    assert!(server.output().contains("boot-once: 1 of 1 done: node-01"), "{}", server.output());
    assert_eq!(site.boot(), (String::new(), true));
    assert!(site.get(menu).1.contains("LOCALBOOT 0"));
    assert_eq!(
        site.curl(&format!("-d x=1 http://{SERVER}/done/{NODE}")),
        ok(&format!("{NODE} was done before\n"))
    );
    let (_, said) = site.reveille(&format!("explain --mac {NODE} --arch x64-uefi"));
    assert!(said.contains("boot-once \"true\": done since ") && said.contains("its own disk"), "{said}");

    // Another term arms it; what it was done with before does not.
    site.config("boot-once = \"again\"");
    server.signal("HUP");
    server.wait_for("a new configuration is in force", PATIENCE);
    assert_eq!(site.boot(), ("lpxelinux.0".to_owned(), false));
    assert_eq!(site.curl(&format!("-X POST http://{SERVER}/done/node-01")).0, "200");
    assert_eq!(site.boot(), (String::new(), true));
    let journal = fs::read_to_string(site.folder.0.join("state/done.journal")).expect("it is there");
    let terms: Vec<_> = journal.lines().map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(terms, [Some("true"), Some("again")]);

    // After its last file, and where a server without such a machine is told of one.
    site.config("");
    server.signal("HUP");
    server.wait_for("a new configuration is in force", PATIENCE);
    assert_eq!(site.boot(), ("lpxelinux.0".to_owned(), false));
    drop(server);
    let mut server = site.start("");
    site.config("boot-once = \"file\"\ndone-after = \"initrd\"");
    server.signal("HUP");
    server.wait_for("a new configuration is in force", PATIENCE);
    assert_eq!(site.boot(), ("lpxelinux.0".to_owned(), false));
    assert_eq!(site.get("/images/centos7/linux").0, "200");
    assert_eq!(site.boot(), ("lpxelinux.0".to_owned(), false));
    assert_eq!(site.get("/images/centos7/initrd.img").0, "200");
    // Nobody is told when that is on disk, which takes a moment.
    let is_done = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        site.boot() == (String::new(), true)
    });
    assert!(is_done, "{}", server.output());
}

#[test]
fn a_file_that_is_damaged_stops_the_server() {
    let Some(site) = Site::new("once-damaged") else { return };
    site.config("boot-once = true");
    site.folder.put("state/done.journal", b"02:77:00:00:00:01 1 true\nwhat?\n");
    for command in ["serve", "check", &format!("explain --mac {NODE}")] {
        let (is_well, said) = site.reveille(command);
        assert!(!is_well && said.contains("done.journal:2: `what?` is no record"), "{command}: {said}");
    }
}
