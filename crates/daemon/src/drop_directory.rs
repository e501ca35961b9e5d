//! The drop directory, and what every local user may know of this system (rule 29).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use crate::process::runtime_user;
use crate::{Config, Error};

/// Anybody puts a message in and takes only their own away; nobody but the owner, `mta`, sees what is there.
const MODE: u32 = 0o1733;

/// Makes the drop directory of a configuration, which was read from `path`; where it is, its owner and mode are set
/// right. Beside the configuration `sendmail.toml` tells it to those who may not read the configuration.
///
/// # Errors
/// It cannot be made, or is somebody else's.
pub fn make_drop(config: &Config, path: &Path) -> Result<(), Error> {
    if !config.sendmail.enabled {
        return Ok(());
    }
    let drop = &config.sendmail.drop;
    let failed = |error: io::Error| Error::Failed(format!("drop directory {}: {error}", drop.display()));
    match fs::DirBuilder::new().mode(0o700).create(drop) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let directory = OpenOptions::new().read(true).custom_flags(flags.bits()).open(drop).map_err(failed)?;
    let facts = directory.metadata().map_err(failed)?;
    match runtime_user(config)? {
        Some((user, group)) if (facts.uid(), facts.gid()) != (user.as_raw(), group.as_raw()) => {
            fchown(&directory, Some(user.as_raw()), Some(group.as_raw())).map_err(failed)?;
        }
        None if facts.uid() != nix::unistd::geteuid().as_raw() => {
            return Err(Error::Config(format!(
                "drop directory {}: belongs to user {}: chown it to the owner of the data directory",
                drop.display(),
                facts.uid()
            )));
        }
        _ => {}
    }
    if facts.mode() & 0o7777 != MODE {
        directory.set_permissions(fs::Permissions::from_mode(MODE)).map_err(failed)?;
    }
    if let Some(above) = unreachable(drop) {
        tracing::warn!(directory = %above.display(), "local users cannot send: not searchable, above the drop directory");
    }
    if let Err(error) = LocalMail::of(config).tell(&beside(path)) {
        tracing::debug!(%error, "sendmail.toml not written");
    }
    Ok(())
}

/// The directory above that not everybody may pass.
fn unreachable(drop: &Path) -> Option<PathBuf> {
    let closed = |path: &&Path| fs::metadata(path).is_ok_and(|facts| facts.mode() & 0o001 == 0);
    drop.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).find(closed).map(Path::to_owned)
}

/// What `sendmail` must know. Any local user may read it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LocalMail {
    /// Whether mail is taken from programs of this machine.
    pub enabled: bool,
    /// The drop directory.
    pub drop: PathBuf,
    /// The name of this host.
    pub hostname: String,
    /// The domain of addresses without one.
    pub origin: String,
    /// Octets of a message at most.
    pub message_octets: u64,
    /// Recipients of a message at most.
    pub recipients: usize,
}

impl LocalMail {
    /// What a configuration says.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            enabled: config.sendmail.enabled,
            drop: config.sendmail.drop.clone(),
            hostname: config.hostname.clone(),
            origin: config.origin().to_owned(),
            message_octets: config.limits.message_octets,
            recipients: config.limits.recipients,
        }
    }

    /// From the configuration `given`, else `/etc/mailwright/mailwright.toml` and no other (rule 26); from `sendmail.toml`
    /// beside it where the caller may not read it.
    ///
    /// # Errors
    /// Neither can be read, or what is there is wrong.
    pub fn find(given: Option<&Path>) -> Result<Self, Error> {
        let path = given.unwrap_or(Path::new("/etc/mailwright/mailwright.toml"));
        let Err(hidden) = File::open(path) else { return Config::load(path).map(|config| Self::of(&config)) };
        let told = beside(path);
        let wrong = |reason: String| Error::Config(format!("{}: {reason}", told.display()));
        let text = fs::read_to_string(&told)
            .map_err(|_| Error::Config(format!("{}: {hidden}, and there is no {}", path.display(), told.display())))?;
        toml::from_str(&text).map_err(|error| wrong(error.message().replace('\n', " ")))
    }

    /// Writes it where everybody may read it, unless it is there.
    fn tell(&self, path: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        let text =
            format!("# What `sendmail` tells all users of this machine. The daemons write it at their start.\n{text}");
        if fs::read_to_string(path).is_ok_and(|known| known == text) {
            return Ok(());
        }
        let temporary = path.with_file_name(format!(".sendmail.toml.{}", std::process::id()));
        let written =
            OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary).and_then(|mut file| {
                // The daemons' umask hides files from everybody.
                file.set_permissions(fs::Permissions::from_mode(0o644))?;
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
                fs::rename(&temporary, path)
            });
        if written.is_err() {
            // It may not even be there.
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

pub(crate) fn beside(config: &Path) -> PathBuf {
    config.with_file_name("sendmail.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_takes_from_all_and_shows_to_none() {
        // rule 29
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mailwright.toml");
        fs::create_dir(folder.path().join("data")).unwrap();
        let user = if nix::unistd::geteuid().is_root() { "user = \"root\"\n" } else { "" };
        fs::write(&path, format!("{user}hostname = \"mx.example.org\"\n[sendmail]\norigin = \"example.org\"\n"))
            .unwrap();
        let config = Config::load(&path).unwrap();
        assert_eq!(config.sendmail.drop, folder.path().join("drop"));
        let mode = || fs::symlink_metadata(&config.sendmail.drop).unwrap().mode() & 0o7777;
        make_drop(&config, &path).unwrap();
        assert_eq!(mode(), 0o1733);
        fs::set_permissions(&config.sendmail.drop, fs::Permissions::from_mode(0o700)).unwrap();
        make_drop(&config, &path).unwrap();
        assert_eq!(mode(), 0o1733);
        // Whoever may not read the configuration reads what is beside it.
        let told = folder.path().join("sendmail.toml");
        assert_eq!(fs::metadata(&told).unwrap().mode() & 0o777, 0o644);
        let known = LocalMail::find(Some(&path)).unwrap();
        assert_eq!((known.origin.as_str(), known.hostname.as_str()), ("example.org", "mx.example.org"));
        fs::remove_file(&path).unwrap();
        assert_eq!(LocalMail::find(Some(&path)).unwrap(), known);
        fs::remove_file(&told).unwrap();
        assert!(LocalMail::find(Some(&path)).unwrap_err().to_string().contains("there is no"));
        // A link is nobody's drop directory.
        fs::remove_dir(&config.sendmail.drop).unwrap();
        std::os::unix::fs::symlink(folder.path().join("data"), &config.sendmail.drop).unwrap();
        assert!(make_drop(&config, &path).is_err());
    }
}
