//! The disk as the store's.

/// Makes a type that has a `disk: SimDisk` and a `vfs: String`, its name among SQLite's, a disk of the store's; the closure
/// tells the time, in milliseconds since 1970. `Disk`, `File`, `Turn` and `Turnstile` of the store are to be in scope.
///
/// A macro, since the traits are the store's, and its own tests have them from another build of it than everybody else.
///
/// [`SimDisk`]: crate::SimDisk
#[macro_export]
macro_rules! disk_for_store {
    ($disk:ty, $now:expr) => {
        const _: () = {
            use std::io;
            use std::path::Path;
            use std::sync::Arc;

            #[derive(Debug)]
            struct Named {
                disk: $crate::SimDisk,
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

            impl Disk for $disk {
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
                    let paths = self.disk.list(&prefix);
                    Ok(paths.iter().filter_map(|path| path.strip_prefix(&prefix)).map(str::to_owned).collect())
                }
                fn sync_dir(&self, _: &Path) -> io::Result<()> {
                    Ok(())
                }
                fn free(&self, _: &Path) -> io::Result<u64> {
                    Ok(self.disk.free())
                }
                fn now(&self) -> i64 {
                    let now: fn(&$disk) -> i64 = $now;
                    now(self)
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
        };
    };
}
