//! The content of a transaction: gathered, judged by its header, and taken.

use std::net::IpAddr;
use std::ops::Range;

use address::{ForwardPath, Mailbox, ReversePath};
use bytes::Bytes;
use smtp::Reply;
use smtp::server::Told;
use store::{NewBody, ZonedTime};
use trace::Step;

use crate::accept::{Addressee, Arrival, Manner};
use crate::application::{SmtpApplication, out_of_sequence};
use crate::message::{self, Trace};
use crate::policy::Kind;
use crate::replies;
use crate::screening::aborted;
use crate::transaction::{Transaction, has_room, judged};

/// What a header says that is needed later.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeaderWords {
    pub(crate) tls_optional: bool,
    /// Octets of our Received field, which filters do not see.
    pub(crate) received_octets: usize,
    pub(crate) message_id: Option<String>,
}

/// What a look at the header found.
struct Looked {
    /// The fields that it gets in front.
    head: Bytes,
    /// What is cut out of it.
    cut: Vec<Range<usize>>,
    received: ZonedTime,
    words: HeaderWords,
}

impl SmtpApplication {
    pub(crate) async fn on_content(&mut self, piece: Bytes) -> Told {
        let Some(transaction) = &mut self.transaction else { return out_of_sequence() };
        if transaction.gathered.is_large() {
            let whole = transaction.gathered.contiguous();
            let looked = match self.look(&whole).await {
                Ok(looked) => looked,
                Err(reply) => return self.refused(whole, reply).await,
            };
            let staged = match self.entrance().store.stage(looked.head.clone(), looked.received).await {
                Ok(staged) => staged,
                Err(error) => return Told::Reply(replies::store(&error)),
            };
            let Some(transaction) = &mut self.transaction else { return out_of_sequence() };
            transaction.words = looked.words;
            if let Err(error) = transaction.gathered.move_to_disk(looked.head, staged, &looked.cut).await {
                return Told::Reply(replies::store(&error));
            }
            transaction.memory = None;
        }
        let Some(transaction) = &mut self.transaction else { return out_of_sequence() };
        match transaction.gathered.write(piece).await {
            Ok(()) => Told::Accept,
            Err(error) => Told::Reply(replies::store(&error)),
        }
    }

    /// Looks at the header: whether the message may pass, and with which changes.
    async fn look(&self, octets: &Bytes) -> Result<Looked, Reply> {
        let Some(transaction) = &self.transaction else {
            return Err(Reply::new(503, "5.5.1 MAIL comes first: no transaction"));
        };
        let facts = mime::header_facts(octets);
        if facts.received > self.entrance().received_fields {
            return Err(Reply::new(554, "5.4.6 too many Received fields: the message is going in circles"));
        }
        if facts.spaced {
            return Err(Reply::new(550, "5.6.0 a header field has white space before its colon"));
        }
        let (date, received) = message::now();
        let mut head = message::received(&self.received(transaction), &date);
        let received_octets = head.len();
        let mut message_id = facts.message_id.map(|id| String::from_utf8_lossy(&id).into_owned());
        let mut cut = facts.return_path;
        if self.shared.submission {
            self.judge_from(&facts.from).await?;
            // RFC 6409 §8
            if !facts.date {
                head.push_str(&format!("Date: {date}\r\n"));
            }
            if message_id.is_none() {
                let made = format!("<{}@{}>", transaction.queue_id, self.entrance().hostname);
                head.push_str(&format!("Message-ID: {made}\r\n"));
                message_id = Some(made);
            }
            // rule 16: who is in Bcc is nobody's business, and the envelope has them.
            cut.extend(facts.bcc);
            cut.sort_by_key(|range| range.start);
        }
        let words = HeaderWords { tls_optional: facts.tls_optional, received_octets, message_id };
        Ok(Looked { head: Bytes::from(head), cut, received, words })
    }

    /// What Received says of a transaction.
    fn received<'a>(&'a self, transaction: &'a Transaction) -> Trace<'a> {
        let hidden = self.shared.hide_client_address;
        let client: Option<IpAddr> = if hidden { None } else { self.peer.ip() };
        let recipient = match &transaction.recipients[..] {
            [only] => Some(only.path.to_string()),
            _ => None,
        };
        Trace {
            hello: if hidden { "submission" } else { &self.hello },
            client,
            local: &self.entrance().hostname,
            protocol: transaction.protocol,
            queue_id: &transaction.queue_id,
            tls: self.tls.as_ref().map(|tls| (tls.version.as_str(), tls.cipher.as_str())),
            recipient,
        }
    }

