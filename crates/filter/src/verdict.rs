//! What filters decide, and what is kept of it.

use std::fmt;
use std::sync::Arc;

use address::{ForwardPath, ReversePath};
use bytes::Bytes;
use smtp::{MailParameters, RcptParameters, Reply};

use crate::HeaderChange;

/// A stage of the SMTP dialogue at which filters are asked.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// The connection.
    Connect,
    /// HELO or EHLO.
    Hello,
    /// MAIL.
    Mail,
    /// RCPT.
    Recipient,
    /// DATA.
    Data,
    /// The whole message.
    Message,
}

impl Stage {
    /// Its name in settings, documents and log lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Hello => "hello",
            Self::Mail => "mail",
            Self::Recipient => "recipient",
            Self::Data => "data",
            Self::Message => "message",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the filters say at a stage.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Nothing against it.
    Continue,
    /// Nothing against it, and nobody who wants to hear more of this message.
    Accept,
    /// Refuse the connection, the command, the recipient or the message with this reply, 5yz.
    Reject(Reply),
    /// The same for now, 4yz; 421 closes the connection.
    TempFail(Reply),
    /// Answer as if all were well, and throw the message away.
    Discard,
    /// Take the message, but put it aside for a person to look at; and why.
    Quarantine(String),
    /// Take the message, but hold it in the queue until it is released; and why.
    Hold(String),
}

impl Verdict {
    /// Whether the message, or what was asked for, is refused.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Reject(_) | Self::TempFail(_))
    }
}

/// What filters want changed, in the order of the filters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Modifications {
    /// Changes to the header: a list for each filter that has any, which counts fields as they stood before it
    /// ([`crate::apply`]).
    pub header: Vec<Vec<HeaderChange>>,
    /// A new body in pieces, instead of the old one.
    pub body: Option<Vec<Bytes>>,
    /// Another sender, and RET and ENVID (RFC 3461 §4) where they are to be others.
    pub sender: Option<(ReversePath, MailParameters)>,
    /// Recipients to add and delete, in order.
    pub recipients: Vec<RecipientChange>,
}

impl Modifications {
    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.header.is_empty() && self.body.is_none() && self.sender.is_none() && self.recipients.is_empty()
    }
}

/// A change to the recipients.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RecipientChange {
    /// One more.
    Add(ForwardPath, RcptParameters),
    /// One less.
    Delete(ForwardPath),
}

/// What the filters decided about a whole message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// Whether and how it is taken.
    pub verdict: Verdict,
    /// What is changed; nothing for a message that is not taken.
    pub modifications: Modifications,
    /// Who said what since MAIL, for the trace.
    pub notes: Vec<Note>,
}

/// Who decided what and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// The filter's name in the settings.
    pub filter: Arc<str>,
    /// Where.
    pub stage: Stage,
    /// What.
    pub kind: NoteKind,
    /// Why, in words: a reply, a reason, a failure.
    pub text: String,
}

/// What a note tells.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum NoteKind {
    /// The filter accepted without wanting to hear more.
    Accepted,
    /// It refused.
    Rejected,
    /// It refused for now.
    Deferred,
    /// It had the message thrown away.
    Discarded,
    /// It had the message put aside.
    Quarantined,
    /// It had the message held.
    Held,
    /// It changed the message.
    Changed,
    /// It asked for a change that makes no sense, which was not made.
    Ignored,
    /// It failed; its settings decided.
    Failed,
}

impl NoteKind {
    /// One word for traces and log lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Deferred => "deferred",
            Self::Discarded => "discarded",
            Self::Quarantined => "quarantined",
            Self::Held => "held",
            Self::Changed => "changed",
            Self::Ignored => "ignored",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.filter, self.kind.as_str(), self.stage)?;
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}
