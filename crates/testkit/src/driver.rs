//! A driver without a socket: it obeys the session contract, as `net` does, and keeps a log.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use wire::{BareNewline, BodyCoder, BodyCoding, Output, Session, TlsFacts};

/// What decides for a session under test. A closure `FnMut(Event) -> Vec<Told>` is one.
pub trait Application<S: Session> {
    /// One event; what is told after it.
    fn on_event(&mut self, event: S::Event) -> Vec<S::Told>;

    /// The octets behind a body, before any coding.
    fn octets(&mut self, _body: S::Body) -> Vec<u8> {
        panic!("this application has no bodies to send")
    }

    /// What a `T:` line of a script tells.
    fn told(&mut self, text: &str) -> Vec<S::Told> {
        panic!("this application cannot tell {text:?}")
    }
}

impl<S: Session, F: FnMut(S::Event) -> Vec<S::Told>> Application<S> for F {
    fn on_event(&mut self, event: S::Event) -> Vec<S::Told> {
        self(event)
    }
}

/// One thing that a session did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Did {
    /// Sent octets; neighbours are joined, bodies are coded.
    Sent(Vec<u8>),
    /// Raised an event with this `Debug` text.
    Event(String),
    /// Asked for TLS.
    StartTls,
    /// Asked for compression.
    Compress,
    /// Closed, or was closed by the driver (rule 11).
    Closed,
}

/// A session with its application, a buffer of input, and a clock.
pub struct Driver<S: Session, A> {
    /// The session.
    pub session: S,
    /// The application.
    pub application: A,
    /// The time.
    pub now: Instant,
    /// What the session did and nobody has looked at yet.
    pub log: VecDeque<Did>,
    /// What the session has not taken yet.
    pub input: BytesMut,
    deadline: Option<Instant>,
    reads: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open,
    /// Until [`Driver::tls`].
    Handshake,
    Closed,
}

