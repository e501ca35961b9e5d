//! Who is told of changes: the sessions of this process at once, other processes by a datagram after the commit.
//!
//! A lost datagram costs latency, never correctness: everybody reads again by mod-sequence, and a look at the index's
//! `data_version` once a second finds what no datagram told.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::watch;

use crate::disk::Layout;
use crate::engine::Notice;
use crate::types::{AccountId, MailboxId};

/// Something to wait on; each change since the last wait wakes once.
#[derive(Debug)]
pub struct Watch(watch::Receiver<u64>);

impl Watch {
    /// Waits for a change that has not been waited for yet. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The store is gone, so nothing changes any more.
            std::future::pending::<()>().await;
        }
    }

    /// Whether there is a change that has not been waited for; it counts as waited for then.
    pub fn has_changed(&mut self) -> bool {
        let changed = self.0.has_changed().unwrap_or(false);
        self.0.mark_unchanged();
        changed
    }
}

/// The watchers of this process.
#[derive(Debug)]
pub(crate) struct Hub {
    mailboxes: Topics<MailboxId>,
    accounts: Topics<AccountId>,
    directory: watch::Sender<u64>,
    spool: watch::Sender<u64>,
}

#[derive(Debug)]
struct Topics<K>(Mutex<HashMap<K, watch::Sender<u64>>>);

impl<K: Hash + Eq + Copy> Topics<K> {
    fn watch(&self, key: K) -> Watch {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if topics.len() > 64 && topics.len().is_power_of_two() {
            topics.retain(|_, topic| topic.receiver_count() > 0);
        }
        Watch(topics.entry(key).or_insert_with(|| watch::channel(0).0).subscribe())
    }

    fn wake<'a>(&self, keys: impl IntoIterator<Item = &'a K>)
    where
        K: 'a,
    {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if let Some(topic) = topics.get(key) {
                if topic.receiver_count() == 0 {
                    topics.remove(key);
                } else {
                    topic.send_modify(|count| *count += 1);
                }
            }
        }
    }

    fn wake_all(&self) {
        for topic in self.0.lock().unwrap_or_else(PoisonError::into_inner).values() {
            topic.send_modify(|count| *count += 1);
        }
    }
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self {
            mailboxes: Topics(Mutex::default()),
            accounts: Topics(Mutex::default()),
            directory: watch::channel(0).0,
            spool: watch::channel(0).0,
        }
    }

    pub(crate) fn watch_mailbox(&self, id: MailboxId) -> Watch {
        self.mailboxes.watch(id)
    }

    pub(crate) fn watch_account(&self, id: AccountId) -> Watch {
        self.accounts.watch(id)
    }

    pub(crate) fn watch_directory(&self) -> Watch {
        Watch(self.directory.subscribe())
    }

    pub(crate) fn watch_spool(&self) -> Watch {
        Watch(self.spool.subscribe())
    }

    pub(crate) fn wake(&self, notice: &Notice) {
        self.mailboxes.wake(&notice.mailboxes);
        self.accounts.wake(&notice.accounts);
        if notice.directory {
            self.directory.send_modify(|count| *count += 1);
        }
        if notice.spool {
            self.spool.send_modify(|count| *count += 1);
        }
    }

    fn wake_all(&self) {
        self.mailboxes.wake_all();
        self.accounts.wake_all();
        self.directory.send_modify(|count| *count += 1);
        self.spool.send_modify(|count| *count += 1);
    }
}

/// A datagram: flag octet (1: directory, 2: look at everything, 4: spool), count of mailboxes u32, their ids, ids of accounts.
const MAX_IDS: usize = 1000;

fn encode(notice: &Notice) -> Vec<u8> {
    let everything = notice.mailboxes.len() + notice.accounts.len() > MAX_IDS;
    let mut out = vec![u8::from(notice.directory) | u8::from(everything) << 1 | u8::from(notice.spool) << 2];
    if !everything {
        out.extend_from_slice(&u32::try_from(notice.mailboxes.len()).unwrap_or(0).to_le_bytes());
        for id in &notice.mailboxes {
            out.extend_from_slice(&id.0.to_le_bytes());
        }
        for id in &notice.accounts {
            out.extend_from_slice(&id.0.to_le_bytes());
        }
    }
    out
}

/// The notice in a datagram; `None`: look at everything.
fn decode(octets: &[u8]) -> Option<Notice> {
    let (&flags, rest) = octets.split_first()?;
    if flags & 2 != 0 {
        return None;
    }
    let (count, ids) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let mut ids = ids.as_chunks::<8>().0.iter().map(|id| i64::from_le_bytes(*id));
    let mailboxes = ids.by_ref().take(count).map(MailboxId).collect();
    let accounts = ids.map(AccountId).collect();
    Some(Notice { mailboxes, accounts, directory: flags & 1 != 0, spool: flags & 4 != 0 })
}

/// Sends to the other processes. Owned by the committing thread.
#[derive(Debug)]
pub(crate) struct Sender {
    layout: Layout,
    own: Option<PathBuf>,
    socket: Option<UnixDatagram>,
    peers: Vec<PathBuf>,
    listed: Option<Instant>,
    /// Peers whose queue was full, and what they have not been told.
    late: Vec<(PathBuf, Notice)>,
}

