//! The application of an SMTP session: who may send what to whom, and where it goes.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use address::{ForwardPath, Mailbox, ReversePath};
use bytes::Bytes;
use daemon::Bursts;
use digest::Digest;
use directory::{Directory, Found, LoggedIn, Login, Outcome, Resolution, Target};
use net::{Application, Network, Peer};
use sasl::Mechanism;
use smtp::Reply;
use smtp::server::{Event, Server, Told};
use store::{Delivery, FlagNames, NewContent, Recipient, Store};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::TlsFacts;

use crate::message::{self, Gathered, Trace};
use crate::replies;

/// What the applications of a listener share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) submission: bool,
    pub(crate) lmtp: bool,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) relay_networks: Vec<Network>,
    pub(crate) hide_client_address: bool,
    pub(crate) received_fields: usize,
    pub(crate) hostname: String,
    pub(crate) memory: Arc<Semaphore>,
    pub(crate) bursts: Arc<Bursts>,
}

/// The application of one session.
#[derive(Debug)]
pub struct SmtpApplication {
    shared: Arc<Shared>,
    peer: Peer,
    tls: Option<TlsFacts>,
    hello: String,
    login: Option<Login>,
    account: Option<LoggedIn>,
    transaction: Option<Box<Transaction>>,
}

#[derive(Debug)]
struct Transaction {
    sender: ReversePath,
    protocol: &'static str,
    queue_id: String,
    recipients: Vec<Accepted>,
    gathered: Gathered,
    /// The message's share of the memory of the process.
    memory: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Accepted {
    path: ForwardPath,
    targets: Vec<Target>,
}

impl SmtpApplication {
    pub(crate) fn new(shared: Arc<Shared>, peer: Peer) -> Self {
        Self { shared, peer, tls: None, hello: String::new(), login: None, account: None, transaction: None }
    }

    fn on_secured(&mut self, tls: TlsFacts) {
        // What was told before TLS is void (RFC 3207 §4.2).
        (self.login, self.account, self.transaction) = (None, None, None);
        self.tls = Some(tls);
    }

    fn outcome(&mut self, outcome: Outcome) -> Told {
        match outcome {
            Outcome::Challenge(octets) => Told::Challenge(octets),
            Outcome::Success(account) => {
                tracing::debug!(user = account.address, "logged in");
                metrics::counter!("logins_total", "protocol" => "smtp", "result" => "ok").increment(1);
                self.account = Some(account);
                self.login = None;
                Told::Accept
            }
            Outcome::Failure(failure, user) => {
                self.login = None;
                metrics::counter!("logins_total", "protocol" => "smtp", "result" => "failed").increment(1);
                let peer = self.peer.ip().map(|ip| ip.to_string()).unwrap_or_default();
                if let Some(held) = self.shared.bursts.admit(&format!("login {peer}"), Instant::now()) {
                    tracing::info!(peer, user, ?failure, more = held, "login failed");
                }
                Told::Reply(replies::login(failure))
            }
        }
    }

    async fn on_mail(&mut self, mail: smtp::server::Mail) -> Told {
        if let (Some(account), Some(sender)) = (&self.account, mail.reverse_path.mailbox()) {
            match self.shared.directory.sender_allowed(account.account, sender).await {
                Ok(true) => {}
                Ok(false) => return Told::Reply(Reply::new(550, "5.7.1 this address is not yours to send as")),
                Err(error) => return Told::Reply(replies::store(&error)),
            }
        }
        self.transaction = Some(Box::new(Transaction {
            sender: mail.reverse_path,
            protocol: mail.protocol,
            queue_id: message::queue_id(),
            recipients: Vec::new(),
            gathered: Gathered::default(),
            memory: None,
        }));
        Told::Accept
    }

