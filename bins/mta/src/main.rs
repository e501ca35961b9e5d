//! The `mta` daemon.

fn main() {}
