//! The spool: mail that could not be delivered at once. What is due when is decided above; here it is kept.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use bytes::Bytes;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::{Txn, all, maybe, one, unsigned};
use crate::fact::Fact;
use crate::spool::{
    NewSpool, Settled, Spool, SpoolChange, SpoolCounts, SpoolDestination, SpoolDestinationCount, SpoolFilter,
    SpoolRecipient, SpoolState,
};
use crate::trace::TraceEntry;
use crate::types::ContentId;
use crate::{Error, Result, What};

const COLUMNS: &str = "r.queue_id, r.number, r.address, r.destination, r.parameters, r.held, r.due, r.attempts, r.last,
  r.released";

fn recipient_of(row: &Row<'_>) -> rusqlite::Result<SpoolRecipient> {
    Ok(SpoolRecipient {
        queue_id: row.get(0)?,
        number: row.get(1)?,
        address: row.get(2)?,
        destination: row.get(3)?,
        parameters: row.get(4)?,
        state: if row.get(5)? { SpoolState::Held } else { SpoolState::Waiting },
        due: row.get(6)?,
        attempts: row.get(7)?,
        last: row.get(8)?,
        released: row.get(9)?,
    })
}

/// The destination of an address of which none was told: its domain in lower case.
pub(crate) fn destination_of(address: &str) -> String {
    address.rsplit_once('@').map_or("", |(_, domain)| domain).to_ascii_lowercase()
}

/// A query with what its question marks mean.
struct Query {
    sql: String,
    values: Vec<Value>,
}

impl Query {
    /// The recipients that fit, in order.
    fn new(columns: &str, filter: &SpoolFilter, limit: u32) -> Self {
        let join = if filter.sender.is_some() { " JOIN spool s ON s.queue_id = r.queue_id" } else { "" };
        let mut query =
            Self { sql: format!("SELECT {columns} FROM spool_recipient r{join} WHERE 1"), values: Vec::new() };
        if let Some((queue_id, number)) = &filter.after {
            query.and("(r.queue_id, r.number) > (?, ?)", [queue_id.clone().into(), i64::from(*number).into()]);
        }
        if let Some(prefix) = &filter.queue_id {
            let end = format!("{prefix}{}", char::MAX);
            query.and("r.queue_id BETWEEN ? AND ?", [prefix.clone().into(), end.into()]);
        }
        if let Some(destination) = &filter.destination {
            // Both words of it, so that the index by destination can be used. It is in another order, so each answer costs
            // a look at all rows of the destination; whoever asks for more than one answer is better off without it.
            query.and(
                if filter.after.is_none() { "r.held IN (0, 1) AND r.destination = ?" } else { "+r.destination = ?" },
                [destination.clone().into()],
            );
        }
        if let Some(state) = filter.state {
            query.and(
                if filter.after.is_none() { "r.held = ?" } else { "+r.held = ?" },
                [i64::from(state == SpoolState::Held).into()],
            );
        }
        if let Some(sender) = &filter.sender {
            query.and_address("s.sender", sender);
        }
        if let Some(recipient) = &filter.recipient {
            query.and_address("r.address", recipient);
        }
        query.sql.push_str(" ORDER BY r.queue_id, r.number LIMIT ?");
        query.values.push(i64::from(limit).into());
        query
    }

    fn and<const N: usize>(&mut self, condition: &str, values: [Value; N]) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.extend(values);
    }

    fn and_address(&mut self, column: &str, wanted: &str) {
        let wanted = wanted.to_ascii_lowercase();
        if wanted.starts_with('@') {
            let characters = i64::try_from(wanted.chars().count()).unwrap_or(i64::MAX);
            self.and(&format!("lower(substr({column}, -?)) = ?"), [characters.into(), wanted.into()]);
        } else {
            self.and(&format!("lower({column}) = ?"), [wanted.into()]);
        }
    }

    fn all<T>(self, connection: &Connection, row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>> {
        all(connection, &self.sql, params_from_iter(self.values), row)
    }
}

/// Recipients that fit, in the order of their entries.
pub(crate) fn recipients(connection: &Connection, filter: &SpoolFilter, limit: u32) -> Result<Vec<SpoolRecipient>> {
    Query::new(COLUMNS, filter, limit).all(connection, recipient_of)
}

