//! What every mail protocol here stands on: the [`Session`] contract, CRLF framing, literals, limits, [`EnhancedCode`]
//! and [`Secret`].
//!
//! No I/O, no clock, no runtime.

mod body;
mod data;
mod enhanced;
mod line;
mod literal;
mod secret;
mod session;

pub use body::{BareNewline, BodyCoder, LineEnds};
pub use data::{Data, DataDecoder, DotStuffer, normalise_lines};
pub use enhanced::EnhancedCode;
pub use line::{LineEnding, LineError, LineFramer};
pub use literal::{Chunk, CommandFramer, CommandLimits, Discard, FrameError, Framed, LiteralHeader};
pub use secret::Secret;
pub use session::{BodyCoding, Output, Session, TlsFacts};
