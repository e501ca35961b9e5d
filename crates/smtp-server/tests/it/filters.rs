//! What a policy hook decides, done.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use bytes::BytesMut;
use daemon::Kind;
use directory::ImportRow;
use milter::{Command, Framer, Modification, Response};
use trace::Step;

use crate::world::{World, id_in};

/// A policy hook that answers by what stands behind `Subject: `; its settings.
fn hook() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut heard = Vec::new();
            let mut piece = [0; 4_096];
            let action = loop {
                let octets = stream.read(&mut piece).unwrap();
                heard.extend_from_slice(&piece[..octets]);
                let text = String::from_utf8_lossy(&heard).into_owned();
                let known = ["discard", "quarantine", "hold", "reject", "tempfail", "continue"];
                let found = known.into_iter().find(|action| text.contains(&format!("\"value\":\"{action}\"")));
                if let Some(action) = found {
                    break action;
                }
                assert!(octets > 0, "no subject in {text}");
            };
            let document = format!(
                "{{\"action\":\"{action}\",\"text\":\"as asked\",\"add_header\":[{{\"name\":\"X-Seen\",\"value\":\"yes\"}}]}}"
            );
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", document.len());
            // The client may have gone.
            let _ = stream.write_all(format!("{head}{document}").as_bytes());
        }
    });
    format!("[[hook]]\nname = \"judge\"\nurl = \"http://127.0.0.1:{port}/\"\n")
}

/// A milter that makes these changes to every message; its settings.
fn milter(changes: Vec<Modification>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut framer, mut heard, mut piece) = (Framer::new(1 << 16), BytesMut::new(), [0; 4_096]);
            loop {
                let octets = stream.read(&mut piece).unwrap();
                if octets == 0 {
                    break;
                }
                heard.extend_from_slice(&piece[..octets]);
                let mut said = BytesMut::new();
                while let Some(packet) = framer.take(&mut heard).unwrap() {
                    match Command::parse(&packet).unwrap() {
                        Command::Negotiate(offered) => Response::Negotiate(offered).encode(&mut said),
                        Command::End(_) => {
                            changes.iter().for_each(|change| Response::Modify(change.clone()).encode(&mut said));
                            Response::Continue.encode(&mut said);
                        }
                        _ => {}
                    }
                }
                // The client may have gone.
                let _ = stream.write_all(&said);
            }
        }
    });
    format!("[[milter]]\nname = \"one\"\naddress = \"127.0.0.1:{port}\"\n")
}

#[tokio::test]
async fn parameters_of_a_milter_go_on_with_the_message() {
    let parameters = |text: &str| Some(text.into());
    let changes = vec![
        Modification::ChangeSender {
            path: "<ann@example.org>".into(),
            parameters: parameters("ENVID=of-milter SIZE=1 BODY=8BITMIME"),
        },
        Modification::AddRecipient {
            path: "<cy@far.example>".into(),
            parameters: parameters("NOTIFY=SUCCESS,DELAY ORCPT=rfc822;first@far.example"),
        },
        Modification::AddRecipient { path: "<dan@far.example>".into(), parameters: parameters("NOTIFY=SOMETIMES") },
    ];
    let world = World::new(&milter(changes)).await;
    let mut ann = world.ann().await;
    let content = "From: ann@example.org\r\n\r\nhello";
    let told = ann.send("<ann@example.org> RET=HDRS ENVID=of-client", &["<x@far.example>"], content).await;
    let queue = world.queue().await;
    let rows: Vec<(&str, &str, &str)> =
        queue.iter().map(|row| (row.recipient.as_str(), row.facts.rcpt.as_str(), row.envelope.mail.as_str())).collect();
    let mail = " RET=HDRS ENVID=of-milter";
    assert_eq!(
        rows,
        [
            ("x@far.example", "", mail),
            ("cy@far.example", " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;first@far.example", mail),
            ("dan@far.example", "", mail),
        ]
    );
    let story: Vec<String> = world.story(&id_in(&told)).await.iter().map(ToString::to_string).collect();
    for (of, left) in [("the sender", "SIZE (the message itself shows it) BODY"), ("dan", "NOTIFY (bad or repeated)")] {
        assert!(story.iter().any(|step| step.contains(of) && step.contains(left)), "{of}: {story:#?}");
    }
}

#[tokio::test]
async fn a_recipient_of_a_milter_without_room_is_not_lost() {
    // By LMTP each recipient of the client has its own reply; one that a milter adds has none.
    let changes = vec![Modification::AddRecipient { path: "<cyd@example.org>".into(), parameters: None }];
    let world = World::new(&milter(changes)).await;
    let mut client = world.client(Kind::Lmtp, "127.0.0.1").await;
    client.say("LHLO client.example").await;
    let mut send = async || client.send("<x@client.example>", &["<ann@example.org>"], "Subject: x\r\n\r\nhello").await;
    // Not known yet, and so not added.
    let told = send().await;
    assert!(told.starts_with("250 2.0.0 "), "{told}");
    // Return-Path and Delivered-To are no part of what came, and count all the same.
    let stored = world.mailbox("ann@example.org", "INBOX").await[0].len() as u64;
    let row = ImportRow {
        line: 1,
        address: "cyd@example.org".into(),
        password: "{PLAIN}secret".into(),
        quota_octets: Some(stored - 20),
    };
    world.directory.import(vec![row]).await.unwrap();
    let told = send().await;
    assert!(told.starts_with("452 4.2.2 "), "{told}");
    for (name, messages) in [("ann", 1), ("cyd", 0)] {
        assert_eq!(world.mailbox(&format!("{name}@example.org"), "INBOX").await.len(), messages, "{name}");
    }
}

