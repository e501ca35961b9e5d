//! Our client against our server, in memory, with octets cut at random.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;
use smtp::client::{Client, ClientConfig, ClientMode, Event, Outcome, Stage, Told, Transaction};
use smtp::server::{Config, Mode};
use smtp::{BodyType, HelloName, MailParameters};

use crate::application::serve;
use crate::drive::{Did, Driven};
use crate::smtp;
use crate::transcripts::transaction;

#[derive(Clone, Debug)]
struct Letter {
    recipients: Vec<String>,
    content: Vec<u8>,
    binary: bool,
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    let lines = prop_oneof![
        3 => Just(&b"\r\n"[..]),
        3 => Just(&b"."[..]),
        1 => Just(&b".."[..]),
        3 => Just(&b"text \xff"[..]),
        1 => Just(&b"."[..]),
        1 => Just(&b".\r\n"[..]),
    ];
    proptest::collection::vec(lines, 0..30).prop_map(|pieces| pieces.concat())
}

fn letter() -> impl Strategy<Value = Letter> {
    let recipient = prop_oneof![3 => "[a-z]{1,5}@mx\\.example", 1 => Just("unknown@mx.example".to_owned())];
    (proptest::collection::vec(recipient, 1..6), content(), any::<bool>()).prop_map(|(recipients, content, binary)| {
        let extra: &[u8] = if binary { b"\n\r\0" } else { b"" };
        Letter { recipients, content: [content.as_slice(), extra].concat(), binary }
    })
}

fn converse(letters: &[Letter], cuts: Vec<usize>, mode: Mode, chunking: bool) {
    let (mut server, got) = serve(Config { require_auth: false, ..Config::new(mode, "mx.example") });
    let name = HelloName::try_from("client.example").expect("a name");
    let client_mode = if mode == Mode::Lmtp { ClientMode::Lmtp } else { ClientMode::Smtp };
    let mut config = ClientConfig::new(client_mode, name);
    config.chunking = chunking;
    let outcomes: Rc<RefCell<Vec<Outcome>>> = Rc::default();
    let results = Rc::clone(&outcomes);
    let mut waiting = VecDeque::from(letters.to_vec());
    let application = move |event: &Event| -> Option<Told<Vec<u8>>> {
        match event {
            Event::Ready(_) => {}
            Event::Sent(outcome) => results.borrow_mut().push(outcome.clone()),
            Event::Closed(how) => {
                assert_eq!(how, &Ok(()));
                return None;
            }
            other => panic!("{other:?}"),
        }
        Some(waiting.pop_front().map_or(Told::Quit, |letter| Told::Send(Box::new(message(&letter)))))
    };
    let mut client = Driven::new(|now| Client::new(Arc::new(config), now), |body: Vec<u8>| body, application);
    let mut cuts = cuts.into_iter().cycle();
    for _ in 0..10_000 {
        server.run();
        client.run();
        let down = server.take_sent();
        let up = client.take_sent();
        if down.is_empty() && up.is_empty() {
            break;
        }
        for (octets, peer) in [(down, 0), (up, 1)] {
            let mut rest = octets.as_slice();
            while !rest.is_empty() {
                let length = cuts.next().unwrap_or(1).clamp(1, rest.len());
                if peer == 0 {
                    client.feed(&rest[..length]);
                } else {
                    server.feed(&rest[..length]);
                }
                rest = &rest[length..];
            }
        }
    }
    assert!(client.log.contains(&Did::Closed) && server.log.contains(&Did::Closed));

    let outcomes = outcomes.borrow();
    let got = got.borrow();
    let mut messages = got.messages.iter();
    assert_eq!(outcomes.len(), letters.len());
    for (letter, outcome) in letters.iter().zip(outcomes.iter()) {
        let wanted: Vec<_> = letter.recipients.iter().filter(|to| !to.contains("unknown")).collect();
        for (to, answer) in letter.recipients.iter().zip(&outcome.recipients) {
            let answer = answer.as_ref().expect("an answer");
            let expected = if to.contains("unknown") { (Stage::Rcpt, false) } else { (Stage::Content, true) };
            assert_eq!((answer.stage, answer.reply.is_positive()), expected);
        }
        assert_eq!(outcome.failure, None);
        if wanted.is_empty() {
            continue;
        }
        let message = messages.next().expect("a message");
        let mut expected = letter.content.clone();
        // DATA ends every content with CRLF (RFC 5321 §4.1.1.4).
        if !(chunking || letter.binary || expected.is_empty() || expected.ends_with(b"\r\n")) {
            expected.extend_from_slice(b"\r\n");
        }
        assert_eq!(message.content.escape_ascii().to_string(), expected.escape_ascii().to_string());
        assert_eq!(message.recipients, wanted.iter().map(|to| format!("<{to}>")).collect::<Vec<_>>());
    }
    assert_eq!(messages.next(), None);
}

fn message(letter: &Letter) -> Transaction<Vec<u8>> {
    let body = Some(if letter.binary { BodyType::BinaryMime } else { BodyType::EightBitMime });
    let parameters = MailParameters { body, ..MailParameters::default() };
    transaction("a@client.example", &letter.recipients.join(","), parameters, letter.content.clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn every_message_arrives_as_it_left(
        letters in proptest::collection::vec(letter(), 0..5),
        cuts in proptest::collection::vec(1_usize..200, 1..20),
        mode in prop_oneof![Just(Mode::Smtp), Just(Mode::Lmtp)],
        chunking in any::<bool>(),
    ) {
        converse(&letters, cuts, mode, chunking);
    }

    /// Anything at all: no panic, memory within bounds, an end.
    #[test]
    fn hostile_octets_never_break_a_session(
        octets in proptest::collection::vec(prop_oneof![
            Just(&b"MAIL FROM:<a@b.example>\r\n"[..]), Just(&b"RCPT TO:<b@mx.example>\r\n"[..]), Just(&b"DATA\r\n"[..]),
            Just(&b"BDAT 5\r\n"[..]), Just(&b"BDAT 3 LAST\r\n"[..]), Just(&b"\r\n.\r\n"[..]), Just(&b"."[..]),
            Just(&b"\r"[..]), Just(&b"\n"[..]), Just(&b"\0\xff"[..]), Just(&b"EHLO x\r\n"[..]), Just(&b"AUTH LOGIN\r\n"[..]),
            Just(&b"250-x\r\n"[..]), Just(&b"250 x\r\n"[..]), Just(&b"354 x\r\n"[..]), Just(&b"550 \xff\r\n"[..]),
        ], 0..60),
        cut in 1_usize..40,
    ) {
        let octets = octets.concat();
        let (mut server, _) = serve(Config::new(Mode::Smtp, "mx.example"));
        server.run();
        let name = HelloName::try_from("client.example").expect("a name");
        let config = ClientConfig::new(ClientMode::Smtp, name);
        let application = |event: &Event| match event {
            Event::Ready(_) | Event::Sent(Outcome { failure: None, .. }) => Some(Told::Send(Box::new(transaction(
                "a@b.example", "c@d.example,e@f.example", MailParameters::default(), b"hi".to_vec(),
            )))),
            _ => None,
        };
        let mut client = Driven::new(|now| Client::new(Arc::new(config), now), |body: Vec<u8>| body, application);
        client.run();
        for piece in octets.chunks(cut) {
            server.feed(piece);
            client.feed(piece);
            prop_assert!(server.input.len() < 8);
        }
        server.eof();
        client.eof();
        prop_assert!(server.closed && client.closed);
    }
}
