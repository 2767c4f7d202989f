//! `reveille rack`: simulated machines boot from the production shard in virtual time, or on a wire from any server.
//!
//! Each machine is the model of a firmware: it sends what the firmware sends, keeps its timers and retry counts, refuses what
//! it refuses, and compares every byte that it loads. It knows frames and time as plain values; two drivers carry them:
//!
//! - `world`: between the machines and the shard lie a switch whose faults a seed decides, other people's DHCP servers, and a relay.
//!   After each event it is checked that no address is given twice, nothing is sent that its client must refuse, and nothing is sent
//!   again without need; at the end, that all have booted and nothing of them is left. The same seed gives the same run, event by
//!   event. It opens no socket and reads no clock.
//! - [`wire`]: a packet socket of [`crate::io::frames`], the real clock, and whatever server is there.
//!
//! DHCP, ARP, IPv4, UDP and TCP are smoltcp's, never [`crate::wire`]'s: a mistake in our codec must not cancel itself out.
//!
//! - `firmware`: the models; `clone`: a captured boot in a model's place; `machine`: what they run on
//! - `step`, `outcome`: what a machine does next, and what that came to; `reach`: how its clients reach the world; `card`: its ARP
//! - `dhcp`, `tftp`, `http`: its clients; `connections`: its TCP on a wire; `message`, `frames`: their codecs; `expected`: what the bytes
//!   that they load are held against
//! - `host`: the shard's kernel and disk; `other`: another DHCP server, a relay; `link`: the wires; `site`: plan and files
//! - `check`: what must hold; `bug`: mistakes put in to see that they are found; `report`: how it went; [`command`], `board`: what the user sees

mod board;
mod bug;
mod card;
mod check;
mod clone;
pub mod command;
mod connections;
mod dhcp;
mod expected;
mod firmware;
mod frames;
mod host;
mod http;
mod link;
mod machine;
mod message;
mod other;
mod outcome;
mod random;
mod reach;
mod report;
mod site;
mod step;
mod tftp;
pub mod wire;
mod world;

pub use bug::Bug;
pub use check::Violation;
pub use expected::Checked;
pub use firmware::Model;
pub use link::Faults;
pub use outcome::Failure;
pub use reach::Retries;
pub use report::{Board, Report};
pub use site::{Files, Segment, Site, files};
pub use step::Stage;
pub use world::{Rack, Setup};
