//! `explain`: what one machine would get at each stage of its boot, and by which rule. It asks the plan, as the server does.

mod capture;
mod files;
pub mod request;

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::args::Explain;
use crate::boot::client::{Arch, Client, Wants};
use crate::boot::plan::{Answer, BOOT_FILE_MAX, LoaderName, Name, Network, Once, Plan, Reason, Who};
use crate::boot::register::Caller;
use crate::boot::script::Server;
use crate::config::{self, mode_name};
use crate::log::why;
use crate::wire::dhcp::Message;
use crate::wire::http::emit_date;
pub use capture::explain_capture;
pub use files::Served;
use request::{Machine, Stage};

/// Architectures that a table shows
pub const ARCHS: [Arch; 12] = [
    Arch::X86_BIOS,
    Arch::X64_UEFI,
    Arch::X64_UEFI_HTTP,
    Arch::IA32_UEFI,
    Arch::IA32_UEFI_HTTP,
    Arch::ARM64_UEFI,
    Arch::ARM64_UEFI_HTTP,
    Arch::ARM64_UBOOT,
    Arch::ARM32_UEFI,
    Arch::ARM32_UEFI_HTTP,
    Arch::RISCV64_UEFI,
    Arch::RISCV64_UEFI_HTTP,
];

/// What one stage gets
#[derive(Clone, Debug)]
pub struct Row<'p> {
    /// Which stage, as the server sees it
    pub stage: String,
    /// Its architecture, after correction
    pub arch: Option<Arch>,
    /// Its program, after correction
    pub loader: LoaderName,
    /// What it can fetch by
    pub wants: Wants,
    /// Who asks, as it is remembered for the loaders that follow
    pub caller: Caller,
    /// The plan's answer
    pub answer: Answer<'p>,
    /// The file or URL as it is sent
    pub file: Option<String>,
    /// Whether it lies in the root; `None` where it is elsewhere
    pub exists: Option<bool>,
}

/// What a stage of a machine's boot gets by the plan's network of that index; `ip` is the address that it holds, if it is known
///
/// # Errors
/// A sentence, where the request cannot be composed or its boot file does not fit.
pub fn row<'p>(
    plan: &'p Plan,
    network: usize,
    stage: Stage,
    machine: &Machine<'_>,
    ip: Option<Ipv4Addr>,
    exists: &impl Fn(&str) -> bool,
) -> Result<Row<'p>, String> {
    let mut bytes = [0; 1472];
    let len = request::emit(stage, machine, &mut bytes)
        .map_err(|_| "the classes and the ids of a relay do not fit a DHCP request".to_owned())?;
    let message = Message::parse(&bytes[..len]).map_err(|error| error.to_string())?;
    row_of(&message, plan, network, ip, exists)
}

/// What a request gets by the plan's network of that index
fn row_of<'p>(
    message: &Message<'_>,
    plan: &'p Plan,
    network: usize,
    ip: Option<Ipv4Addr>,
    exists: &impl Fn(&str) -> bool,
) -> Result<Row<'p>, String> {
    let client = Client::from_request(message, network);
    let answer = plan.answer(&client);
    let ip = ip.or(answer.machine.and_then(|machine| machine.address));
    let file = answer.boot.map(|boot| {
        let mut out = [0; BOOT_FILE_MAX];
        boot.expand(&plan.expansion(&answer, &client, ip), &mut out)
            .map(|len| String::from_utf8_lossy(&out[..len]).into_owned())
            .map_err(|_| {
                format!(
                    "`{boot}` is longer than the {BOOT_FILE_MAX} bytes that DHCP holds once it is filled in"
                )
            })
    });
    let file = file.transpose()?;
    let local = file.as_deref().and_then(|file| local_name(file, plan, &answer));
    let loader = LoaderName::of(client.loader);
    let stage = match (client.arch, loader) {
        (Some(arch), LoaderName::Rom | LoaderName::UBoot) => arch.to_string(),
        (Some(arch), LoaderName::Ipxe) => format!("{arch} ipxe"),
        _ => loader.as_str().to_owned(),
    };
    let (arch, wants, exists) = (client.arch, client.wants, local.map(exists));
    Ok(Row { stage, arch, loader, wants, caller: Caller::of(&client), answer, file, exists })
}

