//! The transport that hands a message to a program of this machine (rule 29).
//!
//! No shell is involved and nothing a stranger wrote becomes an option: an address stands in an argument of its own, and
//! one that begins with `-` is not handed over. The program runs without our rights and environment, in a process group
//! of its own that ends with it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User, geteuid};
use smtp::Reply;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::{Instant, timeout, timeout_at};

/// A program that takes mail, as the configuration names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pipe {
    /// The program, by its absolute path.
    pub program: PathBuf,
    /// Its arguments. One that is `{sender}`, `{recipient}`, `{local}`, `{domain}` or `{id}` as a whole is replaced; nothing else.
    pub arguments: Vec<String>,
    /// The user it runs as where we are root; never root. Default `nobody`.
    pub user: String,
    /// What it finds in its environment besides what every such program does.
    pub environment: Vec<(String, String)>,
    /// How long it may take; default 10 min.
    pub deadline: Duration,
    /// Octets kept of what it says, of each stream; default 4 KiB.
    pub output_octets: usize,
}

impl Pipe {
    /// A program with its defaults.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            user: "nobody".to_owned(),
            environment: Vec::new(),
            deadline: Duration::from_secs(600),
            output_octets: 4 << 10,
        }
    }
}

/// What is handed over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Handed {
    /// The queue id.
    pub queue_id: String,
    /// The sender without brackets; empty for `<>`, which programs are told as `MAILER-DAEMON`.
    pub sender: String,
    /// The recipient without brackets.
    pub recipient: String,
    /// The message.
    pub octets: Bytes,
}

/// What became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PipeOutcome {
    /// The program took it. `said`: what it wrote to standard output and standard error, cut at the bound.
    Delivered {
        /// What it said.
        said: String,
    },
    /// Try again later: why, and what it said.
    Temporary(Reply),
    /// It will never be taken: why, and what it said.
    Permanent(Reply),
}

/// How long the streams may stay open after the program has ended.
const LINGER: Duration = Duration::from_secs(1);

const SENDER_OF_REPORTS: &str = "MAILER-DAEMON";

/// Hands a message to a program and waits for it to end.
///
/// If the future is dropped, the program and all of its group are killed.
pub async fn hand_over(pipe: &Pipe, handed: &Handed) -> PipeOutcome {
    let arguments = match arguments(pipe, handed) {
        Ok(arguments) => arguments,
        Err(outcome) => return outcome,
    };
    let mut command = Command::new(&pipe.program);
    command.args(arguments).env_clear().current_dir("/").process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Err(reason) = become_user(&mut command, pipe) {
        return ours(&reason);
    }
    command.envs(environment(handed)).envs(pipe.environment.iter().map(|(name, value)| (name, value)));
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return ours(&format!("{}: {error}", pipe.program.display())),
    };
    let mut group = Group::of(child.id());
    let deadline = Instant::now() + pipe.deadline;
    let (input, octets) = (child.stdin.take(), handed.octets.clone());
    let writing = tokio::spawn(async move {
        if let Some(mut input) = input {
            // A program need not read what it does not want; its exit status says what it made of it.
            let _ = input.write_all(&octets).await;
        }
    });
    let mut out = tokio::spawn(bounded(child.stdout.take(), pipe.output_octets));
    let mut err = tokio::spawn(bounded(child.stderr.take(), pipe.output_octets));
    let ended = timeout_at(deadline, child.wait()).await;
    if ended.is_ok() {
        group.leader_ended();
    } else {
        group.kill();
        // It cannot refuse to end.
        let _ = child.wait().await;
        group.leader_ended();
    }
    let both = async { [(&mut out).await.unwrap_or_default(), (&mut err).await.unwrap_or_default()].concat() };
    let said = match timeout(LINGER, both).await {
        Ok(octets) => words(&octets),
        Err(_) => {
            // What it left behind holds its streams: that ends here, too.
            group.kill();
            String::new()
        }
    };
    for task in [&out, &err] {
        task.abort();
    }
    writing.abort();
    match ended {
        Ok(Ok(status)) => outcome(status, said),
        Ok(Err(error)) => ours(&error.to_string()),
        Err(_) => temporary("4.4.7", &with("killed at its deadline", &said)),
    }
}

/// The arguments, with what stands for them put in.
fn arguments(pipe: &Pipe, handed: &Handed) -> Result<Vec<OsString>, PipeOutcome> {
    let (local, domain) = handed.recipient.rsplit_once('@').unwrap_or((&handed.recipient, ""));
    let sender = if handed.sender.is_empty() { SENDER_OF_REPORTS } else { &handed.sender };
    let mut arguments = Vec::new();
    for argument in &pipe.arguments {
        let (value, code) = match argument.as_str() {
            "{sender}" => (sender, "5.1.7"),
            "{recipient}" => (handed.recipient.as_str(), "5.1.3"),
            "{local}" => (local, "5.1.3"),
            "{domain}" => (domain, "5.1.3"),
            "{id}" => (handed.queue_id.as_str(), "5.3.5"),
            literal => {
                arguments.push(literal.into());
                continue;
            }
        };
        if value.starts_with('-') || value.contains('\0') {
            return Err(permanent(code, "an address that begins with a hyphen is not handed to a program"));
        }
        arguments.push(value.into());
    }
    Ok(arguments)
}

