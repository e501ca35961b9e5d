//! The world as delivery sees it: questions are answered, and connections lead to servers, after a while.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use delivery::{Call, Called, Hand, Line, Octets, Place, Trouble, World};
use jiff::Timestamp;
use net::{Application as _, Distrust, Identity, ReadBody as _};
use routing::{Answer, Demand, Question};
use smtp::client::{Client, Told, Transaction};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use wire::{BodyCoder, Output, Session as _, TlsFacts};

use crate::clock::Clock;
use crate::dice::Dice;
use crate::internet::{Host, Internet, Tls};
use crate::ledger::Ledger;
use crate::peer::{Break, Peer, Reaction};

/// What must not be exceeded.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) sessions: usize,
    pub(crate) per_site: usize,
    pub(crate) per_domain: usize,
    /// The least time between two messages, in microseconds, by domain: what a rate without a burst means.
    pub(crate) apart: BTreeMap<String, i64>,
}

/// The state of the world.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) dice: Dice,
    pub(crate) net: Internet,
    pub(crate) ledger: Ledger,
    pub(crate) greylist: BTreeMap<(usize, String, String), i64>,
    pub(crate) bounds: Bounds,
    open: usize,
    by_site: BTreeMap<usize, usize>,
    by_domain: BTreeMap<String, usize>,
    /// Messages that were begun, by domain: when the queue gave them to a session, in microseconds, and their first recipient.
    begun: BTreeMap<String, BTreeSet<(i64, String)>>,
}

impl Inner {
    /// A connection brings mail for a domain.
    pub(crate) fn enter(&mut self, domain: &str, now: i64) {
        let count = self.by_domain.entry(domain.to_owned()).or_default();
        *count += 1;
        if *count > self.bounds.per_domain {
            let what = format!("{count} connections with mail for {domain}");
            self.ledger.wrong(now, what);
        }
    }

    /// A message is begun that the queue gave to a session at a time in microseconds. The queue's rates are of what it
    /// gives out: what becomes of the message until it is begun, and how long a server takes for it, is not its doing.
    fn begin(&mut self, recipient: &str, taken: i64, now: i64) {
        let Some((_, domain)) = recipient.rsplit_once('@') else { return };
        let begun = self.begun.entry(domain.to_owned()).or_default();
        // The same one may be begun again, on another connection. Those that are begun later may have been given out before.
        let mine = (taken, recipient.to_owned());
        let before = begun.range(..mine.clone()).next_back().map(|(at, _)| taken - at);
        let after = begun.range(mine.clone()..).find(|other| **other != mine).map(|(at, _)| at - taken);
        begun.insert(mine);
        let Some(apart) = self.bounds.apart.get(domain) else { return };
        if let Some(found) = before.into_iter().chain(after).min().filter(|found| found < apart) {
            self.ledger.wrong(now, format!("messages for {domain} are {found} µs apart, not {apart}"));
        }
    }

    /// Messages for a domain that the queue gave out since a time in milliseconds since 1970, and that were begun.
    pub(crate) fn begun_since(&self, domain: &str, since: i64) -> usize {
        self.begun.get(domain).map_or(0, |begun| begun.range((since * 1_000, String::new())..).count())
    }

    /// What was begun is forgotten with the process, and rates with it.
    pub(crate) fn forget_begun(&mut self) {
        self.begun.clear();
    }
}

/// What all lives share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    inner: Mutex<Inner>,
}

impl Shared {
    pub(crate) fn new(clock: Clock, dice: Dice, net: Internet, ledger: Ledger, bounds: Bounds) -> Arc<Self> {
        let inner = Inner {
            dice,
            net,
            ledger,
            greylist: BTreeMap::new(),
            bounds,
            open: 0,
            by_site: BTreeMap::new(),
            by_domain: BTreeMap::new(),
            begun: BTreeMap::new(),
        };
        Arc::new(Self { clock, inner: Mutex::new(inner) })
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn log(&self, what: &str) {
        let now = self.clock.elapsed();
        self.inner().ledger.log(now, what);
    }

    pub(crate) fn millis(&self, least: u64, most: u64) -> Duration {
        self.inner().dice.millis(least, most)
    }
}

/// The world of one life of the process.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) shared: Arc<Shared>,
    pub(crate) closing: Arc<Closing>,
}

/// Tells connections that the process stops: in the order in which they wait, where a `watch` would take any, so that a seed
/// goes the same way again.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    begun: AtomicBool,
    bell: Notify,
}

