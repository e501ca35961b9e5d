//! Milters of others in the whole system, and one that is not there.

use mailwright_e2e::peers::opendkim::OpenDkim;
use mailwright_e2e::sink::{Mood, Sink};
use mailwright_e2e::{System, wait_until};
use trace::Outcome::Delivered;
use trace::Step;

use super::{Sender, inbox, site};

#[test]
fn opendkim_signs_what_leaves_and_verifies_what_comes() {
    let system = System::relaying();
    let (folder, _) = site(&system, "opendkim");
    let (signer, verifier) = (OpenDkim::signer(&folder), OpenDkim::verifier(&folder));
    let sink = Sink::start(|_| Mood::Take);
    for (name, port, listener) in [("sign", signer.port, "submission"), ("verify", verifier.port, "smtp")] {
        system.append(&format!(
            "[[milter]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\nlisteners = [\"{listener}\"]\n"
        ));
    }
    system.route(&format!("recipient_domain = \"sink.test\"\nrelay_host = \"127.0.0.1\"\nrelay_port = {}", sink.port));
    let all = system.start("mailctl");
    // Dots, white space at ends of lines, long lines, empty lines at the end: a signature forgives nothing of it.
    let content = format!(
        "To: x@sink.test\r\nSubject:odd \t folding\r\n  of it\r\n\r\n.dot\r\n..\r\ntrailing \t \r\n{}\r\näöü\r\n\r\n\r\n",
        "long ".repeat(190)
    );
    let id = Sender::ann(&system).queue("<ann@example.test> BODY=8BITMIME", &["<x@sink.test>"], &content);
    system.wait_for(&id, Delivered, 1);
    let taken = String::from_utf8(sink.taken().pop().unwrap().octets).unwrap();
    assert!(taken.contains("DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=example.test; s=test;"), "{taken}");
    let mut stranger = Sender::at(system.port(25));
    let answer =
        stranger.send("<ann@example.test> BODY=8BITMIME", &["<bob@example.test>"], taken.trim_end_matches("\r\n"));
    assert!(answer.starts_with("250"), "{answer}");
    let changed = taken.replace("trailing", "Trailing");
    stranger.send("<ann@example.test> BODY=8BITMIME", &["<bob@example.test>"], changed.trim_end_matches("\r\n"));
    let messages = wait_until("both", || Some(inbox(&system, "bob")).filter(|messages| messages.len() == 2));
    assert!(
        messages[0].contains("Authentication-Results: mx.example.test;") && messages[0].contains("dkim=pass"),
        "{}",
        messages[0]
    );
    assert!(messages[1].contains("dkim=fail"), "{}", messages[1]);
    assert!(all.stop());
}

#[test]
fn a_milter_that_is_not_there_delays_mail_or_is_done_without() {
    let system = System::relaying();
    for (name, listener, then) in [("strict", "smtp", "tempfail"), ("lax", "submission", "accept")] {
        system.append(&format!(
            "[[milter]]\nname = \"{name}\"\naddress = \"unix:/nowhere/milter\"\non_failure = \"{then}\"\n\
             listeners = [\"{listener}\"]\nconnect_seconds = 1\n"
        ));
    }
    let all = system.start("mailctl");
    let mut stranger = system.connect(25);
    let greeting = stranger.hear(&["220 ", "4"]);
    let refused = if greeting.starts_with('4') {
        greeting
    } else {
        let hello = stranger.ask("EHLO client.example", &["250 ", "4"]);
        if hello.contains("\r\n250 ") || hello.starts_with("250") {
            stranger.ask("MAIL FROM:<x@client.example>", &["2", "4", "5"])
        } else {
            hello
        }
    };
    assert!(
        refused.starts_with("451 4.7.1") || refused.starts_with("451 4.3") || refused.starts_with("421 4"),
        "{refused}"
    );
    let id = Sender::ann(&system).queue("<ann@example.test>", &["<bob@example.test>"], "Subject: x\r\n\r\nx");
    assert_eq!(inbox(&system, "bob").len(), 1);
    let step =
        system.wait_for_step(&id, "word of the milter", |step| matches!(step, Step::Judged { by, .. } if by == "lax"));
    println!("{step}");
    let log = all.log();
    for name in ["strict", "lax"] {
        assert!(log.lines().any(|line| line.contains(name) && line.contains("/nowhere/milter")), "{name}: {log}");
    }
    assert!(all.stop());
}
