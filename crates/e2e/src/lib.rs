//! A system of real processes on loopback, for tests with real clients.
//!
//! The daemons are found beside the test itself, in the folder that `cargo build --bins` fills.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub mod authority;
pub mod https;
mod insight;
pub mod peers;
pub mod sink;
pub mod usage;

pub use insight::wait_until;

/// How long a process may take to be ready or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program of ours.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap();
    let program = folder.join(name);
    assert!(program.exists(), "{} is missing: run `cargo build --bins` first", program.display());
    program
}

/// Runs a program to its end.
pub fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that ends without reading its input has an answer, too.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Runs a program that must succeed; its standard output.
pub fn succeed(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str], input: &str) -> String {
    let output = run(program, arguments, input);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// A daemon that runs until it is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Daemon {
    /// Starts a daemon and waits until its log says `ready`.
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(program(name)).args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let (ready, wait) = mpsc::channel();
        let log = Arc::<Mutex<String>>::default();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut seen = kept.lock().unwrap();
                seen.push_str(&line);
                seen.push('\n');
                // Whoever waits for it finds the line in the log.
                if line.contains(" ready ") || line.contains("\"ready\"") {
                    // The test may have given up.
                    let _ = ready.send(Ok(()));
                }
            }
            let _ = ready.send(Err(kept.lock().unwrap().clone()));
        });
        match wait.recv_timeout(PATIENCE) {
            Ok(Ok(())) => Self { child, log },
            Ok(Err(log)) => panic!("{name} is not ready:\n{log}"),
            Err(_) => panic!("{name} is not ready in time"),
        }
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until its log holds these words; the log.
    #[must_use]
    pub fn logged(&self, words: &str) -> String {
        self.until(|log| log.contains(words))
    }

    /// Waits until its log is as it should be; the log.
    #[must_use]
    pub fn until(&self, fits: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let log = self.log();
            if fits(&log) {
                return log;
            }
            assert!(began.elapsed() < PATIENCE, "the log is not as it should be:\n{log}");
            std::thread::yield_now();
        }
    }

    /// Has it read its configuration again.
    pub fn hang_up(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop, and waits; whether it ended well.
    pub fn stop(mut self) -> bool {
        self.signal(Signal::SIGTERM);
        self.child.wait().unwrap().success()
    }

    /// Ends it as a power failure would.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A system that was set up in a folder of its own, with two accounts.
#[derive(Debug)]
pub struct System {
    folder: tempfile::TempDir,
    /// Every listener is on this number plus its standard port.
    pub base: u16,
    insight: insight::Insight,
}

impl System {
    /// Sets a system up: `ann@example.test` and `bob@example.test`, whose passwords are `ann-secret` and `bob-secret`.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = free_base();
        let system = Self { folder, base, insight: insight::Insight::default() };
        let directory = system.path("");
        let base = base.to_string();
        let init = ["init", &directory, "--domain", "example.test", "--bind", "127.0.0.1", "--base-port", &base];
        succeed(program("mailctl"), &init, "");
        // Cheap hashes: the tests log in often.
        let config = std::fs::read_to_string(system.config()).unwrap();
        let config = config.replace("argon2_memory_kib = 19456", "argon2_memory_kib = 64");
        std::fs::write(system.config(), config).unwrap();
        for name in ["ann", "bob"] {
            let address = format!("{name}@example.test");
            system.mailctl(&["account", "add", &address, "--password-stdin"], &format!("{name}-secret\n"));
        }
        system
    }

    /// The same, of which mail leaves for addresses of loopback, tries soon again, and asks no name server.
    pub fn relaying() -> Self {
        let system = Self::new();
        system.set("routing", "private_targets", "[\"127.0.0.0/8\", \"::1/128\"]");
        system.set("dns", "servers", "[\"127.0.0.1:9\"]");
        system.set("delivery", "linger_seconds", "0");
        system.set("delivery.retry", "first_seconds", "1");
        system.set("delivery.retry", "greylist_seconds", "1");
        system
    }

    /// Sets a key of a section of its configuration; the value is TOML.
    pub fn set(&self, section: &str, key: &str, value: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        let mut now = "";
        let mut done = false;
        let mut lines = Vec::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                now = name;
            }
            if now == section && line.split(" = ").next() == Some(key) {
                lines.push(format!("{key} = {value}"));
                done = true;
            } else {
                lines.push(line.to_owned());
            }
        }
        assert!(done, "there is no {section}.{key} in the configuration");
        std::fs::write(self.config(), lines.join("\n") + "\n").unwrap();
    }

    /// Adds a route, as TOML.
    pub fn route(&self, text: &str) {
        self.append(&format!("[[route]]\n{text}"));
    }

    /// Adds sections to its configuration, as TOML.
    pub fn append(&self, text: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).open(self.config()).unwrap();
        writeln!(file, "\n{text}").unwrap();
    }

    /// A path in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join("mail").join(name).display().to_string()
    }

    /// A folder of the client's, beside the system's.
    #[must_use]
    pub fn client_path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> String {
        self.path("mailwright.toml")
    }

    /// The port of a service, by its standard one.
    #[must_use]
    pub fn port(&self, standard: u16) -> u16 {
        self.base + standard
    }

    /// Runs a `mailctl` command that must succeed.
    pub fn mailctl(&self, arguments: &[&str], input: &str) -> String {
        let config = self.config();
        succeed(program("mailctl"), &[&["--config", &config], arguments].concat(), input)
    }

    /// Starts a daemon of this system.
    pub fn start(&self, name: &str) -> Daemon {
        let config = self.config();
        if name == "mailctl" {
            return Daemon::start(name, &["serve", "--config", &config]);
        }
        Daemon::start(name, &["--config", &config])
    }

    /// A conversation in clear with a port, by its standard number.
    pub fn connect(&self, standard: u16) -> Conversation {
        Conversation::with(self.port(standard))
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

/// The next base whose ports are free. Bases are 1,000 apart, so that systems of one run do not meet, and below the ports
/// that clients are given.
#[must_use]
pub fn free_base() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another run of the tests begins elsewhere.
    let first = u16::try_from(std::process::id() % 22).unwrap();
    for _ in 0..22 {
        let base = 10_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 22 * 1_000;
        let free = |standard: u16| TcpListener::bind(("127.0.0.1", base + standard)).is_ok();
        if [25, 24, 80, 81, 82, 110, 143, 465, 587, 993, 995].into_iter().all(free) {
            return base;
        }
    }
    panic!("no free ports");
}

