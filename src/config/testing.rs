//! Configurations for tests: on a machine whose interfaces are these, with one file in its root.

use std::path::Path;

use super::errors::Errors;
use super::{compile, text};
use crate::boot::plan::Plan;
use crate::io::interfaces::Interface;
use crate::settings::Settings;
use crate::wire::ethernet::MacAddr;

/// The example of the manual
pub(crate) const EXAMPLE: &str = r#"root = "/data/pxe"

[[network]]
interface = "eth0"
dhcp = "full"                                  # full | proxy | take-over | off
pool = ["192.168.99.50-192.168.99.99"]
lease = "12h"
router = "192.168.99.1"

[[network.subnet]]                             # behind a relay
subnet = "10.44.0.0/24"
pool = ["10.44.0.50-10.44.0.99"]
router = "10.44.0.1"

[[boot]]                                       # the first rule that matches answers
match = { loader = "ipxe" }                    # arch, loader, mac (prefixes and globs too), uuid, subnet, vendor, user-class
file = "http://{server}/boot.ipxe"

[[boot]]
match = { arch = "x86-bios" }
file = "lpxelinux.0"

[image.centos7]                                # served straight out of the ISO, nothing mounted or unpacked
iso = "/isos/CentOS-7-x86_64-Minimal-1511.iso"

[[machine]]
mac = "88:99:aa:bb:cc:dd"
address = "192.168.99.60"
hostname = "node-01"
"#;

fn interface(name: &str, addresses: &[([u8; 4], u8)]) -> Interface {
    let addresses = addresses.iter().map(|(address, prefix)| ((*address).into(), *prefix)).collect();
    Interface { name: name.into(), mac: MacAddr([2, 0, 0, 0, 0, 1]), addresses }
}

/// `eth0` as in the manual, `eth1` with two addresses, `eth2` with none
pub(crate) fn interfaces() -> Vec<Interface> {
    vec![
        interface("lo", &[([127, 0, 0, 1], 8)]),
        interface("eth0", &[([192, 168, 99, 1], 24)]),
        interface("eth1", &[([172, 16, 0, 2], 16), ([10, 9, 0, 1], 24)]),
        interface("eth2", &[]),
    ]
}

/// Reads and compiles `r.toml`; `lpxelinux.0` is in the root
pub(crate) fn load(config: &str) -> Result<(Plan, Settings), Errors> {
    let mut errors = Errors::new(Path::new("r.toml"), config);
    let model = text::read(config, &mut errors);
    compile::compile(
        &model,
        &interfaces(),
        |_, name| name == "lpxelinux.0",
        |name| (name != "empty").then(|| "initrd.img".to_owned()),
        Vec::new(),
        errors,
    )
}
