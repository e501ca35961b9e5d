//! The server session: framing, states, literals, AUTHENTICATE, IDLE, APPEND; what commands mean is the application's.

mod append;
mod commands;
mod config;
mod event;

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use wire::{
    CommandFramer, CommandLimits, FrameError, Framed, LineEnding, LineFramer, LiteralHeader, Output, Session, TlsFacts,
};

pub use config::Config;
pub use event::{Done, Enabled, Event, Piece, Status, Then, Told};

use crate::{Mode, Tag};

/// A server session; `B` is the application's handle to octets that it will stream.
#[derive(Debug)]
pub struct Server<B> {
    config: Arc<Config>,
    framer: CommandFramer,
    /// Lines that are no commands: AUTHENTICATE's responses and DONE.
    lines: LineFramer,
    input: Input,
    state: State,
    enabled: Enabled,
    tls: Option<TlsFacts>,
    /// The command that is being carried out.
    tag: Option<Tag>,
    /// Whether an answer is owed.
    asked: bool,
    /// Ask for more once what was told has left.
    more: bool,
    outbox: VecDeque<Item<B>>,
    errors: u32,
    failed_logins: u32,
    deadline: Option<Instant>,
    heartbeat: Option<Instant>,
    greeted: bool,
    closing: bool,
    /// The process stops, and the command at hand is to be finished first.
    stopping: bool,
    over: bool,
    /// APPEND: whether `UTF8 (` is still to be closed, the messages so far, whether one just ended, and the answer to a
    /// refused one.
    append_open: bool,
    append_count: usize,
    append_whole: bool,
    refused: Option<Done>,
    body: PhantomData<B>,
}

/// What the next octets are.
#[derive(Debug)]
enum Input {
    Commands,
    /// Responses in AUTHENTICATE.
    Authenticate,
    /// DONE.
    Idle,
    /// A message, or what is between messages, of APPEND.
    Append(append::Progress),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    NotAuthenticated,
    Authenticated,
    Selected,
}

#[derive(Debug)]
enum Item<B> {
    Send(Bytes),
    Body(B),
    Event(Event),
    StartTls,
    Close,
}

/// Octets of a literal that LITERAL- lets a client send without waiting (RFC 7888 §5).
const LITERAL_MINUS: u64 = 4_096;

impl<B> Server<B> {
    /// A session for a connection that was opened at `now`. On a TLS port call `handle_tls` first.
    #[must_use]
    pub fn new(config: Arc<Config>, now: Instant) -> Self {
        let limits = CommandLimits {
            line_octets: config.limits.line_octets,
            command_octets: config.limits.command_octets,
            ..CommandLimits::default()
        };
        Self {
            framer: CommandFramer::new(limits),
            lines: LineFramer::new(config.limits.line_octets, LineEnding::LenientLineFeed),
            input: Input::Commands,
            state: State::NotAuthenticated,
            enabled: Enabled::default(),
            tls: None,
            tag: None,
            asked: false,
            more: false,
            outbox: VecDeque::new(),
            errors: 0,
            failed_logins: 0,
            deadline: Some(now + config.limits.login_wait),
            heartbeat: None,
            greeted: false,
            closing: false,
            stopping: false,
            over: false,
            append_open: false,
            append_count: 0,
            append_whole: false,
            refused: None,
            body: PhantomData,
            config,
        }
    }

    fn mode(&self) -> Mode {
        Mode { utf8: self.enabled.utf8 }
    }

    fn capabilities(&self) -> String {
        let binding = self.tls.as_ref().is_some_and(|tls| tls.exporter.is_some());
        config::capabilities(&self.config, self.tls.is_some(), binding, self.state != State::NotAuthenticated)
    }

    fn send(&mut self, line: &str) {
        self.outbox.push_back(Item::Send(Bytes::from(format!("{line}\r\n"))));
    }

    fn event(&mut self, event: Event) {
        self.outbox.push_back(Item::Event(event));
    }

    /// Queues an event whose answer must come before anything else is read.
    fn ask(&mut self, event: Event) {
        self.asked = true;
        self.event(event);
    }

    /// Ends the command at hand.
    fn done(&mut self, done: Done) {
        if let Some(selected) = done.selected
            && self.state != State::NotAuthenticated
        {
            self.state = if selected { State::Selected } else { State::Authenticated };
        }
        let status = match done.status {
            Status::Ok => "OK",
            Status::No => "NO",
            Status::Bad => "BAD",
        };
        let code = done.code.map(|code| format!("[{code}] ")).unwrap_or_default();
        // Words never hold a line break; one that did would forge a response.
        let text = done.text.replace(['\r', '\n', '\0'], " ");
        let tag = self.tag.take().map_or_else(|| "*".to_owned(), |tag| tag.to_string());
        self.send(&format!("{tag} {status} {code}{text}"));
        if done.status == Status::Bad {
            self.errors += 1;
            if self.errors >= self.config.limits.errors {
                self.bye("too many errors");
            }
        } else {
            self.errors = 0;
        }
    }

