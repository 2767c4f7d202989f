//! Addresses on a wire: none given twice, none forgotten after `kill -9`, and none of it in the way of another server.

mod support;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dhcproto::v4::relay::{RelayAgentInformation, RelayInfo};
use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use support::dhcp::{bytes, collect, everyone, kind, machine, pxe_rom, request, server_id, socket};
use support::{Folder, Net, SERVER, Server, has, skip, ways};

const PATIENCE: Duration = Duration::from_secs(2);

/// Has `machines` go through DISCOVER and REQUEST together; whom the server acknowledged what
fn storm(socket: &UdpSocket, machines: &[u32]) -> HashMap<u32, Ipv4Addr> {
    let send = |message| drop(socket.send_to(&bytes(&message), everyone(67)));
    machines.iter().for_each(|&m| send(request(m, MessageType::Discover, &[])));
    let offers = collect(socket, PATIENCE, |seen| seen.len() >= machines.len());
    for (offer, _) in offers.iter().filter(|(m, _)| kind(m) == MessageType::Offer) {
        let options =
            [DhcpOption::RequestedIpAddress(offer.yiaddr()), DhcpOption::ServerIdentifier(server_id(offer))];
        send(request(machine(offer), MessageType::Request, &options));
    }
    collect(socket, PATIENCE, |seen| seen.len() >= offers.len())
        .iter()
        .filter(|(m, _)| kind(m) == MessageType::Ack)
        .map(|(m, _)| (machine(m), m.yiaddr()))
        .collect()
}

fn no_address_twice(leases: &HashMap<u32, Ipv4Addr>) {
    let mut holders = HashMap::new();
    for (machine, address) in leases {
        if let Some(other) = holders.insert(address, machine) {
            panic!("{address} went to {machine} and to {other}");
        }
    }
}

#[test]
fn kill_9_forgets_no_acknowledged_lease_and_gives_no_address_twice() {
    let Some(net) = Net::new() else { return };
    let root = Folder::new("kill9");
    let arguments = ["--pool", "10.77.0.10-10.77.0.250"];
    let mut given = HashMap::new();
    for round in 0..3_u32 {
        let mut server = Server::start(&net, &root, &arguments);
        let newcomers: Vec<u32> = (round * 60..(round + 1) * 60).collect();
        let work = net.on_client({
            let known: Vec<(u32, Ipv4Addr)> = given.iter().map(|(&m, &a)| (m, a)).collect();
            move || {
                let socket = socket("c0", 68);
                // INIT-REBOOT (RFC 2131 §4.3.2): those who were acknowledged before the kill ask for what they hold
                for &(m, address) in &known {
                    let message =
                        request(m, MessageType::Request, &[DhcpOption::RequestedIpAddress(address)]);
                    socket.send_to(&bytes(&message), everyone(67)).expect("sent");
                }
                for (reply, _) in collect(&socket, PATIENCE, |seen| seen.len() >= known.len()) {
                    assert_eq!(
                        kind(&reply),
                        MessageType::Ack,
                        "machine {} keeps its address",
                        machine(&reply)
                    );
                    assert!(known.contains(&(machine(&reply), reply.yiaddr())));
                }
                storm(&socket, &newcomers)
            }
        });
        let acknowledged = work.join().expect("the clients' side holds");
        assert_eq!(acknowledged.len(), 60, "everyone got an address in round {round}");
        given.extend(acknowledged);
        no_address_twice(&given);
        server.signal("KILL");
        server.wait(Duration::from_secs(5));
    }
}

#[test]
fn a_lone_client_is_heard_before_a_storm_and_after_it() {
    for way in ways() {
        let Some(net) = Net::new() else { return };
        let root = Folder::new("lone");
        let _server = Server::start(&net, &root, &["--io", way, "--pool", "10.77.0.10-10.77.0.250"]);
        let work = net.on_client(|| {
            let socket = socket("c0", 68);
            let first = storm(&socket, &[1_000]);
            let rack = storm(&socket, &(0..200).collect::<Vec<_>>());
            let last: Vec<_> = (2_000..2_003).map(|machine| storm(&socket, &[machine])).collect();
            (first, rack, last)
        });
        let (first, rack, last) = work.join().expect("the clients' side holds");
        assert_eq!((first.len(), rack.len()), (1, 200), "{way}");
        assert!(last.iter().all(|acknowledged| acknowledged.len() == 1), "{way}: {last:?}");
    }
}

