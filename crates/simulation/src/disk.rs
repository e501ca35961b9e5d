//! The simulated disk as the store's.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use simdisk::SimDisk;
use store::{Disk, File, Turn, Turnstile};

use crate::clock::Clock;

/// Disks are SQLite's under names of their own.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A disk whose power can be cut, and whose clock is the world's.
#[derive(Debug)]
pub(crate) struct Platter {
    pub(crate) disk: SimDisk,
    clock: Clock,
    vfs: String,
}

impl Platter {
    pub(crate) fn new(seed: u64, clock: Clock) -> Self {
        let disk = SimDisk::new(seed);
        let vfs = format!("simulation-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        disk.register(&vfs);
        Self { disk, clock, vfs }
    }
}

impl Drop for Platter {
    fn drop(&mut self) {
        // SQLite keeps the disk for ever: its octets need not stay.
        for path in self.disk.list("") {
            let _ = self.disk.remove(&path);
        }
    }
}

#[derive(Debug)]
struct Named {
    disk: SimDisk,
    path: String,
}

#[derive(Debug)]
struct Alone;

impl Turnstile for Alone {
    fn enter(&self) -> io::Result<Turn<'_>> {
        Ok(Turn(self))
    }
    fn leave(&self) {}
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

impl File for Named {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let read = self.disk.read(&self.path, buffer, offset)?;
        if read == buffer.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
    fn write_all_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        self.disk.write(&self.path, octets, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.sync(&self.path)
    }
    fn set_len(&self, octets: u64) -> io::Result<()> {
        self.disk.truncate(&self.path, octets)
    }
    fn octets(&self) -> io::Result<u64> {
        self.disk.octets(&self.path)
    }
}

impl Disk for Platter {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.disk.create(&name(path))?;
        self.open(path)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        if !self.disk.exists(&name(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Arc::new(Named { disk: self.disk.clone(), path: name(path) }))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(&name(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(&name(from), &name(to))
    }
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let prefix = format!("{}/", name(path));
        Ok(self.disk.list(&prefix).iter().filter_map(|path| path.strip_prefix(&prefix)).map(str::to_owned).collect())
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn free(&self, _: &Path) -> io::Result<u64> {
        Ok(self.disk.free())
    }
    fn now(&self) -> i64 {
        self.clock.millis()
    }
    fn random(&self) -> u64 {
        self.disk.random()
    }
    fn vfs(&self) -> Option<&str> {
        Some(&self.vfs)
    }
    fn turnstile(&self, _: &Path) -> io::Result<Box<dyn Turnstile>> {
        Ok(Box::new(Alone))
    }
}
