//! What a client session tells its application, and what it is told.

use bytes::Bytes;
use wire::{Mechanism, Secret};

use crate::capability::Capability;
use crate::command::{MessageNumber, Password, UserName};
use crate::error::ResponseError;
use crate::limits::ClientLimits;
use crate::listing::UniqueId;
use crate::response::Response;

/// When STLS is used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StartTls {
    /// Never.
    Never,
    /// Where it is offered; a refusal leaves the connection in clear.
    Opportunistic,
    /// Always; without it nobody logs in (RFC 8314 §5).
    #[default]
    Required,
}

/// The settings of a client session. [`Default`] has the documented defaults.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientConfig {
    /// When STLS is used; no matter where TLS is there from the start. Default `Required`.
    pub stls: StartTls,
    /// Logins in clear are allowed; default false.
    pub allow_plaintext_auth: bool,
    /// The limits.
    pub limits: ClientLimits,
}

/// What the application must know. Only [`Event::Challenge`] and [`Event::Content`] ask for an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Greeted, TLS settled: a login may follow.
    Ready {
        /// What the server can do; none if it does not say (RFC 2449).
        capabilities: Vec<Capability>,
        /// Whether TLS is there.
        tls: bool,
    },
    /// The login is good.
    LoggedIn(Response),
    /// The login is refused; `None`: by us, since it would have gone in clear.
    LoginFailed(Option<Response>),
    /// The server's part of the exchange: [`Told::Respond`] or [`Told::Cancel`].
    Challenge(Vec<u8>),
    /// The answer to [`Told::Capabilities`].
    Capabilities(Vec<Capability>),
    /// The answer to [`Told::Stat`].
    Stat {
        /// Messages.
        messages: u64,
        /// Octets.
        octets: u64,
    },
    /// Part of the answer to [`Told::List`].
    Sizes(Vec<(MessageNumber, u64)>),
    /// Part of the answer to [`Told::UniqueIds`].
    UniqueIds(Vec<(MessageNumber, UniqueId)>),
    /// All of the answer to [`Told::List`] or [`Told::UniqueIds`] has been told.
    ListingEnd,
    /// A piece of the answer to [`Told::Retrieve`] or [`Told::Top`], without transparency: [`Told::More`], once it has
    /// been taken care of.
    Content(Bytes),
    /// That was all of it.
    ContentEnd {
        /// Its octets.
        octets: u64,
    },
    /// The answer `+OK` to any other command.
    Done(Response),
    /// The answer `-ERR` to any command but a login.
    Refused(Response),
    /// The session is over. The last event, and there is always one.
    Closed(Result<(), ClientError>),
}

/// Why a session ended before its QUIT was answered.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server greeted with `-ERR`, or said it out of the blue.
    #[error("the server says {0}")]
    Dismissed(Response),
    /// TLS is demanded, and the server does not offer it or refuses.
    #[error("the server does not offer TLS")]
    TlsUnavailable,
    /// The handshake did not come to be, or octets came in clear behind the answer to STLS (rule 11).
    #[error("the TLS handshake did not come to be")]
    Handshake,
    /// The server said what it must not.
    #[error("{0}")]
    Response(#[from] ResponseError),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Eof,
    /// The server did not answer in time.
    #[error("the server did not answer in time")]
    TimedOut,
}

/// What the application tells. Commands are answered in their order; they may be told ahead.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Told {
    /// USER, then PASS.
    Login {
        /// The name.
        user: UserName,
        /// The password.
        password: Password,
    },
    /// AUTH. An initial response that the line or the server cannot take waits for the first, empty challenge.
    Authenticate {
        /// The mechanism.
        mechanism: Mechanism,
        /// What we say at once.
        initial_response: Option<Secret>,
    },
    /// The answer to [`Event::Challenge`].
    Respond(Secret),
    /// The exchange is off.
    Cancel,
    /// CAPA: it may differ after a login.
    Capabilities,
    /// STAT.
    Stat,
    /// LIST, of one message or all.
    List(Option<MessageNumber>),
    /// UIDL, of one message or all.
    UniqueIds(Option<MessageNumber>),
    /// RETR.
    Retrieve(MessageNumber),
    /// TOP.
    Top {
        /// The message.
        message: MessageNumber,
        /// Lines of the body.
        lines: u64,
    },
    /// DELE.
    Delete(MessageNumber),
    /// NOOP.
    Noop,
    /// RSET.
    Reset,
    /// UTF8.
    Utf8,
    /// QUIT; what has been told before is finished first.
    Quit,
    /// The answer to [`Event::Content`].
    More,
}
