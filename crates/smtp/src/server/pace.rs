//! What is said late on purpose: the greeting (RFC 5321 §4.3.1: the client is to wait for it), answers that the
//! application puts off, and refusals to a client that gathers them.

use std::time::{Duration, Instant};

use super::{Answered, Asked, Closed, Event, Phase, Queued, Server, Told};
use crate::reply::Reply;

/// No reply is put off for longer: a client may give up after two minutes (RFC 5321 §4.5.3.2.4).
pub const LONGEST_PAUSE: Duration = Duration::from_secs(100);

/// Refusals are said late.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tarpit {
    /// How late: at most [`LONGEST_PAUSE`].
    pub delay: Duration,
    /// Refusals in a row, without an accepted message between them, that are said at once; those after them are late.
    pub after_errors: u32,
    /// Whether each refused recipient is said late, from the first on.
    pub refused_recipients: bool,
}

/// What is put off.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The application's answer, and when it counts.
    later: Option<(Instant, Told)>,
    /// A [`Queued::Pause`] stands in the outbox, of this length.
    pause: Option<Duration>,
    /// Until when what stands behind it waits.
    held_until: Option<Instant>,
    /// The client has talked before the greeting.
    talked_early: bool,
}

impl Pace {
    /// Whether nothing is said or heard until an answer counts, or a pause is over.
    pub(super) fn waits(&self) -> Option<Instant> {
        self.held_until.or(self.later.as_ref().map(|(at, _)| *at))
    }

    pub(super) fn is_paused(&self) -> bool {
        self.held_until.is_some()
    }

    pub(super) fn has_talked_early(&self) -> bool {
        self.talked_early
    }
}

impl Server {
    // --- the greeting

    /// The greeting, now or after a while in which the client is to be silent.
    pub(super) fn greet_after(&mut self, now: Instant, delay: Duration, greeting: Reply) {
        if delay.is_zero() {
            self.greet(now, &greeting);
        } else {
            self.phase = Phase::Greeting(greeting);
            self.deadline = Some(now + delay.min(LONGEST_PAUSE));
        }
    }

    fn greet(&mut self, now: Instant, greeting: &Reply) {
        self.send(greeting);
        self.phase = Phase::Command;
        self.deadline = Some(now + self.config.limits.hello_wait);
    }

    /// Octets came before the greeting. They stay where they are.
    pub(super) fn on_early_input(&mut self, now: Instant) {
        if !self.pace.talked_early {
            self.pace.talked_early = true;
            self.ask(now, Event::EarlyTalker, Asked::EarlyTalker);
        }
    }

    // --- answers that count later

    pub(super) fn answer_later(&mut self, now: Instant, delay: Duration, told: Told) {
        let delay = delay.min(LONGEST_PAUSE);
        match (&self.asked, told) {
            (None, _) => {}
            (Some(Asked::Connected), Told::Accept) => {
                self.asked = None;
                self.on_connected(now, Answered::Yes(None), delay);
            }
            (Some(Asked::Connected), Told::Reply(reply)) if reply.is_positive() => {
                self.asked = None;
                self.on_connected(now, Answered::Yes(Some(reply)), delay);
            }
            (Some(_), told) => self.pace.later = Some((now + delay, told)),
        }
    }

    // --- refusals that are late

    /// What is sent from here on is sent late.
    pub(super) fn slow_down(&mut self, delay: Duration) {
        if self.pace.pause.is_none() && !delay.is_zero() {
            self.queue(Queued::Pause);
            self.pace.pause = Some(delay.min(LONGEST_PAUSE));
        }
    }

    pub(super) fn slow_down_errors(&mut self) {
        if let Some(tarpit) = self.config.tarpit
            && self.errors >= tarpit.after_errors
        {
            self.slow_down(tarpit.delay);
        }
    }

    pub(super) fn slow_down_recipients(&mut self) {
        if let Some(tarpit) = self.config.tarpit
            && tarpit.refused_recipients
        {
            self.slow_down(tarpit.delay);
        }
    }

    /// A pause begins when it is known what time it is. It is no delay of the client's.
    pub(super) fn begin_pause(&mut self, now: Instant) {
        if let (Some(delay), None) = (self.pace.pause, self.pace.held_until) {
            self.pace.held_until = Some(now + delay);
            self.deadline = self.deadline.map(|deadline| deadline + delay);
        }
    }

    fn end_pause(&mut self) {
        self.pace.pause = None;
        self.pace.held_until = None;
        self.outbox.retain(|queued| !matches!(queued, Queued::Pause));
    }

    // --- time

    /// Whether the time was one of these waits, over or not.
    pub(super) fn on_paced(&mut self, now: Instant) -> bool {
        if let Some(until) = self.pace.held_until {
            if until <= now {
                self.end_pause();
                self.settle(now);
            }
            return true;
        }
        if let Some((at, told)) = self.pace.later.take() {
            if at <= now {
                wire::Session::handle_told(self, now, told);
            } else {
                self.pace.later = Some((at, told));
            }
            return true;
        }
        if self.asked.is_none()
            && self.deadline.is_some_and(|deadline| deadline <= now)
            && let Phase::Greeting(greeting) = &self.phase
        {
            let greeting = greeting.clone();
            self.greet(now, &greeting);
            self.settle(now);
            return true;
        }
        false
    }

    /// Nothing is put off any more.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.end_pause();
        if let Some((_, told)) = self.pace.later.take() {
            wire::Session::handle_told(self, now, told);
        }
        if self.asked.is_none() && matches!(self.phase, Phase::Greeting(_)) {
            self.goodbye("4.3.2 the service is stopping", Closed::Shutdown);
        }
    }

    pub(super) fn forget_answers(&mut self) {
        self.pace.later = None;
    }
}
