//! What the operator sees and does while the daemons run.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use mailwright_e2e::{System, program, run};

/// Something of everything that a stranger can do.
fn strange(system: &System) -> String {
    let mut smtp = system.connect(25);
    smtp.hear(&["220 "]);
    smtp.ask("WHAT \u{1b}[31mred", &["5"]);
    smtp.ask("EHLO client.example", &["250 "]);
    smtp.ask("MAIL FROM:<x@client.example> NONSENSE=1", &["5"]);
    smtp.ask("MAIL FROM:<x@client.example>", &["250 "]);
    for number in 0..10 {
        smtp.ask(&format!("RCPT TO:<nobody{number}@example.test>"), &["550 "]);
    }
    smtp.ask("RCPT TO:<ann@example.test>", &["250 "]);
    smtp.ask("DATA", &["354 "]);
    smtp.say("Subject: x\r\n\r\nx\r\n.\r\n");
    let answer = smtp.hear(&["250 "]);
    drop(smtp);
    let mut imap = system.connect(143);
    imap.hear(&["* OK"]);
    for _ in 0..2 {
        imap.ask("a LOGIN {22}", &["+ "]);
        imap.say("ann\u{1b}]0;x\u{7}\u{85}@example.te wrong\r\n");
        imap.hear(&["a NO", "a BAD"]);
    }
    imap.ask("b WHAT", &["b BAD"]);
    let mut pop3 = system.connect(110);
    pop3.hear(&["+OK"]);
    pop3.ask("USER bob@example.test", &["+OK"]);
    pop3.ask("PASS wrong", &["-ERR"]);
    pop3.ask("AUTH PLAIN AGNhcmxAZXhhbXBsZS50ZXN0AHdyb25n", &["-ERR"]);
    pop3.ask("WHAT", &["-ERR"]);
    answer.trim_end().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn the_log_tells_failed_logins_and_refused_recipients_and_nothing_else_of_strangers() {
    // rule 33, rule 32
    let system = System::new();
    let daemon = system.start("mailctl");
    let started = daemon.log().lines().count();
    let id = strange(&system);
    assert!((12..=20).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_alphanumeric()), "{id}");
    let log = daemon.logged("carl@example.test");
    let lines: Vec<&str> = log.lines().skip(started).collect();
    assert!(log.bytes().all(|octet| octet == b'\n' || !octet.is_ascii_control()), "{log:?}");
    assert!(!log.contains('\u{85}'), "{log:?}");
    let of = |words: &str| lines.iter().filter(|line| line.contains(words)).copied().collect::<Vec<_>>();
    // Bursts are one line.
    let refused = of("recipient refused");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("nobody0@example.test") && refused[0].contains("peer=\"127.0.0.1\""), "{refused:?}");
    let failed = of("login failed");
    assert_eq!(failed.len(), 3, "{failed:?}");
    for (line, facts) in failed.iter().zip([
        ["user=\"ann", "mechanism=\"LOGIN\""],
        ["user=\"bob@example.test\"", "mechanism=\"USER\""],
        ["user=\"carl@example.test\"", "mechanism=\"PLAIN\""],
    ]) {
        assert!(facts.iter().all(|fact| line.contains(fact)) && line.contains("peer=\"127.0.0.1\""), "{line}");
    }
    let delivered = of("accepted");
    assert!(delivered.len() == 1 && delivered[0].contains(&format!("id=\"{id}\"")), "{delivered:?}");
    assert_eq!(lines.len(), 5, "{lines:#?}");
    for line in &lines {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(rest.trim_start().starts_with("INFO"), "{line}");
        // RFC 3339 with its offset.
        assert!(time.len() == 29 && time.as_bytes()[10] == b'T' && time.as_bytes()[26] == b':', "{time}");
    }
    assert!(!log.contains("wrong"), "no password is logged");
    let mut pop3 = system.connect(110);
    pop3.hear(&["+OK"]);
    pop3.ask("USER ann@example.test", &["+OK"]);
    pop3.ask("PASS ann-secret", &["+OK"]);
    assert!(pop3.ask("RETR 1", &[".\r\n"]).contains(&format!("id {id}")));
}

#[test]
fn the_log_as_json_is_an_object_a_line() {
    // rule 32
    let system = System::new();
    let config = system.config();
    let daemon = mailwright_e2e::Daemon::start("mailctl", &["serve", "--config", &config, "--log-format", "json"]);
    let id = strange(&system);
    let log = daemon.logged("carl@example.test");
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    assert!(lines.iter().any(|line| line["message"] == "accepted" && line["id"] == id.as_str()), "{log}");
}

#[test]
fn a_reload_names_what_needs_a_restart_and_refuses_what_is_wrong() {
    // rule 27
    let system = System::new();
    let daemon = system.start("mta");
    let mut client = system.connect(25);
    client.hear(&["220 "]);
    let good = fs::read_to_string(system.config()).unwrap();
    fs::write(system.config(), good.replace("recipients = 1000", "recipients = 2000")).unwrap();
    daemon.hang_up();
    let log = daemon.logged("certificates reloaded");
    assert!(log.contains("these settings need a restart") && log.contains("limits"), "{log}");
    fs::write(system.config(), good.replace("recipients = 1000", "recipient = 1000")).unwrap();
    daemon.hang_up();
    let log = daemon.logged("the old one stays");
    assert!(log.contains("unknown field `recipient`"), "{log}");
    // Nobody was sent away.
    client.ask("EHLO client.example", &["250 "]);
    fs::write(system.config(), &good).unwrap();
    assert!(daemon.stop());
}

