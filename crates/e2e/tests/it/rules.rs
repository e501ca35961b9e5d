//! Rules that need a whole system to be seen.

use mailwright_e2e::System;

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
    assert!(client.ask("RCPT TO:<x@elsewhere.example>", &["5", "2"]).starts_with("550 5.4.4"));
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
