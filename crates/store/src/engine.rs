//! The engine: everything durable, synchronous and single-threaded, over a [`Disk`].
//!
//! A batch of changes becomes durable in one go: their octets in the segment, one sync; then, in turn with the other
//! processes, one transaction of the index; then they are answered (group commit, `DESIGN.md` §4).

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::Connection;

use crate::ballast::Ballast;
use crate::disk::{self, Disk, Layout, Turnstile};
use crate::fact::Fact;
use crate::index::Txn;
use crate::index::messages::Content;
use crate::index::schema::{self, Synchronous};
use crate::segment::record::Kind;
use crate::segment::writer::{Finished, Location, OVERHEAD, Staged, Writer};
use crate::types::{AccountId, MailboxId, NewBody, NewContent, ZonedTime};
use crate::{Error, Options, Result, open};

/// Milliseconds between two looks at the free space.
const SPACE_LOOK: i64 = 100;
/// Milliseconds between two tries to reopen a failed index.
const REOPEN: i64 = 1_000;

/// A change on its way through a commit.
pub(crate) trait Change: Send {
    /// How many deliveries it counts for in a batch.
    fn weight(&self) -> usize;
    /// Whether it needs space that is refused below `min_free`.
    fn grows(&self) -> bool;
    /// The contents whose octets must be durable first.
    fn contents(&mut self) -> &mut [Pending];
    /// Its part of the transaction.
    fn apply(&mut self, txn: &mut Txn<'_>) -> Result<()>;
    /// Told once, when its fate is known.
    fn answer(self: Box<Self>, fate: Result<()>);
}

/// A content whose octets are not recorded in the index yet.
#[derive(Debug)]
pub(crate) struct Pending {
    head: Bytes,
    body: PendingBody,
    pub(crate) digest: Bytes,
    thread: i64,
    received: ZonedTime,
    content: Option<Content>,
}

#[derive(Debug)]
enum PendingBody {
    Memory(Vec<Bytes>),
    Staged { finished: Finished, octets: u64 },
}

impl Pending {
    /// Takes a content in; a staged one is finished and synced here, outside the commit. Blocks.
    pub(crate) fn new(content: NewContent, received: ZonedTime) -> Result<Self> {
        let body = match content.body {
            NewBody::Memory(pieces) => PendingBody::Memory(pieces),
            NewBody::Staged(staged) => PendingBody::Staged { octets: staged.octets(), finished: staged.finish()? },
        };
        Ok(Self { head: content.head, body, digest: content.digest, thread: content.thread, received, content: None })
    }

    fn octets_to_write(&self) -> u64 {
        match &self.body {
            PendingBody::Memory(pieces) => {
                OVERHEAD + self.head.len() as u64 + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>()
            }
            PendingBody::Staged { .. } => 0,
        }
    }

    fn write(&mut self, writer: &mut Writer) -> Result<()> {
        let (id, location, body): (i64, Location, u64) = match &self.body {
            PendingBody::Memory(pieces) => {
                let id = writer.id();
                let location = writer
                    .message(id, self.received.unix, self.received.offset_minutes, &self.head, pieces)
                    .ok_or(Error::Limit("octets of the head"))?;
                (id, location, pieces.iter().map(|piece| piece.len() as u64).sum())
            }
            PendingBody::Staged { finished, octets } => (finished.content, finished.location, *octets),
        };
        let head = self.head.len() as u64;
        self.content = Some(Content { id, location, head, body, thread: self.thread });
        Ok(())
    }

    /// The content, once its octets are durable.
    pub(crate) fn content(&self) -> Result<Content> {
        self.content.ok_or(Error::Conflict)
    }
}

/// A committed batch.
struct Done {
    fates: Vec<Result<()>>,
    notice: Notice,
    facts: Vec<Fact>,
    /// The moment of the commit, in milliseconds since 1970.
    at: i64,
}

/// What sessions and other processes should look at again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Notice {
    pub(crate) mailboxes: BTreeSet<MailboxId>,
    pub(crate) accounts: BTreeSet<AccountId>,
    pub(crate) directory: bool,
    pub(crate) spool: bool,
}

