//! The SMTP sessions and codec from outside.

#![expect(clippy::panic, reason = "a helper that panics fails its test")]

mod application;
mod client_limits;
mod codec;
mod drive;
mod hostile_servers;
mod pair;
mod round_trips;
mod rules;
mod server_limits;
mod transcripts;

use mailwright_smtp as smtp;
