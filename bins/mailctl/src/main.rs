//! `mailctl`: sets up, runs and looks after a Mailwright system.

fn main() {}
