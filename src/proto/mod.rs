//! Protocol machines without I/O: a datagram, bytes or a deadline in; an [`outbox::Outbox`] out.
//!
//! `now` is an argument, bodies are `(image, offset, length)`, replies are written in place into the outbox's slots.
//! Siblings never import each other; what they share ([`outbox`], [`timer`], [`reply`], [`tally`]) is
//! listed here. [`admission`] is the shard's, above them all: whose turn it is on [`wires`] that are too narrow.

pub mod admission;
pub mod dhcp;
pub mod http;
pub mod outbox;
pub mod proxy;
pub mod reply;
pub mod tally;
pub mod tftp;
pub mod timer;
pub mod wires;
