//! `smtp-sink` with each of its faults as the next hop: what can pass is tried again, what cannot is returned, nothing is
//! lost.

use mailwright_e2e::peers::postfix::SmtpSink;
use mailwright_e2e::{System, wait_until};
use trace::Outcome::{self, Deferred, Delivered, Failed};

use super::{Sender, inbox, understood};

/// The options of `smtp-sink` (but for -A, whose 550 in the middle of a message may or may not be heard before its reset), what becomes of a message, and what the trace says of it.
const FAULTS: &[(&[&str], Outcome, &str)] = &[
    // Hard refusals.
    // RFC 7504 §3: a host that takes no mail says so in its greeting.
    (&["-f", "connect"], Failed, "500"),
    (&["-f", "ehlo"], Delivered, "250"),
    (&["-f", "ehlo,helo"], Failed, "500"),
    (&["-f", "mail"], Failed, "500"),
    (&["-f", "rcpt"], Failed, "500"),
    (&["-f", "data"], Failed, "500"),
    (&["-f", "."], Failed, "500"),
    (&["-f", "quit"], Delivered, "250"),
    // Soft refusals.
    (&["-r", "connect"], Deferred, "4"),
    (&["-r", "ehlo"], Deferred, "4"),
    (&["-r", "mail"], Deferred, "4"),
    (&["-r", "rcpt"], Deferred, "4"),
    (&["-r", "data"], Deferred, "4"),
    (&["-r", "."], Deferred, "4"),
    (&["-r", "quit"], Delivered, "250"),
    // The end of the connection without a word.
    (&["-q", "connect"], Deferred, ""),
    (&["-q", "ehlo"], Deferred, ""),
    (&["-q", "mail"], Deferred, ""),
    (&["-q", "rcpt"], Deferred, ""),
    (&["-q", "data"], Deferred, ""),
    (&["-q", "."], Deferred, "may arrive twice"),
    (&["-q", "quit"], Delivered, "250"),
    // The same with a word.
    (&["-Q", "connect"], Deferred, "421"),
    (&["-Q", "ehlo"], Deferred, "421"),
    (&["-Q", "mail"], Deferred, "421"),
    (&["-Q", "rcpt"], Deferred, "421"),
    (&["-Q", "data"], Deferred, "421"),
    (&["-Q", "."], Deferred, "421"),
    (&["-Q", "quit"], Delivered, "250"),
    // Less than others offer.
    (&["-a"], Delivered, "250"),
    (&["-e"], Delivered, "250"),
    (&["-p"], Delivered, "250"),
    (&["-8"], Delivered, "250"),
    (&["-E"], Delivered, "250"),
    (&["-P"], Delivered, "250"),
    // Slow.
    (&["-w", "1"], Delivered, "250"),
    // It mixes the replies of pipelined commands up when it delays one.
    (&["-p", "-h", "sink.test", "-W", "mail:1"], Delivered, "250"),
];

#[test]
fn faults_of_the_next_hop_lose_nothing() {
    let system = System::relaying();
    system.set("delivery.retry", "first_seconds", "60");
    let sinks: Vec<SmtpSink> = FAULTS.iter().map(|(options, ..)| SmtpSink::start(options)).collect();
    for (number, sink) in sinks.iter().enumerate() {
        system.route(&format!(
            "recipient_domain = \"fault{number}.test\"\nrelay_host = \"127.0.0.1\"\nrelay_port = {}",
            sink.port
        ));
    }
    let all = system.start("mailctl");
    let mut ann = Sender::ann(&system);
    let content =
        "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\näöü\r\n.dot\r\nend";
    let ids: Vec<String> = (0..FAULTS.len())
        .map(|number| ann.queue("<ann@example.test> BODY=8BITMIME", &[&format!("<x@fault{number}.test>")], content))
        .collect();
    let mut wrong = Vec::new();
    for ((options, outcome, words), id) in FAULTS.iter().zip(&ids) {
        let attempt = wait_until("an attempt", || system.attempts(id).into_iter().next());
        let said = attempt.reply.clone().or(attempt.trouble.clone()).unwrap_or_default();
        if attempt.outcome != *outcome || !said.contains(words) {
            wrong.push(format!("{options:?}: {attempt:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Whatever is not delivered or returned waits.
    let waiting = FAULTS.iter().filter(|(_, outcome, _)| *outcome == Deferred).count();
    let returned = FAULTS.iter().filter(|(_, outcome, _)| *outcome == Failed).count();
    assert_eq!(system.queue().len(), waiting, "{:?}", system.queue());
    let reports = inbox(&system, "ann");
    assert_eq!(reports.len(), returned);
    assert!(reports.iter().all(|report| understood(report).contains("Action: failed")));
    for ((options, outcome, _), sink) in FAULTS.iter().zip(&sinks) {
        if *outcome != Delivered {
            continue;
        }
        let taken = sink.taken();
        assert_eq!(taken.len(), 1, "{options:?}");
        // Who does not know 8BITMIME gets ASCII (RFC 6152 §3).
        let encoded = taken[0].contains("=C3=A4=C3=B6=C3=BC");
        let knows = !matches!(options[0], "-8" | "-e" | "-P") && options != &["-f", "ehlo"];
        assert_eq!(encoded, !knows, "{options:?}: {}", taken[0]);
        assert!(
            taken[0].contains("\n=2Edot\nend\n")
                || taken[0].contains("\n.dot\nend\n")
                || taken[0].contains("\n..dot\nend\n"),
            "{options:?}: {}",
            taken[0]
        );
    }
    assert!(all.stop());
}

#[test]
fn reports_that_the_next_hop_cannot_send_come_from_us() {
    // RFC 3461 §5.2.2: it offers no DSN, so success is known as far as there.
    let system = System::relaying();
    let sink = SmtpSink::start(&["-e"]);
    system.route(&format!("recipient_domain = \"sink.test\"\nrelay_host = \"127.0.0.1\"\nrelay_port = {}", sink.port));
    let all = system.start("mailctl");
    let mut ann = Sender::ann(&system);
    let id = ann.queue(
        "<ann@example.test> RET=HDRS ENVID=x+2By",
        &["<a@sink.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;first@elsewhere.test", "<b@sink.test> NOTIFY=NEVER"],
        "Subject: to be reported\r\n\r\nthe body\r\n",
    );
    system.wait_for(&id, Delivered, 2);
    let report = wait_until("the report", || inbox(&system, "ann").pop());
    let text = understood(&report).replace("; ", ";");
    for expected in [
        "Original-Envelope-Id: x+y",
        "Original-Recipient: rfc822;first@elsewhere.test",
        "Final-Recipient: rfc822;a@sink.test",
        "Action: relayed",
        "Status: 2.",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("b@sink.test") && !report.contains("the body"), "{report}");
    assert!(all.stop());
}
