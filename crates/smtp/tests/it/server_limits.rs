//! Each limit of the server session at its edge.

use std::time::Duration;

use smtp::server::{Config, Event, Mode, Server, Told};
use smtp::{Mechanism, Reply};

use crate::application::{greeted, mechanisms, serve};
use crate::drive::Driven;
use crate::smtp;

fn config() -> Config {
    Config::new(Mode::Smtp, "mx.example")
}

const BEGIN: &[u8] = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n";

#[test]
fn command_lines() {
    let (mut server, _) = greeted(config());
    server.feed(format!("NOOP {}\r\n", "x".repeat(4096 - 7)).as_bytes());
    assert_eq!(server.said(), "250 2.0.0 ok\r\n");
    server.feed(format!("NOOP {}\r\n", "x".repeat(4096 - 6)).as_bytes());
    assert_eq!(server.said(), "500 5.5.2 line longer than 4096 octets\r\n");
    // An endless line is answered at its end, and costs nothing.
    for _ in 0..1000 {
        server.feed(&[b'x'; 1000]);
        assert!(server.input.is_empty());
    }
    server.feed(b"\r\nNOOP\r\n");
    assert_eq!(server.said(), "500 5.5.2 line longer than 4096 octets\r\n250 2.0.0 ok\r\n");
}

#[test]
fn authentication_lines_are_longer_and_others_are_not() {
    let mut config = Config::new(Mode::Submission, "mx.example");
    config.mechanisms = mechanisms(&["PLAIN", "LOGIN"]);
    config.allow_plaintext_auth = true;
    let (mut server, _) = greeted(config);
    server.feed(format!("NOOP {}\r\n", "x".repeat(4096 - 6)).as_bytes());
    assert_eq!(server.said(), "500 5.5.2 line longer than 4096 octets\r\n");
    server.feed(format!("AUTH PLAIN {}\r\n", "AAAA".repeat((12_288 - 13) / 4)).as_bytes());
    assert_eq!(server.said(), "535 5.7.8 wrong user or password\r\n");
    server.feed(b"AUTH LOGIN\r\n");
    server.feed(format!("{}\r\n", "A".repeat(12_287)).as_bytes());
    assert_eq!(server.said(), "334 VXNlcm5hbWU6\r\n500 5.5.6 authentication line longer than 12288 octets\r\n");
    server.feed(b"AUTH PLAIN AHVzZXIAcGFzcw==\r\n");
    assert_eq!(server.said(), "235 2.7.0 authentication succeeded\r\n");
}

#[test]
fn authentication_rounds() {
    let mut config = Config::new(Mode::Submission, "mx.example");
    config.mechanisms = mechanisms(&["ENDLESS"]);
    config.allow_plaintext_auth = true;
    config.limits.auth_rounds = 3;
    let (mut server, _) = greeted(config);
    server.feed(b"AUTH ENDLESS\r\nYWdhaW4=\r\nYWdhaW4=\r\n");
    assert_eq!(server.said(), "334 YWdhaW4=\r\n".repeat(3));
    server.feed(b"YWdhaW4=\r\n");
    assert_eq!(server.said(), "535 5.7.8 the authentication exchange does not end\r\n");
}

#[test]
fn mechanisms_change() {
    let mut config = Config::new(Mode::Submission, "mx.example");
    config.mechanisms = mechanisms(&["PLAIN", "SCRAM-SHA-256"]);
    config.allow_plaintext_auth = true;
    let (mut server, _) = greeted(config);
    server.tell(Told::Mechanisms(mechanisms(&["PLAIN"])));
    server.feed(b"EHLO x\r\n");
    assert!(server.said().contains("250-AUTH PLAIN\r\n"));
    server.feed(b"AUTH SCRAM-SHA-256\r\n");
    assert_eq!(server.said(), "504 5.5.4 this mechanism is not offered\r\n");
    server.tell(Told::Mechanisms(Vec::<Mechanism>::new()));
    server.feed(b"EHLO x\r\n");
    assert!(!server.said().contains("AUTH"));
}

#[test]
fn recipients() {
    let mut config = config();
    config.limits.recipients = 2;
    let (mut server, got) = greeted(config);
    server.feed(b"MAIL FROM:<a@b.example>\r\n");
    server.feed(&b"RCPT TO:<b@mx.example>\r\n".repeat(2));
    assert_eq!(server.said(), "250 2.1.0 sender ok\r\n250 2.1.5 recipient ok\r\n250 2.1.5 recipient ok\r\n");
    server.feed(&b"RCPT TO:<b@mx.example>\r\n".repeat(50));
    assert!(server.said().starts_with("452 4.5.3 too many recipients"));
    server.feed(b"DATA\r\nx\r\n.\r\n");
    assert_eq!(got.borrow().messages[0].recipients.len(), 2);
    assert!(!server.closed);
}

