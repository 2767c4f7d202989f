//! The wire formats against the world: real captures, an independent codec, generated values, and bad bytes.

/// `dhcproto` reads every message as we do, captured or generated.
mod agreement;
/// Captures of `pcaps/` and of other projects, opened frame by frame.
mod captures;
/// A hundred thousand damaged packets a parser: no panic.
mod mutations;
/// What we emit we parse, for every format.
mod round_trip;
