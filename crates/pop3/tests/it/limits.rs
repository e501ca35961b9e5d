//! Each limit at its edge.

use std::sync::Arc;
use std::time::Duration;

use testkit::{Driver, Settings};
use wire::TlsFacts;

use crate::application::{Maildrop, Reader};
use crate::pop3::client::{self, Client, ClientConfig, StartTls};
use crate::pop3::server::{Config, Server};
use crate::pop3::{ClientLimits, MessageNumber, ServerLimits};

type ServerDriver = Driver<Server<Vec<u8>>, Maildrop>;

fn server(limits: ServerLimits) -> ServerDriver {
    let config = Config { limits, mechanisms: crate::mechanisms("PLAIN"), ..Config::new("mx") };
    let session = |now| Server::new(Arc::new(config), now);
    let mut driver = Driver::under_tls(session, Maildrop::new(&Settings::default()), TlsFacts::default());
    driver.take_sent();
    driver
}

fn said(driver: &mut ServerDriver, line: &str) -> String {
    driver.feed(line.as_bytes());
    driver.feed(b"\r\n");
    String::from_utf8(driver.take_sent()).unwrap()
}

#[test]
fn a_command_line_has_255_octets() {
    // RFC 2449 §4; the CRLF counts.
    let mut driver = server(ServerLimits::default());
    assert_eq!(said(&mut driver, &format!("USER {}", "a".repeat(248))), "+OK send PASS\r\n");
    assert_eq!(said(&mut driver, &format!("USER {}", "a".repeat(249))), "-ERR line longer than 255 octets\r\n");
    assert_eq!(said(&mut driver, &"x".repeat(20_000)), "-ERR line longer than 12288 octets\r\n");
    assert!(said(&mut driver, "USER mrose").starts_with("+OK"));
    assert!(said(&mut driver, "PASS tanstaaf").starts_with("+OK"));
    assert_eq!(said(&mut driver, &format!("NOOP{}", " ".repeat(249))), "+OK\r\n");
    assert_eq!(said(&mut driver, &format!("NOOP{}", " ".repeat(250))), "-ERR line longer than 255 octets\r\n");
}

#[test]
fn an_auth_line_has_12288_octets() {
    let mut driver = server(ServerLimits { failed_logins: 99, ..ServerLimits::default() });
    let base64 = "AAAA".repeat(3069);
    // Leniency `long_initial_response`.
    assert!(said(&mut driver, &format!("AUTH PLAIN {}", &base64[..600])).starts_with("-ERR [AUTH]"));
    assert_eq!(said(&mut driver, "AUTH PLAIN"), "+ \r\n");
    assert!(said(&mut driver, &base64).starts_with("-ERR [AUTH]"));
    assert_eq!(said(&mut driver, "AUTH PLAIN"), "+ \r\n");
    assert_eq!(said(&mut driver, &"A".repeat(12_288)), "-ERR line longer than 12288 octets\r\n");
}

#[test]
fn errors_and_refused_logins_are_counted() {
    let mut driver = server(ServerLimits::default());
    for _ in 0..20 {
        assert_eq!(said(&mut driver, "X"), "-ERR unknown command\r\n");
    }
    assert_eq!(said(&mut driver, "X"), "-ERR too many errors\r\n");
    assert!(driver.is_closed());

    let mut driver = server(ServerLimits::default());
    for _ in 0..19 {
        said(&mut driver, "X");
    }
    for _ in 0..4 {
        assert_eq!(said(&mut driver, "AUTH PLAIN AHgAeA=="), "-ERR [AUTH] wrong name or password\r\n");
    }
    assert!(said(&mut driver, "AUTH PLAIN AG1yb3NlAHRhbnN0YWFm").starts_with("+OK"));
    // A login starts the count anew.
    for _ in 0..20 {
        said(&mut driver, "X");
    }
    assert!(!driver.is_closed());
}