/// How long the list of the other processes is good for.
const LIST: Duration = Duration::from_millis(500);

impl Sender {
    pub(crate) fn new(layout: Layout, own: Option<PathBuf>) -> Self {
        let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket)).ok();
        Self { layout, own, socket, peers: Vec::new(), listed: None, late: Vec::new() }
    }

    /// Whether somebody still has to be told, in about 2 ms.
    pub(crate) fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    pub(crate) fn send(&mut self, notice: &Notice) {
        if self.listed.is_none_or(|listed| listed.elapsed() > LIST) {
            self.listed = Some(Instant::now());
            let directory = self.layout.notify();
            self.peers = std::fs::read_dir(&directory)
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                .filter(|path| self.own.as_ref() != Some(path))
                .collect();
        }
        let octets = encode(notice);
        for path in std::mem::take(&mut self.peers) {
            if let Some((_, late)) = self.late.iter_mut().find(|(peer, _)| *peer == path) {
                merge(late, notice);
                self.peers.push(path);
            } else {
                self.send_to(path, &octets, notice);
            }
        }
    }

    fn send_to(&mut self, path: PathBuf, octets: &[u8], notice: &Notice) {
        let Some(socket) = &self.socket else { return };
        match socket.send_to(octets, &path) {
            Ok(_) => self.peers.push(path),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.late.push((path.clone(), notice.clone()));
                self.peers.push(path);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Its process is dead. If the file cannot be removed, the next list meets it again.
                let _ = std::fs::remove_file(&path);
            }
            Err(error) => tracing::debug!(%error, "process not notified; it will look by itself"),
        }
    }

    /// Tells those whose queue was full.
    pub(crate) fn send_late(&mut self) {
        for (path, notice) in std::mem::take(&mut self.late) {
            self.peers.retain(|peer| *peer != path);
            self.send_to(path, &encode(&notice), &notice);
        }
    }
}

fn merge(late: &mut Notice, notice: &Notice) {
    late.mailboxes.extend(&notice.mailboxes);
    late.accounts.extend(&notice.accounts);
    late.directory |= notice.directory;
    late.spool |= notice.spool;
}

/// The receiving end: a bound socket, in a thread of its own.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) path: PathBuf,
    socket: UnixDatagram,
    index: Connection,
    /// What of the index is known to whoever watches.
    version: i64,
}

impl Receiver {
    /// Binds a socket of its own name below `notify/`. What is committed from now on wakes, by a datagram or by the look at
    /// `index`, however late the thread begins: other processes may not know of the socket yet.
    pub(crate) fn bind(layout: &Layout, random: u64, index: Connection) -> io::Result<Self> {
        let path = layout.notify().join(format!("{}-{random:016x}", std::process::id()));
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let version = data_version(&index);
        Ok(Self { path, socket, index, version })
    }

    /// Wakes the watchers of this process until the hub has no other owner.
    pub(crate) fn run(mut self, hub: &Arc<Hub>) {
        let mut buffer = [0; 16 * MAX_IDS];
        let mut looked = Instant::now();
        while Arc::strong_count(hub) > 1 {
            match self.socket.recv(&mut buffer) {
                Ok(length) => match buffer.get(..length).and_then(decode) {
                    Some(notice) => hub.wake(&notice),
                    None => hub.wake_all(),
                },
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    tracing::error!(%error, "change bus failed; changes are found once a second");
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
            if looked.elapsed() >= Duration::from_secs(1) {
                looked = Instant::now();
                let now = data_version(&self.index);
                if now != self.version {
                    self.version = now;
                    hub.wake_all();
                }
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // A file left behind is removed by the first process that is refused by it.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn data_version(index: &Connection) -> i64 {
    index.pragma_query_value(None, "data_version", |row| row.get(0)).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_committed_before_the_thread_begins_wakes() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout { root: directory.path().to_owned() };
        std::fs::create_dir_all(layout.notify()).unwrap();
        let index = directory.path().join("index.db");
        let writer = Connection::open(&index).unwrap();
        let receiver = Receiver::bind(&layout, 1, Connection::open(&index).unwrap()).unwrap();
        let hub = Arc::new(Hub::new());
        let mut watch = hub.watch_spool();
        writer.execute_batch("CREATE TABLE t(x)").unwrap();
        let runs = Arc::clone(&hub);
        let thread = std::thread::spawn(move || receiver.run(&runs));
        watch.changed().await;
        drop(hub);
        thread.join().unwrap();
    }

    #[test]
    fn notices_come_back() {
        let notice = Notice {
            mailboxes: [MailboxId(1), MailboxId(-2)].into(),
            accounts: [AccountId(3)].into(),
            directory: true,
            spool: true,
        };
        assert_eq!(decode(&encode(&notice)), Some(notice));
        let many = Notice { mailboxes: (0..=1000).map(MailboxId).collect(), ..Notice::default() };
        assert_eq!(decode(&encode(&many)), None);
        assert_eq!(decode(&[]), None);
    }
}
