//! Milters that keep to the protocol: every answer at every stage, and every change.

use bytes::Bytes;
use milter::{Actions, Command, MacroStage, Modification, Options, ReplyCode, Response, Steps, Text};

use crate::filter::{
    Facts, HeaderChange, Mail, Modifications, NoteKind, RecipientChange, Stage, Stages, Verdict, apply,
};
use crate::played::{Does, HEADER, PlayedMilter, filters, go, mail, message, rcpt, session, whole};

fn answers(response: Response) -> Does {
    Does::Answers(vec![response])
}

#[tokio::test]
async fn two_messages_and_what_the_milter_hears() {
    let played = PlayedMilter::start(Steps::default(), |_| go()).await;
    let mut session = session(&filters(vec![played.settings("one")], vec![]));
    let decision = whole(&mut session, b"text\r\n").await.unwrap();
    assert_eq!((decision.verdict, decision.notes), (Verdict::Continue, vec![]));
    assert!(decision.modifications.is_empty());
    message(&mut session, b"").await.unwrap();
    session.quit().await;
    played.over().await;
    assert_eq!(played.codes(), "OCHMRTLLNBEMRTLLNEQ");
    let heard = played.heard.lock().unwrap();
    let header = Command::Header { name: "Subject".into(), value: "folded\n\tvalue".into() };
    assert!(heard.contains(&header));
    let Some(Command::Macros(_, macros)) = heard.iter().find(|command| matches!(command, Command::Macros(b'M', _)))
    else {
        panic!("no macros: {heard:?}")
    };
    let value = |name: &str| {
        macros.iter().find(|(known, _)| known == &Text::from(name)).map(|(_, value)| value.to_string_lossy())
    };
    assert_eq!(value("i").as_deref(), Some("id1"));
    assert_eq!(value("{mail_addr}").as_deref(), Some("ann@a.example"));
    assert_eq!(value("{mail_host}").as_deref(), Some("a.example"));
}

#[tokio::test]
async fn macros_are_those_of_the_settings_or_of_the_milter() {
    let told = |heard: &[Command], code: u8| {
        let mut told = heard.iter().filter_map(|command| match command {
            Command::Macros(of, macros) if *of == code => Some(macros.clone()),
            _ => None,
        });
        let words = |(name, value): &(Text, Text)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy());
        told.next().unwrap_or_default().iter().map(words).collect::<Vec<_>>().join(" ")
    };
    for (names, at_mail) in [(None, "i=id1"), (Some("{mail_addr} j"), "{mail_addr}=ann@a.example j=mx.example.org")] {
        let played = PlayedMilter::start(Steps::default(), move |command| match (command, names) {
            (Command::Negotiate(_), Some(names)) => answers(Response::Negotiate(Options {
                version: 6,
                actions: Actions::SET_MACRO_LISTS,
                steps: Steps::default(),
                macros: vec![(MacroStage::Mail, names.into())],
            })),
            _ => go(),
        })
        .await;
        let mut settings = played.settings("one");
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        settings.macros = vec![
            (MacroStage::Connect, list(&["client_name", "client_ptr", "daemon_name", "cert_issuer"])),
            (MacroStage::Mail, list(&["i"])),
            (MacroStage::Recipient, list(&[])),
        ];
        let mut session = session(&filters(vec![settings], vec![]));
        whole(&mut session, b"x").await.unwrap();
        session.quit().await;
        played.over().await;
        let heard = played.heard.lock().unwrap();
        // What has no value here is not told.
        assert_eq!(told(&heard, b'C'), "{client_name}=client.example {client_ptr}=client.example {daemon_name}=smtp");
        assert_eq!(told(&heard, b'M'), at_mail);
        assert_eq!(told(&heard, b'R'), "");
        // The usual ones.
        assert_eq!(told(&heard, b'E'), "i=id1");
    }
}

