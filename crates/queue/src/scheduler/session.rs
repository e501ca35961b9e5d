//! Sessions: what they take, what became of it, and how they ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::destination::{DestinationId, GroupId, NO_GROUP};
use super::settings::Settings;
use super::{Scheduler, index};
use crate::random::spread;
use crate::rate::{Bucket, Rate};
use crate::time::{Micros, length, micros, timestamp};

/// Names a session; never given again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(pub u64);

/// What a session is to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Take {
    /// Send this message to these of its recipients; then report with [`Scheduler::outcome`].
    Batch {
        /// The entry.
        queue_id: Arc<str>,
        /// The recipients' numbers, ascending.
        numbers: Vec<u32>,
    },
    /// The source of this message has sent too much: write `until` as the new time of these rows to the store, and ask
    /// again.
    Postpone {
        /// The entry.
        queue_id: Arc<str>,
        /// The recipients' numbers.
        numbers: Vec<u32>,
        /// When its turn comes.
        until: Timestamp,
    },
    /// Nothing now, but soon: keep the connection and ask again at this time, or when rows were loaded.
    Wait {
        /// At the latest then.
        until: Timestamp,
    },
    /// Nothing waits, here or in the store: end the session, or keep the connection for a while and ask again when
    /// there is more.
    Idle,
    /// Nothing for this session, since others wait or it has had its share: end it.
    Nothing,
}

/// What became of one recipient of a batch. The store knows it already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecipientOutcome {
    /// The recipient's number.
    pub number: u32,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a recipient.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// Delivered.
    Delivered,
    /// Refused for good by the other side: a sign of life all the same.
    Refused,
    /// No longer in the queue for a reason of our own: expired, removed by the operator.
    Gone,
    /// On hold.
    Held,
    /// Still in the queue.
    Retry {
        /// The time that its row has now.
        at: Timestamp,
        /// The other side spoke of itself, not of the recipient (421, "too busy", no answer): fewer sessions.
        busy: bool,
    },
}

/// How a session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// As it should: nothing was left to take, or we are shutting down.
    Quiet,
    /// The other side closed it, with 421 or without a word, after it had let us in.
    Closed,
    /// The other side did not let us in: 421, 4yz or 554 instead of a greeting, or to EHLO; no TLS where it must be.
    Refused,
    /// No connection.
    ConnectFailed,
    /// No answer in time.
    TimedOut,
    /// No route: the DNS, or a policy, could not be asked. Says nothing about the group.
    Unresolved,
}

/// Whose share of the sessions one takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Class {
    Fresh,
    Retried,
    Probe,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) destination: DestinationId,
    pub(super) class: Class,
    pub(super) group: GroupId,
    pub(super) started: Micros,
    pub(super) batch: Option<Batch>,
    batches: u32,
    /// It asked for something to send.
    asked: bool,
    /// The other side has accepted or refused a recipient.
    alive: bool,
    /// It takes what waits, to put it off, and sends nothing any more.
    sweeps: bool,
}

#[derive(Debug)]
pub(super) struct Batch {
    pub(super) queue_id: Arc<str>,
    pub(super) numbers: Vec<u32>,
}

/// How many sessions each class has.
#[derive(Debug, Default)]
pub(super) struct Used {
    fresh: usize,
    retried: usize,
    probe: usize,
}

impl Used {
    pub(super) fn of(&self, class: Class) -> usize {
        match class {
            Class::Fresh => self.fresh,
            Class::Retried => self.retried,
            Class::Probe => self.probe,
        }
    }

    fn of_mut(&mut self, class: Class) -> &mut usize {
        match class {
            Class::Fresh => &mut self.fresh,
            Class::Retried => &mut self.retried,
            Class::Probe => &mut self.probe,
        }
    }
}

/// The rates of the sources.
#[derive(Debug, Default)]
pub(super) struct Sources {
    known: BTreeMap<Arc<str>, Source>,
}

#[derive(Debug)]
struct Source {
    bucket: Bucket,
    /// The last time that a message was put off to.
    slot: Micros,
}

