//! Arguments → configuration → a command; one error line; exit code.

use std::fmt::Display;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use reveille::args::{self, Command, CommandLine, Process};
use reveille::boot::plan::Plan;
use reveille::config::{Errors, Files, Source};
use reveille::content::{Library, Tree};
use reveille::io::clock::Clock;
use reveille::io::interfaces::interfaces;
use reveille::proto::tftp;
use reveille::settings::Settings;
use reveille::store::read_done;
use reveille::{check, explain, import, rack, replay, server, trim};

fn main() -> ExitCode {
    match run(CommandLine::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reveille: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Serve(arguments) => {
            let source = Source::new(arguments.setup, arguments.process);
            let report =
                |plan: &Arc<Plan>, settings: &Settings| report(&source, plan, settings).map_err(Errors::one);
            server::serve(&source, report)?;
        }
        Command::Check(arguments) => {
            let source = Source::new(arguments.setup, Process::default());
            let (plan, settings) = source.load()?;
            plan.register().done.restore(read_done(&settings.state_dir)?);
            print(&report(&source, &Arc::new(plan), &settings)?)?;
        }
        Command::Explain(mut arguments) => {
            let source = Source::new(std::mem::take(&mut arguments.setup), Process::default());
            let (plan, settings) = source.load()?;
            plan.register().done.restore(read_done(&settings.state_dir)?);
            let plan = Arc::new(plan);
            let files = Files::new(settings.root.as_deref(), &Library::open(&settings.images, &plan)?);
            let config = source.file();
            let said = match &arguments.capture {
                Some(file) => explain::explain_capture(&read(file)?, &plan, config.as_deref(), &files)
                    .map_err(|error| format!("{}: {error}", file.display())),
                None => explain::explain(&arguments, &plan, config.as_deref(), &files),
            };
            print(&said?)?;
        }
        Command::Import(arguments) => import(&arguments)?,
        Command::Trim(arguments) => trim(&arguments)?,
        Command::Replay(arguments) if arguments.clone.is_some() => {
            told(&rack::command::clone(&arguments, io::stderr().is_terminal())?)?;
        }
        Command::Replay(arguments) => print(&replayed(arguments)?)?,
        Command::Rack(arguments) => told(&rack::command::run(&arguments, io::stderr().is_terminal())?)?,
    }
    Ok(())
}

/// Prints how a rack has booted; it is an error where not all is well
fn told(said: &rack::command::Said) -> Result<(), Box<dyn std::error::Error>> {
    print(&said.text)?;
    if said.is_clean { Ok(()) } else { Err("not all is well in this rack".into()) }
}

/// The bytes of a capture
fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

/// Prints to the standard output; a reader that has seen enough (`| head`) is no error
fn print(said: &impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match write!(out, "{said}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// What a capture's clients would have been answered. With neither a file nor an interface named, the capture itself says
/// what its server was told: the usual file is not meant.
fn replayed(arguments: args::Replay) -> Result<String, Box<dyn std::error::Error>> {
    let capture = read(&arguments.file)?;
    let tree =
        |root: &Path| Tree::open(root).map_err(|error| format!("cannot open {}: {error}", root.display()));
    let is_configured = arguments.setup.config.is_some() || !arguments.setup.interface.is_empty();
    let setup = if is_configured {
        let (plan, settings) = Source::new(arguments.setup, Process::default()).load()?;
        let tftp = tftp::Settings {
            blksize_max: settings.blksize_max,
            windowsize_max: settings.windowsize_max,
            single_port: settings.single_port,
        };
        let plan = Arc::new(plan);
        let library = Library::open(&settings.images, &plan)?;
        let tree = Tree::with_images(settings.root.as_deref(), &library)?;
        replay::Setup { plan: Some(plan), root: Some(tree), tftp }
    } else {
        let root = arguments.setup.root.as_deref().map(tree).transpose()?;
        replay::Setup { root, ..replay::Setup::default() }
    };
    let report =
        replay::run(&capture, setup).map_err(|error| format!("{}: {error}", arguments.file.display()))?;
    match arguments.log.as_deref() {
        None | Some("text") => Ok(report.to_string()),
        Some("json") => Ok(report.json_lines()),
        Some(other) => Err(format!("unknown log format `{other}`: write text or json").into()),
    }
}

fn trim(arguments: &args::Trim) -> Result<(), Box<dyn std::error::Error>> {
    let (file, out) = (arguments.file.display(), arguments.out.display());
    let capture = std::fs::read(&arguments.file).map_err(|error| format!("cannot read {file}: {error}"))?;
    let result =
        std::fs::File::create(&arguments.out).map_err(|error| format!("cannot write {out}: {error}"))?;
    // A key that nobody knows: the names cannot be traced back.
    let key = (!arguments.keep_names).then(|| RandomState::new().hash_one(0));
    let trimmed =
        trim::run(&capture, key, io::BufWriter::new(result)).map_err(|error| format!("{file}: {error}"))?;
    eprintln!("reveille: {trimmed} in {out}");
    Ok(())
}

/// The configuration to standard output; what a person must look at to standard error
fn import(arguments: &args::Import) -> Result<(), Box<dyn std::error::Error>> {
    let now_s = Clock::new().now().as_secs();
    let imported = import::import(&arguments.file, arguments.leases.as_deref(), &interfaces(), now_s)?;
    print(&imported.text)?;
    for lost in &imported.lost {
        eprintln!("{lost}");
    }
    for note in &imported.notes {
        eprintln!("reveille: {note}");
    }
    let (file, leases) = match &imported.leases {
        Some((file, leases)) => (file.display(), leases),
        None if arguments.state_dir.is_some() => {
            return Err("dnsmasq's lease file is not there: name it with --leases".into());
        }
        None => return Ok(()),
    };
    match &arguments.state_dir {
        Some(state_dir) => {
            let stored = import::store(leases, state_dir)?;
            eprintln!(
                "reveille: {stored} of {} live leases of {file} put into {}",
                leases.len(),
                state_dir.display()
            );
        }
        None => eprintln!(
            "reveille: {file} has {} live leases: --state-dir DIRECTORY carries them over",
            leases.len()
        ),
    }
    Ok(())
}

/// What a plan boots, and what is missing
fn report(source: &Source, plan: &Arc<Plan>, settings: &Settings) -> Result<String, String> {
    let library = Library::open(&settings.images, plan).map_err(|error| error.to_string())?;
    let files = Files::new(settings.root.as_deref(), &library);
    let describe = |name: &str| library.describe(name).unwrap_or_default();
    let root = Files::new(settings.root.as_deref(), &Library::default());
    let loaders = library.loaders();
    let loader = |name: &str| loaders.describe(name).filter(|_| !root.exists(name));
    let image_args = |name: &str| library.bootable(name).map(|bootable| bootable.args.clone());
    let exists = |name: &str| files.exists(name);
    check::report(plan, settings, source.file().as_deref(), describe, exists, loader, image_args)
}
