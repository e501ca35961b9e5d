//! The moment when a message is taken: its local recipients' mailboxes, its rows in the queue and its story become
//! durable in one transaction (rule 6).

use std::collections::BTreeSet;

use address::{ForwardPath, Mailbox, ReversePath};
use bytes::Bytes;
use digest::Digest;
use directory::{LoggedIn, Target};
use jiff::Timestamp;
use queue::dsn::{Action, RecipientStatus};
use queue::envelope::RecipientEnvelope;
use smtp::{MailParameters, RcptParameters, Reply};
use store::{Delivery, NewBody, NewContent, NewSpool, Recipient, Settlement, TraceEntry, TraceKey, ZonedTime};
use trace::Step;

use crate::entrance::Entrance;
use crate::reports::{self, Told};
use crate::spooling;

/// A recipient that was accepted, and whom that means.
#[derive(Clone, Debug)]
pub(crate) struct Addressee {
    pub(crate) path: ForwardPath,
    pub(crate) parameters: RcptParameters,
    /// Accounts of ours.
    pub(crate) accounts: Vec<Target>,
    /// Addresses elsewhere.
    pub(crate) onward: Vec<Onward>,
}

/// An address elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Onward {
    pub(crate) to: Mailbox,
    /// The address of ours that leads there.
    pub(crate) via: Option<Mailbox>,
    /// The owner of the list that leads there.
    pub(crate) owner: Option<Mailbox>,
}

/// Where a message comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    /// The way in, as the trace names it.
    pub(crate) by: &'static str,
    pub(crate) client: Option<String>,
    pub(crate) hello: Option<String>,
    pub(crate) tls: Option<String>,
    pub(crate) account: Option<LoggedIn>,
    /// Whoever sends from there is known to us: reports of failure go to its senders (rule 36).
    pub(crate) trusted: bool,
}

/// How a message is taken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Manner {
    /// As usual.
    #[default]
    Normal,
    /// A filter wants a person to look at it: mailboxes of ours get it in Junk, and what would leave is held.
    Quarantine,
    /// All of it waits in the queue until it is released.
    Hold,
    /// Nobody gets it.
    Discard,
}

/// A message that is complete and may pass.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) queue_id: String,
    pub(crate) sender: ReversePath,
    pub(crate) parameters: MailParameters,
    pub(crate) recipients: Vec<Addressee>,
    /// Those that were named and could not be accepted any more, whose sender is to be told.
    pub(crate) failed: Vec<RecipientStatus>,
    pub(crate) source: Source,
    pub(crate) manner: Manner,
    /// `TLS-Required: no` (RFC 8689 §3).
    pub(crate) tls_optional: bool,
    pub(crate) message_id: Option<String>,
    /// What was thought of it on the way.
    pub(crate) judged: Vec<Step>,
    pub(crate) head: Bytes,
    pub(crate) body: NewBody,
    /// Head and body as one.
    pub(crate) whole: Bytes,
    pub(crate) received: ZonedTime,
}

/// Why a message was not taken.
#[derive(Debug)]
pub(crate) enum NotTaken {
    /// It could not be read.
    Unreadable,
    Store(store::Error),
}

