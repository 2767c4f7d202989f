//! [`Model`] → [`Plan`] and [`Settings`]: how the values fit together, and what is wrong where they do not.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;

use super::errors::{At, Errors, Place, nearest};
use super::model::{Assigned, DoneAfter, File, Image, Item, ItemWhat, Local, Machine, Menu, Model, Rule};
use super::networks::{Networks, rates};
use super::values::mode_name;
use crate::boot::plan::{
    self, BootFile, Boots, ImageMenu, KnownBy, Match, MenuDefault, Mode, Plan, Reason, well_known,
};
use crate::io::interfaces::Interface;
use crate::settings::Settings;

/// Menu items that EDK2 can show
const MENU_ITEMS_MAX: usize = 24;
/// What option 43 holds; it is never split (EDK2 joins no parts)
const OPTION_MAX: usize = 255;

/// The plan and the settings, unless anything is wrong; `last_file`: the last file that a loader fetches of the image of that name,
/// where it boots anything; `problems` are what the system says of the root, the images and the templates
pub(super) fn compile(
    model: &Model,
    interfaces: &[Interface],
    exists: impl Fn(well_known::Place, &str) -> bool,
    last_file: impl Fn(&str) -> Option<String>,
    problems: Vec<(Place, String)>,
    mut errors: Errors,
) -> Result<(Plan, Settings), Errors> {
    if !errors.is_empty() {
        // A value that could not be read would be missed below, and said to be missing.
        return Err(errors);
    }
    let boots = |name: &str| last_file(name).is_some();
    let settings = settings(model, interfaces, &mut errors);
    for (place, problem) in problems {
        errors.push(place, problem);
    }
    if model.networks.is_empty() {
        errors.push(
            Place::Missing,
            "no network is served: write a [[network]] with its interface, or give --interface",
        );
    }
    let listen = model.listen.map(|at| at.value);
    let reservations = model.machines.iter().any(|machine| machine.address.is_some());
    let gives =
        |mode: Option<At<Mode>>| mode.is_some_and(|at| matches!(at.value, Mode::Full | Mode::TakeOver));
    let rule_gives = model.rules.iter().any(|rule| gives(rule.mode));
    let takes_over = rule_gives || model.machines.iter().any(|machine| gives(machine.mode));
    let networks =
        Networks::new(interfaces, listen, reservations, takes_over, &mut errors).compile(&model.networks);
    pools_for_rules(model, &networks, &mut errors);
    images(model, &boots, &mut errors);
    let machines = machines(&model.machines, &networks, rule_gives, &last_file, &mut errors);
    let menus = model.menus.iter().map(|one| menu(one, &mut errors)).collect();
    let mut rules = rules(&model.rules, &last_file, &mut errors);
    if rules.iter().all(|rule| rule.boots == Boots::Unsaid) {
        let boots_images = model.images.iter().any(|image| boots(&image.name.value));
        if boots_images && !exists(well_known::Place::Root, well_known::IPXE_SCRIPT) {
            rules.push(well_known::image_menu());
        }
        let beside = networks.iter().any(|network| network.mode == Mode::Proxy);
        rules.extend(well_known::rules(exists, beside));
    }
    match settings {
        Some(settings) if errors.is_empty() => {
            let rates = rates(&model.networks, &networks);
            let plan = Plan::new(networks, rules, menus, machines);
            let plan = plan.with_image_menu(image_menu(model)).with_rates(rates);
            Ok((plan.with_ports(settings.http_port, settings.tftp_port), settings))
        }
        _ => Err(errors),
    }
}

fn settings(model: &Model, interfaces: &[Interface], errors: &mut Errors) -> Option<Settings> {
    if let Some(listen) = model.listen
        && !listen.value.is_unspecified()
    {
        let mut addresses = interfaces.iter().flat_map(|interface| &interface.addresses);
        if !addresses.any(|(address, _)| *address == listen.value) {
            errors.push(listen.place, format!("no interface has the address {}", listen.value));
        }
    }
    if let Some(port) = model.tftp_port.filter(|port| [67, 68, 4011].contains(&port.value)) {
        errors.push(port.place, format!("port {} is DHCP's: TFTP needs another", port.value));
    }
    if model.root.is_none() && model.images.is_empty() {
        errors.push(Place::Missing, "no directory to serve: write root = \"/data/pxe\", or give --root");
        return None;
    }
    let mut names = Once::new();
    for image in &model.images {
        names.check("image", "name", Some(image.name.clone()), errors);
    }
    let usual = Settings::new(model.root.as_ref().map(|root| root.value.clone()));
    fn or<T: Clone>(written: &Option<At<T>>, usual: T) -> T {
        written.as_ref().map_or(usual, |at| at.value.clone())
    }
    Some(Settings {
        root: usual.root,
        images: model.images.iter().map(Image::source).collect(),
        state_dir: or(&model.state_dir, usual.state_dir),
        listen: model.listen.map(|at| at.value).filter(|address| !address.is_unspecified()),
        http_port: or(&model.http_port, usual.http_port),
        tftp_port: or(&model.tftp_port, usual.tftp_port),
        single_port: or(&model.single_port, usual.single_port),
        blksize_max: or(&model.blksize, usual.blksize_max),
        windowsize_max: or(&model.windowsize, usual.windowsize_max),
        shards: model.shards.map(|at| at.value),
        io: or(&model.io, usual.io),
        log: or(&model.log, usual.log),
        capture: None,
    })
}

