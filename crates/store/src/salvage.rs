//! Rebuilds a lost index from the segments alone (rule 2).
//!
//! Messages are joined with their last placements. Those without one (their placement was lost, or they were never
//! acknowledged) go to the mailbox `Recovered` of a disabled account of that name, since nobody can tell whose they
//! are; every UIDVALIDITY changes then, because UIDs may have been given that no record tells of. A recorded expunge is
//! never revived, nor is a mailbox that was deleted or a recipient who was done with, and spool entries come back on hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use crate::disk::{self, Disk, Layout, RealDisk};
use crate::fact::Fact;
use crate::index::messages::Content;
use crate::index::{Txn, one, schema, spool, unsigned};
use crate::segment::reader::{self, Found};
use crate::segment::record::Kind;
use crate::segment::writer::{Location, SegmentIds};
use crate::spool::{SpoolRecipient, SpoolState};
use crate::types::{AccountId, FlagNames, MailboxId, NewAccount, ZonedTime};
use crate::{Error, Options, Result, What, open};

/// The account, and its mailbox, of messages that nobody can place. Its key is the same in small letters: no address.
pub const RECOVERED: &str = "Recovered";

/// What a salvage found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Salvaged {
    /// Segments read.
    pub segments: usize,
    /// Messages in their mailboxes again.
    pub placed: usize,
    /// Messages in `Recovered`.
    pub recovered: usize,
    /// Spooled recipients, on hold.
    pub spooled: usize,
    /// Segments whose end was torn, or that hold what is no record.
    pub torn: usize,
    /// Messages in mailboxes, and recipients in the queue, whose octets are in no segment: they are lost.
    pub lost: usize,
    /// Accounts, `Recovered` included.
    pub accounts: u64,
    /// Where the index that was there is now.
    pub old: Option<PathBuf>,
}

/// Rebuilds the index of the store in `directory`, whose daemons must not run. Only when the new one is complete does it take
/// the place of the old one, if there is one and it may be replaced; that is kept beside it.
///
/// # Errors
/// `Unusable` when the store is in use, or has an index that is not to be replaced; `Io`, `Index`. The old index is as it was.
pub fn salvage(directory: &Path, options: &Options, replace: bool) -> Result<Salvaged> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let layout = Layout { root: directory.to_owned() };
    let _alone = open::prepare(disk.as_ref(), &layout, true)?;
    let there = layout.index().exists() && !is_blank(&layout.index());
    if there && !replace {
        return Err(Error::Unusable(format!(
            "{} is there: `mailctl salvage --replace` replaces it, if it is damaged, and keeps it beside the new one",
            layout.index().display()
        )));
    }
    let new = layout.volume().join("index.db.new");
    for remains in PARTS.iter().map(|part| part_of(&new, part)).filter(|path| path.exists()) {
        disk.remove(&remains)?;
    }
    let mut report = rebuild(disk.as_ref(), &layout, &new, options)?;
    let old = unused(&layout);
    for part in PARTS.iter().filter(|part| part_of(&layout.index(), part).exists()) {
        disk.rename(&part_of(&layout.index(), part), &part_of(&old, part))?;
    }
    // The old WAL is gone before the new index comes, or it would be played into that.
    disk.sync_dir(&layout.volume())?;
    disk.rename(&new, &layout.index())?;
    disk.sync_dir(&layout.volume())?;
    open::write_format(&layout)?;
    report.old = there.then_some(old);
    Ok(report)
}

/// The files that an index consists of, by what stands behind its name.
const PARTS: [&str; 3] = ["", "-wal", "-shm"];

fn part_of(index: &Path, part: &str) -> PathBuf {
    let mut path = index.as_os_str().to_owned();
    path.push(part);
    path.into()
}

/// Whether it holds nothing at all: what is made where an index is missing. A file without octets is not opened, since
/// SQLite would remove a WAL beside it.
fn is_blank(index: &Path) -> bool {
    let version = || schema::version(&schema::open_reader(index, None)?);
    index.metadata().is_ok_and(|facts| facts.len() == 0) || version().is_ok_and(|version| version == 0)
}

