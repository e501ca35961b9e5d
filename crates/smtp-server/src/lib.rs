//! What an SMTP session means here: mail is received, submitted, and delivered by LMTP.
//!
//! [`start`] serves the listeners of a process. A message for local recipients is in their mailboxes when the 250 leaves.

mod application;
mod message;
mod replies;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use daemon::{Bursts, Config, Context, Error, Kind};
use directory::Directory;
use net::{Network, Peer};
use sasl::Mechanism;
use smtp::server::{Config as SessionConfig, Mode, Server};
use store::Store;
use tokio::sync::Semaphore;

pub use application::SmtpApplication;

/// What the sessions of one listener share.
#[derive(Debug)]
pub struct SmtpService {
    pub(crate) kind: Kind,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) relay_networks: Vec<Network>,
    pub(crate) hide_client_address: bool,
    pub(crate) received_fields: usize,
    pub(crate) hostname: String,
    /// KiB of messages that may be in memory at once, all listeners together.
    pub(crate) memory: Arc<Semaphore>,
    pub(crate) bursts: Arc<Bursts>,
    session: Mutex<Arc<SessionConfig>>,
}

/// Serves SMTP, submission and LMTP.
///
/// # Errors
/// A listener cannot be used.
pub async fn start(context: &mut Context, store: Arc<dyn Store>, directory: Arc<Directory>) -> Result<(), Error> {
    let kibibytes = usize::try_from(context.config.limits.memory_octets >> 10).unwrap_or(Semaphore::MAX_PERMITS);
    let memory = Arc::new(Semaphore::new(kibibytes.min(Semaphore::MAX_PERMITS)));
    let bursts = Arc::new(Bursts::default());
    for kind in [Kind::Smtp, Kind::Submission, Kind::Submissions, Kind::Lmtp] {
        let service = Arc::new(SmtpService::new(
            kind,
            &context.config,
            context.certificates.is_some(),
            Arc::clone(&store),
            Arc::clone(&directory),
            Arc::clone(&memory),
            Arc::clone(&bursts),
        ));
        service.offer_mechanisms().await;
        if matches!(kind, Kind::Submission | Kind::Submissions) {
            tokio::spawn(follow_directory(Arc::downgrade(&service), store.watch_directory()));
        }
        context.serve(kind, &service)?;
    }
    Ok(())
}

/// SCRAM is offered while every account has a verifier (rule 31); accounts come and go.
async fn follow_directory(service: std::sync::Weak<SmtpService>, mut watch: store::Watch) {
    loop {
        watch.changed().await;
        let Some(service) = service.upgrade() else { return };
        service.offer_mechanisms().await;
    }
}

impl SmtpService {
    /// A service of one kind.
    #[must_use]
    pub fn new(
        kind: Kind,
        config: &Config,
        tls: bool,
        store: Arc<dyn Store>,
        directory: Arc<Directory>,
        memory: Arc<Semaphore>,
        bursts: Arc<Bursts>,
    ) -> Self {
        let mode = match kind {
            Kind::Submission | Kind::Submissions => Mode::Submission,
            Kind::Lmtp => Mode::Lmtp,
            _ => Mode::Smtp,
        };
        let mut session = SessionConfig::new(mode, config.hostname.as_str());
        session.starttls = tls && mode != Mode::Lmtp;
        session.allow_plaintext_auth = config.allow_plaintext_auth(kind);
        session.require_tls = mode == Mode::Submission && !session.allow_plaintext_auth;
        session.limits.message_octets = config.limits.message_octets;
        session.limits.recipients = config.limits.recipients;
        session.limits.transactions = config.limits.transactions;
        session.limits.command_line_octets = config.limits.smtp_line_octets;
        session.limits.errors = config.limits.errors;
        Self {
            kind,
            store,
            directory,
            relay_networks: daemon::networks(&config.smtp.relay_networks),
            hide_client_address: mode == Mode::Submission && config.submission.hide_client_address,
            received_fields: config.limits.received_fields,
            hostname: config.hostname.clone(),
            memory,
            bursts,
            session: Mutex::new(Arc::new(session)),
        }
    }

    async fn offer_mechanisms(&self) {
        let mut mechanisms = vec![Mechanism::Plain, Mechanism::Login];
        match self.directory.scram_available().await {
            Ok(true) => mechanisms.insert(0, Mechanism::ScramSha256),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "mechanisms stay as they are"),
        }
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = (**session).clone();
        changed.mechanisms = mechanisms.into_iter().filter_map(|m| smtp::Mechanism::try_from(m.name()).ok()).collect();
        *session = Arc::new(changed);
    }

    pub(crate) fn session_config(&self) -> Arc<SessionConfig> {
        Arc::clone(&self.session.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is_submission(&self) -> bool {
        matches!(self.kind, Kind::Submission | Kind::Submissions)
    }
}

impl net::Service for SmtpService {
    type Application = SmtpApplication;

    fn connect(&self, peer: Peer) -> (Server, SmtpApplication) {
        let session = Server::new(self.session_config(), Instant::now());
        (session, SmtpApplication::new(self.shared(), peer))
    }

    fn refusal(&self) -> &'static str {
        "421 4.3.2 too many connections, try again later\r\n"
    }

    fn protocol(&self) -> &'static str {
        self.kind.name()
    }
}

impl SmtpService {
    /// What an application keeps of its service.
    fn shared(&self) -> Arc<application::Shared> {
        Arc::new(application::Shared {
            submission: self.is_submission(),
            lmtp: self.kind == Kind::Lmtp,
            store: Arc::clone(&self.store),
            directory: Arc::clone(&self.directory),
            relay_networks: self.relay_networks.clone(),
            hide_client_address: self.hide_client_address,
            received_fields: self.received_fields,
            hostname: self.hostname.clone(),
            memory: Arc::clone(&self.memory),
            bursts: Arc::clone(&self.bursts),
            mechanisms: self.session_config().mechanisms.clone(),
        })
    }
}