#[tokio::test]
async fn who_wrote_a_message_is_told_of_clients_that_have_logged_in() {
    // RFC 4954 §5: what others say in AUTH= is not to be trusted.
    for (user, expected) in [(None, "i=id1"), (Some("ann@a.example"), "i=id1 {auth_author}=eve@x.example")] {
        let played = PlayedMilter::start(Steps::default(), |_| go()).await;
        let mut settings = played.settings("one");
        settings.macros = vec![(MacroStage::Mail, ["i", "auth_author"].map(str::to_owned).into())];
        let mut session = session(&filters(vec![settings], vec![]));
        session.connect().await;
        session.hello("client.example").await;
        if let Some(user) = user {
            session.authenticated(user, "PLAIN");
        }
        let parameters = "AUTH=eve@x.example".parse().unwrap();
        session.mail(Mail { parameters, ..mail() }).await;
        let heard = played.heard.lock().unwrap();
        let Some(Command::Macros(_, macros)) = heard.iter().find(|said| matches!(said, Command::Macros(b'M', _)))
        else {
            panic!("{heard:?}")
        };
        let words = |(name, value): &(Text, Text)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy());
        assert_eq!(macros.iter().map(words).collect::<Vec<_>>().join(" "), expected);
    }
}

#[tokio::test]
async fn the_name_of_the_client_is_told_if_it_leads_back() {
    let some = |name: &str| Some(name.to_owned());
    for (name, ptr, unanswered, told, expected) in [
        (some("a.example"), some("a.example"), false, "a.example", "a.example a.example OK a.example [192.0.2.1]"),
        (None, some("b.example"), false, "[192.0.2.1]", "unknown b.example FORGED unknown [192.0.2.1]"),
        (None, None, false, "[192.0.2.1]", "unknown unknown FAIL unknown [192.0.2.1]"),
        (None, None, true, "[192.0.2.1]", "unknown unknown TEMP unknown [192.0.2.1]"),
    ] {
        let played = PlayedMilter::start(Steps::default(), |_| go()).await;
        let mut settings = played.settings("one");
        let names = ["client_name", "client_ptr", "client_resolve", "_"].map(str::to_owned);
        settings.macros = vec![(MacroStage::Connect, names.into())];
        let client = Some("192.0.2.1:4711".parse().unwrap());
        let facts = Facts { client, client_name: name, client_ptr: ptr, is_unanswered: unanswered, ..Facts::default() };
        let mut session = filters(vec![settings], vec![]).session(facts);
        session.connect().await;
        let heard = played.heard.lock().unwrap();
        let Some(Command::Connect(connection)) = heard.iter().find(|command| command.code() == b'C') else {
            panic!("{heard:?}")
        };
        assert_eq!(connection.name.to_string_lossy(), told);
        let Some(Command::Macros(b'C', macros)) = heard.iter().find(|command| command.code() == b'D') else {
            panic!("{heard:?}")
        };
        let values: Vec<String> = macros.iter().map(|(_, value)| value.to_string_lossy()).collect();
        assert_eq!(values.join(" "), expected);
    }
}

#[tokio::test]
async fn refusals_at_every_stage() {
    // rule 17
    let stages = [
        (b'C', 554, 421),
        (b'H', 550, 451),
        (b'M', 550, 451),
        (b'R', 550, 451),
        (b'T', 550, 451),
        (b'L', 550, 451),
        (b'N', 550, 451),
        (b'B', 550, 451),
        (b'E', 550, 451),
    ];
    for (code, permanent, transient) in stages {
        let own =
            Response::Reply(ReplyCode::new(553, vec!["5.7.9 first".into(), "5.7.9 second\u{7f}".into()]).unwrap());
        for (response, expected) in [(Response::Reject, permanent), (Response::TempFail, transient), (own, 553)] {
            let expected = if code == b'C' && expected == 553 { 554 } else { expected };
            let played = PlayedMilter::start(Steps::default(), move |command| {
                if command.code() == code { answers(response.clone()) } else { go() }
            })
            .await;
            let mut session = session(&filters(vec![played.settings("one")], vec![]));
            let (verdict, notes) = match whole(&mut session, b"text").await {
                Ok(decision) => (decision.verdict, decision.notes),
                Err(verdict) => (verdict, session.take_notes()),
            };
            let (Verdict::Reject(reply) | Verdict::TempFail(reply)) = &verdict else { panic!("{code} {verdict:?}") };
            assert_eq!(reply.code(), expected, "{}", char::from(code));
            assert!(reply.enhanced().is_some());
            assert_eq!(matches!(verdict, Verdict::Reject(_)), expected >= 500);
            assert_eq!(notes.len(), 1, "{notes:?}");
            if reply.enhanced().unwrap().to_string() == "5.7.9" {
                assert_eq!(reply.text(), "first\nsecond");
                assert_eq!(notes[0].kind, NoteKind::Rejected);
            }
            // The milter is ready for another message, unless the connection was refused.
            if code != b'C' {
                let again = message(&mut session, b"text").await;
                match again {
                    Ok(decision) => assert!(decision.verdict.is_refusal() || code == b'H'),
                    Err(again) => assert_eq!(again, verdict),
                }
                let notes = session.take_notes();
                assert!(notes.iter().all(|note| note.kind != NoteKind::Failed), "{code} {notes:?}");
            } else {
                assert_eq!(session.mail(mail()).await, verdict);
            }
        }
    }
}

