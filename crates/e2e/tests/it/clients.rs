//! Real clients: swaks, curl, mbsync, fetchmail, neomutt, Python's libraries.

use mailwright_e2e::{System, run, succeed};

#[test]
fn swaks_submits_under_tls_and_curl_reads_by_imap_and_pop3() {
    let system = System::new();
    let daemon = system.start("mailctl");
    let server = format!("127.0.0.1:{}", system.port(587));
    let swaks = [
        "--server",
        &server,
        "--tls",
        "--auth",
        "PLAIN",
        "--auth-user",
        "ann@example.test",
        "--auth-password",
        "ann-secret",
        "--from",
        "ann@example.test",
        "--to",
        "bob@example.test",
        "--header",
        "Subject: by swaks",
        "--body",
        "hello from swaks",
    ];
    let said = succeed("swaks", &swaks, "");
    assert!(said.contains("250 2.0.0 queued as"), "{said}");
    let imap = format!("imaps://127.0.0.1:{}/INBOX;MAILINDEX=1", system.port(993));
    let message = succeed("curl", &["-sSk", "--user", "bob@example.test:bob-secret", &imap], "");
    assert!(message.contains("hello from swaks"), "{message}");
    let pop3 = format!("pop3s://127.0.0.1:{}/1", system.port(995));
    let message = succeed("curl", &["-sSk", "--user", "bob@example.test:bob-secret", &pop3], "");
    assert!(message.contains("Subject: by swaks"), "{message}");
    let upload = system.client_path("message.eml");
    std::fs::write(&upload, "From: bob@example.test\r\nSubject: by curl\r\n\r\nhello from curl\r\n").unwrap();
    let smtps = format!("smtps://127.0.0.1:{}", system.port(465));
    let send = [
        "-sSk",
        "--user",
        "bob@example.test:bob-secret",
        "--mail-from",
        "bob@example.test",
        "--mail-rcpt",
        "ann@example.test",
        "--upload-file",
        &upload,
        &smtps,
    ];
    succeed("curl", &send, "");
    let search = format!("imap://127.0.0.1:{}/INBOX", system.port(143));
    let found =
        succeed("curl", &["-sS", "--user", "ann@example.test:ann-secret", &search, "-X", "SEARCH SUBJECT curl"], "");
    assert!(found.contains("* SEARCH 1"), "{found}");
    assert!(daemon.stop());
}

#[test]
fn mbsync_syncs_both_ways_and_the_second_run_changes_nothing() {
    let system = System::new();
    let _imapd = system.start("imapd");
    let maildir = system.client_path("maildir");
    for folder in ["INBOX", "lists/rust"] {
        for part in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(format!("{maildir}/{folder}/{part}")).unwrap();
        }
    }
    let message = |subject: &str| {
        format!(
            "From: ann@example.test\nSubject: {subject}\nMessage-ID: <{subject}@example.test>\n\nbody of {subject}\n"
        )
    };
    std::fs::write(format!("{maildir}/INBOX/cur/1.a.host:2,FS"), message("flagged")).unwrap();
    std::fs::write(format!("{maildir}/lists/rust/new/2.b.host"), message("new")).unwrap();
    let mut client = system.connect(143);
    client.hear(&["* OK"]);
    client.ask("a LOGIN ann@example.test ann-secret", &["a OK"]);
    client.ask("b CREATE work/plans", &["b OK"]);
    let appended = message("there").replace('\n', "\r\n");
    client.say(&format!("c APPEND work/plans (\\Answered) {{{}+}}\r\n{appended}\r\n", appended.len()));
    client.hear(&["c OK"]);
    let config = system.client_path("mbsyncrc");
    let text = format!(
        "IMAPAccount a\nHost 127.0.0.1\nPort {}\nUser ann@example.test\nPass ann-secret\nSSLType None\nAuthMechs LOGIN\n\n\
         IMAPStore far\nAccount a\n\nMaildirStore near\nPath {maildir}/\nInbox {maildir}/INBOX\nSubFolders Verbatim\n\n\
         Channel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n",
        system.port(143)
    );
    std::fs::write(&config, text).unwrap();
    succeed("mbsync", &["-c", &config, "-a"], "");
    let flags = client.ask("d STATUS lists/rust (MESSAGES UNSEEN)", &["d OK"]);
    assert!(flags.contains("MESSAGES 1") && flags.contains("UNSEEN 1"), "{flags}");
    client.ask("e SELECT INBOX", &["e OK"]);
    let flags = client.ask("f FETCH 1 FLAGS", &["f OK"]);
    assert!(flags.contains("\\Flagged") && flags.contains("\\Seen"), "{flags}");
    let there = succeed("find", &[&format!("{maildir}/work/plans"), "-type", "f", "-name", "*:2,*R*"], "");
    assert_eq!(there.lines().count(), 1, "{there}");
    let before = client.ask("g STATUS INBOX (HIGHESTMODSEQ UIDNEXT)", &["g OK"]);
    let files = || succeed("find", &[&maildir, "-type", "f", "-name", "*:2,*"], "");
    let known = files();
    succeed("mbsync", &["-c", &config, "-a"], "");
    assert_eq!(client.ask("h STATUS INBOX (HIGHESTMODSEQ UIDNEXT)", &["h OK"]).lines().next(), before.lines().next());
    assert_eq!(files(), known);
}

