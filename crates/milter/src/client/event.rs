//! What a session tells its application, and what it is told.

use bytes::Bytes;

use crate::{
    Actions, ClientLimits, Connection, Envelope, MacroStage, Modification, PacketError, ReplyCode, Steps, Text,
};

/// The settings of a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientConfig {
    /// What a filter may ask for; default all.
    pub actions: Actions,
    /// Which steps a filter may opt out of or into; default all.
    pub steps: Steps,
    /// The macros told at a stage to a filter that names none: names without braces.
    pub macros: Vec<(MacroStage, Vec<String>)>,
    /// The limits.
    pub limits: ClientLimits,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self { actions: Actions::ALL, steps: Steps::ALL, macros: default_macros(), limits: ClientLimits::default() }
    }
}

/// The macros that Postfix tells by default, and who the client is, which Sendmail tells there and most filters ask.
fn default_macros() -> Vec<(MacroStage, Vec<String>)> {
    let table: [(MacroStage, &[&str]); 7] = [
        (
            MacroStage::Connect,
            &["j", "daemon_name", "daemon_addr", "v", "_", "client_name", "client_ptr", "client_addr", "client_port"],
        ),
        (MacroStage::Hello, &["tls_version", "cipher", "cipher_bits", "cert_subject", "cert_issuer"]),
        (MacroStage::Mail, &["i", "auth_type", "auth_authen", "auth_author", "mail_addr", "mail_host", "mail_mailer"]),
        (MacroStage::Recipient, &["i", "rcpt_addr", "rcpt_host", "rcpt_mailer"]),
        (MacroStage::Data, &["i"]),
        (MacroStage::EndOfHeader, &["i"]),
        (MacroStage::End, &["i"]),
    ];
    table.into_iter().map(|(stage, names)| (stage, names.iter().map(|name| (*name).to_owned()).collect())).collect()
}

/// Names and values that are known of a connection or message; names without braces. The session tells those that the
/// filter wants.
pub type Macros = Vec<(String, Text)>;

/// A step of the SMTP dialogue.
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
    /// A command that is not known.
    Unknown,
    /// A header field.
    Header,
    /// The end of the header.
    EndOfHeader,
    /// A piece of the body.
    Body,
    /// The end of the message.
    End,
}

/// What the application tells.
#[derive(Clone, Debug)]
pub enum Told {
    /// A step, and the macros that are known. It is answered by [`Event::Answer`], always; the next is told after that.
    Step(Step, Macros),
    /// The message is given up (RSET, or the client is gone). There is no answer.
    Abort,
    /// The SMTP connection has ended, and another will be told on this one. There is no answer. A filter that cannot
    /// (versions below 6) gets [`Told::Quit`] instead.
    NextConnection,
    /// End the session.
    Quit,
}

/// A step and what is known of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Who connected.
    Connect(Connection),
    /// The argument of HELO or EHLO.
    Hello(Text),
    /// MAIL.
    Mail(Envelope),
    /// RCPT.
    Recipient {
        /// Its path and parameters.
        envelope: Envelope,
        /// Whether the mail system refused it; a filter hears of it if it asked to, and its answer counts for nothing.
        refused: bool,
    },
    /// DATA.
    Data,
    /// A command that is not known, as it came.
    Unknown(Text),
    /// A header field.
    Header {
        /// Its name.
        name: Text,
        /// All between the colon and the last line's CRLF, as in the message.
        value: Bytes,
    },
    /// The end of the header.
    EndOfHeader,
    /// Octets of the body, any number: they are told in pieces that the protocol allows.
    Body(Bytes),
    /// The end of the message.
    End,
}

impl Step {
    /// Which step it is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::Connect(_) => Stage::Connect,
            Self::Hello(_) => Stage::Hello,
            Self::Mail(_) => Stage::Mail,
            Self::Recipient { .. } => Stage::Recipient,
            Self::Data => Stage::Data,
            Self::Unknown(_) => Stage::Unknown,
            Self::Header { .. } => Stage::Header,
            Self::EndOfHeader => Stage::EndOfHeader,
            Self::Body(_) => Stage::Body,
            Self::End => Stage::End,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// Both sides agree. It is the application's turn.
    Ready(Negotiated),
    /// What the filter wants changed, in its order; comes before the answer to [`Step::End`] that lets the message pass.
    /// A new body comes last, in pieces; one of no octets leaves none. Values of header fields are all that comes behind the colon.
    Changes(Vec<Modification>),
    /// The answer to the step that was told.
    Answer(Stage, Answer),
    /// The session is over; the last event.
    Closed(Result<(), Failure>),
}

/// What both sides agreed on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Negotiated {
    /// The version of the protocol, 2 to 6.
    pub version: u32,
    /// What the filter may ask for.
    pub actions: Actions,
    /// What it does not hear or answer.
    pub steps: Steps,
    /// The macros it asked for, without braces.
    pub macros: Vec<(MacroStage, Vec<String>)>,
}

/// The answer to a step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Go on. Also the answer of a filter that was not asked.
    Continue,
    /// Accepted: the connection (after connect and HELO) or the message. Later steps of it are not told to the filter.
    Accept,
    /// Refused: the connection (connect), the command (HELO, unknown), the recipient, or the message.
    Reject,
    /// The same, for now.
    TempFail,
    /// The same, with a reply.
    Reply(ReplyCode),
    /// Accept the message and throw it away.
    Discard,
    /// Enough of the body was seen; more of it is not told.
    Skip,
    /// Answer 421 and close the SMTP connection.
    Shutdown,
    /// Close the SMTP connection.
    ConnectionFailed,
}

/// Why a session failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The filter closed the connection.
    #[error("connection closed by the filter")]
    Eof,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// What came is no response.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// A version that is not spoken here.
    #[error("protocol version {0} is not spoken here")]
    Version(u32),
    /// The filter chose actions or steps that were not offered.
    #[error("the filter demands what is not offered: actions {actions:?}, steps {steps:?}")]
    NotOffered {
        /// The actions.
        actions: Actions,
        /// The steps.
        steps: Steps,
    },
    /// A response that was not asked for, or that the step cannot have.
    #[error("unexpected response 0x{code:02x}")]
    Unexpected {
        /// Its code.
        code: u8,
    },
    /// A change of a kind that was not agreed on.
    #[error("change 0x{code:02x} was not agreed on")]
    NotAgreed {
        /// Its code.
        code: u8,
    },
    /// More changes, or larger ones, than are allowed.
    #[error("more changes than are allowed")]
    TooManyChanges,
    /// The application told something out of turn: a mistake of ours.
    #[error("told out of turn")]
    OutOfTurn,
}
