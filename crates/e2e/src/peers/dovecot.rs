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
fn configuration(folder: &Path, imap: u16, pop3: u16) -> String {
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
  driver = static
  args = uid=nobody gid=nogroup home={folder}/home/%u allow_all_users=yes
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
        let home = folder.join("home");
        fs::create_dir_all(&home).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        chown(&home, Some(65_534), Some(65_534)).unwrap();
        let file = folder.join("dovecot.conf");
        fs::write(&file, configuration(folder, imap, pop3)).unwrap();
        let mut dovecot = command("dovecot", "/usr/sbin/dovecot");
        dovecot.arg("-F").arg("-c").arg(file);
        Self { peer: Peer::start(dovecot, imap) }
    }

    /// Its first process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.peer.pid()
    }
}
