//! Whatever the peer sends and the application answers: no panic, an end for every session, and bounded output.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use testkit::{Application, Driver, Settings};
use wire::TlsFacts;

use crate::application::Maildrop;
use crate::pop3::client::{self, Client, ClientConfig, StartTls};
use crate::pop3::server::{Config, Event, Server, Told};
use crate::pop3::{MessageNumber, Password, Response, UserName};

fn noise() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        &b"USER mrose\r\n"[..],
        b"PASS tanstaaf\r\n",
        b"AUTH PLAIN\r\n",
        b"AUTH PLAIN =\r\n",
        b"AUTH\r\n",
        b"AAAA\r\n",
        b"*\r\n",
        b"RETR 1\r\n",
        b"TOP 2 1\r\n",
        b"DELE 2\r\n",
        b"LIST\r\n",
        b"UIDL 1\r\n",
        b"CAPA\r\n",
        b"UTF8\r\n",
        b"RSET\r\n",
        b"+OK\r\n",
        b"+OK 2 3\r\n",
        b"-ERR [AUTH] no\r\n",
        b"+ AAAA\r\n",
        b"1 2\r\n",
        b"STLS\r\n",
        b".\r\n",
        b"\r",
        b"\n",
        b"\0",
        b".",
        b" ",
    ])
    .prop_map(<[u8]>::to_vec);
    prop_oneof![8 => words, 1 => proptest::collection::vec(any::<u8>(), 0..20)]
}

#[derive(Clone, Debug)]
enum Step {
    Feed(Vec<u8>),
    Pass(u64),
    Tls,
    Told(u8),
    Shutdown,
    Eof,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => noise().prop_map(Step::Feed),
        2 => (0_u64..400).prop_map(Step::Pass),
        3 => Just(Step::Tls),
        4 => any::<u8>().prop_map(Step::Told),
        1 => Just(Step::Shutdown),
        1 => Just(Step::Eof),
    ];
    proptest::collection::vec(step, 0..60)
}

/// Answers as it should, or not at all.
struct Moody(Maildrop, bool);

impl Application<Server<Vec<u8>>> for Moody {
    fn on_event(&mut self, event: Event) -> Vec<Told<Vec<u8>>> {
        self.1 = !self.1;
        if self.1 { self.0.on_event(event) } else { Vec::new() }
    }

    fn octets(&mut self, body: Vec<u8>) -> Vec<u8> {
        body
    }
}

fn server_told(number: u8) -> Told<Vec<u8>> {
    match number % 8 {
        0 => Told::Maildrop(Arc::from([])),
        1 => Told::Challenge(vec![number]),
        2 => Told::Refuse(Response::ok("no")),
        3 => Told::Body(b"a\r\n".to_vec()),
        4 => Told::Done,
        5 => Told::Mechanisms(crate::mechanisms("PLAIN,X")),
        6 if number > 200 => Told::Close(Response::err("enough")),
        _ => Told::Body(Vec::new()),
    }
}

/// Tells it everything, and asks for more.
struct Eager;

impl Application<Client> for Eager {
    fn on_event(&mut self, event: client::Event) -> Vec<client::Told> {
        match event {
            client::Event::Content(_) => vec![client::Told::More],
            client::Event::Challenge(_) => vec![client::Told::Respond(wire::Secret::new("x"))],
            _ => Vec::new(),
        }
    }
}

fn client_told(number: u8) -> client::Told {
    use client::Told;
    let message = MessageNumber::new(u32::from(number) + 1).unwrap();
    match number % 12 {
        0 => {
            Told::Login { user: UserName::try_from("mrose").unwrap(), password: Password::try_from(&b"x"[..]).unwrap() }
        }
        1 => Told::Authenticate { mechanism: crate::mechanisms("PLAIN").remove(0), initial_response: None },
        2 => Told::Capabilities,
        3 => Told::Stat,
        4 => Told::List(None),
        5 => Told::List(Some(message)),
        6 => Told::UniqueIds(None),
        7 => Told::Retrieve(message),
        8 => Told::Delete(message),
        9 => Told::Cancel,
        10 => Told::More,
        _ => Told::Quit,
    }
}

fn run<S: wire::Session, A: Application<S>>(driver: &mut Driver<S, A>, steps: &[Step], told: fn(u8) -> S::Told)
where
    S::Event: std::fmt::Debug,
{
    for step in steps {
        match step {
            Step::Feed(octets) => driver.feed(octets),
            Step::Pass(seconds) => driver.pass(Duration::from_secs(*seconds)),
            Step::Tls => {
                if driver.log.contains(&testkit::Did::StartTls) && !driver.is_closed() {
                    driver.log.retain(|did| *did != testkit::Did::StartTls);
                    driver.tls(TlsFacts::default());
                }
            }
            Step::Told(number) => driver.tell(told(*number)),
            Step::Shutdown => driver.shutdown(),
            Step::Eof => driver.eof(),
        }
        assert!(driver.input.len() < 100_000);
    }
    driver.eof();
    assert!(driver.is_closed());
    let ends = driver.take_events().iter().filter(|event| event.starts_with("Closed")).count();
    assert_eq!(ends, 1, "one last event");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_server_survives(steps in steps(), plaintext in any::<bool>()) {
        let config = Config {
            stls: true,
            allow_plaintext_auth: plaintext,
            mechanisms: crate::mechanisms("PLAIN"),
            ..Config::new("mx")
        };
        let application = Moody(Maildrop::new(&Settings::default()), false);
        let mut driver = Driver::new(|now| Server::new(Arc::new(config), now), application);
        run(&mut driver, &steps, server_told);
        let sent = driver.take_sent();
        prop_assert!(sent.is_empty() || sent.ends_with(b"\r\n"));
    }

    #[test]
    fn a_client_survives(steps in steps(), never in any::<bool>()) {
        let stls = if never { StartTls::Never } else { StartTls::Opportunistic };
        let config = ClientConfig { stls, allow_plaintext_auth: true, ..ClientConfig::default() };
        let mut driver = Driver::new(|now| Client::new(Arc::new(config), now), Eager);
        run(&mut driver, &steps, client_told);
    }
}
