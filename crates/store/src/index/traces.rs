//! The trace: the steps of messages, and what messages are found by.
//!
//! Keys lie in `trace_key` by the period they were written in, then by their hash: those of one period are near each
//! other, so that a batch of deliveries changes few pages, and whole periods are forgotten at once. A message is known to
//! the period of its first step, by its keys there, or by [`NO_KEY`] if it has none: with that period it is forgotten.

use std::collections::HashSet;

use rusqlite::{Connection, Row};

use super::{Txn, all, maybe, one};
use crate::trace::{TraceEntry, TraceKey};
use crate::{Result, What};

/// Bits of the milliseconds of a period: 70 minutes.
const PERIOD: u32 = 22;
/// What stands for the keys of a message that has none.
const NO_KEY: i64 = 0;

fn period(at: i64) -> i64 {
    at >> PERIOD
}

/// Messages of one hash share their traces' places alone: 64 bits are enough for all that are kept at a time.
fn hash(key: &TraceKey) -> i64 {
    let mut hasher = blake3::Hasher::new();
    let (kind, text) = match key {
        TraceKey::MessageId(text) => (b"m", text),
        TraceKey::Address(text) => (b"a", text),
    };
    hasher.update(kind);
    hasher.update(text.as_bytes());
    let octets = hasher.finalize();
    let hash = octets.as_bytes().first_chunk().map_or(1, |octets| i64::from_le_bytes(*octets));
    if hash == NO_KEY { 1 } else { hash }
}

fn entry_of(row: &Row<'_>, queue_id: &str) -> rusqlite::Result<TraceEntry> {
    Ok(TraceEntry {
        queue_id: queue_id.to_owned(),
        at: row.get(0)?,
        recipient: row.get(1)?,
        kind: row.get(2)?,
        data: row.get(3)?,
        keys: Vec::new(),
    })
}

/// The steps of a message.
pub(crate) fn of(connection: &Connection, queue_id: &str) -> Result<Vec<TraceEntry>> {
    let sql = "SELECT at, recipient, kind, data FROM trace WHERE queue_id = ?1 ORDER BY seq";
    all(connection, sql, [queue_id], |row| entry_of(row, queue_id))
}

/// Messages that got a key since a moment, the latest first.
pub(crate) fn found(connection: &Connection, key: &TraceKey, since: i64, limit: u32) -> Result<Vec<String>> {
    let reading = connection.unchecked_transaction()?;
    let (hash, limit) = (hash(key), usize::try_from(limit).unwrap_or(usize::MAX));
    let (mut found, mut known) = (Vec::new(), HashSet::new());
    let mut at = i64::MAX;
    while found.len() < limit {
        let sql = "SELECT period FROM trace_key WHERE period < ?1 AND period >= ?2 ORDER BY period DESC LIMIT 1";
        let Some(next) = maybe(&reading, sql, (at, period(since)), |row| row.get(0))? else { break };
        at = next;
        let left = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "SELECT queue_id FROM trace_key WHERE period = ?1 AND hash = ?2 ORDER BY queue_id DESC LIMIT ?3";
        let here: Vec<String> = all(&reading, sql, (at, hash, left), |row| row.get(0))?;
        found.extend(here.into_iter().filter(|queue_id| known.insert(queue_id.clone())));
    }
    found.truncate(limit);
    Ok(found)
}

impl Txn<'_> {
    /// Writes steps; a message keeps its first ones and its last ones.
    pub(crate) fn trace(&mut self, entries: &[TraceEntry]) -> Result<()> {
        let half = i64::try_from(TraceEntry::MAX_ENTRIES / 2).unwrap_or(i64::MAX);
        for entry in entries {
            let data = entry.data.get(..TraceEntry::MAX_DATA).unwrap_or(&entry.data);
            let seq: i64 = one(
                self.connection,
                What::Spool,
                "INSERT INTO trace SELECT ?1, coalesce(max(seq) + 1, 0), ?2, ?3, ?4, ?5 FROM trace WHERE queue_id = ?1
                 RETURNING seq",
                (&entry.queue_id, entry.at, entry.recipient, entry.kind, data),
                |row| row.get(0),
            )?;
            if seq >= 2 * half {
                self.run("DELETE FROM trace WHERE queue_id = ?1 AND seq = ?2", (&entry.queue_id, seq - half))?;
            }
            let keys = entry.keys.iter().take(TraceEntry::MAX_KEYS).map(hash);
            let none = (seq == 0 && entry.keys.is_empty()).then_some(NO_KEY);
            for hash in keys.chain(none) {
                self.run(
                    "INSERT OR IGNORE INTO trace_key VALUES (?1, ?2, ?3)",
                    (period(entry.at), hash, &entry.queue_id),
                )?;
            }
        }
        Ok(())
    }

    /// Forgets messages of periods that ended at `before` or earlier; how many rows it removed.
    pub(crate) fn purge_trace(&mut self, before: i64, limit: u32) -> Result<u64> {
        let sql =
            "SELECT period, hash, queue_id FROM trace_key WHERE period < ?1 ORDER BY period, hash, queue_id LIMIT ?2";
        let keys: Vec<(i64, i64, String)> =
            all(self.connection, sql, (period(before), limit), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let mut removed = 0;
        for (period, hash, queue_id) in keys {
            // A message can have more steps than all the others together.
            if removed >= u64::from(limit) {
                break;
            }
            removed += self.run("DELETE FROM trace WHERE queue_id = ?1", [&queue_id])? as u64;
            let sql = "DELETE FROM trace_key WHERE period = ?1 AND hash = ?2 AND queue_id = ?3";
            removed += self.run(sql, (period, hash, queue_id))? as u64;
        }
        Ok(removed)
    }
}
