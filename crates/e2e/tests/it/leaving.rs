//! Mail that leaves: to another system, by `sendmail`, to a program.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use mailwright_e2e::{Conversation, System};

/// Adds to a system's configuration.
fn configure(system: &System, settings: &str) {
    let mut config = fs::read_to_string(system.config()).unwrap();
    config.push_str(settings);
    fs::write(system.config(), config).unwrap();
}

/// The messages of a mailbox, by POP3.
fn messages(system: &System, user: &str, password: &str) -> Vec<String> {
    let mut pop = system.connect(110);
    pop.hear(&["+OK"]);
    pop.ask(&format!("USER {user}"), &["+OK"]);
    pop.ask(&format!("PASS {password}"), &["+OK"]);
    let count = pop.ask("STAT", &["+OK"]);
    let count: u32 = count.split(' ').nth(1).unwrap().parse().unwrap();
    let found = (1..=count).map(|number| pop.ask(&format!("RETR {number}"), &[".\r\n"])).collect();
    pop.ask("QUIT", &["+OK"]);
    pop.rest();
    found
}

/// Waits until something is so; polls, since the other side tells nobody.
fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

fn submit(system: &System, recipient: &str, subject: &str) -> String {
    let mut session: Conversation = system.connect(587);
    session.hear(&["220 "]);
    session.ask("EHLO client.example", &["250 "]);
    // \0ann@example.test\0ann-secret
    session.ask("AUTH PLAIN AGFubkBleGFtcGxlLnRlc3QAYW5uLXNlY3JldA==", &["235 "]);
    session.ask("MAIL FROM:<ann@example.test>", &["250 "]);
    session.ask(&format!("RCPT TO:<{recipient}>"), &["250 "]);
    session.ask("DATA", &["354 "]);
    session.ask(&format!("From: ann@example.test\r\nSubject: {subject}\r\n\r\nhello\r\n."), &["250 "])
}

#[test]
fn from_one_system_to_the_next_and_a_report_back() {
    // rule 37: a smarthost; rule 36: its refusal is told to who logged in.
    let (here, there) = (System::new(), System::new());
    there.mailctl(&["domain", "add", "there.test"], "");
    there.mailctl(&["account", "add", "carl@there.test", "--password-stdin"], "carl-secret\n");
    configure(
        &here,
        &format!(
            "[[route]]\nrecipient_domain = \"there.test\"\nrelay_host = \"127.0.0.1\"\nrelay_port = {}\n",
            there.port(25)
        ),
    );
    allow_loopback(&here);
    let (_here, _there) = (here.start("mailctl"), there.start("mailctl"));
    submit(&here, "carl@there.test", "over there");
    let message = wait_for("the message", || messages(&there, "carl@there.test", "carl-secret").pop());
    assert!(message.contains("Subject: over there\r\n") && message.contains("Return-Path: <ann@example.test>\r\n"));
    submit(&here, "nobody@there.test", "to nobody");
    let report = wait_for("the report", || messages(&here, "ann@example.test", "ann-secret").pop());
    for part in ["Return-Path: <>\r\n", "Action: failed\r\n", "Status: 5.1.1\r\n", "nobody@there.test"] {
        assert!(report.contains(part), "{part} is not in {report}");
    }
    // rule 32: a report is found like any other message.
    let message_id = report.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap();
    let story = here.mailctl(&["trace", message_id], "");
    assert!(story.contains("a report"), "{story}");
}

/// Switches listeners of a system off.
fn switch_off(system: &System, sections: &[&str]) {
    let mut config = fs::read_to_string(system.config()).unwrap();
    for section in sections {
        let at = config.find(&format!("\n[{section}]\n")).unwrap();
        let (before, after) = config.split_at(at);
        config = format!("{before}{}", after.replacen("enabled = true", "enabled = false", 1));
    }
    fs::write(system.config(), config).unwrap();
}

fn allow_loopback(system: &System) {
    let config = fs::read_to_string(system.config()).unwrap();
    let allowed = config.replace("private_targets = []", "private_targets = [\"127.0.0.0/8\"]");
    fs::write(system.config(), allowed).unwrap();
}

