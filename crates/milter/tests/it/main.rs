//! The milter protocol from outside.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod codec;
mod drive;
mod session;
mod slow;

use mailwright_milter as milter;
