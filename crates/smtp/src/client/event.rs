//! What a client session tells its application, and what it is told.

use address::{ForwardPath, ReversePath};
use wire::{Mechanism, Secret, TlsFacts};

use super::Extensions;
use crate::command::HelloName;
use crate::error::ReplyError;
use crate::limits::ClientLimits;
use crate::parameter::{MailParameters, RcptParameters};
use crate::reply::Reply;

/// Which protocol a client speaks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ClientMode {
    /// SMTP, to another system or to a submission server.
    #[default]
    Smtp,
    /// LMTP (RFC 2033).
    Lmtp,
}

/// When STARTTLS is used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum StartTls {
    /// Never.
    Never,
    /// Where it is offered; a refusal leaves the connection in clear.
    #[default]
    Opportunistic,
    /// Always; without it nothing is sent.
    Required,
}

/// The settings of a client session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientConfig {
    /// The protocol.
    pub mode: ClientMode,
    /// Our name in EHLO, HELO or LHLO.
    pub hello_name: HelloName,
    /// When STARTTLS is used; no matter where TLS is there from the start.
    pub starttls: StartTls,
    /// AUTH may be used in clear; default false.
    pub allow_plaintext_auth: bool,
    /// BDAT is used where CHUNKING is offered; default true.
    pub chunking: bool,
    /// The commands of the next transaction leave behind the content of the one before, where PIPELINING is offered and
    /// DATA is used (RFC 2920 §3.1); default true.
    pub pipeline_transactions: bool,
    /// The limits.
    pub limits: ClientLimits,
}

impl ClientConfig {
    /// The defaults.
    #[must_use]
    pub fn new(mode: ClientMode, hello_name: HelloName) -> Self {
        Self {
            mode,
            hello_name,
            starttls: StartTls::default(),
            allow_plaintext_auth: false,
            chunking: true,
            pipeline_transactions: true,
            limits: ClientLimits::default(),
        }
    }
}

/// What happened. After `Ready`, `Authenticated`, `AuthenticationFailed` and `Sent` (without a failure) it is the
/// application's turn: it tells [`Told::Authenticate`], [`Told::Send`] or [`Told::Quit`], now or later.
#[derive(Debug)]
pub enum Event {
    /// The greeting, EHLO and, where wanted, STARTTLS are behind us.
    Ready(Box<Ready>),
    /// AUTH: the server's challenge. **Answer:** [`Told::Response`] or [`Told::CancelAuthentication`].
    Challenge(Vec<u8>),
    /// AUTH succeeded.
    Authenticated(Reply),
    /// AUTH failed, with the server's reply; without one when AUTH, or the mechanism, is not offered, or only in clear.
    AuthenticationFailed(Option<Reply>),
    /// The transaction is over.
    Sent(Outcome),
    /// The session is over; nothing follows. `Err` says why it did not end with QUIT.
    Closed(Result<(), Failure>),
}

/// What is known when a session is ready.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ready {
    /// What the server offers; nothing after HELO.
    pub extensions: Extensions,
    /// The first line of the greeting.
    pub greeting: Reply,
    /// What is known of TLS, if it stands.
    pub tls: Option<TlsFacts>,
}

/// One message, to be sent to its recipients in one transaction.
#[derive(Debug)]
pub struct Transaction<B> {
    /// MAIL's path.
    pub reverse_path: ReversePath,
    /// MAIL's parameters. `size` is filled in here; SIZE, AUTH, RET, ENVID, MT-PRIORITY, and BY in mode `N`, leave only
    /// where offered; BODY, SMTPUTF8, HOLDFOR, HOLDUNTIL, BY in mode `R` and REQUIRETLS must be offered where they are
    /// asked for ([`Unsupported`]). The seconds of BY count from when the transaction is told, and what is left of
    /// them is sent (RFC 2852 §4.1.4). A report (from `<>`) goes on without REQUIRETLS if need be (RFC 8689 §5).
    pub parameters: MailParameters,
    /// The recipients, at least one, each with what RCPT says of it; DSN parameters leave only where offered. Where BY
    /// cannot go on and DSN can, DELAY is asked for (RFC 2852 §4.1.4.2).
    pub recipients: Vec<(ForwardPath, RcptParameters)>,
    /// The content, with CRLF line ends, not dot-stuffed. Unless BODY is BINARYMIME, a CR or LF that stands alone ends
    /// the connection before it is sent: [`Failure::BareNewline`] (rule 10).
    pub body: B,
    /// Octets of the content, exactly: BDAT announces them.
    pub octets: u64,
}

