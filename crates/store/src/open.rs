//! Whether a data directory is one, is ours, and can be used by this version (rules 9 and 25).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::disk::{Disk, Layout};
use crate::index::schema;
use crate::{Error, Result};

const FORMAT: &str = "mailwright store";

/// File systems that other machines share: locks and syncs on them do not keep the store's promises.
const NETWORK: [(i64, &str); 8] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0bd0_0bd0, "Lustre"),
    (0x5346_414f, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x0102_1997, "9P"),
];

/// Makes the directories if they are missing, checks what is there, and takes the lock: shared, which keeps migrations
/// out, or (`alone`) exclusive.
pub(crate) fn prepare(disk: &dyn Disk, layout: &Layout, alone: bool) -> Result<File> {
    let root = &layout.root;
    let unusable = |what: String| Error::Unusable(format!("data directory {}: {what}", root.display()));
    for directory in [root, &layout.volume(), &layout.segments(), &layout.notify(), &layout.maildrops()] {
        disk.create_dir(directory)
            .map_err(|error| unusable(format!("cannot make {}: {error}", directory.display())))?;
    }
    refuse_network(root).map_err(&unusable)?;
    let owner = std::fs::metadata(root)?.uid();
    let user = nix::unistd::geteuid().as_raw();
    if owner != user {
        return Err(unusable(format!("belongs to user {owner}, this is user {user}: run as its owner, or chown it")));
    }
    let lock = open_lock(&layout.lock("store"))?;
    match if alone { lock.try_lock() } else { lock.try_lock_shared() } {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) if alone => {
            return Err(unusable("is in use: stop the daemons first".into()));
        }
        Err(TryLockError::WouldBlock) => {
            return Err(unusable("another process has it to itself (a migration or salvage): wait for it".into()));
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    check_format(layout).map_err(unusable)?;
    Ok(lock)
}

/// A lock file, made if it is missing.
pub(crate) fn open_lock(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn refuse_network(root: &Path) -> std::result::Result<(), String> {
    let facts = nix::sys::statfs::statfs(root).map_err(|error| error.to_string())?;
    network(facts.filesystem_type().0)
}

fn network(magic: i64) -> std::result::Result<(), String> {
    match NETWORK.iter().find(|(known, _)| magic == *known) {
        Some((_, name)) => Err(format!("is on {name}: put it on a local file system")),
        None => Ok(()),
    }
}

fn check_format(layout: &Layout) -> std::result::Result<(), String> {
    let path = layout.format();
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let version = text.trim_end().strip_prefix(FORMAT).map(str::trim);
            match version.and_then(|version| version.parse::<i64>().ok()) {
                Some(schema::VERSION) => Ok(()),
                Some(version) => Err(format!(
                    "has format {version}, this version of Mailwright knows format {}: run the version that wrote it",
                    schema::VERSION
                )),
                None => Err(format!("{} does not say a format: is this a data directory?", path.display())),
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if layout.index().exists() {
                return Err(format!("{} is missing beside an index: restore it", path.display()));
            }
            write_format(&path).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn write_format(path: &Path) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    writeln!(file, "{FORMAT} {}", schema::VERSION)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_machines_share_is_refused() {
        // rule 9
        for magic in [0x6969, 0x517b, 0xff53_4d42, 0x0102_1997] {
            assert!(network(magic).is_err_and(|words| words.contains("put it on a local file system")), "{magic:x}");
        }
        for magic in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994] {
            assert_eq!(network(magic), Ok(()), "ext4, XFS, Btrfs, tmpfs");
        }
    }
}
