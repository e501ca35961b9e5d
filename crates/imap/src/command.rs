//! Commands, as types.

use std::fmt;

use jiff::civil::Date;
use wire::Secret;

use crate::{MailboxName, SequenceSet};

/// A command's tag (RFC 9051 §2.2.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tag(pub(crate) String);

impl Tag {
    /// The tag's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A command. APPEND is not among them: its messages stream (see [`Append`]).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// CAPABILITY
    Capability,
    /// NOOP
    Noop,
    /// LOGOUT
    Logout,
    /// ID (RFC 2971)
    Id(Vec<(String, Option<String>)>),
    /// STARTTLS
    StartTls,
    /// AUTHENTICATE, with an initial response (RFC 4959) if there was one.
    Authenticate {
        /// The mechanism's name in upper case.
        mechanism: String,
        /// The initial response, decoded.
        initial_response: Option<Secret>,
    },
    /// LOGIN
    Login {
        /// The user name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// ENABLE (RFC 5161); the names in upper case.
    Enable(Vec<String>),
    /// SELECT and EXAMINE
    Select(Select),
    /// CREATE, with the special uses asked for (RFC 6154 §3).
    Create {
        /// The new mailbox.
        mailbox: MailboxName,
        /// Special uses, without the backslash.
        special_use: Vec<String>,
    },
    /// DELETE
    Delete(MailboxName),
    /// RENAME
    Rename {
        /// The old name.
        from: MailboxName,
        /// The new one.
        to: MailboxName,
    },
    /// SUBSCRIBE
    Subscribe(MailboxName),
    /// UNSUBSCRIBE
    Unsubscribe(MailboxName),
    /// LIST (RFC 5258, RFC 5819)
    List(List),
    /// LSUB (RFC 3501 §6.3.9)
    Lsub {
        /// The reference name.
        reference: String,
        /// The pattern.
        pattern: String,
    },
    /// NAMESPACE
    Namespace,
    /// STATUS
    Status {
        /// The mailbox.
        mailbox: MailboxName,
        /// What is asked.
        items: Vec<StatusItem>,
    },
    /// IDLE (RFC 2177); its DONE is the session's.
    Idle,
    /// CHECK (RFC 3501 §6.4.1)
    Check,
    /// CLOSE
    Close,
    /// UNSELECT
    Unselect,
    /// EXPUNGE; UID EXPUNGE with its set (RFC 4315 §2.1).
    Expunge(Option<SequenceSet>),
    /// SEARCH and UID SEARCH
    Search(Search),
    /// FETCH and UID FETCH
    Fetch(Fetch),
    /// STORE and UID STORE
    Store(Store),
    /// COPY, MOVE (RFC 6851) and their UID forms
    Copy(Copy),
}

/// SELECT or EXAMINE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Select {
    /// The mailbox.
    pub mailbox: MailboxName,
    /// EXAMINE.
    pub read_only: bool,
    /// `(CONDSTORE)`
    pub condstore: bool,
    /// `(QRESYNC …)`
    pub qresync: Option<Qresync>,
}

/// What a client remembers of a mailbox (RFC 7162 §3.2.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Qresync {
    /// UIDVALIDITY then.
    pub uid_validity: u32,
    /// Its mod-sequence.
    pub mod_seq: u64,
    /// The UIDs it knows.
    pub known: Option<SequenceSet>,
}

/// LIST.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct List {
    /// The reference name.
    pub reference: String,
    /// The patterns; an empty one asks for the delimiter.
    pub patterns: Vec<String>,
    /// `SUBSCRIBED` among the selection options.
    pub select_subscribed: bool,
    /// `RECURSIVEMATCH`
    pub recursive_match: bool,
    /// `SPECIAL-USE` among the selection options.
    pub select_special_use: bool,
    /// `RETURN (SUBSCRIBED)`
    pub return_subscribed: bool,
    /// `RETURN (CHILDREN)`
    pub return_children: bool,
    /// `RETURN (SPECIAL-USE)`
    pub return_special_use: bool,
    /// `RETURN (STATUS (…))`
    pub return_status: Vec<StatusItem>,
    /// Whether it is more than the LIST of RFC 3501.
    pub extended: bool,
}

