//! The embedded store: threads around the [`Engine`], nothing that blocks on a runtime's worker.

use std::collections::HashMap;
use std::fs::File;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::body::Segments;
use crate::bus::{Hub, Receiver as BusReceiver, Sender as BusSender};
use crate::disk::{Disk, Layout, RealDisk};
use crate::engine::{Change, Engine, Pending};
use crate::index::messages::{self, ranges};
use crate::index::{Txn, catalogue, mailboxes, schema, spool};
use crate::readers::{Readers, STACK};
use crate::types::*;
use crate::{Body, Error, MaildropLock, Options, Result, Snapshot, Staged, Store, Watch};

/// Most deliveries of one transaction.
const MAX_BATCH: usize = 256;
/// Most messages that one transaction expunges.
const MAX_EXPUNGE: usize = 2_000;
/// Most messages whose flags one transaction changes.
const MAX_FLAGS: usize = 50_000;
/// Mailboxes whose snapshot is kept.
const MAX_SNAPSHOTS: usize = 256;
/// How long records of what happened wait for their sync.
const FACTS: Duration = Duration::from_secs(1);
/// When to tell a process again whose queue was full.
const LATE: Duration = Duration::from_millis(2);

/// The store in files of this machine, shared with other processes of it.
#[derive(Debug)]
pub struct Embedded {
    commits: SyncSender<Order>,
    readers: Arc<Readers>,
    segments: Arc<Segments>,
    hub: Arc<Hub>,
    snapshots: Arc<Mutex<HashMap<MailboxId, Arc<Snapshot>>>>,
    layout: Layout,
    _lock: File,
}

enum Order {
    Change(Box<dyn Change>),
    Stage { head: Bytes, received: ZonedTime, reply: oneshot::Sender<Result<Staged>> },
    Close(oneshot::Sender<()>),
}

impl Embedded {
    /// Opens the store in a directory, making it if it is missing.
    ///
    /// # Errors
    /// `Unusable`, with the reason and the cure: another owner, another format, a network file system, a migration at
    /// work. `Io`, `Index`.
    pub fn open(directory: &Path, options: &Options) -> Result<Arc<Self>> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let layout = Layout { root: directory.to_owned() };
        let lock = crate::open::prepare(disk.as_ref(), &layout, false)?;
        let engine = Engine::open(Arc::clone(&disk), layout.clone(), options)?;
        let hub = Arc::new(Hub::new());
        let readers = Arc::new(Readers::start(&layout.index(), disk.vfs(), options.queue)?);
        let receiver = if options.listen { Some(BusReceiver::bind(&layout, disk.random())?) } else { None };
        let sender = BusSender::new(layout.clone(), receiver.as_ref().map(|receiver| receiver.path.clone()));
        if let Some(receiver) = receiver {
            let index = schema::open_reader(&layout.index(), disk.vfs())?;
            let hub = Arc::clone(&hub);
            spawn("store-bus", move || receiver.run(&hub, &index))?;
        }
        let (commits, orders) = sync_channel(options.queue);
        let committer = Committer { engine, orders, hub: Arc::downgrade(&hub), sender, zeros: spawn_zeros()? };
        spawn("store-commit", move || committer.run())?;
        Ok(Arc::new(Self {
            commits,
            readers,
            segments: Arc::new(Segments::new(disk, layout.clone())),
            hub,
            snapshots: Arc::default(),
            layout,
            _lock: lock,
        }))
    }

    fn order(&self, order: Order) -> Result<()> {
        self.commits.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => Error::Busy,
        })
    }

    /// Commits a change without contents.
    async fn change<T: Send + 'static>(&self, run: impl Fn(&mut Txn<'_>) -> Result<T> + Send + 'static) -> Result<T> {
        self.change_with(Vec::new(), false, 1, move |txn, _| run(txn)).await
    }

    async fn change_with<T: Send + 'static>(
        &self,
        contents: Vec<Pending>,
        grows: bool,
        weight: usize,
        run: impl Fn(&mut Txn<'_>, &[Pending]) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (change, answer) = Closure::new(contents, grows, weight, run);
        self.order(Order::Change(Box::new(change)))?;
        answer.await.map_err(|_| Error::Busy)?
    }

    /// Takes contents in; staged ones are synced on the way, in a reader's thread.
    async fn pending(&self, contents: Vec<(NewContent, ZonedTime)>) -> Result<Vec<Pending>> {
        if contents.iter().all(|(content, _)| matches!(content.body, NewBody::Memory(_))) {
            return contents.into_iter().map(|(content, received)| Pending::new(content, received)).collect();
        }
        let take = move |_: &Connection| contents.into_iter().map(|(content, at)| Pending::new(content, at)).collect();
        self.readers.long(take).await
    }

    fn remember(&self, snapshot: &Arc<Snapshot>) {
        let mut snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        if snapshots.len() >= MAX_SNAPSHOTS {
            snapshots.retain(|_, snapshot| Arc::strong_count(snapshot) > 1);
        }
        if snapshots.len() >= MAX_SNAPSHOTS {
            snapshots.clear();
        }
        match snapshots.get(&snapshot.mailbox) {
            Some(newer) if newer.mod_seq > snapshot.mod_seq => {}
            _ => {
                snapshots.insert(snapshot.mailbox, Arc::clone(snapshot));
            }
        }
    }

    async fn body_at(&self, prefix: Bytes, content: ContentRef) -> Result<Body> {
        let segments = Arc::clone(&self.segments);
        let file = self.readers.short(move |_| segments.file(content.segment)).await?;
        let whole = prefix.len() as u64 + content.octets;
        Ok(Body {
            prefix,
            file,
            offset: content.offset,
            octets: content.octets,
            readers: Arc::clone(&self.readers),
            range: 0..whole,
        })
    }
}

