//! The vocabulary of the trace: where a message has been.

use crate::types::{AccountId, ContentId};

/// One step on the way of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TraceEntry {
    /// The message's queue id (rule 32). It is short, never given twice, and sorts by time.
    pub queue_id: String,
    /// When it happened, in milliseconds since 1970.
    pub at: i64,
    /// Whom it concerns, if not the message as a whole.
    pub recipient: Option<u32>,
    /// What happened; the numbers are the caller's.
    pub kind: u8,
    /// More of it, as the caller encodes it. What is longer than [`MAX_DATA`](Self::MAX_DATA) is cut off.
    pub data: Vec<u8>,
    /// What the message can be found by from now on, besides its queue id. Not told when an entry is read.
    pub keys: Vec<TraceKey>,
}

impl TraceEntry {
    /// The most octets of `data` that are kept. Default and bound 1,024: a reply of 512 octets (RFC 5321 §4.5.3.1.5),
    /// and as much about it.
    pub const MAX_DATA: usize = 1_024;
    /// The most entries of a message that are kept: its first 500, and its last 500.
    pub const MAX_ENTRIES: usize = 1_000;
    /// The most keys of an entry that are kept: a message of 1,000 recipients with as many aliases, and some.
    pub const MAX_KEYS: usize = 2_048;
}

/// An account's client has read a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TraceRead {
    /// The message's content.
    pub content: ContentId,
    /// Whose mailbox it was read in.
    pub account: AccountId,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// As in [`TraceEntry::kind`].
    pub kind: u8,
    /// As in [`TraceEntry::data`].
    pub data: Vec<u8>,
}

impl TraceRead {
    /// The most accounts whose reading of one message is told.
    pub const MAX_READERS: usize = 128;
}

/// What a message can be found by.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum TraceKey {
    /// Its Message-ID, as the caller writes it.
    MessageId(String),
    /// The address of its sender or of a recipient, as the caller writes it (in lower case).
    Address(String),
}
