//! The immutable list of a mailbox's messages, shared by all sessions of the process.

mod reading;

use std::sync::Arc;

pub(crate) use reading::Snapshots;

use crate::types::{Changes, Flags, Mailbox, MailboxId};

/// Rows that share one allocation.
const CHUNK: usize = 4096;

/// A message as lists show it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Row {
    /// Its UID.
    pub uid: u32,
    /// Its mod-sequence.
    pub mod_seq: u64,
    /// Its flags.
    pub flags: Flags,
}

/// The messages of a mailbox at a moment, by UID. Cloning costs a few pointers; a change copies one chunk.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The mailbox.
    pub mailbox: MailboxId,
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
    /// Its UIDNEXT.
    pub uid_next: u32,
    /// Its HIGHESTMODSEQ.
    pub mod_seq: u64,
    /// Its keywords by number.
    pub keywords: Arc<[String]>,
    chunks: Vec<Arc<[Row]>>,
    /// The messages in the chunks before each.
    starts: Vec<usize>,
    length: usize,
}

impl Snapshot {
    pub(crate) fn new(mailbox: &Mailbox, keywords: Vec<String>, rows: &[Row]) -> Self {
        let chunks = rows.chunks(CHUNK).map(Arc::from).collect();
        let mut snapshot = Self {
            mailbox: mailbox.id,
            uid_validity: mailbox.uid_validity,
            uid_next: mailbox.uid_next,
            mod_seq: mailbox.mod_seq,
            keywords: keywords.into(),
            chunks,
            starts: Vec::new(),
            length: 0,
        };
        snapshot.count();
        snapshot
    }

    fn count(&mut self) {
        self.length = 0;
        self.starts.clear();
        for chunk in &self.chunks {
            self.starts.push(self.length);
            self.length += chunk.len();
        }
    }

    /// The number of messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The message with this index, from 0 (its message sequence number less 1).
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Row> {
        let chunk = self.starts.partition_point(|start| *start <= index).checked_sub(1)?;
        self.chunks.get(chunk)?.get(index - self.starts.get(chunk)?)
    }

    /// The index of the message with this UID; `Err`: where it would be.
    ///
    /// # Errors
    /// The index of the first message with a larger UID.
    pub fn find(&self, uid: u32) -> Result<usize, usize> {
        let chunk = self.chunks.partition_point(|chunk| chunk.last().is_some_and(|row| row.uid < uid));
        let Some(rows) = self.chunks.get(chunk) else {
            return Err(self.length);
        };
        let start = self.starts.get(chunk).copied().unwrap_or(0);
        rows.binary_search_by_key(&uid, |row| row.uid).map(|at| at + start).map_err(|at| at + start)
    }

    /// The messages from an index on.
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = &Row> {
        let chunk = self.starts.partition_point(|start| *start <= index).saturating_sub(1);
        let skip = index - self.starts.get(chunk).copied().unwrap_or(0).min(index);
        self.chunks.get(chunk..).unwrap_or_default().iter().flat_map(|chunk| chunk.iter()).skip(skip)
    }

    /// All messages.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.iter_from(0)
    }

    /// The snapshot after these changes, which begin where this one ends.
    pub(crate) fn after(&self, changes: &Changes, keywords: Option<Vec<String>>) -> Self {
        let mut next = self.clone();
        next.mod_seq = changes.mod_seq;
        next.uid_next = changes.uid_next;
        if let Some(keywords) = keywords {
            next.keywords = keywords.into();
        }
        let mut changed = changes.changed.iter().peekable();
        let mut chunks: Vec<Arc<[Row]>> = Vec::with_capacity(self.chunks.len() + 1);
        for chunk in &self.chunks {
            let Some(last) = chunk.last().map(|row| row.uid) else {
                continue;
            };
            let first = chunk.first().map_or(0, |row| row.uid);
            let hit = changed.peek().is_some_and(|row| row.uid <= last)
                || changes.vanished.iter().any(|range| *range.start() <= last && *range.end() >= first);
            if !hit {
                chunks.push(Arc::clone(chunk));
                continue;
            }
            let mut rows: Vec<Row> = Vec::with_capacity(chunk.len());
            for row in chunk.iter() {
                let mut row = *row;
                while changed.peek().is_some_and(|new| new.uid < row.uid) {
                    changed.next();
                }
                if let Some(new) = changed.next_if(|new| new.uid == row.uid) {
                    row = *new;
                }
                if !contains(&changes.vanished, row.uid) {
                    rows.push(row);
                }
            }
            if !rows.is_empty() {
                chunks.push(rows.into());
            }
        }
        let known = self.uid_next;
        let mut new: Vec<Row> = changes.changed.iter().filter(|row| row.uid >= known).copied().collect();
        if let Some(last) = chunks.pop_if(|last| last.len() < CHUNK) {
            new.splice(0..0, last.iter().copied());
        }
        chunks.extend(new.chunks(CHUNK).map(Arc::from));
        next.chunks = chunks;
        next.count();
        next
    }
}

