//! OpenSMTPD as the next hop, and as the one before us.

use mailwright_e2e::authority::Authority;
use mailwright_e2e::peers::opensmtpd::OpenSmtpd;
use mailwright_e2e::{System, wait_until};
use trace::Outcome;

use super::{Sender, inbox, site};

#[test]
fn opensmtpd_is_before_and_behind() {
    let system = System::relaying();
    let (folder, port) = site(&system, "opensmtpd");
    let certified = Authority::new().certify(&folder, &["mail.open.test"]);
    let opensmtpd = OpenSmtpd::start(&folder, port, system.port(25), &certified);
    for (domain, tls) in [("open.test", "opportunistic"), ("clear.open.test", "none"), ("tls.open.test", "required")] {
        system.route(&format!(
            "recipient_domain = \"{domain}\"\nrelay_host = \"127.0.0.1\"\nrelay_port = {port}\ntls = \"{tls}\""
        ));
    }
    let all = system.start("mailctl");
    let mut ann = Sender::ann(&system);
    // Debian 12's OpenSMTPD offers STARTTLS and cannot shake hands (OpenSMTPD/OpenSMTPD#1171, #1239): just the server for
    // which opportunistic TLS is tried once more in clear, and which demanded TLS does not reach (rule 36).
    for (number, domain) in ["open.test", "clear.open.test"].into_iter().enumerate() {
        let (a, b) = (format!("<a@{domain}>"), format!("<b@{domain}>"));
        let id = ann.queue("<ann@example.test>", &[&a, &b], "Subject: x\r\n\r\n.dot\r\nend");
        let attempt = system.wait_for(&id, Outcome::Delivered, 2);
        let policy = attempt.policy.as_deref();
        match number {
            0 => assert!(attempt.tls.is_some() || policy == Some("clear after a failed handshake"), "{attempt:?}"),
            _ => assert_eq!((attempt.tls.as_deref(), policy), (None, Some("none")), "{attempt:?}"),
        }
        let mail = wait_until("both copies", || Some(opensmtpd.mail()).filter(|mail| mail.len() == 2 * number + 2));
        assert!(mail.iter().all(|message| message.contains("\n.dot\nend\n")), "{mail:?}");
    }
    let id = ann.queue("<ann@example.test>", &["<a@tls.open.test>"], "Subject: x\r\n\r\nx");
    let attempt = wait_until("an attempt", || system.attempts(&id).pop());
    match attempt.outcome {
        Outcome::Deferred => assert!(attempt.trouble.unwrap().starts_with("no secure connection"), "{id}"),
        _ => assert!(attempt.tls.is_some(), "{attempt:?}"),
    }
    for (number, from) in ["tls@open.test", "clear@open.test"].into_iter().enumerate() {
        Sender::at(port).send(&format!("<{from}>"), &["<bob@example.test>"], "Subject: back\r\n\r\n.dot\r\nend");
        let message = wait_until("the message", || inbox(&system, "bob").into_iter().nth(number));
        let with = if number == 0 { "with ESMTPS\r\n" } else { "with ESMTP\r\n" };
        assert!(message.contains(with) && message.contains("\r\n..dot\r\nend\r\n"), "{message}");
    }
    assert!(all.stop());
}
