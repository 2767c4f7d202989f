//! TOML text → [`Model`]. Every value is read and checked by itself; how they fit together is `compile`'s.

use std::path::PathBuf;

use super::errors::{At, Errors};
use super::model::{
    Assigned, DoneAfter, File, Image, ImageMenu, Item, ItemWhat, Local, Machine, Menu, Model, Network, Rule,
    Scope, Subnet, Template, TemplateFiles,
};
use super::options;
use super::table::Table;
use super::values;
use crate::boot::image::Origin;
use crate::boot::plan::{BootFile, Match, MenuDefault, Vars};
use crate::boot::{script, template};
use crate::limits::{BLKSIZE_MAX, BLKSIZE_MIN, WINDOWSIZE_MAX};
use crate::settings::{Io, LogFormat};

/// The longest path of `done-after`
const DONE_AFTER_MAX: usize = 120;

/// The model of a text; what is wrong goes to `errors`
pub(super) fn read(text: &str, errors: &mut Errors) -> Model {
    let mut table = Table::parse(text, errors);
    let mut model = Model {
        root: table.string("root", errors, path),
        http_port: table.number("http-port", errors, 1, 65_535),
        tftp_port: table.number("tftp-port", errors, 1, 65_535),
        listen: table.string("listen", errors, values::address),
        shards: table.number("shards", errors, 1, 1_024),
        io: table.string("io", errors, io),
        state_dir: table.string("state-dir", errors, path),
        log: table.string("log", errors, log),
        ..Model::default()
    };
    if let Some(mut tftp) = table.table("tftp", "[tftp]", errors) {
        model.single_port = tftp.boolean("single-port", errors);
        model.blksize = tftp.number("blksize", errors, BLKSIZE_MIN.into(), BLKSIZE_MAX.into());
        model.windowsize = tftp.number("windowsize", errors, 1, WINDOWSIZE_MAX.into());
        tftp.finish(errors);
    }
    model.images = table
        .named("image", "[image.NAME]", errors)
        .into_iter()
        .filter_map(|(name, one)| image(name, one, errors))
        .collect();
    model.image_menu = table.table("image-menu", "[image-menu]", errors).map(|one| image_menu(one, errors));
    model.templates = table
        .named("template", "[template.NAME]", errors)
        .into_iter()
        .filter_map(|(name, one)| template(name, one, errors))
        .collect();
    model.vars = vars(&mut table, "[vars]", errors);
    model.networks = table
        .tables("network", "[[network]]", errors)
        .into_iter()
        .filter_map(|one| network(one, errors))
        .collect();
    model.rules = table.tables("boot", "[[boot]]", errors).into_iter().map(|one| rule(one, errors)).collect();
    model.menus = table.tables("menu", "[[menu]]", errors).into_iter().map(|one| menu(one, errors)).collect();
    model.machines =
        table.tables("machine", "[[machine]]", errors).into_iter().map(|one| machine(one, errors)).collect();
    table.later("admin", errors, "leave it out");
    table.finish(errors);
    model
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        Err("an empty path: write one like \"/data/pxe\"".to_owned())
    } else {
        Ok(PathBuf::from(text))
    }
}

pub(super) fn io(text: &str) -> Result<Io, String> {
    values::choose(text, "way of I/O", &[("auto", Io::Auto), ("epoll", Io::Epoll), ("uring", Io::Uring)])
}

pub(super) fn log(text: &str) -> Result<LogFormat, String> {
    values::choose(text, "log format", &[("text", LogFormat::Text), ("json", LogFormat::Json)])
}

