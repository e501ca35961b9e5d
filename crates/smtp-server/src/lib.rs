//! What an SMTP session means here: mail is received, submitted, and delivered by LMTP.
//!
//! [`start`] serves the listeners of a process. A message for local recipients is in their mailboxes when the 250 leaves.

mod application;
mod message;
pub mod pickup;
pub mod policy;
mod replies;

use std::sync::Arc;
use std::time::Instant;

use daemon::{Bursts, Config, Context, Error, Kind};
use directory::{Directory, ScramOffer};
use net::{Network, Peer};
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
    /// What sessions are made of, without and with SCRAM.
    sessions: [Arc<SessionConfig>; 2],
    scram: ScramOffer,
}

/// Serves SMTP, submission and LMTP.
///
/// # Errors
/// A listener cannot be used.
pub async fn start(context: &mut Context, store: Arc<dyn Store>, directory: Arc<Directory>) -> Result<(), Error> {
    let kibibytes = usize::try_from(context.config.limits.memory_octets >> 10).unwrap_or(Semaphore::MAX_PERMITS);
    let memory = Arc::new(Semaphore::new(kibibytes.min(Semaphore::MAX_PERMITS)));
    let bursts = Arc::new(Bursts::default());
    let scram = directory.scram_offer().await;
    for kind in [Kind::Smtp, Kind::Submission, Kind::Submissions, Kind::Lmtp] {
        let service = SmtpService::new(
            kind,
            &context.config,
            context.certificates.is_some(),
            Arc::clone(&store),
            Arc::clone(&directory),
            scram.clone(),
            Arc::clone(&memory),
            Arc::clone(&bursts),
        );
        context.serve(kind, &Arc::new(service))?;
    }
    Ok(())
}

impl SmtpService {
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
        let sessions = [false, true].map(|scram| {
            let names = |mechanisms: &[sasl::Mechanism]| {
                mechanisms.iter().filter_map(|m| smtp::Mechanism::try_from(m.name()).ok()).collect()
            };
            let mut session = session.clone();
            session.mechanisms = names(directory::mechanisms(scram));
            session.binding_mechanisms = names(directory::binding_mechanisms(scram));
            Arc::new(session)
        });
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
            sessions,
            scram,
        }
    }

    pub(crate) fn is_submission(&self) -> bool {
        matches!(self.kind, Kind::Submission | Kind::Submissions)
    }
}

impl net::Service for SmtpService {
    type Application = SmtpApplication;

    fn connect(&self, peer: Peer) -> (Server, SmtpApplication) {
        let session = Server::new(Arc::clone(self.scram.choose(&self.sessions[0], &self.sessions[1])), Instant::now());
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
        })
    }
}
