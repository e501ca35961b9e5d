//! Reports to senders: written, and put on their way like any other message (RFC 3461, rule 36).

use address::{ForwardPath, Mailbox, ReversePath};
use bytes::Bytes;
use digest::Digest;
use directory::Resolution;
use queue::dsn::{self, Action, DeliveryStatus, MailWishes, RecipientStatus, RecipientWishes, Report, Returned, Typed};
use queue::envelope::{Envelope, RecipientEnvelope};
use store::{Delivery, NewBody, NewContent, NewSpool, NewSpoolRecipient, TraceEntry, TraceKey, ZonedTime};
use trace::{Accepted, Step};

use crate::office::Office;
use crate::settle::entry;
use crate::verdict::Reason;
use crate::work::{Addressee, Work, moment};
use crate::world::World;

/// What is to be told of one recipient.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    pub(crate) addressee: &'a Addressee,
    pub(crate) wishes: RecipientWishes,
    pub(crate) action: Action,
    pub(crate) reason: Reason,
    pub(crate) host: Option<String>,
    pub(crate) until: Option<jiff::Timestamp>,
}

/// The reports that these items ask for, and the steps that tell of them.
pub(crate) async fn notices<W: World>(
    office: &Office<W>,
    work: &Work,
    items: Vec<Item<'_>>,
) -> (Vec<Delivery>, Vec<TraceEntry>) {
    let (mut deliveries, mut steps) = (Vec::new(), Vec::new());
    let mut actions: Vec<Action> = items.iter().map(|item| item.action).collect();
    actions.sort_unstable();
    actions.dedup();
    for action in actions {
        let of_action: Vec<&Item<'_>> = items.iter().filter(|item| item.action == action).collect();
        let report = report(office, work, action, &of_action).await;
        let step = Step::Reported {
            action: action.as_str().to_owned(),
            report: report.as_ref().map(|(queue_id, _)| queue_id.clone()),
            to: work.spool.sender.clone(),
        };
        let now = office.world.now();
        steps.extend(of_action.iter().map(|item| entry(work.queue_id(), Some(item.addressee.row.number), now, &step)));
        deliveries.extend(report.map(|(_, delivery)| delivery));
    }
    (deliveries, steps)
}

