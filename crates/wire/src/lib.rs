//! What every mail protocol here stands on: the [`Session`] contract, CRLF framing, literals, limits and [`Secret`].
//!
//! No I/O, no clock, no runtime.

mod secret;
mod session;

pub use secret::Secret;
pub use session::{BodyCoding, Output, Session, TlsFacts};