/// A change made of a closure, which runs again where its first transaction found no space.
pub(crate) struct Closure<T, F> {
    contents: Vec<Pending>,
    grows: bool,
    weight: usize,
    run: F,
    result: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F: Fn(&mut Txn<'_>, &[Pending]) -> Result<T>> Closure<T, F> {
    pub(crate) fn new(
        contents: Vec<Pending>,
        grows: bool,
        weight: usize,
        run: F,
    ) -> (Self, oneshot::Receiver<Result<T>>) {
        let (reply, answer) = oneshot::channel();
        (Self { contents, grows, weight, run, result: None, reply }, answer)
    }
}

impl<T: Send, F: Fn(&mut Txn<'_>, &[Pending]) -> Result<T> + Send> Change for Closure<T, F> {
    fn weight(&self) -> usize {
        self.weight
    }

    fn grows(&self) -> bool {
        self.grows
    }

    fn contents(&mut self) -> &mut [Pending] {
        &mut self.contents
    }

    fn apply(&mut self, txn: &mut Txn<'_>) -> Result<()> {
        self.result = Some((self.run)(txn, &self.contents)?);
        Ok(())
    }

    fn answer(self: Box<Self>, fate: Result<()>) {
        let Self { result, reply, .. } = *self;
        // Nobody may be waiting any more: the change stands all the same.
        let _ = reply.send(fate.and_then(|()| result.ok_or(Error::Conflict)));
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    std::thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(run)?;
    Ok(())
}

type Zeros = SyncSender<(Arc<crate::segment::writer::Zeroed>, u64)>;

/// The thread that fills the active segment with zeros ahead of the writing.
fn spawn_zeros() -> Result<Zeros> {
    let (sender, receiver) = sync_channel::<(Arc<crate::segment::writer::Zeroed>, u64)>(1);
    spawn("store-zeros", move || {
        while let Ok((zeroed, written)) = receiver.recv() {
            loop {
                match zeroed.fill(written) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::debug!(%error, "segment not filled ahead");
                        break;
                    }
                }
            }
        }
    })?;
    Ok(sender)
}

/// The one thread that commits.
struct Committer {
    engine: Engine,
    orders: Receiver<Order>,
    hub: std::sync::Weak<Hub>,
    sender: BusSender,
    zeros: Zeros,
}

