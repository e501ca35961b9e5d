//! The moment when a message is taken: its local recipients' mailboxes, its rows in the queue and its story become
//! durable in one transaction (rule 6).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use address::{ForwardPath, Mailbox, ReversePath};
use bytes::Bytes;
use digest::Digest;
use directory::{LoggedIn, Target};
use jiff::{SignedDuration, Timestamp};
use queue::envelope::{DeliverBy, DeliverByMode, Envelope, RecipientEnvelope, RequireTls};
use queue::scheduler::Row;
use smtp::{BodyType, ByMode, Hold, MailParameters, RcptParameters};
use store::{Delivery, NewBody, NewContent, NewSpool, NewSpoolRecipient, Recipient, TraceEntry, TraceKey, ZonedTime};
use trace::Step;

use crate::entrance::Entrance;

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

/// A message that is complete and may pass.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) queue_id: String,
    pub(crate) sender: ReversePath,
    pub(crate) parameters: MailParameters,
    pub(crate) recipients: Vec<Addressee>,
    pub(crate) source: Source,
    /// `TLS-Required: no` (RFC 8689 §5).
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

impl Entrance {
    /// Takes a message: once this answers, it is durable.
    pub(crate) async fn take(&self, arrival: Arrival) -> Result<(), NotTaken> {
        let whole = arrival.whole.clone();
        let facts = tokio::task::spawn_blocking(move || {
            (Digest::of(&whole).encode(), digest::thread(&whole), !whole.is_ascii())
        });
        let (digest, thread, eight_bit) = facts.await.map_err(|_| NotTaken::Unreadable)?;
        let now = Timestamp::now();
        let (local, mut steps) = local(&arrival);
        let spool = spool(&arrival, eight_bit, now);
        if let Some(spool) = &spool {
            steps.extend(spool.recipients.iter().zip(0..).map(|(recipient, number)| {
                let original = RecipientEnvelope::decode(&recipient.parameters).ok().and_then(|facts| facts.original);
                (Some(number), Step::Queued { recipient: recipient.address.clone(), original })
            }));
        }
        let rows = spool.as_ref().map(rows).unwrap_or_default();
        let (count, queued) = (local.len(), rows.values().map(Vec::len).sum::<usize>());
        let judged = arrival.judged.iter().cloned().map(|step| (None, step));
        let delivery = Delivery {
            trace: story(&arrival, std::iter::once((None, accepted(&arrival))).chain(judged).chain(steps), now),
            content: NewContent { head: arrival.head, body: arrival.body, digest: digest.into(), thread },
            received: arrival.received,
            recipients: local,
            spool,
        };
        // Nobody is left, in LMTP: each recipient has had its refusal.
        if count + queued > 0 {
            self.store.deliver(delivery).await.map_err(NotTaken::Store)?;
        }
        metrics::counter!("messages_received_total").increment(1);
        let (id, sender) = (arrival.queue_id.as_str(), arrival.sender.to_string());
        tracing::info!(id, sender, recipients = count, queued, "accepted");
        if let Some(outgoing) = &self.outgoing {
            for (destination, rows) in rows {
                outgoing.tell(&destination, rows);
            }
        }
        Ok(())
    }

    /// Keeps the story of a message that was received and not taken.
    pub(crate) async fn refused(&self, arrival: &Arrival) {
        let steps = arrival.judged.iter().cloned().map(|step| (None, step));
        let story = story(arrival, steps, Timestamp::now());
        if let Err(error) = self.store.trace(story).await {
            tracing::debug!(id = arrival.queue_id, %error, "the story of a refused message is not kept");
        }
    }
}

