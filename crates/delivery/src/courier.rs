//! A granted session: takes messages for a destination and brings them where they go, connection after connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use address::{ForwardPath, Host as AddressHost};
use directory::Resolution;
use queue::scheduler::{Ended, Fate, RecipientOutcome, SessionId, Take};
use routing::table::{Action, Lmtp};
use routing::{Demand, Next as AfterTls, Plan, Security, Source, Target, TlsFailure, TlsPolicy, TlsWish, Unroutable};
use smtp::client::{Client, ClientConfig, ClientMode, Failure, StartTls};
use smtp::{HelloName, Reply};
use store::ZonedTime;
use tracing::Instrument as _;
use wire::EnhancedCode;

use crate::by_pipe;
use crate::hand::{Desk, Hand, Next};
use crate::office::Office;
use crate::settings::Credentials;
use crate::settle::{self, Facts, Fating, LocalMail, settle};
use crate::verdict::{Reason, Verdict};
use crate::work::{Work, moment};
use crate::world::{Call, Called, Place, Trouble, World};

/// Whoever works for one granted session.
#[derive(Debug)]
pub(crate) struct Courier<W> {
    pub(crate) office: Arc<Office<W>>,
    pub(crate) session: SessionId,
    pub(crate) destination: Arc<str>,
}

impl<W> Clone for Courier<W> {
    fn clone(&self) -> Self {
        Self { office: Arc::clone(&self.office), session: self.session, destination: Arc::clone(&self.destination) }
    }
}

/// Which way a message goes, and how it must be secured: messages of one way can share a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Way {
    /// The rule of the table that decides; none: DNS.
    rule: Option<usize>,
    /// The recipient's host, where that decides.
    host: Option<AddressHost>,
    wish: TlsWish,
}

/// What comes after a message.
enum After {
    /// This one, by another connection.
    Work(Box<Work>),
    /// The end of the session.
    Over(Ended),
    /// The scheduler has ended it already.
    Gone,
}

/// Rows that are settled with one failure of their destination, before it is left alone for a while.
const SWEPT: usize = 5_000;
/// How long, and how often, a sweep waits for rows that are being read.
const SWEEP_WAIT: Duration = Duration::from_millis(100);
const SWEEP_WAITS: u32 = 50;

impl<W: World> Courier<W> {
    /// Works until nothing is left, or the destination cannot be reached.
    pub(crate) async fn run(self) {
        let span = tracing::debug_span!("delivery", session = self.session.0, destination = &*self.destination);
        self.work().instrument(span).await;
    }

    async fn work(self) {
        let mut next = self.fetch().await;
        let ended = loop {
            let work = match next {
                Next::Work(work) => *work,
                Next::Wait(time) => {
                    tokio::time::sleep(time).await;
                    next = self.fetch().await;
                    continue;
                }
                Next::Linger | Next::Nothing => break Ended::Quiet,
            };
            if self.office.is_stopping() {
                // It goes back as it is.
                break Ended::Quiet;
            }
            match self.bring(work).await {
                After::Work(work) => next = Next::Work(work),
                After::Over(Ended::Quiet) => break Ended::Quiet,
                After::Over(ended) => break ended,
                After::Gone => return,
            }
        };
        self.office.scheduler().session_ended(self.session, ended, self.office.world.now());
        self.office.bell.notify_one();
    }