/// dnsmasq in the server's namespace or the client's, giving plain addresses
fn other_server(namespace: &str, interface: &str, folder: &Folder) -> Child {
    let mut command = Command::new("ip");
    command.args([
        "netns",
        "exec",
        namespace,
        "dnsmasq",
        "--no-daemon",
        "--port=0",
        "--conf-file=/dev/null",
        "--bind-interfaces",
    ]);
    command
        .arg(format!("--interface={interface}"))
        .arg("--dhcp-range=10.77.0.200,10.77.0.250,1h")
        .arg("--no-ping");
    command.arg(format!("--dhcp-leasefile={}", folder.0.join("leases").display())).arg("--user=root");
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("dnsmasq starts");
    std::thread::sleep(Duration::from_secs(1));
    child
}

#[test]
fn a_proxy_works_beside_another_dhcp_server_on_the_same_host() {
    if !has("dnsmasq") {
        return skip("dnsmasq is not installed");
    }
    let Some(net) = Net::new() else { return };
    let root = Folder::new("samehost");
    root.put("ipxe.efi", b"a loader");
    let mut other = other_server(&net.server, "s0", &root);
    let _server = Server::start(&net, &root, &["--proxy"]);
    let work = net.on_client(|| {
        let socket = socket("c0", 68);
        let discover = request(1, MessageType::Discover, &pxe_rom());
        socket.send_to(&bytes(&discover), everyone(67)).expect("sent");
        let offers = collect(&socket, PATIENCE, |seen| seen.len() >= 2);
        let addresses = offers.iter().filter(|(m, _)| !m.yiaddr().is_unspecified()).count();
        let proxies: Vec<_> = offers.iter().filter(|(m, _)| m.yiaddr().is_unspecified()).collect();
        assert_eq!(
            (addresses, proxies.len()),
            (1, 1),
            "one offer with an address and one with the boot options"
        );
        let (offer, from) = proxies[0];
        assert_eq!((server_id(offer), offer.siaddr(), from.port()), (SERVER, SERVER, 67));
        // A client that does not network-boot is the other server's alone
        socket.send_to(&bytes(&request(2, MessageType::Discover, &[])), everyone(67)).expect("sent");
        let offers = collect(&socket, PATIENCE, |_| false);
        assert!(offers.iter().all(|(m, _)| !m.yiaddr().is_unspecified()), "{offers:?}");
    });
    work.join().expect("the client's side holds");
    let _ = other.kill();
    let _ = other.wait();
}

#[test]
fn a_full_server_refuses_to_start_beside_another_and_says_the_way_out() {
    if !has("dnsmasq") {
        return skip("dnsmasq is not installed");
    }
    let Some(net) = Net::new() else { return };
    let root = Folder::new("taken");
    let mut other = other_server(&net.server, "s0", &root);
    let output = Command::new("ip")
        .args([
            "netns",
            "exec",
            &net.server,
            env!("CARGO_BIN_EXE_reveille"),
            "serve",
            "--interface",
            "s0",
            "--root",
        ])
        .arg(&root.0)
        .arg("--state-dir")
        .arg(root.0.join(".state"))
        .args(["--pool", "10.77.0.10-10.77.0.50"])
        .output()
        .expect("it runs");
    let _ = other.kill();
    let _ = other.wait();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("67") && said.contains("--proxy"), "{said}");
}

