//! Logins: the same for every protocol.

use std::net::IpAddr;
use std::sync::Arc;

use address::Mailbox;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sasl::Mechanism;
use sasl::scram::{Verifier, hmac};
use sasl::server::{Exchange, Step};
use store::{Account, AccountChange, AccountId, RECOVERED};
use wire::Secret;

use crate::{Directory, password};

/// The kind of credential that is a password hash.
pub(crate) const PASSWORD: &str = "password";
/// The kind that is a SCRAM verifier (rule 31: apart from the hash).
pub(crate) const SCRAM: &str = "scram-sha-256";

/// Who has logged in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoggedIn {
    /// The account.
    pub account: AccountId,
    /// Its address.
    pub address: String,
}

/// Why a login failed. Only `Wrong` and `Disabled` are the client's; what it is told does not tell them apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// Unknown user or wrong password.
    Wrong,
    /// The account is disabled, and the password was right.
    Disabled,
    /// Too many failures: try later.
    Throttled,
    /// The store or the hashing is too busy: try later.
    Unavailable,
    /// What the client sent is not of the mechanism.
    Malformed,
}

impl Failure {
    /// Whether the same login may succeed later.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable)
    }
}

/// What an exchange came to.
#[derive(Debug)]
pub enum Outcome {
    /// Send this to the client, and bring its response.
    Challenge(Vec<u8>),
    /// Welcome.
    Success(LoggedIn),
    /// No; for the log, the user it was about.
    Failure(Failure, String),
}

/// A SASL exchange against the directory.
#[derive(Debug)]
pub struct Login {
    directory: Arc<Directory>,
    exchange: Exchange,
    peer: Option<IpAddr>,
    /// The account that a SCRAM exchange is about.
    account: Option<Arc<Account>>,
    user: String,
}

impl Login {
    /// Begins an exchange; `binding`: the TLS channel's, if there is one.
    #[must_use]
    pub fn new(
        directory: &Arc<Directory>,
        mechanism: Mechanism,
        binding: Option<Vec<u8>>,
        peer: Option<IpAddr>,
    ) -> Self {
        let mut nonce = [0; 18];
        // Without randomness the nonce is empty of it, and the exchange fails at its proof.
        let random = getrandom::fill(&mut nonce).is_ok();
        let nonce = if random { STANDARD_NO_PAD.encode(nonce) } else { String::new() };
        let exchange = Exchange::new(mechanism, binding, nonce);
        Self { directory: Arc::clone(directory), exchange, peer, account: None, user: String::new() }
    }

    /// The mechanism's name.
    #[must_use]
    pub fn mechanism(&self) -> &'static str {
        self.exchange.mechanism().name()
    }

    /// The client's response; `None` where there was no initial one.
    pub async fn respond(&mut self, response: Option<Secret>) -> Outcome {
        let mut step = self.exchange.respond(response);
        loop {
            step = match step {
                Step::Challenge(octets) => return Outcome::Challenge(octets),
                Step::CheckPassword { user, authorization, password } => {
                    let result = if authorization.is_empty() || authorization == user {
                        self.directory.check(&user, &password, self.peer).await
                    } else {
                        Err(Failure::Wrong)
                    };
                    return match result {
                        Ok(logged_in) => Outcome::Success(logged_in),
                        Err(failure) => Outcome::Failure(failure, user),
                    };
                }
                Step::NeedVerifier { user } => {
                    self.user.clone_from(&user);
                    match self.verifier(&user).await {
                        Ok((verifier, real)) => self.exchange.verifier(verifier, real),
                        Err(failure) => return Outcome::Failure(failure, user),
                    }
                }
                Step::Done { user } => return self.proved(user).await,
                Step::Malformed => return Outcome::Failure(Failure::Malformed, self.user.clone()),
                Step::Failed => {
                    self.directory.failed(&self.user, self.peer);
                    return Outcome::Failure(Failure::Wrong, self.user.clone());
                }
                // Neither tokens nor client certificates are configured in this version; both are refused like a
                // wrong password.
                Step::CheckToken { .. } | Step::External { .. } => {
                    return Outcome::Failure(Failure::Wrong, self.user.clone());
                }
            };
        }
    }

    async fn verifier(&mut self, user: &str) -> Result<(Verifier, bool), Failure> {
        let unavailable = |_: store::Error| Failure::Unavailable;
        let key = self.directory.user_key(user).await.map_err(unavailable)?;
        if !self.directory.may_try(&key, self.peer) {
            return Err(Failure::Throttled);
        }
        let account = self.directory.account_by_key(&key).await.map_err(unavailable)?;
        let known = account.as_ref().and_then(|account| credential(account, SCRAM)).and_then(Verifier::decode);
        self.account = account;
        match known {
            Some(verifier) => Ok((verifier, true)),
            None => {
                // The same invented verifier each time (rule 31).
                let secret = self.directory.secret().await.map_err(unavailable)?;
                let seed = hmac(&secret, key.as_bytes());
                let iterations = self.directory.settings.hashing.scram_iterations;
                let salt = seed[..16].to_vec();
                Ok((Verifier { iterations, salt, stored_key: hmac(&secret, &seed), server_key: seed }, false))
            }
        }
    }

    async fn proved(&mut self, user: String) -> Outcome {
        let Some(account) = self.account.take() else { return Outcome::Failure(Failure::Wrong, user) };
        match self.directory.store().account(account.id).await {
            Ok(account) if account.enabled => {
                Outcome::Success(LoggedIn { account: account.id, address: account.address })
            }
            Ok(_) => Outcome::Failure(Failure::Disabled, user),
            Err(store::Error::NotFound(_)) => Outcome::Failure(Failure::Wrong, user),
            Err(_) => Outcome::Failure(Failure::Unavailable, user),
        }
    }
}

