//! Dialogues: what is said at each stage, and what each answer leads to.

use bytes::Bytes;

use crate::drive::{Played, body, connect, header, mail, recipient};
use crate::milter::client::{Answer, ClientConfig, Event, Failure, Step, Told};
use crate::milter::{
    Actions, Command, DATA_OCTETS, Envelope, MacroStage, Modification, Options, PacketError, ReplyCode, Response, Steps,
};

fn reply() -> ReplyCode {
    ReplyCode::new(554, vec!["5.7.1 no".into()]).unwrap()
}

#[test]
fn a_message_from_connect_to_quit_and_another() {
    let mut played = Played::agreed(Actions::ALL, Steps::default());
    let go = [Response::Continue];
    for step in [connect(), Step::Hello("client.example".into())] {
        assert_eq!(played.ask(step, &go), Ok(Answer::Continue));
    }
    let said = played.commands();
    assert!(
        matches!(said[0], Command::Macros(b'C', ref told) if told == &[("{client_addr}".into(), "192.0.2.1".into())])
    );
    assert!(matches!(said[1], Command::Connect(_)));
    assert_eq!(said[2], Command::Hello("client.example".into()));
    for _ in 0..2 {
        let steps = [
            mail(),
            recipient(false),
            Step::Data,
            header("Subject", " folded\r\n\tvalue"),
            header("X-Tight", "tight"),
            Step::EndOfHeader,
            body(b"text\r\n"),
            Step::End,
        ];
        for step in steps {
            assert_eq!(played.ask(step, &go), Ok(Answer::Continue));
        }
        let id = || vec![("i".into(), "id1".into())];
        let envelope = Envelope { path: "<ann@a.example>".into(), parameters: vec!["SIZE=5".into()] };
        let expected = [
            Command::Macros(b'M', id()),
            Command::Mail(envelope),
            Command::Macros(b'R', id()),
            Command::Recipient(Envelope { path: "<bob@b.example>".into(), parameters: Vec::new() }),
            Command::Macros(b'T', id()),
            Command::Data,
            Command::Header { name: "Subject".into(), value: "folded\n\tvalue".into() },
            Command::Header { name: "X-Tight".into(), value: "tight".into() },
            Command::Macros(b'N', id()),
            Command::EndOfHeader,
            Command::Body(Bytes::from_static(b"text\r\n")),
            Command::Macros(b'E', id()),
            Command::End(Bytes::new()),
        ];
        assert_eq!(played.commands(), expected);
    }
    played.tell(Told::Quit);
    assert_eq!(played.commands(), [Command::Quit]);
    assert_eq!(played.events, [Event::Closed(Ok(()))]);
}

#[test]
fn steps_that_are_not_told() {
    let all = [
        Steps::NO_CONNECT,
        Steps::NO_HELLO,
        Steps::NO_MAIL,
        Steps::NO_RECIPIENTS,
        Steps::NO_DATA,
        Steps::NO_UNKNOWN,
        Steps::NO_HEADERS,
        Steps::NO_END_OF_HEADER,
        Steps::NO_BODY,
    ];
    let mut played = Played::agreed(Actions::ALL, all.into_iter().fold(Steps::default(), Steps::with));
    let unknown = Step::Unknown("X".into());
    let hello = Step::Hello("c".into());
    let quiet = [connect(), hello, unknown, mail(), recipient(false), Step::Data, header("A", " b"), Step::EndOfHeader];
    for step in quiet.into_iter().chain([body(b"x")]) {
        assert_eq!(played.ask(step, &[]), Ok(Answer::Continue));
    }
    assert_eq!(played.commands(), []);
    assert_eq!(played.ask(Step::End, &[Response::Continue]), Ok(Answer::Continue));
    assert!(matches!(&played.commands()[..], [Command::Macros(b'E', _), Command::End(_)]));
}

#[test]
fn steps_that_are_not_answered() {
    let all = [
        Steps::NO_REPLY_CONNECT,
        Steps::NO_REPLY_HELLO,
        Steps::NO_REPLY_MAIL,
        Steps::NO_REPLY_RECIPIENT,
        Steps::NO_REPLY_DATA,
        Steps::NO_REPLY_UNKNOWN,
        Steps::NO_REPLY_HEADER,
        Steps::NO_REPLY_END_OF_HEADER,
        Steps::NO_REPLY_BODY,
    ];
    let mut played = Played::agreed(Actions::ALL, all.into_iter().fold(Steps::default(), Steps::with));
    played.macros.clear();
    let long = Step::Body(Bytes::from(vec![b'x'; 2 * DATA_OCTETS + 1]));
    let (hello, unknown) = (Step::Hello("c".into()), Step::Unknown("X".into()));
    let quiet = [connect(), hello, unknown, mail(), recipient(false), Step::Data, header("A", " b"), Step::EndOfHeader];
    for step in quiet.into_iter().chain([long]) {
        assert_eq!(played.ask(step, &[]), Ok(Answer::Continue));
    }
    let codes: Vec<u8> = played.commands().iter().map(Command::code).collect();
    assert_eq!(codes, b"CHUMRTLNBBB");
    // An answer all the same is none that was asked for.
    played.respond(&Response::Continue);
    assert_eq!(played.events, [Event::Closed(Err(Failure::Unexpected { code: b'c' }))]);
}

