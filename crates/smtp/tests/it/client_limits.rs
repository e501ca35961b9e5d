//! Each limit of the client session at its edge, and hostile servers.

use std::sync::Arc;
use std::time::Duration;

use smtp::client::{Client, ClientConfig, ClientMode, Event, Failure, Told, Unsupported};
use smtp::{HelloName, MailParameters, ReplyError};
use wire::Secret;

use crate::application::mechanisms;
use crate::drive::{Did, Driven};
use crate::smtp;
use crate::transcripts::transaction;

type Driver = Driven<Client<Vec<u8>>>;

fn config() -> ClientConfig {
    ClientConfig::new(ClientMode::Smtp, HelloName::try_from("client.example").expect("a name"))
}

fn client(config: ClientConfig) -> Driver {
    Driven::new(|now| Client::new(Arc::new(config), now), |body| body, |_: &Event| None)
}

fn opened(config: ClientConfig, offers: &str) -> Driver {
    let mut client = client(config);
    client.feed(format!("220 mx.example\r\n250-mx.example\r\n{offers}250 HELP\r\n").as_bytes());
    client.log.clear();
    client
}

fn ended(client: &Driver, failure: &Failure) -> bool {
    let wanted = format!("Closed(Err({failure:?}))");
    client.log.iter().any(|did| matches!(did, Did::Event(event) if *event == wanted))
}

#[test]
fn reply_lines_have_a_length() {
    let mut fits = client(config());
    fits.feed(format!("220 {}\r\n", "x".repeat(4096 - 6)).as_bytes());
    assert!(!fits.closed);
    let mut long = client(config());
    long.feed(format!("220 {}\r\n", "x".repeat(4096 - 5)).as_bytes());
    assert!(ended(&long, &Failure::Reply(ReplyError::LineTooLong { limit: 4096 })));
}

#[test]
fn replies_have_a_number_of_lines() {
    let mut fits = client(config());
    fits.feed(&b"220-x\r\n".repeat(127));
    fits.feed(b"220 x\r\n");
    assert_eq!(fits.said(), "EHLO client.example\r\n");
    let mut endless = client(config());
    endless.feed(&b"220-x\r\n".repeat(128));
    assert!(!endless.closed);
    endless.feed(b"220-x\r\n");
    assert!(ended(&endless, &Failure::Reply(ReplyError::TooManyLines { limit: 128 })));
}

#[test]
fn what_is_no_reply_ends_the_session() {
    for (octets, error) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], ReplyError::Code),
        (b"\r\n", ReplyError::Code),
        (b"220 a\0b\r\n", ReplyError::Octets),
        (b"220 a\rb\r\n", ReplyError::Octets),
        (b"220-a\r\n554 b\r\n", ReplyError::MixedCodes),
    ] {
        let mut client = client(config());
        client.feed(octets);
        assert!(ended(&client, &Failure::Reply(error)), "{:?}", octets.escape_ascii().to_string());
        assert!(client.closed);
    }
    // 8-bit text, and a line ended by LF, are understood.
    let mut client = client(config());
    client.feed(b"220 caf\xe9\n");
    assert_eq!(client.said(), "EHLO client.example\r\n");
}

#[test]
fn every_wait_has_an_end() {
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let mut greeting = client(config());
    greeting.run();
    greeting.pass(minutes(5) - Duration::from_secs(1));
    // An octet is no reply.
    greeting.feed(b"2");
    assert!(!greeting.closed);
    greeting.pass(Duration::from_secs(1));
    assert!(ended(&greeting, &Failure::TimedOut));

    let mut idle = opened(config(), "");
    idle.pass(minutes(600));
    assert!(!idle.closed, "the application's time is its own");
    idle.tell(Told::Quit);
    assert_eq!(idle.said(), "QUIT\r\n");
    idle.pass(Duration::from_secs(30));
    assert!(idle.closed);
    assert!(idle.log.contains(&Did::Event("Closed(Ok(()))".to_owned())));
}

#[test]
fn pipelining_has_a_window() {
    let mut limited = config();
    limited.limits.pipelined_commands = 3;
    let mut client = opened(limited, "250-PIPELINING\r\n");
    let recipients = ["b@mx.example"; 5].join(",");
    client.tell(Told::Send(Box::new(transaction("a@b.example", &recipients, MailParameters::default(), Vec::new()))));
    assert_eq!(client.said().lines().count(), 3);
    client.feed(b"250 ok\r\n");
    assert_eq!(client.said(), "RCPT TO:<b@mx.example>\r\n");
    client.feed(b"250 ok\r\n250 ok\r\n250 ok\r\n");
    assert!(client.said().ends_with("DATA\r\n"));
}