    /// rule 16: who is seen as the author must be the account, too.
    async fn judge_from(&self, values: &[Vec<u8>]) -> Result<(), Reply> {
        let Some(account) = &self.account else { return Err(Reply::new(530, "5.7.0 log in first")) };
        if values.is_empty() {
            return Err(Reply::new(550, "5.6.0 the message has no From field"));
        }
        let mut authors = 0;
        for item in values.iter().flat_map(|value| mime::addresses(value)) {
            // The beginning or the end of a group is nobody (RFC 9051 §7.5.2).
            let (Some(local), Some(host)) = (item.mailbox, item.host) else { continue };
            authors += 1;
            let text = format!("{}@{}", String::from_utf8_lossy(&local), String::from_utf8_lossy(&host));
            let allowed = match Mailbox::parse(&text) {
                Ok(mailbox) => self.entrance().directory.sender_allowed(account.account, &mailbox).await,
                Err(_) => Ok(false),
            };
            match allowed {
                Ok(true) => {}
                Ok(false) => return Err(Reply::new(550, "5.7.1 From names an address that is not yours to send as")),
                Err(error) => return Err(replies::store(&error)),
            }
        }
        if authors == 0 {
            return Err(Reply::new(550, "5.6.0 the From field names no address"));
        }
        Ok(())
    }

    pub(crate) async fn on_content_end(&mut self) -> Told {
        let Some(transaction) = &mut self.transaction else { return out_of_sequence() };
        // A large message was looked at on its way to the disk.
        let looked = if transaction.gathered.is_on_disk() {
            let words = std::mem::take(&mut transaction.words);
            Looked { head: Bytes::new(), cut: Vec::new(), received: message::now().1, words }
        } else {
            let octets = transaction.gathered.contiguous();
            match self.look(&octets).await {
                Ok(looked) => looked,
                Err(reply) => return self.refused(octets, reply).await,
            }
        };
        let Some(transaction) = self.transaction.take() else { return out_of_sequence() };
        let Transaction { gathered, recipients, memory, .. } = *transaction;
        // A large message is in memory once more, to be looked at as a whole.
        let memory = match memory {
            Some(memory) => Some(memory),
            None => self.entrance().memory.take(gathered.octets()).await,
        };
        let Some(_memory) = memory else { return Told::Reply(replies::too_much_at_once()) };
        let (head, body, whole) = match gathered.finish(looked.head, &looked.cut).await {
            Ok(parts) => parts,
            Err(error) => return Told::Reply(replies::store(&error)),
        };
        let octets = whole.len() as u64;
        let null = transaction.sender == ReversePath::Null;
        let (recipients, mut refusals) =
            if self.shared.lmtp { self.still_able(recipients, octets, null).await } else { (recipients, Vec::new()) };
        let mut source = self.source();
        source.trusted = transaction.for_network || source.account.is_some();
        let mut arrival = Arrival {
            queue_id: transaction.queue_id,
            sender: transaction.sender,
            parameters: transaction.parameters,
            recipients,
            failed: Vec::new(),
            source,
            manner: Manner::Normal,
            tls_optional: looked.words.tls_optional,
            message_id: looked.words.message_id,
            judged: transaction.judged,
            head,
            body,
            whole,
            received: looked.received,
        };
        let mut taken = self.last_word(&mut arrival, octets, looked.words.received_octets).await;
        if self.shared.lmtp {
            taken = taken.and_then(|()| make_room(&mut arrival, &mut refusals));
        }
        let reply = match taken {
            Ok(()) => {
                let queue_id = arrival.queue_id.clone();
                match self.entrance().take(arrival).await {
                    Ok(()) => Reply::new(250, format!("2.0.0 queued as {queue_id}")),
                    Err(error) => {
                        tracing::warn!(id = queue_id, ?error, "not accepted");
                        error.reply()
                    }
                }
            }
            Err(reply) => {
                if !arrival
                    .judged
                    .iter()
                    .any(|step| matches!(step, Step::Judged { verdict, .. } if verdict == "reject"))
                {
                    arrival.judged.push(judged("content", "reject", format!("{} {}", reply.code(), reply.text())));
                }
                self.entrance().refused(&arrival).await;
                reply
            }
        };
        if !self.shared.lmtp {
            return Told::Reply(reply);
        }
        Told::Replies(refusals.into_iter().map(|(_, refusal)| refusal.unwrap_or_else(|| reply.clone())).collect())
    }