#[test]
fn long_bodies_go_in_pieces_each_answered() {
    let mut played = Played::in_message(Actions::ALL, Steps::SKIP);
    assert_eq!(played.ask(Step::EndOfHeader, &[Response::Continue]), Ok(Answer::Continue));
    played.commands();
    let long = Step::Body(Bytes::from(vec![b'x'; 2 * DATA_OCTETS + 1]));
    played.step(long.clone());
    for octets in [DATA_OCTETS, DATA_OCTETS, 1] {
        assert!(matches!(&played.commands()[..], [Command::Body(piece)] if piece.len() == octets));
        assert_eq!(played.events, []);
        played.respond(&Response::Continue);
    }
    assert_eq!(played.answer(crate::milter::client::Stage::Body), Ok(Answer::Continue));
    // Enough after the first piece: neither the rest of it nor what follows is told; the end is.
    assert_eq!(played.ask(long, &[Response::Skip]), Ok(Answer::Skip));
    assert_eq!(played.ask(body(b"more"), &[]), Ok(Answer::Continue));
    assert_eq!(played.commands().len(), 1);
    assert_eq!(played.ask(Step::End, &[Response::Accept]), Ok(Answer::Accept));
    // The next message is told whole.
    for step in [mail(), recipient(false), Step::EndOfHeader, body(b"x")] {
        assert_eq!(played.ask(step, &[Response::Continue]), Ok(Answer::Continue));
    }
}

#[test]
fn a_recipient_refused_alone_and_a_message_refused_before_its_end() {
    let refusals = [
        (Response::Reject, Answer::Reject),
        (Response::TempFail, Answer::TempFail),
        (Response::Reply(reply()), Answer::Reply(reply())),
    ];
    for (response, answer) in refusals {
        let mut played = Played::greeted(Actions::ALL, Steps::default());
        assert_eq!(played.ask(mail(), &[Response::Continue]), Ok(Answer::Continue));
        assert_eq!(played.ask(recipient(false), std::slice::from_ref(&response)), Ok(answer.clone()));
        assert_eq!(played.ask(recipient(false), &[Response::Continue]), Ok(Answer::Continue));
        played.commands();
        assert_eq!(played.ask(Step::Data, &[response]), Ok(answer));
        assert!(matches!(&played.commands()[..], [_, Command::Data, Command::Abort]));
        // Whatever the application still tells of it stays here, and the next message is told.
        played.tell(Told::Abort);
        assert_eq!(played.commands(), []);
        assert_eq!(played.ask(mail(), &[Response::Continue]), Ok(Answer::Continue));
    }
}

#[test]
fn accept_and_discard_end_the_message_for_the_filter() {
    for (response, answer) in [(Response::Accept, Answer::Accept), (Response::Discard, Answer::Discard)] {
        let mut played = Played::greeted(Actions::ALL, Steps::default());
        assert_eq!(played.ask(mail(), &[response]), Ok(answer));
        played.commands();
        for step in [recipient(false), Step::Data, header("A", "b"), Step::EndOfHeader, body(b"x"), Step::End] {
            assert_eq!(played.ask(step, &[]), Ok(Answer::Continue));
        }
        assert_eq!(played.commands(), []);
        assert_eq!(played.ask(mail(), &[Response::Continue]), Ok(Answer::Continue));
    }
    // At connect it is the connection.
    let mut played = Played::agreed(Actions::ALL, Steps::default());
    assert_eq!(played.ask(connect(), &[Response::Accept]), Ok(Answer::Accept));
    for _ in 0..2 {
        for step in [mail(), recipient(false), Step::EndOfHeader, Step::End] {
            assert_eq!(played.ask(step, &[]), Ok(Answer::Continue));
        }
    }
    // The next SMTP connection on the same one is told again.
    played.commands();
    played.tell(Told::NextConnection);
    assert_eq!(played.commands(), [Command::NextConnection]);
    assert_eq!(played.ask(connect(), &[Response::Reject]), Ok(Answer::Reject));
}

