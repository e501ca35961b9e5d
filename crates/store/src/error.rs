//! What can go wrong, and whether it is worth trying again.

/// Why the store did not do as asked. Nothing was changed, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk has less free space than the configured minimum, or none. Reading, deleting and expunging still work.
    #[error("no space left for new mail")]
    NoSpace,
    /// A queue is full, or the volume is waiting to be reopened. Try again.
    #[error("store busy")]
    Busy,
    /// The volume failed and takes no changes until it has been reopened and checked.
    #[error("store volume is read-only after a failure")]
    ReadOnly,
    /// Something changed underneath the request.
    #[error("conflict with another change")]
    Conflict,
    /// The account, mailbox, message or row does not exist.
    #[error("{0} not found")]
    NotFound(What),
    /// The account, mailbox or row exists already.
    #[error("{0} exists already")]
    AlreadyExists(What),
    /// The account's quota would be exceeded.
    #[error("over quota")]
    OverQuota,
    /// A limit of the store would be exceeded.
    #[error("limit reached: {0}")]
    Limit(&'static str),
    /// What is stored contradicts itself.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// The data directory cannot be used; `0` says why and what to do.
    #[error("{0}")]
    Unusable(String),
    /// The operating system failed.
    #[error("I/O: {0}")]
    Io(#[source] std::io::Error),
    /// The index failed.
    #[error("index: {0}")]
    Index(#[from] rusqlite::Error),
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::StorageFull { Self::NoSpace } else { Self::Io(error) }
    }
}

/// The kind of thing an error speaks of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum What {
    /// A domain.
    Domain,
    /// An account.
    Account,
    /// An alias.
    Alias,
    /// A mailbox.
    Mailbox,
    /// A message.
    Message,
    /// A spool entry.
    Spool,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Domain => "domain",
            Self::Account => "account",
            Self::Alias => "alias",
            Self::Mailbox => "mailbox",
            Self::Message => "message",
            Self::Spool => "queue entry",
        })
    }
}

impl Error {
    /// Whether the same request may succeed later without anybody changing it: 4xx, not 5xx.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::NoSpace | Self::Busy | Self::ReadOnly | Self::Conflict | Self::OverQuota | Self::Io(_) => true,
            Self::Index(error) => !matches!(
                error.sqlite_error_code(),
                Some(rusqlite::ErrorCode::ConstraintViolation | rusqlite::ErrorCode::TypeMismatch)
            ),
            Self::NotFound(_) | Self::AlreadyExists(_) | Self::Limit(_) | Self::Corrupt(_) | Self::Unusable(_) => false,
        }
    }

    /// Whether the index is damaged: a salvage makes it anew.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode as Code;
        matches!(self, Self::Index(error)
            if matches!(error.sqlite_error_code(), Some(Code::DatabaseCorrupt | Code::NotADatabase)))
    }

    /// The disk is full, as the index or a segment meets it.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::NoSpace => true,
            Self::Index(rusqlite::Error::SqliteFailure(error, _)) => {
                // The index of the write-ahead log is a file, too, which must grow.
                error.code == rusqlite::ErrorCode::DiskFull
                    || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
            }
            _ => false,
        }
    }

    /// Whether the failure is the index's or the disk's own, so that the volume must be reopened and checked.
    pub(crate) fn is_failure_of_the_index(&self) -> bool {
        use rusqlite::ErrorCode as Code;
        matches!(self, Self::Index(error) if matches!(
            error.sqlite_error_code(),
            Some(Code::SystemIoFailure | Code::DatabaseCorrupt | Code::NotADatabase | Code::CannotOpen | Code::ReadOnly)
        ))
    }
}

/// The store's results.
pub type Result<T> = std::result::Result<T, Error>;
