//! What an operator does to the directory.

use std::collections::BTreeSet;
use std::sync::Arc;

use address::{Domain, Mailbox};
use store::{Account, AccountChange, AccountId, Alias, NewAccount, RECOVERED, What};

use crate::login::PASSWORD;
use crate::names::MAX_DEPTH;
use crate::password::{Given, given};
use crate::{Directory, login};

/// Why a change of the directory was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The text is no address.
    #[error("{0:?} is not an address: {1}")]
    Address(String, address::AddressError),
    /// The text is no domain.
    #[error("{0:?} is not a domain")]
    Domain(String),
    /// The domain is not one of ours.
    #[error("{0} is not a domain of this system: add it with `mailctl domain add {0}`")]
    NotLocal(String),
    /// There is none.
    #[error("there is no {0} {1}")]
    NotFound(&'static str, String),
    /// There is one already.
    #[error("there is already {0} {1}")]
    Exists(&'static str, String),
    /// The domain still has accounts.
    #[error("{0} still has {1} accounts: remove them first")]
    DomainInUse(String, usize),
    /// The alias would lead back to itself, or too far.
    #[error("{0} would make a loop of aliases, or a chain longer than 10")]
    AliasLoop(String),
    /// The domain stands for another already, or has accounts of its own.
    #[error("{0} cannot stand for another domain: it has accounts or aliases of its own, or others stand for it")]
    DomainAlias(String),
    /// The hash is of a scheme that is not known.
    #[error("the password's scheme is not known: argon2, sha-crypt ($5$, $6$), yescrypt, bcrypt or {{PLAIN}} are")]
    Scheme,
    /// The password is empty.
    #[error("the password is empty")]
    Empty,
    /// Hashing failed: no randomness, or a cost that cannot be.
    #[error("the password could not be hashed")]
    Hashing,
    /// The store's.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A line of an import.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImportRow {
    /// Where it stood, from 1.
    pub line: u64,
    /// The address.
    pub address: String,
    /// The password, or a hash.
    pub password: String,
    /// The quota in octets.
    pub quota_octets: Option<u64>,
}

/// Why an import was refused; nothing was imported.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {error}")]
pub struct ImportError {
    /// The line.
    pub line: u64,
    /// What is wrong with it.
    pub error: AdminError,
}

/// A password that nobody chose: 20 letters and digits without those that look alike.
///
/// # Errors
/// There is no randomness.
pub fn generate_password() -> Result<String, AdminError> {
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut password = String::new();
    while password.len() < 20 {
        let mut octets = [0; 32];
        getrandom::fill(&mut octets).map_err(|_| AdminError::Hashing)?;
        // Octets beyond the last whole multiple are passed over, so that every letter is as likely.
        let fair = octets.iter().filter(|octet| usize::from(**octet) < 256 / LETTERS.len() * LETTERS.len());
        password.extend(fair.map(|octet| char::from(LETTERS[usize::from(*octet) % LETTERS.len()])));
    }
    password.truncate(20);
    Ok(password)
}

fn parse(address: &str) -> Result<Mailbox, AdminError> {
    Mailbox::parse(address).map_err(|error| AdminError::Address(address.to_owned(), error))
}

impl Directory {
    async fn new_account(&self, address: &str, password: &str, quota: Option<u64>) -> Result<NewAccount, AdminError> {
        let mailbox = parse(address)?;
        let domain = mailbox.domain().map(|domain| domain.ascii().to_owned()).unwrap_or_default();
        if !self.is_local(&domain).await? {
            return Err(AdminError::NotLocal(domain));
        }
        let credentials = match given(password).ok_or(AdminError::Scheme)? {
            Given::Plain(password) => self.credentials(password).await?,
            Given::Hash(hash) => vec![(PASSWORD.to_owned(), hash.into_bytes())],
        };
        Ok(NewAccount { key: mailbox.key(), address: address.to_owned(), quota_octets: quota, credentials })
    }

    async fn credentials(&self, password: String) -> Result<Vec<(String, Vec<u8>)>, AdminError> {
        if password.is_empty() {
            return Err(AdminError::Empty);
        }
        let hashing = self.settings.hashing;
        let made = tokio::task::spawn_blocking(move || login::credentials(hashing, &password)).await;
        made.ok().flatten().ok_or(AdminError::Hashing)
    }

    /// Adds an account with a password in clear.
    ///
    /// # Errors
    /// Why not.
    pub async fn add_account(&self, address: &str, password: &str) -> Result<AccountId, AdminError> {
        let plain = format!("{{PLAIN}}{password}");
        let new = self.new_account(address, &plain, None).await?;
        match self.store().add_accounts(vec![new]).await {
            Ok(ids) => ids.first().copied().ok_or(AdminError::Hashing),
            Err(store::Error::AlreadyExists(_)) => Err(AdminError::Exists("an account", address.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds accounts, all or none.
    ///
    /// # Errors
    /// The first line that cannot be.
    pub async fn import(&self, rows: Vec<ImportRow>) -> Result<usize, ImportError> {
        let mut new = Vec::with_capacity(rows.len());
        let mut keys = BTreeSet::new();
        for row in &rows {
            let at = |error| ImportError { line: row.line, error };
            let account = self.new_account(&row.address, &row.password, row.quota_octets).await.map_err(at)?;
            let known = self.store().account_by_key(&account.key).await.map_err(|error| at(error.into()))?;
            if known.is_some() || !keys.insert(account.key.clone()) {
                return Err(at(AdminError::Exists("an account", row.address.clone())));
            }
            new.push(account);
        }
        let line = rows.last().map_or(0, |row| row.line);
        let ids = self.store().add_accounts(new).await.map_err(|error| ImportError { line, error: error.into() })?;
        Ok(ids.len())
    }

    /// The account of an address.
    ///
    /// # Errors
    /// There is none.
    pub async fn find_account(&self, address: &str) -> Result<Account, AdminError> {
        let key = match parse(address) {
            // What a salvage could not place: the one account whose name is no address.
            Err(_) if address.eq_ignore_ascii_case(RECOVERED) => RECOVERED.to_ascii_lowercase(),
            parsed => parsed?.key(),
        };
        let missing = || AdminError::NotFound("account", address.to_owned());
        self.store().account_by_key(&key).await?.ok_or_else(missing)
    }

    /// All accounts, by key.
    ///
    /// # Errors
    /// The store's.
    pub async fn all_accounts(&self) -> Result<Vec<Account>, AdminError> {
        let mut accounts = Vec::new();
        for id in self.store().accounts().await? {
            match self.store().account(id).await {
                Ok(account) => accounts.push(account),
                // Removed between the two looks.
                Err(store::Error::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(accounts)
    }

    /// Removes an account and its mail.
    ///
    /// # Errors
    /// There is none.
    pub async fn remove_account(&self, address: &str) -> Result<(), AdminError> {
        let account = self.find_account(address).await?;
        Ok(self.store().remove_account(account.id).await?)
    }

    /// Sets a new password; logins by the old one end within 1 s (rule 8).
    ///
    /// # Errors
    /// Why not.
    pub async fn set_password(&self, address: &str, password: &str) -> Result<(), AdminError> {
        let account = self.find_account(address).await?;
        let credentials = self.credentials(password.to_owned()).await?;
        Ok(self.store().update_account(account.id, AccountChange::Credentials(credentials)).await?)
    }

    /// Allows or refuses logins and mail.
    ///
    /// # Errors
    /// There is no such account.
    pub async fn set_enabled(&self, address: &str, enabled: bool) -> Result<(), AdminError> {
        let account = self.find_account(address).await?;
        Ok(self.store().update_account(account.id, AccountChange::Enabled(enabled)).await?)
    }

    /// Adds a domain, with the aliases that every domain owes, once there is an account to lead them to (rule 14).
    ///
    /// # Errors
    /// Why not.
    pub async fn add_domain(&self, name: &str, catch_all: Option<&str>) -> Result<(), AdminError> {
        let domain = Domain::parse(name).map_err(|_| AdminError::Domain(name.to_owned()))?;
        if self.is_local(domain.ascii()).await? {
            return Err(AdminError::Exists("a domain", name.to_owned()));
        }
        let catch_all = catch_all.map(|address| parse(address).map(|mailbox| mailbox.key())).transpose()?;
        Ok(self.store().put_domain(store::Domain { name: domain.ascii().to_owned(), catch_all }).await?)
    }

    /// Adds a domain whose addresses are those of another: what has no alias of its own there leads to the same address
    /// here.
    ///
    /// # Errors
    /// Why not.
    pub async fn add_domain_alias(&self, name: &str, real: &str) -> Result<(), AdminError> {
        let real = Domain::parse(real).map_err(|_| AdminError::Domain(real.to_owned()))?;
        let names = self.names().await?;
        if !names.domains.contains_key(real.ascii()) {
            return Err(AdminError::NotLocal(real.ascii().to_owned()));
        }
        let domain = Domain::parse(name).map_err(|_| AdminError::Domain(name.to_owned()))?;
        if names.domain_aliases.contains_key(real.ascii()) || domain == real {
            return Err(AdminError::DomainAlias(real.ascii().to_owned()));
        }
        self.add_domain(name, None).await?;
        let (key, target) = (format!("@{}", domain.ascii()), format!("@{}", real.ascii()));
        Ok(self.store().put_alias(Alias { key, targets: vec![target] }).await?)
    }

    /// Makes the aliases that a domain owes (rule 14), where they are missing: `postmaster`, and postmaster@, abuse@ and
    /// root@ of the domain, to `address`.
    ///
    /// # Errors
    /// The store's.
    pub async fn owe_aliases(&self, domain: &str, address: &str) -> Result<(), AdminError> {
        let names = self.names().await?;
        let owed = ["postmaster", "abuse", "root"].map(|local| format!("{local}@{domain}"));
        for key in owed.into_iter().chain(["postmaster".to_owned()]) {
            if !names.aliases.contains_key(&key) && self.store().account_by_key(&key).await?.is_none() {
                self.store().put_alias(Alias { key, targets: vec![address.to_owned()] }).await?;
            }
        }
        Ok(())
    }

    /// Removes a domain without accounts, and its aliases.
    ///
    /// # Errors
    /// Why not.
    pub async fn remove_domain(&self, name: &str) -> Result<(), AdminError> {
        let domain = Domain::parse(name).map_err(|_| AdminError::Domain(name.to_owned()))?;
        let suffix = format!("@{}", domain.ascii());
        let accounts = self.all_accounts().await?.iter().filter(|account| account.key.ends_with(&suffix)).count();
        if accounts > 0 {
            return Err(AdminError::DomainInUse(name.to_owned(), accounts));
        }
        match self.store().remove_domain(domain.ascii()).await {
            Err(store::Error::NotFound(What::Domain)) => return Err(AdminError::NotFound("domain", name.to_owned())),
            other => other?,
        }
        for alias in self.store().aliases().await? {
            if alias.key.ends_with(&suffix) {
                self.store().remove_alias(&alias.key).await?;
            }
        }
        Ok(())
    }

    /// Adds targets to an alias, making it if it is new.
    ///
    /// # Errors
    /// A loop, or a chain that is too long (rule 14). Loops through other systems end by their Received fields.
    pub async fn add_alias(&self, address: &str, targets: &[String]) -> Result<(), AdminError> {
        let names = self.names().await?;
        let key = self.alias_key(address).await?;
        let mut all = names.aliases.get(&key).cloned().unwrap_or_default();
        for target in targets {
            let mailbox = parse(target)?;
            if mailbox.key() != key && self.leads_to(&names, &mailbox.key(), &key, 1) {
                return Err(AdminError::AliasLoop(target.clone()));
            }
            if !all.contains(&mailbox.key()) {
                all.push(mailbox.key());
            }
        }
        Ok(self.store().put_alias(Alias { key, targets: all }).await?)
    }

    async fn alias_key(&self, address: &str) -> Result<String, AdminError> {
        if address.eq_ignore_ascii_case("postmaster") {
            return Ok("postmaster".into());
        }
        let mailbox = parse(address)?;
        let domain = mailbox.domain().map(|domain| domain.ascii().to_owned()).unwrap_or_default();
        if !self.is_local(&domain).await? {
            return Err(AdminError::NotLocal(domain));
        }
        Ok(mailbox.key())
    }

    fn leads_to(&self, names: &Arc<crate::names::Names>, from: &str, to: &str, depth: usize) -> bool {
        depth > MAX_DEPTH
            || from == to
            || names.aliases.get(from).is_some_and(|targets| {
                targets.iter().any(|target| target != from && self.leads_to(names, target, to, depth + 1))
            })
            || Mailbox::parse(from).ok().is_some_and(|from| {
                // With a detail, and in the domain that its own stands for, it may be the same.
                let plain = crate::names::without_detail(&from);
                let real = names.in_real_domain(&from).map(|real| real.key());
                [Some(plain), real]
                    .into_iter()
                    .flatten()
                    .any(|other| other != from.key() && self.leads_to(names, &other, to, depth + 1))
            })
    }

    /// Removes an alias, or some of its targets.
    ///
    /// # Errors
    /// There is none.
    pub async fn remove_alias(&self, address: &str, targets: &[String]) -> Result<(), AdminError> {
        let key = if address.eq_ignore_ascii_case("postmaster") { "postmaster".into() } else { parse(address)?.key() };
        let missing = || AdminError::NotFound("alias", address.to_owned());
        let alias = self.store().alias(&key).await?.ok_or_else(missing)?;
        let mut gone = BTreeSet::new();
        for target in targets {
            gone.insert(parse(target)?.key());
        }
        let rest: Vec<String> = alias.targets.into_iter().filter(|target| !gone.contains(target)).collect();
        if gone.is_empty() || rest.is_empty() {
            return Ok(self.store().remove_alias(&key).await?);
        }
        Ok(self.store().put_alias(Alias { key, targets: rest }).await?)
    }

    /// Whether every enabled account has a SCRAM verifier, so that SCRAM may be offered (rule 31).
    ///
    /// # Errors
    /// The store's.
    pub async fn scram_available(&self) -> Result<bool, AdminError> {
        Ok(self.store().every_account_has(login::SCRAM).await?)
    }
}