/// A rule or a machine that gives addresses needs somewhere to take them from
fn pools_for_rules(model: &Model, networks: &[plan::Network], errors: &mut Errors) {
    let any_pool =
        networks.iter().flat_map(|network| &network.subnets).any(|subnet| !subnet.pools.is_empty());
    if any_pool {
        return;
    }
    let of_rules = model.rules.iter().filter_map(|rule| rule.mode);
    let of_machines =
        model.machines.iter().filter(|machine| machine.address.is_none()).filter_map(|one| one.mode);
    for mode in of_rules.chain(of_machines) {
        if matches!(mode.value, Mode::Full | Mode::TakeOver) {
            let name = mode_name(mode.value);
            errors.push(
                mode.place,
                format!("\"{name}\" gives addresses, and no network has a pool: write one there"),
            );
        }
    }
}

/// Whether the images that are named are there, and boot
fn images(model: &Model, boots: &impl Fn(&str) -> bool, errors: &mut Errors) {
    let known: Vec<_> = model.images.iter().map(|image| image.name.value.as_str()).collect();
    let mut check = |image: &At<String>| {
        if !known.contains(&image.value.as_str()) {
            let meant = nearest(&image.value, known.iter().copied());
            let advice = match (meant, known.is_empty()) {
                (Some(name), _) => format!("do you mean `{name}`?"),
                (None, false) => format!("known are {}", known.join(", ")),
                (None, true) => format!("describe it in [image.{}]", image.value),
            };
            errors.push(image.place, format!("there is no image `{}`: {advice}", image.value));
        } else if !boots(&image.value) {
            let what = "nothing in it is known to boot: write its kernel, initrd and args in";
            errors.push(image.place, format!("image `{0}`: {what} [image.{0}]", image.value));
        }
    };
    let of_rules = model.rules.iter().filter_map(|rule| rule.image.as_ref());
    let of_machines = model.machines.iter().filter_map(|machine| machine.image.as_ref());
    of_rules.chain(of_machines).for_each(|assigned| check(&assigned.image));
    let default = model.image_menu.as_ref().and_then(|menu| menu.default.as_ref());
    if let Some(At { value: MenuDefault::Image(name), place }) = default {
        check(&At::new(name.clone(), *place));
    }
    for item in model.menus.iter().flat_map(|menu| &menu.items) {
        if let ItemWhat::Image(image) = &item.what {
            check(image);
        }
    }
}

fn image_menu(model: &Model) -> ImageMenu {
    let usual = ImageMenu::default();
    let Some(menu) = &model.image_menu else { return usual };
    ImageMenu {
        title: menu.title.as_ref().map_or(usual.title, |at| at.value.clone()),
        timeout_s: menu.timeout_s.map_or(usual.timeout_s, |at| at.value),
        default: menu.default.as_ref().map_or(usual.default, |at| at.value.clone()),
        always: true,
    }
}

fn rules(
    rules: &[Rule],
    last_file: &impl Fn(&str) -> Option<String>,
    errors: &mut Errors,
) -> Vec<plan::Rule> {
    let mut compile = |(number, rule): (u32, &Rule)| plan::Rule {
        local: local(&rule.local, rule.image.as_ref(), last_file, errors),
        vars: rule.vars.clone(),
        matches: rule.matches.clone(),
        boots: match &rule.file {
            Some(At { value: File::Named(boot), .. }) => Boots::File(boot.clone()),
            Some(At { value: File::Nothing, .. }) => Boots::Nothing,
            None => Boots::Unsaid,
        },
        image: rule
            .image
            .as_ref()
            .map(|Assigned { image, args }| plan::Assigned::for_rule(image.value.clone(), args.clone())),
        mode: rule.mode.map(|at| at.value),
        reason: Reason::Rule { number, line: errors.line(rule.place) },
    };
    (1..).zip(rules).map(&mut compile).collect()
}