/// The name that an old index gets: none that a part of an older one has already.
fn unused(layout: &Layout) -> PathBuf {
    let mut path = layout.volume().join("index.db.lost");
    let mut number = 1;
    while PARTS.iter().any(|part| part_of(&path, part).exists()) {
        number += 1;
        path = layout.volume().join(format!("index.db.lost{number}"));
    }
    path
}

/// Rebuilds the index in a file where there is none.
pub(crate) fn rebuild(disk: &dyn Disk, layout: &Layout, index: &Path, options: &Options) -> Result<Salvaged> {
    let mut report = Salvaged::default();
    let found = Everything::read(disk, layout, &mut report)?;
    let mut connection = schema::open(index, disk.vfs(), options.synchronous)?;
    schema::create(&connection, disk.random())?;
    let transaction = connection.transaction()?;
    let mut ids = SegmentIds::new(0);
    let mut txn = Txn {
        connection: &transaction,
        now: disk.now(),
        ids: &mut ids,
        facts: Vec::new(),
        touched: BTreeSet::new(),
        accounts: BTreeSet::new(),
        directory: false,
        spool: false,
    };
    found.write(&mut txn, &mut report)?;
    transaction.commit()?;
    // All of it is in the one file that gets another name.
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(report)
}

/// All that the segments tell.
#[derive(Default)]
struct Everything {
    contents: BTreeMap<i64, (Found, ZonedTime)>,
    /// Facts with the moment of their commit, in its order.
    facts: Vec<(i64, Fact)>,
}

/// A message in a mailbox, as its last facts have it.
struct Placement {
    content: i64,
    account: i64,
    mod_seq: u64,
    flags: u64,
    received: ZonedTime,
    saved: i64,
    thread: i64,
    prefix: Vec<u8>,
}

/// A mailbox, as its last facts have it.
struct Place {
    account: i64,
    name: String,
    uid_validity: u32,
    special_use: Option<String>,
    uid_next: u32,
    mod_seq: u64,
}

impl Everything {
    fn read(disk: &dyn Disk, layout: &Layout, report: &mut Salvaged) -> Result<Self> {
        let mut all = Self::default();
        let mut facts: Vec<(i64, i64, usize, Fact)> = Vec::new();
        for name in disk.list(&layout.segments())? {
            let Some(id) = disk::segment_id(&name) else { continue };
            let file = disk.open(&layout.segment(id))?;
            let (records, whole) = reader::scan(file.as_ref(), id)?;
            report.segments += 1;
            report.torn += usize::from(!whole);
            for (number, record) in records.into_iter().enumerate() {
                if record.header.kind == Kind::Message {
                    let at = ZonedTime { unix: record.header.date, offset_minutes: record.header.zone };
                    all.contents.insert(record.header.content, (record, at));
                    continue;
                }
                let mut payload = &record.payload[..];
                while let Some(fact) = Fact::decode(&mut payload) {
                    facts.push((record.header.date, id, number, fact));
                }
            }
        }
        // Stable: facts of one record keep their order, and commits of different processes take turns.
        facts.sort_by_key(|(at, segment, number, _)| (*at, *segment, *number));
        all.facts = facts.into_iter().map(|(at, _, _, fact)| (at, fact)).collect();
        Ok(all)
    }

