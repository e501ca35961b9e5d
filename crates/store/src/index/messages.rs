//! Messages in mailboxes: placing, flags, copying, moving, expunging, and reading rows back.
//!
//! UID and mod-sequence are given here, inside the transaction, in order (rule 1).

use std::ops::RangeInclusive;

use bytes::Bytes;
use rusqlite::{Connection, Row as SqlRow};

use super::mailboxes::{self, INBOX};
use super::{Txn, all, maybe, one, signed, unsigned};
use crate::fact::Fact;
use crate::segment::writer::Location;
use crate::snapshot::Row;
use crate::types::{
    AccountId, Changes, ContentId, ContentRef, CopyOutcome, ExpungeOutcome, FlagNames, FlagOperation, FlagOutcome,
    Flags, MailboxId, Message, Placed, Recipient, UidRanges, ZonedTime,
};
use crate::{Error, Result, What};

/// What is to be placed, once its octets are durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    pub(crate) id: i64,
    pub(crate) location: Location,
    pub(crate) head: u64,
    pub(crate) body: u64,
    pub(crate) thread: i64,
}

pub(crate) fn content_ref(id: ContentId, segment: i64, start: i64, octets: i64) -> ContentRef {
    ContentRef { id, segment, offset: unsigned(start), octets: unsigned(octets) }
}

fn row_of(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    Ok(Row { uid: row.get(0)?, mod_seq: unsigned(row.get(1)?), flags: Flags(unsigned(row.get(2)?)) })
}

/// The rows of a mailbox with these UIDs.
pub(crate) fn rows(connection: &Connection, mailbox: MailboxId, uids: RangeInclusive<u32>) -> Result<Vec<Row>> {
    let sql = "SELECT uid, mod_seq, flags FROM msg WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid";
    all(connection, sql, (mailbox.0, uids.start(), uids.end()), row_of)
}

/// What changed since `since`, for a reader who knows all messages below `uid_next`.
pub(crate) fn changes(
    connection: &Connection,
    mailbox: MailboxId,
    since: u64,
    uid_next: Option<u32>,
) -> Result<Changes> {
    let (now, next) = maybe(connection, "SELECT mod_seq, uid_next FROM mailbox WHERE id = ?1", [mailbox.0], |row| {
        Ok((unsigned(row.get(0)?), row.get(1)?))
    })?
    .ok_or(Error::NotFound(What::Mailbox))?;
    let since = signed(since);
    let changed = match uid_next {
        // Known messages change only by their flags, which are logged; the others are behind them.
        Some(known) => {
            let mut changed = all(
                connection,
                "SELECT DISTINCT m.uid, m.mod_seq, m.flags FROM flag_log l JOIN msg m ON m.mailbox = l.mailbox AND m.uid = l.uid
                 WHERE l.mailbox = ?1 AND l.mod_seq > ?2 AND l.uid < ?3 ORDER BY m.uid",
                (mailbox.0, since, known),
                row_of,
            )?;
            changed.extend(rows(connection, mailbox, known..=u32::MAX)?);
            changed
        }
        None => all(
            connection,
            "SELECT uid, mod_seq, flags FROM msg WHERE mailbox = ?1 AND mod_seq > ?2 ORDER BY uid",
            (mailbox.0, since),
            row_of,
        )?,
    };
    let mut vanished: Vec<u32> =
        all(connection, "SELECT uid FROM expunged WHERE mailbox = ?1 AND mod_seq > ?2", (mailbox.0, since), |row| {
            row.get(0)
        })?;
    vanished.sort_unstable();
    Ok(Changes { mod_seq: now, uid_next: next, changed, vanished: ranges(vanished) })
}

/// Ascending numbers as ranges.
pub(crate) fn ranges(numbers: impl IntoIterator<Item = u32>) -> UidRanges {
    let mut ranges: UidRanges = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(last) if *last.end() == number || last.end().checked_add(1) == Some(number) => {
                *last = *last.start()..=number;
            }
            _ => ranges.push(number..=number),
        }
    }
    ranges
}