impl<S: Session, A: Application<S>> Driver<S, A>
where
    S::Event: fmt::Debug,
{
    /// Begins; the session is made at [`start`], and has been polled.
    pub fn new(session: impl FnOnce(Instant) -> S, application: A) -> Self {
        let now = start();
        let mut driver = Self::unpolled(session(now), application, now);
        driver.run();
        driver
    }

    /// Begins beneath TLS, as on a port with implicit TLS.
    pub fn under_tls(session: impl FnOnce(Instant) -> S, application: A, tls: TlsFacts) -> Self {
        let now = start();
        let mut driver = Self::unpolled(session(now), application, now);
        driver.session.handle_tls(now, tls);
        driver.run();
        driver
    }

    fn unpolled(session: S, application: A, now: Instant) -> Self {
        Self {
            session,
            application,
            now,
            log: VecDeque::new(),
            input: BytesMut::new(),
            deadline: None,
            reads: false,
            state: State::Open,
        }
    }

    /// Octets arrive.
    pub fn feed(&mut self, octets: &[u8]) {
        if self.state == State::Closed {
            return;
        }
        self.input.extend_from_slice(octets);
        self.run();
    }

    /// The application tells.
    pub fn tell(&mut self, told: S::Told) {
        if self.state == State::Closed {
            return;
        }
        self.session.handle_told(self.now, told);
        self.run();
    }

    /// The peer closes its sending side, after the session has had all that it wanted.
    pub fn eof(&mut self) {
        match self.state {
            State::Open => {}
            State::Handshake => return self.break_off(),
            State::Closed => return,
        }
        self.session.handle_eof(self.now);
        self.run();
    }

    /// The process wants to stop.
    pub fn shutdown(&mut self) {
        if self.state == State::Closed {
            return;
        }
        self.session.handle_shutdown(self.now);
        self.run();
    }

    /// The handshake that the session asked for ends well.
    ///
    /// # Panics
    /// It asked for none.
    pub fn tls(&mut self, tls: TlsFacts) {
        assert_eq!(self.state, State::Handshake, "the session has not asked for TLS");
        self.state = State::Open;
        self.session.handle_tls(self.now, tls);
        self.run();
    }

    /// Time passes; the session hears of it at its deadlines.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.deadline.filter(|deadline| *deadline <= end && self.state == State::Open) {
            self.now = self.now.max(deadline);
            self.session.handle_timeout(self.now);
            self.deadline = None;
            self.run();
            assert!(self.deadline.is_none_or(|next| next > deadline), "a session keeps a deadline that has passed");
        }
        self.now = end;
    }

    /// Whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether the session wants octets from the peer.
    pub fn reads(&self) -> bool {
        self.reads
    }

    /// When the session wants to be told of the time.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// All octets sent since the last call; events stay in the log.
    pub fn take_sent(&mut self) -> Vec<u8> {
        let mut octets = Vec::new();
        self.log.retain(|did| match did {
            Did::Sent(sent) => {
                octets.extend_from_slice(sent);
                false
            }
            _ => true,
        });
        octets
    }

    /// The texts of all events since the last call; octets sent stay in the log.
    pub fn take_events(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        self.log.retain(|did| match did {
            Did::Event(event) => {
                events.push(event.clone());
                false
            }
            _ => true,
        });
        events
    }

    /// Asks the session until it waits, and offers it its input as long as that changes anything.
    pub fn run(&mut self) {
        loop {
            let did_something = self.poll_all();
            if self.state != State::Open || !self.reads || self.input.is_empty() {
                break;
            }
            let before = self.input.len();
            self.session.handle_input(self.now, &mut self.input);
            if self.input.len() == before && !did_something {
                // It may have closed upon what it saw.
                self.poll_all();
                break;
            }
        }
        if self.state == State::Handshake && !self.input.is_empty() {
            self.break_off();
        }
    }

    /// The connection is gone: the session hears it, and what it would still send is lost.
    pub fn break_off(&mut self) {
        self.input.clear();
        self.state = State::Open;
        self.session.handle_eof(self.now);
        loop {
            match self.session.poll() {
                Output::Event(event) => self.event(event),
                Output::Wait { .. } | Output::Close => break,
                _ => {}
            }
        }
        self.close();
    }

    fn poll_all(&mut self) -> bool {
        let mut did_something = false;
        while self.state == State::Open {
            match self.session.poll() {
                Output::Send(octets) => self.sent(&octets),
                Output::SendBody { body, coding } => {
                    let octets = self.application.octets(body);
                    match coded(&octets, coding) {
                        Ok(octets) => self.sent(&octets),
                        Err(BareNewline) => self.session.handle_unfit_body(self.now),
                    }
                }
                Output::StartTls => {
                    self.log.push_back(Did::StartTls);
                    self.state = State::Handshake;
                }
                Output::Compress => self.log.push_back(Did::Compress),
                Output::Event(event) => self.event(event),
                Output::Wait { deadline, read } => {
                    self.deadline = deadline;
                    self.reads = read;
                    return did_something;
                }
                Output::Close => self.close(),
            }
            did_something = true;
        }
        did_something
    }

    fn event(&mut self, event: S::Event) {
        self.log.push_back(Did::Event(format!("{event:?}")));
        for told in self.application.on_event(event) {
            self.session.handle_told(self.now, told);
        }
    }

    fn close(&mut self) {
        self.log.push_back(Did::Closed);
        self.state = State::Closed;
        self.deadline = None;
        self.reads = false;
        self.input.clear();
    }

    fn sent(&mut self, octets: &[u8]) {
        match self.log.back_mut() {
            Some(Did::Sent(before)) => before.extend_from_slice(octets),
            _ => self.log.push_back(Did::Sent(octets.to_vec())),
        }
    }
}

impl<S: Session, A> fmt::Debug for Driver<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("state", &self.state).field("log", &self.log).finish_non_exhaustive()
    }
}

fn coded(octets: &[u8], coding: BodyCoding) -> Result<Vec<u8>, BareNewline> {
    let (mut coder, mut out) = (BodyCoder::new(coding), BytesMut::new());
    coder.code(octets, &mut out)?;
    coder.finish(&mut out)?;
    Ok(out.to_vec())
}

/// The instant at which all tests begin: any does, since tests do not wait.
#[must_use]
pub fn start() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now)
}