/// A plain conversation, line by line.
#[derive(Debug)]
pub struct Conversation {
    reader: BufReader<TcpStream>,
    stream: TcpStream,
}

impl Conversation {
    /// One with a port of 127.0.0.1.
    #[must_use]
    pub fn with(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    /// Says octets as they are.
    pub fn say(&mut self, octets: &str) {
        self.stream.write_all(octets.as_bytes()).unwrap();
    }

    /// Hears lines until one begins with any of these; the lines.
    pub fn hear(&mut self, endings: &[&str]) -> String {
        let mut heard = String::new();
        loop {
            let mut line = String::new();
            let octets = self.reader.read_line(&mut line).unwrap_or_else(|error| panic!("{error} after {heard:?}"));
            assert!(octets > 0, "the connection ended after {heard:?}");
            heard.push_str(&line);
            if endings.iter().any(|ending| line.starts_with(ending)) {
                return heard;
            }
        }
    }

    /// Says a line and hears the answer.
    pub fn ask(&mut self, line: &str, endings: &[&str]) -> String {
        self.say(&format!("{line}\r\n"));
        self.hear(endings)
    }

    /// Hears everything up to the end of the connection.
    pub fn rest(mut self) -> String {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = self.reader.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// Whether this kernel can confine processes to files (Landlock).
#[must_use]
pub fn can_confine() -> bool {
    use landlock::{ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset.handle_access(AccessFs::from_all(ABI::V1)).and_then(Ruleset::create).is_ok()
}
