//! One seed: lives of a process, one after the other, on one disk in one world.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use delivery::{Office, Settings};
use directory::Directory;
use queue::scheduler::Shaping;
use queue::{Rate, RetryPolicy};
use routing::TlsPolicy;
use routing::table::{Action, Conditions, Here, Rule, Table};
use smtp::HelloName;
use store::{AccountId, Embedded, NewAccount, Options, SpoolChange, SpoolFilter, Store, Synchronous, TraceEntry};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, sleep_until};
use trace::{Outcome, Step};

use crate::clock::Clock;
use crate::dice::Dice;
use crate::disk::Platter;
use crate::internet::{HOUR, Internet, MINUTE};
use crate::ledger::{Cut, Ledger, Numbers, Promise};
use crate::line::{Bounds, Net, Shared};
use crate::mail::{HOME, Message};

/// A fault that is planted, to see that it is found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Planted {
    /// None.
    #[default]
    None,
    /// SQLite does not sync each change: outcomes are told before they are stored.
    Unsynced,
    /// The replies that are lost are forgotten: messages seem to arrive twice for no reason.
    ForgottenLosses,
    /// An operator removes mail, and nobody notes it.
    Removed,
    /// The scheduler has other limits than the world allows.
    Limits,
    /// The scheduler gives out twice as many messages in a time.
    Rates,
    /// A report is thrown away.
    LostReport,
}

/// How a seed went.
#[derive(Clone, Debug)]
pub struct Report {
    /// Of everything that happened.
    pub hash: u64,
    /// What must not be.
    pub wrongs: Vec<String>,
    /// What happened, in numbers.
    pub numbers: Numbers,
    /// Everything that happened, if it was asked for.
    pub lines: Vec<String>,
}

/// Mail is given up so long after its time, at the latest, whatever happens to its destination.
const BOUND: i64 = HOUR;
/// Mail that is due is tried within this time, where its destination has been well all the time.
const BOUND_WELL: i64 = 150 * MINUTE;

/// Plays a seed.
///
/// # Panics
/// There is no runtime to be had.
#[must_use]
#[expect(clippy::expect_used, reason = "a test cannot go on without")]
pub fn run(seed: u64, planted: Planted, keep_lines: bool) -> Report {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async { Story::new(seed, planted, keep_lines).play().await })
}

/// What is to happen, and when.
#[derive(Debug)]
enum Deed {
    Accept(Box<Message>),
    /// What an operator does with the recipients of a domain, or with all.
    Operate(SpoolChange, Option<String>),
    /// Removes what one recipient waits for.
    Remove,
    /// The power is cut, after so many more writes.
    Cut(Option<u64>),
    Restart,
    /// A domain becomes ours.
    Ours(String),
    Look,
}

struct Story {
    planted: Planted,
    dice: Dice,
    shared: Arc<Shared>,
    platter: Arc<Platter>,
    options: Options,
    settings: Arc<Settings>,
    /// When traffic is over, and all is well.
    well: i64,
    expire: i64,
    account: AccountId,
    domains: usize,
    /// Since when the process has been there.
    since: i64,
    /// When an operator let go of mail last: it was due before.
    released: i64,
}

/// A process.
struct Life {
    office: Arc<Office<Net>>,
    store: Arc<dyn Store>,
    drain: watch::Sender<bool>,
    run: JoinHandle<()>,
    tasks: JoinSet<()>,
}