    async fn on_recipient(&mut self, recipient: smtp::server::Recipient) -> Told {
        let path = recipient.forward_path;
        match self.targets(&path, 0).await {
            Ok(targets) => {
                let Some(transaction) = &mut self.transaction else { return out_of_sequence() };
                transaction.recipients.push(Accepted { path, targets });
                Told::Accept
            }
            Err(reply) => {
                let peer = self.peer.ip().map(|ip| ip.to_string()).unwrap_or_default();
                if let Some(held) = self.shared.bursts.admit(&format!("recipient {peer}"), Instant::now()) {
                    let recipient = path.to_string();
                    tracing::info!(peer, recipient, more = held, "recipient refused");
                }
                metrics::counter!("recipients_refused_total").increment(1);
                Told::Reply(reply)
            }
        }
    }

    /// The accounts behind a recipient that can take a message of so many octets now; or why not (rule 6).
    async fn targets(&self, path: &ForwardPath, octets: u64) -> Result<Vec<Target>, Reply> {
        let resolution = self.shared.directory.resolve(path).await;
        let Resolution::Local(Found { accounts: targets, .. }) = resolution else {
            let ours = self.shared.submission || self.may_relay();
            return Err(replies::recipient(&resolution, ours));
        };
        let full = |target: &Target| {
            let account = &target.account;
            account.quota_octets.is_some_and(|quota| account.used_octets + octets.max(1) > quota)
        };
        if targets.iter().any(full) {
            return Err(Reply::new(452, "4.2.2 mailbox full, try again later"));
        }
        Ok(targets)
    }

    /// Whether this client may send mail elsewhere without logging in; loopback alone is no reason (rule 12).
    fn may_relay(&self) -> bool {
        self.peer.ip().is_some_and(|ip| self.shared.relay_networks.iter().any(|network| network.contains(ip)))
    }