/// As [`recipients`], by their keys alone.
pub(crate) fn keys(connection: &Connection, filter: &SpoolFilter, limit: u32) -> Result<Vec<(String, u32)>> {
    Query::new("r.queue_id, r.number", filter, limit).all(connection, |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Destinations that recipients wait for: one look into the index for each, which skips the others of its kind.
pub(crate) fn destinations(connection: &Connection, after: Option<&str>, limit: u32) -> Result<Vec<SpoolDestination>> {
    let sql = "SELECT destination, due FROM spool_recipient WHERE held = 0 AND destination > ?1
      ORDER BY destination, due LIMIT 1";
    let mut found = Vec::new();
    let of = |row: &Row<'_>| Ok(SpoolDestination { destination: row.get(0)?, earliest_due: row.get(1)? });
    let first = match after {
        Some(after) => maybe(connection, sql, [after], of)?,
        None => {
            let sql = "SELECT destination, due FROM spool_recipient WHERE held = 0 ORDER BY destination, due LIMIT 1";
            maybe(connection, sql, [], of)?
        }
    };
    let mut next = first;
    while let Some(destination) = next.filter(|_| found.len() < usize::try_from(limit).unwrap_or(usize::MAX)) {
        next = maybe(connection, sql, [&destination.destination], of)?;
        found.push(destination);
    }
    Ok(found)
}

/// Waiting recipients of a destination, due at `now` or before, the longest due first.
pub(crate) fn due(connection: &Connection, destination: &str, now: i64, limit: u32) -> Result<Vec<SpoolRecipient>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM spool_recipient r WHERE held = 0 AND destination = ?1 AND due <= ?2
         ORDER BY due, queue_id, number LIMIT ?3"
    );
    all(connection, &sql, (destination, now, limit), recipient_of)
}

/// Where a recipient stands among those due: its moment and its key.
type Place = (i64, String, u32);

/// As [`due`], of all destinations: their queues are read together, a few rows of each at a time.
pub(crate) fn due_anywhere(connection: &Connection, now: i64, limit: u32) -> Result<Vec<SpoolRecipient>> {
    const PIECE: u32 = 16;
    let reading = connection.unchecked_transaction()?;
    let piece = |destination: &str, (due, queue_id, number): &Place| -> Result<VecDeque<Place>> {
        let sql = "SELECT due, queue_id, number FROM spool_recipient WHERE held = 0 AND destination = ?1 AND due <= ?2
          AND (due, queue_id, number) > (?3, ?4, ?5) ORDER BY due, queue_id, number LIMIT ?6";
        let parameters = (destination, now, due, queue_id, number, PIECE);
        Ok(all(&reading, sql, parameters, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.into())
    };
    let mut heap: BinaryHeap<Reverse<(i64, String)>> = destinations(&reading, None, u32::MAX)?
        .into_iter()
        .filter(|destination| destination.earliest_due <= now)
        .map(|destination| Reverse((destination.earliest_due, destination.destination)))
        .collect();
    let mut queues: HashMap<String, VecDeque<Place>> = HashMap::new();
    let mut found = Vec::new();
    let sql = format!("SELECT {COLUMNS} FROM spool_recipient r WHERE queue_id = ?1 AND number = ?2");
    while let Some(Reverse((_, destination))) = heap.pop() {
        if found.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            break;
        }
        if !queues.contains_key(&destination) {
            queues.insert(destination.clone(), piece(&destination, &(i64::MIN, String::new(), 0))?);
        }
        let Some(queue) = queues.get_mut(&destination) else { continue };
        let Some(place) = queue.pop_front() else { continue };
        found.push(one(&reading, What::Spool, &sql, (&place.1, place.2), recipient_of)?);
        if queue.is_empty() {
            *queue = piece(&destination, &place)?;
        }
        match queue.front() {
            Some((due, ..)) => heap.push(Reverse((*due, destination))),
            None => {
                queues.remove(&destination);
            }
        }
    }
    Ok(found)
}

