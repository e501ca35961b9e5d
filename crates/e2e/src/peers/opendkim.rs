//! OpenDKIM: a milter that signs, or verifies, for `example.test`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use super::{Peer, command, free_port};

/// An OpenDKIM; ends with this value.
#[derive(Debug)]
pub struct OpenDkim {
    /// Its port on 127.0.0.1.
    pub port: u16,
    _peer: Peer,
}

impl OpenDkim {
    /// Starts one that signs what it is given with a key in `folder`, which it makes where there is none.
    #[must_use]
    pub fn signer(folder: &Path) -> Self {
        Self::start(folder, "s", "127.0.0.1")
    }

    /// Starts one that verifies, with the key that the signer of that folder has.
    #[must_use]
    pub fn verifier(folder: &Path) -> Self {
        Self::start(folder, "v", "192.0.2.1")
    }

    fn start(folder: &Path, mode: &str, internal: &str) -> Self {
        let key = folder.join("key.pem");
        if !key.exists() {
            let openssl = |arguments: &[&str]| {
                let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
                assert!(output.status.success(), "{output:?}");
                String::from_utf8(output.stdout).unwrap()
            };
            openssl(&["genrsa", "-out", "key.pem", "2048"]);
            let public = openssl(&["rsa", "-in", "key.pem", "-pubout"]);
            let public: String = public.lines().filter(|line| !line.starts_with('-')).collect();
            let record = format!("test._domainkey.example.test v=DKIM1; k=rsa; p={public}\n");
            fs::write(folder.join("keys"), record).unwrap();
        }
        let port = free_port();
        let file = folder.join(format!("opendkim-{mode}.conf"));
        let settings = format!(
            "Mode {mode}\nSyslog no\nBackground no\nAlwaysAddARHeader yes\nAuthservID mx.example.test\n\
             Domain example.test\nSelector test\nKeyFile {}\nRequireSafeKeys no\nInternalHosts {internal}\n\
             TestPublicKeys {}\nCanonicalization simple/simple\nSocket inet:{port}@127.0.0.1\n",
            key.display(),
            folder.join("keys").display(),
        );
        fs::write(&file, settings).unwrap();
        let mut opendkim = command("opendkim", "/usr/sbin/opendkim");
        opendkim.arg("-f").arg("-x").arg(file);
        let place = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        Self { port, _peer: Peer::start_at(opendkim, place, Some(&folder.join(format!("output-{mode}")))) }
    }
}