    /// The next message that the scheduler gives, as it is in the store now.
    pub(crate) async fn fetch(&self) -> Next {
        loop {
            if self.office.is_stopping() {
                return Next::Nothing;
            }
            let now = self.office.world.now();
            let most = self.office.settings.recipients_per_message;
            let take = self.office.scheduler().take(self.session, now, most);
            match take {
                Take::Batch { queue_id, numbers } => {
                    match Work::read(&self.office.store, &queue_id, &numbers, now).await {
                        Ok(Ok(work)) => return Next::Work(Box::new(self.of_one_way(work))),
                        Ok(Err(outcomes)) => self.office.outcome(self.session, &outcomes),
                        Err(error) => {
                            tracing::warn!(id = &*queue_id, %error, "a queued message cannot be read now");
                            let at = now.checked_add(Duration::from_secs(60)).unwrap_or(now);
                            let fate = Fate::Retry { at, busy: false };
                            let outcomes: Vec<_> =
                                numbers.iter().map(|&number| RecipientOutcome { number, fate }).collect();
                            self.office.outcome(self.session, &outcomes);
                        }
                    }
                }
                Take::Postpone { queue_id, numbers, until } => self.postpone(&queue_id, &numbers, until).await,
                Take::Wait { until } => {
                    let wait = now.duration_until(until);
                    return Next::Wait(Duration::try_from(wait).unwrap_or_default().max(Duration::from_millis(1)));
                }
                Take::Nothing => return Next::Nothing,
                Take::Idle => return Next::Linger,
            }
        }
    }

    /// Recipients that another rule is for are left to another batch.
    fn of_one_way(&self, mut work: Work) -> Work {
        let table = &self.office.settings.table;
        let rule = work.recipients.first().and_then(|first| table.route(&work.sender, &first.path).number);
        let sender = work.sender.clone();
        work.recipients.retain(|addressee| table.route(&sender, &addressee.path).number == rule);
        work
    }

    async fn postpone(&self, queue_id: &str, numbers: &[u32], until: jiff::Timestamp) {
        let now = self.office.world.now();
        if let Ok(Ok(work)) = Work::read(&self.office.store, queue_id, numbers, now).await {
            let updated = work
                .recipients
                .iter()
                .map(|addressee| store::SpoolRecipient { due: until.as_millisecond(), ..addressee.row.clone() })
                .collect();
            let settlement = store::Settlement { updated, ..store::Settlement::default() };
            if let Err(error) = self.office.store.settle(settlement).await {
                tracing::warn!(id = queue_id, %error, "a message is not put off");
            }
        }
    }

    /// The way that a message goes.
    pub(crate) fn way(&self, work: &Work) -> Way {
        let Some(first) = work.recipients.first() else {
            return Way { rule: None, host: None, wish: work.wish() };
        };
        let route = self.office.settings.table.route(&work.sender, &first.path);
        let host = match route.action {
            Action::Mx => first.path.mailbox().map(|mailbox| mailbox.host.clone()),
            _ => None,
        };
        Way { rule: route.number, host, wish: work.wish() }
    }

    async fn bring(&self, work: Work) -> After {
        let office = &self.office;
        let Some(first) = work.recipients.first() else { return After::Over(Ended::Quiet) };
        let route = office.settings.table.route(&work.sender, &first.path);
        match route.action {
            Action::Discard => {
                let why = format!("rule {} of the routes", route.number.unwrap_or_default());
                let fatings = (0..work.recipients.len()).map(|at| (at, Fating::Discarded(why.clone()))).collect();
                self.settle(&work, fatings, &Facts::default()).await;
                self.more().await
            }
            Action::Refuse { code, text } => {
                let reply = Reply::new(*code, text.clone());
                let reason = Reason::not_of_a_server(&reply, reply.to_string());
                let verdict = if *code >= 500 { Verdict::Failed(reason) } else { Verdict::Deferred(reason) };
                self.settle(&work, settle::all(&work, &verdict), &Facts::default()).await;
                self.more().await
            }
            Action::Pipe { command } => {
                let number = route.number.unwrap_or_default();
                self.pipe(&work, command, number).await;
                self.more().await
            }
            Action::Lmtp(lmtp) => self.lmtp(work, lmtp, route.tls()).await,
            Action::Relay(relay) => {
                let credentials = relay.credentials.as_ref().and_then(|name| office.settings.credentials.get(name));
                let target = relay.target(route.tls());
                let (implicit, names) = (relay.implicit_tls, Names::of(&route, office));
                self.by_plan(work, target, implicit, credentials.cloned(), names).await
            }
            Action::Mx => {
                if let Some(domain) = first.path.mailbox().and_then(|mailbox| mailbox.domain()) {
                    match office.directory.is_local(domain.ascii()).await {
                        Ok(false) => {}
                        Ok(true) => {
                            self.local(&work).await;
                            return self.more().await;
                        }
                        Err(error) => {
                            // Whether it is ours is not known: it would be wrong to take it for somebody else's.
                            let verdict = Verdict::trouble_here(&error);
                            self.settle(&work, settle::all(&work, &verdict), &Facts::default()).await;
                            return self.more().await;
                        }
                    }
                }
                let target = work.first_mailbox().and_then(|mailbox| office.settings.target(&route, mailbox));
                let Some(target) = target else {
                    self.local(&work).await;
                    return self.more().await;
                };
                let names = Names::of(&route, office);
                self.by_plan(work, target, false, None, names).await
            }
        }
    }

