//! Where each destination waits: a timer, a ring, its group, or nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::destination::{DestinationId, GroupId, Loading, NO_GROUP, Place, Ring};
use super::session::{Class, SessionId};
use super::{Load, Scheduler, SessionGrant, index};
use crate::time::{Micros, NEVER, timestamp};

/// What a time is waited for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Timer {
    Destination(DestinationId),
    Group(GroupId),
}

/// Destinations that wait for a session, by ticket: first come, first served.
#[derive(Debug, Default)]
pub(super) struct Rings {
    fresh: BTreeMap<u64, DestinationId>,
    retried: BTreeMap<u64, DestinationId>,
    probe: BTreeMap<u64, DestinationId>,
    more: BTreeMap<u64, DestinationId>,
    tickets: u64,
    turn: usize,
}

impl Rings {
    pub(super) fn of(&self, ring: Ring) -> &BTreeMap<u64, DestinationId> {
        match ring {
            Ring::Fresh => &self.fresh,
            Ring::Retried => &self.retried,
            Ring::Probe => &self.probe,
            Ring::More => &self.more,
        }
    }

    fn of_mut(&mut self, ring: Ring) -> &mut BTreeMap<u64, DestinationId> {
        match ring {
            Ring::Fresh => &mut self.fresh,
            Ring::Retried => &mut self.retried,
            Ring::Probe => &mut self.probe,
            Ring::More => &mut self.more,
        }
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }
}

/// Where a destination should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Target {
    /// It has no mail, and nothing needs to be remembered.
    Gone,
    Nowhere,
    Timer(Micros),
    Ring(Ring),
    Parked,
}

/// Whose turn it is: fresh mail has half of the turns, nobody has none.
const TURNS: [Ring; 7] = [Ring::Fresh, Ring::Retried, Ring::Fresh, Ring::Probe, Ring::Fresh, Ring::Retried, Ring::More];

impl Scheduler {
    /// Puts a destination where it belongs now.
    pub(super) fn settle(&mut self, id: DestinationId) {
        let target = self.target(id);
        let now = self.now;
        let Some(destination) = self.at(id) else { return };
        let (place, group) = (destination.place, destination.group);
        let is_waiting = matches!(target, Target::Timer(_) | Target::Parked);
        if is_waiting && destination.sessions() == 0 {
            // It may be long until it is served: others can use the room.
            let evicted = destination.evict();
            self.rows -= evicted;
        }
        if let Some(destination) = self.at(id)
            && destination.hot.as_ref().is_some_and(|hot| hot.is_cold(now))
        {
            destination.hot = None;
        }
        match (place, target) {
            (Place::Nowhere, Target::Nowhere) | (Place::Parked(_), Target::Parked) => return,
            (Place::Timer(old), Target::Timer(new)) if old == new => return,
            (Place::Ring(old, _), Target::Ring(new)) if old == new => return,
            _ => {}
        }
        self.leave(id);
        let place = match target {
            Target::Gone => {
                self.remove(id);
                None
            }
            Target::Nowhere => None,
            Target::Timer(at) => {
                self.timers.insert((at, Timer::Destination(id)));
                Some(Place::Timer(at))
            }
            Target::Ring(ring) => {
                // Who changes the ring keeps the place in the line.
                let ticket = if let Place::Ring(_, ticket) = place { ticket } else { self.rings.ticket() };
                self.rings.of_mut(ring).insert(ticket, id);
                Some(Place::Ring(ring, ticket))
            }
            Target::Parked => {
                let ticket = self.rings.ticket();
                if let Some(group) = self.groups.get_mut(group) {
                    group.waiting.insert(ticket, id);
                }
                Some(Place::Parked(ticket))
            }
        };
        if let (Some(destination), Some(place)) = (self.at(id), place) {
            destination.place = place;
        }
        if matches!(place, Some(Place::Ring(..))) {
            return;
        }
        // It may have been called for room that it does not use now.
        self.wake_group(group);
    }

