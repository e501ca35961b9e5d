//! POP3: codec, server session, client session.
//!
//! | RFC | here |
//! |---|---|
//! | 1939 | [`Command`], [`Response`], [`server::Server`], [`client::Client`]; APOP is refused: it needs the password in clear |
//! | 2449 | [`Capability`], [`ResponseCode`], pipelining, lengths of lines |
//! | 2595 | STLS (rule 11) |
//! | 3206 | `[SYS/TEMP]`, `[SYS/PERM]`, `[AUTH]` |
//! | 5034 | AUTH; the mechanisms themselves are the application's |
//! | 6856 | UTF8; LANG is neither listed nor obeyed |
//!
//! Both sessions are a [`wire::Session`]: octets, answers and time in, octets and events out.
//!
//! ```
//! # use mailwright_pop3 as pop3;
//! use pop3::{Command, Leniency, Response, ResponseCode};
//!
//! let command = Command::parse(b"top 1 10", &Leniency::default())?;
//! assert!(matches!(command, Command::Top { lines: 10, .. }));
//! let response = Response::parse(b"-ERR [AUTH] no")?;
//! assert_eq!(response.code(), Some(&ResponseCode::Auth));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod capability;
pub mod client;
mod command;
mod error;
mod limits;
mod listing;
mod parse;
mod response;
pub mod server;
mod top;

pub use capability::{Capability, Expire};
pub use command::{Command, MessageNumber, Password, UserName, Verb};
pub use error::{CommandError, ResponseError};
pub use limits::{ClientLimits, Leniency, ServerLimits};
pub use listing::{Listed, UniqueId};
pub use response::{Response, ResponseCode};
pub use top::TopCounter;
pub use wire::{InvalidValue, Mechanism};
