//! The house rules that no compiler holds: layers, sizes, where `unsafe` and the clock may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each layer and what it may import, named as in `src/`. Arrows point down only: nothing may name a module that is not
/// listed beside it.
#[rustfmt::skip]
const LAYERS: &[(&str, &[&str])] = &[
    // Leaves
    ("time", &[]),
    ("limits", &["time"]),
    ("wire", &[]),
    ("stats", &[]),
    ("note", &["time", "stats", "wire", "boot"]),
    // Decisions
    ("boot", &["time", "limits", "wire", "note"]),
    // Machines: siblings never import each other
    ("proto/outbox", &["boot", "limits", "note", "wire"]),
    ("proto/timer", &["time", "limits"]),
    ("proto/tally", &["time", "limits", "wire"]),
    ("proto/reply", &["boot", "limits", "note", "stats", "time", "wire", "proto/outbox", "proto/tally"]),
    ("proto/dhcp", &["boot", "limits", "note", "stats", "time", "wire", "proto/outbox", "proto/reply", "proto/tally"]),
    ("proto/proxy", &["boot", "limits", "note", "stats", "time", "wire", "proto/outbox", "proto/reply", "proto/tally"]),
    ("proto/tftp", &["boot", "limits", "note", "stats", "time", "wire", "proto/outbox", "proto/timer"]),
    ("proto/http", &["boot", "limits", "note", "stats", "time", "wire", "proto/outbox", "proto/timer"]),
    ("proto/wires", &["boot", "limits", "time"]),
    ("proto/admission", &["limits", "time", "proto/outbox", "proto/wires"]),
    ("proto/mod", &[]),
    ("shard", &["boot", "limits", "note", "stats", "time", "wire", "proto"]),
    // What a shard runs on
    ("content", &["boot", "limits", "time"]),
    ("store", &["boot", "limits", "note", "wire", "time"]),
    ("io", &["boot", "content", "limits", "note", "proto", "shard", "stats", "store", "time", "wire"]),
    // What is seen of it
    ("capture", &["boot", "io", "limits", "log", "note", "proto", "wire"]),
    ("trim", &["wire"]),
    ("heard", &["time", "wire"]),
    // Ways to run shards
    ("replay", &["boot", "content", "heard", "limits", "log", "note", "proto", "shard", "stats", "store", "time", "wire"]),
    ("rack/wire", &["io", "rack", "time", "wire"]),
    ("rack", &["args", "boot", "content", "heard", "limits", "proto", "shard", "time", "wire"]),
    ("server", &["boot", "capture", "config", "content", "io", "limits", "log", "note", "proto", "settings", "shard", "stats", "store", "time", "wire"]),
    // What the operator meets
    ("settings", &["boot", "limits"]),
    ("log", &["boot", "limits", "note", "settings", "stats", "time", "wire"]),
    ("args", &[]),
    ("config", &["args", "boot", "content", "io", "limits", "settings", "time", "wire"]),
    ("import", &["boot", "config", "io", "limits", "note", "store", "wire"]),
    ("explain", &["args", "boot", "config", "content", "log", "wire"]),
    ("check", &["boot", "config", "explain", "log", "settings", "time", "wire"]),
    ("main", &["args", "boot", "check", "config", "explain", "import", "io", "log", "rack", "replay", "server", "store", "content", "trim"]),
    ("lib", &[]),
];

/// Files that may hold `unsafe`
const UNSAFE: &[&str] = &["io/sys", "content/sys"];
/// Files that may read a clock
const CLOCKS: &[&str] = &["io/clock"];
const LINES_MAX: usize = 700;

fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a readable source folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    assert!(found.len() > 20, "the walk sees the sources");
    let name =
        |path: &Path| path.strip_prefix(&root).expect("below src").with_extension("").display().to_string();
    found.iter().map(|path| (name(path), fs::read_to_string(path).expect("UTF-8 source"))).collect()
}

/// `prefix` names the file itself, or a folder that holds it
fn below(file: &str, prefix: &str) -> bool {
    file.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a file holds only tests: those may use what they like
fn is_test(file: &str) -> bool {
    file.ends_with("tests") || file.contains("tests/")
}

/// The source without its comments and without what follows `#[cfg(test)]`
fn code(text: &str) -> String {
    let product = text.split("#[cfg(test)]").next().unwrap_or(text);
    product.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// What `crate::…` paths a source names, as `a` or `proto/b`
fn imports(file: &str, code: &str) -> BTreeSet<String> {
    assert!(
        !code.contains("crate::{"),
        "{file}: one `use crate::module::…` a line, so that layers can be read"
    );
    code.split("crate::")
        .skip(1)
        .map(|path| {
            let path =
                path.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).next().unwrap_or("");
            let mut parts = path.split("::");
            match (parts.next().unwrap_or_default(), parts.next()) {
                ("proto", Some(second)) if !second.is_empty() => format!("proto/{second}"),
                (first, _) => first.to_owned(),
            }
        })
        .collect()
}

#[test]
fn layers_point_down_only() {
    let mut wrong = Vec::new();
    for (file, text) in sources().iter().filter(|(file, _)| !is_test(file)) {
        let (layer, allowed) = LAYERS
            .iter()
            .find(|(layer, _)| below(file, layer))
            .unwrap_or_else(|| panic!("{file}: name its layer in tests/tidy.rs"));
        for import in imports(file, &code(text)) {
            if !below(&import, layer) && !allowed.iter().any(|a| below(&import, a)) {
                wrong.push(format!("{file} must not import crate::{import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_say_what_they_are_for_and_stay_readable() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        if !text.starts_with("//!") {
            wrong.push(format!("{file} does not say what it is for (`//!`)"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{file} has {lines} lines, more than {LINES_MAX}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_and_clocks_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let code = code(&text);
        if code.contains("unsafe ") && !UNSAFE.iter().any(|place| below(&file, place)) {
            wrong.push(format!("{file} holds `unsafe`"));
        }
        let reads_clock =
            ["SystemTime::now", "std::time::Instant", "clock_gettime"].iter().any(|c| code.contains(c));
        if reads_clock && !is_test(&file) && !CLOCKS.contains(&file.as_str()) {
            wrong.push(format!("{file} reads a clock"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