impl Closing {
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.bell.notify_waiters();
    }

    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    async fn begun(&self) {
        let bell = self.bell.notified();
        if !self.has_begun() {
            bell.await;
        }
    }
}

/// A connection that is counted as long as it is there.
struct Counted<'a> {
    shared: &'a Shared,
    site: usize,
    peer: Option<Peer>,
}

impl<'a> Counted<'a> {
    fn new(shared: &'a Shared, host: &Host) -> Self {
        let now = shared.clock.elapsed();
        let mut inner = shared.inner();
        let peer = Peer::new(&mut inner, host, Instant::now().into_std(), now);
        inner.ledger.numbers.connections += 1;
        inner.open += 1;
        let count = *inner.by_site.entry(host.site).and_modify(|count| *count += 1).or_insert(1);
        let (open, bounds) = (inner.open, inner.bounds.clone());
        if open > bounds.sessions {
            inner.ledger.wrong(now, format!("{open} connections in all"));
        }
        if count > bounds.per_site {
            inner.ledger.wrong(now, format!("{count} connections to {}", host.name));
        }
        Self { shared, site: host.site, peer: Some(peer) }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut inner = self.shared.inner();
        inner.open -= 1;
        if let Some(count) = inner.by_site.get_mut(&self.site) {
            *count -= 1;
        }
        let Some(peer) = &self.peer else { return };
        for domain in &peer.domains {
            if let Some(count) = inner.by_domain.get_mut(domain) {
                *count -= 1;
            }
        }
        for entry in &peer.unanswered {
            inner.ledger.lost(entry);
        }
    }
}

impl World for Net {
    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn random(&self) -> u64 {
        self.shared.inner().dice.next()
    }

    async fn answer(&self, question: &Question) -> Answer {
        let wait = {
            let mut inner = self.shared.inner();
            if inner.dice.percent(3) { inner.dice.millis(1_000, 9_000) } else { inner.dice.millis(1, 200) }
        };
        sleep(wait).await;
        let now = self.shared.clock.elapsed();
        let mut inner = self.shared.inner();
        let Inner { dice, net, .. } = &mut *inner;
        let answer = net.answer(question, now, dice);
        inner.ledger.log(now, &format!("asked {question}"));
        answer
    }

    async fn converse(&self, call: &Call, open: impl FnOnce(Line) -> (Client<Octets>, Hand<Self>) + Send) -> Called {
        let none = |words: &str| Called { trouble: Some(Trouble::NoConnection(words.into())), certificate: None };
        let Place::Tcp(addresses) = &call.place else { return none("no socket here") };
        let address = addresses.first().map(std::net::SocketAddr::ip);
        let host = address.and_then(|address| self.shared.inner().net.host_at(address).cloned());
        let Some(host) = host else { return none("nobody there") };
        sleep(self.shared.millis(1, 150)).await;
        let now = self.shared.clock.elapsed();
        if host.down.hold(now) {
            let is_silent = self.shared.inner().dice.percent(50);
            if is_silent {
                sleep(Duration::from_secs(30)).await;
            }
            self.shared.log(&format!("no connection to {}", host.name));
            return none(if is_silent { "no answer in time" } else { "connection refused" });
        }
        self.shared.log(&format!("connected to {}", host.name));
        let counted = Counted::new(&self.shared, &host);
        let (client, hand) = open(Line { address });
        let mut wire = Wire {
            net: self,
            host: &host,
            call,
            client,
            hand,
            server: true,
            server_waits_for_tls: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            client_in: BytesMut::new(),
            server_in: BytesMut::new(),
            endless: false,
            counted,
            certificate: None,
        };
        let trouble = wire.run().await;
        self.shared.log(&format!("connection to {} ended: {trouble:?}", host.name));
        Called { trouble, certificate: wire.certificate.take() }
    }

    async fn post(&self, url: &str, _: &str, _: Vec<u8>) -> Result<u16, String> {
        sleep(self.shared.millis(10, 3_000)).await;
        self.shared.log(&format!("a report of TLS to {url}"));
        match self.shared.inner().dice.between(0, 9) {
            0 => Err("unreachable".into()),
            1 => Ok(503),
            _ => Ok(200),
        }
    }
}

/// What is on its way to the client.
enum Packet {
    /// Octets, and how many messages that were taken they answer.
    Octets(Bytes, usize),
    Eof,
    Reset,
}

