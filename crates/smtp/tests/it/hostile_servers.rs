//! Servers that do not end, do not stop, or say what nobody asked.

use std::sync::Arc;
use std::time::Duration;

use smtp::client::{Client, ClientConfig, ClientMode, Event, Failure, Told};
use smtp::{HelloName, MailParameters, ReplyError};

use crate::drive::{Did, Driven};
use crate::smtp;
use crate::transcripts::transaction;

type Driver = Driven<Client<Vec<u8>>>;

fn client() -> Driver {
    let mut config = ClientConfig::new(ClientMode::Smtp, HelloName::try_from("client.example").expect("a name"));
    config.chunking = false;
    Driven::new(|now| Client::new(Arc::new(config), now), |body| body, |_: &Event| None)
}

/// A client that has said the command, and waits.
fn waiting(stage: &str) -> Driver {
    let mut client = client();
    client.run();
    let so_far = [("", ""), ("EHLO", "220 x\r\n"), ("MAIL", "250 x\r\n"), ("RCPT", "250 x\r\n"), ("DATA", "250 x\r\n")];
    for (command, reply) in so_far.iter().chain(&[("text", "354 x\r\n")]) {
        client.feed(reply.as_bytes());
        if *command == "MAIL" {
            let parameters = MailParameters::default();
            client.tell(Told::Send(Box::new(transaction("a@b.example", "c@d.example", parameters, b"text".to_vec()))));
        }
        assert!(client.said().starts_with(command));
        if *command == stage {
            break;
        }
    }
    client.log.clear();
    client
}

fn ended(client: &Driver, failure: &Failure) -> bool {
    let wanted = format!("Closed(Err({failure:?}))");
    client.closed && client.log.iter().any(|did| matches!(did, Did::Event(event) if *event == wanted))
}

const STAGES: [(&str, u64); 6] = [("", 300), ("EHLO", 300), ("MAIL", 300), ("RCPT", 300), ("DATA", 120), ("text", 600)];

/// RFC 5321 §4.5.3.2: each wait is for a whole reply.
#[test]
fn an_octet_a_second_is_no_reply_at_any_stage() {
    for (stage, seconds) in STAGES {
        let mut client = waiting(stage);
        for second in 0..seconds {
            assert!(!client.closed, "{stage} after {second} s");
            client.feed(if second < 4 { &b"250-"[second as usize..][..1] } else { b"x" });
            client.pass(Duration::from_secs(1));
        }
        assert!(ended(&client, &Failure::TimedOut), "{stage}");
    }
}

/// Lines without end: the greeting above all.
#[test]
fn a_reply_of_a_hundred_megabytes_is_not_kept() {
    for (stage, _) in STAGES {
        let mut lines = waiting(stage);
        let line = format!("250-{}\r\n", "x".repeat(4000));
        for _ in 0..25_000 {
            lines.feed(line.as_bytes());
            assert!(lines.input.len() <= line.len());
            if lines.closed {
                break;
            }
        }
        assert!(ended(&lines, &Failure::Reply(ReplyError::TooManyLines { limit: 128 })), "{stage}");

        let mut endless = waiting(stage);
        for _ in 0..1600 {
            endless.feed(&[b'2'; 65_536]);
            assert!(endless.input.is_empty());
            if endless.closed {
                break;
            }
        }
        // An endless line is thrown away as it comes, and the wait ends it.
        endless.pass(Duration::from_secs(600));
        assert!(endless.closed, "{stage}");
    }
}

#[test]
fn the_connection_breaks_at_any_stage() {
    for (stage, _) in STAGES {
        let mut client = waiting(stage);
        client.feed(b"250-half");
        client.eof();
        assert!(ended(&client, &Failure::Eof), "{stage}");
        let sent = client.log.iter().find_map(|did| match did {
            Did::Event(event) if event.starts_with("Sent") => Some(event.clone()),
            _ => None,
        });
        match stage {
            "" | "EHLO" => assert_eq!(sent, None),
            _ => assert!(sent.expect("an outcome").contains(&format!("content_sent: {}", stage == "text")), "{stage}"),
        }
    }
}

#[test]
fn what_nobody_asked_for_ends_the_session() {
    for (stage, _) in STAGES.into_iter().skip(2) {
        // Two answers where one is due, or an answer to come, are not taken for an answer to what follows.
        let mut client = waiting(stage);
        let reply = if stage == "DATA" { "354 go\r\n250 queued\r\n" } else { "250 ok\r\n" };
        client.feed(reply.as_bytes());
        if stage == "DATA" {
            assert!(client.closed, "an answer to content that has not left");
            assert_eq!(client.said(), "");
            continue;
        }
        if stage == "text" {
            client.feed(b"250 ok\r\n");
            assert!(client.closed);
        }
    }
    for rubbish in
        [&b"\0\0\0\0\r\n"[..], b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\r\n", b"354 go\r\n", b"999 x\r\n", b"\r\n"]
    {
        for (stage, _) in STAGES.into_iter().filter(|(stage, _)| *stage != "DATA") {
            let mut client = waiting(stage);
            client.feed(rubbish);
            client.feed(rubbish);
            assert!(client.closed, "{stage}: {:?}", rubbish.escape_ascii().to_string());
        }
    }
    // Answers to a whole transaction before it was begun.
    let mut client = client();
    client.feed(b"220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n250 queued\r\n");
    assert!(client.closed);
    assert!(!client.log.iter().any(|did| matches!(did, Did::Event(event) if event.contains("Content"))));
}
