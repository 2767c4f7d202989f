//! The outside: sockets, files, the clock. The only system calls of the program but content's, and the only `unsafe`.
//!
//! ```text
//!   socket, packet ─▶ sockets          opened before anything is served, with errors that say the way out
//!                        │
//!   kernel: wait ─▶ receive ─▶ Shard ─▶ outbox ─▶ held ─▶ flush ─▶ stage ─▶ send
//!             └────▶ stream ──▶ Shard ─▶ sendfile
//! ```
//!
//! - [`driver`]: one shard's loop; `kernel`: what it waits and receives by, `epoll` or [`uring`]; [`sockets`]: what it reads and writes; [`clock`]: its time
//! - `receive`: what a datagram or frame is to the shard; `held`: replies that wait for the disk
//! - `flush`: which socket each reply leaves by and how windows are cut (pure: another driver makes the same messages);
//!   `stage`: the bytes of blocks, read from their files; `send`: the calls, and what to do when the kernel has no room
//! - `stream`: TCP connections
//! - [`socket`], [`packet`], `occupant`: opening, and saying who else has a port; [`interfaces`]: what there is
//! - [`frames`]: the frames of simulated machines on one interface
//! - [`notes`]: decisions on their way to the log; [`tap`]: conversations on their way to a capture; [`process`]: processors and limits; `sys`: the system calls
//!
//! It decides nothing about protocols, and nothing above [`crate::shard`] is known here.

pub mod clock;
pub mod driver;
mod epoll;
mod flush;
pub mod frames;
mod held;
pub mod interfaces;
mod kernel;
pub mod notes;
mod occupant;
mod pace;
pub mod packet;
mod receive;
mod send;
pub mod socket;
pub mod sockets;
mod stage;
mod stream;
mod sys;
pub mod tap;
pub mod uring;

pub use sys::process;
