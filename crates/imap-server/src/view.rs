//! The selected mailbox as the client knows it, and how it learns of changes.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::BytesMut;
use imap::encode::{self, number};
use imap::server::Enabled;
use imap::{SequenceSet, print_ranges};
use store::{MailboxId, Row, Snapshot, Store, Watch};

use crate::text;

/// The selected mailbox: the client numbers messages by this snapshot until it is told otherwise.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) mailbox: MailboxId,
    pub(crate) read_only: bool,
    /// The keywords that the client was told of.
    pub(crate) told: Arc<[String]>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) watch: Watch,
    /// Messages that the client changed itself and was told of: UID to mod-sequence.
    pub(crate) own: HashMap<u32, u64>,
    /// The saved result of a search, as UIDs (RFC 5182).
    pub(crate) saved: Vec<RangeInclusive<u32>>,
}

/// Appends FLAGS, and MODSEQ where the client wants it.
pub(crate) fn flags_item(out: &mut BytesMut, row: &Row, keywords: &[String], enabled: Enabled) {
    out.extend_from_slice(b"FLAGS ");
    encode::flags(out, text::flag_names(row.flags, keywords));
    if enabled.condstore {
        number(out, row.mod_seq, " MODSEQ (", ")");
    }
}

impl View {
    /// Reads the mailbox again and appends what the client has to know. Expunges are told only if they may be: while a
    /// command with sequence numbers runs, the numbers must stay (RFC 9051 §7.5.1).
    pub(crate) async fn sync(
        &mut self,
        store: &dyn Store,
        out: &mut BytesMut,
        enabled: Enabled,
        may_expunge: bool,
    ) -> store::Result<()> {
        let new = store.snapshot(self.mailbox).await?;
        if new.mod_seq == self.snapshot.mod_seq && new.uid_validity == self.snapshot.uid_validity {
            self.own.clear();
            return Ok(());
        }
        let gone = gone(&self.snapshot, &new);
        if !gone.is_empty() && !may_expunge {
            return Ok(());
        }
        self.tell_keywords(&new.keywords, out);
        let kept = self.snapshot.len() - gone.len();
        if enabled.qresync && !gone.is_empty() {
            let uids = store_ranges(gone.iter().map(|(_, uid)| *uid));
            encode::print(out, format_args!("* VANISHED {}\r\n", print_ranges(&uids)));
        } else {
            for (told, (index, _)) in gone.iter().enumerate() {
                number(out, (index - told + 1) as u64, "* ", " EXPUNGE\r\n");
            }
        }
        if new.len() > kept {
            number(out, new.len() as u64, "* ", " EXISTS\r\n");
            if !enabled.rev2 {
                out.extend_from_slice(b"* 0 RECENT\r\n");
            }
        }
        for (index, row) in new.iter().enumerate().take(kept) {
            if row.mod_seq <= self.snapshot.mod_seq || self.own.get(&row.uid) == Some(&row.mod_seq) {
                continue;
            }
            number(out, (index + 1) as u64, "* ", " FETCH (");
            // RFC 7162 §3.2.10.2: with QRESYNC the UID goes along.
            if enabled.qresync || enabled.condstore {
                number(out, u64::from(row.uid), "UID ", " ");
            }
            flags_item(out, row, &new.keywords, enabled);
            out.extend_from_slice(b")\r\n");
        }
        self.own.clear();
        self.snapshot = new;
        Ok(())
    }

    /// Tells of new keywords, before anything is told that uses them.
    pub(crate) fn tell_keywords(&mut self, keywords: &Arc<[String]>, out: &mut BytesMut) {
        if self.told != *keywords {
            text::tell_flags(out, keywords, self.read_only);
            self.told = Arc::clone(keywords);
        }
    }

    /// The UIDs that a set means, ascending; sequence numbers beyond the mailbox are no messages.
    pub(crate) fn uids(&self, set: &SequenceSet, uid: bool) -> Option<Vec<RangeInclusive<u32>>> {
        if *set == SequenceSet::Saved {
            return Some(self.saved.clone());
        }
        if uid {
            let last = self.snapshot.len().checked_sub(1).and_then(|last| self.snapshot.get(last));
            return set.resolve(last.map_or(0, |row| row.uid));
        }
        let length = u32::try_from(self.snapshot.len()).unwrap_or(u32::MAX);
        let ranges = set.resolve(length)?;
        // RFC 9051 §9: a number beyond the last message is an error of the client.
        if ranges.iter().any(|range| *range.end() > length) {
            return None;
        }
        let mut uids = Vec::with_capacity(ranges.len());
        for range in ranges {
            let (from, to) = (index(*range.start()), index(*range.end()));
            if from == 0 && to + 1 == self.snapshot.len() {
                // Not beyond: what came later is not among those that the client means.
                uids.extend(self.snapshot.get(to).map(|last| 1..=last.uid));
                continue;
            }
            let rows = self.snapshot.iter_from(from).take(to + 1 - from).map(|row| row.uid);
            uids.extend(store_ranges(rows));
        }
        Some(uids)
    }

    /// The sequence number of a UID.
    pub(crate) fn number(&self, uid: u32) -> Option<u64> {
        self.snapshot.find(uid).ok().map(|index| index as u64 + 1)
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1)
}

/// Ascending UIDs as ranges.
pub(crate) fn store_ranges(uids: impl IntoIterator<Item = u32>) -> Vec<RangeInclusive<u32>> {
    let mut ranges: Vec<RangeInclusive<u32>> = Vec::new();
    for uid in uids {
        match ranges.last_mut() {
            Some(last) if last.end().checked_add(1) == Some(uid) => *last = *last.start()..=uid,
            _ => ranges.push(uid..=uid),
        }
    }
    ranges
}

/// Whether a UID is within ascending, disjoint ranges: by halves, since a client may give thousands of ranges.
pub(crate) fn contains(ranges: &[RangeInclusive<u32>], uid: u32) -> bool {
    let at = ranges.partition_point(|range| *range.end() < uid);
    ranges.get(at).is_some_and(|range| range.contains(&uid))
}

/// Messages of `old` that `new` lacks, with their index.
fn gone(old: &Snapshot, new: &Snapshot) -> Vec<(usize, u32)> {
    let mut new = new.iter().map(|row| row.uid).peekable();
    let mut gone = Vec::new();
    for (index, row) in old.iter().enumerate() {
        while new.peek().is_some_and(|uid| *uid < row.uid) {
            new.next();
        }
        if new.peek() == Some(&row.uid) {
            new.next();
        } else {
            gone.push((index, row.uid));
        }
    }
    gone
}
