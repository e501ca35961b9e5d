//! The configuration as users meet it.

use std::net::SocketAddr;

use mailwright_daemon::{Config, Kind, Place, TEMPLATE};
use routing::TlsPolicy;

#[test]
fn the_template_says_what_the_defaults_are() {
    assert_eq!(Config::parse(TEMPLATE), Ok(Config::default()));
    for key in toml::Table::try_from(Config::default()).unwrap().keys().filter(|key| *key != "route") {
        assert!(TEMPLATE.contains(&format!("\n{key} = ")) || TEMPLATE.contains(&format!("[{key}]")), "{key}");
    }
}

#[test]
fn samples_are_good() {
    // rule 37
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/config");
    let mut samples = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let parsed = Config::parse(&std::fs::read_to_string(&path).unwrap());
        assert!(parsed.is_ok(), "{}: {parsed:?}", path.display());
        samples += 1;
    }
    assert_eq!(samples, 3);
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    let table = [
        ("hostnam = \"x\"", Some((1, 1)), "unknown field `hostnam`"),
        ("\n[smtp]\nenable = true", Some((3, 1)), "unknown field `enable`, expected one of `enabled`"),
        ("[log]\nformat = \"xml\"", Some((2, 10)), "expected `text` or `json`"),
        ("shutdown_grace_seconds = \"soon\"", Some((1, 26)), "\"soon\", expected a whole number, 0 or more"),
        ("base_port = 700000", Some((1, 13)), "`700000`, expected a whole number from 0 to 65535"),
        ("bind = [\"localhost\"]", Some((1, 9)), "expected an IP address, like 192.0.2.1 or 2001:db8::1"),
        ("[dns]\nservers = [\"192.0.2.53\"]", Some((2, 12)), "expected an IP address and a port, like 127.0.0.1:53"),
        ("hostname = \"a b\"", None, "expected a domain name"),
        ("bind = []", None, "at least one address"),
        ("base_port = 64541", None, "at most 64540"),
        ("[smtp]\nrelay_networks = [\"10.0.0.0/99\"]", None, "smtp.relay_networks: \"10.0.0.0/99\""),
        ("[tls]\nkey = \"k\"", None, "go together"),
        ("[limits]\nrecipients = 99", None, "limits.recipients = 99: expected 100 to 50000"),
        ("[[route]]\nrecipient_domain = \"x\"", None, "route 1: action = \"relay\" needs relay_host"),
        ("[[route]]\ntls = \"Dane\"", Some((2, 7)), "expected auto, none, opportunistic, required, verified or dane"),
        ("[[route]]\nrelay_host = \"x\"\nehlo_name = \"a b\"", None, "route 1: ehlo_name = \"a b\": expected a domain"),
        ("[delivery]\nehlo_name = \"a b\"", None, "delivery.ehlo_name = \"a b\": expected a domain name"),
        ("[log]\nlevel = \"loud\"", None, "log.level = \"loud\": expected error, warn"),
        ("[[milter]]\nname = \"x\"", None, "name and address are needed"),
        ("[[milter]]\nname = \"x\"\naddress = \"/x\"\nmacros = { end = [] }", Some((4, 12)), "unknown field `end`"),
        (
            "[[milter]]\nname = \"x\"\naddress = \"/x\"\nmacros.mail = [\"{i}\", \"{mail_adr}\"]",
            None,
            "macros: \"mail_adr\": expected one of _, auth_authen",
        ),
        ("[[hook]]\nname = \"x\"\nurl = \"https://a.example/\"\nstages = [\"end\"]", None, "\"end\": expected one of"),
        ("[smtp]\nvrfy = \"some\"", Some((2, 8)), "expected one of `nobody`, `trusted`, `everybody`"),
        ("[smtp]\nbackup_domains = [{ domain = \"a b\" }]", None, "expected a domain name"),
        ("= 1", Some((1, 1)), ""),
    ];
    for (text, place, reason) in table {
        let (found, words) = Config::parse(text).expect_err(text);
        assert_eq!(found, place, "{text}: {words}");
        assert!(words.contains(reason), "{text}: {words}");
    }
}

