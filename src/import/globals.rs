//! The lines that concern the whole server, and those that reveille has nothing for.

use super::line::Line;
use super::networks::Networks;
use super::report::Report;
use super::values;
use super::write::{Common, Text, quoted};
use crate::boot::plan::Mode;
use crate::limits::{BLKSIZE_MAX, BLKSIZE_MIN};

/// Where files lie when the configuration does not say
const USUAL_ROOT: &str = "/srv/tftp";
/// IP, UDP and TFTP headers
const HEADERS: u16 = 20 + 8 + 4;

/// What they say
#[derive(Debug, Default)]
pub(super) struct Globals {
    pub(super) root: Option<String>,
    root_line: Option<usize>,
    single_port: Option<usize>,
    blksize: Option<(usize, u16)>,
    pub(super) common: Common,
}

/// Options that other modules read
const READ: &[&str] = &[
    "interface",
    "except-interface",
    "no-dhcp-interface",
    "listen-address",
    "dhcp-range",
    "dhcp-host",
    "dhcp-option",
    "dhcp-option-force",
    "dhcp-boot",
    "pxe-service",
    "pxe-prompt",
    "dhcp-ignore",
    "dhcp-match",
    "dhcp-vendorclass",
    "dhcp-userclass",
    "dhcp-mac",
    "dhcp-circuitid",
    "dhcp-remoteid",
    "dhcp-subscrid",
    "dhcp-name-match",
    "tag-if",
];

/// Options that need no key, and why
#[rustfmt::skip]
const NEEDLESS: &[(&str, &str)] = &[
    ("enable-tftp", "reveille serves the files of its root by TFTP and HTTP"),
    ("log-dhcp", "reveille prints every decision"),
    ("log-facility", "reveille prints to its standard output"),
    ("log-async", "no packet waits for reveille's log"),
    ("log-debug", "reveille prints every decision"),
    ("quiet-dhcp", "reveille prints a line a decision"),
    ("quiet-tftp", "reveille prints a line a decision"),
    ("bind-interfaces", "reveille answers on its networks' interfaces only"),
    ("bind-dynamic", "reveille answers on its networks' interfaces only"),
    ("tftp-no-fail", "a root that is not there is an error at the start, and told by `check`"),
    ("tftp-max", "reveille's transfers share one socket: their number has a bound of its own"),
    ("dhcp-lease-max", "the number of leases has a bound of its own"),
    ("dhcp-leasefile", "leases are kept in the state directory; --state-dir carries those over that there are"),
    ("leasefile-ro", "leases are kept in the state directory"),
    ("dhcp-no-override", "reveille never puts options into `file` and `sname`"),
    ("dhcp-ignore-clid", "reveille goes by MAC addresses"),
    ("dhcp-pxe-vendor", "reveille takes the vendor class as it is sent"),
    ("no-daemon", "reveille stays in the foreground"),
    ("keep-in-foreground", "reveille stays in the foreground"),
    ("user", "it is the service manager's"),
    ("group", "it is the service manager's"),
    ("pid-file", "it is the service manager's"),
    ("dhcp-client-update", "reveille keeps no DNS"),
    ("dhcp-ttl", "reveille keeps no DNS"),
    ("quiet-ra", "reveille serves IPv4 only"),
    ("quiet-dhcp6", "reveille serves IPv4 only"),
];

/// Options that are lost, and why
#[rustfmt::skip]
const LOST: &[(&str, &str)] = &[
    ("dhcp-option-pxe", "beside another DHCP server, that server sends the options"),
    ("dhcp-relay", "reveille is no relay: keep dnsmasq, or another relay, for it"),
    ("dhcp-proxy", "reveille names itself to clients behind relays"),
    ("dhcp-alternate-port", "reveille serves DHCP on its own ports, 67 and 4011"),
    ("bootp-dynamic", "reveille gives BOOTP clients their reservations only"),
    ("dhcp-sequential-ip", "reveille gives the addresses of a pool in order anyway, but by its own rules"),
    ("dhcp-rapid-commit", "reveille has no rapid commit"),
    ("dhcp-script", "reveille runs no scripts"),
    ("dhcp-luascript", "reveille runs no scripts"),
    ("dhcp-scriptuser", "reveille runs no scripts"),
    ("script-arp", "reveille runs no scripts"),
    ("dhcp-ignore-names", "reveille notes the names that clients give themselves, and hands them to nobody"),
    ("dhcp-generate-names", "reveille makes no names up"),
    ("dhcp-broadcast", "reveille broadcasts where the client asks for it"),
    ("dhcp-reply-delay", "reveille answers at once"),
    ("dhcp-fqdn", "reveille keeps no DNS"),
    ("tftp-unique-root", "reveille's root is the same for every client: put {ip} or {mac} into the `file` of a rule"),
    ("tftp-secure", "reveille serves what its own user may read"),
    ("tftp-lowercase", "reveille takes names as they are written: rename the files, or link them"),
    ("tftp-port-range", "reveille's transfers come from one port: see single-port under [tftp]"),
    ("tftp-no-blocksize", "reveille negotiates block sizes: write blksize = 512 under [tftp]"),
    ("enable-ra", "reveille serves IPv4 only"),
    ("ra-param", "reveille serves IPv4 only"),
    ("dhcp-duid", "reveille serves IPv4 only"),
    ("shared-network", "a client gets an address of the subnet that its link or relay is in"),
    ("conf-script", "its output is not known here: write it to a file, and import that"),
    ("dhcp-hostsdir", "give its files as dhcp-hostsfile lines"),
    ("dhcp-optsdir", "give its files as dhcp-optsfile lines"),
];

