//! The client's side of SMTP and LMTP.
//!
//! RFC 5321 §4.1, §4.5.3.2 (times), RFC 2920 (pipelining), RFC 3030 (BDAT), RFC 3207 (STARTTLS), RFC 4954 (AUTH),
//! RFC 2033 (a reply for each recipient). The server is trusted in nothing: replies are bounded in lines, octets and
//! time, and what it said before TLS is forgotten after it.

mod event;
mod extensions;
mod replies;
mod reply_parser;
mod transit;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use wire::{BodyCoding, LineEnding, LineError, LineFramer, Mechanism, Output, Secret, Session, TlsFacts, put_base64};

use crate::command::Command;
use crate::error::ReplyError;
use crate::reply::Reply;
use reply_parser::ReplyParser;
use transit::Transit;

pub use event::{
    Answer, ClientConfig, ClientMode, Event, Failure, Outcome, Ready, Stage, StartTls, Told, Transaction, Unsupported,
};
pub use extensions::Extensions;

/// A client session of one connection; `B` is the application's handle to a message's octets.
#[derive(Debug)]
pub struct Client<B> {
    config: Arc<ClientConfig>,
    phase: Phase,
    /// The commands whose replies are still to come, in order (RFC 2920 §3.1).
    expected: VecDeque<Expected>,
    outbox: VecDeque<Queued<B>>,
    /// Commands behind all that is in the outbox.
    commands: BytesMut,
    lines: LineFramer,
    parser: ReplyParser,
    deadline: Option<Instant>,
    tls: Option<TlsFacts>,
    greeting: Option<Reply>,
    extensions: Extensions,
    /// An initial response too long for the line of AUTH (RFC 4954 §4).
    initial_response: Option<Secret>,
    auth_rounds: u32,
    /// The transaction whose replies are coming.
    transit: Option<Transit<B>>,
    /// The one whose commands have left behind the content of that (RFC 2920 §3.1).
    ahead: Option<Transit<B>>,
    waiting: VecDeque<Waiting<B>>,
    /// MAIL commands sent.
    transactions: u32,
    /// The last transaction was left open: RSET comes before the next.
    dirty: bool,
    quitting: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// From the greeting to the event `Ready`.
    Opening,
    /// The application's turn, or a transaction.
    Open,
    /// AUTH, the server's turn.
    Authenticating,
    /// AUTH, the application's turn.
    Challenged,
    /// The TLS handshake's.
    Tls,
    /// QUIT was sent.
    Quitting,
    /// Nobody's.
    Closed,
}

/// A command whose reply is to come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Auth,
    Rset,
    Mail,
    /// RCPT of the recipient at this place.
    Rcpt(usize),
    Data,
    /// The end of the content; in LMTP for the recipient at this place.
    Content(Option<usize>),
    Quit,
}

/// A transaction that waits for its turn, and since when.
#[derive(Debug)]
struct Waiting<B> {
    transaction: Transaction<B>,
    since: Instant,
}

#[derive(Debug)]
enum Queued<B> {
    Octets(Bytes),
    Body(B, BodyCoding),
    Event(Event),
    StartTls,
    Close,
}

/// The longest AUTH line with an initial response in it (RFC 4954 §4: AUTH is under the limit of RFC 5321 §4.5.3.1.4).
const AUTH_COMMAND_OCTETS: usize = 512;

/// Octets of a reply line during AUTH (RFC 4954 §4).
const AUTH_REPLY_OCTETS: usize = 12_288;

impl<B> Client<B> {
    /// A session on a connection that stands since `now`. With implicit TLS, [`Session::handle_tls`] is called first.
    #[must_use]
    pub fn new(config: Arc<ClientConfig>, now: Instant) -> Self {
        let limits = &config.limits;
        Self {
            phase: Phase::Opening,
            expected: VecDeque::from([Expected::Greeting]),
            outbox: VecDeque::new(),
            commands: BytesMut::new(),
            // LENIENT: a reply line ended by LF alone is one (RFC 5321 §2.3.8 forbids it, some servers send it).
            lines: LineFramer::new(limits.reply_line_octets, LineEnding::LenientLineFeed),
            parser: ReplyParser::new(limits.reply_lines),
            deadline: Some(now + limits.greeting_wait),
            tls: None,
            greeting: None,
            extensions: Extensions::default(),
            initial_response: None,
            auth_rounds: 0,
            transit: None,
            ahead: None,
            transactions: 0,
            waiting: VecDeque::new(),
            dirty: false,
            quitting: false,
            config,
        }
    }

