//! Postfix as the next hop, and as the one before us.

use std::net::{Ipv4Addr, SocketAddr};

use mailwright_e2e::authority::Authority;
use mailwright_e2e::peers::postfix::{Postfix, Service};
use mailwright_e2e::{System, wait_until};
use trace::Outcome;

use super::{Sender, inbox, site, understood};

/// A Postfix for `postfix.test` that sends the mail for `example.test` to us.
fn postfix(system: &System, settings: &str) -> (Postfix, u16) {
    let (folder, port) = site(system, "postfix");
    let certified = Authority::new().certify(&folder, &["mail.postfix.test"]);
    let settings = format!(
        "myhostname = mail.postfix.test
smtpd_tls_security_level = may
smtpd_tls_cert_file = {}
smtpd_tls_key_file = {}
message_size_limit = 100000
smtpd_recipient_restrictions = check_recipient_access inline:{{ {{nobody@postfix.test = 550 5.1.1 nobody of that name}}, \
         {{later@postfix.test = 450 4.2.0 not now}} }}, permit_mynetworks, reject
transport_maps = inline:{{ {{example.test = smtp:[127.0.0.1]:{}}} }}
{settings}
",
        certified.certificate.display(),
        certified.key.display(),
        system.port(25)
    );
    let place = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    (Postfix::site(&folder, "postfix.test", &[Service { place, settings: Vec::new() }], &settings), port)
}

#[test]
fn postfix_is_the_next_hop() {
    let system = System::relaying();
    let (postfix, port) = postfix(&system, "");
    system.route(&format!("recipient_domain = \"postfix.test\"\nrelay_host = \"127.0.0.1\"\nrelay_port = {port}"));
    let all = system.start("mailctl");
    let mut ann = Sender::ann(&system);

    // Several recipients, one of whom is refused.
    let id = ann.queue(
        "<ann@example.test>",
        &["<a@postfix.test>", "<nobody@postfix.test>", "<b@postfix.test>"],
        "Subject: for three\r\n\r\n.leading dot\r\nend",
    );
    let attempt = system.wait_for(&id, Outcome::Delivered, 2);
    assert!(attempt.tls.as_deref().is_some_and(|tls| tls.starts_with("TLS1.3")), "{attempt:?}");
    let refused = system.wait_for(&id, Outcome::Failed, 1);
    assert_eq!(refused.recipient, "nobody@postfix.test");
    assert!(refused.reply.as_deref().is_some_and(|reply| reply.contains("5.1.1")), "{refused:?}");
    let mail = wait_until("both copies", || Some(postfix.mail()).filter(|mail| mail.len() == 2));
    assert!(mail.iter().all(|message| message.contains("\n.leading dot\nend\n")), "{mail:?}");
    assert!(postfix.log().contains("nrcpt=2"), "one transaction: {}", postfix.log());
    assert!(postfix.log().contains("TLS connection established from"), "{}", postfix.log());
    let report = inbox(&system, "ann").pop().unwrap();
    let text = understood(&report);
    for expected in [
        "part: multipart/report delivery-status",
        "part: message/delivery-status",
        "Reporting-MTA: dns;",
        "Final-Recipient: rfc822;nobody@postfix.test",
        "Action: failed",
        "Status: 5.1.1",
        "nobody of that name",
    ] {
        assert!(text.replace("; ", ";").contains(expected), "{expected}: {text}\n{report}");
    }

    // What the sender asks for is told on, and Postfix reports it.
    let content = "Subject: report\r\n\r\nx";
    let id = ann.queue(
        "<ann@example.test> RET=HDRS ENVID=our+2Bid",
        &["<c@postfix.test> NOTIFY=SUCCESS ORCPT=rfc822;first@elsewhere.test"],
        content,
    );
    system.wait_for(&id, Outcome::Delivered, 1);
    let report = wait_until("the report of Postfix", || inbox(&system, "ann").into_iter().nth(1));
    let text = understood(&report).replace("; ", ";");
    for expected in [
        "Original-Envelope-Id: our+id",
        "Original-Recipient: rfc822;first@elsewhere.test",
        "Final-Recipient: rfc822;c@postfix.test",
        "Action: delivered",
        "Reporting-MTA: dns;mail.postfix.test",
    ] {
        assert!(text.contains(expected), "{expected}: {text}\n{report}");
    }

    // Addresses, header and body beyond ASCII.
    let id = ann.queue(
        "<ann@example.test> SMTPUTF8 BODY=8BITMIME",
        &["<jürgen@postfix.test>"],
        "Subject: grüße\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\näöü €",
    );
    system.wait_for(&id, Outcome::Delivered, 1);
    wait_until("mail in UTF-8", || {
        postfix.mail().into_iter().find(|message| {
            message.contains("jürgen@postfix.test") && message.contains("grüße") && message.contains("\näöü €\n")
        })
    });

    // Larger than it takes: known before anything is sent.
    let id = ann.queue("<ann@example.test>", &["<a@postfix.test>"], &"0123456789abcdef\r\n".repeat(6_000));
    let attempt = system.wait_for(&id, Outcome::Failed, 1);
    assert!(attempt.trouble.as_deref().is_some_and(|trouble| trouble.contains("larger")), "{attempt:?}");
    let report = wait_until("the report", || inbox(&system, "ann").into_iter().nth(2));
    assert!(understood(&report).contains("Status: 5.3.4"), "{report}");

    // Not now: it waits.
    let id = ann.queue("<ann@example.test>", &["<later@postfix.test>"], content);
    let attempt = system.wait_for(&id, Outcome::Deferred, 1);
    assert!(attempt.reply.as_deref().is_some_and(|reply| reply.contains("450")), "{attempt:?}");
    assert_eq!(system.queue().len(), 1);
    assert!(all.log().contains("deferred"), "{}", all.log());
    assert!(all.stop());
}

#[test]
fn postfix_is_the_hop_before() {
    let system = System::relaying();
    let all = system.start("mailctl");
    for level in ["encrypt", "none"] {
        let (postfix, port) = postfix(&system, &format!("smtp_tls_security_level = {level}"));
        let before = inbox(&system, "ann").len();
        let mut sender = Sender::at(port);
        sender.send(
            "<x@postfix.test> SMTPUTF8 BODY=8BITMIME",
            &["<ann@example.test>", "<ghost@example.test>"],
            "Subject: grüße\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nfrom postfix: äöü\r\n.dots",
        );
        let message = wait_until("the message", || inbox(&system, "ann").into_iter().nth(before));
        assert!(
            message.contains("Subject: =?UTF-8?B?Z3LDvMOfZQ==?=\r\n") && message.contains("from postfix: äöü\r\n"),
            "{message}"
        );
        let with = if level == "none" { "with UTF8SMTP\r\n" } else { "with UTF8SMTPS\r\n" };
        assert!(message.contains("Received: from mail.postfix.test") && message.contains(with), "{message}");
        // The other one does not exist: Postfix tells its own user so, in our words.
        let report = wait_until("the bounce", || postfix.mail().pop());
        assert!(understood(&report).contains("5.1.1"), "{report}");
        assert!(postfix.log().contains("status=sent (250 2.0.0 queued as"), "{}", postfix.log());
    }
    assert!(all.stop());
}
