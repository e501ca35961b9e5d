//! The server's side of POP3.
//!
//! RFC 1939 §3 to §6 (the states), RFC 2449 §6.6 (pipelining: responses in the order of commands). The session owns the
//! states, the numbers and the marks; who may log in, what the maildrop holds and the octets of a message are the
//! application's ([`Event`], [`Told`]). Pipelined commands wait in the caller's buffer while an answer is owed.

mod answers;
mod auth;
mod commands;
mod config;
mod event;
mod transaction;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use wire::{BodyCoding, LineEnding, LineFramer, Mechanism, Output, Session, TlsFacts};

use crate::command::{Command, UserName};
use crate::error::CommandError;
use crate::response::{Response, ResponseCode};
use transaction::{Listing, Transaction};

pub use config::Config;
pub use event::{Closed, Event, Told};

/// Octets of responses beyond which no further command is taken before they have been fetched.
const RESPONSES: usize = 16 << 10;

/// A server session of one connection; `B` is the application's handle to the octets of a message.
pub struct Server<B> {
    config: Arc<Config>,
    lines: LineFramer,
    outbox: VecDeque<Queued<B>>,
    /// Responses behind all that is in the outbox.
    responses: BytesMut,
    state: State,
    /// The event whose answer is owed; nothing is read until it comes.
    asked: Option<Asked>,
    /// The multi-line response under way.
    listing: Option<Listing>,
    deadline: Option<Instant>,
    /// Something long has been sent since the deadline was set, and nobody said how long it took.
    sent_long: bool,
    tls: bool,
    utf8: bool,
    mechanisms: Vec<Mechanism>,
    errors: u32,
    failed_logins: u32,
    auth_rounds: u32,
    shutdown: bool,
    /// [`Told::Close`] came while the deletions were being committed.
    closing: bool,
}

/// RFC 1939 §3.
#[derive(Debug)]
enum State {
    /// AUTHORIZATION, with what USER gave.
    Authorization(Option<UserName>),
    /// A line of the exchange that AUTH began is due.
    Authenticating,
    /// The handshake that STLS began.
    Handshake,
    /// TRANSACTION.
    Transaction(Transaction),
    /// UPDATE, or the end of any other state.
    Over,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    Login,
    Authenticate,
    Retrieve { octets: Option<u64> },
    Commit,
}

enum Queued<B> {
    Send(Bytes),
    Body(B),
    StartTls,
    Event(Event),
    Close,
}

impl<B> Server<B> {
    /// A session whose client has just connected at `now`. For TLS from the start, call
    /// [`handle_tls`](Session::handle_tls) before the first poll.
    #[must_use]
    pub fn new(config: Arc<Config>, now: Instant) -> Self {
        let ending = if config.leniency.bare_line_feed { LineEnding::LenientLineFeed } else { LineEnding::Strict };
        let mut server = Self {
            lines: LineFramer::new(config.limits.auth_line_octets.max(config.limits.command_line_octets), ending),
            outbox: VecDeque::new(),
            responses: BytesMut::new(),
            state: State::Authorization(None),
            asked: None,
            listing: None,
            deadline: Some(now + config.limits.login_wait),
            sent_long: false,
            tls: false,
            utf8: false,
            mechanisms: config.mechanisms.clone(),
            errors: 0,
            failed_logins: 0,
            auth_rounds: 0,
            shutdown: false,
            closing: false,
            config,
        };
        let greeting = server.config.greeting();
        server.say(&greeting);
        server
    }

    /// Whether a further line can be taken.
    fn reads(&self) -> bool {
        let listens = !matches!(self.state, State::Handshake | State::Over);
        listens && self.asked.is_none() && self.listing.is_none()
    }

    fn say(&mut self, response: &Response) {
        response.encode(&mut self.responses);
    }

    /// A refusal that counts.
    fn refuse(&mut self, response: &Response) {
        self.errors += 1;
        if self.errors > self.config.limits.errors {
            self.say(&Response::err("too many errors"));
            self.finish(Closed::TooManyErrors);
        } else {
            self.say(response);
        }
    }

    fn push(&mut self, queued: Queued<B>) {
        if !self.responses.is_empty() {
            self.outbox.push_back(Queued::Send(self.responses.split().freeze()));
        }
        self.outbox.push_back(queued);
    }

    fn ask(&mut self, event: Event, asked: Asked) {
        self.asked = Some(asked);
        self.push(Queued::Event(event));
    }

    fn finish(&mut self, closed: Closed) {
        if matches!(self.state, State::Over) {
            return;
        }
        self.state = State::Over;
        self.asked = None;
        self.listing = None;
        self.deadline = None;
        self.lines.clear();
        self.push(Queued::Event(Event::Closed(closed)));
        self.push(Queued::Close);
    }