fn words(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

fn image(name: At<String>, mut table: Table<'_>, errors: &mut Errors) -> Option<Image> {
    let iso = table.string("iso", errors, |text| path(text).map(Origin::Iso));
    let dir = table.string("dir", errors, |text| path(text).map(Origin::Directory));
    let kernel = table.string("kernel", errors, values::image_path);
    let mut initrds = table.strings("initrd", errors, values::image_path);
    let args = table.string("args", errors, args);
    let title = table.string("title", errors, shown);
    if kernel.is_none() && !table.found("kernel") && !initrds.is_empty() {
        errors.push(initrds.swap_remove(0).place, "an initrd goes with its kernel: write kernel = \"…\"");
    }
    table.finish(errors);
    let named = errors.keep(name.place, values::image_name(&name.value));
    let origin = match (iso, dir) {
        (Some(_), Some(dir)) => {
            errors.push(dir.place, "an image comes from an iso or from a dir: leave one of them out");
            None
        }
        (None, None) => {
            if !table.found("iso") && !table.found("dir") {
                let what =
                    "an image needs iso = \"/isos/a.iso\", or dir with the directory that holds its files";
                errors.push(name.place, what);
            }
            None
        }
        (iso, dir) => iso.or(dir),
    };
    named.zip(origin).map(|((), origin)| Image { name, origin, kernel, initrds, args, title })
}

fn template(name: At<String>, mut table: Table<'_>, errors: &mut Errors) -> Option<Template> {
    let file = table.string("file", errors, |text| path(text).map(TemplateFiles::One));
    let dir = table.string("dir", errors, |text| path(text).map(TemplateFiles::Folder));
    table.finish(errors);
    let named = errors.keep(name.place, values::template_name(&name.value));
    let files = match (file, dir) {
        (Some(_), Some(dir)) => {
            errors.push(dir.place, "a template is a file or a dir of files: leave one of them out");
            None
        }
        (None, None) => {
            if !table.found("file") && !table.found("dir") {
                let what =
                    "a template needs file = \"/data/ks.cfg\", or dir with the folder that holds its files";
                errors.push(name.place, what);
            }
            None
        }
        (file, dir) => file.or(dir),
    };
    named.zip(files).map(|((), files)| Template { name, files })
}

/// Values for templates
fn vars(table: &mut Table<'_>, name: &'static str, errors: &mut Errors) -> Vars {
    table.free("vars", name, errors, template::is_own)
}

/// `local`, `boot-once` and `done-after` of a rule or a machine
fn local(table: &mut Table<'_>, errors: &mut Errors) -> Local {
    let always = table.boolean("local", errors).filter(|at| at.value).map(|at| at.place);
    let once = table.boolean_or_string("boot-once", errors, values::term);
    let after = table.string("done-after", errors, done_after);
    if let (false, Some(after)) = (table.found("boot-once"), &after) {
        errors.push(after.place, "`done-after` says when `boot-once` is over: write boot-once = true too");
    }
    if let (Some(always), true) = (always, once.is_some()) {
        errors.push(
            always,
            "`local` boots the disk at once, `boot-once` after something else: leave one of them out",
        );
    }
    Local { always, once, after }
}

fn done_after(text: &str) -> Result<DoneAfter, String> {
    if text == "initrd" {
        return Ok(DoneAfter::Initrd);
    }
    let path = text.trim_start_matches('/');
    let is_plain =
        path.bytes().all(|byte| matches!(byte, b'!'..=b'~')) && !path.contains(['{', '?', '#', '%']);
    // What is noted of a request has no more than that.
    if path.is_empty() || path.len() > DONE_AFTER_MAX || text.contains("://") || !is_plain {
        return Err(format!(
            "`{}` is no file that this server has: write \"initrd\", or a path like \"images/centos7/LiveOS/squashfs.img\"",
            text.escape_debug()
        ));
    }
    Ok(DoneAfter::File(path.to_owned()))
}

fn args(text: &str) -> Result<String, String> {
    script::check_args(text).map(|()| text.to_owned())
}

/// A text of a loader's menu: it stands in three syntaxes, so that what one of them gives a meaning is left out
fn shown(text: &str) -> Result<String, String> {
    let fits = |c: char| matches!(c, ' '..='~') && !"\"'\\$^{}".contains(c);
    if text.trim().is_empty() || !text.chars().all(fits) {
        return Err(format!(
            "`{}` cannot stand in a loader's menu: write printable ASCII without quotes, braces, `$`, `^` and `\\`",
            text.escape_debug()
        ));
    }
    Ok(text.to_owned())
}

fn image_menu(mut table: Table<'_>, errors: &mut Errors) -> ImageMenu {
    let menu = ImageMenu {
        title: table.string("title", errors, shown),
        timeout_s: table.number("timeout", errors, 0, 3_600),
        default: table.string("default", errors, |text| {
            Ok(if text == "local" { MenuDefault::Local } else { MenuDefault::Image(text.to_owned()) })
        }),
    };
    table.finish(errors);
    menu
}

/// `image` and `args` of a rule or a machine
fn assigned(table: &mut Table<'_>, errors: &mut Errors) -> Option<Assigned> {
    let image = table.string("image", errors, words);
    let args = table.string("args", errors, args);
    if let (None, Some(args)) = (&image, &args)
        && !table.found("image")
    {
        errors.push(args.place, "`args` go beside an `image`: name it, or put them into its [image.NAME]");
    }
    Some(Assigned { image: image?, args: args.map(|at| at.value) })
}

fn network(mut table: Table<'_>, errors: &mut Errors) -> Option<Network> {
    let place = table.place;
    let interface = table.string("interface", errors, words);
    let subnets: Vec<_> = table
        .tables("subnet", "[[network.subnet]]", errors)
        .into_iter()
        .filter_map(|one| subnet(one, errors))
        .collect();
    let network = interface.map(|interface| Network {
        place,
        interface,
        address: table.string("address", errors, values::address),
        mode: table.string("dhcp", errors, values::mode),
        authoritative: table.boolean("authoritative", errors),
        probe: table.boolean("probe", errors),
        own: scope(&mut table, errors),
        subnets,
    });
    if network.is_none() {
        if !table.found("interface") {
            errors.push(place, "a network needs its interface: write interface = \"eth0\"");
        }
        return None;
    }
    table.finish(errors);
    network
}

fn subnet(mut table: Table<'_>, errors: &mut Errors) -> Option<Subnet> {
    let place = table.place;
    let cidr = table.string("subnet", errors, values::cidr);
    let scope = scope(&mut table, errors);
    if !table.found("subnet") {
        errors.push(place, "a subnet needs its addresses: write subnet = \"10.44.0.0/24\"");
    }
    table.finish(errors);
    cidr.map(|cidr| Subnet { cidr, scope })
}

fn scope(table: &mut Table<'_>, errors: &mut Errors) -> Scope {
    Scope {
        rate: table.string("rate", errors, values::rate),
        pools: table.strings("pool", errors, values::range),
        lease: table.string("lease", errors, values::lease),
        routers: table.strings("router", errors, values::address),
        dns: table.strings("dns", errors, values::address),
        domain: table.string("domain", errors, values::hostname),
        ntp: table.strings("ntp", errors, values::address),
        options: table
            .tables("options", "options = [{ code = 42, ip = [\"192.168.99.1\"] }]", errors)
            .into_iter()
            .filter_map(|one| options::read(one, errors))
            .collect(),
    }
}

fn file(text: &str) -> Result<File, String> {
    if text.is_empty() { Ok(File::Nothing) } else { boot_file(text).map(File::Named) }
}

fn boot_file(text: &str) -> Result<BootFile, String> {
    BootFile::parse(text).map_err(|error| error.to_string())
}

fn rule(mut table: Table<'_>, errors: &mut Errors) -> Rule {
    let place = table.place;
    let before = errors.len();
    let matches = matches(&mut table, errors);
    let mut file = table.string("file", errors, file);
    let server = table.string("server", errors, values::address);
    let image = assigned(&mut table, errors);
    let local = local(&mut table, errors);
    let vars = vars(&mut table, "[boot.vars]", errors);
    let mode = table.string("dhcp", errors, values::mode);
    table.finish(errors);
    let says_what = file.is_some() || image.is_some();
    match (local.always, &local.once) {
        (Some(always), _) if says_what => {
            errors.push(always, "`local` boots the disk: leave out the `file` and the `image`");
        }
        (_, Some(once)) if !says_what => errors.push(
            once.place,
            "`boot-once` ends what the rule boots: give it the `image` or the `file` that is booted until then",
        ),
        _ => {}
    }
    match (&mut file, server) {
        (Some(At { value: File::Named(boot), .. }), Some(server)) => boot.server = Some(server.value),
        (_, Some(server)) => errors.push(server.place, "`server` holds the boot file: give it a `file` too"),
        _ => {}
    }
    let says_more = local.always.is_some() || !vars.is_empty() || mode.is_some();
    if !says_what && !says_more && errors.len() == before {
        errors.push(
            place,
            "a boot rule needs its `file` or `image`, or at least `local`, `vars` or `dhcp`: write file = \"lpxelinux.0\"",
        );
    }
    let is_told = |one: &Match| matches!(one, Match::Mac(_) | Match::Uuid(_) | Match::Subnet(_));
    if !vars.is_empty() && !matches.iter().all(is_told) {
        errors.push(
            place,
            "`vars` are for who asks by HTTP, which tells no more than mac, uuid and subnet: match by these",
        );
    }
    Rule { place, matches, file, image, local, vars, mode }
}

/// The conditions of `match`
fn matches(table: &mut Table<'_>, errors: &mut Errors) -> Vec<Match> {
    fn some<T>(values: Vec<At<T>>, make: impl Fn(Vec<T>) -> Match) -> Option<Match> {
        let values: Vec<_> = values.into_iter().map(|at| at.value).collect();
        (!values.is_empty()).then(|| make(values))
    }
    let Some(mut table) = table.table("match", "match = { arch = \"x64-uefi\" }", errors) else {
        return Vec::new();
    };
    let place = table.place;
    let before = errors.len();
    let matches: Vec<Match> = [
        some(table.strings("arch", errors, values::arch), Match::Arch),
        some(table.strings("loader", errors, values::loader), Match::Loader),
        some(table.strings("mac", errors, values::mac_glob), Match::Mac),
        some(table.strings("uuid", errors, values::uuid), Match::Uuid),
        some(table.strings("subnet", errors, values::cidr), Match::Subnet),
        some(table.strings("vendor", errors, words), Match::Vendor),
        some(table.strings("user-class", errors, words), Match::UserClass),
        some(table.strings("circuit", errors, words), Match::Circuit),
        some(table.strings("remote", errors, words), Match::Remote),
    ]
    .into_iter()
    .flatten()
    .collect();
    table.finish(errors);
    if matches.is_empty() && errors.len() == before {
        errors
            .push(place, "an empty match: leave it out, and the rule is for every client that network-boots");
    }
    matches
}

fn menu(mut table: Table<'_>, errors: &mut Errors) -> Menu {
    let place = table.place;
    let menu = Menu {
        place,
        matches: matches(&mut table, errors),
        prompt: table
            .string("prompt", errors, words)
            .map_or_else(|| "Network boot".to_owned(), |at| at.value),
        // 255 shows the menu and waits (PXE 2.1, option 43.10).
        timeout_s: table.number("timeout", errors, 0, 254).map_or(255, |at| at.value),
        items: table
            .tables("items", "items = [{ name = \"Install\", file = \"lpxelinux.0\" }]", errors)
            .into_iter()
            .filter_map(|one| item(one, errors))
            .collect(),
    };
    table.finish(errors);
    menu
}

fn item(mut table: Table<'_>, errors: &mut Errors) -> Option<Item> {
    let place = table.place;
    let before = errors.len();
    let name = table.string("name", errors, words);
    let local = table.boolean("local", errors).is_some_and(|local| local.value);
    let file = table.string("file", errors, boot_file);
    let image = table.string("image", errors, words);
    let mut servers: Vec<_> = table.strings("servers", errors, values::address);
    servers.extend(table.string("server", errors, values::address));
    let kind = table.number("type", errors, 1, 65_534);
    table.finish(errors);
    let servers: Vec<_> = servers.into_iter().map(|at| at.value).collect();
    let name = name.or_else(|| image.clone());
    let what = match (local, file, image, servers.is_empty(), kind) {
        (true, None, None, true, None) => ItemWhat::Local,
        (false, Some(file), None, true, None) => ItemWhat::File(file),
        (false, None, Some(image), true, None) => ItemWhat::Image(image),
        (false, None, None, false, Some(kind)) => ItemWhat::Servers(servers, kind),
        _ if errors.len() > before => return None,
        _ => {
            errors.push(
                place,
                "a menu item is one of these: local = true; file = \"…\"; image = \"…\"; servers = [\"…\"] with their boot service's type",
            );
            return None;
        }
    };
    let Some(name) = name else {
        errors.push(place, "a menu item needs the text that is shown: write name = \"Install\"");
        return None;
    };
    Some(Item { place, name: name.value, what })
}

/// An SMBIOS serial number, as iPXE tells it
fn serial(text: &str) -> Result<String, String> {
    let serial = text.trim();
    let fits = serial.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'/');
    if serial.is_empty() || !fits {
        return Err(format!(
            "`{}` is no serial number: write it as `dmidecode -s system-serial-number` does",
            text.escape_debug()
        ));
    }
    Ok(serial.to_owned())
}

