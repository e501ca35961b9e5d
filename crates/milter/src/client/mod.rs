//! The mail system's side of a connection to a filter.
//!
//! The application tells one [`Step`] and waits for its [`Answer`]; a step that the filter does not want to hear, or
//! does not answer, is answered at once. libmilter's rules of order hold: connect, then HELO, then messages of MAIL, RCPT,
//! DATA, header, body and end. A message that the filter has refused or accepted before its end is aborted there by
//! itself, and the rest of it is not told.

mod answers;
mod event;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use wire::{Output, Session, TlsFacts};

use crate::command::Command;
use crate::options::{MacroStage, Options, Steps};
use crate::packet::Framer;
use crate::{DATA_OCTETS, Modification, Response, Text, VERSION};

pub use event::{Answer, ClientConfig, Event, Failure, Macros, Negotiated, Stage, Step, Told};

/// A session of one connection.
#[derive(Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    framer: Framer,
    phase: Phase,
    place: Place,
    /// The step whose answer is to come.
    asked: Option<Asked>,
    /// What is left of a piece of the body.
    body: Bytes,
    outbox: VecDeque<Queued>,
    deadline: Option<Instant>,
    /// When no progress counts any more.
    last: Option<Instant>,
    negotiated: Negotiated,
    changes: Vec<Modification>,
    /// A new body, as the filter has sent it so far.
    new_body: Vec<BytesMut>,
    changed_octets: usize,
    body_octets: usize,
    /// The filter has accepted, or seen enough.
    passed: Passed,
    quitting: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Negotiating,
    Open,
    Closed,
}

/// Where in the dialogue the filter is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Place {
    /// Before the connection is told.
    Start,
    /// Between messages.
    Connected,
    /// After MAIL.
    Envelope,
    /// After DATA, or the first header field.
    Header,
    /// After the end of the header.
    Body,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    stage: Stage,
    /// A recipient whose answer counts for nothing.
    refused: bool,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Passed {
    Nothing,
    /// What is left of the body.
    Body,
    /// What is left of the message.
    Message,
    /// What is left of the connection.
    Connection,
}

#[derive(Debug)]
enum Queued {
    Octets(Bytes),
    Event(Event),
    Close,
}

impl Client {
    /// A session on a connection that stands since `now`.
    #[must_use]
    pub fn new(config: Arc<ClientConfig>, now: Instant) -> Self {
        let mut client = Self {
            framer: Framer::new(config.limits.packet_octets),
            phase: Phase::Negotiating,
            place: Place::Start,
            asked: None,
            body: Bytes::new(),
            outbox: VecDeque::new(),
            deadline: Some(now + config.limits.negotiation_wait),
            last: None,
            negotiated: Negotiated::default(),
            changes: Vec::new(),
            new_body: Vec::new(),
            changed_octets: 0,
            body_octets: 0,
            passed: Passed::Nothing,
            quitting: false,
            config,
        };
        let offered = Options {
            version: VERSION,
            actions: client.config.actions,
            steps: client.config.steps,
            macros: Vec::new(),
        };
        client.send(&Command::Negotiate(offered));
        client
    }

    /// What was agreed on.
    #[must_use]
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    // --- what is said

    fn send(&mut self, command: &Command) {
        let mut octets = BytesMut::new();
        command.encode(&mut octets);
        self.outbox.push_back(Queued::Octets(octets.freeze()));
    }

    fn tell(&mut self, event: Event) {
        self.outbox.push_back(Queued::Event(event));
    }

    fn answer(&mut self, stage: Stage, answer: Answer) {
        self.tell(Event::Answer(stage, answer));
    }

    fn step(&mut self, now: Instant, step: Step, macros: &Macros) {
        let stage = step.stage();
        if self.asked.is_some() || !self.body.is_empty() || !self.in_turn(stage) {
            self.fail(Failure::OutOfTurn);
            return;
        }
        self.advance(stage);
        let refused = matches!(step, Step::Recipient { refused: true, .. });
        let steps = self.negotiated.steps;
        // The end of the body ends what `Skip` let pass.
        let passed = match stage {
            Stage::Body => self.passed >= Passed::Body,
            _ => self.passed >= Passed::Message,
        };
        let untold = steps.contains(not_told(stage)) || refused && !steps.contains(Steps::REFUSED_RECIPIENTS);
        if passed || untold && stage != Stage::End {
            if stage == Stage::End {
                self.message_over();
            }
            self.answer(stage, Answer::Continue);
            return;
        }
        self.macros(stage, macros);
        let asked = Asked { stage, refused };
        match step {
            Step::Body(octets) => {
                self.body = octets;
                if self.body.is_empty() {
                    self.answer(stage, Answer::Continue);
                } else if !steps.contains(Steps::NO_REPLY_BODY) {
                    self.next_piece();
                    self.ask(now, asked);
                }
                return;
            }
            Step::Header { name, value } => {
                let command = self.header(name, &value);
                self.send(&command);
            }
            Step::Connect(connection) => self.send(&Command::Connect(connection)),
            Step::Hello(name) => self.send(&Command::Hello(name)),
            Step::Mail(envelope) => self.send(&Command::Mail(envelope)),
            Step::Recipient { envelope, .. } => self.send(&Command::Recipient(envelope)),
            Step::Data => self.send(&Command::Data),
            Step::Unknown(line) => self.send(&Command::Unknown(line)),
            Step::EndOfHeader => self.send(&Command::EndOfHeader),
            Step::End => self.send(&Command::End(Bytes::new())),
        }
        if not_answered(stage).is_some_and(|flag| steps.contains(flag)) {
            self.answer(stage, Answer::Continue);
        } else {
            self.ask(now, asked);
        }
    }

