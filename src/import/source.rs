//! The files of a dnsmasq configuration: `conf-file` and `conf-dir` followed, host and option files read. The only part
//! of the import that opens files.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::line::{self, Line};
use super::report::Report;

/// Files that include each other stop here
const FILES_MAX: usize = 256;

/// All the options of a configuration, in the order in which dnsmasq reads them
///
/// # Errors
/// The file itself cannot be read. Of those that it names, the line that names them is told as lost.
pub(super) fn read(file: &Path, report: &mut Report) -> io::Result<Vec<Line>> {
    let mut source = Source { lines: Vec::new(), seen: HashSet::new(), report };
    source.file(file)?;
    Ok(source.lines)
}

struct Source<'r> {
    lines: Vec<Line>,
    seen: HashSet<PathBuf>,
    report: &'r mut Report,
}

impl Source<'_> {
    fn file(&mut self, file: &Path) -> io::Result<()> {
        let real = fs::canonicalize(file)?;
        if self.seen.len() >= FILES_MAX {
            return Err(io::Error::other(format!("more than {FILES_MAX} files")));
        }
        if !self.seen.insert(real) {
            return Err(io::Error::other("it was read already"));
        }
        let bytes = fs::read(file)?;
        let text = String::from_utf8_lossy(&bytes);
        for line in line::lines(&text, &Rc::new(file.to_owned())) {
            match line {
                Ok(line) => self.line(line),
                Err((line, why)) => self.report.lost(&line, why),
            }
        }
        Ok(())
    }

    fn line(&mut self, line: Line) {
        let value = line.value();
        match line.key.as_str() {
            "conf-file" => self.named(&line, &beside(&line, &value)),
            "conf-dir" => {
                let mut words = line.texts();
                let folder = words.next().unwrap_or_default().to_owned();
                let endings: Vec<_> = words.map(str::to_owned).collect();
                match folder_files(&beside(&line, &folder), &endings) {
                    Ok(files) => {
                        for file in files {
                            self.named(&line, &file);
                        }
                    }
                    Err(error) => self.report.lost(&line, format!("{folder}: {error}")),
                }
            }
            "dhcp-hostsfile" => self.values(&line, &value, "dhcp-host"),
            "dhcp-optsfile" => self.values(&line, &value, "dhcp-option"),
            "read-ethers" => self.ethers(&line),
            _ => self.lines.push(line),
        }
    }

    /// Another configuration file
    fn named(&mut self, line: &Line, path: &Path) {
        if let Err(error) = self.file(path) {
            self.report.lost(line, format!("{}: {error}", path.display()));
        }
    }

    /// A file of values, each as after the `=` of `key`
    fn values(&mut self, line: &Line, name: &str, key: &str) {
        let path = beside(line, name);
        match fs::read_to_string(&path) {
            Ok(text) => self.each(line, &path, &text, key, |text| text.to_owned()),
            Err(error) => self.report.lost(line, format!("{name}: {error}")),
        }
    }

    /// `/etc/ethers`: a MAC address, then a name or an address
    fn ethers(&mut self, line: &Line) {
        let path = Path::new("/etc/ethers");
        match fs::read_to_string(path) {
            Ok(text) => self.each(line, path, &text, "dhcp-host", |text| {
                text.split_whitespace().take(2).collect::<Vec<_>>().join(",")
            }),
            Err(error) => self.report.lost(line, format!("{}: {error}", path.display())),
        }
    }

    fn each(&mut self, line: &Line, path: &Path, text: &str, key: &str, value: impl Fn(&str) -> String) {
        let file = Rc::new(path.to_owned());
        for (number, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let one = |words| Line {
                file: Rc::clone(&file),
                number,
                text: text.to_owned(),
                key: key.to_owned(),
                words,
            };
            match line::words(&value(text)) {
                Ok(words) => self.lines.push(one(words)),
                Err(why) => self.report.lost(&Line { number, ..line.clone() }, why),
            }
        }
    }
}

/// The file of that name, beside the one that names it where the name is relative
fn beside(line: &Line, name: &str) -> PathBuf {
    line.file.parent().unwrap_or(Path::new("")).join(name)
}

/// The files that `conf-dir` takes: not hidden, no backups, and those whose endings are wanted (`*.conf`) or not (`.bak`)
fn folder_files(folder: &Path, endings: &[String]) -> io::Result<Vec<PathBuf>> {
    let wanted: Vec<_> = endings.iter().filter_map(|ending| ending.strip_prefix('*')).collect();
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_backup =
            name.starts_with('.') || name.ends_with('~') || (name.starts_with('#') && name.ends_with('#'));
        let is_wanted = wanted.is_empty() || wanted.iter().any(|ending| name.ends_with(ending));
        let is_unwanted =
            endings.iter().any(|ending| !ending.starts_with('*') && name.ends_with(ending.as_str()));
        if !is_backup && is_wanted && !is_unwanted && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_followed_once_and_in_order() {
        let folder = std::env::temp_dir().join(format!("reveille-import-{}", std::process::id()));
        let put = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("main.conf", "port=0\nconf-file=more.conf\nconf-file=absent.conf\nlog-dhcp\n");
        put("more.conf", &format!("conf-file=main.conf\nconf-dir={},*.conf\n", folder.join("d").display()));
        put("d/b.conf", "no-ping\n");
        put("d/a.conf", "dhcp-hostsfile=../hosts\n");
        put("d/c.conf~", "no-hosts\n");
        put("d/.d.conf", "no-hosts\n");
        put("d/e.txt", "no-hosts\n");
        put("hosts", "# comment\n02:00:00:00:00:01,node\n");
        let mut report = Report::default();
        let lines = read(&folder.join("main.conf"), &mut report).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let keys: Vec<_> = lines.iter().map(|line| line.key.as_str()).collect();
        assert_eq!(keys, ["port", "dhcp-host", "no-ping", "log-dhcp"]);
        let lost: Vec<_> = report.lost_lines().map(|lost| lost.text.as_str()).collect();
        assert_eq!(lost, ["conf-file=main.conf", "conf-file=absent.conf"]);
        assert!(read(&folder.join("main.conf"), &mut report).is_err());
    }
}
