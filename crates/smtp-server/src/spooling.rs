//! From accepted recipients elsewhere to the rows of the queue: one entry for each envelope sender that the message has
//! there (forwarding and lists change it).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use address::{Mailbox, ReversePath};
use jiff::{SignedDuration, Timestamp};
use queue::envelope::{DeliverBy, DeliverByMode, Envelope, RecipientEnvelope, RequireTls};
use queue::scheduler::Row;
use routing::rewrite::{Srs, verp};
use smtp::{BodyType, ByMode, Hold, MailParameters};
use store::{NewSpool, NewSpoolRecipient};
use trace::Step;

use crate::accept::{Arrival, Onward, bare};
use crate::entrance::Entrance;
use crate::message;
use crate::transaction::judged;

/// The entries of a message, and what is to be told of them.
#[derive(Debug, Default)]
pub(crate) struct Spooled {
    pub(crate) entries: Vec<NewSpool>,
    pub(crate) steps: Vec<Step>,
}

/// The envelope of an entry: its sender, and whether a list sends it as a message of its own.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Outer {
    sender: String,
    is_list: bool,
}

impl Entrance {
    /// The entries for all recipients elsewhere, each address once. The first has the queue id of the message.
    pub(crate) async fn spooled(&self, arrival: &Arrival, eight_bit: bool, now: Timestamp) -> store::Result<Spooled> {
        let mut spooled = Spooled::default();
        let mut seen = BTreeSet::new();
        let mut groups: Vec<(Outer, Vec<NewSpoolRecipient>)> = Vec::new();
        let whole = envelope(arrival, eight_bit, now);
        let due = whole.hold_until.unwrap_or(now).as_millisecond();
        for addressee in &arrival.recipients {
            for onward in &addressee.onward {
                if !seen.insert(onward.to.key()) {
                    continue;
                }
                let outer = self.outer(&arrival.sender, onward, now, &mut spooled.steps).await?;
                let facts = RecipientEnvelope {
                    // A list's mail is a message of its own (RFC 3461 §5.2.7.3).
                    rcpt: if outer.is_list { String::new() } else { addressee.parameters.to_string() },
                    original: onward.via.as_ref().map(|_| bare(&addressee.path)),
                    delay_told: false,
                };
                let row = NewSpoolRecipient {
                    address: onward.to.to_string(),
                    destination: directory::destination(&onward.to),
                    parameters: facts.encode(),
                    due,
                };
                match groups.iter_mut().find(|(known, _)| *known == outer) {
                    Some((_, rows)) => rows.push(row),
                    None => groups.push((outer, vec![row])),
                }
            }
        }
        for (Outer { sender, is_list }, recipients) in groups {
            let first = spooled.entries.is_empty();
            let queue_id = if first { arrival.queue_id.clone() } else { message::queue_id() };
            let mut own = whole.clone();
            if is_list {
                own.mail = mail_words(arrival, eight_bit, true);
                // The owner is ours, and is told of what fails.
                own.client = None;
            }
            spooled.entries.push(NewSpool { queue_id, sender, parameters: own.encode(), recipients });
        }
        Ok(spooled)
    }

    /// The envelope sender of a message on its way on.
    async fn outer(
        &self,
        sender: &ReversePath,
        onward: &Onward,
        now: Timestamp,
        steps: &mut Vec<Step>,
    ) -> store::Result<Outer> {
        let ReversePath::Mailbox(mailbox) = sender else {
            return Ok(Outer { sender: String::new(), is_list: false });
        };
        let kept = Outer { sender: mailbox.to_string(), is_list: false };
        let Some(via) = &onward.via else { return Ok(kept) };
        if let Some(owner) = &onward.owner {
            let owner = if self.forwarding.verp {
                verp(owner, '+', &onward.to).unwrap_or_else(|_| owner.clone())
            } else {
                owner.clone()
            };
            return Ok(Outer { sender: owner.to_string(), is_list: true });
        }
        let is_ours = match mailbox.domain() {
            Some(domain) => self.directory.is_local(domain.ascii()).await?,
            None => false,
        };
        let Some(domain) = via.domain().filter(|_| self.forwarding.srs && !is_ours) else { return Ok(kept) };
        match Srs::new(self.directory.secret().await?, domain.clone()).forward(mailbox, now) {
            Ok(rewritten) => Ok(Outer { sender: rewritten.to_string(), is_list: false }),
            Err(error) => {
                steps.push(judged("forward", "sender kept", format!("{error}, on the way to {}", onward.to)));
                Ok(kept)
            }
        }
    }

    /// Where mail to a sender that was rewritten here goes; `None` for an address like any other.
    pub(crate) async fn led_back(
        &self,
        recipient: &Mailbox,
    ) -> store::Result<Option<Result<Mailbox, routing::rewrite::SrsError>>> {
        let Some(domain) = recipient.domain() else { return Ok(None) };
        if !recipient.local.as_str().get(..3).is_some_and(|tag| tag.eq_ignore_ascii_case("SRS"))
            || !self.directory.is_local(domain.ascii()).await?
        {
            return Ok(None);
        }
        let srs = Srs::new(self.directory.secret().await?, domain.clone());
        Ok(srs.is_rewritten(recipient).then(|| srs.back(recipient, Timestamp::now())))
    }
}

/// The parameters of MAIL that go on.
fn mail_words(arrival: &Arrival, eight_bit: bool, is_list: bool) -> String {
    let mut mail = arrival.parameters.clone();
    (mail.size, mail.auth, mail.hold) = (None, None, None);
    if is_list {
        (mail.ret, mail.envid) = (None, None);
    }
    if eight_bit && mail.body.is_none_or(|body| body == BodyType::SevenBit) {
        mail.body = Some(BodyType::EightBitMime);
    }
    mail.to_string()
}

/// What the queue is to know of the envelope.
fn envelope(arrival: &Arrival, eight_bit: bool, now: Timestamp) -> Envelope {
    let told = &arrival.parameters;
    let hold_until = told.hold.map(|hold| match hold {
        Hold::For(count) => seconds_after(now, i64::from(count)),
        Hold::Until(time) => {
            let unix = i64::try_from(time.unix()).unwrap_or(i64::MAX);
            Timestamp::from_second(unix).unwrap_or(Timestamp::MAX)
        }
    });
    Envelope {
        mail: mail_words(arrival, eight_bit, false),
        require_tls: match (told.require_tls, arrival.tls_optional) {
            (true, _) => RequireTls::Yes,
            (false, true) => RequireTls::Ignore,
            (false, false) => RequireTls::No,
        },
        priority: told.priority.map_or(0, smtp::Priority::value),
        deliver_by: deadline(told, now),
        hold_until,
        account: arrival.source.account.as_ref().map(|account| account.account.0),
        // Where there is a client and no account, it is a stranger, who gets no reports unless the policy says so.
        client: arrival.source.client.clone().filter(|_| !arrival.source.trusted),
        bounce: false,
    }
}

/// The sender's deadline.
pub(crate) fn deadline(told: &MailParameters, now: Timestamp) -> Option<DeliverBy> {
    told.deliver_by.map(|by| DeliverBy {
        by: seconds_after(now, i64::from(by.seconds())),
        mode: match by.mode() {
            ByMode::Return => DeliverByMode::Return,
            ByMode::Notify => DeliverByMode::Notify,
        },
        trace: by.trace(),
    })
}

fn seconds_after(now: Timestamp, seconds: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

/// The rows of an entry as whoever runs the queue wants them, by destination.
pub(crate) fn rows(spool: &NewSpool) -> BTreeMap<String, Vec<Row>> {
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
