//! Rooms: small facts that are good for a time, such as policies of other hosts.

use rusqlite::{Connection, Row};

use super::{Txn, all, maybe};
use crate::room::RoomFact;
use crate::{Error, Result};

/// The longest name of a room, in octets.
const MAX_ROOM: usize = 64;
/// The longest key, in octets.
const MAX_KEY: usize = 1_000;

fn fact_of(row: &Row<'_>) -> rusqlite::Result<RoomFact> {
    Ok(RoomFact { key: row.get(0)?, value: row.get(1)?, expires: row.get(2)? })
}

pub(crate) fn fact(connection: &Connection, room: &str, key: &str) -> Result<Option<RoomFact>> {
    maybe(connection, "SELECT key, value, expires FROM room WHERE room = ?1 AND key = ?2", (room, key), fact_of)
}

/// Facts of a room behind `after`, by key.
pub(crate) fn facts(connection: &Connection, room: &str, after: Option<&str>, limit: u32) -> Result<Vec<RoomFact>> {
    // A comparison with NULL is never true, so that the key "" is found, too.
    let sql = if after.is_some() {
        "SELECT key, value, expires FROM room WHERE room = ?1 AND key > ?2 ORDER BY key LIMIT ?3"
    } else {
        "SELECT key, value, expires FROM room WHERE room = ?1 AND ?2 IS NULL ORDER BY key LIMIT ?3"
    };
    all(connection, sql, (room, after, limit), fact_of)
}

impl Txn<'_> {
    pub(crate) fn put_room_fact(&mut self, room: &str, fact: &RoomFact) -> Result<()> {
        if room.len() > MAX_ROOM || fact.key.len() > MAX_KEY || fact.value.len() > RoomFact::MAX_VALUE {
            return Err(Error::Limit("octets of a small fact"));
        }
        self.run(
            "INSERT INTO room VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT(room, key) DO UPDATE SET value = excluded.value, expires = excluded.expires",
            (room, &fact.key, &fact.value, fact.expires),
        )?;
        Ok(())
    }

    /// How many there were: one or none.
    pub(crate) fn remove_room_fact(&mut self, room: &str, key: &str) -> Result<u64> {
        Ok(self.run("DELETE FROM room WHERE room = ?1 AND key = ?2", (room, key))? as u64)
    }

    /// Removes what expired at `now` or before, of all rooms; how many.
    pub(crate) fn purge_rooms(&mut self, now: i64, limit: u32) -> Result<u64> {
        let sql = "SELECT room, key FROM room WHERE expires <= ?1 ORDER BY expires LIMIT ?2";
        let expired: Vec<(String, String)> =
            all(self.connection, sql, (now, limit), |row| Ok((row.get(0)?, row.get(1)?)))?;
        expired.iter().try_fold(0, |gone, (room, key)| Ok(gone + self.remove_room_fact(room, key)?))
    }
}
