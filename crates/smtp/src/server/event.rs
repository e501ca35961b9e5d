//! What a server session asks its application, and what it is answered.

use std::time::Duration;

use address::{ForwardPath, ReversePath};
use bytes::Bytes;
use wire::{Mechanism, Secret, TlsFacts};

use crate::command::{Argument, HelloName, Verb};
use crate::parameter::{BodyType, MailParameters, RcptParameters};
use crate::reply::Reply;
use crate::xclient::ClientFacts;

/// What the application must decide or know. Where an answer is owed, the session reads nothing until it comes; any
/// answer may be a [`Told::Reply`], whose code decides what happens, and a 421 there ends the connection.
#[derive(Debug)]
pub enum Event {
    /// The connection is open, nothing has been sent.
    /// **Answer:** [`Told::Accept`] greets; `Reply` 220 greets with other words; `Reply` 554 refuses and waits for
    /// QUIT (RFC 5321 §3.1); 421 refuses and closes.
    Connected,
    /// The client talks before it was greeted, in the time of [`Config::greeting_delay`]; told once, and what it said
    /// is kept. **Answer:** `Accept`, and it is greeted when the time is over; or a refusal as of `Connected`.
    ///
    /// [`Config::greeting_delay`]: crate::server::Config::greeting_delay
    EarlyTalker,
    /// A trusted client ([`Server::trusting_xclient`](crate::server::Server::trusting_xclient)) says by XCLIENT for
    /// whom it speaks. What is known of the client and of its login is replaced by it (rule 12); a transaction is not
    /// open. **Answer:** as to `Connected`; accepted, the session begins again with a greeting, and counts as logged in
    /// where a `LOGIN` was given.
    Client(Box<ClientFacts>),
    /// TLS stands: at once on a port with implicit TLS (then before `Connected`), or after STARTTLS. What was told
    /// before it in this connection is void (RFC 3207 §4.2). **No answer.**
    Secured(TlsFacts),
    /// EHLO, HELO or LHLO. Ends a transaction, as RSET does. **Answer:** `Accept`, or a refusal.
    Hello(Hello),
    /// AUTH. **Answer:** [`Told::Challenge`], `Accept` (235 2.7.0), or a refusal (`Reply` 535 5.7.8 …).
    Authenticate {
        /// One of [`Config::mechanisms`](crate::server::Config::mechanisms).
        mechanism: Mechanism,
        /// The initial response, if there was one.
        initial_response: Option<Secret>,
    },
    /// The client's response to a challenge. **Answer:** as to `Authenticate`.
    AuthenticateResponse(Secret),
    /// The client gave up the exchange, or broke it; it has been answered. **No answer.**
    AuthenticateCancelled,
    /// VRFY, where [`Config::verify`](crate::server::Config::verify) is set. **Answer:** `Accept` (252 2.1.5: no word on
    /// it), or a `Reply`: 250 with the mailbox, 550 5.1.1, 502 5.5.1 … (RFC 5321 §3.5.3).
    Verify(Argument),
    /// EXPN, where [`Config::expand`](crate::server::Config::expand) is set. **Answer:** a `Reply`: 250 with a member
    /// in each line, 550; `Accept` is 252.
    Expand(Argument),
    /// MAIL. **Answer:** `Accept` (250 2.1.0), or a refusal. Accepted, a transaction is open until
    /// [`Event::ContentEnd`] is answered, or [`Event::Reset`] comes.
    Mail(Mail),
    /// RCPT. **Answer:** `Accept` (250 2.1.5), or a refusal, which leaves the transaction as it was.
    Recipient(Recipient),
    /// DATA, or the first BDAT, of a transaction with at least one recipient; nothing of the content has been taken.
    /// **Answer:** `Accept` (354 where DATA was sent, nothing where BDAT was), or a refusal. After a refusal of DATA the
    /// transaction stays open; after one of BDAT it is over (`Reset` follows).
    Data(DataStart),
    /// Octets of the content, transparency undone, line ends normalised where [`Config::bare_newline`] says so.
    /// **Answer:** `Accept`, which asks for more; or a refusal: the rest is read and thrown away, the refusal is
    /// sent at its end, and `Reset` follows.
    ///
    /// [`Config::bare_newline`]: crate::server::Config::bare_newline
    Content(Bytes),
    /// The content is complete. **Answer:** once what is promised is durable, [`Told::Reply`] with 250 or a refusal,
    /// or `Accept` (250 2.0.0); in LMTP [`Told::Replies`], one for each accepted recipient in their order (any other
    /// answer is repeated for each). The transaction is over.
    ContentEnd {
        /// Octets of the content as handed up.
        octets: u64,
    },
    /// The open transaction is over without an end: RSET, EHLO, a refusal of the content by the session, the end of
    /// the connection. What was gathered is to be forgotten. **No answer.**
    Reset,
    /// The session is over; nothing follows. **No answer.**
    Closed(Closed),
}

