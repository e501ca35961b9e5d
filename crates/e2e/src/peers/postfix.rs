//! Postfix: SMTP in, LMTP out or a site of its own; its `smtp-source`, which loads any SMTP server, and its `smtp-sink`,
//! which takes mail with any fault.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Peer, command, maildir};

/// `daemon` and `games`, which Debian always has: Postfix wants a user and a group that nobody else uses.
const OWNER: u32 = 1;
const GROUP: u32 = 60;

/// A Postfix that takes mail for `example.test` and hands it to an LMTP socket, or a site.
#[derive(Debug)]
pub struct Postfix {
    peer: Peer,
    folder: PathBuf,
}

/// A listener of a Postfix.
#[derive(Clone, Debug)]
pub struct Service {
    /// Where it listens.
    pub place: SocketAddr,
    /// Settings of its own, as `name=value`.
    pub settings: Vec<String>,
}

fn main_cf(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
daemon_directory = /usr/lib/postfix/sbin
mail_owner = daemon
setgid_group = games
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = all
inet_protocols = ipv4
mydestination =
alias_maps =
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
"
    )
}

fn master_cf(listeners: &[Service]) -> String {
    let mut services = String::new();
    for listener in listeners {
        services.push_str(&format!("{} inet n - n - - smtpd\n", listener.place));
        for setting in &listener.settings {
            services.push_str(&format!("  -o {setting}\n"));
        }
    }
    services.push_str("virtual unix - n n - - virtual\n");
    for (service, kind, wakeup, most) in [
        ("pickup", "unix", "60", "1"),
        ("cleanup", "unix", "-", "0"),
        ("qmgr", "unix", "300", "1"),
        ("rewrite", "unix", "-", "-"),
        ("bounce", "unix", "-", "0"),
        ("defer", "unix", "-", "0"),
        ("trace", "unix", "-", "0"),
        ("verify", "unix", "-", "1"),
        ("proxymap", "unix", "-", "-"),
        ("smtp", "unix", "-", "-"),
        ("error", "unix", "-", "-"),
        ("retry", "unix", "-", "-"),
        ("discard", "unix", "-", "-"),
        ("lmtp", "unix", "-", "-"),
        ("anvil", "unix", "-", "1"),
        ("scache", "unix", "-", "1"),
        ("tlsmgr", "unix", "1000?", "1"),
        ("postlog", "unix-dgram", "-", "1"),
        ("tlsmgr", "unix", "1000?", "1"),
    ] {
        let program = match service {
            "rewrite" => "trivial-rewrite",
            "defer" | "trace" => "bounce",
            "retry" => "error",
            "postlog" => "postlogd",
            other => other,
        };
        let private = if matches!(service, "pickup" | "cleanup" | "qmgr" | "postlog") { "n" } else { "y" };
        services.push_str(&format!("{service} {kind} {private} - n {wakeup} {most} {program}\n"));
    }
    services
}

impl Postfix {
    /// Starts one in a new folder.
    #[must_use]
    pub fn start(folder: &Path, port: u16, lmtp: &Path) -> Self {
        let place = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let settings = format!(
            "myhostname = mail.example.test\nvirtual_mailbox_domains = example.test\nvirtual_transport = lmtp:unix:{}\n",
            lmtp.display()
        );
        Self::start_with(folder, &[Service { place, settings: Vec::new() }], &settings)
    }

    /// Starts one that keeps the mail of these domains as a Maildir, and does what else its settings say.
    #[must_use]
    pub fn site(folder: &Path, domains: &str, listeners: &[Service], settings: &str) -> Self {
        let mail = folder.join("mail");
        fs::create_dir_all(&mail).unwrap();
        chown(&mail, Some(65_534), Some(65_534)).unwrap();
        let settings = format!(
            "virtual_mailbox_domains = {domains}
virtual_transport = virtual
virtual_mailbox_base = {}
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
mynetworks = 127.0.0.0/8
smtp_tls_loglevel = 1
smtpd_tls_loglevel = 1
{settings}",
            mail.display()
        );
        Self::start_with(folder, listeners, &settings)
    }