impl Story {
    fn new(seed: u64, planted: Planted, keep_lines: bool) -> Self {
        let clock = Clock::start();
        let mut dice = Dice::new(seed);
        let domains = match dice.between(0, 9) {
            0..=5 => 8 + dice.below(20),
            6..=8 => 20 + dice.below(60),
            _ => 150 + dice.below(150),
        };
        let well = i64::try_from(dice.between(8, 24)).unwrap_or(8) * HOUR;
        let net = Internet::new(&mut dice, domains, well);
        let hours = |dice: &mut Dice, least, most| Duration::from_secs(dice.between(least, most) * 3_600);
        let retry = RetryPolicy {
            first: Duration::from_secs(300),
            max: hours(&mut dice, 1, 3),
            jitter_percent: 10,
            expire: hours(&mut dice, 6, 12),
            delay_notice: dice.percent(80).then(|| Duration::from_secs(3_600)),
            greylist_first: Duration::from_secs(120),
        }
        .bounded();
        let (sessions, group, destination) = (4 + dice.below(30), 1 + dice.below(6), 1 + dice.below(5));
        let number = |count: usize| u32::try_from(count).unwrap_or(1);
        let shaping = Shaping {
            sessions: number(destination),
            sessions_first: number(1 + dice.below(destination)),
            messages_per_session: number(1 + dice.below(20)),
            recipients_per_batch: number(1 + dice.below(30)),
            ..Shaping::default()
        };
        let mut overrides = BTreeMap::new();
        let mut apart = BTreeMap::new();
        for _ in 0..2 {
            let domain = format!("d{}.example", dice.below(domains));
            let count = number(1 + dice.below(4));
            let faster = 1 + u32::from(planted == Planted::Rates);
            let slow = Rate::new(count * faster, Duration::from_secs(60));
            apart.insert(domain.clone(), MINUTE * 1_000 / i64::from(count));
            overrides.insert(domain, Shaping { messages: Some(slow), ..shaping });
        }
        let more = usize::from(planted == Planted::Limits) * 3;
        let scheduler = queue::scheduler::Settings {
            sessions: number(sessions + more),
            sessions_per_group: number(group.min(sessions) + more),
            shaping,
            overrides,
            rows_per_load: number(10 + dice.below(30)),
            rows_handed: *dice.pick(&[0, 5, 1_000]),
            backoff_max: Duration::from_secs(1_800),
            source_messages: dice.percent(20).then(|| Rate::new(5, Duration::from_secs(60))),
            ..queue::scheduler::Settings::default()
        };
        let bounds = Bounds { sessions, per_site: group.min(sessions), per_domain: destination, apart };
        let expire = i64::try_from(retry.expire.as_millis()).unwrap_or(0);
        let mut ledger = Ledger::default();
        ledger.keep_lines = keep_lines;
        let settings = settings(scheduler, retry, &mut dice, domains);
        let platter = Arc::new(Platter::new(seed | 1, clock));
        let shared = Shared::new(clock, Dice::new(dice.next()), net, ledger, bounds);
        let options = Options {
            synchronous: if planted == Planted::Unsynced { Synchronous::Normal } else { Synchronous::Full },
            min_free_octets: 0,
            segment_octets: 4 << 20,
            ballast_octets: 0,
            ..Options::default()
        };
        Self {
            planted,
            dice,
            shared,
            platter,
            options,
            settings: Arc::new(settings),
            well,
            expire,
            account: AccountId(0),
            domains,
            since: 0,
            released: 0,
        }
    }

    fn now(&self) -> i64 {
        self.shared.clock.elapsed()
    }

    /// Everything that is to happen, in its order.
    fn deeds(&mut self) -> Vec<(i64, Deed)> {
        let dice = &mut self.dice;
        let last = (self.well - HOUR).unsigned_abs();
        let mut deeds: Vec<(i64, Deed)> = Vec::new();
        let when = |dice: &mut Dice| i64::try_from(dice.between(1_000, last)).unwrap_or(0);
        let messages = 30 + dice.below(60);
        let mut burst = when(dice);
        for number in 0..messages {
            // Some come in bursts.
            if !dice.percent(40) {
                burst = when(dice);
            }
            let message = Message::new(dice, &self.shared.inner().net, u64::try_from(number).unwrap_or(0));
            deeds.push((burst + i64::try_from(dice.between(0, 500)).unwrap_or(0), Deed::Accept(Box::new(message))));
        }
        for _ in 0..dice.between(0, 10) {
            let domain = dice.percent(80).then(|| format!("d{}.example", dice.below(self.domains)));
            let change = match dice.between(0, 3) {
                0 => SpoolChange::Hold,
                1 => SpoolChange::Release,
                _ => SpoolChange::RetryAt(0),
            };
            deeds.push((when(dice), Deed::Operate(change, domain)));
        }
        for _ in 0..dice.between(0, 4) {
            deeds.push((when(dice), Deed::Remove));
        }
        for _ in 0..*dice.pick(&[0, 0, 1, 3, 6]) {
            let writes = dice.percent(60).then(|| dice.between(0, 60));
            // At a time when something goes on.
            let at = deeds.get(dice.below(messages)).map_or(0, |(at, _)| *at);
            deeds.push((at + i64::try_from(dice.between(0, 4_000)).unwrap_or(0), Deed::Cut(writes)));
        }
        for _ in 0..*dice.pick(&[0, 1, 2]) {
            let at = deeds.get(dice.below(messages)).map_or(0, |(at, _)| *at);
            deeds.push((at + i64::try_from(dice.between(0, 4_000)).unwrap_or(0), Deed::Restart));
        }
        if dice.percent(20) && self.domains > 6 {
            deeds.push((when(dice), Deed::Ours(format!("d{}.example", 4 + dice.below(self.domains - 4)))));
        }
        let mut at = 0;
        while at < self.well {
            at += 20 * MINUTE;
            deeds.push((at, Deed::Look));
        }
        deeds.push((self.well, Deed::Operate(SpoolChange::Release, None)));
        deeds.sort_by_key(|(at, _)| *at);
        deeds
    }

