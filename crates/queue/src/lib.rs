//! When to try what: schedule, fairness, concurrency, and what the sender is told.

pub mod envelope;
mod random;
mod rate;
mod schedule;
pub mod scheduler;
mod time;

pub use rate::Rate;
pub use schedule::{Case, Expiry, RetryPolicy, Standing, Trouble, Verdict};
pub use scheduler::Scheduler;