    /// What the server offers.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    // --- what is said

    fn queue(&mut self, queued: Queued<B>) {
        if !self.commands.is_empty() {
            let octets = std::mem::take(&mut self.commands).freeze();
            self.outbox.push_back(Queued::Octets(octets));
        }
        self.outbox.push_back(queued);
    }

    fn tell(&mut self, event: Event) {
        self.queue(Queued::Event(event));
    }

    /// A command, and the wait for its reply.
    fn command(&mut self, now: Instant, command: &Command, expected: Expected) {
        command.encode(&mut self.commands);
        self.expect(now, expected);
    }

    fn expect(&mut self, now: Instant, expected: Expected) {
        self.expected.push_back(expected);
        if self.expected.len() == 1 {
            self.time(now);
        }
    }

    /// RFC 5321 §4.5.3.2: each wait is for a whole reply.
    fn time(&mut self, now: Instant) {
        let limits = &self.config.limits;
        self.deadline = self.expected.front().map(|expected| {
            now + match expected {
                Expected::Greeting => limits.greeting_wait,
                Expected::Data => limits.data_wait,
                Expected::Content(_) => limits.content_end_wait,
                Expected::Quit | Expected::Rset => limits.quit_wait,
                _ => limits.command_wait,
            }
        });
    }

    fn hello(&mut self, now: Instant) {
        let name = self.config.hello_name.clone();
        let command = match self.config.mode {
            ClientMode::Smtp => Command::Ehlo(name),
            ClientMode::Lmtp => Command::Lhlo(name),
        };
        self.command(now, &command, Expected::Ehlo);
    }

    fn quit(&mut self, now: Instant) {
        self.phase = Phase::Quitting;
        self.command(now, &Command::Quit, Expected::Quit);
    }

    /// The application's turn, unless it has spoken already.
    fn turn(&mut self, now: Instant) {
        if self.phase != Phase::Open || self.transit.is_some() || !self.expected.is_empty() {
            return;
        }
        if let Some(next) = self.waiting.pop_front() {
            self.begin(now, next);
            self.look_ahead(now);
        } else if self.quitting {
            self.quit(now);
        } else {
            self.deadline = None;
        }
    }

    fn authenticate(&mut self, now: Instant, mechanism: Mechanism, initial_response: Option<Secret>) {
        let allowed = self.tls.is_some() || self.config.allow_plaintext_auth;
        if !allowed || !self.extensions.auth.contains(&mechanism) {
            self.tell(Event::AuthenticationFailed(None));
            return;
        }
        self.auth_rounds = 0;
        self.phase = Phase::Authenticating;
        self.lines.set_limit(AUTH_REPLY_OCTETS.max(self.config.limits.reply_line_octets));
        let octets = initial_response.as_ref().map_or(0, |response| response.expose().len().div_ceil(3) * 4);
        let fits = "AUTH  \r\n".len() + mechanism.as_str().len() + octets <= AUTH_COMMAND_OCTETS;
        let (now_sent, later) = if fits { (initial_response, None) } else { (None, initial_response) };
        self.initial_response = later;
        self.command(now, &Command::Auth { mechanism, initial_response: now_sent }, Expected::Auth);
    }

    fn respond(&mut self, now: Instant, response: Option<&Secret>) {
        match response {
            Some(response) => put_base64(response.expose(), &mut self.commands),
            None => self.commands.extend_from_slice(b"*"),
        }
        self.commands.extend_from_slice(b"\r\n");
        self.phase = Phase::Authenticating;
        self.expect(now, Expected::Auth);
    }

    // --- how it ends

    fn fail(&mut self, failure: Failure) {
        if self.phase == Phase::Closed {
            return;
        }
        if let Some(transit) = self.transit.take() {
            let closing = match &failure {
                Failure::Closing(reply) => Some((reply.clone(), self.expected.front().copied())),
                _ => None,
            };
            self.tell(Event::Sent(transit.broken(failure.clone(), closing)));
        }
        // It is not their content that is at fault.
        let others = if failure == Failure::BareNewline { Failure::Eof } else { failure.clone() };
        if let Some(ahead) = self.ahead.take() {
            self.tell(Event::Sent(ahead.broken(others.clone(), None)));
        }
        for _ in 0..self.waiting.len() {
            if let Some(Waiting { transaction, .. }) = self.waiting.pop_front() {
                self.tell(Event::Sent(transit::unsent(transaction.recipients.len(), others.clone())));
            }
        }
        self.end(Err(failure));
    }

