//! What the embedded store can be asked: each call a reader's look into the index, or a change for the committer.

use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{Commits, Embedded};
use crate::committer::{Order, spawn};
use crate::index::{catalogue, mailboxes, messages, rooms, spool, traces};
use crate::room::*;
use crate::spool::*;
use crate::trace::*;
use crate::types::*;
use crate::{Body, Error, MaildropLock, QueueLock, Result, Snapshot, Staged, Store, Watch, What};

/// Most messages that one transaction expunges.
const MAX_EXPUNGE: usize = 2_000;
/// Most messages whose flags one transaction changes.
const MAX_FLAGS: usize = 50_000;
/// Most spooled recipients that one transaction of a change by filter changes.
const MAX_SPOOLED: u32 = 1_000;

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
        self.snapshots.forget(id);
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
        let weight = delivery.weight();
        let Delivery { content, received, recipients, spool, trace } = delivery;
        let pending = self.pending(vec![(content, received)]).await?;
        self.change_with(pending, true, weight, move |txn, pending| {
            let pending = pending.first().ok_or(Error::Conflict)?;
            txn.accept(pending, received, &recipients, &spool, &trace)
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
        let name = name.to_owned();
        self.snapshots.open(&self.readers, move |index| mailboxes::by_name(index, account, &name)).await
    }

    async fn snapshot(&self, mailbox: MailboxId) -> Result<Arc<Snapshot>> {
        let opened = self.snapshots.open(&self.readers, move |index| mailboxes::by_id(index, mailbox)).await;
        if opened.is_err() {
            self.snapshots.forget(mailbox);
        }
        opened.map(|(_, snapshot)| snapshot)
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

    async fn spool_batch(&self, queue_id: &str, numbers: Vec<u32>, most: usize) -> Result<Option<SpoolBatch>> {
        let (queue_id, segments) = (queue_id.to_owned(), Arc::clone(&self.segments));
        let read = move |connection: &Connection| {
            let Some((spool, recipients)) = spool::batch(connection, &queue_id, &numbers)? else { return Ok(None) };
            let octets = usize::try_from(spool.content.octets).ok().filter(|octets| *octets <= most);
            let octets = octets.map(|_| segments.read(spool.content)).transpose()?;
            Ok(Some(SpoolBatch { spool, recipients, octets }))
        };
        self.readers.short(read).await
    }

    async fn spool_entries(&self, queue_ids: Vec<String>) -> Result<Vec<Spool>> {
        let read = move |connection: &Connection| spool::entries(connection, &queue_ids);
        self.readers.short(read).await
    }

    async fn spooled(&self, filter: SpoolFilter, limit: u32) -> Result<Vec<SpoolRecipient>> {
        self.readers.long(move |connection| spool::recipients(connection, &filter, limit)).await
    }

    async fn spool_destinations(&self, after: Option<&str>, limit: u32) -> Result<Vec<SpoolDestination>> {
        let after = after.map(str::to_owned);
        let read = move |connection: &Connection| spool::destinations(connection, after.as_deref(), limit);
        if limit > 1_000 { self.readers.long(read).await } else { self.readers.short(read).await }
    }

    async fn spool_due(&self, destination: Option<&str>, now: i64, limit: u32) -> Result<Vec<SpoolRecipient>> {
        match destination.map(str::to_owned) {
            Some(destination) => {
                self.readers.short(move |connection| spool::due(connection, &destination, now, limit)).await
            }
            None => self.readers.long(move |connection| spool::due_anywhere(connection, now, limit)).await,
        }
    }

    async fn spool_counts(&self, now: i64, ages: Vec<i64>, largest: usize) -> Result<SpoolCounts> {
        self.readers.long(move |connection| spool::counts(connection, now, &ages, largest)).await
    }

    async fn update_spool(&self, recipients: Vec<SpoolRecipient>) -> Result<()> {
        self.change(move |txn| recipients.iter().try_for_each(|recipient| txn.update_spool_recipient(recipient))).await
    }

    async fn remove_spooled(&self, recipients: Vec<(String, u32)>) -> Result<()> {
        self.change(move |txn| {
            txn.spool = true;
            recipients.iter().try_for_each(|(queue_id, number)| {
                if txn.remove_spool_recipient(queue_id, *number)? { Ok(()) } else { Err(Error::NotFound(What::Spool)) }
            })
        })
        .await
    }

    async fn settle(&self, settlement: Settlement) -> Result<Settled> {
        let Settlement { updated, removed, deliveries, on_hold, trace } = settlement;
        let (mut contents, mut rest) = (Vec::with_capacity(deliveries.len()), Vec::with_capacity(deliveries.len()));
        let weight = deliveries.iter().map(Delivery::weight).sum::<usize>() + updated.len() + removed.len();
        for Delivery { content, received, recipients, spool, trace } in deliveries {
            contents.push((content, received));
            rest.push((received, recipients, spool, trace));
        }
        let pending = self.pending(contents).await?;
        let grows = !rest.is_empty();
        self.change_with(pending, grows, weight.max(1), move |txn, pending| {
            let mut settled = txn.settle_recipients(&updated, &removed, grows)?;
            if settled.done {
                for (pending, (received, recipients, spool, trace)) in pending.iter().zip(&rest) {
                    settled.placed.push(txn.accept(pending, *received, recipients, spool, trace)?);
                    for entry in spool.iter().filter(|entry| on_hold.contains(&entry.queue_id)) {
                        let recipients = (0_u32..).zip(&entry.recipients);
                        let keys: Vec<_> = recipients.map(|(number, _)| (entry.queue_id.clone(), number)).collect();
                        txn.change_spool_recipients(&keys, SpoolChange::Hold)?;
                    }
                }
                txn.trace(&trace)?;
            }
            Ok(settled)
        })
        .await
    }

    async fn change_spooled(&self, filter: SpoolFilter, change: SpoolChange) -> Result<u64> {
        let mut filter = filter;
        let mut changed = 0;
        loop {
            let wanted = filter.clone();
            let keys = self.readers.long(move |connection| spool::keys(connection, &wanted, MAX_SPOOLED)).await?;
            let Some(last) = keys.last() else { return Ok(changed) };
            filter.after = Some(last.clone());
            let weight = keys.len();
            changed += self
                .change_with(Vec::new(), false, weight, move |txn, _| txn.change_spool_recipients(&keys, change))
                .await?;
        }
    }

    async fn operate(&self, change: SpoolChange, entries: Vec<TraceEntry>) -> Result<Vec<(String, u32)>> {
        let weight = entries.len().max(1);
        self.change_with(Vec::new(), false, weight, move |txn, _| txn.operate(change, &entries)).await
    }

    fn watch_spool(&self) -> Watch {
        self.hub.watch_spool()
    }

    async fn lock_queue(&self) -> Result<Option<QueueLock>> {
        if matches!(self.commits, Commits::InPlace(_)) {
            return Ok(Some(QueueLock::alone()));
        }
        let path = self.layout.lock("queue");
        self.readers.short(move |_| QueueLock::take(&path)).await
    }

    async fn wait_for_queue(&self) -> Result<QueueLock> {
        if matches!(self.commits, Commits::InPlace(_)) {
            return Ok(QueueLock::alone());
        }
        let path = self.layout.lock("queue");
        let (reply, answer) = oneshot::channel();
        spawn("store-queue", move || {
            // Nobody may be waiting any more; then the lock is dropped at once.
            let _ = reply.send(QueueLock::wait(&path));
        })?;
        answer.await.map_err(|_| Error::Busy)?
    }

    async fn trace(&self, entries: Vec<TraceEntry>) -> Result<()> {
        let weight = entries.len().div_ceil(4).max(1);
        self.change_with(Vec::new(), false, weight, move |txn, _| txn.trace(&entries)).await
    }

    async fn trace_of(&self, queue_id: &str) -> Result<Vec<TraceEntry>> {
        let queue_id = queue_id.to_owned();
        self.readers.short(move |connection| traces::of(connection, &queue_id)).await
    }

    async fn traced(&self, key: TraceKey, since: i64, limit: u32) -> Result<Vec<String>> {
        self.readers.short(move |connection| traces::found(connection, &key, since, limit)).await
    }

    async fn trace_reads(&self, reads: Vec<TraceRead>) -> Result<u64> {
        let news = self.readers.short(move |connection| traces::news(connection, reads)).await?;
        if news.is_empty() {
            return Ok(0);
        }
        let weight = news.len().div_ceil(4);
        self.change_with(Vec::new(), false, weight, move |txn, _| txn.trace_reads(&news)).await
    }

    async fn purge_trace(&self, before: i64, limit: u32) -> Result<u64> {
        self.change(move |txn| txn.purge_trace(before, limit)).await
    }

    async fn room_fact(&self, room: &str, key: &str) -> Result<Option<RoomFact>> {
        let (room, key) = (room.to_owned(), key.to_owned());
        self.readers.short(move |connection| rooms::fact(connection, &room, &key)).await
    }

    async fn room_facts(&self, room: &str, after: Option<&str>, limit: u32) -> Result<Vec<RoomFact>> {
        let (room, after) = (room.to_owned(), after.map(str::to_owned));
        let read = move |connection: &Connection| rooms::facts(connection, &room, after.as_deref(), limit);
        if limit > 100 { self.readers.long(read).await } else { self.readers.short(read).await }
    }

    async fn put_room_facts(&self, room: &str, facts: Vec<RoomFact>) -> Result<()> {
        let room = room.to_owned();
        let weight = facts.len().max(1);
        self.change_with(Vec::new(), true, weight, move |txn, _| {
            facts.iter().try_for_each(|fact| txn.put_room_fact(&room, fact))
        })
        .await
    }

    async fn remove_room_facts(&self, room: &str, keys: Vec<String>) -> Result<u64> {
        let room = room.to_owned();
        self.change(move |txn| keys.iter().try_fold(0, |gone, key| Ok(gone + txn.remove_room_fact(&room, key)?))).await
    }

    async fn purge_rooms(&self, now: i64, limit: u32) -> Result<u64> {
        self.change(move |txn| txn.purge_rooms(now, limit)).await
    }

    async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.order(Order::Close(reply)).is_ok() {
            // Without an answer the thread is gone, and so is what it could have closed.
            let _ = answer.await;
        }
    }
}
