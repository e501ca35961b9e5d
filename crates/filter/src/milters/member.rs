//! One milter in one SMTP connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use milter::client::{Answer, ClientConfig, Failure, Macros, Step, Told};
use milter::{ClientLimits, Connection, Envelope, Origin, ReplyCode, Text};
use smtp::{EnhancedCode, Reply};

use super::changes::{self, Wanted};
use super::link::{Answered, Link, LinkError};
use super::macros;
use crate::body::Current;
use crate::session::{Known, Said, printable};
use crate::{MessageBody, MilterSettings, NoteKind, Stage, Verdict};

/// Octets of a body read at once.
const PIECE: usize = 64 << 10;

/// A milter as the process knows it.
#[derive(Debug)]
pub(crate) struct Milter {
    pub(crate) name: Arc<str>,
    settings: MilterSettings,
    config: Arc<ClientConfig>,
    /// Whether it failed the last time, so that the log hears of it once.
    failing: AtomicBool,
}

impl Milter {
    pub(crate) fn new(settings: MilterSettings) -> Self {
        let limits = ClientLimits {
            body_octets: settings.body_octets,
            negotiation_wait: settings.command_timeout,
            command_wait: settings.command_timeout,
            content_wait: settings.content_timeout,
            end_wait: settings.content_timeout,
            ..ClientLimits::default()
        };
        let mut config = ClientConfig { limits, ..ClientConfig::default() };
        for (stage, names) in &settings.macros {
            config.macros.retain(|(known, _)| known != stage);
            config.macros.push((*stage, names.clone()));
        }
        Self { name: settings.name.as_str().into(), settings, config: config.into(), failing: AtomicBool::new(false) }
    }
}

/// A milter in one SMTP connection.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) milter: Arc<Milter>,
    /// Taken while it is asked: an answer that nobody waited for would be taken for the next one.
    link: Option<Link>,
    state: State,
    /// It does not want to hear more of this message.
    message_done: bool,
    /// It was told of MAIL, and not yet that the message is over.
    in_message: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Not connected yet.
    Fresh,
    /// Connected.
    Live,
    /// Failed; tried again with the next message.
    Failed,
    /// It accepted the connection, or refused it, or wants no more of it.
    Done,
}

impl Member {
    pub(crate) fn new(milter: Arc<Milter>) -> Self {
        Self { milter, link: None, state: State::Fresh, message_done: false, in_message: false }
    }

