//! What a plan boots, as a table: `check` and the start of `serve` print it, and what is missing.

mod warnings;

use std::fmt::Write as _;
use std::path::Path;

use crate::boot::image::ImageSource;
use crate::boot::plan::{self, LoaderName, Local, Mode, Network, Piece, Plan, Rate, Subnet};
use crate::boot::template::Serves;
use crate::config::LEASE_INFINITE;
use crate::explain::request::{Machine, Stage};
use crate::explain::{ARCHS, Row, join_ipxe, row, runs_ipxe, write_rows};
use crate::settings::Settings;
use crate::time::Duration;
use crate::wire::ethernet::MacAddr;

/// A machine that nobody named
const ANYBODY: Machine<'static> = Machine {
    mac: MacAddr([0x0e, 0xff, 0xff, 0xff, 0xff, 0xfe]),
    uuid: None,
    relay: None,
    circuit: None,
    remote: None,
    vendor: None,
    user_class: None,
};

/// Machines that are named of those that are done
const DONE_NAMED_MAX: usize = 10;

/// What `serve` prints at its start and `check` when all is well: networks, what each architecture boots, and warnings
///
/// `describe` says what an image holds, `loader` where a loader is that the root lacks, `image_args` what an image's kernel is told.
///
/// # Errors
/// A boot file that does not fit once it is filled in.
pub fn report(
    plan: &Plan,
    settings: &Settings,
    config: Option<&Path>,
    describe: impl Fn(&str) -> String,
    exists: impl Fn(&str) -> bool,
    loader: impl Fn(&str) -> Option<String>,
    image_args: impl Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut out = String::new();
    for network in plan.networks() {
        write_network(&mut out, network);
        let subnets = || network.subnets.iter().map(|subnet| subnet.cidr.to_string());
        for rate in plan
            .rates()
            .iter()
            .filter(|rate| rate.of == network.interface || subnets().any(|of| of == rate.of))
        {
            let _ = writeln!(out, "  {}", rate_words(rate));
        }
    }
    let tftp = plan.tftp_port();
    let served = match &settings.root {
        Some(root) => root.display().to_string(),
        None => "images".to_owned(),
    };
    let _ = writeln!(out, "{served}: by TFTP (port {tftp}) and HTTP (port {})", plan.http_port());
    for ImageSource { name, origin, .. } in &settings.images {
        let _ = writeln!(out, "  /images/{name}/: {}, {}", origin.path().display(), describe(name));
    }
    write_templates(&mut out, plan);
    write_done(&mut out, plan);
    let mut warnings = warnings::of_plan(plan, &settings.images, config, &exists);
    warnings.extend(warnings::of_templates(plan, &image_args));
    for index in 0..plan.networks().len() {
        let rows = rows(plan, index, &exists)?;
        warnings.extend(warnings::of_rows(&rows, plan, config));
        warnings.extend(warnings::of_menus(&rows, plan, config, &exists));
        warnings.extend(warnings::of_signatures(&rows, plan, &loader));
        let loaders = loaders(&rows, &loader);
        write_table(&mut out, plan, index, rows, config);
        for line in loaders {
            let _ = writeln!(out, "  {line}");
        }
    }
    warnings.dedup();
    for warning in warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    Ok(out)
}

/// Where the texts are that are made for each machine
fn write_templates(out: &mut String, plan: &Plan) {
    for set in plan.templates().sets() {
        let (paths, file) = match &set.serves {
            Serves::File(file) => (format!("/{0}/MACHINE, /{0}", set.name), set.folder.join(file)),
            Serves::Files(files) => {
                let files = files.join(",");
                (format!("/{0}/MACHINE/{{{files}}}, /{0}/{{{files}}}", set.name), set.folder.clone())
            }
        };
        let _ = writeln!(out, "  {paths}: made from {} for each machine", file.display());
    }
}

