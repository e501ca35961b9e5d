//! What a server session asks and tells its application, and what it is told.

use std::sync::Arc;

use wire::{Mechanism, Secret, TlsFacts};

use crate::command::MessageNumber;
use crate::listing::Listed;
use crate::response::Response;

/// What the application must decide or know. Those that ask have their answers named.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// TLS is there; no answer. The time for [`Told::Mechanisms`], if they depend on it.
    Tls(TlsFacts),
    /// USER and PASS: [`Told::Maildrop`] or [`Told::Refuse`].
    Login {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// AUTH: [`Told::Maildrop`], [`Told::Refuse`] or [`Told::Challenge`].
    Authenticate {
        /// The mechanism, one of those offered.
        mechanism: Mechanism,
        /// What the client said at once.
        initial_response: Option<Secret>,
    },
    /// The client's answer to a challenge: as [`Event::Authenticate`].
    AuthenticateResponse(Secret),
    /// The exchange is off; no answer.
    AuthenticateCancelled,
    /// RETR or TOP: [`Told::Body`] or [`Told::Refuse`].
    Retrieve {
        /// The message, not marked as deleted.
        message: MessageNumber,
        /// TOP: only the header and so many lines of the body; [`TopCounter`](crate::TopCounter) counts them.
        top: Option<u64>,
        /// Whether the client takes UTF-8 (RFC 6856 §2.1); if not, a message that needs it is sent as a surrogate, or
        /// refused with [`ResponseCode::Utf8`](crate::ResponseCode::Utf8).
        utf8: bool,
    },
    /// QUIT with messages marked: remove them, then [`Told::Done`] or [`Told::Refuse`].
    Commit {
        /// The messages marked as deleted, ascending, at least one.
        deleted: Vec<MessageNumber>,
    },
    /// The session is over, and with it the hold on the maildrop; no answer. The last event, and there is always one.
    Closed(Closed),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Closed {
    /// QUIT.
    Quit,
    /// The client closed, or the connection broke: nothing was deleted (RFC 1939 §6).
    Eof,
    /// The client was silent for too long: nothing was deleted.
    TimedOut,
    /// Too many errors, or refused logins.
    TooManyErrors,
    /// The application told [`Told::Close`].
    Refused,
    /// The handshake after STLS did not come to be, or octets came in clear behind it (rule 11).
    Handshake,
    /// The client speaks another protocol.
    ForeignProtocol,
    /// The process stops.
    Shutdown,
}

/// What the application tells.
#[derive(Clone, Debug)]
pub enum Told<B> {
    /// The login is good, and this is what the maildrop holds, in order, as long as the session lasts.
    Maildrop(Arc<[Listed]>),
    /// In AUTH: octets for the client.
    Challenge(Vec<u8>),
    /// No; made negative if it is not. A login that is refused for its credentials has
    /// [`ResponseCode::Auth`](crate::ResponseCode::Auth) (RFC 3206 §5).
    Refuse(Response),
    /// The octets of the message.
    Body(B),
    /// The messages are gone.
    Done,
    /// News: the mechanisms offered from now on. No answer to anything.
    Mechanisms(Vec<Mechanism>),
    /// News: this connection ends now, with this response where one can stand; nothing is deleted, unless QUIT has
    /// been said already.
    Close(Response),
}
