//! What `sendmail` was given, on its way in (rule 29).

use std::sync::Arc;

use address::ReversePath;
use bytes::Bytes;
use filter::Facts;
use jiff::Timestamp;
use queue::dsn::Action;
use smtp::Reply;
use store::{NewBody, Settlement, TraceEntry, TraceKey};
use trace::Step;

use crate::accept::{Addressee, Arrival, Manner, Source};
use crate::entrance::Entrance;
use crate::filtering::joined;
use crate::message;
use crate::pickup::{Accept, Refusal, Submission};
use crate::reports::{Told, status};
use crate::screening::{notes, rcpt, refusal};
use crate::transaction::judged;

/// Takes what programs of this machine send.
#[derive(Debug)]
pub(crate) struct Ingress(pub(crate) Arc<Entrance>);

impl Ingress {
    /// Whether this queue id was taken before: a crash may have kept the file.
    async fn is_known(&self, queue_id: &str) -> Result<bool, Refusal> {
        match self.0.store.trace_of(queue_id).await {
            Ok(steps) => Ok(!steps.is_empty()),
            Err(error) => Err(Refusal::Temporary(crate::replies::store(&error))),
        }
    }

    /// The message with the fields that it lacks: (head, body, Message-ID), its header looked at.
    fn complete(&self, submission: &Submission) -> Result<(String, Bytes, String, bool), Reply> {
        let facts = mime::header_facts(&submission.octets);
        if facts.received > self.0.received_fields {
            return Err(Reply::new(554, "5.4.6 too many Received fields: the message is going in circles"));
        }
        if facts.spaced {
            return Err(Reply::new(550, "5.6.0 a header field has white space before its colon"));
        }
        let hostname = &self.0.hostname;
        let (date, _) = message::now();
        let (id, uid) = (&submission.queue_id, submission.uid);
        let mut head = format!("Received: by {hostname} (from user {uid} of this host)\r\n\tid {id};\r\n\t{date}\r\n");
        if !facts.date {
            head.push_str(&format!("Date: {date}\r\n"));
        }
        let known = facts.message_id.map(|id| String::from_utf8_lossy(&id).into_owned());
        let message_id = known.unwrap_or_else(|| {
            let made = format!("<{id}@{hostname}>");
            head.push_str(&format!("Message-ID: {made}\r\n"));
            made
        });
        if facts.from.is_empty()
            && let Some(sender) = submission.sender.mailbox()
        {
            let name = submission.full_name.as_deref().map(quoted).unwrap_or_default();
            head.push_str(&format!("From: {name}<{sender}>\r\n"));
        }
        // rule 16: who is in Bcc is nobody's business.
        let mut cut = facts.return_path;
        cut.extend(facts.bcc);
        cut.sort_by_key(|range| range.start);
        let mut pieces = Vec::new();
        let mut from = 0;
        for range in &cut {
            pieces.push(&submission.octets[from..range.start.max(from)]);
            from = range.end;
        }
        pieces.push(&submission.octets[from..]);
        Ok((head, joined(&pieces), message_id, facts.tls_optional))
    }

    async fn arrival(&self, submission: Submission) -> Result<Arrival, Refusal> {
        let (head, body, message_id, tls_optional) = self.complete(&submission)?;
        let received_octets = head.find("\r\nDate").or(head.find("\r\nMessage-ID")).or(head.find("\r\nFrom"));
        let received_octets = received_octets.map_or(head.len(), |at| at + 2);
        let whole = joined(&[head.as_bytes(), &body]);
        let is_report = submission.sender == ReversePath::Null;
        let mut recipients = Vec::new();
        let mut failed = Vec::new();
        let mut last = None;
        for (path, parameters) in submission.recipients {
            match self.0.reach(&path, whole.len() as u64, is_report, None).await {
                Ok(reached) => {
                    let (accounts, onward) = (reached.accounts, reached.onward);
                    recipients.push(Addressee { path, parameters, accounts, onward });
                }
                Err(reply) if reply.is_permanent() => {
                    failed.push(status(&path, &parameters, Action::Failed, Some(&reply)));
                    last = Some(reply);
                }
                Err(reply) => return Err(Refusal::Temporary(reply)),
            }
        }
        if let (true, Some(reply)) = (recipients.is_empty(), last) {
            return Err(Refusal::Permanent(reply));
        }
        let mut judgements = Vec::new();
        if let Some(claimed) = &submission.claimed_sender {
            let why = format!("sent by user {}, who is not trusted to send as {claimed}", submission.uid);
            judgements.push(judged("sendmail", "sender changed", why));
        }
        let source = Source {
            by: "sendmail",
            hello: submission.login.clone().or_else(|| Some(format!("uid {}", submission.uid))),
            trusted: true,
            ..Source::default()
        };
        let mut arrival = Arrival {
            queue_id: submission.queue_id,
            sender: submission.sender,
            parameters: submission.parameters,
            recipients,
            failed,
            source,
            manner: Manner::Normal,
            tls_optional,
            message_id: Some(message_id),
            judged: judgements,
            head: Bytes::from(head),
            body: NewBody::Memory(vec![body]),
            whole,
            received: message::now().1,
        };
        self.screen(&mut arrival, received_octets).await?;
        Ok(arrival)
    }

