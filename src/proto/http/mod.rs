//! The HTTP/1.1 server (RFC 9110, RFC 9112): files to firmware, loaders, installers and people with a browser.
//!
//! GET and HEAD, kept connections, pipelining, ranges, conditions. It knows images by number and size and never sees a
//! byte of one: a response is a head here and a part of an image for the driver to send. What a path means is for
//! [`crate::boot::image::Images`]. It never redirects, compresses or sends chunks, since firmware understands none of it, and a
//! request that could be read two ways gets its status and the connection's end.
//!
//! - `connection`: one connection's life; `connections`: all of a shard's, with their deadlines
//! - `answer`: what a request gets; `condition`: `If-…`; `target`: URLs to paths; `response`: heads and multipart

mod answer;
mod condition;
mod connection;
mod connections;
mod response;
mod target;

pub use connection::{Connection, Output};
pub use connections::{ConnectionId, Http};
