//! What can be wrong with a line, and whose fault it is.

use wire::LineError;

use crate::command::Verb;
use crate::response::Response;

/// Why a line from the client is not a command. [`Self::response`] gives the answer (RFC 1939 §3).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The line, CRLF included, is longer than `limit` octets (RFC 2449 §4).
    #[error("line longer than {limit} octets")]
    LineTooLong {
        /// The limit, in octets.
        limit: usize,
    },
    /// A bare CR, a bare LF or a NUL: the line is no line.
    #[error("{0}")]
    Line(LineError),
    /// The keyword is none that is known here.
    #[error("unknown command")]
    Unknown,
    /// From octet `at` of the line on, the argument is not the rule `expected`.
    #[error("{verb}: expected {expected} at octet {at}")]
    Argument {
        /// The command.
        verb: Verb,
        /// Offset in the line.
        at: usize,
        /// What should stand there.
        expected: &'static str,
    },
}

impl CommandError {
    /// The answer to it.
    #[must_use]
    pub fn response(&self) -> Response {
        match self {
            Self::Unknown => Response::err("unknown command"),
            other => Response::err(other.to_string()),
        }
    }
}

impl From<LineError> for CommandError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::TooLong { limit } => Self::LineTooLong { limit },
            other => Self::Line(other),
        }
    }
}

/// Why a line from the server is not what was due.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The line is no line, or too long.
    #[error("{0}")]
    Line(#[from] LineError),
    /// It begins with neither `+OK` nor `-ERR` (nor `+ ` during AUTH).
    #[error("no status indicator")]
    Status,
    /// What follows the status, or a line of a listing, is not the rule `expected`.
    #[error("expected {expected}")]
    Expected {
        /// What should stand there.
        expected: &'static str,
    },
    /// More lines than `limit` in a list of capabilities.
    #[error("more than {limit} capabilities")]
    TooMany {
        /// The limit, in lines.
        limit: usize,
    },
    /// A response came without a command.
    #[error("a response that nobody asked for")]
    Unasked,
}