    async fn play(mut self) -> Report {
        let Some(mut life) = self.begin(true).await else {
            return self.report();
        };
        for (at, deed) in self.deeds() {
            sleep_until(self.shared.clock.at(at)).await;
            life = match deed {
                Deed::Cut(writes) => {
                    self.cut(life, writes).await;
                    match self.begin(false).await {
                        Some(life) => life,
                        None => return self.report(),
                    }
                }
                Deed::Restart => {
                    if !self.stop(life).await {
                        return self.report();
                    }
                    match self.begin(false).await {
                        Some(life) => life,
                        None => return self.report(),
                    }
                }
                deed => {
                    self.act(&mut life, deed).await;
                    life
                }
            };
        }
        // All is well: everything must come to an end.
        let patience = self.well + self.expire + Message::LONGEST_HOLD + 8 * HOUR;
        loop {
            sleep(Duration::from_secs(20 * 60)).await;
            self.look(&life).await;
            let left = life.store.spooled(SpoolFilter::default(), 1).await.unwrap_or_default();
            if left.is_empty() {
                break;
            }
            if self.now() > patience {
                let left = life.store.spooled(SpoolFilter::default(), 20).await.unwrap_or_default();
                for row in left {
                    let what =
                        format!("still queued: {} {} {:?} due {}", row.queue_id, row.address, row.state, row.due);
                    self.shared.inner().ledger.wrong(self.now(), what);
                }
                break;
            }
        }
        sleep(Duration::from_secs(120)).await;
        let stats = life.office.stats();
        if stats.rows + stats.rows_in_batches + stats.sessions > 0 {
            self.shared.inner().ledger.wrong(self.now(), format!("the scheduler is not empty: {stats:?}"));
        }
        self.balance(&life).await;
        self.stop(life).await;
        self.report()
    }

    fn report(&self) -> Report {
        let mut inner = self.shared.inner();
        let ledger = &mut inner.ledger;
        Report {
            hash: ledger.hash(),
            wrongs: std::mem::take(&mut ledger.wrongs),
            numbers: ledger.numbers,
            lines: std::mem::take(&mut ledger.lines),
        }
    }