#[test]
fn connections_shut_down() {
    for (response, answer) in
        [(Response::Shutdown, Answer::Shutdown), (Response::ConnectionFailed, Answer::ConnectionFailed)]
    {
        let mut played = Played::agreed(Actions::ALL, Steps::default());
        assert_eq!(played.ask(connect(), &[response]), Ok(answer));
    }
}

#[test]
fn changes_come_in_order_with_the_new_body_last() {
    let mut played = Played::in_message(Actions::ALL, Steps::HEADER_LEADING_SPACE);
    assert_eq!(played.ask(header("A", " b"), &[Response::Continue]), Ok(Answer::Continue));
    assert!(played.commands().contains(&Command::Header { name: "A".into(), value: " b".into() }));
    assert_eq!(played.ask(Step::EndOfHeader, &[Response::Continue]), Ok(Answer::Continue));
    let wanted = vec![
        Modification::AddHeader { name: "X".into(), value: " y".into() },
        Modification::InsertHeader { index: 0, name: "X".into(), value: "z".into() },
        Modification::ChangeHeader { index: 1, name: "A".into(), value: "".into() },
        Modification::AddRecipient { path: "<c>".into(), parameters: None },
        Modification::AddRecipient { path: "<d>".into(), parameters: Some("NOTIFY=NEVER".into()) },
        Modification::DeleteRecipient("<b>".into()),
        Modification::ChangeSender { path: "<s>".into(), parameters: None },
        Modification::Quarantine("why".into()),
    ];
    let mut responses = vec![Response::Modify(Modification::ReplaceBody(Bytes::from_static(b"new ")))];
    responses.extend(wanted.iter().cloned().map(Response::Modify));
    responses.push(Response::Progress);
    responses.push(Response::Modify(Modification::ReplaceBody(Bytes::from_static(b"body"))));
    responses.push(Response::Continue);
    assert_eq!(played.ask(Step::End, &responses), Ok(Answer::Continue));
    let mut changes = played.changes();
    assert_eq!(changes.pop(), Some(Modification::ReplaceBody(Bytes::from_static(b"new body"))));
    assert_eq!(changes, wanted);
}

#[test]
fn values_get_their_space_where_the_filter_leaves_it_to_us() {
    let mut played = Played::in_message(Actions::ALL, Steps::default());
    assert_eq!(played.ask(Step::EndOfHeader, &[Response::Continue]), Ok(Answer::Continue));
    let add = |value: &str| Modification::AddHeader { name: "X".into(), value: value.into() };
    let delete = Modification::ChangeHeader { index: 1, name: "A".into(), value: "".into() };
    let responses = [Response::Modify(add("y")), Response::Modify(delete.clone()), Response::Accept];
    assert_eq!(played.ask(Step::End, &responses), Ok(Answer::Accept));
    assert_eq!(played.changes(), [add(" y"), delete]);
}

#[test]
fn changes_of_a_refused_message_are_forgotten() {
    let mut played = Played::in_message(Actions::ALL, Steps::default());
    assert_eq!(played.ask(Step::EndOfHeader, &[Response::Continue]), Ok(Answer::Continue));
    let quarantine = Response::Modify(Modification::Quarantine("why".into()));
    assert_eq!(played.ask(Step::End, &[quarantine, Response::Reject]), Ok(Answer::Reject));
    assert_eq!(played.events, []);
}

#[test]
fn what_was_not_agreed_on_is_refused() {
    let changes = [
        Modification::AddHeader { name: "X".into(), value: "y".into() },
        Modification::InsertHeader { index: 0, name: "X".into(), value: "y".into() },
        Modification::ChangeHeader { index: 0, name: "X".into(), value: "y".into() },
        Modification::ReplaceBody(Bytes::new()),
        Modification::AddRecipient { path: "<c>".into(), parameters: None },
        Modification::AddRecipient { path: "<c>".into(), parameters: Some("A=B".into()) },
        Modification::DeleteRecipient("<c>".into()),
        Modification::ChangeSender { path: "<c>".into(), parameters: None },
        Modification::Quarantine("why".into()),
    ];
    for change in changes {
        let mut played = Played::in_message(Actions::SET_MACRO_LISTS, Steps::default());
        assert_eq!(played.ask(Step::EndOfHeader, &[Response::Continue]), Ok(Answer::Continue));
        let response = Response::Modify(change);
        let failure = Failure::NotAgreed { code: response.code() };
        assert_eq!(played.ask(Step::End, &[response]), Err(failure));
    }
}

