//! The spool: mail that could not be delivered at once. What is due when is decided above; here it is kept.

use bytes::Bytes;
use rusqlite::{Connection, Row};

use super::{Txn, all, maybe, one};
use crate::fact::Fact;
use crate::types::{ContentId, NewSpool, Spool, SpoolRecipient, SpoolState};
use crate::{Error, Result, What};

fn recipient_of(row: &Row<'_>) -> rusqlite::Result<SpoolRecipient> {
    Ok(SpoolRecipient {
        queue_id: row.get(0)?,
        number: row.get(1)?,
        address: row.get(2)?,
        parameters: row.get(3)?,
        state: if row.get(4)? { SpoolState::Held } else { SpoolState::Waiting },
        due: row.get(5)?,
        attempts: row.get(6)?,
        last: row.get(7)?,
    })
}

/// Recipients behind `after`, in the order of their entries.
pub(crate) fn recipients(
    connection: &Connection,
    after: Option<(&str, u32)>,
    limit: u32,
) -> Result<Vec<SpoolRecipient>> {
    let (queue_id, number) = after.map_or(("", -1), |(queue_id, number)| (queue_id, i64::from(number)));
    all(
        connection,
        "SELECT * FROM spool_recipient WHERE (queue_id, number) > (?1, ?2) ORDER BY queue_id, number LIMIT ?3",
        (queue_id, number, limit),
        recipient_of,
    )
}

/// Waiting recipients due at `now` or before, the longest due first.
pub(crate) fn due(connection: &Connection, now: i64, limit: u32) -> Result<Vec<SpoolRecipient>> {
    all(
        connection,
        "SELECT * FROM spool_recipient WHERE held = 0 AND due <= ?1 ORDER BY due LIMIT ?2",
        (now, limit),
        recipient_of,
    )
}

pub(crate) fn entry(connection: &Connection, queue_id: &str) -> Result<Spool> {
    one(
        connection,
        What::Spool,
        "SELECT s.queue_id, s.sender, s.parameters, s.created, s.content, c.segment, c.start, c.head + c.body, c.digest
         FROM spool s JOIN content c ON c.id = s.content WHERE s.queue_id = ?1",
        [queue_id],
        |row| {
            Ok(Spool {
                queue_id: row.get(0)?,
                sender: row.get(1)?,
                parameters: row.get(2)?,
                created: row.get(3)?,
                content: super::messages::content_ref(ContentId(row.get(4)?), row.get(5)?, row.get(6)?, row.get(7)?),
                digest: Bytes::from(row.get::<_, Vec<u8>>(8)?),
            })
        },
    )
}

impl Txn<'_> {
    pub(crate) fn insert_spool(&mut self, content: i64, new: &NewSpool) -> Result<()> {
        let added = self.run(
            "INSERT INTO spool VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT(queue_id) DO NOTHING",
            (&new.queue_id, content, &new.sender, &new.parameters, self.now),
        )?;
        if added == 0 {
            return Err(Error::AlreadyExists(What::Spool));
        }
        self.facts.push(Fact::Spooled {
            queue_id: new.queue_id.clone(),
            content,
            sender: new.sender.clone(),
            parameters: new.parameters.clone(),
            created: self.now,
        });
        for (number, recipient) in (0_u32..).zip(&new.recipients) {
            self.put_spool_recipient(&SpoolRecipient {
                queue_id: new.queue_id.clone(),
                number,
                address: recipient.address.clone(),
                parameters: recipient.parameters.clone(),
                state: SpoolState::Waiting,
                due: recipient.due,
                attempts: 0,
                last: Vec::new(),
            })?;
        }
        Ok(())
    }

    /// Writes a recipient as it is now.
    pub(crate) fn put_spool_recipient(&mut self, recipient: &SpoolRecipient) -> Result<()> {
        let held = recipient.state == SpoolState::Held;
        self.run(
            "INSERT INTO spool_recipient VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT(queue_id, number) DO UPDATE SET held = excluded.held, due = excluded.due,
             attempts = excluded.attempts, last = excluded.last, parameters = excluded.parameters",
            (
                &recipient.queue_id,
                recipient.number,
                &recipient.address,
                &recipient.parameters,
                held,
                recipient.due,
                recipient.attempts,
                &recipient.last,
            ),
        )?;
        self.facts.push(Fact::SpooledRecipient {
            queue_id: recipient.queue_id.clone(),
            number: recipient.number,
            address: recipient.address.clone(),
            parameters: recipient.parameters.clone(),
            held: u8::from(held),
            due: recipient.due,
            attempts: recipient.attempts,
            last: recipient.last.clone(),
        });
        Ok(())
    }

    /// Changes a recipient that must be there.
    pub(crate) fn update_spool_recipient(&mut self, recipient: &SpoolRecipient) -> Result<()> {
        let sql = "SELECT 1 FROM spool_recipient WHERE queue_id = ?1 AND number = ?2";
        one(self.connection, What::Spool, sql, (&recipient.queue_id, recipient.number), |_| Ok(()))?;
        self.put_spool_recipient(recipient)
    }

    /// A recipient is done with; with the last one the entry goes.
    pub(crate) fn remove_spool_recipient(&mut self, queue_id: &str, number: u32) -> Result<()> {
        let sql = "DELETE FROM spool_recipient WHERE queue_id = ?1 AND number = ?2";
        if self.run(sql, (queue_id, number))? == 0 {
            return Err(Error::NotFound(What::Spool));
        }
        self.facts.push(Fact::SpooledRecipientGone { queue_id: queue_id.to_owned(), number });
        let left = "SELECT 1 FROM spool_recipient WHERE queue_id = ?1 LIMIT 1";
        if maybe(self.connection, left, [queue_id], |_| Ok(()))?.is_none() {
            let sql = "SELECT content FROM spool WHERE queue_id = ?1";
            let content: i64 = one(self.connection, What::Spool, sql, [queue_id], |row| row.get(0))?;
            self.release(content)?;
            self.run("DELETE FROM spool WHERE queue_id = ?1", [queue_id])?;
        }
        Ok(())
    }
}
