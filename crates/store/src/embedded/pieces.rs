//! Ranges of UIDs in pieces, so that no transaction is long.

use std::ops::RangeInclusive;

use crate::index::messages::ranges;
use crate::types::{MailboxId, UidRanges};
use crate::{Embedded, Result, Store as _};

fn stored_count(uids: &[RangeInclusive<u32>]) -> usize {
    uids.iter()
        .map(|range| usize::try_from(range.end() - range.start()).unwrap_or(usize::MAX))
        .fold(0, |sum, count| sum.saturating_add(count).saturating_add(1))
}

impl Embedded {
    /// The UIDs in pieces of at most `most` messages that exist, for one transaction each.
    pub(super) async fn pieces(
        &self,
        mailbox: MailboxId,
        uids: Vec<RangeInclusive<u32>>,
        most: usize,
    ) -> Result<Vec<UidRanges>> {
        if stored_count(&uids) <= most {
            return Ok(vec![uids]);
        }
        let snapshot = self.snapshot(mailbox).await?;
        let mut known = Vec::new();
        for range in &uids {
            let from = snapshot.find(*range.start()).unwrap_or_else(|at| at);
            known.extend(snapshot.iter_from(from).map(|row| row.uid).take_while(|uid| uid <= range.end()));
        }
        Ok(known.chunks(most).map(|chunk| ranges(chunk.iter().copied())).collect())
    }
}
