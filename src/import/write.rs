//! The configuration as text: keys in the order of the manual, each with the line that it comes from.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::boots::{Boot, Boots, Item, Menu};
use super::conditions::{Conditions, Key};
use super::hosts::Machine;
use super::line::Line;
use super::networks::{Network, Networks, Scope, without};
use super::options::{Options, Value};
use super::tags::Arranged;
use crate::boot::plan::{Mode, Range};
use crate::config::mode_name;

/// The text so far
pub(super) struct Text<'l> {
    lines: &'l [Line],
    out: String,
}

/// What all networks have in common
#[derive(Debug, Default)]
pub(super) struct Common {
    /// The line of `dhcp-authoritative`
    pub(super) authoritative: Option<usize>,
    /// The line of `no-ping`
    pub(super) no_ping: Option<usize>,
    /// `domain`, with its line
    pub(super) domain: Option<(usize, String)>,
    /// dnsmasq tells clients that it is their DNS server
    pub(super) is_dns: bool,
}

impl<'l> Text<'l> {
    pub(super) fn new(lines: &'l [Line]) -> Self {
        Self { lines, out: String::new() }
    }

    pub(super) fn finish(self) -> String {
        self.out
    }

    /// A comment of its own
    pub(super) fn comment(&mut self, text: &str) {
        for line in text.lines() {
            let _ = writeln!(self.out, "# {}", printable(line));
        }
    }

    pub(super) fn blank(&mut self) {
        self.out.push('\n');
    }

