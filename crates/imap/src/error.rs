//! Why a command is none.

use crate::Tag;

/// Why a command is refused before it is obeyed. The answer is a tagged BAD, or an untagged one where no tag was found
/// (RFC 9051 §7.1.3).
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{kind}")]
pub struct CommandError {
    /// The tag, where there was one.
    pub tag: Option<Tag>,
    /// What is wrong.
    pub kind: CommandErrorKind,
}

/// What is wrong with a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandErrorKind {
    /// There is no tag.
    #[error("a command begins with a tag")]
    Tag,
    /// There is no such command.
    #[error("unknown command")]
    Unknown,
    /// The arguments are not what the command takes, from octet `at` of the command on.
    #[error("syntax error at octet {at}")]
    Syntax {
        /// Octets from the front, from 0.
        at: usize,
    },
    /// SEARCH asks for a charset that is not known (RFC 9051 §6.4.4).
    #[error("unknown charset")]
    Charset,
    /// A limit is exceeded.
    #[error("too complex: more than {limit} {what}")]
    Limit {
        /// The limit.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
}
