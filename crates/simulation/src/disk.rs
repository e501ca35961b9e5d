//! The simulated disk as the store's.

use simdisk::SimDisk;
use store::{Disk, File, Turn, Turnstile};

use crate::clock::Clock;

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
        let vfs = disk.register();
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

simdisk::disk_for_store!(Platter, |platter| platter.clock.millis());