#[tokio::test]
async fn every_verdict_is_done() {
    let world = World::new(&hook()).await;
    for (action, code, inbox, junk, queued, held) in [
        ("continue", "250", 1, 0, 1, false),
        ("reject", "550", 0, 0, 0, false),
        ("tempfail", "451", 0, 0, 0, false),
        ("discard", "250", 0, 0, 0, false),
        ("quarantine", "250", 0, 1, 1, true),
        ("hold", "250", 0, 0, 2, true),
    ] {
        let before = world.queue().await.len();
        let (inbox_before, junk_before) =
            (world.mailbox("bob@example.org", "INBOX").await, world.mailbox("bob@example.org", "Junk").await);
        let mut ann = world.ann().await;
        let content = format!("From: ann@example.org\r\nSubject: {action}\r\n\r\nhello");
        let told = ann.send("<ann@example.org>", &["<bob@example.org>", "<x@far.example>"], &content).await;
        assert!(told.starts_with(code), "{action}: {told}");
        let (inbox_now, junk_now) =
            (world.mailbox("bob@example.org", "INBOX").await, world.mailbox("bob@example.org", "Junk").await);
        assert_eq!(inbox_now.len() - inbox_before.len(), inbox, "{action}");
        assert_eq!(junk_now.len() - junk_before.len(), junk, "{action}");
        let queue = world.queue().await;
        assert_eq!(queue.len() - before, queued, "{action}");
        assert!(queue[before..].iter().all(|row| row.held == held), "{action}: {queue:?}");
        assert!(queue.iter().all(|row| row.content.contains("\r\nX-Seen: yes\r\n")), "{queue:?}");
        // The trace knows who it was.
        let found = world.store.traced(store::TraceKey::Address("x@far.example".into()), 0, 1).await.unwrap();
        let story = world.story(&found[0]).await;
        let judge = |step: &Step| matches!(step, Step::Judged { by, .. } if by == "judge");
        assert!(story.iter().any(judge), "{action}: {story:?}");
        if code == "250" {
            assert_eq!(id_in(&told), found[0]);
        } else {
            // What is not taken has no other line with the envelope.
            let words: Vec<String> = story.iter().map(ToString::to_string).collect();
            let envelope = "envelope: fact: from ann@example.org to bob@example.org, x@far.example, by submission \
                            (logged in as ann@example.org) of ";
            assert!(words[0].starts_with(envelope), "{action}: {words:?}");
        }
    }
}

#[tokio::test]
async fn a_large_message_is_changed_and_goes_everywhere() {
    let world = World::new(&hook()).await;
    let mut ann = world.ann().await;
    let body = "0123456789abcdef0123456789abcdef\r\n".repeat(100_000);
    // The line break at its end is the last of DATA.
    let body = body.trim_end();
    let content = format!("From: ann@example.org\r\nBcc: secret@far.example\r\nSubject: continue\r\n\r\n{body}");
    id_in(&ann.send("<ann@example.org>", &["<bob@example.org>", "<x@far.example>"], &content).await);
    let queue = world.queue().await;
    let inbox = world.mailbox("bob@example.org", "INBOX").await;
    for message in [&queue[0].content, &inbox[0]] {
        assert!(
            message.trim_end().ends_with(body)
                && message.contains("\r\nX-Seen: yes\r\n")
                && !message.contains("secret")
        );
        assert_eq!(message.matches("\r\n\r\n").count(), 1);
    }
    // The same without a filter.
    let world = World::new("").await;
    let mut ann = world.ann().await;
    id_in(&ann.send("<ann@example.org>", &["<bob@example.org>", "<x@far.example>"], &content).await);
    let queue = world.queue().await;
    assert!(queue[0].content.trim_end().ends_with(body) && !queue[0].content.contains("secret"));
}

#[tokio::test]
async fn a_filter_that_is_gone_fails_as_it_is_told() {
    for (on_failure, code) in [("accept", "250"), ("tempfail", "451"), ("reject", "550")] {
        let settings =
            format!("[[hook]]\nname = \"gone\"\nurl = \"http://127.0.0.1:1/\"\non_failure = \"{on_failure}\"");
        let world = World::new(&settings).await;
        let mut stranger = world.stranger().await;
        let told = stranger.send("<y@other.example>", &["<bob@example.org>"], "Subject: x\r\n\r\nhello").await;
        assert!(told.starts_with(code), "{on_failure}: {told}");
    }
}