#[tokio::test]
async fn one_recipient_is_refused_and_the_message_goes_on() {
    let played = PlayedMilter::start(Steps::REFUSED_RECIPIENTS, |command| match command {
        Command::Recipient(envelope) if envelope.path.to_string_lossy().contains("bad") => answers(Response::Reject),
        _ => go(),
    })
    .await;
    let mut session = session(&filters(vec![played.settings("one")], vec![]));
    session.connect().await;
    session.mail(mail()).await;
    assert!(session.recipient(&rcpt("bad@b.example")).await.is_refusal());
    assert_eq!(session.recipient(&rcpt("bob@b.example")).await, Verdict::Continue);
    session.recipient_refused(&rcpt("bad@b.example")).await;
    let decision = session.message(&Bytes::from_static(HEADER), &mut Bytes::from_static(b"x")).await;
    assert_eq!(decision.verdict, Verdict::Continue);
    assert_eq!(played.codes(), "OCMRRRLLNBE");
}

#[tokio::test]
async fn accept_discard_skip_and_quarantine() {
    for code in *b"CHMRTLNBE" {
        let played = PlayedMilter::start(Steps::SKIP, move |command| {
            answers(if command.code() == code { Response::Accept } else { Response::Continue })
        })
        .await;
        let mut session = session(&filters(vec![played.settings("one")], vec![]));
        let decision = whole(&mut session, b"text").await.unwrap();
        assert_eq!(decision.verdict, Verdict::Continue);
        assert_eq!(decision.notes[0].kind, NoteKind::Accepted);
        let heard = played.codes();
        assert!(heard.trim_end_matches('A').ends_with(char::from(code)), "{heard}");
        if code != b'C' {
            assert!(message(&mut session, b"text").await.is_ok());
        }
    }
    for code in *b"MRTLNBE" {
        let played = PlayedMilter::start(Steps::SKIP, move |command| {
            answers(if command.code() == code { Response::Discard } else { Response::Continue })
        })
        .await;
        let mut session = session(&filters(vec![played.settings("one")], vec![]));
        assert_eq!(whole(&mut session, b"text").await.unwrap().verdict, Verdict::Discard);
        assert_eq!(message(&mut session, b"text").await.unwrap().verdict, Verdict::Discard);
    }
    let played = PlayedMilter::start(Steps::SKIP, |command| match command {
        Command::Body(_) => answers(Response::Skip),
        Command::End(_) => {
            let quarantine = Response::Modify(Modification::Quarantine("a\nvirus".into()));
            Does::Answers(vec![Response::Progress, quarantine, Response::Continue])
        }
        _ => go(),
    })
    .await;
    let mut session = session(&filters(vec![played.settings("one")], vec![]));
    let decision = whole(&mut session, &[b'x'; 300_000]).await.unwrap();
    assert_eq!(decision.verdict, Verdict::Quarantine("a virus".to_owned()));
    assert_eq!(decision.notes[0].to_string(), "one quarantined at message: a virus");
    assert_eq!(played.codes().matches('B').count(), 1);
}

