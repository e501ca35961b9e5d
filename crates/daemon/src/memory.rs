//! The octets of messages that may be in memory at once, shared by all sessions of a process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The budget of a process (`limits.memory_octets`), in KiB.
#[derive(Clone, Debug)]
pub struct Memory {
    left: Arc<Semaphore>,
    all: u32,
}

/// A share of the budget, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    _permit: OwnedSemaphorePermit,
}

/// How long somebody waits for a share before he is asked to come again.
const PATIENCE: Duration = Duration::from_secs(30);

impl Memory {
    /// A budget of so many octets.
    #[must_use]
    pub fn new(octets: u64) -> Self {
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let all = u32::try_from(octets >> 10).unwrap_or(u32::MAX).min(most);
        Self { left: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// A share at once, or none.
    #[must_use]
    pub fn try_take(&self, octets: u64) -> Option<Share> {
        let permit = Arc::clone(&self.left).try_acquire_many_owned(kibibytes(octets)).ok()?;
        Some(Share { _permit: permit })
    }

    /// A share when there is one; `None` if others need theirs for too long. What is larger than the whole budget gets
    /// all of it, and so is alone.
    pub async fn take(&self, octets: u64) -> Option<Share> {
        self.take_within(octets, PATIENCE).await
    }

    async fn take_within(&self, octets: u64, patience: Duration) -> Option<Share> {
        let wanted = Arc::clone(&self.left).acquire_many_owned(kibibytes(octets).min(self.all));
        let permit = tokio::time::timeout(patience, wanted).await.ok()?.ok()?;
        Some(Share { _permit: permit })
    }
}

fn kibibytes(octets: u64) -> u32 {
    u32::try_from(octets.div_ceil(1024)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shares_come_back_and_nobody_waits_for_ever() {
        let memory = Memory::new(10 << 10);
        let first = memory.try_take(6 << 10);
        assert!(first.is_some() && memory.try_take(5 << 10).is_none());
        assert!(memory.try_take(4 << 10).is_some());
        assert!(memory.take_within(5 << 10, Duration::from_millis(1)).await.is_none());
        drop(first);
        let all = memory.take(1 << 40).await;
        assert!(all.is_some(), "larger than the budget: alone");
        assert!(memory.try_take(1).is_none());
    }
}