    fn ask(&mut self, now: Instant, asked: Asked) {
        let limits = &self.config.limits;
        self.asked = Some(asked);
        let last = now + limits.longest_wait;
        self.last = Some(last);
        self.deadline = Some(last.min(now + self.patience(asked.stage)));
    }

    /// The next piece of a body, as long as a packet may be.
    fn next_piece(&mut self) {
        let piece = self.body.split_to(self.body.len().min(DATA_OCTETS));
        let octets = u32::try_from(piece.len() + 1).unwrap_or_default();
        let mut front = octets.to_be_bytes().to_vec();
        front.push(b'B');
        self.outbox.push_back(Queued::Octets(front.into()));
        self.outbox.push_back(Queued::Octets(piece));
    }

    fn header(&self, name: Text, value: &[u8]) -> Command {
        let mut octets: Vec<u8> = Vec::with_capacity(value.len());
        let keep = self.negotiated.steps.contains(Steps::HEADER_LEADING_SPACE);
        let value = if keep { value } else { value.strip_prefix(b" ").unwrap_or(value) };
        for (at, octet) in value.iter().enumerate() {
            // Lines within a value are parted by LF alone here.
            if *octet != b'\r' || value.get(at + 1) != Some(&b'\n') {
                octets.push(*octet);
            }
        }
        // DEVIATES: the end of a field that fits in no packet is not told; the message keeps it.
        octets.truncate(DATA_OCTETS.saturating_sub(name.len() + 2));
        Command::Header { name, value: octets.into() }
    }

    fn macros(&mut self, stage: Stage, known: &Macros) {
        let Some((macro_stage, code)) = macro_stage(stage) else { return };
        let named = |lists: &[(MacroStage, Vec<String>)]| {
            lists.iter().find(|(stage, _)| *stage == macro_stage).map(|(_, names)| names.clone())
        };
        let Some(wanted) = named(&self.negotiated.macros).or_else(|| named(&self.config.macros)) else { return };
        let mut told = Vec::new();
        let mut octets = 1;
        for name in &wanted {
            let Some((_, value)) = known.iter().find(|(known, _)| known == name) else { continue };
            octets += name.len() + 4 + value.len();
            if octets > DATA_OCTETS {
                break;
            }
            let written = if name.len() == 1 { name.clone() } else { format!("{{{name}}}") };
            told.push((written.into(), value.clone()));
        }
        if !told.is_empty() {
            self.send(&Command::Macros(code, told));
        }
    }

    // --- order

    fn in_turn(&self, stage: Stage) -> bool {
        let place = self.place;
        self.phase == Phase::Open
            && match stage {
                Stage::Connect => place == Place::Start,
                Stage::Hello | Stage::Mail => place == Place::Connected,
                Stage::Unknown => matches!(place, Place::Connected | Place::Envelope),
                Stage::Recipient | Stage::Data => place == Place::Envelope,
                Stage::Header | Stage::EndOfHeader => matches!(place, Place::Envelope | Place::Header),
                Stage::Body | Stage::End => place == Place::Body,
            }
    }

    fn advance(&mut self, stage: Stage) {
        self.place = match stage {
            Stage::Connect => Place::Connected,
            Stage::Mail => Place::Envelope,
            Stage::Data | Stage::Header => Place::Header,
            Stage::EndOfHeader => Place::Body,
            Stage::Hello | Stage::Recipient | Stage::Unknown | Stage::Body | Stage::End => return,
        };
    }

    fn message_over(&mut self) {
        self.place = Place::Connected;
        self.passed = if self.passed == Passed::Connection { Passed::Connection } else { Passed::Nothing };
        (self.changes, self.new_body) = (Vec::new(), Vec::new());
        (self.changed_octets, self.body_octets) = (0, 0);
    }

    fn abort(&mut self) {
        if self.place > Place::Connected {
            if self.passed < Passed::Message {
                self.send(&Command::Abort);
            }
            self.message_over();
        }
    }

    // --- how it ends

    fn fail(&mut self, failure: Failure) {
        self.end(Err(failure));
    }

    fn quit(&mut self) {
        if self.asked.is_none() && self.phase == Phase::Open {
            self.send(&Command::Quit);
            self.end(Ok(()));
        }
    }

