//! The trace: the steps of messages, and what messages are found by.
//!
//! Keys are hashes, and so lie anywhere: to put each into its place at once would cost a page for each. They are gathered
//! in `trace_recent`, which only grows at its end, until there are [`RECENT`] rows; then all go into `trace_key` in their
//! order, as batches behind all others, one for each day. A look for a key reads the recent ones and asks each batch.
//! A message is known to the batch of its first step, by its keys there, or by [`NO_KEY`] if it has none: with that batch
//! it is forgotten.
//!
//! `trace_content` leads from a content in mailboxes to the message that it came with, and to who has read it. Contents'
//! ids sort by time, so new rows go to the end and old ones are forgotten as a range.

use std::collections::HashSet;

use rusqlite::{Connection, Row};

use super::{Txn, all, maybe, one};
use crate::trace::{TraceEntry, TraceKey, TraceRead};
use crate::{Result, What};

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;
/// Rows of recent keys that are put into their places together: about 10 ms of work.
const RECENT: i64 = 2_048;
/// Keys of such a row.
const ROW: usize = 16;
/// What stands for the keys of a message that has none.
const NO_KEY: i64 = 0;

fn day(at: i64) -> i64 {
    at.div_euclid(DAY)
}

/// What a key is found by. 64 bits are enough to keep apart all that are kept at a time.
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

