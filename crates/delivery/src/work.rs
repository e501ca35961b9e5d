//! What a session is to send: one message, as the store has it now, for some of its recipients.

use std::sync::Arc;

use address::{ForwardPath, Mailbox, ReversePath};
use bytes::Bytes;
use jiff::Timestamp;
use queue::Case;
use queue::envelope::{Envelope, RecipientEnvelope, RequireTls};
use queue::scheduler::{Fate, RecipientOutcome};
use routing::TlsWish;
use smtp::{Command, Leniency, MailParameters, RcptParameters};
use store::{Spool, SpoolBatch, SpoolRecipient, SpoolState, Store};

use crate::octets::Octets;

/// A message and those of its recipients that a session serves together.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) spool: Spool,
    /// Its octets, if they are few.
    octets: Option<Bytes>,
    pub(crate) envelope: Envelope,
    pub(crate) sender: ReversePath,
    pub(crate) parameters: MailParameters,
    pub(crate) recipients: Vec<Addressee>,
    /// When the queue gave it to a session.
    pub(crate) taken: Timestamp,
    /// What became of recipients that need no session.
    pub(crate) settled: Vec<RecipientOutcome>,
}

/// Octets of a message that are read together with what is known of it.
const SMALL: usize = 64 << 10;

/// A recipient.
#[derive(Clone, Debug)]
pub(crate) struct Addressee {
    pub(crate) row: SpoolRecipient,
    pub(crate) facts: RecipientEnvelope,
    pub(crate) path: ForwardPath,
    pub(crate) parameters: RcptParameters,
}

impl Work {
    /// Reads a batch as it is now. Recipients that are gone, held, or due later by now are settled already.
    pub(crate) async fn read(
        store: &Arc<dyn Store>,
        queue_id: &str,
        numbers: &[u32],
        now: Timestamp,
    ) -> store::Result<Result<Self, Vec<RecipientOutcome>>> {
        let gone = |fate| numbers.iter().map(|&number| RecipientOutcome { number, fate }).collect::<Vec<_>>();
        let Some(batch) = store.spool_batch(queue_id, numbers.to_vec(), SMALL).await? else {
            return Ok(Err(gone(Fate::Gone)));
        };
        let SpoolBatch { spool, recipients: rows, octets } = batch;
        let mut settled = Vec::new();
        let mut recipients = Vec::new();
        for &number in numbers {
            let fate = match rows.iter().find(|row| row.number == number) {
                None => Some(Fate::Gone),
                Some(row) if row.state == SpoolState::Held => Some(Fate::Held),
                Some(row) if row.due > now.as_millisecond() => Some(Fate::Retry { at: moment(row.due), busy: false }),
                Some(row) => match Addressee::new(row.clone()) {
                    Some(addressee) => {
                        recipients.push(addressee);
                        None
                    }
                    // A newer version wrote it: it waits for that one.
                    None => Some(Fate::Held),
                },
            };
            settled.extend(fate.map(|fate| RecipientOutcome { number, fate }));
        }
        if recipients.is_empty() {
            return Ok(Err(settled));
        }
        let Some((envelope, sender, parameters)) = envelope(&spool) else {
            tracing::error!(id = queue_id, "the envelope was written by another version: it stays in the queue");
            return Ok(Err(gone(Fate::Held)));
        };
        Ok(Ok(Self { spool, octets, envelope, sender, parameters, recipients, taken: now, settled }))
    }

    /// The message's octets.
    pub(crate) async fn octets(&self, store: &Arc<dyn Store>) -> store::Result<Octets> {
        match &self.octets {
            Some(octets) => Ok(Octets::memory(octets.clone())),
            None => Octets::stored(store, &self.spool).await,
        }
    }

    pub(crate) fn queue_id(&self) -> &str {
        &self.spool.queue_id
    }

    /// A recipient's case, so many attempts having been made.
    pub(crate) fn case(&self, addressee: &Addressee, attempts: u32, now: Timestamp) -> Case {
        Case {
            accepted: self.began(addressee),
            attempts,
            now,
            delay_told: addressee.facts.delay_told,
            deliver_by: self.envelope.deliver_by,
        }
    }

    /// When a recipient's time began.
    pub(crate) fn began(&self, addressee: &Addressee) -> Timestamp {
        let released = Some(addressee.row.released).filter(|at| *at > 0).map(moment);
        Case::begins(moment(self.spool.created), self.envelope.hold_until, released)
    }

    /// What the message wishes of TLS (RFC 8689).
    pub(crate) fn wish(&self) -> TlsWish {
        match self.envelope.require_tls {
            RequireTls::No => TlsWish::AsPublished,
            RequireTls::Yes => TlsWish::Required,
            RequireTls::Ignore => TlsWish::NotRequired,
        }
    }

    /// The first recipient's address; the bare postmaster has none.
    pub(crate) fn first_mailbox(&self) -> Option<&Mailbox> {
        self.recipients.first().and_then(|first| first.path.mailbox())
    }
}

impl Addressee {
    fn new(row: SpoolRecipient) -> Option<Self> {
        let facts = RecipientEnvelope::decode(&row.parameters).ok()?;
        let line = format!("RCPT TO:<{}>{}", row.address, facts.rcpt);
        let Ok(Command::Rcpt { forward_path: path, parameters }) =
            Command::parse(line.as_bytes(), &Leniency::default())
        else {
            return None;
        };
        Some(Self { row, facts, path, parameters })
    }
}

fn envelope(spool: &Spool) -> Option<(Envelope, ReversePath, MailParameters)> {
    let envelope = Envelope::decode(&spool.parameters).ok()?;
    let line = format!("MAIL FROM:<{}>{}", spool.sender, envelope.mail);
    match Command::parse(line.as_bytes(), &Leniency::default()) {
        Ok(Command::Mail { reverse_path: path, parameters }) => Some((envelope, path, parameters)),
        _ => None,
    }
}

/// A moment of the store's.
pub(crate) fn moment(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}