/// Options of dnsmasq's DNS server
#[rustfmt::skip]
const DNS: &[&str] = &[
    "port", "address", "addn-hosts", "add-cpe-id", "add-mac", "add-subnet", "alias", "all-servers", "auth-peer", "auth-sec-servers",
    "auth-server", "auth-soa", "auth-ttl", "auth-zone", "bogus-nxdomain", "bogus-priv", "cache-rr", "cache-size", "caa-record",
    "clear-on-reload", "cname", "connmark-allowlist", "connmark-allowlist-enable", "conntrack", "dns-forward-max", "dns-loop-detect",
    "dns-rr", "dnssec", "dnssec-check-unsigned", "dnssec-no-timecheck", "dnssec-timestamp", "domain-needed", "domain-suffix",
    "dumpfile", "dumpmask", "dynamic-host", "edns-packet-max", "enable-dbus", "enable-ubus", "expand-hosts", "fast-dns-retry",
    "filter-A", "filter-AAAA", "filter-rr", "filterwin2k", "host-record", "hostsdir", "ignore-address", "interface-name", "ipset",
    "local", "local-service", "local-ttl", "localise-queries", "localmx", "log-queries", "max-cache-ttl", "max-port", "max-ttl",
    "min-cache-ttl", "min-port", "mx-host", "mx-target", "naptr-record", "neg-ttl", "nftset", "no-0x20-encode", "no-hosts",
    "no-ident", "no-negcache", "no-poll", "no-resolv", "no-round-robin", "port-limit", "proxy-dnssec", "ptr-record", "query-port",
    "quiet-dns", "rebind-domain-ok", "rebind-localhost-ok", "resolv-file", "rev-server", "selfmx", "server", "servers-file",
    "srv-host", "stop-dns-rebind", "strict-order", "strip-mac", "strip-subnet", "synth-domain", "trust-anchor", "txt-record",
    "umbrella", "use-stale-cache",
];

/// Reads them, and tells of every line that no module reads
pub(super) fn read(lines: &[Line], networks: &Networks, report: &mut Report) -> Globals {
    let mut globals = Globals::default();
    let is_dns = !lines.iter().rev().any(|line| line.key == "port" && line.value() == "0");
    let gives = networks.scopes().any(|(_, scope)| scope.mode == Some(Mode::Full));
    globals.common.is_dns = is_dns && gives;
    for (index, line) in lines.iter().enumerate() {
        let key = line.key.as_str();
        if READ.contains(&key) || globals.take(index, line, gives, report) {
            continue;
        }
        let of = |table: &[(&str, &'static str)]| {
            table.iter().find(|(known, _)| *known == key).map(|(_, why)| *why)
        };
        if let Some(why) = of(NEEDLESS) {
            report.needless(line, why);
        } else if let Some(why) = of(LOST) {
            report.lost(line, why);
        } else if DNS.contains(&key) {
            if is_dns {
                report.lost(line, "reveille serves no DNS: keep dnsmasq, or another server, for it");
            } else {
                report.needless(line, "reveille serves no DNS, and dnsmasq's is off");
            }
        } else {
            report.lost(line, format!("`{key}` is no option that reveille knows of dnsmasq"));
        }
    }
    if globals.common.is_dns {
        report.note(
            "dnsmasq was its clients' DNS server, and reveille serves no DNS: keep dnsmasq for it (without its \
             dhcp-range lines), or write another `dns`",
        );
    }
    if globals.root.is_none() {
        report.note(format!("there is no tftp-root: {USUAL_ROOT} is a guess at where the boot files lie"));
    }
    globals
}

impl Globals {
    /// Takes a line that has a key of its own
    fn take(&mut self, index: usize, line: &Line, gives: bool, report: &mut Report) -> bool {
        let value = line.value();
        match line.key.as_str() {
            "tftp-root" if line.words.len() > 1 => {
                report.lost(line, "reveille has one root for all interfaces");
            }
            "tftp-root" => {
                self.root = Some(value);
                self.root_line = Some(index);
            }
            "tftp-single-port" => self.single_port = Some(index),
            "tftp-mtu" => match value.parse::<u16>().ok().and_then(|mtu| mtu.checked_sub(HEADERS)) {
                Some(blksize) => self.blksize = Some((index, blksize.clamp(BLKSIZE_MIN, BLKSIZE_MAX))),
                None => report.lost(line, format!("`{value}` is no MTU")),
            },
            "dhcp-authoritative" | "no-ping" if !gives => {
                report.needless(line, "addresses are another DHCP server's");
            }
            "dhcp-authoritative" => self.common.authoritative = Some(index),
            "no-ping" => self.common.no_ping = Some(index),
            "domain" if !gives => report.needless(line, "options are another DHCP server's"),
            "domain" if line.words.len() > 1 => {
                report.lost(
                    line,
                    "a domain by address range: write `domain` in the [[network]] or its subnets",
                );
            }
            "domain" if values::is_hostname(&value) => self.common.domain = Some((index, value)),
            "domain" => report.lost(line, format!("`{value}` is no domain name")),
            _ => return false,
        }
        true
    }

    pub(super) fn write(&self, text: &mut Text<'_>) {
        text.from(self.root_line);
        text.key("root", &quoted(self.root.as_deref().unwrap_or(USUAL_ROOT)));
        if self.single_port.is_some() || self.blksize.is_some() {
            text.blank();
            text.from(self.single_port.into_iter().chain(self.blksize.map(|(line, _)| line)));
            text.header("[tftp]");
            if self.single_port.is_some() {
                text.key("single-port", "true");
            }
            if let Some((_, blksize)) = self.blksize {
                text.key("blksize", &blksize.to_string());
            }
        }
    }
}
