//! What others and the rates think of a client, in between its commands.

use std::net::SocketAddr;
use std::time::Duration;

use address::{ForwardPath, Mailbox};
use directory::{LoggedIn, Resolution};
use filter::{Facts, FilterSession, Note, NoteKind, Verdict};
use net::Peer;
use smtp::server::Told;
use smtp::{Attribute, ClientFacts, Reply};
use trace::Step;

use crate::application::SmtpApplication;
use crate::policy::{Kind, ReverseDns, Who};
use crate::transaction::judged;

impl SmtpApplication {
    /// Whose doing it is.
    pub(crate) fn who(&self) -> Who {
        Who { address: self.peer.ip(), account: self.account.as_ref().map(|account| account.account) }
    }

    /// The connection is open, or begins anew for another client (XCLIENT).
    pub(crate) async fn on_connected(&mut self) -> Told {
        match self.entrance().charge(&self.who(), Kind::Connections, 1) {
            Err(reply) => Told::Reply(reply),
            Ok(Duration::ZERO) => self.look_at_client().await,
            Ok(wait) => Told::After(wait, Box::new(self.look_at_client().await)),
        }
    }

    async fn look_at_client(&mut self) -> Told {
        let entrance = self.shared.clone();
        let entrance = &entrance.entrance;
        let filters = entrance.filters(self.shared.name);
        let wanted = !self.shared.submission || filters.is_some();
        let looked_for = entrance.reverse.as_ref().zip(self.peer.ip()).filter(|_| wanted);
        self.names = looked_for.map(|(reverse, address)| reverse.begin(address)).unwrap_or_default();
        let Some(filters) = filters else { return Told::Accept };
        let client = match self.peer {
            Peer::Ip { address, port, .. } => Some(SocketAddr::new(address, port)),
            Peer::Local => None,
        };
        // Filters are told once, and so the greeting waits.
        let names = self.names.within(LONGEST_WAIT_FOR_NAMES).await;
        let facts = Facts {
            client,
            client_name: names.confirmed().map(|name| name.ascii().to_owned()),
            client_ptr: names.first().map(|name| name.ascii().to_owned()),
            is_unanswered: looked_for.is_some() && names == ReverseDns::Unknown,
            hostname: entrance.hostname.clone(),
            listener: self.shared.name.to_owned(),
            tls: self.tls.clone(),
        };
        let mut session = filters.session(facts);
        let verdict = session.connect().await;
        self.filters = Some(session);
        refusal(verdict).map_or(Told::Accept, Told::Reply)
    }

    /// The client talked before it was greeted (RFC 5321 §4.3.1).
    pub(crate) fn on_early_talker(&mut self) -> Told {
        metrics::counter!("early_talkers_total").increment(1);
        if self.entrance().smtp.refuse_early_talkers {
            return Told::Reply(Reply::new(554, "5.5.0 wait for the greeting before you speak"));
        }
        self.talked_early = true;
        Told::Accept
    }

    /// A proxy says for whom it speaks (rule 12: what it says decides).
    pub(crate) async fn on_client(&mut self, facts: ClientFacts) -> Told {
        let (was, was_port) = match self.peer {
            Peer::Ip { address, port, .. } => (Some(address), port),
            Peer::Local => (None, 0),
        };
        let address = match &facts.address {
            None => was,
            Some(attribute) => attribute.known().copied(),
        };
        let port = facts.port.as_ref().and_then(Attribute::known).copied().unwrap_or(was_port);
        self.account = None;
        if let Some(Attribute::Known(login)) = &facts.login {
            match self.entrance().directory.find_account(login.as_str()).await {
                Ok(account) => {
                    self.account = Some(LoggedIn { account: account.id, address: account.address });
                }
                Err(_) => return Told::Reply(Reply::new(550, "5.7.1 XCLIENT names a login that is none here")),
            }
        }
        self.peer = match address {
            Some(address) => Peer::Ip { address, port, proxied: true },
            // Somebody, from nowhere: no network that may relay.
            None => Peer::Ip { address: std::net::Ipv4Addr::UNSPECIFIED.into(), port, proxied: true },
        };
        self.hello = facts.hello.as_ref().and_then(Attribute::known).map(ToString::to_string).unwrap_or_default();
        if let Some(filters) = self.filters.take() {
            filters.quit().await;
        }
        self.on_connected().await
    }

    /// A command is counted; how long it has to wait, or why it may not.
    pub(crate) fn count(&self, kind: Kind, amount: u64) -> Result<Duration, Reply> {
        self.entrance().charge(&self.who(), kind, amount)
    }

