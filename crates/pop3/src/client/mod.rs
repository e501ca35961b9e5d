//! The client's side of POP3.
//!
//! It reads the greeting, asks for the capabilities, settles TLS by [`ClientConfig::stls`], asks again (RFC 2595 §4:
//! what was said before TLS is forgotten), and is [`Event::Ready`]. Commands go ahead of their responses where the
//! server says that it can take it (RFC 2449 §6.6).

mod event;
mod responses;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use wire::{Data, DataDecoder, LineEnding, LineFramer, Mechanism, Output, Secret, Session, TlsFacts, put_base64};

use crate::capability::Capability;
use crate::command::{Command, MessageNumber, Password};
use crate::listing::UniqueId;

pub use event::{ClientConfig, ClientError, Event, StartTls, Told};

/// Octets of a line of an AUTH exchange, CRLF included.
const AUTH_LINE: usize = 12_288;
/// Octets of a command line (RFC 2449 §4).
const COMMAND_LINE: usize = 255;
/// Messages told in one event.
const BATCH: usize = 1000;

/// A client session of one connection.
pub struct Client {
    config: Arc<ClientConfig>,
    lines: LineFramer,
    outbox: VecDeque<Queued>,
    commands: BytesMut,
    state: State,
    reading: Reading,
    /// Not yet sent.
    queue: VecDeque<(Command, Expected)>,
    /// Sent, and not yet answered.
    outstanding: VecDeque<Expected>,
    capabilities: Vec<Capability>,
    deadline: Option<Instant>,
    tls: bool,
    /// The application owes an answer: to a challenge, to a piece of content.
    asked: bool,
    auth_rounds: u32,
    quitting: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Greeting,
    /// The commands that settle TLS are under way.
    Settling,
    Handshake,
    Ready,
    Over,
}

/// What the next octets are.
#[derive(Debug)]
enum Reading {
    /// The first line of a response.
    Status,
    Capabilities(Vec<Capability>),
    Sizes(Vec<(MessageNumber, u64)>),
    UniqueIds(Vec<(MessageNumber, UniqueId)>),
    Content(DataDecoder),
}

/// What a response means.
#[derive(Debug)]
enum Expected {
    /// `told`: the application asked.
    Capabilities {
        told: bool,
    },
    Stls,
    User(Password),
    Pass,
    /// With an initial response that has not been sent.
    Auth(Option<Secret>),
    Stat,
    Sizes {
        all: bool,
    },
    UniqueIds {
        all: bool,
    },
    Content,
    Other,
    Quit,
}

impl Expected {
    /// Nothing is sent ahead of it, nor behind it before its response is there.
    fn stands_alone(&self) -> bool {
        matches!(self, Self::Stls | Self::User(_) | Self::Pass | Self::Auth(_))
    }
}

enum Queued {
    Send(Bytes),
    StartTls,
    Event(Event),
    Close,
}

impl Client {
    /// A session whose connection stands at `now`. For TLS from the start, call
    /// [`handle_tls`](Session::handle_tls) before the first poll.
    #[must_use]
    pub fn new(config: Arc<ClientConfig>, now: Instant) -> Self {
        Self {
            lines: LineFramer::new(config.limits.response_line_octets, LineEnding::Strict),
            outbox: VecDeque::new(),
            commands: BytesMut::new(),
            state: State::Greeting,
            reading: Reading::Status,
            queue: VecDeque::new(),
            outstanding: VecDeque::new(),
            capabilities: Vec::new(),
            deadline: Some(now + config.limits.greeting_wait),
            tls: false,
            asked: false,
            auth_rounds: 0,
            quitting: false,
            config,
        }
    }

    fn reads(&self) -> bool {
        !self.asked && !matches!(self.state, State::Handshake | State::Over) && self.outbox.len() < 8
    }