/// What STATUS asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatusItem {
    /// `MESSAGES`
    Messages,
    /// `RECENT` (RFC 3501)
    Recent,
    /// `UIDNEXT`
    UidNext,
    /// `UIDVALIDITY`
    UidValidity,
    /// `UNSEEN`
    Unseen,
    /// `DELETED`
    Deleted,
    /// `SIZE` (RFC 8438)
    Size,
    /// `HIGHESTMODSEQ`
    HighestModSeq,
    /// `APPENDLIMIT`
    AppendLimit,
    /// `MAILBOXID` (RFC 8474)
    MailboxId,
}

impl StatusItem {
    /// Every item with its name.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::Messages, "MESSAGES"),
        (Self::Recent, "RECENT"),
        (Self::UidNext, "UIDNEXT"),
        (Self::UidValidity, "UIDVALIDITY"),
        (Self::Unseen, "UNSEEN"),
        (Self::Deleted, "DELETED"),
        (Self::Size, "SIZE"),
        (Self::HighestModSeq, "HIGHESTMODSEQ"),
        (Self::AppendLimit, "APPENDLIMIT"),
        (Self::MailboxId, "MAILBOXID"),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(item, _)| *item == self).map_or("", |(_, name)| name)
    }
}

/// APPEND up to a message's octets (RFC 3502, RFC 9755).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Append {
    /// The mailbox; `None` for the second and later messages of one command.
    pub mailbox: Option<MailboxName>,
    /// The message's flags.
    pub flags: Vec<String>,
    /// INTERNALDATE, in seconds since 1970 and minutes east.
    pub date: Option<(i64, i16)>,
    /// `UTF8 (~{…})`
    pub utf8: bool,
}

/// SEARCH.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Search {
    /// UID SEARCH.
    pub uid: bool,
    /// `RETURN (…)` (RFC 4731); `None`: the old response is expected.
    pub returns: Option<Vec<SearchReturn>>,
    /// What to find.
    pub key: SearchKey,
}

/// What an extended search returns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SearchReturn {
    /// `MIN`
    Min,
    /// `MAX`
    Max,
    /// `ALL`
    All,
    /// `COUNT`
    Count,
    /// `SAVE` (RFC 5182)
    Save,
}

/// A search key (RFC 9051 §6.4.4; RFC 5032, RFC 7162, RFC 8474, RFC 8514).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SearchKey {
    /// Every message.
    All,
    /// Messages with this system flag or keyword, or (`false`) without it.
    Flag(String, bool),
    /// `\Recent` messages, which there are none of here.
    Recent,
    /// A substring of an address or text field; its name in lower case.
    Header(String, String),
    /// A substring of the body.
    Body(String),
    /// A substring of header or body.
    Text(String),
    /// INTERNALDATE's date compared.
    Internal(DateTest, Date),
    /// The Date field's date compared.
    Sent(DateTest, Date),
    /// The save date compared (RFC 8514).
    Saved(DateTest, Date),
    /// `SAVEDATESUPPORTED`
    SaveDateSupported,
    /// More octets than.
    Larger(u64),
    /// Fewer octets than.
    Smaller(u64),
    /// Older than so many seconds (RFC 5032).
    Older(u32),
    /// Younger than so many seconds.
    Younger(u32),
    /// A mod-sequence of at least.
    ModSeq(u64),
    /// EMAILID (RFC 8474)
    EmailId(String),
    /// THREADID
    ThreadId(String),
    /// Message sequence numbers.
    Sequence(SequenceSet),
    /// UIDs.
    Uid(SequenceSet),
    /// Not.
    Not(Box<SearchKey>),
    /// Either.
    Or(Box<SearchKey>, Box<SearchKey>),
    /// All of these.
    And(Vec<SearchKey>),
}

impl SearchKey {
    /// Whether MODSEQ is among what is searched for: it enables CONDSTORE, and is told with what was found
    /// (RFC 7162 §3.1.5).
    #[must_use]
    pub fn uses_mod_seq(&self) -> bool {
        match self {
            Self::ModSeq(_) => true,
            Self::Not(key) => key.uses_mod_seq(),
            Self::Or(left, right) => left.uses_mod_seq() || right.uses_mod_seq(),
            Self::And(keys) => keys.iter().any(Self::uses_mod_seq),
            _ => false,
        }
    }
}

/// How a date is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DateTest {
    /// Earlier than the date.
    Before,
    /// Within the date.
    On,
    /// Within or later than the date.
    Since,
}

