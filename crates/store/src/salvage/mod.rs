//! Rebuilds a lost index from the segments alone (rule 2).
//!
//! Messages are joined with their last placements. Those without one (their placement was lost, or they were never
//! acknowledged) go to the mailbox `Recovered` of a disabled account of that name, since nobody can tell whose they
//! are; every UIDVALIDITY changes then, because UIDs may have been given that no record tells of. A recorded expunge is
//! never revived, nor is a mailbox that was deleted or a recipient who was done with, and spool entries come back on hold.
//!
//! Here a new index takes the place of the old one. What goes into it is read by `gather`, which takes each fact for
//! itself, made to agree by `join`, which asks neither disk nor index, and written by `insert`.

mod gather;
mod insert;
mod join;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::gather::Gathered;
use crate::disk::{Disk, Layout, RealDisk};
use crate::index::{Txn, schema};
use crate::segment::writer::SegmentIds;
use crate::{Error, Options, Result, open};

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
    let joined = Gathered::read(disk, layout, &mut report)?.join(&mut report);
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
    joined.insert(&mut txn, &mut report)?;
    transaction.commit()?;
    // All of it is in the one file that gets another name.
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::fact::Fact;
    use crate::index::spool::recipients;
    use crate::simulated::{World, commit, commit_read, pending};
    use crate::spool::{NewSpool, NewSpoolRecipient, SpoolFilter, SpoolRecipient, SpoolState};
    use crate::types::{FlagNames, NewAccount, ZonedTime};
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
