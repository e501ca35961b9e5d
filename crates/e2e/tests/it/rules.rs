//! Rules that need a whole system to be seen.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use mailwright_e2e::{System, succeed};

fn smtp(system: &System) -> mailwright_e2e::Conversation {
    let mut client = system.connect(25);
    client.hear(&["220 "]);
    client.ask("EHLO client.example", &["250 "]);
    client
}

#[test]
fn strangers_relay_nothing() {
    // rule 12
    let system = System::new();
    let _mta = system.start("mta");
    let mut client = smtp(&system);
    client.ask("MAIL FROM:<x@client.example>", &["250 "]);
    for recipient in [
        "a@elsewhere.example",
        "@example.test:a@elsewhere.example",
        "a%elsewhere.example@example.test",
        "elsewhere.example!a@example.test",
        "\"a@elsewhere.example\"@example.test",
        "a@[127.0.0.1]",
        "ann@example.test.",
    ] {
        let answer = client.ask(&format!("RCPT TO:<{recipient}>"), &["250 ", "5"]);
        assert!(answer.starts_with('5'), "{recipient}: {answer}");
    }
    // rule 6 and rule 14
    assert!(client.ask("RCPT TO:<nobody@example.test>", &["5"]).starts_with("550 5.1.1"));
    for recipient in ["ANN@Example.Test", "ann+news@example.test", "Postmaster", "postmaster@example.test"] {
        client.ask(&format!("RCPT TO:<{recipient}>"), &["250 "]);
    }
    let hello = smtp(&system).ask("EHLO x", &["250 "]);
    assert!(!hello.contains("AUTH"), "never on port 25: {hello}");
}

#[test]
fn bare_line_feeds_end_nothing_and_are_refused() {
    // rule 10
    let system = System::new();
    let _mta = system.start("mta");
    let mut client = smtp(&system);
    client.ask("MAIL FROM:<x@client.example>", &["250 "]);
    client.ask("RCPT TO:<ann@example.test>", &["250 "]);
    client.ask("DATA", &["354 "]);
    client.say("Subject: x\r\n\r\nsmuggled\n.\nMAIL FROM:<evil@client.example>\r\n.\r\n");
    assert!(client.hear(&["5", "2"]).starts_with("550 5.6.0"));
    client.ask("QUIT", &["221 "]);
}

#[test]
fn fields_are_added_once_and_for_each_recipient() {
    // rule 15
    let system = System::new();
    let _mta = system.start("mailctl");
    let mut client = smtp(&system);
    client.ask("MAIL FROM:<x@client.example>", &["250 "]);
    client.ask("RCPT TO:<ann@example.test>", &["250 "]);
    client.ask("RCPT TO:<bob@example.test>", &["250 "]);
    client.ask("DATA", &["354 "]);
    client.say("Return-Path: <forged@client.example>\r\nSubject: hello\r\n\r\n..dot\r\n.\r\n");
    let answer = client.hear(&["250 "]);
    let id = answer.trim().rsplit(' ').next().unwrap().to_owned();
    for name in ["ann", "bob"] {
        let mut pop3 = system.connect(110);
        pop3.hear(&["+OK"]);
        pop3.ask(&format!("USER {name}@example.test"), &["+OK"]);
        pop3.ask(&format!("PASS {name}-secret"), &["+OK"]);
        let message = pop3.ask("RETR 1", &[".\r\n"]);
        let message = message.split_once("\r\n").unwrap().1;
        assert!(message.starts_with("Return-Path: <x@client.example>\r\nDelivered-To: "), "{message}");
        assert!(message.contains(&format!("Delivered-To: {name}@example.test\r\nReceived: from client.example")));
        assert!(message.contains(&format!("id {id}")) && !message.contains("forged") && !message.contains("\tfor "));
        assert!(message.ends_with("\r\n\r\n..dot\r\n.\r\n"), "{message:?}");
        pop3.ask("QUIT", &["+OK"]);
    }
}

