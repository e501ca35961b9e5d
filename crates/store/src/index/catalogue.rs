//! Domains, accounts, aliases and settings: the rows behind the directory.

use rusqlite::Connection;

use super::{Txn, all, maybe, one, schema, signed, unsigned};
use crate::fact::Fact;
use crate::types::{Account, AccountChange, AccountId, Alias, Domain, MailboxId, NewAccount, SpecialUse};
use crate::{Error, Result, What};

/// The mailboxes that an account begins with (rule 19).
const FIRST_MAILBOXES: [(&str, Option<SpecialUse>); 6] = [
    ("INBOX", None),
    ("Drafts", Some(SpecialUse::Drafts)),
    ("Sent", Some(SpecialUse::Sent)),
    ("Junk", Some(SpecialUse::Junk)),
    ("Trash", Some(SpecialUse::Trash)),
    ("Archive", Some(SpecialUse::Archive)),
];

pub(crate) fn domains(connection: &Connection) -> Result<Vec<Domain>> {
    all(connection, "SELECT name, catch_all FROM domain ORDER BY name", [], |row| {
        Ok(Domain { name: row.get(0)?, catch_all: row.get(1)? })
    })
}

pub(crate) fn aliases(connection: &Connection) -> Result<Vec<Alias>> {
    let rows: Vec<(String, String)> =
        all(connection, "SELECT key, target FROM alias ORDER BY key, number", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let mut aliases: Vec<Alias> = Vec::new();
    for (key, target) in rows {
        match aliases.last_mut() {
            Some(alias) if alias.key == key => alias.targets.push(target),
            _ => aliases.push(Alias { key, targets: vec![target] }),
        }
    }
    Ok(aliases)
}

pub(crate) fn alias(connection: &Connection, key: &str) -> Result<Option<Alias>> {
    let targets = all(connection, "SELECT target FROM alias WHERE key = ?1 ORDER BY number", [key], |row| row.get(0))?;
    Ok((!targets.is_empty()).then(|| Alias { key: key.to_owned(), targets }))
}

pub(crate) fn setting(connection: &Connection, key: &str) -> Result<Option<Vec<u8>>> {
    maybe(connection, "SELECT value FROM setting WHERE key = ?1", [key], |row| row.get(0))
}

pub(crate) fn account_ids(connection: &Connection) -> Result<Vec<AccountId>> {
    all(connection, "SELECT id FROM account ORDER BY key", [], |row| Ok(AccountId(row.get(0)?)))
}

pub(crate) fn every_account_has(connection: &Connection, kind: &str) -> Result<bool> {
    let lacking = "SELECT 1 FROM account a WHERE enabled AND NOT EXISTS
      (SELECT 1 FROM credential c WHERE c.account = a.id AND c.kind = ?1) LIMIT 1";
    Ok(maybe(connection, lacking, [kind], |_| Ok(()))?.is_none())
}

pub(crate) fn account_by_key(connection: &Connection, key: &str) -> Result<Option<Account>> {
    let id: Option<i64> = maybe(connection, "SELECT id FROM account WHERE key = ?1", [key], |row| row.get(0))?;
    id.map(|id| account(connection, AccountId(id))).transpose()
}

pub(crate) fn account(connection: &Connection, id: AccountId) -> Result<Account> {
    let mut account = one(
        connection,
        What::Account,
        "SELECT key, address, enabled, quota, used_octets, used_messages, created FROM account WHERE id = ?1",
        [id.0],
        |row| {
            Ok(Account {
                id,
                key: row.get(0)?,
                address: row.get(1)?,
                enabled: row.get(2)?,
                quota_octets: row.get::<_, Option<i64>>(3)?.map(unsigned),
                used_octets: unsigned(row.get(4)?),
                used_messages: unsigned(row.get(5)?),
                created: row.get(6)?,
                grants: Vec::new(),
                credentials: Vec::new(),
            })
        },
    )?;
    let grants = "SELECT pattern FROM account_grant WHERE account = ?1 ORDER BY pattern";
    account.grants = all(connection, grants, [id.0], |row| row.get(0))?;
    let credentials = "SELECT kind, value FROM credential WHERE account = ?1 ORDER BY kind";
    account.credentials = all(connection, credentials, [id.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(account)
}

impl Txn<'_> {
    /// Notes that the directory changed, for every process that keeps some of it in memory.
    fn directory_changed(&mut self) -> Result<()> {
        if !self.directory {
            schema::count(self.connection, "directory")?;
            self.directory = true;
        }
        Ok(())
    }

    pub(crate) fn put_domain(&mut self, domain: &Domain) -> Result<()> {
        self.run(
            "INSERT INTO domain VALUES (?1, ?2) ON CONFLICT(name) DO UPDATE SET catch_all = excluded.catch_all",
            (&domain.name, &domain.catch_all),
        )?;
        self.facts.push(Fact::Domain { name: domain.name.clone(), catch_all: domain.catch_all.clone() });
        self.directory_changed()
    }

    pub(crate) fn remove_domain(&mut self, name: &str) -> Result<()> {
        if self.run("DELETE FROM domain WHERE name = ?1", [name])? == 0 {
            return Err(Error::NotFound(What::Domain));
        }
        self.facts.push(Fact::DomainGone { name: name.to_owned() });
        self.directory_changed()
    }

    pub(crate) fn put_alias(&mut self, alias: &Alias) -> Result<()> {
        self.run("DELETE FROM alias WHERE key = ?1", [&alias.key])?;
        for (number, target) in (0_i64..).zip(&alias.targets) {
            self.run("INSERT INTO alias VALUES (?1, ?2, ?3)", (&alias.key, number, target))?;
        }
        self.facts.push(if alias.targets.is_empty() {
            Fact::AliasGone { key: alias.key.clone() }
        } else {
            Fact::Alias { key: alias.key.clone(), targets: alias.targets.clone() }
        });
        self.directory_changed()
    }

    pub(crate) fn remove_alias(&mut self, key: &str) -> Result<()> {
        if self.run("DELETE FROM alias WHERE key = ?1", [key])? == 0 {
            return Err(Error::NotFound(What::Alias));
        }
        self.facts.push(Fact::AliasGone { key: key.to_owned() });
        self.directory_changed()
    }

    pub(crate) fn put_setting(&mut self, key: &str, value: &[u8]) -> Result<()> {
        self.run(
            "INSERT INTO setting VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
            (key, value),
        )?;
        self.facts.push(Fact::Setting { key: key.to_owned(), value: value.to_vec() });
        Ok(())
    }

    pub(crate) fn add_account(&mut self, new: &NewAccount) -> Result<AccountId> {
        let id = self.id();
        let added = self.run(
            "INSERT INTO account VALUES (?1, ?2, ?3, 1, 0, ?4, 0, 0, ?5) ON CONFLICT(key) DO NOTHING",
            (id, &new.key, &new.address, new.quota_octets.map(signed), self.seconds()),
        )?;
        if added == 0 {
            return Err(Error::AlreadyExists(What::Account));
        }
        self.set_credentials(AccountId(id), &new.credentials)?;
        for (name, special_use) in FIRST_MAILBOXES {
            self.insert_mailbox(AccountId(id), name, special_use)?;
            self.set_subscribed(AccountId(id), name, true)?;
        }
        self.account_changed(AccountId(id))?;
        Ok(AccountId(id))
    }

    fn set_credentials(&mut self, id: AccountId, credentials: &[(String, Vec<u8>)]) -> Result<()> {
        self.run("DELETE FROM credential WHERE account = ?1", [id.0])?;
        for (kind, value) in credentials {
            self.run("INSERT INTO credential VALUES (?1, ?2, ?3)", (id.0, kind, value))?;
        }
        Ok(())
    }

    fn set_credential(&mut self, id: AccountId, kind: &str, value: &[u8]) -> Result<()> {
        self.run(
            "INSERT INTO credential VALUES (?1, ?2, ?3) ON CONFLICT(account, kind) DO UPDATE SET value = excluded.value",
            (id.0, kind, value),
        )?;
        Ok(())
    }

    fn account_changed(&mut self, id: AccountId) -> Result<()> {
        let account = account(self.connection, id)?;
        self.facts.push(Fact::Account {
            id: id.0,
            key: account.key,
            address: account.address,
            enabled: u8::from(account.enabled),
            quota: account.quota_octets,
            created: account.created,
            grants: account.grants,
            credentials: account.credentials,
        });
        self.accounts.insert(id);
        self.directory_changed()
    }

    pub(crate) fn update_account(&mut self, id: AccountId, change: &AccountChange) -> Result<()> {
        match change {
            AccountChange::Enabled(enabled) => {
                self.run("UPDATE account SET enabled = ?2 WHERE id = ?1", (id.0, enabled))?;
            }
            AccountChange::Quota(quota) => {
                self.run("UPDATE account SET quota = ?2 WHERE id = ?1", (id.0, quota.map(signed)))?;
            }
            AccountChange::Credential(kind, None) => {
                self.run("DELETE FROM credential WHERE account = ?1 AND kind = ?2", (id.0, kind))?;
            }
            AccountChange::Credential(kind, Some(value)) => {
                one(self.connection, What::Account, "SELECT 1 FROM account WHERE id = ?1", [id.0], |_| Ok(()))?;
                self.set_credential(id, kind, value)?;
            }
            AccountChange::Upgrade { known: (kind, value), credentials } => {
                let known = "SELECT 1 FROM credential WHERE account = ?1 AND kind = ?2 AND value = ?3";
                if maybe(self.connection, known, (id.0, kind, value), |_| Ok(()))?.is_none() {
                    return Err(Error::Conflict);
                }
                for (kind, value) in credentials {
                    self.set_credential(id, kind, value)?;
                }
            }
            AccountChange::Credentials(credentials) => {
                one(self.connection, What::Account, "SELECT 1 FROM account WHERE id = ?1", [id.0], |_| Ok(()))?;
                self.set_credentials(id, credentials)?;
            }
            AccountChange::Grants(grants) => {
                self.run("DELETE FROM account_grant WHERE account = ?1", [id.0])?;
                for pattern in grants {
                    self.run("INSERT OR IGNORE INTO account_grant VALUES (?1, ?2)", (id.0, pattern))?;
                }
            }
        }
        self.account_changed(id)
    }

    pub(crate) fn remove_account(&mut self, id: AccountId) -> Result<()> {
        one(self.connection, What::Account, "SELECT 1 FROM account WHERE id = ?1", [id.0], |_| Ok(()))?;
        let mailboxes: Vec<i64> =
            all(self.connection, "SELECT id FROM mailbox WHERE account = ?1", [id.0], |row| row.get(0))?;
        for mailbox in mailboxes {
            self.drop_mailbox(id, MailboxId(mailbox))?;
        }
        for sql in [
            "DELETE FROM subscription WHERE account = ?1",
            "DELETE FROM credential WHERE account = ?1",
            "DELETE FROM account_grant WHERE account = ?1",
            "DELETE FROM account WHERE id = ?1",
        ] {
            self.run(sql, [id.0])?;
        }
        self.facts.push(Fact::AccountGone { id: id.0 });
        self.accounts.insert(id);
        self.directory_changed()
    }
}