const COLUMNS: &str = "m.uid, m.mod_seq, m.flags, m.octets, m.received, m.zone, m.saved, m.thread, m.prefix,
  c.id, c.segment, c.start, c.head + c.body";

fn message_of(row: &SqlRow<'_>, with_digest: bool) -> rusqlite::Result<Message> {
    let prefix = row.get_ref(8)?.as_blob()?;
    Ok(Message {
        uid: row.get(0)?,
        mod_seq: unsigned(row.get(1)?),
        flags: Flags(unsigned(row.get(2)?)),
        octets: unsigned(row.get(3)?),
        received: ZonedTime { unix: row.get(4)?, offset_minutes: row.get(5)? },
        saved: row.get(6)?,
        thread: row.get(7)?,
        prefix: Bytes::copy_from_slice(prefix),
        content: content_ref(ContentId(row.get(9)?), row.get(10)?, row.get(11)?, row.get(12)?),
        digest: if with_digest { Bytes::copy_from_slice(row.get_ref(13)?.as_blob()?) } else { Bytes::new() },
    })
}

/// Up to `limit` messages of the ranges, by UID.
pub(crate) fn messages(
    connection: &Connection,
    mailbox: MailboxId,
    uids: &[RangeInclusive<u32>],
    with_digest: bool,
    limit: usize,
) -> Result<Vec<Message>> {
    let digest = if with_digest { ", c.digest" } else { "" };
    let sql = format!(
        "SELECT {COLUMNS}{digest} FROM msg m JOIN content c ON c.id = m.content
         WHERE m.mailbox = ?1 AND m.uid BETWEEN ?2 AND ?3 ORDER BY m.uid LIMIT ?4"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = Vec::new();
    for range in uids {
        let left = limit - found.len();
        if left == 0 {
            break;
        }
        let left = i64::try_from(left).unwrap_or(i64::MAX);
        let rows =
            statement.query_map((mailbox.0, range.start(), range.end(), left), |row| message_of(row, with_digest))?;
        for message in rows {
            found.push(message?);
        }
    }
    Ok(found)
}

/// What a row of `msg` has beyond its place.
struct Stored {
    uid: u32,
    mod_seq: u64,
    flags: Flags,
    octets: i64,
    received: i64,
    zone: i64,
    saved: i64,
    content: i64,
    thread: i64,
    prefix: Vec<u8>,
}

/// Counts that change with messages.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    messages: i64,
    unseen: i64,
    deleted: i64,
    octets: i64,
}

impl Counts {
    fn add(&mut self, flags: Flags, octets: i64) {
        self.messages += 1;
        self.unseen += i64::from(!flags.contains(Flags::SEEN));
        self.deleted += i64::from(flags.contains(Flags::DELETED));
        self.octets += octets;
    }

    fn negative(self) -> Self {
        Self { messages: -self.messages, unseen: -self.unseen, deleted: -self.deleted, octets: -self.octets }
    }
}

