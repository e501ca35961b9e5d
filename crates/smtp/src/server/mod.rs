//! The server's side of SMTP, submission and LMTP.
//!
//! RFC 5321 §4.1.4 (order of commands), §4.2 (replies), §4.5.3 (limits and times), RFC 2920 (pipelining: replies in
//! the order of commands). The session judges syntax, sequence and limits; who may send what to whom is the
//! application's ([`Event`], [`Told`]). Pipelined commands wait in the caller's buffer while an answer is owed.

mod answers;
mod auth;
mod commands;
mod config;
mod content;
mod ehlo;
mod event;
mod mail;
mod pace;
mod transfer;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use wire::{LineEnding, LineError, LineFramer, Mechanism, Output, Session, TlsFacts};

use crate::command::Verb;
use crate::error::CommandError;
use crate::parameter::BodyType;
use crate::reply::Reply;
use crate::schedule::UtcTime;
use content::Content;
use pace::Pace;

pub use config::{BareNewline, Config, Mode};
pub use event::{Closed, DataStart, Event, Hello, Mail, Recipient, Told};
pub use pace::{LONGEST_PAUSE, Tarpit};

/// A server session of one connection.
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    phase: Phase,
    /// The event whose answer is owed; nothing is read until it comes.
    asked: Option<Asked>,
    outbox: VecDeque<Queued>,
    /// Replies behind all that is in the outbox.
    replies: BytesMut,
    lines: LineFramer,
    deadline: Option<Instant>,
    /// When the last unanswered event was raised: content waits for the application at its expense.
    asked_at: Instant,
    tls: bool,
    hello: Option<Verb>,
    authenticated: bool,
    mechanisms: Vec<Mechanism>,
    transaction: Option<Transaction>,
    errors: u32,
    idle_commands: u32,
    transactions: u32,
    auth_rounds: u32,
    shutdown: bool,
    eof: bool,
    /// The wall clock, and when it was told.
    clock: Option<(Instant, UtcTime)>,
    trusts_xclient: bool,
    pace: Pace,
    /// [`Told::Close`] came while the end of a message was being decided.
    close_later: Option<Reply>,
}

/// What the next octets are.
#[derive(Debug)]
enum Phase {
    /// Nothing has been said yet.
    New,
    /// This greeting will be said; until then the client is to be silent.
    Greeting(Reply),
    /// Command lines.
    Command,
    /// Command lines, of which only QUIT is obeyed (RFC 5321 §3.1).
    Refused,
    /// A response to a challenge.
    Authenticating,
    /// Content of [`Transaction::content`].
    Content,
    /// A chunk that nobody wants, and the answers to it.
    Discard { chunk: wire::Chunk, reply: Reply, replies: usize },
    /// The TLS handshake's.
    Tls,
    /// Nobody's.
    Closed,
}

/// From MAIL to the reply after the content.
#[derive(Debug)]
struct Transaction {
    body: BodyType,
    size: Option<u64>,
    smtputf8: bool,
    /// A priority was taken back to 0.
    lowered: bool,
    /// Recipients accepted.
    recipients: usize,
    /// RCPT commands refused.
    refused: usize,
    content: Option<Content>,
}

/// The event whose answer is owed.
#[derive(Debug)]
enum Asked {
    Connected,
    EarlyTalker,
    /// XCLIENT; whether it names a login, if it says anything of it.
    Client {
        login: Option<bool>,
    },
    /// VRFY or EXPN.
    Verify,
    Hello(Verb),
    Authenticate,
    Mail(Box<Transaction>),
    Recipient,
    Data,
    /// The first chunk of a message: its octets, and whether it is the last.
    Bdat {
        octets: u64,
        last: bool,
    },
    Content,
    ContentEnd,
}

/// An answer, as far as one reply can say it.
#[derive(Debug)]
enum Answered {
    Yes(Option<Reply>),
    No(Reply),
}

#[derive(Debug)]
enum Queued {
    Octets(Bytes),
    Event(Event),
    StartTls,
    /// What stands behind it is late.
    Pause,
    Close,
}

/// Replies to pipelined commands gather up to this before they are sent.
const OUTBOX_OCTETS: usize = 16 << 10;

impl Server {
    /// A session whose connection was accepted at `now`. With implicit TLS, [`Session::handle_tls`] is called first.
    #[must_use]
    pub fn new(config: Arc<Config>, now: Instant) -> Self {
        let ending = if config.leniency.bare_line_feed { LineEnding::LenientLineFeed } else { LineEnding::Strict };
        let mut server = Self {
            lines: LineFramer::new(config.limits.command_line_octets, ending),
            deadline: Some(now + config.limits.hello_wait),
            mechanisms: config.mechanisms.clone(),
            phase: Phase::New,
            asked: None,
            outbox: VecDeque::new(),
            replies: BytesMut::new(),
            asked_at: now,
            tls: false,
            hello: None,
            authenticated: false,
            transaction: None,
            errors: 0,
            idle_commands: 0,
            transactions: 0,
            auth_rounds: 0,
            shutdown: false,
            eof: false,
            clock: None,
            trusts_xclient: false,
            pace: Pace::default(),
            close_later: None,
            config,
        };
        server.set_line_limit();
        server
    }