#[test]
fn tls_of_a_route_is_read_and_written() {
    let text = "action = \"relay\"\nrelay_host = \"a.example\"\n";
    for (line, expected) in [("", TlsPolicy::Auto), ("tls = \"dane\"\n", TlsPolicy::Dane)] {
        let config = Config::parse(&format!("[[route]]\n{text}{line}")).unwrap();
        assert_eq!(config.route[0].tls, expected);
        assert!(toml::to_string(&config.route[0]).unwrap().contains(&format!("tls = \"{expected}\"\n")));
    }
}

#[test]
fn a_file_is_named_with_line_and_column() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mailwright.toml");
    std::fs::write(&path, "data = \"d\"\nhello = 1\n").unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    assert!(error.contains("mailwright.toml:2:1: unknown field `hello`"), "{error}");
    std::fs::write(&path, "data = \"d\"\n").unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.data, directory.path().join("d"));
    assert_eq!(config.lmtp.socket, directory.path().join("run/lmtp.sock"));
}

#[test]
fn listeners_are_where_the_contract_has_them() {
    // rule 28: LMTP on TCP and HTTP stay on loopback whatever `bind` says.
    let text = "bind = [\"192.0.2.1\", \"::1\"]\nbase_port = 20000\n[tls]\ncertificate = \"c\"\nkey = \"k\"\n";
    let config = Config::parse(text).unwrap();
    let tcp = |text: &str| Place::Tcp(text.parse::<SocketAddr>().unwrap());
    let table = [
        (Kind::Smtp, 20025),
        (Kind::Submission, 20587),
        (Kind::Submissions, 20465),
        (Kind::Imap, 20143),
        (Kind::Imaps, 20993),
        (Kind::Pop3, 20110),
        (Kind::Pop3s, 20995),
    ];
    for (kind, port) in table {
        assert_eq!(config.places(kind), [tcp(&format!("192.0.2.1:{port}")), tcp(&format!("[::1]:{port}"))]);
    }
    assert_eq!(config.places(Kind::Http), [tcp("127.0.0.1:20080")]);
    assert_eq!(config.places(Kind::Lmtp)[1..], [tcp("127.0.0.1:20024")]);
    let plain = Config::parse("").unwrap();
    assert_eq!(plain.places(Kind::Lmtp).len(), 1);
    assert_eq!(plain.places(Kind::Http), [tcp("127.0.0.1:8080")]);
    assert_eq!(plain.places(Kind::Smtp), [tcp("0.0.0.0:25"), tcp("[::]:25")]);
    assert!(plain.places(Kind::Imaps).is_empty(), "no certificate, no TLS port");
}

#[test]
fn a_reload_names_what_needs_a_restart() {
    // rule 27
    let old = Config::parse("").unwrap();
    let new =
        Config::parse("hostname = \"b.example\"\n[limits]\nrecipients = 200\n[tls]\ncertificate = \"c\"\nkey = \"k\"");
    assert_eq!(old.needs_restart(&new.unwrap()), ["hostname", "limits.recipients"]);
    let smtp = "[dns]\nca_file = \"c\"\n[smtp]\nrelay_networks = [\"192.0.2.0/24\"]\nbackup_domains = [{ domain = \"b.example\" }]\n";
    assert_eq!(old.needs_restart(&Config::parse(smtp).unwrap()), [""; 0]);
    assert_eq!(old.needs_restart(&Config::parse(&format!("{smtp}tarpit_ms = 5")).unwrap()), ["smtp.tarpit_ms"]);
    let route = Config::parse("[[route]]\naction = \"discard\"\n[delivery.retry]\nmax_seconds = 60").unwrap();
    assert_eq!(old.needs_restart(&route), ["delivery.retry.max_seconds", "route"]);
}
