//! The command line, as scripts rely on it.

use mailwright_e2e::{System, program, run, succeed};

#[test]
fn quickstart_makes_the_trip_and_loses_nothing_the_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("demo").display().to_string();
    let base = System::new().base.to_string();
    let quickstart = ["quickstart", &directory, "--once", "--base-port", &base];
    let first = succeed(program("mailctl"), &quickstart, "");
    assert!(first.contains("it all works") && first.contains("1 messages in INBOX"), "{first}");
    let second = succeed(program("mailctl"), &quickstart, "");
    assert!(second.contains("2 messages in INBOX"), "{second}");
}

#[test]
fn what_is_wrong_with_a_configuration_is_one_line_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mailwright.toml");
    std::fs::write(&path, "\nhostnam = \"x\"\n").unwrap();
    let config = path.display().to_string();
    for name in ["mta", "imapd", "pop3d"] {
        let output = run(program(name), &["--config", &config], "");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name}: {words}");
        assert!(words.contains("mailwright.toml:2:1: unknown field `hostnam`"), "{words}");
        assert_eq!(words.lines().count(), 1, "{words}");
    }
    // rule 34: commands of later parts say so.
    let output = run(program("mailctl"), &["backup", "create", "x"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not in this version"));
}

#[test]
fn a_check_finds_what_a_daemon_would_refuse_to_start_with() {
    let table = [
        ("[[milter]]\nname = \"m\"\naddress = \"nowhere\"", "milter m: address = \"nowhere\": expected unix:/path"),
        ("[[hook]]\nname = \"h\"\nurl = \"http://192.0.2.1/\"", "hook h: the URL must be http to a loopback address"),
        ("[[route]]\nrelay_host = \"relay.test\"\nuser = \"u\"\npassword_file = \"none\"", "route 1: password_file: "),
        ("[[route]]\nrecipient_domain = \"a b\"\naction = \"discard\"", "route 1: \"a b\": malformed domain"),
    ];
    let keys = [
        ("smtp", "backup_domains", "[{ domain = \"b.test\", recipients_file = \"none\" }]", "backup_domains: b.test: "),
        ("policy", "message_octets_for", "[{ address = \"x\", octets = 1 }]", "message_octets_for: address = \"x\": "),
        ("dns", "trust_anchor", "\"none\"", "dns: "),
        ("dns", "ca_file", "\"none\"", "dns.ca_file: "),
        ("tls", "certificate", "\"none\"", "tls: "),
    ];
    let system = System::new();
    let (config, good) = (system.config(), std::fs::read_to_string(system.config()).unwrap());
    let refused = |reason: &str| {
        for (name, arguments) in [("mailctl", &["check", "config"][..]), ("mta", &["--check"]), ("mta", &[])] {
            let output = run(program(name), &[&["--config", &config], arguments].concat(), "");
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = words.lines().last().unwrap_or_default();
            assert_eq!(output.status.code(), Some(2), "{name} {arguments:?}: {words}");
            assert!(last.starts_with(&format!("error: {config}: ")) && last.contains(reason), "{name}: {words}");
        }
        std::fs::write(&config, &good).unwrap();
    };
    for (section, reason) in table {
        system.append(section);
        refused(reason);
    }
    for (section, key, value, reason) in keys {
        system.set(section, key, value);
        refused(reason);
    }
}

#[test]
fn a_data_directory_that_is_not_mounted_is_not_begun_anew() {
    let system = System::new();
    let (config, data, away) = (system.config(), system.path("data"), system.path("away"));
    std::fs::rename(&data, &away).unwrap();
    let refused = |name: &str, arguments: &[&str], reason: &str| {
        let output = run(program(name), &[&["--config", &config], arguments].concat(), "");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name} {arguments:?}: {words}");
        assert!(words.lines().last().is_some_and(|line| line.contains(reason)), "{name}: {words}");
    };
    let all = [
        ("mta", &[][..]),
        ("imapd", &[]),
        ("pop3d", &[]),
        ("mailctl", &["account", "list"]),
        ("mailctl", &["salvage"]),
    ];
    for (name, arguments) in all {
        refused(name, arguments, "data: is not there: is its disk mounted?");
    }
    let told = system.mailctl(&["check", "config"], "");
    assert!(
        told.contains(": good, for ") && told.contains("no daemon starts yet: ") && told.contains("is not there"),
        "{told}"
    );
    std::fs::create_dir(&data).unwrap();
    for (name, arguments) in all {
        refused(name, arguments, "data: is empty: is its disk mounted?");
    }
    std::fs::remove_dir(&data).unwrap();
    std::fs::rename(&away, &data).unwrap();
    assert!(system.mailctl(&["account", "list"], "").contains("ann@example.test"));
    // A store of a version to come is found by a check, too.
    std::fs::write(format!("{data}/format"), "mailwright store 99\n").unwrap();
    refused("mailctl", &["check", "config"], "has format 99");
}

#[test]
fn accounts_aliases_and_domains_are_kept_and_told_as_json() {
    let system = System::new();
    system.mailctl(&["domain", "add", "other.test", "--catch-all", "ann@example.test"], "");
    system.mailctl(&["alias", "add", "team@example.test", "ann@example.test", "bob@example.test"], "");
    let aliases = system.mailctl(&["alias", "list", "--json"], "");
    // rule 14: the first account got what every domain owes.
    for owed in ["\"postmaster\"", "abuse@example.test", "root@example.test", "team@example.test"] {
        assert!(aliases.contains(owed), "{aliases}");
    }
    assert!(system.mailctl(&["domain", "list", "--json"], "").contains("\"catch_all\":\"ann@example.test\""));
    let csv = system.client_path("accounts.csv");
    std::fs::write(&csv, "carl@example.test,{PLAIN}x,1000\ndora@example.test,{MD5}y\n").unwrap();
    let config = system.config();
    let output = run(program("mailctl"), &["--config", &config, "account", "import", &csv], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 2"));
    assert!(!system.mailctl(&["account", "list"], "").contains("carl"));
    std::fs::write(&csv, "carl@example.test,{PLAIN}x,1000\n").unwrap();
    system.mailctl(&["account", "import", &csv], "");
    assert!(system.mailctl(&["account", "show", "carl@example.test", "--json"], "").contains("\"quota_octets\":1000"));
    system.mailctl(&["check", "config"], "");
}
