//! SMTP and LMTP, both sides, without I/O: commands, replies, and the sessions that exchange them.
//!
//! | RFC | here |
//! |---|---|
//! | 5321 SMTP, 6409 submission, 2033 LMTP | [`Command`], [`Reply`], [`server::Server`], [`client::Client`] |
//! | 2034, 3463, 5248 enhanced status codes | [`EnhancedCode`] |
//! | 1870 SIZE, 6152 8BITMIME, 6531 SMTPUTF8, 2920 PIPELINING, 9422 LIMITS | both sessions |
//! | 3030 CHUNKING and BINARYMIME | both sessions |
//! | 3207 STARTTLS, 4954 AUTH | both sessions; the SASL exchange itself is the application's |
//! | 4865 FUTURERELEASE, 2852 DELIVERBY, 6710 MT-PRIORITY, 8689 REQUIRETLS | both sessions, by setting |
//! | 1985 ETRN | refused |
//! | XCLIENT, Postfix's extension | the server, for clients that the application trusts |
//! | 3461 DSN, 6533 | parameters understood and kept; offered when [`server::Config::dsn`] says so |
//!
//! ```
//! # use mailwright_smtp as smtp;
//! use smtp::{Command, Leniency, Verb};
//!
//! let command = Command::parse(b"MAIL FROM:<ann@client.example> SIZE=5000", &Leniency::default())?;
//! assert_eq!(command.verb(), Verb::Mail);
//! let error = Command::parse(b"MAIL FROM:<ann@@example>", &Leniency::default()).unwrap_err();
//! assert_eq!(error.reply().code(), 501);
//! # Ok::<(), smtp::CommandError>(())
//! ```
//!
//! Octets are trusted in nothing: every length is bounded by [`ServerLimits`] or [`ClientLimits`], and errors carry
//! facts, never the peer's octets.

pub mod client;
mod command;
mod drop_file;
mod error;
mod limits;
mod parameter;
mod parse;
mod reply;
mod schedule;
pub mod server;
mod xclient;

pub use command::{Argument, Command, HelloName, Verb};
pub use drop_file::{DropError, DropFile, DropLimits};
pub use error::{CommandError, ReplyError};
pub use limits::{ClientLimits, Leniency, ServerLimits};
pub use parameter::{BodyType, MailParameters, OriginalRecipient, RcptParameters, Xtext};
pub use reply::{REPLY_LINE_OCTETS, Reply, Severity};
pub use schedule::{ByMode, DeliverBy, Hold, Priority, UtcTime};
pub use wire::{EnhancedCode, InvalidValue, Mechanism, Notify, Ret};
pub use xclient::{Attribute, ClientFacts};
