//! From an address to the accounts it means.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};

use address::{Domain, ForwardPath, Host, Mailbox, ReversePath};
use bytes::Bytes;
use store::{Account, FlagNames, Recipient};

use crate::Directory;

/// How far aliases may lead to aliases (rule 14).
pub(crate) const MAX_DEPTH: usize = 10;

/// Whom mail for an address is for.
#[derive(Debug)]
pub enum Resolution {
    /// The domain is ours: these accounts and addresses, at least one.
    Local(Found),
    /// The domain is ours, and the directory answered that there is nobody of that name: 550 5.1.1 (rule 6).
    NoSuchUser,
    /// The domain is not ours.
    NotLocal,
    /// All of them are disabled.
    Disabled,
    /// The directory cannot tell now: 451 4.3.0.
    Unavailable(store::Error),
}

/// What an address of ours leads to.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Accounts, each once.
    pub accounts: Vec<Target>,
    /// Addresses of other systems, each once.
    pub elsewhere: Vec<Forward>,
}

/// An address elsewhere that an alias leads to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Forward {
    /// Where to.
    pub to: Mailbox,
    /// The address whose alias leads there.
    pub via: Mailbox,
    /// Who gets the reports: `owner-NAME` beside a list `NAME`, if there is one.
    pub owner: Option<Mailbox>,
}

/// An account that mail is for.
#[derive(Clone, Debug)]
pub struct Target {
    /// The account.
    pub account: Arc<Account>,
    /// What stood behind the `+`.
    pub detail: Option<String>,
    /// Who gets the reports, where a list led here: `owner-NAME` beside a list `NAME`, if there is one.
    pub owner: Option<Mailbox>,
}

/// Domains and aliases, read together.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) domains: HashMap<String, store::Domain>,
    pub(crate) aliases: HashMap<String, Vec<String>>,
    /// Domains that stand for others. They are kept as aliases of their own kind: `@b.example` leads to `@a.example`.
    pub(crate) domain_aliases: HashMap<String, Domain>,
}

impl Names {
    /// The same address in the domain that its own stands for.
    pub(crate) fn in_real_domain(&self, mailbox: &Mailbox) -> Option<Mailbox> {
        let domain = self.domain_aliases.get(mailbox.domain()?.ascii())?;
        Some(Mailbox { local: mailbox.local.clone(), host: Host::Domain(domain.clone()) })
    }

    /// Whether the address is in a domain of ours.
    fn serves(&self, mailbox: &Mailbox) -> bool {
        mailbox.domain().is_some_and(|domain| self.domains.contains_key(domain.ascii()))
    }

    /// The address that gets the reports of a list: `owner-` and its name, if there is such an alias.
    fn owner(&self, list: &Mailbox) -> Option<Mailbox> {
        let owner = Mailbox::parse(&format!("owner-{}", without_detail(list))).ok()?;
        self.aliases.contains_key(&owner.key()).then_some(owner)
    }
}

/// The key of an address without its detail.
pub(crate) fn without_detail(mailbox: &Mailbox) -> String {
    let key = mailbox.key();
    match (mailbox.local.split_detail('+'), key.rsplit_once('@')) {
        ((user, Some(_)), Some((_, domain))) => {
            Mailbox::parse(&format!("{user}@{domain}")).map_or_else(|_| key.clone(), |plain| plain.key())
        }
        _ => key,
    }
}

impl Directory {
    pub(crate) async fn names(&self) -> store::Result<Arc<Names>> {
        let generation = self.generation();
        if let Some((known, names)) = self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
            && known == generation
        {
            return Ok(names);
        }
        let domains = self.store().domains().await?;
        let aliases = self.store().aliases().await?;
        let domain_aliases = aliases.iter().filter_map(|alias| {
            let (from, to) = (alias.key.strip_prefix('@')?, alias.targets.first()?.strip_prefix('@')?);
            Some((from.to_owned(), Domain::parse(to).ok()?))
        });
        let names = Arc::new(Names {
            domain_aliases: domain_aliases.collect(),
            domains: domains.into_iter().map(|domain| (domain.name.clone(), domain)).collect(),
            aliases: aliases.into_iter().map(|alias| (alias.key, alias.targets)).collect(),
        });
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = Some((generation, Arc::clone(&names)));
        Ok(names)
    }

    /// Whether mail for this domain is ours, by its A-label name.
    ///
    /// # Errors
    /// The store's.
    pub async fn is_local(&self, domain: &str) -> store::Result<bool> {
        Ok(self.names().await?.domains.contains_key(domain))
    }

    /// Whom mail for this path is for.
    pub async fn resolve(&self, path: &ForwardPath) -> Resolution {
        self.try_resolve(path).await.unwrap_or_else(Resolution::Unavailable)
    }

