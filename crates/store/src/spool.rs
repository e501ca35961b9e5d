//! The vocabulary of the spool: mail that could not be delivered at once, as plain values.
//!
//! What is due when, and what the octets of the parameters mean, is the business of the owner of the queue.

use bytes::Bytes;

use crate::trace::TraceEntry;
use crate::types::{ContentRef, Delivery, Placed};

/// A spool entry to be made with a delivery.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewSpool {
    /// The queue id (rule 32).
    pub queue_id: String,
    /// The reverse-path; empty for `<>`.
    pub sender: String,
    /// Envelope parameters (RET, ENVID, BODY, SMTPUTF8 …), as the owner of the queue encodes them.
    pub parameters: Vec<u8>,
    /// Its recipients.
    pub recipients: Vec<NewSpoolRecipient>,
}

/// A recipient of a spool entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewSpoolRecipient {
    /// The forward-path.
    pub address: String,
    /// What it shares with other recipients on their way: the domain in lower case, say. The spool is looked through by
    /// it, so two spellings are two destinations.
    pub destination: String,
    /// Parameters (NOTIFY, ORCPT, priority …), as the owner of the queue encodes them.
    pub parameters: Vec<u8>,
    /// When to try first, in milliseconds since 1970.
    pub due: i64,
}

/// The state of a spooled recipient.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SpoolState {
    /// Waiting for its time.
    Waiting,
    /// On hold until somebody releases it.
    Held,
}

/// A spooled recipient.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpoolRecipient {
    /// The entry's queue id.
    pub queue_id: String,
    /// Its number within the entry.
    pub number: u32,
    /// The forward-path; never changes.
    pub address: String,
    /// What it shares with other recipients on their way; may be changed by who routes it anew.
    pub destination: String,
    /// Parameters, as they were given.
    pub parameters: Vec<u8>,
    /// Waiting or held.
    pub state: SpoolState,
    /// When to try next, in milliseconds since 1970.
    pub due: i64,
    /// Attempts made.
    pub attempts: u32,
    /// What the last attempt said, as the owner of the queue encodes it.
    pub last: Vec<u8>,
    /// When it was taken from hold last, in milliseconds since 1970; 0: never.
    pub released: i64,
}

/// A spool entry.
#[derive(Clone, Debug)]
pub struct Spool {
    /// The queue id.
    pub queue_id: String,
    /// The reverse-path.
    pub sender: String,
    /// Envelope parameters.
    pub parameters: Vec<u8>,
    /// When it was accepted, in milliseconds since 1970.
    pub created: i64,
    /// Its octets.
    pub content: ContentRef,
    /// Its digest.
    pub digest: Bytes,
}

/// What it takes to send a message to some of its recipients.
#[derive(Clone, Debug)]
pub struct SpoolBatch {
    /// The entry.
    pub spool: Spool,
    /// The recipients that are there, by number.
    pub recipients: Vec<SpoolRecipient>,
    /// The octets, if there are no more than was asked for.
    pub octets: Option<Bytes>,
}

/// A destination that recipients wait for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpoolDestination {
    /// As it was given.
    pub destination: String,
    /// When the first of its recipients is due, in milliseconds since 1970.
    pub earliest_due: i64,
}

/// Which spooled recipients are meant: those that fit all that is set. The default: all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SpoolFilter {
    /// Only those behind this recipient, in the order of queue ids and numbers.
    pub after: Option<(String, u32)>,
    /// Only those whose queue id begins so.
    pub queue_id: Option<String>,
    /// Only those of this destination.
    pub destination: Option<String>,
    /// Only those with this reverse-path in any case; `@example.org` means all of that domain, the empty string `<>`.
    pub sender: Option<String>,
    /// Only those with this forward-path in any case; `@example.org` means all of that domain.
    pub recipient: Option<String>,
    /// Only those in this state.
    pub state: Option<SpoolState>,
}

/// What an operator does with spooled recipients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SpoolChange {
    /// Puts them on hold.
    Hold,
    /// Takes them from hold, which is noted in [`SpoolRecipient::released`]; they are due when they were.
    Release,
    /// They are due at that moment, in milliseconds since 1970. A hold stays.
    RetryAt(i64),
    /// Removes them; nobody is told.
    Remove,
}

impl SpoolChange {
    /// They are due at once, because an operator asks at `now`, in milliseconds since 1970. It is kept as a moment as long
    /// before 1970: before everything that the clock makes due, and before what was asked earlier. So whoever runs the
    /// queue can tell that an operator asks for it, and need not wait for a destination that is left alone.
    #[must_use]
    pub fn retry_now(now: i64) -> Self {
        Self::RetryAt(now.saturating_neg().min(0))
    }

    /// Whether what is due at that moment is what an operator asked for.
    #[must_use]
    pub fn is_asked_for(due: i64) -> bool {
        due <= 0
    }
}

/// What became of spooled recipients, and what follows from it, to be done in one transaction.
#[derive(Debug, Default)]
pub struct Settlement {
    /// Recipients that stay, as they are now.
    pub updated: Vec<SpoolRecipient>,
    /// Recipients that are done with.
    pub removed: Vec<(String, u32)>,
    /// What follows: delivery status notifications, local deliveries, new spool entries.
    pub deliveries: Vec<Delivery>,
    /// Queue ids of new entries in `deliveries` that are on hold from the first.
    pub on_hold: Vec<String>,
    /// What is to be known of it later.
    pub trace: Vec<TraceEntry>,
}

/// What a settlement did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settled {
    /// Whether it was done; if not, nothing of it was, because recipients in `gone` had been removed before.
    pub done: bool,
    /// Where the local recipients' messages are, by delivery; empty if nothing was done.
    pub placed: Vec<Vec<Placed>>,
    /// Recipients that were there no longer.
    pub gone: Vec<(String, u32)>,
    /// Updated recipients that somebody had put on hold meanwhile, and that stay so.
    pub held: Vec<(String, u32)>,
}

/// What the spool holds, in numbers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SpoolCounts {
    /// Entries.
    pub entries: u64,
    /// When the oldest of them was accepted, in milliseconds since 1970.
    pub oldest: Option<i64>,
    /// Entries by age: as many as were asked for, those older than the last bound at the end.
    pub ages: Vec<u64>,
    /// Recipients that wait.
    pub waiting: u64,
    /// Recipients on hold.
    pub held: u64,
    /// Destinations that recipients wait for or are held for.
    pub destinations: u64,
    /// Those with the most recipients, the largest first.
    pub largest: Vec<SpoolDestinationCount>,
}

/// What is there for one destination.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpoolDestinationCount {
    /// As it was given.
    pub destination: String,
    /// Recipients that wait.
    pub waiting: u64,
    /// Recipients on hold.
    pub held: u64,
}