#[test]
fn octets_in_clear_behind_starttls_end_the_connection() {
    // rule 11
    let system = System::new();
    let _all = system.start("mailctl");
    let mut smtp = smtp(&system);
    smtp.say("STARTTLS\r\nEHLO injected.example\r\n");
    assert!(!smtp.rest().contains("injected.example"));
    let mut imap = system.connect(143);
    imap.hear(&["* OK"]);
    imap.say("a STARTTLS\r\nb NOOP\r\n");
    assert!(!imap.rest().contains("b OK"));
    let mut pop3 = system.connect(110);
    pop3.hear(&["+OK"]);
    pop3.say("STLS\r\nNOOP\r\n");
    let rest = pop3.rest();
    assert!(rest.matches("+OK").count() <= 1, "{rest}");
}

#[test]
fn senders_of_submissions_are_their_own() {
    // rule 16
    let system = System::new();
    let _mta = system.start("mta");
    let mut client = system.connect(587);
    client.hear(&["220 "]);
    client.ask("EHLO client.example", &["250 "]);
    assert!(client.ask("MAIL FROM:<ann@example.test>", &["5", "2"]).starts_with("530"), "AUTH comes first");
    // AUTH PLAIN \0ann@example.test\0ann-secret
    client.ask("AUTH PLAIN AGFubkBleGFtcGxlLnRlc3QAYW5uLXNlY3JldA==", &["235 "]);
    assert!(client.ask("MAIL FROM:<bob@example.test>", &["5", "2"]).starts_with("550 5.7.1"));
    client.ask("MAIL FROM:<ann+x@example.test>", &["250 "]);
    client.ask("RCPT TO:<x@elsewhere.example>", &["250 "]);
    client.ask("RCPT TO:<bob@example.test>", &["250 "]);
    client.ask("DATA", &["354 "]);
    client.say("From: Bob <bob@example.test>\r\n\r\nforged\r\n.\r\n");
    assert!(client.hear(&["5", "2"]).starts_with("550 5.7.1"));
}

#[test]
fn a_changed_account_acts_in_every_process() {
    // rule 8
    let system = System::new();
    let _imapd = system.start("imapd");
    let mut client = system.connect(143);
    client.hear(&["* OK"]);
    client.ask("a LOGIN ann@example.test ann-secret", &["a OK"]);
    client.ask("b SELECT INBOX", &["b OK"]);
    client.ask("c IDLE", &["+ "]);
    system.mailctl(&["account", "disable", "ann@example.test"], "");
    assert!(client.rest().contains("* BYE"));
    let mut again = system.connect(143);
    again.hear(&["* OK"]);
    again.ask("a LOGIN ann@example.test ann-secret", &["a NO"]);
    // Whoever submits or fetches is sent away, too, by another password as by removal.
    let _mta = system.start("mta");
    let _pop3d = system.start("pop3d");
    for change in
        [&["account", "passwd", "bob@example.test", "--generate"][..], &["account", "remove", "bob@example.test"]]
    {
        let password = system.mailctl(&["account", "passwd", "bob@example.test", "--generate"], "");
        let password = password.trim();
        let mut submission = system.connect(587);
        submission.hear(&["220 "]);
        submission.ask("EHLO client.example", &["250 "]);
        let response = succeed("base64", &["-w0"], &format!("\0bob@example.test\0{password}"));
        submission.ask(&format!("AUTH PLAIN {response}"), &["235 "]);
        let mut pop3 = system.connect(110);
        pop3.hear(&["+OK"]);
        pop3.ask("USER bob@example.test", &["+OK"]);
        pop3.ask(&format!("PASS {password}"), &["+OK"]);
        system.mailctl(change, "");
        assert!(submission.rest().starts_with("421 4.7.0"), "{change:?}");
        assert!(pop3.rest().starts_with("-ERR"), "{change:?}");
    }
}