/// FETCH.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fetch {
    /// UID FETCH.
    pub uid: bool,
    /// Of which messages.
    pub set: SequenceSet,
    /// What; macros are resolved.
    pub items: Vec<FetchItem>,
    /// `CHANGEDSINCE` (RFC 7162 §3.1.4).
    pub changed_since: Option<u64>,
    /// `VANISHED` (RFC 7162 §3.2.6).
    pub vanished: bool,
}

/// What FETCH asks of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FetchItem {
    /// `UID`
    Uid,
    /// `FLAGS`
    Flags,
    /// `INTERNALDATE`
    InternalDate,
    /// `RFC822.SIZE`
    Rfc822Size,
    /// `ENVELOPE`
    Envelope,
    /// `BODY`
    Body,
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// `MODSEQ`
    ModSeq,
    /// `SAVEDATE` (RFC 8514)
    SaveDate,
    /// `EMAILID` (RFC 8474)
    EmailId,
    /// `THREADID`
    ThreadId,
    /// `PREVIEW` (RFC 8970)
    Preview,
    /// A section of the message.
    Section {
        /// How it was asked for, and so is answered.
        form: SectionForm,
        /// `.PEEK`: `\Seen` stays as it is.
        peek: bool,
        /// The section.
        section: Section,
        /// The first octet and the most octets.
        partial: Option<(u32, u32)>,
    },
    /// `BINARY.SIZE[…]` (RFC 3516)
    BinarySize(Vec<u32>),
}

/// The spelling of a section item.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SectionForm {
    /// `BODY[…]`
    Body,
    /// `BINARY[…]`
    Binary,
    /// `RFC822` (RFC 3501)
    Rfc822,
    /// `RFC822.HEADER`
    Rfc822Header,
    /// `RFC822.TEXT`
    Rfc822Text,
}

/// A section of a message (RFC 9051 §6.4.5.1).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Section {
    /// The part; empty for the whole message.
    pub part: Vec<u32>,
    /// What of it.
    pub text: SectionText,
}

/// What of a part.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum SectionText {
    /// All of it.
    #[default]
    Full,
    /// `HEADER`
    Header,
    /// `HEADER.FIELDS (…)`
    HeaderFields(Vec<String>),
    /// `HEADER.FIELDS.NOT (…)`
    HeaderFieldsNot(Vec<String>),
    /// `TEXT`
    Text,
    /// `MIME`
    Mime,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut dot = "";
        for number in &self.part {
            write!(f, "{dot}{number}")?;
            dot = ".";
        }
        let mut fields = |name: &str, fields: &[String]| {
            // A name was an astring; one that is no atom goes back quoted.
            let quoted: Vec<String> = fields
                .iter()
                .map(|field| {
                    if field.bytes().all(crate::parse::is_astring_octet) && !field.is_empty() {
                        field.clone()
                    } else {
                        format!("\"{}\"", field.replace('\\', "\\\\").replace('"', "\\\""))
                    }
                })
                .collect();
            write!(f, "{dot}{name} ({})", quoted.join(" "))
        };
        match &self.text {
            SectionText::Full => Ok(()),
            SectionText::Header => write!(f, "{dot}HEADER"),
            SectionText::HeaderFields(names) => fields("HEADER.FIELDS", names),
            SectionText::HeaderFieldsNot(names) => fields("HEADER.FIELDS.NOT", names),
            SectionText::Text => write!(f, "{dot}TEXT"),
            SectionText::Mime => write!(f, "{dot}MIME"),
        }
    }
}

/// STORE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Store {
    /// UID STORE.
    pub uid: bool,
    /// Of which messages.
    pub set: SequenceSet,
    /// Add, remove or replace.
    pub operation: StoreOperation,
    /// `.SILENT`
    pub silent: bool,
    /// The flags.
    pub flags: Vec<String>,
    /// `UNCHANGEDSINCE` (RFC 7162 §3.1.3).
    pub unchanged_since: Option<u64>,
}

/// How STORE changes flags.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreOperation {
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
    /// `FLAGS`
    Replace,
}

/// COPY or MOVE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Copy {
    /// The UID form.
    pub uid: bool,
    /// MOVE.
    pub moves: bool,
    /// Of which messages.
    pub set: SequenceSet,
    /// Where to.
    pub mailbox: MailboxName,
}