    /// Starts the process.
    async fn begin(&mut self, first: bool) -> Option<Life> {
        let shared = Arc::clone(&self.shared);
        let pause: store::Pause = Arc::new(move || {
            let wait = {
                let mut inner = shared.inner();
                // Mostly quick, now and then not.
                if inner.dice.percent(2) { inner.dice.millis(50, 1_500) } else { inner.dice.millis(0, 4) }
            };
            Box::pin(async move { if wait.is_zero() { tokio::task::yield_now().await } else { sleep(wait).await } })
        });
        let disk: Arc<dyn store::Disk> = self.platter.clone();
        let opened = Embedded::open_in_place(disk, Path::new("/home"), &self.options, pause);
        let store: Arc<dyn Store> = match opened {
            Ok(store) => store,
            Err(error) => {
                self.shared.inner().ledger.wrong(self.now(), format!("the store does not open: {error}"));
                return None;
            }
        };
        if first {
            let domain = store::Domain { name: HOME.into(), catch_all: None };
            let account = NewAccount {
                key: format!("ann@{HOME}"),
                address: format!("ann@{HOME}"),
                quota_octets: None,
                credentials: Vec::new(),
            };
            let made = async {
                store.put_domain(domain).await?;
                store.add_accounts(vec![account]).await
            };
            match made.await {
                Ok(accounts) => self.account = accounts.first().copied().unwrap_or(AccountId(0)),
                Err(error) => self.shared.inner().ledger.wrong(0, format!("no account: {error}")),
            }
        }
        let (drain, draining) = watch::channel(false);
        let net = Arc::new(Net { shared: Arc::clone(&self.shared), drain: draining.clone() });
        let names = Directory::new(Arc::clone(&store), directory::Settings::default());
        let office = Office::new(net, Arc::clone(&store), names, Arc::clone(&self.settings));
        let run = tokio::spawn(Arc::clone(&office).run(draining));
        self.since = self.now();
        self.shared.inner().forget_rates();
        self.shared.log("the process begins");
        Some(Life { office, store, drain, run, tasks: JoinSet::new() })
    }

    /// The power is cut.
    async fn cut(&mut self, life: Life, writes: Option<u64>) {
        let mut dead = self.now();
        if let Some(writes) = writes {
            self.platter.disk.die_after(writes);
            let before = self.platter.disk.operations();
            for _ in 0..200 {
                sleep(Duration::from_millis(20)).await;
                dead = self.now() - 20;
                if self.platter.disk.operations() > before + writes {
                    break;
                }
            }
            // The process goes on for a while without its disk.
            let wait = self.dice.millis(0, 3_000);
            sleep(wait).await;
        }
        let Life { office, store, drain, run, mut tasks } = life;
        run.abort();
        tasks.abort_all();
        _ = run.await;
        while tasks.join_next().await.is_some() {}
        // Sessions are dropped with those who ran them.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        drop((office, store, drain));
        self.platter.disk.cut();
        let gone = self.now();
        self.shared.inner().ledger.cuts.push(Cut { dead, gone });
        self.shared.log("the power was cut");
        let wait = self.dice.millis(1_000, 600_000);
        sleep(wait).await;
    }

    /// Stops the process in good order; whether it did stop.
    async fn stop(&mut self, life: Life) -> bool {
        let Life { office, store, drain, run, mut tasks } = life;
        self.shared.log("the process is to stop");
        while tasks.join_next().await.is_some() {}
        _ = drain.send(true);
        // The longest wait of a session is for the reply to a message: ten minutes, and a little.
        if tokio::time::timeout(Duration::from_secs(3_600), run).await.is_err() {
            self.shared.inner().ledger.wrong(self.now(), "the process does not stop".into());
            return false;
        }
        store.close().await;
        drop((office, store, drain));
        self.shared.inner().ledger.numbers.restarts += 1;
        self.shared.log("the process has stopped");
        true
    }

    async fn act(&mut self, life: &mut Life, deed: Deed) {
        let (store, shared) = (Arc::clone(&life.store), Arc::clone(&self.shared));
        match deed {
            Deed::Accept(message) => {
                let by_hand = self.dice.percent(50).then(|| Arc::clone(&life.office));
                life.tasks.spawn(accept(shared, store, by_hand, self.account, *message));
            }
            Deed::Operate(change, destination) => {
                let change = match change {
                    SpoolChange::RetryAt(_) => SpoolChange::RetryAt(Clock::timestamp(self.now()).as_millisecond()),
                    SpoolChange::Release => {
                        self.released = self.now();
                        change
                    }
                    change => change,
                };
                life.tasks.spawn(async move {
                    let filter = SpoolFilter { destination, ..SpoolFilter::default() };
                    shared.log(&format!("operator: {change:?} {filter:?}"));
                    let changed = store.change_spooled(filter, change).await;
                    shared.log(&format!("operator: {changed:?}"));
                });
            }
            Deed::Remove => {
                let is_told = self.planted != Planted::Removed;
                let dice = self.dice.next();
                life.tasks.spawn(async move {
                    let Ok(rows) = store.spooled(SpoolFilter::default(), 1_000).await else { return };
                    let Some(row) = rows.get(usize::try_from(dice % 1_000).unwrap_or(0) % rows.len().max(1)) else {
                        return;
                    };
                    if !row.address.starts_with('m') {
                        return;
                    }
                    // Whether or not anybody hears that it was done.
                    if is_told && let Some(promise) = shared.inner().ledger.promises.get_mut(&row.address) {
                        promise.removed = true;
                    }
                    shared.log(&format!("operator: remove {}", row.address));
                    let removed = store.remove_spooled(vec![(row.queue_id.clone(), row.number)]).await;
                    shared.log(&format!("operator: {removed:?}"));
                });
            }
            Deed::Ours(name) => {
                shared.log(&format!("{name} is ours"));
                let domain = store::Domain { name, catch_all: None };
                life.tasks.spawn(async move { _ = store.put_domain(domain).await });
            }
            Deed::Look => self.look(life).await,
            Deed::Cut(_) | Deed::Restart => {}
        }
        while life.tasks.try_join_next().is_some() {}
    }

