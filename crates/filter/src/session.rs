//! The filters of the process, and their view of one SMTP connection.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use smtp::Reply;
use wire::TlsFacts;

use crate::body::Current;
use crate::hook::{self, Hook, Loopback, Post, Scheme};
use crate::milters::{self, Milter};
use crate::{
    Decision, Facts, Mail, MessageBody, Modifications, Note, NoteKind, Rcpt, Settings, SettingsError, Stage, Verdict,
    apply,
};

/// The filters of the process. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    filters: Arc<[Filter]>,
}

/// One filter. What judges by the message's own signatures (SPF, DKIM, DMARC) will stand before these.
#[derive(Clone, Debug)]
enum Filter {
    Milter(Arc<Milter>),
    Hook(Arc<Hook>),
}

impl Filters {
    /// The filters of these settings; `https` posts to hooks that are not on this machine.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub fn new(settings: Settings, https: Option<&Arc<dyn Post>>) -> Result<Self, SettingsError> {
        let mut names = HashSet::new();
        let mut filters = Vec::new();
        for milter in settings.milters {
            if !names.insert(milter.name.clone()) {
                return Err(SettingsError::SameName(milter.name));
            }
            filters.push(Filter::Milter(Arc::new(Milter::new(milter))));
        }
        for hook in settings.hooks {
            if !names.insert(hook.name.clone()) {
                return Err(SettingsError::SameName(hook.name));
            }
            let post: Arc<dyn Post> = match hook::scheme(&hook.url) {
                None => return Err(SettingsError::Url(hook.name)),
                Some(Scheme::Loopback) => Arc::new(Loopback),
                Some(Scheme::Https) => Arc::clone(https.ok_or_else(|| SettingsError::NoHttps(hook.name.clone()))?),
            };
            filters.push(Filter::Hook(Arc::new(Hook::new(hook, post))));
        }
        Ok(Self { filters: filters.into() })
    }

    /// Whether there is none: a session of none answers [`Verdict::Continue`] to everything, at no cost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// What they see of one connection. Nothing is told before [`FilterSession::connect`].
    #[must_use]
    pub fn session(&self, facts: Facts) -> FilterSession {
        let members = self.filters.iter().map(|filter| match filter {
            Filter::Milter(milter) => Member::Milter(Box::new(milters::Member::new(Arc::clone(milter)))),
            Filter::Hook(hook) => Member::Hook(hook::Member::new(Arc::clone(hook))),
        });
        let known = Known { facts, ..Known::default() };
        FilterSession { members: members.collect(), known, kept: Kept::default(), refused: None }
    }
}

/// All that is known of a connection and its message so far.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) facts: Facts,
    pub(crate) hello: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) mechanism: Option<String>,
    pub(crate) mail: Option<Mail>,
    /// Accepted recipients, without angle brackets; while one is asked about, it is the last.
    pub(crate) recipients: Vec<String>,
}

/// What one filter says.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) verdict: Verdict,
    pub(crate) notes: Vec<(NoteKind, String)>,
    pub(crate) modifications: Modifications,
}

impl Said {
    pub(crate) fn nothing() -> Self {
        Self::only(Verdict::Continue)
    }

    pub(crate) fn only(verdict: Verdict) -> Self {
        Self::with(verdict, Vec::new())
    }

    pub(crate) fn with(verdict: Verdict, notes: Vec<(NoteKind, String)>) -> Self {
        Self { verdict, notes, modifications: Modifications::default() }
    }
}

#[derive(Debug)]
enum Member {
    Milter(Box<milters::Member>),
    Hook(hook::Member),
}

impl Member {
    fn name(&self) -> Arc<str> {
        match self {
            Self::Milter(member) => Arc::clone(&member.milter.name),
            Self::Hook(member) => Arc::clone(&member.hook.name),
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Milter(member) => member.is_done(),
            Self::Hook(member) => member.is_done(),
        }
    }
}

/// The filters' view of one SMTP connection.
///
/// The calls follow the dialogue: [`connect`](Self::connect), [`hello`](Self::hello), then for each message
/// [`mail`](Self::mail), [`recipient`](Self::recipient), [`data`](Self::data), [`message`](Self::message), or
/// [`abort`](Self::abort) where it ends before; at last [`quit`](Self::quit). A future that is dropped half-way breaks
/// the connection to the filter that was being asked, and nothing else.
#[derive(Debug)]
pub struct FilterSession {
    members: Vec<Member>,
    known: Known,
    kept: Kept,
    /// The connection was refused.
    refused: Option<Verdict>,
}

