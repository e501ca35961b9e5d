//! The vocabulary: accounts, mailboxes, messages, spool entries, as plain values.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::spool::NewSpool;
use crate::trace::TraceEntry;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id! {
    /// An account. Never given again, even after the account is removed (rule 8).
    AccountId
}
id! {
    /// A mailbox; keeps its id when renamed (MAILBOXID of RFC 8474).
    MailboxId
}
id! {
    /// The octets of a message; shared by its copies (EMAILID of RFC 8474).
    ContentId
}

/// A domain that mail is received for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Domain {
    /// Its name in lower-case A-label form.
    pub name: String,
    /// The address that gets what nobody else does.
    pub catch_all: Option<String>,
}

/// An account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// The canonical key of its address, unique.
    pub key: String,
    /// Its address as it was given.
    pub address: String,
    /// Whether it may log in and receive mail.
    pub enabled: bool,
    /// The most octets it may hold; `None`: no limit.
    pub quota_octets: Option<u64>,
    /// The octets it holds.
    pub used_octets: u64,
    /// The messages it holds.
    pub used_messages: u64,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Further sender addresses or domains (`@example.org`) that it may use (rule 16).
    pub grants: Vec<String>,
    /// Password hashes and verifiers by kind; opaque here.
    pub credentials: Vec<(String, Vec<u8>)>,
}

/// An account to be made. Its INBOX, Drafts, Sent, Junk, Trash and Archive come with it (rule 19).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewAccount {
    /// The canonical key of its address.
    pub key: String,
    /// Its address as given.
    pub address: String,
    /// The most octets it may hold.
    pub quota_octets: Option<u64>,
    /// Password hashes and verifiers by kind.
    pub credentials: Vec<(String, Vec<u8>)>,
}

/// One change of an account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AccountChange {
    /// Allow or refuse logins and mail.
    Enabled(bool),
    /// Set or lift the quota, in octets.
    Quota(Option<u64>),
    /// Set (or with `None` remove) the credential of a kind.
    Credential(String, Option<Vec<u8>>),
    /// Replace all credentials.
    Credentials(Vec<(String, Vec<u8>)>),
    /// Set credentials as long as another still is what it was; `Conflict` if it is not.
    Upgrade {
        /// The kind and value that must still be there.
        known: (String, Vec<u8>),
        /// What is set then.
        credentials: Vec<(String, Vec<u8>)>,
    },
    /// Replace the sender grants.
    Grants(Vec<String>),
}

/// An alias: an address that leads to others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Alias {
    /// The canonical key of its address, or `postmaster` without a domain.
    pub key: String,
    /// Its targets, in the order they were added.
    pub targets: Vec<String>,
}

