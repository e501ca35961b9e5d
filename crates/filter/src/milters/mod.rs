//! Milters: a connection to each for every SMTP connection, and what their answers mean here.

mod changes;
mod link;
mod macros;
mod member;

pub(crate) use member::{Member, Milter};
