//! The systems that are measured, behind one shape.

use std::path::{Path, PathBuf};

use mailwright_e2e::peers::dovecot::Dovecot;
use mailwright_e2e::peers::postfix::Postfix;
use mailwright_e2e::{Daemon, System, usage};

/// A mail system that runs: an SMTP, an IMAP and a POP3 port and the account `ann@example.test`.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) smtp: u16,
    pub(crate) imap: u16,
    pub(crate) pop3: u16,
    pub(crate) password: &'static str,
    processes: Processes,
    home: Home,
}

#[derive(Debug)]
enum Home {
    Ours(System),
    Peer(tempfile::TempDir),
}

#[derive(Debug)]
enum Processes {
    Ours(Vec<Daemon>),
    Peer(Dovecot, Postfix),
    Stopped,
}

/// The ports of the peer.
const SMTP: u16 = 9_025;
const IMAP: u16 = 9_143;
const POP3: u16 = 9_110;

impl Contender {
    /// Ours: `mta`, `imapd` and `pop3d`, each a process.
    #[must_use]
    pub(crate) fn mailwright() -> Self {
        let system = System::new();
        let config = std::fs::read_to_string(system.config()).unwrap();
        let config = config
            .replace("transactions = 1000", "transactions = 10000000")
            .replace("connections_per_address = 100", "connections_per_address = 10000")
            .replace("argon2_memory_kib = 64", "argon2_memory_kib = 19456");
        std::fs::write(system.config(), config).unwrap();
        let (smtp, imap, pop3) = (system.port(25), system.port(143), system.port(110));
        let home = Home::Ours(system);
        let processes = Processes::Stopped;
        let mut ours = Self { name: "Mailwright", smtp, imap, pop3, password: "ann-secret", processes, home };
        ours.start();
        ours
    }

    /// Postfix that hands mail to Dovecot.
    #[must_use]
    pub(crate) fn postfix_and_dovecot() -> Self {
        let home = Home::Peer(tempfile::Builder::new().prefix("peer").tempdir().unwrap());
        let processes = Processes::Stopped;
        let name = "Postfix + Dovecot";
        let mut peer = Self { name, smtp: SMTP, imap: IMAP, pop3: POP3, password: "secret", processes, home };
        peer.start();
        peer
    }

    /// Both, to be measured in turn.
    #[must_use]
    pub(crate) fn both() -> [Self; 2] {
        [Self::mailwright(), Self::postfix_and_dovecot()]
    }

    /// Starts it again where it was.
    pub(crate) fn start(&mut self) {
        self.processes = match &self.home {
            Home::Ours(system) => Processes::Ours(["mta", "imapd", "pop3d"].map(|name| system.start(name)).into()),
            Home::Peer(home) => {
                let folder: PathBuf = home.path().join("dovecot");
                std::fs::create_dir_all(&folder).unwrap();
                let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                std::fs::set_permissions(home.path(), open).unwrap();
                let dovecot = Dovecot::start(&folder, IMAP, POP3);
                let postfix = Postfix::start(&home.path().join("postfix"), SMTP, &folder.join("lmtp"));
                Processes::Peer(dovecot, postfix)
            }
        };
    }

    /// Stops it.
    pub(crate) fn stop(&mut self) {
        match std::mem::replace(&mut self.processes, Processes::Stopped) {
            Processes::Ours(daemons) => assert!(daemons.into_iter().all(Daemon::stop)),
            Processes::Peer(..) | Processes::Stopped => {}
        }
    }

    /// Removes what the peer, stopped, can make again from its Maildir: `dovecot.index*`. Ours has no such files: what
    /// a client asks for is written when a message is delivered.
    pub(crate) fn forget(&self) {
        if let Home::Peer(home) = &self.home {
            remove_indexes(home.path());
        }
    }

    /// Its processes as they are now.
    #[must_use]
    pub(crate) fn processes(&self) -> Vec<u32> {
        let first = match &self.processes {
            Processes::Ours(daemons) => daemons.iter().map(Daemon::pid).collect(),
            Processes::Peer(dovecot, postfix) => vec![dovecot.pid(), postfix.pid()],
            Processes::Stopped => Vec::new(),
        };
        first.into_iter().flat_map(usage::family).collect()
    }
}

fn remove_indexes(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name();
        match entry.file_type().unwrap() {
            // The messages themselves.
            kind if kind.is_dir() && !matches!(name.to_str(), Some("cur" | "new" | "tmp")) => {
                remove_indexes(&entry.path());
            }
            kind if kind.is_file() && name.to_string_lossy().starts_with("dovecot.index") => {
                std::fs::remove_file(entry.path()).unwrap();
            }
            _ => {}
        }
    }
}
