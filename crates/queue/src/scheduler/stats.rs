//! What can be seen from outside: for metrics, and for an operator who asks about one destination.

use jiff::Timestamp;

use super::destination::{Place, Ring};
use super::session::Class;
use super::{Scheduler, index};
use crate::time::timestamp;

/// Numbers for metrics. The first ones are as of now, the last ones only grow.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Destinations known.
    pub destinations: usize,
    /// Groups of mail exchangers remembered.
    pub groups: usize,
    /// Sources whose rate is remembered.
    pub sources: usize,
    /// Rows in memory that wait for a session.
    pub rows: usize,
    /// Rows in batches.
    pub rows_in_batches: usize,
    /// Sessions, those on their way among them.
    pub sessions: usize,
    /// Sessions with mail that was never tried.
    pub sessions_fresh: usize,
    /// Sessions with mail that was tried.
    pub sessions_retried: usize,
    /// Sessions to destinations that failed the last time.
    pub sessions_probe: usize,
    /// Destinations that wait for a session.
    pub waiting: usize,
    /// Sessions granted so far.
    pub granted: u64,
    /// Batches taken so far.
    pub batches: u64,
    /// Recipients in them.
    pub recipients: u64,
    /// Messages put off so far because their source sent too much.
    pub postponed: u64,
    /// Questions to the store so far.
    pub loads: u64,
}

/// A destination as an operator sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DestinationView {
    /// Open sessions.
    pub sessions: usize,
    /// Sessions that it may have now.
    pub allowed: usize,
    /// Failures as a whole since the last sign of life.
    pub failures: u8,
    /// Until when it is left alone, if it is.
    pub blocked_until: Option<Timestamp>,
    /// Rows in memory that wait for a session.
    pub rows: usize,
    /// It waits for a session, or for its group.
    pub waiting: bool,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) sessions: u64,
    pub(super) batches: u64,
    pub(super) recipients: u64,
    pub(super) postponed: u64,
    pub(super) loads: u64,
}

impl Scheduler {
    /// The numbers as of now; costs a walk over the sessions.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let in_batch = |session: &super::Session| session.batch.as_ref().map_or(0, |batch| batch.numbers.len());
        let rings = [Ring::Fresh, Ring::Retried, Ring::Probe, Ring::More];
        Stats {
            destinations: self.names.len(),
            groups: self.groups.len(),
            sources: self.sources.len(),
            rows: self.rows,
            rows_in_batches: self.sessions.values().map(in_batch).sum(),
            sessions: self.sessions.len(),
            sessions_fresh: self.used.of(Class::Fresh),
            sessions_retried: self.used.of(Class::Retried),
            sessions_probe: self.used.of(Class::Probe),
            waiting: rings.iter().map(|ring| self.rings.of(*ring).len()).sum(),
            granted: self.counts.sessions,
            batches: self.counts.batches,
            recipients: self.counts.recipients,
            postponed: self.counts.postponed,
            loads: self.counts.loads,
        }
    }

    /// How a destination stands; `None` if it has no mail.
    #[must_use]
    pub fn destination(&self, key: &str) -> Option<DestinationView> {
        let id = self.names.get(key)?;
        let found = self.destinations.get(index(*id))?.as_ref()?;
        Some(DestinationView {
            sessions: found.sessions(),
            allowed: found.cap(),
            failures: found.failures,
            blocked_until: (found.blocked > self.now).then(|| timestamp(found.blocked)),
            rows: found.hot.as_ref().map_or(0, |hot| hot.pile.rows()),
            waiting: matches!(found.place, Place::Ring(..) | Place::Parked(_)),
        })
    }
}
