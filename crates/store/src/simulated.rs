//! What the tests of the engine share: a simulated disk, a world on it, and random changes with a model of what must be
//! there.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use simdisk::SimDisk;

use crate::committer::Closure;
use crate::disk::{Disk, File, Layout, Turn, Turnstile};
use crate::engine::{Engine, Pending};
use crate::index::{Txn, mailboxes, messages, schema, spool};
use crate::spool::*;
use crate::trace::{TraceEntry, TraceKey};
use crate::types::*;
use crate::{Options, Result, Synchronous};

#[derive(Debug)]
pub(crate) struct Simulated {
    pub(crate) disk: SimDisk,
    vfs: String,
}

simdisk::disk_for_store!(Simulated, |simulated| simulated.disk.now());

/// What must be there: messages by mailbox and UID, with their octets and flags; spooled recipients by entry (as a
/// negative number) and number, with what they are and, in the lowest bit, whether they are on hold.
pub(crate) type Model = BTreeMap<(i64, u32), (Bytes, u64)>;

/// The entry of a queue id, and back.
fn entry_number(queue_id: &str) -> i64 {
    -1 - i64::from_str_radix(queue_id, 16).unwrap()
}

fn queue_id(entry: i64) -> String {
    format!("{:016x}", -1 - entry)
}

/// A spooled recipient, as the model has it.
fn modelled(recipient: &SpoolRecipient) -> ((i64, u32), (Bytes, u64)) {
    let what = format!("{} {} {} {:?}", recipient.address, recipient.destination, recipient.due, recipient.last);
    let bits = u64::from(recipient.attempts) << 1 | u64::from(recipient.state == SpoolState::Held);
    ((entry_number(&recipient.queue_id), recipient.number), (what.into(), bits))
}

/// What is sent when the recipient with this key has failed.
fn notification(key: (i64, u32)) -> Bytes {
    format!("notification {} {}", queue_id(key.0), key.1).into()
}

/// Whether `after` is `before`, or differs from it by one change, which is whole.
pub(crate) fn at_most_one_change_apart(before: &Model, after: &Model) -> bool {
    let lost: Vec<_> = before.iter().filter(|(key, message)| after.get(*key) != Some(message)).collect();
    let new: Vec<_> = after.iter().filter(|(key, message)| before.get(*key) != Some(message)).collect();
    // A failed recipient and its notification are one change (rule 5), and so are a message and its spool entry.
    let notified = lost.iter().all(|(key, _)| {
        key.0 >= 0 || after.contains_key(key) || new.iter().any(|(_, (octets, _))| *octets == notification(**key))
    });
    let spooled = new.iter().filter(|(key, _)| key.0 < 0 && !before.contains_key(key)).count();
    // An APPEND of two messages is one change, too.
    let appended = lost.is_empty() && spooled == 0 && new.len() == 2 && after.len() == before.len() + 2;
    notified && lost.len() <= 1 && (appended || matches!((spooled, new.len()), (0, 0 | 1) | (2, 3)))
}

pub(crate) struct World {
    pub(crate) disk: Arc<Simulated>,
    pub(crate) layout: Layout,
    pub(crate) options: Options,
}

