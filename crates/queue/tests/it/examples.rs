//! The reports that the RFCs show: each is read, and for what happened there ours is written.
//!
//! `tests/reports/read` has those of the RFCs, the part for programs as it is there; `tests/reports/written` has ours for
//! the same events, to the octet. Lines that begin with `#` are about the file and no part of it.

use std::path::Path;

use jiff::Timestamp;
use wire::EnhancedCode;

use crate::queue::dsn::{
    Action, DeliveryStatus, Happened, MailWishes, ParseError, RecipientStatus, RecipientWishes, Report, Ret, Returned,
    Typed, build, decide, parse, parse_status, returns_content,
};

const ENVELOPE: &str = " RET=HDRS ENVID=QQ314159";

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reports").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("# RFC "), "{name}");
    text.split_inclusive('\n').skip_while(|line| line.starts_with('#')).collect()
}

/// What a report says of its recipients, in one line each.
fn told(status: &DeliveryStatus) -> Vec<String> {
    let of =
        |typed: &Option<Typed>| typed.as_ref().map_or("-".to_owned(), |typed| format!("{};{}", typed.kind, typed.text));
    let line = |found: &RecipientStatus| {
        let address = of(&Some(found.final_recipient.clone()));
        let (original, words) = (of(&found.original_recipient), of(&found.diagnostic_code));
        let (action, remote) = (found.action.as_str(), of(&found.remote_mta));
        format!("{original} {address} {action} {} {remote} {words}", found.status)
    };
    status.recipients.iter().map(line).collect()
}

#[test]
fn reports_are_read() {
    let envid = Some("QQ314159");
    type Row<'a> = (&'a str, &'a str, Option<&'a str>, &'a [&'a str]);
    let table: [Row<'_>; 9] = [
        (
            "rfc2034-6.txt",
            "dns;ymir.claremont.edu",
            None,
            &[
                "rfc822;mrose@dbc.mtview.ca.us rfc822;mrose@dbc.mtview.ca.us relayed 2.1.5 dns;dbc.mtview.ca.us \
                 smtp;250 Recipient <mrose@dbc.mtview.ca.us> ok",
                "rfc822;nosuchuser@dbc.mtview.ca.us rfc822;nosuchuser@dbc.mtview.ca.us failed 5.1.1 \
                 dns;dbc.mtview.ca.us smtp;550 Mailbox \"nosuchuser\" does not exist",
                "rfc822;remoteuser@isi.edu rfc822;remoteuser@isi.edu failed 5.7.1 dns;dbc.mtview.ca.us \
                 smtp;551 Forwarding to remote hosts disabled Select another host to act as your forwarder",
            ],
        ),
        (
            "rfc3461-10.6.txt",
            "dns;mail.Example.COM",
            envid,
            &["rfc822;Bob@Example.COM rfc822;Bob@Example.COM delivered 2.0.0 - -"],
        ),
        (
            "rfc3461-10.7.txt",
            "dns;Example.ORG",
            envid,
            &["rfc822;Carol@Ivory.EDU rfc822;Carol@Ivory.EDU failed 5.0.0 - smtp;550 error - no such recipient"],
        ),
        (
            "rfc3461-10.8.txt",
            "dns;Ivory.EDU",
            envid,
            &["rfc822;Dana@Ivory.EDU rfc822;Dana@Ivory.EDU relayed 2.0.0 - -"],
        ),
        (
            "rfc3461-10.9.txt",
            "dns;Boondoggle.GOV",
            envid,
            &["rfc822;George@Tax-ME.GOV rfc822;Sam@Boondoggle.GOV failed 4.2.2 - -"],
        ),
        (
            "rfc3464-e-simple.txt",
            "dns;cs.utk.edu",
            None,
            &["rfc822;louisl@larry.slip.umd.edu rfc822;louisl@larry.slip.umd.edu failed 4.0.0 - \
               smtp;426 connection timed out"],
        ),
        (
            "rfc3464-e-several.txt",
            "dns;cs.utk.edu",
            None,
            &[
                "rfc822;arathib@vnet.ibm.com rfc822;arathib@vnet.ibm.com failed 5.0.0 dns;vnet.ibm.com \
                 smtp;550 'arathib@vnet.IBM.COM' is not a registered gateway user",
                "rfc822;johnh@hpnjld.njd.hp.com rfc822;johnh@hpnjld.njd.hp.com delayed 4.0.0 - -",
                "rfc822;wsnell@sdcc13.ucsd.edu rfc822;wsnell@sdcc13.ucsd.edu failed 5.0.0 dns;sdcc13.ucsd.edu \
                 smtp;550 user unknown",
            ],
        ),
        ("rfc3464-e-gateway.txt", "mailbus;SYS30", None, &["- unknown;nair_s failed 5.0.0 - -"]),
        (
            "rfc3464-e-delayed.txt",
            "dns;sun2.nsfnet-relay.ac.uk",
            None,
            &["- rfc822;thomas@de-montfort.ac.uk delayed 4.0.0 - -"],
        ),
    ];
    for (name, reporting, envid, recipients) in table {
        let text = file(&format!("read/{name}"));
        // As it travels, and as some keep it.
        for octets in [text.replace('\n', "\r\n"), text] {
            let found = parse(octets.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(format!("{};{}", found.reporting_mta.kind, found.reporting_mta.text), reporting, "{name}");
            assert_eq!(found.original_envelope_id.as_deref(), envid, "{name}");
            assert_eq!(told(&found), recipients, "{name}");
        }
    }
    let simple = parse(file("read/rfc3464-e-simple.txt").as_bytes()).unwrap();
    assert_eq!(simple.recipients[0].last_attempt_date, Some("1994-07-07T21:15:49Z".parse().unwrap()));
    // RFC 3461 §10.9 as printed.
    let printed = file("read/rfc3461-10.9.txt").replace("Reporting-MTA: dns; ", "Reporting-MTA: ");
    assert_eq!(parse(printed.as_bytes()), Err(ParseError::Field { field: "Reporting-MTA" }));
}