fn credential<'a>(account: &'a Account, kind: &str) -> Option<&'a [u8]> {
    account.credentials.iter().find(|(known, _)| known == kind).map(|(_, value)| &value[..])
}

impl Directory {
    /// The key of a user name: the whole address, or `user` where one domain is served.
    async fn user_key(&self, user: &str) -> store::Result<String> {
        if let Ok(mailbox) = Mailbox::parse(user) {
            return Ok(mailbox.key());
        }
        if user.eq_ignore_ascii_case(RECOVERED)
            && let Some(account) = self.account_by_key(&RECOVERED.to_ascii_lowercase()).await?
        {
            return Ok(account.key.clone());
        }
        let names = self.names().await?;
        let mut domains = names.domains.keys();
        Ok(match (domains.next(), domains.next()) {
            (Some(domain), None) => {
                Mailbox::parse(&format!("{user}@{domain}")).map_or_else(|_| user.to_owned(), |m| m.key())
            }
            _ => user.to_owned(),
        })
    }

    /// Checks a user name and password. An unknown user costs what a known one does.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self, user: &str, password: &Secret, peer: Option<IpAddr>) -> Result<LoggedIn, Failure> {
        let unavailable = |_: store::Error| Failure::Unavailable;
        let key = self.user_key(user).await.map_err(unavailable)?;
        let account = self.account_by_key(&key).await.map_err(unavailable)?;
        let hash = account
            .as_ref()
            .and_then(|account| credential(account, PASSWORD))
            .and_then(|hash| std::str::from_utf8(hash).ok())
            .map(str::to_owned);
        let secret = self.secret().await.map_err(unavailable)?;
        let remembered = hash.as_ref().map(|hash| {
            let mut whole = key.as_bytes().to_vec();
            for part in [hash.as_bytes(), password.expose()] {
                whole.push(0);
                whole.extend_from_slice(part);
            }
            hmac(&secret, &whole)
        });
        if let (Some(remembered), Some(account)) = (remembered, &account)
            && self.logins.get(&remembered) == Some(account.id)
        {
            return admitted(account);
        }
        if !self.may_try(&key, peer) {
            return Err(Failure::Throttled);
        }
        let right = self.verify(password.clone(), hash.clone()).await?;
        let (true, Some(account), Some(remembered)) = (right, &account, remembered) else {
            self.failed(&key, peer);
            return Err(Failure::Wrong);
        };
        self.logins.insert(remembered, account.id);
        self.upgrade(account, password, hash.as_deref().unwrap_or_default()).await;
        admitted(account)
    }

    /// Checks a password in the bounded pool; without a hash, one that nobody knows is checked instead.
    async fn verify(&self, password: Secret, hash: Option<String>) -> Result<bool, Failure> {
        // The queue before the hashers has an end: beyond it clients are asked to come again.
        let Ok(_place) = self.waiting.try_acquire() else { return Err(Failure::Unavailable) };
        let Ok(_hasher) = self.hashers.acquire().await else { return Err(Failure::Unavailable) };
        let hashing = self.settings.hashing;
        tokio::task::spawn_blocking(move || match hash {
            Some(hash) => password::verify(password.expose(), &hash),
            None => {
                // What it comes to does not matter, only what it costs.
                let _ = hashing.hash(password.expose());
                false
            }
        })
        .await
        .map_err(|_| Failure::Unavailable)
    }

    /// After a login by password: a hash of today's cost, and a SCRAM verifier.
    async fn upgrade(&self, account: &Account, password: &Secret, hash: &str) {
        let hashing = self.settings.hashing;
        let stale = !hashing.is_current(hash);
        let without_verifier = credential(account, SCRAM).is_none();
        if !stale && !without_verifier {
            return;
        }
        let Ok(text) = String::from_utf8(password.expose().to_vec()) else { return };
        let made = tokio::task::spawn_blocking(move || credentials(hashing, &text)).await;
        let Ok(Some(credentials)) = made else { return };
        let wanted = |kind: &str| if kind == PASSWORD { stale } else { without_verifier };
        let credentials = credentials.into_iter().filter(|(kind, _)| wanted(kind)).collect();
        // Only while the password is the one that was checked: another may have been set meanwhile, or another login of
        // the same client may have been first.
        let known = (PASSWORD.to_owned(), hash.as_bytes().to_vec());
        let change = AccountChange::Upgrade { known, credentials };
        if let Err(error) = self.store().update_account(account.id, change).await {
            tracing::debug!(%error, "credentials not upgraded");
        }
    }
}

fn admitted(account: &Account) -> Result<LoggedIn, Failure> {
    if !account.enabled {
        return Err(Failure::Disabled);
    }
    Ok(LoggedIn { account: account.id, address: account.address.clone() })
}

/// Both credentials of a password. Blocks.
pub(crate) fn credentials(hashing: crate::Hashing, password: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).ok()?;
    let hash = hashing.hash(password.as_bytes())?;
    let verifier = Verifier::of(password, &salt, hashing.scram_iterations);
    Some(vec![(PASSWORD.to_owned(), hash.into_bytes()), (SCRAM.to_owned(), verifier.encode())])
}
