//! The application of an SMTP session: who is there, and may be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::FailedLogin;
use directory::{LoggedIn, Login, Outcome, Watched};
use net::{Application, Peer};
use sasl::Mechanism;
use smtp::Reply;
use smtp::server::{Event, Server, Told};
use wire::TlsFacts;

use filter::FilterSession;

use crate::accept::Source;
use crate::entrance::Entrance;
use crate::policy::Kind;
use crate::replies;
use crate::reverse::Names;
use crate::screening::{aborted, refusal};
use crate::transaction::Transaction;

/// What the applications of a listener share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) entrance: Arc<Entrance>,
    /// The listener's name, as the log and the trace have it.
    pub(crate) name: &'static str,
    pub(crate) submission: bool,
    pub(crate) lmtp: bool,
    pub(crate) hide_client_address: bool,
}

/// The application of one session.
#[derive(Debug)]
pub struct SmtpApplication {
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer: Peer,
    pub(crate) tls: Option<TlsFacts>,
    pub(crate) hello: String,
    login: Option<Login>,
    pub(crate) account: Option<LoggedIn>,
    /// The account, for as long as it may log in.
    watched: Option<Watched>,
    pub(crate) transaction: Option<Box<Transaction>>,
    pub(crate) filters: Option<FilterSession>,
    /// The client's names, once they are known.
    pub(crate) names: Names,
    pub(crate) talked_early: bool,
    /// How the client logs in.
    mechanism: &'static str,
}

impl SmtpApplication {
    pub(crate) fn new(shared: Arc<Shared>, peer: Peer) -> Self {
        Self {
            shared,
            peer,
            tls: None,
            hello: String::new(),
            login: None,
            account: None,
            watched: None,
            transaction: None,
            filters: None,
            names: Names::default(),
            talked_early: false,
            mechanism: "",
        }
    }

    pub(crate) fn entrance(&self) -> &Entrance {
        &self.shared.entrance
    }

    /// The client's address, for the log.
    pub(crate) fn peer_name(&self) -> String {
        self.peer.ip().map_or_else(|| "local".to_owned(), |ip| ip.to_string())
    }

    /// What is told of where a message comes from.
    pub(crate) fn source(&self) -> Source {
        Source {
            by: self.shared.name,
            client: self.peer.ip().map(|ip| ip.to_string()),
            hello: (!self.hello.is_empty()).then(|| self.hello.clone()),
            tls: self.tls.as_ref().map(|tls| format!("{} {}", tls.version, tls.cipher)),
            account: self.account.clone(),
            trusted: false,
        }
    }

    fn on_secured(&mut self, tls: TlsFacts) {
        // What was told before TLS is void (RFC 3207 §4.2).
        (self.login, self.account, self.watched, self.transaction) = (None, None, None, None);
        self.hello.clear();
        if let Some(filters) = &mut self.filters {
            filters.secured(tls.clone());
        }
        self.tls = Some(tls);
    }

    async fn outcome(&mut self, outcome: Outcome) -> Told {
        match outcome {
            Outcome::Challenge(octets) => Told::Challenge(octets),
            Outcome::Success(account) => {
                tracing::debug!(user = account.address, "logged in");
                metrics::counter!("logins_total", "protocol" => "smtp", "result" => "ok").increment(1);
                if let Some(filters) = &mut self.filters {
                    filters.authenticated(account.address.clone(), self.mechanism);
                }
                self.login = None;
                match Watched::new(self.shared.entrance.store.as_ref(), account.account).await {
                    Ok(watched) => self.watched = Some(watched),
                    Err(error) => return Told::Reply(replies::store(&error)),
                }
                self.account = Some(account);
                Told::Accept
            }
            Outcome::Failure(failure, user) => {
                let mechanism = self.login.take().map_or("", |login| login.mechanism());
                metrics::counter!("logins_total", "protocol" => "smtp", "result" => "failed").increment(1);
                let failed = FailedLogin { peer: self.peer.ip(), user: &user, mechanism, failure: &failure };
                self.entrance().bursts.login_failed(failed, Instant::now());
                Told::Reply(replies::login(failure))
            }
        }
    }
}

pub(crate) fn out_of_sequence() -> Told {
    Told::Reply(Reply::new(503, "5.5.1 MAIL comes first: no transaction"))
}

impl Application for SmtpApplication {
    type Session = Server;

    async fn on_event(&mut self, event: Event) -> Option<Told> {
        let wait = match &event {
            Event::Hello(_)
            | Event::Authenticate { .. }
            | Event::Verify(_)
            | Event::Expand(_)
            | Event::Mail(_)
            | Event::Recipient(_)
            | Event::Data(_) => match self.count(Kind::Commands, 1) {
                Ok(wait) => wait,
                Err(reply) => return Some(Told::Reply(reply)),
            },
            _ => Duration::ZERO,
        };
        let told = self.answer(event).await?;
        Some(if wait.is_zero() { told } else { Told::After(wait, Box::new(told)) })
    }

    async fn news(&mut self) -> Told {
        let Some(account) = &mut self.watched else { return std::future::pending().await };
        // rule 8
        account.revoked(self.shared.entrance.store.as_ref()).await;
        Told::Close(Reply::new(421, "4.7.0 the account has changed, log in again"))
    }
}

impl SmtpApplication {
    async fn answer(&mut self, event: Event) -> Option<Told> {
        Some(match event {
            Event::Connected => self.on_connected().await,
            Event::EarlyTalker => self.on_early_talker(),
            Event::Client(facts) => self.on_client(*facts).await,
            Event::Verify(text) => self.on_verify(text.as_str()).await,
            Event::Expand(text) => self.on_expand(text.as_str()).await,
            Event::Secured(tls) => {
                self.on_secured(tls);
                return None;
            }
            Event::Hello(hello) => {
                self.hello = hello.name.to_string();
                self.transaction = None;
                let verdict = match &mut self.filters {
                    Some(filters) => filters.hello(&self.hello).await,
                    None => return Some(Told::Accept),
                };
                refusal(verdict).map_or(Told::Accept, Told::Reply)
            }
            Event::Authenticate { mechanism, initial_response } => {
                let Some(mechanism) = Mechanism::from_name(mechanism.as_str()) else {
                    return Some(Told::Reply(Reply::new(504, "5.5.4 this mechanism is not offered")));
                };
                self.mechanism = mechanism.name();
                let binding = self.tls.as_ref().and_then(|tls| tls.exporter.clone());
                let mut login = Login::new(&self.entrance().directory, mechanism, binding, self.peer.ip());
                let outcome = login.respond(initial_response).await;
                self.login = Some(login);
                self.outcome(outcome).await
            }
            Event::AuthenticateResponse(response) => {
                let Some(login) = &mut self.login else { return Some(out_of_sequence()) };
                let outcome = login.respond(Some(response)).await;
                self.outcome(outcome).await
            }
            Event::AuthenticateCancelled => {
                self.login = None;
                return None;
            }
            Event::Mail(mail) => self.on_mail(mail).await,
            Event::Recipient(recipient) => self.on_recipient(recipient).await,
            Event::Data(_) => self.on_data().await,
            Event::Content(piece) => self.on_content(piece).await,
            Event::ContentEnd { .. } => self.on_content_end().await,
            Event::Reset => {
                self.transaction = None;
                aborted(&mut self.filters).await;
                return None;
            }
            Event::Closed(reason) => {
                tracing::debug!(?reason, "session over");
                if let Some(filters) = self.filters.take() {
                    filters.quit().await;
                }
                return None;
            }
        })
    }
}
