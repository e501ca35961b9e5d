//! Mail from programs of this machine, as any of its users sends it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mailwright_e2e::{System, program, run as run_plain};
use nix::unistd::{User, geteuid};

/// A system that other users can reach, and the commands as they call them.
struct Machine {
    system: System,
    sendmail: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let system = System::new();
        for folder in [system.client_path(""), system.path("")] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let bin = PathBuf::from(system.client_path("bin"));
        fs::create_dir(&bin).unwrap();
        // The place where the programs were built may be closed to others.
        copy(&program("mailctl"), &bin.join("mailctl"));
        for name in ["sendmail", "mailq", "newaliases"] {
            symlink("mailctl", bin.join(name)).unwrap();
        }
        let sendmail = bin.join("sendmail");
        Self { system, sendmail }
    }

    /// Somebody who is nobody special; ourselves where we may not be others.
    fn other() -> User {
        let user = if geteuid().is_root() { User::from_name("nobody").unwrap() } else { None };
        user.unwrap_or_else(|| User::from_uid(geteuid()).unwrap().unwrap())
    }

    fn run_as(&self, user: &User, name: &str, arguments: &[&str], input: &str) -> Output {
        let config = self.system.config();
        let mut command = Command::new(self.sendmail.with_file_name(name));
        command.args(["-C", &config]).args(arguments).current_dir("/").env_clear();
        if geteuid().is_root() {
            command.gid(user.gid.as_raw()).uid(user.uid.as_raw());
        }
        let input_file = self.system.client_path("input");
        fs::write(&input_file, input).unwrap();
        let output = command.stdin(fs::File::open(input_file).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
        output.spawn().unwrap().wait_with_output().unwrap()
    }

    fn dropped(&self) -> Vec<PathBuf> {
        fs::read_dir(self.system.path("drop")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

/// By another process: a program that this one has open for writing, or a child of it that another test starts, cannot be
/// run.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("/bin/cp").args([from, to]).status().unwrap().success());
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).unwrap();
}

fn status(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn anybody_sends_while_nothing_runs() {
    // rule 29
    let machine = Machine::new();
    let user = Machine::other();
    let drop = machine.system.path("drop");
    assert_eq!(fs::metadata(&drop).unwrap().mode() & 0o7777, 0o1733);
    assert_eq!(fs::metadata(&machine.sendmail).unwrap().mode() & 0o6000, 0, "nothing is set-gid");
    let message = "To: root, Bob <bob@example.test>\nBcc: secret@example.net\nSubject: x\n\nhello\n.\nnot this\n";
    let output = machine.run_as(&user, "sendmail", &["-t", "-f", "x@elsewhere.example"], message);
    assert_eq!(status(&output), (Some(0), String::new()));
    let files = machine.dropped();
    assert_eq!(files.len(), 1, "{files:?}");
    let facts = fs::metadata(&files[0]).unwrap();
    assert_eq!((facts.uid(), facts.mode() & 0o7777, facts.nlink()), (user.uid.as_raw(), 0o644, 1));
    let text = fs::read_to_string(&files[0]).unwrap();
    let envelope = "MAIL FROM:<x@elsewhere.example>\nRCPT TO:<root@example.test>\nRCPT TO:<bob@example.test>\n\
        RCPT TO:<secret@example.net>\nBDAT ";
    assert!(text.starts_with("mailwright-drop 1\n") && text.contains(envelope), "{text}");
    assert!(
        text.contains("\r\nSubject: x\r\n") && text.ends_with("\r\n\r\nhello\r\n") && !text.contains("Bcc"),
        "{text}"
    );
    if geteuid().is_root() {
        // The directory, the configuration and the store are not theirs to read.
        for (reader, path) in
            [("/bin/ls", drop), ("/bin/cat", machine.system.config()), ("/bin/ls", machine.system.path("data"))]
        {
            let mut command = Command::new(reader);
            let output = command.arg(&path).gid(user.gid.as_raw()).uid(user.uid.as_raw()).output().unwrap();
            assert!(!output.status.success(), "{path}: {output:?}");
        }
        let queue = machine.run_as(&user, "mailq", &[], "");
        assert_eq!(queue.status.code(), Some(77), "{}", status(&queue).1);
    }
}

#[test]
fn the_commands_have_their_names_and_statuses() {
    let machine = Machine::new();
    let ourselves = User::from_uid(geteuid()).unwrap().unwrap();
    let run = |name: &str, arguments: &[&str], input: &str| machine.run_as(&ourselves, name, arguments, input);
    assert_eq!(run("newaliases", &[], "").status.code(), Some(0));
    assert_eq!(run("sendmail", &["-q15m"], "").status.code(), Some(0));
    let queue = run("mailq", &[], "");
    assert_eq!(String::from_utf8_lossy(&queue.stdout), "Mail queue is empty\n", "{}", status(&queue).1);
    for (arguments, input, code) in [
        (&["-Z"][..], "", 64),
        (&[][..], "x\n", 64),
        (&["-t"][..], "Subject: x\n\n", 65),
        (&["bob@"][..], "x\n", 0),
        (&["bob@@x"][..], "x\n", 65),
        (&["-C", "/nowhere/mailwright.toml", "bob"][..], "x\n", 78),
    ] {
        let output = run("sendmail", arguments, input);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", status(&output).1);
    }
    let talk = "EHLO x\r\nMAIL FROM:<ann@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nSubject: y\r\n\r\n.\r\nQUIT\r\n";
    let spoken = run("sendmail", &["-bs"], talk);
    assert!(String::from_utf8_lossy(&spoken.stdout).contains("\r\n250 2.0.0 queued\r\n"), "{spoken:?}");
    assert_eq!(machine.dropped().len(), 2);
    // As a command of mailctl it is the same.
    machine.system.mailctl(&["sendmail", "-i", "-FCron Daemon", "-B8BITMIME", "-oem", "--", "root"], "x\n.\n");
    let config = machine.system.config();
    for (arguments, code) in [
        (&["sendmail", "--", "-odd"][..], 0),
        (&["sendmail", "--config", &config, "--", "bob"][..], 0),
        (&["sendmail", "-odd"][..], 64),
        (&["sendmail", "--help"][..], 0),
    ] {
        let arguments = [&["--config", &config], arguments].concat();
        let output = run_plain(program("mailctl"), &arguments, "x\n");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", status(&output).1);
    }
    let has = |path: &PathBuf| fs::read_to_string(path).unwrap().contains("From: Cron Daemon <");
    assert_eq!(machine.dropped().iter().filter(|path| has(path)).count(), 1);
}

#[test]
fn programs_that_call_sendmail_find_it() {
    let machine = Machine::new();
    let (sendmail, config) = (machine.sendmail.display().to_string(), machine.system.config());
    // s-nail and bsd-mailx take the command from a variable; git from its configuration.
    let (script, wrapper) = (machine.system.client_path("script"), machine.sendmail.with_file_name("wrapper"));
    fs::write(&script, format!("#!/bin/sh\nexec {sendmail} -C {config} \"$@\"\n")).unwrap();
    copy(Path::new(&script), &wrapper);
    let wrapper = wrapper.display().to_string();
    let mut callers = 0;
    for mailer in ["/usr/bin/bsd-mailx", "/usr/bin/s-nail"] {
        if !Path::new(mailer).exists() {
            continue;
        }
        let (message, settings) = (machine.system.client_path("message"), machine.system.client_path("mailrc"));
        fs::write(&message, "hello\n.\nstill\n").unwrap();
        let variable = if mailer.ends_with("s-nail") { "mta" } else { "sendmail" };
        fs::write(&settings, format!("set {variable}={wrapper}\nset sendwait\n")).unwrap();
        let mut command = Command::new(mailer);
        command.args(["-s", "subject", "bob@example.test"]).env("HOME", "/nonexistent").env("MAILRC", settings);
        let output = command.stdin(fs::File::open(message).unwrap()).output().unwrap();
        assert!(output.status.success(), "{mailer}: {output:?}");
        callers += 1;
    }
    let texts = || machine.dropped().iter().map(|path| fs::read_to_string(path).unwrap()).collect::<Vec<_>>();
    assert!(callers > 0, "neither s-nail nor bsd-mailx is here");
    assert_eq!(texts().len(), callers);
    assert!(
        texts()
            .iter()
            .all(|text| text.contains("RCPT TO:<bob@example.test>\n") && text.contains("Subject: subject\r\n"))
    );
}