#[test]
fn a_reload_takes_over_what_can_change_while_mail_comes_in() {
    // rule 27
    let system = System::new();
    let (list, anchor) = (system.path("backup.list"), system.path("anchor"));
    fs::write(&list, "ann@backup.test\n").unwrap();
    system.set("smtp", "backup_domains", &format!("[{{ domain = \"backup.test\", recipients_file = {list:?} }}]"));
    system.set("policy", "reverse_dns", "true");
    let daemon = system.start("mta");
    let mut client = system.connect(25);
    client.hear(&["220 "]);
    client.ask("EHLO client.example", &["250 "]);
    client.ask("MAIL FROM:<x@client.example>", &["250 "]);
    client.ask("RCPT TO:<ann@backup.test>", &["250 "]);
    client.ask("RCPT TO:<bob@backup.test>", &["550 "]);
    fs::write(&list, "ann@backup.test\nbob@backup.test\n").unwrap();
    system.set("smtp", "relay_networks", "[\"192.0.2.0/24\"]");
    daemon.hang_up();
    let log = daemon.until(|log| log.matches(" reloaded what=").count() == 4);
    for what in ["relay rules", "name servers of the entrance", "name servers of delivery", "CAs of delivery"] {
        assert!(log.contains(&format!("reloaded what=\"{what}\"")), "{what}: {log}");
    }
    assert!(!log.contains("need a restart"), "{log}");
    client.ask("RCPT TO:<bob@backup.test>", &["250 "]);
    // What is bad stays as it was, and takes nothing else with it.
    fs::write(&list, "nobody\n").unwrap();
    fs::write(&anchor, "test. IN A 127.0.0.1\n").unwrap();
    system.set("dns", "trust_anchor", &format!("{anchor:?}"));
    system.set("dns", "ca_file", "\"gone.pem\"");
    daemon.hang_up();
    let stayed = |log: &str| log.matches("; the old one stays").count() == 3;
    let log = daemon.until(|log| stayed(log) && log.matches(" reloaded what=").count() == 5);
    for words in ["backup.list", "/anchor: ", "gone.pem"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    client.ask("RCPT TO:<bob@backup.test>", &["250 "]);
    client.ask("RCPT TO:<carl@backup.test>", &["550 "]);
    assert!(daemon.stop());
}

#[test]
fn several_commands_at_once_are_safe_and_seen_by_the_daemons() {
    // rule 34
    let system = System::new();
    let _mta = system.start("mta");
    thread::scope(|scope| {
        for number in 0..8 {
            let system = &system;
            scope.spawn(move || {
                let address = format!("user{number}@example.test");
                system.mailctl(&["account", "add", &address, "--password-stdin"], "secret words\n");
                system.mailctl(&["alias", "add", &format!("alias{number}@example.test"), &address], "");
            });
        }
    });
    let mut client = system.connect(25);
    client.hear(&["220 "]);
    client.ask("EHLO client.example", &["250 "]);
    client.ask("MAIL FROM:<x@client.example>", &["250 "]);
    let began = Instant::now();
    for number in 0..8 {
        for name in ["user", "alias"] {
            while client.ask(&format!("RCPT TO:<{name}{number}@example.test>"), &["2", "5", "4"]).starts_with('5') {
                assert!(began.elapsed() < Duration::from_secs(1), "{name}{number} is not seen in time");
            }
        }
    }
}

#[test]
fn ten_thousand_accounts_are_imported_in_ten_seconds() {
    let system = System::new();
    let hash = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$0p2sJ8cCeJ1L6Q4a1y1sVwJ8bWcW6rA8Q8aKQxw2y0Y";
    let mut rows = String::new();
    for number in 0..10_000 {
        writeln!(rows, "user{number}@example.test,\"{hash}\",1000000").unwrap();
    }
    let csv = system.client_path("accounts.csv");
    fs::write(&csv, rows).unwrap();
    let began = Instant::now();
    let told = system.mailctl(&["account", "import", &csv, "--json"], "");
    let took = began.elapsed();
    assert!(told.contains("10000"), "{told}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_key_that_could_not_be_read_again_is_found_before_the_start() {
    // rule 27
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let system = System::new();
    let config = fs::read_to_string(system.config()).unwrap();
    fs::write(system.config(), config.replace("user = \"root\"", "user = \"nobody\"")).unwrap();
    for (name, arguments) in [("mailctl", &["check", "config"][..]), ("mta", &["--check"]), ("mta", &[])] {
        let config = system.config();
        let output = run(program(name), &[&["--config", &config], arguments].concat(), "");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name} {arguments:?}: {words}");
        assert!(words.contains("could not read it again: change its owner or mode"), "{words}");
    }
}

#[test]
fn peers_are_unpacked_and_no_service_of_the_system_is_started() {
    // rule 39
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let peers = fs::read_to_string(project.join("scripts/peers")).unwrap();
    assert!(peers.contains("apt-get -qq -d -y") && peers.contains("dpkg -x"), "downloaded and unpacked, not installed");
    for file in ["scripts/peers", "scripts/test", "scripts/check", ".ci/run"] {
        let text = fs::read_to_string(project.join(file)).unwrap();
        for started in ["systemctl", "invoke-rc.d", "/etc/init.d"] {
            assert!(!text.contains(started), "{file}: {started}");
        }
        for package in ["postfix", "exim4", "opensmtpd", "dovecot", "cyrus"] {
            let installed = text.lines().any(|line| line.contains("install") && line.contains(package));
            assert!(!installed || file == "scripts/peers", "{file} installs {package}");
        }
    }
    // rule 38: the minutes of each stage.
    assert!(fs::read_to_string(project.join(".ci/run")).unwrap().contains("min\\n"));
}