    fn target(&mut self, id: DestinationId) -> Target {
        let now = self.now;
        let low_water = index(self.settings.rows_per_load) / 4;
        let Some(destination) = self.at(id) else { return Target::Gone };
        let (stored, blocked) = (destination.stored, destination.blocked);
        let sessions = destination.sessions();
        let (cap, failures, fresh) = (destination.cap(), destination.failures, destination.stored_fresh);
        let (mut loading, mut has_rows, mut rates, mut full, mut has_fresh) = (false, false, now, now, false);
        let mut refill = false;
        if let Some(hot) = destination.hot.as_mut() {
            // The last session may end before its further load was asked for: then it is not.
            hot.refill &= sessions > 0;
            loading = hot.loading.is_some() || hot.refill;
            if sessions > 0 && !loading && stored <= now && hot.pile.rows() <= low_water {
                (hot.refill, refill, loading) = (true, true, true);
            }
            has_rows = hot.pile.messages() > hot.idle;
            has_fresh = hot.pile.has_fresh();
            (rates, full) = (hot.rates_ready_at(), hot.rates_full_at());
        }
        let group = destination.group;
        if refill {
            self.refills.push_back(id);
        }
        let has_stored = !loading && sessions == 0 && stored <= now;
        if !has_rows && !has_stored {
            let memory = if failures > 0 { blocked.max(full) } else { full };
            return match (sessions == 0 && !loading, stored) {
                (_, stored) if stored != NEVER && stored > now && !loading => Target::Timer(stored),
                (true, NEVER) if memory > now => Target::Timer(memory),
                (true, NEVER) => Target::Gone,
                _ => Target::Nowhere,
            };
        }
        if sessions >= cap {
            return Target::Nowhere;
        }
        let ready = blocked.max(rates);
        if ready > now {
            return Target::Timer(ready);
        }
        if self.groups.get(group).is_some_and(|group| !group.has_room(now)) {
            return Target::Parked;
        }
        Target::Ring(match (failures > 0, sessions > 0, fresh || has_fresh) {
            (true, ..) => Ring::Probe,
            (_, true, _) => Ring::More,
            (.., true) => Ring::Fresh,
            _ => Ring::Retried,
        })
    }

    pub(super) fn leave(&mut self, id: DestinationId) {
        let Some(destination) = self.at(id) else { return };
        let (place, group) = (destination.place, destination.group);
        destination.place = Place::Nowhere;
        match place {
            Place::Nowhere => {}
            Place::Timer(at) => {
                self.timers.remove(&(at, Timer::Destination(id)));
            }
            Place::Ring(ring, ticket) => {
                self.rings.of_mut(ring).remove(&ticket);
            }
            Place::Parked(ticket) => {
                if let Some(group) = self.groups.get_mut(group) {
                    group.waiting.remove(&ticket);
                }
            }
        }
    }

    fn remove(&mut self, id: DestinationId) {
        let Some(destination) = self.destinations.get_mut(index(id)).and_then(Option::take) else { return };
        self.names.remove(&destination.key);
        self.free.push(id);
        if destination.group != NO_GROUP {
            self.groups.forget(destination.group);
        }
    }

    /// Calls as many of those who wait for a group as it has room for.
    pub(super) fn wake_group(&mut self, id: GroupId) {
        let now = self.now;
        let Some(group) = self.groups.get(id) else { return };
        if group.waiting.is_empty() || !group.has_room(now) {
            return;
        }
        let room = group.cap() - group.sessions;
        let called: Vec<_> = group.waiting.values().take(room).copied().collect();
        for destination in called {
            self.settle(destination);
        }
    }

    /// No session with a group before `at`; then those who wait are called.
    pub(super) fn block_group(&mut self, id: GroupId, at: Micros) {
        if let Some(group) = self.groups.get_mut(id) {
            group.blocked = at;
            self.timers.insert((at, Timer::Group(id)));
        }
    }

    pub(super) fn fire_timers(&mut self) {
        while let Some((at, timer)) = self.timers.first().copied() {
            if at > self.now {
                return;
            }
            self.timers.pop_first();
            match timer {
                Timer::Destination(id) => {
                    if let Some(destination) = self.at(id) {
                        destination.place = Place::Nowhere;
                    }
                    self.settle(id);
                }
                Timer::Group(id) => self.wake_group(id),
            }
        }
    }

    /// The destination whose turn it is, if a session is free for one.
    pub(super) fn choose(&mut self) -> Option<(DestinationId, Ring)> {
        let free = index(self.settings.sessions).checked_sub(self.sessions.len()).filter(|free| *free > 0)?;
        let turn = self.rings.turn;
        let in_turn = TURNS.get(turn % TURNS.len()).copied().unwrap_or(Ring::Fresh);
        for ring in [in_turn, Ring::Fresh, Ring::Retried, Ring::Probe, Ring::More] {
            while let Some(id) = self.first_of(ring, free) {
                // What held when it came into the ring may hold no longer.
                self.settle(id);
                let stays = self.at(id).is_some_and(|found| matches!(found.place, Place::Ring(now, _) if now == ring));
                if stays {
                    self.rings.turn = turn.wrapping_add(1);
                    return Some((id, ring));
                }
            }
        }
        None
    }