/// What every program finds: nothing of ours.
fn environment(handed: &Handed) -> Vec<(&'static str, String)> {
    let (local, domain) = handed.recipient.rsplit_once('@').unwrap_or((&handed.recipient, ""));
    let (user, detail) = local.split_once('+').unwrap_or((local, ""));
    let sender = if handed.sender.is_empty() { SENDER_OF_REPORTS } else { &handed.sender };
    vec![
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("SENDER", sender.to_owned()),
        ("RECIPIENT", handed.recipient.clone()),
        ("LOCAL", user.to_owned()),
        ("EXTENSION", detail.to_owned()),
        ("DOMAIN", domain.to_owned()),
        ("QUEUE_ID", handed.queue_id.clone()),
    ]
}

/// As root, another user, who is not root; otherwise whoever we are.
fn become_user(command: &mut Command, pipe: &Pipe) -> Result<(), String> {
    let root = geteuid().is_root();
    let user = if root { User::from_name(&pipe.user) } else { User::from_uid(geteuid()) };
    let user = user.map_err(|error| format!("user database: {error}"))?;
    match &user {
        None if root => return Err(format!("there is no user {:?} to run it as", pipe.user)),
        Some(user) if user.uid.is_root() => return Err("a program that takes mail does not run as root".to_owned()),
        Some(user) if root => {
            // The standard library gives up our groups, too, where it gives up root.
            command.gid(user.gid.as_raw()).uid(user.uid.as_raw());
        }
        _ => {}
    }
    let (name, home) = user.map_or(("nobody".to_owned(), "/".into()), |user| (user.name, user.dir));
    command.env("HOME", home).env("USER", &name).env("LOGNAME", name).env("SHELL", "/bin/sh");
    Ok(())
}

/// The first octets of a stream; the rest is read and thrown away, so that nobody waits.
async fn bounded(stream: Option<impl AsyncRead + Unpin>, most: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return kept };
    let mut buffer = [0; 4096];
    while let Ok(octets @ 1..) = stream.read(&mut buffer).await {
        let room = most.saturating_sub(kept.len()).min(octets);
        kept.extend_from_slice(&buffer[..room]);
    }
    kept
}

/// What a program said, as a report can show it.
fn words(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    text.split(|char: char| char.is_control()).filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join(" ")
}

fn with(reason: &str, said: &str) -> String {
    if said.is_empty() { reason.to_owned() } else { format!("{reason}: {said}") }
}

fn temporary(code: &str, reason: &str) -> PipeOutcome {
    PipeOutcome::Temporary(Reply::new(451, format!("{code} {reason}")))
}

fn permanent(code: &str, reason: &str) -> PipeOutcome {
    PipeOutcome::Permanent(Reply::new(550, format!("{code} {reason}")))
}

/// The fault is ours, and the operator's to mend.
fn ours(reason: &str) -> PipeOutcome {
    temporary("4.3.5", reason)
}

/// An exit status by sysexits(3).
fn outcome(status: std::process::ExitStatus, said: String) -> PipeOutcome {
    let Some(exit) = status.code() else { return temporary("4.3.0", &with("ended by a signal", &said)) };
    let (code, meaning) = match exit {
        0 => return PipeOutcome::Delivered { said },
        75 => return temporary("4.3.0", &with("put off by the program", &said)),
        // What a shell says that may not start a program, or finds none: the operator's to mend.
        126 | 127 => return temporary("4.3.5", &with(&format!("cannot run (status {exit})"), &said)),
        65 => ("5.6.0", "data format error"),
        67 => ("5.1.1", "no such user"),
        68 => ("5.1.2", "no such host"),
        69 => ("5.3.0", "service unavailable"),
        73 => ("5.2.0", "cannot create output"),
        76 => ("5.5.0", "protocol error"),
        77 => ("5.7.0", "permission denied"),
        78 => ("5.3.5", "configuration error"),
        _ => ("5.3.0", "failed"),
    };
    permanent(code, &with(&format!("{meaning} (status {exit})"), &said))
}

/// The program's process group, which is killed if this goes before the program has ended.
struct Group {
    leader: Option<Pid>,
    ended: bool,
}