#[test]
fn an_address_that_somebody_uses_is_not_offered_and_delays_nobody_else() {
    let Some(net) = Net::new() else { return };
    let root = Folder::new("conflict");
    // A squatter answers ARP for one of the pool's two addresses
    let squat =
        Command::new("ip").args(["-n", &net.client, "addr", "add", "10.77.0.100/32", "dev", "c0"]).status();
    assert!(squat.expect("ip runs").success());
    let mut server = Server::start(&net, &root, &["--pool", "10.77.0.100-10.77.0.101"]);
    let work = net.on_client(|| {
        let socket = socket("c0", 68);
        let mut offered = HashMap::new();
        for machine_number in [1, 2] {
            let discover = request(machine_number, MessageType::Discover, &[]);
            socket.send_to(&bytes(&discover), everyone(67)).expect("sent");
        }
        for (offer, _) in collect(&socket, Duration::from_secs(1), |_| false) {
            offered.insert(machine(&offer), offer.yiaddr());
        }
        assert_eq!(offered.len(), 1, "one address is free: {offered:?}");
        assert!(offered.values().all(|&address| address == Ipv4Addr::new(10, 77, 0, 101)), "{offered:?}");
    });
    work.join().expect("the client's side holds");
    let said = server.output();
    assert!(said.contains("10.77.0.100 is used by somebody else"), "{said}");
}

#[test]
fn several_networks_and_a_relay_each_get_their_own_addresses() {
    let Some(net) = Net::new() else { return };
    let root = Folder::new("networks");
    let ip = |arguments: String| {
        let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("ip runs");
        assert!(status.success(), "ip {arguments}");
    };
    // A second link, and behind the first one a relay at 10.44.0.1
    ip(format!("link add s1 netns {} type veth peer name c1 netns {}", net.server, net.client));
    ip(format!("-n {} link set s1 up", net.server));
    ip(format!("-n {} link set c1 up", net.client));
    ip(format!("-n {} addr add 10.88.0.1/24 dev s1", net.server));
    ip(format!("-n {} addr add 10.44.0.1/32 dev lo", net.client));
    ip(format!("-n {} route add 10.44.0.0/24 via 10.77.0.2", net.server));
    let config = root.0.join("reveille.toml");
    let text = format!(
        r#"root = "{root}"
state-dir = "{root}/.state"
[[network]]
interface = "s0"
pool = ["10.77.0.100-10.77.0.199"]
[[network.subnet]]
subnet = "10.44.0.0/24"
pool = ["10.44.0.50-10.44.0.99"]
router = "10.44.0.1"
[[network]]
interface = "s1"
pool = ["10.88.0.100-10.88.0.199"]
"#,
        root = root.0.display()
    );
    std::fs::write(&config, text).expect("a configuration");
    let _server = Server::start_with_config(&net, &config);
    let work = net.on_client(|| {
        let offered = |socket: &UdpSocket, message, to| {
            socket.send_to(&bytes(&message), to).expect("sent");
            let offers = collect(socket, Duration::from_secs(1), |_| false);
            assert_eq!(offers.len(), 1, "one network answers: {offers:?}");
            offers[0].0.clone()
        };
        for (interface, third) in [("c0", 77), ("c1", 88)] {
            let socket = socket(interface, 68);
            let offer = offered(&socket, request(9, MessageType::Discover, &[]), everyone(67));
            assert_eq!((offer.yiaddr().octets()[1], server_id(&offer).octets()[1]), (third, third));
        }
        // RFC 2131 §4.1: through a relay, to `giaddr` at the server's port; option 82 comes back as it went
        let relay = socket("c0", 67);
        let mut agent = RelayAgentInformation::default();
        agent.insert(RelayInfo::AgentCircuitId(b"rack-7/port-3".to_vec()));
        let mut message =
            request(9, MessageType::Discover, &[DhcpOption::RelayAgentInformation(agent.clone())]);
        message.set_giaddr(Ipv4Addr::new(10, 44, 0, 1)).set_hops(1);
        let offer = offered(&relay, message, SocketAddrV4::new(SERVER, 67));
        assert_eq!(offer.yiaddr().octets()[..3], [10, 44, 0]);
        assert_eq!(offer.giaddr(), Ipv4Addr::new(10, 44, 0, 1));
        let returned = offer.opts().get(OptionCode::RelayAgentInformation);
        assert_eq!(returned, Some(&DhcpOption::RelayAgentInformation(agent)));
    });
    work.join().expect("the client's side holds");
}