/// What became of a transaction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// For each recipient, in order, the reply that decided; `None` when the connection ended before one came.
    pub recipients: Vec<Option<Answer>>,
    /// Why there are recipients without answer, or why nothing was sent at all.
    pub failure: Option<Failure>,
    /// Whether all of the content was handed to the connection: then a recipient without answer may have been served.
    pub content_sent: bool,
}

/// The reply that decided about a recipient.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The command it answered.
    pub stage: Stage,
    /// The reply; positive only at [`Stage::Content`].
    pub reply: Reply,
}

/// A stage of a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The end of the content.
    Content,
}

/// Why a session, or a transaction in it, failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The greeting, or the reply to EHLO, HELO or LHLO, refused us.
    #[error("refused: {0}")]
    Refused(Reply),
    /// The server closes the connection (421).
    #[error("the server closes the connection: {0}")]
    Closing(Reply),
    /// The server closed the connection without a word.
    #[error("connection closed by the server")]
    Eof,
    /// No reply in time (RFC 5321 §4.5.3.2).
    #[error("no reply in time")]
    TimedOut,
    /// STARTTLS is demanded, and not offered or refused.
    #[error("TLS is required and not offered")]
    TlsNotOffered,
    /// Octets came in clear behind the reply to STARTTLS (rule 11).
    #[error("octets in clear behind the reply to STARTTLS")]
    InjectedOctets,
    /// What came is no reply.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// A reply that no command asked for, or of a kind that its command cannot have.
    #[error("unexpected reply: {0}")]
    Unexpected(Reply),
    /// The content has a CR or LF that is not part of a CRLF (rule 10): it was not sent whole, and never can be as it
    /// is. The connection is lost with it; transactions that waited get [`Failure::Eof`].
    #[error("a CR or LF stands alone in the content")]
    BareNewline,
    /// The time of BY in mode `R` was over before MAIL was sent (RFC 2852 §4.1.3); the session goes on.
    #[error("the time to deliver is over")]
    DeliverByPassed,
    /// The message needs what the server does not offer; nothing was sent, and the session goes on.
    #[error("the server does not offer {0:?}")]
    Unsupported(Unsupported),
}

/// What a message needs and a server may not offer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unsupported {
    /// SMTPUTF8 (RFC 6531).
    SmtpUtf8,
    /// 8BITMIME (RFC 6152).
    EightBitMime,
    /// BINARYMIME, with CHUNKING (RFC 3030).
    BinaryMime,
    /// So large a message (RFC 1870 §6.1).
    Size,
    /// FUTURERELEASE (RFC 4865), or so long a hold.
    FutureRelease,
    /// DELIVERBY (RFC 2852), or so short a time: BY in mode `R`.
    DeliverBy,
    /// REQUIRETLS (RFC 8689), or TLS itself.
    RequireTls,
    /// One more transaction in this connection (MAILMAX, RFC 9422 §4.1): it belongs into another.
    Transactions,
    /// A transaction without recipients: a mistake of the application.
    Recipients,
}

/// What the application tells.
#[derive(Debug)]
pub enum Told<B> {
    /// Begin AUTH.
    Authenticate {
        /// One of [`Extensions::auth`].
        mechanism: Mechanism,
        /// The initial response, if the mechanism has one.
        initial_response: Option<Secret>,
    },
    /// The response to a challenge.
    Response(Secret),
    /// Give up AUTH (RFC 4954 §4, `*`).
    CancelAuthentication,
    /// Send a message. At any time: it waits for its turn.
    Send(Box<Transaction<B>>),
    /// End the session when the transaction at hand is over.
    Quit,
}