    async fn more(&self) -> After {
        match self.fetch().await {
            Next::Work(work) => After::Work(work),
            _ => After::Over(Ended::Quiet),
        }
    }

    pub(crate) async fn settle(&self, work: &Work, fatings: Vec<(usize, Fating)>, facts: &Facts) {
        let mut outcomes = settle(&self.office, work, fatings, facts).await;
        outcomes.extend_from_slice(&work.settled);
        self.office.outcome(self.session, &outcomes);
    }

    /// By SMTP, host after host.
    async fn by_plan(
        &self,
        work: Work,
        target: Target,
        implicit_tls: bool,
        credentials: Option<Credentials>,
        names: Names,
    ) -> After {
        let office = &self.office;
        let plan = match office.routes.plan(&office.world, &office.store, target).await {
            Ok(plan) => plan,
            Err(unroutable) => return self.unroutable(work, &unroutable).await,
        };
        if !office.scheduler().session_at(self.session, &plan.group, office.world.now()) {
            return After::Gone;
        }
        let mut work = work;
        let mut worst: Option<(Verdict, Facts, Ended)> = None;
        for host in &plan.hosts {
            let way = self.way(&work);
            let mut security = match host.security.for_message(way.wish) {
                Ok(security) => security,
                Err(unsuitable) => {
                    let reason = Reason::ours(unsuitable.code, unsuitable.what);
                    let facts = Facts { host: Some(host.name.clone()), ..Facts::default() };
                    keep(&mut worst, Verdict::Failed(reason), facts, Ended::Quiet);
                    continue;
                }
            };
            let mut note = None;
            loop {
                let addresses = host.addresses.iter().map(|&address| SocketAddr::new(address, plan.port)).collect();
                let call = Call {
                    place: Place::Tcp(addresses),
                    implicit_tls,
                    sources: names.sources.clone(),
                    client: client(ClientMode::Smtp, names.hello.clone(), &security.demand),
                    security: security.clone(),
                };
                let policy = Some(policy_words(&security, note));
                let facts = Facts { host: Some(host.name.clone()), policy, ..Facts::default() };
                let desk = Desk::new(self.clone(), way.clone(), facts.clone(), credentials.clone(), work);
                let called = self.call(&call, &desk).await;
                let left = desk.clear();
                let facts = Facts { address: left.address, ..facts };
                office.tls_reports.note(&plan, host, &left, &called, office.world.now());
                if left.ready {
                    return match left.work {
                        Some(work) => After::Work(Box::new(work)),
                        None => After::Over(ended(left.failure.as_ref())),
                    };
                }
                let Some(back) = left.work else { return After::Over(ended(left.failure.as_ref())) };
                if office.is_stopping() {
                    // It was us who ended the connection: that says nothing about the host.
                    return After::Over(Ended::Quiet);
                }
                work = back;
                if let Some(reason) = left.login {
                    keep(&mut worst, Verdict::Deferred(reason), facts, Ended::Refused);
                    break;
                }
                match &called.trouble {
                    // It broke before a message could be sent: that is TLS, or as good as.
                    Some(Trouble::Broken(words)) => match security.after_failure(TlsFailure::Handshake) {
                        AfterTls::ReconnectInClear if !implicit_tls && security.demand != Demand::None => {
                            tracing::debug!(host = host.name, words, "TLS failed; once more in clear");
                            security.demand = Demand::None;
                            note = Some("clear after a failed handshake");
                            continue;
                        }
                        _ => {
                            let words = match &called.certificate {
                                Some(Err(distrust)) => format!("{words}: {distrust}"),
                                _ => words.clone(),
                            };
                            let reason =
                                Reason::ours(EnhancedCode::transient(7, 5), format!("no secure connection: {words}"));
                            keep(&mut worst, Verdict::Deferred(reason), facts, Ended::Refused);
                        }
                    },
                    Some(Trouble::NoConnection(words)) => {
                        let reason = Reason::ours(EnhancedCode::transient(4, 1), format!("no connection: {words}"));
                        keep(&mut worst, Verdict::Deferred(reason), facts, Ended::ConnectFailed);
                    }
                    None => {
                        let failure = left.failure.unwrap_or(Failure::Eof);
                        let verdict = match &failure {
                            Failure::TlsNotOffered => Verdict::Deferred(Reason::ours(
                                EnhancedCode::transient(7, 10),
                                "TLS is demanded, and the host offers none",
                            )),
                            failure => Verdict::of_failure(failure, false),
                        };
                        let ended = if failure == Failure::TimedOut { Ended::TimedOut } else { Ended::Refused };
                        keep(&mut worst, verdict, facts, ended);
                    }
                }
                break;
            }
        }
        let (verdict, facts, ended) = worst.unwrap_or_else(|| {
            let reason = Reason::ours(EnhancedCode::transient(4, 4), "no host to send to");
            (Verdict::Deferred(reason), Facts::default(), Ended::Unresolved)
        });
        let facts = Facts { busy: false, ..facts };
        self.settle(&work, settle::all(&work, &verdict), &facts).await;
        if matches!(verdict, Verdict::Deferred(_)) && !matches!(ended, Ended::Quiet) {
            self.sweep(&verdict, &facts, &self.way(&work)).await;
        }
        After::Over(ended)
    }

