//! The exclusive lock on a maildrop among POP3 sessions (RFC 1939 §4).

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::{Result, open};

/// Held until it is dropped, or its process dies.
#[derive(Debug)]
pub struct MaildropLock(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

impl MaildropLock {
    pub(crate) fn take(path: &Path) -> Result<Option<Self>> {
        let file = open::open_lock(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}
