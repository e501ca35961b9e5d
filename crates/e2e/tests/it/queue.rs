//! The queue and the trace as an operator has them, while the daemons run and while they do not.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use mailwright_e2e::{System, program, run};

/// `ann@example.test` and her password, for AUTH PLAIN.
const ANN: &str = "AGFubkBleGFtcGxlLnRlc3QAYW5uLXNlY3JldA==";

/// Submits a message; its queue id.
fn submit(system: &System, recipients: &[&str], message_id: &str) -> String {
    let mut smtp = system.connect(587);
    smtp.hear(&["220 "]);
    smtp.ask("EHLO client.test", &["250 "]);
    smtp.ask(&format!("AUTH PLAIN {ANN}"), &["235"]);
    smtp.ask("MAIL FROM:<ann@example.test>", &["250"]);
    for recipient in recipients {
        smtp.ask(&format!("RCPT TO:<{recipient}>"), &["250"]);
    }
    smtp.ask("DATA", &["354"]);
    let message =
        format!("From: ann@example.test\r\nMessage-ID: {message_id}\r\nSubject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\r\nx");
    let answer = smtp.ask(&format!("{message}\r\n."), &["250"]);
    answer.trim().rsplit(' ').next().unwrap().to_owned()
}

/// Asks until the answer is as it should be. Each question is a process, which takes its time.
fn until(system: &System, arguments: &[&str], fits: impl Fn(&str) -> bool) -> String {
    let mut last = String::new();
    for _ in 0..600 {
        let config = system.config();
        let output = run(program("mailctl"), &[&["--config", &config], arguments].concat(), "");
        last = String::from_utf8_lossy(&output.stdout).into_owned();
        if fits(&last) {
            return last;
        }
    }
    panic!("{arguments:?}: {last}");
}

/// A command that must fail: its status and what it says.
fn fails(system: &System, arguments: &[&str]) -> (Option<i32>, String) {
    let config = system.config();
    let output = run(program("mailctl"), &[&["--config", &config], arguments].concat(), "");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A server that takes everything; it tells of each recipient.
fn sink(listener: TcpListener) -> mpsc::Receiver<String> {
    let (taken, told) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let taken = taken.clone();
            std::thread::spawn(move || serve(&stream, &taken));
        }
    });
    told
}

fn serve(stream: &TcpStream, taken: &mpsc::Sender<String>) {
    let mut out = stream;
    out.write_all(b"220 sink.test\r\n").unwrap();
    let (mut in_data, mut to) = (false, Vec::new());
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let answer = match line.split([' ', ':']).next().unwrap_or_default() {
            "." if in_data => {
                in_data = false;
                to.drain(..).for_each(|line| taken.send(line).unwrap());
                "250 2.0.0 taken"
            }
            _ if in_data => continue,
            "DATA" => {
                in_data = true;
                "354 go on"
            }
            "RCPT" => {
                to.push(line);
                "250 2.1.5 ok"
            }
            "QUIT" => "221 2.0.0 bye",
            _ => "250 sink.test",
        };
        if out.write_all(format!("{answer}\r\n").as_bytes()).is_err() {
            return;
        }
    }
}