    /// Filters see it as a message of this machine.
    async fn screen(&self, arrival: &mut Arrival, received_octets: usize) -> Result<(), Refusal> {
        let Some(filters) = self.0.filters("sendmail") else { return Ok(()) };
        let hostname = self.0.hostname.clone();
        let mut session =
            filters.session(Facts { hostname: hostname.clone(), listener: "sendmail".into(), ..Facts::default() });
        let mut verdict = refusal(session.connect().await);
        if verdict.is_none() {
            verdict = refusal(session.hello(&hostname).await);
        }
        if verdict.is_none() {
            let (sender, parameters) = (arrival.sender.clone(), arrival.parameters.clone());
            let mail = filter::Mail { sender, parameters, queue_id: arrival.queue_id.clone() };
            verdict = refusal(session.mail(mail).await);
        }
        for addressee in &arrival.recipients {
            if verdict.is_none() {
                verdict = refusal(session.recipient(&rcpt(&addressee.path, &addressee.parameters)).await);
            }
        }
        if verdict.is_none() {
            verdict = refusal(session.data().await);
        }
        if verdict.is_none() {
            verdict = self.0.filtered(&mut session, arrival, received_octets).await.err();
        } else {
            arrival.judged.extend(notes(session.take_notes()));
        }
        session.quit().await;
        verdict.map_or(Ok(()), |reply| Err(reply.into()))
    }
}

fn quoted(name: &str) -> String {
    let plain: String = name.chars().filter(|char| !char.is_control()).collect();
    let escaped = plain.replace('\\', "\\\\").replace('"', "\\\"");
    if plain.is_empty() { String::new() } else { format!("\"{escaped}\" ") }
}

impl Accept for Ingress {
    async fn accept(&self, submission: Submission) -> Result<(), Refusal> {
        if self.is_known(&submission.queue_id).await? {
            return Ok(());
        }
        let arrival = self.arrival(submission).await?;
        match self.0.take(arrival).await {
            Ok(()) => Ok(()),
            // It is taken already: by another process, or before the last step.
            Err(crate::accept::NotTaken::Store(store::Error::AlreadyExists(_))) => Ok(()),
            Err(error) => Err(error.reply().into()),
        }
    }

    async fn on_refused(&self, submission: Submission, reply: Reply) -> Result<(), Refusal> {
        if self.is_known(&submission.queue_id).await? {
            return Ok(());
        }
        let mut report = None;
        if let Some(to) = submission.sender.mailbox() {
            let failed = submission.recipients.iter();
            let told = Told {
                to,
                queue_id: &submission.queue_id,
                parameters: &submission.parameters,
                client: None,
                arrived: Timestamp::now(),
                whole: &submission.octets,
                recipients: failed
                    .map(|(path, parameters)| status(path, parameters, Action::Failed, Some(&reply)))
                    .collect(),
            };
            let made = self.0.report(told).await;
            report = made.map_err(|error| Refusal::Temporary(crate::replies::store(&error)))?;
        }
        let to = submission.sender.mailbox().map(ToString::to_string).unwrap_or_default();
        let keys = vec![TraceKey::Address(trace::key(&to))];
        let steps = [
            judged("sendmail", "reject", format!("{} {}", reply.code(), reply.text())),
            Step::Reported { action: "failed".into(), report: report.as_ref().map(|(id, _)| id.clone()), to },
        ];
        let mut keys = Some(keys);
        let trace = steps.iter().map(|step| TraceEntry {
            queue_id: submission.queue_id.clone(),
            at: Timestamp::now().as_millisecond(),
            recipient: None,
            kind: step.kind(),
            data: step.encode(),
            keys: keys.take().unwrap_or_default(),
        });
        let deliveries = report.map(|(_, delivery)| delivery).into_iter().collect();
        let settlement = Settlement { trace: trace.collect(), deliveries, ..Settlement::default() };
        match self.0.store.settle(settlement).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Refusal::Temporary(crate::replies::store(&error))),
        }
    }
}