#[test]
fn fetchmail_empties_a_maildrop() {
    let system = System::new();
    let _all = system.start("mailctl");
    let mut client = system.connect(24);
    client.hear(&["220 "]);
    client.ask("LHLO client.example", &["250 "]);
    client.ask("MAIL FROM:<>", &["250 "]);
    client.ask("RCPT TO:<ann@example.test>", &["250 "]);
    client.ask("RCPT TO:<bob@example.test>", &["250 "]);
    client.ask("DATA", &["354 "]);
    client.say("Subject: by LMTP\r\n\r\nhello\r\n.\r\n");
    client.hear(&["250 "]);
    client.hear(&["250 "]);
    let config = system.client_path("fetchmailrc");
    let text = format!(
        "poll 127.0.0.1 protocol pop3 port {} user ann@example.test password ann-secret sslproto ''\nmda \"cat >> {}\"\n",
        system.port(110),
        system.client_path("inbox")
    );
    std::fs::write(&config, text).unwrap();
    std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let pid = system.client_path("fetchmail.pid");
    succeed("fetchmail", &["-f", &config, "--pidfile", &pid, "--nosyslog"], "");
    assert!(std::fs::read_to_string(system.client_path("inbox")).unwrap().contains("Subject: by LMTP"));
    let mut pop3 = system.connect(110);
    pop3.hear(&["+OK"]);
    pop3.ask("USER ann@example.test", &["+OK"]);
    pop3.ask("PASS ann-secret", &["+OK"]);
    assert!(pop3.ask("STAT", &["+OK"]).starts_with("+OK 0 "));
}

const PYTHON: &str = r#"
import imaplib, poplib, smtplib, ssl, sys
base = int(sys.argv[1])
trust = ssl._create_unverified_context()
with smtplib.SMTP('127.0.0.1', base + 587) as smtp:
    smtp.starttls(context=trust)
    smtp.ehlo()
    assert smtp.esmtp_features['auth'].split()[:2] == ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256'], smtp.esmtp_features
    smtp.login('ann@example.test', 'ann-secret')
    smtp.sendmail('ann@example.test', ['bob@example.test'], 'From: ann@example.test\r\nSubject: by python\r\n\r\nhello\r\n')
imap = imaplib.IMAP4_SSL('127.0.0.1', base + 993, ssl_context=trust)
imap.login('bob@example.test', 'bob-secret')
assert imap.select('INBOX')[1] == [b'1'], 'one message'
kind, data = imap.fetch('1', '(RFC822 FLAGS)')
assert kind == 'OK' and b'by python' in data[0][1], data
imap.store('1', '+FLAGS', '(\\Flagged $Work)')
imap.create('Entw&APw-rfe')
assert imap.copy('1', '"Entw&APw-rfe"')[0] == 'OK'
assert imap.append('Sent', '(\\Seen)', None, b'Subject: sent\r\n\r\nx\r\n')[0] == 'OK'
assert imap.status('Sent', '(MESSAGES UNSEEN)')[1] == [b'Sent (MESSAGES 1 UNSEEN 0)'], imap.status('Sent', '(MESSAGES UNSEEN)')
assert any(b'Entw&APw-rfe' in line for line in imap.list()[1])
assert imap.uid('SEARCH', None, 'KEYWORD', '$Work')[1] == [b'1']
imap.store('1', '+FLAGS', '\\Deleted')
assert imap.expunge()[1] == [b'1']
imap.logout()
with smtplib.SMTP('127.0.0.1', base + 25) as smtp:
    smtp.sendmail('x@client.example', ['bob@example.test'], b'Subject: raw\r\n\r\n\xff\xfe ' + b'l' * 1500 + b'\r\n')