/// The name below the root that a boot file is, where this server holds it
pub fn local_name<'f>(file: &'f str, plan: &Plan, answer: &Answer<'_>) -> Option<&'f str> {
    let own = answer.network.address;
    if answer.server() != own {
        return None;
    }
    let Some((scheme, rest)) = file.split_once("://") else { return Some(file) };
    let (host, name) = rest.split_once('/')?;
    let (address, port) = host.split_once(':').unwrap_or((host, ""));
    let usual = if scheme == "http" { ("80", plan.http_port()) } else { ("69", plan.tftp_port()) };
    let port = if port.is_empty() { usual.0 } else { port };
    let is_own =
        ["http", "tftp"].contains(&scheme) && address == own.to_string() && port == usual.1.to_string();
    is_own.then_some(name.split(['?', '#']).next().unwrap_or(name))
}

impl Row<'_> {
    /// `lpxelinux.0 (missing)`
    fn what(&self) -> String {
        if self.answer.is_local() {
            return "its own disk".to_owned();
        }
        let menu = if self.answer.menu.is_some() { "a menu, else " } else { "" };
        let missing = if self.exists == Some(false) { " (missing)" } else { "" };
        format!("{menu}{}{missing}", self.file.as_deref().unwrap_or("nothing"))
    }
}