/// A connection and both its ends.
struct Wire<'a> {
    net: &'a Net,
    host: &'a Host,
    call: &'a Call,
    client: Client<Octets>,
    hand: Hand<Net>,
    /// The server still speaks.
    server: bool,
    server_waits_for_tls: bool,
    up: VecDeque<(Instant, Bytes)>,
    down: VecDeque<(Instant, Packet)>,
    client_in: BytesMut,
    server_in: BytesMut,
    endless: bool,
    counted: Counted<'a>,
    certificate: Option<Result<Identity, Distrust>>,
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

impl Wire<'_> {
    fn arrival(&self, queue_end: Option<Instant>) -> Instant {
        let at = Instant::now() + self.net.shared.millis(1, 60);
        queue_end.map_or(at, |end| end.max(at))
    }

    fn send_up(&mut self, octets: Bytes) {
        let at = self.arrival(self.up.back().map(|(at, _)| *at));
        self.up.push_back((at, octets));
    }

    fn send_down(&mut self, packet: Packet) {
        let at = self.arrival(self.down.back().map(|(at, _)| *at));
        self.down.push_back((at, packet));
    }

    fn tell(&mut self, told: Told<Octets>) {
        if let Told::Send(transaction) = &told {
            self.note(transaction);
        }
        self.client.handle_told(now(), told);
    }

    fn note(&self, transaction: &Transaction<Octets>) {
        let (Some((path, _)), Some(taken)) = (transaction.recipients.first(), self.hand.taken()) else { return };
        let recipient = path.to_string();
        let now = self.net.shared.clock.elapsed();
        self.net.shared.inner().begin(recipient.trim_matches(['<', '>']), taken.as_microsecond(), now);
    }

    /// As `net::drive` does it; why the connection broke.
    async fn run(&mut self) -> Option<Trouble> {
        let trouble = if self.call.implicit_tls { Err("no TLS at once here".to_owned()) } else { self.drive().await };
        let Err(words) = trouble else { return None };
        self.client.handle_eof(now());
        for _ in 0..16 {
            match self.client.poll() {
                Output::Event(event) => {
                    if let Some(told) = self.hand.on_event(event).await {
                        self.tell(told);
                    }
                }
                Output::Wait { .. } | Output::Close => break,
                _ => {}
            }
        }
        Some(Trouble::Broken(words))
    }

    async fn drive(&mut self) -> Result<(), String> {
        let closing = &self.net.closing;
        let (mut closes, mut ended) = (false, false);
        loop {
            if !closes && closing.has_begun() {
                closes = true;
                self.client.handle_shutdown(now());
            }
            let Some((deadline, read)) = self.poll_client().await? else { return Ok(()) };
            if read && !self.client_in.is_empty() {
                let before = self.client_in.len();
                self.client.handle_input(now(), &mut self.client_in);
                if self.client_in.len() < before {
                    continue;
                }
            }
            if read && ended {
                return Ok(());
            }
            let server_deadline = self.poll_server();
            let deadline = deadline.map(Instant::from_std);
            let times = [
                deadline,
                server_deadline,
                self.up.front().map(|(at, _)| *at),
                self.down.front().filter(|_| read).map(|(at, _)| *at),
            ];
            let next = times.into_iter().flatten().min();
            let timer = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = closing.begun(), if !closes => continue,
                () = timer => {}
                told = self.hand.news() => {
                    self.tell(told);
                    continue;
                }
            }
            let at = Instant::now();
            if self.up.front().is_some_and(|(due, _)| *due <= at) {
                let Some((_, octets)) = self.up.pop_front() else { continue };
                self.server_in.extend_from_slice(&octets);
            } else if read && self.down.front().is_some_and(|(due, _)| *due <= at) {
                match self.down.pop_front() {
                    Some((_, Packet::Octets(octets, answered))) => {
                        if let Some(peer) = &mut self.counted.peer {
                            peer.unanswered.drain(..answered.min(peer.unanswered.len()));
                        }
                        self.client_in.extend_from_slice(&octets);
                        self.client.handle_input(now(), &mut self.client_in);
                        if self.client_in.len() > 256 << 10 {
                            return Err("more octets than a reply can have".into());
                        }
                        if self.endless {
                            let more = Break::Endless.last_words().unwrap_or_default();
                            self.send_down(Packet::Octets(more, 0));
                        }
                    }
                    Some((_, Packet::Eof)) => {
                        self.client.handle_eof(now());
                        ended = true;
                    }
                    Some((_, Packet::Reset)) => return Err("connection reset by peer".into()),
                    None => {}
                }
            } else if deadline.is_some_and(|deadline| deadline <= at) {
                self.client.handle_timeout(now());
            } else if let Some(peer) = &mut self.counted.peer {
                peer.session.handle_timeout(now());
            }
        }
    }

    async fn poll_client(&mut self) -> Result<Option<(Option<std::time::Instant>, bool)>, String> {
        loop {
            match self.client.poll() {
                Output::Send(octets) => self.send_up(octets),
                Output::SendBody { mut body, coding } => {
                    let (mut coder, mut out) = (BodyCoder::new(coding), BytesMut::new());
                    let mut fits = true;
                    while let Some(piece) = body.read(64 << 10).await.map_err(|error| error.to_string())? {
                        fits &= coder.code(&piece, &mut out).is_ok();
                    }
                    if fits && coder.finish(&mut out).is_ok() {
                        // It arrives in pieces.
                        let half = out.split_to(out.len() / 2);
                        self.send_up(half.freeze());
                        self.send_up(out.freeze());
                    } else {
                        self.client.handle_unfit_body(now());
                    }
                }
                Output::Event(event) => {
                    if let Some(told) = self.hand.on_event(event).await {
                        self.tell(told);
                    }
                }
                Output::StartTls => self.start_tls().await?,
                Output::Compress => return Err("no compression here".into()),
                Output::Wait { deadline, read } => return Ok(Some((deadline, read))),
                Output::Close => return Ok(None),
            }
        }
    }

    async fn start_tls(&mut self) -> Result<(), String> {
        if !self.client_in.is_empty() || !self.server_waits_for_tls {
            return Err("octets in clear behind STARTTLS".into());
        }
        sleep(self.net.shared.millis(2, 200)).await;
        if self.host.tls == Tls::Broken {
            return Err("handshake failure".into());
        }
        match &self.call.security.demand {
            Demand::Verified { names } => {
                self.certificate = Some(match self.host.tls {
                    Tls::Valid => Ok(Identity::Authority { name: names.first().cloned().unwrap_or_default() }),
                    _ => Err(Distrust::NotTrusted),
                });
            }
            Demand::Dane { records, .. } => {
                self.certificate = Some(if self.host.matches(records) {
                    Ok(Identity::DaneEndEntity { record: "3 1 1".into() })
                } else {
                    Err(Distrust::TlsaMismatch)
                });
            }
            _ => {}
        }
        if let Some(Err(distrust)) = &self.certificate {
            return Err(distrust.to_string());
        }
        let facts = TlsFacts { version: "TLS1.3".into(), cipher: "simulated".into(), ..TlsFacts::default() };
        self.server_waits_for_tls = false;
        if let Some(peer) = &mut self.counted.peer {
            peer.session.handle_tls(now(), facts.clone());
        }
        self.client.handle_tls(now(), facts);
        Ok(())
    }

    /// Lets the server do what it can; when it wants to be asked again.
    fn poll_server(&mut self) -> Option<Instant> {
        while self.server && !self.server_waits_for_tls {
            let Some(peer) = &mut self.counted.peer else { return None };
            match peer.session.poll() {
                Output::Send(octets) => {
                    let answered = peer.unanswered.len();
                    self.send_down(Packet::Octets(octets, answered));
                }
                Output::Event(event) => {
                    let elapsed = self.net.shared.clock.elapsed();
                    let reaction = {
                        let mut inner = self.net.shared.inner();
                        peer.on_event(event, &mut inner, self.host.site, elapsed)
                    };
                    match reaction {
                        Reaction::Tell(told) => peer.session.handle_told(now(), told),
                        Reaction::Nothing => {}
                        Reaction::Break(how) => self.break_off(how),
                    }
                }
                Output::StartTls => self.server_waits_for_tls = true,
                Output::Close => {
                    self.server = false;
                    self.send_down(Packet::Eof);
                }
                Output::Wait { deadline, read } => {
                    if read && !self.server_in.is_empty() {
                        let before = self.server_in.len();
                        peer.session.handle_input(now(), &mut self.server_in);
                        if self.server_in.len() < before {
                            continue;
                        }
                    }
                    return deadline.map(Instant::from_std);
                }
                Output::SendBody { .. } | Output::Compress => return None,
            }
        }
        None
    }

    fn break_off(&mut self, how: Break) {
        self.server = false;
        self.net.shared.log(&format!("{}: {how:?}", self.host.name));
        if let Some(words) = how.last_words() {
            self.send_down(Packet::Octets(words, 0));
        }
        match how {
            Break::Drop | Break::Goodbye => self.send_down(Packet::Eof),
            Break::Reset => {
                self.down.clear();
                self.send_down(Packet::Reset);
            }
            Break::Endless => self.endless = true,
            Break::Silence | Break::Garbage | Break::Early => {}
        }
    }
}
