//! The application of a client session: what it says to a server, message after message.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use net::Application;
use sasl::client::Exchange;
use smtp::client::{Answer, Client, Event, Failure, Outcome, Ready, Stage, Told, Transaction, Unsupported};
use smtp::{BodyType, Mechanism};
use tokio::sync::Notify;
use tokio::time::Instant;
use wire::{EnhancedCode, TlsFacts};

use crate::courier::{Courier, Way};
use crate::octets::Octets;
use crate::settings::Credentials;
use crate::settle::{self, Facts, Fating};
use crate::verdict::{Reason, Verdict};
use crate::work::Work;
use crate::world::{Line, World};

/// What a connection is for, and what came of it; shared by the hand and the courier who waits for it.
#[derive(Debug)]
pub(crate) struct Desk<W> {
    pub(crate) courier: Courier<W>,
    /// The way that this connection goes: messages that need another one are left on the desk.
    pub(crate) way: Way,
    /// What is known of the attempt already.
    pub(crate) facts: Facts,
    pub(crate) credentials: Option<Credentials>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The message to be sent next, or, at the end, that was not.
    work: Option<Work>,
    ready: bool,
    address: Option<IpAddr>,
    tls: Option<TlsFacts>,
    failure: Option<Failure>,
    /// The server took our name or password for wrong.
    login: Option<Reason>,
}

/// What came of a connection.
#[derive(Debug)]
pub(crate) struct Left {
    /// A message that was not sent, if there is one.
    pub(crate) work: Option<Work>,
    /// The session came so far that messages could be sent.
    pub(crate) ready: bool,
    /// The address that was connected to.
    pub(crate) address: Option<IpAddr>,
    pub(crate) tls: Option<TlsFacts>,
    pub(crate) failure: Option<Failure>,
    pub(crate) login: Option<Reason>,
}