/// One report, on its way; none if its reader cannot be reached, or must not be (rule 36).
async fn report<W: World>(
    office: &Office<W>,
    work: &Work,
    action: Action,
    items: &[&Item<'_>],
) -> Option<(String, Delivery)> {
    let to = work.sender.mailbox()?;
    let is_known = work.envelope.account.is_some() || work.envelope.client.is_none();
    if !is_known && !office.settings.bounce_strangers {
        return None;
    }
    let now = office.world.now();
    let queue_id = trace::queue_id(now, office.world.random());
    let octets = write(office, work, action, items, &queue_id, now).await;
    address(office, to, queue_id, octets.into(), now).await
}

async fn write<W: World>(
    office: &Office<W>,
    work: &Work,
    action: Action,
    items: &[&Item<'_>],
    queue_id: &str,
    now: jiff::Timestamp,
) -> Vec<u8> {
    let hostname = &office.settings.hostname;
    let mail = MailWishes::of_wire(&work.envelope.mail);
    let status = DeliveryStatus {
        original_envelope_id: mail.envid.clone(),
        reporting_mta: Typed::dns(hostname),
        received_from_mta: work.envelope.client.as_deref().map(Typed::dns),
        arrival_date: Some(moment(work.spool.created)),
        deliver_by_date: work.envelope.deliver_by.map(|deadline| deadline.by),
        recipients: items.iter().map(|item| recipient(item, now)).collect(),
    };
    let whole = match work.octets(&office.store).await {
        Ok(octets) => octets.whole().await,
        Err(error) => Err(error),
    };
    // A report without the message is better than none.
    let whole = whole.unwrap_or_default();
    let returned = if whole.is_empty() {
        Returned::Nothing
    } else if dsn::returns_content(mail.ret, &[action], whole.len() as u64) {
        Returned::Whole(&whole)
    } else {
        Returned::Header(&whole[mime::header_range(&whole)])
    };
    let from = format!("mailer-daemon@{hostname}");
    let message_id = format!("<{queue_id}@{hostname}>");
    dsn::build(&Report {
        from: &from,
        to: &work.spool.sender,
        message_id: &message_id,
        date: now,
        queue_id: work.queue_id(),
        status: &status,
        returned,
        utf8: work.parameters.smtputf8,
    })
}

fn recipient(item: &Item<'_>, now: jiff::Timestamp) -> RecipientStatus {
    let reason = &item.reason;
    RecipientStatus {
        original_recipient: item
            .wishes
            .original
            .clone()
            .or_else(|| item.addressee.facts.original.as_deref().map(Typed::address)),
        final_recipient: Typed::address(&item.addressee.row.address),
        action: item.action,
        status: reason.status,
        // RFC 3464 §2.3.5: a mail system by its name; a program or a socket of this machine is none.
        remote_mta: item.host.as_deref().filter(|host| !host.starts_with('/')).map(Typed::dns),
        diagnostic_code: match (&reason.reply, &reason.words) {
            (Some(reply), _) => Some(Typed::smtp(&reply.transcript())),
            (None, Some(words)) => Some(Typed::own(words)),
            (None, None) => None,
        },
        last_attempt_date: Some(now),
        will_retry_until: item.until,
    }
}

/// A report on its way to an address: into a mailbox of ours, or into the queue.
async fn address<W: World>(
    office: &Office<W>,
    to: &Mailbox,
    queue_id: String,
    octets: Bytes,
    now: jiff::Timestamp,
) -> Option<(String, Delivery)> {
    let path = ForwardPath::Mailbox(to.clone());
    let mut recipients = Vec::new();
    let mut spool = Vec::new();
    let mut ways = Vec::new();
    match office.directory.resolve(&path).await {
        Resolution::Local(found) => {
            recipients = directory::recipients(&ReversePath::Null, &path, &found.accounts);
            ways.extend(found.accounts.iter().map(|target| Step::Stored {
                recipient: to.to_string(),
                account: target.account.address.clone(),
                mailbox: "INBOX".into(),
            }));
            if !found.elsewhere.is_empty() {
                let elsewhere = found.elsewhere.iter().map(|forward| forward.to.clone());
                spool.push(queued(&queue_id, elsewhere, Some(to), now));
            }
        }
        Resolution::NotLocal => spool.push(queued(&queue_id, std::iter::once(to.clone()), None, now)),
        Resolution::NoSuchUser | Resolution::Disabled => {
            tracing::info!(id = queue_id, to = to.to_string(), "a report has no reader, and is dropped");
            return None;
        }
        Resolution::Unavailable(error) => {
            // The queue keeps it until the directory can tell.
            tracing::warn!(id = queue_id, %error, "the reader of a report cannot be looked up yet");
            spool.push(queued(&queue_id, std::iter::once(to.clone()), None, now));
        }
    }
    let message_id = format!("<{queue_id}@{}>", office.settings.hostname);
    let accepted = Accepted {
        recipients: 1,
        octets: octets.len() as u64,
        message_id: Some(message_id.clone()),
        by: "report".into(),
        ..Accepted::default()
    };
    let mut step = entry(&queue_id, None, now, &Step::Accepted(accepted));
    step.keys = vec![TraceKey::Address(trace::key(&to.to_string())), TraceKey::MessageId(trace::key(&message_id))];
    ways.extend(spool.iter().flat_map(|entry| &entry.recipients).map(|row| Step::Queued {
        recipient: row.address.clone(),
        original: (row.address != to.to_string()).then(|| to.to_string()),
    }));
    let steps = std::iter::once(step).chain(ways.iter().map(|way| entry(&queue_id, None, now, way)));
    let steps = steps.collect();
    let content = NewContent {
        head: Bytes::new(),
        digest: Digest::of(&octets).encode().into(),
        thread: digest::thread(&octets),
        body: NewBody::Memory(vec![octets]),
    };
    let received = ZonedTime { unix: now.as_second(), offset_minutes: 0 };
    Some((queue_id, Delivery { content, received, recipients, spool, trace: steps }))
}

fn queued(
    queue_id: &str,
    to: impl Iterator<Item = Mailbox>,
    original: Option<&Mailbox>,
    now: jiff::Timestamp,
) -> NewSpool {
    let facts = RecipientEnvelope::of_report(original);
    NewSpool {
        queue_id: queue_id.to_owned(),
        sender: String::new(),
        parameters: Envelope::of_report().encode(),
        recipients: to
            .map(|to| NewSpoolRecipient {
                destination: directory::destination(&to),
                address: to.to_string(),
                parameters: facts.encode(),
                due: now.as_millisecond(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use queue::envelope::{DeliverBy, DeliverByMode};
    use wire::EnhancedCode;

    use super::*;
    use crate::settle::{Facts, all, settle};
    use crate::trial::{self, SENDER, Trial};
    use crate::verdict::Verdict;

    #[tokio::test]
    async fn a_report_names_the_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let office = trial::office(&folder, Trial::new(SignedDuration::ZERO).0).await;
        let queue_id = trial::spool(&office, "hello").await;
        let mut work = Work::read(&office.store, &queue_id, &[0], office.world.now()).await.unwrap().unwrap();
        let by = Timestamp::from_second(office.world.now().as_second() - 60).unwrap();
        work.envelope.deliver_by = Some(DeliverBy { by, mode: DeliverByMode::Notify, trace: false });
        let later = Verdict::Deferred(Reason::ours(EnhancedCode::transient(4, 1), "no connection"));
        settle(&office, &work, all(&work, &later), &Facts::default()).await;
        let account = office.directory.find_account(SENDER).await.unwrap();
        let inbox = office.store.mailbox(account.id, "INBOX").await.unwrap();
        let found = office.store.whole_messages(inbox.id, vec![1..=u32::MAX], false, 2, 1 << 20).await.unwrap();
        let [(_, Some(report))] = &found[..] else { panic!("{found:?}") };
        let told = dsn::parse(report).unwrap();
        assert_eq!((told.recipients[0].action, told.deliver_by_date), (Action::Delayed, Some(by)));
        assert_eq!(told.recipients[0].status, EnhancedCode::transient(4, 7), "RFC 2852 §4.1.3");
    }
}
