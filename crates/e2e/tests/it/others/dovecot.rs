//! Dovecot behind us: mail goes into its mailboxes by LMTP, over a socket and over a port.

use mailwright_e2e::peers::dovecot::Dovecot;
use mailwright_e2e::{System, wait_until};
use trace::Outcome;

use super::{Sender, inbox, site, understood};

#[test]
fn dovecot_takes_mail_by_lmtp() {
    let system = System::relaying();
    let (folder, port) = site(&system, "dovecot");
    let known = ["carl@socket.test", "dora@socket.test", "carl@port.test"];
    let _dovecot = Dovecot::lmtp(&folder, port, &known);
    let socket = folder.join("lmtp");
    for (domain, place) in [
        ("socket.test", format!("socket = \"{}\"", socket.display())),
        ("port.test", format!("relay_host = \"127.0.0.1\"\nrelay_port = {port}")),
    ] {
        system.route(&format!("recipient_domain = \"{domain}\"\naction = \"lmtp\"\n{place}"));
    }
    let all = system.start("mailctl");
    let mut ann = Sender::ann(&system);
    let content = "Subject: by LMTP\r\n\r\n.dot\r\n";
    let to = known.map(|address| format!("<{address}>"));
    let to: Vec<&str> = to.iter().map(String::as_str).chain(["<nobody@socket.test>", "<nobody@port.test>"]).collect();
    let id = ann.queue("<ann@example.test>", &to, content);
    system.wait_for(&id, Outcome::Delivered, 3);
    for address in known {
        let mail = Dovecot::mail(&folder, address);
        assert_eq!(mail.len(), 1, "{address}");
        let message = mail[0].replace("\r\n", "\n");
        assert!(message.starts_with("Return-Path: <ann@example.test>\n"), "{message}");
        assert!(message.contains("\nSubject: by LMTP\n\n.dot\n"), "{message}");
    }
    // Dovecot knows nobody of that name, and its sender is told so in its words.
    system.wait_for(&id, Outcome::Failed, 2);
    let reports = wait_until("the reports", || Some(inbox(&system, "ann")).filter(|reports| !reports.is_empty()));
    let told: String = reports.iter().map(|report| understood(report).replace("; ", ";")).collect();
    for expected in [
        "Final-Recipient: rfc822;nobody@socket.test",
        "Final-Recipient: rfc822;nobody@port.test",
        "Status: 5.1.1",
        "User doesn't exist",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert!(system.queue().is_empty());
    assert!(all.stop());
}
