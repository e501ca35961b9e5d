//! Which destination gets a session, and what the session sends: fairness, priorities, kindness, bounded memory.
//!
//! The scheduler knows destinations by a key that the runner chooses (a domain, a smarthost) and asks for rows of the
//! few that are about to be served. It grants *sessions*; a session takes *batches* (one message, several recipients of
//! it) until there is nothing for it, so that a connection is used again.
//!
//! # The runner's part
//!
//! * Call [`Scheduler::next`] until it says [`Step::Wait`]; then again at that time and after any other call.
//! * [`Step::Load`]: ask the store, then [`Scheduler::loaded`] or [`Scheduler::load_failed`].
//! * [`Step::Start`]: resolve the route, then [`Scheduler::session_at`] with the name of the group of mail exchangers;
//!   connect; [`Scheduler::take`], transact, **write the outcome to the store, then** [`Scheduler::outcome`], until
//!   `take` says [`Take::Nothing`]; quit; [`Scheduler::session_ended`].
//! * A batch is a permission, no fact: a row may have been held, removed or changed since it was loaded. The runner
//!   reads the entry anyway, for its paths, and reports what it finds: [`Fate::Gone`], [`Fate::Held`], or
//!   [`Fate::Retry`] with the time that the row has now. Nobody else may take rows out of the store and send them.
//! * Mail that waits behind a destination that cannot be reached is not touched. Its expiry and its delay notices are
//!   found by the runner in the store, by time of acceptance ([`crate::RetryPolicy::standing`]).
//!
//! # Exactly once
//!
//! A row is at one place: in the store, in memory, or in a batch; one that is in memory or in a batch is never taken
//! from the store's answer again. A question to the store may be answered late: rows that were finished between question
//! and answer are remembered until the answer is there, and dropped from it. Hence "write, then report".
//!
//! # Fairness
//!
//! Destinations without a session wait in three rings, served in turns: with fresh mail, with mail that was tried, and
//! those that failed the last time. The last two have a bounded share of all sessions, so fresh mail finds room. Further
//! sessions of a destination come after them, and only while it has fewer than are free: whoever is slow ends up with a
//! share, not with everything. While others wait, a session ends after [`Settings::quantum`]. A destination that
//! fails as a whole waits as a whole, longer each time.

mod destination;
mod group;
mod pile;
mod place;
mod session;
mod settings;
mod stats;
mod window;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

pub use self::session::{Ended, Fate, RecipientOutcome, SessionId, Take};
pub use self::settings::{Settings, Shaping};
pub use self::stats::{DestinationView, Stats};

use self::destination::{Destination, DestinationId, Hot, Loading};
use self::group::Groups;
use self::place::{Rings, Timer};
use self::session::{Session, Sources, Used};
use crate::random::Random;
use crate::time::{Micros, known, micros};

/// Decides which destination gets a session next, and what the session sends. See the module for the runner's part.
#[derive(Debug)]
pub struct Scheduler {
    settings: Settings,
    /// The latest time that was told.
    now: Micros,
    random: Random,
    destinations: Vec<Option<Destination>>,
    free: Vec<DestinationId>,
    names: BTreeMap<Arc<str>, DestinationId>,
    groups: Groups,
    rings: Rings,
    timers: BTreeSet<(Micros, Timer)>,
    sessions: BTreeMap<u64, Session>,
    /// How many of them each class has.
    used: Used,
    last_session: u64,
    granted: VecDeque<u64>,
    refills: VecDeque<DestinationId>,
    sources: Sources,
    /// Rows in memory that are in no batch.
    rows: usize,
    /// A destination was turned away.
    overflowed: bool,
    counts: stats::Counts,
}

/// A row of the store: one recipient of one message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// The entry (rule 32).
    pub queue_id: Arc<str>,
    /// The recipient's number within it.
    pub number: u32,
    /// When it is due; not in the future, or it is left for later.
    pub due: Timestamp,
    /// MT-PRIORITY (RFC 6710 §3), -9 to 9; higher first.
    pub priority: i8,
    /// Attempts made; none means fresh.
    pub attempts: u32,
    /// Who sent it, for the rate by source: an account, an address; empty for no limit.
    pub source: Arc<str>,
}

/// What the runner is to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Ask the store for rows of a destination.
    Load(Load),
    /// Open a session.
    Start(SessionGrant),
    /// Destinations were turned away for want of room, and there is room now: ask the store for its list of
    /// destinations and call [`Scheduler::learn`] for each.
    Learn,
    /// Nothing now. Ask again at this time, if there is one, and after any other call.
    Wait {
        /// When something may be due.
        until: Option<Timestamp>,
    },
}

/// A question to the store: the rows of `destination` that wait (are not held) and have `due <= due_by`, at most
/// `limit` of them. Rows that were never tried come first, then by due time; any other order costs preference, not
/// correctness.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Load {
    /// Whose rows.
    pub destination: Arc<str>,
    /// How many; rows that are in batches are counted in, as the store does not know of batches.
    pub limit: u32,
    /// The time up to which they are due.
    pub due_by: Timestamp,
}

