//! A plan made from a capture: what the captured server must have been told, as far as its answers show.
//!
//! So that `reveille replay FILE` needs nothing else. The server's address and its networks, a pool around the addresses
//! that it gave, its options, and the boot files that it named, as a rule for each architecture and loader. The leases
//! that it knew are known too, so that a client is given the address that it had.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::boot::client::{Arch, Client};
use crate::boot::lease::{ClientKey, Lease, State};
use crate::boot::plan::{
    BOOT_FILE_MAX, BootFile, Boots, Cidr, LoaderName, Match, Mode, Network, Piece, Plan, Range, Reason, Rule,
    Subnet,
};
use crate::heard::Heard;
use crate::heard::dhcp::{Answer, Request, boot_file};
use crate::note::Text;
use crate::time::{Duration, Instant};
use crate::wire::dhcp::{MessageType, PXE_PORT, code};
use crate::wire::ethernet::MacAddr;

/// Where no answer tells a netmask
const PREFIX: u8 = 24;
/// Where no answer tells a lease time
const LEASE: Duration = Duration::from_secs(12 * 3600);
/// Where nothing tells a server's address: one that nobody has (RFC 5737)
const NOWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Addresses between the lowest and the highest that were given: more, and they are no pool
const POOL_MAX: u32 = 4096;

/// What is made from a capture
#[derive(Debug)]
pub(super) struct Derived {
    pub plan: Plan,
    pub leases: Vec<Lease>,
    /// The plan in words, a line each
    pub words: Vec<String>,
}

/// Makes a plan for `server`, in whose place ours is put
pub(super) fn derive(heard: &Heard<'_>, server: Option<Ipv4Addr>, begins_at: Instant) -> Derived {
    let address = server.unwrap_or_else(|| guessed_server(heard));
    let answered: Vec<(&Request, &Answer)> =
        heard.requests.iter().filter_map(|request| Some((request, request.answer_of(server?)?))).collect();
    let mode = mode_of(heard, &answered);
    let subnets = subnets(heard, address, mode, &answered);
    let rules = rules(heard, address, &answered);
    let mut words = vec![format!("server {address}, dhcp = \"{}\"", mode_name(mode))];
    words.extend(subnets.iter().map(subnet_words));
    words.extend(rules.iter().enumerate().map(|(i, rule)| format!("rule {}: {}", i + 1, rule_words(rule))));
    let leases = if mode == Mode::Full { leases(&answered, begins_at) } else { Vec::new() };
    let own_mac = answered.iter().find_map(|(_, answer)| answer.0.source_mac);
    let network = Network {
        interface: "capture".to_owned(),
        mac: own_mac.unwrap_or(MacAddr([2, 0, 0, 0, 0, 1])),
        address,
        mode,
        authoritative: answered
            .iter()
            .any(|(_, answer)| answer.0.message().message_type() == Some(MessageType::Nak)),
        // Nobody answers ARP in a capture.
        probe: false,
        subnets,
    };
    let http = heard.connections.iter().find(|connection| connection.is_http());
    let http_port = http.map_or(80, |connection| connection.server.port());
    let plan = Plan::new(vec![network], rules, Vec::new(), Vec::new()).with_ports(http_port, 69);
    Derived { plan, leases, words }
}

/// A server that clients name or ask, though the capture holds no answer of it
fn guessed_server(heard: &Heard<'_>) -> Ipv4Addr {
    let named = heard.requests.iter().find_map(|request| request.heading.message().server_id());
    let asked = heard.requests.iter().map(|request| *request.heading.destination.ip());
    let neighbour = heard.requests.iter().find_map(|request| {
        let message = request.heading.message();
        let held = message.requested_ip().unwrap_or(message.header().ciaddr());
        let network = Cidr::new(held, PREFIX).address;
        (!held.is_unspecified()).then(|| Ipv4Addr::from_bits(network.to_bits() | 1))
    });
    let asked = asked.into_iter().find(|ip| !ip.is_broadcast() && !ip.is_multicast());
    named.or(asked).or(neighbour).unwrap_or(NOWHERE)
}

