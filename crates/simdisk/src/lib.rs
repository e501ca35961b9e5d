//! A disk in memory that forgets unsynced writes when its power is cut.
//!
//! [`SimDisk`] holds files; [`SimDisk::register`] makes them SQLite's, too, and [`disk_for_store`] the store's. After a
//! number of operations the disk can die: every further operation fails. [`SimDisk::cut`] then leaves what was synced, and
//! it works again. It can also be full, and syncs can fail, after which what they should have saved never is, as with real
//! kernels.

mod for_store;
mod vfs;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
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
    capacity: Option<u64>,
    /// Part of a path, and how many syncs of such files will fail.
    failing: Option<(String, u32)>,
    /// Files one of whose syncs failed, and how often one of them was synced again.
    doubtful: BTreeMap<String, u32>,
}

/// A file's octets: as they are, and as a power cut would leave them.
#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    synced: Option<Vec<u8>>,
    changed: bool,
    /// What was written since the last sync.
    dirty: Vec<Range<usize>>,
    /// Octets that it was cut to since the last sync, at the least.
    cut: Option<usize>,
    /// What a failed sync left behind: taken for clean, and on the disk nowhere.
    lost: Vec<Range<usize>>,
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

    /// The disk holds no more than so many octets; `None`: any number.
    pub fn set_capacity(&self, octets: Option<u64>) {
        self.state().capacity = octets;
    }

    /// The octets of all files.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// The octets that could still be written.
    #[must_use]
    pub fn free(&self) -> u64 {
        let state = self.state();
        state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used()))
    }

    /// The next `times` syncs of files whose path holds `part` fail.
    pub fn fail_syncs(&self, part: &str, times: u32) {
        self.state().failing = Some((part.to_owned(), times));
    }

    /// The files one of whose syncs failed, and how often each was synced again after that.
    #[must_use]
    pub fn doubtful(&self) -> BTreeMap<String, u32> {
        self.state().doubtful.clone()
    }

    /// Time passes.
    pub fn pass(&self, milliseconds: i64) {
        self.state().clock += milliseconds;
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
            (content.dirty, content.lost, content.cut) = (Vec::new(), Vec::new(), None);
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
    /// There is no such file; the disk is full, or dead.
    pub fn write(&self, path: &str, octets: &[u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(octets.len());
        let mut state = self.state();
        state.step()?;
        let grows = end.saturating_sub(state.files.get(path).ok_or(io::ErrorKind::NotFound)?.now.len()) as u64;
        if grows > 0 && state.capacity.is_some_and(|capacity| state.used() + grows > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = state.files.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        if content.now.len() < end {
            content.now.resize(end, 0);
        }
        content.now[start..end].copy_from_slice(octets);
        content.lost = content.lost.iter().flat_map(|lost| without(lost, &(start..end))).collect();
        content.dirty.push(start..end);
        content.changed = true;
        Ok(())
    }

    /// Cuts or extends.
    ///
    /// # Errors
    /// There is no such file; the disk is dead.
    pub fn truncate(&self, path: &str, octets: u64) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let content = state.files.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        let end = usize::try_from(octets).unwrap_or(usize::MAX);
        if end < content.now.len() {
            content.cut = Some(content.cut.map_or(end, |cut| cut.min(end)));
        }
        content.now.resize(end, 0);
        content.lost = content.lost.iter().flat_map(|lost| without(lost, &(end..usize::MAX))).collect();
        content.dirty = content.dirty.iter().flat_map(|dirty| without(dirty, &(end..usize::MAX))).collect();
        content.changed = true;
        Ok(())
    }

    /// What was written survives from now on; what a failed sync left behind does not, unless it was written anew.
    ///
    /// # Errors
    /// There is no such file; the sync is one that fails; the disk is dead.
    pub fn sync(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let fails = match &mut state.failing {
            Some((part, left)) if *left > 0 && path.contains(&*part) => {
                *left -= 1;
                true
            }
            _ => false,
        };
        if fails {
            state.doubtful.entry(path.to_owned()).or_insert(0);
        } else if let Some(again) = state.doubtful.get_mut(path) {
            *again += 1;
        }
        let content = state.files.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        if fails {
            content.lost.append(&mut content.dirty);
            content.changed = false;
            return Err(io::Error::other("the sync failed"));
        }
        if content.changed || content.synced.is_none() {
            // Only what changed is copied, as files are large and synced often; `dirty` and `lost` have nothing in common.
            let mut synced = content.synced.take().unwrap_or_default();
            synced.truncate(content.cut.take().unwrap_or(usize::MAX));
            synced.resize(content.now.len(), 0);
            for dirty in content.dirty.drain(..) {
                synced[dirty.clone()].copy_from_slice(&content.now[dirty]);
            }
            content.synced = Some(synced);
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

/// A range without what another covers.
fn without(range: &Range<usize>, covered: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let before = range.start..range.end.min(covered.start);
    let behind = range.start.max(covered.end)..range.end;
    [before, behind].into_iter().filter(|range| !range.is_empty())
}

impl State {
    fn used(&self) -> u64 {
        self.files.values().map(|content| content.now.len() as u64).sum()
    }

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
