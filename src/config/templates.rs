//! `[template.NAME]` → [`Templates`]: reads their files, and those that they include, and holds them against the machines.
//!
//! All files are read with the configuration and none when a machine asks, so that one that is being edited is served as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::errors::{Errors, Place};
use super::model::{Model, Template, TemplateFiles};
use crate::boot::plan::Plan;
use crate::boot::template::{self, Problem, Serves, Set, Templates, included};
use crate::content;
use crate::limits::{TEMPLATE_BYTES_MAX, TEMPLATE_FILES_MAX};

/// Machines that are named for one template; more would say the same
const NAMED_MAX: usize = 5;

/// The templates, and what is wrong with those that are none
pub(super) fn read(model: &Model, problems: &mut Vec<(Place, String)>) -> Templates {
    let mut templates = Templates::default();
    for one in &model.templates {
        let added =
            files(one).and_then(|(set, files)| templates.add(set, files).map_err(|error| error.to_string()));
        problems.extend(added.err().map(|problem| (one.files.place, problem)));
    }
    templates
}

/// What machines' own arguments ask for, and cannot get
pub(super) fn check(
    model: &Model,
    plan: &Plan,
    image_args: &dyn Fn(&str) -> Option<String>,
    errors: &mut Errors,
) {
    let mut named: BTreeMap<String, usize> = BTreeMap::new();
    for Problem { machine, template, error, .. } in template::problems(plan, image_args, true) {
        let of_template = || model.templates.iter().find(|one| one.name.value == template);
        let count = named.entry(template.clone()).or_default();
        *count += 1;
        if *count > NAMED_MAX {
            continue;
        }
        // What another machine may have is wrong with the machine; what nobody has is wrong with the template.
        let place = if error.is_undefined {
            model.machines.get(machine).map(|machine| machine.place)
        } else {
            of_template().map(|one| one.files.place)
        };
        let way_out = if error.is_undefined {
            ": give it one in [machine.vars], or write `default(…)` there"
        } else {
            ""
        };
        errors.push(
            place.unwrap_or_default(),
            format!("{error}, for this machine, whose arguments ask for template {template}{way_out}"),
        );
    }
    for (template, count) in named.into_iter().filter(|(_, count)| *count > NAMED_MAX) {
        let more = count - NAMED_MAX;
        errors.push(Place::Missing, format!("template {template} fails for {more} more machines"));
    }
}

/// The files of a template, each by its path in the folder
fn files(template: &Template) -> Result<(Set, Vec<(String, String)>), String> {
    let (folder, serves) = match &template.files.value {
        TemplateFiles::One(file) => {
            let name = file.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| format!("{} names no file", file.display()))?;
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            (folder.unwrap_or(Path::new(".")).to_owned(), Serves::File(name.to_owned()))
        }
        TemplateFiles::Folder(folder) => (folder.clone(), Serves::Files(names(folder)?)),
    };
    let mut wanted: Vec<(String, bool)> = match &serves {
        Serves::File(name) => vec![(name.clone(), false)],
        Serves::Files(names) => names.iter().map(|name| (name.clone(), false)).collect(),
    };
    let mut read: BTreeMap<String, String> = BTreeMap::new();
    while let Some((path, is_optional)) = wanted.pop() {
        if read.contains_key(&path) {
            continue;
        }
        let Some(text) = text(&folder, &path, is_optional)? else { continue };
        for one in included(&text) {
            let plain = content::plain(one.path.as_bytes()).and_then(|path| String::from_utf8(path).ok());
            // As the template will look for it: its own way of writing a path is not another name.
            let is_plain = plain.as_deref() == Some(one.path.trim_start_matches("./"));
            let plain = plain.filter(|_| is_plain && !one.path.starts_with('/')).ok_or_else(|| {
                let file = folder.join(&path);
                format!("{}: `{}` is no path in the template's folder", file.display(), one.path)
            })?;
            wanted.push((plain, one.is_optional));
        }
        read.insert(path, text);
        if read.len() > TEMPLATE_FILES_MAX {
            return Err(format!("{}: more than {TEMPLATE_FILES_MAX} files", folder.display()));
        }
    }
    let set = Set { name: template.name.value.clone(), folder, serves };
    Ok((set, read.into_iter().collect()))
}

/// The files that a folder serves: hidden ones, an editor's copies, and those for including (`_…`, or in folders) are not
fn names(folder: &Path) -> Result<Vec<String>, String> {
    let cannot = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let is_served = !name.starts_with(['.', '_']) && !name.ends_with('~');
        if is_served && fs::metadata(entry.path()).is_ok_and(|data| data.is_file()) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(format!("{} holds no file: put user-data and meta-data there", folder.display()));
    }
    names.sort();
    Ok(names)
}

/// The text of a file in the folder; `None`: it is not there, and need not be
fn text(folder: &Path, path: &str, is_optional: bool) -> Result<Option<String>, String> {
    let file = folder.join(path);
    let shown = file.display();
    let cannot = |error: std::io::Error| format!("cannot read {shown}: {error}");
    let inside: PathBuf = match fs::canonicalize(&file) {
        Err(error) if is_optional && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(cannot)?,
    };
    if !inside.starts_with(fs::canonicalize(folder).map_err(cannot)?) {
        return Err(format!("{shown} is a link out of the template's folder"));
    }
    let data = fs::metadata(&inside).map_err(cannot)?;
    if !data.is_file() {
        return Err(format!("{shown} is no file"));
    }
    if data.len() > TEMPLATE_BYTES_MAX {
        return Err(format!("{shown} has {} bytes; a template has {TEMPLATE_BYTES_MAX} at most", data.len()));
    }
    let bytes = fs::read(&inside).map_err(cannot)?;
    String::from_utf8(bytes).map(Some).map_err(|_| format!("{shown} is not UTF-8 text"))
}
