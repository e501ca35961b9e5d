//! A session, a clock, and a filter played by the test.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use wire::{Output, Session};

use crate::milter::client::{Answer, Client, ClientConfig, Event, Failure, Macros, Stage, Step, Told};
use crate::milter::{Actions, Command, Connection, Envelope, Framer, Modification, Options, Origin, Response, Steps};

pub(crate) struct Played {
    pub(crate) client: Client,
    pub(crate) now: Instant,
    framer: Framer,
    /// Octets of the client, read as commands.
    sent: BytesMut,
    pub(crate) events: Vec<Event>,
    pub(crate) macros: Macros,
}

impl Played {
    /// A session that has just offered its options.
    #[expect(clippy::disallowed_methods, reason = "an Instant can be had from no other place; time passes by hand")]
    pub(crate) fn begin(config: ClientConfig) -> Self {
        let now = Instant::now();
        let client = Client::new(Arc::new(config), now);
        let macros = vec![("i".to_owned(), "id1".into()), ("client_addr".to_owned(), "192.0.2.1".into())];
        let mut played =
            Self { client, now, framer: Framer::new(1 << 20), sent: BytesMut::new(), events: Vec::new(), macros };
        let offer = played.commands();
        assert!(matches!(&offer[..], [Command::Negotiate(offer)] if offer.version == 6), "{offer:?}");
        played
    }

    /// A session with a filter that chose these options.
    pub(crate) fn agreed(actions: Actions, steps: Steps) -> Self {
        let mut played = Self::begin(ClientConfig::default());
        played.respond(&Response::Negotiate(Options { version: 6, actions, steps, macros: Vec::new() }));
        assert!(matches!(played.events.pop(), Some(Event::Ready(_))));
        played
    }

    /// With connect and HELO behind it.
    pub(crate) fn greeted(actions: Actions, steps: Steps) -> Self {
        let mut played = Self::agreed(actions, steps);
        for step in [connect(), Step::Hello("client.example".into())] {
            assert_eq!(played.ask(step, &[Response::Continue]), Ok(Answer::Continue));
        }
        played.commands();
        played
    }

    /// With MAIL and one RCPT behind it.
    pub(crate) fn in_message(actions: Actions, steps: Steps) -> Self {
        let mut played = Self::greeted(actions, steps);
        for step in [mail(), recipient(false)] {
            assert_eq!(played.ask(step, &[Response::Continue]), Ok(Answer::Continue));
        }
        played.commands();
        played
    }

    pub(crate) fn pump(&mut self) -> Option<Instant> {
        loop {
            match self.client.poll() {
                Output::Send(octets) => self.sent.extend_from_slice(&octets),
                Output::Event(event) => self.events.push(event),
                Output::Wait { deadline, read } => {
                    assert!(read);
                    return deadline;
                }
                Output::Close => return None,
                other => panic!("{other:?}"),
            }
        }
    }

    /// What the client has said since the last call.
    pub(crate) fn commands(&mut self) -> Vec<Command> {
        self.pump();
        let mut commands = Vec::new();
        while let Some(packet) = self.framer.take(&mut self.sent).unwrap() {
            commands.push(Command::parse(&packet).unwrap());
        }
        commands
    }

    pub(crate) fn tell(&mut self, told: Told) {
        self.client.handle_told(self.now, told);
        self.pump();
    }

    pub(crate) fn step(&mut self, step: Step) {
        let macros = self.macros.clone();
        self.tell(Told::Step(step, macros));
    }

    pub(crate) fn respond(&mut self, response: &Response) {
        let mut octets = BytesMut::new();
        response.encode(&mut octets);
        self.octets(&octets);
    }

    pub(crate) fn octets(&mut self, octets: &[u8]) {
        for octet in octets {
            let mut input = BytesMut::from(std::slice::from_ref(octet));
            self.client.handle_input(self.now, &mut input);
            self.pump();
        }
    }

    /// Tells a step and plays the responses: the answer, or why it ended.
    pub(crate) fn ask(&mut self, step: Step, responses: &[Response]) -> Result<Answer, Failure> {
        let stage = step.stage();
        self.step(step);
        for response in responses {
            self.respond(response);
        }
        self.answer(stage)
    }

    pub(crate) fn answer(&mut self, expected: Stage) -> Result<Answer, Failure> {
        match self.events.pop() {
            Some(Event::Answer(stage, answer)) => {
                assert_eq!(stage, expected);
                Ok(answer)
            }
            Some(Event::Closed(Err(failure))) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn changes(&mut self) -> Vec<Modification> {
        match self.events.pop() {
            Some(Event::Changes(changes)) => changes,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn pass(&mut self, wait: Duration) {
        self.now += wait;
        self.client.handle_timeout(self.now);
        self.pump();
    }
}

pub(crate) fn connect() -> Step {
    let origin = Origin::V4([192, 0, 2, 1].into(), 4711);
    Step::Connect(Connection { name: "client.example".into(), origin })
}

pub(crate) fn mail() -> Step {
    Step::Mail(Envelope { path: "<ann@a.example>".into(), parameters: vec!["SIZE=5".into()] })
}

pub(crate) fn recipient(refused: bool) -> Step {
    Step::Recipient { envelope: Envelope { path: "<bob@b.example>".into(), parameters: Vec::new() }, refused }
}

pub(crate) fn header(name: &str, value: &str) -> Step {
    Step::Header { name: name.into(), value: Bytes::copy_from_slice(value.as_bytes()) }
}

pub(crate) fn body(octets: &'static [u8]) -> Step {
    Step::Body(Bytes::from_static(octets))
}
