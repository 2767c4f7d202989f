//! What is allowed, and most likely not meant: files that are not there, rules that are never reached, clients that are
//! given what they cannot fetch.

use std::path::Path;

use crate::boot::client::{Arch, Wants};
use crate::boot::image::ImageSource;
use crate::boot::plan::{BootFile, Boots, LoaderName, Match, Mode, Piece, Plan, Reason, Rule, well_known};
use crate::boot::{script, template};
use crate::explain::Row;
use crate::log::why;
use crate::wire::dhcp::code;

/// Warnings about the plan, whoever asks
pub(super) fn of_plan(
    plan: &Plan,
    images: &[ImageSource],
    config: Option<&Path>,
    exists: &impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut warnings = missing(plan, config, exists);
    warnings.extend(never_reached(plan, config));
    warnings.extend(without_router(plan));
    warnings.extend(known_to_ipxe_alone(plan, config));
    warnings.extend(unheard(plan, images, config));
    warnings
}

/// Rules behind one that answers every client
fn never_reached(plan: &Plan, config: Option<&Path>) -> Option<String> {
    let answers_all = |boots: &Boots| match boots {
        // iPXE goes on to the next rule.
        Boots::File(boot) => !well_known::is_ipxe(boot),
        Boots::Nothing => true,
        Boots::Unsaid => false,
    };
    let mut rules =
        plan.rules().iter().skip_while(|rule| !rule.matches.is_empty() || !answers_all(&rule.boots));
    let all = why(rules.next()?.reason, config);
    let first = rules.find(|rule| rule.boots != Boots::Unsaid)?;
    Some(format!(
        "{} is never reached by a machine that boots: {all} matches every one of them. Put it last",
        why(first.reason, config)
    ))
}

/// Behind a relay, this server is reached through a router or not at all
fn without_router(plan: &Plan) -> Vec<String> {
    let networks =
        plan.networks().iter().filter(|network| matches!(network.mode, Mode::Full | Mode::TakeOver));
    let has_route = |code: &u8| [code::ROUTER, code::CLASSLESS_ROUTES].contains(code);
    networks
        .flat_map(|network| &network.subnets)
        .filter(|subnet| !subnet.attached && !subnet.options.iter().any(|(code, _)| has_route(code)))
        .map(|subnet| {
            format!(
                "{} is behind a relay and has no router: its machines get addresses, and cannot reach this server. \
                 Write router = \"…\" there",
                subnet.cidr
            )
        })
        .collect()
}

/// Machines that are known by what neither DHCP nor pxelinux and GRUB tell
fn known_to_ipxe_alone(plan: &Plan, config: Option<&Path>) -> Vec<String> {
    let machines = plan.machines().iter();
    machines
        .filter(|machine| machine.image.is_some() && machine.mac.is_none() && machine.uuid.is_none())
        .map(|machine| {
            format!(
                "{} is known by its serial number alone: only iPXE gets its image; pxelinux and GRUB ask for theirs by UUID, MAC or \
                 IP address",
                why(Reason::Machine { line: machine.line }, config)
            )
        })
        .collect()
}

/// Templates that no machine's arguments name, and that cannot be made for some
pub(super) fn of_templates(plan: &Plan, image_args: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let problems = template::problems(plan, image_args, false);
    let of_set = |set: &template::Set| {
        let mut problems = problems.iter().filter(|problem| problem.template == set.name);
        let first = problems.next()?;
        let more = match problems.count() {
            0 => String::new(),
            count => format!(", and {count} more like it"),
        };
        Some(format!(
            "template {}: {} gets none ({}){more}: where it asks, it is answered with an error",
            set.name, first.name, first.error
        ))
    };
    plan.templates().sets().iter().filter_map(of_set).collect()
}

/// Where this server has no DHCP, it hears nothing of a machine before its loader asks for a configuration
fn unheard(plan: &Plan, images: &[ImageSource], config: Option<&Path>) -> Vec<String> {
    let Some(network) = plan.networks().iter().find(|network| network.mode == Mode::Off) else {
        return Vec::new();
    };
    let network = &network.interface;
    let is_of_dhcp = |one: &Match| {
        matches!(one, Match::Vendor(_) | Match::UserClass(_) | Match::Circuit(_) | Match::Remote(_))
    };
    let of_rules = plan
        .rules()
        .iter()
        .filter(|rule| rule.image.is_some() && rule.matches.iter().any(is_of_dhcp))
        .map(|rule| {
            format!(
                "{} matches what DHCP alone tells: on {network}, where dhcp is \"off\", nobody gets its image",
                why(rule.reason, config)
            )
        });
    let of_images = images.iter().filter_map(|image| {
        let words = script::machine_words(image.args.as_deref().unwrap_or_default());
        let lost: Vec<_> = words.filter(|word| *word != "ip").map(|word| format!("{{{word}}}")).collect();
        (!lost.is_empty()).then(|| {
            format!(
                "image {}: on {network}, where dhcp is \"off\", who boots it from pxelinux's menu boots without the arguments that \
                 hold {}: nobody knows the machine there. A [[machine]] with that image fills them in",
                image.name,
                lost.join(", ")
            )
        })
    });
    of_rules.chain(of_images).collect()
}

