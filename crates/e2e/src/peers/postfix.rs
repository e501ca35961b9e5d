//! Postfix: SMTP in, LMTP out; and its `smtp-source`, which loads any SMTP server.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use super::{Peer, command};

/// `daemon` and `games`, which Debian always has: Postfix wants a user and a group that nobody else uses.
const OWNER: u32 = 1;
const GROUP: u32 = 60;

/// A Postfix that takes mail for `example.test` and hands it to an LMTP socket.
#[derive(Debug)]
pub struct Postfix {
    peer: Peer,
}

fn main_cf(folder: &Path, lmtp: &Path) -> String {
    let (folder, lmtp) = (folder.display(), lmtp.display());
    format!(
        "compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
daemon_directory = /usr/lib/postfix/sbin
mail_owner = daemon
setgid_group = games
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.test
mydestination =
alias_maps =
virtual_mailbox_domains = example.test
virtual_transport = lmtp:unix:{lmtp}
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
"
    )
}

fn master_cf(port: u16) -> String {
    let mut services = format!("127.0.0.1:{port} inet n - n - - smtpd\n");
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
        Self::run(folder, port, &main_cf(folder, lmtp))
    }

    /// Starts one that takes mail from this machine for anybody and hands it to a port of this machine. `tls`: its
    /// certificate and key, for both of its sides.
    #[must_use]
    pub fn relay(folder: &Path, port: u16, to: u16, tls: Option<(&Path, &Path)>) -> Self {
        let mut main = main_cf(folder, Path::new("none"));
        main.push_str(&format!("relayhost = [127.0.0.1]:{to}\nmynetworks = 127.0.0.0/8\n"));
        if let Some((certificate, key)) = tls {
            main.push_str(&format!(
                "smtpd_tls_security_level = may\nsmtp_tls_security_level = may\n\
                 smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n",
                certificate.display(),
                key.display()
            ));
        }
        Self::run(folder, port, &main)
    }

    fn run(folder: &Path, port: u16, main: &str) -> Self {
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
        fs::write(folder.join("main.cf"), main).unwrap();
        fs::write(folder.join("master.cf"), master_cf(port)).unwrap();
        let mut master = command("postfix", "/usr/lib/postfix/sbin/master");
        master.env("MAIL_CONFIG", folder).arg("-d").arg("-c").arg(folder);
        Self { peer: Peer::start(master, port) }
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