/// Well before a destination that failed would be tried again by itself, which is after 48 s at the earliest.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn the_queue_obeys_its_operator() {
    let system = System::new();
    // Ports that were free a moment ago.
    let [first, second] = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let [port, other] = [&first, &second].map(|listener| listener.local_addr().unwrap().port());
    drop((first, second));
    let mut config = std::fs::read_to_string(system.config()).unwrap();
    for (domain, port) in [("dead.test", port), ("other.test", other)] {
        config.push_str(&format!(
            "\n[[route]]\nrecipient_domain = \"{domain}\"\nrelay_host = \"127.0.0.1\"\nrelay_port = {port}\ntls = \"none\"\n"
        ));
    }
    std::fs::write(system.config(), config).unwrap();
    let mta = system.start("mta");
    let id = submit(&system, &["x@dead.test", "y@dead.test", "w@other.test"], "<One@example.test>");
    assert!((12..=20).contains(&id.len()), "rule 32: {id}");
    let tried = |text: &str| text.matches("\"attempts\":1").count() == 3;
    let listed = until(&system, &["queue", "list", "--json"], tried);
    assert!(listed.starts_with("[\n{") && listed.ends_with("}\n]\n"), "{listed}");
    assert!(listed.contains("\"destination\":\"dead.test\"") && listed.contains("\"state\":\"waiting\""), "{listed}");
    let shown = system.mailctl(&["queue", "show", &id[..13]], "");
    for words in ["sender       ann@example.test\n", "Subject:     Grüße\n", "next try   in ", "no connection"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let summary = system.mailctl(&["queue", "list", "--summary"], "");
    assert!(summary.contains("1 messages for 3 recipients waiting and 0 on hold, 2 destinations"), "{summary}");
    // One stays where it is, though the others are tried, and the destination is not waited for.
    system.mailctl(&["queue", "hold", "--recipient", "y@dead.test"], "");
    let held = system.mailctl(&["queue", "list", "--held"], "");
    assert!(held.contains("y@dead.test") && !held.contains("x@dead.test"), "{held}");
    let taken = sink(TcpListener::bind(("127.0.0.1", port)).unwrap());
    let did = system.mailctl(&["queue", "retry", "--domain", "dead.test", "--json"], "");
    assert_eq!(did.trim(), r#"{"did":"retry","messages":1,"on_hold":1,"recipients":1}"#);
    assert!(taken.recv_timeout(SOON).unwrap().contains("x@dead.test"));
    system.mailctl(&["queue", "release", &id], "");
    system.mailctl(&["queue", "retry", "--all"], "");
    assert!(taken.recv_timeout(SOON).unwrap().contains("y@dead.test"));
    until(&system, &["queue", "list"], |text| text.contains("-- 1 recipients of 1 messages"));
    assert!(mta.stop());
    // While nobody runs it, too.
    let (status, words) = fails(&system, &["queue", "remove", "--sender", "@example.test"]);
    assert!(status == Some(2) && words.contains("--yes"), "{words}");
    assert_eq!(fails(&system, &["queue", "hold"]).0, Some(2), "which");
    for filter in
        [["--sender", "example.test"], ["--recipient", "<>"], ["--recipient", "@a b"], ["--domain", "x@b.test"]]
    {
        let (status, words) = fails(&system, &["queue", "list", filter[0], filter[1]]);
        assert!(status == Some(2) && words.contains(filter[1]), "{filter:?}: {words}");
    }
    assert_eq!(fails(&system, &["queue", "hold", "--all"]).0, Some(2), "asks");
    assert_eq!(fails(&system, &["queue", "retry", "nosuchid"]).0, Some(1));
    system.mailctl(&["queue", "remove", "--sender", "@example.test", "--yes"], "");
    assert!(system.mailctl(&["queue", "list"], "").contains("nothing in the queue"));
    assert_eq!(system.mailctl(&["queue", "list", "--json"], ""), "[]\n");
    let story = system.mailctl(&["trace", &id], "");
    let mut rest = story.as_str();
    for words in [
        "accepted from ann@example.test by submission (logged in as ann@example.test)",
        "not delivered to x@dead.test yet",
        "hold by the operator, for y@dead.test",
        "retry by the operator, for x@dead.test",
        "delivered to x@dead.test by",
        "it said: 250 2.0.0 taken",
        "release by the operator, for y@dead.test",
        "delivered to y@dead.test by",
        "remove by the operator, for w@other.test",
    ] {
        let at = rest.find(words).unwrap_or_else(|| panic!("{words}: {story}"));
        rest = &rest[at..];
    }
    for key in ["<one@EXAMPLE.test>", "ann@example.test", "W@other.test"] {
        assert_eq!(system.mailctl(&["trace", key, "--since", "1h"], ""), story, "{key}");
    }
    let json = system.mailctl(&["trace", &id, "--json"], "");
    assert!(json.starts_with(&format!("[\n{{\"id\":\"{id}\",")) && json.contains("\"step\":\"operated\""), "{json}");
    let (status, words) = fails(&system, &["trace", "nobody@example.test"]);
    assert!(status == Some(1) && words.contains("nothing is known of nobody@example.test"), "{words}");
    assert_eq!(fails(&system, &["trace", "ann@example.test", "--since", "yesterday"]).0, Some(2));
}

#[test]
fn the_first_fetch_of_a_message_is_traced() {
    let system = System::new();
    let everything = system.start("mailctl");
    let ids = ["<1@x>", "<2@x>", "<3@x>"].map(|message_id| submit(&system, &["bob@example.test"], message_id));
    let story = |id: &str| system.mailctl(&["trace", id], "");
    assert!(story(&ids[0]).contains("stored for bob@example.test in INBOX"));
    let mut imap = system.connect(143);
    imap.hear(&["* OK"]);
    imap.ask("a LOGIN bob@example.test bob-secret", &["a OK"]);
    imap.ask("b SELECT INBOX", &["b OK"]);
    // A header alone is what a list of messages shows: nobody has read the message yet.
    imap.ask("c FETCH 1:3 (ENVELOPE BODY.PEEK[HEADER.FIELDS (Subject)])", &["c OK"]);
    for tag in ["d", "e"] {
        imap.ask(&format!("{tag} FETCH 1 BODY.PEEK[]"), &[&format!("{tag} OK")]);
    }
    let fetched = "fetched by bob@example.test over imap from 127.0.0.1";
    until(&system, &["trace", &ids[0]], |text| text.contains(fetched));
    imap.ask("f LOGOUT", &["f OK"]);
    let mut pop3 = system.connect(110);
    pop3.hear(&["+OK"]);
    pop3.ask("USER bob@example.test", &["+OK"]);
    pop3.ask("PASS bob-secret", &["+OK"]);
    for command in ["TOP 2 0", "RETR 1", "RETR 3"] {
        pop3.ask(command, &[".\r\n"]);
    }
    until(&system, &["trace", &ids[2]], |text| text.contains("fetched by bob@example.test over pop3"));
    assert_eq!(story(&ids[0]).matches("fetched").count(), 1, "the first time");
    assert!(!story(&ids[1]).contains("fetched"), "only its header was");
    assert!(everything.stop());
}

#[test]
fn what_would_happen_is_explained() {
    let system = System::new();
    let config = std::fs::read_to_string(system.config()).unwrap();
    // Nobody answers there.
    let config = config
        .replace("# servers = []", "servers = [\"127.0.0.1:1\"]")
        .replace("\nservers = []", "\nservers = [\"127.0.0.1:1\"]");
    assert!(config.contains("127.0.0.1:1\"]"));
    let route = "\n[[route]]\nrecipient_domain = \"*.sink.test\"\nrelay_host = \"127.0.0.1\"\nrelay_port = 2600\ntls = \"none\"\n";
    std::fs::write(system.config(), config + route).unwrap();
    system.mailctl(&["alias", "add", "team@example.test", "ann@example.test", "bob@example.test"], "");
    // It would be waited for.
    system.set("policy", "reverse_dns", "false");
    let explain = |arguments: &[&str]| system.mailctl(&[&["explain"], arguments].concat(), "");
    for (arguments, expected) in [
        (
            &["--from", "x@far.test", "--to", "ann+news@example.test", "--ip", "192.0.2.1"][..],
            "ann@example.test (detail news) gets it in INBOX",
        ),
        (&["--from", "<>", "--to", "team@example.test", "--ip", "192.0.2.1"], "the account bob@example.test gets it"),
        (
            &["--from", "x@far.test", "--to", "nobody@example.test", "--ip", "192.0.2.1"],
            "nobody of that name: 550 5.1.1",
        ),
        (&["--from", "x@far.test", "--to", "y@far.test", "--ip", "192.0.2.1"], "relaying denied"),
        (&["--from", "bob@example.test", "--to", "y@far.test", "--as", "ann@example.test"], "may not send as"),
        (
            &["--from", "ann@example.test", "--to", "y@a.sink.test", "--as", "ann@example.test"],
            "rule 1: relay [127.0.0.1]:2600",
        ),
        (
            &["--from", "ann@example.test", "--to", "y@a.sink.test", "--as", "ann@example.test"],
            "127.0.0.1:2600: never TLS (by a setting of ours)",
        ),
        (&["--from", "ann@example.test", "--to", "y@far.test"], "looking up the mail servers of far.test"),
        (&["--from", "ann@example.test", "--to", "y@far.test"], "so         kept in the queue"),
    ] {
        let told = explain(arguments);
        assert!(told.contains(expected), "{expected}: {told}");
    }
    system.set("rates.address", "messages_per_minute", "7");
    system.set("smtp", "backup_domains", "[{ domain = \"backup.sink.test\" }]");
    let stranger = ["--from", "x@far.test", "--to", "y@backup.sink.test", "--ip", "192.0.2.1", "--helo", "192.0.2.1"];
    let told = explain(&stranger);
    for words in [
        "nobody logs in there",
        "helo-bare-address: it says an address without brackets",
        "its address is not looked up: policy.reverse_dns = false",
        "7 messages a minute from 192.0.2.1/32 (rates.address)",
        "we are backup MX of backup.sink.test for all its addresses",
        "relayed as backup MX of backup.sink.test",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let ann = "ann@example.test";
    let told = explain(&["--from", ann, "--to", "y@a.sink.test", "--ip", "192.0.2.1", "--login", ann]);
    for words in [
        "a login first (530 5.7.0)",
        "7 messages a minute from 192.0.2.1/32 (rates.address)",
        "1000 recipients in 24 hours by ann@example.test",
        "relayed for a client that has logged in",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let json = explain(&["--from", "ann@example.test", "--to", "y@a.sink.test", "--json"]);
    assert!(json.contains(r#""outcome":["queued"]"#) && json.contains(r#""tls":"none""#), "{json}");
    assert!(json.contains(r#"{"about":"listener","words":"the command sendmail: no login, no rates"}"#), "{json}");
    assert_eq!(fails(&system, &["explain", "--from", "a b", "--to", "x@y.test"]).0, Some(2));
    assert_eq!(fails(&system, &["explain", "--from", "<>", "--to", "x@y.test", "--as", "no@example.test"]).0, Some(1));
}
