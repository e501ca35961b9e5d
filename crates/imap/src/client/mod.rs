//! The client session: greeting, STARTTLS, commands one after another, literals that wait for their turn.
//!
//! It drives our tests, benchmarks and examples, and whoever embeds it: commands are written as octets and literals,
//! responses come back as [`Response`]s.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use wire::{CommandFramer, CommandLimits, Framed, Output, Session, TlsFacts};

use crate::parse::{self, Response, StatusKind};

/// The settings of a client session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Config {
    /// TLS must stand before anything is said; STARTTLS makes it.
    pub require_tls: bool,
    /// Octets of one response with its literals; default 64 MiB.
    pub response_octets: usize,
    /// The wait for the next response to a command; default 2 min.
    pub response_wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { require_tls: true, response_octets: 64 << 20, response_wait: Duration::from_secs(120) }
    }
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The greeting and, where demanded, STARTTLS are behind us; commands may come. The words of the greeting.
    Ready(String),
    /// An untagged response, or (`Continuation`) a request to go on that no literal waited for.
    Response(Response),
    /// The command is over.
    Done {
        /// OK, NO or BAD.
        kind: StatusKind,
        /// The code in brackets.
        code: Option<String>,
        /// The words.
        text: String,
    },
    /// The session is over; nothing follows.
    Closed(Result<(), Failure>),
}

/// Why a session failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The server refused us, or said BYE.
    #[error("refused by the server: {0}")]
    Refused(String),
    /// TLS is demanded and the server has none, or greets with PREAUTH, which would skip it (rule 11).
    #[error("TLS is required and not offered")]
    TlsNotOffered,
    /// Octets came in clear behind the reply to STARTTLS (rule 11).
    #[error("octets in clear behind the reply to STARTTLS")]
    InjectedOctets,
    /// What came is no response, or exceeds a limit.
    #[error("malformed response")]
    Malformed,
    /// No response in time.
    #[error("no response in time")]
    TimedOut,
    /// The server closed the connection without a word.
    #[error("connection closed by the server")]
    Eof,
}

/// What the application tells.
#[derive(Debug)]
pub enum Told {
    /// A command, without its tag: octets, then literals with the octets behind each.
    Command(Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>),
    /// A line as it is: DONE, or a response in AUTHENTICATE.
    Line(Vec<u8>),
    /// Say LOGOUT and close.
    Quit,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Greeting,
    StartTls,
    Handshake,
    Ready,
    Busy,
    Logout,
    Over,
}

/// A client session; `B` is whatever body type its driver needs, none is ever sent.
#[derive(Debug)]
pub struct Client<B> {
    config: Config,
    framer: CommandFramer,
    state: State,
    tls: bool,
    number: u32,
    /// Literals that wait for a continuation.
    waiting: VecDeque<(Vec<u8>, Vec<u8>)>,
    commands: VecDeque<Told>,
    outbox: VecDeque<Output<Self>>,
    deadline: Option<Instant>,
    body: PhantomData<B>,
}