    async fn call(&self, call: &Call, desk: &Arc<Desk<W>>) -> Called {
        let desk = Arc::clone(desk);
        let client = Arc::clone(&call.client);
        self.office
            .world
            .converse(call, move |line| {
                let session = Client::new(client, tokio::time::Instant::now().into_std());
                (session, Hand::new(desk, &line))
            })
            .await
    }

    /// The destination cannot be reached: what else waits for it now shares the fate, and is not tried one by one.
    async fn sweep(&self, verdict: &Verdict, facts: &Facts, way: &Way) {
        let (mut swept, mut waits) = (0, 0);
        self.office.scheduler().sweep(self.session);
        while swept < SWEPT {
            let work = match self.fetch().await {
                Next::Work(work) => work,
                // More of them are being read.
                Next::Wait(time) if waits < SWEEP_WAITS => {
                    waits += 1;
                    tokio::time::sleep(time.min(SWEEP_WAIT)).await;
                    continue;
                }
                _ => return,
            };
            waits = 0;
            if self.way(&work) != *way {
                // It goes back as it is: the scheduler hears nothing of it but the end of the session.
                return;
            }
            swept += work.recipients.len();
            self.settle(&work, settle::all(&work, verdict), facts).await;
        }
    }

    async fn unroutable(&self, work: Work, unroutable: &Unroutable) -> After {
        self.office.tls_reports.note_unroutable(unroutable, self.office.world.now());
        let reason = Reason::ours(unroutable.code, unroutable.to_string());
        let facts = Facts::default();
        if unroutable.is_temporary() {
            let verdict = Verdict::Deferred(reason);
            self.settle(&work, settle::all(&work, &verdict), &facts).await;
            self.sweep(&verdict, &facts, &self.way(&work)).await;
            return After::Over(Ended::Unresolved);
        }
        self.settle(&work, settle::all(&work, &Verdict::Failed(reason)), &facts).await;
        self.more().await
    }

