//! The rules that this crate makes true.

use smtp::client::{Client, ClientConfig, ClientMode};
use smtp::server::{Config, Mode, Told};
use smtp::{HelloName, Leniency, Reply};
use std::sync::Arc;
use wire::{Output, Session};

use crate::application::{greeted, mechanisms, serve};
use crate::drive::{Did, Driven};
use crate::smtp;

#[test]
fn rule_10_submission_and_lmtp_normalise_bare_line_feeds() {
    for mode in [Mode::Submission, Mode::Lmtp] {
        let (mut server, got) = greeted(Config { require_auth: false, ..Config::new(mode, "mx.example") });
        server.feed(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n");
        server.feed(b"one\ntwo\n.\nthree\rfour\r\n.\r\nQUIT\r\n");
        assert!(server.said().ends_with("250 2.0.0 queued as 1\r\n221 2.0.0 goodbye\r\n"));
        assert_eq!(got.borrow().messages[0].content, b"one\r\ntwo\r\n.\r\nthree four\r\n");
    }
    assert_eq!(Config::new(Mode::Smtp, "x").bare_newline, smtp::server::BareNewline::Refuse);
}

#[test]
fn rule_11_nothing_in_clear_behind_starttls_is_obeyed() {
    let config = || Config { starttls: true, ..Config::new(Mode::Smtp, "mx.example") };
    let (mut server, _) = greeted(config());
    server.feed(b"STARTTLS\r\nMAIL FROM:<evil@client.example>\r\n");
    assert_eq!(server.said(), "554 5.7.0 nothing may follow STARTTLS before its reply\r\n");
    assert!(server.log.iter().any(|did| matches!(did, Did::Event(name) if name.contains("ClearTextBehindStartTls"))));
    assert!(server.closed && !server.log.contains(&Did::StartTls));

    // Cut elsewhere: the session leaves the octets to the driver, which closes.
    let (mut server, _) = greeted(config());
    server.feed(b"STARTTLS\r\n");
    assert!(server.log.contains(&Did::StartTls) && !server.reads);
    server.input.extend_from_slice(b"MAIL FROM:<evil@client.example>\r\n");
    let length = server.input.len();
    let now = server.now;
    server.session.handle_input(now, &mut server.input);
    assert_eq!(server.input.len(), length);
}

#[test]
fn rule_11_a_client_refuses_octets_behind_the_reply_to_starttls() {
    let name = HelloName::try_from("client.example").expect("a name");
    let config = ClientConfig::new(ClientMode::Smtp, name);
    let mut client = Driven::new(|now| Client::new(Arc::new(config), now), |body: Vec<u8>| body, |_| None);
    client.feed(b"220 mx.example\r\n250-mx.example\r\n250 STARTTLS\r\n220 go\r\n250-injected\r\n");
    assert!(client.closed && !client.log.contains(&Did::StartTls));
    assert!(client.log.iter().any(|did| matches!(did, Did::Event(name) if name.contains("InjectedOctets"))));
}

#[test]
fn rule_12_auth_is_never_offered_on_port_25() {
    let mut config = Config::new(Mode::Smtp, "mx.example");
    config.mechanisms = mechanisms(&["PLAIN"]);
    config.allow_plaintext_auth = true;
    let (mut server, _) = serve(config);
    server.run();
    server.feed(b"EHLO client.example\r\nAUTH PLAIN AHVzZXIAcGFzcw==\r\n");
    let said = server.said();
    assert!(!said.contains("250-AUTH") && said.contains("502 5.5.1 AUTH is not offered here"), "{said}");
}

#[test]
fn rule_12_paths_that_try_to_relay_are_told_apart_or_refused() {
    // What relays is decided above; here such a path is a path, as it was written, or no path.
    for (path, accepted) in [
        ("<a%b@local.example>", true),
        ("<b!a@local.example>", true),
        ("<\"a@b\"@local.example>", true),
        ("<a@[192.0.2.1]>", true),
        ("<a@b@local.example>", false),
        ("<a@local.example\0>", false),
        ("<a@local.example>x", false),
    ] {
        let line = format!("RCPT TO:{path}");
        let parsed = smtp::Command::parse(line.as_bytes(), &Leniency::default());
        assert_eq!(parsed.is_ok(), accepted, "{path}: {parsed:?}");
        if let Ok(smtp::Command::Rcpt { forward_path, .. }) = parsed {
            assert_eq!(forward_path.to_string(), path);
        }
    }
}

#[test]
fn rule_13_content_is_taken_octet_by_octet() {
    let (mut server, got) = greeted(Config::new(Mode::Smtp, "mx.example"));
    let content = [&b"From evil Mon\r\nX-Long: "[..], &[b'x'; 100_000], b"\r\n\r\n\xff\xfe\0raw\r\n"].concat();
    server.feed(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n");
    server.feed(&content);
    server.feed(b".\r\n");
    assert_eq!(got.borrow().messages[0].content, content);
    // One buffer, one piece: the fast path.
    assert_eq!(got.borrow().messages[0].pieces, 1);
}

#[test]
fn rule_13_tolerated_and_refused_at_will() {
    for line in ["MAIL FROM: <a@b.example>", "EHLO my_host", "EHLO 192.0.2.1", "MAIL FROM:a@b.example"] {
        assert!(smtp::Command::parse(line.as_bytes(), &Leniency::default()).is_ok(), "{line}");
        assert!(smtp::Command::parse(line.as_bytes(), &Leniency::strict()).is_err(), "{line}");
    }
}

#[test]
fn rule_17_every_refusal_has_an_enhanced_code_and_words() {
    let mut config = Config::new(Mode::Submission, "mx.example");
    config.mechanisms = mechanisms(&["PLAIN"]);
    config.starttls = true;
    config.limits.errors = 1000;
    let (mut server, _) = serve(config);
    server.run();
    server.log.clear();
    let long = format!("NOOP {}", "x".repeat(5000));
    for line in [
        "",
        " ",
        "FOO",
        "MAIL",
        "MAIL FROM:",
        "MAIL FROM:<a@b.example>",
        "RCPT TO:<a@b.example>",
        "DATA",
        "BDAT 0",
        "BDAT",
        "EHLO",
        "LHLO x",
        "EHLO x",
        "MAIL FROM:<a@b.example>",
        "AUTH",
        "AUTH PLAIN",
        "AUTH FOO",
        "EXPN x",
        "ETRN x",
        "TURN",
        "VRFY",
        "RSET x",
        "QUIT x",
        "STARTTLS x",
        "\u{1}",
        "MAIL FROM:<a@b.example> FOO=1",
        &long,
    ] {
        server.feed(format!("{line}\r\n").as_bytes());
        let said = server.said();
        let last = said.lines().last().unwrap_or_default().to_owned();
        if last.starts_with('2') {
            continue;
        }
        let (code, text) = last.split_at(4);
        assert!(code.starts_with(['4', '5']), "{line}: {said}");
        let enhanced = smtp::EnhancedCode::at_front_of(text);
        let (enhanced, words) = enhanced.unwrap_or_else(|| panic!("{line}: {said}"));
        assert_eq!(enhanced.class().to_string(), code[..1]);
        assert!(words.len() > 8, "{line}: {said}");
    }
}

#[test]
fn rule_20_dsn_is_understood_always_and_offered_by_setting() {
    for dsn in [false, true] {
        let (mut server, _) = serve(Config { dsn, ..Config::new(Mode::Smtp, "mx.example") });
        server.run();
        server.feed(b"EHLO client.example\r\n");
        assert_eq!(server.said().contains("DSN"), dsn);
        server.feed(b"MAIL FROM:<a@b.example> RET=FULL ENVID=1\r\nRCPT TO:<b@mx.example> NOTIFY=NEVER\r\n");
        assert_eq!(server.said(), "250 2.1.0 sender ok\r\n250 2.1.5 recipient ok\r\n");
    }
}

#[test]
fn rule_8_a_session_can_be_closed_from_above() {
    let (mut server, _) = greeted(Config::new(Mode::Smtp, "mx.example"));
    server.tell(Told::Close(Reply::new(421, "4.7.0 the account was disabled")));
    assert_eq!(server.said(), "421 4.7.0 the account was disabled\r\n");
    assert!(server.closed);
    assert!(matches!(server.session.poll(), Output::Close));
}

#[test]
fn secrets_are_not_printed() {
    let command = smtp::Command::parse(b"AUTH PLAIN AHVzZXIAcGFzcw==", &Leniency::default());
    assert!(!format!("{command:?}").contains("112"), "{command:?}");
    assert!(format!("{command:?}").contains("Secret(..)"));
}
