//! A transaction until its content: who sends, and to whom.

use address::{ForwardPath, Mailbox, ReversePath};
use daemon::Share;
use directory::{Found, Resolution, Target};
use smtp::server::Told;
use smtp::{MailParameters, RcptParameters, Reply};
use trace::Step;

use crate::accept::{Addressee, Onward, bare};
use crate::application::{SmtpApplication, out_of_sequence};
use crate::content::HeaderWords;
use crate::entrance::Entrance;
use crate::message::{self, Gathered};
use crate::policy::{Client, Kind, Reason, Relay};
use crate::replies;
use crate::screening::{rcpt, refusal};

/// What is known of the open transaction.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) sender: ReversePath,
    pub(crate) parameters: MailParameters,
    pub(crate) protocol: &'static str,
    pub(crate) queue_id: String,
    pub(crate) recipients: Vec<Addressee>,
    /// It is relayed for a network of ours.
    pub(crate) for_network: bool,
    /// What was thought of it so far.
    pub(crate) judged: Vec<Step>,
    pub(crate) gathered: Gathered,
    /// What its header says, once it was looked at.
    pub(crate) words: HeaderWords,
    /// The message's share of the memory of the process.
    pub(crate) memory: Option<Share>,
}

impl SmtpApplication {
    pub(crate) async fn on_mail(&mut self, mail: smtp::server::Mail) -> Told {
        if let (Some(account), Some(sender)) = (&self.account, mail.reverse_path.mailbox()) {
            match self.entrance().directory.sender_allowed(account.account, sender).await {
                Ok(true) => {}
                Ok(false) => return Told::Reply(Reply::new(550, "5.7.1 this address is not yours to send as")),
                Err(error) => return Told::Reply(replies::store(&error)),
            }
        }
        let octets = mail.parameters.size.unwrap_or(0);
        let own = self.account.as_ref().and_then(|account| Mailbox::parse(&account.address).ok());
        if let Some(reply) = own.and_then(|own| self.entrance().too_large(&own, octets)) {
            return Told::Reply(reply);
        }
        let wait = match self.count(Kind::Messages, 1) {
            Ok(wait) => wait,
            Err(reply) => return Told::Reply(reply),
        };
        let queue_id = message::queue_id();
        if let Some(filters) = &mut self.filters {
            let told = filter::Mail {
                sender: mail.reverse_path.clone(),
                parameters: mail.parameters.clone(),
                queue_id: queue_id.clone(),
            };
            if let Some(reply) = refusal(filters.mail(told).await) {
                filters.take_notes();
                return Told::Reply(reply);
            }
        }
        self.transaction = Some(Box::new(Transaction {
            sender: mail.reverse_path,
            parameters: mail.parameters,
            protocol: mail.protocol,
            queue_id,
            recipients: Vec::new(),
            for_network: false,
            judged: self.facts(),
            gathered: Gathered::default(),
            words: HeaderWords::default(),
            memory: None,
        }));
        if wait.is_zero() { Told::Accept } else { Told::After(wait, Box::new(Told::Accept)) }
    }

    pub(crate) async fn on_recipient(&mut self, recipient: smtp::server::Recipient) -> Told {
        let path = recipient.forward_path;
        let wait = match self.count(Kind::Recipients, 1) {
            Ok(wait) => wait,
            Err(reply) => return Told::Reply(reply),
        };
        let told = self.judge_recipient(path, recipient.parameters).await;
        if wait.is_zero() { told } else { Told::After(wait, Box::new(told)) }
    }

    async fn judge_recipient(&mut self, path: ForwardPath, parameters: RcptParameters) -> Told {
        let size = self.transaction.as_ref().and_then(|transaction| transaction.parameters.size).unwrap_or(0);
        let null = self.transaction.as_ref().is_some_and(|transaction| transaction.sender == ReversePath::Null);
        let mut reached = self.reach(&path, size, null).await;
        // What a route refuses is refused where the sender hears of it, not in a report (rules 6 and 36).
        if let Ok(Reached { relayed: Some(_), .. }) = &reached
            && let Some(transaction) = &self.transaction
            && let Some(outgoing) = &self.entrance().outgoing
            && let Some(reply) = outgoing.refusal(&transaction.sender, &path)
        {
            reached = Err(reply);
        }
        if let Some(filters) = &mut self.filters {
            let told = rcpt(&path, &parameters);
            match &reached {
                Ok(_) => {
                    if let Some(reply) = refusal(filters.recipient(&told).await) {
                        reached = Err(reply);
                    }
                }
                Err(_) => filters.recipient_refused(&told).await,
            }
        }
        match reached {
            Ok(reached) => {
                let Some(transaction) = &mut self.transaction else { return out_of_sequence() };
                let Reached { accounts, onward, relayed } = reached;
                if let Some(reason) = relayed {
                    transaction.for_network |= matches!(reason, Reason::Network(_));
                    let why = format!("{reason}, to {}", bare(&path));
                    transaction.judged.push(judged("relay", "accept", why));
                }
                transaction.recipients.push(Addressee { path, parameters, accounts, onward });
                Told::Accept
            }
            Err(reply) => {
                self.entrance().recipient_refused(&self.peer_name(), &path.to_string(), &reply);
                Told::Reply(reply)
            }
        }
    }