impl Committer {
    fn run(mut self) {
        let mut synced = Instant::now();
        loop {
            let patience = if self.sender.has_late() {
                LATE
            } else if self.engine.has_pending_facts() {
                FACTS.saturating_sub(synced.elapsed())
            } else {
                Duration::from_secs(3600)
            };
            let first = match self.orders.recv_timeout(patience) {
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.sender.send_late();
            let mut batch: Vec<Box<dyn Change>> = Vec::new();
            let mut weight = 0;
            let mut closing = None;
            let mut next = first;
            while let Some(order) = next {
                match order {
                    Order::Change(change) => {
                        weight += change.weight();
                        batch.push(change);
                    }
                    Order::Stage { head, received, reply } => {
                        // Dropped unused, a staged message removes its file.
                        let _ = reply.send(self.engine.stage(&head, received));
                    }
                    Order::Close(reply) => {
                        closing = Some(reply);
                        break;
                    }
                }
                next = if weight < MAX_BATCH { self.orders.try_recv().ok() } else { None };
            }
            if !batch.is_empty() {
                let notice = self.engine.commit(batch, |notice| {
                    if let Some(hub) = self.hub.upgrade() {
                        hub.wake(notice);
                    }
                });
                self.sender.send(&notice);
                if let Some(zeros) = self.engine.zeroed() {
                    // If it is busy it is filling already.
                    let _ = self.zeros.try_send(zeros);
                }
            }
            if let Some(reply) = closing {
                self.engine.close();
                let _ = reply.send(());
                return;
            }
            if !self.engine.has_pending_facts() {
                synced = Instant::now();
            } else if synced.elapsed() >= FACTS {
                self.engine.flush();
                synced = Instant::now();
            }
        }
        self.engine.close();
    }
}

fn stored_count(uids: &[RangeInclusive<u32>]) -> usize {
    uids.iter()
        .map(|range| usize::try_from(range.end() - range.start()).unwrap_or(usize::MAX))
        .fold(0, |sum, count| sum.saturating_add(count).saturating_add(1))
}

impl Embedded {
    /// The UIDs in pieces of at most `most` messages that exist, for one transaction each.
    async fn pieces(&self, mailbox: MailboxId, uids: Vec<RangeInclusive<u32>>, most: usize) -> Result<Vec<UidRanges>> {
        if stored_count(&uids) <= most {
            return Ok(vec![uids]);
        }
        let snapshot = self.snapshot(mailbox).await?;
        let mut known = Vec::new();
        for range in &uids {
            let from = snapshot.find(*range.start()).unwrap_or_else(|at| at);
            known.extend(snapshot.iter_from(from).map(|row| row.uid).take_while(|uid| uid <= range.end()));
        }
        Ok(known.chunks(most).map(|chunk| ranges(chunk.iter().copied())).collect())
    }
}

#[async_trait]
impl Store for Embedded {
    async fn domains(&self) -> Result<Vec<Domain>> {
        self.readers.short(catalogue::domains).await
    }

    async fn put_domain(&self, domain: Domain) -> Result<()> {
        self.change(move |txn| txn.put_domain(&domain)).await
    }

    async fn remove_domain(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.change(move |txn| txn.remove_domain(&name)).await
    }

    async fn accounts(&self) -> Result<Vec<AccountId>> {
        self.readers.short(catalogue::account_ids).await
    }

    async fn account(&self, id: AccountId) -> Result<Account> {
        self.readers.short(move |connection| catalogue::account(connection, id)).await
    }

    async fn account_by_key(&self, key: &str) -> Result<Option<Account>> {
        let key = key.to_owned();
        self.readers.short(move |connection| catalogue::account_by_key(connection, &key)).await
    }

    async fn every_account_has(&self, kind: &str) -> Result<bool> {
        let kind = kind.to_owned();
        self.readers.short(move |connection| catalogue::every_account_has(connection, &kind)).await
    }

    async fn add_accounts(&self, new: Vec<NewAccount>) -> Result<Vec<AccountId>> {
        self.change_with(Vec::new(), true, new.len(), move |txn, _| {
            new.iter().map(|account| txn.add_account(account)).collect()
        })
        .await
    }

    async fn update_account(&self, id: AccountId, change: AccountChange) -> Result<()> {
        self.change(move |txn| txn.update_account(id, &change)).await
    }

