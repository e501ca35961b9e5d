//! Bad settings and broken helpers: each has a defined result, a line in the log and one in the story of the message.

use mailwright_e2e::{System, program, run};
use trace::Outcome::{Deferred, Delivered, Failed};

use super::{Sender, inbox, site, understood};

#[test]
fn a_transport_loop_is_found_before_anything_starts() {
    for relay in ["127.0.0.1", "mx.example.test", "localhost"] {
        let system = System::relaying();
        system.route(&format!(
            "recipient_domain = \"loop.test\"\nrelay_host = \"{relay}\"\nrelay_port = {}",
            system.port(25)
        ));
        let config = system.config();
        for (name, arguments) in [
            ("mta", &["--config", &config, "--check"][..]),
            ("mailctl", &["--config", &config, "check", "config"]),
            ("mta", &["--config", &config]),
        ] {
            let output = run(program(name), arguments, "");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{name} {arguments:?}: {said}");
            assert!(said.contains("routing rule 1: ") && said.contains("round in circles"), "{name}: {said}");
        }
    }
}

#[test]
fn routes_that_cannot_be_are_named() {
    for (route, words) in [
        ("relay_host = \"a b\"", "relay_host"),
        ("relay_host = \"mail.test\"\nuser = \"us\"\npassword_file = \"missing\"", "missing"),
        ("action = \"pipe\"\ncommand = [\"cat\"]", "whole path"),
        ("action = \"refuse\"\nreply = \"550 no\"", "enhanced code"),
        (
            "relay_host = \"mail.test\"\n\n[[route]]\nrecipient_domain = \"a.test\"\naction = \"discard\"",
            "never matches",
        ),
        ("relay_host = \"mail.test\"\nrelay_prot = 25", "relay_prot"),
    ] {
        let system = System::relaying();
        system.route(route);
        let output = run(program("mailctl"), &["--config", &system.config(), "check", "config"], "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{route}: {said}");
        assert!(said.contains(words), "{route}: {said}");
    }
}

