//! Whether a data directory is one, is ours, and can be used by this version (rules 9 and 25).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::disk::{self, Disk, Layout};
use crate::index::{migrate, schema};
use crate::{Error, Result, Synchronous};

const FORMAT: &str = "mailwright store";
/// How long a process that starts waits for another that has the store to itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);

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
/// out, or (`alone`) exclusive. A store of an older format is migrated on the way, unless it is taken `alone`.
pub(crate) fn prepare(disk: &dyn Disk, layout: &Layout, alone: bool) -> Result<File> {
    prepare_within(disk, layout, alone, PATIENCE)
}

fn prepare_within(disk: &dyn Disk, layout: &Layout, alone: bool, patience: Duration) -> Result<File> {
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
    let since = Instant::now();
    loop {
        match if alone { lock.try_lock() } else { lock.try_lock_shared() } {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if alone => {
                return Err(unusable("is in use: stop the daemons first".into()));
            }
            Err(TryLockError::WouldBlock) if since.elapsed() < patience => {
                std::thread::sleep(LOOK);
                continue;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(unusable("another process has it to itself (a migration or salvage): wait for it".into()));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let found = check_format(layout).map_err(&unusable)?;
        if alone {
            return Ok(lock);
        }
        if found == schema::VERSION {
            refuse_missing_index(disk, layout)?;
            return Ok(lock);
        }
        // Of several processes that start together one gets the store to itself and migrates it, the others wait.
        lock.unlock()?;
        match lock.try_lock() {
            Ok(()) => {
                migrate(layout, found)?;
                // What others see between the two locks is the new format.
                lock.unlock()?;
            }
            Err(TryLockError::WouldBlock) if since.elapsed() < patience => std::thread::sleep(LOOK),
            Err(TryLockError::WouldBlock) => {
                return Err(unusable(format!(
                    "has format {found} and is in use by a version that knows no other: stop the daemons, so that this \
                     version can bring it to format {}",
                    schema::VERSION
                )));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

/// Brings the store, which is ours alone, to this version's format: its index in one transaction, then its word for it.
/// Between the two it is no daemon's: an older one refuses the index, this version goes on.
fn migrate(layout: &Layout, from: i64) -> Result<()> {
    // Another process may have done it before we had the lock.
    if check_format(layout).map_err(Error::Unusable)? == schema::VERSION {
        return Ok(());
    }
    if layout.index().exists() {
        let connection = schema::open(&layout.index(), None, Synchronous::Full)?;
        migrate::run(&connection)?;
    }
    write_format(layout)?;
    tracing::info!(from, to = schema::VERSION, "store migrated");
    Ok(())
}

/// Messages whose index is missing are no store to begin: SQLite, asked for it, would make an empty one, and remove the
/// WAL that is left of the old one.
fn refuse_missing_index(disk: &dyn Disk, layout: &Layout) -> Result<()> {
    // In this order: another process that begins the store makes the index first.
    let has_messages = disk::has_segments(disk, layout)?;
    let has_index = match std::fs::metadata(layout.index()) {
        Ok(facts) => facts.len() > 0,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error.into()),
    };
    if has_messages && !has_index { Err(without_index(layout)) } else { Ok(()) }
}

/// There are messages, and no index of them.
pub(crate) fn without_index(layout: &Layout) -> Error {
    Error::Unusable(format!(
        "the index is missing in {}, where messages are: `mailctl salvage` makes it anew from them",
        layout.volume().display()
    ))
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

/// Whether the store in `directory` has a format that this version knows; one that is not there yet has. Nothing is changed.
///
/// # Errors
/// `Unusable`, with what would know it.
pub fn check(directory: &Path) -> Result<()> {
    let found = known_format(&Layout { root: directory.to_owned() });
    found.map(|_| ()).map_err(|what| Error::Unusable(format!("data directory {}: {what}", directory.display())))
}

/// The format of the store: this version's or an older one. A new store gets this version's.
fn check_format(layout: &Layout) -> std::result::Result<i64, String> {
    if let Some(version) = known_format(layout)? {
        return Ok(version);
    }
    write_format(layout).map_err(|error| error.to_string())?;
    Ok(schema::VERSION)
}

/// What the store says of its format; `None` for a new one.
fn known_format(layout: &Layout) -> std::result::Result<Option<i64>, String> {
    let path = layout.format();
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let version = text.trim_end().strip_prefix(FORMAT).map(str::trim);
            match version.and_then(|version| version.parse::<i64>().ok()) {
                Some(version @ 1..=schema::VERSION) => Ok(Some(version)),
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
            Ok(None)
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Writes that the store has this version's format.
pub(crate) fn write_format(layout: &Layout) -> std::io::Result<()> {
    let path = layout.format();
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    writeln!(file, "{FORMAT} {}", schema::VERSION)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(&layout.root)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RealDisk;

    #[test]
    fn a_store_that_an_older_version_uses_is_not_migrated() {
        // rule 9
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout { root: directory.path().to_owned() };
        std::fs::write(layout.format(), "mailwright store 1\n").unwrap();
        let older = open_lock(&layout.lock("store")).unwrap();
        older.lock_shared().unwrap();
        let refused = prepare_within(&RealDisk, &layout, false, Duration::ZERO).unwrap_err().to_string();
        assert!(refused.contains("has format 1") && refused.contains("stop the daemons"), "{refused}");
        assert_eq!(std::fs::read_to_string(layout.format()).unwrap(), "mailwright store 1\n");
        drop(older);
        let lock = prepare_within(&RealDisk, &layout, false, Duration::ZERO).unwrap();
        assert_eq!(std::fs::read_to_string(layout.format()).unwrap(), "mailwright store 3\n");
        assert!(prepare_within(&RealDisk, &layout, true, Duration::ZERO).is_err(), "it is in use");
        drop(lock);
    }

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