    async fn lmtp(&self, work: Work, lmtp: &Lmtp, tls: TlsPolicy) -> After {
        let (place, name) = match lmtp {
            Lmtp::Socket(path) => (Place::Unix(path.clone()), path.display().to_string()),
            Lmtp::Tcp { host, port } => {
                let target = Target::relay(host.clone(), *port).with_tls(tls);
                match self.office.routes.plan(&self.office.world, &self.office.store, target).await {
                    Ok(Plan { hosts, port, .. }) => {
                        let addresses = hosts.iter().flat_map(|host| &host.addresses);
                        let addresses = addresses.map(|&address| SocketAddr::new(address, port)).collect();
                        (Place::Tcp(addresses), host.to_string())
                    }
                    Err(unroutable) => return self.unroutable(work, &unroutable).await,
                }
            }
        };
        let security = Security {
            demand: if tls == TlsPolicy::Required { Demand::Encrypted } else { Demand::None },
            source: Source::Setting,
            sts: None,
            name_is_sure: true,
            names: Vec::new(),
        };
        let way = self.way(&work);
        let call = Call {
            place,
            implicit_tls: false,
            sources: Vec::new(),
            client: client(ClientMode::Lmtp, self.office.settings.hello_name.clone(), &security.demand),
            security,
        };
        let facts = Facts { host: Some(name), ..Facts::default() };
        let desk = Desk::new(self.clone(), way.clone(), facts.clone(), None, work);
        let called = self.call(&call, &desk).await;
        let left = desk.clear();
        let facts = Facts { address: left.address, ..facts };
        if left.ready {
            return match left.work {
                Some(work) => After::Work(Box::new(work)),
                None => After::Over(ended(left.failure.as_ref())),
            };
        }
        let Some(work) = left.work else { return After::Over(Ended::Quiet) };
        if self.office.is_stopping() {
            return After::Over(Ended::Quiet);
        }
        let verdict = match (&called.trouble, &left.failure) {
            (Some(Trouble::NoConnection(words)), _) => {
                Verdict::Deferred(Reason::ours(EnhancedCode::transient(4, 1), format!("no connection: {words}")))
            }
            (Some(Trouble::Broken(words)), _) => {
                Verdict::Deferred(Reason::ours(EnhancedCode::transient(4, 2), words.clone()))
            }
            (None, Some(failure)) => Verdict::of_failure(failure, false),
            (None, None) => Verdict::Deferred(Reason::ours(EnhancedCode::transient(4, 2), "connection closed")),
        };
        self.settle(&work, settle::all(&work, &verdict), &facts).await;
        if matches!(verdict, Verdict::Deferred(_)) {
            self.sweep(&verdict, &facts, &way).await;
        }
        After::Over(Ended::ConnectFailed)
    }

    /// The domain has become ours since the message was accepted.
    async fn local(&self, work: &Work) {
        let mut fatings = Vec::new();
        for (at, addressee) in work.recipients.iter().enumerate() {
            let fating = match self.office.directory.resolve(&addressee.path).await {
                Resolution::Local(found) if !found.accounts.is_empty() => {
                    match self.local_mail(work, &addressee.path, &found.accounts).await {
                        Ok(mail) => Fating::Local(mail),
                        Err(error) => Fating::Tried(Verdict::Deferred(Reason::ours(
                            EnhancedCode::transient(3, 0),
                            format!("the message cannot be read here now: {error}"),
                        ))),
                    }
                }
                Resolution::Local(_) | Resolution::NoSuchUser => Fating::Tried(Verdict::Failed(Reason::ours(
                    EnhancedCode::permanent(1, 1),
                    "there is nobody of that name here",
                ))),
                Resolution::Disabled => Fating::Tried(Verdict::Failed(Reason::ours(
                    EnhancedCode::permanent(2, 1),
                    "this mailbox takes no mail",
                ))),
                Resolution::NotLocal => Fating::Tried(Verdict::Deferred(Reason::ours(
                    EnhancedCode::transient(3, 0),
                    "the domain is not served here any more",
                ))),
                Resolution::Unavailable(error) => Fating::Tried(Verdict::trouble_here(&error)),
            };
            fatings.push((at, fating));
        }
        let facts = Facts { host: Some(self.office.settings.hostname.clone()), ..Facts::default() };
        self.settle(work, fatings, &facts).await;
    }

