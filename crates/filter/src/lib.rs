//! What others have to say about a message on its way in, as one value that the SMTP server asks at each stage.
//!
//! | who | how | here |
//! |---|---|---|
//! | milters | the milter protocol over TCP or a Unix socket | [`MilterSettings`] |
//! | policy services | a JSON document by HTTP POST | [`HookSettings`] |
//!
//! [`Filters`] holds them for the process; [`Filters::session`] begins what they see of one SMTP connection. They are
//! asked one after the other, each seeing the changes of those before it. A filter that cannot be reached, is too slow,
//! or answers what it may not, lets the message pass, defers it or refuses it, as its settings say ([`OnFailure`]); a
//! [`Note`] tells the trace, and the log hears when a filter begins to fail and when it answers again.
//!
//! Filters are trusted in what they decide, not in how: every answer is bounded in time and octets, and no value that
//! they send can begin a header field of its own.

mod apply;
mod body;
mod facts;
mod hook;
mod milters;
mod session;
mod settings;
mod verdict;

pub use apply::{HeaderChange, apply};
pub use body::MessageBody;
pub use facts::{Facts, Mail, Rcpt};
pub use hook::{Loopback, Post};
pub use milter::MacroStage;
pub use session::{FilterSession, Filters};
pub use settings::{Address, AddressError, HookSettings, MilterSettings, OnFailure, Settings, SettingsError, Stages};
pub use verdict::{Decision, Modifications, Note, NoteKind, RecipientChange, Stage, Verdict};
