//! Envelope.
use jiff::Timestamp;

/// The deadline that a sender set (RFC 2852).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeliverBy {
    /// When.
    pub by: Timestamp,
    /// What then.
    pub mode: DeliverByMode,
    /// Whether relaying is reported.
    pub trace: bool,
}

/// What follows when a deadline passes (RFC 2852 §4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeliverByMode {
    /// `R`: the message is returned.
    Return,
    /// `N`: the sender is told, and delivery goes on.
    Notify,
}
