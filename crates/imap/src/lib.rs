//! IMAP4rev1 and IMAP4rev2 without I/O: commands and responses as types, and the sessions that exchange them.
//!
//! | RFC | here |
//! |---|---|
//! | 3501 IMAP4rev1, 9051 IMAP4rev2 | [`Command`], [`parse`], [`encode`], [`server::Server`], [`client::Client`] |
//! | 2177 IDLE, 2971 ID, 3502 MULTIAPPEND, 4315 UIDPLUS, 4959 SASL-IR, 5161 ENABLE, 6851 MOVE, 7888 literals | both |
//! | 3516 BINARY, 5182 SEARCHRES, 4731 ESEARCH, 5032 WITHIN, 8514 SAVEDATE, 8970 PREVIEW, 8474 ids | [`FetchItem`], [`SearchKey`] |
//! | 5258 LIST-EXTENDED, 5819 LIST-STATUS, 6154 SPECIAL-USE, 8438 STATUS=SIZE | [`List`], [`StatusItem`] |
//! | 7162 CONDSTORE and QRESYNC, 9755 UTF8=ACCEPT | [`Select`], [`Fetch`], [`Store`], [`Mode`] |
//!
//! ```
//! # use mailwright_imap as imap;
//! use imap::{Command, Mode, parse};
//!
//! let (tag, command) = parse::command(b"a1 UID FETCH 1:* (FLAGS ENVELOPE)", Mode::default())?;
//! assert_eq!(tag.as_str(), "a1");
//! assert!(matches!(command, Command::Fetch(fetch) if fetch.uid && fetch.items.len() == 2));
//! # Ok::<(), imap::CommandError>(())
//! ```

pub mod client;
mod command;
pub mod encode;
mod error;
mod limits;
mod mailbox;
pub mod parse;
mod sequence;
pub mod server;
mod structure;

pub use command::{
    Append, Command, Copy, DateTest, Fetch, FetchItem, List, Qresync, Search, SearchKey, SearchReturn, Section,
    SectionForm, SectionText, Select, StatusItem, Store, StoreOperation, Tag,
};
pub use error::{CommandError, CommandErrorKind};
pub use limits::{MAX_ITEMS, MAX_PARTS, MAX_RANGES, MAX_SEARCH_DEPTH, MAX_SEARCH_KEYS, ServerLimits};
pub use mailbox::MailboxName;
pub use parse::Mode;
pub use sequence::{SequenceSet, print_ranges};
pub use structure::{Address, BodyStructure, Envelope, Parameters, PartKind};
