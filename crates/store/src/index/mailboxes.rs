//! The mailbox tree: names, UIDVALIDITY, special use, subscriptions, keywords.

use rusqlite::{Connection, Row};

use super::{Txn, all, maybe, one, schema, unsigned};
use crate::fact::Fact;
use crate::types::{AccountId, Flags, Mailbox, MailboxId, SpecialUse};
use crate::{Error, Result, What};

/// The inbox, whose name every other spelling of it means (rule 19).
pub(crate) const INBOX: &str = "INBOX";
/// The separator of levels.
const DELIMITER: char = '/';
/// The longest level of a name, in octets (rule 19).
const MAX_LEVEL: usize = 255;
/// The longest name, in octets.
const MAX_NAME: usize = 1_000;
/// The most mailboxes of an account.
const MAX_MAILBOXES: i64 = 10_000;

const COLUMNS: &str = "SELECT m.id, m.account, m.name, m.uid_validity, m.uid_next, m.mod_seq, m.messages, m.unseen,
  m.deleted, m.octets, m.special_use, s.name IS NOT NULL
  FROM mailbox m LEFT JOIN subscription s ON s.account = m.account AND s.name = m.name";

fn mailbox_of(row: &Row<'_>) -> rusqlite::Result<Mailbox> {
    let special_use: Option<String> = row.get(10)?;
    Ok(Mailbox {
        id: MailboxId(row.get(0)?),
        account: AccountId(row.get(1)?),
        name: row.get(2)?,
        uid_validity: row.get(3)?,
        uid_next: row.get(4)?,
        mod_seq: unsigned(row.get(5)?),
        messages: row.get(6)?,
        unseen: row.get(7)?,
        deleted: row.get(8)?,
        octets: unsigned(row.get(9)?),
        special_use: special_use.and_then(|name| SpecialUse::from_name(&name)),
        subscribed: row.get(11)?,
    })
}

/// The name as it is stored: INBOX in its one spelling.
pub(crate) fn canonical(name: &str) -> &str {
    if name.eq_ignore_ascii_case(INBOX) { INBOX } else { name }
}

pub(crate) fn list(connection: &Connection, account: AccountId) -> Result<Vec<Mailbox>> {
    all(connection, &format!("{COLUMNS} WHERE m.account = ?1 ORDER BY m.name"), [account.0], mailbox_of)
}

pub(crate) fn by_name(connection: &Connection, account: AccountId, name: &str) -> Result<Mailbox> {
    let sql = format!("{COLUMNS} WHERE m.account = ?1 AND m.name = ?2");
    one(connection, What::Mailbox, &sql, (account.0, canonical(name)), mailbox_of)
}

pub(crate) fn by_id(connection: &Connection, id: MailboxId) -> Result<Mailbox> {
    one(connection, What::Mailbox, &format!("{COLUMNS} WHERE m.id = ?1"), [id.0], mailbox_of)
}

pub(crate) fn subscriptions(connection: &Connection, account: AccountId) -> Result<Vec<String>> {
    let sql = "SELECT name FROM subscription WHERE account = ?1 ORDER BY name";
    all(connection, sql, [account.0], |row| row.get(0))
}

/// The keywords of a mailbox by their number.
pub(crate) fn keywords(connection: &Connection, mailbox: MailboxId) -> Result<Vec<String>> {
    let sql = "SELECT name FROM keyword WHERE mailbox = ?1 ORDER BY number";
    all(connection, sql, [mailbox.0], |row| row.get(0))
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(Error::Limit("mailbox name between 1 and 1000 octets"));
    }
    if name.split(DELIMITER).any(|level| level.is_empty() || level.len() > MAX_LEVEL) {
        return Err(Error::Limit("mailbox name levels between 1 and 255 octets"));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::Limit("mailbox name without control characters"));
    }
    Ok(())
}