/// Files that rules, machines and menus name and the root lacks. What has words to fill in is known only for a machine.
fn missing(plan: &Plan, config: Option<&Path>, exists: &impl Fn(&str) -> bool) -> Vec<String> {
    let of_rules = plan.rules().iter().filter_map(|rule| match &rule.boots {
        Boots::File(boot) => Some((boot, rule.reason)),
        Boots::Nothing | Boots::Unsaid => None,
    });
    let of_machines = plan.machines().iter().filter_map(|machine| {
        let reason = Reason::Machine { line: machine.line };
        machine.boot.as_ref().map(|boot| (boot, reason))
    });
    let of_menus = plan.menus().flat_map(|(menu, reason)| {
        // What an image is loaded by depends on who asks.
        let items = menu.items.iter().filter(|item| item.image.is_none());
        items.filter_map(move |item| Some((item.boot.as_ref()?, reason)))
    });
    of_rules
        .chain(of_machines)
        .chain(of_menus)
        .filter(|(boot, _)| literal(boot, plan).is_some_and(|name| !exists(&name)))
        .map(|(boot, reason)| format!("{boot} is not in the root ({})", why(reason, config)))
        .collect()
}

/// The whole name, where it lies below this server's root for every client of its first network
fn literal(boot: &BootFile, plan: &Plan) -> Option<String> {
    let server = plan.networks().first()?.address;
    let part = |piece: &Piece| match piece {
        Piece::Literal(text) => Some(text.clone()),
        Piece::Server => Some(server.to_string()),
        _ => None,
    };
    boot.pieces
        .iter()
        .map(part)
        .collect::<Option<String>>()
        .filter(|_| boot.server.is_none() && !boot.is_url())
}

/// Images in a ROM's menu that have nothing to be loaded by
pub(super) fn of_menus(
    rows: &[Row<'_>],
    plan: &Plan,
    config: Option<&Path>,
    exists: &impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for row in rows {
        let answer = &row.answer;
        let items = answer.menu.map_or(&[][..], |menu| &menu.items[..]);
        let Some(item) = items.iter().find(|item| item.image.is_some()) else { continue };
        let boot = item.boot_of(row.arch, answer.loader);
        if boot.is_none_or(|boot| literal(boot, plan).is_some_and(|name| !exists(&name))) {
            let lacks = boot.map_or("its loader".to_owned(), ToString::to_string);
            warnings.push(format!(
                "{}: an image of the menu is not booted ({}): {lacks} is not in the root",
                row.stage,
                why(answer.reason, config)
            ));
        }
    }
    warnings
}

/// What is given and cannot be used
pub(super) fn of_rows(rows: &[Row<'_>], plan: &Plan, config: Option<&Path>) -> Vec<String> {
    let mut warnings = Vec::new();
    for row in rows {
        let (Some(file), Some(boot)) = (&row.file, row.answer.boot) else { continue };
        let reason = why(row.answer.reason, config);
        if boot.is_url() && row.wants == Wants::Pxe && row.loader == LoaderName::Rom {
            warnings.push(format!(
                "{}: a PXE ROM fetches by TFTP only, not {file} ({reason}): name a file, and give the URL to match = {{ loader = \"ipxe\" }}",
                row.stage
            ));
        }
        let then = |other: &&Row<'_>| other.loader == LoaderName::Ipxe && other.arch == row.arch;
        if well_known::is_ipxe(boot) && rows.iter().find(then).is_some_and(|ipxe| ipxe.file.is_none()) {
            warnings.push(format!(
                "{}: gets iPXE ({file}), and iPXE gets nothing: put a script named {} into the root, or write a rule for it: \
                 match = {{ loader = \"ipxe\" }}",
                row.stage,
                well_known::IPXE_SCRIPT
            ));
        }
    }
    // The rows are nobody's in particular.
    let is_particular = |one: &Match| !matches!(one, Match::Arch(_) | Match::Loader(_));
    let boots = |rule: &Rule| matches!(rule.boots, Boots::File(_)) && rule.matches.iter().any(is_particular);
    let boots_some = plan.rules().iter().any(boots) || plan.machines().iter().any(|one| one.boot.is_some());
    if rows.iter().all(|row| row.file.is_none()) && !boots_some {
        let names: Vec<_> = well_known::LOADERS.iter().map(|loaders| loaders.names[0]).collect();
        warnings.push(format!(
            "there is nothing to boot: put a loader into the root under a name that is known ({}, …), or write a [[boot]] rule",
            names.join(", ")
        ));
    }
    warnings
}

/// What Secure Boot, and GRUB beside another DHCP server, make of the loaders that the root lacks
pub(super) fn of_signatures(
    rows: &[Row<'_>],
    plan: &Plan,
    loader: &impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for row in rows.iter().filter(|row| row.wants == Wants::Pxe && row.loader == LoaderName::Rom) {
        let signed = match row.arch {
            Some(Arch::X64_UEFI) => "bootx64.efi",
            Some(Arch::ARM64_UEFI) => "bootaa64.efi",
            _ => continue,
        };
        let Some(boot) =
            row.answer.boot.filter(|boot| literal(boot, plan).is_some_and(|name| loader(&name).is_some()))
        else {
            continue;
        };
        if literal(boot, plan).as_deref() == Some(signed) && row.answer.mode == Mode::Proxy {
            warnings.push(format!(
                "{}: GRUB asks the other DHCP server for its files, not this one: install Debian's package ipxe, or write \
                 dhcp = \"take-over\"",
                row.stage
            ));
        }
        if well_known::is_ipxe(boot) && loader(signed).is_some() {
            warnings.push(format!(
                "{}: {boot} is not signed, and Secure Boot refuses it: give a machine that has it on dhcp = \"take-over\" and \
                 file = \"{signed}\" in its [[machine]]",
                row.stage
            ));
        }
    }
    warnings
}
