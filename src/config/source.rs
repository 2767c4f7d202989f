//! Where the configuration comes from: read anew at each start, reload and check. The only part that touches the system.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::errors::{At, Errors};
use super::{compile, flags, templates, text};
use crate::args::{Process, Setup};
use crate::boot::image::{Form, Images};
use crate::boot::plan::Plan;
use crate::boot::plan::well_known::Place;
use crate::boot::script::Asker;
use crate::content::{Library, Placed, Tree};
use crate::io::interfaces::{Interface, interfaces};
use crate::settings::Settings;

/// Read when neither a file nor an interface is named
const USUAL: &str = "/etc/reveille.toml";

/// The flags, and through them the file
#[derive(Debug, Default)]
pub struct Source {
    setup: Setup,
    process: Process,
}

impl Source {
    /// The configuration that these flags name or are
    pub fn new(setup: Setup, process: Process) -> Self {
        Self { setup, process }
    }

    /// Whether flags say where the configuration is, or are one
    pub fn is_named(&self) -> bool {
        self.setup.config.is_some() || !self.setup.interface.is_empty()
    }

    /// The file, where the configuration is one
    pub fn file(&self) -> Option<PathBuf> {
        match &self.setup.config {
            Some(file) => Some(file.clone()),
            None => self.setup.interface.is_empty().then(|| PathBuf::from(USUAL)),
        }
    }

    /// Reads and compiles it
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self) -> Result<(Plan, Settings), Errors> {
        self.load_for(&interfaces())
    }

    /// As [`Source::load`], on a machine with these interfaces
    pub(super) fn load_for(&self, interfaces: &[Interface]) -> Result<(Plan, Settings), Errors> {
        let (mut model, mut errors) = match self.file() {
            Some(file) => {
                let text = read(&file, self.setup.config.is_some())?;
                let mut errors = Errors::new(&file, &text);
                (text::read(&text, &mut errors), errors)
            }
            None => {
                let mut errors = Errors::default();
                (flags::read(&self.setup, interfaces, &mut errors), errors)
            }
        };
        flags::override_setup(&mut model, &self.setup, &mut errors);
        flags::override_process(&mut model, &self.process, &mut errors);
        let mut problems = Vec::new();
        if let Some(root) = &model.root {
            problems.extend(root_problem(&root.value).map(|problem| (root.place, problem)));
        }
        let mut library = Library::default();
        for image in &model.images {
            if let Err(error) = library.add(&image.source()) {
                problems.push((image.origin.place, error.to_string()));
                continue;
            }
            let files = Files::new(None, &library);
            let missing =
                |path: &&At<String>| !files.exists(&format!("images/{}/{}", image.name.value, path.value));
            let paths = image.kernel.iter().chain(&image.initrds).filter(missing);
            problems.extend(paths.map(|path| (path.place, format!("{} is not in the image", path.value))));
        }
        let root = model.root.as_ref().map(|at| &*at.value);
        let (own, all) = (Files::new(root, &Library::default()), Files::new(root, &library));
        let exists = |place, name: &str| match place {
            Place::Root => own.exists(name),
            Place::System => all.exists(name),
        };
        // One that cannot be opened is told already.
        let last_file = |name: &str| match library.describe(name) {
            None => Some(String::new()),
            Some(_) => library.bootable(name).map(|bootable| bootable.last_file().to_owned()),
        };
        let texts = templates::read(&model, &mut problems);
        let mut later = errors.none_yet();
        let (plan, mut settings) = compile::compile(&model, interfaces, exists, last_file, problems, errors)?;
        let plan = plan.with_templates(texts, model.vars.clone());
        let image_args = |name: &str| library.bootable(name).map(|bootable| bootable.args.clone());
        templates::check(&model, &plan, &image_args, &mut later);
        settings.capture.clone_from(&self.process.capture);
        if later.is_empty() { Ok((plan, settings)) } else { Err(later) }
    }
}