#[test]
fn transactions() {
    let mut config = config();
    config.limits.transactions = 2;
    let (mut server, _) = greeted(config);
    server.feed(&b"MAIL FROM:<a@b.example>\r\nRSET\r\n".repeat(2));
    assert!(!server.closed);
    server.log.clear();
    server.feed(b"MAIL FROM:<a@b.example>\r\n");
    assert_eq!(
        server.said(),
        "421 4.7.0 too many transactions in one connection, mx.example closes the connection\r\n"
    );
    assert!(server.closed);
}

#[test]
fn errors_and_idle_commands() {
    let mut limited = config();
    limited.limits.errors = 3;
    let (mut server, _) = greeted(limited.clone());
    server.feed(b"FOO\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<unknown@mx.example>\r\n");
    assert!(!server.closed);
    server.feed(b"FOO\r\nNOOP\r\n");
    assert!(server.said().ends_with("421 4.7.0 too many errors, mx.example closes the connection\r\n"));
    assert!(server.closed);

    // What is wrong with the server is no error of the client's.
    let (mut server, _) = greeted(limited.clone());
    server.feed(b"MAIL FROM:<a@b.example>\r\n");
    server.feed(&b"RCPT TO:<later@mx.example>\r\n".repeat(5));
    assert!(!server.closed);

    // An accepted message is worth a fresh start.
    let (mut server, _) = greeted(limited);
    for _ in 0..5 {
        server.feed(b"FOO\r\nFOO\r\n");
        server.feed(BEGIN);
        server.feed(b"x\r\n.\r\n");
    }
    assert!(!server.closed);

    let mut limited = config();
    limited.limits.idle_commands = 3;
    let (mut server, _) = greeted(limited);
    server.feed(b"NOOP\r\nRSET\r\n");
    assert!(!server.closed);
    server.feed(b"NOOP\r\n");
    assert!(server.said().ends_with("421 4.7.0 too many commands without mail, mx.example closes the connection\r\n"));
}

#[test]
fn chunks_nobody_wants_are_bounded() {
    let mut limited = config();
    limited.limits.drain_octets = 10;
    let (mut server, _) = greeted(limited);
    server.feed(b"BDAT 10 LAST\r\n0123456789NOOP\r\n");
    assert_eq!(server.said(), "503 5.5.1 MAIL and RCPT come before BDAT\r\n250 2.0.0 ok\r\n");
    server.feed(b"BDAT 11 LAST\r\n");
    assert_eq!(server.said(), "503 5.5.1 MAIL and RCPT come before BDAT\r\n");
    assert!(server.closed);
}

#[test]
fn content_comes_at_a_minimum_rate() {
    let minute = Duration::from_secs(60);
    let (mut server, _) = greeted(config());
    server.feed(BEGIN);
    // One octet a second is too slow: three minutes and what the octets earned.
    for _ in 0..179 {
        server.feed(b"x");
        server.pass(Duration::from_secs(1));
        assert!(!server.closed);
    }
    server.feed(b"x");
    server.pass(Duration::from_secs(1));
    server.pass(Duration::from_secs(1));
    assert!(server.said().ends_with("421 4.4.2 idle for too long, mx.example closes the connection\r\n"));
    assert!(server.closed);

    // 60,000 octets a minute are enough for ever; the time of the application does not count.
    let (mut server, _) = greeted(config());
    server.feed(BEGIN);
    for _ in 0..60 {
        server.feed(&[b'x'; 60_000]);
        server.pass(minute);
        assert!(!server.closed);
    }
    // What was earned is no savings: three minutes at most.
    server.feed(&[b'x'; 1_000_000]);
    server.pass(minute * 3);
    assert!(server.closed);
}

#[test]
fn the_application_may_take_its_time() {
    let mut server: Driven<Server> = Driven::new(
        |now| Server::new(std::sync::Arc::new(config()), now),
        |never| match never {},
        |event| {
            (!matches!(event, Event::Content(_) | Event::Secured(_) | Event::Reset | Event::Closed(_)))
                .then_some(Told::Accept)
        },
    );
    server.run();
    server.feed(b"EHLO x\r\n");
    server.feed(BEGIN);
    server.feed(b"text\r\n");
    assert!(!server.reads && server.deadline.is_none());
    server.feed(b"more\r\n");
    assert_eq!(&server.input[..], b"more\r\n", "back-pressure: the rest waits outside");
    server.pass(Duration::from_secs(3600));
    assert!(!server.closed);
    server.tell(Told::Accept);
    server.tell(Told::Accept);
    assert!(server.reads && server.deadline.is_some());
}

