//! OpenSMTPD: a site of its own, and a sender.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use super::{Peer, command_with, etc, maildir};
use crate::authority::Certified;

/// An OpenSMTPD that keeps the mail of `open.test` as a Maildir and sends that for `example.test` to a port, under TLS
/// where it is offered, and that for `clear.example.test` in clear.
#[derive(Debug)]
pub struct OpenSmtpd {
    _peer: Peer,
    folder: PathBuf,
}

fn configuration(folder: &Path, port: u16, ours: u16, certified: &Certified) -> String {
    let folder = folder.display();
    let (certificate, key) = (certified.certificate.display(), certified.key.display());
    format!(
        "pki ours cert \"{certificate}\"
pki ours key \"{key}\"
listen on 127.0.0.1 port {port} tls pki ours hostname mail.open.test
action kept maildir \"{folder}/mail\" virtual {{ \"@\" = nobody }}
action ours relay host \"smtp+tls://127.0.0.1:{ours}\" tls no-verify
action clear relay host \"smtp+notls://127.0.0.1:{ours}\"
match from any mail-from \"clear@open.test\" for domain example.test action clear
match from any for domain example.test action ours
match from any for domain {{ open.test, clear.open.test, tls.open.test }} action kept
"
    )
}

impl OpenSmtpd {
    /// Starts one in a new folder, which sends to our port `ours`.
    #[must_use]
    pub fn start(folder: &Path, port: u16, ours: u16, certified: &Certified) -> Self {
        let mail = folder.join("mail");
        fs::create_dir_all(&mail).unwrap();
        let mut before = Some(folder);
        while let Some(folder) = before.filter(|folder| folder.starts_with("/tmp/")) {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
            before = folder.parent();
        }
        chown(&mail, Some(65_534), Some(65_534)).unwrap();
        fs::set_permissions(&certified.key, fs::Permissions::from_mode(0o600)).unwrap();
        let file = folder.join("smtpd.conf");
        fs::write(&file, configuration(folder, port, ours, certified)).unwrap();
        let mut more = etc(folder, &[("opensmtpd", 64_001), ("opensmtpq", 64_002)]);
        more.push_str(
            "mount -t tmpfs -o mode=755 tmpfs /var/lib; mount -t tmpfs -o mode=755 tmpfs /var/spool; \
             mount -t tmpfs -o mode=755 tmpfs /run; mkdir -p /var/lib/opensmtpd/empty;",
        );
        let mut smtpd = command_with("opensmtpd", &more, "/usr/sbin/smtpd");
        smtpd.args(["-d", "-v", "-f"]).arg(file);
        let place = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        Self { _peer: Peer::start_at(smtpd, place, Some(&folder.join("log"))), folder: folder.to_owned() }
    }

    /// The mail that it has got so far.
    #[must_use]
    pub fn mail(&self) -> Vec<String> {
        maildir(&self.folder.join("mail"))
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}