impl Txn<'_> {
    pub(crate) fn create_mailbox(
        &mut self,
        account: AccountId,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Result<MailboxId> {
        check_name(name)?;
        one(self.connection, What::Account, "SELECT 1 FROM account WHERE id = ?1", [account.0], |_| Ok(()))?;
        let count = "SELECT count(*) FROM mailbox WHERE account = ?1";
        if one(self.connection, What::Account, count, [account.0], |row| row.get::<_, i64>(0))? >= MAX_MAILBOXES {
            return Err(Error::Limit("mailboxes of an account"));
        }
        for (at, _) in name.match_indices(DELIMITER) {
            let parent = canonical(&name[..at]);
            match self.insert_mailbox(account, parent, None) {
                Ok(_) | Err(Error::AlreadyExists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let id = self.insert_mailbox(account, canonical(name), special_use)?;
        self.log_catalogue(account, "create", id, None, Some(name))?;
        Ok(id)
    }

    pub(crate) fn insert_mailbox(
        &mut self,
        account: AccountId,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Result<MailboxId> {
        let sql = "SELECT 1 FROM mailbox WHERE account = ?1 AND name = ?2";
        if maybe(self.connection, sql, (account.0, name), |_| Ok(()))?.is_some() {
            return Err(Error::AlreadyExists(What::Mailbox));
        }
        let id = self.id();
        let uid_validity = self.next_uid_validity()?;
        self.run(
            "INSERT INTO mailbox VALUES (?1, ?2, ?3, ?4, 1, 1, 0, 0, 0, 0, ?5)",
            (id, account.0, name, uid_validity, special_use.map(SpecialUse::name)),
        )?;
        self.mailbox_fact(id, account, name, uid_validity, special_use);
        self.accounts.insert(account);
        Ok(MailboxId(id))
    }

    /// A number that no mailbox of this store has had (rule 19).
    pub(crate) fn next_uid_validity(&self) -> Result<u32> {
        u32::try_from(schema::count(self.connection, "uid_validity")?).map_err(|_| Error::Limit("UIDVALIDITY"))
    }

    fn mailbox_fact(
        &mut self,
        id: i64,
        account: AccountId,
        name: &str,
        uid_validity: u32,
        special_use: Option<SpecialUse>,
    ) {
        let special_use = special_use.map(|special_use| special_use.name().to_owned());
        self.facts.push(Fact::Mailbox { id, account: account.0, name: name.to_owned(), uid_validity, special_use });
    }

    fn log_catalogue(
        &self,
        account: AccountId,
        what: &str,
        mailbox: MailboxId,
        old: Option<&str>,
        new: Option<&str>,
    ) -> Result<()> {
        self.run(
            "INSERT INTO catalogue_log(account, at, what, mailbox, old, new) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (account.0, self.now, what, mailbox.0, old, new),
        )?;
        Ok(())
    }

    /// Deletes a mailbox; those below it stay. INBOX cannot be deleted (RFC 9051 §6.3.5).
    pub(crate) fn delete_mailbox(&mut self, account: AccountId, name: &str) -> Result<MailboxId> {
        if canonical(name) == INBOX {
            return Err(Error::Limit("INBOX cannot be deleted"));
        }
        let mailbox = by_name(self.connection, account, name)?;
        self.drop_mailbox(account, mailbox.id)?;
        self.log_catalogue(account, "delete", mailbox.id, Some(name), None)?;
        Ok(mailbox.id)
    }

    pub(crate) fn drop_mailbox(&mut self, account: AccountId, mailbox: MailboxId) -> Result<()> {
        self.expunge_all(account, mailbox)?;
        self.run("DELETE FROM keyword WHERE mailbox = ?1", [mailbox.0])?;
        self.run("DELETE FROM mailbox WHERE id = ?1", [mailbox.0])?;
        self.facts.push(Fact::MailboxGone { id: mailbox.0 });
        self.touched.insert(mailbox);
        self.accounts.insert(account);
        Ok(())
    }

    /// Renames a mailbox with all below it. Renaming INBOX moves its messages and leaves it (RFC 9051 §6.3.6).
    pub(crate) fn rename_mailbox(&mut self, account: AccountId, from: &str, to: &str) -> Result<()> {
        let (from, to) = (canonical(from), canonical(to));
        check_name(to)?;
        if to == INBOX {
            return Err(Error::AlreadyExists(What::Mailbox));
        }
        let source = by_name(self.connection, account, from)?;
        if from == INBOX {
            let target = self.create_mailbox(account, to, None)?;
            self.move_all(account, source.id, target)?;
            return self.log_catalogue(account, "rename", source.id, Some(from), Some(to));
        }
        if to.strip_prefix(from).is_some_and(|rest| rest.starts_with(DELIMITER)) {
            return Err(Error::Limit("a mailbox cannot move below itself"));
        }
        let below = format!("{from}{DELIMITER}");
        for mailbox in list(self.connection, account)? {
            let new = if mailbox.name == from {
                to.to_owned()
            } else if let Some(rest) = mailbox.name.strip_prefix(&below) {
                format!("{to}{DELIMITER}{rest}")
            } else {
                continue;
            };
            check_name(&new)?;
            let taken = "SELECT 1 FROM mailbox WHERE account = ?1 AND name = ?2";
            if maybe(self.connection, taken, (account.0, &new), |_| Ok(()))?.is_some() {
                return Err(Error::AlreadyExists(What::Mailbox));
            }
            self.run("UPDATE mailbox SET name = ?2 WHERE id = ?1", (mailbox.id.0, &new))?;
            self.mailbox_fact(mailbox.id.0, account, &new, mailbox.uid_validity, mailbox.special_use);
            self.log_catalogue(account, "rename", mailbox.id, Some(&mailbox.name), Some(&new))?;
            self.touched.insert(mailbox.id);
        }
        for (at, _) in to.match_indices(DELIMITER) {
            match self.insert_mailbox(account, canonical(&to[..at]), None) {
                Ok(_) | Err(Error::AlreadyExists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.accounts.insert(account);
        Ok(())
    }

    pub(crate) fn set_subscribed(&mut self, account: AccountId, name: &str, yes: bool) -> Result<()> {
        let name = canonical(name);
        let sql = if yes {
            "INSERT OR IGNORE INTO subscription VALUES (?1, ?2)"
        } else {
            "DELETE FROM subscription WHERE account = ?1 AND name = ?2"
        };
        self.run(sql, (account.0, name))?;
        self.facts.push(Fact::Subscribed { account: account.0, name: name.to_owned(), yes: u8::from(yes) });
        self.accounts.insert(account);
        Ok(())
    }

    /// The bits of keywords, which the mailbox learns if it does not know them yet.
    pub(crate) fn keyword_bits(&mut self, mailbox: MailboxId, names: &[String], learn: bool) -> Result<Flags> {
        if names.is_empty() {
            return Ok(Flags::default());
        }
        let mut known = keywords(self.connection, mailbox)?;
        let mut bits = Flags::default();
        for name in names {
            let number = match known.iter().position(|known| known.eq_ignore_ascii_case(name)) {
                Some(number) => number,
                None if !learn => continue,
                None => {
                    let number = known.len();
                    if number >= Flags::MAX_KEYWORDS {
                        return Err(Error::Limit("keywords of a mailbox"));
                    }
                    let stored = u32::try_from(number).unwrap_or(u32::MAX);
                    self.run("INSERT INTO keyword VALUES (?1, ?2, ?3)", (mailbox.0, stored, name))?;
                    self.facts.push(Fact::Keyword { mailbox: mailbox.0, number: stored, name: name.clone() });
                    known.push(name.clone());
                    number
                }
            };
            bits = bits | Flags::keyword(number);
        }
        Ok(bits)
    }
}
