//! The milter protocol, the mail system's side.
