//! Locks that processes hold for long: on a maildrop (RFC 1939 §4), and on the running of the queue (rule 7).

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::{Result, open};

/// A POP3 session's exclusive right to a maildrop; held until it is dropped, or its process dies.
#[derive(Debug)]
pub struct MaildropLock(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

impl MaildropLock {
    pub(crate) fn take(path: &Path) -> Result<Option<Self>> {
        Ok(take(path)?.map(Self))
    }
}

/// The exclusive right to run the queue; held until it is dropped, or its process dies.
#[derive(Debug)]
pub struct QueueLock(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] Option<File>);

impl QueueLock {
    /// The right to a queue that no other process can reach.
    pub(crate) fn alone() -> Self {
        Self(None)
    }

    pub(crate) fn take(path: &Path) -> Result<Option<Self>> {
        Ok(take(path)?.map(|file| Self(Some(file))))
    }

    /// Blocks until the lock is free.
    pub(crate) fn wait(path: &Path) -> Result<Self> {
        let file = open::open_lock(path)?;
        file.lock()?;
        Ok(Self(Some(file)))
    }
}

fn take(path: &Path) -> Result<Option<File>> {
    let file = open::open_lock(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}
