//! The SMTP sessions and codec from outside.

#![expect(clippy::panic, reason = "a helper that panics fails its test")]

mod application;
mod client_limits;
mod codec;
mod drive;
mod pair;
mod rules;
mod server_limits;
mod transcripts;

use mailwright_smtp as smtp;
