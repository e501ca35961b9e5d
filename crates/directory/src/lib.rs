//! Who is who: domains, accounts, aliases, passwords.
//!
//! [`Directory::resolve`] says whom mail for an address is for; [`Login`] runs a SASL exchange against the accounts;
//! the administration is what `mailctl` calls.

mod admin;
mod login;
mod names;
mod offer;
mod password;
mod throttle;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use address::Mailbox;
use moka::sync::Cache;
use store::{Account, AccountId, Store, Watch};
use tokio::sync::Semaphore;

pub use admin::{AdminError, ImportError, ImportRow, generate_password};
pub use login::{Failure, LoggedIn, Login, Outcome};
pub use names::{Forward, Found, Resolution, Target, destination, recipients};
pub use offer::{ScramOffer, Watched, binding_mechanisms, mechanisms};
pub use password::Hashing;

use names::Names;
use throttle::Throttle;

/// What can be set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// The cost of new hashes.
    pub hashing: Hashing,
    /// How long a successful login is remembered. Default 5 min.
    pub cache: Duration,
    /// Failed logins of one account, or from one network, in a minute, before more are put off. Default 10.
    pub failures_per_minute: u32,
    /// Password checks at once. Default 2; eight times as many may wait.
    pub hashers: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hashing: Hashing::default(), cache: Duration::from_secs(300), failures_per_minute: 10, hashers: 2 }
    }
}

/// The directory of a process; shared behind an `Arc`.
#[derive(Debug)]
pub struct Directory {
    store: Arc<dyn Store>,
    settings: Settings,
    /// What was read of the store, good until it says otherwise.
    watch: Mutex<Watch>,
    generation: AtomicU64,
    names: Mutex<Option<(u64, Arc<Names>)>>,
    accounts: Cache<String, (u64, Option<Arc<Account>>)>,
    /// Logins that succeeded: by account, hash and password, so that a change of either misses.
    logins: Cache<[u8; 32], AccountId>,
    secret: tokio::sync::OnceCell<[u8; 32]>,
    hashers: Semaphore,
    waiting: Semaphore,
    throttle: Mutex<Throttle>,
}

impl Directory {
    /// A directory over a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            watch: Mutex::new(store.watch_directory()),
            generation: AtomicU64::new(0),
            names: Mutex::default(),
            accounts: Cache::builder().max_capacity(10_000).build(),
            logins: Cache::builder().max_capacity(100_000).time_to_live(settings.cache).build(),
            secret: tokio::sync::OnceCell::new(),
            hashers: Semaphore::new(settings.hashers),
            waiting: Semaphore::new(settings.hashers * 9),
            throttle: Mutex::new(Throttle::new(settings.failures_per_minute)),
            settings,
            store,
        })
    }

    /// The store underneath.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The generation of what is read from now on: a change of the store begins a new one, and what was read in an older
    /// one no longer counts (rule 34).
    fn generation(&self) -> u64 {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.has_changed() {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        self.generation.load(Ordering::Acquire)
    }

    async fn account_by_key(&self, key: &str) -> store::Result<Option<Arc<Account>>> {
        let generation = self.generation();
        if let Some((known, account)) = self.accounts.get(key)
            && known == generation
        {
            return Ok(account);
        }
        let account = self.store.account_by_key(key).await?.map(Arc::new);
        self.accounts.insert(key.to_owned(), (generation, account.clone()));
        Ok(account)
    }

    /// Whether an account may send as this address: its own, with or without a detail, or one granted to it (rule 16).
    ///
    /// # Errors
    /// The store's.
    pub async fn sender_allowed(&self, account: AccountId, sender: &Mailbox) -> store::Result<bool> {
        let account = self.store.account(account).await?;
        let names = self.names().await?;
        let real = names.in_real_domain(sender);
        let sender = real.as_ref().unwrap_or(sender);
        let key = sender.key();
        let plain = names::without_detail(sender);
        let domain = sender.domain().map(|domain| format!("@{}", domain.ascii()));
        let own = [&key, &plain].contains(&&account.key);
        let granted = |grant: &String| *grant == key || *grant == plain || Some(grant) == domain.as_ref();
        Ok(account.enabled && (own || account.grants.iter().any(granted)))
    }

    /// A secret of this system, made once and kept in the store.
    ///
    /// # Errors
    /// The store's.
    pub async fn secret(&self) -> store::Result<[u8; 32]> {
        const KEY: &str = "auth_secret";
        self.secret
            .get_or_try_init(|| async {
                if let Some(secret) = self.store.setting(KEY).await?.and_then(|octets| octets.try_into().ok()) {
                    return Ok(secret);
                }
                let mut secret = [0; 32];
                getrandom::fill(&mut secret).map_err(|error| store::Error::Io(std::io::Error::other(error)))?;
                if let Err(error) = self.store.put_setting(KEY, secret.to_vec()).await {
                    // Logins need no more than that it stays the same while this process runs.
                    tracing::warn!(%error, "the secret of logins is not stored");
                }
                Ok(secret)
            })
            .await
            .copied()
    }

    /// Whether a login may be tried now, for this account and from this address.
    fn may_try(&self, key: &str, peer: Option<IpAddr>) -> bool {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner).allows(key, peer, std::time::Instant::now())
    }

    fn failed(&self, key: &str, peer: Option<IpAddr>) {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner).failed(key, peer, std::time::Instant::now());
    }
}