/// EHLO, HELO or LHLO.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// [`Verb::Ehlo`], [`Verb::Helo`] or [`Verb::Lhlo`].
    pub verb: Verb,
    /// What the client calls itself.
    pub name: HelloName,
}

/// MAIL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mail {
    /// Who gets reports of failure.
    pub reverse_path: ReversePath,
    /// Its parameters, each offered by this server.
    pub parameters: MailParameters,
    /// For the `with` clause of Received: `SMTP`, `ESMTP`, `ESMTPS`, `ESMTPSA`, `LMTP`, `UTF8SMTPS` …
    /// (RFC 3848, RFC 6531 §4.3).
    pub protocol: &'static str,
}

/// RCPT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recipient {
    /// The recipient.
    pub forward_path: ForwardPath,
    /// Its parameters.
    pub parameters: RcptParameters,
}

/// What is known when the content begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataStart {
    /// Whether it comes by BDAT.
    pub chunked: bool,
    /// What MAIL declared.
    pub body: BodyType,
    /// Octets as MAIL declared them.
    pub size: Option<u64>,
    /// Recipients accepted, at least 1.
    pub recipients: usize,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Closed {
    /// QUIT.
    Quit,
    /// The client closed, or the connection broke.
    Eof,
    /// The client was silent or too slow (421 4.4.2).
    TimedOut,
    /// Too many errors or idle commands (421 4.7.0).
    TooManyErrors,
    /// A limit that leaves no way to go on: content far beyond its size, transactions per connection.
    Limit,
    /// The application refused the connection, or answered 421, or told [`Told::Close`].
    Refused,
    /// Octets came in clear behind STARTTLS (rule 11).
    ClearTextBehindStartTls,
    /// The client speaks another protocol.
    ForeignProtocol,
    /// The process stops (421 4.3.2).
    Shutdown,
}

/// What the application tells.
#[derive(Debug)]
pub enum Told {
    /// Yes, in the session's own words.
    Accept,
    /// This reply; its code decides: 2yz (or 354 after DATA) is yes, 4yz and 5yz no, 421 no and goodbye.
    Reply(Reply),
    /// LMTP, after [`Event::ContentEnd`]: a reply for each accepted recipient, in their order (RFC 2033 §4.2).
    Replies(Vec<Reply>),
    /// This answer, but so much later, 100 s at most; nothing is read until then. As answer to [`Event::Connected`] it
    /// is the greeting that waits, and the client is watched as in [`Config::greeting_delay`].
    ///
    /// [`Config::greeting_delay`]: crate::server::Config::greeting_delay
    After(Duration, Box<Told>),
    /// In AUTH: octets for the client, sent as 334 in base64.
    Challenge(Vec<u8>),
    /// News: the mechanisms offered from now on. No answer to anything.
    Mechanisms(Vec<Mechanism>),
    /// News: this connection ends now, with this reply (its code becomes 421 if it is none of 421 and 5yz). Ignored
    /// while an answer to [`Event::ContentEnd`] is owed until that has been sent.
    Close(Reply),
}