fn menu(menu: &Menu, errors: &mut Errors) -> (Vec<Match>, plan::Menu, Reason) {
    if menu.items.is_empty() {
        errors.push(
            menu.place,
            "a menu without items: write items = [{ name = \"Install\", file = \"lpxelinux.0\" }]",
        );
    }
    if menu.items.len() > MENU_ITEMS_MAX {
        let message = format!("{} items; UEFI firmware shows {MENU_ITEMS_MAX} at most", menu.items.len());
        errors.push(menu.place, message);
    }
    let printable = |text: &str| !text.is_empty() && text.bytes().all(|b| matches!(b, b' '..=b'~'));
    let texts = menu.items.iter().map(|item| (item.name.as_str(), item.place));
    for (text, place) in texts.chain([(menu.prompt.as_str(), menu.place)]) {
        if !printable(text) {
            errors.push(place, format!("firmware shows printable ASCII only: `{}`", text.escape_debug()));
        }
    }
    // 43.8 and 43.9 an item, 43.10, 43.6 and the three lengths (PXE 2.1 §2.2.3).
    let servers_of = |item: &Item| match &item.what {
        ItemWhat::Servers(servers, _) => servers.len(),
        _ => 1,
    };
    let of_items: usize = menu.items.iter().map(|item| 3 + 4 * servers_of(item) + 3 + item.name.len()).sum();
    let len = of_items + 1 + menu.prompt.len() + 3 + 3 * 2 + 1;
    if len > OPTION_MAX {
        let message = format!(
            "the menu takes {len} bytes; DHCP has room for {OPTION_MAX}: shorten its names, or drop items"
        );
        errors.push(menu.place, message);
    }
    let items = (plan::MenuItem::OWN_KINDS..).zip(&menu.items).map(|(own, item)| {
        let (kind, boot, image, servers) = match &item.what {
            ItemWhat::Local => (0, None, None, Vec::new()),
            ItemWhat::File(file) => (own, Some(file.value.clone()), None, Vec::new()),
            ItemWhat::Image(image) => {
                let boot = BootFile::pxelinux_of(&image.value);
                (own, Some(boot), Some(plan::Assigned::for_rule(image.value.clone(), None)), Vec::new())
            }
            ItemWhat::Servers(servers, kind) => (kind.value, None, None, servers.clone()),
        };
        plan::MenuItem { kind, text: item.name.clone(), boot, image, servers }
    });
    let compiled =
        plan::Menu { prompt: menu.prompt.clone(), timeout_s: menu.timeout_s, items: items.collect() };
    (menu.matches.clone(), compiled, Reason::Menu { line: errors.line(menu.place) })
}

/// `rule_gives`: some rule gives addresses where the network does not, perhaps to this very machine
fn machines(
    machines: &[Machine],
    networks: &[plan::Network],
    rule_gives: bool,
    last_file: &impl Fn(&str) -> Option<String>,
    errors: &mut Errors,
) -> Vec<plan::Machine> {
    let (mut macs, mut uuids, mut addresses) = (Once::new(), Once::new(), Once::new());
    let (mut names, mut serials) = (Once::new(), Once::new());
    for machine in machines {
        macs.check("machine", "mac", machine.mac, errors);
        uuids.check("machine", "uuid", machine.uuid, errors);
        serials.check("machine", "serial", machine.serial.clone(), errors);
        heard(machine, errors);
        addresses.check("machine", "address", machine.address, errors);
        names.check("machine", "hostname", machine.hostname.clone(), errors);
        if let Some(address) = machine.address
            && let Some(message) = unusable(address.value, machine, networks, rule_gives)
        {
            errors.push(address.place, message);
        }
    }
    let mut compile = |machine: &Machine| plan::Machine {
        mac: machine.mac.map(|at| at.value),
        uuid: machine.uuid.map(|at| at.value),
        address: machine.address.map(|at| at.value),
        hostname: machine.hostname.as_ref().map(|at| at.value.clone()),
        mode: machine.mode.map(|at| at.value),
        boot: machine.file.as_ref().map(|at| at.value.clone()),
        serial: machine.serial.as_ref().map(|at| at.value.clone()),
        image: machine.image.as_ref().map(|one| assigned_to(machine, one)),
        local: local(&machine.local, machine.image.as_ref(), last_file, errors),
        vars: machine.vars.clone(),
        line: errors.line(machine.place),
    };
    machines.iter().map(&mut compile).collect()
}

