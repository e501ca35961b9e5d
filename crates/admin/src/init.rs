//! A new system: configuration, data directory, certificate.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use daemon::{Config, Error, Kind, TEMPLATE};

use crate::open::make;

/// What a new system is to be.
#[derive(Clone, Debug)]
pub struct Init {
    /// Its first domain.
    pub domain: String,
    /// The name of this host.
    pub hostname: String,
    /// The addresses to listen on; none: all.
    pub bind: Vec<IpAddr>,
    /// Every listener is on this number plus its standard port.
    pub base_port: Option<u16>,
    /// Whether to make a certificate now.
    pub self_signed: bool,
}

/// What was set up.
#[derive(Clone, Debug)]
pub struct Listeners {
    /// The configuration's file.
    pub config: PathBuf,
    /// Each listener's name and place.
    pub listeners: Vec<(String, String)>,
    /// The data belongs to root, so the daemons will run as root.
    pub as_root: bool,
}

/// Sets up a system in `directory`.
///
/// # Errors
/// There is one already; a name is none; a port is too large; the disk.
pub async fn init(directory: &Path, wanted: &Init) -> Result<Listeners, Error> {
    let config_path = directory.join("mailwright.toml");
    if config_path.exists() {
        return Err(Error::Failed(format!("{} exists already: this directory is set up", config_path.display())));
    }
    let failed = |path: &Path, error: &dyn std::fmt::Display| Error::Failed(format!("{}: {error}", path.display()));
    let domain = address::Domain::parse(&wanted.domain)
        .map_err(|_| Error::Config(format!("{:?} is not a domain", wanted.domain)))?;
    let as_root = nix::unistd::geteuid().is_root();
    let text = configuration(wanted, as_root);
    // What is written is what the daemons will read: it is read first.
    Config::parse(&text).map_err(|(_, reason)| Error::Config(reason))?;
    fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
    let private = |path: &Path| {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| failed(path, &error))
    };
    for name in ["data", "run", "tls"] {
        private(&directory.join(name))?;
    }
    if wanted.self_signed {
        make_certificate(&directory.join("tls"), wanted)?;
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(&config_path)
        .map_err(|error| failed(&config_path, &error))?;
    file.write_all(text.as_bytes()).map_err(|error| failed(&config_path, &error))?;
    let config = Config::load(&config_path)?;
    daemon::make_drop(&config, &config_path)?;
    let system = make(&config, false)?;
    system.directory.add_domain(domain.as_str(), None).await.map_err(|error| Error::Failed(error.to_string()))?;
    system.store.close().await;
    let listeners = Kind::IN_ONE_PROCESS
        .iter()
        .flat_map(|kind| config.places(*kind).into_iter().map(|place| (kind.name().to_owned(), place.to_string())))
        .collect();
    Ok(Listeners { config: config_path, listeners, as_root })
}

/// The template with what is known filled in.
fn configuration(wanted: &Init, as_root: bool) -> String {
    let loopback = !wanted.bind.is_empty() && wanted.bind.iter().all(|address| net::is_loopback(*address));
    let mut text = TEMPLATE.to_owned();
    let mut set = |from: &str, to: String| text = text.replace(from, &to);
    set("hostname = \"localhost\"", format!("hostname = \"{}\"", wanted.hostname));
    // A cron job's `root` is root@ of the first domain, which has somebody who reads it (rule 14).
    set("origin = \"\"", format!("origin = \"{}\"", wanted.domain));
    if !wanted.bind.is_empty() {
        let list: Vec<String> = wanted.bind.iter().map(|address| format!("\"{address}\"")).collect();
        set("bind = [\"0.0.0.0\", \"::\"]", format!("bind = [{}]", list.join(", ")));
    }
    if let Some(base) = wanted.base_port {
        set("# base_port = 20000", format!("base_port = {base}"));
    }
    if wanted.self_signed {
        set("certificate = \"\"", "certificate = \"tls/cert.pem\"".into());
        set("key = \"\"", "key = \"tls/key.pem\"".into());
    }
    if as_root {
        set("user = \"\"", "user = \"root\"".into());
    }
    if loopback {
        // Loopback alone: no password leaves this machine.
        set("allow_plaintext_auth = false", "allow_plaintext_auth = true # loopback only".into());
    }
    text
}

/// A certificate that no client trusts by itself, for the host's name, localhost and loopback, for ten years.
fn make_certificate(directory: &Path, wanted: &Init) -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("certificate: {error}"));
    let mut names = vec![wanted.hostname.clone(), "localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(wanted.bind.iter().filter(|address| !address.is_unspecified()).map(ToString::to_string));
    names.sort_unstable();
    names.dedup();
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| failed(&error))?;
    for (name, pem) in [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())] {
        let path = directory.join(name);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed(&error))?;
        file.write_all(pem.as_bytes()).map_err(|error| failed(&error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(bind: &str) -> Init {
        Init {
            domain: "example.test".into(),
            hostname: "mx.example.test".into(),
            bind: vec![bind.parse().unwrap()],
            base_port: Some(20_000),
            self_signed: true,
        }
    }

    #[test]
    fn passwords_in_clear_are_for_loopback_alone() {
        let config = |bind: &str| Config::parse(&configuration(&wanted(bind), false)).unwrap();
        let loopback = config("127.0.0.1");
        assert!(loopback.allow_plaintext_auth(Kind::Imap) && loopback.allow_plaintext_auth(Kind::Submission));
        assert_eq!(loopback.hostname, "mx.example.test");
        assert_eq!(loopback.base_port, Some(20_000));
        assert!(!config("192.0.2.1").allow_plaintext_auth(Kind::Pop3));
    }

    #[tokio::test]
    async fn a_directory_is_set_up_once() {
        let folder = tempfile::tempdir().unwrap();
        let made = init(folder.path(), &wanted("127.0.0.1")).await.unwrap();
        assert!(made.listeners.contains(&("imaps".into(), "127.0.0.1:20993".into())));
        assert!(init(folder.path(), &wanted("127.0.0.1")).await.is_err());
        let too_high = Init { base_port: Some(65_000), ..wanted("127.0.0.1") };
        let other = tempfile::tempdir().unwrap();
        let refused = init(other.path(), &too_high).await.unwrap_err();
        assert!(matches!(refused, Error::Config(_)), "{refused}");
        assert!(!other.path().join("mailwright.toml").exists());
    }
}
