//! What the store asks of the machine: files, directories, a clock and randomness, as a trait, so that a simulated one
//! can lose power.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// An open file.
pub trait File: Send + Sync + std::fmt::Debug {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// Also where the file ends before `buffer` is full (`UnexpectedEof`).
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `octets` at `offset`.
    ///
    /// # Errors
    /// What the machine says.
    fn write_all_at(&self, octets: &[u8], offset: u64) -> io::Result<()>;
    /// Makes everything written so far, and the length, survive a power cut.
    ///
    /// # Errors
    /// What the machine says; what was written since the last success is then in doubt for ever.
    fn sync(&self) -> io::Result<()>;
    /// Cuts or extends.
    ///
    /// # Errors
    /// What the machine says.
    fn set_len(&self, octets: u64) -> io::Result<()>;
    /// Its length in octets.
    ///
    /// # Errors
    /// What the machine says.
    fn octets(&self) -> io::Result<u64>;
}

/// The machine.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Makes a new file that must not exist yet, readable by its owner alone.
    ///
    /// # Errors
    /// What the machine says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// What the machine says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Removes a file.
    ///
    /// # Errors
    /// What the machine says.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Renames a file over whatever has the name.
    ///
    /// # Errors
    /// What the machine says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a directory with its parents, for its owner alone.
    ///
    /// # Errors
    /// What the machine says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory.
    ///
    /// # Errors
    /// What the machine says.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Makes the names in a directory survive a power cut.
    ///
    /// # Errors
    /// What the machine says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// The octets that an ordinary user could still write below `path`.
    ///
    /// # Errors
    /// What the machine says.
    fn free(&self, path: &Path) -> io::Result<u64>;
    /// Milliseconds since 1970.
    fn now(&self) -> i64;
    /// Randomness.
    fn random(&self) -> u64;
    /// The name of the SQLite VFS whose files lie on this disk; `None`: SQLite's own.
    fn vfs(&self) -> Option<&str> {
        None
    }
    /// What makes the writing processes take turns in `directory`.
    ///
    /// # Errors
    /// What the machine says.
    fn turnstile(&self, directory: &Path) -> io::Result<Box<dyn Turnstile>>;
}

/// Makes processes take turns: without it one of them starves the others completely.
pub trait Turnstile: Send + std::fmt::Debug {
    /// Waits for the turn, which ends when the value is dropped. Blocks.
    ///
    /// # Errors
    /// What the machine says.
    fn enter(&self) -> io::Result<Turn<'_>>;
    /// Ends the turn; [`Turn`] calls it.
    fn leave(&self);
}

/// The turn of this process.
#[derive(Debug)]
pub struct Turn<'a>(pub &'a dyn Turnstile);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Two file locks: who holds `turn` is next, so that a process that releases `writer` cannot barge past it. The kernel
/// releases both when a process dies.
#[derive(Debug)]
struct TwoLocks {
    turn: fs::File,
    writer: fs::File,
}

impl Turnstile for TwoLocks {
    fn enter(&self) -> io::Result<Turn<'_>> {
        self.turn.lock()?;
        let held = self.writer.lock();
        self.turn.unlock()?;
        held?;
        Ok(Turn(self))
    }

    fn leave(&self) {
        if let Err(error) = self.writer.unlock() {
            tracing::error!(%error, "turn not released");
        }
    }
}

/// The real machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl File for fs::File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn write_all_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, octets, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, octets: u64) -> io::Result<()> {
        fs::File::set_len(self, octets)
    }

    fn octets(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Arc::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(fs::File::open(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn free(&self, path: &Path) -> io::Result<u64> {
        let facts = nix::sys::statvfs::statvfs(path)?;
        Ok(facts.blocks_available().saturating_mul(facts.fragment_size()))
    }

    fn now(&self) -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn turnstile(&self, directory: &Path) -> io::Result<Box<dyn Turnstile>> {
        let open = |name: &str| {
            let mut options = fs::OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(directory.join(name))
        };
        Ok(Box::new(TwoLocks { turn: open("turn.lock")?, writer: open("writer.lock")? }))
    }

    fn random(&self) -> u64 {
        getrandom::u64().unwrap_or_else(|_| u64::try_from(self.now()).unwrap_or(0))
    }
}

/// Where the parts of a store lie.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

impl Layout {
    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("format")
    }
    pub(crate) fn volume(&self) -> PathBuf {
        self.root.join("v00")
    }
    pub(crate) fn index(&self) -> PathBuf {
        self.volume().join("index.db")
    }
    pub(crate) fn ballast(&self) -> PathBuf {
        self.volume().join("ballast")
    }
    pub(crate) fn segments(&self) -> PathBuf {
        self.volume().join("seg")
    }
    pub(crate) fn segment(&self, id: i64) -> PathBuf {
        self.segments().join(segment_name(id))
    }
    pub(crate) fn notify(&self) -> PathBuf {
        self.root.join("notify")
    }
    pub(crate) fn maildrops(&self) -> PathBuf {
        self.root.join("maildrop")
    }
    pub(crate) fn lock(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.lock"))
    }
}

/// The file name of a segment.
pub(crate) fn segment_name(id: i64) -> String {
    format!("{id:016x}.seg")
}

/// Whether there is a segment.
pub(crate) fn has_segments(disk: &dyn Disk, layout: &Layout) -> io::Result<bool> {
    Ok(disk.list(&layout.segments())?.iter().any(|name| segment_id(name).is_some()))
}

/// The segment whose file has this name.
pub(crate) fn segment_id(name: &str) -> Option<i64> {
    i64::from_str_radix(name.strip_suffix(".seg")?, 16).ok()
}