    async fn local_mail(
        &self,
        work: &Work,
        path: &ForwardPath,
        accounts: &[directory::Target],
    ) -> store::Result<LocalMail> {
        let octets = work.octets(&self.office.store).await?.whole().await?;
        Ok(LocalMail {
            thread: digest::thread(&octets),
            digest: work.spool.digest.clone(),
            received: ZonedTime { unix: moment(work.spool.created).as_second(), offset_minutes: 0 },
            recipients: directory::recipients(&work.sender, path, accounts),
            octets,
        })
    }

    async fn pipe(&self, work: &Work, command: &[String], number: usize) {
        let mut fatings = Vec::new();
        let facts = Facts { host: command.first().cloned(), ..Facts::default() };
        for (at, addressee) in work.recipients.iter().enumerate() {
            let verdict = match work.octets(&self.office.store).await {
                Ok(octets) => match octets.whole().await {
                    Ok(octets) => {
                        let settings = self.office.settings.pipes.get(&number);
                        by_pipe::deliver(command, settings, work, addressee, octets).await
                    }
                    Err(error) => Verdict::trouble_here(&error),
                },
                Err(error) => Verdict::trouble_here(&error),
            };
            fatings.push((at, Fating::Tried(verdict)));
        }
        self.settle(work, fatings, &facts).await;
    }
}

/// The names and addresses that a route gives us.
#[derive(Clone, Debug)]
struct Names {
    hello: HelloName,
    sources: Vec<std::net::IpAddr>,
}

impl Names {
    fn of<W: World>(route: &routing::table::Route<'_>, office: &Office<W>) -> Self {
        let rule = route.rule;
        let hello = rule.and_then(|rule| rule.ehlo_name.as_deref()).and_then(|name| HelloName::try_from(name).ok());
        let sources = rule.map(|rule| rule.source_addresses.clone()).filter(|sources| !sources.is_empty());
        Self {
            hello: hello.unwrap_or_else(|| office.settings.hello_name.clone()),
            sources: sources.unwrap_or_else(|| office.settings.sources.clone()),
        }
    }
}

fn client(mode: ClientMode, hello: HelloName, demand: &Demand) -> Arc<ClientConfig> {
    let mut config = ClientConfig::new(mode, hello);
    config.starttls = match demand {
        Demand::None => StartTls::Never,
        Demand::Opportunistic => StartTls::Opportunistic,
        _ => StartTls::Required,
    };
    Arc::new(config)
}

/// How the connection was to be secured, in words for the trace.
fn policy_words(security: &Security, note: Option<&str>) -> String {
    if let Some(note) = note {
        return note.to_owned();
    }
    match (security.source, &security.demand) {
        (Source::Sts, _) => "mta-sts".into(),
        (_, demand) => demand.word().into(),
    }
}

/// Of several hosts' failures the mildest counts: one that may pass leaves hope.
fn keep(worst: &mut Option<(Verdict, Facts, Ended)>, verdict: Verdict, facts: Facts, ended: Ended) {
    let milder = match worst {
        None => true,
        Some((Verdict::Failed(_), ..)) => true,
        Some(_) => matches!(verdict, Verdict::Deferred(_)),
    };
    if milder {
        *worst = Some((verdict, facts, ended));
    }
}

fn ended(failure: Option<&Failure>) -> Ended {
    match failure {
        None => Ended::Quiet,
        Some(Failure::TimedOut) => Ended::TimedOut,
        Some(_) => Ended::Closed,
    }
}