    /// Whether it will not be asked about this message any more.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done || self.message_done
    }

    /// Tells a step other than the message itself.
    pub(crate) async fn tell(&mut self, known: &Known, stage: Stage, rcpt: Option<(&str, &str, bool)>) -> Said {
        let settings = &self.milter.settings;
        let skipped = !settings.stages.reach(stage)
            || matches!(stage, Stage::Hello | Stage::Data) && !settings.stages.contains(stage);
        if skipped || self.is_done() {
            return Said::nothing();
        }
        if stage == Stage::Mail && self.state == State::Failed {
            self.state = State::Fresh;
        }
        if self.state == State::Failed {
            return Said::only(self.milter.settings.on_failure.verdict());
        }
        if stage > Stage::Mail && !self.in_message {
            // The server asks on after a refusal; there is no message to which it could belong.
            return Said::nothing();
        }
        match self.told(known, stage, rcpt).await {
            Ok(answered) => self.said(stage, answered),
            Err(error) => self.failed(stage, &error),
        }
    }

    async fn told(
        &mut self,
        known: &Known,
        stage: Stage,
        rcpt: Option<(&str, &str, bool)>,
    ) -> Result<Answered, LinkError> {
        let mut link = match self.link.take() {
            Some(link) => link,
            // It was lost within a message.
            None if stage > Stage::Mail => return Err(LinkError::Protocol(Failure::OutOfTurn)),
            None => {
                let mut link = self.open().await?;
                // A connection made late, or anew, hears what it has missed.
                for (missed, step) in [(Stage::Connect, Some(connect(known))), (Stage::Hello, hello(known))] {
                    let Some(step) = step.filter(|_| missed < stage) else { continue };
                    let answered = link.ask(step, &macros::known(known, None)).await?;
                    if answered.answer != Answer::Continue {
                        self.link = Some(link);
                        self.state = State::Live;
                        return Ok(answered);
                    }
                }
                link
            }
        };
        let step = match stage {
            Stage::Connect => connect(known),
            Stage::Hello => hello(known).unwrap_or_else(|| Step::Hello(Text::default())),
            Stage::Mail => Step::Mail(mail(known)),
            Stage::Recipient => {
                let (path, parameters, refused) = rcpt.unwrap_or_default();
                Step::Recipient { envelope: envelope(path, parameters), refused }
            }
            Stage::Data | Stage::Message => Step::Data,
        };
        let macros = macros::known(known, rcpt.map(|(path, _, refused)| (path, refused)));
        let answered = link.ask(step, &macros).await?;
        self.in_message |= stage == Stage::Mail;
        self.link = Some(link);
        self.state = State::Live;
        Ok(answered)
    }

    /// Tells the message: its header, its body, and its end.
    pub(crate) async fn message<B: MessageBody>(
        &mut self,
        known: &Known,
        header: &Bytes,
        body: &mut Current<'_, B>,
    ) -> Said {
        if !self.milter.settings.stages.reach(Stage::Message) || self.is_done() {
            return Said::nothing();
        }
        if self.state != State::Live {
            return Said::only(self.milter.settings.on_failure.verdict());
        }
        match self.content(known, header, body).await {
            Ok(answered) => self.said(Stage::Message, answered),
            Err(error) => self.failed(Stage::Message, &error),
        }
    }

    async fn content<B: MessageBody>(
        &mut self,
        known: &Known,
        header: &Bytes,
        body: &mut Current<'_, B>,
    ) -> Result<Answered, LinkError> {
        let Some(mut link) = self.link.take() else {
            return Err(LinkError::Protocol(Failure::OutOfTurn));
        };
        let macros = macros::known(known, None);
        let answered = content(&mut link, &macros, header, body).await?;
        self.link = Some(link);
        Ok(answered)
    }

    /// The message is over; a milter that has heard its end, or ended it, is told nothing.
    pub(crate) async fn abort(&mut self) {
        self.message_done = false;
        if std::mem::take(&mut self.in_message)
            && let Some(mut link) = self.link.take()
        {
            match link.tell(Told::Abort).await {
                Ok(()) => self.link = Some(link),
                Err(error) => {
                    tracing::debug!(filter = &*self.milter.name, %error, "milter lost while a message was given up");
                    self.state = State::Failed;
                }
            }
        }
    }

    /// The connection is over, for this milter.
    pub(crate) async fn quit(&mut self) {
        self.state = State::Done;
        if let Some(mut link) = self.link.take() {
            // It may have closed already; then there is nobody to say it to.
            let _ = tokio::time::timeout(Duration::from_secs(1), link.tell(Told::Quit)).await;
        }
    }

    async fn open(&self) -> Result<Link, LinkError> {
        let settings = &self.milter.settings;
        let config = Arc::clone(&self.milter.config);
        Link::open(&settings.address, settings.connect_timeout, settings.command_timeout, config).await
    }

    fn failed(&mut self, stage: Stage, error: &LinkError) -> Said {
        let milter = &self.milter;
        (self.state, self.link, self.in_message) = (State::Failed, None, false);
        let on_failure = milter.settings.on_failure;
        let address = &milter.settings.address;
        let then = on_failure.as_str();
        if milter.failing.swap(true, Ordering::Relaxed) {
            tracing::debug!(filter = &*milter.name, %address, %stage, %error, then, "milter failed");
        } else {
            // rule 33: a stranger can bring this about again and again; it is told once, until the milter answers.
            tracing::warn!(filter = &*milter.name, %address, %stage, %error, then, "milter failed");
        }
        let text = format!("{error}; then {then}");
        Said::with(on_failure.verdict(), vec![(NoteKind::Failed, text)])
    }

    fn said(&mut self, stage: Stage, answered: Answered) -> Said {
        if self.milter.failing.swap(false, Ordering::Relaxed) {
            tracing::info!(filter = &*self.milter.name, "milter answers again");
        }
        let Answered { answer, changes } = answered;
        let Wanted { modifications, quarantine, ignored } = changes::wanted(changes);
        let mut said = match answer {
            Answer::Continue | Answer::Skip => Said::nothing(),
            Answer::Accept => {
                if stage <= Stage::Hello {
                    self.state = State::Done;
                } else {
                    self.message_done = true;
                }
                Said::with(Verdict::Continue, vec![(NoteKind::Accepted, String::new())])
            }
            Answer::Discard => {
                self.message_done = true;
                Said::with(Verdict::Discard, vec![(NoteKind::Discarded, String::new())])
            }
            Answer::Reject => refused(Reply::new(550, "5.7.1 refused by policy")),
            Answer::TempFail => refused(Reply::new(451, "4.7.1 not taken now by policy, try again later")),
            Answer::Reply(code) => refused(reply(&code)),
            Answer::Shutdown | Answer::ConnectionFailed => {
                refused(Reply::new(421, "4.7.1 not taken now by policy, closing the connection"))
            }
        };
        if let Some(reason) = quarantine {
            said.notes.push((NoteKind::Quarantined, reason.clone()));
            said.verdict = Verdict::Quarantine(reason);
        }
        if !modifications.is_empty() {
            said.notes.push((NoteKind::Changed, summary(&modifications)));
        }
        said.notes.extend(ignored.into_iter().map(|what| (NoteKind::Ignored, what)));
        said.modifications = modifications;
        said
    }
}

