//! The tables, their version, and how a connection is opened.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::{Error, Result};

/// The version of the format, in the index (`user_version`) and in the file `format`.
///
/// 2: spooled recipients by destination, the trace, rooms. 3: when a spooled recipient was released.
pub(crate) const VERSION: i64 = 3;

/// The oldest SQLite without the defect that lets two connections corrupt a WAL between them.
const OLDEST_SQLITE: i32 = 3_051_003;

/// `msg` is what changes, narrow and clustered by mailbox; `content` never changes. `arrival` of a message needs no row
/// of its own in a log: its mod-sequence stands in `msg` until its flags change, and those changes are in `flag_log`.
/// `expunged` is QRESYNC's VANISHED and the history in one.
const TABLES: &str = "
CREATE TABLE setting(key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE domain(name TEXT PRIMARY KEY, catch_all TEXT) STRICT, WITHOUT ROWID;
CREATE TABLE account(
  id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, address TEXT NOT NULL, enabled INTEGER NOT NULL,
  volume INTEGER NOT NULL, quota INTEGER, used_octets INTEGER NOT NULL, used_messages INTEGER NOT NULL,
  created INTEGER NOT NULL) STRICT;
CREATE TABLE account_grant(account INTEGER NOT NULL, pattern TEXT NOT NULL, PRIMARY KEY(account, pattern))
  STRICT, WITHOUT ROWID;
CREATE TABLE credential(account INTEGER NOT NULL, kind TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY(account, kind))
  STRICT, WITHOUT ROWID;
CREATE TABLE alias(key TEXT NOT NULL, number INTEGER NOT NULL, target TEXT NOT NULL, PRIMARY KEY(key, number))
  STRICT, WITHOUT ROWID;
CREATE TABLE mailbox(
  id INTEGER PRIMARY KEY, account INTEGER NOT NULL, name TEXT NOT NULL, uid_validity INTEGER NOT NULL,
  uid_next INTEGER NOT NULL, mod_seq INTEGER NOT NULL, messages INTEGER NOT NULL, unseen INTEGER NOT NULL,
  deleted INTEGER NOT NULL, octets INTEGER NOT NULL, special_use TEXT, UNIQUE(account, name)) STRICT;
CREATE TABLE subscription(account INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY(account, name))
  STRICT, WITHOUT ROWID;
CREATE TABLE keyword(mailbox INTEGER NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL,
  PRIMARY KEY(mailbox, number)) STRICT, WITHOUT ROWID;
CREATE TABLE msg(
  mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, mod_seq INTEGER NOT NULL, flags INTEGER NOT NULL,
  octets INTEGER NOT NULL, received INTEGER NOT NULL, zone INTEGER NOT NULL, saved INTEGER NOT NULL,
  content INTEGER NOT NULL, thread INTEGER NOT NULL, prefix BLOB NOT NULL, PRIMARY KEY(mailbox, uid))
  STRICT, WITHOUT ROWID;
CREATE TABLE content(
  id INTEGER PRIMARY KEY, refs INTEGER NOT NULL, volume INTEGER NOT NULL, segment INTEGER NOT NULL,
  start INTEGER NOT NULL, head INTEGER NOT NULL, body INTEGER NOT NULL, codec INTEGER NOT NULL,
  key_id INTEGER NOT NULL, hash BLOB NOT NULL, digest BLOB NOT NULL) STRICT;
CREATE TABLE flag_log(
  mailbox INTEGER NOT NULL, mod_seq INTEGER NOT NULL, uid INTEGER NOT NULL, at INTEGER NOT NULL,
  old INTEGER NOT NULL, PRIMARY KEY(mailbox, mod_seq, uid)) STRICT, WITHOUT ROWID;
CREATE TABLE expunged(
  mailbox INTEGER NOT NULL, mod_seq INTEGER NOT NULL, uid INTEGER NOT NULL, at INTEGER NOT NULL,
  flags INTEGER NOT NULL, octets INTEGER NOT NULL, received INTEGER NOT NULL, zone INTEGER NOT NULL,
  saved INTEGER NOT NULL, content INTEGER NOT NULL, thread INTEGER NOT NULL, prefix BLOB NOT NULL,
  moved INTEGER NOT NULL, PRIMARY KEY(mailbox, mod_seq, uid)) STRICT, WITHOUT ROWID;
CREATE TABLE catalogue_log(
  number INTEGER PRIMARY KEY, account INTEGER NOT NULL, at INTEGER NOT NULL, what TEXT NOT NULL,
  mailbox INTEGER NOT NULL, old TEXT, new TEXT) STRICT;
CREATE TABLE segment(id INTEGER PRIMARY KEY, volume INTEGER NOT NULL, state INTEGER NOT NULL, octets INTEGER NOT NULL,
  live INTEGER NOT NULL) STRICT;
CREATE TABLE spool(
  queue_id TEXT PRIMARY KEY, content INTEGER NOT NULL, sender TEXT NOT NULL, parameters BLOB NOT NULL,
  created INTEGER NOT NULL) STRICT, WITHOUT ROWID;
";

/// What version 2 added, or has in another shape.
pub(crate) const TABLES_2: &str = "
CREATE TABLE spool_recipient(
  queue_id TEXT NOT NULL, number INTEGER NOT NULL, address TEXT NOT NULL, destination TEXT NOT NULL,
  parameters BLOB NOT NULL, held INTEGER NOT NULL, due INTEGER NOT NULL, attempts INTEGER NOT NULL,
  last BLOB NOT NULL, PRIMARY KEY(queue_id, number)) STRICT, WITHOUT ROWID;
CREATE INDEX spool_destination ON spool_recipient(held, destination, due);
CREATE INDEX spool_created ON spool(created);
CREATE TABLE trace(
  queue_id TEXT NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, recipient INTEGER, kind INTEGER NOT NULL,
  data BLOB NOT NULL, PRIMARY KEY(queue_id, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE trace_recent(
  number INTEGER PRIMARY KEY, at INTEGER NOT NULL, queue_id TEXT NOT NULL, hashes BLOB NOT NULL) STRICT;
CREATE TABLE trace_batch(batch INTEGER PRIMARY KEY, day INTEGER NOT NULL) STRICT;
CREATE TABLE trace_key(
  batch INTEGER NOT NULL, hash INTEGER NOT NULL, queue_id TEXT NOT NULL, PRIMARY KEY(batch, hash, queue_id))
  STRICT, WITHOUT ROWID;
CREATE TABLE trace_content(content INTEGER PRIMARY KEY, queue_id TEXT NOT NULL, readers BLOB NOT NULL) STRICT;
CREATE TABLE room(
  room TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, expires INTEGER, PRIMARY KEY(room, key))
  STRICT, WITHOUT ROWID;
CREATE INDEX room_expires ON room(expires) WHERE expires IS NOT NULL;
";

/// What version 3 added.
pub(crate) const TABLES_3: &str = "ALTER TABLE spool_recipient ADD COLUMN released INTEGER NOT NULL DEFAULT 0";

/// How safely SQLite writes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Synchronous {
    /// Every commit survives a power cut.
    #[default]
    Full,
    /// Commits survive `kill -9` alone: the control that shows that tests of power cuts can fail.
    Normal,
}

/// Opens a connection for writing.
pub(crate) fn open(path: &Path, vfs: Option<&str>, synchronous: Synchronous) -> Result<Connection> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(Error::Unusable(format!(
            "SQLite {} can corrupt an index that several processes share; 3.51.3 or newer is needed",
            rusqlite::version()
        )));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = open_with(path, vfs, flags)?;
    if vfs.is_some() {
        // A simulated disk has no memory to share between processes.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", if synchronous == Synchronous::Full { "FULL" } else { "NORMAL" })?;
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.pragma_update(None, "cache_size", -8000)?;
    Ok(connection)
}

/// Opens a connection for reading.
pub(crate) fn open_reader(path: &Path, vfs: Option<&str>) -> Result<Connection> {
    let connection = open_with(path, vfs, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -2000)?;
    Ok(connection)
}

fn open_with(path: &Path, vfs: Option<&str>, flags: OpenFlags) -> Result<Connection> {
    let connection = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// The version of the tables: 0 if there are none.
pub(crate) fn version(connection: &Connection) -> Result<i64> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Makes the tables, with the first UIDVALIDITY: a stored counter that begins anywhere but is never a clock (rule 19).
pub(crate) fn create(connection: &Connection, random: u64) -> Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let made = || -> Result<()> {
        if version(connection)? == 0 {
            connection.execute_batch(TABLES)?;
            connection.execute_batch(TABLES_2)?;
            connection.execute_batch(TABLES_3)?;
            let first = i64::from((random & 0x0fff_ffff) as u32 | 0x1000_0000);
            for (key, value) in [("uid_validity", first), ("writer", 0), ("directory", 1)] {
                connection.execute("INSERT INTO setting VALUES (?1, ?2)", (key, value.to_le_bytes()))?;
            }
            connection.pragma_update(None, "user_version", VERSION)?;
        }
        Ok(())
    }();
    connection.execute_batch(if made.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    made
}

/// Adds one to a counter among the settings; its new value.
pub(crate) fn count(connection: &Connection, key: &str) -> Result<i64> {
    let old = counter(connection, key)?;
    connection
        .prepare_cached("INSERT INTO setting VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value")?
        .execute((key, (old + 1).to_le_bytes()))?;
    Ok(old + 1)
}

/// A counter among the settings.
pub(crate) fn counter(connection: &Connection, key: &str) -> Result<i64> {
    let value: Option<Vec<u8>> =
        super::maybe(connection, "SELECT value FROM setting WHERE key = ?1", [key], |row| row.get(0))?;
    Ok(value.and_then(|octets| octets.try_into().ok()).map_or(0, i64::from_le_bytes))
}