/// The engine of one process.
#[derive(Debug)]
pub(crate) struct Engine {
    disk: Arc<dyn Disk>,
    layout: Layout,
    connection: Connection,
    synchronous: Synchronous,
    writer: Writer,
    turnstile: Box<dyn Turnstile>,
    min_free: u64,
    ballast: Ballast,
    /// When the space was looked at last, and whether it was enough.
    space: (i64, bool),
    failed: Option<i64>,
}

impl Engine {
    /// Opens the store, which must be there.
    pub(crate) fn open(disk: Arc<dyn Disk>, layout: Layout, options: &Options) -> Result<Self> {
        let turnstile = disk.turnstile(&layout.volume())?;
        let mut connection = schema::open(&layout.index(), disk.vfs(), options.synchronous)?;
        let held = turnstile.enter()?;
        if schema::version(&connection)? == 0 {
            if disk::has_segments(disk.as_ref(), &layout)? {
                return Err(open::without_index(&layout));
            }
            schema::create(&connection, disk.random())?;
        }
        let version = schema::version(&connection)?;
        if version != schema::VERSION {
            return Err(Error::Unusable(format!(
                "the index in {} has format {version}, this version knows {}: run the version that wrote it",
                layout.root.display(),
                schema::VERSION
            )));
        }
        let txn = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let number = schema::count(&txn, "writer")?;
        txn.commit()?;
        let ballast = Ballast::new(layout.ballast(), options.ballast_octets);
        let free = disk.free(&layout.segments()).unwrap_or(u64::MAX);
        if free >= options.min_free_octets.saturating_add(ballast.octets()) {
            ballast.keep(disk.as_ref());
        }
        drop(held);
        let writer = Writer::new(Arc::clone(&disk), layout.clone(), number, options.segment_octets);
        Ok(Self {
            disk,
            layout,
            connection,
            synchronous: options.synchronous,
            writer,
            turnstile,
            min_free: options.min_free_octets,
            ballast,
            space: (0, true),
            failed: None,
        })
    }

    /// Begins a large message in a segment of its own.
    pub(crate) fn stage(&mut self, head: &[u8], received: ZonedTime) -> Result<Staged> {
        if !self.has_space() {
            return Err(Error::NoSpace);
        }
        let (segment, content) = (self.writer.id(), self.writer.id());
        let (date, zone) = (received.unix, received.offset_minutes);
        Ok(Staged::begin(Arc::clone(&self.disk), self.layout.clone(), segment, content, head, date, zone)?)
    }

    fn has_space(&mut self) -> bool {
        let now = self.disk.now();
        if now - self.space.0 >= SPACE_LOOK {
            // A disk that cannot say how much is free is asked by writing to it.
            let free = self.disk.free(&self.layout.segments()).unwrap_or(u64::MAX);
            self.space = (now, free >= self.min_free && self.keep_ballast(free));
        }
        self.space.1
    }

    /// Makes the ballast again once there is more than it takes.
    fn keep_ballast(&self, free: u64) -> bool {
        if self.ballast.is_kept(self.disk.as_ref()) {
            return true;
        }
        if free < self.min_free.saturating_add(self.ballast.octets()) {
            return false;
        }
        let turn = self.turnstile.enter();
        turn.is_ok() && self.ballast.keep(self.disk.as_ref())
    }