/// What there is, in numbers.
pub(crate) fn counts(connection: &Connection, now: i64, ages: &[i64], largest: usize) -> Result<SpoolCounts> {
    let reading = connection.unchecked_transaction()?;
    let mut counts = SpoolCounts { ages: vec![0; ages.len() + 1], ..SpoolCounts::default() };
    counts.oldest = one(&reading, What::Spool, "SELECT min(created) FROM spool", [], |row| row.get(0))?;
    let mut until = i64::MAX;
    for (count, age) in counts.ages.iter_mut().zip(ages.iter().map(|age| now.saturating_sub(*age)).chain([i64::MIN])) {
        let sql = "SELECT count(*) FROM spool WHERE created >= ?1 AND created < ?2";
        *count = one(&reading, What::Spool, sql, (age, until), |row| row.get(0).map(unsigned))?;
        until = until.min(age);
    }
    counts.entries = counts.ages.iter().sum();
    let mut by_destination: HashMap<String, (u64, u64)> = HashMap::new();
    let sql = "SELECT held, destination, count(*) FROM spool_recipient GROUP BY held, destination";
    let rows: Vec<(bool, String, u64)> =
        all(&reading, sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2).map(unsigned)?)))?;
    for (held, destination, count) in rows {
        let of = by_destination.entry(destination).or_default();
        if held {
            of.1 += count;
            counts.held += count;
        } else {
            of.0 += count;
            counts.waiting += count;
        }
    }
    counts.destinations = by_destination.len() as u64;
    counts.largest = by_destination
        .into_iter()
        .map(|(destination, (waiting, held))| SpoolDestinationCount { destination, waiting, held })
        .collect();
    counts.largest.sort_unstable_by(|a, b| {
        (b.waiting + b.held).cmp(&(a.waiting + a.held)).then_with(|| a.destination.cmp(&b.destination))
    });
    counts.largest.truncate(largest);
    Ok(counts)
}

const ENTRY: &str = "SELECT s.queue_id, s.sender, s.parameters, s.created, s.content, c.segment, c.start,
  c.head + c.body, c.digest FROM spool s JOIN content c ON c.id = s.content WHERE s.queue_id = ?1";

fn entry_of(row: &Row<'_>) -> rusqlite::Result<Spool> {
    Ok(Spool {
        queue_id: row.get(0)?,
        sender: row.get(1)?,
        parameters: row.get(2)?,
        created: row.get(3)?,
        content: super::messages::content_ref(ContentId(row.get(4)?), row.get(5)?, row.get(6)?, row.get(7)?),
        digest: Bytes::from(row.get::<_, Vec<u8>>(8)?),
    })
}

pub(crate) fn entry(connection: &Connection, queue_id: &str) -> Result<Spool> {
    one(connection, What::Spool, ENTRY, [queue_id], entry_of)
}

/// An entry and those of its recipients that have these numbers.
pub(crate) fn batch(
    connection: &Connection,
    queue_id: &str,
    numbers: &[u32],
) -> Result<Option<(Spool, Vec<SpoolRecipient>)>> {
    let Some(spool) = maybe(connection, ENTRY, [queue_id], entry_of)? else { return Ok(None) };
    let (first, last) = (numbers.iter().min(), numbers.iter().max());
    let sql = format!(
        "SELECT {COLUMNS} FROM spool_recipient r WHERE queue_id = ?1 AND number BETWEEN ?2 AND ?3 ORDER BY number"
    );
    let mut recipients = all(connection, &sql, (queue_id, first, last), recipient_of)?;
    recipients.retain(|recipient| numbers.contains(&recipient.number));
    Ok(Some((spool, recipients)))
}