/// How many of the machines that boot once have done so
fn write_done(out: &mut String, plan: &Plan) {
    let once = |machine: &plan::Machine| match (&machine.local, machine.id()) {
        (Local::After(once), Some(id)) => {
            Some((machine.name(), plan.register().done.is_done(id, &once.term)))
        }
        _ => None,
    };
    let machines: Vec<_> = plan.machines().iter().filter_map(once).collect();
    if machines.is_empty() {
        return;
    }
    let done: Vec<_> = machines.iter().filter(|(_, is_done)| *is_done).map(|(name, _)| &**name).collect();
    let _ = write!(out, "  boot-once: {} of {} done", done.len(), machines.len());
    let _ = match done.as_slice() {
        [] => writeln!(out),
        done if done.len() <= DONE_NAMED_MAX => writeln!(out, ": {}", done.join(", ")),
        done => writeln!(out, ": {}, …", done[..DONE_NAMED_MAX].join(", ")),
    };
}

fn write_network(out: &mut String, network: &Network) {
    let (name, address) = (&network.interface, network.address);
    let does = match network.mode {
        Mode::Full => "DHCP server",
        Mode::Proxy => "ProxyDHCP beside another DHCP server",
        Mode::TakeOver => "whole offers to machines that boot from the network, beside another DHCP server",
        Mode::Off => "no DHCP",
    };
    let _ = writeln!(out, "{name} {address}: {does}");
    for subnet in &network.subnets {
        if !subnet.pools.is_empty() || !subnet.attached {
            write_subnet(out, subnet);
        }
    }
}

/// What a bound does
fn rate_words(rate: &Rate) -> String {
    format!("at most {rate} bit/s to {}: where it is full, who began first is served first", rate.of)
}

fn write_subnet(out: &mut String, subnet: &Subnet) {
    let place = if subnet.attached { "" } else { " behind a relay" };
    let count: u64 =
        subnet.pools.iter().map(|pool| u64::from(pool.last.to_bits() - pool.first.to_bits()) + 1).sum();
    let pools: Vec<_> = subnet.pools.iter().map(|pool| format!("{}-{}", pool.first, pool.last)).collect();
    let gives = match pools.as_slice() {
        [] => "no pool".to_owned(),
        pools => format!("{} ({count} addresses), leases of {}", pools.join(", "), lease(subnet.lease)),
    };
    let _ = writeln!(out, "  {}{place}: {gives}", subnet.cidr);
}

/// As the configuration writes it
fn lease(lease: Duration) -> String {
    if lease == LEASE_INFINITE {
        return "no end".to_owned();
    }
    let seconds = lease.as_secs();
    let unit =
        [(86_400, 'd'), (3_600, 'h'), (60, 'm')].into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    let (unit, letter) = unit.unwrap_or((1, 's'));
    format!("{}{letter}", seconds / unit)
}

/// What each architecture's firmware gets, and then its iPXE
fn rows<'p>(plan: &'p Plan, network: usize, exists: &impl Fn(&str) -> bool) -> Result<Vec<Row<'p>>, String> {
    let get = |stage| row(plan, network, stage, &ANYBODY, None, exists).map(as_written);
    let mut rows = ARCHS.into_iter().map(|arch| get(Stage::Firmware(arch))).collect::<Result<Vec<_>, _>>()?;
    for arch in ARCHS.into_iter().filter(|arch| runs_ipxe(*arch)) {
        rows.push(get(Stage::Ipxe(arch))?);
    }
    Ok(rows)
}

