//! What became of a message's recipients, written down in one transaction with all that follows from it, before anything
//! else is done: so that each is delivered, returned or reported once.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use queue::Expiry;
use queue::dsn::{self, Happened, RecipientWishes};
use queue::envelope::{AttemptKind, DeliverByMode, LastAttempt};
use queue::scheduler::{Fate, RecipientOutcome};
use smtp::Reply;
use store::{Delivery, NewBody, NewContent, Settlement, SpoolState, TraceEntry, ZonedTime};
use trace::{Attempt, Outcome, Step};
use wire::EnhancedCode;

use crate::notice::{Item, notices};
use crate::office::Office;
use crate::verdict::{Reason, Verdict};
use crate::work::{Addressee, Work};
use crate::world::World;

/// What is known of an attempt, for whoever asks later.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) host: Option<String>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) tls: Option<String>,
    pub(crate) policy: Option<String>,
    /// The other side offers DSN, and was told the sender's wishes.
    pub(crate) dsn: bool,
    /// The other side offers DELIVERBY.
    pub(crate) deliver_by: bool,
    /// What went wrong is the other side's as a whole, not this message's.
    pub(crate) busy: bool,
}

/// What is to be done with a recipient.
#[derive(Clone, Debug)]
pub(crate) enum Fating {
    /// An attempt was made, and ended so.
    Tried(Verdict),
    /// It is thrown away, because a rule says so.
    Discarded(String),
    /// Its domain is ours by now: it goes to mailboxes of ours.
    Local(LocalMail),
}

/// A queued message on its way to mailboxes of ours.
#[derive(Clone, Debug)]
pub(crate) struct LocalMail {
    pub(crate) octets: Bytes,
    pub(crate) digest: Bytes,
    pub(crate) thread: i64,
    pub(crate) received: ZonedTime,
    pub(crate) recipients: Vec<store::Recipient>,
}

impl LocalMail {
    fn delivery(&self) -> Delivery {
        Delivery {
            content: NewContent {
                head: Bytes::new(),
                body: NewBody::Memory(vec![self.octets.clone()]),
                digest: self.digest.clone(),
                thread: self.thread,
            },
            received: self.received,
            recipients: self.recipients.clone(),
            spool: Vec::new(),
            trace: Vec::new(),
        }
    }
}