    fn write(self, txn: &mut Txn<'_>, report: &mut Salvaged) -> Result<()> {
        let mut places: BTreeMap<i64, Place> = BTreeMap::new();
        let mut placements: BTreeMap<(i64, u32), Placement> = BTreeMap::new();
        let mut flagged: BTreeMap<(i64, u32), (u64, u64)> = BTreeMap::new();
        let mut expunged: BTreeMap<(i64, u32), u64> = BTreeMap::new();
        let mut keywords: BTreeMap<(i64, u32), String> = BTreeMap::new();
        let mut gone: BTreeSet<i64> = BTreeSet::new();
        let mut known: BTreeSet<i64> = BTreeSet::new();
        let mut spooled: BTreeMap<String, Fact> = BTreeMap::new();
        let mut spooled_recipients: BTreeMap<(String, u32), SpoolRecipient> = BTreeMap::new();
        let mut done: BTreeSet<(String, u32)> = BTreeSet::new();
        let mut last_uid_validity = schema::counter(txn.connection, "uid_validity")?;
        for (_, fact) in self.facts {
            match fact {
                Fact::Placed {
                    content,
                    account,
                    mailbox,
                    uid,
                    mod_seq,
                    flags,
                    received,
                    zone,
                    saved,
                    thread,
                    prefix,
                } => {
                    known.insert(content);
                    let received =
                        ZonedTime { unix: received, offset_minutes: i16::try_from(zone).unwrap_or_default() };
                    let placement = Placement { content, account, mod_seq, flags, received, saved, thread, prefix };
                    placements.insert((mailbox, uid), placement);
                }
                Fact::Flagged { mailbox, uid, mod_seq, flags } => {
                    let last = flagged.entry((mailbox, uid)).or_default();
                    *last = (*last).max((mod_seq, flags));
                }
                Fact::Expunged { mailbox, uid, mod_seq } => {
                    expunged.insert((mailbox, uid), mod_seq);
                }
                Fact::Mailbox { id, account, name, uid_validity, special_use } => {
                    last_uid_validity = last_uid_validity.max(i64::from(uid_validity));
                    let place = places.entry(id).or_insert(Place {
                        account,
                        name: String::new(),
                        uid_validity,
                        special_use,
                        uid_next: 1,
                        mod_seq: 1,
                    });
                    place.name = name;
                }
                Fact::MailboxGone { id } => {
                    gone.insert(id);
                }
                Fact::Keyword { mailbox, number, name } => {
                    keywords.insert((mailbox, number), name);
                }
                Fact::Spooled { ref queue_id, content, .. } => {
                    known.insert(content);
                    spooled.insert(queue_id.clone(), fact);
                }
                Fact::SpooledRecipient { queue_id, number, address, parameters, due, attempts, last, .. } => {
                    let destination = spool::destination_of(&address);
                    let key = (queue_id.clone(), number);
                    let recipient = (address, destination, parameters, due, attempts, last);
                    spooled_recipients.insert(key, on_hold(queue_id, number, recipient));
                }
                Fact::SpooledFor {
                    queue_id, number, address, destination, parameters, due, attempts, last, ..
                } => {
                    let key = (queue_id.clone(), number);
                    let recipient = (address, destination, parameters, due, attempts, last);
                    spooled_recipients.insert(key, on_hold(queue_id, number, recipient));
                }
                Fact::SpooledRecipientGone { queue_id, number } => {
                    done.insert((queue_id, number));
                }
                directory => directory_fact(txn, directory)?,
            }
        }
        // Joined when all are known: where a clock was set back, what came later sorts before what it is about.
        places.retain(|id, _| !gone.contains(id));
        spooled_recipients.retain(|recipient, _| !done.contains(recipient));
        for (place, (mod_seq, flags)) in &flagged {
            if let Some(placement) = placements.get_mut(place).filter(|old| old.mod_seq < *mod_seq) {
                (placement.mod_seq, placement.flags) = (*mod_seq, *flags);
            }
        }
        let placed = placements.iter().map(|(place, placement)| (place, placement.mod_seq));
        let expunges = expunged.iter().map(|(place, mod_seq)| (place, *mod_seq));
        for (&(mailbox, uid), mod_seq) in placed.chain(expunges) {
            if let Some(place) = places.get_mut(&mailbox) {
                place.uid_next = place.uid_next.max(uid.saturating_add(1));
                place.mod_seq = place.mod_seq.max(mod_seq);
            }
        }
        placements.retain(|place, _| !expunged.contains_key(place) && places.contains_key(&place.0));
        let all = placements.len() + spooled_recipients.len();
        placements.retain(|_, placement| self.contents.contains_key(&placement.content));
        let waited_for: BTreeSet<&str> = spooled_recipients.keys().map(|(queue_id, _)| queue_id.as_str()).collect();
        spooled.retain(|queue_id, fact| {
            let has_content = matches!(fact, Fact::Spooled { content, .. } if self.contents.contains_key(content));
            has_content && waited_for.contains(queue_id.as_str())
        });

        let mut refs: HashMap<i64, usize> = HashMap::new();
        for placement in placements.values() {
            *refs.entry(placement.content).or_default() += 1;
        }
        for fact in spooled.values() {
            if let Fact::Spooled { content, .. } = fact {
                *refs.entry(*content).or_default() += 1;
            }
        }
        let lost: Vec<i64> = self.contents.keys().filter(|id| !known.contains(id)).copied().collect();
        for (id, (record, _)) in &self.contents {
            let count = refs.get(id).copied().unwrap_or(usize::from(!known.contains(id)));
            txn.insert_content(&content_of(*id, record), count, b"")?;
        }
        set_counter(txn.connection, "uid_validity", last_uid_validity)?;
        let mut names: BTreeSet<(i64, String)> = BTreeSet::new();
        for (id, place) in &places {
            let uid_validity = if lost.is_empty() { place.uid_validity } else { txn.next_uid_validity()? };
            // The record that the older one was deleted or got another name may be lost.
            let is_new = names.insert((place.account, place.name.clone()));
            let name = if is_new { place.name.clone() } else { format!("{} {id}", place.name) };
            txn.run(
                "INSERT INTO mailbox VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, 0, 0, ?7)",
                (
                    id,
                    place.account,
                    name,
                    uid_validity,
                    place.uid_next,
                    place.mod_seq.cast_signed(),
                    &place.special_use,
                ),
            )?;
        }
        for ((mailbox, number), name) in keywords.iter().filter(|(key, _)| places.contains_key(&key.0)) {
            txn.run("INSERT INTO keyword VALUES (?1, ?2, ?3)", (mailbox, number, name))?;
        }
        for ((mailbox, uid), placement) in &placements {
            let Some((record, _)) = self.contents.get(&placement.content) else {
                continue;
            };
            txn.restore_message(MailboxId(*mailbox), *uid, placement, record.octets)?;
            report.placed += 1;
        }
        report.recovered = lost.len();
        if !lost.is_empty() {
            recover(txn, &self.contents, &lost)?;
        }
        for fact in spooled.values() {
            if let Fact::Spooled { queue_id, content, sender, parameters, created } = fact {
                txn.run(
                    "INSERT INTO spool VALUES (?1, ?2, ?3, ?4, ?5)",
                    (queue_id, content, sender, parameters, created),
                )?;
            }
        }
        for recipient in spooled_recipients.values().filter(|recipient| spooled.contains_key(&recipient.queue_id)) {
            txn.put_spool_recipient(recipient)?;
            report.spooled += 1;
        }
        report.lost = all - report.placed - report.spooled;
        let sql = "SELECT count(*) FROM account";
        report.accounts = one(txn.connection, What::Account, sql, [], |row| row.get(0).map(unsigned))?;
        // Ids, and what processes know of the directory, begin beyond anything given before.
        set_counter(txn.connection, "writer", txn.now & 0x1ff)?;
        set_counter(txn.connection, "directory", txn.now)
    }
}