/// Tells a message; any answer but to go on ends it.
async fn content<B: MessageBody>(
    link: &mut Link,
    macros: &Macros,
    header: &Bytes,
    body: &mut Current<'_, B>,
) -> Result<Answered, LinkError> {
    let goes_on = |answered: &Answered| matches!(answered.answer, Answer::Continue | Answer::Skip);
    for field in mime::fields(header) {
        let name = Text::from(field.name.to_vec());
        let value = header.slice_ref(field.value);
        let answered = link.ask(Step::Header { name, value }, macros).await?;
        if !goes_on(&answered) {
            return Ok(answered);
        }
    }
    let answered = link.ask(Step::EndOfHeader, macros).await?;
    if !goes_on(&answered) {
        return Ok(answered);
    }
    let mut at = 0;
    while at < body.octets() {
        let piece = body.read(at, PIECE).await.map_err(LinkError::Message)?;
        if piece.is_empty() {
            break;
        }
        at += piece.len() as u64;
        let answered = link.ask(Step::Body(piece), macros).await?;
        if answered.answer == Answer::Skip {
            break;
        }
        if !goes_on(&answered) {
            return Ok(answered);
        }
    }
    link.ask(Step::End, macros).await
}

fn refused(reply: Reply) -> Said {
    let text = printable(&format!("{} {}", reply.code(), reply.text()));
    if reply.is_permanent() {
        Said::with(Verdict::Reject(reply), vec![(NoteKind::Rejected, text)])
    } else {
        Said::with(Verdict::TempFail(reply), vec![(NoteKind::Deferred, text)])
    }
}

/// A milter's reply as ours: an enhanced status code is said once.
fn reply(code: &ReplyCode) -> Reply {
    let mut text = String::new();
    let mut enhanced = None;
    for (at, line) in code.lines().iter().enumerate() {
        let line = line.to_string_lossy();
        let found = EnhancedCode::at_front_of(&line);
        let words = match found {
            Some((_, rest)) => rest,
            None => &line,
        };
        if at == 0 {
            enhanced = found.map(|(code, _)| code);
        } else {
            text.push('\n');
        }
        text.push_str(&printable(words));
    }
    match enhanced {
        Some(enhanced) => Reply::new(code.code(), format!("{enhanced} {text}")),
        None => Reply::new(code.code(), format!("{}.7.1 {text}", code.code() / 100)),
    }
}

/// What changed, in a few words.
fn summary(modifications: &crate::Modifications) -> String {
    let fields: Vec<&str> = modifications.header.iter().flatten().map(crate::HeaderChange::name).collect();
    let mut words = Vec::new();
    if !fields.is_empty() {
        words.push(format!("header ({})", fields.join(", ")));
    }
    if modifications.body.is_some() {
        words.push("body".to_owned());
    }
    if modifications.sender.is_some() {
        words.push("sender".to_owned());
    }
    if !modifications.recipients.is_empty() {
        words.push("recipients".to_owned());
    }
    printable(&words.join(", "))
}

fn connect(known: &Known) -> Step {
    let facts = &known.facts;
    let origin = match facts.client.map(|client| (client.ip().to_canonical(), client.port())) {
        Some((std::net::IpAddr::V4(address), port)) => Origin::V4(address, port),
        Some((std::net::IpAddr::V6(address), port)) => Origin::V6(address, port),
        None => Origin::Unknown,
    };
    let name = match (&facts.client_name, facts.client) {
        (Some(name), _) => name.clone(),
        (None, Some(client)) => format!("[{}]", client.ip().to_canonical()),
        (None, None) => "localhost".to_owned(),
    };
    Step::Connect(Connection { name: name.into(), origin })
}

fn hello(known: &Known) -> Option<Step> {
    known.hello.as_ref().map(|name| Step::Hello(name.as_str().into()))
}

fn mail(known: &Known) -> Envelope {
    match &known.mail {
        Some(mail) => envelope(&mail.sender.to_string(), &mail.parameters.to_string()),
        None => envelope("<>", ""),
    }
}

fn envelope(path: &str, parameters: &str) -> Envelope {
    let parameters = parameters.split(' ').filter(|word| !word.is_empty()).map(Text::from).collect();
    Envelope { path: path.into(), parameters }
}
