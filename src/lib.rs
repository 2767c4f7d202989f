//! reveille: a network-boot server. One process wakes a whole rack.
//!
//! A machine with a PXE ROM broadcasts DHCP, learns an address, a boot server and a boot file, fetches that file by TFTP
//! (or HTTP on UEFI), and what it loaded pulls kernel and initrd by HTTP. reveille answers all of it, as the network's
//! DHCP server or beside another one (ProxyDHCP), from one configuration.
//!
//! # The map
//!
//! Arrows point down only; `tests/tidy.rs` holds the layers.
//!
//! ```text
//!               main ── args, config, check, explain, import, log
//!      ┌──────────┴───────────┐
//!    server             replay, rack          three ways to run shards; they never use each other
//!      │                      │
//!   capture                    │
//!      │                      │
//!   io, store, content     content
//!      └──────────┬───────────┘
//!           shard → proto (dhcp │ proxy │ tftp │ http) → boot → wire
//!                   leaves for all: time, limits, stats, note
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`wire`] | bytes ↔ views: Ethernet, ARP, IPv4, UDP, DHCP, PXE, TFTP, HTTP heads, capture files. No state, time or heap |
//! | [`boot`] | pure decisions: who asks ([`boot::client`]), what it gets ([`boot::plan`]), which address it holds ([`boot::lease`]), what lies behind a path ([`boot::image`]), what is written for it ([`boot::script`], [`boot::template`]), what is known of it beside the plan ([`boot::register`]) |
//! | [`proto`] | machines without I/O: a datagram, bytes or a deadline in, an [`proto::outbox::Outbox`] out |
//! | [`shard`] | one shard: owns its machines, routes events to them; the centre of the program |
//! | [`content`] | the directory tree behind the paths, its open files, its listings |
//! | [`store`] | leases that outlive the process, and who is done |
//! | [`io`] | system calls, the clock, and all `unsafe` but content's one call |
//! | [`server`] | starts and pins shards; signals, reload, drain |
//! | [`capture`] | the conversations that a server saw, as a file |
//! | [`import`] | a dnsmasq configuration as one of ours, and what it cannot carry over |
//! | [`rack`] | simulated machines that boot from a shard in virtual time, and what must hold while they do; the same machines on a wire |
//! | `heard` | what a capture holds: who asked what, and what was answered |
//! | [`trim`] | a capture cut to its boots, its machines under other names |
//! | [`replay`] | a capture through a shard, and what would have been answered otherwise |
//!
//! # The life of a packet
//!
//! 1. A driver in [`io`] takes a batch of datagrams in one call and reads the clock once.
//! 2. [`shard::Shard::on_datagram`] matches on the local port. For DHCP it parses the message once, derives
//!    [`boot::client::Client`] once, and asks [`boot::plan::Plan::answer`] once; no one else decides what a machine boots.
//! 3. The machine writes its reply in place, in a slot of the outbox; DHCP patches one that it composed for a request alike.
//!    A lease becomes a change that must be on disk before the reply leaves. TFTP and HTTP bodies are `(image, offset, length)`; the core never sees their bytes.
//! 4. The driver takes the bytes of a window from memory where they are hot (`content`'s snapshots), else from the file, and
//!    flushes the outbox once a batch: `sendmmsg`, one `UDP_SEGMENT` send a TFTP window; over HTTP a short body leaves from
//!    memory with its head, a long one by `sendfile`.
//!
//! # The words
//!
//! *Client*: who asks. *Firmware*: what its ROM is, and where it lies about itself. *Architecture*: option 93's number.
//! *Boot file* (NBP): the file or URL that a client is given. *Plan*: the compiled configuration. *Answer*: what the plan
//! says of a client. *Lease*: an address somebody holds. *Image*: what lies behind a path. *Transfer*: one TFTP download.
//! *Shard*: one event loop with all that it owns.

#![warn(missing_docs)]

pub mod args;
pub mod boot;
pub mod capture;
pub mod check;
pub mod config;
pub mod content;
pub mod explain;
mod heard;
pub mod import;
pub mod io;
pub mod limits;
pub mod log;
pub mod note;
pub mod proto;
pub mod rack;
pub mod replay;
pub mod server;
pub mod settings;
pub mod shard;
pub mod stats;
pub mod store;
pub mod time;
pub mod trim;
pub mod wire;
