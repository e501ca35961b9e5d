//! A store, a network and a runner in memory, with a clock of their own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use crate::queue::scheduler::{Ended, Fate, Load, RecipientOutcome, Row, Scheduler, SessionId, Settings, Step, Take};

/// How the other side of a destination behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Manner {
    /// A batch takes so many milliseconds, and succeeds.
    Good(i64),
    /// A connection fails after so many milliseconds.
    Dead(i64),
    /// Every recipient is put off, busy, after so many milliseconds.
    Busy(i64),
    /// Lets in, then closes without a word.
    Closes(i64),
}

/// Something that will happen.
#[derive(Clone, Debug)]
enum Event {
    Answer(Load, Vec<Row>, Option<Timestamp>),
    Connected(SessionId, String),
    Ask(SessionId, String),
    Done(SessionId, String, Arc<str>, Vec<u32>),
    Failed(SessionId, Ended),
}

pub(crate) struct World {
    pub(crate) scheduler: Scheduler,
    /// Milliseconds.
    pub(crate) now: i64,
    rows: BTreeMap<String, BTreeMap<(Arc<str>, u32), Row>>,
    pub(crate) manners: BTreeMap<String, Manner>,
    pub(crate) groups: BTreeMap<String, String>,
    events: BTreeMap<(i64, u64), Event>,
    sequence: u64,
    /// Milliseconds between question and answer of the store.
    pub(crate) store_delay: i64,
    pub(crate) max_recipients: usize,
    /// Rows that are out, to catch one that is out twice.
    out: BTreeSet<(String, Arc<str>, u32)>,
    finished: BTreeSet<(String, Arc<str>, u32)>,
    pub(crate) open: BTreeMap<SessionId, String>,
    pub(crate) first_start: BTreeMap<String, i64>,
    /// Time, destination.
    pub(crate) starts: Vec<(i64, String)>,
    /// Time, destination, queue id, recipients.
    pub(crate) batches: Vec<(i64, String, String, usize)>,
    pub(crate) most_rows: usize,
    pub(crate) most_sessions: usize,
}

pub(crate) fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).unwrap()
}

