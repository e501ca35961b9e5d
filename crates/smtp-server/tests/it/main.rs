//! What an SMTP server does: in its sessions, over a real store, and besides them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod filters;
mod forwarding;
mod lmtp;
mod pickup;
mod relaying;
mod world;
