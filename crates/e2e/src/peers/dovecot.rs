//! Dovecot: LMTP in, IMAP and POP3 out.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use super::{Peer, command};

/// The password `secret`, at the cost that our own hashes have by default.
const PASSWORD: &str =
    "{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$TM4TYOmyDB09ODgiHGaiZg$Uq0rIM0eZzpirtwmctSCbBEaddrdNACEEhuqiwk5Ms0";

/// A Dovecot that knows every address; the password is `secret`. Mail is kept as Maildir, synced at every delivery, as
/// it is by default.
#[derive(Debug)]
pub struct Dovecot {
    peer: Peer,
}

/// The configuration of a Dovecot in `folder`, with IMAP and POP3 in clear on these ports and LMTP on `folder/lmtp`.
fn configuration(folder: &Path, imap: u16, pop3: u16, users: &str) -> String {
    let folder = folder.display();
    format!(
        "base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
default_internal_user = daemon
default_internal_group = daemon
default_login_user = games
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:~/Maildir
mail_max_userip_connections = 0
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  {users}
}}
service imap-login {{
  chroot =
  service_count = 0
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  chroot =
  service_count = 0
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service lmtp {{
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"
    )
}

impl Dovecot {
    /// Starts one in `folder`, whose mail stays there for the next.
    #[must_use]
    pub fn start(folder: &Path, imap: u16, pop3: u16) -> Self {
        let home = format!("{}/home/%u", folder.display());
        let users = format!("driver = static\n  args = uid=nobody gid=nogroup home={home} allow_all_users=yes");
        Self::start_with(folder, &configuration(folder, imap, pop3, &users), imap)
    }

    /// Starts one in `folder` that knows these addresses alone, and takes mail for them by LMTP on `folder/lmtp` and on
    /// this port.
    #[must_use]
    pub fn lmtp(folder: &Path, port: u16, addresses: &[&str]) -> Self {
        let home = |address: &str| format!("{}/home/{address}", folder.display());
        let line = |address: &&str| format!("{address}::65534:65534::{}::\n", home(address));
        fs::write(folder.join("users"), addresses.iter().map(line).collect::<String>()).unwrap();
        let users = format!("driver = passwd-file\n  args = {}/users", folder.display());
        let listener = format!("service lmtp {{\n  inet_listener lmtp {{\n    port = {port}\n  }}\n}}\n");
        let configuration = configuration(folder, super::free_port(), super::free_port(), &users) + &listener;
        Self::start_with(folder, &configuration, port)
    }

    /// The mail of one of the addresses.
    #[must_use]
    pub fn mail(folder: &Path, address: &str) -> Vec<String> {
        super::maildir(&folder.join("home").join(address).join("Maildir"))
    }

    fn start_with(folder: &Path, configuration: &str, port: u16) -> Self {
        let home = folder.join("home");
        fs::create_dir_all(&home).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        chown(&home, Some(65_534), Some(65_534)).unwrap();
        let file = folder.join("dovecot.conf");
        fs::write(&file, configuration).unwrap();
        let mut dovecot = command("dovecot", "/usr/sbin/dovecot");
        dovecot.arg("-F").arg("-c").arg(file);
        Self { peer: Peer::start(dovecot, port) }
    }

    /// Its first process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.peer.pid()
    }
}
