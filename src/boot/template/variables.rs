//! What a template knows of a machine and its network.
//!
//! A value that is not known is not there: a template that needs it gives no text rather than one with a hole in it.

use std::net::Ipv4Addr;

use minijinja::Value;

use super::super::plan::{Plan, Subnet, Who};
use super::super::script::{self, Server};
use crate::wire::dhcp::code;

/// The names that are taken
const OWN: [&str; 24] = [
    "mac",
    "mac_hyphens",
    "uuid",
    "serial",
    "ip",
    "host",
    "arch",
    "server",
    "http",
    "url",
    "image",
    "args",
    "done",
    "router",
    "dns",
    "ntp",
    "domain",
    "netmask",
    "prefix",
    "subnet",
    "broadcast",
    "loop",
    "self",
    "super",
];

/// Whether an operator's value cannot have that name
pub fn is_own(name: &str) -> bool {
    OWN.contains(&name)
}

/// The values for one machine
pub(super) fn of(plan: &Plan, who: &Who<'_>, image_args: &dyn Fn(&str) -> Option<String>) -> Value {
    let mut known: Vec<(&str, Value)> =
        plan.vars_of(who).into_iter().map(|(name, value)| (name, value.clone())).collect();
    let mut know = |name: &'static str, value: Option<Value>| known.extend(value.map(|value| (name, value)));
    let text = |value: &dyn std::fmt::Display| Value::from(value.to_string());
    let network = &plan.networks()[who.network];
    let server = Server::of(plan, network.address);
    let machine = who.machine;

    know("mac", who.mac.map(|mac| text(&mac)));
    know("mac_hyphens", who.mac.map(|mac| text(&mac.hyphenated())));
    know("uuid", who.uuid.map(|uuid| text(&uuid)));
    know("serial", machine.and_then(|machine| machine.serial.as_ref()).map(|serial| text(serial)));
    know("ip", who.ip.map(|ip| text(&ip)));
    let hostname = machine.and_then(|machine| machine.hostname.as_ref());
    know("host", hostname.map(|name| text(name)).or_else(|| who.mac.map(|mac| text(&mac.hyphenated()))));
    // As in a boot file's name.
    know("arch", Some(who.arch().map_or_else(|| Value::from("unknown"), |arch| text(&arch))));
    know("server", Some(text(&server.address)));
    know("http", Some(text(&server)));
    know("done", Some(Value::from(server.done(who.mac))));

    if let Some(assigned) = plan.image_of(who) {
        let image = &assigned.image;
        know("image", Some(text(image)));
        know("url", Some(Value::from(format!("{server}/images/{image}"))));
        let args = image_args(image).map(|args| script::kernel_args(&args, assigned, who, server));
        know("args", args.map(Value::from));
    }
    if let Some(subnet) = network.subnet_of(who.ip) {
        of_subnet(subnet, &mut know);
    }
    Value::from_pairs(known)
}

fn of_subnet(subnet: &Subnet, know: &mut dyn FnMut(&'static str, Option<Value>)) {
    let text = |value: &dyn std::fmt::Display| Value::from(value.to_string());
    let option = |code: u8| subnet.options.iter().find(|(one, _)| *one == code).map(|(_, value)| &value[..]);
    let addresses = |code| -> Vec<Value> {
        let (quads, _) = option(code).unwrap_or_default().as_chunks::<4>();
        quads.iter().map(|quad| text(&Ipv4Addr::from(*quad))).collect()
    };
    know("router", addresses(code::ROUTER).into_iter().next());
    know("dns", Some(Value::from(addresses(code::DNS))));
    know("ntp", Some(Value::from(addresses(code::NTP_SERVERS))));
    know(
        "domain",
        option(code::DOMAIN_NAME).map(|name| Value::from(String::from_utf8_lossy(name).into_owned())),
    );
    know("netmask", Some(text(&subnet.cidr.netmask())));
    know("prefix", Some(Value::from(subnet.cidr.prefix)));
    know("subnet", Some(text(&subnet.cidr)));
    know("broadcast", Some(text(&subnet.cidr.broadcast())));
}