#[test]
fn new_mail_reaches_an_idling_client_of_another_process() {
    let system = System::new();
    let _mta = system.start("mta");
    let _imapd = system.start("imapd");
    let mut idle = system.connect(143);
    idle.hear(&["* OK"]);
    idle.ask("a LOGIN ann@example.test ann-secret", &["a OK"]);
    idle.ask("b SELECT INBOX", &["b OK"]);
    idle.ask("c IDLE", &["+ "]);
    let mut client = smtp(&system);
    client.ask("MAIL FROM:<x@client.example>", &["250 "]);
    client.ask("RCPT TO:<ann@example.test>", &["250 "]);
    client.ask("DATA", &["354 "]);
    client.say("Subject: x\r\n\r\nx\r\n.\r\n");
    client.hear(&["250 "]);
    idle.hear(&["* 1 EXISTS"]);
    idle.ask("DONE", &["c OK"]);
    let fetched = idle.ask("d FETCH 1 (UID FLAGS RFC822.SIZE ENVELOPE BODY[TEXT])", &["d OK"]);
    assert!(fetched.contains("BODY[TEXT] {3}\r\nx\r\n"), "{fetched}");
    let searched = idle.ask("e UID SEARCH SUBJECT x SEEN", &["e OK"]);
    assert!(searched.contains("* SEARCH 1\r\n"), "{searched}");
}

#[test]
fn lmtp_answers_for_each_recipient() {
    // RFC 2033 §4.2, rule 6
    let system = System::new();
    let _mta = system.start("mta");
    system.mailctl(&["account", "import", "/dev/stdin"], "carl@example.test,{PLAIN}x,100\n");
    let mut client = system.connect(24);
    client.hear(&["220 "]);
    client.ask("LHLO client.example", &["250 "]);
    client.ask("MAIL FROM:<x@client.example>", &["250 "]);
    for name in ["ann", "carl", "bob"] {
        client.ask(&format!("RCPT TO:<{name}@example.test>"), &["250 "]);
    }
    // What SIZE declares is known at RCPT.
    let mut declared = smtp(&system);
    declared.ask("MAIL FROM:<x@client.example> SIZE=101", &["250 "]);
    assert!(declared.ask("RCPT TO:<carl@example.test>", &["2", "4", "5"]).starts_with("452 4.2.2"));
    declared.ask("RCPT TO:<ann@example.test>", &["250 "]);
    assert!(client.ask("RCPT TO:<nobody@example.test>", &["5", "2"]).starts_with("550 5.1.1"));
    client.ask("DATA", &["354 "]);
    // Meanwhile one of them goes; another's quota is less than the message.
    system.mailctl(&["account", "disable", "bob@example.test"], "");
    client.say(&format!("Subject: x\r\n\r\n{}\r\n.\r\n", "y".repeat(200)));
    let answers = ["ann", "carl", "bob"].map(|_| client.hear(&["2", "4", "5"]));
    assert!(answers[0].starts_with("250 2.0.0"), "{answers:?}");
    assert!(answers[1].starts_with("452 4.2.2"), "{answers:?}");
    assert!(answers[2].starts_with("550 5.2.1"), "{answers:?}");
    client.ask("QUIT", &["221 "]);
}