#[test]
fn broken_helpers_lose_nothing() {
    let system = System::relaying();
    system.set("delivery.retry", "first_seconds", "60");
    let (folder, _) = site(&system, "pipe");
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let file = folder.join("taken");
    for (domain, command) in [
        ("taken", format!("\"/bin/sh\", \"-c\", \"while read line; do echo $line; done > {}\"", file.display())),
        // It may start nothing else.
        ("confined", "\"/bin/sh\", \"-c\", \"cat\"".to_owned()),
        ("hangs", "\"/bin/sleep\", \"1000\"".to_owned()),
        ("dies", "\"/bin/sh\", \"-c\", \"kill -9 $$\"".to_owned()),
        ("missing", "\"/usr/bin/no-such-program\"".to_owned()),
        ("later", "\"/bin/sh\", \"-c\", \"echo not now; exit 75\"".to_owned()),
        ("never", "\"/bin/sh\", \"-c\", \"echo nobody here; exit 67\"".to_owned()),
    ] {
        system.route(&format!(
            "recipient_domain = \"{domain}.test\"\naction = \"pipe\"\ncommand = [{command}]\ncommand_seconds = 1"
        ));
    }
    system.route("recipient_domain = \"gone.test\"\naction = \"discard\"");
    system
        .route("recipient_domain = \"refused.test\"\naction = \"refuse\"\nreply = \"550 5.7.1 we do not write there\"");
    system.route("recipient_domain = \"socket.test\"\naction = \"lmtp\"\nsocket = \"/nowhere/lmtp\"");
    system.route("recipient_domain = \"closed.test\"\nrelay_host = \"127.0.0.1\"\nrelay_port = 9");
    system.mailctl(&["alias", "add", "away@example.test", "x@refused.test"], "");
    let all = system.start("mailctl");
    let mut ann = Sender::ann(&system);
    let content = "Subject: to a program\r\n\r\nx";
    let cases = [
        ("taken", Delivered, ""),
        ("confined", Deferred, "status 126"),
        ("hangs", Deferred, "killed at its deadline"),
        ("dies", Deferred, "signal"),
        ("missing", Deferred, "no-such-program"),
        ("later", Deferred, "not now"),
        ("never", Failed, "nobody here"),
        ("socket", Deferred, "/nowhere/lmtp"),
        ("closed", Deferred, "no connection"),
        // No name server answers.
        ("unresolvable", Deferred, "looking up the mail servers of unresolvable.test"),
    ];
    let ids = cases.map(|(domain, ..)| ann.queue("<ann@example.test>", &[&format!("<x@{domain}.test>")], content));
    let discarded = ann.queue("<ann@example.test>", &["<x@gone.test>"], content);
    // Who names the recipient is told at once, and who does not in a report.
    let answer = ann.refused("<ann@example.test>", "<x@refused.test>");
    assert_eq!(answer.trim(), "550 5.7.1 we do not write there");
    let led = ann.queue("<ann@example.test>", &["<away@example.test>"], content);
    let attempt = mailwright_e2e::wait_until("refused", || system.attempts(&led).into_iter().next());
    assert!(attempt.outcome == Failed && attempt.trouble.is_some_and(|words| words.contains("we do not write there")));
    for (to, so) in [("x@refused.test", "refused"), ("away@example.test", "returned to the sender")] {
        let login = ["explain", "--from", "ann@example.test", "--to", to, "--login", "ann@example.test"];
        let told = system.mailctl(&login, "");
        assert!(told.trim_end().ends_with(&format!("so         {so}")), "{told}");
    }
    let mut wrong = Vec::new();
    for ((domain, outcome, words), id) in cases.iter().zip(&ids) {
        let attempt = mailwright_e2e::wait_until(domain, || system.attempts(id).into_iter().next());
        let said = attempt.reply.clone().or(attempt.trouble.clone()).unwrap_or_default();
        if attempt.outcome != *outcome || !said.contains(words) {
            wrong.push(format!("{domain}: {attempt:?}"));
            continue;
        }
        let log = all.log();
        let line = log.lines().find(|line| line.contains(id) && line.contains(&format!("x@{domain}.test")));
        assert!(line.is_some_and(|line| line.contains(words)), "{domain}: {log}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(std::fs::read_to_string(&file).unwrap().contains("Subject: to a program"));
    system.wait_for_step(&discarded, "discarding", |step| matches!(step, trace::Step::Discarded { .. }));
    let reports = inbox(&system, "ann");
    assert_eq!(reports.len(), 2);
    // Neither a program nor a route is a mail server.
    for words in ["Remote-MTA", "in its own words", "Diagnostic-Code: smtp"] {
        assert!(!reports.iter().any(|report| report.contains(words)), "{words}: {reports:#?}");
    }
    for reason in ["The reason: no such user (status 67): nobody here", "The reason: 550 5.7.1 we do not write there"] {
        assert!(reports.iter().any(|report| report.contains(reason)), "{reason}: {reports:#?}");
    }
    let story = system.mailctl(&["trace", &ids[6]], "");
    assert!(story.contains("by report, ") && story.contains("stored for ann@example.test in INBOX"), "{story}");
    assert!(reports.iter().all(|report| understood(report).contains("Action: failed")));
    assert_eq!(system.queue().len(), cases.iter().filter(|(_, outcome, _)| *outcome == Deferred).count());
    assert!(all.stop());
}

#[test]
fn mail_exchangers_that_lead_back_here_are_no_circle() {
    // RFC 5321 §5.1, by name and by address.
    let system = System::relaying();
    let (folder, _) = site(&system, "knot");
    let records = "byname MX 10 mx.example.test.\nbyaddress MX 10 other\nother A 127.0.0.1\n\
                   worse MX 10 gone\nworse MX 20 other\ngone A 127.77.4.1\nmx.example A 127.0.0.1\n";
    let knot = mailwright_e2e::peers::knot::Knot::serve(&folder, records, "", &[], &[]);
    std::fs::write(system.path("anchor"), &knot.anchor).unwrap();
    system.set("dns", "servers", &format!("[\"{}\"]", knot.place));
    system.set("dns", "trust_anchor", "\"anchor\"");
    system.set("routing", "port", &system.port(25).to_string());
    let all = system.start("mailctl");
    let mut ann = Sender::ann(&system);
    for (domain, outcome, words) in [
        ("byname", Failed, "loops back to this server"),
        ("byaddress", Failed, "loops back to this server"),
        ("worse", Deferred, "no connection"),
    ] {
        let id = ann.queue("<ann@example.test>", &[&format!("<x@{domain}.test>")], "Subject: x\r\n\r\nx");
        let attempt = system.wait_for(&id, outcome, 1);
        assert!(attempt.trouble.as_deref().unwrap_or_default().contains(words), "{domain}: {attempt:?}");
    }
    assert!(!all.log().contains("accepted id") || !all.log().contains("proto=\"smtp\""), "{}", all.log());
    assert!(all.stop());
}