    async fn on_content(&mut self, piece: Bytes) -> Told {
        let Some(transaction) = &mut self.transaction else { return out_of_sequence() };
        if transaction.gathered.is_large() {
            let whole = transaction.gathered.contiguous();
            let (head, cut, received) = match self.judge(&whole).await {
                Ok(judged) => judged,
                Err(reply) => return Told::Reply(reply),
            };
            let Some(transaction) = &mut self.transaction else { return out_of_sequence() };
            let staged = match self.shared.store.stage(head.clone(), received).await {
                Ok(staged) => staged,
                Err(error) => return Told::Reply(replies::store(&error)),
            };
            if let Err(error) = transaction.gathered.move_to_disk(head, staged, &cut).await {
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

    /// Looks at the header: whether the message may pass, the fields it gets in front, and what is cut out of it.
    async fn judge(&self, octets: &Bytes) -> Result<(Bytes, Vec<Range<usize>>, store::ZonedTime), Reply> {
        let Some(transaction) = &self.transaction else {
            return Err(Reply::new(503, "5.5.1 MAIL comes first: no transaction"));
        };
        let facts = mime::header_facts(octets);
        if facts.received > self.shared.received_fields {
            return Err(Reply::new(554, "5.4.6 too many Received fields: the message is going in circles"));
        }
        if facts.spaced {
            return Err(Reply::new(550, "5.6.0 a header field has white space before its colon"));
        }
        let (date, received) = message::now();
        let recipient = match &transaction.recipients[..] {
            [only] => Some(only.path.to_string()),
            _ => None,
        };
        let client: Option<IpAddr> = if self.shared.hide_client_address { None } else { self.peer.ip() };
        let trace = Trace {
            hello: if self.shared.hide_client_address { "submission" } else { &self.hello },
            client,
            local: &self.shared.hostname,
            protocol: transaction.protocol,
            queue_id: &transaction.queue_id,
            tls: self.tls.as_ref().map(|tls| (tls.version.as_str(), tls.cipher.as_str())),
            recipient: recipient.as_deref(),
        };
        let mut head = message::received(&trace, &date);
        if self.shared.submission {
            self.judge_from(&facts.from).await?;
            // RFC 6409 §8
            if !facts.date {
                head.push_str(&format!("Date: {date}\r\n"));
            }
            if facts.message_id.is_none() {
                head.push_str(&format!("Message-ID: <{}@{}>\r\n", transaction.queue_id, self.shared.hostname));
            }
        }
        Ok((Bytes::from(head), facts.return_path, received))
    }

    /// rule 16: who is seen as the author must be the account, too.
    async fn judge_from(&self, values: &[Vec<u8>]) -> Result<(), Reply> {
        let Some(account) = &self.account else { return Err(Reply::new(530, "5.7.0 log in first")) };
        if values.is_empty() {
            return Err(Reply::new(550, "5.6.0 the message has no From field"));
        }
        for item in values.iter().flat_map(|value| mime::addresses(value)) {
            let (Some(local), Some(host)) = (item.mailbox, item.host) else { continue };
            let text = format!("{}@{}", String::from_utf8_lossy(&local), String::from_utf8_lossy(&host));
            let allowed = match Mailbox::parse(&text) {
                Ok(mailbox) => self.shared.directory.sender_allowed(account.account, &mailbox).await,
                Err(_) => Ok(false),
            };
            match allowed {
                Ok(true) => {}
                Ok(false) => return Err(Reply::new(550, "5.7.1 From names an address that is not yours to send as")),
                Err(error) => return Err(replies::store(&error)),
            }
        }
        Ok(())
    }

    async fn on_content_end(&mut self) -> Told {
        let Some(transaction) = &mut self.transaction else { return out_of_sequence() };
        // A large message was judged on its way to the disk.
        let judged = if transaction.gathered.is_on_disk() {
            Ok((Bytes::new(), Vec::new(), message::now().1))
        } else {
            let octets = transaction.gathered.contiguous();
            self.judge(&octets).await
        };
        let Some(transaction) = self.transaction.take() else { return out_of_sequence() };
        let (head, cut, received) = match judged {
            Ok(judged) => judged,
            Err(reply) => return Told::Reply(reply),
        };
        let Transaction { sender, queue_id, recipients, gathered, .. } = *transaction;
        let (head, body, whole) = match gathered.finish(head, &cut).await {
            Ok(parts) => parts,
            Err(error) => return Told::Reply(replies::store(&error)),
        };
        let octets = whole.len() as u64;
        let facts = tokio::task::spawn_blocking(move || (Digest::of(&whole).encode(), digest::thread(&whole)));
        let Ok((digest, thread)) = facts.await else {
            return Told::Reply(Reply::new(451, "4.3.0 the message could not be read, try again later"));
        };
        let (able, mut replies) =
            if self.shared.lmtp { self.still_able(recipients, octets).await } else { (recipients, Vec::new()) };
        let to: Vec<Recipient> = local_recipients(&sender, &able);
        let count = to.len();
        let content = NewContent { head, body, digest: digest.into(), thread };
        let delivery = Delivery { content, received, recipients: to, spool: None, trace: Vec::new() };
        let outcome = if count == 0 { Ok(Vec::new()) } else { self.shared.store.deliver(delivery).await };
        let reply = match outcome {
            Ok(_) => {
                metrics::counter!("messages_received_total").increment(1);
                let sender = sender.to_string();
                tracing::info!(id = queue_id, sender, recipients = count, "delivered");
                Reply::new(250, format!("2.0.0 queued as {queue_id}"))
            }
            Err(error) => {
                tracing::warn!(id = queue_id, %error, "not delivered");
                replies::store(&error)
            }
        };
        if !self.shared.lmtp {
            return Told::Reply(reply);
        }
        Told::Replies(replies.drain(..).map(|refusal| refusal.unwrap_or_else(|| reply.clone())).collect())
    }

    /// LMTP answers for each recipient (RFC 2033 §4.2): those who can take the message still, and for each of all its
    /// refusal, if there is one.
    async fn still_able(&self, recipients: Vec<Accepted>, octets: u64) -> (Vec<Accepted>, Vec<Option<Reply>>) {
        let (mut able, mut refusals) = (Vec::new(), Vec::new());
        for recipient in recipients {
            match self.targets(&recipient.path, octets).await {
                Ok(targets) => {
                    able.push(Accepted { targets, ..recipient });
                    refusals.push(None);
                }
                Err(reply) => refusals.push(Some(reply)),
            }
        }
        (able, refusals)
    }
}

fn out_of_sequence() -> Told {
    Told::Reply(Reply::new(503, "5.5.1 MAIL comes first: no transaction"))
}

/// The accounts behind the recipients, each once, with the fields that are theirs alone (rule 15).
fn local_recipients(sender: &ReversePath, recipients: &[Accepted]) -> Vec<Recipient> {
    let mut to: Vec<Recipient> = Vec::new();
    for recipient in recipients {
        for target in &recipient.targets {
            if to.iter().any(|known| known.account == target.account.id) {
                continue;
            }
            let path = recipient.path.to_string();
            let delivered_to = path.trim_start_matches('<').trim_end_matches('>');
            let prefix = format!("Return-Path: {sender}\r\nDelivered-To: {delivered_to}\r\n");
            to.push(Recipient {
                account: target.account.id,
                mailbox: None,
                prefix: prefix.into(),
                flags: FlagNames::default(),
            });
        }
    }
    to
}

impl Application for SmtpApplication {
    type Session = Server;

    async fn on_event(&mut self, event: Event) -> Option<Told> {
        Some(match event {
            Event::Connected | Event::EarlyTalker | Event::Verify(_) => Told::Accept,
            Event::Expand(_) => Told::Reply(Reply::new(502, "5.5.1 command not offered here")),
            Event::Client(_) => Told::Reply(Reply::new(550, "5.7.1 XCLIENT is not offered here")),
            Event::Secured(tls) => {
                self.on_secured(tls);
                return None;
            }
            Event::Hello(hello) => {
                self.hello = hello.name.to_string();
                self.transaction = None;
                Told::Accept
            }
            Event::Authenticate { mechanism, initial_response } => {
                let Some(mechanism) = Mechanism::from_name(mechanism.as_str()) else {
                    return Some(Told::Reply(Reply::new(504, "5.5.4 this mechanism is not offered")));
                };
                let binding = self.tls.as_ref().and_then(|tls| tls.exporter.clone());
                let mut login = Login::new(&self.shared.directory, mechanism, binding, self.peer.ip());
                let outcome = login.respond(initial_response).await;
                self.login = Some(login);
                self.outcome(outcome)
            }
            Event::AuthenticateResponse(response) => {
                let Some(login) = &mut self.login else { return Some(out_of_sequence()) };
                let outcome = login.respond(Some(response)).await;
                self.outcome(outcome)
            }
            Event::AuthenticateCancelled => {
                self.login = None;
                return None;
            }
            Event::Mail(mail) => self.on_mail(mail).await,
            Event::Recipient(recipient) => self.on_recipient(recipient).await,
            Event::Data(_) => {
                let kibibytes = u32::try_from(message::IN_MEMORY >> 10).unwrap_or(u32::MAX);
                let Some(transaction) = &mut self.transaction else { return Some(out_of_sequence()) };
                match Arc::clone(&self.shared.memory).try_acquire_many_owned(kibibytes) {
                    Ok(memory) => {
                        transaction.memory = Some(memory);
                        Told::Accept
                    }
                    Err(_) => Told::Reply(Reply::new(452, "4.3.1 too much mail at once, try again later")),
                }
            }
            Event::Content(piece) => self.on_content(piece).await,
            Event::ContentEnd { .. } => self.on_content_end().await,
            Event::Reset => {
                self.transaction = None;
                return None;
            }
            Event::Closed(reason) => {
                tracing::debug!(?reason, "session over");
                return None;
            }
        })
    }
}