    /// The same session with the wall clock as it stands at `now`: FUTURERELEASE needs it.
    #[must_use]
    pub fn with_clock(mut self, now: Instant, time: UtcTime) -> Self {
        self.clock = Some((now, time));
        self
    }

    /// The same session for a client, a proxy or a filter, that may say by XCLIENT for whom it speaks. It stays so for
    /// the whole connection.
    #[must_use]
    pub fn trusting_xclient(mut self) -> Self {
        self.trusts_xclient = true;
        self
    }

    /// Whether the connection is under TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether AUTH has succeeded.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    // --- what is said

    fn send(&mut self, reply: &Reply) {
        reply.encode(&mut self.replies);
    }

    fn send_times(&mut self, reply: &Reply, times: usize) {
        for _ in 0..times {
            self.send(reply);
        }
    }

    /// Something that is no reply, behind the replies given so far.
    fn queue(&mut self, queued: Queued) {
        if !self.replies.is_empty() {
            let octets = std::mem::take(&mut self.replies).freeze();
            self.outbox.push_back(Queued::Octets(octets));
        }
        self.outbox.push_back(queued);
    }

    fn tell(&mut self, event: Event) {
        self.queue(Queued::Event(event));
    }

    fn ask(&mut self, now: Instant, event: Event, asked: Asked) {
        self.asked = Some(asked);
        self.asked_at = now;
        self.tell(event);
    }

    fn refuse(&mut self, reply: &Reply) {
        if reply.is_closing() {
            self.send(reply);
            self.close(Closed::Refused);
        } else {
            self.slow_down_errors();
            self.send(reply);
            self.count_error(reply);
        }
    }

    /// Counts a refusal; what is wrong here and passes (a full disk, say) is no error of the client's.
    fn count_error(&mut self, reply: &Reply) {
        self.errors += u32::from(!reply.is_own_trouble());
        if self.errors >= self.config.limits.errors {
            self.goodbye("4.7.0 too many errors", Closed::TooManyErrors);
        }
    }

    /// 421 and the end (RFC 5321 §3.8).
    fn goodbye(&mut self, words: &'static str, why: Closed) {
        let reply = Reply::new(421, format!("{words}, {} closes the connection", self.config.hostname));
        self.send(&reply);
        self.close(why);
    }

    fn close(&mut self, why: Closed) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.end_transaction();
        self.phase = Phase::Closed;
        self.asked = None;
        self.deadline = None;
        self.lines.clear();
        self.forget_answers();
        self.tell(Event::Closed(why));
        self.queue(Queued::Close);
    }

    /// Forgets the open transaction, and says so once.
    fn end_transaction(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            let known = transaction.content.is_some_and(|content| content.refusal.is_some());
            if !known {
                self.tell(Event::Reset);
            }
        }
    }

    // --- time and order

    /// Times a wait for a command, and says goodbye where that was put off.
    fn settle(&mut self, now: Instant) {
        self.begin_pause(now);
        if self.asked.is_some() || matches!(self.phase, Phase::Closed | Phase::New) {
            return;
        }
        if self.eof {
            self.close(Closed::Eof);
            return;
        }
        if let Some(reply) = self.close_later.take() {
            self.send(&reply);
            self.close(Closed::Refused);
            return;
        }
        let at_rest = matches!(self.phase, Phase::Command | Phase::Refused);
        if self.shutdown && at_rest && self.transaction.is_none() {
            self.goodbye("4.3.2 the service is stopping", Closed::Shutdown);
            return;
        }
        self.set_line_limit();
        if at_rest || matches!(self.phase, Phase::Authenticating) {
            self.time_command(now);
        }
    }

    /// RFC 5321 §4.5.3.2.7: the wait is for a whole command. Before login (rule 13) it is for all of them together.
    fn time_command(&mut self, now: Instant) {
        let limits = &self.config.limits;
        self.deadline = match self.phase {
            Phase::Refused => self.deadline,
            _ if self.is_stranger() => self.deadline,
            _ => Some(now + limits.command_wait.max(Duration::from_secs(1))),
        };
    }

    fn is_stranger(&self) -> bool {
        self.hello.is_none() || (self.config.require_auth && self.offers_auth_here() && !self.authenticated)
    }

    /// Rule 13: content arrives at a minimum rate, and the wait for the application does not count.
    fn time_content(&mut self, now: Instant, octets: u64) {
        let limits = &self.config.limits;
        let latest = now + limits.content_wait;
        let earned = match (self.deadline, limits.content_octets_per_second) {
            (Some(deadline), rate) if rate > 0 => {
                deadline + Duration::from_millis((octets.saturating_mul(1000) / rate).min(1 << 40))
            }
            (Some(deadline), _) if octets == 0 => deadline,
            _ => latest,
        };
        self.deadline = Some(earned.min(latest));
    }

    /// AUTH has longer lines than any other command (RFC 4954 §4).
    fn set_line_limit(&mut self) {
        let limits = &self.config.limits;
        let may_authenticate = matches!(self.phase, Phase::Authenticating) || self.offers_auth_now();
        self.lines.set_limit(if may_authenticate {
            limits.auth_line_octets.max(limits.command_line_octets)
        } else {
            limits.command_line_octets
        });
    }

    // --- what is heard

    fn take_lines(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        match self.lines.take_line(input) {
            Ok(None) => return false,
            Ok(Some(line)) if matches!(self.phase, Phase::Authenticating) => self.on_response(now, &line),
            Ok(Some(line)) => self.on_line(now, &line, !input.is_empty()),
            Err(error) => {
                let error = match error {
                    LineError::TooLong { limit } => CommandError::LineTooLong { limit },
                    LineError::Nul => CommandError::ControlCharacter,
                    _ => CommandError::LineEnding,
                };
                if matches!(self.phase, Phase::Authenticating) {
                    self.on_bad_response(&error);
                } else {
                    self.refuse(&error.reply());
                }
            }
        }
        self.settle(now);
        true
    }
}