fn machine(mut table: Table<'_>, errors: &mut Errors) -> Machine {
    let place = table.place;
    let mut machine = Machine {
        place,
        mac: table.string("mac", errors, |text| text.parse().map_err(|error| format!("`{text}`: {error}"))),
        uuid: table.string("uuid", errors, values::uuid),
        serial: table.string("serial", errors, serial),
        address: table.string("address", errors, values::address),
        hostname: table.string("hostname", errors, values::hostname),
        file: table.string("file", errors, boot_file),
        image: assigned(&mut table, errors),
        local: local(&mut table, errors),
        vars: vars(&mut table, "[machine.vars]", errors),
        mode: table.string("dhcp", errors, values::mode),
    };
    if let Some(always) = machine.local.always
        && (machine.file.is_some() || machine.image.is_some())
    {
        errors.push(always, "`local` boots the disk: leave out the `file` and the `image`");
    }
    if let Some(once) = &machine.local.once
        && !(table.found("mac") || table.found("uuid"))
    {
        errors.push(
            once.place,
            "`boot-once` is remembered by MAC address or UUID: write the machine's mac or uuid too",
        );
    }
    let server = table.string("server", errors, values::address);
    if !["mac", "uuid", "serial"].iter().any(|key| table.found(key)) {
        errors.push(
            place,
            "a machine is known by its mac, its uuid or its serial: write mac = \"88:99:aa:bb:cc:dd\"",
        );
    }
    table.finish(errors);
    match (&mut machine.file, server) {
        (Some(file), Some(server)) => file.value.server = Some(server.value),
        (None, Some(At { place, .. })) => {
            errors.push(place, "`server` holds the machine's boot file: give it a `file` too");
        }
        _ => {}
    }
    machine
}