#[test]
fn authentication_has_rounds_and_its_lines_a_length() {
    let mut limited = config();
    limited.allow_plaintext_auth = true;
    limited.limits.auth_rounds = 2;
    let mut client = opened(limited.clone(), "250-AUTH LOGIN OAUTHBEARER\r\n");
    let login = |response: Option<Secret>| Told::Authenticate {
        mechanism: mechanisms(&["LOGIN"]).remove(0),
        initial_response: response,
    };
    client.tell(login(None));
    assert_eq!(client.said(), "AUTH LOGIN\r\n");
    for _ in 0..2 {
        client.feed(b"334 VXNlcm5hbWU6\r\n");
        client.tell(Told::Response(Secret::new("user")));
        assert_eq!(client.said(), "dXNlcg==\r\n");
    }
    client.feed(b"334 VXNlcm5hbWU6\r\n");
    assert_eq!(client.said(), "*\r\n");
    client.feed(b"334 VXNlcm5hbWU6\r\n");
    assert!(client.closed);

    // RFC 4954 §4: an initial response that makes the line too long comes after the first challenge.
    let mut client = opened(limited, "250-AUTH LOGIN\r\n");
    client.tell(login(Some(Secret::new("x".repeat(372)))));
    let said = client.said();
    assert_eq!((said.len(), said.starts_with("AUTH LOGIN eHh4")), (509, true));
    client.feed(b"535 no\r\n");
    client.tell(login(Some(Secret::new("x".repeat(375)))));
    assert_eq!(client.said(), "AUTH LOGIN\r\n");
    client.feed(format!("334 {}\r\n", "A".repeat(12_288 - 6)).as_bytes());
    assert_eq!(client.said().len(), 502);
    client.feed(b"235 ok\r\n");
    assert!(!client.closed);
}

#[test]
fn secrets_leave_only_where_they_may() {
    let mut client = opened(config(), "250-AUTH LOGIN\r\n");
    let mechanism = mechanisms(&["LOGIN"]).remove(0);
    client.tell(Told::Authenticate { mechanism, initial_response: None });
    assert_eq!(client.said(), "");
    assert!(client.log.contains(&Did::Event("AuthenticationFailed(None)".to_owned())));
}

#[test]
fn what_a_server_does_not_offer_is_not_tried() {
    let parameters = MailParameters { smtputf8: true, ..MailParameters::default() };
    let plain = MailParameters::default();
    for (from, to, parameters, octets, unsupported) in [
        ("a@b.example", "c@d.example", parameters, 5, Unsupported::SmtpUtf8),
        ("j\u{fc}@b.example", "c@d.example", plain.clone(), 5, Unsupported::SmtpUtf8),
        ("a@b.example", "c@d.example", plain.clone(), 101, Unsupported::Size),
        ("a@b.example", "", plain, 5, Unsupported::Recipients),
    ] {
        let mut client = opened(config(), "250-SIZE 100\r\n");
        client.tell(Told::Send(Box::new(transaction(from, to, parameters, vec![b'x'; octets]))));
        assert_eq!(client.said(), "");
        let wanted = format!("{:?}", Failure::Unsupported(unsupported));
        assert!(client.log.iter().any(|did| matches!(did, Did::Event(event) if event.contains(&wanted))), "{wanted}");
        assert!(!client.closed);
    }
}

#[test]
fn a_pipelined_data_without_recipients_sends_nothing() {
    let mut limited = config();
    limited.chunking = false;
    let mut client = opened(limited, "250-PIPELINING\r\n250-CHUNKING\r\n");
    client.tell(Told::Send(Box::new(transaction(
        "a@b.example",
        "c@d.example",
        MailParameters::default(),
        b"x".to_vec(),
    ))));
    client.log.clear();
    client.feed(b"250 ok\r\n550 no\r\n354 go\r\n");
    assert_eq!(client.said(), ".\r\n");
    client.feed(b"554 no valid recipients\r\n");
    assert!(client.log.iter().any(|did| matches!(did, Did::Event(event) if event.contains("stage: Rcpt"))));
}
