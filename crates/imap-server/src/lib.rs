//! What an IMAP session means here: protocol vocabulary to store vocabulary.
//!
//! [`start`] serves the listeners of a process.

mod append;
mod application;
mod changes;
mod fetch;
mod mailboxes;
mod search;
mod text;
mod view;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use daemon::{Bursts, Config, Context, Error, Kind};
use directory::Directory;
use imap::server::{Config as SessionConfig, Server};
use net::Peer;
use sasl::Mechanism;
use store::Store;

pub use application::ImapApplication;
pub use fetch::Octets;

/// What the sessions of one listener share.
#[derive(Debug)]
pub struct ImapService {
    kind: Kind,
    store: Arc<dyn Store>,
    directory: Arc<Directory>,
    bursts: Arc<Bursts>,
    session: Mutex<Arc<SessionConfig>>,
}

/// Serves IMAP.
///
/// # Errors
/// A listener cannot be used.
pub async fn start(context: &mut Context, store: Arc<dyn Store>, directory: Arc<Directory>) -> Result<(), Error> {
    let bursts = Arc::new(Bursts::default());
    for kind in [Kind::Imap, Kind::Imaps] {
        let service = Arc::new(ImapService::new(
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
async fn follow_directory(service: std::sync::Weak<ImapService>, mut watch: store::Watch) {
    loop {
        watch.changed().await;
        let Some(service) = service.upgrade() else { return };
        service.offer_mechanisms().await;
    }
}

impl ImapService {
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
        session.starttls = tls;
        session.allow_plaintext_auth = config.allow_plaintext_auth(kind);
        session.literal_plus = config.imap.literal_plus;
        session.id.push(("version".into(), env!("CARGO_PKG_VERSION").into()));
        session.limits.line_octets = config.limits.imap_line_octets;
        session.limits.command_octets = config.limits.imap_command_octets;
        session.limits.append_octets = config.limits.message_octets;
        session.limits.errors = config.limits.errors;
        let heartbeat = config.limits.imap_heartbeat_seconds;
        session.limits.heartbeat = (heartbeat > 0).then(|| Duration::from_secs(heartbeat));
        Self { kind, store, directory, bursts, session: Mutex::new(Arc::new(session)) }
    }

    async fn offer_mechanisms(&self) {
        let scram = match self.directory.scram_available().await {
            Ok(scram) => scram,
            Err(error) => return tracing::debug!(%error, "mechanisms stay as they are"),
        };
        let names = |mechanisms: &[Mechanism]| mechanisms.iter().map(|m| m.name().to_owned()).collect::<Vec<_>>();
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = (**session).clone();
        changed.mechanisms = names(&[Mechanism::Plain, Mechanism::Login]);
        changed.binding_mechanisms = Vec::new();
        if scram {
            changed.mechanisms.insert(0, Mechanism::ScramSha256.name().to_owned());
            changed.binding_mechanisms = names(&[Mechanism::ScramSha256Plus]);
        }
        *session = Arc::new(changed);
    }
}

impl net::Service for ImapService {
    type Application = ImapApplication;

    fn connect(&self, peer: Peer) -> (Server<Octets>, ImapApplication) {
        let config = Arc::clone(&self.session.lock().unwrap_or_else(PoisonError::into_inner));
        let limit = config.limits.append_octets;
        let application = ImapApplication::new(
            Arc::clone(&self.store),
            Arc::clone(&self.directory),
            Arc::clone(&self.bursts),
            peer,
            limit,
        );
        (Server::new(config, Instant::now()), application)
    }

    fn refusal(&self) -> &'static str {
        "* BYE [UNAVAILABLE] too many connections, try again later\r\n"
    }

    fn protocol(&self) -> &'static str {
        self.kind.name()
    }
}
