//! The milter protocol, version 6, as a mail system speaks it to a filter ("milter"), without I/O.
//!
//! No RFC describes it; its constants are those of libmilter's `mfdef.h`, its rules those of libmilter's documentation.
//! The mail system connects, both agree on options ([`Options`]), then each step of the SMTP dialogue is told as a
//! [`Command`] and answered by a [`Response`]; at the end of a message the filter may ask for changes first.
//!
//! | part | here |
//! |---|---|
//! | packets: length, code, data | [`Packet`], [`Framer`] |
//! | negotiation: actions, steps, macro lists | [`Options`], [`Actions`], [`Steps`], [`MacroStage`] |
//! | commands C H M R T L N B E A Q K O D U | [`Command`] |
//! | responses + 2 - a b c d e f h i m p q r s t y 4 O | [`Response`], [`Modification`], [`ReplyCode`] |
//! | the mail system's side of a connection | [`client::Client`] |
//!
//! ```
//! # use mailwright_milter as milter;
//! use milter::{Framer, Modification, Response};
//!
//! let mut input = bytes::BytesMut::from(&b"\x00\x00\x00\x05+<a>\x00"[..]);
//! let packet = Framer::new(1000).take(&mut input)?.unwrap();
//! let response = Response::parse(&packet)?;
//! let added = Modification::AddRecipient { path: "<a>".into(), parameters: None };
//! assert_eq!(response, Response::Modify(added));
//! # Ok::<(), milter::PacketError>(())
//! ```
//!
//! The filter is trusted in nothing: packets, changes, times and the number of its messages are bounded by
//! [`ClientLimits`], and what it was not allowed to ask for is refused.

pub mod client;
mod command;
mod error;
mod limits;
mod options;
mod packet;
mod response;
mod text;

pub use command::{Command, Connection, Envelope, Origin};
pub use error::PacketError;
pub use limits::ClientLimits;
pub use options::{Actions, MacroStage, Options, Steps};
pub use packet::{Framer, Packet};
pub use response::{Modification, ReplyCode, Response};
pub use text::Text;

/// The version of the protocol that is spoken here.
pub const VERSION: u32 = 6;

/// Octets of data in a packet that every filter takes (`MILTER_MAX_DATA_SIZE`), and of a piece of the body
/// (`MILTER_CHUNK_SIZE`).
pub const DATA_OCTETS: usize = 65_535;