impl World {
    pub(crate) fn new(seed: u64, synchronous: Synchronous) -> Self {
        let disk = SimDisk::new(seed + 1);
        let vfs = disk.register();
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
        let spooled = spool::recipients(&connection, &SpoolFilter::default(), 10_000).unwrap();
        let queue_ids: Vec<String> = spooled.iter().map(|recipient| recipient.queue_id.clone()).collect();
        for entry in spool::entries(&connection, &queue_ids).unwrap() {
            let file = self.disk.open(&self.layout.segment(entry.content.segment)).unwrap();
            let mut octets = vec![0; usize::try_from(entry.content.octets).unwrap()];
            file.read_exact_at(&mut octets, entry.content.offset).unwrap();
            assert!(octets.ends_with(b"x"), "a spooled message is whole");
        }
        model.extend(spooled.iter().map(modelled));
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
        // APPEND, of two messages at once: both are there, or neither.
        (3, Some(_)) => {
            let flags = FlagNames { system: Flags((dice >> 20) & 0x1f), keywords: Vec::new() };
            let bodies = [1, 2].map(|number| Bytes::from(format!("{number}-{dice}")));
            let pending = bodies.iter().map(|body| {
                let body = NewBody::Memory(vec![body.clone()]);
                let new = NewContent { head: Bytes::new(), body, digest: Bytes::new(), thread: 0 };
                Pending::new(new, ZonedTime::default()).unwrap()
            });
            let bits = flags.system.0;
            let placed = commit(engine, pending.collect(), move |txn, pending| {
                let mut placed = Vec::new();
                for pending in pending {
                    let content = pending.content()?;
                    txn.insert_content(&content, 1, b"")?;
                    placed.push(txn.place(account, other, &content, &flags, b"", ZonedTime::default())?);
                }
                Ok(placed)
            });
            placed.is_some_and(|placed| {
                for (placed, body) in placed.iter().zip(bodies) {
                    model.insert((other.0, placed.uid), (body, bits));
                }
                true
            })
        }
        (0..=3, _) | (_, None) => {
            let body = Bytes::from(format!("{dice}-{}", "x".repeat((dice % 5_000) as usize + 1)));
            let pending = pending(&body);
            let to = Recipient { account, mailbox: None, prefix: Bytes::new(), flags: FlagNames::default() };
            let entry = -1 - (dice >> 4).cast_signed();
            let recipient = |number: u64| NewSpoolRecipient {
                address: format!("{number}@Remote.example"),
                destination: format!("remote{}.example", dice % 3),
                parameters: vec![1],
                due: (dice % 1_000).cast_signed(),
            };
            let new = NewSpool {
                queue_id: queue_id(entry),
                sender: "a@b".into(),
                parameters: vec![2],
                recipients: vec![recipient(0), recipient(1)],
            };
            let new = (dice >> 12).is_multiple_of(3).then_some(new);
            let traced = traced(&queue_id(entry));
            let made = commit(engine, pending, move |txn, pending| {
                let placed =
                    txn.accept(&pending[0], ZonedTime::default(), std::slice::from_ref(&to), new.as_slice(), &traced)?;
                let wanted = SpoolFilter { queue_id: Some(queue_id(entry)), ..SpoolFilter::default() };
                Ok((placed[0], spool::recipients(txn.connection, &wanted, 10)?))
            });
            made.is_some_and(|(placed, spooled)| {
                model.insert((inbox.0, placed.uid), (body, 0));
                model.extend(spooled.iter().map(modelled));
                true
            })
        }
        (4.., Some(key)) if key.0 < 0 => settle(engine, dice, account, inbox, key, model),
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

/// A content in memory.
pub(crate) fn pending(body: &Bytes) -> Vec<Pending> {
    let body = NewBody::Memory(vec![body.clone()]);
    let new = NewContent { head: Bytes::new(), body, digest: Bytes::new(), thread: 0 };
    vec![Pending::new(new, ZonedTime::default()).unwrap()]
}

fn traced(queue_id: &str) -> Vec<TraceEntry> {
    let keys = vec![TraceKey::Address("a@b".into())];
    vec![TraceEntry { queue_id: queue_id.into(), at: 0, recipient: None, kind: 1, data: vec![1], keys }]
}

/// What becomes of a spooled recipient: it is held, tried again, or failed, and then the inbox gets a notification.
fn settle(
    engine: &mut Engine,
    dice: u64,
    account: AccountId,
    inbox: MailboxId,
    key: (i64, u32),
    model: &mut Model,
) -> bool {
    let id = queue_id(key.0);
    let wanted = SpoolFilter { queue_id: Some(id.clone()), ..SpoolFilter::default() };
    let read = move |txn: &mut Txn<'_>, _: &[Pending]| spool::recipients(txn.connection, &wanted, 10);
    let Some(all) = commit(engine, Vec::new(), read) else { return false };
    let Some(mut recipient) = all.into_iter().find(|recipient| recipient.number == key.1) else {
        // It was settled, and nobody could be told.
        return true;
    };
    match (dice >> 16) % 4 {
        0 => {
            let keys = vec![(id, key.1)];
            let held = commit(engine, Vec::new(), move |txn, _| txn.change_spool_recipients(&keys, SpoolChange::Hold));
            held.is_some_and(|_| {
                model.entry(key).and_modify(|(_, bits)| *bits |= 1);
                true
            })
        }
        1 => {
            recipient.attempts += 1;
            recipient.due += 10;
            recipient.last = vec![4, 5];
            recipient.state = SpoolState::Waiting;
            let mut after = recipient.clone();
            let tried = commit(engine, Vec::new(), move |txn, _| {
                txn.settle_recipients(std::slice::from_ref(&recipient), &[], false)
            });
            tried.is_some_and(|settled| {
                assert!(settled.done);
                if !settled.held.is_empty() {
                    after.state = SpoolState::Held;
                }
                model.extend([modelled(&after)]);
                true
            })
        }
        _ => {
            let body = notification(key);
            let pending = pending(&body);
            let to = Recipient { account, mailbox: None, prefix: Bytes::new(), flags: FlagNames::default() };
            let traced = traced(&id);
            let settled = commit(engine, pending, move |txn, pending| {
                let settled = txn.settle_recipients(&[], &[(id.clone(), key.1)], true)?;
                assert!(settled.done);
                let placed = txn.accept(&pending[0], ZonedTime::default(), std::slice::from_ref(&to), &[], &traced)?;
                Ok(placed[0])
            });
            settled.is_some_and(|placed| {
                model.remove(&key);
                model.insert((inbox.0, placed.uid), (body, 0));
                true
            })
        }
    }
}

pub(crate) fn commit_read(engine: &mut Engine, account: AccountId, name: &'static str) -> MailboxId {
    commit(engine, Vec::new(), move |txn, _| Ok(mailboxes::by_name(txn.connection, account, name)?.id)).unwrap()
}