#[test]
fn every_refusal_has_both_codes_and_words_to_act_on() {
    // rule 17
    let system = System::new();
    let config = std::fs::read_to_string(system.config()).unwrap();
    let config = config.replace("message_octets = 52428800", "message_octets = 65536");
    std::fs::write(system.config(), config.replace("recipients = 1000", "recipients = 100")).unwrap();
    let _mta = system.start("mta");
    let mut said = Vec::new();
    for port in [25, 587] {
        for script in [
            &["WHAT"][..],
            &["MAIL FROM:<x@client.example>"],
            &["RCPT TO:<ann@example.test>"],
            &["DATA"],
            &["BDAT x"],
            &["HELO"],
            &["EHLO client.example", "MAIL FROM:x"],
            &["EHLO client.example", "MAIL FROM:<x@client.example> SIZE=99999999"],
            &["EHLO client.example", "MAIL FROM:<x@client.example> NONSENSE=1"],
            &["EHLO client.example", "RCPT TO:<ann@example.test>"],
            &["EHLO client.example", "DATA"],
            &["EHLO client.example", "AUTH NONSENSE"],
            &["EHLO client.example", "AUTH PLAIN =="],
            &["EHLO client.example", "AUTH PLAIN AGFubkBleGFtcGxlLnRlc3QAd3Jvbmc="],
            &["EHLO client.example", "STARTTLS now"],
            &["EHLO client.example", "VRFY"],
            &["EHLO client.example", "EXPN list"],
            &["EHLO client.example", "ETRN example.test"],
            &["EHLO client.example", "MAIL FROM:<x@client.example>", "MAIL FROM:<x@client.example>"],
            &["EHLO client.example", "MAIL FROM:<x@client.example>", "DATA"],
            &["EHLO client.example", "MAIL FROM:<x@client.example>", "RCPT TO:<nobody@example.test>"],
            &["EHLO client.example", "MAIL FROM:<x@client.example>", "RCPT TO:<x@elsewhere.example>"],
            &["EHLO client.example", "MAIL FROM:<x@client.example>", "RCPT TO:x"],
            &["EHLO client.example", "MAIL FROM:<x@client.example>", "RCPT TO:<ann@example.test> X=1"],
        ] {
            let mut client = system.connect(port);
            client.hear(&["220 "]);
            for line in script {
                let answer = client.ask(line, &["2", "3", "4", "5"]);
                // A reply of several lines is heard to its end.
                let rest = if answer.as_bytes().get(3) == Some(&b'-') { client.hear(&["250 "]) } else { answer };
                said.push((*line, rest));
            }
        }
    }
    let (looping, large) = ("Received: x\r\n".repeat(101), "x".repeat(100_000));
    for header in ["Subject : x\r\n", "Subject: a\rb\r\n", &looping, &large] {
        let mut client = smtp(&system);
        client.ask("MAIL FROM:<x@client.example>", &["250 "]);
        client.ask("RCPT TO:<ann@example.test>", &["250 "]);
        client.ask("DATA", &["354 "]);
        client.say(&format!("{header}\r\nx\r\n.\r\n"));
        said.push((&header[..7], client.hear(&["2", "4", "5"])));
    }
    let refusals = said.iter().filter(|(_, answer)| answer.starts_with(['4', '5'])).count();
    assert!(refusals > 40, "{refusals} refusals");
    for (line, answer) in said.iter().filter(|(_, answer)| answer.starts_with(['4', '5'])) {
        let mut parts = answer.trim_end().splitn(3, ' ');
        let (basic, enhanced) = (parts.next().unwrap(), parts.next().unwrap());
        let words = parts.next().unwrap_or_default();
        let numbers: Vec<&str> = enhanced.split('.').collect();
        assert!(basic.len() == 3 && numbers.len() == 3, "{line}: {answer}");
        assert!(numbers.iter().all(|number| number.parse::<u16>().is_ok()), "{line}: {answer}");
        assert_eq!(basic.get(..1), Some(numbers[0]), "{line}: {answer}");
        assert!(words.split(' ').count() >= 3, "{line}: {answer}");
    }
}

/// A submission of Ann's, behind AUTH.
fn submission(system: &System, hello: &str) -> mailwright_e2e::Conversation {
    let mut client = system.connect(587);
    client.hear(&["220 "]);
    client.ask(&format!("EHLO {hello}"), &["250 "]);
    client.ask("AUTH PLAIN AGFubkBleGFtcGxlLnRlc3QAYW5uLXNlY3JldA==", &["235 "]);
    client
}

/// All of a maildrop, each message as it comes.
fn maildrop(system: &System, name: &str) -> Vec<String> {
    let mut pop3 = system.connect(110);
    pop3.hear(&["+OK"]);
    pop3.ask(&format!("USER {name}@example.test"), &["+OK"]);
    pop3.ask(&format!("PASS {name}-secret"), &["+OK"]);
    let count = pop3.ask("STAT", &["+OK"]);
    let count: usize = count.split(' ').nth(1).unwrap().parse().unwrap();
    let messages = (1..=count).map(|number| pop3.ask(&format!("RETR {number}"), &[".\r\n"])).collect();
    pop3.ask("QUIT", &["+OK"]);
    messages
}

