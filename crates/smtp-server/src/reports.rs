//! Reports that are due at the entrance: of what was delivered into a mailbox of ours, to who asked for it (RFC 3461
//! §4.1), and of what a program of this machine sent in vain. All others are the queue's.

use address::{ForwardPath, Mailbox, ReversePath};
use bytes::Bytes;
use digest::Digest;
use directory::Resolution;
use jiff::Timestamp;
use queue::dsn::{self, Action, DeliveryStatus, RecipientStatus, Report, Returned, Typed};
use queue::envelope::{Envelope, RecipientEnvelope};
use smtp::{EnhancedCode, MailParameters, RcptParameters};
use store::{Delivery, NewBody, NewContent, NewSpool, NewSpoolRecipient, TraceEntry, TraceKey, ZonedTime};
use trace::Step;

use crate::entrance::Entrance;
use crate::{message, spooling};

/// What is told, and to whom.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub(crate) to: &'a Mailbox,
    pub(crate) queue_id: &'a str,
    pub(crate) parameters: &'a MailParameters,
    pub(crate) client: Option<&'a str>,
    /// When the message came in: a deadline counts from then.
    pub(crate) arrived: Timestamp,
    /// The message; its header alone is returned unless RET=FULL asked for more, or it failed.
    pub(crate) whole: &'a Bytes,
    pub(crate) recipients: Vec<RecipientStatus>,
}

/// What became of a recipient.
pub(crate) fn status(
    path: &ForwardPath,
    parameters: &RcptParameters,
    action: Action,
    reply: Option<&smtp::Reply>,
) -> RecipientStatus {
    let said = reply.and_then(smtp::Reply::enhanced);
    RecipientStatus {
        original_recipient: parameters
            .orcpt
            .as_ref()
            .map(|original| Typed { kind: original.address_type().to_owned(), text: original.address() }),
        final_recipient: Typed::address(&crate::accept::bare(path)),
        action,
        status: said.unwrap_or_else(|| EnhancedCode::of_reply(reply.map_or(250, smtp::Reply::code))),
        remote_mta: None,
        diagnostic_code: reply.map(|reply| Typed::smtp(&reply.transcript())),
        last_attempt_date: Some(Timestamp::now()),
        will_retry_until: None,
    }
}

impl Entrance {
    /// A report on its way to an address: into a mailbox of ours, or into the queue; with its queue id. None if there is
    /// nobody of that name.
    pub(crate) async fn report(&self, told: Told<'_>) -> store::Result<Option<(String, Delivery)>> {
        let now = Timestamp::now();
        let queue_id = message::queue_id();
        let (mut recipients, mut spool, mut steps) = (Vec::new(), Vec::new(), Vec::new());
        let path = ForwardPath::Mailbox(told.to.clone());
        match self.directory.resolve(&path).await {
            Resolution::Local(found) => {
                recipients = directory::recipients(&ReversePath::Null, &path, &found.accounts);
                steps.extend(found.accounts.iter().map(|target| Step::Stored {
                    recipient: told.to.to_string(),
                    account: target.account.address.clone(),
                    mailbox: "INBOX".into(),
                }));
                let onward: Vec<Mailbox> = found.elsewhere.into_iter().map(|forward| forward.to).collect();
                if !onward.is_empty() {
                    spool.push(queued(&queue_id, &onward, Some(told.to), now));
                }
            }
            Resolution::NotLocal => spool.push(queued(&queue_id, std::slice::from_ref(told.to), None, now)),
            Resolution::NoSuchUser | Resolution::Disabled => return Ok(None),
            Resolution::Unavailable(error) => return Err(error),
        }
        let octets = Bytes::from(self.write(&told, &queue_id, now));
        let message_id = format!("<{queue_id}@{}>", self.hostname);
        steps.extend(spool.iter().flat_map(|entry: &NewSpool| &entry.recipients).map(|row| Step::Queued {
            recipient: row.address.clone(),
            original: (row.address != told.to.to_string()).then(|| told.to.to_string()),
        }));
        let accepted = Step::Accepted(trace::Accepted {
            recipients: 1,
            octets: octets.len() as u64,
            message_id: Some(message_id.clone()),
            by: "report".into(),
            ..trace::Accepted::default()
        });
        let entry = |step: &Step, keys| TraceEntry {
            queue_id: queue_id.clone(),
            at: now.as_millisecond(),
            recipient: None,
            kind: step.kind(),
            data: step.encode(),
            keys,
        };
        let keys =
            vec![TraceKey::Address(trace::key(&told.to.to_string())), TraceKey::MessageId(trace::key(&message_id))];
        let first = entry(&accepted, keys);
        let trace = std::iter::once(first).chain(steps.iter().map(|step| entry(step, Vec::new()))).collect();
        let content = NewContent {
            head: Bytes::new(),
            digest: Digest::of(&octets).encode().into(),
            thread: digest::thread(&octets),
            body: NewBody::Memory(vec![octets]),
        };
        let received = ZonedTime { unix: now.as_second(), offset_minutes: 0 };
        Ok(Some((queue_id, Delivery { content, received, recipients, spool, trace })))
    }

    fn write(&self, told: &Told<'_>, queue_id: &str, now: Timestamp) -> Vec<u8> {
        let actions: Vec<Action> = told.recipients.iter().map(|recipient| recipient.action).collect();
        let status = DeliveryStatus {
            original_envelope_id: told
                .parameters
                .envid
                .as_ref()
                .map(|envid| String::from_utf8_lossy(&envid.decode()).into_owned()),
            reporting_mta: Typed::dns(&self.hostname),
            received_from_mta: told.client.map(Typed::dns),
            arrival_date: Some(told.arrived),
            deliver_by_date: spooling::deadline(told.parameters, told.arrived).map(|deadline| deadline.by),
            recipients: told.recipients.clone(),
        };
        let whole = dsn::returns_content(told.parameters.ret, &actions, told.whole.len() as u64);
        let returned = if whole {
            Returned::Whole(told.whole)
        } else {
            Returned::Header(&told.whole[mime::header_range(told.whole)])
        };
        dsn::build(&Report {
            from: &format!("mailer-daemon@{}", self.hostname),
            to: &told.to.to_string(),
            message_id: &format!("<{queue_id}@{}>", self.hostname),
            date: now,
            queue_id: told.queue_id,
            status: &status,
            returned,
            utf8: told.parameters.smtputf8,
        })
    }
}

fn queued(queue_id: &str, to: &[Mailbox], original: Option<&Mailbox>, now: Timestamp) -> NewSpool {
    let facts = RecipientEnvelope::of_report(original);
    let recipients = to.iter().map(|to| NewSpoolRecipient {
        destination: directory::destination(to),
        address: to.to_string(),
        parameters: facts.encode(),
        due: now.as_millisecond(),
    });
    let (sender, parameters, recipients) = (String::new(), Envelope::of_report().encode(), recipients.collect());
    NewSpool { queue_id: queue_id.to_owned(), sender, parameters, recipients }
}