    fn end(&mut self, how: Result<(), Failure>) {
        if self.phase == Phase::Closed {
            return;
        }
        self.phase = Phase::Closed;
        (self.asked, self.deadline, self.last) = (None, None, None);
        self.body = Bytes::new();
        (self.changes, self.new_body) = (Vec::new(), Vec::new());
        self.tell(Event::Closed(how));
        self.outbox.push_back(Queued::Close);
    }
}

impl Session for Client {
    type Event = Event;
    type Told = Told;
    type Body = Infallible;

    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) {
        while !input.is_empty() && self.phase != Phase::Closed {
            let response = match self.framer.take(input) {
                Ok(None) => return,
                Ok(Some(packet)) => Response::parse(&packet),
                Err(error) => Err(error),
            };
            match response {
                Ok(response) => self.on_response(now, response),
                Err(error) => self.fail(error.into()),
            }
        }
    }

    fn handle_told(&mut self, now: Instant, told: Told) {
        if self.phase == Phase::Closed {
            return;
        }
        match told {
            Told::Step(step, macros) => self.step(now, step, &macros),
            Told::Quit => {
                self.quitting = true;
                self.quit();
            }
            _ if self.phase != Phase::Open || self.asked.is_some() || !self.body.is_empty() => {
                self.fail(Failure::OutOfTurn);
            }
            Told::Abort => self.abort(),
            Told::NextConnection if self.negotiated.version < 6 => self.quit(),
            Told::NextConnection => {
                self.abort();
                self.send(&Command::NextConnection);
                (self.place, self.passed) = (Place::Start, Passed::Nothing);
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.fail(Failure::TimedOut);
        }
    }

    fn handle_eof(&mut self, _now: Instant) {
        self.fail(Failure::Eof);
    }

    /// There is no TLS in this protocol.
    fn handle_tls(&mut self, _now: Instant, _tls: TlsFacts) {}

    fn handle_shutdown(&mut self, _now: Instant) {
        self.quitting = true;
        self.quit();
    }

    fn poll(&mut self) -> Output<Self> {
        if self.outbox.is_empty() && !self.body.is_empty() && self.asked.is_none() {
            // The filter does not answer pieces: they leave one by one, as fast as the driver takes them.
            self.next_piece();
            if self.body.is_empty() {
                self.answer(Stage::Body, Answer::Continue);
            }
        }
        match self.outbox.pop_front() {
            Some(Queued::Octets(octets)) => Output::Send(octets),
            Some(Queued::Event(event)) => Output::Event(event),
            Some(Queued::Close) => {
                self.outbox.push_back(Queued::Close);
                Output::Close
            }
            None => Output::Wait { deadline: self.deadline, read: true },
        }
    }
}

/// The flag by which a filter does not hear of a stage; the end is always told.
fn not_told(stage: Stage) -> Steps {
    match stage {
        Stage::Connect => Steps::NO_CONNECT,
        Stage::Hello => Steps::NO_HELLO,
        Stage::Mail => Steps::NO_MAIL,
        Stage::Recipient => Steps::NO_RECIPIENTS,
        Stage::Data => Steps::NO_DATA,
        Stage::Unknown => Steps::NO_UNKNOWN,
        Stage::Header => Steps::NO_HEADERS,
        Stage::EndOfHeader => Steps::NO_END_OF_HEADER,
        Stage::Body => Steps::NO_BODY,
        Stage::End => Steps::default(),
    }
}

/// The flag by which a filter does not answer a stage.
fn not_answered(stage: Stage) -> Option<Steps> {
    Some(match stage {
        Stage::Connect => Steps::NO_REPLY_CONNECT,
        Stage::Hello => Steps::NO_REPLY_HELLO,
        Stage::Mail => Steps::NO_REPLY_MAIL,
        Stage::Recipient => Steps::NO_REPLY_RECIPIENT,
        Stage::Data => Steps::NO_REPLY_DATA,
        Stage::Unknown => Steps::NO_REPLY_UNKNOWN,
        Stage::Header => Steps::NO_REPLY_HEADER,
        Stage::EndOfHeader => Steps::NO_REPLY_END_OF_HEADER,
        Stage::Body => Steps::NO_REPLY_BODY,
        Stage::End => return None,
    })
}

/// The stage of the macros that go before a step, and the code of its command.
fn macro_stage(stage: Stage) -> Option<(MacroStage, u8)> {
    Some(match stage {
        Stage::Connect => (MacroStage::Connect, b'C'),
        Stage::Hello => (MacroStage::Hello, b'H'),
        Stage::Mail => (MacroStage::Mail, b'M'),
        Stage::Recipient => (MacroStage::Recipient, b'R'),
        Stage::Data => (MacroStage::Data, b'T'),
        Stage::EndOfHeader => (MacroStage::EndOfHeader, b'N'),
        Stage::End => (MacroStage::End, b'E'),
        Stage::Unknown | Stage::Header | Stage::Body => return None,
    })
}
