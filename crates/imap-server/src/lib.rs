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

use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::{Bursts, Config, Context, Error, FirstFetches, Kind, Memory};
use directory::{Directory, ScramOffer};
use imap::server::{Config as SessionConfig, Server};
use net::Peer;
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
    memory: Memory,
    /// What sessions are made of, without and with SCRAM.
    sessions: [Arc<SessionConfig>; 2],
    scram: ScramOffer,
    fetches: Option<Arc<FirstFetches>>,
}

/// Serves IMAP.
///
/// # Errors
/// A listener cannot be used.
pub async fn start(context: &mut Context, store: Arc<dyn Store>, directory: Arc<Directory>) -> Result<(), Error> {
    let bursts = Arc::new(Bursts::default());
    let scram = directory.scram_offer().await;
    let fetches = FirstFetches::start(context, Arc::clone(&store));
    for kind in [Kind::Imap, Kind::Imaps] {
        let service = ImapService::new(
            kind,
            &context.config,
            context.certificates.is_some(),
            Arc::clone(&store),
            Arc::clone(&directory),
            scram.clone(),
            Arc::clone(&bursts),
            context.memory.clone(),
        )
        .with_fetches(Arc::clone(&fetches));
        context.serve(kind, &Arc::new(service))?;
    }
    Ok(())
}

impl ImapService {
    /// A service of one kind.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "what a process shares, named where it is used")]
    pub fn new(
        kind: Kind,
        config: &Config,
        tls: bool,
        store: Arc<dyn Store>,
        directory: Arc<Directory>,
        scram: ScramOffer,
        bursts: Arc<Bursts>,
        memory: Memory,
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
        let sessions = [false, true].map(|scram| {
            let names = |mechanisms: &[sasl::Mechanism]| mechanisms.iter().map(|m| m.name().to_owned()).collect();
            let mut session = session.clone();
            session.mechanisms = names(directory::mechanisms(scram));
            session.binding_mechanisms = names(directory::binding_mechanisms(scram));
            Arc::new(session)
        });
        Self { kind, store, directory, bursts, memory, sessions, scram, fetches: None }
    }

    /// The same service, which tells of messages that are read for the first time.
    #[must_use]
    pub fn with_fetches(self, fetches: Arc<FirstFetches>) -> Self {
        Self { fetches: Some(fetches), ..self }
    }
}

impl net::Service for ImapService {
    type Application = ImapApplication;

    fn connect(&self, peer: Peer) -> (Server<Octets>, ImapApplication) {
        let config = Arc::clone(self.scram.choose(&self.sessions[0], &self.sessions[1]));
        let limit = config.limits.append_octets;
        let application = ImapApplication::new(
            Arc::clone(&self.store),
            Arc::clone(&self.directory),
            Arc::clone(&self.bursts),
            self.memory.clone(),
            peer,
            limit,
            self.fetches.clone(),
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