impl Group {
    fn of(leader: Option<u32>) -> Self {
        Self { leader: leader.and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw), ended: false }
    }

    fn leader_ended(&mut self) {
        self.ended = true;
    }

    fn kill(&self) {
        if let Some(leader) = self.leader {
            // It may be gone already.
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended {
            self.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed() -> Handed {
        Handed {
            queue_id: "id1".into(),
            sender: "ann@example.org".into(),
            recipient: "bob+lists@example.net".into(),
            octets: Bytes::from_static(b"Subject: x\r\n\r\nhello\r\n"),
        }
    }

    fn pipe(program: &str, arguments: &[&str]) -> Pipe {
        Pipe { arguments: arguments.iter().map(ToString::to_string).collect(), ..Pipe::new(program) }
    }

    async fn said(pipe: &Pipe, handed: &Handed) -> String {
        match hand_over(pipe, handed).await {
            PipeOutcome::Delivered { said } => said,
            other => panic!("{other:?}"),
        }
    }

    fn code(outcome: &PipeOutcome) -> String {
        match outcome {
            PipeOutcome::Delivered { .. } => "2.0.0".to_owned(),
            PipeOutcome::Temporary(reply) | PipeOutcome::Permanent(reply) => reply.enhanced().unwrap().to_string(),
        }
    }

    #[tokio::test]
    async fn the_message_is_on_standard_input() {
        assert_eq!(said(&pipe("/bin/cat", &[]), &handed()).await, "Subject: x hello");
        let short = Pipe { output_octets: 10, ..pipe("/bin/cat", &[]) };
        let large = Handed { octets: vec![b'x'; 1 << 20].into(), ..handed() };
        assert_eq!(said(&short, &large).await, "xxxxxxxxxx");
        assert_eq!(said(&pipe("/bin/true", &[]), &large).await, "", "it need not be read");
    }

    #[tokio::test]
    async fn the_environment_is_clean() {
        // rule 29
        let env = Pipe { environment: vec![("MORE".into(), "1".into())], ..pipe("/usr/bin/env", &[]) };
        let said = said(&env, &handed()).await;
        let mut names: Vec<&str> =
            said.split(' ').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name).collect();
        names.sort_unstable();
        let expected = [
            "DOMAIN",
            "EXTENSION",
            "HOME",
            "LOCAL",
            "LOGNAME",
            "MORE",
            "PATH",
            "QUEUE_ID",
            "RECIPIENT",
            "SENDER",
            "SHELL",
            "USER",
        ];
        assert_eq!(names, expected, "{said}");
        for pair in ["LOCAL=bob", "EXTENSION=lists", "DOMAIN=example.net", "SENDER=ann@example.org"] {
            assert!(said.contains(pair), "{said}");
        }
    }

    #[tokio::test]
    async fn it_does_not_run_as_root() {
        // rule 29
        let uid = said(&pipe("/usr/bin/id", &["-u"]), &handed()).await;
        let groups = said(&pipe("/usr/bin/id", &["-G"]), &handed()).await;
        assert_ne!(uid, "0");
        if geteuid().is_root() {
            let nobody = User::from_name("nobody").unwrap().unwrap();
            assert_eq!((uid, groups), (nobody.uid.to_string(), nobody.gid.to_string()));
            for user in ["root", "nobody-of-that-name"] {
                let wrong = Pipe { user: user.into(), ..pipe("/bin/true", &[]) };
                assert_eq!(code(&hand_over(&wrong, &handed()).await), "4.3.5");
            }
        }
    }

    #[tokio::test]
    async fn no_address_becomes_an_option() {
        // rule 29
        let echo =
            pipe("/bin/echo", &["{sender}", "{recipient}", "x{sender}", "{local}", "{domain}", "$HOME;id", "{id}"]);
        let expected = "ann@example.org bob+lists@example.net x{sender} bob+lists example.net $HOME;id id1";
        assert_eq!(said(&echo, &handed()).await, expected);
        let reports = Handed { sender: String::new(), ..handed() };
        assert!(said(&echo, &reports).await.starts_with("MAILER-DAEMON bob"));
        let sender = Handed { sender: "-oQ/tmp@example.org".into(), ..handed() };
        assert_eq!(code(&hand_over(&echo, &sender).await), "5.1.7");
        let recipient = Handed { recipient: "--help@example.org".into(), ..handed() };
        assert_eq!(code(&hand_over(&echo, &recipient).await), "5.1.3");
    }

    #[tokio::test]
    async fn exit_statuses_mean_what_sysexits_says() {
        use std::os::unix::process::ExitStatusExt as _;
        for (exit, expected) in
            [(0, "2.0.0"), (75, "4.3.0"), (67, "5.1.1"), (1, "5.3.0"), (77, "5.7.0"), (127, "4.3.5")]
        {
            assert_eq!(
                code(&outcome(std::process::ExitStatus::from_raw(exit << 8), String::new())),
                expected,
                "{exit}"
            );
        }
        assert_eq!(code(&outcome(std::process::ExitStatus::from_raw(9), String::new())), "4.3.0", "a signal");
        assert_eq!(code(&hand_over(&pipe("/bin/false", &[]), &handed()).await), "5.3.0");
        assert_eq!(code(&hand_over(&pipe("/nowhere/program", &[]), &handed()).await), "4.3.5");
    }

    #[tokio::test]
    async fn the_whole_group_ends_at_the_deadline() {
        // rule 29
        let began = Instant::now();
        let slow = pipe("/usr/bin/timeout", &["--foreground", "1000", "/bin/sleep", "1000"]);
        let slow = Pipe { deadline: Duration::from_millis(200), ..slow };
        assert_eq!(code(&hand_over(&slow, &handed()).await), "4.4.7");
        // Had the inner program survived, it would have held the streams for as long as that.
        assert!(began.elapsed() < slow.deadline + LINGER, "{:?}", began.elapsed());
    }
}
