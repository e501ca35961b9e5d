//! The directory itself: what is listed, how a file is opened that anybody may have put there, how it goes.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use nix::fcntl::OFlag;
use smtp::{DropError, DropFile, DropLimits};

/// How the names of files begin that are no messages.
pub(super) const ASIDE: &str = "corrupt.";

/// How the names of files begin that are being written.
const TEMPORARY: &str = ".tmp.";

/// Nobody writes a file for as long as this; whoever began it is gone.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// Files handed out by one look; the rest comes with the next.
const MAX_DUE: usize = 10_000;

/// A file, whatever its name.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Identity {
    inode: u64,
}

impl Identity {
    fn of(facts: &Metadata) -> Self {
        Self { inode: facts.ino() }
    }
}

/// Why a file is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// It is not there any more.
    #[error("gone")]
    Gone,
    /// It became another while it was looked at.
    #[error("changed while it was read")]
    Changed(Identity),
    /// A link, a pipe, a directory, a socket.
    #[error("not a regular file")]
    NotRegular(Owned),
    /// It has other names, in places that we do not know.
    #[error("it has more than one name")]
    Linked(Owned),
    /// It is larger than the largest message.
    #[error("too large")]
    TooLarge(Owned),
    /// Its owner keeps it from us.
    #[error("not readable")]
    Unreadable(Owned),
    /// It is not in the format of `sendmail`.
    #[error("malformed: {1}")]
    Malformed(Owned, DropError),
}

/// Whose a file is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Owned {
    /// The file.
    pub identity: Identity,
    /// Its owner.
    pub uid: u32,
}

impl Trouble {
    fn owned(&self) -> Option<Owned> {
        match self {
            Self::Gone | Self::Changed(_) => None,
            Self::NotRegular(owned)
            | Self::Linked(owned)
            | Self::TooLarge(owned)
            | Self::Unreadable(owned)
            | Self::Malformed(owned, _) => Some(*owned),
        }
    }

    pub(super) fn uid(&self) -> Option<u32> {
        self.owned().map(|owned| owned.uid)
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        self.owned().map(|owned| owned.identity)
    }
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) identity: Identity,
    pub(super) uid: u32,
    pub(super) file: DropFile,
    device: u64,
    /// When its name, owner or octets changed last, in nanoseconds since 1970; no user can choose it.
    changed: i128,
}

impl Taken {
    /// The same for the same file, of nothing that a user can choose (rule 32).
    pub(super) fn queue_id(&self) -> String {
        let mut hash = blake3::Hasher::new();
        for number in [self.device, self.identity.inode, u64::from(self.uid)] {
            hash.update(&number.to_be_bytes());
        }
        hash.update(&self.changed.to_be_bytes());
        let hash = hash.finalize();
        let mut random = [0; 8];
        random.copy_from_slice(&hash.as_bytes()[..8]);
        let micros = i64::try_from(self.changed / 1_000).unwrap_or_default();
        let changed = jiff::Timestamp::from_microsecond(micros).unwrap_or_default();
        trace::queue_id(changed, u64::from_be_bytes(random))
    }
}

/// What is in the directory.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// The names of files to be looked at.
    pub(super) due: Vec<OsString>,
    /// The files that wait and are there.
    pub(super) seen: HashSet<Identity>,
}

/// Lists the directory. What was being written a day ago goes.
pub(super) fn list(drop: &Path, waiting: &HashSet<Identity>) -> io::Result<Listed> {
    let mut listed = Listed::default();
    for entry in fs::read_dir(drop)? {
        let entry = entry?;
        let name = entry.file_name();
        let identity = Identity { inode: entry.ino() };
        if name.as_bytes().starts_with(TEMPORARY.as_bytes()) {
            sweep(&entry.path());
        } else if name.as_bytes().starts_with(ASIDE.as_bytes()) {
        } else if waiting.contains(&identity) {
            listed.seen.insert(identity);
        } else if listed.due.len() < MAX_DUE {
            listed.due.push(name);
        }
    }
    Ok(listed)
}

/// Takes away what nobody is writing any more.
fn sweep(path: &Path) {
    let old = |facts: &Metadata| {
        let age = facts.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        age.is_some_and(|age| age > STALE)
    };
    if fs::symlink_metadata(path).is_ok_and(|facts| !facts.is_dir() && old(&facts))
        && let Err(error) = fs::remove_file(path)
    {
        tracing::debug!(%error, "an old temporary file stays in the drop directory");
    }
}

/// Reads a file that anybody may have put there.
pub(super) fn take(path: &Path, limits: &DropLimits) -> Result<Taken, Trouble> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let before = match fs::symlink_metadata(path) {
        Ok(facts) => facts,
        Err(error) if gone(&error) => return Err(Trouble::Gone),
        Err(_) => return Err(Trouble::Gone),
    };
    let (identity, uid) = (Identity::of(&before), before.uid());
    let owned = Owned { identity, uid };
    judge(&before, owned, limits)?;
    // It may have become something else since: a link is not followed, a pipe not waited for, a terminal not ours.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(error) if gone(&error) => return Err(Trouble::Gone),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(Trouble::Unreadable(owned)),
        Err(_) => return Err(Trouble::Changed(identity)),
    };
    let facts = file.metadata().map_err(|_| Trouble::Changed(identity))?;
    if (facts.dev(), facts.ino(), facts.uid(), facts.len()) != (before.dev(), before.ino(), uid, before.len()) {
        return Err(Trouble::Changed(identity));
    }
    judge(&facts, owned, limits)?;
    let octets = read(&file, facts.len()).map_err(|_| Trouble::Changed(identity))?;
    let file = DropFile::parse(&octets, limits).map_err(|error| Trouble::Malformed(owned, error))?;
    let changed = i128::from(facts.ctime()) * 1_000_000_000 + i128::from(facts.ctime_nsec());
    Ok(Taken { identity, uid, file, device: facts.dev(), changed })
}

fn judge(facts: &Metadata, owned: Owned, limits: &DropLimits) -> Result<(), Trouble> {
    if !facts.is_file() {
        return Err(Trouble::NotRegular(owned));
    }
    if facts.nlink() != 1 {
        return Err(Trouble::Linked(owned));
    }
    if facts.len() > limits.file_octets() {
        return Err(Trouble::TooLarge(owned));
    }
    Ok(())
}

/// All octets of a file that has this many; an error if it has others by now.
fn read(file: &File, octets: u64) -> io::Result<Bytes> {
    let mut read = Vec::with_capacity(usize::try_from(octets).map_err(io::Error::other)? + 1);
    file.take(octets + 1).read_to_end(&mut read)?;
    if read.len() as u64 != octets {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(read.into())
}

/// Unlinks a file that was taken, unless its name is another's by now.
pub(super) fn unlink(path: &Path, identity: Identity) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(facts) if Identity::of(&facts) == identity => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// What was unlinked stays so after a power cut.
pub(super) fn sync(drop: &Path) -> io::Result<()> {
    File::open(drop)?.sync_all()
}