#[test]
fn responses_out_of_place() {
    let change = Response::Modify(Modification::Quarantine("why".into()));
    let again = Response::Negotiate(Options::default());
    for response in [change, again, Response::Skip, Response::Discard] {
        let code = response.code();
        let mut played = Played::agreed(Actions::ALL, Steps::SKIP);
        assert_eq!(played.ask(connect(), &[response]), Err(Failure::Unexpected { code }));
        assert!(played.client.is_closed());
        // Nothing is said to a session that is over, and nothing comes of it.
        played.tell(Told::Abort);
        assert_eq!(played.events, []);
    }
    let mut played = Played::agreed(Actions::ALL, Steps::default());
    played.step(connect());
    played.octets(b"\0\0\0\0");
    assert_eq!(played.events, [Event::Closed(Err(Failure::Packet(PacketError::Empty)))]);
}

#[test]
fn negotiations() {
    let options = |version, actions, steps| Options { version, actions, steps, macros: Vec::new() };
    let none = (Actions::default(), Steps::default());
    let few = ClientConfig { actions: Actions::ADD_HEADERS, steps: Steps::NO_BODY, ..ClientConfig::default() };
    let table = [
        (options(2, none.0, none.1), None),
        (options(6, Actions::ADD_HEADERS, Steps::NO_BODY), None),
        (options(1, none.0, none.1), Some(Failure::Version(1))),
        (options(7, none.0, none.1), Some(Failure::Version(7))),
        (
            options(6, Actions::CHANGE_BODY.with(Actions::ADD_HEADERS), Steps::SKIP),
            Some(Failure::NotOffered { actions: Actions::CHANGE_BODY, steps: Steps::SKIP }),
        ),
    ];
    for (chosen, failure) in table {
        let mut played = Played::begin(few.clone());
        played.respond(&Response::Negotiate(chosen));
        match (played.events.pop(), failure) {
            (Some(Event::Ready(_)), None) => {}
            (Some(Event::Closed(Err(found))), Some(failure)) => assert_eq!(found, failure),
            other => panic!("{other:?}"),
        }
    }
    let mut played = Played::begin(few);
    played.respond(&Response::Continue);
    assert_eq!(played.events, [Event::Closed(Err(Failure::Unexpected { code: b'c' }))]);
}

#[test]
fn macros_that_the_filter_names() {
    let mut played = Played::begin(ClientConfig::default());
    let macros = vec![(MacroStage::Connect, "{i}, client_addr nothing".into()), (MacroStage::Mail, "".into())];
    let steps = Steps::default();
    played.respond(&Response::Negotiate(Options { version: 6, actions: Actions::ALL, steps, macros }));
    played.events.clear();
    assert_eq!(played.ask(connect(), &[Response::Continue]), Ok(Answer::Continue));
    let told = vec![("i".into(), "id1".into()), ("{client_addr}".into(), "192.0.2.1".into())];
    assert_eq!(played.commands()[0], Command::Macros(b'C', told));
    // An empty list is none at all; a stage without a list gets ours.
    assert_eq!(played.ask(mail(), &[Response::Continue]), Ok(Answer::Continue));
    assert!(matches!(&played.commands()[..], [Command::Mail(_)]));
    assert_eq!(played.ask(recipient(false), &[Response::Continue]), Ok(Answer::Continue));
    assert!(matches!(&played.commands()[..], [Command::Macros(b'R', _), Command::Recipient(_)]));
}

#[test]
fn refused_recipients_for_those_who_want_them() {
    let mut played = Played::in_message(Actions::ALL, Steps::default());
    assert_eq!(played.ask(recipient(true), &[]), Ok(Answer::Continue));
    assert_eq!(played.commands(), []);
    let mut played = Played::in_message(Actions::ALL, Steps::REFUSED_RECIPIENTS);
    assert_eq!(played.ask(recipient(true), &[Response::Discard]), Ok(Answer::Continue));
    assert!(matches!(&played.commands()[..], [_, Command::Recipient(_)]));
    assert_eq!(played.ask(recipient(false), &[Response::Continue]), Ok(Answer::Continue));
}

#[test]
fn messages_given_up_and_mistakes_of_ours() {
    let mut played = Played::in_message(Actions::ALL, Steps::default());
    played.tell(Told::Abort);
    played.tell(Told::Abort);
    assert_eq!(played.commands(), [Command::Abort]);
    assert_eq!(played.ask(Step::Data, &[]), Err(Failure::OutOfTurn));
    let mut played = Played::greeted(Actions::ALL, Steps::default());
    played.step(mail());
    assert_eq!(played.ask(recipient(false), &[]), Err(Failure::OutOfTurn));
    // QUIT waits for the answer that is to come.
    let mut played = Played::greeted(Actions::ALL, Steps::default());
    played.step(mail());
    played.tell(Told::Quit);
    assert_eq!(played.events, []);
    played.respond(&Response::Continue);
    assert_eq!(played.commands().last(), Some(&Command::Quit));
    assert_eq!(played.events.pop(), Some(Event::Closed(Ok(()))));
}
