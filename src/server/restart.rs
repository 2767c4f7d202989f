//! What of a new configuration can be put in force between two packets, and what needs a restart: whatever sockets, the
//! store and the shards were made from.

use crate::boot::plan::{Mode, Plan};
use crate::settings::Settings;

/// Whether addresses are given, so that leases have to be kept
pub(super) fn gives_addresses(plan: &Plan) -> bool {
    let gives = |mode: Mode| matches!(mode, Mode::Full | Mode::TakeOver);
    plan.networks().iter().any(|network| gives(network.mode))
        || plan.machines().iter().any(|machine| machine.mode.is_some_and(gives))
        || plan.rules().iter().any(|rule| rule.mode.is_some_and(gives))
}

/// The settings that a running server cannot change, by their names
pub(super) fn needs_restart(old: (&Plan, &Settings), new: (&Plan, &Settings)) -> Vec<String> {
    let (old_plan, old) = old;
    let (new_plan, new) = new;
    let mut reasons = networks(old_plan, new_plan);
    if gives_addresses(new_plan) && !gives_addresses(old_plan) {
        reasons.push("the first network that gives addresses (dhcp)".to_owned());
    }
    let settings = [
        ("root", old.root == new.root),
        ("state-dir", old.state_dir == new.state_dir),
        ("listen", old.listen == new.listen),
        ("http-port", old.http_port == new.http_port),
        ("tftp-port", old.tftp_port == new.tftp_port),
        ("single-port", old.single_port == new.single_port),
        ("blksize-max", old.blksize_max == new.blksize_max),
        ("windowsize-max", old.windowsize_max == new.windowsize_max),
        ("shards", old.shards == new.shards),
        ("io", old.io == new.io),
    ];
    reasons.extend(settings.iter().filter(|(_, same)| !same).map(|(name, _)| (*name).to_owned()));
    reasons
}

fn networks(old: &Plan, new: &Plan) -> Vec<String> {
    let names = |plan: &Plan| plan.networks().iter().map(|n| n.interface.clone()).collect::<Vec<_>>();
    if names(old) != names(new) {
        return vec!["the interfaces served".to_owned()];
    }
    let mut reasons = Vec::new();
    for (old, new) in old.networks().iter().zip(new.networks()) {
        // The sockets of a network depend on whether it has DHCP, and whether it is the only DHCP server of the host.
        if (old.mode == Mode::Off, old.mode == Mode::Full) != (new.mode == Mode::Off, new.mode == Mode::Full)
        {
            reasons.push(format!("dhcp on {}", new.interface));
        }
        if old.mac != new.mac {
            reasons.push(format!("the new hardware address of {}", new.interface));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::PathBuf;

    use super::*;
    use crate::boot::plan::{Network, Rate};
    use crate::wire::ethernet::MacAddr;

    fn plan(networks: &[(&str, Mode)]) -> Plan {
        let network = |&(interface, mode): &(&str, Mode)| Network {
            interface: interface.to_owned(),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            address: Ipv4Addr::new(192, 168, 99, 1),
            mode,
            authoritative: true,
            probe: true,
            subnets: Vec::new(),
        };
        Plan::new(networks.iter().map(network).collect(), Vec::new(), Vec::new(), Vec::new())
    }

    #[test]
    fn sockets_and_the_store_need_a_restart_and_the_rest_does_not() {
        let settings = Settings::new(PathBuf::from("/data/pxe"));
        let full = plan(&[("eth0", Mode::Full)]);
        let proxy = plan(&[("eth0", Mode::Proxy)]);
        let reasons = |old: &Plan, new: &Plan| needs_restart((old, &settings), (new, &settings));
        assert!(reasons(&full, &full).is_empty());
        assert_eq!(reasons(&full, &proxy), ["dhcp on eth0"], "port 67 is held");
        assert_eq!(reasons(&full, &plan(&[("eth1", Mode::Full)])), ["the interfaces served"]);
        let take_over = plan(&[("eth0", Mode::TakeOver)]);
        assert_eq!(reasons(&proxy, &take_over), ["the first network that gives addresses (dhcp)"]);
        assert!(reasons(&take_over, &proxy).is_empty());
        let rate = Rate { of: "eth0".to_owned(), whom: Vec::new(), bits_per_s: 1_000_000, within: None };
        assert!(reasons(&full, &plan(&[("eth0", Mode::Full)]).with_rates(vec![rate])).is_empty());

        let other = Settings { http_port: 8080, root: Some(PathBuf::from("/srv")), ..settings.clone() };
        assert_eq!(needs_restart((&full, &settings), (&full, &other)), ["root", "http-port"]);
    }
}
