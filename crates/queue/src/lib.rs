//! When to try what: schedule, fairness, concurrency, and what the sender is told.
