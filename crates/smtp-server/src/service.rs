//! A listener: what its sessions are made of.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use daemon::{Config, Kind, Tells};
use directory::ScramOffer;
use net::Peer;
use smtp::UtcTime;
use smtp::server::{Config as SessionConfig, Mode, Server, Tarpit};

use crate::application::{Shared, SmtpApplication};
use crate::entrance::Entrance;

/// What the sessions of one listener share.
#[derive(Debug)]
pub struct SmtpService {
    shared: Arc<Shared>,
    /// What sessions are made of, without and with SCRAM.
    sessions: [Arc<SessionConfig>; 2],
    scram: ScramOffer,
}

impl SmtpService {
    /// A service of one kind; `tls`: there is a certificate.
    #[must_use]
    pub fn new(kind: Kind, config: &Config, tls: bool, entrance: Arc<Entrance>, scram: ScramOffer) -> Self {
        let mode = match kind {
            Kind::Submission | Kind::Submissions => Mode::Submission,
            Kind::Lmtp => Mode::Lmtp,
            _ => Mode::Smtp,
        };
        let session = session(mode, kind, config, tls);
        let sessions = [false, true].map(|scram| {
            let names = |mechanisms: &[sasl::Mechanism]| {
                mechanisms.iter().filter_map(|m| smtp::Mechanism::try_from(m.name()).ok()).collect()
            };
            let mut session = session.clone();
            session.mechanisms = names(directory::mechanisms(scram));
            session.binding_mechanisms = names(directory::binding_mechanisms(scram));
            Arc::new(session)
        });
        let submission = mode == Mode::Submission;
        let shared = Shared {
            entrance,
            name: kind.name(),
            submission,
            lmtp: mode == Mode::Lmtp,
            hide_client_address: submission && config.submission.hide_client_address,
        };
        Self { shared: Arc::new(shared), sessions, scram }
    }
}

fn session(mode: Mode, kind: Kind, config: &Config, tls: bool) -> SessionConfig {
    let (extensions, smtp) = (&config.extensions, &config.smtp);
    let mut session = SessionConfig::new(mode, config.hostname.as_str());
    session.starttls = tls && mode != Mode::Lmtp;
    session.allow_plaintext_auth = config.allow_plaintext_auth(kind);
    session.require_tls = mode == Mode::Submission && !session.allow_plaintext_auth;
    session.dsn = extensions.dsn;
    session.offer_requiretls = extensions.requiretls;
    session.deliver_by = extensions.deliver_by.then_some(Duration::ZERO);
    session.mt_priority = extensions.mt_priority;
    if mode == Mode::Submission && extensions.future_release_hours > 0 {
        session.future_release = Some(Duration::from_secs(u64::from(extensions.future_release_hours) * 3_600));
    }
    session.verify = smtp.vrfy != Tells::Nobody;
    session.expand = smtp.expn != Tells::Nobody;
    if mode == Mode::Smtp {
        session.greeting_delay = Duration::from_millis(smtp.greeting_delay_ms);
        session.tarpit = (smtp.tarpit_ms > 0).then(|| Tarpit {
            delay: Duration::from_millis(smtp.tarpit_ms),
            after_errors: smtp.tarpit_after_errors,
            refused_recipients: false,
        });
    }
    session.limits.message_octets = config.limits.message_octets;
    session.limits.recipients = config.limits.recipients;
    session.limits.transactions = config.limits.transactions;
    session.limits.command_line_octets = config.limits.smtp_line_octets;
    session.limits.errors = config.limits.errors;
    session
}

impl net::Service for SmtpService {
    type Application = SmtpApplication;

    fn connect(&self, peer: Peer) -> (Server, SmtpApplication) {
        let now = Instant::now();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let session = Server::new(Arc::clone(self.scram.choose(&self.sessions[0], &self.sessions[1])), now);
        let mut session = session.with_clock(now, UtcTime::from_unix(unix));
        // By the address of the connection, or the one that its PROXY header told: never by what XCLIENT said before.
        if peer.ip().is_some_and(|ip| self.shared.entrance.xclient.iter().any(|network| network.contains(ip))) {
            session = session.trusting_xclient();
        }
        (session, SmtpApplication::new(Arc::clone(&self.shared), peer))
    }

    fn refusal(&self) -> &'static str {
        "421 4.3.2 too many connections, try again later\r\n"
    }

    fn protocol(&self) -> &'static str {
        self.shared.name
    }
}