/// When a machine, or those of a rule, boot from their own disks
fn local(
    local: &Local,
    image: Option<&Assigned>,
    last_file: &impl Fn(&str) -> Option<String>,
    errors: &mut Errors,
) -> plan::Local {
    let Some(once) = &local.once else {
        return if local.always.is_some() { plan::Local::Always } else { plan::Local::Never };
    };
    let file = match (&local.after, image) {
        (None, _) => None,
        (Some(At { value: DoneAfter::File(file), .. }), _) => Some(file.clone()),
        (Some(At { value: DoneAfter::Initrd, .. }), Some(Assigned { image, .. })) => {
            last_file(&image.value).map(|path| format!("images/{}/{path}", image.value))
        }
        (Some(At { place, .. }), None) => {
            errors
                .push(*place, "no `image` is named here whose initrd could be meant: write the file's path");
            None
        }
    };
    plan::Local::After(plan::Once { term: once.value.clone(), file })
}

/// DHCP tells no serial number: a machine that is known by nothing else gets nothing by DHCP
fn heard(machine: &Machine, errors: &mut Errors) {
    let Some(serial) = machine.serial.as_ref().filter(|_| machine.mac.is_none() && machine.uuid.is_none())
    else {
        return;
    };
    let of_dhcp = [
        ("address", machine.address.as_ref().map(|at| at.place)),
        ("file", machine.file.as_ref().map(|at| at.place)),
        ("dhcp", machine.mode.as_ref().map(|at| at.place)),
    ];
    for (key, place) in of_dhcp.into_iter().filter_map(|(key, place)| Some((key, place?))) {
        errors.push(
            place,
            format!("`{key}` is DHCP's, which tells no serial number: write the machine's mac or uuid too"),
        );
    }
    if machine.image.is_none() {
        errors.push(
            serial.place,
            "a serial number is of use to an image only: write image = \"…\", or a mac or uuid",
        );
    }
}

fn assigned_to(machine: &Machine, Assigned { image, args }: &Assigned) -> plan::Assigned {
    let (image, args) = (image.value.clone(), args.clone());
    match (machine.mac, machine.uuid) {
        (Some(_), _) => plan::Assigned::for_machine(image, args, KnownBy::Mac),
        (None, Some(_)) => plan::Assigned::for_machine(image, args, KnownBy::Uuid),
        (None, None) => plan::Assigned::for_rule(image, args),
    }
}

/// Values that two machines cannot share
struct Once<T>(HashMap<T, Place>);

impl<T: Eq + Hash + std::fmt::Display> Once<T> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    fn check(&mut self, what: &str, key: &str, value: Option<At<T>>, errors: &mut Errors) {
        let Some(At { value, place }) = value else { return };
        match self.0.get(&value) {
            Some(first) => {
                let first = match errors.line(*first) {
                    0 => String::new(),
                    line => format!(", in line {line}"),
                };
                errors.push(place, format!("another {what} has the {key} {value}{first}"));
            }
            None => {
                self.0.insert(value, place);
            }
        }
    }
}

/// Why no network can give a machine that address
fn unusable(
    address: Ipv4Addr,
    machine: &Machine,
    networks: &[plan::Network],
    rule_gives: bool,
) -> Option<String> {
    let subnets =
        || networks.iter().flat_map(|network| network.subnets.iter().map(move |subnet| (network, subnet)));
    let Some((network, subnet)) = subnets().find(|(_, subnet)| subnet.cidr.contains(address)) else {
        // With no network compiled, what is wrong there is said already.
        let known: Vec<_> = subnets().map(|(_, subnet)| subnet.cidr.to_string()).collect();
        return (!known.is_empty())
            .then(|| format!("no subnet holds {address}: those that are served are {}", known.join(", ")));
    };
    if address == network.address {
        return Some(format!("{address} is this server's own address"));
    }
    if subnet.cidr.prefix < 31 && (address == subnet.cidr.address || address == subnet.cidr.broadcast()) {
        return Some(format!("{address} is {}'s network or broadcast address", subnet.cidr));
    }
    let mode = machine.mode.map_or(network.mode, |at| at.value);
    (matches!(mode, Mode::Proxy | Mode::Off) && !rule_gives).then(|| {
        format!(
            "dhcp is \"{}\" for this machine, so its address comes from elsewhere: leave it out, or write dhcp = \"take-over\"",
            mode_name(mode)
        )
    })
}