    /// Makes the changes durable and answers each; what others should look at again. `wake` is told that before anybody is
    /// answered, so that whoever is answered meets nothing older.
    pub(crate) fn commit(&mut self, mut changes: Vec<Box<dyn Change>>, wake: impl FnOnce(&Notice)) -> Notice {
        if let Err(error) = self.reopen_if_failed() {
            tracing::debug!(%error, "volume still read-only");
            refuse(changes, || Error::ReadOnly);
            return Notice::default();
        }
        if !self.has_space() {
            changes = refuse_growth(changes);
        }
        let mut changes = self.write_contents(changes);
        if changes.is_empty() {
            return Notice::default();
        }
        let mut outcome = self.transact(&mut changes);
        if outcome.as_ref().is_err_and(Error::is_full) {
            self.space = (self.disk.now(), false);
            changes = refuse_growth(changes);
            if changes.is_empty() {
                return Notice::default();
            }
            if self.ballast.release(self.disk.as_ref()) {
                tracing::warn!("the disk is full: mail can be read and deleted, and is not taken until space returns");
                outcome = self.transact(&mut changes);
            }
        }
        match outcome {
            Ok(Done { fates, notice, facts, at }) => {
                self.record(&facts, at);
                wake(&notice);
                for (change, fate) in changes.into_iter().zip(fates) {
                    change.answer(fate);
                }
                notice
            }
            Err(error) => {
                tracing::error!(%error, "commit failed");
                if error.is_full() {
                    self.space = (self.disk.now(), false);
                } else if error.is_failure_of_the_index() {
                    self.failed = Some(self.disk.now());
                }
                let (full, failed) = (error.is_full(), self.failed.is_some());
                refuse(changes, || match (full, failed) {
                    (true, _) => Error::NoSpace,
                    (false, true) => Error::ReadOnly,
                    (false, false) => Error::Busy,
                });
                Notice::default()
            }
        }
    }

    /// Writes and syncs the octets of all; answers and leaves out those that failed.
    fn write_contents(&mut self, changes: Vec<Box<dyn Change>>) -> Vec<Box<dyn Change>> {
        let mut changes = changes;
        let octets: u64 =
            changes.iter_mut().flat_map(|change| change.contents().iter()).map(Pending::octets_to_write).sum();
        let any = changes.iter_mut().any(|change| !change.contents().is_empty());
        if !any {
            return changes;
        }
        let mut ready = Vec::with_capacity(changes.len());
        let prepared = if octets > 0 { self.writer.prepare(octets).map_err(Error::from) } else { Ok(()) };
        let mut failure = prepared.err();
        for mut change in changes {
            let mut written = Ok(());
            if failure.is_none() {
                for pending in change.contents() {
                    written = written.and_then(|()| pending.write(&mut self.writer));
                }
            }
            match written {
                Ok(()) => ready.push(change),
                Err(error) => change.answer(Err(error)),
            }
        }
        if failure.is_none() && octets > 0 {
            failure = self.writer.sync().map_err(Error::from).err();
        }
        let Some(error) = failure else { return ready };
        tracing::error!(%error, "segment failed");
        let full = error.is_full();
        if full {
            self.space = (self.disk.now(), false);
        }
        let (lost, rest): (Vec<_>, Vec<_>) =
            ready.into_iter().map(|mut change| (change.contents().is_empty(), change)).partition(|(empty, _)| !empty);
        refuse(
            lost.into_iter().map(|(_, change)| change).collect(),
            || {
                if full { Error::NoSpace } else { Error::Busy }
            },
        );
        rest.into_iter().map(|(_, change)| change).collect()
    }

    fn transact(&mut self, changes: &mut [Box<dyn Change>]) -> Result<Done> {
        let held = self.turnstile.enter()?;
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut txn = Txn {
            connection: &self.connection,
            now: self.disk.now(),
            ids: self.writer.ids(),
            facts: Vec::new(),
            touched: BTreeSet::new(),
            accounts: BTreeSet::new(),
            directory: false,
            spool: false,
        };
        let mut fates = Vec::with_capacity(changes.len());
        let outcome = (|| -> Result<()> {
            for change in changes {
                let fate = apply(&mut txn, change.as_mut())?;
                fates.push(fate);
            }
            txn.run("COMMIT", []).map(|_| ())
        })();
        let notice =
            Notice { mailboxes: txn.touched, accounts: txn.accounts, directory: txn.directory, spool: txn.spool };
        let (facts, at) = (txn.facts, txn.now);
        if let Err(error) = outcome {
            if !self.connection.is_autocommit()
                && let Err(again) = self.connection.execute_batch("ROLLBACK")
            {
                tracing::error!(error = %again, "rollback failed");
                self.failed = Some(self.disk.now());
            }
            return Err(error);
        }
        drop(held);
        Ok(Done { fates, notice, facts, at })
    }