    /// What the client's names say, for the trace: facts, no reason to refuse (rule 13).
    pub(crate) fn facts(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.talked_early {
            steps.push(judged("greeting", "fact", "the client talked before it was greeted"));
        }
        let (false, false, Ok(name)) =
            (self.shared.submission, self.shared.lmtp, smtp::HelloName::try_from(self.hello.as_str()))
        else {
            return steps;
        };
        let facts = &self.entrance().hello_facts;
        let found = match &self.entrance().reverse {
            None => facts.judge(&name, self.peer.ip()),
            Some(_) => facts.judge_with(&name, self.peer.ip(), &self.names.now()),
        };
        if !found.is_empty() {
            let words: Vec<&str> = found.iter().map(|fact| fact.as_str()).collect();
            steps.push(judged("client", "fact", words.join(", ")));
        }
        steps
    }

    /// VRFY (RFC 5321 §3.5): asked only where it is told to somebody.
    pub(crate) async fn on_verify(&self, text: &str) -> Told {
        if !self.is_told(self.entrance().smtp.vrfy) {
            return Told::Accept;
        }
        let Some(path) = self.path_of(text) else { return Told::Reply(Reply::new(550, "5.1.3 no address")) };
        match self.entrance().directory.resolve(&path).await {
            Resolution::Local(_) => Told::Reply(Reply::new(250, format!("2.1.5 {path}"))),
            Resolution::NotLocal => Told::Accept,
            resolution => Told::Reply(crate::replies::recipient(&resolution)),
        }
    }

    /// EXPN (RFC 5321 §3.5): a member in each line.
    pub(crate) async fn on_expand(&self, text: &str) -> Told {
        if !self.is_told(self.entrance().smtp.expn) {
            return Told::Reply(Reply::new(502, "5.5.1 lists are not told here"));
        }
        let Some(path) = self.path_of(text) else { return Told::Reply(Reply::new(550, "5.1.3 no address")) };
        match self.entrance().directory.resolve(&path).await {
            Resolution::Local(found) => {
                let accounts = found.accounts.iter().map(|target| format!("2.1.5 <{}>", target.account.address));
                let elsewhere = found.elsewhere.iter().map(|forward| format!("2.1.5 <{}>", forward.to));
                let lines: Vec<String> = accounts.chain(elsewhere).take(MOST_MEMBERS).collect();
                Told::Reply(Reply::new(250, lines.join("\n")))
            }
            resolution => Told::Reply(crate::replies::recipient(&resolution)),
        }
    }

    fn is_told(&self, whom: daemon::Tells) -> bool {
        match whom {
            daemon::Tells::Nobody => false,
            daemon::Tells::Everybody => true,
            daemon::Tells::Trusted => self.account.is_some() || self.entrance().is_relay_network(self.peer.ip()),
        }
    }

    /// The path that VRFY means: an address, with or without brackets, or a name in the domain of this host.
    fn path_of(&self, text: &str) -> Option<ForwardPath> {
        let text = text.trim().trim_start_matches('<').trim_end_matches('>');
        if text.eq_ignore_ascii_case("postmaster") {
            return Some(ForwardPath::Postmaster);
        }
        Mailbox::parse(text).ok().map(ForwardPath::Mailbox)
    }
}

/// How long the greeting waits for the client's name, where a filter is to hear it.
const LONGEST_WAIT_FOR_NAMES: Duration = Duration::from_secs(5);

/// Members that EXPN tells of.
const MOST_MEMBERS: usize = 100;

/// The reply of a refusal.
pub(crate) fn refusal(verdict: Verdict) -> Option<Reply> {
    match verdict {
        Verdict::Reject(reply) | Verdict::TempFail(reply) => Some(reply),
        _ => None,
    }
}

/// What filters have noted, as steps.
pub(crate) fn notes(notes: Vec<Note>) -> impl Iterator<Item = Step> {
    notes.into_iter().map(|note| {
        let verdict = match note.kind {
            NoteKind::Accepted => "accept",
            NoteKind::Rejected => "reject",
            NoteKind::Deferred => "defer",
            NoteKind::Discarded => "discard",
            NoteKind::Quarantined => "quarantine",
            NoteKind::Held => "hold",
            NoteKind::Changed => "changed",
            NoteKind::Ignored => "ignored",
            NoteKind::Failed => "failed",
            _ => "noted",
        };
        let why = if note.text.is_empty() {
            format!("at {}", note.stage)
        } else {
            format!("at {}: {}", note.stage, note.text)
        };
        judged(&*note.filter, verdict, why)
    })
}

/// Ends what filters know of a message that never came.
pub(crate) async fn aborted(filters: &mut Option<FilterSession>) {
    if let Some(filters) = filters {
        filters.abort().await;
        filters.take_notes();
    }
}

/// A recipient as filters are asked about it.
pub(crate) fn rcpt(path: &ForwardPath, parameters: &smtp::RcptParameters) -> filter::Rcpt {
    filter::Rcpt { recipient: path.clone(), parameters: parameters.clone() }
}
