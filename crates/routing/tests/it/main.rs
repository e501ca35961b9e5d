//! Lookups against canned answers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod canned;
mod dane;
mod examples;
mod mx;
mod order;
mod parsers;
mod sts;
