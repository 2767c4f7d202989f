//! Kickstart, preseed and cloud-init files: texts that are written for each machine when it asks for them.
//!
//! A template is a file, or a folder of files, in Jinja's syntax (minijinja). Its texts lie below its name:
//!
//! ```text
//!   /ks/88-99-aa-bb-cc-dd.cfg   /ks.cfg                 [template.ks] file = …: for a machine by name, for who asks
//!   /seed/node-01/user-data     /seed/user-data         [template.seed] dir = …: the same
//! ```
//!
//! All of it is compiled with the plan: no file is read when a machine asks. A text is whole or it is none: a value that is
//! not there, or too much work, is an error. What a template may cost is bounded by fuel, which pays for its time and for its memory.

mod included;
mod path;
mod problems;
#[cfg(test)]
mod tests;
mod variables;

use std::borrow::Cow;
use std::error::Error as _;
use std::fmt;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

use super::plan::{Plan, Who};
use crate::limits::{TEMPLATE_DEPTH_MAX, TEMPLATE_FUEL, TEMPLATE_OUTPUT_MAX};

pub use included::{Included, included};
pub use path::{Asked, name_of};
pub use problems::{Problem, problems};
pub use variables::is_own;

/// The templates of a plan
#[derive(Debug)]
pub struct Templates {
    /// Each by its template's name, a slash, and its path in the folder
    sources: Environment<'static>,
    sets: Vec<Set>,
}

/// One `[template.NAME]`
#[derive(Clone, Debug)]
pub struct Set {
    /// Its name, the first part of the paths
    pub name: String,
    /// The folder that its files lie in
    pub folder: PathBuf,
    /// What is served of it
    pub serves: Serves,
}

/// What of a template's folder is served
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serves {
    /// This file, whatever it is called in the path
    File(String),
    /// These files, by their names
    Files(Vec<String>),
}

impl Set {
    /// The paths of its texts for who has that name; empty: for who asks
    pub fn paths(&self, name: &str) -> Vec<String> {
        let folder = if name.is_empty() { self.name.clone() } else { format!("{}/{name}", self.name) };
        match &self.serves {
            Serves::File(_) => vec![folder],
            Serves::Files(files) => files.iter().map(|file| format!("{folder}/{file}")).collect(),
        }
    }
}

/// Why a template gives no text: where, and what is wrong
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The file
    pub file: PathBuf,
    /// Its line; 0: the whole of it
    pub line: usize,
    /// What is wrong
    pub what: String,
    /// It lacks a value, which another machine may have
    pub is_undefined: bool,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.what),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.what),
        }
    }
}

impl Default for Templates {
    fn default() -> Self {
        let mut sources = Environment::new();
        sources.set_undefined_behavior(UndefinedBehavior::Strict);
        // A kickstart file is no HTML.
        sources.set_auto_escape_callback(|_| AutoEscape::None);
        sources.set_fuel(Some(TEMPLATE_FUEL));
        sources.set_recursion_limit(TEMPLATE_DEPTH_MAX);
        // Else an error does not say which value is not there.
        sources.set_debug(true);
        // As Ansible has it: a line with nothing but a block leaves no line behind.
        let mut syntax = SyntaxConfig::builder();
        syntax.keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true);
        sources.set_syntax(syntax.build().expect("the usual delimiters, which are apart"));
        // What is included lies in the same template's folder.
        sources.set_path_join_callback(|name, parent| {
            let set = parent.split('/').next().unwrap_or_default();
            Cow::Owned(format!("{set}/{}", name.trim_start_matches("./")))
        });
        Self { sources, sets: Vec::new() }
    }
}

impl Templates {
    /// Compiles a template's files, each by its path in the folder
    ///
    /// # Errors
    /// What is wrong with the first that does not compile.
    pub fn add(&mut self, set: Set, files: Vec<(String, String)>) -> Result<(), TemplateError> {
        for (path, text) in files {
            let key = format!("{}/{path}", set.name);
            self.sources
                .add_template_owned(key, text)
                .map_err(|error| error_of(&set.folder, &path, &error))?;
        }
        self.sets.push(set);
        Ok(())
    }

    /// Each `[template.NAME]`
    pub fn sets(&self) -> &[Set] {
        &self.sets
    }

    /// Where the file of a text lies
    pub fn file(&self, asked: &Asked<'_>) -> PathBuf {
        asked.set.folder.join(asked.file)
    }

    /// Writes a text; `image_args` are the arguments of the image of that name, as far as it boots
    ///
    /// # Errors
    /// Why there is none, for the operator.
    pub fn render(
        &self,
        asked: &Asked<'_>,
        plan: &Plan,
        who: &Who<'_>,
        image_args: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, TemplateError> {
        let failed = |error: Error| error_of(&asked.set.folder, asked.file, &error);
        let template =
            self.sources.get_template(&format!("{}/{}", asked.set.name, asked.file)).map_err(failed)?;
        let text = template.render(variables::of(plan, who, image_args)).map_err(failed)?;
        if text.len() > TEMPLATE_OUTPUT_MAX {
            let what = format!("the text takes {} bytes; {TEMPLATE_OUTPUT_MAX} are the most", text.len());
            return Err(TemplateError { file: self.file(asked), line: 0, what, is_undefined: false });
        }
        Ok(text)
    }
}

/// The innermost error: what includes another file only says that it failed
fn error_of(folder: &Path, path: &str, error: &Error) -> TemplateError {
    let mut inner = error;
    while let Some(source) = inner.source().and_then(|source| source.downcast_ref::<Error>()) {
        inner = source;
    }
    // Its name begins with the template's.
    let path = inner.name().and_then(|name| name.split_once('/')).map_or(path, |(_, path)| path);
    let what = match (inner.kind(), inner.detail()) {
        (ErrorKind::OutOfFuel, _) => "it takes too much time or memory: it is given up".to_owned(),
        (ErrorKind::UndefinedError, Some(detail)) => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    let is_undefined = inner.kind() == ErrorKind::UndefinedError;
    TemplateError { file: folder.join(path), line: inner.line().unwrap_or(0), what, is_undefined }
}