fn milliseconds(time: Timestamp) -> i64 {
    (time.as_microsecond() + 999).div_euclid(1000) - 1_700_000_000_000
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            scheduler: Scheduler::new(settings),
            now: 0,
            rows: BTreeMap::new(),
            manners: BTreeMap::new(),
            groups: BTreeMap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            store_delay: 0,
            max_recipients: 100,
            out: BTreeSet::new(),
            finished: BTreeSet::new(),
            open: BTreeMap::new(),
            first_start: BTreeMap::new(),
            starts: Vec::new(),
            batches: Vec::new(),
            most_rows: 0,
            most_sessions: 0,
        }
    }

    pub(crate) fn row(queue_id: &str, number: u32, due: i64, attempts: u32) -> Row {
        Row { queue_id: queue_id.into(), number, due: time(due), priority: 0, attempts, source: "".into() }
    }

    /// Into the store alone.
    pub(crate) fn put(&mut self, destination: &str, row: Row) {
        self.rows.entry(destination.to_owned()).or_default().insert((row.queue_id.clone(), row.number), row);
    }

    pub(crate) fn left(&self, destination: &str) -> usize {
        self.rows.get(destination).map_or(0, BTreeMap::len)
    }

    /// What the store tells at the start.
    pub(crate) fn learn(&mut self) {
        for (destination, rows) in &self.rows {
            let Some(due) = rows.values().map(|row| row.due).min() else { continue };
            self.scheduler.learn(destination, due, rows.values().any(|row| row.attempts == 0));
        }
    }

    /// Accepted now: into the store, then told.
    pub(crate) fn accept(&mut self, destination: &str, rows: Vec<Row>) {
        for row in &rows {
            self.put(destination, row.clone());
        }
        self.scheduler.fresh(destination, rows, time(self.now));
    }

    /// Lets everything happen up to `end`.
    pub(crate) fn run_until(&mut self, end: i64) {
        loop {
            let wake = self.steps();
            let next = [wake, self.events.keys().next().map(|(at, _)| *at)].into_iter().flatten().min();
            match next {
                Some(next) if next <= end => self.now = self.now.max(next),
                _ => {
                    self.now = end;
                    return;
                }
            }
            let due: VecDeque<_> = self.events.range(..=(self.now, u64::MAX)).map(|(key, _)| *key).collect();
            for key in due {
                if let Some(event) = self.events.remove(&key) {
                    self.happens(event);
                }
            }
        }
    }

    fn at(&mut self, delay: i64, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + delay, self.sequence), event);
    }

    fn steps(&mut self) -> Option<i64> {
        let mut steps = 0;
        let wake = loop {
            steps += 1;
            assert!(steps < 100_000, "the scheduler never waits");
            match self.scheduler.next(time(self.now)) {
                Step::Load(load) => self.load(load),
                Step::Start(grant) => {
                    let destination = grant.destination.to_string();
                    self.first_start.entry(destination.clone()).or_insert(self.now);
                    let manner = self.manners.get(&destination).copied().unwrap_or(Manner::Good(1));
                    self.starts.push((self.now, destination.clone()));
                    self.open.insert(grant.id, destination.clone());
                    if let Some(group) = self.groups.get(&destination)
                        && !self.scheduler.session_at(grant.id, group, time(self.now))
                    {
                        self.open.remove(&grant.id);
                        self.starts.pop();
                        continue;
                    }
                    match manner {
                        Manner::Dead(delay) => self.at(delay, Event::Failed(grant.id, Ended::ConnectFailed)),
                        Manner::Closes(delay) => self.at(delay, Event::Failed(grant.id, Ended::Closed)),
                        _ => self.at(0, Event::Connected(grant.id, destination)),
                    }
                }
                Step::Learn => self.learn(),
                Step::Wait { until } => break until,
            }
        };
        let stats = self.scheduler.stats();
        self.most_rows = self.most_rows.max(stats.rows);
        self.most_sessions = self.most_sessions.max(self.open.len());
        wake.map(milliseconds)
    }

    /// The store answers as of now, and the answer arrives later.
    fn load(&mut self, load: Load) {
        let rows = self.rows.get(&*load.destination);
        let mut rows: Vec<Row> = rows.map(|rows| rows.values().cloned().collect()).unwrap_or_default();
        rows.sort_by_key(|row| (row.due > load.due_by, row.attempts > 0, row.due));
        let due = rows.iter().filter(|row| row.due <= load.due_by).count();
        let rest = rows.split_off(due.min(usize::try_from(load.limit).unwrap()));
        let next = rest.iter().map(|row| row.due).min();
        self.at(self.store_delay, Event::Answer(load, rows, next));
    }

    fn happens(&mut self, event: Event) {
        let now = time(self.now);
        match event {
            Event::Answer(load, rows, next) => self.scheduler.loaded(&load.destination, rows, next, now),
            Event::Connected(session, destination) | Event::Ask(session, destination) => {
                self.ask(session, destination);
            }
            Event::Done(session, destination, queue_id, numbers) => {
                let busy = matches!(self.manners.get(&destination), Some(Manner::Busy(_)));
                let mut outcomes = Vec::new();
                for number in numbers {
                    let key = (queue_id.clone(), number);
                    let rows = self.rows.get_mut(&destination).unwrap();
                    assert!(self.out.remove(&(destination.clone(), queue_id.clone(), number)));
                    let fate = if busy {
                        let row = rows.get_mut(&key).unwrap();
                        row.attempts += 1;
                        row.due = time(self.now + 60_000);
                        Fate::Retry { at: row.due, busy: true }
                    } else {
                        rows.remove(&key).unwrap();
                        self.finished.insert((destination.clone(), queue_id.clone(), number));
                        Fate::Delivered
                    };
                    outcomes.push(RecipientOutcome { number, fate });
                }
                self.scheduler.outcome(session, &outcomes, now);
                self.ask(session, destination);
            }
            Event::Failed(session, ended) => {
                self.open.remove(&session);
                self.scheduler.session_ended(session, ended, now);
            }
        }
    }

    fn ask(&mut self, session: SessionId, destination: String) {
        let now = time(self.now);
        match self.scheduler.take(session, now, self.max_recipients) {
            Take::Batch { queue_id, numbers } => {
                assert!(!numbers.is_empty() && numbers.len() <= self.max_recipients);
                for number in &numbers {
                    let key = (destination.clone(), queue_id.clone(), *number);
                    assert!(!self.finished.contains(&key), "{key:?} is sent again");
                    assert!(self.out.insert(key.clone()), "{key:?} is sent twice at once");
                }
                self.batches.push((self.now, destination.clone(), queue_id.to_string(), numbers.len()));
                let delay = match self.manners.get(&destination) {
                    Some(Manner::Good(delay) | Manner::Busy(delay)) => *delay,
                    _ => 1,
                };
                self.at(delay, Event::Done(session, destination, queue_id, numbers));
            }
            Take::Postpone { queue_id, numbers, until } => {
                assert!(until > now);
                for number in numbers {
                    let row =
                        self.rows.get_mut(&destination).and_then(|rows| rows.get_mut(&(queue_id.clone(), number)));
                    row.unwrap().due = until;
                }
                self.at(0, Event::Ask(session, destination));
            }
            Take::Wait { until } => {
                assert!(until > now);
                let delay = milliseconds(until) - self.now;
                self.at(delay, Event::Ask(session, destination));
            }
            Take::Nothing | Take::Idle => {
                self.open.remove(&session);
                self.scheduler.session_ended(session, Ended::Quiet, now);
            }
        }
    }
}

impl World {
    /// The earliest due time of a destination.
    pub(crate) fn rows_due(&self, destination: &str) -> Timestamp {
        self.rows[destination].values().map(|row| row.due).min().unwrap()
    }
}