/// The permission to open one session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionGrant {
    /// Names the session from now on.
    pub id: SessionId,
    /// Where to.
    pub destination: Arc<str>,
    /// It failed the last time: this is a trial.
    pub probe: bool,
}

/// Octets of a destination's key. RFC 5321 §4.5.3.1.2 has 255 for a domain; the rest is the runner's to use.
pub const DESTINATION_OCTETS: usize = 512;

impl Scheduler {
    /// A scheduler that knows nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let settings = settings.bounded();
        Self {
            now: Micros::MIN,
            random: Random::new(settings.seed),
            destinations: Vec::new(),
            free: Vec::new(),
            names: BTreeMap::new(),
            groups: Groups::default(),
            rings: Rings::default(),
            timers: BTreeSet::new(),
            sessions: BTreeMap::new(),
            used: Used::default(),
            last_session: 0,
            granted: VecDeque::new(),
            refills: VecDeque::new(),
            sources: Sources::default(),
            rows: 0,
            overflowed: false,
            counts: stats::Counts::default(),
            settings,
        }
    }

    /// A destination has rows in the store, the earliest due at `due`; `fresh` if one may never have been tried. For
    /// what the store tells at the start, for mail that was accepted elsewhere, and for rows whose time was changed.
    ///
    /// False if the destination was turned away: its key is longer than [`DESTINATION_OCTETS`], or there are too many,
    /// and [`Step::Learn`] will ask again.
    pub fn learn(&mut self, destination: &str, due: Timestamp, fresh: bool) -> bool {
        let Some(id) = self.known_or_new(destination) else { return false };
        if let Some(destination) = self.at(id) {
            destination.note_stored(micros(due), fresh);
        }
        self.settle(id);
        true
    }

    /// [`Self::learn`] for each of a list. How many were taken.
    pub fn learn_all<'a>(&mut self, list: impl IntoIterator<Item = (&'a str, Timestamp, bool)>) -> usize {
        list.into_iter().filter(|(destination, due, fresh)| self.learn(destination, *due, *fresh)).count()
    }

    /// New mail was just accepted, and its rows are in the store. They are kept in memory if they are due and there is
    /// room, and loaded later if not. False as with [`Self::learn`].
    pub fn fresh(&mut self, destination: &str, rows: impl IntoIterator<Item = Row>, now: Timestamp) -> bool {
        self.tick(now);
        let Some(id) = self.known_or_new(destination) else { return false };
        // They are in the store since a moment ago, so they may have been loaded, and be on their way, already.
        let in_batches = self.in_batches(id);
        for row in rows {
            if !in_batches.is_empty() && in_batches.contains(&(row.queue_id.clone(), row.number)) {
                continue;
            }
            let due = micros(row.due);
            let may_keep = due <= self.now && self.rows < self.settings.rows_handed;
            if may_keep && self.at(id).is_some_and(|destination| destination.blocked <= micros(now)) {
                self.keep(id, row);
            } else if let Some(destination) = self.at(id) {
                destination.note_stored(due, true);
            }
        }
        self.settle(id);
        true
    }

    /// An operator wants a destination tried now, whatever happened before. The rows' times are the store's: set them
    /// first. False if it is not known.
    pub fn flush(&mut self, destination: &str, now: Timestamp) -> bool {
        self.tick(now);
        let Some(id) = self.names.get(destination).copied() else { return false };
        let now = self.now;
        let Some(destination) = self.at(id) else { return false };
        destination.blocked = Micros::MIN;
        destination.note_stored(now, false);
        let group = destination.group;
        if let Some(group) = self.groups.get_mut(group) {
            group.blocked = Micros::MIN;
        }
        self.wake_group(group);
        self.settle(id);
        true
    }

    /// Keeps a destination without sessions until `until`, so that nobody takes rows of it meanwhile, and its rows in memory
    /// are forgotten. False if it has sessions, or is about to: then nothing is changed.
    pub fn put_off(&mut self, destination: &str, until: Timestamp, now: Timestamp) -> bool {
        self.tick(now);
        let Some(id) = self.known_or_new(destination) else { return false };
        let until = micros(until);
        let Some(destination) = self.at(id) else { return false };
        if destination.sessions() > 0 || destination.hot.as_ref().is_some_and(|hot| hot.loading.is_some()) {
            return false;
        }
        destination.blocked = destination.blocked.max(until);
        destination.note_stored(until, false);
        self.settle(id);
        true
    }

    /// What to do next. To be called until it says [`Step::Wait`].
    pub fn next(&mut self, now: Timestamp) -> Step {
        self.tick(now);
        loop {
            self.fire_timers();
            if let Some(grant) = self.next_granted() {
                return Step::Start(grant);
            }
            if let Some(load) = self.next_refill() {
                return Step::Load(load);
            }
            if self.overflowed && self.names.len() <= self.settings.destinations / 4 * 3 {
                self.overflowed = false;
                return Step::Learn;
            }
            let Some((id, ring)) = self.choose() else {
                return Step::Wait { until: self.timers.first().and_then(|(at, _)| known(*at)) };
            };
            if let Some(load) = self.open_slot(id, ring) {
                return Step::Load(load);
            }
        }
    }

    /// The store's answer to [`Step::Load`]: the rows, and the earliest time at which a row is due that is not among
    /// them, held ones aside.
    pub fn loaded(&mut self, destination: &str, rows: Vec<Row>, next: Option<Timestamp>, now: Timestamp) {
        self.tick(now);
        let Some(id) = self.names.get(destination).copied() else { return };
        let Some(Loading { slot, finished }) = self.hot(id).and_then(|hot| hot.loading.take()) else { return };
        let all_fresh_seen = next.is_none() || rows.iter().any(|row| row.attempts > 0);
        let room = usize::try_from(self.settings.rows_per_load).unwrap_or(usize::MAX);
        let in_batches = self.in_batches(id);
        if all_fresh_seen && let Some(destination) = self.at(id) {
            destination.stored_fresh = false;
        }
        let (now, before) = (self.now, self.rows);
        for row in rows {
            let key = (row.queue_id.clone(), row.number);
            if in_batches.contains(&key) || finished.contains(&key) {
                continue;
            }
            // An answer that comes after its sessions have ended may keep what fits beside the active ones.
            let has_room = self.rows < self.settings.rows_handed;
            let is_full =
                self.hot(id).is_some_and(|hot| hot.pile.rows() >= room || hot.sessions.is_empty() && !has_room);
            if micros(row.due) > now || is_full {
                let (due, fresh) = (micros(row.due), row.attempts == 0);
                if let Some(destination) = self.at(id) {
                    destination.note_stored(due, fresh);
                }
            } else {
                self.keep(id, row);
            }
        }
        let rows_now = self.rows;
        if let (Some(destination), Some(next)) = (self.at(id), next) {
            // A store that has nothing for us and yet something due is not asked in a tight loop.
            let earliest = if before == rows_now { now + SECOND / 10 } else { Micros::MIN };
            destination.note_stored(micros(next).max(earliest), false);
        }
        self.fill_slot(id, slot);
        self.settle(id);
    }

    /// The store could not answer [`Step::Load`]: asked again a second later.
    pub fn load_failed(&mut self, destination: &str, now: Timestamp) {
        self.tick(now);
        let Some(id) = self.names.get(destination).copied() else { return };
        let Some(loading) = self.hot(id).and_then(|hot| hot.loading.take()) else { return };
        let later = self.now + SECOND;
        if let Some(destination) = self.at(id) {
            destination.stored = later;
        }
        self.fill_slot(id, loading.slot);
        self.settle(id);
    }

    fn tick(&mut self, now: Timestamp) {
        self.now = self.now.max(micros(now));
    }

    fn known_or_new(&mut self, key: &str) -> Option<DestinationId> {
        if let Some(id) = self.names.get(key) {
            return Some(*id);
        }
        if key.len() > DESTINATION_OCTETS {
            return None;
        }
        if self.names.len() >= self.settings.destinations {
            self.overflowed = true;
            return None;
        }
        let key: Arc<str> = key.into();
        let new = Some(Destination::new(key.clone()));
        let id = match self.free.pop() {
            Some(id) => {
                *self.destinations.get_mut(index(id))? = new;
                id
            }
            None => {
                let id = DestinationId::try_from(self.destinations.len()).ok()?;
                // Grown by an eighth: the list may be long.
                if self.destinations.len() == self.destinations.capacity() {
                    self.destinations.reserve_exact(self.destinations.len() / 8 + 16);
                }
                self.destinations.push(new);
                id
            }
        };
        self.names.insert(key, id);
        Some(id)
    }

    fn at(&mut self, id: DestinationId) -> Option<&mut Destination> {
        self.destinations.get_mut(index(id))?.as_mut()
    }

    fn hot(&mut self, id: DestinationId) -> Option<&mut Hot> {
        self.at(id)?.hot.as_deref_mut()
    }

    /// As [`Self::hot`], made if there is none.
    fn heated(&mut self, id: DestinationId) -> Option<&mut Hot> {
        let destination = self.destinations.get_mut(index(id))?.as_mut()?;
        if destination.hot.is_none() {
            let shaping = self.settings.overrides.get(&*destination.key).unwrap_or(&self.settings.shaping);
            destination.hot = Some(Box::new(Hot::new(*shaping)));
        }
        destination.hot.as_deref_mut()
    }

    /// Puts a row among those that wait for a session.
    fn keep(&mut self, id: DestinationId, row: Row) {
        if self.heated(id).is_some_and(|hot| hot.pile.add(row)) {
            self.rows += 1;
        }
    }

    fn in_batches(&mut self, id: DestinationId) -> BTreeSet<(Arc<str>, u32)> {
        let Some(hot) = self.destinations.get(index(id)).and_then(Option::as_ref).and_then(|found| found.hot.as_ref())
        else {
            return BTreeSet::new();
        };
        let batches = hot.sessions.iter().filter_map(|session| self.sessions.get(session)?.batch.as_ref());
        batches.flat_map(|batch| batch.numbers.iter().map(|number| (batch.queue_id.clone(), *number))).collect()
    }
}

fn index(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

const SECOND: Micros = 1_000_000;
