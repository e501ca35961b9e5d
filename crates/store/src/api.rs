//! The store in mail terms.

use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::room::*;
use crate::spool::*;
use crate::trace::*;
use crate::types::*;
use crate::{Body, MaildropLock, QueueLock, Result, Snapshot, Staged, Watch};

/// Everything durable of a mail system, in mail terms: used as `Arc<dyn Store>`.
///
/// A positive answer to a change means that the change survives `kill -9` and a power cut. Dropping a call's future
/// neither undoes nor half-does the change. Names of mailboxes are NFC with `/` between levels; `INBOX` in any case is
/// the inbox. UIDs are given as ranges; those that are no message's are passed over.
///
/// Every call fails with [`Error::Busy`](crate::Error::Busy) when its queue is full, with
/// [`Error::ReadOnly`](crate::Error::ReadOnly) (changes alone) after a failure of the index, and with
/// [`Error::Io`](crate::Error::Io) or [`Error::Index`](crate::Error::Index) when the machine fails; what else is told
/// at each.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// All domains, by name.
    async fn domains(&self) -> Result<Vec<Domain>>;
    /// Adds or replaces a domain.
    async fn put_domain(&self, domain: Domain) -> Result<()>;
    /// Removes a domain. `NotFound`.
    async fn remove_domain(&self, name: &str) -> Result<()>;

    /// The ids of all accounts, by key.
    async fn accounts(&self) -> Result<Vec<AccountId>>;
    /// An account. `NotFound`.
    async fn account(&self, id: AccountId) -> Result<Account>;
    /// The account with this key.
    async fn account_by_key(&self, key: &str) -> Result<Option<Account>>;
    /// Whether every enabled account has a credential of this kind.
    async fn every_account_has(&self, kind: &str) -> Result<bool>;
    /// Adds accounts, all or none. `AlreadyExists`.
    async fn add_accounts(&self, new: Vec<NewAccount>) -> Result<Vec<AccountId>>;
    /// Changes an account. `NotFound`.
    async fn update_account(&self, id: AccountId, change: AccountChange) -> Result<()>;
    /// Removes an account with its mailboxes; its id is never given again. `NotFound`.
    async fn remove_account(&self, id: AccountId) -> Result<()>;

    /// All aliases, by key.
    async fn aliases(&self) -> Result<Vec<Alias>>;
    /// The alias with this key.
    async fn alias(&self, key: &str) -> Result<Option<Alias>>;
    /// Adds or replaces an alias.
    async fn put_alias(&self, alias: Alias) -> Result<()>;
    /// Removes an alias. `NotFound`.
    async fn remove_alias(&self, key: &str) -> Result<()>;

    /// A setting of the system as a whole (a server secret, say).
    async fn setting(&self, key: &str) -> Result<Option<Vec<u8>>>;
    /// Sets it.
    async fn put_setting(&self, key: &str, value: Vec<u8>) -> Result<()>;
    /// Wakes whenever domains, accounts, aliases or credentials change, by whichever process, within 1 s.
    fn watch_directory(&self) -> Watch;

    /// An account's mailboxes, by name.
    async fn mailboxes(&self, account: AccountId) -> Result<Vec<Mailbox>>;
    /// A mailbox by name. `NotFound`.
    async fn mailbox(&self, account: AccountId, name: &str) -> Result<Mailbox>;
    /// A mailbox by id. `NotFound`.
    async fn mailbox_by_id(&self, id: MailboxId) -> Result<Mailbox>;
    /// The names an account subscribes to, whether there are such mailboxes or not.
    async fn subscriptions(&self, account: AccountId) -> Result<Vec<String>>;
    /// Makes a mailbox, and those above it that are missing. `AlreadyExists`, `Limit`.
    async fn create_mailbox(&self, account: AccountId, name: &str, special_use: Option<SpecialUse>) -> Result<Mailbox>;
    /// Deletes a mailbox with its messages; those below it stay. `NotFound`, `Limit` for INBOX.
    async fn delete_mailbox(&self, account: AccountId, name: &str) -> Result<()>;
    /// Renames a mailbox and all below it; INBOX stays, its messages move. `NotFound`, `AlreadyExists`, `Limit`.
    async fn rename_mailbox(&self, account: AccountId, from: &str, to: &str) -> Result<()>;
    /// Subscribes to a name, or no longer.
    async fn subscribe(&self, account: AccountId, name: &str, yes: bool) -> Result<()>;
    /// Wakes whenever an account's mailboxes come, go or get other names, or the account itself changes.
    fn watch_account(&self, id: AccountId) -> Watch;

    /// Begins a large message, which goes to disk as it comes; give it to a delivery or an append. `NoSpace`.
    async fn stage(&self, head: Bytes, received: ZonedTime) -> Result<Staged>;
    /// Delivers a message to all its local recipients and into the spool, with its trace, all or nothing. Answers in the
    /// order of the recipients. `AlreadyExists` for a queue id in use. `NoSpace`, `OverQuota`, `NotFound` for an account that is not there or disabled.
    async fn deliver(&self, delivery: Delivery) -> Result<Vec<Placed>>;
    /// Appends messages, all or none. `NoSpace`, `OverQuota`, `NotFound`, `Limit` (keywords).
    async fn append(&self, mailbox: MailboxId, messages: Vec<NewMessage>) -> Result<Vec<Placed>>;

    /// A mailbox by name, and as it is now. `NotFound`.
    async fn open_mailbox(&self, account: AccountId, name: &str) -> Result<(Mailbox, Arc<Snapshot>)>;
    /// The mailbox as it is now. `NotFound`.
    async fn snapshot(&self, mailbox: MailboxId) -> Result<Arc<Snapshot>>;
    /// What changed in a mailbox since a mod-sequence. `NotFound`.
    async fn changes(&self, mailbox: MailboxId, since: u64) -> Result<Changes>;
    /// Wakes whenever a mailbox changes: at once after a commit of this process, usually within a millisecond after
    /// another's, at the latest after 1 s.
    fn watch_mailbox(&self, mailbox: MailboxId) -> Watch;
    /// Up to `limit` messages of the ranges, by UID; with their digests only if asked.
    async fn messages(
        &self,
        mailbox: MailboxId,
        uids: Vec<RangeInclusive<u32>>,
        with_digest: bool,
        limit: usize,
    ) -> Result<Vec<Message>>;
    /// As [`messages`](Self::messages), each with its octets: as many messages as have no more than `octets` together.
    /// The first comes in any case, without its octets where they alone are more.
    async fn whole_messages(
        &self,
        mailbox: MailboxId,
        uids: Vec<RangeInclusive<u32>>,
        with_digest: bool,
        limit: usize,
        octets: usize,
    ) -> Result<Vec<(Message, Option<Bytes>)>>;
    /// The octets of a message: prefix, head and body as one.
    async fn body(&self, message: &Message) -> Result<Body>;
    /// The octets of a spooled message.
    async fn spooled_body(&self, spool: &Spool) -> Result<Body>;

    /// Changes flags. With `unchanged_since`, messages changed since then are left alone and told. `Limit` (keywords).
    async fn set_flags(
        &self,
        mailbox: MailboxId,
        uids: Vec<RangeInclusive<u32>>,
        operation: FlagOperation,
        flags: FlagNames,
        unchanged_since: Option<u64>,
    ) -> Result<FlagOutcome>;
    /// Copies messages, all or none. `NotFound` for the target, `OverQuota`.
    async fn copy(&self, from: MailboxId, uids: Vec<RangeInclusive<u32>>, to: MailboxId) -> Result<CopyOutcome>;
    /// Moves messages. `NotFound` for the target.
    async fn move_messages(
        &self,
        from: MailboxId,
        uids: Vec<RangeInclusive<u32>>,
        to: MailboxId,
    ) -> Result<CopyOutcome>;
    /// Expunges messages; with `only_deleted`, those of them that have `\Deleted`.
    async fn expunge(
        &self,
        mailbox: MailboxId,
        uids: Vec<RangeInclusive<u32>>,
        only_deleted: bool,
    ) -> Result<ExpungeOutcome>;
    /// The exclusive lock on an account's maildrop among POP3 sessions of all processes (RFC 1939 §4); `None`: taken.
    async fn lock_maildrop(&self, account: AccountId) -> Result<Option<MaildropLock>>;

    /// A spool entry. `NotFound`.
    async fn spool(&self, queue_id: &str) -> Result<Spool>;
    /// An entry, those of its recipients that have these numbers, and its octets if they are no more than `most`: all that
    /// it takes to send it, in one look. `None`: there is no such entry.
    async fn spool_batch(&self, queue_id: &str, numbers: Vec<u32>, most: usize) -> Result<Option<SpoolBatch>>;
    /// Spool entries at once, in the order asked for; those that are not there are left out.
    async fn spool_entries(&self, queue_ids: Vec<String>) -> Result<Vec<Spool>>;
    /// Up to `limit` spooled recipients that fit, in the order of queue ids and numbers. The last one is `after` for the
    /// next ones.
    async fn spooled(&self, filter: SpoolFilter, limit: u32) -> Result<Vec<SpoolRecipient>>;
    /// Up to `limit` destinations that recipients wait for (on hold is not waiting), behind `after`, in the order of their
    /// octets. Costs one look into the index for each, however many wait.
    async fn spool_destinations(&self, after: Option<&str>, limit: u32) -> Result<Vec<SpoolDestination>>;
    /// Up to `limit` waiting recipients due at `now` (milliseconds since 1970), the longest due first: of one destination,
    /// or of all, which costs a look at each destination.
    async fn spool_due(&self, destination: Option<&str>, now: i64, limit: u32) -> Result<Vec<SpoolRecipient>>;
    /// What the spool holds at `now` (milliseconds since 1970): entries by age, as many as are no older than each of the
    /// bounds (milliseconds, ascending) and than no bound before it; and the `largest` destinations. Reads an index whole,
    /// which is a tenth of a second for a million: for metrics, not for scheduling.
    async fn spool_counts(&self, now: i64, ages: Vec<i64>, largest: usize) -> Result<SpoolCounts>;
    /// Writes recipients as they are now, their hold included, all or none. `NotFound`.
    async fn update_spool(&self, recipients: Vec<SpoolRecipient>) -> Result<()>;
    /// Recipients are done with; an entry goes with its last. All or none. `NotFound`.
    async fn remove_spooled(&self, recipients: Vec<(String, u32)>) -> Result<()>;
    /// Writes what became of recipients, with all that follows from it, in one transaction: once answered, a failed
    /// recipient is gone and its notification is on its way, both, and each exactly once.
    ///
    /// Recipients may have been removed or put on hold since they were read. One that is gone is no error but is told;
    /// it is not made again. One on hold stays so with all else that is new, unless it is in `removed`. When all
    /// recipients named are gone, or one in `removed` is gone and there are deliveries, then nothing is done at all: the
    /// settlement was made before (its answer was lost, say), or an operator removed the recipient, whose notification
    /// nobody wants any more. Whoever has others left in it makes a settlement of those. So the same settlement made
    /// twice does no more than once.
    ///
    /// What it writes of recipients wakes nobody who watches the spool, for the one who runs the queue did it; new spool
    /// entries do. Below the minimum of free space, settlements without deliveries still work. Keep to 1,000 recipients.
    ///
    /// `NoSpace`, `OverQuota`, `NotFound` for a local recipient who is not there or disabled, `AlreadyExists` for a queue
    /// id in use: nothing was done, the caller finds another way for that delivery.
    async fn settle(&self, settlement: Settlement) -> Result<Settled>;
    /// Changes all recipients that fit, in transactions of 1,000; how many were changed. Those before a failure stay
    /// changed.
    async fn change_spooled(&self, filter: SpoolFilter, change: SpoolChange) -> Result<u64>;
    /// Changes the recipients that the entries are about, and writes the entries of those to whom it makes a difference,
    /// in one transaction; which ones those were. Keep to 1,000.
    async fn operate(&self, change: SpoolChange, entries: Vec<TraceEntry>) -> Result<Vec<(String, u32)>>;
    /// Wakes whenever spool entries are made, or recipients changed by other than [`settle`](Self::settle): at once after
    /// a commit of this process, usually within a millisecond after another's, at the latest after 1 s.
    fn watch_spool(&self) -> Watch;
    /// The exclusive right to run the queue of this store, among all processes (rule 7); `None`: taken.
    async fn lock_queue(&self) -> Result<Option<QueueLock>>;
    /// As [`lock_queue`](Self::lock_queue), but waits until the right is free, for ever if need be. Costs nothing while it
    /// waits, but a thread, which stays until then if the future is dropped: ask once.
    async fn wait_for_queue(&self) -> Result<QueueLock>;

    /// Writes steps of messages. Durable like all else; not in the segments, so a salvage does without.
    async fn trace(&self, entries: Vec<TraceEntry>) -> Result<()>;
    /// The steps of a message in the order they were written, without their keys; empty if nothing is known of it.
    async fn trace_of(&self, queue_id: &str) -> Result<Vec<TraceEntry>>;
    /// Up to `limit` queue ids of messages that got this key since the day (in UTC) of a moment (milliseconds since 1970),
    /// the latest first.
    async fn traced(&self, key: TraceKey, since: i64, limit: u32) -> Result<Vec<String>>;
    /// Writes the steps of accounts that read a message for the first time, where its trace came with its delivery to
    /// mailboxes; how many were written. One that is no news costs a look, and writes nothing.
    async fn trace_reads(&self, reads: Vec<TraceRead>) -> Result<u64>;
    /// Forgets messages whose first step was before the day (in UTC) of a moment (milliseconds since 1970), in one
    /// transaction of about `limit` rows; how many it removed. Ask again until it is 0.
    async fn purge_trace(&self, before: i64, limit: u32) -> Result<u64>;

    /// A small fact of a room, expired or not.
    async fn room_fact(&self, room: &str, key: &str) -> Result<Option<RoomFact>>;
    /// Up to `limit` small facts of a room behind the key `after`, in the order of their keys, expired or not.
    async fn room_facts(&self, room: &str, after: Option<&str>, limit: u32) -> Result<Vec<RoomFact>>;
    /// Adds or replaces small facts, all or none. Not in the segments, so a salvage does without: they must be such as can
    /// be got again, or done without. `NoSpace`, `Limit`.
    async fn put_room_facts(&self, room: &str, facts: Vec<RoomFact>) -> Result<()>;
    /// Removes small facts; how many there were.
    async fn remove_room_facts(&self, room: &str, keys: Vec<String>) -> Result<u64>;
    /// Removes up to `limit` facts of all rooms that expired at `now` (milliseconds since 1970) or before; how many. Ask
    /// again until it is 0.
    async fn purge_rooms(&self, now: i64, limit: u32) -> Result<u64>;

    /// Writes what is left and gives up the active segment. Further changes fail.
    async fn close(&self);
}
