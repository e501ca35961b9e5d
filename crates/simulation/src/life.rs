//! One seed: lives of a process, one after the other, on one disk in one world.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use delivery::{Office, Settings};
use directory::Directory;
use queue::envelope::{DeliverByMode, Envelope};
use store::{
    AccountId, Embedded, NewAccount, Options, Spool, SpoolChange, SpoolFilter, SpoolRecipient, Store, Synchronous,
    TraceEntry,
};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, sleep_until};
use trace::{Outcome, Step};

use crate::clock::Clock;
use crate::dice::Dice;
use crate::disk::Platter;
use crate::internet::{HOUR, MINUTE};
use crate::ledger::{Cut, Ledger, Numbers, Promise};
use crate::line::{Closing, Net, Shared};
use crate::mail::{HOME, Message};
use crate::plan::{Deed, Plan, Planted};

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

/// Mail that nobody tries is given up so long after its end, at the latest: each half hour all that has been due for half an
/// hour is looked at, which takes a while.
const GIVEN_UP: i64 = 65 * MINUTE;
/// Mail that is due is tried within this time where its destination has been well for an hour more. A destination that
/// failed is left alone for 36 minutes at most (`backoff_max` and its jitter), so an hour ends what was before; one connection
/// that breaks all the same has it left alone once more, and those that failed share a quarter of the sessions. What
/// came before it at the same destination, or may still, is on top, at a minute for each: no rate is slower, and no server in
/// the mean.
const TRIED: i64 = 45 * MINUTE;

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

struct Story {
    planted: Planted,
    dice: Dice,
    shared: Arc<Shared>,
    platter: Arc<Platter>,
    options: Options,
    settings: Arc<Settings>,
    deeds: Vec<(i64, Deed)>,
    /// When traffic is over, and all is well.
    well: i64,
    expire: i64,
    account: AccountId,
    /// Since when the process has been there.
    since: i64,
}

/// A process.
struct Life {
    office: Arc<Office<Net>>,
    store: Arc<dyn Store>,
    drain: watch::Sender<bool>,
    closing: Arc<Closing>,
    run: JoinHandle<()>,
    tasks: JoinSet<()>,
}

impl Story {
    fn new(seed: u64, planted: Planted, keep_lines: bool) -> Self {
        let plan = Plan::new(seed, planted);
        let clock = Clock::start();
        let expire = i64::try_from(plan.settings.retry.expire.as_millis()).unwrap_or(0);
        let mut ledger = Ledger::default();
        ledger.keep_lines = keep_lines;
        let options = Options {
            synchronous: if planted == Planted::Unsynced { Synchronous::Normal } else { Synchronous::Full },
            min_free_octets: 0,
            segment_octets: 4 << 20,
            ballast_octets: 0,
            ..Options::default()
        };
        Self {
            planted,
            dice: plan.rest,
            shared: Shared::new(clock, plan.world, plan.net, ledger, plan.bounds),
            platter: Arc::new(Platter::new(seed | 1, clock)),
            options,
            settings: Arc::new(plan.settings),
            deeds: plan.deeds,
            well: plan.well,
            expire,
            account: AccountId(0),
            since: 0,
        }
    }

    fn now(&self) -> i64 {
        self.shared.clock.elapsed()
    }

    async fn play(mut self) -> Report {
        let Some(mut life) = self.begin(true).await else {
            return self.report();
        };
        for (at, deed) in std::mem::take(&mut self.deeds) {
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
        let closing = Arc::new(Closing::default());
        let net = Arc::new(Net { shared: Arc::clone(&self.shared), closing: Arc::clone(&closing) });
        let names = Directory::new(Arc::clone(&store), directory::Settings::default());
        let office = Office::new(net, Arc::clone(&store), names, Arc::clone(&self.settings));
        let run = tokio::spawn(Arc::clone(&office).run(draining));
        self.since = self.now();
        self.shared.inner().forget_begun();
        self.shared.log("the process begins");
        Some(Life { office, store, drain, closing, run, tasks: JoinSet::new() })
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
        let Life { office, store, drain, closing: _, run, mut tasks } = life;
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
        let Life { office, store, drain, closing, run, mut tasks } = life;
        self.shared.log("the process is to stop");
        while tasks.join_next().await.is_some() {}
        _ = drain.send(true);
        closing.begin();
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
        let earlier = |time: i64| Clock::timestamp(now - time).as_millisecond();
        let late = life.store.spool_due(None, earlier(TRIED), 5_000).await.unwrap_or_default();
        let mut first: BTreeMap<&str, i64> = BTreeMap::new();
        for row in &late {
            let since = row.due.max(row.released).max(Clock::timestamp(self.since).as_millisecond());
            let waits = earlier(0) - since;
            first.entry(&row.destination).and_modify(|first| *first = since.min(*first)).or_insert(since);
            if waits > GIVEN_UP
                && let Ok(spool) = life.store.spool(&row.queue_id).await
                && self.end(&spool, row) < earlier(GIVEN_UP)
            {
                self.starved(life, &row.destination, "has mail that should have been given up", waits);
            }
        }
        for (destination, since) in first {
            let waits = earlier(0) - since;
            let left = life.store.spool_due(Some(destination), earlier(0), 5_000).await.unwrap_or_default().len();
            let others = left + self.shared.inner().begun_since(destination, since);
            let bound = TRIED + i64::try_from(others).unwrap_or(0) * MINUTE;
            if waits > bound && self.shared.inner().net.was_well(destination, now - bound - HOUR) {
                self.starved(life, destination, "is well, and is not tried", waits);
            }
        }
        let stats = life.office.stats();
        let scheduler = &self.settings.scheduler;
        let per_load = usize::try_from(scheduler.rows_per_load).unwrap_or(0);
        let most = scheduler.rows_handed + per_load * usize::try_from(scheduler.sessions).unwrap_or(0);
        if stats.rows > most {
            self.shared.inner().ledger.wrong(now, format!("too much in memory: {stats:?}"));
        }
    }

    fn starved(&self, life: &Life, destination: &str, what: &str, waits: i64) {
        let view = life.office.destination(destination);
        let what = format!("{destination} {what}, for {} min: {view:?}", waits / MINUTE);
        self.shared.inner().ledger.wrong(self.now(), what);
    }

    /// When the time of a recipient is over, in milliseconds since 1970.
    fn end(&self, spool: &Spool, row: &SpoolRecipient) -> i64 {
        let envelope = Envelope::decode(&spool.parameters).unwrap_or_default();
        let hold = envelope.hold_until.map_or(0, jiff::Timestamp::as_millisecond);
        let by = envelope.deliver_by.filter(|by| by.mode == DeliverByMode::Return);
        let age = spool.created.max(hold).max(row.released) + self.expire;
        by.map_or(age, |by| by.by.as_millisecond().min(age))
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
