//! What every mail protocol here stands on: the [`Session`] contract, CRLF framing, literals, limits, [`Secret`], and the
//! words that several of them share: [`EnhancedCode`], [`Notify`], [`Ret`], [`Mechanism`], base64.
//!
//! No I/O, no clock, no runtime.

mod auth;
mod body;
mod data;
mod dsn;
mod enhanced;
mod invalid;
mod line;
mod literal;
mod secret;
mod session;

pub use auth::{Mechanism, base64_decode, put_base64};
pub use body::{BareNewline, BodyCoder, LineEnds};
pub use data::{Data, DataDecoder, DotStuffer, normalise_lines};
pub use dsn::{Notify, Ret};
pub use enhanced::EnhancedCode;
pub use invalid::InvalidValue;
pub use line::{LineEnding, LineError, LineFramer};
pub use literal::{Chunk, CommandFramer, CommandLimits, Discard, FrameError, Framed, LiteralHeader};
pub use secret::Secret;
pub use session::{BodyCoding, Output, Session, TlsFacts};