#[tokio::test]
async fn changes_reach_the_next_milter_and_the_decision() {
    let modify = |changes: Vec<Modification>| {
        move |command: &Command| match command {
            Command::End(_) => {
                Does::Answers(changes.iter().cloned().map(Response::Modify).chain([Response::Accept]).collect())
            }
            _ => go(),
        }
    };
    let first = PlayedMilter::start(
        Steps::HEADER_LEADING_SPACE,
        modify(vec![
            Modification::InsertHeader { index: 0, name: "X-First".into(), value: " 1\n\t2".into() },
            Modification::ChangeHeader { index: 1, name: "subject".into(), value: "".into() },
            Modification::AddHeader { name: "bad name".into(), value: " x".into() },
            Modification::ReplaceBody(Bytes::from_static(b"new body\r\n")),
            Modification::ChangeSender { path: "<>".into(), parameters: Some("ret=hdrs SIZE=1 REQUIRETLS".into()) },
            Modification::AddRecipient {
                path: "<cy@c.example>".into(),
                parameters: Some("NOTIFY=NEVER ORCPT=bob notify=SUCCESS \u{7f}".into()),
            },
            Modification::DeleteRecipient("bob@b.example".into()),
            Modification::DeleteRecipient("no address".into()),
        ]),
    )
    .await;
    let second = PlayedMilter::start(
        Steps::default(),
        modify(vec![
            Modification::ChangeHeader { index: 1, name: "X-First".into(), value: "changed".into() },
            Modification::AddHeader { name: "X-Second".into(), value: "a\nBcc: evil@example".into() },
        ]),
    )
    .await;
    let mut session = session(&filters(vec![first.settings("first"), second.settings("second")], vec![]));
    let decision = whole(&mut session, b"old body\r\n").await.unwrap();
    let Modifications { header, body, sender, recipients } = decision.modifications;
    assert_eq!(
        String::from_utf8_lossy(&apply(&header, HEADER)),
        "X-First: changed\r\nFrom: ann@a.example\r\nX-Second: a\r\n\tBcc: evil@example\r\n\r\n"
    );
    assert_eq!(header[0][1], HeaderChange::Delete { index: 1, name: "subject".to_owned() });
    assert_eq!(body.unwrap().concat(), b"new body\r\n");
    let told = smtp::MailParameters { ret: Some(smtp::Ret::Hdrs), ..smtp::MailParameters::default() };
    assert_eq!(sender, Some((address::ReversePath::Null, told)));
    let path = |text: &str| address::ForwardPath::parse(text).unwrap();
    let parameters = smtp::RcptParameters { notify: Some(smtp::Notify::default()), orcpt: None };
    let expected =
        [RecipientChange::Add(path("cy@c.example"), parameters), RecipientChange::Delete(path("bob@b.example"))];
    assert_eq!(recipients, expected);
    let kinds: Vec<NoteKind> = decision.notes.iter().map(|note| note.kind).collect();
    use NoteKind::{Accepted, Changed, Ignored};
    assert_eq!(kinds, [Accepted, Changed, Ignored, Ignored, Ignored, Ignored, Accepted, Changed]);
    let told: Vec<&str> = decision.notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(
        told[2..4],
        [
            "parameters of the sender: SIZE (the message itself shows it) REQUIRETLS (not for a milter to set)",
            "parameters of <cy@c.example>: ORCPT (bad or repeated) NOTIFY (bad or repeated)   (not for a milter to set)",
        ]
    );
    let heard = second.heard.lock().unwrap();
    assert!(heard.contains(&Command::Header { name: "X-First".into(), value: "1\n\t2".into() }));
    assert!(heard.contains(&Command::Body(Bytes::from_static(b"new body\r\n"))));
    assert!(
        !heard.iter().any(|command| matches!(command, Command::Header { name, .. } if name == &Text::from("Subject")))
    );
}

#[tokio::test]
async fn a_message_given_up_and_one_that_the_first_milter_refuses() {
    let first = PlayedMilter::start(Steps::default(), |command| match command {
        Command::EndOfHeader => answers(Response::Reject),
        _ => go(),
    })
    .await;
    let second = PlayedMilter::start(Steps::default(), |_| go()).await;
    let mut session = session(&filters(vec![first.settings("first"), second.settings("second")], vec![]));
    session.connect().await;
    session.mail(mail()).await;
    session.abort().await;
    session.abort().await;
    assert!(message(&mut session, b"x").await.unwrap().verdict.is_refusal());
    session.quit().await;
    first.over().await;
    second.over().await;
    assert_eq!(first.codes(), "OCMAMRTLLNAQ");
    assert_eq!(second.codes(), "OCMAMRTAQ");
}

#[tokio::test]
async fn stages_that_are_not_wanted() {
    let played = PlayedMilter::start(Steps::default(), |_| go()).await;
    let mut settings = played.settings("one");
    settings.stages = Stages::of(&[Stage::Recipient]);
    let mut session = session(&filters(vec![settings], vec![]));
    whole(&mut session, b"x").await.unwrap();
    session.quit().await;
    played.over().await;
    assert_eq!(played.codes(), "OCMRAQ");
}

#[tokio::test]
async fn no_filters_at_all() {
    let none = filters(vec![], vec![]);
    assert!(none.is_empty());
    let mut session = session(&none);
    assert_eq!(whole(&mut session, b"x").await.unwrap().verdict, Verdict::Continue);
}