impl Sources {
    /// Counts a message of `source`, or says when its turn comes.
    fn pass(&mut self, rate: &Rate, most: usize, source: &Arc<str>, now: Micros) -> Result<(), Micros> {
        if !self.known.contains_key(source) {
            if self.known.len() >= most {
                self.known.retain(|_, source| source.bucket.full_at() > now || source.slot > now);
            }
            if self.known.len() >= most {
                return Err(now.saturating_add(rate.interval().max(super::SECOND)));
            }
            self.known.insert(source.clone(), Source { bucket: Bucket::FULL, slot: Micros::MIN });
        }
        let Some(found) = self.known.get_mut(source) else { return Ok(()) };
        if found.bucket.available(rate, now) > 0 {
            found.bucket.take(rate, 1, now);
            return Ok(());
        }
        // Each gets a turn of its own, so that a message is put off once, not each time the next may pass.
        found.slot = found.bucket.ready_at(rate).max(found.slot.saturating_add(rate.interval())).max(now + 1);
        Err(found.slot)
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

impl Scheduler {
    /// The route of a session is known: `group` names the set of its mail exchangers, the same for all destinations
    /// that share it. False if the group has no room: the session is over, and is not to connect; nothing more is
    /// reported of it. The destination's turn comes again when there is room.
    ///
    /// Without a call, the group of the destination's last session counts.
    pub fn session_at(&mut self, session: SessionId, group: &str, now: Timestamp) -> bool {
        self.tick(now);
        let Some(found) = self.sessions.get(&session.0) else { return false };
        let (id, old) = (found.destination, found.group);
        let most = self.settings.groups.get(group).copied().unwrap_or(self.settings.sessions_per_group);
        let new = self.groups.remember(group, most);
        self.leave(id);
        let Some(destination) = self.at(id) else { return false };
        let before = std::mem::replace(&mut destination.group, new);
        if before != NO_GROUP {
            self.groups.forget(before);
        }
        if old == new {
            self.settle(id);
            return true;
        }
        self.leave_group(session.0);
        let now = self.now;
        let has_room = self.groups.get(new).is_some_and(|group| group.has_room(now));
        if has_room {
            self.enter_group(session.0, new);
        } else {
            if let Some(hot) = self.hot(id)
                && let Some(rate) = hot.shaping.connections
            {
                hot.connections.give_back(&rate);
            }
            // A batch that it took already goes back.
            self.outcome(session, &[], timestamp(now));
            self.end(session.0);
        }
        self.wake_group(old);
        self.settle(id);
        has_room
    }

    /// The destination cannot be reached: from now on the session takes what waits for it only to put it off. Limits that
    /// are kind to the other side, and shares of time, do not count for that.
    pub fn sweep(&mut self, session: SessionId) {
        if let Some(found) = self.sessions.get_mut(&session.0) {
            found.sweeps = true;
        }
    }

    /// What a session sends next: fresh before tried, higher priority first, then the longest due; at most
    /// `max_recipients` of one message. A session has one batch at a time: [`Take::Nothing`] before its outcome is told.
    pub fn take(&mut self, session: SessionId, now: Timestamp, max_recipients: usize) -> Take {
        self.tick(now);
        let Some(found) = self.sessions.get_mut(&session.0) else { return Take::Nothing };
        found.asked = true;
        let (id, class, has_batch) = (found.destination, found.class, found.batch.is_some());
        let had_its_share = !found.sweeps
            && found.batches > 0
            && found.started.saturating_add(length(self.settings.quantum)) <= self.now;
        if has_batch || max_recipients == 0 {
            return Take::Nothing;
        }
        if had_its_share && (self.is_crowded(class) || self.is_group_crowded(session)) {
            return Take::Nothing;
        }
        let take = self.take_of(session.0, id, max_recipients);
        self.settle(id);
        take
    }

    /// What became of a batch. Rows that are not named go back: they are loaded again.
    pub fn outcome(&mut self, session: SessionId, outcomes: &[RecipientOutcome], now: Timestamp) {
        self.tick(now);
        let now = self.now;
        let Some(found) = self.sessions.get_mut(&session.0) else { return };
        let Some(batch) = found.batch.take() else { return };
        let (id, group) = (found.destination, found.group);
        let is_alive = outcomes.iter().any(|outcome| matches!(outcome.fate, Fate::Delivered | Fate::Refused));
        let is_busy = outcomes.iter().any(|outcome| matches!(outcome.fate, Fate::Retry { busy: true, .. }));
        found.alive |= is_alive;
        let Some(destination) = self.at(id) else { return };
        for number in batch.numbers {
            let fate = outcomes.iter().find(|outcome| outcome.number == number).map(|outcome| outcome.fate);
            match fate {
                Some(Fate::Delivered | Fate::Refused | Fate::Gone | Fate::Held) => {}
                Some(Fate::Retry { at, .. }) => destination.note_stored(micros(at), false),
                None => {
                    destination.note_stored(now, false);
                    continue;
                }
            }
            if let Some(loading) = destination.hot.as_mut().and_then(|hot| hot.loading.as_mut()) {
                loading.finished.insert((batch.queue_id.clone(), number));
            }
        }
        if let Some(hot) = destination.hot.as_mut() {
            hot.idle += 1;
        }
        if is_alive {
            self.sign_of_life(id, group);
        }
        if is_busy {
            self.shrink(id, group);
        }
        self.settle(id);
    }

    /// A session is over. A batch without outcome goes back.
    pub fn session_ended(&mut self, session: SessionId, ended: Ended, now: Timestamp) {
        self.outcome(session, &[], now);
        let Some(found) = self.sessions.get(&session.0) else { return };
        let (id, group, started) = (found.destination, found.group, found.started);
        let (asked, alive) = (found.asked, found.alive);
        match ended {
            Ended::Quiet if !asked => {
                // It gave up before it began: not again at once, whatever the reason.
                let soon = self.now + super::SECOND;
                if let Some(destination) = self.at(id) {
                    destination.blocked = destination.blocked.max(soon);
                }
            }
            Ended::Quiet => {}
            Ended::Closed if alive => self.shrink(id, group),
            Ended::Unresolved => self.failed(id, NO_GROUP, started),
            Ended::Closed | Ended::Refused | Ended::ConnectFailed | Ended::TimedOut => {
                self.shrink(id, group);
                self.failed(id, group, started);
            }
        }
        self.end(session.0);
        self.wake_group(group);
        self.settle(id);
    }

    pub(super) fn new_session(&mut self, id: DestinationId, class: Class) -> u64 {
        self.last_session += 1;
        *self.used.of_mut(class) += 1;
        let session = self.last_session;
        let started = self.now;
        let group = self.at(id).map_or(NO_GROUP, |destination| destination.group);
        self.sessions.insert(
            session,
            Session {
                destination: id,
                class,
                group: NO_GROUP,
                started,
                batch: None,
                batches: 0,
                asked: false,
                alive: false,
                sweeps: false,
            },
        );
        if let Some(hot) = self.heated(id) {
            hot.sessions.insert(session);
            hot.idle += 1;
        }
        self.enter_group(session, group);
        session
    }

    /// The session may start.
    pub(super) fn grant(&mut self, session: u64) {
        let now = self.now;
        let Some(id) = self.sessions.get(&session).map(|session| session.destination) else { return };
        if let Some(hot) = self.hot(id)
            && let Some(rate) = hot.shaping.connections
        {
            hot.connections.take(&rate, 1, now);
        }
        self.granted.push_back(session);
    }

    /// The answer of the store is there: the session that waited for it starts, or is not needed.
    pub(super) fn fill_slot(&mut self, id: DestinationId, slot: Option<u64>) {
        let Some(session) = slot else { return };
        if self.hot(id).is_some_and(|hot| hot.pile.rows() > 0) {
            self.grant(session);
        } else {
            let group = self.sessions.get(&session).map_or(NO_GROUP, |session| session.group);
            self.end(session);
            self.wake_group(group);
        }
    }

    fn end(&mut self, session: u64) {
        self.leave_group(session);
        let Some(found) = self.sessions.remove(&session) else { return };
        *self.used.of_mut(found.class) -= 1;
        let has_room = self.rows <= self.settings.rows_handed;
        let Some(destination) = self.at(found.destination) else { return };
        if let Some(hot) = destination.hot.as_mut() {
            hot.sessions.remove(&session);
            hot.idle -= usize::from(found.batch.is_none());
        }
        if destination.sessions() == 0 && !has_room {
            let evicted = destination.evict();
            self.rows -= evicted;
        }
    }

    fn enter_group(&mut self, session: u64, group: GroupId) {
        if let (Some(found), Some(group_found)) = (self.sessions.get_mut(&session), self.groups.get_mut(group)) {
            found.group = group;
            group_found.sessions += 1;
            self.groups.remember_again(group);
        }
    }

    fn leave_group(&mut self, session: u64) {
        let Some(found) = self.sessions.get_mut(&session) else { return };
        let group = std::mem::replace(&mut found.group, NO_GROUP);
        if let Some(found) = self.groups.get_mut(group) {
            found.sessions -= 1;
            self.groups.forget(group);
        }
    }

    fn take_of(&mut self, session: u64, id: DestinationId, max_recipients: usize) -> Take {
        let now = self.now;
        let linger = now.saturating_add(length(self.settings.linger));
        let (rate, most) = (self.settings.source_messages, self.settings.sources);
        let Some(hot) = self.hot(id) else { return Take::Nothing };
        let shaping = hot.shaping;
        let Some(found) = self.sessions.get(&session) else { return Take::Nothing };
        let sweeps = found.sweeps;
        if !sweeps && found.batches >= shaping.messages_per_session {
            return Take::Nothing;
        }
        let Some(hot) = self.hot(id) else { return Take::Nothing };
        let is_coming = hot.loading.is_some() || hot.refill;
        let Some(best) = hot.pile.best() else {
            let stored = self.at(id).map_or(Micros::MAX, |destination| destination.stored);
            let until = timestamp(now + super::SECOND);
            return if is_coming || stored <= now { Take::Wait { until } } else { Take::Idle };
        };
        let (queue_id, source, tried, due) = (best.queue_id.clone(), best.source.clone(), best.tried, best.due);
        let ready = [(shaping.messages, hot.messages), (shaping.recipients, hot.recipients)];
        let ready = ready.iter().filter_map(|(rate, bucket)| Some(bucket.ready_at(&rate.as_ref().copied()?))).max();
        if let Some(ready) = ready.filter(|ready| *ready > now && !sweeps) {
            return if ready <= linger { Take::Wait { until: timestamp(ready) } } else { Take::Nothing };
        }
        if !sweeps && !self.may_serve(session, id, tried) {
            return Take::Nothing;
        }
        if let Some(rate) = rate.filter(|_| !source.is_empty() && !sweeps)
            && let Err(until) = self.sources.pass(&rate, most, &source, now)
        {
            let Some(hot) = self.hot(id) else { return Take::Nothing };
            let numbers = hot.pile.take(usize::MAX);
            self.rows -= numbers.len();
            self.counts.postponed += 1;
            if let Some(destination) = self.at(id) {
                destination.note_stored(until.max(due), !tried);
                if let Some(loading) = destination.hot.as_mut().and_then(|hot| hot.loading.as_mut()) {
                    loading.finished.extend(numbers.iter().map(|number| (queue_id.clone(), *number)));
                }
            }
            return Take::Postpone { queue_id, numbers, until: timestamp(until) };
        }
        let Some(hot) = self.hot(id) else { return Take::Nothing };
        let limited = shaping.recipients.filter(|_| !sweeps);
        let allowed = limited.map_or(u32::MAX, |rate| hot.recipients.available(&rate, now));
        let per_batch = if sweeps { u32::MAX } else { shaping.recipients_per_batch };
        let count = max_recipients.min(index(per_batch)).min(index(allowed));
        let numbers = hot.pile.take(count);
        let taken = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        if let Some(rate) = shaping.messages.filter(|_| !sweeps) {
            hot.messages.take(&rate, 1, now);
        }
        if let Some(rate) = limited {
            hot.recipients.take(&rate, taken, now);
        }
        hot.idle -= 1;
        self.rows -= numbers.len();
        self.counts.batches += 1;
        self.counts.recipients += u64::from(taken);
        if let Some(found) = self.sessions.get_mut(&session) {
            found.batches += 1;
            found.batch = Some(Batch { queue_id: queue_id.clone(), numbers: numbers.clone() });
        }
        Take::Batch { queue_id, numbers }
    }

    /// Whether another destination waits for a session of the same group to end.
    fn is_group_crowded(&self, session: SessionId) -> bool {
        let group = self.sessions.get(&session.0).and_then(|session| self.groups.get(session.group));
        group.is_some_and(|group| !group.waiting.is_empty() && !group.has_room(self.now))
    }

    /// Whether a session may go on with the mail that is next, for the share of the sessions that it takes.
    fn may_serve(&mut self, session: u64, id: DestinationId, tried: bool) -> bool {
        let Some(class) = self.sessions.get(&session).map(|session| session.class) else { return false };
        let works_again = self.at(id).is_some_and(|destination| destination.failures == 0);
        let wanted = match class {
            Class::Probe if works_again => {
                if tried {
                    Class::Retried
                } else {
                    Class::Fresh
                }
            }
            Class::Fresh if tried => Class::Retried,
            class => class,
        };
        if wanted != class && self.is_full(wanted) {
            return false;
        }
        if let Some(session) = self.sessions.get_mut(&session) {
            session.class = wanted;
            *self.used.of_mut(class) -= 1;
            *self.used.of_mut(wanted) += 1;
        }
        true
    }

    fn sign_of_life(&mut self, id: DestinationId, group: GroupId) {
        let now = self.now;
        if let Some(destination) = self.at(id) {
            (destination.failures, destination.blocked) = (0, Micros::MIN);
            if let Some(hot) = destination.hot.as_mut() {
                hot.alive = now;
                hot.window.grow(hot.shaping.sessions);
            }
        }
        if let Some(found) = self.groups.get_mut(group) {
            let was_down = found.failures > 0;
            (found.failures, found.blocked, found.alive) = (0, Micros::MIN, now);
            found.window.grow(found.most);
            if was_down {
                self.wake_group(group);
            }
        }
    }

    fn shrink(&mut self, id: DestinationId, group: GroupId) {
        if let Some(hot) = self.hot(id) {
            hot.window.shrink();
        }
        if let Some(group) = self.groups.get_mut(group) {
            group.window.shrink();
        }
    }

    /// A session failed before it did anything: unless others show that all is well, nothing is tried for a while.
    fn failed(&mut self, id: DestinationId, group: GroupId, started: Micros) {
        let now = self.now;
        let random = self.random.next();
        let settings = self.settings.backoff();
        if let Some(destination) = self.at(id) {
            // Sessions that began before the last failure tell the same failure once more.
            let is_news = destination.hot.as_ref().is_none_or(|hot| hot.alive <= started && hot.failed < started);
            if is_news {
                destination.failures = destination.failures.saturating_add(1);
                destination.blocked = now.saturating_add(settings.wait(destination.failures, random));
            }
            if let Some(hot) = destination.hot.as_mut() {
                hot.failed = now;
            }
        }
        let Some(found) = self.groups.get_mut(group) else { return };
        if found.alive <= started && found.failed < started {
            found.failures = found.failures.saturating_add(1);
            let until = now.saturating_add(settings.wait(found.failures, random));
            found.failed = now;
            self.block_group(group, until);
        }
    }
}

/// How long a destination that failed is left alone.
#[derive(Clone, Copy)]
struct Backoff {
    first: Micros,
    max: Micros,
    jitter_percent: u8,
}

impl Settings {
    fn backoff(&self) -> Backoff {
        Backoff {
            first: length(self.backoff_first),
            max: length(self.backoff_max),
            jitter_percent: self.backoff_jitter_percent,
        }
    }
}

impl Backoff {
    fn wait(self, failures: u8, random: u64) -> Micros {
        let doublings = u32::from(failures).saturating_sub(1).min(30);
        spread(self.first.saturating_mul(1 << doublings).min(self.max), self.jitter_percent, random).max(1)
    }
}
