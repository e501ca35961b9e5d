//! The engine over a simulated disk whose power is cut: nothing acknowledged is lost, and an index rebuilt from the
//! segments equals the one lost. The control, which lets SQLite skip its syncs, must lose something.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use simdisk::SimDisk;

use crate::disk::{Disk, File, Layout, Turn, Turnstile};
use crate::embedded::Closure;
use crate::engine::{Engine, Pending};
use crate::index::{Txn, mailboxes, messages, schema};
use crate::salvage::rebuild;
use crate::types::*;
use crate::{Options, Result, Synchronous};

/// Disks are SQLite's under names of their own.
static NUMBER: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
struct Simulated {
    disk: SimDisk,
    vfs: String,
}

#[derive(Debug)]
struct SimulatedFile {
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
        Ok(u64::MAX)
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
type Model = BTreeMap<(i64, u32), (Bytes, u64)>;

struct World {
    disk: Arc<Simulated>,
    layout: Layout,
    options: Options,
}

impl World {
    fn new(seed: u64, synchronous: Synchronous) -> Self {
        let disk = SimDisk::new(seed + 1);
        let vfs = format!("simulated-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        disk.register(&vfs);
        let options = Options { synchronous, min_free_octets: 0, segment_octets: 64 << 10, ..Options::default() };
        Self { disk: Arc::new(Simulated { disk, vfs }), layout: Layout { root: "/sim".into() }, options }
    }

    fn open(&self) -> Result<Engine> {
        let disk: Arc<dyn Disk> = self.disk.clone();
        Engine::open(disk, self.layout.clone(), &self.options)
    }

    /// All messages, as an index and the segments have them.
    fn model(&self, account: AccountId) -> Model {
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
fn commit<T: Send + 'static>(
    engine: &mut Engine,
    contents: Vec<Pending>,
    run: impl FnOnce(&mut Txn<'_>, &[Pending]) -> Result<T> + Send + 'static,
) -> Option<T> {
    let (change, mut answer) = Closure::new(contents, true, 1, run);
    engine.commit(vec![Box::new(change)], |_| {});
    answer.try_recv().ok()?.ok()
}

/// One change, chosen by `dice`; the model is changed if it was acknowledged. `false`: it was not.
fn step(engine: &mut Engine, dice: u64, account: AccountId, boxes: [MailboxId; 2], model: &mut Model) -> bool {
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

/// A life up to a power cut; whether what was acknowledged is there afterwards.
fn life(seed: u64, synchronous: Synchronous) -> bool {
    let world = World::new(seed, synchronous);
    let mut engine = world.open().unwrap();
    let new = NewAccount { key: "a@b".into(), address: "a@b".into(), quota_octets: None, credentials: Vec::new() };
    let account = commit(&mut engine, Vec::new(), move |txn, _| txn.add_account(&new)).unwrap();
    let boxes = [commit_read(&mut engine, account, "INBOX"), commit_read(&mut engine, account, "Archive")];
    // What SQLite made at the start is on the disk before the part that is cut begins.
    engine.flush();
    for path in world.disk.disk.list("/sim") {
        world.disk.disk.sync(&path).unwrap();
    }
    let mut model = Model::new();
    world.disk.disk.die_after(world.disk.disk.random() % 150);
    let (mut before, mut alive) = (model.clone(), true);
    while alive {
        before.clone_from(&model);
        let dice = world.disk.disk.random();
        alive = step(&mut engine, dice, account, boxes, &mut model);
        if alive && dice.is_multiple_of(5) {
            engine.flush();
        }
        if world.disk.disk.operations() > 5_000 {
            break;
        }
    }
    drop(engine);
    world.disk.disk.cut();
    let Ok(engine) = world.open() else { return false };
    drop(engine);
    let after = world.model(account);
    // The change that was not acknowledged may have happened, all of it, or not at all: the others are there.
    let lost = before.iter().filter(|(key, message)| after.get(*key) != Some(message)).count();
    let new = after.iter().filter(|(key, message)| before.get(*key) != Some(message)).count();
    lost <= 1 && new <= 1
}

fn commit_read(engine: &mut Engine, account: AccountId, name: &'static str) -> MailboxId {
    commit(engine, Vec::new(), move |txn, _| Ok(mailboxes::by_name(txn.connection, account, name)?.id)).unwrap()
}

#[test]
fn nothing_acknowledged_is_lost_in_five_hundred_power_cuts() {
    for seed in 0..500 {
        assert!(life(seed, Synchronous::Full), "seed {seed}");
    }
}

#[test]
fn the_control_without_syncs_loses_something() {
    let lost = (0..200).filter(|seed| !life(*seed, Synchronous::Normal)).count();
    assert!(lost > 0, "a test that cannot fail shows nothing");
}

#[test]
fn an_index_rebuilt_from_segments_equals_the_one_lost() {
    // rule 2
    for seed in 0..50 {
        let world = World::new(seed, Synchronous::Full);
        let mut engine = world.open().unwrap();
        let new = NewAccount { key: "a@b".into(), address: "a@b".into(), quota_octets: None, credentials: Vec::new() };
        let account = commit(&mut engine, Vec::new(), move |txn, _| txn.add_account(&new)).unwrap();
        let boxes = [commit_read(&mut engine, account, "INBOX"), commit_read(&mut engine, account, "Archive")];
        let mut model = Model::new();
        for _ in 0..60 {
            let dice = world.disk.disk.random();
            assert!(step(&mut engine, dice, account, boxes, &mut model));
        }
        engine.close();
        drop(engine);
        assert_eq!(world.model(account), model, "seed {seed}");
        for path in world.disk.disk.list("/sim/v00/index") {
            world.disk.disk.remove(&path).unwrap();
        }
        let report = rebuild(world.disk.as_ref(), &world.layout, &world.options).unwrap();
        assert_eq!(report.recovered, 0, "seed {seed}");
        assert_eq!(world.model(account), model, "seed {seed}");
    }
}
