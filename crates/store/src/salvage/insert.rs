//! Writes what was joined to a new index.

use rusqlite::Connection;

use super::gather::Placement;
use super::join::Joined;
use super::{RECOVERED, Salvaged};
use crate::fact::Fact;
use crate::index::messages::Content;
use crate::index::{Txn, one, schema, unsigned};
use crate::segment::reader::Found;
use crate::segment::writer::Location;
use crate::types::{AccountId, FlagNames, MailboxId, NewAccount};
use crate::{Error, Result, What};

impl Joined {
    /// Writes all of it, and reports the accounts there are then.
    pub(super) fn insert(&self, txn: &mut Txn<'_>, report: &mut Salvaged) -> Result<()> {
        let uid_validity = schema::counter(txn.connection, "uid_validity")?.max(i64::from(self.uid_validity));
        for fact in &self.directory {
            directory_fact(txn, fact)?;
        }
        for (id, (record, _)) in &self.contents {
            let count = self.refs.get(id).copied().unwrap_or_default();
            txn.insert_content(&content_of(*id, record), count, b"")?;
        }
        set_counter(txn.connection, "uid_validity", uid_validity)?;
        self.insert_mailboxes(txn)?;
        for ((mailbox, uid), placement) in &self.placements {
            if let Some((record, _)) = self.contents.get(&placement.content) {
                txn.restore_message(MailboxId(*mailbox), *uid, placement, record.octets)?;
            }
        }
        if !self.unplaced.is_empty() {
            self.recover(txn)?;
        }
        self.insert_spool(txn)?;
        let sql = "SELECT count(*) FROM account";
        report.accounts = one(txn.connection, What::Account, sql, [], |row| row.get(0).map(unsigned))?;
        // Ids, and what processes know of the directory, begin beyond anything given before.
        set_counter(txn.connection, "writer", txn.now & 0x1ff)?;
        set_counter(txn.connection, "directory", txn.now)
    }

    fn insert_mailboxes(&self, txn: &Txn<'_>) -> Result<()> {
        for (id, place) in &self.places {
            let uid_validity = if self.unplaced.is_empty() { place.uid_validity } else { txn.next_uid_validity()? };
            txn.run(
                "INSERT INTO mailbox VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, 0, 0, ?7)",
                (
                    id,
                    place.account,
                    &place.name,
                    uid_validity,
                    place.uid_next,
                    place.mod_seq.cast_signed(),
                    &place.special_use,
                ),
            )?;
        }
        for ((mailbox, number), name) in &self.keywords {
            txn.run("INSERT INTO keyword VALUES (?1, ?2, ?3)", (mailbox, number, name))?;
        }
        Ok(())
    }

    fn insert_spool(&self, txn: &mut Txn<'_>) -> Result<()> {
        for (queue_id, entry) in &self.spooled {
            txn.run(
                "INSERT INTO spool VALUES (?1, ?2, ?3, ?4, ?5)",
                (queue_id, entry.content, &entry.sender, &entry.parameters, entry.created),
            )?;
        }
        for recipient in self.recipients.values() {
            txn.put_spool_recipient(recipient)?;
        }
        Ok(())
    }

    /// Puts the messages that nobody can place where nobody but the operator looks.
    fn recover(&self, txn: &mut Txn<'_>) -> Result<()> {
        let account = match txn.add_account(&NewAccount {
            key: RECOVERED.to_ascii_lowercase(),
            address: RECOVERED.to_owned(),
            quota_octets: None,
            credentials: Vec::new(),
        }) {
            Ok(account) => account,
            Err(Error::AlreadyExists(_)) => {
                let sql = "SELECT id FROM account WHERE key = ?1";
                AccountId(one(txn.connection, What::Account, sql, [RECOVERED.to_ascii_lowercase()], |row| row.get(0))?)
            }
            Err(error) => return Err(error),
        };
        let mailbox = match txn.create_mailbox(account, RECOVERED, None) {
            Err(Error::AlreadyExists(_)) => crate::index::mailboxes::by_name(txn.connection, account, RECOVERED)?.id,
            made => made?,
        };
        for id in &self.unplaced {
            if let Some((record, received)) = self.contents.get(id) {
                txn.place(account, mailbox, &content_of(*id, record), &FlagNames::default(), b"", *received)?;
            }
        }
        txn.run("UPDATE account SET enabled = 0 WHERE id = ?1", [account.0])?;
        Ok(())
    }
}

