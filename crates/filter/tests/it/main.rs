//! Filters from outside: milters and policy services played by the tests, on loopback.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod failures;
mod hooks;
mod milters;
mod played;
mod real;

use mailwright_filter as filter;
