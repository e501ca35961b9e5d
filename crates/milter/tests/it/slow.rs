//! Times and limits.

use std::time::Duration;

use bytes::Bytes;
use wire::Session;

use crate::drive::{Played, body, connect, header, mail, recipient};
use crate::milter::client::{Answer, ClientConfig, Event, Failure, Stage, Step};
use crate::milter::{Actions, ClientLimits, DATA_OCTETS, Modification, Options, PacketError, Response, Steps};

const ALMOST: Duration = Duration::from_millis(1);

#[test]
fn each_stage_has_its_time() {
    let limits = ClientLimits::default();
    let mut played = Played::begin(ClientConfig::default());
    assert_eq!(played.pump(), Some(played.now + limits.negotiation_wait));
    played.pass(limits.negotiation_wait);
    assert_eq!(played.events, [Event::Closed(Err(Failure::TimedOut))]);

    let stages = [
        (connect(), limits.command_wait),
        (Step::Hello("c".into()), limits.command_wait),
        (mail(), limits.command_wait),
        (recipient(false), limits.command_wait),
        (Step::Data, limits.command_wait),
        (header("A", "b"), limits.content_wait),
        (Step::EndOfHeader, limits.content_wait),
        (body(b"x"), limits.content_wait),
        (Step::End, limits.end_wait),
    ];
    for at in 0..stages.len() {
        let mut played = Played::agreed(Actions::ALL, Steps::default());
        assert_eq!(played.pump(), None, "nothing is waited for");
        for (step, _) in &stages[..at] {
            assert_eq!(played.ask(step.clone(), &[Response::Continue]), Ok(Answer::Continue));
        }
        let (step, wait) = &stages[at];
        played.step(step.clone());
        played.pass(*wait - ALMOST);
        assert_eq!(played.events, []);
        played.pass(ALMOST);
        assert_eq!(played.answer(step.stage()), Err(Failure::TimedOut));
    }
}

#[test]
fn progress_buys_time_but_not_for_ever() {
    let limits = ClientLimits::default();
    let mut played = Played::in_message(Actions::ALL, Steps::default());
    assert_eq!(played.ask(Step::EndOfHeader, &[Response::Continue]), Ok(Answer::Continue));
    played.step(Step::End);
    played.pass(limits.end_wait - ALMOST);
    played.respond(&Response::Progress);
    played.pass(limits.end_wait - ALMOST);
    assert_eq!(played.events, []);
    played.respond(&Response::Modify(Modification::Quarantine("why".into())));
    played.pass(2 * ALMOST);
    assert_eq!(played.answer(Stage::End), Err(Failure::TimedOut));
    assert!(limits.longest_wait == 2 * limits.end_wait);
}

#[test]
fn too_much_of_anything() {
    let limits = ClientLimits {
        packet_octets: 100,
        modifications: 3,
        modification_octets: 50,
        body_octets: 150,
        ..ClientLimits::default()
    };
    let end = |responses: &[Response]| {
        let mut played = Played::begin(ClientConfig { limits: limits.clone(), ..ClientConfig::default() });
        let options = Options { version: 6, actions: Actions::ALL, steps: Steps::default(), macros: Vec::new() };
        played.respond(&Response::Negotiate(options));
        for step in [connect(), mail(), recipient(false), Step::EndOfHeader] {
            assert_eq!(played.ask(step, &[Response::Continue]), Ok(Answer::Continue));
        }
        played.ask(Step::End, responses)
    };
    let quarantine = Response::Modify(Modification::Quarantine("w".into()));
    let long = |octets| Response::Modify(Modification::Quarantine(vec![b'x'; octets].into()));
    let piece = |octets| Response::Modify(Modification::ReplaceBody(Bytes::from(vec![b'x'; octets])));
    let go = || Response::Continue;
    let many = Failure::TooManyChanges;
    assert_eq!(end(&[quarantine.clone(), quarantine.clone(), quarantine.clone(), go()]), Ok(Answer::Continue));
    assert_eq!(end(&[quarantine.clone(), quarantine.clone(), quarantine.clone(), quarantine]), Err(many.clone()));
    assert_eq!(end(&[long(50), go()]), Ok(Answer::Continue));
    assert_eq!(end(&[long(51)]), Err(many.clone()));
    assert_eq!(end(&[piece(75), piece(75), go()]), Ok(Answer::Continue));
    assert_eq!(end(&[piece(75), piece(76)]), Err(many));
    let too_long = PacketError::TooLong { octets: 102, limit: 100 };
    assert_eq!(end(&[piece(101)]), Err(Failure::Packet(too_long)));
}

#[test]
fn a_new_body_in_tiny_pieces_is_gathered() {
    let mut played = Played::in_message(Actions::ALL, Steps::default());
    assert_eq!(played.ask(Step::EndOfHeader, &[Response::Continue]), Ok(Answer::Continue));
    played.step(Step::End);
    for _ in 0..3000 {
        played.respond(&Response::Modify(Modification::ReplaceBody(Bytes::from_static(&[b'x'; 30]))));
    }
    played.respond(&Response::Continue);
    assert_eq!(played.answer(Stage::End), Ok(Answer::Continue));
    let changes = played.changes();
    assert_eq!(changes.len(), 90_000_usize.div_ceil(DATA_OCTETS));
}

#[test]
fn fields_and_macros_that_fit_in_no_packet() {
    let mut played = Played::in_message(Actions::ALL, Steps::default());
    let value = "v".repeat(100_000);
    assert_eq!(played.ask(header("Long", &value), &[Response::Continue]), Ok(Answer::Continue));
    played.macros = vec![("i".to_owned(), value.into())];
    assert_eq!(played.ask(Step::EndOfHeader, &[Response::Continue]), Ok(Answer::Continue));
    let said = played.commands();
    let codes: Vec<u8> = said.iter().map(crate::milter::Command::code).collect();
    assert_eq!(codes, b"LN");
    assert!(matches!(&said[0], crate::milter::Command::Header { value, .. } if value.len() == DATA_OCTETS - 6));
}

#[test]
fn a_filter_that_hangs_up() {
    let mut played = Played::agreed(Actions::ALL, Steps::default());
    played.step(connect());
    played.client.handle_eof(played.now);
    played.pump();
    assert_eq!(played.answer(Stage::Connect), Err(Failure::Eof));
}