    /// Whom a recipient of this client means.
    pub(crate) async fn reach(&self, path: &ForwardPath, octets: u64, is_report: bool) -> Result<Reached, Reply> {
        let client = Client { address: self.peer.ip(), logged_in: self.account.is_some() };
        self.entrance().reach(path, octets, is_report, Some(&client)).await
    }

    pub(crate) async fn on_data(&mut self) -> Told {
        if let Some(filters) = &mut self.filters
            && let Some(reply) = refusal(filters.data().await)
        {
            return Told::Reply(reply);
        }
        let memory = self.entrance().memory.try_take(message::IN_MEMORY);
        let Some(transaction) = &mut self.transaction else { return out_of_sequence() };
        match memory {
            Some(memory) => {
                transaction.memory = Some(memory);
                Told::Accept
            }
            None => Told::Reply(replies::too_much_at_once()),
        }
    }
}

impl Entrance {
    /// Whom a recipient means, if they can take a message of so many octets now; or why not (rule 6). `client`: who sends
    /// it; none for what may go anywhere.
    pub(crate) async fn reach(
        &self,
        path: &ForwardPath,
        octets: u64,
        is_report: bool,
        client: Option<&Client>,
    ) -> Result<Reached, Reply> {
        if let Some(mailbox) = path.mailbox() {
            if let Some(reply) = self.too_large(mailbox, octets) {
                return Err(reply);
            }
            match self.led_back(mailbox).await {
                Ok(None) => {}
                // Reports alone find their way back: anything else would be relayed for whoever has seen the address.
                Ok(Some(_)) if !is_report => {
                    return Err(Reply::new(550, "5.7.1 this address takes reports (MAIL FROM:<>) alone"));
                }
                Ok(Some(Ok(sender))) => return self.lead_back(path, sender).await,
                Ok(Some(Err(error))) => return Err(Reply::new(550, format!("5.1.1 {error}"))),
                Err(error) => return Err(replies::store(&error)),
            }
        }
        match self.directory.resolve(path).await {
            Resolution::Local(Found { accounts, elsewhere }) => {
                if accounts.iter().any(|target| !has_room(target, octets.max(1))) {
                    return Err(replies::mailbox_full());
                }
                let forward = |forward: directory::Forward| Onward {
                    to: forward.to,
                    via: Some(forward.via),
                    owner: forward.owner,
                };
                Ok(Reached { accounts, onward: elsewhere.into_iter().map(forward).collect(), relayed: None })
            }
            Resolution::NotLocal => self.onward(path, client),
            resolution => Err(replies::recipient(&resolution)),
        }
    }

    /// A recipient elsewhere (rule 12).
    fn onward(&self, path: &ForwardPath, client: Option<&Client>) -> Result<Reached, Reply> {
        let Some(mailbox) = path.mailbox() else { return Err(replies::recipient(&Resolution::NoSuchUser)) };
        let relayed = match client.map(|client| self.relay.load().may_relay(client, path)) {
            Some(Relay::No(denied)) => return Err(denied.reply()),
            Some(Relay::Yes(reason)) => Some(reason),
            None => None,
        };
        let onward = vec![Onward { to: Mailbox::clone(mailbox), via: None, owner: None }];
        Ok(Reached { accounts: Vec::new(), onward, relayed })
    }

    /// A report on its way back to the sender of a message that was forwarded here.
    async fn lead_back(&self, path: &ForwardPath, sender: Mailbox) -> Result<Reached, Reply> {
        let to = ForwardPath::Mailbox(sender.clone());
        match self.directory.resolve(&to).await {
            Resolution::Local(Found { accounts, .. }) => Ok(Reached { accounts, onward: Vec::new(), relayed: None }),
            Resolution::NotLocal => {
                let onward = vec![Onward { to: sender, via: path.mailbox().cloned(), owner: None }];
                Ok(Reached { accounts: Vec::new(), onward, relayed: None })
            }
            resolution => Err(replies::recipient(&resolution)),
        }
    }
}

/// Whether an account may hold so many octets more.
pub(crate) fn has_room(target: &Target, octets: u64) -> bool {
    let account = &target.account;
    account.quota_octets.is_none_or(|quota| account.used_octets + octets <= quota)
}

/// Whom a recipient means.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) accounts: Vec<Target>,
    pub(crate) onward: Vec<Onward>,
    /// Why it may go on, where it is no address of ours.
    pub(crate) relayed: Option<Reason>,
}

/// A step that says what was thought of a message.
pub(crate) fn judged(by: impl Into<String>, verdict: &str, why: impl Into<String>) -> Step {
    Step::Judged { by: by.into(), verdict: verdict.to_owned(), why: why.into() }
}
