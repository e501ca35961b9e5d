//! Reports: what is built is read again, and nothing hostile gets through.

use jiff::Timestamp;
use proptest::prelude::*;
use wire::EnhancedCode;

use crate::queue::dsn::{
    Action, DeliveryStatus, ParseError, RecipientStatus, Report, Returned, Typed, VALUE_OCTETS, build, one_line, parse,
    parse_status,
};

fn report<'a>(status: &'a DeliveryStatus, returned: Returned<'a>, utf8: bool) -> Report<'a> {
    Report {
        from: "mailer-daemon@mx.a.example",
        to: "ann@a.example",
        message_id: "<r1@mx.a.example>",
        date: Timestamp::from_second(1_700_000_000).unwrap(),
        queue_id: "1aBcDeFgHiJk",
        status,
        returned,
        utf8,
    }
}

fn failed(address: &str, reply: &str) -> DeliveryStatus {
    DeliveryStatus {
        original_envelope_id: Some("QQ314159".to_owned()),
        reporting_mta: Typed::dns("mx.a.example"),
        received_from_mta: Some(Typed::dns("client.a.example")),
        arrival_date: Some(Timestamp::from_second(1_699_999_000).unwrap()),
        deliver_by_date: None,
        recipients: vec![RecipientStatus {
            original_recipient: None,
            final_recipient: Typed::address(address),
            action: Action::Failed,
            status: EnhancedCode::new(5, 1, 1).unwrap(),
            remote_mta: Some(Typed::dns("mx.b.example")),
            diagnostic_code: Some(Typed::smtp(reply)),
            last_attempt_date: Some(Timestamp::from_second(1_699_999_900).unwrap()),
            will_retry_until: None,
        }],
    }
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

#[test]
fn a_report_as_it_is() {
    let status = failed("bob@b.example", "550 5.1.1 No such user here");
    let message = b"From: ann@a.example\r\nSubject: hello\r\n\r\nHello Bob\r\n";
    let octets = build(&report(&status, Returned::Whole(message), false));
    let expected = include_str!("report.txt").replace('\n', "\r\n");
    assert_eq!(text(&octets), expected);
    let headers = build(&report(&status, Returned::Header(message), false));
    assert!(text(&headers).contains("Content-Type: text/rfc822-headers\r\n"));
    assert!(!text(&headers).contains("Hello Bob"));
    let nothing = build(&report(&status, Returned::Nothing, false));
    assert_eq!(text(&nothing).matches("Content-Type:").count(), 3);
}

#[test]
fn what_is_no_report() {
    let recipient = "\n\nFinal-Recipient: rfc822; a@b\nAction: failed\nStatus: 5.0.0\n";
    let many = format!("Reporting-MTA: dns; x{}", recipient.repeat(1001));
    for (status, error) in [
        ("", ParseError::Field { field: "Reporting-MTA" }),
        ("Reporting-MTA: dns; x\n", ParseError::Field { field: "Final-Recipient" }),
        ("Reporting-MTA: x\n\nFinal-Recipient: rfc822; a@b\n", ParseError::Field { field: "Reporting-MTA" }),
        ("Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@b\n", ParseError::Field { field: "Action" }),
        (
            "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@b\nAction: failed\n",
            ParseError::Field { field: "Status" },
        ),
        (&many, ParseError::TooManyRecipients { limit: 1000 }),
    ] {
        assert_eq!(parse_status(status.as_bytes()), Err(error), "{}", status.len());
    }
    for (message, error) in [
        ("Subject: hello\n\nhello\n", ParseError::NoStatus),
        (
            "Content-Type: multipart/report; boundary=x\n\n--x\nContent-Type: text/plain\n\nhello\n--x--\n",
            ParseError::NoStatus,
        ),
        (
            "Content-Type: multipart/report; boundary=x\n\n--x\nContent-Type: message/delivery-status\n\
             Content-Transfer-Encoding: base64\n\nUg==\n--x--\n",
            ParseError::Encoded,
        ),
    ] {
        assert_eq!(parse(message.as_bytes()), Err(error), "{message}");
    }
}

#[test]
fn the_words_of_a_hostile_server() {
    let words = format!("550 no\r\nAction: delivered\r\n\r\n--=_mw_\0\x1b[31m \u{202e}\u{e9} {}", "x".repeat(10_000));
    let mut status = failed("bob@b.example", "");
    status.recipients[0].diagnostic_code = Some(Typed { kind: "smtp; x\r\n".to_owned(), text: words });
    status.reporting_mta.text = "mx\r\nX: y".to_owned();
    let hostile = Report { from: "a@b>\r\nBcc: x@y", to: "a\r\n\r\nb", ..report(&status, Returned::Nothing, false) };
    let octets = build(&hostile);
    well_formed(&octets);
    assert!(octets.is_ascii());
    let header = text(&octets).split("\r\n\r\n").next().unwrap();
    assert!(!header.contains("\r\nBcc:") && header.contains("\r\nMIME-Version: 1.0\r\n"), "{header}");
    let found = parse(&octets).unwrap();
    assert_eq!(found.recipients.len(), 1);
    assert_eq!(found.recipients[0].action, Action::Failed);
    assert!(found.recipients[0].diagnostic_code.as_ref().unwrap().text.len() <= VALUE_OCTETS);
}

#[test]
fn the_boundary_does_not_occur() {
    let status = failed("bob@b.example", "550 no");
    let plain = build(&report(&status, Returned::Nothing, false));
    let line = text(&plain).lines().find(|line| line.starts_with("--=_mw_")).unwrap();
    let message = format!(
        "Subject: x\r\n\r\n{line}\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; evil\r\n"
    );
    let octets = build(&report(&status, Returned::Whole(message.as_bytes()), false));
    assert_eq!(text(&octets).matches(line).count(), 1, "only in what is returned");
    assert_eq!(parse(&octets), Ok(status));
}

#[test]
fn what_no_path_may_carry_is_not_returned() {
    // rule 10
    let status = failed("bob@b.example", "550 no");
    let long = [&b"Subject: x\r\n\r\n"[..], &[b'y'; 999], b"\r\n"].concat();
    for message in [&b"Subject: x\n\nbare\n"[..], b"Subject: x\r\n\r\na\rb\r\n", b"Subject: x\r\n\r\n\0\r\n", &long] {
        let octets = build(&report(&status, Returned::Whole(message), false));
        well_formed(&octets);
        assert!(text(&octets).contains("text/rfc822-headers\r\n"), "{}", text(&octets));
        assert!(text(&octets).contains("\r\nSubject: x\r\n"));
    }
    let wide = [&b"Subject: "[..], &[b'x'; 5000], b"\r\nX: \xFF\0\r\n\r\n"].concat();
    let octets = build(&report(&status, Returned::Header(&wide), false));
    well_formed(&octets);
    assert!(text(&octets).contains("\r\nX: ??\r\n"));
}

#[test]
fn a_reply_of_several_lines() {
    for (reply, field, quoted) in [
        // RFC 3461 §9.2.
        (
            "550-mailbox unavailable\n550 user has moved with no forwarding address",
            "smtp; 550-mailbox unavailable\r\n 550 user has moved with no forwarding address\r\n",
            "    > 550-mailbox unavailable\r\n    > 550 user has moved with no forwarding address\r\n\r\n",
        ),
        ("550-a 551 b\n550-c\n550 d 550 e", "550-a 551 b\r\n 550-c\r\n 550 d 550 e\r\n", "> 550-c\r\n    > 550 d"),
        // These are of one line.
        ("550-a", "smtp; 550-a\r\n", "> 550-a\r\n\r\n"),
        ("550 a 550-b 550 c", "smtp; 550 a 550-b 550 c\r\n", "> 550 a 550-b 550 c\r\n\r\n"),
        ("no-code 550 a", "smtp; no-code 550 a\r\n", "> no-code 550 a\r\n\r\n"),
    ] {
        let status = failed("bob@b.example", reply);
        let octets = build(&report(&status, Returned::Nothing, false));
        let found = text(&octets);
        assert!(found.contains(field) && found.contains(quoted), "{found}");
        assert_eq!(parse(&octets), Ok(status));
    }
}

#[test]
fn international_addresses() {
    // RFC 6533 §3 and §4.
    let status = failed("b\u{f6}b@b.example", "550 no");
    let global = build(&report(&status, Returned::Whole("Subject: \u{e9}\r\n\r\nx\r\n".as_bytes()), true));
    for part in
        ["message/global-delivery-status\r\n", "message/global\r\n", "Final-Recipient: utf-8; b\u{f6}b@b.example\r\n"]
    {
        assert!(text(&global).contains(part), "{part}");
    }
    assert_eq!(parse(&global), Ok(status.clone()));
    let ascii = build(&report(&status, Returned::Header("Subject: \u{e9}\r\n\r\n".as_bytes()), false));
    assert!(ascii.is_ascii());
    assert!(text(&ascii).contains("Final-Recipient: utf-8; b\\x{F6}b@b.example\r\n"));
    assert_eq!(parse(&ascii), Ok(status.clone()));
    let headers = build(&report(&status, Returned::Header("Subject: \u{e9}\r\n\r\n".as_bytes()), true));
    assert!(text(&headers).contains("Content-Type: message/global-headers\r\n"));
}

#[test]
fn each_action_has_words_of_its_own() {
    for action in [Action::Delayed, Action::Delivered, Action::Relayed, Action::Expanded] {
        let mut status = failed("bob@b.example", "450 later");
        status.recipients[0].action = action;
        status.recipients[0].will_retry_until = Some(Timestamp::from_second(1_700_400_000).unwrap());
        let octets = build(&report(&status, Returned::Nothing, false));
        well_formed(&octets);
        assert!(!text(&octets).contains("could not be delivered to the following address, and"));
        assert_eq!(parse(&octets), Ok(status));
    }
}

/// CRLF only, no line over 998 octets, none of the report's own over 78 unless it is a single word.
fn well_formed(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    assert!(text.ends_with("\r\n"));
    for line in text.split("\r\n") {
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
        assert!(line.len() <= 998, "{} octets", line.len());
    }
}

fn typed() -> impl Strategy<Value = Typed> {
    let any = ("[a-z][a-z0-9-]{0,12}", "[!-~]{1,80}( [!-~]{1,30}){0,12}")
        .prop_filter("utf-8 has its own test", |(kind, _)| kind != "utf-8")
        .prop_map(|(kind, text)| Typed { kind, text });
    let reply =
        "(550-[!-~]{0,40}( [!-~]{1,30}){0,4} ){0,3}55[01]( [!-~]{1,30}){0,12}".prop_map(|text| Typed::smtp(&text));
    prop_oneof![any, reply]
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0_i64..4_000_000_000).prop_map(|at| Timestamp::from_second(at).unwrap())
}

