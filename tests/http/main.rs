//! The HTTP server's machine, driven byte by byte: no sockets, no clock.

mod client;
mod conditions;
mod files;
mod fragments;
mod hostile;
mod lifetime;
mod ranges;
mod reports;
mod responses;