    /// Looks whether anything waits too long, or takes too much room.
    async fn look(&self, life: &Life) {
        let now = self.now();
        let due = |bound: i64| Clock::timestamp(now - bound).as_millisecond();
        // Few sessions are soon taken by those who say nothing for minutes.
        let share = (40 / i64::from(self.settings.scheduler.sessions)).max(1);
        let bound = BOUND_WELL * share;
        let mut wrong = None;
        let since = self.since.max(self.released);
        if now - since > bound {
            let late = life.store.spool_due(None, due(bound), 500).await.unwrap_or_default();
            let inner = self.shared.inner();
            let row = late.iter().find(|row| inner.net.was_well(&row.destination, now - bound - HOUR));
            wrong = row.map(|row| (row.clone(), "waits for a destination that is well"));
        }
        if now - since > BOUND {
            for row in life.store.spool_due(None, due(BOUND), 500).await.unwrap_or_default() {
                let Ok(spool) = life.store.spool(&row.queue_id).await else { continue };
                if spool.created + Message::LONGEST_HOLD < due(BOUND + self.expire) {
                    wrong = Some((row, "should have been given up"));
                }
            }
        }
        if let Some((row, what)) = wrong {
            let since = (Clock::timestamp(now).as_millisecond() - row.due) / MINUTE;
            let view = life.office.destination(&row.destination);
            let what = format!("{} {what}, due for {since} min: {view:?}", row.address);
            self.shared.inner().ledger.wrong(now, what);
        }
        let stats = life.office.stats();
        let scheduler = &self.settings.scheduler;
        let per_load = usize::try_from(scheduler.rows_per_load).unwrap_or(0);
        let most = scheduler.rows_handed + per_load * usize::try_from(scheduler.sessions).unwrap_or(0);
        if stats.rows > most {
            self.shared.inner().ledger.wrong(now, format!("too much in memory: {stats:?}"));
        }
    }

    /// Reads the trace and the mailbox, and balances the accounts.
    async fn balance(&self, life: &Life) {
        let promises: Vec<(String, String, u32)> = self
            .shared
            .inner()
            .ledger
            .promises
            .iter()
            .map(|(address, promise)| (address.clone(), promise.queue_id.clone(), promise.number))
            .collect();
        let mut ends: BTreeMap<String, [u32; 3]> = BTreeMap::new();
        let mut traces: BTreeMap<String, Vec<TraceEntry>> = BTreeMap::new();
        for (address, queue_id, number) in promises {
            if !traces.contains_key(&queue_id) {
                let found = life.store.trace_of(&queue_id).await.unwrap_or_default();
                traces.insert(queue_id.clone(), found);
            }
            let end = ends.entry(address).or_default();
            for entry in traces.get(&queue_id).into_iter().flatten().filter(|entry| entry.recipient == Some(number)) {
                match Step::decode(&entry.data) {
                    Ok(Step::Attempted(attempt)) if attempt.outcome == Outcome::Delivered => end[0] += 1,
                    Ok(Step::Attempted(attempt)) if attempt.outcome == Outcome::Failed => end[1] += 1,
                    Ok(Step::Discarded { .. }) => end[2] += 1,
                    _ => {}
                }
            }
        }
        let mut thrown = self.planted == Planted::LostReport;
        if let Ok(inbox) = life.store.mailbox(self.account, "INBOX").await {
            let found = life.store.messages(inbox.id, vec![1..=u32::MAX], false, 100_000).await.unwrap_or_default();
            for message in found {
                let Ok(body) = life.store.body(&message).await else { continue };
                let octets = body.whole(1 << 20).await.unwrap_or_default();
                // What stands in front is the recipient's own.
                if queue::dsn::parse(&octets).is_ok() && !std::mem::take(&mut thrown) {
                    let now = self.now();
                    self.shared.inner().ledger.reported(now, &octets);
                }
            }
        }
        if self.planted == Planted::ForgottenLosses {
            for promise in self.shared.inner().ledger.promises.values_mut() {
                promise.arrivals.iter_mut().for_each(|arrival| arrival.lost = false);
            }
        }
        let mut inner = self.shared.inner();
        inner.ledger.judge(&ends);
        if inner.ledger.keep_lines {
            for (queue_id, entries) in traces {
                for entry in entries {
                    let line = format!("{queue_id} {:?} {:?}", entry.recipient, Step::decode(&entry.data));
                    inner.ledger.lines.push(line);
                }
            }
        }
    }
}

