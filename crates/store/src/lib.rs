//! Messages, mailboxes, the spool and the accounts' rows: everything durable of a mail system. Knows no protocol.
//!
//! Octets lie in append-only segments, everything else in one SQLite index; changes are committed in groups. A positive
//! answer means that the change survives a power cut.
//!
//! ```
//! # use mailwright_store::{Embedded, NewAccount, Options, Store as _};
//! # let directory = tempfile::tempdir()?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//! let store = Embedded::open(directory.path(), &Options::default())?;
//! let ann = NewAccount {
//!     key: "ann@example.org".into(),
//!     address: "Ann@example.org".into(),
//!     quota_octets: None,
//!     credentials: Vec::new(),
//! };
//! let ids = store.add_accounts(vec![ann]).await?;
//! let inbox = store.mailbox(ids[0], "inbox").await?;
//! assert_eq!((inbox.name.as_str(), inbox.messages), ("INBOX", 0));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod api;
mod ballast;
mod body;
mod bus;
mod committer;
mod disk;
mod embedded;
mod engine;
mod error;
mod fact;
#[cfg(test)]
mod faults;
mod in_place;
mod index;
mod lock;
mod open;
mod options;
#[cfg(test)]
mod past;
#[cfg(test)]
mod power_cut;
mod readers;
mod room;
mod salvage;
mod segment;
#[cfg(test)]
mod simulated;
mod snapshot;
mod spool;
mod trace;
mod types;

pub use api::Store;
pub use body::Body;
pub use bus::Watch;
pub use disk::{Disk, File, RealDisk, Turn, Turnstile};
pub use embedded::Embedded;
pub use error::{Error, Result, What};
#[doc(hidden)]
pub use in_place::Pause;
pub use index::schema::Synchronous;
pub use lock::{MaildropLock, QueueLock};
pub use open::check;
pub use options::Options;
pub use room::RoomFact;
pub use salvage::{RECOVERED, Salvaged, salvage};
pub use segment::writer::Staged;
pub use snapshot::{Row, Snapshot};
pub use spool::*;
pub use trace::{TraceEntry, TraceKey, TraceRead};
pub use types::*;