    fn push(&mut self, queued: Queued) {
        if !self.commands.is_empty() {
            self.outbox.push_back(Queued::Send(self.commands.split().freeze()));
        }
        self.outbox.push_back(queued);
    }

    fn tell(&mut self, event: Event) {
        self.push(Queued::Event(event));
    }

    fn finish(&mut self, closed: Result<(), ClientError>) {
        if self.state == State::Over {
            return;
        }
        self.state = State::Over;
        self.reading = Reading::Status;
        self.deadline = None;
        self.asked = false;
        self.queue.clear();
        self.outstanding.clear();
        self.lines.clear();
        self.tell(Event::Closed(closed));
        self.push(Queued::Close);
    }

    /// Sends what may be sent now.
    fn send_commands(&mut self, now: Instant) {
        if !matches!(self.state, State::Settling | State::Ready) {
            return;
        }
        let pipelining = self.capabilities.contains(&Capability::Pipelining);
        while let Some((command, expected)) = self.queue.front() {
            let alone = expected.stands_alone() || self.outstanding.iter().any(Expected::stands_alone);
            let ahead = if pipelining && !alone { self.config.limits.pipelined_commands.max(1) } else { 1 };
            if self.outstanding.len() >= ahead {
                break;
            }
            command.encode(&mut self.commands);
            if self.outstanding.is_empty() {
                self.restart_deadline(now);
            }
            if let Some((_, expected)) = self.queue.pop_front() {
                self.outstanding.push_back(expected);
            }
        }
    }

    fn restart_deadline(&mut self, now: Instant) {
        self.deadline = Some(now + self.config.limits.response_wait);
    }

    fn enqueue(&mut self, command: Command, expected: Expected) {
        if !self.quitting {
            self.queue.push_back((command, expected));
        }
    }

    fn authenticate(&mut self, mechanism: Mechanism, initial_response: Option<Secret>) {
        let offered = self.capabilities.iter().any(|capability| matches!(capability, Capability::Sasl(_)));
        let mut at_once = Command::Auth { mechanism: mechanism.clone(), initial_response: initial_response.clone() };
        let mut line = BytesMut::new();
        at_once.encode(&mut line);
        let mut held = None;
        // RFC 5034 §3: none where SASL is not offered; §4: none that makes the line too long.
        if initial_response.is_some() && (!offered || line.len() > COMMAND_LINE) {
            held = initial_response;
            at_once = Command::Auth { mechanism, initial_response: None };
        }
        self.auth_rounds = 0;
        self.lines.set_limit(AUTH_LINE);
        self.enqueue(at_once, Expected::Auth(held));
    }

    fn allows_login(&self) -> bool {
        self.tls || self.config.allow_plaintext_auth
    }

    fn respond(&mut self, response: Option<&Secret>) {
        match response {
            Some(response) => put_base64(response.expose(), &mut self.commands),
            None => self.commands.extend_from_slice(b"*"),
        }
        self.commands.extend_from_slice(b"\r\n");
    }

    fn quit(&mut self) {
        self.enqueue(Command::Quit, Expected::Quit);
        self.quitting = true;
    }
}

