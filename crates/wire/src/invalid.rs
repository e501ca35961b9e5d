//! A value that no protocol could print.

/// Why octets or text are not a value of the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a {rule}")]
pub struct InvalidValue {
    /// The name of the ABNF rule that they do not follow.
    pub rule: &'static str,
}