pop = poplib.POP3_SSL('127.0.0.1', base + 995, context=trust)
assert pop.capa()['SASL'][:2] == ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256'], pop.capa()
pop.user('bob@example.test'); pop.pass_('bob-secret')
assert pop.stat()[0] == 1
lines = pop.retr(1)[1]
assert lines[-1] == b'\xff\xfe ' + b'l' * 1500, lines[-1][:20]
pop.dele(1)
pop.quit()
"#;

#[test]
fn pythons_libraries_find_their_way() {
    let system = System::new();
    let _all = system.start("mailctl");
    let script = system.client_path("clients.py");
    std::fs::write(&script, PYTHON).unwrap();
    succeed("python3", &[&script, &system.base.to_string()], "");
}

#[test]
fn neomutt_reads_moves_and_sends() {
    let system = System::new();
    let _all = system.start("mailctl");
    let mut client = system.connect(24);
    client.hear(&["220 "]);
    client.ask("LHLO client.example", &["250 "]);
    client.ask("MAIL FROM:<>", &["250 "]);
    client.ask("RCPT TO:<ann@example.test>", &["250 "]);
    client.ask("DATA", &["354 "]);
    client.say("From: Bob <bob@example.test>\r\nSubject: for neomutt\r\n\r\nhello\r\n.\r\n");
    client.hear(&["250 "]);
    let config = system.client_path("muttrc");
    let text = format!(
        "set imap_user=ann@example.test\nset imap_pass=ann-secret\nset ssl_starttls=no\nset ssl_force_tls=no\n\
         set imap_authenticators=\"login\"\nset smtp_authenticators=\"plain\"\n\
         set folder=imap://127.0.0.1:{imap}/\nset spoolfile=+INBOX\nset record=\nset header_cache=\nset from=ann@example.test\n\
         set smtp_url=smtp://ann@example.test@127.0.0.1:{submission}/\nset smtp_pass=ann-secret\nset copy=yes\n\
         set confirmappend=no\nset delete=yes\nset move=no\nset quit=yes\nset mail_check=1\nset tmpdir={folder}\n",
        imap = system.port(143),
        submission = system.port(587),
        folder = system.client_path(""),
    );
    std::fs::write(&config, text).unwrap();
    let home = ["-n", "-F", &config];
    // It answers from the command line: a message out.
    let sent = run("neomutt", &[&home[..], &["-s", "from neomutt", "--", "bob@example.test"]].concat(), "hello bob\n");
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    // And without a terminal it does what its keys say: open, flag, save elsewhere, leave.
    let keys = "push \"<flag-message><tag-prefix><save-message>=Archive<enter><sync-mailbox><quit>\"";
    let screen = run("script", &["-qec", &format!("neomutt -n -F {config} -e '{keys}'"), "/dev/null"], "");
    assert!(screen.status.success(), "{}", String::from_utf8_lossy(&screen.stdout));
    let mut imap = system.connect(143);
    imap.hear(&["* OK"]);
    imap.ask("a LOGIN ann@example.test ann-secret", &["a OK"]);
    let counts = imap.ask("b LIST \"\" (INBOX Archive) RETURN (STATUS (MESSAGES))", &["b OK"]);
    for expected in ["STATUS INBOX (MESSAGES 0)", "STATUS Archive (MESSAGES 1)"] {
        assert!(counts.contains(expected), "{counts}");
    }
    imap.ask("c SELECT Archive", &["c OK"]);
    assert!(imap.ask("d FETCH 1 (FLAGS)", &["d OK"]).contains("\\Flagged"));
    let mut bob = system.connect(110);
    bob.hear(&["+OK"]);
    bob.ask("USER bob@example.test", &["+OK"]);
    bob.ask("PASS bob-secret", &["+OK"]);
    assert!(bob.ask("RETR 1", &[".\r\n"]).contains("Subject: from neomutt"));
}
