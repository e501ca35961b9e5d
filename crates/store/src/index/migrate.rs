//! Brings the index of an older version to this one's format.

use rusqlite::Connection;

use super::{all, schema, spool};
use crate::{Error, Result};

/// Migrates in one transaction, step by step; the store is the caller's alone.
pub(crate) fn run(connection: &Connection) -> Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let done = steps(connection);
    connection.execute_batch(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    done
}

fn steps(connection: &Connection) -> Result<()> {
    loop {
        match schema::version(connection)? {
            // No tables yet: they will be made as they are now.
            0 | schema::VERSION => return Ok(()),
            1 => to_2(connection)?,
            2 => to_3(connection)?,
            other => return Err(Error::Unusable(format!("the index has format {other}, which is no known one"))),
        }
    }
}

/// Spooled recipients get a destination; the trace and the rooms are new.
fn to_2(connection: &Connection) -> Result<()> {
    connection.execute_batch("DROP INDEX spool_due; ALTER TABLE spool_recipient RENAME TO spool_recipient_1")?;
    connection.execute_batch(schema::TABLES_2)?;
    let sql = "SELECT queue_id, number, address FROM spool_recipient_1";
    let rows: Vec<(String, u32, String)> = all(connection, sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    for (queue_id, number, address) in rows {
        connection
            .prepare_cached(
                "INSERT INTO spool_recipient SELECT queue_id, number, address, ?3, parameters, held, due, attempts, last
                 FROM spool_recipient_1 WHERE queue_id = ?1 AND number = ?2",
            )?
            .execute((queue_id, number, spool::destination_of(&address)))?;
    }
    connection.flush_prepared_statement_cache();
    connection.execute_batch("DROP TABLE spool_recipient_1")?;
    connection.pragma_update(None, "user_version", 2)?;
    Ok(())
}

/// Spooled recipients remember their release; nobody knows of earlier ones.
fn to_3(connection: &Connection) -> Result<()> {
    connection.execute_batch(schema::TABLES_3)?;
    connection.pragma_update(None, "user_version", 3)?;
    Ok(())
}