/// A boot server's answer says "your address" where it means the client's own: none of the server's
fn gives_address(answer: &Answer) -> Option<Ipv4Addr> {
    let yiaddr = answer.0.message().header().yiaddr();
    (answer.0.source.port() != PXE_PORT && !yiaddr.is_unspecified()).then_some(yiaddr)
}

fn mode_of(heard: &Heard<'_>, answered: &[(&Request, &Answer)]) -> Mode {
    if answered.iter().any(|(_, answer)| gives_address(answer).is_some()) {
        Mode::Full
    } else if !answered.is_empty() {
        Mode::Proxy
    } else if heard.requests.is_empty() {
        Mode::Off
    } else {
        Mode::Full
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Full => "full",
        Mode::Proxy => "proxy",
        Mode::TakeOver => "take-over",
        Mode::Off => "off",
    }
}

// --- Subnets ---

fn subnets(heard: &Heard<'_>, server: Ipv4Addr, mode: Mode, answered: &[(&Request, &Answer)]) -> Vec<Subnet> {
    let given: Vec<Given> =
        answered.iter().filter_map(|(request, answer)| Given::by(request, answer)).collect();
    let own = own_cidr(heard, server, &given);
    // The interface's own comes first.
    let mut subnets = vec![subnet(own, true)];
    for cidr in given.iter().filter(|given| given.is_relayed).map(|given| given.cidr) {
        if subnets.iter().all(|known| known.cidr != cidr) {
            subnets.push(subnet(cidr, false));
        }
    }
    for (_, answer) in answered {
        let message = answer.0.message();
        let yiaddr = gives_address(answer);
        let place =
            subnets.iter().position(|subnet| yiaddr.is_some_and(|yiaddr| subnet.cidr.contains(yiaddr)));
        let subnet = &mut subnets[place.unwrap_or(0)];
        if let Some(seconds) = message.lease_time_s() {
            subnet.lease = Duration::from_secs(seconds.into());
        }
        for (code, value) in message.options().filter(|(code, _)| is_plain(*code, mode)) {
            if subnet.options.iter().all(|(known, _)| *known != code) {
                subnet.options.push((code, value.to_vec()));
            }
        }
    }
    let strangers = strangers(heard, answered);
    for subnet in &mut subnets {
        subnet.options.sort();
        let inside = given.iter().map(|given| given.address).filter(|address| subnet.cidr.contains(*address));
        let mut inside: BTreeSet<Ipv4Addr> = inside.collect();
        if given.is_empty() && subnet.attached {
            let wished = heard.requests.iter().filter_map(|request| request.heading.message().requested_ip());
            inside.extend(wished.filter(|address| subnet.cidr.contains(*address)));
            inside.insert(Ipv4Addr::from_bits(server.to_bits().wrapping_add(1)));
        }
        if mode == Mode::Full {
            subnet.pools = pools(&inside, subnet.cidr, strangers);
        }
    }
    subnets
}

/// An address that the server gave
struct Given {
    address: Ipv4Addr,
    cidr: Cidr,
    is_relayed: bool,
}

impl Given {
    fn by(request: &Request, answer: &Answer) -> Option<Self> {
        let address = gives_address(answer)?;
        let prefix = mask_prefix(answer.0.message().option(code::SUBNET_MASK)).unwrap_or(PREFIX);
        let is_relayed = !request.heading.message().header().giaddr().is_unspecified();
        Some(Self { address, cidr: Cidr::new(address, prefix), is_relayed })
    }
}

/// The interface's own subnet: that of the addresses given without a relay, else what any server says of it, else a guess
/// that holds no relay's
fn own_cidr(heard: &Heard<'_>, server: Ipv4Addr, given: &[Given]) -> Cidr {
    if let Some(given) = given.iter().find(|given| !given.is_relayed) {
        return given.cidr;
    }
    let holds_none = |own: &Cidr| given.iter().all(|given| !own.contains(given.cidr.address));
    let guesses = (prefix_of(heard)..=30).map(|prefix| Cidr::new(server, prefix));
    guesses.into_iter().find(holds_none).unwrap_or(Cidr::new(server, PREFIX))
}