    /// What size, rates and filters have to say of the whole message.
    async fn last_word(&mut self, arrival: &mut Arrival, octets: u64, received_octets: usize) -> Result<(), Reply> {
        let own = self.account.as_ref().and_then(|account| Mailbox::parse(&account.address).ok());
        let concerned = arrival.recipients.iter().filter_map(|addressee| addressee.path.mailbox()).chain(&own);
        if let Some(reply) = concerned.filter_map(|mailbox| self.entrance().too_large(mailbox, octets)).next() {
            return Err(reply);
        }
        self.count(Kind::Octets, octets)?;
        let Some(filters) = &mut self.filters else { return Ok(()) };
        self.shared.entrance.filtered(filters, arrival, received_octets).await
    }

    /// A message that was received, and is not taken: its story says why.
    async fn refused(&mut self, whole: Bytes, reply: Reply) -> Told {
        let Some(transaction) = self.transaction.take() else { return Told::Reply(reply) };
        let mut steps = transaction.judged;
        steps.push(judged("content", "reject", format!("{} {}", reply.code(), reply.text())));
        let facts = mime::header_facts(&whole);
        let arrival = Arrival {
            queue_id: transaction.queue_id,
            sender: transaction.sender,
            parameters: transaction.parameters,
            recipients: transaction.recipients,
            failed: Vec::new(),
            manner: Manner::Normal,
            source: self.source(),
            tls_optional: false,
            message_id: facts.message_id.map(|id| String::from_utf8_lossy(&id).into_owned()),
            judged: steps,
            head: Bytes::new(),
            body: NewBody::Memory(Vec::new()),
            whole,
            received: ZonedTime::default(),
        };
        self.entrance().refused(&arrival).await;
        aborted(&mut self.filters).await;
        Told::Reply(reply)
    }

    /// LMTP answers for each recipient (RFC 2033 §4.2): those who can take the message still, and for each of all its
    /// refusal, if there is one.
    async fn still_able(
        &self,
        recipients: Vec<Addressee>,
        octets: u64,
        null: bool,
    ) -> (Vec<Addressee>, Vec<(ForwardPath, Option<Reply>)>) {
        let (mut able, mut refusals) = (Vec::new(), Vec::new());
        for recipient in recipients {
            let path = recipient.path.clone();
            match self.reach(&path, octets, null).await {
                Ok(reached) => {
                    able.push(Addressee { accounts: reached.accounts, onward: reached.onward, ..recipient });
                    refusals.push((path, None));
                }
                Err(reply) => refusals.push((path, Some(reply))),
            }
        }
        (able, refusals)
    }
}

/// Who has no room for the message as it will be stored, with what filters have added and with the fields of each
/// recipient, does not get it and is refused: in the store it would fail for all.
///
/// # Errors
/// It is somebody whom a filter has added: no reply is theirs alone, and so the client tries again for all.
fn make_room(arrival: &mut Arrival, refusals: &mut [(ForwardPath, Option<Reply>)]) -> Result<(), Reply> {
    let (sender, octets) = (&arrival.sender, arrival.whole.len() as u64);
    let fits = |addressee: &Addressee| {
        let copies = directory::recipients(sender, &addressee.path, &addressee.accounts);
        addressee.accounts.iter().zip(copies).all(|(target, copy)| has_room(target, octets + copy.prefix.len() as u64))
    };
    let (able, full): (Vec<Addressee>, Vec<Addressee>) =
        std::mem::take(&mut arrival.recipients).into_iter().partition(fits);
    arrival.recipients = able;
    for Addressee { path, .. } in &full {
        let mut own = refusals.iter_mut().filter(|(of, _)| of == path).peekable();
        if own.peek().is_none() {
            return Err(replies::mailbox_full());
        }
        for (_, refusal) in own {
            refusal.get_or_insert_with(replies::mailbox_full);
        }
    }
    Ok(())
}