    async fn remove_account(&self, id: AccountId) -> Result<()> {
        self.change(move |txn| txn.remove_account(id)).await
    }

    async fn aliases(&self) -> Result<Vec<Alias>> {
        self.readers.short(catalogue::aliases).await
    }

    async fn alias(&self, key: &str) -> Result<Option<Alias>> {
        let key = key.to_owned();
        self.readers.short(move |connection| catalogue::alias(connection, &key)).await
    }

    async fn put_alias(&self, alias: Alias) -> Result<()> {
        self.change(move |txn| txn.put_alias(&alias)).await
    }

    async fn remove_alias(&self, key: &str) -> Result<()> {
        let key = key.to_owned();
        self.change(move |txn| txn.remove_alias(&key)).await
    }

    async fn setting(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let key = key.to_owned();
        self.readers.short(move |connection| catalogue::setting(connection, &key)).await
    }

    async fn put_setting(&self, key: &str, value: Vec<u8>) -> Result<()> {
        let key = key.to_owned();
        self.change(move |txn| txn.put_setting(&key, &value)).await
    }

    fn watch_directory(&self) -> Watch {
        self.hub.watch_directory()
    }

    async fn mailboxes(&self, account: AccountId) -> Result<Vec<Mailbox>> {
        self.readers.short(move |connection| mailboxes::list(connection, account)).await
    }

    async fn mailbox(&self, account: AccountId, name: &str) -> Result<Mailbox> {
        let name = name.to_owned();
        self.readers.short(move |connection| mailboxes::by_name(connection, account, &name)).await
    }

    async fn mailbox_by_id(&self, id: MailboxId) -> Result<Mailbox> {
        self.readers.short(move |connection| mailboxes::by_id(connection, id)).await
    }

    async fn subscriptions(&self, account: AccountId) -> Result<Vec<String>> {
        self.readers.short(move |connection| mailboxes::subscriptions(connection, account)).await
    }

    async fn create_mailbox(&self, account: AccountId, name: &str, special_use: Option<SpecialUse>) -> Result<Mailbox> {
        let name = name.to_owned();
        self.change_with(Vec::new(), true, 1, move |txn, _| {
            let id = txn.create_mailbox(account, &name, special_use)?;
            mailboxes::by_id(txn.connection, id)
        })
        .await
    }

    async fn delete_mailbox(&self, account: AccountId, name: &str) -> Result<()> {
        let name = name.to_owned();
        let id = self.change(move |txn| txn.delete_mailbox(account, &name)).await?;
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        Ok(())
    }

    async fn rename_mailbox(&self, account: AccountId, from: &str, to: &str) -> Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.change(move |txn| txn.rename_mailbox(account, &from, &to)).await
    }

    async fn subscribe(&self, account: AccountId, name: &str, yes: bool) -> Result<()> {
        let name = name.to_owned();
        self.change(move |txn| txn.set_subscribed(account, &name, yes)).await
    }

    fn watch_account(&self, id: AccountId) -> Watch {
        self.hub.watch_account(id)
    }