impl Session for Server {
    type Event = Event;
    type Told = Told;
    type Body = Infallible;

    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) {
        while !input.is_empty() && self.asked.is_none() && !self.pace.is_paused() && self.replies.len() < OUTBOX_OCTETS
        {
            let more = match self.phase {
                Phase::New | Phase::Tls | Phase::Closed => false,
                Phase::Greeting(_) => {
                    self.on_early_input(now);
                    false
                }
                Phase::Command | Phase::Refused | Phase::Authenticating => self.take_lines(now, input),
                Phase::Content => self.take_content(now, input),
                Phase::Discard { .. } => self.take_discarded(now, input),
            };
            if !more {
                return;
            }
        }
    }

    fn handle_told(&mut self, now: Instant, told: Told) {
        match told {
            Told::Mechanisms(mechanisms) => {
                self.mechanisms = mechanisms;
                self.set_line_limit();
                return;
            }
            Told::Close(reply) => {
                let reply = if reply.is_closing() || reply.is_permanent() {
                    reply
                } else {
                    Reply::new(421, format!("4.3.0 {}", reply.text()))
                };
                match self.asked {
                    Some(Asked::ContentEnd) => self.close_later = Some(reply),
                    _ if matches!(self.phase, Phase::Closed) => {}
                    _ => {
                        self.send(&reply);
                        self.close(Closed::Refused);
                    }
                }
                return;
            }
            Told::After(delay, told) => self.answer_later(now, delay, *told),
            answer => {
                self.forget_answers();
                self.on_answer(now, answer);
            }
        }
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.on_paced(now) || self.asked.is_some() || self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        self.deadline = None;
        if matches!(self.phase, Phase::Tls) {
            // Nothing may be said in clear any more.
            self.close(Closed::TimedOut);
        } else {
            self.goodbye("4.4.2 idle for too long", Closed::TimedOut);
        }
    }

    fn handle_eof(&mut self, now: Instant) {
        self.eof = true;
        if matches!(self.phase, Phase::New) {
            self.close(Closed::Eof);
        }
        self.settle(now);
    }

    fn handle_tls(&mut self, now: Instant, tls: TlsFacts) {
        self.tls = true;
        if tls.exporter.is_some() {
            self.mechanisms.splice(0..0, self.config.binding_mechanisms.iter().cloned());
        }
        // RFC 3207 §4.2: what was learnt before TLS is forgotten.
        self.hello = None;
        self.authenticated = false;
        self.lines.clear();
        self.end_transaction();
        self.deadline = Some(now + self.config.limits.hello_wait);
        self.tell(Event::Secured(tls));
        if matches!(self.phase, Phase::Tls) {
            self.phase = Phase::Command;
        }
        self.settle(now);
    }

    fn handle_shutdown(&mut self, now: Instant) {
        self.shutdown = true;
        self.hurry(now);
        self.settle(now);
    }

    fn poll(&mut self) -> Output<Self> {
        if matches!(self.phase, Phase::New) && self.asked.is_none() {
            let opened = self.asked_at;
            self.ask(opened, Event::Connected, Asked::Connected);
        }
        if let Some(Queued::Pause) = self.outbox.front() {
            match self.pace.waits() {
                Some(until) => return Output::Wait { deadline: Some(until), read: false },
                None => drop(self.outbox.pop_front()),
            }
        }
        match self.outbox.pop_front() {
            Some(Queued::Pause) => Output::Wait { deadline: None, read: false },
            Some(Queued::Octets(octets)) => Output::Send(octets),
            Some(Queued::Event(event)) => Output::Event(event),
            Some(Queued::StartTls) => Output::StartTls,
            Some(Queued::Close) => {
                self.outbox.push_front(Queued::Close);
                Output::Close
            }
            None if !self.replies.is_empty() => Output::Send(std::mem::take(&mut self.replies).freeze()),
            None if self.asked.is_some() => Output::Wait { deadline: self.pace.waits(), read: false },
            None => {
                let talked = matches!(self.phase, Phase::Greeting(_)) && self.pace.has_talked_early();
                let read = !talked && !matches!(self.phase, Phase::Tls);
                Output::Wait { deadline: self.deadline, read }
            }
        }
    }
}