impl<W: World> Desk<W> {
    pub(crate) fn new(
        courier: Courier<W>,
        way: Way,
        facts: Facts,
        credentials: Option<Credentials>,
        work: Work,
    ) -> Arc<Self> {
        let state = State { work: Some(work), ..State::default() };
        Arc::new(Self { courier, way, facts, credentials, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is on the desk when the connection has ended.
    pub(crate) fn clear(&self) -> Left {
        let State { work, ready, address, tls, failure, login } = std::mem::take(&mut *self.state());
        Left { work, ready, address, tls, failure, login }
    }
}

/// The application of one connection.
pub struct Hand<W: World> {
    desk: Arc<Desk<W>>,
    facts: Facts,
    ready: Option<Ready>,
    /// The message that is being sent.
    current: Option<Work>,
    login: Option<Exchange>,
    /// Nothing is to be sent now: until when more is waited for, and by which bell it is told.
    idle: Option<(Instant, Arc<Notify>)>,
    /// The end of the wait is the end of the connection.
    is_late: bool,
    /// The message at hand was fetched while nothing was said, and is to be sent.
    is_to_send: bool,
    /// What must not be broken off: a message is being fetched, or settled. Kept here, so that whoever stops waiting loses
    /// nothing, and nothing is done twice.
    fetching: Option<Mutex<Fetching>>,
}

impl<W: World> std::fmt::Debug for Hand<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hand").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// What leads to the next message. The lock is never taken: it lets the hand be shared.
type Fetching = Pin<Box<dyn Future<Output = Next> + Send>>;

/// What there is to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// This message.
    Work(Box<Work>),
    /// Nothing now: ask again after this time, or when there is more.
    Wait(Duration),
    /// Nothing; the connection may be kept for a while.
    Linger,
    /// Nothing, and others wait: the connection is to end.
    Nothing,
}

impl<W: World> Hand<W> {
    pub(crate) fn new(desk: Arc<Desk<W>>, line: &Line) -> Self {
        let facts = Facts { address: line.address, ..desk.facts.clone() };
        desk.state().address = line.address;
        Self {
            desk,
            facts,
            ready: None,
            current: None,
            login: None,
            idle: None,
            is_late: false,
            is_to_send: false,
            fetching: None,
        }
    }

    /// When the queue gave out the message that is being sent: what its rates count.
    #[must_use]
    pub fn taken(&self) -> Option<jiff::Timestamp> {
        self.current.as_ref().map(|work| work.taken)
    }

    fn on_ready(&mut self, ready: Ready) -> Told<Octets> {
        self.facts.tls = ready.tls.as_ref().map(|tls| format!("{} {}", tls.version, tls.cipher));
        self.facts.dsn = ready.extensions.dsn;
        self.facts.deliver_by = ready.extensions.deliver_by.is_some();
        self.desk.state().tls = ready.tls.clone();
        let told = match &self.desk.credentials {
            Some(credentials) => self.log_in(&ready, &credentials.clone()),
            None => None,
        };
        self.ready = Some(ready);
        if self.desk.credentials.is_some() {
            return told.unwrap_or_else(|| {
                self.refused(Reason::ours(
                    EnhancedCode::transient(7, 0),
                    "the relay offers no way to log in that is safe here",
                ))
            });
        }
        self.first()
    }

    /// The strongest mechanism that is offered.
    fn log_in(&mut self, ready: &Ready, credentials: &Credentials) -> Option<Told<Octets>> {
        let binding = ready.tls.as_ref().and_then(|tls| tls.exporter.clone());
        let offered = |mechanism: sasl::Mechanism| {
            ready
                .extensions
                .auth
                .iter()
                .find(|offered| offered.as_str().eq_ignore_ascii_case(mechanism.name()))
                .cloned()
        };
        let (mechanism, name) = [
            sasl::Mechanism::ScramSha256Plus,
            sasl::Mechanism::ScramSha256,
            sasl::Mechanism::Plain,
            sasl::Mechanism::Login,
        ]
        .into_iter()
        .filter(|mechanism| *mechanism != sasl::Mechanism::ScramSha256Plus || binding.is_some())
        .find_map(|mechanism| Some((mechanism, offered(mechanism)?)))?;
        let nonce =
            format!("{:016x}{:016x}", self.desk.courier.office.world.random(), self.desk.courier.office.world.random());
        let binding = if mechanism == sasl::Mechanism::ScramSha256Plus { binding } else { None };
        let mut exchange = Exchange::new(mechanism, &credentials.user, credentials.password.clone(), binding, nonce);
        let initial_response = exchange.initial();
        self.login = Some(exchange);
        Some(Told::Authenticate { mechanism: Mechanism::clone(&name), initial_response })
    }

    fn refused(&mut self, reason: Reason) -> Told<Octets> {
        self.desk.state().login = Some(reason);
        Told::Quit
    }

    /// The message that the connection was made for.
    fn first(&mut self) -> Told<Octets> {
        let work = {
            let mut state = self.desk.state();
            state.ready = true;
            state.work.take()
        };
        self.current = work;
        Told::Quit
    }

    /// Sends what is at hand, or settles it where it cannot be sent.
    async fn send(&mut self) -> Option<Told<Octets>> {
        loop {
            let work = self.current.take()?;
            match self.transaction(&work).await {
                Ok(transaction) => {
                    self.current = Some(work);
                    return Some(Told::Send(Box::new(transaction)));
                }
                Err(verdict) => {
                    self.desk.courier.settle(&work, settle::all(&work, &verdict), &self.facts).await;
                    if let Some(told) = self.next().await {
                        return Some(told);
                    }
                }
            }
        }
    }

    async fn transaction(&self, work: &Work) -> Result<Transaction<Octets>, Verdict> {
        let office = &self.desk.courier.office;
        let stored = work.octets(&office.store).await;
        let mut body = stored.map_err(|error| {
            Verdict::Deferred(Reason::ours(
                EnhancedCode::transient(3, 0),
                format!("the message cannot be read here now: {error}"),
            ))
        })?;
        let extensions = self.ready.as_ref().map(|ready| &ready.extensions);
        let offers = |of: fn(&smtp::client::Extensions) -> bool| extensions.is_some_and(of);
        let mut parameters = work.parameters.clone();
        // The hold is over, and priorities and deadlines are told as they are now.
        parameters.hold = None;
        parameters.size = None;
        if let (Some(by), Some(told)) = (work.envelope.deliver_by, parameters.deliver_by) {
            let left = office.world.now().until(by.by).map_or(0, |span| span.get_seconds());
            let left = i32::try_from(left).unwrap_or(i32::MAX);
            parameters.deliver_by = smtp::DeliverBy::new(left, told.mode(), told.trace()).ok();
        }
        let is_ascii = work.sender.is_ascii() && work.recipients.iter().all(|addressee| addressee.path.is_ascii());
        let header_is_ascii = digest::DigestRef::parse(&work.spool.digest).is_ok_and(|digest| !digest.header_is_8bit());
        if parameters.smtputf8 && !offers(|offered| offered.smtputf8) && is_ascii && header_is_ascii {
            parameters.smtputf8 = false;
        }
        let needs_less = match parameters.body {
            Some(BodyType::BinaryMime) => !offers(|offered| offered.binary_mime && offered.chunking),
            Some(BodyType::EightBitMime) => !offers(|offered| offered.eight_bit_mime),
            Some(BodyType::SevenBit) | None => false,
        };
        if needs_less {
            let whole = body.whole().await.map_err(|error| {
                Verdict::Deferred(Reason::ours(
                    EnhancedCode::transient(3, 0),
                    format!("the message cannot be read here now: {error}"),
                ))
            })?;
            // RFC 6152 §3, RFC 3030 §3: in another form, or not at all.
            let converted = if mime::is_seven_bit(&whole) { Ok(whole.to_vec()) } else { mime::seven_bit(&whole) };
            let octets = converted.map_err(|why| {
                let why = match why {
                    mime::NotSevenBit::Signed => "it is signed, and a change would break the signature",
                    mime::NotSevenBit::Header => "its header is not in ASCII",
                    mime::NotSevenBit::Part => "one of its parts may not be encoded",
                };
                let binary = parameters.body == Some(BodyType::BinaryMime);
                let status = if binary { EnhancedCode::permanent(6, 1) } else { EnhancedCode::permanent(6, 3) };
                let words = format!("the receiving system takes 7-bit mail only, and this has no such form: {why}");
                Verdict::Failed(Reason::ours(status, words))
            })?;
            parameters.body = None;
            body = Octets::memory(octets.into());
        }
        let octets = body.len();
        // RFC 9422 §4.2: what is more goes in another transaction.
        let most = extensions.and_then(|offered| offered.rcpt_max).and_then(|most| usize::try_from(most).ok());
        Ok(Transaction {
            reverse_path: work.sender.clone(),
            parameters,
            recipients: work
                .recipients
                .iter()
                .take(most.unwrap_or(usize::MAX).max(1))
                .map(|addressee| (addressee.path.clone(), addressee.parameters.clone()))
                .collect(),
            body,
            octets,
        })
    }

    async fn on_sent(&mut self, outcome: Outcome) -> Option<Told<Octets>> {
        let work = self.current.take()?;
        if outcome.failure == Some(Failure::Unsupported(Unsupported::Transactions)) {
            // RFC 9422 §4.1: another connection takes more.
            self.desk.state().work = Some(work);
            return Some(Told::Quit);
        }
        let is_lost = matches!(
            outcome.failure,
            Some(Failure::Closing(_) | Failure::Eof | Failure::TimedOut | Failure::BareNewline)
        );
        self.facts.busy = is_busy(&outcome);
        let fatings = Verdict::of_outcome(&outcome).into_iter().map(Fating::Tried).enumerate().collect();
        self.desk.courier.settle(&work, fatings, &self.facts).await;
        self.facts.busy = false;
        if is_lost {
            return None;
        }
        self.next().await
    }

    /// The next message of this way, or the end; none while one is waited for.
    async fn next(&mut self) -> Option<Told<Octets>> {
        let next = self.desk.courier.fetch().await;
        self.take(next).await
    }

    async fn take(&mut self, next: Next) -> Option<Told<Octets>> {
        match next {
            Next::Work(work) if self.desk.courier.way(&work) == self.desk.way => {
                self.current = Some(*work);
                Box::pin(self.send()).await
            }
            Next::Work(work) => {
                self.desk.state().work = Some(*work);
                Some(Told::Quit)
            }
            Next::Wait(time) => {
                self.wait(time);
                None
            }
            Next::Linger => {
                self.wait(self.desk.courier.office.settings.linger);
                self.is_late = true;
                None
            }
            Next::Nothing => Some(Told::Quit),
        }
    }

    /// Waits for more, so long; at the end it is asked again.
    fn wait(&mut self, time: Duration) {
        let courier = &self.desk.courier;
        let bell = courier.office.enter(&courier.destination);
        self.leave_idle();
        self.idle = Some((Instant::now() + time, bell));
        self.is_late = false;
    }

    fn leave_idle(&mut self) {
        if let Some((_, bell)) = self.idle.take() {
            self.desk.courier.office.leave(&self.desk.courier.destination, bell);
        }
    }
}

impl<W: World> Application for Hand<W> {
    type Session = Client<Octets>;

    async fn on_event(&mut self, event: Event) -> Option<Told<Octets>> {
        match event {
            Event::Ready(ready) => match self.on_ready(*ready) {
                Told::Quit if self.current.is_some() => self.send().await,
                told => Some(told),
            },
            Event::Challenge(challenge) => Some(match self.login.as_mut().map(|login| login.respond(&challenge)) {
                Some(Ok(response)) => Told::Response(response),
                _ => Told::CancelAuthentication,
            }),
            Event::Authenticated(_) => {
                self.login = None;
                self.first();
                self.send().await
            }
            Event::AuthenticationFailed(reply) => {
                // A wrong password is the operator's to mend: mail waits for it, and nothing is returned.
                let words = match (&reply, &self.facts.tls) {
                    (Some(reply), _) => reply.to_string(),
                    (None, Some(_)) => "it offers no login that we know".to_owned(),
                    (None, None) => "the connection is without TLS, and no password is sent in clear".to_owned(),
                };
                Some(self.refused(Reason::ours(
                    EnhancedCode::transient(7, 8),
                    format!("the relay does not let us log in: {words}"),
                )))
            }
            Event::Sent(outcome) => self.on_sent(outcome).await,
            Event::Closed(result) => {
                self.leave_idle();
                if let Some(fetching) = self.fetching.take()
                    && let Next::Work(work) = fetching.into_inner().unwrap_or_else(PoisonError::into_inner).await
                {
                    self.current = Some(*work);
                }
                let mut state = self.desk.state();
                state.failure = result.err();
                if let Some(work) = self.current.take() {
                    state.work = Some(work);
                }
                None
            }
        }
    }

    async fn news(&mut self) -> Told<Octets> {
        // It may be dropped at any await and called anew, so whatever was got is kept in `self` before the next one: a
        // message at hand is on the desk when the session closes.
        loop {
            if self.is_to_send {
                let Some(work) = self.current.as_ref() else { return std::future::pending().await };
                let read = self.transaction(work).await;
                self.is_to_send = false;
                let verdict = match read {
                    Ok(transaction) => return Told::Send(Box::new(transaction)),
                    Err(verdict) => verdict,
                };
                let Some(work) = self.current.take() else { continue };
                let (courier, facts) = (self.desk.courier.clone(), self.facts.clone());
                self.fetching = Some(Mutex::new(Box::pin(async move {
                    // Begun anew, it would tell the sender anew.
                    courier.settle(&work, settle::all(&work, &verdict), &facts).await;
                    Next::Wait(Duration::ZERO)
                })));
            }
            if self.fetching.is_none() {
                let Some((deadline, bell)) = &self.idle else { return std::future::pending().await };
                if tokio::time::timeout_at(*deadline, bell.notified()).await.is_err() && self.is_late {
                    self.leave_idle();
                    return Told::Quit;
                }
                let courier = self.desk.courier.clone();
                self.fetching = Some(Mutex::new(Box::pin(async move { courier.fetch().await })));
            }
            let Some(fetching) = self.fetching.as_mut() else { continue };
            let next = fetching.get_mut().unwrap_or_else(PoisonError::into_inner).await;
            self.fetching = None;
            match next {
                Next::Work(work) if self.desk.courier.way(&work) == self.desk.way => {
                    self.leave_idle();
                    (self.current, self.is_to_send) = (Some(*work), true);
                }
                Next::Work(work) => {
                    self.leave_idle();
                    self.desk.state().work = Some(*work);
                    return Told::Quit;
                }
                Next::Wait(time) => self.wait(time),
                Next::Linger => self.is_late = true,
                Next::Nothing => {
                    self.leave_idle();
                    return Told::Quit;
                }
            }
        }
    }
}

/// Whether the other side spoke of itself, not of recipients: it broke off, or put everybody off.
fn is_busy(outcome: &Outcome) -> bool {
    let puts_off = |answer: &Option<Answer>| {
        answer.as_ref().is_some_and(|answer| {
            answer.stage != Stage::Rcpt && !answer.reply.is_positive() && !answer.reply.is_permanent()
        })
    };
    matches!(outcome.failure, Some(Failure::Closing(_) | Failure::Eof | Failure::TimedOut))
        || (!outcome.recipients.is_empty() && outcome.recipients.iter().all(puts_off))
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use jiff::SignedDuration;
    use queue::scheduler::SessionId;

    use super::*;
    use crate::trial::{Trial, office};

    /// A hand whose message is late, and gone from the disk by the time it is to be sent.
    async fn with_lost_message(folder: &tempfile::TempDir) -> (Arc<crate::Office<Trial>>, Hand<Trial>) {
        let (world, _) = Trial::new(SignedDuration::from_hours(5));
        let office = office(folder, world).await;
        let queue_id = crate::trial::spool(&office, &"x".repeat(100_000)).await;
        let now = office.world.now();
        let work = Work::read(&office.store, &queue_id, &[0], now).await.unwrap().unwrap();
        for segment in std::fs::read_dir(folder.path().join("v00/seg")).unwrap() {
            std::fs::remove_file(segment.unwrap().path()).unwrap();
        }
        let courier = Courier { office: Arc::clone(&office), session: SessionId(1), destination: "far.example".into() };
        let way = courier.way(&work);
        let desk = Desk::new(courier, way, Facts::default(), None, work);
        let mut hand = Hand::new(desk, &Line { address: None });
        hand.current = hand.desk.state().work.take();
        hand.is_to_send = true;
        (office, hand)
    }

    async fn notices(office: &crate::Office<Trial>) -> usize {
        let account = office.directory.find_account(crate::trial::SENDER).await.unwrap();
        let mailboxes = office.store.mailboxes(account.id).await.unwrap();
        let inbox = mailboxes.iter().find(|mailbox| mailbox.name == "INBOX").unwrap();
        office.store.snapshot(inbox.id).await.unwrap().len()
    }

    /// Asks for news once, and breaks off; what it said. Each may begin a look into the store anew, which refuses more than
    /// it can queue: a loop waits a little between them.
    fn glance(hand: &mut Hand<Trial>) -> Poll<Told<Octets>> {
        let mut news = std::pin::pin!(hand.news());
        news.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn a_sender_is_told_once_however_often_the_wait_is_broken_off() {
        let folder = tempfile::tempdir().unwrap();
        let (office, mut hand) = with_lost_message(&folder).await;
        while glance(&mut hand).is_pending() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(notices(&office).await, 1);
    }

    #[tokio::test]
    async fn what_is_being_settled_is_settled_when_the_connection_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (office, mut hand) = with_lost_message(&folder).await;
        while hand.current.is_some() {
            assert!(glance(&mut hand).is_pending());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        hand.on_event(Event::Closed(Ok(()))).await;
        assert_eq!(notices(&office).await, 1);
        assert!(hand.desk.clear().work.is_none(), "it is not sent again");
    }
}