/// What earlier stages have decided about the message.
#[derive(Debug, Default)]
struct Kept {
    notes: Vec<Note>,
    modifications: Modifications,
    /// Discard, Quarantine or Hold.
    verdict: Option<Verdict>,
}

impl Kept {
    /// Keeps what one filter says; the verdict, if it ends the asking.
    fn keep(&mut self, filter: &Arc<str>, stage: Stage, said: Said) -> Option<Verdict> {
        for (kind, text) in said.notes {
            tracing::debug!(filter = &**filter, %stage, kind = kind.as_str(), text, "filter spoke");
            self.notes.push(Note { filter: Arc::clone(filter), stage, kind, text });
        }
        let Modifications { header, body, sender, recipients } = said.modifications;
        self.modifications.header.extend(header);
        self.modifications.body = body.or(self.modifications.body.take());
        self.modifications.sender = sender.or(self.modifications.sender.take());
        self.modifications.recipients.extend(recipients);
        match said.verdict {
            Verdict::Continue | Verdict::Accept => None,
            refusal @ (Verdict::Reject(_) | Verdict::TempFail(_)) => Some(refusal),
            Verdict::Discard => {
                self.verdict = Some(Verdict::Discard);
                Some(Verdict::Discard)
            }
            // The first reason counts.
            other => {
                self.verdict.get_or_insert(other);
                None
            }
        }
    }
}

impl FilterSession {
    /// The connection is open.
    pub async fn connect(&mut self) -> Verdict {
        let verdict = self.ask(Stage::Connect, None).await;
        if verdict.is_refusal() {
            self.refused = Some(verdict.clone());
            self.close().await;
        }
        verdict
    }

    /// TLS stands. What was told of HELO and of who the client is, is void (RFC 3207 §4.2).
    pub fn secured(&mut self, tls: TlsFacts) {
        self.known.facts.tls = Some(tls);
        (self.known.hello, self.known.user, self.known.mechanism) = (None, None, None);
    }

    /// The client has logged in.
    pub fn authenticated(&mut self, user: impl Into<String>, mechanism: impl Into<String>) {
        (self.known.user, self.known.mechanism) = (Some(user.into()), Some(mechanism.into()));
    }

    /// HELO or EHLO; ends a message, as RSET does.
    pub async fn hello(&mut self, name: &str) -> Verdict {
        self.abort().await;
        self.known.hello = Some(name.to_owned());
        self.ask(Stage::Hello, None).await
    }

    /// MAIL.
    pub async fn mail(&mut self, mail: Mail) -> Verdict {
        self.abort().await;
        self.known.mail = Some(mail);
        let verdict = self.ask(Stage::Mail, None).await;
        if verdict.is_refusal() {
            self.abort().await;
        }
        verdict
    }

    /// RCPT, of a recipient that the server would take.
    pub async fn recipient(&mut self, rcpt: &Rcpt) -> Verdict {
        self.recipient_told(rcpt, false).await
    }

    /// RCPT, of a recipient that the server has refused: filters that asked for it hear of it.
    pub async fn recipient_refused(&mut self, rcpt: &Rcpt) {
        self.recipient_told(rcpt, true).await;
    }

    async fn recipient_told(&mut self, rcpt: &Rcpt, refused: bool) -> Verdict {
        let (path, parameters) = (rcpt.recipient.to_string(), rcpt.parameters.to_string());
        self.known.recipients.push(bare(&path));
        let verdict = self.ask(Stage::Recipient, Some((&path, &parameters, refused))).await;
        if verdict.is_refusal() || refused {
            self.known.recipients.pop();
        }
        verdict
    }

    /// DATA, or the first BDAT.
    pub async fn data(&mut self) -> Verdict {
        let verdict = self.ask(Stage::Data, None).await;
        if verdict.is_refusal() {
            self.abort().await;
        }
        verdict
    }