fn read(file: &Path, named: bool) -> Result<String, Errors> {
    std::fs::read_to_string(file).map_err(|error| {
        Errors::one(match error.kind() {
            ErrorKind::NotFound if !named => format!(
                "there is no {}: name a file with --config, or say all of it by flags: --interface eth0 --root /data/pxe --proxy",
                file.display()
            ),
            ErrorKind::NotFound => format!("there is no {}", file.display()),
            ErrorKind::InvalidData => format!("{} is not UTF-8 text", file.display()),
            _ => format!("cannot read {}: {error}", file.display()),
        })
    })
}

/// Why a directory cannot be served
fn root_problem(root: &Path) -> Option<String> {
    let path = root.display();
    let error = std::fs::read_dir(root).err()?;
    Some(match error.kind() {
        ErrorKind::NotFound => format!("there is no directory {path}: make it, or name another"),
        ErrorKind::NotADirectory => format!("{path} is a file: name the directory that holds the boot files"),
        ErrorKind::PermissionDenied => {
            format!("{path} may not be read by this user: allow it, as with `chmod o+rx {path}`")
        }
        _ => format!("cannot read {path}: {error}"),
    })
}

/// The files that would be served, for those who only ask whether there are such
#[derive(Debug)]
pub struct Files(Option<RefCell<Tree>>);

impl Files {
    /// Those of a root and of images; none, where they cannot be opened
    pub fn new(root: Option<&Path>, library: &Library) -> Self {
        Self(Tree::with_images(root, library).ok().map(RefCell::new))
    }

    /// Where what is served at that name comes from, for who asks
    pub fn place(&self, name: &str, asker: Asker<'_>) -> Option<Placed> {
        self.0.as_ref()?.borrow_mut().place(asker, name.as_bytes())
    }

    /// Whether a file of that name is served
    pub fn exists(&self, name: &str) -> bool {
        let Some(tree) = &self.0 else { return false };
        let mut tree = tree.borrow_mut();
        let image = tree.open(name.as_bytes(), Form::Octet);
        image.map(|image| tree.close(image.id)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::interfaces;
    use super::*;

    fn said(setup: Setup) -> String {
        Source::new(setup, Process::default()).load_for(&interfaces()).unwrap_err().to_string()
    }

    #[test]
    fn a_root_or_a_file_that_is_not_there() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let by_flags = |root: PathBuf| Setup {
            interface: vec!["eth0".into()],
            proxy: true,
            root: Some(root),
            ..Setup::default()
        };
        assert_eq!(
            said(by_flags("/nonexistent".into())),
            "--root: there is no directory /nonexistent: make it, or name another"
        );
        let path = file.display();
        assert_eq!(
            said(by_flags(file.clone())),
            format!("--root: {path} is a file: name the directory that holds the boot files")
        );
        let config = Some(PathBuf::from("/nonexistent.toml"));
        assert_eq!(said(Setup { config, ..Setup::default() }), "there is no /nonexistent.toml");
        assert_eq!(
            said(Setup { config: Some(file.clone()), ..Setup::default() }).lines().next().unwrap(),
            format!(
                "{path}:1:2: unknown key `package`: the file takes root, http-port, tftp-port, listen, shards, io, \
                 state-dir, log, tftp, image, image-menu, template, vars, network, boot, menu, machine"
            )
        );
    }

    #[test]
    fn flags_go_before_the_file() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
        let folder = std::env::temp_dir().join(format!("reveille-source-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("r.toml");
        let text = "root = \"/nonexistent\"\nhttp-port = 81\nlog = \"json\"\n[[network]]\ninterface = \"eth0\"\ndhcp = \"proxy\"\n";
        std::fs::write(&file, text).unwrap();
        let setup =
            Setup { config: Some(file), root: Some(root.clone()), http_port: Some(82), ..Setup::default() };
        let process = Process { log: Some("text".into()), ..Process::default() };
        let (plan, settings) = Source::new(setup, process).load_for(&interfaces()).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!((settings.root, plan.http_port()), (Some(root), 82));
        assert_eq!(settings.log, crate::settings::LogFormat::Text);
    }
}