#[test]
fn a_refused_connection_may_only_quit() {
    for (code, words) in [(554, "5.3.2 no service for you"), (421, "4.3.2 too busy")] {
        let mut server: Driven<Server> = Driven::new(
            |now| Server::new(std::sync::Arc::new(config()), now),
            |never| match never {},
            move |event| matches!(event, Event::Connected).then(|| Told::Reply(Reply::new(code, words))),
        );
        server.run();
        assert_eq!(server.said(), format!("{code} {words}\r\n"));
        assert_eq!(server.closed, code == 421);
        if code == 554 {
            server.feed(b"EHLO x\r\n");
            assert_eq!(server.said(), "503 5.5.1 the connection was refused; only QUIT is left\r\n");
            server.pass(Duration::from_secs(9));
            assert!(!server.closed);
            server.pass(Duration::from_secs(1));
            assert!(server.closed);
        }
    }
}

/// An application that puts its answer to RCPT off by a minute, and the greeting by five seconds.
fn hesitant() -> Driven<Server> {
    let later = |seconds| Some(Told::After(Duration::from_secs(seconds), Box::new(Told::Accept)));
    let mut server: Driven<Server> = Driven::new(
        |now| Server::new(std::sync::Arc::new(config()), now),
        |never| match never {},
        move |event| match event {
            Event::Connected => later(5),
            Event::Recipient(recipient) if recipient.forward_path.to_string().contains("long") => later(86_400),
            Event::Recipient(_) => later(60),
            Event::Reset | Event::Closed(_) => None,
            _ => Some(Told::Accept),
        },
    );
    server.run();
    server
}

#[test]
fn the_application_may_put_its_answer_off() {
    let mut server = hesitant();
    server.pass(Duration::from_secs(4));
    assert_eq!(server.said(), "");
    assert!(server.reads, "who talks now is an early talker");
    server.pass(Duration::from_secs(1));
    assert_eq!(server.said(), "220 mx.example ESMTP\r\n");
    server.feed(b"HELO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nNOOP\r\n");
    assert_eq!(server.said(), "250 mx.example\r\n250 2.1.0 sender ok\r\n");
    assert!(!server.reads && server.deadline == Some(server.now + Duration::from_secs(60)));
    server.pass(Duration::from_secs(59));
    assert_eq!(server.said(), "");
    server.pass(Duration::from_secs(1));
    assert_eq!(server.said(), "250 2.1.5 recipient ok\r\n250 2.0.0 ok\r\n");
    // No longer than a client waits.
    server.feed(b"RCPT TO:<long@d.example>\r\n");
    assert_eq!(server.deadline, Some(server.now + smtp::server::LONGEST_PAUSE));
    server.pass(smtp::server::LONGEST_PAUSE);
    assert_eq!(server.said(), "250 2.1.5 recipient ok\r\n");
}

#[test]
fn what_was_put_off_is_said_when_the_service_stops() {
    let mut server = hesitant();
    server.shutdown();
    assert_eq!(server.said(), "421 4.3.2 the service is stopping, mx.example closes the connection\r\n");
    assert!(server.closed);

    let mut server = hesitant();
    server.pass(Duration::from_secs(5));
    server.feed(b"HELO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n");
    server.log.clear();
    server.shutdown();
    assert_eq!(server.said(), "250 2.1.5 recipient ok\r\n");
    server.feed(b"RSET\r\n");
    assert!(server.closed, "the transaction is over, and so is the session");

    let mut server = hesitant();
    server.pass(Duration::from_secs(5));
    server.feed(b"HELO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n");
    server.log.clear();
    server.tell(Told::Close(Reply::new(421, "4.3.2 no more")));
    assert_eq!(server.said(), "421 4.3.2 no more\r\n");
    server.pass(Duration::from_secs(60));
    assert_eq!(server.said(), "");
}

#[test]
fn protocols_of_received() {
    let (mut server, got) = serve(config());
    server.run();
    server.feed(b"HELO x\r\n");
    server.feed(BEGIN);
    server.feed(b".\r\n");
    server.feed(b"EHLO x\r\n");
    server.feed(BEGIN);
    server.feed(b".\r\n");
    server.feed(b"MAIL FROM:<a@b.example> SMTPUTF8\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n.\r\n");
    server.tls();
    server.feed(b"EHLO x\r\n");
    server.feed(BEGIN);
    server.feed(b".\r\n");
    let got = got.borrow();
    let protocols: Vec<_> = got.messages.iter().map(|message| message.protocol).collect();
    assert_eq!(protocols, ["SMTP", "ESMTP", "UTF8SMTP", "ESMTPS"]);
}

#[test]
fn replies_to_a_flood_are_bounded() {
    let (mut server, _) = greeted(Config {
        limits: smtp::ServerLimits { idle_commands: 1_000_000, ..smtp::ServerLimits::default() },
        ..config()
    });
    server.input.extend_from_slice(&b"EHLO x\r\nNOOP\r\n".repeat(20_000));
    let now = server.now;
    wire::Session::handle_input(&mut server.session, now, &mut server.input);
    assert!(server.input.len() > 200_000, "the session stops taking when its outbox is full");
    server.run();
    assert!(server.input.is_empty());
}