    /// The whole message: its header, with or without the empty line, and its body. It is over then for the filters.
    pub async fn message<B: MessageBody>(&mut self, header: &Bytes, body: &mut B) -> Decision {
        let octets = header.len() as u64 + body.octets();
        // Fields that were added before the message came.
        let mut current = apply(&self.kept.modifications.header, header);
        let mut body = Current { original: body, replaced: None };
        let mut refusal = self.refused.clone();
        if refusal.is_none() && self.kept.verdict != Some(Verdict::Discard) {
            for at in 0..self.members.len() {
                let name = self.members[at].name();
                let said = match &mut self.members[at] {
                    Member::Milter(member) => member.message(&self.known, &current, &mut body).await,
                    Member::Hook(member) => member.ask(&self.known, Stage::Message, Some((&current, octets))).await,
                };
                current = apply(&said.modifications.header, &current);
                if let Some(pieces) = &said.modifications.body {
                    body.replaced = Some(pieces.clone());
                }
                refusal = self.kept.keep(&name, Stage::Message, said);
                if refusal.is_some() {
                    break;
                }
            }
        }
        let Kept { notes, modifications, verdict } = std::mem::take(&mut self.kept);
        // Those who were not asked hear that it is over.
        self.abort().await;
        let verdict = refusal.or(verdict).unwrap_or(Verdict::Continue);
        let taken = !verdict.is_refusal() && verdict != Verdict::Discard;
        Decision { verdict, modifications: if taken { modifications } else { Modifications::default() }, notes }
    }

    /// The message is over without its end: RSET, a refusal by the server, the end of the connection. Its notes are
    /// taken first, by [`take_notes`](Self::take_notes), or forgotten.
    pub async fn abort(&mut self) {
        for member in &mut self.members {
            match member {
                Member::Milter(member) => member.abort().await,
                Member::Hook(member) => member.message_over(),
            }
        }
        if self.known.mail.take().is_some() {
            let notes = std::mem::take(&mut self.kept.notes);
            self.kept = Kept { notes, ..Kept::default() };
        }
        self.known.recipients.clear();
    }

    /// Who said what since the last [`Decision`], for the trace of what was refused before a message came.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.kept.notes)
    }

    /// The connection is over.
    pub async fn quit(mut self) {
        self.close().await;
    }

    async fn close(&mut self) {
        for member in &mut self.members {
            if let Member::Milter(member) = member {
                member.quit().await;
            }
        }
    }

    async fn ask(&mut self, stage: Stage, rcpt: Option<(&str, &str, bool)>) -> Verdict {
        if let Some(refused) = &self.refused {
            return refused.clone();
        }
        if self.members.is_empty() {
            return Verdict::Continue;
        }
        if self.kept.verdict == Some(Verdict::Discard) {
            return Verdict::Discard;
        }
        let refused = rcpt.is_some_and(|(_, _, refused)| refused);
        for member in &mut self.members {
            let name = member.name();
            let said = match member {
                Member::Milter(member) => member.tell(&self.known, stage, rcpt).await,
                Member::Hook(_) if refused => Said::nothing(),
                Member::Hook(member) => member.ask(&self.known, stage, None).await,
            };
            if refused {
                continue;
            }
            if let Some(verdict) = self.kept.keep(&name, stage, said) {
                return closing(verdict, stage);
            }
        }
        if self.members.iter().all(Member::is_done) { Verdict::Accept } else { Verdict::Continue }
    }
}

/// A refused connection is refused by 554 or 421 (RFC 5321 §3.1); other replies keep their words.
fn closing(verdict: Verdict, stage: Stage) -> Verdict {
    let with = |code, reply: &Reply| match reply.enhanced() {
        Some(enhanced) => Reply::new(code, format!("{enhanced} {}", reply.text())),
        None => Reply::new(code, reply.text().to_owned()),
    };
    match verdict {
        Verdict::Reject(reply) if stage == Stage::Connect => Verdict::Reject(with(554, &reply)),
        Verdict::TempFail(reply) if stage == Stage::Connect => Verdict::TempFail(with(421, &reply)),
        other => other,
    }
}

/// A path without its angle brackets.
pub(crate) fn bare(path: &str) -> String {
    path.strip_prefix('<').and_then(|path| path.strip_suffix('>')).unwrap_or(path).to_owned()
}

/// Text for a log line, a trace or a reply: no control characters, and not endless.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect::<String>().trim().to_owned()
}