    fn bye(&mut self, words: &str) {
        if !self.closing {
            self.closing = true;
            let words = words.replace(['\r', '\n', '\0'], " ");
            self.send(&format!("* BYE {words}"));
            self.close();
        }
    }

    fn close(&mut self) {
        self.closing = true;
        if !self.over {
            self.over = true;
            if matches!(self.input, Input::Append(_)) {
                self.event(Event::AppendAborted);
            }
            self.event(Event::Closed);
            self.outbox.push_back(Item::Close);
        }
    }

    /// Starts the wait for the next command.
    fn expect_command(&mut self, now: Instant) {
        let wait = match self.state {
            State::NotAuthenticated => return,
            _ => self.config.limits.idle_wait,
        };
        self.deadline = Some(now + wait);
    }

    fn take_commands(&mut self, now: Instant, input: &mut BytesMut) {
        match self.framer.take(input) {
            Ok(None) => {}
            Ok(Some(Framed::Command(command))) => {
                self.expect_command(now);
                self.on_command(now, &command);
            }
            Ok(Some(Framed::Literal(literal))) => {
                self.expect_command(now);
                self.on_literal(now, literal);
            }
            Err(error) => self.on_frame_error(error),
        }
    }

    fn on_frame_error(&mut self, error: FrameError) {
        self.tag = None;
        match error {
            FrameError::Line(_) => self.done(Done::bad(format!("{error}"))),
            // What follows cannot be told apart from commands any more.
            _ => self.bye(&error.to_string()),
        }
    }

    /// A command pauses at a literal: a message of APPEND streams, anything else is gathered within the limits.
    fn on_literal(&mut self, now: Instant, literal: LiteralHeader) {
        if self.state != State::NotAuthenticated && self.begins_append(now, literal) {
            return;
        }
        let too_eager = literal.non_synchronizing && !self.config.literal_plus && literal.octets > LITERAL_MINUS;
        let stranger = self.state == State::NotAuthenticated && literal.octets > 8192;
        if too_eager || stranger || !self.framer.has_room_for(literal.octets) {
            self.tag = tag_of(self.framer.so_far());
            self.framer.clear();
            if literal.non_synchronizing {
                return self.bye("literal too large");
            }
            return self.done(Done::no("literal too large").code("TOOBIG"));
        }
        self.framer.gather(literal);
        if !literal.non_synchronizing {
            self.send("+ go on");
        }
    }

    fn take_lines(&mut self, now: Instant, input: &mut BytesMut) {
        let line = match self.lines.take_line(input) {
            Ok(None) => return,
            Ok(Some(line)) => line,
            Err(error) => {
                if matches!(self.input, Input::Authenticate) {
                    self.event(Event::AuthenticateCancelled);
                }
                self.input = Input::Commands;
                return self.done(Done::bad(error.to_string()));
            }
        };
        self.expect_command(now);
        match self.input {
            Input::Idle => {
                self.input = Input::Commands;
                self.heartbeat = None;
                if line.eq_ignore_ascii_case(b"DONE") {
                    self.ask(Event::IdleDone);
                } else {
                    self.done(Done::bad("IDLE ends with DONE"));
                }
            }
            _ => self.on_authenticate_line(&line),
        }
    }

    fn on_authenticate_line(&mut self, line: &[u8]) {
        match crate::parse::continuation(line) {
            Ok(Some(response)) => self.ask(Event::AuthenticateResponse(response)),
            Ok(None) => {
                self.input = Input::Commands;
                self.event(Event::AuthenticateCancelled);
                self.done(Done::bad("AUTHENTICATE given up"));
            }
            Err(_) => {
                self.input = Input::Commands;
                self.event(Event::AuthenticateCancelled);
                self.done(Done::bad("response is not base64"));
            }
        }
    }

    fn logged_in(&mut self, now: Instant) {
        self.input = Input::Commands;
        self.state = State::Authenticated;
        self.expect_command(now);
        let code = format!("CAPABILITY {}", self.capabilities());
        self.done(Done::ok("logged in").code(code));
    }

    fn login_refused(&mut self, done: Done) {
        self.input = Input::Commands;
        self.done(done);
        self.failed_logins += 1;
        if self.failed_logins >= self.config.limits.failed_logins {
            self.bye("too many failed logins");
        }
    }
}

/// The tag in front of what has been taken of a command.
fn tag_of(octets: &[u8]) -> Option<Tag> {
    crate::parse::tag_in_front(octets)
}