impl Txn<'_> {
    /// Records the octets, with as many references as messages and spool entries will hold it.
    pub(crate) fn insert_content(&mut self, content: &Content, refs: usize, digest: &[u8]) -> Result<()> {
        self.run(
            "INSERT INTO content VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, 0, 0, ?7, ?8)",
            (
                content.id,
                i64::try_from(refs).unwrap_or(i64::MAX),
                content.location.segment,
                signed(content.location.offset),
                signed(content.head),
                signed(content.body),
                &content.location.hash[..],
                digest,
            ),
        )?;
        Ok(())
    }

    /// One reference less.
    pub(crate) fn release(&mut self, content: i64) -> Result<()> {
        self.run("UPDATE content SET refs = refs - 1 WHERE id = ?1", [content])?;
        Ok(())
    }

    /// Places a message with a recipient: in the mailbox asked for, or in the inbox.
    pub(crate) fn deliver(&mut self, content: &Content, to: &Recipient, received: ZonedTime) -> Result<Placed> {
        let octets = content.head + content.body + to.prefix.len() as u64;
        self.check_account(to.account, octets)?;
        let sql = "SELECT id FROM mailbox WHERE account = ?1 AND name = ?2";
        let find = |name: &str| maybe(self.connection, sql, (to.account.0, name), |row| row.get::<_, i64>(0));
        let wanted = match &to.mailbox {
            Some(name) => find(mailboxes::canonical(name))?,
            None => None,
        };
        let mailbox = match wanted {
            Some(id) => id,
            None => find(INBOX)?.ok_or(Error::NotFound(What::Mailbox))?,
        };
        self.place(to.account, MailboxId(mailbox), content, &to.flags, &to.prefix, received)
    }

    /// Whether the account may hold `octets` more.
    pub(crate) fn check_account(&self, account: AccountId, octets: u64) -> Result<()> {
        let sql = "SELECT enabled, quota, used_octets FROM account WHERE id = ?1";
        let (enabled, quota, used): (bool, Option<i64>, i64) =
            one(self.connection, What::Account, sql, [account.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        if !enabled {
            return Err(Error::NotFound(What::Account));
        }
        if quota.is_some_and(|quota| used.saturating_add(signed(octets)) > quota) {
            return Err(Error::OverQuota);
        }
        Ok(())
    }

    /// Gives a message its UID and mod-sequence.
    pub(crate) fn place(
        &mut self,
        account: AccountId,
        mailbox: MailboxId,
        content: &Content,
        flags: &FlagNames,
        prefix: &[u8],
        received: ZonedTime,
    ) -> Result<Placed> {
        let flags = flags.system | self.keyword_bits(mailbox, &flags.keywords, true)?;
        let stored = Stored {
            uid: 0,
            mod_seq: 0,
            flags,
            octets: signed(content.head + content.body + prefix.len() as u64),
            received: received.unix,
            zone: i64::from(received.offset_minutes),
            saved: self.seconds(),
            content: content.id,
            thread: content.thread,
            prefix: prefix.to_vec(),
        };
        self.insert_message(account, mailbox, stored)
    }

    fn insert_message(&mut self, account: AccountId, mailbox: MailboxId, mut stored: Stored) -> Result<Placed> {
        let mut counts = Counts::default();
        counts.add(stored.flags, stored.octets);
        let (uid_next, mod_seq, uid_validity): (u32, i64, u32) = one(
            self.connection,
            What::Mailbox,
            "UPDATE mailbox SET uid_next = uid_next + 1, mod_seq = mod_seq + 1, messages = messages + 1,
             unseen = unseen + ?2, deleted = deleted + ?3, octets = octets + ?4
             WHERE id = ?1 AND uid_next < 4294967295 RETURNING uid_next, mod_seq, uid_validity",
            (mailbox.0, counts.unseen, counts.deleted, counts.octets),
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?;
        stored.uid = uid_next - 1;
        stored.mod_seq = unsigned(mod_seq);
        self.run(
            "INSERT INTO msg VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            (
                mailbox.0,
                stored.uid,
                mod_seq,
                signed(stored.flags.0),
                stored.octets,
                stored.received,
                stored.zone,
                stored.saved,
                stored.content,
                stored.thread,
                &stored.prefix,
            ),
        )?;
        self.use_space(account, counts.octets, 1)?;
        self.touched.insert(mailbox);
        let placed = Placed { account, mailbox, uid_validity, uid: stored.uid, mod_seq: stored.mod_seq };
        self.facts.push(Fact::Placed {
            content: stored.content,
            account: account.0,
            mailbox: mailbox.0,
            uid: stored.uid,
            mod_seq: stored.mod_seq,
            flags: stored.flags.0,
            received: stored.received,
            zone: stored.zone,
            saved: stored.saved,
            thread: stored.thread,
            prefix: stored.prefix,
        });
        Ok(placed)
    }

    fn use_space(&self, account: AccountId, octets: i64, messages: i64) -> Result<()> {
        self.run(
            "UPDATE account SET used_octets = used_octets + ?2, used_messages = used_messages + ?3 WHERE id = ?1",
            (account.0, octets, messages),
        )?;
        Ok(())
    }

    fn owner(&self, mailbox: MailboxId) -> Result<AccountId> {
        let sql = "SELECT account FROM mailbox WHERE id = ?1";
        one(self.connection, What::Mailbox, sql, [mailbox.0], |row| Ok(AccountId(row.get(0)?)))
    }

    fn stored(&self, mailbox: MailboxId, uids: &[RangeInclusive<u32>]) -> Result<Vec<Stored>> {
        let mut found = Vec::new();
        for range in uids {
            found.extend(all(
                self.connection,
                "SELECT uid, mod_seq, flags, octets, received, zone, saved, content, thread, prefix
                 FROM msg WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid",
                (mailbox.0, range.start(), range.end()),
                |row| {
                    Ok(Stored {
                        uid: row.get(0)?,
                        mod_seq: unsigned(row.get(1)?),
                        flags: Flags(unsigned(row.get(2)?)),
                        octets: row.get(3)?,
                        received: row.get(4)?,
                        zone: row.get(5)?,
                        saved: row.get(6)?,
                        content: row.get(7)?,
                        thread: row.get(8)?,
                        prefix: row.get(9)?,
                    })
                },
            )?);
        }
        Ok(found)
    }

    fn next_mod_seq(&self, mailbox: MailboxId) -> Result<u64> {
        let sql = "UPDATE mailbox SET mod_seq = mod_seq + 1 WHERE id = ?1 RETURNING mod_seq";
        one(self.connection, What::Mailbox, sql, [mailbox.0], |row| Ok(unsigned(row.get(0)?)))
    }

    /// Changes flags; messages changed since `unchanged_since` are left alone (RFC 7162 §3.1.3).
    pub(crate) fn set_flags(
        &mut self,
        mailbox: MailboxId,
        uids: &[RangeInclusive<u32>],
        operation: FlagOperation,
        names: &FlagNames,
        unchanged_since: Option<u64>,
    ) -> Result<FlagOutcome> {
        let current: Vec<Row> = {
            let mut rows = Vec::new();
            for range in uids {
                rows.extend(all(
                    self.connection,
                    "SELECT uid, mod_seq, flags FROM msg WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid",
                    (mailbox.0, range.start(), range.end()),
                    row_of,
                )?);
            }
            rows
        };
        let bits = names.system | self.keyword_bits(mailbox, &names.keywords, operation != FlagOperation::Remove)?;
        let mut outcome = FlagOutcome::default();
        let mut modified = Vec::new();
        let mut mod_seq = None;
        let mut counts = Counts::default();
        for mut row in current {
            if unchanged_since.is_some_and(|since| row.mod_seq > since) {
                modified.push(row.uid);
                continue;
            }
            let old = row.flags;
            row.flags = match operation {
                FlagOperation::Add => old | bits,
                FlagOperation::Remove => Flags(old.0 & !bits.0),
                FlagOperation::Replace => bits,
            };
            if row.flags != old {
                let next = match mod_seq {
                    Some(next) => next,
                    None => *mod_seq.insert(self.next_mod_seq(mailbox)?),
                };
                row.mod_seq = next;
                counts.unseen += i64::from(old.contains(Flags::SEEN)) - i64::from(row.flags.contains(Flags::SEEN));
                counts.deleted +=
                    i64::from(row.flags.contains(Flags::DELETED)) - i64::from(old.contains(Flags::DELETED));
                self.run(
                    "UPDATE msg SET flags = ?3, mod_seq = ?4 WHERE mailbox = ?1 AND uid = ?2",
                    (mailbox.0, row.uid, signed(row.flags.0), signed(next)),
                )?;
                self.run(
                    "INSERT INTO flag_log VALUES (?1, ?2, ?3, ?4, ?5)",
                    (mailbox.0, signed(next), row.uid, self.now, signed(old.0)),
                )?;
                self.facts.push(Fact::Flagged { mailbox: mailbox.0, uid: row.uid, mod_seq: next, flags: row.flags.0 });
            }
            outcome.rows.push(row);
        }
        if mod_seq.is_some() {
            self.run(
                "UPDATE mailbox SET unseen = unseen + ?2, deleted = deleted + ?3 WHERE id = ?1",
                (mailbox.0, counts.unseen, counts.deleted),
            )?;
            self.touched.insert(mailbox);
        }
        let sql = "SELECT mod_seq FROM mailbox WHERE id = ?1";
        outcome.mod_seq = one(self.connection, What::Mailbox, sql, [mailbox.0], |row| Ok(unsigned(row.get(0)?)))?;
        outcome.modified = ranges(modified);
        Ok(outcome)
    }

    /// Copies, all or nothing, in the order of the UIDs (rule 5). Messages that are gone are passed over.
    pub(crate) fn copy(&mut self, from: MailboxId, uids: &[RangeInclusive<u32>], to: MailboxId) -> Result<CopyOutcome> {
        let account = self.owner(to)?;
        let stored = self.stored(from, uids)?;
        let octets: i64 = stored.iter().map(|stored| stored.octets).sum();
        self.check_account(account, unsigned(octets))?;
        let names = mailboxes::keywords(self.connection, from)?;
        let mut outcome = CopyOutcome { uid_validity: self.uid_validity(to)?, ..CopyOutcome::default() };
        for message in stored {
            self.run("UPDATE content SET refs = refs + 1 WHERE id = ?1", [message.content])?;
            let uid = message.uid;
            let placed = self.insert_copy(account, to, message, &names)?;
            outcome.uids.push((placed.uid, uid));
        }
        Ok(outcome)
    }

    fn uid_validity(&self, mailbox: MailboxId) -> Result<u32> {
        let sql = "SELECT uid_validity FROM mailbox WHERE id = ?1";
        one(self.connection, What::Mailbox, sql, [mailbox.0], |row| row.get(0))
    }

    fn insert_copy(
        &mut self,
        account: AccountId,
        to: MailboxId,
        mut message: Stored,
        keyword_names: &[String],
    ) -> Result<Placed> {
        let keywords: Vec<String> =
            message.flags.keywords().filter_map(|number| keyword_names.get(number).cloned()).collect();
        let system = Flags(message.flags.0 & Flags::SYSTEM.0);
        message.flags = system | self.keyword_bits(to, &keywords, true)?;
        message.saved = self.seconds();
        self.insert_message(account, to, message)
    }

    /// Moves: each message is in one of the two mailboxes at every moment (RFC 6851 §3.3).
    pub(crate) fn move_messages(
        &mut self,
        from: MailboxId,
        uids: &[RangeInclusive<u32>],
        to: MailboxId,
    ) -> Result<CopyOutcome> {
        let account = self.owner(to)?;
        let source = self.owner(from)?;
        let stored = self.stored(from, uids)?;
        if source != account {
            self.check_account(account, unsigned(stored.iter().map(|stored| stored.octets).sum()))?;
        }
        let names = mailboxes::keywords(self.connection, from)?;
        let mut outcome = CopyOutcome { uid_validity: self.uid_validity(to)?, ..CopyOutcome::default() };
        let mut gone = Counts::default();
        if !stored.is_empty() {
            outcome.source_mod_seq = self.next_mod_seq(from)?;
        }
        for message in stored {
            let uid = message.uid;
            gone.add(message.flags, message.octets);
            self.remove_row(from, &message, outcome.source_mod_seq, true)?;
            let placed = self.insert_copy(account, to, message, &names)?;
            outcome.uids.push((placed.uid, uid));
        }
        self.count_out(source, from, gone)?;
        Ok(outcome)
    }

    pub(crate) fn move_all(&mut self, account: AccountId, from: MailboxId, to: MailboxId) -> Result<()> {
        debug_assert_eq!(self.owner(from).ok(), Some(account));
        self.move_messages(from, &[1..=u32::MAX], to).map(|_| ())
    }

    /// Expunges messages; with `only_deleted`, those with `\Deleted` among them.
    pub(crate) fn expunge(
        &mut self,
        mailbox: MailboxId,
        uids: &[RangeInclusive<u32>],
        only_deleted: bool,
    ) -> Result<ExpungeOutcome> {
        let account = self.owner(mailbox)?;
        let mut outcome = ExpungeOutcome::default();
        let mut gone = Counts::default();
        let doomed = if only_deleted { self.deleted_rows(mailbox, uids)? } else { self.stored(mailbox, uids)? };
        if !doomed.is_empty() {
            outcome.mod_seq = self.next_mod_seq(mailbox)?;
        }
        for message in &doomed {
            gone.add(message.flags, message.octets);
            self.remove_row(mailbox, message, outcome.mod_seq, false)?;
            outcome.uids.push(message.uid);
        }
        self.count_out(account, mailbox, gone)?;
        if doomed.is_empty() {
            let sql = "SELECT mod_seq FROM mailbox WHERE id = ?1";
            outcome.mod_seq = one(self.connection, What::Mailbox, sql, [mailbox.0], |row| Ok(unsigned(row.get(0)?)))?;
        }
        Ok(outcome)
    }

    fn deleted_rows(&self, mailbox: MailboxId, uids: &[RangeInclusive<u32>]) -> Result<Vec<Stored>> {
        let sql = "SELECT deleted FROM mailbox WHERE id = ?1";
        let marked: i64 = one(self.connection, What::Mailbox, sql, [mailbox.0], |row| row.get(0))?;
        if marked == 0 {
            return Ok(Vec::new());
        }
        let mut rows = self.stored(mailbox, uids)?;
        rows.retain(|row| row.flags.contains(Flags::DELETED));
        Ok(rows)
    }

    pub(crate) fn expunge_all(&mut self, account: AccountId, mailbox: MailboxId) -> Result<()> {
        debug_assert_eq!(self.owner(mailbox).ok(), Some(account));
        self.expunge(mailbox, &[1..=u32::MAX], false).map(|_| ())
    }

    fn remove_row(&mut self, mailbox: MailboxId, message: &Stored, mod_seq: u64, moved: bool) -> Result<()> {
        self.run("DELETE FROM msg WHERE mailbox = ?1 AND uid = ?2", (mailbox.0, message.uid))?;
        self.run(
            "INSERT INTO expunged VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            (
                mailbox.0,
                signed(mod_seq),
                message.uid,
                self.now,
                signed(message.flags.0),
                message.octets,
                message.received,
                message.zone,
                message.saved,
                message.content,
                message.thread,
                &message.prefix,
                moved,
            ),
        )?;
        self.facts.push(Fact::Expunged { mailbox: mailbox.0, uid: message.uid, mod_seq });
        Ok(())
    }

    fn count_out(&mut self, account: AccountId, mailbox: MailboxId, gone: Counts) -> Result<()> {
        if gone.messages == 0 {
            return Ok(());
        }
        let less = gone.negative();
        self.run(
            "UPDATE mailbox SET messages = messages + ?2, unseen = unseen + ?3, deleted = deleted + ?4,
             octets = octets + ?5 WHERE id = ?1",
            (mailbox.0, less.messages, less.unseen, less.deleted, less.octets),
        )?;
        self.touched.insert(mailbox);
        self.use_space(account, less.octets, less.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_ranges() {
        assert_eq!(ranges([1, 2, 3, 5, 7, 7, 8]), [1..=3, 5..=5, 7..=8]);
        assert_eq!(ranges([u32::MAX]), [u32::MAX..=u32::MAX]);
        assert_eq!(ranges([]), []);
    }
}