    fn end(&mut self, how: Result<(), Failure>) {
        if self.phase == Phase::Closed {
            return;
        }
        self.phase = Phase::Closed;
        self.expected.clear();
        self.lines.clear();
        self.deadline = None;
        self.tell(Event::Closed(how));
        self.queue(Queued::Close);
    }

    /// Says QUIT without waiting for its reply, then ends: nothing is left to do here.
    fn give_up(&mut self, failure: Failure) {
        Command::Quit.encode(&mut self.commands);
        self.fail(failure);
    }
}

impl<B> Session for Client<B> {
    type Event = Event;
    type Told = Told<B>;
    type Body = B;

    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) {
        while !input.is_empty() && !matches!(self.phase, Phase::Tls | Phase::Closed) {
            let parsed = match self.lines.take_line(input) {
                Ok(None) => return,
                Ok(Some(line)) => self.parser.push(&line),
                Err(LineError::TooLong { limit }) => Err(ReplyError::LineTooLong { limit }),
                Err(_) => Err(ReplyError::Octets),
            };
            match parsed {
                Ok(None) => {}
                Ok(Some(reply)) => self.on_reply(now, reply, !input.is_empty()),
                Err(error) => self.fail(Failure::Reply(error)),
            }
        }
    }

    fn handle_told(&mut self, now: Instant, told: Told<B>) {
        match told {
            Told::Send(transaction) if self.phase == Phase::Closed => {
                let outcome = transit::unsent(transaction.recipients.len(), Failure::Eof);
                self.tell(Event::Sent(outcome));
            }
            _ if self.phase == Phase::Closed => {}
            Told::Send(transaction) => {
                self.waiting.push_back(Waiting { transaction: *transaction, since: now });
                self.turn(now);
                self.look_ahead(now);
            }
            Told::Quit => {
                self.quitting = true;
                self.turn(now);
            }
            Told::Authenticate { mechanism, initial_response } => {
                if self.phase == Phase::Open && self.transit.is_none() {
                    self.authenticate(now, mechanism, initial_response);
                }
            }
            Told::Response(response) if self.phase == Phase::Challenged => self.respond(now, Some(&response)),
            Told::CancelAuthentication if self.phase == Phase::Challenged => self.respond(now, None),
            Told::Response(_) | Told::CancelAuthentication => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        if self.phase == Phase::Quitting {
            self.end(Ok(()));
        } else {
            self.fail(Failure::TimedOut);
        }
    }

    fn handle_unfit_body(&mut self, _now: Instant) {
        // What stands behind the content would be taken for more of it.
        self.commands.clear();
        self.outbox.retain(|queued| matches!(queued, Queued::Event(_)));
        if let Some(transit) = &mut self.transit {
            transit.withdraw_content();
        }
        self.fail(Failure::BareNewline);
    }

    fn handle_eof(&mut self, _now: Instant) {
        if self.phase == Phase::Quitting {
            self.end(Ok(()));
        } else {
            self.fail(Failure::Eof);
        }
    }

    fn handle_tls(&mut self, now: Instant, tls: TlsFacts) {
        self.tls = Some(tls);
        // RFC 3207 §4.2, rule 11: what was learnt before TLS is forgotten.
        self.extensions = Extensions::default();
        self.lines.clear();
        self.parser.clear();
        if self.phase == Phase::Tls {
            self.phase = Phase::Opening;
            self.hello(now);
        }
    }

    fn handle_shutdown(&mut self, now: Instant) {
        self.quitting = true;
        if self.phase == Phase::Challenged {
            self.respond(now, None);
        }
        self.turn(now);
    }

    fn poll(&mut self) -> Output<Self> {
        match self.outbox.pop_front() {
            Some(Queued::Octets(octets)) => Output::Send(octets),
            Some(Queued::Body(body, coding)) => Output::SendBody { body, coding },
            Some(Queued::Event(event)) => Output::Event(event),
            Some(Queued::StartTls) => Output::StartTls,
            Some(Queued::Close) => {
                self.outbox.push_back(Queued::Close);
                Output::Close
            }
            None if !self.commands.is_empty() => Output::Send(std::mem::take(&mut self.commands).freeze()),
            None => {
                Output::Wait { deadline: self.deadline, read: !matches!(self.phase, Phase::Tls | Phase::Challenged) }
            }
        }
    }
}

impl<B> Client<B> {
    /// The handshake gets the time of a command.
    fn time_handshake(&mut self, now: Instant) {
        self.deadline = Some(now + self.config.limits.command_wait.max(Duration::from_secs(1)));
    }
}