impl<B> Session for Server<B> {
    type Event = Event;
    type Told = Told<B>;
    type Body = B;

    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) {
        while !input.is_empty() && !self.asked && !self.closing && !self.waits_for_tls() {
            let before = input.len();
            match &self.input {
                Input::Commands => self.take_commands(now, input),
                Input::Authenticate | Input::Idle => self.take_lines(now, input),
                Input::Append(_) => self.take_append(now, input),
            }
            if input.len() == before && self.outbox.is_empty() {
                break;
            }
            if self.outbox.iter().any(|item| matches!(item, Item::Event(_))) {
                break;
            }
        }
    }

    fn handle_told(&mut self, now: Instant, told: Told<B>) {
        match told {
            Told::Bye(words) => self.bye(&words),
            Told::News(octets) => {
                if matches!(self.input, Input::Idle) && !self.closing {
                    self.outbox.push_back(Item::Send(octets));
                    self.heartbeat = self.config.limits.heartbeat.map(|wait| now + wait);
                }
            }
            _ if !self.asked || self.closing => {}
            Told::Accept => {
                self.asked = false;
                self.on_accept(now);
            }
            Told::Challenge(octets) => {
                self.asked = false;
                use base64::Engine as _;
                self.input = Input::Authenticate;
                self.send(&format!("+ {}", base64::engine::general_purpose::STANDARD.encode(octets)));
            }
            Told::Refuse(done) => {
                self.asked = false;
                self.on_refuse(done);
            }
            Told::Reply(pieces, then) => {
                self.asked = false;
                for piece in pieces {
                    self.outbox.push_back(match piece {
                        Piece::Octets(octets) => Item::Send(octets),
                        Piece::Body(body) => Item::Body(body),
                    });
                }
                match then {
                    Then::More => {
                        self.asked = true;
                        self.more = true;
                    }
                    Then::Done(_) if matches!(self.input, Input::Idle) => {}
                    Then::Done(done) => {
                        if matches!(self.input, Input::Append(_)) {
                            self.input = Input::Commands;
                        }
                        self.done(done);
                    }
                }
                self.expect_command(now);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.heartbeat.is_some_and(|beat| beat <= now) {
            self.heartbeat = self.config.limits.heartbeat.map(|wait| now + wait);
            if matches!(self.input, Input::Idle) && !self.closing {
                self.send("* OK still here");
            }
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) && !self.asked {
            self.deadline = None;
            self.bye("idle for too long");
        }
    }

    fn handle_eof(&mut self, _now: Instant) {
        self.close();
    }

    fn handle_tls(&mut self, _now: Instant, tls: TlsFacts) {
        // RFC 9051 §6.2.1: what was learnt before TLS is void.
        self.framer.clear();
        self.tls = Some(tls.clone());
        self.event(Event::Secured(tls));
    }

    fn handle_shutdown(&mut self, _now: Instant) {
        if self.asked && self.greeted {
            self.stopping = true;
        } else {
            self.bye("server shutting down");
        }
    }

    fn poll(&mut self) -> Output<Self> {
        if !self.greeted {
            self.greeted = true;
            self.ask(Event::Connected);
        }
        match self.outbox.pop_front() {
            Some(Item::Send(octets)) => return Output::Send(octets),
            Some(Item::Body(body)) => return Output::SendBody { body, coding: wire::BodyCoding::Raw },
            Some(Item::Event(event)) => return Output::Event(event),
            Some(Item::StartTls) => return Output::StartTls,
            Some(Item::Close) => return Output::Close,
            None => {}
        }
        if std::mem::take(&mut self.more) {
            return Output::Event(Event::More);
        }
        if self.stopping && !self.asked && !self.over {
            self.bye("server shutting down");
            return self.poll();
        }
        if self.over {
            return Output::Close;
        }
        let deadline = match (self.deadline, self.heartbeat) {
            (Some(deadline), Some(beat)) => Some(deadline.min(beat)),
            (deadline, beat) => deadline.or(beat),
        };
        Output::Wait { deadline: if self.asked { None } else { deadline }, read: !self.asked }
    }
}

impl<B> Server<B> {
    fn waits_for_tls(&self) -> bool {
        self.outbox.iter().any(|item| matches!(item, Item::StartTls))
    }

    fn on_accept(&mut self, now: Instant) {
        if matches!(self.input, Input::Append(_)) {
            return self.append_accepted();
        }
        if self.tag.is_some() {
            return self.logged_in(now);
        }
        let greeting = format!("* OK [CAPABILITY {}] {} ready", self.capabilities(), self.config.hostname);
        self.send(&greeting);
    }

    fn on_refuse(&mut self, done: Done) {
        if matches!(self.input, Input::Append(_)) {
            self.append_refused(done);
        } else {
            self.login_refused(done);
        }
    }

    /// How long a message of `octets` may take to arrive.
    fn message_wait(&self, octets: u64) -> Duration {
        self.config.limits.literal_wait + Duration::from_millis(octets)
    }
}