#[test]
fn fields_are_read() {
    let status = |code: &str, more: &str| {
        let text = format!(
            "Reporting-MTA: dns; mx.example\r\n\r\nFinal-Recipient: rfc822; a@b.example\r\nAction: failed\r\n\
             Status: {code}\r\n{more}"
        );
        parse_status(text.as_bytes()).unwrap().recipients.remove(0)
    };
    // RFC 3461 §9.2: a reply of two lines, each with its code.
    let more = "Diagnostic-Code: smtp ; 550-mailbox unavailable\r\n 550 user has moved with no forwarding address\r\n";
    let words = "550-mailbox unavailable 550 user has moved with no forwarding address";
    assert_eq!(status("5.0.0", more).diagnostic_code, Some(Typed::smtp(words)));
    // RFC 2852 §5, the name as it is there.
    let text = "Reporting-MTA: dns; acme.net\r\nDeliver-by-date: Fri, 8 Jul 1994 13:23:25 +0000\r\n\r\n\
                Final-Recipient: rfc822; topbanana@other.com\r\nAction: failed\r\nStatus: 5.3.3\r\n";
    let deadline = parse_status(text.as_bytes()).unwrap().deliver_by_date;
    assert_eq!(deadline, Some("1994-07-08T13:23:25Z".parse().unwrap()));
    // RFC 3463 §2.
    assert_eq!(Some(status("2.1.23", "").status), EnhancedCode::new(2, 1, 23));
}

