//! Exim: a site of its own, and a sender.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use super::{Peer, command_with, etc, maildir};
use crate::authority::Certified;

/// The user that Debian's Exim runs as, wherever it has none.
const USER: &str = "Debian-exim";
const ID: u32 = 103;

/// An Exim that keeps the mail of `exim.test` as a Maildir and sends that for `example.test` to a port. It logs `us` in
/// with the password `secret`, and has nobody of the name `nobody`.
#[derive(Debug)]
pub struct Exim {
    _peer: Peer,
    folder: PathBuf,
}

fn configuration(folder: &Path, port: u16, ours: u16, certified: &Certified, settings: &str) -> String {
    let folder = folder.display();
    let (certificate, key) = (certified.certificate.display(), certified.key.display());
    format!(
        "primary_hostname = mail.exim.test
spool_directory = {folder}/spool
log_file_path = {folder}/log/%s
pid_file_path = {folder}/spool/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_certificate = {certificate}
tls_privatekey = {key}
tls_advertise_hosts = *
chunking_advertise_hosts = *
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
auth_advertise_hosts = *
host_lookup =
log_selector = +received_recipients +received_sender +tls_cipher +pipelining +8bitmime
acl_smtp_rcpt = recipients
acl_smtp_data = accept
queue_run_max = 1
{settings}
begin acl
recipients:
  deny local_parts = nobody
       message = there is nobody of that name
  accept
begin routers
ours:
  driver = manualroute
  domains = example.test
  route_list = * 127.0.0.1 byname
  self = send
  transport = out
here:
  driver = accept
  domains = exim.test : elsewhere.test
  transport = kept
begin transports
kept:
  driver = appendfile
  directory = {folder}/mail
  maildir_format
  user = {USER}
  group = {USER}
out:
  driver = smtp
  port = {ours}
  allow_localhost
  hosts_try_chunking = *
  tls_verify_certificates =
  tls_try_verify_hosts =
  hosts_avoid_tls = ${{if match{{$sender_address}}{{clear}}{{*}}{{}}}}
begin retry
* * F,1h,1s
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_condition = ${{if and{{{{eq{{$auth2}}{{us}}}}{{eq{{$auth3}}{{secret}}}}}}}}
  server_set_id = $auth2
"
    )
}

impl Exim {
    /// Starts one in a new folder, which sends to our port `ours`.
    #[must_use]
    pub fn start(folder: &Path, port: u16, ours: u16, certified: &Certified, settings: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        let mut before = Some(folder);
        while let Some(folder) = before.filter(|folder| folder.starts_with("/tmp/")) {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
            before = folder.parent();
        }
        for name in ["spool", "log", "mail"] {
            let name = folder.join(name);
            fs::create_dir_all(&name).unwrap();
            chown(&name, Some(ID), Some(ID)).unwrap();
        }
        let etc = etc(folder, &[(USER, ID)]);
        fs::create_dir_all(folder.join("etc/exim4")).unwrap();
        fs::write(folder.join("etc/exim4/exim4.conf"), configuration(folder, port, ours, certified, settings)).unwrap();
        let mut exim = command_with("exim", &etc, "/usr/sbin/exim4");
        exim.args(["-bdf", "-q1s"]);
        let place = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        Self { _peer: Peer::start_at(exim, place, Some(&folder.join("output"))), folder: folder.to_owned() }
    }

    /// The mail that it has got so far.
    #[must_use]
    pub fn mail(&self) -> Vec<String> {
        maildir(&self.folder.join("mail"))
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log/main")).unwrap_or_default()
    }
}
