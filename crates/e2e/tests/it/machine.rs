//! Who may do what on the machine.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use mailwright_e2e::{System, program, run};
use nix::unistd::{User, geteuid};

fn own(path: &Path, user: &User) {
    chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            own(&entry.unwrap().path(), user);
        }
    }
}

#[test]
fn a_daemon_started_as_root_becomes_the_owner_of_the_data() {
    // rule 25
    let system = System::new();
    let data = system.path("data");
    for folder in ["data", "run"] {
        if let Ok(facts) = fs::metadata(system.path(folder)) {
            assert_eq!(facts.mode() & 0o777, 0o700, "{folder}");
        }
    }
    let config = fs::read_to_string(system.config()).unwrap();
    let (wanted, cure) = if geteuid().is_root() {
        assert!(config.contains("user = \"root\""), "init by root says so");
        // Without that word, mail is not served by root.
        fs::write(system.config(), config.replace("user = \"root\"", "user = \"\"")).unwrap();
        let refused = run(program("mta"), &["--config", &system.config()], "");
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{words}");
        assert!(words.contains("belongs to root: chown it"), "{words}");
        (User::from_name("nobody").unwrap().unwrap(), true)
    } else {
        (User::from_uid(geteuid()).unwrap().unwrap(), false)
    };
    if cure {
        own(Path::new(&system.path("")), &wanted);
        for folder in [system.client_path(""), system.path("")] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    let mta = system.start("mta");
    let status = fs::read_to_string(format!("/proc/{}/status", mta.pid())).unwrap();
    let uid = format!("Uid:\t{0}\t{0}\t{0}\t{0}\n", wanted.uid);
    assert!(status.contains(&uid) && status.contains("NoNewPrivs:\t1\n"), "{status}");
    let mut client = system.connect(25);
    client.hear(&["220 "]);
    client.ask("HELO client.example", &["250 "]);
    client.ask("MAIL FROM:<x@client.example>", &["250 "]);
    client.ask("RCPT TO:<ann@example.test>", &["250 "]);
    client.ask("DATA", &["354 "]);
    client.say("Subject: x\r\n\r\nx\r\n.\r\n");
    client.hear(&["250 "]);
    for entry in fs::read_dir(&data).unwrap() {
        let facts = entry.unwrap().metadata().unwrap();
        assert_eq!((facts.uid(), facts.mode() & 0o077), (wanted.uid.as_raw(), 0), "nobody else reads mail");
    }
    assert!(mta.stop());
}

#[test]
fn a_configuration_that_was_found_must_be_the_callers() {
    // rule 26
    let system = System::new();
    let here = system.path("");
    let found = |config: Option<&str>| {
        let mut check = Command::new(program("mailctl"));
        check.args(["check", "config"]).current_dir(&here).env_remove("MAILWRIGHT_CONFIG").stdin(Stdio::null());
        if let Some(config) = config {
            check.env("MAILWRIGHT_CONFIG", config);
        }
        let output = check.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let config = system.config();
    assert_eq!(found(None).0, Some(0), "{}", found(None).1);
    assert_eq!(found(Some(&config)).0, Some(0));
    // Others may write it.
    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
    for given in [None, Some(config.as_str())] {
        let (status, words) = found(given);
        assert_eq!(status, Some(2));
        assert!(words.contains("others may write it: give it with --config"), "{words}");
    }
    let given = run(program("mailctl"), &["--config", &config, "check", "config"], "");
    assert_eq!(given.status.code(), Some(0), "what was given is trusted");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    if geteuid().is_root() {
        // Somebody else's, for root.
        let nobody = User::from_name("nobody").unwrap().unwrap();
        chown(&config, Some(nobody.uid.as_raw()), None).unwrap();
        assert_eq!(found(None).0, Some(2), "{}", found(None).1);
    }
}

#[test]
fn lmtp_has_a_socket_for_its_group_alone() {
    // rule 28
    let system = System::new();
    let mta = system.start("mta");
    let socket = system.path("run/lmtp.sock");
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o660);
    let status = fs::read_to_string(format!("/proc/{}/limits", mta.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let limits: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(limits[0], limits[1], "NOFILE is raised: {line}");
    let second = run(program("mta"), &["--config", &system.config()], "");
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{words}");
    assert!(words.contains("is in use"), "{words}");
}
