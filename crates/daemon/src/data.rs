//! The data directory, before anything is opened in it.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;

use nix::unistd::{Uid, User};

use crate::drop_directory::beside;
use crate::{Config, Error};

/// Refuses a data directory that is empty or not there, of a system that was used before: an empty store is nobody's mail, and
/// behind a path mistyped or a disk not mounted all mail would be refused for good. What tells of the use is `sendmail.toml`,
/// which `mailctl init` and `mta` write beside the configuration.
///
/// # Errors
/// It is so, or cannot be read by this user.
pub fn data_is_there(config: &Config) -> Result<(), Error> {
    if config.file.as_os_str().is_empty() {
        return Ok(());
    }
    let data = &config.data;
    let wrong = |what: &str| Err(config.wrong(format_args!("data directory {}: {what}", data.display())));
    let used = beside(&config.file);
    let gone = |state: &str| {
        if !used.exists() {
            return Ok(());
        }
        let used = used.display();
        wrong(&format!("{state}: is its disk mounted? If it is to be begun anew, remove {used}"))
    };
    match std::fs::read_dir(data).map(|mut entries| entries.next().is_none()) {
        Ok(false) => Ok(()),
        Ok(true) => gone("is empty"),
        Err(error) if error.kind() == ErrorKind::NotFound => gone("is not there"),
        Err(error) => {
            let owner =
                std::fs::metadata(data).ok().and_then(|facts| User::from_uid(Uid::from_raw(facts.uid())).ok()?);
            let owner = owner.map(|user| format!(", {}", user.name)).unwrap_or_default();
            wrong(&format!("{error}: run this as root or as its owner{owner}"))
        }
    }
}