    async fn stage(&self, head: Bytes, received: ZonedTime) -> Result<Staged> {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Stage { head, received, reply })?;
        answer.await.map_err(|_| Error::Busy)?
    }

    async fn deliver(&self, delivery: Delivery) -> Result<Vec<Placed>> {
        let Delivery { content, received, recipients, spool } = delivery;
        let pending = self.pending(vec![(content, received)]).await?;
        let weight = recipients.len().max(1);
        self.change_with(pending, true, weight, move |txn, pending| {
            let pending = pending.first().ok_or(Error::Conflict)?;
            let content = pending.content()?;
            txn.insert_content(&content, recipients.len() + usize::from(spool.is_some()), &pending.digest)?;
            if let Some(spool) = &spool {
                txn.insert_spool(content.id, spool)?;
            }
            recipients.iter().map(|recipient| txn.deliver(&content, recipient, received)).collect()
        })
        .await
    }

    async fn append(&self, mailbox: MailboxId, messages: Vec<NewMessage>) -> Result<Vec<Placed>> {
        let mut contents = Vec::with_capacity(messages.len());
        let mut places = Vec::with_capacity(messages.len());
        for message in messages {
            places.push((message.flags, message.received));
            contents.push((message.content, message.received));
        }
        let pending = self.pending(contents).await?;
        self.change_with(pending, true, places.len(), move |txn, pending| {
            let account = mailboxes::by_id(txn.connection, mailbox)?.account;
            let mut placed = Vec::with_capacity(places.len());
            for (pending, (flags, received)) in pending.iter().zip(&places) {
                let content = pending.content()?;
                txn.check_account(account, content.head + content.body)?;
                txn.insert_content(&content, 1, &pending.digest)?;
                placed.push(txn.place(account, mailbox, &content, flags, b"", *received)?);
            }
            Ok(placed)
        })
        .await
    }

    async fn open_mailbox(&self, account: AccountId, name: &str) -> Result<(Mailbox, Arc<Snapshot>)> {
        let (name, snapshots) = (name.to_owned(), Arc::clone(&self.snapshots));
        let read = move |connection: &Connection| {
            let mailbox = mailboxes::by_name(connection, account, &name)?;
            let known = snapshots.lock().unwrap_or_else(PoisonError::into_inner).get(&mailbox.id).cloned();
            let snapshot = refresh(connection, mailbox.id, known)?;
            Ok((mailbox, snapshot))
        };
        let opened = self.readers.short(read).await?;
        self.remember(&opened.1);
        Ok(opened)
    }

    async fn snapshot(&self, mailbox: MailboxId) -> Result<Arc<Snapshot>> {
        let known = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).get(&mailbox).cloned();
        let snapshot = self.readers.short(move |connection| refresh(connection, mailbox, known)).await;
        match &snapshot {
            Ok(snapshot) => self.remember(snapshot),
            Err(_) => {
                self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).remove(&mailbox);
            }
        }
        snapshot
    }

    async fn changes(&self, mailbox: MailboxId, since: u64) -> Result<Changes> {
        self.readers.short(move |connection| messages::changes(connection, mailbox, since, None)).await
    }

    fn watch_mailbox(&self, mailbox: MailboxId) -> Watch {
        self.hub.watch_mailbox(mailbox)
    }

    async fn messages(
        &self,
        mailbox: MailboxId,
        uids: Vec<RangeInclusive<u32>>,
        with_digest: bool,
        limit: usize,
    ) -> Result<Vec<Message>> {
        let read = move |connection: &Connection| messages::messages(connection, mailbox, &uids, with_digest, limit);
        if limit > 100 { self.readers.long(read).await } else { self.readers.short(read).await }
    }

    async fn whole_messages(
        &self,
        mailbox: MailboxId,
        uids: Vec<RangeInclusive<u32>>,
        with_digest: bool,
        limit: usize,
        octets: usize,
    ) -> Result<Vec<(Message, Option<Bytes>)>> {
        let segments = Arc::clone(&self.segments);
        let read = move |connection: &Connection| {
            let found = messages::messages(connection, mailbox, &uids, with_digest, limit)?;
            segments.read_whole(found, octets as u64)
        };
        self.readers.short(read).await
    }

    async fn body(&self, message: &Message) -> Result<Body> {
        self.body_at(message.prefix.clone(), message.content).await
    }

    async fn spooled_body(&self, spool: &Spool) -> Result<Body> {
        self.body_at(Bytes::new(), spool.content).await
    }

    async fn set_flags(
        &self,
        mailbox: MailboxId,
        uids: Vec<RangeInclusive<u32>>,
        operation: FlagOperation,
        flags: FlagNames,
        unchanged_since: Option<u64>,
    ) -> Result<FlagOutcome> {
        let mut whole = FlagOutcome::default();
        for piece in self.pieces(mailbox, uids, MAX_FLAGS).await? {
            let flags = flags.clone();
            let outcome =
                self.change(move |txn| txn.set_flags(mailbox, &piece, operation, &flags, unchanged_since)).await?;
            whole.rows.extend(outcome.rows);
            whole.modified.extend(outcome.modified);
            whole.mod_seq = outcome.mod_seq;
        }
        Ok(whole)
    }

    async fn copy(&self, from: MailboxId, uids: Vec<RangeInclusive<u32>>, to: MailboxId) -> Result<CopyOutcome> {
        self.change_with(Vec::new(), true, 1, move |txn, _| txn.copy(from, &uids, to)).await
    }

    async fn move_messages(
        &self,
        from: MailboxId,
        uids: Vec<RangeInclusive<u32>>,
        to: MailboxId,
    ) -> Result<CopyOutcome> {
        let mut whole = CopyOutcome::default();
        for piece in self.pieces(from, uids, MAX_EXPUNGE).await? {
            let outcome = self.change(move |txn| txn.move_messages(from, &piece, to)).await?;
            whole.uids.extend(outcome.uids);
            whole.uid_validity = outcome.uid_validity;
            whole.source_mod_seq = whole.source_mod_seq.max(outcome.source_mod_seq);
        }
        Ok(whole)
    }

    async fn expunge(
        &self,
        mailbox: MailboxId,
        uids: Vec<RangeInclusive<u32>>,
        only_deleted: bool,
    ) -> Result<ExpungeOutcome> {
        let mut whole = ExpungeOutcome::default();
        for piece in self.pieces(mailbox, uids, MAX_EXPUNGE).await? {
            let outcome = self.change(move |txn| txn.expunge(mailbox, &piece, only_deleted)).await?;
            whole.uids.extend(outcome.uids);
            whole.mod_seq = outcome.mod_seq;
        }
        Ok(whole)
    }

    async fn lock_maildrop(&self, account: AccountId) -> Result<Option<MaildropLock>> {
        let path = self.layout.maildrops().join(format!("{account}.lock"));
        self.readers.short(move |_| MaildropLock::take(&path)).await
    }

    async fn spool(&self, queue_id: &str) -> Result<Spool> {
        let queue_id = queue_id.to_owned();
        self.readers.short(move |connection| spool::entry(connection, &queue_id)).await
    }

    async fn spooled(&self, after: Option<(String, u32)>, limit: u32) -> Result<Vec<SpoolRecipient>> {
        let read = move |connection: &Connection| {
            let after = after.as_ref().map(|(queue_id, number)| (queue_id.as_str(), *number));
            spool::recipients(connection, after, limit)
        };
        self.readers.short(read).await
    }

    async fn spool_due(&self, now: i64, limit: u32) -> Result<Vec<SpoolRecipient>> {
        self.readers.short(move |connection| spool::due(connection, now, limit)).await
    }

    async fn update_spool(&self, recipients: Vec<SpoolRecipient>) -> Result<()> {
        self.change(move |txn| recipients.iter().try_for_each(|recipient| txn.update_spool_recipient(recipient))).await
    }

    async fn remove_spooled(&self, recipients: Vec<(String, u32)>) -> Result<()> {
        self.change(move |txn| {
            recipients.iter().try_for_each(|(queue_id, number)| txn.remove_spool_recipient(queue_id, *number))
        })
        .await
    }

    async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.order(Order::Close(reply)).is_ok() {
            // Without an answer the thread is gone, and so is what it could have closed.
            let _ = answer.await;
        }
    }
}

/// The snapshot as it is now, from the one known if there is one.
fn refresh(connection: &Connection, mailbox: MailboxId, known: Option<Arc<Snapshot>>) -> Result<Arc<Snapshot>> {
    let reading = connection.unchecked_transaction()?;
    let row = mailboxes::by_id(&reading, mailbox)?;
    if let Some(known) = known.filter(|known| known.uid_validity == row.uid_validity && known.mod_seq <= row.mod_seq) {
        if known.mod_seq == row.mod_seq {
            return Ok(known);
        }
        let changes = messages::changes(&reading, mailbox, known.mod_seq, Some(known.uid_next))?;
        let keywords = mailboxes::keywords(&reading, mailbox)?;
        let keywords = (keywords[..] != known.keywords[..]).then_some(keywords);
        return Ok(Arc::new(known.after(&changes, keywords)));
    }
    let rows = messages::rows_from(&reading, mailbox, 0)?;
    let keywords = mailboxes::keywords(&reading, mailbox)?;
    Ok(Arc::new(Snapshot::new(mailbox, row.uid_validity, row.uid_next, row.mod_seq, keywords, &rows)))
}
