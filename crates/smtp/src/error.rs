//! Why a line is not a command, and why a line is not a reply.

use crate::command::Verb;
use crate::reply::Reply;

/// Why a line from the client is not a command. [`CommandError::reply`] gives the one answer (RFC 5321 §4.2.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The line, CRLF included, is longer than `limit` octets (RFC 5321 §4.5.3.1.4).
    #[error("line longer than {limit} octets")]
    LineTooLong {
        /// The limit, in octets.
        limit: usize,
    },
    /// The line does not end with CRLF, or has a CR inside (RFC 5321 §2.3.8).
    #[error("line not ended by CRLF alone")]
    LineEnding,
    /// A NUL or another control character stands in the line (RFC 5321 §4.1.2).
    #[error("control character in the line")]
    ControlCharacter,
    /// No such command.
    #[error("unknown command")]
    UnknownVerb,
    /// A command of HTTP: a browser or a proxy was led here.
    #[error("a command of another protocol")]
    ForeignProtocol,
    /// From octet `at` of the line on, the argument is not the ABNF rule `expected`.
    #[error("{verb}: expected {expected} at octet {at}")]
    Argument {
        /// The command.
        verb: Verb,
        /// Offset in the line, from 0.
        at: usize,
        /// The rule's name in its RFC.
        expected: &'static str,
    },
    /// The path of MAIL or RCPT is none (RFC 5321 §4.1.2).
    #[error("{verb}: bad path at octet {at}")]
    Path {
        /// MAIL or RCPT.
        verb: Verb,
        /// Offset in the line, from 0.
        at: usize,
    },
    /// A parameter that this server does not know or does not offer (RFC 5321 §4.1.1.11).
    #[error("{verb}: unknown parameter at octet {at}")]
    UnknownParameter {
        /// MAIL or RCPT.
        verb: Verb,
        /// Offset in the line, from 0.
        at: usize,
    },
    /// A known parameter with a value that it cannot have, or twice.
    #[error("{verb}: bad value of parameter {keyword}")]
    ParameterValue {
        /// MAIL or RCPT.
        verb: Verb,
        /// The parameter.
        keyword: &'static str,
    },
    /// A response in AUTH is no base64 (RFC 4954 §4).
    #[error("bad base64")]
    Base64,
}

impl CommandError {
    /// The answer to it.
    #[must_use]
    pub fn reply(&self) -> Reply {
        match *self {
            Self::LineTooLong { limit } => Reply::new(500, format!("5.5.2 line longer than {limit} octets")),
            Self::LineEnding => Reply::new(500, "5.5.2 a line ends with CR LF, and neither stands alone"),
            Self::ControlCharacter => Reply::new(500, "5.5.2 control characters are not allowed in a command"),
            Self::UnknownVerb => Reply::new(500, "5.5.1 command not recognised"),
            Self::ForeignProtocol => Reply::new(421, "4.7.0 this is a mail server, goodbye"),
            Self::Argument { verb, expected, .. } => Reply::new(501, format!("5.5.4 {verb}: {expected} expected")),
            Self::Path { verb: Verb::Rcpt, .. } => {
                Reply::new(501, "5.1.3 bad recipient address syntax, expected RCPT TO:<user@domain>")
            }
            Self::Path { .. } => Reply::new(501, "5.1.7 bad sender address syntax, expected MAIL FROM:<user@domain>"),
            Self::UnknownParameter { verb, .. } => {
                Reply::new(555, format!("5.5.4 {verb}: parameter not recognised or not offered here"))
            }
            // RFC 6710 §4.1
            Self::ParameterValue { verb, keyword: "MT-PRIORITY" } => {
                Reply::new(501, format!("5.5.2 {verb}: bad or repeated MT-PRIORITY parameter"))
            }
            Self::ParameterValue { verb, keyword } => {
                Reply::new(501, format!("5.5.4 {verb}: bad or repeated {keyword} parameter"))
            }
            Self::Base64 => Reply::new(501, "5.5.2 cannot decode that base64"),
        }
    }
}

/// Why what a server sent is not a reply (RFC 5321 §4.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// A line longer than `limit` octets.
    #[error("reply line longer than {limit} octets")]
    LineTooLong {
        /// The limit, in octets.
        limit: usize,
    },
    /// More than `limit` lines.
    #[error("reply of more than {limit} lines")]
    TooManyLines {
        /// The limit.
        limit: usize,
    },
    /// A line with NUL or a CR inside.
    #[error("reply line with NUL or CR inside")]
    Octets,
    /// A line that does not begin with a reply code, then a space, a hyphen or nothing.
    #[error("no reply code at the front of a line")]
    Code,
    /// Lines of one reply with codes of different first digits.
    #[error("reply of mixed codes")]
    MixedCodes,
}