    fn first_of(&mut self, ring: Ring, free: usize) -> Option<DestinationId> {
        let retried_full = self.is_full(Class::Retried);
        match ring {
            Ring::Fresh => self.rings.fresh.first_key_value().map(|(_, id)| *id),
            Ring::Retried if retried_full => None,
            Ring::Retried => self.rings.retried.first_key_value().map(|(_, id)| *id),
            Ring::Probe if self.is_full(Class::Probe) => None,
            Ring::Probe => self.rings.probe.first_key_value().map(|(_, id)| *id),
            Ring::More => {
                // No longer than there are sessions, as each of these has one.
                let fits = |id: &DestinationId| {
                    let Some(Some(destination)) = self.destinations.get(index(*id)) else { return true };
                    let fresh = destination.hot.as_ref().is_some_and(|hot| hot.pile.has_fresh());
                    destination.sessions() < free && (fresh || !retried_full)
                };
                self.rings.more.values().copied().find(fits)
            }
        }
    }

    pub(super) fn is_full(&self, class: Class) -> bool {
        let used = self.used.of(class);
        match class {
            Class::Fresh => false,
            Class::Retried => used >= index(self.settings.retried_sessions()),
            Class::Probe => used >= index(self.settings.probe_sessions()),
        }
    }

    /// Whether somebody waits who could have a session if one of `class` ended.
    pub(super) fn is_crowded(&self, class: Class) -> bool {
        let waits = |ring| !self.rings.of(ring).is_empty();
        let all = self.sessions.len() >= index(self.settings.sessions);
        match class {
            Class::Fresh => all && (waits(Ring::Fresh) || waits(Ring::Retried) || waits(Ring::Probe)),
            Class::Retried if waits(Ring::Retried) && self.is_full(class) => true,
            Class::Probe if waits(Ring::Probe) && self.is_full(class) => true,
            _ => all && (waits(Ring::Fresh) || waits(Ring::Retried) || waits(Ring::Probe)),
        }
    }

    /// Takes a session for the destination: granted at once if it has rows in memory, with the question to the store
    /// if not.
    pub(super) fn open_slot(&mut self, id: DestinationId, ring: Ring) -> Option<Load> {
        let class = match ring {
            Ring::Fresh => Class::Fresh,
            Ring::Retried => Class::Retried,
            Ring::Probe => Class::Probe,
            Ring::More if self.hot(id).is_some_and(|hot| hot.pile.has_fresh()) => Class::Fresh,
            Ring::More => Class::Retried,
        };
        self.leave(id);
        let session = self.new_session(id, class);
        let has_rows = self.hot(id).is_some_and(|hot| hot.pile.rows() > 0);
        let load = if has_rows {
            self.grant(session);
            None
        } else {
            self.load(id, Some(session))
        };
        self.settle(id);
        load
    }

    /// The question to the store.
    fn load(&mut self, id: DestinationId, slot: Option<u64>) -> Option<Load> {
        let in_batches = self.in_batches(id).len();
        let limit = self.settings.rows_per_load;
        let due_by = timestamp(self.now);
        let hot = self.hot(id)?;
        hot.refill = false;
        hot.loading = Some(Loading { slot, ..Loading::default() });
        let limit = limit.saturating_add(u32::try_from(in_batches + hot.pile.rows()).unwrap_or(u32::MAX));
        let destination = self.at(id)?;
        // What the answer does not bring, it tells; what comes meanwhile is noted again.
        destination.stored = NEVER;
        let destination = destination.key.clone();
        self.counts.loads += 1;
        Some(Load { destination, limit, due_by })
    }

    pub(super) fn next_refill(&mut self) -> Option<Load> {
        while let Some(id) = self.refills.pop_front() {
            if self.hot(id).is_some_and(|hot| hot.refill && hot.loading.is_none()) {
                return self.load(id, None);
            }
        }
        None
    }

    pub(super) fn next_granted(&mut self) -> Option<SessionGrant> {
        while let Some(id) = self.granted.pop_front() {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            session.started = self.now;
            let (destination, probe) = (session.destination, session.class == Class::Probe);
            let Some(destination) = self.at(destination) else { continue };
            let destination: Arc<str> = destination.key.clone();
            self.counts.sessions += 1;
            return Some(SessionGrant { id: SessionId(id), destination, probe });
        }
        None
    }
}
