//! The `imapd` daemon.

fn main() {}
