//! A transaction until its content: who sends, and to whom.

use address::{ForwardPath, Mailbox, ReversePath};
use daemon::Share;
use directory::{Found, Resolution, Target};
use smtp::server::Told;
use smtp::{MailParameters, Reply};
use trace::Step;

use crate::accept::{Addressee, Onward, bare};
use crate::application::{SmtpApplication, out_of_sequence};
use crate::content::HeaderWords;
use crate::message::{self, Gathered};
use crate::policy::{Client, Reason, Relay};
use crate::replies;

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
        self.transaction = Some(Box::new(Transaction {
            sender: mail.reverse_path,
            parameters: mail.parameters,
            protocol: mail.protocol,
            queue_id: message::queue_id(),
            recipients: Vec::new(),
            for_network: false,
            judged: Vec::new(),
            gathered: Gathered::default(),
            words: HeaderWords::default(),
            memory: None,
        }));
        Told::Accept
    }

    pub(crate) async fn on_recipient(&mut self, recipient: smtp::server::Recipient) -> Told {
        let path = recipient.forward_path;
        let declared = self.transaction.as_ref().and_then(|transaction| transaction.parameters.size).unwrap_or(0);
        match self.reach(&path, declared).await {
            Ok(reached) => {
                let Some(transaction) = &mut self.transaction else { return out_of_sequence() };
                let Reached { accounts, onward, relayed } = reached;
                if let Some(reason) = relayed {
                    transaction.for_network |= matches!(reason, Reason::Network(_));
                    let why = format!("{reason}, to {}", bare(&path));
                    transaction.judged.push(judged("relay", "accept", why));
                }
                transaction.recipients.push(Addressee { path, parameters: recipient.parameters, accounts, onward });
                Told::Accept
            }
            Err(reply) => {
                self.entrance().recipient_refused(&self.peer_name(), &path.to_string(), &reply);
                Told::Reply(reply)
            }
        }
    }

    /// Whom a recipient means, if they can take a message of so many octets now; or why not (rule 6).
    pub(crate) async fn reach(&self, path: &ForwardPath, octets: u64) -> Result<Reached, Reply> {
        match self.entrance().directory.resolve(path).await {
            Resolution::Local(Found { accounts, elsewhere }) => {
                let full = |target: &Target| {
                    let account = &target.account;
                    account.quota_octets.is_some_and(|quota| account.used_octets + octets.max(1) > quota)
                };
                if accounts.iter().any(full) {
                    return Err(Reply::new(452, "4.2.2 mailbox full, try again later"));
                }
                let forward = |forward: directory::Forward| Onward { to: forward.to, via: Some(forward.via) };
                Ok(Reached { accounts, onward: elsewhere.into_iter().map(forward).collect(), relayed: None })
            }
            Resolution::NotLocal => self.relay(path),
            resolution => Err(replies::recipient(&resolution)),
        }
    }

    /// A recipient elsewhere (rule 12).
    fn relay(&self, path: &ForwardPath) -> Result<Reached, Reply> {
        let client = Client { address: self.peer.ip(), logged_in: self.account.is_some() };
        match (self.entrance().relay.may_relay(&client, path), path.mailbox()) {
            (Relay::Yes(reason), Some(mailbox)) => {
                let onward = vec![Onward { to: Mailbox::clone(mailbox), via: None }];
                Ok(Reached { accounts: Vec::new(), onward, relayed: Some(reason) })
            }
            (Relay::Yes(_), None) => Err(replies::recipient(&Resolution::NoSuchUser)),
            (Relay::No(denied), _) => Err(denied.reply()),
        }
    }

    pub(crate) fn on_data(&mut self) -> Told {
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
