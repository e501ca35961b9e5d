//! The scheduler and the reports from outside.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails its test")]

mod dsn;
mod examples;
mod fairness;
mod handing;
mod limits;
mod world;

use mailwright_queue as queue;