impl<B> Client<B> {
    /// A session for a connection that was opened at `now`. With TLS from the start call `handle_tls` first.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Self {
        let octets = config.response_octets;
        let limits = CommandLimits { line_octets: octets, command_octets: octets, literals: 100_000 };
        Self {
            config,
            framer: CommandFramer::new(limits),
            state: State::Greeting,
            tls: false,
            number: 0,
            waiting: VecDeque::new(),
            commands: VecDeque::new(),
            outbox: VecDeque::new(),
            deadline: Some(now + config.response_wait),
            body: PhantomData,
        }
    }

    fn fail(&mut self, failure: Result<(), Failure>) {
        if self.state != State::Over {
            self.state = State::Over;
            self.outbox.push_back(Output::Event(Event::Closed(failure)));
            self.outbox.push_back(Output::Close);
        }
    }

    fn send_command(&mut self, now: Instant, octets: &[u8], literals: Vec<(Vec<u8>, Vec<u8>)>) {
        self.number += 1;
        let mut line = BytesMut::new();
        crate::encode::print(&mut line, format_args!("m{} ", self.number));
        line.put_slice(octets);
        self.waiting = literals.into();
        self.announce_or_end(&mut line);
        self.outbox.push_back(Output::Send(line.freeze()));
        self.deadline = Some(now + self.config.response_wait);
    }

    fn announce_or_end(&mut self, line: &mut BytesMut) {
        match self.waiting.front() {
            Some((literal, _)) => crate::encode::number(line, literal.len() as u64, "{", "}\r\n"),
            None => line.put_slice(b"\r\n"),
        }
    }

    fn next_command(&mut self, now: Instant) {
        if self.state != State::Ready {
            return;
        }
        match self.commands.pop_front() {
            Some(Told::Command(octets, literals)) => {
                self.state = State::Busy;
                self.send_command(now, &octets, literals);
            }
            Some(Told::Line(_)) | None => {}
            Some(Told::Quit) => {
                self.state = State::Logout;
                self.send_command(now, b"LOGOUT", Vec::new());
            }
        }
    }

    fn ready(&mut self, now: Instant, words: String) {
        self.state = State::Ready;
        self.deadline = None;
        self.outbox.push_back(Output::Event(Event::Ready(words)));
        self.next_command(now);
    }

    fn on_response(&mut self, now: Instant, octets: &[u8]) {
        let Some(response) = parse::response(octets) else { return self.fail(Err(Failure::Malformed)) };
        self.deadline = Some(now + self.config.response_wait);
        match (self.state, response) {
            (State::Greeting, Response::Status { tag: None, kind, text, .. }) => match kind {
                StatusKind::Ok if self.tls || !self.config.require_tls => self.ready(now, text),
                StatusKind::Ok => {
                    self.state = State::StartTls;
                    self.send_command(now, b"STARTTLS", Vec::new());
                }
                StatusKind::PreAuth if self.tls || !self.config.require_tls => self.ready(now, text),
                StatusKind::PreAuth => self.fail(Err(Failure::TlsNotOffered)),
                _ => self.fail(Err(Failure::Refused(text))),
            },
            (State::Greeting, _) => self.fail(Err(Failure::Malformed)),
            (State::StartTls, Response::Status { tag: Some(_), kind, .. }) => {
                if kind == StatusKind::Ok {
                    self.state = State::Handshake;
                    self.framer.clear();
                    self.outbox.push_back(Output::StartTls);
                } else {
                    self.fail(Err(Failure::TlsNotOffered));
                }
            }
            (State::Logout, Response::Status { tag: Some(_), .. }) => self.fail(Ok(())),
            (State::Logout, _) => {}
            (_, Response::Status { tag: None, kind: StatusKind::Bye, text, .. }) => {
                self.fail(Err(Failure::Refused(text)));
            }
            (State::Busy, Response::Status { tag: Some(_), kind, code, text }) => {
                self.state = State::Ready;
                self.waiting.clear();
                self.deadline = None;
                self.outbox.push_back(Output::Event(Event::Done { kind, code, text }));
                self.next_command(now);
            }
            (State::Busy, Response::Continuation(_)) if !self.waiting.is_empty() => {
                if let Some((literal, behind)) = self.waiting.pop_front() {
                    let mut out = BytesMut::from(&literal[..]);
                    out.put_slice(&behind);
                    self.announce_or_end(&mut out);
                    self.outbox.push_back(Output::Send(out.freeze()));
                }
            }
            (_, response) => self.outbox.push_back(Output::Event(Event::Response(response))),
        }
    }
}

impl<B> Session for Client<B> {
    type Event = Event;
    type Told = Told;
    type Body = B;

    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) {
        while !input.is_empty() && !matches!(self.state, State::Over) {
            if self.state == State::Handshake {
                return self.fail(Err(Failure::InjectedOctets));
            }
            match self.framer.take(input) {
                Ok(None) => return,
                Ok(Some(Framed::Command(octets))) => self.on_response(now, &octets),
                Ok(Some(Framed::Literal(literal))) if self.framer.has_room_for(literal.octets) => {
                    self.framer.gather(literal);
                }
                Ok(Some(Framed::Literal(_))) | Err(_) => return self.fail(Err(Failure::Malformed)),
            }
        }
    }

    fn handle_told(&mut self, now: Instant, told: Told) {
        match told {
            Told::Line(line) => {
                let mut out = BytesMut::from(&line[..]);
                out.put_slice(b"\r\n");
                self.outbox.push_back(Output::Send(out.freeze()));
                self.deadline = Some(now + self.config.response_wait);
            }
            told => {
                self.commands.push_back(told);
                self.next_command(now);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.take_if(|deadline| *deadline <= now).is_some() {
            self.fail(Err(Failure::TimedOut));
        }
    }

    fn handle_eof(&mut self, _now: Instant) {
        self.fail(Err(Failure::Eof));
    }

    fn handle_tls(&mut self, now: Instant, _tls: TlsFacts) {
        self.tls = true;
        if self.state == State::Handshake {
            // RFC 9051 §6.2.1: what was learnt before is forgotten; the server greets no second time.
            self.ready(now, String::new());
        }
    }

    fn handle_shutdown(&mut self, now: Instant) {
        self.handle_told(now, Told::Quit);
    }

    fn poll(&mut self) -> Output<Self> {
        if let Some(output) = self.outbox.pop_front() {
            return output;
        }
        if self.state == State::Over {
            return Output::Close;
        }
        Output::Wait { deadline: self.deadline, read: self.state != State::Handshake }
    }
}

/// A command's argument as a quoted string; `None` where it needs a literal.
#[must_use]
pub fn quoted(text: &str) -> Option<Bytes> {
    let plain = text.bytes().all(|octet| matches!(octet, b' '..=b'~'));
    plain.then(|| Bytes::from(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))))
}