#[test]
fn from_a_null_client_by_a_backup_mx_to_its_end() {
    // rule 37
    let (client, backup, end) = (System::new(), System::new(), System::new());
    end.mailctl(&["domain", "add", "end.test"], "");
    end.mailctl(&["account", "add", "carl@end.test", "--password-stdin"], "carl-secret\n");
    let route = |port| format!("relay_host = \"127.0.0.1\"\nrelay_port = {port}\n");
    switch_off(&client, &["smtp", "submission", "lmtp", "imap", "pop3"]);
    configure(&client, &format!("[[route]]\n{}", route(backup.port(25))));
    let listed = backup.client_path("recipients");
    fs::write(&listed, "carl@end.test\n").unwrap();
    let config = fs::read_to_string(backup.config()).unwrap();
    let domains = format!("backup_domains = [{{ domain = \"end.test\", recipients_file = \"{listed}\" }}]");
    fs::write(backup.config(), config.replace("backup_domains = []", &domains)).unwrap();
    configure(&backup, &format!("[[route]]\nrecipient_domain = \"end.test\"\n{}", route(end.port(25))));
    allow_loopback(&client);
    allow_loopback(&backup);
    let _running = (client.start("mta"), backup.start("mta"), end.start("mailctl"));
    client.mailctl(&["sendmail", "carl@end.test"], "Subject: all the way\n\nhello\n");
    let message = wait_for("the message", || messages(&end, "carl@end.test", "carl-secret").pop());
    assert!(message.contains("Subject: all the way\r\n"), "{message}");
    assert_eq!(message.matches("\nReceived: ").count(), 3, "{message}");
    // Nobody of another name is taken in the first place.
    let mut stranger = backup.connect(25);
    stranger.hear(&["220 "]);
    stranger.ask("EHLO client.example", &["250 "]);
    stranger.ask("MAIL FROM:<x@client.example>", &["250 "]);
    assert!(stranger.ask("RCPT TO:<nobody@end.test>", &["2", "5"]).starts_with("550 5.1.1 "));
}

#[test]
fn sendmail_to_mailboxes_and_into_the_world() {
    // rule 29
    let system = System::new();
    let unknown = "nobody-of-that-name@example.test";
    let message = "Subject: while it is down\nBcc: hidden@example.test\n\nhello\n";
    system.mailctl(&["sendmail", "-f", "bob@example.test", "bob@example.test", unknown], message);
    let running = system.start("mailctl");
    let message = wait_for("the message", || messages(&system, "bob@example.test", "bob-secret").pop());
    assert!(message.contains("Subject: while it is down\r\n") && !message.contains("hidden"), "{message}");
    assert!(message.contains("Message-ID: <") && message.contains("\r\nDate: "), "{message}");
    // It goes once the message is in the store.
    wait_for("the end of the file", || fs::read_dir(system.path("drop")).unwrap().next().is_none().then_some(()));
    if nix::unistd::geteuid().is_root() {
        // root may name any sender: bob is told of the recipient that there is not.
        let both = || Some(messages(&system, "bob@example.test", "bob-secret")).filter(|all| all.len() == 2);
        let report = wait_for("the report", both).concat();
        assert!(report.contains("Action: failed\r\n") && report.contains(unknown), "{report}");
        assert!(report.contains("Status: 5.1.1\r\n"), "{report}");
    }
    assert!(running.stop());
}

#[test]
fn a_program_gets_mail_and_no_other_program_runs() {
    // rule 29
    let system = System::new();
    let folder = system.client_path("");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let (script, output) = (system.client_path("script"), system.client_path("output"));
    let text = format!(
        "#!/bin/sh\nread -r line; echo \"$line\" > {output}\nif /bin/cat /dev/null; then echo ran >> {output}; fi\nexit 0\n"
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    configure(
        &system,
        &format!("[[route]]\nrecipient_domain = \"pipe.test\"\naction = \"pipe\"\ncommand = [\"{script}\"]\n"),
    );
    let running = system.start("mta");
    submit(&system, "x@pipe.test", "to a program");
    let written = wait_for("the output", || {
        fs::read_to_string(&output).ok().filter(|text| text.ends_with('\n') && !text.is_empty())
    });
    assert!(written.starts_with("Return-Path: ") || written.starts_with("Received: "), "{written}");
    // Where the kernel can, only what is configured may be started.
    assert!(running.stop());
    let ran = fs::read_to_string(&output).unwrap().contains("ran");
    assert!(!ran || !mailwright_e2e::can_confine(), "another program was started");
}