/// A spooled recipient as it comes back: nobody knows what was done since its last record (rule 2). When it was released
/// before is not in the records, and does not matter: it has to be released again.
fn on_hold(
    queue_id: String,
    number: u32,
    (address, destination, parameters, due, attempts, last): (String, String, Vec<u8>, i64, u32, Vec<u8>),
) -> SpoolRecipient {
    let state = SpoolState::Held;
    SpoolRecipient { queue_id, number, address, destination, parameters, state, due, attempts, last, released: 0 }
}

fn content_of(id: i64, record: &Found) -> Content {
    let head = u64::from(record.header.head);
    let location = Location { segment: record.header.segment, offset: record.offset, hash: record.hash };
    Content { id, location, head, body: record.octets - head, thread: id }
}

fn set_counter(connection: &Connection, key: &str, value: i64) -> Result<()> {
    connection.execute("UPDATE setting SET value = ?2 WHERE key = ?1", (key, value.to_le_bytes()))?;
    Ok(())
}

/// Facts of the directory are applied as they come.
fn directory_fact(txn: &Txn<'_>, fact: Fact) -> Result<()> {
    match fact {
        Fact::Domain { name, catch_all } => {
            txn.run("INSERT OR REPLACE INTO domain VALUES (?1, ?2)", (name, catch_all))?;
        }
        Fact::DomainGone { name } => {
            txn.run("DELETE FROM domain WHERE name = ?1", [name])?;
        }
        Fact::Account { id, key, address, enabled, quota, created, grants, credentials } => {
            txn.run(
                "INSERT OR REPLACE INTO account VALUES (?1, ?2, ?3, ?4, 0, ?5, 0, 0, ?6)",
                (id, key, address, enabled, quota.map(u64::cast_signed), created),
            )?;
            txn.run("DELETE FROM account_grant WHERE account = ?1", [id])?;
            for pattern in grants {
                txn.run("INSERT INTO account_grant VALUES (?1, ?2)", (id, pattern))?;
            }
            txn.run("DELETE FROM credential WHERE account = ?1", [id])?;
            for (kind, value) in credentials {
                txn.run("INSERT INTO credential VALUES (?1, ?2, ?3)", (id, kind, value))?;
            }
        }
        Fact::AccountGone { id } => {
            for (table, column) in [
                ("account", "id"),
                ("account_grant", "account"),
                ("credential", "account"),
                ("subscription", "account"),
            ] {
                txn.run(&format!("DELETE FROM {table} WHERE {column} = ?1"), [id])?;
            }
        }
        Fact::Alias { key, targets } => {
            txn.run("DELETE FROM alias WHERE key = ?1", [&key])?;
            for (number, target) in (0_i64..).zip(targets) {
                txn.run("INSERT INTO alias VALUES (?1, ?2, ?3)", (&key, number, target))?;
            }
        }
        Fact::AliasGone { key } => {
            txn.run("DELETE FROM alias WHERE key = ?1", [key])?;
        }
        Fact::Subscribed { account, name, yes: 0 } => {
            txn.run("DELETE FROM subscription WHERE account = ?1 AND name = ?2", (account, name))?;
        }
        Fact::Subscribed { account, name, .. } => {
            txn.run("INSERT OR IGNORE INTO subscription VALUES (?1, ?2)", (account, name))?;
        }
        Fact::Setting { key, value } => {
            txn.run("INSERT OR REPLACE INTO setting VALUES (?1, ?2)", (key, value))?;
        }
        _ => {}
    }
    Ok(())
}