/// The special use of a mailbox (RFC 6154 §2).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SpecialUse {
    /// `\All`
    All,
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Flagged`
    Flagged,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl SpecialUse {
    /// Every special use, with its name (without the backslash).
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::All, "All"),
        (Self::Archive, "Archive"),
        (Self::Drafts, "Drafts"),
        (Self::Flagged, "Flagged"),
        (Self::Junk, "Junk"),
        (Self::Sent, "Sent"),
        (Self::Trash, "Trash"),
    ];

    /// Its name, without the backslash.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(special_use, _)| *special_use == self).map_or("", |(_, name)| name)
    }

    /// The special use of that name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(special_use, _)| *special_use)
    }
}

/// A mailbox and its counts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mailbox {
    /// Its id.
    pub id: MailboxId,
    /// Whose it is.
    pub account: AccountId,
    /// Its name in NFC with `/` between levels; the inbox is `INBOX`.
    pub name: String,
    /// UIDVALIDITY (RFC 9051 §2.3.1.1).
    pub uid_validity: u32,
    /// The UID that the next message will get, at least.
    pub uid_next: u32,
    /// HIGHESTMODSEQ (RFC 7162 §3.1.2.1).
    pub mod_seq: u64,
    /// Its messages.
    pub messages: u32,
    /// Those without `\Seen`.
    pub unseen: u32,
    /// Those with `\Deleted`.
    pub deleted: u32,
    /// Their octets, prefixes included.
    pub octets: u64,
    /// What it is for.
    pub special_use: Option<SpecialUse>,
    /// Whether the account subscribes to its name.
    pub subscribed: bool,
}

/// Flags as bits: five system flags, then the mailbox's keywords by their number.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Flags(pub u64);

impl Flags {
    /// `\Seen`
    pub const SEEN: Self = Self(1);
    /// `\Answered`
    pub const ANSWERED: Self = Self(1 << 1);
    /// `\Flagged`
    pub const FLAGGED: Self = Self(1 << 2);
    /// `\Deleted`
    pub const DELETED: Self = Self(1 << 3);
    /// `\Draft`
    pub const DRAFT: Self = Self(1 << 4);
    /// The bits of the system flags.
    pub const SYSTEM: Self = Self(0x1f);
    /// The most keywords a mailbox can have.
    pub const MAX_KEYWORDS: usize = 58;

    /// The bit of the keyword with this number.
    #[must_use]
    pub fn keyword(number: usize) -> Self {
        Self(1_u64.checked_shl(5 + u32::try_from(number).unwrap_or(u32::MAX)).unwrap_or(0))
    }

    /// Whether all of `other` are set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The numbers of the keywords that are set.
    pub fn keywords(self) -> impl Iterator<Item = usize> {
        (0..Self::MAX_KEYWORDS).filter(move |number| self.contains(Self::keyword(*number)))
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How flags change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FlagOperation {
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
    /// `FLAGS`
    Replace,
}

/// Flags as they are given: system flags as bits, keywords by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FlagNames {
    /// The system flags.
    pub system: Flags,
    /// The keywords, in any case.
    pub keywords: Vec<String>,
}

/// A moment with the zone it was told in (INTERNALDATE).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ZonedTime {
    /// Seconds since 1970 in UTC.
    pub unix: i64,
    /// Minutes east of UTC.
    pub offset_minutes: i16,
}

/// The octets of a new message.
#[derive(Debug)]
pub struct NewContent {
    /// The header fields that we prepend for everybody (Received …).
    pub head: Bytes,
    /// The octets received.
    pub body: NewBody,
    /// What the caller wants to know of the message later without reading it; opaque here.
    pub digest: Bytes,
    /// A number that messages of one thread share (THREADID of RFC 8474).
    pub thread: i64,
}

/// The octets received.
#[derive(Debug)]
pub enum NewBody {
    /// In memory, in pieces.
    Memory(Vec<Bytes>),
    /// Already on disk: what [`Store::stage`](crate::Store::stage) gave, all written.
    Staged(crate::Staged),
}

impl NewBody {
    /// Its length in octets.
    #[must_use]
    pub fn octets(&self) -> u64 {
        match self {
            Self::Memory(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
            Self::Staged(staged) => staged.octets(),
        }
    }
}

/// A message for local recipients and for the spool, in one transaction.
#[derive(Debug)]
pub struct Delivery {
    /// Its octets, shared by all.
    pub content: NewContent,
    /// When it arrived.
    pub received: ZonedTime,
    /// The local recipients.
    pub recipients: Vec<Recipient>,
    /// The recipients who cannot take it now: an entry for each sender that the message has there.
    pub spool: Vec<NewSpool>,
    /// What is to be known of it later, under its queue id.
    pub trace: Vec<TraceEntry>,
}

impl Delivery {
    /// How many deliveries it counts for in a batch.
    pub(crate) fn weight(&self) -> usize {
        let spooled: usize = self.spool.iter().map(|spool| spool.recipients.len()).sum();
        (self.recipients.len() + spooled).max(1)
    }
}

/// A local recipient of a delivery.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// Whose mail it is.
    pub account: AccountId,
    /// The mailbox by name; INBOX if `None`, or if there is none of that name.
    pub mailbox: Option<String>,
    /// The recipient's own fields in front of the shared content (Return-Path, Delivered-To; rule 15).
    pub prefix: Bytes,
    /// Flags that it gets at once.
    pub flags: FlagNames,
}

/// A message to be appended to a mailbox.
#[derive(Debug)]
pub struct NewMessage {
    /// Its octets.
    pub content: NewContent,
    /// INTERNALDATE.
    pub received: ZonedTime,
    /// Its flags.
    pub flags: FlagNames,
}

/// Where a message is now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Placed {
    /// Whose it is.
    pub account: AccountId,
    /// Its mailbox.
    pub mailbox: MailboxId,
    /// That mailbox's UIDVALIDITY.
    pub uid_validity: u32,
    /// Its UID there.
    pub uid: u32,
    /// Its mod-sequence.
    pub mod_seq: u64,
}

/// What an account's mailboxes know of a message without reading it.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its UID.
    pub uid: u32,
    /// Its mod-sequence.
    pub mod_seq: u64,
    /// Its flags.
    pub flags: Flags,
    /// Its octets: prefix, head and body.
    pub octets: u64,
    /// INTERNALDATE.
    pub received: ZonedTime,
    /// When it came into this mailbox, in seconds since 1970 (SAVEDATE).
    pub saved: i64,
    /// Its thread.
    pub thread: i64,
    /// The recipient's own fields in front.
    pub prefix: Bytes,
    /// Where the rest is.
    pub content: ContentRef,
    /// The digest, if asked for.
    pub digest: Bytes,
}

/// Where the octets of a message are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ContentRef {
    /// Its id.
    pub id: ContentId,
    /// The segment.
    pub(crate) segment: i64,
    /// The offset of the first octet of the head in it.
    pub(crate) offset: u64,
    /// Octets of head and body.
    pub(crate) octets: u64,
}

impl ContentRef {
    /// Its octets, what a recipient has in front of them aside.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }
}

/// UIDs as ranges, ascending and disjoint.
pub type UidRanges = Vec<RangeInclusive<u32>>;

/// What changed in a mailbox since a mod-sequence.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The mailbox's mod-sequence now.
    pub mod_seq: u64,
    /// UIDNEXT now.
    pub uid_next: u32,
    /// Messages that are new or have other flags, by UID.
    pub changed: Vec<crate::Row>,
    /// UIDs of messages that are gone.
    pub vanished: UidRanges,
}

/// What [`Store::set_flags`](crate::Store::set_flags) did.
#[derive(Clone, Debug, Default)]
pub struct FlagOutcome {
    /// The messages as they are now, by UID; those that did not change included.
    pub rows: Vec<crate::Row>,
    /// Those that were changed since the given mod-sequence, and so left alone (RFC 7162 §3.1.3).
    pub modified: UidRanges,
    /// The mailbox's mod-sequence now.
    pub mod_seq: u64,
}

/// What a copy or a move did.
#[derive(Clone, Debug, Default)]
pub struct CopyOutcome {
    /// UIDVALIDITY of the target.
    pub uid_validity: u32,
    /// The UIDs: there, and here.
    pub uids: Vec<(u32, u32)>,
    /// The source's mod-sequence after a move.
    pub source_mod_seq: u64,
}

/// What an expunge did.
#[derive(Clone, Debug, Default)]
pub struct ExpungeOutcome {
    /// The UIDs that are gone, ascending.
    pub uids: Vec<u32>,
    /// The mailbox's mod-sequence now.
    pub mod_seq: u64,
}