/// Writes rows as a table; `config` is the file that lines are of
pub fn write_rows(rows: &[Row<'_>], config: Option<&Path>, out: &mut String) {
    let stages = rows.iter().map(|row| row.stage.len()).max().unwrap_or(0);
    let files = rows.iter().map(|row| row.what().len()).max().unwrap_or(0);
    for row in rows {
        let why = why(row.answer.reason, config);
        let _ = writeln!(out, "  {:stages$}  {:files$}  {why}", row.stage, row.what());
    }
}

/// Makes iPXE's rows one, where all of them say the same
pub fn join_ipxe(rows: &mut Vec<Row<'_>>) {
    let ipxe = || rows.iter().filter(|row| row.loader == LoaderName::Ipxe);
    let Some(first) = ipxe().next() else { return };
    let (file, reason) = (first.file.clone(), first.answer.reason);
    if ipxe().count() > 1 && ipxe().all(|row| row.file == file && row.answer.reason == reason) {
        let mut seen = false;
        rows.retain(|row| row.loader != LoaderName::Ipxe || !std::mem::replace(&mut seen, true));
        for row in rows.iter_mut().filter(|row| row.loader == LoaderName::Ipxe) {
            LoaderName::Ipxe.as_str().clone_into(&mut row.stage);
        }
    }
}

/// The report of `explain`; `config` is the file that lines are of
///
/// # Errors
/// A sentence that says which argument is wrong.
pub fn explain(
    arguments: &Explain,
    plan: &Plan,
    config: Option<&Path>,
    files: &impl Served,
) -> Result<String, String> {
    let mac = arguments.mac.as_deref().unwrap_or_default();
    let circuit = arguments.circuit.as_deref().map(agent_id).transpose()?;
    let remote = arguments.remote.as_deref().map(agent_id).transpose()?;
    let machine = Machine {
        mac: mac.parse().map_err(|error| format!("--mac {mac}: {error}"))?,
        uuid: arguments.uuid.as_deref().map(config::uuid).transpose()?,
        relay: arguments.relay,
        circuit: circuit.as_deref(),
        remote: remote.as_deref(),
        vendor: arguments.vendor.as_deref(),
        user_class: arguments.user_class.as_deref(),
    };
    let arch = arguments.arch.as_deref().map(config::arch).transpose()?;
    let loader = arguments.loader.as_deref().map(config::loader).transpose()?;
    let mut out = String::new();
    for network in networks_of(plan, arguments.relay.or(arguments.ip)) {
        let mut rows = Vec::new();
        for stage in stages(arch, loader) {
            rows.push(row(plan, network, stage, &machine, arguments.ip, &|name: &str| files.exists(name))?);
        }
        if arch.is_none() && loader.is_none() {
            // Of a machine that boots its own disk, one row says it.
            let mut is_told = false;
            rows.retain(|row| {
                if row.answer.is_local() {
                    return !std::mem::replace(&mut is_told, true);
                }
                row.file.is_some() || row.loader == LoaderName::System
            });
        }
        join_ipxe(&mut rows);
        write_machine(&mut out, plan, &machine, arguments.ip, &rows, config, files);
    }
    Ok(out)
}

/// What a relay says, as rules write it: text, or hex
fn agent_id(text: &str) -> Result<Vec<u8>, String> {
    text.strip_prefix("0x").map_or_else(|| Ok(text.as_bytes().to_vec()), config::hex)
}

/// All that is told of a machine
fn write_machine(
    out: &mut String,
    plan: &Plan,
    machine: &Machine<'_>,
    ip: Option<Ipv4Addr>,
    rows: &[Row<'_>],
    config: Option<&Path>,
    files: &impl Served,
) {
    if let Some(first) = rows.first() {
        write_head(out, machine, first, config);
        write_local(out, plan, machine, ip, first);
        write_rate(out, plan, ip, first);
    }
    write_rows(rows, config, out);
    files::write_menu(out, rows);
    let is_configured = files::write(out, plan, rows, machine, ip, files);
    if !is_configured && rows.iter().all(|row| row.file.is_none() && !row.answer.is_local()) {
        let _ = writeln!(out, "  it boots nothing from here: no rule matches it");
    }
}

/// The networks that the request may come in by: the one whose subnet holds the address, else all of them
fn networks_of(plan: &Plan, address: Option<Ipv4Addr>) -> Vec<usize> {
    let holds = |network: &Network| address.is_some_and(|address| network.subnet_of(Some(address)).is_some());
    let found: Vec<_> =
        (0..).zip(plan.networks()).filter(|(_, one)| holds(one)).map(|(index, _)| index).collect();
    if found.is_empty() { (0..plan.networks().len()).collect() } else { found }
}

/// Whether iPXE is built for the architecture; under HTTP boot it states the plain one
pub fn runs_ipxe(arch: Arch) -> bool {
    !arch.is_http() && arch != Arch::ARM64_UBOOT
}

/// The stages that were asked for; without an architecture, those of all that are common
fn stages(arch: Option<Arch>, loader: Option<LoaderName>) -> Vec<Stage> {
    let archs = arch.map_or(ARCHS.to_vec(), |arch| vec![arch]);
    let firmware = || archs.iter().copied().map(Stage::Firmware);
    let ipxe = || archs.iter().copied().filter(|arch| runs_ipxe(*arch)).map(Stage::Ipxe);
    match loader {
        None => firmware().chain(ipxe()).chain([Stage::System]).collect(),
        Some(LoaderName::Rom | LoaderName::UBoot) => firmware().collect(),
        Some(LoaderName::Ipxe) => ipxe().collect(),
        Some(LoaderName::Grub) => vec![Stage::Grub],
        Some(LoaderName::RaspberryPi) => vec![Stage::RaspberryPi],
        Some(LoaderName::Onie) => vec![Stage::Onie],
        Some(LoaderName::System) => vec![Stage::System],
    }
}

/// What `boot-once` says of it
fn write_local(out: &mut String, plan: &Plan, machine: &Machine<'_>, ip: Option<Ipv4Addr>, row: &Row<'_>) {
    let network = row.answer.network;
    let known = row.answer.machine.and_then(|machine| machine.address);
    let somewhere = row.answer.subnet.map(|subnet| subnet.cidr.address);
    let Some(who) = plan.who(Name::Mac(machine.mac), ip.or(known).or(somewhere)) else { return };
    let who = Who { uuid: who.uuid.or(machine.uuid), machine: row.answer.machine, ..who };
    let Some((once, since)) = plan.once_of(&who) else { return };
    let Once { term, file } = once;
    let _ = match since {
        Some(at_s) => {
            let date = emit_date(at_s);
            let date = String::from_utf8_lossy(&date);
            writeln!(out, "  boot-once \"{term}\": done since {date}; another text there arms it again")
        }
        None => {
            let report = Server::of(plan, network.address).done(Some(machine.mac));
            let file = file.as_ref().map_or(String::new(), |file| format!(", or has fetched /{file}"));
            writeln!(out, "  boot-once \"{term}\": it boots so until it reports to {report}{file}")
        }
    };
}

/// The bound of the wire that its files come by
fn write_rate(out: &mut String, plan: &Plan, ip: Option<Ipv4Addr>, row: &Row<'_>) {
    let machine = row.answer.machine.and_then(|machine| machine.address);
    let somewhere = row.answer.subnet.map(|subnet| subnet.cidr.address);
    let client = ip.or(machine).or(somewhere);
    if let Some(rate) = plan.rates().iter().find(|rate| client.is_some_and(|client| rate.covers(client))) {
        let _ = writeln!(
            out,
            "  its files share {rate} bit/s with all of {}: where that is full, who began first is served first",
            rate.of
        );
    }
}

/// Who, where, and which address
fn write_head(out: &mut String, machine: &Machine<'_>, row: &Row<'_>, config: Option<&Path>) {
    let answer = &row.answer;
    let network = answer.network;
    let _ = write!(
        out,
        "{} on {} ({}): dhcp is {}",
        machine.mac,
        network.interface,
        network.address,
        mode_name(answer.mode)
    );
    match answer.subnet {
        Some(subnet) => {
            let _ = writeln!(out, ", subnet {}", subnet.cidr);
        }
        None => {
            let _ = writeln!(out, ", and no subnet holds its relay");
        }
    }
    if let Some(machine) = answer.machine {
        let place = why(Reason::Machine { line: machine.line }, config);
        let name = machine.hostname.as_deref().map_or(String::new(), |name| format!(" {name}"));
        let address = machine.address.map_or(String::new(), |address| format!(", {address}"));
        let _ = writeln!(out, "  it is{name}{address} ({place})");
    }
    if let Some(chosen) = &answer.image {
        let _ = writeln!(out, "  it boots {} ({})", files::image(chosen), why(chosen.reason, config));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Command, CommandLine};
    use crate::boot::client::Loader;
    use crate::boot::script::Asker;
    use crate::config::testing::{EXAMPLE, load};
    use crate::content::Placed;

    /// A root that holds lpxelinux alone
    struct Pxelinux;

    impl Served for Pxelinux {
        fn exists(&self, name: &str) -> bool {
            name == "lpxelinux.0"
        }

        fn place(&self, name: &str, _: Asker<'_>) -> Option<Placed> {
            self.exists(name).then(|| Placed::File(Path::new("/data/pxe").join(name)))
        }
    }

    fn said(config: &str, arguments: &str) -> String {
        let line = format!("reveille explain {arguments}");
        let Command::Explain(arguments) = CommandLine::try_parse_from(line.split(' ')).unwrap().command
        else {
            panic!("{line}");
        };
        let (plan, _) = load(config).unwrap();
        explain(&arguments, &plan, Some(Path::new("r.toml")), &Pxelinux).unwrap()
    }

    #[test]
    fn a_machine_of_the_manual() {
        assert_eq!(
            said(EXAMPLE, "--mac 88-99-aa-bb-cc-dd"),
            "\
88:99:aa:bb:cc:dd on eth0 (192.168.99.1): dhcp is full, subnet 192.168.99.0/24
  it is node-01, 192.168.99.60 (machine, r.toml:26)
  x86-bios  lpxelinux.0                              rule 2, r.toml:19
  ipxe      http://192.168.99.1/boot.ipxe (missing)  rule 1, r.toml:15
  system    nothing                                  does not boot from the network
  lpxelinux.0: /data/pxe/lpxelinux.0
  ldlinux.c32: missing
  pxelinux.cfg/01-88-99-aa-bb-cc-dd … pxelinux.cfg/default: missing
  boot.ipxe: missing
"
        );
    }

    #[test]
    fn the_bound_of_its_wire_is_told() {
        let config = EXAMPLE.replacen("lease =", "rate = \"2.5G\"\nlease =", 1);
        let said = said(&config, "--mac 88-99-aa-bb-cc-dd");
        assert!(
            said.contains("its files share 2500M bit/s with all of eth0: where that is full, who began"),
            "{said}"
        );
    }

    #[test]
    fn the_items_of_a_menu_are_told() {
        let menu = "[[menu]]\nmatch = { arch = \"x64-uefi\" }\nitems = [{ name = \"Install\", image = \"centos7\" }, \
                    { name = \"Other\", file = \"other.efi\" }, { name = \"Disk\", local = true }, \
                    { name = \"WDS\", server = \"192.168.99.7\", type = 2 }]\n\
                    [[boot]]\nmatch = { arch = \"x64-uefi\" }\nfile = \"shimx64.efi\"\n";
        let said = said(&format!("{EXAMPLE}{menu}"), "--mac 02:00:00:00:00:01 --arch x64-uefi --loader rom");
        let items: Vec<_> = said.lines().filter(|line| line.contains("of the menu")).collect();
        assert_eq!(
            items,
            [
                "  item 1 of the menu, Install: image centos7 by shimx64.efi",
                "  item 2 of the menu, Other: other.efi",
                "  item 3 of the menu, Disk: the local disk",
                "  item 4 of the menu, WDS: another server",
            ],
            "{said}"
        );
    }

    /// Generated for U-Boot alone
    struct Arm;

    impl Served for Arm {
        fn exists(&self, _: &str) -> bool {
            false
        }

        fn place(&self, name: &str, asker: Asker<'_>) -> Option<Placed> {
            let is_u_boot = asker.caller?.client(None).loader == Loader::UBoot;
            (is_u_boot && name == "pxelinux.cfg/default").then(|| Placed::Generated("DEFAULT a".to_owned()))
        }
    }

    #[test]
    fn u_boot_finds_a_configuration_without_a_boot_file() {
        let Command::Explain(arguments) = CommandLine::try_parse_from(
            "reveille explain --mac 02:00:00:00:00:01 --arch arm64-u-boot".split(' '),
        )
        .unwrap()
        .command
        else {
            panic!("explain");
        };
        let (plan, _) = load(EXAMPLE).unwrap();
        let told = explain(&arguments, &plan, None, &Arm).unwrap();
        assert!(told.ends_with("  pxelinux.cfg/default: generated\n    DEFAULT a\n"), "{told}");
        let none = explain(&arguments, &plan, None, &Pxelinux).unwrap();
        assert!(none.ends_with("it boots nothing from here: no rule matches it\n"), "{none}");
    }

    #[test]
    fn relays_ids_are_written_as_in_rules() {
        assert_eq!(agent_id("rack-7"), Ok(b"rack-7".to_vec()));
        assert_eq!(agent_id("0x0004"), Ok(vec![0, 4]));
        assert!(agent_id("0x4").is_err());
    }

    #[test]
    fn one_stage_behind_a_relay() {
        let said = said(EXAMPLE, "--mac 02:00:00:00:00:01 --relay 10.44.0.1 --arch x64-uefi --loader rom");
        assert_eq!(
            said,
            "\
02:00:00:00:00:01 on eth0 (192.168.99.1): dhcp is full, subnet 10.44.0.0/24
  x64-uefi  nothing  no rule
  it boots nothing from here: no rule matches it
"
        );
    }

    #[test]
    fn who_boots_its_own_disk_and_when() {
        let once = EXAMPLE.to_owned() + "boot-once = true\ndone-after = \"/last\"\n";
        let before = said(&once, "--mac 88-99-aa-bb-cc-dd --arch x86-bios");
        let report = "it boots so until it reports to http://192.168.99.1/done/88-99-aa-bb-cc-dd, or has fetched /last\n";
        assert!(before.contains(&format!("  boot-once \"true\": {report}")), "{before}");
        let local = EXAMPLE.to_owned() + "local = true\n";
        assert_eq!(
            said(&local, "--mac 88-99-aa-bb-cc-dd"),
            "\
88:99:aa:bb:cc:dd on eth0 (192.168.99.1): dhcp is full, subnet 192.168.99.0/24
  it is node-01, 192.168.99.60 (machine, r.toml:26)
  x86-bios  its own disk  local disk, r.toml:26
  system    nothing       does not boot from the network
"
        );
    }

    #[test]
    fn stages_are_told_apart_as_real_clients_are() {
        let (plan, _) = load(EXAMPLE).unwrap();
        let machine = Machine { mac: "02:00:00:00:00:01".parse().unwrap(), ..Machine::default() };
        for (stage, name, wants) in [
            (Stage::Firmware(Arch::X86_BIOS), "x86-bios", Wants::Pxe),
            (Stage::Firmware(Arch::EBC), "x64-uefi", Wants::Pxe),
            (Stage::Firmware(Arch::X64_UEFI_HTTP), "x64-uefi-http", Wants::Http),
            (Stage::Firmware(Arch::ARM64_UBOOT), "arm64-u-boot", Wants::Nothing),
            (Stage::Ipxe(Arch::ARM64_UEFI), "arm64-uefi ipxe", Wants::Pxe),
            (Stage::Grub, "grub", Wants::Nothing),
            (Stage::RaspberryPi, "raspberry-pi", Wants::Pxe),
            (Stage::Onie, "onie", Wants::Nothing),
            (Stage::System, "system", Wants::Nothing),
        ] {
            let row = row(&plan, 0, stage, &machine, None, &|_| true).unwrap();
            assert_eq!((row.stage.as_str(), row.wants), (name, wants), "{stage:?}");
        }
        let pi = Machine { mac: "b8:27:eb:00:00:01".parse().unwrap(), ..machine };
        assert_eq!(
            row(&plan, 0, Stage::Firmware(Arch::X86_BIOS), &pi, None, &|_| true).unwrap().stage,
            "raspberry-pi"
        );
    }
}