    async fn try_resolve(&self, path: &ForwardPath) -> store::Result<Resolution> {
        let names = self.names().await?;
        let mailbox = match path {
            ForwardPath::Postmaster => None,
            ForwardPath::Mailbox(mailbox) => Some(mailbox),
        };
        if let Some(mailbox) = mailbox
            && !mailbox.domain().is_some_and(|domain| names.domains.contains_key(domain.ascii()))
        {
            return Ok(Resolution::NotLocal);
        }
        let mut found = Search::default();
        match mailbox {
            Some(mailbox) => self.follow(&names, mailbox, 0, &mut found).await?,
            None => {
                for target in names.aliases.get("postmaster").into_iter().flatten() {
                    if let Ok(mailbox) = Mailbox::parse(target) {
                        Box::pin(self.follow(&names, &mailbox, 1, &mut found)).await?;
                    }
                }
            }
        }
        if found.is_empty() && !found.disabled {
            let catch_all = mailbox
                .and_then(Mailbox::domain)
                .and_then(|domain| names.domains.get(domain.ascii()))
                .and_then(|domain| domain.catch_all.as_deref())
                .and_then(|address| Mailbox::parse(address).ok());
            if let Some(catch_all) = catch_all {
                if names.serves(&catch_all) {
                    self.follow(&names, &catch_all, 1, &mut found).await?;
                } else if let Some(via) = mailbox {
                    found.found.elsewhere.push(Forward { to: catch_all, via: via.clone(), owner: None });
                }
            }
        }
        Ok(match (found.is_empty(), found.disabled) {
            (false, _) => Resolution::Local(found.found),
            (true, true) => Resolution::Disabled,
            (true, false) => Resolution::NoSuchUser,
        })
    }

    /// Adds the accounts behind an address: itself, or those its alias leads to.
    async fn follow(&self, names: &Names, mailbox: &Mailbox, depth: usize, found: &mut Search) -> store::Result<()> {
        if depth > MAX_DEPTH {
            return Ok(());
        }
        let plain = without_detail(mailbox);
        let before = found.found.accounts.len() + found.found.elsewhere.len();
        let owner = names.owner(mailbox).or_else(|| found.owner.clone());
        let outer = std::mem::replace(&mut found.owner, owner.clone());
        let detail = mailbox.local.split_detail('+').1.map(str::to_owned);
        for key in BTreeSet::from([mailbox.key(), plain.clone()]) {
            if !found.seen.insert(key.clone()) {
                continue;
            }
            let mut keeps_copy = true;
            if let Some(targets) = names.aliases.get(&key) {
                // rule 14: an alias that names itself keeps a copy.
                keeps_copy = targets.iter().any(|target| Mailbox::parse(target).is_ok_and(|to| to.key() == key));
                for target in targets.iter().filter_map(|target| Mailbox::parse(target).ok()) {
                    if target.key() == key {
                        continue;
                    }
                    if names.serves(&target) {
                        Box::pin(self.follow(names, &target, depth + 1, found)).await?;
                    } else if !found.found.elsewhere.iter().any(|forward| forward.to.key() == target.key()) {
                        let (via, owner) = (mailbox.clone(), owner.clone());
                        found.found.elsewhere.push(Forward { to: target, via, owner });
                    }
                }
            }
            if keeps_copy
                && let Some(account) = self.account_by_key(&key).await?
                && !found.found.accounts.iter().any(|target| target.account.id == account.id)
            {
                if account.enabled {
                    found.found.accounts.push(Target { account, detail: detail.clone(), owner: outer.clone() });
                } else {
                    found.disabled = true;
                }
            }
        }
        let nobody = before == found.found.accounts.len() + found.found.elsewhere.len() && !found.disabled;
        if let Some(real) = names.in_real_domain(mailbox).filter(|_| nobody) {
            Box::pin(self.follow(names, &real, depth + 1, found)).await?;
        }
        found.owner = outer;
        Ok(())
    }
}

#[derive(Default)]
struct Search {
    found: Found,
    disabled: bool,
    seen: BTreeSet<String>,
    /// Of the list whose members are being followed.
    owner: Option<Mailbox>,
}

impl Search {
    fn is_empty(&self) -> bool {
        self.found.accounts.is_empty() && self.found.elsewhere.is_empty()
    }
}

/// The recipients of a delivery, each account once, with the fields that are theirs alone (rule 15). `path`: the address
/// that the sender wrote.
#[must_use]
pub fn recipients(sender: &ReversePath, path: &ForwardPath, targets: &[Target]) -> Vec<Recipient> {
    let delivered_to = path.to_string();
    let delivered_to = delivered_to.trim_start_matches('<').trim_end_matches('>');
    let prefix =
        |sender: &ReversePath| Bytes::from(format!("Return-Path: {sender}\r\nDelivered-To: {delivered_to}\r\n"));
    let own = prefix(sender);
    targets
        .iter()
        .map(|target| Recipient {
            account: target.account.id,
            mailbox: None,
            // A report is nobody's to answer, not even a list's owner's.
            prefix: match (&target.owner, sender) {
                (Some(owner), ReversePath::Mailbox(_)) => prefix(&ReversePath::Mailbox(owner.clone())),
                _ => own.clone(),
            },
            flags: FlagNames::default(),
        })
        .collect()
}

/// The key of the queue under which mail for an address waits: its domain, or its address literal, in lower case.
#[must_use]
pub fn destination(mailbox: &Mailbox) -> String {
    match mailbox.domain() {
        Some(domain) => domain.ascii().to_owned(),
        None => mailbox.host.to_string().to_ascii_lowercase(),
    }
}