/// The entries that are there, in the order asked for.
pub(crate) fn entries(connection: &Connection, queue_ids: &[String]) -> Result<Vec<Spool>> {
    queue_ids.iter().filter_map(|queue_id| maybe(connection, ENTRY, [queue_id], entry_of).transpose()).collect()
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
        self.spool = true;
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
                destination: recipient.destination.clone(),
                parameters: recipient.parameters.clone(),
                state: SpoolState::Waiting,
                due: recipient.due,
                attempts: 0,
                last: Vec::new(),
                released: 0,
            })?;
        }
        Ok(())
    }

    /// Writes a recipient as it is now.
    pub(crate) fn put_spool_recipient(&mut self, recipient: &SpoolRecipient) -> Result<()> {
        let held = recipient.state == SpoolState::Held;
        self.run(
            "INSERT INTO spool_recipient VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT(queue_id, number) DO UPDATE SET destination = excluded.destination, held = excluded.held,
             due = excluded.due, attempts = excluded.attempts, last = excluded.last, parameters = excluded.parameters,
             released = excluded.released",
            (
                &recipient.queue_id,
                recipient.number,
                &recipient.address,
                &recipient.destination,
                &recipient.parameters,
                held,
                recipient.due,
                recipient.attempts,
                &recipient.last,
                recipient.released,
            ),
        )?;
        self.facts.push(Fact::SpooledFor {
            queue_id: recipient.queue_id.clone(),
            number: recipient.number,
            address: recipient.address.clone(),
            destination: recipient.destination.clone(),
            parameters: recipient.parameters.clone(),
            held: u8::from(held),
            due: recipient.due,
            attempts: recipient.attempts,
            last: recipient.last.clone(),
        });
        Ok(())
    }

    /// Whether a recipient is on hold, and when it was released last; `None`: it is not there.
    fn spool_recipient_hold(&self, queue_id: &str, number: u32) -> Result<Option<(bool, i64)>> {
        let sql = "SELECT held, released FROM spool_recipient WHERE queue_id = ?1 AND number = ?2";
        maybe(self.connection, sql, (queue_id, number), |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// Changes a recipient that must be there.
    pub(crate) fn update_spool_recipient(&mut self, recipient: &SpoolRecipient) -> Result<()> {
        self.spool_recipient_hold(&recipient.queue_id, recipient.number)?.ok_or(Error::NotFound(What::Spool))?;
        self.spool = true;
        self.put_spool_recipient(recipient)
    }

    /// A recipient is done with; with the last one the entry goes. `false`: it was gone before.
    pub(crate) fn remove_spool_recipient(&mut self, queue_id: &str, number: u32) -> Result<bool> {
        let sql = "DELETE FROM spool_recipient WHERE queue_id = ?1 AND number = ?2";
        if self.run(sql, (queue_id, number))? == 0 {
            return Ok(false);
        }
        self.facts.push(Fact::SpooledRecipientGone { queue_id: queue_id.to_owned(), number });
        let left = "SELECT 1 FROM spool_recipient WHERE queue_id = ?1 LIMIT 1";
        if maybe(self.connection, left, [queue_id], |_| Ok(()))?.is_none() {
            let sql = "SELECT content FROM spool WHERE queue_id = ?1";
            let content: i64 = one(self.connection, What::Spool, sql, [queue_id], |row| row.get(0))?;
            self.release(content)?;
            self.run("DELETE FROM spool WHERE queue_id = ?1", [queue_id])?;
        }
        Ok(true)
    }

    /// The part of a settlement that recipients of the spool are; see [`Store::settle`](crate::Store::settle).
    pub(crate) fn settle_recipients(
        &mut self,
        updated: &[SpoolRecipient],
        removed: &[(String, u32)],
        more: bool,
    ) -> Result<Settled> {
        let mut settled = Settled::default();
        let mut there = 0;
        for (queue_id, number) in removed {
            match self.spool_recipient_hold(queue_id, *number)? {
                Some(_) => there += 1,
                None => settled.gone.push((queue_id.clone(), *number)),
            }
        }
        let stale = more && !settled.gone.is_empty();
        let mut kept = Vec::with_capacity(updated.len());
        for recipient in updated {
            let key = || (recipient.queue_id.clone(), recipient.number);
            match self.spool_recipient_hold(&recipient.queue_id, recipient.number)? {
                None => settled.gone.push(key()),
                Some((held, released)) => {
                    there += 1;
                    let mut recipient = SpoolRecipient { released, ..recipient.clone() };
                    if held && recipient.state == SpoolState::Waiting {
                        settled.held.push(key());
                        recipient.state = SpoolState::Held;
                    }
                    kept.push(recipient);
                }
            }
        }
        settled.done = !stale && (there > 0 || settled.gone.is_empty());
        if settled.done {
            for (queue_id, number) in removed {
                self.remove_spool_recipient(queue_id, *number)?;
            }
            for recipient in &kept {
                self.put_spool_recipient(recipient)?;
            }
        } else {
            settled.held.clear();
        }
        Ok(settled)
    }

    /// What an operator does with the recipients that entries are about, with those entries; to whom it made a difference.
    pub(crate) fn operate(&mut self, change: SpoolChange, entries: &[TraceEntry]) -> Result<Vec<(String, u32)>> {
        let mut changed = Vec::new();
        for entry in entries {
            let Some(number) = entry.recipient else { continue };
            let key = (entry.queue_id.clone(), number);
            if self.change_spool_recipients(std::slice::from_ref(&key), change)? > 0 {
                self.trace(std::slice::from_ref(entry))?;
                changed.push(key);
            }
        }
        Ok(changed)
    }

    /// What an operator does with recipients; how many there were to whom it made a difference.
    pub(crate) fn change_spool_recipients(&mut self, keys: &[(String, u32)], change: SpoolChange) -> Result<u64> {
        let sql = format!("SELECT {COLUMNS} FROM spool_recipient r WHERE queue_id = ?1 AND number = ?2");
        let mut changed = 0;
        for (queue_id, number) in keys {
            if change == SpoolChange::Remove {
                changed += u64::from(self.remove_spool_recipient(queue_id, *number)?);
                continue;
            }
            let Some(old) = maybe(self.connection, &sql, (queue_id, number), recipient_of)? else { continue };
            let mut new = old.clone();
            match change {
                SpoolChange::Hold => new.state = SpoolState::Held,
                SpoolChange::Release if old.state == SpoolState::Held => {
                    new.state = SpoolState::Waiting;
                    new.released = self.now;
                }
                SpoolChange::Release => {}
                SpoolChange::RetryAt(due) => new.due = due,
                SpoolChange::Remove => {}
            }
            if new != old {
                self.put_spool_recipient(&new)?;
                changed += 1;
            }
        }
        self.spool |= changed > 0;
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Synchronous;
    use crate::committer::Closure;
    use crate::simulated::World;
    use crate::spool::NewSpoolRecipient;

    #[test]
    fn a_settlement_of_recipients_wakes_nobody() {
        let world = World::new(0, Synchronous::Full);
        let mut engine = world.open().unwrap();
        let mut commit = |run: fn(&mut Txn<'_>) -> Result<()>| {
            let (change, mut answer) = Closure::new(Vec::new(), false, 1, move |txn, _| run(txn));
            let notice = engine.commit(vec![Box::new(change)], |_| {});
            answer.try_recv().unwrap().unwrap();
            notice.spool
        };
        assert!(commit(|txn| {
            let to = |address: &str| NewSpoolRecipient {
                address: address.into(),
                destination: "b".into(),
                parameters: Vec::new(),
                due: 0,
            };
            let recipients = vec![to("a@b"), to("c@b")];
            let new = NewSpool { queue_id: "q".into(), sender: String::new(), parameters: Vec::new(), recipients };
            txn.insert_spool(1, &new)
        }));
        let settle = |txn: &mut Txn<'_>| {
            let mut kept = recipients(txn.connection, &SpoolFilter::default(), 1)?;
            kept[0].due = 5;
            assert!(txn.settle_recipients(&kept, &[("q".into(), 1)], false)?.done);
            Ok(())
        };
        assert!(!commit(settle), "the one who runs the queue did it");
        let hold = |txn: &mut Txn<'_>| {
            assert_eq!(txn.change_spool_recipients(&[("q".into(), 0)], SpoolChange::Hold)?, 1);
            Ok(())
        };
        assert!(commit(hold));
    }

    #[test]
    fn an_address_has_a_destination() {
        for (address, destination) in [("a@B.Example", "b.example"), ("\"a@b\"@C", "c"), ("postmaster", ""), ("", "")] {
            assert_eq!(destination_of(address), destination);
        }
    }
}