/// Settles recipients of `work`, by their places; returns what the scheduler is to be told of them.
pub(crate) async fn settle<W: World>(
    office: &Office<W>,
    work: &Work,
    fatings: Vec<(usize, Fating)>,
    facts: &Facts,
) -> Vec<RecipientOutcome> {
    loop {
        let (settlement, outcomes) = draft(office, work, &fatings, facts).await;
        match office.store.settle(settlement).await {
            Ok(settled) if settled.done || settled.gone.len() >= fatings.len() => {
                let held = |number| settled.held.iter().any(|(_, held)| *held == number);
                let gone = |number| settled.gone.iter().any(|(_, gone)| *gone == number);
                return outcomes
                    .into_iter()
                    .map(|outcome| match outcome.number {
                        number if gone(number) => RecipientOutcome { fate: Fate::Gone, ..outcome },
                        number if held(number) => RecipientOutcome { fate: Fate::Held, ..outcome },
                        _ => outcome,
                    })
                    .collect();
            }
            Ok(settled) => {
                // An operator removed some of them meanwhile: the others are settled without them.
                let left = fatings
                    .iter()
                    .filter(|(at, _)| {
                        let number = work.recipients.get(*at).map(|addressee| addressee.row.number);
                        !settled.gone.iter().any(|(_, gone)| Some(*gone) == number)
                    })
                    .cloned()
                    .collect::<Vec<_>>();
                let gone =
                    settled.gone.iter().map(|(_, number)| RecipientOutcome { number: *number, fate: Fate::Gone });
                let mut outcomes: Vec<_> = gone.collect();
                outcomes.extend(Box::pin(settle(office, work, left, facts)).await);
                return outcomes;
            }
            Err(error) => {
                // What has happened cannot be forgotten: a delivery that is not written down would be made again.
                tracing::error!(id = work.queue_id(), %error, "an outcome cannot be stored; trying again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// How long to wait before an outcome is stored again.
const AGAIN: Duration = Duration::from_secs(1);

/// The settlement that these fates ask for.
async fn draft<W: World>(
    office: &Office<W>,
    work: &Work,
    fatings: &[(usize, Fating)],
    facts: &Facts,
) -> (Settlement, Vec<RecipientOutcome>) {
    let now = office.world.now();
    let mut draft = Draft { work, facts, now, settlement: Settlement::default(), items: Vec::new(), fates: Vec::new() };
    for (at, fating) in fatings {
        let Some(addressee) = work.recipients.get(*at) else { continue };
        match fating {
            Fating::Tried(Verdict::Delivered(reply)) => draft.delivered(addressee, reply),
            Fating::Tried(Verdict::Failed(reason)) => draft.failed(addressee, reason, None),
            Fating::Tried(Verdict::Deferred(reason)) => {
                let policy = office.settings.retry(&work.sender, addressee.path.mailbox());
                let case = work.case(addressee, addressee.row.attempts + 1, now);
                match policy.after(&case, reason.trouble, office.world.random()) {
                    queue::Verdict::Retry { at, tell_delay } => {
                        let until = case.accepted.checked_add(policy.expire).unwrap_or(now);
                        draft.deferred(addressee, reason, at, tell_delay.then_some(until));
                    }
                    queue::Verdict::Expired(expiry) => draft.failed(addressee, reason, Some(expiry)),
                }
            }
            Fating::Discarded(why) => {
                draft.step(addressee, &Step::Discarded { recipient: addressee.row.address.clone(), why: why.clone() });
                draft.done(addressee, Fate::Gone);
            }
            Fating::Local(mail) => {
                draft.settlement.deliveries.push(mail.delivery());
                draft.delivered(addressee, &Reply::new(250, "2.0.0 delivered here"));
            }
        }
    }
    let Draft { mut settlement, items, fates, .. } = draft;
    let (deliveries, steps) = notices(office, work, items).await;
    settlement.deliveries.extend(deliveries);
    settlement.trace.extend(steps);
    (settlement, fates)
}

struct Draft<'a> {
    work: &'a Work,
    facts: &'a Facts,
    now: Timestamp,
    settlement: Settlement,
    items: Vec<Item<'a>>,
    fates: Vec<RecipientOutcome>,
}

impl<'a> Draft<'a> {
    fn delivered(&mut self, addressee: &'a Addressee, reply: &Reply) {
        let attempt =
            Attempt { outcome: Outcome::Delivered, reply: Some(reply.to_string()), ..self.attempt(addressee) };
        self.step(addressee, &Step::Attempted(attempt));
        tracing::info!(
            id = self.work.queue_id(),
            recipient = addressee.row.address,
            host = self.facts.host,
            tls = self.facts.tls,
            reply = reply.to_string(),
            "delivered"
        );
        crate::metrics::delivered(
            self.facts.tls.is_some(),
            self.now.duration_since(self.work.began(addressee)).as_secs_f64(),
        );
        // RFC 2852 §4.1.4.2
        let deadline = self
            .work
            .envelope
            .deliver_by
            .is_some_and(|by| by.trace || (by.mode == DeliverByMode::Notify && !self.facts.deliver_by));
        let happened = Happened::Relayed { dsn: self.facts.dsn, deadline };
        let reason = Reason { status: EnhancedCode::success(0, 0), ..Reason::theirs(reply, None) };
        self.report(addressee, happened, &reason, None);
        self.done(addressee, Fate::Delivered);
    }

    fn failed(&mut self, addressee: &'a Addressee, reason: &Reason, expiry: Option<Expiry>) {
        let reason = match expiry {
            None => reason.clone(),
            // RFC 3463 §3.5
            Some(_) => Reason { status: EnhancedCode::permanent(4, 7), ..reason.clone() },
        };
        let attempt = Attempt {
            outcome: Outcome::Failed,
            reply: reason.reply.as_ref().map(ToString::to_string),
            trouble: match expiry {
                None => reason.words.clone(),
                Some(Expiry::Age) => Some(format!("given up after all this time: {}", reason.line())),
                Some(Expiry::DeliverBy) => Some(format!("the sender's deadline has passed: {}", reason.line())),
            },
            ..self.attempt(addressee)
        };
        self.step(addressee, &Step::Attempted(attempt));
        tracing::info!(
            id = self.work.queue_id(),
            recipient = addressee.row.address,
            host = self.facts.host,
            status = %reason.status,
            reason = reason.line(),
            "given up"
        );
        metrics::counter!("deliveries_total", "result" => "failed").increment(1);
        self.report(addressee, Happened::Failed, &reason, None);
        self.done(addressee, if expiry.is_some() { Fate::Gone } else { Fate::Refused });
    }

    /// `tell`: the sender is told that it is late, and until when it will be tried.
    fn deferred(&mut self, addressee: &'a Addressee, reason: &Reason, at: Timestamp, tell: Option<Timestamp>) {
        let attempt = Attempt {
            outcome: Outcome::Deferred,
            reply: reason.reply.as_ref().map(ToString::to_string),
            trouble: reason.words.clone(),
            next: Some(at.as_second()),
            ..self.attempt(addressee)
        };
        self.step(addressee, &Step::Attempted(attempt));
        tracing::info!(
            id = self.work.queue_id(),
            recipient = addressee.row.address,
            host = self.facts.host,
            status = %reason.status,
            reason = reason.line(),
            next = %at,
            "deferred"
        );
        metrics::counter!("deliveries_total", "result" => "deferred").increment(1);
        let mut row = addressee.row.clone();
        let mut facts = addressee.facts.clone();
        if let Some(until) = tell {
            facts.delay_told = true;
            let status = match self.work.envelope.deliver_by {
                // RFC 2852 §4.1.3
                Some(deadline) if deadline.by <= self.now => EnhancedCode::transient(4, 7),
                _ => reason.status,
            };
            self.report(addressee, Happened::Delayed, &Reason { status, ..reason.clone() }, Some(until));
        }
        row.parameters = facts.encode();
        row.attempts += 1;
        row.due = at.as_millisecond();
        row.state = SpoolState::Waiting;
        row.last = self.last(reason).encode();
        self.settlement.updated.push(row);
        self.fates
            .push(RecipientOutcome { number: addressee.row.number, fate: Fate::Retry { at, busy: self.facts.busy } });
    }

    fn last(&self, reason: &Reason) -> LastAttempt {
        LastAttempt {
            at: self.now,
            kind: match (&reason.reply, &self.facts.address) {
                (Some(_), _) => AttemptKind::Reply,
                (None, Some(_)) => AttemptKind::Closed,
                (None, None) if self.facts.host.is_some() => AttemptKind::Connect,
                (None, None) => AttemptKind::Route,
            },
            host: self.facts.host.clone(),
            address: self.facts.address,
            tls: self.facts.tls.clone(),
            stage: String::new(),
            code: reason.reply.as_ref().map(Reply::code),
            text: reason.reply.as_ref().map_or_else(|| reason.line(), |reply| reply.text().to_owned()),
        }
    }

    fn done(&mut self, addressee: &Addressee, fate: Fate) {
        let number = addressee.row.number;
        self.settlement.removed.push((self.work.queue_id().to_owned(), number));
        self.fates.push(RecipientOutcome { number, fate });
    }

    fn report(&mut self, addressee: &'a Addressee, happened: Happened, reason: &Reason, until: Option<Timestamp>) {
        let wishes = RecipientWishes::of_wire(&addressee.facts.rcpt);
        let sender = if self.work.envelope.bounce { "" } else { &self.work.spool.sender };
        let Some(action) = dsn::decide(sender, wishes.notify, happened) else {
            if matches!(happened, Happened::Failed) {
                let step = Step::Reported { action: "failed".into(), report: None, to: self.work.spool.sender.clone() };
                self.step(addressee, &step);
            }
            return;
        };
        self.items.push(Item {
            addressee,
            wishes,
            action,
            reason: reason.clone(),
            host: self.facts.host.clone(),
            until,
        });
    }

    fn attempt(&self, addressee: &Addressee) -> Attempt {
        Attempt {
            recipient: addressee.row.address.clone(),
            host: self.facts.host.clone(),
            address: self.facts.address.map(|address| address.to_string()),
            tls: self.facts.tls.clone(),
            policy: self.facts.policy.clone(),
            ..Attempt::default()
        }
    }

    fn step(&mut self, addressee: &Addressee, step: &Step) {
        self.settlement.trace.push(entry(self.work.queue_id(), Some(addressee.row.number), self.now, step));
    }
}

/// A step as the store keeps it.
pub(crate) fn entry(queue_id: &str, recipient: Option<u32>, at: Timestamp, step: &Step) -> TraceEntry {
    TraceEntry {
        queue_id: queue_id.to_owned(),
        at: at.as_millisecond(),
        recipient,
        kind: step.kind(),
        data: step.encode(),
        keys: Vec::new(),
    }
}

/// All recipients of a message share one verdict.
pub(crate) fn all(work: &Work, verdict: &Verdict) -> Vec<(usize, Fating)> {
    (0..work.recipients.len()).map(|at| (at, Fating::Tried(verdict.clone()))).collect()
}
