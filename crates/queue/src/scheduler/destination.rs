//! What is kept of a destination: little while nothing happens, more while it is being served.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::pile::Pile;
use super::settings::Shaping;
use super::window::Window;
use crate::rate::{Bucket, Rate};
use crate::time::{Micros, NEVER};

/// An index into the list of destinations.
pub(super) type DestinationId = u32;

/// An index into the list of groups.
pub(super) type GroupId = u32;

/// No group.
pub(super) const NO_GROUP: GroupId = GroupId::MAX;

/// A destination that has mail. This part is there for each; `hot` for those that are being served.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) key: Arc<str>,
    /// The earliest time at which a row may be due that is in the store alone; never too late.
    pub(super) stored: Micros,
    /// No new session before this time.
    pub(super) blocked: Micros,
    pub(super) hot: Option<Box<Hot>>,
    pub(super) place: Place,
    /// The group of its mail exchangers, as of the last session.
    pub(super) group: GroupId,
    /// Failures as a whole since the last sign of life.
    pub(super) failures: u8,
    /// A row in the store alone may be one that was never tried.
    pub(super) stored_fresh: bool,
}

/// Where a destination is; exactly one place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// Nothing to wait for but its own sessions, or a load.
    Nowhere,
    /// Waits for a time.
    Timer(Micros),
    /// Waits for a session.
    Ring(Ring, u64),
    /// Waits for its group.
    Parked(u64),
}

/// The rings in which destinations wait for a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ring {
    /// No session yet, and mail that was never tried.
    Fresh,
    /// No session yet, and mail that was tried.
    Retried,
    /// Failed as a whole the last time.
    Probe,
    /// Has a session and could use another.
    More,
}

/// What is kept while rows are in memory or sessions are open.
#[derive(Debug)]
pub(super) struct Hot {
    pub(super) pile: Pile,
    /// Sessions granted or on their way.
    pub(super) sessions: BTreeSet<u64>,
    /// Those of them that have no batch.
    pub(super) idle: usize,
    pub(super) loading: Option<Loading>,
    /// A further load is asked for.
    pub(super) refill: bool,
    pub(super) window: Window,
    /// The last sign of life, and the last failure as a whole.
    pub(super) alive: Micros,
    pub(super) failed: Micros,
    pub(super) shaping: Shaping,
    pub(super) messages: Bucket,
    pub(super) recipients: Bucket,
    pub(super) connections: Bucket,
}

/// A question to the store that is not answered yet.
#[derive(Debug, Default)]
pub(super) struct Loading {
    /// The session that waits for the answer.
    pub(super) slot: Option<u64>,
    /// Rows that were finished meanwhile: the answer may still have them as they were.
    pub(super) finished: BTreeSet<(Arc<str>, u32)>,
}

impl Destination {
    pub(super) fn new(key: Arc<str>) -> Self {
        Self {
            key,
            stored: NEVER,
            blocked: Micros::MIN,
            hot: None,
            place: Place::Nowhere,
            group: NO_GROUP,
            failures: 0,
            stored_fresh: false,
        }
    }

    pub(super) fn note_stored(&mut self, due: Micros, fresh: bool) {
        self.stored = self.stored.min(due);
        self.stored_fresh |= fresh;
    }

    /// Forgets the rows in memory; they are in the store. Returns how many they were.
    pub(super) fn evict(&mut self) -> usize {
        let Some(hot) = self.hot.as_mut() else { return 0 };
        let (due, fresh, rows) = (hot.pile.earliest(), hot.pile.has_fresh(), hot.pile.rows());
        hot.pile = Pile::default();
        if rows > 0 {
            self.note_stored(due, fresh);
        }
        rows
    }

    pub(super) fn sessions(&self) -> usize {
        self.hot.as_ref().map_or(0, |hot| hot.sessions.len())
    }

    /// Sessions that it may have at once now.
    pub(super) fn cap(&self) -> usize {
        let window = self.hot.as_ref().map_or(1, |hot| hot.window.sessions().min(hot.shaping.sessions));
        if self.failures > 0 { 1 } else { usize::try_from(window).unwrap_or(1) }
    }
}

impl Hot {
    pub(super) fn new(shaping: Shaping) -> Self {
        Self {
            pile: Pile::default(),
            sessions: BTreeSet::new(),
            idle: 0,
            loading: None,
            refill: false,
            window: Window::new(shaping.sessions_first),
            alive: Micros::MIN,
            failed: Micros::MIN,
            shaping,
            messages: Bucket::FULL,
            recipients: Bucket::FULL,
            connections: Bucket::FULL,
        }
    }

    fn buckets(&self) -> [(Option<Rate>, Bucket); 3] {
        [
            (self.shaping.messages, self.messages),
            (self.shaping.recipients, self.recipients),
            (self.shaping.connections, self.connections),
        ]
    }

    /// When the rates allow a further session.
    pub(super) fn rates_ready_at(&self) -> Micros {
        self.buckets()
            .iter()
            .filter_map(|(rate, bucket)| Some(bucket.ready_at(&rate.as_ref().copied()?)))
            .max()
            .unwrap_or(Micros::MIN)
    }

    /// When the rates need no memory any more.
    pub(super) fn rates_full_at(&self) -> Micros {
        self.buckets().iter().map(|(_, bucket)| bucket.full_at()).max().unwrap_or(Micros::MIN)
    }

    /// Nothing of it is needed any more.
    pub(super) fn is_cold(&self, now: Micros) -> bool {
        self.sessions.is_empty() && self.pile.rows() == 0 && self.loading.is_none() && self.rates_full_at() <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_that_is_not_served_is_small() {
        // Beside it: its key once on the heap (16 octets and the name), its place in the list of names (about 30) and
        // in the list of timers (about 35). Together some 150 octets, and 200,000 of them 30 MB.
        assert!(std::mem::size_of::<Option<Destination>>() <= 72, "{}", std::mem::size_of::<Option<Destination>>());
    }
}
