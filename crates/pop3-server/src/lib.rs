//! What a POP3 session means here: the inbox as a maildrop.
//!
//! [`start`] serves the listeners of a process.

mod application;
mod body;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use daemon::{Bursts, Config, Context, Error, Kind};
use directory::Directory;
use net::Peer;
use pop3::server::{Config as SessionConfig, Server};
use sasl::Mechanism;
use store::Store;

pub use application::Pop3Application;
pub use body::Octets;

/// What the sessions of one listener share.
#[derive(Debug)]
pub struct Pop3Service {
    kind: Kind,
    store: Arc<dyn Store>,
    directory: Arc<Directory>,
    bursts: Arc<Bursts>,
    session: Mutex<Arc<SessionConfig>>,
}

/// Serves POP3.
///
/// # Errors
/// A listener cannot be used.
pub async fn start(context: &mut Context, store: Arc<dyn Store>, directory: Arc<Directory>) -> Result<(), Error> {
    let bursts = Arc::new(Bursts::default());
    for kind in [Kind::Pop3, Kind::Pop3s] {
        let service = Arc::new(Pop3Service::new(
            kind,
            &context.config,
            context.certificates.is_some(),
            Arc::clone(&store),
            Arc::clone(&directory),
            Arc::clone(&bursts),
        ));
        service.offer_mechanisms().await;
        tokio::spawn(follow_directory(Arc::downgrade(&service), store.watch_directory()));
        context.serve(kind, &service)?;
    }
    Ok(())
}

/// SCRAM is offered while every account has a verifier (rule 31); accounts come and go.
async fn follow_directory(service: std::sync::Weak<Pop3Service>, mut watch: store::Watch) {
    loop {
        watch.changed().await;
        let Some(service) = service.upgrade() else { return };
        service.offer_mechanisms().await;
    }
}

impl Pop3Service {
    /// A service of one kind.
    #[must_use]
    pub fn new(
        kind: Kind,
        config: &Config,
        tls: bool,
        store: Arc<dyn Store>,
        directory: Arc<Directory>,
        bursts: Arc<Bursts>,
    ) -> Self {
        let mut session = SessionConfig::new(config.hostname.as_str());
        session.implementation = Some("Mailwright".into());
        session.stls = tls;
        session.allow_plaintext_auth = config.allow_plaintext_auth(kind);
        Self { kind, store, directory, bursts, session: Mutex::new(Arc::new(session)) }
    }

    async fn offer_mechanisms(&self) {
        let mut mechanisms = vec![Mechanism::Plain, Mechanism::Login];
        match self.directory.scram_available().await {
            Ok(true) => mechanisms.insert(0, Mechanism::ScramSha256),
            Ok(false) => {}
            Err(error) => return tracing::debug!(%error, "mechanisms stay as they are"),
        }
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = (**session).clone();
        changed.mechanisms = mechanisms.into_iter().filter_map(|m| pop3::Mechanism::try_from(m.name()).ok()).collect();
        *session = Arc::new(changed);
    }
}

impl net::Service for Pop3Service {
    type Application = Pop3Application;

    fn connect(&self, peer: Peer) -> (Server<Octets>, Pop3Application) {
        let config = Arc::clone(&self.session.lock().unwrap_or_else(PoisonError::into_inner));
        let application =
            Pop3Application::new(Arc::clone(&self.store), Arc::clone(&self.directory), Arc::clone(&self.bursts), peer);
        (Server::new(config, Instant::now()), application)
    }

    fn refusal(&self) -> &'static str {
        "-ERR [SYS/TEMP] too many connections, try again later\r\n"
    }

    fn protocol(&self) -> &'static str {
        self.kind.name()
    }
}
