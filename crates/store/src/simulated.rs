//! What the tests of the engine share: a simulated disk, a world on it, and random changes with a model of what must be
//! there.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use simdisk::SimDisk;

use crate::committer::Closure;
use crate::disk::{Disk, File, Layout, Turn, Turnstile};
use crate::engine::{Engine, Pending};
use crate::index::{Txn, mailboxes, messages, schema};
use crate::types::*;
use crate::{Options, Result, Synchronous};

/// Disks are SQLite's under names of their own.
static NUMBER: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
pub(crate) struct Simulated {
    pub(crate) disk: SimDisk,
    vfs: String,
}

#[derive(Debug)]
pub(crate) struct SimulatedFile {
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

impl File for SimulatedFile {
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

impl Disk for Simulated {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.disk.create(&name(path))?;
        self.open(path)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        if !self.disk.exists(&name(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Arc::new(SimulatedFile { disk: self.disk.clone(), path: name(path) }))
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
        self.disk.now()
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

/// What must be there: messages by mailbox and UID, with their octets and flags.
pub(crate) type Model = BTreeMap<(i64, u32), (Bytes, u64)>;

pub(crate) struct World {
    pub(crate) disk: Arc<Simulated>,
    pub(crate) layout: Layout,
    pub(crate) options: Options,
}

impl World {
    pub(crate) fn new(seed: u64, synchronous: Synchronous) -> Self {
        let disk = SimDisk::new(seed + 1);
        let vfs = format!("simulated-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        disk.register(&vfs);
        let options = Options {
            synchronous,
            min_free_octets: 0,
            segment_octets: 64 << 10,
            ballast_octets: 0,
            ..Options::default()
        };
        Self { disk: Arc::new(Simulated { disk, vfs }), layout: Layout { root: "/sim".into() }, options }
    }

    pub(crate) fn open(&self) -> Result<Engine> {
        let disk: Arc<dyn Disk> = self.disk.clone();
        Engine::open(disk, self.layout.clone(), &self.options)
    }

    /// All messages, as an index and the segments have them.
    pub(crate) fn model(&self, account: AccountId) -> Model {
        let connection = schema::open(&self.layout.index(), self.disk.vfs(), self.options.synchronous).unwrap();
        let mut model = Model::new();
        for mailbox in mailboxes::list(&connection, account).unwrap() {
            for message in messages::messages(&connection, mailbox.id, &[1..=u32::MAX], false, 10_000).unwrap() {
                let file = self.disk.open(&self.layout.segment(message.content.segment)).unwrap();
                let mut octets = vec![0; usize::try_from(message.content.octets).unwrap()];
                file.read_exact_at(&mut octets, message.content.offset).unwrap();
                model.insert((mailbox.id.0, message.uid), (octets.into(), message.flags.0));
            }
        }
        model
    }
}

/// Commits one change; what it gave, if it was acknowledged.
pub(crate) fn commit<T: Send + 'static>(
    engine: &mut Engine,
    contents: Vec<Pending>,
    run: impl Fn(&mut Txn<'_>, &[Pending]) -> Result<T> + Send + 'static,
) -> Option<T> {
    let (change, mut answer) = Closure::new(contents, true, 1, run);
    engine.commit(vec![Box::new(change)], |_| {});
    answer.try_recv().ok()?.ok()
}

/// One change, chosen by `dice`; the model is changed if it was acknowledged. `false`: it was not.
pub(crate) fn step(
    engine: &mut Engine,
    dice: u64,
    account: AccountId,
    boxes: [MailboxId; 2],
    model: &mut Model,
) -> bool {
    let [inbox, other] = boxes;
    let some: Option<(i64, u32)> = model.keys().nth((dice >> 8) as usize % model.len().max(1)).copied();
    match (dice % 8, some) {
        (0..=3, _) | (_, None) => {
            let body = Bytes::from(format!("{dice}-{}", "x".repeat((dice % 5_000) as usize)));
            let new = NewContent {
                head: Bytes::new(),
                body: NewBody::Memory(vec![body.clone()]),
                digest: Bytes::new(),
                thread: 0,
            };
            let pending = vec![Pending::new(new, ZonedTime::default()).unwrap()];
            let to = Recipient { account, mailbox: None, prefix: Bytes::new(), flags: FlagNames::default() };
            let placed = commit(engine, pending, move |txn, pending| {
                let content = pending[0].content()?;
                txn.insert_content(&content, 1, b"")?;
                txn.deliver(&content, &to, ZonedTime::default())
            });
            placed.is_some_and(|placed| {
                model.insert((inbox.0, placed.uid), (body, 0));
                true
            })
        }
        (4 | 5, Some(key)) => {
            let flags = FlagNames { system: Flags((dice >> 20) & 0x1f), keywords: Vec::new() };
            let bits = flags.system.0;
            let outcome = commit(engine, Vec::new(), move |txn, _| {
                txn.set_flags(MailboxId(key.0), &[key.1..=key.1], FlagOperation::Replace, &flags, None)
            });
            outcome.is_some_and(|_| {
                model.entry(key).and_modify(|(_, flags)| *flags = bits);
                true
            })
        }
        (6, Some(key)) => {
            let target = if key.0 == inbox.0 { other } else { inbox };
            let moved =
                commit(engine, Vec::new(), move |txn, _| txn.move_messages(MailboxId(key.0), &[key.1..=key.1], target));
            moved.is_some_and(|moved| {
                let message = model.remove(&key);
                if let (Some((to, _)), Some(message)) = (moved.uids.first(), message) {
                    model.insert((target.0, *to), message);
                }
                true
            })
        }
        (_, Some(key)) => {
            let gone = commit(engine, Vec::new(), move |txn, _| txn.expunge(MailboxId(key.0), &[key.1..=key.1], false));
            gone.is_some_and(|_| {
                model.remove(&key);
                true
            })
        }
    }
}

pub(crate) fn commit_read(engine: &mut Engine, account: AccountId, name: &'static str) -> MailboxId {
    commit(engine, Vec::new(), move |txn, _| Ok(mailboxes::by_name(txn.connection, account, name)?.id)).unwrap()
}
