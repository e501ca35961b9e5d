//! Milters that are not there, too slow, garbled, too large, or gone half-way: open or closed, as they are set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use milter::{Command, Modification, Response, Steps};

use crate::filter::{Address, MilterSettings, NoteKind, OnFailure, Stage, Verdict};
use crate::played::{Does, PlayedMilter, SHORT, filters, go, message, session, whole};

const POLICIES: [OnFailure; 3] = [OnFailure::Accept, OnFailure::TempFail, OnFailure::Reject];

/// Plays a message to this milter under each policy: where it failed and what the note says.
async fn fails(settings: &MilterSettings, stage: Stage, words: &str) {
    for policy in POLICIES {
        let settings = MilterSettings { on_failure: policy, ..settings.clone() };
        let mut session = session(&filters(vec![settings], vec![]));
        let outcome = whole(&mut session, b"text").await;
        let (verdict, notes) = match outcome {
            Ok(decision) => (decision.verdict, decision.notes),
            Err(verdict) => (verdict, session.take_notes()),
        };
        let code = match &verdict {
            Verdict::Reject(reply) | Verdict::TempFail(reply) => reply.code(),
            other => {
                assert_eq!(*other, Verdict::Continue);
                250
            }
        };
        let expected = match (policy, stage) {
            (OnFailure::Accept, _) => 250,
            (OnFailure::TempFail, Stage::Connect) => 421,
            (OnFailure::TempFail, _) => 451,
            (OnFailure::Reject, Stage::Connect) => 554,
            (OnFailure::Reject, _) => 550,
        };
        assert_eq!(code, expected, "{policy:?} {stage}");
        let failed: Vec<_> = notes.iter().filter(|note| note.kind == NoteKind::Failed).collect();
        assert!(!failed.is_empty());
        assert_eq!(failed[0].stage, stage, "{notes:?}");
        assert!(failed[0].text.contains(words), "{notes:?}");
    }
}

#[tokio::test]
async fn not_reachable() {
    let nowhere = Address::Unix("/nonexistent/milter.sock".into());
    fails(&MilterSettings::new("one", nowhere), Stage::Connect, "not reachable").await;
    // A port that nobody listens on any more.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gone = Address::Tcp("127.0.0.1".to_owned(), gone.port());
    fails(&MilterSettings::new("one", gone), Stage::Connect, "not reachable").await;
}

#[tokio::test]
async fn silent_or_gone_at_each_stage() {
    let stages = [
        (b'O', Stage::Connect),
        (b'C', Stage::Connect),
        (b'H', Stage::Hello),
        (b'M', Stage::Mail),
        (b'R', Stage::Recipient),
        (b'T', Stage::Data),
        (b'L', Stage::Message),
        (b'N', Stage::Message),
        (b'B', Stage::Message),
        (b'E', Stage::Message),
    ];
    for (code, stage) in stages {
        let hangs = PlayedMilter::start(
            Steps::default(),
            move |command| {
                if command.code() == code { Does::Hangs } else { go() }
            },
        )
        .await;
        let mut settings = hangs.settings("one");
        (settings.command_timeout, settings.content_timeout) = (SHORT, SHORT);
        fails(&settings, stage, "no answer in time").await;
        let hangs_up = PlayedMilter::start(
            Steps::default(),
            move |command| {
                if command.code() == code { Does::HangsUp } else { go() }
            },
        )
        .await;
        // A connection closed with octets unread is reset, which reads as lost.
        fails(&hangs_up.settings("one"), stage, "connection").await;
    }
}

#[tokio::test]
async fn garbage_and_what_is_too_large() {
    let table: [(u8, &[u8], Stage, &str); 6] = [
        (b'O', b"220 smtp.example ESMTP\r\n", Stage::Connect, "octets, more than"),
        (b'O', b"\0\0\0\x0dO\0\0\0\x09\0\0\0\0\0\0\0\0", Stage::Connect, "version 9"),
        (b'M', b"\0\0\0\0", Stage::Mail, "without a code"),
        (b'R', b"\0\0\0\x01?", Stage::Recipient, "unknown code"),
        (b'R', b"\0\0\0\x02qx", Stage::Recipient, "unexpected response"),
        (b'E', b"\0\0\0\x03m\0\0", Stage::Message, "expected an index"),
    ];
    for (code, octets, stage, words) in table {
        let played = PlayedMilter::start(Steps::default(), move |command| {
            if command.code() == code { Does::Writes(octets.to_vec()) } else { go() }
        })
        .await;
        fails(&played.settings("one"), stage, words).await;
    }
    let flood = PlayedMilter::start(Steps::default(), |command| match command {
        Command::End(_) => {
            let piece = Response::Modify(Modification::ReplaceBody(Bytes::from(vec![b'x'; 60_000])));
            Does::Answers(vec![piece; 20])
        }
        _ => go(),
    })
    .await;
    let settings = MilterSettings { body_octets: 1 << 20, ..flood.settings("one") };
    fails(&settings, Stage::Message, "more changes than are allowed").await;
}

#[tokio::test]
async fn a_milter_that_comes_back_is_asked_about_the_next_message() {
    let mails = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&mails);
    let played = PlayedMilter::start(Steps::default(), move |command| match command {
        Command::Mail(_) if counter.fetch_add(1, Ordering::SeqCst) == 0 => Does::HangsUp,
        _ => go(),
    })
    .await;
    let mut session = session(&filters(vec![played.settings("one")], vec![]));
    assert!(matches!(whole(&mut session, b"x").await, Err(Verdict::TempFail(_))));
    let decision = message(&mut session, b"x").await.unwrap();
    assert_eq!(decision.verdict, Verdict::Continue);
    session.quit().await;
    played.over().await;
    played.over().await;
    // The new connection hears what it has missed.
    assert_eq!(played.codes(), "OCHMOCHMRTLLNBEQ");
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_no_answer_to_be_taken_for_another() {
    let played = PlayedMilter::start(Steps::default(), |command| match command {
        Command::Hello(_) => Does::Hangs,
        _ => go(),
    })
    .await;
    let mut settings = played.settings("one");
    settings.on_failure = OnFailure::Reject;
    let mut session = session(&filters(vec![settings], vec![]));
    session.connect().await;
    assert!(tokio::time::timeout(SHORT, session.hello("client.example")).await.is_err());
    drop(session);
    assert_eq!(played.codes(), "OCH");
}

#[tokio::test]
async fn a_body_that_cannot_be_read() {
    struct Broken;
    impl crate::filter::MessageBody for Broken {
        fn octets(&self) -> u64 {
            10
        }

        async fn read(&mut self, _: u64, _: usize) -> std::io::Result<Bytes> {
            Err(std::io::ErrorKind::UnexpectedEof.into())
        }
    }
    let played = PlayedMilter::start(Steps::default(), |_| go()).await;
    let mut session = session(&filters(vec![played.settings("one")], vec![]));
    session.connect().await;
    session.mail(crate::played::mail()).await;
    let decision = session.message(&Bytes::from_static(b"A: b\r\n\r\n"), &mut Broken).await;
    assert!(matches!(decision.verdict, Verdict::TempFail(_)));
}
