//! The configuration: a TOML text or flags → [`Plan`](crate::boot::plan::Plan) and [`Settings`](crate::settings::Settings), checked, or everything that is wrong with it.
//!
//! ```text
//! text ── text.rs ──┐
//!                   ├─ Model (values with their places) ── compile.rs ── Plan + Settings │ Errors
//! flags ─ flags.rs ─┘
//! ```
//!
//! Only `source.rs` and `templates.rs` open files and ask the system; to the rest, interfaces and the files below the root are arguments.

mod compile;
mod errors;
mod flags;
mod model;
mod networks;
mod options;
mod source;
mod table;
mod templates;
mod text;
mod values;

pub use errors::Errors;
pub use source::{Files, Source};
pub use values::{LEASE_INFINITE, arch, hex, loader, mode_name, uuid};

#[cfg(test)]
mod template_tests;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
