//! What `mailctl` does: opening a system, setting one up, showing that it works, and looking after its mail.

mod import;
mod init;
mod open;
mod remote;
mod sendmail;
mod spooled;
mod story;
mod trip;
mod words;

pub use import::read_csv;
pub use init::{Init, Listeners, init};
pub use open::{System, check, open, salvage};
pub use sendmail::{SENDMAIL_NAMES, sendmail};
pub use spooled::{Act, Acted, Selection, act, list, show, summary};
pub use story::{Wanted, tell};
pub use trip::{Trip, trip};