impl From<store::Error> for NotTaken {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl NotTaken {
    /// What the client is told.
    pub(crate) fn reply(&self) -> Reply {
        match self {
            Self::Unreadable => Reply::new(451, "4.3.0 the message could not be read, try again later"),
            Self::Store(error) => crate::replies::store(error),
        }
    }
}

impl Entrance {
    /// Takes a message: once this answers, it is durable.
    pub(crate) async fn take(&self, mut arrival: Arrival) -> Result<(), NotTaken> {
        let whole = arrival.whole.clone();
        let facts = tokio::task::spawn_blocking(move || {
            (Digest::of(&whole).encode(), digest::thread(&whole), !whole.is_ascii())
        });
        let (digest, thread, eight_bit) = facts.await.map_err(|_| NotTaken::Unreadable)?;
        let now = Timestamp::now();
        if arrival.manner == Manner::Discard {
            let discarded = |addressee: &Addressee| (None, discarded(&addressee.path));
            let steps: Vec<_> = arrival.recipients.iter().map(discarded).collect();
            return Ok(self.store.trace(full_story(&arrival, steps, now)).await?);
        }
        if arrival.manner == Manner::Hold {
            hold_local(&mut arrival);
        }
        let (local, mut steps) = local(&arrival);
        let spooled = self.spooled(&arrival, eight_bit, now).await?;
        steps.extend(spooled.steps.into_iter().map(|step| (None, step)));
        steps.extend(queued(&arrival, &spooled.entries));
        let (reports, told) = self.reports(&arrival, now).await?;
        steps.extend(told.into_iter().map(|step| (None, step)));
        let mut trace = full_story(&arrival, steps, now);
        trace.extend(elsewhere(&arrival, &spooled.entries, now));
        let (count, entries) = (local.len(), spooled.entries.clone());
        let delivery = Delivery {
            trace,
            content: NewContent { head: arrival.head, body: arrival.body, digest: digest.into(), thread },
            received: arrival.received,
            recipients: local,
            spool: spooled.entries,
        };
        let on_hold: Vec<String> = if arrival.manner == Manner::Normal {
            Vec::new()
        } else {
            entries.iter().map(|entry| entry.queue_id.clone()).collect()
        };
        // In LMTP nobody may be left: each recipient has had its refusal.
        if !reports.is_empty() || !on_hold.is_empty() {
            let deliveries = std::iter::once(delivery).chain(reports).collect();
            self.store.settle(Settlement { deliveries, on_hold, ..Settlement::default() }).await?;
        } else if count > 0 || !entries.is_empty() {
            self.store.deliver(delivery).await?;
        }
        metrics::counter!("messages_received_total").increment(1);
        let queued: usize = entries.iter().map(|entry| entry.recipients.len()).sum();
        let (id, sender) = (arrival.queue_id.as_str(), arrival.sender.to_string());
        tracing::info!(id, sender, recipients = count, queued, "accepted");
        if let Some(outgoing) = self.outgoing.as_ref().filter(|_| arrival.manner == Manner::Normal) {
            for (destination, rows) in entries.iter().flat_map(spooling::rows) {
                outgoing.tell(&destination, rows);
            }
        }
        Ok(())
    }

    /// Keeps the story of a message that was received and not taken.
    pub(crate) async fn refused(&self, arrival: &Arrival) {
        let steps = std::iter::once(&envelope(arrival))
            .chain(&arrival.judged)
            .cloned()
            .map(|step| (None, step))
            .collect::<Vec<_>>();
        let story = story(arrival, steps, Timestamp::now());
        if let Err(error) = self.store.trace(story).await {
            tracing::debug!(id = arrival.queue_id, %error, "the story of a refused message is not kept");
        }
    }