fn recipient() -> impl Strategy<Value = RecipientStatus> {
    let action = prop::sample::select(vec![
        Action::Failed,
        Action::Delayed,
        Action::Delivered,
        Action::Relayed,
        Action::Expanded,
    ]);
    let status = (prop::sample::select(vec![2_u8, 4, 5]), 0_u16..1000, 0_u16..1000)
        .prop_map(|(class, subject, detail)| EnhancedCode::new(class, subject, detail).unwrap());
    let address = prop_oneof![
        typed(),
        "[a-z+=\\\\]{1,20}[\u{e0}-\u{17f}]{1,20}@[a-z]{1,20}".prop_map(|text| Typed::address(&text))
    ];
    (
        prop::option::of(typed()),
        address,
        action,
        status,
        prop::option::of(typed()),
        prop::option::of(typed()),
        prop::option::of(time()),
        prop::option::of(time()),
    )
        .prop_map(
            |(original_recipient, final_recipient, action, status, remote_mta, diagnostic_code, last, until)| {
                RecipientStatus {
                    original_recipient,
                    final_recipient,
                    action,
                    status,
                    remote_mta,
                    diagnostic_code,
                    last_attempt_date: last,
                    will_retry_until: until,
                }
            },
        )
}

fn statuses() -> impl Strategy<Value = DeliveryStatus> {
    let envid = prop::option::of("[!-~]{1,90}");
    let dates = (prop::option::of(time()), prop::option::of(time()));
    (envid, typed(), prop::option::of(typed()), dates, prop::collection::vec(recipient(), 1..6)).prop_map(
        |(original_envelope_id, reporting_mta, received_from_mta, (arrival_date, deliver_by_date), recipients)| {
            DeliveryStatus {
                original_envelope_id,
                reporting_mta,
                received_from_mta,
                arrival_date,
                deliver_by_date,
                recipients,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_built_is_read(
        status in statuses(), utf8: bool, whole: bool, returned in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let returned = if whole { Returned::Whole(&returned) } else { Returned::Header(&returned) };
        let octets = build(&report(&status, returned, utf8));
        well_formed(&octets);
        prop_assert_eq!(parse(&octets), Ok(status));
    }

    #[test]
    fn any_words_are_one_line(words in "\\PC{0,40}|(.|[\\x00-\\x20]){0,3000}") {
        let line = one_line(&words);
        prop_assert!(line.len() <= VALUE_OCTETS && !line.contains(char::is_control));
        prop_assert_eq!(one_line(&line), line);
    }

    #[test]
    fn any_octets_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&octets);
        if let Ok(status) = parse_status(&octets) {
            let _ = build(&report(&status, Returned::Nothing, true));
        }
    }
}