/// Puts the messages that nobody can place where nobody but the operator looks.
fn recover(txn: &mut Txn<'_>, contents: &BTreeMap<i64, (Found, ZonedTime)>, lost: &[i64]) -> Result<()> {
    let account = match txn.add_account(&NewAccount {
        key: RECOVERED.to_ascii_lowercase(),
        address: RECOVERED.to_owned(),
        quota_octets: None,
        credentials: Vec::new(),
    }) {
        Ok(account) => account,
        Err(Error::AlreadyExists(_)) => {
            let sql = "SELECT id FROM account WHERE key = ?1";
            AccountId(one(txn.connection, What::Account, sql, [RECOVERED.to_ascii_lowercase()], |row| row.get(0))?)
        }
        Err(error) => return Err(error),
    };
    let mailbox = match txn.create_mailbox(account, RECOVERED, None) {
        Err(Error::AlreadyExists(_)) => crate::index::mailboxes::by_name(txn.connection, account, RECOVERED)?.id,
        made => made?,
    };
    for id in lost {
        if let Some((record, received)) = contents.get(id) {
            txn.place(account, mailbox, &content_of(*id, record), &FlagNames::default(), b"", *received)?;
        }
    }
    txn.run("UPDATE account SET enabled = 0 WHERE id = ?1", [account.0])?;
    Ok(())
}