/// RFC 3461 §10: who is told what of the message to six.
#[test]
fn who_is_told_in_the_example() {
    let there = Happened::Relayed { dsn: true, deadline: false };
    let nowhere = Happened::Relayed { dsn: false, deadline: false };
    for (wishes, happened, expected) in [
        // §10.2 leaves it to the next, §10.6 is the next.
        (" NOTIFY=SUCCESS ORCPT=rfc822;Bob@Example.COM", there, None),
        (" NOTIFY=SUCCESS ORCPT=rfc822;Bob@Example.COM", Happened::Delivered, Some(Action::Delivered)),
        // §10.3, §10.7
        (" NOTIFY=FAILURE ORCPT=rfc822;Carol@Ivory.EDU", Happened::Failed, Some(Action::Failed)),
        // §10.8
        (" NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Dana@Ivory.EDU", there, None),
        (" NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Dana@Ivory.EDU", nowhere, Some(Action::Relayed)),
        // §10.4
        (" NOTIFY=FAILURE ORCPT=rfc822;Eric@Bombs.AF.MIL", nowhere, None),
        (" NOTIFY=NEVER", nowhere, None),
        (" NOTIFY=NEVER", Happened::Failed, None),
        // §10.5, §10.9: George asked for failures (§10.1), and is told of Sam's; NOTIFY=SUCCESS in §10.5 is a slip.
        (" NOTIFY=FAILURE ORCPT=rfc822;George@Tax-ME.GOV", there, None),
        (" NOTIFY=FAILURE ORCPT=rfc822;George@Tax-ME.GOV", Happened::Failed, Some(Action::Failed)),
    ] {
        let notify = RecipientWishes::of_wire(wishes).notify;
        assert_eq!(decide("Alice@Example.ORG", notify, happened), expected, "{wishes} {happened:?}");
    }
    let mail = MailWishes::of_wire(ENVELOPE);
    assert_eq!(mail.ret, Some(Ret::Hdrs));
    assert!(!returns_content(mail.ret, &[Action::Failed], 50));
}

/// A recipient of whom is told, its wishes as they stood in RCPT.
fn recipient(rcpt: &str, address: &str, action: Action, status: EnhancedCode) -> RecipientStatus {
    RecipientStatus {
        original_recipient: RecipientWishes::of_wire(rcpt).original,
        final_recipient: Typed::address(address),
        action,
        status,
        remote_mta: None,
        diagnostic_code: None,
        last_attempt_date: None,
        will_retry_until: None,
    }
}

fn told_by(mta: &str, mail: &str, recipients: Vec<RecipientStatus>) -> DeliveryStatus {
    DeliveryStatus {
        original_envelope_id: MailWishes::of_wire(mail).envid,
        reporting_mta: Typed::dns(mta),
        received_from_mta: None,
        arrival_date: None,
        deliver_by_date: None,
        recipients,
    }
}

fn write(name: &str, to: &str, status: DeliveryStatus) {
    let mta = &status.reporting_mta.text;
    let (from, message_id) = (format!("mailer-daemon@{mta}"), format!("<r1@{mta}>"));
    let octets = build(&Report {
        from: &from,
        to,
        message_id: &message_id,
        date: "1994-07-08T13:21:47Z".parse::<Timestamp>().unwrap(),
        queue_id: "1aBcDeFgHiJk",
        status: &status,
        returned: Returned::Header(b"Subject: the header section\r\n\r\nand more\r\n"),
        utf8: false,
    });
    let written = String::from_utf8(octets.clone()).unwrap();
    assert_eq!(written, file(&format!("written/{name}")).replace('\n', "\r\n"), "{name}");
    assert_eq!(parse(&octets), Ok(status), "{name}");
}