/// Accepts a message, as a listener would.
async fn accept(
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    office: Option<Arc<Office<Net>>>,
    account: AccountId,
    message: Message,
) {
    let elapsed = shared.clock.elapsed();
    let queue_id = trace::queue_id(shared.clock.now(), shared.inner().dice.next());
    for (number, (address, wishes)) in (0..).zip(&message.recipients) {
        let promise = Promise {
            queue_id: queue_id.clone(),
            number,
            sender: message.sender,
            tell_failure: Message::tell_failure(wishes),
            given: false,
            removed: false,
            arrivals: Vec::new(),
            reports: BTreeMap::new(),
        };
        shared.inner().ledger.promises.insert(address.clone(), promise);
    }
    match store.deliver(message.delivery(&queue_id, account, elapsed)).await {
        Ok(_) => {
            for (address, _) in &message.recipients {
                if let Some(promise) = shared.inner().ledger.promises.get_mut(address) {
                    promise.given = true;
                }
            }
            shared.log(&format!("accepted {queue_id} for {}", message.recipients.len()));
        }
        Err(error) => return shared.log(&format!("refused {queue_id}: {error}")),
    }
    let Some(office) = office else { return };
    let mut by_destination: BTreeMap<String, Vec<queue::scheduler::Row>> = BTreeMap::new();
    for (destination, row) in message.rows(&queue_id, account, elapsed) {
        by_destination.entry(destination).or_default().push(row);
    }
    for (destination, rows) in by_destination {
        office.fresh(&destination, rows);
    }
}

fn settings(scheduler: queue::scheduler::Settings, retry: RetryPolicy, dice: &mut Dice, domains: usize) -> Settings {
    let mut rules = Vec::new();
    if dice.percent(30) {
        // Not where reports go.
        let pattern = format!("d{}.example", 2 + dice.below(domains - 2));
        let conditions = Conditions { recipients: pattern.parse().into_iter().collect(), senders: Vec::new() };
        let action = if dice.percent(50) {
            Action::Discard
        } else {
            Action::Refuse { code: 550, text: "5.7.1 not there".into() }
        };
        rules.push(Rule { conditions, ..Rule::new(action) });
    }
    Settings {
        hostname: HOME.into(),
        hello_name: HelloName::try_from(HOME).unwrap_or_else(|_| unreachable!("a name")),
        sources: Vec::new(),
        port: 25,
        routing: Arc::new(routing::Settings { own_names: vec![HOME.into()], ..routing::Settings::default() }),
        table: Table::new(rules, &Here::default()).unwrap_or_default(),
        credentials: std::collections::HashMap::new(),
        pipes: std::collections::HashMap::new(),
        tls: TlsPolicy::Auto,
        scheduler,
        retry,
        retry_for: Vec::new(),
        recipients_per_message: 1 + dice.below(60),
        linger: Duration::from_secs(dice.between(0, 10)),
        bounce_strangers: false,
        trace: Duration::from_secs(30 * 86_400),
        tls_reports: dice.percent(70).then(|| format!("postmaster@{HOME}")),
    }
}