fn subnet(cidr: Cidr, attached: bool) -> Subnet {
    Subnet { cidr, attached, pools: Vec::new(), lease: LEASE, options: Vec::new() }
}

/// The netmask that any server gave to a client without a relay
fn prefix_of(heard: &Heard<'_>) -> u8 {
    let on_link =
        heard.requests.iter().filter(|request| request.heading.message().header().giaddr().is_unspecified());
    on_link
        .flat_map(|request| &request.answers)
        .find_map(|answer| mask_prefix(answer.0.message().option(code::SUBNET_MASK)))
        .unwrap_or(PREFIX)
}

fn mask_prefix(value: Option<&[u8]>) -> Option<u8> {
    let mask = u32::from_be_bytes(value?.try_into().ok()?);
    u8::try_from(mask.leading_ones()).ok().filter(|prefix| (8..=30).contains(prefix))
}

/// Options that a server is told to give, and does not compose itself
fn is_plain(number: u8, mode: Mode) -> bool {
    let is_pxelinux = (code::PXELINUX_MAGIC..=code::PXELINUX_REBOOT_TIME).contains(&number);
    match number {
        code::SUBNET_MASK | code::BROADCAST_ADDRESS | code::HOST_NAME | code::VENDOR_SPECIFIC => false,
        code::REQUESTED_ADDRESS..=code::CLIENT_ID | code::TFTP_SERVER_NAME | code::BOOT_FILE_NAME => false,
        code::CLIENT_FQDN | code::RELAY_AGENT | code::IPXE => false,
        code::ARCHITECTURE..=code::PXE_UUID => false,
        _ => is_pxelinux || mode == Mode::Full,
    }
}

/// Clients that the server did not answer, for whom there must be an address to show one
fn strangers(heard: &Heard<'_>, answered: &[(&Request, &Answer)]) -> u32 {
    let mac = |request: &Request| request.heading.message().mac();
    let known: BTreeSet<_> = answered.iter().filter_map(|(request, _)| mac(request)).collect();
    let all: BTreeSet<_> = heard.requests.iter().filter_map(mac).collect();
    u32::try_from(all.difference(&known).count()).unwrap_or(u32::MAX)
}

/// One pool that holds the addresses given, with room for some more; each for itself where they lie too far apart
fn pools(given: &BTreeSet<Ipv4Addr>, cidr: Cidr, more: u32) -> Vec<Range> {
    let (Some(first), Some(last)) = (given.first().copied(), given.last().copied()) else {
        return Vec::new();
    };
    if last.to_bits() - first.to_bits() > POOL_MAX {
        return given.iter().map(|address| Range { first: *address, last: *address }).collect();
    }
    let highest = cidr.broadcast().to_bits().saturating_sub(1).max(last.to_bits());
    let last = last.to_bits().saturating_add(more.min(POOL_MAX)).min(highest);
    vec![Range { first, last: Ipv4Addr::from_bits(last) }]
}

// --- Boot files ---

/// Who was given a boot file, as far as rules can tell
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Who {
    arch: Option<Arch>,
    loader: LoaderName,
}

