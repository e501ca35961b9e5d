//! Space kept back for a full disk: even what deletes needs some before it frees any (rule 4).

use std::path::PathBuf;

use crate::disk::Disk;

/// A file that is there to be removed.
#[derive(Debug)]
pub(crate) struct Ballast {
    path: PathBuf,
    octets: u64,
}

const STEP: u64 = 1 << 20;

impl Ballast {
    pub(crate) fn new(path: PathBuf, octets: u64) -> Self {
        Self { path, octets }
    }

    /// The octets it takes.
    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    /// Whether it is there, all of it.
    pub(crate) fn is_kept(&self, disk: &dyn Disk) -> bool {
        self.octets == 0 || disk.open(&self.path).and_then(|file| file.octets()).is_ok_and(|kept| kept >= self.octets)
    }

    /// Makes it; the caller has the turn. Whether it is there then.
    pub(crate) fn keep(&self, disk: &dyn Disk) -> bool {
        if self.is_kept(disk) {
            return true;
        }
        // One that was begun and not finished goes first.
        let _ = disk.remove(&self.path);
        let made = disk.create(&self.path).and_then(|file| {
            // Octets that no file system can make smaller.
            let mut source = blake3::Hasher::new().finalize_xof();
            let mut octets = vec![0; usize::try_from(self.octets.min(STEP)).unwrap_or(0)];
            let mut written = 0;
            while written < self.octets {
                source.fill(&mut octets);
                let piece = octets.len().min(usize::try_from(self.octets - written).unwrap_or(usize::MAX));
                file.write_all_at(&octets[..piece], written)?;
                written += piece as u64;
            }
            file.sync()
        });
        if let Err(error) = made {
            tracing::debug!(%error, "no ballast");
            // What was written of it is of more use as free space.
            let _ = disk.remove(&self.path);
            return false;
        }
        true
    }

    /// Gives its space back; whether there was any.
    pub(crate) fn release(&self, disk: &dyn Disk) -> bool {
        self.octets > 0 && disk.remove(&self.path).is_ok()
    }
}
