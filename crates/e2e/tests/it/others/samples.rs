//! rule 37: the sample configurations do what they say: null client, smarthost, backup MX. Each is taken as it stands in
//! `examples/config`; only names, ports and paths are those of the test.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use mailwright_e2e::authority::Authority;
use mailwright_e2e::peers::exim::Exim;
use mailwright_e2e::peers::free_port;
use mailwright_e2e::peers::knot::Knot;
use mailwright_e2e::peers::postfix::{Postfix, Service};
use mailwright_e2e::{Conversation, Daemon, free_base, program, succeed, wait_until};

use super::open;

/// A folder with a sample configuration in it, and a name server that knows its peers.
struct Sample {
    folder: tempfile::TempDir,
    authority: Authority,
    base: u16,
    _knot: Option<Knot>,
}

impl Sample {
    fn new(name: &str, records: &str, replacements: &[(&str, &str)], more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path());
        let path = |name: &str| folder.path().join(name);
        let text = sample(name);
        // As it stands it is good, with the files that it names beside it.
        fs::write(path("as-it-is.toml"), &text).unwrap();
        fs::write(path("provider.password"), "secret\n").unwrap();
        fs::write(path("example.org.recipients"), "known@primary.test\n").unwrap();
        let config = path("as-it-is.toml").display().to_string();
        succeed(program("mailctl"), &["--config", &config, "check", "config"], "");
        let base = free_base();
        let knot = Knot::serve(&path("knot"), records, "", &[], &[]);
        let authority = Authority::new();
        authority.write(&path("authority.pem"));
        fs::write(path("anchor"), &knot.anchor).unwrap();
        fs::create_dir(path("data")).unwrap();
        let mut text = text.replace("\"/var/lib/mailwright/data\"", "\"data\"").replace(
            "run = \"/run/mailwright\"",
            &format!("run = \"run\"\nuser = \"root\"\nbind = [\"127.0.0.1\"]\nbase_port = {base}"),
        );
        for (from, to) in replacements {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        text.push_str(&format!(
            "\n[dns]\nservers = [\"{}\"]\ntrust_anchor = \"anchor\"\nca_file = \"authority.pem\"\n{more}",
            knot.place
        ));
        // Tables come behind the keys of other sections, so what is a list of tables goes last.
        let (front, routes) = text.split_at(text.find("[[route]]").unwrap_or(text.len()));
        let (routes, added) = routes.split_at(routes.find("\n[dns]").unwrap_or(routes.len()));
        fs::write(path("mailwright.toml"), format!("{front}\n{added}\n{routes}")).unwrap();
        Self { folder, authority, base, _knot: Some(knot) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> String {
        self.path("mailwright.toml").display().to_string()
    }

    fn mailctl(&self, arguments: &[&str], input: &str) -> String {
        succeed(program("mailctl"), &[&["--config", &self.config()], arguments].concat(), input)
    }

    fn start(&self) -> Daemon {
        Daemon::start("mta", &["--config", &self.config()])
    }
}

fn sample(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/config").join(name)).unwrap()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

#[test]
fn a_null_client_hands_everything_to_the_server_of_its_site() {
    let port = free_port();
    let sample = Sample::new(
        "null-client.toml",
        "relay A 127.0.0.1\n",
        &[("mail.example.org", "relay.test"), ("relay_port = 25", &format!("relay_port = {port}"))],
        "[routing]\nprivate_targets = [\"127.0.0.0/8\"]\n",
    );
    let certified = sample.authority.certify(sample.folder.path(), &["relay.test"]);
    let settings = format!(
        "myhostname = relay.test\nsmtpd_tls_security_level = encrypt\nsmtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n",
        certified.certificate.display(),
        certified.key.display()
    );
    let service = Service { place: loopback(port), settings: Vec::new() };
    let postfix = Postfix::site(&sample.path("postfix"), "example.org elsewhere.test", &[service], &settings);
    let mta = sample.start();
    for standard in [25, 587, 143, 110] {
        assert!(
            std::net::TcpStream::connect(("127.0.0.1", sample.base + standard)).is_err(),
            "port {standard} is open"
        );
    }
    sample.mailctl(&["sendmail", "-t"], "To: root, x@elsewhere.test\nSubject: from cron\n\nhello\n");
    let mail = wait_until("both", || Some(postfix.mail()).filter(|mail| mail.len() == 2));
    assert!(mail.iter().all(|message| message.contains("Subject: from cron")), "{mail:?}");
    assert!(mail.iter().any(|message| message.contains("Delivered-To: root@example.org")), "{mail:?}");
    assert!(mail.iter().all(|message| message.contains("Return-Path: <root@example.org>")), "{mail:?}");
    assert!(mta.stop());
}

#[test]
fn a_smarthost_is_logged_in_to() {
    let port = free_port();
    let sample = Sample::new(
        "smarthost.toml",
        "smtp.provider A 127.0.0.1\n",
        &[
            ("smtp.provider.example", "smtp.provider.test"),
            ("us@provider.example", "us"),
            ("relay_port = 587", &format!("relay_port = {port}")),
        ],
        "[routing]\nprivate_targets = [\"127.0.0.0/8\"]\n[submission]\nallow_plaintext_auth = true\n",
    );
    let certified = sample.authority.certify(sample.folder.path(), &["smtp.provider.test"]);
    let exim = Exim::start(&sample.path("exim"), port, 9, &certified, "");
    sample.mailctl(&["domain", "add", "example.org"], "");
    for name in ["ann", "bob"] {
        sample.mailctl(
            &["account", "add", &format!("{name}@example.org"), "--password-stdin"],
            &format!("{name}-secret\n"),
        );
    }
    let mta = sample.start();
    let mut ann = Conversation::with(sample.base + 587);
    ann.hear(&["220 "]);
    ann.ask("EHLO client.example", &["250 "]);
    // \0ann@example.org\0ann-secret
    ann.ask("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBhbm4tc2VjcmV0", &["235 "]);
    ann.ask("MAIL FROM:<ann@example.org>", &["250 "]);
    ann.ask("RCPT TO:<x@exim.test>", &["250 "]);
    ann.ask("RCPT TO:<bob@example.org>", &["250 "]);
    ann.ask("DATA", &["354 "]);
    ann.ask("From: ann@example.org\r\nSubject: by the smarthost\r\n\r\nhello\r\n.", &["250 "]);
    let mail = wait_until("the message", || exim.mail().pop());
    assert!(mail.contains("Subject: by the smarthost"), "{mail}");
    let log = exim.log();
    assert!(log.contains("A=plain:us") && log.contains("for x@exim.test") && !log.contains("bob@example.org"), "{log}");
    assert!(mta.stop());
}

#[test]
fn a_backup_mx_keeps_mail_until_the_other_is_back() {
    let port = free_port();
    let primary = IpAddr::from([127, 77, 3, 1]);
    let sample = Sample::new(
        "backup-mx.toml",
        &format!("primary MX 10 mx.primary\nprimary MX 20 backup\nmx.primary A {primary}\nbackup A 127.77.3.2\n"),
        &[
            ("backup.example.net", "backup.test"),
            ("domain = \"example.org\"", "domain = \"primary.test\""),
            ("expire_hours = 168", "first_seconds = 1\ngreylist_seconds = 1\nexpire_hours = 168"),
        ],
        &format!("[routing]\nport = {port}\nprivate_targets = [\"127.0.0.0/8\"]\n"),
    );
    let mta = sample.start();
    let mut stranger = Conversation::with(sample.base + 25);
    stranger.hear(&["220 "]);
    stranger.ask("EHLO client.example", &["250 "]);
    stranger.ask("MAIL FROM:<x@client.example>", &["250 "]);
    // Whom nobody knows is refused now, not bounced later.
    let unknown = stranger.ask("RCPT TO:<unknown@primary.test>", &["250 ", "5", "4"]);
    assert!(unknown.starts_with("550 5.1.1"), "{unknown}");
    let foreign = stranger.ask("RCPT TO:<x@elsewhere.test>", &["250 ", "5", "4"]);
    assert!(foreign.starts_with('5'), "{foreign}");
    stranger.ask("RCPT TO:<known@primary.test>", &["250 "]);
    stranger.ask("DATA", &["354 "]);
    stranger.ask("Subject: kept\r\n\r\nx\r\n.", &["250 "]);
    wait_until("the first attempt", || mta.log().contains("deferred").then_some(()));
    // We are in the MX records ourselves, and what is no better than we are is cut off (RFC 5321 §5.1).
    assert!(
        mta.log().contains("host=\"mx.primary.test\"") && !mta.log().contains("host=\"backup.test\""),
        "{}",
        mta.log()
    );
    let service = Service { place: SocketAddr::new(primary, port), settings: Vec::new() };
    let postfix = Postfix::site(&sample.path("postfix"), "primary.test", &[service], "myhostname = mx.primary.test\n");
    // A destination that could not be reached rests for a minute; a new runner knows nothing of that.
    assert!(mta.stop());
    let mta = sample.start();
    let mail = wait_until("the message", || postfix.mail().pop());
    assert!(mail.contains("Subject: kept") && mail.contains("Return-Path: <x@client.example>"), "{mail}");
    assert!(mta.stop());
}
