//! Pure decisions: who asks, what it boots, which address it holds. No socket, file, clock or thread.
//!
//! [`plan::Plan::answer`] is the only place that decides what a machine boots; DHCP, ProxyDHCP, port 4011,
//! `explain` and `replay` all ask it.

pub mod arch;
pub mod client;
pub mod distribution;
pub mod firmware;
pub mod image;
pub mod lease;
pub mod plan;
pub mod register;
pub mod script;
pub mod template;
