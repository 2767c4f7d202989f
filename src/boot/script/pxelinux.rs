//! pxelinux's configuration (syslinux's doc/menu.txt, doc/syslinux.txt), and U-Boot's, which reads the same (doc/README.pxe)
//!
//! lpxelinux takes kernel and initrd by HTTP. pxelinux knows TFTP only, and is given names that are not below the folder that it
//! came from: those after `::` (doc/pxelinux.txt).

use std::fmt::Write as _;

use super::arguments::{Facts, rendered};
use super::{Beside, Boot, What};

/// What shows a menu
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MenuModule {
    /// In graphics
    Vesa,
    /// As text
    Text,
    /// Nothing: the names are said, and asked for
    Prompt,
}

impl MenuModule {
    /// The best that lies in the folder that pxelinux came from, with the libraries that it loads
    pub(super) fn found(folder: &str, beside: &dyn Beside) -> Self {
        let slash = if folder.is_empty() { "" } else { "/" };
        let all = |names: &[&str]| names.iter().all(|name| beside.has(&format!("{folder}{slash}{name}")));
        if all(&["vesamenu.c32", "libcom32.c32", "libutil.c32"]) {
            Self::Vesa
        } else if all(&["menu.c32", "libutil.c32"]) {
            Self::Text
        } else {
            Self::Prompt
        }
    }

    fn file(self) -> Option<&'static str> {
        match self {
            Self::Vesa => Some("vesamenu.c32"),
            Self::Text => Some("menu.c32"),
            Self::Prompt => None,
        }
    }
}

/// Who reads the text
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader<'f> {
    /// pxelinux; `http`: lpxelinux
    Pxelinux { http: bool, module: MenuModule },
    /// U-Boot, which has a menu of its own, takes one initrd, and puts the folder that it asks below before each name
    UBoot { folder: &'f str },
}

impl Reader<'_> {
    /// What stands before a path from the root
    fn prefix(self, facts: &Facts) -> String {
        match self {
            Self::Pxelinux { http: true, .. } => format!("{}/", facts.server),
            Self::Pxelinux { http: false, .. } => "::".to_owned(),
            Self::UBoot { folder: "" } => String::new(),
            Self::UBoot { folder } => "../".repeat(folder.split('/').count()),
        }
    }
}

pub(super) fn write(what: What<'_>, facts: &Facts, reader: &Reader<'_>) -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    match what {
        What::One(boot) => {
            let _ = writeln!(text, "DEFAULT {}\nPROMPT 0\n", boot.entry.name);
            write_label(&mut text, boot, facts, *reader, "");
        }
        // SYSLINUX's own way: 0 is the plain one, which all ROMs take.
        What::Local => text.push_str("DEFAULT local\nPROMPT 0\n\nLABEL local\n  LOCALBOOT 0\n"),
        What::Menu(entries, menu) => {
            let default = What::default_of(&entries, menu);
            let module = match reader {
                Reader::Pxelinux { module, .. } => module.file(),
                Reader::UBoot { .. } => None,
            };
            match module {
                Some(file) => {
                    let _ = writeln!(text, "UI {file}\nPROMPT 0\nMENU TITLE {}", menu.title);
                }
                None if matches!(reader, Reader::UBoot { .. }) => {
                    let _ = writeln!(text, "MENU TITLE {}\nPROMPT 1", menu.title);
                }
                None => {
                    let _ = writeln!(text, "PROMPT 1\nSAY {}", menu.title);
                    for entry in &entries {
                        let _ = writeln!(text, "SAY   {}: {}", entry.name, entry.title());
                    }
                    text.push_str("SAY   local: boot from the local disk\n");
                }
            }
            let _ = writeln!(text, "TIMEOUT {}", 10 * u32::from(menu.timeout_s));
            let _ = writeln!(text, "DEFAULT {}\n", default.unwrap_or("local"));
            for entry in entries {
                let mark = if default == Some(&entry.name) { "  MENU DEFAULT\n" } else { "" };
                let label = format!("  MENU LABEL {}\n{mark}", entry.title());
                write_label(&mut text, Boot { entry, args: None }, facts, *reader, &label);
            }
            let mark = if default.is_none() { "  MENU DEFAULT\n" } else { "" };
            let _ = write!(text, "LABEL local\n  MENU LABEL Boot from the local disk\n{mark}  LOCALBOOT 0\n");
        }
    }
    text
}

fn write_label(text: &mut String, boot: Boot<'_>, facts: &Facts, reader: Reader<'_>, label: &str) {
    let name = &boot.entry.name;
    let bootable = &boot.entry.bootable;
    let from = reader.prefix(facts);
    let _ = write!(text, "LABEL {name}\n{label}  LINUX {from}images/{name}/{}\n", bootable.kernel);
    // Those before the last are microcode, which U-Boot's machines have none of.
    let skipped =
        if let Reader::UBoot { .. } = reader { bootable.initrds.len().saturating_sub(1) } else { 0 };
    let initrds: Vec<_> =
        bootable.initrds[skipped..].iter().map(|path| format!("{from}images/{name}/{path}")).collect();
    if !initrds.is_empty() {
        let _ = writeln!(text, "  INITRD {}", initrds.join(","));
    }
    let args = rendered(&boot.arguments(facts), str::to_owned, |_| None);
    if !args.is_empty() {
        let _ = writeln!(text, "  APPEND{args}");
    }
    text.push('\n');
}