/// Where the loaders are that the root lacks, each once
fn loaders(rows: &[Row<'_>], loader: &impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut lines = Vec::new();
    for row in rows {
        let [Piece::Literal(name)] = row.answer.boot.map_or(&[][..], |boot| &boot.pieces) else { continue };
        let Some(place) = loader(name) else { continue };
        let grub = name
            .strip_prefix("boot")
            .and_then(|rest| loader(&format!("grub{rest}")).or_else(|| loader("grub.efi")));
        let then = grub.map(|grub| format!(", and then {grub}")).unwrap_or_default();
        lines.push(format!("{name} is {place}{then}"));
    }
    lines.dedup();
    lines
}

/// A file that differs from machine to machine is shown as it is written
fn as_written(row: Row<'_>) -> Row<'_> {
    let differs = |piece: &Piece| !matches!(piece, Piece::Literal(_) | Piece::Server | Piece::Arch);
    match row.answer.boot {
        Some(boot) if boot.pieces.iter().any(differs) => {
            Row { file: Some(boot.to_string()), exists: None, ..row }
        }
        _ => row,
    }
}

fn write_table(out: &mut String, plan: &Plan, network: usize, mut rows: Vec<Row<'_>>, config: Option<&Path>) {
    if plan.networks().len() > 1 {
        let _ = writeln!(out, "on {}:", plan.networks()[network].interface);
    }
    join_ipxe(&mut rows);
    let (given, nothing): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| row.file.is_some() || row.answer.menu.is_some());
    write_rows(&given, config, out);
    // Where iPXE gets nothing and is loaded from here, a warning says so.
    let nothing: Vec<_> =
        nothing.iter().filter(|row| row.loader != LoaderName::Ipxe).map(|row| row.stage.as_str()).collect();
    if !nothing.is_empty() {
        let _ = writeln!(out, "  nothing for {}", nothing.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{EXAMPLE, load};

    fn said(config: &str, files: &[&str]) -> String {
        let (plan, settings) = load(config).unwrap();
        report(
            &plan,
            &settings,
            Some(Path::new("r.toml")),
            |_| "3 files".to_owned(),
            |name| files.contains(&name),
            |name| name.ends_with(".efi").then(|| format!("/spare/{name}")),
            |_| None,
        )
        .unwrap()
    }

    #[test]
    fn loaders_that_the_root_lacks_are_shown_with_their_place() {
        let config = "root = \"/data\"\n[[network]]\ninterface = \"eth0\"\ndhcp = \"proxy\"\n\
                      [[boot]]\nmatch = { arch = [\"x64-uefi\", \"x64-uefi-http\"] }\nfile = \"";
        let signed = said(&format!("{config}bootx64.efi\""), &["bootx64.efi"]);
        assert!(
            signed.contains("\n  bootx64.efi is /spare/bootx64.efi, and then /spare/grubx64.efi\n"),
            "{signed}"
        );
        assert!(signed.contains("warning: x64-uefi: GRUB asks the other DHCP server"), "{signed}");
        let ipxe = said(&format!("{config}snponly.efi\""), &["snponly.efi"]);
        assert_eq!(ipxe.matches("snponly.efi is /spare/snponly.efi\n").count(), 1, "{ipxe}");
        assert!(ipxe.contains("warning: x64-uefi: snponly.efi is not signed"), "{ipxe}");
    }

    #[test]
    fn the_example_of_the_manual() {
        let expected = "\
eth0 192.168.99.1: DHCP server
  192.168.99.0/24: 192.168.99.50-192.168.99.99 (50 addresses), leases of 12h
  10.44.0.0/24 behind a relay: 10.44.0.50-10.44.0.99 (50 addresses), leases of 12h
/data/pxe: by TFTP (port 69) and HTTP (port 80)
  /images/centos7/: /isos/CentOS-7-x86_64-Minimal-1511.iso, 3 files
  x86-bios  lpxelinux.0                    rule 2, r.toml:19
  ipxe      http://192.168.99.1/boot.ipxe  rule 1, r.toml:15
  nothing for x64-uefi, x64-uefi-http, ia32-uefi, ia32-uefi-http, arm64-uefi, arm64-uefi-http, arm64-u-boot, \
                        arm32-uefi, arm32-uefi-http, riscv64-uefi, riscv64-uefi-http
";
        assert_eq!(said(EXAMPLE, &["lpxelinux.0", "boot.ipxe"]), expected);
        let missing = said(EXAMPLE, &["boot.ipxe"]);
        assert!(missing.contains("lpxelinux.0 (missing)"), "{missing}");
        assert!(
            missing.ends_with("warning: lpxelinux.0 is not in the root (rule 2, r.toml:19)\n"),
            "{missing}"
        );
    }

    #[test]
    fn bounds_of_wires_are_told() {
        let config = EXAMPLE.replacen("lease =", "rate = \"1G\"\nlease =", 1).replacen(
            "router = \"10.44",
            "rate = \"250M\"\nrouter = \"10.44",
            1,
        );
        let said = said(&config, &["lpxelinux.0", "boot.ipxe"]);
        let lines: Vec<_> = said.lines().filter(|line| line.contains("at most")).collect();
        let rest = "where it is full, who began first is served first";
        assert_eq!(
            lines,
            [
                format!("  at most 1G bit/s to eth0: {rest}"),
                format!("  at most 250M bit/s to 10.44.0.0/24: {rest}")
            ]
        );
        let (plan, _) = load(&config).unwrap();
        let rates = plan.rates();
        assert_eq!(
            (rates[1].within, rates[0].covers([10, 44, 0, 9].into())),
            (Some(0), false),
            "a part of it, counted once"
        );
        assert!(rates[0].covers([192, 168, 99, 9].into()) && rates[1].covers([10, 44, 0, 9].into()));
    }

    #[test]
    fn what_cannot_boot_is_told() {
        let network = "root = \"/data\"\n[[network]]\ninterface = \"eth0\"\ndhcp = \"proxy\"\n";
        let rule = |arch: &str, file: &str| {
            format!("[[boot]]\nmatch = {{ arch = \"{arch}\" }}\nfile = \"{file}\"\n")
        };
        for (rules, files, warning) in [
            (
                rule("x64-uefi", "http://{server}/a.efi"),
                &["a.efi"][..],
                "warning: x64-uefi: a PXE ROM fetches by TFTP only",
            ),
            (
                rule("x86-bios", "undionly.kpxe"),
                &["undionly.kpxe"],
                "warning: x86-bios: gets iPXE (undionly.kpxe), and iPXE gets nothing",
            ),
            (rule("31", "a"), &["a"], "warning: there is nothing to boot"),
            (
                "[[boot]]\nfile = \"a\"\n".to_owned() + &rule("x64-uefi", "b"),
                &["a", "b"],
                "warning: rule 2, r.toml:7 is never reached by a machine that boots: rule 1, r.toml:5 matches every one",
            ),
            (
                "[[network]]\ninterface = \"eth1\"\npool = \"10.9.0.9\"\n[[network.subnet]]\nsubnet = \"10.44.0.0/24\"\n\
                 [[boot]]\nfile = \"a\"\n"
                    .to_owned(),
                &["a"],
                "warning: 10.44.0.0/24 is behind a relay and has no router",
            ),
            (
                "[[network]]\ninterface = \"eth1\"\naddress = \"10.9.0.1\"\ndhcp = \"off\"\n[image.a]\ndir = \"/a\"\n\
                 [[boot]]\nmatch = { remote = \"7\" }\nimage = \"a\"\n[[boot]]\nfile = \"a\"\n"
                    .to_owned(),
                &["a"],
                "warning: rule 1, r.toml:11 matches what DHCP alone tells: on eth1, where dhcp is \"off\", nobody gets its image",
            ),
            (
                "[[network]]\ninterface = \"eth1\"\naddress = \"10.9.0.1\"\ndhcp = \"off\"\n[image.a]\ndir = \"/a\"\nargs = \"h={host} {ip}\"\n\
                 [[boot]]\nfile = \"a\"\n"
                    .to_owned(),
                &["a"],
                "boots without the arguments that hold {host}: nobody knows",
            ),
            (
                "[image.a]\ndir = \"/a\"\n[[machine]]\nserial = \"7\"\nimage = \"a\"\n[[boot]]\nfile = \"a\"\n".to_owned(),
                &["a"],
                "warning: machine, r.toml:7 is known by its serial number alone: only iPXE gets its image",
            ),
            (
                "[image.a]\ndir = \"/a\"\n[[menu]]\nmatch = { arch = \"x86-bios\" }\nitems = [{ image = \"a\" }]\n\
                 [[boot]]\nfile = \"a\"\n"
                    .to_owned(),
                &["a"],
                "warning: x86-bios: an image of the menu is not booted (menu, r.toml:7): images/{server}/a/lpxelinux.0 is not in \
                 the root",
            ),
            (
                "[image.a]\ndir = \"/a\"\n[[menu]]\nmatch = { arch = \"x64-uefi\" }\nitems = [{ image = \"a\" }]\n\
                 [[boot]]\nmatch = { arch = \"x86-bios\" }\nfile = \"a\"\n"
                    .to_owned(),
                &["a"],
                "warning: x64-uefi: an image of the menu is not booted (menu, r.toml:7): its loader is not in the root",
            ),
        ] {
            let said = said(&format!("{network}{rules}"), files);
            assert_eq!(said.matches("warning: ").count(), 1, "{said}");
            assert!(said.contains(warning), "{said}");
        }
    }
}
