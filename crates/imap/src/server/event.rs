//! What a server session asks its application, and what it is answered.

use bytes::Bytes;
use wire::{Secret, TlsFacts};

use crate::{Append, Command, Tag};

/// What the client has agreed to understand; it only ever grows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Enabled {
    /// UTF-8 in quoted strings and names: UTF8=ACCEPT or IMAP4rev2 was enabled.
    pub utf8: bool,
    /// IMAP4rev2 was enabled: ESEARCH instead of SEARCH, no RECENT.
    pub rev2: bool,
    /// CONDSTORE: FETCH responses carry MODSEQ (RFC 7162 §3.1).
    pub condstore: bool,
    /// QRESYNC: VANISHED instead of EXPUNGE (RFC 7162 §3.2.3).
    pub qresync: bool,
}

/// What the application must decide or know. The session reads nothing while an answer is owed.
#[derive(Debug)]
pub enum Event {
    /// The connection is open, nothing has been sent. **Answer:** [`Told::Accept`] greets, [`Told::Bye`] refuses.
    Connected,
    /// TLS stands: before `Connected` on a TLS port, or after STARTTLS. **No answer.**
    Secured(TlsFacts),
    /// LOGIN. **Answer:** [`Told::Accept`] (logged in) or [`Told::Refuse`].
    Login {
        /// The user name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// AUTHENTICATE. **Answer:** [`Told::Challenge`], `Accept` or `Refuse`.
    Authenticate {
        /// The mechanism, in upper case, one of those offered.
        mechanism: String,
        /// The initial response, if there was one.
        initial_response: Option<Secret>,
    },
    /// The response to a challenge. **Answer:** as to `Authenticate`.
    AuthenticateResponse(Secret),
    /// The client gave up AUTHENTICATE. **No answer.**
    AuthenticateCancelled,
    /// A command to be carried out, with its tag, which ESEARCH repeats. **Answer:** [`Told::Reply`].
    Command(Tag, Command, Enabled),
    /// What the last reply gave is on its way, and it said [`Then::More`]. **Answer:** [`Told::Reply`].
    More,
    /// A message of APPEND is announced. **Answer:** `Accept` (its octets follow), or `Refuse` (the command is over; octets
    /// that come all the same are dropped).
    Append {
        /// What stands before its octets; the mailbox only with the first message.
        append: Append,
        /// How many octets follow.
        octets: u64,
    },
    /// Octets of the message. **Answer:** `Accept`, or `Refuse`.
    AppendOctets(Bytes),
    /// The message is complete. **No answer.**
    AppendMessageEnd,
    /// APPEND is complete. **Answer:** [`Told::Reply`].
    AppendEnd(Enabled),
    /// APPEND ends before it is complete: what was gathered is to be forgotten. **No answer.**
    AppendAborted,
    /// IDLE begins: [`Told::News`] may come from now on. **Answer:** [`Told::Reply`] with what is news already; its
    /// [`Then::Done`] is not sent.
    Idle(Enabled),
    /// DONE. **Answer:** [`Told::Reply`].
    IdleDone,
    /// The session is over; nothing follows. **No answer.**
    Closed,
}

/// What the application tells.
#[derive(Debug)]
pub enum Told<B> {
    /// Yes.
    Accept,
    /// No, and the command is over.
    Refuse(Done),
    /// AUTHENTICATE: octets for the client.
    Challenge(Vec<u8>),
    /// A command's responses, or some of them.
    Reply(Vec<Piece<B>>, Then),
    /// News while the client idles: whole responses. At other times it is dropped: the next command finds it again.
    News(Bytes),
    /// The session ends now, with `* BYE` and these words.
    Bye(String),
}

/// A piece of a response.
#[derive(Debug)]
pub enum Piece<B> {
    /// Octets as they are, literals' announcements included.
    Octets(Bytes),
    /// The octets of a literal that was just announced.
    Body(B),
}

/// What follows a reply.
#[derive(Debug)]
pub enum Then {
    /// More: ask for it with [`Event::More`] once this is on its way.
    More,
    /// The command is over.
    Done(Done),
}

/// The end of a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Done {
    /// OK, NO or BAD.
    pub status: Status,
    /// The response code, without brackets.
    pub code: Option<String>,
    /// Words for a person.
    pub text: String,
    /// Whether a mailbox is selected from now on; `None`: as before.
    pub selected: Option<bool>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// OK
    Ok,
    /// NO
    No,
    /// BAD
    Bad,
}

impl Done {
    /// OK and these words.
    #[must_use]
    pub fn ok(text: impl Into<String>) -> Self {
        Self { status: Status::Ok, code: None, text: text.into(), selected: None }
    }

    /// NO and these words.
    #[must_use]
    pub fn no(text: impl Into<String>) -> Self {
        Self { status: Status::No, ..Self::ok(text) }
    }

    /// BAD and these words.
    #[must_use]
    pub fn bad(text: impl Into<String>) -> Self {
        Self { status: Status::Bad, ..Self::ok(text) }
    }

    /// With this response code.
    #[must_use]
    pub fn code(self, code: impl Into<String>) -> Self {
        Self { code: Some(code.into()), ..self }
    }

    /// After which a mailbox is selected, or none is.
    #[must_use]
    pub fn selected(self, selected: bool) -> Self {
        Self { selected: Some(selected), ..self }
    }
}
