//! A driver for a session, as `net` is one: it obeys the contract and keeps a log of what came out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use wire::{BodyCoder, BodyCoding, Output, Session, TlsFacts};

/// One thing that a session did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Did {
    Sent(Vec<u8>),
    Event(String),
    StartTls,
    Closed,
}

/// A session with its driver. `answer` is the application.
pub(crate) struct Driven<S: Session> {
    pub(crate) session: S,
    pub(crate) now: Instant,
    pub(crate) input: BytesMut,
    pub(crate) log: VecDeque<Did>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) reads: bool,
    pub(crate) closed: bool,
    octets: fn(S::Body) -> Vec<u8>,
    answer: Answer<S>,
}

type Answer<S> = Box<dyn FnMut(&<S as Session>::Event) -> Option<<S as Session>::Told>>;

impl<S: Session> Driven<S>
where
    S::Event: std::fmt::Debug,
{
    pub(crate) fn new(
        make: impl FnOnce(Instant) -> S,
        octets: fn(S::Body) -> Vec<u8>,
        answer: impl FnMut(&S::Event) -> Option<S::Told> + 'static,
    ) -> Self {
        let now = start();
        Self {
            session: make(now),
            now,
            input: BytesMut::new(),
            log: VecDeque::new(),
            deadline: None,
            reads: false,
            closed: false,
            octets,
            answer: Box::new(answer),
        }
    }

    pub(crate) fn feed(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
        self.run();
    }

    pub(crate) fn tell(&mut self, told: S::Told) {
        self.session.handle_told(self.now, told);
        self.run();
    }

    pub(crate) fn eof(&mut self) {
        self.session.handle_eof(self.now);
        self.run();
    }

    pub(crate) fn shutdown(&mut self) {
        self.session.handle_shutdown(self.now);
        self.run();
    }

    pub(crate) fn tls(&mut self) {
        self.session.handle_tls(self.now, TlsFacts::default());
        self.run();
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.deadline.is_some_and(|deadline| deadline <= self.now) {
            self.session.handle_timeout(self.now);
        }
        self.run();
    }

    /// Polls until the session waits, and offers it what it left, as long as that changes anything.
    pub(crate) fn run(&mut self) {
        loop {
            let mut did = false;
            loop {
                match self.session.poll() {
                    Output::Send(octets) => self.sent(&octets),
                    Output::SendBody { body, coding } => self.body(body, coding),
                    Output::StartTls => self.log.push_back(Did::StartTls),
                    Output::Compress => unreachable!("SMTP has no compression"),
                    Output::Event(event) => {
                        let name = format!("{event:?}");
                        self.log.push_back(Did::Event(name));
                        if let Some(told) = (self.answer)(&event) {
                            self.session.handle_told(self.now, told);
                        }
                    }
                    Output::Wait { deadline, read } => {
                        self.deadline = deadline;
                        self.reads = read;
                        break;
                    }
                    Output::Close => {
                        if !self.closed {
                            self.log.push_back(Did::Closed);
                        }
                        self.closed = true;
                        self.input.clear();
                        return;
                    }
                }
                did = true;
            }
            if !self.reads || self.input.is_empty() {
                return;
            }
            let before = self.input.len();
            self.session.handle_input(self.now, &mut self.input);
            if before == self.input.len() && !did {
                return;
            }
        }
    }

    fn sent(&mut self, octets: &[u8]) {
        if let Some(Did::Sent(before)) = self.log.back_mut() {
            before.extend_from_slice(octets);
        } else {
            self.log.push_back(Did::Sent(octets.to_vec()));
        }
    }

    fn body(&mut self, body: S::Body, coding: BodyCoding) {
        let body = (self.octets)(body);
        let (mut coder, mut out) = (BodyCoder::new(coding), BytesMut::new());
        let coded = coder.code(&body, &mut out);
        match coded.and_then(|()| coder.finish(&mut out)) {
            Ok(()) => self.sent(&out),
            Err(_) => self.session.handle_unfit_body(self.now),
        }
    }

    /// All octets sent since the last call.
    pub(crate) fn take_sent(&mut self) -> Vec<u8> {
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

    /// As text.
    pub(crate) fn said(&mut self) -> String {
        String::from_utf8_lossy(&self.take_sent()).into_owned()
    }
}

/// Any instant does; tests do not wait.
#[expect(clippy::disallowed_methods, reason = "an Instant can be had from no other place; time passes by hand")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

impl<S: Session> std::fmt::Debug for Driven<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driven").field("log", &self.log).finish_non_exhaustive()
    }
}
