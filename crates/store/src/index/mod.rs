//! The index: one SQLite database per volume, with everything but the octets of messages.

pub(crate) mod catalogue;
pub(crate) mod mailboxes;
pub(crate) mod messages;
pub(crate) mod migrate;
pub(crate) mod rooms;
pub(crate) mod schema;
pub(crate) mod spool;
pub(crate) mod traces;

use std::collections::BTreeSet;

use rusqlite::{Connection, Params, Row};

use crate::engine::Pending;
use crate::fact::Fact;
use crate::segment::writer::SegmentIds;
use crate::spool::NewSpool;
use crate::trace::TraceEntry;
use crate::types::{AccountId, MailboxId, Placed, Recipient, ZonedTime};
use crate::{Error, Result, What};

/// A transaction of the one committing thread, with what has to be done once it is committed.
pub(crate) struct Txn<'a> {
    pub(crate) connection: &'a Connection,
    /// Milliseconds since 1970.
    pub(crate) now: i64,
    pub(crate) ids: &'a mut SegmentIds,
    pub(crate) facts: Vec<Fact>,
    pub(crate) touched: BTreeSet<MailboxId>,
    pub(crate) accounts: BTreeSet<AccountId>,
    pub(crate) directory: bool,
    /// Whether those who watch the spool should look again.
    pub(crate) spool: bool,
}

impl Txn<'_> {
    /// A new id, larger than any before.
    pub(crate) fn id(&mut self) -> i64 {
        self.ids.next(self.now)
    }

    /// Seconds since 1970.
    pub(crate) fn seconds(&self) -> i64 {
        self.now.div_euclid(1000)
    }

    /// Runs a statement; the rows it changed.
    pub(crate) fn run(&self, sql: &str, parameters: impl Params) -> Result<usize> {
        Ok(self.connection.prepare_cached(sql)?.execute(parameters)?)
    }

    /// Takes a message for its local recipients and into the spool.
    pub(crate) fn accept(
        &mut self,
        pending: &Pending,
        received: ZonedTime,
        recipients: &[Recipient],
        spool: &[NewSpool],
        trace: &[TraceEntry],
    ) -> Result<Vec<Placed>> {
        let content = pending.content()?;
        self.insert_content(&content, recipients.len() + spool.len(), &pending.digest)?;
        for spool in spool {
            self.insert_spool(content.id, spool)?;
        }
        let placed = recipients.iter().map(|recipient| self.deliver(&content, recipient, received)).collect();
        self.trace(trace)?;
        if let Some(first) = trace.first()
            && !recipients.is_empty()
        {
            self.remember_content(content.id, &first.queue_id)?;
        }
        placed
    }
}

/// The one row of a query, or `NotFound`.
pub(crate) fn one<T>(
    connection: &Connection,
    what: What,
    sql: &str,
    parameters: impl Params,
    row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<T> {
    maybe(connection, sql, parameters, row)?.ok_or(Error::NotFound(what))
}

/// The row of a query, if there is one.
pub(crate) fn maybe<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>> {
    use rusqlite::OptionalExtension as _;
    Ok(connection.prepare_cached(sql)?.query_row(parameters, row).optional()?)
}

/// All rows of a query.
pub(crate) fn all<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(parameters, row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// SQLite keeps signed numbers; what it gives back was put in by us.
pub(crate) fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}

/// The other direction of [`unsigned`].
pub(crate) fn signed(number: u64) -> i64 {
    number.cast_signed()
}
