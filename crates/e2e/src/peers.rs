//! Mail servers of others, each in a private root on ports of its own, to be held against ours (rule 39).
//!
//! `scripts/peers` unpacks them. A peer runs in a mount namespace in which its root lies over `/usr`, so that it finds
//! itself where its package puts it, while the machine has nothing installed. This needs root, as the peers do.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

pub mod dovecot;
pub mod exim;
pub mod knot;
pub mod opendkim;
pub mod opensmtpd;
pub mod postfix;

/// The root of a peer, unpacked if it is not there yet.
fn root(peer: &str) -> PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let root = project.join("target/peers").join(peer);
    if !root.join("complete").exists() {
        assert!(nix::unistd::geteuid().is_root(), "this test runs {peer} and needs root for that");
        let unpacked = Command::new(project.join("scripts/peers")).arg(peer).status().unwrap();
        assert!(unpacked.success(), "{peer} is missing: run `scripts/peers {peer}`, which gets its Debian package");
    }
    root
}

/// A command that runs in the private root of a peer.
#[must_use]
pub fn command(peer: &str, program: &str) -> Command {
    command_with(peer, "", program)
}

/// The same, in which further lines of shell lay more over the machine first.
fn command_with(peer: &str, more: &str, program: &str) -> Command {
    // It ends with whoever started it, even one that was killed.
    let mut command = Command::new("setpriv");
    let mount = format!(r#"set -e; mount -t overlay overlay -o "lowerdir=$0/usr:/usr" /usr; {more} exec "$@""#);
    command.args(["--pdeathsig", "TERM", "unshare", "--mount", "sh", "-c", &mount]).arg(root(peer)).arg(program);
    command
}

/// Lays files of `folder` over `/etc`, and adds users to those of the machine: the daemons of some peers look for their
/// own.
fn etc(folder: &Path, users: &[(&str, u32)]) -> String {
    let etc = folder.join("etc");
    std::fs::create_dir_all(&etc).unwrap();
    let of = |file: &str, line: &dyn Fn(&str, u32) -> String| {
        let mut text = std::fs::read_to_string(Path::new("/etc").join(file)).unwrap();
        for (name, id) in users {
            text = text
                .lines()
                .filter(|found| !found.starts_with(&format!("{name}:")))
                .fold(String::new(), |text, line| text + line + "\n");
            text.push_str(&line(name, *id));
        }
        std::fs::write(etc.join(file), text).unwrap();
    };
    of("passwd", &|name, id| format!("{name}:x:{id}:{id}::/nonexistent:/usr/sbin/nologin\n"));
    of("group", &|name, id| format!("{name}:x:{id}:\n"));
    format!(r#"mount -t overlay overlay -o "lowerdir={}:/etc" /etc;"#, etc.display())
}

/// A port of loopback that nobody listens on.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 50).unwrap() * 100;
    for _ in 0..5_000 {
        let port = 4_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 5_000;
        // On all of it: some tests give addresses of their own to their hosts.
        if std::net::TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// A peer's first process, which ends with this value.
#[derive(Debug)]
pub struct Peer {
    child: Child,
}

impl Peer {
    /// Starts a peer and waits until it listens on a port of 127.0.0.1.
    fn start(command: Command, port: u16) -> Self {
        Self::start_at(command, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port), None)
    }

    /// Starts a peer, whose output goes to a file, and waits until it listens.
    fn start_at(mut command: Command, port: SocketAddr, output: Option<&Path>) -> Self {
        let taken = std::net::TcpStream::connect(port).is_ok();
        assert!(!taken, "port {port}, which {command:?} wants, is in use");
        // A group of its own, so that all of it can be ended.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(output) = output {
            let output = std::fs::File::create(output).unwrap();
            command.stdout(output.try_clone().unwrap()).stderr(output);
        }
        let mut child = command.spawn().unwrap();
        let began = Instant::now();
        while std::net::TcpStream::connect(port).is_err() {
            let said = || output.map(std::fs::read_to_string);
            assert!(child.try_wait().unwrap().is_none(), "{command:?} ended at once: {:?}", said());
            assert!(began.elapsed() < super::PATIENCE, "{command:?} does not listen on {port}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child }
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// The messages of a Maildir, in no order.
#[must_use]
pub fn maildir(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder.join("new")) else { return Vec::new() };
    let read = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read(entry.ok()?.path()).ok();
    entries.filter_map(read).map(|octets| String::from_utf8_lossy(&octets).into_owned()).collect()
}