    /// Appends what happened to the segment, to be synced soon.
    fn record(&mut self, facts: &[Fact], at: i64) {
        if facts.is_empty() {
            return;
        }
        if let Err(error) = self.writer.prepare(0) {
            tracing::error!(%error, "segment failed: these changes are in the index alone");
            return;
        }
        for kind in [Kind::Catalogue, Kind::Placement, Kind::Flags, Kind::Expunge, Kind::Spool] {
            let mut payload = Vec::new();
            for fact in facts.iter().filter(|fact| fact.kind() == kind) {
                fact.encode(&mut payload);
            }
            if !payload.is_empty() {
                self.writer.fact(kind, at, &payload);
            }
        }
    }

    /// Whether records of what happened wait for a sync.
    pub(crate) fn has_pending_facts(&self) -> bool {
        self.writer.has_pending_facts()
    }

    /// Syncs the records of what happened.
    pub(crate) fn flush(&mut self) {
        if let Err(error) = self.writer.sync() {
            tracing::error!(%error, "segment failed: its last changes are in the index alone");
        }
    }

    /// What fills the active segment with zeros ahead of the writing.
    pub(crate) fn zeroed(&self) -> Option<(Arc<crate::segment::writer::Zeroed>, u64)> {
        // What is left of a full disk is not for zeros.
        if self.space.1 { self.writer.zeroed() } else { None }
    }

    /// The index, to be read between two commits.
    pub(crate) fn index(&self) -> &Connection {
        &self.connection
    }

    /// Seals the active segment.
    pub(crate) fn close(&mut self) {
        if let Err(error) = self.writer.seal() {
            tracing::error!(%error, "segment not sealed");
        }
    }

    /// After a failure the volume takes no changes until its index was opened anew and found whole (rule 4).
    fn reopen_if_failed(&mut self) -> Result<()> {
        let Some(since) = self.failed else { return Ok(()) };
        let now = self.disk.now();
        if now - since < REOPEN {
            return Err(Error::ReadOnly);
        }
        self.failed = Some(now);
        let connection = schema::open(&self.layout.index(), self.disk.vfs(), self.synchronous)?;
        // After a failed sync the log may be whole in memory and not on the disk: what would follow it there could not be
        // recovered. So its pages go into the index itself, and it begins anew.
        let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy != 0 {
            return Err(Error::Busy);
        }
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(Error::Corrupt(verdict));
        }
        self.connection = connection;
        self.failed = None;
        tracing::warn!("index reopened and found whole");
        Ok(())
    }
}

/// Refuses what needs space; the rest.
fn refuse_growth(changes: Vec<Box<dyn Change>>) -> Vec<Box<dyn Change>> {
    let (grows, rest): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| change.grows());
    refuse(grows, || Error::NoSpace);
    rest
}

fn refuse(changes: Vec<Box<dyn Change>>, error: impl Fn() -> Error) {
    for change in changes {
        change.answer(Err(error()));
    }
}

/// One change within the transaction: all of it or nothing. The outer error ends the whole batch.
fn apply(txn: &mut Txn<'_>, change: &mut dyn Change) -> Result<Result<()>> {
    txn.run("SAVEPOINT change", [])?;
    let facts = txn.facts.len();
    match change.apply(txn) {
        Ok(()) => {
            txn.run("RELEASE change", [])?;
            Ok(Ok(()))
        }
        Err(error) if error.is_failure_of_the_index() || error.is_full() => Err(error),
        Err(error) => {
            txn.run("ROLLBACK TO change", [])?;
            txn.run("RELEASE change", [])?;
            txn.facts.truncate(facts);
            Ok(Err(error))
        }
    }
}