#[test]
fn bare_line_feeds_of_our_own_become_line_ends() {
    // rule 10
    let system = System::new();
    let _all = system.start("mailctl");
    let lines = "From: ann@example.test\r\nSubject: one\n two\n\nb\n\nc\n";
    let mut lmtp = system.connect(24);
    lmtp.hear(&["220 "]);
    lmtp.ask("LHLO client.example", &["250 "]);
    for mut client in [submission(&system, "client.example"), lmtp] {
        client.ask("MAIL FROM:<ann@example.test>", &["250 "]);
        client.ask("RCPT TO:<bob@example.test>", &["250 "]);
        client.ask("DATA", &["354 "]);
        client.say(&format!("{lines}\r\n.\r\n"));
        client.hear(&["250 "]);
    }
    let mut imap = system.connect(143);
    imap.hear(&["* OK"]);
    imap.ask("a LOGIN bob@example.test bob-secret", &["a OK"]);
    imap.say(&format!("b APPEND INBOX {{{}+}}\r\n{lines}\r\n", lines.len()));
    imap.hear(&["b OK"]);
    let messages = maildrop(&system, "bob");
    assert_eq!(messages.len(), 3);
    for message in messages {
        assert!(!message.replace("\r\n", "").contains(['\r', '\n']), "{message:?}");
        assert!(message.contains("Subject: one\r\n two\r\n\r\nb\r\n\r\nc\r\n"), "{message:?}");
    }
}

#[test]
fn submissions_are_judged_by_their_author_and_completed() {
    // rule 16
    let system = System::new();
    let config = std::fs::read_to_string(system.config()).unwrap();
    std::fs::write(system.config(), config.replace("hide_client_address = false", "hide_client_address = true"))
        .unwrap();
    let _all = system.start("mailctl");
    let large = format!("{}\r\n", "x".repeat(70)).repeat(40_000);
    let table = [
        ("From: ann@example.test\r\n", "x", "250 "),
        ("From: Ann <ANN+detail@example.test>\r\nDate: Fri, 21 Nov 1997 09:55:06 -0600\r\n", "x", "250 "),
        ("From: ann@example.test\r\n", &large, "250 "),
        ("Subject: x\r\n", "x", "550 5.6.0"),
        ("From: \r\n", "x", "550 5.6.0"),
        ("From: undisclosed:;\r\n", "x", "550 5.6.0"),
        ("From: ceo\r\n", "x", "550 5.7.1"),
        ("From: ann@example.test, bob@example.test\r\n", "x", "550 5.7.1"),
        ("From: team: bob@example.test;\r\n", "x", "550 5.7.1"),
        ("From: bob@example.test\r\n", &large, "550 5.7.1"),
        ("From: ann@example.test\r\nFrom: bob@example.test\r\n", "x", "550 5.7.1"),
    ];
    // The client's name is not judged; nobody's address may send a notification.
    let mut client = submission(&system, "my_laptop");
    for (number, (header, body, expected)) in table.into_iter().enumerate() {
        let sender = if number % 2 == 0 { "ann@example.test" } else { "" };
        client.ask(&format!("MAIL FROM:<{sender}>"), &["250 "]);
        client.ask("RCPT TO:<bob@example.test>", &["250 "]);
        client.ask("DATA", &["354 "]);
        client.say(&format!("{header}\r\n{body}\r\n.\r\n"));
        let answer = client.hear(&["2", "4", "5"]);
        assert!(answer.starts_with(expected), "{header:?}: {answer}");
    }
    let messages = maildrop(&system, "bob");
    assert_eq!(messages.len(), 3);
    for message in messages {
        assert_eq!(message.matches("\r\nDate: ").count(), 1);
        assert_eq!(message.matches("\r\nMessage-ID: <").count(), 1);
        let header = message.split_once("\r\n\r\n").unwrap().0;
        assert!(header.contains("Received: from submission\r\n"), "{header}");
        assert!(!header.contains("127.0.0.1") && !header.contains("my_laptop"), "{header}");
    }
}
