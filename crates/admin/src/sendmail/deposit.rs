//! Putting a file into the drop directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use smtp::DropFile;

use super::{EX_CANTCREAT, EX_CONFIG, EX_TEMPFAIL, Failure};

/// Puts a message into the drop directory. When it returns, the message is durable.
///
/// The file becomes readable when it is complete: `mta` is another user, and nobody can list the directory to learn its
/// name (docs/decisions).
pub(super) fn deposit(drop: &Path, file: &DropFile) -> Result<(), Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| Failure::new(EX_TEMPFAIL, "no randomness to be had".into()))?;
    let name: String = random.iter().map(|octet| format!("{octet:02x}")).collect();
    let temporary = Temporary(drop.join(format!(".tmp.{name}")));
    write(&temporary.0, &drop.join(name), file).map_err(|error| {
        let reason = format!("drop directory {}: {error}", drop.display());
        let code = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => EX_CONFIG,
            io::ErrorKind::PermissionDenied => EX_CANTCREAT,
            _ => EX_TEMPFAIL,
        };
        Failure::new(code, reason)
    })
}

fn write(temporary: &Path, path: &Path, message: &DropFile) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.write_all(&message.envelope())?;
    file.write_all(&message.octets)?;
    // Whatever the caller's umask is.
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    sync_name(path, &file)
}

/// Makes a file's name durable. A directory that cannot be opened for reading cannot be synced, and this one is open to
/// its owner alone; then the file system is.
fn sync_name(path: &Path, file: &File) -> io::Result<()> {
    match File::open(path.parent().unwrap_or(Path::new("."))) {
        Ok(directory) => directory.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(nix::unistd::syncfs(file)?),
        Err(error) => Err(error),
    }
}

/// A file that goes if it has this name still.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a success there is none.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use address::{ForwardPath, ReversePath};
    use bytes::Bytes;
    use smtp::{DropLimits, MailParameters, RcptParameters};

    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = DropFile {
            full_name: None,
            sender: ReversePath::Null,
            parameters: MailParameters::default(),
            recipients: vec![(ForwardPath::Postmaster, RcptParameters::default())],
            octets: Bytes::from_static(b"x\r\n"),
        };
        deposit(folder.path(), &file).unwrap();
        deposit(folder.path(), &file).unwrap();
        let entries: Vec<_> = fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
        assert_eq!(entries.len(), 2);
        for entry in entries {
            let name = entry.file_name().into_string().unwrap();
            assert!(name.len() == 32 && name.bytes().all(|octet| octet.is_ascii_hexdigit()), "{name}");
            assert_eq!(entry.metadata().unwrap().mode() & 0o7777, 0o644);
            let octets = Bytes::from(fs::read(entry.path()).unwrap());
            assert_eq!(DropFile::parse(&octets, &DropLimits::default()).as_ref(), Ok(&file));
        }
        assert_eq!(deposit(&folder.path().join("none"), &file).unwrap_err().code, EX_CONFIG);
    }
}