impl Session for Client {
    type Event = Event;
    type Told = Told;
    type Body = Infallible;

    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) {
        while self.reads() {
            if let Reading::Content(decoder) = &mut self.reading {
                match decoder.decode(input) {
                    None => break,
                    Some(Data::Octets(piece)) => {
                        self.asked = true;
                        self.tell(Event::Content(piece));
                    }
                    Some(Data::End) => {
                        let octets = decoder.octets();
                        self.reading = Reading::Status;
                        self.tell(Event::ContentEnd { octets });
                        self.on_answered(now);
                    }
                }
                continue;
            }
            match self.lines.take_line(input) {
                Ok(None) => break,
                Ok(Some(line)) => self.on_line(now, &line),
                Err(error) => self.finish(Err(ClientError::Response(error.into()))),
            }
        }
        self.tell_batch();
    }

    fn handle_told(&mut self, now: Instant, told: Told) {
        if self.state == State::Over {
            return;
        }
        match told {
            Told::Login { .. } | Told::Authenticate { .. } if !self.allows_login() => {
                self.tell(Event::LoginFailed(None));
            }
            Told::Login { user, password } => self.enqueue(Command::User(user), Expected::User(password)),
            Told::Authenticate { mechanism, initial_response } => self.authenticate(mechanism, initial_response),
            Told::Respond(response) if self.is_challenged() => {
                self.asked = false;
                self.restart_deadline(now);
                self.respond(Some(&response));
            }
            Told::Cancel if self.is_challenged() => {
                self.asked = false;
                self.restart_deadline(now);
                self.respond(None);
            }
            Told::Respond(_) | Told::Cancel => {}
            Told::More => {
                if matches!(self.reading, Reading::Content(_)) {
                    self.asked = false;
                    self.restart_deadline(now);
                }
            }
            Told::Capabilities => self.enqueue(Command::Capa, Expected::Capabilities { told: true }),
            Told::Stat => self.enqueue(Command::Stat, Expected::Stat),
            Told::List(message) => self.enqueue(Command::List(message), Expected::Sizes { all: message.is_none() }),
            Told::UniqueIds(message) => {
                self.enqueue(Command::Uidl(message), Expected::UniqueIds { all: message.is_none() });
            }
            Told::Retrieve(message) => self.enqueue(Command::Retr(message), Expected::Content),
            Told::Top { message, lines } => self.enqueue(Command::Top { message, lines }, Expected::Content),
            Told::Delete(message) => self.enqueue(Command::Dele(message), Expected::Other),
            Told::Noop => self.enqueue(Command::Noop, Expected::Other),
            Told::Reset => self.enqueue(Command::Rset, Expected::Other),
            Told::Utf8 => self.enqueue(Command::Utf8, Expected::Other),
            Told::Quit => self.quit(),
        }
        self.send_commands(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if !self.asked && self.deadline.is_some_and(|deadline| deadline <= now) {
            self.finish(Err(ClientError::TimedOut));
        }
    }

    fn handle_eof(&mut self, _now: Instant) {
        let error = if self.state == State::Handshake { ClientError::Handshake } else { ClientError::Eof };
        self.finish(Err(error));
    }

    fn handle_tls(&mut self, now: Instant, _tls: TlsFacts) {
        self.tls = true;
        if self.state == State::Handshake {
            // RFC 2595 §4, rule 11: nothing learnt before counts.
            self.capabilities.clear();
            self.lines.clear();
            self.state = State::Settling;
            self.queue.push_front((Command::Capa, Expected::Capabilities { told: false }));
            self.send_commands(now);
        }
    }

    fn handle_shutdown(&mut self, now: Instant) {
        if matches!(self.state, State::Greeting | State::Handshake) {
            self.finish(Ok(()));
            return;
        }
        // What has not been sent is not begun any more.
        self.queue.clear();
        self.quitting |= self.outstanding.iter().any(|expected| matches!(expected, Expected::Quit));
        self.quit();
        if self.is_challenged() && std::mem::take(&mut self.asked) {
            self.respond(None);
        }
        self.send_commands(now);
    }

    fn poll(&mut self) -> Output<Self> {
        if let Some(queued) = self.outbox.pop_front() {
            return match queued {
                Queued::Send(octets) => Output::Send(octets),
                Queued::StartTls => Output::StartTls,
                Queued::Event(event) => Output::Event(event),
                Queued::Close => Output::Close,
            };
        }
        if !self.commands.is_empty() {
            return Output::Send(self.commands.split().freeze());
        }
        if self.state == State::Over {
            return Output::Close;
        }
        let deadline = if self.asked { None } else { self.deadline };
        Output::Wait { deadline, read: self.reads() }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("state", &self.state).field("tls", &self.tls).finish_non_exhaustive()
    }
}
