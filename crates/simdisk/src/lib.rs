//! A disk in memory that forgets unsynced writes when its power is cut.
//!
//! [`SimDisk`] holds files; [`SimDisk::register`] makes them SQLite's, too. After a number of operations the disk can
//! die: every further operation fails. [`SimDisk::cut`] then leaves what was synced, and it works again.

mod vfs;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The disk; cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Content>,
    /// Operations left before the disk dies; `None`: it does not.
    left: Option<u64>,
    operations: u64,
    clock: i64,
    random: u64,
}

/// A file's octets: as they are, and as a power cut would leave them.
#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    synced: Option<Vec<u8>>,
    changed: bool,
}

impl SimDisk {
    /// An empty disk whose randomness follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let disk = Self::default();
        disk.state().random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        disk.state().clock = 1_700_000_000_000;
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk dies after so many more operations that change or sync something.
    pub fn die_after(&self, operations: u64) {
        self.state().left = Some(operations);
    }

    /// The operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The power is cut and comes back: what was not synced is gone.
    pub fn cut(&self) {
        let mut state = self.state();
        state.left = None;
        state.files.retain(|_, content| content.synced.is_some());
        for content in state.files.values_mut() {
            content.now = content.synced.clone().unwrap_or_default();
            content.changed = false;
        }
    }

    /// The next random number.
    #[must_use]
    pub fn random(&self) -> u64 {
        let mut state = self.state();
        state.random ^= state.random << 13;
        state.random ^= state.random >> 7;
        state.random ^= state.random << 17;
        state.random
    }

    /// Milliseconds since 1970; each look is a millisecond later.
    #[must_use]
    pub fn now(&self) -> i64 {
        let mut state = self.state();
        state.clock += 1;
        state.clock
    }

    /// Makes an empty file.
    ///
    /// # Errors
    /// There is one; the disk is dead.
    pub fn create(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if state.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.insert(path.to_owned(), Content { changed: true, ..Content::default() });
        Ok(())
    }

    /// Whether there is such a file.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.state().files.contains_key(path)
    }

    /// Removes a file; for good at once, as a journal would make it soon.
    ///
    /// # Errors
    /// There is none; the disk is dead.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.files.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Gives a file another name.
    ///
    /// # Errors
    /// There is none; the disk is dead.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let content = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), content);
        Ok(())
    }

    /// The paths that begin with `prefix`.
    #[must_use]
    pub fn list(&self, prefix: &str) -> Vec<String> {
        self.state().files.keys().filter(|path| path.starts_with(prefix)).cloned().collect()
    }

    /// Reads into `buffer`; how many octets there were.
    ///
    /// # Errors
    /// There is no such file.
    pub fn read(&self, path: &str, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state();
        let content = state.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.now.len());
        let octets = buffer.len().min(content.now.len() - start);
        buffer[..octets].copy_from_slice(&content.now[start..start + octets]);
        Ok(octets)
    }

    /// Writes; the file grows where it must.
    ///
    /// # Errors
    /// There is no such file; the disk is dead.
    pub fn write(&self, path: &str, octets: &[u8], offset: u64) -> io::Result<()> {
        self.change(path, |now| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            if now.len() < start + octets.len() {
                now.resize(start + octets.len(), 0);
            }
            now[start..start + octets.len()].copy_from_slice(octets);
        })
    }

    /// Cuts or extends.
    ///
    /// # Errors
    /// There is no such file; the disk is dead.
    pub fn truncate(&self, path: &str, octets: u64) -> io::Result<()> {
        self.change(path, |now| now.resize(usize::try_from(octets).unwrap_or(usize::MAX), 0))
    }

    fn change(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let content = state.files.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        change(&mut content.now);
        content.changed = true;
        Ok(())
    }

    /// What was written survives from now on.
    ///
    /// # Errors
    /// There is no such file; the disk is dead.
    pub fn sync(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let content = state.files.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        if content.changed || content.synced.is_none() {
            content.synced = Some(content.now.clone());
            content.changed = false;
        }
        Ok(())
    }

    /// A file's octets.
    ///
    /// # Errors
    /// There is no such file.
    pub fn octets(&self, path: &str) -> io::Result<u64> {
        self.state()
            .files
            .get(path)
            .map(|content| content.now.len() as u64)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        self.operations += 1;
        match &mut self.left {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the disk is dead")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}