impl Txn<'_> {
    /// Puts a message back under the UID and mod-sequence that it had.
    fn restore_message(&self, mailbox: MailboxId, uid: u32, placement: &Placement, octets: u64) -> Result<()> {
        let octets = (octets + placement.prefix.len() as u64).cast_signed();
        let flags = crate::Flags(placement.flags);
        self.run(
            "INSERT INTO msg VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            (
                mailbox.0,
                uid,
                placement.mod_seq.cast_signed(),
                placement.flags.cast_signed(),
                octets,
                placement.received.unix,
                placement.received.offset_minutes,
                placement.saved,
                placement.content,
                placement.thread,
                &placement.prefix,
            ),
        )?;
        self.run(
            "UPDATE mailbox SET messages = messages + 1, unseen = unseen + ?2, deleted = deleted + ?3,
             octets = octets + ?4 WHERE id = ?1",
            (
                mailbox.0,
                i64::from(!flags.contains(crate::Flags::SEEN)),
                i64::from(flags.contains(crate::Flags::DELETED)),
                octets,
            ),
        )?;
        self.run(
            "UPDATE account SET used_octets = used_octets + ?2, used_messages = used_messages + 1 WHERE id = ?1",
            (placement.account, octets),
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::index::spool::recipients;
    use crate::simulated::{World, commit, commit_read, pending};
    use crate::spool::{NewSpool, NewSpoolRecipient, SpoolFilter};
    use crate::{FlagOperation, Flags, Recipient, Synchronous, index};

    fn rebuild_lost(world: &World) -> Salvaged {
        for path in world.disk.disk.list("/sim/v00/index") {
            world.disk.disk.remove(&path).unwrap();
        }
        rebuild(world.disk.as_ref(), &world.layout, &world.layout.index(), &world.options).unwrap()
    }

    #[test]
    fn who_was_done_with_stays_so() {
        let world = World::new(0, Synchronous::Full);
        let mut engine = world.open().unwrap();
        let none: [Recipient; 0] = [];
        commit(&mut engine, pending(&"x".into()), move |txn, pending| {
            let recipients = ["a@x.example", "b@x.example"].map(|address| NewSpoolRecipient {
                address: address.into(),
                destination: "x.example".into(),
                parameters: Vec::new(),
                due: 0,
            });
            let (queue_id, sender, parameters) = ("q".into(), String::new(), Vec::new());
            let spool = NewSpool { queue_id, sender, parameters, recipients: recipients.into() };
            txn.accept(&pending[0], ZonedTime::default(), &none, &[spool], &[])
        })
        .unwrap();
        // The clock was set back.
        world.disk.disk.pass(-100_000);
        commit(&mut engine, Vec::new(), |txn, _| txn.settle_recipients(&[], &[("q".into(), 0)], false)).unwrap();
        engine.close();
        drop(engine);
        assert_eq!(rebuild_lost(&world).spooled, 1);
        let index = schema::open(&world.layout.index(), world.disk.vfs(), Synchronous::Full).unwrap();
        assert_eq!(recipients(&index, &SpoolFilter::default(), 10).unwrap()[0].address, "b@x.example");
    }

    #[test]
    fn two_mailboxes_of_one_name_both_come_back() {
        let world = World::new(0, Synchronous::Full);
        let mut engine = world.open().unwrap();
        let new = NewAccount { key: "ann".into(), address: "ann".into(), quota_octets: None, credentials: Vec::new() };
        let account = commit(&mut engine, Vec::new(), move |txn, _| txn.add_account(&new)).unwrap();
        commit(&mut engine, Vec::new(), move |txn, _| {
            // The older one was deleted, or got another name, and the record of it is lost.
            let (name, special_use) = (String::from("Sent"), None);
            txn.facts.push(Fact::Mailbox { id: i64::MAX, account: account.0, name, uid_validity: 7, special_use });
            Ok(())
        })
        .unwrap();
        engine.close();
        drop(engine);
        rebuild_lost(&world);
        let index = schema::open(&world.layout.index(), world.disk.vfs(), Synchronous::Full).unwrap();
        let names = index::mailboxes::list(&index, account).unwrap().into_iter().map(|mailbox| mailbox.name);
        let names: Vec<String> = names.filter(|name| name.starts_with("Sent")).collect();
        assert_eq!(names, ["Sent", "Sent 9223372036854775807"]);
    }

    #[test]
    fn a_clock_that_was_set_back_costs_nothing() {
        let world = World::new(0, Synchronous::Full);
        let mut engine = world.open().unwrap();
        let new = NewAccount { key: "ann".into(), address: "ann".into(), quota_octets: None, credentials: Vec::new() };
        let account = commit(&mut engine, Vec::new(), move |txn, _| txn.add_account(&new)).unwrap();
        let inbox = commit_read(&mut engine, account, "INBOX");
        let deliver = move |engine: &mut Engine| {
            commit(engine, pending(&"x".into()), move |txn, pending| {
                let content = pending[0].content()?;
                txn.insert_content(&content, 1, b"")?;
                txn.place(account, inbox, &content, &FlagNames::default(), b"", ZonedTime::default())
            })
        };
        // Whoever sorts by the clock sees the flags first, then the messages, then their mailbox.
        world.disk.disk.pass(-100_000);
        assert_eq!(deliver(&mut engine).unwrap().uid, 1);
        assert_eq!(deliver(&mut engine).unwrap().uid, 2);
        world.disk.disk.pass(-100_000);
        commit(&mut engine, Vec::new(), move |txn, _| {
            let names = FlagNames { system: Flags::SEEN, keywords: vec!["odd".into()] };
            txn.set_flags(inbox, &[1..=1], FlagOperation::Add, &names, None)?;
            txn.expunge(inbox, &[2..=2], false)
        })
        .unwrap();
        let look = |engine: &mut Engine| {
            commit(engine, Vec::new(), move |txn, _| {
                let rows = index::messages::rows(txn.connection, inbox, 0..=u32::MAX)?;
                Ok((
                    index::mailboxes::by_id(txn.connection, inbox)?,
                    rows,
                    index::mailboxes::keywords(txn.connection, inbox)?,
                ))
            })
        };
        let before = look(&mut engine).unwrap();
        engine.close();
        drop(engine);
        assert_eq!(rebuild_lost(&world).placed, 1);
        let mut engine = world.open().unwrap();
        assert_eq!(look(&mut engine).unwrap(), before);
        assert_eq!(deliver(&mut engine).unwrap().uid, 3);
    }

    #[test]
    fn what_version_1_wrote_of_the_spool_is_read() {
        let world = World::new(0, Synchronous::Full);
        let mut engine = world.open().unwrap();
        let none: [Recipient; 0] = [];
        commit(&mut engine, pending(&"x".into()), move |txn, pending| {
            txn.accept(&pending[0], ZonedTime::default(), &none, &[], &[])?;
            let (content, queue_id) = (pending[0].content()?.id, String::from("q"));
            let (sender, parameters) = (String::new(), Vec::new());
            txn.facts.push(Fact::Spooled { queue_id: queue_id.clone(), content, sender, parameters, created: 5 });
            txn.facts.push(Fact::SpooledRecipient {
                queue_id,
                number: 3,
                address: "X@Remote.example".into(),
                parameters: vec![1],
                held: 0,
                due: 7,
                attempts: 2,
                last: vec![2],
            });
            Ok(())
        })
        .unwrap();
        engine.close();
        drop(engine);
        let report = rebuild_lost(&world);
        assert_eq!((report.spooled, report.recovered), (1, 0));
        let index = schema::open(&world.layout.index(), world.disk.vfs(), Synchronous::Full).unwrap();
        let expected = SpoolRecipient {
            queue_id: "q".into(),
            number: 3,
            address: "X@Remote.example".into(),
            destination: "remote.example".into(),
            parameters: vec![1],
            state: SpoolState::Held,
            due: 7,
            attempts: 2,
            last: vec![2],
            released: 0,
        };
        assert_eq!(recipients(&index, &SpoolFilter::default(), 10).unwrap(), [expected]);
    }
}