#[test]
fn a_long_listing_is_made_as_it_is_sent() {
    let config = Config { allow_plaintext_auth: true, ..Config::new("mx") };
    let listed = |number: usize| crate::pop3::Listed {
        octets: 10,
        unique_id: crate::pop3::UniqueId::try_from(format!("{number:070}").as_str()).unwrap(),
    };
    let maildrop: Arc<[_]> = (0..10_000).map(listed).collect();
    let mut server = Server::<Vec<u8>>::new(Arc::new(config), testkit::start());
    let mut input = bytes::BytesMut::from(&b"USER a\r\nPASS b\r\nUIDL\r\nNOOP\r\n"[..]);
    let (mut sent, mut most) = (Vec::new(), 0);
    loop {
        use wire::{Output, Session};
        match server.poll() {
            Output::Send(octets) => {
                most = most.max(octets.len());
                sent.extend_from_slice(&octets);
            }
            Output::Event(_) => {
                server.handle_told(testkit::start(), crate::pop3::server::Told::Maildrop(Arc::clone(&maildrop)));
            }
            Output::Wait { .. } if input.is_empty() => break,
            Output::Wait { .. } => server.handle_input(testkit::start(), &mut input),
            other => panic!("{other:?}"),
        }
    }
    assert!(most < 20_000, "{most} octets at once");
    assert!(sent.ends_with(b"\r\n.\r\n+OK\r\n"));
    assert_eq!(sent.iter().filter(|octet| **octet == b'\n').count(), 10_000 + 6);
}

#[test]
fn idle_sessions_keep_no_input() {
    let mut driver = server(ServerLimits::default());
    driver.feed(b"USE");
    assert!(driver.input.is_empty() && driver.reads());
    assert_eq!(driver.deadline(), Some(testkit::start() + Duration::from_secs(60)));
}

fn client(limits: ClientLimits) -> Driver<Client, Reader> {
    let config = ClientConfig { limits, stls: StartTls::Never, allow_plaintext_auth: true };
    let mut driver = Driver::new(|now| Client::new(Arc::new(config), now), Reader);
    driver.feed(b"+OK\r\n");
    driver
}

#[test]
fn a_client_bounds_what_it_is_told() {
    let mut driver = client(ClientLimits::default());
    driver.feed(b"+OK\r\n");
    driver.feed("TOP\r\n".repeat(128).as_bytes());
    assert!(!driver.is_closed());
    driver.feed(b"TOP\r\n");
    assert_eq!(driver.take_events(), ["Closed(Err(Response(TooMany { limit: 128 })))"]);

    let mut driver = client(ClientLimits::default());
    driver.feed(format!("-ERR {}\r\n", "x".repeat(4089)).as_bytes());
    assert!(!driver.is_closed());
    driver.tell(client::Told::Stat);
    driver.feed(format!("-ERR {}\r\n", "x".repeat(4090)).as_bytes());
    assert!(driver.is_closed());

    // Challenges, until it cancels.
    let mut driver = client(ClientLimits { auth_rounds: 2, ..ClientLimits::default() });
    driver.feed(b"-ERR\r\n");
    driver.take_sent();
    driver.tell(client::Told::Authenticate { mechanism: crate::mechanisms("X").remove(0), initial_response: None });
    for _ in 0..2 {
        driver.feed(b"+ AAAA\r\n");
        driver.tell(client::Told::Respond(wire::Secret::new("")));
    }
    driver.feed(b"+ AAAA\r\n");
    assert_eq!(driver.take_sent(), b"AUTH X\r\n\r\n\r\n*\r\n");
}

#[test]
fn a_client_sends_so_much_ahead() {
    let mut driver = client(ClientLimits { pipelined_commands: 3, ..ClientLimits::default() });
    driver.feed(b"+OK\r\nPIPELINING\r\n.\r\n");
    driver.take_sent();
    for number in 1..=5 {
        driver.tell(client::Told::Delete(MessageNumber::new(number).unwrap()));
    }
    assert_eq!(driver.take_sent(), b"DELE 1\r\nDELE 2\r\nDELE 3\r\n");
    driver.feed(b"+OK\r\n");
    assert_eq!(driver.take_sent(), b"DELE 4\r\n");
}

#[test]
fn a_client_reads_no_further_than_it_is_told() {
    struct Slow;
    impl testkit::Application<Client> for Slow {
        fn on_event(&mut self, _: client::Event) -> Vec<client::Told> {
            Vec::new()
        }
    }
    let config = ClientConfig { stls: StartTls::Never, ..ClientConfig::default() };
    let mut driver = Driver::new(|now| Client::new(Arc::new(config), now), Slow);
    driver.feed(b"+OK\r\n-ERR\r\n");
    driver.tell(client::Told::Retrieve(MessageNumber::new(1).unwrap()));
    driver.take_events();
    driver.feed(b"+OK\r\na\r\n");
    driver.feed(b"b\r\n.\r\n");
    assert_eq!(driver.take_events(), ["Content(b\"a\\r\\n\")"]);
    assert!(!driver.reads() && driver.deadline().is_none());
    driver.tell(client::Told::More);
    assert_eq!(driver.take_events(), ["Content(b\"b\\r\\n\")"]);
    driver.tell(client::Told::More);
    assert_eq!(driver.take_events(), ["ContentEnd { octets: 6 }"]);
}