#[test]
fn reports_are_written() {
    let done = EnhancedCode::new(2, 0, 0).unwrap();
    let alice = "Alice@Example.ORG";
    let bob = recipient(" ORCPT=rfc822;Bob@Example.COM", "Bob@Example.COM", Action::Delivered, done);
    write("rfc3461-10.6.txt", alice, told_by("mail.Example.COM", ENVELOPE, vec![bob]));

    let carol = RecipientStatus {
        remote_mta: Some(Typed::dns("Ivory.EDU")),
        diagnostic_code: Some(Typed::smtp("550 error - no such recipient")),
        ..recipient(" ORCPT=rfc822;Carol@Ivory.EDU", "Carol@Ivory.EDU", Action::Failed, EnhancedCode::of_reply(550))
    };
    write("rfc3461-10.7.txt", alice, told_by("Example.ORG", ENVELOPE, vec![carol]));

    let dana = recipient(" ORCPT=rfc822;Dana@Ivory.EDU", "Dana@Ivory.EDU", Action::Relayed, done);
    write("rfc3461-10.8.txt", alice, told_by("Ivory.EDU", ENVELOPE, vec![dana]));

    let full = EnhancedCode::new(4, 2, 2).unwrap();
    let sam = RecipientStatus {
        diagnostic_code: Some(Typed::own("write error to mailbox, disk quota exceeded")),
        ..recipient(" ORCPT=rfc822;George@Tax-ME.GOV", "Sam@Boondoggle.GOV", Action::Failed, full)
    };
    write("rfc3461-10.9.txt", alice, told_by("Boondoggle.GOV", ENVELOPE, vec![sam]));

    let answered = |rcpt: &str, address: &str, action, status: (u8, u16, u16), words: &str| RecipientStatus {
        remote_mta: Some(Typed::dns("dbc.mtview.ca.us")),
        diagnostic_code: Some(Typed::smtp(words)),
        ..recipient(rcpt, address, action, EnhancedCode::new(status.0, status.1, status.2).unwrap())
    };
    let three = vec![
        answered(
            " ORCPT=rfc822;mrose@dbc.mtview.ca.us",
            "mrose@dbc.mtview.ca.us",
            Action::Relayed,
            (2, 1, 5),
            "250 2.1.5 Recipient <mrose@dbc.mtview.ca.us> ok",
        ),
        answered(
            " ORCPT=rfc822;nosuchuser@dbc.mtview.ca.us",
            "nosuchuser@dbc.mtview.ca.us",
            Action::Failed,
            (5, 1, 1),
            "550 5.1.1 Mailbox \"nosuchuser\" does not exist",
        ),
        answered(
            " ORCPT=rfc822;remoteuser@isi.edu",
            "remoteuser@isi.edu",
            Action::Failed,
            (5, 7, 1),
            "551-5.7.1 Forwarding to remote hosts disabled\n551 5.7.1 Select another host to act as your forwarder",
        ),
    ];
    write("rfc2034-6.txt", "ned@ymir.claremont.edu", told_by("ymir.claremont.edu", "", three));

    let late = RecipientStatus {
        will_retry_until: Some("1994-07-15T23:36:51Z".parse().unwrap()),
        ..recipient("", "thomas@de-montfort.ac.uk", Action::Delayed, EnhancedCode::of_reply(400))
    };
    write("rfc3464-e-delayed.txt", "owner-info-mime@cs.utk.edu", told_by("sun2.nsfnet-relay.ac.uk", "", vec![late]));

    // RFC 2852 §6: two minutes are asked for, and the next host promises four.
    let topbanana = RecipientStatus {
        remote_mta: Some(Typed::dns("mail.other.com")),
        diagnostic_code: Some(Typed::own(
            "the sender demands delivery by a time, which the receiving system does not promise",
        )),
        ..recipient("", "topbanana@other.com", Action::Failed, EnhancedCode::new(5, 3, 3).unwrap())
    };
    let too_soon = DeliveryStatus {
        arrival_date: Some("1994-07-08T13:21:25Z".parse().unwrap()),
        deliver_by_date: Some("1994-07-08T13:23:25Z".parse().unwrap()),
        ..told_by("acme.net", "", vec![topbanana])
    };
    write("rfc2852-6-least.txt", "eljefe@bigbiz.com", too_soon);
}

/// RFC 6533 §3, §4: it has no example; this is §10.7 of RFC 3461 for somebody whose name is not US-ASCII.
#[test]
fn an_original_recipient_in_unicode() {
    for wire in [" ORCPT=utf-8;\\x{E4}nne@Ivory.EDU", " ORCPT=utf-8;\u{e4}nne@Ivory.EDU"] {
        let found = recipient(wire, "anne@Ivory.EDU", Action::Failed, EnhancedCode::of_reply(550));
        assert_eq!(found.original_recipient, Some(Typed::address("\u{e4}nne@Ivory.EDU")));
    }
    for name in ["\u{e4}nne@Ivory.EDU", "\\x{E4}nne@Ivory.EDU"] {
        let status = format!(
            "Reporting-MTA: dns; Example.ORG\r\n\r\nOriginal-Recipient: utf-8; {name}\r\n\
             Final-Recipient: rfc822; anne@Ivory.EDU\r\nAction: failed\r\nStatus: 5.0.0\r\n\
             Localized-Diagnostic: de; niemand\r\n"
        );
        let found = parse_status(status.as_bytes()).unwrap();
        assert_eq!(found.recipients[0].original_recipient, Some(Typed::address("\u{e4}nne@Ivory.EDU")), "{name}");
    }
}