fn hashes(octets: &[u8]) -> impl Iterator<Item = i64> {
    octets.as_chunks().0.iter().map(|octets| i64::from_le_bytes(*octets))
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

/// Messages that got a key since the day of a moment, the latest first.
pub(crate) fn found(connection: &Connection, key: &TraceKey, since: i64, limit: u32) -> Result<Vec<String>> {
    let reading = connection.unchecked_transaction()?;
    let (wanted, limit) = (hash(key), usize::try_from(limit).unwrap_or(usize::MAX));
    let (mut found, mut known) = (Vec::new(), HashSet::new());
    let since = day(since);
    {
        let sql = "SELECT queue_id, hashes FROM trace_recent WHERE at >= ?1 ORDER BY number DESC";
        let mut statement = reading.prepare_cached(sql)?;
        let mut rows = statement.query([since.saturating_mul(DAY)])?;
        while let Some(row) = rows.next()? {
            if hashes(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?).any(|hash| hash == wanted) {
                let queue_id: String = row.get(0)?;
                if known.insert(queue_id.clone()) {
                    found.push(queue_id);
                }
            }
        }
    }
    let batches: Vec<i64> =
        all(&reading, "SELECT batch FROM trace_batch WHERE day >= ?1 ORDER BY day DESC, batch DESC", [since], |row| {
            row.get(0)
        })?;
    let left = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = "SELECT queue_id FROM trace_key WHERE batch = ?1 AND hash = ?2 ORDER BY queue_id DESC LIMIT ?3";
    for batch in batches {
        if found.len() >= limit {
            break;
        }
        let here: Vec<String> = all(&reading, sql, (batch, wanted, left), |row| row.get(0))?;
        found.extend(here.into_iter().filter(|queue_id| known.insert(queue_id.clone())));
    }
    found.truncate(limit);
    Ok(found)
}

/// Octets of an account's id among the readers of a message.
const READER: usize = 8;

/// What of it is news: read by nobody of that account before, in a message whose way is known.
pub(crate) fn news(connection: &Connection, reads: Vec<TraceRead>) -> Result<Vec<TraceRead>> {
    let mut news = Vec::new();
    for read in reads {
        let sql = "SELECT readers FROM trace_content WHERE content = ?1";
        let readers: Option<Vec<u8>> = maybe(connection, sql, [read.content.0], |row| row.get(0))?;
        if readers.is_some_and(|readers| is_new(&readers, &read)) {
            news.push(read);
        }
    }
    Ok(news)
}

fn is_new(readers: &[u8], read: &TraceRead) -> bool {
    readers.len() < TraceRead::MAX_READERS * READER && hashes(readers).all(|reader| reader != read.account.0)
}

impl Txn<'_> {
    /// Remembers which message a content came with.
    pub(crate) fn remember_content(&self, content: i64, queue_id: &str) -> Result<()> {
        self.run("INSERT INTO trace_content VALUES (?1, ?2, x'')", (content, queue_id))?;
        Ok(())
    }

    /// Writes who has read what for the first time; how many that were.
    pub(crate) fn trace_reads(&mut self, reads: &[TraceRead]) -> Result<u64> {
        let mut new = 0;
        for read in reads {
            let sql = "SELECT queue_id, readers FROM trace_content WHERE content = ?1";
            let found: Option<(String, Vec<u8>)> =
                maybe(self.connection, sql, [read.content.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let Some((queue_id, readers)) = found.filter(|(_, readers)| is_new(readers, read)) else { continue };
            let readers = [&readers[..], &read.account.0.to_le_bytes()].concat();
            self.run("UPDATE trace_content SET readers = ?2 WHERE content = ?1", (read.content.0, readers))?;
            let (at, kind, data) = (read.at, read.kind, read.data.clone());
            self.trace(&[TraceEntry { queue_id, at, recipient: None, kind, data, keys: Vec::new() }])?;
            new += 1;
        }
        Ok(new)
    }

    /// Writes steps; a message keeps its first ones and its last ones.
    pub(crate) fn trace(&mut self, entries: &[TraceEntry]) -> Result<()> {
        let half = i64::try_from(TraceEntry::MAX_ENTRIES / 2).unwrap_or(i64::MAX);
        for entry in entries {
            let data = entry.data.get(..TraceEntry::MAX_DATA).unwrap_or(&entry.data);
            let last = "SELECT max(seq) FROM trace WHERE queue_id = ?1";
            let last: Option<i64> = one(self.connection, What::Spool, last, [&entry.queue_id], |row| row.get(0))?;
            let seq = last.map_or(0, |last| last + 1);
            self.run(
                "INSERT INTO trace VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                (&entry.queue_id, seq, entry.at, entry.recipient, entry.kind, data),
            )?;
            if seq >= 2 * half {
                self.run("DELETE FROM trace WHERE queue_id = ?1 AND seq = ?2", (&entry.queue_id, seq - half))?;
            }
            if seq == 0 || !entry.keys.is_empty() {
                self.remember_keys(entry)?;
            }
        }
        Ok(())
    }

    fn remember_keys(&mut self, entry: &TraceEntry) -> Result<()> {
        let mut keys = &entry.keys[..entry.keys.len().min(TraceEntry::MAX_KEYS)];
        loop {
            let (some, rest) = keys.split_at(keys.len().min(ROW));
            let octets: Vec<u8> = some.iter().flat_map(|key| hash(key).to_le_bytes()).collect();
            // Numbers begin with 1 whenever there are none, so the last one tells how many there are.
            self.run("INSERT INTO trace_recent VALUES (NULL, ?1, ?2, ?3)", (entry.at, &entry.queue_id, octets))?;
            if self.connection.last_insert_rowid() >= RECENT {
                self.place_keys()?;
            }
            keys = rest;
            if keys.is_empty() {
                return Ok(());
            }
        }
    }

    /// Puts recent keys into their places.
    fn place_keys(&mut self) -> Result<()> {
        let sql = "SELECT at, queue_id, hashes FROM trace_recent";
        let recent: Vec<(i64, String, Vec<u8>)> =
            all(self.connection, sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let mut keys: Vec<(i64, i64, &str)> = Vec::new();
        for (at, queue_id, octets) in &recent {
            let none = octets.is_empty().then_some(NO_KEY);
            keys.extend(hashes(octets).chain(none).map(|hash| (day(*at), hash, queue_id.as_str())));
        }
        keys.sort_unstable();
        keys.dedup();
        let mut place = self.connection.prepare_cached("INSERT INTO trace_key VALUES (?1, ?2, ?3)")?;
        for day in keys.chunk_by(|(one, ..), (other, ..)| one == other) {
            let Some((of, ..)) = day.first() else { continue };
            self.run("INSERT INTO trace_batch VALUES (NULL, ?1)", [of])?;
            let batch = self.connection.last_insert_rowid();
            for (_, hash, queue_id) in day {
                place.execute((batch, hash, queue_id))?;
            }
        }
        self.run("DELETE FROM trace_recent", [])?;
        Ok(())
    }

    /// Forgets messages of days before that of `before`; about how many rows it removed.
    pub(crate) fn purge_trace(&mut self, before: i64, limit: u32) -> Result<u64> {
        let before = day(before);
        let sql = "DELETE FROM trace_content WHERE content IN
          (SELECT content FROM trace_content WHERE content < ?1 ORDER BY content LIMIT ?2)";
        let mut removed = self.run(sql, (crate::segment::writer::first_id(before.saturating_mul(DAY)), limit))? as u64;
        if removed >= u64::from(limit) {
            return Ok(removed);
        }
        let sql = "SELECT batch FROM trace_batch WHERE day < ?1 ORDER BY batch LIMIT 1";
        if let Some(batch) = maybe(self.connection, sql, [before], |row| row.get::<_, i64>(0))? {
            let sql = "SELECT hash, queue_id FROM trace_key WHERE batch = ?1 ORDER BY hash, queue_id LIMIT ?2";
            let keys: Vec<(i64, String)> =
                all(self.connection, sql, (batch, limit), |row| Ok((row.get(0)?, row.get(1)?)))?;
            if keys.is_empty() {
                removed += self.run("DELETE FROM trace_batch WHERE batch = ?1", [batch])? as u64;
            }
            for (hash, queue_id) in keys {
                // A message can have more steps than all the others together.
                if removed >= u64::from(limit) {
                    break;
                }
                let sql = "DELETE FROM trace_key WHERE batch = ?1 AND hash = ?2 AND queue_id = ?3";
                removed += self.forget(&queue_id)? + self.run(sql, (batch, hash, &queue_id))? as u64;
            }
            return Ok(removed);
        }
        let sql = "SELECT number, queue_id FROM trace_recent WHERE at < ?1 ORDER BY number LIMIT ?2";
        let recent: Vec<(i64, String)> =
            all(self.connection, sql, (before.saturating_mul(DAY), limit), |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (number, queue_id) in recent {
            if removed >= u64::from(limit) {
                break;
            }
            let sql = "DELETE FROM trace_recent WHERE number = ?1";
            removed += self.forget(&queue_id)? + self.run(sql, [number])? as u64;
        }
        Ok(removed)
    }

    fn forget(&self, queue_id: &str) -> Result<u64> {
        Ok(self.run("DELETE FROM trace WHERE queue_id = ?1", [queue_id])? as u64)
    }
}