impl Txn<'_> {
    /// Puts a message back under the UID and mod-sequence that it had.
    fn restore_message(&self, mailbox: MailboxId, uid: u32, placement: &Placement, octets: u64) -> Result<()> {
        let octets = (octets + placement.prefix.len() as u64).cast_signed();
        let flags = crate::Flags(placement.flags);
        self.run(
            "INSERT INTO msg VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            (
                mailbox.0,
                uid,
                placement.mod_seq.cast_signed(),
                placement.flags.cast_signed(),
                octets,
                placement.received.unix,
                placement.received.offset_minutes,
                placement.saved,
                placement.content,
                placement.thread,
                &placement.prefix,
            ),
        )?;
        self.run(
            "UPDATE mailbox SET messages = messages + 1, unseen = unseen + ?2, deleted = deleted + ?3,
             octets = octets + ?4 WHERE id = ?1",
            (
                mailbox.0,
                i64::from(!flags.contains(crate::Flags::SEEN)),
                i64::from(flags.contains(crate::Flags::DELETED)),
                octets,
            ),
        )?;
        self.run(
            "UPDATE account SET used_octets = used_octets + ?2, used_messages = used_messages + 1 WHERE id = ?1",
            (placement.account, octets),
        )?;
        Ok(())
    }
}

/// Facts of the directory are applied one after the other, so that the last word counts.
fn directory_fact(txn: &Txn<'_>, fact: &Fact) -> Result<()> {
    match fact {
        Fact::Domain { name, catch_all } => {
            txn.run("INSERT OR REPLACE INTO domain VALUES (?1, ?2)", (name, catch_all))?;
        }
        Fact::DomainGone { name } => {
            txn.run("DELETE FROM domain WHERE name = ?1", [name])?;
        }
        Fact::Account { id, key, address, enabled, quota, created, grants, credentials } => {
            txn.run(
                "INSERT OR REPLACE INTO account VALUES (?1, ?2, ?3, ?4, 0, ?5, 0, 0, ?6)",
                (id, key, address, enabled, quota.map(u64::cast_signed), created),
            )?;
            txn.run("DELETE FROM account_grant WHERE account = ?1", [id])?;
            for pattern in grants {
                txn.run("INSERT INTO account_grant VALUES (?1, ?2)", (id, pattern))?;
            }
            txn.run("DELETE FROM credential WHERE account = ?1", [id])?;
            for (kind, value) in credentials {
                txn.run("INSERT INTO credential VALUES (?1, ?2, ?3)", (id, kind, value))?;
            }
        }
        Fact::AccountGone { id } => {
            for (table, column) in [
                ("account", "id"),
                ("account_grant", "account"),
                ("credential", "account"),
                ("subscription", "account"),
            ] {
                txn.run(&format!("DELETE FROM {table} WHERE {column} = ?1"), [id])?;
            }
        }
        Fact::Alias { key, targets } => {
            txn.run("DELETE FROM alias WHERE key = ?1", [key])?;
            for (number, target) in (0_i64..).zip(targets) {
                txn.run("INSERT INTO alias VALUES (?1, ?2, ?3)", (key, number, target))?;
            }
        }
        Fact::AliasGone { key } => {
            txn.run("DELETE FROM alias WHERE key = ?1", [key])?;
        }
        Fact::Subscribed { account, name, yes: 0 } => {
            txn.run("DELETE FROM subscription WHERE account = ?1 AND name = ?2", (account, name))?;
        }
        Fact::Subscribed { account, name, .. } => {
            txn.run("INSERT OR IGNORE INTO subscription VALUES (?1, ?2)", (account, name))?;
        }
        Fact::Setting { key, value } => {
            txn.run("INSERT OR REPLACE INTO setting VALUES (?1, ?2)", (key, value))?;
        }
        _ => {}
    }
    Ok(())
}

fn content_of(id: i64, record: &Found) -> Content {
    let head = u64::from(record.header.head);
    let location = Location { segment: record.header.segment, offset: record.offset, hash: record.hash };
    Content { id, location, head, body: record.octets - head, thread: id }
}

fn set_counter(connection: &Connection, key: &str, value: i64) -> Result<()> {
    connection.execute("UPDATE setting SET value = ?2 WHERE key = ?1", (key, value.to_le_bytes()))?;
    Ok(())
}