/// The accounts behind the recipients, each once, with the fields that are theirs alone (rule 15).
fn local(arrival: &Arrival) -> (Vec<Recipient>, Vec<(Option<u32>, Step)>) {
    let (mut to, mut steps, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for addressee in &arrival.recipients {
        let fresh: Vec<Target> =
            addressee.accounts.iter().filter(|target| seen.insert(target.account.id)).cloned().collect();
        to.extend(directory::recipients(&arrival.sender, &addressee.path, &fresh));
        steps.extend(fresh.iter().map(|target| {
            let (recipient, account) = (bare(&addressee.path), target.account.address.clone());
            (None, Step::Stored { recipient, account, mailbox: "INBOX".into() })
        }));
    }
    (to, steps)
}

/// The rows of the queue, each address once.
fn spool(arrival: &Arrival, eight_bit: bool, now: Timestamp) -> Option<NewSpool> {
    let envelope = envelope(arrival, eight_bit, now);
    let due = envelope.hold_until.unwrap_or(now).as_millisecond();
    let mut seen = BTreeSet::new();
    let mut recipients = Vec::new();
    for addressee in &arrival.recipients {
        for onward in addressee.onward.iter().filter(|onward| seen.insert(onward.to.key())) {
            let facts = RecipientEnvelope {
                rcpt: addressee.parameters.to_string(),
                original: onward.via.as_ref().map(|_| bare(&addressee.path)),
                delay_told: false,
            };
            recipients.push(NewSpoolRecipient {
                address: onward.to.to_string(),
                destination: directory::destination(&onward.to),
                parameters: facts.encode(),
                due,
            });
        }
    }
    let sender = arrival.sender.mailbox().map(ToString::to_string).unwrap_or_default();
    let parameters = envelope.encode();
    (!recipients.is_empty()).then(|| NewSpool { queue_id: arrival.queue_id.clone(), sender, parameters, recipients })
}

/// What the queue is to know of the envelope.
fn envelope(arrival: &Arrival, eight_bit: bool, now: Timestamp) -> Envelope {
    let told = &arrival.parameters;
    let mut mail = told.clone();
    (mail.size, mail.auth, mail.hold) = (None, None, None);
    if eight_bit && mail.body.is_none_or(|body| body == BodyType::SevenBit) {
        mail.body = Some(BodyType::EightBitMime);
    }
    let seconds = |seconds: i64| now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    let hold_until = told.hold.map(|hold| match hold {
        Hold::For(count) => seconds(i64::from(count)),
        Hold::Until(time) => {
            let unix = i64::try_from(time.unix()).unwrap_or(i64::MAX);
            Timestamp::from_second(unix).unwrap_or(Timestamp::MAX)
        }
    });
    Envelope {
        mail: mail.to_string(),
        require_tls: match (told.require_tls, arrival.tls_optional) {
            (true, _) => RequireTls::Yes,
            (false, true) => RequireTls::Ignore,
            (false, false) => RequireTls::No,
        },
        priority: told.priority.map_or(0, smtp::Priority::value),
        deliver_by: told.deliver_by.map(|by| DeliverBy {
            by: seconds(i64::from(by.seconds())),
            mode: match by.mode() {
                ByMode::Return => DeliverByMode::Return,
                ByMode::Notify => DeliverByMode::Notify,
            },
            trace: by.trace(),
        }),
        hold_until,
        account: arrival.source.account.as_ref().map(|account| account.account.0),
        // Where there is a client and no account, it is a stranger, who gets no reports unless the policy says so.
        client: arrival.source.client.clone().filter(|_| !arrival.source.trusted),
        bounce: false,
    }
}

/// The rows as whoever runs the queue wants them, by destination.
fn rows(spool: &NewSpool) -> BTreeMap<String, Vec<Row>> {
    let envelope = Envelope::decode(&spool.parameters).unwrap_or_default();
    let queue_id: Arc<str> = spool.queue_id.as_str().into();
    let source: Arc<str> = envelope.account.map(|account| account.to_string()).unwrap_or_default().into();
    let mut by_destination: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for (recipient, number) in spool.recipients.iter().zip(0..) {
        by_destination.entry(recipient.destination.clone()).or_default().push(Row {
            queue_id: Arc::clone(&queue_id),
            number,
            due: Timestamp::from_millisecond(recipient.due).unwrap_or_default(),
            priority: envelope.priority,
            attempts: 0,
            source: Arc::clone(&source),
        });
    }
    by_destination
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
    steps
        .into_iter()
        .map(|(recipient, step)| TraceEntry {
            queue_id: arrival.queue_id.clone(),
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
