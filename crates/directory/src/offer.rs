//! Which SASL mechanisms may be offered (rule 31), and whether a session may go on (rule 8): both follow the accounts.

use std::sync::Arc;

use sasl::Mechanism;
use store::{Account, AccountId, Error, Store, Watch};
use tokio::sync::watch;

use crate::Directory;
use crate::login::PASSWORD;

/// Whether SCRAM may be offered, as it is now.
#[derive(Clone, Debug)]
pub struct ScramOffer(watch::Receiver<bool>);

impl ScramOffer {
    /// Always the same.
    #[must_use]
    pub fn fixed(offered: bool) -> Self {
        Self(watch::channel(offered).1)
    }

    /// One of two, by what may be offered now.
    pub fn choose<'a, T>(&self, without: &'a T, with: &'a T) -> &'a T {
        if *self.0.borrow() { with } else { without }
    }
}

/// The mechanisms for passwords, without and with SCRAM, the best first.
#[must_use]
pub fn mechanisms(scram: bool) -> &'static [Mechanism] {
    let all = &[Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login];
    if scram { all } else { &all[1..] }
}

/// Those that need a channel binding.
#[must_use]
pub fn binding_mechanisms(scram: bool) -> &'static [Mechanism] {
    if scram { &[Mechanism::ScramSha256Plus] } else { &[] }
}

impl Directory {
    /// Says from now on whether every account has a verifier for SCRAM; accounts come and go.
    pub async fn scram_offer(self: &Arc<Self>) -> ScramOffer {
        let mut changes = self.store().watch_directory();
        let (sender, receiver) = watch::channel(self.scram_available().await.unwrap_or(false));
        let directory = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = changes.changed() => {}
                    () = sender.closed() => return,
                }
                let Some(directory) = directory.upgrade() else { return };
                match directory.scram_available().await {
                    Ok(available) => {
                        sender.send_if_modified(|known| std::mem::replace(known, available) != available);
                    }
                    Err(error) => tracing::debug!(%error, "mechanisms stay as they are"),
                }
            }
        });
        ScramOffer(receiver)
    }
}

/// The account of a session, which ends when the account is disabled, removed, or gets another password (rule 8).
#[derive(Debug)]
pub struct Watched {
    id: AccountId,
    watch: Watch,
    password: Option<Vec<u8>>,
    /// Something changed, and has not been looked at.
    unseen: bool,
}

impl Watched {
    /// Watches an account from now on.
    ///
    /// # Errors
    /// The store's.
    pub async fn new(store: &dyn Store, id: AccountId) -> store::Result<Self> {
        let watch = store.watch_account(id);
        let password = password_of(&store.account(id).await?);
        Ok(Self { id, watch, password, unseen: false })
    }

    /// The account.
    #[must_use]
    pub fn id(&self) -> AccountId {
        self.id
    }

    /// Waits until the session must end. It may be dropped and called again.
    pub async fn revoked(&mut self, store: &dyn Store) {
        loop {
            if !self.unseen {
                self.watch.changed().await;
                self.unseen = true;
            }
            let same = match store.account(self.id).await {
                Ok(account) => account.enabled && password_of(&account) == self.password,
                Err(Error::NotFound(_)) => false,
                Err(_) => true,
            };
            self.unseen = false;
            if !same {
                return;
            }
        }
    }
}

fn password_of(account: &Account) -> Option<Vec<u8>> {
    account.credentials.iter().find(|(kind, _)| kind == PASSWORD).map(|(_, value)| value.clone())
}