fn rules(heard: &Heard<'_>, address: Ipv4Addr, answered: &[(&Request, &Answer)]) -> Vec<Rule> {
    let mut given: Vec<(Who, MacAddr, BootFile)> = Vec::new();
    for (request, answer) in answered {
        let message = request.heading.message();
        let client = Client::from_request(&message, 0);
        let who = Who { arch: client.arch, loader: LoaderName::of(client.loader) };
        if who.loader == LoaderName::System {
            // Some servers name a boot file to everybody. An operating system has no use for one.
            continue;
        }
        let Some(name) = boot_file(&answer.0.message()).or_else(|| fetched(heard, answer)) else { continue };
        let siaddr = answer.0.message().header().siaddr();
        let server = Some(siaddr).filter(|siaddr| !siaddr.is_unspecified() && *siaddr != address);
        if name.len() <= BOOT_FILE_MAX
            && given.iter().all(|(known, mac, _)| (*known, *mac) != (who, client.mac))
        {
            given.push((who, client.mac, BootFile { pieces: vec![Piece::Literal(name)], server }));
        }
    }
    let is_one =
        |who: Who, file: &BootFile| given.iter().all(|(other, _, named)| *other != who || named == file);
    // Machines that get a file of their own come before those that get what all of their kind get.
    let mut rules: Vec<(Vec<Match>, BootFile)> = Vec::new();
    for (who, mac, file) in given.iter().filter(|(who, _, file)| !is_one(*who, file)) {
        let mut matches = conditions(*who);
        matches.push(Match::Mac(vec![mac.to_string()]));
        rules.push((matches, file.clone()));
    }
    let mut done = Vec::new();
    for (who, _, file) in given.iter().filter(|(who, _, file)| is_one(*who, file)) {
        if !done.contains(who) {
            done.push(*who);
            rules.push((conditions(*who), file.clone()));
        }
    }
    let numbered = rules.into_iter().zip(1..);
    numbered
        .map(|((matches, file), number)| Rule {
            matches,
            boots: Boots::File(file),
            image: None,
            mode: None,
            local: Default::default(),
            vars: Default::default(),
            reason: Reason::Rule { number, line: 0 },
        })
        .collect()
}

fn conditions(who: Who) -> Vec<Match> {
    let loader = Match::Loader(vec![who.loader]);
    who.arch.map(|arch| Match::Arch(vec![arch])).into_iter().chain([loader]).collect()
}

/// Where the capture cut an answer short: the file that its client then asked for first
fn fetched(heard: &Heard<'_>, answer: &Answer) -> Option<String> {
    let client = gives_address(answer).filter(|_| answer.0.is_cut())?;
    let transfer = heard
        .transfers
        .iter()
        .find(|transfer| *transfer.client.ip() == client && transfer.at >= answer.0.at)?;
    std::str::from_utf8(transfer.request.filename).ok().map(str::to_owned)
}

// --- Leases ---

fn leases(answered: &[(&Request, &Answer)], begins_at: Instant) -> Vec<Lease> {
    let mut taken = BTreeSet::new();
    let mut leases = Vec::new();
    for (request, answer) in answered {
        let message = request.heading.message();
        let Some(address) = gives_address(answer).filter(|address| taken.insert(*address)) else { continue };
        let term_s = answer.0.message().lease_time_s().map_or(LEASE.as_secs(), u64::from);
        leases.push(Lease {
            address,
            key: ClientKey::of(message.header().htype, message.chaddr(), message.client_id()),
            state: State::Bound,
            expires_s: begins_at.as_secs().saturating_add(term_s),
            hostname: Text::EMPTY,
        });
    }
    leases
}

// --- Words ---

fn subnet_words(subnet: &Subnet) -> String {
    let pools: Vec<String> =
        subnet.pools.iter().map(|pool| format!("{}-{}", pool.first, pool.last)).collect();
    let place = if subnet.attached { "on the link" } else { "behind a relay" };
    match pools.is_empty() {
        true => format!("subnet {} {place}", subnet.cidr),
        false => format!("subnet {} {place}, pool {}", subnet.cidr, pools.join(", ")),
    }
}

fn rule_words(rule: &Rule) -> String {
    let who: Vec<String> = rule
        .matches
        .iter()
        .map(|condition| match condition {
            Match::Arch(archs) => archs.iter().map(Arch::to_string).collect::<Vec<_>>().join(", "),
            Match::Loader(loaders) => {
                loaders.iter().map(|loader| loader.as_str()).collect::<Vec<_>>().join(", ")
            }
            Match::Mac(macs) => macs.join(", "),
            // No other condition is derived.
            _ => String::new(),
        })
        .collect();
    let Boots::File(file) = &rule.boots else { return format!("{} → nothing", who.join(" ")) };
    let name: String =
        file.pieces.iter().map(|piece| if let Piece::Literal(text) = piece { &**text } else { "" }).collect();
    let server = file.server.map_or(String::new(), |server| format!(" on {server}"));
    format!("{} → {name}{server}", who.join(" "))
}
