//! Flags → [`Model`], value by value what the file would say.

use std::net::Ipv4Addr;

use super::errors::{At, Errors, Place};
use super::model::{File, Image, Local, Model, Network, Rule, Scope};
use super::{text, values};
use crate::args::{Process, Setup};
use crate::boot::image::Origin;
use crate::boot::plan::{BootFile, Cidr, Match, Mode, Vars};
use crate::io::interfaces::Interface;

/// The model of the flags alone
pub(super) fn read(setup: &Setup, interfaces: &[Interface], errors: &mut Errors) -> Model {
    let mut model = Model { networks: networks(setup, interfaces, errors), ..Model::default() };
    for text in &setup.boot {
        model.rules.extend(errors.keep(Place::Flag("--boot"), rule(text)));
    }
    model
}

/// What flags say in place of the file
pub(super) fn override_setup(model: &mut Model, setup: &Setup, errors: &mut Errors) {
    set(&mut model.root, setup.root.clone(), "--root");
    set(&mut model.http_port, setup.http_port, "--http-port");
    set(&mut model.tftp_port, setup.tftp_port, "--tftp-port");
    set(&mut model.listen, setup.listen, "--listen");
    for iso in &setup.iso {
        let name = iso.file_stem().unwrap_or_default().to_string_lossy();
        // What a URL would have to escape becomes a dash.
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
        let name: String = name.chars().map(plain).collect();
        let place = Place::Flag("--iso");
        if errors.keep(place, values::image_name(&name)).is_some() {
            let origin = At::new(Origin::Iso(iso.clone()), place);
            let name = At::new(name, place);
            model.images.push(Image {
                name,
                origin,
                kernel: None,
                initrds: Vec::new(),
                args: None,
                title: None,
            });
        }
    }
}

/// What flags say of the process in place of the file
pub(super) fn override_process(model: &mut Model, process: &Process, errors: &mut Errors) {
    set(&mut model.shards, process.shards, "--shards");
    set(&mut model.state_dir, process.state_dir.clone(), "--state-dir");
    let io = process.io.as_deref().and_then(|io| errors.keep(Place::Flag("--io"), text::io(io)));
    set(&mut model.io, io, "--io");
    override_log(model, process.log.as_deref(), errors);
}

/// `--log` in place of the file's `log`
pub(super) fn override_log(model: &mut Model, log: Option<&str>, errors: &mut Errors) {
    let log = log.and_then(|log| errors.keep(Place::Flag("--log"), text::log(log)));
    set(&mut model.log, log, "--log");
}

fn set<T>(written: &mut Option<At<T>>, value: Option<T>, flag: &'static str) {
    if let Some(value) = value {
        *written = Some(At::new(value, Place::Flag(flag)));
    }
}

fn networks(setup: &Setup, interfaces: &[Interface], errors: &mut Errors) -> Vec<Network> {
    let mut each = |flag, texts: &[String]| -> Vec<At<Ipv4Addr>> {
        let read = |text: &String| errors.keep(Place::Flag(flag), values::address(text));
        texts.iter().filter_map(read).map(|address| At::new(address, Place::Flag(flag))).collect()
    };
    let routers = each("--router", &setup.router);
    let dns = each("--dns", &setup.dns);
    let lease =
        setup.lease.as_ref().and_then(|text| errors.keep(Place::Flag("--lease"), values::lease(text)));
    let network = |name: &String| Network {
        place: Place::Flag("--interface"),
        interface: At::new(name.clone(), Place::Flag("--interface")),
        address: None,
        mode: setup.proxy.then_some(At::new(Mode::Proxy, Place::Flag("--proxy"))),
        authoritative: None,
        probe: None,
        own: Scope {
            lease: lease.map(|lease| At::new(lease, Place::Flag("--lease"))),
            dns: dns.clone(),
            ..Scope::default()
        },
        subnets: Vec::new(),
    };
    let mut networks: Vec<_> = setup.interface.iter().map(network).collect();
    for text in &setup.pool {
        let Some(pool) = errors.keep(Place::Flag("--pool"), values::range(text)) else { continue };
        if let Some(network) = network_of(&mut networks, pool.first, interfaces) {
            network.own.pools.push(At::new(pool, Place::Flag("--pool")));
        }
    }
    for router in routers {
        if let Some(network) = network_of(&mut networks, router.value, interfaces) {
            network.own.routers.push(router);
        }
    }
    networks
}

/// The network whose link holds the address; failing that the first, where the error will be told
fn network_of<'n>(
    networks: &'n mut [Network],
    address: Ipv4Addr,
    interfaces: &[Interface],
) -> Option<&'n mut Network> {
    let holds = |network: &Network| {
        let interface = interfaces.iter().find(|interface| interface.name == network.interface.value);
        interface.is_some_and(|interface| {
            interface.addresses.iter().any(|(own, prefix)| Cidr::new(*own, *prefix).contains(address))
        })
    };
    let index = networks.iter().position(holds).unwrap_or(0);
    networks.get_mut(index)
}

/// `ARCH=FILE_OR_URL`, where ARCH may be a loader's name
fn rule(text: &str) -> Result<Rule, String> {
    let place = Place::Flag("--boot");
    let (name, file) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` says no boot file: write one like x86-bios=lpxelinux.0"))?;
    let condition = match values::loader(name) {
        Ok(loader) => Match::Loader(vec![loader]),
        Err(_) => Match::Arch(vec![values::arch(name)?]),
    };
    let file = match file {
        "" => File::Nothing,
        file => File::Named(BootFile::parse(file).map_err(|error| format!("`{file}`: {error}"))?),
    };
    let file = Some(At::new(file, place));
    let (local, vars) = (Local::default(), Vars::new());
    Ok(Rule { place, matches: vec![condition], file, image: None, local, vars, mode: None })
}
