//! Mail servers of others, each in a private root on ports of its own, to be held against ours (rule 39).
//!
//! `scripts/peers` unpacks them. A peer runs in a mount namespace in which its root lies over `/usr`, so that it finds
//! itself where its package puts it, while the machine has nothing installed. This needs root, as the peers do.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

pub mod dovecot;
pub mod postfix;

/// The root of a peer, unpacked if it is not there yet.
fn root(peer: &str) -> PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let unpacked = Command::new(project.join("scripts/peers")).arg(peer).status().unwrap();
    assert!(unpacked.success(), "scripts/peers {peer}: {unpacked}");
    project.join("target/peers").join(peer)
}

/// A command that runs in the private root of a peer.
#[must_use]
pub fn command(peer: &str, program: &str) -> Command {
    // It ends with whoever started it, even one that was killed.
    let mut command = Command::new("setpriv");
    let mount = r#"mount -t overlay overlay -o "lowerdir=$0/usr:/usr" /usr && exec "$@""#;
    command.args(["--pdeathsig", "TERM", "unshare", "--mount", "sh", "-c", mount]).arg(root(peer)).arg(program);
    command
}

/// A peer's first process, which ends with this value.
#[derive(Debug)]
pub struct Peer {
    child: Child,
}

impl Peer {
    /// Starts a peer and waits until it listens on a port.
    fn start(mut command: Command, port: u16) -> Self {
        let taken = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(!taken, "port {port}, which {command:?} wants, is in use");
        // A group of its own, so that all of it can be ended.
        command.process_group(0);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "{command:?} ended at once");
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
