//! The `pop3d` daemon.

fn main() {}