    /// The reports that are due at once, and the steps that tell of them.
    async fn reports(&self, arrival: &Arrival, now: Timestamp) -> store::Result<(Vec<Delivery>, Vec<Step>)> {
        let (mut deliveries, mut steps) = (Vec::new(), Vec::new());
        let ReversePath::Mailbox(to) = &arrival.sender else { return Ok((deliveries, steps)) };
        if !arrival.source.trusted && !self.tell_strangers {
            return Ok((deliveries, steps));
        }
        let asked = |addressee: &&Addressee| {
            arrival.manner == Manner::Normal
                && !addressee.accounts.is_empty()
                && addressee.parameters.notify.is_some_and(|notify| notify.success)
        };
        let delivered = arrival.recipients.iter().filter(asked).map(|addressee| {
            let reply = Reply::new(250, "2.1.5 delivered to the mailbox");
            reports::status(&addressee.path, &addressee.parameters, Action::Delivered, Some(&reply))
        });
        for (action, recipients) in
            [(Action::Delivered, delivered.collect::<Vec<_>>()), (Action::Failed, arrival.failed.clone())]
        {
            if recipients.is_empty() {
                continue;
            }
            let told = Told {
                to,
                queue_id: &arrival.queue_id,
                parameters: &arrival.parameters,
                client: arrival.source.client.as_deref(),
                arrived: now,
                whole: &arrival.whole,
                recipients,
            };
            let report = self.report(told).await?;
            steps.push(Step::Reported {
                action: action.as_str().to_owned(),
                report: report.as_ref().map(|(queue_id, _)| queue_id.clone()),
                to: to.to_string(),
            });
            deliveries.extend(report.map(|(_, delivery)| delivery));
        }
        Ok((deliveries, steps))
    }
}

fn discarded(path: &ForwardPath) -> Step {
    Step::Discarded { recipient: bare(path), why: "a filter wants nobody to get it".into() }
}

/// Mail for accounts of ours waits in the queue, too, under their addresses.
fn hold_local(arrival: &mut Arrival) {
    for addressee in &mut arrival.recipients {
        for target in std::mem::take(&mut addressee.accounts) {
            if let Ok(to) = Mailbox::parse(&target.account.address) {
                addressee.onward.push(Onward { to, via: None, owner: None });
            }
        }
    }
}

/// The accounts behind the recipients, each once, with the fields that are theirs alone (rule 15).
fn local(arrival: &Arrival) -> (Vec<Recipient>, Vec<(Option<u32>, Step)>) {
    let (mut to, mut steps, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mailbox = (arrival.manner == Manner::Quarantine).then_some("Junk");
    for addressee in &arrival.recipients {
        let fresh: Vec<Target> =
            addressee.accounts.iter().filter(|target| seen.insert(target.account.id)).cloned().collect();
        let recipients = directory::recipients(&arrival.sender, &addressee.path, &fresh);
        to.extend(recipients.into_iter().map(|to| Recipient { mailbox: mailbox.map(str::to_owned), ..to }));
        steps.extend(fresh.iter().map(|target| {
            let (recipient, account) = (bare(&addressee.path), target.account.address.clone());
            (None, Step::Stored { recipient, account, mailbox: mailbox.unwrap_or("INBOX").into() })
        }));
    }
    (to, steps)
}

/// The steps of what waits in the queue under the message's own id, and where the rest is.
fn queued(arrival: &Arrival, entries: &[NewSpool]) -> Vec<(Option<u32>, Step)> {
    let mut steps = Vec::new();
    for entry in entries {
        if entry.queue_id == arrival.queue_id {
            steps.extend(entry_steps(entry));
        } else {
            let why = format!("on its way from {} as {}", entry.sender, entry.queue_id);
            steps.push((None, crate::transaction::judged("forward", "accept", why)));
        }
    }
    steps
}

fn entry_steps(entry: &NewSpool) -> impl Iterator<Item = (Option<u32>, Step)> {
    entry.recipients.iter().zip(0..).map(|(recipient, number)| {
        let original = RecipientEnvelope::decode(&recipient.parameters).ok().and_then(|facts| facts.original);
        (Some(number), Step::Queued { recipient: recipient.address.clone(), original })
    })
}

/// The stories of further entries, which begin here.
fn elsewhere(arrival: &Arrival, entries: &[NewSpool], now: Timestamp) -> Vec<TraceEntry> {
    let mut told = Vec::new();
    for entry in entries.iter().filter(|entry| entry.queue_id != arrival.queue_id) {
        let why = format!("from {} instead of {}, which came as {}", entry.sender, arrival.sender, arrival.queue_id);
        let first = (None, crate::transaction::judged("forward", "accept", why));
        let addresses = entry.recipients.iter().map(|recipient| &recipient.address).chain([&entry.sender]);
        let mut keys: Vec<TraceKey> = addresses.map(|address| TraceKey::Address(trace::key(address))).collect();
        keys.extend(arrival.message_id.iter().map(|id| TraceKey::MessageId(trace::key(id))));
        told.extend(entries_of(&entry.queue_id, std::iter::once(first).chain(entry_steps(entry)), keys, now));
    }
    told
}

/// Whose message it was that is not taken, and for whom.
fn envelope(arrival: &Arrival) -> Step {
    const SHOWN: usize = 3;
    let source = &arrival.source;
    let sender = arrival.sender.mailbox().map_or_else(|| "<>".to_owned(), ToString::to_string);
    let shown: Vec<String> = arrival.recipients.iter().take(SHOWN).map(|addressee| bare(&addressee.path)).collect();
    let mut why = format!("from {sender} to {}", shown.join(", "));
    if let Some(more @ 1..) = arrival.recipients.len().checked_sub(SHOWN) {
        why.push_str(&format!(" and {more} more"));
    }
    why.push_str(&format!(", by {}", source.by));
    if let Some(account) = &source.account {
        why.push_str(&format!(" (logged in as {})", account.address));
    }
    if let Some(client) = &source.client {
        why.push_str(&format!(" of {} [{client}]", source.hello.as_deref().unwrap_or_default()));
    }
    crate::transaction::judged("envelope", "fact", why)
}

/// What is known of a message that is taken.
fn accepted(arrival: &Arrival) -> Step {
    let source = &arrival.source;
    Step::Accepted(trace::Accepted {
        sender: arrival.sender.mailbox().map(ToString::to_string).unwrap_or_default(),
        recipients: u32::try_from(arrival.recipients.len()).unwrap_or(u32::MAX),
        octets: arrival.whole.len() as u64,
        message_id: arrival.message_id.clone(),
        by: source.by.into(),
        client: source.client.clone(),
        hello: source.hello.clone(),
        tls: source.tls.clone(),
        account: source.account.as_ref().map(|account| account.address.clone()),
    })
}

/// All that is to be told of a message when it is taken.
fn full_story(arrival: &Arrival, steps: Vec<(Option<u32>, Step)>, now: Timestamp) -> Vec<TraceEntry> {
    let judged = arrival.judged.iter().cloned().map(|step| (None, step));
    story(arrival, std::iter::once((None, accepted(arrival))).chain(judged).chain(steps), now)
}

/// Steps of a message, the first of which can be found by whom it concerns.
fn story(arrival: &Arrival, steps: impl IntoIterator<Item = (Option<u32>, Step)>, now: Timestamp) -> Vec<TraceEntry> {
    let mut keys = BTreeSet::new();
    keys.extend(arrival.sender.mailbox().map(|mailbox| trace::key(&mailbox.to_string())));
    for addressee in &arrival.recipients {
        keys.insert(trace::key(&bare(&addressee.path)));
        keys.extend(addressee.accounts.iter().map(|target| trace::key(&target.account.address)));
        keys.extend(addressee.onward.iter().map(|onward| trace::key(&onward.to.to_string())));
    }
    let mut keys: Vec<TraceKey> = keys.into_iter().map(TraceKey::Address).collect();
    keys.extend(arrival.message_id.iter().map(|id| TraceKey::MessageId(trace::key(id))));
    entries_of(&arrival.queue_id, steps, keys, now)
}

fn entries_of(
    queue_id: &str,
    steps: impl IntoIterator<Item = (Option<u32>, Step)>,
    keys: Vec<TraceKey>,
    now: Timestamp,
) -> Vec<TraceEntry> {
    let mut keys = keys;
    steps
        .into_iter()
        .map(|(recipient, step)| TraceEntry {
            queue_id: queue_id.to_owned(),
            at: now.as_millisecond(),
            recipient,
            kind: step.kind(),
            data: step.encode(),
            keys: std::mem::take(&mut keys),
        })
        .collect()
}

/// A path without its angle brackets.
pub(crate) fn bare(path: &ForwardPath) -> String {
    let text = path.to_string();
    text.trim_start_matches('<').trim_end_matches('>').to_owned()
}