    fn restart_deadline(&mut self, now: Instant) {
        let limits = &self.config.limits;
        let wait = if matches!(self.state, State::Transaction(_)) { limits.command_wait } else { limits.login_wait };
        self.deadline = Some(now + wait);
        self.sent_long = false;
    }

    fn on_line(&mut self, now: Instant, line: &[u8]) {
        match self.state {
            State::Authenticating => {
                self.on_auth_line(line);
                return;
            }
            // RFC 1939 §3: any command restarts the autologout timer. Before login only a login does (rule 13).
            State::Transaction(_) => self.restart_deadline(now),
            _ => {}
        }
        let limit = self.config.limits.command_line_octets;
        let command = match Command::parse(line, &self.config.leniency) {
            // LENIENT long_initial_response: RFC 5034 §4 keeps to the limit of RFC 2449 §4.
            Ok(command @ Command::Auth { .. }) if self.config.leniency.long_initial_response => Ok(command),
            // The limit counts the CRLF.
            _ if line.len() + 2 > limit => Err(CommandError::LineTooLong { limit }),
            other => other,
        };
        match command {
            Ok(command) => self.on_command(now, command),
            Err(CommandError::Unknown) if is_foreign(line) => self.finish(Closed::ForeignProtocol),
            Err(error) => self.refuse(&error.response()),
        }
    }

    /// Between commands, when the process wants to stop or the application has had enough.
    fn close_if_wanted(&mut self) {
        if self.shutdown && self.reads() {
            self.say(&Response::coded(ResponseCode::SysTemp, "server is shutting down"));
            self.finish(Closed::Shutdown);
        }
    }
}

impl<B> Session for Server<B> {
    type Event = Event;
    type Told = Told<B>;
    type Body = B;

    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) {
        // What lies behind STLS or a command that the application must answer stays the caller's.
        while self.reads() && self.responses.len() < RESPONSES {
            match self.lines.take_line(input) {
                Ok(Some(line)) => self.on_line(now, &line),
                Ok(None) => break,
                Err(error) if matches!(self.state, State::Authenticating) => self.on_bad_auth_line(error.into()),
                Err(error) => self.refuse(&CommandError::from(error).response()),
            }
        }
    }

    fn handle_told(&mut self, now: Instant, told: Told<B>) {
        self.on_told(now, told);
        self.close_if_wanted();
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.asked.is_some() || self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        if self.sent_long {
            // The driver may have been sending all the while; the client has had no time yet.
            self.restart_deadline(now);
            return;
        }
        // RFC 1939 §3: no deletion, and no response.
        self.finish(Closed::TimedOut);
    }

    fn handle_eof(&mut self, _now: Instant) {
        match self.state {
            State::Handshake => self.finish(Closed::Handshake),
            _ => self.finish(Closed::Eof),
        }
    }

    fn handle_tls(&mut self, now: Instant, tls: TlsFacts) {
        self.tls = true;
        if tls.exporter.is_some() {
            self.mechanisms.splice(0..0, self.config.binding_mechanisms.iter().cloned());
        }
        if matches!(self.state, State::Handshake) {
            // RFC 2595 §4, rule 11: nothing learnt before counts.
            self.state = State::Authorization(None);
            self.lines.clear();
        }
        self.restart_deadline(now);
        // With TLS from the start the application hears of it, and may change the mechanisms, before the greeting.
        self.outbox.push_back(Queued::Event(Event::Tls(tls)));
        self.close_if_wanted();
    }

    fn handle_shutdown(&mut self, _now: Instant) {
        self.shutdown = true;
        self.close_if_wanted();
    }

    fn poll(&mut self) -> Output<Self> {
        loop {
            if let Some(queued) = self.outbox.pop_front() {
                return match queued {
                    Queued::Send(octets) => Output::Send(octets),
                    Queued::Body(body) => Output::SendBody { body, coding: BodyCoding::DotStuffed },
                    Queued::StartTls => Output::StartTls,
                    Queued::Event(event) => Output::Event(event),
                    Queued::Close => Output::Close,
                };
            }
            if self.listing.is_some() && self.responses.len() < RESPONSES {
                self.list_more();
                self.close_if_wanted();
                continue;
            }
            if !self.responses.is_empty() {
                return Output::Send(self.responses.split().freeze());
            }
            if matches!(self.state, State::Over) {
                return Output::Close;
            }
            let deadline = if self.asked.is_some() { None } else { self.deadline };
            return Output::Wait { deadline, read: self.reads() };
        }
    }
}

/// Whether a browser was led here: its next lines are somebody else's content.
fn is_foreign(line: &[u8]) -> bool {
    line.windows(7).any(|window| window == b" HTTP/1")
}

impl<B> fmt::Debug for Server<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("state", &self.state).field("asked", &self.asked).finish_non_exhaustive()
    }
}