fn contains(ranges: &[std::ops::RangeInclusive<u32>], uid: u32) -> bool {
    let at = ranges.partition_point(|range| *range.end() < uid);
    ranges.get(at).is_some_and(|range| range.contains(&uid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::AccountId;

    fn mailbox(uid_next: u32) -> Mailbox {
        Mailbox {
            id: MailboxId(1),
            account: AccountId(1),
            name: "INBOX".to_owned(),
            uid_validity: 1,
            uid_next,
            mod_seq: 1,
            messages: uid_next - 1,
            unseen: 0,
            deleted: 0,
            octets: 0,
            special_use: None,
            subscribed: true,
        }
    }

    fn row(uid: u32) -> Row {
        Row { uid, mod_seq: 1, flags: Flags::default() }
    }

    fn uids(snapshot: &Snapshot) -> Vec<u32> {
        snapshot.iter().map(|row| row.uid).collect()
    }

    #[test]
    fn indices_and_uids_meet_across_chunks() {
        let rows: Vec<Row> = (1..=10_000).map(|number| row(number * 2)).collect();
        let snapshot = Snapshot::new(&mailbox(20_001), Vec::new(), &rows);
        assert_eq!(snapshot.len(), 10_000);
        for index in [0, 1, 4095, 4096, 8191, 8192, 9999] {
            let uid = snapshot.get(index).map(|row| row.uid);
            assert_eq!(uid, Some(u32::try_from(index + 1).unwrap() * 2));
            assert_eq!(snapshot.find(uid.unwrap()), Ok(index));
            assert_eq!(snapshot.find(uid.unwrap() - 1), Err(index));
            assert_eq!(snapshot.iter_from(index).next().map(|row| row.uid), uid);
        }
        assert_eq!(snapshot.get(10_000), None);
        assert_eq!(snapshot.find(20_001), Err(10_000));
        assert_eq!(snapshot.iter_from(10_000).count(), 0);
    }

    #[test]
    fn changes_make_the_next_snapshot_and_share_what_stays() {
        let rows: Vec<Row> = (1..=9000).map(row).collect();
        let before = Snapshot::new(&mailbox(9001), Vec::new(), &rows);
        let flagged = Row { uid: 5000, mod_seq: 2, flags: Flags::SEEN };
        let changes = Changes {
            mod_seq: 4,
            uid_next: 9003,
            changed: vec![flagged, row(9001), row(9002)],
            vanished: vec![8999..=9000],
        };
        let after = before.after(&changes, None);
        let expected: Vec<u32> = (1..=8998).chain([9001, 9002]).collect();
        assert_eq!(uids(&after), expected);
        assert_eq!(after.get(4999), Some(&flagged));
        assert!(Arc::ptr_eq(&before.chunks[0], &after.chunks[0]));
        let emptied =
            after.after(&Changes { mod_seq: 5, uid_next: 9003, changed: vec![], vanished: vec![1..=9002] }, None);
        assert!(emptied.is_empty() && emptied.get(0).is_none());
        let again =
            emptied.after(&Changes { mod_seq: 6, uid_next: 9004, changed: vec![row(9003)], vanished: vec![] }, None);
        assert_eq!(uids(&again), [9003]);
    }
}
