//! Policy services: what they are asked, what they may answer, and how they fail.

use bytes::Bytes;

use crate::filter::{
    Filters, HookSettings, NoteKind, OnFailure, Settings, SettingsError, Stage, Stages, Verdict, apply,
};
use crate::played::{HEADER, PlayedHook, SHORT, filters, http, mail, message, rcpt, session, whole};

#[tokio::test]
async fn what_is_asked_at_each_stage() {
    let played = PlayedHook::start(|_| Some(http(r#"{"action":"continue"}"#))).await;
    let settings = HookSettings { stages: Stages::ALL, header_octets: 30, ..played.settings("policy") };
    let mut session = session(&filters(vec![], vec![settings]));
    session.connect().await;
    session.secured(wire::TlsFacts { version: "TLS1.3".into(), cipher: "X".into(), ..Default::default() });
    session.hello("client.example").await;
    session.authenticated("ann@example.org", "PLAIN");
    assert_eq!(message(&mut session, b"text\r\n").await.unwrap().verdict, Verdict::Continue);
    let asked = played.asked.lock().unwrap().join("\n");
    let front = r#""hostname":"mx.example.org","listener":"smtp","client":{"address":"192.0.2.1","port":4711,"name":"client.example"}"#;
    let tls = r#""tls":{"version":"TLS1.3","cipher":"X"}"#;
    let known = format!(
        r#"{front},"hello":"client.example",{tls},"user":"ann@example.org","queue_id":"id1","sender":"ann@a.example""#
    );
    let size = HEADER.len() + 6;
    let expected = [
        format!(r#"{{"version":1,"stage":"connect",{front}}}"#),
        format!(r#"{{"version":1,"stage":"hello",{front},"hello":"client.example",{tls}}}"#),
        format!(r#"{{"version":1,"stage":"mail",{known},"recipients":[],"size":500}}"#),
        format!(r#"{{"version":1,"stage":"recipient",{known},"recipients":["bob@b.example"],"size":500}}"#),
        format!(r#"{{"version":1,"stage":"data",{known},"recipients":["bob@b.example"],"size":500}}"#),
        format!(
            r#"{{"version":1,"stage":"message",{known},"recipients":["bob@b.example"],"size":{size},"header":[{{"name":"From","value":"ann@a.example"}}],"header_cut":true}}"#
        ),
    ];
    assert_eq!(asked, expected.join("\n"));
}

#[tokio::test]
async fn every_action() {
    let table = [
        (r#"{"action":"continue"}"#, 250, None),
        (r#"{"action":"accept"}"#, 250, Some(NoteKind::Accepted)),
        (r#"{"action":"reject"}"#, 550, Some(NoteKind::Rejected)),
        (r#"{"action":"reject","code":554,"text":"5.7.9 no"}"#, 554, Some(NoteKind::Rejected)),
        (r#"{"action":"reject","code":451,"text":"4.7.9 no"}"#, 550, Some(NoteKind::Rejected)),
        (r#"{"action":"tempfail","text":"later"}"#, 451, Some(NoteKind::Deferred)),
        (r#"{"action":"discard"}"#, 0, Some(NoteKind::Discarded)),
        (r#"{"action":"quarantine","text":"why"}"#, 1, Some(NoteKind::Quarantined)),
        (r#"{"action":"hold","text":"why"}"#, 2, Some(NoteKind::Held)),
    ];
    for (document, expected, kind) in table {
        for stage in [Stage::Mail, Stage::Message] {
            let played = PlayedHook::start(move |_| Some(http(document))).await;
            let settings = HookSettings { stages: Stages::of(&[stage]), ..played.settings("policy") };
            let mut session = session(&filters(vec![], vec![settings]));
            let (verdict, notes) = match whole(&mut session, b"x").await {
                Ok(decision) => (decision.verdict, decision.notes),
                Err(verdict) => (verdict, session.take_notes()),
            };
            let found = match &verdict {
                Verdict::Reject(reply) | Verdict::TempFail(reply) => {
                    assert!(reply.enhanced().is_some(), "{document}");
                    reply.code()
                }
                Verdict::Discard => 0,
                Verdict::Quarantine(why) if why == "why" => 1,
                Verdict::Hold(why) if why == "why" => 2,
                other => {
                    assert_eq!(*other, Verdict::Continue);
                    250
                }
            };
            assert_eq!(found, expected, "{document} {stage}");
            assert_eq!(notes.first().map(|note| note.kind), kind, "{document}");
        }
    }
}

#[tokio::test]
async fn fields_are_added_on_top() {
    let document =
        r#"{"action":"accept","add_header":[{"name":"X-A","value":"1"},{"name":"X-B","value":"2\r\nX-C: 3"}]}"#;
    let played = PlayedHook::start(move |_| Some(http(document))).await;
    let settings = HookSettings { stages: Stages::of(&[Stage::Connect, Stage::Mail]), ..played.settings("policy") };
    let mut session = session(&filters(vec![], vec![settings]));
    // At the connection it is about no message, and the hook has accepted the connection with it.
    assert_eq!(session.connect().await, Verdict::Accept);
    let decision = message(&mut session, b"x").await.unwrap();
    assert!(decision.modifications.is_empty());
    assert_eq!(
        decision.notes.iter().map(|note| note.kind).collect::<Vec<_>>(),
        [NoteKind::Accepted, NoteKind::Ignored]
    );

    let settings = HookSettings { stages: Stages::of(&[Stage::Mail]), ..played.settings("policy") };
    let mut session = self::session(&filters(vec![], vec![settings]));
    session.connect().await;
    for _ in 0..2 {
        let decision = message(&mut session, b"x").await.unwrap();
        let header = apply(&decision.modifications.header, b"A: b\r\n\r\n");
        assert_eq!(header, &b"X-A: 1\r\nX-B: 2\r\n\tX-C: 3\r\nA: b\r\n\r\n"[..]);
    }
}

#[tokio::test]
async fn hooks_that_fail() {
    let long = format!(r#"{{"action":"accept","text":"{}"}}"#, "x".repeat(2000));
    let table = [
        (None, "no answer in time"),
        (Some(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec()), "status 500"),
        (Some(b"HTTP/1.1 302 No\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n".to_vec()), "status 302"),
        (Some(b"220 smtp.example\r\n".to_vec()), "no answer that is HTTP"),
        (Some(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{".to_vec()), "no whole answer"),
        (Some(b"".to_vec()), "no answer that is HTTP"),
        (Some(http("{}")), "not an answer"),
        (Some(http(&long)), "no whole answer"),
    ];
    for (octets, words) in table {
        for (policy, code) in [(OnFailure::Accept, 250), (OnFailure::TempFail, 451), (OnFailure::Reject, 550)] {
            let octets = octets.clone();
            let played = PlayedHook::start(move |_| octets.clone()).await;
            let mut settings = HookSettings { on_failure: policy, answer_octets: 1000, ..played.settings("policy") };
            if words.contains("time") {
                settings.timeout = SHORT;
            }
            let mut session = session(&filters(vec![], vec![settings]));
            let decision = whole(&mut session, b"x").await.unwrap();
            let found = match &decision.verdict {
                Verdict::Reject(reply) | Verdict::TempFail(reply) => reply.code(),
                _ => 250,
            };
            assert_eq!(found, code);
            assert!(decision.notes[0].text.contains(words), "{words}: {:?}", decision.notes);
        }
    }
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut session = session(&filters(vec![], vec![HookSettings::new("gone", format!("http://{gone}/"))]));
    let decision = whole(&mut session, b"x").await.unwrap();
    assert!(decision.notes[0].text.contains("not reachable"), "{:?}", decision.notes);
}

#[tokio::test]
async fn a_hook_by_https_is_whatever_the_caller_has() {
    struct Elsewhere;
    #[async_trait::async_trait]
    impl crate::filter::Post for Elsewhere {
        async fn post(&self, url: &str, document: Bytes, _: usize) -> Result<(u16, Bytes), String> {
            assert_eq!(url, "https://policy.example/");
            assert!(document.starts_with(b"{"));
            Ok((200, Bytes::from_static(br#"{"action":"reject"}"#)))
        }
    }
    let settings = |url: &str| Settings { milters: vec![], hooks: vec![HookSettings::new("policy", url)] };
    let https: std::sync::Arc<dyn crate::filter::Post> = std::sync::Arc::new(Elsewhere);
    let filters = Filters::new(settings("https://policy.example/"), Some(&https)).unwrap();
    let mut one = session(&filters);
    one.connect().await;
    one.mail(mail()).await;
    one.recipient(&rcpt("bob@b.example")).await;
    assert!(one.message(&Bytes::from_static(HEADER), &mut Bytes::new()).await.verdict.is_refusal());

    let error = |settings| Filters::new(settings, None).unwrap_err();
    let name = || "policy".to_owned();
    assert_eq!(error(settings("https://policy.example/")), SettingsError::NoHttps(name()));
    assert_eq!(error(settings("http://policy.example/")), SettingsError::Url(name()));
    let mut twice = settings("http://127.0.0.1/");
    twice.hooks.extend(twice.hooks.clone());
    assert_eq!(error(twice), SettingsError::SameName(name()));
}