    /// Starts one that takes mail from this machine for anybody and hands it to a port of this machine. `tls`: its
    /// certificate and key, for both of its sides.
    #[must_use]
    pub fn relay(folder: &Path, port: u16, to: u16, tls: Option<(&Path, &Path)>) -> Self {
        let place = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let mut settings = format!("relayhost = [127.0.0.1]:{to}\nmynetworks = 127.0.0.0/8\n");
        if let Some((certificate, key)) = tls {
            settings.push_str(&format!(
                "smtpd_tls_security_level = may\nsmtp_tls_security_level = may\n\
                 smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n",
                certificate.display(),
                key.display()
            ));
        }
        Self::start_with(folder, &[Service { place, settings: Vec::new() }], &settings)
    }

    fn start_with(folder: &Path, listeners: &[Service], settings: &str) -> Self {
        let spool = folder.join("spool");
        for queue in [
            "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop", "pid",
            "private", "public", "saved", "trace",
        ] {
            let queue = spool.join(queue);
            fs::create_dir_all(&queue).unwrap();
            chown(&queue, Some(OWNER), Some(GROUP)).unwrap();
        }
        let data = folder.join("data");
        fs::create_dir_all(&data).unwrap();
        chown(&data, Some(OWNER), None).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.join("main.cf"), main_cf(folder) + settings).unwrap();
        fs::write(folder.join("master.cf"), master_cf(listeners)).unwrap();
        let mut master = command("postfix", "/usr/lib/postfix/sbin/master");
        master.env("MAIL_CONFIG", folder).arg("-d").arg("-c").arg(folder);
        let first = listeners.first().unwrap().place;
        Self { peer: Peer::start_at(master, first, Some(&folder.join("output"))), folder: folder.to_owned() }
    }

    /// The mail that a site has got so far.
    #[must_use]
    pub fn mail(&self) -> Vec<String> {
        maildir(&self.folder.join("mail/all"))
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Its first process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.peer.pid()
    }
}

/// Sends so many messages of `octets` to `ann@example.test` over so many sessions, one connection a session; returns
/// when all are answered.
pub fn load(port: u16, sessions: u32, messages: u32, octets: u32) {
    let mut source: Command = command("postfix", "/usr/sbin/smtp-source");
    let [sessions, messages, octets] = [sessions, messages, octets].map(|number| number.to_string());
    source.args(["-d", "-s", &sessions, "-m", &messages, "-l", &octets, "-f", "sender@client.example"]);
    source.args(["-t", "ann@example.test", &format!("127.0.0.1:{port}")]);
    let status = source.status().unwrap();
    assert!(status.success(), "smtp-source: {status}");
}

/// An `smtp-sink` with faults that its options name; ends with this value.
#[derive(Debug)]
pub struct SmtpSink {
    /// Its port on 127.0.0.1.
    pub port: u16,
    _peer: Peer,
    folder: tempfile::TempDir,
}

impl SmtpSink {
    /// Starts one that keeps what it takes in files.
    #[must_use]
    pub fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        chown(folder.path(), Some(65_534), Some(65_534)).unwrap();
        let port = super::free_port();
        let mut sink = command("postfix", "/usr/sbin/smtp-sink");
        sink.current_dir(folder.path())
            .args(options)
            .args(["-u", "nobody", "-d", "%s."])
            .arg(format!("127.0.0.1:{port}"))
            .arg("100");
        let place = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        Self { port, _peer: Peer::start_at(sink, place, None), folder }
    }

    /// What it was given so far, complete or not.
    #[must_use]
    pub fn taken(&self) -> Vec<String> {
        let read = |entry: std::io::Result<fs::DirEntry>| fs::read(entry.unwrap().path()).unwrap();
        let files = fs::read_dir(self.folder.path()).unwrap().map(read);
        files.map(|octets| String::from_utf8_lossy(&octets).into_owned()).collect()
    }
}
