//! What `mailctl` does: opening a system, setting one up, and showing that it works.

mod import;
mod init;
mod open;
mod remote;
mod sendmail;
mod trip;

pub use import::read_csv;
pub use init::{Init, Listeners, init};
pub use open::{System, open};
pub use sendmail::{SENDMAIL_NAMES, sendmail};
pub use trip::{Trip, trip};
