//! Exim as the next hop, as the one before us, and as a smarthost.

use mailwright_e2e::authority::Authority;
use mailwright_e2e::peers::exim::Exim;
use mailwright_e2e::{System, wait_until};
use trace::Outcome;

use super::{Sender, inbox, site, understood};

fn exim(system: &System, settings: &str) -> (Exim, u16) {
    let (folder, port) = site(system, "exim");
    let certified = Authority::new().certify(&folder, &["mail.exim.test"]);
    (Exim::start(&folder, port, system.port(25), &certified, settings), port)
}

#[test]
fn exim_is_the_next_hop() {
    let system = System::relaying();
    let (exim, port) = exim(&system, "message_size_limit = 100000");
    system.route(&format!("recipient_domain = \"exim.test\"\nrelay_host = \"127.0.0.1\"\nrelay_port = {port}"));
    let all = system.start("mailctl");
    let mut ann = Sender::ann(&system);

    let id = ann.queue(
        "<ann@example.test> BODY=8BITMIME",
        &["<a@exim.test>", "<nobody@exim.test>", "<b@exim.test>"],
        "Subject: for three\r\n\r\n.leading dot\r\näöü\r\nend",
    );
    system.wait_for(&id, Outcome::Delivered, 2);
    let refused = system.wait_for(&id, Outcome::Failed, 1);
    assert_eq!(refused.recipient, "nobody@exim.test");
    // For Exim it is one message to two, which it keeps as one file of each.
    let mail = wait_until("both copies", || Some(exim.mail()).filter(|mail| !mail.is_empty()));
    assert!(mail.iter().all(|message| message.contains("\n.leading dot\näöü\nend\n")), "{mail:?}");
    let log = exim.log();
    let received = log.lines().find(|line| line.contains("<= ann@example.test")).unwrap_or_else(|| panic!("{log}"));
    // By BDAT (K), pipelined (L), under TLS, in one transaction.
    assert!(received.contains(" P=esmtps ") && received.contains(" X=TLS1.3:"), "{received}");
    assert!(received.contains(" K ") && received.contains(" L. "), "{received}");
    assert!(received.contains("for a@exim.test b@exim.test") && received.contains(" M8S=8"), "{received}");
    let report = inbox(&system, "ann").pop().unwrap();
    let text = understood(&report);
    // Exim says no enhanced codes.
    assert!(text.contains("Status: 5.1.1") && text.contains("there is nobody of that name"), "{text}");

    let id = ann.queue(
        "<ann@example.test> RET=HDRS ENVID=our+2Bid",
        &["<c@exim.test> NOTIFY=SUCCESS ORCPT=rfc822;first@elsewhere.test"],
        "Subject: report\r\n\r\nx",
    );
    system.wait_for(&id, Outcome::Delivered, 1);
    let report = wait_until("the report of Exim", || inbox(&system, "ann").into_iter().nth(1));
    let text = understood(&report).replace("; ", ";");
    for expected in ["Original-Envelope-ID: our+2Bid", "Action: delivered", "first@elsewhere.test"] {
        assert!(text.contains(expected) || report.contains(expected), "{expected}: {text}\n{report}");
    }

    let id =
        ann.queue("<ann@example.test> SMTPUTF8 BODY=8BITMIME", &["<jürgen@exim.test>"], "Subject: grüße\r\n\r\näöü €");
    system.wait_for(&id, Outcome::Delivered, 1);
    wait_until("mail in UTF-8", || exim.mail().into_iter().find(|message| message.contains("grüße")));
    assert!(exim.log().contains("P=utf8esmtps"), "{}", exim.log());

    let id = ann.queue("<ann@example.test>", &["<a@exim.test>"], &"0123456789abcdef\r\n".repeat(6_000));
    system.wait_for(&id, Outcome::Failed, 1);
    let report = wait_until("the report", || inbox(&system, "ann").into_iter().nth(2));
    assert!(understood(&report).contains("Status: 5.3.4"), "{report}");
    assert!(all.stop());
}

#[test]
fn exim_is_the_hop_before() {
    let system = System::relaying();
    let (exim, port) = exim(&system, "");
    let all = system.start("mailctl");
    for (number, from) in ["tls@exim.test", "clear@exim.test"].into_iter().enumerate() {
        Sender::at(port).send(
            &format!("<{from}> SMTPUTF8 BODY=8BITMIME"),
            &["<ann@example.test>", "<ghost@example.test>"],
            "Subject: grüße\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nfrom exim: äöü\r\n.dots",
        );
        let message = wait_until("the message", || inbox(&system, "ann").into_iter().nth(number));
        assert!(message.contains("from exim: äöü\r\n..dots\r\n"), "{message}");
        let with = if number == 1 { "with UTF8SMTP\r\n" } else { "with UTF8SMTPS\r\n" };
        assert!(message.contains("Received: from mail.exim.test") && message.contains(with), "{message}");
        let bounce = wait_until("the bounce", || exim.mail().into_iter().nth(number));
        assert!(bounce.contains("550 5.1.1 there is nobody of that name here"), "{bounce}");
        let log = exim.log();
        let sent = log.lines().find(|line| line.contains("=> ann@example.test") && line.contains(from));
        let sent = sent.or_else(|| log.lines().rfind(|line| line.contains("=> ann@example.test"))).unwrap();
        assert!(
            sent.contains(" K ") && sent.contains("C=\"250- ") | sent.contains("C=\"250 2.0.0 queued as"),
            "{sent}"
        );
        assert_eq!(sent.contains("X=TLS1.3"), number == 0, "{sent}");
    }
    assert!(all.stop());
}

#[test]
fn exim_is_a_smarthost() {
    let system = System::relaying();
    let (exim, port) = exim(&system, "");
    std::fs::write(system.path("right"), "secret\n").unwrap();
    std::fs::write(system.path("wrong"), "guess\n").unwrap();
    for (domain, file) in [("exim.test", "right"), ("elsewhere.test", "wrong")] {
        system.route(&format!(
            "recipient_domain = \"{domain}\"\nrelay_host = \"127.0.0.1\"\nrelay_port = {port}\ntls = \"required\"\n\
             user = \"us\"\npassword_file = \"{file}\""
        ));
    }
    let all = system.start("mailctl");
    let mut ann = Sender::ann(&system);
    let id = ann.queue("<ann@example.test>", &["<a@exim.test>"], "Subject: logged in\r\n\r\nx");
    system.wait_for(&id, Outcome::Delivered, 1);
    assert!(exim.log().contains("P=esmtpsa") && exim.log().contains("A=plain:us"), "{}", exim.log());
    // Wrong credentials are the operator's to mend: nothing is lost.
    let id = ann.queue("<ann@example.test>", &["<a@elsewhere.test>"], "Subject: x\r\n\r\nx");
    let attempt = system.wait_for(&id, Outcome::Deferred, 1);
    let trouble = attempt.trouble.unwrap();
    assert!(trouble.starts_with("the relay does not let us log in: 535"), "{trouble}");
    let log = all.log();
    assert!(log.lines().any(|line| line.contains(&id) && line.contains("does not let us log in")), "{log}");
    assert!(!log.contains("guess"), "a secret is in the log: {log}");
    assert_eq!(system.queue().len(), 1);
    // Mended, the mail goes.
    std::fs::write(system.path("wrong"), "secret\n").unwrap();
    assert!(all.stop());
    let _all = system.start("mailctl");
    system.wait_for(&id, Outcome::Delivered, 1);
}
