//! What a POP3 session means here: the inbox as a maildrop.
//!
//! [`start`] serves the listeners of a process.

mod application;
mod body;

use std::sync::Arc;
use std::time::Instant;

use daemon::{Bursts, Config, Context, Error, FirstFetches, Kind, Memory};
use directory::{Directory, ScramOffer};
use net::Peer;
use pop3::server::{Config as SessionConfig, Server};
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
    memory: Memory,
    /// What sessions are made of, without and with SCRAM.
    sessions: [Arc<SessionConfig>; 2],
    scram: ScramOffer,
    fetches: Option<Arc<FirstFetches>>,
}

/// Serves POP3.
///
/// # Errors
/// A listener cannot be used.
pub async fn start(context: &mut Context, store: Arc<dyn Store>, directory: Arc<Directory>) -> Result<(), Error> {
    let bursts = Arc::new(Bursts::default());
    let scram = directory.scram_offer().await;
    let fetches = FirstFetches::start(context, Arc::clone(&store));
    for kind in [Kind::Pop3, Kind::Pop3s] {
        let service = Pop3Service::new(
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

impl Pop3Service {
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
        session.implementation = Some("Mailwright".into());
        session.stls = tls;
        session.allow_plaintext_auth = config.allow_plaintext_auth(kind);
        let sessions = [false, true].map(|scram| {
            let names = |mechanisms: &[sasl::Mechanism]| {
                mechanisms.iter().filter_map(|m| pop3::Mechanism::try_from(m.name()).ok()).collect()
            };
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

impl net::Service for Pop3Service {
    type Application = Pop3Application;

    fn connect(&self, peer: Peer) -> (Server<Octets>, Pop3Application) {
        let config = Arc::clone(self.scram.choose(&self.sessions[0], &self.sessions[1]));
        let application = Pop3Application::new(
            Arc::clone(&self.store),
            Arc::clone(&self.directory),
            Arc::clone(&self.bursts),
            self.memory.clone(),
            peer,
            self.fetches.clone(),
        );
        (Server::new(config, Instant::now()), application)
    }

    fn refusal(&self) -> &'static str {
        "-ERR [SYS/TEMP] too many connections, try again later\r\n"
    }

    fn protocol(&self) -> &'static str {
        self.kind.name()
    }
}
