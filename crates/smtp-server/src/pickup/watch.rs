//! The kernel's word that something was put into a directory.

use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches a directory for files that are put there.
#[derive(Debug)]
pub(super) struct Watch {
    events: AsyncFd<Descriptor>,
}

#[derive(Debug)]
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Watch {
    pub(super) fn new(directory: &Path) -> std::io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        // `sendmail` renames what it has written.
        inotify.add_watch(directory, AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR)?;
        #[expect(deprecated, reason = "its successor is unsafe; the descriptor is ours alone and closed behind it")]
        let events = AsyncFd::with_interest(Descriptor(inotify), Interest::READABLE)?;
        Ok(Self { events })
    }

    /// Waits for a change. Cancelling it loses nothing: what was not read is read next.
    pub(super) async fn changed(&mut self) {
        while let Ok(mut ready) = self.events.readable().await {
            match ready.get_inner().0.read_events() {
                Ok(_) | Err(Errno::EINTR) => return,
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(error) => {
                    tracing::warn!(%error, "the drop directory is watched no more, only looked at now and then");
                    break;
                }
            }
        }
        std::future::pending::<()>().await;
    }
}
