//! Full disks, slow and hostile clients.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mailwright_e2e::{Conversation, System, succeed};

/// A disk of its own for the data of a system, as small as it is told.
struct SmallDisk {
    path: String,
}

impl SmallDisk {
    fn mount(system: &System, megabytes: u32) -> Self {
        let path = system.path("data");
        let kept = format!("{path}.kept");
        fs::rename(&path, &kept).unwrap();
        fs::create_dir(&path).unwrap();
        let size = format!("size={megabytes}m,mode=0700");
        succeed("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &path], "");
        succeed("cp", &["-a", &format!("{kept}/."), &path], "");
        Self { path }
    }

    fn resize(&self, megabytes: u32) {
        succeed("mount", &["-o", &format!("remount,size={megabytes}m"), &self.path], "");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A daemon that is still ending keeps it busy: it goes when the last file is closed.
        let _ = Command::new("umount").args(["--lazy", &self.path]).status();
    }
}

fn deliver(client: &mut Conversation, number: usize) -> String {
    client.ask("MAIL FROM:<x@client.example>", &["2", "4"]);
    client.ask("RCPT TO:<ann@example.test>", &["2", "4"]);
    let answer = client.ask("DATA", &["354 ", "4"]);
    if !answer.starts_with("354") {
        client.ask("RSET", &["250 "]);
        return answer;
    }
    let line = format!("{number:>8} {}\r\n", "x".repeat(60));
    client.say(&format!("Subject: number {number}\r\n\r\n{}.\r\n", line.repeat(3_000)));
    client.hear(&["2", "4", "5"])
}

#[test]
fn a_full_disk_refuses_mail_and_lets_it_be_read_and_deleted() {
    // rule 4
    let system = System::new();
    let config = fs::read_to_string(system.config()).unwrap();
    let config = config
        .replace("min_free_octets = 104857600", "min_free_octets = 0")
        .replace("segment_octets = 67108864", "segment_octets = 4194304");
    fs::write(system.config(), config).unwrap();
    let disk = SmallDisk::mount(&system, 32);
    let daemon = system.start("mailctl");
    let mut client = system.connect(25);
    client.hear(&["220 "]);
    client.ask("HELO client.example", &["250 "]);
    let mut stored = Vec::new();
    let refusal = loop {
        let number = stored.len();
        let answer = deliver(&mut client, number);
        if !answer.starts_with("250") {
            break answer;
        }
        stored.push(number);
        assert!(stored.len() < 1_000, "the disk never fills");
    };
    assert!(refusal.starts_with("452 4.3.1"), "{refusal}");
    assert!(stored.len() > 10, "{} messages only", stored.len());
    // Something else takes the last octet.
    let mut filler = fs::File::create(format!("{}/filler", disk.path)).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    let mut imap = system.connect(143);
    imap.hear(&["* OK"]);
    imap.ask("a LOGIN ann@example.test ann-secret", &["a OK"]);
    assert!(imap.ask("b SELECT INBOX", &["b "]).contains(&format!("* {} EXISTS", stored.len())));
    let all = imap.ask("c FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]", &["c "]);
    assert!(stored.iter().all(|number| all.contains(&format!("Subject: number {number}\r\n"))), "{all}");
    let flagged = imap.ask("d STORE 1:5 +FLAGS (\\Deleted)", &["d "]);
    assert!(flagged.contains("d OK"), "{flagged}");
    let expunged = imap.ask("e EXPUNGE", &["e "]);
    assert!(expunged.contains("e OK") && expunged.matches(" EXPUNGE\r\n").count() == 5, "{expunged}");
    let appended = imap.ask("f APPEND INBOX {3+}\r\nabc", &["f "]);
    assert!(appended.contains("f NO"), "{appended}");
    // Space returns, and mail with it, without a restart.
    drop(filler);
    fs::remove_file(format!("{}/filler", disk.path)).unwrap();
    disk.resize(64);
    let began = Instant::now();
    while !deliver(&mut client, 5_000).starts_with("250") {
        assert!(began.elapsed() < Duration::from_secs(30), "mail is not taken again");
    }
    let counted = imap.ask("g NOOP", &["g OK"]);
    assert!(counted.contains(&format!("* {} EXISTS", stored.len() - 5 + 1)), "{counted}");
    assert!(daemon.stop());
}

#[test]
fn a_client_of_one_octet_a_second_delays_nobody() {
    // rule 13
    let system = System::new();
    let _all = system.start("mailctl");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for standard in [25, 143, 110] {
            let (system, done) = (&system, &done);
            scope.spawn(move || {
                let mut slow = TcpStream::connect(("127.0.0.1", system.port(standard))).unwrap();
                slow.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
                for octet in b"NOOP NOOP NOOP NOOP NOOP NOOP NOOP NOOP".iter().cycle() {
                    if done.load(Ordering::Relaxed) || slow.write_all(&[*octet]).is_err() {
                        break;
                    }
                    // One octet is read, too, at most a second later.
                    let _ = slow.read(&mut [0]);
                }
            });
        }
        for round in 0..20 {
            let mut client = system.connect(25);
            client.hear(&["220 "]);
            client.ask("HELO client.example", &["250 "]);
            assert!(deliver(&mut client, round).starts_with("250"));
            let mut imap = system.connect(143);
            imap.hear(&["* OK"]);
            imap.ask("a LOGIN ann@example.test ann-secret", &["a OK"]);
            assert!(imap.ask("b SELECT INBOX", &["b OK"]).contains(&format!("* {} EXISTS", round + 1)));
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn endless_and_malformed_input_is_answered_and_bounded() {
    let system = System::new();
    let daemon = system.start("mailctl");
    let flood = "x".repeat(1 << 20);
    let mut smtp = system.connect(25);
    smtp.hear(&["220 "]);
    smtp.say(&flood);
    assert!(smtp.ask("", &["5"]).starts_with("500 5.5"));
    smtp.ask("HELO client.example", &["250 "]);
    smtp.ask("QUIT", &["221 "]);
    let mut imap = system.connect(143);
    imap.hear(&["* OK"]);
    imap.say(&flood);
    let answer = imap.ask("", &["* BAD", "* BYE", "x"]);
    assert!(answer.contains("BAD") || answer.contains("BYE"), "{answer}");
    let mut pop3 = system.connect(110);
    pop3.hear(&["+OK"]);
    pop3.say(&flood);
    assert!(pop3.ask("", &["-ERR"]).starts_with("-ERR"));
    // Too many errors end a connection.
    let mut smtp = system.connect(25);
    smtp.hear(&["220 "]);
    for _ in 0..20 {
        smtp.say("WHAT\r\n");
    }
    assert!(smtp.rest().contains("421 4.7.0 too many errors"));
    // Somebody else is served all the while.
    let mut client = system.connect(25);
    client.hear(&["220 "]);
    client.ask("HELO client.example", &["250 "]);
    assert!(deliver(&mut client, 1).starts_with("250"));
    assert!(daemon.stop());
}

/// The most memory that a process ever had, in KiB.
fn peak(process: &mailwright_e2e::Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn sections_asked_for_again_and_again_cost_no_copies() {
    let system = System::new();
    let imapd = system.start("imapd");
    let mut imap = system.connect(143);
    imap.hear(&["* OK"]);
    imap.ask("a LOGIN ann@example.test ann-secret", &["a OK"]);
    let text = format!("{}\r\n", "x".repeat(78)).repeat(50_000);
    let folded = format!("\t{}\r\n", "y".repeat(70)).repeat(20_000);
    let parts = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n{text}\r\n--b--\r\n");
    for message in [parts, format!("Subject: long\r\n{folded}\r\n\r\n")] {
        imap.say(&format!("b APPEND INBOX {{{}+}}\r\n{message}\r\n", message.len()));
        let appended = imap.hear(&["b "]);
        assert!(appended.contains("b OK"), "{appended}");
    }
    imap.ask("c SELECT INBOX", &["c OK"]);
    // What is made anew for a message has an end.
    let fields = ["BODY.PEEK[HEADER.FIELDS (SUBJECT)]"; 50].join(" ");
    let refused = imap.ask(&format!("d FETCH 2 ({fields})"), &["d "]);
    assert!(refused.starts_with("d NO"), "{}", &refused[..80]);
    let before = peak(&imapd);
    // 100 times 4 MB, of which the client reads no more than the beginning.
    let sections = ["BODY.PEEK[1]"; 100].join(" ");
    imap.say(&format!("e FETCH 1 ({sections})\r\n"));
    imap.hear(&["* 1 FETCH"]);
    imap.hear(&["xxx"]);
    let grown = peak(&imapd) - before;
    assert!(grown < 64 << 10, "{grown} KiB more");
    assert!(imapd.stop());
}