    pub(super) fn key(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.out, "{key} = {value}");
    }

    /// A key whose line stands beside it
    fn key_from(&mut self, line: usize, key: &str, value: &str) {
        self.key(key, &format!("{value} # line {}", self.lines[line].number));
    }

    pub(super) fn header(&mut self, header: &str) {
        let _ = writeln!(self.out, "{header}");
    }

    /// The lines that something comes from
    pub(super) fn from(&mut self, lines: impl IntoIterator<Item = usize>) {
        for index in lines {
            let line = &self.lines[index];
            let _ = writeln!(self.out, "# line {}: {}", line.number, printable(&line.text));
        }
    }

    pub(super) fn networks(
        &mut self,
        networks: &Networks,
        common: &Common,
        options: impl Fn(&Network, &Scope) -> Options,
    ) {
        for network in &networks.networks {
            self.blank();
            self.from(network.own.lines.iter().copied());
            self.header("[[network]]");
            self.key("interface", &quoted(&network.interface));
            if network.write_address
                && let Some(address) = network.address
            {
                self.key("address", &quoted(&address.to_string()));
            }
            let behind = network.subnets.iter().find_map(|scope| scope.mode);
            let mode = network.own.mode.or(behind).unwrap_or(Mode::Off);
            self.key("dhcp", &quoted(mode_name(mode)));
            if mode == Mode::Full {
                if let Some(line) = common.authoritative {
                    self.key_from(line, "authoritative", "true");
                }
                if let Some(line) = common.no_ping {
                    self.key_from(line, "probe", "false");
                }
            }
            if network.own.mode == Some(Mode::Full) {
                self.scope(network, &network.own, common, &options(network, &network.own), true);
            }
            for scope in network.subnets.iter().filter(|scope| scope.mode == Some(Mode::Full)) {
                self.blank();
                self.from(scope.lines.iter().copied());
                self.header("[[network.subnet]]");
                if let Some(cidr) = scope.cidr {
                    self.key("subnet", &quoted(&cidr.to_string()));
                }
                self.scope(network, scope, common, &options(network, scope), false);
            }
        }
    }

    fn scope(&mut self, network: &Network, scope: &Scope, common: &Common, options: &Options, is_own: bool) {
        // dnsmasq names itself where nothing is said (dnsmasq(8), `dhcp-option`): on the link as router, everywhere as DNS.
        let usual = |code: u8, by_itself: bool| -> (Option<usize>, Vec<Ipv4Addr>) {
            match options.get(&code) {
                Some((line, Value::Addresses(addresses))) => {
                    let addresses = addresses.iter().filter_map(|one| self_or(*one, network.address));
                    (Some(*line), addresses.collect())
                }
                None if by_itself => (None, network.address.into_iter().collect()),
                _ => (None, Vec::new()),
            }
        };
        let named =
            [("router", usual(3, is_own)), ("dns", usual(6, common.is_dns)), ("ntp", usual(42, false))];
        let taken = named.iter().flat_map(|(_, (_, addresses))| addresses);
        let taken: Vec<Range> = taken.map(|one| Range { first: *one, last: *one }).collect();
        let pools: Vec<Range> =
            scope.pools.iter().flat_map(|pool| without(*pool, &taken, None, None)).collect();
        if !pools.is_empty() {
            self.key("pool", &list(pools.iter().map(|pool| format!("{}-{}", pool.first, pool.last))));
        }
        if let Some(lease) = &scope.lease {
            self.key("lease", &quoted(lease));
        }
        for (key, (line, addresses)) in named.iter().filter(|(_, (_, addresses))| !addresses.is_empty()) {
            let value = match addresses.as_slice() {
                [only] => quoted(&only.to_string()),
                all => list(all.iter().map(Ipv4Addr::to_string)),
            };
            match line {
                Some(line) => self.key_from(*line, key, &value),
                None => self.key(key, &format!("{value} # this server, as dnsmasq says by itself")),
            }
        }
        let domain = match options.get(&15) {
            Some((line, Value::Text(domain))) => Some((*line, domain)),
            Some(_) => None,
            None => common.domain.as_ref().map(|(line, domain)| (*line, domain)),
        };
        if let Some((line, domain)) = domain {
            self.key_from(line, "domain", &quoted(domain));
        }
        let rest: Vec<_> = options
            .iter()
            .filter(|(code, _)| ![3, 6, 15, 42].contains(*code))
            .filter_map(|(code, (line, value))| Some((*line, option(*code, value, network.address)?)))
            .collect();
        if !rest.is_empty() {
            self.header("options = [");
            for (line, text) in rest {
                let _ = writeln!(self.out, "    {text}, # line {}", self.lines[line].number);
            }
            self.header("]");
        }
    }

    pub(super) fn boots(&mut self, boots: &Boots) {
        for rule in &boots.modes {
            self.rule(rule.line, &rule.holds);
            self.key("dhcp", &quoted(rule.says.unwrap_or_default()));
        }
        for rule in &boots.rules {
            self.rule(rule.line, &rule.holds);
            match &rule.says {
                Some(Boot { file, server }) => {
                    self.key("file", &quoted(file));
                    if let Some(server) = server {
                        self.key("server", &quoted(&server.to_string()));
                    }
                }
                None => self.key("file", "\"\""),
            }
        }
        for Arranged { holds, says, .. } in &boots.menus {
            if let Some(menu) = says {
                self.menu(holds, menu);
            }
        }
    }

    fn rule(&mut self, line: usize, holds: &Conditions) {
        self.blank();
        self.from([line]);
        self.header("[[boot]]");
        self.matches(holds);
    }

    fn matches(&mut self, holds: &Conditions) {
        if holds.is_everybody() {
            return;
        }
        let one = |(key, values): (&Key, &Vec<String>)| {
            let values = match values.as_slice() {
                [only] => quoted(only),
                all => list(all.iter()),
            };
            format!("{} = {values}", key.name())
        };
        let conditions: Vec<_> = holds.0.iter().map(one).collect();
        self.key("match", &format!("{{ {} }}", conditions.join(", ")));
    }

    fn menu(&mut self, holds: &Conditions, menu: &Menu) {
        self.blank();
        self.from(menu.prompt_line.into_iter().chain(menu.items.iter().map(|(line, _)| *line)));
        self.header("[[menu]]");
        self.matches(holds);
        self.key("prompt", &quoted(&menu.prompt));
        if let Some(timeout_s) = menu.timeout_s {
            self.key("timeout", &timeout_s.to_string());
        }
        self.header("items = [");
        for (_, item) in &menu.items {
            let text = match item {
                Item::Local { name } => format!("{{ name = {}, local = true }}", quoted(name)),
                Item::File { name, file } => {
                    format!("{{ name = {}, file = {} }}", quoted(name), quoted(file))
                }
                Item::Servers { name, server, kind } => {
                    format!("{{ name = {}, server = \"{server}\", type = {kind} }}", quoted(name))
                }
            };
            let _ = writeln!(self.out, "    {text},");
        }
        self.header("]");
    }

    pub(super) fn machines(&mut self, machines: &[Machine]) {
        for machine in machines {
            self.blank();
            self.from([machine.line]);
            self.header("[[machine]]");
            self.key("mac", &quoted(&machine.mac));
            if let Some(address) = machine.address {
                self.key("address", &quoted(&address.to_string()));
            }
            if let Some(hostname) = &machine.hostname {
                self.key("hostname", &quoted(hostname));
            }
            if machine.ignored {
                self.key("dhcp", &quoted(mode_name(Mode::Off)));
            }
        }
    }
}

/// 0.0.0.0 is the server itself (dnsmasq(8), `dhcp-option`); `None`: its address is not known here
fn self_or(address: Ipv4Addr, server: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    if address.is_unspecified() { server } else { Some(address) }
}

fn option(code: u8, value: &Value, server: Option<Ipv4Addr>) -> Option<String> {
    let value = match value {
        Value::Addresses(addresses) => {
            let known: Vec<_> = addresses.iter().filter_map(|one| self_or(*one, server)).collect();
            if known.is_empty() {
                return None;
            }
            format!("ip = {}", list(known.iter().map(Ipv4Addr::to_string)))
        }
        Value::Text(text) => format!("text = {}", quoted(text)),
        Value::Bytes(bytes) => {
            let pairs: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("hex = \"{}\"", pairs.join(":"))
        }
        Value::Number(number, bytes) => format!("u{} = {number}", 8 * u32::from(*bytes)),
        Value::Nothing => return None,
    };
    Some(format!("{{ code = {code}, {value} }}"))
}

/// A basic string of TOML
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn list(values: impl Iterator<Item = impl AsRef<str>>) -> String {
    let values: Vec<_> = values.map(|value| quoted(value.as_ref())).collect();
    format!("[{}]", values.join(", "))
}

/// No control character may stand in a comment of TOML
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_tomls() {
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c\u000A""#);
        assert_eq!(list(["a", "b"].into_iter()), r#"["a", "b"]"#);
    }
}
